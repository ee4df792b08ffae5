//! The gateway's template: API Management, SignalR, and Front Door with the pages that it shows.
//!
//! Four deployments, one after the other: API Management with an identity of its own, and the router's; the roles of both in
//! the platform's group; then what needs the roles: the router's app, and what API Management is told.

use skein_model::arm::{
    Expr, Int, Nested, Of, Parameter, Place, Ref, Template, Text, Value, either, environment, equals, format, join,
    not, replace, tenant,
};
use skein_model::azure::apimanagement::{
    AlwaysLog, Api, ApiCreateOrUpdatePropertiesOrApiContractProperties as ApiProperties,
    ApiCreateOrUpdatePropertiesOrApiContractPropertiesType as ApiKind, ApiManagementServiceIdentity,
    ApiManagementServiceIdentityType, ApiManagementServiceProperties, ApiManagementServiceSkuProperties,
    ApiManagementServiceSkuPropertiesName, ApiPolicy, ApiSchema, ApiType, Backend, BackendContractProperties,
    BackendTlsProperties, Diagnostic, DiagnosticContractProperties, HttpCorrelationProtocol,
    KeyVaultContractCreatePropertiesOrKeyVaultContractProperties as KeyVaultProperties, Logger,
    LoggerContractProperties, LoggerType, NamedValue,
    NamedValueCreateContractPropertiesOrNamedValueContractProperties as NamedValueProperties, Policy,
    PolicyContractProperties, PolicyContractPropertiesFormat, PolicyFragment, PolicyFragmentContractProperties,
    PolicyFragmentContractPropertiesFormat, Protocol, Protocols, SamplingSettings, SamplingType,
    SchemaContractProperties, SchemaDocumentProperties, Service, Verbosity,
};
use skein_model::azure::blobservices::StaticWebsite;
use skein_model::azure::cdn::{
    AFDEndpointProperties, AFDOriginGroupProperties, AFDOriginProperties, ActivatedResourceReference, EnabledState,
    Endpoint, ForwardingProtocol, HealthProbeParameters, HttpsRedirect, LinkToDefaultDomain,
    LoadBalancingSettingsParameters, Origin, OriginGroup, ProbeProtocol, ProbeRequestType, Profile, ResourceReference,
    Route, RouteProperties, SecurityPolicy, SecurityPolicyProperties, SecurityPolicyWebApplicationFirewallAssociation,
    SecurityPolicyWebApplicationFirewallParameters, Sku, SkuName, SupportedProtocols,
};
use skein_model::azure::components::Component;
use skein_model::azure::frontdoor::{
    self, Action, CustomRule, CustomRuleList, FirewallPolicy, MatchCondition, MatchConditionOperator, MatchVariable,
    PolicySettings, PolicySettingsMode, RequestBodyCheck, RuleType, WebApplicationFirewallPolicyProperties,
};
use skein_model::azure::keyvault::{Secret, Vault};
use skein_model::azure::signalr::{
    Flag, ManagedIdentity, ManagedIdentitySettings, ManagedIdentityType, ResourceSku, ServerlessUpstreamSettings,
    SignalR, SignalRCorsSettings, SignalRFeature, SignalRKind, SignalRProperties, SignalRTlsSettings,
    UpstreamAuthSettings, UpstreamAuthSettingsType, UpstreamTemplate,
};
use skein_model::azure::storage::SkuName as StorageSkuName;
use skein_model::azure::{msi, resources};

use skein_model::{App, Gateway, Graph};

use super::app::{AppParts, Registration};
use super::platform::{TELEMETRY_SECRET, capital};
use super::settings::{concat, listed};
use super::{
    Base, GATEWAY, INTROSPECTION_ABOUT, Inside, Layer, PERSISTED_ONLY_ABOUT, PLATFORM, blobs, diagnose, flag, number,
    redundancy, subscription_template,
};
use crate::policy::{NAMED_VALUES, Policies};
use crate::roles::{DEPLOYER, Grant, Need, Principal, Role, Thing, assign};

/// What the gateway is called where roles are told.
const WHO: &str = "the gateway";
/// How many requests of one address Front Door lets through in a minute.
const REQUESTS_A_MINUTE: i64 = 1000;
/// How API Management knows a schema in the language of GraphQL.
const GRAPHQL_SCHEMA: &str = "application/vnd.ms-azure-apim.graphql.schema";

pub(super) fn layer(graph: &Graph, policies: &Policies) -> Layer {
    let mut template = subscription_template();
    let base = Base::new(&graph.platform, GATEWAY, &mut template);
    let about = "The tier of API Management: Consumption is paid by the call, StandardV2 limits by key.";
    let tier = template.parameter(
        Parameter::new::<ApiManagementServiceSkuPropertiesName>("gatewayTier", about)
            .one_of(&["Consumption", "StandardV2"])
            .or(ApiManagementServiceSkuPropertiesName::Consumption),
    );
    let email = template.parameter(Parameter::new::<Text>("publisherEmail", "Who answers for the API."));
    let publisher = template.parameter(Parameter::new::<Text>("publisherName", "Whose API it is."));
    let signalr_tier = template.parameter(
        Parameter::new::<Text>("signalrTier", "The tier of SignalR: the free one takes 20 connections.")
            .one_of(&["Free_F1", "Standard_S1"])
            .or("Free_F1"),
    );
    let about = "The address of SignalR, with {0} where its host name stands.";
    let signalr_url = template.parameter(Parameter::new::<Text>("signalrUrl", about).or("https://{0}"));
    let authority = || format("{0}{1}/v2.0", [environment().authentication().login_endpoint(), tenant().tenant_id()]);
    let issuer =
        template.parameter(Parameter::new::<Text>("tokenIssuer", "Who issues the clients' tokens.").or(authority()));
    let configuration = template.parameter(
        Parameter::new::<Text>("tokenConfiguration", "The OpenID configuration of who issues the clients' tokens.")
            .or(join([Expr::from(authority()), "/.well-known/openid-configuration".into()])),
    );
    let audience = "The audience of the clients' tokens, as in api://skein-dev-clients.";
    let audience = template.parameter(Parameter::new::<Text>("tokenAudience", audience));
    let app_audience = "The audience of the function apps' tokens, as in api://skein-dev.";
    let app_audience = template.parameter(Parameter::new::<Text>("appAudience", app_audience));
    let about = "The client id of the function apps' Entra application.";
    let app_client_id = template.parameter(Parameter::new::<Text>("appClientId", about));
    let about = "The address of a site, with {0} where its name stands.";
    let app_url = template.parameter(Parameter::new::<Text>("siteUrl", about).or("https://{0}.azurewebsites.net"));
    let introspection = flag(&mut template, "introspection", INTROSPECTION_ABOUT);
    let persisted_only = flag(&mut template, "persistedOnly", PERSISTED_ONLY_ABOUT);
    let memory = number(&mut template, "instanceMemoryMB", "How large an instance is: 512, 2048 or 4096 MB.", 512);
    let about = "The object id of the service principal that deploys: it writes the pages. Nobody may if it is empty.";
    let deployer = template.parameter(Parameter::new::<Text>("deployerId", about).or(""));
    let about = "The client id by which the page signs people in; it asks for a token if it is empty.";
    let sign_in_client = template.parameter(Parameter::new::<Text>("signInClientId", about).or(""));
    let about = "The scopes that the page asks for, as in api://skein-dev-clients/.default.";
    let sign_in_scope = template.parameter(Parameter::new::<Text>("signInScope", about).or(""));
    let about = "How many instances the router has at most.";
    let instances = number(&mut template, "maximumInstanceCount", about, 40);
    let redundancy = redundancy(&mut template);
    let platform = |template: &mut _, output: &str, about: &str| Base::from_layer(template, PLATFORM, output, about);
    let platform_group = platform(&mut template, "platformGroup", "The platform's resource group.");
    let workspace_id = platform(&mut template, "workspaceId", "The workspace of all logs.");
    let telemetry_name = platform(&mut template, "telemetryName", "The name of Application Insights.");
    let vault_name = platform(&mut template, "vaultName", "The name of the vault.");
    let vault_uri = platform(&mut template, "vaultUri", "The address of the vault.");
    let mut grants = Vec::new();

    let group =
        template.add("group", base.group(GATEWAY), resources::ResourceGroup::new(&base.location).tags(base.tags()));

    // API Management, SignalR, Front Door.
    let mut nested = Nested::new();
    let inside = base.pass(&mut nested);
    let workspace = nested.pass("workspaceId", &workspace_id);
    let tier_inside = nested.pass::<ApiManagementServiceSkuPropertiesName>("gatewayTier", &tier);
    let email = nested.pass::<Text>("publisherEmail", email);
    let publisher = nested.pass::<Text>("publisherName", publisher);
    let signalr_tier = nested.pass::<Text>("signalrTier", signalr_tier);
    let signalr_url = nested.pass::<Text>("signalrUrl", signalr_url);
    let app_url_inside = nested.pass::<Text>("siteUrl", &app_url);
    let app_audience_inside = nested.pass::<Text>("appAudience", &app_audience);
    let deployer = nested.pass::<Text>("deployerId", deployer);
    let redundancy = Of::trust(Value::from(
        nested.pass::<Text>("storageRedundancy", Of::<Text>::trust(Value::from(redundancy.clone()))),
    ));
    let inner = &mut nested.template;
    let consumption = || equals(&tier_inside, "Consumption");
    let capacity: Of<Int> = either(consumption(), 0, 1);
    let service = inner.add(
        "gateway",
        inside.unique(&inside.names.gateway()),
        Service::new(
            &inside.location,
            ApiManagementServiceProperties::new(email, publisher),
            ApiManagementServiceSkuProperties::new(capacity, &tier_inside),
        )
        .identity(ApiManagementServiceIdentity::new(ApiManagementServiceIdentityType::SystemAssigned))
        .tags(inside.tags()),
    );
    diagnose(inner, &service, &workspace, true);
    // The Consumption tier has no logs of its own; Application Insights sees its calls.
    inner.only_if("gatewayDiagnostics", not(consumption()));

    let account = inside.account(inner, "siteAccount", &inside.names.site_account(), &redundancy);
    let pages = StaticWebsite::new(true).index_document("index.html").error_document404_path("index.html");
    blobs(inner, "siteBlobs", &account, Some(pages));
    diagnose(inner, &account, &workspace, false);
    assign(inner, &mut grants, &Principal::deployer(&deployer), Role::BlobContributor, &account, Thing::Pages);

    let profile = inner.add(
        "frontDoor",
        format!("afd-{}", inside.system),
        Profile::new("global", Sku::new().name(SkuName::StandardAzureFrontDoor)).tags(inside.tags()),
    );
    let endpoint = inner.child(
        "endpoint",
        &profile,
        inside.unique(inside.system),
        Endpoint::new("global")
            .properties(AFDEndpointProperties::new().enabled_state(EnabledState::Enabled))
            .tags(inside.tags()),
    );
    let host = |address: Of<Text>| replace(replace(address, "https://", ""), "/", "");
    let site_host = host(account.deployed().properties().primary_endpoints().web());
    let gateway_host = host(service.deployed().properties().gateway_url());
    let mut patterns = vec!["/graphql".to_owned(), "/graphql/*".to_owned()];
    patterns.extend(graph.gateway.services.iter().map(|service| format!("/{service}/*")));
    let ways = [
        // The pages and the API are one origin for a browser: nothing has to be allowed across.
        ("Api", "api", gateway_host, "/status-0123456789abcdef", patterns),
        ("Site", "site", site_host, "/index.html", vec!["/*".to_owned()]),
    ];
    for (symbol, name, host, probe, patterns) in ways {
        let probe = HealthProbeParameters::new()
            .probe_path(probe)
            .probe_protocol(ProbeProtocol::Https)
            .probe_request_type(ProbeRequestType::Head)
            .probe_interval_in_seconds(100);
        let balancing = LoadBalancingSettingsParameters::new().sample_size(4).successful_samples_required(3);
        let origins = inner.child(
            &format!("origins{symbol}"),
            &profile,
            name,
            OriginGroup::new().properties(
                AFDOriginGroupProperties::new().health_probe_settings(probe).load_balancing_settings(balancing),
            ),
        );
        let properties = AFDOriginProperties::new()
            .host_name(&host)
            .origin_host_header(&host)
            .enforce_certificate_name_check(true)
            .http_port(80)
            .https_port(443)
            .priority(1)
            .weight(1000)
            .enabled_state(EnabledState::Enabled);
        let origin = inner.child(&format!("origin{symbol}"), &origins, name, Origin::new().properties(properties));
        let properties = RouteProperties::new()
            .origin_group(ResourceReference::new().id(origins.id()))
            .patterns_to_match(patterns)
            .supported_protocols([SupportedProtocols::Http, SupportedProtocols::Https])
            .https_redirect(HttpsRedirect::Enabled)
            .forwarding_protocol(ForwardingProtocol::HttpsOnly)
            .link_to_default_domain(LinkToDefaultDomain::Enabled)
            .enabled_state(EnabledState::Enabled);
        let route = format!("route{symbol}");
        inner.child(&route, &endpoint, name, Route::new().properties(properties));
        inner.after(&route, origin.symbol());
    }
    let everybody =
        MatchCondition::new(["0.0.0.0/0", "::/0"], MatchVariable::RemoteAddr, MatchConditionOperator::IpMatch);
    let rule = CustomRule::new(Action::Block, [everybody], 100, RuleType::RateLimitRule)
        .name("RequestsOfOneAddress")
        .enabled_state(frontdoor::EnabledState::Enabled)
        .rate_limit_duration_in_minutes(1)
        .rate_limit_threshold(REQUESTS_A_MINUTE);
    let settings = PolicySettings::new()
        .enabled_state(frontdoor::EnabledState::Enabled)
        .mode(PolicySettingsMode::Prevention)
        .request_body_check(RequestBodyCheck::Enabled)
        .custom_block_response_status_code(429);
    let properties = WebApplicationFirewallPolicyProperties::new()
        .policy_settings(settings)
        .custom_rules(CustomRuleList::new().rules([rule]));
    let firewall = inner.add(
        "firewall",
        format!("waf{}", inside.system),
        FirewallPolicy::new()
            .location("global")
            .sku(frontdoor::Sku::new().name(frontdoor::SkuName::StandardAzureFrontDoor))
            .properties(properties)
            .tags(inside.tags()),
    );
    let association = SecurityPolicyWebApplicationFirewallAssociation::new()
        .domains([ActivatedResourceReference::new().id(endpoint.id())])
        .patterns_to_match(["/*"]);
    let parameters = SecurityPolicyWebApplicationFirewallParameters::new()
        .waf_policy(ResourceReference::new().id(firewall.id()))
        .associations([association]);
    let policy = SecurityPolicy::new().properties(SecurityPolicyProperties::new().parameters(parameters));
    inner.child("security", &profile, "firewall", policy);
    diagnose(inner, &profile, &workspace, true);

    let site_url = join([Expr::from("https://"), endpoint.deployed().properties().host_name().into()]);
    // What a hub passes on goes to the query app of its service, whose address follows from its name.
    let upstreams: Vec<_> = graph
        .services
        .iter()
        .filter(|service| service.subscriptions)
        .map(|service| {
            let site = format(&app_url_inside, [inside.unique(&inside.names.site(&service.query))]);
            let url = join([Expr::from(site), format!("/api/{}", skein_model::Service::UPSTREAM).into()]);
            let identity = ManagedIdentitySettings::new().resource(&app_audience_inside);
            let auth = UpstreamAuthSettings::new()
                .r#type(UpstreamAuthSettingsType::ManagedIdentity)
                .managed_identity(identity);
            let patterns = UpstreamTemplate::new(url).hub_pattern(service.name.as_str()).category_pattern("*");
            patterns.event_pattern("*").auth(auth)
        })
        .collect();
    let properties = SignalRProperties::new();
    let properties = match upstreams.is_empty() {
        true => properties,
        false => properties.upstream(ServerlessUpstreamSettings::new().templates(upstreams)),
    };
    let properties = properties
        .features([SignalRFeature::new(Flag::ServiceMode, "Serverless")])
        .disable_local_auth(true)
        .disable_aad_auth(false)
        .tls(SignalRTlsSettings::new().client_cert_enabled(false))
        .cors(SignalRCorsSettings::new().allowed_origins([&site_url]));
    let signalr = inner.add(
        "signalr",
        inside.unique(&inside.names.signalr()),
        SignalR::new(&inside.location)
            .kind(SignalRKind::SignalR)
            .sku(ResourceSku::new(signalr_tier).capacity(1))
            .identity(ManagedIdentity::new().r#type(ManagedIdentityType::SystemAssigned))
            .properties(properties)
            .tags(inside.tags()),
    );
    diagnose(inner, &signalr, &workspace, true);

    let router = &graph.gateway.router;
    let identity = msi::Identity::new(&inside.location).tags(inside.tags());
    let identity = inner.add("identityRouter", inside.names.identity(router), identity);

    let told = [
        ("gatewayName", service.name()),
        ("gatewayId", service.id()),
        ("gatewayPrincipalId", service.deployed().identity().principal_id()),
        ("gatewayTier", Of::trust(Value::from(tier_inside.clone()))),
        ("gatewayUrl", service.deployed().properties().gateway_url()),
        ("routerClientId", identity.deployed().properties().client_id()),
        ("routerId", identity.id()),
        ("routerPrincipalId", identity.deployed().properties().principal_id()),
        ("signalrEndpoint", format(&signalr_url, [signalr.deployed().properties().host_name()])),
        ("signalrName", signalr.name()),
        ("signalrPrincipalId", signalr.deployed().identity().principal_id()),
        ("siteAccount", account.name()),
        ("siteEndpoint", account.deployed().properties().primary_endpoints().blob()),
        ("siteUrl", site_url),
    ];
    let told = told.map(|(name, value)| (name, inner.output::<Text>(name, value)));
    let deployment = template.nest("gateway", GATEWAY, group.name(), nested);
    template.after(deployment.symbol(), group.symbol());
    let told = told.map(|(name, output)| (name, deployment.output(&output)));
    let value = |name: &str| told.iter().find(|(known, _)| *known == name).expect("it is told").1.clone();

    // What the gateway's identity may do in the platform's group.
    let mut nested = Nested::new();
    let mut identity = |who: &str, id: &str, principal: &str| {
        let (id, principal) = (nested.pass(id, value(id)), nested.pass(principal, value(principal)));
        Principal::identity(who, id, principal)
    };
    let principal = identity(WHO, "gatewayId", "gatewayPrincipalId");
    let routing = identity(&router.binary, "routerId", "routerPrincipalId");
    let name = nested.pass::<Text>("telemetryName", telemetry_name);
    let telemetry = nested.template.existing::<Component>("telemetry", name);
    let name = nested.pass::<Text>("vaultName", &vault_name);
    let vault = nested.template.existing::<Vault>("vault", name);
    let secret = nested.template.existing_child::<Secret>("telemetrySecret", &vault, TELEMETRY_SECRET);
    for principal in [&principal, &routing] {
        let thing = Thing::Secret(TELEMETRY_SECRET.to_owned());
        assign(&mut nested.template, &mut grants, principal, Role::SecretsUser, &secret, thing);
        assign(&mut nested.template, &mut grants, principal, Role::MetricsPublisher, &telemetry, Thing::Insights);
    }
    let telemetry_id = nested.template.output::<Text>("telemetryId", telemetry.id());
    let roles = template.nest("platform", format!("{PLATFORM}-{GATEWAY}"), platform_group, nested);

    // The router, which the services' apps need not be there for: their addresses follow from their names.
    let mut nested = Nested::new();
    let inside = base.pass(&mut nested);
    let app = RouterParts {
        client_id: nested.pass("routerClientId", value("routerClientId")),
        identity: nested.pass("routerId", value("routerId")),
        principal_id: nested.pass("routerPrincipalId", value("routerPrincipalId")),
        fronts: vec![nested.pass("gatewayPrincipalId", value("gatewayPrincipalId"))],
        registration: Registration {
            client_id: nested.pass("appClientId", app_client_id),
            audience: nested.pass("appAudience", &app_audience),
        },
        site_url: nested.pass("siteUrl", app_url),
        introspection: nested.pass("introspection", introspection),
        persisted_only: nested.pass("persistedOnly", persisted_only),
        vault_name: nested.pass("vaultName", vault_name),
        workspace: nested.pass("workspaceId", &workspace_id),
        memory: nested.pass("instanceMemoryMB", memory),
        instances: nested.pass("maximumInstanceCount", instances),
        redundancy: Of::trust(Value::from(
            nested.pass::<Text>("storageRedundancy", Of::<Text>::trust(Value::from(redundancy))),
        )),
    };
    let mut needs = Vec::new();
    let (site, url) = app.build(graph, &inside, &mut nested.template, &mut grants, &mut needs);
    let site = nested.template.output::<Text>("routerSite", site);
    let url = nested.template.output::<Text>("routerUrl", url);
    let routers = template.nest("router", "router", group.name(), nested);
    template.after(routers.symbol(), roles.symbol());

    let held = [
        ("appAudience", app_audience),
        ("siteUrl", value("siteUrl")),
        ("tokenAudience", audience),
        ("tokenConfiguration", configuration.clone()),
        ("tokenIssuer", issuer),
    ];

    // What needs those roles.
    let mut nested = Nested::new();
    let name = nested.pass::<Text>("gatewayName", value("gatewayName"));
    let vault_uri = nested.pass::<Text>("vaultUri", vault_uri);
    let telemetry_id = nested.pass::<Text>("telemetryId", roles.output(&telemetry_id));
    let inner = &mut nested.template;
    let service = inner.existing::<Service>("gateway", name);
    let secret = join([Expr::from(vault_uri), format!("secrets/{TELEMETRY_SECRET}").into()]);
    let named = inner.child(
        "telemetryValue",
        &service,
        TELEMETRY_SECRET,
        NamedValue::new().properties(
            NamedValueProperties::new(TELEMETRY_SECRET)
                .secret(true)
                .key_vault(KeyVaultProperties::new().secret_identifier(secret)),
        ),
    );
    let credentials = [
        ("connectionString", format!("{{{{{TELEMETRY_SECRET}}}}}")),
        ("identityClientId", "SystemAssigned".to_owned()),
    ];
    let logger = inner.child(
        "logger",
        &service,
        "telemetry",
        Logger::new().properties(
            LoggerContractProperties::new(LoggerType::ApplicationInsights)
                .credentials(credentials)
                .is_buffered(true)
                .resource_id(telemetry_id),
        ),
    );
    inner.after(logger.symbol(), named.symbol());
    let properties = DiagnosticContractProperties::new(logger.id())
        .always_log(AlwaysLog::AllErrors)
        .http_correlation_protocol(HttpCorrelationProtocol::W3C)
        .sampling(SamplingSettings::new().sampling_type(SamplingType::Fixed).percentage(100))
        .verbosity(Verbosity::Information);
    inner.child("diagnostic", &service, "applicationinsights", Diagnostic::new().properties(properties));
    // What the policies are made of comes before them.
    let mut made = Vec::new();
    for (name, holds) in NAMED_VALUES {
        let (_, value) = held.iter().find(|(known, _)| *known == holds).expect("every named value is held");
        let value = nested.pass::<Text>(holds, value);
        let properties = NamedValueProperties::new(name.name()).value(value);
        let symbol = format!("value{}", capital(holds));
        nested.template.child(&symbol, &service, name.name(), NamedValue::new().properties(properties));
        made.push(symbol);
    }
    for fragment in &policies.fragments {
        let properties = PolicyFragmentContractProperties::new(fragment.xml.as_str())
            .description(fragment.description)
            .format(PolicyFragmentContractPropertiesFormat::Xml);
        let symbol = format!("fragment{}", fragment.name.split('-').map(capital).collect::<String>());
        nested.template.child(&symbol, &service, fragment.name, PolicyFragment::new().properties(properties));
        made.push(symbol);
    }
    let tier = nested.pass::<Text>("gatewayTier", value("gatewayTier"));
    let properties = PolicyContractProperties::new(policies.gateway(&tier)).format(PolicyContractPropertiesFormat::Xml);
    nested.template.child("policy", &service, "policy", Policy::new().properties(properties));
    for earlier in &made {
        nested.template.after("policy", earlier);
    }
    let url = nested.pass::<Text>("routerUrl", routers.output(&url));
    one_graph(graph, &mut nested.template, &service, policies, &tier, url);
    template.nest("settings", format!("{GATEWAY}-settings"), group.name(), nested);

    template.output::<Text>("gatewayGroup", group.name());
    template.output::<Text>("group", group.name());
    template.output::<Text>("routerSite", routers.output(&site));
    for (name, value) in told.into_iter().filter(|(name, _)| !["routerClientId", "routerId"].contains(name)) {
        template.output::<Text>(name, value);
    }
    // What the page is told.
    template.output::<Text>("signInClientId", sign_in_client);
    template.output::<Text>("signInConfiguration", configuration);
    template.output::<Text>("signInScope", sign_in_scope);
    let need = |who: &str, role: Role, on: Thing, because: &str| Need {
        grant: Grant { who: who.to_owned(), role, on },
        because: because.to_owned(),
    };
    needs.extend([
        need(WHO, Role::SecretsUser, Thing::Secret(TELEMETRY_SECRET.to_owned()), "the logger"),
        need(WHO, Role::MetricsPublisher, Thing::Insights, "the logger"),
        need(DEPLOYER, Role::BlobContributor, Thing::Pages, "the pages"),
    ]);
    Layer { name: GATEWAY.to_owned(), place: Place::default(), template, grants, needs }
}

/// What the router's deployment is given.
struct RouterParts {
    client_id: Of<Text>,
    identity: Of<Text>,
    principal_id: Of<Text>,
    /// The principals that may name whoever asks.
    fronts: Vec<Of<Text>>,
    registration: Registration,
    site_url: Of<Text>,
    introspection: Of<Text>,
    persisted_only: Of<Text>,
    vault_name: Of<Text>,
    workspace: Of<Text>,
    memory: Of<Int>,
    instances: Of<Int>,
    redundancy: Of<StorageSkuName>,
}

impl RouterParts {
    /// Adds the router with its host's account; the name of its site, and its address.
    fn build(
        self,
        graph: &Graph,
        inside: &Inside<'_>,
        template: &mut Template,
        grants: &mut Vec<Grant>,
        needs: &mut Vec<Need>,
    ) -> (Of<Text>, Of<Text>) {
        let router = &graph.gateway.router;
        let binary = &router.binary;
        let host = inside.host_account(template, binary, &inside.names.router_host_account(), &self.redundancy);
        let principal = Principal::identity(binary, self.identity.clone(), self.principal_id);
        assign(template, grants, &principal, Role::BlobOwner, &host, Thing::HostAccount(binary.clone()));
        let mut need = |role: Role, on: Thing, setting: &str| {
            let grant = Grant { who: binary.clone(), role, on };
            needs.push(Need { grant, because: format!("the setting {setting}") });
        };
        need(Role::BlobOwner, Thing::HostAccount(binary.clone()), "AzureWebJobsStorage__accountName");
        let telemetry = "APPLICATIONINSIGHTS_CONNECTION_STRING";
        need(Role::SecretsUser, Thing::Secret(TELEMETRY_SECRET.to_owned()), telemetry);
        need(Role::MetricsPublisher, Thing::Insights, telemetry);

        let site = inside.unique(&inside.names.site(router));
        let address = |site: Of<Text>| format(&self.site_url, [site]);
        // Each service's app of that kind, by the service's name.
        let apps = |app: App| {
            let services = graph.gateway.services.iter().filter_map(|name| graph.service(name));
            let named = services.map(|service| {
                let url = address(inside.unique(&inside.names.site(service.app(app))));
                concat(vec![Of::from(format!("{}=", service.name).as_str()), url])
            });
            listed(&named.collect::<Vec<_>>())
        };
        let reference = "@Microsoft.KeyVault(VaultName=";
        let reference =
            join([reference.into(), Expr::from(&self.vault_name), format!(";SecretName={TELEMETRY_SECRET})").into()]);
        let by_token = join([Expr::from("Authorization=AAD;ClientId="), Expr::from(&self.client_id)]);
        let settings = [
            (telemetry, reference),
            ("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", by_token),
            ("AZURE_CLIENT_ID", self.client_id.clone()),
            ("AzureWebJobsStorage__accountName", host.name()),
            ("AzureWebJobsStorage__clientId", self.client_id.clone()),
            ("AzureWebJobsStorage__credential", Of::from("managedidentity")),
            ("FUNCTIONS_EXTENSION_VERSION", Of::from("~4")),
            ("SKEIN_APP", site.clone()),
            ("SKEIN_APP_AUDIENCE", self.registration.audience.clone()),
            ("SKEIN_COMMAND_APPS", apps(App::Command)),
            ("SKEIN_FRONT_PRINCIPAL_IDS", listed(&self.fronts)),
            ("SKEIN_INTROSPECTION", self.introspection.clone()),
            ("SKEIN_PERSISTED_ONLY", self.persisted_only.clone()),
            ("SKEIN_QUERY_APPS", apps(App::Query)),
        ];
        let mut settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        settings.sort_by(|one, other| one.0.cmp(&other.0));
        let parts = AppParts {
            binary,
            site: site.clone(),
            host,
            identity: self.identity,
            settings,
            callers: self.fronts,
            open: router.open_paths(),
            registration: self.registration,
            memory: self.memory,
            instances: self.instances,
        };
        let made = inside.app(template, parts);
        diagnose(template, &made, &self.workspace, true);
        (made.name(), address(site))
    }
}

/// The API of all services, with the schema that theirs make, and the router behind it.
fn one_graph(
    graph: &Graph,
    template: &mut Template,
    gateway: &Ref<Service>,
    policies: &Policies,
    tier: &Of<Text>,
    url: Of<Text>,
) {
    let binary = graph.gateway.router.binary.as_str();
    let properties = BackendContractProperties::new()
        .url(join([Expr::from(&url), "/api".into()]))
        .protocol(Protocol::Http)
        .tls(BackendTlsProperties::new().validate_certificate_chain(true).validate_certificate_name(true));
    let backend = format!("backend{}", capital(binary));
    template.child(&backend, gateway, binary, Backend::new().properties(properties));
    // What has an address answers by itself: without one API Management would look for resolvers.
    let properties = ApiProperties::new(Gateway::GRAPH)
        .display_name("all services")
        .api_type(ApiType::Graphql)
        .r#type(ApiKind::Graphql)
        .service_url(join([Expr::from(url), "/api/graphql".into()]))
        .protocols([Protocols::Https])
        .subscription_required(false);
    let api = template.child("graph", gateway, Gateway::GRAPH, Api::new().properties(properties));
    let document = SchemaDocumentProperties::new().value(graph.gateway.schema.as_str());
    let schema = ApiSchema::new().properties(SchemaContractProperties::new(GRAPHQL_SCHEMA, document));
    template.child("graphSchema", &api, "graphql", schema);
    let properties = PolicyContractProperties::new(policies.graph(tier)).format(PolicyContractPropertiesFormat::Xml);
    template.child("graphPolicy", &api, "policy", ApiPolicy::new().properties(properties));
    // Its fragments and named values are those of the gateway's own policy.
    for earlier in [backend.as_str(), "policy"] {
        template.after("graphPolicy", earlier);
    }
}

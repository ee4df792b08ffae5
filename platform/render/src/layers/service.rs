//! A service's template: a resource group of its own, and what it puts into the platform's and the gateway's.

use skein_model::arm::{Expr, Int, Nested, Of, OutputRef, Parameter, Ref, Template, Text, Value, join};
use skein_model::azure::apimanagement::{
    self, Api, ApiCreateOrUpdatePropertiesOrApiContractProperties as ApiProperties, ApiOperation, ApiPolicy, Backend,
    BackendContractProperties, BackendTlsProperties, OperationContractProperties, PolicyContractProperties,
    PolicyContractPropertiesFormat, Protocol, Protocols,
};
use skein_model::azure::components::Component;
use skein_model::azure::eventgrid::{
    AdvancedFilter, DeadLetterWithResourceIdentity, DeliveryWithResourceIdentity, EventDeliverySchema,
    EventSubscription, EventSubscriptionFilter, EventSubscriptionIdentity, EventSubscriptionIdentityType,
    EventSubscriptionProperties, RetryPolicy, ServiceBusQueueEventSubscriptionDestination,
    ServiceBusQueueEventSubscriptionDestinationProperties, StorageBlobDeadLetterDestination,
    StorageBlobDeadLetterDestinationProperties, StringBeginsWithAdvancedFilter, Topic,
};
use skein_model::azure::keyvault::{Key, KeyOps, KeyProperties, Kty, Secret, Vault};
use skein_model::azure::servicebus::{Namespace, Queue, SBQueueProperties};
use skein_model::azure::signalr::SignalR;
use skein_model::azure::storage::{Table, TableService};
use skein_model::azure::{msi, resources};
use skein_model::{App, Bus, Graph, Service, Trigger};

use super::app::{AppParts, Registration};
use super::platform::{DEAD_LETTERS, TELEMETRY_SECRET, TOPIC, capital};
use super::queues::{namespace, watch_dead_letters};
use super::settings::{Computed, query_tables};
use super::{
    Base, GATEWAY, INTROSPECTION_ABOUT, Inside, Layer, PERSISTED_ONLY_ABOUT, PLATFORM, blobs, diagnose, flag, number,
    redundancy, subscription_template,
};
use crate::policy::Policies;
use crate::queues::{DELIVERIES, DUPLICATE_DETECTION, LOCK, QUEUES, subject_prefixes};
use crate::roles::{Grant, Need, OPERATORS_ABOUT, Principal, Role, Thing, assign};

/// What the operators' roles are for.
const OPERATORS_TOOL: &str = "the operators' commands: events, dead letters, rebuilds, republication";

const APPS: [App; 2] = [App::Command, App::Query];

pub(super) fn layer(graph: &Graph, service: &Service, policies: &Policies) -> Layer {
    let mut template = subscription_template();
    let base = Base::new(&graph.platform, &service.name, &mut template);
    let given = Given::declare(&mut template, graph, service);
    let group = template.add(
        "group",
        base.group(&service.name),
        resources::ResourceGroup::new(&base.location).tags(base.tags()),
    );
    let mut grants = Vec::new();
    let mut needs = Vec::new();

    let senders = senders(graph, service);
    let identities = Identities::declare(&mut template, &base, &given, &senders);

    // First of all: a Key Vault reference is followed when an app's settings are written, and not again for a day.
    let mut nested = Nested::new();
    in_platform(graph, service, &mut nested, &given, &identities, &mut grants, &mut needs);
    let name = format!("{PLATFORM}-{}", service.name);
    let rights = template.nest("platform", name, &given.platform_group, nested);

    let mut nested = Nested::new();
    let inside = base.pass(&mut nested);
    let own = Own::build(graph, service, inside, &mut nested, &given, &identities, &mut grants, &mut needs);
    let deployment = template.nest("service", service.name.as_str(), group.name(), nested);
    template.after(deployment.symbol(), group.symbol());
    template.after(deployment.symbol(), rights.symbol());

    if let Some(events) = &own.events {
        let mut nested = Nested::new();
        let name = nested.pass::<Text>("topicName", &given.topic_name);
        let topic = nested.template.existing::<Topic>("topic", name);
        let queue = nested.pass::<Text>("eventsQueueId", deployment.output(events));
        subscription(graph, service, &mut nested, &given, &topic, queue, &mut needs);
        let name = format!("events-{}", service.name);
        template.nest("events", name, &given.platform_group, nested);
    }

    let mut nested = Nested::new();
    in_gateway(
        service,
        &mut nested,
        &given,
        &identities,
        &mut grants,
        policies,
        own.urls.iter().map(|(app, url)| (*app, deployment.output(url))).collect(),
    );
    template.nest("gateway", format!("{GATEWAY}-{}", service.name), &given.gateway_group, nested);

    template.output::<Text>("group", group.name());
    for (app, site) in &own.sites {
        template.output::<Text>(&format!("{}Site", app.as_str()), deployment.output(site));
    }
    Layer { name: service.name.clone(), place: service.place, template, grants, needs }
}

/// The apps that send to the service's command queue, by service: its own first.
fn senders<'a>(graph: &'a Graph, service: &'a Service) -> Vec<&'a Service> {
    let others = graph.services.iter().filter(|other| other.name != service.name);
    [service]
        .into_iter()
        .chain(others.filter(|other| APPS.iter().any(|app| sends(graph, other, *app, service).next().is_some())))
        .collect()
}

/// The queues of a service that an app sends to.
fn sends<'a>(
    graph: &'a Graph,
    sender: &'a Service,
    app: App,
    service: &'a Service,
) -> impl Iterator<Item = &'static str> + 'a {
    let all = graph.sends(sender, app).into_iter();
    all.filter(|(target, _)| *target == service.name).map(|(_, queue)| queue)
}

/// What whoever deploys and the other layers give.
struct Given {
    platform_group: Of<Text>,
    topic_name: Of<Text>,
    topic_endpoint: Of<Text>,
    topic_id: Of<Text>,
    topic_principal_id: Of<Text>,
    dead_letter_account_id: Of<Text>,
    workspace_id: Of<Text>,
    telemetry_name: Of<Text>,
    vault_name: Of<Text>,
    /// Where the vault answers, for a service with personal data.
    vault_uri: Option<Of<Text>>,
    action_group_id: Of<Text>,
    /// The name and the address of the platform's namespace, for a service whose queues are in it.
    bus: Option<(Of<Text>, Of<Text>)>,
    gateway_group: Of<Text>,
    gateway_name: Of<Text>,
    gateway_tier: Of<Text>,
    gateway_principal_id: Of<Text>,
    /// The principal of the gateway's router, for a service that it asks.
    router_principal_id: Option<Of<Text>>,
    /// SignalR's name, endpoint and principal, for a service with subscriptions.
    signalr: Option<[Of<Text>; 3]>,
    registration: Registration,
    site_url: Of<Text>,
    introspection: Of<Text>,
    persisted_only: Of<Text>,
    memory: Of<Int>,
    instances: Of<Int>,
    redundancy: Of<Text>,
    operators: Of<Text>,
}

impl Given {
    fn declare(template: &mut Template, graph: &Graph, service: &Service) -> Self {
        let platform =
            |template: &mut Template, output: &str, about: &str| Base::from_layer(template, PLATFORM, output, about);
        let gateway =
            |template: &mut Template, output: &str, about: &str| Base::from_layer(template, GATEWAY, output, about);
        let said =
            |template: &mut Template, name: &str, about: &str| template.parameter(Parameter::new::<Text>(name, about));
        let instances = format!("How many instances each app of {} has at most.", service.name);
        Given {
            platform_group: platform(template, "platformGroup", "The platform's resource group."),
            topic_name: platform(template, "topicName", "The topic's name."),
            topic_endpoint: platform(template, "topicEndpoint", "The topic's address, without a path."),
            topic_id: platform(template, "topicId", "The topic's id."),
            topic_principal_id: platform(template, "topicPrincipalId", "The principal that delivers events."),
            dead_letter_account_id: platform(template, "deadLetterAccountId", "The account of undelivered events."),
            workspace_id: platform(template, "workspaceId", "The workspace of all logs."),
            telemetry_name: platform(template, "telemetryName", "The name of Application Insights."),
            vault_name: platform(template, "vaultName", "The name of the vault."),
            vault_uri: service.personal.then(|| platform(template, "vaultUri", "The address of the vault.")),
            action_group_id: platform(template, "actionGroupId", "Who is told of alerts."),
            bus: (service.bus == Bus::Shared).then(|| {
                let name = platform(template, "busName", "The name of the platform's Service Bus namespace.");
                (name, platform(template, "busEndpoint", "The address of the platform's Service Bus namespace."))
            }),
            gateway_group: gateway(template, "gatewayGroup", "The gateway's resource group."),
            gateway_name: gateway(template, "gatewayName", "The name of API Management."),
            gateway_tier: gateway(template, "gatewayTier", "The tier of API Management."),
            gateway_principal_id: gateway(template, "gatewayPrincipalId", "The principal that calls the apps."),
            router_principal_id: graph.gateway.services.contains(&service.name).then(|| {
                gateway(
                    template,
                    "routerPrincipalId",
                    "The principal that calls the apps for the graph of all services.",
                )
            }),
            signalr: service.subscriptions.then(|| {
                [
                    gateway(template, "signalrName", "The name of SignalR."),
                    gateway(template, "signalrEndpoint", "The address of SignalR."),
                    gateway(template, "signalrPrincipalId", "The principal of SignalR's identity."),
                ]
            }),
            registration: Registration {
                client_id: said(template, "appClientId", "The client id of the function apps' Entra application."),
                audience: said(
                    template,
                    "appAudience",
                    "The audience of the function apps' tokens, as in api://skein-dev.",
                ),
            },
            site_url: template.parameter(
                Parameter::new::<Text>("siteUrl", "The address of a site, with {0} where its name stands.")
                    .or("https://{0}.azurewebsites.net"),
            ),
            introspection: flag(template, "introspection", INTROSPECTION_ABOUT),
            persisted_only: flag(template, "persistedOnly", PERSISTED_ONLY_ABOUT),
            memory: number(template, "instanceMemoryMB", "How large an instance is: 512, 2048 or 4096 MB.", 512),
            instances: number(template, "maximumInstanceCount", &instances, 40),
            redundancy: Of::trust(Value::from(redundancy(template))),
            operators: template.parameter(Parameter::new::<Text>("operatorsId", OPERATORS_ABOUT).or("")),
        }
    }
}

/// The identities of apps, made by the platform.
struct Identities(Vec<(String, App, Ref<msi::Identity>)>);

impl Identities {
    fn declare(template: &mut Template, base: &Base<'_>, given: &Given, services: &[&Service]) -> Self {
        let mut identities = Vec::new();
        for service in services {
            for app in APPS {
                let binary = &service.app(app).binary;
                let symbol = format!("identity{}", capital(binary));
                let name = base.names.identity(service.app(app));
                let identity = template.elsewhere::<msi::Identity>(&symbol, &given.platform_group, name);
                identities.push((service.name.clone(), app, identity));
            }
        }
        Identities(identities)
    }

    /// The identity of an app, as a nested template sees it.
    fn pass(&self, nested: &mut Nested, service: &Service, app: App) -> Principal {
        let found = self.0.iter().find(|(name, known, _)| *name == service.name && *known == app);
        let (_, _, identity) = found.expect("it was declared");
        let symbol = identity.symbol();
        let id = nested.pass(&format!("{symbol}Id"), identity.id());
        let principal = identity.deployed().properties().principal_id();
        let principal = nested.pass(&format!("{symbol}PrincipalId"), principal);
        Principal::identity(&service.app(app).binary, id, principal)
    }

    fn client_id(&self, nested: &mut Nested, service: &Service, app: App) -> Of<Text> {
        let found = self.0.iter().find(|(name, known, _)| *name == service.name && *known == app);
        let (_, _, identity) = found.expect("it was declared");
        nested.pass(&format!("{}ClientId", identity.symbol()), identity.deployed().properties().client_id())
    }
}

/// What the service's own group tells the others.
struct Own {
    /// The id of the events queue, where the service reads any and the queue is its own.
    events: Option<OutputRef<Text>>,
    /// The address of each app.
    urls: Vec<(App, OutputRef<Text>)>,
    /// The name of each site.
    sites: Vec<(App, OutputRef<Text>)>,
}

impl Own {
    #[expect(clippy::too_many_arguments, reason = "what one service is made of")]
    fn build(
        graph: &Graph,
        service: &Service,
        inside: Inside<'_>,
        nested: &mut Nested,
        given: &Given,
        identities: &Identities,
        grants: &mut Vec<Grant>,
        needs: &mut Vec<Need>,
    ) -> Self {
        let workspace = nested.pass("workspaceId", &given.workspace_id);
        let actions = nested.pass("actionGroupId", &given.action_group_id);
        let redundancy = Of::trust(Value::from(nested.pass::<Text>("storageRedundancy", &given.redundancy)));
        let operators = Principal::operators(&nested.pass("operatorsId", &given.operators));
        let mend = |role: Role, on: Thing| {
            let grant = Grant { who: operators.who.clone(), role, on };
            Need { grant, because: OPERATORS_TOOL.to_owned() }
        };
        let principals = APPS.map(|app| (app, identities.pass(nested, service, app)));

        // Storage: the event store's shards, the views in the first of them.
        let mut accounts = Vec::new();
        for shard in 0..service.shards {
            let name = inside.names.account(service, shard);
            let symbol = format!("store{shard}");
            let account = inside.account(&mut nested.template, &symbol, &name, &redundancy);
            blobs(&mut nested.template, &format!("{symbol}Blobs"), &account, None);
            let tables = nested.template.only(&format!("{symbol}Tables"), &account, TableService::new());
            let mut wanted: Vec<(&str, Vec<App>)> =
                Service::STORE_TABLES.iter().map(|table| (*table, vec![App::Command])).collect();
            if shard == 0 {
                for table in query_tables(service) {
                    match wanted.iter_mut().find(|(known, _)| *known == table) {
                        Some((_, apps)) => apps.push(App::Query),
                        None => wanted.push((table, vec![App::Query])),
                    }
                }
            }
            if shard == 0 && service.personal {
                // Left out of backups: a copy would bring back who was erased.
                let made =
                    nested.template.child(&format!("{symbol}TablePersons"), &tables, Service::PERSONS, Table::new());
                for (app, principal) in &principals {
                    let role = if *app == App::Command { Role::TableContributor } else { Role::TableReader };
                    let thing = Thing::Table(name.clone(), Service::PERSONS.to_owned());
                    assign(&mut nested.template, grants, principal, role, &made, thing);
                }
            }
            for (table, apps) in wanted {
                let symbol = format!("{symbol}Table{}", capital(table));
                let made = nested.template.child(&symbol, &tables, table, Table::new());
                for (_, principal) in principals.iter().filter(|(app, _)| apps.contains(app)) {
                    let thing = Thing::Table(name.clone(), table.to_owned());
                    assign(&mut nested.template, grants, principal, Role::TableContributor, &made, thing);
                }
                if Service::STORE_TABLES.contains(&table) || table == Service::GENERATIONS_TABLE {
                    let thing = Thing::Table(name.clone(), table.to_owned());
                    needs.push(mend(Role::TableReader, thing.clone()));
                    assign(&mut nested.template, grants, &operators, Role::TableReader, &made, thing);
                }
            }
            diagnose(&mut nested.template, &account, &workspace, false);
            accounts.push(account);
        }

        // Queues, where they are not the platform's to hold.
        let name = inside.names.namespace(service);
        let mut own = Own { events: None, urls: Vec::new(), sites: Vec::new() };
        let (bus_name, bus_endpoint) = match &given.bus {
            Some((_, endpoint)) => (inside.unique(&name), nested.pass("busEndpoint", endpoint)),
            None => {
                let bus = nested.template.add("bus", inside.unique(&name), namespace(&inside));
                let queues = Queues::build(graph, service, nested, &bus, given, identities, grants, needs);
                diagnose(&mut nested.template, &bus, &workspace, true);
                watch_dead_letters(&mut nested.template, &inside, &name, &bus, &actions);
                if queues.delivery.is_some() {
                    own.events = Some(nested.template.output("eventsQueueId", queues.events.id()));
                }
                (bus.name(), bus.deployed().properties().service_bus_endpoint())
            }
        };

        // Apps.
        let registration = Registration {
            client_id: nested.pass("appClientId", &given.registration.client_id),
            audience: nested.pass("appAudience", &given.registration.audience),
        };
        let router = given.router_principal_id.as_ref().map(|id| nested.pass::<Text>("routerPrincipalId", id));
        let places = Computed {
            accounts: &accounts,
            hosts: Vec::new(),
            client_ids: APPS.map(|app| (app, identities.client_id(nested, service, app))).to_vec(),
            principals: principals.iter().map(|(app, principal)| (*app, principal.principal_id.clone())).collect(),
            graph,
            bus_name,
            bus_endpoint,
            fronts: [Some(nested.pass("gatewayPrincipalId", &given.gateway_principal_id)), router.clone()]
                .into_iter()
                .flatten()
                .collect(),
            router,
            audience: registration.audience.clone(),
            introspection: nested.pass("introspection", &given.introspection),
            persisted_only: nested.pass("persistedOnly", &given.persisted_only),
            topic: nested.pass("topicEndpoint", &given.topic_endpoint),
            site_url: nested.pass("siteUrl", &given.site_url),
            vault_uri: given.vault_uri.as_ref().map(|uri| nested.pass::<Text>("vaultUri", uri)),
            signalr: given.signalr.as_ref().map(|[_, endpoint, principal]| {
                let endpoint = nested.pass::<Text>("signalrEndpoint", endpoint);
                (endpoint, nested.pass::<Text>("signalrPrincipalId", principal))
            }),
            inside: &inside,
        };
        let places = APPS.into_iter().fold(places, |mut places, app| {
            let binary = &service.app(app).binary;
            let name = inside.names.host_account(service, app);
            let host = inside.host_account(&mut nested.template, binary, &name, &redundancy);
            let principal = &principals.iter().find(|(known, _)| *known == app).expect("both are there").1;
            assign(&mut nested.template, grants, principal, Role::BlobOwner, &host, Thing::HostAccount(binary.clone()));
            places.hosts.push((app, host));
            places
        });
        let vault = nested.pass::<Text>("vaultName", &given.vault_name);
        let memory = nested.pass("instanceMemoryMB", &given.memory);
        let instances = nested.pass("maximumInstanceCount", &given.instances);
        for (app, principal) in &principals {
            let binary = &service.app(*app).binary;
            let mut list = Vec::new();
            for setting in places.settings(service, *app) {
                for (role, on) in setting.needs {
                    let grant = Grant { who: principal.who.clone(), role, on };
                    needs.push(Need { grant, because: format!("the setting {}", setting.name) });
                }
                list.push((setting.name, setting.value));
            }
            let client_id = places.client_id(*app);
            let reference = "@Microsoft.KeyVault(VaultName=";
            let reference =
                join([reference.into(), Expr::from(&vault), format!(";SecretName={TELEMETRY_SECRET})").into()]);
            list.push(("APPLICATIONINSIGHTS_CONNECTION_STRING".to_owned(), reference));
            let by_token = join([Expr::from("Authorization=AAD;ClientId="), client_id.into()]);
            list.push(("APPLICATIONINSIGHTS_AUTHENTICATION_STRING".to_owned(), by_token));
            list.sort_by(|one, other| one.0.cmp(&other.0));
            let telemetry = [
                (Role::SecretsUser, Thing::Secret(TELEMETRY_SECRET.to_owned())),
                (Role::MetricsPublisher, Thing::Insights),
            ];
            needs.extend(telemetry.map(|(role, on)| Need {
                grant: Grant { who: principal.who.clone(), role, on },
                because: "the setting APPLICATIONINSIGHTS_CONNECTION_STRING".to_owned(),
            }));
            let mut callers = places.fronts.clone();
            if *app == App::Command {
                // The query app asks for outcomes, on one route.
                callers.push(places.principal_id(App::Query));
            }
            if let (App::Query, Some((_, hub))) = (app, &places.signalr) {
                // The hub passes on what its clients ask.
                callers.push(hub.clone());
            }
            let parts = AppParts {
                binary,
                site: places.site(service, *app),
                host: places.host(*app).clone(),
                identity: principal.id.clone(),
                settings: list,
                callers,
                open: service.app(*app).open_paths(),
                registration: registration.clone(),
                memory: memory.clone(),
                instances: instances.clone(),
            };
            let site = inside.app(&mut nested.template, parts);
            diagnose(&mut nested.template, &site, &workspace, true);
            let url = places.site_url(service, *app);
            let outputs = &mut nested.template;
            own.urls.push((*app, outputs.output(&format!("{}Url", app.as_str()), url)));
            own.sites.push((*app, outputs.output(&format!("{}Site", app.as_str()), site.name())));
        }
        own
    }
}

/// A service's queues, with everybody's roles on them.
struct Queues {
    /// Where events are delivered to.
    events: Ref<Queue>,
    /// The symbol of the topic's role on it, where the service reads any events.
    delivery: Option<String>,
}

impl Queues {
    #[expect(clippy::too_many_arguments, reason = "what the queues of one service are made of")]
    fn build(
        graph: &Graph,
        service: &Service,
        nested: &mut Nested,
        bus: &Ref<Namespace>,
        given: &Given,
        identities: &Identities,
        grants: &mut Vec<Grant>,
        needs: &mut Vec<Need>,
    ) -> Self {
        let operators = Principal::operators(&nested.pass("operatorsId", &given.operators));
        let principals = APPS.map(|app| (app, identities.pass(nested, service, app)));
        let mut queues: Vec<(&str, Ref<Queue>)> = Vec::new();
        for facts in QUEUES {
            let properties = SBQueueProperties::new()
                .requires_session(facts.sessions)
                .requires_duplicate_detection(DUPLICATE_DETECTION)
                .lock_duration(LOCK)
                .max_delivery_count(DELIVERIES)
                .dead_lettering_on_message_expiration(true);
            let symbol = format!("queue{}", capital(facts.name));
            let name = service.queue_in_bus(facts.name);
            let queue = nested.template.child(&symbol, bus, name, Queue::new().properties(properties));
            queues.push((facts.name, queue));
        }
        let queue = |name: &str| &queues.iter().find(|(known, _)| *known == name).expect("every service has it").1;
        let thing = |name: &str| Thing::Queue(service.name.clone(), name.to_owned());
        for sender in senders(graph, service) {
            for app in APPS {
                for name in sends(graph, sender, app, service) {
                    let principal = identities.pass(nested, sender, app);
                    assign(&mut nested.template, grants, &principal, Role::QueueSender, queue(name), thing(name));
                }
            }
        }
        for (name, queue) in &queues {
            for role in [Role::QueueReceiver, Role::QueueSender] {
                let grant = Grant { who: operators.who.clone(), role, on: thing(name) };
                needs.push(Need { grant, because: OPERATORS_TOOL.to_owned() });
                assign(&mut nested.template, grants, &operators, role, queue, thing(name));
            }
        }
        for (app, principal) in &principals {
            for function in &service.app(*app).functions {
                let Trigger::ServiceBus { queue: name, .. } = &function.trigger else { continue };
                // A trigger on a queue that is not made leaves its need unmet, which is told.
                let Some((_, queue)) = queues.iter().find(|(known, _)| known == name) else { continue };
                assign(&mut nested.template, grants, principal, Role::QueueReceiver, queue, thing(name));
            }
        }
        let delivery = (!subject_prefixes(service).is_empty()).then(|| {
            let id = nested.pass("topicId", &given.topic_id);
            let topic = Principal::identity(TOPIC, id, nested.pass("topicPrincipalId", &given.topic_principal_id));
            let (events, thing) = (queue(Service::EVENTS), thing(Service::EVENTS));
            assign(&mut nested.template, grants, &topic, Role::QueueSender, events, thing)
        });
        Queues { events: queue(Service::EVENTS).clone(), delivery }
    }
}

/// What the service puts into the platform's group: roles on what is shared, and queues in a namespace that is, with the
/// subscription that delivers there.
fn in_platform(
    graph: &Graph,
    service: &Service,
    nested: &mut Nested,
    given: &Given,
    identities: &Identities,
    grants: &mut Vec<Grant>,
    needs: &mut Vec<Need>,
) {
    let name = nested.pass::<Text>("topicName", &given.topic_name);
    let topic = nested.template.existing::<Topic>("topic", name);
    let name = nested.pass::<Text>("telemetryName", &given.telemetry_name);
    let telemetry = nested.template.existing::<Component>("telemetry", name);
    let name = nested.pass::<Text>("vaultName", &given.vault_name);
    let vault = nested.template.existing::<Vault>("vault", name);
    let secret = nested.template.existing_child::<Secret>("telemetrySecret", &vault, TELEMETRY_SECRET);
    // The one key that wraps the keys of the service's persons: without it nothing that was sealed can be read.
    let key = service.personal.then(|| {
        let properties =
            KeyProperties::new().kty(Kty::Rsa).key_size(2048).key_ops([KeyOps::WrapKey, KeyOps::UnwrapKey]);
        nested.template.child("personalKey", &vault, service.name.as_str(), Key::new(properties))
    });
    for app in APPS {
        let principal = identities.pass(nested, service, app);
        let inner = &mut nested.template;
        if let Some(key) = &key {
            assign(inner, grants, &principal, Role::KeyUser, key, Thing::Key(service.name.clone()));
        }
        if app == App::Command {
            assign(inner, grants, &principal, Role::EventSender, &topic, Thing::Topic);
        }
        assign(inner, grants, &principal, Role::MetricsPublisher, &telemetry, Thing::Insights);
        let thing = Thing::Secret(TELEMETRY_SECRET.to_owned());
        assign(inner, grants, &principal, Role::SecretsUser, &secret, thing);
    }
    if let Some((name, _)) = given.bus.as_ref() {
        let name = nested.pass::<Text>("busName", name);
        let bus = nested.template.existing::<Namespace>("bus", name);
        let Queues { events, delivery } = Queues::build(graph, service, nested, &bus, given, identities, grants, needs);
        if let Some(role) = delivery {
            subscription(graph, service, nested, given, &topic, events.id(), needs);
            nested.template.after("subscription", &role);
        }
    }
}

/// What brings the service the events that it handles.
fn subscription(
    graph: &Graph,
    service: &Service,
    nested: &mut Nested,
    given: &Given,
    topic: &Ref<Topic>,
    queue: Of<Text>,
    needs: &mut Vec<Need>,
) {
    let account = nested.pass::<Text>("deadLetterAccountId", &given.dead_letter_account_id);
    let identity = || EventSubscriptionIdentity::new().r#type(EventSubscriptionIdentityType::SystemAssigned);
    let destination = ServiceBusQueueEventSubscriptionDestination::new()
        .properties(ServiceBusQueueEventSubscriptionDestinationProperties::new().resource_id(queue));
    let aside = StorageBlobDeadLetterDestination::new().properties(
        StorageBlobDeadLetterDestinationProperties::new().resource_id(account).blob_container_name(DEAD_LETTERS),
    );
    let filter: Of<AdvancedFilter> =
        StringBeginsWithAdvancedFilter::new().key("subject").values(subject_prefixes(service)).into();
    let properties = EventSubscriptionProperties::new()
        .event_delivery_schema(EventDeliverySchema::CloudEventSchemaV1_0)
        .delivery_with_resource_identity(
            DeliveryWithResourceIdentity::new().identity(identity()).destination(destination),
        )
        .dead_letter_with_resource_identity(
            DeadLetterWithResourceIdentity::new().identity(identity()).dead_letter_destination(aside),
        )
        .filter(EventSubscriptionFilter::new().advanced_filters([filter]))
        .retry_policy(
            RetryPolicy::new()
                .max_delivery_attempts(graph.platform.delivery_attempts)
                .event_time_to_live_in_minutes(graph.platform.event_minutes),
        );
    let subscription = EventSubscription::new().properties(properties);
    nested.template.child("subscription", topic, service.name.as_str(), subscription);
    let grant = Grant {
        who: TOPIC.to_owned(),
        role: Role::QueueSender,
        on: Thing::Queue(service.name.clone(), Service::EVENTS.to_owned()),
    };
    needs.push(Need { grant, because: "the subscription".to_owned() });
}

/// What the service puts into the gateway's group: its API, its backends and its policy.
fn in_gateway(
    service: &Service,
    nested: &mut Nested,
    given: &Given,
    identities: &Identities,
    grants: &mut Vec<Grant>,
    policies: &Policies,
    urls: Vec<(App, Of<Text>)>,
) {
    if let Some([name, ..]) = &given.signalr {
        let name = nested.pass::<Text>("signalrName", name);
        let principal = identities.pass(nested, service, App::Query);
        let signalr = nested.template.existing::<SignalR>("signalr", name);
        assign(&mut nested.template, grants, &principal, Role::SignalRApi, &signalr, Thing::SignalR);
    }
    let name = nested.pass::<Text>("gatewayName", &given.gateway_name);
    let gateway = nested.template.existing::<apimanagement::Service>("gateway", name);
    let mut backends = Vec::new();
    for (app, url) in urls {
        let binary = &service.app(app).binary;
        let url = nested.pass::<Text>(&format!("{}Url", app.as_str()), url);
        let properties = BackendContractProperties::new()
            .url(join([Expr::from(url), "/api".into()]))
            .protocol(Protocol::Http)
            .tls(BackendTlsProperties::new().validate_certificate_chain(true).validate_certificate_name(true));
        let symbol = format!("backend{}", capital(binary));
        nested.template.child(&symbol, &gateway, binary.as_str(), Backend::new().properties(properties));
        backends.push(symbol);
    }
    let properties = ApiProperties::new(service.name.as_str())
        .display_name(service.name.as_str())
        .protocols([Protocols::Https])
        .subscription_required(false);
    let api = nested.template.child("api", &gateway, service.name.as_str(), Api::new().properties(properties));
    // Those that are never right are answered by the policy, with what is allowed: what fits no operation is a 404.
    for method in ["POST", "GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        let symbol = format!("operation{method}");
        let properties = OperationContractProperties::new(format!("GraphQL by {method}"), method, "/graphql");
        let name = format!("graphql-{}", method.to_lowercase());
        nested.template.child(&symbol, &api, name, ApiOperation::new().properties(properties));
    }
    let tier = nested.pass::<Text>("gatewayTier", &given.gateway_tier);
    let properties = PolicyContractProperties::new(policies.service(&service.name, &tier))
        .format(PolicyContractPropertiesFormat::Xml);
    nested.template.child("policy", &api, "policy", ApiPolicy::new().properties(properties));
    for backend in &backends {
        nested.template.after("policy", backend);
    }
    if service.subscriptions {
        let name = format!("{}-subscriptions", service.name);
        let properties = ApiProperties::new(format!("{}/subscriptions", service.name))
            .display_name(name.as_str())
            .protocols([Protocols::Https])
            .subscription_required(false);
        let api = nested.template.child("subscriptions", &gateway, name, Api::new().properties(properties));
        let properties = OperationContractProperties::new("How to connect", "POST", "/negotiate");
        nested.template.child("negotiate", &api, "negotiate", ApiOperation::new().properties(properties));
        let properties = PolicyContractProperties::new(policies.subscriptions(&service.name, &tier))
            .format(PolicyContractPropertiesFormat::Xml);
        nested.template.child("subscriptionsPolicy", &api, "policy", ApiPolicy::new().properties(properties));
        for backend in &backends {
            nested.template.after("subscriptionsPolicy", backend);
        }
    }
}

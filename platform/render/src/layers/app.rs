//! A function app on Flex Consumption: plan, host storage, site, settings, authentication.

use skein_model::arm::{Int, Of, Ref, Template, Text, Value, environment, format, join, tenant};
use skein_model::azure::storage::{SkuName, StorageAccount};
use skein_model::azure::web::{
    AllowedPrincipals, AppServicePlanProperties, AuthPlatform, AzureActiveDirectory, AzureActiveDirectoryRegistration,
    AzureActiveDirectoryValidation, CsmPublishingCredentialsPoliciesEntityProperties, DefaultAuthorizationPolicy,
    FtpPublishing, FtpsState, FunctionAppConfig, FunctionsDeployment, FunctionsDeploymentStorage,
    FunctionsDeploymentStorageAuthentication, FunctionsDeploymentStorageAuthenticationType,
    FunctionsDeploymentStorageType, FunctionsRuntime, FunctionsRuntimeName, FunctionsScaleAndConcurrency,
    GlobalValidation, HttpSettings, IdentityProviders, Login, ManagedServiceIdentity, ManagedServiceIdentityType,
    MinTlsVersion, Plan, ScmMinTlsVersion, ScmPublishing, Site, SiteAuthSettingsV2Properties, SiteAuthentication,
    SiteConfig, SiteProperties, SiteSettings, SkuDescription, TokenStore, UnauthenticatedClientAction,
    UserAssignedIdentity,
};

use super::platform::capital;
use super::{Inside, blobs, container};

/// The container of an app's package.
pub(super) const PACKAGES: &str = "packages";

/// What a function app is made of.
pub(super) struct AppParts<'a> {
    /// The binary's name.
    pub binary: &'a str,
    /// The name of the site.
    pub site: Of<Text>,
    /// The account of its host.
    pub host: Ref<StorageAccount>,
    /// The id of its identity.
    pub identity: Of<Text>,
    /// Its settings.
    pub settings: Vec<(String, Of<Text>)>,
    /// The principals that may call it.
    pub callers: Vec<Of<Text>>,
    /// The paths that everybody may call.
    pub open: Vec<String>,
    /// The registration that callers ask for tokens of.
    pub registration: Registration,
    /// How large an instance is, in MB.
    pub memory: Of<Int>,
    /// How many instances there are at most.
    pub instances: Of<Int>,
}

/// The Entra application of an environment's function apps: ARM cannot make it.
#[derive(Clone)]
pub(super) struct Registration {
    /// Its client id.
    pub client_id: Of<Text>,
    /// The audience of its tokens.
    pub audience: Of<Text>,
}

/// The symbol of an app's site.
pub(super) fn site_symbol(binary: &str) -> String {
    format!("site{}", capital(binary))
}

impl Inside<'_> {
    /// The account of a functions host with the container of its package. One for each app: who may write a package may
    /// become the app.
    pub(super) fn host_account(
        &self,
        template: &mut Template,
        binary: &str,
        name: &str,
        redundancy: &Of<SkuName>,
    ) -> Ref<StorageAccount> {
        let account = self.account(template, &format!("host{}", capital(binary)), name, redundancy);
        let blobs = blobs(template, &format!("host{}Blobs", capital(binary)), &account, None);
        container(template, &format!("packages{}", capital(binary)), &blobs, PACKAGES);
        account
    }

    /// Adds the app.
    pub(super) fn app(&self, template: &mut Template, parts: AppParts<'_>) -> Ref<Site> {
        let name = capital(parts.binary);
        let plan = template.add(
            &format!("plan{name}"),
            format!("plan-{}", parts.binary),
            Plan::new(&self.location)
                .kind("functionapp")
                .sku(SkuDescription::new().tier("FlexConsumption").name("FC1"))
                .properties(AppServicePlanProperties::new().reserved(true))
                .tags(self.tags()),
        );
        let authentication = FunctionsDeploymentStorageAuthentication::new()
            .r#type(FunctionsDeploymentStorageAuthenticationType::UserAssignedIdentity)
            .user_assigned_identity_resource_id(&parts.identity);
        let blob = parts.host.deployed().properties().primary_endpoints().blob();
        let storage = FunctionsDeploymentStorage::new()
            .r#type(FunctionsDeploymentStorageType::BlobContainer)
            .value(join([blob.into(), skein_model::arm::Expr::from(PACKAGES)]))
            .authentication(authentication);
        let config = FunctionAppConfig::new()
            .deployment(FunctionsDeployment::new().storage(storage))
            .runtime(FunctionsRuntime::new().name(FunctionsRuntimeName::Custom).version("1.0"))
            .scale_and_concurrency(
                FunctionsScaleAndConcurrency::new()
                    .instance_memory_mb(&parts.memory)
                    .maximum_instance_count(&parts.instances),
            );
        let site_config = SiteConfig::new()
            .ftps_state(FtpsState::Disabled)
            .http20_enabled(true)
            .min_tls_version(MinTlsVersion::V1_2)
            .scm_min_tls_version(ScmMinTlsVersion::V1_2);
        let properties = SiteProperties::new()
            .client_affinity_enabled(false)
            .function_app_config(config)
            .https_only(true)
            .key_vault_reference_identity(&parts.identity)
            .public_network_access("Enabled")
            .server_farm_id(plan.id())
            .site_config(site_config);
        let identity = ManagedServiceIdentity::new()
            .r#type(ManagedServiceIdentityType::UserAssigned)
            .user_assigned_identities([(
                parts.identity.clone(),
                Of::<UserAssignedIdentity>::trust(Value::Object(skein_model::arm::Object::new())),
            )]);
        let symbol = site_symbol(parts.binary);
        let site = template.add(
            &symbol,
            parts.site,
            Site::new(&self.location)
                .kind("functionapp,linux")
                .identity(identity)
                .properties(properties)
                .tags(self.tags()),
        );
        template.after(&symbol, &format!("packages{name}"));

        let settings = SiteSettings::new().properties(parts.settings);
        template.only(&format!("settings{name}"), &site, settings);
        let issuer = format("{0}{1}/v2.0", [environment().authentication().login_endpoint(), tenant().tenant_id()]);
        let validation = AzureActiveDirectoryValidation::new()
            .allowed_audiences([&parts.registration.audience])
            .default_authorization_policy(
                DefaultAuthorizationPolicy::new()
                    .allowed_principals(AllowedPrincipals::new().identities(parts.callers)),
            );
        let provider = AzureActiveDirectory::new()
            .enabled(true)
            .registration(
                AzureActiveDirectoryRegistration::new().client_id(&parts.registration.client_id).open_id_issuer(issuer),
            )
            .validation(validation);
        let properties = SiteAuthSettingsV2Properties::new()
            .platform(AuthPlatform::new().enabled(true))
            .global_validation(
                GlobalValidation::new()
                    .require_authentication(true)
                    .unauthenticated_client_action(UnauthenticatedClientAction::Return401)
                    .excluded_paths(parts.open),
            )
            .http_settings(HttpSettings::new().require_https(true))
            .identity_providers(IdentityProviders::new().azure_active_directory(provider))
            .login(Login::new().token_store(TokenStore::new().enabled(false)));
        template.only(&format!("authentication{name}"), &site, SiteAuthentication::new().properties(properties));
        let refused = || CsmPublishingCredentialsPoliciesEntityProperties::new(false);
        template.only(&format!("ftp{name}"), &site, FtpPublishing::new().properties(refused()));
        template.only(&format!("scm{name}"), &site, ScmPublishing::new().properties(refused()));
        // One after the other: a site takes one change of its configuration at a time.
        for pair in ["settings", "authentication", "ftp", "scm"].windows(2) {
            template.after(&format!("{}{name}", pair[1]), &format!("{}{name}", pair[0]));
        }
        site
    }
}

//! Deployed resources, in ARM's shape, as a typed plan of what to host.
//!
//! The plan is checked before anything changes: whatever is malformed or points at something that is not there is an
//! error that names the resource.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::blobs::WEBSITE;
use crate::broker::QueueSettings;
use crate::identity::ManagedIdentity;
use crate::signalr;

/// One resource, as ARM would list it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resource {
    /// The full type, as in `Microsoft.ServiceBus/namespaces/queues`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The full name: a segment for each segment of the type after the provider.
    pub name: String,
    /// The identity.
    #[serde(default)]
    pub identity: Value,
    /// The properties.
    #[serde(default)]
    pub properties: Value,
}

/// A resource that is malformed or dangling.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name}: {why}")]
pub struct ResourcesError {
    /// Its type.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// The types that have an engine here.
const HOSTED: [&str; 17] = [
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/blobServices/containers",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Storage/storageAccounts/tableServices/tables",
    "Microsoft.ServiceBus/namespaces",
    "Microsoft.ServiceBus/namespaces/queues",
    "Microsoft.EventGrid/topics",
    "Microsoft.EventGrid/topics/eventSubscriptions",
    "Microsoft.KeyVault/vaults",
    "Microsoft.KeyVault/vaults/keys",
    "Microsoft.SignalRService/signalR",
    "Microsoft.Web/sites",
    "Microsoft.ApiManagement/service",
    "Microsoft.ApiManagement/service/backends",
    "Microsoft.ApiManagement/service/apis",
];

/// A queue to declare.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// The namespace.
    pub namespace: String,
    /// The queue.
    pub name: String,
    /// Its settings.
    pub settings: QueueSettings,
}

/// A topic's subscription to declare.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// The subscription.
    pub name: String,
    /// The namespace and queue that it delivers into; both are in the plan.
    pub destination: (String, String),
    /// Everything it says, for the topic engine.
    pub properties: Value,
}

/// What App Service's authentication checks before a function app sees a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SiteAuth {
    /// Whether a request without a token is refused.
    pub required: bool,
    /// Paths that need no token, compared exactly.
    pub excluded_paths: Vec<String>,
    /// The audiences that a token may have.
    pub audiences: Vec<String>,
    /// The principals that may call; any holder of a token for the audience where it is `None`.
    pub principals: Option<Vec<String>>,
}

/// A function app to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The identities it may have tokens of.
    pub identities: Vec<ManagedIdentity>,
    /// Its app settings.
    pub settings: BTreeMap<String, String>,
    /// Who may call it.
    pub auth: SiteAuth,
}

/// What to host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Storage accounts with their tables.
    pub accounts: BTreeMap<String, BTreeSet<String>>,
    /// Account and name of each container of blobs.
    pub containers: BTreeSet<(String, String)>,
    /// Queues.
    pub queues: Vec<Queue>,
    /// Keys of vaults, as vault and name.
    pub vault_keys: Vec<(String, String)>,
    /// Topics, with the principal that each delivers as.
    pub topics: BTreeMap<String, Option<String>>,
    /// Subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// SignalR services, by name.
    pub signalr: BTreeMap<String, signalr::Settings>,
    /// Function apps.
    pub sites: Vec<Site>,
    /// The name of the gateway, where there is one.
    pub gateway: Option<String>,
    /// The account whose website Front Door shows, where there is one.
    pub website: Option<String>,
}

impl Resource {
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it is the site of that name.
    pub(crate) fn is_site(&self, name: &str) -> bool {
        self.is("Microsoft.Web/sites") && self.is_named(name)
    }

    fn error(&self, why: impl Into<String>) -> ResourcesError {
        ResourcesError { kind: self.kind.clone(), name: self.name.clone(), why: why.into() }
    }

    /// The name's segments, as many as the type has after its provider.
    fn segments<const N: usize>(&self) -> Result<[&str; N], ResourcesError> {
        let segments: Vec<&str> = self.name.split('/').collect();
        match <[&str; N]>::try_from(segments) {
            Ok(segments) if segments.iter().all(|segment| is_name(segment)) => Ok(segments),
            _ => Err(self.error(format!("the name must have {N} segments of letters, digits, `-`, `_` and `.`"))),
        }
    }

    fn text<'v>(&self, value: &'v Value, pointer: &str) -> Result<&'v str, ResourcesError> {
        let found = value.pointer(pointer).unwrap_or(&Value::Null);
        found.as_str().filter(|text| !text.is_empty()).ok_or_else(|| {
            self.error(format!("{} must be a text, it is {found}", pointer.trim_start_matches('/').replace('/', ".")))
        })
    }

    fn texts(&self, value: &Value, pointer: &str) -> Result<Option<Vec<String>>, ResourcesError> {
        match value.pointer(pointer) {
            None | Some(Value::Null) => Ok(None),
            Some(found) => Deserialize::deserialize(found).map(Some).map_err(|_| {
                let name = pointer.trim_start_matches('/').replace('/', ".");
                self.error(format!("{name} must be a list of texts, it is {found}"))
            }),
        }
    }
}

/// Names become parts of paths and file names: nothing that could leave a folder.
fn is_name(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The values after the segments `types` of a resource id, as in `…/namespaces/{ns}/queues/{q}`.
fn id_segments<'i, const N: usize>(id: &'i str, types: [&str; N]) -> Option<[&'i str; N]> {
    let parts: Vec<&str> = id.split('/').collect();
    let tail = parts.get(parts.len().checked_sub(2 * N)?..)?;
    let mut values = [""; N];
    for (n, kind) in types.iter().enumerate() {
        if !tail[2 * n].eq_ignore_ascii_case(kind) {
            return None;
        }
        values[n] = tail[2 * n + 1];
    }
    Some(values)
}

impl Plan {
    /// Whether resources of a type, of that name, have an engine here.
    pub fn hosts(kind: &str, name: &str) -> bool {
        let is_auth =
            kind.eq_ignore_ascii_case("Microsoft.Web/sites/config") && name.to_lowercase().ends_with("/authsettingsv2");
        is_auth || HOSTED.iter().any(|hosted| hosted.eq_ignore_ascii_case(kind))
    }

    /// Checks a list.
    ///
    /// # Errors
    /// Any resource that is malformed or dangling.
    pub fn of(list: &[Resource]) -> Result<Plan, ResourcesError> {
        let mut plan = Plan::default();
        let mut seen = BTreeSet::new();
        for resource in list {
            if !seen.insert((resource.kind.to_ascii_lowercase(), resource.name.to_ascii_lowercase())) {
                return Err(resource.error("it is in the list twice"));
            }
        }

        let mut identities = BTreeMap::new();
        let mut auths = BTreeMap::new();
        let mut namespaces = BTreeSet::new();
        let mut vaults = BTreeSet::new();
        for resource in list {
            if resource.is("Microsoft.ManagedIdentity/userAssignedIdentities") {
                let [name] = resource.segments()?;
                let identity = ManagedIdentity {
                    principal_id: resource.text(&resource.properties, "/principalId")?.to_owned(),
                    client_id: resource.text(&resource.properties, "/clientId")?.to_owned(),
                };
                identities.insert(name.to_ascii_lowercase(), identity);
            } else if resource.is("Microsoft.Storage/storageAccounts") {
                let [name] = resource.segments()?;
                plan.accounts.insert(name.to_owned(), BTreeSet::new());
            } else if resource.is("Microsoft.ServiceBus/namespaces") {
                let [name] = resource.segments()?;
                namespaces.insert(name.to_owned());
            } else if resource.is("Microsoft.KeyVault/vaults") {
                let [name] = resource.segments()?;
                vaults.insert(name.to_owned());
            } else if resource.is("Microsoft.EventGrid/topics") {
                let [name] = resource.segments()?;
                let principal = resource.identity.get("principalId").and_then(Value::as_str).map(str::to_owned);
                plan.topics.insert(name.to_owned(), principal);
            } else if resource.is("Microsoft.SignalRService/signalR") {
                let [name] = resource.segments()?;
                plan.signalr.insert(name.to_owned(), signalr_settings(resource)?);
            } else if resource.is("Microsoft.Web/sites/config") && resource.name.ends_with("/authsettingsV2") {
                let [site, _] = resource.segments()?;
                auths.insert(site.to_owned(), (resource, site_auth(resource)?));
            }
        }

        for resource in list {
            let properties = &resource.properties;
            if resource.is("Microsoft.Storage/storageAccounts/tableServices/tables") {
                let [account, _, table] = resource.segments()?;
                let tables = plan.accounts.get_mut(account);
                let tables = tables.ok_or_else(|| resource.error(format!("there is no storage account {account}")))?;
                tables.insert(table.to_owned());
            } else if resource.is("Microsoft.Storage/storageAccounts/blobServices/containers") {
                let [account, _, container] = resource.segments()?;
                if !plan.accounts.contains_key(account) {
                    return Err(resource.error(format!("there is no storage account {account}")));
                }
                plan.containers.insert((account.to_owned(), container.to_owned()));
            } else if resource.is("Microsoft.Storage/storageAccounts/blobServices") {
                let [account, _] = resource.segments()?;
                if properties.pointer("/staticWebsite/enabled") != Some(&Value::Bool(true)) {
                    continue;
                }
                if plan.website.is_some() {
                    return Err(resource.error("there is a website already, and only one is shown"));
                }
                plan.containers.insert((account.to_owned(), WEBSITE.to_owned()));
                plan.website = Some(account.to_owned());
            } else if resource.is("Microsoft.ServiceBus/namespaces/queues") {
                let [namespace, name] = resource.segments()?;
                if !namespaces.contains(namespace) {
                    return Err(resource.error(format!("there is no namespace {namespace}")));
                }
                let settings =
                    QueueSettings::from_arm(properties).map_err(|error| resource.error(error.to_string()))?;
                plan.queues.push(Queue { namespace: namespace.to_owned(), name: name.to_owned(), settings });
            } else if resource.is("Microsoft.KeyVault/vaults/keys") {
                let [vault, key] = resource.segments()?;
                if !vaults.contains(vault) {
                    return Err(resource.error(format!("there is no vault {vault}")));
                }
                if resource.text(properties, "/kty")? != "RSA" {
                    return Err(resource.error("only keys with kty RSA are hosted"));
                }
                plan.vault_keys.push((vault.to_owned(), key.to_owned()));
            } else if resource.is("Microsoft.Web/sites") {
                let [name] = resource.segments()?;
                let auth = auths.remove(name).map(|(_, auth)| auth).unwrap_or_default();
                plan.sites.push(site(resource, name, &identities, auth)?);
            }
        }
        if let Some((site, (resource, _))) = auths.into_iter().next() {
            return Err(resource.error(format!("there is no site {site}")));
        }

        for resource in list {
            if resource.is("Microsoft.EventGrid/topics/eventSubscriptions") {
                plan.subscriptions.push(plan.subscription(resource)?);
            } else if resource.is("Microsoft.ApiManagement/service") {
                if plan.gateway.is_some() {
                    return Err(resource.error("there is a gateway already, and only one can listen"));
                }
                let [name] = resource.segments()?;
                plan.gateway = Some(name.to_owned());
            }
        }
        Ok(plan)
    }

    fn subscription(&self, resource: &Resource) -> Result<Subscription, ResourcesError> {
        let [topic, name] = resource.segments()?;
        if !self.topics.contains_key(topic) {
            return Err(resource.error(format!("there is no topic {topic}")));
        }
        let destination = ["/deliveryWithResourceIdentity/destination", "/destination"]
            .into_iter()
            .find_map(|pointer| resource.properties.pointer(pointer))
            .ok_or_else(|| resource.error("it has no destination"))?;
        let endpoint = resource.text(destination, "/endpointType")?;
        if endpoint != "ServiceBusQueue" {
            return Err(resource.error(format!("deliveries to {endpoint} are not hosted, only to ServiceBusQueue")));
        }
        let id = resource.text(destination, "/properties/resourceId")?;
        let [namespace, queue] = id_segments(id, ["namespaces", "queues"])
            .ok_or_else(|| resource.error(format!("{id} is not the id of a queue")))?;
        if !self.queues.iter().any(|known| known.namespace == namespace && known.name == queue) {
            return Err(resource.error(format!("there is no queue {namespace}/{queue}")));
        }
        Ok(Subscription {
            topic: topic.to_owned(),
            name: name.to_owned(),
            destination: (namespace.to_owned(), queue.to_owned()),
            properties: resource.properties.clone(),
        })
    }
}

fn site(
    resource: &Resource,
    name: &str,
    identities: &BTreeMap<String, ManagedIdentity>,
    auth: SiteAuth,
) -> Result<Site, ResourcesError> {
    #[derive(Deserialize)]
    struct Setting {
        name: String,
        value: String,
    }
    let settings: Vec<Setting> = match resource.properties.pointer("/siteConfig/appSettings") {
        None | Some(Value::Null) => Vec::new(),
        Some(settings) => Deserialize::deserialize(settings)
            .map_err(|error| resource.error(format!("siteConfig.appSettings must be [{{name, value}}]: {error}")))?,
    };
    let mut by_name = BTreeMap::new();
    for setting in settings {
        if setting.name.is_empty() || setting.name.contains(['=', '\0']) || setting.value.contains('\0') {
            return Err(resource.error(format!("the app setting {:?} cannot be in an environment", setting.name)));
        }
        if by_name.insert(setting.name.clone(), setting.value).is_some() {
            return Err(resource.error(format!("the app setting {} is there twice", setting.name)));
        }
    }
    let mut own = Vec::new();
    if let Some(assigned) = resource.identity.get("userAssignedIdentities").and_then(Value::as_object) {
        for id in assigned.keys() {
            let [identity] = id_segments(id, ["userAssignedIdentities"])
                .ok_or_else(|| resource.error(format!("{id} is not the id of an identity")))?;
            let identity = identities.get(&identity.to_ascii_lowercase());
            own.push(identity.cloned().ok_or_else(|| resource.error(format!("there is no identity {id}")))?);
        }
    }
    Ok(Site { name: name.to_owned(), identities: own, settings: by_name, auth })
}

fn signalr_settings(resource: &Resource) -> Result<signalr::Settings, ResourcesError> {
    #[derive(Deserialize)]
    struct Feature {
        flag: String,
        value: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Template {
        #[serde(default = "any")]
        hub_pattern: String,
        #[serde(default = "any")]
        category_pattern: String,
        #[serde(default = "any")]
        event_pattern: String,
        url_template: String,
        #[serde(default)]
        auth: Value,
    }
    fn any() -> String {
        "*".to_owned()
    }
    let properties = &resource.properties;
    let list = |pointer: &str| properties.pointer(pointer).filter(|found| !found.is_null());
    let malformed = |what: &str, error: serde_json::Error| resource.error(format!("{what}: {error}"));
    let features: Vec<Feature> = list("/features")
        .map_or(Ok(Vec::new()), Deserialize::deserialize)
        .map_err(|error| malformed("features must be [{flag, value}]", error))?;
    let mode = features.iter().find(|feature| feature.flag.eq_ignore_ascii_case("ServiceMode"));
    if !mode.is_some_and(|mode| mode.value.eq_ignore_ascii_case("Serverless")) {
        return Err(resource.error("only the ServiceMode Serverless is hosted"));
    }
    let templates: Vec<Template> = list("/upstream/templates")
        .map_or(Ok(Vec::new()), Deserialize::deserialize)
        .map_err(|error| malformed("upstream.templates", error))?;
    let templates = templates.into_iter().map(|template| {
        let resource_of = match template.auth["type"].as_str().unwrap_or("None") {
            "None" => None,
            "ManagedIdentity" => Some(resource.text(&template.auth, "/managedIdentity/resource")?.to_owned()),
            other => return Err(resource.error(format!("the upstream's auth {other} is not known"))),
        };
        if template.url_template.contains("{@") {
            return Err(resource.error("secrets in the URL of an upstream are not hosted"));
        }
        Ok(signalr::Template {
            hubs: template.hub_pattern,
            categories: template.category_pattern,
            events: template.event_pattern,
            url: template.url_template,
            resource: resource_of,
        })
    });
    Ok(signalr::Settings {
        principal: resource.identity.get("principalId").and_then(Value::as_str).map(str::to_owned),
        origins: resource.texts(properties, "/cors/allowedOrigins")?.unwrap_or_default(),
        templates: templates.collect::<Result<_, _>>()?,
    })
}

fn site_auth(resource: &Resource) -> Result<SiteAuth, ResourcesError> {
    let properties = &resource.properties;
    let required = match properties.pointer("/globalValidation/requireAuthentication") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(required)) => *required,
        Some(other) => {
            return Err(resource.error(format!("requireAuthentication must be true or false, it is {other}")));
        }
    };
    let action = properties.pointer("/globalValidation/unauthenticatedClientAction").and_then(Value::as_str);
    if required && action != Some("Return401") {
        return Err(resource.error("unauthenticatedClientAction must be Return401, nothing else is hosted"));
    }
    let validation = properties.pointer("/identityProviders/azureActiveDirectory/validation").unwrap_or(&Value::Null);
    let auth = SiteAuth {
        required,
        excluded_paths: resource.texts(properties, "/globalValidation/excludedPaths")?.unwrap_or_default(),
        audiences: resource.texts(validation, "/allowedAudiences")?.unwrap_or_default(),
        principals: resource.texts(validation, "/defaultAuthorizationPolicy/allowedPrincipals/identities")?,
    };
    if required && auth.audiences.is_empty() {
        return Err(resource.error("authentication is required and no audience is allowed"));
    }
    Ok(auth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn list() -> Value {
        let rg = "/subscriptions/s/resourceGroups/g/providers";
        json!([
            {"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "name": "id-orders-command",
             "properties": {"principalId": "p1", "clientId": "c1"}},
            {"type": "Microsoft.Storage/storageAccounts", "name": "stskeinorders", "properties": {}},
            {"type": "Microsoft.Storage/storageAccounts/tableServices/tables", "name": "stskeinorders/default/events"},
            {"type": "Microsoft.ServiceBus/namespaces", "name": "sb-skein-orders"},
            {"type": "Microsoft.ServiceBus/namespaces/queues", "name": "sb-skein-orders/events",
             "properties": {"requiresSession": false, "lockDuration": "PT5M", "maxDeliveryCount": 100}},
            {"type": "Microsoft.EventGrid/topics", "name": "evgt-skein", "identity": {"principalId": "t"}},
            {"type": "Microsoft.EventGrid/topics/eventSubscriptions", "name": "evgt-skein/orders", "properties": {
                "deliveryWithResourceIdentity": {"destination": {"endpointType": "ServiceBusQueue", "properties": {
                    "resourceId": format!("{rg}/Microsoft.ServiceBus/namespaces/sb-skein-orders/queues/events")}}}}},
            {"type": "Microsoft.Web/sites", "name": "func-orders-command", "kind": "functionapp,linux",
             "identity": {"type": "UserAssigned", "userAssignedIdentities": {
                 format!("{rg}/Microsoft.ManagedIdentity/userAssignedIdentities/id-orders-command"): {}}},
             "properties": {"siteConfig": {"appSettings": [{"name": "SKEIN_SERVICE", "value": "orders"}]}}},
            {"type": "Microsoft.Web/sites", "name": "func-orders-query", "properties": {}},
            {"type": "Microsoft.Web/sites/config", "name": "func-orders-command/authsettingsV2", "properties": {
                "globalValidation": {"requireAuthentication": true, "unauthenticatedClientAction": "Return401",
                    "excludedPaths": ["/api/health/live"]},
                "identityProviders": {"azureActiveDirectory": {"validation": {"allowedAudiences": ["api://skein-local"],
                    "defaultAuthorizationPolicy": {"allowedPrincipals": {"identities": ["g"]}}}}}}},
            {"type": "Microsoft.ApiManagement/service", "name": "apim-skein", "identity": {"principalId": "g"}},
            {"type": "Microsoft.ApiManagement/service/backends", "name": "apim-skein/orders-command",
             "properties": {"url": "http://127.0.0.1:5/sites/func-orders-command/api", "protocol": "http"}},
            {"type": "Microsoft.ApiManagement/service/backends", "name": "apim-skein/orders-query",
             "properties": {"url": "http://127.0.0.1:5/sites/func-orders-query/api", "protocol": "http"}},
            {"type": "Microsoft.ApiManagement/service/apis", "name": "apim-skein/orders",
             "properties": {"path": "orders", "displayName": "Orders"}},
            {"type": "Microsoft.Insights/components", "name": "appi-skein", "properties": {}},
            {"type": "Microsoft.SignalRService/signalR", "name": "sigr-skein", "identity": {"principalId": "s"},
             "properties": {"features": [{"flag": "ServiceMode", "value": "Serverless"}],
                "cors": {"allowedOrigins": ["https://site.example"]},
                "upstream": {"templates": [{"categoryPattern": "messages",
                    "urlTemplate": "http://127.0.0.1:5/sites/func-{hub}-query/api/signalr",
                    "auth": {"type": "ManagedIdentity", "managedIdentity": {"resource": "api://skein-local"}}}]}}},
        ])
    }

    fn plan(list: Value) -> Result<Plan, ResourcesError> {
        Plan::of(&serde_json::from_value::<Vec<Resource>>(list).unwrap())
    }

    #[test]
    fn a_whole_list_becomes_a_plan() {
        let plan = plan(list()).unwrap();
        assert_eq!(plan.accounts["stskeinorders"], BTreeSet::from(["events".to_owned()]));
        assert_eq!(plan.subscriptions[0].destination, ("sb-skein-orders".into(), "events".into()));
        let site = &plan.sites[0];
        assert_eq!(site.identities[0].client_id, "c1");
        assert_eq!(site.settings["SKEIN_SERVICE"], "orders");
        assert_eq!(site.auth.principals.as_deref(), Some(&["g".to_owned()][..]));
        assert_eq!(plan.gateway.as_deref(), Some("apim-skein"));
        assert!(!Plan::hosts("Microsoft.Insights/components", "appi-skein"));
        let upstream = signalr::Template {
            hubs: "*".into(),
            categories: "messages".into(),
            events: "*".into(),
            url: "http://127.0.0.1:5/sites/func-{hub}-query/api/signalr".into(),
            resource: Some("api://skein-local".into()),
        };
        let settings = signalr::Settings {
            principal: Some("s".into()),
            origins: vec!["https://site.example".into()],
            templates: vec![upstream],
        };
        assert_eq!(plan.signalr, BTreeMap::from([("sigr-skein".to_owned(), settings)]));
    }

    /// Changes one value of the list (or removes it, with null at the resource's place) and expects the error.
    fn broken(index: usize, pointer: &str, value: Value, expected: Expect) {
        let mut list = list();
        if pointer.is_empty() {
            list.as_array_mut().unwrap().remove(index);
        } else {
            *list[index].pointer_mut(pointer).unwrap() = value;
        }
        expected.assert_eq(&plan(list).unwrap_err().to_string());
    }

    #[test]
    fn what_dangles_is_named() {
        broken(
            4,
            "",
            Value::Null,
            expect![
                "Microsoft.EventGrid/topics/eventSubscriptions evgt-skein/orders: there is no queue sb-skein-orders/events"
            ],
        );
        broken(
            0,
            "",
            Value::Null,
            expect![
                "Microsoft.Web/sites func-orders-command: there is no identity /subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-orders-command"
            ],
        );
        broken(
            3,
            "/name",
            json!("sb-other"),
            expect![
                "Microsoft.ServiceBus/namespaces/queues sb-skein-orders/events: there is no namespace sb-skein-orders"
            ],
        );
        broken(
            5,
            "/name",
            json!("evgt-other"),
            expect!["Microsoft.EventGrid/topics/eventSubscriptions evgt-skein/orders: there is no topic evgt-skein"],
        );
        broken(
            9,
            "/name",
            json!("func-none/authsettingsV2"),
            expect!["Microsoft.Web/sites/config func-none/authsettingsV2: there is no site func-none"],
        );
    }

    #[test]
    fn what_is_malformed_is_named() {
        broken(
            7,
            "/name",
            json!("../etc"),
            expect!["Microsoft.Web/sites ../etc: the name must have 1 segments of letters, digits, `-`, `_` and `.`"],
        );
        broken(
            4,
            "/properties/lockDuration",
            json!(5),
            expect![
                "Microsoft.ServiceBus/namespaces/queues sb-skein-orders/events: lockDuration has to be an ISO 8601 duration such as PT5M, not 5"
            ],
        );
        broken(
            0,
            "/properties/clientId",
            json!(7),
            expect![
                "Microsoft.ManagedIdentity/userAssignedIdentities id-orders-command: clientId must be a text, it is 7"
            ],
        );
        broken(
            9,
            "/properties/globalValidation/unauthenticatedClientAction",
            json!("AllowAnonymous"),
            expect![
                "Microsoft.Web/sites/config func-orders-command/authsettingsV2: unauthenticatedClientAction must be Return401, nothing else is hosted"
            ],
        );
        broken(
            15,
            "/properties/features/0/value",
            json!("Default"),
            expect!["Microsoft.SignalRService/signalR sigr-skein: only the ServiceMode Serverless is hosted"],
        );
        broken(
            15,
            "/properties/upstream/templates/0/auth/managedIdentity/resource",
            json!(""),
            expect![[
                r#"Microsoft.SignalRService/signalR sigr-skein: managedIdentity.resource must be a text, it is """#
            ]],
        );
        broken(
            8,
            "/name",
            json!("func-orders-command"),
            expect!["Microsoft.Web/sites func-orders-command: it is in the list twice"],
        );
    }
}

//! The list of resources, in ARM's shape: what is wired, with every setting's value known.

use serde::Serialize;
use serde_json::{Map, Value, json};
use skein_model::{App, Bus, Graph, Service};

use crate::layers::platform::{BACKUPS, DEAD_LETTERS};
use crate::layers::{GATEWAY, PLATFORM};
use crate::names::Names;
use crate::queues::{DELIVERIES, DUPLICATE_DETECTION, LOCK, QUEUES, shares_bus, subject_prefixes};
use crate::settings::{Places, settings};

/// One deployed resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resource {
    /// The type, as in `Microsoft.ServiceBus/namespaces/queues`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name: one segment for each of the type's after the provider.
    pub name: String,
    /// The region.
    pub location: String,
    /// The kind, where the type has one.
    #[serde(rename = "kind", skip_serializing_if = "Option::is_none")]
    pub flavour: Option<String>,
    /// The price tier, where the type has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<Value>,
    /// Whom the resource acts as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What the type's own schema describes.
    pub properties: Value,
}

/// Whom a resource acts as.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Identity {
    /// An identity that lives and dies with the resource.
    #[serde(rename = "SystemAssigned", rename_all = "camelCase")]
    System {
        /// Its principal.
        principal_id: String,
    },
    /// An identity of its own, by resource id.
    #[serde(rename = "UserAssigned", rename_all = "camelCase")]
    User {
        /// The ids, each with an empty object, as ARM wants it.
        user_assigned_identities: Map<String, Value>,
    },
}

/// Where the data planes answer.
#[derive(Debug, Clone)]
pub struct Endpoints {
    planes: String,
}

impl Endpoints {
    /// All planes at one address, by path: `skein-local`.
    pub fn loopback(planes: &str) -> Self {
        Endpoints { planes: planes.trim_end_matches('/').to_owned() }
    }

    fn tables(&self, account: &str) -> String {
        format!("{}/tables/{account}", self.planes)
    }

    fn queue(&self, namespace: &str, queue: &str) -> String {
        format!("{}/servicebus/{namespace}/{queue}", self.planes)
    }

    fn topic(&self, topic: &str) -> String {
        format!("{}/eventgrid/{topic}", self.planes)
    }

    fn key(&self, vault: &str, key: &str) -> String {
        format!("{}/keyvault/{vault}/keys/{key}", self.planes)
    }

    fn site(&self, site: &str) -> String {
        format!("{}/sites/{site}", self.planes)
    }

    /// The audience of the function apps' tokens: an app registration for each environment.
    fn audience(&self) -> &'static str {
        "api://skein-local"
    }
}

const REGION: &str = "local";

/// Every resource of the graph: the platform's, the services' in their order, the gateway's.
pub fn resources(graph: &Graph, endpoints: &Endpoints) -> Vec<Resource> {
    let mut list = List { graph, endpoints, names: Names::new(&graph.platform), resources: Vec::new() };
    list.platform();
    for service in &graph.services {
        list.service(service);
    }
    list.gateway();
    list.resources
}

struct List<'a> {
    graph: &'a Graph,
    endpoints: &'a Endpoints,
    names: Names<'a>,
    resources: Vec<Resource>,
}

impl List<'_> {
    fn add(&mut self, kind: &str, name: impl Into<String>, mut properties: Value) -> &mut Resource {
        // The order of keys would otherwise depend on which crates are built together.
        properties.sort_all_objects();
        self.resources.push(Resource {
            kind: kind.to_owned(),
            name: name.into(),
            location: REGION.to_owned(),
            flavour: None,
            sku: None,
            identity: None,
            properties,
        });
        self.resources.last_mut().expect("one was just added")
    }

    fn platform(&mut self) {
        let account = self.names.platform_account();
        self.account(&account);
        for container in [BACKUPS, DEAD_LETTERS] {
            self.add(
                "Microsoft.Storage/storageAccounts/blobServices/containers",
                format!("{account}/default/{container}"),
                json!({"publicAccess": "None"}),
            );
        }
        if shares_bus(self.graph) {
            self.namespace(self.names.shared_namespace());
        }
        let topic = self.names.topic();
        let principal_id = self.names.principal_id(&topic);
        let endpoint = format!("{}/api/events", self.endpoints.topic(&topic));
        let properties = json!({"endpoint": endpoint, "inputSchema": "CloudEventSchemaV1_0", "disableLocalAuth": true});
        self.add("Microsoft.EventGrid/topics", topic, properties).identity = Some(Identity::System { principal_id });
    }

    /// The one key that wraps the keys of a service's persons. It never leaves the vault.
    fn personal_key(&mut self, service: &Service) {
        if !service.personal {
            return;
        }
        let vault = self.names.vault();
        if !self.resources.iter().any(|resource| resource.kind == "Microsoft.KeyVault/vaults") {
            let properties = json!({
                "sku": {"family": "A", "name": "standard"},
                "enableRbacAuthorization": true,
                // Without the key nothing that was sealed can be read again.
                "enablePurgeProtection": true,
                "softDeleteRetentionInDays": 90,
            });
            self.add("Microsoft.KeyVault/vaults", vault.clone(), properties);
        }
        let properties = json!({"kty": "RSA", "keySize": 2048, "keyOps": ["wrapKey", "unwrapKey"]});
        self.add("Microsoft.KeyVault/vaults/keys", format!("{vault}/{}", service.name), properties);
    }

    fn service(&mut self, service: &Service) {
        for app in [App::Command, App::Query] {
            let name = self.names.identity(service.app(app));
            let properties =
                json!({"principalId": self.names.principal_id(&name), "clientId": self.names.client_id(&name)});
            self.add("Microsoft.ManagedIdentity/userAssignedIdentities", name, properties);
        }
        self.tables(service);
        self.personal_key(service);
        self.queues(service);
        self.subscription(service);
        for app in [App::Command, App::Query] {
            self.site(service, app);
        }
    }

    fn account(&mut self, name: &str) {
        let properties = json!({"allowSharedKeyAccess": false, "minimumTlsVersion": "TLS1_2"});
        let account = self.add("Microsoft.Storage/storageAccounts", name, properties);
        account.flavour = Some("StorageV2".to_owned());
        account.sku = Some(json!({"name": "Standard_LRS"}));
    }

    fn tables(&mut self, service: &Service) {
        for shard in 0..service.shards {
            let account = self.names.account(service, shard);
            self.account(&account);
            let views: &[String] = if shard == 0 { &service.tables } else { &[] };
            let persons = (shard == 0 && service.personal).then_some(Service::PERSONS);
            for table in Service::STORE_TABLES.into_iter().chain(views.iter().map(String::as_str)).chain(persons) {
                let name = format!("{account}/default/{table}");
                self.add("Microsoft.Storage/storageAccounts/tableServices/tables", name, json!({}));
            }
        }
    }

    fn namespace(&mut self, name: String) {
        self.add("Microsoft.ServiceBus/namespaces", name, json!({"disableLocalAuth": true})).sku =
            Some(json!({"name": "Standard", "tier": "Standard"}));
    }

    fn queues(&mut self, service: &Service) {
        let namespace = self.names.namespace(service);
        if service.bus == Bus::Own {
            self.namespace(namespace.clone());
        }
        for queue in QUEUES {
            let properties = json!({
                "requiresSession": queue.sessions,
                "lockDuration": LOCK,
                "maxDeliveryCount": DELIVERIES,
                "requiresDuplicateDetection": DUPLICATE_DETECTION,
                "deadLetteringOnMessageExpiration": true,
            });
            self.add(
                "Microsoft.ServiceBus/namespaces/queues",
                format!("{namespace}/{}", service.queue_in_bus(queue.name)),
                properties,
            );
        }
    }

    fn subscription(&mut self, service: &Service) {
        let prefixes = subject_prefixes(service);
        if prefixes.is_empty() {
            return;
        }
        let names = self.names;
        let queue = format!("{}/{}", names.namespace(service), service.queue_in_bus(Service::EVENTS));
        let group = if service.bus == Bus::Own { &service.name } else { PLATFORM };
        let queue_id = names.id(group, "Microsoft.ServiceBus/namespaces/queues", &queue);
        let account_id = names.id(PLATFORM, "Microsoft.Storage/storageAccounts", &names.platform_account());
        let properties = json!({
            "eventDeliverySchema": "CloudEventSchemaV1_0",
            "deliveryWithResourceIdentity": {
                "identity": {"type": "SystemAssigned"},
                "destination": {"endpointType": "ServiceBusQueue", "properties": {"resourceId": queue_id}},
            },
            "filter": {"advancedFilters": [{"operatorType": "StringBeginsWith", "key": "subject", "values": prefixes}]},
            "retryPolicy": {
                "maxDeliveryAttempts": self.graph.platform.delivery_attempts,
                "eventTimeToLiveInMinutes": self.graph.platform.event_minutes,
            },
            "deadLetterWithResourceIdentity": {
                "identity": {"type": "SystemAssigned"},
                "deadLetterDestination": {
                    "endpointType": "StorageBlob",
                    "properties": {"resourceId": account_id, "blobContainerName": DEAD_LETTERS},
                },
            },
        });
        let name = format!("{}/{}", names.topic(), service.name);
        self.add("Microsoft.EventGrid/topics/eventSubscriptions", name, properties);
    }

    fn site(&mut self, service: &Service, app: App) {
        let names = self.names;
        let site = names.site(service.app(app));
        let identity_id = names.id(
            &service.name,
            "Microsoft.ManagedIdentity/userAssignedIdentities",
            &names.identity(service.app(app)),
        );
        let settings: Vec<_> = self
            .settings(service, app)
            .into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let properties = json!({"httpsOnly": true, "siteConfig": {"appSettings": settings}});
        let resource = self.add("Microsoft.Web/sites", site.clone(), properties);
        resource.flavour = Some("functionapp,linux".to_owned());
        resource.identity =
            Some(Identity::User { user_assigned_identities: Map::from_iter([(identity_id, json!({}))]) });

        let mut callers = vec![names.principal_id(&names.gateway())];
        if app == App::Command {
            // The query app asks for outcomes, on one route.
            callers.push(names.principal_id(&names.identity(service.app(App::Query))));
        }
        let properties = json!({
            "globalValidation": {
                "requireAuthentication": true,
                "unauthenticatedClientAction": "Return401",
                "excludedPaths": service.open_paths(app),
            },
            "identityProviders": {"azureActiveDirectory": {"enabled": true, "validation": {
                "allowedAudiences": [self.endpoints.audience()],
                "defaultAuthorizationPolicy": {"allowedPrincipals": {"identities": callers}},
            }}},
        });
        self.add("Microsoft.Web/sites/config", format!("{site}/authsettingsV2"), properties);
    }

    /// The environment of an app.
    fn settings(&self, service: &Service, app: App) -> Vec<(String, String)> {
        let list = settings(self, self.graph, |shard| self.names.account(service, shard), service, app);
        let mut settings: Vec<_> = list.into_iter().map(|setting| (setting.name, setting.value)).collect();
        // Flex Consumption knows it from the app's own configuration.
        settings.push(("FUNCTIONS_WORKER_RUNTIME".to_owned(), "custom".to_owned()));
        settings.sort();
        settings
    }

    fn gateway(&mut self) {
        let names = self.names;
        let gateway = names.gateway();
        let principal_id = names.principal_id(&gateway);
        let resource = self.add("Microsoft.ApiManagement/service", gateway.clone(), json!({"publisherName": GATEWAY}));
        resource.identity = Some(Identity::System { principal_id });
        resource.sku = Some(json!({"name": "Developer", "capacity": 1}));
        let graph = self.graph;
        for service in graph.gateway.services.iter().filter_map(|name| graph.service(name)) {
            for app in [App::Command, App::Query] {
                let url = format!("{}/api", self.endpoints.site(&names.site(service.app(app))));
                let name = format!("{gateway}/{}", service.app(app).binary);
                self.add("Microsoft.ApiManagement/service/backends", name, json!({"url": url, "protocol": "http"}));
            }
            let properties = json!({"path": service.name, "displayName": service.name, "protocols": ["https"]});
            self.add("Microsoft.ApiManagement/service/apis", format!("{gateway}/{}", service.name), properties);
        }
    }
}

impl Places for List<'_> {
    type Value = String;

    fn text(&self, text: &str) -> String {
        text.to_owned()
    }

    fn concat(&self, parts: Vec<String>) -> String {
        parts.concat()
    }

    fn site(&self, service: &Service, app: App) -> String {
        self.names.site(service.app(app))
    }

    fn site_url(&self, service: &Service, app: App) -> String {
        self.endpoints.site(&self.names.site(service.app(app)))
    }

    fn client_id(&self, service: &Service, app: App) -> String {
        self.names.client_id(&self.names.identity(service.app(app)))
    }

    fn principal_id(&self, service: &Service, app: App) -> String {
        self.names.principal_id(&self.names.identity(service.app(app)))
    }

    fn gateway_principal_id(&self) -> String {
        self.names.principal_id(&self.names.gateway())
    }

    fn audience(&self) -> String {
        self.endpoints.audience().to_owned()
    }

    fn introspection(&self) -> String {
        "true".to_owned()
    }

    fn host_account(&self, service: &Service, _: App) -> String {
        self.names.account(service, 0)
    }

    fn tables(&self, service: &Service, shard: u16) -> String {
        self.endpoints.tables(&self.names.account(service, shard))
    }

    fn queue(&self, service: &str, queue: &str) -> String {
        let (namespace, queue) = self.names.queue(self.graph, service, queue);
        self.endpoints.queue(&namespace, &queue)
    }

    fn namespace_host(&self, service: &Service) -> String {
        format!("{}.servicebus.windows.net", self.names.namespace(service))
    }

    fn topic(&self) -> String {
        self.endpoints.topic(&self.names.topic())
    }

    fn personal_key(&self, service: &Service) -> String {
        self.endpoints.key(&self.names.vault(), &service.name)
    }
}

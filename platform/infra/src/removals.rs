//! What happens when something is forgotten: each role assignment, subscription, app setting and part of the gateway's
//! policies is taken out of the rendered templates in turn, deployed to the local control plane, and the planes are asked for
//! what the apps need.
//!
//! Asked are the real planes, with the tokens of the deployed identities, for what each app's settings say; the functions
//! hosts and the topic as themselves; settings by the very reader of the apps. Where there is no local plane (telemetry,
//! secrets), the planes' decision is asked alone. A removal that no probe notices fails the test; with `--nocapture` it
//! prints which probes failed for which.

mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Map, Value, json};
use skein_arm::Error;
use skein_host::{CommandSettings, LiveSettings, QuerySettings, RouterSettings};
use skein_local::access::{Action, Authorizer, Place};
use skein_local::broker::{self, Broker, QueueSettings, SystemClock};
use skein_local::control::{self, Addresses, Control, Host, Hosting};
use skein_local::identity::{GATEWAY_AUDIENCE, ISSUER, Issuer, ManagedIdentity, OPERATOR_PRINCIPAL_ID};
use skein_local::sites::HostRights;
use skein_local::tables::Backend;
use skein_local::topic::{self, Chaos, TopicSettings, Topics};
use skein_local::vault::{self, Vaults};
use skein_local::{blobs, tables};
use skein_model::{App, FunctionApp, Graph, Service, Trigger};
use skein_render::{layers, render};
use tower::ServiceExt as _;

const PLANES: &str = "http://127.0.0.1:1";
const SUBSCRIPTION: &str = "/subscriptions/11111111-2222-3333-4444-555555555555";
const OPERATORS: &str = "77777777-2222-3333-4444-555555555555";
const DEPLOYER: &str = "88888888-2222-3333-4444-555555555555";
const STORAGE: &str = "https://storage.azure.com";
const BUS: &str = "https://servicebus.azure.net";

/// Takes what was deployed, and lets the roles hold.
struct Held {
    resources: Mutex<Vec<Value>>,
    authorizer: Authorizer,
}

impl Host for Held {
    fn apply(&self, resources: Vec<Value>) -> Hosting<'_> {
        self.authorizer.update(&resources);
        *self.resources.lock().unwrap() = resources;
        Box::pin(async { Ok::<(), Error>(()) })
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A layer as it was rendered.
struct Layer {
    name: String,
    template: Value,
}

/// The control plane, and the planes over what it has deployed.
struct Bench {
    graph: Graph,
    layers: Vec<Layer>,
    held: Arc<Held>,
    issuer: Arc<Issuer>,
    arm: Router,
    planes: Router,
    broker: Broker,
    folder: tempfile::TempDir,
    /// Tokens by principal and audience: signing takes longer than everything else.
    tokens: Mutex<BTreeMap<(String, String), String>>,
    requested: Mutex<Option<requests::Asked>>,
}

impl Bench {
    async fn new() -> Bench {
        let graph = crate::graph().unwrap();
        let files: BTreeMap<_, _> = render(&graph).unwrap().into_iter().collect();
        let mut waiting = layers(&graph).unwrap();
        let mut ordered: Vec<Layer> = Vec::new();
        while !waiting.is_empty() {
            let done = |name: &str| ordered.iter().any(|layer| layer.name == name);
            let ready = waiting.iter().position(|layer| layer.after().iter().all(|name| done(name))).unwrap();
            let name = waiting.remove(ready).name;
            let template = serde_json::from_str(&files[&format!("arm/{name}.json")]).unwrap();
            ordered.push(Layer { name, template });
        }
        // In memory where that can be: thousands of deployed resources are each on the disk before the next one.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let issuer = Arc::new(Issuer::open(&folder.path().join("identity")).unwrap());
        let held = Arc::new(Held { resources: Mutex::default(), authorizer: Authorizer::default() });
        let settings = control::Settings {
            issuer: issuer.clone(),
            addresses: Addresses { planes: PLANES.into(), gateway: "http://127.0.0.1:2".into() },
            pace: Duration::ZERO,
            host: held.clone(),
        };
        let control = Control::open(&folder.path().join("control.db"), settings).unwrap();
        let broker = Broker::open(Path::new(":memory:"), SystemClock::shared()).unwrap();
        let mut bench = Bench {
            graph,
            layers: ordered,
            held,
            issuer,
            arm: control::router(control),
            planes: Router::new(),
            broker,
            folder,
            tokens: Mutex::default(),
            requested: Mutex::default(),
        };
        for layer in &bench.layers {
            bench.deploy(&layer.name, &layer.template).await;
        }
        bench.planes = bench.open_planes().await;
        bench
    }

    async fn call(router: &Router, request: axum::http::request::Builder, body: String) -> (u16, Value) {
        let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let unread = || Value::String(String::from_utf8_lossy(&body).into_owned());
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| unread()))
    }

    fn token(&self, principal: &str, audience: &str) -> String {
        let mut tokens = self.tokens.lock().unwrap();
        let key = (principal.to_owned(), audience.to_owned());
        let make = || self.issuer.issue_managed_identity(principal, "client", audience).unwrap().0;
        tokens.entry(key).or_insert_with(make).clone()
    }

    async fn arm(&self, method: &str, path: &str, body: Value) -> Value {
        let token = self.token(OPERATOR_PRINCIPAL_ID, "https://management.azure.com");
        let path = path.strip_prefix(PLANES).unwrap_or(path);
        let version = if path.contains("api-version=") { "" } else { "?api-version=2025-04-01" };
        let request = Request::builder().method(method).uri(format!("{path}{version}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = Bench::call(&self.arm, request, body).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Deploys a template, with what the layers before it say.
    async fn deploy(&self, name: &str, template: &Value) {
        let mut given = Map::new();
        for (parameter, declared) in template["parameters"].as_object().unwrap() {
            let value = if let Some((layer, output)) = text(declared, "/metadata/from").split_once('.') {
                let path = format!("{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/skein-{layer}");
                let deployed = self.arm("GET", &path, Value::Null).await;
                let outputs = deployed["properties"]["outputs"].as_object().unwrap();
                let found = outputs.iter().find(|(key, _)| key.eq_ignore_ascii_case(output));
                found.unwrap_or_else(|| panic!("{layer} has no output {output}")).1["value"].clone()
            } else {
                match parameter.as_str() {
                    "environment" => json!("test"),
                    "location" => json!("westeurope"),
                    "operatorsId" => json!(OPERATORS),
                    "deployerId" => json!(DEPLOYER),
                    "signalrUrl" => json!("http://{0}"),
                    "siteUrl" => json!(format!("{PLANES}/sites/{{0}}")),
                    "introspection" | "persistedOnly" => json!("true"),
                    "tokenAudience" => json!(GATEWAY_AUDIENCE),
                    "tokenIssuer" => json!(ISSUER),
                    _ if declared["defaultValue"].is_null() => json!(format!("api://{parameter}")),
                    _ => continue,
                }
            };
            given.insert(parameter.clone(), json!({"value": value}));
        }
        let path = format!("{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/skein-{name}");
        let properties = json!({"mode": "Incremental", "template": template, "parameters": given});
        self.arm("PUT", &path, json!({"location": "westeurope", "properties": properties})).await;
        loop {
            let deployment = self.arm("GET", &path, Value::Null).await;
            match text(&deployment, "/properties/provisioningState") {
                "Succeeded" => return,
                "Failed" | "Canceled" => panic!("{name}: {:#}", deployment["properties"]["error"]),
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    fn resources(&self, kind: &str) -> Vec<Value> {
        let resources = self.held.resources.lock().unwrap();
        resources.iter().filter(|body| text(body, "/type").eq_ignore_ascii_case(kind)).cloned().collect()
    }

    /// The accounts that show their blobs.
    fn websites(&self) -> impl Iterator<Item = String> {
        let services = self.resources("Microsoft.Storage/storageAccounts/blobServices").into_iter();
        let shown = services.filter(|body| body["properties"]["staticWebsite"]["enabled"] == true);
        shown.filter_map(|body| Some(text(&body, "/name").split_once('/')?.0.to_owned()))
    }

    /// The planes over what is deployed, as the local Azure opens them.
    async fn open_planes(&self) -> Router {
        let names = |kind: &str| -> Vec<Vec<String>> {
            let bodies = self.resources(kind);
            bodies.iter().map(|body| text(body, "/name").split('/').map(str::to_owned).collect()).collect()
        };
        let mut accounts: BTreeMap<String, Vec<String>> =
            names("Microsoft.Storage/storageAccounts").into_iter().map(|name| (name[0].clone(), Vec::new())).collect();
        for name in names("Microsoft.Storage/storageAccounts/tableServices/tables") {
            accounts.get_mut(&name[0]).unwrap().push(name[2].clone());
        }
        let folder = self.folder.path();
        std::fs::create_dir_all(folder.join("tables")).unwrap();
        let accounts = accounts.iter().map(|(name, list)| (name.as_str(), list.iter().map(String::as_str).collect()));
        let backend = Backend::embedded(&folder.join("tables"), accounts).unwrap();
        let containers: BTreeSet<(String, String)> = names("Microsoft.Storage/storageAccounts/blobServices/containers")
            .into_iter()
            .map(|name| (name[0].clone(), name[2].clone()))
            .chain(self.websites().map(|account| (account, blobs::WEBSITE.to_owned())))
            .collect();
        let containers = blobs::open(&folder.join("blobs"), &containers).unwrap();
        for queue in self.resources("Microsoft.ServiceBus/namespaces/queues") {
            let settings = QueueSettings::from_arm(&queue["properties"]).unwrap();
            self.broker.declare(text(&queue, "/name"), settings).await.unwrap();
        }
        let keys = names("Microsoft.KeyVault/vaults/keys").into_iter().map(|name| (name[0].clone(), name[1].clone()));
        let vaults = Vaults::open(&folder.join("keys"), &keys.collect::<Vec<_>>()).unwrap();
        let guard = || (self.issuer.clone(), self.held.authorizer.clone());
        Router::new()
            .nest(tables::PREFIX, tables::router(guard(), backend))
            .nest(blobs::PREFIX, blobs::router(guard(), containers))
            .nest(broker::PREFIX, broker::router(guard(), self.broker.clone()))
            .nest(topic::PREFIX, topic::router(guard(), self.topics().await))
            .nest(vault::PREFIX, vault::router(guard(), vaults, PLANES))
    }

    async fn topics(&self) -> Topics {
        let settings = TopicSettings {
            retry_factor: 1.0,
            chaos: Chaos::default(),
            dead_letter_folder: self.folder.path().join("blobs"),
            authorizer: Some(self.held.authorizer.clone()),
        };
        let topics = Topics::open(self.broker.clone(), settings).await.unwrap();
        for body in self.resources("Microsoft.EventGrid/topics") {
            topics.declare_topic(text(&body, "/name"));
            topics.set_principal(text(&body, "/name"), text(&body, "/identity/principalId"));
        }
        for body in self.resources("Microsoft.EventGrid/topics/eventSubscriptions") {
            let (topic, name) = text(&body, "/name").split_once('/').unwrap();
            topics.declare_subscription(topic, name, &body["properties"]).unwrap();
        }
        topics
    }

    /// A request to a plane as somebody; an error where it is refused.
    async fn ask(
        &self,
        principal: &str,
        audience: &str,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Result<Value, String> {
        let token = self.token(principal, audience);
        let path = url.strip_prefix(PLANES).ok_or_else(|| format!("{url} is nowhere"))?;
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, answer) = Bench::call(&self.planes, request, body.to_string()).await;
        // A queue with sessions is not received from over REST, whoever asks.
        if status < 300 || status == 405 { Ok(answer) } else { Err(format!("{method} {url}: {status} {answer}")) }
    }

    async fn row(&self, principal: &str, endpoint: &str, table: &str, writes: bool) -> Result<(), String> {
        let url = format!("{}/{table}", endpoint.trim_end_matches('/'));
        let json = [("content-type", "application/json"), ("accept", "application/json;odata=nometadata")];
        self.ask(principal, STORAGE, "GET", &format!("{url}?$top=1"), &json, Value::Null).await?;
        if writes {
            let row = json!({"PartitionKey": uuid::Uuid::new_v4().to_string(), "RowKey": "k"});
            self.ask(principal, STORAGE, "POST", &url, &json, row).await?;
        }
        Ok(())
    }

    async fn send(&self, principal: &str, url: &str) -> Result<(), String> {
        let properties = [("brokerproperties", r#"{"SessionId":"s"}"#)];
        self.ask(principal, BUS, "POST", &format!("{url}/messages"), &properties, json!({})).await.map(|_| ())
    }

    fn decide(&self, principal: &str, action: Action, place: &Place) -> Result<(), String> {
        self.held.authorizer.check(principal, action, place).map_err(|refused| refused.to_string())
    }

    fn one(&self, kind: &str) -> Value {
        self.resources(kind).into_iter().next().unwrap_or_else(|| panic!("there is no {kind}"))
    }
}

/// What was asked and what failed.
#[derive(Default)]
struct Probes {
    asked: BTreeSet<String>,
    failed: BTreeMap<String, String>,
}

impl Probes {
    fn add(&mut self, name: impl Into<String>, outcome: Result<(), String>) {
        let name = name.into();
        if let Err(why) = outcome {
            self.failed.entry(name.clone()).or_insert(why);
        }
        self.asked.insert(name);
    }
}

fn expected<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("it is {found:?}, not {wanted:?}")) }
}

/// An app as it is deployed.
struct Deployed {
    site: String,
    principal: String,
    settings: BTreeMap<String, String>,
    rights: HostRights,
    client: String,
}

impl Bench {
    fn deployed(&self, service: &Service, app: App) -> Deployed {
        self.deployed_app(service.app(app))
    }

    fn router(&self) -> Deployed {
        self.deployed_app(&self.graph.gateway.router)
    }

    /// The principal of API Management.
    fn gateway(&self) -> String {
        text(&self.one("Microsoft.ApiManagement/service"), "/identity/principalId").to_owned()
    }

    fn deployed_app(&self, app: &FunctionApp) -> Deployed {
        let start = format!("func-{}-", app.binary);
        let sites = self.resources("Microsoft.Web/sites");
        let site = sites.iter().find(|body| text(body, "/name").starts_with(&start)).expect("it is deployed");
        let name = format!("{}/appsettings", text(site, "/name"));
        let configs = self.resources("Microsoft.Web/sites/config");
        let config = configs.iter().find(|body| text(body, "/name") == name).expect("it has settings");
        let settings: BTreeMap<String, String> = config["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let identities = site["identity"]["userAssignedIdentities"].as_object().unwrap();
        let identity = identities.values().next().unwrap();
        let (principal, client) = (text(identity, "/principalId").to_owned(), text(identity, "/clientId").to_owned());
        let own = [ManagedIdentity { principal_id: principal.clone(), client_id: client.clone() }];
        let rights = HostRights::new(Some(self.held.authorizer.clone()), &own, &settings);
        Deployed { site: text(site, "/name").to_owned(), principal, settings, rights, client }
    }

    /// Asks for everything that the system needs.
    async fn probe(&self) -> Probes {
        let mut probes = Probes::default();
        for service in &self.graph.services {
            for app in [App::Command, App::Query] {
                self.app(service, app, &mut probes).await;
            }
            self.operators(service, &mut probes).await;
        }
        self.routers(&mut probes);
        let operator = |container: &str| {
            let account = self.platform_account();
            self.decide(OPERATORS, Action::BlobWrite, &Place::container(&account, container))
        };
        probes.add("operators: exports", operator("backups"));
        probes.add("operators: undelivered events", operator("eventgrid-deadletters"));
        probes.add("gateway: telemetry", self.telemetry(&self.gateway()));
        probes.add("who deploys: pages", self.pages().await);
        self.requests(&mut probes).await;
        self.deliveries(&mut probes).await;
        probes
    }

    /// What uploading the pages takes.
    async fn pages(&self) -> Result<(), String> {
        let account = self.websites().next().ok_or("no account shows its blobs")?;
        let website = format!("{PLANES}{}/{account}/{}", blobs::PREFIX, blobs::WEBSITE);
        let page = format!("{website}/index.html");
        let block = [("x-ms-blob-type", "BlockBlob")];
        self.ask(DEPLOYER, STORAGE, "PUT", &page, &block, Value::Null).await?;
        self.ask(DEPLOYER, STORAGE, "GET", &format!("{website}?restype=container&comp=list"), &[], Value::Null).await?;
        self.ask(DEPLOYER, STORAGE, "DELETE", &page, &[], Value::Null).await.map(|_| ())
    }

    fn platform_account(&self) -> String {
        let containers = self.resources("Microsoft.Storage/storageAccounts/blobServices/containers");
        let backups = containers.iter().find(|body| text(body, "/name").ends_with("/backups")).unwrap();
        text(backups, "/name").split('/').next().unwrap().to_owned()
    }

    fn telemetry(&self, principal: &str) -> Result<(), String> {
        let secret = self.one("Microsoft.KeyVault/vaults/secrets");
        let (vault, name) = text(&secret, "/name").split_once('/').unwrap();
        self.decide(principal, Action::SecretRead, &Place::secret(vault, name))?;
        let component = self.one("Microsoft.Insights/components");
        self.decide(principal, Action::TelemetryWrite, &Place::component(text(&component, "/name")))
    }

    /// What every app needs, whatever it does: as whom it then acts.
    fn any_app<'d>(&self, binary: &str, deployed: &'d Deployed, probes: &mut Probes) -> &'d str {
        let Deployed { settings, rights, client, principal, .. } = deployed;
        let lookup = |name: &str| settings.get(name).cloned().unwrap_or_default();
        probes.add(format!("{binary}: host"), rights.run());
        let reference = lookup("APPLICATIONINSIGHTS_CONNECTION_STRING");
        let by_token = lookup("APPLICATIONINSIGHTS_AUTHENTICATION_STRING");
        let telemetry = if !reference.starts_with("@Microsoft.KeyVault(VaultName=") {
            Err("nobody says where telemetry goes".to_owned())
        } else if by_token != format!("Authorization=AAD;ClientId={client}") {
            Err("nobody says as whom telemetry is sent".to_owned())
        } else {
            self.telemetry(principal)
        };
        probes.add(format!("{binary}: telemetry"), telemetry);
        // The identity endpoint knows no other.
        let token = if lookup("AZURE_CLIENT_ID") == *client { Ok(()) } else { Err("it gets no token".to_owned()) };
        probes.add(format!("{binary}: token"), token.clone());
        if token.is_ok() { principal } else { "nobody" }
    }

    /// The gateway's router: it needs its host, and to know whom it believes and where the services' apps are.
    fn routers(&self, probes: &mut Probes) {
        let binary = &self.graph.gateway.router.binary;
        let deployed = self.router();
        self.any_app(binary, &deployed, probes);
        match RouterSettings::read(&|name| deployed.settings.get(name).cloned()) {
            Err(error) => probes.add(format!("{binary}: starts"), Err(error.to_string())),
            Ok(settings) => {
                probes.add(format!("{binary}: starts"), Ok(()));
                probes.add(format!("{binary}: introspection"), expected(settings.introspection, true));
                probes.add(format!("{binary}: persisted operations only"), expected(settings.persisted_only, true));
                let gateway = vec![self.gateway()];
                probes.add(format!("{binary}: believes the gateway"), expected(&settings.fronts, &gateway));
                let audience = expected(settings.audience.as_str(), "api://appAudience");
                probes.add(format!("{binary}: token of the apps"), audience);
                for (app, urls) in [(App::Command, &settings.command_apps), (App::Query, &settings.query_apps)] {
                    let sites = self.graph.gateway.services.iter().filter_map(|name| self.graph.service(name));
                    let sites = sites.map(|service| {
                        let site = self.deployed(service, app).site;
                        (service.name.clone(), format!("{PLANES}/sites/{site}"))
                    });
                    let sites: BTreeMap<String, String> = sites.collect();
                    probes.add(format!("{binary}: {}s", app.as_str()), expected(urls, &sites));
                }
            }
        }
    }

    async fn app(&self, service: &Service, app: App, probes: &mut Probes) {
        let binary = service.app(app).binary.clone();
        let deployed = self.deployed(service, app);
        let Deployed { settings, rights, .. } = &deployed;
        let lookup = |name: &str| settings.get(name).cloned();
        let principal = self.any_app(&binary, &deployed, probes);
        for function in &service.app(app).functions {
            let Trigger::ServiceBus { queue, connection, .. } = &function.trigger else { continue };
            let connection = connection.as_str();
            let namespace = lookup(&format!("{connection}__fullyQualifiedNamespace"));
            let received = match namespace.as_deref().and_then(|host| host.split('.').next()) {
                None => Err(format!("{connection}__fullyQualifiedNamespace is missing")),
                Some(namespace) => rights.receive(connection, &format!("{namespace}/{queue}")),
            };
            probes.add(format!("{binary}: receives {queue}"), received);
        }
        match app {
            App::Command => match CommandSettings::read(&lookup) {
                Err(error) => probes.add(format!("{binary}: starts"), Err(error.to_string())),
                Ok(settings) => {
                    probes.add(format!("{binary}: starts"), Ok(()));
                    self.common(service, app, principal, &settings.app, &settings.command_queues, probes).await;
                    for (shard, endpoint) in settings.event_store.iter().enumerate() {
                        for table in Service::STORE_TABLES {
                            let done = self.row(principal, endpoint, table, true).await;
                            probes.add(format!("{binary}: writes {table} of shard {shard}"), done);
                        }
                    }
                    let url = format!("{}/api/events?api-version=2018-01-01", settings.topic);
                    let event = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t"});
                    let kind = [("content-type", "application/cloudevents+json")];
                    let published = self.ask(principal, "https://eventgrid.azure.net", "POST", &url, &kind, event);
                    probes.add(format!("{binary}: publishes"), published.await.map(|_| ()));
                    let reader = self.deployed(service, App::Query).principal;
                    let outcomes = expected(settings.outcome_readers, vec![reader]);
                    probes.add(format!("{}: outcomes of its query app", service.name), outcomes);
                }
            },
            App::Query => match QuerySettings::read(&lookup) {
                Err(error) => probes.add(format!("{binary}: starts"), Err(error.to_string())),
                Ok(settings) => {
                    probes.add(format!("{binary}: starts"), Ok(()));
                    self.common(service, app, principal, &settings.app, &settings.command_queues, probes).await;
                    let tables = service.tables.iter().map(String::as_str).chain([Service::FAULTS_TABLE]);
                    for table in tables {
                        let done = self.row(principal, &settings.query_store, table, true).await;
                        probes.add(format!("{binary}: writes {table}"), done);
                    }
                    let sources = self.graph.sources(service).into_iter();
                    let sources = sources.map(|(category, owner)| (category.to_owned(), owner.to_owned())).collect();
                    probes.add(format!("{binary}: sources"), expected(settings.sources, sources));
                    if service.subscriptions {
                        probes.add(format!("{binary}: subscriptions"), self.hub(service, principal, settings.live));
                    }
                }
            },
        }
    }

    /// Whether the app knows its hub, and may use it.
    fn hub(&self, service: &Service, principal: &str, live: Option<LiveSettings>) -> Result<(), String> {
        let live = live.ok_or("nobody says where the hub is")?;
        let signalr = self.one("Microsoft.SignalRService/signalR");
        let name = text(&signalr, "/name");
        let endpoint = format!("{PLANES}/signalr/{name}");
        let principal_id = text(&signalr, "/identity/principalId").to_owned();
        expected(live, LiveSettings { endpoint, hub: service.name.clone(), principal: principal_id })?;
        let templates = signalr["properties"]["upstream"]["templates"].as_array().cloned().unwrap_or_default();
        let upstream = templates.iter().find(|template| text(template, "/hubPattern") == service.name);
        let url = format!("{PLANES}/sites/{}/api/signalr", self.deployed(service, App::Query).site);
        expected(upstream.map(|upstream| text(upstream, "/urlTemplate")), Some(url.as_str()))?;
        for action in [Action::ClientToken, Action::GroupRead, Action::GroupSend, Action::UserWrite] {
            self.decide(principal, action, &Place::signalr(name))?;
        }
        Ok(())
    }

    /// What both apps of a service need.
    async fn common(
        &self,
        service: &Service,
        app: App,
        principal: &str,
        settings: &skein_host::Settings,
        queues: &BTreeMap<String, String>,
        probes: &mut Probes,
    ) {
        let binary = &service.app(app).binary;
        let fronts = vec![self.gateway(), self.router().principal];
        probes.add(format!("{binary}: believes the gateway and its router"), expected(&settings.fronts, &fronts));
        let router = expected(settings.router.as_deref(), Some(fronts[1].as_str()));
        probes.add(format!("{binary}: lets its router look at documents"), router);
        probes.add(format!("{binary}: introspection"), expected(settings.introspection, true));
        probes.add(format!("{binary}: persisted operations only"), expected(settings.persisted_only, true));
        for (target, queue) in self.graph.sends(service, app) {
            let name = Service::queue_name(target, queue);
            let sent = match queues.get(&name) {
                Some(url) => self.send(principal, url).await,
                None => Err("nobody says where it is".to_owned()),
            };
            probes.add(format!("{binary}: sends to {name}"), sent);
        }
        if !service.personal {
            return;
        }
        let Some(personal) = &settings.personal else {
            probes.add(format!("{binary}: personal data"), Err("nobody says where its keys are".to_owned()));
            return;
        };
        let persons = self.row(principal, &personal.persons, Service::PERSONS, app == App::Command).await;
        probes.add(format!("{binary}: persons"), persons);
        let vault = "https://vault.azure.net";
        let key = personal.key.replace("/vaults/", &format!("{}/", vault::PREFIX));
        let wrap = json!({"alg": "RSA-OAEP-256", "value": "AAAA"});
        let url = format!("{key}/wrapkey?api-version=7.4");
        let done = async {
            let wrapped = self.ask(principal, vault, "POST", &url, &[], wrap).await?;
            let unwrap = json!({"alg": "RSA-OAEP-256", "value": wrapped["value"]});
            let url = format!("{key}/unwrapkey?api-version=7.4");
            self.ask(principal, vault, "POST", &url, &[], unwrap).await.map(|_| ())
        };
        probes.add(format!("{binary}: personal data"), done.await);
    }

    /// What operators look at and mend.
    async fn operators(&self, service: &Service, probes: &mut Probes) {
        let name = &service.name;
        let Ok(settings) =
            CommandSettings::read(&|name| self.deployed(service, App::Command).settings.get(name).cloned())
        else {
            return;
        };
        for (shard, endpoint) in settings.event_store.iter().enumerate() {
            for table in Service::STORE_TABLES {
                let done = self.row(OPERATORS, endpoint, table, false).await;
                probes.add(format!("operators: {name}: reads {table} of shard {shard}"), done);
            }
        }
        let query = self.deployed(service, App::Query).settings;
        if let Some(store) = query.get("SKEIN_QUERY_STORE").filter(|_| !service.handles.is_empty()) {
            let done = self.row(OPERATORS, store, Service::GENERATIONS_TABLE, false).await;
            probes.add(format!("operators: {name}: reads {}", Service::GENERATIONS_TABLE), done);
        }
        for body in self.resources("Microsoft.ServiceBus/namespaces/queues") {
            let (namespace, queue) = text(&body, "/name").split_once('/').unwrap();
            if !namespace.contains(&format!("-{name}-")) {
                continue;
            }
            let url = format!("{PLANES}/servicebus/{namespace}/{queue}");
            probes.add(format!("operators: {name}: sends to {queue}"), self.send(OPERATORS, &url).await);
            let head = format!("{url}/$DeadLetterQueue/messages/head?timeout=0");
            let done = self.ask(OPERATORS, BUS, "POST", &head, &[], Value::Null).await;
            probes.add(format!("operators: {name}: receives {queue}"), done.map(|_| ()));
        }
    }

    /// Whether events reach each service that reads any, and where they go that do not.
    async fn deliveries(&self, probes: &mut Probes) {
        let topics = self.topics().await;
        let delivery = topics.start();
        let topic = self.one("Microsoft.EventGrid/topics");
        let (topic, principal) = (text(&topic, "/name"), text(&topic, "/identity/principalId"));
        let account = self.platform_account();
        let aside = Place::container(&account, "eventgrid-deadletters");
        probes.add("the topic: puts events aside", self.decide(principal, Action::BlobWrite, &aside));
        for service in &self.graph.services {
            let Some((category, _)) = self.graph.sources(service).into_iter().next() else { continue };
            let id = uuid::Uuid::new_v4().to_string();
            let subject = format!("{category}:1");
            let event =
                json!({"specversion": "1.0", "id": id, "source": "s", "type": "t", "subject": subject}).to_string();
            topics.publish(topic, vec![event.into()]).await.unwrap();
            let queues = self.resources("Microsoft.ServiceBus/namespaces/queues");
            let ends = format!("/{}", Service::EVENTS);
            let of_service = |body: &&Value| text(body, "/name").contains(&format!("-{}-", service.name));
            let queue = queues.iter().filter(of_service).find(|body| text(body, "/name").ends_with(&ends)).unwrap();
            let arrived = async {
                loop {
                    // What others sent into it is taken away with it.
                    match self.broker.receive_and_delete(text(queue, "/name"), WAIT).await.unwrap() {
                        Some(message) if message.message_id == id => return Ok(()),
                        Some(_) => {}
                        None => return Err(format!("an event of {category} does not arrive")),
                    }
                }
            };
            probes.add(format!("the topic: delivers to {}", service.name), arrived.await);
        }
        delivery.abort();
    }
}

/// How long an event may take, which is there at once unless it never comes.
const WAIT: Duration = Duration::from_secs(2);

const GATEWAY: &str = "Microsoft.ApiManagement/service/";

/// What the gateway's programs are made of.
const OF_GATEWAY: [&str; 6] = [
    "Microsoft.ApiManagement/service/apis/operations",
    "Microsoft.ApiManagement/service/apis/policies",
    "Microsoft.ApiManagement/service/backends",
    "Microsoft.ApiManagement/service/namedValues",
    "Microsoft.ApiManagement/service/policies",
    "Microsoft.ApiManagement/service/policyFragments",
];

/// Something that can be forgotten.
#[derive(Debug, Clone)]
enum Removal {
    /// A resource of a type, by a text that it alone has.
    Resource { kind: &'static str, told: String },
    /// A setting of an app.
    Setting { site: String, name: String },
}

/// What is in the templates, in their order.
fn removals(template: &Value) -> Vec<Removal> {
    let mut found = Vec::new();
    for resource in template["resources"].as_array().into_iter().flatten() {
        match text(resource, "/type") {
            "Microsoft.Resources/deployments" => found.extend(removals(&resource["properties"]["template"])),
            "Microsoft.Authorization/roleAssignments" => found.push(Removal::Resource {
                kind: "Microsoft.Authorization/roleAssignments",
                told: text(resource, "/properties/description").to_owned(),
            }),
            "Microsoft.EventGrid/topics/eventSubscriptions" => found.push(Removal::Resource {
                kind: "Microsoft.EventGrid/topics/eventSubscriptions",
                told: text(resource, "/name").to_owned(),
            }),
            "Microsoft.Web/sites/config" if text(resource, "/name").contains("appsettings") => {
                let site = text(resource, "/name").to_owned();
                let names = resource["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
                found.extend(names.map(|name| Removal::Setting { site: site.clone(), name }));
            }
            // Of named values those that no policy refers to are telemetry's; what GET may do is the policy's to say.
            kind if kind.starts_with(GATEWAY) && kind != "Microsoft.ApiManagement/service/apis" => {
                let kind = OF_GATEWAY.iter().find(|known| **known == kind);
                let name = text(resource, "/name");
                let counts = !name.contains("/graphql-get'") && !name.contains("/appinsights-");
                found.extend(
                    kind.filter(|_| counts)
                        .map(|kind| Removal::Resource { kind, told: Removal::told_of(resource).to_owned() }),
                );
            }
            _ => {}
        }
    }
    found
}

impl Removal {
    fn told_of(resource: &Value) -> &str {
        match text(resource, "/properties/description") {
            "" => text(resource, "/name"),
            told => told,
        }
    }

    /// Takes it out; how often it was there.
    fn apply(&self, template: &mut Value) -> usize {
        let mut taken = 0;
        let mut gone = Vec::new();
        let Some(resources) = template["resources"].as_array_mut() else { return 0 };
        resources.retain(|resource| match self {
            Removal::Resource { kind, told } => {
                let is = text(resource, "/type") == *kind && Removal::told_of(resource) == told;
                if is {
                    taken += 1;
                    let name = text(resource, "/name");
                    gone.push(name.trim_matches(['[', ']']).to_owned());
                    // Children of the gateway are referred to by their id.
                    if let Some(below) = name.split("{0}/").nth(1).and_then(|rest| rest.split('\'').next()) {
                        gone.push(format!("{kind}', parameters('gatewayName'), '{below}'"));
                    }
                }
                !is
            }
            Removal::Setting { .. } => true,
        });
        for resource in resources.iter_mut() {
            if let Some(needs) = resource.get_mut("dependsOn").and_then(Value::as_array_mut) {
                needs.retain(|need| !gone.iter().any(|gone| need.as_str().unwrap_or_default().contains(gone.as_str())));
            }
            if text(resource, "/type") == "Microsoft.Resources/deployments" {
                taken += self.apply(&mut resource["properties"]["template"]);
            }
            if let Removal::Setting { site, name } = self
                && text(resource, "/name") == site
                && text(resource, "/type") == "Microsoft.Web/sites/config"
            {
                let properties = resource["properties"].as_object_mut().unwrap();
                taken += usize::from(properties.remove(name).is_some());
            }
        }
        taken
    }

    /// For people: the same in every environment.
    fn name(&self) -> String {
        match self {
            Removal::Resource { kind, told } if kind.ends_with("roleAssignments") => {
                told.trim_end_matches('.').to_owned()
            }
            Removal::Resource { kind, told } if kind.starts_with(GATEWAY) => {
                let name = told.split("{0}/").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or(told);
                format!("of the gateway's {}: {name}", kind.trim_start_matches(GATEWAY))
            }
            Removal::Resource { told, .. } => {
                let name = told.split('/').nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or(told);
                format!("the subscription of {name}")
            }
            Removal::Setting { site, name } => {
                let app = site.split("func-").nth(1).unwrap_or(site).split("-{").next().unwrap_or(site);
                format!("the setting {name} of {app}")
            }
        }
    }
}

/// Takes out every second thing, from the `half`-th on: two tests share the work.
async fn every_second_is_noticed(half: usize) {
    let bench = Bench::new().await;
    let whole = bench.probe().await;
    assert_eq!(whole.failed, BTreeMap::new(), "with nothing removed everything works");

    let mut table = String::from("| taken out | what then fails |\n|---|---|\n");
    let (mut count, mut unnoticed) = (0, Vec::new());
    let begun = std::time::Instant::now();
    for layer in &bench.layers {
        for removal in removals(&layer.template).into_iter().skip(half).step_by(2) {
            let mut template = layer.template.clone();
            assert_eq!(removal.apply(&mut template), 1, "{removal:?}");
            // A deployment adds and changes; what is no longer in it has to be taken away.
            if let Removal::Resource { kind, told } = &removal {
                let is = |body: &&Value| {
                    let below = text(body, "/name").split_once('/').map_or("", |(_, below)| below);
                    Removal::told_of(body) == told || told.contains(&format!("/{below}'"))
                };
                let deployed = bench.resources(kind).iter().find(is).cloned();
                let deployed = deployed.unwrap_or_else(|| panic!("{removal:?} is not deployed"));
                bench.arm("DELETE", &format!("{}?api-version=2022-04-01", text(&deployed, "/id")), Value::Null).await;
            }
            bench.deploy(&layer.name, &template).await;
            let probes = bench.probe().await;
            let failed: Vec<&str> = probes.failed.keys().map(String::as_str).collect();
            let missing: Vec<&str> = whole.asked.difference(&probes.asked).map(String::as_str).collect();
            if failed.is_empty() {
                unnoticed.push(format!("{} (not asked any more: {missing:?})", removal.name()));
            }
            count += 1;
            table.push_str(&format!("| {} | {} |\n", removal.name(), failed.join("; ")));
            // The next template brings back what this one lacks.
        }
        bench.deploy(&layer.name, &layer.template).await;
    }
    println!("{table}{count} things were taken out in {:.0?}", begun.elapsed());
    assert_eq!(unnoticed, Vec::<String>::new(), "removals that nothing notices");
    assert!(count > 50, "only {count} things were taken out");
    assert_eq!(bench.probe().await.failed, BTreeMap::new(), "everything is there again");
}

#[tokio::test]
async fn whatever_is_forgotten_is_noticed() {
    every_second_is_noticed(0).await;
}

#[tokio::test]
async fn whatever_else_is_forgotten_is_noticed() {
    every_second_is_noticed(1).await;
}

//! Serving what was deployed: the control plane's resources instead of a list, while they change.
//!
//! Whatever a deployment brings, the next generation of planes is started from the resources alone, and takes the place
//! of the one before. Queues, tables and topics live in files, so that nothing is lost in between; function apps
//! are started again. Requests that are under way are finished by the generation that took them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::{Map, Value, json};
use skein_arm::Error;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::access::Authorizer;
use crate::broker::{self, Broker, SystemClock};
use crate::control::{self, Addresses, Control, Host, Hosting};
use crate::identity::{self, IdentityHeaders, Issuer};
use crate::outbound::{self, Outbound};
use crate::resources::{Plan, Resource, ResourcesError};
use crate::serve::{self, Options};
use crate::sites::{self, Sites, Surroundings, Timing};
use crate::{blobs, gateway, tables, topic};

/// Types whose resources have an engine here.
const HOSTED: [&str; 14] = [
    "microsoft.managedidentity/userassignedidentities",
    "microsoft.storage/storageaccounts",
    "microsoft.storage/storageaccounts/blobservices",
    "microsoft.storage/storageaccounts/blobservices/containers",
    "microsoft.storage/storageaccounts/tableservices",
    "microsoft.storage/storageaccounts/tableservices/tables",
    "microsoft.servicebus/namespaces",
    "microsoft.servicebus/namespaces/queues",
    "microsoft.eventgrid/topics",
    "microsoft.eventgrid/topics/eventsubscriptions",
    "microsoft.web/sites",
    "microsoft.apimanagement/service",
    "microsoft.apimanagement/service/backends",
    "microsoft.apimanagement/service/apis",
];

/// A router that is replaced while it serves.
#[derive(Clone, Default)]
struct Cell(Arc<RwLock<Option<Router>>>);

impl Cell {
    fn set(&self, router: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    fn router(&self) -> Router {
        let cell = self.clone();
        Router::new().fallback(move |request: Request<Body>| {
            let router = cell.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                match router {
                    Some(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
                    None => (StatusCode::SERVICE_UNAVAILABLE, "nothing is deployed yet\n").into_response(),
                }
            }
        })
    }
}

/// What runs now.
struct Generation {
    plan: Plan,
    sites: Sites,
    delivery: JoinHandle<()>,
}

struct Engine {
    options: Options,
    addresses: Addresses,
    issuer: Arc<Issuer>,
    /// Who may do what now.
    authorizer: Authorizer,
    broker: Broker,
    client: Outbound,
    planes: Cell,
    gateway: Cell,
    running: Mutex<Option<Generation>>,
}

impl Host for Engine {
    fn apply(&self, resources: Vec<Value>) -> Hosting<'_> {
        Box::pin(async move {
            // Roles hold, and hold no longer, without anything being started anew.
            self.authorizer.update(&resources);
            let plan = self.plan(&resources);
            let mut running = self.running.lock().await;
            if running.as_ref().is_some_and(|generation| generation.plan == plan) {
                return Ok(());
            }
            if let Some(old) = running.take() {
                old.delivery.abort();
                old.sites.stop().await;
            }
            match self.start(plan).await {
                Ok(generation) => {
                    *running = Some(generation);
                    Ok(())
                }
                Err(error) => Err(Error::new("HostingFailed", format!("{error:#}"))),
            }
        })
    }
}

impl Engine {
    /// What can be hosted of the resources. The rest is kept, and said aloud.
    fn plan(&self, resources: &[Value]) -> Plan {
        let has_package = |site: &str| self.options.state.join("apps").join(site).join("host.json").is_file();
        let mut list = list(resources, &has_package);
        loop {
            match Plan::of(&list) {
                Ok(plan) => return plan,
                Err(ResourcesError::Resource { kind, name, why }) => {
                    eprintln!("kept, not hosted: {kind} {name}: {why}");
                    let before = list.len();
                    list.retain(|one| one.kind != kind || one.name != name);
                    if list.len() == before {
                        return Plan::default();
                    }
                }
                Err(error) => {
                    eprintln!("nothing is hosted: {error}");
                    return Plan::default();
                }
            }
        }
    }

    async fn start(&self, plan: Plan) -> Result<Generation> {
        let Engine { options, issuer, authorizer, broker, client, .. } = self;
        let guard = || (issuer.clone(), authorizer.clone());
        for queue in &plan.queues {
            let name = format!("{}/{}", queue.namespace, queue.name);
            broker.declare(&name, queue.settings.clone()).await.with_context(|| format!("queue {name}"))?;
        }
        let topics = serve::topics(options, &plan, broker, Some(authorizer.clone())).await?;
        let tables = serve::tables_backend(options, &plan).await?;
        let folder = options.state.join(blobs::FOLDER);
        let containers = blobs::open(&folder, &plan.containers)
            .with_context(|| format!("cannot open the blobs in {}", folder.display()))?;
        let headers: BTreeMap<String, String> =
            plan.sites.iter().map(|site| (site.name.clone(), uuid::Uuid::new_v4().to_string())).collect();
        let identities: IdentityHeaders = plan
            .sites
            .iter()
            .filter_map(|site| Some((headers.get(&site.name)?.clone(), site.identities.clone())))
            .collect::<HashMap<_, _>>();
        let surroundings = Surroundings {
            state: options.state.clone(),
            planes: self.addresses.planes.clone(),
            issuer: issuer.clone(),
            authorizer: Some(authorizer.clone()),
            broker: broker.clone(),
            client: client.clone(),
            timing: Timing::default(),
        };
        let sites = Sites::start(&plan.sites, &surroundings, &|name| headers.get(name).cloned().unwrap_or_default())?;
        let planes = Router::new()
            .merge(identity::router(issuer.clone(), Arc::new(identities), self.addresses.planes.clone()))
            .merge(sites::front::router(sites.by_name()))
            .nest(tables::PREFIX, tables::router(guard(), tables))
            .nest(blobs::PREFIX, blobs::router(guard(), containers))
            .nest(broker::PREFIX, broker::router(guard(), broker.clone()))
            .nest(topic::PREFIX, topic::router(guard(), topics.clone()));
        self.planes.set(planes);
        if let Some(gateway) = plan.gateway.clone() {
            let running: Vec<_> = sites.all().cloned().collect();
            let config = gateway::Config {
                gateway,
                issuer: issuer.clone(),
                client: client.clone(),
                base: self.addresses.gateway.clone(),
                state: options.state.display().to_string(),
                healthy: Arc::new(move || running.iter().all(|site| site.state().is_none_or(serve::is_ready))),
            };
            self.gateway.set(gateway::router(config));
        }
        let delivery = topics.start();
        Ok(Generation { plan, sites, delivery })
    }
}

/// The resources that may be hosted, as a list: app settings with their site, sites without a package left out.
fn list(resources: &[Value], has_package: &dyn Fn(&str) -> bool) -> Vec<Resource> {
    let text = |body: &Value, key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let mut settings: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for body in resources {
        if text(body, "type").eq_ignore_ascii_case("Microsoft.Web/sites/config")
            && let Some(site) = text(body, "name").to_lowercase().strip_suffix("/appsettings")
        {
            settings.insert(site.to_owned(), body["properties"].as_object().cloned().unwrap_or_default());
        }
    }
    let mut list = Vec::new();
    for body in resources {
        let (kind, name) = (text(body, "type"), text(body, "name"));
        let lower = kind.to_lowercase();
        let site = name.split('/').next().unwrap_or_default();
        let is_auth = lower == "microsoft.web/sites/config" && name.to_lowercase().ends_with("/authsettingsv2");
        if !(HOSTED.contains(&lower.as_str()) || is_auth) || (lower.starts_with("microsoft.web/") && !has_package(site))
        {
            continue;
        }
        let mut properties = body["properties"].clone();
        if lower == "microsoft.web/sites"
            && let Some(own) = settings.get(&name.to_lowercase())
        {
            let own = own.iter().filter(|(key, _)| *key != "provisioningState");
            let own: Vec<Value> = own.map(|(name, value)| json!({"name": name, "value": value})).collect();
            properties["siteConfig"]["appSettings"] = own.into();
        }
        list.push(Resource { kind, name, identity: body["identity"].clone(), properties });
    }
    list
}

/// Serves the control plane and what is deployed through it, until `stop` says so. Prints `ready …` with the planes'
/// address once deployments are taken.
///
/// # Errors
/// A state folder or port that cannot be used.
pub async fn serve(options: &Options, mut stop: watch::Receiver<bool>) -> Result<()> {
    let _lock = serve::lock(&options.state)?;
    let state: PathBuf =
        options.state.canonicalize().with_context(|| format!("cannot find {}", options.state.display()))?;
    let options = Options { state, ..options.clone() };
    let planes_listener = serve::bind(options.planes_port.unwrap_or(0), "the planes").await?;
    let gateway_listener = serve::bind(options.port, "the gateway").await?;
    let addresses = Addresses { planes: serve::base(&planes_listener)?, gateway: serve::base(&gateway_listener)? };
    let folder = options.state.join("identity");
    let issuer = Arc::new(tokio::task::spawn_blocking(move || Issuer::open(&folder)).await??);
    let broker = Broker::open(&options.state.join("broker.db"), SystemClock::shared())
        .with_context(|| format!("cannot open the broker in {}", options.state.display()))?;
    let file = options.state.join("control.db");
    let engine = Arc::new(Engine {
        options,
        addresses: addresses.clone(),
        issuer: issuer.clone(),
        authorizer: Authorizer::default(),
        broker,
        client: outbound::client(),
        planes: Cell::default(),
        gateway: Cell::default(),
        running: Mutex::default(),
    });
    let settings =
        control::Settings { issuer, addresses: addresses.clone(), pace: Duration::ZERO, host: engine.clone() };
    let control = Control::open(&file, settings).with_context(|| format!("cannot open {}", file.display()))?;
    if let Err(error) = control.host().await {
        eprintln!("what was deployed cannot be hosted: {error}");
    }
    control.resume();
    let planes = control::router(control).fallback_service(engine.planes.router());
    let servers = [
        serve::listen(planes_listener, planes, stop.clone()),
        serve::listen(gateway_listener, engine.gateway.router(), stop.clone()),
    ];
    eprintln!("gateway     {}", addresses.gateway);
    eprintln!("planes      {}", addresses.planes);
    println!("ready {}", addresses.planes);
    let _ = stop.wait_for(|stop| *stop).await;
    eprintln!("stopping");
    if let Some(generation) = engine.running.lock().await.take() {
        generation.delivery.abort();
        generation.sites.stop().await;
    }
    for server in servers {
        let abort = server.abort_handle();
        if tokio::time::timeout(serve::CLOSE_LIMIT, server).await.is_err() {
            abort.abort();
        }
    }
    Ok(())
}

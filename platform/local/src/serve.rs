//! Everything together: reads the list of resources, opens the planes, runs the function apps and the gateway.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::access::Authorizer;
use crate::blobs;
use crate::broker::{self, Broker, SystemClock};
use crate::controlled;
use crate::gateway;
use crate::identity::{self, IdentityHeaders, Issuer};
use crate::loopback::guarded;
use crate::outbound::{self, Outbound};
use crate::resources::{self, Plan};
use crate::sites::{self, Site, Sites, State, Surroundings, Timing};
use crate::tables::{self, Azurite, Backend};
use crate::topic::{self, Chaos, TopicSettings, Topics};
use crate::vault::{self, Vaults};

/// How long the function apps may take until all are ready.
const START_LIMIT: Duration = Duration::from_secs(150);

/// How often an app that is not ready is asked again.
const READY_POLL: Duration = Duration::from_millis(50);

/// How long connections may take to end once everything stops.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// What to serve, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with all state.
    pub state: PathBuf,
    /// The list of resources; without one, what is deployed through the control plane is served.
    pub resources: Option<PathBuf>,
    /// The gateway's port; 0 takes any.
    pub port: u16,
    /// The planes' port; by default the one that the list names.
    pub planes_port: Option<u16>,
    /// The table endpoint of an Azurite that keeps the tables, as in `http://127.0.0.1:10002/devstoreaccount1`.
    pub azurite: Option<String>,
    /// By what the topics' retry waits are multiplied.
    pub retry_factor: f64,
    /// Makes the topics delay, double and reorder deliveries, by this seed.
    pub chaos: Option<u64>,
}

/// The key of Azurite's well-known account, which its documentation publishes.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Takes the state folder for this process.
///
/// # Errors
/// Another system runs on it.
pub fn lock(state: &Path) -> Result<File> {
    std::fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let path = state.join("local.lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).write(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another local system runs on {}; stop it, or use another folder", state.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Serves until `stop` says so. Prints `ready http://127.0.0.1:N` to stdout once everything answers.
///
/// # Errors
/// Anything that keeps the list from being hosted. Nothing is left running then.
pub async fn serve(options: &Options, mut stop: watch::Receiver<bool>) -> Result<()> {
    let Some(list) = &options.resources else { return controlled::serve(options, stop).await };
    let _lock = lock(&options.state)?;
    // Absolute, since the workers are started in folders of their own.
    let state = options.state.canonicalize().with_context(|| format!("cannot find {}", options.state.display()))?;
    let options = &Options { state, ..options.clone() };
    let plan = resources::read(list)?;
    for kept in &plan.not_hosted {
        eprintln!("kept, not hosted: {kept}");
    }
    let planes_port = planes_port(&plan, options.planes_port)?;
    let planes_listener = bind(planes_port, "the planes").await?;
    let planes_base = base(&planes_listener)?;
    let gateway_listener = bind(options.port, "the gateway").await?;
    let gateway_base = base(&gateway_listener)?;

    let folder = options.state.join("identity");
    let issuer = Arc::new(tokio::task::spawn_blocking(move || Issuer::open(&folder)).await??);
    let broker = Broker::open(&options.state.join("broker.db"), SystemClock::shared())
        .with_context(|| format!("cannot open the broker in {}", options.state.display()))?;
    for queue in &plan.queues {
        let name = format!("{}/{}", queue.namespace, queue.name);
        broker.declare(&name, queue.settings.clone()).await.with_context(|| format!("queue {name}"))?;
    }
    let topics = topics(options, &plan, &broker, None).await?;
    let tables = tables_backend(options, &plan).await?;
    let folder = options.state.join(blobs::FOLDER);
    let containers = blobs::open(&folder, &plan.containers)
        .with_context(|| format!("cannot open the blobs in {}", folder.display()))?;
    let (folder, keys) = (options.state.join("keyvault"), plan.vault_keys.clone());
    let vaults = tokio::task::spawn_blocking(move || Vaults::open(&folder, &keys)).await??;
    let client = outbound::client();

    let headers: BTreeMap<&str, String> =
        plan.sites.iter().map(|site| (site.name.as_str(), uuid::Uuid::new_v4().to_string())).collect();
    let identities: IdentityHeaders = plan
        .sites
        .iter()
        .filter_map(|site| Some((headers.get(site.name.as_str())?.clone(), site.identities.clone())))
        .collect::<HashMap<_, _>>();
    let surroundings = Surroundings {
        state: options.state.clone(),
        planes: planes_base.clone(),
        issuer: issuer.clone(),
        authorizer: None,
        broker: broker.clone(),
        client: client.clone(),
        timing: Timing::default(),
    };
    let sites = Sites::start(&plan.sites, &surroundings, &|name| headers.get(name).cloned().unwrap_or_default())?;

    let planes = Router::new()
        .merge(identity::router(issuer.clone(), Arc::new(identities), planes_base.clone()))
        .merge(sites::front::router(sites.by_name()))
        .nest(tables::PREFIX, tables::router(issuer.clone(), tables))
        .nest(blobs::PREFIX, blobs::router(issuer.clone(), containers))
        .nest(broker::PREFIX, broker::router(issuer.clone(), broker.clone()))
        .nest(topic::PREFIX, topic::router(issuer.clone(), topics.clone()))
        .nest(vault::PREFIX, vault::router(issuer.clone(), vaults, &planes_base));
    let mut servers = vec![listen(planes_listener, planes, stop.clone())];
    let delivery = topics.start();
    if let Some(gateway) = plan.gateway {
        let running: Vec<Arc<Site>> = sites.all().cloned().collect();
        let config = gateway::Config {
            gateway,
            issuer,
            client: client.clone(),
            base: gateway_base.clone(),
            state: options.state.display().to_string(),
            healthy: Arc::new(move || {
                running.iter().all(|site| !matches!(site.state(), Some(state) if !is_ready(state)))
            }),
        };
        servers.push(listen(gateway_listener, gateway::router(config), stop.clone()));
    } else {
        eprintln!("the list has no gateway, so nothing listens on {gateway_base}");
    }

    let mut stopping = stop.clone();
    let started = tokio::select! {
        started = all_ready(&sites, &client, &planes_base, &options.state) => started,
        _ = stopping.wait_for(|stop| *stop) => Ok(()),
    };
    if started.is_ok() && !*stop.borrow() {
        announce(&plan.sites, &gateway_base, &planes_base);
        println!("ready {gateway_base}");
        std::io::stdout().flush().context("cannot write to stdout")?;
        let _ = stop.wait_for(|stop| *stop).await;
        eprintln!("stopping");
    }

    sites.stop().await;
    delivery.abort();
    for server in servers {
        let abort = server.abort_handle();
        if tokio::time::timeout(CLOSE_LIMIT, server).await.is_err() {
            abort.abort();
        }
    }
    started
}

pub(crate) fn is_ready(state: State) -> bool {
    matches!(state, State::Ready { .. })
}

/// What people want to know, on stderr.
fn announce(sites: &[resources::Site], gateway: &str, planes: &str) {
    eprintln!("gateway     {gateway}");
    let mut services: Vec<&str> =
        sites.iter().filter_map(|site| site.settings.get("SKEIN_SERVICE")).map(String::as_str).collect();
    services.dedup();
    for service in services {
        eprintln!("  GraphiQL  {gateway}/{service}/graphql");
    }
    eprintln!("planes      {planes}");
}

/// The port of the planes: the list holds addresses, so that both have to agree.
fn planes_port(plan: &Plan, given: Option<u16>) -> Result<u16> {
    let backends = plan.gateway.iter().flat_map(|gateway| &gateway.apis).flat_map(|api| [&api.command, &api.query]);
    let mut named = None;
    for backend in backends {
        let port = backend.url.parse::<axum::http::Uri>().ok().and_then(|uri| uri.port_u16());
        let wanted = *named.get_or_insert(port);
        if wanted != port {
            bail!("the list names two ports for the planes, {wanted:?} and {port:?}");
        }
    }
    match (named.flatten(), given) {
        (Some(named), Some(given)) if named != given => {
            bail!("the list was written for planes on port {named}, not {given}")
        }
        (named, given) => Ok(given.or(named).unwrap_or(0)),
    }
}

pub(crate) async fn bind(port: u16, what: &str) -> Result<TcpListener> {
    // Loopback and nothing else: whoever reaches a plane could try to guess its tokens.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for {what}"))
}

pub(crate) fn base(listener: &TcpListener) -> Result<String> {
    Ok(format!("http://{}", listener.local_addr().context("the address is not known")?))
}

pub(crate) fn listen(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let service = guarded(router).into_make_service_with_connect_info::<SocketAddr>();
    // Small answers must not wait for the acknowledgement of earlier ones.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let _ = axum::serve(listener, service).with_graceful_shutdown(stopped).await;
    })
}

pub(crate) async fn topics(
    options: &Options,
    plan: &Plan,
    broker: &Broker,
    authorizer: Option<Authorizer>,
) -> Result<Topics> {
    let chaos = options.chaos.map_or_else(Chaos::default, |seed| Chaos {
        delay: Duration::from_millis(200),
        duplicates: 0.1,
        reorder: true,
        seed: Some(seed),
    });
    let settings = TopicSettings {
        retry_factor: options.retry_factor,
        chaos,
        dead_letter_folder: options.state.join(blobs::FOLDER),
        authorizer,
    };
    let topics = Topics::open(broker.clone(), settings).await.context("cannot open the topics")?;
    for (topic, principal) in &plan.topics {
        topics.declare_topic(topic);
        if let Some(principal) = principal {
            topics.set_principal(topic, principal);
        }
    }
    for subscription in &plan.subscriptions {
        topics
            .declare_subscription(&subscription.topic, &subscription.name, &subscription.properties)
            .with_context(|| format!("subscription {}/{}", subscription.topic, subscription.name))?;
    }
    Ok(topics)
}

pub(crate) async fn tables_backend(options: &Options, plan: &Plan) -> Result<Backend> {
    let accounts = plan.accounts.clone();
    let names = |accounts: &BTreeMap<String, std::collections::BTreeSet<String>>| {
        let names = accounts.iter().map(|(account, tables)| (account.clone(), tables.iter().cloned().collect()));
        names.collect::<Vec<(String, Vec<String>)>>()
    };
    let accounts = names(&accounts);
    if let Some(url) = &options.azurite {
        if url.trim_end_matches('/').rsplit('/').next() != Some(AZURITE_ACCOUNT) {
            bail!("the table endpoint of Azurite has to end with /{AZURITE_ACCOUNT}, it is {url}");
        }
        let accounts: Vec<(&str, Vec<&str>)> = accounts
            .iter()
            .map(|(name, tables)| (name.as_str(), tables.iter().map(String::as_str).collect()))
            .collect();
        let azurite = Azurite::open(url, AZURITE_ACCOUNT, AZURITE_KEY, accounts).await?;
        return Ok(Backend::Azurite(azurite));
    }
    let folder = options.state.join("tables");
    let opened = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let accounts =
            accounts.iter().map(|(name, tables)| (name.as_str(), tables.iter().map(String::as_str).collect()));
        Backend::embedded(&folder, accounts).with_context(|| format!("cannot open the tables in {}", folder.display()))
    });
    opened.await?
}

/// Waits until every function app says that it is ready, through its front.
async fn all_ready(sites: &Sites, client: &Outbound, planes: &str, state: &Path) -> Result<()> {
    let until = Instant::now() + START_LIMIT;
    for site in sites.all() {
        while let Err(why) = readiness(site, client, planes).await {
            if Instant::now() > until {
                let log = state.join("logs").join(format!("{}.log", site.name));
                bail!("{} is not ready: {why}; see {}", site.name, log.display());
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
    Ok(())
}

async fn readiness(site: &Site, client: &Outbound, planes: &str) -> Result<(), String> {
    match site.state() {
        None => return Ok(()),
        Some(state) if !is_ready(state) => return Err(format!("the worker is {state:?}")),
        Some(_) => {}
    }
    if !site.has_route("health/ready") {
        return Ok(());
    }
    let prefix = site.route_prefix();
    let separator = if prefix.is_empty() { "" } else { "/" };
    let request = Request::get(format!("{planes}/sites/{}/{prefix}{separator}health/ready", site.name));
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = client.request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        return Ok(());
    }
    let body = axum::body::to_bytes(Body::new(body), 4096).await.unwrap_or_default();
    Err(format!("health/ready answered {}: {}", head.status, String::from_utf8_lossy(&body)))
}

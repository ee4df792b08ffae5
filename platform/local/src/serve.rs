//! Everything together: opens the planes, hosts what is deployed, takes deployments, and says when all of it answers.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
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
use crate::broker::{Broker, SystemClock};
use crate::control::{self, Addresses, Control};
use crate::hosting::{self, Engine};
use crate::identity::Issuer;
use crate::loopback::guarded;
use crate::outbound::{self, Outbound};
use crate::publish;
use crate::sites::Site;
use crate::topic::{Chaos, TopicSettings};

/// How long the function apps may take until all are ready.
const START_LIMIT: Duration = Duration::from_secs(150);

/// How often an app that is not ready is asked again.
const READY_POLL: Duration = Duration::from_millis(50);

/// How long connections may take to end once everything stops.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Remembers the planes' port: deployed resources hold addresses, which have to stay the same.
const PLANES_PORT: &str = "planes-port";

/// What to serve, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with all state.
    pub state: PathBuf,
    /// The gateway's port; 0 takes any.
    pub port: u16,
    /// The planes' port; by default the one of last time, or any.
    pub planes_port: Option<u16>,
    /// The table endpoint of an Azurite that keeps the tables, as in `http://127.0.0.1:10002/devstoreaccount1`.
    pub azurite: Option<String>,
    /// By what the topics' retry waits are multiplied.
    pub retry_factor: f64,
    /// Makes the topics delay, double and reorder deliveries, by this seed.
    pub chaos: Option<u64>,
    /// A command that is run once deployments are taken; the system is ready when it has succeeded.
    pub deploy: Vec<OsString>,
}

impl Options {
    /// How the topics deliver.
    pub(crate) fn topic_settings(&self, authorizer: Authorizer) -> TopicSettings {
        let chaos = self.chaos.map_or_else(Chaos::default, |seed| Chaos {
            delay: Duration::from_millis(200),
            duplicates: 0.1,
            reorder: true,
            seed: Some(seed),
        });
        TopicSettings {
            retry_factor: self.retry_factor,
            chaos,
            dead_letter_folder: self.state.join(blobs::FOLDER),
            authorizer: Some(authorizer),
        }
    }
}

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

/// Serves until `stop` says so. Prints `planes http://127.0.0.1:N` to stdout once deployments are taken, and
/// `ready http://127.0.0.1:M`, the gateway's address, once everything that is deployed answers.
///
/// # Errors
/// A state folder or port that cannot be used, a deployment that fails, or an app that does not become ready. Nothing is
/// left running then.
pub async fn serve(options: &Options, stop: watch::Receiver<bool>) -> Result<()> {
    let _lock = lock(&options.state)?;
    // Absolute, since the workers are started in folders of their own.
    let state = options.state.canonicalize().with_context(|| format!("cannot find {}", options.state.display()))?;
    let options = Options { state, ..options.clone() };
    let planes_listener = planes_listener(&options).await?;
    let gateway_listener = bind(options.port, "the gateway").await?;
    let addresses = Addresses { planes: base(&planes_listener)?, gateway: base(&gateway_listener)? };

    let folder = options.state.join("identity");
    let issuer = Arc::new(tokio::task::spawn_blocking(move || Issuer::open(&folder)).await??);
    let broker = Broker::open(&options.state.join("broker.db"), SystemClock::shared())
        .with_context(|| format!("cannot open the broker in {}", options.state.display()))?;
    let client = outbound::client();
    let engine = Engine::open(options.clone(), addresses.clone(), issuer.clone(), broker, client.clone()).await?;
    let engine = Arc::new(engine);
    let file = options.state.join("control.db");
    let settings =
        control::Settings { issuer, addresses: addresses.clone(), pace: Duration::ZERO, host: engine.clone() };
    let control = Control::open(&file, settings).with_context(|| format!("cannot open {}", file.display()))?;
    let failing = engine.clone();
    let failure = Arc::new(move |site: &str| failing.failure(site));
    let planes = control::router(control.clone())
        .merge(publish::router(control.clone(), &options.state, failure))
        .merge(engine.planes());
    let servers =
        [listen(planes_listener, planes, stop.clone()), listen(gateway_listener, engine.gateway(), stop.clone())];

    let served = run(&options, &control, &engine, &addresses, &client, stop).await;

    engine.stop().await;
    for server in servers {
        let abort = server.abort_handle();
        if tokio::time::timeout(CLOSE_LIMIT, server).await.is_err() {
            abort.abort();
        }
    }
    served
}

/// From the first start of what is deployed until everything is to stop.
async fn run(
    options: &Options,
    control: &Control,
    engine: &Engine,
    addresses: &Addresses,
    client: &Outbound,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut stopping = stop.clone();
    let started = async {
        if let Err(error) = control.host().await {
            eprintln!("what was deployed cannot be hosted: {error}");
        }
        control.resume();
        print_line(&format!("planes {}", addresses.planes))?;
        if !options.deploy.is_empty() {
            deploy(&options.deploy).await?;
        }
        all_ready(engine, client, &addresses.planes, &options.state).await
    };
    tokio::select! {
        started = started => started?,
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    if !*stop.borrow() {
        let graphs = engine.graphs().await;
        // What people want to know.
        eprintln!("gateway     {}", addresses.gateway);
        for path in graphs {
            eprintln!("  GraphiQL  {}/{path}", addresses.gateway);
        }
        eprintln!("planes      {}", addresses.planes);
        print_line(&format!("ready {}", addresses.gateway))?;
        let _ = stop.wait_for(|stop| *stop).await;
    }
    eprintln!("stopping");
    Ok(())
}

fn print_line(line: &str) -> Result<()> {
    println!("{line}");
    std::io::stdout().flush().context("cannot write to stdout")
}

/// Runs the command to its end.
async fn deploy(command: &[OsString]) -> Result<()> {
    let [program, args @ ..] = command else { return Ok(()) };
    let mut command = tokio::process::Command::new(program);
    // Its results are not ours.
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("{} failed ({status}); nothing is left running", program.display());
    }
    Ok(())
}

/// The planes' listener, on the port that deployed resources name.
async fn planes_listener(options: &Options) -> Result<TcpListener> {
    let file = options.state.join(PLANES_PORT);
    let last: Option<u16> = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    let port = options.planes_port.or(last).unwrap_or(0);
    let listener = bind(port, "the planes").await.context(
        "what is deployed here names that port: stop whoever has it, or give another --planes-port and deploy again",
    )?;
    let port = listener.local_addr().context("the address is not known")?.port();
    if last != Some(port) {
        std::fs::write(&file, format!("{port}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(listener)
}

async fn bind(port: u16, what: &str) -> Result<TcpListener> {
    // Loopback and nothing else: whoever reaches a plane could try to guess its tokens.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for {what}"))
}

fn base(listener: &TcpListener) -> Result<String> {
    Ok(format!("http://{}", listener.local_addr().context("the address is not known")?))
}

fn listen(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> JoinHandle<()> {
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

/// Waits until every function app that has a package says that it is ready, through its front. One that cannot be run
/// has been told of, and is not waited for.
async fn all_ready(engine: &Engine, client: &Outbound, planes: &str, state: &Path) -> Result<()> {
    let until = Instant::now() + START_LIMIT;
    let sites: Vec<Arc<Site>> = {
        let fronts = engine.fronts().read().unwrap_or_else(PoisonError::into_inner);
        fronts.values().flatten().cloned().collect()
    };
    for site in sites {
        while let Err(why) = readiness(&site, client, planes).await {
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
        Some(state) if !hosting::is_ready(&state) => return Err(format!("the worker is {state:?}")),
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

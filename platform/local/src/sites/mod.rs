//! The functions host: runs the packaged function apps and calls them by the custom-handler protocol.

mod event_grid;
pub mod front;
mod log;
pub mod package;
pub mod packages;
mod payload;
mod pump;
mod response;
mod rights;
mod route;
mod schedule;
#[cfg(test)]
mod tests;
mod timer;
mod unpack;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use skein_package::Glibc;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::log::{Level, SiteLog};
use self::package::{Function, Package, PackageError, Trigger};
use self::response::{Answer, ContractError};
pub use self::rights::HostRights;
pub use self::unpack::machine_glibc;
use self::worker::{Launch, NotReady, Worker};
pub use self::worker::{State, Timing};
use crate::access::Authorizer;
use crate::broker::Broker;
use crate::identity::{IdentityHeaders, Issuer};
use crate::outbound::Outbound;
use crate::resources::{Site as SiteResource, SiteAuth};

/// The version of the functions host whose behaviour this is.
pub const HOST_VERSION: &str = "4.1052.100";

/// What the functions host calls itself.
const USER_AGENT: &str = "Azure-Functions-Host/4.1052.100";

/// The largest answer to an invocation that is read.
const MAX_ANSWER_BYTES: usize = 100 * 1024 * 1024;

/// Within what time the end of a worker is noticed after its connections broke.
const NOTICE: Duration = Duration::from_millis(250);

/// Why a site cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its zip cannot be unpacked.
    #[error("{0}: its package cannot be unpacked")]
    Unpack(String, #[source] unpack::UnpackError),
    /// Its package cannot be run.
    #[error("site {0} cannot be run")]
    Package(String, #[source] PackageError),
    /// Its log or keys cannot be written.
    #[error("the log or keys of site {0} cannot be written")]
    Io(String, #[source] std::io::Error),
}

/// Why an invocation failed.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// No worker took it.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The connection failed.
    #[error("the worker cannot be reached: {0}")]
    Unreachable(String),
    /// The worker ended.
    #[error("the worker ended during the invocation")]
    WorkerEnded,
    /// It took too long; the worker is killed.
    #[error("the invocation took longer than functionTimeout ({0:?}); the worker is killed with all its invocations")]
    TimedOut(Duration),
    /// The answer breaks the contract.
    #[error(transparent)]
    Contract(#[from] ContractError),
}

/// What all sites share.
#[derive(Clone)]
pub struct Surroundings {
    /// The folder with all state.
    pub state: std::path::PathBuf,
    /// The base URL of the planes.
    pub planes: String,
    /// Checks the tokens of requests.
    pub issuer: Arc<Issuer>,
    /// Whether the hosts' identities may do what they do; `None` asks nothing.
    pub authorizer: Option<Authorizer>,
    /// What triggers receive from.
    pub broker: Broker,
    /// Calls workers.
    pub client: Outbound,
    /// The platform's waits.
    pub timing: Timing,
}

/// A function app that runs.
pub struct Site {
    /// Its name.
    pub name: String,
    auth: SiteAuth,
    rights: HostRights,
    package: Package,
    /// There is none without functions.
    worker: Option<Worker>,
    log: Arc<SiteLog>,
    event_grid_key: String,
    surroundings: Surroundings,
}

/// What the fronts answer for, by the name of the site in lower case: nothing where a site is deployed and cannot run.
pub type Fronts = Arc<RwLock<BTreeMap<String, Option<Arc<Site>>>>>;

/// Whose identities a site's secret header stands for, while they run.
pub type Identities = Arc<RwLock<IdentityHeaders>>;

/// The function apps that run.
pub struct Sites {
    surroundings: Surroundings,
    glibc: Option<Glibc>,
    fronts: Fronts,
    identities: Identities,
    running: BTreeMap<String, Running>,
    /// Why those that should run do not.
    failed: BTreeMap<String, SiteError>,
}

/// A site, and what it was started from.
struct Running {
    resource: SiteResource,
    package: Option<String>,
    site: Arc<Site>,
    header: String,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Resolves when everything is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Sites {
    /// Runs nothing yet.
    pub fn new(surroundings: Surroundings) -> Sites {
        Sites {
            surroundings,
            glibc: unpack::machine_glibc(),
            fronts: Fronts::default(),
            identities: Identities::default(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// What the fronts answer for. It follows the changes.
    pub fn fronts(&self) -> Fronts {
        self.fronts.clone()
    }

    /// The headers at the identity endpoint. They follow the changes.
    pub fn identities(&self) -> Identities {
        self.identities.clone()
    }

    /// Says which sites there are before any of them is started: until then a caller is told to come again, not that there is
    /// no such site.
    pub fn expect(&self, wanted: &[SiteResource]) {
        let mut fronts = self.fronts.write().unwrap_or_else(PoisonError::into_inner);
        for one in wanted {
            fronts.entry(one.name.to_ascii_lowercase()).or_default();
        }
    }

    /// Brings what runs in line with what is wanted: starts what is new, stops what is gone, and starts again what has
    /// other settings, identities, callers or another package. The others run on, undisturbed. A site without a package
    /// waits for one. What cannot be run is told by [`Sites::failure`], and is tried again with the next call.
    pub async fn apply(&mut self, wanted: &[SiteResource]) {
        let mut packages = BTreeMap::new();
        for resource in wanted {
            let folder = self.surroundings.state.join(packages::FOLDER);
            packages.insert(resource.name.clone(), packages::current(&folder, &resource.name));
        }
        let stays = |name: &str, running: &Running| {
            wanted.iter().any(|resource| {
                resource.name == name
                    && *resource == running.resource
                    && matches!(packages.get(name), Some(Ok(package)) if package.as_ref().map(|one| &one.digest) == running.package.as_ref())
            })
        };
        let leaving: Vec<String> =
            self.running.iter().filter(|(name, running)| !stays(name, running)).map(|(name, _)| name.clone()).collect();
        self.end(&leaving).await;
        self.failed.clear();
        for resource in wanted {
            if self.running.contains_key(&resource.name) {
                continue;
            }
            let package = packages.remove(&resource.name).unwrap_or(Ok(None));
            let result = match package {
                Err(error) => Err(SiteError::Io(resource.name.clone(), error)),
                Ok(package) => self.start(resource, package).await,
            };
            match result {
                Ok(Some(running)) => {
                    self.running.insert(resource.name.clone(), running);
                }
                Ok(None) => {}
                Err(error) => {
                    self.failed.insert(resource.name.clone(), error);
                }
            }
        }
        let fronts = wanted.iter().map(|one| {
            (one.name.to_ascii_lowercase(), self.running.get(&one.name).map(|running| running.site.clone()))
        });
        *self.fronts.write().unwrap_or_else(PoisonError::into_inner) = fronts.collect();
    }

    /// Why a site that should run does not.
    pub fn failure(&self, name: &str) -> Option<String> {
        self.failed.get(name).map(|error| chain(error))
    }

    /// All that cannot be run.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.failed.values().map(|error| chain(error))
    }

    /// Starts a site; nothing where it has no package yet.
    async fn start(
        &self,
        resource: &SiteResource,
        package: Option<packages::Record>,
    ) -> Result<Option<Running>, SiteError> {
        let surroundings = &self.surroundings;
        let root = surroundings.state.join("apps").join(&resource.name);
        let digest = package.map(|record| record.digest);
        match &digest {
            Some(digest) => {
                let zip = packages::zip(&surroundings.state.join(packages::FOLDER), &resource.name, digest);
                let (digest, root, glibc) = (digest.clone(), root.clone(), self.glibc);
                let unpacked = tokio::task::spawn_blocking(move || unpack::unpack(&zip, &digest, &root, glibc)).await;
                let unpacked = unpacked.unwrap_or_else(|error| Err(unpack::UnpackError::Ended(error.to_string())));
                unpacked.map_err(|error| SiteError::Unpack(resource.name.clone(), error))?;
            }
            // A folder that somebody unpacked by hand.
            None if root.join("host.json").is_file() => {}
            None => return Ok(None),
        }
        let package = Package::read(&root, &resource.settings)
            .map_err(|error| SiteError::Package(resource.name.clone(), error))?;
        let io = |error| SiteError::Io(resource.name.clone(), error);
        let log = Arc::new(SiteLog::open(&surroundings.state.join("logs"), &resource.name).map_err(io)?);
        let event_grid_key = event_grid::key(&surroundings.state.join("keys"), &resource.name).map_err(io)?;
        for (function, why) in &package.errors {
            log.host(Level::Error, &format!("the function {function} cannot run: {why}"));
        }
        let mut environment = resource.settings.clone();
        // Flex Consumption tells the worker's runtime from the app's own configuration.
        environment.entry("FUNCTIONS_WORKER_RUNTIME".into()).or_insert_with(|| "custom".into());
        environment.insert("WEBSITE_SITE_NAME".into(), resource.name.clone());
        let header = uuid::Uuid::new_v4().to_string();
        if !resource.identities.is_empty() {
            environment.insert("IDENTITY_ENDPOINT".into(), format!("{}/identity/token", surroundings.planes));
            environment.insert("IDENTITY_HEADER".into(), header.clone());
            let mut identities = self.identities.write().unwrap_or_else(PoisonError::into_inner);
            identities.insert(header.clone(), resource.identities.clone());
        }
        let (stop, stops) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let worker = (!package.functions.is_empty()).then(|| {
            let launch = Launch {
                host: package.host.clone(),
                root: package.root.clone(),
                environment,
                timing: surroundings.timing,
            };
            let (worker, supervision) = Worker::start(launch, surroundings.client.clone(), log.clone());
            tasks.spawn(async move {
                let _ = supervision.await;
            });
            worker
        });
        let site = Arc::new(Site {
            name: resource.name.clone(),
            auth: resource.auth.clone(),
            rights: HostRights::new(surroundings.authorizer.clone(), &resource.identities, &resource.settings),
            package,
            worker,
            log,
            event_grid_key,
            surroundings: surroundings.clone(),
        });
        // What calls the functions that nobody calls by HTTP.
        for (index, function) in site.package.functions.iter().enumerate() {
            match &function.trigger {
                Trigger::ServiceBus { .. } => {
                    tasks.spawn(pump::run(site.clone(), index, stops.clone()));
                }
                Trigger::Timer { .. } => {
                    tasks.spawn(timer::run(site.clone(), index, stops.clone()));
                }
                Trigger::Http { .. } | Trigger::EventGrid => {}
            }
        }
        Ok(Some(Running { resource: resource.clone(), package: digest, site, header, stop, tasks }))
    }

    /// A site by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Site>> {
        self.running.get(name).map(|running| &running.site)
    }

    /// All sites.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.running.values().map(|running| &running.site)
    }

    /// Kills the workers of sites, lets their messages go back to the queues, and waits until all is over.
    async fn end(&mut self, names: &[String]) {
        let mut leaving: Vec<Running> = names.iter().filter_map(|name| self.running.remove(name)).collect();
        {
            let mut fronts = self.fronts.write().unwrap_or_else(PoisonError::into_inner);
            let mut identities = self.identities.write().unwrap_or_else(PoisonError::into_inner);
            for running in &leaving {
                fronts.insert(running.site.name.to_ascii_lowercase(), None);
                identities.remove(&running.header);
                running.stop.send_replace(true);
                if let Some(worker) = &running.site.worker {
                    worker.end();
                }
            }
        }
        for running in &mut leaving {
            while running.tasks.join_next().await.is_some() {}
        }
    }

    /// Ends all of them.
    pub async fn stop(mut self) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        self.end(&names).await;
    }
}

impl Site {
    /// What the site's worker does; `None` where it has no functions.
    pub fn state(&self) -> Option<State> {
        self.worker.as_ref().map(Worker::state)
    }

    /// Whether a function answers `GET {prefix}/{path}`.
    pub fn has_route(&self, path: &str) -> bool {
        self.package.functions.iter().any(|function| match &function.trigger {
            Trigger::Http { route, .. } => route.matches(path).is_some_and(|values| values.is_empty()),
            _ => false,
        })
    }

    /// The prefix of the site's HTTP routes, without slashes.
    pub fn route_prefix(&self) -> &str {
        &self.package.host.route_prefix
    }

    /// Calls a function in the default mode, and logs the call.
    async fn invoke(&self, function: &Function, body: Value, trace: Option<&str>) -> Result<Answer, InvocationError> {
        let invocation = uuid::Uuid::new_v4().to_string();
        let begun = Instant::now();
        let result = self.call(function, &invocation, &body, trace).await;
        if let Ok(answer) = &result {
            for line in &answer.logs {
                let category = format!("Function.{}.User", function.name);
                self.log.write(Level::Information, &category, line, json!({"invocation": invocation}));
            }
        }
        let error = result.as_ref().err().map(ToString::to_string);
        if let Err(InvocationError::Contract(ContractError::Empty)) = &result {
            eprintln!("{}: {}: {}", self.name, function.name, error.as_deref().unwrap_or_default());
        }
        self.executed(function, &invocation, trace, begun.elapsed(), None, error.as_deref());
        result
    }

    /// One line for each invocation.
    fn executed(
        &self,
        function: &Function,
        invocation: &str,
        trace: Option<&str>,
        took: Duration,
        status: Option<u16>,
        error: Option<&str>,
    ) {
        let level = if error.is_some() { Level::Error } else { Level::Information };
        let verdict = if error.is_some() { "Failed" } else { "Succeeded" };
        let mut more = json!({
            "function": function.name,
            "trigger": function.trigger.kind(),
            "invocation": invocation,
            "durationMs": took.as_secs_f64() * 1000.0,
        });
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                more[name] = value;
            }
        };
        put("status", status.map(Value::from));
        put("error", error.map(Value::from));
        put("traceId", trace.and_then(crate::trace::id).map(Value::from));
        let category = format!("Function.{}", function.name);
        self.log.write(level, &category, &format!("Executed '{}' ({verdict})", function.name), more);
    }

    async fn call(
        &self,
        function: &Function,
        invocation: &str,
        body: &Value,
        trace: Option<&str>,
    ) -> Result<Answer, InvocationError> {
        let worker = self.worker.as_ref().ok_or(NotReady::Ended)?;
        let (generation, port) = worker.ready().await?;
        let mut request = Request::post(format!("http://127.0.0.1:{port}/{}", function.name))
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(header::USER_AGENT, USER_AGENT)
            .header("x-azure-functions-invocationid", invocation)
            .header("x-azure-functions-hostversion", HOST_VERSION);
        if let Some(trace) = trace {
            request = request.header("traceparent", trace);
        }
        let unreachable = |error: &dyn std::error::Error| InvocationError::Unreachable(chain(error));
        let request = request.body(Body::from(body.to_string())).map_err(|error| unreachable(&error))?;
        let exchange = async {
            let response = self.surroundings.client.request(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(Body::new(body), MAX_ANSWER_BYTES).await;
            let body = body.map_err(|error| unreachable(&error))?;
            let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            Ok(response::read(head.status.as_u16(), content_type, &body)?)
        };
        let timed = within(self.package.host.function_timeout, exchange);
        let result = tokio::select! {
            result = timed => result.unwrap_or_else(|limit| {
                worker.overran(generation, self.surroundings.timing.timeout_grace);
                Err(InvocationError::TimedOut(limit))
            }),
            () = worker.gone(generation) => Err(InvocationError::WorkerEnded),
        };
        // The connection breaks a moment before the end of the process is noticed. A message that is given back in
        // between would run into the closed port, and lose a delivery each time.
        if matches!(result, Err(InvocationError::Unreachable(_)))
            && tokio::time::timeout(NOTICE, worker.gone(generation)).await.is_ok()
        {
            return Err(InvocationError::WorkerEnded);
        }
        result
    }
}

/// Runs something for a limited time, if there is a limit; past it the error is the limit.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Duration> {
    match limit {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| limit),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Reads a small file of the state folder, or makes it with what `make` gives, readable by its owner only.
fn read_or_make(path: &Path, make: impl FnOnce() -> String) -> std::io::Result<String> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let text = make();
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            Ok(text)
        }
        other => other,
    }
}

//! The functions host: runs the packaged function apps and calls them by the custom-handler protocol.

mod event_grid;
pub mod front;
mod log;
pub mod package;
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
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::log::{Level, SiteLog};
use self::package::{Function, Package, PackageError, Trigger};
use self::response::{Answer, ContractError};
use self::rights::HostRights;
use self::worker::{Launch, NotReady, Worker};
pub use self::worker::{State, Timing};
use crate::access::Authorizer;
use crate::broker::Broker;
use crate::identity::Issuer;
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

/// The function apps that run.
pub struct Sites {
    sites: BTreeMap<String, Arc<Site>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Resolves when everything is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Sites {
    /// Starts the function apps whose zips are under `packages/` of the state folder, and unpacked under `apps/`.
    /// `identity_header` gives the secret
    /// of each site for the identity endpoint.
    ///
    /// # Errors
    /// A package that cannot be run. Nothing is left running then.
    pub fn start(
        sites: &[SiteResource],
        surroundings: &Surroundings,
        identity_header: &dyn Fn(&str) -> String,
    ) -> Result<Sites, SiteError> {
        let (stop, stops) = watch::channel(false);
        let mut packages = Vec::new();
        let glibc = unpack::machine_glibc();
        for resource in sites {
            let root = surroundings.state.join("apps").join(&resource.name);
            let zip = surroundings.state.join("packages").join(format!("{}.zip", resource.name));
            unpack::unpack(&zip, &root, glibc).map_err(|error| SiteError::Unpack(resource.name.clone(), error))?;
            let package = Package::read(&root, &resource.settings)
                .map_err(|error| SiteError::Package(resource.name.clone(), error))?;
            packages.push((resource, package));
        }
        let mut started = Sites { sites: BTreeMap::new(), stop, tasks: JoinSet::new() };
        for (resource, package) in packages {
            let site = started.start_site(resource, package, surroundings, &identity_header(&resource.name))?;
            started.listen(&site, &stops);
            started.sites.insert(resource.name.clone(), site);
        }
        Ok(started)
    }

    fn start_site(
        &mut self,
        resource: &SiteResource,
        package: Package,
        surroundings: &Surroundings,
        identity_header: &str,
    ) -> Result<Arc<Site>, SiteError> {
        let io = |error| SiteError::Io(resource.name.clone(), error);
        let log = Arc::new(SiteLog::open(&surroundings.state.join("logs"), &resource.name).map_err(io)?);
        let event_grid_key = event_grid::key(&surroundings.state.join("keys"), &resource.name).map_err(io)?;
        for (function, why) in &package.errors {
            log.host(Level::Error, &format!("the function {function} cannot run: {why}"));
        }
        let mut environment = resource.settings.clone();
        environment.insert("WEBSITE_SITE_NAME".into(), resource.name.clone());
        if !resource.identities.is_empty() {
            environment.insert("IDENTITY_ENDPOINT".into(), format!("{}/identity/token", surroundings.planes));
            environment.insert("IDENTITY_HEADER".into(), identity_header.to_owned());
        }
        let worker = (!package.functions.is_empty()).then(|| {
            let launch = Launch {
                host: package.host.clone(),
                root: package.root.clone(),
                environment,
                timing: surroundings.timing,
            };
            let (worker, supervision) = Worker::start(launch, surroundings.client.clone(), log.clone());
            self.tasks.spawn(async move {
                let _ = supervision.await;
            });
            worker
        });
        Ok(Arc::new(Site {
            name: resource.name.clone(),
            auth: resource.auth.clone(),
            rights: HostRights::new(surroundings.authorizer.clone(), &resource.identities, &resource.settings),
            package,
            worker,
            log,
            event_grid_key,
            surroundings: surroundings.clone(),
        }))
    }

    /// Starts what calls the functions that nobody calls by HTTP.
    fn listen(&mut self, site: &Arc<Site>, stop: &watch::Receiver<bool>) {
        for (index, function) in site.package.functions.iter().enumerate() {
            match &function.trigger {
                Trigger::ServiceBus { .. } => {
                    self.tasks.spawn(pump::run(site.clone(), index, stop.clone()));
                }
                Trigger::Timer { .. } => {
                    self.tasks.spawn(timer::run(site.clone(), index, stop.clone()));
                }
                Trigger::Http { .. } | Trigger::EventGrid => {}
            }
        }
    }

    /// A site by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Site>> {
        self.sites.get(name)
    }

    /// All sites.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.values()
    }

    /// The sites by name, for the front.
    pub fn by_name(&self) -> BTreeMap<String, Arc<Site>> {
        self.sites.clone()
    }

    /// Kills all workers, lets their messages go back to the queues, and waits until all is over.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for site in self.sites.values() {
            if let Some(worker) = &site.worker {
                worker.end();
            }
        }
        while self.tasks.join_next().await.is_some() {}
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

//! The system as a developer runs it: `cargo xtask up`, `token`, `load`, and GraphQL over HTTP.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// How long the system may take to come up, its build included, and to stop.
const UP: Duration = Duration::from_secs(900);
const STOP: Duration = Duration::from_secs(60);
/// How long a killed process may take to be started again.
const RESTART: Duration = Duration::from_secs(120);

/// The optimised build is what ships, and half an hour faster over all these tests.
pub const RELEASE: &str = "--release";

/// Systems are heavy: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The function apps, without what their deployment adds to their names.
pub const SITES: [&str; 5] = [
    "func-orders-command",
    "func-orders-query",
    "func-inventory-command",
    "func-inventory-query",
    "func-gateway-router",
];

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// A file of this crate's data.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// `cargo xtask …` in the repository.
pub fn xtask() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("xtask").current_dir(root()).stdin(Stdio::null());
    // What Cargo told this test of its own package: build scripts that look at it (ring's does) would run again.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| name.starts_with(start))
        });
        if told {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// A running system. Dropped, it is killed.
pub struct System {
    child: Child,
    /// Of the last start, where nobody has waited for its end.
    starting: Mutex<Option<Lines>>,
    state: PathBuf,
    url: String,
    tokio: tokio::runtime::Runtime,
    http: Client<HttpConnector, Full<Bytes>>,
    _turn: MutexGuard<'static, ()>,
}

impl System {
    /// Runs `cargo xtask up` on the folder and waits until it is ready.
    pub fn up(state: &Path, flags: &[&str]) -> Result<Self> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut up = xtask();
        up.args(["up", RELEASE, "--port", "0", "--state"]).arg(state).args(flags).stdout(Stdio::piped());
        let mut child = up.spawn().context("cannot start cargo")?;
        let lines = Lines::of(child.stdout.take(), |line| println!("{line}"));
        let ready = lines.wait("ready ", UP).and_then(|url| {
            let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            Ok((url, tokio))
        });
        match ready {
            Ok((url, tokio)) => {
                let http = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
                Ok(System { child, starting: Mutex::new(None), state: state.to_owned(), url, tokio, http, _turn: turn })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error).context("the system does not come up")
            }
        }
    }

    /// The gateway's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A development token.
    pub fn token(&self, role: &str, subject: Option<&str>) -> Result<String> {
        let mut token = xtask();
        token.args(["token", RELEASE, "--role", role, "--state"]).arg(&self.state);
        if let Some(subject) = subject {
            token.args(["--subject", subject]);
        }
        let output = token.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "no token: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        ensure!(text.lines().count() == 1, "stdout holds the token and nothing else: {text:?}");
        Ok(text.trim().to_owned())
    }

    /// Starts `cargo xtask load`.
    pub fn load(&self, file: &Path) -> Result<Load> {
        let mut load = xtask();
        load.args(["load", RELEASE])
            .arg(file)
            .args(["--url", &self.url, "--output", "json", "--state"])
            .arg(&self.state);
        let mut child = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
        let progress = Lines::of(child.stderr.take(), |line| println!("load: {line}"));
        Ok(Load { child, progress })
    }

    /// Sends a request to a service's GraphQL endpoint: the status and the JSON.
    pub fn post(&self, service: &str, token: Option<&str>, query: &str, variables: Value) -> Result<(u16, Value)> {
        self.ask(&format!("{}/{service}/graphql", self.url), token, query, variables)
    }

    /// Sends a GraphQL request to an address: the status and the JSON.
    pub fn ask(&self, url: &str, token: Option<&str>, query: &str, variables: Value) -> Result<(u16, Value)> {
        let mut request = http::Request::post(url).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = json!({"query": query, "variables": variables}).to_string();
        let request = request.body(Full::new(Bytes::from(body)))?;
        self.tokio.block_on(async {
            let response = self.http.request(request).await.context("the gateway does not answer")?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        })
    }

    /// The data of a GraphQL request that succeeds.
    pub fn data(&self, service: &str, token: &str, query: &str, variables: Value) -> Result<Value> {
        let (status, mut response) = self.post(service, Some(token), query, variables)?;
        ensure!(status == 200 && response["errors"].is_null(), "{query} is answered with {status} {response}");
        Ok(response["data"].take())
    }

    /// The name that a function app has as deployed.
    pub fn site(&self, app: &str) -> Option<String> {
        let apps = fs::read_dir(self.state.join("apps")).ok()?.flatten();
        let mut names = apps.filter_map(|entry| entry.file_name().into_string().ok());
        names.find(|name| name.rsplit_once('-').is_some_and(|(start, _)| start == app))
    }

    /// The process of a function app, if it runs.
    pub fn process(&self, app: &str) -> Option<u32> {
        let handler = self.state.canonicalize().ok()?.join("apps").join(self.site(app)?).join("bin/handler");
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.find(|id| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe == handler))
    }

    /// Kills a function app's process without warning, as soon as there is one, and returns its id.
    pub fn kill(&self, site: &str) -> Result<u32> {
        until(RESTART, || self.process(site).filter(|id| signal("KILL", *id).is_ok()))
            .with_context(|| format!("{site} does not run"))
    }

    /// Kills a function app's process, and takes its binary away, so that it cannot be started again.
    pub fn end(&self, site: &str) -> Result<()> {
        let id = until(RESTART, || self.process(site)).with_context(|| format!("{site} does not run"))?;
        let handler = self.state.join("apps").join(self.site(site).context("it is deployed")?).join("bin/handler");
        fs::remove_file(&handler).with_context(|| format!("{} cannot be removed", handler.display()))?;
        signal("KILL", id)
    }

    /// Kills the local runtime itself without warning, and starts it again as it was. It may not be ready yet:
    /// [`System::ready`] waits for that.
    pub fn crash(&mut self) -> Result<()> {
        // `cargo xtask up` has become the runtime, so this is its own command line.
        let mut words = command_line(self.child.id())?;
        let port = words.iter().position(|word| word == "--port").context("the runtime was given no port")? + 1;
        let chosen = self.url.rsplit(':').next().context("the gateway's URL has no port")?;
        *words.get_mut(port).context("--port has no value")? = chosen.to_owned();
        let mut again = Command::new(&words[0]);
        again.args(&words[1..]).current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped());
        self.child.kill().context("the runtime cannot be killed")?;
        self.child.wait()?;
        self.child = again.spawn().with_context(|| format!("{words:?} cannot be started"))?;
        let lines = Lines::of(self.child.stdout.take(), |line| println!("{line}"));
        self.starting = Mutex::new(Some(lines));
        Ok(())
    }

    /// Waits until a runtime that was started again is ready.
    pub fn ready(&mut self) -> Result<()> {
        let starting = self.starting.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = starting.take() else { return Ok(()) };
        let url = lines.wait("ready ", RESTART)?;
        ensure!(url == self.url, "the gateway has moved from {} to {url}", self.url);
        Ok(())
    }

    /// The log of a function app's host, a JSON object a line.
    pub fn log(&self, app: &str) -> Result<String> {
        let site = self.site(app).with_context(|| format!("{app} is not deployed"))?;
        let path = self.state.join("logs").join(format!("{site}.log"));
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The folder of the system's state.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The environment of a function app, as its process has it: its settings, and where its identity's tokens are.
    pub fn environment(&self, site: &str) -> Result<BTreeMap<String, String>> {
        let id = until(RESTART, || self.process(site)).with_context(|| format!("{site} does not run"))?;
        let bytes = fs::read(format!("/proc/{id}/environ")).with_context(|| format!("cannot look into {site}"))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(text.split('\0').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// Sends a request to a plane: status, headers and body.
    pub fn request(&self, request: http::Request<Full<Bytes>>) -> Result<http::Response<Bytes>> {
        self.tokio.block_on(async {
            let (head, body) = self.http.request(request).await.context("the plane does not answer")?.into_parts();
            Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
        })
    }

    /// Waits until a function app's process is another one than that.
    pub fn restarted(&self, site: &str, killed: u32) -> Result<()> {
        until(RESTART, || self.process(site).filter(|id| *id != killed))
            .with_context(|| format!("{site} was not started again"))?;
        Ok(())
    }

    /// Stops the system with a signal, and returns how it ended.
    pub fn stop(mut self, name: &str) -> Result<ExitStatus> {
        signal(name, self.child.id())?;
        let status = until(STOP, || self.child.try_wait().transpose()).context("the system does not stop")??;
        let left: Vec<_> = SITES.iter().filter(|site| self.process(site).is_some()).collect();
        ensure!(left.is_empty(), "{left:?} outlived the system");
        Ok(status)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running load.
pub struct Load {
    child: Child,
    progress: Lines,
}

impl Load {
    /// Waits until the load's progress begins with that.
    pub fn reaches(&self, progress: &str) -> Result<()> {
        self.progress.wait(progress, UP).map(drop)
    }

    /// Whether it has ended, well or badly.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the end: the summary, and what stood on stderr since the last [`Load::reaches`].
    pub fn finish(mut self) -> Result<(Value, String)> {
        let mut summary = String::new();
        self.child.stdout.take().context("the summary was taken")?.read_to_string(&mut summary)?;
        let status = self.child.wait()?;
        let rest = self.progress.rest();
        ensure!(status.success(), "the load failed ({status}):\n{rest}");
        Ok((serde_json::from_str(&summary).with_context(|| format!("no summary: {summary:?}"))?, rest))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read as they come so that the writer never waits.
struct Lines(Receiver<String>);

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>, echo: impl Fn(&str) + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        if let Some(pipe) = pipe {
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    echo(&line);
                    let _ = sender.send(line);
                }
            });
        }
        Lines(receiver)
    }

    /// The rest of the first line that begins so.
    fn wait(&self, start: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix(start) {
                    Some(rest) => return Ok(rest.trim().to_owned()),
                    None => seen.push(line),
                },
                Err(RecvTimeoutError::Timeout) => bail!("no line {start:?} within {limit:?}:\n{}", seen.join("\n")),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended without {start:?}:\n{}", seen.join("\n")),
            }
        }
    }

    fn rest(&self) -> String {
        self.0.iter().collect::<Vec<_>>().join("\n")
    }
}

/// Looks again and again until there is something, or the time is up.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            found => return found,
        }
    }
}

/// The words that a process was started with.
fn command_line(id: u32) -> Result<Vec<String>> {
    let bytes = fs::read(format!("/proc/{id}/cmdline")).context("cannot read the runtime's command line")?;
    let text = String::from_utf8(bytes).context("the runtime's command line is no text")?;
    let words: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    ensure!(!words.is_empty(), "the runtime has ended");
    Ok(words)
}

fn signal(name: &str, id: u32) -> Result<()> {
    let mut kill = Command::new("kill");
    kill.args(["-s", name, &id.to_string()]).stderr(Stdio::null());
    let status = kill.status().context("cannot start kill")?;
    ensure!(status.success(), "process {id} is gone already");
    Ok(())
}

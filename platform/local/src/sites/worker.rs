//! The worker of a function app: the process that the package holds, kept running by the rules of the functions host.
//!
//! A *host application* runs one worker at a time on one port. A worker that ends is started again at once; the third
//! error within 30 minutes of one another stops the host application, which the platform starts again after a pause.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, header};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::log::{CONSOLE, Level, SiteLog, stderr_level};
use super::package::Host;
use crate::outbound::Outbound;

/// How often an unanswered worker is asked again whether it is ready, and an early invocation looks again.
const POLL: Duration = Duration::from_millis(25);

/// How many errors stop the host application.
const STRIKES: u32 = 3;

/// After how long without an error the earlier ones are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30 * 60);

/// The exit code that asks for a restart without counting as an error.
const RESTART_CODE: i32 = 200;

/// The waits that are the platform's, not the package's.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between the stop of a host application and its next start.
    pub host_pause: Duration,
    /// Between the end of an invocation's time and the end of its process.
    pub timeout_grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { host_pause: Duration::from_secs(2), timeout_grace: Duration::from_secs(2) }
    }
}

/// What is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A worker has been started, and has not answered yet.
    Starting,
    /// The worker has answered. It may have left since with code 0, which the host does not notice.
    Ready {
        /// Which worker it is.
        generation: u64,
        /// Its port on 127.0.0.1.
        port: u16,
    },
    /// The host application has stopped and is going to be started again.
    Stopped,
    /// All is over.
    Ended,
}

enum Order {
    /// Ends a worker that overran its time, and starts the next.
    Restart(u64),
    /// Stops the host application.
    Recycle(String),
    /// Ends everything.
    End,
}

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What `host.json` says.
    pub host: Host,
    /// The folder of the package.
    pub root: PathBuf,
    /// Its environment, besides what each start adds.
    pub environment: BTreeMap<String, String>,
    /// The platform's waits.
    pub timing: Timing,
}

/// Keeps a worker running; see the module.
#[derive(Debug)]
pub struct Worker {
    state: watch::Receiver<State>,
    orders: mpsc::UnboundedSender<Order>,
    patience: Duration,
}

/// No worker took the invocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No worker answered in time.
    #[error("the worker did not get ready within {0:?}; the host application is stopped")]
    TimedOut(Duration),
    /// The host has ended.
    #[error("the functions host has ended")]
    Ended,
}

impl Worker {
    /// Starts the first worker. The task that keeps it running ends after [`Worker::end`].
    pub fn start(launch: Launch, client: Outbound, log: Arc<SiteLog>) -> (Worker, tokio::task::JoinHandle<()>) {
        let (state, states) = watch::channel(State::Starting);
        let (orders, received) = mpsc::unbounded_channel();
        // As the host does it: three times the time to initialise, on top of it.
        let patience = launch.host.initialization_timeout * 4;
        let supervisor = Supervisor { launch, client, log, state, orders: received, generation: 0 };
        (Worker { state: states, orders, patience }, tokio::spawn(supervisor.run()))
    }

    /// What is running now.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits for a worker that takes invocations; after four times the time to initialise the host application stops.
    ///
    /// # Errors
    /// There is none.
    pub async fn ready(&self) -> Result<(u64, u16), NotReady> {
        let mut states = self.state.clone();
        let waited = states.wait_for(|state| matches!(state, State::Ready { .. } | State::Ended));
        match tokio::time::timeout(self.patience, waited).await {
            Ok(Ok(state)) => match *state {
                State::Ready { generation, port } => Ok((generation, port)),
                _ => Err(NotReady::Ended),
            },
            Ok(Err(_)) => Err(NotReady::Ended),
            Err(_) => {
                let reason = format!("the worker did not get ready within {:?}", self.patience);
                let _ = self.orders.send(Order::Recycle(reason));
                Err(NotReady::TimedOut(self.patience))
            }
        }
    }

    /// Waits until the host application is not stopped.
    pub async fn listening(&self) {
        let mut states = self.state.clone();
        let _ = states.wait_for(|state| *state != State::Stopped).await;
    }

    /// Waits until this worker is another one or none.
    pub async fn gone(&self, generation: u64) {
        let mut states = self.state.clone();
        let same = |state: &State| matches!(state, State::Ready { generation: now, .. } if *now == generation);
        let _ = states.wait_for(|state| !same(state)).await;
    }

    /// Ends a worker that overran an invocation's time, after the grace.
    pub fn overran(&self, generation: u64, grace: Duration) {
        let orders = self.orders.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let _ = orders.send(Order::Restart(generation));
        });
    }

    /// Kills the worker, and starts none again.
    pub fn end(&self) {
        let _ = self.orders.send(Order::End);
    }
}

/// Why a worker is not there any more.
enum Ended {
    Exit(ExitStatus),
    NotReady,
    NoSpawn,
    Overran,
    Recycled(String),
    Over,
}

struct Supervisor {
    launch: Launch,
    client: Outbound,
    log: Arc<SiteLog>,
    state: watch::Sender<State>,
    orders: mpsc::UnboundedReceiver<Order>,
    generation: u64,
}

impl Supervisor {
    async fn run(mut self) {
        while self.host_application().await {
            self.state.send_replace(State::Stopped);
            let pause = self.launch.timing.host_pause;
            self.log.host(Level::Error, &format!("the host application has stopped; it is started again in {pause:?}"));
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    order = self.orders.recv() => if matches!(order, None | Some(Order::End)) {
                        self.state.send_replace(State::Ended);
                        return;
                    },
                }
            }
        }
        self.state.send_replace(State::Ended);
    }

    /// Runs workers until the host application stops (true) or everything is over (false).
    async fn host_application(&mut self) -> bool {
        let mut strikes = 0;
        let mut last_strike: Option<Instant> = None;
        let port = match free_port() {
            Ok(port) => port,
            Err(error) => {
                self.log.host(Level::Error, &format!("no port is free on loopback: {error}"));
                return true;
            }
        };
        loop {
            self.generation += 1;
            self.state.send_replace(State::Starting);
            let error = match self.worker(port).await {
                Ended::Over => return false,
                Ended::Recycled(reason) => {
                    self.log.host(Level::Error, &reason);
                    return true;
                }
                Ended::Overran => {
                    self.log.host(Level::Warning, "the worker was killed, since an invocation overran functionTimeout");
                    continue;
                }
                // No error event, so nothing starts it again; early invocations give up in the end.
                Ended::NoSpawn => match self.idle().await {
                    Some(reason) => {
                        self.log.host(Level::Error, &reason);
                        return true;
                    }
                    None => return false,
                },
                Ended::Exit(status) if status.code() == Some(RESTART_CODE) => {
                    self.log.host(Level::Information, "the worker asked for a restart (exit code 200)");
                    continue;
                }
                Ended::Exit(status) => format!("the worker ended: {status}"),
                Ended::NotReady => {
                    format!("the worker did not answer within {:?}", self.launch.host.initialization_timeout)
                }
            };
            if last_strike.is_some_and(|last| last.elapsed() > FORGIVEN_AFTER) {
                strikes = 0;
            }
            last_strike = Some(Instant::now());
            strikes += 1;
            self.log.host(Level::Error, &format!("{error} (error {strikes} of {STRIKES})"));
            if strikes == STRIKES {
                return true;
            }
        }
    }

    /// One worker, from its start to its end.
    async fn worker(&mut self, port: u16) -> Ended {
        let (mut child, stdin, last_words) = match self.spawn(port) {
            Ok(started) => started,
            Err(error) => {
                let path = self.launch.host.executable.display();
                self.log.host(Level::Error, &format!("the worker {path} cannot be started: {error}"));
                return Ended::NoSpawn;
            }
        };
        let generation = self.generation;
        let process = child.id();
        let deadline = Instant::now() + self.launch.host.initialization_timeout;
        let ended = tokio::select! {
            ready = answers(&self.client, port, deadline) => if ready { None } else { Some(Ended::NotReady) },
            status = child.wait() => Some(status.map_or(Ended::NoSpawn, Ended::Exit)),
            order = next_order(&mut self.orders, generation) => Some(order),
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                self.log.write(
                    Level::Information,
                    super::log::HOST,
                    "the worker is ready",
                    json!({"process": process, "port": port, "generation": generation}),
                );
                self.state.send_replace(State::Ready { generation, port });
                tokio::select! {
                    status = child.wait() => status.map_or(Ended::NoSpawn, Ended::Exit),
                    order = next_order(&mut self.orders, generation) => order,
                }
            }
        };
        if let Ended::Exit(status) = &ended {
            let words = last_words.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect::<Vec<_>>();
            if status.success() {
                self.log.host(
                    Level::Error,
                    "CONTRACT: the worker ended with code 0. The host takes that for a success and starts no other: \
                     every invocation fails from now on. A handler must never exit with 0 by itself",
                );
                drop(stdin);
                // The state stays as it is: calls run into a closed port.
                return match self.idle().await {
                    Some(reason) => Ended::Recycled(reason),
                    None => Ended::Over,
                };
            }
            if !words.is_empty() {
                self.log.write(Level::Error, super::log::HOST, "last lines on stderr", json!({"lines": words}));
            }
        } else {
            // SIGKILL, as the platform does; the wait reaps it.
            self.state.send_replace(State::Starting);
            let _ = child.kill().await;
        }
        drop(stdin);
        ended
    }

    /// Waits without a worker, until the host application is to stop (with the reason) or everything is over.
    async fn idle(&mut self) -> Option<String> {
        match next_order(&mut self.orders, u64::MAX).await {
            Ended::Recycled(reason) => Some(reason),
            _ => None,
        }
    }

    #[allow(clippy::type_complexity, reason = "the three belong to one process and go nowhere else")]
    fn spawn(&self, port: u16) -> std::io::Result<(Child, Option<ChildStdin>, Arc<Mutex<VecDeque<String>>>)> {
        let launch = &self.launch;
        let id = uuid::Uuid::new_v4().to_string();
        let mut command = Command::new(&launch.host.executable);
        command.args(&launch.host.arguments).current_dir(&launch.host.working_directory).env_clear();
        for name in ["PATH", "HOME", "RUST_LOG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .envs(&launch.environment)
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id)
            .env("FUNCTIONS_HTTPWORKER_PORT", port.to_string())
            .env("FUNCTIONS_HTTPWORKER_ID", &id)
            .env("FUNCTIONS_APP_ROOT_PATH", &launch.root)
            // The worker ends when this pipe does, so that it does not outlive us even if we are killed.
            .env("SKEIN_PARENT_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to a terminal's whole process group; it is for us to end the workers.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stdout) = child.stdout.take() {
            let log = self.log.clone();
            tokio::spawn(lines(stdout, move |line| log.write(Level::Information, CONSOLE, line, json!(null))));
        }
        if let Some(stderr) = child.stderr.take() {
            let (log, words) = (self.log.clone(), last_words.clone());
            let errors_only = launch.host.stderr_is_error;
            tokio::spawn(lines(stderr, move |line| {
                log.write(stderr_level(line, errors_only), CONSOLE, line, json!(null));
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                if words.len() == 3 {
                    words.pop_front();
                }
                words.push_back(line.to_owned());
            }));
        }
        let stdin = child.stdin.take();
        Ok((child, stdin, last_words))
    }
}

/// The next order that concerns the worker.
async fn next_order(orders: &mut mpsc::UnboundedReceiver<Order>, generation: u64) -> Ended {
    loop {
        match orders.recv().await {
            None | Some(Order::End) => return Ended::Over,
            Some(Order::Recycle(reason)) => return Ended::Recycled(reason),
            Some(Order::Restart(which)) if which == generation => return Ended::Overran,
            Some(Order::Restart(_)) => {}
        }
    }
}

/// Asks until the worker answers anything at all, or the time is over.
async fn answers(client: &Outbound, port: u16, deadline: Instant) -> bool {
    let poll = async {
        loop {
            let request = Request::builder()
                .method(Method::GET)
                .uri(format!("http://127.0.0.1:{port}/"))
                .header(header::USER_AGENT, super::USER_AGENT)
                .body(Body::from(Bytes::new()));
            let Ok(request) = request else { return false };
            match client.request(request).await {
                Ok(_) => return true,
                Err(error) if error.is_connect() => tokio::time::sleep(POLL).await,
                // Something speaks there, if not HTTP: the host takes that for ready, too.
                Err(_) => return true,
            }
        }
    };
    tokio::time::timeout_at(deadline, poll).await.unwrap_or(false)
}

async fn lines(pipe: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(read) = reader.read_until(b'\n', &mut line).await {
        if read == 0 {
            return;
        }
        each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

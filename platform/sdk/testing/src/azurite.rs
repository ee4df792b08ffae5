//! Azurite, the emulator of Azure Storage, as a process of its own: in a container of the official image, or from
//! the npm package.
//!
//! `SKEIN_AZURITE` says which: `docker`, `npm`, `both`, or `auto` (the default: Docker where an engine answers, else
//! npm). What is chosen and cannot be had is an error that says what to install.

use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor, client::docker_client_instance};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

/// The version of the image and of the package.
pub const VERSION: &str = "3.37.0";
/// The account that Azurite knows.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The key of [`ACCOUNT`]; it is published, and the same everywhere.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const IMAGE: &str = "mcr.microsoft.com/azure-storage/azurite";
const OPTIONS: [&str; 3] = ["--inMemoryPersistence", "--disableTelemetry", "--silent"];

/// One of Azurite's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Table Storage.
    Table,
    /// Blob Storage.
    Blob,
}

impl Service {
    /// As its script and its flags call it.
    fn name(self) -> &'static str {
        match self {
            Service::Table => "table",
            Service::Blob => "blob",
        }
    }

    fn port(self) -> u16 {
        match self {
            Service::Table => 10002,
            Service::Blob => 10000,
        }
    }

    fn ready(self) -> &'static str {
        match self {
            Service::Table => "Azurite Table service successfully started",
            Service::Blob => "Azurite Blob service successfully listens",
        }
    }

    /// Kept-alive connections would be closed after five idle seconds, in the middle of a test.
    fn options(self) -> impl Iterator<Item = String> {
        let kept = [format!("--{}KeepAliveTimeout", self.name()), "3600".to_owned()];
        OPTIONS.map(str::to_owned).into_iter().chain(kept)
    }
}

/// A way to have Azurite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A container of the official image.
    Docker,
    /// The npm package, under `target/azurite`, or the script that `SKEIN_AZURITE_BIN` names.
    Npm,
}

/// Why Azurite does not run.
#[derive(Debug, thiserror::Error)]
pub enum AzuriteError {
    /// `SKEIN_AZURITE` is none of the choices.
    #[error("SKEIN_AZURITE is {0:?}: docker, npm, both or auto is expected")]
    Choice(String),
    /// The container does not start.
    #[error(
        "Azurite does not run from the image {IMAGE}:{VERSION}. A Docker engine has to answer: start one, as with `.ci/docker start` (Debian: apt-get install docker.io), or choose SKEIN_AZURITE=npm"
    )]
    Docker(#[source] testcontainers::TestcontainersError),
    /// The package is not there.
    #[error(
        "Azurite is not at {0}. Install it: npm install --prefix target/azurite azurite@{VERSION} (Debian: apt-get install npm); `cargo xtask test` does so"
    )]
    NotInstalled(PathBuf),
    /// The package does not start.
    #[error("Azurite does not start from {path}: {output}")]
    Start {
        /// The script.
        path: PathBuf,
        /// What it printed.
        output: String,
    },
    /// node is not there, or the process cannot be started for another reason.
    #[error("cannot start node for Azurite (Debian: apt-get install nodejs)")]
    Node(#[source] io::Error),
}

/// A running Azurite; it ends with this value, and with this process.
pub struct Azurite {
    url: String,
    _runs: Runs,
}

enum Runs {
    Container { _container: Box<ContainerAsync<GenericImage>> },
    Process { _process: Process },
}

impl Azurite {
    /// The address of the service, with the account: `http://127.0.0.1:{port}/devstoreaccount1`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts Azurite with its Table service.
    ///
    /// # Errors
    /// It does not start; the message says what to install.
    pub async fn start(way: Way) -> Result<Self, AzuriteError> {
        Azurite::start_service(way, Service::Table).await
    }

    /// Starts one service of Azurite.
    ///
    /// # Errors
    /// It does not start; the message says what to install.
    pub async fn start_service(way: Way, service: Service) -> Result<Self, AzuriteError> {
        match way {
            Way::Docker => container(service).await.map_err(AzuriteError::Docker),
            Way::Npm => process(service),
        }
    }
}

/// The ways that `SKEIN_AZURITE` chooses, at least one.
///
/// # Errors
/// [`AzuriteError::Choice`].
pub async fn chosen() -> Result<Vec<Way>, AzuriteError> {
    match std::env::var("SKEIN_AZURITE").unwrap_or_default().as_str() {
        "" | "auto" if engine_answers().await => Ok(vec![Way::Docker]),
        "" | "auto" | "npm" => Ok(vec![Way::Npm]),
        "docker" => Ok(vec![Way::Docker]),
        "both" => Ok(vec![Way::Docker, Way::Npm]),
        other => Err(AzuriteError::Choice(other.to_owned())),
    }
}

async fn engine_answers() -> bool {
    match docker_client_instance().await {
        Ok(docker) => docker.ping().await.is_ok(),
        Err(_) => false,
    }
}

async fn container(service: Service) -> Result<Azurite, testcontainers::TestcontainersError> {
    let name = service.name();
    let command = [format!("azurite-{name}"), format!("--{name}Host"), "0.0.0.0".to_owned()];
    let container = GenericImage::new(IMAGE, VERSION)
        .with_exposed_port(service.port().tcp())
        .with_wait_for(WaitFor::message_on_stdout(service.ready()))
        .with_cmd(command.into_iter().chain(service.options()))
        .with_startup_timeout(Duration::from_secs(120))
        .start()
        .await?;
    let host = container.get_host().await?;
    let port = container.get_host_port_ipv4(service.port()).await?;
    // The name would resolve to IPv6 first, where nothing listens.
    let host = if host.to_string() == "localhost" { "127.0.0.1".to_owned() } else { host.to_string() };
    let url = format!("http://{host}:{port}/{ACCOUNT}");
    Ok(Azurite { url, _runs: Runs::Container { _container: Box::new(container) } })
}

/// The node process. Its standard input ends when this value is dropped or this process dies, and so does it.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script and ends with its standard input.
const TETHER: &str = "const script = process.argv[1]; process.stdin.resume(); \
    process.stdin.on('end', () => process.exit(0)); process.stdin.on('error', () => process.exit(0)); \
    require(require('fs').realpathSync(script));";

fn process(service: Service) -> Result<Azurite, AzuriteError> {
    let script = match std::env::var_os("SKEIN_AZURITE_BIN") {
        // Beside the script that is named stand those of the other services.
        Some(script) => PathBuf::from(script).with_file_name(format!("azurite-{}", service.name())),
        None => target().join(format!("azurite/node_modules/.bin/azurite-{}", service.name())),
    };
    if !script.exists() {
        return Err(AzuriteError::NotInstalled(script));
    }
    let mut output = String::new();
    for _ in 0..5 {
        // Azurite does not tell which port it took, so it is given one that was free a moment ago.
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
        let port = port.map_err(AzuriteError::Node)?.port();
        let mut child = Command::new("node")
            .arg("-e")
            .arg(TETHER)
            .arg(&script)
            .args([format!("--{}Port", service.name()), port.to_string()])
            .args(service.options())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(AzuriteError::Node)?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let process = Process { child, stdin };
        let errors = drain(stderr);
        let mut started = false;
        let Some(stdout) = stdout else { continue };
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            if line.contains(service.ready()) {
                started = true;
                break;
            }
            output.push_str(&line);
            output.push('\n');
        }
        if started {
            // What it still prints must not fill the pipe.
            thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            let url = format!("http://127.0.0.1:{port}/{ACCOUNT}");
            return Ok(Azurite { url, _runs: Runs::Process { _process: process } });
        }
        drop(process);
        output.push_str(&errors.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Err(AzuriteError::Start { path: script, output })
}

/// Reads a stream to its end in a thread; what came so far can be looked at.
fn drain(stream: Option<impl Read + Send + 'static>) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    if let Some(stream) = stream {
        let text = Arc::clone(&text);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
    }
    text
}

/// Cargo's target folder: a test binary stands in `{target}/{profile}/deps`.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(3).unwrap_or(Path::new("target")).to_owned()
}

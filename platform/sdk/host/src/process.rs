//! The process of a function app: logs, settings, start and end.

use std::fmt::Display;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::app::App;
use crate::settings::HostSettings;

/// The status of a process whose parent is gone.
pub const PARENT_GONE: i32 = 70;

/// The `main` of a function app: reads the host's settings, builds the app inside the runtime and serves it.
///
/// It returns only when the app cannot start or its listener ends, and never with status 0, which the functions host
/// would take for a success that needs no restart.
pub fn start<E: Display>(build: impl FnOnce() -> Result<App, E>) -> ExitCode {
    // Everything goes to stdout: the host files it as information, whereas each line on stderr would be an error.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_env_filter(filter).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the runtime does not start: {error}")),
    };
    runtime.block_on(async {
        let settings = match HostSettings::from_env() {
            Ok(settings) => settings,
            Err(error) => return fail(&error.to_string()),
        };
        if settings.dies_with_stdin {
            std::thread::spawn(die_with_stdin);
        }
        let app = match build() {
            Ok(app) => app.route_prefix(&settings.route_prefix),
            Err(error) => return fail(&format!("the app cannot be built: {error}")),
        };
        let address = (Ipv4Addr::LOCALHOST, settings.port);
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                return fail(&format!("127.0.0.1:{} cannot be bound: {error}; is it in use?", settings.port));
            }
        };
        match app.serve(listener).await {
            Ok(()) => fail("the listener ended"),
            Err(error) => fail(&error.to_string()),
        }
    })
}

fn fail(reason: &str) -> ExitCode {
    // The host shows the last lines of stderr as the reason of a crash.
    eprintln!("{reason}");
    ExitCode::FAILURE
}

/// Blocks until the parent's end of stdin is closed, then ends the process.
fn die_with_stdin() {
    let mut stdin = std::io::stdin().lock();
    let mut buffer = [0; 64];
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    std::process::exit(PARENT_GONE);
}

//! The command line of the local Azure.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;
use serde_json::json;
use skein_local::gateway;
use skein_local::identity::Issuer;
use skein_local::serve::{self, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const HELP: &str = "\
Azure in one process, on loopback.

skein-local serve --state DIR [options] [-- COMMAND ...]
    --port N            the gateway's port (8080; 0 takes any)
    --planes-port P     the planes' port (the one of last time, or any)
    --azurite [URL]     keep the tables in a running Azurite (http://127.0.0.1:10002/devstoreaccount1)
    --retry-factor F    scale the topics' retry waits (0.1; 1 is Azure's pace)
    --chaos SEED        delay, double and reorder the topics' deliveries
    COMMAND ...         run this once deployments are taken; its failure is ours
  hosts what was deployed through ARM's contract at the planes' address, also by an earlier process, and follows every
  change. Prints `planes http://127.0.0.1:P` to stdout when it takes deployments, and `ready http://127.0.0.1:N` when
  everything that is deployed answers; SIGINT and SIGTERM stop it, a second one at once

skein-local token --state DIR --role operator|customer [--subject S]
  prints a development token for the gateway
skein-local token --state DIR --resource URL
  prints the operator's token for a plane, as `az account get-access-token` does: {\"accessToken\", \"expires_on\", …}
";

const AZURITE: &str = "http://127.0.0.1:10002/devstoreaccount1";

enum Command {
    Serve(Options),
    Token { state: PathBuf, role: String, subject: Option<String> },
    OperatorToken { state: PathBuf, resource: String },
    Help,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein-local: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match parse()? {
        Command::Help => print!("{HELP}"),
        Command::Token { state, role, subject } => {
            let token = gateway::development_token(&issuer(&state)?, &role, subject.as_deref());
            println!("{}", token.map_err(anyhow::Error::msg)?);
        }
        Command::OperatorToken { state, resource } => {
            let (token, expires_on) = issuer(&state)?.issue_operator(&resource)?;
            println!("{}", json!({"accessToken": token, "expires_on": expires_on, "tokenType": "Bearer"}));
        }
        Command::Serve(options) => {
            let filter = tracing_subscriber::EnvFilter::try_from_default_env();
            tracing_subscriber::fmt()
                .with_env_filter(filter.unwrap_or_else(|_| "warn".into()))
                .with_writer(std::io::stderr)
                .init();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                let stop = until_signalled()?;
                serve::serve(&options, stop).await
            })?;
        }
    }
    Ok(())
}

/// The issuer of a system that has run.
fn issuer(state: &Path) -> Result<Issuer> {
    let folder = state.join("identity");
    if !folder.is_dir() {
        bail!("no local system has run on {}", state.display());
    }
    Ok(Issuer::open(&folder)?)
}

/// Becomes true with the first SIGINT or SIGTERM; the second ends the process at once.
fn until_signalled() -> Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let (stop, stops) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.send_replace(true) {
                // The workers end with their pipe to us.
                std::process::exit(130);
            }
        }
    });
    Ok(stops)
}

fn parse() -> Result<Command> {
    let mut words = std::env::args_os().skip(1);
    let own: Vec<OsString> = words.by_ref().take_while(|word| word != "--").collect();
    let deploy: Vec<OsString> = words.collect();
    let mut parser = lexopt::Parser::from_args(own);
    let Some(first) = parser.next()? else { return Ok(Command::Help) };
    let command = match first {
        Value(command) => command.string()?,
        Short('h') | Long("help") => return Ok(Command::Help),
        other => return Err(other.unexpected().into()),
    };
    let (mut state, mut role, mut subject, mut resource) = (None, None, None, None);
    let (mut port, mut planes_port, mut azurite, mut retry_factor, mut chaos) = (8080, None, None, 0.1, None);
    let serve = command == "serve";
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("state") => state = Some(PathBuf::from(parser.value()?)),
            Long("port") if serve => port = parser.value()?.parse()?,
            Long("planes-port") if serve => planes_port = Some(parser.value()?.parse()?),
            Long("azurite") if serve => {
                azurite = Some(match parser.optional_value() {
                    Some(url) => url.string()?,
                    None => AZURITE.to_owned(),
                });
            }
            Long("retry-factor") if serve => {
                retry_factor = parser.value()?.parse()?;
                if !(0.0..=1000.0).contains(&retry_factor) {
                    bail!("--retry-factor has to be from 0 to 1000");
                }
            }
            Long("chaos") if serve => chaos = Some(parser.value()?.parse()?),
            // `--azurite URL`, with a space.
            Value(url) if serve && azurite.as_deref() == Some(AZURITE) => azurite = Some(url.string()?),
            Long("role") if !serve => role = Some(parser.value()?.string()?),
            Long("subject") if !serve => subject = Some(parser.value()?.string()?),
            Long("resource") if !serve => resource = Some(parser.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let state = state.context("--state is missing")?;
    match command.as_str() {
        "serve" => Ok(Command::Serve(Options { state, port, planes_port, azurite, retry_factor, chaos, deploy })),
        "token" => match (role, resource) {
            (Some(role), None) => Ok(Command::Token { state, role, subject }),
            (None, Some(resource)) if subject.is_none() => Ok(Command::OperatorToken { state, resource }),
            _ => bail!("either --role, with --subject where wanted, or --resource is expected"),
        },
        other => bail!("there is no command {other:?}; --help lists them"),
    }
}

//! The command line of deployments.

mod bootstrap;
mod client;
mod environment;
mod failure;
mod layers;
mod packages;
mod pages;
mod plan;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;

use crate::failure::Failure;

const HELP: &str = "\
Deploys what was rendered.

skein-deploy plan|deploy|drift|outputs|down platform|gateway|service NAME|all --env NAME [options]
    --env NAME          the environment: NAME.toml in the folder of environments
    --environments DIR  that folder (platform/deploy/environments)
    --rendered DIR      the rendered files, with arm/LAYER.json (target/render)
    --packages DIR      the packages of function apps, from `cargo xtask package` (target/package)
    --endpoint URL      the control plane, instead of the environment's
    --state DIR         the state folder of a local control plane, for its tokens (.skein)
    --output json       results as JSON on stdout
    --no-wait           deploy: leave it running
    --again             deploy: also what is unchanged, as after a drift
    --confirm NAME      down: the environment's name, without being asked for it

`deploy` skips a layer whose template and parameters are those of its last deployment, publishes the packages that apps
do not run yet, and waits until the apps are ready. Text goes to stderr, results go to stdout. While it deploys, Ctrl-C
leaves the deployment running; a second one cancels it.
`skein-deploy bootstrap --env NAME` makes once what ARM cannot; its --help says more.
Exit codes: 0 done, or nothing to do; 1 it failed; 2 wrong input: flags, environment, template; 3 plan or drift found
changes; 4 refused: no token, an expired one, or a role is missing; 5 unreachable or throttled; 130 interrupted.
";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Plan,
    Deploy,
    Drift,
    Outputs,
    Down,
}

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    task: Task,
    /// `None` for all.
    layer: Option<String>,
    env: String,
    environments: PathBuf,
    rendered: PathBuf,
    packages: PathBuf,
    endpoint: Option<String>,
    state: PathBuf,
    json: bool,
    wait: bool,
    again: bool,
    confirm: Option<String>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "bootstrap") {
        return finished(bootstrap::main(lexopt::Parser::from_args(args)));
    }
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("skein-deploy: {error}; --help lists what it knows");
            return ExitCode::from(2);
        }
    };
    finished(run::run(&options))
}

/// Runs a command to its end; how the process exits.
fn finished(command: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("skein-deploy: there is no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut words = Vec::new();
    let mut options = Options {
        task: Task::Plan,
        layer: None,
        env: String::new(),
        environments: "platform/deploy/environments".into(),
        rendered: "target/render".into(),
        packages: "target/package".into(),
        endpoint: None,
        state: ".skein".into(),
        json: false,
        wait: true,
        again: false,
        confirm: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("env") => options.env = parser.value()?.string()?,
            Long("environments") => options.environments = parser.value()?.into(),
            Long("rendered") => options.rendered = parser.value()?.into(),
            Long("packages") => options.packages = parser.value()?.into(),
            Long("endpoint") => options.endpoint = Some(parser.value()?.string()?),
            Long("state") => options.state = parser.value()?.into(),
            Long("no-wait") => options.wait = false,
            Long("again") => options.again = true,
            Long("confirm") => options.confirm = Some(parser.value()?.string()?),
            Long("output") => match parser.value()?.string()?.as_str() {
                "json" => options.json = true,
                "text" => options.json = false,
                other => return Err(format!("--output is json or text, not {other:?}").into()),
            },
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((task, layer)) = words.split_first() else { return Ok(None) };
    options.task = match *task {
        "plan" => Task::Plan,
        "deploy" => Task::Deploy,
        "drift" => Task::Drift,
        "outputs" => Task::Outputs,
        "down" => Task::Down,
        other => return Err(format!("there is no command {other:?}").into()),
    };
    options.layer = match layer {
        ["all"] => None,
        [layer @ ("platform" | "gateway")] => Some((*layer).to_owned()),
        ["service", name] => Some((*name).to_owned()),
        _ => return Err("it takes platform, gateway, service NAME or all".into()),
    };
    if options.env.is_empty() {
        return Err("--env is missing".into());
    }
    Ok(Some(options))
}

/// Wrong input, by its reason.
pub(crate) fn input(why: impl Into<String>, next: impl Into<String>) -> Failure {
    Failure::Input { why: why.into(), next: next.into() }
}

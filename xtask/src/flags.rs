//! The command line of `cargo xtask`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;

/// What `cargo xtask help` prints: the whole command line.
pub const HELP: &str = "\
cargo xtask up                 build everything and run it on this machine, until Ctrl-C
    --port N                     the gateway's port on 127.0.0.1 [8080; 0 takes a free one]
    --state DIR                  where everything is kept [.skein]
    --fresh                      drop what is kept there first
    --azurite[=URL]              keep the tables in a running Azurite [http://127.0.0.1:10002/devstoreaccount1]
    --release                    build with optimisations

cargo xtask token              print a short-lived development token
    --role operator|customer     what its bearer may do (required)
    --subject ID                 whom it names: a customer's id [the role]
    --state DIR                  the system that is to accept it [.skein]
    --release                    use the optimised build

cargo xtask load FILE          send a file of orders through GraphQL and wait until all effects are visible
    --url URL                    the gateway [http://127.0.0.1:8080]
    --state DIR                  the system behind it [.skein]
    --stock N                    units to receive of each SKU first [1000]
    --concurrency N              mutations under way at once [32]
    --timeout SECONDS            give up once nothing has moved for this long [300]
    --output text|json           the summary on stdout [text]
    --release                    use the optimised build

cargo xtask events SERVICE CATEGORY:ID
                               show an aggregate's commits
cargo xtask rebuild SERVICE VIEW
                               make a view anew beside the live one, and follow that; a second call follows, too
cargo xtask republish SERVICE CATEGORY[:ID]
                               have stored integration events published again
cargo xtask dlq list|show|replay|purge SERVICE [commands|events|topic|rebuild]
                               look after dead letters; purges ask first
cargo xtask export SERVICE     add new commits to the service's backup
cargo xtask restore SERVICE    make an empty event store from the backup
  these are the operators' commands; `cargo xtask ops help` shows their flags and exit statuses
    --release                    use the optimised build

cargo xtask test [ARGS]        run all tests; ARGS go to `cargo test`
    SKEIN_AZURITE=docker|npm|both|auto
                                 where Azurite comes from [auto: a container where a Docker engine answers, else npm]
    SKEIN_SHARED=DIR             where the real file of orders is, data/online-retail.csv [../shared]

cargo xtask render             write what is deployed to target/render: arm/{layer}.json, bicep/{layer}.bicep,
                               policies/, diagram.md; and the pipelines to .azure-pipelines/
    --out DIR                    write it there instead

cargo xtask sim                every accident at every step of short scripts, then random schedules
    --schedules N                how many random ones, embedded and Azure adapters in turns [10000]
    --seed S                     where their seeds begin; without --schedules, replay this one with its trace

cargo xtask package gateway|service NAME|all
                               write the zip of each function app, for Linux x64 with GLIBC 2.28, with its digest
    --out DIR                    where to [target/package]

cargo xtask plan|deploy|drift|outputs|down platform|gateway|service NAME|all --env NAME
                               render, and ask or change what is deployed: on Azure as the Azure CLI is signed in
    --endpoint URL --state DIR   on the local control plane instead; also by SKEIN_ENDPOINT and SKEIN_STATE
cargo xtask bootstrap --env NAME
                               make once what ARM cannot: the Entra application of an environment, the identities that
                               deploy; shows what it would do, and asks
    --yes                        do it without asking
  `cargo xtask deploy --help` and `cargo xtask bootstrap --help` show all flags and exit statuses
    --release                    use the optimised build

cargo xtask fuzz [TARGET]      fuzz all readers of foreign bytes, or one, on the nightly toolchain
    --seconds N                  how long each [20]

cargo xtask interop [ARGS]     make the clients that are not ours (published crates, SDK for Python), and run the tests
                               that share tables and queues with them; ARGS go to the test binary

cargo xtask help               this text

Text for people goes to stderr, results go to stdout. Exit status: 0 done, 1 failed, 2 the command line is wrong.";

/// What is asked for.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// Print the help.
    Help,
    /// Run the system.
    Up(Up),
    /// Print a token.
    Token(Token),
    /// Load a file.
    Load(Load),
    /// Write what is deployed.
    Render {
        /// Where to, if not to Cargo's target folder.
        out: Option<PathBuf>,
    },
    /// Run the simulator.
    Sim(Sim),
    /// Run the operators' tool.
    Ops(Ops),
    /// Ask or change what is deployed.
    Deploy(Deploy),
    /// Fuzz.
    Fuzz(Fuzz),
    /// Write packages.
    Package(Package),
    /// Run the tests with clients that are not ours.
    Interop {
        /// What the test binary is to get.
        args: Vec<OsString>,
    },
    /// Run the tests.
    Test {
        /// What `cargo test` is to get.
        args: Vec<OsString>,
    },
}

/// The operators' commands, which `skein-ops` knows.
const OPERATORS: [&str; 6] = ["dlq", "events", "export", "rebuild", "republish", "restore"];

/// The commands that `skein-deploy` knows.
const DEPLOYMENTS: [&str; 6] = ["bootstrap", "deploy", "down", "drift", "outputs", "plan"];

/// `cargo xtask deploy` and its kin.
#[derive(Debug, PartialEq)]
pub struct Deploy {
    /// Whether the build is optimised.
    pub release: bool,
    /// What goes to the tool, the command first.
    pub args: Vec<OsString>,
}

/// `cargo xtask events` and the other operators' commands.
#[derive(Debug, PartialEq)]
pub struct Ops {
    /// Whether the build is optimised.
    pub release: bool,
    /// What goes to the tool as it is, the command included.
    pub args: Vec<OsString>,
}

/// `cargo xtask sim`.
#[derive(Debug, PartialEq)]
pub struct Sim {
    /// What goes to the simulator as it is.
    pub options: Vec<OsString>,
}

/// Whose apps are packaged.
#[derive(Debug, PartialEq)]
pub enum Packaged {
    /// All of them.
    All,
    /// The gateway's.
    Gateway,
    /// A service's.
    Service(String),
}

/// `cargo xtask package`.
#[derive(Debug, PartialEq)]
pub struct Package {
    /// What of.
    pub of: Packaged,
    /// Where the packages go.
    pub out: Option<PathBuf>,
}

/// `cargo xtask fuzz`.
#[derive(Debug, PartialEq)]
pub struct Fuzz {
    /// The one target, if not all.
    pub target: Option<String>,
    /// How long each runs.
    pub seconds: u32,
}

/// `cargo xtask up`.
#[derive(Debug, PartialEq)]
pub struct Up {
    /// The gateway's port.
    pub port: u16,
    /// The state's folder.
    pub state: PathBuf,
    /// Whether the state is dropped first.
    pub fresh: bool,
    /// Whether the tables are kept in Azurite, and where it is if not at its usual address.
    pub azurite: Option<Option<OsString>>,
    /// Whether the build is optimised.
    pub release: bool,
}

/// `cargo xtask token`.
#[derive(Debug, PartialEq)]
pub struct Token {
    /// The role.
    pub role: String,
    /// The subject, if it is not the role.
    pub subject: Option<String>,
    /// The state's folder.
    pub state: PathBuf,
    /// Whether the build is optimised.
    pub release: bool,
}

/// `cargo xtask load`.
#[derive(Debug, PartialEq)]
pub struct Load {
    /// The file.
    pub file: PathBuf,
    /// The state's folder.
    pub state: PathBuf,
    /// Whether the build is optimised.
    pub release: bool,
    /// What goes to the loader as it is.
    pub options: Vec<OsString>,
}

/// Reads the command line.
pub fn parse(mut args: lexopt::Parser) -> Result<Task> {
    let command = match args.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(Task::Help),
        Some(Value(command)) => command.string()?,
        Some(arg) => return Err(arg.unexpected().into()),
    };
    if command == "test" {
        return Ok(Task::Test { args: args.raw_args()?.collect() });
    }
    if command == "interop" {
        return Ok(Task::Interop { args: args.raw_args()?.collect() });
    }
    if command == "ops" || OPERATORS.contains(&command.as_str()) {
        let command = Some(OsString::from(&command)).filter(|_| command != "ops");
        let mut args: Vec<OsString> = command.into_iter().chain(args.raw_args()?).collect();
        let given = args.len();
        args.retain(|arg| arg != "--release");
        return Ok(Task::Ops(Ops { release: args.len() < given, args }));
    }
    if DEPLOYMENTS.contains(&command.as_str()) {
        let mut args: Vec<OsString> = [OsString::from(&command)].into_iter().chain(args.raw_args()?).collect();
        let given = args.len();
        args.retain(|arg| arg != "--release");
        return Ok(Task::Deploy(Deploy { release: args.len() < given, args }));
    }
    let mut flags = Flags::default();
    while let Some(arg) = args.next()? {
        let is = |command: &str, of: &[&str]| of.contains(&command);
        match arg {
            Short('h') | Long("help") => return Ok(Task::Help),
            Long("state") if is(&command, &["up", "token", "load"]) => flags.state = Some(args.value()?.into()),
            Long("release") if is(&command, &["up", "token", "load"]) => flags.release = true,
            Long("port") if command == "up" => flags.port = Some(args.value()?.parse()?),
            Long("fresh") if command == "up" => flags.fresh = true,
            Long("azurite") if command == "up" => flags.azurite = Some(args.optional_value()),
            Long("out") if command == "render" => flags.out = Some(args.value()?.into()),
            Long("role") if command == "token" => flags.role = Some(args.value()?.string()?),
            Long("subject") if command == "token" => flags.subject = Some(args.value()?.string()?),
            Long(name @ ("url" | "stock" | "concurrency" | "timeout" | "output")) if command == "load" => {
                let name = OsString::from(format!("--{name}"));
                flags.options.extend([name, args.value()?]);
            }
            Long(name @ ("schedules" | "seed")) if command == "sim" => {
                let name = OsString::from(format!("--{name}"));
                flags.options.extend([name, args.value()?]);
            }
            Long("out") if command == "package" => flags.out = Some(args.value()?.into()),
            Value(word) if command == "package" && flags.words.len() < 2 => flags.words.push(word.string()?),
            Long("seconds") if command == "fuzz" => flags.seconds = Some(args.value()?.parse()?),
            Value(target) if command == "fuzz" && flags.target.is_none() => flags.target = Some(target.string()?),
            Value(file) if command == "load" && flags.file.is_none() => flags.file = Some(file.into()),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let state = flags.state.unwrap_or_else(|| PathBuf::from(".skein"));
    let release = flags.release;
    match command.as_str() {
        "help" => Ok(Task::Help),
        "up" => Ok(Task::Up(Up {
            port: flags.port.unwrap_or(8080),
            state,
            fresh: flags.fresh,
            azurite: flags.azurite,
            release,
        })),
        "package" => {
            let words: Vec<&str> = flags.words.iter().map(String::as_str).collect();
            let of = match words[..] {
                ["all"] => Packaged::All,
                ["gateway"] => Packaged::Gateway,
                ["service", name] => Packaged::Service(name.to_owned()),
                _ => bail!("package needs `gateway`, `service NAME`, or `all`"),
            };
            Ok(Task::Package(Package { of, out: flags.out }))
        }
        "fuzz" => Ok(Task::Fuzz(Fuzz { target: flags.target, seconds: flags.seconds.unwrap_or(20) })),
        "render" => Ok(Task::Render { out: flags.out }),
        "sim" => Ok(Task::Sim(Sim { options: flags.options })),
        "token" => {
            let role = flags.role.context("token needs --role operator|customer")?;
            if !["operator", "customer"].contains(&role.as_str()) {
                bail!("the role is operator or customer, not {role:?}");
            }
            Ok(Task::Token(Token { role, subject: flags.subject, state, release }))
        }
        "load" => {
            let file = flags.file.context("load needs the FILE to load")?;
            Ok(Task::Load(Load { file, state, release, options: flags.options }))
        }
        other => bail!("there is no command {other:?}"),
    }
}

#[derive(Default)]
struct Flags {
    port: Option<u16>,
    state: Option<PathBuf>,
    fresh: bool,
    azurite: Option<Option<OsString>>,
    release: bool,
    role: Option<String>,
    subject: Option<String>,
    file: Option<PathBuf>,
    target: Option<String>,
    seconds: Option<u32>,
    out: Option<PathBuf>,
    words: Vec<String>,
    options: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(lexopt::Parser::from_args(line.split_whitespace())).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_are_read() {
        let up = Up { port: 8080, state: ".skein".into(), fresh: false, azurite: None, release: false };
        assert_eq!(parsed("up"), Ok(Task::Up(up)));
        let up = Up { port: 0, state: "/s".into(), fresh: true, azurite: None, release: false };
        assert_eq!(parsed("up --port 0 --state /s --fresh"), Ok(Task::Up(up)));
        let Ok(Task::Up(up)) = parsed("up --azurite=http://127.0.0.1:1/a --release") else { panic!("it is an up") };
        assert_eq!((up.azurite, up.release), (Some(Some("http://127.0.0.1:1/a".into())), true));
        let load = Load {
            file: "f.csv".into(),
            state: "s".into(),
            release: false,
            options: ["--stock", "5", "--output", "json"].map(OsString::from).to_vec(),
        };
        assert_eq!(parsed("load f.csv --stock 5 --state=s --output json"), Ok(Task::Load(load)));
        assert_eq!(
            parsed("test -p x -- --nocapture"),
            Ok(Task::Test { args: ["-p", "x", "--", "--nocapture"].map(OsString::from).to_vec() })
        );
        let sim = Sim { options: ["--schedules", "9"].map(OsString::from).to_vec() };
        assert_eq!(parsed("sim --schedules=9"), Ok(Task::Sim(sim)));
        let ops = Ops { release: true, args: ["events", "orders", "order:1"].map(OsString::from).to_vec() };
        assert_eq!(parsed("events orders --release order:1"), Ok(Task::Ops(ops)));
        assert_eq!(parsed("ops help"), Ok(Task::Ops(Ops { release: false, args: vec!["help".into()] })));
        let deploy = Deploy {
            release: true,
            args: ["deploy", "service", "orders", "--env", "dev"].map(OsString::from).to_vec(),
        };
        assert_eq!(parsed("deploy service orders --env dev --release"), Ok(Task::Deploy(deploy)));
        assert_eq!(parsed("interop azurite"), Ok(Task::Interop { args: vec!["azurite".into()] }));
        let fuzz = Fuzz { target: Some("cloud_event".into()), seconds: 5 };
        let package = Package { of: Packaged::Service("orders".into()), out: Some("p".into()) };
        assert_eq!(parsed("package service orders --out p"), Ok(Task::Package(package)));
        assert_eq!(parsed("package all"), Ok(Task::Package(Package { of: Packaged::All, out: None })));
        let gateway = Package { of: Packaged::Gateway, out: None };
        assert_eq!(parsed("package gateway"), Ok(Task::Package(gateway)));
        assert_eq!(parsed("fuzz cloud_event --seconds 5"), Ok(Task::Fuzz(fuzz)));
        assert_eq!(parsed("render"), Ok(Task::Render { out: None }));
        assert_eq!(parsed("render --out /r"), Ok(Task::Render { out: Some("/r".into()) }));
        assert_eq!(parsed(""), Ok(Task::Help));
    }

    #[test]
    fn a_wrong_line_is_told_by_name() {
        assert_eq!(parsed("upp").unwrap_err(), r#"there is no command "upp""#);
        assert_eq!(parsed("up --role x").unwrap_err(), "invalid option '--role'");
        assert_eq!(parsed("package orders").unwrap_err(), "package needs `gateway`, `service NAME`, or `all`");
        assert_eq!(parsed("load").unwrap_err(), "load needs the FILE to load");
        assert_eq!(parsed("token --role king").unwrap_err(), r#"the role is operator or customer, not "king""#);
        assert!(parsed("up --port 99999").is_err());
    }
}

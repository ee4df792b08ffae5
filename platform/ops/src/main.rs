//! `skein-ops`: the operators' commands. `cargo xtask` builds it and hands over.

use std::process::ExitCode;

use anyhow::Result;
use skein_ops::flags::{self, Command};
use skein_ops::operator::Operator;
use skein_ops::{Done, backup, dlq, events, rebuild, republish};

fn main() -> ExitCode {
    let flags = match flags::parse(lexopt::Parser::from_env()) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            println!("{}", flags::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("skein-ops: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(&flags) {
        Ok(done) => ExitCode::from(done.code()),
        Err(error) => {
            eprintln!("skein-ops: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(flags: &flags::Flags) -> Result<Done> {
    let operator = Operator::open(&flags.target)?;
    match &flags.command {
        Command::Dlq(ask) => dlq::run(&operator, ask, flags.output).await,
        Command::Rebuild(ask) => rebuild::run(&operator, ask, flags.output).await,
        Command::Republish(ask) => republish::run(&operator, ask, flags.output).await,
        Command::Export => backup::run_export(&operator, flags.output).await,
        Command::Restore => backup::run_restore(&operator, flags.output).await,
        Command::Events(ask) => events::run(&operator, ask, flags.output).await,
    }
}

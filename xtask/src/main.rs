//! `cargo xtask`: the developer's commands. It reads flags, builds, and hands over to the binary that does the work.

mod build;
mod deploy;
mod flags;
mod fuzz;
mod interop;
mod load;
mod ops;
mod package;
mod python;
mod render;
mod sim;
mod state;
mod test;
mod token;
mod up;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::flags::Task;

fn main() -> ExitCode {
    let task = match flags::parse(lexopt::Parser::from_env()) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("xtask: {error}; see `cargo xtask help`");
            return ExitCode::from(2);
        }
    };
    let done = match task {
        Task::Help => {
            println!("{}", flags::HELP);
            Ok(ExitCode::SUCCESS)
        }
        Task::Up(up) => up::run(&up),
        Task::Token(token) => token::run(&token),
        Task::Load(load) => load::run(&load),
        Task::Ops(ops) => ops::run(&ops),
        Task::Deploy(deploy) => deploy::run(&deploy),
        Task::Render { out } => render::run(out),
        Task::Sim(sim) => sim::run(&sim),
        Task::Interop { args } => interop::run(&args),
        Task::Fuzz(fuzz) => fuzz::run(&fuzz),
        Task::Package(package) => package::run(&package),
        Task::Test { args } => test::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// Becomes the command: its process, its signals, its exit status. It only returns to say why it could not.
fn become_command(command: &mut Command) -> Result<ExitCode> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}

//! `cargo xtask sim`: builds the simulator with optimisations and becomes it.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::flags::Sim;

/// Builds and runs the simulator.
pub fn run(sim: &Sim) -> Result<ExitCode> {
    let mut cargo = build::cargo();
    cargo.args(["build", "--release", "--package", "skein-sim"]);
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed ({status})");
    }
    let mut command = Command::new(build::target()?.join("release").join("skein-sim"));
    command.args(&sim.options);
    crate::become_command(&mut command)
}

//! `cargo xtask sim`: builds the simulator with optimisations and becomes it.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build;
use crate::flags::Sim;

/// Builds and runs the simulator.
pub fn run(sim: &Sim) -> Result<ExitCode> {
    let mut command = Command::new(build::binaries(true, false)?.path("skein-sim"));
    // Errors are made by the million: a backtrace for each would take more time than all the rest.
    command.args(&sim.options).env("RUST_LIB_BACKTRACE", "0");
    crate::become_command(&mut command)
}

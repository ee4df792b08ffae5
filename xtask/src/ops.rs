//! The operators' commands: becomes `skein-ops`.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{become_command, build, flags};

/// Runs the command.
pub fn run(ops: &flags::Ops) -> Result<ExitCode> {
    let binaries = build::binaries(ops.release, true)?;
    become_command(Command::new(binaries.path("skein-ops")).args(&ops.args))
}

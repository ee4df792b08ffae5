//! `cargo xtask token`: a development token on stdout, and nothing else.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build::Binaries;
use crate::{become_command, build, flags};

/// Prints the token.
pub fn run(token: &flags::Token) -> Result<ExitCode> {
    let binaries = build::binaries(token.release, true)?;
    become_command(&mut command(&binaries, token))
}

/// What prints it.
pub fn command(binaries: &Binaries, token: &flags::Token) -> Command {
    let mut local = Command::new(binaries.path("skein-local"));
    local.args(["token", "--role", &token.role]).arg("--state").arg(&token.state);
    if let Some(subject) = &token.subject {
        local.args(["--subject", subject]);
    }
    local
}

//! `cargo xtask load`: becomes the loader, with an operator's token in its environment.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::{become_command, build, flags, token};

/// Loads the file.
pub fn run(load: &flags::Load) -> Result<ExitCode> {
    let binaries = build::binaries(load.release, true)?;
    let operator =
        flags::Token { role: "operator".to_owned(), subject: None, state: load.state.clone(), release: load.release };
    let output = token::command(&binaries, &operator)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start skein-local for a token")?;
    if !output.status.success() {
        bail!("no token for {}: is a system up there? (`cargo xtask up --state …`)", load.state.display());
    }
    let token = String::from_utf8(output.stdout).context("the token is no text")?;
    let mut loader = Command::new(binaries.path("skein-load"));
    // The environment, not the command line: every user of the machine can read that.
    become_command(loader.arg(&load.file).args(&load.options).env("SKEIN_TOKEN", token.trim()))
}

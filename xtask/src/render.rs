//! `cargo xtask render`: builds what links every descriptor, and becomes it.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;

/// Writes every layer's templates, the policies, the diagram and the pipelines.
pub fn run(out: Option<PathBuf>) -> Result<ExitCode> {
    let mut cargo = build::cargo();
    cargo.args(["build", "--quiet", "--package", "skein-infra"]);
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed ({status}); nothing was rendered");
    }
    let target = build::target()?;
    let out = out.unwrap_or_else(|| target.join("render"));
    let mut command = Command::new(target.join("debug").join("skein-infra"));
    command.arg("render").arg("--out").arg(out);
    // These are committed, so that Azure DevOps finds them.
    command.arg("--pipelines").arg(build::root().join(".azure-pipelines"));
    crate::become_command(&mut command)
}

//! `cargo xtask up`: builds, renders, packages, and becomes `skein-local`, which has `skein-deploy` deploy all layers to it.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::state::State;
use crate::{become_command, build, flags, state};

/// The committed environment whose parameters the system on this machine is deployed with.
const ENVIRONMENT: &str = "local";

/// Runs the system until it is told to stop.
pub fn run(up: &flags::Up) -> Result<ExitCode> {
    let binaries = build::binaries(up.release, false)?;
    if up.state.is_dir() {
        state::refuse_if_running(&up.state)?;
    }
    let state = State::open(&up.state, up.fresh)?;
    let infra = binaries.path("skein-infra");

    let rendered = state.join("render");
    let mut render = Command::new(&infra);
    render.arg("render").arg("--out").arg(&rendered).stdout(Stdio::null());
    step("rendering", &mut render)?;

    // Beside those that the apps run, which are the local Azure's own.
    let built = state.join("built");
    let mut packages = Command::new(&infra);
    packages.arg("packages").arg("--out").arg(&built).arg("--binaries").arg(binaries.folder());
    // They are unpacked at once.
    packages.arg("--stored").stdout(Stdio::null());
    step("writing the packages", &mut packages)?;

    let planes = state.planes_port()?;
    let mut local = Command::new(binaries.path("skein-local"));
    local.arg("serve").arg("--state").arg(state.folder());
    local.args(["--port", &up.port.to_string(), "--planes-port", &planes.to_string()]);
    if let Some(url) = &up.azurite {
        local.arg("--azurite").args(url);
    }
    local.arg("--").arg(binaries.path("skein-deploy")).args(["deploy", "all", "--env", ENVIRONMENT]);
    local.args(["--endpoint", &format!("http://127.0.0.1:{planes}")]).arg("--state").arg(state.folder());
    local.arg("--environments").arg(build::root().join("platform/deploy/environments"));
    local.arg("--rendered").arg(&rendered).arg("--packages").arg(&built);
    become_command(&mut local)
}

fn step(what: &str, command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{what}: cannot start"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

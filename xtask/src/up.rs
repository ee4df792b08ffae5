//! `cargo xtask up`: builds, packages, writes the list of resources, and becomes `skein-local`.

use std::fs::File;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::state::State;
use crate::{become_command, build, flags, state};

/// Runs the system until it is told to stop.
pub fn run(up: &flags::Up) -> Result<ExitCode> {
    let binaries = build::binaries(up.release, false)?;
    if up.state.is_dir() {
        state::refuse_if_running(&up.state)?;
    }
    let state = State::open(&up.state, up.fresh)?;
    let infra = binaries.path("skein-infra");

    let mut packages = Command::new(&infra);
    packages.arg("packages").arg("--out").arg(state.join("packages")).arg("--binaries").arg(binaries.folder());
    // They are unpacked at once.
    packages.arg("--stored").stdout(Stdio::null());
    step("writing the packages", &mut packages)?;

    let planes = state.planes_port()?;
    let list = state.join("resources.json");
    let file = File::create(&list).with_context(|| format!("cannot write {}", list.display()))?;
    let mut resources = Command::new(&infra);
    resources.args(["resources", "--planes", &format!("http://127.0.0.1:{planes}")]).stdout(file);
    step("writing the list of resources", &mut resources)?;

    let mut local = Command::new(binaries.path("skein-local"));
    local.arg("serve").arg("--state").arg(state.folder()).arg("--resources").arg(&list);
    local.args(["--port", &up.port.to_string(), "--planes-port", &planes.to_string()]);
    if let Some(url) = &up.azurite {
        local.arg("--azurite").args(url);
    }
    become_command(&mut local)
}

fn step(what: &str, command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{what}: cannot start"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

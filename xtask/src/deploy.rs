//! `cargo xtask deploy` and its kin: renders, and becomes `skein-deploy`.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::{become_command, build, flags};

/// The control plane that takes everything, instead of the environment's: the local one, for tests of pipelines.
const ENDPOINT: &str = "SKEIN_ENDPOINT";
/// The state folder of that local control plane, for its tokens.
const STATE: &str = "SKEIN_STATE";

/// Runs the command.
pub fn run(deploy: &flags::Deploy) -> Result<ExitCode> {
    let binaries = build::binaries(deploy.release, true)?;
    let target = build::target()?;
    let rendered = target.join("render");
    let mut render = Command::new(binaries.path("skein-infra"));
    render.arg("render").arg("--out").arg(&rendered).stdin(Stdio::null()).stdout(Stdio::null());
    let status = render.status().context("cannot start skein-infra")?;
    if !status.success() {
        bail!("rendering failed ({status}); nothing was sent");
    }
    let mut command = Command::new(binaries.path("skein-deploy"));
    let Some((task, rest)) = deploy.args.split_first() else { bail!("no command") };
    command.arg(task).arg("--environments").arg(build::root().join("platform/deploy/environments"));
    command.arg("--rendered").arg(&rendered);
    if task != "bootstrap" {
        command.arg("--packages").arg(target.join("package"));
        command.args(local(std::env::var_os(ENDPOINT), std::env::var_os(STATE)));
    }
    // What is said comes last, and so counts.
    become_command(command.args(rest))
}

fn local(endpoint: Option<OsString>, state: Option<OsString>) -> Vec<OsString> {
    let option = |name: &str, value: Option<OsString>| value.map(|value| [name.into(), value]).into_iter().flatten();
    option("--endpoint", endpoint).chain(option("--state", state)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_control_plane_comes_from_the_environment() {
        assert_eq!(local(None, None), Vec::<OsString>::new());
        let told = local(Some("http://127.0.0.1:1".into()), Some("/s".into()));
        assert_eq!(told, ["--endpoint", "http://127.0.0.1:1", "--state", "/s"]);
    }
}

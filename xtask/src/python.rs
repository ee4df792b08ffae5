//! Tools from PyPI, each set in a virtual environment of its own below the target folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build;

/// The folder of the programs of an environment that holds exactly the pinned packages, as in `ziglang==0.15.2`. It is
/// made once.
pub fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = build::target()?.join("tools").join(name);
    let (programs, stamp) = (folder.join("bin"), folder.join("installed.txt"));
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    eprintln!("installing {} in {}", packages.join(", "), folder.display());
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
    let status = venv.status().context("cannot start python3: install Python 3 with venv and pip, and try again")?;
    if !status.success() {
        bail!("python3 cannot make a virtual environment ({status}); Debian: apt-get install python3-venv");
    }
    let mut pip = Command::new(programs.join("python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]).args(packages);
    let status = pip.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start pip")?;
    if !status.success() {
        bail!("pip cannot install {} ({status})", packages.join(", "));
    }
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(programs)
}

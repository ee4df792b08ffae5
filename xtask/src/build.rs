//! Builds what the commands start.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folder of the built binaries.
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The binary's path.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    // One level above this crate, wherever the repository stands.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The Cargo that runs us.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // What Cargo told us of xtask's own package: build scripts that look at it (ring's does) would run again.
    for (name, _) in env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| name.starts_with(start))
        });
        if told {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Where Cargo builds.
pub fn target() -> Result<PathBuf> {
    // {target}/{profile}/xtask
    let xtask = env::current_exe().context("cannot tell where xtask stands")?;
    let target = xtask.parent().and_then(Path::parent).context("xtask does not stand in Cargo's target folder")?;
    Ok(target.to_owned())
}

/// Builds every binary of the workspace, always the same set, so that one build serves all commands. Cargo's messages
/// go to stderr; it says nothing when `quiet` unless it fails.
pub fn binaries(release: bool, quiet: bool) -> Result<Binaries> {
    let mut cargo = cargo();
    // The running xtask stays out: it is built already.
    cargo.args(["build", "--workspace", "--bins", "--exclude", "xtask"]);
    // The simulator runs optimised only, from the same tree as everything else that is.
    if !release {
        cargo.args(["--exclude", "skein-sim"]);
    }
    if quiet {
        cargo.arg("--quiet");
    }
    if release {
        cargo.arg("--release");
    }
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed ({status}); nothing was started");
    }
    Ok(Binaries { folder: target()?.join(if release { "release" } else { "debug" }) })
}

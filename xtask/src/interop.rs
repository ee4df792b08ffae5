//! `cargo xtask interop`: makes the clients that are not ours, and runs the tests that need them.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{build, python};

/// Microsoft's Table SDK for Python, and what it brings, so that a run is the same tomorrow.
const PYTHON: [&str; 12] = [
    "azure-data-tables==12.7.0",
    "azure-core==1.41.0",
    "certifi==2026.10.19.post1",
    "charset-normalizer==3.5.2",
    "idna==3.20",
    "isodate==0.7.2",
    "multidict==7.2.1",
    "propcache==0.5.4",
    "requests==2.34.2",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
    "yarl==1.25.1",
];

/// Makes the peers where the tests look for them: the published crates from their own workspace and lockfile, and the
/// SDK for Python in a virtual environment.
pub fn prepare() -> Result<()> {
    python::environment("azure-tables", &PYTHON)?;
    let mut cargo = build::cargo();
    cargo.args(["build", "--quiet", "--locked", "--manifest-path", "tests/interop/Cargo.toml", "--target-dir"]);
    let status =
        cargo.arg(build::target()?.join("interop")).stdin(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the published crates do not build ({status})");
    }
    Ok(())
}

/// Runs the tests, with what they print.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    prepare()?;
    let mut cargo = build::cargo();
    cargo.args(["test", "--package", "skein-local", "--test", "interop", "--", "--nocapture"]).args(args);
    crate::become_command(&mut cargo)
}

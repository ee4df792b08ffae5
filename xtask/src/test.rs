//! `cargo xtask test`: all tests, with Azurite at hand.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::{build, interop};

/// The one version of Azurite that is tested against, as a package and as an image.
const AZURITE: &str = "3.37.0";

/// The parser of record for GraphQL documents, which the policies' tests compare with.
const GRAPHQL_JS: &str = "16.15.0";

/// The folder with the lock file of the official SignalR client, which the local SignalR is tested with.
const SIGNALR_JS: &str = "platform/local/tests/signalr";

/// Runs the tests and sums up.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let engine = docker_answers();
    let (docker, npm) = match env::var("SKEIN_AZURITE").as_deref() {
        Ok("" | "auto") | Err(_) => (engine, !engine),
        Ok("docker") => (true, false),
        Ok("npm") => (false, true),
        Ok("both") => (true, true),
        Ok(other) => bail!("SKEIN_AZURITE is {other:?}: docker, npm, both or auto is expected"),
    };
    if docker && !engine {
        bail!("no Docker engine answers: start one, as with `.ci/docker start` (Debian: apt-get install docker.io)");
    }
    if npm {
        install("azurite", AZURITE, "azurite").context("a Docker engine that answers would do, too")?;
    }
    // The test that needs it says that it is skipped; under CI it fails.
    if let Err(error) = install("graphql", GRAPHQL_JS, "graphql-js") {
        eprintln!("xtask: {error:#}");
    }
    if let Err(error) = install_locked(SIGNALR_JS, "signalr-js") {
        eprintln!("xtask: {error:#}");
    }
    if let Err(error) = interop::prepare() {
        eprintln!("xtask: {error:#}");
    }
    // What the system tests start: built once, outside of them, as it ships.
    build::binaries(true, false)?;
    let mut cargo = build::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).args(args);
    // Faults by the thousand are what many tests are about: those of panics are enough where backtraces are wanted.
    cargo.env("RUST_LIB_BACKTRACE", "0");
    let mut tests = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let lines = BufReader::new(tests.stdout.take().context("cargo's output is not there")?).split(b'\n');
    let (mut passed, mut failed) = (0, 0);
    let mut out = std::io::stdout();
    for line in lines {
        let line = line.context("cannot read cargo's output")?;
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).context("cannot write to stdout")?;
        if let Some((more_passed, more_failed)) = totals(&String::from_utf8_lossy(&line)) {
            passed += more_passed;
            failed += more_failed;
        }
    }
    let status = tests.wait().context("cannot wait for cargo")?;
    println!("{passed} passed, {failed} failed");
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// What one test binary's last line says.
fn totals(line: &str) -> Option<(u32, u32)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(word)).and_then(|number| number.trim().parse().ok())
    };
    Some((count("passed")?, count("failed")?))
}

fn docker_answers() -> bool {
    let mut docker = Command::new("docker");
    docker.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    docker.status().is_ok_and(|status| status.success())
}

/// Installs a pinned npm package below the target folder, where the tests look for it.
fn install(package: &str, version: &str, folder: &str) -> Result<()> {
    let folder = build::target()?.join(folder);
    let stamp = folder.join(format!("installed-{version}"));
    if stamp.is_file() {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    eprintln!("installing {package}@{version} in {}", folder.display());
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
    npm.arg(format!("{package}@{version}")).stdin(Stdio::null()).stdout(Stdio::null());
    let status = npm.status().context("cannot start npm: install Node.js with npm and try again")?;
    if !status.success() {
        bail!("npm could not install {package}@{version} ({status})");
    }
    fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs what a folder of the repository locks below the target folder, where the tests look for it.
fn install_locked(source: &str, folder: &str) -> Result<()> {
    const LOCK: &str = "package-lock.json";
    let (source, folder) = (build::root().join(source), build::target()?.join(folder));
    let stamp = folder.join("installed");
    let lock = source.join(LOCK);
    let lock = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for file in ["package.json", LOCK] {
        fs::copy(source.join(file), folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    eprintln!("installing what {} locks in {}", source.join(LOCK).display(), folder.display());
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
    let status = npm.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.context("cannot start npm: install Node.js with npm and try again")?;
    if !status.success() {
        bail!("npm could not install what {} locks ({status})", source.display());
    }
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_last_line_of_a_binary() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(totals(line), Some((12, 3)));
        assert_eq!(totals("test result: ok. 0 passed; 0 failed; 0 ignored"), Some((0, 0)));
        assert_eq!(totals("running 3 tests"), None);
    }
}

//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, each for a bounded time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, iter, thread};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::flags::Fuzz;

/// The version of cargo-fuzz.
const CARGO_FUZZ: &str = "0.13.1";

/// Builds all targets and runs them, one on each core. What is found is left under `target/fuzz/artifacts`.
pub fn run(fuzz: &Fuzz) -> Result<ExitCode> {
    let (target, folder) = (build::target()?, build::root().join("tests/fuzz"));
    let all = targets(&folder)?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| fuzz.target.as_ref().is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no fuzz target {:?}; there are {}", fuzz.target.as_deref().unwrap_or_default(), all.join(", "));
    }
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).stderr(Stdio::null()).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        bail!("fuzzing needs the nightly toolchain, nothing was run: rustup toolchain install nightly");
    }
    let tools = target.join("tools");
    install(&tools)?;

    let out = target.join("fuzz");
    let inherited = env::var_os("PATH").unwrap_or_default();
    let path = iter::once(tools.join("bin")).chain(env::split_paths(&inherited));
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&folder).env("PATH", env::join_paths(path)?);
    // The Cargo that runs us is another one.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    // The project has no unsafe code: a sanitizer would look at nothing of ours, and costs half of the inputs.
    cargo.args(["+nightly", "fuzz", "build", "--fuzz-dir", ".", "--sanitizer", "none", "--target-dir"]).arg(&out);
    if fuzz.target.is_some() {
        cargo.args(chosen.iter().map(OsString::from));
    }
    let status = cargo.stdin(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("the fuzz targets do not build ({status})");
    }

    // Each run takes one core.
    let (runs, cores) = (Mutex::new(chosen.iter()), thread::available_parallelism().map_or(1, NonZero::get));
    let failed = thread::scope(|scope| {
        let worker = || -> Result<Vec<&str>> {
            let mut failed = Vec::new();
            loop {
                let next = runs.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(name) = next else { return Ok(failed) };
                if !finds_nothing(name, fuzz.seconds, &folder, &out)? {
                    failed.push(name.as_str());
                }
            }
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let done = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        done.collect::<Result<Vec<_>>>()
    })?
    .concat();
    if !failed.is_empty() {
        bail!("{} of {} targets found something: {}", failed.len(), chosen.len(), failed.join(", "));
    }
    eprintln!("{} targets found nothing", chosen.len());
    Ok(ExitCode::SUCCESS)
}

/// Runs one target, and says what came of it; whether it found nothing.
fn finds_nothing(name: &str, seconds: u32, folder: &Path, out: &Path) -> Result<bool> {
    let (found, log) = (out.join("artifacts").join(name), out.join("log").join(name));
    let (mine, given) = (out.join("corpus").join(name), folder.join("corpus").join(name));
    for folder in [&found, &mine, &out.join("log")] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let binary = out.join(host()?).join("release").join(name);
    let status = Command::new(&binary)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .args([&mine, &given])
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let value = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or("?").trim();
    let (inputs, seed) = (value("stat::number_of_executed_units:"), value("INFO: Seed:"));
    if status.success() {
        eprintln!("{name}: {inputs} inputs in {seconds} s, seed {seed}, nothing found");
    } else {
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n");
        eprintln!("{last}\n{name}: seed {seed}, FOUND something ({status}); the input is in {}", found.display());
    }
    Ok(status.success())
}

/// The targets are the files of a folder.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        if let Some(name) = entry?.path().file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Installs cargo-fuzz into the target folder, once.
fn install(tools: &Path) -> Result<()> {
    let known = fs::read_to_string(tools.join(".crates.toml")).unwrap_or_default();
    if known.contains(&format!("\"cargo-fuzz {CARGO_FUZZ} ")) {
        return Ok(());
    }
    let version = format!("={CARGO_FUZZ}");
    let mut cargo = build::cargo();
    cargo.args(["install", "--quiet", "cargo-fuzz", "--locked", "--version", &version, "--root"]).arg(tools);
    let status = cargo.stdin(Stdio::null()).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cannot install cargo-fuzz {CARGO_FUZZ} from crates.io ({status})");
    }
    Ok(())
}

/// The host's triple, which cargo-fuzz builds for.
fn host() -> Result<String> {
    let about = build::cargo().arg("-vV").output().context("cannot start cargo")?;
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo does not name its host")?;
    Ok(host.to_owned())
}

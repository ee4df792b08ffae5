//! `cargo xtask package`: release binaries for Linux x64 with an old GLIBC, and the zip of each function app.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{become_command, build, flags};

/// What the zips may need at most.
const GLIBC: &str = "2.28";

/// Builds and packages.
pub fn run(package: &flags::Package) -> Result<ExitCode> {
    let services = services()?;
    if let Some(service) = &package.service
        && !services.contains(service)
    {
        bail!("there is no service {service:?}; there are {}", services.join(", "));
    }
    let chosen = services.iter().filter(|name| package.service.as_ref().is_none_or(|service| service == *name));
    let mut bins = vec!["skein-infra".to_owned()];
    bins.extend(chosen.flat_map(|service| [format!("{service}-command"), format!("{service}-query")]));
    let binaries = build::shipped(&bins)?;
    let out = match &package.out {
        Some(out) => out.clone(),
        None => build::target()?.join("package"),
    };
    let mut infra = Command::new(binaries.path("skein-infra"));
    infra.arg("packages").arg("--out").arg(out).arg("--binaries").arg(binaries.folder()).args(["--glibc", GLIBC]);
    if let Some(service) = &package.service {
        infra.args(["--service", service]);
    }
    become_command(&mut infra)
}

/// The folders of the services.
fn services() -> Result<Vec<String>> {
    let folder: PathBuf = build::root().join("services");
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

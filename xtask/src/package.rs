//! `cargo xtask package`: release binaries for Linux x64 with an old GLIBC, and the zip of each function app.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::flags::Packaged;
use crate::{become_command, build, flags};

/// What the zips may need at most.
const GLIBC: &str = "2.28";

/// Builds and packages.
pub fn run(package: &flags::Package) -> Result<ExitCode> {
    let services = services()?;
    let of_service = |service: &String| [format!("{service}-command"), format!("{service}-query")];
    let router = "gateway-router".to_owned();
    let mut bins = vec!["skein-infra".to_owned()];
    match &package.of {
        Packaged::All => bins.extend(services.iter().flat_map(of_service).chain([router])),
        Packaged::Gateway => bins.push(router),
        Packaged::Service(service) if services.contains(service) => bins.extend(of_service(service)),
        Packaged::Service(service) => {
            bail!("there is no service {service:?}; there are {}", services.join(", "));
        }
    }
    let binaries = build::shipped(&bins)?;
    let out = match &package.out {
        Some(out) => out.clone(),
        None => build::target()?.join("package"),
    };
    let mut infra = Command::new(binaries.path("skein-infra"));
    infra.arg("packages").arg("--out").arg(out).arg("--binaries").arg(binaries.folder()).args(["--glibc", GLIBC]);
    match &package.of {
        Packaged::All => {}
        Packaged::Gateway => drop(infra.arg("--gateway")),
        Packaged::Service(service) => drop(infra.args(["--service", service])),
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

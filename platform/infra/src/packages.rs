//! Writes the package of each function app to a folder.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use skein_model::{App, Graph};
use skein_package::{Compression, File, Glibc, digest};
use skein_render::{HANDLER, Names};

/// Writes `{out}/{site}.zip` and its digest, `{site}.zip.sha256`, for each app of the graph, or of one service. `allowed`
/// is the newest GLIBC that a binary may need. Returns a line for each.
pub fn write(
    graph: &Graph,
    out: &Path,
    binaries: &Path,
    service: Option<&str>,
    allowed: Option<Glibc>,
    compression: Compression,
) -> Result<Vec<String>> {
    let names = Names::new(&graph.platform);
    let chosen: Vec<_> =
        graph.services.iter().filter(|candidate| service.is_none_or(|name| candidate.name == name)).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = graph.services.iter().map(|service| service.name.as_str()).collect();
        bail!("there is no service {:?}; there are {}", service.unwrap_or_default(), known.join(", "));
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut lines = Vec::new();
    for (service, which) in chosen.iter().flat_map(|service| [App::Command, App::Query].map(|app| (service, app))) {
        let app = service.app(which);
        let (site, source) = (names.site(app), binaries.join(&app.binary));
        let binary = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let required = Glibc::required(&binary).with_context(|| source.display().to_string())?;
        let mut files: Vec<File> = skein_render::package(service, which)
            .into_iter()
            .map(|(path, bytes)| File { path, bytes, executable: false })
            .collect();
        files.push(File { path: HANDLER.to_owned(), bytes: binary, executable: true });
        let zip = skein_package::write(files, compression, allowed).with_context(|| format!("the package {site}"))?;
        let digest = digest(&zip);
        let name = format!("{site}.zip");
        // The digest last: a package without one was not finished.
        replace(&out.join(&name), &zip)?;
        replace(&out.join(format!("{name}.sha256")), format!("{digest}  {name}\n").as_bytes())?;
        let needs = required.map_or_else(|| "no GLIBC".to_owned(), |version| format!("GLIBC {version}"));
        lines.push(format!("{digest}  {name}  {} bytes, {needs}", zip.len()));
    }
    Ok(lines)
}

/// Writes beside the file and renames, so that a reader sees the old one or the new one.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_model::arm::Place;
    use skein_model::{Gateway, Platform, Service};

    #[test]
    fn each_app_is_a_package_with_its_digest() {
        let platform =
            Platform { system: "skein".into(), delivery_attempts: 1, event_minutes: 1, place: Place::default() };
        let graph = Graph::new(platform, Gateway { services: vec![] }, vec![Service::new("desk")]).unwrap();
        let (out, binaries) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |service: Option<&str>, allowed| {
            super::write(&graph, out.path(), binaries.path(), service, allowed, Compression::Stored)
                .map_err(|error| format!("{error:#}"))
        };
        assert!(write(None, None).unwrap_err().contains("desk-command"));
        assert_eq!(write(Some("x"), None).unwrap_err(), "there is no service \"x\"; there are desk");
        for binary in ["desk-command", "desk-query"] {
            fs::copy(std::env::current_exe().unwrap(), binaries.path().join(binary)).unwrap();
        }
        let lines = write(Some("desk"), None).unwrap();
        assert_eq!(lines.len(), 2);
        let zip = fs::read(out.path().join("func-desk-query.zip")).unwrap();
        let sum = fs::read_to_string(out.path().join("func-desk-query.zip.sha256")).unwrap();
        assert_eq!(sum, format!("{}  func-desk-query.zip\n", digest(&zip)));
        let paths: Vec<String> = skein_package::read(&zip, None).unwrap().into_iter().map(|file| file.path).collect();
        assert!(paths.contains(&"bin/handler".into()) && paths.contains(&"events/function.json".into()), "{paths:?}");
        let error = write(None, Some(Glibc(2, 2, 0))).unwrap_err();
        assert!(error.contains("func-desk-command") && error.contains("bin/handler needs GLIBC 2."), "{error}");
        assert!(error.contains("at most 2.2 is allowed"), "{error}");
        fs::write(binaries.path().join("desk-query"), "#!/bin/sh").unwrap();
        assert!(write(None, None).unwrap_err().contains("no 64-bit ELF file"));
    }
}

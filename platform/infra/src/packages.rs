//! Writes the package of each function app to a folder, and the files that Front Door shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use skein_model::{App, FunctionApp, Graph};
use skein_package::{Compression, File, Glibc, digest};
use skein_render::{HANDLER, Names};

/// An app, with what its package holds besides the binary.
struct Part<'a> {
    layer: &'a str,
    app: &'a FunctionApp,
    files: Vec<(String, Vec<u8>)>,
}

/// The folder of the files that Front Door shows.
const PAGES: &str = "pages";

/// Writes `{out}/{site}.zip` and its digest, `{site}.zip.sha256`, for each app of the graph, or of one layer; with the gateway's
/// the pages, `pages/…`, and their digests, `pages.sha256`. `allowed` is the newest GLIBC that a binary may need. Returns a
/// line for each.
pub fn write(
    graph: &Graph,
    pages: &[(&str, &[u8])],
    out: &Path,
    binaries: &Path,
    layer: Option<&str>,
    allowed: Option<Glibc>,
    compression: Compression,
) -> Result<Vec<String>> {
    let names = Names::new(&graph.platform);
    let mut apps = Vec::new();
    for service in &graph.services {
        let part = |app| Part {
            layer: service.name.as_str(),
            app: service.app(app),
            files: skein_render::package(service, app),
        };
        apps.extend([App::Command, App::Query].map(part));
    }
    let gateway = &graph.gateway;
    let files = skein_render::router_package(gateway);
    apps.push(Part { layer: skein_render::GATEWAY, app: &gateway.router, files });
    if let Some(layer) = layer {
        let known: BTreeSet<&str> = apps.iter().map(|part| part.layer).collect();
        if !known.contains(layer) {
            let known: Vec<&str> = known.into_iter().collect();
            bail!("no layer {layer:?} has apps; those of {} have", known.join(", "));
        }
        apps.retain(|part| part.layer == layer);
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut lines = Vec::new();
    for Part { app, files, .. } in apps {
        let (site, source) = (names.site(app), binaries.join(&app.binary));
        let binary = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let required = Glibc::required(&binary).with_context(|| source.display().to_string())?;
        let mut files: Vec<File> =
            files.into_iter().map(|(path, bytes)| File { path, bytes, executable: false }).collect();
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
    if layer.is_none_or(|layer| layer == skein_render::GATEWAY) {
        write_pages(pages, out)?;
        let bytes: usize = pages.iter().map(|(_, bytes)| bytes.len()).sum();
        lines.push(format!("{} files in {PAGES}  {bytes} bytes", pages.len()));
    }
    Ok(lines)
}

fn write_pages(pages: &[(&str, &[u8])], out: &Path) -> Result<()> {
    let (folder, sums) = (out.join(PAGES), out.join(format!("{PAGES}.sha256")));
    let mut digests = String::new();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (path, bytes) in pages {
        replace(&folder.join(path), bytes)?;
        digests.push_str(&format!("{}  {PAGES}/{path}\n", digest(bytes)));
    }
    // Last: it says which files belong to the pages, and whoever died before it has written none of them for the readers.
    replace(&sums, digests.as_bytes())
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
        let graph = Graph::new(platform, Gateway::new(vec![], ""), vec![Service::new("desk")]).unwrap();
        let (out, binaries) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |service: Option<&str>, allowed| {
            let pages: &[(&str, &[u8])] = &[("index.html", b"<!doctype html>")];
            super::write(&graph, pages, out.path(), binaries.path(), service, allowed, Compression::Stored)
                .map_err(|error| format!("{error:#}"))
        };
        assert!(write(None, None).unwrap_err().contains("desk-command"));
        assert_eq!(write(Some("x"), None).unwrap_err(), "no layer \"x\" has apps; those of desk, gateway have");
        for binary in ["desk-command", "desk-query", "gateway-router"] {
            fs::copy(std::env::current_exe().unwrap(), binaries.path().join(binary)).unwrap();
        }
        let lines = write(Some("desk"), None).unwrap();
        assert_eq!(lines.len(), 2);
        let zip = fs::read(out.path().join("func-desk-query.zip")).unwrap();
        let sum = fs::read_to_string(out.path().join("func-desk-query.zip.sha256")).unwrap();
        assert_eq!(sum, format!("{}  func-desk-query.zip\n", digest(&zip)));
        let paths: Vec<String> = skein_package::read(&zip, None).unwrap().into_iter().map(|file| file.path).collect();
        assert!(!out.path().join("pages").exists(), "they are the gateway's");
        assert_eq!(write(Some("gateway"), None).unwrap().len(), 2);
        assert_eq!(fs::read(out.path().join("pages/index.html")).unwrap(), b"<!doctype html>");
        let sums = fs::read_to_string(out.path().join("pages.sha256")).unwrap();
        assert_eq!(sums, format!("{}  pages/index.html\n", digest(b"<!doctype html>")));
        let zip = fs::read(out.path().join("func-gateway-router.zip")).unwrap();
        let routers: Vec<String> = skein_package::read(&zip, None).unwrap().into_iter().map(|file| file.path).collect();
        assert!(routers.contains(&"graphql/function.json".into()), "{routers:?}");
        assert!(paths.contains(&"bin/handler".into()) && paths.contains(&"events/function.json".into()), "{paths:?}");
        let error = write(None, Some(Glibc(2, 2, 0))).unwrap_err();
        assert!(error.contains("func-desk-command") && error.contains("bin/handler needs GLIBC 2."), "{error}");
        assert!(error.contains("at most 2.2 is allowed"), "{error}");
        fs::write(binaries.path().join("desk-query"), "#!/bin/sh").unwrap();
        assert!(write(None, None).unwrap_err().contains("no 64-bit ELF file"));
    }
}

//! Writes the package of each function app to a folder.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use skein_model::{App, Graph};
use skein_render::{HANDLER, Names};

/// Writes `{out}/{site}/` for each app of the graph, each a new folder: nothing of an older package stays.
pub fn write(graph: &Graph, out: &Path, binaries: &Path) -> Result<()> {
    let names = Names::new(&graph.platform);
    for service in &graph.services {
        for app in [App::Command, App::Query].map(|app| service.app(app)) {
            let folder = out.join(names.site(app));
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
                }
                _ => (),
            }
            for (path, bytes) in skein_render::package(app) {
                let file = folder.join(path);
                make_parent(&file)?;
                fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
            }
            let (source, handler) = (binaries.join(&app.binary), folder.join(HANDLER));
            make_parent(&handler)?;
            // A copy, not a link: the next build must not change a system that runs.
            fs::copy(&source, &handler)
                .with_context(|| format!("cannot copy {} to {}", source.display(), handler.display()))?;
        }
    }
    Ok(())
}

fn make_parent(file: &Path) -> Result<()> {
    let folder = file.parent().context("a file of a package has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_model::{Gateway, Platform, Service};

    #[test]
    fn a_package_is_new_each_time() {
        let platform = Platform { system: "skein".into(), delivery_attempts: 1, event_minutes: 1 };
        let graph = Graph::new(platform, Gateway { services: vec![] }, vec![Service::new("desk")]).unwrap();
        let (out, binaries) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let missing = write(&graph, out.path(), binaries.path()).unwrap_err().to_string();
        assert!(missing.contains("desk-command"), "{missing}");
        for binary in ["desk-command", "desk-query"] {
            fs::write(binaries.path().join(binary), binary).unwrap();
        }
        let app = out.path().join("func-desk-query");
        fs::create_dir_all(app.join("stale")).unwrap();
        write(&graph, out.path(), binaries.path()).unwrap();
        assert!(!app.join("stale").exists());
        assert!(app.join("host.json").is_file() && app.join("events/function.json").is_file());
        assert_eq!(fs::read_to_string(app.join("bin/handler")).unwrap(), "desk-query");
    }
}

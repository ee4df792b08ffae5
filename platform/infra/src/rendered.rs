//! Writes what is rendered from the graph to a folder.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use skein_model::Graph;

/// Writes `{out}/arm/{layer}.json` and the like. What an older run left in a folder that is written to goes.
pub fn write(graph: &Graph, out: &Path) -> Result<()> {
    let files = match skein_render::render(graph) {
        Ok(files) => files,
        Err(errors) => {
            let told: Vec<_> = errors.iter().map(|error| format!("- {error}")).collect();
            bail!("nothing was rendered; {} to mend:\n{}", told.len(), told.join("\n"));
        }
    };
    let paths: BTreeSet<PathBuf> = files.iter().map(|(path, _)| out.join(path)).collect();
    let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    for folder in folders {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if folder == out {
            continue; // Whatever else is kept there is somebody else's.
        }
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if entry.is_file() && !paths.contains(&entry) {
                match fs::remove_file(&entry) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error).with_context(|| format!("cannot remove {}", entry.display()));
                    }
                    _ => (),
                }
            }
        }
    }
    for (path, text) in &files {
        let file = out.join(path);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    eprintln!("{} files in {}", files.len(), out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    /// How long this thread has run. Others are at work on the machine, and what they take is not ours.
    fn worked() -> Duration {
        let told = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
        Duration::from_nanos(
            told.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds come first"),
        )
    }

    /// Every file below a folder, by its path from there.
    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut files, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
        files
    }

    #[test]
    fn the_real_system_renders_at_once_and_validly() {
        let graph = crate::graph().unwrap();
        let out = tempfile::tempdir().unwrap();
        let stale = out.path().join("arm/gone.json");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(&stale, "{}").unwrap();
        // The fastest of three: what else the machine does makes the same work take longer.
        let took = [(); 3].map(|()| {
            let started = worked();
            write(&graph, out.path()).unwrap();
            worked() - started
        });
        println!("rendered in {took:?}");
        let took = took.into_iter().min().unwrap_or_default();
        assert!(took < Duration::from_millis(100), "rendering takes {took:?}");
        for layer in ["platform", "gateway", "orders", "inventory"] {
            assert!(out.path().join(format!("bicep/{layer}.bicep")).is_file(), "{layer} as Bicep");
        }
        assert!(!stale.exists());
        let mut templates: Vec<_> = ["platform", "gateway", "orders", "inventory"]
            .map(|layer| out.path().join(format!("arm/{layer}.json")))
            .to_vec();
        templates.sort();
        // Of a graph made anew, to another folder: the same files, with the same bytes.
        let again = tempfile::tempdir().unwrap();
        write(&crate::graph().unwrap(), again.path()).unwrap();
        let (first, second) = (files(out.path()), files(again.path()));
        assert!(first.len() > 20, "templates, Bicep, policies and the diagram are {} files", first.len());
        for (path, bytes) in &first {
            assert!(second.get(path) == Some(bytes), "{} is not the same twice", path.display());
        }
        assert_eq!(first.len(), second.len());

        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let shared = std::env::var_os("SKEIN_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
        let shared = if shared.is_relative() { root.join(shared) } else { shared };
        let validator = shared.join("azure/validate_template.py");
        if !validator.is_file() {
            assert!(std::env::var_os("CI").is_none(), "CI needs {}", validator.display());
            eprintln!("LEFT OUT: there is no {}; SKEIN_SHARED says where it is", validator.display());
            return;
        }
        let output = Command::new("python3").arg(validator).arg("--strict").args(&templates).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

//! Writes the pipelines of Azure DevOps, which are committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use skein_model::Graph;

/// Writes `{folder}/{pipeline}.yml`. The pipelines of services that are gone go.
pub fn write(graph: &Graph, folder: &Path) -> Result<()> {
    let files = skein_render::pipelines(graph).context("the pipelines cannot be rendered")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in &files {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let written: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let ours = path.extension().is_some_and(|extension| extension == "yml");
        if ours && !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| written.contains(name)) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn the_committed_pipelines_are_those_of_the_descriptors() {
        let rendered = skein_render::pipelines(&crate::graph().unwrap()).unwrap();
        let folder = root().join(".azure-pipelines");
        let mut committed: Vec<(String, String)> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
            .collect();
        committed.sort();
        let names = |files: &[(String, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&committed), names(&rendered), "stale: `cargo xtask render` writes them anew");
        for (committed, rendered) in committed.iter().zip(&rendered) {
            assert!(committed == rendered, "{} is stale: `cargo xtask render` writes it anew", committed.0);
        }
    }

    #[test]
    fn what_was_rendered_goes_with_its_service() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("service-gone.yml"), "").unwrap();
        fs::write(folder.path().join("README.md"), "").unwrap();
        write(&crate::graph().unwrap(), folder.path()).unwrap();
        assert!(!folder.path().join("service-gone.yml").exists());
        assert!(folder.path().join("README.md").exists());
        assert!(folder.path().join("service-orders.yml").exists());
    }

    /// Every command of a pipeline is one of ours, but for the line that shows the plan.
    #[test]
    fn the_pipelines_call_xtask_only_and_hold_no_secret() {
        for (name, text) in skein_render::pipelines(&crate::graph().unwrap()).unwrap() {
            let mut commands = 0;
            for line in text.lines().map(str::trim) {
                let command = line.strip_prefix("- bash: ").or(line.strip_prefix("inlineScript: "));
                if let Some(command) = command.filter(|command| *command != "|") {
                    let shown = command.starts_with("echo \"##vso[task.uploadsummary]");
                    assert!(command.starts_with("cargo xtask ") || shown, "{name}: {command}");
                    commands += 1;
                }
                for word in ["secret", "password", "servicePrincipalKey", "connectionString"] {
                    assert!(line.starts_with('#') || !line.contains(word), "{name}: {line}");
                }
            }
            assert!(commands > 0, "{name} does nothing");
        }
    }

    #[test]
    fn every_pipeline_is_valid() {
        let shared = std::env::var_os("SKEIN_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
        let shared = if shared.is_relative() { root().join(shared) } else { shared };
        let validator = shared.join("azure/validate_pipeline.py");
        // Debian's packages are seen by Debian's own Python, which need not be the first one.
        let knows = |python: &&str| {
            let mut python = Command::new(python);
            python.args(["-c", "import yaml, jsonschema"]).stdin(Stdio::null()).stderr(Stdio::null());
            python.status().is_ok_and(|status| status.success())
        };
        let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(knows).filter(|_| validator.is_file())
        else {
            let what = format!("{}, python3-yaml, python3-jsonschema", validator.display());
            assert!(std::env::var_os("CI").is_none(), "CI needs all of {what}");
            eprintln!("LEFT OUT: something is missing of {what}");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        write(&crate::graph().unwrap(), folder.path()).unwrap();
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let output = Command::new(python).arg(&validator).args(&files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        // It does find what is wrong.
        let spoilt = folder.path().join("main.yml");
        let text = fs::read_to_string(&spoilt).unwrap();
        fs::write(&spoilt, text.replacen("- deployment:", "- deploiment:", 1)).unwrap();
        let output = Command::new(python).arg(&validator).arg(&spoilt).output().unwrap();
        assert!(!output.status.success());
    }
}

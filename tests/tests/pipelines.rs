//! The committed pipelines' script steps, in order, as an agent of Azure Pipelines runs them, with the local control plane
//! in Azure's place. What a script calls goes through a `cargo` that takes the binaries which the tests were built with, and
//! packages those instead of building for GLIBC 2.28.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skein_tests::deployment::{Empty, Target, binary, finished};
use skein_tests::system::{SITES, root};

/// A pipeline as JSON. Python reads it: its YAML package is what the pipelines' validator uses, too.
fn pipeline(name: &str) -> Result<Value> {
    let file = root().join(".azure-pipelines").join(name);
    let mut python = Command::new("python3");
    python.args(["-c", "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"]).arg(&file);
    let read = finished(&mut python)?;
    ensure!(
        read.code == Some(0),
        "{} cannot be read (Debian: apt-get install python3-yaml): {}",
        file.display(),
        read.told
    );
    read.json()
}

/// The jobs of a stage, each after those it depends on.
fn jobs(pipeline: &Value, stage: &str) -> Result<Vec<Value>> {
    let stages = pipeline["stages"].as_array().context("a pipeline has stages")?;
    let stage =
        stages.iter().find(|one| one["stage"] == stage).with_context(|| format!("there is no stage {stage}"))?;
    let mut waiting = stage["jobs"].as_array().context("a stage has jobs")?.clone();
    let mut ordered: Vec<Value> = Vec::new();
    let name = |job: &Value| job["job"].as_str().or(job["deployment"].as_str()).unwrap_or_default().to_owned();
    while !waiting.is_empty() {
        let done: Vec<String> = ordered.iter().map(name).collect();
        let needs = |job: &Value| match &job["dependsOn"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![],
        };
        let next = waiting.iter().position(|job| needs(job).iter().all(|need| done.contains(need)));
        ordered.push(waiting.remove(next.context("jobs wait for one another")?));
    }
    Ok(ordered)
}

/// The scripts of a job's steps.
fn scripts(job: &Value) -> Vec<String> {
    let steps = job["steps"].as_array().or_else(|| job.pointer("/strategy/runOnce/deploy/steps")?.as_array());
    let script = |step: &Value| step["bash"].as_str().or(step["inputs"]["inlineScript"].as_str()).map(str::to_owned);
    steps.into_iter().flatten().filter_map(script).collect()
}

/// What an agent has: a folder for what is temporary, and the commands.
struct Agent<'t> {
    folder: &'t Path,
    target: &'t Target,
}

impl Agent<'_> {
    fn new<'t>(folder: &'t Path, target: &'t Target) -> Result<Agent<'t>> {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin)?;
        let (infra, cargo) = (binary("skein-infra")?, std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        let (binaries, packages) =
            (infra.parent().context("it stands in a folder")?.display(), target.packages.display());
        let shim = format!(
            "#!/usr/bin/env bash\nset -euo pipefail\n\
             [ \"$1\" = xtask ] || {{ echo \"a pipeline calls xtask only, not $1\" >&2; exit 90; }}\n\
             case \"$2\" in\n\
             package)\n\
             layer=--gateway; [ \"$3\" = gateway ] || layer=\"--service=$4\"\n\
             exec '{}' packages \"$layer\" --binaries '{binaries}' --out '{packages}' ;;\n\
             plan|deploy) exec '{cargo}' xtask \"${{@:2}}\" --release --packages '{packages}' ;;\n\
             *) echo \"$2 is not expected here\" >&2; exit 91 ;;\n\
             esac\n",
            infra.display()
        );
        let path = bin.join("cargo");
        fs::write(&path, shim)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Agent { folder, target })
    }

    /// Runs a script as the agent does; what it told.
    fn run(&self, script: &str) -> Result<String> {
        let script = script.replace("$(Agent.TempDirectory)", &self.folder.display().to_string());
        ensure!(!script.contains("$("), "the agent knows no such variable: {script}");
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths([self.folder.join("bin")].into_iter().chain(std::env::split_paths(&inherited)))?;
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c", &script]).current_dir(root()).env("PATH", path);
        bash.env("SKEIN_ENDPOINT", &self.target.endpoint).env("SKEIN_STATE", &self.target.state);
        let done = finished(&mut bash)?;
        ensure!(done.code == Some(0), "{script} ends with {:?}:\n{}{}", done.code, done.out, done.told);
        Ok(done.out + &done.told)
    }

    fn stage(&self, pipeline: &Value, stage: &str) -> Result<String> {
        let mut told = String::new();
        for script in jobs(pipeline, stage)?.iter().flat_map(scripts) {
            told.push_str(&self.run(&script)?);
        }
        Ok(told)
    }
}

#[test]
fn script_steps_plan_package_deploy_and_change_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let local = Empty::start(&folder.path().join("state"), &folder.path().join("packages"), None).unwrap();
    let agent = Agent::new(folder.path(), &local.target).unwrap();
    let (request, main) = (pipeline("pull-request.yml").unwrap(), pipeline("main.yml").unwrap());

    // A pull request plans, and what it would change is no failure.
    let told = agent.stage(&request, "plan").unwrap();
    let plan = fs::read_to_string(folder.path().join("plan.md")).unwrap();
    assert!(plan.contains("platform\n") && plan.contains(" to create, 0 to modify"), "{plan}");
    assert!(told.contains("##vso[task.uploadsummary]"), "{told}");

    // What is merged is packaged once, and deployed.
    agent.stage(&main, "package").unwrap();
    let told = agent.stage(&main, "dev").unwrap();
    for app in SITES {
        let ready = |line: &str| line.contains(app) && line.contains("runs its new package, and is ready");
        assert!(told.lines().any(ready), "{app} is not ready:\n{told}");
    }
    // The same run once more, and the plan of the next pull request.
    let told = agent.stage(&main, "dev").unwrap();
    assert_eq!(told.lines().filter(|line| *line == "nothing to do").count(), 4, "{told}");
    agent.stage(&request, "plan").unwrap();
    let plan = fs::read_to_string(folder.path().join("plan.md")).unwrap();
    assert_eq!(plan.lines().last(), Some("nothing to do"), "{plan}");
}

#[test]
fn every_environment_gets_what_dev_gets() {
    for name in ["main.yml", "platform.yml", "gateway.yml", "service-orders.yml", "service-inventory.yml"] {
        let pipeline = pipeline(name).unwrap();
        let of = |stage: &str| -> Vec<String> {
            let scripts: Vec<String> = jobs(&pipeline, stage).unwrap().iter().flat_map(scripts).collect();
            assert!(!scripts.is_empty(), "{name}: {stage} does nothing");
            scripts.iter().map(|script| script.replace(&format!("--env {stage}"), "--env ENV")).collect()
        };
        assert_eq!(of("staging"), of("dev"), "{name}");
        assert_eq!(of("prod"), of("dev"), "{name}");
    }
}

//! The rules of the architecture: who may know whom, and what every crate keeps to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skein_tests::system::root;

/// A crate of the workspace.
struct Member {
    name: String,
    folder: PathBuf,
    /// Its folder, seen from the root.
    place: String,
    /// What it depends on directly, tests and build scripts left out.
    dependencies: BTreeSet<String>,
    /// What it depends on in any way, tests and build scripts left out.
    reaches: BTreeSet<String>,
}

fn cargo(args: &[&str]) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = cargo.args(args).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes text")
}

fn members() -> Vec<Member> {
    let about = cargo(&["-vV"]);
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    // The host's crates only: those of other systems were never fetched.
    let metadata = cargo(&["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo metadata is JSON");
    let texts = |value: &Value| value.as_str().expect("a text").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();

    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (texts(&package["id"]), package)).collect();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let normal = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let dependencies = list(&node["deps"]).into_iter().filter(normal).map(|dependency| texts(&dependency["pkg"]));
        edges.insert(texts(&node["id"]), dependencies.collect());
    }
    let name = |id: &String| texts(&packages[id]["name"]);
    let member = |id: &Value| {
        let id = texts(id);
        let folder = Path::new(&texts(&packages[&id]["manifest_path"])).parent().expect("a folder").to_owned();
        let place = folder.strip_prefix(root().canonicalize().unwrap()).expect("below the root").display().to_string();
        let (mut reaches, mut open) = (BTreeSet::new(), edges[&id].clone());
        while let Some(id) = open.pop() {
            if reaches.insert(name(&id)) {
                open.extend(edges[&id].iter().cloned());
            }
        }
        Member { name: name(&id), folder, place, dependencies: edges[&id].iter().map(name).collect(), reaches }
    };
    list(&metadata["workspace_members"]).iter().map(member).collect()
}

/// The crates of the project among them.
fn ours(names: &BTreeSet<String>, members: &[Member]) -> BTreeSet<String> {
    names.iter().filter(|name| members.iter().any(|member| member.name == **name)).cloned().collect()
}

fn violations(check: impl Fn(&Member, &[Member]) -> Vec<String>) {
    let members = members();
    let found: Vec<_> = members
        .iter()
        .flat_map(|member| check(member, &members).into_iter().map(|what| format!("{}: {what}", member.name)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What does input or output, or belongs to a runtime.
const IMPURE: [&str; 9] =
    ["tokio", "hyper", "hyper-util", "axum", "reqwest", "azure_core", "azure_identity", "rusqlite", "testcontainers"];

/// What only an adapter may know.
const ADAPTED: [&str; 3] = ["azure_core", "azure_identity", "rusqlite"];

#[test]
fn each_crate_knows_only_whom_it_may() {
    violations(|member, members| {
        let known = ours(&member.dependencies, members);
        let reached = ours(&member.reaches, members);
        let service = member.place.strip_prefix("services/").and_then(|rest| rest.split_once('/'));
        let mut found = Vec::new();
        let mut forbid = |names: &BTreeSet<String>, allowed: &dyn Fn(&str) -> bool, rule: &str| {
            let wrong = names.iter().filter(|name| !allowed(name));
            found.extend(wrong.map(|name| format!("depends on {name}, but {rule}")));
        };
        match (member.place.as_str(), service) {
            (_, Some((_, "contract"))) => {
                forbid(&known, &|name| name == "skein-core", "a contract knows skein-core only");
            }
            (_, Some((_, "domain"))) => {
                forbid(
                    &known,
                    &|name| name == "skein-core" || name.ends_with("-contract"),
                    "a domain knows skein-core and contracts only",
                );
            }
            (_, Some((own, "functions"))) => forbid(
                &known,
                &|name| {
                    name == "skein"
                        || name.starts_with("skein-azure")
                        || name.ends_with("-contract")
                        || name == format!("{own}-domain")
                },
                "a function app is made of the SDK, the adapter, its own domain and contracts",
            ),
            (_, Some((own, "infra"))) => forbid(
                &known,
                &|name| name == "skein-model" || name.ends_with("-contract") || name == format!("{own}-domain"),
                "a descriptor is made of the model, its own domain's types and contracts",
            ),
            (place, _) if place == "platform/sdk" || place.starts_with("platform/sdk/") => {
                let allowed = ["skein-core", "skein-host", "skein-graphql", "skein-kind", "skein-testing"];
                forbid(&known, &|name| allowed.contains(&name), "the SDK knows no adapter, service or tool");
            }
            ("platform/adapters/azure/app", _) => {
                forbid(&known, &|name| ["skein", "skein-azure"].contains(&name), "the main of an app knows no service");
            }
            (place, _) if place.starts_with("platform/adapters/") => {
                forbid(&known, &|name| name == "skein-core", "an adapter knows skein-core only");
            }
            ("platform/local", _) => {
                let allowed = [
                    "skein-arm",
                    "skein-azure",
                    "skein-core",
                    "skein-embedded",
                    "skein-gateway",
                    "skein-kind",
                    "skein-package",
                    "skein-policies",
                ];
                forbid(&reached, &|name| allowed.contains(&name), "the local Azure links no service");
            }
            ("platform/ops", _) => {
                let allowed = ["skein-core", "skein-azure"];
                forbid(&reached, &|name| allowed.contains(&name), "the operators' tool links no service");
            }
            ("platform/sim", _) => {
                let allowed = ["skein-core", "skein-testing", "skein-azure", "skein-embedded"];
                forbid(&known, &|name| allowed.contains(&name), "the simulator knows the engine and both adapters");
            }
            ("platform/deploy", _) => {
                let allowed = ["skein-core", "skein-azure"];
                forbid(&reached, &|name| allowed.contains(&name), "deploying links no service");
            }
            ("platform/arm", _) => {
                forbid(&known, &|_| false, "the evaluator reads templates independently of all that writes them")
            }
            ("platform/package", _) => forbid(&known, &|_| false, "a package is files, whatever they are of"),
            ("platform/hostile", _) => forbid(
                &known,
                &|name| name.starts_with("skein-") && !["skein-azure-app", "skein-infra"].contains(&name),
                "it feeds the readers, and knows no service",
            ),
            ("platform/model", _) => forbid(&known, &|name| name == "skein-core", "the model knows skein-core only"),
            ("platform/render", _) => forbid(
                &known,
                &|name| ["skein-model", "skein-policies"].contains(&name),
                "rendering knows the model and the policies only",
            ),
            ("gateway/runtime", _) => forbid(
                &known,
                &|name| ["skein-kind", "skein-policies"].contains(&name),
                "policies are executed without the rest",
            ),
            ("gateway/graph", _) => {
                forbid(&known, &|name| name == "skein-kind", "schemas and documents are text, whosever they are")
            }
            ("gateway/router", _) => forbid(
                &known,
                &|name| ["skein-azure", "skein-graph", "skein-host", "skein-kind"].contains(&name),
                "the router knows the graph, the host and the adapter, and services by their schemas only",
            ),
            ("gateway/policies", _) => forbid(&known, &|_| false, "policies are values by themselves"),
            ("xtask", _) => {
                forbid(
                    &known,
                    &|name| ["skein-model", "skein-render"].contains(&name),
                    "xtask knows the model and rendering at most",
                );
            }
            ("platform/load" | "tests", _) => {
                forbid(&known, &|_| false, "it looks at the system from outside");
            }
            ("platform/infra" | "gateway/infra", _) => {
                forbid(
                    &known,
                    &|name| name.ends_with("-infra") || name.starts_with("skein-"),
                    "descriptors are made of the model",
                );
            }
            (place, _) => found.push(format!("{place} has no rule yet; add one")),
        }
        found
    });
}

#[test]
fn what_is_pure_reaches_no_runtime_and_the_sdk_no_azure() {
    violations(|member, _| {
        let sdk = member.place.starts_with("platform/sdk");
        let pure = member.place.starts_with("services/") && !member.place.ends_with("/functions")
            || [
                "platform/sdk/core",
                "platform/arm",
                "platform/model",
                "platform/render",
                "gateway/graph",
                "gateway/infra",
                "gateway/policies",
                "platform/sdk/kind",
                "xtask",
            ]
            .contains(&member.place.as_str());
        let forbidden: &[&str] = if pure {
            &IMPURE
        } else if sdk {
            &ADAPTED
        } else {
            &[]
        };
        let reached = forbidden.iter().filter(|name| member.reaches.contains(**name));
        reached.map(|name| format!("reaches {name}, which belongs to an adapter or to a binary")).collect()
    });
}

#[test]
fn every_crate_forbids_unsafe_code_and_states_no_version() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lints = manifest.split("[workspace.lints.rust]").nth(1).expect("the workspace has lints");
    assert!(lints.split("\n[").next().unwrap().contains("unsafe_code = \"forbid\""));
    violations(|member, _| {
        let manifest = fs::read_to_string(member.folder.join("Cargo.toml")).unwrap();
        let mut found = Vec::new();
        if !manifest.contains("[lints]\nworkspace = true") {
            found.push("does not take the workspace's lints".to_owned());
        }
        let mut dependencies = false;
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                dependencies = line.contains("dependencies");
            } else if dependencies && line.contains('=') && !line.contains("workspace = true") {
                found.push(format!("states {line:?} itself"));
            }
        }
        found
    });
}

#[test]
fn every_module_says_what_it_is() {
    violations(|member, _| {
        let mut found = Vec::new();
        for file in rust_files(&member.folder) {
            let text = fs::read_to_string(&file).unwrap();
            let place = file.strip_prefix(&member.folder).unwrap().display().to_string();
            if !text.starts_with("//!") {
                found.push(format!("{place} does not open with //!"));
            }
            let vague = ["common", "utils", "util", "helpers", "helper", "misc"];
            let named = Path::new(&place).components().any(|part| {
                let part = part.as_os_str().to_string_lossy();
                vague.contains(&part.trim_end_matches(".rs"))
            });
            if named {
                found.push(format!("{place} has a name that says nothing"));
            }
        }
        found
    });
}

#[test]
fn the_code_map_names_every_crate() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    violations(|member, _| {
        let place = match member.place.strip_prefix("services/").and_then(|rest| rest.split_once('/')) {
            Some((_, part)) => format!("services/<name>/{part}"),
            None => member.place.clone(),
        };
        let named = map.contains(&format!("`{place}`"));
        if named { Vec::new() } else { vec![format!("`{place}` is missing in ARCHITECTURE.md")] }
    });
}

#[test]
fn one_version_of_azurite_is_tested_and_installed() {
    let version = |file: &str, start: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(start)).expect("the version is stated");
        line.trim_matches(|letter| "\";".contains(letter)).to_owned()
    };
    let installed = version("xtask/src/test.rs", "const AZURITE: &str = ");
    assert_eq!(installed, version("platform/sdk/testing/src/azurite.rs", "pub const VERSION: &str = "));
}

/// The Rust files below a crate's `src`, `tests`, `examples` and `benches`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open: Vec<_> = ["src", "tests", "examples", "benches"].map(|name| folder.join(name)).into();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            match path.extension() {
                _ if path.is_dir() => open.push(path),
                Some(extension) if extension == "rs" => files.push(path),
                _ => (),
            }
        }
    }
    files
}

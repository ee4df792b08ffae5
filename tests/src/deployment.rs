//! The deploying client as a developer and a pipeline run it: `cargo xtask deploy` and its kin, on a local control plane.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::system::{RELEASE, root, xtask};

/// A local control plane, and what is deployed to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it answers.
    pub endpoint: String,
    /// Its state folder.
    pub state: PathBuf,
    /// The rendered templates; what `cargo xtask` renders, where there are none.
    pub rendered: Option<PathBuf>,
    /// The packages of the function apps.
    pub packages: PathBuf,
}

/// A control plane to which nothing was deployed yet. Dropped, it is killed with all that it hosts.
pub struct Empty {
    child: Child,
    /// Kept open: it says more, later.
    _lines: BufReader<ChildStdout>,
    /// Where it is.
    pub target: Target,
}

impl Empty {
    /// Starts the local Azure on an empty state folder.
    pub fn start(state: &Path, packages: &Path, rendered: Option<PathBuf>) -> Result<Self> {
        let mut local = Command::new(binary("skein-local")?);
        local.arg("serve").arg("--state").arg(state).args(["--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = local.spawn().context("skein-local cannot be started")?;
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().context("it has a stdout")?);
        lines.read_line(&mut line)?;
        let endpoint = line.trim().strip_prefix("planes ").with_context(|| format!("it printed {line:?}"))?.to_owned();
        let target = Target { endpoint, state: state.to_owned(), rendered, packages: packages.to_owned() };
        Ok(Empty { child, _lines: lines, target })
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a client ended, and what it printed.
#[derive(Debug)]
pub struct Done {
    /// The exit code.
    pub code: Option<i32>,
    /// What stands on stdout.
    pub out: String,
    /// What stands on stderr.
    pub told: String,
}

impl Done {
    /// The results, of a command with `--output json`.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {:?}\n{}", self.out, self.told))
    }
}

impl Target {
    /// What `cargo xtask up` deployed to a running system.
    pub fn of(state: &Path) -> Result<Self> {
        let file = state.join("planes-port");
        let port = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Target {
            endpoint: format!("http://127.0.0.1:{}", port.trim()),
            state: state.to_owned(),
            rendered: None,
            packages: state.join("built"),
        })
    }

    /// `cargo xtask` with a command of the client, and everything that says where.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask();
        command.args(&args[..1]).arg(RELEASE).args(&args[1..]);
        command.args(["--env", "local", "--endpoint", &self.endpoint]).arg("--state").arg(&self.state);
        command.arg("--packages").arg(&self.packages);
        if let Some(rendered) = &self.rendered {
            command.arg("--rendered").arg(rendered);
        }
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Result<Done> {
        finished(&mut self.command(args))
    }

    /// Copies what was rendered, so that a test may change it.
    pub fn with_rendered(&self, from: &Path, to: &Path, change: impl Fn(&str, &mut Value)) -> Result<Self> {
        fs::create_dir_all(to.join("arm"))?;
        for entry in fs::read_dir(from.join("arm")).context("nothing was rendered")? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).context("a layer has a name")?.to_owned();
            let mut template = serde_json::from_str(&fs::read_to_string(&path)?)?;
            change(&name, &mut template);
            fs::write(to.join("arm").join(format!("{name}.json")), format!("{template:#}\n"))?;
        }
        Ok(Target { rendered: Some(to.to_owned()), ..self.clone() })
    }
}

/// The operator's token for a plane, as a tool gets it from the local Azure.
pub fn operator_token(state: &Path, resource: &str) -> Result<String> {
    let mut token = Command::new(binary("skein-local")?);
    token.arg("token").arg("--state").arg(state).args(["--resource", resource]);
    let token = finished(&mut token)?.json()?;
    Ok(token["accessToken"].as_str().context("there is no token in it")?.to_owned())
}

/// Runs a command to its end.
pub fn finished(command: &mut Command) -> Result<Done> {
    let output = command.stdin(Stdio::null()).output().context("cannot start it")?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("it printed what is no text");
    Ok(Done { code: output.status.code(), out: text(output.stdout)?, told: text(output.stderr)? })
}

/// Cargo's target folder.
pub fn target() -> Result<PathBuf> {
    // {target}/{profile}/deps/this
    let own = std::env::current_exe().context("cannot tell where the tests stand")?;
    let target = own.ancestors().nth(3).context("the tests do not stand in Cargo's target folder")?;
    Ok(target.to_owned())
}

/// A binary that the system tests' build has left.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = target()?.join("release").join(name);
    ensure!(path.is_file(), "{} is not built: `cargo xtask test` does it", path.display());
    Ok(path)
}

/// Renders every layer.
pub fn render(to: &Path) -> Result<()> {
    written(Command::new(binary("skein-infra")?).arg("render").arg("--out").arg(to))
}

/// Writes the packages of the apps, with the binaries that the system tests' build has left.
pub fn package(to: &Path, more: &[&str]) -> Result<()> {
    let infra = binary("skein-infra")?;
    let binaries = infra.parent().context("it stands in a folder")?;
    written(Command::new(&infra).arg("packages").args(more).arg("--out").arg(to).arg("--binaries").arg(binaries))
}

fn written(command: &mut Command) -> Result<()> {
    let done = finished(command)?;
    ensure!(done.code == Some(0), "{command:?} ends with {:?}: {}", done.code, done.told);
    Ok(())
}

/// The environments that are committed.
pub fn environments() -> PathBuf {
    root().join("platform/deploy/environments")
}

//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use skein_package::Glibc;

/// What `--help` prints.
pub const HELP: &str = "\
skein-infra graph                              the graph of all descriptors as JSON
skein-infra render --out DIR [--pipelines DIR]  the templates of every layer, the policies and the diagram; the pipelines
skein-infra packages --out DIR --binaries DIR  the package of each function app, DIR/{site}.zip, with its binary
    --service NAME | --gateway                 of one service only, or of the gateway
    --glibc VERSION                            refuse a binary that needs a newer one
    --stored                                   do not compress";

/// What is asked for.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// The help.
    Help,
    /// The graph.
    Graph,
    /// The templates, the policies and the diagram.
    Render {
        /// Where they are written.
        out: PathBuf,
        /// Where the pipelines are written.
        pipelines: Option<PathBuf>,
    },
    /// The packages.
    Packages {
        /// Where they are written.
        out: PathBuf,
        /// Where Cargo left the binaries.
        binaries: PathBuf,
        /// The one layer, if not all.
        layer: Option<String>,
        /// The newest GLIBC that a binary may need, if there is a limit.
        glibc: Option<Glibc>,
        /// Whether they are left uncompressed.
        stored: bool,
    },
}

/// Reads the command line.
pub fn parse(mut args: lexopt::Parser) -> Result<Task> {
    let (mut command, mut out, mut binaries, mut pipelines) = (None, None, None, None);
    let (mut layer, mut glibc, mut stored) = (None, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Task::Help),
            Long("out") => out = Some(PathBuf::from(args.value()?)),
            Long("pipelines") => pipelines = Some(PathBuf::from(args.value()?)),
            Long("binaries") => binaries = Some(PathBuf::from(args.value()?)),
            Long("service") => layer = Some(args.value()?.string()?),
            Long("gateway") => layer = Some(skein_render::GATEWAY.to_owned()),
            Long("glibc") => glibc = Some(args.value()?.parse()?),
            Long("stored") => stored = true,
            Value(value) if command.is_none() => command = Some(value.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    match command.as_deref() {
        None => Ok(Task::Help),
        Some("graph") => Ok(Task::Graph),
        Some("render") => Ok(Task::Render { out: out.context("render needs --out DIR")?, pipelines }),
        Some("packages") => Ok(Task::Packages {
            out: out.context("packages needs --out DIR")?,
            binaries: binaries.context("packages needs --binaries DIR")?,
            layer,
            glibc,
            stored,
        }),
        Some(other) => bail!("there is no command {other:?}; see --help"),
    }
}

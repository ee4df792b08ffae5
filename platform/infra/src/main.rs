//! `skein-infra`: the one binary that links every descriptor, and writes what is made of them.

#[cfg(test)]
mod environments;
#[cfg(test)]
mod evaluated;
mod flags;
mod packages;
mod pipelines;
mod platform;
#[cfg(test)]
mod removals;
mod rendered;

use std::io::Write;

use anyhow::{Context, Result};
use skein_model::Graph;
use skein_package::Compression;

use crate::flags::Task;

fn main() -> Result<()> {
    match flags::parse(lexopt::Parser::from_env())? {
        Task::Help => print(flags::HELP),
        Task::Graph => print(&serde_json::to_string_pretty(&graph()?)?),
        Task::Render { out, pipelines } => {
            let graph = graph()?;
            rendered::write(&graph, &out)?;
            pipelines.map_or(Ok(()), |folder| pipelines::write(&graph, &folder))
        }
        Task::Packages { out, binaries, layer, glibc, stored } => {
            let compression = if stored { Compression::Stored } else { Compression::Deflated };
            let (graph, pages) = (graph()?, gateway_infra::PAGES);
            for written in packages::write(&graph, pages, &out, &binaries, layer.as_deref(), glibc, compression)? {
                print(&written)?;
            }
            Ok(())
        }
    }
}

/// Every layer. A new service is one more line here.
fn graph() -> Result<Graph> {
    let services = vec![orders_infra::service(), inventory_infra::service()];
    Graph::new(platform::platform(), gateway_infra::gateway(&services), services)
        .context("the descriptors do not fit together")
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_fit_together() {
        let graph = graph().unwrap();
        assert_eq!(graph.gateway.services, ["orders", "inventory"]);
    }
}

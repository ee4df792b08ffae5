//! Descriptors and the graph that they make. Pure: data in, data out; what is wrong is told by name.
//!
//! Each layer describes itself as a Rust value: a [`Service`] in its `infra` crate, the [`Platform`] and the
//! [`Gateway`] in theirs. `skein-infra` links them all into one [`Graph`]; everything that deploys or runs the system
//! reads the graph and nothing else.
//!
//! What a descriptor becomes in Azure is a template: [`arm`] is its tree, [`azure`] the types of resources in it.

pub mod arm;
pub mod azure;
mod graph;
#[cfg(test)]
mod samples;
mod service;

pub use graph::{Gateway, Graph, GraphError, Platform};
pub use service::{App, Bus, Connection, Function, FunctionApp, Handled, Limits, Published, Service, Trigger};

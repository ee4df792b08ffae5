//! Azure in one process, on loopback: the planes that Skein's function apps speak to, the host that runs them, and
//! the gateway before them.

pub mod access;
pub mod blobs;
pub mod broker;
pub mod control;
pub mod gateway;
mod hosting;
pub mod identity;
pub mod loopback;
pub mod outbound;
pub mod publish;
pub mod resources;
pub mod serve;
pub mod signalr;
pub mod sites;
pub mod tables;
pub mod topic;
pub mod trace;
pub mod vault;

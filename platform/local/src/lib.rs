//! Azure in one process, on loopback: the planes that Skein's function apps speak to, the host that runs them, and
//! the gateway before them.

pub mod broker;
pub mod identity;
pub mod tables;
pub mod topic;

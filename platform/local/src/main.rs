//! Azure in one process, on loopback.

mod broker;
mod identity;
mod tables;
mod topic;

fn main() {}

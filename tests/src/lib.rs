//! What the system tests stand on: totals that are computed from a file without any of the project's code, and the
//! system itself, run as a developer runs it. The tests are in `tests/`.

pub mod deployment;
pub mod planes;
pub mod system;
pub mod totals;

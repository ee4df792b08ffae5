//! Given/when/then, golden files and schemas of what is stored and published, conformance suites of the ports, and the
//! simulator.

#[cfg(feature = "azurite")]
pub mod azurite;
pub mod conformance;
pub mod doubles;
#[cfg(feature = "functions-host")]
pub mod functions_host;
pub mod golden;
pub mod scenario;
pub mod schemas;
pub mod simulator;

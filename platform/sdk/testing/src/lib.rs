//! Given/when/then, golden files and schemas of what is stored and published, conformance suites of the ports, and the
//! simulator.

#[cfg(feature = "azurite")]
pub mod azurite;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod doubles;
#[cfg(feature = "functions-host")]
pub mod functions_host;
pub mod golden;
pub mod scenario;
pub mod schemas;
#[cfg(feature = "simulator")]
pub mod simulator;

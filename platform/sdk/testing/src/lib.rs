//! Given/when/then, conformance suites of the ports, and the simulator.

#[cfg(feature = "azurite")]
pub mod azurite;
pub mod conformance;
pub mod doubles;
#[cfg(feature = "functions-host")]
pub mod functions_host;
pub mod scenario;
pub mod simulator;

//! Given/when/then and conformance suites of the ports.

#[cfg(feature = "azurite")]
pub mod azurite;
pub mod conformance;
pub mod doubles;
#[cfg(feature = "functions-host")]
pub mod functions_host;
pub mod scenario;

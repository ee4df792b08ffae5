//! Given/when/then and conformance suites of the ports.

#[cfg(feature = "azurite")]
pub mod azurite;
pub mod conformance;
pub mod doubles;
pub mod scenario;

//! Given/when/then and conformance suites of the ports.

pub mod conformance;
pub mod doubles;

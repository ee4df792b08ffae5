//! The orders service's function apps.
// NOTE for E: schema.rs is complete (lead wrote it, on your skein-graphql). Yours: the apps (wiring) and the binaries.

pub mod schema;

//! Suites that every adapter of a port has to pass.
//!
//! A suite is a module of named cases and a macro that makes a test of each:
//!
//! ```ignore
//! async fn fixture() -> TableStoreFixture { … }
//! skein_testing::table_store_conformance!(fixture);
//! ```

pub mod blob_store;
pub mod engine;
mod personal;
pub mod table_store;

pub use engine::EngineFixture;
pub use table_store::TableStoreFixture;

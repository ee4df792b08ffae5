//! The embedded store in the simulator: SQLite in memory keeps the world's rows.

use std::sync::Arc;

use skein_core::ports::TableStore;
use skein_embedded::EmbeddedStore;
use skein_testing::simulator::{Adapters, Model, Stack, TABLES, Wire};

/// The embedded store; queue and topic are the model's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedded;

impl Stack for Embedded {
    fn adapters(&self, wire: &Wire) -> Adapters {
        // It has no connection that could break: the model's client brings the accidents between it and the engine.
        Model.adapters(wire)
    }

    /// # Panics
    /// When SQLite does not open a store in memory.
    fn rows(&self) -> Option<Arc<dyn TableStore>> {
        Some(Arc::new(EmbeddedStore::memory(&TABLES).expect("a store in memory")))
    }
}

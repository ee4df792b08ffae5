//! The embedded store in the simulator: SQLite in memory keeps the world's rows.

use std::cell::RefCell;
use std::sync::Arc;

use skein_core::ports::TableStore;
use skein_embedded::EmbeddedStore;
use skein_testing::simulator::{Adapters, Model, Stack, TABLES, Wire};

/// The embedded store; queue and topic are the model's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Embedded;

thread_local! {
    /// The store of this thread's last run, to be emptied for its next one: making a store and preparing its statements
    /// would take a sixth of a run.
    static KEPT: RefCell<Option<Arc<EmbeddedStore>>> = const { RefCell::new(None) };
}

impl Stack for Embedded {
    fn adapters(&self, wire: &Wire) -> Adapters {
        // It has no connection that could break: the model's client brings the accidents between it and the engine.
        Model.adapters(wire)
    }

    /// # Panics
    /// When SQLite does not open a store in memory.
    fn rows(&self) -> Option<Arc<dyn TableStore>> {
        // One that another run still holds is not taken.
        let kept = KEPT.take().filter(|kept| Arc::strong_count(kept) == 1);
        let store = kept.unwrap_or_else(|| Arc::new(EmbeddedStore::memory(&TABLES).expect("a store in memory")));
        store.clear().expect("a store in memory is emptied");
        KEPT.set(Some(store.clone()));
        Some(store)
    }
}

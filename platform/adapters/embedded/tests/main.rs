//! The embedded store passes the conformance suite, in memory and in a file, and keeps what it promises besides.

mod memory {
    use std::sync::Arc;

    use skein_embedded::EmbeddedStore;
    use skein_testing::conformance::TableStoreFixture;

    async fn fixture() -> TableStoreFixture {
        let store = EmbeddedStore::memory(&["rows"]).expect("the store opens");
        TableStoreFixture { store: Arc::new(store), table: "rows".to_owned(), keep: Box::new(()) }
    }

    skein_testing::table_store_conformance!(fixture);
}

mod file {
    use std::sync::Arc;

    use skein_embedded::EmbeddedStore;
    use skein_testing::conformance::TableStoreFixture;

    async fn fixture() -> TableStoreFixture {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = EmbeddedStore::open(folder.path().join("tables.db"), &["rows"]).expect("the store opens");
        TableStoreFixture { store: Arc::new(store), table: "rows".to_owned(), keep: Box::new(folder) }
    }

    skein_testing::table_store_conformance!(fixture);
}

mod engine {
    use std::sync::Arc;

    use skein_embedded::EmbeddedStore;
    use skein_testing::conformance::{EngineFixture, engine::TABLES};

    async fn fixture() -> EngineFixture {
        let store = EmbeddedStore::memory(&TABLES).expect("the store opens");
        EngineFixture { store: Arc::new(store), keep: Box::new(()) }
    }

    skein_testing::engine_conformance!(fixture);

    /// On every store the engine's suite tries some; here it is fast enough for all.
    #[tokio::test]
    async fn a_rebuild_survives_a_crash_at_every_call() {
        let crashes = skein_testing::conformance::engine::crash_at_every_call(fixture().await.store).await;
        println!("{crashes} crashes");
        assert!(crashes > 200, "{crashes}");
    }
}

mod sharing;

//! Continuation tokens: of the table stores, and the cursors of GraphQL connections.

use std::sync::LazyLock;

use skein_core::ports::TableStore;
use skein_core::table::{Continuation, Operation, Range, Row};
use skein_embedded::EmbeddedStore;
use skein_graphql::Page;

use crate::draw::Draw;
use crate::{bounded, run, tables};

static STORE: LazyLock<EmbeddedStore> = LazyLock::new(|| {
    let store = EmbeddedStore::memory(&["views"]).expect("SQLite opens");
    for partition in ["a", "b"] {
        let rows = ["C~0", "D~1", "D~2", "D~3", "E"].map(|key| Operation::Insert(Row::new(key)));
        run(store.transact("views", partition, &rows)).expect("rows are written");
    }
    store
});

/// A token of anybody's making gives rows of the range that was asked for, or a typed error. A cursor that is taken is
/// bounded.
pub fn continuation(data: &[u8]) {
    let mut draw = Draw::new(data);
    let first = draw.number();
    let token = String::from_utf8_lossy(draw.rest()).into_owned();
    tables::continue_from(&token);

    let range = Range { partition: "a".into(), from: "D~".into(), to: Some("E".into()), top: 2 };
    match run(STORE.query("views", &range, Some(&Continuation(token.clone())))) {
        Ok(page) => {
            let keys: Vec<&str> = page.rows.iter().map(|row| row.key.as_str()).collect();
            assert!(keys.iter().all(|key| ("D~".."E").contains(key)), "rows outside the range: {keys:?}");
            assert!(keys.len() <= 2 && keys.is_sorted(), "{keys:?}");
        }
        Err(error) => bounded(&error),
    }

    match Page::of(i32::try_from(first).ok(), Some(&token)) {
        Ok(page) => {
            assert!((1..=skein_graphql::MAX_PAGE).contains(&page.first));
            assert!(page.after.is_some(), "a cursor was dropped: the list would begin again");
        }
        Err(error) => {
            assert_eq!(error.code().as_str(), "BAD_USER_INPUT");
            bounded(&error);
        }
    }
}

//! What a [`TableStore`] has to do, case by case.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt as _;
use skein_core::encode_key;
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{
    Etag, MAX_OPERATIONS, MAX_ROW_BYTES, MAX_STRING_UNITS, Operation, Page, Properties, Range, Row, StoredRow, Sweep,
    Value,
};

/// A store to be tested, with a table that exists and is empty.
pub struct TableStoreFixture {
    /// The store.
    pub store: Arc<dyn TableStore>,
    /// The table.
    pub table: String,
    /// What has to live as long as the test, as a folder or a process.
    pub keep: Box<dyn Any + Send>,
}

/// Gives the names of all cases to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! table_store_cases {
    ($callback:ident $(, $argument:path)?) => {
        $crate::$callback! {
            $($argument,)?
            insert_is_read_back, put_writes_over, replace_drops_other_properties, merge_keeps_other_properties,
            delete_removes, a_stale_tag_loses, insert_over_existing_is_a_conflict,
            update_of_a_missing_row_is_a_conflict, a_row_is_required_and_left_as_it_is, one_failure_undoes_the_whole_transaction,
            a_tag_is_never_used_again, returned_tags_are_the_stored_ones, point_reads_miss,
            ranges_are_ordered_and_bounded, ranges_continue_over_pages, ranges_may_be_empty, partitions_are_isolated,
            sweeps_are_ordered_and_bounded, sweeps_continue_over_pages, bad_sweeps_are_refused,
            values_round_trip, texts_round_trip, the_longest_text_round_trips, keys_round_trip,
            keys_that_differ_in_case_stay_two, a_hundred_operations_are_one_transaction,
            too_many_operations_are_refused, duplicate_keys_are_refused, oversized_values_are_refused,
            malformed_keys_and_names_are_refused, a_missing_table_is_refused, one_of_many_writers_wins,
            one_of_many_inserts_wins, random_operations_agree_with_a_model
        }
    };
}

/// Makes a test of every case. The argument is an `async fn() -> TableStoreFixture`.
#[macro_export]
macro_rules! table_store_conformance {
    ($fixture:path) => {
        $crate::table_store_cases! { table_store_tests, $fixture }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! table_store_tests {
    ($fixture:path, $($case:ident),+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let fixture = $fixture().await;
                $crate::conformance::table_store::$case(fixture.store.as_ref(), &fixture.table).await;
            }
        )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! table_store_list {
    ($($case:ident),+) => {
        vec![$((stringify!($case), |store, table| Box::pin($case(store, table)))),+]
    };
}

/// A case, to be run on a store and an empty table.
pub type Case = for<'a> fn(&'a dyn TableStore, &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// All cases with their names.
pub fn cases() -> Vec<(&'static str, Case)> {
    crate::table_store_cases! { table_store_list }
}

/// Runs all cases one after the other: for a store that takes long to start. Panics at the end with the names of
/// those that failed.
pub async fn run_all(fixture: impl AsyncFn(&str) -> TableStoreFixture) {
    let mut failed = Vec::new();
    for (name, case) in cases() {
        let fixture = fixture(name).await;
        let run = AssertUnwindSafe(case(fixture.store.as_ref(), &fixture.table)).catch_unwind();
        let passed = run.await.is_ok();
        println!("case {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), cases().len());
}

fn row(key: &str) -> Row {
    Row::new(key)
}

fn whole(partition: &str) -> Range {
    Range { partition: partition.to_owned(), from: String::new(), to: None, top: 1000 }
}

async fn write(store: &dyn TableStore, table: &str, partition: &str, operation: Operation) -> Option<Etag> {
    let mut etags = store.transact(table, partition, &[operation]).await.expect("the write is accepted");
    assert_eq!(etags.len(), 1);
    etags.remove(0)
}

async fn insert(store: &dyn TableStore, table: &str, partition: &str, row: Row) -> Etag {
    write(store, table, partition, Operation::Insert(row)).await.expect("an insert gives a tag")
}

async fn read(store: &dyn TableStore, table: &str, partition: &str, key: &str) -> Option<StoredRow> {
    store.get(table, partition, key).await.expect("the read is answered")
}

async fn properties(store: &dyn TableStore, table: &str, partition: &str, key: &str) -> Properties {
    read(store, table, partition, key).await.expect("the row exists").properties
}

/// All rows of a range, and the pages it took.
async fn all(store: &dyn TableStore, table: &str, range: &Range) -> (Vec<StoredRow>, Vec<Page>) {
    let (mut rows, mut pages, mut next) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.query(table, range, next.as_ref()).await.expect("the page is answered");
        assert!(page.rows.len() <= range.top as usize, "a page never exceeds its top");
        rows.extend(page.rows.iter().cloned());
        next.clone_from(&page.next);
        pages.push(page);
        if next.is_none() {
            return (rows, pages);
        }
        assert!(pages.len() < 10_000, "a range comes to an end");
    }
}

async fn keys(store: &dyn TableStore, table: &str, range: &Range) -> Vec<String> {
    all(store, table, range).await.0.into_iter().map(|row| row.key).collect()
}

async fn conflict(store: &dyn TableStore, table: &str, partition: &str, operations: &[Operation]) {
    match store.transact(table, partition, operations).await {
        Err(TransactError::Conflict(_)) => {}
        other => panic!("a conflict is expected, not {other:?}"),
    }
}

async fn refused(store: &dyn TableStore, table: &str, partition: &str, operations: &[Operation]) {
    match store.transact(table, partition, operations).await {
        Err(TransactError::Refused(TableError::Refused(_))) => {}
        other => panic!("a refusal is expected, not {other:?}"),
    }
}

/// An inserted row is read back with all it was given, and nothing else.
pub async fn insert_is_read_back(store: &dyn TableStore, table: &str) {
    let given = row("k").with("a", "1").with("b", 2_i64);
    insert(store, table, "p", given.clone()).await;
    let found = read(store, table, "p", "k").await.expect("the row exists");
    assert_eq!((found.key, found.properties), (given.key, given.properties));
    insert(store, table, "p", row("bare")).await;
    assert_eq!(properties(store, table, "p", "bare").await, Properties::new());
}

/// Put makes a row, and writes over one whatever its tag.
pub async fn put_writes_over(store: &dyn TableStore, table: &str) {
    let first = write(store, table, "p", Operation::Put(row("k").with("a", "1").with("b", "1"))).await;
    let second = write(store, table, "p", Operation::Put(row("k").with("a", "2"))).await;
    assert!(first.is_some() && second.is_some() && first != second);
    assert_eq!(properties(store, table, "p", "k").await, row("k").with("a", "2").properties);
}

/// Replace drops the properties it does not name.
pub async fn replace_drops_other_properties(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("k").with("a", "1").with("b", "1")).await;
    write(store, table, "p", Operation::Replace(row("k").with("b", "2"), tag)).await;
    assert_eq!(properties(store, table, "p", "k").await, row("k").with("b", "2").properties);
}

/// Merge keeps the properties it does not name, and may change a type.
pub async fn merge_keeps_other_properties(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("k").with("a", "1").with("b", "1")).await;
    let tag = write(store, table, "p", Operation::Merge(row("k").with("b", 2_i64).with("c", true), tag)).await;
    let found = read(store, table, "p", "k").await.expect("the row exists");
    assert_eq!(found.properties, row("k").with("a", "1").with("b", 2_i64).with("c", true).properties);
    assert_eq!(Some(found.etag), tag);
}

/// A deletion removes the row and gives no tag.
pub async fn delete_removes(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("k")).await;
    insert(store, table, "p", row("l")).await;
    assert_eq!(write(store, table, "p", Operation::Delete("k".into(), Some(tag))).await, None);
    assert_eq!(write(store, table, "p", Operation::Delete("l".into(), None)).await, None);
    assert_eq!(keys(store, table, &whole("p")).await, Vec::<String>::new());
}

/// A tag that is no longer the row's is a conflict, for every guarded operation.
pub async fn a_stale_tag_loses(store: &dyn TableStore, table: &str) {
    let stale = insert(store, table, "p", row("k").with("a", "1")).await;
    let tag = write(store, table, "p", Operation::Replace(row("k").with("a", "2"), stale.clone())).await;
    conflict(store, table, "p", &[Operation::Replace(row("k").with("a", "3"), stale.clone())]).await;
    conflict(store, table, "p", &[Operation::Merge(row("k").with("a", "3"), stale.clone())]).await;
    conflict(store, table, "p", &[Operation::Delete("k".into(), Some(stale))]).await;
    let found = read(store, table, "p", "k").await.expect("the row exists");
    assert_eq!((found.str("a"), Some(&found.etag)), (Some("2"), tag.as_ref()));
}

/// An insert over an existing row is a conflict and leaves it.
pub async fn insert_over_existing_is_a_conflict(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("k").with("a", "1")).await;
    conflict(store, table, "p", &[Operation::Insert(row("k").with("a", "2"))]).await;
    let found = read(store, table, "p", "k").await.expect("the row exists");
    assert_eq!((found.str("a"), found.etag.clone()), (Some("1"), tag));
}

/// Updates and deletions of a missing row are conflicts.
pub async fn update_of_a_missing_row_is_a_conflict(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("k")).await;
    conflict(store, table, "p", &[Operation::Replace(row("x"), tag.clone())]).await;
    conflict(store, table, "p", &[Operation::Merge(row("x"), tag.clone())]).await;
    conflict(store, table, "p", &[Operation::Delete("x".into(), Some(tag))]).await;
    conflict(store, table, "p", &[Operation::Delete("x".into(), None)]).await;
    assert_eq!(keys(store, table, &whole("p")).await, ["k"]);
}

/// A row that is required must exist, and keeps its properties.
pub async fn a_row_is_required_and_left_as_it_is(store: &dyn TableStore, table: &str) {
    let require = || Operation::Require("k".into());
    conflict(store, table, "p", &[require()]).await;
    conflict(store, table, "p", &[Operation::Insert(row("other")), require()]).await;
    assert_eq!(read(store, table, "p", "other").await, None, "nothing of it was written");
    let first = insert(store, table, "p", row("k").with("a", "1")).await;
    for count in 0..3_i64 {
        let operations = [Operation::Put(row("other").with("n", count)), require()];
        let tags = store.transact(table, "p", &operations).await.expect("the row exists");
        let found = read(store, table, "p", "k").await.expect("the row");
        assert_eq!((found.str("a"), found.properties.len()), (Some("1"), 1));
        assert_eq!(Some(found.etag), tags[1]);
    }
    conflict(store, table, "p", &[Operation::Merge(row("k"), first)]).await;
    write(store, table, "p", Operation::Delete("k".into(), None)).await;
    conflict(store, table, "p", &[require()]).await;
}

/// A transaction whose first, middle or last operation fails writes nothing.
pub async fn one_failure_undoes_the_whole_transaction(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("taken").with("a", "1")).await;
    let others = [
        Operation::Insert(row("new")),
        Operation::Merge(row("taken").with("a", "2"), tag.clone()),
        Operation::Put(row("put")),
    ];
    let failures = [
        Operation::Replace(row("missing"), tag.clone()),
        Operation::Delete("missing".into(), None),
        Operation::Insert(row("full")),
    ];
    insert(store, table, "p", row("full")).await;
    for failure in failures {
        for place in 0..=others.len() {
            let mut operations = others.to_vec();
            operations.insert(place, failure.clone());
            conflict(store, table, "p", &operations).await;
        }
    }
    assert_eq!(keys(store, table, &whole("p")).await, ["full", "taken"]);
    let found = read(store, table, "p", "taken").await.expect("the row exists");
    assert_eq!((found.str("a"), &found.etag), (Some("1"), &tag));
    store.transact(table, "p", &others).await.expect("the same operations without the failing one pass");
}

/// A row that was deleted and made again has another tag, and so has one written back to what it was.
pub async fn a_tag_is_never_used_again(store: &dyn TableStore, table: &str) {
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let tag = insert(store, table, "p", row("k").with("a", "1")).await;
        assert!(seen.insert(tag.clone()));
        let again = write(store, table, "p", Operation::Replace(row("k").with("a", "1"), tag.clone())).await;
        assert!(seen.insert(again.expect("a replacement gives a tag")));
        conflict(store, table, "p", &[Operation::Delete("k".into(), Some(tag))]).await;
        write(store, table, "p", Operation::Delete("k".into(), None)).await;
    }
}

/// The tags that a transaction returns stand in the order of its operations and are those of a later read.
pub async fn returned_tags_are_the_stored_ones(store: &dyn TableStore, table: &str) {
    let tag = insert(store, table, "p", row("merged").with("a", "1")).await;
    let gone = insert(store, table, "p", row("gone")).await;
    let operations = [
        Operation::Put(row("put")),
        Operation::Delete("gone".into(), Some(gone)),
        Operation::Merge(row("merged").with("b", "2"), tag),
        Operation::Insert(row("inserted")),
    ];
    let tags = store.transact(table, "p", &operations).await.expect("the transaction is accepted");
    assert_eq!(tags.len(), operations.len());
    for (operation, tag) in operations.iter().zip(tags) {
        let stored = read(store, table, "p", operation.key()).await.map(|row| row.etag);
        assert_eq!(tag, stored, "{}", operation.key());
    }
}

/// A point read of what is not there is no error.
pub async fn point_reads_miss(store: &dyn TableStore, table: &str) {
    insert(store, table, "p", row("k")).await;
    for (partition, key) in [("p", "l"), ("p", "K"), ("p", ""), ("q", "k"), ("p k", ""), ("", "")] {
        assert_eq!(read(store, table, partition, key).await, None, "{partition:?} {key:?}");
    }
}

/// A range is ascending by bytes, includes its lower bound and excludes its upper one.
pub async fn ranges_are_ordered_and_bounded(store: &dyn TableStore, table: &str) {
    let ascending = ["", " ", "!", "0", "10", "2", "=41", "A", "B", "E!", "E~0", "E~00", "F", "_", "a", "aa", "b", "~"];
    // Written in another order than read.
    for key in ascending.iter().rev() {
        insert(store, table, "p", row(key)).await;
    }
    assert_eq!(keys(store, table, &whole("p")).await, ascending);
    let bounded = |from: &str, to: Option<&str>| Range {
        partition: "p".to_owned(),
        from: from.to_owned(),
        to: to.map(str::to_owned),
        top: 1000,
    };
    assert_eq!(keys(store, table, &bounded("E!", Some("F"))).await, ["E!", "E~0", "E~00"]);
    assert_eq!(keys(store, table, &bounded("E!", Some("E~00"))).await, ["E!", "E~0"]);
    assert_eq!(keys(store, table, &bounded("a", None)).await, ["a", "aa", "b", "~"]);
    assert_eq!(keys(store, table, &bounded("a0", Some("aa0"))).await, ["aa"]);
    let two = Range { top: 2, ..bounded("E!", Some("F")) };
    let page = store.query(table, &two, None).await.expect("the page is answered");
    assert!(page.rows.len() <= 2 && page.rows.iter().all(|row| row.key.starts_with('E')));
    assert!(page.next.is_some(), "three rows do not fit a page of two");
}

/// A range of more rows than a page holds is read to its end, every row once, its properties with it.
pub async fn ranges_continue_over_pages(store: &dyn TableStore, table: &str) {
    let names: Vec<String> = (0..130).map(|n| format!("k{n:03} o'clock")).collect();
    for chunk in names.chunks(MAX_OPERATIONS) {
        let operations: Vec<_> =
            chunk.iter().map(|key| Operation::Insert(row(key).with("name", key.as_str()))).collect();
        store.transact(table, "p", &operations).await.expect("the rows are accepted");
    }
    insert(store, table, "p2", row("k000")).await;
    for top in [1, 7, 65, 130, 131, 1000] {
        let range = Range { top, ..whole("p") };
        let (rows, pages) = all(store, table, &range).await;
        assert_eq!(rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), names, "top {top}");
        assert!(rows.iter().all(|row| row.str("name") == Some(&row.key)));
        assert!(pages.len() >= names.len().div_ceil(top as usize));
    }
    // A page that was read before a deletion goes on behind the deleted row.
    let range = Range { top: 10, ..whole("p") };
    let first = store.query(table, &range, None).await.expect("the page is answered");
    write(store, table, "p", Operation::Delete(names[10].clone(), None)).await;
    let second = store.query(table, &range, first.next.as_ref()).await.expect("the page is answered");
    assert_eq!(second.rows.first().map(|row| row.key.as_str()), Some(names[11].as_str()));
}

/// A range without rows ends at once, or at least without any.
pub async fn ranges_may_be_empty(store: &dyn TableStore, table: &str) {
    insert(store, table, "p", row("k")).await;
    for range in [
        whole("q"),
        Range { from: "l".into(), ..whole("p") },
        Range { to: Some("k".into()), ..whole("p") },
        Range { from: "k".into(), to: Some("k".into()), ..whole("p") },
        Range { from: "z".into(), to: Some("a".into()), ..whole("p") },
    ] {
        assert_eq!(keys(store, table, &range).await, Vec::<String>::new(), "{range:?}");
    }
}

/// The same row key in two partitions is two rows; a partition whose key begins like another's is another.
pub async fn partitions_are_isolated(store: &dyn TableStore, table: &str) {
    for partition in ["order:1", "order:10", "order:1 ", "Order:1", "order:1!", "o'rder:1"] {
        insert(store, table, partition, row("k").with("in", partition)).await;
    }
    for partition in ["order:1", "order:10", "order:1 ", "Order:1", "order:1!", "o'rder:1"] {
        let (rows, _) = all(store, table, &whole(partition)).await;
        assert_eq!(rows.len(), 1, "{partition:?}");
        assert_eq!(rows[0].str("in"), Some(partition));
        assert_eq!(properties(store, table, partition, "k").await, row("k").with("in", partition).properties);
    }
    write(store, table, "order:1", Operation::Delete("k".into(), None)).await;
    assert_eq!(keys(store, table, &whole("order:10")).await, ["k"]);
}

/// All rows of a sweep by partition and row key, and the number of pages.
async fn swept(store: &dyn TableStore, table: &str, sweep: &Sweep) -> (Vec<(String, String)>, usize) {
    let (mut keys, mut pages, mut next) = (Vec::new(), 0, None);
    loop {
        let page = store.sweep(table, sweep, next.as_ref()).await.expect("the page is answered");
        assert!(page.rows.len() <= sweep.top as usize, "a page never exceeds its top");
        keys.extend(page.rows.into_iter().map(|(partition, row)| (partition, row.key)));
        pages += 1;
        next = page.next;
        if next.is_none() {
            return (keys, pages);
        }
        assert!(pages < 10_000, "a sweep comes to an end");
    }
}

fn sweep(from: &str, to: &str, row: Option<&str>, top: u32) -> Sweep {
    Sweep { from: from.to_owned(), to: to.to_owned(), row: row.map(str::to_owned), top }
}

/// A sweep visits the partitions between its bounds, the lower one included, and of each all rows or one.
pub async fn sweeps_are_ordered_and_bounded(store: &dyn TableStore, table: &str) {
    for partition in ["order:2", "order:1", "order:10", "order;", "orders:1", "a", "order:a'b"] {
        for key in ["E~1", "E!", "C~1"] {
            insert(store, table, partition, row(key)).await;
        }
    }
    insert(store, table, "order:3", row("C~1")).await;
    let (keys, _) = swept(store, table, &sweep("order:", "order;", Some("E!"), 1_000)).await;
    let partitions: Vec<&str> = keys.iter().map(|(partition, _)| partition.as_str()).collect();
    assert_eq!(partitions, ["order:1", "order:10", "order:2", "order:a'b"]);
    assert!(keys.iter().all(|(_, key)| key == "E!"), "{keys:?}");
    let (keys, _) = swept(store, table, &sweep("order:1 ", "order:a", None, 1_000)).await;
    let keys: Vec<(&str, &str)> = keys.iter().map(|(partition, key)| (partition.as_str(), key.as_str())).collect();
    assert_eq!(
        keys,
        [
            ("order:10", "C~1"),
            ("order:10", "E!"),
            ("order:10", "E~1"),
            ("order:2", "C~1"),
            ("order:2", "E!"),
            ("order:2", "E~1"),
            ("order:3", "C~1"),
        ]
    );
    assert_eq!(swept(store, table, &sweep("order:1'", "order:10", None, 9)).await.0, []);
    assert_eq!(swept(store, table, &sweep("order:1", "order:10", Some("none"), 9)).await.0, []);
}

/// However long the pages are, each row comes once, in order.
pub async fn sweeps_continue_over_pages(store: &dyn TableStore, table: &str) {
    for n in 0..30 {
        for key in ["A", "E!", "Z"] {
            insert(store, table, &format!("p:{n:02}"), row(key)).await;
        }
    }
    let all: Vec<String> = (0..30).map(|n| format!("p:{n:02}")).collect();
    for top in [1, 7, 30, 1_000] {
        let (keys, pages) = swept(store, table, &sweep("p:", "p;", Some("E!"), top)).await;
        assert_eq!(keys.into_iter().map(|(partition, _)| partition).collect::<Vec<_>>(), all, "top {top}");
        assert!(pages >= 30_usize.div_ceil(top as usize), "top {top}: {pages} pages");
        let (keys, _) = swept(store, table, &sweep("p:", "p;", None, top)).await;
        assert_eq!(keys.len(), 90, "top {top}");
        assert!(keys.is_sorted(), "top {top}");
    }
}

/// What a sweep may not ask for is refused before it is asked.
pub async fn bad_sweeps_are_refused(store: &dyn TableStore, table: &str) {
    for bad in [
        sweep("a", "b", None, 0),
        sweep("a", "b", None, 1_001),
        sweep("a/", "b", None, 1),
        sweep("a", "b", Some("?"), 1),
    ] {
        let refused = store.sweep(table, &bad, None).await;
        assert!(matches!(refused, Err(TableError::Refused(_))), "{bad:?}: {refused:?}");
    }
    let missing = store.sweep("nosuchtable", &sweep("a", "b", None, 1), None).await;
    assert!(matches!(missing, Err(TableError::Refused(_))), "{missing:?}");
}

/// Every type keeps its type and its value.
pub async fn values_round_trip(store: &dyn TableStore, table: &str) {
    let mut given = row("k");
    for (n, number) in [0, 1, -1, 1 << 31, (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MIN].into_iter().enumerate() {
        given = given.with(&format!("i{n}"), number);
    }
    let doubles = [0.0, 0.1, -2.5, 3.0, 1e300, 5e-324, f64::MAX, f64::MIN, 9_007_199_254_740_993.0];
    for (n, number) in doubles.into_iter().enumerate() {
        given = given.with(&format!("d{n}"), Value::Double(number));
    }
    given = given.with("yes", true).with("no", false);
    given = given.with("none", Value::Binary(Vec::new())).with("all", Value::Binary((0..=255).collect()));
    given = given.with("_under_score9", "").with("number", "17").with("truth", "true").with("odata_type", "Edm.Int64");
    insert(store, table, "p", given.clone()).await;
    assert_eq!(properties(store, table, "p", "k").await, given.properties);
    let (rows, _) = all(store, table, &whole("p")).await;
    assert_eq!(rows[0].properties, given.properties, "a range gives what a point read gives");
}

/// Texts come back unit for unit, whatever they hold.
pub async fn texts_round_trip(store: &dyn TableStore, table: &str) {
    let texts = [
        "",
        " leading and trailing ",
        "'single' \"double\" ''",
        "line\nfeed\r\nreturn\rtab\t",
        "\r\n--batchresponse_x--\r\n\r\nHTTP/1.1 204 No Content\r\n",
        "--changeset_1\r\nContent-Type: application/http\r\n\r\n",
        "<a b=\"c\">&amp;&#10;</a><![CDATA[ ]]>",
        "{\"a\":[1,null],\"b\":\"\\\\u0041\"}",
        "é ß 漢字 \u{1F600} \u{10FFFF} \u{FEFF} \u{2028}",
        "e\u{301} is not \u{e9}",
        "\u{1}\u{8}\u{b}\u{c}\u{1f}\u{7f}",
        "2011-01-01T00:00:00Z",
        "W/\"datetime'2011-01-01T00%3A00%3A00Z'\"",
        "%41%2F%00",
        "../../etc",
    ];
    let mut given = row("k");
    for (n, text) in texts.iter().enumerate() {
        given = given.with(&format!("t{n}"), *text);
    }
    insert(store, table, "p", given.clone()).await;
    assert_eq!(properties(store, table, "p", "k").await, given.properties);
}

/// A string of the greatest length passes, in one-byte and in two-unit letters; a row of many of them, too.
pub async fn the_longest_text_round_trips(store: &dyn TableStore, table: &str) {
    let mut given = row("k")
        .with("ascii", "x".repeat(MAX_STRING_UNITS))
        .with("pairs", "\u{1F600}".repeat(MAX_STRING_UNITS / 2))
        .with("quotes", "\"\\".repeat(MAX_STRING_UNITS / 2));
    for n in 0..12 {
        given = given.with(&format!("more{n}"), "y".repeat(MAX_STRING_UNITS));
    }
    assert!(given.size("p") <= MAX_ROW_BYTES);
    insert(store, table, "p", given.clone()).await;
    assert_eq!(properties(store, table, "p", "k").await, given.properties);
}

/// Keys come back as given, are found by point reads, and bound ranges.
pub async fn keys_round_trip(store: &dyn TableStore, table: &str) {
    let mut given: Vec<String> = [
        "BANK CHARGES",
        "o'clock",
        "''",
        "it's 'quoted'",
        "E!",
        "E~9999999999999999999",
        "C~0f2e-1",
        "S~order:1",
        "a+b c+d",
        "a&b=c;d,e",
        "$filter",
        "(x)",
        "a@b:c",
        "a*b!c",
        "=2525",
        "a..b",
        "-",
        "_",
        "[x]{y}|z^`<>\"",
        &"k".repeat(512),
    ]
    .map(str::to_owned)
    .to_vec();
    given.extend(["a/b\\c#d?e%f=g'h", "é\u{1F600}", "%41", "100%", "line\nfeed"].map(encode_key));
    for key in &given {
        let partition = if key.len() > 400 { "p" } else { key.as_str() };
        insert(store, table, partition, row(key).with("key", key.as_str())).await;
        insert(store, table, "all", row(key).with("key", key.as_str())).await;
    }
    let mut ascending = given.clone();
    ascending.sort();
    assert_eq!(keys(store, table, &whole("all")).await, ascending);
    for key in &given {
        let partition = if key.len() > 400 { "p" } else { key.as_str() };
        let found = read(store, table, partition, key).await.unwrap_or_else(|| panic!("the row {key:?} exists"));
        assert_eq!((&found.key, found.str("key")), (key, Some(key.as_str())));
        let from_here = Range { partition: "all".into(), from: key.clone(), to: None, top: 1 };
        let page = store.query(table, &from_here, None).await.expect("the page is answered");
        assert_eq!(page.rows.first().map(|row| &row.key), Some(key));
        write(store, table, partition, Operation::Merge(row(key).with("more", true), found.etag)).await;
        write(store, table, partition, Operation::Delete(key.clone(), None)).await;
        assert_eq!(read(store, table, partition, key).await, None);
    }
}

/// `85123A` and `85123a` are two rows and two partitions.
pub async fn keys_that_differ_in_case_stay_two(store: &dyn TableStore, table: &str) {
    for key in ["85123A", "85123a"] {
        insert(store, table, "p", row(key).with("is", key)).await;
        insert(store, table, key, row("k").with("is", key)).await;
    }
    for key in ["85123A", "85123a"] {
        assert_eq!(properties(store, table, "p", key).await, row(key).with("is", key).properties);
        assert_eq!(properties(store, table, key, "k").await, row("k").with("is", key).properties);
        assert_eq!(all(store, table, &whole(key)).await.0.len(), 1);
    }
    let both = [Operation::Put(row("85123A")), Operation::Put(row("85123a"))];
    store.transact(table, "p", &both).await.expect("they are no duplicates");
    assert_eq!(keys(store, table, &whole("p")).await, ["85123A", "85123a"]);
}

/// A transaction holds up to 100 operations.
pub async fn a_hundred_operations_are_one_transaction(store: &dyn TableStore, table: &str) {
    let operations: Vec<_> =
        (0..MAX_OPERATIONS).map(|n| Operation::Insert(row(&format!("{n:03}")).with("n", n as i64))).collect();
    let tags = store.transact(table, "p", &operations).await.expect("the transaction is accepted");
    let (rows, _) = all(store, table, &whole("p")).await;
    assert_eq!(rows.len(), MAX_OPERATIONS);
    let stored: Vec<_> = rows.into_iter().map(|row| Some(row.etag)).collect();
    assert_eq!(tags, stored);
}

/// None or more than 100 operations are refused, and nothing is written.
pub async fn too_many_operations_are_refused(store: &dyn TableStore, table: &str) {
    let operations: Vec<_> = (0..=MAX_OPERATIONS).map(|n| Operation::Put(row(&format!("{n:03}")))).collect();
    refused(store, table, "p", &operations).await;
    refused(store, table, "p", &[]).await;
    assert_eq!(keys(store, table, &whole("p")).await, Vec::<String>::new());
}

/// The same row twice in a transaction is refused.
pub async fn duplicate_keys_are_refused(store: &dyn TableStore, table: &str) {
    refused(store, table, "p", &[Operation::Put(row("k")), Operation::Put(row("k"))]).await;
    refused(store, table, "p", &[Operation::Insert(row("k")), Operation::Delete("k".into(), None)]).await;
    assert_eq!(keys(store, table, &whole("p")).await, Vec::<String>::new());
}

/// A string of one unit more, a row of one byte more, or a transaction beyond 4 MiB are refused.
pub async fn oversized_values_are_refused(store: &dyn TableStore, table: &str) {
    let long = "x".repeat(MAX_STRING_UNITS);
    refused(store, table, "p", &[Operation::Put(row("k").with("a", format!("{long}y")))]).await;
    refused(store, table, "p", &[Operation::Put(row("k").with("a", Value::Binary(vec![0; 65_537])))]).await;
    refused(store, table, "p", &[Operation::Put(row("k").with("a", Value::Double(f64::NAN)))]).await;
    let large = (0..16).fold(row("k"), |row, n| row.with(&format!("p{n:02}"), long.clone()));
    assert!(large.size("p") > MAX_ROW_BYTES);
    refused(store, table, "p", &[Operation::Put(large)]).await;
    let many = (0..253).fold(row("k"), |row, n| row.with(&format!("p{n:03}"), true));
    refused(store, table, "p", &[Operation::Put(many)]).await;
    let big = |n: usize| (0..15).fold(row(&format!("{n}")), |row, n| row.with(&format!("p{n:02}"), long.clone()));
    let operations: Vec<_> = (0..9).map(|n| Operation::Put(big(n))).collect();
    refused(store, table, "p", &operations).await;
    assert_eq!(keys(store, table, &whole("p")).await, Vec::<String>::new());
}

/// Keys and names that Azure Tables does not allow, and a tag that matches everything, are refused.
pub async fn malformed_keys_and_names_are_refused(store: &dyn TableStore, table: &str) {
    for key in ["a/b", "a\\b", "a#b", "a?b", "a\nb", "a\u{7f}b", "a\0b", &"k".repeat(513)] {
        refused(store, table, "p", &[Operation::Put(row(key))]).await;
        refused(store, table, key, &[Operation::Put(row("k"))]).await;
        assert!(matches!(store.get(table, "p", key).await, Err(TableError::Refused(_))), "{key:?}");
        assert!(matches!(store.query(table, &whole(key), None).await, Err(TableError::Refused(_))), "{key:?}");
    }
    for name in ["", "1a", "a b", "a.b", "a@odata.type", "PartitionKey", "RowKey", "Timestamp", "é", &"n".repeat(256)]
    {
        refused(store, table, "p", &[Operation::Put(row("k").with(name, true))]).await;
    }
    insert(store, table, "p", row("k")).await;
    for tag in ["*", "", "a\r\nb"] {
        refused(store, table, "p", &[Operation::Replace(row("k"), Etag(tag.into()))]).await;
        refused(store, table, "p", &[Operation::Delete("k".into(), Some(Etag(tag.into())))]).await;
    }
    for top in [0, 1001] {
        let range = Range { top, ..whole("p") };
        assert!(matches!(store.query(table, &range, None).await, Err(TableError::Refused(_))), "top {top}");
    }
    assert_eq!(keys(store, table, &whole("p")).await, ["k"]);
}

/// A table that does not exist is refused, not empty.
pub async fn a_missing_table_is_refused(store: &dyn TableStore, _table: &str) {
    refused(store, "nosuchtable", "p", &[Operation::Put(row("k"))]).await;
    assert!(matches!(store.query("nosuchtable", &whole("p"), None).await, Err(TableError::Refused(_))));
    assert!(matches!(store.get("nosuchtable", "p", "k").await, Err(TableError::Refused(_))));
}

/// Of 32 writers with the same tag exactly one wins, round after round.
pub async fn one_of_many_writers_wins(store: &dyn TableStore, table: &str) {
    let mut tag = insert(store, table, "p", row("tip").with("n", -1_i64)).await;
    for round in 0..5_i64 {
        let race = (0..32_i64).map(|n| {
            let tag = tag.clone();
            async move {
                let commit = Operation::Insert(row(&format!("{round}-{n}")));
                let tip = Operation::Replace(row("tip").with("n", n), tag);
                (n, store.transact(table, "p", &[commit, tip]).await)
            }
        });
        let mut winners = Vec::new();
        for (n, result) in futures::future::join_all(race).await {
            match result {
                Ok(tags) => winners.push((n, tags)),
                Err(TransactError::Conflict(_)) => {}
                Err(other) => panic!("a loser has a conflict, not {other:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let (winner, tags) = winners.remove(0);
        let tip = read(store, table, "p", "tip").await.expect("the tip exists");
        assert_eq!((tip.int("n"), Some(&tip.etag)), (Some(winner), tags[1].as_ref()));
        tag = tip.etag;
    }
    let commits = Range { to: Some("t".into()), ..whole("p") };
    assert_eq!(all(store, table, &commits).await.0.len(), 5, "losers leave nothing");
}

/// Of 32 inserts of one row exactly one wins.
pub async fn one_of_many_inserts_wins(store: &dyn TableStore, table: &str) {
    let race = (0..32_i64)
        .map(|n| async move { store.transact(table, "p", &[Operation::Insert(row("k").with("n", n))]).await });
    let results = futures::future::join_all(race).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(TransactError::Conflict(_)))), "{results:?}");
}

/// Random transactions have the effects that a map in memory has.
pub async fn random_operations_agree_with_a_model(store: &dyn TableStore, table: &str) {
    let seed = std::env::var("SKEIN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64));
    println!("SKEIN_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut model = Model::new();
    for step in 0..150 {
        let partition = random.pick(&["p", "q"]);
        let mut operations = Vec::new();
        let mut expected = model.clone();
        let mut fits = true;
        for key in ["a", "B", "b", "c d"] {
            if random.below(2) == 0 {
                continue;
            }
            let operation = random.operation(key, model.get(&(partition.to_owned(), key.to_owned())));
            fits &= apply(&mut expected, partition, &operation);
            operations.push(operation);
        }
        if operations.is_empty() {
            continue;
        }
        match (store.transact(table, partition, &operations).await, fits) {
            (Ok(tags), true) => {
                for (operation, tag) in operations.iter().zip(tags) {
                    if let (Some(row), Some(tag)) =
                        (expected.get_mut(&(partition.to_owned(), operation.key().to_owned())), tag)
                    {
                        row.etag = tag;
                    }
                }
                model = expected;
            }
            (Err(TransactError::Conflict(_)), false) => {}
            (result, _) => panic!("seed {seed}, step {step}: {operations:?} fits: {fits}, but {result:?}"),
        }
        if step % 10 == 0 {
            for partition in ["p", "q"] {
                let (rows, _) = all(store, table, &whole(partition)).await;
                let wanted: Vec<_> =
                    model.iter().filter(|((of, _), _)| of == partition).map(|(_, row)| row.clone()).collect();
                assert_eq!(rows, wanted, "seed {seed}, step {step}");
            }
        }
    }
}

type Model = BTreeMap<(String, String), StoredRow>;

/// Applies the operation to the model; false where it conflicts.
fn apply(model: &mut Model, partition: &str, operation: &Operation) -> bool {
    let place = (partition.to_owned(), operation.key().to_owned());
    let stored = model.get(&place);
    let guarded = |etag: &Etag| stored.is_some_and(|stored| stored.etag == *etag);
    let properties = match operation {
        Operation::Insert(_) if stored.is_some() => return false,
        Operation::Insert(row) | Operation::Put(row) => row.properties.clone(),
        Operation::Replace(_, etag) | Operation::Merge(_, etag) if !guarded(etag) => return false,
        Operation::Replace(row, _) => row.properties.clone(),
        Operation::Merge(row, _) => {
            let mut properties = stored.map(|stored| stored.properties.clone()).unwrap_or_default();
            properties.extend(row.properties.clone());
            properties
        }
        Operation::Require(_) => match stored {
            Some(stored) => stored.properties.clone(),
            None => return false,
        },
        Operation::Delete(_, etag) => {
            let fits = etag.as_ref().map_or(stored.is_some(), guarded);
            model.remove(&place);
            return fits;
        }
    };
    let row = StoredRow { key: place.1.clone(), etag: Etag("not known yet".to_owned()), properties };
    model.insert(place, row);
    true
}

/// Xorshift: enough to choose operations, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let bound = choices.len() as u64;
        choices[usize::try_from(self.below(bound)).unwrap_or(0)]
    }

    fn operation(&mut self, key: &str, stored: Option<&StoredRow>) -> Operation {
        let name = self.pick(&["x", "y", "z"]);
        let number = i64::try_from(self.below(1000)).unwrap_or(0);
        let row = Row::new(key).with(name, number);
        // Mostly the right tag, sometimes that of another row.
        let right = self.below(8) != 0;
        match (self.below(6), stored) {
            (0, _) => Operation::Put(row),
            (1, Some(stored)) if right => Operation::Replace(row, stored.etag.clone()),
            (2, Some(stored)) if right => Operation::Merge(row, stored.etag.clone()),
            (3, Some(stored)) => Operation::Delete(key.to_owned(), right.then(|| stored.etag.clone())),
            (5, Some(_)) => Operation::Require(key.to_owned()),
            (4, Some(_)) if !right => Operation::Delete("missing".to_owned() + key, None),
            _ => Operation::Insert(row),
        }
    }
}

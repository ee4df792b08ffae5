//! One file under several stores and several processes at once.

use std::process::{Command, Stdio};

use skein_core::ports::{TableStore, TransactError};
use skein_core::table::{Operation, Range, Row};
use skein_embedded::{Bounds, Condition, EmbeddedStore, Scan, Unmet, Write, WriteError};

const FILE: &str = "SKEIN_EMBEDDED_TEST_FILE";

#[tokio::test]
async fn what_is_written_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables.db");
    let store = EmbeddedStore::open(&path, &["rows"]).unwrap();
    let first = store.transact("rows", "p", &[Operation::Insert(Row::new("k").with("a", "1"))]).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path, &[]).unwrap();
    let found = store.get("rows", "p", "k").await.unwrap().unwrap();
    assert_eq!(Some(&found.etag), first[0].as_ref());
    store.transact("rows", "p", &[Operation::Delete("k".into(), None)]).await.unwrap();
    let again = store.transact("rows", "p", &[Operation::Insert(Row::new("k").with("a", "1"))]).await.unwrap();
    assert_ne!(again, first);
    assert_eq!(store.tables().await.unwrap(), ["rows"]);
    assert!(!store.create_table("rows").await.unwrap());
    assert!(store.create_table("more").await.unwrap());
    assert!(store.create_table("no/table").await.is_err());
}

#[test]
fn what_is_no_table_store_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables.db");
    std::fs::write(&path, "this is no SQLite file, and long enough to show it".repeat(20)).unwrap();
    assert!(EmbeddedStore::open(&path, &["rows"]).is_err());
    assert!(EmbeddedStore::open(folder.path().join("missing/tables.db"), &["rows"]).is_err());
}

/// Four processes increment one counter 100 times each, every one under the row's tag: no increment is lost.
#[tokio::test]
async fn processes_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables.db");
    let store = EmbeddedStore::open(&path, &["rows"]).unwrap();
    store.transact("rows", "p", &[Operation::Insert(Row::new("counter").with("n", 0_i64))]).await.unwrap();
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["sharing::one_process_of_several", "--exact", "--ignored", "--nocapture"])
                .env(FILE, &path)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
    let found = store.get("rows", "p", "counter").await.unwrap().unwrap();
    assert_eq!(found.int("n"), Some(400));
    let log = Range { partition: "p".into(), from: "log".into(), to: Some("log~".into()), top: 1000 };
    assert_eq!(store.query("rows", &log, None).await.unwrap().rows.len(), 400);
}

#[tokio::test]
#[ignore = "a process that `processes_share_a_file` starts"]
async fn one_process_of_several() {
    let path = std::env::var(FILE).expect("the parent names the file");
    let store = EmbeddedStore::open(path, &["rows"]).unwrap();
    for _ in 0..100 {
        loop {
            let found = store.get("rows", "p", "counter").await.unwrap().unwrap();
            let n = found.int("n").unwrap() + 1;
            let operations = [
                Operation::Insert(Row::new(format!("log{n:04}"))),
                Operation::Replace(Row::new("counter").with("n", n), found.etag),
            ];
            match store.transact("rows", "p", &operations).await {
                Ok(_) => break,
                Err(TransactError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_failing_write_is_named() {
    let store = EmbeddedStore::memory(&["rows"]).unwrap();
    let insert = |key: &str| Write::Insert(Row::new(key).with("a", "1"));
    store.write("rows", "p", vec![insert("k")]).await.unwrap();
    let unmet = async |writes: Vec<Write>| match store.write("rows", "p", writes).await {
        Err(WriteError::Unmet { index, unmet, .. }) => (index, unmet),
        other => panic!("{other:?}"),
    };
    assert_eq!(unmet(vec![insert("l"), insert("k")]).await, (1, Unmet::Exists));
    let delete = Write::Delete { key: "x".into(), condition: Condition::Exists };
    assert_eq!(unmet(vec![insert("l"), insert("m"), delete]).await, (2, Unmet::Missing));
    let tag = skein_core::table::Etag("1234".into());
    let update = Write::Update { row: Row::new("k"), merge: true, condition: Condition::Match(tag) };
    assert_eq!(unmet(vec![update]).await, (0, Unmet::Changed));
    let merge = Write::Upsert { row: Row::new("k").with("b", "2"), merge: true };
    store.write("rows", "p", vec![merge]).await.unwrap();
    assert_eq!(store.get("rows", "p", "k").await.unwrap().unwrap().properties.len(), 2);
}

#[tokio::test]
async fn scans_cross_partitions() {
    let store = EmbeddedStore::memory(&["rows"]).unwrap();
    for partition in ["a", "b", "c"] {
        let rows = ["1", "2", "3"].map(|key| Operation::Insert(Row::new(key)));
        store.transact("rows", partition, &rows).await.unwrap();
    }
    let found = async |scan: Scan| {
        let (mut found, mut start) = (Vec::new(), None);
        loop {
            let page = store.scan("rows", Scan { start, ..scan.clone() }).await.unwrap();
            found.extend(page.rows.iter().map(|(pk, row)| format!("{pk}{}", row.key)));
            start = page.next;
            if start.is_none() {
                return found.join(" ");
            }
        }
    };
    let bounds = |lower: Option<(&str, bool)>, upper: Option<(&str, bool)>| Bounds {
        lower: lower.map(|(key, inclusive)| (key.to_owned(), inclusive)),
        upper: upper.map(|(key, inclusive)| (key.to_owned(), inclusive)),
    };
    let all = Scan { top: 2, ..Scan::default() };
    assert_eq!(found(all.clone()).await, "a1 a2 a3 b1 b2 b3 c1 c2 c3");
    let upper_partitions = Scan { partitions: bounds(Some(("a", false)), None), ..all.clone() };
    assert_eq!(found(upper_partitions).await, "b1 b2 b3 c1 c2 c3");
    let middle = Scan {
        partitions: bounds(Some(("a", true)), Some(("c", false))),
        rows: bounds(Some(("1", false)), Some(("3", true))),
        ..all
    };
    assert_eq!(found(middle).await, "a2 a3 b2 b3");
}

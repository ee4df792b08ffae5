//! What a [`BlobStore`] has to do, case by case.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use skein_core::blob::{Appended, BlobError, BlobStore, MAX_BLOCK_BYTES};

/// Runs every case on one container, which is empty.
pub async fn run_all(store: Arc<dyn BlobStore>) {
    let store = &*store;
    a_blob_grows_by_blocks_at_its_end(store).await;
    one_of_many_appends_wins(store).await;
    parts_are_read(store).await;
    whole_blobs_are_written_over(store).await;
    names_are_listed_in_order(store).await;
    what_is_deleted_is_gone(store).await;
    what_cannot_be_is_refused(store).await;
}

async fn text(store: &dyn BlobStore, name: &str) -> Option<String> {
    let part = store.read(name, 0, 1 << 20).await.expect("it is read")?;
    assert_eq!(part.size, part.bytes.len() as u64);
    Some(String::from_utf8(part.bytes.to_vec()).expect("text"))
}

async fn a_blob_grows_by_blocks_at_its_end(store: &dyn BlobStore) {
    assert_eq!(text(store, "grow/a").await, None);
    assert!(store.create("grow/a").await.unwrap());
    assert_eq!(text(store, "grow/a").await.as_deref(), Some(""));
    assert_eq!(store.append("grow/a", 0, Bytes::from_static(b"one\n")).await.unwrap(), Appended::Done);
    assert_eq!(store.append("grow/a", 0, Bytes::from_static(b"one\n")).await.unwrap(), Appended::Moved);
    assert_eq!(store.append("grow/a", 9, Bytes::from_static(b"two\n")).await.unwrap(), Appended::Moved);
    assert_eq!(store.append("grow/a", 4, Bytes::from_static(b"two\n")).await.unwrap(), Appended::Done);
    assert!(!store.create("grow/a").await.unwrap(), "it is there, and stays as it is");
    assert_eq!(text(store, "grow/a").await.as_deref(), Some("one\ntwo\n"));
}

async fn one_of_many_appends_wins(store: &dyn BlobStore) {
    store.create("race").await.unwrap();
    let appends = (0..8).map(|n| store.append("race", 0, Bytes::from(format!("{n}\n"))));
    let results = join_all(appends).await;
    let won: Vec<usize> = (0..8).filter(|n| matches!(results[*n], Ok(Appended::Done))).collect();
    assert_eq!(won.len(), 1, "{results:?}");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(text(store, "race").await, Some(format!("{}\n", won[0])));
}

async fn parts_are_read(store: &dyn BlobStore) {
    store.create("parts").await.unwrap();
    store.append("parts", 0, Bytes::from_static(b"0123456789")).await.unwrap();
    for (from, most, expected) in
        [(0, 4, "0123"), (4, 4, "4567"), (8, 100, "89"), (10, 5, ""), (99, 5, ""), (9, 1, "9")]
    {
        let part = store.read("parts", from, most).await.unwrap().expect("the blob is there");
        assert_eq!((part.bytes.as_ref(), part.size), (expected.as_bytes(), 10), "{from} {most}");
    }
    let block = Bytes::from(vec![b'x'; MAX_BLOCK_BYTES]);
    assert_eq!(store.append("parts", 10, block.clone()).await.unwrap(), Appended::Done);
    let part = store.read("parts", 10, MAX_BLOCK_BYTES as u64).await.unwrap().expect("the blob is there");
    assert!(part.bytes == block);
}

async fn whole_blobs_are_written_over(store: &dyn BlobStore) {
    store.put("whole", Bytes::from_static(b"a longer text")).await.unwrap();
    store.put("whole", Bytes::from_static(b"short")).await.unwrap();
    assert_eq!(text(store, "whole").await.as_deref(), Some("short"));
    store.put("whole", Bytes::new()).await.unwrap();
    assert_eq!(text(store, "whole").await.as_deref(), Some(""));
}

async fn names_are_listed_in_order(store: &dyn BlobStore) {
    for name in ["list/b/2", "list/a", "list/b/10", "lost/a", "list/c~d_e-f.g"] {
        store.put(name, Bytes::from(name.len().to_string())).await.unwrap();
    }
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = store.list("list/", from.as_ref()).await.unwrap();
        found.extend(page.blobs);
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let names: Vec<_> = found.iter().map(|(name, size)| (name.as_str(), *size)).collect();
    assert_eq!(names, [("list/a", 1), ("list/b/10", 1), ("list/b/2", 1), ("list/c~d_e-f.g", 2)]);
    assert!(store.list("nothing", None).await.unwrap().blobs.is_empty());
}

async fn what_is_deleted_is_gone(store: &dyn BlobStore) {
    store.create("gone").await.unwrap();
    store.append("gone", 0, Bytes::from_static(b"x")).await.unwrap();
    assert!(store.delete("gone").await.unwrap());
    assert!(!store.delete("gone").await.unwrap());
    assert_eq!(text(store, "gone").await, None);
    assert!(store.create("gone").await.unwrap());
    assert_eq!(text(store, "gone").await.as_deref(), Some(""));
}

async fn what_cannot_be_is_refused(store: &dyn BlobStore) {
    let refused = |result: Result<Appended, BlobError>| matches!(result, Err(BlobError::Refused(_)));
    assert!(refused(store.append("missing", 0, Bytes::from_static(b"x")).await));
    store.create("limits").await.unwrap();
    assert!(refused(store.append("limits", 0, Bytes::new()).await));
    assert!(refused(store.append("limits", 0, Bytes::from(vec![0; MAX_BLOCK_BYTES + 1])).await));
    for name in ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b", "é", "a?b", "a%2Fb"] {
        assert!(matches!(store.create(name).await, Err(BlobError::Refused(_))), "{name:?}");
    }
}

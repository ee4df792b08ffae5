//! The real transport against servers that break off, and against one that sends elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skein_azure::{AzureTableStore, TableCredential, http_client};
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{Operation, Row};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::scripted::Tokens;

/// A server that answers every connection's first bytes with these, and closes it. Gives its address and a count of
/// connections that sent something.
async fn server(answer: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut bytes = [0; 65536];
            if socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        }
    });
    (url, count)
}

fn store(url: &str) -> AzureTableStore {
    let credential = TableCredential::Token(Tokens::lasting());
    AzureTableStore::new(&http_client().unwrap(), credential, url).unwrap()
}

async fn write(url: &str) -> TransactError {
    store(url).transact("rows", "p", &[Operation::Insert(Row::new("k"))]).await.unwrap_err()
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let boundary = "Content-Type: multipart/mixed; boundary=b";
    for answer in [
        String::new(),
        "HTTP/1.1 202 Accepted\r\n".to_owned(),
        format!("HTTP/1.1 202 Accepted\r\n{boundary}\r\nContent-Length: 1000\r\n\r\n--b\r\n"),
        "not even HTTP".to_owned(),
    ] {
        let (url, count) = server(answer.clone()).await;
        let error = write(&url).await;
        assert!(matches!(error, TransactError::Unknown(_)), "{answer:?}: {error:?}");
        assert_eq!(count.load(Ordering::SeqCst), 1, "{answer:?}: sent once");
    }
}

#[tokio::test]
async fn a_connection_that_was_refused_leaves_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = write(&url).await;
    assert!(matches!(error, TransactError::Refused(TableError::Unavailable(_))), "{error:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (elsewhere, strayed) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    let moved = format!("HTTP/1.1 307 Moved\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n");
    let (url, _) = server(moved).await;
    assert!(matches!(write(&url).await, TransactError::Unknown(_)));
    assert!(matches!(store(&url).get("rows", "p", "k").await, Err(TableError::Malformed(_))));
    assert_eq!(strayed.load(Ordering::SeqCst), 0);
}

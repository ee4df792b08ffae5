//! Tokens: where they may go, how often they are fetched, and the managed identity's protocol on loopback.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Query;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use azure_core::http::{HttpClient, Url};
use serde_json::{Value, json};
use skein_azure::credential::{BearerPolicy, managed_identity, may_carry_token};
use skein_azure::tables::SCOPE;
use skein_azure::{AzureTableStore, TableCredential, http_client};
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{Operation, Row};

use crate::scripted::Answer::Status;
use crate::scripted::{Scripted, Tokens};

#[test]
fn tokens_go_over_https_and_loopback_only() {
    for url in ["https://a.b", "http://127.0.0.1:1/x", "http://127.1.2.3", "http://[::1]:8080/", "http://localhost:1"] {
        assert!(may_carry_token(&Url::parse(url).unwrap()), "{url}");
    }
    for url in [
        "http://a.b",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0",
        "http://[::ffff:10.0.0.1]",
        "ftp://127.0.0.1",
    ] {
        assert!(!may_carry_token(&Url::parse(url).unwrap()), "{url}");
    }
}

#[tokio::test]
async fn an_insecure_endpoint_gets_neither_token_nor_request() {
    let http = Scripted::new([]);
    let tokens = Tokens::lasting();
    let client: Arc<dyn HttpClient> = Arc::clone(&http) as _;
    let credential = TableCredential::Token(Arc::clone(&tokens) as _);
    let store = AzureTableStore::new(&client, credential, "http://tables.example.com").unwrap();
    match store.get("rows", "p", "k").await {
        Err(TableError::Denied(why)) => assert!(why.contains("http://tables.example.com"), "{why}"),
        other => panic!("{other:?}"),
    }
    let write = store.transact("rows", "p", &[Operation::Insert(Row::new("k"))]).await;
    assert!(matches!(write, Err(TransactError::Refused(TableError::Denied(_)))));
    assert_eq!((http.seen().len(), tokens.asked.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn one_token_serves_many() {
    let tokens = Tokens::lasting();
    let policy = BearerPolicy::new(Arc::clone(&tokens) as _, SCOPE);
    let (a, b, c) = tokio::join!(policy.token(), policy.token(), policy.token());
    assert!([a, b, c].into_iter().all(|token| token.unwrap().token.secret() == "token-0"));
    assert_eq!(tokens.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    // A minute left is too little to keep; while no new one can be had, the old one serves.
    let tokens = Tokens::new([Some(60), None, Some(3600)]);
    let policy = BearerPolicy::new(Arc::clone(&tokens) as _, SCOPE);
    let secret = async || policy.token().await.unwrap().token.secret().to_owned();
    assert_eq!(secret().await, "token-0");
    assert_eq!(secret().await, "token-0", "the renewal fails, the old one lives");
    assert_eq!(secret().await, "token-2");
    assert_eq!(secret().await, "token-2");
    assert_eq!(tokens.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let http = Scripted::new([]);
    let client: Arc<dyn HttpClient> = Arc::clone(&http) as _;
    let credential = TableCredential::Token(Tokens::new([None]));
    let store = AzureTableStore::new(&client, credential, "https://a").unwrap();
    let write = store.transact("rows", "p", &[Operation::Insert(Row::new("k"))]).await;
    assert!(matches!(write, Err(TransactError::Refused(TableError::Unavailable(_)))), "{write:?}");
    assert_eq!(http.seen().len(), 0);
}

#[tokio::test]
async fn a_refused_token_is_not_used_again() {
    let http = Scripted::new([Status(401, ""), Status(401, "")]);
    let tokens = Tokens::lasting();
    let client: Arc<dyn HttpClient> = Arc::clone(&http) as _;
    let store = AzureTableStore::new(&client, TableCredential::Token(Arc::clone(&tokens) as _), "https://a").unwrap();
    for _ in 0..2 {
        assert!(matches!(store.get("rows", "p", "k").await, Err(TableError::Denied(_))));
    }
    let sent: Vec<_> = http.seen().iter().map(|seen| seen.header("authorization").to_owned()).collect();
    assert_eq!(sent, ["Bearer token-0", "Bearer token-1"]);
}

/// The identity endpoint of App Service, on loopback and without TLS. The environment belongs to the process, so the
/// client runs in one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_managed_identity_answers_on_loopback() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let endpoint = async move |headers: HeaderMap, Query(query): Query<Vec<(String, String)>>| -> Json<Value> {
        counter.fetch_add(1, Ordering::SeqCst);
        let find = |name: &str| query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        assert_eq!(headers["x-identity-header"], "secret");
        assert_eq!(find("api-version"), Some("2019-08-01"));
        assert_eq!(find("client_id"), Some("client-1"));
        let resource = find("resource").unwrap_or_default().to_owned();
        let expires = azure_core::time::OffsetDateTime::now_utc().unix_timestamp() + 900;
        Json(
            json!({ "access_token": format!("for {resource}"), "expires_on": expires.to_string(), "resource": resource,
            "token_type": "Bearer", "client_id": "client-1" }),
        )
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/identity/token", get(endpoint))).await });
    let output = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["identity::the_client_of_the_identity_endpoint", "--exact", "--ignored", "--nocapture"])
            .env("IDENTITY_ENDPOINT", format!("http://{address}/identity/token"))
            .env("IDENTITY_HEADER", "secret")
            .env("AZURE_CLIENT_ID", "client-1")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
#[ignore = "a process that `the_managed_identity_answers_on_loopback` starts"]
async fn the_client_of_the_identity_endpoint() {
    let credential = managed_identity(http_client().unwrap()).unwrap();
    let policy = BearerPolicy::new(credential, SCOPE);
    for _ in 0..3 {
        assert_eq!(policy.token().await.unwrap().token.secret(), "for https://storage.azure.com");
    }
}

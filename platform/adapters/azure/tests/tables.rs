//! The table client against a scripted service: what is repeated, what never is, and what each answer means.

use std::sync::Arc;

use azure_core::http::HttpClient;
use skein_azure::{AzureTableStore, TableCredential};
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{Etag, Operation, Range, Row};

use crate::scripted::Answer::{Broken, NoConnection, Status, With};
use crate::scripted::{Answer, Scripted, Tokens};

fn store(http: &Arc<Scripted>) -> AzureTableStore {
    at(http, "https://stskein.table.core.windows.net")
}

fn at(http: &Arc<Scripted>, url: &str) -> AzureTableStore {
    let http: Arc<dyn HttpClient> = Arc::clone(http) as _;
    AzureTableStore::new(&http, TableCredential::Token(Tokens::lasting()), url).unwrap()
}

fn insert() -> [Operation; 1] {
    [Operation::Insert(Row::new("k"))]
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_sent_once_whatever_comes() {
    for answer in [Status(408, ""), Status(429, ""), Status(500, ""), Status(502, ""), Status(503, ""), Status(504, "")]
        .into_iter()
        .chain([Broken, Status(307, ""), Status(202, "garbage"), Status(409, "")])
    {
        let http = Scripted::new([answer]);
        let result = store(&http).transact("rows", "p", &insert()).await;
        assert!(matches!(result, Err(TransactError::Unknown(_))), "{result:?}");
        assert_eq!(http.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_is_no_unknown_outcome() {
    let http = Scripted::new([NoConnection]);
    let result = store(&http).transact("rows", "p", &insert()).await;
    assert!(matches!(result, Err(TransactError::Refused(TableError::Unavailable(_)))), "{result:?}");
    for status in [401, 403] {
        let http = Scripted::new([Status(status, "")]);
        let result = store(&http).transact("rows", "p", &insert()).await;
        assert!(matches!(result, Err(TransactError::Refused(TableError::Denied(_)))), "{result:?}");
    }
    let http = Scripted::new([]);
    let many = vec![insert()[0].clone(); 101];
    let result = store(&http).transact("rows", "p", &many).await;
    assert!(matches!(result, Err(TransactError::Refused(TableError::Refused(_)))), "{result:?}");
    let result = store(&http).transact("no/table", "p", &insert()).await;
    assert!(matches!(result, Err(TransactError::Refused(TableError::Refused(_)))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_within_bounds() {
    let row = r#"{"odata.etag":"W/\"1\"","PartitionKey":"p","RowKey":"k","n@odata.type":"Edm.Int64","n":"7"}"#;
    let retry_after = vec![("retry-after", "1".to_owned())];
    let http =
        Scripted::new([Status(503, ""), With(429, retry_after, String::new()), Broken, NoConnection, Status(200, row)]);
    let found = store(&http).get("rows", "p", "k").await.unwrap().unwrap();
    assert_eq!((found.int("n"), found.etag), (Some(7), Etag("W/\"1\"".into())));
    assert_eq!(http.lines().len(), 5);

    let http = Scripted::new((0..5).map(|_| Status(500, "")));
    assert!(matches!(store(&http).get("rows", "p", "k").await, Err(TableError::Unavailable(_))));
    assert_eq!(http.lines().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn answers_to_reads_mean_what_they_say() {
    let read = async |answer: Answer| store(&Scripted::new([answer])).get("rows", "p", "k").await;
    let missing = r#"{"odata.error":{"code":"ResourceNotFound","message":{"lang":"en-US","value":"x"}}}"#;
    assert!(matches!(read(Status(404, missing)).await, Ok(None)));
    let header = vec![("x-ms-error-code", "ResourceNotFound".to_owned())];
    assert!(matches!(read(With(404, header, String::new())).await, Ok(None)));
    let no_table = r#"{"odata.error":{"code":"TableNotFound"}}"#;
    assert!(matches!(read(Status(404, no_table)).await, Err(TableError::Refused(_))));
    assert!(matches!(read(Status(404, "<html>wrong address</html>")).await, Err(TableError::Refused(_))));
    assert!(matches!(read(Status(403, "")).await, Err(TableError::Denied(_))));
    assert!(matches!(read(Status(301, "")).await, Err(TableError::Malformed(_))));
    for body in ["", "[]", "{}", r#"{"RowKey":"k"}"#, r#"{"odata.etag":"1","RowKey":"another"}"#] {
        assert!(matches!(read(Status(200, body)).await, Err(TableError::Malformed(_))), "{body}");
    }
    let wrong = r#"{"odata.etag":"1","RowKey":"k","n@odata.type":"Edm.Int64","n":"seven"}"#;
    assert!(matches!(read(Status(200, wrong)).await, Err(TableError::Malformed(_))));
}

#[tokio::test(start_paused = true)]
async fn pages_may_be_empty_and_still_continue() {
    let next = |partition: &str, row: &str| {
        let mut headers = vec![("x-ms-continuation-nextpartitionkey", partition.to_owned())];
        if !row.is_empty() {
            headers.push(("x-ms-continuation-nextrowkey", row.to_owned()));
        }
        headers
    };
    let http = Scripted::new([
        With(200, next("1!4!cA--", "1!8!ay0x"), r#"{"value":[]}"#.to_owned()),
        With(200, next("1!4!cA--", ""), r#"{"value":[{"odata.etag":"1","PartitionKey":"p","RowKey":"k"}]}"#.to_owned()),
        Status(200, r#"{"value":[]}"#),
    ]);
    let store = store(&http);
    let range = Range { partition: "o'p".into(), from: "E!".into(), to: Some("F".into()), top: 51 };
    let first = store.query("rows", &range, None).await.unwrap();
    assert!(first.rows.is_empty());
    let second = store.query("rows", &range, first.next.as_ref()).await.unwrap();
    assert_eq!(second.rows[0].key, "k");
    let third = store.query("rows", &range, second.next.as_ref()).await.unwrap();
    assert_eq!((third.rows.len(), third.next), (0, None));
    let query = "GET https://stskein.table.core.windows.net/rows()?$filter=PartitionKey%20eq%20%27o%27%27p%27%20and%20\
        RowKey%20ge%20%27E%21%27%20and%20RowKey%20lt%20%27F%27&$top=51";
    assert_eq!(
        http.lines(),
        [
            query.to_owned(),
            format!("{query}&NextPartitionKey=1%214%21cA--&NextRowKey=1%218%21ay0x"),
            format!("{query}&NextPartitionKey=1%214%21cA--"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn requests_are_what_the_service_documents() {
    let http = Scripted::new([Status(404, r#"{"odata.error":{"code":"ResourceNotFound"}}"#), Broken]);
    let store = at(&http, "http://127.0.0.1:1/tables/stskein/");
    store.get("rows", "order:1", "C~a b").await.unwrap();
    let operations = [
        Operation::Merge(Row::new("E!").with("n", 1_i64).with("t", "x\"y"), Etag("W/\"1\"".into())),
        Operation::Delete("d".into(), None),
    ];
    let _ = store.transact("rows", "order:1", &operations).await;
    let seen = http.seen();
    assert_eq!(seen[0].line, "GET http://127.0.0.1:1/tables/stskein/rows(PartitionKey='order%3A1',RowKey='C~a%20b')");
    assert_eq!(seen[0].header("authorization"), "Bearer token-0");
    assert_eq!(seen[0].header("accept"), "application/json;odata=minimalmetadata");
    assert_eq!(seen[0].header("x-ms-version"), "2020-12-06");
    assert_eq!(seen[1].line, "POST http://127.0.0.1:1/tables/stskein/$batch");
    let boundary = seen[1].header("content-type").rsplit_once('=').unwrap().1.to_owned();
    let id = boundary.strip_prefix("batch_").unwrap();
    expect_test::expect![[r#"
        --batch_ID
        Content-Type: multipart/mixed; boundary=changeset_ID

        --changeset_ID
        Content-Type: application/http
        Content-Transfer-Encoding: binary

        MERGE http://127.0.0.1:1/tables/stskein/rows(PartitionKey='order%3A1',RowKey='E%21') HTTP/1.1
        Accept: application/json;odata=minimalmetadata
        DataServiceVersion: 3.0;NetFx
        If-Match: W/"1"
        Content-Type: application/json
        Prefer: return-no-content

        {"PartitionKey":"order:1","RowKey":"E!","n@odata.type":"Edm.Int64","n":"1","t":"x\"y"}
        --changeset_ID
        Content-Type: application/http
        Content-Transfer-Encoding: binary

        DELETE http://127.0.0.1:1/tables/stskein/rows(PartitionKey='order%3A1',RowKey='d') HTTP/1.1
        Accept: application/json;odata=minimalmetadata
        DataServiceVersion: 3.0;NetFx
        If-Match: *


        --changeset_ID--
        --batch_ID--
    "#]]
    .assert_eq(&seen[1].body.replace(id, "ID").replace("\r\n", "\n"));
}

#[test]
fn endpoints_are_checked() {
    let http: Arc<dyn HttpClient> = Scripted::new([]);
    for url in ["", "stskein", "ftp://a/b", "https://a?b", "https://a#b", "https://user@a"] {
        let credential = TableCredential::Token(Tokens::lasting());
        assert!(AzureTableStore::new(&http, credential, url).is_err(), "{url}");
    }
}

//! The front as the project's own client sees it, and by its own interface.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use serde_json::{Value as Json, json};
use skein_azure::{AzureTableStore, TableCredential, http_client};
use skein_core::ports::{TableError, TableStore as _, TransactError};
use skein_core::table::{Operation, Row};
use skein_testing::azurite;
use skein_testing::conformance::{TableStoreFixture, table_store};
use tempfile::TempDir;

use super::{AUDIENCE, Azurite, Backend, MAX_BODY_BYTES, PREFIX, router};
use super::{Body, Guard, HeaderMap, Path, to_bytes};
use crate::access::Authorizer;
use crate::access::tests::{assignment, resource};
use crate::identity::Issuer;
use skein_embedded::EmbeddedStore;

const ACCOUNT: &str = "stskeintest";

/// A front that listens, and the folder of its issuer and files.
struct Served {
    url: String,
    issuer: Arc<Issuer>,
    folder: TempDir,
}

impl Served {
    fn token(&self, audience: &str) -> String {
        self.issuer.issue_managed_identity("principal", "client", audience).expect("a token").0
    }

    fn client(&self, token: String) -> AzureTableStore {
        let http = http_client().expect("an HTTP client");
        let credential = TableCredential::Token(Arc::new(Fixed(token)));
        AzureTableStore::new(&http, credential, &format!("{}/{ACCOUNT}", self.url)).expect("an endpoint")
    }
}

async fn serve(backend: impl AsyncFnOnce(&Path) -> Backend) -> Served {
    serve_guarded(backend, Guard::from).await
}

async fn serve_guarded(
    backend: impl AsyncFnOnce(&Path) -> Backend,
    guard: impl FnOnce(Arc<Issuer>) -> Guard,
) -> Served {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let issuer = Arc::new(Issuer::open(&folder.path().join("identity")).expect("an issuer"));
    let backend = backend(folder.path()).await;
    let app = Router::new().nest(PREFIX, router(guard(Arc::clone(&issuer)), backend));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}{PREFIX}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served { url, issuer, folder }
}

async fn embedded() -> Served {
    serve(async |folder| Backend::embedded(folder, [(ACCOUNT, vec!["rows", "more"])]).expect("a file")).await
}

/// A credential with one token.
struct Fixed(String);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

#[async_trait]
impl TokenCredential for Fixed {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let expires = OffsetDateTime::now_utc() + std::time::Duration::from_secs(600);
        Ok(AccessToken::new(self.0.clone(), expires))
    }
}

#[tokio::test]
async fn the_azure_client_conforms_on_the_front() {
    let served = embedded().await;
    let store = served.client(served.token(AUDIENCE));
    table_store::run_all(async |case| {
        let table: String = case.split('_').collect();
        assert!(store.create_table(&table).await.expect("the table is made"));
        TableStoreFixture { store: Arc::new(store.clone()), table, keep: Box::new(()) }
    })
    .await;
    assert!(!store.create_table("rows").await.expect("the table is there"));
    let file = EmbeddedStore::open(served.folder.path().join(format!("{ACCOUNT}.db")), &[]).expect("the file");
    assert!(file.tables().await.expect("its tables").contains(&"insertisreadback".to_owned()));
}

#[tokio::test]
async fn the_azure_client_conforms_before_azurite() {
    let way = azurite::chosen().await.expect("SKEIN_AZURITE is understood")[0];
    let azurite = match azurite::Azurite::start(way).await {
        Ok(azurite) => azurite,
        Err(error) => panic!("{error}\n{error:?}"),
    };
    let names: Vec<String> = table_store::cases().into_iter().map(|(case, _)| case.split('_').collect()).collect();
    let served = serve(async |_| {
        let tables = || names.iter().map(String::as_str).collect();
        let accounts = [(ACCOUNT, tables()), ("stskeinother", tables())];
        let opened = Azurite::open(azurite.url(), azurite::ACCOUNT, azurite::KEY, accounts).await;
        Backend::Azurite(opened.expect("Azurite makes the tables"))
    })
    .await;
    let store = served.client(served.token(AUDIENCE));
    table_store::run_all(async |case| TableStoreFixture {
        store: Arc::new(store.clone()),
        table: case.split('_').collect(),
        keep: Box::new(()),
    })
    .await;
    let json = [("accept", "application/json;odata=nometadata")];
    // The other account's tables of the same names are others.
    let (status, _, body) = call(&served, "GET", "stskeinother/pointreadsmiss", &json, "", true).await;
    assert_eq!((status, body["value"].as_array().map(Vec::len)), (200, Some(0)));
    let (_, _, body) = call(&served, "GET", &format!("{ACCOUNT}/pointreadsmiss"), &json, "", true).await;
    assert_eq!(body["value"].as_array().map(Vec::len), Some(1));
    let store = served.client(served.token("https://servicebus.azure.net"));
    assert!(matches!(store.get("pointreadsmiss", "p", "k").await, Err(TableError::Denied(_))));
    let (status, ..) = call(&served, "GET", "stskeinunknown/pointreadsmiss", &[], "", true).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn only_its_own_tokens_pass() {
    let served = embedded().await;
    let other = tempfile::tempdir().expect("a temporary folder");
    let other = Issuer::open(other.path()).expect("an issuer");
    let foreign = other.issue_managed_identity("principal", "client", AUDIENCE).expect("a token").0;
    for token in [served.token("https://servicebus.azure.net"), foreign, "x.y.z".to_owned()] {
        let store = served.client(token);
        assert!(matches!(store.get("rows", "p", "k").await, Err(TableError::Denied(_))));
        let write = store.transact("rows", "p", &[Operation::Insert(Row::new("k"))]).await;
        assert!(matches!(write, Err(TransactError::Refused(TableError::Denied(_)))));
    }
    let store = served.client(served.token(AUDIENCE));
    assert_eq!(store.get("rows", "p", "k").await.expect("an answer"), None);
    let (status, _, body) = call(&served, "GET", &format!("{ACCOUNT}/rows"), &[], "", false).await;
    assert_eq!((status, code(&body)), (401, "InvalidAuthenticationInfo".to_owned()));
}

/// Sends one request; gives status, headers and body.
async fn call(
    served: &Served,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    with_token: bool,
) -> (u16, HeaderMap, Json) {
    let mut request = axum::http::Request::builder().method(method).uri(format!("{}/{path}", served.url));
    if with_token {
        request = request.header("authorization", format!("Bearer {}", served.token(AUDIENCE)));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let (head, body) = crate::outbound::client().request(request).await.expect("an answer").into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.expect("a body");
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or(Json::Null))
}

fn code(body: &Json) -> String {
    body["odata.error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn single_writes_answer_as_azure_does() {
    let served = embedded().await;
    let row = |path: &str| format!("{ACCOUNT}/rows(PartitionKey='p',RowKey='{path}')");
    let insert = json!({ "PartitionKey": "p", "RowKey": "k", "a": "1", "n": 5, "big@odata.type": "Edm.Int64",
        "big": "9007199254740993", "none": null })
    .to_string();
    let rows = format!("{ACCOUNT}/rows");
    let (status, headers, body) = call(&served, "POST", &rows, &[], &insert, true).await;
    assert_eq!(
        (status, body["big"].as_str(), body["big@odata.type"].as_str()),
        (201, Some("9007199254740993"), Some("Edm.Int64"))
    );
    let tag = headers["etag"].to_str().expect("a tag").to_owned();
    assert!(tag.starts_with("W/\"datetime'20") && body["odata.etag"] == tag.as_str(), "{tag}");
    assert!(body.get("none").is_none());
    let (status, _, body) = call(&served, "POST", &rows, &[("prefer", "return-no-content")], &insert, true).await;
    assert_eq!((status, code(&body)), (409, "EntityAlreadyExists".to_owned()));

    // Upserts need no tag; updates want one, or a star.
    let (status, ..) = call(&served, "MERGE", &row("k"), &[], r#"{"b":"2"}"#, true).await;
    assert_eq!(status, 204);
    let (status, _, body) = call(&served, "PUT", &row("k"), &[("if-match", &tag)], r#"{"c":"3"}"#, true).await;
    assert_eq!((status, code(&body)), (412, "UpdateConditionNotSatisfied".to_owned()));
    let (status, _, body) = call(&served, "PATCH", &row("x"), &[("if-match", "*")], "{}", true).await;
    assert_eq!((status, code(&body)), (404, "ResourceNotFound".to_owned()));
    let (status, _, body) = call(&served, "GET", &row("k"), &[], "", true).await;
    assert_eq!((status, body["a"].as_str(), body["b"].as_str(), body.get("c")), (200, Some("1"), Some("2"), None));
    let (_, _, body) = call(
        &served,
        "GET",
        &format!("{}?$select=b", row("k")),
        &[("accept", "application/json;odata=nometadata")],
        "",
        true,
    )
    .await;
    assert_eq!(body, json!({ "b": "2" }));
    let (status, ..) = call(&served, "PUT", &row("k"), &[("if-match", "*")], r#"{"c":"3"}"#, true).await;
    assert_eq!(status, 204);
    let (status, _, body) = call(&served, "DELETE", &row("k"), &[], "", true).await;
    assert_eq!((status, code(&body)), (400, "MissingRequiredHeader".to_owned()));
    let (status, ..) = call(&served, "DELETE", &row("k"), &[("if-match", "*")], "", true).await;
    assert_eq!(status, 204);
    let (status, _, body) = call(&served, "DELETE", &row("k"), &[("if-match", "*")], "", true).await;
    assert_eq!((status, code(&body)), (404, "ResourceNotFound".to_owned()));
}

#[tokio::test]
async fn what_it_does_not_know_is_refused_by_name() {
    let served = embedded().await;
    for (method, path, body, status, expected) in [
        ("GET", "rows?$filter=a%20eq%20'b'", "", 501, "NotImplemented"),
        ("GET", "rows?$filter=PartitionKey%20eq%20'p'%20or%20RowKey%20eq%20'k'", "", 501, "NotImplemented"),
        ("GET", "rows?$orderby=a", "", 501, "NotImplemented"),
        ("GET", "rows?comp=acl", "", 501, "NotImplemented"),
        ("GET", "rows?$top=0", "", 400, "InvalidInput"),
        ("GET", "rows?NextPartitionKey=p", "", 400, "InvalidInput"),
        ("GET", "nosuchtable", "", 404, "TableNotFound"),
        ("GET", "rows(PartitionKey='p',RowKey='k)", "", 400, "InvalidUri"),
        ("GET", "rows(RowKey='k')", "", 400, "InvalidUri"),
        ("DELETE", "Tables('rows')", "", 501, "NotImplemented"),
        ("POST", "Tables", r#"{"TableName":"rows"}"#, 409, "TableAlreadyExists"),
        ("POST", "Tables", r#"{"TableName":"1"}"#, 400, "InvalidInput"),
        ("POST", "rows", "[]", 400, "InvalidInput"),
        ("POST", "rows", r#"{"RowKey":"k"}"#, 400, "InvalidInput"),
        ("POST", "rows", r#"{"PartitionKey":"p","RowKey":"k","a":{}}"#, 400, "InvalidInput"),
        (
            "POST",
            "rows",
            r#"{"PartitionKey":"p","RowKey":"k","a@odata.type":"Edm.Int64","a":"x"}"#,
            400,
            "InvalidInput",
        ),
        (
            "POST",
            "rows",
            r#"{"PartitionKey":"p","RowKey":"k","a@odata.type":"Edm.Guid","a":"x"}"#,
            501,
            "NotImplemented",
        ),
        ("PUT", "rows(PartitionKey='p',RowKey='k')", r#"{"RowKey":"other"}"#, 400, "InvalidInput"),
        ("POST", "$batch", "no parts", 400, "InvalidInput"),
    ] {
        let path = format!("{ACCOUNT}/{path}");
        let (found, _, answer) = call(&served, method, &path, &[], body, true).await;
        assert_eq!((found, code(&answer).as_str()), (status, expected), "{method} {path} {body}");
    }
    let (status, _, body) = call(&served, "GET", "another/rows", &[], "", true).await;
    assert_eq!((status, code(&body)), (404, "ResourceNotFound".to_owned()));
    let large = format!("{{\"PartitionKey\":\"p\",\"RowKey\":\"k\",\"a\":\"{}\"}}", "x".repeat(MAX_BODY_BYTES));
    let (status, _, body) = call(&served, "POST", &format!("{ACCOUNT}/rows"), &[], &large, true).await;
    assert_eq!((status, code(&body)), (413, "RequestBodyTooLarge".to_owned()));
    let (_, _, body) = call(&served, "GET", &format!("{ACCOUNT}/Tables"), &[], "", true).await;
    assert_eq!(body["value"], json!([{ "TableName": "more" }, { "TableName": "rows" }]));
}

#[tokio::test]
async fn rows_are_read_and_written_by_whoever_has_the_role_on_their_table() {
    let account = resource("Microsoft.Storage/storageAccounts", ACCOUNT);
    let rows = format!("{}/tableServices/default/tables/rows", account["id"].as_str().expect("an id"));
    let (contributor, reader) = ("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "76199698-9eea-4c19-bc75-cec21354c6b6");
    let authorizer = Authorizer::of(&[
        account.clone(),
        assignment("writer", contributor, &rows),
        assignment("reader", reader, &rows),
    ]);
    let served = serve_guarded(
        async |folder| Backend::embedded(folder, [(ACCOUNT, vec!["rows", "more"])]).expect("a file"),
        |issuer| Guard::from((issuer, authorizer.clone())),
    )
    .await;
    let client = |principal: &str| {
        served.client(served.issuer.issue_managed_identity(principal, "c", AUDIENCE).expect("a token").0)
    };
    let (writer, reader, other) = (client("writer"), client("reader"), client("other"));
    let insert = |key: &str| Operation::Insert(Row::new(key));
    let denied = |result: Result<_, TransactError>| match result {
        Err(TransactError::Refused(TableError::Denied(why))) => why,
        other => panic!("{other:?}"),
    };
    writer.transact("rows", "p", &[insert("k")]).await.expect("one row");
    writer.transact("rows", "p", &[insert("l"), insert("m")]).await.expect("a batch");
    assert!(reader.get("rows", "p", "k").await.expect("it may look").is_some());

    // One row and a batch alike.
    let why = denied(reader.transact("rows", "p", &[insert("n")]).await);
    assert!(why.contains("principal reader") && why.contains("entities/write' over scope"), "{why}");
    assert!(why.contains("/tables/rows"), "{why}");
    denied(reader.transact("rows", "p", &[insert("n"), insert("o")]).await);
    denied(writer.transact("more", "p", &[insert("n"), insert("o")]).await);
    assert!(matches!(other.get("rows", "p", "k").await, Err(TableError::Denied(_))));
    assert!(matches!(writer.create_table("new").await, Err(TableError::Denied(_))));
    assert!(reader.get("rows", "p", "n").await.expect("it may look").is_none(), "nothing was written");

    authorizer.update(&[account]);
    denied(writer.transact("rows", "p", &[insert("n")]).await);
    let token = served.issuer.issue_managed_identity("writer", "c", AUDIENCE).expect("a token").0;
    let bearer = format!("Bearer {token}");
    let (status, headers, body) =
        call(&served, "GET", &format!("{ACCOUNT}/rows"), &[("authorization", &bearer)], "", false).await;
    assert_eq!((status, code(&body)), (403, "AuthorizationPermissionMismatch".to_owned()));
    assert_eq!(headers["x-ms-error-code"], "AuthorizationPermissionMismatch");
    let (status, ..) = call(&served, "GET", &format!("{ACCOUNT}/rows"), &[], "", false).await;
    assert_eq!(status, 401, "no token comes before no role");
}

#[tokio::test]
async fn a_batch_over_two_tables_needs_more_than_a_role_on_one() {
    let account = resource("Microsoft.Storage/storageAccounts", ACCOUNT);
    let rows = format!("{}/tableServices/default/tables/rows", account["id"].as_str().expect("an id"));
    let role = assignment("writer", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", &rows);
    let authorizer = Authorizer::of(&[account, role]);
    let served = serve_guarded(
        async |folder| Backend::embedded(folder, [(ACCOUNT, vec!["rows", "more"])]).expect("a file"),
        |issuer| Guard::from((issuer, authorizer)),
    )
    .await;
    let token = served.issuer.issue_managed_identity("writer", "c", AUDIENCE).expect("a token").0;
    let part = |table: &str| {
        format!(
            "--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
             POST http://x/{ACCOUNT}/{table} HTTP/1.1\r\nContent-Type: application/json\r\n\r\n\
             {{\"PartitionKey\":\"p\",\"RowKey\":\"k\"}}\r\n"
        )
    };
    let body = |tables: [&str; 2]| {
        let parts = tables.map(part).concat();
        format!("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{parts}--c--\r\n--b--\r\n")
    };
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "multipart/mixed; boundary=b")];
    let path = format!("{ACCOUNT}/$batch");
    let (status, ..) = call(&served, "POST", &path, &headers, &body(["rows", "more"]), false).await;
    assert_eq!(status, 403);
    let (status, ..) = call(&served, "POST", &path, &headers, &body(["rows", "rows"]), false).await;
    assert_eq!(status, 202, "which holds why the second is refused");
}

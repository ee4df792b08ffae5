//! The front as the project's own client sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use bytes::Bytes;
use skein_azure::{AzureBlobs, BlobCredential, http_client};
use skein_core::blob::{BlobError, BlobStore as _};
use skein_testing::conformance::blob_store;

use super::{AUDIENCE, PREFIX, open, router};
use crate::access::Authorizer;
use crate::access::tests::{assignment, resource};
use crate::identity::Issuer;

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
        Ok(AccessToken::new(self.0.clone(), OffsetDateTime::now_utc() + std::time::Duration::from_secs(3600)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_front_conforms_and_checks_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open(&folder.path().join("identity")).unwrap());
    let containers = BTreeSet::from([("sttest".to_owned(), "backups".to_owned())]);
    let app =
        Router::new().nest(PREFIX, router(issuer.clone(), open(&folder.path().join("blobs"), &containers).unwrap()));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}{PREFIX}/sttest", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = |audience: &str, container: &str| {
        let token = issuer.issue_operator(audience).unwrap().0;
        let credential = BlobCredential::Token(Arc::new(Fixed(token)));
        AzureBlobs::new(&http_client().unwrap(), credential, &format!("{url}/{container}")).unwrap()
    };

    let blobs = client(AUDIENCE, "backups");
    assert!(!blobs.create_container().await.unwrap(), "what the list names is there");
    let page = Bytes::from_static(b"<!doctype html>");
    blobs.publish("site/index.html", "text/html", "0a", page.clone()).await.unwrap();
    assert_eq!(blobs.published("site/index.html").await.unwrap().as_deref(), Some("0a"));
    let shown = open(&folder.path().join("blobs"), &containers).unwrap().into_values().next().unwrap();
    let found = shown.read("site/index.html", 0, u64::MAX).unwrap().unwrap();
    assert_eq!((found.bytes.as_slice(), found.properties.content_type.as_deref()), (&page[..], Some("text/html")));
    assert_eq!(found.properties.cache_control.as_deref(), Some("no-cache"));
    blobs.put("site/index.html", page).await.unwrap();
    assert_eq!(blobs.published("site/index.html").await.unwrap(), None, "nothing is said of what came after");
    blobs.publish("site/index.html", "text/html", "0b", Bytes::new()).await.unwrap();
    assert!(blobs.delete("site/index.html").await.unwrap());
    assert_eq!(blobs.published("site/index.html").await.unwrap(), None);
    assert_eq!(blobs.list("", None).await.unwrap().blobs, [], "nothing is left beside it that would be seen");
    blob_store::run_all(Arc::new(blobs)).await;

    let foreign = client("https://servicebus.azure.net", "backups");
    assert!(matches!(foreign.put("a", Bytes::new()).await, Err(BlobError::Denied(_))));
    let elsewhere = client(AUDIENCE, "other");
    assert!(matches!(elsewhere.put("a", Bytes::new()).await, Err(BlobError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_are_for_whoever_has_the_role_on_their_container() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open(&folder.path().join("identity")).unwrap());
    let account = resource("Microsoft.Storage/storageAccounts", "sttest");
    let scope = |name: &str| format!("{}/blobServices/default/containers/{name}", account["id"].as_str().unwrap());
    let authorizer = Authorizer::of(&[
        account.clone(),
        assignment("writer", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", &scope("backups")),
        assignment("reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", &scope("backups")),
    ]);
    let containers = ["backups", "other"].map(|name| ("sttest".to_owned(), name.to_owned())).into();
    let containers = open(&folder.path().join("blobs"), &containers).unwrap();
    let app = Router::new().nest(PREFIX, router((issuer.clone(), authorizer.clone()), containers));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}{PREFIX}/sttest", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = |principal: &str, container: &str| {
        let token = issuer.issue_managed_identity(principal, "c", AUDIENCE).unwrap().0;
        let credential = BlobCredential::Token(Arc::new(Fixed(token)));
        AzureBlobs::new(&http_client().unwrap(), credential, &format!("{url}/{container}")).unwrap()
    };
    let denied = |result: Result<(), BlobError>| match result {
        Err(BlobError::Denied(why)) => why,
        other => panic!("{other:?}"),
    };
    let (writer, reader) = (client("writer", "backups"), client("reader", "backups"));
    writer.put("a", Bytes::from_static(b"1")).await.unwrap();
    reader.read("a", 0, 1).await.unwrap();
    let why = denied(reader.put("a", Bytes::new()).await);
    assert!(why.contains("AuthorizationPermissionMismatch"), "{why}");
    denied(client("writer", "other").put("a", Bytes::new()).await);
    denied(client("nobody", "backups").read("a", 0, 1).await.map(|_| ()));
    authorizer.update(&[account]);
    denied(writer.put("a", Bytes::new()).await);
}

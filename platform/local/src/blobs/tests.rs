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
    blob_store::run_all(Arc::new(blobs)).await;

    let foreign = client("https://servicebus.azure.net", "backups");
    assert!(matches!(foreign.put("a", Bytes::new()).await, Err(BlobError::Denied(_))));
    let elsewhere = client(AUDIENCE, "other");
    assert!(matches!(elsewhere.put("a", Bytes::new()).await, Err(BlobError::Refused(_))));
}

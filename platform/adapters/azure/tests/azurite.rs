//! The conformance suites against Azurite, both ways to have it.

use std::sync::Arc;

use skein_azure::{AzureBlobs, AzureTableStore, BlobCredential, TableCredential, http_client};
use skein_core::blob::BlobStore as _;
use skein_testing::azurite::{ACCOUNT, Azurite, KEY, Service, Way, chosen};
use skein_testing::conformance::{TableStoreFixture, blob_store, engine, table_store};

async fn suite(way: Way) {
    let ways = chosen().await.expect("SKEIN_AZURITE is understood");
    if !ways.contains(&way) {
        println!("not run: SKEIN_AZURITE chooses {ways:?}");
        return;
    }
    let azurite = match Azurite::start(way).await {
        Ok(azurite) => azurite,
        Err(error) => panic!("{error}\n{error:?}"),
    };
    let http = http_client().expect("an HTTP client");
    let credential = TableCredential::SharedKey { account: ACCOUNT.to_owned(), key: KEY.to_owned() };
    let store = AzureTableStore::new(&http, credential, azurite.url()).expect("an endpoint");
    table_store::run_all(async |case| {
        // A table of its own for every case: letters and digits, at most 63.
        let table: String = case.split('_').collect();
        assert!(store.create_table(&table).await.expect("the table is made"));
        TableStoreFixture { store: Arc::new(store.clone()), table, keep: Box::new(()) }
    })
    .await;
    for table in engine::TABLES {
        assert!(store.create_table(table).await.expect("the table is made"));
    }
    engine::run_all(Arc::new(store.clone())).await;
    assert!(!store.create_table("insertisreadback").await.expect("the table is there"));
}

async fn blobs(way: Way) {
    let ways = chosen().await.expect("SKEIN_AZURITE is understood");
    if !ways.contains(&way) {
        println!("not run: SKEIN_AZURITE chooses {ways:?}");
        return;
    }
    let azurite = match Azurite::start_service(way, Service::Blob).await {
        Ok(azurite) => azurite,
        Err(error) => panic!("{error}\n{error:?}"),
    };
    let http = http_client().expect("an HTTP client");
    let credential = BlobCredential::SharedKey { account: ACCOUNT.to_owned(), key: KEY.to_owned() };
    let blobs = AzureBlobs::new(&http, credential, &format!("{}/suite", azurite.url())).expect("an endpoint");
    assert!(blobs.create_container().await.expect("the container is made"));
    assert!(!blobs.create_container().await.expect("the container is there"));
    let page = b"<!doctype html>".as_slice();
    blobs.publish("site/index.html", "text/html", "0a", page.into()).await.expect("it is written");
    assert_eq!(blobs.published("site/index.html").await.expect("it is there").as_deref(), Some("0a"));
    blobs.put("site/index.html", page.into()).await.expect("it is written again");
    for other in ["site/index.html", "site/none.html"] {
        assert_eq!(blobs.published(other).await.expect("an answer"), None, "{other}");
    }
    blobs.delete("site/index.html").await.expect("it is removed");
    blob_store::run_all(Arc::new(blobs)).await;
}

#[tokio::test]
async fn conforms_on_azurite_from_the_docker_image() {
    suite(Way::Docker).await;
}

#[tokio::test]
async fn conforms_on_azurite_from_npm() {
    suite(Way::Npm).await;
}

#[tokio::test]
async fn blobs_conform_on_azurite_from_the_docker_image() {
    blobs(Way::Docker).await;
}

#[tokio::test]
async fn blobs_conform_on_azurite_from_npm() {
    blobs(Way::Npm).await;
}

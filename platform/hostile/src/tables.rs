//! Answers of a table service: batches and pages.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use percent_encoding::percent_decode_str;
use skein_azure::{AzureTableStore, TableCredential};
use skein_core::ports::{TableStore, TransactError};
use skein_core::table::{Continuation, Etag, Operation, Page, Range, Row};

use crate::draw::Draw;
use crate::{bounded, run};

/// A service that always gives the same answer, and remembers the addresses it was asked for.
pub(crate) struct Canned {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    asked: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Canned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canned")
    }
}

impl Canned {
    pub(crate) fn new(status: u16, headers: Vec<(&'static str, String)>, body: &[u8]) -> Arc<Self> {
        Arc::new(Canned { status, headers, body: body.to_vec(), asked: Mutex::default() })
    }

    /// A client that reaches this service only.
    pub(crate) fn store(self: &Arc<Self>) -> AzureTableStore {
        let credential = TableCredential::SharedKey { account: "desk".into(), key: "a2V5".into() };
        let http: Arc<dyn HttpClient> = self.clone();
        AzureTableStore::new(&http, credential, "https://desk.table.example").expect("an address")
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no check panicked before").clone()
    }
}

#[async_trait]
impl HttpClient for Canned {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.asked.lock().expect("no check panicked before").push(request.url().to_string());
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.insert(*name, value.clone());
        }
        Ok(AsyncRawResponse::from_bytes(self.status.into(), headers, self.body.clone()))
    }
}

/// The parameters of an address, decoded, in order.
pub(crate) fn parameters(url: &str) -> Vec<(String, String)> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8 in an address").into_owned();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The answer to a transaction is a success only with a tag for each row that was written.
pub fn batch_answer(data: &[u8]) {
    let mut draw = Draw::new(data);
    let status = *draw.of(&[202, 200, 204, 206, 302, 400, 401, 403, 404, 408, 409, 412, 413, 429, 500, 503]);
    let content_type = match draw.below(3) {
        0 => "multipart/mixed; boundary=b".to_owned(),
        1 => "multipart/mixed; boundary=\"b\"; charset=utf-8".to_owned(),
        _ => draw.text(),
    };
    let operations: Vec<Operation> = (0..=draw.below(3))
        .map(|n| match draw.below(6) {
            0 => Operation::Delete(n.to_string(), None),
            4 => Operation::Require(n.to_string()),
            1 => Operation::Put(Row::new(n.to_string())),
            2 => Operation::Replace(Row::new(n.to_string()), Etag("W/\"1\"".into())),
            3 => Operation::Merge(Row::new(n.to_string()), Etag("W/\"1\"".into())),
            _ => Operation::Insert(Row::new(n.to_string())),
        })
        .collect();
    let body = draw.rest();
    let service = Canned::new(status, vec![("content-type", content_type)], body);
    match run(service.store().transact("events", "p", &operations)) {
        Ok(tags) => {
            assert!((200..300).contains(&status), "a success of status {status}");
            assert_eq!(tags.len(), operations.len());
            for (tag, operation) in tags.iter().zip(&operations) {
                assert_eq!(tag.is_none(), matches!(operation, Operation::Delete(..)), "{operation:?} has {tag:?}");
            }
            let successes = body.windows(10).filter(|text| text.starts_with(b"HTTP/") && text.ends_with(b" 2")).count();
            assert!(successes >= operations.len(), "{} writes, {successes} successes", operations.len());
        }
        Err(error) => {
            bounded(&error);
            // Nothing of it was written, or nobody knows: a conflict is only what a part of the answer says.
            if matches!(error, TransactError::Conflict(_)) {
                assert!((200..300).contains(&status), "a conflict of status {status}");
            }
        }
    }
    assert_eq!(service.asked().len(), 1, "a transaction is sent once");
}

fn range() -> Range {
    Range { partition: "o'clock".into(), from: "E!".into(), to: Some("F".into()), top: 51 }
}

/// A page is read whole or not at all, and its continuation goes back as it came.
pub fn page_answer(data: &[u8]) {
    let mut draw = Draw::new(data);
    // Those that are tried again are left out: the waits are real.
    let status = *draw.of(&[200, 200, 200, 204, 302, 400, 401, 403, 404, 409, 412]);
    let mut headers = vec![("content-type", "application/json".to_owned())];
    let (partition, row) = (draw.text(), draw.text());
    // A header without a value is as good as none: the service encodes what it gives out.
    let continued = match draw.below(3) {
        _ if partition.is_empty() => 0,
        2 if row.is_empty() => 1,
        continued => continued,
    };
    if continued > 0 {
        headers.push(("x-ms-continuation-nextpartitionkey", partition.clone()));
    }
    if continued > 1 {
        headers.push(("x-ms-continuation-nextrowkey", row.clone()));
    }
    headers.push(("etag", draw.text()));
    let service = Canned::new(status, headers, draw.rest());
    let store = service.store();
    match run(store.query("events", &range(), None)) {
        Ok(Page { next, .. }) => {
            assert_eq!((status, next.is_some()), (200, continued > 0));
            let Some(next) = next else { return };
            let again = run(store.query("events", &range(), Some(&next)));
            assert!(again.is_ok(), "the same answer was read before");
            let asked = parameters(&service.asked()[1]);
            let sent = |wanted: &str| asked.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
            // A header's value has no white space around it.
            assert_eq!(sent("NextPartitionKey").as_deref().map(str::trim), Some(partition.trim()));
            assert_eq!(sent("NextRowKey").as_deref().map(str::trim), (continued > 1).then(|| row.trim()));
        }
        Err(error) => bounded(&error),
    }
    match run(store.get("events", "p", "k")) {
        Ok(Some(found)) => assert_eq!((status, found.key.as_str()), (200, "k")),
        Ok(None) => assert_eq!(status, 404),
        Err(error) => bounded(&error),
    }
}

/// A continuation of anybody's making asks for nothing but the rest of the range, or is refused before it is sent.
pub(crate) fn continue_from(token: &str) {
    let service = Canned::new(200, Vec::new(), br#"{"value":[]}"#);
    let read = run(service.store().query("events", &range(), Some(&Continuation(token.to_owned()))));
    let asked = service.asked();
    match read {
        Ok(_) => {
            let parameters = parameters(&asked[0]);
            let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
            assert!(
                matches!(
                    names[..],
                    ["$filter", "$top", "NextPartitionKey"] | ["$filter", "$top", "NextPartitionKey", "NextRowKey"]
                ),
                "{names:?}"
            );
            assert_eq!(parameters[0].1, "PartitionKey eq 'o''clock' and RowKey ge 'E!' and RowKey lt 'F'");
        }
        Err(error) => {
            assert!(asked.is_empty(), "{error}");
            bounded(&error);
        }
    }
}

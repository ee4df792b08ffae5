//! The table store on Azure Tables (or Azurite, or the local front).
//!
//! A transaction is one `$batch` request with one changeset, sent once. Its HTTP status says nothing: the parts are
//! read, and what cannot be read is an unknown outcome.

mod batch;
mod entity;
pub mod multipart;

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::{ACCEPT, CONTENT_TYPE, HeaderName};
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, RawResponse, Request, Url};
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{
    Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage, check_key, check_range, check_sweep,
    check_transaction,
};

use crate::channel::{Channel, EndpointError, Failure, endpoint, excerpt, header};
use crate::credential::BearerPolicy;
use crate::shared_key::SharedKeyPolicy;

/// The scope of Azure Storage.
pub const SCOPE: &str = "https://storage.azure.com/.default";
/// The first version of the service whose tables take Entra ID tokens.
const VERSION: &str = "2020-12-06";
/// The most bytes of a `$batch` request.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

const X_MS_VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const DATA_SERVICE_VERSION: HeaderName = HeaderName::from_static("dataserviceversion");
const MAX_DATA_SERVICE_VERSION: HeaderName = HeaderName::from_static("maxdataserviceversion");
pub(crate) const MINIMAL: &str = "application/json;odata=minimalmetadata";

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum TableCredential {
    /// An account key, for Azurite.
    SharedKey {
        /// The account's name.
        account: String,
        /// The key in base64.
        key: String,
    },
    /// Tokens of Entra ID.
    Token(Arc<dyn TokenCredential>),
}

/// The tables of one storage account.
#[derive(Debug, Clone)]
pub struct AzureTableStore {
    channel: Channel,
    base: String,
    /// The base, taken apart once.
    url: Url,
}

impl AzureTableStore {
    /// The tables at this address: `https://{account}.table.core.windows.net`, or one with a path, as Azurite's
    /// `http://127.0.0.1:10002/devstoreaccount1`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(http: &Arc<dyn HttpClient>, credential: TableCredential, url: &str) -> Result<Self, EndpointError> {
        let auth: Arc<dyn Policy> = match credential {
            TableCredential::SharedKey { account, key } => Arc::new(SharedKeyPolicy::new(&account, &key)),
            TableCredential::Token(credential) => Arc::new(BearerPolicy::new(credential, SCOPE)),
        };
        let base = endpoint(url)?;
        let url = Url::parse(&base).map_err(|error| EndpointError { url: base.clone(), reason: error.to_string() })?;
        Ok(AzureTableStore { channel: Channel::new(http, &auth), base, url })
    }

    /// Makes a table; false where it exists already.
    ///
    /// # Errors
    /// A bad name, no right, or no answer.
    pub async fn create_table(&self, table: &str) -> Result<bool, TableError> {
        let mut request = self.request("Tables", None, Method::Post);
        request.insert_header(CONTENT_TYPE, "application/json");
        request.insert_header(HeaderName::from_static("prefer"), "return-no-content");
        request.set_body(serde_json::json!({ "TableName": table }).to_string());
        let response = self.channel.repeating(&mut request).await.map_err(unsent)?;
        match u16::from(response.status()) {
            200..300 => Ok(true),
            409 if code(&response) == "TableAlreadyExists" => Ok(false),
            _ => Err(refusal(&response)),
        }
    }

    /// A request for a path below the base, encoded, and a query.
    fn request(&self, path: &str, query: Option<&str>, method: Method) -> Request {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url.set_query(query);
        let mut request = Request::new(url, method);
        request.insert_header(ACCEPT, MINIMAL);
        request.insert_header(X_MS_VERSION, VERSION);
        request.insert_header(DATA_SERVICE_VERSION, "3.0;NetFx");
        request.insert_header(MAX_DATA_SERVICE_VERSION, "3.0;NetFx");
        request
    }
}

#[async_trait]
impl TableStore for AzureTableStore {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        check_table(table)?;
        check_key("partition", partition)?;
        check_key("row", key)?;
        let mut request = self.request(&entity_path(table, partition, key), None, Method::Get);
        let response = self.channel.repeating(&mut request).await.map_err(unsent)?;
        match u16::from(response.status()) {
            200 => {
                let row = entity::row(response.body(), header(&response, "etag")).map_err(TableError::Malformed)?;
                if row.key != key {
                    return Err(TableError::Malformed(format!("the row {:?} was asked for, not {:?}", key, row.key)));
                }
                Ok(Some(row))
            }
            404 if matches!(code(&response).as_str(), "ResourceNotFound" | "EntityNotFound") => Ok(None),
            _ => Err(refusal(&response)),
        }
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        check_table(table)?;
        check_range(range)?;
        let mut filter = format!("PartitionKey eq '{}'", doubled(&range.partition));
        if !range.from.is_empty() {
            filter.push_str(&format!(" and RowKey ge '{}'", doubled(&range.from)));
        }
        if let Some(to) = &range.to {
            filter.push_str(&format!(" and RowKey lt '{}'", doubled(to)));
        }
        let (response, next) = self.page(table, &filter, range.top, from).await?;
        let rows = entity::rows(response.body()).map_err(TableError::Malformed)?;
        Ok(Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next })
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        check_table(table)?;
        check_sweep(sweep)?;
        let (low, high) = (doubled(&sweep.from), doubled(&sweep.to));
        let mut filter = format!("PartitionKey ge '{low}' and PartitionKey lt '{high}'");
        if let Some(row) = &sweep.row {
            filter.push_str(&format!(" and RowKey eq '{}'", doubled(row)));
        }
        let (response, next) = self.page(table, &filter, sweep.top, from).await?;
        let rows = entity::rows(response.body()).map_err(TableError::Malformed)?;
        Ok(SweepPage { rows, next })
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        check_table(table)?;
        check_transaction(partition, operations)?;
        let (boundary, body) = batch::request(&self.base, table, partition, operations);
        if body.len() > MAX_BODY_BYTES {
            return Err(TableError::Refused(format!("a transaction takes {} bytes on the wire", body.len())).into());
        }
        let mut request = self.request("$batch", None, Method::Post);
        request.insert_header(CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}"));
        request.set_body(body);
        let response = match self.channel.once(&mut request).await {
            Ok(response) => response,
            Err(Failure::Denied(reason)) => return Err(TableError::Denied(reason).into()),
            Err(Failure::NotSent(reason)) => return Err(TableError::Unavailable(reason).into()),
            Err(Failure::Broken(reason)) => return Err(TransactError::Unknown(reason)),
        };
        let content_type = header(&response, "content-type").unwrap_or_default();
        batch::outcome(response.status().into(), content_type, response.body(), operations)
    }
}

impl AzureTableStore {
    /// One page of what a filter selects, and where it goes on.
    async fn page(
        &self,
        table: &str,
        filter: &str,
        top: u32,
        from: Option<&Continuation>,
    ) -> Result<(RawResponse, Option<Continuation>), TableError> {
        let mut query = format!("$filter={}&$top={top}", percent(filter));
        if let Some(from) = from {
            let (partition, row): (String, Option<String>) = serde_json::from_str(&from.0)
                .map_err(|_| TableError::Refused("a continuation of another store".to_owned()))?;
            query.push_str(&format!("&NextPartitionKey={}", percent(&partition)));
            if let Some(row) = row {
                query.push_str(&format!("&NextRowKey={}", percent(&row)));
            }
        }
        let mut request = self.request(&format!("{table}()"), Some(&query), Method::Get);
        let response = self.channel.repeating(&mut request).await.map_err(unsent)?;
        if u16::from(response.status()) != 200 {
            return Err(refusal(&response));
        }
        let next = header(&response, "x-ms-continuation-nextpartitionkey").map(|partition| {
            let row = header(&response, "x-ms-continuation-nextrowkey");
            Continuation(serde_json::json!([partition, row]).to_string())
        });
        Ok((response, next))
    }
}

fn unsent(failure: Failure) -> TableError {
    match failure {
        Failure::Denied(reason) => TableError::Denied(reason),
        Failure::NotSent(reason) | Failure::Broken(reason) => TableError::Unavailable(reason),
    }
}

/// What an answer other than success means to a request that may be repeated.
fn refusal(response: &RawResponse) -> TableError {
    let status = u16::from(response.status());
    let reason = format!("{status} {}", excerpt(response.body()));
    match status {
        401 | 403 => TableError::Denied(reason),
        408 | 429 | 500.. => TableError::Unavailable(reason),
        400..500 => TableError::Refused(reason),
        _ => TableError::Malformed(reason),
    }
}

/// The service's error code, as in `ResourceNotFound`; empty where there is none.
fn code(response: &RawResponse) -> String {
    match header(response, "x-ms-error-code") {
        Some(code) => code.to_owned(),
        None => entity::error_code(response.body()).unwrap_or_default(),
    }
}

/// `Table(PartitionKey='…',RowKey='…')`, encoded.
fn entity_path(table: &str, partition: &str, key: &str) -> String {
    format!("{table}(PartitionKey='{}',RowKey='{}')", percent(&doubled(partition)), percent(&doubled(key)))
}

/// A quote within an OData literal is written twice.
fn doubled(text: &str) -> String {
    text.replace('\'', "''")
}

/// Percent-encodes all but the unreserved characters.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(byte as char);
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

/// A table's name stands in addresses and in a header of every part.
fn check_table(name: &str) -> Result<(), TableError> {
    if name.is_empty() || !name.bytes().all(|letter| letter.is_ascii_alphanumeric()) {
        return Err(TableError::Refused(format!("{name:?} is no table name")));
    }
    Ok(())
}

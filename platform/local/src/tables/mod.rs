//! The Table REST front: Azure Tables as far as Skein's model goes, before the embedded store or before Azurite.
//!
//! It takes what the project's client and the ordinary SDKs send for rows of the five types: point reads, queries
//! that bound `PartitionKey` and `RowKey`, writes of one row, and `$batch` with one changeset. Whatever else Azure
//! knows is refused by name (501), never half-done.

mod azurite;
mod batch;
mod error;
mod filter;
mod odata;
mod resource;
mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use skein_embedded::{EmbeddedStore, OpenError};
use uuid::Uuid;

use crate::access::{Action, Guard, Place};

pub use azurite::{Azurite, AzuriteError};
use error::Problem;
use resource::Resource;

/// Where the front is mounted.
pub const PREFIX: &str = "/tables";

/// The audience of its tokens.
const AUDIENCE: &str = "https://storage.azure.com";

/// The most bytes of a request (Azure Tables: 4 MiB).
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// What keeps the rows.
#[allow(clippy::large_enum_variant, reason = "there is one of them, behind an Arc")]
pub enum Backend {
    /// A file for each storage account.
    Embedded(BTreeMap<String, EmbeddedStore>),
    /// An Azurite for all of them.
    Azurite(Azurite),
}

impl Backend {
    /// Opens `{account}.db` in the folder for each account, and makes its tables. Blocks.
    ///
    /// # Errors
    /// A folder or file that cannot be opened, or a bad table name.
    pub fn embedded<'a>(
        folder: &Path,
        accounts: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, OpenError> {
        let stores = accounts.into_iter().map(|(account, tables)| {
            let store = EmbeddedStore::open(folder.join(format!("{account}.db")), &tables)?;
            Ok((account.to_owned(), store))
        });
        Ok(Backend::Embedded(stores.collect::<Result<_, OpenError>>()?))
    }
}

struct Front {
    guard: Guard,
    backend: Backend,
}

/// The routes of the front, to be nested under [`PREFIX`].
pub fn router(guard: impl Into<Guard>, backend: Backend) -> Router {
    let guard = guard.into();
    Router::new().fallback(serve).with_state(Arc::new(Front { guard, backend }))
}

/// One request, alone or within a batch.
struct Call {
    method: Method,
    resource: Resource,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }
}

async fn serve(State(front): State<Arc<Front>>, request: Request) -> Response {
    let id = Uuid::new_v4();
    let mut response = match answer(&front, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("x-ms-version", HeaderValue::from_static("2020-12-06"));
    // Every service of Azure Storage names itself, and there are clients that rely on it.
    headers.entry(header::SERVER).or_insert(HeaderValue::from_static("Skein-Local-Table/1.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-ms-request-id", id);
    }
    response
}

async fn answer(front: &Front, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = front.guard.caller(&parts.headers, AUDIENCE);
    let caller = caller.map_err(|error| Problem::unauthorized(error.to_string()))?;
    let body = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Problem::too_large())?;
    let (account, rest) = parts.uri.path().trim_start_matches('/').split_once('/').ok_or_else(Problem::not_found)?;
    let query = parts.uri.query().unwrap_or_default();
    let resource = Resource::parse(rest)?;
    if front.guard.enforces() {
        let (action, place) = needed(account, &resource, &parts.method, &parts.headers, &body)?;
        front.guard.allow(&caller, action, &place).map_err(|refused| Problem::forbidden(&refused))?;
    }
    match &front.backend {
        Backend::Embedded(stores) => {
            let store = stores.get(account).ok_or_else(Problem::not_found)?;
            let call =
                Call { method: parts.method, resource, query: resource::query(query), headers: parts.headers, body };
            service::serve(store, account, &call).await
        }
        Backend::Azurite(azurite) => azurite.forward(account, rest, query, &parts.method, &parts.headers, body).await,
    }
}

/// What a request does, and with what.
fn needed(
    account: &str,
    resource: &Resource,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(Action, Place), Problem> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    Ok(match resource {
        Resource::Tables | Resource::Table(_) if reads => (Action::TableList, Place::tables(account)),
        Resource::Tables => (Action::TableCreate, Place::tables(account)),
        Resource::Table(table) => (Action::TableCreate, Place::table(account, table)),
        Resource::Rows(table) | Resource::Row { table, .. } if reads => (Action::RowRead, Place::table(account, table)),
        Resource::Rows(table) | Resource::Row { table, .. } => (Action::RowWrite, Place::table(account, table)),
        Resource::Batch => {
            let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            match batch::table(kind, body)? {
                Some(table) => (Action::RowWrite, Place::table(account, &table)),
                // Nothing can be done with it.
                None => (Action::RowWrite, Place::tables(account)),
            }
        }
    })
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

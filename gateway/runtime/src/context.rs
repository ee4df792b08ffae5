//! What expressions see: C#'s `context`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use uuid::Uuid;

use crate::expression::{Failure, Value};

/// Why a request was taken out of its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastError {
    /// The policy.
    pub(crate) source: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// A request on its way.
pub(crate) struct Context<'p> {
    pub(crate) request: Request<Bytes>,
    /// The path below the API's, with a leading slash.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) variables: BTreeMap<&'p str, Value>,
    /// The base URL that the request goes to.
    pub(crate) backend: Option<&'p str>,
    pub(crate) response: Option<Response<Bytes>>,
    pub(crate) reason: Option<String>,
    pub(crate) error: Option<LastError>,
    /// What an answer carries whatever it is: CORS, for one.
    pub(crate) always: HeaderMap,
    /// The gateway's id of the request.
    pub(crate) id: Uuid,
    /// Another random id.
    pub(crate) second_id: Uuid,
}

impl Context<'_> {
    pub(crate) fn variable(&self, name: &str) -> Result<&Value, Failure> {
        self.variables.get(name).ok_or_else(|| Failure(format!("there is no variable {name:?}")))
    }

    pub(crate) fn method(&self) -> &Method {
        self.request.method()
    }

    /// A header of the request; several of one name are joined by commas.
    pub(crate) fn request_header(&self, name: &str) -> Option<String> {
        let mut values =
            self.request.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next()?.into_owned();
        Some(values.fold(first, |joined, value| format!("{joined},{value}")))
    }

    pub(crate) fn response(&self) -> Result<&Response<Bytes>, Failure> {
        self.response.as_ref().ok_or_else(|| Failure("there is no response yet".to_owned()))
    }

    /// The reason phrase of the response.
    pub(crate) fn reason(&self) -> &str {
        let status = self.response.as_ref().map_or(StatusCode::OK, Response::status);
        self.reason.as_deref().or(status.canonical_reason()).unwrap_or_default()
    }

    pub(crate) fn last_error(&self) -> Result<&LastError, Failure> {
        self.error.as_ref().ok_or_else(|| Failure("there is no error".to_owned()))
    }
}

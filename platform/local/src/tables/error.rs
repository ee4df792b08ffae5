//! Errors as Azure Tables writes them: a status, a code, and both in JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use skein_core::ports::TableError;
use skein_embedded::{Unmet, WriteError};

use crate::access::Forbidden;

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Problem { status, code, message: message.into() }
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Problem::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationInfo", message)
    }

    pub fn forbidden(refused: &Forbidden) -> Self {
        let message =
            format!("This request is not authorized to perform this operation using this permission: {refused}.");
        Problem::new(StatusCode::FORBIDDEN, "AuthorizationPermissionMismatch", message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "InvalidInput", message)
    }

    pub fn unsupported(what: &str) -> Self {
        Problem::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("the local Table service knows no {what}"))
    }

    pub fn not_found() -> Self {
        Problem::new(StatusCode::NOT_FOUND, "ResourceNotFound", "The specified resource does not exist.")
    }

    pub fn no_table() -> Self {
        Problem::new(StatusCode::NOT_FOUND, "TableNotFound", "The table specified does not exist.")
    }

    pub fn too_large() -> Self {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestBodyTooLarge",
            "The request body is too large and exceeds the maximum permissible limit.",
        )
    }

    pub fn json(&self) -> String {
        json!({ "odata.error": { "code": self.code, "message": { "lang": "en-US", "value": self.message } } })
            .to_string()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::odata::CONTENT_TYPE));
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge =
                "Bearer authorization_uri=https://issuer.skein.local/ resource_id=https://storage.azure.com";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Refused(why) => Problem::invalid(why),
            TableError::Denied(why) => Problem::new(StatusCode::FORBIDDEN, "AuthorizationFailure", why),
            TableError::Unavailable(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", why),
            TableError::Malformed(why) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", why),
        }
    }
}

/// The problem, and the write it is about where it is about one.
pub(super) fn of_write(error: WriteError) -> (usize, Problem) {
    match error {
        WriteError::Unmet { index, unmet, .. } => {
            let problem = match unmet {
                Unmet::Exists => {
                    Problem::new(StatusCode::CONFLICT, "EntityAlreadyExists", "The specified entity already exists.")
                }
                Unmet::Missing => Problem::not_found(),
                Unmet::Changed => Problem::new(
                    StatusCode::PRECONDITION_FAILED,
                    "UpdateConditionNotSatisfied",
                    "The update condition specified in the request was not satisfied.",
                ),
            };
            (index, problem)
        }
        WriteError::Refused(error) => (0, error.into()),
        WriteError::Unknown(why) => (0, Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", why)),
    }
}

//! Errors as clients see them: a code, a sentence, the trace's id, and nothing of the inside.

use async_graphql::{ErrorExtensionValues, ServerError};
use skein_core::submit::SubmitError;
use skein_core::{EnvelopeError, Fault, IdError};

use crate::code::Code;

/// Why a field has no answer. A domain's rejection is none of these: it is an outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// The input cannot be meant so.
    #[error("{0}")]
    BadInput(String),
    /// Nobody is known to ask, or no more.
    #[error("{0}")]
    Unauthenticated(String),
    /// The principal may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// It does not exist, or must seem so.
    #[error("{0}")]
    NotFound(String),
    /// The client's command id belongs to another input.
    #[error("{0}")]
    CommandIdReused(String),
    /// The command does not fit the queue.
    #[error("{0}")]
    TooLarge(String),
    /// Something is away; trying again later may help. The client is told the fault's code only.
    #[error("the service cannot answer now ({}): try again, a mutation with the same commandId", .0.code)]
    Unavailable(Fault),
    /// Something is wrong inside. The client is told the fault's code only.
    #[error("the service failed ({}); the trace id leads to the reason", .0.code)]
    Internal(Fault),
}

impl ApiError {
    /// The input cannot be meant so.
    pub fn bad_input(message: impl Into<String>) -> Self {
        ApiError::BadInput(message.into())
    }

    /// The principal may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        ApiError::Forbidden(message.into())
    }

    /// The code in `extensions.code`.
    pub fn code(&self) -> Code {
        match self {
            ApiError::BadInput(_) => Code::BadUserInput,
            ApiError::Unauthenticated(_) => Code::Unauthenticated,
            ApiError::Forbidden(_) => Code::Forbidden,
            ApiError::NotFound(_) => Code::NotFound,
            ApiError::CommandIdReused(_) => Code::CommandIdReused,
            ApiError::TooLarge(_) => Code::TooLarge,
            ApiError::Unavailable(_) => Code::Unavailable,
            ApiError::Internal(_) => Code::Internal,
        }
    }

    fn fault(&self) -> Option<&Fault> {
        match self {
            ApiError::Unavailable(fault) | ApiError::Internal(fault) => Some(fault),
            _ => None,
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        if fault.is_transient() { ApiError::Unavailable(fault) } else { ApiError::Internal(fault) }
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        ApiError::BadInput(error.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let text = error.to_string();
        match error {
            SubmitError::CommandIdReused(_) => ApiError::CommandIdReused(text),
            SubmitError::CommandIdLength(_) | SubmitError::Id(_) => ApiError::BadInput(text),
            SubmitError::Envelope(EnvelopeError::TooLarge { .. }) => ApiError::TooLarge(text),
            SubmitError::Envelope(EnvelopeError::Json(_)) => {
                ApiError::Internal(Fault::permanent("COMMAND_HAS_NO_JSON", text))
            }
            SubmitError::Fault(fault) => fault.into(),
        }
    }
}

/// Gives an error its code and the trace's id, hides what is not for the client, and logs that.
pub(crate) fn finished(mut error: ServerError, trace_id: &str) -> ServerError {
    let mut extensions = error.extensions.take().unwrap_or_default();
    if extensions.get("code").is_none() {
        let code = code_of(&mut error, &mut extensions);
        extensions.set("code", code.as_str());
    }
    extensions.set("traceId", trace_id);
    error.extensions = Some(extensions);
    error
}

fn code_of(error: &mut ServerError, extensions: &mut ErrorExtensionValues) -> Code {
    if let Some(known) = error.source::<ApiError>() {
        if let Some(fault) = known.fault() {
            tracing::error!(code = fault.code, reason = fault.message, "a field failed");
            extensions.set("fault", fault.code);
        }
        return known.code();
    }
    if error.source.is_some() {
        // A resolver gave an error of another type: it was not written for clients.
        tracing::error!(reason = error.message, "a field failed");
        "the service failed; the trace id leads to the reason".clone_into(&mut error.message);
        return Code::Internal;
    }
    if error.path.is_empty() { Code::GraphqlValidationFailed } else { Code::BadUserInput }
}

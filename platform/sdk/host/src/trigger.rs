//! What the triggers hand to a function, and what a function hands back.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One call of one function.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The function's name.
    pub function: String,
    /// The host's id of the call; made here where the host gave none.
    pub id: String,
    /// The W3C trace context, kept where one came and made where none did.
    pub traceparent: String,
    pub(crate) started: Instant,
}

impl Invocation {
    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        crate::trace::trace_id(&self.traceparent).unwrap_or_default()
    }
}

/// A request to an HTTP function, whichever way the host sent it.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path with the route prefix, still encoded.
    pub path: String,
    /// The query string, still encoded.
    pub query: Option<String>,
    /// The route's parameters, decoded.
    pub params: BTreeMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The call that this request is.
    pub invocation: Invocation,
}

impl HttpRequest {
    /// A header as text; `None` where it is absent or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A parameter of the route.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }
}

/// An HTTP function's answer.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers; `Content-Type` among them, since the host's default is text.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What the log line says besides the status, as an error code.
    pub outcome: Option<String>,
}

impl HttpResponse {
    /// An answer with a body of the given media type.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        HttpResponse { status, headers, body: body.into(), outcome: None }
    }

    /// An answer in JSON. A value that has no JSON is a 500.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => HttpResponse::new(status, "application/json", body),
            Err(error) => {
                HttpResponse::problem(StatusCode::INTERNAL_SERVER_ERROR, "ANSWER_HAS_NO_JSON", &error.to_string())
            }
        }
    }

    /// A refusal: `{"error": {"code", "message"}}`.
    pub fn problem(status: StatusCode, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"error": {"code": code, "message": message}}).to_string();
        HttpResponse::new(status, "application/json", body).outcome(code)
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same answer with a word for the log line.
    #[must_use]
    pub fn outcome(mut self, outcome: &str) -> Self {
        self.outcome = Some(outcome.to_owned());
        self
    }
}

/// A message of a Service Bus trigger.
#[derive(Debug, Clone)]
pub struct ServiceBusMessage {
    /// The body, byte for byte.
    pub body: Bytes,
    /// The message id; empty where the sender set none.
    pub message_id: String,
    /// The session id.
    pub session_id: Option<String>,
    /// How often it was delivered, this time included: 1 on the first.
    pub delivery_count: u32,
    /// The broker's number of the message.
    pub sequence_number: Option<i64>,
    /// When it was enqueued, UTC.
    pub enqueued_at: Option<OffsetDateTime>,
    /// The correlation id of the message's properties.
    pub correlation_id: Option<String>,
    /// The W3C trace context of the sender, from the property `traceparent` or `Diagnostic-Id`.
    pub traceparent: Option<String>,
    /// The application's properties.
    pub properties: BTreeMap<String, serde_json::Value>,
}

/// An event of an Event Grid trigger.
#[derive(Debug, Clone)]
pub struct EventGridEvent {
    /// The event in JSON, as it was delivered.
    pub body: Bytes,
    /// The W3C trace context, from the event's attribute `traceparent`.
    pub traceparent: Option<String>,
}

/// A call of a timer trigger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Timer {
    /// Whether the call is late.
    #[serde(rename = "IsPastDue", default)]
    pub is_past_due: bool,
    /// The schedule's status; `None` where it is not monitored.
    #[serde(rename = "ScheduleStatus", default)]
    pub status: Option<serde_json::Value>,
}

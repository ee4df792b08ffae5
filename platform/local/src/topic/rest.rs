//! The Event Grid front: publishing to a custom topic over HTTP.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use serde_json::value::RawValue;

use crate::access::{Action, Guard, Place};

use super::{MAX_REQUEST_BYTES, PublishError, Topics};

/// Where the front is mounted.
pub const PREFIX: &str = "/eventgrid";

/// The audience of its tokens.
const AUDIENCE: &str = "https://eventgrid.azure.net";

#[derive(Clone)]
struct Front {
    guard: Guard,
    topics: Topics,
}

/// The front, to be mounted at [`PREFIX`]: `POST /{topic}/api/events`.
pub fn router(guard: impl Into<Guard>, topics: Topics) -> axum::Router {
    let not_allowed = || async { refusal(StatusCode::METHOD_NOT_ALLOWED, "events are published by POST") };
    axum::Router::new()
        .route("/{topic}/api/events", post(publish).fallback(not_allowed))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "there is nothing here but /{topic}/api/events") })
        .with_state(Front { guard: guard.into(), topics })
}

/// An error as Azure writes it.
fn refusal(status: StatusCode, message: &str) -> Response {
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLarge".to_owned(),
        status => status.canonical_reason().unwrap_or_default().replace(' ', ""),
    };
    let detail = json!({ "code": code, "message": message });
    let error = json!({ "error": { "code": code, "message": message, "details": [detail] } });
    (status, Json(error)).into_response()
}

async fn publish(State(front): State<Front>, Path(topic): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let caller = match front.guard.caller(&parts.headers, AUDIENCE) {
        Ok(caller) => caller,
        Err(refused) => return refusal(StatusCode::UNAUTHORIZED, &refused.to_string()),
    };
    if let Err(refused) = front.guard.allow(&caller, Action::TopicPublish, &Place::topic(&topic)) {
        let reason =
            format!("The principal associated with the access token may not send data to the topic: {refused}");
        return refusal(StatusCode::FORBIDDEN, &reason);
    }
    let events = match read(&parts.headers, body).await {
        Ok(events) => events,
        Err((status, reason)) => return refusal(status, &reason),
    };
    match front.topics.publish(&topic, events).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let status = match &error {
                PublishError::NoTopic(_) => StatusCode::NOT_FOUND,
                PublishError::Schema(_) => StatusCode::BAD_REQUEST,
                PublishError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                PublishError::Broker(cause) => {
                    tracing::error!(error = cause as &dyn std::error::Error, topic, "publishing failed");
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            refusal(status, &error.to_string())
        }
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<Bytes>, (StatusCode, String)> {
    let Ok(body) = axum::body::to_bytes(body, MAX_REQUEST_BYTES).await else {
        let reason = format!("the request has more than {MAX_REQUEST_BYTES} bytes, or broke off");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, reason));
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/cloudevents+json" => Ok(vec![body]),
        "application/cloudevents-batch+json" => {
            let events: Vec<&RawValue> = serde_json::from_slice(&body)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("not a JSON array of CloudEvents: {error}")))?;
            Ok(events.iter().map(|event| body.slice_ref(event.get().as_bytes())).collect())
        }
        other => Err((StatusCode::BAD_REQUEST, format!("the content type {other:?} is not the topic's schema"))),
    }
}

#[cfg(test)]
mod tests;

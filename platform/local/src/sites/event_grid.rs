//! Event Grid triggers: the webhook that the functions host offers, with both handshakes.

use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::package::Trigger;
use super::{Site, payload};

/// The path of the webhook, in lower case.
pub const PATH: &str = "/runtime/webhooks/eventgrid";

/// The largest delivery: a batch of Event Grid.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The site's system key for the webhook: made once and kept in the state folder.
pub fn key(folder: &Path, site: &str) -> std::io::Result<String> {
    super::read_or_make(&folder.join(format!("{site}.eventgrid_extension")), || {
        uuid::Uuid::new_v4().simple().to_string()
    })
}

/// Answers a request to the webhook.
pub async fn answer(
    site: &Site,
    method: &Method,
    query: &[(String, String)],
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let query = |name: &str| {
        let found = query.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    let key = header("x-functions-key").or_else(|| query("code"));
    if key.as_deref() != Some(&site.event_grid_key) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let name = query("functionName").unwrap_or_default();
    let Some(function) =
        site.package.functions.iter().find(|function| {
            matches!(function.trigger, Trigger::EventGrid) && function.name.eq_ignore_ascii_case(&name)
        })
    else {
        return (StatusCode::NOT_FOUND, format!("cannot find function: '{name}'")).into_response();
    };
    if method == Method::OPTIONS {
        let origin = header("webhook-request-origin").unwrap_or_else(|| "eventgrid.azure.net".into());
        let known = origin.eq_ignore_ascii_case("eventgrid.azure.net");
        let origin = if known { origin } else { "eventgrid.azure.net".into() };
        return (StatusCode::OK, [("Webhook-Allowed-Origin", origin)]).into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, MAX_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match header("aeg-event-type").as_deref() {
        Some("SubscriptionValidation") => match validation_code(&body) {
            Some(code) => axum::Json(json!({"validationResponse": code})).into_response(),
            None => (StatusCode::BAD_REQUEST, "there is no validationCode").into_response(),
        },
        Some("Unsubscribe") => StatusCode::ACCEPTED.into_response(),
        Some("Notification") => {
            let events: Vec<Box<RawValue>> = match serde_json::from_slice(&body) {
                Ok(events) => events,
                Err(_) => match serde_json::from_slice::<Box<RawValue>>(&body) {
                    Ok(event) if event.get().starts_with('{') => vec![event],
                    _ => return (StatusCode::BAD_REQUEST, "the body is no event").into_response(),
                },
            };
            let mut calls = Vec::new();
            for event in &events {
                let body =
                    payload::event_grid(&function.name, &function.binding, event.get(), OffsetDateTime::now_utc());
                let Ok(body) = body else {
                    return (StatusCode::BAD_REQUEST, "an event is no object").into_response();
                };
                let trace = serde_json::from_str::<Value>(event.get()).ok();
                let trace = trace.and_then(|event| Some(event.get("traceparent")?.as_str()?.to_owned()));
                calls.push(async move { site.invoke(function, body, trace.as_deref()).await });
            }
            // All in parallel; any failure makes Event Grid send the whole delivery again.
            for result in join_all(calls).await {
                if let Err(error) = result {
                    return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
                }
            }
            StatusCode::ACCEPTED.into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Runs all futures at once.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// The code of a validation event: of a list's first element, or of an object whose data is JSON in a string.
fn validation_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let data = match &body {
        Value::Array(events) => events.first()?.get("data")?.clone(),
        Value::Object(event) => match event.get("data")? {
            Value::String(text) => serde_json::from_str(text).ok()?,
            data => data.clone(),
        },
        _ => return None,
    };
    data.get("validationCode")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_codes_of_both_schemas() {
        assert_eq!(validation_code(br#"[{"data": {"validationCode": "a"}}]"#).as_deref(), Some("a"));
        assert_eq!(validation_code(br#"{"data": "{\"validationCode\": \"b\"}"}"#).as_deref(), Some("b"));
        assert_eq!(validation_code(b"[]"), None);
        assert_eq!(validation_code(b"{"), None);
    }
}

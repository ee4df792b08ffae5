//! The functions host's payloads, given to an app.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use skein_host::{App, HttpResponse};

use crate::draw::Draw;
use crate::run;

/// What the handlers were given.
static SEEN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// The app and its record are one for all threads.
static TURN: Mutex<()> = Mutex::new(());

fn seen(body: &[u8]) {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(body.to_vec());
}

static APP: LazyLock<Arc<App>> = LazyLock::new(|| {
    let app = App::new("func-desk-command")
        .http("tickets", &[Method::POST], "tickets/{id}", |request| async move {
            seen(&request.body);
            HttpResponse::json(StatusCode::OK, &request.params)
        })
        .service_bus("commands", "message", |message, _| async move {
            seen(&message.body);
            assert!(message.delivery_count > 0, "a delivery is at least the first");
            Ok(message.message_id)
        })
        .event_grid("events", |event, _| async move {
            seen(&event.body);
            Ok(String::new())
        })
        .timer("tick", |timer, _| async move {
            seen(&[]);
            Ok(format!("{}", timer.is_past_due))
        });
    Arc::new(app)
});

/// Calls one function, and returns the status, the answer and what its handler was given.
fn call(path: &str, body: &[u8]) -> (StatusCode, Value, Vec<Vec<u8>>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let request = Request::post(path).body(Body::from(body.to_vec())).expect("a request");
    let (status, answer) = run(async {
        let response = APP.answer(request).await;
        (response.status(), to_bytes(response.into_body(), usize::MAX).await.expect("an answer's body"))
    });
    let answer = serde_json::from_slice(&answer).expect("the host waits for ever for an answer that is not JSON");
    (status, answer, std::mem::take(&mut SEEN.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The first byte chooses the function, the rest is what the host sends it.
///
/// The answer is always JSON, and a success only where the handler was given something: the host would settle the
/// message otherwise.
pub fn host_payload(data: &[u8]) {
    let mut draw = Draw::new(data);
    let function = *draw.of(&["commands", "events", "tick", "tickets"]);
    let body = draw.rest();
    let (status, answer, seen) = call(&format!("/{function}"), body);
    assert!(answer.is_object(), "{answer}");
    if status.is_success() {
        // Only a batch of no messages is a success without a call.
        if seen.is_empty() {
            let payload: Value = serde_json::from_slice(body).expect("what succeeds is JSON");
            let data = payload["Data"].as_object().expect("what succeeds has Data");
            let empty = data.values().any(|value| match value {
                Value::Array(items) => items.is_empty(),
                Value::String(text) => serde_json::from_str(text).is_ok_and(|inner: Vec<Value>| inner.is_empty()),
                _ => false,
            });
            assert!(empty, "a success without a call of the handler: {payload}");
        }
    } else {
        assert!(answer["Logs"][0].as_str().is_some_and(|reason| !reason.is_empty()), "a failure says why: {answer}");
        crate::bounded(&answer["Logs"][0]);
    }
    // A message's bytes reach the handler as they were sent, whatever they are.
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, body);
    let sent = serde_json::json!({"Data": {"message": encoded}, "Metadata": {"MessageId": "\"m\""}}).to_string();
    let (status, answer, seen) = call("/commands", sent.as_bytes());
    assert_eq!((status, &seen[..]), (StatusCode::OK, &[body.to_vec()][..]), "{answer}");
}

//! The functions of subscriptions: how a client connects, and what the hub passes on of what it asks for.

use std::sync::Arc;

use async_graphql::ObjectType;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use skein_graphql::{NegotiateError, Subscriptions};
use skein_host::{App, HttpRequest, HttpResponse, caller_id, principal_and_end};

use crate::{conversation, unauthorized};

/// The end of a message in SignalR's JSON protocol.
const RECORD_SEPARATOR: char = '\u{1e}';

/// Who may call the functions.
#[derive(Clone)]
pub(crate) struct Callers {
    /// The identities that may name a principal.
    pub fronts: Arc<[String]>,
    /// SignalR's.
    pub hub: Arc<str>,
}

/// Adds the functions `negotiate` and `signalr`.
pub(crate) fn functions<Q, M>(app: App, subscriptions: Subscriptions<Q, M>, callers: Callers) -> App
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
{
    let (negotiating, fronts) = (subscriptions.clone(), callers.fronts);
    app.http("negotiate", &[Method::POST], "negotiate", move |request| {
        let (subscriptions, fronts) = (negotiating.clone(), Arc::clone(&fronts));
        async move { negotiate(&subscriptions, &fronts, &request).await }
    })
    .http("signalr", &[Method::POST], "signalr", move |request| {
        let (subscriptions, hub) = (subscriptions.clone(), Arc::clone(&callers.hub));
        async move { upstream(&subscriptions, &hub, &request).await }
    })
}

/// Where a client connects, and its token.
async fn negotiate<Q, M>(subscriptions: &Subscriptions<Q, M>, fronts: &[String], request: &HttpRequest) -> HttpResponse
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
{
    let (principal, ends) = match principal_and_end(request, fronts) {
        Ok(said) => said,
        Err(reason) => return unauthorized(&reason),
    };
    match subscriptions.negotiate(&principal, ends).await {
        Ok(access) => HttpResponse::json(StatusCode::OK, &json!({"url": access.url, "accessToken": access.token})),
        Err(error @ NegotiateError::TokenEnds) => {
            HttpResponse::problem(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", &error.to_string())
        }
        Err(NegotiateError::Fault(fault)) => {
            tracing::error!(code = fault.code, reason = fault.message, "nobody can connect");
            HttpResponse::problem(StatusCode::SERVICE_UNAVAILABLE, fault.code, "nobody can connect now: try again")
        }
    }
}

/// What the hub says: somebody connected, went, or calls a method.
async fn upstream<Q, M>(subscriptions: &Subscriptions<Q, M>, hub: &str, request: &HttpRequest) -> HttpResponse
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
{
    match caller_id(request) {
        Ok(caller) if !hub.is_empty() && caller.eq_ignore_ascii_case(hub) => {}
        Ok(caller) => {
            tracing::warn!(caller, "is not the hub");
            let text = "this function answers the service's SignalR only";
            return HttpResponse::problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text);
        }
        Err(reason) => return unauthorized(&reason),
    }
    let header = |name: &str| request.header(name).unwrap_or_default();
    let user = header("x-asrs-user-id");
    match (header("x-asrs-category"), header("x-asrs-event")) {
        ("connections", "disconnected") => match subscriptions.disconnected(user).await {
            Ok(()) => nothing(),
            Err(fault) => {
                // Nobody says it again: what is left ends with its time.
                tracing::warn!(
                    code = fault.code,
                    reason = fault.message,
                    "a connection's subscriptions were not ended"
                );
                HttpResponse::problem(StatusCode::SERVICE_UNAVAILABLE, fault.code, "they end with their time")
            }
        },
        ("connections", _) => nothing(),
        ("messages", _) => match Call::of(&request.body) {
            Some(call) => {
                let trace = conversation(request).correlation_id;
                let result = match call.target.as_str() {
                    "subscribe" => Ok(subscriptions.subscribe(user, &call.arguments, &trace).await),
                    "complete" => match subscriptions.complete(user, &call.arguments).await {
                        Ok(()) => Ok(Value::Null),
                        Err(error) => Err(error.to_string()),
                    },
                    other => Err(format!("there is no method {other:?}: call subscribe or complete")),
                };
                completion(call.id, result)
            }
            None => HttpResponse::problem(StatusCode::BAD_REQUEST, "BAD_REQUEST", "the message cannot be read"),
        },
        (category, event) => {
            let text = format!("nothing is known of the event {event:?} of {category:?}");
            HttpResponse::problem(StatusCode::BAD_REQUEST, "BAD_REQUEST", &text)
        }
    }
}

fn nothing() -> HttpResponse {
    HttpResponse::new(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", "")
}

/// A call of a hub's method. The keys' letters are not the same in all versions of the service.
struct Call {
    id: Option<String>,
    target: String,
    arguments: Vec<Value>,
}

impl Call {
    fn of(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return None };
        let mut call = Call { id: None, target: String::new(), arguments: Vec::new() };
        for (name, value) in members {
            match (name.to_ascii_lowercase().as_str(), value) {
                ("invocationid", Value::String(id)) => call.id = Some(id),
                ("target", Value::String(target)) => call.target = target,
                ("arguments", Value::Array(arguments)) => call.arguments = arguments,
                _ => {}
            }
        }
        (!call.target.is_empty()).then_some(call)
    }
}

/// The answer to a call: nothing where the client does not wait for one.
fn completion(id: Option<String>, result: Result<Value, String>) -> HttpResponse {
    let Some(id) = id else { return nothing() };
    let message = match result {
        Ok(result) => json!({"type": 3, "invocationId": id, "result": result}),
        Err(error) => json!({"type": 3, "invocationId": id, "error": error}),
    };
    HttpResponse::new(StatusCode::OK, "application/json", format!("{message}{RECORD_SEPARATOR}"))
}

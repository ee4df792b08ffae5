//! Everything that the author of a service imports.
//!
//! A service is four crates: `contract` and `domain` are written in the vocabulary of [`core`]; `functions` states the
//! GraphQL fields with [`graphql`] and registers aggregates, views and reactions in [`command_app`] and [`query_app`];
//! `infra` is its descriptor. This crate knows no adapter: the ports come from outside.

mod command_app;
mod live_app;
mod query_app;

pub use skein_core as core;
pub use skein_graphql as graphql;
pub use skein_host as host;

pub use command_app::{CommandApp, command_app};
pub use query_app::{QueryApp, QueryPorts, query_app};
pub use skein_core::handler::{CommandHandler, Ports};
pub use skein_core::views::{ViewReader, ViewsHandler};
pub use skein_graphql::UnstatedAccess;
pub use skein_host::{App, CommandSettings, QuerySettings};

use axum::http::{HeaderValue, Method, StatusCode, header};
use skein_core::Trace;
use skein_core::handler::Delivery;
use skein_graphql::{Asked, Caller, Code, Endpoint, HttpAnswer, refusal};
use skein_host::{HttpRequest, HttpResponse, ServiceBusMessage, Unauthorized, caller_id, principal, trace_id};
use skein_kind::KIND_HEADER;
use skein_kind::operations::PERSISTED_HEADER;

/// The binding of both queues' triggers.
const MESSAGE: &str = "message";

const ITS_GATEWAY_ONLY: &str = "this app answers its gateway only";

/// Answers a GraphQL request that a front passed on: what the function `graphql` of both apps does. `fronts` are the object
/// ids of the identities that may ask, the gateway's first; whatever others send is answered with 401, and nothing is
/// executed. `router` is the one of them that may say that its documents need not be in the app's list.
pub async fn graphql_over_http<Q, M>(
    endpoint: &Endpoint<Q, M>,
    fronts: &[String],
    router: Option<&str>,
    request: &HttpRequest,
) -> HttpResponse
where
    Q: async_graphql::ObjectType + 'static,
    M: async_graphql::ObjectType + 'static,
{
    let caller = conversation(request);
    let accept = request.header("accept");
    let refuse = |code: Code, text: &str| http_response(refusal(code, text, accept, &caller.correlation_id));
    let principal = match principal(request, fronts) {
        Ok(principal) => principal,
        Err(reason) => {
            tracing::warn!(%reason, "unauthorized");
            return refuse(Code::Unauthorized, ITS_GATEWAY_ONLY);
        }
    };
    let get = request.method == Method::GET;
    if request.headers.contains_key(header::CONTENT_ENCODING) || !(get || is_plain_json(request)) {
        return refuse(
            Code::UnsupportedMediaType,
            "send the request as application/json in UTF-8, not encoded further",
        );
    }
    if get && !request.body.is_empty() {
        return refuse(Code::BadRequest, "a GET has no body");
    }
    // What the gateway routed by has to be what this app serves; the endpoint looks at the request again.
    let serves = endpoint.serves().kind().as_str();
    if request.header(KIND_HEADER) != Some(serves) {
        let text = format!("the gateway must say that it is a {serves}, in {KIND_HEADER}");
        return refuse(Code::OperationKindMismatch, &text);
    }
    // It is not the header that is believed, but who sent it.
    let is_router = caller_id(request).is_ok_and(|id| router.is_some_and(|router| id.eq_ignore_ascii_case(router)));
    let asked = match get {
        true => Asked::Get(request.query.as_deref().unwrap_or_default()),
        false if is_router && request.header(PERSISTED_HEADER) == Some("true") => Asked::Part(&request.body),
        false => Asked::Post(&request.body),
    };
    http_response(endpoint.answer_to(asked, accept, Caller { principal, trace: caller }).await)
}

/// The answer as a function gives it.
fn http_response(answer: HttpAnswer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = HttpResponse::new(status, answer.content_type, answer.body);
    let response = match status {
        StatusCode::METHOD_NOT_ALLOWED => response.with_header(header::ALLOW, HeaderValue::from_static("POST")),
        _ => response,
    };
    HttpResponse { outcome: answer.outcome, ..response }
}

/// Whether the body is JSON in UTF-8, by one header that says so: as the gateway looks at it.
fn is_plain_json(request: &HttpRequest) -> bool {
    let mut values = request.headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        && parts.all(|part| match part.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.replace('"', "").trim().eq_ignore_ascii_case("utf-8")
            }
            None => !part.eq_ignore_ascii_case("charset"),
            Some(_) => true,
        })
}

/// A conversation begins with its first request; its id is the trace's.
fn conversation(request: &HttpRequest) -> Trace {
    let traceparent = &request.invocation.traceparent;
    Trace {
        correlation_id: trace_id(traceparent).unwrap_or(&request.invocation.id).to_owned(),
        causation_id: None,
        traceparent: Some(traceparent.clone()),
    }
}

fn unauthorized(reason: &Unauthorized) -> HttpResponse {
    tracing::warn!(%reason, "unauthorized");
    HttpResponse::problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", ITS_GATEWAY_ONLY)
}

fn delivery(message: &ServiceBusMessage) -> Delivery {
    Delivery {
        message_id: message.message_id.clone(),
        count: message.delivery_count,
        traceparent: message.traceparent.clone(),
    }
}

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

use axum::http::StatusCode;
use skein_core::Trace;
use skein_core::handler::Delivery;
use skein_graphql::{Caller, Endpoint};
use skein_host::{HttpRequest, HttpResponse, ServiceBusMessage, Unauthorized, principal, trace_id};
use skein_kind::KIND_HEADER;

/// The binding of both queues' triggers.
const MESSAGE: &str = "message";

/// Answers a GraphQL request that a front passed on.
async fn graphql_over_http<Q, M>(endpoint: &Endpoint<Q, M>, fronts: &[String], request: &HttpRequest) -> HttpResponse
where
    Q: async_graphql::ObjectType + 'static,
    M: async_graphql::ObjectType + 'static,
{
    let principal = match principal(request, fronts) {
        Ok(principal) => principal,
        Err(reason) => return unauthorized(&reason),
    };
    let json = request.header("content-type").is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    });
    if !json {
        let text = "send the request as application/json";
        return HttpResponse::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", text);
    }
    // What the gateway routed by has to be what this app serves; the endpoint looks at the body again.
    let serves = endpoint.serves().kind().as_str();
    if request.header(KIND_HEADER) != Some(serves) {
        let text = format!("the gateway must say that it is a {serves}, in {KIND_HEADER}");
        return HttpResponse::problem(StatusCode::BAD_REQUEST, "OPERATION_KIND_MISMATCH", &text);
    }
    let caller = Caller { principal, trace: conversation(request) };
    let answer = endpoint.answer(&request.body, request.header("accept"), caller).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse { outcome: answer.outcome, ..HttpResponse::new(status, answer.content_type, answer.body) }
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
    HttpResponse::problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "this app answers its gateway only")
}

fn delivery(message: &ServiceBusMessage) -> Delivery {
    Delivery {
        message_id: message.message_id.clone(),
        count: message.delivery_count,
        traceparent: message.traceparent.clone(),
    }
}

//! The app: its functions, and the dispatch of the host's calls to them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use skein_core::Fault;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::health::{self, Check};
use crate::payload::{HttpData, OneOrMany, Payload, PayloadError};
use crate::trace::{first_valid, fresh_traceparent};
use crate::trigger::{EventGridEvent, HttpRequest, HttpResponse, Invocation, ServiceBusMessage, Timer};

/// The largest body that is read: far above what queue and gateway let through, so that nothing is refused here
/// that they accepted.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

const INVOCATION_ID: &str = "x-azure-functions-invocationid";
const HTTP_IN: &str = "req";
const HTTP_OUT: &str = "res";

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type HttpHandler = Arc<dyn Fn(HttpRequest) -> BoxFuture<HttpResponse> + Send + Sync>;
type EventHandler<T> = Arc<dyn Fn(T, Invocation) -> BoxFuture<Result<String, Fault>> + Send + Sync>;

/// Why an app cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name is not one that the host accepts.
    #[error("{0:?} cannot be a function's name: it must match [A-Za-z][A-Za-z0-9_-]{{0,127}} and not be host")]
    Name(String),
    /// Two functions have one name.
    #[error("there are two functions {0:?}")]
    Twice(String),
    /// The listener failed.
    #[error("the app's listener failed: {0}")]
    Serve(#[from] std::io::Error),
}

/// A function's trigger, to be held against the descriptor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionTrigger {
    /// `httpTrigger` with the bindings `req` and `res`.
    Http {
        /// The methods, in capitals.
        methods: Vec<String>,
        /// The route, without the prefix.
        route: String,
    },
    /// `serviceBusTrigger` with `dataType: binary`.
    ServiceBus {
        /// The binding's name.
        binding: String,
    },
    /// `eventGridTrigger`.
    EventGrid,
    /// `timerTrigger`.
    Timer,
}

/// The functions of an app, by name.
pub type FunctionList = BTreeMap<String, FunctionTrigger>;

enum Handler {
    Http(HttpHandler),
    ServiceBus(EventHandler<ServiceBusMessage>),
    EventGrid(EventHandler<EventGridEvent>),
    Timer(EventHandler<Timer>),
}

struct Function {
    name: String,
    trigger: FunctionTrigger,
    handler: Handler,
}

/// A function app: functions by name.
///
/// ```
/// use axum::http::{Method, StatusCode};
/// use skein_host::{App, HttpResponse};
/// let app = App::new("func-desk-command")
///     .http("hello", &[Method::GET], "hello/{name}", |request| async move {
///         HttpResponse::json(StatusCode::OK, &request.param("name"))
///     })
///     .service_bus("commands", "message", |message, _| async move { Ok(format!("{} bytes", message.body.len())) })
///     .health(vec![]);
/// assert_eq!(app.functions().len(), 4);
/// ```
pub struct App {
    name: String,
    prefix: String,
    functions: Vec<Function>,
}

impl App {
    /// An app without functions.
    pub fn new(name: &str) -> Self {
        App { name: name.to_owned(), prefix: "api".to_owned(), functions: Vec::new() }
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same app under another `extensions.http.routePrefix` than `api`.
    #[must_use]
    pub fn route_prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    fn function(mut self, name: &str, trigger: FunctionTrigger, handler: Handler) -> Self {
        self.functions.push(Function { name: name.to_owned(), trigger, handler });
        self
    }

    /// An HTTP function. Its route is relative to the prefix and may hold `{parameters}`, one a segment. Of two routes
    /// that match, the first registered answers.
    #[must_use]
    pub fn http<F, Fut>(self, name: &str, methods: &[Method], route: &str, handler: F) -> Self
    where
        F: Fn(HttpRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = HttpResponse> + Send + 'static,
    {
        let methods = methods.iter().map(|method| method.as_str().to_owned()).collect();
        let trigger = FunctionTrigger::Http { methods, route: route.trim_matches('/').to_owned() };
        self.function(name, trigger, Handler::Http(Arc::new(move |request| Box::pin(handler(request)))))
    }

    /// A Service Bus function. The handler's text goes to the log; its fault fails the call, so that the host abandons
    /// the message. Messages of a batch are handled in order, and the batch stands or falls together.
    #[must_use]
    pub fn service_bus<F, Fut>(self, name: &str, binding: &str, handler: F) -> Self
    where
        F: Fn(ServiceBusMessage, Invocation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, Fault>> + Send + 'static,
    {
        let handler = Handler::ServiceBus(Arc::new(move |message, call| Box::pin(handler(message, call))));
        self.function(name, FunctionTrigger::ServiceBus { binding: binding.to_owned() }, handler)
    }

    /// An Event Grid function.
    #[must_use]
    pub fn event_grid<F, Fut>(self, name: &str, handler: F) -> Self
    where
        F: Fn(EventGridEvent, Invocation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, Fault>> + Send + 'static,
    {
        let handler = Handler::EventGrid(Arc::new(move |event, call| Box::pin(handler(event, call))));
        self.function(name, FunctionTrigger::EventGrid, handler)
    }

    /// A timer function.
    #[must_use]
    pub fn timer<F, Fut>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Timer, Invocation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, Fault>> + Send + 'static,
    {
        let handler = Handler::Timer(Arc::new(move |timer, call| Box::pin(handler(timer, call))));
        self.function(name, FunctionTrigger::Timer, handler)
    }

    /// `health_live` (`GET health/live`, 200 as soon as the process runs) and `health_ready` (`GET health/ready`, 200
    /// once every check passes, else 503 with the reasons).
    #[must_use]
    pub fn health(self, checks: Vec<Check>) -> Self {
        let checks: Arc<[Check]> = checks.into();
        self.http("health_live", &[Method::GET], "health/live", |_| async { health::live() }).http(
            "health_ready",
            &[Method::GET],
            "health/ready",
            move |_| {
                let checks = Arc::clone(&checks);
                async move { health::ready(&checks).await }
            },
        )
    }

    /// The functions with their triggers.
    pub fn functions(&self) -> FunctionList {
        self.functions.iter().map(|function| (function.name.clone(), function.trigger.clone())).collect()
    }

    /// Serves the app until the process ends.
    ///
    /// # Errors
    /// Functions that the host would not accept, and a listener that fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), StartError> {
        let mut names = std::collections::BTreeSet::new();
        for function in &self.functions {
            let mut letters = function.name.bytes();
            let valid = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
                && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
                && function.name.len() <= 128
                && !function.name.eq_ignore_ascii_case("host");
            if !valid {
                return Err(StartError::Name(function.name.clone()));
            }
            if !names.insert(function.name.to_ascii_lowercase()) {
                return Err(StartError::Twice(function.name.clone()));
            }
        }
        tracing::info!(app = self.name, functions = self.functions.len(), "serving");
        let router = Router::new().fallback(dispatch).with_state(Arc::new(self));
        Ok(axum::serve(listener, router).await?)
    }

    /// Answers one request as [`App::serve`] does, without a socket. It has to run on tokio.
    pub async fn answer(self: &Arc<Self>, request: Request) -> Response {
        dispatch(State(Arc::clone(self)), request).await
    }

    /// The function whose route and method match, with the route's parameters; else why there is none.
    fn routed(&self, method: &Method, path: &str) -> Result<(&Function, BTreeMap<String, String>), Box<HttpResponse>> {
        let mut allowed = Vec::new();
        for function in &self.functions {
            let FunctionTrigger::Http { methods, route } = &function.trigger else { continue };
            let Some(params) = matched(route, path) else { continue };
            if methods.iter().any(|allowed| allowed == method.as_str()) {
                return Ok((function, params));
            }
            allowed.extend(methods.iter().cloned());
        }
        if allowed.is_empty() {
            let answer = HttpResponse::problem(StatusCode::NOT_FOUND, "NOT_FOUND", "no function has this route");
            return Err(Box::new(answer));
        }
        let answer =
            HttpResponse::problem(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "the route has other methods");
        Err(Box::new(match HeaderValue::from_str(&allowed.join(", ")) {
            Ok(allow) => answer.with_header(header::ALLOW, allow),
            Err(_) => answer,
        }))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("name", &self.name).field("functions", &self.functions()).finish()
    }
}

/// The parameters of a route that matches the path; literals compare without case, as the host's routing does.
fn matched(route: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut params = BTreeMap::new();
    let mut wanted = route.split('/');
    let mut given = path.trim_end_matches('/').split('/');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(template), Some(segment)) => {
                let segment = percent_decode_str(segment).decode_utf8().ok()?;
                match template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) if !segment.is_empty() => {
                        params.insert(name.to_owned(), segment.into_owned());
                    }
                    None if template.eq_ignore_ascii_case(&segment) => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

async fn dispatch(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path == "/" {
        // The host's readiness and liveness ping, every 25 ms while it waits: no log line.
        return respond(HttpResponse::json(StatusCode::OK, &json!({"status": "running"})));
    }
    let body = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(path, %error, "the body cannot be read");
            let answer = format!("the body cannot be read, or has more than {MAX_BODY_BYTES} bytes");
            return respond(HttpResponse::problem(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", &answer));
        }
    };
    let prefix = format!("/{}/", app.prefix);
    match path.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(&prefix)) {
        Some(_) => {
            let route = path[prefix.len()..].to_owned();
            forwarded(&app, parts, &route, body).await
        }
        None => invoked(&app, &parts, body).await,
    }
}

/// An HTTP request that the host passed on as it came.
async fn forwarded(app: &App, parts: request::Parts, route: &str, body: Bytes) -> Response {
    let (function, params) = match app.routed(&parts.method, route) {
        Ok(found) => found,
        Err(answer) => {
            tracing::warn!(path = parts.uri.path(), method = %parts.method, status = answer.status.as_u16(), "no function");
            return respond(*answer);
        }
    };
    let Handler::Http(handler) = &function.handler else {
        return respond(HttpResponse::problem(StatusCode::NOT_FOUND, "NOT_FOUND", "no function has this route"));
    };
    let invocation = invocation(&function.name, &parts.headers, None);
    let request = HttpRequest {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        params,
        headers: parts.headers,
        body,
        invocation: invocation.clone(),
    };
    respond(call_http(handler, request, &invocation).await)
}

/// `POST /{Function}` with `{Data, Metadata}`.
async fn invoked(app: &App, parts: &request::Parts, body: Bytes) -> Response {
    let name = parts.uri.path().trim_start_matches('/');
    let Some(function) = app.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name)) else {
        tracing::error!(path = parts.uri.path(), "unknown function");
        return fault_answer(StatusCode::NOT_FOUND, &format!("this app has no function {name:?}"));
    };
    if parts.method != Method::POST {
        return fault_answer(StatusCode::METHOD_NOT_ALLOWED, "an invocation is a POST");
    }
    let payload = match Payload::parse(&body) {
        Ok(payload) => payload,
        Err(error) => return malformed(&invocation(&function.name, &parts.headers, None), &error),
    };
    let invocation = invocation(&function.name, &parts.headers, payload.traceparent());
    match (&function.handler, &function.trigger) {
        (Handler::Http(handler), _) => match payload.http(HTTP_IN).and_then(|data| http_request(data, &invocation)) {
            Ok(request) => {
                let answer = call_http(handler, request, &invocation).await;
                http_output(answer)
            }
            Err(error) => malformed(&invocation, &error),
        },
        (Handler::ServiceBus(handler), FunctionTrigger::ServiceBus { binding }) => match payload.service_bus(binding) {
            Ok(messages) => {
                let mut logs = Vec::new();
                for message in messages {
                    match call_service_bus(handler, message, &invocation).await {
                        Ok(outcome) => logs.push(outcome),
                        Err(reason) => return fault_answer(StatusCode::INTERNAL_SERVER_ERROR, &reason),
                    }
                }
                success(&logs)
            }
            Err(error) => malformed(&invocation, &error),
        },
        (Handler::EventGrid(handler), _) => match payload.event_grid() {
            Ok(events) => {
                let mut logs = Vec::new();
                for event in events {
                    let call = continued(&invocation, event.traceparent.clone());
                    let answer = guarded(handler(event, call.clone())).await;
                    match logged(&call, answer) {
                        Ok(outcome) => logs.push(outcome),
                        Err(reason) => return fault_answer(StatusCode::INTERNAL_SERVER_ERROR, &reason),
                    }
                }
                success(&logs)
            }
            Err(error) => malformed(&invocation, &error),
        },
        (Handler::Timer(handler), _) => match payload.timer() {
            Ok(timer) => match logged(&invocation, guarded(handler(timer, invocation.clone())).await) {
                Ok(outcome) => success(&[outcome]),
                Err(reason) => fault_answer(StatusCode::INTERNAL_SERVER_ERROR, &reason),
            },
            Err(error) => malformed(&invocation, &error),
        },
        (Handler::ServiceBus(_), _) => {
            fault_answer(StatusCode::NOT_FOUND, "the function's trigger and handler do not agree")
        }
    }
}

fn invocation(function: &str, headers: &HeaderMap, traceparent: Option<String>) -> Invocation {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Invocation {
        function: function.to_owned(),
        id: header(INVOCATION_ID).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned),
        traceparent: first_valid([traceparent.as_deref(), header("traceparent")]).unwrap_or_else(fresh_traceparent),
        started: Instant::now(),
    }
}

/// The same call, as a part of the message's own trace.
fn continued(invocation: &Invocation, traceparent: Option<String>) -> Invocation {
    let mut call = invocation.clone();
    call.started = Instant::now();
    if let Some(traceparent) = traceparent {
        call.traceparent = traceparent;
    }
    call
}

fn http_request(data: HttpData, invocation: &Invocation) -> Result<HttpRequest, PayloadError> {
    let shape = |what: &str, found: String, expected: &'static str| PayloadError::Shape {
        what: format!("Data.{HTTP_IN}.{what}"),
        found,
        expected,
    };
    let uri: Uri = data.url.parse().map_err(|_| shape("Url", format!("{:?}", data.url), "a URL"))?;
    let method: Method =
        data.method.parse().map_err(|_| shape("Method", format!("{:?}", data.method), "an HTTP method"))?;
    let mut headers = HeaderMap::new();
    for (name, values) in &data.headers {
        let values = match values {
            OneOrMany::One(value) => std::slice::from_ref(value),
            OneOrMany::Many(values) => values,
        };
        for value in values {
            let malformed = || shape(&format!("Headers.{name}"), format!("{value:?}"), "a header's value");
            let name: HeaderName = name.parse().map_err(|_| malformed())?;
            headers.append(name, value.parse().map_err(|_| malformed())?);
        }
    }
    let body = data.bytes();
    let mut invocation = invocation.clone();
    if let Some(sent) = first_valid([headers.get("traceparent").and_then(|value| value.to_str().ok())]) {
        invocation.traceparent = sent;
    }
    Ok(HttpRequest {
        method,
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        params: data.params.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        headers,
        body,
        invocation,
    })
}

/// Runs a handler as a task of its own: a panic fails this call only, and a caller that hangs up does not cut off
/// work that is half done.
async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    tokio::spawn(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned()),
        Err(error) => error.to_string(),
    })
}

async fn call_http(handler: &HttpHandler, request: HttpRequest, invocation: &Invocation) -> HttpResponse {
    let traceparent = request.invocation.traceparent.clone();
    let call = continued(invocation, Some(traceparent));
    let (answer, panic) = match guarded(handler(request)).await {
        Ok(answer) => (answer, None),
        Err(panic) => (
            HttpResponse::problem(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the function failed; see the log"),
            Some(panic),
        ),
    };
    let (outcome, status) = (answer.outcome.as_deref(), answer.status.as_u16());
    if answer.status.is_server_error() {
        tracing::error!(
            function = call.function,
            invocation = call.id,
            trace = call.trace_id(),
            status,
            outcome,
            panic,
            ms = milliseconds(&call),
            "invocation"
        );
    } else {
        tracing::info!(
            function = call.function,
            invocation = call.id,
            trace = call.trace_id(),
            status,
            outcome,
            ms = milliseconds(&call),
            "invocation"
        );
    }
    answer
}

/// Handles one message; `Err` is what the host is told.
async fn call_service_bus(
    handler: &EventHandler<ServiceBusMessage>,
    message: ServiceBusMessage,
    invocation: &Invocation,
) -> Result<String, String> {
    let call = continued(invocation, message.traceparent.clone());
    let (id, session) = (message.message_id.clone(), message.session_id.clone());
    let (count, sequence) = (message.delivery_count, message.sequence_number);
    let result = guarded(handler(message, call.clone())).await;
    match result {
        Ok(Ok(outcome)) => {
            tracing::info!(
                function = call.function,
                invocation = call.id,
                trace = call.trace_id(),
                message_id = id,
                session,
                delivery_count = count,
                sequence_number = sequence,
                outcome,
                ms = milliseconds(&call),
                "invocation"
            );
            Ok(format!("{id}: {outcome}"))
        }
        failed => {
            let (code, reason) = failure(failed);
            tracing::error!(
                function = call.function,
                invocation = call.id,
                trace = call.trace_id(),
                message_id = id,
                session,
                delivery_count = count,
                sequence_number = sequence,
                outcome = "fault",
                fault = code,
                reason,
                ms = milliseconds(&call),
                "invocation"
            );
            Err(format!("{id}: {code}: {reason}"))
        }
    }
}

/// Logs a call that carries no message.
fn logged(call: &Invocation, result: Result<Result<String, Fault>, String>) -> Result<String, String> {
    match result {
        Ok(Ok(outcome)) => {
            tracing::info!(
                function = call.function,
                invocation = call.id,
                trace = call.trace_id(),
                outcome,
                ms = milliseconds(call),
                "invocation"
            );
            Ok(outcome)
        }
        failed => {
            let (code, reason) = failure(failed);
            tracing::error!(
                function = call.function,
                invocation = call.id,
                trace = call.trace_id(),
                outcome = "fault",
                fault = code,
                reason,
                ms = milliseconds(call),
                "invocation"
            );
            Err(format!("{code}: {reason}"))
        }
    }
}

fn failure(result: Result<Result<String, Fault>, String>) -> (&'static str, String) {
    match result {
        Ok(Err(fault)) => (fault.code, fault.message),
        Err(panic) => ("PANIC", panic),
        Ok(Ok(_)) => ("INTERNAL", "no failure".to_owned()),
    }
}

fn milliseconds(call: &Invocation) -> u64 {
    u64::try_from(call.started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn answer_json(status: StatusCode, outputs: Value, logs: &[String]) -> Response {
    let body = json!({"Outputs": outputs, "Logs": logs, "ReturnValue": null}).to_string();
    respond(HttpResponse::new(status, "application/json", body))
}

fn success(logs: &[String]) -> Response {
    answer_json(StatusCode::OK, json!({}), logs)
}

/// A failing answer: the host abandons the message, and the broker counts.
fn fault_answer(status: StatusCode, reason: &str) -> Response {
    answer_json(status, json!({}), &[reason.to_owned()])
}

fn malformed(invocation: &Invocation, error: &PayloadError) -> Response {
    tracing::error!(
        function = invocation.function,
        invocation = invocation.id,
        trace = invocation.trace_id(),
        outcome = "fault",
        fault = "PAYLOAD",
        reason = %error,
        ms = milliseconds(invocation),
        "invocation"
    );
    fault_answer(StatusCode::BAD_REQUEST, &error.to_string())
}

/// An HTTP function's answer in the default form: a success to the host, whatever it says to the caller.
fn http_output(answer: HttpResponse) -> Response {
    let Ok(body) = std::str::from_utf8(&answer.body) else {
        return fault_answer(StatusCode::INTERNAL_SERVER_ERROR, "a binary answer needs enableForwardingHttpRequest");
    };
    let headers: serde_json::Map<String, Value> = answer
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
        .collect();
    let output = json!({"statusCode": answer.status.as_u16(), "body": body, "headers": headers});
    answer_json(StatusCode::OK, json!({HTTP_OUT: output}), &[])
}

fn respond(answer: HttpResponse) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

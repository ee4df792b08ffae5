//! The front of the function apps: `/sites/{site}/…` is what `https://{site}.azurewebsites.net/…` would be.
//!
//! First App Service's authentication, then the functions host's routes. The headers that carry an identity are set
//! here and nowhere else; whatever a caller sends under their names is dropped.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::json;
use time::OffsetDateTime;

use super::package::{Function, Trigger};
use super::payload::{self, HttpRequest};
use super::worker::State as WorkerState;
use super::{Fronts, HOST_VERSION, InvocationError, Site, event_grid, response, within};
use crate::identity::{Caller, bearer};
use crate::outbound::is_hop_by_hop;

/// How long the platform waits for the beginning of an answer.
const PLATFORM_CUT: Duration = Duration::from_secs(230);

/// The largest request of a function in the default mode, which holds it in memory.
const MAX_BUFFERED_BYTES: usize = 100 * 1024 * 1024;

/// The path of the fronts among the planes.
pub const PREFIX: &str = "/sites";

/// The fronts of all sites.
pub fn router(fronts: Fronts) -> Router {
    Router::new()
        .route("/sites/{site}", any(front))
        .route("/sites/{site}/", any(front))
        .route("/sites/{site}/{*path}", any(front))
        .with_state(fronts)
}

async fn front(State(fronts): State<Fronts>, mut request: Request) -> Response {
    // Taken from the URI as it came, so that what is compared below is what the function sees.
    let path = request.uri().path().strip_prefix("/sites/").unwrap_or_default().to_owned();
    let (name, path) = match path.split_once('/') {
        Some((name, path)) => (name.to_owned(), format!("/{path}")),
        None => (path, "/".to_owned()),
    };
    let found = fronts.read().unwrap_or_else(PoisonError::into_inner).get(&name.to_ascii_lowercase()).cloned();
    let site = match found {
        Some(Some(site)) => site,
        Some(None) => {
            let why = "the function app is not running: it waits for its package, or is being started again";
            return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        }
        None => return (StatusCode::NOT_FOUND, "there is no such site").into_response(),
    };
    let site = &site;
    let caller = match authenticate(site, &path, request.headers()) {
        Ok(caller) => caller,
        Err((StatusCode::UNAUTHORIZED, why)) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, why).into_response();
        }
        Err(refused) => return refused.into_response(),
    };
    set_principal(request.headers_mut(), caller.as_ref());
    site.serve(&path, request).await
}

/// What App Service's authentication decides: who calls, if anybody has to. Without a good token 401, with one of somebody
/// who is not among the site's callers 403.
fn authenticate(site: &Site, path: &str, headers: &HeaderMap) -> Result<Option<Caller>, (StatusCode, String)> {
    let auth = &site.auth;
    if !auth.required || auth.excluded_paths.iter().any(|excluded| excluded == path) {
        return Ok(None);
    }
    let unauthorized = |why: String| (StatusCode::UNAUTHORIZED, why);
    let token = bearer(headers).ok_or_else(|| unauthorized("a bearer token is required".into()))?;
    let mut refused = String::new();
    for audience in &auth.audiences {
        match site.surroundings.issuer.verify(token, audience) {
            Ok(caller) => {
                let allowed = auth.principals.as_ref().is_none_or(|allowed| allowed.contains(&caller.oid));
                return if allowed {
                    Ok(Some(caller))
                } else {
                    Err((StatusCode::FORBIDDEN, format!("the principal {} may not call {}", caller.oid, site.name)))
                };
            }
            Err(error) => refused = error.to_string(),
        }
    }
    Err(unauthorized(refused))
}

/// Replaces whatever claims an identity by what the token said.
fn set_principal(headers: &mut HeaderMap, caller: Option<&Caller>) {
    let claimed: Vec<_> = headers.keys().filter(|name| claims_identity(name.as_str())).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let Some(caller) = caller else { return };
    let claims = [("oid", caller.oid.as_str()), ("sub", caller.subject.as_str())].into_iter();
    let claims = claims.chain(caller.roles.iter().map(|role| ("roles", role.as_str())));
    let principal = json!({
        "auth_typ": "aad",
        "claims": claims.map(|(typ, val)| json!({"typ": typ, "val": val})).collect::<Vec<_>>(),
        "name_typ": "sub",
        "role_typ": "roles",
    });
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("x-ms-client-principal-id", &caller.oid);
    set("x-ms-client-principal-idp", "aad");
    set("x-ms-client-principal", &STANDARD.encode(principal.to_string()));
}

fn claims_identity(name: &str) -> bool {
    name.starts_with("x-ms-client-principal") || name.starts_with("x-ms-token-")
}

/// The parameters of a query.
fn query_pairs(uri: &Uri) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// A function with the values of its route's parameters.
type Match<'s> = (&'s Function, Vec<(String, Option<String>)>);

impl Site {
    async fn serve(&self, path: &str, request: Request) -> Response {
        if path.trim_end_matches('/').eq_ignore_ascii_case(event_grid::PATH) {
            let query = query_pairs(request.uri());
            let (head, body) = request.into_parts();
            return event_grid::answer(self, &head.method, &query, &head.headers, body).await;
        }
        if let Err(why) = self.rights.run() {
            let why = format!("the function host is not running: {why}\n");
            return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        }
        let Some((function, params)) = self.matching(path, request.method().as_str()) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        match self.state() {
            None | Some(WorkerState::Stopped | WorkerState::Ended) => {
                return (StatusCode::SERVICE_UNAVAILABLE, "the function host is not running").into_response();
            }
            Some(_) => {}
        }
        if function.plain_http && self.package.host.forwards_http {
            self.forward(function, path, request).await
        } else {
            self.default_mode(function, path, params, request).await
        }
    }

    /// The function of a path and method. A known path with another method is 404 to the host, as an unknown one.
    fn matching(&self, path: &str, method: &str) -> Option<Match<'_>> {
        let path = path.trim_start_matches('/');
        let prefix = self.route_prefix();
        let path = match path.get(..prefix.len()) {
            _ if prefix.is_empty() => path,
            Some(start) if start.eq_ignore_ascii_case(prefix) => path[prefix.len()..].strip_prefix('/')?,
            _ => return None,
        };
        let mut found: Option<((usize, usize), Match<'_>)> = None;
        for function in &self.package.functions {
            let Trigger::Http { methods, route } = &function.trigger else { continue };
            if !methods.is_empty() && !methods.iter().any(|allowed| allowed == method) {
                continue;
            }
            let rank = route.precedence();
            if found.as_ref().is_some_and(|(best, _)| *best <= rank) {
                continue;
            }
            if let Some(values) = route.matches(path) {
                found = Some((rank, (function, values)));
            }
        }
        found.map(|(_, found)| found)
    }

    /// Passes the request on as it is, and the answer back as it is.
    async fn forward(&self, function: &Function, path: &str, request: Request) -> Response {
        let invocation = uuid::Uuid::new_v4().to_string();
        let begun = Instant::now();
        let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let exchange = self.exchange(&invocation, path, request);
        let result = match tokio::time::timeout(PLATFORM_CUT, exchange).await {
            Ok(result) => result,
            Err(_) => Err((StatusCode::GATEWAY_TIMEOUT, format!("no answer within {PLATFORM_CUT:?}"))),
        };
        let (status, error) = match &result {
            Ok(response) => (response.status(), None),
            Err((status, why)) => (*status, Some(why.as_str())),
        };
        self.executed(function, &invocation, trace.as_deref(), begun.elapsed(), Some(status.as_u16()), error);
        result.unwrap_or_else(IntoResponse::into_response)
    }

    async fn exchange(&self, invocation: &str, path: &str, request: Request) -> Result<Response, (StatusCode, String)> {
        let unavailable = |error: InvocationError| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        let worker = self.worker.as_ref().ok_or((StatusCode::SERVICE_UNAVAILABLE, "there is no worker".to_owned()))?;
        let (generation, port) = worker.ready().await.map_err(|error| unavailable(error.into()))?;
        let (mut head, body) = request.into_parts();
        let query = head.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let unusable = |error: axum::http::Error| (StatusCode::BAD_REQUEST, error.to_string());
        let mut forwarded = axum::http::Request::builder()
            .method(head.method)
            .uri(format!("http://127.0.0.1:{port}{path}{query}"))
            .body(body)
            .map_err(unusable)?;
        let hops: Vec<_> = head.headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
        for name in hops {
            head.headers.remove(name);
        }
        head.headers.remove(header::HOST);
        let set = |headers: &mut HeaderMap, name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(&mut head.headers, "x-azure-functions-invocationid", invocation);
        set(&mut head.headers, "x-azure-functions-hostversion", HOST_VERSION);
        *forwarded.headers_mut() = head.headers;
        let call = self.surroundings.client.request(forwarded);
        let timed = within(self.package.host.function_timeout, call);
        let response = tokio::select! {
            result = timed => match result {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err((StatusCode::BAD_GATEWAY, super::chain(&error))),
                Err(limit) => {
                    worker.overran(generation, self.surroundings.timing.timeout_grace);
                    return Err((StatusCode::INTERNAL_SERVER_ERROR, InvocationError::TimedOut(limit).to_string()));
                }
            },
            () = worker.gone(generation) => {
                return Err((StatusCode::BAD_GATEWAY, InvocationError::WorkerEnded.to_string()));
            }
        };
        let (mut head, body) = response.into_parts();
        let hops: Vec<_> = head.headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
        for name in hops {
            head.headers.remove(name);
        }
        Ok(Response::from_parts(head, Body::new(body)))
    }

    /// Calls with `{Data, Metadata}` and makes a response of the output binding.
    async fn default_mode(
        &self,
        function: &Function,
        path: &str,
        params: Vec<(String, Option<String>)>,
        request: Request,
    ) -> Response {
        let (head, body) = request.into_parts();
        // As the host does: a body without a length is dropped.
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let body = match announced.and_then(|length| length.parse::<u64>().ok()) {
            None | Some(0) => None,
            Some(_) => match axum::body::to_bytes(body, MAX_BUFFERED_BYTES).await {
                Ok(body) => Some(body.to_vec()),
                Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            },
        };
        let query = head.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let trace = head.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let request = HttpRequest {
            url: format!("{}/sites/{}{path}{query}", self.surroundings.planes, self.name),
            method: head.method.as_str().to_owned(),
            query: query_pairs(&head.uri),
            headers: headers.collect(),
            params,
            body,
        };
        let body = payload::http(&function.name, &function.binding, &request, OffsetDateTime::now_utc());
        let invocation = self.invoke(function, body, trace);
        let answer = match tokio::time::timeout(PLATFORM_CUT, invocation).await {
            Err(_) => return StatusCode::GATEWAY_TIMEOUT.into_response(),
            Ok(Err(InvocationError::NotReady(_))) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Ok(Err(_)) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Ok(Ok(answer)) => answer,
        };
        let output = function.outputs.iter().find(|(_, kind)| kind == "http").map(|(name, _)| name.as_str());
        let value = match output {
            None => return StatusCode::OK.into_response(),
            Some("$return") => Some(&answer.return_value),
            Some(name) => answer.outputs.get(name),
        };
        let output = match response::http_output(value) {
            Ok(output) => output,
            Err(why) => {
                self.log.host(super::Level::Error, &format!("{}: {why}", function.name));
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        let mut builder = Response::builder().status(output.status);
        for (name, value) in &output.headers {
            builder = builder.header(name, value);
        }
        builder.body(Body::from(output.body)).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

//! The gateway: takes GraphQL from clients and routes it by the kind of the operation.
//!
//! It is the only place where a client's token is read. Behind it the client is known by the principal header alone,
//! which counts because the call itself carries the gateway's own identity.

mod assets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use skein_core::Principal;
use skein_kind::{KIND_HEADER, Kind, MAX_BODY_UNITS, classify};

use crate::identity::{Caller, GATEWAY_AUDIENCE, Issuer, USER_LIFETIME, bearer};
use crate::outbound::{Outbound, is_hop_by_hop};
use crate::resources::{Backend, Gateway};

/// The largest request: the policy looks at the length that the client states, and no body has more units than bytes.
pub const MAX_REQUEST_BYTES: usize = MAX_BODY_UNITS;

/// How long a backend may take to answer.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(240);

/// The roles that a development token may have.
pub const ROLES: [&str; 2] = ["operator", "customer"];

/// The header that tells a client the id of its trace.
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The header that tells a service who asks.
const PRINCIPAL: HeaderName = HeaderName::from_static("x-skein-principal");

/// What the gateway needs.
pub struct Config {
    /// What it serves and as whom.
    pub gateway: Gateway,
    /// Checks clients' tokens and signs its own.
    pub issuer: Arc<Issuer>,
    /// Calls the backends.
    pub client: Outbound,
    /// Its own base URL.
    pub base: String,
    /// The state folder, for the page that tells how to get a token.
    pub state: String,
    /// Whether every function app is ready.
    pub healthy: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The gateway's routes.
pub fn router(config: Config) -> Router {
    let config = Arc::new(config);
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(health))
        .route("/dev/token", post(token))
        .route("/{service}/graphql", get(page).post(graphql))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is no such page", None) })
        .with_state(config)
        .merge(assets::router())
}

/// A refusal as `application/problem+json`.
fn problem(status: StatusCode, detail: &str, trace: Option<&str>) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let mut body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    if let Some(trace) = trace {
        body["traceId"] = trace.into();
    }
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

async fn index(State(config): State<Arc<Config>>) -> Response {
    assets::index(&config.gateway, &config.base, &config.state)
}

async fn health(State(config): State<Arc<Config>>) -> Response {
    if (config.healthy)() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a function app is not ready\n").into_response()
    }
}

async fn page(State(config): State<Arc<Config>>, Path(service): Path<String>, headers: HeaderMap) -> Response {
    if !config.gateway.apis.iter().any(|api| api.path == service) {
        return problem(StatusCode::NOT_FOUND, "there is no such service", None);
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accept.contains("text/html") {
        let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "GraphQL is asked with POST", None);
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
        return refusal;
    }
    assets::graphiql(&config.gateway, &service)
}

/// Answers one GraphQL request; every answer names the trace.
async fn graphql(State(config): State<Arc<Config>>, Path(service): Path<String>, request: Request) -> Response {
    let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = traceparent.filter(|text| crate::trace::is_valid(text)).map(str::to_owned);
    let traceparent = traceparent.unwrap_or_else(crate::trace::start);
    let trace = crate::trace::id(&traceparent).unwrap_or_default();
    let mut response = match config.route(&service, &traceparent, request).await {
        Ok(response) => response,
        Err((status, detail)) => {
            let mut refusal = problem(status, &detail, Some(trace));
            if status == StatusCode::UNAUTHORIZED {
                refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            refusal
        }
    };
    if let Ok(trace) = HeaderValue::from_str(trace) {
        response.headers_mut().insert(TRACE_ID, trace);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Refusal = (StatusCode, String);

impl Config {
    async fn route(&self, service: &str, traceparent: &str, request: Request) -> Result<Response, Refusal> {
        let api = self.gateway.apis.iter().find(|api| api.path == service);
        let api = api.ok_or((StatusCode::NOT_FOUND, "there is no such service".to_owned()))?;
        let (head, body) = request.into_parts();
        let caller = self.authenticate(&head.headers)?;
        check_media_type(&head.headers)?;
        let body = axum::body::to_bytes(body, MAX_REQUEST_BYTES)
            .await
            .map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, format!("a request has at most {MAX_REQUEST_BYTES} bytes")))?;
        let (kind, backend) = match classify(&body) {
            Some(kind @ Kind::Mutation) => (kind, &api.command),
            Some(kind @ Kind::Query) => (kind, &api.query),
            Some(Kind::Subscription) => {
                return Err((StatusCode::BAD_REQUEST, "subscriptions are not served here".to_owned()));
            }
            None => {
                let why = "the body is no GraphQL request, or it is not certain which operation it asks for";
                return Err((StatusCode::BAD_REQUEST, why.to_owned()));
            }
        };
        self.call(backend, kind, &caller, traceparent, &head.headers, body.into()).await
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let refuse = |why: String| (StatusCode::UNAUTHORIZED, why);
        let token = bearer(headers).ok_or_else(|| refuse("a bearer token is required".into()))?;
        let caller = self.issuer.verify(token, GATEWAY_AUDIENCE).map_err(|error| refuse(error.to_string()))?;
        if is_reserved(&caller.subject) || caller.roles.iter().any(|role| role == Principal::SERVICE_ROLE) {
            return Err(refuse("the token claims to be a service".into()));
        }
        Ok(caller)
    }

    async fn call(
        &self,
        backend: &Backend,
        kind: Kind,
        caller: &Caller,
        traceparent: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Refusal> {
        let internal = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why);
        let mut forwarded = axum::http::Request::post(format!("{}/graphql", backend.url))
            .body(body)
            .map_err(|error| internal(error.to_string()))?;
        let kept = headers.iter().filter(|(name, _)| !is_stripped(name.as_str()));
        for (name, value) in kept {
            forwarded.headers_mut().append(name.clone(), value.clone());
        }
        let mut set = |name: HeaderName, value: &str| match HeaderValue::from_str(value) {
            Ok(value) => {
                forwarded.headers_mut().insert(name, value);
                Ok(())
            }
            Err(error) => Err(internal(error.to_string())),
        };
        let principal = json!({"subject": caller.subject, "roles": caller.roles}).to_string();
        set(PRINCIPAL, &URL_SAFE_NO_PAD.encode(principal))?;
        set(HeaderName::from_static(KIND_HEADER), kind.as_str())?;
        set(HeaderName::from_static("traceparent"), traceparent)?;
        if !backend.audience.is_empty() {
            let identity = &self.gateway.identity;
            let issued =
                self.issuer.issue_managed_identity(&identity.principal_id, &identity.client_id, &backend.audience);
            let (token, _) = issued.map_err(|error| internal(error.to_string()))?;
            set(header::AUTHORIZATION, &format!("Bearer {token}"))?;
        }
        let response = match tokio::time::timeout(BACKEND_TIMEOUT, self.client.request(forwarded)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err((StatusCode::BAD_GATEWAY, format!("{} is away: {error}", backend.site))),
            Err(_) => return Err((StatusCode::GATEWAY_TIMEOUT, format!("{} did not answer in time", backend.site))),
        };
        let (mut head, body) = response.into_parts();
        let dropped: Vec<_> = head.headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
        for name in dropped {
            head.headers.remove(name);
        }
        Ok(Response::from_parts(head, Body::new(body)))
    }
}

/// Whether a client's header stays at the gateway: its credentials, whatever claims an identity or an origin to those
/// behind, and what concerns its connection only.
fn is_stripped(name: &str) -> bool {
    let prefixes = ["x-skein-", "x-ms-", "x-arr-", "x-azure-", "x-forwarded-", "x-original-", "x-functions-"];
    let names = ["authorization", "content-length", "cookie", "forwarded", "host", "traceparent", "x-zumo-auth"];
    is_hop_by_hop(name) || prefixes.iter().any(|prefix| name.starts_with(prefix)) || names.contains(&name)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |why: &str| Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse("content-encoding is not accepted");
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if json && utf8 { Ok(()) } else { refuse("the content type must be application/json, in UTF-8") }
}

/// Whether a subject is one that only services have.
fn is_reserved(subject: &str) -> bool {
    subject.starts_with("service:")
}

/// A development token for a role; the subject is the role's name unless it is given.
///
/// # Errors
/// An unknown role, a subject that is reserved or empty, or a key that cannot sign.
pub fn development_token(issuer: &Issuer, role: &str, subject: Option<&str>) -> Result<String, String> {
    if !ROLES.contains(&role) {
        return Err(format!("the role must be one of {}, it is {role:?}", ROLES.join(", ")));
    }
    let subject = subject.unwrap_or(role);
    if subject.trim().is_empty() || subject.len() > 128 || is_reserved(subject) {
        return Err("the subject must have 1 to 128 characters and not begin with service:".into());
    }
    issuer.issue_user(subject, &[role.to_owned()]).map_err(|error| error.to_string())
}

/// What the page of the editor asks for.
#[derive(Deserialize)]
struct TokenRequest {
    role: String,
    subject: Option<String>,
}

/// A development token for the gateway's own pages, and for no other site's.
async fn token(State(config): State<Arc<Config>>, headers: HeaderMap, body: Body) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own_page = match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(&format!("http://{host}")),
        _ => false,
    };
    if !own_page || text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return problem(StatusCode::FORBIDDEN, "only the gateway's own pages may ask", None);
    }
    if let Err((status, why)) = check_media_type(&headers) {
        return problem(status, &why, None);
    }
    let Ok(body) = axum::body::to_bytes(body, 4096).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large", None);
    };
    let Ok(request) = serde_json::from_slice::<TokenRequest>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "the body must be {role, subject}", None);
    };
    match development_token(&config.issuer, &request.role, request.subject.as_deref()) {
        Ok(token) => {
            let answer = axum::Json(json!({"token": token, "expiresIn": USER_LIFETIME.as_secs()}));
            ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
        }
        Err(why) => problem(StatusCode::BAD_REQUEST, &why, None),
    }
}

#[cfg(test)]
mod tests;

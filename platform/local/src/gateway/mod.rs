//! The gateway: executes the policies that are deployed, and serves a few pages for development.
//!
//! What a request may do, and where it goes, comes from the deployed documents alone: [`deployed`] makes programs of them,
//! [`outside`] is what those ask for. Local are the pages at `/`, GraphiQL, `/dev/token` and `/healthz`; at `/shop/` is what
//! was uploaded for Front Door to show.

mod assets;
mod deployed;
mod operation;
mod outside;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::json;
use skein_gateway::MAX_BODY_BYTES;

use self::outside::Outside;
use crate::blobs::Folder;
use crate::identity::{Issuer, USER_LIFETIME};
use crate::outbound::Outbound;

pub use self::deployed::{Api, Fault, NotUnderstood, Programs, Service, check};

/// The roles that a development token may have.
pub const ROLES: [&str; 2] = ["operator", "customer"];

/// What the gateway needs.
pub struct Config {
    /// What it executes and as whom.
    pub service: Service,
    /// Signs its own tokens, and those for development.
    pub issuer: Arc<Issuer>,
    /// Calls the backends.
    pub client: Outbound,
    /// Its own base URL.
    pub base: String,
    /// The base URL of the planes, where its pages find SignalR.
    pub planes: String,
    /// What Front Door shows, where there is something to show.
    pub pages: Option<Folder>,
    /// The state folder, for the page that tells how to get a token.
    pub state: String,
    /// Whether every function app is ready.
    pub healthy: Arc<dyn Fn() -> bool + Send + Sync>,
}

struct Gateway {
    config: Config,
    programs: Programs,
    outside: Outside,
    /// What its own pages may do.
    pages: HeaderValue,
}

/// The gateway's routes, and what of it cannot be executed.
pub fn router(config: Config) -> (Router, Vec<Fault>) {
    let (programs, faults) = config.service.compile();
    let outside = Outside::new(config.issuer.clone(), config.client.clone(), config.service.identity().clone());
    let pages = assets::policy(&config.planes);
    let files = assets::router(pages.clone(), config.pages.clone());
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(health))
        .route("/dev/token", post(token))
        .fallback(serve)
        .with_state(Arc::new(Gateway { config, programs, outside, pages }))
        .merge(files);
    (router, faults)
}

/// A refusal of the pages for development, as `application/problem+json`.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

async fn index(State(gateway): State<Arc<Gateway>>) -> Response {
    assets::index(&gateway.pages, gateway.programs.graphql(), &gateway.config.base, &gateway.config.state)
}

async fn health(State(gateway): State<Arc<Gateway>>) -> Response {
    if (gateway.config.healthy)() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a function app is not ready\n").into_response()
    }
}

/// Shows the editor to a browser that opens an API's address, and takes everything else through the policies.
async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let programs = &gateway.programs;
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if request.method() == Method::GET && accept.contains("text/html") {
        let path = request.uri().path().trim_start_matches('/');
        if let Some(api) = programs.graphql().find(|api| api.graphql_path().as_deref() == Some(path)) {
            return assets::graphiql(&gateway.pages, programs.graphql(), api);
        }
    }
    let (mut head, body) = request.into_parts();
    // The pages are the API's own origin, as they are behind Front Door, which names another one: for the policies nothing
    // is asked across.
    if is_own_page(&head.headers) {
        head.headers.remove(header::ORIGIN);
    }
    let answer = match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => programs.answer(Request::from_parts(head, body), &gateway.outside).await,
        Err(error) => {
            let request = Request::from_parts(head, Default::default());
            let (status, reason, why) = match error.into_inner().downcast::<LengthLimitError>() {
                Ok(_) => {
                    let why = format!("a body has at most {MAX_BODY_BYTES} bytes");
                    (StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", why)
                }
                Err(error) => (StatusCode::BAD_REQUEST, "RequestBodyUnreadable", error.to_string()),
            };
            programs.refuse(request, status, reason, &why, &gateway.outside).await
        }
    };
    match answer {
        Ok(answer) => answer.map(Body::from),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// Whether a page of this gateway asks.
fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(&format!("http://{host}")),
        _ => false,
    }
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
async fn token(State(gateway): State<Arc<Gateway>>, headers: HeaderMap, body: Body) -> Response {
    let is = |name: &str, wanted: &str| headers.get(name).is_none_or(|value| value == wanted);
    if !is_own_page(&headers) || !is("sec-fetch-site", "same-origin") {
        return problem(StatusCode::FORBIDDEN, "only the gateway's own pages may ask");
    }
    // A form of another site cannot send this type.
    if headers.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/json") {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json");
    }
    let Ok(body) = axum::body::to_bytes(body, 4096).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    };
    let Ok(request) = serde_json::from_slice::<TokenRequest>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "the body must be {role, subject}");
    };
    match development_token(&gateway.config.issuer, &request.role, request.subject.as_deref()) {
        Ok(token) => {
            let answer = axum::Json(json!({"token": token, "expiresIn": USER_LIFETIME.as_secs()}));
            ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
        }
        Err(why) => problem(StatusCode::BAD_REQUEST, &why),
    }
}

#[cfg(test)]
mod tests;

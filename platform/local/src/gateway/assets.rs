//! The pages of the gateway, which load nothing from elsewhere: its own are embedded, and those that Front Door shows are
//! read where they were uploaded to.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;

use skein_core::blob::check_blob_name;

use super::Api;
use crate::blobs::{Folder, Properties};
use crate::signalr;

/// What the pages may do: everything from this gateway; styles may be inline, since the editor sets them on elements, and
/// its fonts are data. They connect to it, and to the SignalR services at `planes`.
pub fn policy(planes: &str) -> HeaderValue {
    let host = planes.split_once("://").map_or(planes, |(_, host)| host);
    let policy = format!(
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; \
         img-src 'self' data:; connect-src 'self' http://{host}{0}/ ws://{host}{0}/; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        signalr::PREFIX,
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

macro_rules! site {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../gateway/site/", $path))
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Path below `/assets/`, media type, content.
static FILES: &[(&str, &str, &[u8])] = &[
    ("graphiql/graphiql.min.css", STYLE, site!("graphiql/graphiql.min.css")),
    ("graphiql/graphiql.min.js", SCRIPT, site!("graphiql/graphiql.min.js")),
    ("graphiql/react-dom.production.min.js", SCRIPT, site!("graphiql/react-dom.production.min.js")),
    ("graphiql/react.production.min.js", SCRIPT, site!("graphiql/react.production.min.js")),
    ("graphiql/page.js", SCRIPT, site!("graphiql/page.js")),
    ("site.css", STYLE, site!("site.css")),
];

/// What the pages are told here: they come from the gateway itself, which gives development tokens.
const CONFIG: &[u8] = br#"{"gateway":"","tokens":"/dev/token"}"#;

const GRAPHIQL_PAGE: &str = include_str!("../../../../gateway/site/graphiql/page.html");
const INDEX_PAGE: &str = include_str!("../../../../gateway/site/index.html");

/// `/assets/…`, and below `/shop/` the pages that were uploaded.
pub fn router(policy: HeaderValue, pages: Option<Folder>) -> Router {
    let shop = async |State(shown): State<Arc<Shown>>, path: Option<Path<String>>| {
        page(&shown, path.map_or_else(|| "index.html".to_owned(), |Path(path)| path)).await
    };
    let asset = async |State(shown): State<Arc<Shown>>, Path(path): Path<String>| asset(&shown.policy, &path);
    Router::new()
        .route("/assets/{*path}", get(asset))
        .route("/shop", get(async || Redirect::permanent("/shop/")))
        .route("/shop/", get(shop))
        .route("/shop/{*path}", get(shop))
        .with_state(Arc::new(Shown { policy, pages }))
}

struct Shown {
    policy: HeaderValue,
    pages: Option<Folder>,
}

fn asset(policy: &HeaderValue, path: &str) -> Response {
    match FILES.iter().find(|(name, ..)| *name == path) {
        Some((_, media_type, content)) => {
            protected(policy, ([(header::CONTENT_TYPE, *media_type), (header::CACHE_CONTROL, "no-cache")], *content))
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A page, with what it was uploaded with.
async fn page(shown: &Shown, path: String) -> Response {
    if path == "config.json" {
        return protected(&shown.policy, ([(header::CONTENT_TYPE, "application/json")], CONFIG));
    }
    let Some(pages) = shown.pages.clone().filter(|_| check_blob_name(&path).is_ok()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::task::spawn_blocking(move || pages.read(&path, 0, u64::MAX)).await {
        Ok(Ok(Some(found))) => {
            let Properties { content_type, cache_control, .. } = found.properties;
            let kind = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
            let cache = cache_control.unwrap_or_else(|| "no-cache".to_owned());
            protected(&shown.policy, ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)], found.bytes))
        }
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        failed => {
            tracing::error!(?failed, "a page cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The editor of one API.
pub fn graphiql<'a>(policy: &HeaderValue, all: impl Iterator<Item = &'a Api>, shown: &Api) -> Response {
    let links = all.map(|api| {
        let here = if api.path == shown.path { " aria-current=\"page\"" } else { "" };
        let path = api.graphql_path().unwrap_or_default();
        format!("<a href=\"/{0}\"{here}>{1}</a>", escape(&path), escape(&api.display_name))
    });
    let page = GRAPHIQL_PAGE.replace("{{service}}", &escape(&shown.display_name));
    let page = page.replace("{{path}}", &escape(&shown.graphql_path().unwrap_or_default()));
    protected(policy, Html(page.replace("{{links}}", &links.collect::<Vec<_>>().join("\n      "))))
}

/// What the gateway serves, and how to ask it.
pub fn index<'a>(policy: &HeaderValue, all: impl Iterator<Item = &'a Api>, base: &str, state: &str) -> Response {
    let services = all.map(|api| {
        format!(
            "<tr><td>{1}</td><td><a href=\"/{0}\">GraphiQL</a></td><td><code>POST {2}/{0}</code></td></tr>",
            escape(&api.graphql_path().unwrap_or_default()),
            escape(&api.display_name),
            escape(base),
        )
    });
    let page = INDEX_PAGE.replace("{{services}}", &services.collect::<Vec<_>>().join("\n        "));
    protected(policy, Html(page.replace("{{state}}", &escape(state)).replace("{{base}}", &escape(base))))
}

fn protected(policy: &HeaderValue, response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

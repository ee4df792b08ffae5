//! The Blob REST front: append blobs and block blobs of one piece, as far as backups, dead letters and the pages of a
//! website need them.
//!
//! It takes what the project's client sends, and what the ordinary SDKs send for the same. Whatever else Azure knows is
//! refused by name (501), never half-done.

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use skein_core::blob::{MAX_BLOCK_BYTES, check_blob_name};
use uuid::Uuid;

use crate::access::{Action, Guard, Place};

use folder::Written;
pub use folder::{Folder, Properties};

/// Where the front is mounted.
pub const PREFIX: &str = "/blobs";

/// The container whose blobs an account shows as a website.
pub const WEBSITE: &str = "$web";

/// The folder under the state folder.
pub const FOLDER: &str = "blobs";

/// What a blob is that says nothing else.
const UNKNOWN: &str = "application/octet-stream";

/// How the headers begin that are a blob's metadata.
const METADATA: &str = "x-ms-meta-";

/// The audience of its tokens.
const AUDIENCE: &str = "https://storage.azure.com";

/// The most bytes of a blob that is written whole.
const MAX_PUT_BYTES: usize = 64 * 1024 * 1024;

/// The most names of one page.
const PAGE: usize = 5000;

/// The containers of all accounts.
pub type Containers = BTreeMap<(String, String), Folder>;

/// Opens the containers below a folder.
///
/// # Errors
/// A folder that cannot be made.
pub fn open(folder: &Path, containers: &BTreeSet<(String, String)>) -> io::Result<Containers> {
    containers
        .iter()
        .map(|(account, name)| Ok(((account.clone(), name.clone()), Folder::open(folder.join(account).join(name))?)))
        .collect()
}

struct Front {
    guard: Guard,
    containers: Containers,
}

/// The routes of the front, to be nested under [`PREFIX`].
pub fn router(guard: impl Into<Guard>, containers: Containers) -> Router {
    let guard = guard.into();
    Router::new().fallback(serve).with_state(Arc::new(Front { guard, containers }))
}

/// Why a request is not served.
struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Problem { status, code, message: message.into() }
    }

    fn unsupported(what: &str) -> Self {
        Problem::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("the local Blob service knows no {what}"))
    }

    fn invalid(message: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "InvalidInput", message)
    }

    fn no_blob() -> Self {
        Problem::new(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "the blobs' folder failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let message = escaped(&self.message);
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{}</Code><Message>{message}</Message></Error>", self.code);
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge =
                "Bearer authorization_uri=https://issuer.skein.local/ resource_id=https://storage.azure.com";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

async fn serve(State(front): State<Arc<Front>>, request: Request) -> Response {
    let mut response = match answer(&front, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("x-ms-version", HeaderValue::from_static("2020-12-06"));
    if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert("x-ms-request-id", id);
    }
    response
}

/// One request to a container.
struct Call {
    method: Method,
    headers: HeaderMap,
    query: BTreeMap<String, String>,
    body: Bytes,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// What the blob of this request is to be served with.
    fn properties(&self) -> Result<Properties, Problem> {
        let content_type = self.header("x-ms-blob-content-type").or_else(|| self.header("content-type"));
        let mut metadata = BTreeMap::new();
        for (name, value) in &self.headers {
            let Some(name) = name.as_str().strip_prefix(METADATA) else { continue };
            let value = value.to_str().map_err(|_| Problem::invalid(format!("the metadata {name} is no text")))?;
            metadata.insert(name.to_owned(), value.to_owned());
        }
        Ok(Properties {
            content_type: content_type.filter(|kind| *kind != UNKNOWN).map(str::to_owned),
            cache_control: self.header("x-ms-blob-cache-control").map(str::to_owned),
            metadata,
        })
    }
}

async fn answer(front: &Front, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = front.guard.caller(&parts.headers, AUDIENCE);
    let caller =
        caller.map_err(|why| Problem::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationInfo", why.to_string()))?;
    let body = to_bytes(body, MAX_PUT_BYTES).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", "the request is too large, or broke off")
    })?;
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(|text| text.into_owned())
    };
    let mut query = BTreeMap::new();
    for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).map_err(|_| Problem::invalid("the query is no text"))?;
        query.insert(name.to_ascii_lowercase(), value);
    }
    let mut segments = parts.uri.path().trim_start_matches('/').splitn(3, '/').map(str::to_owned);
    let account = segments.next().unwrap_or_default();
    let container = segments.next().unwrap_or_default();
    let name = segments.next().unwrap_or_default();
    let action = match (parts.method.as_str(), name.is_empty()) {
        ("GET" | "HEAD", _) => Action::BlobRead,
        ("DELETE", _) => Action::BlobDelete,
        (_, true) => Action::ContainerCreate,
        (_, false) => Action::BlobWrite,
    };
    front.guard.allow(&caller, action, &Place::container(&account, &container)).map_err(|refused| {
        let message =
            format!("This request is not authorized to perform this operation using this permission: {refused}.");
        Problem::new(StatusCode::FORBIDDEN, "AuthorizationPermissionMismatch", message)
    })?;
    let folder = front.containers.get(&(account, container)).cloned().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "ContainerNotFound", "The specified container does not exist.")
    })?;
    let call = Call { method: parts.method, headers: parts.headers, query, body };
    // Files block.
    let done = tokio::task::spawn_blocking(move || {
        if name.is_empty() { on_container(&folder, &call) } else { on_blob(&folder, &name, &call) }
    });
    done.await.map_err(|error| Problem::from(io::Error::other(error)))?
}

fn on_container(folder: &Folder, call: &Call) -> Result<Response, Problem> {
    if call.query("restype") != "container" {
        return Err(Problem::unsupported("such request to a container"));
    }
    match (call.method.as_str(), call.query("comp")) {
        ("PUT", "") => {
            Err(Problem::new(StatusCode::CONFLICT, "ContainerAlreadyExists", "The specified container already exists."))
        }
        ("GET", "list") => {
            for name in call.query.keys() {
                if !["restype", "comp", "prefix", "marker", "maxresults", "timeout"].contains(&name.as_str()) {
                    return Err(Problem::unsupported(&format!("query parameter {name:?}")));
                }
            }
            let most = match call.query("maxresults") {
                "" => PAGE,
                text => match text.parse() {
                    Ok(most @ 1..=PAGE) => most,
                    _ => return Err(Problem::invalid("maxresults is 1 to 5000")),
                },
            };
            let all = folder.list(call.query("prefix"))?;
            let after = call.query("marker");
            let mut rest = all.into_iter().filter(|(name, _)| name.as_str() >= after);
            let page: Vec<_> = rest.by_ref().take(most).collect();
            let next = rest.next().map(|(name, _)| name).unwrap_or_default();
            let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>");
            for (name, size) in page {
                xml.push_str(&format!(
                    "<Blob><Name>{}</Name><Properties><Content-Length>{size}</Content-Length></Properties></Blob>",
                    escaped(&name)
                ));
            }
            xml.push_str(&format!("</Blobs><NextMarker>{}</NextMarker></EnumerationResults>", escaped(&next)));
            Ok(([(header::CONTENT_TYPE, "application/xml")], xml).into_response())
        }
        (method, comp) => Err(Problem::unsupported(&format!("{method} of a container with comp={comp:?}"))),
    }
}

fn on_blob(folder: &Folder, name: &str, call: &Call) -> Result<Response, Problem> {
    let name = percent_decode_str(name).decode_utf8().map_err(|_| Problem::invalid("the name is no text"))?;
    let name = name.as_ref();
    check_blob_name(name)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "InvalidResourceName", error.to_string()))?;
    match (call.method.as_str(), call.query("comp")) {
        ("GET" | "HEAD", "") => read(folder, name, call),
        ("PUT", "") => match call.header("x-ms-blob-type") {
            Some("AppendBlob") if call.header("if-none-match") != Some("*") => {
                Err(Problem::unsupported("append blob that is made over another: send If-None-Match: *"))
            }
            Some("AppendBlob") => written(folder.create(name)?),
            Some("BlockBlob")
                if call.headers.contains_key("if-match") || call.headers.contains_key("if-none-match") =>
            {
                Err(Problem::unsupported("condition on a block blob"))
            }
            Some("BlockBlob") => {
                folder.put(name, &call.body, &call.properties()?)?;
                written(Written::Done)
            }
            other => Err(Problem::unsupported(&format!("blob of type {other:?}"))),
        },
        ("PUT", "appendblock") => {
            if call.body.is_empty() {
                return Err(Problem::invalid("a block has at least one byte"));
            }
            if call.body.len() > MAX_BLOCK_BYTES {
                let message = "The request body is too large and exceeds the maximum permissible limit.";
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message));
            }
            let at = call.header("x-ms-blob-condition-appendpos").map(str::parse).transpose();
            let at = at.map_err(|_| Problem::invalid("x-ms-blob-condition-appendpos is no number"))?;
            written(folder.append(name, at, &call.body)?)
        }
        ("DELETE", "") => {
            if folder.delete(name)? {
                Ok(StatusCode::ACCEPTED.into_response())
            } else {
                Err(Problem::no_blob())
            }
        }
        (method, comp) => Err(Problem::unsupported(&format!("{method} of a blob with comp={comp:?}"))),
    }
}

fn written(written: Written) -> Result<Response, Problem> {
    match written {
        Written::Done => Ok(StatusCode::CREATED.into_response()),
        Written::Missing => Err(Problem::no_blob()),
        Written::Exists => {
            Err(Problem::new(StatusCode::CONFLICT, "BlobAlreadyExists", "The specified blob already exists."))
        }
        Written::Moved => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "AppendPositionConditionNotMet",
            "The append position condition specified was not met.",
        )),
        Written::Full => Err(Problem::new(
            StatusCode::CONFLICT,
            "BlockCountExceedsLimit",
            "The committed block count cannot exceed the maximum limit of 50,000 blocks.",
        )),
    }
}

fn read(folder: &Folder, name: &str, call: &Call) -> Result<Response, Problem> {
    let range = call.header("x-ms-range").or_else(|| call.header("range")).map(|text| {
        let numbers = text.strip_prefix("bytes=").and_then(|numbers| numbers.split_once('-'));
        numbers.and_then(|(from, to)| {
            let from: u64 = from.parse().ok()?;
            let to: u64 = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
            (to >= from).then_some((from, to))
        })
    });
    let (from, to) = match range {
        None => (0, u64::MAX),
        Some(Some(range)) => range,
        Some(None) => return Err(Problem::invalid("the range is not understood")),
    };
    let head = call.method == Method::HEAD;
    let most = if head { 0 } else { (to - from).saturating_add(1) };
    let found = folder.read(name, from, most)?.ok_or_else(Problem::no_blob)?;
    let grows = if found.grows { "AppendBlob" } else { "BlockBlob" };
    let mut response = if head || range.is_none() {
        Response::new(Body::from(found.bytes))
    } else if from >= found.size {
        let message = "The range specified is invalid for the current size of the resource.";
        let mut refused = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message).into_response();
        if let Ok(range) = HeaderValue::from_str(&format!("bytes */{}", found.size)) {
            refused.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        return Ok(refused);
    } else {
        let last = from + found.bytes.len() as u64 - 1;
        let mut part = Response::new(Body::from(found.bytes));
        *part.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(range) = HeaderValue::from_str(&format!("bytes {from}-{last}/{}", found.size)) {
            part.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        part
    };
    let headers = response.headers_mut();
    let Properties { content_type, cache_control, metadata } = found.properties;
    let metadata = metadata.into_iter().map(|(name, value)| (format!("{METADATA}{name}"), value));
    let kind = content_type.unwrap_or_else(|| UNKNOWN.to_owned());
    let told = [(header::CONTENT_TYPE.as_str().to_owned(), kind)].into_iter().chain(metadata);
    let cache = cache_control.map(|value| (header::CACHE_CONTROL.as_str().to_owned(), value));
    for (name, value) in told.chain(cache) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert("x-ms-blob-type", HeaderValue::from_static(grows));
    if head && let Ok(size) = HeaderValue::from_str(&found.size.to_string()) {
        headers.insert(header::CONTENT_LENGTH, size);
    }
    Ok(response)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;

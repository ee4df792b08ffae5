//! The REST interface, as servers call it.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::ws::Utf8Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::hub::{Audience, Ending};
use super::{Front, protocol};
use crate::access::{Action, Place};

/// The audience of its tokens.
const AUDIENCE: &str = "https://signalr.azure.com";
/// The most bytes of a body.
const MAX_BODY: usize = 1_000_000;
/// The most characters of a group's name.
const MAX_GROUP: usize = 1024;
/// The most characters of a user's name.
const MAX_USER: usize = 128;
/// The longest life of a client's token, in minutes.
const MAX_MINUTES: u64 = 24 * 60;

/// What is asked for. Names are decoded.
#[derive(Debug, PartialEq)]
enum Call<'a> {
    Token,
    Send(Audience<'a>),
    Close(Audience<'a>),
    Exists(Audience<'a>),
    Join { group: &'a str, connection: &'a str },
    Leave { group: Option<&'a str>, connection: &'a str },
    JoinUser { group: &'a str, user: &'a str },
    LeaveUser { group: Option<&'a str>, user: &'a str },
    IsMember { group: &'a str, user: &'a str },
}

impl<'a> Call<'a> {
    /// The call of a method and the path's segments below the hub.
    fn of(method: &Method, segments: &[&'a str]) -> Option<Self> {
        use Audience::{All, Connection, Group, User};
        Some(match (method.as_str(), segments) {
            ("POST", [":generateToken"]) => Call::Token,
            ("POST", [":send"]) => Call::Send(All),
            ("POST", [":closeConnections"]) => Call::Close(All),
            ("POST", ["users", user, ":send"]) => Call::Send(User(user)),
            ("POST", ["groups", group, ":send"]) => Call::Send(Group(group)),
            ("POST", ["connections", connection, ":send"]) => Call::Send(Connection(connection)),
            ("POST", ["users", user, ":closeConnections"]) => Call::Close(User(user)),
            ("POST", ["groups", group, ":closeConnections"]) => Call::Close(Group(group)),
            ("DELETE", ["connections", connection]) => Call::Close(Connection(connection)),
            ("HEAD", ["users", user]) => Call::Exists(User(user)),
            ("HEAD", ["groups", group]) => Call::Exists(Group(group)),
            ("HEAD", ["connections", connection]) => Call::Exists(Connection(connection)),
            ("PUT", ["groups", group, "connections", connection]) => Call::Join { group, connection },
            ("DELETE", ["groups", group, "connections", connection]) => Call::Leave { group: Some(group), connection },
            ("DELETE", ["connections", connection, "groups"]) => Call::Leave { group: None, connection },
            ("PUT", ["users", user, "groups", group]) => Call::JoinUser { group, user },
            ("DELETE", ["users", user, "groups", group]) => Call::LeaveUser { group: Some(group), user },
            ("DELETE", ["users", user, "groups"]) => Call::LeaveUser { group: None, user },
            ("HEAD", ["users", user, "groups", group]) => Call::IsMember { group, user },
            _ => return None,
        })
    }

    /// What the caller must be allowed to do.
    fn action(&self) -> Action {
        match self {
            Call::Token => Action::ClientToken,
            Call::Send(Audience::All) => Action::HubSend,
            Call::Send(Audience::Connection(_)) => Action::ConnectionSend,
            Call::Send(Audience::User(_)) => Action::UserSend,
            Call::Send(Audience::Group(_)) => Action::GroupSend,
            Call::Close(_) => Action::ConnectionWrite,
            Call::Exists(Audience::User(_)) => Action::UserRead,
            Call::Exists(Audience::Group(_)) => Action::GroupRead,
            Call::Exists(_) => Action::ConnectionRead,
            Call::Join { .. } | Call::Leave { .. } => Action::GroupWrite,
            Call::JoinUser { .. } | Call::LeaveUser { .. } => Action::UserWrite,
            Call::IsMember { .. } => Action::UserRead,
        }
    }

    /// The group and the user that it names.
    fn names(&self) -> (Option<&'a str>, Option<&'a str>) {
        match *self {
            Call::Send(Audience::Group(group))
            | Call::Close(Audience::Group(group))
            | Call::Exists(Audience::Group(group)) => (Some(group), None),
            Call::Send(Audience::User(user))
            | Call::Close(Audience::User(user))
            | Call::Exists(Audience::User(user)) => (None, Some(user)),
            Call::Join { group, .. } => (Some(group), None),
            Call::Leave { group, .. } => (group, None),
            Call::LeaveUser { group, user } => (group, Some(user)),
            Call::JoinUser { group, user } | Call::IsMember { group, user } => (Some(group), Some(user)),
            _ => (None, None),
        }
    }
}

/// An error as Azure writes it.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response {
    let code = status.canonical_reason().unwrap_or_default().replace(' ', "");
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}

fn bad(message: impl AsRef<str>) -> Box<Response> {
    Box::new(refusal(StatusCode::BAD_REQUEST, message.as_ref()))
}

/// Whether a hub may have that name.
pub(super) fn is_hub(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The parameters of a query.
pub(super) fn query(uri: &Uri) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Answers a call; the path begins with the service's name.
pub(super) async fn answer(front: &Front, method: &Method, uri: &Uri, headers: &HeaderMap, body: Body) -> Response {
    serve(front, method, uri, headers, body).await.unwrap_or_else(|refused| *refused)
}

async fn serve(
    front: &Front,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Box<Response>> {
    let not_found = |what: &str| Box::new(refusal(StatusCode::NOT_FOUND, what));
    let decoded: Result<Vec<String>, _> = uri
        .path()
        .trim_start_matches('/')
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8().map(|text| text.into_owned()))
        .collect();
    let decoded = decoded.map_err(|_| bad("the path is no UTF-8"))?;
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (name, hub, below) = match segments.as_slice() {
        [_, "api", "health"] if method == Method::HEAD => return Ok(StatusCode::OK.into_response()),
        [name, "api", "hubs", hub, below @ ..] => (*name, *hub, below),
        _ => return Err(not_found("there is nothing here but clients' connections and /api/hubs")),
    };
    let caller = front.guard.caller(headers, AUDIENCE).map_err(|refused| {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        Box::new((challenge, refusal(StatusCode::UNAUTHORIZED, &refused.to_string())).into_response())
    })?;
    let Some(call) = Call::of(method, below) else {
        let others = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        if others.iter().any(|other| Call::of(other, below).is_some()) {
            return Err(Box::new(refusal(StatusCode::METHOD_NOT_ALLOWED, "not by this method")));
        }
        return Err(not_found("there is no such operation"));
    };
    let query = query(uri);
    let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if value("api-version").is_none_or(str::is_empty) {
        return Err(bad("api-version is missing"));
    }
    front
        .guard
        .allow(&caller, call.action(), &Place::signalr(name))
        .map_err(|refused| Box::new(refusal(StatusCode::FORBIDDEN, &refused.to_string())))?;
    let service = front.service(name).ok_or_else(|| not_found("there is no such service"))?;
    if !is_hub(hub) {
        return Err(bad("a hub's name is a letter, then letters, digits and underscores, at most 128"));
    }
    let checked = |what: &str, name: &str, limit: usize| {
        let fits = !name.trim().is_empty() && name.chars().count() <= limit && !name.chars().any(char::is_control);
        if fits {
            Ok(())
        } else {
            Err(bad(format!("a {what}'s name has 1 to {limit} characters, and not blanks alone")))
        }
    };
    let (group, user) = call.names();
    group.map_or(Ok(()), |group| checked("group", group, MAX_GROUP))?;
    user.map_or(Ok(()), |user| checked("user", user, MAX_USER))?;
    let number = |name: &str| match value(name) {
        None | Some("") => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| bad(format!("{name} has to be a number, not {text:?}")))
        }
    };
    let excluded: Vec<String> =
        query.iter().filter(|(name, _)| name == "excluded").map(|(_, value)| value.clone()).collect();
    let found = |found: bool| match found {
        true => StatusCode::OK.into_response(),
        false => refusal(StatusCode::NOT_FOUND, "there is nobody of that name"),
    };
    let at = service.hub(hub);
    Ok(match call {
        Call::Token => {
            let user = value("userId").filter(|user| !user.is_empty());
            user.map_or(Ok(()), |user| checked("user", user, MAX_USER))?;
            let minutes = number("minutesToExpire")?.unwrap_or(60);
            if !(1..=MAX_MINUTES).contains(&minutes) {
                return Err(bad(format!("minutesToExpire has to be 1 to {MAX_MINUTES}")));
            }
            let audience = front.client_url(&service.name, hub);
            let token = service.key.sign(&audience, user, Duration::from_secs(60 * minutes));
            ([(header::CACHE_CONTROL, "no-store")], Json(json!({ "token": token }))).into_response()
        }
        Call::Send(audience) => {
            at.send(audience, &excluded, &message(headers, body).await?);
            StatusCode::ACCEPTED.into_response()
        }
        Call::Close(audience) => {
            let reason = value("reason").filter(|reason| !reason.is_empty()).map(str::to_owned);
            at.close(audience, &excluded, &Ending::Closed(reason));
            match audience {
                Audience::Connection(_) => StatusCode::OK,
                _ => StatusCode::NO_CONTENT,
            }
            .into_response()
        }
        Call::Exists(audience) => found(at.reaches(audience)),
        Call::Join { group, connection } => found(at.join(group, connection)),
        Call::Leave { group, connection } => found(at.leave(group, connection)),
        Call::JoinUser { group, user } => {
            at.join_user(group, user, number("ttl")?.map(Duration::from_secs));
            StatusCode::OK.into_response()
        }
        Call::LeaveUser { group, user } => {
            at.leave_user(group, user);
            StatusCode::NO_CONTENT.into_response()
        }
        Call::IsMember { group, user } => found(at.is_member(group, user)),
    })
}

/// The message of a body, as clients get it.
async fn message(headers: &HeaderMap, body: Body) -> Result<Utf8Bytes, Box<Response>> {
    #[derive(Deserialize)]
    struct Payload<'a> {
        target: String,
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Box::new(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json")));
    }
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        let why = format!("the body has more than {MAX_BODY} bytes, or broke off");
        Box::new(refusal(StatusCode::PAYLOAD_TOO_LARGE, &why))
    })?;
    let payload: Payload<'_> =
        serde_json::from_slice(&body).map_err(|error| bad(format!("the body is no message: {error}")))?;
    if payload.target.is_empty() {
        return Err(bad("the message has no target"));
    }
    let arguments = payload.arguments.map_or("[]", RawValue::get);
    if !arguments.starts_with('[') {
        return Err(bad("the arguments are no list"));
    }
    Ok(protocol::invocation(&payload.target, arguments))
}

//! The Service Bus REST front: sending, peek-lock, settling and destructive reads, one message a call.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use uuid::Uuid;

use crate::access::{Action, Forbidden, Guard, Place};

use super::{Broker, BrokerError, Header, Locked, MAX_MESSAGE_BYTES, NewMessage, Properties, PropertyValue};

/// Where the front is mounted.
pub const PREFIX: &str = "/servicebus";

/// The audience of its tokens.
const AUDIENCE: &str = "https://servicebus.azure.net";

/// The media type of a batch.
const BATCH: &str = "application/vnd.microsoft.servicebus.json";

/// How long a receive waits unless it says otherwise, and at most.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Headers that are HTTP's or the protocol's own, and so no custom properties.
const NO_PROPERTIES: [&str; 22] = [
    "accept",
    "accept-encoding",
    "authorization",
    "brokerproperties",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "location",
    "server",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// What Azure answers for the time to live of a message that has none, in seconds.
const UNLIMITED: f64 = 922_337_203_685.477_5;

#[derive(Clone)]
struct Front {
    guard: Guard,
    broker: Broker,
}

/// The front, to be mounted at [`PREFIX`]: `/{namespace}/{queue}/messages…`, a queue's name with slashes included.
pub fn router(guard: impl Into<Guard>, broker: Broker) -> axum::Router {
    axum::Router::new().fallback(handle).with_state(Front { guard: guard.into(), broker })
}

/// A refusal: a status and the reason for people.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(reason: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, reason.into())
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        let status = match &error {
            BrokerError::NoQueue(_) => StatusCode::GONE,
            BrokerError::SessionRequired(_) | BrokerError::DeadLetterQueue(_) => StatusCode::METHOD_NOT_ALLOWED,
            BrokerError::TooLarge(_) => StatusCode::FORBIDDEN,
            BrokerError::LockLost => StatusCode::NOT_FOUND,
            BrokerError::NoSessionId(_)
            | BrokerError::NoSessions(_)
            | BrokerError::Invalid(_)
            | BrokerError::HeldBySession
            | BrokerError::FixedSetting { .. } => StatusCode::BAD_REQUEST,
            BrokerError::Storage(_) | BrokerError::Corrupt(_) | BrokerError::Closed => {
                tracing::error!(error = &error as &dyn std::error::Error, "the broker failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Refusal(status, error.to_string())
    }
}

impl From<Forbidden> for Refusal {
    fn from(refused: Forbidden) -> Self {
        let claim = if refused.action == Action::QueueSend { "Send" } else { "Listen" };
        let reason =
            format!("Unauthorized access. '{claim}' claim(s) are required to perform this operation: {refused}");
        Refusal(StatusCode::FORBIDDEN, reason)
    }
}

/// What a path addresses.
#[derive(Debug, PartialEq)]
enum Target {
    Messages,
    Head,
    Message { message: String, token: Uuid },
}

/// A path's queue, `namespace/queue`, and what of it is addressed.
fn parse_path(path: &str) -> Result<(String, Target), Refusal> {
    let nothing = || Refusal(StatusCode::NOT_FOUND, format!("{path} is not the path of a queue's messages"));
    let mut segments = Vec::new();
    for segment in path.trim_matches('/').split('/') {
        segments.push(percent_decode_str(segment).decode_utf8().map_err(|_| nothing())?.into_owned());
    }
    let is = |segment: &String, name: &str| segment.eq_ignore_ascii_case(name);
    let (queue, target) = match &segments[..] {
        [queue @ .., messages] if is(messages, "messages") => (queue, Target::Messages),
        [queue @ .., messages, head] if is(messages, "messages") && is(head, "head") => (queue, Target::Head),
        [queue @ .., messages, message, token] if is(messages, "messages") => {
            // A token that is none is one that nobody holds.
            let token = token.parse().unwrap_or_default();
            (queue, Target::Message { message: message.clone(), token })
        }
        _ => return Err(nothing()),
    };
    if queue.len() < 2 {
        return Err(nothing());
    }
    Ok((queue.join("/"), target))
}

async fn handle(State(front): State<Front>, request: Request) -> Response {
    let uri = request.uri().clone();
    answer(front, request).await.unwrap_or_else(|refusal| error(&refusal, &uri))
}

async fn answer(front: Front, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let caller = front.guard.caller(&parts.headers, AUDIENCE);
    let caller = caller.map_err(|refused| Refusal(StatusCode::UNAUTHORIZED, refused.to_string()))?;
    let (queue, target) = parse_path(parts.uri.path())?;
    let action = if target == Target::Messages { Action::QueueSend } else { Action::QueueReceive };
    front.guard.allow(&caller, action, &Place::queue(&queue))?;
    let broker = &front.broker;
    match (target, parts.method) {
        (Target::Messages, Method::POST) => {
            let messages = read_messages(&parts.headers, body).await?;
            broker.send(&queue, messages).await?;
            let mut created = StatusCode::CREATED.into_response();
            if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
                created.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
            }
            Ok(created)
        }
        (Target::Head, Method::POST) => {
            let locked = broker.receive(&queue, wait(&parts.uri)?).await?;
            Ok(locked.map_or(StatusCode::NO_CONTENT.into_response(), |locked| {
                deliver(StatusCode::CREATED, locked, &parts.headers)
            }))
        }
        (Target::Head, Method::DELETE) => {
            let taken = broker.receive_and_delete(&queue, wait(&parts.uri)?).await?;
            Ok(taken
                .map_or(StatusCode::NO_CONTENT.into_response(), |taken| deliver(StatusCode::OK, taken, &parts.headers)))
        }
        (Target::Message { message, token }, method @ (Method::DELETE | Method::PUT | Method::POST)) => {
            let name = queue.clone();
            let lock = broker.run(move |engine| engine.find_lock(&name, &message, token)).await?;
            match method {
                Method::DELETE => broker.complete(&lock).await?,
                Method::PUT => broker.abandon(&lock).await?,
                _ => broker.renew(&lock).await.map(|_| ())?,
            }
            Ok(StatusCode::OK.into_response())
        }
        (_, method) => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed here"))),
    }
}

fn error(refusal: &Refusal, uri: &Uri) -> Response {
    let Refusal(status, reason) = refusal;
    let (namespace, queue) = uri.path().trim_start_matches('/').split_once('/').unwrap_or_default();
    let queue = queue.split("/messages").next().unwrap_or_default();
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let detail =
        format!("{reason}. TrackingId:{}_G0, SystemTracker:{namespace}:Queue:{queue}, Timestamp:{now}", Uuid::new_v4());
    let detail = detail.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!("<Error><Code>{}</Code><Detail>{detail}</Detail></Error>", status.as_u16());
    (*status, [(header::CONTENT_TYPE, "application/xml; charset=utf-8")], body).into_response()
}

fn wait(uri: &Uri) -> Result<Duration, Refusal> {
    let query = uri.query().unwrap_or_default();
    let mut given = query.split('&').filter_map(|pair| pair.split_once('='));
    match given.find(|(name, _)| name.eq_ignore_ascii_case("timeout")) {
        None => Ok(MAX_WAIT),
        Some((_, seconds)) => {
            let seconds = seconds.parse().map_err(|_| Refusal::bad("timeout has to be a number of seconds"))?;
            Ok(Duration::from_secs(seconds).min(MAX_WAIT))
        }
    }
}

/// `BrokerProperties`, as a header or as a member of a batch. Unknown members are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BrokerProperties {
    message_id: Option<String>,
    session_id: Option<String>,
    correlation_id: Option<String>,
    label: Option<String>,
    to: Option<String>,
    reply_to: Option<String>,
    reply_to_session_id: Option<String>,
    partition_key: Option<String>,
    time_to_live: Option<f64>,
    time_to_live_time_span: Option<String>,
    scheduled_enqueue_time_utc: Option<String>,
}

/// One message of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchMessage {
    body: String,
    #[serde(default)]
    broker_properties: Option<BrokerProperties>,
    #[serde(default)]
    user_properties: Option<Map<String, Value>>,
}

fn too_large() -> Refusal {
    Refusal(StatusCode::FORBIDDEN, format!("the request has more than {MAX_MESSAGE_BYTES} bytes, or broke off"))
}

async fn read_messages(headers: &HeaderMap, body: Body) -> Result<Vec<NewMessage>, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_batch = content_type
        .is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(BATCH)));
    let body = axum::body::to_bytes(body, MAX_MESSAGE_BYTES).await.map_err(|_| too_large())?;
    if is_batch {
        let batch: Vec<BatchMessage> =
            serde_json::from_slice(&body).map_err(|error| Refusal::bad(format!("not a batch: {error}")))?;
        return batch
            .into_iter()
            .map(|message| {
                let properties = message.user_properties.unwrap_or_default();
                let properties = properties.into_iter().map(|(name, value)| Ok((name, from_json(value)?)));
                let properties = properties.collect::<Result<_, Refusal>>()?;
                compose(message.broker_properties.unwrap_or_default(), properties, None, message.body.into())
            })
            .collect();
    }
    let broker_properties = match headers.get("BrokerProperties") {
        None => BrokerProperties::default(),
        Some(text) => serde_json::from_slice(text.as_bytes())
            .map_err(|error| Refusal::bad(format!("BrokerProperties is not understood: {error}")))?,
    };
    let mut properties = Properties::new();
    for (name, value) in headers {
        let name = name.as_str();
        if !NO_PROPERTIES.contains(&name) && !name.starts_with("x-ms-") {
            let text = value.to_str().map_err(|_| Refusal::bad(format!("the property {name} is not ASCII")))?;
            properties.insert(name.to_owned(), from_header(text));
        }
    }
    let content_type = content_type.map(str::to_owned);
    Ok(vec![compose(broker_properties, properties, content_type, body)?])
}

fn compose(
    broker: BrokerProperties,
    properties: Properties,
    content_type: Option<String>,
    body: Bytes,
) -> Result<NewMessage, Refusal> {
    let scheduled_enqueue_time = broker
        .scheduled_enqueue_time_utc
        .map(|text| parse_time(&text).ok_or_else(|| Refusal::bad("ScheduledEnqueueTimeUtc is not a time")))
        .transpose()?;
    let seconds = broker
        .time_to_live
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds).map_err(|_| Refusal::bad("TimeToLive is not a number of seconds"))
        })
        .transpose()?
        .filter(|ttl| ttl.as_secs_f64() < UNLIMITED.floor());
    let span = broker
        .time_to_live_time_span
        .map(|text| parse_span(&text).ok_or_else(|| Refusal::bad("TimeToLiveTimeSpan is not d.hh:mm:ss")))
        .transpose()?;
    Ok(NewMessage {
        message_id: broker.message_id,
        session_id: broker.session_id,
        header: Header {
            content_type,
            correlation_id: broker.correlation_id,
            subject: broker.label,
            to: broker.to,
            reply_to: broker.reply_to,
            reply_to_session_id: broker.reply_to_session_id,
            partition_key: broker.partition_key,
            properties,
        },
        time_to_live: seconds.or(span),
        scheduled_enqueue_time,
        body,
    })
}

fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    // RFC 1123 says GMT where RFC 2822 says +0000.
    let rfc2822 = text.strip_suffix("GMT").map(|rest| format!("{rest}+0000"));
    rfc2822
        .and_then(|text| OffsetDateTime::parse(&text, &Rfc2822).ok())
        .or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok())
}

fn format_time(at: OffsetDateTime) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

/// A time span as .NET writes it: `d.hh:mm:ss`, the days left out where there are none.
fn parse_span(text: &str) -> Option<Duration> {
    let parts: Vec<&str> = text.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let seconds: f64 = seconds.parse().ok().filter(|seconds| (0.0..60.0).contains(seconds))?;
    let days: u64 = days.parse().ok()?;
    let hours: u64 = hours.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u64 = minutes.parse().ok().filter(|minutes| *minutes < 60)?;
    let whole = days.checked_mul(86_400)?.checked_add(hours * 3600 + minutes * 60)?;
    Duration::from_secs(whole).checked_add(Duration::from_secs_f64(seconds))
}

/// A custom property from its header: text in quotes (a time where it reads as one), or a bare word.
fn from_header(text: &str) -> PropertyValue {
    let text = text.trim();
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let text = quoted.replace("\\\"", "\"");
        let rfc1123 = text.ends_with("GMT").then(|| parse_time(&text)).flatten();
        return rfc1123.map_or(PropertyValue::String(text), PropertyValue::Time);
    }
    if let Ok(truth) = text.parse() {
        return PropertyValue::Bool(truth);
    }
    if let Ok(number) = text.parse() {
        return PropertyValue::Long(number);
    }
    // Rust reads the words inf and nan as numbers; nobody else does.
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => PropertyValue::Double(number),
        _ => PropertyValue::String(text.to_owned()),
    }
}

fn from_json(value: Value) -> Result<PropertyValue, Refusal> {
    Ok(match value {
        Value::String(text) => PropertyValue::String(text),
        Value::Bool(truth) => PropertyValue::Bool(truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => PropertyValue::Long(whole),
            None => PropertyValue::Double(number.as_f64().unwrap_or(f64::MAX)),
        },
        other => return Err(Refusal::bad(format!("{other} cannot be the value of a property"))),
    })
}

fn to_header(value: &PropertyValue) -> String {
    match value {
        PropertyValue::String(text) => format!("\"{}\"", text.replace('"', "\\\"")),
        PropertyValue::Bool(truth) => truth.to_string(),
        PropertyValue::Long(number) => number.to_string(),
        PropertyValue::Double(number) => format!("{number:?}"),
        PropertyValue::Time(at) => format!("\"{}\"", format_time(*at)),
    }
}

/// JSON with everything but ASCII escaped, since a header holds nothing else.
fn ascii(json: &Value) -> String {
    let mut text = String::new();
    for c in json.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

fn deliver(status: StatusCode, locked: Locked, request: &HeaderMap) -> Response {
    let mut properties = json!({
        "DeliveryCount": locked.delivery_count,
        "EnqueuedSequenceNumber": locked.enqueued_sequence_number,
        "EnqueuedTimeUtc": format_time(locked.enqueued_at),
        "MessageId": locked.message_id,
        "SequenceNumber": locked.sequence_number,
        "State": "Active",
        "TimeToLive": locked.time_to_live.map_or(UNLIMITED, |ttl| ttl.as_secs_f64()),
    });
    let peek_lock = status == StatusCode::CREATED;
    if peek_lock {
        properties["LockToken"] = json!(locked.lock.token);
        properties["LockedUntilUtc"] = json!(format_time(locked.locked_until));
    }
    let header = &locked.header;
    for (name, value) in [
        ("SessionId", &locked.session_id),
        ("CorrelationId", &header.correlation_id),
        ("Label", &header.subject),
        ("To", &header.to),
        ("ReplyTo", &header.reply_to),
        ("ReplyToSessionId", &header.reply_to_session_id),
        ("PartitionKey", &header.partition_key),
        ("DeadLetterSource", &locked.dead_letter_source),
    ] {
        if let Some(value) = value {
            properties[name] = json!(value);
        }
    }
    let mut response = (status, locked.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    let mut put = |name: HeaderName, value: String| {
        // A header cannot say what is not ASCII; the message itself is unharmed.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    if let Some(content_type) = &header.content_type {
        put(header::CONTENT_TYPE, content_type.clone());
    }
    for (name, value) in &header.properties {
        let name = name.to_ascii_lowercase();
        if let Ok(name) = HeaderName::try_from(&name)
            && !NO_PROPERTIES.contains(&name.as_str())
        {
            put(name, to_header(value));
        }
    }
    if let Some(why) = &locked.dead_letter {
        put(HeaderName::from_static("deadletterreason"), format!("\"{}\"", why.reason));
        put(HeaderName::from_static("deadlettererrordescription"), format!("\"{}\"", why.description));
    }
    put(HeaderName::from_static("brokerproperties"), ascii(&properties));
    if peek_lock {
        let host = request.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let message = utf8_percent_encode(&locked.message_id, NON_ALPHANUMERIC);
        let (queue, token) = (&locked.lock.queue, locked.lock.token);
        put(header::LOCATION, format!("http://{host}{PREFIX}/{queue}/messages/{message}/{token}"));
    }
    response
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

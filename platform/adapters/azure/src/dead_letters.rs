//! Dead-letter queues on Service Bus, by its REST interface: looking, taking out, sending again.
//!
//! A dead letter that was received is locked for the queue's lock duration, then it is there again. The dead-letter
//! queue of a queue with sessions has none, and a message in it is never given up.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::http::headers::{CONTENT_TYPE, HeaderName};
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, RawResponse, Request, Url};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use skein_core::ports::SendError;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::channel::{Channel, EndpointError, endpoint, header, sent};
use crate::credential::BearerPolicy;
use crate::queue::{BROKER_PROPERTIES, SCOPE, ascii};

/// How long a receive waits for a message, in seconds: long enough for the broker to look into every partition.
const WAIT_SECONDS: u32 = 1;

/// The dead-letter queue of one queue.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue {
    channel: Channel,
    name: String,
    head: Url,
    queue: Url,
}

/// A message of a dead-letter queue, locked.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The message id.
    pub id: String,
    /// The session it was sent to.
    pub session: Option<String>,
    /// Its number within the dead-letter queue.
    pub sequence: i64,
    /// When it was enqueued, as the broker tells it (to the second).
    pub enqueued: Option<OffsetDateTime>,
    /// The W3C trace context it was sent with.
    pub traceparent: Option<String>,
    /// Why the broker gave it up, as in `MaxDeliveryCountExceeded`.
    pub reason: Option<String>,
    /// What the broker says of it.
    pub description: Option<String>,
    /// The body.
    pub body: Bytes,
    properties: Sent,
    lock: Url,
}

/// What a message was sent with and is sent again with.
#[derive(Debug, Clone, Default)]
struct Sent {
    content_type: Option<String>,
    broker: Map<String, Value>,
    headers: Vec<(String, String)>,
}

/// What became of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The message is gone, or there again.
    Done,
    /// The lock had ended: the message is there again, or somebody else took it.
    LockLost,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BrokerProperties {
    message_id: String,
    #[serde(default)]
    session_id: Option<String>,
    sequence_number: i64,
    #[serde(default)]
    enqueued_time_utc: Option<String>,
    lock_token: String,
}

/// Properties of the broker that its sender set, and that go out again.
const KEPT: [&str; 7] = ["CorrelationId", "Label", "PartitionKey", "ReplyTo", "ReplyToSessionId", "SessionId", "To"];

/// Headers of an answer that are HTTP's or the broker's, and so no properties of the message.
const NO_PROPERTIES: [&str; 14] = [
    "brokerproperties",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "deadletterdescription",
    "deadlettererrordescription",
    "deadletterreason",
    "keep-alive",
    "location",
    "server",
    "strict-transport-security",
    "transfer-encoding",
];

impl DeadLetterQueue {
    /// The dead-letter queue of the queue at this address, as in `https://{namespace}.servicebus.windows.net/{queue}`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        http: &Arc<dyn HttpClient>,
        credential: Arc<dyn TokenCredential>,
        url: &str,
    ) -> Result<Self, EndpointError> {
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, SCOPE));
        let name = endpoint(url)?;
        let parse = |text: String| {
            Url::parse(&text).map_err(|error| EndpointError { url: url.to_owned(), reason: error.to_string() })
        };
        let head = parse(format!("{name}/$DeadLetterQueue/messages/head?timeout={WAIT_SECONDS}"))?;
        let queue = parse(format!("{name}/messages"))?;
        Ok(DeadLetterQueue { channel: Channel::new(http, &auth), name, head, queue })
    }

    /// Locks the oldest message that nobody holds; `None` where there is none.
    ///
    /// # Errors
    /// A queue that is away or refuses, or an answer that is no message.
    pub async fn receive(&self) -> Result<Option<DeadLetter>, SendError> {
        let mut request = Request::new(self.head.clone(), Method::Post);
        request.set_body(Bytes::new());
        // Once: an answer that was lost leaves a lock, and the message comes back with its end.
        let response = match self.channel.once(&mut request).await {
            Ok(response) if u16::from(response.status()) == 204 => return Ok(None),
            Ok(response) if u16::from(response.status()) == 201 => response,
            other => {
                let refused = sent(&self.name, other);
                return Err(refused.err().unwrap_or_else(|| self.unavailable("a success without a message")));
            }
        };
        read(&self.name, &response).map(Some).map_err(|why| self.unavailable(&why))
    }

    /// Takes a message out of the dead-letter queue.
    ///
    /// # Errors
    /// A queue that is away or refuses: the message may be gone or not.
    pub async fn complete(&self, letter: &DeadLetter) -> Result<Settled, SendError> {
        self.settle(letter, Method::Delete).await
    }

    /// Gives a message back.
    ///
    /// # Errors
    /// A queue that is away or refuses: the message comes back with the end of its lock.
    pub async fn unlock(&self, letter: &DeadLetter) -> Result<Settled, SendError> {
        self.settle(letter, Method::Put).await
    }

    /// Sends the message to the queue again, under another id, with the same body, session and properties. The dead
    /// letter stays.
    ///
    /// # Errors
    /// A queue that is away or refuses. The message may have been sent.
    pub async fn send_again(&self, letter: &DeadLetter, id: &str) -> Result<(), SendError> {
        let mut request = Request::new(self.queue.clone(), Method::Post);
        let mut broker = letter.properties.broker.clone();
        broker.insert("MessageId".to_owned(), id.into());
        if let Some(kind) = &letter.properties.content_type {
            request.insert_header(CONTENT_TYPE, kind.clone());
        }
        request.insert_header(BROKER_PROPERTIES, ascii(&Value::Object(broker).to_string()));
        for (name, value) in &letter.properties.headers {
            request.insert_header(HeaderName::from(name.clone()), value.clone());
        }
        request.set_body(letter.body.clone());
        // Sending twice is harmless: receivers discard what they have seen.
        sent(&self.name, self.channel.repeating(&mut request).await)
    }

    async fn settle(&self, letter: &DeadLetter, method: Method) -> Result<Settled, SendError> {
        let mut request = Request::new(letter.lock.clone(), method);
        request.set_body(Bytes::new());
        match self.channel.repeating(&mut request).await {
            // Also what a repetition gets whose first attempt was done.
            Ok(response) if matches!(u16::from(response.status()), 404 | 410) => Ok(Settled::LockLost),
            other => sent(&self.name, other).map(|()| Settled::Done),
        }
    }

    fn unavailable(&self, why: &str) -> SendError {
        SendError::Unavailable { target: self.name.clone(), reason: why.to_owned() }
    }
}

fn read(queue: &str, response: &RawResponse) -> Result<DeadLetter, String> {
    let text = header(response, "brokerproperties").ok_or("the message has no BrokerProperties")?;
    let mut broker: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("BrokerProperties {text:?}: {error}"))?;
    let told: BrokerProperties = serde_json::from_value(Value::Object(broker.clone()))
        .map_err(|error| format!("BrokerProperties {text:?}: {error}"))?;
    // Not by message id, which may hold anything, and not by Location, whose host the answer chooses.
    let lock = format!("{queue}/$DeadLetterQueue/messages/{}/{}", told.sequence_number, told.lock_token);
    let lock = Url::parse(&lock).map_err(|error| format!("LockToken {:?}: {error}", told.lock_token))?;
    broker.retain(|name, _| KEPT.contains(&name.as_str()));
    let headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().to_owned()))
        .filter(|(name, _)| !NO_PROPERTIES.contains(&name.as_str()) && !name.starts_with("x-ms-"))
        .collect();
    let traceparent = headers.iter().find(|(name, _)| name == "traceparent").map(|(_, value)| unquoted(value));
    Ok(DeadLetter {
        id: told.message_id,
        session: told.session_id,
        sequence: told.sequence_number,
        enqueued: told.enqueued_time_utc.as_deref().and_then(time),
        traceparent,
        reason: header(response, "deadletterreason").map(unquoted),
        description: header(response, "deadlettererrordescription").map(unquoted),
        body: response.body().clone().into(),
        properties: Sent { content_type: header(response, "content-type").map(str::to_owned), broker, headers },
        lock,
    })
}

/// A property that is a text stands in quotes.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    quoted.map_or_else(|| text.to_owned(), |text| text.replace("\\\"", "\""))
}

/// A time as the broker writes it: RFC 1123, which says GMT where RFC 2822 says +0000.
fn time(text: &str) -> Option<OffsetDateTime> {
    let rfc2822 = text.trim().strip_suffix("GMT").map(|rest| format!("{rest}+0000"));
    rfc2822
        .and_then(|text| OffsetDateTime::parse(&text, &Rfc2822).ok())
        .or_else(|| OffsetDateTime::parse(text.trim(), &Rfc3339).ok())
}

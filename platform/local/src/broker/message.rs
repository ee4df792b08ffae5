//! Messages: as they are sent, as a receiver holds them, and as they rest in a dead-letter queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// The value of an application property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PropertyValue {
    /// Text.
    String(String),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Long(i64),
    /// A number with a fraction.
    Double(f64),
    /// A time, UTC.
    Time(#[serde(with = "time::serde::rfc3339")] OffsetDateTime),
}

impl From<&str> for PropertyValue {
    fn from(text: &str) -> Self {
        PropertyValue::String(text.into())
    }
}

impl From<String> for PropertyValue {
    fn from(text: String) -> Self {
        PropertyValue::String(text)
    }
}

/// Application properties by name.
pub type Properties = BTreeMap<String, PropertyValue>;

/// What the sender says of a message besides its body, and what the broker only carries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// The media type of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The correlation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The subject, which REST calls the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The address of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The address to reply to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// The session to reply to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_session_id: Option<String>,
    /// The partition key; equal to the session id where both are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// The sender's own properties.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: Properties,
}

/// A message to be sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewMessage {
    /// At most 128 characters. The broker makes one where it is missing.
    pub message_id: Option<String>,
    /// At most 128 characters; required by a queue with sessions.
    pub session_id: Option<String>,
    /// Everything else that the broker only carries.
    pub header: Header,
    /// How long it may wait; the queue's default is an upper bound.
    pub time_to_live: Option<Duration>,
    /// When it becomes available; at once where that is past.
    pub scheduled_enqueue_time: Option<OffsetDateTime>,
    /// The payload, kept byte for byte.
    pub body: Bytes,
}

/// Proof that a receiver holds a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockToken {
    /// The queue, `namespace/queue`, or its dead-letter queue.
    pub queue: Arc<str>,
    /// The lock itself; a redelivery has another one.
    pub token: Uuid,
}

/// Why a message is in a dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLettered {
    /// `MaxDeliveryCountExceeded` or `TTLExpiredException`.
    pub reason: String,
    /// The same for people.
    pub description: String,
}

/// A message that a receiver holds by a lock: complete it, abandon it, or let the lock expire.
#[derive(Debug, Clone, PartialEq)]
pub struct Locked {
    /// The lock.
    pub lock: LockToken,
    /// The number among all messages of the queue, from 1.
    pub sequence_number: i64,
    /// The number that it had when it was first accepted (scheduled and dead-lettered messages get a new one).
    pub enqueued_sequence_number: i64,
    /// The message id.
    pub message_id: String,
    /// The session.
    pub session_id: Option<String>,
    /// Everything else that the broker only carries.
    pub header: Header,
    /// The payload.
    pub body: Bytes,
    /// When it became available.
    pub enqueued_at: OffsetDateTime,
    /// How often it was delivered, this time included: 1 at first.
    pub delivery_count: u32,
    /// When the lock ends unless it is renewed. In a session, the session's lock.
    pub locked_until: OffsetDateTime,
    /// Its lifetime; `None` is unlimited.
    pub time_to_live: Option<Duration>,
    /// When it expires; `None` is never.
    pub expires_at: Option<OffsetDateTime>,
    /// The queue it was dead-lettered from.
    pub dead_letter_source: Option<String>,
    /// Why it was dead-lettered.
    pub dead_letter: Option<DeadLettered>,
}

/// A message in a dead-letter queue, as operators list it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its number in the dead-letter queue.
    pub sequence_number: i64,
    /// The message id.
    pub message_id: String,
    /// The session.
    pub session_id: Option<String>,
    /// Everything else that the broker only carries.
    pub header: Header,
    /// The payload.
    pub body: Bytes,
    /// When it was dead-lettered.
    pub enqueued_at: OffsetDateTime,
    /// How often it was delivered.
    pub delivery_count: u32,
    /// Why it is here.
    pub dead_letter: DeadLettered,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Available or locked.
    pub active: usize,
    /// Waiting for their time.
    pub scheduled: usize,
    /// In the dead-letter queue.
    pub dead_lettered: usize,
}

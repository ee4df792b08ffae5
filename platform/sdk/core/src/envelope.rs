//! The command envelope: a command on its way through the queue.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::aggregate::{Command, Outgoing};
use crate::id::{AggregateId, CommandId, Principal};
use crate::ports::Message;

/// The most bytes of one command in its envelope: what a queue of the Standard tier still carries.
pub const MAX_COMMAND_BYTES: usize = 192 * 1024;

/// What connects the messages of one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The id that all messages of one conversation share.
    pub correlation_id: String,
    /// The id of the message that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// The W3C trace context, as it was at the start of the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// A command with all that its handling needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The command's id.
    pub id: CommandId,
    /// The aggregate that is to decide.
    pub aggregate: AggregateId,
    /// The command's [`Command::TYPE`].
    #[serde(rename = "type")]
    pub name: String,
    /// The command's [`Command::VERSION`].
    pub version: u32,
    /// Who sent it.
    pub principal: Principal,
    /// What it belongs to.
    #[serde(flatten)]
    pub trace: Trace,
    /// When it was sent.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// The command.
    pub payload: Box<RawValue>,
}

/// Why a command cannot be sent, or a message is no command.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// No JSON, or a member that is missing or of another type.
    #[error("not a command envelope: {0}")]
    Json(#[from] serde_json::Error),
    /// Too large for the queue.
    #[error("the command {id} takes {bytes} bytes in its envelope, at most {MAX_COMMAND_BYTES} are allowed: split it")]
    TooLarge {
        /// The command's id.
        id: CommandId,
        /// Its size.
        bytes: usize,
    },
}

impl Envelope {
    /// Wraps a command.
    ///
    /// # Errors
    /// A payload that has no JSON.
    pub fn wrap<C: Command>(
        command: &C,
        id: CommandId,
        aggregate: AggregateId,
        principal: Principal,
        trace: Trace,
        issued_at: OffsetDateTime,
    ) -> Result<Self, EnvelopeError> {
        Ok(Envelope {
            id,
            aggregate,
            name: C::TYPE.to_owned(),
            version: C::VERSION,
            principal,
            trace,
            issued_at,
            payload: serde_json::value::to_raw_value(command)?,
        })
    }

    /// Wraps a command that a commit or a reaction sends.
    pub fn of_outgoing(
        outgoing: &Outgoing,
        id: CommandId,
        principal: Principal,
        trace: Trace,
        issued_at: OffsetDateTime,
    ) -> Self {
        Envelope {
            id,
            aggregate: outgoing.aggregate.clone(),
            name: outgoing.name.clone(),
            version: outgoing.version,
            principal,
            trace,
            issued_at,
            payload: outgoing.payload.clone(),
        }
    }

    /// Reads a message's body.
    ///
    /// # Errors
    /// Anything that is no envelope.
    pub fn from_json(body: &[u8]) -> Result<Self, EnvelopeError> {
        Ok(serde_json::from_slice(body)?)
    }

    /// The message for the queue. Its id is the command's.
    ///
    /// # Errors
    /// An envelope of more than [`MAX_COMMAND_BYTES`].
    pub fn to_message(&self) -> Result<Message, EnvelopeError> {
        let body = serde_json::to_vec(self)?;
        if body.len() > MAX_COMMAND_BYTES {
            return Err(EnvelopeError::TooLarge { id: self.id.clone(), bytes: body.len() });
        }
        Ok(Message {
            id: crate::id::encode_key(self.id.as_str()),
            session: self.aggregate.key(),
            not_before: None,
            traceparent: self.trace.traceparent.clone(),
            body: Bytes::from(body),
        })
    }

    /// A digest of what is asked, without who, when and why: aggregate, type, version and payload. Two commands with
    /// one id must agree in it. The order of members and members that are null do not count.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for part in [&self.aggregate.key(), &self.name, &self.version.to_string(), &canonical(&self.payload)] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let digest = digest.finalize();
        let mut text = String::with_capacity(2 * digest.len());
        for byte in digest {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        text
    }
}

/// JSON with sorted members and without those that are null.
fn canonical(json: &RawValue) -> String {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                members.retain(|_, member| !member.is_null());
                members.sort_keys();
                members.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    serde_json::from_str::<serde_json::Value>(json.get()).map_or_else(
        |_| json.get().to_owned(),
        |mut value| {
            strip(&mut value);
            value.to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(payload: &str) -> Envelope {
        Envelope {
            id: CommandId::new("c1").unwrap(),
            aggregate: AggregateId::new("order", "1").unwrap(),
            name: "Place".into(),
            version: 1,
            principal: Principal::new("ann", ["customer"]),
            trace: Trace { correlation_id: "k".into(), causation_id: None, traceparent: None },
            issued_at: OffsetDateTime::UNIX_EPOCH,
            payload: RawValue::from_string(payload.into()).unwrap(),
        }
    }

    #[test]
    fn fingerprints_ignore_the_order_of_members_and_nulls_only() {
        let one = envelope(r#"{"a":1,"b":{"x":1,"y":null}}"#).fingerprint();
        assert_eq!(one, envelope(r#"{ "b": {"x": 1}, "a": 1, "c": null }"#).fingerprint());
        assert_ne!(one, envelope(r#"{"a":2,"b":{"x":1}}"#).fingerprint());
        let mut other = envelope(r#"{"a":1,"b":{"x":1}}"#);
        other.aggregate = AggregateId::new("order", "2").unwrap();
        assert_ne!(one, other.fingerprint());
    }

    #[test]
    fn envelopes_survive_the_queue_and_large_ones_are_refused() {
        let message = envelope(r#"{"a":1}"#).to_message().unwrap();
        let read = Envelope::from_json(&message.body).unwrap();
        assert_eq!((read.id.as_str(), read.payload.get()), ("c1", r#"{"a":1}"#));
        assert_eq!(message.session, "order:1");
        let large = envelope(&format!("\"{}\"", "x".repeat(MAX_COMMAND_BYTES)));
        assert!(matches!(large.to_message(), Err(EnvelopeError::TooLarge { .. })));
        assert!(matches!(Envelope::from_json(b"{}"), Err(EnvelopeError::Json(_))));
    }
}

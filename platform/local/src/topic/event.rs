//! CloudEvents as a topic takes them: checked, and kept byte for byte.

use axum::body::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::broker::BrokerError;

/// The largest event in bytes.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The largest request in bytes.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Why events were not published. None of the request's were.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// No such topic.
    #[error("the topic {0:?} does not exist")]
    NoTopic(String),
    /// An event that does not have the schema of CloudEvents 1.0.
    #[error("not a CloudEvent 1.0 in JSON format: {0}")]
    Schema(String),
    /// An event of more than [`MAX_EVENT_BYTES`].
    #[error("the event takes {0} bytes, at most {MAX_EVENT_BYTES} are allowed")]
    TooLarge(usize),
    /// The events could not be stored.
    #[error("the events could not be stored")]
    Broker(#[from] BrokerError),
}

/// An event that has the schema of CloudEvents 1.0.
pub(super) struct Incoming {
    pub id: String,
    pub body: Bytes,
    pub json: Value,
}

fn schema(text: impl Into<String>) -> PublishError {
    PublishError::Schema(text.into())
}

fn text<'v>(json: &'v Value, name: &str) -> Result<Option<&'v str>, PublishError> {
    match json.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(schema(format!("{name} has to be text that is not empty"))),
    }
}

impl Incoming {
    pub(super) fn parse(body: Bytes) -> Result<Incoming, PublishError> {
        if body.len() > MAX_EVENT_BYTES {
            return Err(PublishError::TooLarge(body.len()));
        }
        let json: Value = serde_json::from_slice(&body).map_err(|error| schema(error.to_string()))?;
        let Some(attributes) = json.as_object() else { return Err(schema("an event is a JSON object")) };
        for name in attributes.keys().filter(|name| *name != "data_base64") {
            if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
                return Err(schema(format!("{name:?} is not an attribute's name: lower-case letters and digits")));
            }
        }
        let required = |name| text(&json, name)?.ok_or_else(|| schema(format!("{name} is missing")));
        if required("specversion")? != "1.0" {
            return Err(schema("specversion has to be \"1.0\""));
        }
        required("source")?;
        required("type")?;
        for name in ["subject", "datacontenttype", "dataschema", "data_base64"] {
            text(&json, name)?;
        }
        if let Some(time) = text(&json, "time")? {
            OffsetDateTime::parse(time, &Rfc3339).map_err(|error| schema(format!("time: {error}")))?;
        }
        if json.get("data").is_some() && json.get("data_base64").is_some() {
            return Err(schema("data and data_base64 exclude each other"));
        }
        let id = required("id")?.to_owned();
        Ok(Incoming { id, body, json })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: &str, expected: Result<&str, &str>) {
        let parsed = Incoming::parse(Bytes::copy_from_slice(event.as_bytes()));
        match (parsed, expected) {
            (Ok(parsed), Ok(id)) => assert_eq!((parsed.id.as_str(), &parsed.body[..]), (id, event.as_bytes())),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{event}: {error}"),
            (parsed, expected) => panic!("{event}: {:?}, expected {expected:?}", parsed.map(|parsed| parsed.id)),
        }
    }

    #[test]
    fn events_are_checked() {
        check(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#, Ok("1"));
        check(
            r#"{ "id":"é","specversion":"1.0","source":"/s","type":"t","time":"2024-05-01T10:00:00Z","epoch":0,"data":1.50 }"#,
            Ok("é"),
        );
        check(r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#, Err("specversion"));
        check(r#"{"specversion":"1.0","source":"/s","type":"t"}"#, Err("id is missing"));
        check(r#"{"specversion":"1.0","id":"1","type":"t"}"#, Err("source is missing"));
        check(r#"{"specversion":"1.0","id":"1","source":"/s"}"#, Err("type is missing"));
        check(r#"{"specversion":"1.0","id":7,"source":"/s","type":"t"}"#, Err("id has to be text"));
        check(r#"{"specversion":"1.0","id":"1","source":"/s","type":""}"#, Err("type has to be text"));
        check(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"today"}"#, Err("time"));
        check(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","eventType":"x"}"#, Err("eventType"));
        check(
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}"#,
            Err("exclude"),
        );
        check("[]", Err("a JSON object"));
        check("nothing", Err("expected"));
    }

    #[test]
    fn the_size_is_limited() {
        let event = |bytes: usize| {
            let frame = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":""}"#;
            let data = "x".repeat(bytes - frame.len());
            Incoming::parse(Bytes::from(frame.replace("\"data\":\"", &format!("\"data\":\"{data}"))))
        };
        assert!(event(MAX_EVENT_BYTES).is_ok());
        assert!(
            matches!(event(MAX_EVENT_BYTES + 1), Err(PublishError::TooLarge(bytes)) if bytes == MAX_EVENT_BYTES + 1)
        );
    }
}

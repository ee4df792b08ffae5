//! The host's `{"Data": …, "Metadata": …}`, read tolerantly.
//!
//! The host renders .NET values by rules of its own: bytes are a base64 string, objects stay objects, and everything
//! else is a JSON string *containing JSON text* (`"\"abc\""`, `"11"`). Its documentation shows plain values instead.
//! A reader here accepts both: where a string holds JSON of the kind that is looked for, that counts, else the string
//! itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::trace::first_valid;
use crate::trigger::{EventGridEvent, ServiceBusMessage, Timer};

/// Why an invocation's body cannot be used. The host will not send it differently, so trying again is futile; a
/// message reaches the dead-letter queue by its delivery count.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// No JSON, or no `Data`.
    #[error("the invocation's body is not the host's {{Data, Metadata}}: {0}")]
    Json(#[from] serde_json::Error),
    /// The binding is not there: function.json and the code name it differently.
    #[error("Data has no {expected:?}, it has {found:?}: does function.json name the binding so?")]
    Binding {
        /// The name the code expects.
        expected: String,
        /// The names that are there.
        found: Vec<String>,
    },
    /// The binding's value has another shape than its trigger's.
    #[error("{what} is {found}, expected {expected}")]
    Shape {
        /// Which value.
        what: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// One invocation's body.
#[derive(Debug, Deserialize)]
pub(crate) struct Payload {
    #[serde(rename = "Data")]
    data: Map<String, Value>,
    #[serde(rename = "Metadata", default)]
    metadata: Option<Map<String, Value>>,
    /// Nobody's: it is here so that it has to be JSON, too. What is ignored, serde_json passes over without looking.
    #[serde(flatten)]
    _unread: Map<String, Value>,
}

/// A string's content where it is JSON text, else the value itself.
fn unwrapped(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    }
}

/// A value as text: a string inside a string is unwrapped once; a number inside a string is that string.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(raw) => match serde_json::from_str::<Value>(raw) {
            Ok(Value::String(inner)) => Some(inner),
            Ok(Value::Null) => None,
            _ => Some(raw.clone()),
        },
        other => Some(other.to_string()),
    }
}

fn integer(value: &Value) -> Option<i64> {
    text(value)?.trim().parse().ok()
}

/// Times of single messages have whole seconds and no zone, those of batches have both.
fn instant(value: &Value) -> Option<OffsetDateTime> {
    let text = text(value)?;
    OffsetDateTime::parse(&text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339)).ok()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a Boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl Payload {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PayloadError> {
        Ok(serde_json::from_slice(body)?)
    }

    fn binding(&self, name: &str) -> Result<&Value, PayloadError> {
        self.data
            .get(name)
            .or_else(|| self.data.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
            .ok_or_else(|| PayloadError::Binding {
                expected: name.to_owned(),
                found: self.data.keys().cloned().collect(),
            })
    }

    /// The value of the only binding.
    fn only(&self) -> Result<(&String, &Value), PayloadError> {
        let mut entries = self.data.iter();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Ok(entry),
            _ => Err(PayloadError::Binding {
                expected: "one binding".to_owned(),
                found: self.data.keys().cloned().collect(),
            }),
        }
    }

    fn metadata(&self, name: &str) -> Option<&Value> {
        self.metadata.as_ref()?.get(name)
    }

    /// The request of an HTTP trigger in its default form.
    pub(crate) fn http(&self, binding: &str) -> Result<HttpData, PayloadError> {
        let value = unwrapped(self.binding(binding)?);
        HttpData::deserialize(&value).map_err(|error| PayloadError::Shape {
            what: format!("Data.{binding}"),
            found: format!("{} ({error})", kind(&value)),
            expected: "an HTTP request {Url, Method, Headers, …}",
        })
    }

    /// The messages of a Service Bus trigger: one, or a batch of one session.
    pub(crate) fn service_bus(&self, binding: &str) -> Result<Vec<ServiceBusMessage>, PayloadError> {
        let value = self.binding(binding)?;
        let metadata = self.metadata.clone().unwrap_or_default();
        // Only a batch has arrays of metadata: a single body that is a JSON array is not mistaken for one.
        if metadata.contains_key("MessageIdArray") || metadata.contains_key("LockTokenArray") || value.is_array() {
            return self.service_bus_batch(binding, value, &metadata);
        }
        Ok(vec![service_bus_message(message_body(value), |name| metadata.get(name).cloned())])
    }

    fn service_bus_batch(
        &self,
        binding: &str,
        value: &Value,
        metadata: &Map<String, Value>,
    ) -> Result<Vec<ServiceBusMessage>, PayloadError> {
        let bodies = unwrapped(value);
        let Value::Array(bodies) = bodies else {
            return Err(PayloadError::Shape {
                what: format!("Data.{binding} of a batch"),
                found: kind(&bodies).to_owned(),
                expected: "an array",
            });
        };
        let arrays: BTreeMap<&str, Vec<Value>> = metadata
            .iter()
            .filter_map(|(key, value)| match (key.strip_suffix("Array"), unwrapped(value)) {
                (Some(name), Value::Array(items)) => Some((name, items)),
                _ => None,
            })
            .collect();
        for (name, items) in &arrays {
            if items.len() != bodies.len() {
                return Err(PayloadError::Shape {
                    what: format!("Metadata.{name}Array"),
                    found: format!("{} values for {} messages", items.len(), bodies.len()),
                    expected: "one value a message",
                });
            }
        }
        let message = |(index, body): (usize, &Value)| {
            service_bus_message(message_body(body), |name| arrays.get(name).map(|items| items[index].clone()))
        };
        Ok(bodies.iter().enumerate().map(message).collect())
    }

    /// The events of an Event Grid trigger: one, or a batch.
    pub(crate) fn event_grid(&self) -> Result<Vec<EventGridEvent>, PayloadError> {
        let (name, value) = self.only()?;
        let events = match unwrapped(value) {
            Value::Array(events) => events,
            event => vec![event],
        };
        events.iter().map(|event| event_grid_event(name, event)).collect()
    }

    /// The schedule of a timer trigger.
    pub(crate) fn timer(&self) -> Result<Timer, PayloadError> {
        let (name, value) = self.only()?;
        let value = unwrapped(value);
        Timer::deserialize(&value).map_err(|error| PayloadError::Shape {
            what: format!("Data.{name}"),
            found: format!("{} ({error})", kind(&value)),
            expected: "a timer {Schedule, ScheduleStatus, IsPastDue}",
        })
    }

    /// The trace context that came with the payload, if any.
    pub(crate) fn traceparent(&self) -> Option<String> {
        first_valid([self.metadata("traceparent").and_then(Value::as_str)])
    }
}

/// A message's body: base64 with `dataType: binary`, text in JSON text without.
fn message_body(value: &Value) -> Bytes {
    match value {
        Value::String(raw) => match serde_json::from_str::<Value>(raw) {
            Ok(Value::String(inner)) => inner.into(),
            // Digits alone are both base64 and JSON; the declared form, binary, wins.
            _ => STANDARD.decode(raw).map_or_else(|_| raw.clone().into(), Into::into),
        },
        other => other.to_string().into(),
    }
}

fn service_bus_message(body: Bytes, metadata: impl Fn(&str) -> Option<Value>) -> ServiceBusMessage {
    let string = |name: &str| metadata(name).as_ref().and_then(text);
    let properties: BTreeMap<String, Value> = ["ApplicationProperties", "UserProperties"]
        .iter()
        .find_map(|name| match metadata(name).as_ref().map(unwrapped) {
            Some(Value::Object(members)) => Some(members.into_iter().collect()),
            _ => None,
        })
        .unwrap_or_default();
    let property = |name: &str| properties.get(name).and_then(text);
    let traceparent = first_valid([property("traceparent").as_deref(), property("Diagnostic-Id").as_deref()]);
    ServiceBusMessage {
        body,
        message_id: string("MessageId").unwrap_or_default(),
        session_id: string("SessionId"),
        delivery_count: metadata("DeliveryCount")
            .as_ref()
            .and_then(integer)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1)
            .max(1),
        sequence_number: metadata("SequenceNumber").as_ref().and_then(integer),
        enqueued_at: metadata("EnqueuedTimeUtc").as_ref().and_then(instant),
        correlation_id: string("CorrelationId"),
        traceparent,
        properties,
    }
}

fn event_grid_event(name: &str, value: &Value) -> Result<EventGridEvent, PayloadError> {
    let event = match value {
        Value::String(inner) => serde_json::from_str(inner)?,
        other => other.clone(),
    };
    if !event.is_object() {
        return Err(PayloadError::Shape {
            what: format!("the event in Data.{name}"),
            found: kind(&event).to_owned(),
            expected: "an object",
        });
    }
    let traceparent = first_valid([event.get("traceparent").and_then(Value::as_str)]);
    // The event's own text where it came as text: nothing is reformatted that need not be.
    let body = match value {
        Value::String(inner) => inner.clone().into(),
        _ => event.to_string().into(),
    };
    Ok(EventGridEvent { body, traceparent })
}

/// An HTTP request as the default form carries it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HttpData {
    pub(crate) url: String,
    pub(crate) method: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    pub(crate) params: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(crate) body: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl HttpData {
    /// The body's bytes: text as it is, base64 of what the host takes for binary.
    pub(crate) fn bytes(&self) -> Bytes {
        let binary = self.headers.iter().any(|(name, value)| {
            let first = match value {
                OneOrMany::One(value) => Some(value),
                OneOrMany::Many(values) => values.first(),
            };
            name.eq_ignore_ascii_case("content-type")
                && first
                    .is_some_and(|kind| kind.starts_with("application/octet-stream") || kind.starts_with("multipart/"))
        });
        match &self.body {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(text)) if binary => {
                STANDARD.decode(text).map_or_else(|_| text.clone().into(), Into::into)
            }
            Some(Value::String(text)) => text.clone().into(),
            Some(other) => other.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn messages(payload: Value, expect: Expect) {
        let seen =
            match Payload::parse(payload.to_string().as_bytes()).and_then(|payload| payload.service_bus("message")) {
                Ok(messages) => messages
                    .iter()
                    .map(|m| {
                        format!(
                            "body={} id={:?} session={:?} count={} sequence={:?} at={:?} correlation={:?} trace={:?}\n",
                            String::from_utf8_lossy(&m.body),
                            m.message_id,
                            m.session_id,
                            m.delivery_count,
                            m.sequence_number,
                            m.enqueued_at.map(|at| at.format(&Rfc3339).unwrap()),
                            m.correlation_id,
                            m.traceparent,
                        )
                    })
                    .collect(),
                Err(error) => format!("error: {error}\n"),
            };
        expect.assert_eq(&seen);
    }

    #[test]
    fn a_service_bus_message_as_the_host_encodes_it() {
        messages(
            json!({
                "Data": {"message": STANDARD.encode(r#"{"messageId":"theirs"}"#)},
                "Metadata": {
                    "DeliveryCount": "3",
                    "MessageId": "\"c-1\"",
                    "SessionId": "\"order:536365\"",
                    "SequenceNumber": "42",
                    "EnqueuedTimeUtc": "2024-05-01T10:00:00",
                    "EnqueuedTime": "2024-05-01T10:00:00+00:00",
                    "CorrelationId": "\"123\"",
                    "ApplicationProperties": {
                        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                    },
                    "MessageReceiver": {"anything": 1},
                    "sys": {"MethodName": "commands", "UtcNow": "2024-05-01T10:00:01.5Z", "RandGuid": "x"}
                }
            }),
            expect![[r#"
                body={"messageId":"theirs"} id="c-1" session=Some("order:536365") count=3 sequence=Some(42) at=Some("2024-05-01T10:00:00Z") correlation=Some("123") trace=Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            "#]],
        );
    }

    #[test]
    fn a_service_bus_message_as_the_documentation_shows_it() {
        messages(
            json!({
                "Data": {"message": "{\"a\":1}"},
                "Metadata": {"DeliveryCount": 1, "MessageId": "77", "SequenceNumber": 7, "SessionId": "stock:85123a"}
            }),
            expect![[r#"
                body={"a":1} id="77" session=Some("stock:85123a") count=1 sequence=Some(7) at=None correlation=None trace=None
            "#]],
        );
    }

    #[test]
    fn text_bodies_are_unwrapped_and_odd_metadata_is_survived() {
        messages(
            json!({"Data": {"Message": "\"{\\\"a\\\":1}\""}, "Metadata": {"DeliveryCount": "\"x\"", "SessionId": "null"}}),
            expect![[r#"
                body={"a":1} id="" session=None count=1 sequence=None at=None correlation=None trace=None
            "#]],
        );
        messages(
            json!({"Data": {"message": ""}, "Metadata": null}),
            expect![[r#"
                body= id="" session=None count=1 sequence=None at=None correlation=None trace=None
            "#]],
        );
    }

    #[test]
    fn a_batch_is_taken_apart() {
        messages(
            json!({
                "Data": {"message": json!([STANDARD.encode("{}"), STANDARD.encode("[]")]).to_string()},
                "Metadata": {
                    "MessageIdArray": "[\"a\",\"b\"]",
                    "DeliveryCountArray": "[1,2]",
                    "SessionIdArray": "[\"s\",\"s\"]",
                    "EnqueuedTimeUtcArray": "[\"2024-05-01T10:00:00.123Z\",\"2024-05-01T10:00:01.5Z\"]",
                    "ApplicationPropertiesArray": "[{\"Diagnostic-Id\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"},{}]",
                    "sys": {}
                }
            }),
            expect![[r#"
                body={} id="a" session=Some("s") count=1 sequence=None at=Some("2024-05-01T10:00:00.123Z") correlation=None trace=Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
                body=[] id="b" session=Some("s") count=2 sequence=None at=Some("2024-05-01T10:00:01.5Z") correlation=None trace=None
            "#]],
        );
        messages(
            json!({"Data": {"message": "[\"e30=\"]"}, "Metadata": {"MessageIdArray": "[\"a\",\"b\"]"}}),
            expect![[r#"
                error: Metadata.MessageIdArray is 2 values for 1 messages, expected one value a message
            "#]],
        );
    }

    #[test]
    fn what_is_no_payload_is_named() {
        messages(
            json!({"Data": {"msg": "e30="}}),
            expect![[r#"
                error: Data has no "message", it has ["msg"]: does function.json name the binding so?
            "#]],
        );
        messages(
            json!({"Metadata": {}}),
            expect![[r#"
                error: the invocation's body is not the host's {Data, Metadata}: missing field `Data` at line 1 column 15
            "#]],
        );
        assert!(matches!(Payload::parse(b""), Err(PayloadError::Json(_))));
    }

    #[test]
    fn a_body_is_json_also_where_nothing_reads_it() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for unread in [&b"\"\x93\x9a\""[..], b"{\"\x93\": 1}", b"\"\\ud800\"", b"1e999", deep.as_bytes()] {
            let body = [&b"{\"Data\": {\"message\": []}, \"New\": "[..], unread, b"}"].concat();
            let parsed = Payload::parse(&body);
            assert!(matches!(parsed, Err(PayloadError::Json(_))), "{}", String::from_utf8_lossy(unread));
        }
        assert!(Payload::parse(br#"{"Data": {"message": []}, "New": {"since": 5}}"#).is_ok());
        let twice = Payload::parse(br#"{"Data": {"message": ["e30="]}, "Data": {"message": []}}"#);
        assert!(matches!(twice, Err(PayloadError::Json(_))), "the first would be lost");
    }

    fn events(data: Value, expect: Expect) {
        let payload = json!({"Data": {"event": data}, "Metadata": {"data": {}, "sys": {}}}).to_string();
        let seen = match Payload::parse(payload.as_bytes()).and_then(|payload| payload.event_grid()) {
            Ok(events) => events.iter().map(|e| format!("{}\n", String::from_utf8_lossy(&e.body))).collect::<String>(),
            Err(error) => format!("error: {error}\n"),
        };
        expect.assert_eq(&seen);
    }

    #[test]
    fn event_grid_events_are_unwrapped() {
        let event = "{\n  \"id\": \"1\",\n  \"data\": {}\n}";
        events(
            json!(serde_json::to_string(event).unwrap()),
            expect![[r#"
                {
                  "id": "1",
                  "data": {}
                }
            "#]],
        );
        events(
            json!({"id": "1"}),
            expect![[r#"
            {"id":"1"}
        "#]],
        );
        events(
            json!(json!([event, "{\"id\":\"2\"}"]).to_string()),
            expect![[r#"
            {
              "id": "1",
              "data": {}
            }
            {"id":"2"}
        "#]],
        );
        events(
            json!("3"),
            expect![[r#"
            error: the event in Data.event is a number, expected an object
        "#]],
        );
    }

    #[test]
    fn timers_are_read_with_and_without_a_monitor() {
        let read = |data: Value| {
            Payload::parse(json!({"Data": {"timer": data}, "Metadata": {"sys": {}}}).to_string().as_bytes())
                .and_then(|payload| payload.timer())
        };
        let timer = read(json!({
            "Schedule": {"AdjustForDST": true},
            "ScheduleStatus": {
                "Last": "2024-05-01T09:55:00+00:00",
                "Next": "2024-05-01T10:00:00+00:00",
                "LastUpdated": "2024-05-01T09:55:00+00:00"
            },
            "IsPastDue": true
        }))
        .unwrap();
        assert!(timer.is_past_due && timer.status.is_some());
        let timer =
            read(json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false})).unwrap();
        assert!(!timer.is_past_due && timer.status.is_none());
        assert!(matches!(read(json!("soon")), Err(PayloadError::Shape { .. })));
    }
}

//! The body of an invocation: `{"Data": …, "Metadata": …}`, encoded as the functions host does.
//!
//! The encoding has a quirk that handlers have to live with: except for objects, bytes and times, every value is a JSON
//! text inside a JSON string.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::broker::{Locked, Properties, PropertyValue};

/// What .NET calls the end of time.
const NEVER: &str = "9999-12-31T23:59:59";

/// A value that is neither bytes, time nor object: JSON in a string.
fn scalar<T: Serialize + ?Sized>(value: &T) -> Value {
    Value::String(serde_json::to_string(value).unwrap_or_else(|_| "null".into()))
}

/// A `DateTime`: whole seconds, no zone.
fn date_time(at: OffsetDateTime) -> Value {
    let at = at.to_offset(time::UtcOffset::UTC);
    at.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]")).map_or(Value::Null, Value::String)
}

/// A `DateTimeOffset`: whole seconds, with the zone.
fn date_time_offset(at: OffsetDateTime) -> Value {
    match date_time(at) {
        Value::String(text) => Value::String(text + "+00:00"),
        other => other,
    }
}

/// `sys`, an object with natural types.
fn sys(function: &str, now: OffsetDateTime) -> Value {
    json!({
        "MethodName": function,
        "UtcNow": now.format(&Rfc3339).unwrap_or_default(),
        "RandGuid": uuid::Uuid::new_v4().to_string(),
    })
}

fn properties(properties: &Properties) -> Value {
    let object = properties.iter().map(|(name, value)| {
        let value = match value {
            PropertyValue::String(text) => json!(text),
            PropertyValue::Bool(truth) => json!(truth),
            PropertyValue::Long(number) => json!(number),
            PropertyValue::Double(number) => json!(number),
            PropertyValue::Time(at) => json!(at.format(&Rfc3339).unwrap_or_default()),
        };
        (name.clone(), value)
    });
    Value::Object(object.collect())
}

/// What string triggers do to their metadata: the top-level members of the payload replace what is there, whatever the
/// case of their names. Handlers avoid it with `dataType: binary`.
fn pollute(metadata: &mut Map<String, Value>, payload: &Value) {
    let Some(payload) = payload.as_object() else { return };
    for (name, value) in payload {
        let value = match value {
            Value::Null | Value::Array(_) => continue,
            Value::Object(_) => value.clone(),
            Value::String(text) => scalar(text),
            other => scalar(&other.to_string()),
        };
        let known = metadata.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned();
        metadata.insert(known.unwrap_or_else(|| name.clone()), value);
    }
    metadata.retain(|name, _| !name.to_ascii_lowercase().ends_with("trigger"));
}

/// The body for a message of a queue.
pub fn service_bus(function: &str, binding: &str, binary: bool, message: &Locked, now: OffsetDateTime) -> Value {
    let header = &message.header;
    let mut metadata = Map::new();
    let mut put = |name: &str, value: Value| {
        metadata.insert(name.to_owned(), value);
    };
    put("DeliveryCount", scalar(&message.delivery_count));
    put("LockToken", scalar(&message.lock.token.to_string()));
    put("EnqueuedTimeUtc", date_time(message.enqueued_at));
    put("EnqueuedTime", date_time_offset(message.enqueued_at));
    put("ExpiresAtUtc", message.expires_at.map_or(json!(NEVER), date_time));
    put("ExpiresAt", message.expires_at.map_or(json!(format!("{NEVER}+00:00")), date_time_offset));
    put("MessageId", scalar(&message.message_id));
    put("SequenceNumber", scalar(&message.sequence_number));
    put("ApplicationProperties", properties(&header.properties));
    put("UserProperties", properties(&header.properties));
    put("sys", sys(function, now));
    for (name, text) in [
        ("DeadLetterSource", &message.dead_letter_source),
        ("ContentType", &header.content_type),
        ("ReplyTo", &header.reply_to),
        ("To", &header.to),
        ("Subject", &header.subject),
        ("Label", &header.subject),
        ("CorrelationId", &header.correlation_id),
        ("SessionId", &message.session_id),
        ("ReplyToSessionId", &header.reply_to_session_id),
        ("PartitionKey", &header.partition_key),
    ] {
        if let Some(text) = text {
            put(name, scalar(text));
        }
    }
    let data = if binary {
        Value::String(STANDARD.encode(&message.body))
    } else {
        let text = String::from_utf8_lossy(&message.body);
        if let Ok(payload) = serde_json::from_str(&text) {
            pollute(&mut metadata, &payload);
        }
        scalar(text.as_ref())
    };
    json!({"Data": {binding: data}, "Metadata": metadata})
}

/// The body for one event, given as its JSON text.
///
/// # Errors
/// A text that is no JSON object.
pub fn event_grid(function: &str, binding: &str, event: &str, now: OffsetDateTime) -> Result<Value, serde_json::Error> {
    let payload: Map<String, Value> = serde_json::from_str(event)?;
    let mut metadata = Map::new();
    metadata.insert("sys".into(), sys(function, now));
    pollute(&mut metadata, &Value::Object(payload));
    Ok(json!({"Data": {binding: scalar(&indent(event))}, "Metadata": metadata}))
}

/// When a timer ran and will run.
#[derive(Debug, Clone, Copy)]
pub struct ScheduleStatus {
    /// The last occurrence; `None` before the first.
    pub last: Option<OffsetDateTime>,
    /// The next one.
    pub next: OffsetDateTime,
    /// When this was written.
    pub updated: OffsetDateTime,
}

/// The body for a timer.
pub fn timer(
    function: &str,
    binding: &str,
    status: Option<ScheduleStatus>,
    past_due: bool,
    now: OffsetDateTime,
) -> Value {
    let text = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let status = status.map(|status| {
        let last = status.last.map_or("0001-01-01T00:00:00".to_owned(), text);
        json!({"Last": last, "Next": text(status.next), "LastUpdated": text(status.updated)})
    });
    json!({
        "Data": {binding: {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": status, "IsPastDue": past_due}},
        "Metadata": {"sys": sys(function, now)},
    })
}

/// A request for a function in the default mode.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Scheme, host, path and query.
    pub url: String,
    /// The method.
    pub method: String,
    /// Query parameters; repeated ones are joined by commas.
    pub query: Vec<(String, String)>,
    /// Headers, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Route parameters.
    pub params: Vec<(String, Option<String>)>,
    /// The body; `None` where its length was not given or is zero.
    pub body: Option<Vec<u8>>,
}

/// The body for an HTTP function in the default mode.
pub fn http(function: &str, binding: &str, request: &HttpRequest, now: OffsetDateTime) -> Value {
    let mut query: Map<String, Value> = Map::new();
    for (name, value) in &request.query {
        let joined = match query.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value.clone(),
        };
        query.insert(name.clone(), Value::String(joined));
    }
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &request.headers {
        if let Some(list) = headers.entry(name.clone()).or_insert_with(|| json!([])).as_array_mut() {
            list.push(json!(value));
        }
    }
    let params: Map<String, Value> = request.params.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut metadata = Map::new();
    metadata.insert("Query".into(), Value::Object(query.clone()));
    let joined = headers.iter().map(|(name, values)| {
        let values: Vec<&str> = values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (name.clone(), json!(values.join(",")))
    });
    metadata.insert("Headers".into(), Value::Object(joined.collect()));
    for (name, value) in query.iter().filter(|(name, _)| *name != "code") {
        metadata.insert(name.clone(), scalar(value));
    }
    for (name, value) in &request.params {
        if let Some(value) = value {
            metadata.insert(name.clone(), scalar(value));
        }
    }
    metadata.insert("sys".into(), sys(function, now));
    let mut data = json!({
        "Url": request.url,
        "Method": request.method,
        "Query": query,
        "Headers": headers,
        "Params": params,
        "Identities": [],
    });
    if let Some(body) = request.body.as_ref().filter(|body| !body.is_empty()) {
        let content_type = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content_type = content_type.map_or("", |(_, value)| value.as_str()).to_ascii_lowercase();
        let binary = content_type.starts_with("application/octet-stream") || content_type.starts_with("multipart/");
        data["Body"] = if binary {
            Value::String(STANDARD.encode(body))
        } else {
            let text = String::from_utf8_lossy(body);
            if let Ok(payload) = serde_json::from_str(&text) {
                pollute(&mut metadata, &payload);
            }
            Value::String(text.into_owned())
        };
    }
    json!({"Data": {binding: data}, "Metadata": metadata})
}

/// JSON text, indented: its tokens stay byte for byte, so that neither numbers nor the order of members change.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 4);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut opened = false;
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        if c == '}' || c == ']' {
            depth = depth.saturating_sub(1);
            if !opened {
                line(&mut out, depth);
            }
        } else if opened {
            line(&mut out, depth);
        }
        opened = false;
        out.push(c);
        match c {
            '"' => in_string = true,
            '{' | '[' => {
                depth += 1;
                opened = true;
            }
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Header, LockToken};
    use expect_test::{Expect, expect};
    use time::macros::datetime;
    use uuid::Uuid;

    const NOW: OffsetDateTime = datetime!(2024-05-01 10:00:00.25 UTC);

    fn message() -> Locked {
        Locked {
            lock: LockToken { queue: "ns/commands".into(), token: Uuid::nil() },
            sequence_number: 42,
            enqueued_sequence_number: 42,
            message_id: "abc".into(),
            session_id: Some("order:1".into()),
            header: Header {
                content_type: Some("application/json".into()),
                correlation_id: Some("c-1".into()),
                properties: Properties::from([
                    ("traceparent".into(), "00-1-2-01".into()),
                    ("n".into(), PropertyValue::Long(3)),
                ]),
                ..Header::default()
            },
            body: br#"{"messageId": "mine", "quantity": 3, "list": [1], "none": null}"#.as_slice().into(),
            enqueued_at: datetime!(2024-05-01 09:59:59.999 UTC),
            delivery_count: 1,
            locked_until: NOW,
            time_to_live: None,
            expires_at: None,
            dead_letter_source: None,
            dead_letter: None,
        }
    }

    /// Compares the body, without the one random value.
    #[track_caller]
    fn check(mut body: Value, expected: Expect) {
        body["Metadata"]["sys"]["RandGuid"] = json!("…");
        body.sort_all_objects();
        expected.assert_eq(&format!("{body:#}"));
    }

    #[test]
    fn a_binary_message_keeps_its_metadata() {
        check(
            service_bus("commands", "message", true, &message(), NOW),
            expect![[r#"
                {
                  "Data": {
                    "message": "eyJtZXNzYWdlSWQiOiAibWluZSIsICJxdWFudGl0eSI6IDMsICJsaXN0IjogWzFdLCAibm9uZSI6IG51bGx9"
                  },
                  "Metadata": {
                    "ApplicationProperties": {
                      "n": 3,
                      "traceparent": "00-1-2-01"
                    },
                    "ContentType": "\"application/json\"",
                    "CorrelationId": "\"c-1\"",
                    "DeliveryCount": "1",
                    "EnqueuedTime": "2024-05-01T09:59:59+00:00",
                    "EnqueuedTimeUtc": "2024-05-01T09:59:59",
                    "ExpiresAt": "9999-12-31T23:59:59+00:00",
                    "ExpiresAtUtc": "9999-12-31T23:59:59",
                    "LockToken": "\"00000000-0000-0000-0000-000000000000\"",
                    "MessageId": "\"abc\"",
                    "SequenceNumber": "42",
                    "SessionId": "\"order:1\"",
                    "UserProperties": {
                      "n": 3,
                      "traceparent": "00-1-2-01"
                    },
                    "sys": {
                      "MethodName": "commands",
                      "RandGuid": "…",
                      "UtcNow": "2024-05-01T10:00:00.25Z"
                    }
                  }
                }"#]],
        );
    }

    #[test]
    fn a_text_message_pollutes_its_metadata() {
        let body = service_bus("commands", "message", false, &message(), NOW);
        assert_eq!(body["Metadata"]["MessageId"], "\"mine\"");
        assert_eq!(body["Metadata"]["quantity"], "\"3\"");
        assert_eq!(body["Metadata"].get("list"), None);
        let text = r#"{"messageId": "mine", "quantity": 3, "list": [1], "none": null}"#;
        assert_eq!(body["Data"]["message"], json!(json!(text).to_string()));
    }

    #[test]
    fn an_event_is_encoded_twice_and_keeps_its_tokens() {
        let event = r#"{"id":"1","price":1.10,"data":{"b":[],"a":{}},"list":[1,"x\"}"]}"#;
        let mut body = event_grid("f", "event", event, NOW).unwrap();
        let literal = body["Data"]["event"].take();
        let text: String = serde_json::from_str(literal.as_str().unwrap()).unwrap();
        expect![[r#"
            {
              "id": "1",
              "price": 1.10,
              "data": {
                "b": [],
                "a": {}
              },
              "list": [
                1,
                "x\"}"
              ]
            }"#]]
        .assert_eq(&text);
        assert_eq!(body["Metadata"]["data"], json!({"b": [], "a": {}}));
        assert_eq!(body["Metadata"]["id"], "\"1\"");
        assert!(event_grid("f", "event", "[1]", NOW).is_err());
    }

    #[test]
    fn a_timer_has_natural_types() {
        let status = ScheduleStatus { last: None, next: NOW, updated: NOW };
        check(
            timer("tick", "timer", Some(status), true, NOW),
            expect![[r#"
                {
                  "Data": {
                    "timer": {
                      "IsPastDue": true,
                      "Schedule": {
                        "AdjustForDST": true
                      },
                      "ScheduleStatus": {
                        "Last": "0001-01-01T00:00:00",
                        "LastUpdated": "2024-05-01T10:00:00.25Z",
                        "Next": "2024-05-01T10:00:00.25Z"
                      }
                    }
                  },
                  "Metadata": {
                    "sys": {
                      "MethodName": "tick",
                      "RandGuid": "…",
                      "UtcNow": "2024-05-01T10:00:00.25Z"
                    }
                  }
                }"#]],
        );
    }

    #[test]
    fn a_request_in_the_default_mode() {
        let request = HttpRequest {
            url: "http://127.0.0.1:1/api/items/7?a=1&a=2".into(),
            method: "POST".into(),
            query: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
            headers: vec![("content-type".into(), "application/json".into())],
            params: vec![("id".into(), Some("7".into())), ("more".into(), None)],
            body: Some(br#"{"x":1}"#.to_vec()),
        };
        check(
            http("items", "req", &request, NOW),
            expect![[r#"
                {
                  "Data": {
                    "req": {
                      "Body": "{\"x\":1}",
                      "Headers": {
                        "content-type": [
                          "application/json"
                        ]
                      },
                      "Identities": [],
                      "Method": "POST",
                      "Params": {
                        "id": "7",
                        "more": null
                      },
                      "Query": {
                        "a": "1,2"
                      },
                      "Url": "http://127.0.0.1:1/api/items/7?a=1&a=2"
                    }
                  },
                  "Metadata": {
                    "Headers": {
                      "content-type": "application/json"
                    },
                    "Query": {
                      "a": "1,2"
                    },
                    "a": "\"1,2\"",
                    "id": "\"7\"",
                    "sys": {
                      "MethodName": "items",
                      "RandGuid": "…",
                      "UtcNow": "2024-05-01T10:00:00.25Z"
                    },
                    "x": "\"1\""
                  }
                }"#]],
        );
    }
}

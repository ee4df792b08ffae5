//! The JSON hub protocol, as far as a service without servers speaks it.

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// Ends each message.
pub(super) const SEPARATOR: u8 = 0x1e;

/// What a client says first.
#[derive(Deserialize)]
struct Handshake {
    protocol: String,
    version: u32,
}

/// Checks what a client says first.
///
/// # Errors
/// Another protocol than JSON 1, in words for the client.
pub(super) fn handshake(message: &[u8]) -> Result<(), String> {
    let Ok(Handshake { protocol, version }) = serde_json::from_slice(message) else {
        return Err("the handshake is not understood".to_owned());
    };
    if protocol != "json" {
        return Err(format!("the protocol {protocol:?} is not supported, only json"));
    }
    if version != 1 {
        return Err(format!("the version {version} of the protocol is not supported, only 1"));
    }
    Ok(())
}

/// The answer to a handshake.
pub(super) fn handshaken(result: &Result<(), String>) -> Utf8Bytes {
    match result {
        Ok(()) => Utf8Bytes::from_static("{}\u{1e}"),
        Err(error) => framed(json!({ "error": error }).to_string()),
    }
}

/// A call of a client.
#[derive(Debug)]
pub(super) struct Invocation {
    /// The method.
    pub(super) target: String,
    /// Its arguments: a JSON list as it came.
    pub(super) arguments: Box<RawValue>,
    /// What the completion has to name; absent where the client waits for none.
    pub(super) id: Option<String>,
}

/// What a client says after the handshake.
#[derive(Debug)]
pub(super) enum Message {
    Invocation(Invocation),
    /// What a service without servers cannot do, with the id of what waits.
    Unsupported(Option<String>),
    Close,
    /// A sign of life, or what needs no answer.
    Other,
}

/// What a client says, by type.
#[derive(Deserialize)]
struct Spoken {
    r#type: i64,
    #[serde(rename = "invocationId")]
    id: Option<String>,
    target: Option<String>,
    arguments: Option<Box<RawValue>>,
    #[serde(rename = "streamIds", default)]
    streams: Vec<String>,
}

/// Reads a message, without its separator.
///
/// # Errors
/// Something that is none, in words for the client.
pub(super) fn read(message: &[u8]) -> Result<Message, String> {
    let spoken: Spoken =
        serde_json::from_slice(message).map_err(|error| format!("a message is not understood: {error}"))?;
    Ok(match spoken.r#type {
        1 if spoken.streams.is_empty() => {
            let target = spoken.target.filter(|target| !target.is_empty()).ok_or("an invocation has no target")?;
            let arguments = spoken.arguments.filter(|arguments| arguments.get().starts_with('['));
            let arguments = arguments.ok_or("the arguments of an invocation are no list")?;
            Message::Invocation(Invocation { target, arguments, id: spoken.id })
        }
        1 | 4 => Message::Unsupported(spoken.id),
        7 => Message::Close,
        _ => Message::Other,
    })
}

/// A sign of life.
pub(super) fn ping() -> Utf8Bytes {
    Utf8Bytes::from_static("{\"type\":6}\u{1e}")
}

/// The last message before the connection ends.
pub(super) fn close(error: Option<&str>, allow_reconnect: bool) -> Utf8Bytes {
    let mut message = json!({ "type": 7 });
    if let Some(error) = error {
        message["error"] = error.into();
    }
    if allow_reconnect {
        message["allowReconnect"] = true.into();
    }
    framed(message.to_string())
}

/// The end of a call: with an error, or with nothing.
pub(super) fn completion(id: &str, error: Option<&str>) -> Utf8Bytes {
    let mut message = json!({ "type": 3, "invocationId": id });
    if let Some(error) = error {
        message["error"] = error.into();
    }
    framed(message.to_string())
}

/// The completion that an upstream answered with, byte for byte.
///
/// # Errors
/// Something that completes another call, or none.
pub(super) fn completion_of(id: &str, answer: Bytes) -> Result<Utf8Bytes, String> {
    #[derive(Deserialize)]
    struct Completion {
        r#type: i64,
        #[serde(rename = "invocationId")]
        id: String,
    }
    let end = answer.iter().position(|byte| *byte == SEPARATOR).unwrap_or(answer.len());
    if answer.len() > end + 1 {
        return Err("the answer goes on after the first message".to_owned());
    }
    let completion: Completion = serde_json::from_slice(&answer[..end]).map_err(|error| error.to_string())?;
    if completion.r#type != 3 || completion.id != id {
        return Err(format!("it is of type {} and of the call {:?}", completion.r#type, completion.id));
    }
    let text = String::from_utf8(answer[..end].to_vec()).map_err(|error| error.to_string())?;
    Ok(framed(text))
}

/// A call at clients. `arguments` is a JSON list.
pub(super) fn invocation(target: &str, arguments: &str) -> Utf8Bytes {
    let target = serde_json::Value::from(target);
    framed(format!("{{\"type\":1,\"target\":{target},\"arguments\":{arguments}}}"))
}

fn framed(mut text: String) -> Utf8Bytes {
    text.push(char::from(SEPARATOR));
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_1_is_spoken() {
        assert_eq!(handshake(br#"{"protocol":"json","version":1}"#), Ok(()));
        for refused in [
            r#"{"protocol":"messagepack","version":1}"#,
            r#"{"protocol":"json","version":2}"#,
            r#"{"protocol":"json"}"#,
            "",
            "[]",
            r#"{"type":6}"#,
        ] {
            let result = handshake(refused.as_bytes());
            assert!(result.is_err(), "{refused}");
            assert!(handshaken(&result).as_str().starts_with("{\"error\":\""), "{refused}");
        }
        assert_eq!(handshaken(&Ok(())).as_str(), "{}\u{1e}");
    }

    #[test]
    fn messages_are_read_by_type() {
        let call = r#"{"arguments":[ 1.0,{"a" :"\u001e"}],"target":"subscribe","type":1,"invocationId":"7"}"#;
        let Message::Invocation(call) = read(call.as_bytes()).unwrap() else { panic!("{call}") };
        assert_eq!((call.target.as_str(), call.id.as_deref()), ("subscribe", Some("7")));
        assert_eq!(call.arguments.get(), r#"[ 1.0,{"a" :"\u001e"}]"#);
        let sent = r#"{"type":1,"target":"t","arguments":[],"streamIds":[],"headers":{}}"#;
        assert!(matches!(read(sent.as_bytes()), Ok(Message::Invocation(Invocation { id: None, .. }))));
        for stream in [
            r#"{"type":4,"target":"t","arguments":[],"invocationId":"8"}"#,
            r#"{"type":1,"target":"t","arguments":[],"invocationId":"8","streamIds":["1"]}"#,
        ] {
            assert!(matches!(read(stream.as_bytes()), Ok(Message::Unsupported(Some(id))) if id == "8"), "{stream}");
        }
        assert!(matches!(read(br#"{"type":7}"#), Ok(Message::Close)));
        for other in [r#"{"type":6}"#, r#"{"type":3,"invocationId":"1","result":1}"#, r#"{"type":99,"new":[1]}"#] {
            assert!(matches!(read(other.as_bytes()), Ok(Message::Other)), "{other}");
        }
        for malformed in [
            "",
            "{}",
            "[]",
            "1",
            r#"{"type":"1"}"#,
            r#"{"type":1}"#,
            r#"{"type":1,"target":"","arguments":[]}"#,
            r#"{"type":1,"target":"t"}"#,
            r#"{"type":1,"target":"t","arguments":{}}"#,
            r#"{"type":1,"target":"t","arguments":[],"invocationId":7}"#,
            r#"{"type":1,"type":6}"#,
            "{\"type\":6} \u{1e}",
        ] {
            assert!(read(malformed.as_bytes()).is_err(), "{malformed}");
        }
    }

    #[test]
    fn an_answer_completes_its_own_call() {
        for answer in
            ["{ \"type\":3,\"invocationId\":\"7\",\"result\":1.0}", "{\"type\":3,\"invocationId\":\"7\"}\u{1e}"]
        {
            let message = completion_of("7", answer.into()).unwrap();
            assert_eq!(message.as_str(), format!("{}\u{1e}", answer.trim_end_matches('\u{1e}')));
        }
        for answer in [
            "",
            "ok",
            "{}",
            "{\"type\":3,\"invocationId\":\"8\"}",
            "{\"type\":1,\"invocationId\":\"7\",\"target\":\"t\",\"arguments\":[]}",
            "{\"type\":3,\"invocationId\":\"7\"}\u{1e}{\"type\":7}\u{1e}",
        ] {
            assert!(completion_of("7", answer.into()).is_err(), "{answer}");
        }
    }

    #[test]
    fn what_is_said_ends_with_the_separator() {
        assert_eq!(
            invocation("a\"b", "[ 1 ]").as_str(),
            "{\"type\":1,\"target\":\"a\\\"b\",\"arguments\":[ 1 ]}\u{1e}"
        );
        assert_eq!(ping().as_str(), "{\"type\":6}\u{1e}");
        assert_eq!(close(None, false).as_str(), "{\"type\":7}\u{1e}");
        assert_eq!(close(Some("x"), true).as_str(), "{\"allowReconnect\":true,\"error\":\"x\",\"type\":7}\u{1e}");
        assert_eq!(completion("1", None).as_str(), "{\"invocationId\":\"1\",\"type\":3}\u{1e}");
        assert_eq!(completion("1", Some("e")).as_str(), "{\"error\":\"e\",\"invocationId\":\"1\",\"type\":3}\u{1e}");
    }
}

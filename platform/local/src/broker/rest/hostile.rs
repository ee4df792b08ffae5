//! What must hold whatever a client sends to the Service Bus front: no panic, a refusal with a status of the client's
//! fault and a reason of bounded length, and messages that arrive whole. `SKEIN_SEED` replays a run.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const INPUTS: usize = 4_000;
const MAX_REFUSAL: usize = 4 * 1024;

const PIECES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\ud800",
    "null",
    "true",
    "-1",
    "1e999",
    "9223372036854775807",
    "0.0000001",
    "\"MessageId\"",
    "\"SessionId\"",
    "\"PartitionKey\"",
    "\"TimeToLive\"",
    "\"TimeToLiveTimeSpan\"",
    "\"10.00:00:00\"",
    "\"99999999999.23:59:59.9999999\"",
    "\"ScheduledEnqueueTimeUtc\"",
    "\"Thu, 01 Jan 1970 00:00:00 GMT\"",
    "\"Fri, 31 Dec 9999 23:59:59 GMT\"",
    "\"2026-01-01T00:00:00Z\"",
    "\"-000001-01-01T00:00:00Z\"",
    "\"Body\"",
    "\"BrokerProperties\"",
    "\"UserProperties\"",
    "inf",
    "NaN",
    "\u{1F600}",
    "x",
];

const GOOD: [(&str, &str, &str); 5] = [
    ("", "", "body"),
    (r#"{"MessageId":"1","SessionId":"s","TimeToLive":60}"#, "\"00-1-2-01\"", "{\"n\":1}"),
    (r#"{"ScheduledEnqueueTimeUtc":"Fri, 02 Jan 2026 03:04:05 GMT"}"#, "7", ""),
    (r#"{"TimeToLiveTimeSpan":"1.02:03:04.5","Label":"l","To":"t"}"#, "1.5", "é"),
    ("batch", "true", r#"[{"Body":"a","BrokerProperties":{"MessageId":"1"},"UserProperties":{"p":1}},{"Body":"é"}]"#),
];

/// What counts of a message in a batch. Members that nobody reads may hold what is no Unicode, half a surrogate pair say.
#[derive(serde::Deserialize)]
struct Sent {
    #[serde(rename = "Body")]
    body: String,
}

fn damaged(random: &mut fastrand::Rng, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=letters.len());
        let end = at + random.usize(..=(letters.len() - at).min(12));
        let piece = PIECES[random.usize(..PIECES.len())].chars();
        match random.u8(..3) {
            0 => drop(letters.drain(at..end)),
            1 => drop(letters.splice(at..at, piece)),
            _ => drop(letters.splice(at..end, piece)),
        }
    }
    letters.into_iter().collect()
}

#[tokio::test]
async fn whatever_a_client_sends_arrives_whole_or_is_refused() {
    let seed = std::env::var("SKEIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SKEIN_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut taken, mut refused) = (0, 0);
    for n in 0..INPUTS {
        let (properties, own, body) = GOOD[n % GOOD.len()];
        let batch = properties == "batch";
        let good = n < GOOD.len();
        let mut touched = |text: &str| if good || random.bool() { text.to_owned() } else { damaged(&mut random, text) };
        let (properties, own, body) = (touched(if batch { "" } else { properties }), touched(own), touched(body));
        let mut headers = HeaderMap::new();
        let given = [("brokerproperties", &properties), ("custom", &own)];
        for (name, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if batch {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(BATCH));
        }
        match read_messages(&headers, Body::from(body.clone())).await {
            Ok(messages) if batch => {
                let sent: Vec<Sent> = serde_json::from_str(&body).expect("what was taken is a batch");
                assert_eq!(messages.len(), sent.len(), "{body}");
                for (message, sent) in messages.iter().zip(&sent) {
                    assert_eq!(sent.body.as_bytes(), &message.body[..], "{body}");
                }
                taken += 1;
            }
            Ok(messages) => {
                assert_eq!(messages.len(), 1);
                assert_eq!(&messages[0].body[..], body.as_bytes(), "{properties}");
                // What was taken can be told again.
                for value in messages[0].header.properties.values() {
                    assert!(HeaderValue::try_from(to_header(value)).is_ok() || !own.is_ascii(), "{own:?}");
                }
                taken += 1;
            }
            Err(Refusal(status, reason)) => {
                assert!(!good, "{reason}: {properties} {own} {body}");
                assert!(status.is_client_error(), "{status} {reason}: {properties} {body}");
                assert!(!reason.is_empty() && reason.len() <= MAX_REFUSAL, "{} bytes: {properties}", reason.len());
                refused += 1;
            }
        }
        let path = damaged(&mut random, "/sb/deep/queue/messages/id/11111111-1111-1111-1111-111111111111");
        if let Err(Refusal(status, _)) = parse_path(&path) {
            assert!(status.is_client_error(), "{path}");
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > INPUTS / 10 && refused > INPUTS / 10, "{taken} taken, {refused} refused");
}

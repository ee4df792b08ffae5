//! Command queues on Service Bus, by its REST interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::{CONTENT_TYPE, HeaderName};
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, Request, Url};
use serde_json::json;
use skein_core::ports::{CommandQueue, Message, SendError};

use time::UtcOffset;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::channel::{Channel, EndpointError, endpoint, sent};
use crate::credential::BearerPolicy;

/// The scope of Service Bus.
pub const SCOPE: &str = "https://servicebus.azure.net/.default";
/// The most messages of one request.
const MAX_BATCH: usize = 100;
/// The most bytes of one request with several messages: the limit of the Standard tier is 256 KB for all of them.
const MAX_BATCH_BYTES: usize = 200 * 1024;

/// The time of RFC 1123, as HTTP writes it.
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

pub(crate) const BROKER_PROPERTIES: HeaderName = HeaderName::from_static("brokerproperties");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const DIAGNOSTIC_ID: HeaderName = HeaderName::from_static("diagnostic-id");

/// Queues of Service Bus, by the names of [`skein_core::ports`].
#[derive(Debug, Clone)]
pub struct ServiceBusQueues {
    channel: Channel,
    queues: BTreeMap<String, Queue>,
}

#[derive(Debug, Clone)]
struct Queue {
    name: String,
    messages: Url,
}

impl ServiceBusQueues {
    /// Sends to these queues: each name and the queue's address, as in
    /// `https://{namespace}.servicebus.windows.net/{queue}`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        http: &Arc<dyn HttpClient>,
        credential: Arc<dyn TokenCredential>,
        queues: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, EndpointError> {
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, SCOPE));
        let queues = queues
            .into_iter()
            .map(|(service, url)| {
                let name = endpoint(&url)?;
                let messages = Url::parse(&format!("{name}/messages"))
                    .map_err(|error| EndpointError { url, reason: error.to_string() })?;
                Ok((service, Queue { name, messages }))
            })
            .collect::<Result<_, EndpointError>>()?;
        Ok(ServiceBusQueues { channel: Channel::new(http, &auth), queues })
    }
}

#[async_trait]
impl CommandQueue for ServiceBusQueues {
    async fn send(&self, queue: &str, messages: &[Message]) -> Result<(), SendError> {
        let queue = self.queues.get(queue).ok_or_else(|| SendError::Refused {
            target: queue.to_owned(),
            reason: "no queue of this name is configured".to_owned(),
        })?;
        for request in requests(messages) {
            // Sending again is safe: receivers discard what they have seen.
            let result = self.channel.repeating(&mut request.build(&queue.messages)).await;
            sent(&queue.name, result)?;
        }
        Ok(())
    }
}

/// One request to a queue.
#[derive(Debug, PartialEq)]
enum Send<'a> {
    One(&'a Message),
    /// Several, as a JSON array.
    Batch(String),
}

/// Cuts the messages into requests, in order. A message alone goes as raw bytes; so does one whose body is no text,
/// since a batch holds texts only.
fn requests(messages: &[Message]) -> Vec<Send<'_>> {
    let mut requests = Vec::new();
    let mut batch: Vec<(&Message, String)> = Vec::new();
    let mut size = 0;
    for message in messages {
        let Some(item) = batch_item(message) else {
            flush(&mut batch, &mut requests);
            requests.push(Send::One(message));
            continue;
        };
        if batch.is_empty() {
            size = 0;
        }
        if batch.len() == MAX_BATCH || size + item.len() > MAX_BATCH_BYTES {
            flush(&mut batch, &mut requests);
            size = 0;
        }
        size += item.len() + 1;
        batch.push((message, item));
    }
    flush(&mut batch, &mut requests);
    requests
}

fn flush<'a>(batch: &mut Vec<(&'a Message, String)>, requests: &mut Vec<Send<'a>>) {
    match batch.as_slice() {
        [] => {}
        [(message, _)] => requests.push(Send::One(message)),
        items => {
            let items: Vec<&str> = items.iter().map(|(_, item)| item.as_str()).collect();
            requests.push(Send::Batch(format!("[{}]", items.join(","))));
        }
    }
    batch.clear();
}

fn batch_item(message: &Message) -> Option<String> {
    let body = std::str::from_utf8(&message.body).ok()?;
    let mut item = json!({ "Body": body, "BrokerProperties": broker_properties(message) });
    if let Some(traceparent) = &message.traceparent {
        item["UserProperties"] = json!({ "traceparent": traceparent, "Diagnostic-Id": traceparent });
    }
    Some(item.to_string())
}

fn broker_properties(message: &Message) -> serde_json::Value {
    let mut properties = json!({ "MessageId": message.id });
    if !message.session.is_empty() {
        properties["SessionId"] = message.session.as_str().into();
    }
    if let Some(time) = message.not_before.and_then(|time| time.to_offset(UtcOffset::UTC).format(&HTTP_DATE).ok()) {
        properties["ScheduledEnqueueTimeUtc"] = time.into();
    }
    properties
}

impl Send<'_> {
    fn build(&self, url: &Url) -> Request {
        let mut request = Request::new(url.clone(), Method::Post);
        match self {
            Send::One(message) => {
                request.insert_header(CONTENT_TYPE, "application/json");
                request.insert_header(BROKER_PROPERTIES, ascii(&broker_properties(message).to_string()));
                if let Some(traceparent) = &message.traceparent {
                    // A property that is a text stands in quotes.
                    let quoted = ascii(&serde_json::Value::from(traceparent.as_str()).to_string());
                    request.insert_header(TRACEPARENT, quoted.clone());
                    request.insert_header(DIAGNOSTIC_ID, quoted);
                }
                request.set_body(message.body.clone());
            }
            Send::Batch(items) => {
                request.insert_header(CONTENT_TYPE, "application/vnd.microsoft.servicebus.json");
                request.set_body(items.clone());
            }
        }
        request
    }
}

/// JSON in a header: all but ASCII is escaped.
pub(crate) fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\u{7f}' {
            text.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(id: usize, body: impl Into<Bytes>) -> Message {
        let session = "order:é".to_owned();
        Message { id: id.to_string(), session, not_before: None, traceparent: None, body: body.into() }
    }

    #[test]
    fn messages_stay_in_order_and_within_limits() {
        let mut messages: Vec<_> = (0..250).map(|n| message(n, format!("{{\"n\":{n}}}"))).collect();
        messages.push(message(250, "x".repeat(190 * 1024)));
        messages.push(message(251, "x".repeat(150 * 1024)));
        messages.push(message(252, vec![0xff]));
        messages.push(message(253, "a"));
        messages.push(message(254, "b"));
        let mut ids = Vec::new();
        let mut shapes = Vec::new();
        for request in requests(&messages) {
            match request {
                Send::One(message) => {
                    ids.push(message.id.clone());
                    shapes.push(1);
                }
                Send::Batch(text) => {
                    assert!(text.len() <= MAX_BATCH_BYTES + 2, "{}", text.len());
                    let items: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
                    shapes.push(items.len());
                    ids.extend(
                        items.iter().map(|item| item["BrokerProperties"]["MessageId"].as_str().unwrap().to_owned()),
                    );
                }
            }
        }
        assert_eq!(ids, (0..255).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(shapes, [100, 100, 51, 1, 1, 2]);
    }

    #[test]
    fn headers_are_ascii() {
        let mut message = message(1, "{}");
        message.traceparent = Some("00-1-2-01".to_owned());
        let url = Url::parse("http://127.0.0.1/q/messages").unwrap();
        let request = Send::One(&message).build(&url);
        assert_eq!(
            request.headers().get_optional_str(&BROKER_PROPERTIES),
            Some(r#"{"MessageId":"1","SessionId":"order:\u00e9"}"#)
        );
        assert_eq!(request.headers().get_optional_str(&TRACEPARENT), Some("\"00-1-2-01\""));
    }

    #[test]
    fn a_message_may_wait_for_its_time_and_needs_no_session() {
        let mut message = message(1, "{}");
        message.session.clear();
        message.not_before = Some(time::macros::datetime!(2026-01-02 5:04:05.678 +2));
        assert_eq!(
            broker_properties(&message),
            json!({"MessageId": "1", "ScheduledEnqueueTimeUtc": "Fri, 02 Jan 2026 03:04:05 GMT"})
        );
    }
}

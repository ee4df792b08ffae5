//! The topic on Event Grid.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::CONTENT_TYPE;
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, Request, Url};
use bytes::Bytes;
use skein_core::ports::{EventBus, SendError};

use crate::channel::{Channel, EndpointError, endpoint, sent};
use crate::credential::BearerPolicy;

/// The scope of Event Grid.
pub const SCOPE: &str = "https://eventgrid.azure.net/.default";
/// The most bytes of one request: the limit is 1 MB.
const MAX_REQUEST_BYTES: usize = 900 * 1024;
/// The most events of one request: the limit is 5,000.
const MAX_EVENTS: usize = 1000;

/// A custom topic of Event Grid that takes CloudEvents.
#[derive(Debug, Clone)]
pub struct EventGridTopic {
    channel: Channel,
    name: String,
    url: Url,
}

impl EventGridTopic {
    /// Publishes to the topic at this address, as in `https://{topic}.{region}-1.eventgrid.azure.net`.
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
        let url = Url::parse(&format!("{name}/api/events?api-version=2018-01-01"))
            .map_err(|error| EndpointError { url: url.to_owned(), reason: error.to_string() })?;
        Ok(EventGridTopic { channel: Channel::new(http, &auth), name, url })
    }
}

#[async_trait]
impl EventBus for EventGridTopic {
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError> {
        for body in requests(events) {
            let mut request = Request::new(self.url.clone(), Method::Post);
            request.insert_header(CONTENT_TYPE, "application/cloudevents-batch+json; charset=utf-8");
            request.set_body(body);
            // Publishing again is safe: consumers discard what they have seen.
            sent(&self.name, self.channel.repeating(&mut request).await)?;
        }
        Ok(())
    }
}

/// Cuts the events into request bodies, in order, each event byte for byte.
fn requests(events: &[Bytes]) -> Vec<Bytes> {
    let mut requests = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    let mut held = 0;
    for event in events {
        if held > 0 && (held == MAX_EVENTS || body.len() + event.len() + 2 > MAX_REQUEST_BYTES) {
            body.push(b']');
            requests.push(Bytes::from(std::mem::take(&mut body)));
            held = 0;
        }
        body.push(if held == 0 { b'[' } else { b',' });
        body.extend_from_slice(event);
        held += 1;
    }
    if held > 0 {
        body.push(b']');
        requests.push(Bytes::from(body));
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stay_as_they_are() {
        assert_eq!(requests(&[]), Vec::<Bytes>::new());
        let events = [Bytes::from_static(b"{ \"a\" :1.0 }"), Bytes::from_static(b"{}")];
        assert_eq!(requests(&events), [Bytes::from_static(b"[{ \"a\" :1.0 },{}]")]);
    }

    #[test]
    fn requests_stay_within_limits() {
        let event = Bytes::from(format!("\"{}\"", "x".repeat(190 * 1024)));
        let bodies = requests(&vec![event.clone(); 10]);
        assert!(bodies.iter().all(|body| body.len() <= MAX_REQUEST_BYTES));
        let counts: Vec<usize> =
            bodies.iter().map(|body| serde_json::from_slice::<Vec<String>>(body).unwrap().len()).collect();
        assert_eq!(counts, [4, 4, 2]);
        let small = requests(&vec![Bytes::from_static(b"1"); 2500]);
        assert_eq!(small.len(), 3);
    }
}

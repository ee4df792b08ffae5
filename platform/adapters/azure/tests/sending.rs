//! Queues and topics against a scripted service.

use std::sync::Arc;

use azure_core::http::HttpClient;
use bytes::Bytes;
use skein_azure::{EventGridTopic, ServiceBusQueues};
use skein_core::ports::{CommandQueue, EventBus, Message, SendError};

use crate::scripted::Answer::{Broken, NoConnection, Status};
use crate::scripted::{Answer, Scripted, Tokens};

fn queues(http: &Arc<Scripted>) -> ServiceBusQueues {
    let http: Arc<dyn HttpClient> = Arc::clone(http) as _;
    let urls = [("orders".to_owned(), "https://sb-skein-orders.servicebus.windows.net/commands".to_owned())];
    ServiceBusQueues::new(&http, Tokens::lasting(), urls).unwrap()
}

fn topic(http: &Arc<Scripted>) -> EventGridTopic {
    let http: Arc<dyn HttpClient> = Arc::clone(http) as _;
    EventGridTopic::new(&http, Tokens::lasting(), "https://evgt.westeurope-1.eventgrid.azure.net/").unwrap()
}

fn message(id: &str) -> Message {
    Message {
        id: id.to_owned(),
        session: "order:1".to_owned(),
        not_before: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        body: Bytes::from_static(b"{\"a\":1.0}"),
    }
}

fn kind(result: &Result<(), SendError>) -> &'static str {
    match result {
        Ok(()) => "sent",
        Err(SendError::Unavailable { .. }) => "unavailable",
        Err(SendError::Denied { .. }) => "denied",
        Err(SendError::Refused { .. }) => "refused",
    }
}

#[tokio::test(start_paused = true)]
async fn one_message_goes_as_it_is_and_several_as_a_batch() {
    let http = Scripted::new([Status(201, ""), Status(201, "")]);
    let queues = queues(&http);
    queues.send("orders", &[]).await.unwrap();
    queues.send("orders", &[message("1")]).await.unwrap();
    queues.send("orders", &[message("2"), message("3")]).await.unwrap();
    let seen = http.seen();
    assert_eq!(http.lines(), vec!["POST https://sb-skein-orders.servicebus.windows.net/commands/messages"; 2]);
    assert_eq!(seen[0].body, "{\"a\":1.0}");
    assert_eq!(seen[0].header("content-type"), "application/json");
    assert_eq!(seen[0].header("brokerproperties"), r#"{"MessageId":"1","SessionId":"order:1"}"#);
    assert_eq!(seen[0].header("traceparent"), "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"");
    assert_eq!(seen[0].header("diagnostic-id"), seen[0].header("traceparent"));
    assert_eq!(seen[1].header("content-type"), "application/vnd.microsoft.servicebus.json");
    let items: serde_json::Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(items[1]["Body"], "{\"a\":1.0}");
    assert_eq!(items[1]["BrokerProperties"], serde_json::json!({ "MessageId": "3", "SessionId": "order:1" }));
    assert_eq!(items[1]["UserProperties"]["traceparent"], message("3").traceparent.unwrap());
}

#[tokio::test(start_paused = true)]
async fn events_go_byte_for_byte() {
    let http = Scripted::new([Status(200, "")]);
    topic(&http).publish(&[Bytes::from_static(b"{ \"id\":\"1\" }"), Bytes::from_static(b"{}")]).await.unwrap();
    let seen = &http.seen()[0];
    assert_eq!(seen.line, "POST https://evgt.westeurope-1.eventgrid.azure.net/api/events?api-version=2018-01-01");
    assert_eq!(seen.header("content-type"), "application/cloudevents-batch+json; charset=utf-8");
    assert_eq!(seen.body, "[{ \"id\":\"1\" },{}]");
    topic(&Scripted::new([])).publish(&[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_to_sends_mean_what_they_say() {
    let cases: [(u16, &str, &str); 12] = [
        (401, "", "denied"),
        (403, "Unauthorized access. 'Send' claim(s) are required", "denied"),
        (403, "The maximum entity size has been reached or exceeded", "refused"),
        (403, "Quota of the queue", "refused"),
        (400, "", "refused"),
        (404, "", "refused"),
        (410, "", "refused"),
        (413, "", "refused"),
        (301, "", "refused"),
        (409, "", "refused"),
        (200, "", "sent"),
        (201, "", "sent"),
    ];
    for (status, text, expected) in cases {
        let http = Scripted::new([Status(status, text)]);
        assert_eq!(kind(&queues(&http).send("orders", &[message("1")]).await), expected, "{status} {text}");
        let http = Scripted::new([Status(status, text)]);
        assert_eq!(kind(&topic(&http).publish(&[Bytes::from_static(b"{}")]).await), expected, "{status} {text}");
    }
    assert_eq!(kind(&queues(&Scripted::new([])).send("billing", &[message("1")]).await), "refused");
}

#[tokio::test(start_paused = true)]
async fn sends_are_repeated_within_bounds() {
    let passing: Vec<fn() -> Answer> = vec![|| Status(503, ""), || Status(429, ""), || Broken, || NoConnection];
    for answer in passing {
        let http = Scripted::new([answer(), Status(201, "")]);
        queues(&http).send("orders", &[message("1")]).await.unwrap();
        assert_eq!(http.seen().len(), 2);
        let http = Scripted::new((0..5).map(|_| answer()));
        assert_eq!(kind(&topic(&http).publish(&[Bytes::from_static(b"{}")]).await), "unavailable");
        assert_eq!(http.seen().len(), 5);
    }
}

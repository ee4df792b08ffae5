//! The front's answers, request by request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::access::Authorizer;
use crate::access::tests::{assignment, resource};
use crate::broker::{Broker, ManualClock, QueueSettings};
use crate::identity::Issuer;
use crate::topic::{Chaos, TopicSettings};

const EVENTS: &str = "/eventgrid/evgt/api/events?api-version=2018-01-01";
const ONE: &str = "application/cloudevents+json";
const MANY: &str = "application/cloudevents-batch+json; charset=utf-8";

struct Bench {
    router: Router,
    broker: Broker,
    issuer: Arc<Issuer>,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Arc::new(Issuer::open(folder.path()).unwrap());
        let broker = Broker::open(":memory:".as_ref(), Arc::new(ManualClock::new())).unwrap();
        broker.declare("sb/events", QueueSettings::default()).await.unwrap();
        let settings = TopicSettings {
            retry_factor: 1.0,
            chaos: Chaos::default(),
            dead_letter_folder: folder.path().into(),
            authorizer: None,
        };
        let topics = Topics::open(broker.clone(), settings).await.unwrap();
        topics.declare_topic("evgt");
        let id = "/subscriptions/0/providers/Microsoft.ServiceBus/namespaces/sb/queues/events";
        let destination = json!({ "endpointType": "ServiceBusQueue", "properties": { "resourceId": id } });
        topics.declare_subscription("evgt", "events", &json!({ "destination": destination })).unwrap();
        topics.start();
        let router = Router::new().nest(PREFIX, router(issuer.clone(), topics));
        Bench { router, broker, issuer, _folder: folder }
    }

    async fn call(&self, method: &str, path: &str, token: Option<&str>, kind: &str, body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path).header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.into()).unwrap())
    }

    fn token(&self, audience: &str) -> String {
        self.issuer.issue_managed_identity("principal", "client", audience).unwrap().0
    }
}

fn event(id: &str) -> String {
    format!(r#"{{"specversion":"1.0", "id":"{id}","source":"/s","type":"t","data":{{"a":1.50}}}}"#)
}

#[tokio::test]
async fn the_status_table() {
    let bench = Bench::new().await;
    let token = bench.token(AUDIENCE);
    let valid = event("1");
    let large = event(&"x".repeat(MAX_REQUEST_BYTES));
    for (method, path, kind, body, status, code) in [
        ("POST", EVENTS, ONE, valid.as_str(), 200, ""),
        ("POST", EVENTS, MANY, &format!("[{valid}]"), 200, ""),
        ("POST", "/eventgrid/EVGT/api/events", MANY, "[]", 200, ""),
        ("POST", EVENTS, MANY, &valid, 400, "BadRequest"),
        ("POST", EVENTS, ONE, &format!("[{valid}]"), 400, "BadRequest"),
        ("POST", EVENTS, ONE, r#"{"id":"1","eventType":"t","subject":"s"}"#, 400, "BadRequest"),
        ("POST", EVENTS, MANY, &format!("[{valid},{{}}]"), 400, "BadRequest"),
        ("POST", EVENTS, "application/json", &valid, 400, "BadRequest"),
        ("POST", EVENTS, ONE, "", 400, "BadRequest"),
        ("POST", EVENTS, ONE, &large, 413, "RequestEntityTooLarge"),
        ("POST", "/eventgrid/none/api/events", ONE, &valid, 404, "NotFound"),
        ("POST", "/eventgrid/evgt/api", ONE, &valid, 404, "NotFound"),
        ("GET", EVENTS, ONE, "", 405, "MethodNotAllowed"),
    ] {
        let (got, text) = bench.call(method, path, Some(&token), kind, body).await;
        assert_eq!(got, status, "{method} {path} {kind}: {text}");
        if status == 200 {
            assert_eq!(text, "");
        } else {
            let error: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(error["error"]["code"], code, "{text}");
            assert!(error["error"]["message"].is_string() && error["error"]["details"].is_array(), "{text}");
        }
    }
}

#[tokio::test]
async fn only_tokens_for_event_grid_get_in() {
    let bench = Bench::new().await;
    let (right, slash) = (bench.token(AUDIENCE), bench.token("https://eventgrid.azure.net/"));
    let other = bench.token("https://servicebus.azure.net");
    for (token, status) in
        [(None, 401), (Some("nonsense"), 401), (Some(other.as_str()), 401), (Some(&right), 200), (Some(&slash), 200)]
    {
        assert_eq!(bench.call("POST", EVENTS, token, ONE, &event("1")).await.0, status, "{token:?}");
    }
}

#[tokio::test]
async fn a_batch_arrives_byte_for_byte() {
    let bench = Bench::new().await;
    let events = [event("1"), event("2").replace(',', " ,\n "), event("é")];
    let body = format!("[ {} ]", events.join(" , "));
    assert_eq!(bench.call("POST", EVENTS, Some(&bench.token(AUDIENCE)), MANY, &body).await.0, 200);
    for event in events {
        let got = bench.broker.receive_and_delete("sb/events", Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(got.body, event.as_bytes());
    }
}

#[tokio::test]
async fn only_who_may_publishes() {
    let mut bench = Bench::new().await;
    let topic = resource("Microsoft.EventGrid/topics", "evgt");
    let role = assignment("sender", "d5a91429-5739-47e2-a06b-3470a27159e7", topic["id"].as_str().unwrap());
    let authorizer = Authorizer::of(&[topic.clone(), role]);
    let settings = TopicSettings {
        retry_factor: 1.0,
        chaos: Chaos::default(),
        dead_letter_folder: bench._folder.path().into(),
        authorizer: None,
    };
    let topics = Topics::open(bench.broker.clone(), settings).await.unwrap();
    topics.declare_topic("evgt");
    bench.router = Router::new().nest(PREFIX, router((bench.issuer.clone(), authorizer.clone()), topics));
    let event = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
    let token = |principal: &str| bench.issuer.issue_managed_identity(principal, "c", AUDIENCE).unwrap().0;
    let (sender, other) = (token("sender"), token("other"));
    assert_eq!(bench.call("POST", EVENTS, Some(&sender), ONE, event).await.0, 200);
    let (status, body) = bench.call("POST", EVENTS, Some(&other), ONE, event).await;
    assert_eq!(status, 403);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"]["code"], "Forbidden");
    let message = body["error"]["message"].as_str().unwrap();
    let scope = topic["id"].as_str().unwrap();
    assert!(message.contains("principal other") && message.contains("events/send/action"), "{message}");
    assert!(message.contains(scope), "{message}");
    authorizer.update(&[topic]);
    assert_eq!(bench.call("POST", EVENTS, Some(&sender), ONE, event).await.0, 403, "at once");
    assert_eq!(bench.call("POST", EVENTS, None, ONE, event).await.0, 401);
}

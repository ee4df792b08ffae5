//! The front's answers, request by request.

use std::sync::Arc;

use axum::Router;
use tower::ServiceExt;

use super::super::{ManualClock, QueueSettings};
use super::*;
use crate::access::Authorizer;
use crate::access::tests::{assignment, resource};
use crate::identity::Issuer;

struct Bench {
    router: Router,
    broker: Broker,
    clock: ManualClock,
    issuer: Arc<Issuer>,
    token: String,
    _folder: tempfile::TempDir,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn broker_properties(&self) -> Value {
        serde_json::from_str(self.header("brokerproperties")).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The path of the lock, as [`Bench::call`] takes it.
    fn lock(&self) -> String {
        self.header("location").strip_prefix("http://127.0.0.1:9").unwrap().to_owned()
    }
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Arc::new(Issuer::open(folder.path()).unwrap());
        let (token, _) = issuer.issue_managed_identity("principal", "client", AUDIENCE).unwrap();
        let clock = ManualClock::new();
        let broker = Broker::open(":memory:".as_ref(), Arc::new(clock.clone())).unwrap();
        let plain = QueueSettings { max_delivery_count: 2, ..QueueSettings::default() };
        broker.declare("sb/plain", plain.clone()).await.unwrap();
        broker.declare("sb/deep/er", plain.clone()).await.unwrap();
        broker.declare("sb/sessions", QueueSettings { requires_session: true, ..plain }).await.unwrap();
        let router = Router::new().nest(PREFIX, router(issuer.clone(), broker.clone()));
        Bench { router, broker, clock, issuer, token, _folder: folder }
    }

    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        self.raw(method, path, &headers, body).await
    }

    async fn peek_lock(&self) -> Reply {
        self.call("POST", "/servicebus/sb/plain/messages/head?timeout=0", &[], "").await
    }
}

#[tokio::test]
async fn the_status_table() {
    let bench = Bench::new().await;
    let session = r#"{"SessionId":"s"}"#;
    let lost = "/servicebus/sb/plain/messages/1/11111111-1111-1111-1111-111111111111";
    let lost_nowhere = "/servicebus/sb/none/messages/1/11111111-1111-1111-1111-111111111111";
    let head = "/servicebus/sb/plain/messages/head?timeout=0";
    for (method, path, properties, status) in [
        ("POST", "/servicebus/sb/plain/messages", None, 201),
        ("POST", "/servicebus/SB/Plain/Messages?api-version=2015-01", None, 201),
        ("POST", "/servicebus/sb/deep/er/messages", None, 201),
        ("POST", "/servicebus/sb/sessions/messages", Some(session), 201),
        ("POST", "/servicebus/sb/sessions/messages", None, 400),
        ("POST", "/servicebus/sb/plain/messages", Some("no json"), 400),
        ("POST", "/servicebus/sb/plain/messages", Some(r#"{"TimeToLive":-1}"#), 400),
        ("POST", "/servicebus/sb/plain/messages", Some(r#"{"ScheduledEnqueueTimeUtc":"soon"}"#), 400),
        ("POST", "/servicebus/sb/plain/messages", Some(r#"{"SessionId":"s","PartitionKey":"p"}"#), 400),
        ("POST", "/servicebus/sb/plain/messages", Some(r#"{"Unknown":1}"#), 201),
        ("POST", "/servicebus/sb/none/messages", None, 410),
        ("POST", "/servicebus/sb/plain/$DeadLetterQueue/messages", None, 405),
        ("GET", "/servicebus/sb/plain/messages", None, 405),
        ("POST", "/servicebus/sb/messages", None, 404),
        ("POST", "/servicebus/sb/plain", None, 404),
        ("POST", "/servicebus/sb/plain/messages/head?timeout=soon", None, 400),
        ("POST", "/servicebus/sb/sessions/messages/head?timeout=0", None, 405),
        ("DELETE", "/servicebus/sb/sessions/messages/head?timeout=0", None, 405),
        ("POST", "/servicebus/sb/none/messages/head?timeout=0", None, 410),
        ("PUT", head, None, 405),
        ("DELETE", lost, None, 404),
        ("PUT", lost, None, 404),
        ("POST", lost, None, 404),
        ("DELETE", lost_nowhere, None, 410),
        ("DELETE", "/servicebus/sb/plain/messages/1/no-token", None, 404),
        ("POST", head, None, 201),
        ("DELETE", head, None, 200),
        ("DELETE", head, None, 200),
        ("DELETE", head, None, 204),
        ("POST", head, None, 204),
        ("POST", "/servicebus/sb/plain/$deadletterqueue/messages/head?timeout=0", None, 204),
        ("POST", "/servicebus/sb/plain/%24DeadLetterQueue/messages/head?timeout=0", None, 204),
    ] {
        let headers: Vec<_> = properties.into_iter().map(|text| ("BrokerProperties", text)).collect();
        let reply = bench.call(method, path, &headers, "{}").await;
        assert_eq!(reply.status, status, "{method} {path} {properties:?}: {}", reply.text());
        if status >= 400 {
            assert_eq!(reply.header("content-type"), "application/xml; charset=utf-8");
            let start = format!("<Error><Code>{status}</Code><Detail>");
            assert!(reply.text().starts_with(&start) && reply.text().contains(" TrackingId:"), "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn only_tokens_for_the_service_bus_get_in() {
    let bench = Bench::new().await;
    let token = |resource| bench.issuer.issue_managed_identity("p", "c", resource).unwrap().0;
    for (authorization, status) in [
        (None, 401),
        (Some("Bearer nonsense".to_owned()), 401),
        (Some(format!("Basic {}", bench.token)), 401),
        (Some(format!("Bearer {}", token("https://eventgrid.azure.net"))), 401),
        (Some(format!("Bearer {}", token("https://servicebus.azure.net/"))), 201),
        (Some(format!("Bearer {}", bench.token)), 201),
    ] {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        let reply = bench.raw("POST", "/servicebus/sb/plain/messages", &headers, "{}").await;
        assert_eq!(reply.status, status, "{authorization:?}");
        // Nobody without a token learns which queues there are.
        let missing = bench.raw("POST", "/servicebus/sb/none/messages", &headers, "{}").await;
        assert_eq!(missing.status, if status == 401 { 401 } else { 410 });
    }
}

#[tokio::test]
async fn a_message_goes_there_and_back() {
    let bench = Bench::new().await;
    let properties = r#"{"MessageId":"id/1 ü","SessionId":"s","CorrelationId":"c","Label":"\u00e9","To":"t",
        "ReplyTo":"r","TimeToLive":4.444,"PartitionKey":"s"}"#
        .replace("ü", "\\u00fc")
        .replace("\n", " ");
    let headers = [
        ("content-type", "application/json"),
        ("BrokerProperties", properties.as_str()),
        ("Priority", "\"Hi \\\"there\\\"\""),
        ("count", "3"),
        ("ratio", "0.5"),
        ("flag", "true"),
        ("bare", "word"),
        ("when", "\"Sun, 06 Nov 1994 08:49:37 GMT\""),
        ("x-ms-retrypolicy", "NoRetry"),
        ("user-agent", "test"),
    ];
    let sent = bench.call("POST", "/servicebus/sb/plain/messages", &headers, "{ \"a\": 1.50 }").await;
    assert_eq!((sent.status, sent.header("content-type"), sent.text()), (201, "application/json", ""));

    let got = bench.peek_lock().await;
    assert_eq!((got.status, got.text()), (201, "{ \"a\": 1.50 }"));
    let mut properties = got.broker_properties();
    let token = properties["LockToken"].take();
    assert_eq!(
        properties,
        json!({
            "DeliveryCount": 1, "EnqueuedSequenceNumber": 1, "EnqueuedTimeUtc": "Wed, 01 May 2024 10:00:00 GMT",
            "LockToken": null, "LockedUntilUtc": "Wed, 01 May 2024 10:01:00 GMT", "MessageId": "id/1 ü",
            "SequenceNumber": 1, "State": "Active", "TimeToLive": 4.444, "SessionId": "s", "CorrelationId": "c",
            "Label": "é", "To": "t", "ReplyTo": "r", "PartitionKey": "s",
        })
    );
    for (name, value) in headers.iter().filter(|(name, _)| !["BrokerProperties", "x-ms-retrypolicy"].contains(name)) {
        let expected = match *name {
            "bare" => "\"word\"",
            "user-agent" => "",
            _ => value,
        };
        assert_eq!(got.header(name), expected, "{name}");
    }
    let location = got.lock();
    assert_eq!(location, format!("/servicebus/sb/plain/messages/id%2F1%20%C3%BC/{}", token.as_str().unwrap()));

    // By message id, by sequence number, and not by another's.
    let by_number = format!("/servicebus/sb/plain/messages/1/{}", token.as_str().unwrap());
    assert_eq!(bench.call("DELETE", &by_number.replace("/1/", "/2/"), &[], "").await.status, 404);
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!(bench.call("POST", &by_number, &[], "").await.status, 200);
    bench.clock.advance(Duration::from_secs(45));
    assert_eq!(bench.call("DELETE", &location, &[], "").await.status, 200);
    assert_eq!(bench.call("DELETE", &location, &[], "").await.status, 404);
}

#[tokio::test]
async fn unlocking_delivers_again_until_it_is_a_dead_letter() {
    let bench = Bench::new().await;
    bench.call("POST", "/servicebus/sb/plain/messages", &[("colour", "\"red\"")], "poison").await;
    for count in 1..=2 {
        let got = bench.peek_lock().await;
        assert_eq!(got.broker_properties()["DeliveryCount"], count);
        assert_eq!(bench.call("PUT", &got.lock(), &[], "").await.status, 200);
    }
    assert_eq!(bench.peek_lock().await.status, 204);
    let path = "/servicebus/sb/plain/$DeadLetterQueue/messages/head?timeout=0";
    let dead = bench.call("POST", path, &[], "").await;
    assert_eq!((dead.status, dead.text(), dead.header("colour")), (201, "poison", "\"red\""));
    assert_eq!(dead.header("deadletterreason"), "\"MaxDeliveryCountExceeded\"");
    assert!(!dead.header("deadlettererrordescription").is_empty());
    assert_eq!(dead.broker_properties()["DeadLetterSource"], "sb/plain");
    assert_eq!(bench.call("DELETE", &dead.lock(), &[], "").await.status, 200);
    assert_eq!(bench.broker.counts("sb/plain").await.unwrap().dead_lettered, 0);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let bench = Bench::new().await;
    let kind = [("content-type", "application/vnd.microsoft.servicebus.json; charset=utf-8")];
    let batch = json!([
        { "Body": "one", "BrokerProperties": { "MessageId": "1", "TimeToLiveTimeSpan": "0.00:00:40" },
          "UserProperties": { "Colour": "red", "size": 2, "big": true } },
        { "Body": "two" },
    ]);
    let path = "/servicebus/sb/plain/messages";
    assert_eq!(bench.call("POST", path, &kind, batch.to_string()).await.status, 201);
    let got = bench.peek_lock().await;
    assert_eq!(
        (got.text(), got.header("colour"), got.header("size"), got.header("big")),
        ("one", "\"red\"", "2", "true")
    );
    assert_eq!((got.broker_properties()["TimeToLive"].as_f64(), got.header("content-type")), (Some(40.0), ""));
    assert_eq!(bench.peek_lock().await.text(), "two");
    for (batch, status) in [
        (json!([{ "Body": "one" }, { "Body": 2 }]), 400),
        (json!({ "Body": "one" }), 400),
        (json!([{ "Body": "one" }, { "Body": "two", "BrokerProperties": { "MessageId": "" } }]), 400),
        (json!([{ "Body": "one" }, { "Body": "two", "UserProperties": { "a": [] } }]), 400),
    ] {
        assert_eq!(bench.call("POST", path, &kind, batch.to_string()).await.status, status, "{batch}");
    }
    assert_eq!(bench.peek_lock().await.status, 204);
}

#[tokio::test]
async fn what_is_too_large_is_forbidden() {
    let bench = Bench::new().await;
    let path = "/servicebus/sb/plain/messages";
    assert_eq!(bench.call("POST", path, &[], vec![b'x'; MAX_MESSAGE_BYTES - 100]).await.status, 201);
    for bytes in [MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1, 3 * MAX_MESSAGE_BYTES] {
        assert_eq!(bench.call("POST", path, &[], vec![b'x'; bytes]).await.status, 403, "{bytes}");
    }
}

#[tokio::test]
async fn a_scheduled_message_waits_for_its_time() {
    let bench = Bench::new().await;
    let properties = r#"{"ScheduledEnqueueTimeUtc":"Wed, 01 May 2024 10:00:05 GMT"}"#;
    bench.call("POST", "/servicebus/sb/plain/messages", &[("BrokerProperties", properties)], "late").await;
    assert_eq!(bench.peek_lock().await.status, 204);
    bench.clock.advance(Duration::from_secs(5));
    let properties = bench.peek_lock().await.broker_properties();
    assert_eq!((&properties["SequenceNumber"], &properties["EnqueuedSequenceNumber"]), (&json!(2), &json!(1)));
    assert_eq!(properties["TimeToLive"].as_f64(), Some(UNLIMITED));
}

#[test]
fn values_are_typed() {
    for (text, value) in [
        ("\"3\"", PropertyValue::from("3")),
        ("3", PropertyValue::Long(3)),
        ("-3.5", PropertyValue::Double(-3.5)),
        ("false", PropertyValue::Bool(false)),
        ("inf", PropertyValue::from("inf")),
        ("", PropertyValue::from("")),
        ("\"", PropertyValue::from("\"")),
        ("\"not a time GMT\"", PropertyValue::from("not a time GMT")),
    ] {
        assert_eq!(from_header(text), value, "{text}");
    }
}

#[test]
fn spans_of_time() {
    for (text, seconds) in [
        ("0.00:00:40", Some(40.0)),
        ("00:01:00", Some(60.0)),
        ("1.02:03:04.5", Some(93_784.5)),
        ("24:00:00", None),
        ("00:60:00", None),
        ("-00:00:01", None),
        ("10", None),
    ] {
        assert_eq!(parse_span(text).map(|span| span.as_secs_f64()), seconds, "{text}");
    }
}

#[tokio::test]
async fn sending_and_receiving_are_two_roles_on_one_queue() {
    let mut bench = Bench::new().await;
    let bus = resource("Microsoft.ServiceBus/namespaces", "sb");
    let plain = resource("Microsoft.ServiceBus/namespaces/queues", "sb/plain");
    let scope = plain["id"].as_str().unwrap();
    let (sender, receiver) = ("69a216fc-b8fb-44d8-bc22-1f3c2cd27a39", "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0");
    let roles = [bus.clone(), assignment("sender", sender, scope), assignment("receiver", receiver, scope)];
    let authorizer = Authorizer::of(&roles);
    let guarded = router((bench.issuer.clone(), authorizer.clone()), bench.broker.clone());
    bench.router = Router::new().nest(PREFIX, guarded);
    let token = |principal: &str| bench.issuer.issue_managed_identity(principal, "client", AUDIENCE).unwrap().0;
    let (sender, receiver) = (token("sender"), token("receiver"));
    let call = async |token: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        bench.raw(method, path, &[("authorization", &bearer)], "").await
    };
    let (messages, head) = ("/servicebus/sb/plain/messages", "/servicebus/sb/plain/messages/head?timeout=0");
    assert_eq!(call(&sender, "POST", messages).await.status, 201);
    let refused = call(&sender, "POST", head).await;
    assert_eq!(refused.status, 403);
    let text = refused.text();
    assert!(text.contains("<Code>403</Code>") && text.contains("'Listen' claim(s) are required"), "{text}");
    assert!(text.contains("principal sender") && text.contains(scope), "{text}");
    let taken = call(&receiver, "POST", head).await;
    assert_eq!(taken.status, 201);
    assert_eq!(call(&sender, "DELETE", &taken.lock()).await.status, 403, "settling is receiving");
    assert_eq!(call(&receiver, "DELETE", &taken.lock()).await.status, 200);
    let refused = call(&receiver, "POST", messages).await;
    assert_eq!(refused.status, 403);
    // What a client tells a full queue from.
    let text = refused.text().to_lowercase();
    assert!(!["quota", "exceed", "too large"].iter().any(|word| text.contains(word)), "{text}");
    assert_eq!(call(&sender, "POST", "/servicebus/sb/deep/er/messages").await.status, 403);
    let dead = "/servicebus/sb/plain/$DeadLetterQueue/messages/head?timeout=0";
    assert_eq!(call(&receiver, "POST", dead).await.status, 204, "a queue's roles are its dead letters', too");
    authorizer.update(&[bus]);
    assert_eq!(call(&sender, "POST", messages).await.status, 403, "at once");
    assert_eq!(bench.raw("POST", messages, &[], "").await.status, 401);
}

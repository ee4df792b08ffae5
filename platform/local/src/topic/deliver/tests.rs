//! Deliveries by a clock that stands still: each round is attempted by the test itself, but where it says otherwise.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::Value;

use super::*;
use crate::access::Authorizer;
use crate::access::tests::{assignment, resource};
use crate::broker::{Broker, Locked, ManualClock, PropertyValue, QueueSettings};
use crate::topic::PublishError;
use crate::topic::{Chaos, Topics};

const QUEUE: &str = "sb/events";

struct Bench {
    topics: Topics,
    broker: Broker,
    clock: ManualClock,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(chaos: Chaos) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let broker = Broker::open(&folder.path().join("broker.db"), Arc::new(clock.clone())).unwrap();
        let topics = Topics::open(broker.clone(), settings(&folder, chaos)).await.unwrap();
        topics.declare_topic("evgt");
        Bench { topics, broker, clock, folder }
    }

    async fn to_queue() -> Bench {
        let bench = Bench::new(Chaos::default()).await;
        bench.broker.declare(QUEUE, QueueSettings::default()).await.unwrap();
        bench.subscribe("events", queue("events"), json!({}));
        bench
    }

    fn subscribe(&self, name: &str, destination: Value, more: Value) {
        let mut properties = json!({
            "eventDeliverySchema": "CloudEventSchemaV1_0", "destination": destination,
            "deadLetterDestination": { "endpointType": "StorageBlob", "properties": {
                "resourceId": "/subscriptions/s/storageAccounts/stskein", "blobContainerName": "dead" } },
        });
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.topics.declare_subscription("evgt", name, &properties).unwrap();
    }

    async fn publish(&self, events: &[&str]) {
        let events = events.iter().map(|event| Bytes::copy_from_slice(event.as_bytes())).collect();
        self.topics.publish("evgt", events).await.unwrap();
    }

    /// Attempts what is due, and returns the seconds until the next attempt is.
    async fn attempt(&self) -> Option<f64> {
        let inner = &self.topics.0;
        let client = Client::builder(TokioExecutor::new()).build_http();
        loop {
            let subscriptions: Vec<_> = inner.topics.read().unwrap().values().flatten().cloned().collect();
            let (settings, rights) = (inner.settings.clone(), inner.rights());
            let round = self.broker.run(move |engine| deliver_due(engine, &subscriptions, &settings, &rights));
            let round = round.await.unwrap();
            let called = !round.calls.is_empty();
            for (subscription, uri, due) in round.calls {
                call_webhook(inner, &client, &self.broker.clock(), subscription, uri, due).await;
            }
            if !round.full && !called {
                return round
                    .next_due
                    .map(|at| (to_time(at) - crate::broker::BrokerClock::now(&self.clock)).as_seconds_f64());
            }
        }
    }

    async fn received(&self) -> Vec<Locked> {
        let mut all = Vec::new();
        while let Some(locked) = self.broker.receive_and_delete(QUEUE, Duration::ZERO).await.unwrap() {
            all.push(locked);
        }
        all
    }

    async fn bodies(&self) -> Vec<String> {
        self.received().await.into_iter().map(|locked| String::from_utf8(locked.body.into()).unwrap()).collect()
    }

    fn dead_letters(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let root = self.folder.path().join("dead-letters");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else {
                    let text = std::fs::read_to_string(&entry).unwrap();
                    files.insert(entry.strip_prefix(&root).unwrap().to_owned(), text);
                }
            }
        }
        files
    }

    /// How many events and deliveries are stored.
    async fn stored(&self) -> (i64, i64) {
        let count = |db: &Connection, table: &str| {
            db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        self.broker
            .run(move |engine| Ok((count(engine.db(), "events"), count(engine.db(), "deliveries"))))
            .await
            .unwrap()
    }
}

fn settings(folder: &tempfile::TempDir, chaos: Chaos) -> TopicSettings {
    TopicSettings { retry_factor: 1.0, chaos, dead_letter_folder: folder.path().join("dead-letters"), authorizer: None }
}

fn queue(name: &str) -> Value {
    let id = format!("/subscriptions/0/resourceGroups/rg/providers/Microsoft.ServiceBus/namespaces/sb/queues/{name}");
    json!({ "endpointType": "ServiceBusQueue", "properties": { "resourceId": id } })
}

fn event(id: &str) -> String {
    format!(
        r#"{{ "specversion":"1.0", "id":"{id}","source":"/s","type":"t.v1","subject":"order:{id}","data":{{"a":1.50}}}}"#
    )
}

/// A webhook that answers as told, and remembers what it got.
#[derive(Clone, Default)]
struct Hook {
    answers: Arc<Mutex<Vec<u16>>>,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Hook {
    /// Answers with these statuses in turn, and with the last one for ever. Returns the destination.
    async fn serve(answers: &[u16]) -> (Hook, Value) {
        let hook = Hook::default();
        hook.answers.lock().unwrap().extend(answers.iter().rev());
        let answer = async |State(hook): State<Hook>, headers: HeaderMap, body: Bytes| {
            hook.got.lock().unwrap().push((headers, body));
            let mut answers = hook.answers.lock().unwrap();
            let status = if answers.len() > 1 { answers.pop() } else { answers.last().copied() };
            StatusCode::from_u16(status.unwrap()).unwrap()
        };
        let app = axum::Router::new().fallback(answer).with_state(hook.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?code=x", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (hook, json!({ "endpointType": "WebHook", "properties": { "endpointUrl": url } }))
    }

    fn attempts(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

#[tokio::test]
async fn an_event_arrives_byte_for_byte() {
    let bench = Bench::to_queue().await;
    let sent = event("1");
    bench.publish(&[&sent]).await;
    assert_eq!(bench.stored().await, (1, 1), "stored before it is acknowledged");
    assert_eq!(bench.attempt().await, None);
    let received = bench.received().await;
    assert_eq!(received.len(), 1);
    let got = &received[0];
    assert_eq!((&got.body[..], got.message_id.as_str()), (sent.as_bytes(), "1"));
    assert_eq!(got.header.content_type.as_deref(), Some("application/cloudevents+json; charset=utf-8"));
    let property = |name: &str| got.header.properties.get(name).cloned();
    assert_eq!(property("aeg-event-type"), Some(PropertyValue::from("Notification")));
    assert_eq!(property("aeg-subscription-name"), Some(PropertyValue::from("EVENTS")));
    assert_eq!(property("aeg-delivery-count"), Some(PropertyValue::from("0")));
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test]
async fn each_subscription_gets_what_it_asks_for() {
    let bench = Bench::to_queue().await;
    bench.broker.declare("sb/stock", QueueSettings::default()).await.unwrap();
    let begins = |with: &str| {
        json!({ "filter": { "advancedFilters": [
            { "operatorType": "StringBeginsWith", "key": "subject", "values": [with] }
        ] } })
    };
    bench.subscribe("events", queue("events"), begins("order:"));
    bench.subscribe("stock", queue("stock"), begins("stock:"));
    bench.subscribe("late", queue("events"), begins("order:2"));
    let stock = event("3").replace("order:", "stock:");
    let nobodys = event("4").replace("order:", "user:");
    bench.publish(&[&event("1"), &event("2"), &stock, &nobodys]).await;
    assert_eq!(bench.stored().await, (3, 4), "what nobody asks for is not kept");
    bench.attempt().await;
    let mut orders = bench.bodies().await;
    orders.sort();
    assert_eq!(orders, [event("1"), event("2"), event("2")]);
    let stocks = bench.broker.receive_and_delete("sb/stock", Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(&stocks.body[..], stock.as_bytes());
}

#[tokio::test]
async fn publishing_is_all_or_nothing() {
    let bench = Bench::to_queue().await;
    let events = vec![Bytes::from(event("1")), Bytes::from_static(b"{}")];
    assert!(matches!(bench.topics.publish("evgt", events).await, Err(PublishError::Schema(_))));
    let nowhere = bench.topics.publish("other", vec![]).await;
    assert!(matches!(nowhere, Err(PublishError::NoTopic(_))));
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test]
async fn a_missing_queue_is_waited_for() {
    let bench = Bench::new(Chaos::default()).await;
    bench.subscribe("events", queue("events"), json!({}));
    bench.publish(&[&event("1")]).await;
    assert_eq!(bench.attempt().await, Some(300.0), "at least 5 minutes after a 404");
    bench.broker.declare(QUEUE, QueueSettings::default()).await.unwrap();
    assert_eq!(bench.attempt().await, Some(300.0), "not before its time");
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(bench.attempt().await, None);
    let received = bench.received().await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header.properties["aeg-delivery-count"], PropertyValue::from("1"));
}

#[tokio::test]
async fn what_is_undelivered_survives_a_kill() {
    let bench = Bench::to_queue().await;
    bench.publish(&[&event("1")]).await;
    let broker = Broker::open(&bench.folder.path().join("broker.db"), Arc::new(bench.clock.clone())).unwrap();
    let topics = Topics::open(broker.clone(), settings(&bench.folder, Chaos::default())).await.unwrap();
    topics.declare_topic("evgt");
    let restarted = Bench { topics, broker, clock: bench.clock, folder: bench.folder };
    assert_eq!(restarted.attempt().await, None, "nobody has subscribed yet, and nothing is lost");
    restarted.subscribe("Events", queue("events"), json!({}));
    restarted.attempt().await;
    assert_eq!(restarted.bodies().await, [event("1")]);
}

#[tokio::test]
async fn a_webhook_gets_the_event_and_its_headers() {
    let bench = Bench::new(Chaos::default()).await;
    let (hook, destination) = Hook::serve(&[202]).await;
    bench.subscribe("hook", destination, json!({}));
    bench.publish(&[&event("1")]).await;
    assert_eq!(bench.attempt().await, None);
    let got = hook.got.lock().unwrap().clone();
    let [(headers, body)] = &got[..] else { panic!("{got:?}") };
    assert_eq!(body, event("1").as_bytes());
    assert_eq!(headers["content-type"], "application/cloudevents+json; charset=utf-8");
    assert_eq!(headers["aeg-event-type"], "Notification");
    assert_eq!(headers["aeg-subscription-name"], "HOOK");
    assert_eq!(headers["aeg-delivery-count"], "0");
}

#[tokio::test]
async fn failures_are_retried_by_the_schedule() {
    let bench = Bench::new(Chaos::default()).await;
    let (hook, destination) = Hook::serve(&[500, 500, 200]).await;
    bench.subscribe("hook", destination, json!({}));
    bench.publish(&[&event("1")]).await;
    assert_eq!((bench.attempt().await, hook.attempts()), (Some(10.0), 1));
    bench.clock.advance(Duration::from_millis(9_999));
    assert_eq!((bench.attempt().await, hook.attempts()), (Some(0.001), 1));
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!((bench.attempt().await, hook.attempts()), (Some(30.0), 2));
    bench.clock.advance(Duration::from_secs(30));
    assert_eq!((bench.attempt().await, hook.attempts()), (None, 3));
    let counts: Vec<_> =
        hook.got.lock().unwrap().iter().map(|(headers, _)| headers["aeg-delivery-count"].clone()).collect();
    assert_eq!(counts, ["0", "1", "2"]);
    assert_eq!(bench.stored().await, (0, 0));
}

#[test]
fn the_schedule() {
    let waits: Vec<u64> =
        (1..=12).map(|attempts| wait_after(attempts, StatusCode::INTERNAL_SERVER_ERROR).as_secs()).collect();
    let hour = 3600;
    assert_eq!(waits, [10, 30, 60, 300, 600, 1800, hour, 3 * hour, 6 * hour, 12 * hour, 12 * hour, 12 * hour]);
    for (status, least) in [(401, 300), (404, 300), (408, 120), (503, 30), (500, 10)] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(wait_after(1, status).as_secs(), least, "{status}");
        assert_eq!(wait_after(7, status).as_secs(), hour, "{status}");
    }
}

#[tokio::test]
async fn the_factor_scales_the_waits() {
    let mut bench = Bench::new(Chaos::default()).await;
    let factor = TopicSettings { retry_factor: 0.01, ..settings(&bench.folder, Chaos::default()) };
    bench.topics = Topics::open(bench.broker.clone(), factor).await.unwrap();
    bench.topics.declare_topic("evgt");
    bench.subscribe("events", queue("none"), json!({}));
    bench.publish(&[&event("1")]).await;
    assert_eq!(bench.attempt().await, Some(3.0));
}

#[tokio::test]
async fn the_last_attempt_makes_a_dead_letter() {
    let bench = Bench::new(Chaos::default()).await;
    let (hook, destination) = Hook::serve(&[500]).await;
    bench.subscribe("My-Hook", destination, json!({ "retryPolicy": { "maxDeliveryAttempts": 3 } }));
    bench.publish(&[&event("1")]).await;
    for wait in [10, 30] {
        assert_eq!(bench.attempt().await, Some(wait as f64));
        bench.clock.advance(Duration::from_secs(wait));
    }
    assert_eq!((bench.attempt().await, hook.attempts()), (None, 3));
    let files = bench.dead_letters();
    let (path, text) = files.first_key_value().unwrap();
    assert_eq!(files.len(), 1);
    assert!(path.starts_with("stskein/dead/EVGT/MY-HOOK/2024/5/1/10"), "{}", path.display());
    let original = event("1");
    assert!(text.starts_with(&format!("[{},", original.strip_suffix('}').unwrap())), "its bytes are kept: {text}");
    let letters: Value = serde_json::from_str(text).unwrap();
    let mut expected: Value = serde_json::from_str(&original).unwrap();
    expected.as_object_mut().unwrap().extend(
        json!({
            "deadletterreason": "MaxDeliveryAttemptsExceeded", "deliveryattempts": 3,
            "lastdeliveryoutcome": "InternalServerError", "lasthttpstatuscode": 500,
            "publishtime": "2024-05-01T10:00:00Z", "lastdeliveryattempttime": "2024-05-01T10:00:40Z",
        })
        .as_object()
        .unwrap()
        .clone(),
    );
    assert_eq!(letters, json!([expected]));
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test]
async fn the_time_to_live_is_looked_at_before_an_attempt() {
    let bench = Bench::new(Chaos::default()).await;
    let (hook, destination) = Hook::serve(&[500]).await;
    bench.subscribe("hook", destination, json!({ "retryPolicy": { "eventTimeToLiveInMinutes": 1 } }));
    bench.publish(&[&event("1")]).await;
    // Attempts after 0, 10 and 40 seconds; the one after 100 is too late.
    for wait in [10, 30, 60] {
        assert_eq!(bench.attempt().await, Some(wait as f64));
        bench.clock.advance(Duration::from_secs(wait));
    }
    assert_eq!((bench.attempt().await, hook.attempts()), (None, 3));
    let files = bench.dead_letters();
    let letters: Value = serde_json::from_str(files.values().next().unwrap()).unwrap();
    assert_eq!(letters[0]["deadletterreason"], "TimeToLiveExceeded");
    assert_eq!(letters[0]["deliveryattempts"], 3);
}

#[tokio::test]
async fn some_answers_are_final() {
    for (status, reason) in [
        (400, "UndeliverableDueToHttpBadRequest"),
        (401, "UndeliverableDueToHttpUnauthorized"),
        (403, "UndeliverableDueToHttpForbidden"),
        (413, "UndeliverableDueToHttpPayloadTooLarge"),
    ] {
        let bench = Bench::new(Chaos::default()).await;
        let (hook, destination) = Hook::serve(&[status]).await;
        bench.subscribe("hook", destination, json!({}));
        bench.publish(&[&event("1")]).await;
        assert_eq!((bench.attempt().await, hook.attempts()), (None, 1), "{status}");
        let files = bench.dead_letters();
        let letters: Value = serde_json::from_str(files.values().next().unwrap()).unwrap();
        assert_eq!(
            (letters[0]["deadletterreason"].as_str(), letters[0]["deliveryattempts"].as_u64()),
            (Some(reason), Some(1))
        );
    }
    // 205 is no success, and a redirect is not followed.
    for status in [205, 302, 404, 409, 429] {
        let bench = Bench::new(Chaos::default()).await;
        let (_hook, destination) = Hook::serve(&[status]).await;
        bench.subscribe("hook", destination, json!({}));
        bench.publish(&[&event("1")]).await;
        assert!(bench.attempt().await.is_some(), "{status}");
    }
}

#[tokio::test]
async fn what_a_queue_refuses_is_a_dead_letter_at_once() {
    let bench = Bench::new(Chaos::default()).await;
    let sessions = QueueSettings { requires_session: true, ..QueueSettings::default() };
    bench.broker.declare("sb/sessions", sessions).await.unwrap();
    bench.broker.declare(QUEUE, QueueSettings::default()).await.unwrap();
    bench.subscribe("sessions", queue("sessions"), json!({ "filter": { "subjectEndsWith": "1" } }));
    bench.subscribe("events", queue("events"), json!({ "filter": { "subjectEndsWith": "2" } }));
    let large = event("2").replace("1.50", &format!("{:?}", "x".repeat(300 * 1024)));
    bench.publish(&[&event("1"), &large]).await;
    assert_eq!(bench.attempt().await, None);
    let reasons: Vec<String> = bench
        .dead_letters()
        .values()
        .map(|text| serde_json::from_str::<Value>(text).unwrap()[0]["deadletterreason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reasons, ["UndeliverableDueToHttpPayloadTooLarge", "UndeliverableDueToHttpBadRequest"]);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_stays() {
    let bench = Bench::new(Chaos::default()).await;
    let (_hook, destination) = Hook::serve(&[400]).await;
    bench.subscribe("hook", destination, json!({}));
    // A file where the folder should be.
    let folder = bench.folder.path().join("dead-letters");
    std::fs::write(&folder, "").unwrap();
    bench.publish(&[&event("1")]).await;
    let wait = bench.attempt().await.unwrap();
    assert_eq!(bench.stored().await, (1, 1));
    std::fs::remove_file(&folder).unwrap();
    bench.clock.advance(Duration::from_secs_f64(wait));
    assert_eq!(bench.attempt().await, None);
    assert_eq!(bench.dead_letters().len(), 1);
}

#[tokio::test]
async fn without_a_destination_for_dead_letters_the_event_is_dropped() {
    let bench = Bench::new(Chaos::default()).await;
    let (_hook, destination) = Hook::serve(&[400]).await;
    bench.subscribe("hook", destination, json!({ "deadLetterDestination": null }));
    bench.publish(&[&event("1")]).await;
    assert_eq!(bench.attempt().await, None);
    assert_eq!((bench.stored().await, bench.dead_letters().len()), ((0, 0), 0));
}

async fn with_chaos(chaos: Chaos) -> (Bench, Vec<String>) {
    let bench = Bench::new(chaos).await;
    bench.broker.declare(QUEUE, QueueSettings::default()).await.unwrap();
    bench.subscribe("events", queue("events"), json!({}));
    let events: Vec<String> = (0..100).map(|number| event(&number.to_string())).collect();
    bench.publish(&events.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut arrived = Vec::new();
    while let Some(wait) = bench.attempt().await {
        arrived.extend(bench.received().await.into_iter().map(|locked| locked.message_id));
        bench.clock.advance(Duration::from_secs_f64(wait));
    }
    arrived.extend(bench.received().await.into_iter().map(|locked| locked.message_id));
    (bench, arrived)
}

fn numbers(arrived: &[String]) -> Vec<usize> {
    arrived.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn without_chaos_each_event_arrives_once() {
    let (_, arrived) = with_chaos(Chaos::default()).await;
    assert_eq!(numbers(&arrived), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn chaos_delays_doubles_and_shuffles_and_loses_nothing() {
    let chaos = Chaos { delay: Duration::from_secs(5), duplicates: 0.3, reorder: true, seed: Some(7) };
    let (bench, arrived) = with_chaos(chaos.clone()).await;
    let arrived = numbers(&arrived);
    let mut distinct = arrived.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct, (0..100).collect::<Vec<_>>());
    assert!((110..150).contains(&arrived.len()), "{} deliveries", arrived.len());
    assert!(!arrived.is_sorted());
    let passed = crate::broker::BrokerClock::now(&bench.clock) - crate::broker::BrokerClock::now(&ManualClock::new());
    assert!(passed.as_seconds_f64() > 4.0 && passed.as_seconds_f64() <= 5.0, "{passed}");
    // The same seed, the same chaos.
    assert_eq!(numbers(&with_chaos(chaos).await.1), arrived);
}

#[tokio::test]
async fn shuffling_alone_only_shuffles() {
    let (_, arrived) = with_chaos(Chaos { reorder: true, seed: Some(1), ..Chaos::default() }).await;
    let mut arrived = numbers(&arrived);
    assert!(!arrived.is_sorted());
    arrived.sort_unstable();
    assert_eq!(arrived, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_loop_delivers_what_is_published_and_what_becomes_due() {
    let bench = Bench::to_queue().await;
    let (hook, destination) = Hook::serve(&[500, 200]).await;
    bench.subscribe("hook", destination, json!({}));
    bench.publish(&[&event("before")]).await;
    let delivering = bench.topics.start();
    let next = async || {
        let wait = Duration::from_secs(3600);
        bench.broker.receive_and_delete(QUEUE, wait).await.unwrap().map(|locked| locked.message_id)
    };
    assert_eq!(next().await.as_deref(), Some("before"));
    let many: Vec<String> = (0..300).map(|number| event(&number.to_string())).collect();
    bench.publish(&many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for number in 0..300 {
        assert_eq!(next().await, Some(number.to_string()));
    }
    // One attempt of the webhook failed; it comes again when the clock says so.
    while hook.attempts() < 301 || bench.stored().await != (1, 1) {
        tokio::task::yield_now().await;
    }
    bench.clock.advance(Duration::from_secs(10));
    while bench.stored().await != (0, 0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(hook.attempts(), 302);
    delivering.abort();
}

/// Run with `cargo test -p skein-local --lib topic::deliver::tests::throughput -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    let bench = Bench::to_queue().await;
    bench.topics.start();
    let (total, start) = (5000, std::time::Instant::now());
    let publishers: Vec<_> = (0..16)
        .map(|publisher| {
            let topics = bench.topics.clone();
            tokio::spawn(async move {
                for number in (publisher..total).step_by(16) {
                    let event = event(&number.to_string()).replace("1.50", &format!("\"{}\"", "x".repeat(1000)));
                    topics.publish("evgt", vec![event.into()]).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..total {
        let wait = Duration::from_secs(60);
        let locked = bench.broker.receive(QUEUE, wait).await.unwrap().unwrap();
        bench.broker.complete(&locked.lock).await.unwrap();
    }
    println!("{:.0} events/s from topic to queue to receiver", total as f64 / start.elapsed().as_secs_f64());
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

/// A bench whose topic acts as `topic`, with a subscription that says to deliver and put aside as that.
async fn as_topic() -> (Bench, Authorizer) {
    let authorizer = Authorizer::of(&roles(true, true));
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let broker = Broker::open(&folder.path().join("broker.db"), Arc::new(clock.clone())).unwrap();
    let settings = TopicSettings { authorizer: Some(authorizer.clone()), ..settings(&folder, Chaos::default()) };
    let topics = Topics::open(broker.clone(), settings).await.unwrap();
    topics.declare_topic("evgt");
    topics.set_principal("EVGT", "topic");
    broker.declare(QUEUE, QueueSettings::default()).await.unwrap();
    let identity = json!({ "type": "SystemAssigned" });
    let aside = json!({ "endpointType": "StorageBlob", "properties": {
        "resourceId": "/subscriptions/s/storageAccounts/stskein", "blobContainerName": "dead" } });
    let properties = json!({
        "eventDeliverySchema": "CloudEventSchemaV1_0",
        "deliveryWithResourceIdentity": { "identity": identity, "destination": queue("events") },
        "deadLetterWithResourceIdentity": { "identity": identity, "deadLetterDestination": aside },
        "retryPolicy": { "maxDeliveryAttempts": 2 },
    });
    topics.declare_subscription("evgt", "events", &properties).unwrap();
    (Bench { topics, broker, clock, folder }, authorizer)
}

fn roles(queue: bool, dead_letters: bool) -> Vec<Value> {
    let account = resource("Microsoft.Storage/storageAccounts", "stskein");
    let mut resources = vec![account.clone(), resource("Microsoft.ServiceBus/namespaces", "sb")];
    let id = |kind: &str, name: &str| resource(kind, name)["id"].as_str().unwrap().to_owned();
    if queue {
        let scope = id("Microsoft.ServiceBus/namespaces/queues", "sb/events");
        resources.push(assignment("topic", "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39", &scope));
    }
    if dead_letters {
        let scope = id("Microsoft.Storage/storageAccounts", "stskein");
        let scope = format!("{scope}/blobServices/default/containers/dead");
        resources.push(assignment("topic", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", &scope));
    }
    resources
}

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;

#[tokio::test]
async fn a_topic_without_the_role_tries_again_and_puts_aside() {
    let (bench, authorizer) = as_topic().await;
    bench.publish(&[EVENT]).await;
    assert_eq!(bench.attempt().await, None);
    assert_eq!(bench.received().await.len(), 1);

    authorizer.update(&roles(false, true));
    bench.publish(&[EVENT]).await;
    assert_eq!(bench.attempt().await, Some(300.0), "a 401 is tried again after five minutes");
    assert!(bench.received().await.is_empty());
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(bench.attempt().await, None);
    assert_eq!(bench.stored().await, (0, 0));
    let letter = dead_letter(&bench.folder.path().join("dead-letters/stskein/dead"));
    assert_eq!(letter[0]["deadletterreason"], "MaxDeliveryAttemptsExceeded");
    assert_eq!(letter[0]["lastdeliveryoutcome"], "Unauthorized");
    assert_eq!(letter[0]["deliveryattempts"], 2);
}

#[tokio::test]
async fn a_role_that_comes_back_lets_the_next_attempt_through() {
    let (bench, authorizer) = as_topic().await;
    authorizer.update(&roles(false, true));
    bench.publish(&[EVENT]).await;
    bench.attempt().await;
    authorizer.update(&roles(true, true));
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(bench.attempt().await, None);
    assert_eq!(bench.received().await.len(), 1);
}

#[tokio::test]
async fn an_event_that_may_not_be_put_aside_is_kept() {
    let (bench, authorizer) = as_topic().await;
    authorizer.update(&roles(false, false));
    bench.publish(&[EVENT]).await;
    bench.attempt().await;
    bench.clock.advance(Duration::from_secs(300));
    assert_eq!(bench.attempt().await, Some(60.0));
    assert_eq!(bench.stored().await, (1, 1));
    authorizer.update(&roles(true, true));
    bench.clock.advance(Duration::from_secs(60));
    bench.attempt().await;
    assert_eq!(bench.received().await.len(), 1, "it still could be delivered");
}

/// The one dead letter below a folder.
fn dead_letter(folder: &Path) -> Value {
    let mut path = folder.to_owned();
    while path.is_dir() {
        path = std::fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    }
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

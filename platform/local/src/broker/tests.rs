//! The queue engine's rules, by a clock that stands still.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;

const QUEUE: &str = "sb/commands";
const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    broker: Broker,
    clock: ManualClock,
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

fn plain() -> QueueSettings {
    QueueSettings { lock_duration: MINUTE, max_delivery_count: 3, ..QueueSettings::default() }
}

fn sessions() -> QueueSettings {
    QueueSettings { requires_session: true, ..plain() }
}

impl Bench {
    async fn new(settings: QueueSettings) -> Bench {
        let clock = ManualClock::new();
        let path = PathBuf::from(":memory:");
        let broker = Broker::open(&path, Arc::new(clock.clone())).unwrap();
        broker.declare(QUEUE, settings).await.unwrap();
        Bench { broker, clock, path, _folder: None }
    }

    async fn on_file(settings: QueueSettings) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        let clock = ManualClock::new();
        let broker = Broker::open(&path, Arc::new(clock.clone())).unwrap();
        broker.declare(QUEUE, settings).await.unwrap();
        Bench { broker, clock, path, _folder: Some(folder) }
    }

    /// What the next process finds after this one was killed: its files as they are, nothing closed or released. The
    /// copy keeps the timers of the broker that goes on living here from touching it.
    fn after_kill(&mut self) -> Broker {
        let next = self.path.with_file_name(format!("{}.db", Uuid::new_v4()));
        for suffix in ["", "-wal"] {
            let with = |path: &std::path::Path| format!("{}{suffix}", path.display());
            std::fs::copy(with(&self.path), with(&next)).unwrap();
        }
        self.path = next;
        Broker::open(&self.path, Arc::new(self.clock.clone())).unwrap()
    }

    async fn send(&self, messages: impl IntoIterator<Item = NewMessage>) -> Vec<i64> {
        self.broker.send(QUEUE, messages.into_iter().collect()).await.unwrap()
    }

    async fn receive(&self) -> Option<Locked> {
        self.broker.receive(QUEUE, NOW).await.unwrap()
    }

    async fn accept(&self) -> Option<SessionLock> {
        self.broker.accept_session(QUEUE, NOW).await.unwrap()
    }

    async fn next(&self, session: &SessionLock) -> Option<Locked> {
        self.broker.receive_in_session(session, NOW).await.unwrap()
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        self.broker.dead_letters(QUEUE, 0, 100).await.unwrap()
    }
}

fn message(body: &'static str) -> NewMessage {
    NewMessage { message_id: Some(body.into()), body: body.into(), ..NewMessage::default() }
}

fn of(session: &str, body: &'static str) -> NewMessage {
    NewMessage { session_id: Some(session.into()), ..message(body) }
}

fn text(locked: &Option<Locked>) -> Option<&str> {
    locked.as_ref().map(|locked| std::str::from_utf8(&locked.body).unwrap())
}

#[tokio::test]
async fn a_message_keeps_everything_it_was_sent_with() {
    let bench = Bench::new(plain()).await;
    let header = Header {
        content_type: Some("application/json".into()),
        correlation_id: Some("c".into()),
        subject: Some("s".into()),
        to: Some("t".into()),
        reply_to: Some("r".into()),
        reply_to_session_id: Some("rs".into()),
        partition_key: None,
        properties: [
            ("a".to_owned(), PropertyValue::Long(1)),
            ("b".to_owned(), PropertyValue::Double(1.5)),
            ("c".to_owned(), PropertyValue::Bool(true)),
            ("d".to_owned(), PropertyValue::from("Ü")),
            ("e".to_owned(), PropertyValue::Time(bench.clock.now())),
        ]
        .into(),
    };
    let body = axum::body::Bytes::from_static(b"\0\xff{}");
    bench.send([NewMessage { header: header.clone(), body: body.clone(), ..message("m") }]).await;
    let locked = bench.receive().await.unwrap();
    assert_eq!((locked.header, locked.body), (header, body));
    assert_eq!((locked.message_id.as_str(), locked.sequence_number, locked.delivery_count), ("m", 1, 1));
    assert_eq!(locked.enqueued_at, bench.clock.now());
    assert_eq!(locked.locked_until, bench.clock.now() + MINUTE);
}

#[tokio::test]
async fn without_sessions_messages_come_in_order_and_once() {
    let bench = Bench::new(plain()).await;
    assert_eq!(bench.send([message("a"), message("b")]).await, [1, 2]);
    let (a, b) = (bench.receive().await, bench.receive().await);
    assert_eq!((text(&a), text(&b)), (Some("a"), Some("b")));
    assert!(bench.receive().await.is_none());
    let a = a.unwrap().lock;
    bench.broker.complete(&a).await.unwrap();
    assert!(matches!(bench.broker.complete(&a).await, Err(BrokerError::LockLost)));
    assert_eq!(bench.broker.counts(QUEUE).await.unwrap().active, 1);
}

#[tokio::test]
async fn an_abandoned_message_is_the_next_one() {
    let bench = Bench::new(plain()).await;
    bench.send([message("a"), message("b")]).await;
    let a = bench.receive().await.unwrap();
    bench.broker.abandon(&a.lock).await.unwrap();
    let again = bench.receive().await.unwrap();
    assert_eq!((&again.body[..], again.delivery_count, again.sequence_number), (&b"a"[..], 2, 1));
    assert_ne!(again.lock, a.lock);
    assert!(matches!(bench.broker.abandon(&a.lock).await, Err(BrokerError::LockLost)));
}

#[tokio::test]
async fn a_lock_expires_exactly_at_its_end() {
    let bench = Bench::new(plain()).await;
    bench.send([message("a")]).await;
    let a = bench.receive().await.unwrap();
    bench.clock.advance(MINUTE - Duration::from_millis(1));
    assert!(bench.receive().await.is_none());
    bench.clock.advance(Duration::from_millis(1));
    assert!(matches!(bench.broker.complete(&a.lock).await, Err(BrokerError::LockLost)));
    assert_eq!(bench.receive().await.unwrap().delivery_count, 2);
}

#[tokio::test]
async fn renewing_counts_from_now_and_is_not_added() {
    let bench = Bench::new(plain()).await;
    bench.send([message("a")]).await;
    let a = bench.receive().await.unwrap();
    bench.clock.advance(MINUTE / 2);
    assert_eq!(bench.broker.renew(&a.lock).await.unwrap(), bench.clock.now() + MINUTE);
    bench.clock.advance(MINUTE - SECOND);
    assert!(bench.receive().await.is_none());
    bench.broker.complete(&a.lock).await.unwrap();
    bench.clock.advance(MINUTE);
    assert!(bench.receive().await.is_none());
    assert!(matches!(bench.broker.renew(&a.lock).await, Err(BrokerError::LockLost)));
}

#[tokio::test]
async fn exactly_max_delivery_count_deliveries_happen() {
    for by_expiry in [false, true] {
        let bench = Bench::new(plain()).await;
        bench.send([message("poison"), message("next")]).await;
        for delivery in 1..=3 {
            let poison = bench.receive().await.unwrap();
            assert_eq!((&poison.body[..], poison.delivery_count), (&b"poison"[..], delivery));
            assert_eq!(bench.dead().await.len(), 0);
            if by_expiry {
                bench.clock.advance(MINUTE);
            } else {
                bench.broker.abandon(&poison.lock).await.unwrap();
            }
        }
        assert_eq!(text(&bench.receive().await), Some("next"));
        let dead = bench.dead().await;
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].message_id.as_str(), dead[0].delivery_count), ("poison", 3));
        assert_eq!(dead[0].dead_letter.reason, "MaxDeliveryCountExceeded");
    }
}

#[tokio::test]
async fn the_dead_letter_queue_is_a_queue_that_nothing_leaves_by_itself() {
    let bench = Bench::new(QueueSettings { max_delivery_count: 1, ..sessions() }).await;
    bench.send([of("s", "poison")]).await;
    let session = bench.accept().await.unwrap();
    let poison = bench.next(&session).await.unwrap();
    bench.broker.abandon(&poison.lock).await.unwrap();
    let dead_letters = format!("{QUEUE}/$deadletterqueue");
    for _ in 0..4 {
        // No sessions, no maximum of deliveries.
        let dead = bench.broker.receive(&dead_letters, NOW).await.unwrap().unwrap();
        assert_eq!(dead.session_id.as_deref(), Some("s"));
        assert_eq!(dead.dead_letter_source.as_deref(), Some(QUEUE));
        assert_eq!(dead.dead_letter.as_ref().unwrap().reason, "MaxDeliveryCountExceeded");
        bench.broker.abandon(&dead.lock).await.unwrap();
    }
    let dead = bench.broker.receive(&dead_letters, NOW).await.unwrap().unwrap();
    bench.broker.complete(&dead.lock).await.unwrap();
    assert_eq!(bench.broker.counts(QUEUE).await.unwrap(), QueueCounts::default());
    let sent = bench.broker.send(&dead_letters, vec![message("a")]).await;
    assert!(matches!(sent, Err(BrokerError::DeadLetterQueue(_))));
}

#[tokio::test]
async fn one_receiver_holds_a_session_and_gets_it_in_order() {
    let bench = Bench::new(sessions()).await;
    bench.send([of("x", "x1"), of("y", "y1"), of("x", "x2"), of("x", "x3")]).await;
    let x = bench.accept().await.unwrap();
    let y = bench.accept().await.unwrap();
    assert_eq!((x.session_id(), y.session_id()), ("x", "y"));
    assert!(bench.accept().await.is_none());
    for expected in ["x1", "x2", "x3"] {
        let locked = bench.next(&x).await;
        assert_eq!(text(&locked), Some(expected));
        bench.broker.complete(&locked.unwrap().lock).await.unwrap();
    }
    assert!(bench.next(&x).await.is_none());
    // What comes while the session is held goes to its holder, not to others.
    bench.send([of("x", "x4")]).await;
    assert!(bench.accept().await.is_none());
    assert_eq!(text(&bench.next(&x).await), Some("x4"));
    assert_eq!(text(&bench.next(&y).await), Some("y1"));
}

#[tokio::test]
async fn abandoning_in_a_session_keeps_the_order() {
    let bench = Bench::new(sessions()).await;
    bench.send([of("x", "x1"), of("x", "x2"), of("x", "x3")]).await;
    let session = bench.accept().await.unwrap();
    let (x1, x2) = (bench.next(&session).await.unwrap(), bench.next(&session).await.unwrap());
    bench.broker.abandon(&x2.lock).await.unwrap();
    bench.broker.abandon(&x1.lock).await.unwrap();
    for (expected, count) in [("x1", 2), ("x2", 2), ("x3", 1)] {
        let locked = bench.next(&session).await.unwrap();
        assert_eq!((&locked.body[..], locked.delivery_count), (expected.as_bytes(), count));
        bench.broker.complete(&locked.lock).await.unwrap();
    }
}

#[tokio::test]
async fn what_arrives_for_somebody_who_waits_no_longer_goes_back() {
    let bench = Bench::new(plain()).await;
    bench.send([message("m")]).await;
    // The engine is busy until somebody has asked and gone.
    let (go, gate) = mpsc::channel::<()>();
    let busy = bench.broker.0.post(move |_| {
        let _ = gate.recv();
        Ok(())
    });
    assert!(futures::poll!(Box::pin(bench.broker.receive(QUEUE, NOW))).is_pending());
    drop(go);
    busy.await.unwrap().unwrap();
    // The clock stands still: no lock ends.
    let again = tokio::time::timeout(MINUTE, bench.broker.receive(QUEUE, MINUTE)).await.expect("it came back");
    let again = again.unwrap();
    assert_eq!((text(&again), again.as_ref().map(|message| message.delivery_count)), (Some("m"), Some(2)));
}

#[tokio::test]
async fn releasing_a_session_counts_no_delivery_and_expiry_does() {
    let bench = Bench::new(sessions()).await;
    bench.send([of("x", "x1")]).await;
    let session = bench.accept().await.unwrap();
    let first = bench.next(&session).await.unwrap();
    bench.broker.release_session(session).await.unwrap();
    assert!(matches!(bench.broker.complete(&first.lock).await, Err(BrokerError::LockLost)));

    let session = bench.accept().await.unwrap();
    assert_eq!(bench.next(&session).await.unwrap().delivery_count, 1);
    bench.clock.advance(MINUTE);
    assert!(matches!(bench.broker.receive_in_session(&session, NOW).await, Err(BrokerError::LockLost)));
    assert!(matches!(bench.broker.renew_session(&session).await, Err(BrokerError::LockLost)));

    let again = bench.accept().await.unwrap();
    assert_eq!(bench.next(&again).await.unwrap().delivery_count, 2);
    // The holder that lost it must not end the new one's lock.
    drop(session);
    assert!(bench.next(&again).await.is_none());
    assert!(bench.broker.renew_session(&again).await.is_ok());
}

#[tokio::test]
async fn a_session_that_is_dropped_is_free_again() {
    let bench = Bench::new(sessions()).await;
    bench.send([of("x", "x1")]).await;
    drop(bench.accept().await.unwrap());
    assert_eq!(bench.accept().await.unwrap().session_id(), "x");
}

#[tokio::test]
async fn a_sessions_lock_covers_its_messages() {
    let bench = Bench::new(sessions()).await;
    bench.send([of("x", "x1")]).await;
    let session = bench.accept().await.unwrap();
    let x1 = bench.next(&session).await.unwrap();
    assert!(matches!(bench.broker.renew(&x1.lock).await, Err(BrokerError::HeldBySession)));
    for _ in 0..5 {
        bench.clock.advance(MINUTE - SECOND);
        assert_eq!(bench.broker.renew_session(&session).await.unwrap(), bench.clock.now() + MINUTE);
    }
    bench.broker.complete(&x1.lock).await.unwrap();
}

#[tokio::test]
async fn sessions_refuse_what_does_not_fit() {
    let with = Bench::new(sessions()).await;
    let sent = with.broker.send(QUEUE, vec![of("x", "a"), message("b")]).await;
    assert!(matches!(sent, Err(BrokerError::NoSessionId(_))));
    assert_eq!(with.broker.counts(QUEUE).await.unwrap().active, 0, "all or nothing");
    assert!(matches!(with.broker.receive(QUEUE, NOW).await, Err(BrokerError::SessionRequired(_))));
    let without = Bench::new(plain()).await;
    assert!(matches!(without.broker.accept_session(QUEUE, NOW).await, Err(BrokerError::NoSessions(_))));
    // A session id on a plain queue is only carried.
    without.send([of("x", "a"), of("x", "b")]).await;
    assert_eq!(text(&without.receive().await), Some("a"));
    assert_eq!(without.receive().await.unwrap().session_id.as_deref(), Some("x"));
}

#[tokio::test]
async fn messages_are_checked() {
    let bench = Bench::new(plain()).await;
    let refused = async |message: NewMessage| bench.broker.send(QUEUE, vec![message]).await.unwrap_err();
    let id = |chars| NewMessage { message_id: Some("ä".repeat(chars)), ..NewMessage::default() };
    bench.send([id(MAX_ID_CHARS)]).await;
    assert!(matches!(refused(id(MAX_ID_CHARS + 1)).await, BrokerError::Invalid(_)));
    assert!(matches!(refused(id(0)).await, BrokerError::Invalid(_)));
    let body = |bytes| NewMessage { body: vec![0; bytes].into(), ..NewMessage::default() };
    let empty_header = "{}".len();
    bench.send([body(MAX_MESSAGE_BYTES - empty_header)]).await;
    assert!(matches!(refused(body(MAX_MESSAGE_BYTES - empty_header + 1)).await, BrokerError::TooLarge(_)));
    let mut keyed = of("x", "a");
    keyed.header.partition_key = Some("y".into());
    assert!(matches!(refused(keyed).await, BrokerError::Invalid(_)));
    let mut nan = message("a");
    nan.header.properties.insert("ratio".into(), PropertyValue::Double(f64::NAN));
    assert!(matches!(refused(nan).await, BrokerError::Invalid(_)));
    let nowhere = bench.broker.send("sb/other", vec![message("a")]).await;
    assert!(matches!(nowhere, Err(BrokerError::NoQueue(_))));
    assert!(bench.broker.send("SB/Commands", vec![message("a")]).await.is_ok(), "names ignore case");
}

#[tokio::test]
async fn duplicates_are_dropped_within_the_window() {
    let window = Duration::from_secs(20);
    let settings = QueueSettings { requires_duplicate_detection: true, duplicate_window: window, ..plain() };
    let mut bench = Bench::on_file(settings).await;
    assert_eq!(bench.send([message("a"), message("a"), message("b")]).await, [1, 1, 2]);
    // Completion does not forget it.
    let a = bench.receive().await.unwrap();
    bench.broker.complete(&a.lock).await.unwrap();
    bench.clock.advance(window - Duration::from_millis(1));
    assert_eq!(bench.send([message("a")]).await, [1]);
    let restarted = bench.after_kill();
    assert_eq!(restarted.send(QUEUE, vec![message("a")]).await.unwrap(), [1], "remembered across a restart");
    // A duplicate does not extend the window.
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(restarted.send(QUEUE, vec![message("a")]).await.unwrap(), [3]);
    let off = Bench::new(plain()).await;
    assert_eq!(off.send([message("a"), message("a")]).await, [1, 2]);
}

#[tokio::test]
async fn a_scheduled_message_is_a_duplicate_too() {
    let bench = Bench::new(QueueSettings { requires_duplicate_detection: true, ..plain() }).await;
    let at = bench.clock.now() + MINUTE;
    assert_eq!(bench.send([NewMessage { scheduled_enqueue_time: Some(at), ..message("a") }]).await, [1]);
    assert_eq!(bench.send([message("a")]).await, [1]);
}

#[tokio::test]
async fn a_scheduled_message_comes_at_its_time_with_a_new_number() {
    for restart in [false, true] {
        let mut bench = Bench::on_file(plain()).await;
        let at = bench.clock.now() + MINUTE;
        let scheduled = NewMessage { scheduled_enqueue_time: Some(at), time_to_live: Some(MINUTE), ..message("late") };
        assert_eq!(bench.send([scheduled, message("now")]).await, [1, 2]);
        assert_eq!(
            bench.broker.counts(QUEUE).await.unwrap(),
            QueueCounts { active: 1, scheduled: 1, dead_lettered: 0 }
        );
        let broker = if restart { bench.after_kill() } else { bench.broker.clone() };
        bench.clock.advance(MINUTE - Duration::from_millis(1));
        assert_eq!(text(&broker.receive(QUEUE, NOW).await.unwrap()), Some("now"));
        assert!(broker.receive(QUEUE, NOW).await.unwrap().is_none());
        bench.clock.advance(Duration::from_millis(1));
        let late = broker.receive(QUEUE, NOW).await.unwrap().unwrap();
        assert_eq!((late.sequence_number, late.enqueued_sequence_number, late.enqueued_at), (3, 1, at));
        assert_eq!(late.expires_at, Some(at + MINUTE), "its life begins when it becomes available");
    }
}

#[tokio::test]
async fn a_message_past_its_schedule_is_there_at_once() {
    let bench = Bench::new(plain()).await;
    let past = bench.clock.now() - SECOND;
    bench.send([NewMessage { scheduled_enqueue_time: Some(past), ..message("a") }]).await;
    assert_eq!(bench.receive().await.unwrap().sequence_number, 1);
}

#[tokio::test]
async fn a_message_lives_as_long_as_the_shorter_time_says() {
    let settings = QueueSettings { default_ttl: Some(MINUTE), ..plain() };
    let bench = Bench::new(settings).await;
    let with = |ttl, body| NewMessage { time_to_live: ttl, ..message(body) };
    bench.send([with(Some(SECOND), "short"), with(None, "default"), with(Some(10 * MINUTE), "clamped")]).await;
    bench.clock.advance(SECOND - Duration::from_millis(1));
    assert_eq!(bench.broker.counts(QUEUE).await.unwrap().active, 3);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.broker.counts(QUEUE).await.unwrap().active, 2);
    bench.clock.advance(MINUTE - SECOND);
    assert!(bench.receive().await.is_none());
    assert_eq!(bench.broker.counts(QUEUE).await.unwrap(), QueueCounts::default(), "dropped, not dead-lettered");
}

#[tokio::test]
async fn a_life_beyond_the_calendar_does_not_end() {
    let bench = Bench::new(plain()).await;
    bench.send([NewMessage { time_to_live: Some(Duration::MAX), ..message("a") }]).await;
    bench.clock.advance(1_000_000 * MINUTE);
    assert_eq!(bench.receive().await.unwrap().expires_at.map(|at| at.year()), Some(9999));
}

#[tokio::test]
async fn a_locked_message_expires_when_its_lock_ends() {
    for settled in ["completed", "abandoned", "expired"] {
        let bench = Bench::new(QueueSettings { dead_letter_on_expiration: true, ..plain() }).await;
        bench.send([NewMessage { time_to_live: Some(SECOND), ..message("a") }]).await;
        let a = bench.receive().await.unwrap();
        bench.clock.advance(10 * SECOND);
        assert_eq!(bench.broker.counts(QUEUE).await.unwrap().active, 1, "not while it is locked");
        match settled {
            "completed" => bench.broker.complete(&a.lock).await.unwrap(),
            "abandoned" => bench.broker.abandon(&a.lock).await.unwrap(),
            _ => bench.clock.advance(MINUTE),
        }
        assert!(bench.receive().await.is_none());
        let dead = bench.dead().await;
        assert_eq!(dead.len(), usize::from(settled != "completed"));
        if let Some(dead) = dead.first() {
            assert_eq!(dead.dead_letter.reason, "TTLExpiredException");
        }
        // There is no time to live in the dead-letter queue.
        bench.clock.advance(1000 * MINUTE);
        assert_eq!(bench.dead().await.len(), dead.len());
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut bench = Bench::on_file(sessions()).await;
    bench.send([of("x", "x1"), of("x", "x2"), of("y", "y1"), of("z", "z1")]).await;
    let x = bench.accept().await.unwrap();
    let x1 = bench.next(&x).await.unwrap();
    bench.broker.complete(&x1.lock).await.unwrap();
    // x2 is in flight, y is held but nothing was delivered, z is untouched.
    bench.next(&x).await.unwrap();
    let y = bench.accept().await.unwrap();
    assert_eq!(y.session_id(), "y");

    let broker = bench.after_kill();
    let mut seen = Vec::new();
    while let Some(session) = broker.accept_session(QUEUE, NOW).await.unwrap() {
        while let Some(locked) = broker.receive_in_session(&session, NOW).await.unwrap() {
            seen.push((String::from_utf8_lossy(&locked.body).into_owned(), locked.delivery_count));
            broker.complete(&locked.lock).await.unwrap();
        }
    }
    assert_eq!(seen, [("x2".to_owned(), 2), ("y1".to_owned(), 1), ("z1".to_owned(), 1)]);
    assert_eq!(broker.send(QUEUE, vec![of("x", "x5")]).await.unwrap(), [5], "numbers are not used twice");
}

#[tokio::test]
async fn a_message_that_kills_the_process_ends_in_the_dead_letter_queue() {
    let mut bench = Bench::on_file(plain()).await;
    bench.send([message("poison"), message("good")]).await;
    let mut broker = bench.broker.clone();
    for delivery in 1..=3 {
        let poison = broker.receive(QUEUE, NOW).await.unwrap().unwrap();
        assert_eq!((&poison.body[..], poison.delivery_count), (&b"poison"[..], delivery));
        broker = bench.after_kill();
    }
    assert_eq!(text(&broker.receive(QUEUE, NOW).await.unwrap()), Some("good"));
    assert_eq!(broker.dead_letters(QUEUE, 0, 10).await.unwrap()[0].dead_letter.reason, "MaxDeliveryCountExceeded");
}

#[tokio::test]
async fn declaring_again_keeps_messages_and_refuses_what_is_fixed() {
    let mut bench = Bench::on_file(plain()).await;
    bench.send([message("a")]).await;
    for broker in [bench.broker.clone(), bench.after_kill()] {
        let error = broker.declare(QUEUE, sessions()).await.unwrap_err();
        assert_eq!(error.to_string(), "requiresSession of the queue \"sb/commands\" is fixed since it was created");
        let detecting = QueueSettings { requires_duplicate_detection: true, ..plain() };
        let error = broker.declare(QUEUE, detecting).await.unwrap_err();
        assert!(error.to_string().starts_with("requiresDuplicateDetection"), "{error}");
        broker.declare(QUEUE, QueueSettings { lock_duration: 2 * MINUTE, ..plain() }).await.unwrap();
    }
    let broker = bench.after_kill();
    let a = broker.receive(QUEUE, NOW).await.unwrap().unwrap();
    assert_eq!(a.locked_until, bench.clock.now() + 2 * MINUTE);
    assert!(matches!(broker.declare("sb/q/$DeadLetterQueue", plain()).await, Err(BrokerError::Invalid(_))));
}

#[tokio::test]
async fn a_waiting_receiver_gets_what_arrives() {
    let bench = Bench::new(plain()).await;
    let waiting = tokio::spawn({
        let broker = bench.broker.clone();
        async move { broker.receive(QUEUE, MINUTE).await.unwrap() }
    });
    bench.send([message("a")]).await;
    assert_eq!(text(&waiting.await.unwrap()), Some("a"));
}

#[tokio::test]
async fn a_waiting_receiver_gives_up_at_its_time() {
    let bench = Bench::new(plain()).await;
    let waiting = bench.broker.receive(QUEUE, MINUTE);
    let moving = async {
        // Whenever the wait begins: the clock moves until it has ended.
        loop {
            bench.clock.advance(SECOND);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        received = waiting => assert!(received.unwrap().is_none()),
        () = moving => {}
    }
}

#[tokio::test]
async fn a_waiting_receiver_gets_what_becomes_due() {
    // By its schedule, by the end of another's lock, by the end of another's session.
    let bench = Bench::new(plain()).await;
    let at = bench.clock.now() + SECOND;
    let waiting = tokio::spawn({
        let broker = bench.broker.clone();
        async move { broker.receive(QUEUE, 60 * MINUTE).await.unwrap().unwrap() }
    });
    bench.send([NewMessage { scheduled_enqueue_time: Some(at), ..message("a") }]).await;
    bench.clock.advance(SECOND);
    assert_eq!(waiting.await.unwrap().delivery_count, 1);
    let waiting = tokio::spawn({
        let broker = bench.broker.clone();
        async move { broker.receive(QUEUE, 60 * MINUTE).await.unwrap().unwrap() }
    });
    bench.clock.advance(MINUTE);
    assert_eq!(waiting.await.unwrap().delivery_count, 2);

    let bench = Bench::new(sessions()).await;
    bench.send([of("x", "x1")]).await;
    let _held = bench.accept().await.unwrap();
    let waiting = tokio::spawn({
        let broker = bench.broker.clone();
        async move { broker.accept_session(QUEUE, 60 * MINUTE).await.unwrap().unwrap() }
    });
    bench.clock.advance(MINUTE);
    assert_eq!(waiting.await.unwrap().session_id(), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_receivers_get_each_message_once() {
    let bench = Bench::new(sessions()).await;
    let (sessions, each) = (40, 25);
    let receivers: Vec<_> = (0..16)
        .map(|_| {
            let broker = bench.broker.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let session = broker.accept_session(QUEUE, MINUTE).await.unwrap().unwrap();
                    if session.session_id() == "stop" {
                        return seen;
                    }
                    while let Some(locked) = broker.receive_in_session(&session, NOW).await.unwrap() {
                        seen.push((session.session_id().to_owned(), locked.sequence_number));
                        broker.complete(&locked.lock).await.unwrap();
                    }
                    broker.release_session(session).await.unwrap();
                }
            })
        })
        .collect();
    for round in 0..each {
        let batch = (0..sessions).map(|id| NewMessage {
            session_id: Some(format!("s{id}")),
            message_id: Some(format!("{id}-{round}")),
            ..NewMessage::default()
        });
        bench.send(batch).await;
    }
    while bench.broker.counts(QUEUE).await.unwrap().active > 0 {
        tokio::task::yield_now().await;
    }
    bench.send([of("stop", "stop")]).await;
    let mut seen = Vec::new();
    for receiver in receivers {
        // Dropping the session without receiving wakes the next receiver.
        seen.extend(receiver.await.unwrap());
    }
    seen.sort();
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (sessions * each, sessions * each));
}

#[tokio::test]
async fn a_receiver_that_goes_away_leaves_its_wake_up_to_others() {
    let bench = Bench::new(sessions()).await;
    let accept = |broker: Broker| tokio::spawn(async move { broker.accept_session(QUEUE, MINUTE).await });
    for _ in 0..50 {
        let (first, second) = (accept(bench.broker.clone()), accept(bench.broker.clone()));
        tokio::task::yield_now().await;
        bench.send([of("x", "x1")]).await;
        first.abort();
        // Even if the first had got the session already, dropping that freed it.
        drop(first.await);
        let session = second.await.unwrap().unwrap().unwrap();
        let locked = bench.next(&session).await.unwrap();
        bench.broker.complete(&locked.lock).await.unwrap();
        bench.broker.release_session(session).await.unwrap();
    }
}

#[tokio::test]
async fn a_failing_store_loses_nothing() {
    let bench = Bench::on_file(plain()).await;
    bench.send([message("a"), message("b")]).await;
    let a = bench.receive().await.unwrap();
    // A job that fails half-way takes everything of its transaction with it.
    let failed = bench
        .broker
        .run(|engine| {
            engine.send(QUEUE, vec![message("ghost")])?;
            Ok(engine.db().execute_batch("INSERT INTO nowhere VALUES (1)")?)
        })
        .await;
    assert!(matches!(failed, Err(BrokerError::Storage(_))));
    assert!(matches!(bench.broker.complete(&a.lock).await, Err(BrokerError::LockLost)), "locks are void");
    let (a, b) = (bench.receive().await.unwrap(), bench.receive().await.unwrap());
    assert_eq!((&a.body[..], a.delivery_count, &b.body[..]), (&b"a"[..], 2, &b"b"[..]));
    assert!(bench.receive().await.is_none());
    assert_eq!(bench.send([message("c")]).await, [3]);
}

/// Run with `cargo test -p skein-local --lib broker::tests::throughput -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::open(&folder.path().join("broker.db"), SystemClock::shared()).unwrap();
    broker.declare(QUEUE, sessions()).await.unwrap();
    for (sessions, each, receivers) in [(5000, 1, 64), (500, 20, 64), (64, 200, 64), (1, 2000, 1)] {
        let total = sessions * each;
        let start = std::time::Instant::now();
        let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let receivers: Vec<_> = (0..receivers)
            .map(|_| {
                let (broker, done) = (broker.clone(), done.clone());
                tokio::spawn(async move {
                    while let Some(session) = broker.accept_session(QUEUE, SECOND).await.unwrap() {
                        while let Some(locked) = broker.receive_in_session(&session, NOW).await.unwrap() {
                            broker.complete(&locked.lock).await.unwrap();
                            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                        broker.release_session(session).await.unwrap();
                    }
                })
            })
            .collect();
        let senders: Vec<_> = (0..16)
            .map(|sender| {
                let broker = broker.clone();
                tokio::spawn(async move {
                    for number in (sender..total).step_by(16) {
                        let message = NewMessage {
                            session_id: Some(format!("order:{}", number % sessions)),
                            body: vec![b'x'; 1000].into(),
                            ..NewMessage::default()
                        };
                        broker.send(QUEUE, vec![message]).await.unwrap();
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        let sent = start.elapsed();
        while done.load(std::sync::atomic::Ordering::Relaxed) < total {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let rate = total as f64 / start.elapsed().as_secs_f64();
        println!("{sessions} sessions x {each}: sent in {sent:?}, {rate:.0} messages/s through");
        for receiver in receivers {
            receiver.await.unwrap();
        }
    }
}

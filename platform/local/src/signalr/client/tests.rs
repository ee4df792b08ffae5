//! Connections one by one, on queues in memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::signalr::hub::Audience;

/// The service's end of a connection in memory, which holds so many frames that the client did not take yet.
struct Wire {
    from_client: mpsc::UnboundedReceiver<Frame>,
    to_client: mpsc::Sender<Frame>,
}

impl Stream for Wire {
    type Item = Result<Frame, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from_client.poll_next_unpin(cx).map(|frame| frame.map(Ok))
    }
}

impl Sink<Frame> for Wire {
    type Error = axum::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.to_client.poll_ready(cx).map_err(axum::Error::new)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), axum::Error> {
        self.to_client.start_send(frame).map_err(axum::Error::new)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.to_client.poll_flush_unpin(cx).map_err(axum::Error::new)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.to_client.poll_close_unpin(cx).map_err(axum::Error::new)
    }
}

/// Answers with what the target asks for, and tells what it was called for.
struct Echo(tokio::sync::mpsc::UnboundedSender<String>);

impl Upstream for Echo {
    fn call(&self, about: Arc<About>, event: Event) -> BoxFuture<'static, Answer> {
        let (told, answer): (String, Answer) = match event {
            Event::Connected => ("connected".into(), Ok(Bytes::new())),
            Event::Disconnected(error) => (format!("disconnected {error:?}"), Ok(Bytes::new())),
            Event::Invoked(call) => {
                let id = call.id.clone().unwrap_or_default();
                let answer = match call.target.as_str() {
                    "echo" => {
                        Ok(format!(r#"{{"type":3,"invocationId":"{id}","result":{}}}"#, call.arguments.get()).into())
                    }
                    "nothing" => Ok(Bytes::new()),
                    "wrong" => Ok(Bytes::from_static(b"{}")),
                    "never" => return Box::pin(std::future::pending()),
                    _ => Err("Invocation failed, status code 404".to_owned()),
                };
                (format!("{} of {}", call.target, about.user.as_deref().unwrap_or("nobody")), answer)
            }
        };
        let _ = self.0.send(told);
        Box::pin(async move { answer })
    }
}

struct Bench {
    hub: Arc<Hub>,
    to_service: mpsc::UnboundedSender<Frame>,
    from_service: mpsc::Receiver<Frame>,
    told: tokio::sync::mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Bench {
    /// A client that has not said anything.
    fn silent(capacity: usize, lifetime: Duration) -> Bench {
        let hub = Arc::new(Hub::default());
        let (to_service, from_client) = mpsc::unbounded();
        let (to_client, from_service) = mpsc::channel(capacity);
        let (telling, told) = tokio::sync::mpsc::unbounded_channel();
        let about =
            About { connection: "c".into(), hub: "orders".into(), user: Some("alice".into()), query: String::new() };
        let session = Session {
            hub: hub.clone(),
            about: Arc::new(about),
            upstream: Arc::new(Echo(telling)),
            expires: Instant::now() + lifetime,
        };
        let task = tokio::spawn(serve(Wire { from_client, to_client }, session));
        Bench { hub, to_service, from_service, told, task }
    }

    /// A client that is connected.
    async fn connected() -> Bench {
        let mut bench = Bench::silent(64, Duration::from_secs(3600));
        bench.say("{\"protocol\":\"json\",\"version\":1}\u{1e}");
        assert_eq!(bench.heard().await, "{}\u{1e}");
        assert_eq!(bench.told().await, "connected");
        bench
    }

    fn say(&self, text: &str) {
        self.to_service.unbounded_send(Frame::text(text.to_owned())).unwrap();
    }

    /// The next text that the client gets.
    async fn heard(&mut self) -> String {
        match self.from_service.next().await {
            Some(Frame::Text(text)) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    async fn told(&mut self) -> String {
        self.told.recv().await.unwrap()
    }

    /// That the connection ends now, and with what error.
    async fn ended(&mut self, error: Option<&str>) {
        assert_eq!(self.from_service.next().await, None);
        (&mut self.task).await.unwrap();
        assert_eq!(self.told().await, format!("disconnected {error:?}"));
        assert!(!self.hub.reaches(Audience::All));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_answered() {
    let mut bench = Bench::connected().await;
    // Two messages in one frame, and one in two.
    bench.say("{\"type\":6}\u{1e}{\"type\":1,\"target\":\"echo\",\"arguments\":[1.0],\"invocationId\":\"0\"}\u{1e}{\"type\":1,");
    assert_eq!(bench.heard().await, "{\"type\":3,\"invocationId\":\"0\",\"result\":[1.0]}\u{1e}");
    bench.say("\"target\":\"nothing\",\"arguments\":[],\"invocationId\":\"1\"}\u{1e}");
    assert_eq!(bench.heard().await, "{\"invocationId\":\"1\",\"type\":3}\u{1e}");
    for (target, error) in [
        ("wrong", "Invocation failed, the answer is no completion: missing field `type` at line 1 column 2"),
        ("unknown", "Invocation failed, status code 404"),
    ] {
        bench.say(&format!("{{\"type\":1,\"target\":\"{target}\",\"arguments\":[],\"invocationId\":\"2\"}}\u{1e}"));
        assert_eq!(bench.heard().await, format!("{{\"error\":\"{error}\",\"invocationId\":\"2\",\"type\":3}}\u{1e}"));
    }
    bench.say("{\"type\":4,\"target\":\"stream\",\"arguments\":[],\"invocationId\":\"3\"}\u{1e}");
    assert!(bench.heard().await.contains("streams need a server"));
    // Without an id nobody waits for an answer.
    bench.say("{\"type\":1,\"target\":\"unknown\",\"arguments\":[]}\u{1e}");
    bench.say("{\"type\":7}\u{1e}");
    for told in ["echo", "nothing", "wrong", "unknown", "unknown"] {
        assert_eq!(bench.told().await, format!("{told} of alice"));
    }
    bench.ended(None).await;
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_are_bounded() {
    let mut bench = Bench::connected().await;
    for n in 0..=MAX_CALLS {
        bench.say(&format!("{{\"type\":1,\"target\":\"never\",\"arguments\":[],\"invocationId\":\"{n}\"}}\u{1e}"));
    }
    let refused = bench.heard().await;
    assert!(refused.contains("under way already") && refused.contains(&format!("\"{MAX_CALLS}\"")), "{refused}");
    bench.to_service.close_channel();
    bench.ended(None).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_speak_the_protocol_is_let_go() {
    for (first, error) in [
        ("{\"protocol\":\"messagepack\",\"version\":1}\u{1e}", "\\\"messagepack\\\" is not supported"),
        ("hello\u{1e}", "the handshake is not understood"),
    ] {
        let mut bench = Bench::silent(8, Duration::from_secs(3600));
        bench.say(first);
        let heard = bench.heard().await;
        assert!(heard.starts_with("{\"error\":\"") && heard.contains(error), "{heard}");
        assert_eq!(bench.from_service.next().await, None);
    }
    // Nothing said in time.
    let mut bench = Bench::silent(8, Duration::from_secs(3600));
    let begun = Instant::now();
    assert_eq!(bench.from_service.next().await, None);
    assert_eq!(begun.elapsed(), HANDSHAKE);

    let too_long = format!("{{\"type\":1,\"target\":\"{}", "x".repeat(MAX_MESSAGE));
    for (said, error) in [
        ("{\"type\":1}\u{1e}", "an invocation has no target"),
        (too_long.as_str(), "a message has more than 1048576 bytes"),
    ] {
        let mut bench = Bench::connected().await;
        bench.say(said);
        assert_eq!(bench.heard().await, format!("{{\"error\":\"{error}\",\"type\":7}}\u{1e}"));
        bench.ended(Some(error)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_are_given_and_expected() {
    let mut bench = Bench::connected().await;
    let begun = Instant::now();
    for n in 1..=4 {
        assert_eq!(bench.heard().await, "{\"type\":6}\u{1e}");
        assert_eq!(begun.elapsed(), n * PING);
        bench.say("{\"type\":6}\u{1e}");
    }
    assert_eq!(bench.heard().await, "{\"type\":6}\u{1e}");
    let mut last = bench.heard().await;
    if last == "{\"type\":6}\u{1e}" {
        last = bench.heard().await;
    }
    assert_eq!(last, "{\"allowReconnect\":true,\"error\":\"the client was silent for 30s\",\"type\":7}\u{1e}");
    assert_eq!(begun.elapsed(), 4 * PING + SILENCE);
    bench.ended(Some("the client was silent for 30s")).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_token_or_when_somebody_says_so() {
    let mut bench = Bench::silent(64, Duration::from_secs(10));
    bench.say("{\"protocol\":\"json\",\"version\":1}\u{1e}");
    assert_eq!(bench.heard().await, "{}\u{1e}");
    assert_eq!(bench.told().await, "connected");
    let begun = Instant::now();
    let expired = "the access token has expired";
    assert_eq!(bench.heard().await, format!("{{\"allowReconnect\":true,\"error\":\"{expired}\",\"type\":7}}\u{1e}"));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    bench.ended(Some(expired)).await;

    let mut bench = Bench::connected().await;
    bench.hub.close(Audience::User("alice"), &[], &Ending::Closed(Some("enough".into())));
    assert_eq!(bench.heard().await, "{\"allowReconnect\":true,\"error\":\"enough\",\"type\":7}\u{1e}");
    bench.ended(Some("enough")).await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_group_come_in_order_and_a_slow_client_is_let_go() {
    let mut bench = Bench::connected().await;
    bench.hub.join_user("g", "alice", None);
    let send =
        |hub: &Hub, n: usize| hub.send(Audience::Group("g"), &[], &protocol::invocation("next", &format!("[{n}]")));
    for n in 0..500 {
        send(&bench.hub, n);
    }
    for n in 0..500 {
        assert_eq!(bench.heard().await, format!("{{\"type\":1,\"target\":\"next\",\"arguments\":[{n}]}}\u{1e}"));
    }
    // Now it takes nothing more.
    let mut n = 0;
    while bench.hub.reaches(Audience::All) {
        send(&bench.hub, n);
        n += 1;
        tokio::task::yield_now().await;
        assert!(n < 10_000, "it is let go at some time");
    }
    assert_eq!(bench.told().await, "disconnected Some(\"the client takes its messages too slowly\")");
}

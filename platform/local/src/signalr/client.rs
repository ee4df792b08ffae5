//! One client's connection, from the handshake to its end.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message as Frame, Utf8Bytes};
use futures::future::BoxFuture;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at};

use super::hub::{Ending, Hub, Inlet, Outlet, queue};
use super::protocol::{self, Invocation, Message, SEPARATOR};

/// How long a client may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How often a sign of life is sent.
const PING: Duration = Duration::from_secs(15);
/// How long a client may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the last message may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// The most bytes of one message of a client.
pub(super) const MAX_MESSAGE: usize = 1024 * 1024;
/// The most calls of one client that are under way.
const MAX_CALLS: usize = 64;

/// What an upstream is told of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) connection: String,
    pub(super) hub: String,
    pub(super) user: Option<String>,
    /// The client's query, without secrets.
    pub(super) query: String,
}

/// What an upstream is called for.
#[derive(Debug)]
pub(super) enum Event {
    Connected,
    Disconnected(Option<String>),
    Invoked(Invocation),
}

/// What an upstream answered: the bytes of a completion, or none.
pub(super) type Answer = Result<Bytes, String>;

/// Calls an upstream.
pub(super) trait Upstream: Send + Sync {
    /// Calls it; the error is for the client.
    fn call(&self, about: Arc<About>, event: Event) -> BoxFuture<'static, Answer>;
}

/// A connection that begins.
pub(super) struct Session {
    pub(super) hub: Arc<Hub>,
    pub(super) about: Arc<About>,
    pub(super) upstream: Arc<dyn Upstream>,
    /// When the client's token ends.
    pub(super) expires: Instant,
}

/// How a connection ends.
#[derive(Debug, PartialEq)]
enum End {
    /// The client left, or its connection broke.
    Gone,
    /// The client broke the protocol.
    Broken(String),
    Silent,
    Expired,
    Ending(Ending),
}

impl End {
    fn error(&self) -> Option<String> {
        match self {
            End::Gone | End::Ending(Ending::Closed(None)) => None,
            End::Broken(why) | End::Ending(Ending::Closed(Some(why))) => Some(why.clone()),
            End::Silent => Some(format!("the client was silent for {SILENCE:?}")),
            End::Expired => Some("the access token has expired".to_owned()),
            End::Ending(Ending::Overflow) => Some("the client takes its messages too slowly".to_owned()),
            End::Ending(Ending::Stopped) => Some("the service is stopping".to_owned()),
        }
    }
}

/// Serves a client until its connection ends.
pub(super) async fn serve<S>(socket: S, session: Session)
where
    S: Stream<Item = Result<Frame, axum::Error>> + Sink<Frame, Error = axum::Error> + Send,
{
    let (mut sink, stream) = socket.split();
    let mut frames = Frames { stream, buffer: Vec::new() };
    let first = match timeout(HANDSHAKE, frames.next()).await {
        Ok(Ok(first)) => first,
        Ok(Err(_)) | Err(_) => return,
    };
    let shaken = protocol::handshake(&first);
    let answer = Frame::Text(protocol::handshaken(&shaken));
    if !matches!(timeout(FAREWELL, sink.send(answer)).await, Ok(Ok(()))) || shaken.is_err() {
        let _ = timeout(FAREWELL, sink.close()).await;
        return;
    }

    let Session { hub, about, upstream, expires } = session;
    let (outlet, mut inlet) = queue();
    hub.connect(&about.connection, about.user.as_deref(), outlet.clone());
    let _here = Here { hub: hub.clone(), about: about.clone() };
    tokio::spawn(upstream.call(about.clone(), Event::Connected));
    let calls =
        Calls { about: about.clone(), upstream: upstream.clone(), outlet, slots: Arc::new(Semaphore::new(MAX_CALLS)) };
    let mut ended = inlet.ending.clone();
    let end = tokio::select! {
        biased;
        ending = ended.wait_for(Option::is_some) => match ending.ok().and_then(|ending| ending.clone()) {
            Some(ending) => End::Ending(ending),
            None => End::Gone,
        },
        () = sleep_until(expires) => End::Expired,
        end = read(&mut frames, &calls) => end,
        () = write(&mut sink, &mut inlet) => End::Gone,
    };
    hub.disconnect(&about.connection);
    let error = end.error();
    if end != End::Gone {
        // Whoever broke the protocol would do so again.
        let again = !matches!(end, End::Broken(_));
        let farewell = Frame::Text(protocol::close(error.as_deref(), again));
        let _ = timeout(FAREWELL, sink.send(farewell)).await;
    }
    let _ = timeout(FAREWELL, sink.close()).await;
    tokio::spawn(upstream.call(about, Event::Disconnected(error)));
}

/// Takes a connection out of its hub, also where its task is dropped.
struct Here {
    hub: Arc<Hub>,
    about: Arc<About>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.hub.disconnect(&self.about.connection);
    }
}

/// The messages of a client, however they come in frames.
struct Frames<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Stream<Item = Result<Frame, axum::Error>> + Unpin> Frames<S> {
    /// The next message, without its separator. Cancelling it loses nothing.
    async fn next(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == SEPARATOR) {
                let rest = self.buffer.split_off(end + 1);
                let mut message = std::mem::replace(&mut self.buffer, rest);
                message.pop();
                return Ok(message);
            }
            if self.buffer.len() > MAX_MESSAGE {
                return Err(End::Broken(format!("a message has more than {MAX_MESSAGE} bytes")));
            }
            match self.stream.next().await {
                Some(Ok(Frame::Text(text))) => self.buffer.extend_from_slice(text.as_bytes()),
                Some(Ok(Frame::Binary(bytes))) => self.buffer.extend_from_slice(&bytes),
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return Err(End::Gone),
            }
        }
    }
}

async fn read<S>(frames: &mut Frames<S>, calls: &Calls) -> End
where
    S: Stream<Item = Result<Frame, axum::Error>> + Unpin,
{
    loop {
        let message = match timeout_at(Instant::now() + SILENCE, frames.next()).await {
            Err(_) => return End::Silent,
            Ok(Err(end)) => return end,
            Ok(Ok(message)) => message,
        };
        match protocol::read(&message) {
            Err(why) => return End::Broken(why),
            Ok(Message::Close) => return End::Gone,
            Ok(Message::Other) => {}
            Ok(Message::Unsupported(id)) => calls.refuse(id.as_deref(), "streams need a server, and there is none"),
            Ok(Message::Invocation(invocation)) => calls.begin(invocation),
        }
    }
}

async fn write<S>(sink: &mut S, inlet: &mut Inlet)
where
    S: Sink<Frame, Error = axum::Error> + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING, PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut size = 0;
        let written = tokio::select! {
            _ = pings.tick() => sink.feed(Frame::Text(protocol::ping())).await,
            message = inlet.queue.recv() => {
                let Some(message) = message else { return };
                size = message.len();
                sink.feed(Frame::Text(message)).await
            }
        };
        if written.is_err() {
            return;
        }
        // What waits already goes along.
        while let Ok(message) = inlet.queue.try_recv() {
            size += message.len();
            if sink.feed(Frame::Text(message)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
        inlet.gone(size);
    }
}

/// The calls of one client.
struct Calls {
    about: Arc<About>,
    upstream: Arc<dyn Upstream>,
    outlet: Outlet,
    slots: Arc<Semaphore>,
}

impl Calls {
    fn refuse(&self, id: Option<&str>, why: &str) {
        if let Some(id) = id {
            self.outlet.send(protocol::completion(id, Some(why)));
        }
    }

    /// Passes a call on. The answers come in any order.
    fn begin(&self, invocation: Invocation) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            let why = format!("{MAX_CALLS} calls are under way already");
            return self.refuse(invocation.id.as_deref(), &why);
        };
        let (id, outlet) = (invocation.id.clone(), self.outlet.clone());
        let call = self.upstream.call(self.about.clone(), Event::Invoked(invocation));
        tokio::spawn(async move {
            let answer = call.await;
            drop(slot);
            if let Some(id) = id {
                outlet.send(completed(&id, answer));
            }
        });
    }
}

/// What a client is told at the end of its call.
fn completed(id: &str, answer: Answer) -> Utf8Bytes {
    match answer {
        Err(why) => protocol::completion(id, Some(&why)),
        Ok(body) if body.is_empty() => protocol::completion(id, None),
        Ok(body) => protocol::completion_of(id, body).unwrap_or_else(|why| {
            protocol::completion(id, Some(&format!("Invocation failed, the answer is no completion: {why}")))
        }),
    }
}

#[cfg(test)]
mod tests;

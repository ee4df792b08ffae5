//! Republication: system commands on a service's own command queue that send stored integration events again, byte for
//! byte. To the topic, they heal gaps; to a consumer's rebuild queue, they are the history of a new view.
//!
//! A system command writes no outcome and changes no state. Whatever breaks off is done again from its beginning:
//! receivers discard what they have seen.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::aggregate::Command;
use crate::cloud_event::MAX_EVENT_BYTES;
use crate::envelope::{Envelope, Trace};
use crate::fault::Fault;
use crate::handler::{Engine, Receipt};
use crate::id::{AggregateId, CommandId, Principal, derive};
use crate::ports::{Message, rebuild_queue};
use crate::store::{Place, Tip};

/// What every system command's type begins with. No domain's command may.
pub const SYSTEM_PREFIX: &str = "skein.";
/// How many aggregates one slice of a category covers.
pub const SLICE: u32 = 100;
/// How many aggregates of a slice are read at once.
const READS: usize = 8;
/// The most bytes of events in one message of a rebuild queue, unless one event alone has more.
const MAX_EVENTS_BYTES: usize = 96 * 1024;
/// How many slices an instance remembers as done.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Sends an aggregate's integration events again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Republish {
    /// The first sequence to send, from 1.
    pub from: u64,
    /// The rebuild that asks; absent, the events go to the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RebuildOf>,
    /// Whether the asker looks again by itself: then it is not tried again while queue or topic are away. It would hold
    /// up the aggregate's own commands.
    #[serde(default)]
    pub once: bool,
}

impl Command for Republish {
    const TYPE: &'static str = "skein.Republish";
}

/// Sends the integration events of a slice of a category to a rebuild, and queues the next slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepublishCategory {
    /// The rebuild that asks.
    pub to: RebuildOf,
    /// Where the slice begins.
    pub from: Place,
    /// Tells the chain of slices that were asked for together from another one.
    pub chain: u64,
}

impl Command for RepublishCategory {
    const TYPE: &'static str = "skein.RepublishCategory";
}

/// A rebuild, as its messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RebuildOf {
    /// The service that owns the view.
    pub service: String,
    /// The view's name.
    pub view: String,
    /// The rebuild's id.
    pub id: String,
}

/// A message of a rebuild queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RebuildMessage {
    /// An operator's: begin.
    Start(Start),
    /// A source's: stored events, each aggregate's in order.
    Events(Events),
    /// A source's: what the cursors have to show once the events of a slice were taken.
    Slice(Slice),
    /// The rebuild's own: look how far it has come, and go on.
    Tick(Tick),
}

/// Begins the rebuild of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The view's name.
    pub view: String,
    /// The rebuild's id, chosen by whoever begins it: the same id is the same rebuild.
    pub id: String,
    /// When it was to be received, in seconds since 1970; 0 for at once.
    #[serde(default)]
    pub due: i64,
}

/// Stored events.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// The rebuild that asked.
    pub of: RebuildOf,
    /// The CloudEvents as they were published.
    pub events: Vec<Box<RawValue>>,
}

/// The marks of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice {
    /// The rebuild that asked.
    pub of: RebuildOf,
    /// The category.
    pub category: String,
    /// Where the slice began.
    pub from: Place,
    /// Where it ended.
    pub through: Place,
    /// Whether it was the category's last one.
    pub last: bool,
    /// Each aggregate that has published, with the last event it stands at.
    pub marks: Vec<Mark>,
    /// How often the cursors were found to be behind the marks.
    #[serde(default)]
    pub attempt: u32,
    /// When they were first, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_since: Option<i64>,
    /// When it was to be received, in seconds since 1970; 0 for at once.
    #[serde(default)]
    pub due: i64,
}

/// Where an aggregate's integration events end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The aggregate.
    #[serde(rename = "a")]
    pub aggregate: AggregateId,
    /// The epoch of its last integration event.
    #[serde(rename = "e", default)]
    pub epoch: u32,
    /// The sequence of its last integration event.
    #[serde(rename = "s")]
    pub sequence: u64,
}

/// A rebuild's look at itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The view's name.
    pub view: String,
    /// The rebuild's id.
    pub id: String,
    /// The how manyth it is: of two with one number, the second does nothing.
    pub number: u64,
    /// When it was to be received, in seconds since 1970; 0 for at once.
    #[serde(default)]
    pub due: i64,
}

impl RebuildMessage {
    /// Reads a message's body.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_json(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The message for the queue.
    ///
    /// # Errors
    /// What has no JSON; nothing in this module.
    pub fn to_message(&self, id: String) -> Result<Message, serde_json::Error> {
        let body = Bytes::from(serde_json::to_vec(self)?);
        Ok(Message { id, session: String::new(), not_before: None, traceparent: None, body })
    }
}

/// The message that asks a service to republish an aggregate.
///
/// # Errors
/// Never but for ids that are too long.
pub fn republish(id: &str, aggregate: AggregateId, command: &Republish, by: &str) -> Result<Message, Fault> {
    system(id, aggregate, command, by)
}

/// The message that asks a service to republish a category, from the place on.
///
/// # Errors
/// A category that is none.
pub fn republish_category(category: &str, command: &RepublishCategory, by: &str) -> Result<Message, Fault> {
    let RepublishCategory { to, from, chain } = command;
    let (shard, chain) = (from.shard.to_string(), chain.to_string());
    let id = derive(&["slice", &to.service, &to.id, category, &chain, &shard, &from.after]).to_string();
    // The chain has a session of its own, beside those of the aggregates.
    let session = format!("*{}", derive(&["chain", &to.service, &to.id, category]).simple());
    let aggregate = AggregateId::new(category, &session).map_err(|error| Fault::permanent("BAD_CATEGORY", error))?;
    system(&id, aggregate, command, by)
}

fn system<C: Command>(id: &str, aggregate: AggregateId, command: &C, by: &str) -> Result<Message, Fault> {
    let refused = |error: &dyn std::fmt::Display| Fault::permanent("MALFORMED_COMMAND", error);
    let trace = Trace { correlation_id: id.to_owned(), causation_id: None, traceparent: None };
    let id = CommandId::new(id).map_err(|error| refused(&error))?;
    // Two messages of one id are equal: the time they were sent says nothing.
    let time = time::OffsetDateTime::UNIX_EPOCH;
    Envelope::wrap(command, id, aggregate, Principal::service(by), trace, time)
        .and_then(|envelope| envelope.to_message())
        .map_err(|error| refused(&error))
}

/// Slices that this instance has done. A crash between queueing the next slice and settling repeats a slice and so the
/// rest of the chain; the repetitions follow each other on one session, and end here.
pub(crate) struct Done(Mutex<LruCache<CommandId, ()>>);

impl Default for Done {
    fn default() -> Self {
        Done(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Done {
    fn has(&self, id: &CommandId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn put(&self, id: CommandId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(id, ());
    }
}

/// Executes a system command.
pub(crate) async fn execute(engine: &Engine, done: &Done, envelope: &Envelope) -> Result<Receipt, Fault> {
    let events = match envelope.name.as_str() {
        Republish::TYPE if envelope.version == Republish::VERSION => aggregate(engine, envelope).await?,
        RepublishCategory::TYPE if envelope.version == RepublishCategory::VERSION => {
            category(engine, done, envelope).await?
        }
        name => {
            let text = format!("no handler for the system command {name:?}, version {}", envelope.version);
            return Err(Fault::transient("COMMAND_UNKNOWN", text));
        }
    };
    Ok(Receipt::Republished { command: envelope.id.clone(), events })
}

fn payload<C: Command>(envelope: &Envelope) -> Result<C, Fault> {
    serde_json::from_str(envelope.payload.get()).map_err(|error| {
        Fault::permanent("MALFORMED_COMMAND", format!("the payload of {} {}: {error}", envelope.name, envelope.id))
    })
}

/// Sends one aggregate's events again.
async fn aggregate(engine: &Engine, envelope: &Envelope) -> Result<u64, Fault> {
    let command: Republish = payload(envelope)?;
    match send_aggregate(engine, envelope, &command).await {
        Err(fault) if fault.is_transient() && command.once => {
            tracing::warn!(code = fault.code, message = %fault.message, aggregate = %envelope.aggregate, "not republished");
            Ok(0)
        }
        sent => sent,
    }
}

async fn send_aggregate(engine: &Engine, envelope: &Envelope, command: &Republish) -> Result<u64, Fault> {
    let Republish { from, to, .. } = command;
    let mut history = engine.store.history(&envelope.aggregate, *from).await?;
    let mut sent = 0;
    while let Some(events) = history.next().await? {
        sent += events.len() as u64;
        engine.erase(&history.take_erasures()).await?;
        match to {
            None => engine.bus.publish(&events).await?,
            Some(to) => {
                let messages = pack(to, &envelope.id, &events)?;
                engine.queue.send(&rebuild_queue(&to.service), &messages).await?;
            }
        }
    }
    Ok(sent)
}

/// Sends the events of a slice, then its marks, then queues the next one.
async fn category(engine: &Engine, done: &Done, envelope: &Envelope) -> Result<u64, Fault> {
    if done.has(&envelope.id) {
        return Ok(0);
    }
    let RepublishCategory { to, from, chain } = payload(envelope)?;
    let category = envelope.aggregate.category();
    let slice = engine.store.aggregates(category, &from, SLICE).await?;
    let queue = rebuild_queue(&to.service);
    let sent: Vec<Sent> = futures::stream::iter(slice.found)
        .map(|(id, tip)| send_history(engine, envelope, &to, &queue, id, tip))
        .buffered(READS)
        .try_collect()
        .await?;
    let events = sent.iter().map(|sent| sent.events).sum();
    let held: Vec<Bytes> = sent.iter().flat_map(|sent| sent.held.iter().cloned()).collect();
    if !held.is_empty() {
        engine.queue.send(&queue, &pack(&to, &envelope.id, &held)?).await?;
    }
    let marks = sent.into_iter().filter_map(|sent| sent.mark).collect();
    let (last, through) = (slice.last, slice.through);
    let marks = Slice {
        of: to.clone(),
        category: category.to_owned(),
        from,
        through: through.clone(),
        last,
        marks,
        attempt: 0,
        short_since: None,
        due: 0,
    };
    let id = format!("{}:marks", envelope.id);
    let message = RebuildMessage::Slice(marks).to_message(id).map_err(encoding)?;
    engine.queue.send(&queue, &[message]).await?;
    if !last {
        let next = RepublishCategory { to, from: through, chain };
        let message = republish_category(category, &next, &engine.service)?;
        engine.queue.send(&engine.service, &[message]).await?;
    }
    done.put(envelope.id.clone());
    Ok(events)
}

/// What became of one aggregate of a slice.
struct Sent {
    mark: Option<Mark>,
    /// How many events it has.
    events: u64,
    /// A short history, not sent yet: many of them fit one message.
    held: Vec<Bytes>,
}

/// Sends what one aggregate of a slice has published. What cannot be read does not hold up the others: its mark says
/// where it should end, and the rebuild will miss that.
async fn send_history(
    engine: &Engine,
    envelope: &Envelope,
    to: &RebuildOf,
    queue: &str,
    id: AggregateId,
    tip: Tip,
) -> Result<Sent, Fault> {
    let mut history = engine.store.history_up_to(&id, 1, Some(tip));
    let (mut events, mut held, mut readable) = (0, Vec::new(), true);
    loop {
        match history.next().await {
            Ok(Some(read)) => {
                events += read.len() as u64;
                engine.erase(&history.take_erasures()).await?;
                let earlier = std::mem::replace(&mut held, read);
                if !earlier.is_empty() {
                    engine.queue.send(queue, &pack(to, &envelope.id, &earlier)?).await?;
                }
            }
            Ok(None) => break,
            Err(fault) if fault.is_transient() => return Err(fault),
            Err(fault) => {
                tracing::error!(code = fault.code, message = %fault.message, aggregate = %id, "history not readable");
                readable = false;
                break;
            }
        }
    }
    let mark = history.mark().map(|(epoch, sequence)| {
        // The epoch of an event that cannot be read is unknown: no cursor may seem to have come up to it.
        let epoch = if readable { epoch } else { u32::MAX };
        Mark { aggregate: id.clone(), epoch, sequence }
    });
    Ok(Sent { mark, events, held })
}

/// Packs events into messages, in order, byte for byte.
fn pack(to: &RebuildOf, cause: &CommandId, events: &[Bytes]) -> Result<Vec<Message>, Fault> {
    const { assert!(MAX_EVENTS_BYTES < MAX_EVENT_BYTES) };
    let mut messages = Vec::new();
    let mut pending: Vec<Box<RawValue>> = Vec::new();
    let mut bytes = 0;
    let mut flush = |pending: &mut Vec<Box<RawValue>>| -> Result<(), Fault> {
        if pending.is_empty() {
            return Ok(());
        }
        let first = pending.first().map_or("", |event| event.get());
        let id = derive(&["events", cause.as_str(), first]).to_string();
        let events = Events { of: to.clone(), events: std::mem::take(pending) };
        messages.push(RebuildMessage::Events(events).to_message(id).map_err(encoding)?);
        Ok(())
    };
    for event in events {
        if bytes + event.len() > MAX_EVENTS_BYTES {
            flush(&mut pending)?;
            bytes = 0;
        }
        bytes += event.len();
        pending.push(serde_json::from_slice(event).map_err(encoding)?);
    }
    flush(&mut pending)?;
    Ok(messages)
}

fn encoding(error: serde_json::Error) -> Fault {
    Fault::permanent("ENCODING", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of() -> RebuildOf {
        RebuildOf { service: "desk".into(), view: "tickets".into(), id: "r1".into() }
    }

    #[test]
    fn events_stay_as_they_are() {
        let large = Bytes::from(format!("{{\"x\":\"{}\"}}", "y".repeat(MAX_EVENTS_BYTES)));
        let events = [Bytes::from_static(b"{ \"a\" :1.0 }"), Bytes::from_static(b"{\"b\":2}"), large];
        let cause = CommandId::new("c").unwrap();
        let messages = pack(&of(), &cause, &events).unwrap();
        assert_eq!(messages.len(), 2);
        let mut read = Vec::new();
        for message in &messages {
            let RebuildMessage::Events(events) = RebuildMessage::from_json(&message.body).unwrap() else { panic!() };
            assert_eq!(events.of, of());
            read.extend(events.events.iter().map(|event| Bytes::copy_from_slice(event.get().as_bytes())));
        }
        assert_eq!(read, events);
        assert_eq!(pack(&of(), &cause, &events).unwrap(), messages, "the same ids each time");
    }

    #[test]
    fn a_slice_is_one_message_whoever_asks() {
        let place = Place { shard: 1, after: "ticket:7".into() };
        let command = RepublishCategory { to: of(), from: place, chain: 0 };
        let message = republish_category("ticket", &command, "desk").unwrap();
        assert_eq!(message, republish_category("ticket", &command, "desk").unwrap());
        let next = RepublishCategory { chain: 1, ..command };
        assert_ne!(message.id, republish_category("ticket", &next, "desk").unwrap().id);
        assert!(message.session.starts_with("ticket:*"), "{}", message.session);
    }
}

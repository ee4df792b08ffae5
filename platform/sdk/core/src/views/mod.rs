//! Views: the engine that folds integration events into the query store, and the reader of what it wrote.
//!
//! Events arrive at least once and in no order. For each consumer and source aggregate there is a cursor: an event
//! that was seen is settled, an early one is parked beside the cursor, the next one is applied. So a view equals the
//! fold of its events, whatever the delivery did.
//!
//! A view may have several generations beside each other: a rebuild makes a new one, fed with live events and with
//! history that its sources publish again, and then the new one is read.
//!
//! Keys in a view's table; `g` is the generation:
//!
//! | partition | row | holds |
//! |---|---|---|
//! | `g~{partition}` | `D~{row}` | a row of the view |
//! | `g~{partition}` | `S~{source}` | epoch and sequence of the last event applied here |
//! | `g!{source}` | `S~{source}` | the cursor of a view with many sources, or of a reaction |
//! | as the cursor | `P~{source}~{sequence}` | a parked event |

mod consumer;
mod cursor;
mod gaps;
mod generation;
mod live;
mod reader;
mod rebuild;
mod top;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

pub use generation::{
    GENERATIONS_TABLE, Generation, Phase, Rebuild, RebuildFailure, SourceProgress, ViewState, find_state, is_same_view,
    read_state,
};
pub use live::{
    Change, ChangedRow, KEPT, Push, RESUME, SUBSCRIPTIONS_TABLE, Start, Topic, WatchError, Watcher, Watches,
};
pub use reader::{Listing, ViewReader};

use crate::cloud_event::CloudEvent;
use crate::delivery::Delivery;
use crate::fault::Fault;
use crate::id::encode_key;
use crate::ports::{Clock, CommandQueue, TableStore};
use crate::projection::{Projection, Source, TopList};
use crate::reaction::Reaction;
use crate::table::{Row, StoredRow};
use consumer::{Consume, ProjectionConsumer, ReactionConsumer};
use gaps::GapCheck;
use top::TopConsumer;

/// The table of the reactions' cursors.
pub const REACTIONS_TABLE: &str = "reactions";
/// How often a change is tried again after a conflict before the message goes back to the queue.
const MAX_CONFLICTS: u32 = 20;
/// The property that holds a row's JSON.
const DOCUMENT: &str = "Doc";

fn document_key(row: &str) -> String {
    format!("D~{}", encode_key(row))
}

fn source_key(source: &str) -> String {
    format!("S~{source}")
}

/// A stored row's JSON.
fn read_document<T: serde::de::DeserializeOwned>(table: &str, row: &StoredRow) -> Result<T, Fault> {
    let unreadable = |what: String| {
        let text = format!("row {:?} of table {table:?}: {what}; rebuild the view", row.key);
        Fault::permanent("VIEW_ROW_UNREADABLE", text)
    };
    let json = crate::store::get_text(row, DOCUMENT).map_err(unreadable)?.unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| unreadable(error.to_string()))
}

fn write_document(row: &mut Row, document: &impl serde::Serialize) -> Result<String, Fault> {
    let json = serde_json::to_string(document).map_err(|error| Fault::permanent("VIEW_ENCODING", error))?;
    crate::store::put_text(row, DOCUMENT, &json);
    Ok(json)
}

/// What all consumers of a service share.
pub(crate) struct Shared {
    service: String,
    store: Arc<dyn TableStore>,
    queue: Arc<dyn CommandQueue>,
    clock: Arc<dyn Clock>,
    /// The service that publishes each category.
    sources: BTreeMap<String, String>,
    /// Tells those who watch; absent where nobody can.
    push: Option<Arc<dyn Push>>,
}

/// After a conflict somebody else was at the same rows: give way, longer each time.
async fn give_way(clock: &dyn Clock, conflict: u32) {
    clock.sleep(Duration::from_millis(u64::from(conflict.min(10)) * 3)).await;
}

/// The handler of a service's events queue and rebuild queue: feeds its projections, top lists and reactions.
pub struct ViewsHandler {
    shared: Shared,
    consumers: Vec<Box<dyn Consume>>,
}

/// The longest wait for a message that came before its time.
const EARLY: Duration = Duration::from_secs(60);

impl Shared {
    /// Waits where a message that was to be received later, at `due` in seconds since 1970, came before its time: the
    /// clock that it was sent by was behind the broker's. Without a wait, such messages would follow each other as fast
    /// as they are handled.
    async fn wait_until(&self, due: i64) {
        let early = due - self.clock.now().unix_timestamp();
        if let Ok(early @ 1..) = u64::try_from(early) {
            self.clock.sleep(Duration::from_secs(early).min(EARLY)).await;
        }
    }
}

impl ViewsHandler {
    /// A handler without consumers.
    pub fn new(service: &str, store: Arc<dyn TableStore>, queue: Arc<dyn CommandQueue>, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared { service: service.to_owned(), store, queue, clock, sources: BTreeMap::new(), push: None };
        ViewsHandler { shared, consumers: Vec::new() }
    }

    /// Tells which service publishes each category: whom a rebuild asks for history. The handler's queue has to know
    /// their command queues, and the service's own events and rebuild queue.
    #[must_use]
    pub fn sources(mut self, sources: BTreeMap<String, String>) -> Self {
        self.shared.sources = sources;
        self
    }

    /// Tells those who watch live views of each change.
    #[must_use]
    pub fn push(mut self, push: Arc<dyn Push>) -> Self {
        self.shared.push = Some(push);
        self
    }

    /// Feeds a projection.
    #[must_use]
    pub fn project<P: Projection>(self) -> Self {
        self.consumer(Box::new(ProjectionConsumer::<P>::new()))
    }

    /// Feeds a top list.
    #[must_use]
    pub fn top_list<T: TopList>(self) -> Self {
        self.consumer(Box::new(TopConsumer::<T>::new()))
    }

    /// Feeds a reaction.
    #[must_use]
    pub fn react<R: Reaction>(self) -> Self {
        self.consumer(Box::new(ReactionConsumer::<R>::new()))
    }

    fn consumer(mut self, consumer: Box<dyn Consume>) -> Self {
        let name = consumer.name();
        assert!(self.consumers.iter().all(|other| other.name() != name), "the consumer {name:?} is registered twice");
        self.consumers.push(consumer);
        self
    }

    /// The categories that the consumers read: what the subscription has to deliver.
    pub fn categories(&self) -> Vec<&'static str> {
        let mut all: Vec<&str> = self.consumers.iter().flat_map(|consumer| consumer.categories()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Handles one message of the events queue: one CloudEvent, or a check for a gap. After `Ok` it may be settled.
    ///
    /// # Errors
    /// What kept a consumer from taking the event. The others have taken it, and skip it when it comes again.
    pub async fn receive(&self, body: &[u8], delivery: &Delivery) -> Result<(), Fault> {
        let shared = &self.shared;
        crate::delivery::run("events", delivery, &*shared.store, &*shared.clock, |_| async move {
            let event = match CloudEvent::from_json(body) {
                Ok(event) => event,
                Err(error) => match GapCheck::from_json(body) {
                    Some(check) => return self.check_gap(check).await,
                    None => return Err(Fault::permanent("MALFORMED_EVENT", error)),
                },
            };
            // A failure signal has no sequence: it changes no view.
            let Some(sequence) = event.sequence() else { return Ok(()) };
            let source = Source { aggregate: event.subject.clone(), epoch: event.epoch, sequence, time: event.time };
            let interested =
                self.consumers.iter().filter(|consumer| consumer.categories().contains(&source.aggregate.category()));
            let taken = join_all(interested.map(|consumer| consumer.consume(shared, &event, &source, body))).await;
            // The worst fault decides: one that may pass is waited for, even if another never will.
            let mut faults: Vec<Fault> = taken.into_iter().filter_map(Result::err).collect();
            faults.sort_by_key(|fault| !fault.is_transient());
            faults.into_iter().next().map_or(Ok(()), Err)
        })
        .await
    }
}

//! Views: the engine that folds integration events into the query store, and the reader of what it wrote.
//!
//! Events arrive at least once and in no order. For each consumer and source aggregate there is a cursor: an event
//! that was seen is settled, an early one is parked beside the cursor, the next one is applied. So a view equals the
//! fold of its events, whatever the delivery did.
//!
//! Keys in a view's table; `g` is the view's generation, which a rebuild raises:
//!
//! | partition | row | holds |
//! |---|---|---|
//! | `g~{partition}` | `D~{row}` | a row of the view |
//! | `g~{partition}` | `S~{source}` | epoch and sequence of the last event applied here |
//! | `g!{source}` | `S~{source}` | the cursor of a view with many sources, or of a reaction |
//! | as the cursor | `P~{source}~{sequence}` | a parked event |

mod consumer;
mod cursor;
mod reader;
mod top;

use std::sync::Arc;

use futures::future::join_all;

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
use top::TopConsumer;

/// The table of the reactions' cursors.
pub const REACTIONS_TABLE: &str = "reactions";
/// How often a change is tried again after a conflict before the message goes back to the queue.
const MAX_CONFLICTS: u32 = 20;
/// The property that holds a row's JSON.
const DOCUMENT: &str = "Doc";

/// The generation of a view: which of the copies beside each other is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(pub u32);

impl Generation {
    /// The one that every view begins with.
    pub(crate) const FIRST: Generation = Generation(1);

    fn partition(self, partition: &str) -> String {
        format!("{}~{}", self.0, encode_key(partition))
    }

    fn cursor_partition(self, source: &str) -> String {
        format!("{}!{source}", self.0)
    }
}

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

fn write_document(row: &mut Row, document: &impl serde::Serialize) -> Result<(), Fault> {
    let json = serde_json::to_string(document).map_err(|error| Fault::permanent("VIEW_ENCODING", error))?;
    crate::store::put_text(row, DOCUMENT, &json);
    Ok(())
}

/// The handler of a service's events queue: feeds its projections, top lists and reactions.
pub struct ViewsHandler {
    service: String,
    store: Arc<dyn TableStore>,
    queue: Arc<dyn CommandQueue>,
    clock: Arc<dyn Clock>,
    consumers: Vec<Box<dyn Consume>>,
}

impl ViewsHandler {
    /// A handler without consumers.
    pub fn new(service: &str, store: Arc<dyn TableStore>, queue: Arc<dyn CommandQueue>, clock: Arc<dyn Clock>) -> Self {
        ViewsHandler { service: service.to_owned(), store, queue, clock, consumers: Vec::new() }
    }

    /// Feeds a projection.
    #[must_use]
    pub fn project<P: Projection>(self) -> Self {
        let consumer = ProjectionConsumer::<P>::new(self.store.clone(), self.clock.clone());
        self.consumer(Box::new(consumer))
    }

    /// Feeds a top list.
    #[must_use]
    pub fn top_list<T: TopList>(self) -> Self {
        let consumer = TopConsumer::<T>::new(self.store.clone(), self.clock.clone());
        self.consumer(Box::new(consumer))
    }

    /// Feeds a reaction.
    #[must_use]
    pub fn react<R: Reaction>(self) -> Self {
        let consumer =
            ReactionConsumer::<R>::new(&self.service, self.store.clone(), self.queue.clone(), self.clock.clone());
        self.consumer(Box::new(consumer))
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

    /// Handles one message of the events queue: one CloudEvent. After `Ok` it may be settled.
    ///
    /// # Errors
    /// What kept a consumer from taking the event. The others have taken it, and skip it when it comes again.
    pub async fn receive(&self, body: &[u8], delivery: &Delivery) -> Result<(), Fault> {
        crate::delivery::run("events", delivery, &*self.store, &*self.clock, |_| async move {
            let event = CloudEvent::from_json(body).map_err(|error| Fault::permanent("MALFORMED_EVENT", error))?;
            // A failure signal has no sequence: it changes no view.
            let Some(sequence) = event.sequence() else { return Ok(()) };
            let source = Source { aggregate: event.subject.clone(), epoch: event.epoch, sequence, time: event.time };
            let interested =
                self.consumers.iter().filter(|consumer| consumer.categories().contains(&source.aggregate.category()));
            let taken = join_all(interested.map(|consumer| consumer.consume(&event, &source, body))).await;
            // The worst fault decides: one that may pass is waited for, even if another never will.
            let mut faults: Vec<Fault> = taken.into_iter().filter_map(Result::err).collect();
            faults.sort_by_key(|fault| !fault.is_transient());
            faults.into_iter().next().map_or(Ok(()), Err)
        })
        .await
    }
}

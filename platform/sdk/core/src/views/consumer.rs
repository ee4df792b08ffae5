//! The consumers of integration events: projections and reactions.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;

use super::cursor::{Arrival, Cursor, Position};
use super::{Generation, MAX_CONFLICTS, REACTIONS_TABLE, document_key, read_document, source_key, write_document};
use crate::aggregate::DecodeError;
use crate::cloud_event::{CloudEvent, ContractSet};
use crate::envelope::{Envelope, Trace};
use crate::fault::Fault;
use crate::id::{AggregateId, CommandId, Principal};
use crate::ports::{Clock, CommandQueue, Message, TableStore, TransactError};
use crate::projection::{Partitioning, Projection, Source, Touch};
use crate::reaction::Reaction;
use crate::table::{MAX_OPERATIONS, MAX_ROW_BYTES, Operation, Row, StoredRow};

/// Something that takes integration events, each exactly once in effect.
#[async_trait]
pub(super) trait Consume: Send + Sync {
    fn name(&self) -> &'static str;
    fn categories(&self) -> Vec<&'static str>;
    async fn consume(&self, event: &CloudEvent, source: &Source, body: &[u8]) -> Result<(), Fault>;
}

/// Reads the event as one of the consumer's contracts. A type that it does not read only moves the cursor.
pub(super) fn decode<E: ContractSet>(consumer: &str, event: &CloudEvent) -> Result<Option<E>, Fault> {
    E::decode(event).transpose().map_err(|error| {
        let text = format!("{consumer}: event {}: {error}", event.id);
        match error {
            DecodeError::Payload { .. } => Fault::permanent("MALFORMED_EVENT", text),
            _ => Fault::transient("EVENT_VERSION_UNKNOWN", text),
        }
    })
}

/// After a conflict somebody else was at the same rows: give way, longer each time.
pub(super) async fn give_way(clock: &dyn Clock, conflict: u32) {
    clock.sleep(Duration::from_millis(u64::from(conflict.min(10)) * 3)).await;
}

fn too_many_conflicts(consumer: &str, source: &Source) -> Fault {
    let text = format!("{consumer}: {} changed {MAX_CONFLICTS} times while an event was applied", source.aggregate);
    Fault::transient("VIEW_CONFLICT", text)
}

/// A parked event that is due now.
struct Due {
    event: CloudEvent,
    source: Source,
    remove: Operation,
}

impl Due {
    /// The parked event of the source with this sequence.
    async fn read(
        store: &dyn TableStore,
        table: &str,
        partition: &str,
        source: &AggregateId,
        sequence: u64,
    ) -> Result<Option<Self>, Fault> {
        let Some((text, remove)) = Cursor::parked(store, table, partition, &source.key(), sequence).await? else {
            return Ok(None);
        };
        let event =
            CloudEvent::from_json(text.as_bytes()).map_err(|error| Fault::permanent("MALFORMED_EVENT", error))?;
        let sequence = event.sequence().unwrap_or_default();
        let source = Source { aggregate: source.clone(), epoch: event.epoch, sequence, time: event.time };
        Ok(Some(Due { event, source, remove }))
    }
}

/// How one event is applied; the loop around it, cursor and parking included, is the same for all.
#[async_trait]
trait Apply: Send + Sync {
    const NAME: &'static str;
    const TABLE: &'static str;

    fn cursor_partition(&self, source: &AggregateId) -> String;

    /// Applies the event and advances the cursor, `also` in the same transaction as the cursor.
    async fn apply(
        &self,
        cursor: &Cursor,
        event: &CloudEvent,
        source: &Source,
        also: Option<Operation>,
    ) -> Result<(), Step>;
}

/// Why an event was not applied.
enum Step {
    /// Read again, try again.
    Again,
    Fail(Fault),
}

impl From<Fault> for Step {
    fn from(fault: Fault) -> Self {
        Step::Fail(fault)
    }
}

impl From<TransactError> for Step {
    fn from(error: TransactError) -> Self {
        match error {
            // Applied or not, the cursor and the rows' tags tell.
            TransactError::Conflict(_) | TransactError::Unknown(_) => Step::Again,
            TransactError::Refused(error) => Step::Fail(error.into()),
        }
    }
}

/// Takes one event: seen, early or next; after it, what is parked behind it.
async fn take<T: Apply>(
    consumer: &T,
    store: &dyn TableStore,
    clock: &dyn Clock,
    event: &CloudEvent,
    source: &Source,
    body: &[u8],
) -> Result<(), Fault> {
    let key = source.aggregate.key();
    let partition = consumer.cursor_partition(&source.aggregate);
    let (mut event, mut source, mut remove) = (event.clone(), source.clone(), None);
    let mut conflict = 0;
    loop {
        let cursor = Cursor::read(store, T::TABLE, partition.clone(), &key).await?;
        let arrival = cursor.arrival(&source);
        // Seen too: whoever applied it may have died, or given up, while it drained what is parked. How far it came
        // the cursor tells, not the event that is delivered again.
        let reached = if arrival == Arrival::Seen { cursor.position.sequence } else { source.sequence };
        let step = match arrival {
            Arrival::Seen => match remove.clone() {
                // Somebody else applied it, or it is left from an epoch that is over.
                Some(stale) => store.transact(T::TABLE, &partition, &[stale]).await.map(drop).map_err(Step::from),
                None => Ok(()),
            },
            Arrival::Early => match cursor.park(store, &source, body).await {
                Ok(()) => return Ok(()),
                Err(error) => Err(Step::from(error)),
            },
            Arrival::Next => consumer.apply(&cursor, &event, &source, remove.clone()).await,
        };
        match step {
            // Whoever parks writes the cursor, too, so what its row says holds as long as its tag.
            Ok(()) if cursor.parked <= reached => return Ok(()),
            Ok(()) => match Due::read(store, T::TABLE, &partition, &source.aggregate, reached + 1).await? {
                Some(due) => {
                    (event, source, remove) = (due.event, due.source, Some(due.remove));
                    conflict = 0;
                }
                None => return Ok(()),
            },
            Err(Step::Fail(fault)) => return Err(fault),
            Err(Step::Again) if conflict >= MAX_CONFLICTS => return Err(too_many_conflicts(T::NAME, &source)),
            Err(Step::Again) => {
                conflict += 1;
                give_way(clock, conflict).await;
                if remove.is_some() {
                    // What was parked may be gone by now, or parked again under another tag.
                    let due = Due::read(store, T::TABLE, &partition, &source.aggregate, source.sequence).await?;
                    remove = due.map(|due| due.remove);
                }
            }
        }
    }
}

/// Feeds one projection.
pub(super) struct ProjectionConsumer<P> {
    store: Arc<dyn TableStore>,
    clock: Arc<dyn Clock>,
    generation: Generation,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> ProjectionConsumer<P> {
    pub(super) fn new(store: Arc<dyn TableStore>, clock: Arc<dyn Clock>) -> Self {
        ProjectionConsumer { store, clock, generation: Generation::FIRST, projection: PhantomData }
    }

    /// The writes that the event makes in one partition, each guarded by the tag of the row as it was read.
    async fn writes(
        &self,
        partition: &str,
        event: &P::Event,
        source: &Source,
        touches: &[Touch],
    ) -> Result<Vec<Operation>, Fault> {
        let reads = touches.iter().map(|touch| async move {
            let key = document_key(&touch.row);
            let stored = self.store.get(P::TABLE, partition, &key).await?;
            Self::write(key, stored, partition, event, source, touch)
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    fn write(
        key: String,
        stored: Option<StoredRow>,
        partition: &str,
        event: &P::Event,
        source: &Source,
        touch: &Touch,
    ) -> Result<Option<Operation>, Fault> {
        let before: Option<P::Row> = stored.as_ref().map(|row| read_document(P::TABLE, row)).transpose()?;
        let after = P::apply(before, event, touch, source);
        let written = after
            .map(|document| {
                let mut row = Row::new(key.clone());
                write_document(&mut row, &document)?;
                let bytes = row.size(partition);
                if bytes > MAX_ROW_BYTES {
                    let text = format!("{}: row {key:?} of {partition:?} takes {bytes} bytes", P::NAME);
                    return Err(Fault::permanent("VIEW_ROW_TOO_LARGE", text));
                }
                Ok(row)
            })
            .transpose()?;
        Ok(match (stored, written) {
            (None, None) => None,
            (None, Some(row)) => Some(Operation::Insert(row)),
            (Some(stored), Some(row)) => Some(Operation::Replace(row, stored.etag)),
            (Some(stored), None) => Some(Operation::Delete(key, Some(stored.etag))),
        })
    }

    fn check_count(operations: &[Operation], source: &Source) -> Result<(), Fault> {
        if operations.len() > MAX_OPERATIONS {
            let text = format!(
                "{}: an event of {} writes {} rows of one partition, at most {} fit",
                P::NAME,
                source.aggregate,
                operations.len(),
                MAX_OPERATIONS
            );
            return Err(Fault::permanent("VIEW_TOO_MANY_ROWS", text));
        }
        Ok(())
    }

    /// One partition of a view with many sources: skipped if its `S~` row is not older than the event.
    async fn apply_partition(
        &self,
        name: &str,
        event: &P::Event,
        source: &Source,
        touches: &[Touch],
    ) -> Result<(), Fault> {
        let partition = self.generation.partition(name);
        let key = source_key(&source.aggregate.key());
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*self.clock, conflict).await;
            }
            let (mark, writes) = futures::future::try_join(
                async { self.store.get(P::TABLE, &partition, &key).await.map_err(Fault::from) },
                self.writes(&partition, event, source, touches),
            )
            .await?;
            let position = mark.as_ref().map(|row| Position::of_row(&partition, row)).transpose()?;
            if position.is_some_and(|position| position >= Position::of(source)) {
                return Ok(());
            }
            let row = Position::of(source).row(key.clone());
            let mut operations = vec![match mark {
                Some(mark) => Operation::Replace(row, mark.etag),
                None => Operation::Insert(row),
            }];
            operations.extend(writes);
            Self::check_count(&operations, source)?;
            match self.store.transact(P::TABLE, &partition, &operations).await {
                Ok(_) => return Ok(()),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(too_many_conflicts(P::NAME, source))
    }
}

#[async_trait]
impl<P: Projection> Apply for ProjectionConsumer<P> {
    const NAME: &'static str = P::NAME;
    const TABLE: &'static str = P::TABLE;

    fn cursor_partition(&self, source: &AggregateId) -> String {
        match P::PARTITIONING {
            Partitioning::OneSource => self.generation.partition(source.id()),
            Partitioning::ManySources => self.generation.cursor_partition(&source.key()),
        }
    }

    async fn apply(
        &self,
        cursor: &Cursor,
        event: &CloudEvent,
        source: &Source,
        also: Option<Operation>,
    ) -> Result<(), Step> {
        let decoded = decode::<P::Event>(P::NAME, event)?;
        let mut partitions: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
        if let Some(decoded) = &decoded {
            for touch in P::touches(decoded, source) {
                let touches = partitions.entry(touch.partition.clone()).or_default();
                if !touches.contains(&touch) {
                    touches.push(touch);
                }
            }
        }
        let mut operations = vec![cursor.advance(source)];
        operations.extend(also);
        if let Some(decoded) = &decoded {
            if P::PARTITIONING == Partitioning::OneSource {
                if let Some(foreign) = partitions.keys().find(|name| *name != source.aggregate.id()) {
                    let text = format!("{}: {} touches partition {foreign:?}", P::NAME, source.aggregate);
                    return Err(Fault::permanent("VIEW_FOREIGN_PARTITION", text).into());
                }
                // Cursor and rows are one partition, so everything is one transaction.
                for touches in partitions.values() {
                    operations.extend(self.writes(&cursor.partition, decoded, source, touches).await?);
                }
                Self::check_count(&operations, source)?;
            } else {
                for (name, touches) in &partitions {
                    self.apply_partition(name, decoded, source, touches).await?;
                }
            }
        }
        self.store.transact(P::TABLE, &cursor.partition, &operations).await?;
        Ok(())
    }
}

#[async_trait]
impl<P: Projection> Consume for ProjectionConsumer<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn categories(&self) -> Vec<&'static str> {
        P::Event::categories()
    }

    async fn consume(&self, event: &CloudEvent, source: &Source, body: &[u8]) -> Result<(), Fault> {
        take(self, &*self.store, &*self.clock, event, source, body).await
    }
}

/// Feeds one reaction.
pub(super) struct ReactionConsumer<R> {
    service: String,
    store: Arc<dyn TableStore>,
    queue: Arc<dyn CommandQueue>,
    clock: Arc<dyn Clock>,
    reaction: PhantomData<fn() -> R>,
}

impl<R: Reaction> ReactionConsumer<R> {
    pub(super) fn new(
        service: &str,
        store: Arc<dyn TableStore>,
        queue: Arc<dyn CommandQueue>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        ReactionConsumer { service: service.to_owned(), store, queue, clock, reaction: PhantomData }
    }

    /// The messages that the event leads to, the same at every delivery.
    fn messages(
        &self,
        decoded: &R::Event,
        event: &CloudEvent,
        source: &Source,
    ) -> Result<Vec<(String, Message)>, Fault> {
        let reacted = R::react(decoded, source).map_err(|error| {
            Fault::permanent("MALFORMED_EVENT", format!("{}: event {}: {error}", R::NAME, event.id))
        })?;
        let mut before: BTreeMap<AggregateId, usize> = BTreeMap::new();
        reacted
            .into_iter()
            .map(|outgoing| {
                let count = before.entry(outgoing.aggregate.clone()).or_default();
                let id = CommandId::of_event(&event.id, *count);
                *count += 1;
                let trace = Trace {
                    correlation_id: event.correlation.clone(),
                    causation_id: Some(event.id.clone()),
                    traceparent: event.traceparent.clone(),
                };
                let service = outgoing.service.clone().unwrap_or_else(|| self.service.clone());
                let principal = Principal::service(&self.service);
                Envelope::of_outgoing(&outgoing, id, principal, trace, event.time)
                    .to_message()
                    .map(|message| (service, message))
                    .map_err(|error| Fault::permanent("COMMAND_TOO_LARGE", error))
            })
            .collect()
    }
}

#[async_trait]
impl<R: Reaction> Apply for ReactionConsumer<R> {
    const NAME: &'static str = R::NAME;
    const TABLE: &'static str = REACTIONS_TABLE;

    fn cursor_partition(&self, source: &AggregateId) -> String {
        format!("{}!{}", R::NAME, source.key())
    }

    async fn apply(
        &self,
        cursor: &Cursor,
        event: &CloudEvent,
        source: &Source,
        also: Option<Operation>,
    ) -> Result<(), Step> {
        if let Some(decoded) = decode::<R::Event>(R::NAME, event)? {
            let mut rest = self.messages(&decoded, event, source)?.into_iter().peekable();
            while let Some((service, first)) = rest.next() {
                let mut messages = vec![first];
                while let Some((_, message)) = rest.next_if(|(next, _)| *next == service) {
                    messages.push(message);
                }
                self.queue.send(&service, &messages).await.map_err(Fault::from)?;
            }
        }
        let mut operations = vec![cursor.advance(source)];
        operations.extend(also);
        self.store.transact(REACTIONS_TABLE, &cursor.partition, &operations).await?;
        Ok(())
    }
}

#[async_trait]
impl<R: Reaction> Consume for ReactionConsumer<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn categories(&self) -> Vec<&'static str> {
        R::Event::categories()
    }

    async fn consume(&self, event: &CloudEvent, source: &Source, body: &[u8]) -> Result<(), Fault> {
        take(self, &*self.store, &*self.clock, event, source, body).await
    }
}

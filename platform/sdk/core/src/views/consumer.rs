//! The consumers of integration events: projections and reactions.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use async_trait::async_trait;
use futures::future::try_join_all;

use super::cursor::{Arrival, Cursor, Position};
use super::gaps;
use super::generation::{Generation, Pointer};
use super::live::{self, Change, ChangedRow, HEAD, NOBODY, Outbox, State, Watch};
use super::{
    MAX_CONFLICTS, REACTIONS_TABLE, Shared, document_key, give_way, read_document, source_key, write_document,
};
use crate::aggregate::DecodeError;
use crate::cloud_event::{CloudEvent, ContractSet};
use crate::envelope::{Envelope, Trace};
use crate::fault::Fault;
use crate::id::{AggregateId, CommandId, Principal};
use crate::ports::{Message, TableStore, TransactError};
use crate::projection::{Partitioning, Projection, Source, Touch};
use crate::reaction::Reaction;
use crate::table::{MAX_OPERATIONS, MAX_ROW_BYTES, Operation, Row, StoredRow};

/// Something that takes integration events, each exactly once in effect.
#[async_trait]
pub(super) trait Consume: Send + Sync {
    fn name(&self) -> &'static str;
    fn categories(&self) -> Vec<&'static str>;
    async fn consume(&self, shared: &Shared, event: &CloudEvent, source: &Source, body: &[u8]) -> Result<(), Fault>;

    /// The event of the source for which others wait, if there is one.
    async fn gap(&self, shared: &Shared, source: &AggregateId) -> Result<Option<u64>, Fault>;

    /// How it is made anew; `None` for what has effects outside.
    fn rebuilt(&self) -> Option<&dyn Rebuilt> {
        None
    }
}

/// A view that can be made anew beside the live one.
#[async_trait]
pub(super) trait Rebuilt: Send + Sync {
    fn table(&self) -> &'static str;

    /// Takes an event of the past into a generation.
    async fn fill(
        &self,
        shared: &Shared,
        generation: Generation,
        event: &CloudEvent,
        source: &Source,
        body: &[u8],
    ) -> Result<(), Fault>;

    /// The last event of the source that the generation has taken.
    async fn position(&self, shared: &Shared, generation: Generation, source: &AggregateId) -> Result<Position, Fault>;

    /// Called once everything is in, before the generation is read.
    async fn finish(&self, _: &Shared, _: Generation) -> Result<(), Fault> {
        Ok(())
    }

    /// The bounds of the partitions that go with a generation, once `kept` is the live one.
    fn doomed(&self, generation: Generation, _kept: Generation) -> Vec<(String, String)> {
        vec![generation.partitions(), generation.cursor_partitions()]
    }
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
pub(super) trait Apply: Send + Sync {
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
    ) -> Result<Applied, Step>;

    /// What earlier deliveries have written and not pushed.
    async fn unpushed(&self, _cursor: &Cursor) -> Result<Applied, Fault> {
        Ok(Applied::default())
    }
}

/// What is left to do once an event is applied: nothing that the view waits for.
#[derive(Default)]
pub(super) struct Applied {
    outboxes: Vec<Outbox>,
    /// The cursor that names the outboxes' partitions, as it was written.
    naming: Option<Cursor>,
}

impl Applied {
    /// Pushes what waits for it. Whoever is told twice knows it by the number.
    async fn push(self, shared: &Shared) -> Result<(), Fault> {
        for outbox in self.outboxes {
            outbox.push(shared).await?;
        }
        if let Some(cursor) = self.naming {
            // Where that fails, or the cursor has moved on, what is named is looked at once more.
            if let Err(TransactError::Refused(error)) = cursor.forget_pending(&*shared.store).await {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Why an event was not applied.
pub(super) enum Step {
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

/// Takes one event: seen, early or next; after it, what is parked behind it. With `watched`, somebody looks later
/// whether what an early event waits for has come.
pub(super) async fn take<T: Apply>(
    consumer: &T,
    shared: &Shared,
    event: &CloudEvent,
    source: &Source,
    body: &[u8],
    watched: bool,
) -> Result<(), Fault> {
    drain(consumer, shared, Taken { event: event.clone(), source: source.clone(), remove: None }, body, watched).await
}

/// An event on its way into a view; with the write that removes it where it was parked.
struct Taken {
    event: CloudEvent,
    source: Source,
    remove: Option<Operation>,
}

async fn drain<T: Apply>(consumer: &T, shared: &Shared, first: Taken, body: &[u8], watched: bool) -> Result<(), Fault> {
    let (store, clock) = (&*shared.store, &*shared.clock);
    let Taken { mut event, mut source, mut remove } = first;
    let key = source.aggregate.key();
    let partition = consumer.cursor_partition(&source.aggregate);
    let mut conflict = 0;
    // A hub that is away keeps nobody from being applied: the message comes again.
    let mut unpushed = None;
    loop {
        let cursor = Cursor::read(store, T::TABLE, partition.clone(), &key).await?;
        let arrival = cursor.arrival(&source);
        // Seen too: whoever applied it may have died, or given up, while it drained what is parked. How far it came
        // the cursor tells, not the event that is delivered again.
        let reached = if arrival == Arrival::Seen { cursor.position.sequence } else { source.sequence };
        let step = match arrival {
            Arrival::Seen => match remove.clone() {
                // Somebody else applied it, or it is left from an epoch that is over.
                Some(stale) => match store.transact(T::TABLE, &partition, &[stale]).await {
                    Ok(_) => Ok(Applied::default()),
                    Err(error) => Err(Step::from(error)),
                },
                None => consumer.unpushed(&cursor).await.map_err(Step::from),
            },
            // It is parked already.
            Arrival::Early if remove.is_some() => return unpushed.map_or(Ok(()), Err),
            Arrival::Early => {
                // The check is sent before anything is parked, so that whoever finds something parked may rely on it.
                if watched && cursor.parked <= cursor.position.sequence {
                    gaps::watch(shared, T::NAME, &event).await?;
                }
                match cursor.park(store, &source, body).await {
                    Ok(()) => return unpushed.map_or(Ok(()), Err),
                    Err(error) => Err(Step::from(error)),
                }
            }
            Arrival::Next => consumer.apply(&cursor, &event, &source, remove.clone()).await,
        };
        let step = match step {
            Ok(applied) => {
                if let Err(fault) = applied.push(shared).await {
                    unpushed.get_or_insert(fault);
                }
                Ok(())
            }
            Err(step) => Err(step),
        };
        match step {
            // Whoever parks writes the cursor, too, so what its row says holds as long as its tag.
            Ok(()) if cursor.parked <= reached => return unpushed.map_or(Ok(()), Err),
            Ok(()) => match Due::read(store, T::TABLE, &partition, &source.aggregate, reached + 1).await? {
                Some(due) => {
                    (event, source, remove) = (due.event, due.source, Some(due.remove));
                    conflict = 0;
                }
                None => return unpushed.map_or(Ok(()), Err),
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

/// The event that parked ones wait for, if there is one. What can be taken by now is taken, what belongs to an epoch
/// that is over goes.
pub(super) async fn gap<T: Apply>(consumer: &T, shared: &Shared, source: &AggregateId) -> Result<Option<u64>, Fault> {
    let (store, key) = (&*shared.store, source.key());
    let partition = consumer.cursor_partition(source);
    for conflict in 0..=MAX_CONFLICTS {
        if conflict > 0 {
            give_way(&*shared.clock, conflict).await;
        }
        let cursor = Cursor::read(store, T::TABLE, partition.clone(), &key).await?;
        if cursor.parked <= cursor.position.sequence {
            return Ok(None);
        }
        let Some(text) = cursor.first_parked(store).await? else {
            match cursor.forget_parked(store).await {
                Ok(()) => return Ok(None),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => continue,
            }
        };
        let event =
            CloudEvent::from_json(text.as_bytes()).map_err(|error| Fault::permanent("MALFORMED_EVENT", error))?;
        let sequence = event.sequence().unwrap_or_default();
        let parked = Source { aggregate: source.clone(), epoch: event.epoch, sequence, time: event.time };
        if cursor.arrival(&parked) == Arrival::Early {
            return Ok(Some(cursor.position.sequence + 1));
        }
        if let Some(due) = Due::read(store, T::TABLE, &partition, source, sequence).await? {
            let taken = Taken { event: due.event, source: due.source, remove: Some(due.remove) };
            drain(consumer, shared, taken, text.as_bytes(), false).await?;
        }
    }
    Err(Fault::transient("VIEW_CONFLICT", format!("{}: {source} changed all the time", T::NAME)))
}

/// Feeds one projection.
pub(super) struct ProjectionConsumer<P> {
    pointer: Pointer,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> ProjectionConsumer<P> {
    pub(super) fn new() -> Self {
        ProjectionConsumer { pointer: Pointer::of(P::NAME), projection: PhantomData }
    }
}

/// One generation of a projection.
struct Fold<'a, P> {
    shared: &'a Shared,
    generation: Generation,
    projection: PhantomData<fn() -> P>,
}

impl<'a, P: Projection> Fold<'a, P> {
    fn new(shared: &'a Shared, generation: Generation) -> Self {
        Fold { shared, generation, projection: PhantomData }
    }

    /// The writes that the event makes in one partition, each guarded by the tag of the row as it was read. While somebody
    /// watches, the rows say which change it was.
    async fn writes(
        &self,
        partition: &str,
        event: &P::Event,
        source: &Source,
        touches: &[Touch],
        watch: Option<Watch>,
    ) -> Result<Writes, Fault> {
        let reads = touches.iter().map(|touch| async move {
            let key = document_key(&touch.row);
            let stored = self.shared.store.get(P::TABLE, partition, &key).await?;
            Self::write(key, stored, partition, event, source, touch, watch)
        });
        let (operations, changed) = try_join_all(reads).await?.into_iter().flatten().unzip();
        Ok(Writes { operations, changed })
    }

    fn write(
        key: String,
        stored: Option<StoredRow>,
        partition: &str,
        event: &P::Event,
        source: &Source,
        touch: &Touch,
        watch: Option<Watch>,
    ) -> Result<Option<(Operation, Option<ChangedRow>)>, Fault> {
        let before: Option<P::Row> = stored.as_ref().map(|row| read_document(P::TABLE, row)).transpose()?;
        let after = P::apply(before, event, touch, source);
        let written = after
            .map(|document| {
                let mut row = Row::new(key.clone());
                let json = write_document(&mut row, &document)?;
                if let Some(watch) = watch {
                    row = row.with("Version", i64::try_from(watch.next().version).unwrap_or(i64::MAX));
                }
                let bytes = row.size(partition);
                if bytes > MAX_ROW_BYTES {
                    let text = format!("{}: row {key:?} of {partition:?} takes {bytes} bytes", P::NAME);
                    return Err(Fault::permanent("VIEW_ROW_TOO_LARGE", text));
                }
                Ok((row, json))
            })
            .transpose()?;
        let (row, document) = written.unzip();
        let changed = watch.map(|watch| ChangedRow {
            row: touch.row.clone(),
            previous: live::previous(watch, stored.as_ref()),
            document,
        });
        Ok(match (stored, row) {
            (None, None) => None,
            (None, Some(row)) => Some((Operation::Insert(row), changed)),
            (Some(stored), Some(row)) => Some((Operation::Replace(row, stored.etag), changed)),
            (Some(stored), None) => Some((Operation::Delete(key, Some(stored.etag)), changed)),
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

    /// What waits to be pushed in a partition with many sources.
    async fn outbox(&self, partition: &str) -> Result<Option<Outbox>, Fault> {
        let Some(head) = self.shared.store.get(P::TABLE, partition, HEAD).await? else { return Ok(None) };
        let watch = Watch::of_row(partition, &head)?;
        Ok(watch.filter(|watch| watch.version > watch.pushed).map(|watch| Outbox {
            table: P::TABLE,
            partition: partition.to_owned(),
            head: HEAD.to_owned(),
            etag: Some(head.etag),
            watch,
            change: None,
        }))
    }

    /// One partition of a view with many sources: skipped if its `S~` row is not older than the event. Gives what waits
    /// to be pushed.
    async fn apply_partition(
        &self,
        name: &str,
        event: &P::Event,
        source: &Source,
        touches: &[Touch],
    ) -> Result<Option<Outbox>, Fault> {
        let (store, partition) = (&*self.shared.store, self.generation.partition(name));
        let key = source_key(&source.aggregate.key());
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*self.shared.clock, conflict).await;
            }
            // That nobody watches is found out by the transaction.
            let head = match P::LIVE && conflict > 0 {
                true => Some(store.get(P::TABLE, &partition, HEAD).await?),
                false => None,
            };
            let watch = head.iter().flatten().map(|head| Watch::of_row(&partition, head)).next().transpose()?.flatten();
            let watch = match watch.map(|watch| (watch, watch.state(&*self.shared.clock))) {
                Some((watch, State::Watched)) => Some(watch),
                Some((_, State::Over)) => {
                    live::expire(store, &*self.shared.clock, P::TABLE, &partition, HEAD).await?;
                    continue;
                }
                Some((_, State::Nobody)) | None => None,
            };
            let (mark, writes) = futures::future::try_join(
                async { store.get(P::TABLE, &partition, &key).await.map_err(Fault::from) },
                self.writes(&partition, event, source, touches, watch),
            )
            .await?;
            let position = mark.as_ref().map(|row| Position::of_row(&partition, row)).transpose()?;
            if position.is_some_and(|position| position >= Position::of(source)) {
                let was_watched = mark.is_some_and(|mark| mark.properties.contains_key("Version"));
                return if P::LIVE && was_watched { self.outbox(&partition).await } else { Ok(None) };
            }
            let mut row = Position::of(source).row(key.clone());
            let mut outbox = None;
            let mut operations = Vec::with_capacity(writes.operations.len() + 4);
            if P::LIVE && !writes.operations.is_empty() {
                match (head, watch) {
                    (None, _) | (Some(Some(_)), None) => operations.push(Operation::Require(NOBODY.to_owned())),
                    (Some(None), _) => {
                        operations.push(Operation::Insert(Watch::default().write(Row::new(HEAD))));
                        operations.push(Operation::Insert(Row::new(NOBODY)));
                    }
                    (Some(Some(head)), Some(watch)) => {
                        let watch = watch.next();
                        let mut change = Change { number: watch.version, rows: Some(writes.changed()) };
                        operations.push(Operation::Merge(watch.write(Row::new(HEAD)), head.etag));
                        operations.push(live::keep(&partition, &mut change)?);
                        // Whoever sees the event again knows that it may wait to be pushed.
                        row = row.with("Version", i64::try_from(watch.version).unwrap_or(i64::MAX));
                        let head = HEAD.to_owned();
                        let (table, partition, change) = (P::TABLE, partition.clone(), Some(change));
                        outbox = Some(Outbox { table, partition, head, etag: None, watch, change });
                    }
                }
            }
            operations.push(match mark {
                Some(mark) => Operation::Replace(row, mark.etag),
                None => Operation::Insert(row),
            });
            operations.extend(writes.operations);
            Self::check_count(&operations, source)?;
            match store.transact(P::TABLE, &partition, &operations).await {
                Ok(tags) => {
                    return Ok(outbox.map(|outbox| Outbox { etag: tags.into_iter().next().flatten(), ..outbox }));
                }
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(too_many_conflicts(P::NAME, source))
    }

    /// The event and its cursor in one transaction: cursor and rows are one partition.
    async fn apply_one_source(
        &self,
        cursor: &Cursor,
        decoded: &P::Event,
        source: &Source,
        touches: &[Touch],
        also: Option<Operation>,
    ) -> Result<Applied, Step> {
        let store = &*self.shared.store;
        let head = source_key(&source.aggregate.key());
        let watch = match cursor.watch.filter(|_| P::LIVE).map(|watch| (watch, watch.state(&*self.shared.clock))) {
            Some((watch, State::Watched)) => Some(watch),
            Some((_, State::Over)) => {
                live::expire(store, &*self.shared.clock, P::TABLE, &cursor.partition, &head).await?;
                return Err(Step::Again);
            }
            Some((_, State::Nobody)) | None => None,
        };
        let writes = self.writes(&cursor.partition, decoded, source, touches, watch).await?;
        let mut outbox = None;
        let mut operations = match watch.filter(|_| !writes.operations.is_empty()) {
            Some(watch) => {
                let watch = watch.next();
                let mut change = Change { number: watch.version, rows: Some(writes.changed()) };
                let operations =
                    vec![cursor.advance_watched(source, watch), live::keep(&cursor.partition, &mut change)?];
                let (table, partition, change) = (P::TABLE, cursor.partition.clone(), Some(change));
                outbox = Some(Outbox { table, partition, head, etag: None, watch, change });
                operations
            }
            None => vec![cursor.advance(source)],
        };
        operations.extend(also);
        operations.extend(writes.operations);
        Self::check_count(&operations, source)?;
        let tags = store.transact(P::TABLE, &cursor.partition, &operations).await?;
        let outbox = outbox.map(|outbox| Outbox { etag: tags.into_iter().next().flatten(), ..outbox });
        Ok(Applied { outboxes: outbox.into_iter().collect(), naming: None })
    }
}

/// The writes of one event in one partition.
struct Writes {
    operations: Vec<Operation>,
    /// What they change, where somebody watches.
    changed: Vec<Option<ChangedRow>>,
}

impl Writes {
    fn changed(&self) -> Vec<ChangedRow> {
        self.changed.iter().flatten().cloned().collect()
    }
}

#[async_trait]
impl<P: Projection> Apply for Fold<'_, P> {
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
    ) -> Result<Applied, Step> {
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
        let mut outboxes = Vec::new();
        if let Some(decoded) = &decoded {
            if P::PARTITIONING == Partitioning::OneSource {
                if let Some(foreign) = partitions.keys().find(|name| *name != source.aggregate.id()) {
                    let text = format!("{}: {} touches partition {foreign:?}", P::NAME, source.aggregate);
                    return Err(Fault::permanent("VIEW_FOREIGN_PARTITION", text).into());
                }
                if let Some(touches) = partitions.values().next() {
                    return self.apply_one_source(cursor, decoded, source, touches, also).await;
                }
            } else {
                for (name, touches) in &partitions {
                    outboxes.extend(self.apply_partition(name, decoded, source, touches).await?);
                }
            }
        }
        // What waits to be pushed is named by the cursor before it is: the view waits for nobody, and the event, when it
        // comes again, is seen.
        let mut pending = cursor.pending.clone();
        for outbox in &outboxes {
            if !pending.contains(&outbox.partition) {
                pending.push(outbox.partition.clone());
            }
        }
        let mut operations = vec![match pending.is_empty() {
            true => cursor.advance(source),
            false => cursor.advance_pending(source, &pending),
        }];
        operations.extend(also);
        let tags = self.shared.store.transact(P::TABLE, &cursor.partition, &operations).await?;
        if pending.is_empty() {
            return Ok(Applied::default());
        }
        for partition in &cursor.pending {
            if !outboxes.iter().any(|outbox| outbox.partition == *partition) {
                outboxes.extend(self.outbox(partition).await?);
            }
        }
        let naming = cursor.at(Position::of(source), pending, tags.into_iter().next().flatten());
        Ok(Applied { outboxes, naming: Some(naming) })
    }

    async fn unpushed(&self, cursor: &Cursor) -> Result<Applied, Fault> {
        let mut applied = Applied::default();
        if let Some(watch) = cursor.watch.filter(|watch| P::LIVE && watch.version > watch.pushed) {
            applied.outboxes.push(Outbox {
                table: P::TABLE,
                partition: cursor.partition.clone(),
                head: source_key(&cursor.source),
                etag: cursor.etag.clone(),
                watch,
                change: None,
            });
        }
        for partition in &cursor.pending {
            applied.outboxes.extend(self.outbox(partition).await?);
        }
        if !cursor.pending.is_empty() {
            applied.naming = Some(cursor.at(cursor.position, cursor.pending.clone(), cursor.etag.clone()));
        }
        Ok(applied)
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

    async fn consume(&self, shared: &Shared, event: &CloudEvent, source: &Source, body: &[u8]) -> Result<(), Fault> {
        self.pointer
            .each(shared, |generation, live| async move {
                take(&Fold::<P>::new(shared, generation), shared, event, source, body, live).await
            })
            .await
    }

    async fn gap(&self, shared: &Shared, source: &AggregateId) -> Result<Option<u64>, Fault> {
        gap(&Fold::<P>::new(shared, self.pointer.live(shared).await?), shared, source).await
    }

    fn rebuilt(&self) -> Option<&dyn Rebuilt> {
        Some(self)
    }
}

#[async_trait]
impl<P: Projection> Rebuilt for ProjectionConsumer<P> {
    fn table(&self) -> &'static str {
        P::TABLE
    }

    async fn fill(
        &self,
        shared: &Shared,
        generation: Generation,
        event: &CloudEvent,
        source: &Source,
        body: &[u8],
    ) -> Result<(), Fault> {
        take(&Fold::<P>::new(shared, generation), shared, event, source, body, false).await
    }

    async fn position(&self, shared: &Shared, generation: Generation, source: &AggregateId) -> Result<Position, Fault> {
        position(&Fold::<P>::new(shared, generation), shared, source).await
    }
}

/// How far a consumer has come with a source.
pub(super) async fn position<T: Apply>(consumer: &T, shared: &Shared, source: &AggregateId) -> Result<Position, Fault> {
    let partition = consumer.cursor_partition(source);
    Ok(Cursor::read(&*shared.store, T::TABLE, partition, &source.key()).await?.position)
}

/// Feeds one reaction.
pub(super) struct ReactionConsumer<R> {
    reaction: PhantomData<fn() -> R>,
}

impl<R: Reaction> ReactionConsumer<R> {
    pub(super) fn new() -> Self {
        ReactionConsumer { reaction: PhantomData }
    }
}

/// A reaction at work.
struct React<'a, R> {
    shared: &'a Shared,
    reaction: PhantomData<fn() -> R>,
}

impl<'a, R: Reaction> React<'a, R> {
    fn new(shared: &'a Shared) -> Self {
        React { shared, reaction: PhantomData }
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
                let service = outgoing.service.clone().unwrap_or_else(|| self.shared.service.clone());
                let principal = Principal::service(&self.shared.service);
                Envelope::of_outgoing(&outgoing, id, principal, trace, event.time)
                    .to_message()
                    .map(|message| (service, message))
                    .map_err(|error| Fault::permanent("COMMAND_TOO_LARGE", error))
            })
            .collect()
    }
}

#[async_trait]
impl<R: Reaction> Apply for React<'_, R> {
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
    ) -> Result<Applied, Step> {
        if let Some(decoded) = decode::<R::Event>(R::NAME, event)? {
            let mut rest = self.messages(&decoded, event, source)?.into_iter().peekable();
            while let Some((service, first)) = rest.next() {
                let mut messages = vec![first];
                while let Some((_, message)) = rest.next_if(|(next, _)| *next == service) {
                    messages.push(message);
                }
                self.shared.queue.send(&service, &messages).await.map_err(Fault::from)?;
            }
        }
        let mut operations = vec![cursor.advance(source)];
        operations.extend(also);
        self.shared.store.transact(REACTIONS_TABLE, &cursor.partition, &operations).await?;
        Ok(Applied::default())
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

    async fn consume(&self, shared: &Shared, event: &CloudEvent, source: &Source, body: &[u8]) -> Result<(), Fault> {
        take(&React::<R>::new(shared), shared, event, source, body, true).await
    }

    async fn gap(&self, shared: &Shared, source: &AggregateId) -> Result<Option<u64>, Fault> {
        gap(&React::<R>::new(shared), shared, source).await
    }
}

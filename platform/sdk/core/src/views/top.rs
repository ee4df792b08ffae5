//! Top lists: sharded absolute scores, and a merged row at most once a second.
//!
//! An event is settled only once the merged row shows it, so that no timer is needed and nothing is forgotten when a
//! process dies: the event comes again. Many events wait for one merge together.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures::future::{try_join, try_join_all};
use futures::lock::Mutex;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::consumer::{Applied, Apply, Consume, Rebuilt, Step, decode, position, take};
use super::cursor::{Cursor, Position};
use super::generation::{Generation, Pointer};
use super::{MAX_CONFLICTS, Shared, document_key, give_way, read_document, write_document};
use crate::cloud_event::{CloudEvent, ContractSet};
use crate::fault::Fault;
use crate::id::AggregateId;
use crate::ports::TransactError;
use crate::projection::{Source, TopList};
use crate::store::{corrupt, shard_of};
use crate::table::{Operation, Range, Row, StoredRow};

/// The merged row's key.
pub(super) const MERGED_ROW: &str = "D~merged";
/// A shard's row that counts its changes. It sorts before the items.
const STAMP_ROW: &str = "!";
/// The shortest time between two merges.
const INTERVAL: time::Duration = time::Duration::SECOND;

/// The merged row's partition. No shard's name collides with it.
pub(super) fn merged_partition(generation: Generation) -> String {
    generation.partition("merged")
}

fn shard_partition(generation: Generation, shard: u16) -> String {
    generation.partition(&format!("shard {shard:05}"))
}

/// A shard's stamp. One that began again from 0 would let events be settled that no merge has seen.
fn read_stamp(partition: &str, row: &StoredRow) -> Result<i64, Fault> {
    row.int("Stamp")
        .filter(|stamp| (0..i64::MAX).contains(stamp))
        .ok_or_else(|| corrupt(partition, &row.key, "Stamp is missing or no number from 0"))
}

/// One item with its absolute score and the event that it was last changed by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(rename = "i")]
    pub item: String,
    #[serde(rename = "n")]
    pub score: i64,
    #[serde(rename = "e")]
    pub epoch: u32,
    #[serde(rename = "s")]
    pub sequence: u64,
}

impl Entry {
    fn position(&self) -> (u32, u64) {
        (self.epoch, self.sequence)
    }

    /// Highest score first, then by name: the order is total, so that two merges agree.
    fn rank(&self) -> (std::cmp::Reverse<i64>, &str) {
        (std::cmp::Reverse(self.score), &self.item)
    }
}

/// The merged row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Merged {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Items with a score above 0, best first.
    pub entries: Vec<Entry>,
    /// The stamp of each shard when it was read.
    pub stamps: Vec<i64>,
}

impl Merged {
    /// Whether the merge has seen what the shard held at the stamp.
    fn shows(&self, change: Change) -> bool {
        self.stamps.get(usize::from(change.shard)).is_some_and(|stamp| *stamp >= change.stamp)
    }
}

/// A change of a shard: the how manyth it was.
#[derive(Debug, Clone, Copy)]
struct Change {
    shard: u16,
    stamp: i64,
}

/// Feeds one top list.
pub(super) struct TopConsumer<T> {
    pointer: Pointer,
    merged: std::sync::Mutex<HashMap<Generation, Arc<Mutex<Option<Merged>>>>>,
    list: PhantomData<fn() -> T>,
}

impl<T: TopList> TopConsumer<T> {
    pub(super) fn new() -> Self {
        assert!(T::SHARDS > 0 && (1..=1_000).contains(&T::SIZE), "{}: 1 to 1,000 items in 1 or more shards", T::NAME);
        TopConsumer { pointer: Pointer::of(T::NAME), merged: std::sync::Mutex::default(), list: PhantomData }
    }

    fn list<'a>(&self, shared: &'a Shared, generation: Generation) -> List<'a, T> {
        let mut all = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        let merged = all.entry(generation).or_default().clone();
        List { shared, generation, merged, list: PhantomData }
    }
}

/// One generation of a top list.
struct List<'a, T> {
    shared: &'a Shared,
    generation: Generation,
    /// The merged row as this process last saw it. Held while merging: the others wait for the same merge.
    merged: Arc<Mutex<Option<Merged>>>,
    list: PhantomData<fn() -> T>,
}

impl<T: TopList> List<'_, T> {
    /// Writes the item's score unless a newer one is there, and counts the shard's stamp up in the same transaction.
    /// Returns the change that a merge has to have seen.
    async fn put(&self, mine: Entry) -> Result<Change, Fault> {
        let shards = NonZeroU16::new(T::SHARDS).unwrap_or(NonZeroU16::MIN);
        let shard = shard_of(&mine.item, shards);
        let partition = shard_partition(self.generation, shard);
        let key = document_key(&mine.item);
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*self.shared.clock, conflict).await;
            }
            let (stamp_row, stored) = try_join(
                self.shared.store.get(T::TABLE, &partition, STAMP_ROW),
                self.shared.store.get(T::TABLE, &partition, &key),
            )
            .await?;
            let stamp = stamp_row.as_ref().map_or(Ok(0), |row| read_stamp(&partition, row))?;
            if let Some(stored) = &stored {
                let known: Entry = read_document(T::TABLE, stored)?;
                if known.position() >= mine.position() {
                    // Whoever wrote it may have died before it was shown. The stamp above may be older than the item:
                    // only one that is read after it counts the change in.
                    let row = self.shared.store.get(T::TABLE, &partition, STAMP_ROW).await?;
                    let stamp = row.as_ref().map_or(Ok(0), |row| read_stamp(&partition, row))?;
                    return Ok(Change { shard, stamp });
                }
            }
            let mut row = Row::new(key.clone());
            write_document(&mut row, &mine)?;
            let stamped = Row::new(STAMP_ROW).with("Stamp", stamp + 1);
            let operations = [
                match stamp_row {
                    Some(old) => Operation::Replace(stamped, old.etag),
                    None => Operation::Insert(stamped),
                },
                match stored {
                    Some(stored) => Operation::Replace(row, stored.etag),
                    None => Operation::Insert(row),
                },
            ];
            match self.shared.store.transact(T::TABLE, &partition, &operations).await {
                Ok(_) => return Ok(Change { shard, stamp: stamp + 1 }),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(Fault::transient("VIEW_CONFLICT", format!("{}: {:?} changed all the time", T::NAME, mine.item)))
    }

    /// Returns once the merged row shows the change.
    async fn show(&self, change: Change) -> Result<(), Fault> {
        for _ in 0..=MAX_CONFLICTS {
            let mut known = self.merged.lock().await;
            if known.as_ref().is_some_and(|merged| merged.shows(change)) {
                return Ok(());
            }
            let stored = self.read_merged().await?;
            *known = stored.as_ref().map(|(merged, _)| merged.clone());
            let Some((merged, row)) = stored else {
                *known = self.merge(None).await?;
                continue;
            };
            if merged.shows(change) {
                return Ok(());
            }
            // A clock that was wound back must not make us wait for its past.
            let wait = (merged.at + INTERVAL - self.shared.clock.now()).min(INTERVAL);
            if wait.is_positive() {
                self.shared.clock.sleep(wait.unsigned_abs()).await;
            }
            // The tag was read before the shards are, so a merge that saw less cannot replace one that saw more.
            *known = self.merge(Some(row)).await?;
        }
        Err(Fault::transient("VIEW_CONFLICT", format!("{}: the merged row changed all the time", T::NAME)))
    }

    async fn read_merged(&self) -> Result<Option<(Merged, StoredRow)>, Fault> {
        let row = self.shared.store.get(T::TABLE, &merged_partition(self.generation), MERGED_ROW).await?;
        row.map(|row| Ok((read_document(T::TABLE, &row)?, row))).transpose()
    }

    /// Merges all shards; `None` when somebody else wrote the merged row meanwhile.
    async fn merge(&self, stored: Option<StoredRow>) -> Result<Option<Merged>, Fault> {
        let at = self.shared.clock.now();
        let shards = try_join_all((0..T::SHARDS).map(|shard| self.read_shard(shard))).await?;
        let (stamps, entries): (Vec<i64>, Vec<Vec<Entry>>) = shards.into_iter().unzip();
        let mut entries: Vec<Entry> = entries.into_iter().flatten().filter(|entry| entry.score > 0).collect();
        entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
        entries.truncate(T::SIZE);
        let merged = Merged { at, entries, stamps };
        let mut row = Row::new(MERGED_ROW);
        write_document(&mut row, &merged)?;
        let operation = match stored {
            Some(stored) => Operation::Replace(row, stored.etag),
            None => Operation::Insert(row),
        };
        match self.shared.store.transact(T::TABLE, &merged_partition(self.generation), &[operation]).await {
            Ok(_) => Ok(Some(merged)),
            Err(TransactError::Refused(error)) => Err(error.into()),
            Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => Ok(None),
        }
    }

    /// A shard's stamp and items. The stamp sorts first, so the items are at least as new as it.
    async fn read_shard(&self, shard: u16) -> Result<(i64, Vec<Entry>), Fault> {
        let range = Range {
            partition: shard_partition(self.generation, shard),
            from: STAMP_ROW.to_owned(),
            to: Some("E".to_owned()),
            top: 1_000,
        };
        let (mut stamp, mut entries, mut from) = (0, Vec::new(), None);
        loop {
            let page = self.shared.store.query(T::TABLE, &range, from.as_ref()).await?;
            for row in &page.rows {
                if row.key == STAMP_ROW {
                    stamp = read_stamp(&range.partition, row)?;
                } else {
                    entries.push(read_document(T::TABLE, row)?);
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok((stamp, entries)),
            }
        }
    }

    /// Takes an event, without showing it. Scores are absolute, so only the newest counts and order does not matter.
    async fn score(&self, event: &CloudEvent, source: &Source) -> Result<Option<Change>, Fault> {
        let Some(decoded) = decode::<T::Event>(T::NAME, event)? else { return Ok(None) };
        let Some(score) = T::score(&decoded, source) else { return Ok(None) };
        let item = source.aggregate.id().to_owned();
        self.put(Entry { item, score, epoch: source.epoch, sequence: source.sequence }).await.map(Some)
    }
}

#[async_trait]
impl<T: TopList> Consume for TopConsumer<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn categories(&self) -> Vec<&'static str> {
        T::Event::categories()
    }

    async fn consume(&self, shared: &Shared, event: &CloudEvent, source: &Source, _: &[u8]) -> Result<(), Fault> {
        self.pointer
            .each(shared, |generation, _| async move {
                let list = self.list(shared, generation);
                match list.score(event, source).await? {
                    Some(change) => list.show(change).await,
                    None => Ok(()),
                }
            })
            .await
    }

    /// Nothing waits for anything.
    async fn gap(&self, _: &Shared, _: &AggregateId) -> Result<Option<u64>, Fault> {
        Ok(None)
    }

    fn rebuilt(&self) -> Option<&dyn Rebuilt> {
        Some(self)
    }
}

/// Events of the past go by a cursor: not for their order, but to know that all of them came.
#[async_trait]
impl<T: TopList> Apply for List<'_, T> {
    const NAME: &'static str = T::NAME;
    const TABLE: &'static str = T::TABLE;

    fn cursor_partition(&self, source: &AggregateId) -> String {
        self.generation.cursor_partition(&source.key())
    }

    async fn apply(
        &self,
        cursor: &Cursor,
        event: &CloudEvent,
        source: &Source,
        also: Option<Operation>,
    ) -> Result<Applied, Step> {
        self.score(event, source).await?;
        let mut operations = vec![cursor.advance(source)];
        operations.extend(also);
        self.shared.store.transact(T::TABLE, &cursor.partition, &operations).await?;
        Ok(Applied::default())
    }
}

#[async_trait]
impl<T: TopList> Rebuilt for TopConsumer<T> {
    fn table(&self) -> &'static str {
        T::TABLE
    }

    async fn fill(
        &self,
        shared: &Shared,
        generation: Generation,
        event: &CloudEvent,
        source: &Source,
        body: &[u8],
    ) -> Result<(), Fault> {
        take(&self.list(shared, generation), shared, event, source, body, false).await
    }

    async fn position(&self, shared: &Shared, generation: Generation, source: &AggregateId) -> Result<Position, Fault> {
        position(&self.list(shared, generation), shared, source).await
    }

    /// Events of the past are not shown one by one: one merge shows them all.
    async fn finish(&self, shared: &Shared, generation: Generation) -> Result<(), Fault> {
        let list = self.list(shared, generation);
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*shared.clock, conflict).await;
            }
            let stored = list.read_merged().await?.map(|(_, row)| row);
            if list.merge(stored).await?.is_some() {
                return Ok(());
            }
        }
        Err(Fault::transient("VIEW_CONFLICT", format!("{}: the merged row changed all the time", T::NAME)))
    }

    /// The cursors were the rebuild's alone.
    fn doomed(&self, generation: Generation, kept: Generation) -> Vec<(String, String)> {
        vec![generation.partitions(), generation.cursor_partitions(), kept.cursor_partitions()]
    }
}

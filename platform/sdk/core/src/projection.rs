//! Projections: views that are folded from integration events.

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use crate::cloud_event::ContractSet;
use crate::id::AggregateId;

/// Where an integration event comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The aggregate.
    pub aggregate: AggregateId,
    /// The epoch of its store.
    pub epoch: u32,
    /// The event's number among all integration events of the aggregate, from 1, without gaps.
    pub sequence: u64,
    /// When it was decided.
    pub time: OffsetDateTime,
}

/// A row that an event changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// The view's partition: what a query asks for.
    pub partition: String,
    /// The row within it. Rows are listed in ascending order of it.
    pub row: String,
}

impl Touch {
    /// A row of a partition.
    pub fn new(partition: impl Into<String>, row: impl Into<String>) -> Self {
        Touch { partition: partition.into(), row: row.into() }
    }
}

/// Whether the rows of one partition come from one aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// Each partition is fed by one aggregate, and its name is that aggregate's id: event and cursor are one
    /// transaction.
    OneSource,
    /// Partitions are fed by many aggregates, and one event may touch several partitions.
    ManySources,
}

/// A view, folded from integration events. Pure: the engine reads, writes, orders and deduplicates.
pub trait Projection: Send + Sync + 'static {
    /// The consumer's name, unique within the service: part of its cursors' keys.
    const NAME: &'static str;
    /// The view's table in the query store: `[A-Za-z][A-Za-z0-9]{2,62}`.
    const TABLE: &'static str;
    /// Who feeds a partition.
    const PARTITIONING: Partitioning;
    /// The contracts it reads.
    type Event: ContractSet;
    /// One row.
    type Row: Serialize + DeserializeOwned + Send + Sync;

    /// Whether its partitions may be watched ([`crate::views::Watches`]). While nobody watches, a view with one source
    /// pays nothing for it, one with many sources a write without data in each transaction. Of a view with one source,
    /// the source has to be the only category that it reads.
    const LIVE: bool = false;

    /// The rows that the event changes: at most 90 of one partition.
    fn touches(event: &Self::Event, source: &Source) -> Vec<Touch>;

    /// The row after the event; `None` removes it. Called once for each touch, again after a conflict.
    fn apply(row: Option<Self::Row>, event: &Self::Event, touch: &Touch, source: &Source) -> Option<Self::Row>;
}

/// The first or last of many: a list ranked by a score, over all sources.
///
/// It has two levels. Each item's absolute score is kept in one of [`TopList::SHARDS`] partitions; a merged row with
/// the first [`TopList::SIZE`] is written at most once a second, and an event is settled only once the merged row
/// shows it. A query is one point read.
pub trait TopList: Send + Sync + 'static {
    /// The consumer's name, unique within the service.
    const NAME: &'static str;
    /// The list's table in the query store.
    const TABLE: &'static str;
    /// How many partitions hold the items.
    const SHARDS: u16 = 16;
    /// How many items the merged row shows, at most 1,000.
    const SIZE: usize = 100;
    /// The contracts it reads.
    type Event: ContractSet;

    /// The absolute score of the event's source after the event, `None` where the event does not change it. The item
    /// is the source aggregate's id.
    fn score(event: &Self::Event, source: &Source) -> Option<i64>;
}

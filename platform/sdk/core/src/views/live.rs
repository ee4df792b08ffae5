//! Live views: who watches a partition, and what they are told.
//!
//! A projection that is [`Projection::LIVE`] may be watched, partition by partition. While somebody watches, each
//! transaction that changes rows of the partition gives its change the next number, writes the number to the rows, and
//! keeps the change itself, the last [`KEPT`] of them. Only then is it pushed, in the order of the numbers; how far that
//! came is written afterwards. So what is pushed is what the transaction wrote, a crash before the push repeats it, and
//! whoever was away asks for what follows the last number that it has. A watch goes on for [`RESUME`] after the last
//! watcher has left, since those whose connections were lost may come back.
//!
//! Whether somebody watches is told by a row that is read or written anyway, the head:
//!
//! - With one source, the partition's cursor.
//! - With many sources, the row `V~`. It is not read: each transaction asks that the row `N~` exists, which is there
//!   while nobody watches. The first write to a partition, and every one while somebody watches, fails in that, reads the
//!   head and tries again.
//!
//! | row | holds |
//! |---|---|
//! | head | `Watched` until when, `Version` the last number, `Since` the number after which all are kept, `Pushed` |
//! | `N~` | nothing: nobody watches |
//! | `H~{number % 64}` | a change |
//! | `W~{group}` | a watcher: `Until` when, of which row, and its operation |

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::generation::{Generation, read_state};
use super::{DOCUMENT, MAX_CONFLICTS, Shared, document_key, give_way, source_key};
use crate::cloud_event::ContractSet;
use crate::fault::Fault;
use crate::id::{AggregateId, IdError};
use crate::ports::{Clock, LiveHub, TableStore, TransactError};
use crate::projection::{Partitioning, Projection};
use crate::store::{corrupt, get_text, put_text};
use crate::table::{Etag, MAX_ROW_BYTES, Operation, Range, Row, StoredRow};

/// How many changes of a partition are kept for those who come back.
pub const KEPT: u64 = 64;
/// The table of the connections of those who watch, in the query store.
pub const SUBSCRIPTIONS_TABLE: &str = "subscriptions";
/// How long changes go on being kept when nobody is left: whoever comes back by then has missed nothing, as long as no more
/// than [`KEPT`] changes were made.
pub const RESUME: Duration = Duration::from_secs(300);
/// How long after its end a watch still counts, in seconds: the clocks of two processes differ.
const MARGIN: i64 = 120;
/// Ends of watches are rounded up to this many seconds, so that the head is not written for each watcher.
const STEP: i64 = 900;
/// Ends of watches that nobody is left of are rounded up to this many seconds.
const RESUME_STEP: i64 = 60;
/// The most watchers that are removed in one transaction.
const MAX_REMOVED: usize = 20;

/// The head of a partition with many sources.
pub(super) const HEAD: &str = "V~";
/// The row that is there while nobody watches a partition with many sources.
pub(super) const NOBODY: &str = "N~";
const WATCHERS: &str = "W~";
const HISTORY: &str = "H~";

/// What somebody watches: a partition of a view, or one row of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// The view's table.
    pub table: String,
    /// The partition as it is stored: each generation of a view has its own.
    pub partition: String,
    /// The row; absent for all rows of the partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    head: String,
}

impl Topic {
    fn new<P: Projection>(generation: Generation, partition: &str, row: Option<&str>) -> Result<Self, IdError> {
        let head = match P::PARTITIONING {
            // One source is one aggregate, so its category is the only one.
            Partitioning::OneSource => {
                let category = P::Event::categories().first().copied().unwrap_or_default();
                source_key(&AggregateId::new(category, partition)?.key())
            }
            Partitioning::ManySources => HEAD.to_owned(),
        };
        let row = row.map(str::to_owned);
        Ok(Topic { table: P::TABLE.to_owned(), partition: generation.partition(partition), row, head })
    }

    fn has_many_sources(&self) -> bool {
        self.head == HEAD
    }
}

/// Why a topic cannot be watched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WatchError {
    /// The partition is no aggregate's id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The view is not [`Projection::LIVE`].
    #[error("the view {0:?} cannot be watched")]
    NotLive(&'static str),
    /// The store or the hub is away, or what is stored cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// One of those who watch: everybody who asked the same of the same topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// The group at the hub, `[A-Za-z0-9_-]`, at most 200 characters.
    pub group: String,
    /// Until when, in seconds since 1970.
    pub until: i64,
    /// The row, or absent for all rows of the partition.
    pub row: Option<String>,
    /// What is executed for each change, opaque to the engine. At most 256 KiB.
    pub operation: String,
}

/// A row that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedRow {
    /// The row's name.
    pub row: String,
    /// The number of the row's change before this one; of the beginning of the watch where there was none.
    pub previous: u64,
    /// The row afterwards, as JSON; absent where it was removed.
    pub document: Option<String>,
}

/// What one transaction changed in a partition that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its number in the partition, from 1.
    pub number: u64,
    /// The rows; absent where they are too large to be kept, so that watchers have to read for themselves.
    pub rows: Option<Vec<ChangedRow>>,
}

/// Tells the watchers.
#[async_trait]
pub trait Push: Send + Sync {
    /// Tells everybody in the watcher's group of a change, which concerns it: executed once, sent once.
    ///
    /// # Errors
    /// A hub that is away. The same change is pushed again later.
    async fn push(&self, watcher: &Watcher, change: &Change) -> Result<(), Fault>;

    /// Tells everybody in the group that it has to subscribe anew: what it watches is no longer written.
    ///
    /// # Errors
    /// See [`Push::push`].
    async fn renew(&self, group: &str) -> Result<(), Fault>;
}

/// What the head says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Watch {
    until: i64,
    pub(super) since: u64,
    pub(super) version: u64,
    pub(super) pushed: u64,
}

impl Watch {
    /// What a head says; nothing where nobody ever watched.
    pub(super) fn of_row(partition: &str, row: &StoredRow) -> Result<Option<Self>, Fault> {
        if !row.properties.contains_key("Version") {
            return Ok(None);
        }
        let number = |name: &str| {
            row.int(name)
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| corrupt(partition, &row.key, format!("{name} is no number from 0")))
        };
        let until = row.int("Watched").ok_or_else(|| corrupt(partition, &row.key, "Watched is no number"))?;
        Ok(Some(Watch { until, since: number("Since")?, version: number("Version")?, pushed: number("Pushed")? }))
    }

    pub(super) fn write(self, row: Row) -> Row {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        row.with("Watched", self.until)
            .with("Since", number(self.since))
            .with("Version", number(self.version))
            .with("Pushed", number(self.pushed))
    }

    pub(super) fn state(self, clock: &dyn Clock) -> State {
        match self.until {
            0 => State::Nobody,
            until if is_over(until, clock.now().unix_timestamp()) => State::Over,
            _ => State::Watched,
        }
    }

    /// After the change that has the next number.
    pub(super) fn next(self) -> Self {
        Watch { version: self.version + 1, ..self }
    }

    /// When nobody watches any more: no number is ever given twice, and what happens from now on is not kept.
    fn ended(self) -> Self {
        let version = self.version + 1;
        Watch { until: 0, since: version, version, pushed: version }
    }

    /// The oldest number after which all changes are kept.
    fn kept_after(self) -> u64 {
        self.since.max(self.version.saturating_sub(KEPT))
    }

    /// The number of a row as it was read after the head.
    fn number_of(self, row: Option<&StoredRow>) -> u64 {
        row.and_then(|row| row.int("Version"))
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or(0)
            .max(self.since)
    }
}

/// Whether somebody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Nobody,
    /// Somebody did, and did not say that they went.
    Over,
    Watched,
}

/// The write that keeps a change. One that is too large is kept without its rows.
pub(super) fn keep(partition: &str, change: &mut Change) -> Result<Operation, Fault> {
    let key = format!("{HISTORY}{:02}", change.number % KEPT);
    let row = |change: &Change| {
        let mut row = Row::new(key.as_str()).with("Number", i64::try_from(change.number).unwrap_or(i64::MAX));
        let json = serde_json::to_string(change).map_err(|error| Fault::permanent("VIEW_ENCODING", error))?;
        put_text(&mut row, "Change", &json);
        Ok::<Row, Fault>(row)
    };
    let whole = row(change)?;
    if whole.size(partition) <= MAX_ROW_BYTES {
        return Ok(Operation::Put(whole));
    }
    change.rows = None;
    Ok(Operation::Put(row(change)?))
}

/// The number of a stored row's last change within the watch.
pub(super) fn previous(watch: Watch, stored: Option<&StoredRow>) -> u64 {
    watch.number_of(stored)
}

/// What has been written and not yet been pushed.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) table: &'static str,
    pub(super) partition: String,
    pub(super) head: String,
    /// The head's tag, if it is known.
    pub(super) etag: Option<Etag>,
    pub(super) watch: Watch,
    /// The change of the highest number, if it is known.
    pub(super) change: Option<Change>,
}

impl Outbox {
    /// Pushes everything that is not pushed yet, in order, and writes that it is.
    pub(super) async fn push(self, shared: &Shared) -> Result<(), Fault> {
        let Some(push) = &shared.push else { return Ok(()) };
        let store = &*shared.store;
        let Outbox { table, partition, head, etag, watch, change } = self;
        if watch.version <= watch.pushed {
            return Ok(());
        }
        let watchers = watchers(store, table, &partition).await?;
        let now = shared.clock.now().unix_timestamp();
        let watchers: Vec<&Watcher> =
            watchers.iter().map(|(watcher, _)| watcher).filter(|watcher| !is_over(watcher.until, now)).collect();
        let is_next = change.as_ref().is_some_and(|change| change.number == watch.pushed + 1);
        let changes = match change {
            Some(change) if is_next => vec![change],
            _ => kept(store, table, &partition).await?,
        };
        let due: Vec<&Change> =
            changes.iter().filter(|change| (watch.pushed + 1..=watch.version).contains(&change.number)).collect();
        if (due.len() as u64) < watch.version - watch.pushed {
            // More happened than is kept.
            try_join_all(watchers.iter().map(|watcher| push.renew(&watcher.group))).await?;
        } else {
            for change in due {
                // One after the other, so that they arrive in this order; the groups beside each other.
                try_join_all(watchers.iter().map(|watcher| tell(&**push, watcher, change))).await?;
            }
        }
        let mut etag = etag;
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*shared.clock, conflict).await;
            }
            if etag.is_none() {
                let Some(row) = store.get(table, &partition, &head).await? else { return Ok(()) };
                if Watch::of_row(&partition, &row)?.is_none_or(|now| now.pushed >= watch.version) {
                    return Ok(());
                }
                etag = Some(row.etag);
            }
            let Some(tag) = etag.take() else { continue };
            let row = Row::new(head.as_str()).with("Pushed", i64::try_from(watch.version).unwrap_or(i64::MAX));
            match store.transact(table, &partition, &[Operation::Merge(row, tag)]).await {
                Ok(_) => return Ok(()),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        // It is pushed; whoever is next pushes it again, and the clients know it by its number.
        Ok(())
    }
}

async fn tell(push: &dyn Push, watcher: &Watcher, change: &Change) -> Result<(), Fault> {
    let Some(rows) = &change.rows else { return push.renew(&watcher.group).await };
    match &watcher.row {
        Some(row) if !rows.iter().any(|changed| changed.row == *row) => Ok(()),
        _ => push.push(watcher, change).await,
    }
}

/// All rows of a partition whose keys begin so.
async fn rows_from(
    store: &dyn TableStore,
    table: &str,
    partition: &str,
    prefix: &str,
) -> Result<Vec<StoredRow>, Fault> {
    // No key goes on with a second `~`.
    let to = Some(format!("{prefix}~"));
    let range = Range { partition: partition.to_owned(), from: prefix.to_owned(), to, top: 1_000 };
    let mut rows = Vec::new();
    let mut from = None;
    loop {
        let page = store.query(table, &range, from.as_ref()).await?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(rows),
        }
    }
}

async fn watchers(store: &dyn TableStore, table: &str, partition: &str) -> Result<Vec<(Watcher, Etag)>, Fault> {
    let rows = rows_from(store, table, partition, WATCHERS).await?;
    let read = |row: StoredRow| {
        let unreadable = |what: &str| corrupt(partition, &row.key, what);
        let operation = get_text(&row, "Operation").map_err(|what| unreadable(&what))?;
        let watcher = Watcher {
            group: row.key.trim_start_matches(WATCHERS).to_owned(),
            until: row.int("Until").ok_or_else(|| unreadable("Until is no number"))?,
            row: row.str("Row").map(str::to_owned),
            operation: operation.ok_or_else(|| unreadable("Operation is missing"))?,
        };
        Ok((watcher, row.etag))
    };
    rows.into_iter().map(read).collect()
}

/// The writes that remove watchers, unless somebody joins them.
fn removals(watchers: &[(Watcher, Etag)]) -> Vec<Operation> {
    let remove =
        |(watcher, tag): &(Watcher, Etag)| Operation::Delete(format!("{WATCHERS}{}", watcher.group), Some(tag.clone()));
    watchers.iter().map(remove).collect()
}

/// Watchers of whom some are over: the others, and at most [`MAX_REMOVED`] of those that are over; more of them are removed.
async fn sorted_out(
    store: &dyn TableStore,
    table: &str,
    partition: &str,
    now: i64,
) -> Result<(Vec<(Watcher, Etag)>, Vec<(Watcher, Etag)>), Fault> {
    let all = watchers(store, table, partition).await?;
    let (mut over, lasting): (Vec<_>, Vec<_>) = all.into_iter().partition(|(watcher, _)| is_over(watcher.until, now));
    while over.len() > MAX_REMOVED {
        let some = over.split_off(over.len() - MAX_REMOVED);
        // One that somebody joins meanwhile stays, and the others of these with it, until somebody looks again.
        written(store.transact(table, partition, &removals(&some)).await)?;
    }
    Ok((lasting, over))
}

/// Whether the time until then is over for every process.
fn is_over(until: i64, now: i64) -> bool {
    until.saturating_add(MARGIN) <= now
}

/// The changes that are kept, in the order of their numbers.
async fn kept(store: &dyn TableStore, table: &str, partition: &str) -> Result<Vec<Change>, Fault> {
    let mut changes = Vec::new();
    for row in rows_from(store, table, partition, HISTORY).await? {
        let json = get_text(&row, "Change").map_err(|what| corrupt(partition, &row.key, what))?.unwrap_or_default();
        changes.push(serde_json::from_str::<Change>(&json).map_err(|error| corrupt(partition, &row.key, error))?);
    }
    changes.sort_unstable_by_key(|change| change.number);
    Ok(changes)
}

/// Ends a watch: `also` goes in the same transaction. What was kept is removed as far as it fits. False where others were
/// at the same rows, or nobody knows: whoever asked reads again.
async fn end(
    store: &dyn TableStore,
    table: &str,
    partition: &str,
    head: &StoredRow,
    watch: Watch,
    also: Vec<Operation>,
) -> Result<bool, Fault> {
    let mut operations = also;
    let row = watch.ended().write(Row::new(head.key.as_str()));
    // A cursor has more to say than who watches.
    operations.push(Operation::Merge(row, head.etag.clone()));
    if head.key == HEAD {
        operations.push(Operation::Insert(Row::new(NOBODY)));
    }
    let room = crate::table::MAX_OPERATIONS.saturating_sub(operations.len());
    let old = rows_from(store, table, partition, HISTORY).await?;
    operations.extend(old.into_iter().take(room).map(|row| Operation::Delete(row.key, Some(row.etag))));
    written(store.transact(table, partition, &operations).await)
}

/// Whether a transaction is known to have been applied.
fn written<T>(result: Result<T, TransactError>) -> Result<bool, Fault> {
    match result {
        Ok(_) => Ok(true),
        Err(TransactError::Refused(error)) => Err(error.into()),
        Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => Ok(false),
    }
}

/// Ends a watch whose time is over, unless somebody watches again. Whoever asks reads again.
pub(super) async fn expire(
    store: &dyn TableStore,
    clock: &dyn Clock,
    table: &str,
    partition: &str,
    head: &str,
) -> Result<(), Fault> {
    let Some(row) = store.get(table, partition, head).await? else { return Ok(()) };
    let Some(watch) = Watch::of_row(partition, &row)? else { return Ok(()) };
    if watch.state(clock) != State::Over {
        return Ok(());
    }
    let (lasting, over) = sorted_out(store, table, partition, clock.now().unix_timestamp()).await?;
    match lasting.iter().map(|(watcher, _)| watcher.until).max() {
        None => end(store, table, partition, &row, watch, removals(&over)).await.map(drop),
        // Somebody began by a head that was shortened at the same time, and has not seen it yet.
        Some(until) => {
            let longer = Watch { until, ..watch }.write(Row::new(head));
            written(store.transact(table, partition, &[Operation::Merge(longer, row.etag)]).await).map(drop)
        }
    }
}

/// The groups of those who watch something in these rows of a partition, before the rows are deleted.
pub(super) fn groups(rows: &[(String, StoredRow)]) -> impl Iterator<Item = &str> {
    rows.iter().filter_map(|(_, row)| row.key.strip_prefix(WATCHERS))
}

/// What a watcher begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The changes after the number that it had.
    Missed(Vec<Change>),
    /// What is so now; later changes have higher numbers.
    Now {
        /// The number to go on from.
        number: u64,
        /// The row; absent where there is none, or where all rows are watched.
        document: Option<String>,
    },
}

/// Begins and ends watches.
#[derive(Clone)]
pub struct Watches {
    store: Arc<dyn TableStore>,
    clock: Arc<dyn Clock>,
}

impl Watches {
    /// Watches of views in a query store.
    pub fn new(store: Arc<dyn TableStore>, clock: Arc<dyn Clock>) -> Self {
        Watches { store, clock }
    }

    /// The topic of a partition of the live generation, or of one row of it.
    ///
    /// # Errors
    /// A view that cannot be watched, a partition that is no aggregate's id, and a store that is away.
    pub async fn topic<P: Projection>(&self, partition: &str, row: Option<&str>) -> Result<Topic, WatchError> {
        if !P::LIVE {
            return Err(WatchError::NotLive(P::NAME));
        }
        let (state, _) = read_state(&*self.store, P::NAME).await?;
        Ok(Topic::new::<P>(state.live, partition, row)?)
    }

    async fn head(&self, topic: &Topic) -> Result<(Option<Watch>, Option<StoredRow>), Fault> {
        let row = self.store.get(&topic.table, &topic.partition, &topic.head).await?;
        let watch = row.as_ref().map(|row| Watch::of_row(&topic.partition, row)).transpose()?.flatten();
        Ok((watch, row))
    }

    /// Begins or prolongs a watch. Whoever is to hear of the changes has joined the watcher's group before.
    ///
    /// # Errors
    /// A store that is away, or many others at the same partition.
    pub async fn watch(&self, topic: &Topic, watcher: &Watcher) -> Result<(), Fault> {
        let store = &*self.store;
        let key = format!("{WATCHERS}{}", watcher.group);
        let needed = watcher.until.saturating_add(RESUME.as_secs() as i64);
        // Rounded up, so that most of those who join a group find it long enough.
        let until = needed.saturating_add(STEP - 1) / STEP * STEP;
        let mut row = Row::new(key.as_str()).with("Until", until);
        if let Some(of) = &watcher.row {
            row = row.with("Row", of.as_str());
        }
        put_text(&mut row, "Operation", &watcher.operation);
        let mut conflicts = 0;
        while conflicts <= MAX_CONFLICTS {
            if conflicts > 0 {
                give_way(&*self.clock, conflicts).await;
            }
            let is_long = |row: &Option<StoredRow>| {
                row.as_ref().and_then(|row| row.int("Until")).is_some_and(|until| until >= needed)
            };
            let mut there = store.get(&topic.table, &topic.partition, &key).await?;
            let was_long = is_long(&there);
            if was_long {
                // Written and then read: whoever ends or shortens a watch has read these rows before it asked whether anybody
                // is in the group, and writes them by their tags. What it wrote earlier is read here, and what it would write
                // later fails, since this write gives the row another tag. Not written where the row is too short: of
                // many who join, one prolongs it, and the others would keep it from that.
                let require = [Operation::Require(key.clone())];
                if !written(store.transact(&topic.table, &topic.partition, &require).await)? {
                    conflicts += 1;
                    continue;
                }
                there = store.get(&topic.table, &topic.partition, &key).await?;
            }
            let (watch, head) = self.head(topic).await?;
            if was_long && is_long(&there) && watch.is_some_and(|watch| watch.until >= needed) {
                return Ok(());
            }
            let write = match there {
                Some(there) => Operation::Replace(row.clone(), there.etag),
                None => Operation::Insert(row.clone()),
            };
            let (operations, is_certain) = prolong(topic, write, watch, head, until);
            match store.transact(&topic.table, &topic.partition, &operations).await {
                Ok(_) if is_certain => return Ok(()),
                // The head may have been shortened since it was read, by somebody who did not see this row: looked at again.
                Ok(_) => {}
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => conflicts += 1,
            }
        }
        Err(busy(topic))
    }

    /// What a watcher begins with, once the watch has begun; `after` is the number that it had in the same group.
    ///
    /// # Errors
    /// A store that is away, or rows that are not as this code writes them.
    pub async fn start(&self, topic: &Topic, after: Option<u64>) -> Result<Start, Fault> {
        let watch = self.head(topic).await?.0.unwrap_or_default();
        if let Some(after) = after.filter(|after| (watch.kept_after()..=watch.version).contains(after))
            && let Some(missed) = self.missed(topic, after, watch.version).await?
        {
            return Ok(Start::Missed(missed));
        }
        let Some(row) = &topic.row else { return Ok(Start::Now { number: watch.version, document: None }) };
        let stored = self.store.get(&topic.table, &topic.partition, &document_key(row)).await?;
        let number = watch.number_of(stored.as_ref());
        let document = match &stored {
            Some(stored) => get_text(stored, DOCUMENT).map_err(|what| corrupt(&topic.partition, &stored.key, what))?,
            None => None,
        };
        Ok(Start::Now { number, document })
    }

    /// The changes after a number, if all of them are kept. Those of other rows are left out.
    async fn missed(&self, topic: &Topic, after: u64, version: u64) -> Result<Option<Vec<Change>>, Fault> {
        let mut changes = kept(&*self.store, &topic.table, &topic.partition).await?;
        changes.retain(|change| change.number > after);
        // Read while others write: the first ones may have been written over.
        let is_whole = changes.len() as u64 >= version - after
            && changes.iter().zip(after + 1..).all(|(change, number)| change.number == number)
            && changes.iter().all(|change| change.rows.is_some());
        if !is_whole {
            return Ok(None);
        }
        if let Some(row) = &topic.row {
            for change in &mut changes {
                if let Some(rows) = &mut change.rows {
                    rows.retain(|changed| changed.row == *row);
                }
            }
            changes.retain(|change| change.rows.as_ref().is_some_and(|rows| !rows.is_empty()));
        }
        Ok(Some(changes))
    }

    /// Lets a watch end in [`RESUME`] if nobody is in its group any more, and ends it where its time is over already.
    ///
    /// # Errors
    /// A store or a hub that is away: the watch then ends with its time.
    pub async fn leave(&self, topic: &Topic, group: &str, hub: &dyn LiveHub) -> Result<(), Fault> {
        let (store, Topic { table, partition, .. }) = (&*self.store, topic);
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*self.clock, conflict).await;
            }
            let (watch, head) = self.head(topic).await?;
            if watch.is_some_and(|watch| watch.state(&*self.clock) == State::Over) {
                // Read again: whoever sweeps forgets the group afterwards.
                expire(store, &*self.clock, table, partition, &topic.head).await?;
                continue;
            }
            let now = self.clock.now().unix_timestamp();
            let (lasting, over) = sorted_out(store, table, partition, now).await?;
            if !over.is_empty() && !written(store.transact(table, partition, &removals(&over)).await)? {
                continue;
            }
            let mine = lasting.iter().find(|(watcher, _)| watcher.group == group);
            // Rounded up, so that most of those who leave after the last one have nothing to write.
            let until = (now + RESUME.as_secs() as i64 + RESUME_STEP - 1) / RESUME_STEP * RESUME_STEP;
            let Some((_, tag)) = mine.filter(|(watcher, _)| watcher.until > until) else { return Ok(()) };
            // Asked after the rows were read: whoever joins now writes its row later, so that its tag is another one.
            if hub.has_members(group).await? {
                return Ok(());
            }
            let row = Row::new(format!("{WATCHERS}{group}")).with("Until", until);
            let mut operations = vec![Operation::Merge(row, tag.clone())];
            let others = lasting.iter().filter(|(other, _)| other.group != group);
            let longest = others.map(|(other, _)| other.until).fold(until, i64::max);
            if let (Some(watch), Some(head)) = (watch.filter(|watch| watch.until > longest), head) {
                let shorter = Watch { until: longest, ..watch }.write(Row::new(topic.head.as_str()));
                operations.push(Operation::Merge(shorter, head.etag));
            }
            if written(store.transact(table, partition, &operations).await)? {
                return Ok(());
            }
        }
        Err(busy(topic))
    }
}

/// The writes after which a watcher is there and the head says that somebody watches until then, and whether nobody can have
/// shortened the head meanwhile.
fn prolong(
    topic: &Topic,
    watcher: Operation,
    watch: Option<Watch>,
    head: Option<StoredRow>,
    until: i64,
) -> (Vec<Operation>, bool) {
    let old = watch.unwrap_or_default();
    if old.until >= until {
        return (vec![watcher, Operation::Require(topic.head.clone())], false);
    }
    // A watch whose time is over and that nobody ended has still kept every change.
    let row = Watch { until, ..old }.write(Row::new(topic.head.as_str()));
    let mut operations = vec![
        watcher,
        match head {
            Some(head) => Operation::Merge(row, head.etag),
            None if topic.has_many_sources() => Operation::Insert(row),
            // A cursor that has seen nothing.
            None => Operation::Insert(row.with("Epoch", 0_i64).with("Sequence", 0_i64)),
        },
    ];
    if topic.has_many_sources() && watch.is_some_and(|watch| watch.until == 0) {
        operations.push(Operation::Delete(NOBODY.to_owned(), None));
    }
    (operations, true)
}

fn busy(topic: &Topic) -> Fault {
    Fault::transient("VIEW_CONFLICT", format!("{:?} of {} changed all the time", topic.partition, topic.table))
}

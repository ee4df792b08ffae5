//! The event store: one partition per aggregate in a table store, one transaction per command.
//!
//! | row key | holds |
//! |---|---|
//! | `E!` | the [`Tip`]: version, sequence, published, epoch, snapshot |
//! | `E~{10^19 - 1 - first version}` | one [`Commit`], newest first |
//! | `C~{command id}` | the [`Outcome`] of a command; inserted, never changed |
//!
//! Beside the aggregates' partitions stand those of client command ids, `K~{command id}`: see
//! [`EventStore::register`].
//!
//! Invariants: a transaction inserts `C`, then writes the tip under its tag, then inserts the commit, so tip, commit
//! and outcome appear together or not at all, and every outcome, rejections included, proves the state it was decided
//! on.

mod backup;
mod history;
mod rows;
mod text;

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub use backup::{BackupLine, Tips};
pub use history::{Aggregates, History, Place};
pub use rows::{Commit, CommitMeta, Outcome, OutcomeStatus, RejectionRecord, StoredEvent, Tip};
pub(crate) use rows::{commit_key, corrupt, format_time};
pub(crate) use text::{get as get_text, put as put_text};

use crate::aggregate::{Aggregate, DecodeError, DomainEvent};
use crate::fault::Fault;
use crate::id::{AggregateId, CommandId, encode_key};
use crate::ports::{TableStore, TransactError};
use crate::table::{Etag, Operation, Range, Row};

/// The table of the event store in each shard's account.
pub const EVENTS_TABLE: &str = "events";
/// A cold load asks for the tip and this many commits at once.
const COMMITS_PER_PAGE: u32 = 50;
/// The most windows of commits that one read forwards asks for at once.
const FORWARD_PAGE: u32 = 1_000;

/// Which of `shards` storage accounts holds an aggregate: a pure function that never changes.
pub fn shard_of(key: &str, shards: NonZeroU16) -> u16 {
    let digest = Sha256::digest(key.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u16::try_from(u64::from_be_bytes(first) % u64::from(shards.get())).expect("the remainder is below a u16")
}

/// An aggregate as it was read.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The folded state.
    pub state: A,
    /// The tip; `None` where nothing is known of the aggregate.
    pub tip: Option<Tip>,
    /// Commits above the mark that is known to be published, ascending.
    pub unpublished: Vec<Commit>,
    /// Commits since the snapshot.
    pub commits_since_snapshot: usize,
    /// Bytes of events since the snapshot.
    pub bytes_since_snapshot: usize,
}

impl<A: Aggregate> Loaded<A> {
    /// An aggregate of which nothing is known.
    pub fn absent() -> Self {
        Loaded {
            state: A::default(),
            tip: None,
            unpublished: Vec::new(),
            commits_since_snapshot: 0,
            bytes_since_snapshot: 0,
        }
    }

    /// The version of the last event.
    pub fn version(&self) -> u64 {
        self.tip.as_ref().map_or(0, |tip| tip.version)
    }

    pub(crate) fn etag(&self) -> Option<&Etag> {
        self.tip.as_ref().map(|tip| &tip.etag)
    }
}

/// What [`EventStore::register`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// The id is new.
    New,
    /// The id was registered before, for the same command.
    Known,
    /// The id was registered before, for another command.
    Reused,
}

/// The event store of one service.
#[derive(Clone)]
pub struct EventStore {
    shards: Arc<[Arc<dyn TableStore>]>,
}

impl EventStore {
    /// A store over its shards, in the descriptor's order.
    ///
    /// # Panics
    /// Without any shard, or with more than 65,535.
    pub fn new(shards: Vec<Arc<dyn TableStore>>) -> Self {
        assert!(!shards.is_empty() && u16::try_from(shards.len()).is_ok(), "an event store has 1 to 65,535 shards");
        EventStore { shards: shards.into() }
    }

    fn shard(&self, partition: &str) -> &dyn TableStore {
        let shards = u16::try_from(self.shards.len()).ok().and_then(NonZeroU16::new).expect("checked by new");
        &*self.shards[usize::from(shard_of(partition, shards))]
    }

    /// The shard that also keeps what belongs to no aggregate.
    pub(crate) fn first_shard(&self) -> &dyn TableStore {
        &*self.shards[0]
    }

    /// Reads an aggregate: one query, more only where the newest snapshot or the published mark lies further back.
    ///
    /// # Errors
    /// A store that is away; rows that are not as this code writes them; an event that this code does not know.
    pub async fn load<A: Aggregate>(&self, id: &AggregateId) -> Result<Loaded<A>, Fault> {
        let partition = id.key();
        let mut range = Range {
            partition: partition.clone(),
            from: rows::TIP.to_owned(),
            to: Some(rows::TIP_AND_COMMITS_END.to_owned()),
            top: COMMITS_PER_PAGE + 1,
        };
        let mut tip: Option<(Tip, Option<A>)> = None;
        let mut commits: Vec<Commit> = Vec::new();
        let mut from = None;
        // The version below which nothing is needed, and the one that the next older commit must end with.
        let (mut needed, mut expected) = (0, 0);
        // Whether the newest commit was looked at: it has to end with the tip's version, even where it is not needed.
        let mut newest = false;
        'pages: loop {
            let page = self.shard(&partition).query(EVENTS_TABLE, &range, from.as_ref()).await?;
            for row in &page.rows {
                if row.key == rows::TIP {
                    let (read, snapshot) = Tip::read(&partition, row)?;
                    let snapshot = snapshot
                        .filter(|_| read.snapshot_schema == A::SNAPSHOT_SCHEMA)
                        .and_then(|json| serde_json::from_str::<A>(&json).ok());
                    let base = if snapshot.is_some() { read.snapshot_version } else { 0 };
                    (needed, expected) = (base.min(read.published), read.version);
                    tip = Some((read, snapshot));
                    continue;
                }
                if tip.is_none() {
                    return Err(corrupt(&partition, &row.key, "there are commits but no tip"));
                }
                if !newest {
                    newest = true;
                    let last = Commit::last_of(&partition, row)?;
                    if last != expected {
                        let what = format_args!("the newest commit ends with version {last}, the tip with {expected}");
                        return Err(corrupt(&partition, &row.key, what));
                    }
                }
                if expected == 0 {
                    return Err(behind_the_first(&partition, &row.key));
                }
                if expected <= needed {
                    break 'pages;
                }
                let commit = Commit::read(&partition, row)?;
                if commit.last != expected {
                    return Err(corrupt(
                        &partition,
                        &row.key,
                        format_args!("ends with version {}, expected {expected}", commit.last),
                    ));
                }
                expected = commit.first - 1;
                commits.push(commit);
            }
            // Once the first commit was read, the rest of the range has to be empty.
            let full = page.next.is_none() && page.rows.len() as u64 >= u64::from(range.top);
            let rest = expected == 0 && (page.next.is_some() || full);
            if tip.is_some() && expected <= needed && !rest {
                if !newest && expected > 0 && page.next.is_none() {
                    let what = format_args!("the commit that ends with {expected} is missing");
                    return Err(corrupt(&partition, rows::TIP, what));
                }
                break;
            }
            match page.next {
                Some(next) => from = Some(next),
                // A store may end a page without a continuation once `top` rows are out: go on behind them.
                None if full => {
                    // A blank is the lowest letter of a key.
                    range.from = page.rows.last().map_or(range.from, |row| format!("{} ", row.key));
                    from = None;
                }
                None => break,
            }
        }
        let Some((tip, snapshot)) = tip else { return Ok(Loaded::absent()) };
        if expected > needed {
            return Err(corrupt(
                &partition,
                rows::TIP,
                format_args!("the commit that ends with {expected} is missing"),
            ));
        }
        let base = if snapshot.is_some() { tip.snapshot_version } else { 0 };
        let mut loaded = Loaded { state: snapshot.unwrap_or_default(), ..Loaded::absent() };
        for commit in commits.into_iter().rev() {
            if commit.last > base {
                for event in &commit.events {
                    loaded.state.evolve(&decode::<A>(&partition, &commit, event)?);
                }
                loaded.commits_since_snapshot += 1;
                loaded.bytes_since_snapshot += commit.event_bytes;
            }
            if commit.last > tip.published {
                loaded.unpublished.push(commit);
            }
        }
        loaded.tip = Some(tip);
        Ok(loaded)
    }

    /// The tip: one point read; `None` where nothing is known of the aggregate.
    ///
    /// # Errors
    /// See [`EventStore::load`].
    pub async fn tip(&self, id: &AggregateId) -> Result<Option<Tip>, Fault> {
        let partition = id.key();
        let row = self.shard(&partition).get(EVENTS_TABLE, &partition, rows::TIP).await?;
        Ok(row.map(|row| Tip::read(&partition, &row)).transpose()?.map(|(tip, _)| tip))
    }

    /// Reads commits forwards, from the one that holds version `from`, at most `limit`. Used by tools, never on the hot
    /// path.
    ///
    /// # Errors
    /// See [`EventStore::load`].
    pub async fn read_forwards(&self, id: &AggregateId, from: u64, limit: usize) -> Result<Vec<Commit>, Fault> {
        let partition = id.key();
        let Some(tip) = self.tip(id).await? else { return Ok(Vec::new()) };
        let mut commits = Vec::new();
        let mut low = from.max(1);
        let mut window = limit.clamp(1, 1_000) as u64;
        while low <= tip.version && commits.len() < limit {
            let high = tip.version.min(low.saturating_add(window - 1));
            let found = self.window(&partition, low, high).await?;
            low = found.last().map_or(high, |commit| commit.last) + 1;
            commits.extend(found);
            window = window.saturating_mul(2).min(1_000);
        }
        commits.truncate(limit);
        Ok(commits)
    }

    /// The commits that hold the versions `low` to `high`, ascending. Commits sort newest first, but their keys can be
    /// computed: a window of versions is a range of keys, and a commit may begin before the window it reaches into.
    async fn window(&self, partition: &str, low: u64, high: u64) -> Result<Vec<Commit>, Fault> {
        let range = Range {
            partition: partition.to_owned(),
            from: commit_key(high),
            to: Some(rows::TIP_AND_COMMITS_END.to_owned()),
            top: FORWARD_PAGE,
        };
        let (mut found, mut next) = (Vec::new(), None);
        // The version that the next older commit has to end with; the newest one reaches the window's end.
        let mut expected = None;
        'window: loop {
            let page = self.shard(partition).query(EVENTS_TABLE, &range, next.as_ref()).await?;
            for row in &page.rows {
                if expected == Some(0) {
                    return Err(behind_the_first(partition, &row.key));
                }
                let commit = Commit::read(partition, row)?;
                if expected.map_or(commit.last < high, |expected| commit.last != expected) {
                    let what = format_args!("ends with version {}, expected {}", commit.last, expected.unwrap_or(high));
                    return Err(corrupt(partition, &row.key, what));
                }
                expected = Some(commit.first - 1);
                // Behind the first commit the rest of the range is looked at: it has to be empty.
                let reaches = commit.first <= low && commit.first > 1;
                found.push(commit);
                if reaches {
                    break 'window;
                }
            }
            match page.next {
                Some(more) => next = Some(more),
                None => break,
            }
        }
        if expected.is_none_or(|expected| expected >= low) {
            return Err(corrupt(partition, &commit_key(low), "the commit is missing"));
        }
        found.reverse();
        Ok(found)
    }

    /// The outcome of a command: one point read.
    ///
    /// # Errors
    /// See [`EventStore::load`].
    pub async fn outcome(&self, id: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault> {
        Ok(self.outcome_and_signal(id, command).await?.map(|(outcome, _)| outcome))
    }

    /// Whether what a command led to is known to be out, commands and failure signal included; `None` where the
    /// command was never decided. A signal is never known to be out: no row tells.
    ///
    /// # Errors
    /// See [`EventStore::load`].
    pub async fn known_published(&self, id: &AggregateId, command: &CommandId) -> Result<Option<bool>, Fault> {
        let Some((outcome, signal)) = self.outcome_and_signal(id, command).await? else { return Ok(None) };
        let tip = self.tip(id).await?.ok_or_else(|| corrupt(&id.key(), rows::TIP, "there is an outcome but no tip"))?;
        let events = outcome.first.is_none() || tip.published >= outcome.version;
        Ok(Some(events && signal.is_none()))
    }

    pub(crate) async fn outcome_and_signal(
        &self,
        id: &AggregateId,
        command: &CommandId,
    ) -> Result<Option<(Outcome, Option<Bytes>)>, Fault> {
        let partition = id.key();
        let row = self.shard(&partition).get(EVENTS_TABLE, &partition, &rows::outcome_key(command)).await?;
        row.map(|row| Outcome::read(&partition, &row)).transpose()
    }

    /// Remembers what a client's command id was first used for, across all aggregates, before the command is queued:
    /// the outcome alone would not show that the id was used for another aggregate.
    ///
    /// # Errors
    /// See [`EventStore::load`].
    pub(crate) async fn register(&self, command: &CommandId, fingerprint: &str) -> Result<Registration, Fault> {
        let partition = format!("K~{}", encode_key(command.as_str()));
        let store = self.shard(&partition);
        let insert = [Operation::Insert(Row::new("K").with("Fingerprint", fingerprint))];
        match store.transact(EVENTS_TABLE, &partition, &insert).await {
            Ok(_) => return Ok(Registration::New),
            Err(TransactError::Refused(error)) => return Err(error.into()),
            // Applied or not: the row tells, and if it is absent the caller may try again.
            Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
        }
        match store.get(EVENTS_TABLE, &partition, "K").await? {
            Some(row) if row.str("Fingerprint") == Some(fingerprint) => Ok(Registration::Known),
            Some(_) => Ok(Registration::Reused),
            None => Err(Fault::transient("STORE_OUTCOME_UNKNOWN", format!("the registration of {command} is unknown"))),
        }
    }

    /// Whether a commit begins with the version.
    pub(crate) async fn has_commit(&self, partition: &str, first: u64) -> Result<bool, Fault> {
        Ok(self.shard(partition).get(EVENTS_TABLE, partition, &commit_key(first)).await?.is_some())
    }

    pub(crate) async fn transact(
        &self,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        self.shard(partition).transact(EVENTS_TABLE, partition, operations).await
    }
}

/// Nobody of ours writes behind the first commit.
fn behind_the_first(partition: &str, key: &str) -> Fault {
    corrupt(partition, key, "it stands behind the first commit, which holds version 1")
}

/// Reads one stored event. A name or version that this code does not know may come from newer code that runs beside
/// it: the fault is transient.
fn decode<A: Aggregate>(partition: &str, commit: &Commit, event: &StoredEvent) -> Result<A::Event, Fault> {
    A::Event::decode(&event.name, event.version, &event.payload).map_err(|error| match error {
        DecodeError::Payload { .. } => corrupt(partition, &commit_key(commit.first), error),
        _ => Fault::transient(
            "EVENT_VERSION_UNKNOWN",
            format!("commit {} of {partition:?}: {error}; deploy the code that knows it", commit.first),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_commits_sort_first_and_behind_the_tip() {
        assert_eq!(commit_key(1), "E~9999999999999999998");
        assert!(commit_key(2) < commit_key(1));
        assert!(rows::TIP < commit_key(u64::from(u32::MAX)).as_str());
        assert!(commit_key(1).as_str() < rows::TIP_AND_COMMITS_END);
    }

    #[test]
    fn the_shard_function_never_changes() {
        let four = NonZeroU16::new(4).unwrap();
        let shards: Vec<u16> =
            ["order:1", "order:2", "stock:85123A", "stock:85123a"].map(|key| shard_of(key, four)).into();
        // Written down once: another answer would lose the aggregates of every sharded store.
        assert_eq!(shards, [0, 2, 1, 3]);
        assert_eq!(shard_of("order:1", NonZeroU16::MIN), 0);
    }
}

//! Backups: an aggregate's commits as lines, and aggregates made from them again.
//!
//! A line holds a commit with the outcome of its command, as stored. Rejections are not in a backup, nor are snapshots
//! (the first load folds all), nor the keys of persons.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rows::{self, outcome_key};
use super::{Commit, EVENTS_TABLE, EventStore, Outcome, Tip, corrupt};
use crate::cloud_event::CloudEvent;
use crate::fault::Fault;
use crate::id::{AggregateId, CommandId, encode_key};
use crate::ports::TransactError;
use crate::table::{Continuation, Etag, MAX_TRANSACTION_BYTES, Operation, Row, StoredRow, Sweep, Value};

/// The most commits of one transaction: each takes two or three rows, a transaction holds 100.
const COMMITS_PER_TRANSACTION: usize = 32;
/// How often a transaction whose fate is unknown is tried again.
const TRIES: u32 = 5;
/// The partition that says of a store that it was made from a backup, in its first shard.
const RESTORED: &str = "R~restored";

/// One commit of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupLine {
    /// The aggregate.
    pub aggregate: AggregateId,
    /// The version of the commit's first event.
    pub first: u64,
    /// The version of its last event.
    pub last: u64,
    /// The epoch of the store that it was read from.
    pub epoch: u32,
    /// The version that was known to be published when it was read.
    pub published: u64,
    /// Whether the aggregate's personal data was erased by then.
    pub erased: bool,
    /// The fingerprint that the client's command id was registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<String>,
    commit: BTreeMap<String, Stored>,
    outcome: BTreeMap<String, Stored>,
}

/// A property of a row of the event store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Number(i64),
    Flag(bool),
}

fn stored(row: &StoredRow, partition: &str) -> Result<BTreeMap<String, Stored>, Fault> {
    let property = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => Stored::Text(text.clone()),
            Value::Int64(number) => Stored::Number(*number),
            Value::Bool(flag) => Stored::Flag(*flag),
            Value::Double(_) | Value::Binary(_) => {
                return Err(corrupt(partition, &row.key, format_args!("{name} has a type that is not ours")));
            }
        };
        Ok((name.clone(), value))
    };
    row.properties.iter().map(property).collect()
}

fn row(key: String, properties: &BTreeMap<String, Stored>) -> StoredRow {
    let property = |(name, value): (&String, &Stored)| {
        let value = match value {
            Stored::Text(text) => Value::String(text.clone()),
            Stored::Number(number) => Value::Int64(*number),
            Stored::Flag(flag) => Value::Bool(*flag),
        };
        (name.clone(), value)
    };
    StoredRow { key, etag: Etag(String::new()), properties: properties.iter().map(property).collect() }
}

fn registration(command: &CommandId) -> String {
    format!("K~{}", encode_key(command.as_str()))
}

/// What a line holds, checked.
struct Checked {
    commit: Commit,
    rows: [Row; 2],
}

impl BackupLine {
    /// Checks that the line holds a commit and its outcome as this code writes them.
    ///
    /// # Errors
    /// What is wrong with it; permanent.
    pub fn check(&self) -> Result<(), Fault> {
        self.checked().map(drop)
    }

    fn checked(&self) -> Result<Checked, Fault> {
        let partition = self.aggregate.key();
        let commit_row = row(rows::commit_key(self.first.max(1)), &self.commit);
        let commit = Commit::read(&partition, &commit_row)?;
        if (commit.first, commit.last) != (self.first, self.last) {
            return Err(corrupt(&partition, &commit_row.key, "the line is of another commit than its row"));
        }
        let outcome_row = row(outcome_key(&commit.meta.command), &self.outcome);
        let (outcome, _) = Outcome::read(&partition, &outcome_row)?;
        if outcome.first != Some(commit.first) {
            return Err(corrupt(&partition, &outcome_row.key, "the outcome is of another commit"));
        }
        let rows = [commit_row, outcome_row].map(|row| Row { key: row.key, properties: row.properties });
        Ok(Checked { commit, rows })
    }
}

/// One page of an event store's aggregates.
#[derive(Debug, Clone, Default)]
pub struct Tips {
    /// The aggregates, ascending by key.
    pub found: Vec<(AggregateId, Tip)>,
    /// Where to go on; `None` at the shard's end.
    pub next: Option<Continuation>,
}

impl EventStore {
    /// How many shards the store has.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// A page of the aggregates of one shard, of every category.
    ///
    /// # Errors
    /// A store that is away, or a tip that is not as this code writes it.
    ///
    /// # Panics
    /// Without such a shard.
    pub async fn tips(&self, shard: usize, from: Option<&Continuation>) -> Result<Tips, Fault> {
        // Categories begin with a small letter; what else the table holds begins with a capital one.
        let sweep = Sweep { from: "a".to_owned(), to: "~".to_owned(), row: Some(rows::TIP.to_owned()), top: 1_000 };
        let page = self.shards[shard].sweep(EVENTS_TABLE, &sweep, from).await?;
        let tip = |(partition, row): &(String, StoredRow)| -> Result<(AggregateId, Tip), Fault> {
            let id = partition.parse().map_err(|error| corrupt(partition, &row.key, error))?;
            Ok((id, Tip::read(partition, row)?.0))
        };
        Ok(Tips { found: page.rows.iter().map(tip).collect::<Result<_, _>>()?, next: page.next })
    }

    /// Reads at most `limit` commits behind a version, for a backup.
    ///
    /// # Errors
    /// A store that is away, or rows that are not as this code writes them.
    pub async fn back_up(
        &self,
        id: &AggregateId,
        tip: &Tip,
        after: u64,
        limit: usize,
    ) -> Result<Vec<BackupLine>, Fault> {
        let partition = id.key();
        let mut lines = Vec::new();
        for commit in self.read_forwards(id, after + 1, limit).await? {
            let command = &commit.meta.command;
            let key = outcome_key(command);
            let outcome = self.shard(&partition).get(EVENTS_TABLE, &partition, &key).await?;
            let outcome = outcome.ok_or_else(|| corrupt(&partition, &key, "the outcome of a commit is missing"))?;
            let registration = registration(command);
            let registered = self.shard(&registration).get(EVENTS_TABLE, &registration, "K").await?;
            let encoded = |error| corrupt(&partition, &rows::commit_key(commit.first), error);
            let row = commit.row().map_err(encoded)?;
            let row = StoredRow { key: row.key, etag: Etag(String::new()), properties: row.properties };
            lines.push(BackupLine {
                aggregate: id.clone(),
                first: commit.first,
                last: commit.last,
                epoch: tip.epoch,
                published: tip.published,
                erased: tip.erased,
                registered: registered.and_then(|row| row.str("Fingerprint").map(str::to_owned)),
                commit: stored(&row, &partition)?,
                outcome: stored(&outcome, &partition)?,
            });
        }
        Ok(lines)
    }

    /// Writes commits of one aggregate, in order, in an epoch. What is there already is left as it is, so that a
    /// restore that broke off can be repeated; at every moment the aggregate is a prefix of what it was. Returns how
    /// many commits were written.
    ///
    /// # Errors
    /// Lines that leave a gap, are of different aggregates or no commits; an aggregate that is there in another epoch;
    /// a store that is away.
    pub async fn restore(&self, lines: &[BackupLine], epoch: u32) -> Result<usize, Fault> {
        let Some(id) = lines.first().map(|line| &line.aggregate) else { return Ok(0) };
        let partition = id.key();
        let (mut written, mut tries) = (0, 0);
        loop {
            let tip = self.tip(id).await?;
            if let Some(tip) = tip.as_ref().filter(|tip| tip.epoch != epoch) {
                let text = format!("{id} is there in epoch {}, it is restored in {epoch}", tip.epoch);
                return Err(Fault::permanent("RESTORE_CONFLICT", text));
            }
            let version = tip.as_ref().map_or(0, |tip| tip.version);
            let rest = &lines[lines.partition_point(|line| line.last <= version)..];
            if rest.is_empty() {
                return Ok(written);
            }
            let (operations, commits) = self.next_of(id, tip, rest, epoch).await?;
            match self.transact(&partition, &operations).await {
                Ok(_) => (written, tries) = (written + commits, 0),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                // The tip tells what became of it.
                Err(error) if tries >= TRIES => return Err(error.into()),
                Err(_) => tries += 1,
            }
        }
    }

    /// The transaction with the next commits.
    async fn next_of(
        &self,
        id: &AggregateId,
        tip: Option<Tip>,
        lines: &[BackupLine],
        epoch: u32,
    ) -> Result<(Vec<Operation>, usize), Fault> {
        let partition = id.key();
        let etag = tip.as_ref().map(|tip| tip.etag.clone());
        let (mut version, mut sequence) = tip.as_ref().map_or((0, 0), |tip| (tip.version, tip.sequence));
        let (mut published, mut erased) = (0, false);
        let (mut inserts, mut size, mut commits) = (Vec::new(), 0, 0);
        for line in lines {
            let Checked { commit, rows } = line.checked()?;
            if line.aggregate != *id || line.first != version + 1 {
                let what = format_args!("the backup goes on with {} of {}", line.first, line.aggregate);
                return Err(corrupt(&partition, &rows::commit_key(version + 1), what));
            }
            size += rows.iter().map(|row| row.size(&partition)).sum::<usize>();
            if commits > 0 && (commits == COMMITS_PER_TRANSACTION || size > MAX_TRANSACTION_BYTES / 2) {
                break;
            }
            self.restore_registration(&commit.meta.command, line.registered.as_deref()).await?;
            for event in &commit.publications {
                let event = CloudEvent::from_json(event).map_err(|error| corrupt(&partition, &rows[0].key, error))?;
                let number = event.sequence.as_deref().and_then(|number| number.parse().ok());
                sequence = number.unwrap_or(0).max(sequence);
            }
            (version, published, erased) = (line.last, line.published, line.erased);
            commits += 1;
            inserts.extend(rows.map(Operation::Insert));
        }
        let tip = Tip {
            version,
            sequence,
            published: published.min(version),
            epoch,
            snapshot_version: 0,
            snapshot_schema: 0,
            erased,
            etag: Etag(String::new()),
        };
        inserts.push(match etag {
            Some(etag) => Operation::Replace(tip.row(), etag),
            None => Operation::Insert(tip.row()),
        });
        Ok((inserts, commits))
    }

    async fn restore_registration(&self, command: &CommandId, fingerprint: Option<&str>) -> Result<(), Fault> {
        let Some(fingerprint) = fingerprint else { return Ok(()) };
        let partition = registration(command);
        let insert = [Operation::Put(Row::new("K").with("Fingerprint", fingerprint))];
        self.transact(&partition, &insert).await?;
        Ok(())
    }

    /// Whether nothing is in the store.
    ///
    /// # Errors
    /// A store that is away.
    pub async fn is_empty(&self) -> Result<bool, Fault> {
        let sweep = Sweep { from: " ".to_owned(), to: "~".to_owned(), row: None, top: 1 };
        for shard in &*self.shards {
            let mut from = None;
            loop {
                let page = shard.sweep(EVENTS_TABLE, &sweep, from.as_ref()).await?;
                if !page.rows.is_empty() {
                    return Ok(false);
                }
                match page.next {
                    Some(next) => from = Some(next),
                    None => break,
                }
            }
        }
        Ok(true)
    }

    /// The epoch that the store is or was restored in, and whether that came to its end; `None` for a store that was
    /// never restored.
    ///
    /// # Errors
    /// A store that is away.
    pub async fn restoration(&self) -> Result<Option<(u32, bool)>, Fault> {
        let Some(row) = self.first_shard().get(EVENTS_TABLE, RESTORED, "R").await? else { return Ok(None) };
        let epoch = row.int("Epoch").and_then(|epoch| u32::try_from(epoch).ok());
        let epoch = epoch.ok_or_else(|| corrupt(RESTORED, "R", "Epoch is missing"))?;
        Ok(Some((epoch, row.bool("Done").unwrap_or(false))))
    }

    /// Marks the store as restored in an epoch.
    ///
    /// # Errors
    /// A store that is away.
    pub async fn mark_restoration(&self, epoch: u32, done: bool) -> Result<(), Fault> {
        let put = [Operation::Put(Row::new("R").with("Epoch", i64::from(epoch)).with("Done", done))];
        self.first_shard().transact(EVENTS_TABLE, RESTORED, &put).await?;
        Ok(())
    }
}

//! The rows of the event store: tip, commits and outcomes, and their keys.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::text;
use crate::aggregate::Outgoing;
use crate::envelope::Trace;
use crate::fault::Fault;
use crate::id::{CommandId, encode_key};
use crate::table::{Etag, Row, StoredRow};

/// The row key of the tip. It sorts before every commit.
pub(crate) const TIP: &str = "E!";
/// The upper bound, exclusive, of tip and commits.
pub(crate) const TIP_AND_COMMITS_END: &str = "F";
/// Versions are below it.
const VERSIONS: u64 = 10_000_000_000_000_000_000;

/// The row key of the commit that begins with the version: newest first.
pub(crate) fn commit_key(first: u64) -> String {
    format!("E~{:019}", VERSIONS - 1 - first)
}

/// The row key of a command's outcome.
pub(crate) fn outcome_key(command: &CommandId) -> String {
    format!("C~{}", encode_key(command.as_str()))
}

pub(crate) fn format_time(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).expect("a time of this era has a text")
}

/// Corruption: a row of ours that is not as we write it. It stays, so trying again does not help.
pub(crate) fn corrupt(partition: &str, key: &str, what: impl std::fmt::Display) -> Fault {
    Fault::permanent("STORE_CORRUPT", format!("row {key:?} of partition {partition:?}: {what}"))
}

fn number(partition: &str, row: &StoredRow, name: &str) -> Result<u64, Fault> {
    row.int(name)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| corrupt(partition, &row.key, format_args!("{name} is missing or no number from 0")))
}

fn string<'a>(partition: &str, row: &'a StoredRow, name: &str) -> Result<&'a str, Fault> {
    row.str(name).ok_or_else(|| corrupt(partition, &row.key, format_args!("{name} is missing or no text")))
}

/// A number of a property that need not be there; there it has to be one.
fn optional(partition: &str, row: &StoredRow, name: &str) -> Result<u64, Fault> {
    row.properties.get(name).map_or(Ok(0), |_| number(partition, row, name))
}

fn long(partition: &str, row: &StoredRow, name: &str) -> Result<Option<String>, Fault> {
    text::get(row, name).map_err(|what| corrupt(partition, &row.key, what))
}

/// As many lines or items as the row counts: a list whose text is gone, or was cut, is no list without items.
fn counted<T>(partition: &str, row: &StoredRow, name: &str, items: Vec<T>) -> Result<Vec<T>, Fault> {
    let count = number(partition, row, name)?;
    if items.len() as u64 != count {
        return Err(corrupt(partition, &row.key, format_args!("{name} is {count}, there are {}", items.len())));
    }
    Ok(items)
}

fn json<'j, T: Deserialize<'j>>(partition: &str, row: &StoredRow, name: &str, json: &'j str) -> Result<T, Fault> {
    serde_json::from_str(json).map_err(|error| corrupt(partition, &row.key, format_args!("{name}: {error}")))
}

/// Version numbers fit: 10^18 commits a second would take years to leave them.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The newest state of a partition's bookkeeping.
#[derive(Debug, Clone, PartialEq)]
pub struct Tip {
    /// The version of the last event; 0 before the first.
    pub version: u64,
    /// The sequence of the last integration event; 0 before the first.
    pub sequence: u64,
    /// The version known to be published when the tip was written.
    pub published: u64,
    /// Raised when the store is restored from a backup.
    pub epoch: u32,
    /// The version of the snapshot, 0 for none.
    pub snapshot_version: u64,
    /// Its [`crate::Aggregate::SNAPSHOT_SCHEMA`].
    pub snapshot_schema: u32,
    /// Whether the aggregate's personal data was erased.
    pub erased: bool,
    /// The row's tag.
    pub etag: Etag,
}

impl Tip {
    pub(crate) fn read(partition: &str, row: &StoredRow) -> Result<(Self, Option<String>), Fault> {
        let small = |number: u64| u32::try_from(number).map_err(|error| corrupt(partition, &row.key, error));
        let tip = Tip {
            version: number(partition, row, "Version")?,
            sequence: number(partition, row, "Sequence")?,
            published: number(partition, row, "Published")?,
            epoch: small(number(partition, row, "Epoch")?)?,
            snapshot_version: optional(partition, row, "SnapshotVersion")?,
            snapshot_schema: small(optional(partition, row, "SnapshotSchema")?)?,
            erased: row
                .bool("Erased")
                .ok_or_else(|| corrupt(partition, &row.key, "Erased is missing or neither true nor false"))?,
            etag: row.etag.clone(),
        };
        if tip.published > tip.version || tip.snapshot_version > tip.version {
            return Err(corrupt(partition, &row.key, "published or snapshot are ahead of the version"));
        }
        let snapshot = long(partition, row, "Snapshot")?;
        // A snapshot that does not say which version it is of would be folded twice.
        if snapshot.is_some() && tip.snapshot_version == 0 {
            return Err(corrupt(partition, &row.key, "SnapshotVersion is missing or 0"));
        }
        Ok((tip, snapshot))
    }

    /// The properties that every write of the tip sets.
    pub(crate) fn row(&self) -> Row {
        Row::new(TIP)
            .with("Version", integer(self.version))
            .with("Sequence", integer(self.sequence))
            .with("Published", integer(self.published))
            .with("Epoch", i64::from(self.epoch))
            .with("Erased", self.erased)
    }

    /// The row with a snapshot, to be written by replace or insert, never merge: a shorter one would leave parts of
    /// the longer one behind.
    pub(crate) fn row_with_snapshot(&self, snapshot: &str) -> Row {
        let mut row = self
            .row()
            .with("SnapshotVersion", integer(self.snapshot_version))
            .with("SnapshotSchema", i64::from(self.snapshot_schema));
        text::put(&mut row, "Snapshot", snapshot);
        row
    }
}

/// One stored event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The name.
    #[serde(rename = "n")]
    pub name: String,
    /// The version of the payload.
    #[serde(rename = "v")]
    pub version: u32,
    /// The payload.
    #[serde(rename = "p")]
    pub payload: Box<RawValue>,
}

/// What a commit says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitMeta {
    /// The command that was decided on.
    pub command: CommandId,
    /// Its type.
    #[serde(rename = "type")]
    pub name: String,
    /// The subject that sent it.
    pub submitter: String,
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// What it belongs to.
    pub trace: Trace,
}

/// One commit: the events that one command led to, with what it has to tell the world.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The version of its first event.
    pub first: u64,
    /// The version of its last event.
    pub last: u64,
    /// What it says of itself.
    pub meta: CommitMeta,
    /// The events.
    pub events: Vec<StoredEvent>,
    /// The integration events, byte for byte as published.
    pub publications: Vec<Bytes>,
    /// The commands it sends.
    pub commands: Vec<Outgoing>,
    /// The persons it erases.
    pub erasures: Vec<String>,
    /// The bytes of the events' JSON.
    pub event_bytes: usize,
}

impl Commit {
    pub(crate) fn row(&self) -> Result<Row, serde_json::Error> {
        let mut row =
            Row::new(commit_key(self.first)).with("First", integer(self.first)).with("Last", integer(self.last));
        row = row
            .with("PublicationCount", integer(self.publications.len() as u64))
            .with("CommandCount", integer(self.commands.len() as u64))
            .with("ErasureCount", integer(self.erasures.len() as u64));
        text::put(&mut row, "Meta", &serde_json::to_string(&self.meta)?);
        text::put(&mut row, "Events", &serde_json::to_string(&self.events)?);
        if !self.publications.is_empty() {
            // JSON as serde_json writes it holds no line break, so lines keep the bytes as they are.
            let lines: Vec<&str> =
                self.publications.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()).collect();
            text::put(&mut row, "Publications", &lines.join("\n"));
        }
        if !self.commands.is_empty() {
            text::put(&mut row, "Commands", &serde_json::to_string(&self.commands)?);
        }
        if !self.erasures.is_empty() {
            text::put(&mut row, "Erasures", &serde_json::to_string(&self.erasures)?);
        }
        Ok(row)
    }

    pub(crate) fn read(partition: &str, row: &StoredRow) -> Result<Self, Fault> {
        let (first, last) = (number(partition, row, "First")?, Commit::last_of(partition, row)?);
        let required = |name| {
            long(partition, row, name)?
                .ok_or_else(|| corrupt(partition, &row.key, format_args!("{name}0 is missing or no text")))
        };
        let (meta, events_json) = (required("Meta")?, required("Events")?);
        let events: Vec<StoredEvent> = json(partition, row, "Events", &events_json)?;
        if events.len() as u64 != last - first + 1 {
            return Err(corrupt(partition, &row.key, format_args!("{} events for {first} to {last}", events.len())));
        }
        let mut publications = Vec::new();
        if let Some(lines) = long(partition, row, "Publications")? {
            for line in lines.split('\n') {
                // Looked at, not taken apart: a line that was cut must not be published.
                json::<&RawValue>(partition, row, "Publications", line)?;
                publications.push(Bytes::copy_from_slice(line.as_bytes()));
            }
        }
        let commands = long(partition, row, "Commands")?
            .map_or(Ok(Vec::new()), |commands| json(partition, row, "Commands", &commands))?;
        let erasures = long(partition, row, "Erasures")?
            .map_or(Ok(Vec::new()), |persons| json(partition, row, "Erasures", &persons))?;
        Ok(Commit {
            first,
            last,
            meta: json(partition, row, "Meta", &meta)?,
            events,
            publications: counted(partition, row, "PublicationCount", publications)?,
            commands: counted(partition, row, "CommandCount", commands)?,
            erasures: counted(partition, row, "ErasureCount", erasures)?,
            event_bytes: events_json.len(),
        })
    }

    /// The version that the commit of a row ends with, without reading the rest of it.
    pub(crate) fn last_of(partition: &str, row: &StoredRow) -> Result<u64, Fault> {
        let (first, last) = (number(partition, row, "First")?, number(partition, row, "Last")?);
        if first == 0 || last < first || commit_key(first) != row.key {
            return Err(corrupt(partition, &row.key, format_args!("versions {first} to {last} do not fit the key")));
        }
        Ok(last)
    }
}

/// What became of a command. Written once, beside the state it was decided on, and never changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Committed or rejected.
    pub status: OutcomeStatus,
    /// The aggregate's version afterwards.
    pub version: u64,
    /// The version of the commit's first event; `None` for a rejection or a no-op.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// The command's own reply, if it was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Box<RawValue>>,
    /// The domain's refusal, if it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionRecord>,
    /// The digest of what was asked, see [`crate::Envelope::fingerprint`].
    pub fingerprint: String,
    /// The subject that sent the command.
    pub submitter: String,
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
}

/// Committed or rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeStatus {
    /// The aggregate accepted the command. It may have had nothing to do.
    Committed,
    /// The aggregate refused the command.
    Rejected,
}

/// A domain's refusal, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionRecord {
    /// The stable code.
    pub code: String,
    /// The text.
    pub message: String,
}

impl Outcome {
    /// The row, with the failure signal's bytes for a rejection.
    pub(crate) fn row(&self, command: &CommandId, signal: Option<&Bytes>) -> Result<Row, serde_json::Error> {
        let mut row = Row::new(outcome_key(command)).with("Fingerprint", self.fingerprint.as_str());
        text::put(&mut row, "Outcome", &serde_json::to_string(self)?);
        if let Some(signal) = signal.and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            text::put(&mut row, "Signal", signal);
        }
        Ok(row)
    }

    pub(crate) fn read(partition: &str, row: &StoredRow) -> Result<(Self, Option<Bytes>), Fault> {
        let outcome_json = long(partition, row, "Outcome")?
            .ok_or_else(|| corrupt(partition, &row.key, "Outcome0 is missing or no text"))?;
        let outcome: Outcome = json(partition, row, "Outcome", &outcome_json)?;
        if outcome.fingerprint != string(partition, row, "Fingerprint")? {
            return Err(corrupt(partition, &row.key, "the fingerprint disagrees with the outcome"));
        }
        let signal = long(partition, row, "Signal")?;
        // Every rejection has its signal, and nothing else has.
        if signal.is_some() != (outcome.status == OutcomeStatus::Rejected) {
            return Err(corrupt(
                partition,
                &row.key,
                "a rejection without its signal, or a signal without a rejection",
            ));
        }
        if let Some(signal) = &signal {
            json::<&RawValue>(partition, row, "Signal", signal)?;
        }
        Ok((outcome, signal.map(Bytes::from)))
    }
}

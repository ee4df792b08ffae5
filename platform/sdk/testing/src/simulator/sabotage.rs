//! Planted faults: between the engine and the world stands a saboteur that does what a bug would do. The product holds
//! no switch for it; a check that finds none of them would be worth nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use skein_core::handler::FAULTS_TABLE;
use skein_core::personal::PERSONS_TABLE;
use skein_core::ports::{CommandQueue, EventBus, Message, SendError, TableError, TableStore, TransactError};
use skein_core::republish::{RebuildMessage, Slice};
use skein_core::store::EVENTS_TABLE;
use skein_core::table::{Continuation, Etag, Operation, Page, Range, Row, StoredRow, Sweep, SweepPage, Value};
use skein_core::{CommandId, Envelope, encode_key};

use super::domain::secret;
use super::ports::Wire;
use super::text_of;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sabotage {
    /// A commit's number leaves one out.
    SkipsAVersion,
    /// Commits and tips are written whatever is there.
    OverwritesCommits,
    /// The outcome is written in a transaction of its own.
    SplitsTransactions,
    /// Nobody looks whether a command has an outcome.
    ForgetsOutcomes,
    /// An outcome is told before it is written.
    TellsBeforeItIsWritten,
    /// A rejection stores an event.
    CommitsRejections,
    /// A reply is told differently the second time.
    ChangesReplies,
    /// A client's key may be used for another command.
    AcceptsReusedKeys,
    /// Some events never reach the topic.
    DropsEvents,
    /// Events go out before they are committed.
    PublishesBeforeCommit,
    /// An event that goes out again is written anew.
    RewritesEvents,
    /// Events are kept back, and called published.
    BuffersEvents,
    /// After a conflict the old decision is written on the new state.
    DecidesOnce,
    /// A snapshot lacks the last event.
    SnapshotsTooEarly,
    /// A rejection or a no-op does not look at the tip's tag.
    RejectsOnOldState,
    /// A view does not mark what it has applied.
    ForgetsSources,
    /// An early event is not kept.
    ForgetsParked,
    /// A rebuild is sent no history, and no marks that would show it.
    ForgetsHistory,
    /// Rows of views are written whatever is there.
    OverwritesViews,
    /// What fails is settled.
    SwallowsPoison,
    /// What fails is neither settled nor given back.
    KeepsFailures,
    /// A conflict is tried again for ever.
    RetriesForEver,
    /// A command that is sent again has a new id.
    PaysTwice,
    /// An aggregate is not read as it was written.
    ReadsWrongly,
    /// What can never be handled is held for an hour before it is given back.
    HoldsPoison,
    /// A mutation sends what is personal as it is.
    ForgetsToSeal,
    /// The row of a fault quotes what is personal.
    QuotesPersonalData,
    /// What can never be handled holds what is personal.
    SpillsPersonalData,
    /// An erasure leaves the key, and says that it is done.
    KeepsKeys,
    /// An erasure does not mark that it was done, and is done again on a newer key.
    ErasesAgain,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 30] = [
        Sabotage::SkipsAVersion,
        Sabotage::OverwritesCommits,
        Sabotage::SplitsTransactions,
        Sabotage::ForgetsOutcomes,
        Sabotage::TellsBeforeItIsWritten,
        Sabotage::CommitsRejections,
        Sabotage::ChangesReplies,
        Sabotage::AcceptsReusedKeys,
        Sabotage::DropsEvents,
        Sabotage::PublishesBeforeCommit,
        Sabotage::RewritesEvents,
        Sabotage::BuffersEvents,
        Sabotage::DecidesOnce,
        Sabotage::SnapshotsTooEarly,
        Sabotage::RejectsOnOldState,
        Sabotage::ForgetsSources,
        Sabotage::ForgetsParked,
        Sabotage::ForgetsHistory,
        Sabotage::OverwritesViews,
        Sabotage::SwallowsPoison,
        Sabotage::KeepsFailures,
        Sabotage::RetriesForEver,
        Sabotage::PaysTwice,
        Sabotage::ReadsWrongly,
        Sabotage::HoldsPoison,
        Sabotage::ForgetsToSeal,
        Sabotage::QuotesPersonalData,
        Sabotage::SpillsPersonalData,
        Sabotage::KeepsKeys,
        Sabotage::ErasesAgain,
    ];

    /// The check that has to find it. Others may, too.
    pub fn found_by(self) -> &'static str {
        match self {
            Sabotage::SkipsAVersion => "versions_are_gapless",
            Sabotage::OverwritesCommits => "rows_are_immutable",
            Sabotage::SplitsTransactions => "tip_commit_and_outcome_appear_together",
            Sabotage::ForgetsOutcomes => "a_command_commits_once",
            Sabotage::TellsBeforeItIsWritten => "acknowledged_is_durable",
            Sabotage::CommitsRejections => "rejected_writes_no_event",
            Sabotage::ChangesReplies | Sabotage::AcceptsReusedKeys => "duplicates_agree",
            Sabotage::DropsEvents => "published_at_least_once",
            Sabotage::PublishesBeforeCommit | Sabotage::RewritesEvents => "published_only_what_is_committed",
            Sabotage::BuffersEvents => "settled_only_when_out",
            Sabotage::DecidesOnce => "commits_follow_from_their_prefix",
            Sabotage::SnapshotsTooEarly => "snapshot_and_tail_agree",
            Sabotage::RejectsOnOldState => "outcomes_prove_their_state",
            Sabotage::ForgetsHistory => "rebuilt_views_equal_their_fold",
            Sabotage::ForgetsSources | Sabotage::ForgetsParked | Sabotage::OverwritesViews => "views_equal_their_fold",
            Sabotage::SwallowsPoison => "poison_is_dead_lettered",
            Sabotage::KeepsFailures => "everything_ends",
            Sabotage::RetriesForEver => "conflict_retries_are_bounded",
            Sabotage::PaysTwice => "coins_are_conserved",
            Sabotage::ReadsWrongly => "remembered_states_agree",
            Sabotage::HoldsPoison => "poison_blocks_nobody",
            Sabotage::ForgetsToSeal | Sabotage::QuotesPersonalData | Sabotage::SpillsPersonalData => {
                "personal_data_is_sealed"
            }
            Sabotage::KeepsKeys => "erased_data_is_unreadable",
            Sabotage::ErasesAgain => "other_data_stays_readable",
        }
    }
}

#[derive(Default)]
struct Memory {
    outcomes: BTreeMap<(String, String), Row>,
    keys: BTreeMap<String, String>,
    events: BTreeMap<String, Bytes>,
    kept: Vec<Bytes>,
    sent: BTreeSet<String>,
    count: u64,
}

pub(super) struct Sabotaged {
    sabotage: Sabotage,
    store: Arc<dyn TableStore>,
    queue: Arc<dyn CommandQueue>,
    bus: Arc<dyn EventBus>,
    wire: Wire,
    memory: Mutex<Memory>,
}

fn row_of(operation: &mut Operation) -> Option<&mut Row> {
    match operation {
        Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) | Operation::Merge(row, _) => {
            Some(row)
        }
        Operation::Delete(..) | Operation::Require(_) => None,
    }
}

fn int(row: &Row, name: &str) -> i64 {
    match row.properties.get(name) {
        Some(Value::Int64(number)) => *number,
        _ => 0,
    }
}

fn raise(row: &mut Row, name: &str, by: i64) {
    let number = int(row, name) + by;
    row.properties.insert(name.to_owned(), number.into());
}

fn commit_key(first: i64) -> String {
    format!("E~{:019}", 9_999_999_999_999_999_999 - u64::try_from(first).unwrap_or(0))
}

/// Rewrites a JSON text of a row.
fn edit(row: &mut Row, name: &str, change: impl FnOnce(&mut Json)) {
    let Some(mut json) = text_of(&row.properties, name).and_then(|text| serde_json::from_str(&text).ok()) else {
        return;
    };
    change(&mut json);
    row.properties.insert(format!("{name}0"), json.to_string().into());
}

fn unguarded(operation: Operation) -> Operation {
    match operation {
        Operation::Insert(row) | Operation::Replace(row, _) => Operation::Put(row),
        other => other,
    }
}

impl Sabotaged {
    pub(super) fn new(
        sabotage: Sabotage,
        store: Arc<dyn TableStore>,
        queue: Arc<dyn CommandQueue>,
        bus: Arc<dyn EventBus>,
        wire: Wire,
    ) -> Self {
        Sabotaged { sabotage, store, queue, bus, wire, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn often(&self, many: u64) -> bool {
        let mut memory = self.memory();
        memory.count += 1;
        memory.count.is_multiple_of(many)
    }

    /// What a bug makes of a transaction of the event store.
    async fn bend(&self, partition: &str, mut operations: Vec<Operation>) -> Vec<Operation> {
        let commits = operations.iter().any(|operation| operation.key().starts_with("E~"));
        match self.sabotage {
            Sabotage::SkipsAVersion if commits && self.often(3) => {
                for operation in &mut operations {
                    let Some(row) = row_of(operation) else { continue };
                    if row.key == "E!" {
                        raise(row, "Version", 1);
                    } else if row.key.starts_with("E~") {
                        raise(row, "First", 1);
                        raise(row, "Last", 1);
                        row.key = commit_key(int(row, "First"));
                    }
                }
            }
            Sabotage::OverwritesCommits => {
                let tag = self.store.get(EVENTS_TABLE, partition, "E!").await.ok().flatten().map(|row| row.etag);
                operations = operations
                    .into_iter()
                    .map(|operation| match operation {
                        Operation::Insert(row) if row.key.starts_with("E~") => Operation::Put(row),
                        Operation::Insert(row) if row.key == "E!" => Operation::Put(row),
                        Operation::Merge(row, old) => Operation::Merge(row, tag.clone().unwrap_or(old)),
                        other => other,
                    })
                    .collect();
            }
            Sabotage::ForgetsOutcomes => {
                for operation in &mut operations {
                    if operation.key().starts_with("C~") {
                        *operation = unguarded(operation.clone());
                    }
                }
            }
            Sabotage::CommitsRejections if !commits && partition.starts_with("purse:") => {
                let rejection = operations.iter_mut().find_map(|operation| {
                    let row = row_of(operation).filter(|row| row.key.starts_with("C~"))?;
                    let outcome: Json = serde_json::from_str(&text_of(&row.properties, "Outcome")?).ok()?;
                    (outcome["status"] == "rejected").then_some(outcome)
                });
                if let Some(outcome) = rejection {
                    let mut first = 0;
                    for row in operations.iter_mut().filter_map(row_of).filter(|row| row.key == "E!") {
                        raise(row, "Version", 1);
                        first = int(row, "Version");
                    }
                    let meta = json!({"command": "rejected", "type": "Deposit", "submitter": "ann",
                        "time": outcome["time"], "trace": {"correlationId": "c"}});
                    let events = json!([{"n": "CoinsDeposited", "v": 1, "p": {"coins": 1}}]);
                    let row = Row::new(commit_key(first))
                        .with("First", first)
                        .with("Last", first)
                        .with("Meta0", meta.to_string())
                        .with("Events0", events.to_string());
                    operations.push(Operation::Insert(row));
                }
            }
            Sabotage::SnapshotsTooEarly => {
                for row in operations.iter_mut().filter_map(row_of) {
                    edit(row, "Snapshot", |state| state["coins"] = json!(state["coins"].as_i64().unwrap_or(0) - 1));
                }
            }
            Sabotage::RejectsOnOldState if !commits => {
                let Ok(Some(fresh)) = self.store.get(EVENTS_TABLE, partition, "E!").await else { return operations };
                for operation in &mut operations {
                    if let Operation::Merge(row, tag) = operation {
                        *tag = fresh.etag.clone();
                        for (name, value) in &mut row.properties {
                            value.clone_from(fresh.properties.get(name).unwrap_or(&value.clone()));
                        }
                    }
                }
            }
            _ => {}
        }
        operations
    }

    /// Writes the old decision on the new state.
    async fn blindly(&self, partition: &str, mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
        let fresh = self.store.get(EVENTS_TABLE, partition, "E!").await.ok().flatten()?;
        let version = fresh.int("Version")?;
        let mut moved = None;
        for operation in &mut operations {
            if let Operation::Insert(row) = operation
                && row.key.starts_with("E~")
            {
                let by = version + 1 - int(row, "First");
                raise(row, "First", by);
                raise(row, "Last", by);
                row.key = commit_key(version + 1);
                moved = Some(by);
            }
        }
        let by = moved?;
        for operation in &mut operations {
            match operation {
                Operation::Merge(row, tag) => {
                    raise(row, "Version", by);
                    row.properties.insert("Published".to_owned(), 0_i64.into());
                    *tag = fresh.etag.clone();
                }
                Operation::Insert(row) if row.key.starts_with("C~") => edit(row, "Outcome", |outcome| {
                    for name in ["version", "first"] {
                        outcome[name] = json!(outcome[name].as_i64().unwrap_or(0) + by);
                    }
                }),
                _ => {}
            }
        }
        Some(operations)
    }

    async fn transact_events(
        &self,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        if partition.starts_with("K~") {
            for row in operations.iter().cloned().filter_map(|mut operation| row_of(&mut operation).cloned()) {
                if let Some(Value::String(text)) = row.properties.get("Fingerprint") {
                    self.memory().keys.insert(partition.to_owned(), text.clone());
                }
            }
            return self.store.transact(EVENTS_TABLE, partition, operations).await;
        }
        for operation in operations {
            if let Operation::Insert(row) = operation {
                if row.key.starts_with("C~") {
                    self.memory().outcomes.insert((partition.to_owned(), row.key.clone()), row.clone());
                }
                if self.sabotage == Sabotage::PublishesBeforeCommit
                    && let Some(lines) = text_of(&row.properties, "Publications")
                {
                    let events: Vec<Bytes> = lines.split('\n').map(|line| Bytes::from(line.to_owned())).collect();
                    let _ = self.bus.publish(&events).await;
                }
            }
        }
        if self.sabotage == Sabotage::SplitsTransactions {
            let (outcome, rest): (Vec<_>, Vec<_>) =
                operations.iter().cloned().partition(|operation| operation.key().starts_with("C~"));
            let mut tags = self.store.transact(EVENTS_TABLE, partition, &outcome).await?;
            tags.extend(self.store.transact(EVENTS_TABLE, partition, &rest).await?);
            return Ok(tags);
        }
        let bent = self.bend(partition, operations.to_vec()).await;
        let mut result = self.store.transact(EVENTS_TABLE, partition, &bent).await;
        let tries = match self.sabotage {
            Sabotage::RetriesForEver => 100,
            Sabotage::DecidesOnce => 1,
            _ => 0,
        };
        for _ in 0..tries {
            if !matches!(result, Err(TransactError::Conflict(_))) {
                break;
            }
            let again = match self.sabotage {
                Sabotage::DecidesOnce => match self.blindly(partition, bent.clone()).await {
                    Some(operations) => operations,
                    None => break,
                },
                _ => bent.clone(),
            };
            result = self.store.transact(EVENTS_TABLE, partition, &again).await;
        }
        result.map(|mut tags| {
            tags.truncate(operations.len());
            tags
        })
    }
}

#[async_trait]
impl TableStore for Sabotaged {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        let mut found = self.store.get(table, partition, key).await?;
        if table != EVENTS_TABLE {
            return Ok(found);
        }
        let outcome = key.starts_with("C~");
        match self.sabotage {
            // Whoever waits for the outcome sees it all the same.
            Sabotage::ForgetsOutcomes if outcome && !self.wire.world().is_client() => return Ok(None),
            Sabotage::TellsBeforeItIsWritten if outcome && found.is_none() => {
                let told = self.memory().outcomes.get(&(partition.to_owned(), key.to_owned())).cloned();
                return Ok(told.map(|row| StoredRow {
                    key: row.key,
                    etag: Etag("W/\"none\"".to_owned()),
                    properties: row.properties,
                }));
            }
            Sabotage::ChangesReplies if outcome => {
                if let Some(stored) = &mut found
                    && self.often(2)
                {
                    let mut row = Row { key: stored.key.clone(), properties: stored.properties.clone() };
                    edit(&mut row, "Outcome", |outcome| {
                        outcome["version"] = json!(outcome["version"].as_i64().unwrap_or(0) + 7);
                    });
                    stored.properties = row.properties;
                }
            }
            Sabotage::AcceptsReusedKeys if key == "K" => {
                let mine = self.memory().keys.get(partition).cloned();
                if let (Some(stored), Some(mine)) = (&mut found, mine) {
                    stored.properties.insert("Fingerprint".to_owned(), mine.into());
                }
            }
            _ => {}
        }
        Ok(found)
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        let mut page = self.store.query(table, range, from).await?;
        if self.sabotage == Sabotage::ReadsWrongly && table == EVENTS_TABLE {
            for stored in page.rows.iter_mut().filter(|row| row.key.starts_with("E~")) {
                let mut row = Row { key: stored.key.clone(), properties: stored.properties.clone() };
                edit(&mut row, "Events", |events| {
                    for event in events.as_array_mut().into_iter().flatten() {
                        if let Some(coins) = event["p"]["coins"].as_i64() {
                            event["p"]["coins"] = json!(coins + 1);
                        }
                    }
                });
                stored.properties = row.properties;
            }
        }
        Ok(page)
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        self.store.sweep(table, sweep, from).await
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        if table == EVENTS_TABLE {
            return self.transact_events(partition, operations).await;
        }
        let bent: Vec<Operation> = match self.sabotage {
            Sabotage::ForgetsSources if operations.len() > 1 => operations
                .iter()
                .filter(|operation| !(operation.key().starts_with("S~") && partition.starts_with("1~everybody")))
                .cloned()
                .collect(),
            Sabotage::ForgetsParked => operations
                .iter()
                .filter(|operation| !matches!(operation, Operation::Put(row) if row.key.starts_with("P~")))
                .cloned()
                .collect(),
            Sabotage::KeepsKeys if table == PERSONS_TABLE => {
                operations.iter().filter(|operation| !matches!(operation, Operation::Delete(..))).cloned().collect()
            }
            Sabotage::ErasesAgain if table == PERSONS_TABLE => {
                operations.iter().filter(|operation| !operation.key().starts_with("X~")).cloned().collect()
            }
            Sabotage::QuotesPersonalData if table == FAULTS_TABLE => {
                let mut operations = operations.to_vec();
                for row in operations.iter_mut().filter_map(row_of) {
                    row.properties.insert("Reason0".to_owned(), format!("no contact: {}", secret("ann")).into());
                }
                operations
            }
            Sabotage::OverwritesViews if ![FAULTS_TABLE, PERSONS_TABLE].contains(&table) => {
                operations.iter().cloned().map(unguarded).collect()
            }
            _ => operations.to_vec(),
        };
        if bent.is_empty() {
            return Ok(vec![None; operations.len()]);
        }
        self.store.transact(table, partition, &bent).await
    }
}

#[async_trait]
impl CommandQueue for Sabotaged {
    async fn send(&self, queue: &str, messages: &[Message]) -> Result<(), SendError> {
        let mut messages = messages.to_vec();
        if self.sabotage == Sabotage::ForgetsHistory && queue.ends_with("/rebuild") {
            messages.retain_mut(|message| match RebuildMessage::from_json(&message.body) {
                Ok(RebuildMessage::Events(_)) => false,
                Ok(RebuildMessage::Slice(slice)) => {
                    let bent = RebuildMessage::Slice(Slice { marks: Vec::new(), ..slice });
                    message.body = bent.to_message(String::new()).map_or(message.body.clone(), |bent| bent.body);
                    true
                }
                _ => true,
            });
        }
        if self.sabotage == Sabotage::PaysTwice && !self.wire.world().is_client() {
            let mut memory = self.memory();
            for message in &mut messages {
                if memory.sent.insert(message.id.clone()) {
                    continue;
                }
                memory.count += 1;
                let count = memory.count;
                if let Ok(mut envelope) = Envelope::from_json(&message.body)
                    && let Ok(id) = CommandId::new(&format!("again-{count}"))
                {
                    envelope.id = id;
                    message.id = encode_key(envelope.id.as_str());
                    message.body = serde_json::to_vec(&envelope).map_or(message.body.clone(), Bytes::from);
                }
            }
        }
        self.queue.send(queue, &messages).await
    }
}

#[async_trait]
impl EventBus for Sabotaged {
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError> {
        let mut events = events.to_vec();
        match self.sabotage {
            Sabotage::DropsEvents => events.retain(|_| !self.often(5)),
            Sabotage::RewritesEvents => {
                let mut memory = self.memory();
                for event in &mut events {
                    let text = String::from_utf8_lossy(event).into_owned();
                    if memory.events.insert(text.clone(), event.clone()).is_some() {
                        *event = Bytes::from(text.replacen("\"specversion\":\"1.0\"", "\"specversion\": \"1.0\"", 1));
                    }
                }
            }
            Sabotage::BuffersEvents => {
                let kept = std::mem::replace(&mut self.memory().kept, events);
                events = kept;
            }
            _ => {}
        }
        if events.is_empty() {
            return Ok(());
        }
        self.bus.publish(&events).await
    }
}

//! Rows of the event store: a partition as the command handler wrote it, then damaged, and one made of anything.

use std::mem::discriminant;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use skein_core::handler::{CommandHandler, Delivery, FAULTS_TABLE, Ports, Receipt};
use skein_core::store::{Commit, EVENTS_TABLE, EventStore, Loaded};
use skein_core::table::{Properties, Value};
use skein_core::{
    Aggregate, AggregateId, Command, CommandId, Context, Contract, Decision, Envelope, Fault, FaultKind, Handle,
    Outgoing, Principal, Publication, Rejection, Trace,
};
use skein_testing::doubles::{ManualClock, MemoryBus, MemoryQueue};
use time::OffsetDateTime;

use crate::draw::Draw;
use crate::memory::{Memory, Rows, stored};
use crate::{bounded, run};

/// An aggregate that adds up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Tally {
    total: i64,
    changes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Added {
    number: i64,
    note: String,
}

skein_core::events! {
    enum TallyEvent { Added(Added) = ("Added", 1) }
}

/// What a tally tells others.
#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) total: i64,
}

impl Contract for Counted {
    const TYPE: &'static str = "desk.Counted";
    const CATEGORY: &'static str = "tally";
}

impl Aggregate for Tally {
    const CATEGORY: &'static str = "tally";
    type Event = TallyEvent;

    fn evolve(&mut self, TallyEvent::Added(added): &TallyEvent) {
        self.total = self.total.wrapping_add(added.number);
        self.changes += 1;
    }

    fn publish(&self, TallyEvent::Added(added): &TallyEvent) -> Option<Publication> {
        (added.number % 2 == 0).then(|| Publication::of(&Counted { total: self.total }))
    }
}

#[derive(Serialize, Deserialize)]
struct Add {
    number: i64,
    #[serde(default)]
    note: String,
}

impl Command for Add {
    const TYPE: &'static str = "Add";
}

#[derive(Debug, thiserror::Error)]
#[error("only numbers from 0 are added")]
struct Negative;

impl Rejection for Negative {
    fn code(&self) -> &'static str {
        "NEGATIVE"
    }
}

impl Handle<Add> for Tally {
    type Error = Negative;
    type Reply = i64;

    fn decide(&self, command: &Add, _: &Context) -> Result<Decision<Self, i64>, Negative> {
        if command.number < 0 {
            return Err(Negative);
        }
        let added = Added { number: command.number, note: command.note.clone() };
        let decision = Decision::reply(self.total).event(added.clone());
        Ok(match command.number % 3 {
            0 => decision
                .event(added)
                .send_all(Outgoing::to::<Tally, Add>("other", &Add { number: 1, note: String::new() })),
            _ => decision,
        })
    }
}

/// The command handler over the store.
pub(crate) fn service(store: &Arc<Memory>) -> CommandHandler {
    let ports = Ports {
        shards: vec![store.clone()],
        queue: Arc::new(MemoryQueue::default()),
        bus: Arc::new(MemoryBus::default()),
        clock: ManualClock::new(),
    };
    CommandHandler::new("desk", ports).handle::<Tally, Add>()
}

/// Lets the handler take a message. A fault is a typed one, no panic, and leaves its row.
pub(crate) async fn deliver(handler: &CommandHandler, store: &Memory, body: &[u8]) -> Result<Receipt, Fault> {
    let delivery = Delivery { message_id: "m1".into(), count: 1, traceparent: None };
    let result = handler.receive(body, &delivery).await;
    if let Err(fault) = &result {
        recorded(fault, store);
    }
    result
}

/// A fault that an operator finds again.
pub(crate) fn recorded(fault: &Fault, store: &Memory) {
    assert_ne!(fault.code, "PANIC", "{fault}");
    bounded(fault);
    let rows = store.rows(FAULTS_TABLE, "m1");
    assert!(rows.values().any(|row| row.str("Code") == Some(fault.code)), "no row of {fault}");
}

fn command(n: usize, number: i64, note: &str) -> Vec<u8> {
    let envelope = Envelope::wrap(
        &Add { number, note: note.to_owned() },
        CommandId::new(&format!("c{n}")).expect("an id"),
        tally(),
        Principal::new("ann", ["operator"]),
        Trace { correlation_id: "k".into(), causation_id: None, traceparent: None },
        OffsetDateTime::UNIX_EPOCH,
    );
    envelope.and_then(|envelope| envelope.to_message()).expect("a command").body.to_vec()
}

fn tally() -> AggregateId {
    AggregateId::new("tally", "1").expect("an id")
}

/// A partition as the handler writes it, and what it holds.
struct History {
    rows: Rows,
    loaded: Loaded<Tally>,
    commits: Vec<Commit>,
    commands: usize,
}

impl History {
    fn of(commands: usize) -> Self {
        let store = Arc::new(Memory::default());
        let handler = service(&store);
        for n in 0..commands {
            let number = i64::try_from(n).unwrap_or(0) % 8 - 1;
            // One that fills several properties.
            let note = if n == 3 { "é".repeat(20_000) } else { format!("note {n}") };
            run(deliver(&handler, &store, &command(n, number, &note))).expect("a command is decided");
        }
        let events = EventStore::new(vec![store.clone()]);
        History {
            rows: store.rows(EVENTS_TABLE, &tally().key()),
            loaded: run(events.load(&tally())).expect("what we wrote we read"),
            commits: run(events.read_forwards(&tally(), 1, 1_000)).expect("what we wrote we read"),
            commands,
        }
    }
}

/// One without a snapshot and one with.
static HISTORIES: LazyLock<[History; 2]> = LazyLock::new(|| [History::of(9), History::of(64)]);

fn retyped(value: &Value, draw: &mut Draw<'_>) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Int64(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    match (draw.below(6), value) {
        (0, Value::String(_)) => Value::Int64(1),
        (0, _) => Value::String(text),
        (1, _) => Value::Double(1.5),
        (2, Value::Bool(_)) => Value::Int64(1),
        (2, _) => Value::Bool(true),
        (3, Value::String(text)) if !text.is_empty() => {
            Value::String(text.chars().take(draw.below(text.len())).collect())
        }
        (4, Value::String(text)) => Value::String(format!("{text}}}")),
        _ => Value::Binary(text.into_bytes()),
    }
}

/// Whether the store writes properties of the name with values of this type.
fn as_written(written: &Rows, name: &str, value: &Value) -> bool {
    let mut values = written.values().filter_map(|row| row.properties.get(name));
    values.any(|written| discriminant(written) == discriminant(value))
}

/// Damages the layout of the rows: what another writer could do, short of forging rows that look like ours.
fn damage(rows: &mut Rows, written: &Rows, draw: &mut Draw<'_>) {
    let keys: Vec<String> = rows.keys().cloned().collect();
    let Some(key) = keys.get(draw.below(keys.len().max(1))) else { return };
    match draw.below(6) {
        0 => drop(rows.remove(key)),
        1 => {
            let at = ["A", "E ", "E!!", "E#", "E~", "E~x", "E~9999999999999999999", "Ex", "G", "C~"][draw.below(10)];
            let mut properties = Properties::new();
            properties.insert("Version".to_owned(), Value::Int64(draw.number()));
            rows.entry(at.to_owned()).or_insert_with(|| stored(at, 1, properties));
        }
        2 => {
            // A row's properties under another row's key.
            let other = &keys[draw.below(keys.len())];
            let properties = rows[other].properties.clone();
            rows.insert(key.clone(), stored(key, 1, properties));
        }
        choice => {
            let Some(row) = rows.get_mut(key) else { return };
            let names: Vec<String> = row.properties.keys().cloned().collect();
            let Some(name) = names.get(draw.below(names.len().max(1))) else { return };
            match choice {
                3 => drop(row.properties.remove(name)),
                4 => drop(row.properties.insert("Alien".to_owned(), Value::Int64(draw.number()))),
                // What has another type already stays so: a number that became a text and then a number again would
                // be forged.
                _ if as_written(written, name, &row.properties[name]) => {
                    let value = retyped(&row.properties[name], draw);
                    row.properties.insert(name.clone(), value);
                }
                _ => {}
            }
        }
    }
}

fn published(commits: &[Commit]) -> Vec<(u64, u64, Vec<bytes::Bytes>, Vec<Outgoing>)> {
    commits
        .iter()
        .map(|commit| (commit.first, commit.last, commit.publications.clone(), commit.commands.clone()))
        .collect()
}

/// A corruption is permanent and names the partition; the store itself is not blamed.
fn told(fault: &Fault) {
    assert_eq!((fault.code, fault.kind), ("STORE_CORRUPT", FaultKind::Permanent), "{fault}");
    assert!(fault.message.contains("row \"") && fault.message.contains("\"tally:1\""), "{fault}");
    bounded(fault);
}

/// A partition whose layout is broken is read as what it was, or not at all. It is never folded into another state,
/// no integration event or command of it is forgotten, and a command that meets it writes nothing or is decided whole.
pub fn partition_rows(data: &[u8]) {
    let mut draw = Draw::new(data);
    let history = draw.of(&*HISTORIES);
    let mut rows = history.rows.clone();
    for _ in 0..=draw.below(6) {
        damage(&mut rows, &history.rows, &mut draw);
        if draw.is_empty() {
            break;
        }
    }
    let (store, key) = (Arc::new(Memory::default()), tally().key());
    store.set(EVENTS_TABLE, &key, rows.clone());
    let events = EventStore::new(vec![store.clone()]);
    let truth = &history.loaded;
    match run(events.load::<Tally>(&tally())) {
        Ok(loaded) if loaded.tip.is_none() => {
            assert!(
                !rows.keys().any(|key| ("E!".."F").contains(&key.as_str())),
                "there are rows, but nothing was read"
            );
        }
        Ok(loaded) => {
            assert_eq!((loaded.version(), &loaded.state), (truth.version(), &truth.state), "another state");
            let (tip, was) = (loaded.tip.as_ref().expect("a tip"), truth.tip.as_ref().expect("a tip"));
            let seen = (tip.sequence, tip.published, tip.epoch, tip.erased);
            assert_eq!(seen, (was.sequence, was.published, was.epoch, was.erased), "another tip");
            assert_eq!(
                published(&loaded.unpublished),
                published(&truth.unpublished),
                "other events are left to publish"
            );
        }
        Err(fault) => told(&fault),
    }
    let from = draw.below(70) as u64;
    match run(events.read_forwards(&tally(), from, 1_000)) {
        Ok(commits) if !commits.is_empty() => {
            let known: Vec<Commit> = history.commits.iter().filter(|commit| commit.last >= from).cloned().collect();
            assert_eq!(published(&commits), published(&known), "another history");
        }
        Ok(_) => assert!(!rows.contains_key("E!") || from > truth.version(), "the history is gone without a word"),
        Err(fault) => told(&fault),
    }
    for n in [0, 1, history.commands - 1] {
        if let Err(fault) = run(events.outcome(&tally(), &CommandId::new(&format!("c{n}")).expect("an id"))) {
            told(&fault);
        }
    }
    let handler = service(&store);
    match run(deliver(&handler, &store, &command(1_000, 2, ""))) {
        Ok(receipt) => {
            let after = run(events.load::<Tally>(&tally())).expect("what was decided on can be read");
            let Receipt::Decided { version, .. } = receipt else { panic!("{receipt:?} of a new command") };
            assert_eq!(after.version(), version);
        }
        Err(_) => assert_eq!(store.rows(EVENTS_TABLE, &key), rows, "half of a command was written"),
    }
}

/// A partition made of anything: rows at the store's keys with properties of any kind, among them texts of real rows.
pub fn commit_rows(data: &[u8]) {
    let mut draw = Draw::new(data);
    let (store, key) = (Arc::new(Memory::default()), tally().key());
    let mut rows = Rows::new();
    for _ in 0..draw.below(8) {
        let row = match draw.below(8) {
            0 => "E!".to_owned(),
            1 => "C~c0".to_owned(),
            2 => format!("E~{}", draw.text()),
            first => format!("E~{:019}", 9_999_999_999_999_999_999 - (first as u64 - 2)),
        };
        let mut properties = Properties::new();
        let real = &HISTORIES[0].rows;
        for _ in 0..draw.below(14) {
            let names = [
                "Version",
                "Sequence",
                "Published",
                "Epoch",
                "SnapshotVersion",
                "SnapshotSchema",
                "Snapshot0",
                "Erased",
                "First",
                "Last",
                "Meta0",
                "Events0",
                "Events1",
                "PublicationCount",
                "Publications0",
                "CommandCount",
                "Commands0",
                "Outcome0",
                "Fingerprint",
                "Signal0",
            ];
            let name = *draw.of(&names);
            let value = match draw.below(6) {
                0 => Value::Int64(draw.number()),
                1 => Value::Bool(draw.below(2) == 1),
                2 => Value::Double(f64::from(draw.byte())),
                3 => Value::Binary(vec![draw.byte()]),
                4 => Value::String(draw.text()),
                _ => {
                    let values: Vec<&Value> = real.values().filter_map(|row| row.properties.get(name)).collect();
                    values.get(draw.below(values.len().max(1))).map_or(Value::Int64(1), |value| (*value).clone())
                }
            };
            properties.insert(name.to_owned(), value);
        }
        rows.insert(row.clone(), stored(&row, 1, properties));
    }
    store.set(EVENTS_TABLE, &key, rows.clone());
    let events = EventStore::new(vec![store.clone()]);
    let typed = |fault: Fault| {
        assert!(["STORE_CORRUPT", "EVENT_VERSION_UNKNOWN"].contains(&fault.code), "{fault}");
        bounded(&fault);
    };
    let _ = run(events.load::<Tally>(&tally())).map_err(typed);
    let _ = run(events.read_forwards(&tally(), draw.number().unsigned_abs(), 10)).map_err(typed);
    let _ = run(events.outcome(&tally(), &CommandId::new("c0").expect("an id"))).map_err(typed);
    let handler = service(&store);
    if run(deliver(&handler, &store, &command(0, 2, ""))).is_err() {
        assert_eq!(store.rows(EVENTS_TABLE, &key), rows, "half of a command was written");
    }
}

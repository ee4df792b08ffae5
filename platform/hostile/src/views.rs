//! The query store: view rows, cursors and parked events as somebody else left them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_core::handler::Delivery;
use skein_core::table::{Properties, Value};
use skein_core::views::{ViewReader, ViewsHandler};
use skein_core::{AggregateId, CloudEvent, Outgoing, Partitioning, Projection, Reaction, Source, TopList, Touch};
use skein_testing::doubles::{ManualClock, MemoryQueue};
use time::OffsetDateTime;

use crate::draw::Draw;
use crate::memory::{Memory, Rows, stored};
use crate::rows::{Counted, recorded};
use crate::{bounded, run};

skein_core::contracts! {
    enum Read { Counted(Counted) }
}

#[derive(Serialize, Deserialize)]
struct Line {
    total: i64,
}

macro_rules! view {
    ($name:ident, $text:literal, $table:literal, $partitioning:ident, $partition:expr) => {
        struct $name;

        impl Projection for $name {
            const NAME: &'static str = $text;
            const TABLE: &'static str = $table;
            const PARTITIONING: Partitioning = Partitioning::$partitioning;
            type Event = Read;
            type Row = Line;

            fn touches(_: &Read, source: &Source) -> Vec<Touch> {
                let partition: fn(&Source) -> String = $partition;
                vec![Touch::new(partition(source), source.aggregate.id())]
            }

            fn apply(_: Option<Line>, Read::Counted(counted): &Read, _: &Touch, _: &Source) -> Option<Line> {
                Some(Line { total: counted.total })
            }
        }
    };
}
view!(Single, "single", "single", OneSource, |source| source.aggregate.id().to_owned());
view!(Shared, "shared", "shared", ManySources, |_| "all".to_owned());

struct Best;

impl TopList for Best {
    const NAME: &'static str = "best";
    const TABLE: &'static str = "best";
    const SHARDS: u16 = 1;
    type Event = Read;

    fn score(Read::Counted(counted): &Read, _: &Source) -> Option<i64> {
        Some(counted.total)
    }
}

struct Echo;

impl Reaction for Echo {
    const NAME: &'static str = "echo";
    type Event = Read;

    fn react(_: &Read, source: &Source) -> Result<Vec<Outgoing>, skein_core::IdError> {
        let payload = serde_json::value::to_raw_value(&source.sequence).expect("a number has JSON");
        let aggregate = AggregateId::new("echo", source.aggregate.id())?;
        Ok(vec![Outgoing { service: None, aggregate, name: "Echo".into(), version: 1, payload }])
    }
}

/// Lets the views engine take a message of the events queue.
pub(crate) async fn deliver(store: &Arc<Memory>, body: &[u8]) -> bool {
    let clock = ManualClock::new();
    let handler = ViewsHandler::new("desk", store.clone(), Arc::new(MemoryQueue::default()), clock)
        .project::<Single>()
        .project::<Shared>()
        .top_list::<Best>()
        .react::<Echo>();
    let delivery = Delivery { message_id: "m1".into(), count: 1, traceparent: None };
    let result = handler.receive(body, &delivery).await;
    if let Err(fault) = &result {
        recorded(fault, store);
    }
    result.is_ok()
}

fn event(sequence: u64) -> CloudEvent {
    CloudEvent {
        specversion: "1.0".into(),
        id: format!("c{sequence}:0"),
        source: "/services/desk".into(),
        kind: "desk.Counted.v1".into(),
        subject: AggregateId::new("tally", "1").expect("an id"),
        time: OffsetDateTime::UNIX_EPOCH,
        datacontenttype: "application/json".into(),
        sequence: Some(CloudEvent::format_sequence(sequence)),
        epoch: 0,
        correlation: "k".into(),
        causation: format!("c{sequence}"),
        traceparent: None,
        data: serde_json::value::to_raw_value(&Counted { total: 7 }).expect("a contract has JSON"),
    }
}

fn text(draw: &mut Draw<'_>) -> String {
    match draw.below(7) {
        0 => r#"{"total":3}"#.to_owned(),
        1 => r#"{"at":"2026-01-01T00:00:00Z","entries":[{"i":"1","n":3,"e":0,"s":2}],"stamps":[1]}"#.to_owned(),
        2 => r#"{"i":"1","n":3,"e":0,"s":2}"#.to_owned(),
        3 => serde_json::to_string(&event(draw.below(5) as u64)).expect("an event has JSON"),
        4 => "{}".to_owned(),
        _ => draw.text(),
    }
}

/// Whatever lies in the query store, readers get rows or a typed fault, and an event that is settled is one whose
/// place in each cursor was reached, or that is parked.
pub fn view_rows(data: &[u8]) {
    let mut draw = Draw::new(data);
    let store = Arc::new(Memory::default());
    let places: [(&str, &str, &[&str]); 8] = [
        ("single", "1~1", &["D~1", "S~tally:1"]),
        ("single", "1~1", &["P~tally:1~00000000000000000002", "P~tally:1~00000000000000000003"]),
        ("shared", "1~all", &["D~1", "S~tally:1"]),
        ("shared", "1!tally:1", &["S~tally:1", "P~tally:1~00000000000000000002"]),
        ("reactions", "1!echo~tally:1", &["S~tally:1", "P~tally:1~00000000000000000002"]),
        ("best", "1~merged", &["D~merged"]),
        ("best", "1~shard=2000000", &["!", "D~1"]),
        ("best", "1~shard 00000", &["!", "D~1"]),
    ];
    for _ in 0..draw.below(10) {
        let (table, partition, keys) = *draw.of(&places);
        let key = *draw.of(keys);
        let mut properties = Properties::new();
        for _ in 0..draw.below(6) {
            let name = *draw.of(&["Doc0", "Doc1", "Epoch", "Sequence", "Parked", "Event0", "Stamp", "Score"]);
            let value = match draw.below(5) {
                0 => Value::String(text(&mut draw)),
                1 => Value::Bool(true),
                2 => Value::Double(0.5),
                _ if matches!(name, "Doc0" | "Event0") => Value::String(text(&mut draw)),
                _ => Value::Int64(draw.number()),
            };
            properties.insert(name.to_owned(), value);
        }
        let mut rows: Rows = store.rows(table, partition);
        rows.insert(key.to_owned(), stored(key, 1, properties));
        store.set(table, partition, rows);
    }
    let reader = ViewReader::new(store.clone());
    let typed = |fault: skein_core::Fault| {
        assert!(["VIEW_ROW_UNREADABLE", "STORE_CORRUPT"].contains(&fault.code), "{fault}");
        bounded(&fault);
    };
    let _ = run(reader.get::<Single>("1", "1")).map_err(typed);
    let _ = run(reader.list::<Shared>("all", None, 10)).map_err(typed);
    let _ = run(reader.top::<Best>(10)).map_err(typed);

    let sequence = 1 + draw.below(4) as u64;
    let body = event(sequence).to_json().expect("an event has JSON");
    if run(deliver(&store, &body)) {
        for (table, partition) in [("single", "1~1"), ("shared", "1!tally:1")] {
            let rows = store.rows(table, partition);
            let reached = rows.get("S~tally:1").and_then(|row| Some((row.int("Epoch")?, row.int("Sequence")?)));
            let parked = rows.contains_key(&format!("P~tally:1~{}", CloudEvent::format_sequence(sequence)));
            let reached = reached.is_some_and(|(epoch, at)| epoch > 0 || at >= sequence.cast_signed());
            assert!(reached || parked, "event {sequence} was settled, but {table} neither has it nor parked it");
        }
    }
}

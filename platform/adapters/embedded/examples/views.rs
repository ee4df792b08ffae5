//! Measures the hot path of views: events of many sources, applied to a view with one source for each partition, to one
//! with many and to a top list, on a file and in memory, in order and turned round within each ten:
//! `cargo run --release -p skein-embedded --example views`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use skein_core::handler::Delivery;
use skein_core::ports::TableStore;
use skein_core::views::{ViewReader, ViewsHandler};
use skein_core::{AggregateId, CloudEvent, Contract, Partitioning, Projection, Source, TopList, Touch};
use skein_embedded::EmbeddedStore;
use skein_testing::doubles::{Call, ManualClock, MemoryQueue, Recorder};

const TABLES: [&str; 5] = ["faults", "generations", "counts", "board", "best"];
const SOURCES: usize = 200;
/// Events of each source.
const EVENTS: u64 = 20;

/// What a counter tells others.
#[derive(Serialize, Deserialize)]
struct Counted {
    total: i64,
}

impl Contract for Counted {
    const TYPE: &'static str = "desk.Counted";
    const CATEGORY: &'static str = "counter";
}

skein_core::contracts! {
    enum Read { Counted(Counted) }
}

#[derive(Serialize, Deserialize)]
struct Line {
    total: i64,
    text: String,
}

/// One row for each source, in a partition of its own.
struct Counts;
/// Ten sources share a partition.
struct Board;
/// The highest totals.
struct Best;

fn line(Read::Counted(counted): &Read) -> Option<Line> {
    Some(Line { total: counted.total, text: "x".repeat(200) })
}

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const TABLE: &'static str = "counts";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    type Event = Read;
    type Row = Line;

    fn touches(_: &Read, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), "count")]
    }

    fn apply(_: Option<Line>, event: &Read, _: &Touch, _: &Source) -> Option<Line> {
        line(event)
    }
}

impl Projection for Board {
    const NAME: &'static str = "board";
    const TABLE: &'static str = "board";
    const PARTITIONING: Partitioning = Partitioning::ManySources;
    type Event = Read;
    type Row = Line;

    fn touches(_: &Read, source: &Source) -> Vec<Touch> {
        let id = source.aggregate.id();
        vec![Touch::new(&id[..id.len() - 1], id)]
    }

    fn apply(_: Option<Line>, event: &Read, _: &Touch, _: &Source) -> Option<Line> {
        line(event)
    }
}

impl TopList for Best {
    const NAME: &'static str = "best";
    const TABLE: &'static str = "best";
    type Event = Read;

    fn score(Read::Counted(counted): &Read, _: &Source) -> Option<i64> {
        Some(counted.total)
    }
}

/// The event of a source, as published.
fn event(source: usize, sequence: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let data = Counted { total: i64::try_from(sequence)? * 1_000 + i64::try_from(source)? };
    Ok(serde_json::to_vec(&CloudEvent {
        specversion: "1.0".into(),
        id: format!("c{source}-{sequence}:0"),
        source: "/services/desk".into(),
        kind: "desk.Counted.v1".into(),
        subject: AggregateId::new("counter", &format!("{source:04}"))?,
        time: time::OffsetDateTime::UNIX_EPOCH,
        datacontenttype: "application/json".into(),
        sequence: Some(CloudEvent::format_sequence(sequence)),
        epoch: 0,
        correlation: "k".into(),
        causation: format!("c{source}-{sequence}"),
        traceparent: None,
        data: serde_json::value::to_raw_value(&data)?,
    })?)
}

/// Applies all events, one after the other, and checks what came of them.
async fn measure(name: &str, store: EmbeddedStore, turned: bool) -> Result<(), Box<dyn std::error::Error>> {
    let recorder = Recorder::new(Arc::new(store));
    let store: Arc<dyn TableStore> = recorder.clone();
    let queue = Arc::<MemoryQueue>::default();
    let handler = ViewsHandler::new("desk", store.clone(), queue, ManualClock::new())
        .sources(BTreeMap::from([("counter".to_owned(), "desk".to_owned())]))
        .project::<Counts>()
        .project::<Board>()
        .top_list::<Best>();
    let mut bodies = Vec::new();
    for first in (1..=EVENTS).step_by(10) {
        for source in 0..SOURCES {
            let mut ten: Vec<u64> = (first..first + 10).collect();
            if turned {
                ten.reverse();
            }
            for sequence in ten {
                bodies.push(event(source, sequence)?);
            }
        }
    }
    let delivery = |n: usize| Delivery { message_id: format!("m{n}"), count: 1, traceparent: None };
    let started = Instant::now();
    for (n, body) in bodies.iter().enumerate() {
        handler.receive(body, &delivery(n)).await?;
    }
    let (took, count) = (started.elapsed().as_secs_f64(), bodies.len() as f64);
    let (mut reads, mut writes) = (0.0, 0.0);
    for call in recorder.all_calls() {
        match call {
            Call::Transact(_) => writes += 1.0,
            _ => reads += 1.0,
        }
    }
    let reader = ViewReader::new(store);
    for source in 0..SOURCES {
        let (partition, row) = (format!("{source:04}"), "count");
        let total = reader.get::<Counts>(&partition, row).await?.map(|line| line.total);
        let expected = i64::try_from(EVENTS)? * 1_000 + i64::try_from(source)?;
        if total != Some(expected) {
            return Err(format!("{name}: counter {source} shows {total:?}, not {expected}").into());
        }
    }
    let order = if turned { "turned round" } else { "in order" };
    println!(
        "{name}, {order}: {:.0} events a second, {:.1} reads and {:.1} transactions each",
        count / took,
        reads / count,
        writes / count
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    for turned in [false, true] {
        let file = folder.path().join(format!("views-{turned}.db"));
        measure("a file", EmbeddedStore::open(file, &TABLES)?, turned).await?;
        measure("in memory", EmbeddedStore::memory(&TABLES)?, turned).await?;
    }
    Ok(())
}

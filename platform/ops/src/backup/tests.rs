//! Backups over stores and blobs in memory.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::blob::BlobStore;
use skein_core::handler::{CommandHandler, Delivery, Ports, Receipt};
use skein_core::ports::TableStore;
use skein_core::store::EventStore;
use skein_core::views::{ViewReader, ViewsHandler};
use skein_core::{
    Aggregate, AggregateId, CloudEvent, Command, CommandId, Context, Contract, Decision, Envelope, Handle, Never,
    Partitioning, Principal, Projection, Publication, Source, Touch, Trace,
};
use skein_embedded::EmbeddedStore;
use skein_testing::conformance::blob_store;
use skein_testing::doubles::{ManualClock, MemoryBlobs, MemoryBus, MemoryQueue};

use super::*;

/// A sum.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    total: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Added {
    n: i64,
}

skein_core::events! { enum SumEvent { Added(Added) = ("Added", 1) } }

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SumRose {
    n: i64,
}

impl Contract for SumRose {
    const TYPE: &'static str = "test.SumRose";
    const CATEGORY: &'static str = "sum";
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Add {
    n: i64,
}

impl Command for Add {
    const TYPE: &'static str = "Add";
}

impl Aggregate for Sum {
    const CATEGORY: &'static str = "sum";
    type Event = SumEvent;

    fn evolve(&mut self, event: &SumEvent) {
        let SumEvent::Added(added) = event;
        self.total += added.n;
    }

    fn publish(&self, event: &SumEvent) -> Option<Publication> {
        let SumEvent::Added(added) = event;
        // Not every event is told: sequences and versions differ.
        (added.n % 2 == 0).then(|| Publication::of(&SumRose { n: added.n }))
    }
}

impl Handle<Add> for Sum {
    type Error = Never;
    type Reply = i64;

    fn decide(&self, command: &Add, _: &Context) -> Result<Decision<Self, i64>, Never> {
        Ok(Decision::reply(self.total + command.n).event(Added { n: command.n }))
    }
}

skein_core::contracts! {
    /// What the view reads.
    enum Read { SumRose(SumRose) }
}

/// The sum of what was told.
struct Told;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ToldRow {
    total: i64,
}

impl Projection for Told {
    const NAME: &'static str = "told";
    const TABLE: &'static str = "told";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    type Event = Read;
    type Row = ToldRow;

    fn touches(_: &Read, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), "sum")]
    }

    fn apply(row: Option<ToldRow>, event: &Read, _: &Touch, _: &Source) -> Option<ToldRow> {
        let Read::SumRose(rose) = event;
        Some(ToldRow { total: row.unwrap_or_default().total + rose.n })
    }
}

/// An event store of some shards with a command handler before it.
struct Service {
    store: EventStore,
    handler: CommandHandler,
    bus: Arc<MemoryBus>,
}

fn tables() -> Arc<dyn TableStore> {
    Arc::new(EmbeddedStore::memory(&["events", "faults", "generations", "told"]).unwrap())
}

impl Service {
    fn new(shards: usize) -> Self {
        let shards: Vec<_> = (0..shards).map(|_| tables()).collect();
        let bus = Arc::<MemoryBus>::default();
        let ports = Ports {
            shards: shards.clone(),
            queue: Arc::<MemoryQueue>::default(),
            bus: bus.clone(),
            clock: ManualClock::new(),
        };
        Service {
            store: EventStore::new(shards),
            handler: CommandHandler::new("test", ports).handle::<Sum, Add>(),
            bus,
        }
    }

    async fn add(&self, sum: &str, id: &str, n: i64) -> Receipt {
        let trace = Trace { correlation_id: "c".into(), causation_id: None, traceparent: None };
        let command = CommandId::new(id).unwrap();
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let envelope = Envelope::wrap(&Add { n }, command, sum_id(sum), Principal::new("ann", []), trace, now).unwrap();
        let message = envelope.to_message().unwrap();
        let delivery = Delivery { message_id: message.id, count: 1, traceparent: None };
        self.handler.receive(&message.body, &delivery).await.unwrap()
    }

    /// Adds numbers from a range to five sums, and returns what was published.
    async fn fill(&self, numbers: std::ops::Range<i64>) -> Vec<Bytes> {
        for n in numbers {
            self.add(&format!("s/{}", n % 5), &format!("add-{n}"), n).await;
        }
        self.bus.take().concat()
    }

    async fn total(&self, sum: &str) -> i64 {
        self.store.load::<Sum>(&sum_id(sum)).await.unwrap().state.total
    }
}

fn sum_id(sum: &str) -> AggregateId {
    AggregateId::new("sum", sum).unwrap()
}

fn totals(numbers: std::ops::Range<i64>, counts: impl Fn(i64) -> bool) -> [i64; 5] {
    let mut totals = [0; 5];
    for n in numbers.filter(|n| counts(*n)) {
        totals[usize::try_from(n % 5).unwrap()] += n;
    }
    totals
}

/// A consumer of what is published.
struct View {
    handler: ViewsHandler,
    reader: ViewReader,
}

impl View {
    fn new() -> Self {
        let store = tables();
        let queue = Arc::<MemoryQueue>::default();
        let handler = ViewsHandler::new("test", store.clone(), queue, ManualClock::new()).project::<Told>();
        View { handler, reader: ViewReader::new(store) }
    }

    async fn feed(&self, events: &[Bytes]) {
        for (n, event) in events.iter().enumerate() {
            let delivery = Delivery { message_id: n.to_string(), count: 1, traceparent: None };
            self.handler.receive(event, &delivery).await.unwrap();
        }
    }

    async fn totals(&self) -> [i64; 5] {
        let mut totals = [0; 5];
        for (n, total) in totals.iter_mut().enumerate() {
            let row = self.reader.get::<Told>(&format!("s/{n}"), "sum").await.unwrap();
            *total = row.map_or(0, |row| row.total);
        }
        totals
    }
}

/// Everything that the restored aggregates ever published, as a rebuild gets it.
async fn history(store: &EventStore) -> Vec<Bytes> {
    let mut events = Vec::new();
    for n in 0..5 {
        let commits = store.read_forwards(&sum_id(&format!("s/{n}")), 1, 10_000).await.unwrap();
        events.extend(commits.into_iter().flat_map(|commit| commit.publications));
    }
    events
}

#[tokio::test]
async fn blobs_in_memory_conform() {
    blob_store::run_all(MemoryBlobs::new()).await;
}

#[tokio::test]
async fn a_restored_store_is_what_was_exported_in_the_next_epoch() {
    let (lost, blobs) = (Service::new(2), MemoryBlobs::new());
    let view = View::new();
    view.feed(&lost.fill(0..300).await).await;
    assert_eq!(export(&lost.store, &*blobs, "test").await.unwrap(), Exported { aggregates: 5, commits: 300 });
    assert_eq!(export(&lost.store, &*blobs, "test").await.unwrap(), Exported { aggregates: 5, commits: 0 });
    view.feed(&lost.fill(300..420).await).await;
    assert_eq!(export(&lost.store, &*blobs, "test").await.unwrap(), Exported { aggregates: 5, commits: 120 });

    // Another number of shards: which aggregate is where follows from its key.
    let found = Service::new(3);
    let restored = restore(&found.store, &*blobs, "test").await.unwrap();
    assert_eq!(restored, Restored { aggregates: 5, commits: 420, epoch: 1 });
    for (n, total) in totals(0..420, |_| true).into_iter().enumerate() {
        let id = format!("s/{n}");
        assert_eq!(found.total(&id).await, total, "{id}");
        let tips = (
            lost.store.tip(&sum_id(&id)).await.unwrap().unwrap(),
            found.store.tip(&sum_id(&id)).await.unwrap().unwrap(),
        );
        assert_eq!(
            (tips.1.version, tips.1.sequence, tips.1.published),
            (tips.0.version, tips.0.sequence, tips.0.published)
        );
        assert_eq!((tips.0.epoch, tips.1.epoch), (0, 1));
    }
    // A command from before the loss is known.
    assert!(matches!(found.add("s/1", "add-1", 1).await, Receipt::Duplicate { version: 1, .. }));
    found.bus.take();
    // What follows is numbered on, in the new epoch, and the view that was there goes on.
    let more = found.fill(420..430).await;
    assert!(more.iter().any(|event| CloudEvent::from_json(event).unwrap().epoch == 1));
    view.feed(&more).await;
    assert_eq!(view.totals().await, totals(0..430, |n| n % 2 == 0));
}

#[tokio::test]
async fn views_come_right_again_after_a_loss() {
    let (lost, blobs) = (Service::new(1), MemoryBlobs::new());
    lost.fill(0..200).await;
    export(&lost.store, &*blobs, "test").await.unwrap();
    // What came after the export is lost, and a view had seen it.
    let seen = View::new();
    seen.feed(&history(&lost.store).await).await;
    seen.feed(&lost.fill(200..240).await).await;

    let found = Service::new(1);
    restore(&found.store, &*blobs, "test").await.unwrap();
    for n in 300..340 {
        found.add(&format!("s/{}", n % 5), &format!("new-{n}"), n).await;
    }
    let new = found.bus.take().concat();
    // The old view takes the new events, although it has seen as many of the lost ones…
    let before = seen.totals().await;
    seen.feed(&new).await;
    let after = seen.totals().await;
    let told = totals(300..340, |n| n % 2 == 0);
    for n in 0..5 {
        assert_eq!(after[n] - before[n], told[n]);
    }
    // …and one that is built from the restored history shows that, whatever order the events come in.
    let rebuilt = View::new();
    let mut all = history(&found.store).await;
    all.reverse();
    rebuilt.feed(&all).await;
    let (old, new) = (totals(0..200, |n| n % 2 == 0), told);
    let expected: Vec<i64> = (0..5).map(|n| old[n] + new[n]).collect();
    assert_eq!(rebuilt.totals().await.to_vec(), expected);
}

#[tokio::test]
async fn an_export_that_breaks_off_anywhere_is_gone_on_with() {
    let lost = Service::new(1);
    lost.fill(0..50).await;
    for writes in 0..4 {
        let blobs = MemoryBlobs::new();
        blobs.die_after(Some(writes));
        let first = export(&lost.store, &*blobs, "test").await;
        assert_eq!(first.is_ok(), writes >= 3, "{writes}: a segment, a block, a checkpoint");
        blobs.die_after(None);
        export(&lost.store, &*blobs, "test").await.unwrap();
        let found = Service::new(1);
        let restored = restore(&found.store, &*blobs, "test").await.unwrap();
        assert_eq!((restored.aggregates, restored.commits), (5, 50), "each commit is there once, after {writes}");
    }
}

#[tokio::test]
async fn a_restore_needs_an_empty_store_and_a_whole_backup() {
    let (lost, blobs) = (Service::new(1), MemoryBlobs::new());
    let told = |error: anyhow::Error| format!("{error:#}");
    assert_eq!(
        told(restore(&Service::new(1).store, &*blobs, "test").await.unwrap_err()),
        "there is no backup of test; nothing was written"
    );
    lost.fill(0..20).await;
    export(&lost.store, &*blobs, "test").await.unwrap();
    assert_eq!(
        told(restore(&lost.store, &*blobs, "test").await.unwrap_err()),
        "the store of test is not empty; restoring needs an empty one"
    );
    let found = Service::new(1);
    assert_eq!(restore(&found.store, &*blobs, "test").await.unwrap().epoch, 1);
    assert_eq!(
        told(restore(&found.store, &*blobs, "test").await.unwrap_err()),
        "the store of test was restored already; restoring needs an empty one"
    );
    // A store that was restored and lost again may have told others of its epoch.
    assert_eq!(restore(&Service::new(1).store, &*blobs, "test").await.unwrap().epoch, 2);

    let name = "test/00000/00000001.jsonl";
    let whole = blobs.read(name, 0, u64::MAX).await.unwrap().unwrap().bytes;
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for broken in [
        [&lines[1..2], &lines[3..]].concat().concat(),
        String::from_utf8(whole.to_vec())
            .unwrap()
            .replacen("\"first\":1,\"last\":1", "\"first\":1,\"last\":2", 1)
            .into(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"no line\n"].concat(),
    ] {
        blobs.put(name, Bytes::from(broken)).await.unwrap();
        let empty = Service::new(1);
        let error = told(restore(&empty.store, &*blobs, "test").await.unwrap_err());
        assert!(error.starts_with("nothing was written: "), "{error}");
        assert!(empty.store.is_empty().await.unwrap());
    }
}

#[tokio::test]
async fn a_restore_that_breaks_off_is_gone_on_with() {
    let (lost, blobs) = (Service::new(1), MemoryBlobs::new());
    lost.fill(0..200).await;
    export(&lost.store, &*blobs, "test").await.unwrap();
    // As if the process had died between aggregates: some are there, in the epoch that was given.
    let found = Service::new(2);
    let id = sum_id("s/3");
    let tip = lost.store.tip(&id).await.unwrap().unwrap();
    let lines = lost.store.back_up(&id, &tip, 0, 25).await.unwrap();
    found.store.mark_restoration(1, false).await.unwrap();
    assert_eq!(found.store.restore(&lines, 1).await.unwrap(), 25);
    assert_eq!(found.store.restore(&lines, 1).await.unwrap(), 0);
    let restored = restore(&found.store, &*blobs, "test").await.unwrap();
    assert_eq!(restored, Restored { aggregates: 5, commits: 175, epoch: 1 });
    for (n, total) in totals(0..200, |_| true).into_iter().enumerate() {
        assert_eq!(found.total(&format!("s/{n}")).await, total);
    }
}

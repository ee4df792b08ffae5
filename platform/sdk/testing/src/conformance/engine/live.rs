//! Live views: each change is told in order, whatever happens on the way, and who watches nothing pays nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{BoxFuture, Either, join_all, select};
use skein_core::handler::Delivery;
use skein_core::ports::{Clock as _, HubAccess, LiveHub, SendError, TableStore};
use skein_core::table::Range;
use skein_core::views::{
    Change, KEPT, Push, RESUME, Start, Topic, ViewReader, ViewsHandler, WatchError, Watcher, Watches,
};
use skein_core::{Fault, Partitioning, Projection, Source, Touch};

use super::{Numbers, Owners, PurseRow, Purses, Read, Reading, balance};
use crate::doubles::{Accident, Call, ManualClock, MemoryQueue, Recorder};

macro_rules! live {
    ($(#[$doc:meta])* $name:ident of $view:ident in $table:literal) => {
        $(#[$doc])*
        struct $name;

        impl Projection for $name {
            const NAME: &'static str = $table;
            const TABLE: &'static str = $table;
            const PARTITIONING: Partitioning = $view::PARTITIONING;
            const LIVE: bool = true;
            type Event = Read;
            type Row = PurseRow;

            fn touches(event: &Read, source: &Source) -> Vec<Touch> {
                $view::touches(event, source)
            }

            fn apply(row: Option<PurseRow>, event: &Read, touch: &Touch, source: &Source) -> Option<PurseRow> {
                $view::apply(row, event, touch, source)
            }
        }
    };
}

live! {
    /// [`Purses`], which may be watched.
    LivePurses of Purses in "livepurses"
}
live! {
    /// [`Owners`], which may be watched.
    LiveOwners of Owners in "liveowners"
}

/// What was pushed to a group, in order; the next pushes may fail, before or after they arrive.
#[derive(Default)]
struct Pushes {
    told: Mutex<BTreeMap<String, Vec<Change>>>,
    renewed: Mutex<Vec<String>>,
    failures: Mutex<VecDeque<Failure>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Failure {
    None,
    Before,
    After,
}

impl Pushes {
    fn fail(&self, failures: impl IntoIterator<Item = Failure>) {
        self.failures.lock().unwrap().extend(failures);
    }

    fn take(&self, group: &str) -> Vec<Change> {
        self.told.lock().unwrap().remove(group).unwrap_or_default()
    }
}

#[async_trait]
impl Push for Pushes {
    async fn push(&self, watcher: &Watcher, change: &Change) -> Result<(), Fault> {
        let failure = self.failures.lock().unwrap().pop_front().unwrap_or(Failure::None);
        if failure != Failure::Before {
            self.told.lock().unwrap().entry(watcher.group.clone()).or_default().push(change.clone());
        }
        match failure {
            Failure::None => Ok(()),
            Failure::Before | Failure::After => Err(Fault::transient("HUB_UNAVAILABLE", "told to be away")),
        }
    }

    async fn renew(&self, group: &str) -> Result<(), Fault> {
        self.renewed.lock().unwrap().push(group.to_owned());
        Ok(())
    }
}

/// A hub that knows whether anybody is there; before it says so, something else may happen.
#[derive(Default)]
struct Hub {
    members: bool,
    meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
}

#[async_trait]
impl LiveHub for Hub {
    async fn access(&self, _: &str, _: Duration) -> Result<HubAccess, SendError> {
        unreachable!("views let nobody in")
    }

    async fn send(&self, _: &str, _: &str, _: &Bytes) -> Result<(), SendError> {
        unreachable!("pushes are recorded")
    }

    async fn join(&self, _: &str, _: &str, _: Duration) -> Result<(), SendError> {
        unreachable!("whoever watches has joined")
    }

    async fn leave(&self, _: &str, _: &str) -> Result<(), SendError> {
        unreachable!("views take nobody out")
    }

    async fn leave_all(&self, _: &str) -> Result<(), SendError> {
        unreachable!("views take nobody out")
    }

    async fn has_members(&self, _: &str) -> Result<bool, SendError> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        Ok(self.members)
    }
}

/// A worker with both live views, and what it pushes.
struct Live {
    reading: Reading,
    pushes: Arc<Pushes>,
    clock: Arc<ManualClock>,
}

impl Live {
    fn new(store: &Arc<dyn TableStore>) -> Self {
        Live::telling(store, &Arc::default())
    }

    fn telling(store: &Arc<dyn TableStore>, pushes: &Arc<Pushes>) -> Self {
        let (store, queue, clock) = (Recorder::new(store.clone()), Arc::<MemoryQueue>::default(), ManualClock::new());
        let handler = ViewsHandler::new("bank", store.clone(), queue.clone(), clock.clone())
            .project::<LivePurses>()
            .project::<LiveOwners>()
            .push(pushes.clone());
        Live { reading: Reading { handler, store, queue }, pushes: pushes.clone(), clock }
    }

    /// As the broker does: until it is taken.
    async fn receive(&self, body: &[u8]) {
        for count in 1..50 {
            let delivery = Delivery { message_id: "m".into(), count, traceparent: None };
            if self.reading.handler.receive(body, &delivery).await.is_ok() {
                return;
            }
        }
        panic!("the event was never taken");
    }

    fn watches(&self) -> Watches {
        Watches::new(self.reading.store.clone(), self.clock.clone())
    }

    async fn watch<P: Projection>(&self, group: &str, partition: &str, row: Option<&str>) -> Start {
        let topic = self.watches().topic::<P>(partition, row).await.expect("a live view");
        self.watches().watch(&topic, &self.watcher(group, row)).await.expect("watched");
        self.watches().start(&topic, None).await.expect("started")
    }

    fn wait(&self, time: Duration) {
        self.clock.advance_to(self.clock.now() + time);
    }

    /// Takes an event of partitions that nobody watches any more: nothing is kept of it, nor read for it.
    async fn costs_no_more(&self, body: &[u8]) {
        self.reading.store.all_calls();
        self.receive(body).await;
        let calls = self.reading.store.all_calls();
        let keeps = |call: &Call| matches!(call, Call::Transact(keys) if keys.iter().any(|key| key.starts_with("H~")));
        let reads = |call: &Call| matches!(call, Call::Query) || *call == Call::Get("V~".into());
        assert!(!calls.iter().any(|call| keeps(call) || reads(call)), "{calls:?}");
    }

    fn watcher(&self, group: &str, row: Option<&str>) -> Watcher {
        Watcher {
            group: group.to_owned(),
            until: self.clock.now().unix_timestamp() + 600,
            row: row.map(str::to_owned),
            operation: "subscription".into(),
        }
    }
}

/// Longer than clocks differ and than ends are rounded.
const LONG: Duration = Duration::from_secs(200);

/// A client: it knows what it has seen by the numbers.
struct Client {
    row: &'static str,
    last: u64,
    seen: Vec<Option<PurseRow>>,
}

impl Client {
    fn of(row: &'static str, start: Start) -> Self {
        let Start::Now { number, document } = start else { panic!("{start:?}") };
        Client { row, last: number, seen: vec![document.map(|json| serde_json::from_str(&json).expect("a row"))] }
    }

    fn hear(&mut self, changes: &[Change]) {
        for change in changes {
            let row = change.rows.iter().flatten().find(|changed| changed.row == self.row);
            let Some(row) = row.filter(|_| change.number > self.last) else { continue };
            assert!(row.previous <= self.last, "{} follows {}, not {}", change.number, row.previous, self.last);
            self.last = change.number;
            self.seen.push(row.document.as_deref().map(|json| serde_json::from_str(json).expect("a row")));
        }
    }

    /// How many events each state that it saw had counted.
    fn counts(&self) -> Vec<u64> {
        self.seen.iter().map(|row| row.as_ref().map_or(0, |row| row.events)).collect()
    }
}

/// Doubled, reordered, with accidents at the store and at the hub, by several workers at once: from the beginning of the
/// watch on, everybody hears of each change once and in order.
pub async fn watchers_hear_of_each_change_once_and_in_order(store: Arc<dyn TableStore>) {
    for seed in 0..8 {
        println!("seed {seed}");
        let mut numbers = Numbers(seed);
        let (purse, owner) = (format!("heard-{seed}-0"), format!("heard owner {seed}"));
        let mut events = Vec::new();
        for of in 0..3 {
            for sequence in 1..=6 {
                let coins = i64::try_from(numbers.below(4)).expect("small");
                for _ in 0..=numbers.below(3) {
                    events.push(balance(&format!("heard-{seed}-{of}"), &owner, sequence, coins));
                }
            }
        }
        numbers.shuffle(&mut events);
        let pushes = Arc::<Pushes>::default();
        let workers: Vec<Live> = (0..3).map(|_| Live::telling(&store, &pushes)).collect();
        let (before, after) = events.split_at(numbers.below(events.len()));
        for body in before {
            workers[0].receive(body).await;
        }
        let (one, many) = (format!("purse-{seed}"), format!("owner-{seed}"));
        let mut purses = Client::of("purse", workers[0].watch::<LivePurses>(&one, &purse, Some("purse")).await);
        let mut owners = Client::of("all", workers[0].watch::<LiveOwners>(&many, &owner, Some("all")).await);
        for worker in &workers {
            let accidents = [Accident::None, Accident::ResponseLost, Accident::RequestLost, Accident::AppliedLate];
            worker.reading.store.accidents((0..80).map(|_| accidents[numbers.below(4)]));
        }
        let failures = [Failure::None, Failure::None, Failure::Before, Failure::After];
        pushes.fail((0..60).map(|_| failures[numbers.below(4)]));
        let lanes = workers.iter().enumerate().map(|(lane, worker)| {
            let mine: Vec<&Bytes> = after.iter().skip(lane).step_by(workers.len()).collect();
            async move {
                for body in mine {
                    worker.receive(body).await;
                }
            }
        });
        join_all(lanes).await;
        purses.hear(&pushes.take(&one));
        owners.hear(&pushes.take(&many));
        for (client, all) in [(&purses, 6), (&owners, 18)] {
            let counts = client.counts();
            let first = counts[0];
            assert_eq!(counts, (first..=all).collect::<Vec<u64>>(), "{}", client.row);
        }
        let reader = ViewReader::new(store.clone());
        let row = reader.get::<LivePurses>(&purse, "purse").await.expect("reads");
        assert_eq!(purses.seen.last(), Some(&row));
    }
}

/// While nobody watches, a live view with one source makes the calls of any other, and one with many sources reads
/// nothing that the other does not read; the first event of a partition apart.
pub async fn a_view_that_nobody_watches_costs_no_read(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let plain = Reading::new(&store, |handler| handler.project::<Purses>().project::<Owners>());
    for sequence in 1..=3 {
        let body = balance("unwatched", "unwatched owner", sequence, 1);
        live.receive(&body).await;
        plain.receive(&body).await;
        let calls = |store: &Recorder, table: &str| {
            let calls: Vec<Call> = store.calls(table);
            calls
        };
        // One handler at a time: the recorder forgets the other tables' calls with each look.
        if sequence == 2 {
            assert_eq!(calls(&live.reading.store, "livepurses"), calls(&plain.store, "purses"));
        }
        if sequence == 3 {
            let (live, plain) = (calls(&live.reading.store, "liveowners"), calls(&plain.store, "owners"));
            let is_read = |call: &&Call| !matches!(call, Call::Transact(_));
            assert_eq!(live.iter().filter(is_read).count(), plain.iter().filter(is_read).count());
            assert_eq!(live.len(), plain.len());
        }
        live.reading.store.all_calls();
        plain.store.all_calls();
    }
    let error = live.watches().topic::<Purses>("unwatched", None).await.expect_err("it is not live");
    assert!(matches!(error, WatchError::NotLive("purses")), "{error}");
    let error = live.watches().topic::<LivePurses>("", None).await.expect_err("no id");
    assert!(matches!(error, WatchError::Id(_)), "{error}");
}

/// A hub that is away keeps no view from going on; what it did not take is pushed when the event comes again.
pub async fn a_hub_that_is_away_stops_no_view(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let (purse, owner) = ("hubless", "hubless owner");
    // Before there is anything to watch.
    let mut purses = Client::of("purse", live.watch::<LivePurses>("hubless-purse", purse, Some("purse")).await);
    let mut owners = Client::of("all", live.watch::<LiveOwners>("hubless-owner", owner, Some("all")).await);
    live.pushes.fail([Failure::Before; 100]);
    let delivery = Delivery { message_id: "m".into(), count: 1, traceparent: None };
    let bodies: Vec<Bytes> = (1..=4).map(|sequence| balance(purse, owner, sequence, 1)).collect();
    for body in [&bodies[0], &bodies[2], &bodies[1]] {
        let taken = live.reading.handler.receive(body, &delivery).await;
        assert_eq!(taken.is_err(), body != &bodies[2], "an early event is parked");
    }
    let reader = ViewReader::new(store.clone());
    let row = reader.get::<LivePurses>(purse, "purse").await.expect("reads").expect("is there");
    let all = reader.get::<LiveOwners>(owner, "all").await.expect("reads").expect("is there");
    assert_eq!((row.events, all.events), (3, 3), "the views have gone on");
    live.pushes.failures.lock().unwrap().clear();
    // The first comes again, though others were applied since.
    live.receive(&bodies[0]).await;
    purses.hear(&live.pushes.take("hubless-purse"));
    owners.hear(&live.pushes.take("hubless-owner"));
    assert_eq!((purses.counts(), owners.counts()), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    live.receive(&bodies[3]).await;
    live.receive(&bodies[1]).await;
    let told = live.pushes.take("hubless-purse");
    assert_eq!(told.iter().map(|change| change.number).collect::<Vec<_>>(), [4], "nothing is told again");
}

/// Whoever comes back hears what it missed, as long as it is kept; else what is so now.
pub async fn what_was_missed_is_told_as_long_as_it_is_kept(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let (purse, owner) = ("missed", "missed owner");
    live.receive(&balance(purse, owner, 1, 1)).await;
    let Start::Now { number: from, .. } = live.watch::<LivePurses>("missed", purse, Some("purse")).await else {
        panic!("nothing was missed")
    };
    for sequence in 2..=KEPT + 2 {
        live.receive(&balance(purse, owner, sequence, i64::try_from(sequence).expect("small"))).await;
    }
    let watches = live.watches();
    let topic = watches.topic::<LivePurses>(purse, Some("purse")).await.expect("live");
    let last = from + KEPT + 1;
    let now = watches.start(&topic, Some(from)).await.expect("started");
    assert!(matches!(now, Start::Now { number, .. } if number == last), "one too many: {now:?}");
    let Start::Missed(missed) = watches.start(&topic, Some(from + 1)).await.expect("started") else {
        panic!("all are kept")
    };
    assert_eq!(missed.iter().map(|change| change.number).collect::<Vec<_>>(), (from + 2..=last).collect::<Vec<_>>());
    assert_eq!(watches.start(&topic, Some(last)).await.expect("started"), Start::Missed(Vec::new()));
    let ahead = watches.start(&topic, Some(last + 1)).await.expect("started");
    assert!(matches!(ahead, Start::Now { .. }), "a number that was never given: {ahead:?}");
    // A change too large to be kept with its rows is not told in part.
    let other = watches.topic::<LivePurses>(purse, Some("another row")).await.expect("live");
    assert_eq!(watches.start(&other, Some(last - 3)).await.expect("started"), Start::Missed(Vec::new()));
}

/// A watch ends [`RESUME`] after its last watcher, and not before; what happens afterwards is not kept, and no number is given
/// twice.
pub async fn a_watch_ends_with_its_last_watcher(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let (purse, owner) = ("left", "left owner");
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        balance(purse, owner, sequence, 1)
    };
    for (group, row) in [("left-1", Some("all")), ("left-2", None)] {
        live.watch::<LiveOwners>(group, owner, row).await;
    }
    live.watch::<LivePurses>("left-3", purse, None).await;
    live.receive(&next()).await;
    let watches = live.watches();
    let owners = watches.topic::<LiveOwners>(owner, None).await.expect("live");
    let purses = watches.topic::<LivePurses>(purse, None).await.expect("live");
    let (alone, crowd) = (Hub::default(), Hub { members: true, ..Hub::default() });
    watches.leave(&owners, "left-1", &crowd).await.expect("left");
    live.receive(&next()).await;
    assert_eq!(live.pushes.take("left-1").len(), 2, "somebody is still there");
    watches.leave(&owners, "left-1", &alone).await.expect("left");
    live.wait(RESUME + LONG);
    live.receive(&next()).await;
    assert_eq!((live.pushes.take("left-1").len(), live.pushes.take("left-2").len()), (0, 3));

    // Somebody comes while it is found that nobody is there: another one, and one of the same group.
    for (newcomer, leaver) in [("left-4", "left-2"), ("left-4", "left-4")] {
        let (before, topic, watcher) = (watches.clone(), owners.clone(), live.watcher(newcomer, None));
        let comes = async move { before.watch(&topic, &watcher).await.expect("watched") };
        let hub = Hub { members: false, meanwhile: Mutex::new(Some(Box::pin(comes))) };
        if newcomer == leaver {
            // The next look finds who has come.
            let found = Hub { members: true, ..Hub::default() };
            let first = std::sync::atomic::AtomicBool::new(true);
            watches.leave(&owners, leaver, &Turning { first, before: hub, after: found }).await.expect("left");
        } else {
            watches.leave(&owners, leaver, &hub).await.expect("left");
        }
        live.receive(&next()).await;
        assert_eq!(live.pushes.take("left-4").len(), 1, "{newcomer} is told");
    }
    let Start::Now { number: old, .. } = watches.start(&owners, None).await.expect("started") else { panic!("now") };
    watches.leave(&owners, "left-4", &alone).await.expect("left");
    watches.leave(&purses, "left-3", &alone).await.expect("left");
    live.pushes.take("left-3");
    live.wait(RESUME + LONG);
    live.receive(&next()).await;
    live.costs_no_more(&next()).await;
    assert_eq!((live.pushes.take("left-4").len(), live.pushes.take("left-3").len()), (0, 0));
    // Who comes back was away too long.
    live.watch::<LiveOwners>("left-4", owner, None).await;
    for after in 0..=old {
        let start = watches.start(&owners, Some(after)).await.expect("started");
        assert!(matches!(start, Start::Now { number, .. } if number > old), "{after}: {start:?}");
    }
    live.receive(&next()).await;
    assert_eq!(live.pushes.take("left-4").len(), 1);
}

/// Who lost the connection hears, on coming back in time, of each change that happened while nobody was there: whatever
/// others do meanwhile.
pub async fn who_comes_back_in_time_has_missed_nothing(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let (purse, owner) = ("back", "back owner");
    let (watches, nobody) = (live.watches(), Hub::default());
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        balance(purse, owner, sequence, 1)
    };
    let purses = watches.topic::<LivePurses>(purse, Some("purse")).await.expect("live");
    let owners = watches.topic::<LiveOwners>(owner, Some("all")).await.expect("live");
    let both = [(&purses, "back-purse", "purse"), (&owners, "back-owner", "all")];
    live.watch::<LivePurses>("back-purse", purse, Some("purse")).await;
    live.watch::<LiveOwners>("back-owner", owner, Some("all")).await;
    live.receive(&next()).await;
    let mut last = Vec::new();
    for (topic, ..) in both {
        let Start::Now { number, .. } = watches.start(topic, None).await.expect("started") else { panic!("now") };
        last.push(number);
    }
    for meanwhile in ["nothing", "others", "the same", "time"] {
        for (topic, group, row) in both {
            watches.leave(topic, group, &nobody).await.expect("left");
            let other = match meanwhile {
                "others" => live.watcher(&format!("{group}-other"), None),
                "the same" => live.watcher(group, Some(row)),
                _ => continue,
            };
            watches.watch(topic, &other).await.expect("watched");
            watches.leave(topic, &other.group, &nobody).await.expect("left");
        }
        live.receive(&next()).await;
        if meanwhile == "time" {
            live.wait(RESUME);
        }
        live.receive(&next()).await;
        for (at, (topic, group, row)) in both.into_iter().enumerate() {
            watches.watch(topic, &live.watcher(group, Some(row))).await.expect("watched");
            let start = watches.start(topic, Some(last[at])).await.expect("started");
            let Start::Missed(missed) = start else { panic!("{meanwhile}: {start:?}") };
            let numbers: Vec<u64> = missed.iter().map(|change| change.number).collect();
            assert_eq!(numbers, [last[at] + 1, last[at] + 2], "{meanwhile}: {group}");
            last[at] += 2;
        }
    }
    // Whoever is back does not end with the time in which they had to come.
    live.wait(RESUME + LONG);
    live.pushes.take("back-purse");
    live.receive(&next()).await;
    assert_eq!(live.pushes.take("back-purse").len(), 1);

    // Nobody came back in time.
    for (topic, group, _) in both {
        watches.leave(topic, group, &nobody).await.expect("left");
    }
    live.wait(RESUME + LONG);
    live.receive(&next()).await;
    live.costs_no_more(&next()).await;
    for (at, (topic, group, row)) in both.into_iter().enumerate() {
        watches.watch(topic, &live.watcher(group, Some(row))).await.expect("watched");
        let start = watches.start(topic, Some(last[at])).await.expect("started");
        assert!(matches!(start, Start::Now { .. }), "{start:?}");
    }
}

/// Watchers who did not come back leave no rows behind: others who leave remove them, and whoever sweeps does where nothing
/// happens any more.
pub async fn nothing_is_left_of_watchers_who_are_gone(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let (purse, owner) = ("gone", "gone owner");
    let (watches, nobody) = (live.watches(), Hub::default());
    let rows = async |topic: &Topic| {
        let range = Range { partition: topic.partition.clone(), from: "H~".into(), to: Some("W~~".into()), top: 1_000 };
        let page = store.query(&topic.table, &range, None).await.expect("a page");
        let kept = page.rows.iter().filter(|row| row.key.starts_with("H~") || row.key.starts_with("W~"));
        kept.map(|row| row.key.clone()).collect::<Vec<_>>()
    };
    let purses = watches.topic::<LivePurses>(purse, None).await.expect("live");
    let owners = watches.topic::<LiveOwners>(owner, None).await.expect("live");
    for topic in [&purses, &owners] {
        for n in 0..50 {
            watches.watch(topic, &live.watcher(&format!("gone-{n:02}"), None)).await.expect("watched");
        }
    }
    live.receive(&balance(purse, owner, 1, 1)).await;
    for topic in [&purses, &owners] {
        for n in 0..49 {
            watches.leave(topic, &format!("gone-{n:02}"), &nobody).await.expect("left");
        }
        assert_eq!(rows(topic).await.len(), 51, "they may come back");
    }
    live.wait(RESUME + LONG);
    for topic in [&purses, &owners] {
        let crowd = Hub { members: true, ..Hub::default() };
        watches.leave(topic, "gone-49", &crowd).await.expect("left");
        let mut left = rows(topic).await;
        left.retain(|key| key.starts_with("W~"));
        assert_eq!(left, ["W~gone-49"]);
        // The last one's end is told by nobody.
    }
    live.wait(Duration::from_secs(3 * 3600));
    for topic in [&purses, &owners] {
        // Whoever sweeps forgets the connection then: what it followed has to be gone, whatever happens on the way.
        live.reading.store.accidents([Accident::RequestLost]);
        watches.leave(topic, "gone-49", &nobody).await.expect("swept");
        assert_eq!(rows(topic).await, [""; 0]);
    }
    live.costs_no_more(&balance(purse, owner, 2, 1)).await;
}

/// Whoever joins is told of what happens, wherever between two calls of theirs somebody who left writes what was found before
/// they came, or wherever they come while an event finds that the watch is over.
pub async fn nobody_who_joins_is_forgotten(store: Arc<dyn TableStore>) {
    for (at, is_same) in (0..10).flat_map(|at| [(at, false), (at, true)]) {
        for has_many_sources in [false, true] {
            let case = format!("joins-{at}-{is_same}-{has_many_sources}");
            let owner = format!("{case} owner");
            let old = format!("{case}-old");
            let new = if is_same { old.clone() } else { format!("{case}-new") };
            let setting = async |case: &str, owner: &str| {
                let live = Live::new(&store);
                let watches = live.watches();
                let topic = match has_many_sources {
                    true => watches.topic::<LiveOwners>(owner, None).await.expect("live"),
                    false => watches.topic::<LivePurses>(case, None).await.expect("live"),
                };
                watches.watch(&topic, &live.watcher(&old, None)).await.expect("watched");
                live.receive(&balance(case, owner, 1, 1)).await;
                (live, topic)
            };

            let (live, topic) = setting(&case, &owner).await;
            let first = std::sync::atomic::AtomicBool::new(true);
            let hub = Turning { first, before: Hub::default(), after: Hub { members: is_same, ..Hub::default() } };
            // It has read the head and the watchers, and asked the hub.
            let found = Recorder::new(store.clone());
            let (waits, goes) = found.pause_after(2);
            let leaver = Watches::new(found, live.clock.clone());
            let mut leave = Box::pin(leaver.leave(&topic, &old, &hub));
            assert!(matches!(select(&mut leave, waits).await, Either::Right((Ok(()), _))), "{case}");
            let joined = Recorder::new(store.clone());
            let (waits, goes_on) = joined.pause_after(at);
            let joiner = Watches::new(joined, live.clock.clone());
            let watcher = live.watcher(&new, None);
            let mut watch = Box::pin(joiner.watch(&topic, &watcher));
            let done = match select(&mut watch, waits).await {
                Either::Left((watched, _)) => Some(watched),
                Either::Right(_) => None,
            };
            goes.send(()).expect("it waits");
            leave.await.expect("left");
            match done {
                Some(watched) => watched.expect("watched"),
                None => {
                    goes_on.send(()).expect("it waits");
                    watch.await.expect("watched");
                }
            }
            live.wait(RESUME + LONG);
            live.pushes.take(&new);
            live.receive(&balance(&case, &owner, 2, 1)).await;
            assert_eq!(live.pushes.take(&new).len(), 1, "{case}: joined while somebody left");

            let (case, owner) = (format!("{case}-over"), format!("{owner} over"));
            let (live, topic) = setting(&case, &owner).await;
            live.watches().leave(&topic, &old, &Hub::default()).await.expect("left");
            live.wait(RESUME + LONG);
            let other = Live::telling(&store, &live.pushes);
            let (waits, goes) = other.reading.store.pause_after(at);
            other.clock.advance_to(live.clock.now());
            let body = balance(&case, &owner, 2, 1);
            let mut receive = Box::pin(other.receive(&body));
            let is_waiting = matches!(select(&mut receive, waits).await, Either::Right(_));
            live.watches().watch(&topic, &live.watcher(&new, None)).await.expect("watched");
            if is_waiting {
                goes.send(()).expect("it waits");
                receive.await;
            }
            live.pushes.take(&new);
            live.receive(&balance(&case, &owner, 3, 1)).await;
            assert_eq!(live.pushes.take(&new).len(), 1, "{case}: joined while the watch ended");
        }
    }
}

/// A hub that answers otherwise the second time.
struct Turning {
    first: std::sync::atomic::AtomicBool,
    before: Hub,
    after: Hub,
}

#[async_trait]
impl LiveHub for Turning {
    async fn access(&self, user: &str, time: Duration) -> Result<HubAccess, SendError> {
        self.after.access(user, time).await
    }

    async fn send(&self, group: &str, target: &str, arguments: &Bytes) -> Result<(), SendError> {
        self.after.send(group, target, arguments).await
    }

    async fn join(&self, group: &str, user: &str, time: Duration) -> Result<(), SendError> {
        self.after.join(group, user, time).await
    }

    async fn leave(&self, group: &str, user: &str) -> Result<(), SendError> {
        self.after.leave(group, user).await
    }

    async fn leave_all(&self, user: &str) -> Result<(), SendError> {
        self.after.leave_all(user).await
    }

    async fn has_members(&self, group: &str) -> Result<bool, SendError> {
        let first = self.first.swap(false, std::sync::atomic::Ordering::SeqCst);
        if first { self.before.has_members(group).await } else { self.after.has_members(group).await }
    }
}

/// A watch that nobody ended is over with its time: the next event ends it, and pushes nothing.
pub async fn a_watch_is_over_with_its_time(store: Arc<dyn TableStore>) {
    let live = Live::new(&store);
    let (purse, owner) = ("over", "over owner");
    live.watch::<LivePurses>("over-1", purse, None).await;
    live.watch::<LiveOwners>("over-2", owner, None).await;
    live.receive(&balance(purse, owner, 1, 1)).await;
    assert_eq!((live.pushes.take("over-1").len(), live.pushes.take("over-2").len()), (1, 1));
    let hours = time::Duration::hours(2);
    live.clock.advance_to(live.clock.now() + hours);
    live.receive(&balance(purse, owner, 2, 1)).await;
    assert_eq!((live.pushes.take("over-1").len(), live.pushes.take("over-2").len()), (0, 0));
    live.reading.store.all_calls();
    live.receive(&balance(purse, owner, 3, 1)).await;
    let calls = live.reading.store.all_calls();
    assert!(!calls.contains(&Call::Query) && !calls.contains(&Call::Get("V~".into())), "{calls:?}");
    // And begins anew.
    live.watch::<LivePurses>("over-1", purse, None).await;
    live.watch::<LiveOwners>("over-2", owner, None).await;
    live.receive(&balance(purse, owner, 4, 1)).await;
    assert_eq!((live.pushes.take("over-1").len(), live.pushes.take("over-2").len()), (1, 1));
}

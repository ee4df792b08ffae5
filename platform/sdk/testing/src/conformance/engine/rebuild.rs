//! Rebuilds and gaps: a small broker in memory carries all queues, so that processes can die at any call.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{Either, select};
use futures::task::AtomicWaker;
use skein_core::handler::recorded_fault;
use skein_core::ports::{CommandQueue, EventBus, Message, SendError, TableError, TransactError};
use skein_core::republish::{RebuildMessage, Start};
use skein_core::table::{Continuation, Etag, Page, Range, StoredRow, Sweep, SweepPage};
use skein_core::views::{Phase, ViewState, find_state, read_state};
use time::OffsetDateTime;

use super::*;

/// Ports that stop answering at one call: the process is dead from then on. `after` lets the call be carried out.
#[derive(Default)]
struct Fuse {
    calls: AtomicUsize,
    at: Option<usize>,
    after: bool,
    blown: AtomicWaker,
}

impl Fuse {
    /// Carries out a call, unless the process is dead.
    async fn call<T>(&self, call: impl Future<Output = T> + Send) -> T {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.at {
            Some(at) if n == at && self.after => drop(call.await),
            Some(at) if n >= at => {}
            _ => return call.await,
        }
        self.blown.wake();
        futures::future::pending().await
    }

    fn is_blown(&self) -> bool {
        self.at.is_some_and(|at| self.calls.load(Ordering::SeqCst) > at)
    }

    /// Returns once the process is dead.
    async fn dead(&self) {
        futures::future::poll_fn(|context| {
            self.blown.register(context.waker());
            if self.is_blown() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A message on its way.
#[derive(Clone)]
struct Sent {
    queue: String,
    id: String,
    body: Bytes,
    due: OffsetDateTime,
    count: u32,
}

/// All queues and the topic, in memory.
struct Broker {
    waiting: Mutex<VecDeque<Sent>>,
    clock: Arc<ManualClock>,
    /// Commands that went out, but for those of the system.
    commands: Mutex<Vec<String>>,
    /// Events that the topic takes and never delivers.
    lost: Mutex<Vec<String>>,
}

impl Broker {
    fn push(&self, queue: &str, message: &Message) {
        let due = message.not_before.unwrap_or_else(|| self.clock.now());
        let (id, body) = (message.id.clone(), message.body.clone());
        if queue == "bank" && Envelope::from_json(&body).is_ok_and(|it| !it.name.starts_with("skein.")) {
            self.commands.lock().expect("no panic").push(id.clone());
        }
        self.waiting.lock().expect("no panic").push_back(Sent { queue: queue.to_owned(), id, body, due, count: 0 });
    }

    /// The first message that is due; the clock moves on where none is.
    fn next(&self) -> Option<Sent> {
        let mut waiting = self.waiting.lock().expect("no panic");
        let now = self.clock.now();
        let place = waiting.iter().position(|sent| sent.due <= now).or_else(|| {
            let first = waiting.iter().map(|sent| sent.due).min()?;
            waiting.iter().position(|sent| sent.due == first)
        })?;
        let mut sent = waiting.remove(place)?;
        self.clock.advance_to(sent.due);
        sent.count += 1;
        Some(sent)
    }
}

/// The ports of one process.
struct Process {
    store: Arc<dyn TableStore>,
    broker: Arc<Broker>,
    fuse: Fuse,
}

#[async_trait]
impl TableStore for Process {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        self.fuse.call(self.store.get(table, partition, key)).await
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        self.fuse.call(self.store.query(table, range, from)).await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        self.fuse.call(self.store.sweep(table, sweep, from)).await
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        self.fuse.call(self.store.transact(table, partition, operations)).await
    }
}

#[async_trait]
impl CommandQueue for Process {
    async fn send(&self, queue: &str, messages: &[Message]) -> Result<(), SendError> {
        let send = async {
            messages.iter().for_each(|message| self.broker.push(queue, message));
            Ok(())
        };
        self.fuse.call(send).await
    }
}

#[async_trait]
impl EventBus for Process {
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError> {
        let publish = async {
            for body in events {
                let id = CloudEvent::from_json(body).expect("an event").id;
                let mut lost = self.broker.lost.lock().expect("no panic");
                if let Some(place) = lost.iter().position(|event| *event == id) {
                    lost.remove(place);
                    continue;
                }
                drop(lost);
                let message =
                    Message { id, session: String::new(), not_before: None, traceparent: None, body: body.clone() };
                self.broker.push("bank/events", &message);
            }
            Ok(())
        };
        self.fuse.call(publish).await
    }
}

/// A bank with both apps, whose processes can be killed.
struct Bank {
    store: Arc<dyn TableStore>,
    broker: Arc<Broker>,
}

impl Bank {
    fn new(store: &Arc<dyn TableStore>) -> Self {
        let broker = Broker {
            waiting: Mutex::default(),
            clock: ManualClock::new(),
            commands: Mutex::default(),
            lost: Mutex::default(),
        };
        Bank { store: store.clone(), broker: Arc::new(broker) }
    }

    fn process(&self, fuse: Fuse) -> Arc<Process> {
        Arc::new(Process { store: self.store.clone(), broker: self.broker.clone(), fuse })
    }

    fn apps(&self, process: &Arc<Process>) -> (CommandHandler, ViewsHandler) {
        let clock = self.broker.clock.clone();
        let ports =
            Ports { shards: vec![process.clone()], queue: process.clone(), bus: process.clone(), clock: clock.clone() };
        let commands = CommandHandler::new("bank", ports)
            .handle::<Purse, Open>()
            .handle::<Purse, Deposit>()
            .handle::<Purse, Withdraw>();
        let views = ViewsHandler::new("bank", process.clone(), process.clone(), clock)
            .sources([("purse".to_owned(), "bank".to_owned())].into())
            .project::<Purses>()
            .project::<Owners>()
            .top_list::<Rich>()
            .react::<Interest>();
        (commands, views)
    }

    /// Delivers everything that is on its way, to its end. With a fuse, the first processes die once.
    async fn settle(&self, fuse: Option<Fuse>) -> bool {
        let mut process = self.process(fuse.unwrap_or_default());
        let mut apps = self.apps(&process);
        let mut died = false;
        let mut rounds = 0;
        while let Some(sent) = self.broker.next() {
            rounds += 1;
            assert!(rounds < 20_000, "there is no end");
            let delivery = Delivery { message_id: sent.id.clone(), count: sent.count, traceparent: None };
            // The reactions' commands are not what is looked at.
            let handled = {
                let (commands, views) = &apps;
                let work = async {
                    match sent.queue.as_str() {
                        "bank" if !is_system(&sent.body) => Ok(()),
                        "bank" => commands.receive(&sent.body, &delivery).await.map(drop),
                        "bank/events" => views.receive(&sent.body, &delivery).await,
                        "bank/rebuild" => views.rebuild(&sent.body, &delivery).await,
                        other => panic!("no queue {other}"),
                    }
                };
                let dead = process.fuse.dead();
                futures::pin_mut!(work, dead);
                match select(work, dead).await {
                    // What will never be handled is a dead letter.
                    Either::Left((Err(fault), _)) => !fault.is_transient(),
                    Either::Left((Ok(()), _)) => true,
                    Either::Right(_) => false,
                }
            };
            if process.fuse.is_blown() && !died {
                died = true;
                process = self.process(Fuse::default());
                apps = self.apps(&process);
            }
            if !handled {
                assert!(sent.count < 30, "{} {} fails for ever", sent.queue, sent.id);
                self.broker.waiting.lock().expect("no panic").push_back(sent);
            }
        }
        died
    }

    async fn deposit(&self, purse: &str, id: &str, coins: i64) {
        let (commands, _) = self.apps(&self.process(Fuse::default()));
        let message = envelope(purse, id, &deposit(coins)).to_message().expect("a small command");
        let delivery = Delivery { message_id: message.id, count: 1, traceparent: None };
        commands.receive(&message.body, &delivery).await.expect("decided");
    }

    fn begin(&self, view: &str, id: &str) {
        let start = RebuildMessage::Start(Start { view: view.to_owned(), id: id.to_owned(), due: 0 });
        self.broker.push("bank/rebuild", &start.to_message(id.to_owned()).expect("a message"));
    }

    async fn state(&self, view: &str) -> ViewState {
        read_state(&*self.store, view).await.expect("reads").0
    }

    async fn phase(&self, view: &str) -> Option<Phase> {
        self.state(view).await.rebuild.map(|rebuild| rebuild.phase)
    }

    async fn coins(&self, purse: &str) -> Option<PurseRow> {
        ViewReader::new(self.store.clone()).get::<Purses>(purse, "purse").await.expect("reads")
    }

    fn commands(&self) -> usize {
        self.broker.commands.lock().expect("no panic").len()
    }
}

fn is_system(body: &[u8]) -> bool {
    Envelope::from_json(body).is_ok_and(|envelope| envelope.name.starts_with("skein."))
}

/// The partitions of a table that belong to no other generation than this one.
async fn leftovers(store: &dyn TableStore, table: &str, live: u32) -> Vec<String> {
    let sweep = Sweep { from: "0".into(), to: ":".into(), row: None, top: 1_000 };
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let page = store.sweep(table, &sweep, next.as_ref()).await.expect("sweeps");
        found.extend(page.rows.into_iter().map(|(partition, _)| partition));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    found
        .retain(|partition| !partition.starts_with(&format!("{live}~")) && !partition.starts_with(&format!("{live}!")));
    found.dedup();
    found
}

/// A store whose views nobody else uses: only then can it be said what a table holds.
fn alone(store: &Arc<dyn TableStore>, prefix: &'static str) -> Arc<dyn TableStore> {
    Arc::new(Named { inner: store.clone(), prefix })
}

/// Gives each test partitions of its own in the shared tables.
struct Named {
    inner: Arc<dyn TableStore>,
    prefix: &'static str,
}

impl Named {
    /// Keys begin with what orders them; the test's name stands behind the first letters of a generation or category.
    fn partition(&self, table: &str, partition: &str) -> String {
        match table {
            "events" | "faults" => partition.to_owned(),
            _ => format!("{}{partition}", self.prefix),
        }
    }
}

#[async_trait]
impl TableStore for Named {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        self.inner.get(table, &self.partition(table, partition), key).await
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        let range = Range { partition: self.partition(table, &range.partition), ..range.clone() };
        self.inner.query(table, &range, from).await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        let (from_key, to) = (self.partition(table, &sweep.from), self.partition(table, &sweep.to));
        let sweep = Sweep { from: from_key, to, ..sweep.clone() };
        let mut page = self.inner.sweep(table, &sweep, from).await?;
        if !matches!(table, "events" | "faults") {
            for (partition, _) in &mut page.rows {
                *partition = partition.strip_prefix(self.prefix).unwrap_or(partition).to_owned();
            }
        } else {
            // The purses of other tests are not this bank's.
            page.rows.retain(|(partition, _)| partition.contains(self.prefix));
        }
        Ok(page)
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        self.inner.transact(table, &self.partition(table, partition), operations).await
    }
}

/// An event that does not come is asked for after a minute, again and again, longer each time; after ten minutes
/// operators are told. Nothing parked, nothing sent.
pub async fn a_gap_is_looked_after(store: Arc<dyn TableStore>) {
    let bank = Bank::new(&alone(&store, "gaps "));
    bank.deposit("gaps -1", "gaps-1-1", 1).await;
    bank.settle(None).await;
    let started = bank.broker.clock.now();
    assert_eq!(bank.commands(), 2, "the reaction's; no check, since nothing was parked");

    // Lost once: a minute after the next event came, the source is asked, and the view is whole.
    // The next command's worker is cold and publishes it again, in vain, too.
    bank.broker.lost.lock().expect("no panic").extend(["gaps-1-2:0".to_owned(), "gaps-1-2:0".to_owned()]);
    for n in 2..=4 {
        bank.deposit("gaps -1", &format!("gaps-1-{n}"), 1).await;
    }
    bank.settle(None).await;
    assert_eq!(bank.coins("gaps -1").await, Some(PurseRow { coins: 4, events: 4 }));
    assert_eq!(bank.commands(), 8, "each event led to its commands once");
    let took = bank.broker.clock.now() - started;
    assert!((60..180).contains(&took.whole_seconds()), "{took}");

    // Lost again and again: the alert comes after ten minutes, and goes when the gap is closed.
    let row = || store.get("faults", "gap purses purse:gaps -2", "gap");
    bank.broker.lost.lock().expect("no panic").extend(std::iter::repeat_n("gaps-2-1:0".to_owned(), 16));
    bank.deposit("gaps -2", "gaps-2-1", 1).await;
    bank.deposit("gaps -2", "gaps-2-2", 1).await;
    let lost = bank.broker.clock.now();
    let (mut told, mut rounds) = (None, 0);
    loop {
        let Some(sent) = bank.broker.next() else { break };
        let process = bank.process(Fuse::default());
        let (commands, views) = bank.apps(&process);
        let delivery = Delivery { message_id: sent.id.clone(), count: sent.count, traceparent: None };
        match sent.queue.as_str() {
            "bank" if is_system(&sent.body) => drop(commands.receive(&sent.body, &delivery).await.expect("handled")),
            "bank/events" => views.receive(&sent.body, &delivery).await.expect("handled"),
            _ => {}
        }
        if told.is_none() && row().await.expect("reads").is_some() {
            told = Some(bank.broker.clock.now() - lost);
        }
        rounds += 1;
        assert!(rounds < 500, "there is no end");
    }
    let told = told.expect("operators are told");
    assert!((590..=700).contains(&told.whole_seconds()), "{told}");
    assert_eq!(bank.coins("gaps -2").await, Some(PurseRow { coins: 2, events: 2 }));
    assert!(row().await.expect("reads").is_none(), "the gap is closed");
}

/// With events in between, foreign to nobody: the new generation holds what the live one does, and nothing else
/// happened.
pub async fn a_view_is_rebuilt_beside_the_live_one(store: Arc<dyn TableStore>) {
    let bank = Bank::new(&alone(&store, "rebuilt "));
    for n in 0..12 {
        let purse = format!("rebuilt -{n}");
        for sequence in 1..=3 {
            bank.deposit(&purse, &format!("rebuilt-{n}-{sequence}"), n + sequence).await;
        }
    }
    bank.settle(None).await;
    let reader = ViewReader::new(bank.store.clone());
    let listed = reader.list::<Owners>("", None, 100).await.expect("reads").rows;
    let top = reader.top::<Rich>(3).await.expect("reads");
    assert!(!listed.is_empty() && top.len() == 3, "{listed:?} {top:?}");

    for (round, (view, table)) in [("purses", "purses"), ("owners", "owners"), ("Rich", "rich")].into_iter().enumerate()
    {
        let commands = bank.commands();
        // The live view is bent: only a rebuild can make it right.
        if view == "purses" {
            let bent = Operation::Put(Row::new("D~purse").with("Doc0", "{\"coins\":-1,\"events\":99}"));
            bank.store.transact("purses", "1~rebuilt -3", &[bent]).await.expect("written");
        }
        bank.begin(view, &format!("rebuilt-r{round}"));
        // While it is under way, events come: to purses that were there, and to new ones.
        for n in 10..14 {
            bank.deposit(&format!("rebuilt -{n}"), &format!("rebuilt-live-{round}-{n}"), 1).await;
        }
        bank.settle(None).await;
        let name = view.to_lowercase();
        let state = bank.state(&name).await;
        let rebuild = state.rebuild.as_ref().expect("a rebuild");
        assert_eq!((rebuild.phase, state.live.0), (Phase::Done, 2), "{view}: {rebuild:?}");
        assert_eq!(rebuild.sources[0].aggregates, 14, "{view}: {rebuild:?}");
        assert_eq!(leftovers(&*bank.store, table, 2).await, Vec::<String>::new(), "{view}: the old one is gone");
        // The reactions to the four events, and nothing more.
        assert_eq!(bank.commands(), commands + 8, "{view}: no effects but rows");
    }
    for n in 0..14 {
        let (events, coins) = match n {
            0..10 => (3, 3 * n + 6),
            10 | 11 => (6, 3 * n + 9),
            _ => (3, 3),
        };
        let row = bank.coins(&format!("rebuilt -{n}")).await;
        assert_eq!(row, Some(PurseRow { coins, events }), "purse {n}");
    }
    let all = reader.get::<Owners>("", "all").await.expect("reads").expect("is there");
    assert_eq!(all.events, 36 + 12, "every event counts once");
    let mut scores: Vec<(String, i64)> = Vec::new();
    for n in 0..14 {
        let purse = format!("rebuilt -{n}");
        scores.push((purse.clone(), bank.coins(&purse).await.expect("is there").coins));
    }
    scores.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    assert_eq!(reader.top::<Rich>(3).await.expect("reads"), scores[..3]);

    // What was done is not done again, and a view that nobody knows is told by name.
    bank.begin("owners", "rebuilt-r1");
    bank.settle(None).await;
    assert_eq!(bank.state("owners").await.live.0, 2);
    let process = bank.process(Fuse::default());
    let start = RebuildMessage::Start(Start { view: "interest".into(), id: "x".into(), due: 0 });
    let body = start.to_message("x".into()).expect("a message").body;
    let delivery = Delivery { message_id: "x".into(), count: 1, traceparent: None };
    bank.apps(&process).1.rebuild(&body, &delivery).await.expect("a slip makes no dead letter");
    let told = recorded_fault(&*bank.store, "rebuild", "x").await.expect("reads").expect("a reaction is no view");
    assert_eq!((told.code.as_str(), told.transient), ("VIEW_UNKNOWN", false));
    assert!(told.reason.contains("it has purses, owners, rich"), "{told:?}");
    let (name, state) = find_state(&*bank.store, "Ow_ners").await.expect("reads").expect("it was rebuilt");
    assert_eq!((name.as_str(), state), ("owners", bank.state("owners").await));
    assert!(find_state(&*bank.store, "own").await.expect("reads").is_none());
}

/// A handful of crashes; [`crash_at_every_call`] goes through all of them.
pub async fn a_rebuild_goes_on_after_a_crash(store: Arc<dyn TableStore>) {
    crashes(&alone(&store, "crash "), "crash ", |_, at| [3, 9, 17, 26, 40, 71].contains(&at)).await;
}

/// The process dies at every single call that a rebuild makes, before and after it: each time the view is whole in the
/// end. For a store that is fast. Returns how many crashes there were.
pub async fn crash_at_every_call(store: Arc<dyn TableStore>) -> usize {
    // The other kinds of views differ in some calls only.
    crashes(&alone(&store, "every "), "every ", |view, at| view == "purses" || at % 5 == 4).await
}

async fn crashes(store: &Arc<dyn TableStore>, prefix: &str, wanted: impl Fn(&str, usize) -> bool) -> usize {
    let mut events = 0;
    let mut generation = BTreeMap::from([("purses", 1), ("owners", 1), ("rich", 1)]);
    let mut crashes = 0;
    let setup = Bank::new(store);
    for n in 0..3 {
        setup.deposit(&format!("{prefix}{n}"), &format!("{prefix}{n}-0"), 1).await;
        events += 1;
    }
    setup.settle(None).await;
    for view in ["purses", "owners", "rich"] {
        for at in (0..2_000).filter(|at| wanted(view, *at)) {
            let mut died = false;
            for after in [false, true] {
                let bank = Bank::new(store);
                let id = format!("{prefix}{view}-{at}-{after}");
                bank.begin(view, &id);
                // A live event is under way. Not each time: the history would grow with every crash.
                if at % 40 == 9 {
                    bank.deposit(&format!("{prefix}{}", at / 40 % 3), &format!("{id}-live"), 1).await;
                    events += 1;
                }
                died |= bank.settle(Some(Fuse { at: Some(at), after, ..Fuse::default() })).await;
                crashes += usize::from(died);
                let state = bank.state(view).await;
                let rebuild = state.rebuild.clone().expect("a rebuild");
                let live = generation.entry(view).or_default();
                *live += 1;
                assert_eq!((rebuild.phase, rebuild.id.as_str()), (Phase::Done, id.as_str()), "{id}: {rebuild:?}");
                assert_eq!(state.live.0, *live, "{id}");
                assert_eq!(leftovers(&**store, view, *live).await, Vec::<String>::new(), "{id}");
                let reader = ViewReader::new(store.clone());
                let mut seen = 0;
                for n in 0..3 {
                    seen += bank.coins(&format!("{prefix}{n}")).await.expect("is there").events;
                }
                let all = reader.get::<Owners>("", "all").await.expect("reads").expect("is there");
                let top: i64 = reader.top::<Rich>(3).await.expect("reads").iter().map(|(_, coins)| coins).sum();
                assert_eq!((seen, all.events, top), (events, events, i64::try_from(events).expect("small")), "{id}");
            }
            if !died {
                break;
            }
        }
    }
    crashes
}

/// A source that does not hold what its tip promises: the rebuild fails by name, and the view stays as it is.
pub async fn a_short_source_fails_the_rebuild(store: Arc<dyn TableStore>) {
    let bank = Bank::new(&alone(&store, "short "));
    for n in 1..=3 {
        bank.deposit("short -1", &format!("short-1-{n}"), n).await;
        bank.deposit("short -2", &format!("short-2-{n}"), n).await;
    }
    bank.settle(None).await;
    let before = bank.coins("short -1").await;
    // The second commit's integration event is gone.
    let row = store.get("events", "purse:short -1", "E~9999999999999999997").await.expect("reads").expect("is there");
    let mut bent = Row { key: row.key.clone(), properties: row.properties.clone() };
    bent.properties.remove("Publications0");
    let bent = Operation::Replace(bent, row.etag);
    store.transact("events", "purse:short -1", &[bent]).await.expect("written");

    bank.begin("purses", "short-r1");
    bank.settle(None).await;
    let state = bank.state("purses").await;
    let rebuild = state.rebuild.expect("a rebuild");
    assert_eq!((rebuild.phase, state.live.0), (Phase::Failed, 1), "{:?}", rebuild.failure);
    let failure = rebuild.failure.expect("a reason");
    assert_eq!(failure.code, "SOURCE_IS_SHORT");
    assert!(failure.message.contains("purse:short -1 came up to event 0 of 3"), "{}", failure.message);
    assert_eq!(bank.coins("short -1").await, before, "the live view stays");
    assert_eq!(leftovers(&*bank.store, "purses", 1).await, Vec::<String>::new(), "nothing is left of the new one");

    // Mended, it can be begun anew.
    let row = store.get("events", "purse:short -1", "E~9999999999999999997").await.expect("reads").expect("is there");
    let event = balance("short -1", "", 2, 3);
    let whole = Row { key: row.key.clone(), properties: row.properties.clone() }
        .with("Publications0", String::from_utf8_lossy(&event).into_owned());
    store.transact("events", "purse:short -1", &[Operation::Replace(whole, row.etag)]).await.expect("written");
    bank.begin("purses", "short-r2");
    bank.settle(None).await;
    assert_eq!(bank.phase("purses").await, Some(Phase::Done));
    assert_eq!(bank.coins("short -1").await, Some(PurseRow { coins: 6, events: 3 }));
}

/// A query is one read: which generation is live is remembered, and looked up beside the read when that is too long ago.
pub async fn a_view_is_read_with_one_read(store: Arc<dyn TableStore>) {
    let bank = Bank::new(&alone(&store, "read "));
    bank.deposit("read -1", "read-1", 5).await;
    bank.settle(None).await;
    let recorder = Recorder::new(bank.store.clone());
    let clock = ManualClock::new();
    let reader = ViewReader::new(recorder.clone()).caching(clock.clone());
    let read = async || reader.get::<Purses>("read -1", "purse").await.expect("reads").map(|row| row.coins);
    assert_eq!(read().await, Some(5));
    assert_eq!(recorder.calls("generations"), [Call::Get("state".into())]);
    for _ in 0..3 {
        assert_eq!(read().await, Some(5));
    }
    assert_eq!(recorder.calls("generations"), [], "it is remembered");
    clock.sleep(Duration::from_secs(4)).await;
    read().await;
    assert_eq!(recorder.calls("purses"), [Call::Get("D~purse".into())], "one point read");
    // After the swap a reader may be late by five seconds, and then is right.
    bank.begin("purses", "read-r1");
    bank.settle(None).await;
    clock.sleep(Duration::from_secs(2)).await;
    assert_eq!(read().await, Some(5), "the old generation is gone: the new one answers");
    assert_eq!(recorder.calls("purses").len(), 2, "the guess, and the right one");
    read().await;
    assert_eq!(recorder.calls("purses"), [Call::Get("D~purse".into())]);
}

//! What the engine does with personal data over a [`TableStore`]: it is sealed wherever it lies, and erased whatever
//! happens in between.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skein_core::handler::{CommandHandler, Delivery, Ports, Receipt};
use skein_core::personal::{KEY_LIFETIME, KeyRing, PERSONS_TABLE};
use skein_core::ports::{Clock, CommandQueue, EventBus, Message, SendError, TableError, TableStore, TransactError};
use skein_core::store::{EVENTS_TABLE, EventStore};
use skein_core::table::{Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage};
use skein_core::{
    Aggregate, AggregateId, CloudEvent, Command, CommandId, Context, Contract, Decision, Envelope, Fault, Handle,
    Never, Personal, Principal, Publication, Trace,
};

use crate::doubles::{Accident, ManualClock, MemoryBus, MemoryQueue, MemoryVault, Recorder};

/// What nobody but the member may read.
const SECRET: &str = "Ann Example, ann@example.com";

// A small domain: members of a club, with something personal.

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Enrolled {
    contact: Personal<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Forgotten {}

skein_core::events! {
    enum MemberEvent {
        Enrolled(Enrolled) = ("MemberEnrolled", 1),
        Forgotten(Forgotten) = ("MemberForgotten", 1),
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Member {
    contact: Option<Personal<String>>,
    forgotten: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct MemberEnrolled {
    contact: Personal<String>,
}

impl Contract for MemberEnrolled {
    const TYPE: &'static str = "club.MemberEnrolled";
    const CATEGORY: &'static str = "member";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct MemberForgotten {}

impl Contract for MemberForgotten {
    const TYPE: &'static str = "club.MemberForgotten";
    const CATEGORY: &'static str = "member";
}

impl Aggregate for Member {
    const CATEGORY: &'static str = "member";
    type Event = MemberEvent;

    fn evolve(&mut self, event: &MemberEvent) {
        match event {
            MemberEvent::Enrolled(Enrolled { contact }) => self.contact = Some(contact.clone()),
            MemberEvent::Forgotten(_) => self.forgotten += 1,
        }
    }

    fn publish(&self, event: &MemberEvent) -> Option<Publication> {
        Some(match event {
            MemberEvent::Enrolled(Enrolled { contact }) => {
                Publication::of(&MemberEnrolled { contact: contact.clone() })
            }
            MemberEvent::Forgotten(_) => Publication::of(&MemberForgotten {}),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Enrol {
    contact: Personal<String>,
}

impl Command for Enrol {
    const TYPE: &'static str = "Enrol";
}

#[derive(Debug, Serialize, Deserialize)]
struct Forget {}

impl Command for Forget {
    const TYPE: &'static str = "Forget";
}

impl Handle<Enrol> for Member {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &Enrol, _: &Context) -> Result<Decision<Self, ()>, Never> {
        Ok(Decision::none().event(Enrolled { contact: command.contact.clone() }))
    }
}

impl Handle<Forget> for Member {
    type Error = Never;
    type Reply = ();

    fn decide(&self, _: &Forget, cx: &Context) -> Result<Decision<Self, ()>, Never> {
        Ok(Decision::none().event(Forgotten {}).erase(cx.aggregate.id()))
    }
}

/// A process with its own memory over the shared store and vault.
struct Club {
    handler: CommandHandler,
    keys: KeyRing,
    bus: Arc<MemoryBus>,
    clock: Arc<ManualClock>,
}

impl Club {
    fn new(store: &Arc<dyn TableStore>, vault: &Arc<MemoryVault>) -> Self {
        Club::failing(store, vault, &Fuse::new(usize::MAX))
    }

    /// A process that dies as the fuse says.
    fn failing(store: &Arc<dyn TableStore>, vault: &Arc<MemoryVault>, fuse: &Arc<Fuse>) -> Self {
        let store: Arc<dyn TableStore> = Arc::new(Fused { inner: store.clone(), fuse: fuse.clone() });
        let (bus, clock) = (Arc::<MemoryBus>::default(), ManualClock::new());
        let queue = Arc::new(Fused { inner: Arc::<MemoryQueue>::default(), fuse: fuse.clone() });
        let topic = Arc::new(Fused { inner: bus.clone(), fuse: fuse.clone() });
        let ports = Ports { shards: vec![store.clone()], queue, bus: topic, clock: clock.clone() };
        let keys = KeyRing::new(store, vault.clone(), clock.clone());
        let handler =
            CommandHandler::new("club", ports).personal(&keys).handle::<Member, Enrol>().handle::<Member, Forget>();
        Club { handler, keys, bus, clock }
    }

    async fn send<C: Command>(&self, member: &str, id: &str, command: &C, count: u32) -> Result<Receipt, Fault> {
        let message = envelope(member, id, command).to_message().expect("a small command");
        let delivery = Delivery { message_id: message.id, count, traceparent: None };
        self.handler.receive(&message.body, &delivery).await
    }

    async fn enrol(&self, member: &str, id: &str) -> Personal<String> {
        let contact = self.seal(member, id).await;
        self.send(member, id, &Enrol { contact: contact.clone() }, 1).await.expect("enrolled");
        contact
    }

    async fn seal(&self, member: &str, id: &str) -> Personal<String> {
        self.keys.seal(member, id, &SECRET.to_owned()).await.expect("sealed")
    }

    async fn open(&self, contact: &Personal<String>) -> Option<String> {
        self.keys.open(contact).await.expect("the store and the vault are there")
    }

    fn published(&self) -> Vec<String> {
        let event = |bytes: &Bytes| CloudEvent::from_json(bytes).expect("a CloudEvent").kind;
        self.bus.take().iter().flatten().map(event).collect()
    }
}

fn member_id(member: &str) -> AggregateId {
    AggregateId::new("member", member).expect("a valid id")
}

fn envelope<C: Command>(member: &str, id: &str, command: &C) -> Envelope {
    let id = CommandId::new(id).expect("a valid id");
    let trace = Trace { correlation_id: "c".into(), causation_id: None, traceparent: None };
    let ann = Principal::new("ann", ["customer"]);
    Envelope::wrap(command, id, member_id(member), ann, trace, time::OffsetDateTime::UNIX_EPOCH).expect("plain data")
}

/// Everything in a partition, as text.
async fn dump(store: &Arc<dyn TableStore>, table: &str, partition: &str) -> String {
    let range = Range { partition: partition.to_owned(), from: " ".to_owned(), to: None, top: 1_000 };
    format!("{:?}", store.query(table, &range, None).await.expect("a page").rows)
}

/// Nothing readable lies in queue, store or topic, before an erasure and after it; folds, old and new, go on.
pub async fn what_is_sealed_is_readable_until_its_person_is_erased(store: Arc<dyn TableStore>) {
    let vault = Arc::<MemoryVault>::default();
    let club = Club::new(&store, &vault);
    let contact = club.enrol("sealed", "sealed-1").await;
    let message = envelope("sealed", "sealed-1", &Enrol { contact: contact.clone() });
    let fingerprint = message.fingerprint();
    for bytes in club.bus.take().into_iter().flatten().chain([message.to_message().expect("small").body]) {
        assert!(!String::from_utf8_lossy(&bytes).contains("xample"), "{bytes:?}");
    }
    let partition = member_id("sealed").key();
    let rows = dump(&store, EVENTS_TABLE, &partition).await + &dump(&store, PERSONS_TABLE, "sealed").await;
    assert!(rows.contains("MemberEnrolled") && !rows.contains("xample"), "{rows}");
    assert!(!format!("{contact:?}").contains("xample"), "logs show nothing, either");

    // Another process, which knows nothing, seals the retry alike.
    let other = Club::new(&store, &vault);
    let again = envelope("sealed", "sealed-1", &Enrol { contact: other.seal("sealed", "sealed-1").await });
    assert_eq!(again.fingerprint(), fingerprint);
    assert_eq!(other.open(&contact).await.as_deref(), Some(SECRET));
    assert_eq!(vault.counts(), (1, 1), "the key is unwrapped once in a process");
    other.clock.sleep(KEY_LIFETIME).await;
    assert_eq!(other.open(&contact).await.as_deref(), Some(SECRET));
    assert_eq!(vault.counts(), (1, 2), "and again when it has been known for long enough");

    club.send("sealed", "sealed-2", &Forget {}, 1).await.expect("erased");
    assert_eq!(club.published(), ["club.MemberForgotten.v1"]);
    for process in [&club, &other, &Club::new(&store, &vault)] {
        assert_eq!(process.open(&contact).await, None, "at once, whatever a process remembers");
    }
    let member = EventStore::new(vec![store.clone()]).load::<Member>(&member_id("sealed")).await.expect("folds").state;
    assert_eq!(member, Member { contact: Some(contact.clone()), forgotten: 1 });
    // Life goes on, with a new key; what was stays unreadable.
    let newer = other.enrol("sealed", "sealed-3").await;
    assert_eq!(club.open(&newer).await.as_deref(), Some(SECRET));
    assert_eq!(club.open(&contact).await, None);
}

/// A process that dies at any call to the world, before it or after it, leaves an erasure that the next delivery
/// finishes.
pub async fn an_erasure_survives_a_crash_at_every_call(store: Arc<dyn TableStore>) {
    let mut calls = 0;
    for n in 0.. {
        let member = format!("crash{n}");
        let vault = Arc::<MemoryVault>::default();
        let contact = Club::new(&store, &vault).enrol(&member, &format!("{member}-1")).await;
        let erasure = format!("{member}-2");
        let fuse = Fuse::new(n);
        let dying = Club::failing(&store, &vault, &fuse);
        let done = fuse.run(dying.send(&member, &erasure, &Forget {}, 1)).await;
        // Meanwhile somebody writes for the person.
        let between = Club::new(&store, &vault);
        let erased = between.open(&contact).await.is_none();
        let newer = between.seal(&member, &format!("{member}-3")).await;
        let next = Club::new(&store, &vault);
        next.send(&member, &erasure, &Forget {}, 2).await.expect("delivered again");
        assert_eq!(next.open(&contact).await, None, "{n}");
        assert_eq!(next.open(&newer).await.is_some(), erased, "{n}: a newer key stays, the old one goes");
        assert!(next.published().contains(&"club.MemberForgotten.v1".to_owned()), "{n}");
        if done.is_some() {
            break;
        }
        calls = n + 1;
    }
    // A query, the commit, the person's key, its deletion, the topic: each before and after.
    assert_eq!(calls, 10);
}

/// The erasure of a message that is delivered once more, or that leaves with the next command, spares newer keys.
pub async fn an_erasure_done_again_spares_a_newer_key(store: Arc<dyn TableStore>) {
    let vault = Arc::<MemoryVault>::default();
    let club = Club::new(&store, &vault);
    let former = club.enrol("again", "again-1").await;
    club.send("again", "again-2", &Forget {}, 1).await.expect("erased");
    let newer = club.enrol("again", "again-3").await;
    // A cold process does not know that the erasure was done: it does it again.
    Club::new(&store, &vault).send("again", "again-2", &Forget {}, 2).await.expect("a duplicate");
    assert_eq!((club.open(&former).await, club.open(&newer).await.as_deref()), (None, Some(SECRET)));
    // Its answer lost, applied late, or the store away: done once, and before anything is settled.
    for (n, accident) in [Accident::RequestLost, Accident::ResponseLost, Accident::AppliedLate, Accident::Unavailable]
        .into_iter()
        .enumerate()
    {
        let recorder = Recorder::new(store.clone());
        let keys = KeyRing::new(recorder.clone(), vault.clone(), ManualClock::new());
        let (id, context) = (CommandId::new(&format!("again-4{n}")).expect("a valid id"), format!("c{n}"));
        let contact = keys.seal("again", &context, &SECRET.to_owned()).await.expect("sealed");
        recorder.accidents([accident]);
        let erased = keys.erase("again", &id).await;
        assert_eq!(erased.is_err(), accident == Accident::Unavailable, "{accident:?}");
        keys.erase("again", &id).await.expect("erased");
        assert_eq!(keys.open(&contact).await.expect("readable"), None, "{accident:?}");
        let newer = keys.seal("again", &context, &SECRET.to_owned()).await.expect("sealed");
        keys.erase("again", &id).await.expect("nothing to do");
        assert_eq!(keys.open(&newer).await.expect("readable").as_deref(), Some(SECRET), "{accident:?}");
    }
}

/// Two processes that make a person's key at once agree on one, whatever becomes of their requests.
pub async fn a_person_has_one_key_whoever_made_it(store: Arc<dyn TableStore>) {
    let vault = Arc::<MemoryVault>::default();
    for (n, accident) in
        [Accident::None, Accident::RequestLost, Accident::ResponseLost, Accident::AppliedLate].into_iter().enumerate()
    {
        let person = format!("race{n}");
        let recorder = Recorder::new(store.clone());
        recorder.accidents([accident]);
        let ring = |store: Arc<dyn TableStore>| KeyRing::new(store, vault.clone(), ManualClock::new());
        let (one, two) = (ring(recorder), ring(store.clone()));
        let secret = SECRET.to_owned();
        let sealed = futures::join!(one.seal(&person, "c", &secret), two.seal(&person, "c", &secret));
        let (first, second) = (sealed.0.expect("sealed"), sealed.1.expect("sealed"));
        assert_eq!(first, second, "{accident:?}: one key");
        for ring in [&one, &two, &ring(store.clone())] {
            assert_eq!(ring.open(&first).await.expect("readable").as_deref(), Some(SECRET), "{accident:?}");
        }
    }
    // A vault that is away is a fault that passes, and leaves nothing behind.
    let keys = KeyRing::new(store.clone(), vault.clone(), ManualClock::new());
    vault.fail_next(1);
    let fault = keys.seal("race-away", "c", &SECRET.to_owned()).await.expect_err("the vault is away");
    assert!(fault.is_transient() && !fault.to_string().contains("xample"), "{fault}");
    keys.seal("race-away", "c", &SECRET.to_owned()).await.expect("it is back");
}

/// The insertion of a key whose answer was lost, and that was repeated, arrives after the erasure: it brings nothing back.
pub async fn a_key_that_arrives_late_does_not_come_back(store: Arc<dyn TableStore>) {
    let vault = Arc::<MemoryVault>::default();
    let held = Arc::new(Held { inner: store.clone(), first: Mutex::default() });
    let keys = KeyRing::new(held.clone(), vault.clone(), ManualClock::new());
    let contact = keys.seal("late", "c1", &SECRET.to_owned()).await.expect("sealed");
    assert_eq!(keys.open(&contact).await.expect("readable").as_deref(), Some(SECRET));
    keys.erase("late", &CommandId::new("late-1").expect("a valid id")).await.expect("erased");
    let first = held.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(!first.is_empty(), "the first attempt was held");
    let late = store.transact(PERSONS_TABLE, "late", &first).await;
    assert!(matches!(late, Err(TransactError::Conflict(_))), "{late:?}");
    assert_eq!(keys.open(&contact).await.expect("readable"), None);
}

/// A store whose first transaction stays on its way, nobody knows for how long.
struct Held {
    inner: Arc<dyn TableStore>,
    first: Mutex<Vec<Operation>>,
}

#[async_trait]
impl TableStore for Held {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        self.inner.get(table, partition, key).await
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        self.inner.query(table, range, from).await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        self.inner.sweep(table, sweep, from).await
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_empty() {
                *first = operations.to_vec();
                return Err(TransactError::Unknown("on its way".to_owned()));
            }
        }
        self.inner.transact(table, partition, operations).await
    }
}

/// An app without a table of persons does not say that somebody is erased.
pub async fn erasing_needs_a_table_of_persons(store: Arc<dyn TableStore>) {
    let (queue, bus) = (Arc::<MemoryQueue>::default(), Arc::<MemoryBus>::default());
    let ports = Ports { shards: vec![store.clone()], queue, bus: bus.clone(), clock: ManualClock::new() };
    let handler = CommandHandler::new("club", ports).handle::<Member, Forget>();
    let message = envelope("nobody", "nobody-1", &Forget {}).to_message().expect("a small command");
    let delivery = Delivery { message_id: message.id, count: 1, traceparent: None };
    let fault = handler.receive(&message.body, &delivery).await.expect_err("there is no table");
    assert_eq!((fault.code, fault.is_transient()), ("NO_PERSONS", true));
    let member = EventStore::new(vec![store]).load::<Member>(&member_id("nobody")).await.expect("loads");
    assert_eq!((member.version(), bus.take().len()), (0, 0));
}

// A process that dies.

/// Counts the points at which a process touches the world, two for each call, and lets it die at one of them.
struct Fuse {
    left: AtomicUsize,
}

impl Fuse {
    /// Dies at the `n`th point, from 0.
    fn new(n: usize) -> Arc<Self> {
        Arc::new(Fuse { left: AtomicUsize::new(n) })
    }

    /// Never returns where the process dies.
    async fn point(&self) {
        let left = self.left.load(Ordering::SeqCst);
        match left.checked_sub(1) {
            Some(less) => self.left.store(if left == usize::MAX { left } else { less }, Ordering::SeqCst),
            None => {
                self.left.store(DEAD, Ordering::SeqCst);
                pending().await
            }
        }
    }

    /// Runs the process until it ends or dies.
    async fn run<T>(&self, process: impl Future<Output = T>) -> Option<T> {
        let mut process = pin!(process);
        poll_fn(|cx| match process.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.left.load(Ordering::SeqCst) == DEAD => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

const DEAD: usize = usize::MAX - 1;

/// A port of such a process.
struct Fused<P> {
    inner: P,
    fuse: Arc<Fuse>,
}

impl<P> Fused<P> {
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.fuse.point().await;
        let result = call.await;
        self.fuse.point().await;
        result
    }
}

#[async_trait]
impl TableStore for Fused<Arc<dyn TableStore>> {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        self.call(self.inner.get(table, partition, key)).await
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        self.call(self.inner.query(table, range, from)).await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        self.call(self.inner.sweep(table, sweep, from)).await
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        self.call(self.inner.transact(table, partition, operations)).await
    }
}

#[async_trait]
impl CommandQueue for Fused<Arc<MemoryQueue>> {
    async fn send(&self, service: &str, messages: &[Message]) -> Result<(), SendError> {
        self.call(self.inner.send(service, messages)).await
    }
}

#[async_trait]
impl EventBus for Fused<Arc<MemoryBus>> {
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError> {
        self.call(self.inner.publish(events)).await
    }
}

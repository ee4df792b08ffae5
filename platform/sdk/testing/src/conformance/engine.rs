//! What the event store, the command handler and the views engine do over a [`TableStore`], case by case: the calls
//! they make, and what they make of accidents.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use skein_core::handler::{CommandHandler, Delivery, Ports, Receipt};
use skein_core::ports::{Clock, Message, TableStore};
use skein_core::store::{EVENTS_TABLE, EventStore, OutcomeStatus};
use skein_core::submit::{Settled, Submission, SubmitError, Submitter};
use skein_core::table::{Operation, Row};
use skein_core::views::{ViewReader, ViewsHandler};
use skein_core::{
    Aggregate, AggregateId, CloudEvent, Command, CommandId, Context, Contract, Decision, Envelope, FaultKind, Handle,
    IdError, Outgoing, Partitioning, Principal, Projection, Publication, Reaction, Rejection, Source, TopList, Touch,
    Trace, encode_key,
};

pub use super::personal::{
    a_key_that_arrives_late_does_not_come_back, a_person_has_one_key_whoever_made_it,
    an_erasure_done_again_spares_a_newer_key, an_erasure_survives_a_crash_at_every_call,
    erasing_needs_a_table_of_persons, what_is_sealed_is_readable_until_its_person_is_erased,
};
use crate::doubles::{Accident, Call, ManualClock, MemoryBus, MemoryQueue, Recorder};

/// The tables that the cases need.
pub const TABLES: [&str; 11] = [
    "events",
    "faults",
    "persons",
    "reactions",
    "generations",
    "purses",
    "owners",
    "rich",
    "latest",
    "livepurses",
    "liveowners",
];

/// A store to be tested, with [`TABLES`]. Other cases may use the same tables at the same time.
pub struct EngineFixture {
    /// The store.
    pub store: Arc<dyn TableStore>,
    /// What has to live as long as the test.
    pub keep: Box<dyn Any + Send>,
}

/// Gives the names of all cases to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! engine_cases {
    ($callback:ident $(, $argument:path)?) => {
        $crate::$callback! {
            $($argument,)?
            calls_of_a_cold_warm_and_creating_command, calls_of_a_duplicate, a_rejection_is_an_outcome,
            a_rejection_proves_the_state_it_was_decided_on, a_no_op_is_an_outcome, another_command_of_the_same_id_is_refused,
            a_lost_answer_is_found, a_lost_request_is_sent_again, a_late_request_is_applied_once,
            two_workers_conflict_and_both_count, many_workers_never_overdraw, publication_fails_and_is_repeated,
            the_next_command_publishes_what_was_left, commands_are_sent_before_settling, a_long_history_loads_from_its_snapshot,
            a_new_snapshot_schema_folds_again, an_oversized_commit_is_refused_before_any_write, an_unknown_event_is_refused_before_any_write,
            a_foreign_row_is_corruption, a_foreign_row_behind_the_first_commit_is_corruption, keys_that_differ_in_case_stay_two_aggregates, a_fault_leaves_a_row_and_waits, a_panic_is_a_fault,
            history_is_read_forwards, an_aggregate_is_republished_byte_for_byte, a_category_is_republished_in_slices,
            republication_misses_nothing_across_shards, a_client_key_is_one_command, an_id_that_another_command_took_is_refused,
            a_submitter_waits_for_the_outcome, views_equal_the_fold_in_any_order, a_drain_that_broke_off_goes_on, reactions_happen_once_and_in_order, a_top_list_shows_every_change,
            a_change_that_was_not_shown_is_shown_when_it_comes_again,
            watchers_hear_of_each_change_once_and_in_order, a_view_that_nobody_watches_costs_no_read,
            a_hub_that_is_away_stops_no_view, what_was_missed_is_told_as_long_as_it_is_kept,
            a_watch_ends_with_its_last_watcher, who_comes_back_in_time_has_missed_nothing, nobody_who_joins_is_forgotten, nothing_is_left_of_watchers_who_are_gone, a_watch_is_over_with_its_time,
            a_gap_is_looked_after, a_view_is_rebuilt_beside_the_live_one, a_rebuild_goes_on_after_a_crash,
            a_short_source_fails_the_rebuild, a_view_is_read_with_one_read,
            what_is_sealed_is_readable_until_its_person_is_erased, an_erasure_survives_a_crash_at_every_call,
            an_erasure_done_again_spares_a_newer_key, a_person_has_one_key_whoever_made_it,
            a_key_that_arrives_late_does_not_come_back, erasing_needs_a_table_of_persons
        }
    };
}

/// Makes a test of every case. The argument is an `async fn() -> EngineFixture`.
#[macro_export]
macro_rules! engine_conformance {
    ($fixture:path) => {
        $crate::engine_cases! { engine_tests, $fixture }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! engine_tests {
    ($fixture:path, $($case:ident),+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let fixture = $fixture().await;
                $crate::conformance::engine::$case(fixture.store.clone()).await;
            }
        )+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! engine_list {
    ($($case:ident),+) => {
        vec![$((stringify!($case), |store| Box::pin($case(store)))),+]
    };
}

/// A case, to be run on a store.
pub type Case = fn(Arc<dyn TableStore>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// All cases with their names.
pub fn cases() -> Vec<(&'static str, Case)> {
    crate::engine_cases! { engine_list }
}

/// Runs all cases one after the other on a store with [`TABLES`]: for one that takes long to start. Panics at the end
/// with the names of those that failed.
pub async fn run_all(store: Arc<dyn TableStore>) {
    let mut failed = Vec::new();
    for (name, case) in cases() {
        let passed = AssertUnwindSafe(case(Arc::clone(&store))).catch_unwind().await.is_ok();
        println!("case {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed: {failed:?}", failed.len(), cases().len());
}

// A small domain: purses that never go below zero.

/// The purse, in its first and second form of snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Purse<const SCHEMA: u32 = 1> {
    owner: String,
    coins: i64,
    /// What the second form adds: it can only be had by folding again.
    #[serde(default)]
    deposits: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Opened {
    owner: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Deposited {
    coins: i64,
    note: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Withdrawn {
    coins: i64,
}

skein_core::events! {
    enum PurseEvent {
        Opened(Opened) = ("PurseOpened", 1),
        Deposited(Deposited) = ("CoinsDeposited", 1),
        Withdrawn(Withdrawn) = ("CoinsWithdrawn", 1),
    }
}

/// The balance after a change, published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct BalanceChanged {
    owner: String,
    coins: i64,
}

impl Contract for BalanceChanged {
    const TYPE: &'static str = "bank.BalanceChanged";
    const CATEGORY: &'static str = "purse";
}

impl<const SCHEMA: u32> Aggregate for Purse<SCHEMA> {
    const CATEGORY: &'static str = "purse";
    const SNAPSHOT_SCHEMA: u32 = SCHEMA;
    type Event = PurseEvent;

    fn evolve(&mut self, event: &PurseEvent) {
        match event {
            PurseEvent::Opened(opened) => self.owner.clone_from(&opened.owner),
            PurseEvent::Deposited(deposited) => {
                self.coins += deposited.coins;
                self.deposits += 1;
            }
            PurseEvent::Withdrawn(withdrawn) => self.coins -= withdrawn.coins,
        }
    }

    fn publish(&self, event: &PurseEvent) -> Option<Publication> {
        // Opening is private: integration events are numbered on their own.
        (!matches!(event, PurseEvent::Opened(_)))
            .then(|| Publication::of(&BalanceChanged { owner: self.owner.clone(), coins: self.coins }))
    }
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the purse is open already")]
    Open,
    #[error("there are {0} coins only")]
    TooFew(i64),
}

impl Rejection for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Refusal::Open => "ALREADY_OPEN",
            Refusal::TooFew(_) => "TOO_FEW_COINS",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    owner: String,
}

impl Command for Open {
    const TYPE: &'static str = "OpenPurse";
    const CREATES: bool = true;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deposit {
    coins: i64,
    #[serde(default)]
    note: String,
}

impl Command for Deposit {
    const TYPE: &'static str = "Deposit";
}

#[derive(Debug, Serialize, Deserialize)]
struct Withdraw {
    coins: i64,
}

impl Command for Withdraw {
    const TYPE: &'static str = "Withdraw";
}

/// Deposits one coin and asks other purses for one each.
#[derive(Debug, Serialize, Deserialize)]
struct Collect {
    from: Vec<String>,
}

impl Command for Collect {
    const TYPE: &'static str = "Collect";
}

#[derive(Debug, Serialize, Deserialize)]
struct Blow;

impl Command for Blow {
    const TYPE: &'static str = "Blow";
}

impl<const SCHEMA: u32> Handle<Open> for Purse<SCHEMA> {
    type Error = Refusal;
    type Reply = String;

    fn decide(&self, command: &Open, cx: &Context) -> Result<Decision<Self, String>, Refusal> {
        if !self.owner.is_empty() {
            return Err(Refusal::Open);
        }
        Ok(Decision::reply(cx.new_id(0).to_string()).event(Opened { owner: command.owner.clone() }))
    }
}

impl<const SCHEMA: u32> Handle<Deposit> for Purse<SCHEMA> {
    type Error = Refusal;
    type Reply = i64;

    fn decide(&self, command: &Deposit, _: &Context) -> Result<Decision<Self, i64>, Refusal> {
        let decision = Decision::reply(self.coins + command.coins);
        if command.coins == 0 {
            return Ok(decision);
        }
        Ok(decision.event(Deposited { coins: command.coins, note: command.note.clone() }))
    }
}

impl<const SCHEMA: u32> Handle<Withdraw> for Purse<SCHEMA> {
    type Error = Refusal;
    type Reply = i64;

    fn decide(&self, command: &Withdraw, _: &Context) -> Result<Decision<Self, i64>, Refusal> {
        if self.coins < command.coins {
            return Err(Refusal::TooFew(self.coins));
        }
        Ok(Decision::reply(self.coins - command.coins).event(Withdrawn { coins: command.coins }))
    }
}

impl Handle<Collect> for Purse {
    type Error = Refusal;
    type Reply = ();

    fn decide(&self, command: &Collect, _: &Context) -> Result<Decision<Self, ()>, Refusal> {
        let asked = command.from.iter().filter_map(|id| Outgoing::to::<Purse, _>(id, &Withdraw { coins: 1 }).ok());
        Ok(Decision::none().event(Deposited { coins: 1, note: String::new() }).send_all(asked))
    }
}

impl Handle<Blow> for Purse {
    type Error = Refusal;
    type Reply = ();

    fn decide(&self, _: &Blow, _: &Context) -> Result<Decision<Self, ()>, Refusal> {
        panic!("told to blow")
    }
}

/// One worker: a process with its own memory over the shared store.
struct Worker {
    handler: CommandHandler,
    store: Arc<Recorder>,
    queue: Arc<MemoryQueue>,
    bus: Arc<MemoryBus>,
    clock: Arc<ManualClock>,
}

impl Worker {
    fn ports(store: &Arc<Recorder>) -> (Ports, Arc<MemoryQueue>, Arc<MemoryBus>, Arc<ManualClock>) {
        let (queue, bus, clock) = (Arc::<MemoryQueue>::default(), Arc::<MemoryBus>::default(), ManualClock::new());
        let ports = Ports { shards: vec![store.clone()], queue: queue.clone(), bus: bus.clone(), clock: clock.clone() };
        (ports, queue, bus, clock)
    }

    fn new(store: &Arc<dyn TableStore>) -> Self {
        let store = Recorder::new(store.clone());
        let (ports, queue, bus, clock) = Worker::ports(&store);
        let handler = CommandHandler::new("bank", ports)
            .handle::<Purse, Open>()
            .handle::<Purse, Deposit>()
            .handle::<Purse, Withdraw>()
            .handle::<Purse, Collect>()
            .handle::<Purse, Blow>();
        Worker { handler, store, queue, bus, clock }
    }

    async fn send<C: Command>(
        &self,
        purse: &str,
        id: &str,
        command: &C,
        count: u32,
    ) -> Result<Receipt, skein_core::Fault> {
        let message = envelope(purse, id, command).to_message().expect("a small command");
        let delivery = Delivery { message_id: message.id, count, traceparent: None };
        self.handler.receive(&message.body, &delivery).await
    }

    /// Sends a command that is expected to be decided now; returns the version.
    async fn decide<C: Command>(&self, purse: &str, id: &str, command: &C) -> u64 {
        match self.send(purse, id, command, 1).await {
            Ok(Receipt::Decided { version, .. }) => version,
            other => panic!("{id}: {other:?}"),
        }
    }

    fn calls(&self) -> Vec<Call> {
        self.store.calls(EVENTS_TABLE)
    }

    async fn purse(&self, purse: &str) -> Purse {
        EventStore::new(vec![self.store.clone()]).load::<Purse>(&purse_id(purse)).await.expect("loads").state
    }

    /// The ids of the events published since the last time, request by request.
    fn published(&self) -> Vec<Vec<String>> {
        let id = |bytes: &bytes::Bytes| CloudEvent::from_json(bytes).expect("a CloudEvent").id;
        self.bus.take().iter().map(|request| request.iter().map(id).collect()).collect()
    }
}

fn purse_id(purse: &str) -> AggregateId {
    AggregateId::new("purse", purse).expect("a valid id")
}

fn trace() -> Trace {
    Trace {
        correlation_id: "correlation".into(),
        causation_id: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

fn envelope<C: Command>(purse: &str, id: &str, command: &C) -> Envelope {
    let id = CommandId::new(id).expect("a valid id");
    let ann = Principal::new("ann", ["customer"]);
    Envelope::wrap(command, id, purse_id(purse), ann, trace(), time::OffsetDateTime::UNIX_EPOCH).expect("plain data")
}

fn deposit(coins: i64) -> Deposit {
    Deposit { coins, note: String::new() }
}

fn transaction(keys: &[&str]) -> Call {
    Call::Transact(keys.iter().map(|key| (*key).to_owned()).collect())
}

/// Cold 1 + 1, warm 0 + 1, creating 0 + 1, rejections included; the rows in their order.
pub async fn calls_of_a_cold_warm_and_creating_command(store: Arc<dyn TableStore>) {
    let (warm, cold) = (Worker::new(&store), Worker::new(&store));
    let first = "E~9999999999999999998";
    warm.decide("calls", "calls-1", &Open { owner: "ann".into() }).await;
    assert_eq!(warm.calls(), [transaction(&["C~calls-1", "E!", first])], "creating");
    warm.decide("calls", "calls-2", &deposit(5)).await;
    assert_eq!(warm.calls(), [transaction(&["C~calls-2", "E!", "E~9999999999999999997"])], "warm");
    warm.decide("calls", "calls-3", &Withdraw { coins: 9 }).await;
    assert_eq!(warm.calls(), [transaction(&["C~calls-3", "E!"])], "a warm rejection");
    cold.decide("calls", "calls-4", &Withdraw { coins: 9 }).await;
    assert_eq!(cold.calls(), [Call::Query, transaction(&["C~calls-4", "E!"])], "a cold rejection");
    let cold = Worker::new(&store);
    cold.decide("calls", "calls-5", &Withdraw { coins: 1 }).await;
    assert_eq!(cold.calls(), [Call::Query, transaction(&["C~calls-5", "E!", "E~9999999999999999996"])], "cold");
    assert_eq!(
        cold.published(),
        [["calls-5:0".to_owned()].as_slice()].map(<[String]>::to_vec),
        "one request; the rejection before had marked the deposit as published"
    );
}

/// A redelivered command costs one read and one query, and publishes what may not be out, byte for byte.
pub async fn calls_of_a_duplicate(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("dup", "dup-1", &deposit(5)).await;
    let (first, _) = (worker.bus.take(), worker.calls());
    let again = Worker::new(&store);
    let receipt = again.send("dup", "dup-1", &deposit(5), 2).await.expect("a duplicate");
    let expected = CommandId::new("dup-1").expect("a valid id");
    assert_eq!(receipt, Receipt::Duplicate { command: expected, status: OutcomeStatus::Committed, version: 1 });
    assert_eq!(again.calls(), [Call::Get("C~dup-1".into()), Call::Query]);
    assert_eq!(again.bus.take(), first, "the same bytes");
    // A duplicate that the broker does not call a redelivery meets the outcome's row.
    let receipt = again.send("dup", "dup-1", &deposit(5), 1).await.expect("a duplicate");
    assert!(matches!(receipt, Receipt::Duplicate { version: 1, .. }), "{receipt:?}");
    let keys = ["C~dup-1", "E!", "E~9999999999999999997"];
    assert_eq!(again.calls(), [transaction(&keys), Call::Get("C~dup-1".into()), Call::Query]);
    assert_eq!(worker.purse("dup").await.coins, 5);
}

/// A rejection is recorded, published without a sequence, and settles the message.
pub async fn a_rejection_is_an_outcome(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let receipt = worker.send("rejected", "rejected-1", &Withdraw { coins: 1 }, 1).await.expect("an outcome");
    assert!(matches!(receipt, Receipt::Decided { status: OutcomeStatus::Rejected, version: 0, .. }), "{receipt:?}");
    let requests = worker.bus.take();
    let signal = CloudEvent::from_json(&requests[0][0]).expect("a CloudEvent");
    assert_eq!((signal.id.as_str(), signal.sequence()), ("rejected-1:rejected", None));
    assert!(signal.data.get().contains("TOO_FEW_COINS"), "{}", signal.data);
    let events = EventStore::new(vec![store.clone()]);
    let id = CommandId::new("rejected-1").expect("a valid id");
    let outcome = events.outcome(&purse_id("rejected"), &id).await.expect("reads").expect("is there");
    assert_eq!(outcome.rejection.expect("a rejection").code, "TOO_FEW_COINS");
    assert!(events.read_forwards(&purse_id("rejected"), 1, 10).await.expect("reads").is_empty());
    // Delivered again, the same bytes go out again.
    worker.send("rejected", "rejected-1", &Withdraw { coins: 1 }, 2).await.expect("a duplicate");
    assert_eq!(worker.bus.take(), requests);
    // The tip at version 0 does not keep the purse from being opened.
    let opener = Worker::new(&store);
    assert_eq!(opener.decide("rejected", "rejected-2", &Open { owner: "ann".into() }).await, 1);
}

/// An instance that remembers an older state may not refuse on it.
pub async fn a_rejection_proves_the_state_it_was_decided_on(store: Arc<dyn TableStore>) {
    let (stale, fresh) = (Worker::new(&store), Worker::new(&store));
    stale.decide("stale", "stale-1", &Withdraw { coins: 3 }).await;
    fresh.decide("stale", "stale-2", &deposit(5)).await;
    let receipt = stale.send("stale", "stale-3", &Withdraw { coins: 3 }, 1).await.expect("decided");
    assert!(matches!(receipt, Receipt::Decided { status: OutcomeStatus::Committed, .. }), "{receipt:?}");
    assert_eq!(fresh.purse("stale").await.coins, 2);
}

/// A decision without events is recorded, under the tip's tag, and publishes nothing.
pub async fn a_no_op_is_an_outcome(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("no-op", "no-op-1", &deposit(5)).await;
    worker.published();
    worker.calls();
    assert_eq!(worker.decide("no-op", "no-op-2", &deposit(0)).await, 1);
    assert_eq!(worker.calls(), [transaction(&["C~no-op-2", "E!"])]);
    assert!(worker.published().is_empty());
}

/// The same id with another payload is an error that stays, and changes nothing.
pub async fn another_command_of_the_same_id_is_refused(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("reused", "reused-1", &deposit(5)).await;
    for count in [1, 2] {
        let fault = worker.send("reused", "reused-1", &deposit(6), count).await.expect_err("another command");
        assert_eq!((fault.code, fault.kind), ("COMMAND_ID_REUSED", FaultKind::Permanent));
    }
    assert_eq!(worker.purse("reused").await.coins, 5);
}

/// Applied, and the answer lost: the outcome is found and nothing is applied twice.
pub async fn a_lost_answer_is_found(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("answer", "answer-1", &deposit(5)).await;
    worker.published();
    worker.store.accidents([Accident::ResponseLost]);
    let receipt = worker.send("answer", "answer-2", &deposit(5), 1).await.expect("found");
    assert!(matches!(receipt, Receipt::Duplicate { version: 2, .. }), "{receipt:?}");
    assert_eq!(worker.published().concat().last().map(String::as_str), Some("answer-2:0"));
    assert_eq!(worker.purse("answer").await.coins, 10);
}

/// Not applied, and nobody knows: sent again.
pub async fn a_lost_request_is_sent_again(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.store.accidents([Accident::RequestLost, Accident::RequestLost]);
    assert_eq!(worker.decide("request", "request-1", &deposit(5)).await, 1);
    assert_eq!(worker.purse("request").await.coins, 5);
}

/// Applied only when the retry is on its way: one of the two loses.
pub async fn a_late_request_is_applied_once(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.store.accidents([Accident::AppliedLate]);
    let receipt = worker.send("late", "late-1", &deposit(5), 1).await.expect("applied once");
    assert!(matches!(receipt, Receipt::Duplicate { version: 1, .. }), "{receipt:?}");
    assert_eq!(worker.purse("late").await.coins, 5);
    assert_eq!(worker.published(), [["late-1:0".to_owned()].as_slice()].map(<[String]>::to_vec));
}

/// Two workers that remember the same state: the second decides again.
pub async fn two_workers_conflict_and_both_count(store: Arc<dyn TableStore>) {
    let (one, two) = (Worker::new(&store), Worker::new(&store));
    one.decide("two", "two-1", &deposit(1)).await;
    two.decide("two", "two-2", &deposit(1)).await;
    two.calls();
    one.calls();
    assert_eq!(one.decide("two", "two-3", &deposit(1)).await, 3, "one has an older state in its memory");
    let third = "E~9999999999999999996";
    assert_eq!(
        one.calls(),
        [
            transaction(&["C~two-3", "E!", "E~9999999999999999997"]),
            Call::Get("C~two-3".into()),
            Call::Query,
            transaction(&["C~two-3", "E!", third]),
        ]
    );
    assert_eq!(one.purse("two").await.coins, 3);
}

/// Sixteen workers at once on one purse: every coin is accounted for, and none is spent twice.
pub async fn many_workers_never_overdraw(store: Arc<dyn TableStore>) {
    let setup = Worker::new(&store);
    setup.decide("many", "many", &deposit(10)).await;
    let workers: Vec<Worker> = (0..16).map(|_| Worker::new(&store)).collect();
    let attempts = workers.iter().enumerate().map(|(n, worker)| async move {
        let id = format!("many-{n}");
        let mut count = 1;
        // What a queue does with a conflict beyond the bound: it delivers again.
        loop {
            match worker.send("many", &id, &Withdraw { coins: 1 }, count).await {
                Ok(Receipt::Decided { status, .. } | Receipt::Duplicate { status, .. }) => return status,
                Ok(other) => panic!("{other:?}"),
                Err(fault) => assert_eq!(fault.code, "CONFLICT"),
            }
            count += 1;
        }
    });
    let outcomes = futures::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|status| **status == OutcomeStatus::Committed).count(), 10);
    assert_eq!(setup.purse("many").await.coins, 0);
    let commits = EventStore::new(vec![store.clone()]).read_forwards(&purse_id("many"), 1, 100).await.expect("reads");
    let versions: Vec<u64> = commits.iter().map(|commit| commit.first).collect();
    assert_eq!(versions, (1..=11).collect::<Vec<u64>>(), "versions are gapless");
}

/// A topic that is away: the command is stored, the message is not settled, and the same bytes go out later.
pub async fn publication_fails_and_is_repeated(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.bus.fail_next(u32::MAX);
    let fault = worker.send("away", "away-1", &deposit(5), 1).await.expect_err("not settled");
    assert_eq!((fault.code, fault.kind), ("SEND_UNAVAILABLE", FaultKind::Transient));
    assert!(worker.clock.elapsed() >= Duration::from_secs(2), "it waits before it fails");
    worker.bus.fail_next(0);
    let receipt = worker.send("away", "away-1", &deposit(5), 2).await.expect("published");
    assert!(matches!(receipt, Receipt::Duplicate { version: 1, .. }), "{receipt:?}");
    assert_eq!(worker.published(), [["away-1:0".to_owned()].as_slice()].map(<[String]>::to_vec));
    assert_eq!(worker.purse("away").await.coins, 5);
}

/// The events of a command whose message was given up leave with the aggregate's next command, in order.
pub async fn the_next_command_publishes_what_was_left(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("left", "left-0", &deposit(1)).await;
    worker.bus.fail_next(u32::MAX);
    worker.send("left", "left-1", &deposit(5), 1).await.expect_err("not settled");
    worker.bus.fail_next(0);
    worker.bus.take();
    worker.decide("left", "left-2", &deposit(5)).await;
    let published = worker.published();
    assert_eq!(published.len(), 1, "one request");
    let tail: Vec<&str> = published[0].iter().rev().take(2).rev().map(String::as_str).collect();
    assert_eq!(tail, ["left-1:0", "left-2:0"]);
}

/// A process manager's commands are in its commit: they go out before the message is settled, the same each time.
pub async fn commands_are_sent_before_settling(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.queue.fail_next(u32::MAX);
    let collect = Collect { from: vec!["a".into(), "b".into()] };
    worker.send("collect", "collect-1", &collect, 1).await.expect_err("not settled");
    worker.queue.fail_next(0);
    worker.send("collect", "collect-1", &collect, 2).await.expect("sent");
    let sent = worker.queue.take();
    let sessions: Vec<(&str, &str)> =
        sent.iter().map(|(to, message)| (to.as_str(), message.session.as_str())).collect();
    assert_eq!(sessions, [("bank", "purse:a"), ("bank", "purse:b")]);
    let first = Envelope::from_json(&sent[0].1.body).expect("an envelope");
    assert_eq!(first.trace.causation_id.as_deref(), Some("collect-1"));
    assert_eq!(first.trace.traceparent, trace().traceparent);
    assert!(first.principal.has(Principal::SERVICE_ROLE));
    worker.send("collect", "collect-1", &collect, 3).await.expect("a duplicate");
    let again = Worker::new(&store);
    again.send("collect", "collect-1", &collect, 3).await.expect("a duplicate");
    assert_eq!(again.queue.take(), sent, "the same messages");
}

/// Snapshots bound what a cold load reads, and change nothing of the state.
pub async fn a_long_history_loads_from_its_snapshot(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    for n in 0..120 {
        worker.decide("long", &format!("long-{n}"), &deposit(n)).await;
    }
    let cold = Worker::new(&store);
    cold.decide("long", "long-last", &deposit(1)).await;
    assert_eq!(cold.calls().len(), 2, "one query, one transaction");
    let folded = cold.purse("long").await;
    // deposit(0) is a no-op.
    assert_eq!((folded.coins, folded.deposits), ((0..120).sum::<i64>() + 1, 120));
    // Large events bring the snapshot forward.
    let large = Deposit { coins: 1, note: "x".repeat(100_000) };
    for n in 0..6 {
        worker.decide("large", &format!("large-{n}"), &large).await;
    }
    let row = store.get(EVENTS_TABLE, &purse_id("large").key(), "E!").await.expect("reads").expect("is there");
    assert!(row.int("SnapshotVersion").is_some_and(|version| version >= 3), "{:?}", row.int("SnapshotVersion"));
}

/// A state of another form is folded from the events, whatever the snapshot says.
pub async fn a_new_snapshot_schema_folds_again(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    for n in 1..=60 {
        worker.decide("schema", &format!("schema-{n}"), &deposit(1)).await;
    }
    let events = EventStore::new(vec![store.clone()]);
    let one = events.load::<Purse<1>>(&purse_id("schema")).await.expect("loads");
    let two = events.load::<Purse<2>>(&purse_id("schema")).await.expect("loads");
    assert!(one.commits_since_snapshot < 60, "the first form has a snapshot");
    assert_eq!(two.commits_since_snapshot, 60, "the second has none");
    assert_eq!((one.state.coins, two.state.coins, two.state.deposits), (60, 60, 60));
}

/// What is too large is refused before anything is written.
pub async fn an_oversized_commit_is_refused_before_any_write(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    // One coin each of 20,000 purses: the command is small enough, its commit is not.
    let collect = Collect { from: (0..20_000).map(|n| format!("{n:05}")).collect() };
    let message = envelope("oversized", "oversized-1", &collect).to_message().expect("fits the queue");
    let delivery = Delivery { message_id: message.id, count: 1, traceparent: None };
    let fault = worker.handler.receive(&message.body, &delivery).await.expect_err("too large");
    assert_eq!((fault.code, fault.kind), ("COMMIT_TOO_LARGE", FaultKind::Permanent));
    assert!(worker.calls().iter().all(|call| !matches!(call, Call::Transact(_))));
    let events = EventStore::new(vec![store.clone()]);
    assert!(events.load::<Purse>(&purse_id("oversized")).await.expect("loads").tip.is_none());
}

/// An event of newer code beside this one: nothing is decided on half a state.
pub async fn an_unknown_event_is_refused_before_any_write(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("newer", "newer-1", &deposit(1)).await;
    let partition = purse_id("newer").key();
    let key = "E~9999999999999999998";
    let stored = store.get(EVENTS_TABLE, &partition, key).await.expect("reads").expect("is there");
    let mut row = Row::new(key);
    row.properties = stored.properties.clone();
    let events = stored.str("Events0").expect("events").replace("\"v\":1", "\"v\":2");
    let row = row.with("Events0", events);
    store.transact(EVENTS_TABLE, &partition, &[Operation::Replace(row, stored.etag)]).await.expect("writes");
    let cold = Worker::new(&store);
    let fault = cold.send("newer", "newer-2", &deposit(1), 1).await.expect_err("unknown");
    assert_eq!((fault.code, fault.kind), ("EVENT_VERSION_UNKNOWN", FaultKind::Transient));
    assert!(cold.calls().iter().all(|call| !matches!(call, Call::Transact(_))));
}

/// A row that we did not write is reported, not folded.
pub async fn a_foreign_row_is_corruption(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("foreign", "foreign-1", &deposit(1)).await;
    let partition = purse_id("foreign").key();
    let foreign = Row::new("E~9999999999999999997").with("First", 2_i64).with("Last", 2_i64);
    store.transact(EVENTS_TABLE, &partition, &[Operation::Insert(foreign)]).await.expect("writes");
    let cold = Worker::new(&store);
    let fault = cold.send("foreign", "foreign-2", &deposit(1), 1).await.expect_err("corrupt");
    assert_eq!((fault.code, fault.kind), ("STORE_CORRUPT", FaultKind::Permanent));
    let fault = worker.send("foreign", "foreign-3", &deposit(1), 1).await.expect_err("corrupt, found by a conflict");
    assert_eq!((fault.code, fault.kind), ("STORE_CORRUPT", FaultKind::Permanent));
}

/// A row that sorts behind the first commit is reported wherever a read comes to that commit; where a snapshot makes
/// older commits needless, nothing of them is read.
pub async fn a_foreign_row_behind_the_first_commit_is_corruption(store: Arc<dyn TableStore>) {
    // Behind one commit, and where the first page of a cold load ends with the first commit.
    for (purse, commits) in [("behind", 2), ("behind-50", 50)] {
        let worker = Worker::new(&store);
        for n in 1..=commits {
            worker.decide(purse, &format!("{purse}-{n}"), &deposit(1)).await;
        }
        let partition = purse_id(purse).key();
        let events = EventStore::new(vec![store.clone()]);
        events.load::<Purse<2>>(&purse_id(purse)).await.expect("loads without it");
        for key in ["E~9999999999999999998 ", "E~9999999999999999999", "E~of another", "E~~"] {
            store.transact(EVENTS_TABLE, &partition, &[Operation::Insert(Row::new(key))]).await.expect("writes");
            let told = |fault: skein_core::Fault| {
                assert_eq!((fault.code, fault.kind), ("STORE_CORRUPT", FaultKind::Permanent), "{purse}, {key}");
                assert!(fault.message.contains(&format!("{key:?}")), "{purse}: {fault}");
            };
            // A state of another form has no snapshot: it is folded from the first commit on.
            told(events.load::<Purse<2>>(&purse_id(purse)).await.expect_err("corrupt"));
            told(events.read_forwards(&purse_id(purse), 1, 1_000).await.expect_err("corrupt"));
            if commits == 2 {
                let cold = Worker::new(&store);
                told(cold.send(purse, "behind-3", &deposit(1), 1).await.expect_err("corrupt"));
                assert!(cold.calls().iter().all(|call| !matches!(call, Call::Transact(_))));
            }
            let delete = [Operation::Delete(key.to_owned(), None)];
            store.transact(EVENTS_TABLE, &partition, &delete).await.expect("writes");
        }
        Worker::new(&store).decide(purse, &format!("{purse}-last"), &deposit(1)).await;
    }
}

/// `a` and `A` are two.
pub async fn keys_that_differ_in_case_stay_two_aggregates(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    worker.decide("85123A", "case-1", &deposit(1)).await;
    worker.decide("85123a", "case-1", &deposit(2)).await;
    let cold = Worker::new(&store);
    assert_eq!((cold.purse("85123A").await.coins, cold.purse("85123a").await.coins), (1, 2));
}

/// Before a failing answer the reason is kept, and what may pass is waited for.
pub async fn a_fault_leaves_a_row_and_waits(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let delivery = Delivery { message_id: "malformed".into(), count: 3, traceparent: Some("00-trace".into()) };
    let fault = worker.handler.receive(b"{", &delivery).await.expect_err("malformed");
    assert_eq!((fault.code, fault.kind), ("MALFORMED_COMMAND", FaultKind::Permanent));
    assert_eq!(worker.clock.elapsed(), Duration::ZERO, "what stays is answered at once");
    let row = store.get("faults", "malformed", "commands").await.expect("reads").expect("is there");
    assert_eq!((row.str("Code"), row.int("Attempt")), (Some("MALFORMED_COMMAND"), Some(3)));
    assert_eq!(row.str("Traceparent"), Some("00-trace"));

    worker.store.accidents([Accident::Unavailable; 20]);
    let fault = worker.send("faults", "faults-1", &deposit(1), 4).await.expect_err("away");
    assert_eq!((fault.code, fault.kind), ("STORE_UNAVAILABLE", FaultKind::Transient));
    assert!(worker.clock.elapsed() >= Duration::from_secs(16), "{:?}", worker.clock.elapsed());
}

/// A panic in a decision is a fault of that message and of no other.
pub async fn a_panic_is_a_fault(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let fault = worker.send("panic", "panic-1", &Blow, 1).await.expect_err("panics");
    assert_eq!((fault.code, fault.kind), ("PANIC", FaultKind::Permanent));
    assert!(fault.message.contains("told to blow"), "{fault}");
    worker.decide("panic", "panic-2", &deposit(1)).await;
}

/// Long reads go forwards, in windows whose keys are computed.
pub async fn history_is_read_forwards(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    for n in 1..=25 {
        worker.decide("forwards", &format!("forwards-{n}"), &deposit(n)).await;
    }
    let events = EventStore::new(vec![store.clone()]);
    for (from, limit) in [(1, 100), (1, 3), (7, 5), (25, 10), (26, 10)] {
        let commits = events.read_forwards(&purse_id("forwards"), from, limit).await.expect("reads");
        let versions: Vec<u64> = commits.iter().map(|commit| commit.first).collect();
        let expected: Vec<u64> = (from..=25).take(limit).collect();
        assert_eq!(versions, expected, "from {from}, at most {limit}");
    }
}

fn submission(aggregate: &str, key: &str, coins: i64, wait: Option<Duration>) -> Submission<Deposit> {
    Submission {
        command: deposit(coins),
        aggregate: Some(aggregate.into()),
        client_key: Some(key.into()),
        principal: Principal::new("ann", ["customer"]),
        trace: trace(),
        wait,
    }
}

/// A client's key is one command, whatever the client does with it.
pub async fn a_client_key_is_one_command(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let (ports, queue, _, _) = Worker::ports(&worker.store);
    let submitter = Submitter::new("bank", ports);
    let first = submitter.submit::<Purse, _>(submission("client", "k1", 5, None)).await.expect("queued");
    assert_eq!(first.outcome, Settled::Pending);
    // The client does not know and asks again: both are queued, one is decided.
    let again = submitter.submit::<Purse, _>(submission("client", "k1", 5, None)).await.expect("queued");
    assert_eq!(again.command_id, first.command_id);
    let messages = queue.take();
    assert_eq!(messages.len(), 2);
    for (_, message) in &messages {
        let delivery = Delivery { message_id: message.id.clone(), count: 1, traceparent: None };
        worker.handler.receive(&message.body, &delivery).await.expect("decided, or a duplicate");
    }
    assert_eq!(worker.purse("client").await.coins, 5);
    // Decided: nothing is queued any more, and the outcome is told at once.
    let known = submitter.submit::<Purse, _>(submission("client", "k1", 5, None)).await.expect("known");
    assert_eq!(known.outcome, Settled::Committed { version: 1, reply: 5 });
    assert!(queue.take().is_empty());
    // Another input, or another aggregate, under the same key.
    for (aggregate, coins) in [("client", 6), ("client-2", 5)] {
        let error = submitter.submit::<Purse, _>(submission(aggregate, "k1", coins, None)).await.expect_err("reused");
        assert!(matches!(error, SubmitError::CommandIdReused(_)), "{error}");
    }
    // Another principal's key is another command.
    let mut other = submission("client-3", "k1", 6, None);
    other.principal = Principal::new("bob", ["customer"]);
    assert_ne!(submitter.submit::<Purse, _>(other).await.expect("queued").command_id, first.command_id);
}

/// An id may reach the queue past the submitter, with another command: its outcome is not the client's.
pub async fn an_id_that_another_command_took_is_refused(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let (ports, queue, _, _) = Worker::ports(&worker.store);
    let submitter = Submitter::new("bank", ports);
    let queued = submitter.submit::<Purse, _>(submission("taken", "t1", 5, None)).await.expect("queued");
    assert_eq!(queue.take().len(), 1);
    worker.decide("taken", queued.command_id.as_str(), &Open { owner: "eve".into() }).await;
    let error = submitter.submit::<Purse, _>(submission("taken", "t1", 5, None)).await.expect_err("taken");
    assert!(matches!(error, SubmitError::CommandIdReused(_)), "{error}");
}

/// Whoever waits learns the reply, the rejection, or that it takes longer.
pub async fn a_submitter_waits_for_the_outcome(store: Arc<dyn TableStore>) {
    let worker = Worker::new(&store);
    let (ports, queue, _, clock) = Worker::ports(&worker.store);
    let submitter = Submitter::new("bank", ports);
    let wait = Some(Duration::from_secs(3));
    let pending = submitter.submit::<Purse, _>(submission("wait", "w1", 5, wait)).await.expect("queued");
    assert_eq!(pending.outcome, Settled::Pending, "nobody handles it");
    assert!(clock.elapsed() >= Duration::from_secs(3));
    let handle = async {
        loop {
            for (_, message) in queue.take() {
                let delivery = Delivery { message_id: message.id.clone(), count: 1, traceparent: None };
                worker.handler.receive(&message.body, &delivery).await.expect("handled");
            }
            clock.sleep(Duration::from_millis(1)).await;
        }
    };
    let mut withdraw = Submission {
        command: Withdraw { coins: 100 },
        aggregate: Some("wait".into()),
        client_key: None,
        principal: Principal::new("ann", ["customer"]),
        trace: trace(),
        wait,
    };
    let ask = async {
        let committed = submitter.submit::<Purse, _>(submission("wait", "w2", 5, wait)).await.expect("answered");
        assert_eq!(committed.outcome, Settled::Committed { version: 2, reply: 10 });
        withdraw.wait = Some(Duration::from_secs(30));
        let rejected = submitter.submit::<Purse, _>(withdraw).await.expect("answered");
        let Settled::Rejected { rejection, version } = rejected.outcome else { panic!("{:?}", rejected.outcome) };
        assert_eq!((rejection.code.as_str(), version), ("TOO_FEW_COINS", 2));
    };
    futures::pin_mut!(handle, ask);
    futures::future::select(handle, ask).await;
}

// Views over the purses.

skein_core::contracts! { enum Read { Balance(BalanceChanged) } }

/// One purse, folded: the coins, and how many events it has seen.
struct Purses;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct PurseRow {
    coins: i64,
    events: u64,
}

impl Projection for Purses {
    const NAME: &'static str = "purses";
    const TABLE: &'static str = "purses";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    type Event = Read;
    type Row = PurseRow;

    fn touches(_: &Read, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), "purse")]
    }

    fn apply(row: Option<PurseRow>, Read::Balance(balance): &Read, _: &Touch, _: &Source) -> Option<PurseRow> {
        Some(PurseRow { coins: balance.coins, events: row.unwrap_or_default().events + 1 })
    }
}

/// All purses of an owner, and the number of all changes; an empty purse leaves.
struct Owners;

impl Projection for Owners {
    const NAME: &'static str = "owners";
    const TABLE: &'static str = "owners";
    const PARTITIONING: Partitioning = Partitioning::ManySources;
    type Event = Read;
    type Row = PurseRow;

    fn touches(Read::Balance(balance): &Read, source: &Source) -> Vec<Touch> {
        vec![Touch::new(&balance.owner, format!("purse {}", source.aggregate.id())), Touch::new(&balance.owner, "all")]
    }

    fn apply(row: Option<PurseRow>, Read::Balance(balance): &Read, touch: &Touch, _: &Source) -> Option<PurseRow> {
        let before = row.unwrap_or_default();
        match touch.row.as_str() {
            "all" => Some(PurseRow { coins: 0, events: before.events + 1 }),
            _ if balance.coins == 0 => None,
            _ => Some(PurseRow { coins: balance.coins, events: before.events + 1 }),
        }
    }
}

/// The richest purses.
struct Rich;

impl TopList for Rich {
    const NAME: &'static str = "rich";
    const TABLE: &'static str = "rich";
    const SHARDS: u16 = 3;
    const SIZE: usize = 3;
    type Event = Read;

    fn score(Read::Balance(balance): &Read, _: &Source) -> Option<i64> {
        Some(balance.coins)
    }
}

/// Pays interest: every change sends two commands.
struct Interest;

impl Reaction for Interest {
    const NAME: &'static str = "interest";
    type Event = Read;

    fn react(Read::Balance(balance): &Read, source: &Source) -> Result<Vec<Outgoing>, IdError> {
        let id = source.aggregate.id();
        Ok(vec![
            Outgoing::to::<Purse, _>(id, &deposit(balance.coins))?,
            Outgoing::to::<Purse, _>(id, &deposit(-balance.coins))?,
        ])
    }
}

/// The integration event `sequence` of a purse.
fn balance(purse: &str, owner: &str, sequence: u64, coins: i64) -> bytes::Bytes {
    let event = CloudEvent {
        specversion: "1.0".into(),
        id: format!("{purse}-{sequence}:0"),
        source: "/services/bank".into(),
        kind: BalanceChanged::type_name(),
        subject: purse_id(purse),
        time: time::OffsetDateTime::UNIX_EPOCH,
        datacontenttype: "application/json".into(),
        sequence: Some(CloudEvent::format_sequence(sequence)),
        epoch: 0,
        correlation: "correlation".into(),
        causation: format!("{purse}-{sequence}"),
        traceparent: None,
        data: Publication::of(&BalanceChanged { owner: owner.into(), coins }).data,
    };
    event.to_json().expect("a small event")
}

mod live;
mod rebuild;
mod republication;
mod top;

pub use live::{
    a_hub_that_is_away_stops_no_view, a_view_that_nobody_watches_costs_no_read, a_watch_ends_with_its_last_watcher,
    a_watch_is_over_with_its_time, nobody_who_joins_is_forgotten, nothing_is_left_of_watchers_who_are_gone,
    watchers_hear_of_each_change_once_and_in_order, what_was_missed_is_told_as_long_as_it_is_kept,
    who_comes_back_in_time_has_missed_nothing,
};
pub use rebuild::{
    a_gap_is_looked_after, a_rebuild_goes_on_after_a_crash, a_short_source_fails_the_rebuild,
    a_view_is_read_with_one_read, a_view_is_rebuilt_beside_the_live_one, crash_at_every_call,
};
pub use republication::{
    a_category_is_republished_in_slices, an_aggregate_is_republished_byte_for_byte,
    republication_misses_nothing_across_shards,
};
pub use top::a_change_that_was_not_shown_is_shown_when_it_comes_again;

/// A small generator of numbers (splitmix64): the suites need no more, and a seed says all.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or(0)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

struct Reading {
    handler: ViewsHandler,
    store: Arc<Recorder>,
    queue: Arc<MemoryQueue>,
}

impl Reading {
    fn new(store: &Arc<dyn TableStore>, build: impl FnOnce(ViewsHandler) -> ViewsHandler) -> Self {
        let store = Recorder::new(store.clone());
        let queue = Arc::<MemoryQueue>::default();
        let handler = build(ViewsHandler::new("bank", store.clone(), queue.clone(), ManualClock::new()));
        Reading { handler, store, queue }
    }

    async fn receive(&self, body: &[u8]) {
        let delivery = Delivery { message_id: "m".into(), count: 1, traceparent: None };
        self.handler.receive(body, &delivery).await.expect("taken");
    }
}

/// Doubled, reordered, with accidents, by several workers at once: each view equals the fold of its events.
pub async fn views_equal_the_fold_in_any_order(store: Arc<dyn TableStore>) {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut numbers = Numbers(seed);
        let owner = format!("owner {seed}");
        let mut events = Vec::new();
        let mut expected = BTreeMap::new();
        for purse in 0..4 {
            let id = format!("view-{seed}-{purse}");
            let mut coins = 0;
            for sequence in 1..=6 {
                coins = i64::try_from(numbers.below(4)).expect("small");
                for _ in 0..=numbers.below(3) {
                    events.push(balance(&id, &owner, sequence, coins));
                }
            }
            expected.insert(id, coins);
        }
        numbers.shuffle(&mut events);
        let workers: Vec<Reading> =
            (0..3).map(|_| Reading::new(&store, |handler| handler.project::<Purses>().project::<Owners>())).collect();
        for worker in &workers {
            let accidents = [Accident::None, Accident::ResponseLost, Accident::RequestLost, Accident::AppliedLate];
            worker.store.accidents((0..60).map(|_| accidents[numbers.below(4)]));
        }
        let lanes = workers.iter().enumerate().map(|(lane, worker)| {
            let mine: Vec<&bytes::Bytes> = events.iter().skip(lane).step_by(workers.len()).collect();
            async move {
                for body in mine {
                    worker.receive(body).await;
                }
            }
        });
        futures::future::join_all(lanes).await;
        let reader = ViewReader::new(store.clone());
        for (id, coins) in &expected {
            let row = reader.get::<Purses>(id, "purse").await.expect("reads").expect("is there");
            assert_eq!(row, PurseRow { coins: *coins, events: 6 }, "{id}");
        }
        let all = reader.get::<Owners>(&owner, "all").await.expect("reads").expect("is there");
        assert_eq!(all.events, 24, "every event counts once");
        let listed = reader.list::<Owners>(&owner, None, 10).await.expect("reads");
        let listed: BTreeMap<String, i64> = listed
            .rows
            .into_iter()
            .filter_map(|(name, row)| Some((name.strip_prefix("purse ")?.to_owned(), row.coins)))
            .collect();
        expected.retain(|_, coins| *coins != 0);
        assert_eq!(listed, expected, "an empty purse has left");
        // Pages of two cover the same rows.
        let (mut after, mut names) = (None::<String>, Vec::new());
        loop {
            let page = reader.list::<Owners>(&owner, after.as_deref(), 2).await.expect("reads");
            names.extend(page.rows.iter().map(|(name, _)| name.clone()));
            after = page.rows.last().map(|(name, _)| name.clone());
            if !page.has_next {
                break;
            }
        }
        assert_eq!(names.len(), expected.len() + 1);
    }
}

/// What is parked behind an event is drained to its end, even if the drain broke off in the middle: those messages are
/// settled, and only the event before them comes again.
pub async fn a_drain_that_broke_off_goes_on(store: Arc<dyn TableStore>) {
    for (purse, broken) in [("drain-first", 1), ("drain-second", 2), ("drain-third", 3)] {
        let reading = Reading::new(&store, ViewsHandler::project::<Purses>);
        for sequence in [4, 3, 2] {
            reading.receive(&balance(purse, "ann", sequence, i64::try_from(sequence).expect("small"))).await;
        }
        reading.store.accidents((0..broken).map(|_| Accident::None).chain([Accident::Unavailable]));
        reading.receive(&balance(purse, "ann", 1, 1)).await;
        let reader = ViewReader::new(store.clone());
        let row = reader.get::<Purses>(purse, "purse").await.expect("reads").expect("is there");
        assert_eq!(row, PurseRow { coins: 4, events: 4 }, "{purse}");
    }
}

/// A reaction's commands keep the order of the events, and carry ids that make repetitions harmless.
pub async fn reactions_happen_once_and_in_order(store: Arc<dyn TableStore>) {
    let reading = Reading::new(&store, |handler| handler.react::<Interest>());
    for sequence in [2, 1, 1, 3, 2] {
        reading.receive(&balance("react", "ann", sequence, i64::try_from(sequence).expect("small"))).await;
    }
    let commands = |sent: Vec<(String, Message)>| sent.into_iter().filter(|(queue, _)| queue == "bank");
    let ids: Vec<String> = commands(reading.queue.take()).map(|(_, message)| message.id).collect();
    assert_eq!(ids, ["react-1:0", "react-1:0~1", "react-2:0", "react-2:0~1", "react-3:0", "react-3:0~1"]);
    // A crash between sending and the cursor: the same ids are sent again.
    reading.store.accidents([Accident::Unavailable; 5]);
    let delivery = Delivery { message_id: "m".into(), count: 1, traceparent: None };
    let body = balance("react", "ann", 4, 4);
    reading.handler.receive(&body, &delivery).await.expect_err("the cursor could not be moved");
    let first: Vec<String> = reading.queue.take().into_iter().map(|(_, message)| message.id).collect();
    assert_eq!(first[..2], [encode_key("react-4:0"), encode_key("react-4:0~1")]);
    reading.receive(&body).await;
    let again: Vec<String> = reading.queue.take().into_iter().map(|(_, message)| message.id).collect();
    assert_eq!(again, first[..2]);
}

/// Whatever the order, once every event is settled the list is the list.
pub async fn a_top_list_shows_every_change(store: Arc<dyn TableStore>) {
    let mut numbers = Numbers(7);
    let mut events = Vec::new();
    let mut scores = Vec::new();
    for purse in 0..9 {
        let mut last = 0;
        for sequence in 1..=5 {
            last = i64::try_from(numbers.below(50)).expect("small");
            events.push(balance(&format!("rich-{purse}"), "ann", sequence, last));
            events.push(balance(&format!("rich-{purse}"), "ann", sequence, last));
        }
        scores.push((format!("rich-{purse}"), last));
    }
    numbers.shuffle(&mut events);
    let workers: Vec<Reading> = (0..3).map(|_| Reading::new(&store, ViewsHandler::top_list::<Rich>)).collect();
    let lanes = events.iter().enumerate().map(|(n, body)| workers[n % workers.len()].receive(body));
    futures::future::join_all(lanes).await;
    scores.retain(|(_, score)| *score > 0);
    scores.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    scores.truncate(3);
    let reader = ViewReader::new(store.clone());
    assert_eq!(reader.top::<Rich>(10).await.expect("reads"), scores);
    assert_eq!(reader.top::<Rich>(2).await.expect("reads"), scores[..2]);
}

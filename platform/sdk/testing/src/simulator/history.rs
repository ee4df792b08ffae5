//! What the store holds when a run begins: made once, by the engine itself, without accidents.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use skein_core::handler::{Delivery, Ports};
use skein_core::ports::{Message, TableError, TableStore, TransactError};
use skein_core::store::EVENTS_TABLE;
use skein_core::table::{Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage};
use skein_core::views::ViewsHandler;
use skein_core::{AggregateId, Command, CommandId, Envelope};

use super::checks::Ledger;
use super::domain::{Deposit, Open, SERVICE};
use super::plan::{Era, History, PURSES};
use super::run::{handler, principal, trace, views};
use super::tables::{Tables, Unwritten};
use super::world::{Applied, Journal};
use crate::doubles::{ManualClock, MemoryBus, MemoryQueue};

/// So many commits stand before a snapshot is due with the next but one.
const LONG: usize = 48;

/// What was before a run.
pub(crate) struct Past {
    pub tables: Tables,
    /// What a journal would have taken down.
    pub journal: Journal,
    /// What the checks made of it.
    pub ledger: Ledger,
}

/// A store that answers at once: the past is made with it, and checks read with it.
pub(crate) struct Calm {
    tables: Mutex<Tables>,
    applied: Mutex<Vec<Arc<Applied>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calm {
    pub(crate) fn new(tables: Tables) -> Arc<Self> {
        Arc::new(Calm { tables: Mutex::new(tables), applied: Mutex::default() })
    }
}

#[async_trait]
impl TableStore for Calm {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        Ok(lock(&self.tables).get(table, partition, key).map(|row| (**row).clone()))
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        Ok(lock(&self.tables).query(table, range, from.map(|from| from.0.as_str()), range.top as usize))
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        let from = from.and_then(Tables::sweep_from);
        Ok(lock(&self.tables).sweep(table, sweep, from.as_ref(), sweep.top as usize))
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        let tags = lock(&self.tables).transact(table, partition, operations).map_err(|unwritten| match unwritten {
            Unwritten::Conflict => TransactError::Conflict("calm".to_owned()),
            Unwritten::Refused(error) => error.into(),
        })?;
        if table == EVENTS_TABLE {
            let applied = Applied { partition: partition.to_owned(), operations: operations.to_vec() };
            lock(&self.applied).push(Arc::new(applied));
        }
        Ok(tags)
    }
}

/// The result of a future that waits for nothing but its own turn.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

/// The past, made at the first call of each thread.
pub(crate) fn of(history: History) -> Rc<Past> {
    thread_local! {
        static PASTS: RefCell<BTreeMap<usize, Rc<Past>>> = const { RefCell::new(BTreeMap::new()) };
    }
    let deposits = match history {
        History::Nothing => return Rc::new(past(None)),
        History::Opened => 0,
        History::BeforeSnapshot => LONG,
    };
    PASTS.with_borrow_mut(|pasts| pasts.entry(deposits).or_insert_with(|| Rc::new(past(Some(deposits)))).clone())
}

fn past(deposits: Option<usize>) -> Past {
    let store = Calm::new(Tables::default());
    let (queue, bus) = (Arc::<MemoryQueue>::default(), Arc::<MemoryBus>::default());
    let ports =
        Ports { shards: vec![store.clone()], queue: queue.clone(), bus: bus.clone(), clock: ManualClock::new() };
    let worker = handler(Era::New, ports);
    let mut messages: Vec<Message> = Vec::new();
    if let Some(deposits) = deposits {
        for purse in PURSES {
            let owner = if purse == "p1" { "bob" } else { "ann" };
            messages.push(message(purse, 0, &Open { owner: owner.to_owned(), coins: 10 }));
        }
        for n in 0..deposits {
            messages.push(message(PURSES[0], n + 1, &Deposit { coins: if n % 2 == 0 { 1 } else { -1 } }));
        }
    }
    let delivery = |id: &str| Delivery { message_id: id.to_owned(), count: 1, traceparent: None };
    for message in &messages {
        at_once(worker.receive(&message.body, &delivery(&message.id))).expect("a command without accidents");
    }
    let published: Vec<bytes::Bytes> = bus.take().into_iter().flatten().collect();
    let viewer = views(Era::New, ViewsHandler::new(SERVICE, store.clone(), queue, ManualClock::new()));
    for event in &published {
        at_once(viewer.receive(event, &delivery("past"))).expect("an event without accidents");
    }
    let mut journal = Journal::default();
    for applied in lock(&store.applied).iter() {
        journal.apply(&applied.partition, &applied.operations, Duration::ZERO);
    }
    journal.sent = messages.into_iter().map(|message| (message.id, vec![message.body])).collect();
    for event in &published {
        journal.publish(event);
    }
    let ledger = Ledger::of_past(&journal);
    Past { tables: lock(&store.tables).clone(), journal, ledger }
}

fn message<C: Command>(purse: &str, n: usize, command: &C) -> Message {
    let id = CommandId::new(&format!("past-{purse}-{n}")).expect("a short id");
    let aggregate = AggregateId::new("purse", purse).expect("a valid id");
    let at = time::OffsetDateTime::UNIX_EPOCH;
    Envelope::wrap(command, id, aggregate, principal(), trace("past"), at)
        .and_then(|envelope| envelope.to_message())
        .expect("plain data")
}

//! The ports of the engine, as processes of the simulated world see them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skein_core::ports::{Clock, CommandQueue, EventBus, Message, SendError, TableError, TableStore, TransactError};
use skein_core::table::{
    Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage, check_range, check_sweep,
    check_transaction,
};

use super::tables::Tables;
use super::world::{Answer, Channel, Request, World};

/// How often a client repeats what may be repeated, as the Azure adapters do.
const RETRIES: usize = 4;
/// How long it waits before. The adapters' own waits are random and become this one, so that runs are alike.
pub const PAUSE: Duration = Duration::from_millis(200);

/// Tasks that can go on.
#[derive(Default)]
pub(super) struct Ready(Mutex<VecDeque<usize>>);

impl Ready {
    pub(super) fn push(&self, task: usize) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.contains(&task) {
            queue.push_back(task);
        }
    }

    pub(super) fn pop(&self) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

pub(super) struct TaskWaker {
    pub ready: Arc<Ready>,
    pub task: usize,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
    }
}

/// The only way from a process into the world. All processes of one run share it; the world knows who asks.
#[derive(Clone)]
pub struct Wire {
    world: Arc<Mutex<World>>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    pub(super) fn new(world: World) -> Self {
        Wire { world: Arc::new(Mutex::new(world)) }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request; the scheduler decides when it is carried out, and whether.
    pub async fn call(&self, request: Request) -> Answer {
        Call { wire: self, request: Some(request), number: 0 }.await
    }

    /// Waits by the world's clock.
    pub async fn sleep(&self, duration: Duration) {
        self.call(Request::Sleep(duration)).await;
    }
}

struct Call<'a> {
    wire: &'a Wire,
    request: Option<Request>,
    number: u64,
}

impl Future for Call<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut world = self.wire.world();
        if let Some(request) = self.request.take() {
            self.number = world.submit(request, context.waker().clone());
            return Poll::Pending;
        }
        world.answer(self.number, context.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

/// The model of a table store, with the patience of a real client.
pub(super) struct ModelStore(pub Wire);

impl ModelStore {
    async fn read(&self, request: Request) -> Result<Answer, TableError> {
        let away = || TableError::Unavailable("away in the simulator".to_owned());
        repeating(&self.0, request).await.ok_or_else(away)
    }
}

/// Makes a request that may be repeated; `None` where it never got an answer.
async fn repeating(wire: &Wire, request: Request) -> Option<Answer> {
    for _ in 0..RETRIES {
        match wire.call(request.clone()).await {
            Answer::Busy | Answer::Throttled | Answer::NotSent | Answer::Broken => wire.sleep(PAUSE).await,
            answer => return Some(answer),
        }
    }
    match wire.call(request).await {
        Answer::Busy | Answer::Throttled | Answer::NotSent | Answer::Broken => None,
        answer => Some(answer),
    }
}

fn odd(answer: &Answer) -> TableError {
    TableError::Malformed(format!("{answer:?}"))
}

#[async_trait]
impl TableStore for ModelStore {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        let request = Request::Get { table: table.to_owned(), partition: partition.to_owned(), key: key.to_owned() };
        match self.read(request).await? {
            Answer::Row(row) => Ok(row),
            other => Err(odd(&other)),
        }
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        check_range(range)?;
        let from = from.map(|from| from.0.clone());
        match self.read(Request::Query { table: table.to_owned(), range: range.clone(), from }).await? {
            Answer::Page(page) => Ok(page),
            other => Err(odd(&other)),
        }
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        check_sweep(sweep)?;
        let from = from.and_then(Tables::sweep_from);
        match self.read(Request::Sweep { table: table.to_owned(), sweep: sweep.clone(), from }).await? {
            Answer::Swept(page) => Ok(page),
            other => Err(odd(&other)),
        }
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        check_transaction(partition, operations)?;
        let request = Request::Transact {
            table: table.to_owned(),
            partition: partition.to_owned(),
            operations: operations.to_vec(),
        };
        match self.0.call(request).await {
            Answer::Tags(tags) => Ok(tags),
            Answer::Conflict => Err(TransactError::Conflict("in the simulator".to_owned())),
            Answer::Refused(error) => Err(error.into()),
            Answer::NotSent => Err(TableError::Unavailable("no connection in the simulator".to_owned()).into()),
            Answer::Busy | Answer::Throttled | Answer::Broken => {
                Err(TransactError::Unknown("in the simulator".to_owned()))
            }
            other => Err(odd(&other).into()),
        }
    }
}

/// Queue and topic of the world.
pub(super) struct ModelBroker(pub Wire);

async fn sent(wire: &Wire, target: &str, request: Request) -> Result<(), SendError> {
    match repeating(wire, request).await {
        Some(Answer::Done) => Ok(()),
        other => Err(SendError::Unavailable { target: target.to_owned(), reason: format!("{other:?}") }),
    }
}

#[async_trait]
impl CommandQueue for ModelBroker {
    async fn send(&self, queue: &str, messages: &[Message]) -> Result<(), SendError> {
        let channel = match queue.split_once('/') {
            Some((_, "events")) => Channel::Events,
            Some(_) => Channel::Rebuild,
            None => Channel::Commands,
        };
        sent(&self.0, queue, Request::Send(channel, messages.to_vec())).await
    }
}

#[async_trait]
impl EventBus for ModelBroker {
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError> {
        sent(&self.0, "the topic", Request::Publish(events.to_vec())).await
    }
}

/// The world's clock, as the process that looks at it sees it.
pub(super) struct ModelClock(pub Wire);

#[async_trait]
impl Clock for ModelClock {
    fn now(&self) -> time::OffsetDateTime {
        self.0.world().clock()
    }

    fn monotonic(&self) -> Duration {
        self.0.world().elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

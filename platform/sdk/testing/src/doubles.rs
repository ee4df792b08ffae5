//! Doubles of the ports: a recorder of storage calls that can be told to fail, a queue and a topic that remember, and
//! a clock that moves when it is waited on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;
use skein_core::blob::{Appended, BlobError, BlobStore, Listed, MAX_BLOCK_BYTES, Part, check_blob_name};
use skein_core::personal::{DataKey, WrappedKey};
use skein_core::ports::{
    Clock, CommandQueue, EventBus, HubAccess, KeyVault, LiveHub, Message, SendError, TableError, TableStore,
    TransactError, VaultError,
};
use skein_core::table::{Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage};
use time::OffsetDateTime;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request to a table store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A point read, with its row key.
    Get(String),
    /// A range read.
    Query,
    /// A read over partitions.
    Sweep,
    /// A transaction, with its row keys.
    Transact(Vec<String>),
}

/// What happens to the next transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accident {
    /// It reaches the store as usual.
    None,
    /// The request is lost: nothing is written, and nobody knows.
    RequestLost,
    /// It is applied, and the answer is lost.
    ResponseLost,
    /// Nobody knows, and it is applied only right before the next transaction.
    AppliedLate,
    /// The store says that it is away.
    Unavailable,
}

/// A table store that records its calls, and can be told what accident happens to the next transactions.
pub struct Recorder {
    inner: Arc<dyn TableStore>,
    calls: Mutex<Vec<(String, Call)>>,
    accidents: Mutex<VecDeque<Accident>>,
    late: Mutex<Vec<(String, String, Vec<Operation>)>>,
    pause: Mutex<Option<Pause>>,
}

/// A call that waits.
struct Pause {
    /// How many calls come before it.
    calls: usize,
    waits: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

impl Recorder {
    /// A recorder before the store.
    pub fn new(inner: Arc<dyn TableStore>) -> Arc<Self> {
        Arc::new(Recorder {
            inner,
            calls: Mutex::default(),
            accidents: Mutex::default(),
            late: Mutex::default(),
            pause: Mutex::default(),
        })
    }

    /// The calls to one table since the last time, in order.
    pub fn calls(&self, table: &str) -> Vec<Call> {
        lock(&self.calls).drain(..).filter(|(name, _)| name == table).map(|(_, call)| call).collect()
    }

    /// The calls to all tables since the last time, in order.
    pub fn all_calls(&self) -> Vec<Call> {
        lock(&self.calls).drain(..).map(|(_, call)| call).collect()
    }

    /// What happens to the next transactions, one after the other.
    pub fn accidents(&self, accidents: impl IntoIterator<Item = Accident>) {
        lock(&self.accidents).extend(accidents);
    }

    /// Lets the call that follows so many others wait, before it reaches the store: the first of these tells that it waits,
    /// the second lets it go on.
    pub fn pause_after(&self, calls: usize) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((waits, is_waiting), (goes, go)) = (oneshot::channel(), oneshot::channel());
        *lock(&self.pause) = Some(Pause { calls, waits, go });
        (is_waiting, goes)
    }

    async fn record(&self, table: &str, call: Call) {
        lock(&self.calls).push((table.to_owned(), call));
        let due = {
            let mut pause = lock(&self.pause);
            match &mut *pause {
                Some(Pause { calls: 0, .. }) => pause.take(),
                Some(pause) => {
                    pause.calls -= 1;
                    None
                }
                None => None,
            }
        };
        if let Some(Pause { waits, go, .. }) = due {
            waits.send(()).expect("somebody waits for it");
            go.await.expect("somebody lets it go on");
        }
    }
}

#[async_trait]
impl TableStore for Recorder {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        self.record(table, Call::Get(key.to_owned())).await;
        self.inner.get(table, partition, key).await
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        self.record(table, Call::Query).await;
        self.inner.query(table, range, from).await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        self.record(table, Call::Sweep).await;
        self.inner.sweep(table, sweep, from).await
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        self.record(table, Call::Transact(operations.iter().map(|operation| operation.key().to_owned()).collect()))
            .await;
        let late: Vec<_> = lock(&self.late).drain(..).collect();
        for (table, partition, operations) in late {
            // Whether the late one is still in time is the store's to say.
            let _ = self.inner.transact(&table, &partition, &operations).await;
        }
        let accident = lock(&self.accidents).pop_front().unwrap_or(Accident::None);
        let lost = |what: &str| Err(TransactError::Unknown(what.to_owned()));
        match accident {
            Accident::None => self.inner.transact(table, partition, operations).await,
            Accident::RequestLost => lost("the request was lost"),
            Accident::ResponseLost => {
                self.inner.transact(table, partition, operations).await?;
                lost("the answer was lost")
            }
            Accident::AppliedLate => {
                lock(&self.late).push((table.to_owned(), partition.to_owned(), operations.to_vec()));
                lost("no answer in time")
            }
            Accident::Unavailable => Err(TableError::Unavailable("told to be away".to_owned()).into()),
        }
    }
}

/// A command queue that keeps what it is sent.
#[derive(Default)]
pub struct MemoryQueue {
    sent: Mutex<Vec<(String, Message)>>,
    failures: Mutex<u32>,
}

impl MemoryQueue {
    /// The messages sent since the last time, with the queue they went to.
    pub fn take(&self) -> Vec<(String, Message)> {
        lock(&self.sent).drain(..).collect()
    }

    /// How many of the next sends fail.
    pub fn fail_next(&self, sends: u32) {
        *lock(&self.failures) = sends;
    }
}

#[async_trait]
impl CommandQueue for MemoryQueue {
    async fn send(&self, queue: &str, messages: &[Message]) -> Result<(), SendError> {
        fail_if_told(&self.failures, queue)?;
        lock(&self.sent).extend(messages.iter().map(|message| (queue.to_owned(), message.clone())));
        Ok(())
    }
}

/// A topic that keeps what is published.
#[derive(Default)]
pub struct MemoryBus {
    requests: Mutex<Vec<Vec<Bytes>>>,
    failures: Mutex<u32>,
}

impl MemoryBus {
    /// The events published since the last time, request by request.
    pub fn take(&self) -> Vec<Vec<Bytes>> {
        lock(&self.requests).drain(..).collect()
    }

    /// How many of the next requests fail.
    pub fn fail_next(&self, requests: u32) {
        *lock(&self.failures) = requests;
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError> {
        fail_if_told(&self.failures, "the topic")?;
        lock(&self.requests).push(events.to_vec());
        Ok(())
    }
}

fn fail_if_told(failures: &Mutex<u32>, target: &str) -> Result<(), SendError> {
    let mut left = lock(failures);
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err(SendError::Unavailable { target: target.to_owned(), reason: "told to be away".to_owned() })
}

/// A hub that keeps what each user was sent. A token is the user's name.
pub struct MemoryHub {
    clock: Arc<ManualClock>,
    /// Until when each user is in the group.
    groups: Mutex<BTreeMap<String, BTreeMap<String, OffsetDateTime>>>,
    sent: Mutex<BTreeMap<String, Vec<(String, serde_json::Value)>>>,
    failures: Mutex<u32>,
}

impl MemoryHub {
    /// A hub where users leave groups by this clock.
    pub fn new(clock: Arc<ManualClock>) -> Arc<Self> {
        Arc::new(MemoryHub { clock, groups: Mutex::default(), sent: Mutex::default(), failures: Mutex::default() })
    }

    /// What a user was sent since the last time: targets and their first arguments, in order.
    pub fn take(&self, user: &str) -> Vec<(String, serde_json::Value)> {
        lock(&self.sent).remove(user).unwrap_or_default()
    }

    /// How many users are in the group.
    pub fn members(&self, group: &str) -> usize {
        self.users(group).len()
    }

    fn users(&self, group: &str) -> Vec<String> {
        let (groups, now) = (lock(&self.groups), self.clock.now());
        let users = groups.get(group).into_iter().flatten().filter(|(_, until)| **until > now);
        users.map(|(user, _)| user.clone()).collect()
    }

    /// Lets the next requests fail.
    pub fn fail_next(&self, requests: u32) {
        *lock(&self.failures) = requests;
    }

    fn answer(&self) -> Result<(), SendError> {
        let mut failures = lock(&self.failures);
        if *failures == 0 {
            return Ok(());
        }
        *failures -= 1;
        Err(SendError::Unavailable { target: "hub".to_owned(), reason: "told to be away".to_owned() })
    }
}

#[async_trait]
impl LiveHub for MemoryHub {
    async fn access(&self, user: &str, _: Duration) -> Result<HubAccess, SendError> {
        self.answer()?;
        Ok(HubAccess { url: "http://127.0.0.1/client/?hub=memory".to_owned(), token: user.to_owned() })
    }

    async fn send(&self, group: &str, target: &str, arguments: &Bytes) -> Result<(), SendError> {
        self.answer()?;
        let arguments: Vec<serde_json::Value> = serde_json::from_slice(arguments)
            .map_err(|error| SendError::Refused { target: "hub".to_owned(), reason: error.to_string() })?;
        let message = (target.to_owned(), arguments.into_iter().next().unwrap_or_default());
        for user in self.users(group) {
            lock(&self.sent).entry(user).or_default().push(message.clone());
        }
        Ok(())
    }

    async fn join(&self, group: &str, user: &str, lifetime: Duration) -> Result<(), SendError> {
        self.answer()?;
        let until = self.clock.now() + lifetime;
        lock(&self.groups).entry(group.to_owned()).or_default().insert(user.to_owned(), until);
        Ok(())
    }

    async fn leave(&self, group: &str, user: &str) -> Result<(), SendError> {
        self.answer()?;
        lock(&self.groups).entry(group.to_owned()).or_default().remove(user);
        Ok(())
    }

    async fn leave_all(&self, user: &str) -> Result<(), SendError> {
        self.answer()?;
        for users in lock(&self.groups).values_mut() {
            users.remove(user);
        }
        Ok(())
    }

    async fn has_members(&self, group: &str) -> Result<bool, SendError> {
        self.answer()?;
        Ok(self.members(group) > 0)
    }
}

/// A clock that stands still until somebody waits: then the time has passed at once.
pub struct ManualClock {
    now: Mutex<OffsetDateTime>,
}

impl ManualClock {
    /// A clock at a fixed time.
    pub fn new() -> Arc<Self> {
        Arc::new(ManualClock { now: Mutex::new(time::macros::datetime!(2026-01-01 0:00 UTC)) })
    }

    /// Moves the clock on, unless it is there already.
    pub fn advance_to(&self, time: OffsetDateTime) {
        let mut now = lock(&self.now);
        *now = time.max(*now);
    }

    /// How long the clock has been waited on, and moved, since its start.
    pub fn elapsed(&self) -> Duration {
        (*lock(&self.now) - time::macros::datetime!(2026-01-01 0:00 UTC)).unsigned_abs()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *lock(&self.now)
    }

    async fn sleep(&self, duration: Duration) {
        *lock(&self.now) += duration;
        // Let whoever else is ready go on.
        let mut yielded = false;
        futures::future::poll_fn(|context| {
            if yielded {
                return std::task::Poll::Ready(());
            }
            yielded = true;
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}

/// A key vault that makes the keys 1, 2, 3, …, and counts what it is asked.
#[derive(Default)]
pub struct MemoryVault {
    made: Mutex<u64>,
    unwrapped: Mutex<u32>,
    failures: Mutex<u32>,
}

impl MemoryVault {
    /// How many keys were made, and how many unwrapped.
    pub fn counts(&self) -> (u64, u32) {
        (*lock(&self.made), *lock(&self.unwrapped))
    }

    /// How many of the next requests fail.
    pub fn fail_next(&self, requests: u32) {
        *lock(&self.failures) = requests;
    }

    fn available(&self) -> Result<(), VaultError> {
        fail_if_told(&self.failures, "the vault").map_err(|error| VaultError::Unavailable(error.to_string()))
    }
}

#[async_trait]
impl KeyVault for MemoryVault {
    async fn generate(&self) -> Result<(DataKey, WrappedKey), VaultError> {
        self.available()?;
        let mut made = lock(&self.made);
        *made += 1;
        let mut bytes = [0xA5; 32];
        bytes[..8].copy_from_slice(&made.to_be_bytes());
        // As secret as a test needs it.
        let wrapped = bytes.iter().map(|byte| !byte).collect();
        Ok((DataKey::new(bytes), WrappedKey { version: "1".to_owned(), bytes: wrapped }))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey, VaultError> {
        self.available()?;
        *lock(&self.unwrapped) += 1;
        let bytes: Vec<u8> = wrapped.bytes.iter().map(|byte| !byte).collect();
        match bytes.try_into() {
            Ok(bytes) if wrapped.version == "1" => Ok(DataKey::new(bytes)),
            _ => Err(VaultError::Refused("it did not wrap this".to_owned())),
        }
    }
}

/// By name: the bytes, and whether they grow.
type Blobs = BTreeMap<String, (Vec<u8>, bool)>;

/// Blobs in memory, which can be told to fail.
#[derive(Default)]
pub struct MemoryBlobs {
    blobs: Mutex<Blobs>,
    /// How many writes still go well; `None` for all.
    budget: Mutex<Option<u32>>,
}

impl MemoryBlobs {
    /// No blobs.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets this many writes go well; what follows them is refused, as if the process had died there.
    pub fn die_after(&self, writes: Option<u32>) {
        *lock(&self.budget) = writes;
    }

    fn write(&self) -> Result<std::sync::MutexGuard<'_, Blobs>, BlobError> {
        let mut budget = lock(&self.budget);
        match budget.as_mut() {
            Some(0) => return Err(BlobError::Unavailable("the test says so".to_owned())),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(lock(&self.blobs))
    }
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn create(&self, name: &str) -> Result<bool, BlobError> {
        check_blob_name(name)?;
        let mut blobs = self.write()?;
        if blobs.contains_key(name) {
            return Ok(false);
        }
        blobs.insert(name.to_owned(), (Vec::new(), true));
        Ok(true)
    }

    async fn append(&self, name: &str, at: u64, block: Bytes) -> Result<Appended, BlobError> {
        check_blob_name(name)?;
        if block.is_empty() || block.len() > MAX_BLOCK_BYTES {
            return Err(BlobError::Refused(format!("a block of {} bytes", block.len())));
        }
        match self.write()?.get_mut(name) {
            Some((bytes, true)) if bytes.len() as u64 == at => {
                bytes.extend_from_slice(&block);
                Ok(Appended::Done)
            }
            Some((_, true)) => Ok(Appended::Moved),
            _ => Err(BlobError::Refused(format!("there is no append blob {name}"))),
        }
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        check_blob_name(name)?;
        self.write()?.insert(name.to_owned(), (bytes.to_vec(), false));
        Ok(())
    }

    async fn read(&self, name: &str, from: u64, most: u64) -> Result<Option<Part>, BlobError> {
        check_blob_name(name)?;
        Ok(lock(&self.blobs).get(name).map(|(bytes, _)| {
            let part: Vec<u8> = bytes.iter().copied().skip(usize::try_from(from).unwrap_or(usize::MAX)).collect();
            let end = part.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            Part { bytes: Bytes::from(part).slice(..end), size: bytes.len() as u64 }
        }))
    }

    async fn list(&self, prefix: &str, from: Option<&Continuation>) -> Result<Listed, BlobError> {
        // Pages of two, so that there are several.
        let after = from.map_or("", |from| from.0.as_str());
        let blobs = lock(&self.blobs);
        let mut rest = blobs
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && name.as_str() >= after)
            .map(|(name, (bytes, _))| (name.clone(), bytes.len() as u64));
        let page = rest.by_ref().take(2).collect();
        Ok(Listed { blobs: page, next: rest.next().map(|(name, _)| Continuation(name)) })
    }

    async fn delete(&self, name: &str) -> Result<bool, BlobError> {
        check_blob_name(name)?;
        Ok(self.write()?.remove(name).is_some())
    }
}

//! The queue engine: what a Service Bus queue promises, on one SQLite file.
//!
//! All changes go through one thread that owns the connection (`engine`). It takes the jobs that have queued up
//! since its last commit into one transaction, and answers them when that is committed: what was acknowledged survives
//! the death of the process. Which messages are ready and who holds what is kept in memory; so locks are void after a
//! restart, and the deliveries that they stood for count, as the expiry of a lock does in Azure.

mod clock;
mod engine;
mod message;
mod queue;
mod rest;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

#[cfg(test)]
pub use clock::ManualClock;
pub use clock::{BrokerClock, SystemClock, Waiting};
pub(crate) use engine::{Engine, Millis, to_time};
pub use message::{
    DeadLetter, DeadLettered, Header, LockToken, Locked, NewMessage, Properties, PropertyValue, QueueCounts,
};
pub use rest::{PREFIX, router};
pub use settings::{QueueSettings, SettingsError, iso_duration};
pub(crate) use settings::{boolean, count, member};

/// The path, below a queue's, of its dead-letter queue.
pub const DEAD_LETTER_QUEUE: &str = "$DeadLetterQueue";

/// The longest message id and session id, in characters.
pub const MAX_ID_CHARS: usize = 128;

/// The largest message in bytes, its properties included: that of the Standard tier.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Why the broker did not do as asked. Nothing was changed then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// No such queue.
    #[error("the queue {0:?} does not exist")]
    NoQueue(String),
    /// A setting that is fixed when a queue is created was declared anew with another value.
    #[error("{setting} of the queue {queue:?} is fixed since it was created")]
    FixedSetting {
        /// The queue.
        queue: String,
        /// The setting, as ARM names it.
        setting: &'static str,
    },
    /// A message without a session id for a queue that requires one.
    #[error("the queue {0:?} requires sessions, and the message has no session id")]
    NoSessionId(String),
    /// A receiver without a session at a queue that requires one.
    #[error(
        "It is not possible for an entity that requires sessions to create a non-sessionful message receiver \
         (the queue {0:?})"
    )]
    SessionRequired(String),
    /// A session was asked of a queue that has none.
    #[error("the queue {0:?} does not have sessions")]
    NoSessions(String),
    /// A dead-letter queue cannot be sent to.
    #[error("{0:?} is a dead-letter queue and cannot be sent to")]
    DeadLetterQueue(String),
    /// A message that no queue takes.
    #[error("the message is not valid: {0}")]
    Invalid(String),
    /// A message of more than [`MAX_MESSAGE_BYTES`].
    #[error("the message takes {0} bytes, at most {MAX_MESSAGE_BYTES} are allowed")]
    TooLarge(usize),
    /// The lock expired, was released, or never was.
    #[error("the lock is lost: it has expired, or the message or session was settled")]
    LockLost,
    /// The lock of a message in a session is the session's.
    #[error("the message is held by its session: renew the session's lock")]
    HeldBySession,
    /// The file under the broker failed. What was asked for may be asked again.
    #[error("the broker's store failed")]
    Storage(#[source] Arc<rusqlite::Error>),
    /// What is stored is not understood.
    #[error("the broker's store holds what is not understood: {0}")]
    Corrupt(String),
    /// The broker has ended.
    #[error("the broker has ended")]
    Closed,
}

impl From<rusqlite::Error> for BrokerError {
    fn from(error: rusqlite::Error) -> Self {
        BrokerError::Storage(Arc::new(error))
    }
}

/// The queues of all namespaces. Cheap to clone; the engine ends with the last clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    jobs: mpsc::Sender<engine::Job>,
    clock: Arc<dyn BrokerClock>,
}

/// A session that a receiver holds, and with it all its messages. Dropping it releases the session, and the messages
/// it still holds do not count as delivered.
pub struct SessionLock {
    queue: Arc<str>,
    session_id: Arc<str>,
    token: Uuid,
    locked_until: OffsetDateTime,
    arrived: Arc<Notify>,
    broker: Weak<Inner>,
}

impl std::fmt::Debug for SessionLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLock").field("queue", &self.queue).field("session_id", &self.session_id).finish()
    }
}

impl SessionLock {
    /// The session.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The queue, `namespace/queue`.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// When the lock that was accepted ends, unless it was renewed since.
    pub fn locked_until(&self) -> OffsetDateTime {
        self.locked_until
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.upgrade() {
            let (queue, session, token) = (self.queue.clone(), self.session_id.clone(), self.token);
            broker.post(move |engine| match engine.release_session(&queue, &session, token) {
                Err(BrokerError::LockLost) => Ok(()),
                released => released,
            });
        }
    }
}

/// A message between the engine and who receives it. Where that one waits no longer, it is given back: nobody else would
/// get it before its lock ends.
struct InFlight {
    message: Option<Locked>,
    broker: Weak<Inner>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let (Some(message), Some(broker)) = (self.message.take(), self.broker.upgrade()) {
            broker.post(move |engine| engine.abandon(&message.lock));
        }
    }
}

/// What one look at a queue finds.
pub(crate) enum Found<T> {
    Some(T),
    /// Nothing; this tells when it is worth looking again.
    Nothing(Arc<Notify>),
}

impl Inner {
    fn post<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<T, BrokerError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, BrokerError>> {
        let (answer, answered) = oneshot::channel();
        // A broker that has ended drops the job, and with it the sender of the answer.
        let _ = self.jobs.send(engine::job(work, move |result| drop(answer.send(result))));
        answered
    }
}

impl Broker {
    /// Opens the broker's file, or an empty broker for `:memory:`, and takes up what it holds.
    ///
    /// # Errors
    /// The file cannot be opened or is not a broker's.
    ///
    /// # Panics
    /// Outside of a tokio runtime, which has to run the broker's timers.
    pub fn open(path: &Path, clock: Arc<dyn BrokerClock>) -> Result<Broker, BrokerError> {
        let (next_due, due) = watch::channel(None);
        let engine = Engine::open(path, clock.clone(), next_due)?;
        let (jobs, queued) = mpsc::channel();
        let inner = Arc::new(Inner { jobs, clock });
        std::thread::Builder::new()
            .name("broker".into())
            .spawn(move || engine::serve(engine, &queued))
            .map_err(|error| BrokerError::Corrupt(format!("no thread could be started: {error}")))?;
        tokio::spawn(keep_time(Arc::downgrade(&inner), inner.clock.clone(), due));
        Ok(Broker(inner))
    }

    /// The clock that the broker was opened with.
    pub(crate) fn clock(&self) -> Arc<dyn BrokerClock> {
        self.0.clock.clone()
    }

    /// Does some work on the engine's thread, in a transaction that is committed when this returns `Ok`. An error other
    /// than of the store has to leave everything as it was.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Engine) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.0.post(work).await.unwrap_or(Err(BrokerError::Closed))
    }

    /// Creates a queue, `namespace/queue`, or brings its settings up to date; messages stay.
    ///
    /// # Errors
    /// [`BrokerError::FixedSetting`] where `requiresSession` or `requiresDuplicateDetection` would change.
    pub async fn declare(&self, queue: &str, settings: QueueSettings) -> Result<(), BrokerError> {
        let queue = queue.to_owned();
        self.run(move |engine| engine.declare(&queue, settings)).await
    }

    /// Removes a queue with its messages, dead letters included. Whether there was one.
    ///
    /// # Errors
    /// The broker's file failed.
    pub async fn remove(&self, queue: &str) -> Result<bool, BrokerError> {
        let queue = queue.to_owned();
        self.run(move |engine| engine.remove(&queue)).await
    }

    /// The names of all queues, `namespace/queue`, in lower case.
    ///
    /// # Errors
    /// The broker's file failed.
    pub async fn queues(&self) -> Result<Vec<String>, BrokerError> {
        self.run(|engine| Ok(engine.names())).await
    }

    /// Sends all messages or none. Returns their sequence numbers; a message that duplicate detection dropped has that
    /// of its first copy.
    ///
    /// # Errors
    /// An unknown queue, or a message that it does not take.
    pub async fn send(&self, queue: &str, messages: Vec<NewMessage>) -> Result<Vec<i64>, BrokerError> {
        let queue = queue.to_owned();
        self.run(move |engine| engine.send(&queue, messages)).await
    }

    /// Locks the next message, waiting for one if there is none. Dead-letter queues are received from in this way too.
    ///
    /// # Errors
    /// An unknown queue, or one with sessions.
    pub async fn receive(&self, queue: &str, wait: Duration) -> Result<Option<Locked>, BrokerError> {
        let (queue, broker) = (queue.to_owned(), Arc::downgrade(&self.0));
        let received = self.poll(wait, move |engine| {
            Ok(match engine.receive(&queue, false)? {
                Found::Nothing(arrived) => Found::Nothing(arrived),
                Found::Some(message) => Found::Some(InFlight { message: Some(message), broker: broker.clone() }),
            })
        });
        Ok(received.await?.and_then(|mut received| received.message.take()))
    }

    /// Takes the next message for good, waiting for one if there is none: at most once.
    ///
    /// # Errors
    /// An unknown queue, or one with sessions.
    pub async fn receive_and_delete(&self, queue: &str, wait: Duration) -> Result<Option<Locked>, BrokerError> {
        let queue = queue.to_owned();
        self.poll(wait, move |engine| engine.receive(&queue, true)).await
    }

    /// Locks the session whose next message is the oldest, waiting for one if there is none.
    ///
    /// # Errors
    /// An unknown queue, or one without sessions.
    pub async fn accept_session(&self, queue: &str, wait: Duration) -> Result<Option<SessionLock>, BrokerError> {
        let queue = queue.to_owned();
        let broker = Arc::downgrade(&self.0);
        self.poll(wait, move |engine| {
            Ok(match engine.accept_session(&queue)? {
                Found::Nothing(arrived) => Found::Nothing(arrived),
                Found::Some(held) => Found::Some(SessionLock {
                    queue: held.queue,
                    session_id: held.session_id,
                    token: held.token,
                    locked_until: to_time(held.until),
                    arrived: held.arrived,
                    broker: broker.clone(),
                }),
            })
        })
        .await
    }

    /// Locks the session's next message, waiting for one if there is none.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`] once the session's lock has ended.
    pub async fn receive_in_session(
        &self,
        session: &SessionLock,
        wait: Duration,
    ) -> Result<Option<Locked>, BrokerError> {
        let (queue, id, token) = (session.queue.clone(), session.session_id.clone(), session.token);
        let arrived = session.arrived.clone();
        self.poll(wait, move |engine| {
            let found = engine.receive_in_session(&queue, &id, token)?;
            Ok(found.map_or(Found::Nothing(arrived.clone()), Found::Some))
        })
        .await
    }

    /// Removes a message for good: it is done.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`]: somebody else may have got the message.
    pub async fn complete(&self, lock: &LockToken) -> Result<(), BrokerError> {
        let lock = lock.clone();
        self.run(move |engine| engine.complete(&lock)).await
    }

    /// Gives a message back; it is the next one, or goes to the dead-letter queue if that was its last delivery.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`].
    pub async fn abandon(&self, lock: &LockToken) -> Result<(), BrokerError> {
        let lock = lock.clone();
        self.run(move |engine| engine.abandon(&lock)).await
    }

    /// Lets the lock last a full lock duration from now.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`], or [`BrokerError::HeldBySession`].
    pub async fn renew(&self, lock: &LockToken) -> Result<OffsetDateTime, BrokerError> {
        let lock = lock.clone();
        self.run(move |engine| engine.renew(&lock).map(to_time)).await
    }

    /// Lets the session's lock last a full lock duration from now.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`].
    pub async fn renew_session(&self, session: &SessionLock) -> Result<OffsetDateTime, BrokerError> {
        let (queue, id, token) = (session.queue.clone(), session.session_id.clone(), session.token);
        self.run(move |engine| engine.renew_session(&queue, &id, token).map(to_time)).await
    }

    /// Gives a session back. Messages it still holds do not count as delivered. Dropping does the same without telling
    /// when it is done.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`]: it had ended already.
    pub async fn release_session(&self, session: SessionLock) -> Result<(), BrokerError> {
        let (queue, id, token) = (session.queue.clone(), session.session_id.clone(), session.token);
        let released = self.run(move |engine| engine.release_session(&queue, &id, token)).await;
        drop(session);
        released
    }

    /// How many messages a queue holds.
    ///
    /// # Errors
    /// An unknown queue.
    pub async fn counts(&self, queue: &str) -> Result<QueueCounts, BrokerError> {
        let queue = queue.to_owned();
        self.run(move |engine| engine.counts(&queue)).await
    }

    /// Lists a queue's dead letters in order, those after a sequence number (0 for all), without locking them.
    ///
    /// # Errors
    /// An unknown queue.
    pub async fn dead_letters(&self, queue: &str, after: i64, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        let queue = queue.to_owned();
        self.run(move |engine| engine.dead_letters(&queue, after, limit)).await
    }

    async fn poll<T: Send + 'static>(
        &self,
        wait: Duration,
        look: impl Fn(&mut Engine) -> Result<Found<T>, BrokerError> + Clone + Send + 'static,
    ) -> Result<Option<T>, BrokerError> {
        let deadline = self.0.clock.now().saturating_add(wait.try_into().unwrap_or(time::Duration::MAX));
        loop {
            let look = look.clone();
            let arrived = match self.run(look).await? {
                Found::Some(item) => return Ok(Some(item)),
                Found::Nothing(arrived) => arrived,
            };
            if self.0.clock.now() >= deadline {
                return Ok(None);
            }
            // An arrival since the look has left a permit, so none is missed.
            tokio::select! {
                () = arrived.notified() => {}
                () = self.0.clock.wait_until(deadline) => {}
            }
        }
    }
}

/// Wakes the engine when something is due: a lock's or a message's end, a scheduled message.
async fn keep_time(broker: Weak<Inner>, clock: Arc<dyn BrokerClock>, mut due: watch::Receiver<Option<Millis>>) {
    loop {
        let next = *due.borrow_and_update();
        match next {
            Some(at) => tokio::select! {
                changed = due.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                () = clock.wait_until(to_time(at)) => {}
            },
            None => {
                if due.changed().await.is_err() {
                    return;
                }
                continue;
            }
        }
        let Some(inner) = broker.upgrade() else { return };
        let ticked = inner.post(Engine::tick);
        drop(inner);
        if let Err(error) = ticked.await.unwrap_or(Err(BrokerError::Closed)) {
            // The file failed; what is due stays due. Trying at once would only spin.
            tracing::error!(error = &error as &dyn std::error::Error, "the broker could not do what is due");
            clock.wait_until(clock.now() + Duration::from_secs(1)).await;
        }
    }
}

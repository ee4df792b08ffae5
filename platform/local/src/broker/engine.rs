//! The thread that owns the broker's file, and what it does for each request.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

use rusqlite::Connection;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::queue::{Queue, Side};
use super::{
    BrokerClock, BrokerError, DEAD_LETTER_QUEUE, DeadLetter, Found, LockToken, Locked, NewMessage, QueueCounts,
    QueueSettings,
};

/// Milliseconds since 1970, UTC: the resolution of the engine.
pub(crate) type Millis = i64;

/// A moment in the engine's resolution.
pub(crate) fn to_millis(at: OffsetDateTime) -> Millis {
    (at.unix_timestamp_nanos() / 1_000_000) as Millis
}

/// The moment of some milliseconds; one after the year 9999 is the end of that.
pub(crate) fn to_time(at: Millis) -> OffsetDateTime {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000);
    time.unwrap_or(PrimitiveDateTime::MAX.assume_utc())
}

/// A request. It runs inside a transaction, and what it returns is called when that has ended.
pub(super) type Job = Box<dyn FnOnce(&mut Engine) -> (Ended, Answer) + Send>;
type Answer = Box<dyn FnOnce(Result<(), BrokerError>) + Send>;
/// The error of the store that ended a job, if one did.
type Ended = Option<BrokerError>;

/// Makes a job of some work and of what is to be done with its result.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&mut Engine) -> Result<T, BrokerError> + Send + 'static,
    answer: impl FnOnce(Result<T, BrokerError>) + Send + 'static,
) -> Job {
    Box::new(move |engine| {
        let result = work(engine);
        let ended = match &result {
            Err(error @ (BrokerError::Storage(_) | BrokerError::Corrupt(_))) => Some(error.clone()),
            _ => None,
        };
        (ended, Box::new(move |committed: Result<(), BrokerError>| answer(committed.and(result))))
    })
}

/// At most so many jobs share a commit, so that the first is not kept waiting.
const GROUP: usize = 256;

/// Runs jobs until nobody can send any more.
pub(super) fn serve(mut engine: Engine, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut answers = Vec::new();
        let outcome = engine.transaction(|engine| {
            let mut next = Some(first);
            while let Some(job) = next {
                let (ended, answer) = job(engine);
                answers.push(answer);
                if let Some(error) = ended {
                    return Err(error);
                }
                next = if answers.len() < GROUP { jobs.try_recv().ok() } else { None };
            }
            Ok(())
        });
        engine.tell_next_due();
        for answer in answers {
            answer(outcome.clone());
        }
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS queues (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL COLLATE NOCASE UNIQUE,
        settings TEXT NOT NULL,
        next_sequence INTEGER NOT NULL DEFAULT 1,
        next_dead_sequence INTEGER NOT NULL DEFAULT 1
    );
    -- Small rows: the count of deliveries is written often, the content never.
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY,
        queue INTEGER NOT NULL,
        dead INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        enqueued_sequence INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        session_id TEXT,
        deliveries INTEGER NOT NULL,
        enqueued_at INTEGER NOT NULL,
        due_at INTEGER,
        ttl INTEGER,
        expires_at INTEGER,
        dead_letter TEXT
    );
    CREATE TABLE IF NOT EXISTS contents (id INTEGER PRIMARY KEY, header TEXT NOT NULL, body BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS seen (
        queue INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        at INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (queue, message_id)
    ) WITHOUT ROWID;
";

/// The state of all queues. Each request first does what has become due in its queue.
pub(crate) struct Engine {
    db: Connection,
    clock: Arc<dyn BrokerClock>,
    queues: HashMap<String, Queue>,
    next_due: watch::Sender<Option<Millis>>,
    /// Set when memory may differ from the file: it is read again before anything else.
    stale: bool,
}

/// A session that was just accepted.
pub(super) struct Held {
    pub queue: Arc<str>,
    pub session_id: Arc<str>,
    pub token: Uuid,
    pub until: Millis,
    pub arrived: Arc<Notify>,
}

impl Engine {
    pub(super) fn open(
        path: &Path,
        clock: Arc<dyn BrokerClock>,
        next_due: watch::Sender<Option<Millis>>,
    ) -> Result<Engine, BrokerError> {
        let db = Connection::open(path)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        // A checkpoint syncs, and everybody waits for it: make it rarer than the default of 1,000 pages.
        db.pragma_update(None, "wal_autocheckpoint", 4000)?;
        db.set_prepared_statement_cache_capacity(64);
        db.execute_batch(SCHEMA)?;
        let mut engine = Engine { db, clock, queues: HashMap::new(), next_due, stale: true };
        engine.transaction(|_| Ok(()))?;
        engine.tell_next_due();
        Ok(engine)
    }

    /// Runs some work in a transaction. If it fails, file and memory are as before, except that all locks are void.
    fn transaction(&mut self, work: impl FnOnce(&mut Engine) -> Result<(), BrokerError>) -> Result<(), BrokerError> {
        self.db.execute_batch("BEGIN")?;
        let result = self.refresh().and_then(|()| work(self)).and_then(|()| {
            self.write_sequences()?;
            Ok(self.db.execute_batch("COMMIT")?)
        });
        if result.is_err() {
            self.stale = true;
            if !self.db.is_autocommit() {
                self.db.execute_batch("ROLLBACK")?;
            }
        }
        result
    }

    fn refresh(&mut self) -> Result<(), BrokerError> {
        if self.stale {
            let now = self.now();
            let mut queues = Queue::load_all(&self.db, now)?;
            for (key, old) in std::mem::take(&mut self.queues) {
                // Whoever waits at the old queue has to look at the new one.
                if let Some(queue) = queues.get_mut(&key) {
                    queue.take_waiters_of(old);
                }
            }
            self.queues = queues;
            self.stale = false;
        }
        Ok(())
    }

    fn write_sequences(&mut self) -> Result<(), BrokerError> {
        self.queues.values_mut().try_for_each(|queue| queue.write_sequences(&self.db))
    }

    fn tell_next_due(&self) {
        let due = self.queues.values().filter_map(Queue::next_due).min();
        self.next_due.send_if_modified(|next| std::mem::replace(next, due) != due);
    }

    /// The current time.
    pub(crate) fn now(&self) -> Millis {
        to_millis(self.clock.now())
    }

    /// The broker's file, inside the transaction of the current job.
    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    /// Does whatever has become due.
    pub(super) fn tick(&mut self) -> Result<(), BrokerError> {
        let now = self.now();
        self.queues.values_mut().try_for_each(|queue| queue.advance(&self.db, now))
    }

    fn at(&mut self, name: &str) -> Result<(&Connection, &mut Queue, Side, Millis), BrokerError> {
        let now = self.now();
        let mut key = name.to_ascii_lowercase();
        let mut side = Side::Live;
        if let Some((parent, last)) = key.rsplit_once('/')
            && last.eq_ignore_ascii_case(DEAD_LETTER_QUEUE)
        {
            key.truncate(parent.len());
            side = Side::Dead;
        }
        let queue = self.queues.get_mut(&key).ok_or_else(|| BrokerError::NoQueue(name.into()))?;
        queue.advance(&self.db, now)?;
        Ok((&self.db, queue, side, now))
    }

    pub(super) fn declare(&mut self, name: &str, settings: QueueSettings) -> Result<(), BrokerError> {
        let key = name.to_ascii_lowercase();
        if name.is_empty() || key.ends_with(&DEAD_LETTER_QUEUE.to_ascii_lowercase()) {
            return Err(BrokerError::Invalid(format!("{name:?} cannot be the name of a queue")));
        }
        match self.queues.get_mut(&key) {
            Some(queue) => queue.change(&self.db, settings),
            None => {
                self.queues.insert(key, Queue::create(&self.db, name, settings)?);
                Ok(())
            }
        }
    }

    /// Removes a queue with its messages; whether there was one.
    pub(super) fn remove(&mut self, name: &str) -> Result<bool, BrokerError> {
        let Some(queue) = self.queues.remove(&name.to_ascii_lowercase()) else { return Ok(false) };
        queue.destroy(&self.db)?;
        Ok(true)
    }

    /// The names of all queues.
    pub(super) fn names(&self) -> Vec<String> {
        self.queues.keys().cloned().collect()
    }

    /// Sends all messages or none.
    pub(crate) fn send(&mut self, queue: &str, messages: Vec<NewMessage>) -> Result<Vec<i64>, BrokerError> {
        let (db, at, side, now) = self.at(queue)?;
        if side == Side::Dead {
            return Err(BrokerError::DeadLetterQueue(queue.into()));
        }
        at.send(db, messages, now)
    }

    pub(super) fn receive(&mut self, queue: &str, delete: bool) -> Result<Found<Locked>, BrokerError> {
        let (db, at, side, now) = self.at(queue)?;
        let found = at.receive(db, side, now)?;
        if delete && let Found::Some(locked) = &found {
            at.complete(db, side, locked.lock.token)?;
        }
        Ok(found)
    }

    pub(super) fn accept_session(&mut self, queue: &str) -> Result<Found<Held>, BrokerError> {
        let (_, at, side, now) = self.at(queue)?;
        at.accept_session(side, now)
    }

    pub(super) fn receive_in_session(
        &mut self,
        queue: &str,
        session: &str,
        token: Uuid,
    ) -> Result<Option<Locked>, BrokerError> {
        let (db, at, _, _) = self.at(queue)?;
        at.receive_in_session(db, session, token)
    }

    pub(super) fn complete(&mut self, lock: &LockToken) -> Result<(), BrokerError> {
        let (db, at, side, _) = self.at(&lock.queue)?;
        at.complete(db, side, lock.token)
    }

    pub(super) fn abandon(&mut self, lock: &LockToken) -> Result<(), BrokerError> {
        let (db, at, side, now) = self.at(&lock.queue)?;
        at.abandon(db, side, lock.token, now)
    }

    pub(super) fn renew(&mut self, lock: &LockToken) -> Result<Millis, BrokerError> {
        let (_, at, side, now) = self.at(&lock.queue)?;
        at.renew(side, lock.token, now)
    }

    pub(super) fn renew_session(&mut self, queue: &str, session: &str, token: Uuid) -> Result<Millis, BrokerError> {
        let (_, at, _, now) = self.at(queue)?;
        at.renew_session(session, token, now)
    }

    pub(super) fn release_session(&mut self, queue: &str, session: &str, token: Uuid) -> Result<(), BrokerError> {
        let (db, at, _, now) = self.at(queue)?;
        at.release_session(db, session, token, now)
    }

    /// Finds the lock of a message by what a settling REST request names: message id or sequence number, and token.
    pub(super) fn find_lock(&mut self, queue: &str, message: &str, token: Uuid) -> Result<LockToken, BrokerError> {
        let (db, at, side, _) = self.at(queue)?;
        at.find_lock(db, side, message, token)
    }

    pub(super) fn counts(&mut self, queue: &str) -> Result<QueueCounts, BrokerError> {
        let (_, at, _, _) = self.at(queue)?;
        Ok(at.counts())
    }

    pub(super) fn dead_letters(
        &mut self,
        queue: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, BrokerError> {
        let (db, at, _, _) = self.at(queue)?;
        at.dead_letters(db, after, limit)
    }
}

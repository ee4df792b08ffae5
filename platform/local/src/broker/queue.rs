//! One queue and its dead-letter queue: which messages are ready, who holds what, and what becomes due when.
//!
//! The file is written first and memory after it, so that a failing statement leaves memory to be thrown away.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::Notify;
use uuid::Uuid;

use super::engine::{Held, Millis, to_millis, to_time};
use super::{
    BrokerError, DEAD_LETTER_QUEUE, DeadLetter, DeadLettered, Found, Header, LockToken, Locked, MAX_ID_CHARS,
    MAX_MESSAGE_BYTES, NewMessage, PropertyValue, QueueCounts, QueueSettings,
};

/// The queue itself, or its dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Live,
    Dead,
}

pub(super) struct Queue {
    id: i64,
    settings: QueueSettings,
    live: Lane,
    dead: Lane,
    scheduled: HashMap<i64, Scheduled>,
    seen: Seen,
}

/// The messages of one side that are there to be received, by sequence number.
struct Lane {
    name: Arc<str>,
    has_sessions: bool,
    next_sequence: i64,
    /// What the file says of `next_sequence`.
    written_sequence: i64,
    entries: BTreeMap<i64, Entry>,
    ready: BTreeSet<i64>,
    sessions: HashMap<Arc<str>, Session>,
    /// Sessions with something ready that nobody holds, by their first ready message.
    open: BTreeSet<(i64, Arc<str>)>,
    locks: HashMap<Uuid, i64>,
    timers: BTreeSet<(Millis, Timer)>,
    arrived: Arc<Notify>,
}

/// What becomes due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A message enters the queue.
    Scheduled(i64),
    /// A message's lock ends.
    Lock(i64),
    /// A session's lock ends.
    Session(Arc<str>),
    /// A message's life ends.
    Life(i64),
}

struct Entry {
    row: i64,
    session: Option<Arc<str>>,
    /// Deliveries so far; the present one is counted when it starts, so that a crash of the broker counts it.
    deliveries: u32,
    expires_at: Option<Millis>,
    lock: Option<Lock>,
}

struct Lock {
    token: Uuid,
    /// `None`: the session's lock covers it.
    until: Option<Millis>,
}

struct Scheduled {
    row: i64,
    due_at: Millis,
}

#[derive(Default)]
struct Session {
    ready: BTreeSet<i64>,
    locked: BTreeSet<i64>,
    holder: Option<Holder>,
}

struct Holder {
    token: Uuid,
    until: Millis,
    arrived: Arc<Notify>,
}

/// The message ids that duplicate detection remembers.
#[derive(Default)]
struct Seen {
    ids: HashMap<String, i64>,
    oldest: VecDeque<(Millis, String)>,
}

/// A message as its row says it.
struct Stored {
    row: i64,
    dead: bool,
    sequence: i64,
    enqueued_sequence: i64,
    message_id: String,
    session_id: Option<String>,
    deliveries: u32,
    enqueued_at: Millis,
    due_at: Option<Millis>,
    ttl: Option<Millis>,
    expires_at: Option<Millis>,
    dead_letter: Option<String>,
}

const STORED: &str = "id, dead, sequence, enqueued_sequence, message_id, session_id, deliveries, enqueued_at, due_at, \
                      ttl, expires_at, dead_letter";

impl Stored {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Stored> {
        Ok(Stored {
            row: row.get(0)?,
            dead: row.get(1)?,
            sequence: row.get(2)?,
            enqueued_sequence: row.get(3)?,
            message_id: row.get(4)?,
            session_id: row.get(5)?,
            deliveries: row.get(6)?,
            enqueued_at: row.get(7)?,
            due_at: row.get(8)?,
            ttl: row.get(9)?,
            expires_at: row.get(10)?,
            dead_letter: row.get(11)?,
        })
    }

    fn read(db: &Connection, row: i64) -> rusqlite::Result<Stored> {
        db.prepare_cached(&format!("SELECT {STORED} FROM messages WHERE id = ?1"))?.query_row([row], Stored::from_row)
    }
}

fn content(db: &Connection, row: i64) -> Result<(Header, Bytes), BrokerError> {
    let (header, body): (String, Vec<u8>) = db
        .prepare_cached("SELECT header, body FROM contents WHERE id = ?1")?
        .query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let header = serde_json::from_str(&header)
        .map_err(|error| BrokerError::Corrupt(format!("the header of a message: {error}")))?;
    Ok((header, Bytes::from(body)))
}

fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX / 4)
}

fn span(millis: Millis) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

impl Lane {
    fn new(name: Arc<str>, has_sessions: bool, next_sequence: i64) -> Lane {
        Lane {
            name,

            has_sessions,
            next_sequence,
            written_sequence: next_sequence,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            sessions: HashMap::new(),
            open: BTreeSet::new(),
            locks: HashMap::new(),
            timers: BTreeSet::new(),
            arrived: Arc::default(),
        }
    }

    fn next_sequence(&mut self) -> i64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    fn insert(&mut self, sequence: i64, entry: Entry) {
        if let Some(at) = entry.expires_at {
            self.timers.insert((at, Timer::Life(sequence)));
        }
        self.entries.insert(sequence, entry);
        self.make_ready(sequence);
    }

    /// Changes a session and keeps the index of open sessions true.
    fn with_session<T>(&mut self, id: &Arc<str>, change: impl FnOnce(&mut Session) -> T) -> T {
        let session = self.sessions.entry(id.clone()).or_default();
        let key = |session: &Session| match (&session.holder, session.ready.first()) {
            (None, Some(first)) => Some(*first),
            _ => None,
        };
        let before = key(session);
        let result = change(session);
        let after = key(session);
        if session.ready.is_empty() && session.locked.is_empty() && session.holder.is_none() {
            self.sessions.remove(id);
        }
        if before != after {
            if let Some(first) = before {
                self.open.remove(&(first, id.clone()));
            }
            if let Some(first) = after {
                self.open.insert((first, id.clone()));
                self.arrived.notify_one();
            }
        }
        result
    }

    fn session_of(&self, sequence: i64) -> Option<Arc<str>> {
        self.entries.get(&sequence).filter(|_| self.has_sessions)?.session.clone()
    }

    fn make_ready(&mut self, sequence: i64) {
        match self.session_of(sequence) {
            Some(id) => self.with_session(&id, |session| {
                session.locked.remove(&sequence);
                session.ready.insert(sequence);
                if let Some(holder) = &session.holder {
                    holder.arrived.notify_one();
                }
            }),
            None => {
                self.ready.insert(sequence);
                self.arrived.notify_one();
            }
        }
    }

    /// Locks a ready message. Under a session's lock `until` is `None`.
    fn lock(&mut self, sequence: i64, token: Uuid, until: Option<Millis>) {
        self.locks.insert(token, sequence);
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.lock = Some(Lock { token, until });
            entry.deliveries += 1;
        }
        if let Some(at) = until {
            self.timers.insert((at, Timer::Lock(sequence)));
        }
        match self.session_of(sequence) {
            Some(id) => self.with_session(&id, |session| {
                session.ready.remove(&sequence);
                session.locked.insert(sequence);
            }),
            None => {
                self.ready.remove(&sequence);
            }
        }
    }

    /// Ends a message's lock; the message is neither ready nor locked then.
    fn unlock(&mut self, sequence: i64) {
        let Some(lock) = self.entries.get_mut(&sequence).and_then(|entry| entry.lock.take()) else { return };
        self.locks.remove(&lock.token);
        if let Some(at) = lock.until {
            self.timers.remove(&(at, Timer::Lock(sequence)));
        }
        if let Some(id) = self.session_of(sequence) {
            self.with_session(&id, |session| session.locked.remove(&sequence));
        }
    }

    /// Takes a message out.
    fn remove(&mut self, sequence: i64) -> Option<Entry> {
        self.unlock(sequence);
        match self.session_of(sequence) {
            Some(id) => self.with_session(&id, |session| session.ready.remove(&sequence)),
            None => self.ready.remove(&sequence),
        };
        let entry = self.entries.remove(&sequence)?;
        if let Some(at) = entry.expires_at {
            self.timers.remove(&(at, Timer::Life(sequence)));
        }
        Some(entry)
    }

    /// Wakes the next receiver where there is more than one message or session to have.
    fn pass_on(&self) {
        if !self.ready.is_empty() || !self.open.is_empty() {
            self.arrived.notify_one();
        }
    }

    fn held(&self, session: &str, token: Uuid) -> Result<Arc<str>, BrokerError> {
        let (id, session) = self.sessions.get_key_value(session).ok_or(BrokerError::LockLost)?;
        match &session.holder {
            Some(holder) if holder.token == token => Ok(id.clone()),
            _ => Err(BrokerError::LockLost),
        }
    }

    /// Ends a session's lock and returns the messages that were locked under it.
    fn end_session(&mut self, id: &Arc<str>) -> Vec<i64> {
        let locked: Vec<i64> =
            self.sessions.get(id).map(|session| session.locked.iter().copied().collect()).unwrap_or_default();
        for sequence in &locked {
            self.unlock(*sequence);
        }
        if let Some(holder) = self.with_session(id, |session| session.holder.take()) {
            self.timers.remove(&(holder.until, Timer::Session(id.clone())));
            // Its receiver may be waiting, and has to learn that it lost the session.
            holder.arrived.notify_one();
        }
        locked
    }
}

impl Queue {
    fn new(id: i64, name: &str, settings: QueueSettings, next_sequence: i64, next_dead_sequence: i64) -> Queue {
        let dead = format!("{name}/{DEAD_LETTER_QUEUE}");
        Queue {
            id,
            live: Lane::new(name.into(), settings.requires_session, next_sequence),
            dead: Lane::new(dead.into(), false, next_dead_sequence),
            settings,
            scheduled: HashMap::new(),
            seen: Seen::default(),
        }
    }

    pub(super) fn create(db: &Connection, name: &str, settings: QueueSettings) -> Result<Queue, BrokerError> {
        db.prepare_cached("INSERT INTO queues (name, settings) VALUES (?1, ?2)")?
            .execute(params![name, to_json(&settings)?])?;
        Ok(Queue::new(db.last_insert_rowid(), name, settings, 1, 1))
    }

    pub(super) fn change(&mut self, db: &Connection, settings: QueueSettings) -> Result<(), BrokerError> {
        let fixed = |setting| BrokerError::FixedSetting { queue: self.live.name.to_string(), setting };
        if settings.requires_session != self.settings.requires_session {
            return Err(fixed("requiresSession"));
        }
        if settings.requires_duplicate_detection != self.settings.requires_duplicate_detection {
            return Err(fixed("requiresDuplicateDetection"));
        }
        if settings != self.settings {
            db.execute("UPDATE queues SET settings = ?2 WHERE id = ?1", params![self.id, to_json(&settings)?])?;
            self.settings = settings;
        }
        Ok(())
    }

    /// Reads all queues from the file. A message that was delivered and not settled has had that delivery.
    pub(super) fn load_all(db: &Connection, now: Millis) -> Result<HashMap<String, Queue>, BrokerError> {
        let mut queues = HashMap::new();
        let mut read = db.prepare("SELECT id, name, settings, next_sequence, next_dead_sequence FROM queues")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let (name, settings): (String, String) = (row.get(1)?, row.get(2)?);
            let settings = serde_json::from_str(&settings)
                .map_err(|error| BrokerError::Corrupt(format!("the settings of {name:?}: {error}")))?;
            let mut queue = Queue::new(row.get(0)?, &name, settings, row.get(3)?, row.get(4)?);
            queue.load(db, now)?;
            queues.insert(name.to_ascii_lowercase(), queue);
        }
        Ok(queues)
    }

    fn load(&mut self, db: &Connection, now: Millis) -> Result<(), BrokerError> {
        let mut worn_out = Vec::new();
        {
            let mut read = db.prepare(&format!("SELECT {STORED} FROM messages WHERE queue = ?1"))?;
            for stored in read.query_map([self.id], Stored::from_row)? {
                let stored = stored?;
                let (row, sequence) = (stored.row, stored.sequence);
                if let Some(due_at) = stored.due_at {
                    self.live.timers.insert((due_at, Timer::Scheduled(sequence)));
                    self.scheduled.insert(sequence, Scheduled { row, due_at });
                    continue;
                }
                if !stored.dead && stored.deliveries >= self.settings.max_delivery_count {
                    worn_out.push(sequence);
                }
                let lane = if stored.dead { &mut self.dead } else { &mut self.live };
                let entry = Entry {
                    row,
                    session: stored.session_id.map(Arc::from),
                    deliveries: stored.deliveries,
                    expires_at: stored.expires_at,
                    lock: None,
                };
                lane.insert(sequence, entry);
            }
        }
        worn_out.sort_unstable();
        for sequence in worn_out {
            self.dead_letter(db, sequence, self.worn_out(), now)?;
        }
        let mut read = db.prepare("SELECT at, message_id, sequence FROM seen WHERE queue = ?1 ORDER BY at")?;
        let mut rows = read.query([self.id])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(1)?;
            self.seen.oldest.push_back((row.get(0)?, id.clone()));
            self.seen.ids.insert(id, row.get(2)?);
        }
        Ok(())
    }

    /// Replaces a queue that was read from the file before this one.
    /// Removes what the file has of it.
    pub(super) fn destroy(self, db: &Connection) -> Result<(), BrokerError> {
        db.execute("DELETE FROM contents WHERE id IN (SELECT id FROM messages WHERE queue = ?1)", [self.id])?;
        for table in ["messages", "seen"] {
            db.execute(&format!("DELETE FROM {table} WHERE queue = ?1"), [self.id])?;
        }
        db.execute("DELETE FROM queues WHERE id = ?1", [self.id])?;
        Ok(())
    }

    pub(super) fn take_waiters_of(&mut self, old: Queue) {
        for (lane, old) in [(&mut self.live, old.live), (&mut self.dead, old.dead)] {
            lane.arrived = old.arrived;
            lane.pass_on();
            for holder in old.sessions.into_values().filter_map(|session| session.holder) {
                holder.arrived.notify_one();
            }
        }
    }

    pub(super) fn write_sequences(&mut self, db: &Connection) -> Result<(), BrokerError> {
        let (live, dead) = (self.live.next_sequence, self.dead.next_sequence);
        if (live, dead) != (self.live.written_sequence, self.dead.written_sequence) {
            db.prepare_cached("UPDATE queues SET next_sequence = ?2, next_dead_sequence = ?3 WHERE id = ?1")?
                .execute([self.id, live, dead])?;
            (self.live.written_sequence, self.dead.written_sequence) = (live, dead);
        }
        Ok(())
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        let first = |lane: &Lane| lane.timers.first().map(|(at, _)| *at);
        first(&self.live).into_iter().chain(first(&self.dead)).min()
    }

    fn lane(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Live => &mut self.live,
            Side::Dead => &mut self.dead,
        }
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, db: &Connection, now: Millis) -> Result<(), BrokerError> {
        for side in [Side::Live, Side::Dead] {
            while let Some((at, _)) = self.lane(side).timers.first()
                && *at <= now
            {
                let Some((_, timer)) = self.lane(side).timers.pop_first() else { break };
                match timer {
                    Timer::Scheduled(sequence) => self.activate(db, sequence)?,
                    Timer::Lock(sequence) => self.give_back(db, side, sequence, now)?,
                    Timer::Session(id) => {
                        for sequence in self.live.end_session(&id) {
                            self.settle_unlocked(db, side, sequence, now)?;
                        }
                    }
                    // While it is locked it stays; the end of the lock looks at its life.
                    Timer::Life(sequence) => {
                        if self.lane(side).entries.get(&sequence).is_some_and(|entry| entry.lock.is_none()) {
                            self.expire(db, sequence, now)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn activate(&mut self, db: &Connection, scheduled: i64) -> Result<(), BrokerError> {
        let Some(Scheduled { row, due_at }) = self.scheduled.remove(&scheduled) else { return Ok(()) };
        let stored = Stored::read(db, row)?;
        let sequence = self.live.next_sequence();
        let expires_at = stored.ttl.map(|ttl| due_at.saturating_add(ttl));
        db.prepare_cached(
            "UPDATE messages SET sequence = ?2, enqueued_at = ?3, due_at = NULL, expires_at = ?4 WHERE id = ?1",
        )?
        .execute(params![row, sequence, due_at, expires_at])?;
        let session = stored.session_id.map(Arc::from);
        self.live.insert(sequence, Entry { row, session, deliveries: 0, expires_at, lock: None });
        Ok(())
    }

    /// Ends a delivery that was not completed.
    fn give_back(&mut self, db: &Connection, side: Side, sequence: i64, now: Millis) -> Result<(), BrokerError> {
        self.lane(side).unlock(sequence);
        self.settle_unlocked(db, side, sequence, now)
    }

    /// Decides where a message goes that a receiver did not complete: back, to the dead-letter queue, or away.
    fn settle_unlocked(&mut self, db: &Connection, side: Side, sequence: i64, now: Millis) -> Result<(), BrokerError> {
        let max = self.settings.max_delivery_count;
        let lane = self.lane(side);
        let Some(entry) = lane.entries.get(&sequence) else { return Ok(()) };
        if side == Side::Live && entry.deliveries >= max {
            return self.dead_letter(db, sequence, self.worn_out(), now);
        }
        if entry.expires_at.is_some_and(|at| at <= now) {
            return self.expire(db, sequence, now);
        }
        lane.make_ready(sequence);
        Ok(())
    }

    fn worn_out(&self) -> DeadLettered {
        DeadLettered {
            reason: "MaxDeliveryCountExceeded".into(),
            description: format!(
                "Message could not be consumed after {} delivery attempts.",
                self.settings.max_delivery_count
            ),
        }
    }

    fn expire(&mut self, db: &Connection, sequence: i64, now: Millis) -> Result<(), BrokerError> {
        if self.settings.dead_letter_on_expiration {
            let why = DeadLettered {
                reason: "TTLExpiredException".into(),
                description: "The message expired and was dead lettered.".into(),
            };
            return self.dead_letter(db, sequence, why, now);
        }
        if let Some(entry) = self.live.entries.get(&sequence) {
            delete(db, entry.row)?;
            self.live.remove(sequence);
        }
        Ok(())
    }

    fn dead_letter(
        &mut self,
        db: &Connection,
        sequence: i64,
        why: DeadLettered,
        now: Millis,
    ) -> Result<(), BrokerError> {
        let Some(entry) = self.live.entries.get(&sequence) else { return Ok(()) };
        let row = entry.row;
        let new = self.dead.next_sequence();
        db.prepare_cached(
            "UPDATE messages SET dead = 1, sequence = ?2, enqueued_at = ?3, expires_at = NULL, dead_letter = ?4 \
             WHERE id = ?1",
        )?
        .execute(params![row, new, now, to_json(&why)?])?;
        if let Some(entry) = self.live.remove(sequence) {
            self.dead.insert(new, Entry { expires_at: None, lock: None, ..entry });
        }
        Ok(())
    }

    fn check(&self, message: &NewMessage, header: &str) -> Result<(), BrokerError> {
        for (name, id) in [("message id", &message.message_id), ("session id", &message.session_id)] {
            if let Some(id) = id
                && (id.is_empty() || id.chars().count() > MAX_ID_CHARS)
            {
                return Err(BrokerError::Invalid(format!("the {name} has to have 1 to {MAX_ID_CHARS} characters")));
            }
        }
        if self.settings.requires_session && message.session_id.is_none() {
            return Err(BrokerError::NoSessionId(self.live.name.to_string()));
        }
        for (name, value) in &message.header.properties {
            // Neither a header nor a row could carry it.
            if matches!(value, PropertyValue::Double(number) if !number.is_finite()) {
                return Err(BrokerError::Invalid(format!("the property {name:?} is no number")));
            }
        }
        if let (Some(session), Some(partition)) = (&message.session_id, &message.header.partition_key)
            && session != partition
        {
            return Err(BrokerError::Invalid("the partition key has to equal the session id".into()));
        }
        let bytes = message.body.len() + header.len();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(BrokerError::TooLarge(bytes));
        }
        Ok(())
    }

    pub(super) fn send(
        &mut self,
        db: &Connection,
        messages: Vec<NewMessage>,
        now: Millis,
    ) -> Result<Vec<i64>, BrokerError> {
        let mut checked = Vec::with_capacity(messages.len());
        for message in messages {
            let header = to_json(&message.header)?;
            self.check(&message, &header)?;
            checked.push((message, header));
        }
        self.forget(db, now)?;
        let mut sequences = Vec::with_capacity(checked.len());
        for (message, header) in checked {
            let message_id = message.message_id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
            if let Some(first) = self.seen.ids.get(&message_id) {
                sequences.push(*first);
                continue;
            }
            let sequence = self.live.next_sequence();
            let due_at = message.scheduled_enqueue_time.map(to_millis).filter(|at| *at > now);
            let ttl = message.time_to_live.into_iter().chain(self.settings.default_ttl).min().map(millis);
            let expires_at = ttl.filter(|_| due_at.is_none()).map(|ttl| now.saturating_add(ttl));
            db.prepare_cached("INSERT INTO contents (header, body) VALUES (?1, ?2)")?
                .execute(params![header, &message.body[..]])?;
            let row = db.last_insert_rowid();
            db.prepare_cached(
                "INSERT INTO messages (id, queue, dead, sequence, enqueued_sequence, message_id, session_id, \
                 deliveries, enqueued_at, due_at, ttl, expires_at) VALUES (?1, ?2, 0, ?3, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                row,
                self.id,
                sequence,
                message_id,
                message.session_id,
                now,
                due_at,
                ttl,
                expires_at
            ])?;
            if self.settings.requires_duplicate_detection {
                db.prepare_cached("INSERT INTO seen (queue, message_id, at, sequence) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![self.id, message_id, now, sequence])?;
                self.seen.oldest.push_back((now, message_id.clone()));
                self.seen.ids.insert(message_id, sequence);
            }
            match due_at {
                Some(due_at) => {
                    self.live.timers.insert((due_at, Timer::Scheduled(sequence)));
                    self.scheduled.insert(sequence, Scheduled { row, due_at });
                }
                None => {
                    let session = message.session_id.map(Arc::from);
                    self.live.insert(sequence, Entry { row, session, deliveries: 0, expires_at, lock: None });
                }
            }
            sequences.push(sequence);
        }
        Ok(sequences)
    }

    /// Forgets the message ids whose window has ended.
    fn forget(&mut self, db: &Connection, now: Millis) -> Result<(), BrokerError> {
        let window = millis(self.settings.duplicate_window);
        while let Some((at, _)) = self.seen.oldest.front()
            && now - at >= window
        {
            let Some((_, id)) = self.seen.oldest.pop_front() else { break };
            db.prepare_cached("DELETE FROM seen WHERE queue = ?1 AND message_id = ?2")?
                .execute(params![self.id, id])?;
            self.seen.ids.remove(&id);
        }
        Ok(())
    }

    /// Delivers a ready message.
    fn deliver(
        &mut self,
        db: &Connection,
        side: Side,
        sequence: i64,
        until: Millis,
        by_session: bool,
    ) -> Result<Locked, BrokerError> {
        let source = self.live.name.clone();
        let lane = self.lane(side);
        let Some(row) = lane.entries.get(&sequence).map(|entry| entry.row) else {
            return Err(BrokerError::Corrupt(format!("the message {sequence} is ready but not there")));
        };
        db.prepare_cached("UPDATE messages SET deliveries = deliveries + 1 WHERE id = ?1")?.execute([row])?;
        let stored = Stored::read(db, row)?;
        let (header, body) = content(db, row)?;
        let dead_letter = stored.dead_letter.as_deref().map(from_json).transpose()?;
        let token = Uuid::new_v4();
        lane.lock(sequence, token, (!by_session).then_some(until));
        lane.pass_on();
        Ok(Locked {
            lock: LockToken { queue: lane.name.clone(), token },
            sequence_number: sequence,
            enqueued_sequence_number: stored.enqueued_sequence,
            message_id: stored.message_id,
            session_id: stored.session_id,
            header,
            body,
            enqueued_at: to_time(stored.enqueued_at),
            delivery_count: stored.deliveries,
            locked_until: to_time(until),
            time_to_live: stored.ttl.map(span),
            expires_at: stored.expires_at.map(to_time),
            dead_letter_source: (side == Side::Dead).then(|| source.to_string()),
            dead_letter,
        })
    }

    pub(super) fn receive(&mut self, db: &Connection, side: Side, now: Millis) -> Result<Found<Locked>, BrokerError> {
        let until = now + millis(self.settings.lock_duration);
        let lane = self.lane(side);
        if lane.has_sessions {
            return Err(BrokerError::SessionRequired(lane.name.to_string()));
        }
        match lane.ready.first().copied() {
            Some(sequence) => Ok(Found::Some(self.deliver(db, side, sequence, until, false)?)),
            None => Ok(Found::Nothing(lane.arrived.clone())),
        }
    }

    pub(super) fn accept_session(&mut self, side: Side, now: Millis) -> Result<Found<Held>, BrokerError> {
        let until = now + millis(self.settings.lock_duration);
        let lane = self.lane(side);
        if !lane.has_sessions {
            return Err(BrokerError::NoSessions(lane.name.to_string()));
        }
        let Some((_, id)) = lane.open.first().cloned() else { return Ok(Found::Nothing(lane.arrived.clone())) };
        let (token, arrived) = (Uuid::new_v4(), Arc::new(Notify::new()));
        let holder = Holder { token, until, arrived: arrived.clone() };
        lane.with_session(&id, |session| session.holder = Some(holder));
        lane.timers.insert((until, Timer::Session(id.clone())));
        lane.pass_on();
        Ok(Found::Some(Held { queue: lane.name.clone(), session_id: id, token, until, arrived }))
    }

    pub(super) fn receive_in_session(
        &mut self,
        db: &Connection,
        session: &str,
        token: Uuid,
    ) -> Result<Option<Locked>, BrokerError> {
        let id = self.live.held(session, token)?;
        let Some(session) = self.live.sessions.get(&id) else { return Err(BrokerError::LockLost) };
        let Some(holder) = &session.holder else { return Err(BrokerError::LockLost) };
        let until = holder.until;
        match session.ready.first().copied() {
            Some(sequence) => self.deliver(db, Side::Live, sequence, until, true).map(Some),
            None => Ok(None),
        }
    }

    fn locked(&mut self, side: Side, token: Uuid) -> Result<i64, BrokerError> {
        self.lane(side).locks.get(&token).copied().ok_or(BrokerError::LockLost)
    }

    pub(super) fn complete(&mut self, db: &Connection, side: Side, token: Uuid) -> Result<(), BrokerError> {
        let sequence = self.locked(side, token)?;
        let lane = self.lane(side);
        if let Some(entry) = lane.entries.get(&sequence) {
            delete(db, entry.row)?;
            lane.remove(sequence);
        }
        Ok(())
    }

    pub(super) fn abandon(&mut self, db: &Connection, side: Side, token: Uuid, now: Millis) -> Result<(), BrokerError> {
        let sequence = self.locked(side, token)?;
        self.give_back(db, side, sequence, now)
    }

    pub(super) fn renew(&mut self, side: Side, token: Uuid, now: Millis) -> Result<Millis, BrokerError> {
        let renewed = now + millis(self.settings.lock_duration);
        let sequence = self.locked(side, token)?;
        let lane = self.lane(side);
        let lock = lane.entries.get_mut(&sequence).and_then(|entry| entry.lock.as_mut());
        let Some(Lock { until: Some(until), .. }) = lock else { return Err(BrokerError::HeldBySession) };
        let old = std::mem::replace(until, renewed);
        lane.timers.remove(&(old, Timer::Lock(sequence)));
        lane.timers.insert((renewed, Timer::Lock(sequence)));
        Ok(renewed)
    }

    pub(super) fn renew_session(&mut self, session: &str, token: Uuid, now: Millis) -> Result<Millis, BrokerError> {
        let renewed = now + millis(self.settings.lock_duration);
        let id = self.live.held(session, token)?;
        let holder = self.live.sessions.get_mut(&id).and_then(|session| session.holder.as_mut());
        let Some(holder) = holder else { return Err(BrokerError::LockLost) };
        let old = std::mem::replace(&mut holder.until, renewed);
        self.live.timers.remove(&(old, Timer::Session(id.clone())));
        self.live.timers.insert((renewed, Timer::Session(id)));
        Ok(renewed)
    }

    pub(super) fn release_session(
        &mut self,
        db: &Connection,
        session: &str,
        token: Uuid,
        now: Millis,
    ) -> Result<(), BrokerError> {
        let id = self.live.held(session, token)?;
        for sequence in self.live.end_session(&id) {
            // A receiver that closes had no delivery.
            if let Some(entry) = self.live.entries.get_mut(&sequence) {
                entry.deliveries = entry.deliveries.saturating_sub(1);
                db.prepare_cached("UPDATE messages SET deliveries = ?2 WHERE id = ?1")?
                    .execute(params![entry.row, entry.deliveries])?;
            }
            self.settle_unlocked(db, Side::Live, sequence, now)?;
        }
        Ok(())
    }

    pub(super) fn find_lock(
        &mut self,
        db: &Connection,
        side: Side,
        message: &str,
        token: Uuid,
    ) -> Result<LockToken, BrokerError> {
        let sequence = self.locked(side, token)?;
        let lane = self.lane(side);
        let entry = lane.entries.get(&sequence).ok_or(BrokerError::LockLost)?;
        if message.parse() != Ok(sequence) {
            let id: Option<String> = db
                .prepare_cached("SELECT message_id FROM messages WHERE id = ?1")?
                .query_row([entry.row], |row| row.get(0))
                .optional()?;
            if id.as_deref() != Some(message) {
                return Err(BrokerError::LockLost);
            }
        }
        Ok(LockToken { queue: lane.name.clone(), token })
    }

    pub(super) fn counts(&self) -> QueueCounts {
        QueueCounts {
            active: self.live.entries.len(),
            scheduled: self.scheduled.len(),
            dead_lettered: self.dead.entries.len(),
        }
    }

    pub(super) fn dead_letters(
        &self,
        db: &Connection,
        after: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, BrokerError> {
        let range = self.dead.entries.range(after.saturating_add(1)..).take(limit);
        range
            .map(|(sequence, entry)| {
                let stored = Stored::read(db, entry.row)?;
                let (header, body) = content(db, entry.row)?;
                let why = stored.dead_letter.as_deref().map(from_json).transpose()?;
                Ok(DeadLetter {
                    sequence_number: *sequence,
                    message_id: stored.message_id,
                    session_id: stored.session_id,
                    header,
                    body,
                    enqueued_at: to_time(stored.enqueued_at),
                    delivery_count: stored.deliveries,
                    dead_letter: why.ok_or_else(|| BrokerError::Corrupt("a dead letter without a reason".into()))?,
                })
            })
            .collect()
    }
}

fn delete(db: &Connection, row: i64) -> Result<(), BrokerError> {
    db.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([row])?;
    db.prepare_cached("DELETE FROM contents WHERE id = ?1")?.execute([row])?;
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<String, BrokerError> {
    serde_json::to_string(value).map_err(|error| BrokerError::Invalid(error.to_string()))
}

fn from_json(text: &str) -> Result<DeadLettered, BrokerError> {
    serde_json::from_str(text).map_err(|error| BrokerError::Corrupt(format!("a dead letter's reason: {error}")))
}

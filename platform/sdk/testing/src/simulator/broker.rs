//! Queues as a broker keeps them: sessions, locks, delivery counts, a dead-letter queue.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A message in a queue.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub number: u64,
    pub id: String,
    /// What is locked while the message is handled: its session, or the message alone.
    pub session: String,
    pub body: Bytes,
    pub traceparent: Option<String>,
    pub count: u32,
}

/// A message in somebody's hands.
#[derive(Debug, Clone)]
pub struct Received {
    /// The broker's message id.
    pub id: String,
    /// The body.
    pub body: Bytes,
    /// The sender's trace context.
    pub traceparent: Option<String>,
    /// How often it was delivered, from 1.
    pub count: u32,
    /// What settling has to show.
    pub lock: u64,
}

#[derive(Debug)]
struct Lock {
    session: String,
    message: u64,
    process: usize,
}

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Vec<Queued>,
    locks: BTreeMap<u64, Lock>,
    pub dead: Vec<Queued>,
    pub max_deliveries: u32,
    numbers: u64,
}

impl Queue {
    pub(crate) fn new(max_deliveries: u32) -> Self {
        Queue { max_deliveries, ..Queue::default() }
    }

    /// Without a session, the message is locked alone.
    pub(crate) fn push(&mut self, id: String, session: Option<String>, body: Bytes, traceparent: Option<String>) {
        self.numbers += 1;
        let session = session.unwrap_or_else(|| self.numbers.to_string());
        self.waiting.push(Queued { number: self.numbers, id, session, body, traceparent, count: 0 });
    }

    /// The first message of each session that nobody holds.
    pub(crate) fn available(&self) -> Vec<u64> {
        let mut sessions: Vec<&str> = self.locks.values().map(|lock| lock.session.as_str()).collect();
        let mut found = Vec::new();
        for message in &self.waiting {
            if !sessions.contains(&message.session.as_str()) {
                sessions.push(&message.session);
                found.push(message.number);
            }
        }
        found
    }

    pub(crate) fn has_available(&self) -> bool {
        let held = |message: &Queued| self.locks.values().any(|lock| lock.session == message.session);
        self.waiting.iter().any(|message| !held(message))
    }

    pub(crate) fn receive(&mut self, number: u64, lock: u64, process: usize) -> Option<Received> {
        let message = self.waiting.iter_mut().find(|message| message.number == number)?;
        message.count += 1;
        self.locks.insert(lock, Lock { session: message.session.clone(), message: number, process });
        Some(Received {
            id: message.id.clone(),
            body: message.body.clone(),
            traceparent: message.traceparent.clone(),
            count: message.count,
            lock,
        })
    }

    /// Takes the message out, if the lock still holds.
    pub(crate) fn complete(&mut self, lock: u64) -> Option<Queued> {
        let lock = self.locks.remove(&lock)?;
        let place = self.waiting.iter().position(|message| message.number == lock.message)?;
        Some(self.waiting.remove(place))
    }

    /// Gives the message back, or to the dead-letter queue once it was delivered too often.
    pub(crate) fn release(&mut self, lock: u64) -> bool {
        let Some(lock) = self.locks.remove(&lock) else { return false };
        let place = self.waiting.iter().position(|message| message.number == lock.message);
        if let Some(place) = place.filter(|place| self.waiting[*place].count >= self.max_deliveries) {
            let message = self.waiting.remove(place);
            self.dead.push(message);
        }
        true
    }

    pub(crate) fn locks_of(&self, process: usize) -> Vec<u64> {
        self.locks.iter().filter(|(_, lock)| lock.process == process).map(|(token, _)| *token).collect()
    }

    pub(crate) fn locks(&self) -> Vec<u64> {
        self.locks.keys().copied().collect()
    }

    pub(crate) fn left(&self) -> &[Queued] {
        &self.waiting
    }
}

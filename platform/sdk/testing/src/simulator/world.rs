//! The world behind the ports: tables, queues, topic, clock, and the scheduler that decides what happens next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use skein_core::personal::PERSONS_TABLE;
use skein_core::ports::{Message, TableError};
use skein_core::republish::SYSTEM_PREFIX;
use skein_core::store::EVENTS_TABLE;
use skein_core::table::{Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage};
use skein_core::{CommandId, Envelope, encode_key};

use super::broker::{Queue, Queued, Received};
use super::chance::Chance;
use super::plan::{Outage, Plan, Schedule};
use super::rows::Rows;
use super::tables::Unwritten;
use super::{Violation, text_of};

/// After so many deliveries a message is dead. Azure's hundred would only take longer.
const MAX_DELIVERIES: u32 = 20;
/// How long a lock outlives its holder.
const LOCK: Duration = Duration::from_secs(300);
/// How long a dead process stays away.
const RESTART: Duration = Duration::from_secs(1);
/// How long a delayed event stays on its way.
const DELAY: Duration = Duration::from_secs(90);
/// No run needs more steps.
const MAX_STEPS: usize = 30_000;
/// How far time may run ahead to a scheduled message while somebody has work to do.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A request of a process to the world. Each is a point at which the scheduler may do something else.
#[derive(Debug, Clone)]
pub enum Request {
    /// Reads a row.
    Get {
        /// The table.
        table: String,
        /// The partition.
        partition: String,
        /// The row key.
        key: String,
    },
    /// Reads a page.
    Query {
        /// The table.
        table: String,
        /// What is asked for.
        range: Range,
        /// The row key to go on from.
        from: Option<String>,
    },
    /// Reads a page over partitions.
    Sweep {
        /// The table.
        table: String,
        /// What is asked for.
        sweep: Sweep,
        /// Partition and row key to go on from.
        from: Option<(String, String)>,
    },
    /// Writes to one partition.
    Transact {
        /// The table.
        table: String,
        /// The partition.
        partition: String,
        /// The writes.
        operations: Vec<Operation>,
    },
    /// Sends to a queue.
    Send(Channel, Vec<Message>),
    /// Publishes to the topic.
    Publish(Vec<Bytes>),
    /// Waits for a message of a queue.
    Next(Channel),
    /// Settles a message.
    Complete(Channel, u64),
    /// Gives a message back.
    Abandon(Channel, u64),
    /// Waits.
    Sleep(Duration),
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The commands, with sessions.
    Commands,
    /// The events, without.
    Events,
    /// What makes views anew, without.
    Rebuild,
}

/// What comes back.
#[derive(Debug)]
pub enum Answer {
    /// A row, if it is there.
    Row(Option<StoredRow>),
    /// A page.
    Page(Page),
    /// A page over partitions.
    Swept(SweepPage),
    /// Written, with the new tags.
    Tags(Vec<Option<Etag>>),
    /// Nothing was written: a row is not as expected.
    Conflict,
    /// The request was understood and refused.
    Refused(TableError),
    /// There was no connection: nothing was sent.
    NotSent,
    /// The other side is away for the moment (503). Nothing was done, but nobody may rely on it.
    Busy,
    /// The other side has too much to do (429). Nothing was done, but nobody may rely on it.
    Throttled,
    /// The connection broke: nobody knows.
    Broken,
    /// A message.
    Message(Received),
    /// Done.
    Done,
}

/// An accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strike {
    /// The process dies before the request leaves it.
    Die,
    /// The process dies after the request was carried out, before it learns of it.
    DieAfter,
    /// The request is lost, and nobody knows.
    Lost,
    /// The request is carried out, and the answer is lost.
    AnswerLost,
    /// Nobody knows, and the request is carried out so many steps later.
    Late(u8),
    /// The other side refuses to be spoken to, once.
    Away,
    /// The other side has too much to do, once.
    Throttled,
    /// Only the first of several messages goes out.
    Partly,
    /// A page without rows that goes on.
    EmptyPage,
    /// A page of one row that goes on.
    SmallPage,
    /// An event is delivered and will be again.
    Doubled,
    /// An event stays on its way for a minute and a half, and later ones overtake it.
    Delayed,
    /// A lock is lost while its holder goes on: two workers have one message.
    LockLost,
    /// The tables are away for a while.
    StoreAway,
    /// The topic is away for a while.
    TopicAway,
    /// A process's clock jumps.
    ClockJump,
}

/// All kinds of accidents.
pub(crate) const STRIKES: [Strike; 18] = [
    Strike::Die,
    Strike::DieAfter,
    Strike::Lost,
    Strike::AnswerLost,
    Strike::Late(2),
    Strike::Late(6),
    Strike::Late(30),
    Strike::Away,
    Strike::Throttled,
    Strike::Partly,
    Strike::EmptyPage,
    Strike::SmallPage,
    Strike::Doubled,
    Strike::Delayed,
    Strike::LockLost,
    Strike::StoreAway,
    Strike::TopicAway,
    Strike::ClockJump,
];

/// Strikes that may come at any step, whatever it is.
pub(super) const WEATHER: [Strike; 4] = [Strike::LockLost, Strike::StoreAway, Strike::TopicAway, Strike::ClockJump];

impl Request {
    fn kind(&self) -> &'static str {
        match self {
            Request::Get { .. } => "get",
            Request::Query { .. } => "query",
            Request::Sweep { .. } => "sweep",
            Request::Transact { .. } => "transact",
            Request::Send(..) => "send",
            Request::Publish(_) => "publish",
            Request::Next(_) => "next",
            Request::Complete(..) => "complete",
            Request::Abandon(..) => "abandon",
            Request::Sleep(_) => "sleep",
        }
    }

    /// The accidents that can happen to it.
    fn strikes(&self) -> &'static [Strike] {
        use Strike::{AnswerLost, Away, Die, DieAfter, EmptyPage, Late, Lost, Partly, SmallPage, Throttled};
        match self {
            Request::Get { .. } => &[Die, Away, Throttled],
            Request::Query { .. } | Request::Sweep { .. } => &[Die, Away, Throttled, EmptyPage, SmallPage],
            Request::Transact { .. } => &[
                Die,
                DieAfter,
                Lost,
                AnswerLost,
                Away,
                Throttled,
                Late(1),
                Late(2),
                Late(3),
                Late(4),
                Late(6),
                Late(30),
            ],
            Request::Send(..) | Request::Publish(_) => &[Die, DieAfter, Lost, AnswerLost, Away, Throttled, Partly],
            Request::Next(_) => &[Die, DieAfter],
            Request::Complete(..) | Request::Abandon(..) => &[Die, DieAfter, Lost, AnswerLost],
            Request::Sleep(_) => &[Die],
        }
    }
}

struct Pending {
    number: u64,
    process: usize,
    task: usize,
    request: Request,
    waker: Waker,
}

enum Timer {
    Wake {
        number: u64,
        process: usize,
        waker: Waker,
    },
    Begin(usize),
    Upgrade(usize),
    Expire(Channel, u64),
    /// An event that was delayed goes on.
    Deliver(Bytes),
    /// The topic is there again.
    TopicBack,
    Arrive(Channel, Message),
}

struct LateWrite {
    due: usize,
    table: String,
    partition: String,
    operations: Vec<Operation>,
}

/// What the executor has to do after a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Went,
    Died(usize),
    Begin(usize),
    Upgrade(usize),
    Rest,
}

enum Action {
    Request(usize),
    Late(usize),
    Deliver(usize),
    Timer,
}

/// One transaction that the event store took.
#[derive(Debug)]
pub(crate) struct Applied {
    pub partition: String,
    pub operations: Vec<Operation>,
}

/// What a transaction made due: to be out before the command is settled.
#[derive(Debug, Clone)]
struct Due {
    partition: String,
    outcome: String,
    publications: Vec<Bytes>,
    messages: Vec<String>,
    /// A rejection's. It goes out with its own command, not with the aggregate's next one.
    signal: Option<Bytes>,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// It is queued.
    Accepted,
    Committed {
        version: u64,
        reply: String,
    },
    Rejected {
        version: u64,
        code: String,
    },
    /// Its key belongs to another command.
    Reused,
}

/// An answer to a client.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub client: usize,
    pub command: Option<CommandId>,
    pub partition: String,
    pub said: Said,
}

/// The folded state that a handler remembers of an aggregate, as JSON.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub partition: String,
    pub version: u64,
    pub state: String,
}

/// What happened, for the checks.
#[derive(Clone, Default)]
pub(crate) struct Journal {
    pub applied: Vec<Arc<Applied>>,
    /// The bodies of commands by message id.
    pub sent: BTreeMap<String, Vec<Bytes>>,
    pub published: HashSet<Bytes>,
    pub told: Vec<Told>,
    pub violations: Vec<Violation>,
    /// When each message was sent first.
    sent_at: HashMap<String, Duration>,
    /// The longest time from there to its outcome.
    pub longest_wait: Duration,
    /// What handlers remember after a command.
    pub remembered: Vec<Remembered>,
    committed: HashSet<Bytes>,
    due: Vec<Due>,
    pub persons: Persons,
}

/// What became of the persons' keys.
#[derive(Clone, Default)]
pub(crate) struct Persons {
    /// The name of the key that has a row, by partition.
    pub live: BTreeMap<String, String>,
    /// Every key that had a row.
    pub made: BTreeSet<String>,
    /// Keys whose row was deleted.
    pub gone: BTreeSet<String>,
    /// Keys that had a row when the erasure of their person was committed.
    pub doomed: BTreeSet<String>,
    /// By partition, how many erasures were committed, and how many keys were deleted.
    erasures: BTreeMap<String, (usize, usize)>,
    /// What says that somebody is erased, and which keys have to be gone by then.
    facts: HashMap<Bytes, Vec<String>>,
}

impl Journal {
    /// Takes down a transaction of the persons' table.
    fn apply_persons(&mut self, partition: &str, operations: &[Operation]) {
        for operation in operations.iter().filter(|operation| operation.key() == "K") {
            match operation {
                Operation::Insert(row) | Operation::Put(row) => {
                    let Some(skein_core::table::Value::String(name)) = row.properties.get("Name") else { continue };
                    if self.persons.gone.contains(name) {
                        self.violate("erased_data_is_unreadable", format!("the key {name} of {partition} came back"));
                    }
                    self.persons.made.insert(name.clone());
                    self.persons.live.insert(partition.to_owned(), name.clone());
                }
                Operation::Delete(..) => {
                    self.persons.gone.extend(self.persons.live.remove(partition));
                    let (erasures, deletions) = self.persons.erasures.entry(partition.to_owned()).or_default();
                    *deletions += 1;
                    if deletions > erasures {
                        let text = format!("{deletions} keys of {partition} were deleted by {erasures} erasures");
                        self.violate("other_data_stays_readable", text);
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn violate(&mut self, check: &'static str, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { check, what });
        }
    }

    /// Takes down a transaction of the event store.
    pub(crate) fn apply(&mut self, partition: &str, operations: &[Operation], now: Duration) {
        if partition.starts_with("K~") {
            return;
        }
        let mut due = Due {
            partition: partition.to_owned(),
            outcome: String::new(),
            publications: Vec::new(),
            messages: Vec::new(),
            signal: None,
        };
        for operation in operations {
            let (Operation::Insert(row) | Operation::Put(row)) = operation else { continue };
            if row.key.starts_with("C~") {
                due.outcome.clone_from(&row.key);
                if let Some(sent) = self.sent_at.get(&row.key[2..]) {
                    self.longest_wait = self.longest_wait.max(now.saturating_sub(*sent));
                }
                due.signal = text_of(&row.properties, "Signal").map(Bytes::from);
            } else if row.key.starts_with("E~") {
                if let Some(lines) = text_of(&row.properties, "Publications") {
                    due.publications.extend(lines.split('\n').map(|line| Bytes::copy_from_slice(line.as_bytes())));
                }
                let commands = text_of(&row.properties, "Commands")
                    .and_then(|json| serde_json::from_str::<Vec<serde_json::Value>>(&json).ok())
                    .map_or(0, |commands| commands.len());
                let command = text_of(&row.properties, "Meta")
                    .and_then(|json| serde_json::from_str::<serde_json::Value>(&json).ok())
                    .and_then(|meta| CommandId::new(meta["command"].as_str()?).ok());
                let erasures = text_of(&row.properties, "Erasures")
                    .and_then(|json| serde_json::from_str::<Vec<String>>(&json).ok())
                    .unwrap_or_default();
                for person in erasures.iter().map(|person| encode_key(person)) {
                    self.persons.erasures.entry(person.clone()).or_default().0 += 1;
                    if let Some(key) = self.persons.live.get(&person) {
                        self.persons.doomed.insert(key.clone());
                        for fact in &due.publications {
                            self.persons.facts.entry(fact.clone()).or_default().push(key.clone());
                        }
                    }
                }
                if let Some(command) = command {
                    due.messages.extend((0..commands).map(|n| encode_key(command.outgoing(n).as_str())));
                }
            }
        }
        self.committed.extend(due.publications.iter().chain(&due.signal).cloned());
        self.due.push(due);
        self.applied.push(Arc::new(Applied { partition: partition.to_owned(), operations: operations.to_vec() }));
    }

    pub(crate) fn publish(&mut self, event: &Bytes) {
        if !self.committed.contains(event) {
            let text = String::from_utf8_lossy(event).into_owned();
            self.violate("published_only_what_is_committed", format!("no commit holds these bytes: {text}"));
        }
        let keys = self.persons.facts.get(event).into_iter().flatten();
        let early: Vec<&String> = keys.filter(|key| !self.persons.gone.contains(*key)).collect();
        if !early.is_empty() {
            let text = format!("it was published that somebody is erased before the keys {early:?} were gone");
            self.violate("erased_data_is_unreadable", text);
        }
        self.published.insert(event.clone());
    }

    pub(crate) fn send(&mut self, message: &Message, now: Duration) {
        self.sent_at.entry(message.id.clone()).or_insert(now);
        let bodies = self.sent.entry(message.id.clone()).or_default();
        if !bodies.contains(&message.body) {
            bodies.push(message.body.clone());
        }
    }

    /// What is due and not out.
    pub(crate) fn unpublished(&self) -> Vec<String> {
        let events = self.due.iter().flat_map(|due| due.publications.iter().chain(&due.signal));
        let commands = self.due.iter().flat_map(|due| &due.messages);
        events
            .filter(|event| !self.published.contains(*event))
            .map(|event| String::from_utf8_lossy(event).into_owned())
            .chain(commands.filter(|id| !self.sent.contains_key(*id)).map(|id| format!("command {id}")))
            .collect()
    }

    fn settle(&mut self, rows: &Rows, id: &str, body: &[u8]) {
        // A system command has no outcome.
        let envelope = Envelope::from_json(body);
        if envelope.as_ref().is_ok_and(|envelope| envelope.name.starts_with(SYSTEM_PREFIX)) {
            return;
        }
        let Ok(envelope) = envelope else {
            self.violate("poison_is_dead_lettered", format!("{id} is no envelope and was settled"));
            return;
        };
        let (partition, outcome) = (envelope.aggregate.key(), format!("C~{}", encode_key(envelope.id.as_str())));
        let Some(row) = rows.get(EVENTS_TABLE, &partition, &outcome) else {
            self.violate("settled_only_when_out", format!("{id} was settled without an outcome"));
            return;
        };
        if row.str("Fingerprint") != Some(&envelope.fingerprint()) {
            self.violate("duplicates_agree", format!("{id} was settled with the outcome of another command"));
        }
        let mut missing = Vec::new();
        for due in self.due.iter().filter(|due| due.partition == partition) {
            let own = due.signal.iter().filter(|_| due.outcome == outcome);
            let events = due.publications.iter().chain(own).filter(|event| !self.published.contains(*event)).count();
            let commands = due.messages.iter().filter(|id| !self.sent.contains_key(*id)).count();
            if events + commands > 0 {
                missing.push(format!("{events} events and {commands} commands of {}", due.outcome));
            }
            if due.outcome == outcome {
                break;
            }
        }
        if !missing.is_empty() {
            self.violate("settled_only_when_out", format!("{id} was settled before {}", missing.join(", ")));
        }
    }
}

/// The world.
pub(crate) struct World {
    pub rows: Rows,
    pub commands: Queue,
    pub events: Queue,
    pub rebuild: Queue,
    pub journal: Journal,
    pub trace: Vec<String>,
    /// The accidents that could have happened, step by step: what an exhaustive run goes through.
    pub possible: Vec<(usize, &'static [Strike])>,
    pub steps: usize,
    pub struck: BTreeMap<&'static str, usize>,
    chance: Chance,
    schedule: Schedule,
    sessions: bool,
    traced: bool,
    hasher: DefaultHasher,
    line: String,
    now: Duration,
    skew: HashMap<usize, time::Duration>,
    pending: Vec<Pending>,
    answers: HashMap<u64, Answer>,
    timers: BTreeMap<(Duration, u64), Timer>,
    late: Vec<LateWrite>,
    deliveries: Vec<Bytes>,
    numbers: u64,
    /// How many commands were received.
    received: u64,
    store_away: Duration,
    topic_away: Duration,
    outage: Option<Outage>,
    /// At this time the last event was delivered for the first time.
    pub last_delivery: Duration,
    delivered: HashSet<Bytes>,
    /// Which processes run, clients first, then command workers, then viewers.
    pub clients: usize,
    pub workers: usize,
    /// The process and the task that are polled now.
    pub current: (usize, usize),
    /// Transactions of each task since it received its message, the most first.
    transactions: HashMap<usize, usize>,
    pub most_transactions: usize,
    pub names: Vec<String>,
}

impl World {
    pub(crate) fn new(plan: &Plan, rows: Rows) -> Self {
        let mut world = World {
            rows,
            commands: Queue::new(MAX_DELIVERIES),
            events: Queue::new(MAX_DELIVERIES),
            rebuild: Queue::new(MAX_DELIVERIES),
            journal: Journal::default(),
            trace: Vec::new(),
            possible: Vec::new(),
            steps: 0,
            struck: BTreeMap::new(),
            chance: Chance::new(plan.seed),
            schedule: plan.schedule.clone(),
            sessions: plan.sessions,
            traced: plan.traced,
            hasher: DefaultHasher::new(),
            line: String::new(),
            now: Duration::ZERO,
            skew: HashMap::new(),
            pending: Vec::new(),
            answers: HashMap::new(),
            timers: BTreeMap::new(),
            late: Vec::new(),
            deliveries: Vec::new(),
            numbers: 0,
            received: 0,
            store_away: Duration::ZERO,
            topic_away: Duration::ZERO,
            outage: plan.outage,
            last_delivery: Duration::ZERO,
            delivered: HashSet::new(),
            clients: 0,
            workers: 0,
            current: (0, 0),
            transactions: HashMap::new(),
            most_transactions: 0,
            names: Vec::new(),
        };
        if let Some(outage) = plan.outage {
            let number = world.number();
            world.timers.insert((outage.end(), number), Timer::TopicBack);
        }
        world
    }

    /// Whether the topic is away: it takes nothing and delivers nothing.
    fn is_topic_away(&self) -> bool {
        self.now < self.topic_away || self.outage.is_some_and(|outage| outage.holds(self.now))
    }

    /// A digest of all steps: two runs with the same one went the same way.
    pub(crate) fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    /// Whether a client's process asks.
    pub(crate) fn is_client(&self) -> bool {
        self.current.0 < self.clients
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.line.clear();
        let _ = self.line.write_fmt(text);
        self.note_line();
    }

    /// Writes down what the line holds.
    fn note_line(&mut self) {
        self.hasher.write_usize(self.steps);
        self.hasher.write_u128(self.now.as_nanos());
        self.hasher.write(self.line.as_bytes());
        if self.traced {
            self.trace.push(format!("{:>5} {:>9.3}s {}", self.steps, self.now.as_secs_f64(), self.line));
        }
    }

    /// Writes down what a task has to say. It is no step.
    pub(crate) fn remark(&mut self, text: std::fmt::Arguments<'_>) {
        if self.traced {
            let name = self.names.get(self.current.0).cloned().unwrap_or_default();
            self.trace.push(format!("{:>5} {:>9.3}s   {name}: {text}", self.steps, self.now.as_secs_f64()));
        }
    }

    pub(crate) fn clock(&self) -> time::OffsetDateTime {
        let skew = self.skew.get(&self.current.0).copied().unwrap_or_default();
        self.true_time() + skew
    }

    /// What a clock says that never jumps.
    pub(crate) fn true_time(&self) -> time::OffsetDateTime {
        time::macros::datetime!(2026-01-01 0:00 UTC) + self.now
    }

    /// How long the world has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now
    }

    pub(crate) fn at(&mut self, after: Duration, begin: usize) {
        let number = self.number();
        self.timers.insert((self.now + after, number), Timer::Begin(begin));
    }

    pub(crate) fn upgrade_at(&mut self, after: Duration, process: usize) {
        let number = self.number();
        self.timers.insert((self.now + after, number), Timer::Upgrade(process));
    }

    /// Takes a request; the answer comes when the scheduler likes.
    pub(crate) fn submit(&mut self, request: Request, waker: Waker) -> u64 {
        let number = self.number();
        let (process, task) = self.current;
        if let Request::Sleep(duration) = request {
            self.timers.insert((self.now + duration, number), Timer::Wake { number, process, waker });
        } else {
            self.pending.push(Pending { number, process, task, request, waker });
        }
        number
    }

    pub(crate) fn answer(&mut self, number: u64, waker: &Waker) -> Option<Answer> {
        let answer = self.answers.remove(&number);
        if answer.is_none() {
            for pending in &mut self.pending {
                if pending.number == number {
                    pending.waker.clone_from(waker);
                }
            }
            for timer in self.timers.values_mut() {
                if let Timer::Wake { number: waited, waker: old, .. } = timer
                    && *waited == number
                {
                    old.clone_from(waker);
                }
            }
        }
        answer
    }

    /// The process is gone, with all that it waited for. Its locks expire later.
    pub(crate) fn forget(&mut self, process: usize, again: bool) {
        let random = matches!(self.schedule, Schedule::Random { .. });
        let pending = std::mem::take(&mut self.pending);
        for one in pending {
            if one.process != process {
                self.pending.push(one);
            } else if let Request::Transact { table, partition, operations } = one.request
                && random
                && self.chance.one_in(2)
            {
                // It was on its way already.
                self.late.push(LateWrite { due: 0, table, partition, operations });
            }
        }
        self.timers.retain(|_, timer| !matches!(timer, Timer::Wake { process: waiting, .. } if *waiting == process));
        for channel in [Channel::Commands, Channel::Events, Channel::Rebuild] {
            for lock in self.queue(channel).locks_of(process) {
                let number = self.number();
                self.timers.insert((self.now + LOCK, number), Timer::Expire(channel, lock));
            }
        }
        if again {
            self.at(RESTART, process);
        }
    }

    pub(super) fn queue(&mut self, channel: Channel) -> &mut Queue {
        match channel {
            Channel::Commands => &mut self.commands,
            Channel::Events => &mut self.events,
            Channel::Rebuild => &mut self.rebuild,
        }
    }

    /// Puts a message into a queue, at its time.
    pub(crate) fn enqueue(&mut self, channel: Channel, message: &Message) {
        // The wire carries whole seconds.
        let due = message.not_before.map(|time| time.truncate_to_second() - self.true_time()).unwrap_or_default();
        if due.is_positive() {
            let number = self.number();
            let at = self.now + due.unsigned_abs();
            self.timers.insert((at, number), Timer::Arrive(channel, Message { not_before: None, ..message.clone() }));
            return;
        }
        let mut session = None;
        if channel == Channel::Commands {
            self.journal.send(message, self.now);
            session = self.sessions.then(|| message.session.clone());
        }
        self.queue(channel).push(message.id.clone(), session, message.body.clone(), message.traceparent.clone());
    }

    /// One step: something that is possible happens.
    pub(crate) fn step(&mut self) -> Effect {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.journal.violate("everything_ends", format!("there was no end after {MAX_STEPS} steps"));
            return Effect::Rest;
        }
        let Some(action) = self.choose() else { return Effect::Rest };
        match action {
            Action::Timer => self.fire(),
            Action::Late(place) => {
                let late = self.late.remove(place);
                let written = self.write(&late.table, &late.partition, &late.operations);
                let verdict = if written.is_ok() { "in time" } else { "too late" };
                self.note(format_args!("late transact {} {}: {verdict}", late.table, late.partition));
                Effect::Went
            }
            Action::Deliver(place) => {
                let strike = self.strike(&[Strike::Doubled, Strike::Delayed]);
                let event = self.deliveries.remove(place);
                if strike == Some(Strike::Delayed) {
                    let number = self.number();
                    self.note(format_args!("deliver {number} {}", shown(strike)));
                    self.timers.insert((self.now + DELAY, number), Timer::Deliver(event));
                    return Effect::Went;
                }
                if strike == Some(Strike::Doubled) {
                    self.deliveries.push(event.clone());
                }
                let number = self.numbers;
                self.note(format_args!("deliver {number} {}", shown(strike)));
                // What a gap's check asks for may come once more, long after.
                if self.delivered.insert(event.clone()) {
                    self.last_delivery = self.now;
                }
                let id = format!("delivery-{}", self.number());
                self.events.push(id, None, event, None);
                Effect::Went
            }
            Action::Request(place) => {
                let strike = self.strike(self.pending[place].request.strikes());
                let pending = self.pending.remove(place);
                self.carry_out(pending, strike)
            }
        }
    }

    fn is_possible(&self, pending: &Pending) -> bool {
        match pending.request {
            Request::Next(Channel::Commands) => self.commands.has_available(),
            Request::Next(Channel::Events) => self.events.has_available(),
            Request::Next(Channel::Rebuild) => self.rebuild.has_available(),
            _ => true,
        }
    }

    fn choose(&mut self) -> Option<Action> {
        if let Schedule::Script { switch, reversed, alternate, .. } = self.schedule {
            let second_first = switch.is_some_and(|step| self.steps >= step) != reversed;
            return self.next_of_script(second_first != (alternate && self.received % 2 == 1));
        }
        // Whether a queue holds something is the same for all who wait for it.
        let queues = [&self.commands, &self.events, &self.rebuild].map(Queue::has_available);
        let is_possible = |pending: &Pending| match pending.request {
            Request::Next(channel) => queues[channel as usize],
            _ => true,
        };
        let possible = self.pending.iter().filter(|pending| is_possible(pending)).count();
        let deliveries = if self.is_topic_away() { 0 } else { self.deliveries.len() };
        let all = possible + self.late.len() + deliveries;
        // Time may pass while there is work to do. Not up to a scheduled message that is far off, as one sent by a clock
        // that is ahead: nobody pauses for an hour. And up to none where it is measured how long work takes.
        let is_calm = matches!(&self.schedule, Schedule::Random { strikes, .. } if strikes.is_empty());
        let may_pass = self.timers.first_key_value().is_some_and(|((at, _), timer)| match timer {
            Timer::Arrive(..) => !is_calm && *at <= self.now + LONGEST_PAUSE,
            _ => true,
        });
        if all == 0 || (may_pass && self.chance.one_in(24)) {
            return (!self.timers.is_empty()).then_some(Action::Timer);
        }
        let mut n = self.chance.below(all);
        if n < possible {
            let mut places = (0..self.pending.len()).filter(|place| is_possible(&self.pending[*place]));
            return places.nth(n).map(Action::Request);
        }
        n -= possible;
        Some(if n < self.late.len() { Action::Late(n) } else { Action::Deliver(n - self.late.len()) })
    }

    fn next_of_script(&self, second_first: bool) -> Option<Action> {
        if let Some(place) = self.late.iter().position(|late| late.due <= self.steps) {
            return Some(Action::Late(place));
        }
        let second = self.clients + 1;
        let rank = |process: usize| if second_first && process == second { self.clients } else { process * 2 };
        let rank = |process: usize| if process < self.clients { (0, process) } else { (1, rank(process)) };
        let best = (0..self.pending.len())
            .filter(|n| self.is_possible(&self.pending[*n]))
            .min_by_key(|n| (rank(self.pending[*n].process), self.pending[*n].number));
        match best {
            Some(place) => Some(Action::Request(place)),
            None if !self.deliveries.is_empty() && !self.is_topic_away() => Some(Action::Deliver(0)),
            None if !self.late.is_empty() => Some(Action::Late(0)),
            None if !self.timers.is_empty() => Some(Action::Timer),
            None => None,
        }
    }

    /// Whether an accident happens at this step, and which.
    fn strike(&mut self, of: &'static [Strike]) -> Option<Strike> {
        let strike = match &mut self.schedule {
            Schedule::Script { strike, .. } => {
                self.possible.push((self.steps, of));
                let (_, strike) = strike.filter(|(step, _)| *step == self.steps)?;
                strike
            }
            Schedule::Random { strikes, budget, odds } => {
                if *budget == 0 || strikes.is_empty() || !self.chance.one_in(*odds) {
                    return None;
                }
                let strike = self.chance.of(strikes);
                if !of.contains(&strike) && !WEATHER.contains(&strike) {
                    return None;
                }
                *budget -= 1;
                strike
            }
        };
        let name: &'static str = strike.name();
        *self.struck.entry(name).or_default() += 1;
        let spells = [1, 1, 20, 20, 20, 120, 120, 600].map(Duration::from_secs);
        match strike {
            Strike::StoreAway => self.store_away = self.now + self.chance.of(&spells),
            Strike::TopicAway => {
                self.topic_away = self.now + self.chance.of(&spells);
                let number = self.number();
                self.timers.insert((self.topic_away, number), Timer::TopicBack);
            }
            Strike::ClockJump => {
                // A client's wait goes by its clock, so the jump is a server's.
                let servers = self.names.len() - self.clients;
                let process = self.clients + self.chance.below(servers);
                let jump = self.chance.of(&[-3_600, -2, 2, 3_600]);
                *self.skew.entry(process).or_default() += time::Duration::seconds(jump);
            }
            Strike::LockLost => {
                let commands = self.commands.locks();
                let events = self.events.locks();
                let all = commands.len() + events.len();
                if all > 0 {
                    let n = self.chance.below(all);
                    if n < commands.len() {
                        self.commands.release(commands[n]);
                    } else {
                        self.events.release(events[n - commands.len()]);
                    }
                }
            }
            _ => return Some(strike),
        }
        self.note(format_args!("{name}"));
        None
    }

    fn fire(&mut self) -> Effect {
        let Some(((time, _), timer)) = self.timers.pop_first() else { return Effect::Rest };
        self.now = self.now.max(time);
        match timer {
            Timer::Wake { number, process, waker } => {
                self.note(format_args!("wake {process}"));
                self.answers.insert(number, Answer::Done);
                waker.wake();
                Effect::Went
            }
            Timer::Begin(process) => {
                self.note(format_args!("begin {process}"));
                Effect::Begin(process)
            }
            Timer::Upgrade(process) => {
                self.note(format_args!("upgrade {process}"));
                Effect::Upgrade(process)
            }
            Timer::Deliver(event) => {
                self.note(format_args!("an event goes on"));
                self.deliveries.push(event);
                Effect::Went
            }
            Timer::TopicBack => {
                self.note(format_args!("the topic is back"));
                Effect::Went
            }
            Timer::Arrive(channel, message) => {
                self.note(format_args!("{} arrives", message.id));
                self.enqueue(channel, &message);
                Effect::Went
            }
            Timer::Expire(channel, lock) => {
                let held = self.queue(channel).release(lock);
                self.note(format_args!("lock {lock} expires {held}"));
                Effect::Went
            }
        }
    }

    fn write(
        &mut self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, Unwritten> {
        let tags = self.rows.transact(table, partition, operations)?;
        if table == EVENTS_TABLE {
            self.journal.apply(partition, operations, self.now);
        }
        if table == PERSONS_TABLE {
            self.journal.apply_persons(partition, operations);
        }
        Ok(tags)
    }

    fn carry_out(&mut self, pending: Pending, strike: Option<Strike>) -> Effect {
        let Pending { number, process, task, request, waker } = pending;
        let kind = request.kind();
        let died = matches!(strike, Some(Strike::Die | Strike::DieAfter));
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        let _ = write!(line, "{} {kind} ", self.names[process]);
        detail(&mut line, &request);
        line.push_str(": ");
        let answer =
            if strike == Some(Strike::Die) { Answer::Done } else { self.answer_to(process, task, request, strike) };
        let page = |rows: usize, more: bool| (rows, if more { "more" } else { "end" });
        let _ = match &answer {
            Answer::Row(row) => line.write_str(if row.is_some() { "found" } else { "absent" }),
            Answer::Page(Page { rows, next }) => {
                let (rows, more) = page(rows.len(), next.is_some());
                write!(line, "{rows} rows, {more}")
            }
            Answer::Swept(SweepPage { rows, next }) => {
                let (rows, more) = page(rows.len(), next.is_some());
                write!(line, "{rows} rows, {more}")
            }
            Answer::Tags(_) => line.write_str("written"),
            Answer::Message(message) => write!(line, "{} for the {}. time", message.id, message.count),
            Answer::Refused(_) => line.write_str("refused"),
            Answer::Done => line.write_str("done"),
            other => line.write_str(&format!("{other:?}").to_lowercase()),
        };
        line.push(' ');
        if let Some(strike) = strike {
            let _ = write!(line, "<< {strike:?}");
        }
        self.line = line;
        self.note_line();
        if died {
            return Effect::Died(process);
        }
        self.answers.insert(number, answer);
        waker.wake();
        Effect::Went
    }

    fn answer_to(&mut self, process: usize, task: usize, request: Request, strike: Option<Strike>) -> Answer {
        let store_away = self.now < self.store_away;
        match request {
            Request::Get { table, partition, key } => {
                if store_away || strike == Some(Strike::Away) {
                    return Answer::Busy;
                }
                if strike == Some(Strike::Throttled) {
                    return Answer::Throttled;
                }
                Answer::Row(self.rows.get(&table, &partition, &key))
            }
            Request::Query { table, range, from } => {
                if store_away || strike == Some(Strike::Away) {
                    return Answer::Busy;
                }
                if strike == Some(Strike::Throttled) {
                    return Answer::Throttled;
                }
                let most = match strike {
                    Some(Strike::EmptyPage) => 0,
                    Some(Strike::SmallPage) => 1,
                    _ => range.top as usize,
                };
                Answer::Page(self.rows.query(&table, &range, from.as_deref(), most))
            }
            Request::Sweep { table, sweep, from } => {
                if store_away || strike == Some(Strike::Away) {
                    return Answer::Busy;
                }
                if strike == Some(Strike::Throttled) {
                    return Answer::Throttled;
                }
                let most = match strike {
                    Some(Strike::EmptyPage) => 0,
                    Some(Strike::SmallPage) => 1,
                    _ => sweep.top as usize,
                };
                Answer::Swept(self.rows.sweep(&table, &sweep, from.as_ref(), most))
            }
            Request::Transact { table, partition, operations } => {
                if table == EVENTS_TABLE && process >= self.clients {
                    let count = self.transactions.entry(task).or_default();
                    *count += 1;
                    self.most_transactions = self.most_transactions.max(*count);
                }
                if store_away {
                    // Known not to have happened, or not known.
                    return if self.steps.is_multiple_of(2) { Answer::NotSent } else { Answer::Busy };
                }
                match strike {
                    Some(Strike::Away) => return Answer::NotSent,
                    Some(Strike::Throttled) => return Answer::Throttled,
                    Some(Strike::Lost) => return Answer::Broken,
                    Some(Strike::Late(steps)) => {
                        let due = self.steps + usize::from(steps);
                        self.late.push(LateWrite { due, table, partition, operations });
                        return Answer::Broken;
                    }
                    _ => {}
                }
                match self.write(&table, &partition, &operations) {
                    Ok(_) if strike == Some(Strike::AnswerLost) => Answer::Broken,
                    Ok(tags) => Answer::Tags(tags),
                    Err(Unwritten::Conflict) => Answer::Conflict,
                    Err(Unwritten::Refused(error)) => Answer::Refused(error),
                }
            }
            Request::Send(channel, messages) => {
                match strike {
                    Some(Strike::Away | Strike::Lost) => return Answer::Busy,
                    Some(Strike::Throttled) => return Answer::Throttled,
                    _ => {}
                }
                let out = if strike == Some(Strike::Partly) { messages.len() / 2 } else { messages.len() };
                for message in &messages[..out] {
                    self.enqueue(channel, message);
                }
                if matches!(strike, Some(Strike::Partly | Strike::AnswerLost)) { Answer::Broken } else { Answer::Done }
            }
            Request::Publish(events) => {
                if self.is_topic_away() {
                    return Answer::Busy;
                }
                match strike {
                    Some(Strike::Away | Strike::Lost) => return Answer::Busy,
                    Some(Strike::Throttled) => return Answer::Throttled,
                    _ => {}
                }
                let out = if strike == Some(Strike::Partly) { events.len() / 2 } else { events.len() };
                for event in &events[..out] {
                    self.journal.publish(event);
                    self.deliveries.push(event.clone());
                }
                if matches!(strike, Some(Strike::Partly | Strike::AnswerLost)) { Answer::Broken } else { Answer::Done }
            }
            Request::Next(channel) => {
                let available = self.queue(channel).available();
                let n = match self.schedule {
                    Schedule::Random { .. } => self.chance.below(available.len()),
                    Schedule::Script { .. } => 0,
                };
                let lock = self.number();
                self.transactions.insert(task, 0);
                self.received += u64::from(channel == Channel::Commands);
                self.queue(channel).receive(available[n], lock, process).map_or(Answer::Done, Answer::Message)
            }
            Request::Complete(channel, lock) => {
                if strike != Some(Strike::Lost)
                    && let Some(message) = self.queue(channel).complete(lock)
                    && channel == Channel::Commands
                {
                    self.journal.settle(&self.rows, &message.id, &message.body);
                }
                self.after_settling(channel, lock, strike)
            }
            Request::Abandon(channel, lock) => {
                if strike != Some(Strike::Lost) {
                    self.queue(channel).release(lock);
                }
                self.after_settling(channel, lock, strike)
            }
            Request::Sleep(_) => Answer::Done,
        }
    }

    /// A lock that could not be given back expires.
    fn after_settling(&mut self, channel: Channel, lock: u64, strike: Option<Strike>) -> Answer {
        if strike == Some(Strike::Lost) {
            let number = self.number();
            self.timers.insert((self.now + LOCK, number), Timer::Expire(channel, lock));
        }
        if matches!(strike, Some(Strike::Lost | Strike::AnswerLost)) { Answer::Broken } else { Answer::Done }
    }

    /// The dead letters of each queue.
    pub(crate) fn dead(&self) -> [(Channel, &[Queued]); 3] {
        [
            (Channel::Commands, &self.commands.dead),
            (Channel::Events, &self.events.dead),
            (Channel::Rebuild, &self.rebuild.dead),
        ]
    }

    /// Sessions that still hold messages: there are none at rest.
    pub(crate) fn left_over(&self) -> BTreeSet<String> {
        let commands = self.commands.left().iter().map(|message| message.id.clone());
        let others = self.events.left().iter().chain(self.rebuild.left()).map(|message| message.id.clone());
        commands.chain(others).collect()
    }
}

fn shown(strike: Option<Strike>) -> String {
    strike.map(|strike| format!("<< {strike:?}")).unwrap_or_default()
}

/// What a request is about.
fn detail(line: &mut String, request: &Request) {
    let mut words = |words: &[&str]| {
        for (n, word) in words.iter().enumerate() {
            if n > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    };
    // Writing into a text never fails.
    let _ = match request {
        Request::Get { table, partition, key } => return words(&[table, partition, key]),
        Request::Query { table, range, from } => {
            return words(&[table, &range.partition, &range.from, from.as_deref().unwrap_or("-")]);
        }
        Request::Sweep { table, sweep, from } => write!(line, "{table} {} to {} {from:?}", sweep.from, sweep.to),
        Request::Transact { table, partition, operations } => {
            words(&[table, partition]);
            for operation in operations {
                line.push_str(match operation {
                    Operation::Insert(_) => " +",
                    Operation::Put(_) => " !",
                    Operation::Replace(..) => " =",
                    Operation::Merge(..) => " ~",
                    Operation::Delete(..) => " -",
                    Operation::Require(_) => " ?",
                });
                line.push_str(operation.key());
            }
            return;
        }
        Request::Send(_, messages) => {
            for message in messages {
                line.push_str(&message.id);
                line.push(' ');
            }
            return;
        }
        Request::Publish(events) => write!(line, "{} events", events.len()),
        Request::Next(channel) => write!(line, "{channel:?}"),
        Request::Complete(channel, lock) | Request::Abandon(channel, lock) => write!(line, "{channel:?} {lock}"),
        Request::Sleep(duration) => write!(line, "{duration:?}"),
    };
}

impl Strike {
    /// The name of its kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Strike::Die => "died before a request",
            Strike::DieAfter => "died after a request",
            Strike::Lost => "request lost",
            Strike::AnswerLost => "answer lost",
            Strike::Late(_) => "applied late",
            Strike::Away => "away once",
            Strike::Throttled => "throttled once",
            Strike::Partly => "sent in part",
            Strike::EmptyPage => "empty page",
            Strike::SmallPage => "small page",
            Strike::Doubled => "delivered twice",
            Strike::Delayed => "delivered late",
            Strike::LockLost => "lock lost",
            Strike::StoreAway => "tables away",
            Strike::TopicAway => "topic away",
            Strike::ClockJump => "clock jumped",
        }
    }
}

//! The command handler: restores the aggregate, lets it decide, commits once, publishes, and only then lets the
//! message be settled.
//!
//! Calls, counted by tests: cold 1 query + 1 transaction; warm, or for a creating command, 0 + 1, rejections included;
//! a duplicate 1 read + 1 query; then one publish.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use serde_json::value::to_raw_value;
use time::OffsetDateTime;

use crate::aggregate::{Aggregate, Command, Context, Decision, DomainEvent, Handle, Outgoing, Rejection};
use crate::cloud_event::CloudEvent;
pub use crate::delivery::{Delivery, FAULTS_TABLE, RecordedFault, recorded_fault, wait_before_failing};
use crate::envelope::{Envelope, Trace};
use crate::fault::Fault;
use crate::id::{AggregateId, CommandId, Principal};
use crate::personal::KeyRing;
use crate::ports::{Clock, CommandQueue, EventBus, Message, TableStore, TransactError};
use crate::republish::{self, SYSTEM_PREFIX};
use crate::store::{
    Commit, CommitMeta, EventStore, Loaded, Outcome, OutcomeStatus, RejectionRecord, StoredEvent, Tip, corrupt,
};
use crate::table::{MAX_ROW_BYTES, MAX_TRANSACTION_BYTES, Operation, Row};

/// How often a command is decided again after a conflict before it goes back to the queue.
pub const MAX_CONFLICTS: u32 = 10;
/// A snapshot is taken after this many commits.
pub const SNAPSHOT_COMMITS: usize = 50;
/// A snapshot is taken after this many bytes of events.
pub const SNAPSHOT_BYTES: usize = 256 * 1024;
/// A snapshot larger than this is not taken: the tip has to stay within one row.
const MAX_SNAPSHOT_UNITS: usize = 480 * 1024;
/// How many folded states an instance remembers for each type of aggregate.
const CACHED_STATES: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();

/// What the command side needs of the world.
#[derive(Clone)]
pub struct Ports {
    /// The event store's shards.
    pub shards: Vec<Arc<dyn TableStore>>,
    /// The services' command queues.
    pub queue: Arc<dyn CommandQueue>,
    /// The topic.
    pub bus: Arc<dyn EventBus>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What became of a message. Whatever it is, the message may be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The command was decided and stored now.
    Decided {
        /// The command.
        command: CommandId,
        /// Committed or rejected.
        status: OutcomeStatus,
        /// The aggregate's version afterwards.
        version: u64,
    },
    /// The command had been decided before; what it published went out again if it was not known to be out.
    Duplicate {
        /// The command.
        command: CommandId,
        /// Committed or rejected.
        status: OutcomeStatus,
        /// The aggregate's version after it.
        version: u64,
    },
    /// Stored events were sent again.
    Republished {
        /// The system command.
        command: CommandId,
        /// How many.
        events: u64,
    },
}

/// The command handler of one service.
pub struct CommandHandler {
    engine: Engine,
    /// By category and type.
    executors: HashMap<(&'static str, &'static str), Registered>,
    slices: republish::Done,
    caches: HashMap<&'static str, Box<dyn std::any::Any + Send + Sync>>,
}

impl CommandHandler {
    /// A handler that knows no command yet.
    pub fn new(service: &str, ports: Ports) -> Self {
        CommandHandler {
            engine: Engine {
                service: service.to_owned(),
                store: EventStore::new(ports.shards),
                queue: ports.queue,
                bus: ports.bus,
                clock: ports.clock,
                persons: None,
            },
            executors: HashMap::new(),
            slices: republish::Done::default(),
            caches: HashMap::new(),
        }
    }

    /// Lets decisions erase persons.
    #[must_use]
    pub fn personal(mut self, keys: &KeyRing) -> Self {
        self.engine.persons = Some(keys.clone());
        self
    }

    /// Registers what `A` decides on.
    ///
    /// # Panics
    /// When two aggregates share a category, or two commands of one aggregate a type, or a type is a system command's.
    #[must_use]
    pub fn handle<A: Handle<C>, C: Command>(mut self) -> Self {
        assert!(!C::TYPE.starts_with(SYSTEM_PREFIX), "{} begins like a system command", C::TYPE);
        let cache = self.caches.entry(A::CATEGORY).or_insert_with(|| Box::new(Cache::<A>::default()));
        let cache: &Cache<A> = cache.downcast_ref().expect("one category belongs to one aggregate");
        let executor = Executor { cache: cache.clone(), command: PhantomData::<fn() -> C> };
        let registered = Registered { version: C::VERSION, executor: Box::new(executor) };
        let former = self.executors.insert((A::CATEGORY, C::TYPE), registered);
        assert!(former.is_none(), "{} is registered twice for {}", C::TYPE, A::CATEGORY);
        self
    }

    /// What the handler remembers of an aggregate: its folded state and version. For tests, which compare it with the
    /// fold of the stored events; deciding looks at the store's tags instead.
    pub fn remembered<A: Aggregate>(&self, id: &AggregateId) -> Option<(A, u64)> {
        let cache: &Cache<A> = self.caches.get(A::CATEGORY)?.downcast_ref()?;
        let cache = cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.peek(&id.key()).map(|loaded| (loaded.state.clone(), loaded.version()))
    }

    /// Handles one message of the command queue. After `Ok` the message may be settled; after `Err` it has to be
    /// delivered again (the wait that its delivery count asks for has passed already).
    ///
    /// # Errors
    /// What kept the command from being decided, stored or published. A domain's rejection is no error.
    pub async fn receive(&self, body: &[u8], delivery: &Delivery) -> Result<Receipt, Fault> {
        let engine = &self.engine;
        let faults = engine.store.first_shard();
        crate::delivery::run("commands", delivery, faults, &*engine.clock, |handled_before| async move {
            let envelope = Envelope::from_json(body).map_err(|error| Fault::permanent("MALFORMED_COMMAND", error))?;
            if envelope.name.starts_with(SYSTEM_PREFIX) {
                return republish::execute(engine, &self.slices, &envelope).await;
            }
            // Unknown types and versions may come from newer code that runs beside this one: they may pass.
            let registered =
                self.executors.get(&(envelope.aggregate.category(), envelope.name.as_str())).ok_or_else(|| {
                    let (name, id) = (&envelope.name, &envelope.aggregate);
                    Fault::transient("COMMAND_UNKNOWN", format!("no handler for command {name:?} of {id}"))
                })?;
            if envelope.version != registered.version {
                let (name, version) = (&envelope.name, envelope.version);
                let text = format!("command {name:?} has version {version}, this code knows {}", registered.version);
                return Err(Fault::transient("COMMAND_VERSION_UNKNOWN", text));
            }
            registered.executor.execute(engine, &envelope, handled_before).await
        })
        .await
    }
}

/// A command that the handler knows.
struct Registered {
    version: u32,
    executor: Box<dyn Execute>,
}

pub(crate) struct Engine {
    pub service: String,
    pub store: EventStore,
    pub queue: Arc<dyn CommandQueue>,
    pub bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    persons: Option<KeyRing>,
}

#[async_trait]
trait Execute: Send + Sync {
    async fn execute(&self, engine: &Engine, envelope: &Envelope, handled_before: bool) -> Result<Receipt, Fault>;
}

/// Folded states that are known to be published. A stale one costs a conflict, never a wrong decision.
struct Cache<A>(Arc<Mutex<LruCache<String, Loaded<A>>>>);

impl<A> Clone for Cache<A> {
    fn clone(&self) -> Self {
        Cache(Arc::clone(&self.0))
    }
}

impl<A> Default for Cache<A> {
    fn default() -> Self {
        Cache(Arc::new(Mutex::new(LruCache::new(CACHED_STATES))))
    }
}

impl<A> Cache<A> {
    fn take(&self, key: &str) -> Option<Loaded<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(key)
    }

    fn put(&self, key: String, loaded: Loaded<A>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, loaded);
    }
}

struct Executor<A, C> {
    cache: Cache<A>,
    command: PhantomData<fn() -> C>,
}

/// A decision, turned into the rows to write and what to publish afterwards.
struct Plan<A> {
    operations: Vec<Operation>,
    outcome: Outcome,
    signal: Option<Bytes>,
    after: Loaded<A>,
}

#[async_trait]
impl<A: Handle<C>, C: Command> Execute for Executor<A, C> {
    async fn execute(&self, engine: &Engine, envelope: &Envelope, handled_before: bool) -> Result<Receipt, Fault> {
        let (id, key) = (&envelope.aggregate, envelope.aggregate.key());
        let command: C = serde_json::from_str(envelope.payload.get()).map_err(|error| {
            Fault::permanent("MALFORMED_COMMAND", format!("the payload of {} {}: {error}", envelope.name, envelope.id))
        })?;
        let fingerprint = envelope.fingerprint();
        // After a redelivery, and after an attempt whose fate is unknown, the outcome is read first.
        let mut check_outcome = handled_before;
        let mut current = self.cache.take(&key).filter(|_| !handled_before);
        if current.is_none() && C::CREATES && !handled_before {
            current = Some(Loaded::absent());
        }
        for conflict in 0..=MAX_CONFLICTS {
            if check_outcome && let Some(known) = engine.store.outcome_and_signal(id, &envelope.id).await? {
                return self.duplicate(engine, envelope, &fingerprint, known).await;
            }
            let before = match current.take() {
                Some(loaded) => loaded,
                None => engine.store.load::<A>(id).await?,
            };
            let now = engine.clock.now();
            let plan = plan(engine, envelope, &fingerprint, &before, &command, now)?;
            let error = match engine.store.transact(&key, &plan.operations).await {
                Ok(tags) => return self.settle(engine, envelope, plan, &tags).await,
                Err(error) => error,
            };
            match &error {
                TransactError::Refused(refused) => return Err(refused.clone().into()),
                TransactError::Unknown(_) if conflict == MAX_CONFLICTS => return Err(error.into()),
                TransactError::Unknown(reason) => {
                    tracing::warn!(command = %envelope.id, reason, "the fate of a commit is unknown: reading it");
                }
                TransactError::Conflict(_) => {}
            }
            if let Some(known) = engine.store.outcome_and_signal(id, &envelope.id).await? {
                return self.duplicate(engine, envelope, &fingerprint, known).await;
            }
            check_outcome = matches!(error, TransactError::Unknown(_));
            let reread = engine.store.load::<A>(id).await?;
            // Somebody else's commit raised the version, somebody else's rejection changed the tag. If neither did, a
            // commit may stand where the tip says that there is none.
            let conflicted = matches!(error, TransactError::Conflict(_));
            let first = before.version() + 1;
            if reread.version() < before.version()
                || (conflicted && reread.etag() == before.etag() && engine.store.has_commit(&key, first).await?)
            {
                // Our own earlier attempt may have been applied between the two reads.
                if let Some(known) = engine.store.outcome_and_signal(id, &envelope.id).await? {
                    return self.duplicate(engine, envelope, &fingerprint, known).await;
                }
                return Err(corrupt(&key, "E!", format_args!("the tip is below version {first}, which is taken")));
            }
            current = Some(reread);
            if conflict > 0 {
                engine.clock.sleep(Duration::from_millis(5 << conflict.min(6))).await;
            }
        }
        Err(Fault::transient(
            "CONFLICT",
            format!("{id} changed {MAX_CONFLICTS} times while {} was decided", envelope.id),
        ))
    }
}

impl<A: Handle<C>, C: Command> Executor<A, C> {
    /// After a successful commit: send and publish, remember the state, and only then let the message be settled.
    async fn settle(
        &self,
        engine: &Engine,
        envelope: &Envelope,
        plan: Plan<A>,
        tags: &[Option<crate::table::Etag>],
    ) -> Result<Receipt, Fault> {
        let Plan { outcome, signal, mut after, .. } = plan;
        engine.publish(&after.unpublished, signal.as_ref()).await?;
        // Operation 1 is the tip. Without its tag the next command loads cold, which costs a query and nothing else.
        if let (Some(tip), Some(Some(etag))) = (after.tip.as_mut(), tags.get(1)) {
            tip.etag = etag.clone();
            tip.published = tip.version;
            after.unpublished.clear();
            self.cache.put(envelope.aggregate.key(), after);
        }
        Ok(Receipt::Decided { command: envelope.id.clone(), status: outcome.status, version: outcome.version })
    }

    /// The command was decided before. Its events may not be out: they, and all older ones above the mark, go out
    /// again, with the same bytes.
    async fn duplicate(
        &self,
        engine: &Engine,
        envelope: &Envelope,
        fingerprint: &str,
        (outcome, signal): (Outcome, Option<Bytes>),
    ) -> Result<Receipt, Fault> {
        if outcome.fingerprint != fingerprint {
            let text = format!("the command id {} of {} belongs to another command", envelope.id, envelope.aggregate);
            return Err(Fault::permanent("COMMAND_ID_REUSED", text));
        }
        let mut loaded = engine.store.load::<A>(&envelope.aggregate).await?;
        engine.publish(&loaded.unpublished, signal.as_ref()).await?;
        if let Some(tip) = loaded.tip.as_mut() {
            tip.published = tip.version;
            loaded.unpublished.clear();
            self.cache.put(envelope.aggregate.key(), loaded);
        }
        Ok(Receipt::Duplicate { command: envelope.id.clone(), status: outcome.status, version: outcome.version })
    }
}

impl Engine {
    /// Does what the commits ask for, oldest first: erases, sends the commands, publishes the events, then the failure
    /// signal. The fact that somebody was erased is published once it is one.
    async fn publish(&self, commits: &[Commit], signal: Option<&Bytes>) -> Result<(), Fault> {
        for commit in commits {
            for person in &commit.erasures {
                self.persons()?.erase(person, &commit.meta.command).await?;
            }
        }
        let mut messages: Vec<(String, Vec<Message>)> = Vec::new();
        for commit in commits {
            for (n, outgoing) in commit.commands.iter().enumerate() {
                let service = outgoing.service.as_deref().unwrap_or(&self.service);
                let message = self.outgoing(commit, n, outgoing)?;
                match messages.iter_mut().find(|(name, _)| name == service) {
                    Some((_, list)) => list.push(message),
                    None => messages.push((service.to_owned(), vec![message])),
                }
            }
        }
        for (service, list) in &messages {
            self.queue.send(service, list).await?;
        }
        let mut events: Vec<Bytes> = commits.iter().flat_map(|commit| commit.publications.iter().cloned()).collect();
        events.extend(signal.cloned());
        if !events.is_empty() {
            self.bus.publish(&events).await?;
        }
        Ok(())
    }

    /// Erases what stored commits ask for, before their events go out again: it may not have been done yet, and is done
    /// once, however often.
    pub(crate) async fn erase(&self, erasures: &[(String, CommandId)]) -> Result<(), Fault> {
        for (person, command) in erasures {
            self.persons()?.erase(person, command).await?;
        }
        Ok(())
    }

    fn persons(&self) -> Result<&KeyRing, Fault> {
        self.persons.as_ref().ok_or_else(|| {
            let text = "this app has no table of persons: set SKEIN_PERSONS and SKEIN_PERSONAL_KEY, and deliver again";
            Fault::transient("NO_PERSONS", text)
        })
    }

    /// The `n`th command of a commit, the same at every delivery.
    fn outgoing(&self, commit: &Commit, n: usize, outgoing: &Outgoing) -> Result<Message, Fault> {
        let trace = Trace {
            correlation_id: commit.meta.trace.correlation_id.clone(),
            causation_id: Some(commit.meta.command.as_str().to_owned()),
            traceparent: commit.meta.trace.traceparent.clone(),
        };
        let principal = Principal::service(&self.service);
        Envelope::of_outgoing(outgoing, commit.meta.command.outgoing(n), principal, trace, commit.meta.time)
            .to_message()
            .map_err(|error| Fault::permanent("COMMAND_TOO_LARGE", error))
    }
}

/// Decides and lays out the transaction, without any I/O: what is too large is refused here.
fn plan<A: Handle<C>, C: Command>(
    engine: &Engine,
    envelope: &Envelope,
    fingerprint: &str,
    before: &Loaded<A>,
    command: &C,
    now: OffsetDateTime,
) -> Result<Plan<A>, Fault> {
    let id = &envelope.aggregate;
    let context = Context {
        aggregate: id.clone(),
        command: envelope.id.clone(),
        now,
        principal: envelope.principal.clone(),
        correlation: envelope.trace.correlation_id.clone(),
        causation: envelope.trace.causation_id.clone(),
    };
    let mut outcome = Outcome {
        status: OutcomeStatus::Committed,
        version: before.version(),
        first: None,
        reply: None,
        rejection: None,
        fingerprint: fingerprint.to_owned(),
        submitter: envelope.principal.subject.clone(),
        time: now,
    };
    let mut after = before.clone();
    let mut tip = before.tip.clone().unwrap_or_else(|| Tip {
        version: 0,
        sequence: 0,
        published: 0,
        epoch: 0,
        snapshot_version: 0,
        snapshot_schema: 0,
        erased: false,
        etag: crate::table::Etag(String::new()),
    });
    // What is known to be out: everything below the oldest commit that is not.
    tip.published = before.unpublished.first().map_or(tip.version, |oldest| oldest.first - 1);
    let mut commit_row = None;
    let mut signal = None;
    let mut snapshot = None;
    match before.state.decide(command, &context) {
        Err(rejection) => {
            outcome.status = OutcomeStatus::Rejected;
            outcome.rejection =
                Some(RejectionRecord { code: rejection.code().to_owned(), message: rejection.to_string() });
            signal = Some(failure_signal(engine, envelope, &tip, &rejection, now)?);
        }
        Ok(decision) => {
            let Decision { events, reply, commands, erasures } = decision;
            outcome.reply = Some(to_raw_value(&reply).map_err(|error| encoding(&envelope.id, "reply", error))?);
            if events.is_empty() && !(commands.is_empty() && erasures.is_empty()) {
                let what = "sends commands or erases without an event to store that with";
                return Err(Fault::permanent("DECISION_WITHOUT_EVENT", format!("{} of {id} {what}", envelope.id)));
            }
            if !erasures.is_empty() {
                engine.persons()?;
            }
            if !events.is_empty() {
                let mut commit = commit(engine, envelope, &mut after.state, &mut tip, &events, commands, now)?;
                commit.erasures = erasures;
                outcome.first = Some(commit.first);
                outcome.version = tip.version;
                after.commits_since_snapshot += 1;
                after.bytes_since_snapshot += commit.event_bytes;
                if after.commits_since_snapshot >= SNAPSHOT_COMMITS || after.bytes_since_snapshot >= SNAPSHOT_BYTES {
                    snapshot = take_snapshot(&after.state, &mut tip)?;
                }
                if snapshot.is_some() {
                    (after.commits_since_snapshot, after.bytes_since_snapshot) = (0, 0);
                }
                commit_row = Some(commit.row().map_err(|error| encoding(&envelope.id, "commit", error))?);
                after.unpublished.push(commit);
            }
        }
    }
    let outcome_row =
        outcome.row(&envelope.id, signal.as_ref()).map_err(|error| encoding(&envelope.id, "outcome", error))?;
    let tip_write = match (&before.tip, snapshot) {
        (None, None) => Operation::Insert(tip.row()),
        (None, Some(snapshot)) => Operation::Insert(tip.row_with_snapshot(&snapshot)),
        // A merge leaves the snapshot as it stands.
        (Some(old), None) => Operation::Merge(tip.row(), old.etag.clone()),
        (Some(old), Some(snapshot)) => Operation::Replace(tip.row_with_snapshot(&snapshot), old.etag.clone()),
    };
    let mut operations = vec![Operation::Insert(outcome_row), tip_write];
    operations.extend(commit_row.map(Operation::Insert));
    check_sizes(id, &envelope.id, &operations)?;
    after.tip = Some(tip);
    Ok(Plan { operations, outcome, signal, after })
}

/// Folds the events, one by one, and writes down what each shows to the world.
fn commit<A: Aggregate>(
    engine: &Engine,
    envelope: &Envelope,
    state: &mut A,
    tip: &mut Tip,
    events: &[A::Event],
    commands: Vec<Outgoing>,
    now: OffsetDateTime,
) -> Result<Commit, Fault> {
    let mut stored = Vec::with_capacity(events.len());
    let mut publications = Vec::new();
    for event in events {
        let payload = event.encode().map_err(|error| encoding(&envelope.id, event.name(), error))?;
        stored.push(StoredEvent { name: event.name().to_owned(), version: event.version(), payload });
        state.evolve(event);
        if let Some(publication) = state.publish(event) {
            tip.sequence += 1;
            let event = CloudEvent {
                specversion: "1.0".to_owned(),
                id: envelope.id.event_id(publications.len()),
                source: format!("/services/{}", engine.service),
                kind: publication.name,
                subject: envelope.aggregate.clone(),
                time: now,
                datacontenttype: "application/json".to_owned(),
                sequence: Some(CloudEvent::format_sequence(tip.sequence)),
                epoch: tip.epoch,
                correlation: envelope.trace.correlation_id.clone(),
                causation: envelope.id.as_str().to_owned(),
                traceparent: envelope.trace.traceparent.clone(),
                data: publication.data,
            };
            publications.push(event.to_json().map_err(|error| Fault::permanent("EVENT_TOO_LARGE", error))?);
        }
    }
    let first = tip.version + 1;
    tip.version += events.len() as u64;
    let event_bytes = stored.iter().map(|event| event.payload.get().len() + event.name.len() + 20).sum();
    Ok(Commit {
        first,
        last: tip.version,
        meta: CommitMeta {
            command: envelope.id.clone(),
            name: envelope.name.clone(),
            submitter: envelope.principal.subject.clone(),
            time: now,
            trace: envelope.trace.clone(),
        },
        events: stored,
        publications,
        commands,
        erasures: Vec::new(),
        event_bytes,
    })
}

/// The state as a snapshot, if it fits.
fn take_snapshot<A: Aggregate>(state: &A, tip: &mut Tip) -> Result<Option<String>, Fault> {
    let json = serde_json::to_string(state).map_err(|error| Fault::permanent("SNAPSHOT_ENCODING", error))?;
    if json.encode_utf16().count() > MAX_SNAPSHOT_UNITS {
        return Ok(None);
    }
    (tip.snapshot_version, tip.snapshot_schema) = (tip.version, A::SNAPSHOT_SCHEMA);
    Ok(Some(json))
}

/// What is published of a rejection. It has no sequence: it is no fact about the aggregate.
fn failure_signal(
    engine: &Engine,
    envelope: &Envelope,
    tip: &Tip,
    rejection: &impl Rejection,
    now: OffsetDateTime,
) -> Result<Bytes, Fault> {
    let data = serde_json::json!({
        "commandId": envelope.id,
        "type": envelope.name,
        "submitter": envelope.principal.subject,
        "code": rejection.code(),
        "message": rejection.to_string(),
    });
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!("{}:rejected", envelope.id),
        source: format!("/services/{}", engine.service),
        kind: "skein.CommandRejected.v1".to_owned(),
        subject: envelope.aggregate.clone(),
        time: now,
        datacontenttype: "application/json".to_owned(),
        sequence: None,
        epoch: tip.epoch,
        correlation: envelope.trace.correlation_id.clone(),
        causation: envelope.id.as_str().to_owned(),
        traceparent: envelope.trace.traceparent.clone(),
        data: to_raw_value(&data).map_err(|error| encoding(&envelope.id, "failure signal", error))?,
    }
    .to_json()
    .map_err(|error| Fault::permanent("EVENT_TOO_LARGE", error))
}

fn check_sizes(id: &AggregateId, command: &CommandId, operations: &[Operation]) -> Result<(), Fault> {
    let partition = id.key();
    let mut total = 0;
    for operation in operations {
        let (Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) | Operation::Merge(row, _)) =
            operation
        else {
            continue;
        };
        let bytes = Row::size(row, &partition);
        if bytes > MAX_ROW_BYTES {
            let text = format!("{command} of {id} would write a row of {bytes} bytes, at most {MAX_ROW_BYTES} fit");
            return Err(Fault::permanent("COMMIT_TOO_LARGE", text));
        }
        total += bytes;
    }
    if total > MAX_TRANSACTION_BYTES {
        let text = format!("{command} of {id} would write {total} bytes, at most {MAX_TRANSACTION_BYTES} fit");
        return Err(Fault::permanent("COMMIT_TOO_LARGE", text));
    }
    Ok(())
}

fn encoding(command: &CommandId, what: &str, error: impl std::fmt::Display) -> Fault {
    Fault::permanent("ENCODING", format!("the {what} of {command} has no JSON: {error}"))
}

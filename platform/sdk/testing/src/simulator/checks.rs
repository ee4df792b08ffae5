//! The invariants, each a named check. A run that breaks one prints its name, its seed and its trace.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use skein_core::personal::{KeyRing, PERSONS_TABLE};
use skein_core::store::{CommitMeta, EVENTS_TABLE, EventStore, Outcome, OutcomeStatus, StoredEvent};
use skein_core::table::{Operation, Row, Value};
use skein_core::views::{Phase, ViewReader, read_state};
use skein_core::{
    Aggregate, AggregateId, CloudEvent, Command, Context, ContractSet, DomainEvent, Envelope, Handle, Outgoing,
    Projection, Rejection, Source, TopList, decode_key, encode_key,
};

use super::domain::{
    Deposit, Forget, Label, Look, Note, Open, Owners, Pay, Purse, Purses, Receive, Rich, SECRET, Sign, Start, Step,
    Transfer, Withdraw, secret,
};
use super::history::{Calm, at_once};
use super::plan::Plan;
use super::text_of;
use super::world::{Journal, Said, World};
use crate::doubles::{ManualClock, MemoryVault};

/// The names of all checks.
pub const CHECKS: [&str; 25] = [
    "everything_ends",
    "versions_are_gapless",
    "rows_are_immutable",
    "tip_commit_and_outcome_appear_together",
    "a_command_commits_once",
    "acknowledged_is_durable",
    "rejected_writes_no_event",
    "duplicates_agree",
    "published_at_least_once",
    "published_only_what_is_committed",
    "settled_only_when_out",
    "commits_follow_from_their_prefix",
    "snapshot_and_tail_agree",
    "remembered_states_agree",
    "outcomes_prove_their_state",
    "views_equal_their_fold",
    "rebuilt_views_equal_their_fold",
    "poison_is_dead_lettered",
    "poison_blocks_nobody",
    "conflict_retries_are_bounded",
    "coins_are_conserved",
    "personal_data_is_sealed",
    "erased_data_is_unreadable",
    "other_data_stays_readable",
    // Over two runs of one seed, so it is not in here: whoever runs both compares them.
    "adapters_agree",
];

/// No command waits longer for its outcome, whatever happens to it and whatever poison lies in other sessions: seven
/// accidents, of which each costs a lock (5 min) and a back-off (4 min), or ten minutes without a topic.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 600);

/// The most transactions that one delivery may lead to: five attempts, each with ten conflicts after the first.
const MOST_TRANSACTIONS: usize = 5 * 11;

type Found = Vec<(&'static str, String)>;

pub(crate) fn all(plan: &Plan, past: &Ledger, world: &mut World) {
    // What was cut off has no end to be looked at.
    if world.journal.violations.iter().any(|violation| violation.check == "everything_ends") {
        return;
    }
    let mut found: Found = Vec::new();
    let left = world.left_over();
    if !left.is_empty() {
        found.push(("everything_ends", format!("these messages are neither settled nor dead: {left:?}")));
    }
    for missing in world.journal.unpublished() {
        found.push(("published_at_least_once", format!("never out: {missing}")));
    }
    if world.most_transactions > MOST_TRANSACTIONS {
        let text = format!("{} transactions for one delivery, at most {MOST_TRANSACTIONS}", world.most_transactions);
        found.push(("conflict_retries_are_bounded", text));
    }
    if world.journal.longest_wait > LONGEST_WAIT {
        let text = format!("a command waited {:?}, at most {LONGEST_WAIT:?}", world.journal.longest_wait);
        found.push(("poison_blocks_nobody", text));
    }
    let mut ledger = past.clone();
    ledger.learn(&world.journal);
    ledger.replay(&world.journal, &mut found);
    rows_are_immutable(world, &mut found);
    let calm = Calm::new(world.rows.tables.clone());
    snapshot_and_tail_agree(&calm, &ledger, &mut found);
    clients(plan, world, &ledger, &mut found);
    dead_letters(world, &ledger, &mut found);
    views(plan, world, &calm, &ledger, &mut found);
    coins(&ledger, &mut found);
    sealed(world, &mut found);
    persons(world, &calm, &ledger, &mut found);
    for (check, what) in found {
        world.journal.violate(check, what);
    }
}

/// The state of an aggregate of the domain.
#[derive(Debug, Clone, PartialEq)]
enum State {
    Purse(Purse),
    Transfer(Transfer),
}

/// What a decision has to be.
struct Expected {
    events: Vec<(String, u32, String)>,
    commands: Vec<Outgoing>,
    erasures: Vec<String>,
    result: Result<String, String>,
}

fn decide<A: Handle<C>, C: Command>(state: &A, envelope: &Envelope, context: &Context) -> Option<Expected> {
    let command: C = serde_json::from_str(envelope.payload.get()).ok()?;
    Some(match state.decide(&command, context) {
        Ok(decision) => Expected {
            events: decision
                .events
                .iter()
                .filter_map(|event| Some((event.name().into(), event.version(), event.encode().ok()?.get().into())))
                .collect(),
            commands: decision.commands,
            erasures: decision.erasures,
            result: Ok(serde_json::to_string(&decision.reply).ok()?),
        },
        Err(error) => Expected {
            events: Vec::new(),
            commands: Vec::new(),
            erasures: Vec::new(),
            result: Err(error.code().to_owned()),
        },
    })
}

impl State {
    fn of(partition: &str) -> Self {
        if partition.starts_with("transfer:") {
            State::Transfer(Transfer::default())
        } else {
            State::Purse(Purse::default())
        }
    }

    fn decide(&self, envelope: &Envelope, context: &Context) -> Option<Expected> {
        match self {
            State::Purse(purse) => match envelope.name.as_str() {
                Open::TYPE => decide::<_, Open>(purse, envelope, context),
                Deposit::TYPE => decide::<_, Deposit>(purse, envelope, context),
                Withdraw::TYPE => decide::<_, Withdraw>(purse, envelope, context),
                Look::TYPE => decide::<_, Look>(purse, envelope, context),
                Label::TYPE => decide::<_, Label>(purse, envelope, context),
                Sign::TYPE => decide::<_, Sign>(purse, envelope, context),
                Forget::TYPE => decide::<_, Forget>(purse, envelope, context),
                Pay::TYPE => decide::<_, Pay>(purse, envelope, context),
                Receive::TYPE => decide::<_, Receive>(purse, envelope, context),
                _ => None,
            },
            State::Transfer(transfer) => match envelope.name.as_str() {
                Start::TYPE => decide::<_, Start>(transfer, envelope, context),
                Note::TYPE => decide::<_, Note>(transfer, envelope, context),
                _ => None,
            },
        }
    }

    fn json(&self) -> String {
        match self {
            State::Purse(purse) => serde_json::to_string(purse),
            State::Transfer(transfer) => serde_json::to_string(transfer),
        }
        .unwrap_or_default()
    }

    /// Folds one stored event and returns what it publishes: type and data.
    fn evolve(&mut self, stored: &StoredEvent) -> Result<Option<(String, String)>, String> {
        fn one<A: Aggregate>(state: &mut A, stored: &StoredEvent) -> Result<Option<(String, String)>, String> {
            let event = A::Event::decode(&stored.name, stored.version, &stored.payload).map_err(|e| e.to_string())?;
            state.evolve(&event);
            Ok(state.publish(&event).map(|publication| (publication.name, publication.data.get().to_owned())))
        }
        match self {
            State::Purse(purse) => one(purse, stored),
            State::Transfer(transfer) => one(transfer, stored),
        }
    }
}

/// One aggregate, folded from its transactions in the order in which the store took them.
#[derive(Clone)]
struct Account {
    state: State,
    version: u64,
    sequence: u64,
    commands: BTreeSet<String>,
    events: Vec<(CloudEvent, Source)>,
}

/// All aggregates.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// How many transactions of the journal are in here already.
    replayed: usize,
    accounts: BTreeMap<String, Account>,
    outcomes: BTreeMap<(String, String), Outcome>,
    /// The envelopes of each command's id.
    envelopes: BTreeMap<String, Vec<Envelope>>,
}

impl Ledger {
    /// What was before a run, checked once for all runs.
    ///
    /// # Panics
    /// When a check finds something.
    pub(crate) fn of_past(journal: &Journal) -> Self {
        let (mut ledger, mut found) = (Ledger::default(), Found::new());
        ledger.learn(journal);
        ledger.replay(journal, &mut found);
        assert!(found.is_empty(), "what was before a run is in order: {found:?}");
        ledger
    }

    /// Reads the envelopes that were sent since.
    fn learn(&mut self, journal: &Journal) {
        let known: BTreeSet<String> = self.envelopes.keys().map(|id| encode_key(id)).collect();
        for body in journal.sent.iter().filter(|(id, _)| !known.contains(*id)).flat_map(|(_, bodies)| bodies) {
            if let Ok(envelope) = Envelope::from_json(body) {
                self.envelopes.entry(envelope.id.as_str().to_owned()).or_default().push(envelope);
            }
        }
    }

    fn replay(&mut self, journal: &Journal, found: &mut Found) {
        let mut remembered: HashMap<(&str, u64), Vec<&str>> = HashMap::new();
        for one in &journal.remembered {
            remembered.entry((&one.partition, one.version)).or_default().push(&one.state);
        }
        for applied in &journal.applied[self.replayed..] {
            let place = format!("{} {:?}", applied.partition, keys(&applied.operations));
            let written = |start: &str| {
                applied.operations.iter().filter(|operation| operation.key().starts_with(start)).collect::<Vec<_>>()
            };
            let (tips, outcomes, commits) = (written("E!"), written("C~"), written("E~"));
            if tips.len() != 1 || outcomes.len() != 1 || commits.len() > 1 {
                found.push(("tip_commit_and_outcome_appear_together", place.clone()));
            }
            let account = self.accounts.entry(applied.partition.clone()).or_insert_with(|| Account {
                state: State::of(&applied.partition),
                version: 0,
                sequence: 0,
                commands: BTreeSet::new(),
                events: Vec::new(),
            });
            let outcome = outcomes.first().and_then(|operation| read_outcome(row_of(operation)?));
            let commit = commits.first().and_then(|operation| ReadCommit::of(row_of(operation)?));
            if let Some(outcome) = &outcome {
                if outcome.first.is_some() == commits.is_empty() {
                    found.push(("tip_commit_and_outcome_appear_together", place.clone()));
                }
                if outcome.status == OutcomeStatus::Rejected && !commits.is_empty() {
                    found.push(("rejected_writes_no_event", place.clone()));
                }
                if let Some(command) = outcomes[0].key().strip_prefix("C~").and_then(decode_key) {
                    let envelopes = self.envelopes.get(&command).map_or(&[][..], Vec::as_slice);
                    account.prove(envelopes, outcome, commit.as_ref(), &place, found);
                    self.outcomes.insert((applied.partition.clone(), command), outcome.clone());
                }
            }
            if let Some(commit) = commit {
                account.commit(&commit, &place, found);
            }
            let version = tips.first().and_then(|operation| row_of(operation)).and_then(|row| int(row, "Version"));
            if version.is_some_and(|version| version != account.version) {
                found.push((
                    "versions_are_gapless",
                    format!("{place}: the tip says {version:?}, the events {}", account.version),
                ));
            }
            for state in remembered.remove(&(applied.partition.as_str(), account.version)).unwrap_or_default() {
                let folded = account.state.json();
                if state != folded {
                    let text = format!("{place}: a handler remembers {state}, the events fold to {folded}");
                    found.push(("remembered_states_agree", text));
                }
            }
        }
        self.replayed = journal.applied.len();
        for (partition, version) in remembered.keys() {
            found.push(("remembered_states_agree", format!("{partition} never had version {version}")));
        }
    }
}

impl Account {
    /// Decides the command again, on the state that the transaction stands behind.
    fn prove(
        &self,
        envelopes: &[Envelope],
        outcome: &Outcome,
        commit: Option<&ReadCommit>,
        place: &str,
        found: &mut Found,
    ) {
        let Some(envelope) = envelopes.iter().find(|envelope| envelope.fingerprint() == outcome.fingerprint) else {
            found.push(("outcomes_prove_their_state", format!("{place}: nobody sent this command")));
            return;
        };
        let context = Context {
            aggregate: envelope.aggregate.clone(),
            command: envelope.id.clone(),
            now: outcome.time,
            principal: envelope.principal.clone(),
            correlation: envelope.trace.correlation_id.clone(),
            causation: envelope.trace.causation_id.clone(),
        };
        let Some(expected) = self.state.decide(envelope, &context) else {
            found.push(("outcomes_prove_their_state", format!("{place}: no decision on {}", envelope.name)));
            return;
        };
        let result = match outcome.status {
            OutcomeStatus::Committed => Ok(outcome.reply.as_ref().map_or("null", |reply| reply.get()).to_owned()),
            OutcomeStatus::Rejected => {
                Err(outcome.rejection.as_ref().map_or("", |rejection| &rejection.code).to_owned())
            }
        };
        let version = self.version + expected.events.len() as u64;
        if result != expected.result || outcome.version != version {
            let text = format!(
                "{place}: {result:?} at version {}, but on {:?} it is {:?} at {version}",
                outcome.version, self.state, expected.result
            );
            found.push(("outcomes_prove_their_state", text));
        }
        if let Some(commit) = commit {
            let events: Vec<_> = commit
                .events
                .iter()
                .map(|event| (event.name.clone(), event.version, event.payload.get().to_owned()))
                .collect();
            if events != expected.events || commit.commands != expected.commands || commit.erasures != expected.erasures
            {
                let text = format!("{place}: {events:?}, but on {:?} it is {:?}", self.state, expected.events);
                found.push(("commits_follow_from_their_prefix", text));
            }
        }
    }

    fn commit(&mut self, commit: &ReadCommit, place: &str, found: &mut Found) {
        if commit.first != self.version + 1 || commit.last != self.version + commit.events.len() as u64 {
            let text = format!("{place}: {} to {} after {}", commit.first, commit.last, self.version);
            found.push(("versions_are_gapless", text));
        }
        if !self.commands.insert(commit.meta.command.as_str().to_owned()) {
            found.push(("a_command_commits_once", format!("{place}: {} committed before", commit.meta.command)));
        }
        self.version = commit.last;
        let mut publications = commit.publications.iter();
        let mut n = 0;
        for event in &commit.events {
            match self.state.evolve(event) {
                Ok(None) => {}
                Ok(Some((kind, data))) => {
                    self.sequence += 1;
                    let said = publications.next().and_then(|json| CloudEvent::from_json(json.as_bytes()).ok());
                    let fits = said.as_ref().is_some_and(|said| {
                        said.kind == kind
                            && said.data.get() == data
                            && said.sequence() == Some(self.sequence)
                            && said.id == commit.meta.command.event_id(n)
                    });
                    n += 1;
                    if !fits {
                        let text = format!("{place}: publishes {said:?}, not {kind} {data} {}", self.sequence);
                        found.push(("commits_follow_from_their_prefix", text));
                    }
                    if let Some(said) = said {
                        let sequence = said.sequence().unwrap_or_default();
                        let source =
                            Source { aggregate: said.subject.clone(), epoch: said.epoch, sequence, time: said.time };
                        self.events.push((said, source));
                    }
                }
                Err(error) => found.push(("commits_follow_from_their_prefix", format!("{place}: {error}"))),
            }
        }
    }
}

fn keys(operations: &[Operation]) -> Vec<&str> {
    operations.iter().map(Operation::key).collect()
}

fn row_of(operation: &Operation) -> Option<&Row> {
    match operation {
        Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) | Operation::Merge(row, _) => {
            Some(row)
        }
        Operation::Delete(..) | Operation::Require(_) => None,
    }
}

fn int(row: &Row, name: &str) -> Option<u64> {
    match row.properties.get(name) {
        Some(Value::Int64(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn read_outcome(row: &Row) -> Option<Outcome> {
    serde_json::from_str(&text_of(&row.properties, "Outcome")?).ok()
}

/// A commit's row, read on our own.
struct ReadCommit {
    first: u64,
    last: u64,
    meta: CommitMeta,
    events: Vec<StoredEvent>,
    publications: Vec<String>,
    commands: Vec<Outgoing>,
    erasures: Vec<String>,
}

impl ReadCommit {
    fn of(row: &Row) -> Option<Self> {
        let json = |name| text_of(&row.properties, name);
        Some(ReadCommit {
            first: int(row, "First")?,
            last: int(row, "Last")?,
            meta: serde_json::from_str(&json("Meta")?).ok()?,
            events: serde_json::from_str(&json("Events")?).ok()?,
            publications: json("Publications")
                .map(|lines| lines.split('\n').map(str::to_owned).collect())
                .unwrap_or_default(),
            commands: match json("Commands") {
                Some(commands) => serde_json::from_str(&commands).ok()?,
                None => Vec::new(),
            },
            erasures: match json("Erasures") {
                Some(persons) => serde_json::from_str(&persons).ok()?,
                None => Vec::new(),
            },
        })
    }
}

/// Outcomes and commits are inserted once, and stand at the end as they were inserted.
fn rows_are_immutable(world: &World, found: &mut Found) {
    let mut seen = HashSet::new();
    for applied in &world.journal.applied {
        for operation in &applied.operations {
            let key = operation.key();
            if key == "E!" {
                continue;
            }
            if !seen.insert((applied.partition.as_str(), key)) {
                found.push(("rows_are_immutable", format!("{} {key} was written again", applied.partition)));
            }
            let stored = world.rows.tables.get(EVENTS_TABLE, &applied.partition, key);
            let same =
                row_of(operation).is_some_and(|row| stored.is_some_and(|stored| stored.properties == row.properties));
            if !same {
                found.push(("rows_are_immutable", format!("{} {key} is not as it was", applied.partition)));
            }
        }
    }
}

/// What a cold load makes of snapshot and tail, and what all commits fold to.
fn snapshot_and_tail_agree(calm: &Arc<Calm>, ledger: &Ledger, found: &mut Found) {
    fn load<A: Aggregate>(store: &EventStore, id: &AggregateId) -> Result<(A, u64), String> {
        let loaded = at_once(store.load::<A>(id)).map_err(|fault| fault.to_string())?;
        Ok((loaded.state.clone(), loaded.version()))
    }
    let store = EventStore::new(vec![calm.clone()]);
    for (partition, account) in &ledger.accounts {
        let Ok(id) = partition.parse::<AggregateId>() else { continue };
        let loaded = match &account.state {
            State::Purse(_) => load::<Purse>(&store, &id).map(|(state, version)| (State::Purse(state), version)),
            State::Transfer(_) => {
                load::<Transfer>(&store, &id).map(|(state, version)| (State::Transfer(state), version))
            }
        };
        if loaded != Ok((account.state.clone(), account.version)) {
            let text = format!("{partition} loads as {loaded:?}, and folds to {:?}", account.state);
            found.push(("snapshot_and_tail_agree", text));
        }
        match at_once(store.read_forwards(&id, 1, usize::MAX)) {
            Ok(commits) => {
                let mut version = 0;
                for commit in commits {
                    if commit.first != version + 1 {
                        found.push(("versions_are_gapless", format!("{partition}: {} after {version}", commit.first)));
                    }
                    version = commit.last;
                }
                if version != account.version {
                    found.push(("versions_are_gapless", format!("{partition} ends with {version}")));
                }
            }
            Err(fault) => found.push(("versions_are_gapless", format!("{partition}: {fault}"))),
        }
    }
}

/// What clients were told is what is recorded, and the same to everybody who has the same key.
fn clients(plan: &Plan, world: &World, ledger: &Ledger, found: &mut Found) {
    let mut first: BTreeMap<&str, (usize, &Said)> = BTreeMap::new();
    for told in &world.journal.told {
        let client = &plan.clients[told.client];
        let Some(command) = &told.command else { continue };
        let who = format!("client {} ({:?}) was told {:?}", told.client, client.ask, told.said);
        if let Some((other, said)) = first.get(client.key.as_str()) {
            if plan.clients[*other].ask != client.ask {
                let text = format!("{who}, but the key belongs to client {other}, {:?}", plan.clients[*other].ask);
                found.push(("duplicates_agree", text));
            } else if **said != told.said && **said != Said::Accepted && told.said != Said::Accepted {
                found.push(("duplicates_agree", format!("{who}, and client {other} {said:?}")));
            }
        }
        let known = first.get(client.key.as_str()).is_some_and(|(_, said)| **said != Said::Accepted);
        if !known {
            first.insert(&client.key, (told.client, &told.said));
        }
        let outcome = ledger.outcomes.get(&(told.partition.clone(), command.as_str().to_owned()));
        let row = world.rows.tables.get(EVENTS_TABLE, &told.partition, &format!("C~{}", encode_key(command.as_str())));
        let stands = match (&told.said, outcome) {
            (_, None) => false,
            (Said::Accepted | Said::Reused, Some(_)) => true,
            (Said::Committed { version, reply }, Some(outcome)) => {
                outcome.status == OutcomeStatus::Committed
                    && outcome.version == *version
                    && outcome.reply.as_ref().map_or("null", |reply| reply.get()) == reply
            }
            (Said::Rejected { version, code }, Some(outcome)) => {
                outcome.status == OutcomeStatus::Rejected
                    && outcome.version == *version
                    && outcome.rejection.as_ref().is_some_and(|rejection| rejection.code == *code)
            }
        };
        if !stands || row.is_none() {
            found.push(("acknowledged_is_durable", format!("{who}, but the record is {outcome:?}")));
        }
    }
}

/// The dead are those that can never be handled, all of them and nobody else.
fn dead_letters(world: &World, ledger: &Ledger, found: &mut Found) {
    let poisonous = |body: &[u8]| {
        let Ok(envelope) = Envelope::from_json(body) else { return true };
        match ledger.outcomes.get(&(envelope.aggregate.key(), envelope.id.as_str().to_owned())) {
            Some(outcome) => outcome.fingerprint != envelope.fingerprint(),
            None => envelope.payload.get().contains("many"),
        }
    };
    let dead: BTreeSet<&[u8]> = world.commands.dead.iter().map(|message| &message.body[..]).collect();
    for (id, body) in world.journal.sent.iter().flat_map(|(id, bodies)| bodies.iter().map(move |body| (id, body))) {
        let is_dead = dead.contains(&body[..]);
        if is_dead != poisonous(body) {
            let text = format!("{id} is {}", if is_dead { "dead and could be handled" } else { "poison and not dead" });
            found.push(("poison_is_dead_lettered", text));
        }
    }
    for message in &world.rebuild.dead {
        // Nobody sends poison there.
        found.push(("poison_is_dead_lettered", format!("{} of a rebuild is dead", message.id)));
    }
    for message in &world.events.dead {
        if CloudEvent::from_json(&message.body).is_ok() {
            found.push(("poison_is_dead_lettered", format!("the event {} is dead and could be handled", message.id)));
        }
    }
}

/// Each view against the fold of all committed events, source by source.
fn views(plan: &Plan, world: &World, calm: &Arc<Calm>, ledger: &Ledger, found: &mut Found) {
    let reader = ViewReader::new(calm.clone());
    let before = found.len();
    view::<Purses>(world, calm, &reader, ledger, found);
    view::<Owners>(world, calm, &reader, ledger, found);
    let mut scores: Vec<(String, i64)> = Vec::new();
    for account in ledger.accounts.values() {
        let mut last = None;
        for (event, source) in &account.events {
            if let Some(Ok(decoded)) = <Rich as TopList>::Event::decode(event) {
                last = Rich::score(&decoded, source).map(|score| (source.aggregate.id().to_owned(), score)).or(last);
            }
        }
        scores.extend(last.filter(|(_, score)| *score > 0));
    }
    scores.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    scores.truncate(Rich::SIZE);
    match at_once(reader.top::<Rich>(Rich::SIZE)) {
        Ok(top) if top == scores => {}
        other => found.push(("views_equal_their_fold", format!("the top list is {other:?}, not {scores:?}"))),
    }
    let Some((name, _)) = &plan.rebuild else { return };
    for (check, _) in &mut found[before..] {
        *check = "rebuilt_views_equal_their_fold";
    }
    match at_once(read_state(&**calm, name)) {
        Ok((state, _)) if state.live.0 == 2 && state.rebuild.as_ref().is_some_and(|it| it.phase == Phase::Done) => {}
        other => found.push(("rebuilt_views_equal_their_fold", format!("{name} is not rebuilt: {other:?}"))),
    }
}

fn view<P: Projection>(world: &World, calm: &Arc<Calm>, reader: &ViewReader, ledger: &Ledger, found: &mut Found) {
    let mut expected: BTreeMap<(String, String), P::Row> = BTreeMap::new();
    for (event, source) in ledger.accounts.values().flat_map(|account| &account.events) {
        if !P::Event::categories().contains(&source.aggregate.category()) {
            continue;
        }
        let Some(Ok(decoded)) = P::Event::decode(event) else { continue };
        for touch in P::touches(&decoded, source) {
            let key = (touch.partition.clone(), touch.row.clone());
            if let Some(after) = P::apply(expected.remove(&key), &decoded, &touch, source) {
                expected.insert(key, after);
            }
        }
    }
    let live = at_once(read_state(&**calm, P::NAME)).map_or(0, |(state, _)| state.live.0);
    let rows = world
        .rows
        .tables
        .partitions(P::TABLE)
        .filter(|(partition, _)| partition.starts_with(&format!("{live}~")))
        .flat_map(|(_, rows)| rows.keys())
        .filter(|key| key.starts_with("D~"))
        .count();
    if rows != expected.len() {
        found.push(("views_equal_their_fold", format!("{} has {rows} rows, not {}", P::NAME, expected.len())));
    }
    // An event that came again while it was parked may leave its row behind; one that is still due may not stay.
    let live = [format!("{live}~"), format!("{live}!")];
    let is_live = |partition: &&String| live.iter().any(|prefix| partition.starts_with(prefix));
    for (partition, rows) in world.rows.tables.partitions(P::TABLE).filter(|(partition, _)| is_live(partition)) {
        for key in rows.keys() {
            let Some((source, sequence)) = key.strip_prefix("P~").and_then(|rest| rest.rsplit_once('~')) else {
                continue;
            };
            let cursor = rows.get(&format!("S~{source}")).and_then(|row| row.int("Sequence")).unwrap_or_default();
            if sequence.parse::<i64>().is_ok_and(|sequence| sequence > cursor) {
                found.push(("views_equal_their_fold", format!("{} still has {key} in {partition}", P::NAME)));
            }
        }
    }
    for ((partition, row), expected) in expected {
        let actual = at_once(reader.get::<P>(&partition, &row)).map(|row| serde_json::to_value(&row).ok());
        let expected = serde_json::to_value(Some(expected)).ok();
        match actual {
            Ok(actual) if actual == expected => {}
            other => {
                let text = format!("{} {partition} {row} is {other:?}, not {expected:?}", P::NAME);
                found.push(("views_equal_their_fold", text));
            }
        }
    }
}

/// Whatever was stored, sent, published or told holds nothing readable about anybody.
fn sealed(world: &World, found: &mut Found) {
    let mut look = |place: &dyn Fn() -> String, bytes: &[u8]| {
        let holds = match std::str::from_utf8(bytes) {
            Ok(text) => text.contains(SECRET),
            Err(_) => bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()),
        };
        if holds {
            found.push(("personal_data_is_sealed", format!("{} holds plaintext", place())));
        }
    };
    for (table, partition, rows) in world.rows.tables.all() {
        for row in rows.values() {
            for (name, value) in &row.properties {
                let bytes = match value {
                    Value::String(text) => text.as_bytes(),
                    Value::Binary(bytes) => bytes,
                    Value::Int64(_) | Value::Bool(_) | Value::Double(_) => continue,
                };
                look(&|| format!("{table} {partition} {} {name}", row.key), bytes);
            }
        }
    }
    for (id, bodies) in &world.journal.sent {
        bodies.iter().for_each(|body| look(&|| format!("the message {id}"), body));
    }
    for (queue, dead) in world.dead() {
        for message in dead {
            let properties = [&message.id, &message.session].into_iter().chain(&message.traceparent);
            for bytes in properties.map(String::as_bytes).chain([&message.body[..]]) {
                look(&|| format!("the dead letter {} of {queue:?}", message.id), bytes);
            }
        }
    }
    world.journal.published.iter().for_each(|event| look(&|| "a published event".to_owned(), event));
    for told in &world.journal.told {
        look(&|| format!("what client {} was told", told.client), format!("{:?}", told.said).as_bytes());
    }
}

/// Whoever was erased cannot be read, by nobody and for ever; everybody else can.
fn persons(world: &World, calm: &Arc<Calm>, ledger: &Ledger, found: &mut Found) {
    let persons = &world.journal.persons;
    let stored: BTreeSet<&str> =
        world.rows.tables.partitions(PERSONS_TABLE).filter_map(|(_, rows)| rows.get("K")?.str("Name")).collect();
    for name in stored.iter().filter(|name| persons.doomed.contains(**name)) {
        found.push(("erased_data_is_unreadable", format!("the key {name} is still there")));
    }
    for name in persons.made.difference(&persons.gone).filter(|name| !stored.contains(name.as_str())) {
        found.push(("other_data_stays_readable", format!("the key {name} is lost")));
    }
    let keys = KeyRing::new(calm.clone(), Arc::<MemoryVault>::default(), ManualClock::new());
    for (partition, account) in &ledger.accounts {
        let State::Purse(Purse { contact: Some(contact), .. }) = &account.state else { continue };
        let sealed_with = serde_json::to_value(contact).ok().and_then(|json| json["key"].as_str().map(str::to_owned));
        let name = sealed_with.unwrap_or_default();
        let expected = stored.contains(name.as_str()).then(|| secret(contact.person()));
        match at_once(keys.open(contact)) {
            Ok(opened) if opened == expected => {}
            other => {
                let check = if expected.is_some() { "other_data_stays_readable" } else { "erased_data_is_unreadable" };
                found.push((check, format!("{partition} opens as {other:?}, not {expected:?}")));
            }
        }
    }
}

/// What all purses hold is what was brought minus what was taken away; no transfer is under way.
fn coins(ledger: &Ledger, found: &mut Found) {
    let (mut held, mut outside) = (0, 0);
    for account in ledger.accounts.values() {
        match &account.state {
            State::Purse(purse) => held += purse.coins,
            State::Transfer(transfer) if !transfer.from.is_empty() => {
                if !matches!(transfer.step, Some(Step::Received | Step::Refused)) {
                    found.push(("coins_are_conserved", format!("{transfer:?} never ended")));
                }
            }
            State::Transfer(_) => {}
        }
    }
    for (partition, command) in ledger.outcomes.keys() {
        let Some(envelope) = ledger.envelopes.get(command).and_then(|envelopes| {
            let outcome = &ledger.outcomes[&(partition.clone(), command.clone())];
            envelopes
                .iter()
                .find(|envelope| envelope.fingerprint() == outcome.fingerprint)
                .filter(|_| outcome.first.is_some())
        }) else {
            continue;
        };
        let amount = |name: &str| {
            serde_json::from_str::<serde_json::Value>(envelope.payload.get())
                .ok()
                .and_then(|payload| payload[name].as_i64())
                .unwrap_or_default()
        };
        match envelope.name.as_str() {
            Open::TYPE | Deposit::TYPE => outside += amount("coins"),
            Withdraw::TYPE => outside -= amount("coins"),
            _ => {}
        }
    }
    if held != outside {
        found.push(("coins_are_conserved", format!("the purses hold {held} coins, {outside} were brought")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::broker::Queue;
    use super::super::domain::TABLES;
    use super::super::plan::History;
    use super::super::rows::Rows;
    use super::super::tables::Tables;
    use super::super::world::Channel;
    use super::*;

    /// What the scan finds in a world in which plaintext lies in one place.
    fn found(plant: impl FnOnce(&mut World, String)) -> Vec<String> {
        let mut world = World::new(&Plan::script(History::Nothing, []), Rows::new(Tables::default(), None));
        plant(&mut world, secret("ann"));
        let mut found = Found::new();
        sealed(&world, &mut found);
        found.into_iter().map(|(check, what)| format!("{check}: {what}")).collect()
    }

    #[test]
    fn plaintext_is_found_in_every_table() {
        assert!(found(|_, _| {}).is_empty());
        for table in TABLES {
            let planted = found(|world, secret| {
                let row = Row::new("r").with("Other", 1_i64).with("Reason0", secret);
                world.rows.transact(table, "p", &[Operation::Insert(row)]).expect("an empty table takes it");
            });
            assert_eq!(planted, [format!("personal_data_is_sealed: {table} p r Reason0 holds plaintext")]);
        }
    }

    #[test]
    fn plaintext_is_found_in_the_dead_letters_of_every_queue() {
        fn dead(queue: &mut Queue, id: &str, session: &str, body: String, traceparent: Option<String>) {
            queue.max_deliveries = 1;
            queue.push(id.to_owned(), Some(session.to_owned()), body.into(), traceparent);
            let message = queue.available()[0];
            queue.receive(message, 1, 0).expect("it is there");
            assert!(queue.release(1) && queue.dead.len() == 1);
        }
        for channel in [Channel::Commands, Channel::Events, Channel::Rebuild] {
            let expected = [format!("personal_data_is_sealed: the dead letter m of {channel:?} holds plaintext")];
            assert_eq!(found(|world, secret| dead(world.queue(channel), "m", "s", secret, None)), expected);
            assert_eq!(found(|world, secret| dead(world.queue(channel), "m", &secret, String::new(), None)), expected);
            let traced = |world: &mut World, secret| dead(world.queue(channel), "m", "s", String::new(), Some(secret));
            assert_eq!(found(traced), expected);
        }
    }
}

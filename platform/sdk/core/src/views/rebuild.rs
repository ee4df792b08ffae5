//! Rebuilds: a view is made anew beside the live one, then takes its place.
//!
//! | phase | what happens |
//! |---|---|
//! | waiting | the state names the new generation; within seconds every process writes live events to it, too |
//! | filling | each source publishes its history to the rebuild queue, slice by slice; every cursor is held against its source's mark |
//! | swapped | the new generation is read; the old one is still written for readers that remember it |
//! | deleting | the old generation goes, in bounded steps |
//!
//! Why nothing is missing: history is read by its source only after the wait. An event that is committed after that
//! reaches a process that writes both generations; one that was committed before is part of the history. Either is
//! taken once, since each generation has its own cursors. Reactions have no generations: a rebuild has no effect but
//! rows.
//!
//! Everything is driven by messages of the service's own rebuild queue, and all that is known stands in one row
//! ([`super::generation`]): whatever dies, the message comes again and goes on. One message, the tick, is always on its
//! way; of two ticks with one number the second does nothing.

use std::time::Duration;

use futures::future::try_join_all;
use time::OffsetDateTime;

use super::consumer::{Consume, Rebuilt};
use super::cursor::Position;
use super::generation::{
    FRESH, GENERATIONS_TABLE, Generation, Phase, Rebuild, SourceProgress, ViewState, fail, is_same_view, read_state,
    write_state,
};
use super::{MAX_CONFLICTS, Shared, ViewsHandler, give_way, live};
use crate::cloud_event::CloudEvent;
use crate::delivery::Delivery;
use crate::fault::Fault;
use crate::id::{derive, encode_key};
use crate::ports::{Message, TransactError, rebuild_queue};
use crate::projection::Source;
use crate::republish::{
    Events, Mark, RebuildMessage, RebuildOf, Republish, RepublishCategory, Slice, Start, Tick, republish,
    republish_category,
};
use crate::store::Place;
use crate::table::{Operation, Range, Row, Sweep};

/// How long after a change of the state nobody uses the former one: longer than [`FRESH`], with a margin for clocks.
const NOTICED: Duration = Duration::from_secs(3 * FRESH.as_secs());
/// How long the old generation is still written after the swap.
const GRACE: Duration = Duration::from_secs(30);
/// The time between two looks at how far the sources are.
const LOOK: Duration = Duration::from_secs(2);
/// After so long without progress a source is asked again, from where it stands.
const STALLED: Duration = Duration::from_secs(300);
/// After so long without progress, and so many looks, the rebuild fails. Looks are counted, too, since clocks may jump.
const HOPELESS: (Duration, u64) = (Duration::from_secs(6 * 3_600), 300);
/// How often cursors may be found behind their marks before the rebuild fails: about ten minutes.
const ATTEMPTS: u32 = 14;
/// How many sources are looked at, or filled, at once.
const WIDTH: usize = 16;
/// The code where somebody asks for a view that there is not.
const UNKNOWN: &str = "VIEW_UNKNOWN";
/// The most rows that one tick deletes.
const DELETIONS: usize = 2_000;

impl ViewsHandler {
    /// Handles one message of the rebuild queue. After `Ok` it may be settled. Who asks for a view that there is not
    /// finds `VIEW_UNKNOWN` in the `faults` table under the message's id; a slip makes no dead letter.
    ///
    /// # Errors
    /// What kept it from being handled.
    pub async fn rebuild(&self, body: &[u8], delivery: &Delivery) -> Result<(), Fault> {
        let shared = &self.shared;
        let handled = crate::delivery::run("rebuild", delivery, &*shared.store, &*shared.clock, |_| async move {
            let message = RebuildMessage::from_json(body).map_err(|error| {
                Fault::permanent("MALFORMED_MESSAGE", format!("not a message of a rebuild: {error}"))
            })?;
            match message {
                RebuildMessage::Start(start) => {
                    shared.wait_until(start.due).await;
                    self.start(&start).await
                }
                RebuildMessage::Events(events) => self.fill(&events).await,
                RebuildMessage::Slice(slice) => {
                    shared.wait_until(slice.due).await;
                    self.verify(slice).await
                }
                RebuildMessage::Tick(tick) => {
                    shared.wait_until(tick.due).await;
                    self.tick(&tick).await
                }
            }
        })
        .await;
        handled.or_else(|fault| if fault.code == UNKNOWN { Ok(()) } else { Err(fault) })
    }

    /// A view by its name, in any of its spellings: `customer-totals`, `customerTotals`.
    fn view(&self, name: &str) -> Option<(&dyn Consume, &dyn Rebuilt)> {
        let consumer = self.consumers.iter().find(|consumer| is_same_view(consumer.name(), name))?;
        Some((&**consumer, consumer.rebuilt()?))
    }

    async fn start(&self, start: &Start) -> Result<(), Fault> {
        let shared = &self.shared;
        let Some((consumer, _)) = self.view(&start.view) else {
            let views: Vec<&str> =
                self.consumers.iter().filter(|it| it.rebuilt().is_some()).map(|it| it.name()).collect();
            let text = format!("{} has no view {:?}; it has {}", shared.service, start.view, views.join(", "));
            return Err(Fault::permanent(UNKNOWN, text));
        };
        let view = consumer.name();
        let now = shared.clock.now();
        let sources = consumer.categories().into_iter().map(|category| {
            let service = shared.sources.get(category).ok_or_else(|| {
                Fault::permanent("SOURCE_UNKNOWN", format!("{view}: nobody says which service publishes {category:?}"))
            })?;
            Ok(SourceProgress {
                category: category.to_owned(),
                service: service.clone(),
                reached: Place::default(),
                done: false,
                aggregates: 0,
                events: 0,
                asked: now,
            })
        });
        let sources = sources.collect::<Result<Vec<_>, Fault>>()?;
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*shared.clock, conflict).await;
            }
            let (mut state, tag) = read_state(&*shared.store, view).await?;
            match &state.rebuild {
                Some(known) if known.id == start.id => {
                    // Whoever wrote this may have died before it sent the tick.
                    return if known.phase.is_over() { Ok(()) } else { send_tick(shared, view, known, None).await };
                }
                Some(other) if other.phase.is_building() => {
                    tracing::warn!(view, rebuild = other.id, "a rebuild is under way: another one is not begun");
                    return Ok(());
                }
                Some(other) if !other.phase.is_over() => {
                    let number = derive(&["start again", &start.id, &other.tick.to_string()]);
                    let later = now + 5 * LOOK;
                    let again = RebuildMessage::Start(Start { due: later.unix_timestamp(), ..start.clone() });
                    let mut message = again.to_message(number.to_string()).map_err(encoding)?;
                    message.not_before = Some(later);
                    return send(shared, message).await;
                }
                _ => {}
            }
            state.last = Generation(state.last.0.max(state.live.0) + 1);
            let rebuild = Rebuild {
                id: start.id.clone(),
                generation: state.last,
                replaces: state.live,
                phase: Phase::Waiting,
                started: now,
                changed: now,
                tick: 0,
                idle: 0,
                sources: sources.clone(),
                deleted: 0,
                failure: None,
            };
            state.rebuild = Some(rebuild.clone());
            match write_state(&*shared.store, view, &state, tag, Vec::new()).await {
                Ok(()) => {
                    tracing::info!(view, rebuild = start.id, generation = state.last.0, "a rebuild begins");
                    return send_tick(shared, view, &rebuild, None).await;
                }
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(restless(view))
    }

    /// Takes events of the past.
    async fn fill(&self, events: &Events) -> Result<(), Fault> {
        let shared = &self.shared;
        let Some((consumer, rebuilt)) = self.view(&events.of.view) else { return Ok(()) };
        let view = consumer.name();
        let (state, _) = read_state(&*shared.store, view).await?;
        let Some(generation) = state.building(&events.of.id).map(|rebuild| rebuild.generation) else { return Ok(()) };
        let mut sources: Vec<Vec<(CloudEvent, &[u8])>> = Vec::new();
        for body in events.events.iter().map(|event| event.get().as_bytes()) {
            let event = CloudEvent::from_json(body).map_err(|error| Fault::permanent("MALFORMED_EVENT", error))?;
            match sources.last_mut() {
                Some(source) if source.first().is_some_and(|(first, _)| first.subject == event.subject) => {
                    source.push((event, body));
                }
                _ => sources.push(vec![(event, body)]),
            }
        }
        let mut filled = Ok(());
        for sources in sources.chunks(WIDTH) {
            let each = sources.iter().map(|events| fill_source(shared, rebuilt, generation, events));
            filled = try_join_all(each).await.map(drop);
            if filled.is_err() {
                break;
            }
        }
        match filled {
            Err(fault) if !fault.is_transient() => fail(shared, view, &events.of.id, &fault).await,
            filled => filled,
        }
    }

    /// Holds the cursors of a slice against the marks of its source.
    async fn verify(&self, slice: Slice) -> Result<(), Fault> {
        let shared = &self.shared;
        let Some((consumer, rebuilt)) = self.view(&slice.of.view) else { return Ok(()) };
        let view = consumer.name();
        let (state, _) = read_state(&*shared.store, view).await?;
        let Some(rebuild) = state.building(&slice.of.id) else { return Ok(()) };
        let generation = rebuild.generation;
        let mut short: Vec<(&Mark, Position)> = Vec::new();
        for marks in slice.marks.chunks(WIDTH) {
            let positions = marks.iter().map(|mark| rebuilt.position(shared, generation, &mark.aggregate));
            let positions = try_join_all(positions).await?;
            let behind = marks
                .iter()
                .zip(positions)
                .filter(|(mark, position)| *position < Position { epoch: mark.epoch, sequence: mark.sequence });
            short.extend(behind);
        }
        let Some((first, at)) = short.first() else { return self.advance(view, slice).await };
        if slice.attempt >= ATTEMPTS {
            let text = format!(
                "{view}: {} of {} aggregates of this slice of {:?} are short: {} came up to event {} of {}; look at \
                 the source's log, and rebuild again",
                short.len(),
                slice.marks.len(),
                slice.category,
                first.aggregate,
                at.sequence,
                first.sequence
            );
            return fail(shared, view, &slice.of.id, &Fault::permanent("SOURCE_IS_SHORT", text)).await;
        }
        // Events may still be on their way. From time to time they are asked for again.
        let service = rebuild.sources.iter().find(|source| source.category == slice.category).map(|it| &it.service);
        if slice.attempt % 4 == 3
            && let Some(service) = service
        {
            let attempt = slice.attempt.to_string();
            let asked = short.iter().map(|(mark, at)| {
                let id = derive(&["short", &slice.of.id, &mark.aggregate.key(), &attempt]).to_string();
                let command = Republish { from: at.sequence + 1, to: Some(slice.of.clone()), once: true };
                republish(&id, mark.aggregate.clone(), &command, &shared.service)
            });
            let messages = asked.collect::<Result<Vec<Message>, Fault>>()?;
            shared.queue.send(service, &messages).await?;
        }
        let wait = Duration::from_secs(2_u64.pow(slice.attempt.min(5) + 1).min(60));
        let later = shared.clock.now() + wait;
        let again = Slice { attempt: slice.attempt + 1, due: later.unix_timestamp(), ..slice };
        let (shard, attempt) = (again.from.shard.to_string(), again.attempt.to_string());
        let id = derive(&["verify", &again.of.id, &again.category, &shard, &again.from.after, &attempt]).to_string();
        let mut message = RebuildMessage::Slice(again).to_message(id).map_err(encoding)?;
        message.not_before = Some(later);
        send(shared, message).await
    }

    /// A slice is verified: it counts once all before it are. Slices may come twice, in any order, and cut anew: what
    /// counts is that each begins where all before it are verified.
    async fn advance(&self, view: &str, slice: Slice) -> Result<(), Fault> {
        let shared = &self.shared;
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*shared.clock, conflict).await;
            }
            let (mut state, tag) = read_state(&*shared.store, view).await?;
            if state.building(&slice.of.id).is_none() {
                return Ok(());
            }
            let now = shared.clock.now();
            let Some(source) = source_of(&mut state, &slice.category) else { return Ok(()) };
            let mut also = Vec::new();
            if slice.from > source.reached {
                // Too early. The state is written, too: whoever comes up to here meanwhile has to see it.
                also.push(Operation::Put(kept_row(&slice)?));
            } else if !reach(source, &slice) {
                return self.go_on(view, &slice.of.id).await;
            } else if let Some(rebuild) = &mut state.rebuild {
                (rebuild.changed, rebuild.idle) = (now, 0);
            }
            let is_early = !also.is_empty();
            match write_state(&*shared.store, view, &state, tag, also).await {
                Ok(()) if is_early => return Ok(()),
                Ok(()) => return self.go_on(view, &slice.of.id).await,
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(restless(view))
    }

    /// Counts the slices that came too early and are due now.
    async fn go_on(&self, view: &str, id: &str) -> Result<(), Fault> {
        let shared = &self.shared;
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*shared.clock, conflict).await;
            }
            let (mut state, tag) = read_state(&*shared.store, view).await?;
            if state.building(id).is_none() {
                return Ok(());
            }
            let kept = kept(shared, view, id, 1_000).await?;
            let mut changed = false;
            // In the order of places, so that one pass follows a chain.
            for (_, slice) in &kept {
                if let Some(source) = source_of(&mut state, &slice.category)
                    && slice.from <= source.reached
                {
                    changed |= reach(source, slice);
                }
            }
            if !changed {
                return Ok(());
            }
            if let Some(rebuild) = &mut state.rebuild {
                (rebuild.changed, rebuild.idle) = (shared.clock.now(), 0);
            }
            match write_state(&*shared.store, view, &state, tag, Vec::new()).await {
                Ok(()) => return Ok(()),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(restless(view))
    }

    /// One step of a rebuild, whichever is next.
    async fn tick(&self, tick: &Tick) -> Result<(), Fault> {
        let shared = &self.shared;
        let Some((consumer, rebuilt)) = self.view(&tick.view) else { return Ok(()) };
        let view = consumer.name();
        // A tick may come before the one that sent it has written so: then it does that one's work, too.
        let is_due = |state: &ViewState| {
            state.rebuild.as_ref().is_some_and(|it| it.id == tick.id && it.tick <= tick.number && !it.phase.is_over())
        };
        let (state, _) = read_state(&*shared.store, view).await?;
        let Some(before) = state.rebuild.as_ref().filter(|_| is_due(&state)) else { return Ok(()) };
        // What has to be done before the state may change. All of it may be done twice.
        let now = shared.clock.now();
        let mut step = Step { next: before.phase, asked: Vec::new(), deleted: 0, wait: None };
        match before.phase {
            Phase::Waiting => {
                shared.clock.sleep(NOTICED).await;
                for source in &before.sources {
                    ask(shared, view, &tick.id, source, 0).await?;
                    step.asked.push(source.category.clone());
                }
                (step.next, step.wait) = (Phase::Filling, Some(LOOK));
            }
            Phase::Filling if before.sources.iter().all(|source| source.done) => {
                match rebuilt.finish(shared, before.generation).await {
                    Err(fault) if !fault.is_transient() => {
                        fail(shared, view, &tick.id, &fault).await?;
                        step.next = Phase::Failing;
                    }
                    finished => {
                        finished?;
                        step.next = Phase::Swapped;
                    }
                }
            }
            Phase::Filling => {
                self.go_on(view, &tick.id).await?;
                step.wait = Some(LOOK);
                if older(before.changed, now, HOPELESS.0) && before.idle >= HOPELESS.1 {
                    let slow: Vec<&str> = before.sources.iter().filter(|it| !it.done).map(|it| &*it.category).collect();
                    let text = format!("{view}: nothing comes of {}: look at the source's log", slow.join(", "));
                    fail(shared, view, &tick.id, &Fault::permanent("SOURCE_IS_SILENT", text)).await?;
                    step.next = Phase::Failing;
                }
                for source in before.sources.iter().filter(|source| !source.done) {
                    if older(before.changed.max(source.asked), now, STALLED) {
                        tracing::warn!(view, category = source.category, "nothing comes any more: asking again");
                        ask(shared, view, &tick.id, source, tick.number).await?;
                        step.asked.push(source.category.clone());
                    }
                }
            }
            Phase::Swapped => {
                shared.clock.sleep(GRACE).await;
                step.next = Phase::Deleting;
            }
            Phase::Deleting | Phase::Failing => {
                let is_failed = before.phase == Phase::Failing;
                if before.deleted == 0 {
                    // Somebody may still write it.
                    shared.clock.sleep(NOTICED).await;
                }
                let (goes, stays) =
                    if is_failed { (before.generation, before.replaces) } else { (before.replaces, before.generation) };
                let (deleted, all) = delete(shared, rebuilt, goes, stays).await?;
                step.deleted = deleted as u64;
                if all && forget_kept(shared, view, &tick.id).await? {
                    step.next = if is_failed { Phase::Failed } else { Phase::Done };
                }
            }
            Phase::Done | Phase::Failed => return Ok(()),
        }
        for conflict in 0..=MAX_CONFLICTS {
            if conflict > 0 {
                give_way(&*shared.clock, conflict).await;
            }
            let (mut state, tag) = read_state(&*shared.store, view).await?;
            if !is_due(&state) {
                return Ok(());
            }
            let Some(rebuild) = &mut state.rebuild else { return Ok(()) };
            if rebuild.phase == before.phase {
                step.apply(rebuild, shared.clock.now());
            }
            rebuild.tick = tick.number + 1;
            let rebuild = rebuild.clone();
            if rebuild.phase == Phase::Swapped {
                state.live = rebuild.generation;
            }
            // Sent before it is written that it is due: if this process dies between the two, this tick comes again.
            if !rebuild.phase.is_over() {
                send_tick(shared, view, &rebuild, step.wait).await?;
            }
            match write_state(&*shared.store, view, &state, tag, Vec::new()).await {
                Ok(()) => {
                    if rebuild.phase != before.phase {
                        tracing::info!(view, rebuild = tick.id, phase = ?rebuild.phase, "the rebuild goes on");
                    }
                    return Ok(());
                }
                Err(TransactError::Refused(error)) => return Err(error.into()),
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
            }
        }
        Err(restless(view))
    }
}

/// Takes the events of one source, in order.
async fn fill_source(
    shared: &Shared,
    rebuilt: &dyn Rebuilt,
    generation: Generation,
    events: &[(CloudEvent, &[u8])],
) -> Result<(), Fault> {
    for (event, body) in events {
        let Some(sequence) = event.sequence() else { continue };
        let source = Source { aggregate: event.subject.clone(), epoch: event.epoch, sequence, time: event.time };
        rebuilt.fill(shared, generation, event, &source, body).await?;
    }
    Ok(())
}

/// What a tick does to the state.
struct Step {
    next: Phase,
    /// The categories that were asked for.
    asked: Vec<String>,
    deleted: u64,
    /// How long until the next tick; `None` for at once.
    wait: Option<Duration>,
}

impl Step {
    fn apply(&self, rebuild: &mut Rebuild, now: OffsetDateTime) {
        rebuild.idle += 1;
        if rebuild.phase != self.next {
            (rebuild.changed, rebuild.idle) = (now, 0);
        }
        rebuild.phase = self.next;
        rebuild.deleted += self.deleted;
        for source in &mut rebuild.sources {
            if self.asked.contains(&source.category) {
                source.asked = now;
            }
        }
    }
}

fn restless(view: &str) -> Fault {
    Fault::transient("VIEW_CONFLICT", format!("{view}: the state changed all the time"))
}

fn encoding(error: serde_json::Error) -> Fault {
    Fault::permanent("ENCODING", error)
}

fn older(since: OffsetDateTime, now: OffsetDateTime, than: Duration) -> bool {
    now - since > than
}

fn source_of<'a>(state: &'a mut ViewState, category: &str) -> Option<&'a mut SourceProgress> {
    state.rebuild.as_mut()?.sources.iter_mut().find(|source| source.category == category)
}

/// Counts a slice that begins where all before it are verified; false where it brings nothing new.
fn reach(source: &mut SourceProgress, slice: &Slice) -> bool {
    if source.done || (slice.through <= source.reached && !slice.last) {
        return false;
    }
    source.reached = source.reached.clone().max(slice.through.clone());
    source.done = slice.last;
    source.aggregates += slice.marks.len() as u64;
    source.events += slice.marks.iter().map(|mark| mark.sequence).sum::<u64>();
    true
}

async fn send(shared: &Shared, message: Message) -> Result<(), Fault> {
    shared.queue.send(&rebuild_queue(&shared.service), &[message]).await?;
    Ok(())
}

async fn send_tick(shared: &Shared, view: &str, rebuild: &Rebuild, wait: Option<Duration>) -> Result<(), Fault> {
    let later = wait.map(|wait| shared.clock.now() + wait);
    let due = later.map_or(0, OffsetDateTime::unix_timestamp);
    let tick = Tick { view: view.to_owned(), id: rebuild.id.clone(), number: rebuild.tick, due };
    let mut message = RebuildMessage::Tick(tick).to_message(rebuild.tick_id()).map_err(encoding)?;
    message.not_before = later;
    send(shared, message).await
}

/// Asks a source for its history from where it stands.
async fn ask(shared: &Shared, view: &str, id: &str, source: &SourceProgress, chain: u64) -> Result<(), Fault> {
    let to = RebuildOf { service: shared.service.clone(), view: view.to_owned(), id: id.to_owned() };
    let command = RepublishCategory { to, from: source.reached.clone(), chain };
    let message = republish_category(&source.category, &command, &shared.service)?;
    shared.queue.send(&source.service, &[message]).await?;
    Ok(())
}

// Slices that came too early.

fn kept_prefix(id: &str) -> String {
    format!("V~{}~", encode_key(id))
}

/// The row of a slice that came too early.
fn kept_row(slice: &Slice) -> Result<Row, Fault> {
    let Slice { of, category, from, .. } = slice;
    let key = format!("{}{category}~{:05}~{}", kept_prefix(&of.id), from.shard, encode_key(&from.after));
    let mut row = Row::new(key);
    crate::store::put_text(&mut row, "Slice", &serde_json::to_string(slice).map_err(encoding)?);
    Ok(row)
}

/// At most `most` kept slices, by category and place.
async fn kept(shared: &Shared, view: &str, id: &str, most: u32) -> Result<Vec<(String, Slice)>, Fault> {
    let prefix = kept_prefix(id);
    let range = Range { partition: encode_key(view), from: prefix.clone(), to: Some(format!("{prefix}~")), top: most };
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = shared.store.query(GENERATIONS_TABLE, &range, from.as_ref()).await?;
        for row in &page.rows {
            let json = crate::store::get_text(row, "Slice")
                .map_err(|error| crate::store::corrupt(&range.partition, &row.key, error))?
                .unwrap_or_default();
            let slice = serde_json::from_str(&json)
                .map_err(|error| crate::store::corrupt(&range.partition, &row.key, error))?;
            found.push((row.key.clone(), slice));
        }
        match page.next {
            Some(next) if found.len() < most as usize => from = Some(next),
            _ => return Ok(found),
        }
    }
}

/// Deletes kept slices; true where none is left.
async fn forget_kept(shared: &Shared, view: &str, id: &str) -> Result<bool, Fault> {
    let kept = kept(shared, view, id, 100).await?;
    let deletions: Vec<Operation> = kept.into_iter().take(100).map(|(key, _)| Operation::Delete(key, None)).collect();
    if deletions.is_empty() {
        return Ok(true);
    }
    match shared.store.transact(GENERATIONS_TABLE, &encode_key(view), &deletions).await {
        Err(TransactError::Refused(error)) => Err(error.into()),
        // Whatever is left is looked for again.
        _ => Ok(false),
    }
}

/// Deletes some rows of a generation: how many, and whether none is left.
async fn delete(
    shared: &Shared,
    rebuilt: &dyn Rebuilt,
    goes: Generation,
    stays: Generation,
) -> Result<(usize, bool), Fault> {
    let table = rebuilt.table();
    let mut deleted = 0;
    for (from, to) in rebuilt.doomed(goes, stays) {
        let sweep = Sweep { from, to, row: None, top: 1_000 };
        let mut next = None;
        loop {
            let page = shared.store.sweep(table, &sweep, next.as_ref()).await?;
            for rows in page.rows.chunk_by(|(one, _), (other, _)| one == other) {
                for rows in rows.chunks(100) {
                    if let Some(push) = &shared.push {
                        // Told before they are forgotten. Each subscribes to the generation that is live now.
                        for group in live::groups(rows) {
                            push.renew(group).await?;
                        }
                    }
                    let operations: Vec<_> =
                        rows.iter().map(|(_, row)| Operation::Delete(row.key.clone(), None)).collect();
                    match shared.store.transact(table, &rows[0].0, &operations).await {
                        Ok(_) => deleted += rows.len(),
                        Err(TransactError::Refused(error)) => return Err(error.into()),
                        // Somebody else is at it, or nobody knows: the next look tells.
                        Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {
                            return Ok((deleted, false));
                        }
                    }
                }
            }
            if deleted >= DELETIONS {
                return Ok((deleted, false));
            }
            match page.next {
                Some(more) => next = Some(more),
                None => break,
            }
        }
    }
    // Nothing was found from the beginning to the end.
    Ok((deleted, deleted == 0))
}

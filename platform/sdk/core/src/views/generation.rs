//! Generations: the copies of a view beside each other, and the row that says which of them is read and written.
//!
//! The row is read rarely: whoever reads or writes a view remembers it for [`FRESH`]. A rebuild that changes it waits
//! longer than that ([`super::rebuild`]), so nobody misses the change for long enough to matter.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join;
use futures::lock::Mutex;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{MAX_CONFLICTS, Shared, give_way};
use crate::fault::Fault;
use crate::id::{decode_key, derive, encode_key};
use crate::ports::{Clock, TableStore, TransactError};
use crate::store::{Place, corrupt, get_text, put_text};
use crate::table::{Etag, Operation, Row, StoredRow, Sweep};

/// The table of the generations, in the query store: a partition for each view that was ever rebuilt.
pub const GENERATIONS_TABLE: &str = "generations";
/// The row key of a view's state.
const STATE: &str = "state";
/// How long a state that was read may be used.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// The generation of a view: which of the copies beside each other is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The one that every view begins with.
    pub(crate) const FIRST: Generation = Generation(1);

    pub(super) fn partition(self, partition: &str) -> String {
        format!("{}~{}", self.0, encode_key(partition))
    }

    pub(super) fn cursor_partition(self, source: &str) -> String {
        format!("{}!{source}", self.0)
    }

    /// The bounds of the partitions with rows.
    pub(super) fn partitions(self) -> (String, String) {
        // No key holds a letter behind `~`, so the next digits are the next prefix.
        let mut next = self.0.to_string().into_bytes();
        if let Some(last) = next.last_mut() {
            *last += 1;
        }
        (format!("{}~", self.0), String::from_utf8(next).unwrap_or_default())
    }

    /// The bounds of the partitions with cursors.
    pub(super) fn cursor_partitions(self) -> (String, String) {
        (format!("{}!", self.0), format!("{}\"", self.0))
    }
}

/// What is known of a view's generations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewState {
    /// The generation that is read.
    pub live: Generation,
    /// The highest number that was ever given.
    pub last: Generation,
    /// The rebuild under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
}

impl Default for ViewState {
    fn default() -> Self {
        ViewState { live: Generation::FIRST, last: Generation::FIRST, rebuild: None }
    }
}

/// A rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuild {
    /// Its id.
    pub id: String,
    /// The generation that it makes.
    pub generation: Generation,
    /// The generation that was live when it began.
    pub replaces: Generation,
    /// How far it is.
    pub phase: Phase,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it last came further.
    #[serde(with = "time::serde::rfc3339")]
    pub changed: OffsetDateTime,
    /// The number of the tick that is on its way.
    pub tick: u64,
    /// How many ticks have passed since it last came further.
    #[serde(default)]
    pub idle: u64,
    /// What it reads, category by category.
    pub sources: Vec<SourceProgress>,
    /// How many rows of the generation that goes were deleted.
    pub deleted: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RebuildFailure>,
}

impl Rebuild {
    /// The message id of the tick that is on its way: under it stands in the `faults` table why it cannot go on.
    pub fn tick_id(&self) -> String {
        derive(&["tick", &self.id, &self.tick.to_string()]).to_string()
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Live events begin to go to the new generation, too.
    Waiting,
    /// The sources send their history.
    Filling,
    /// The new generation is read; the old one is still written for those that have not noticed.
    Swapped,
    /// The old generation is deleted.
    Deleting,
    /// It is done.
    Done,
    /// It failed: the new generation is deleted.
    Failing,
    /// It failed, and nothing is left of it.
    Failed,
}

impl Phase {
    /// Whether the new generation is being made.
    pub fn is_building(self) -> bool {
        matches!(self, Phase::Waiting | Phase::Filling)
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Done | Phase::Failed)
    }
}

/// Why a rebuild failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildFailure {
    /// A stable code.
    pub code: String,
    /// What happened.
    pub message: String,
}

/// How far one category is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceProgress {
    /// The category.
    pub category: String,
    /// The service that owns it.
    pub service: String,
    /// Every aggregate up to here is verified.
    pub reached: Place,
    /// Whether that is all of them.
    pub done: bool,
    /// How many aggregates with events are verified.
    pub aggregates: u64,
    /// How many events they have published.
    pub events: u64,
    /// When it was last asked to go on.
    #[serde(with = "time::serde::rfc3339")]
    pub asked: OffsetDateTime,
}

impl ViewState {
    /// The rebuild with the id, while it makes its generation.
    pub(super) fn building(&self, id: &str) -> Option<&Rebuild> {
        self.rebuild.as_ref().filter(|rebuild| rebuild.id == id && rebuild.phase.is_building())
    }

    /// Which generations events go to.
    fn written(&self) -> Written {
        let also = self.rebuild.as_ref().and_then(|rebuild| match rebuild.phase {
            Phase::Waiting | Phase::Filling => {
                Some(Also { generation: rebuild.generation, building: Some(rebuild.id.as_str().into()) })
            }
            Phase::Swapped => Some(Also { generation: rebuild.replaces, building: None }),
            Phase::Deleting | Phase::Done | Phase::Failing | Phase::Failed => None,
        });
        Written { live: self.live, also }
    }
}

/// Reads a view's state with its tag. A view that was never rebuilt has none.
///
/// # Errors
/// A store that is away, or a row that is not as this code writes it.
pub async fn read_state(store: &dyn TableStore, view: &str) -> Result<(ViewState, Option<Etag>), Fault> {
    let partition = encode_key(view);
    let Some(row) = store.get(GENERATIONS_TABLE, &partition, STATE).await? else {
        return Ok((ViewState::default(), None));
    };
    Ok((state_of(&partition, &row)?, Some(row.etag)))
}

fn state_of(partition: &str, row: &StoredRow) -> Result<ViewState, Fault> {
    let json = get_text(row, "State").map_err(|error| corrupt(partition, STATE, error))?;
    let json = json.ok_or_else(|| corrupt(partition, STATE, "State is missing"))?;
    serde_json::from_str(&json).map_err(|error| corrupt(partition, STATE, error))
}

/// The state of a view that is named in any of its spellings, with its proper name; `None` where no view of the name was
/// ever rebuilt, whether or not there is one.
///
/// # Errors
/// See [`read_state`].
pub async fn find_state(store: &dyn TableStore, view: &str) -> Result<Option<(String, ViewState)>, Fault> {
    // One partition for each view that was ever rebuilt; no view is called `~~`.
    let sweep = Sweep { from: " ".into(), to: "~~".into(), row: Some(STATE.to_owned()), top: 1_000 };
    let mut next = None;
    loop {
        let page = store.sweep(GENERATIONS_TABLE, &sweep, next.as_ref()).await?;
        for (partition, row) in &page.rows {
            let name = decode_key(partition).unwrap_or_else(|| partition.clone());
            if is_same_view(&name, view) {
                return Ok(Some((name, state_of(partition, row)?)));
            }
        }
        match page.next {
            Some(more) => next = Some(more),
            None => return Ok(None),
        }
    }
}

/// Whether two names mean one view: `customer-totals` is `customerTotals`.
pub fn is_same_view(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    plain(one) == plain(other)
}

/// Writes a view's state if its tag is still this one, `also` in the same transaction.
pub(super) async fn write_state(
    store: &dyn TableStore,
    view: &str,
    state: &ViewState,
    tag: Option<Etag>,
    also: Vec<Operation>,
) -> Result<(), TransactError> {
    let mut row = Row::new(STATE);
    // Plain data: it has JSON.
    put_text(&mut row, "State", &serde_json::to_string(state).unwrap_or_default());
    let mut operations = vec![match tag {
        Some(tag) => Operation::Replace(row, tag),
        None => Operation::Insert(row),
    }];
    operations.extend(also);
    store.transact(GENERATIONS_TABLE, &encode_key(view), &operations).await.map(drop)
}

/// Ends a rebuild that cannot succeed. The view stays as it is.
pub(super) async fn fail(shared: &Shared, view: &str, id: &str, fault: &Fault) -> Result<(), Fault> {
    for conflict in 0..=MAX_CONFLICTS {
        if conflict > 0 {
            give_way(&*shared.clock, conflict).await;
        }
        let (mut state, tag) = read_state(&*shared.store, view).await?;
        let now = shared.clock.now();
        let Some(rebuild) = state.rebuild.as_mut().filter(|it| it.id == id && it.phase.is_building()) else {
            return Ok(());
        };
        rebuild.phase = Phase::Failing;
        rebuild.changed = now;
        rebuild.failure = Some(RebuildFailure { code: fault.code.to_owned(), message: fault.message.clone() });
        match write_state(&*shared.store, view, &state, tag, Vec::new()).await {
            Ok(()) => {
                tracing::error!(code = fault.code, message = %fault.message, view, rebuild = id, "the rebuild failed");
                return Ok(());
            }
            Err(TransactError::Refused(error)) => return Err(error.into()),
            Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {}
        }
    }
    Err(Fault::transient("VIEW_CONFLICT", format!("{view}: the state changed all the time")))
}

/// Which generations events go to.
#[derive(Debug, Clone)]
struct Written {
    live: Generation,
    also: Option<Also>,
}

#[derive(Debug, Clone)]
struct Also {
    generation: Generation,
    /// The rebuild that makes it; `None` for the one that goes.
    building: Option<Arc<str>>,
}

/// When something was read, by both clocks: one of them may jump, the other may stand still while the machine sleeps.
#[derive(Debug, Clone, Copy)]
struct ReadAt {
    monotonic: Duration,
    wall: OffsetDateTime,
}

impl ReadAt {
    fn now(clock: &dyn Clock) -> Self {
        ReadAt { monotonic: clock.monotonic(), wall: clock.now() }
    }

    fn is_fresh(&self, clock: &dyn Clock) -> bool {
        let now = ReadAt::now(clock);
        now.monotonic.checked_sub(self.monotonic).is_some_and(|age| age <= FRESH)
            && (time::Duration::ZERO..=FRESH.try_into().unwrap_or(time::Duration::ZERO))
                .contains(&(now.wall - self.wall))
    }
}

/// A view's generations, as a consumer of events follows them.
pub(super) struct Pointer {
    view: &'static str,
    known: Mutex<Option<(ReadAt, Written)>>,
}

impl Pointer {
    pub(super) fn of(view: &'static str) -> Self {
        Pointer { view, known: Mutex::new(None) }
    }

    /// Which generations an event goes to that has arrived before this call. Whoever reads the state for it begins to
    /// read after the event arrived, or began at most [`FRESH`] ago.
    async fn written(&self, shared: &Shared) -> Result<Written, Fault> {
        let mut known = self.known.lock().await;
        if let Some((at, written)) = &*known
            && at.is_fresh(&*shared.clock)
        {
            return Ok(written.clone());
        }
        let at = ReadAt::now(&*shared.clock);
        let written = read_state(&*shared.store, self.view).await?.0.written();
        *known = Some((at, written.clone()));
        Ok(written)
    }

    pub(super) async fn live(&self, shared: &Shared) -> Result<Generation, Fault> {
        Ok(self.written(shared).await?.live)
    }

    /// Does the same to every generation that is written; `one` is told whether it is the live one. A generation in the
    /// making that cannot take an event fails its rebuild, not the event.
    pub(super) async fn each<F>(&self, shared: &Shared, one: impl Fn(Generation, bool) -> F) -> Result<(), Fault>
    where
        F: Future<Output = Result<(), Fault>>,
    {
        let Written { live, also } = self.written(shared).await?;
        let Some(also) = also else { return one(live, true).await };
        let (taken, other) = join(one(live, true), one(also.generation, false)).await;
        let other = match other {
            Err(fault) if !fault.is_transient() => match &also.building {
                Some(id) => fail(shared, self.view, id, &fault).await,
                None => Ok(()),
            },
            other => other,
        };
        match (taken, other) {
            // One that may pass is waited for, even if another never will.
            (Err(fault), Err(other)) if !fault.is_transient() => Err(other),
            (Err(fault), _) => Err(fault),
            (Ok(()), other) => other,
        }
    }
}

/// The live generation of each view, and when that was read.
type KnownLive = HashMap<&'static str, (Option<ReadAt>, Generation)>;

/// The live generations, as a reader of views follows them.
#[derive(Clone)]
pub(super) struct Live {
    clock: Option<Arc<dyn Clock>>,
    known: Arc<std::sync::Mutex<KnownLive>>,
}

impl Live {
    /// Without a clock nothing is remembered for any time.
    pub(super) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
        Live { clock, known: Arc::default() }
    }

    /// Reads from the live generation. What was remembered too long ago is looked up while the read is under way, so
    /// that a query takes no longer; only if it is no more true, the read is done again.
    pub(super) async fn read<T, F>(
        &self,
        store: &dyn TableStore,
        view: &'static str,
        one: impl Fn(Generation) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(view).copied();
        if let (Some((Some(at), generation)), Some(clock)) = (known, &self.clock)
            && at.is_fresh(&**clock)
        {
            return one(generation).await;
        }
        let guess = known.map_or(Generation::FIRST, |(_, generation)| generation);
        let at = self.clock.as_deref().map(ReadAt::now);
        let (state, first) = join(read_state(store, view), one(guess)).await;
        let live = state?.0.live;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(view, (at, live));
        if live == guess { first } else { one(live).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_a_generation_hold_its_partitions_and_no_others() {
        let within = |(from, to): &(String, String), key: &str| key >= from.as_str() && key < to.as_str();
        for (generation, others) in [(1, [2, 10, 11]), (9, [8, 10, 99]), (19, [1, 2, 190]), (10, [1, 100, 11])] {
            let rows = Generation(generation).partitions();
            let cursors = Generation(generation).cursor_partitions();
            for name in [" ", "a", "zzz", "~~~", "!"] {
                assert!(within(&rows, &Generation(generation).partition(name)), "{generation} {name}");
                assert!(within(&cursors, &Generation(generation).cursor_partition(name)), "{generation} {name}");
                assert!(!within(&rows, &Generation(generation).cursor_partition(name)));
                assert!(!within(&cursors, &Generation(generation).partition(name)));
                for other in others.map(Generation) {
                    for key in [other.partition(name), other.cursor_partition(name)] {
                        assert!(!within(&rows, &key) && !within(&cursors, &key), "{generation} {key}");
                    }
                }
            }
        }
    }
}

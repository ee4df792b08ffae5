//! `rebuild`: a view is made anew beside the live one; this command starts that, or follows the one under way.
//!
//! The service does it ([`skein_core::views`]): the command sends one message to its rebuild queue, reads the row that
//! says how far it is, and ends when the new generation is read. It holds nothing: killed and started again, it finds the
//! rebuild under way. Where nothing moves, it looks for the reason in the `faults` rows of whoever is waited for.

mod follow;
mod show;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;
use skein_core::Fault;
use skein_core::handler::recorded_fault;
use skein_core::ports::{CommandQueue as _, TableStore, rebuild_queue};
use skein_core::republish::{RebuildMessage, RebuildOf, RepublishCategory, Start, republish_category};
use skein_core::store::{EventStore, Place};
use skein_core::views::{self, Phase, SourceProgress, ViewState, find_state, read_state};
use tokio::signal::ctrl_c;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::Done;
use crate::flags::{Output, Rebuild};
use crate::operator::Operator;
use follow::{Following, Look};
use show::Show;

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// After so long without a move it is told why, and again each time.
const SILENCE: Duration = Duration::from_secs(30);

/// A rebuild that is read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rebuilt {
    service: String,
    view: String,
    /// Its id.
    rebuild: String,
    /// Whether it was under way already.
    joined: bool,
    generation: u32,
    replaces: u32,
    sources: Vec<RebuiltFrom>,
    /// From its beginning until it was seen to be read.
    seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RebuiltFrom {
    category: String,
    service: String,
    aggregates: u64,
    events: u64,
}

/// Starts or follows a rebuild until the new generation is read.
///
/// # Errors
/// A view that there is not, a rebuild that failed, one that stands still for too long, a plane that is away.
pub async fn run(operator: &Operator, ask: &Rebuild, output: Output) -> Result<Done> {
    let service = operator.places.service();
    let mut show = Show::new();
    let followed = tokio::select! {
        followed = follow(operator, ask, &mut show) => Some(followed),
        _ = ctrl_c() => None,
    };
    show.end();
    let Some(rebuilt) = followed.transpose()? else {
        eprintln!("the rebuild goes on by itself; `cargo xtask rebuild {service} {}` follows it again", ask.view);
        return Ok(Done::Left);
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string(&rebuilt)?),
        Output::Text => {
            let Rebuilt { view, generation, replaces, seconds, .. } = &rebuilt;
            println!("{view} of {service} is rebuilt: generation {generation} is read after {seconds:.0} s");
            for RebuiltFrom { category, service, aggregates, events } in &rebuilt.sources {
                println!("  {events} events of {aggregates} aggregates of {category} ({service})");
            }
            println!("  generation {replaces} is deleted by itself");
        }
    }
    Ok(Done::Fully)
}

/// What a follower reads.
struct Follower<'a> {
    operator: &'a Operator,
    store: Arc<dyn TableStore>,
    service: &'a str,
    /// The view as the command line names it.
    view: &'a str,
    /// Its proper name, once it is known.
    name: Option<String>,
}

async fn follow(operator: &Operator, ask: &Rebuild, show: &mut Show) -> Result<Rebuilt> {
    let service = operator.places.service();
    let store = operator.tables(operator.places.one("query-store")?)?;
    let queue = operator.queue("rebuild", &rebuild_queue(service))?;
    let mut follower = Follower { operator, store, service, view: &ask.view, name: None };
    let under_way = follower.state().await?.and_then(|state| state.rebuild);
    let mut following = match under_way.filter(|rebuild| rebuild.phase.is_building()) {
        Some(rebuild) => Following::joining(&rebuild),
        None => {
            let id = Uuid::new_v4().to_string();
            let start = Start { view: ask.view.clone(), id: id.clone(), due: 0 };
            let message = RebuildMessage::Start(start).to_message(id.clone())?;
            queue.send(&rebuild_queue(service), &[message]).await?;
            Following::asked(&id)
        }
    };
    let mut totals = None;
    let mut moved = Instant::now();
    let mut told = moved;
    let mut mark = String::new();
    loop {
        let look = match follower.state().await {
            Ok(state) => following.look(state),
            Err(fault) if fault.is_transient() => Look::Away(fault),
            Err(fault) => return Err(fault.into()),
        };
        let mut numbers = None;
        let what = match &look {
            Look::Swapped(rebuild) => return Ok(follower.rebuilt(&following, rebuild)),
            Look::Failed(rebuild) => {
                let view = follower.name();
                let why = rebuild.failure.as_ref().map(|it| format!("{}: {}", it.code, it.message)).unwrap_or_default();
                bail!("the rebuild of {view} failed, and {view} stays as it was: {why}");
            }
            Look::Overtaken => bail!(
                "the rebuild of {} ended unseen, and another one has begun; the same command follows that one",
                follower.name()
            ),
            Look::NotTaken => {
                follower.refusal(&following).await?;
                format!("waiting until the query app of {service} takes the message")
            }
            Look::Before(rebuild) => {
                format!("waiting for the rebuild before this one: {} old rows are deleted", rebuild.deleted)
            }
            Look::Under(rebuild) if rebuild.phase == Phase::Waiting => {
                format!("generation {} begins: waiting until all live events go to it, too", rebuild.generation.0)
            }
            Look::Under(rebuild) => {
                let totals = totals.get_or_insert_with(|| Totals::count(operator, &rebuild.sources));
                numbers = Some((rebuild, totals.known()));
                if rebuild.sources.iter().all(|source| source.done) {
                    format!("all history is in generation {}: waiting until it is read", rebuild.generation.0)
                } else {
                    format!("generation {} is filled from {}", rebuild.generation.0, open(&rebuild.sources))
                }
            }
            Look::Away(fault) => format!("waiting for the query store of {service}: {fault}"),
        };
        show.phase(&what);
        if let Some((rebuild, total)) = numbers {
            show.filling(rebuild, total);
        }
        if let Some(now) = look.mark().filter(|now| *now != mark) {
            (mark, moved, told) = (now, Instant::now(), Instant::now());
        }
        if moved.elapsed() > ask.timeout {
            let why = follower.why(&following, &look).await;
            bail!(
                "nothing has moved for {} s: {why}. The rebuild goes on once it can; the same command follows it again",
                ask.timeout.as_secs()
            );
        }
        if told.elapsed() > SILENCE {
            told = Instant::now();
            let why = follower.why(&following, &look).await;
            show.note(&format!("nothing has moved for {} s: {why}", moved.elapsed().as_secs()));
        }
        sleep(EVERY).await;
    }
}

/// The categories that are not in yet.
fn open(sources: &[SourceProgress]) -> String {
    let open = sources.iter().filter(|source| !source.done);
    open.map(|source| format!("{} ({})", source.category, source.service)).collect::<Vec<_>>().join(", ")
}

impl Follower<'_> {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.view)
    }

    async fn state(&mut self) -> Result<Option<ViewState>, Fault> {
        if let Some(name) = &self.name {
            return Ok(Some(read_state(&*self.store, name).await?.0));
        }
        Ok(find_state(&*self.store, self.view).await?.map(|(name, state)| {
            self.name = Some(name);
            state
        }))
    }

    /// Whether the service has refused to begin.
    async fn refusal(&self, following: &Following) -> Result<()> {
        match recorded_fault(&*self.store, "rebuild", &following.id).await {
            Ok(Some(fault)) if !fault.transient => bail!("{}: {}", fault.code, fault.reason),
            _ => Ok(()),
        }
    }

    /// Why nothing moves, as far as it can be seen.
    async fn why(&self, following: &Following, look: &Look) -> String {
        let service = self.service;
        let silent = format!("the query app of {service} does not take its messages; does it run?");
        match look {
            Look::Away(fault) => format!("the query store of {service} is away: {fault}"),
            Look::NotTaken => self.fault_of(&following.id).await.unwrap_or(silent),
            Look::Before(rebuild) => self.fault_of(&rebuild.tick_id()).await.unwrap_or(silent),
            Look::Under(rebuild) => match self.fault_of(&rebuild.tick_id()).await {
                Some(fault) => fault,
                None if rebuild.phase == Phase::Waiting => silent,
                None => {
                    let mut all = Vec::new();
                    for source in rebuild.sources.iter().filter(|source| !source.done) {
                        all.push(self.why_silent(rebuild, source).await);
                    }
                    all.join("; ")
                }
            },
            Look::Swapped(_) | Look::Failed(_) | Look::Overtaken => String::new(),
        }
    }

    async fn fault_of(&self, message: &str) -> Option<String> {
        let fault = recorded_fault(&*self.store, "rebuild", message).await.ok()??;
        Some(format!("{} (attempt {}): {}", fault.code, fault.attempt, fault.reason))
    }

    /// What the source says of the slice that is waited for.
    async fn why_silent(&self, rebuild: &views::Rebuild, source: &SourceProgress) -> String {
        let SourceProgress { category, service, reached, .. } = source;
        let of = RebuildOf { service: self.service.to_owned(), view: self.name().to_owned(), id: rebuild.id.clone() };
        let slice = RepublishCategory { to: of, from: reached.clone(), chain: 0 };
        let fault = async {
            let message = republish_category(category, &slice, self.service).ok()?;
            let shards = self.operator.of(service).ok()?.shards().ok()?;
            recorded_fault(&**shards.first()?, "commands", &message.id).await.ok()?
        };
        match fault.await {
            Some(fault) => {
                let kind = if fault.transient { "tries again" } else { "gave up" };
                format!("{service} {kind} with its {category} events: {}: {}", fault.code, fault.reason)
            }
            None => format!(
                "no more {category} events come from {service}; it is asked again every five minutes: does its command \
                 app run?"
            ),
        }
    }

    fn rebuilt(&self, following: &Following, rebuild: &views::Rebuild) -> Rebuilt {
        let from = |source: &SourceProgress| RebuiltFrom {
            category: source.category.clone(),
            service: source.service.clone(),
            aggregates: source.aggregates,
            events: source.events,
        };
        Rebuilt {
            service: self.service.to_owned(),
            view: self.name().to_owned(),
            rebuild: rebuild.id.clone(),
            joined: following.joined,
            generation: rebuild.generation.0,
            replaces: rebuild.replaces.0,
            sources: rebuild.sources.iter().map(from).collect(),
            seconds: (rebuild.changed - rebuild.started).as_seconds_f64(),
        }
    }
}

/// How many aggregates there are to come: whoever follows counts them, so that a rebuild need not.
struct Totals {
    counted: Arc<(AtomicU64, AtomicUsize)>,
    sources: usize,
    /// Ends with this value.
    _tasks: JoinSet<()>,
}

impl Totals {
    fn count(operator: &Operator, sources: &[SourceProgress]) -> Self {
        let counted = Arc::<(AtomicU64, AtomicUsize)>::default();
        let mut tasks = JoinSet::new();
        for SourceProgress { category, service, .. } in sources {
            // Where it cannot be counted, the number that has come is told alone.
            let Ok(store) = operator.of(service).and_then(|operator| operator.event_store()) else { continue };
            let (counted, category) = (Arc::clone(&counted), category.clone());
            tasks.spawn(async move {
                if let Ok(number) = count(&store, &category).await {
                    counted.0.fetch_add(number, Ordering::Relaxed);
                    counted.1.fetch_add(1, Ordering::Release);
                }
            });
        }
        Totals { counted, sources: sources.len(), _tasks: tasks }
    }

    /// The number, once all were counted.
    fn known(&self) -> Option<u64> {
        let all = self.counted.1.load(Ordering::Acquire) == self.sources;
        all.then(|| self.counted.0.load(Ordering::Relaxed))
    }
}

/// How many aggregates of a category have published anything.
async fn count(store: &EventStore, category: &str) -> Result<u64, Fault> {
    let (mut number, mut place) = (0, Place::default());
    loop {
        let slice = store.aggregates(category, &place, 1_000).await?;
        number += slice.found.iter().filter(|(_, tip)| tip.sequence > 0).count() as u64;
        if slice.last {
            return Ok(number);
        }
        place = slice.through;
    }
}

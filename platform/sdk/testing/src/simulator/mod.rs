//! A deterministic simulator: the real command handler, event store, projections, top list, reactions and process
//! manager over a world in which everything goes wrong.
//!
//! One thread, one seeded scheduler, one virtual clock. Every call of a port is a point at which the scheduler
//! decides who goes on and what breaks: requests and answers get lost or arrive late, processes die with all they
//! remember, locks are lost while their holder goes on, tables and topic go away, events come twice and in any order,
//! clocks jump, old code runs beside new code. Whatever happened, the checks of [`CHECKS`] hold at the end.
//!
//! A [`Stack`] stands between engine and world: model adapters on a model of the tables, or real adapters that are
//! built on a [`Wire`], and a real store that keeps the rows.
//!
//! # Fault points
//!
//! Each is struck at every step of each script ([`scripts`]): one command of each kind, one command with two workers
//! at once, commands on a stale cache, commands beside older code, two commands that race. Then at random, by seed.
//!
//! | fault point | how |
//! |---|---|
//! | after receive | `DieAfter` at the next message: it is locked, and nobody handles it until the lock expires |
//! | after load, after decide | `Die` at the transaction that would have followed |
//! | the transaction's request is lost | `Lost` |
//! | it is applied, the answer is lost | `AnswerLost` |
//! | it is applied late, after the retry | `Late`, by 1 to 30 steps; a dying process leaves half of its requests behind |
//! | after commit | `DieAfter` at the transaction |
//! | in the middle of publishing | `Partly`; `Die` and `DieAfter` between sending commands and publishing events |
//! | before and after settling | `Die` and `DieAfter` at settling, and `Lost` and `AnswerLost`: the lock runs out |
//! | a lock expires, two workers at once | `LockLost`, scripts in which the other worker overtakes, runs without sessions |
//! | a stale cache | scripts in which the workers take turns; every random run with several workers |
//! | storage and topic are away or throttle | `Away` and `Throttled` (503, 429) once; `StoreAway` and `TopicAway` for 1 s to 10 min |
//! | an empty page that goes on, a short one | `EmptyPage`, `SmallPage` |
//! | deliveries doubled, delayed, reordered | `Doubled`, `Delayed`; at random every delivery is |
//! | a projection's process dies before or after its commit | `Die`, `DieAfter` at the transactions of the events queue's workers |
//! | a clock jumps | `ClockJump`, by 2 s or an hour, forwards or back |
//! | two versions of the code at once | [`Era`]: scripts, and a quarter of the random runs |
//!
//! # Invariants
//!
//! Each is a check, and for each check a planted fault ([`Sabotage`]) has to make it fail.
//!
//! | invariant | check | planted fault |
//! |---|---|---|
//! | versions are gapless | `versions_are_gapless` | `SkipsAVersion` |
//! | rows are immutable | `rows_are_immutable` | `OverwritesCommits` |
//! | tip, commit and outcome appear together or not at all | `tip_commit_and_outcome_appear_together` | `SplitsTransactions` |
//! | a command id commits at most once | `a_command_commits_once` | `ForgetsOutcomes` |
//! | what was acknowledged is durable | `acknowledged_is_durable` | `TellsBeforeItIsWritten` |
//! | a rejection writes no event | `rejected_writes_no_event` | `CommitsRejections` |
//! | a duplicate gets the same reply and version, the same id with another payload an error | `duplicates_agree` | `ChangesReplies`, `AcceptsReusedKeys` |
//! | each committed integration event goes out at least once | `published_at_least_once` | `DropsEvents` |
//! | none without a commit, with identical bytes and id | `published_only_what_is_committed` | `PublishesBeforeCommit`, `RewritesEvents` |
//! | a message is settled only when its events are out | `settled_only_when_out` | `BuffersEvents` |
//! | each commit equals decide(fold(prefix)) | `commits_follow_from_their_prefix` | `DecidesOnce` |
//! | fold(snapshot + tail) = fold(all) | `snapshot_and_tail_agree` | `SnapshotsTooEarly` |
//! | … = what a handler remembers | `remembered_states_agree` | `ReadsWrongly` |
//! | every outcome, rejections included, proves its state | `outcomes_prove_their_state` | `RejectsOnOldState` |
//! | a view equals the fold of its events, whatever the order and repetition | `views_equal_their_fold` | `ForgetsSources`, `ForgetsParked`, `OverwritesViews` |
//! | a rebuilt view equals the fold of its events, and nothing else happened | `rebuilt_views_equal_their_fold` | `ForgetsHistory` |
//! | poison ends in the dead-letter queue, and nothing else does | `poison_is_dead_lettered` | `SwallowsPoison` |
//! | poison blocks no other session | `poison_blocks_nobody` | `HoldsPoison` |
//! | conflict retries are bounded | `conflict_retries_are_bounded` | `RetriesForEver` |
//! | queues, dead letters, events, snapshots, views, outcomes and faults hold no plaintext | `personal_data_is_sealed` | `ForgetsToSeal`, `QuotesPersonalData`, `SpillsPersonalData` |
//! | an erased person's key is gone before the fact is published, and never comes back | `erased_data_is_unreadable` | `KeepsKeys` |
//! | an erasure takes the keys that were there, once; whoever was not erased stays readable | `other_data_stays_readable` | `ErasesAgain` |
//! | embedded and Azure adapters go the same way from one seed | `adapters_agree` | a transport that loses conditions, in `skein-sim` |
//! | everything comes to an end | `everything_ends` | `KeepsFailures` |
//! | nothing is paid twice, no transfer stays under way | `coins_are_conserved` | `PaysTwice` |
//!
//! # Files
//!
//! | file | holds |
//! |---|---|
//! | `plan` | what a run is |
//! | `world`, `tables`, `rows`, `broker` | the world behind the ports, and the accidents |
//! | `ports`, `run` | processes and the executor |
//! | `domain`, `history` | purses and transfers, and what was before |
//! | `checks` | the invariants |
//! | `sabotage` | planted faults that the checks have to find |
//! | `exhaustive` | every accident at every step of short scripts |

mod broker;
mod chance;
mod checks;
mod domain;
mod exhaustive;
mod history;
mod plan;
mod ports;
mod rows;
mod run;
mod sabotage;
mod tables;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

pub use broker::Received;
pub use checks::CHECKS;
pub use domain::{SERVICE, TABLES};
pub use exhaustive::{Script, scripts};
pub use plan::{Ask, Client, Era, History, Outage, Plan, Poison, Schedule};
pub use ports::{PAUSE, Wire};
pub use run::{Adapters, Model, Stack, current, run};
pub use sabotage::Sabotage;
pub use world::{Answer, Channel, Request, Strike};

use skein_core::table::{Properties, Value};

/// A broken invariant.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The check's name.
    pub check: &'static str,
    /// What it found.
    pub what: String,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// How many steps it took.
    pub steps: usize,
    /// A digest of all steps: equal for equal runs.
    pub digest: u64,
    /// When the last event was delivered, since the beginning.
    pub last_delivery: Duration,
    /// The longest time from a command's first sending to its outcome.
    pub longest_wait: Duration,
    /// How many messages ended in a dead-letter queue.
    pub dead_letters: usize,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// The accidents that happened, by kind.
    pub struck: BTreeMap<&'static str, usize>,
    /// For a script: the accidents that each step allows.
    pub possible: Vec<(usize, &'static [Strike])>,
    /// The steps, if the plan asks for them.
    pub trace: Vec<String>,
}

/// A long text of a row, split as the event store splits it.
fn text_of(properties: &Properties, name: &str) -> Option<String> {
    let part = |n: usize| match properties.get(&format!("{name}{n}")) {
        Some(Value::String(text)) => Some(text.as_str()),
        _ => None,
    };
    part(0)?;
    Some((0..).map_while(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_above_name_every_accident_check_and_planted_fault() {
        let text: String = include_str!("mod.rs").lines().filter(|line| line.starts_with("//! |")).collect();
        let strikes = world::STRIKES.map(|strike| format!("{strike:?}"));
        let strikes = strikes.iter().map(|strike| strike.split('(').next().unwrap_or(strike).to_owned());
        let planted = Sabotage::ALL.map(|sabotage| format!("{sabotage:?}"));
        let missing: Vec<String> = strikes
            .chain(planted)
            .chain(CHECKS.map(str::to_owned))
            .filter(|name| !text.contains(&format!("`{name}`")))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

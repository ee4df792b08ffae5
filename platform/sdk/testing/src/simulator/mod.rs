//! A deterministic simulator: the real command handler, event store, projections, top list, reactions and process
//! manager over a world in which everything goes wrong.
//!
//! One thread, one seeded scheduler, one virtual clock. Every call of a port is a point at which the scheduler
//! decides who goes on and what breaks: requests and answers get lost or arrive late, processes die with all they
//! remember, locks are lost while their holder goes on, tables and topic go away, events come twice and in any order,
//! clocks jump, old code runs beside new code. Whatever happened, the checks of [`CHECKS`] hold at the end.
//!
//! The engine runs over [`model_store`], or over any adapter that is built on a [`Wire`].
//!
//! | file | holds |
//! |---|---|
//! | `plan` | what a run is |
//! | `world`, `tables`, `broker` | the world behind the ports, and the accidents |
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
mod run;
mod sabotage;
mod tables;
mod world;

use std::collections::BTreeMap;

pub use broker::Received;
pub use checks::CHECKS;
pub use exhaustive::{Script, scripts};
pub use plan::{Ask, Client, Era, History, Plan, Poison, Schedule};
pub use ports::{READ_PAUSE, Wire};
pub use run::{StoreOf, current, model_store, run};
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

//! Runs the simulator of `skein-testing` by the hundred thousand: every accident at every step of short scripts, then
//! random schedules by seed, over the embedded and the Azure adapters.

mod azure;
mod embedded;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub use azure::Azure;
pub use embedded::Embedded;
use skein_testing::simulator::{Model, Plan, Report, Sabotage, Script, Stack, Violation, run, scripts};

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Total {
    /// How many runs there were.
    pub runs: usize,
    /// Their steps, all together.
    pub steps: u64,
    /// The accidents, by kind.
    pub struck: BTreeMap<&'static str, usize>,
    /// The runs that broke something.
    pub broken: Vec<Broken>,
}

/// A run that broke something.
#[derive(Debug)]
pub struct Broken {
    /// What it was.
    pub name: String,
    /// Its plan, which runs again the same way.
    pub plan: Plan,
    /// What it broke.
    pub violations: Vec<Violation>,
}

impl Total {
    /// How many checks failed, over all runs.
    pub fn violations(&self) -> usize {
        self.broken.iter().map(|broken| broken.violations.len()).sum()
    }

    fn take(&mut self, name: impl FnOnce() -> String, plan: &Plan, report: Report) {
        self.runs += 1;
        self.steps += report.steps as u64;
        for (kind, times) in report.struck {
            *self.struck.entry(kind).or_default() += times;
        }
        if !report.violations.is_empty() {
            self.broken.push(Broken { name: name(), plan: plan.clone(), violations: report.violations });
        }
    }

    fn add(&mut self, other: Total) {
        self.runs += other.runs;
        self.steps += other.steps;
        for (kind, times) in other.struck {
            *self.struck.entry(kind).or_default() += times;
        }
        self.broken.extend(other.broken);
    }
}

/// Spreads work over threads; each has worlds of its own.
fn spread(threads: usize, work: impl Fn() -> Total + Sync) -> Total {
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mine = work();
                total.lock().unwrap_or_else(PoisonError::into_inner).add(mine);
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Every accident at every step of every script that `wanted` names: one command over the embedded and the Azure
/// adapters in turns, two that race over the model.
pub fn exhaustive(threads: usize, wanted: impl Fn(&Script) -> bool) -> Total {
    let scripts: Vec<Script> = scripts().into_iter().filter(|script| wanted(script)).collect();
    let next = AtomicUsize::new(0);
    spread(threads, || {
        let mut total = Total::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(script) = scripts.get(n) else { return total };
            let stack: &dyn Stack = match (script.is_race(), n % 2) {
                (true, _) => &Model,
                (false, 0) => &Embedded,
                (false, _) => &Azure { careless: false },
            };
            for plan in script.plans(stack) {
                let name = || format!("{}: {:?}", script.name, plan.schedule);
                total.take(name, &plan, run(&plan, stack));
            }
        }
    })
}

/// Random schedules with the seeds from `first` on, each run by `one`: see [`schedule`].
pub fn random(
    threads: usize,
    first: u64,
    schedules: u64,
    one: impl Fn(&Plan) -> Report + Sync,
    progress: impl Fn(u64) + Sync,
) -> Total {
    let next = AtomicU64::new(0);
    spread(threads, || {
        let mut total = Total::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= schedules {
                return total;
            }
            let seed = first.wrapping_add(n);
            let plan = Plan::random(seed);
            total.take(|| format!("seed {seed}"), &plan, one(&plan));
            progress(n + 1);
        }
    })
}

/// The stack of a plan: its seed says which.
fn stack_of(plan: &Plan) -> (&'static dyn Stack, &'static dyn Stack) {
    const STACKS: [&dyn Stack; 2] = [&Embedded, &Azure { careless: false }];
    if plan.seed.is_multiple_of(2) { (STACKS[0], STACKS[1]) } else { (STACKS[1], STACKS[0]) }
}

/// Runs a plan over one of the adapters, embedded for even seeds and Azure for odd ones, and one plan in
/// [`COMPARED`] over both.
pub fn schedule(plan: &Plan) -> Report {
    let (one, other) = stack_of(plan);
    if (plan.seed / 2).is_multiple_of(COMPARED) { agree(plan, one, other) } else { run(plan, one) }
}

/// One schedule in so many runs over both adapters.
pub const COMPARED: u64 = 20;

/// Runs a plan over two stacks, which have to go the same way from its seed. The report is the first one's.
pub fn agree(plan: &Plan, one: &dyn Stack, other: &dyn Stack) -> Report {
    let (mut report, second) = (run(plan, one), run(plan, other));
    if report.digest == second.digest && report.violations.len() == second.violations.len() {
        return report;
    }
    let traced = Plan { traced: true, ..plan.clone() };
    let (first, second) = (run(&traced, one).trace, run(&traced, other).trace);
    let parted = first.iter().zip(&second).position(|(one, other)| one != other);
    let place = parted.unwrap_or(first.len().min(second.len()));
    let line = |trace: &[String]| trace.get(place).cloned().unwrap_or_else(|| "the end".to_owned());
    let what = format!("one goes {:?}, the other {:?}", line(&first), line(&second));
    report.violations.push(Violation { check: "adapters_agree", what });
    report
}

/// One schedule again, over both adapters, every step written down.
pub fn replay(seed: u64) -> Report {
    let plan = Plan { traced: true, ..Plan::random(seed) };
    let (one, other) = stack_of(&plan);
    agree(&plan, one, other)
}

/// The first seed below `seeds` at which the check that has to find the planted fault finds it, and all checks that
/// find it there.
pub fn hunt(sabotage: Sabotage, seeds: u64) -> Option<(u64, Vec<&'static str>)> {
    (0..seeds).find_map(|seed| {
        let report = run(&Plan { sabotage: Some(sabotage), ..Plan::random(seed) }, &Model);
        let mut found: Vec<_> = report.violations.iter().map(|violation| violation.check).collect();
        found.sort_unstable();
        found.dedup();
        found.contains(&sabotage.found_by()).then_some((seed, found))
    })
}

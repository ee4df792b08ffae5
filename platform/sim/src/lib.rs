//! Runs the simulator of `skein-testing` by the hundred thousand: every accident at every step of short scripts, then
//! random schedules by seed.

mod azure;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub use azure::{azure_store, careless_azure_store};
use skein_testing::simulator::{Plan, Report, Sabotage, Script, StoreOf, Violation, model_store, run, scripts};

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Total {
    /// How many runs there were.
    pub runs: usize,
    /// Their steps, all together.
    pub steps: u64,
    /// The accidents, by kind.
    pub struck: BTreeMap<&'static str, usize>,
    /// The runs that broke something: what they were, and what they broke.
    pub broken: Vec<(String, Vec<Violation>)>,
}

impl Total {
    /// How many checks failed, over all runs.
    pub fn violations(&self) -> usize {
        self.broken.iter().map(|(_, violations)| violations.len()).sum()
    }

    fn take(&mut self, name: impl FnOnce() -> String, report: Report) {
        self.runs += 1;
        self.steps += report.steps as u64;
        for (kind, times) in report.struck {
            *self.struck.entry(kind).or_default() += times;
        }
        if !report.violations.is_empty() {
            self.broken.push((name(), report.violations));
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

/// Every accident at every step of every script that `wanted` names.
pub fn exhaustive(threads: usize, wanted: impl Fn(&Script) -> bool) -> Total {
    let scripts: Vec<Script> = scripts().into_iter().filter(|script| wanted(script)).collect();
    let next = AtomicUsize::new(0);
    spread(threads, || {
        let mut total = Total::default();
        while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
            for plan in script.plans(&model_store) {
                let name = || format!("{}: {:?}", script.name, plan.schedule);
                total.take(name, run(&plan, &model_store));
            }
        }
        total
    })
}

/// Random schedules with the seeds from `first` on.
pub fn random(threads: usize, first: u64, schedules: u64, progress: impl Fn(u64) + Sync) -> Total {
    let next = AtomicU64::new(0);
    spread(threads, || {
        let mut total = Total::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= schedules {
                return total;
            }
            let seed = first.wrapping_add(n);
            total.take(|| format!("seed {seed}"), run(&Plan::random(seed), &model_store));
            progress(n + 1);
        }
    })
}

/// One schedule again, every step written down.
pub fn replay(seed: u64) -> Report {
    run(&Plan { traced: true, ..Plan::random(seed) }, &model_store)
}

/// The first seed below `seeds` at which the check that has to find the planted fault finds it, and all checks that
/// find it there.
pub fn hunt(sabotage: Sabotage, seeds: u64) -> Option<(u64, Vec<&'static str>)> {
    (0..seeds).find_map(|seed| {
        let report = run(&Plan { sabotage: Some(sabotage), ..Plan::random(seed) }, &model_store);
        let mut found: Vec<_> = report.violations.iter().map(|violation| violation.check).collect();
        found.sort_unstable();
        found.dedup();
        found.contains(&sabotage.found_by()).then_some((seed, found))
    })
}

/// Whether model and Azure adapter go the same way from the same seed: the last steps of both, where they do not.
///
/// # Errors
/// Where they part.
pub fn compare(seed: u64) -> Result<Report, String> {
    compare_with(seed, &azure_store)
}

/// The same with another store in the adapter's place.
///
/// # Errors
/// Where they part.
pub fn compare_with(seed: u64, store: StoreOf<'_>) -> Result<Report, String> {
    let model = run(&Plan::random(seed), &model_store);
    let azure = run(&Plan::random(seed), store);
    if model.digest == azure.digest && model.violations.len() == azure.violations.len() {
        return Ok(azure);
    }
    let traced = Plan { traced: true, ..Plan::random(seed) };
    let (model, azure) = (run(&traced, &model_store).trace, run(&traced, store).trace);
    let parted = model.iter().zip(&azure).position(|(one, other)| one != other);
    let place = parted.unwrap_or(model.len().min(azure.len()));
    let line = |trace: &[String]| trace.get(place).cloned().unwrap_or_else(|| "the end".to_owned());
    Err(format!("seed {seed}: the model goes {:?}, the adapter {:?}", line(&model), line(&azure)))
}

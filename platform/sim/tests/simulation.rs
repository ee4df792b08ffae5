//! The exhaustive part and some hundred random schedules, each planted fault, and the Azure adapter beside the model.

use skein_sim::{Total, careless_azure_store, compare, compare_with, exhaustive, hunt, random, replay};
use skein_testing::simulator::{CHECKS, Plan, Sabotage, model_store, run};

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[track_caller]
fn nothing_broke(total: &Total) {
    println!("{} runs, {} steps, {:?}", total.runs, total.steps, total.struck);
    let first: Vec<String> =
        total.broken.iter().take(5).map(|(name, violations)| format!("{name}: {violations:?}")).collect();
    assert_eq!(total.violations(), 0, "{}", first.join("\n"));
}

#[test]
fn every_accident_at_every_step_of_one_command() {
    let total = exhaustive(threads(), |script| !script.name.contains(" first, then "));
    nothing_broke(&total);
    assert!(total.runs > 1_000, "{} runs", total.runs);
}

#[test]
fn accidents_of_two_commands_that_race() {
    // All of them run with `cargo xtask sim`.
    let total = exhaustive(threads(), |script| script.name.ends_with("at step 3 the other"));
    nothing_broke(&total);
    assert!(total.runs > 1_000, "{} runs", total.runs);
}

#[test]
fn random_schedules_hold_and_every_kind_of_accident_happens() {
    let total = random(threads(), 1_000_000, 500, |_| {});
    nothing_broke(&total);
    assert_eq!(total.struck.len(), 14, "{:?}", total.struck);
}

#[test]
fn a_seed_says_all() {
    for seed in 0..20 {
        let (one, other) = (replay(seed), replay(seed));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.digest, run(&Plan::random(seed), &model_store).digest, "a trace changes nothing");
    }
}

#[test]
fn every_planted_fault_is_found() {
    let mut missed = Vec::new();
    for sabotage in Sabotage::ALL {
        match hunt(sabotage, 3_000) {
            Some((seed, found)) => println!("{sabotage:?}: found at seed {seed} by {}", found.join(", ")),
            None => missed.push(format!("{sabotage:?} escaped {}", sabotage.found_by())),
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
    let idle: Vec<_> =
        CHECKS.iter().filter(|check| !Sabotage::ALL.iter().any(|one| one.found_by() == **check)).collect();
    assert!(idle.is_empty(), "no planted fault is for {idle:?}");
}

#[test]
fn the_azure_adapter_goes_the_same_way_as_the_model() {
    for seed in 0..150 {
        let report = compare(seed).unwrap_or_else(|parted| panic!("{parted}"));
        assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
    }
}

#[test]
fn an_adapter_that_loses_conditions_is_found() {
    let (mut parted, mut broken) = (0, 0);
    for seed in 0..300 {
        parted += u32::from(compare_with(seed, &careless_azure_store).is_err());
        broken += u32::from(!run(&Plan::random(seed), &careless_azure_store).violations.is_empty());
    }
    println!("{parted} of 300 seeds went another way, {broken} broke an invariant");
    assert!(parted > 0 && broken > 0);
}

//! The exhaustive part and some hundred random schedules, each planted fault, and the Azure adapter beside the model.

use std::time::Duration;

use skein_sim::{Azure, Embedded, Total, agree, exhaustive, hunt, random, replay, schedule};
use skein_testing::simulator::{CHECKS, Model, Outage, Plan, Sabotage, run};

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[track_caller]
fn nothing_broke(total: &Total) {
    println!("{} runs, {} steps, {:?}", total.runs, total.steps, total.struck);
    let first: Vec<String> =
        total.broken.iter().take(5).map(|broken| format!("{}: {:?}", broken.name, broken.violations)).collect();
    assert_eq!(total.violations(), 0, "{}", first.join("\n"));
}

#[test]
fn accidents_at_every_step_of_one_command() {
    // All of them run with `cargo xtask sim`.
    let some = [
        "a deposit",
        "a rejection by two workers at once",
        "a no-op on a stale cache",
        "an erasure, and a retry that comes after it",
    ];
    let total = exhaustive(threads(), |script| some.contains(&script.name.as_str()));
    nothing_broke(&total);
    assert!(total.runs > 1_000, "{} runs", total.runs);
}

#[test]
fn accidents_of_two_commands_that_race() {
    // All of them run with `cargo xtask sim`.
    let total = exhaustive(threads(), |script| {
        script.name.starts_with("a deposit") && script.name.ends_with("at step 3 the other")
    });
    nothing_broke(&total);
    assert!(total.runs > 1_000, "{} runs", total.runs);
}

#[test]
fn random_schedules_hold_and_every_kind_of_accident_happens() {
    let total = random(threads(), 1_000_000, 500, schedule, |_| {});
    nothing_broke(&total);
    assert_eq!(total.struck.len(), 16, "{:?}", total.struck);
}

#[test]
fn a_seed_says_all() {
    for seed in 0..20 {
        let (one, other) = (replay(seed), replay(seed));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.digest, schedule(&Plan::random(seed)).digest, "a trace changes nothing");
    }
}

#[test]
fn an_event_that_goes_out_again_tells_of_no_erasure_before_it_is_done() {
    // Found by chance: a gap's check had the fact published while the command's own worker was still on its way.
    let report = run(&Plan::random(3_699), &Model);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
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
    // Its planted fault lies between adapter and service, see below.
    let idle: Vec<_> = idle.into_iter().filter(|check| **check != "adapters_agree").collect();
    assert!(idle.is_empty(), "no planted fault is for {idle:?}");
}

#[test]
fn all_adapters_go_the_same_way() {
    for seed in 0..80 {
        let plan = Plan::random(seed);
        for report in [agree(&plan, &Embedded, &Azure::default()), agree(&plan, &Embedded, &Model)] {
            assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
        }
    }
}

#[test]
fn an_adapter_that_loses_conditions_is_found() {
    let careless = Azure { careless: true };
    let (mut parted, mut broken) = (0, 0);
    for seed in 0..80 {
        let plan = Plan::random(seed);
        let report = agree(&plan, &Embedded, &careless);
        parted += u32::from(report.violations.iter().any(|violation| violation.check == "adapters_agree"));
        broken += u32::from(!run(&plan, &careless).violations.is_empty());
    }
    println!("{parted} of 80 seeds went another way, {broken} broke an invariant");
    assert!(parted > 0 && broken > 0);
}

#[test]
fn a_topic_that_is_away_for_ten_minutes_costs_delay_and_nothing_else() {
    for seed in 0..10 {
        let plan = Plan::outage(seed, 40);
        let report = agree(&plan, &Embedded, &Azure::default());
        // No violation: every view shows everything, every client has its answer.
        assert!(report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
        assert_eq!(report.dead_letters, 0, "seed {seed}");
        let calm = run(&Plan { outage: None, ..plan.clone() }, &Embedded);
        assert!(calm.violations.is_empty(), "seed {seed}: {:?}", calm.violations);
        let end = plan.outage.map(Outage::end).expect("the plan has an outage");
        // The longest back-off of a command that kept failing, and what a transfer still needs after it.
        let limit = end + Duration::from_secs(2 * 240 + 60);
        assert!(calm.last_delivery < end + Duration::from_secs(60), "seed {seed}: {:?}", calm.last_delivery);
        assert!(end < report.last_delivery, "seed {seed}: {:?}, the outage was felt", report.last_delivery);
        assert!(report.last_delivery < limit, "seed {seed}: {:?}, at most {limit:?}", report.last_delivery);
    }
}

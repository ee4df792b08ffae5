//! `skein-sim`: all accidents of short scripts, then random schedules; or one schedule with its trace.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use lexopt::prelude::*;
use mimalloc::MiMalloc;
use skein_sim::{Azure, Embedded};
use skein_testing::simulator::{CHECKS, Model, Plan, Stack, run};

/// A run makes and drops small things by the hundred thousand: a fifth of its time goes to the allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is asked for.
struct Flags {
    schedules: Option<u64>,
    seed: Option<u64>,
    random_only: bool,
    over: Option<&'static dyn Stack>,
}

fn flags() -> Result<Flags, lexopt::Error> {
    let mut flags = Flags { schedules: None, seed: None, random_only: false, over: None };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("schedules") => flags.schedules = Some(args.value()?.parse()?),
            Long("seed") => flags.seed = Some(args.value()?.parse()?),
            Long("random-only") => flags.random_only = true,
            Long("over") => {
                flags.over = Some(match args.value()?.string()?.as_str() {
                    "model" => &Model,
                    "embedded" => &Embedded,
                    "azure" => &Azure { careless: false },
                    other => return Err(format!("--over {other:?} is not model, embedded or azure").into()),
                });
            }
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(flags)
}

fn main() -> ExitCode {
    let flags = match flags() {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("skein-sim: {error}");
            return ExitCode::from(2);
        }
    };
    match simulate(&flags) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("skein-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The number of violations.
fn simulate(flags: &Flags) -> Result<usize> {
    if let (Some(seed), None) = (flags.seed, flags.schedules) {
        return Ok(replay(seed));
    }
    let schedules = flags.schedules.unwrap_or(10_000);
    let threads = std::thread::available_parallelism().context("cannot count the processors")?.get();
    let first = flags.seed.unwrap_or(0);

    let begun = Instant::now();
    let scripted = skein_sim::exhaustive(threads, |_| !flags.random_only);
    eprintln!("every accident at every step: {} runs, {:.1} s", scripted.runs, begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let one = |plan: &Plan| flags.over.map_or_else(|| skein_sim::schedule(plan), |stack| run(plan, stack));
    let swarm = skein_sim::random(threads, first, schedules, one, |n| {
        if terminal && n.is_multiple_of(1_000) {
            eprint!("\r{n} of {schedules} random schedules");
        }
    });
    if terminal {
        eprint!("\r");
    }
    let took = begun.elapsed().as_secs_f64();
    eprintln!(
        "random, seeds from {first}: {} schedules, {} steps, {took:.1} s on {threads} threads",
        swarm.runs, swarm.steps
    );
    for (kind, times) in &swarm.struck {
        eprintln!("  {times:>9} × {kind}");
    }
    eprintln!("{} checks: {}", CHECKS.len(), CHECKS.join(", "));
    for broken in scripted.broken.iter().chain(&swarm.broken).take(20) {
        eprintln!("{}", broken.name);
        for violation in &broken.violations {
            eprintln!("  {}: {}", violation.check, violation.what);
        }
    }
    if let Some(broken) = scripted.broken.first().or(swarm.broken.first()) {
        eprintln!("the trace of the first, {}:", broken.name);
        let report = skein_sim::schedule(&Plan { traced: true, ..broken.plan.clone() });
        report.trace.iter().for_each(|line| eprintln!("{line}"));
    }
    let violations = scripted.violations() + swarm.violations();
    println!("{} schedules, {violations} violations", scripted.runs + swarm.runs);
    Ok(violations)
}

fn replay(seed: u64) -> usize {
    let report = skein_sim::replay(seed);
    for line in &report.trace {
        eprintln!("{line}");
    }
    for violation in &report.violations {
        eprintln!("seed {seed}: {}: {}", violation.check, violation.what);
    }
    println!("1 schedules, {} violations", report.violations.len());
    report.violations.len()
}

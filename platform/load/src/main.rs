//! `skein-load`: sends a file of orders through GraphQL, waits until every effect is visible, and sums up.

mod client;
mod file;
mod flags;
mod plan;
mod progress;
mod send;
mod summary;
mod views;

use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::time::Instant;

use crate::client::Client;
use crate::flags::{Flags, Output};
use crate::plan::{Meaning, Mutation, Plan};
use crate::progress::Progress;
use crate::send::{Outcome, send};
use crate::summary::{Summary, seconds};
use crate::views::{Committed, Expected, settle, snapshot, steps};

fn main() -> ExitCode {
    let flags = match flags::parse(lexopt::Parser::from_env()) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            println!("{}", flags::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("skein-load: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(flags: &Flags) -> Result<()> {
    let token = std::env::var("SKEIN_TOKEN").context("SKEIN_TOKEN holds no operator's token")?;
    let (rows, bad, bytes) = file::read(&flags.file)?;
    let plan = plan::plan(rows, bad, &bytes, flags.stock);
    for bad in &plan.bad {
        eprintln!("{}:{}: bad row: {}", flags.file.display(), bad.line, bad.reason);
    }
    let client = Client::new(&flags.url, &token, flags.timeout)?;
    let summary = load(&client, &plan, flags.concurrency).await?;
    match flags.output {
        Output::Text => println!("{summary}"),
        Output::Json => println!("{}", serde_json::to_string(&summary)?),
    }
    Ok(())
}

/// Loads a plan until every effect is visible.
async fn load(client: &Client, plan: &Plan, concurrency: usize) -> Result<Summary> {
    let start = Instant::now();
    let before = snapshot(client, plan, Progress::begin("looking at the views", steps(plan))).await?;
    // Units are there before anybody orders them, so that the order of processing decides nothing.
    let progress = Progress::begin("receiving stock", plan.receipts.len());
    let received = send(client, &plan.receipts, concurrency, progress).await?;
    let progress = Progress::begin("sending the file", plan.mutations.len());
    let sent = send(client, &plan.mutations, concurrency, progress).await?;
    let accepted_at = Instant::now();

    let outcomes = || plan.receipts.iter().zip(&received).chain(plan.mutations.iter().zip(&sent));
    for (mutation, outcome) in outcomes() {
        if let Outcome::Rejected(reason) = outcome {
            eprintln!("{} is refused: {reason}", mutation.name());
        }
    }
    let expected = if before.is_empty() { Expected::Exactly(Committed::of(outcomes())) } else { Expected::AtRest };
    let committed: Vec<_> = outcomes()
        .filter_map(|(mutation, outcome)| match (&mutation.meaning, outcome) {
            (Meaning::Order(invoice), Outcome::Committed) => Some(invoice.id.clone()),
            _ => None,
        })
        .collect();
    let orders = settle(client, plan, &expected, &committed).await?;

    let count = |of: fn(&Mutation) -> bool| plan.mutations.iter().filter(|mutation| of(mutation)).count();
    let status = |wanted: &str| orders.values().filter(|status| *status == wanted).count();
    let rejected = outcomes().filter(|(_, outcome)| **outcome != Outcome::Committed).count();
    Ok(Summary {
        orders: count(|mutation| matches!(mutation.meaning, Meaning::Order(_))),
        returns: count(|mutation| matches!(mutation.meaning, Meaning::Return(_))),
        adjustments: count(|mutation| matches!(mutation.meaning, Meaning::Adjustment { .. })),
        stock_receipts: plan.receipts.len(),
        accepted: sent.iter().filter(|outcome| **outcome == Outcome::Committed).count(),
        rejected,
        confirmed: status("CONFIRMED"),
        backordered: status("BACKORDERED"),
        bad_rows: plan.bad.len(),
        seconds: seconds(start.elapsed()),
        time_to_last_view_seconds: seconds(accepted_at.elapsed()),
    })
}

//! `events`: an aggregate's commits, oldest first, and its tip.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use skein_core::store::{Commit, EventStore, Tip};
use time::format_description::well_known::Rfc3339;

use crate::Done;
use crate::flags::{Events, Output};
use crate::operator::Operator;

/// Shows what was asked for.
///
/// # Errors
/// A store that is away or holds something else than Skein writes.
pub async fn run(operator: &Operator, ask: &Events, output: Output) -> Result<Done> {
    let Some(shown) = read(&operator.event_store()?, ask).await? else {
        eprintln!("nothing is known of {} in {}", ask.aggregate, operator.places.service());
        return Ok(Done::Nothing);
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string(&shown)?),
        Output::Text => print!("{}", text(&shown)),
    }
    Ok(Done::Fully)
}

/// What is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    aggregate: String,
    tip: ShownTip,
    commits: Vec<ShownCommit>,
    /// Where to go on; `null` at the end.
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownTip {
    version: u64,
    sequence: u64,
    published: u64,
    epoch: u32,
    snapshot_version: u64,
    snapshot_schema: u32,
    erased: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownCommit {
    first: u64,
    last: u64,
    time: String,
    command: String,
    #[serde(rename = "type")]
    name: String,
    submitter: String,
    correlation_id: String,
    traceparent: Option<String>,
    events: Vec<ShownEvent>,
    publications: Vec<Box<RawValue>>,
    commands: Vec<ShownOutgoing>,
}

#[derive(Debug, Serialize)]
struct ShownEvent {
    version: u64,
    name: String,
    schema: u32,
    payload: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct ShownOutgoing {
    service: Option<String>,
    aggregate: String,
    #[serde(rename = "type")]
    name: String,
    payload: Box<RawValue>,
}

/// Reads the commits; `None` where nothing is known of the aggregate.
///
/// # Errors
/// See [`EventStore::read_forwards`].
pub async fn read(store: &EventStore, ask: &Events) -> Result<Option<Shown>> {
    let Some(tip) = store.tip(&ask.aggregate).await? else { return Ok(None) };
    let commits = store.read_forwards(&ask.aggregate, ask.from, ask.limit).await?;
    let last = commits.last().map_or(0, |commit| commit.last);
    let next = (commits.len() == ask.limit && last < tip.version).then_some(last + 1);
    let commits = commits.into_iter().map(shown).collect::<Result<_>>()?;
    Ok(Some(Shown { aggregate: ask.aggregate.key(), tip: ShownTip::of(&tip), commits, next }))
}

impl ShownTip {
    fn of(tip: &Tip) -> Self {
        ShownTip {
            version: tip.version,
            sequence: tip.sequence,
            published: tip.published,
            epoch: tip.epoch,
            snapshot_version: tip.snapshot_version,
            snapshot_schema: tip.snapshot_schema,
            erased: tip.erased,
        }
    }
}

fn shown(commit: Commit) -> Result<ShownCommit> {
    let publications = commit
        .publications
        .iter()
        .map(|bytes| serde_json::from_slice(bytes).context("an integration event is no JSON"))
        .collect::<Result<_>>()?;
    let events = commit.events.into_iter().zip(commit.first..).map(|(event, version)| ShownEvent {
        version,
        name: event.name,
        schema: event.version,
        payload: event.payload,
    });
    let commands = commit.commands.into_iter().map(|outgoing| ShownOutgoing {
        service: outgoing.service,
        aggregate: outgoing.aggregate.key(),
        name: outgoing.name,
        payload: outgoing.payload,
    });
    Ok(ShownCommit {
        first: commit.first,
        last: commit.last,
        time: commit.meta.time.format(&Rfc3339)?,
        command: commit.meta.command.as_str().to_owned(),
        name: commit.meta.name,
        submitter: commit.meta.submitter,
        correlation_id: commit.meta.trace.correlation_id,
        traceparent: commit.meta.trace.traceparent,
        events: events.collect(),
        publications,
        commands: commands.collect(),
    })
}

/// For people: a commit a paragraph.
fn text(shown: &Shown) -> String {
    let mut text = String::new();
    let tip = &shown.tip;
    let _ = write!(
        text,
        "{}: version {}, sequence {}, published {}, epoch {}",
        shown.aggregate, tip.version, tip.sequence, tip.published, tip.epoch
    );
    if tip.snapshot_version > 0 {
        let _ = write!(text, ", snapshot of {} (schema {})", tip.snapshot_version, tip.snapshot_schema);
    }
    text.push_str(if tip.erased { ", erased\n" } else { "\n" });
    for commit in &shown.commits {
        let _ = writeln!(text, "\n{} {} by {} ({})", commit.time, commit.name, commit.submitter, commit.command);
        for event in &commit.events {
            let _ = writeln!(text, "  {:>4} {} v{} {}", event.version, event.name, event.schema, event.payload.get());
        }
        for publication in &commit.publications {
            let event: Value = serde_json::from_str(publication.get()).unwrap_or_default();
            let member = |name: &str| event[name].as_str().map_or_else(|| event[name].to_string(), str::to_owned);
            let _ = writeln!(text, "  published {} sequence {} ({})", member("type"), member("sequence"), member("id"));
        }
        for outgoing in &commit.commands {
            let service = outgoing.service.as_deref().map(|name| format!(" of {name}")).unwrap_or_default();
            let _ = writeln!(text, "  sent {} to {}{service}", outgoing.name, outgoing.aggregate);
        }
    }
    if let Some(next) = shown.next {
        let _ = writeln!(text, "\nmore from version {next}: --from {next}");
    }
    text
}

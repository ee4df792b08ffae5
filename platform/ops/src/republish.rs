//! `republish`: stored integration events are published again, byte for byte.
//!
//! The service does it: a system command for each aggregate goes to the service's own command queue, so that the events
//! leave in the order of the aggregate's commands, and a topic that is away is waited for. A category is gone through in
//! slices; after each it is told where to go on. Doing it twice harms nobody.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use skein_core::AggregateId;
use skein_core::ports::{CommandQueue, Message};
use skein_core::republish;
use skein_core::store::{EventStore, Place};
use tokio::signal::ctrl_c;
use uuid::Uuid;

use crate::Done;
use crate::flags::{Output, Republish};
use crate::operator::Operator;

/// How many aggregates a slice covers.
const SLICE: u32 = 100;

/// What was asked of a service.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Aggregates whose events are sent again.
    pub aggregates: u64,
    /// How many events these are.
    pub events: u64,
    /// Where to go on, as `--after` takes it; `null` at the end.
    pub next: Option<String>,
}

/// Asks the service.
///
/// # Errors
/// A store or a queue that is away. What was asked for before stays so.
pub async fn run(operator: &Operator, ask: &Republish, output: Output) -> Result<Done> {
    let service = operator.places.service();
    let (store, queue) = (operator.event_store()?, operator.queue("commands", service)?);
    let (asked, what) = match ask {
        Republish::Aggregate { aggregate, from } => {
            let Some(tip) = store.tip(aggregate).await? else {
                eprintln!("nothing is known of {aggregate} in {service}");
                return Ok(Done::Nothing);
            };
            if tip.sequence < *from {
                eprintln!("{aggregate} has {} integration events: there is none from {from}", tip.sequence);
                return Ok(Done::Nothing);
            }
            queue.send(service, &[command(aggregate.clone(), *from)?]).await?;
            let asked = Asked { aggregates: 1, events: tip.sequence - from + 1, next: None };
            (asked, format!("events {from} to {} of {aggregate}", tip.sequence))
        }
        Republish::Category { category, after } => {
            let asked = tokio::select! {
                asked = all(&store, &queue, service, category, after.clone()) => asked?,
                _ = ctrl_c() => {
                    eprintln!("stopped; what was asked for is sent");
                    return Ok(Done::Left);
                }
            };
            if asked.events == 0 {
                eprintln!("there is no {category} with integration events in {service}");
                return Ok(Done::Nothing);
            }
            let what = format!("{} events of {} aggregates of {category}", asked.events, asked.aggregates);
            (asked, what)
        }
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string(&asked)?),
        Output::Text => println!("{service} was asked to publish {what} again"),
    }
    Ok(Done::Fully)
}

/// Goes through a category, slice by slice.
///
/// # Errors
/// A store or a queue that is away: the error says where to go on.
pub async fn all(
    store: &EventStore,
    queue: &dyn CommandQueue,
    service: &str,
    category: &str,
    after: Place,
) -> Result<Asked> {
    let mut asked = Asked { next: Some(text_of(&after)), ..Asked::default() };
    let mut place = after;
    loop {
        let told = |asked: &Asked| {
            let place = asked.next.as_deref().unwrap_or_default();
            format!("{} aggregates were asked for; go on with `--after {place}`", asked.aggregates)
        };
        let slice = store.aggregates(category, &place, SLICE).await.with_context(|| told(&asked))?;
        let publishing = || slice.found.iter().filter(|(_, tip)| tip.sequence > 0);
        let messages = publishing().map(|(id, _)| command(id.clone(), 1)).collect::<Result<Vec<_>>>()?;
        if !messages.is_empty() {
            queue.send(service, &messages).await.with_context(|| told(&asked))?;
        }
        asked.aggregates += messages.len() as u64;
        asked.events += publishing().map(|(_, tip)| tip.sequence).sum::<u64>();
        if slice.last {
            asked.next = None;
            return Ok(asked);
        }
        place = slice.through;
        let text = text_of(&place);
        eprintln!("{} aggregates, {} events, up to {text}", asked.aggregates, asked.events);
        asked.next = Some(text);
    }
}

fn command(aggregate: AggregateId, from: u64) -> Result<Message> {
    // A new id each time: why an earlier one failed is another matter.
    let command = republish::Republish { from, to: None, once: false };
    Ok(republish::republish(&Uuid::new_v4().to_string(), aggregate, &command, "operator")?)
}

/// A place as the command line writes it.
fn text_of(place: &Place) -> String {
    format!("{}/{}", place.shard, place.after)
}

/// The place that the command line means.
///
/// # Errors
/// Anything that [`run`] does not tell.
pub fn place_of(text: &str) -> Result<Place> {
    let Some((shard, after)) = text.split_once('/') else { bail!("there is no shard in it") };
    Ok(Place { shard: shard.parse().context("the shard is a number")?, after: after.to_owned() })
}

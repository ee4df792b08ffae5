//! Sends mutations and learns their outcomes.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::{Answer, Client};
use crate::plan::Mutation;
use crate::progress::Progress;

/// The pause between two questions after an outcome that is not there yet.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of a mutation.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is committed, now or by an earlier load.
    Committed,
    /// It is refused: the code and the reason.
    Rejected(String),
}

/// Sends all, at most `concurrency` at once, each until its outcome is known. The outcomes stand in the order of the
/// mutations.
pub async fn send(
    client: &Client,
    mutations: &[Mutation],
    concurrency: usize,
    mut progress: Progress,
) -> Result<Vec<Outcome>> {
    let outcomes = each(
        mutations,
        concurrency,
        |mutation| submit(client, mutation),
        || {
            client.moved();
            progress.step();
        },
    )
    .await?;
    progress.end();
    Ok(outcomes)
}

async fn submit(client: &Client, mutation: &Mutation) -> Result<Outcome> {
    let (field, input_type, service) = mutation.field();
    let query = format!(
        "mutation Load($input: {input_type}!, $commandId: ID!) {{ result: {field}(input: $input, commandId: $commandId, \
         await: COMMITTED) {{ commandId aggregateId outcome {{ status rejection {{ code message }} }} }} }}"
    );
    let variables = json!({"input": mutation.input, "commandId": mutation.command_id});
    let result = match client.ask(service, &query, variables).await? {
        Answer::Data(data) => data["result"].clone(),
        Answer::Refused(reason) => return Ok(Outcome::Rejected(reason)),
    };
    if let Some(outcome) = outcome(&result["outcome"])? {
        return Ok(outcome);
    }
    // It waits in the queue; the service has stopped waiting with us.
    let query = format!(
        "{{ status: commandStatus(aggregateId: {}, commandId: {}) {{ status rejection {{ code message }} }} }}",
        result["aggregateId"], result["commandId"]
    );
    loop {
        if Instant::now() + PAUSE > client.deadline() {
            bail!("nothing moves any more; {} is still pending", mutation.name());
        }
        sleep(PAUSE).await;
        let data = client.data(service, &query).await?;
        if let Some(outcome) = outcome(&data["status"])? {
            return Ok(outcome);
        }
    }
}

/// Reads an outcome; `None` while there is none.
fn outcome(outcome: &Value) -> Result<Option<Outcome>> {
    match outcome["status"].as_str() {
        Some("COMMITTED") => Ok(Some(Outcome::Committed)),
        Some("REJECTED") => {
            let text = |name: &str| outcome["rejection"][name].as_str().unwrap_or("?").to_owned();
            Ok(Some(Outcome::Rejected(format!("{} {}", text("code"), text("message")))))
        }
        Some("PENDING") | None => Ok(None),
        Some(other) => bail!("the status {other:?} is not known"),
    }
}

/// Does the work on each item, at most `concurrency` at once, and gives the results in the order of the items.
pub async fn each<'a, T, R, F: Future<Output = Result<R>>>(
    items: &'a [T],
    concurrency: usize,
    work: impl Fn(&'a T) -> F,
    mut done: impl FnMut(),
) -> Result<Vec<R>> {
    let numbered = items.iter().enumerate().map(|(place, item)| {
        let work = work(item);
        async move { Ok::<_, anyhow::Error>((place, work.await?)) }
    });
    let mut results = stream::iter(numbered).buffer_unordered(concurrency);
    let mut found = Vec::with_capacity(items.len());
    while let Some(result) = results.try_next().await? {
        found.push(result);
        done();
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, result)| result).collect())
}

//! Gaps: when an event has to wait for earlier ones, somebody looks a minute later whether they came.
//!
//! The first event that is parked for a source sends a check to the service's own events queue, to be received later.
//! As long as something is parked there, each check sends the next one and asks the source to publish again what is
//! missing; then the chain ends. So a gap costs a message, and no gap costs nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::consumer::Consume;
use super::{Shared, ViewsHandler};
use crate::cloud_event::CloudEvent;
use crate::delivery::FAULTS_TABLE;
use crate::fault::Fault;
use crate::id::{AggregateId, derive, encode_key};
use crate::ports::{Message, events_queue};
use crate::republish::{Republish, republish};
use crate::store::{format_time, put_text};
use crate::table::{Operation, Row};

/// How long after the one before each check comes. The last one holds for all that follow.
const DELAYS: [Duration; 6] = [
    Duration::from_secs(60),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(180),
    Duration::from_secs(180),
    Duration::from_secs(3_600),
];
/// The check that tells an operator: it comes after ten minutes.
const ALERT: u32 = 4;

/// What stands in the queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    gap_check: GapCheck,
}

/// A look at what is parked for a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GapCheck {
    consumer: String,
    source: AggregateId,
    /// The service that publishes it.
    service: String,
    /// How often the gap was found to stand.
    attempt: u32,
    /// The event that was missing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
    /// When it was to be received, by the sender's clock, in seconds since 1970.
    #[serde(default)]
    due: i64,
}

impl GapCheck {
    /// Reads a message's body; `None` where it is something else.
    pub(super) fn from_json(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Body>(body).ok().map(|body| body.gap_check)
    }

    fn is_alerted(&self) -> bool {
        self.attempt > ALERT
    }

    /// Sends the check, to be received when its time has come.
    async fn send(self, shared: &Shared) -> Result<(), Fault> {
        let GapCheck { consumer, source, attempt, missing, .. } = &self;
        let (source, attempt, missing) = (source.key(), attempt.to_string(), missing.unwrap_or_default().to_string());
        let id = derive(&["gap check", &shared.service, consumer, &source, &missing, &attempt]).to_string();
        let delay = DELAYS[(self.attempt as usize).min(DELAYS.len() - 1)];
        let not_before = shared.clock.now() + delay;
        let check = GapCheck { due: not_before.unix_timestamp(), ..self };
        let body =
            serde_json::to_vec(&Body { gap_check: check }).map_err(|error| Fault::permanent("ENCODING", error))?;
        let message =
            Message { id, session: String::new(), not_before: Some(not_before), traceparent: None, body: body.into() };
        shared.queue.send(&events_queue(&shared.service), &[message]).await?;
        Ok(())
    }
}

/// Sees to it that somebody looks after a source of which an event is about to be parked.
pub(super) async fn watch(shared: &Shared, consumer: &str, event: &CloudEvent) -> Result<(), Fault> {
    let service = match shared.sources.get(event.subject.category()) {
        Some(service) => service,
        None => event.source.strip_prefix("/services/").unwrap_or(&event.source),
    };
    let (consumer, service) = (consumer.to_owned(), service.to_owned());
    GapCheck { consumer, source: event.subject.clone(), service, attempt: 0, missing: None, due: 0 }.send(shared).await
}

impl ViewsHandler {
    /// Looks at a source: is something still parked?
    pub(super) async fn check_gap(&self, check: GapCheck) -> Result<(), Fault> {
        let shared = &self.shared;
        shared.wait_until(check.due).await;
        // A consumer that is no more has no gaps.
        let Some(consumer) = self.consumer_of(&check.consumer) else { return Ok(()) };
        let Some(missing) = consumer.gap(shared, &check.source).await? else {
            if check.is_alerted() {
                tracing::info!(consumer = check.consumer, source = %check.source, "the gap is closed");
                clear(shared, &check).await;
            }
            return Ok(());
        };
        // Another event than last time: the gap has moved on.
        let attempt = if check.missing.is_some_and(|before| before != missing) { 0 } else { check.attempt };
        let check = GapCheck { attempt, ..check };
        let asked = ask(shared, &check, missing).await;
        let reason = match &asked {
            Err(fault) if fault.is_transient() => return asked,
            Err(fault) => format!("; {} cannot be asked for it: {fault}", check.service),
            Ok(()) => String::new(),
        };
        tracing::warn!(consumer = check.consumer, source = %check.source, missing, attempt, "a gap stands{reason}");
        if attempt >= ALERT {
            alert(shared, &check, missing, &reason).await?;
        }
        GapCheck { attempt: attempt + 1, missing: Some(missing), ..check }.send(shared).await
    }

    fn consumer_of(&self, name: &str) -> Option<&dyn Consume> {
        self.consumers.iter().map(AsRef::as_ref).find(|consumer| consumer.name() == name)
    }
}

/// Asks the source to publish again from the missing event on.
async fn ask(shared: &Shared, check: &GapCheck, missing: u64) -> Result<(), Fault> {
    let GapCheck { consumer, source, service, attempt, .. } = check;
    let (key, at, attempt) = (source.key(), missing.to_string(), attempt.to_string());
    let id = derive(&["gap", &shared.service, consumer, &key, &at, &attempt]).to_string();
    let message = republish(&id, source.clone(), &Republish { from: missing, to: None, once: true }, &shared.service)?;
    shared.queue.send(service, &[message]).await?;
    Ok(())
}

fn fault_partition(check: &GapCheck) -> String {
    encode_key(&format!("gap {} {}", check.consumer, check.source)).chars().take(400).collect()
}

/// Tells operators: a line in the log, and a row in `faults` that stays until the gap is closed.
async fn alert(shared: &Shared, check: &GapCheck, missing: u64, reason: &str) -> Result<(), Fault> {
    let text = format!(
        "{}: event {missing} of {} did not come for ten minutes or more, and those behind it wait{reason}; look for it \
         among the dead letters of the events queue and at {}",
        check.consumer, check.source, check.service
    );
    tracing::error!(code = "GAP_STANDS", message = %text, "a gap stands");
    let mut row = Row::new("gap")
        .with("Code", "GAP_STANDS")
        .with("Transient", true)
        .with("Attempt", i64::from(check.attempt) + 1)
        .with("Traceparent", "")
        .with("Time", format_time(shared.clock.now()));
    put_text(&mut row, "Reason", &text);
    shared.store.transact(FAULTS_TABLE, &fault_partition(check), &[Operation::Put(row)]).await?;
    Ok(())
}

/// Takes the row back. It is a courtesy: a row that stays says when it was written.
async fn clear(shared: &Shared, check: &GapCheck) {
    let delete = [Operation::Delete("gap".to_owned(), None)];
    if let Err(error) = shared.store.transact(FAULTS_TABLE, &fault_partition(check), &delete).await {
        tracing::debug!(%error, "the gap's row stays");
    }
}

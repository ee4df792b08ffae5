//! What the command handler and the views handler share: deliveries, retries inside one invocation, the wait before
//! a failing answer, and the `faults` row.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

use crate::fault::Fault;
use crate::id::encode_key;
use crate::ports::{Clock, TableStore};
use crate::store::{format_time, get_text, put_text};
use crate::table::{Operation, Row, StoredRow};

/// The table of faults, in the service's storage account. One row per message, newest attempt: partition key is the
/// message id, row key `{queue}`.
pub const FAULTS_TABLE: &str = "faults";
/// How often a transient fault is retried inside one invocation.
const RETRIES: u32 = 4;
/// The longest wait before a failing answer: the lock is renewed meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(240);

/// How a message reached the handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The broker's message id.
    pub message_id: String,
    /// How often the message has been delivered, from 1.
    pub count: u32,
    /// The W3C trace context that came with it.
    pub traceparent: Option<String>,
}

/// The wait before a failing answer to the `count`th delivery: the host abandons a failed message at once, so the
/// back-off is ours. min(2^count, 240) seconds.
pub fn wait_before_failing(count: u32) -> Duration {
    Duration::from_secs(2_u64.saturating_pow(count.clamp(1, 8))).min(LONGEST_WAIT)
}

/// Runs an invocation to its end: `attempt` is told whether the message may have been handled before. Transient
/// faults are retried; what is left is written to the `faults` table, waited out if it is transient, and returned.
pub(crate) async fn run<T, F>(
    queue: &str,
    delivery: &Delivery,
    faults: &dyn TableStore,
    clock: &dyn Clock,
    mut attempt: impl FnMut(bool) -> F,
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let mut retry = 0;
    let fault = loop {
        let result = AssertUnwindSafe(attempt(delivery.count > 1 || retry > 0)).catch_unwind().await;
        match result.unwrap_or_else(|panic| Err(Fault::permanent("PANIC", panic_text(&*panic)))) {
            Ok(done) => return Ok(done),
            Err(fault) if fault.is_transient() && retry < RETRIES => {
                tracing::warn!(code = fault.code, message = %fault.message, retry, "transient fault, retrying");
                clock.sleep(Duration::from_millis(100 << retry)).await;
                retry += 1;
            }
            Err(fault) => break fault,
        }
    };
    if let Err(error) = record(queue, delivery, &fault, faults, clock).await {
        tracing::warn!(code = error.code, message = %error.message, "the fault could not be recorded");
    }
    if fault.is_transient() {
        clock.sleep(wait_before_failing(delivery.count)).await;
    }
    Err(fault)
}

/// A custom handler cannot set a dead-letter reason: this row is where an operator finds it.
async fn record(
    queue: &str,
    delivery: &Delivery,
    fault: &Fault,
    faults: &dyn TableStore,
    clock: &dyn Clock,
) -> Result<(), Fault> {
    let mut row = Row::new(encode_key(queue))
        .with("Code", fault.code)
        .with("Transient", fault.is_transient())
        .with("Attempt", i64::from(delivery.count))
        .with("Traceparent", delivery.traceparent.as_deref().unwrap_or_default())
        .with("Time", format_time(clock.now()));
    let reason: String = fault.message.chars().take(8_000).collect();
    put_text(&mut row, "Reason", &reason);
    let partition = fault_partition(&delivery.message_id);
    faults.transact(FAULTS_TABLE, &partition, &[Operation::Put(row)]).await?;
    Ok(())
}

fn fault_partition(message_id: &str) -> String {
    let partition: String = encode_key(message_id).chars().take(400).collect();
    if partition.is_empty() { "unknown".to_owned() } else { partition }
}

/// Why a message failed last, as the `faults` table tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFault {
    /// The fault's code.
    pub code: String,
    /// Whether trying again could have helped.
    pub transient: bool,
    /// Which delivery it was, from 1.
    pub attempt: i64,
    /// The W3C trace context that came with the message.
    pub traceparent: Option<String>,
    /// When it was, RFC 3339.
    pub time: String,
    /// What happened.
    pub reason: String,
}

/// Why a message of a queue (`commands` or `events`) failed last; `None` where nothing was recorded.
///
/// # Errors
/// A store that is away.
pub async fn recorded_fault(
    faults: &dyn TableStore,
    queue: &str,
    message_id: &str,
) -> Result<Option<RecordedFault>, Fault> {
    let row = faults.get(FAULTS_TABLE, &fault_partition(message_id), &encode_key(queue)).await?;
    let text = |row: &StoredRow, name: &str| row.str(name).unwrap_or_default().to_owned();
    Ok(row.map(|row| RecordedFault {
        code: text(&row, "Code"),
        transient: row.bool("Transient").unwrap_or(false),
        attempt: row.int("Attempt").unwrap_or(0),
        traceparent: Some(text(&row, "Traceparent")).filter(|trace| !trace.is_empty()),
        time: text(&row, "Time"),
        // A torn reason is for people: it is left out, and the rest is told.
        reason: get_text(&row, "Reason").ok().flatten().unwrap_or_default(),
    }))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    format!("the handler panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_is_bounded() {
        let waits: Vec<u64> = [1, 2, 3, 7, 8, 9, 100].map(|count| wait_before_failing(count).as_secs()).into();
        assert_eq!(waits, [2, 4, 8, 128, 240, 240, 240]);
    }
}

//! Deliveries: attempts, Event Grid's retry schedule, and dead letters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rusqlite::{Connection, params};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::subscription::{Destination, Subscription};
use super::{Inner, Rights, TopicSettings};
use crate::access::{Action, Place};
use crate::broker::{BrokerClock, BrokerError, Engine, Header, MAX_ID_CHARS, Millis, NewMessage, Properties, to_time};

/// The media type of a delivered event.
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// At most so many deliveries share a transaction, so that the queues are not kept waiting.
const BATCH: i64 = 64;

/// At most so many webhooks are called at once.
const WEBHOOKS: usize = 64;

/// How long a webhook may take.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// While a webhook is being called, its delivery is not due: for so long, should this process die.
const WEBHOOK_LEASE: Millis = 60_000;

/// The waits after the first, second, … failure, in seconds; the last one repeats.
const SCHEDULE: [u64; 10] = [10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200];

/// How long to wait after a failure: by the schedule, and at least what the kind of failure asks for.
fn wait_after(attempts: u32, status: StatusCode) -> Duration {
    let step = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(SCHEDULE.len() - 1);
    let least = match status {
        StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => 300,
        StatusCode::REQUEST_TIMEOUT => 120,
        StatusCode::SERVICE_UNAVAILABLE => 30,
        _ => 10,
    };
    Duration::from_secs(SCHEDULE[step].max(least))
}

/// A delivery that is due.
#[derive(Debug, Clone)]
struct Due {
    delivery: i64,
    event: i64,
    /// Attempts so far.
    attempts: u32,
    event_id: String,
    published_at: Millis,
    last_attempt_at: Option<Millis>,
    last_outcome: Option<u16>,
    body: Bytes,
}

/// What one look at the file found.
#[derive(Default)]
struct Round {
    /// Whether there may be more that is due already.
    full: bool,
    next_due: Option<Millis>,
    calls: Vec<(Arc<Subscription>, Uri, Due)>,
}

/// Delivers until it is aborted.
pub(super) async fn run(inner: Arc<Inner>) {
    let clock = inner.broker.clock();
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    let slots = Arc::new(Semaphore::new(WEBHOOKS));
    let mut seen_error = false;
    loop {
        let subscriptions: Vec<_> = {
            let topics = inner.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            topics.values().flatten().cloned().collect()
        };
        let (settings, rights) = (inner.settings.clone(), inner.rights());
        let round = inner.broker.run(move |engine| deliver_due(engine, &subscriptions, &settings, &rights));
        let round = match round.await {
            Ok(round) => round,
            Err(BrokerError::Closed) => return,
            Err(error) => {
                if !std::mem::replace(&mut seen_error, true) {
                    tracing::error!(error = &error as &dyn std::error::Error, "events cannot be delivered");
                }
                clock.wait_until(clock.now() + Duration::from_secs(1)).await;
                continue;
            }
        };
        seen_error = false;
        for (subscription, uri, due) in round.calls {
            // Waiting here for a slot holds back the queues too; a webhook that is slow does so for 30 s at most.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let (inner, client, clock) = (inner.clone(), client.clone(), clock.clone());
            tokio::spawn(async move {
                call_webhook(&inner, &client, &clock, subscription, uri, due).await;
                drop(slot);
            });
        }
        if round.full {
            continue;
        }
        match round.next_due {
            Some(at) => tokio::select! {
                () = inner.published.notified() => {}
                () = clock.wait_until(to_time(at)) => {}
            },
            None => inner.published.notified().await,
        }
    }
}

fn select_due(db: &Connection, key: &str, now: Millis) -> rusqlite::Result<Vec<Due>> {
    db.prepare_cached(
        "SELECT d.id, d.event, d.attempts, e.event_id, e.published_at, d.last_attempt_at, d.last_outcome, e.body \
         FROM deliveries d JOIN events e ON e.id = d.event \
         WHERE d.subscription = ?1 AND d.due_at <= ?2 ORDER BY d.due_at, d.id LIMIT ?3",
    )?
    .query_map(params![key, now, BATCH], |row| {
        Ok(Due {
            delivery: row.get(0)?,
            event: row.get(1)?,
            attempts: row.get(2)?,
            event_id: row.get(3)?,
            published_at: row.get(4)?,
            last_attempt_at: row.get(5)?,
            last_outcome: row.get(6)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(7)?),
        })
    })?
    .collect()
}

/// Attempts what is due: into a queue at once, in the same transaction; webhooks are handed back to be called.
fn deliver_due(
    engine: &mut Engine,
    subscriptions: &[Arc<Subscription>],
    settings: &TopicSettings,
    rights: &Rights,
) -> Result<Round, BrokerError> {
    let now = engine.now();
    let mut round = Round::default();
    for subscription in subscriptions {
        let due = select_due(engine.db(), &subscription.key, now)?;
        round.full |= i64::try_from(due.len()).is_ok_and(|len| len == BATCH);
        for due in due {
            let age = Duration::from_millis(now.saturating_sub(due.published_at).unsigned_abs());
            // As in Event Grid, the time to live is looked at before an attempt only, and never before the first.
            if due.attempts > 0 && age >= subscription.time_to_live {
                give_up(engine.db(), subscription, settings, rights, &due, "TimeToLiveExceeded", now)?;
                continue;
            }
            match &subscription.destination {
                Destination::Queue(queue) => {
                    let as_topic = subscription.delivers_as_topic;
                    let allowed = rights.check(&subscription.topic, as_topic, Action::QueueSend, &Place::queue(queue));
                    if let Err(reason) = &allowed {
                        let (event, subscription) = (&due.event_id, &subscription.key);
                        tracing::warn!(event, subscription, reason, attempts = due.attempts + 1, "not delivered");
                    }
                    let outcome = match allowed {
                        // Tried again, after the wait that Event Grid has for it.
                        Err(_) => StatusCode::UNAUTHORIZED,
                        Ok(()) => match engine.send(queue, vec![message(subscription, &due)]) {
                            Ok(_) => StatusCode::CREATED,
                            Err(error @ (BrokerError::Storage(_) | BrokerError::Corrupt(_) | BrokerError::Closed)) => {
                                return Err(error);
                            }
                            Err(BrokerError::NoQueue(_)) => StatusCode::NOT_FOUND,
                            Err(BrokerError::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
                            Err(_) => StatusCode::BAD_REQUEST,
                        },
                    };
                    after_attempt(engine.db(), subscription, settings, rights, &due, outcome, now)?;
                }
                Destination::WebHook(uri) => {
                    engine
                        .db()
                        .prepare_cached("UPDATE deliveries SET due_at = ?2 WHERE id = ?1")?
                        .execute([due.delivery, now + WEBHOOK_LEASE])?;
                    round.calls.push((subscription.clone(), uri.clone(), due));
                }
            }
        }
        let next: Option<Millis> = engine
            .db()
            .prepare_cached("SELECT min(due_at) FROM deliveries WHERE subscription = ?1")?
            .query_row([&subscription.key], |row| row.get(0))?;
        round.next_due = round.next_due.into_iter().chain(next).min();
    }
    Ok(round)
}

/// The properties that Event Grid sends with a delivery.
fn properties(subscription: &Subscription, due: &Due) -> [(&'static str, String); 5] {
    [
        ("aeg-event-type", "Notification".into()),
        ("aeg-subscription-name", subscription.name.to_uppercase()),
        ("aeg-delivery-count", due.attempts.to_string()),
        ("aeg-metadata-version", "1".into()),
        ("aeg-output-event-id", output_id(subscription, due).to_string()),
    ]
}

/// Names a delivery: the same in every attempt.
fn output_id(subscription: &Subscription, due: &Due) -> Uuid {
    let name = format!("{}/{}/{}", subscription.key, due.event, due.delivery);
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{name}/{}", due.published_at).as_bytes())
}

fn message(subscription: &Subscription, due: &Due) -> NewMessage {
    let too_long = due.event_id.chars().count() > MAX_ID_CHARS;
    let id = if too_long { output_id(subscription, due).to_string() } else { due.event_id.clone() };
    let properties: Properties =
        properties(subscription, due).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    NewMessage {
        message_id: Some(id),
        header: Header { content_type: Some(CONTENT_TYPE.into()), properties, ..Header::default() },
        body: due.body.clone(),
        ..NewMessage::default()
    }
}

/// What Event Grid calls a status in a dead letter.
fn outcome_name(status: StatusCode) -> String {
    match status {
        StatusCode::REQUEST_TIMEOUT => "TimedOut".into(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "Busy".into(),
        status => status.canonical_reason().unwrap_or("Unknown").replace([' ', '-', '\''], ""),
    }
}

/// Settles a delivery after an attempt: done, to be tried again, or given up.
fn after_attempt(
    db: &Connection,
    subscription: &Subscription,
    settings: &TopicSettings,
    rights: &Rights,
    due: &Due,
    outcome: StatusCode,
    now: Millis,
) -> Result<(), BrokerError> {
    if matches!(outcome.as_u16(), 200..=204) {
        return Ok(remove(db, due)?);
    }
    let attempts = due.attempts + 1;
    let due = &Due { attempts, last_attempt_at: Some(now), last_outcome: Some(outcome.as_u16()), ..due.clone() };
    let is_final = match outcome {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::FORBIDDEN => true,
        StatusCode::UNAUTHORIZED => matches!(subscription.destination, Destination::WebHook(_)),
        _ => false,
    };
    if is_final {
        let reason = format!("UndeliverableDueToHttp{}", outcome_name(outcome));
        return give_up(db, subscription, settings, rights, due, &reason, now);
    }
    if attempts >= subscription.max_attempts {
        return give_up(db, subscription, settings, rights, due, "MaxDeliveryAttemptsExceeded", now);
    }
    let wait = wait_after(attempts, outcome).as_secs_f64() * settings.retry_factor.max(0.0);
    db.prepare_cached(
        "UPDATE deliveries SET attempts = ?2, due_at = ?3, last_attempt_at = ?4, last_outcome = ?5 WHERE id = ?1",
    )?
    .execute(params![due.delivery, attempts, now + (wait * 1000.0) as Millis, now, outcome.as_u16()])?;
    Ok(())
}

fn remove(db: &Connection, due: &Due) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([due.delivery])?;
    db.prepare_cached("DELETE FROM events WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = ?1)")?
        .execute([due.event])?;
    Ok(())
}

/// Writes the dead letter, if the subscription asks for that, and only then lets the delivery go.
fn give_up(
    db: &Connection,
    subscription: &Subscription,
    settings: &TopicSettings,
    rights: &Rights,
    due: &Due,
    reason: &str,
    now: Millis,
) -> Result<(), BrokerError> {
    let (event, name) = (&due.event_id, &subscription.key);
    let Some((account, container)) = &subscription.dead_letters else {
        tracing::error!(event, subscription = name, reason, "an event was dropped: no dead-letter destination");
        return Ok(remove(db, due)?);
    };
    let path = dead_letter_path(&settings.dead_letter_folder.join(file_name(account)), container, subscription, due);
    let place = Place::container(account, container);
    let allowed = rights.check(&subscription.topic, subscription.puts_aside_as_topic, Action::BlobWrite, &place);
    let written = match allowed {
        Ok(()) => write_dead_letter(&path, due, reason).map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    match written {
        Ok(()) => {
            tracing::warn!(event, subscription = name, reason, path = %path.display(), "an event was dead-lettered");
            Ok(remove(db, due)?)
        }
        Err(error) => {
            // Event Grid tries for 4 hours and then drops; here nothing is dropped for want of a disk or a role.
            tracing::error!(event, subscription = name, %error, "a dead letter cannot be written");
            let retry = now + 60_000;
            db.prepare_cached("UPDATE deliveries SET attempts = ?2, due_at = ?3 WHERE id = ?1")?.execute(params![
                due.delivery,
                due.attempts,
                retry
            ])?;
            Ok(())
        }
    }
}

/// As Event Grid names its blobs; the same for every try to write one dead letter.
fn dead_letter_path(folder: &Path, container: &str, subscription: &Subscription, due: &Due) -> PathBuf {
    let at = to_time(due.published_at);
    folder
        .join(file_name(container))
        .join(file_name(&subscription.topic).to_uppercase())
        .join(file_name(&subscription.name).to_uppercase())
        .join(at.year().to_string())
        .join(u8::from(at.month()).to_string())
        .join(at.day().to_string())
        .join(at.hour().to_string())
        .join(format!("{}.json", output_id(subscription, due)))
}

/// Keeps a name within its folder.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    name.chars().map(safe).collect()
}

fn write_dead_letter(path: &Path, due: &Due, reason: &str) -> std::io::Result<()> {
    let time = |at: Millis| to_time(at).format(&Rfc3339).unwrap_or_default();
    let status = due.last_outcome.and_then(|code| StatusCode::from_u16(code).ok());
    let extra = json!({
        "deadletterreason": reason,
        "deliveryattempts": due.attempts,
        "lastdeliveryoutcome": status.map(outcome_name),
        "lasthttpstatuscode": due.last_outcome,
        "publishtime": time(due.published_at),
        "lastdeliveryattempttime": due.last_attempt_at.map(time),
    })
    .to_string();
    // The event keeps its bytes: the members are put before its closing brace.
    let body = due.body.trim_ascii_end();
    let body = body.strip_suffix(b"}").unwrap_or(body);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, [b"[", body, b",", &extra.as_bytes()[1..], b"]"].concat())?;
    std::fs::File::open(&draft)?.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(folder)?.sync_all()
}

async fn call_webhook(
    inner: &Inner,
    client: &Client<HttpConnector, Body>,
    clock: &Arc<dyn BrokerClock>,
    subscription: Arc<Subscription>,
    uri: Uri,
    due: Due,
) {
    let mut request = Request::builder().method(Method::POST).uri(uri).header("content-type", CONTENT_TYPE);
    for (name, value) in properties(&subscription, &due) {
        request = request.header(name, value);
    }
    let outcome = match request.body(Body::from(due.body.clone())) {
        Err(error) => {
            tracing::error!(subscription = subscription.key, %error, "a webhook cannot be called");
            StatusCode::BAD_REQUEST
        }
        Ok(request) => tokio::select! {
            answer = client.request(request) => answer.map_or(StatusCode::SERVICE_UNAVAILABLE, |answer| answer.status()),
            () = clock.wait_until(clock.now() + WEBHOOK_TIMEOUT) => StatusCode::REQUEST_TIMEOUT,
        },
    };
    let (settings, rights) = (inner.settings.clone(), inner.rights());
    let settled = inner
        .broker
        .run(move |engine| after_attempt(engine.db(), &subscription, &settings, &rights, &due, outcome, engine.now()));
    if let Err(error) = settled.await {
        // The lease ends, and it is tried again: at least once.
        tracing::error!(error = &error as &dyn std::error::Error, "a delivery could not be settled");
    }
    inner.published.notify_one();
}

#[cfg(test)]
mod tests;

//! Service Bus triggers: receives messages and calls functions with them.
//!
//! A success completes the message, a failure abandons it at once, without delay; locks are renewed while a call runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::log::{HOST, Level};
use super::package::{Function, Trigger};
use super::rights::HostRights;
use super::{Site, payload, stopped};
use crate::broker::{Broker, BrokerError, Locked, PropertyValue, SessionLock};

/// How long one look for a message or session lasts.
const WAIT: Duration = Duration::from_secs(60);

/// How long a receiver pauses after the broker failed.
const PAUSE: Duration = Duration::from_secs(1);

struct Pump {
    site: Arc<Site>,
    index: usize,
    connection: String,
    queue: String,
    binary: bool,
    auto_complete: bool,
    renewal: Option<Duration>,
    idle: Duration,
}

/// Receives for one function until everything is to stop, and all calls are over.
pub async fn run(site: Arc<Site>, index: usize, mut stop: watch::Receiver<bool>) {
    let Some(function) = site.package.functions.get(index) else { return };
    let Trigger::ServiceBus { connection, namespace, queue, sessions, binary, auto_complete } = &function.trigger
    else {
        return;
    };
    let settings = &site.package.host.service_bus;
    let sessions = *sessions;
    let limit = if sessions { settings.max_concurrent_sessions } else { settings.max_concurrent_calls };
    let pump = Arc::new(Pump {
        connection: connection.clone(),
        queue: format!("{namespace}/{queue}"),
        binary: *binary,
        auto_complete: auto_complete.unwrap_or(settings.auto_complete),
        renewal: settings.max_auto_lock_renewal,
        idle: settings.session_idle_timeout,
        index,
        site: site.clone(),
    });
    let permits = Arc::new(Semaphore::new(limit));
    let mut calls = JoinSet::new();
    loop {
        // Before it is asked, so that no change is missed.
        let mut changes = site.rights.changes();
        if let Err(why) = pump.allowed() {
            site.log.write(Level::Error, HOST, &format!("cannot receive: {why}"), json!({"function": function.name}));
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = HostRights::changed(&mut changes) => {}
            }
            continue;
        }
        let next = async {
            let permit = permits.clone().acquire_owned().await;
            if let Some(worker) = &pump.site.worker {
                worker.listening().await;
            }
            let next = if sessions { pump.next_session().await } else { pump.next_message().await };
            (permit, next)
        };
        let (permit, next) = tokio::select! {
            () = stopped(&mut stop) => break,
            next = next => next,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { break };
        match next {
            Ok(Some(next)) if pump.allowed().is_err() => pump.give_back(next).await,
            Ok(Some(Next::Message(message))) => {
                calls.spawn(message_call(pump.clone(), message, permit));
            }
            Ok(Some(Next::Session(session))) => {
                calls.spawn(session_calls(pump.clone(), session, permit, stop.clone()));
            }
            Ok(None) => {}
            Err(BrokerError::Closed) => break,
            Err(error) => {
                pump.complain("cannot receive", &error);
                tokio::select! {
                    () = stopped(&mut stop) => break,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
        while calls.try_join_next().is_some() {}
    }
    // The workers have been killed, so what is under way fails and goes back to the queue.
    while calls.join_next().await.is_some() {}
}

enum Next {
    Message(Box<Locked>),
    Session(SessionLock),
}

async fn message_call(pump: Arc<Pump>, message: Box<Locked>, _permit: OwnedSemaphorePermit) {
    let until = message.locked_until;
    let mut lock = Renewal { until, of: Of::Message(&message) };
    pump.process(&message, &mut lock).await;
}

async fn session_calls(
    pump: Arc<Pump>,
    session: SessionLock,
    _permit: OwnedSemaphorePermit,
    mut stop: watch::Receiver<bool>,
) {
    let mut lock = Renewal { until: session.locked_until(), of: Of::Session(&session) };
    loop {
        let received = async {
            // Many short calls can outlast a lock that no single one of them had to renew.
            if lock.is_due() {
                lock.renew(pump.broker()).await?;
            }
            pump.broker().receive_in_session(&session, pump.idle).await
        };
        let received = tokio::select! {
            () = stopped(&mut stop) => break,
            received = received => received,
        };
        match received {
            // What the session holds goes back with it, and does not count as delivered.
            Ok(Some(_)) if pump.allowed().is_err() => break,
            Ok(Some(message)) => {
                if !pump.process(&message, &mut lock).await {
                    return;
                }
            }
            Ok(None) => break,
            Err(BrokerError::LockLost) => return,
            Err(error) => {
                pump.complain("cannot receive from a session", &error);
                break;
            }
        }
    }
    let _ = pump.broker().release_session(session).await;
}

/// Whose lock it is.
enum Of<'l> {
    Message(&'l Locked),
    Session(&'l SessionLock),
}

struct Renewal<'l> {
    until: OffsetDateTime,
    of: Of<'l>,
}

impl Renewal<'_> {
    /// Half of what is left, so that a failed attempt leaves time for another.
    fn pause(&self) -> Duration {
        let left = self.until - OffsetDateTime::now_utc();
        Duration::try_from(left / 2).unwrap_or_default().max(Duration::from_millis(100))
    }

    /// Whether so little is left that a call might outlast it.
    fn is_due(&self) -> bool {
        self.until - OffsetDateTime::now_utc() < time::Duration::seconds(10)
    }

    async fn renew(&mut self, broker: &Broker) -> Result<(), BrokerError> {
        self.until = match self.of {
            Of::Message(message) => broker.renew(&message.lock).await?,
            Of::Session(session) => broker.renew_session(session).await?,
        };
        Ok(())
    }
}

impl Pump {
    fn broker(&self) -> &Broker {
        &self.site.surroundings.broker
    }

    fn function(&self) -> &Function {
        &self.site.package.functions[self.index]
    }

    /// Whether the host may receive for the function, as the app's identity; else why not.
    fn allowed(&self) -> Result<(), String> {
        self.site.rights.run()?;
        self.site.rights.receive(&self.connection, &self.queue)
    }

    /// Gives back what was received after the right to do so was taken away.
    async fn give_back(&self, next: Next) {
        let given = match next {
            Next::Message(message) => self.broker().abandon(&message.lock).await,
            Next::Session(session) => self.broker().release_session(session).await,
        };
        if let Err(error) = given {
            self.complain("cannot give back what came without a right", &error);
        }
    }

    fn complain(&self, what: &str, error: &BrokerError) {
        let function = &self.function().name;
        self.site.log.write(Level::Warning, HOST, &format!("{what}: {error}"), json!({"function": function}));
    }

    async fn next_message(&self) -> Result<Option<Next>, BrokerError> {
        let message = self.broker().receive(&self.queue, WAIT).await?;
        Ok(message.map(|message| Next::Message(Box::new(message))))
    }

    async fn next_session(&self) -> Result<Option<Next>, BrokerError> {
        Ok(self.broker().accept_session(&self.queue, WAIT).await?.map(Next::Session))
    }

    /// Calls the function and settles the message. False where the lock is lost.
    async fn process(&self, message: &Locked, lock: &mut Renewal<'_>) -> bool {
        let function = self.function();
        let now = OffsetDateTime::now_utc();
        let body = payload::service_bus(&function.name, &function.binding, self.binary, message, now);
        // Service Bus clients of Azure call the same thing Diagnostic-Id.
        let trace =
            ["traceparent", "Diagnostic-Id"].into_iter().find_map(|name| match message.header.properties.get(name) {
                Some(PropertyValue::String(text)) => Some(text.as_str()).filter(|text| crate::trace::is_valid(text)),
                _ => None,
            });
        let call = self.site.invoke(function, body, trace);
        tokio::pin!(call);
        let begun = tokio::time::Instant::now();
        let mut held = true;
        let result = loop {
            let renews = held && self.renewal.is_none_or(|limit| begun.elapsed() < limit);
            tokio::select! {
                result = &mut call => break result,
                () = tokio::time::sleep(lock.pause()), if renews => {
                    if let Err(error) = lock.renew(self.broker()).await {
                        held = !matches!(error, BrokerError::LockLost | BrokerError::Closed);
                        self.complain("cannot renew a lock", &error);
                    }
                }
            }
        };
        let settled = match &result {
            Ok(_) if self.auto_complete => self.broker().complete(&message.lock).await,
            // A trap: a custom handler has no way to settle by itself, so the lock just runs out.
            Ok(_) => Ok(()),
            Err(_) => self.broker().abandon(&message.lock).await,
        };
        if let Err(error) = &settled {
            self.complain(&format!("cannot settle the message {}", message.message_id), error);
        }
        !matches!(settled, Err(BrokerError::LockLost))
    }
}

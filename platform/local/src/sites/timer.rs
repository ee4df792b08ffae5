//! Timer triggers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::log::Level;
use super::package::Trigger;
use super::payload::{self, ScheduleStatus};
use super::rights::HostRights;
use super::{Site, stopped};

/// What is remembered over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Monitor {
    #[serde(with = "time::serde::rfc3339::option")]
    last: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    next: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated: OffsetDateTime,
}

/// Calls one function at its times until everything is to stop. An occurrence that passed while nothing ran is made
/// up for once, marked as past due.
pub async fn run(site: Arc<Site>, index: usize, mut stop: watch::Receiver<bool>) {
    let Some(function) = site.package.functions.get(index) else { return };
    let Trigger::Timer { schedule, monitor, on_startup } = &function.trigger else { return };
    let path = monitor.then(|| {
        let folder = site.surroundings.state.join("timers");
        folder.join(format!("{}.{}.json", site.name, function.name))
    });
    let remembered = path.as_ref().and_then(read);
    let mut last = remembered.as_ref().and_then(|monitor| monitor.last);
    let mut due = match &remembered {
        Some(monitor) => Some(monitor.next),
        None => schedule.next_after(OffsetDateTime::now_utc()),
    };
    let mut at_once = *on_startup;
    while let Some(occurrence) = due {
        let now = OffsetDateTime::now_utc();
        let wait = Duration::try_from(occurrence - now).unwrap_or_default();
        if !at_once {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
        at_once = false;
        if let Err(why) = site.rights.run() {
            site.log.host(Level::Warning, &format!("{} waits: {why}", function.name));
            let mut changes = site.rights.changes();
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = HostRights::changed(&mut changes) => {}
            }
            continue;
        }
        let now = OffsetDateTime::now_utc();
        let past_due = now - occurrence > time::Duration::seconds(1);
        let next = schedule.next_after(now.max(occurrence));
        let status = path.is_some().then_some(next).flatten().map(|next| ScheduleStatus { last, next, updated: now });
        let body = payload::timer(&function.name, &function.binding, status, past_due, now);
        // The outcome is in the log; a timer is not repeated.
        let _ = site.invoke(function, body, None).await;
        last = Some(now);
        due = next;
        if let (Some(path), Some(next)) = (&path, next) {
            let monitor = Monitor { last, next, updated: OffsetDateTime::now_utc() };
            if let Err(error) = write(path, &monitor) {
                site.log.host(Level::Warning, &format!("cannot remember when {} ran: {error}", function.name));
            }
        }
    }
    site.log.host(Level::Warning, &format!("the schedule of {} has no further occurrence", function.name));
}

fn read(path: &PathBuf) -> Option<Monitor> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &PathBuf, monitor: &Monitor) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Written beside it and moved: a crash leaves the old one or the new one.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, serde_json::to_vec(monitor)?)?;
    std::fs::rename(draft, path)
}

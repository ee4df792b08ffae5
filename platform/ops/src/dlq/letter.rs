//! A dead letter: what is in it, why it lies there.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use skein_azure::DeadLetter;
use skein_core::handler::RecordedFault;
use skein_core::republish::RebuildMessage;
use skein_core::{CloudEvent, Envelope};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A dead letter.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// The message's or event's id.
    pub id: String,
    /// The session it was sent to.
    pub session: Option<String>,
    /// When it was enqueued or published.
    #[serde(with = "time::serde::rfc3339::option")]
    pub enqueued: Option<OffsetDateTime>,
    /// The W3C trace context of its last failure, else of its sender.
    pub traceparent: Option<String>,
    /// Why the broker or the topic gave it up.
    pub given_up: Option<String>,
    /// Why it failed last.
    pub fault: Option<Fault>,
    /// What it is.
    pub what: What,
    /// Its body.
    pub body: Body,
    #[serde(skip)]
    pub(super) handle: Handle,
}

/// Why a message failed last, from the `faults` row.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    code: String,
    transient: bool,
    attempt: i64,
    time: String,
    reason: String,
}

/// What a letter is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum What {
    /// A command.
    #[serde(rename_all = "camelCase")]
    Command {
        /// Its id.
        command: String,
        /// Its type.
        #[serde(rename = "type")]
        name: String,
        /// Whom it is for.
        aggregate: String,
        /// Who sent it.
        submitter: String,
    },
    /// An integration event.
    #[serde(rename_all = "camelCase")]
    Event {
        /// Its id.
        event: String,
        /// Its type.
        #[serde(rename = "type")]
        name: String,
        /// Whose it is.
        aggregate: String,
        /// Its number among them.
        sequence: Option<String>,
    },
    /// A message of a rebuild.
    #[serde(rename_all = "camelCase")]
    Rebuild {
        /// What it is: `start`, `events`, `slice` or `tick`.
        message: String,
        /// The view.
        view: String,
        /// The rebuild's id.
        rebuild: String,
    },
    /// None of these.
    #[serde(rename_all = "camelCase")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

/// A letter's body, as JSON where it is.
#[derive(Debug, Clone)]
pub struct Body(pub(super) Bytes);

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_slice::<Box<RawValue>>(&self.0) {
            Ok(json) => json.serialize(serializer),
            Err(_) => String::from_utf8_lossy(&self.0).serialize(serializer),
        }
    }
}

/// Where the letter lies.
#[derive(Debug, Clone)]
pub(super) enum Handle {
    Queue(Box<DeadLetter>),
    Blob(String),
    #[cfg(test)]
    Test(usize),
}

impl Handle {
    /// Names the letter within its place.
    pub(super) fn key(&self) -> String {
        match self {
            Handle::Queue(letter) => letter.sequence.to_string(),
            Handle::Blob(name) => name.clone(),
            #[cfg(test)]
            Handle::Test(n) => n.to_string(),
        }
    }
}

impl What {
    /// The command in a message of the command queue.
    pub(super) fn command(body: &[u8]) -> Self {
        match Envelope::from_json(body) {
            Ok(envelope) => What::Command {
                command: envelope.id.as_str().to_owned(),
                name: envelope.name,
                aggregate: envelope.aggregate.key(),
                submitter: envelope.principal.subject,
            },
            Err(error) => What::Unreadable { why: error.to_string() },
        }
    }

    /// The event in a message of the events queue, or in a dead letter of the topic.
    pub(super) fn event(body: &[u8]) -> Self {
        match serde_json::from_slice::<CloudEvent>(body) {
            Ok(event) => What::Event {
                event: event.id,
                name: event.kind,
                aggregate: event.subject.key(),
                sequence: event.sequence,
            },
            Err(error) => What::Unreadable { why: format!("not a CloudEvent: {error}") },
        }
    }

    /// The message in a message of the rebuild queue.
    pub(super) fn rebuild(body: &[u8]) -> Self {
        let (message, view, rebuild) = match RebuildMessage::from_json(body) {
            Ok(RebuildMessage::Start(start)) => ("start", start.view, start.id),
            Ok(RebuildMessage::Events(events)) => ("events", events.of.view, events.of.id),
            Ok(RebuildMessage::Slice(slice)) => ("slice", slice.of.view, slice.of.id),
            Ok(RebuildMessage::Tick(tick)) => ("tick", tick.view, tick.id),
            Err(error) => return What::Unreadable { why: format!("not a message of a rebuild: {error}") },
        };
        What::Rebuild { message: message.to_owned(), view, rebuild }
    }

    /// The id of the command, event or rebuild.
    fn id(&self) -> Option<&str> {
        match self {
            What::Command { command, .. } => Some(command),
            What::Event { event, .. } => Some(event),
            What::Rebuild { rebuild, .. } => Some(rebuild),
            What::Unreadable { .. } => None,
        }
    }
}

impl Letter {
    /// Whether the letter, or the command, event or rebuild in it, has this id.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id || self.what.id() == Some(id)
    }

    /// The fault's code, else the broker's or the topic's reason.
    pub(super) fn code(&self) -> Option<&String> {
        self.fault.as_ref().map(|fault| &fault.code).or(self.given_up.as_ref())
    }

    /// The same letter with its recorded fault.
    #[must_use]
    pub(super) fn with_fault(mut self, fault: Option<RecordedFault>) -> Self {
        if let Some(fault) = fault {
            self.traceparent = fault.traceparent.or(self.traceparent);
            self.fault = Some(Fault {
                code: fault.code,
                transient: fault.transient,
                attempt: fault.attempt,
                time: fault.time,
                reason: fault.reason,
            });
        }
        self
    }

    /// For people: a paragraph.
    pub(super) fn text(&self, whole: bool) -> String {
        let mut text = String::new();
        let time = self.enqueued.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "at some time".to_owned());
        let _ = writeln!(text, "{} enqueued {time}", self.id);
        let _ = match &self.what {
            What::Command { command, name, aggregate, submitter } => {
                writeln!(text, "  command   {name} to {aggregate} by {submitter} ({command})")
            }
            What::Event { event, name, aggregate, sequence } => {
                let sequence = sequence.as_deref().map_or("none", |number| number.trim_start_matches('0'));
                writeln!(text, "  event     {name} of {aggregate}, sequence {sequence} ({event})")
            }
            What::Rebuild { message, view, rebuild } => {
                writeln!(text, "  rebuild   {message} of {view} ({rebuild})")
            }
            What::Unreadable { why } => writeln!(text, "  contents  {why}"),
        };
        if let Some(fault) = &self.fault {
            let kind = if fault.transient { "transient" } else { "permanent" };
            let _ = writeln!(text, "  reason    {} ({kind}), attempt {}, {}", fault.code, fault.attempt, fault.time);
            let _ = writeln!(text, "            {}", fault.reason);
        }
        if let Some(given_up) = &self.given_up {
            let _ = writeln!(text, "  given up  {given_up}");
        }
        if let Some(trace) = &self.traceparent {
            let _ = writeln!(text, "  trace     {trace}");
        }
        if whole {
            let _ = writeln!(text, "  body      {}", String::from_utf8_lossy(&self.body.0));
        }
        text
    }
}

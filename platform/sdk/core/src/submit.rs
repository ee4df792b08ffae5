//! The submitter: wraps a client's command in its envelope, queues it, and waits for the outcome if asked to.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::aggregate::{Command, Handle};
use crate::envelope::{Envelope, EnvelopeError, Trace};
use crate::fault::Fault;
use crate::handler::Ports;
use crate::id::{AggregateId, CommandId, IdError, Principal};
use crate::store::{EventStore, Outcome, OutcomeStatus, Registration, RejectionRecord};

/// The longest client key, in characters.
pub const MAX_CLIENT_KEY_CHARS: usize = 256;
/// The first wait for an outcome; each further one is half as long again.
const FIRST_POLL: Duration = Duration::from_millis(8);
/// The longest wait between two reads of the outcome.
const LONGEST_POLL: Duration = Duration::from_millis(250);

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Submission<C> {
    /// The command.
    pub command: C,
    /// The aggregate's id; `None` derives it from the command's id, for a creating command.
    pub aggregate: Option<String>,
    /// The client's own key for retries: the same key is the same command.
    pub client_key: Option<String>,
    /// Who asks.
    pub principal: Principal,
    /// What it belongs to.
    pub trace: Trace,
    /// How long to wait for the outcome; `None` answers as soon as the command is queued.
    pub wait: Option<Duration>,
}

/// What a client learns.
#[derive(Debug)]
pub struct Submitted<R> {
    /// The command's id.
    pub command_id: CommandId,
    /// The aggregate.
    pub aggregate: AggregateId,
    /// The id that all messages of this conversation share.
    pub correlation_id: String,
    /// What became of it so far.
    pub outcome: Settled<R>,
}

/// What became of a command, with its own reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled<R> {
    /// Nothing is known yet.
    Pending,
    /// It was committed.
    Committed {
        /// The aggregate's version afterwards.
        version: u64,
        /// The command's reply.
        reply: R,
    },
    /// It was rejected.
    Rejected {
        /// The aggregate's version at the time.
        version: u64,
        /// The domain's refusal.
        rejection: RejectionRecord,
    },
}

/// Why a command was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The client used its key for another command.
    #[error("the command id {0:?} was used for another command: choose a new one")]
    CommandIdReused(String),
    /// The client's key is empty or too long.
    #[error("a command id has 1 to {MAX_CLIENT_KEY_CHARS} characters, this one has {0}")]
    CommandIdLength(usize),
    /// The aggregate's id cannot be a key.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The command does not fit the queue.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The queue or the store failed. With a client key, the same call may simply be made again.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Submits commands to the queue of one service.
pub struct Submitter {
    service: String,
    store: EventStore,
    ports: Ports,
}

impl Submitter {
    /// A submitter of the service's commands.
    pub fn new(service: &str, ports: Ports) -> Self {
        Submitter { service: service.to_owned(), store: EventStore::new(ports.shards.clone()), ports }
    }

    /// Queues a command. With a client key, a call that was broken off may be made again: it leads to one command.
    ///
    /// # Errors
    /// See [`SubmitError`]; a domain's rejection is no error but an outcome.
    pub async fn submit<A: Handle<C>, C: Command>(
        &self,
        submission: Submission<C>,
    ) -> Result<Submitted<A::Reply>, SubmitError> {
        let Submission { command, aggregate, client_key, principal, trace, wait } = submission;
        let id = match &client_key {
            Some(key) => {
                let chars = key.chars().count();
                if chars == 0 || chars > MAX_CLIENT_KEY_CHARS {
                    return Err(SubmitError::CommandIdLength(chars));
                }
                CommandId::of_client(&principal, key)
            }
            None => CommandId::random(),
        };
        let aggregate = match aggregate {
            Some(given) => AggregateId::new(A::CATEGORY, &given)?,
            None => AggregateId::new(A::CATEGORY, &id.aggregate_id())?,
        };
        let correlation_id = trace.correlation_id.clone();
        let now = self.ports.clock.now();
        let envelope = Envelope::wrap(&command, id.clone(), aggregate.clone(), principal, trace, now)?;
        let message = envelope.to_message()?;
        let fingerprint = envelope.fingerprint();
        let reused = || SubmitError::CommandIdReused(client_key.clone().unwrap_or_else(|| id.to_string()));
        let done = |outcome| Submitted {
            command_id: id.clone(),
            aggregate: aggregate.clone(),
            correlation_id: correlation_id.clone(),
            outcome,
        };

        if client_key.is_some() {
            match self.store.register(&id, &fingerprint).await? {
                Registration::New => {}
                Registration::Reused => return Err(reused()),
                // The earlier call may have died before it queued the command: queue it again unless it is decided.
                // Should both be queued, the second is recognised as a duplicate.
                Registration::Known => {
                    if let Some(outcome) = self.store.outcome(&aggregate, &id).await? {
                        // The id may have reached the queue without us, with another command.
                        if outcome.fingerprint != fingerprint {
                            return Err(reused());
                        }
                        return Ok(done(settled::<A::Reply>(&id, outcome)?));
                    }
                }
            }
        }
        self.ports.queue.send(&self.service, &[message]).await.map_err(Fault::from)?;
        let Some(wait) = wait else { return Ok(done(Settled::Pending)) };

        let deadline = now + wait;
        let mut pause = FIRST_POLL;
        loop {
            self.ports.clock.sleep(pause).await;
            // A store that fails now does not undo that the command is queued: the outcome stays unknown.
            match self.store.outcome(&aggregate, &id).await {
                Ok(Some(outcome)) if outcome.fingerprint != fingerprint => return Err(reused()),
                Ok(Some(outcome)) => return Ok(done(settled::<A::Reply>(&id, outcome)?)),
                Ok(None) => {}
                Err(fault) => tracing::warn!(code = fault.code, message = %fault.message, "outcome not readable"),
            }
            if self.ports.clock.now() >= deadline {
                return Ok(done(Settled::Pending));
            }
            pause = (pause + pause / 2).min(LONGEST_POLL);
        }
    }

    /// The outcome of a command, `None` while nothing is known of it.
    ///
    /// # Errors
    /// A store that is away, or a row that is not as this code writes it.
    pub async fn outcome(&self, aggregate: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault> {
        self.store.outcome(aggregate, command).await
    }
}

/// A recorded outcome with the command's own reply.
fn settled<R: serde::de::DeserializeOwned>(command: &CommandId, outcome: Outcome) -> Result<Settled<R>, Fault> {
    match outcome.status {
        OutcomeStatus::Committed => {
            let reply = outcome.reply.as_deref().map_or("null", RawValue::get);
            let reply = serde_json::from_str(reply).map_err(|error| {
                Fault::permanent("REPLY_UNREADABLE", format!("the recorded reply of {command}: {error}"))
            })?;
            Ok(Settled::Committed { version: outcome.version, reply })
        }
        OutcomeStatus::Rejected => {
            let unknown = || RejectionRecord { code: "UNKNOWN".to_owned(), message: String::new() };
            Ok(Settled::Rejected { version: outcome.version, rejection: outcome.rejection.unwrap_or_else(unknown) })
        }
    }
}

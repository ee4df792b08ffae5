//! Dead letters of a service's queues.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use skein_azure::{DeadLetterQueue, Settled};
use skein_core::handler::recorded_fault;
use skein_core::ports::TableStore;
use skein_core::store::EventStore;
use skein_core::{AggregateId, CommandId};
use uuid::Uuid;

use super::letter::{Body, Handle};
use super::{Letter, Letters, What};
use crate::flags::Source;
use crate::operator::Operator;

/// The dead-letter queue of a queue.
pub struct QueueLetters {
    queue: DeadLetterQueue,
    source: Source,
    /// Where the handlers of the queue record their faults.
    faults: Arc<dyn TableStore>,
    /// The event store, for commands.
    store: Option<EventStore>,
}

impl QueueLetters {
    /// Opens the queue's.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn open(operator: &Operator, source: Source) -> Result<Self> {
        let url = operator.places.one(source.name())?;
        let queue = DeadLetterQueue::new(&operator.http, operator.credential.clone(), url)?;
        let (faults, store) = match source {
            Source::Commands => {
                let shards = operator.shards()?;
                (shards[0].clone(), Some(EventStore::new(shards)))
            }
            _ => (operator.tables(operator.places.one("query-store")?)?, None),
        };
        Ok(QueueLetters { queue, source, faults, store })
    }
}

fn of_queue(letter: &Letter) -> Result<&skein_azure::DeadLetter> {
    match &letter.handle {
        Handle::Queue(dead) => Ok(dead),
        _ => anyhow::bail!("{} is no letter of a queue", letter.id),
    }
}

#[async_trait]
impl Letters for QueueLetters {
    async fn next(&mut self) -> Result<Option<Letter>> {
        let Some(dead) = self.queue.receive().await? else { return Ok(None) };
        let fault = recorded_fault(&*self.faults, self.source.name(), &dead.id).await;
        let what = match self.source {
            Source::Commands => What::command(&dead.body),
            Source::Rebuild => What::rebuild(&dead.body),
            _ => What::event(&dead.body),
        };
        let letter = Letter {
            id: dead.id.clone(),
            session: dead.session.clone(),
            enqueued: dead.enqueued,
            traceparent: dead.traceparent.clone(),
            given_up: dead.reason.clone(),
            fault: None,
            what,
            body: Body(dead.body.clone()),
            handle: Handle::Queue(Box::new(dead)),
        };
        match fault {
            Ok(fault) => Ok(Some(letter.with_fault(fault))),
            Err(error) => {
                self.give_back(&letter).await?;
                Err(error).context("why messages failed cannot be read")
            }
        }
    }

    async fn send_again(&mut self, letter: &Letter) -> Result<String> {
        // A new id: the faults of the old one stay what they were.
        let id = Uuid::new_v4().to_string();
        self.queue.send_again(of_queue(letter)?, &id).await?;
        Ok(id)
    }

    async fn remove(&mut self, letter: &Letter) -> Result<bool> {
        Ok(self.queue.complete(of_queue(letter)?).await? == Settled::Done)
    }

    async fn give_back(&mut self, letter: &Letter) -> Result<()> {
        self.queue.unlock(of_queue(letter)?).await?;
        Ok(())
    }

    async fn refusal(&self, letter: &Letter) -> Result<Option<String>> {
        let (Some(store), What::Command { command, aggregate, .. }) = (&self.store, &letter.what) else {
            return Ok(None);
        };
        let aggregate: AggregateId = aggregate.parse()?;
        Ok(match store.known_published(&aggregate, &CommandId::new(command)?).await? {
            Some(false) => Some(
                "the command is decided, but what it led to is not known to be published: replay it instead".to_owned(),
            ),
            _ => None,
        })
    }
}

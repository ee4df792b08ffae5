//! `commandStatus`: what became of a command, asked for later.

use std::sync::Arc;

use async_graphql::{Context, SimpleObject};
use async_trait::async_trait;
use skein_core::store::{Outcome, OutcomeStatus};
use skein_core::{AggregateId, CommandId, Fault};

use crate::command::{Refusal, Status};
use crate::error::ApiError;
use crate::{OPERATOR, principal};

/// Reads recorded outcomes. The query app, which may not read the event store, asks the command app.
#[async_trait]
pub trait OutcomeReader: Send + Sync {
    /// The outcome of a command, `None` while nothing is known of it.
    async fn outcome(&self, aggregate: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault>;
}

/// What became of a command, whatever its type.
#[derive(Debug, SimpleObject)]
pub struct CommandStatus {
    /// PENDING, too, for a command that nobody knows: it may not have arrived yet.
    status: Status,
    /// The version of what was changed, once that is decided.
    version: Option<u64>,
    /// The command's own reply as JSON, if it was done.
    reply: Option<String>,
    /// The refusal, if it was refused.
    rejection: Option<Refusal>,
}

/// Tells what became of a command, to whoever sent it and to operators.
///
/// The aggregate's id is plain, then it is looked for in all of the service's `categories`, or `category:id`. The
/// command's id is the one that the mutation returned, or the client's own.
///
/// # Errors
/// NOT_FOUND for another's command; a malformed id; an outcome that cannot be read now.
pub async fn command_status(
    cx: &Context<'_>,
    categories: &[&str],
    aggregate_id: &str,
    command_id: &str,
) -> Result<CommandStatus, ApiError> {
    let principal = principal(cx)?;
    let Some(outcomes) = cx.data_opt::<Arc<dyn OutcomeReader>>() else {
        return Err(ApiError::bad_input("this endpoint knows no outcomes"));
    };
    let given = aggregate_id.parse::<AggregateId>().ok().filter(|id| categories.contains(&id.category()));
    let aggregates = match given {
        Some(aggregate) => vec![aggregate],
        None => {
            categories.iter().map(|category| AggregateId::new(category, aggregate_id)).collect::<Result<Vec<_>, _>>()?
        }
    };
    let mut commands = vec![CommandId::of_client(principal, command_id)];
    // The client's own key may be longer than a command's id.
    commands.extend(CommandId::new(command_id));
    for aggregate in &aggregates {
        for command in &commands {
            if let Some(outcome) = outcomes.outcome(aggregate, command).await? {
                if outcome.submitter != principal.subject && !principal.has(OPERATOR) {
                    return Err(ApiError::NotFound("there is no such command".to_owned()));
                }
                return Ok(outcome.into());
            }
        }
    }
    Ok(CommandStatus { status: Status::Pending, version: None, reply: None, rejection: None })
}

impl From<Outcome> for CommandStatus {
    fn from(outcome: Outcome) -> Self {
        CommandStatus {
            status: match outcome.status {
                OutcomeStatus::Committed => Status::Committed,
                OutcomeStatus::Rejected => Status::Rejected,
            },
            version: Some(outcome.version),
            reply: outcome.reply.map(|reply| reply.get().to_owned()),
            rejection: outcome.rejection.map(|rejection| Refusal { code: rejection.code, message: rejection.message }),
        }
    }
}

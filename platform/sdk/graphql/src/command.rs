//! Mutations: an input becomes a command, the command is queued, its outcome comes back now or later.

use std::borrow::Cow;
use std::sync::Arc;

use async_graphql::{Context, Enum, ID, OutputType, SimpleObject, TypeName};
use skein_core::submit::{Settled, Submission, Submitter};
use skein_core::{Command, Handle};

use crate::endpoint::{Caller, Deadline};
use crate::error::ApiError;

/// How long a mutation waits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Await {
    /// Until the command is queued. Its outcome is PENDING, unless the same command was decided before.
    #[default]
    Accepted,
    /// Until the command is decided, for some seconds at most. Then its outcome is PENDING, and commandStatus tells it
    /// later.
    Committed,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Status {
    /// Nothing is known yet.
    Pending,
    /// It was done.
    Committed,
    /// It was refused.
    Rejected,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(name = "Rejection")]
pub struct Refusal {
    /// A stable code in capitals.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// A mutation's answer. Its name is the reply's, with `Answer` for `Reply`.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Answer<R: OutputType> {
    /// The command's id, to ask for its status later.
    pub command_id: ID,
    /// The id of what was changed, as the business writes it.
    pub aggregate_id: ID,
    /// The id that all messages of this conversation share.
    pub correlation_id: ID,
    /// What became of the command.
    pub outcome: CommandOutcome<R>,
}

/// What became of a command, with its own reply.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct CommandOutcome<R: OutputType> {
    /// Whether it was done.
    pub status: Status,
    /// The version of what was changed, once that is decided.
    pub version: Option<u64>,
    /// The reply, if it was done.
    pub reply: Option<R>,
    /// The refusal, if it was refused.
    pub rejection: Option<Refusal>,
}

fn named<R: OutputType>(suffix: &str) -> Cow<'static, str> {
    let reply = R::type_name();
    format!("{}{suffix}", reply.strip_suffix("Reply").unwrap_or(&reply)).into()
}

impl<R: OutputType> TypeName for Answer<R> {
    fn type_name() -> Cow<'static, str> {
        named::<R>("Answer")
    }
}

impl<R: OutputType> TypeName for CommandOutcome<R> {
    fn type_name() -> Cow<'static, str> {
        named::<R>("Outcome")
    }
}

/// Sends the command to the aggregate `A` of this id, or, without one, to a new aggregate whose id is derived from the
/// command's. The client's `command_id` makes it safe to send the mutation again.
///
/// # Errors
/// See [`ApiError`]. The domain's rejection is part of the answer, and no error.
pub async fn submit<A, C, R>(
    cx: &Context<'_>,
    command: C,
    aggregate: Option<ID>,
    command_id: Option<ID>,
    wait: Await,
) -> Result<Answer<R>, ApiError>
where
    A: Handle<C>,
    C: Command,
    R: OutputType + From<A::Reply>,
{
    let caller = cx.data_opt::<Caller>().ok_or_else(|| ApiError::forbidden("nobody asks"))?;
    let Some(submitter) = cx.data_opt::<Arc<Submitter>>() else {
        return Err(ApiError::bad_input("this endpoint takes no commands"));
    };
    let deadline = cx.data_opt::<Deadline>().copied().unwrap_or_default();
    let submitted = submitter
        .submit::<A, C>(Submission {
            command,
            aggregate: aggregate.map(|id| id.0),
            client_key: command_id.map(|id| id.0),
            principal: caller.principal.clone(),
            trace: caller.trace.clone(),
            wait: (wait == Await::Committed).then(|| deadline.rest()),
        })
        .await?;
    let outcome = match submitted.outcome {
        Settled::Pending => CommandOutcome { status: Status::Pending, version: None, reply: None, rejection: None },
        Settled::Committed { version, reply } => CommandOutcome {
            status: Status::Committed,
            version: Some(version),
            reply: Some(reply.into()),
            rejection: None,
        },
        Settled::Rejected { version, rejection } => CommandOutcome {
            status: Status::Rejected,
            version: Some(version),
            reply: None,
            rejection: Some(Refusal { code: rejection.code, message: rejection.message }),
        },
    };
    Ok(Answer {
        command_id: submitted.command_id.as_str().into(),
        aggregate_id: submitted.aggregate.id().into(),
        correlation_id: submitted.correlation_id.into(),
        outcome,
    })
}

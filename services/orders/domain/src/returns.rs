//! Returns: units that customers send back. A return does not say from which order.

use orders_contract::ReturnRecorded;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use skein_core::{Aggregate, Command, Context, Decision, Handle, Publication, Rejection};
use time::OffsetDateTime;

use crate::customer::{self, CustomerError};
use crate::line::{self, Line, LineError};

// Events ----------------------------------------------------------------------------------------------------------

/// Units came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The return.
    pub return_id: String,
    /// Who sent them; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When they came back.
    #[serde(with = "time::serde::rfc3339")]
    pub returned_at: OffsetDateTime,
    /// What came back.
    pub lines: Vec<Line>,
    /// The sum of all lines.
    pub total: Decimal,
}

skein_core::events! {
    /// What happens to a return.
    pub enum ReturnEvent {
        Recorded(Recorded) = ("ReturnRecorded", 1),
    }
}

// State and fold --------------------------------------------------------------------------------------------------

/// A return.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Return {
    recorded: bool,
}

impl Aggregate for Return {
    const CATEGORY: &'static str = "return";
    type Event = ReturnEvent;

    fn evolve(&mut self, event: &ReturnEvent) {
        match event {
            ReturnEvent::Recorded(_) => self.recorded = true,
        }
    }

    fn publish(&self, event: &ReturnEvent) -> Option<Publication> {
        let ReturnEvent::Recorded(Recorded { return_id, customer_id, returned_at, lines, total }) = event;
        Some(Publication::of(&ReturnRecorded {
            return_id: return_id.clone(),
            customer_id: customer_id.clone(),
            returned_at: *returned_at,
            lines: line::published(lines),
            total: *total,
        }))
    }
}

// Commands and decisions ------------------------------------------------------------------------------------------

/// Records the return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordReturn {
    /// Who sent the units back; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When they came back; now, if absent.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<OffsetDateTime>,
    /// What came back, 1 to 1,000 lines, with positive quantities.
    pub lines: Vec<Line>,
}

impl Command for RecordReturn {
    const TYPE: &'static str = "RecordReturn";
    const CREATES: bool = true;
}

/// The return that was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordReturnReply {
    /// The return.
    pub return_id: String,
    /// The sum of all lines.
    pub total: Decimal,
}

/// Why a return cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordReturnError {
    /// The id is taken.
    #[error("there is a return of this id already")]
    AlreadyRecorded,
    /// Nobody to take it from.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// Nothing to take.
    #[error(transparent)]
    Lines(#[from] LineError),
}

impl Rejection for RecordReturnError {
    fn code(&self) -> &'static str {
        match self {
            RecordReturnError::AlreadyRecorded => "RETURN_ALREADY_RECORDED",
            RecordReturnError::Customer(error) => error.code(),
            RecordReturnError::Lines(error) => error.code(),
        }
    }
}

impl Handle<RecordReturn> for Return {
    type Error = RecordReturnError;
    type Reply = RecordReturnReply;

    fn decide(
        &self,
        command: &RecordReturn,
        cx: &Context,
    ) -> Result<Decision<Self, RecordReturnReply>, RecordReturnError> {
        customer::check(&cx.principal, command.customer_id.as_deref())?;
        if self.recorded {
            return Err(RecordReturnError::AlreadyRecorded);
        }
        let total = line::total(&command.lines)?;
        let return_id = cx.aggregate.id().to_owned();
        Ok(Decision::reply(RecordReturnReply { return_id: return_id.clone(), total }).event(Recorded {
            return_id,
            customer_id: command.customer_id.clone(),
            returned_at: command.returned_at.unwrap_or(cx.now),
            lines: command.lines.clone(),
            total,
        }))
    }
}

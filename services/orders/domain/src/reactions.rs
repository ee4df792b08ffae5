//! What orders do when the inventory answers.

use inventory_contract::{ReservationCompleted, ReservationFailed};
use skein_core::{IdError, Outgoing, Reaction, Source};

use crate::order::{BackorderOrder, ConfirmOrder, Order};

skein_core::contracts! {
    /// The inventory's answers.
    pub enum Answer {
        Completed(ReservationCompleted),
        Failed(ReservationFailed),
    }
}

/// Confirms the orders that can be filled, and lets the others wait.
pub struct ConfirmOrBackorder;

impl Reaction for ConfirmOrBackorder {
    const NAME: &'static str = "confirm-or-backorder";
    type Event = Answer;

    fn react(event: &Answer, _: &Source) -> Result<Vec<Outgoing>, IdError> {
        Ok(vec![match event {
            Answer::Completed(completed) => Outgoing::to::<Order, _>(&completed.order_id, &ConfirmOrder {})?,
            Answer::Failed(failed) => Outgoing::to::<Order, _>(&failed.order_id, &BackorderOrder {})?,
        }])
    }
}

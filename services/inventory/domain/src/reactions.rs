//! What the inventory does when orders are placed, confirmed or cancelled, when units come back, and when a stock
//! answers.

use inventory_contract::{StockReservationRefused, StockReserved};
use orders_contract::{Line, OrderCancelled, OrderConfirmed, OrderPlaced, ReturnRecorded};
use skein_core::{IdError, Outgoing, Reaction, Source};

use crate::reservation::{
    CancelReservation, NoteRefused, NoteReserved, Reservation, SellReservation, StartReservation, Units,
};
use crate::stock::{ReturnUnits, Stock};

/// The lines of an order or return, merged by SKU.
fn merge(lines: &[Line]) -> Units {
    let mut units = Units::new();
    for line in lines.iter().filter(|line| line.quantity > 0) {
        *units.entry(line.sku.clone()).or_default() += u64::from(line.quantity);
    }
    units
}

skein_core::contracts! {
    /// What happens to an order.
    pub enum OrderChange {
        Placed(OrderPlaced),
        Confirmed(OrderConfirmed),
        Cancelled(OrderCancelled),
    }
}

/// Reserves what is ordered, sells what is confirmed, and takes back what is cancelled.
pub struct FollowOrders;

impl Reaction for FollowOrders {
    const NAME: &'static str = "follow-orders";
    type Event = OrderChange;

    fn react(event: &OrderChange, _: &Source) -> Result<Vec<Outgoing>, IdError> {
        Ok(vec![match event {
            OrderChange::Placed(placed) => {
                Outgoing::to::<Reservation, _>(&placed.order_id, &StartReservation { units: merge(&placed.lines) })?
            }
            OrderChange::Confirmed(order) => Outgoing::to::<Reservation, _>(&order.order_id, &SellReservation {})?,
            OrderChange::Cancelled(order) => Outgoing::to::<Reservation, _>(&order.order_id, &CancelReservation {})?,
        }])
    }
}

skein_core::contracts! {
    /// A stock's answer to a reservation.
    pub enum StockAnswer {
        Reserved(StockReserved),
        Refused(StockReservationRefused),
    }
}

/// Tells each reservation what the stocks answer.
pub struct NoteAnswers;

impl Reaction for NoteAnswers {
    const NAME: &'static str = "note-answers";
    type Event = StockAnswer;

    fn react(event: &StockAnswer, _: &Source) -> Result<Vec<Outgoing>, IdError> {
        Ok(vec![match event {
            StockAnswer::Reserved(StockReserved { order_id, sku, .. }) => {
                Outgoing::to::<Reservation, _>(order_id, &NoteReserved { sku: sku.clone() })?
            }
            StockAnswer::Refused(StockReservationRefused { order_id, sku, .. }) => {
                Outgoing::to::<Reservation, _>(order_id, &NoteRefused { sku: sku.clone() })?
            }
        }])
    }
}

skein_core::contracts! {
    /// Units that came back.
    pub enum UnitsBack {
        Returned(ReturnRecorded),
    }
}

/// Takes in what customers send back.
pub struct TakeReturns;

impl Reaction for TakeReturns {
    const NAME: &'static str = "take-returns";
    type Event = UnitsBack;

    fn react(event: &UnitsBack, _: &Source) -> Result<Vec<Outgoing>, IdError> {
        let UnitsBack::Returned(ReturnRecorded { return_id, lines, .. }) = event;
        merge(lines)
            .iter()
            .map(|(sku, &quantity)| {
                Outgoing::to::<Stock, _>(sku, &ReturnUnits { return_id: return_id.clone(), quantity })
            })
            .collect()
    }
}

//! The reservation of an order: the process manager that asks the stock of every SKU, and lets the order be confirmed
//! or backordered.
//!
//! All or nothing: as soon as one SKU is refused, or the order is cancelled, the reservation is *doomed*. It gives
//! back at once what is held, and each answer that is still to come as it comes; a release goes only to stocks that
//! had reserved. It ends when every stock has answered. Every command is defined in every state, since answers,
//! confirmation and cancellation come from different aggregates, in any order.

use std::collections::{BTreeMap, BTreeSet};

use inventory_contract::{ReservationCompleted, ReservationFailed};
use serde::{Deserialize, Serialize};
use skein_core::{Aggregate, Command, Context, Decision, Handle, IdError, Outgoing, Publication, Rejection};

use crate::stock::{ReleaseStock, ReserveStock, RestockSold, SellStock, Stock};

/// Units by SKU.
pub type Units = BTreeMap<String, u64>;

// Events ----------------------------------------------------------------------------------------------------------

/// Every SKU of the order was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The order.
    pub order_id: String,
    /// What it wants.
    pub units: Units,
}

/// A stock holds what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reserved {
    /// The SKU.
    pub sku: String,
}

/// A stock has not enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The SKU.
    pub sku: String,
}

/// Everything is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completed {}

/// Something is missing, and all have answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The SKUs of which there was not enough.
    pub missing: BTreeSet<String>,
}

/// The order was confirmed: everything is sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sold {}

/// The order is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {}

skein_core::events! {
    /// What happens to the reservation of an order.
    pub enum ReservationEvent {
        Started(Started) = ("ReservationStarted", 1),
        Reserved(Reserved) = ("ReservationReserved", 1),
        Refused(Refused) = ("ReservationRefused", 1),
        Completed(Completed) = ("ReservationCompleted", 1),
        Failed(Failed) = ("ReservationFailed", 1),
        Sold(Sold) = ("ReservationSold", 1),
        Cancelled(Cancelled) = ("ReservationCancelled", 1),
    }
}

// State and fold --------------------------------------------------------------------------------------------------

/// The reservation of an order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    order_id: String,
    stage: Stage,
    /// Asked for, not answered.
    waiting: Units,
    /// Held for the order or, later, sold to it.
    held: Units,
    /// Refused.
    missing: BTreeSet<String>,
    cancelled: bool,
}

/// How far a reservation has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Nothing has been asked for.
    #[default]
    New,
    /// Stocks have been asked, and not all have answered.
    Asking,
    /// Everything is held, and the order not confirmed yet.
    Complete,
    /// Everything is the buyer's.
    Sold,
    /// Nothing is held, nothing will be.
    Over,
}

impl Reservation {
    /// Whether what is held, and what will be, goes back.
    fn is_doomed(&self) -> bool {
        self.cancelled || !self.missing.is_empty()
    }
}

impl Aggregate for Reservation {
    const CATEGORY: &'static str = "reservation";
    type Event = ReservationEvent;

    fn evolve(&mut self, event: &ReservationEvent) {
        match event {
            ReservationEvent::Started(Started { order_id, units }) => {
                self.order_id.clone_from(order_id);
                self.waiting.clone_from(units);
                self.stage = Stage::Asking;
            }
            ReservationEvent::Reserved(Reserved { sku }) => {
                let units = self.waiting.remove(sku);
                if !self.is_doomed() {
                    self.held.extend(units.map(|units| (sku.clone(), units)));
                }
            }
            ReservationEvent::Refused(Refused { sku }) => {
                self.waiting.remove(sku);
                self.missing.insert(sku.clone());
                self.held.clear();
            }
            ReservationEvent::Completed(_) => self.stage = Stage::Complete,
            ReservationEvent::Failed(_) => self.stage = Stage::Over,
            ReservationEvent::Sold(_) => self.stage = Stage::Sold,
            ReservationEvent::Cancelled(_) => {
                self.cancelled = true;
                self.held.clear();
            }
        }
        if self.cancelled && self.stage != Stage::New && self.waiting.is_empty() {
            self.stage = Stage::Over;
        }
        if self.stage == Stage::Over {
            self.missing.clear();
        }
    }

    fn publish(&self, event: &ReservationEvent) -> Option<Publication> {
        let order_id = self.order_id.clone();
        match event {
            ReservationEvent::Completed(_) => Some(Publication::of(&ReservationCompleted { order_id })),
            ReservationEvent::Failed(Failed { missing }) => {
                let missing = missing.iter().cloned().collect();
                Some(Publication::of(&ReservationFailed { order_id, missing }))
            }
            ReservationEvent::Started(_)
            | ReservationEvent::Reserved(_)
            | ReservationEvent::Refused(_)
            | ReservationEvent::Sold(_)
            | ReservationEvent::Cancelled(_) => None,
        }
    }
}

// Commands and decisions ------------------------------------------------------------------------------------------

/// An order names a SKU that no stock can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no stock can have this SKU: {0}")]
pub struct InvalidSku(#[from] IdError);

impl Rejection for InvalidSku {
    fn code(&self) -> &'static str {
        "INVALID_SKU"
    }
}

/// Asks for every SKU of an order that was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartReservation {
    /// What the order wants, its lines merged by SKU.
    pub units: Units,
}

impl Command for StartReservation {
    const TYPE: &'static str = "StartReservation";
    const CREATES: bool = true;
}

impl Handle<StartReservation> for Reservation {
    type Error = InvalidSku;
    type Reply = ();

    fn decide(&self, command: &StartReservation, cx: &Context) -> Result<Decision<Self, ()>, InvalidSku> {
        if self.stage != Stage::New || self.cancelled {
            return Ok(Decision::none());
        }
        let order_id = cx.aggregate.id().to_owned();
        let reserve = tell(&command.units, |quantity| ReserveStock { order_id: order_id.clone(), quantity })?;
        let started = Decision::none().event(Started { order_id, units: command.units.clone() });
        Ok(if reserve.is_empty() { started.event(Completed {}) } else { started.send_all(reserve) })
    }
}

/// A stock holds what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoteReserved {
    /// The SKU.
    pub sku: String,
}

impl Command for NoteReserved {
    const TYPE: &'static str = "NoteReserved";
}

impl Handle<NoteReserved> for Reservation {
    type Error = InvalidSku;
    type Reply = ();

    fn decide(&self, command: &NoteReserved, _: &Context) -> Result<Decision<Self, ()>, InvalidSku> {
        let sku = command.sku.clone();
        let Some(&units) = self.waiting.get(&sku) else { return Ok(Decision::none()) };
        let noted = Decision::none().event(Reserved { sku: sku.clone() });
        let noted = if self.is_doomed() { noted.send_all(self.release([(&sku, &units)])?) } else { noted };
        Ok(self.conclude(noted, self.missing.clone()))
    }
}

/// A stock has not enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoteRefused {
    /// The SKU.
    pub sku: String,
}

impl Command for NoteRefused {
    const TYPE: &'static str = "NoteRefused";
}

impl Handle<NoteRefused> for Reservation {
    type Error = InvalidSku;
    type Reply = ();

    fn decide(&self, command: &NoteRefused, _: &Context) -> Result<Decision<Self, ()>, InvalidSku> {
        let sku = command.sku.clone();
        if !self.waiting.contains_key(&sku) {
            return Ok(Decision::none());
        }
        let noted = Decision::none().event(Refused { sku: sku.clone() }).send_all(self.release(&self.held)?);
        let missing = self.missing.iter().cloned().chain([sku]).collect();
        Ok(self.conclude(noted, missing))
    }
}

/// The order was confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SellReservation {}

impl Command for SellReservation {
    const TYPE: &'static str = "SellReservation";
}

impl Handle<SellReservation> for Reservation {
    type Error = InvalidSku;
    type Reply = ();

    fn decide(&self, _: &SellReservation, _: &Context) -> Result<Decision<Self, ()>, InvalidSku> {
        if self.stage != Stage::Complete {
            return Ok(Decision::none());
        }
        let sell = tell(&self.held, |_| SellStock { order_id: self.order_id.clone() })?;
        Ok(Decision::none().event(Sold {}).send_all(sell))
    }
}

/// The order was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CancelReservation {}

impl Command for CancelReservation {
    const TYPE: &'static str = "CancelReservation";
}

impl Handle<CancelReservation> for Reservation {
    type Error = InvalidSku;
    type Reply = ();

    fn decide(&self, _: &CancelReservation, _: &Context) -> Result<Decision<Self, ()>, InvalidSku> {
        if self.cancelled {
            return Ok(Decision::none());
        }
        let give_back = match self.stage {
            Stage::Over => return Ok(Decision::none()),
            Stage::New => Vec::new(),
            Stage::Asking | Stage::Complete => self.release(&self.held)?,
            Stage::Sold => tell(&self.held, |quantity| RestockSold { order_id: self.order_id.clone(), quantity })?,
        };
        Ok(Decision::none().event(Cancelled {}).send_all(give_back))
    }
}

impl Reservation {
    /// The decision on the answer of one stock, and, if it was the last to answer, on the whole: `missing` is what
    /// has been refused by then. Nobody waits for the reservation of a cancelled order.
    fn conclude(&self, answer: Decision<Self, ()>, missing: BTreeSet<String>) -> Decision<Self, ()> {
        if self.waiting.len() > 1 || self.cancelled {
            answer
        } else if missing.is_empty() {
            answer.event(Completed {})
        } else {
            answer.event(Failed { missing })
        }
    }

    fn release<'a>(&self, held: impl IntoIterator<Item = (&'a String, &'a u64)>) -> Result<Vec<Outgoing>, IdError> {
        tell(held, |_| ReleaseStock { order_id: self.order_id.clone() })
    }
}

/// A command to the stock of each SKU.
fn tell<'a, C: Command>(
    units: impl IntoIterator<Item = (&'a String, &'a u64)>,
    command: impl Fn(u64) -> C,
) -> Result<Vec<Outgoing>, IdError>
where
    Stock: Handle<C>,
{
    units.into_iter().map(|(sku, &units)| Outgoing::to::<Stock, C>(sku, &command(units))).collect()
}

//! The stock of one SKU: what is available, held for open orders, and sold. Nothing ever goes below zero, and every
//! unit that was received, adjusted or returned is in exactly one of the three.
//!
//! Each command changes the stock at most once, however often it is delivered: the store keeps every command's id
//! with its outcome. So a stock remembers an order only while units are held for it, and stays small for ever.

use std::collections::BTreeMap;

use inventory_contract::{
    Levels, StockAdjusted, StockReceived, StockReleased, StockReservationRefused, StockReserved, StockRestocked,
    StockReturned, StockSold,
};
use serde::{Deserialize, Serialize};
use skein_core::{Aggregate, Command, Context, Decision, Handle, Never, Publication, Rejection};

/// The most units of a SKU, available, reserved and sold together: what a reader of JSON still counts exactly.
pub const MAX_UNITS: u64 = 1_000_000_000_000_000;
/// The most characters of a SKU.
pub const MAX_SKU_CHARS: usize = 50;
/// The most characters of a reason.
pub const MAX_REASON_CHARS: usize = 500;

// Events ----------------------------------------------------------------------------------------------------------

/// Units arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The SKU.
    pub sku: String,
    /// How many.
    pub quantity: u64,
}

/// Somebody counted, broke or found units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adjusted {
    /// The SKU.
    pub sku: String,
    /// How many more, or fewer.
    pub quantity: i64,
    /// Why.
    pub reason: String,
}

/// A customer sent units back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Returned {
    /// The SKU.
    pub sku: String,
    /// The return.
    pub return_id: String,
    /// How many.
    pub quantity: u64,
}

/// Units are held for an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    /// The SKU.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many.
    pub quantity: u64,
}

/// An order asked for more than is available.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationRefused {
    /// The SKU.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many it asked for.
    pub quantity: u64,
}

/// Units that were held for an order are free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The SKU.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many.
    pub quantity: u64,
}

/// Units that were held for an order are the buyer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sold {
    /// The SKU.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many.
    pub quantity: u64,
}

/// Units of a confirmed order are free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restocked {
    /// The SKU.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many.
    pub quantity: u64,
}

skein_core::events! {
    /// What happens to the stock of a SKU.
    pub enum StockEvent {
        Received(Received) = ("StockReceived", 1),
        Adjusted(Adjusted) = ("StockAdjusted", 1),
        Returned(Returned) = ("StockReturned", 1),
        Reserved(Reserved) = ("StockReserved", 1),
        ReservationRefused(ReservationRefused) = ("StockReservationRefused", 1),
        Released(Released) = ("StockReleased", 1),
        Sold(Sold) = ("StockSold", 1),
        Restocked(Restocked) = ("StockRestocked", 1),
    }
}

// State and fold --------------------------------------------------------------------------------------------------

/// The stock of a SKU. One that nothing was ever received of is empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stock {
    levels: Levels,
    /// The units held, by order.
    held: BTreeMap<String, u64>,
}

impl Aggregate for Stock {
    const CATEGORY: &'static str = "stock";
    type Event = StockEvent;

    fn evolve(&mut self, event: &StockEvent) {
        let levels = &mut self.levels;
        match event {
            StockEvent::Received(Received { quantity, .. }) | StockEvent::Returned(Returned { quantity, .. }) => {
                levels.available = levels.available.saturating_add(*quantity);
            }
            StockEvent::Adjusted(Adjusted { quantity, .. }) => {
                levels.available = levels.available.saturating_add_signed(*quantity);
            }
            StockEvent::Reserved(Reserved { order_id, quantity, .. }) => {
                levels.available = levels.available.saturating_sub(*quantity);
                levels.reserved = levels.reserved.saturating_add(*quantity);
                self.held.insert(order_id.clone(), *quantity);
            }
            StockEvent::ReservationRefused(_) => {}
            StockEvent::Released(Released { order_id, quantity, .. }) => {
                levels.reserved = levels.reserved.saturating_sub(*quantity);
                levels.available = levels.available.saturating_add(*quantity);
                self.held.remove(order_id);
            }
            StockEvent::Sold(Sold { order_id, quantity, .. }) => {
                levels.reserved = levels.reserved.saturating_sub(*quantity);
                levels.sold = levels.sold.saturating_add(*quantity);
                self.held.remove(order_id);
            }
            StockEvent::Restocked(Restocked { quantity, .. }) => {
                levels.sold = levels.sold.saturating_sub(*quantity);
                levels.available = levels.available.saturating_add(*quantity);
            }
        }
    }

    fn publish(&self, event: &StockEvent) -> Option<Publication> {
        let levels = self.levels;
        Some(match event.clone() {
            StockEvent::Received(Received { sku, quantity }) => {
                Publication::of(&StockReceived { sku, quantity, levels })
            }
            StockEvent::Adjusted(Adjusted { sku, quantity, reason }) => {
                Publication::of(&StockAdjusted { sku, quantity, reason, levels })
            }
            StockEvent::Returned(Returned { sku, return_id, quantity }) => {
                Publication::of(&StockReturned { sku, return_id, quantity, levels })
            }
            StockEvent::Reserved(Reserved { sku, order_id, quantity }) => {
                Publication::of(&StockReserved { sku, order_id, quantity, levels })
            }
            StockEvent::ReservationRefused(ReservationRefused { sku, order_id, quantity }) => {
                Publication::of(&StockReservationRefused { sku, order_id, quantity, levels })
            }
            StockEvent::Released(Released { sku, order_id, quantity }) => {
                Publication::of(&StockReleased { sku, order_id, quantity, levels })
            }
            StockEvent::Sold(Sold { sku, order_id, quantity }) => {
                Publication::of(&StockSold { sku, order_id, quantity, levels })
            }
            StockEvent::Restocked(Restocked { sku, order_id, quantity }) => {
                Publication::of(&StockRestocked { sku, order_id, quantity, levels })
            }
        })
    }
}

impl Stock {
    /// Whether so many more units can be counted.
    fn has_room_for(&self, quantity: u64) -> bool {
        let Levels { available, reserved, sold } = self.levels;
        quantity <= MAX_UNITS.saturating_sub(available + reserved + sold)
    }
}

// Commands and decisions ------------------------------------------------------------------------------------------

/// The levels of a SKU after a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockReply {
    /// The SKU.
    pub sku: String,
    /// Free to be ordered.
    pub available: u64,
    /// Held for orders that are neither confirmed nor off.
    pub reserved: u64,
    /// Held by confirmed orders.
    pub sold: u64,
}

/// Why a stock cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// A SKU that is too long.
    #[error("a SKU has 1 to {MAX_SKU_CHARS} characters")]
    InvalidSku,
    /// Nothing to do.
    #[error("the quantity must not be 0")]
    InvalidQuantity,
    /// More would be taken away than is available.
    #[error("{available} are available, {wanted} cannot be taken away")]
    InsufficientStock {
        /// What is available.
        available: u64,
        /// What was to be taken away.
        wanted: u64,
    },
    /// More than [`MAX_UNITS`].
    #[error("a stock holds at most {MAX_UNITS} units")]
    TooManyUnits,
    /// A reason that is too long.
    #[error("a reason has at most {MAX_REASON_CHARS} characters")]
    ReasonTooLong,
}

impl Rejection for StockError {
    fn code(&self) -> &'static str {
        match self {
            StockError::InvalidSku => "INVALID_SKU",
            StockError::InvalidQuantity => "INVALID_QUANTITY",
            StockError::InsufficientStock { .. } => "INSUFFICIENT_STOCK",
            StockError::TooManyUnits => "TOO_MANY_UNITS",
            StockError::ReasonTooLong => "REASON_TOO_LONG",
        }
    }
}

/// Takes in units that arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiveStock {
    /// How many, at least 1.
    pub quantity: u32,
}

impl Command for ReceiveStock {
    const TYPE: &'static str = "ReceiveStock";
}

impl Handle<ReceiveStock> for Stock {
    type Error = StockError;
    type Reply = StockReply;

    fn decide(&self, command: &ReceiveStock, cx: &Context) -> Result<Decision<Self, StockReply>, StockError> {
        let sku = sku(cx)?;
        let quantity = u64::from(command.quantity);
        if quantity == 0 {
            return Err(StockError::InvalidQuantity);
        }
        if !self.has_room_for(quantity) {
            return Err(StockError::TooManyUnits);
        }
        Ok(self.and_levels(Received { sku, quantity }, cx))
    }
}

/// Corrects what is available: somebody counted, broke or found units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdjustStock {
    /// How many more, or fewer; not 0.
    pub quantity: i32,
    /// Why, at most [`MAX_REASON_CHARS`] characters.
    pub reason: String,
}

impl Command for AdjustStock {
    const TYPE: &'static str = "AdjustStock";
}

impl Handle<AdjustStock> for Stock {
    type Error = StockError;
    type Reply = StockReply;

    fn decide(&self, command: &AdjustStock, cx: &Context) -> Result<Decision<Self, StockReply>, StockError> {
        let sku = sku(cx)?;
        let (available, wanted) = (self.levels.available, u64::from(command.quantity.unsigned_abs()));
        match command.quantity {
            0 => return Err(StockError::InvalidQuantity),
            ..0 if wanted > available => return Err(StockError::InsufficientStock { available, wanted }),
            1.. if !self.has_room_for(wanted) => return Err(StockError::TooManyUnits),
            _ => {}
        }
        if command.reason.chars().count() > MAX_REASON_CHARS {
            return Err(StockError::ReasonTooLong);
        }
        Ok(self.and_levels(Adjusted { sku, quantity: command.quantity.into(), reason: command.reason.clone() }, cx))
    }
}

/// Takes in units that a customer sent back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReturnUnits {
    /// The return.
    pub return_id: String,
    /// How many.
    pub quantity: u64,
}

impl Command for ReturnUnits {
    const TYPE: &'static str = "ReturnUnits";
}

impl Handle<ReturnUnits> for Stock {
    type Error = StockError;
    type Reply = ();

    fn decide(&self, command: &ReturnUnits, cx: &Context) -> Result<Decision<Self, ()>, StockError> {
        let ReturnUnits { return_id, quantity } = command.clone();
        if quantity == 0 {
            return Ok(Decision::none());
        }
        if !self.has_room_for(quantity) {
            return Err(StockError::TooManyUnits);
        }
        Ok(Decision::none().event(Returned { sku: cx.aggregate.id().to_owned(), return_id, quantity }))
    }
}

/// Holds units for an order, or tells that there are not enough. Either way the reservation gets its answer as an
/// event: a refusal is part of its business, and in order with all else that happens to the stock.
///
/// The names are short, since a reservation stores a thousand of these in one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReserveStock {
    /// The order.
    #[serde(rename = "o")]
    pub order_id: String,
    /// How many, all or none.
    #[serde(rename = "q")]
    pub quantity: u64,
}

impl Command for ReserveStock {
    const TYPE: &'static str = "ReserveStock";
}

impl Handle<ReserveStock> for Stock {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &ReserveStock, cx: &Context) -> Result<Decision<Self, ()>, Never> {
        let (sku, ReserveStock { order_id, quantity }) = (cx.aggregate.id().to_owned(), command.clone());
        Ok(if self.held.contains_key(&order_id) {
            Decision::none()
        } else if quantity <= self.levels.available {
            Decision::none().event(Reserved { sku, order_id, quantity })
        } else {
            Decision::none().event(ReservationRefused { sku, order_id, quantity })
        })
    }
}

/// Gives free what is held for an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseStock {
    /// The order.
    #[serde(rename = "o")]
    pub order_id: String,
}

impl Command for ReleaseStock {
    const TYPE: &'static str = "ReleaseStock";
}

impl Handle<ReleaseStock> for Stock {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &ReleaseStock, cx: &Context) -> Result<Decision<Self, ()>, Never> {
        let (sku, order_id) = (cx.aggregate.id().to_owned(), command.order_id.clone());
        Ok(match self.held.get(&order_id) {
            Some(&quantity) => Decision::none().event(Released { sku, order_id, quantity }),
            None => Decision::none(),
        })
    }
}

/// Gives the buyer what is held for an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SellStock {
    /// The order.
    #[serde(rename = "o")]
    pub order_id: String,
}

impl Command for SellStock {
    const TYPE: &'static str = "SellStock";
}

impl Handle<SellStock> for Stock {
    type Error = Never;
    type Reply = ();

    fn decide(&self, command: &SellStock, cx: &Context) -> Result<Decision<Self, ()>, Never> {
        let (sku, order_id) = (cx.aggregate.id().to_owned(), command.order_id.clone());
        Ok(match self.held.get(&order_id) {
            Some(&quantity) => Decision::none().event(Sold { sku, order_id, quantity }),
            None => Decision::none(),
        })
    }
}

/// Takes back what was sold to an order: it was cancelled after it had been confirmed. The stock has forgotten the
/// order by then, so the command says how many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestockSold {
    /// The order.
    #[serde(rename = "o")]
    pub order_id: String,
    /// How many were sold to it.
    #[serde(rename = "q")]
    pub quantity: u64,
}

impl Command for RestockSold {
    const TYPE: &'static str = "RestockSold";
}

/// Fewer units were sold than are to be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fewer than {0} units were sold")]
pub struct NotSold(u64);

impl Rejection for NotSold {
    fn code(&self) -> &'static str {
        "NOT_SOLD"
    }
}

impl Handle<RestockSold> for Stock {
    type Error = NotSold;
    type Reply = ();

    fn decide(&self, command: &RestockSold, cx: &Context) -> Result<Decision<Self, ()>, NotSold> {
        let (sku, RestockSold { order_id, quantity }) = (cx.aggregate.id().to_owned(), command.clone());
        // Still held: the sale failed and waits in the dead-letter queue. Sent again, it will find nothing to sell.
        if let Some(&quantity) = self.held.get(&order_id) {
            return Ok(Decision::none().event(Released { sku, order_id, quantity }));
        }
        if quantity > self.levels.sold {
            return Err(NotSold(quantity));
        }
        Ok(Decision::none().event(Restocked { sku, order_id, quantity }))
    }
}

/// The SKU, if it is one that people may give.
fn sku(cx: &Context) -> Result<String, StockError> {
    let sku = cx.aggregate.id();
    if sku.chars().count() > MAX_SKU_CHARS { Err(StockError::InvalidSku) } else { Ok(sku.to_owned()) }
}

impl Stock {
    /// The event, and the levels after it as the reply.
    fn and_levels(&self, event: impl Into<StockEvent>, cx: &Context) -> Decision<Self, StockReply> {
        let event = event.into();
        let mut after = Stock { levels: self.levels, held: BTreeMap::new() };
        after.evolve(&event);
        let Levels { available, reserved, sold } = after.levels;
        Decision::reply(StockReply { sku: cx.aggregate.id().to_owned(), available, reserved, sold }).event(event)
    }
}

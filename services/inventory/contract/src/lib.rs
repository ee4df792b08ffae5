//! What the inventory service publishes.
//!
//! Every event of a stock tells the levels after it, so that a view needs the newest one only.

use serde::{Deserialize, Serialize};
use skein_core::Contract;

/// How many units of a SKU there are. Their sum is what was received, adjusted and returned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Levels {
    /// Free to be ordered.
    pub available: u64,
    /// Held for orders that are neither confirmed nor off.
    pub reserved: u64,
    /// Held by confirmed orders.
    pub sold: u64,
}

/// Units arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReceived {
    /// The stock keeping unit. Its case counts.
    pub sku: String,
    /// How many arrived.
    pub quantity: u64,
    /// The levels after it.
    pub levels: Levels,
}

/// Somebody counted, broke or found units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockAdjusted {
    /// The stock keeping unit.
    pub sku: String,
    /// How many more, or fewer.
    pub quantity: i64,
    /// Why.
    pub reason: String,
    /// The levels after it.
    pub levels: Levels,
}

/// A customer sent units back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReturned {
    /// The stock keeping unit.
    pub sku: String,
    /// The return.
    pub return_id: String,
    /// How many came back.
    pub quantity: u64,
    /// The levels after it.
    pub levels: Levels,
}

/// Units are held for an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReserved {
    /// The stock keeping unit.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many are held.
    pub quantity: u64,
    /// The levels after it.
    pub levels: Levels,
}

/// An order asked for more than is available, and got nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReservationRefused {
    /// The stock keeping unit.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many were asked for.
    pub quantity: u64,
    /// The levels, unchanged.
    pub levels: Levels,
}

/// Units that were held for an order are free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockReleased {
    /// The stock keeping unit.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many are free again.
    pub quantity: u64,
    /// The levels after it.
    pub levels: Levels,
}

/// Units that were held for an order are the buyer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockSold {
    /// The stock keeping unit.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many were sold.
    pub quantity: u64,
    /// The levels after it.
    pub levels: Levels,
}

/// Units of a confirmed order are free again: it was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StockRestocked {
    /// The stock keeping unit.
    pub sku: String,
    /// The order.
    pub order_id: String,
    /// How many are free again.
    pub quantity: u64,
    /// The levels after it.
    pub levels: Levels,
}

/// Every unit of an order is held for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReservationCompleted {
    /// The order.
    pub order_id: String,
}

/// An order cannot be filled; nothing is held for it any more, or will soon not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReservationFailed {
    /// The order.
    pub order_id: String,
    /// The SKUs of which there was not enough.
    pub missing: Vec<String>,
}

impl Contract for StockReceived {
    const TYPE: &'static str = "inventory.StockReceived";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockAdjusted {
    const TYPE: &'static str = "inventory.StockAdjusted";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockReturned {
    const TYPE: &'static str = "inventory.StockReturned";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockReserved {
    const TYPE: &'static str = "inventory.StockReserved";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockReservationRefused {
    const TYPE: &'static str = "inventory.StockReservationRefused";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockReleased {
    const TYPE: &'static str = "inventory.StockReleased";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockSold {
    const TYPE: &'static str = "inventory.StockSold";
    const CATEGORY: &'static str = "stock";
}

impl Contract for StockRestocked {
    const TYPE: &'static str = "inventory.StockRestocked";
    const CATEGORY: &'static str = "stock";
}

impl Contract for ReservationCompleted {
    const TYPE: &'static str = "inventory.ReservationCompleted";
    const CATEGORY: &'static str = "reservation";
}

impl Contract for ReservationFailed {
    const TYPE: &'static str = "inventory.ReservationFailed";
    const CATEGORY: &'static str = "reservation";
}

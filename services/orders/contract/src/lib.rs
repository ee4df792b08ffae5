//! What the orders service publishes.
//!
//! Every event tells all that a view of orders needs, so that no reader has to look anything up. Money is an exact
//! decimal, written as a string; times are RFC 3339.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use skein_core::{Contract, Personal};
use time::OffsetDateTime;

/// A line of an order or a return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The stock keeping unit. Its case counts.
    pub sku: String,
    /// What the buyer read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many, at least 1.
    pub quantity: u32,
    /// The price of one, at least 0.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub unit_price: Decimal,
}

/// Whom to ask about an order. It is sealed with the customer's key: other services can pass it on, and only orders can
/// open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address of the mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// Nobody has looked at the stock yet.
    Placed,
    /// Every unit is the buyer's.
    Confirmed,
    /// Something is out of stock.
    Backordered,
    /// Nobody wants it any more.
    Cancelled,
}

/// A customer, or a guest, ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderPlaced {
    /// The order.
    pub order_id: String,
    /// The buyer; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Where the order goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub placed_at: OffsetDateTime,
    /// What was ordered, 1 to 1,000 lines. One SKU may stand in several.
    pub lines: Vec<Line>,
    /// The sum of all lines.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub total: Decimal,
    /// Whom to ask about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal<Contact>>,
}

/// The stock suffices: the units are the buyer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: String,
    /// The buyer; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub placed_at: OffsetDateTime,
    /// The sum of all lines.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub total: Decimal,
}

/// Something is out of stock: the order waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderBackordered {
    /// The order.
    pub order_id: String,
    /// The buyer; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub placed_at: OffsetDateTime,
    /// The sum of all lines.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub total: Decimal,
}

/// The order is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// The order.
    pub order_id: String,
    /// The buyer; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub placed_at: OffsetDateTime,
    /// The sum of all lines.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub total: Decimal,
    /// Where the order stood before.
    pub former_status: OrderStatus,
}

/// Units came back. A return does not say from which order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReturnRecorded {
    /// The return.
    pub return_id: String,
    /// Who sent the units back; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// When they came back.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub returned_at: OffsetDateTime,
    /// What came back, 1 to 1,000 lines. One SKU may stand in several.
    pub lines: Vec<Line>,
    /// What the customer gets back: the sum of all lines.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub total: Decimal,
}

/// A customer was erased: nothing that was sealed for it can be read any more. Whoever holds copies of its data erases
/// them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CustomerErased {
    /// The customer.
    pub customer_id: String,
}

impl Contract for CustomerErased {
    const TYPE: &'static str = "orders.CustomerErased";
    const CATEGORY: &'static str = "customer";
}

impl Contract for OrderPlaced {
    const TYPE: &'static str = "orders.OrderPlaced";
    const CATEGORY: &'static str = "order";
}

impl Contract for OrderConfirmed {
    const TYPE: &'static str = "orders.OrderConfirmed";
    const CATEGORY: &'static str = "order";
}

impl Contract for OrderBackordered {
    const TYPE: &'static str = "orders.OrderBackordered";
    const CATEGORY: &'static str = "order";
}

impl Contract for OrderCancelled {
    const TYPE: &'static str = "orders.OrderCancelled";
    const CATEGORY: &'static str = "order";
}

impl Contract for ReturnRecorded {
    const TYPE: &'static str = "orders.ReturnRecorded";
    const CATEGORY: &'static str = "return";
}

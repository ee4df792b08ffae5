//! The views of orders and customers.

use orders_contract::{
    Contact, Line, OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus, ReturnRecorded,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use skein_core::{Partitioning, Personal, Projection, Source, Touch};
use time::OffsetDateTime;

skein_core::contracts! {
    /// What happens to an order.
    pub enum OrderChange {
        Placed(OrderPlaced),
        Confirmed(OrderConfirmed),
        Backordered(OrderBackordered),
        Cancelled(OrderCancelled),
    }
}

impl OrderChange {
    /// Where the order stands afterwards.
    fn status(&self) -> OrderStatus {
        match self {
            OrderChange::Placed(_) => OrderStatus::Placed,
            OrderChange::Confirmed(_) => OrderStatus::Confirmed,
            OrderChange::Backordered(_) => OrderStatus::Backordered,
            OrderChange::Cancelled(_) => OrderStatus::Cancelled,
        }
    }
}

// Orders by id ----------------------------------------------------------------------------------------------------

/// An order by its id: partition is the order, one row [`Orders::ROW`].
pub struct Orders;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderRow {
    /// The order.
    pub order_id: String,
    /// The buyer; absent for a guest.
    pub customer_id: Option<String>,
    /// Where the order goes.
    pub country: Option<String>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    pub placed_at: OffsetDateTime,
    /// Where it stands.
    pub status: OrderStatus,
    /// The sum of all lines.
    pub total: Decimal,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// Whom to ask about it, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal<Contact>>,
}

impl Orders {
    /// The row of an order's partition.
    pub const ROW: &'static str = "order";
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const TABLE: &'static str = "orders";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    const LIVE: bool = true;
    type Event = OrderChange;
    type Row = OrderRow;

    fn touches(_: &OrderChange, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), Self::ROW)]
    }

    fn apply(row: Option<OrderRow>, event: &OrderChange, _: &Touch, _: &Source) -> Option<OrderRow> {
        match event {
            OrderChange::Placed(placed) => {
                let OrderPlaced { order_id, customer_id, country, placed_at, lines, total, contact } = placed.clone();
                let status = event.status();
                Some(OrderRow { order_id, customer_id, country, placed_at, status, total, lines, contact })
            }
            _ => row.map(|row| OrderRow { status: event.status(), ..row }),
        }
    }
}

// A customer's orders ---------------------------------------------------------------------------------------------

/// A customer's orders, newest first: partition is the customer, one row an order. Guests have no such list.
pub struct CustomerOrders;

/// An order in its customer's list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerOrderRow {
    /// The order.
    pub order_id: String,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    pub placed_at: OffsetDateTime,
    /// Where it stands.
    pub status: OrderStatus,
    /// The sum of all lines.
    pub total: Decimal,
}

impl CustomerOrderRow {
    fn new(change: &OrderChange) -> Self {
        let (order_id, placed_at, total) = match change {
            OrderChange::Placed(order) => (&order.order_id, order.placed_at, order.total),
            OrderChange::Confirmed(order) => (&order.order_id, order.placed_at, order.total),
            OrderChange::Backordered(order) => (&order.order_id, order.placed_at, order.total),
            OrderChange::Cancelled(order) => (&order.order_id, order.placed_at, order.total),
        };
        CustomerOrderRow { order_id: order_id.clone(), placed_at, status: change.status(), total }
    }

    /// Rows are listed in ascending order of their keys, so a later time makes a lower one. Nanoseconds since 1970 of
    /// the years 0 to 9999 stay within 21 digits.
    fn key(&self) -> String {
        let newest_first = 10_i128.pow(21) - self.placed_at.unix_timestamp_nanos();
        format!("{newest_first:022}:{}", self.order_id)
    }
}

impl Projection for CustomerOrders {
    const NAME: &'static str = "customer-orders";
    const TABLE: &'static str = "customerorders";
    const PARTITIONING: Partitioning = Partitioning::ManySources;
    const LIVE: bool = true;
    type Event = OrderChange;
    type Row = CustomerOrderRow;

    fn touches(event: &OrderChange, _: &Source) -> Vec<Touch> {
        let customer_id = match event {
            OrderChange::Placed(order) => &order.customer_id,
            OrderChange::Confirmed(order) => &order.customer_id,
            OrderChange::Backordered(order) => &order.customer_id,
            OrderChange::Cancelled(order) => &order.customer_id,
        };
        customer_id.iter().map(|customer| Touch::new(customer, CustomerOrderRow::new(event).key())).collect()
    }

    fn apply(_: Option<CustomerOrderRow>, event: &OrderChange, _: &Touch, _: &Source) -> Option<CustomerOrderRow> {
        Some(CustomerOrderRow::new(event))
    }
}

// A customer's totals ---------------------------------------------------------------------------------------------

skein_core::contracts! {
    /// What changes what a customer has spent.
    pub enum Spending {
        Placed(OrderPlaced),
        Cancelled(OrderCancelled),
        Returned(ReturnRecorded),
    }
}

/// What a customer has spent: partition is the customer, one row [`CustomerTotals::ROW`]. Guests have none.
pub struct CustomerTotals;

/// What a customer has spent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerTotalsRow {
    /// How many orders that are not cancelled.
    pub orders: i64,
    /// How many returns.
    pub returns: i64,
    /// The orders that are not cancelled minus the returns, exactly.
    pub revenue: Decimal,
}

impl CustomerTotals {
    /// The row of a customer's partition.
    pub const ROW: &'static str = "totals";
}

impl Projection for CustomerTotals {
    const NAME: &'static str = "customer-totals";
    const TABLE: &'static str = "customertotals";
    const PARTITIONING: Partitioning = Partitioning::ManySources;
    const LIVE: bool = true;
    type Event = Spending;
    type Row = CustomerTotalsRow;

    fn touches(event: &Spending, _: &Source) -> Vec<Touch> {
        let customer_id = match event {
            Spending::Placed(order) => &order.customer_id,
            Spending::Cancelled(order) => &order.customer_id,
            Spending::Returned(returned) => &returned.customer_id,
        };
        customer_id.iter().map(|customer| Touch::new(customer, Self::ROW)).collect()
    }

    fn apply(row: Option<CustomerTotalsRow>, event: &Spending, _: &Touch, _: &Source) -> Option<CustomerTotalsRow> {
        let CustomerTotalsRow { orders, returns, revenue } = row.unwrap_or_default();
        Some(match event {
            Spending::Placed(order) => {
                CustomerTotalsRow { orders: orders + 1, returns, revenue: revenue + order.total }
            }
            Spending::Cancelled(order) => {
                CustomerTotalsRow { orders: orders - 1, returns, revenue: revenue - order.total }
            }
            Spending::Returned(returned) => {
                CustomerTotalsRow { orders, returns: returns + 1, revenue: revenue - returned.total }
            }
        })
    }
}

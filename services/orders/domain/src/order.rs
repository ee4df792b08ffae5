//! Orders: placed, then confirmed or backordered; cancelled at any time.

use orders_contract::{Contact, OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use skein_core::{Aggregate, Command, Context, Decision, Handle, Personal, Publication, Rejection};
use time::OffsetDateTime;

use crate::customer::{self, CustomerError};
use crate::line::{self, Line, LineError};

/// The most characters of a country.
pub const MAX_COUNTRY_CHARS: usize = 64;
/// The most characters of a reason.
pub const MAX_REASON_CHARS: usize = 500;

// Events ----------------------------------------------------------------------------------------------------------

/// An order was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
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
    pub placed_at: OffsetDateTime,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// The sum of all lines.
    pub total: Decimal,
    /// Whom to ask about it. Version 2 added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal<Contact>>,
}

/// An order was placed, before anybody was named to be asked about it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacedV1 {
    order_id: String,
    customer_id: Option<String>,
    country: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    placed_at: OffsetDateTime,
    lines: Vec<Line>,
    total: Decimal,
}

impl From<PlacedV1> for Placed {
    fn from(former: PlacedV1) -> Self {
        let PlacedV1 { order_id, customer_id, country, placed_at, lines, total } = former;
        Placed { order_id, customer_id, country, placed_at, lines, total, contact: None }
    }
}

/// The stock suffices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmed {}

/// Something is out of stock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backordered {}

/// The order is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancelled {
    /// Why.
    pub reason: String,
    /// Where the order stood before.
    pub former_status: OrderStatus,
}

skein_core::events! {
    /// What happens to an order.
    pub enum OrderEvent {
        Placed(Placed) = ("OrderPlaced", 2) formerly (PlacedV1),
        Confirmed(Confirmed) = ("OrderConfirmed", 1),
        Backordered(Backordered) = ("OrderBackordered", 1),
        Cancelled(Cancelled) = ("OrderCancelled", 1),
    }
}

// State and fold --------------------------------------------------------------------------------------------------

/// An order, or, before it is placed, the lack of one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Order(Option<Known>);

/// What an order remembers to decide on. Nothing is decided on its lines, so it forgets them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    order_id: String,
    customer_id: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    placed_at: OffsetDateTime,
    total: Decimal,
    status: OrderStatus,
}

impl Aggregate for Order {
    const CATEGORY: &'static str = "order";
    type Event = OrderEvent;

    fn evolve(&mut self, event: &OrderEvent) {
        let status = match event {
            OrderEvent::Placed(Placed { order_id, customer_id, placed_at, total, .. }) => {
                self.0 = Some(Known {
                    order_id: order_id.clone(),
                    customer_id: customer_id.clone(),
                    placed_at: *placed_at,
                    total: *total,
                    status: OrderStatus::Placed,
                });
                return;
            }
            OrderEvent::Confirmed(_) => OrderStatus::Confirmed,
            OrderEvent::Backordered(_) => OrderStatus::Backordered,
            OrderEvent::Cancelled(_) => OrderStatus::Cancelled,
        };
        if let Some(order) = &mut self.0 {
            order.status = status;
        }
    }

    fn publish(&self, event: &OrderEvent) -> Option<Publication> {
        let Known { order_id, customer_id, placed_at, total, .. } = self.0.clone()?;
        Some(match event {
            OrderEvent::Placed(Placed { country, lines, contact, .. }) => Publication::of(&OrderPlaced {
                order_id,
                customer_id,
                country: country.clone(),
                placed_at,
                lines: line::published(lines),
                total,
                contact: contact.clone(),
            }),
            OrderEvent::Confirmed(_) => Publication::of(&OrderConfirmed { order_id, customer_id, placed_at, total }),
            OrderEvent::Backordered(_) => {
                Publication::of(&OrderBackordered { order_id, customer_id, placed_at, total })
            }
            OrderEvent::Cancelled(Cancelled { former_status, .. }) => Publication::of(&OrderCancelled {
                order_id,
                customer_id,
                placed_at,
                total,
                former_status: *former_status,
            }),
        })
    }
}

// Commands and decisions ------------------------------------------------------------------------------------------

/// Places the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceOrder {
    /// The buyer; absent for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Where the order goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// When it was placed; now, if absent.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<OffsetDateTime>,
    /// What is ordered, 1 to 1,000 lines.
    pub lines: Vec<Line>,
    /// Whom to ask about it: sealed for the buyer, checked before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal<Contact>>,
}

impl Command for PlaceOrder {
    const TYPE: &'static str = "PlaceOrder";
    const CREATES: bool = true;
}

/// The order that was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceOrderReply {
    /// The order.
    pub order_id: String,
    /// The sum of all lines.
    pub total: Decimal,
    /// Where the order stands.
    pub status: OrderStatus,
}

/// Why an order cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceOrderError {
    /// The id is taken.
    #[error("there is an order of this id already")]
    AlreadyPlaced,
    /// Nobody to order for.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// Nothing to order.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// A country that is too long.
    #[error("a country has at most {MAX_COUNTRY_CHARS} characters")]
    CountryTooLong,
    /// A contact that is sealed for somebody else, and would outlive the buyer's erasure.
    #[error("a contact is the buyer's own: guests have none")]
    ForeignContact,
}

impl Rejection for PlaceOrderError {
    fn code(&self) -> &'static str {
        match self {
            PlaceOrderError::AlreadyPlaced => "ORDER_ALREADY_PLACED",
            PlaceOrderError::Customer(error) => error.code(),
            PlaceOrderError::Lines(error) => error.code(),
            PlaceOrderError::CountryTooLong => "COUNTRY_TOO_LONG",
            PlaceOrderError::ForeignContact => "FOREIGN_CONTACT",
        }
    }
}

impl Handle<PlaceOrder> for Order {
    type Error = PlaceOrderError;
    type Reply = PlaceOrderReply;

    fn decide(&self, command: &PlaceOrder, cx: &Context) -> Result<Decision<Self, PlaceOrderReply>, PlaceOrderError> {
        customer::check(&cx.principal, command.customer_id.as_deref())?;
        if self.0.is_some() {
            return Err(PlaceOrderError::AlreadyPlaced);
        }
        if command.country.as_ref().is_some_and(|country| country.chars().count() > MAX_COUNTRY_CHARS) {
            return Err(PlaceOrderError::CountryTooLong);
        }
        if command.contact.as_ref().is_some_and(|contact| Some(contact.person()) != command.customer_id.as_deref()) {
            return Err(PlaceOrderError::ForeignContact);
        }
        let total = line::total(&command.lines)?;
        let order_id = cx.aggregate.id().to_owned();
        let reply = PlaceOrderReply { order_id: order_id.clone(), total, status: OrderStatus::Placed };
        Ok(Decision::reply(reply).event(Placed {
            order_id,
            customer_id: command.customer_id.clone(),
            country: command.country.clone(),
            placed_at: command.placed_at.unwrap_or(cx.now),
            lines: command.lines.clone(),
            total,
            contact: command.contact.clone(),
        }))
    }
}

/// Confirms the order: the stock suffices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmOrder {}

impl Command for ConfirmOrder {
    const TYPE: &'static str = "ConfirmOrder";
}

/// Lets the order wait: something is out of stock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackorderOrder {}

impl Command for BackorderOrder {
    const TYPE: &'static str = "BackorderOrder";
}

/// There is no such order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such order")]
pub struct OrderNotFound;

impl Rejection for OrderNotFound {
    fn code(&self) -> &'static str {
        "ORDER_NOT_FOUND"
    }
}

impl Handle<ConfirmOrder> for Order {
    type Error = OrderNotFound;
    type Reply = ();

    fn decide(&self, _: &ConfirmOrder, _: &Context) -> Result<Decision<Self, ()>, OrderNotFound> {
        Ok(match self.0.as_ref().ok_or(OrderNotFound)?.status {
            OrderStatus::Placed => Decision::none().event(Confirmed {}),
            // The stock answered twice, or after the buyer had cancelled: then inventory learns of that, and gives
            // the units back.
            OrderStatus::Confirmed | OrderStatus::Backordered | OrderStatus::Cancelled => Decision::none(),
        })
    }
}

impl Handle<BackorderOrder> for Order {
    type Error = OrderNotFound;
    type Reply = ();

    fn decide(&self, _: &BackorderOrder, _: &Context) -> Result<Decision<Self, ()>, OrderNotFound> {
        Ok(match self.0.as_ref().ok_or(OrderNotFound)?.status {
            OrderStatus::Placed => Decision::none().event(Backordered {}),
            OrderStatus::Confirmed | OrderStatus::Backordered | OrderStatus::Cancelled => Decision::none(),
        })
    }
}

/// Cancels the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelOrder {
    /// Why, at most [`MAX_REASON_CHARS`] characters.
    pub reason: String,
}

impl Command for CancelOrder {
    const TYPE: &'static str = "CancelOrder";
}

/// The order that was cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelOrderReply {
    /// The order.
    pub order_id: String,
    /// Where the order stands.
    pub status: OrderStatus,
}

/// Why an order cannot be cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelOrderError {
    /// There is none, or it is another's: who asks shall not learn which.
    #[error(transparent)]
    NotFound(#[from] OrderNotFound),
    /// It is off already.
    #[error("the order is cancelled already")]
    AlreadyCancelled,
    /// A reason that is too long.
    #[error("a reason has at most {MAX_REASON_CHARS} characters")]
    ReasonTooLong,
}

impl Rejection for CancelOrderError {
    fn code(&self) -> &'static str {
        match self {
            CancelOrderError::NotFound(error) => error.code(),
            CancelOrderError::AlreadyCancelled => "ORDER_ALREADY_CANCELLED",
            CancelOrderError::ReasonTooLong => "REASON_TOO_LONG",
        }
    }
}

impl Handle<CancelOrder> for Order {
    type Error = CancelOrderError;
    type Reply = CancelOrderReply;

    fn decide(
        &self,
        command: &CancelOrder,
        cx: &Context,
    ) -> Result<Decision<Self, CancelOrderReply>, CancelOrderError> {
        let order = self.0.as_ref().ok_or(OrderNotFound)?;
        if !customer::may_act_for(&cx.principal, order.customer_id.as_deref()) {
            return Err(OrderNotFound.into());
        }
        if order.status == OrderStatus::Cancelled {
            return Err(CancelOrderError::AlreadyCancelled);
        }
        if command.reason.chars().count() > MAX_REASON_CHARS {
            return Err(CancelOrderError::ReasonTooLong);
        }
        let reply = CancelOrderReply { order_id: order.order_id.clone(), status: OrderStatus::Cancelled };
        Ok(Decision::reply(reply).event(Cancelled { reason: command.reason.clone(), former_status: order.status }))
    }
}

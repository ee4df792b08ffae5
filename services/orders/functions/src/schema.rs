//! The orders service in GraphQL: who may ask for what, and what it means.

use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Object, SimpleObject, Subscription};
use orders_contract::{Contact, OrderStatus};
use orders_domain::customer::{CUSTOMER, OPERATOR, check_contact, may_act_for};
use orders_domain::erasure::{Customer, EraseCustomer, EraseCustomerReply};
use orders_domain::line::Line;
use orders_domain::order::{CancelOrder, CancelOrderReply, Order, PlaceOrder, PlaceOrderReply};
use orders_domain::returns::{RecordReturn, RecordReturnReply, Return};
use orders_domain::views::{CustomerOrderRow, CustomerOrders, CustomerTotals, CustomerTotalsRow, OrderRow, Orders};
use rust_decimal::Decimal;
use skein::core::{Aggregate, AggregateId, Personal};
use skein::graphql::{
    Answer, ApiError, Await, CommandStatus, Connection, Live, Page, access, command_status, live_row, live_rows, open,
    page_cost, principal, seal, submit, views,
};
use time::OffsetDateTime;

/// Refuses who acts for somebody else.
fn acting_for(cx: &Context<'_>, customer: Option<&ID>) -> Result<(), ApiError> {
    if may_act_for(principal(cx)?, customer.map(|id| id.as_str())) {
        Ok(())
    } else {
        Err(ApiError::forbidden("a customer may act for itself only: give your own customerId"))
    }
}

/// Checks and seals a contact for its customer.
async fn sealed_contact(
    cx: &Context<'_>,
    contact: Option<ContactInput>,
    customer: Option<&ID>,
    command_id: Option<&ID>,
) -> Result<Option<Personal<Contact>>, ApiError> {
    let Some(ContactInput { name, email }) = contact else { return Ok(None) };
    let contact = Contact { name, email };
    check_contact(&contact).map_err(|error| ApiError::bad_input(error.to_string()))?;
    let customer = customer.ok_or_else(|| ApiError::bad_input("a contact needs a customerId: guests have none"))?;
    // Whoever can be sealed for can be erased.
    AggregateId::new(Customer::CATEGORY, customer)?;
    seal(cx, customer, &contact, command_id).await.map(Some)
}

// Mutations -------------------------------------------------------------------------------------------------------

/// What can be done with orders.
pub struct Mutation;

#[Object]
impl Mutation {
    /// Places an order. Without an id it gets one; without a customer it is a guest's.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn place_order(
        &self,
        cx: &Context<'_>,
        input: PlaceOrderInput,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<PlacedOrder>, ApiError> {
        acting_for(cx, input.customer_id.as_ref())?;
        let contact = sealed_contact(cx, input.contact, input.customer_id.as_ref(), command_id.as_ref()).await?;
        let command = PlaceOrder {
            customer_id: input.customer_id.map(|id| id.0),
            country: input.country,
            placed_at: input.placed_at,
            lines: input.lines.into_iter().map(Line::from).collect(),
            contact,
        };
        submit::<Order, _, _>(cx, command, input.order_id, command_id, wait).await
    }

    /// Cancels an order, whatever has become of it. A customer cancels its own.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn cancel_order(
        &self,
        cx: &Context<'_>,
        input: CancelOrderInput,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<CancelledOrder>, ApiError> {
        let command = CancelOrder { reason: input.reason };
        submit::<Order, _, _>(cx, command, Some(input.order_id), command_id, wait).await
    }

    /// Records goods that came back. Their units return to the stock.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn record_return(
        &self,
        cx: &Context<'_>,
        input: RecordReturnInput,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<RecordedReturn>, ApiError> {
        acting_for(cx, input.customer_id.as_ref())?;
        let command = RecordReturn {
            customer_id: input.customer_id.map(|id| id.0),
            returned_at: input.returned_at,
            lines: input.lines.into_iter().map(Line::from).collect(),
        };
        submit::<Return, _, _>(cx, command, input.return_id, command_id, wait).await
    }

    /// Erases a customer: what it said of itself cannot be read any more, anywhere, and other services are told. Its
    /// orders stay.
    #[graphql(directive = access::apply([OPERATOR]))]
    async fn erase_customer(
        &self,
        cx: &Context<'_>,
        customer_id: ID,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<ErasedCustomer>, ApiError> {
        submit::<Customer, _, _>(cx, EraseCustomer {}, Some(customer_id), command_id, wait).await
    }
}

/// An order to be placed.
#[derive(InputObject)]
struct PlaceOrderInput {
    /// The order's id, at most 100 characters; without one the order gets one.
    order_id: Option<ID>,
    /// The customer; without one it is a guest's order.
    customer_id: Option<ID>,
    /// The country it goes to.
    country: Option<String>,
    /// When it was placed; now, if it is left out.
    placed_at: Option<OffsetDateTime>,
    /// 1 to 1,000 lines. A SKU may stand in several.
    lines: Vec<LineInput>,
    /// Whom to ask about it; needs a customer. It is encrypted at once, and unreadable once the customer is erased.
    contact: Option<ContactInput>,
}

/// Whom to ask about an order: a name or an email, or both.
#[derive(InputObject)]
struct ContactInput {
    /// The name, 1 to 100 characters.
    name: Option<String>,
    /// The mailbox, as in name@host.
    email: Option<String>,
}

/// A line of an order or a return.
#[derive(InputObject)]
struct LineInput {
    /// The stock keeping unit, 1 to 50 characters; upper and lower case are two.
    sku: String,
    /// What it is, at most 100 characters.
    description: Option<String>,
    /// How many, at least 1.
    quantity: u32,
    /// The price of one, 0 or more.
    unit_price: Decimal,
}

impl From<LineInput> for Line {
    fn from(line: LineInput) -> Self {
        Line { sku: line.sku, description: line.description, quantity: line.quantity, unit_price: line.unit_price }
    }
}

/// An order to be cancelled.
#[derive(InputObject)]
struct CancelOrderInput {
    /// The order.
    order_id: ID,
    /// Why.
    reason: String,
}

/// Goods that came back.
#[derive(InputObject)]
struct RecordReturnInput {
    /// The return's id; without one it gets one.
    return_id: Option<ID>,
    /// The customer, if it is known.
    customer_id: Option<ID>,
    /// When they came back; now, if it is left out.
    returned_at: Option<OffsetDateTime>,
    /// 1 to 1,000 lines.
    lines: Vec<LineInput>,
}

/// An order that was placed.
#[derive(SimpleObject)]
struct PlacedOrder {
    /// The order's id.
    order_id: ID,
    /// The sum of its lines.
    total: Decimal,
    /// Where it stands.
    status: Status,
}

impl From<PlaceOrderReply> for PlacedOrder {
    fn from(reply: PlaceOrderReply) -> Self {
        PlacedOrder { order_id: reply.order_id.into(), total: reply.total, status: reply.status.into() }
    }
}

/// An order that was cancelled.
#[derive(SimpleObject)]
struct CancelledOrder {
    /// The order's id.
    order_id: ID,
    /// Where it stands.
    status: Status,
}

impl From<CancelOrderReply> for CancelledOrder {
    fn from(reply: CancelOrderReply) -> Self {
        CancelledOrder { order_id: reply.order_id.into(), status: reply.status.into() }
    }
}

/// A return that was recorded.
#[derive(SimpleObject)]
struct RecordedReturn {
    /// The return's id.
    return_id: ID,
    /// The sum of its lines.
    total: Decimal,
}

impl From<RecordReturnReply> for RecordedReturn {
    fn from(reply: RecordReturnReply) -> Self {
        RecordedReturn { return_id: reply.return_id.into(), total: reply.total }
    }
}

/// A customer that was erased.
#[derive(SimpleObject)]
struct ErasedCustomer {
    /// The customer.
    customer_id: ID,
}

impl From<EraseCustomerReply> for ErasedCustomer {
    fn from(reply: EraseCustomerReply) -> Self {
        ErasedCustomer { customer_id: reply.customer_id.into() }
    }
}

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "OrderStatus", remote = "OrderStatus")]
enum Status {
    /// The inventory has not answered yet.
    Placed,
    /// All units are held for it.
    Confirmed,
    /// Something is out of stock.
    Backordered,
    /// It is off.
    Cancelled,
}

// Queries ---------------------------------------------------------------------------------------------------------

/// What can be asked about orders.
pub struct Query;

#[Object]
impl Query {
    /// An order; null where there is none, or none of yours.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn order(&self, cx: &Context<'_>, id: ID) -> Result<Option<OrderView>, ApiError> {
        let order = views(cx)?.get::<Orders>(&id, Orders::ROW).await?;
        let principal = principal(cx)?;
        Ok(order.filter(|order| may_act_for(principal, order.customer_id.as_deref())).map(OrderView::from))
    }

    /// A customer's orders, newest first. At most 100 a page.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]), complexity = "page_cost(first, child_complexity)")]
    async fn customer_orders(
        &self,
        cx: &Context<'_>,
        customer_id: ID,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<CustomerOrder>, ApiError> {
        acting_for(cx, Some(&customer_id))?;
        let page = Page::of(first, after.as_deref())?;
        let listing = views(cx)?.list::<CustomerOrders>(&customer_id, page.after.as_deref(), page.first).await?;
        Ok(Connection::of(listing, CustomerOrder::from))
    }

    /// What a customer ordered and sent back, in sum.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn customer_totals(&self, cx: &Context<'_>, customer_id: ID) -> Result<Totals, ApiError> {
        acting_for(cx, Some(&customer_id))?;
        Ok(views(cx)?
            .get::<CustomerTotals>(&customer_id, CustomerTotals::ROW)
            .await?
            .map_or_else(Totals::default, Totals::from))
    }

    /// What became of a command of yours: PENDING until it is decided.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn command_status(
        &self,
        cx: &Context<'_>,
        aggregate_id: ID,
        command_id: ID,
    ) -> Result<CommandStatus, ApiError> {
        command_status(cx, &[Order::CATEGORY, Return::CATEGORY], &aggregate_id, &command_id).await
    }
}

// Subscriptions ---------------------------------------------------------------------------------------------------

/// What can be followed about orders.
pub struct Follow;

#[Subscription(name = "Subscription")]
impl Follow {
    /// An order, now and whenever it changes; null where there is none, or none of yours.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn order(&self, cx: &Context<'_>, id: ID) -> Result<Live<Option<OrderView>>, ApiError> {
        let principal = principal(cx)?.clone();
        live_row::<Orders, _>(cx, &id, Orders::ROW, |order| {
            order.filter(|order| may_act_for(&principal, order.customer_id.as_deref())).map(OrderView::from)
        })
        .await
    }

    /// A customer's orders: each that is placed or changes from now on.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn customer_orders(
        &self,
        cx: &Context<'_>,
        customer_id: ID,
    ) -> Result<Live<Option<CustomerOrder>>, ApiError> {
        acting_for(cx, Some(&customer_id))?;
        live_rows::<CustomerOrders, _>(cx, &customer_id, |_, order| order.map(CustomerOrder::from)).await
    }

    /// What a customer ordered and sent back, in sum: now and whenever it changes.
    #[graphql(directive = access::apply([CUSTOMER, OPERATOR]))]
    async fn customer_totals(&self, cx: &Context<'_>, customer_id: ID) -> Result<Live<Totals>, ApiError> {
        acting_for(cx, Some(&customer_id))?;
        live_row::<CustomerTotals, _>(cx, &customer_id, CustomerTotals::ROW, |totals| {
            totals.map_or_else(Totals::default, Totals::from)
        })
        .await
    }
}

/// An order as it stands.
#[derive(SimpleObject)]
#[graphql(name = "Order", complex)]
struct OrderView {
    /// The order's id.
    id: ID,
    /// The customer; null for a guest's order.
    customer_id: Option<ID>,
    /// The country it goes to.
    country: Option<String>,
    /// When it was placed.
    placed_at: OffsetDateTime,
    /// Where it stands.
    status: Status,
    /// The sum of its lines.
    total: Decimal,
    /// Its lines.
    lines: Vec<LineView>,
    #[graphql(skip)]
    sealed_contact: Option<Personal<Contact>>,
}

#[ComplexObject]
impl OrderView {
    /// Whom to ask about it; null where nobody was named.
    async fn contact(&self, cx: &Context<'_>) -> Result<Option<ContactView>, ApiError> {
        let Some(sealed) = &self.sealed_contact else { return Ok(None) };
        Ok(Some(match open(cx, sealed).await? {
            Some(Contact { name, email }) => ContactView { erased: false, name, email },
            None => ContactView { erased: true, name: None, email: None },
        }))
    }
}

/// Whom to ask about an order.
#[derive(SimpleObject)]
#[graphql(name = "Contact")]
struct ContactView {
    /// Whether the customer was erased since: then nothing of it can be read.
    erased: bool,
    /// The name.
    name: Option<String>,
    /// The mailbox.
    email: Option<String>,
}

/// A line of an order.
#[derive(SimpleObject)]
#[graphql(name = "OrderLine")]
struct LineView {
    /// The stock keeping unit.
    sku: String,
    /// What it is.
    description: Option<String>,
    /// How many.
    quantity: u32,
    /// The price of one.
    unit_price: Decimal,
}

impl From<OrderRow> for OrderView {
    fn from(order: OrderRow) -> Self {
        let lines = order.lines.into_iter();
        OrderView {
            id: order.order_id.into(),
            customer_id: order.customer_id.map(ID::from),
            country: order.country,
            placed_at: order.placed_at,
            status: order.status.into(),
            total: order.total,
            sealed_contact: order.contact,
            lines: lines
                .map(|line| LineView {
                    sku: line.sku,
                    description: line.description,
                    quantity: line.quantity,
                    unit_price: line.unit_price,
                })
                .collect(),
        }
    }
}

/// One of a customer's orders.
#[derive(SimpleObject)]
struct CustomerOrder {
    /// The order's id.
    id: ID,
    /// When it was placed.
    placed_at: OffsetDateTime,
    /// Where it stands.
    status: Status,
    /// The sum of its lines.
    total: Decimal,
}

impl From<CustomerOrderRow> for CustomerOrder {
    fn from(row: CustomerOrderRow) -> Self {
        CustomerOrder { id: row.order_id.into(), placed_at: row.placed_at, status: row.status.into(), total: row.total }
    }
}

/// What a customer ordered and sent back, in sum.
#[derive(Default, SimpleObject)]
#[graphql(name = "CustomerTotals")]
struct Totals {
    /// Orders that are not cancelled.
    orders: i64,
    /// Returns.
    returns: i64,
    /// Orders that are not cancelled minus returns.
    revenue: Decimal,
}

impl From<CustomerTotalsRow> for Totals {
    fn from(row: CustomerTotalsRow) -> Self {
        Totals { orders: row.orders, returns: row.returns, revenue: row.revenue }
    }
}

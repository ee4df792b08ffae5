//! The inventory service in GraphQL: who may ask for what, and what it means.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use inventory_domain::stock::{AdjustStock, ReceiveStock, Stock, StockReply};
use inventory_domain::views::{StockLevels, StockRow, TopSkus};
use skein::core::Aggregate;
use skein::graphql::{
    Answer, ApiError, Await, CommandStatus, OPERATOR, Page, access, command_status, page_cost, submit, views,
};

// Mutations -------------------------------------------------------------------------------------------------------

/// What can be done with the stock.
pub struct Mutation;

#[Object]
impl Mutation {
    /// Receives units of a SKU.
    #[graphql(directive = access::apply([OPERATOR]))]
    async fn receive_stock(
        &self,
        cx: &Context<'_>,
        input: ReceiveStockInput,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<StockView>, ApiError> {
        let command = ReceiveStock { quantity: input.quantity };
        submit::<Stock, _, _>(cx, command, Some(input.sku.into()), command_id, wait).await
    }

    /// Corrects the stock of a SKU, up or down. What is available never goes below zero.
    #[graphql(directive = access::apply([OPERATOR]))]
    async fn adjust_stock(
        &self,
        cx: &Context<'_>,
        input: AdjustStockInput,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<StockView>, ApiError> {
        let command = AdjustStock { quantity: input.quantity, reason: input.reason };
        submit::<Stock, _, _>(cx, command, Some(input.sku.into()), command_id, wait).await
    }
}

/// Units that arrived.
#[derive(InputObject)]
struct ReceiveStockInput {
    /// The stock keeping unit, 1 to 50 characters; upper and lower case are two.
    sku: String,
    /// How many, at least 1.
    quantity: u32,
}

/// A correction.
#[derive(InputObject)]
struct AdjustStockInput {
    /// The stock keeping unit.
    sku: String,
    /// How many more, or fewer if it is negative; not 0.
    quantity: i32,
    /// Why.
    reason: String,
}

// Queries ---------------------------------------------------------------------------------------------------------

/// What can be asked about the stock.
pub struct Query;

#[Object]
impl Query {
    /// The stock of a SKU; null for one that nobody has ever heard of.
    #[graphql(directive = access::apply([OPERATOR]))]
    async fn stock(&self, cx: &Context<'_>, sku: String) -> Result<Option<StockView>, ApiError> {
        Ok(views(cx)?.get::<StockLevels>(&sku, StockLevels::ROW).await?.map(StockView::from))
    }

    /// The SKUs with most units sold, best first. Brought up to date at most once a second. At most 100.
    #[graphql(directive = access::apply([OPERATOR]), complexity = "page_cost(first, child_complexity)")]
    async fn top_skus(&self, cx: &Context<'_>, first: Option<i32>) -> Result<Vec<TopSku>, ApiError> {
        let best = views(cx)?.top::<TopSkus>(Page::of(first, None)?.first).await?;
        Ok(best.into_iter().map(|(sku, sold)| TopSku { sku, sold }).collect())
    }

    /// What became of a command of yours: PENDING until it is decided.
    #[graphql(directive = access::apply([OPERATOR]))]
    async fn command_status(
        &self,
        cx: &Context<'_>,
        aggregate_id: ID,
        command_id: ID,
    ) -> Result<CommandStatus, ApiError> {
        command_status(cx, &[Stock::CATEGORY], &aggregate_id, &command_id).await
    }
}

/// A stock as it stands. Received, adjusted and returned units are available, reserved or sold.
#[derive(SimpleObject)]
#[graphql(name = "Stock")]
struct StockView {
    /// The stock keeping unit.
    sku: String,
    /// Free to be ordered.
    available: u64,
    /// Held for orders that are neither confirmed nor off.
    reserved: u64,
    /// Held by confirmed orders.
    sold: u64,
}

impl From<StockReply> for StockView {
    fn from(reply: StockReply) -> Self {
        StockView { sku: reply.sku, available: reply.available, reserved: reply.reserved, sold: reply.sold }
    }
}

impl From<StockRow> for StockView {
    fn from(row: StockRow) -> Self {
        StockView { sku: row.sku, available: row.available, reserved: row.reserved, sold: row.sold }
    }
}

/// A SKU with the units sold of it.
#[derive(SimpleObject)]
struct TopSku {
    /// The stock keeping unit.
    sku: String,
    /// Units held by confirmed orders.
    sold: i64,
}

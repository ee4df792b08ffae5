//! The views of stocks.

use inventory_contract::{
    Levels, StockAdjusted, StockReceived, StockReleased, StockReservationRefused, StockReserved, StockRestocked,
    StockReturned, StockSold,
};
use serde::{Deserialize, Serialize};
use skein_core::{Partitioning, Projection, Source, TopList, Touch};

skein_core::contracts! {
    /// What happens to a stock.
    pub enum StockChange {
        Received(StockReceived),
        Adjusted(StockAdjusted),
        Returned(StockReturned),
        Reserved(StockReserved),
        ReservationRefused(StockReservationRefused),
        Released(StockReleased),
        Sold(StockSold),
        Restocked(StockRestocked),
    }
}

impl StockChange {
    /// The levels afterwards.
    fn levels(&self) -> Levels {
        match self {
            StockChange::Received(stock) => stock.levels,
            StockChange::Adjusted(stock) => stock.levels,
            StockChange::Returned(stock) => stock.levels,
            StockChange::Reserved(stock) => stock.levels,
            StockChange::ReservationRefused(stock) => stock.levels,
            StockChange::Released(stock) => stock.levels,
            StockChange::Sold(stock) => stock.levels,
            StockChange::Restocked(stock) => stock.levels,
        }
    }
}

// Stock by SKU ----------------------------------------------------------------------------------------------------

/// A stock by its SKU: partition is the SKU, one row [`StockLevels::ROW`].
pub struct StockLevels;

/// A stock as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StockRow {
    /// The SKU.
    pub sku: String,
    /// Free to be ordered.
    pub available: u64,
    /// Held for orders that are neither confirmed nor off.
    pub reserved: u64,
    /// Held by confirmed orders.
    pub sold: u64,
}

impl StockLevels {
    /// The row of a SKU's partition.
    pub const ROW: &'static str = "stock";
}

impl Projection for StockLevels {
    const NAME: &'static str = "stock";
    const TABLE: &'static str = "stock";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    type Event = StockChange;
    type Row = StockRow;

    fn touches(_: &StockChange, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), Self::ROW)]
    }

    fn apply(_: Option<StockRow>, event: &StockChange, _: &Touch, source: &Source) -> Option<StockRow> {
        let Levels { available, reserved, sold } = event.levels();
        Some(StockRow { sku: source.aggregate.id().to_owned(), available, reserved, sold })
    }
}

// Top SKUs --------------------------------------------------------------------------------------------------------

skein_core::contracts! {
    /// What changes how many units are sold.
    pub enum Sale {
        Sold(StockSold),
        Restocked(StockRestocked),
    }
}

/// The SKUs of which confirmed orders hold most.
pub struct TopSkus;

impl TopList for TopSkus {
    const NAME: &'static str = "top-skus";
    const TABLE: &'static str = "topskus";
    type Event = Sale;

    fn score(event: &Sale, _: &Source) -> Option<i64> {
        let (Sale::Sold(StockSold { levels, .. }) | Sale::Restocked(StockRestocked { levels, .. })) = event;
        Some(i64::try_from(levels.sold).unwrap_or(i64::MAX))
    }
}

//! The views, folded from what is published.

use expect_test::expect;
use inventory_contract::{Levels, StockReceived, StockReservationRefused, StockRestocked, StockSold};
use inventory_domain::views::{Sale, StockChange, StockLevels, TopSkus};
use skein_core::TopList;
use skein_testing::scenario::{project, source};

fn levels(available: u64, reserved: u64, sold: u64) -> Levels {
    Levels { available, reserved, sold }
}

#[test]
fn a_stock_shows_the_newest_levels() {
    let (order_id, quantity) = (|| "536365".to_owned(), 1);
    let received = |sku: &str, levels| StockChange::Received(StockReceived { sku: sku.into(), quantity, levels });
    let sold = StockSold { sku: "A".into(), order_id: order_id(), quantity, levels: levels(8, 1, 1) };
    let refused =
        StockReservationRefused { sku: "a".into(), order_id: order_id(), quantity: 9, levels: levels(1, 0, 0) };
    let view = project::<StockLevels>([
        (source("stock", "A", 1), received("A", levels(10, 0, 0))),
        (source("stock", "a", 1), received("a", levels(1, 0, 0))),
        (source("stock", "A", 2), StockChange::Sold(sold)),
        (source("stock", "a", 2), StockChange::ReservationRefused(refused)),
    ]);
    let rows = view.into_iter().map(|(touch, row)| {
        format!("{} | {} | {}\n", touch.partition, touch.row, serde_json::to_string(&row).unwrap())
    });
    expect![[r#"
        A | stock | {"sku":"A","available":8,"reserved":1,"sold":1}
        a | stock | {"sku":"a","available":1,"reserved":0,"sold":0}
    "#]]
    .assert_eq(&rows.collect::<String>());
}

#[test]
fn skus_rank_by_what_is_sold() {
    let (sku, order_id, quantity) = (|| "A".to_owned(), || "536365".to_owned(), 3);
    let source = source("stock", "A", 1);
    let sold = StockSold { sku: sku(), order_id: order_id(), quantity, levels: levels(0, 0, 7) };
    assert_eq!(TopSkus::score(&Sale::Sold(sold), &source), Some(7));
    let restocked = StockRestocked { sku: sku(), order_id: order_id(), quantity, levels: levels(3, 0, 4) };
    assert_eq!(TopSkus::score(&Sale::Restocked(restocked), &source), Some(4));
}

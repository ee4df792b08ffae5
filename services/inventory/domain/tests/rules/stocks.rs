//! The stock of a SKU: given what happened, when somebody asks, then.

use inventory_contract::{
    Levels, StockAdjusted, StockReceived, StockReleased, StockReservationRefused, StockReserved, StockRestocked,
    StockReturned, StockSold,
};
use inventory_domain::stock::{
    AdjustStock, Adjusted, MAX_UNITS, ReceiveStock, Received, ReleaseStock, Released, ReservationRefused, ReserveStock,
    Reserved, RestockSold, Restocked, ReturnUnits, Returned, SellStock, Sold, Stock, StockEvent, StockReply,
};
use skein_testing::scenario::{Given, given};

const SKU: &str = "85123A";

/// The SKU's stock, after these events.
fn stock(events: impl IntoIterator<Item = StockEvent>) -> Given<Stock> {
    given(events).of(SKU)
}

fn sku() -> String {
    SKU.to_owned()
}

fn order_id() -> String {
    "536365".to_owned()
}

fn received(quantity: u64) -> StockEvent {
    Received { sku: sku(), quantity }.into()
}

fn adjusted(quantity: i64) -> StockEvent {
    Adjusted { sku: sku(), quantity, reason: "counted".into() }.into()
}

fn returned(quantity: u64) -> StockEvent {
    Returned { sku: sku(), return_id: "C536379".into(), quantity }.into()
}

fn reserved(quantity: u64) -> StockEvent {
    Reserved { sku: sku(), order_id: order_id(), quantity }.into()
}

fn refused(quantity: u64) -> StockEvent {
    ReservationRefused { sku: sku(), order_id: order_id(), quantity }.into()
}

fn released(quantity: u64) -> StockEvent {
    Released { sku: sku(), order_id: order_id(), quantity }.into()
}

fn sold(quantity: u64) -> StockEvent {
    Sold { sku: sku(), order_id: order_id(), quantity }.into()
}

fn restocked(quantity: u64) -> StockEvent {
    Restocked { sku: sku(), order_id: order_id(), quantity }.into()
}

fn adjust(quantity: i32) -> AdjustStock {
    AdjustStock { quantity, reason: "counted".into() }
}

fn reserve(quantity: u64) -> ReserveStock {
    ReserveStock { order_id: order_id(), quantity }
}

fn release() -> ReleaseStock {
    ReleaseStock { order_id: order_id() }
}

fn sell() -> SellStock {
    SellStock { order_id: order_id() }
}

fn restock(quantity: u64) -> RestockSold {
    RestockSold { order_id: order_id(), quantity }
}

fn levels(available: u64, reserved: u64, sold: u64) -> Levels {
    Levels { available, reserved, sold }
}

fn reply(available: u64, reserved: u64, sold: u64) -> StockReply {
    StockReply { sku: sku(), available, reserved, sold }
}

#[test]
fn units_are_received() {
    let published = StockReceived { sku: sku(), quantity: 1_000, levels: levels(1_000, 0, 0) };
    stock([])
        .when(ReceiveStock { quantity: 1_000 })
        .then([received(1_000)])
        .then_reply(reply(1_000, 0, 0))
        .then_published_only(published);
    stock([received(10), reserved(4)]).when(ReceiveStock { quantity: 1 }).then_reply(reply(7, 4, 0));
    stock([]).when(ReceiveStock { quantity: 0 }).then_rejected("INVALID_QUANTITY");
    stock([received(MAX_UNITS)]).when(ReceiveStock { quantity: 1 }).then_rejected("TOO_MANY_UNITS");
    given::<Stock>([]).of(&"x".repeat(51)).when(ReceiveStock { quantity: 1 }).then_rejected("INVALID_SKU");
}

#[test]
fn stock_is_adjusted_but_never_below_zero() {
    let published = StockAdjusted { sku: sku(), quantity: -10, reason: "counted".into(), levels: levels(0, 0, 0) };
    stock([received(10)])
        .when(adjust(-10))
        .then([adjusted(-10)])
        .then_reply(reply(0, 0, 0))
        .then_published_only(published);
    stock([]).when(adjust(3)).then([adjusted(3)]).then_reply(reply(3, 0, 0));
    stock([]).when(adjust(-1)).then_rejected("INSUFFICIENT_STOCK");
    stock([]).when(adjust(0)).then_rejected("INVALID_QUANTITY");
    stock([received(MAX_UNITS)]).when(adjust(i32::MIN)).then([adjusted(i32::MIN.into())]);
    stock([received(MAX_UNITS)]).when(adjust(i32::MAX)).then_rejected("TOO_MANY_UNITS");
    stock([]).when(AdjustStock { quantity: 1, reason: "x".repeat(501) }).then_rejected("REASON_TOO_LONG");
}

#[test]
fn what_is_reserved_or_sold_cannot_be_adjusted_away() {
    stock([received(10), reserved(4)]).when(adjust(-7)).then_rejected("INSUFFICIENT_STOCK");
    stock([received(10), reserved(4), sold(4)]).when(adjust(-7)).then_rejected("INSUFFICIENT_STOCK");
    stock([received(10), reserved(4)]).when(adjust(-6)).then_reply(reply(0, 4, 0));
}

#[test]
fn returned_units_are_available() {
    let units = |quantity| ReturnUnits { return_id: "C536379".into(), quantity };
    let published = StockReturned { sku: sku(), return_id: "C536379".into(), quantity: 2, levels: levels(12, 0, 0) };
    stock([received(10)]).when(units(2)).then([returned(2)]).then_published_only(published);
    stock([received(10)]).when(units(0)).then_nothing();
    stock([received(MAX_UNITS - 1)]).when(units(2)).then_rejected("TOO_MANY_UNITS");
}

#[test]
fn a_reservation_is_all_or_nothing() {
    stock([received(10)]).when(reserve(10)).then([reserved(10)]).then_published_only(StockReserved {
        sku: sku(),
        order_id: order_id(),
        quantity: 10,
        levels: levels(0, 10, 0),
    });
    stock([received(10)]).when(reserve(11)).then([refused(11)]).then_published_only(StockReservationRefused {
        sku: sku(),
        order_id: order_id(),
        quantity: 11,
        levels: levels(10, 0, 0),
    });
    stock([]).when(reserve(1)).then([refused(1)]);
    stock([received(MAX_UNITS)]).when(reserve(u64::MAX)).then([refused(u64::MAX)]);
}

#[test]
fn an_order_holds_one_reservation() {
    stock([received(10), reserved(4)]).when(reserve(4)).then_nothing();
}

#[test]
fn what_is_held_is_released_or_sold() {
    let held = || [received(10), reserved(4)];
    let (sku, order_id, quantity) = (sku(), order_id(), 4);
    stock(held()).when(release()).then([released(4)]).then_published_only(StockReleased {
        sku: sku.clone(),
        order_id: order_id.clone(),
        quantity,
        levels: levels(10, 0, 0),
    });
    let levels = levels(6, 0, 4);
    stock(held()).when(sell()).then([sold(4)]).then_published_only(StockSold { sku, order_id, quantity, levels });
}

#[test]
fn what_is_not_held_is_neither() {
    for past in [
        vec![],
        vec![received(10)],
        vec![received(1), refused(4)],
        vec![received(10), reserved(4), released(4)],
        vec![received(10), reserved(4), sold(4)],
    ] {
        stock(past.clone()).when(release()).then_nothing();
        stock(past).when(sell()).then_nothing();
    }
}

#[test]
fn what_was_sold_comes_back() {
    stock([received(10), reserved(4), sold(4)]).when(restock(4)).then([restocked(4)]).then_published_only(
        StockRestocked { sku: sku(), order_id: order_id(), quantity: 4, levels: levels(10, 0, 0) },
    );
    stock([received(10), reserved(4)]).when(restock(4)).then([released(4)]);
    stock([received(10)]).when(restock(4)).then_rejected("NOT_SOLD");
}

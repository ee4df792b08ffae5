//! What the inventory does when others tell what happened.

use inventory_contract::{Levels, StockReservationRefused, StockReserved};
use inventory_domain::reactions::{FollowOrders, NoteAnswers, OrderChange, StockAnswer, TakeReturns, UnitsBack};
use inventory_domain::reservation::{
    CancelReservation, NoteRefused, NoteReserved, Reservation, SellReservation, StartReservation,
};
use inventory_domain::stock::{ReturnUnits, Stock};
use orders_contract::{Line, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus, ReturnRecorded};
use rust_decimal::Decimal;
use skein_core::{Outgoing, Reaction};
use skein_testing::scenario::{source, to};
use time::OffsetDateTime;

use crate::units;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// Two lines of one SKU, and others that differ in case only.
fn lines() -> Vec<Line> {
    [("85123A", 6), ("85123a", 1), ("85123A", 2), ("BANK CHARGES", 1)]
        .map(|(sku, quantity)| Line { sku: sku.into(), description: None, quantity, unit_price: Decimal::ONE })
        .into()
}

fn follow(change: OrderChange) -> Vec<Outgoing> {
    FollowOrders::react(&change, &source("order", "536365", 1)).unwrap()
}

#[test]
fn orders_are_followed() {
    let (order_id, customer_id, country, placed_at, total) = (|| "536365".to_owned(), None, None, NOW, Decimal::TEN);
    let placed = OrderPlaced {
        order_id: order_id(),
        customer_id: customer_id.clone(),
        country,
        placed_at,
        lines: lines(),
        total,
        contact: None,
    };
    let start = StartReservation { units: units([("85123A", 8), ("85123a", 1), ("BANK CHARGES", 1)]) };
    assert_eq!(follow(OrderChange::Placed(placed)), [to::<Reservation, _>("536365", start)]);
    let confirmed = OrderConfirmed { order_id: order_id(), customer_id: customer_id.clone(), placed_at, total };
    assert_eq!(follow(OrderChange::Confirmed(confirmed)), [to::<Reservation, _>("536365", SellReservation {})]);
    let former_status = OrderStatus::Placed;
    let cancelled = OrderCancelled { order_id: order_id(), customer_id, placed_at, total, former_status };
    assert_eq!(follow(OrderChange::Cancelled(cancelled)), [to::<Reservation, _>("536365", CancelReservation {})]);
}

#[test]
fn answers_reach_the_reservation_of_their_order() {
    let react = |answer| NoteAnswers::react(&answer, &source("stock", "85123A", 1)).unwrap();
    let (sku, order_id, quantity, levels) = ("85123A".to_owned(), "536365".to_owned(), 6, Levels::default());
    let reserved = StockReserved { sku: sku.clone(), order_id: order_id.clone(), quantity, levels };
    let noted = NoteReserved { sku: sku.clone() };
    assert_eq!(react(StockAnswer::Reserved(reserved)), [to::<Reservation, _>("536365", noted)]);
    let refused = StockReservationRefused { sku: sku.clone(), order_id, quantity, levels };
    assert_eq!(react(StockAnswer::Refused(refused)), [to::<Reservation, _>("536365", NoteRefused { sku })]);
}

#[test]
fn each_returned_sku_is_taken_in_once() {
    let returned = ReturnRecorded {
        return_id: "C536379".into(),
        customer_id: None,
        returned_at: NOW,
        lines: lines(),
        total: Decimal::TEN,
    };
    let take = |sku, quantity| to::<Stock, _>(sku, ReturnUnits { return_id: "C536379".into(), quantity });
    let sent = TakeReturns::react(&UnitsBack::Returned(returned), &source("return", "C536379", 1)).unwrap();
    assert_eq!(sent, [take("85123A", 8), take("85123a", 1), take("BANK CHARGES", 1)]);
}

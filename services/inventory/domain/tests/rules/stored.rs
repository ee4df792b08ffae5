//! The form in which events, and the commands that a commit keeps, are stored. It never changes: a change is a new
//! version.

use expect_test::{Expect, expect};
use inventory_domain::reservation::{self, ReservationEvent};
use inventory_domain::stock::{self, ReleaseStock, ReserveStock, RestockSold, SellStock, Stock, StockEvent};
use skein_core::{Command, DomainEvent, Handle};
use skein_testing::scenario::to;

use crate::units;

fn check<E: DomainEvent + PartialEq + std::fmt::Debug>(event: impl Into<E>, expected: Expect) {
    let event = event.into();
    let payload = event.encode().unwrap();
    expected.assert_eq(&format!("{} v{} {}", event.name(), event.version(), payload.get()));
    assert_eq!(E::decode(event.name(), event.version(), &payload).unwrap(), event);
}

fn check_sent<C: Command>(command: C, expected: Expect)
where
    Stock: Handle<C>,
{
    expected.assert_eq(&serde_json::to_string(&to::<Stock, C>("BANK CHARGES", command)).unwrap());
}

#[test]
fn stocks() {
    let sku = || "85123A".to_owned();
    let order_id = || "536365".to_owned();
    let quantity = 6;
    check::<StockEvent>(
        stock::Received { sku: sku(), quantity },
        expect![[r#"StockReceived v1 {"sku":"85123A","quantity":6}"#]],
    );
    check::<StockEvent>(
        stock::Adjusted { sku: sku(), quantity: -6, reason: "broken".into() },
        expect![[r#"StockAdjusted v1 {"sku":"85123A","quantity":-6,"reason":"broken"}"#]],
    );
    check::<StockEvent>(
        stock::Returned { sku: sku(), return_id: "C536379".into(), quantity },
        expect![[r#"StockReturned v1 {"sku":"85123A","returnId":"C536379","quantity":6}"#]],
    );
    check::<StockEvent>(
        stock::Reserved { sku: sku(), order_id: order_id(), quantity },
        expect![[r#"StockReserved v1 {"sku":"85123A","orderId":"536365","quantity":6}"#]],
    );
    check::<StockEvent>(
        stock::ReservationRefused { sku: sku(), order_id: order_id(), quantity },
        expect![[r#"StockReservationRefused v1 {"sku":"85123A","orderId":"536365","quantity":6}"#]],
    );
    check::<StockEvent>(
        stock::Released { sku: sku(), order_id: order_id(), quantity },
        expect![[r#"StockReleased v1 {"sku":"85123A","orderId":"536365","quantity":6}"#]],
    );
    check::<StockEvent>(
        stock::Sold { sku: sku(), order_id: order_id(), quantity },
        expect![[r#"StockSold v1 {"sku":"85123A","orderId":"536365","quantity":6}"#]],
    );
    check::<StockEvent>(
        stock::Restocked { sku: sku(), order_id: order_id(), quantity },
        expect![[r#"StockRestocked v1 {"sku":"85123A","orderId":"536365","quantity":6}"#]],
    );
}

#[test]
fn reservations() {
    let sku = || "85123A".to_owned();
    let started = reservation::Started { order_id: "536365".into(), units: units([("85123A", 6), ("71053", 2)]) };
    check::<ReservationEvent>(
        started,
        expect![[r#"ReservationStarted v1 {"orderId":"536365","units":{"71053":2,"85123A":6}}"#]],
    );
    check::<ReservationEvent>(
        reservation::Reserved { sku: sku() },
        expect![[r#"ReservationReserved v1 {"sku":"85123A"}"#]],
    );
    check::<ReservationEvent>(
        reservation::Refused { sku: sku() },
        expect![[r#"ReservationRefused v1 {"sku":"85123A"}"#]],
    );
    check::<ReservationEvent>(reservation::Completed {}, expect!["ReservationCompleted v1 {}"]);
    check::<ReservationEvent>(
        reservation::Failed { missing: [sku()].into() },
        expect![[r#"ReservationFailed v1 {"missing":["85123A"]}"#]],
    );
    check::<ReservationEvent>(reservation::Sold {}, expect!["ReservationSold v1 {}"]);
    check::<ReservationEvent>(reservation::Cancelled {}, expect!["ReservationCancelled v1 {}"]);
}

#[test]
fn commands_that_reservations_send() {
    let order_id = || "536365".to_owned();
    check_sent(
        ReserveStock { order_id: order_id(), quantity: 6 },
        expect![[r#"{"a":"stock:BANK CHARGES","t":"ReserveStock","v":1,"p":{"o":"536365","q":6}}"#]],
    );
    check_sent(
        ReleaseStock { order_id: order_id() },
        expect![[r#"{"a":"stock:BANK CHARGES","t":"ReleaseStock","v":1,"p":{"o":"536365"}}"#]],
    );
    check_sent(
        SellStock { order_id: order_id() },
        expect![[r#"{"a":"stock:BANK CHARGES","t":"SellStock","v":1,"p":{"o":"536365"}}"#]],
    );
    check_sent(
        RestockSold { order_id: order_id(), quantity: 6 },
        expect![[r#"{"a":"stock:BANK CHARGES","t":"RestockSold","v":1,"p":{"o":"536365","q":6}}"#]],
    );
}

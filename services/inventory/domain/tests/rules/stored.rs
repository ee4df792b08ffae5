//! The form in which events, and the commands that a commit keeps, are stored. It never changes: a change is a new
//! version.

use expect_test::{Expect, expect};
use inventory_domain::reservation::{self, ReservationEvent};
use inventory_domain::stock::{self, ReleaseStock, ReserveStock, RestockSold, SellStock, Stock, StockEvent};
use skein_core::{Command, Handle};
use skein_testing::golden::check_events;
use skein_testing::scenario::to;

use crate::units;

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
    check_events::<StockEvent>(
        "tests/golden/stock",
        [
            ("one", stock::Received { sku: sku(), quantity }.into()),
            ("one", stock::Adjusted { sku: sku(), quantity: -6, reason: "broken".into() }.into()),
            ("one", stock::Returned { sku: sku(), return_id: "C536379".into(), quantity }.into()),
            ("one", stock::Reserved { sku: sku(), order_id: order_id(), quantity }.into()),
            ("one", stock::ReservationRefused { sku: sku(), order_id: order_id(), quantity }.into()),
            ("one", stock::Released { sku: sku(), order_id: order_id(), quantity }.into()),
            ("one", stock::Sold { sku: sku(), order_id: order_id(), quantity }.into()),
            ("one", stock::Restocked { sku: sku(), order_id: order_id(), quantity }.into()),
        ],
    );
}

#[test]
fn reservations() {
    let sku = || "85123A".to_owned();
    let started = reservation::Started { order_id: "536365".into(), units: units([("85123A", 6), ("71053", 2)]) };
    check_events::<ReservationEvent>(
        "tests/golden/reservation",
        [
            ("one", started.into()),
            ("one", reservation::Reserved { sku: sku() }.into()),
            ("one", reservation::Refused { sku: sku() }.into()),
            ("one", reservation::Completed {}.into()),
            ("one", reservation::Failed { missing: [sku()].into() }.into()),
            ("one", reservation::Sold {}.into()),
            ("one", reservation::Cancelled {}.into()),
        ],
    );
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

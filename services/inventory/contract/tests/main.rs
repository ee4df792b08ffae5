//! The form in which events are published. Other services rely on it: a change that they could misread is a new
//! version.

use expect_test::{Expect, expect};
use inventory_contract::{
    Levels, ReservationCompleted, ReservationFailed, StockAdjusted, StockReceived, StockReleased,
    StockReservationRefused, StockReserved, StockRestocked, StockReturned, StockSold,
};
use skein_core::Contract;

const LEVELS: Levels = Levels { available: 988, reserved: 6, sold: 6 };

fn check<C: Contract + PartialEq + std::fmt::Debug>(contract: &C, expected: Expect) {
    let json = serde_json::to_string(contract).unwrap();
    expected.assert_eq(&format!("{} of {} {json}", C::type_name(), C::CATEGORY));
    assert_eq!(&serde_json::from_str::<C>(&json).unwrap(), contract);
}

#[test]
fn stock() {
    let sku = || "85123A".to_owned();
    let order_id = || "536365".to_owned();
    let (quantity, levels) = (6, LEVELS);
    check(
        &StockReceived { sku: sku(), quantity, levels },
        expect![[
            r#"inventory.StockReceived.v1 of stock {"sku":"85123A","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockAdjusted { sku: sku(), quantity: -6, reason: "broken".into(), levels },
        expect![[
            r#"inventory.StockAdjusted.v1 of stock {"sku":"85123A","quantity":-6,"reason":"broken","levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockReturned { sku: sku(), return_id: "C536379".into(), quantity, levels },
        expect![[
            r#"inventory.StockReturned.v1 of stock {"sku":"85123A","returnId":"C536379","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockReserved { sku: sku(), order_id: order_id(), quantity, levels },
        expect![[
            r#"inventory.StockReserved.v1 of stock {"sku":"85123A","orderId":"536365","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockReservationRefused { sku: sku(), order_id: order_id(), quantity, levels },
        expect![[
            r#"inventory.StockReservationRefused.v1 of stock {"sku":"85123A","orderId":"536365","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockReleased { sku: sku(), order_id: order_id(), quantity, levels },
        expect![[
            r#"inventory.StockReleased.v1 of stock {"sku":"85123A","orderId":"536365","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockSold { sku: sku(), order_id: order_id(), quantity, levels },
        expect![[
            r#"inventory.StockSold.v1 of stock {"sku":"85123A","orderId":"536365","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
    check(
        &StockRestocked { sku: sku(), order_id: order_id(), quantity, levels },
        expect![[
            r#"inventory.StockRestocked.v1 of stock {"sku":"85123A","orderId":"536365","quantity":6,"levels":{"available":988,"reserved":6,"sold":6}}"#
        ]],
    );
}

#[test]
fn reservations() {
    check(
        &ReservationCompleted { order_id: "536365".into() },
        expect![[r#"inventory.ReservationCompleted.v1 of reservation {"orderId":"536365"}"#]],
    );
    let missing = vec!["21915".into(), "84077".into()];
    check(
        &ReservationFailed { order_id: "536830".into(), missing },
        expect![[r#"inventory.ReservationFailed.v1 of reservation {"orderId":"536830","missing":["21915","84077"]}"#]],
    );
}

//! The form in which events are published. Other services rely on it: a change that they could misread is a new
//! version.

use expect_test::{Expect, expect};
use orders_contract::{
    Line, OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus, ReturnRecorded,
};
use rust_decimal::Decimal;
use skein_core::Contract;
use time::OffsetDateTime;
use time::macros::datetime;

const PLACED_AT: OffsetDateTime = datetime!(2010-12-01 08:26:00 UTC);

fn check<C: Contract + PartialEq + std::fmt::Debug>(contract: &C, expected: Expect) {
    let json = serde_json::to_string(contract).unwrap();
    expected.assert_eq(&format!("{} of {} {json}", C::type_name(), C::CATEGORY));
    assert_eq!(&serde_json::from_str::<C>(&json).unwrap(), contract);
}

fn lines() -> Vec<Line> {
    let line = |sku: &str, description: Option<&str>, quantity, cents| Line {
        sku: sku.into(),
        description: description.map(Into::into),
        quantity,
        unit_price: Decimal::new(cents, 2),
    };
    vec![line("85123A", Some("WHITE HANGING HEART T-LIGHT HOLDER"), 6, 255), line("BANK CHARGES", None, 1, 0)]
}

#[test]
fn orders() {
    let order_id = || "536365".to_owned();
    let customer_id = || Some("17850".to_owned());
    let (placed_at, total) = (PLACED_AT, Decimal::new(1530, 2));
    let placed = OrderPlaced {
        order_id: order_id(),
        customer_id: customer_id(),
        country: Some("United Kingdom".into()),
        placed_at,
        lines: lines(),
        total,
    };
    check(
        &placed,
        expect![[
            r#"orders.OrderPlaced.v1 of order {"orderId":"536365","customerId":"17850","country":"United Kingdom","placedAt":"2010-12-01T08:26:00Z","lines":[{"sku":"85123A","description":"WHITE HANGING HEART T-LIGHT HOLDER","quantity":6,"unitPrice":"2.55"},{"sku":"BANK CHARGES","quantity":1,"unitPrice":"0.00"}],"total":"15.30"}"#
        ]],
    );
    let guest = OrderPlaced { customer_id: None, country: None, lines: vec![], total: Decimal::ZERO, ..placed };
    check(
        &guest,
        expect![[
            r#"orders.OrderPlaced.v1 of order {"orderId":"536365","placedAt":"2010-12-01T08:26:00Z","lines":[],"total":"0"}"#
        ]],
    );
    check(
        &OrderConfirmed { order_id: order_id(), customer_id: customer_id(), placed_at, total },
        expect![[
            r#"orders.OrderConfirmed.v1 of order {"orderId":"536365","customerId":"17850","placedAt":"2010-12-01T08:26:00Z","total":"15.30"}"#
        ]],
    );
    check(
        &OrderBackordered { order_id: order_id(), customer_id: customer_id(), placed_at, total },
        expect![[
            r#"orders.OrderBackordered.v1 of order {"orderId":"536365","customerId":"17850","placedAt":"2010-12-01T08:26:00Z","total":"15.30"}"#
        ]],
    );
    let former_status = OrderStatus::Confirmed;
    check(
        &OrderCancelled { order_id: order_id(), customer_id: customer_id(), placed_at, total, former_status },
        expect![[
            r#"orders.OrderCancelled.v1 of order {"orderId":"536365","customerId":"17850","placedAt":"2010-12-01T08:26:00Z","total":"15.30","formerStatus":"CONFIRMED"}"#
        ]],
    );
}

#[test]
fn returns() {
    let returned = ReturnRecorded {
        return_id: "C536379".into(),
        customer_id: Some("14527".into()),
        returned_at: PLACED_AT,
        lines: lines(),
        total: Decimal::new(1530, 2),
    };
    check(
        &returned,
        expect![[
            r#"orders.ReturnRecorded.v1 of return {"returnId":"C536379","customerId":"14527","returnedAt":"2010-12-01T08:26:00Z","lines":[{"sku":"85123A","description":"WHITE HANGING HEART T-LIGHT HOLDER","quantity":6,"unitPrice":"2.55"},{"sku":"BANK CHARGES","quantity":1,"unitPrice":"0.00"}],"total":"15.30"}"#
        ]],
    );
}

#[test]
fn every_status_has_its_name() {
    let statuses = [OrderStatus::Placed, OrderStatus::Confirmed, OrderStatus::Backordered, OrderStatus::Cancelled];
    expect![[r#"["PLACED","CONFIRMED","BACKORDERED","CANCELLED"]"#]]
        .assert_eq(&serde_json::to_string(&statuses).unwrap());
}

//! The form in which events are stored. It never changes: a change is a new version.

use expect_test::{Expect, expect};
use orders_contract::OrderStatus;
use orders_domain::line::Line;
use orders_domain::order::{Backordered, Cancelled, Confirmed, OrderEvent, Placed};
use orders_domain::returns::{Recorded, ReturnEvent};
use skein_core::DomainEvent;

use crate::{PLACED_AT, line, lines, money};

fn check<E: DomainEvent + PartialEq + std::fmt::Debug>(event: impl Into<E>, expected: Expect) {
    let event = event.into();
    let payload = event.encode().unwrap();
    expected.assert_eq(&format!("{} v{} {}", event.name(), event.version(), payload.get()));
    assert_eq!(E::decode(event.name(), event.version(), &payload).unwrap(), event);
}

#[test]
fn orders() {
    let described = Line { description: Some("WHITE METAL LANTERN".into()), ..line("71053", 1, "3.390") };
    let placed = Placed {
        order_id: "536365".into(),
        customer_id: Some("17850".into()),
        country: Some("United Kingdom".into()),
        placed_at: PLACED_AT,
        lines: vec![described, line("BANK CHARGES", 2, "0")],
        total: money("3.390"),
    };
    let guest = Placed { customer_id: None, country: None, lines: vec![], ..placed.clone() };
    check::<OrderEvent>(
        placed,
        expect![[
            r#"OrderPlaced v1 {"orderId":"536365","customerId":"17850","country":"United Kingdom","placedAt":"2010-12-01T08:26:00Z","lines":[{"sku":"71053","description":"WHITE METAL LANTERN","quantity":1,"unitPrice":"3.390"},{"sku":"BANK CHARGES","quantity":2,"unitPrice":"0"}],"total":"3.390"}"#
        ]],
    );
    check::<OrderEvent>(
        guest,
        expect![[
            r#"OrderPlaced v1 {"orderId":"536365","placedAt":"2010-12-01T08:26:00Z","lines":[],"total":"3.390"}"#
        ]],
    );
    check::<OrderEvent>(Confirmed {}, expect!["OrderConfirmed v1 {}"]);
    check::<OrderEvent>(Backordered {}, expect!["OrderBackordered v1 {}"]);
    let cancelled = Cancelled { reason: "late".into(), former_status: OrderStatus::Backordered };
    check::<OrderEvent>(cancelled, expect![[r#"OrderCancelled v1 {"reason":"late","formerStatus":"BACKORDERED"}"#]]);
}

#[test]
fn returns() {
    let recorded = Recorded {
        return_id: "C536379".into(),
        customer_id: None,
        returned_at: PLACED_AT,
        lines: lines(),
        total: money("35.64"),
    };
    check::<ReturnEvent>(
        recorded,
        expect![[
            r#"ReturnRecorded v1 {"returnId":"C536379","returnedAt":"2010-12-01T08:26:00Z","lines":[{"sku":"85123A","quantity":6,"unitPrice":"2.55"},{"sku":"71053","quantity":6,"unitPrice":"3.39"}],"total":"35.64"}"#
        ]],
    );
}

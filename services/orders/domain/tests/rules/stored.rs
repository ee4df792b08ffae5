//! The form in which events are stored. It never changes: a change is a new version.

use orders_contract::OrderStatus;
use orders_domain::line::Line;
use orders_domain::order::{Backordered, Cancelled, Confirmed, OrderEvent, Placed};
use orders_domain::returns::{Recorded, ReturnEvent};
use skein_testing::golden::check_events;

use crate::{PLACED_AT, line, lines, money};

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
    let cancelled = Cancelled { reason: "late".into(), former_status: OrderStatus::Backordered };
    check_events::<OrderEvent>(
        "tests/golden/order",
        [
            ("customer", placed.into()),
            ("guest", guest.into()),
            ("one", Confirmed {}.into()),
            ("one", Backordered {}.into()),
            ("one", cancelled.into()),
        ],
    );
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
    check_events::<ReturnEvent>("tests/golden/return", [("guest", recorded.into())]);
}

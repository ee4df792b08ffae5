//! The form in which events are stored. It never changes: a change is a new version.

use orders_contract::OrderStatus;
use orders_domain::erasure::{CustomerEvent, Erased};
use orders_domain::line::Line;
use orders_domain::order::{Backordered, CancelOrder, Cancelled, Confirmed, Order, OrderEvent, Placed};
use orders_domain::returns::{Recorded, ReturnEvent};
use skein_core::{Aggregate, DomainEvent};
use skein_testing::golden::{check_events, payload};
use skein_testing::scenario::{given, sealed_for};

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
        contact: None,
    };
    let reachable = Placed { contact: Some(sealed_for("17850")), ..placed.clone() };
    let guest = Placed { customer_id: None, country: None, lines: vec![], ..placed.clone() };
    let cancelled = Cancelled { reason: "late".into(), former_status: OrderStatus::Backordered };
    check_events::<OrderEvent>(
        "tests/golden/order",
        [
            ("customer", placed.into()),
            ("guest", guest.into()),
            ("contact", reachable.into()),
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

#[test]
fn customers() {
    let erased = Erased { customer_id: "17850".into() };
    check_events::<CustomerEvent>("tests/golden/customer", [("one", erased.into())]);
}

#[test]
fn an_order_of_the_first_version_folds_and_decides() {
    let stored = payload("tests/golden/order/OrderPlaced.v1.customer.json");
    let placed = OrderEvent::decode("OrderPlaced", 1, &stored).unwrap();
    let OrderEvent::Placed(Placed { order_id, contact, total, .. }) = &placed else { panic!("{placed:?}") };
    assert_eq!((order_id.as_str(), *total, contact), ("536365", money("3.390"), &None));
    let mut order = Order::default();
    order.evolve(&placed);
    // What it publishes today is what it published then, byte for byte.
    let published = order.publish(&placed).expect("an order is published");
    assert_eq!(published.name, "orders.OrderPlaced.v1");
    assert_eq!(published.data.get(), stored.get());
    given::<Order>([placed])
        .when(CancelOrder { reason: "late".into() })
        .then_published::<orders_contract::OrderCancelled>();
    // Code of tomorrow may run beside this one: its events are waited for, not skipped.
    assert!(OrderEvent::decode("OrderPlaced", 3, &stored).is_err());
}

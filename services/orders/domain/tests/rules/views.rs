//! The views, folded from what is published.

use expect_test::{Expect, expect};
use orders_contract::{OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus, ReturnRecorded};
use orders_domain::views::{CustomerOrders, CustomerTotals, OrderChange, Orders, Spending};
use skein_core::{Projection, Source};
use skein_testing::scenario::{project, source};
use time::{Duration, OffsetDateTime};

use crate::{PLACED_AT, line, money};

/// Placed `day` days after the first, for `total`.
fn placed(order: &str, customer: Option<&str>, day: i64, total: &str) -> OrderPlaced {
    OrderPlaced {
        order_id: order.into(),
        customer_id: customer.map(Into::into),
        country: None,
        placed_at: PLACED_AT + Duration::days(day),
        lines: vec![line("85123A", 1, total).into()],
        total: money(total),
        contact: None,
    }
}

fn confirmed(placed: OrderPlaced) -> OrderConfirmed {
    let OrderPlaced { order_id, customer_id, placed_at, total, .. } = placed;
    OrderConfirmed { order_id, customer_id, placed_at, total }
}

fn backordered(placed: OrderPlaced) -> OrderBackordered {
    let OrderPlaced { order_id, customer_id, placed_at, total, .. } = placed;
    OrderBackordered { order_id, customer_id, placed_at, total }
}

fn cancelled(placed: OrderPlaced) -> OrderCancelled {
    let OrderPlaced { order_id, customer_id, placed_at, total, .. } = placed;
    OrderCancelled { order_id, customer_id, placed_at, total, former_status: OrderStatus::Placed }
}

fn returned(id: &str, customer: Option<&str>, total: &str) -> ReturnRecorded {
    ReturnRecorded {
        return_id: id.into(),
        customer_id: customer.map(Into::into),
        returned_at: PLACED_AT,
        lines: vec![line("85123A", 1, total).into()],
        total: money(total),
    }
}

fn order(id: &str, sequence: u64) -> Source {
    source("order", id, sequence)
}

/// One line a row: partition, row, JSON.
fn check<P: Projection>(events: impl IntoIterator<Item = (Source, P::Event)>, expected: Expect) {
    let rows = project::<P>(events).into_iter().map(|(touch, row)| {
        format!("{} | {} | {}\n", touch.partition, touch.row, serde_json::to_string(&row).unwrap())
    });
    expected.assert_eq(&rows.collect::<String>());
}

#[test]
fn an_order_shows_where_it_stands() {
    let (a, b, c) = (placed("A", Some("ann"), 0, "2.50"), placed("B", None, 0, "1"), placed("C", None, 0, "0"));
    check::<Orders>(
        [
            (order("A", 1), OrderChange::Placed(a.clone())),
            (order("B", 1), OrderChange::Placed(b.clone())),
            (order("C", 1), OrderChange::Placed(c.clone())),
            (order("A", 2), OrderChange::Confirmed(confirmed(a.clone()))),
            (order("B", 2), OrderChange::Backordered(backordered(b))),
            (order("A", 3), OrderChange::Cancelled(cancelled(a))),
        ],
        expect![[r#"
            A | order | {"orderId":"A","customerId":"ann","country":null,"placedAt":"2010-12-01T08:26:00Z","status":"CANCELLED","total":"2.50","lines":[{"sku":"85123A","quantity":1,"unitPrice":"2.50"}]}
            B | order | {"orderId":"B","customerId":null,"country":null,"placedAt":"2010-12-01T08:26:00Z","status":"BACKORDERED","total":"1","lines":[{"sku":"85123A","quantity":1,"unitPrice":"1"}]}
            C | order | {"orderId":"C","customerId":null,"country":null,"placedAt":"2010-12-01T08:26:00Z","status":"PLACED","total":"0","lines":[{"sku":"85123A","quantity":1,"unitPrice":"0"}]}
        "#]],
    );
}

#[test]
fn a_customers_orders_come_newest_first_and_a_guests_nowhere() {
    let old = OrderPlaced {
        placed_at: OffsetDateTime::UNIX_EPOCH - Duration::days(9_999),
        ..placed("O", Some("ann"), 0, "1")
    };
    let (a, b) = (placed("A", Some("ann"), 0, "2.50"), placed("B", Some("ann"), 3, "1"));
    check::<CustomerOrders>(
        [
            (order("A", 1), OrderChange::Placed(a.clone())),
            (order("O", 1), OrderChange::Placed(old)),
            (order("B", 1), OrderChange::Placed(b.clone())),
            (order("D", 1), OrderChange::Placed(placed("D", Some("ann"), 3, "7"))),
            (order("G", 1), OrderChange::Placed(placed("G", None, 1, "5"))),
            (order("Z", 1), OrderChange::Placed(placed("Z", Some("bob"), 1, "5"))),
            (order("A", 2), OrderChange::Confirmed(confirmed(a))),
            (order("B", 2), OrderChange::Cancelled(cancelled(b))),
        ],
        expect![[r#"
            ann | 0998708548840000000000:B | {"orderId":"B","placedAt":"2010-12-04T08:26:00Z","status":"CANCELLED","total":"1"}
            ann | 0998708548840000000000:D | {"orderId":"D","placedAt":"2010-12-04T08:26:00Z","status":"PLACED","total":"7"}
            ann | 0998708808040000000000:A | {"orderId":"A","placedAt":"2010-12-01T08:26:00Z","status":"CONFIRMED","total":"2.50"}
            ann | 1000863913600000000000:O | {"orderId":"O","placedAt":"1942-08-17T00:00:00Z","status":"PLACED","total":"1"}
            bob | 0998708721640000000000:Z | {"orderId":"Z","placedAt":"2010-12-02T08:26:00Z","status":"PLACED","total":"5"}
        "#]],
    );
}

#[test]
fn a_customers_totals_leave_out_what_is_cancelled_and_take_off_what_came_back() {
    let (a, b) = (placed("A", Some("ann"), 0, "2.50"), placed("B", Some("ann"), 3, "0.1"));
    check::<CustomerTotals>(
        [
            (order("A", 1), Spending::Placed(a.clone())),
            (order("B", 1), Spending::Placed(b)),
            (order("G", 1), Spending::Placed(placed("G", None, 1, "5"))),
            (source("return", "R", 1), Spending::Returned(returned("R", Some("ann"), "0.30"))),
            (source("return", "S", 1), Spending::Returned(returned("S", None, "1"))),
            (source("return", "T", 1), Spending::Returned(returned("T", Some("bob"), "4.99"))),
            (order("A", 2), Spending::Cancelled(cancelled(a))),
        ],
        expect![[r#"
            ann | totals | {"orders":1,"returns":1,"revenue":"-0.20"}
            bob | totals | {"orders":0,"returns":1,"revenue":"-4.99"}
        "#]],
    );
}

#[test]
fn totals_do_not_depend_on_the_order_of_the_sources() {
    let events = || {
        let (a, b) = (placed("A", Some("ann"), 0, "2.50"), placed("B", Some("ann"), 3, "0.1"));
        vec![
            (order("A", 1), Spending::Placed(a.clone())),
            (order("A", 2), Spending::Cancelled(cancelled(a))),
            (order("B", 1), Spending::Placed(b)),
            (source("return", "R", 1), Spending::Returned(returned("R", Some("ann"), "0.30"))),
        ]
    };
    let one = project::<CustomerTotals>(events());
    let mut reversed = events();
    reversed.rotate_left(2);
    assert_eq!(one, project::<CustomerTotals>(reversed));
}

#[test]
fn an_order_of_a_thousand_lines_fits_a_row() {
    let lines = vec![orders_contract::Line::from(line(&"x".repeat(50), u32::MAX, "99999999.9999")); 1_000];
    let large = OrderPlaced { lines, ..placed("A", Some("ann"), 0, "1") };
    let view = project::<Orders>([(order("A", 1), OrderChange::Placed(large))]);
    let json = serde_json::to_string(view.values().next().unwrap()).unwrap();
    assert!(json.len() < 400_000, "{}", json.len());
}

//! Orders: given what happened, when somebody asks, then.

use orders_contract::{OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus};
use orders_domain::order::{
    BackorderOrder, Backordered, CancelOrder, CancelOrderReply, Cancelled, ConfirmOrder, Confirmed, Order, OrderEvent,
    PlaceOrder, PlaceOrderReply, Placed,
};
use skein_core::Principal;
use skein_testing::scenario::{given, sealed_for};

use crate::{PLACED_AT, line, lines, money};

fn place() -> PlaceOrder {
    PlaceOrder {
        customer_id: Some("17850".into()),
        country: Some("United Kingdom".into()),
        placed_at: Some(PLACED_AT),
        lines: lines(),
        contact: None,
    }
}

fn placed() -> OrderEvent {
    Placed {
        order_id: "536365".into(),
        customer_id: Some("17850".into()),
        country: Some("United Kingdom".into()),
        placed_at: PLACED_AT,
        lines: lines(),
        total: money("35.64"),
        contact: None,
    }
    .into()
}

fn placed_by_guest() -> OrderEvent {
    match placed() {
        OrderEvent::Placed(placed) => Placed { customer_id: None, ..placed }.into(),
        other => other,
    }
}

fn confirmed() -> OrderEvent {
    Confirmed {}.into()
}

fn backordered() -> OrderEvent {
    Backordered {}.into()
}

fn cancelled(former_status: OrderStatus) -> OrderEvent {
    Cancelled { reason: "changed my mind".into(), former_status }.into()
}

fn cancel() -> CancelOrder {
    CancelOrder { reason: "changed my mind".into() }
}

fn customer(id: &str) -> Principal {
    Principal::new(id, ["customer"])
}

fn operator() -> Principal {
    Principal::new("olga", ["operator"])
}

#[test]
fn an_order_is_placed() {
    given::<Order>([])
        .of("536365")
        .when(place())
        .then([placed()])
        .then_reply(PlaceOrderReply { order_id: "536365".into(), total: money("35.64"), status: OrderStatus::Placed })
        .then_published_only(OrderPlaced {
            order_id: "536365".into(),
            customer_id: Some("17850".into()),
            country: Some("United Kingdom".into()),
            placed_at: PLACED_AT,
            lines: lines().into_iter().map(Into::into).collect(),
            total: money("35.64"),
            contact: None,
        })
        .then_sent([]);
}

#[test]
fn an_order_without_a_time_is_placed_now() {
    given::<Order>([]).of("536365").at(PLACED_AT).when(PlaceOrder { placed_at: None, ..place() }).then([placed()]);
}

#[test]
fn a_contact_is_passed_on_as_it_is_sealed() {
    let contact = || Some(sealed_for("17850"));
    let OrderEvent::Placed(placed) = placed() else { panic!("it is placed") };
    given::<Order>([])
        .of("536365")
        .when(PlaceOrder { contact: contact(), ..place() })
        .then([Placed { contact: contact(), ..placed }.into()])
        .then_published_only(OrderPlaced {
            order_id: "536365".into(),
            customer_id: Some("17850".into()),
            country: Some("United Kingdom".into()),
            placed_at: PLACED_AT,
            lines: lines().into_iter().map(Into::into).collect(),
            total: money("35.64"),
            contact: contact(),
        })
        .then_erased([]);
}

#[test]
fn an_order_is_placed_once() {
    let again = given::<Order>([placed()]).when(place());
    again.then_rejected("ORDER_ALREADY_PLACED");
    given::<Order>([placed(), cancelled(OrderStatus::Placed)]).when(place()).then_rejected("ORDER_ALREADY_PLACED");
}

#[test]
fn customers_order_for_themselves_only() {
    let guest = || PlaceOrder { customer_id: None, ..place() };
    given::<Order>([]).by(customer("17850")).when(place()).then_published::<OrderPlaced>();
    given::<Order>([]).by(operator()).when(place()).then_published::<OrderPlaced>();
    given::<Order>([]).by(operator()).when(guest()).then_published::<OrderPlaced>();
    given::<Order>([]).by(customer("13047")).when(place()).then_rejected("FORBIDDEN_CUSTOMER");
    given::<Order>([]).by(customer("17850")).when(guest()).then_rejected("FORBIDDEN_CUSTOMER");
    given::<Order>([]).by(Principal::new("17850", [])).when(place()).then_rejected("FORBIDDEN_CUSTOMER");
    // Whoever may not order does not learn whether the id is taken.
    given::<Order>([placed()]).by(customer("13047")).when(place()).then_rejected("FORBIDDEN_CUSTOMER");
}

#[test]
fn an_order_keeps_the_rules() {
    let rejected = |order: PlaceOrder, code| given::<Order>([]).when(order).then_rejected(code);
    rejected(PlaceOrder { lines: vec![], ..place() }, "NO_LINES");
    rejected(PlaceOrder { lines: vec![line("A", 0, "1")], ..place() }, "INVALID_QUANTITY");
    rejected(PlaceOrder { customer_id: Some(" ".into()), ..place() }, "INVALID_CUSTOMER");
    rejected(PlaceOrder { customer_id: Some("x".repeat(65)), ..place() }, "INVALID_CUSTOMER");
    rejected(PlaceOrder { country: Some("x".repeat(65)), ..place() }, "COUNTRY_TOO_LONG");
    rejected(PlaceOrder { contact: Some(sealed_for("13047")), ..place() }, "FOREIGN_CONTACT");
    rejected(PlaceOrder { contact: Some(sealed_for("17850")), customer_id: None, ..place() }, "FOREIGN_CONTACT");
}

#[test]
fn a_placed_order_is_confirmed_or_backordered() {
    given::<Order>([placed()]).when(ConfirmOrder {}).then([confirmed()]).then_published_only(OrderConfirmed {
        order_id: "536365".into(),
        customer_id: Some("17850".into()),
        placed_at: PLACED_AT,
        total: money("35.64"),
    });
    given::<Order>([placed()]).when(BackorderOrder {}).then([backordered()]).then_published_only(OrderBackordered {
        order_id: "536365".into(),
        customer_id: Some("17850".into()),
        placed_at: PLACED_AT,
        total: money("35.64"),
    });
}

#[test]
fn only_a_placed_order_is() {
    let cancelled = || vec![placed(), cancelled(OrderStatus::Placed)];
    for past in [vec![placed(), confirmed()], vec![placed(), backordered()], cancelled()] {
        given::<Order>(past.clone()).when(ConfirmOrder {}).then_nothing();
        given::<Order>(past).when(BackorderOrder {}).then_nothing();
    }
    given::<Order>([]).when(ConfirmOrder {}).then_rejected("ORDER_NOT_FOUND");
    given::<Order>([]).when(BackorderOrder {}).then_rejected("ORDER_NOT_FOUND");
}

#[test]
fn an_order_is_cancelled_wherever_it_stands() {
    for (past, former_status) in [
        (vec![placed()], OrderStatus::Placed),
        (vec![placed(), confirmed()], OrderStatus::Confirmed),
        (vec![placed(), backordered()], OrderStatus::Backordered),
    ] {
        given::<Order>(past)
            .by(customer("17850"))
            .when(cancel())
            .then([cancelled(former_status)])
            .then_reply(CancelOrderReply { order_id: "536365".into(), status: OrderStatus::Cancelled })
            .then_published_only(OrderCancelled {
                order_id: "536365".into(),
                customer_id: Some("17850".into()),
                placed_at: PLACED_AT,
                total: money("35.64"),
                former_status,
            });
    }
}

#[test]
fn an_order_is_cancelled_once() {
    let past = [placed(), cancelled(OrderStatus::Placed)];
    given::<Order>(past).when(cancel()).then_rejected("ORDER_ALREADY_CANCELLED");
    given::<Order>([placed()]).when(CancelOrder { reason: "x".repeat(501) }).then_rejected("REASON_TOO_LONG");
}

#[test]
fn the_orders_of_others_are_not_found() {
    given::<Order>([]).by(operator()).when(cancel()).then_rejected("ORDER_NOT_FOUND");
    given::<Order>([placed()]).by(customer("13047")).when(cancel()).then_rejected("ORDER_NOT_FOUND");
    given::<Order>([placed()]).by(Principal::new("17850", [])).when(cancel()).then_rejected("ORDER_NOT_FOUND");
    given::<Order>([placed_by_guest()]).by(customer("17850")).when(cancel()).then_rejected("ORDER_NOT_FOUND");
    given::<Order>([placed_by_guest()]).by(operator()).when(cancel()).then_published::<OrderCancelled>();
}

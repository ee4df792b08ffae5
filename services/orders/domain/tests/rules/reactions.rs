//! What orders do when the inventory answers.

use inventory_contract::{ReservationCompleted, ReservationFailed};
use orders_domain::order::{BackorderOrder, ConfirmOrder, Order};
use orders_domain::reactions::{Answer, ConfirmOrBackorder};
use skein_core::Reaction;
use skein_testing::scenario::{source, to};

#[test]
fn a_completed_reservation_confirms_and_a_failed_one_backorders() {
    let react = |answer| ConfirmOrBackorder::react(&answer, &source("reservation", "536365", 1)).unwrap();
    let completed = ReservationCompleted { order_id: "536365".into() };
    assert_eq!(react(Answer::Completed(completed)), [to::<Order, _>("536365", ConfirmOrder {})]);
    let failed = ReservationFailed { order_id: "536365".into(), missing: vec!["71053".into()] };
    assert_eq!(react(Answer::Failed(failed)), [to::<Order, _>("536365", BackorderOrder {})]);
}

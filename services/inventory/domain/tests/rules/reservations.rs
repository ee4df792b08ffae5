//! The reservation of an order: given what happened, when somebody asks, then.

use std::collections::BTreeSet;

use inventory_contract::{ReservationCompleted, ReservationFailed};
use inventory_domain::reservation::{
    CancelReservation, Cancelled, Completed, Failed, NoteRefused, NoteReserved, Refused, Reservation, ReservationEvent,
    Reserved, SellReservation, Sold, StartReservation, Started,
};
use inventory_domain::stock::{ReleaseStock, ReserveStock, RestockSold, SellStock, Stock};
use skein_core::{MAX_COMMAND_BYTES, Outgoing};
use skein_testing::scenario::{Given, given, to};

use crate::units;

const ORDER: &str = "536365";

fn order_id() -> String {
    ORDER.to_owned()
}

/// The order's reservation, after these events.
fn reservation(events: impl IntoIterator<Item = ReservationEvent>) -> Given<Reservation> {
    given(events).of(ORDER)
}

fn start() -> StartReservation {
    StartReservation { units: units([("A", 1), ("B", 2), ("C", 3)]) }
}

fn started() -> ReservationEvent {
    Started { order_id: order_id(), units: start().units }.into()
}

fn reserved(sku: &str) -> ReservationEvent {
    Reserved { sku: sku.into() }.into()
}

fn refused(sku: &str) -> ReservationEvent {
    Refused { sku: sku.into() }.into()
}

fn completed() -> ReservationEvent {
    Completed {}.into()
}

fn failed(missing: &[&str]) -> ReservationEvent {
    Failed { missing: skus(missing) }.into()
}

fn sold() -> ReservationEvent {
    Sold {}.into()
}

fn cancelled() -> ReservationEvent {
    Cancelled {}.into()
}

fn skus(skus: &[&str]) -> BTreeSet<String> {
    skus.iter().map(|sku| (*sku).to_owned()).collect()
}

fn note_reserved(sku: &str) -> NoteReserved {
    NoteReserved { sku: sku.into() }
}

fn note_refused(sku: &str) -> NoteRefused {
    NoteRefused { sku: sku.into() }
}

fn reserve(sku: &str, quantity: u64) -> Outgoing {
    to::<Stock, _>(sku, ReserveStock { order_id: order_id(), quantity })
}

fn release(sku: &str) -> Outgoing {
    to::<Stock, _>(sku, ReleaseStock { order_id: order_id() })
}

fn sell(sku: &str) -> Outgoing {
    to::<Stock, _>(sku, SellStock { order_id: order_id() })
}

fn restock(sku: &str, quantity: u64) -> Outgoing {
    to::<Stock, _>(sku, RestockSold { order_id: order_id(), quantity })
}

fn is_completed() -> ReservationCompleted {
    ReservationCompleted { order_id: order_id() }
}

fn has_failed(missing: &[&str]) -> ReservationFailed {
    ReservationFailed { order_id: order_id(), missing: skus(missing).into_iter().collect() }
}

fn complete() -> Vec<ReservationEvent> {
    vec![started(), reserved("A"), reserved("B"), reserved("C"), completed()]
}

#[test]
fn every_stock_is_asked() {
    reservation([])
        .when(start())
        .then([started()])
        .then_sent([reserve("A", 1), reserve("B", 2), reserve("C", 3)])
        .then_published_nothing();
}

#[test]
fn an_order_is_reserved_once() {
    reservation([started()]).when(start()).then_nothing();
    reservation(complete()).when(start()).then_nothing();
}

#[test]
fn it_completes_with_the_last_answer() {
    reservation([started(), reserved("B")]).when(note_reserved("A")).then([reserved("A")]).then_published_nothing();
    reservation([started(), reserved("B"), reserved("A")])
        .when(note_reserved("C"))
        .then([reserved("C"), completed()])
        .then_sent([])
        .then_published_only(is_completed());
}

#[test]
fn an_order_of_nothing_is_complete() {
    reservation([]).when(StartReservation { units: units([]) }).then_published_only(is_completed()).then_sent([]);
}

#[test]
fn a_refusal_gives_back_what_is_held() {
    reservation([started(), reserved("A"), reserved("B")])
        .when(note_refused("C"))
        .then([refused("C"), failed(&["C"])])
        .then_sent([release("A"), release("B")])
        .then_published_only(has_failed(&["C"]));
}

#[test]
fn after_a_refusal_answers_are_given_back_as_they_come() {
    reservation([started(), reserved("A")])
        .when(note_refused("B"))
        .then([refused("B")])
        .then_sent([release("A")])
        .then_published_nothing();
    reservation([started(), reserved("A"), refused("B")])
        .when(note_reserved("C"))
        .then([reserved("C"), failed(&["B"])])
        .then_sent([release("C")])
        .then_published_only(has_failed(&["B"]));
    reservation([started(), reserved("A"), refused("B")])
        .when(note_refused("C"))
        .then([refused("C"), failed(&["B", "C"])])
        .then_sent([])
        .then_published_only(has_failed(&["B", "C"]));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    for past in [
        vec![],
        vec![started(), reserved("A")],
        vec![started(), refused("A")],
        complete(),
        [complete(), vec![sold()]].concat(),
        [complete(), vec![cancelled()]].concat(),
    ] {
        reservation(past.clone()).when(note_reserved("A")).then_nothing();
        reservation(past.clone()).when(note_refused("A")).then_nothing();
        reservation(past).when(note_refused("X")).then_nothing();
    }
}

#[test]
fn a_confirmed_order_gets_its_units() {
    reservation(complete())
        .when(SellReservation {})
        .then([sold()])
        .then_sent([sell("A"), sell("B"), sell("C")])
        .then_published_nothing();
}

#[test]
fn only_what_is_complete_is_sold() {
    for past in [
        vec![],
        vec![cancelled()],
        vec![started(), reserved("A")],
        vec![started(), refused("A"), refused("B"), refused("C"), failed(&["A", "B", "C"])],
        [complete(), vec![sold()]].concat(),
        [complete(), vec![cancelled()]].concat(),
    ] {
        reservation(past).when(SellReservation {}).then_nothing();
    }
}

#[test]
fn cancelled_before_it_starts_nothing_is_asked() {
    reservation([]).when(CancelReservation {}).then([cancelled()]).then_sent([]).then_published_nothing();
    reservation([cancelled()]).when(start()).then_nothing();
}

#[test]
fn cancelled_while_stocks_answer_all_is_given_back_and_nothing_published() {
    reservation([started(), reserved("A")])
        .when(CancelReservation {})
        .then([cancelled()])
        .then_sent([release("A")])
        .then_published_nothing();
    reservation([started(), reserved("A"), cancelled()])
        .when(note_reserved("B"))
        .then([reserved("B")])
        .then_sent([release("B")])
        .then_published_nothing();
    let last = || [started(), reserved("A"), cancelled(), reserved("B")];
    reservation(last()).when(note_reserved("C")).then([reserved("C")]).then_sent([release("C")]);
    reservation(last()).when(note_reserved("C")).then_published_nothing();
    reservation(last()).when(note_refused("C")).then([refused("C")]).then_sent([]).then_published_nothing();
    reservation([started(), refused("A"), cancelled(), refused("B")])
        .when(note_reserved("C"))
        .then([reserved("C")])
        .then_sent([release("C")]);
}

#[test]
fn cancelled_before_it_is_confirmed_all_is_given_back() {
    reservation(complete()).when(CancelReservation {}).then([cancelled()]).then_sent([
        release("A"),
        release("B"),
        release("C"),
    ]);
}

#[test]
fn cancelled_after_it_was_confirmed_all_is_taken_back() {
    reservation([complete(), vec![sold()]].concat()).when(CancelReservation {}).then([cancelled()]).then_sent([
        restock("A", 1),
        restock("B", 2),
        restock("C", 3),
    ]);
}

#[test]
fn what_is_over_is_not_cancelled_again() {
    let failed = vec![started(), refused("A"), refused("B"), refused("C"), failed(&["A", "B", "C"])];
    reservation(failed).when(CancelReservation {}).then_nothing();
    reservation([complete(), vec![cancelled()]].concat()).when(CancelReservation {}).then_nothing();
    reservation([complete(), vec![sold(), cancelled()]].concat()).when(CancelReservation {}).then_nothing();
    reservation([cancelled()]).when(CancelReservation {}).then_nothing();
}

#[test]
fn a_sku_that_no_stock_can_have_is_refused() {
    let start = StartReservation { units: units([(" ", 1)]) };
    reservation([]).when(start).then_rejected("INVALID_SKU");
}

/// One commit is one row of 1 MiB in UTF-16, and one command a message of 192 KiB: the longest ids and a thousand SKUs
/// have to stay below both.
#[test]
fn a_thousand_skus_fit_one_commit() {
    let order = "o".repeat(110);
    let sku = |number: u32| format!("{number:04}{}", "s".repeat(46));
    let start = StartReservation { units: (0..1_000).map(|number| (sku(number), 1_000_000)).collect() };
    let command = serde_json::to_string(&start).unwrap();
    assert!(command.len() < MAX_COMMAND_BYTES - 4_096, "{}", command.len());

    let started = Started { order_id: order.clone(), units: start.units.clone() };
    let event = serde_json::to_string(&started).unwrap();
    let sent: Vec<Outgoing> = start
        .units
        .iter()
        .map(|(sku, &quantity)| to::<Stock, _>(sku, ReserveStock { order_id: order.clone(), quantity }))
        .collect();
    let units = event.len() + serde_json::to_string(&sent).unwrap().len();
    assert!(units < 400_000, "{units}");
    given::<Reservation>([]).of(&order).when(start).then([started.into()]).then_sent(sent);
}

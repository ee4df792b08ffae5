//! What may be ordered and sent back, and what it costs.

use orders_domain::line::{Line, LineError, MAX_PRICE, MAX_TOTAL, total};
use rust_decimal::Decimal;
use skein_core::Rejection;

use crate::{line, money};

fn check(lines: &[Line], expected: Result<&str, &str>) {
    let actual = total(lines);
    let actual = actual.as_ref().map(ToString::to_string).map_err(LineError::code);
    assert_eq!(actual, expected.map(str::to_owned), "{lines:?}");
}

#[test]
fn totals_are_exact() {
    check(&[line("A", 3, "0.1"), line("A", 1, "0.20"), line("B", 7, "0")], Ok("0.50"));
    check(&[line("POST", 1, "18.00")], Ok("18.00"));
    check(&vec![line("A", 1_000, "0.0001"); 1_000], Ok("100.0000"));
    check(&[line("A", 1, "0.0")], Ok("0"));
}

#[test]
fn an_order_has_one_to_a_thousand_lines() {
    check(&[], Err("NO_LINES"));
    check(&vec![line("A", 1, "1"); 1_000], Ok("1000"));
    check(&vec![line("A", 1, "1"); 1_001], Err("TOO_MANY_LINES"));
}

#[test]
fn a_sku_names_a_stock() {
    check(&[line("BANK CHARGES", 1, "1")], Ok("1"));
    check(&[line(&"x".repeat(50), 1, "1")], Ok("1"));
    check(&[line(&"é".repeat(20), 1, "1")], Ok("1"));
    for sku in ["", "  ", &"x".repeat(51), &"é".repeat(50)] {
        check(&[line("A", 1, "1"), line(sku, 1, "1")], Err("INVALID_SKU"));
    }
}

#[test]
fn a_description_has_at_most_a_hundred_characters() {
    let described = |text: String| Line { description: Some(text), ..line("A", 1, "1") };
    check(&[described("é".repeat(100))], Ok("1"));
    check(&[described("x".repeat(101))], Err("DESCRIPTION_TOO_LONG"));
}

#[test]
fn a_quantity_is_at_least_one() {
    check(&[line("A", 0, "1")], Err("INVALID_QUANTITY"));
}

#[test]
fn a_price_can_be_added_up_without_loss() {
    for price in ["-0.01", "0.00001", "100000000000.01", "79228162514264337593543950335"] {
        check(&[line("A", 1, price)], Err("INVALID_PRICE"));
    }
    assert_eq!((MAX_PRICE, MAX_TOTAL), (money("100000000000"), money("1000000000000000")));
    check(&[line("A", 10_000, "100000000000")], Ok("1000000000000000"));
    check(&[line("A", 10_000, "99999999999.9999"), line("A", 1, "1.0001")], Err("TOTAL_TOO_LARGE"));
    check(&[line("A", u32::MAX, "99999999999.9999")], Err("TOTAL_TOO_LARGE"));
    assert!(MAX_TOTAL.checked_mul(Decimal::from(1_000_000_000)).is_some(), "room for many orders");
}

#[test]
fn errors_name_the_line() {
    let error = total(&[line("A", 1, "1"), line("A", 0, "1")]).unwrap_err();
    assert_eq!(error.to_string(), "line 2: the quantity must be at least 1");
}

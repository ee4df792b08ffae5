//! The rules of orders and returns, the views that they make, and the form in which their events are stored.

mod erasures;
mod lines;
mod orders;
mod reactions;
mod returns;
mod stored;
mod views;

use orders_domain::line::Line;
use rust_decimal::Decimal;
use time::OffsetDateTime;
use time::macros::datetime;

const PLACED_AT: OffsetDateTime = datetime!(2010-12-01 08:26:00 UTC);

fn money(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

fn line(sku: &str, quantity: u32, unit_price: &str) -> Line {
    Line { sku: sku.into(), description: None, quantity, unit_price: money(unit_price) }
}

fn lines() -> Vec<Line> {
    vec![line("85123A", 6, "2.55"), line("71053", 6, "3.39")]
}

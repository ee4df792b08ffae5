//! The form in which events are published. Other services rely on it: a change that they could misread is a new
//! version.

use expect_test::expect;
use orders_contract::{
    CustomerErased, Line, OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, OrderStatus, ReturnRecorded,
};
use rust_decimal::Decimal;
use schemars::schema_for;
use skein_testing::golden::published;
use skein_testing::scenario::sealed_for;
use skein_testing::schemas::{self, Schema};
use time::OffsetDateTime;
use time::macros::datetime;

const PLACED_AT: OffsetDateTime = datetime!(2010-12-01 08:26:00 UTC);

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
fn the_published_form_stays() {
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
        contact: None,
    };
    let reachable = OrderPlaced { contact: Some(sealed_for("17850")), ..placed.clone() };
    let guest = OrderPlaced { customer_id: None, country: None, lines: vec![], total: Decimal::ZERO, ..placed.clone() };
    let former_status = OrderStatus::Confirmed;
    let returned = ReturnRecorded {
        return_id: "C536379".into(),
        customer_id: Some("14527".into()),
        returned_at: PLACED_AT,
        lines: lines(),
        total,
    };
    published()
        .sample("customer", &placed)
        .sample("guest", &guest)
        .sample("contact", &reachable)
        .sample("customer", &OrderConfirmed { order_id: order_id(), customer_id: customer_id(), placed_at, total })
        .sample("customer", &OrderBackordered { order_id: order_id(), customer_id: customer_id(), placed_at, total })
        .sample(
            "customer",
            &OrderCancelled { order_id: order_id(), customer_id: customer_id(), placed_at, total, former_status },
        )
        .sample("customer", &returned)
        .sample("customer", &CustomerErased { customer_id: "17850".into() })
        .check("tests/golden");
}

#[test]
fn every_status_has_its_name() {
    let statuses = [OrderStatus::Placed, OrderStatus::Confirmed, OrderStatus::Backordered, OrderStatus::Cancelled];
    expect![[r#"["PLACED","CONFIRMED","BACKORDERED","CANCELLED"]"#]]
        .assert_eq(&serde_json::to_string(&statuses).unwrap());
}

#[test]
fn no_reader_breaks() {
    schemas::check(
        "schemas",
        [
            Schema::of::<OrderPlaced>(schema_for!(OrderPlaced).to_value()),
            Schema::of::<OrderConfirmed>(schema_for!(OrderConfirmed).to_value()),
            Schema::of::<OrderBackordered>(schema_for!(OrderBackordered).to_value()),
            Schema::of::<OrderCancelled>(schema_for!(OrderCancelled).to_value()),
            Schema::of::<ReturnRecorded>(schema_for!(ReturnRecorded).to_value()),
            Schema::of::<CustomerErased>(schema_for!(CustomerErased).to_value()),
        ],
    );
}

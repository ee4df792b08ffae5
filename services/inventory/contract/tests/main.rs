//! The form in which events are published. Other services rely on it: a change that they could misread is a new
//! version.

use inventory_contract::{
    Levels, ReservationCompleted, ReservationFailed, StockAdjusted, StockReceived, StockReleased,
    StockReservationRefused, StockReserved, StockRestocked, StockReturned, StockSold,
};
use schemars::schema_for;
use skein_testing::golden::published;
use skein_testing::schemas::{self, Schema};

#[test]
fn the_published_form_stays() {
    let sku = || "85123A".to_owned();
    let order_id = || "536365".to_owned();
    let (quantity, levels) = (6, Levels { available: 988, reserved: 6, sold: 6 });
    let missing = vec!["21915".into(), "84077".into()];
    published()
        .sample("one", &StockReceived { sku: sku(), quantity, levels })
        .sample("one", &StockAdjusted { sku: sku(), quantity: -6, reason: "broken".into(), levels })
        .sample("one", &StockReturned { sku: sku(), return_id: "C536379".into(), quantity, levels })
        .sample("one", &StockReserved { sku: sku(), order_id: order_id(), quantity, levels })
        .sample("one", &StockReservationRefused { sku: sku(), order_id: order_id(), quantity, levels })
        .sample("one", &StockReleased { sku: sku(), order_id: order_id(), quantity, levels })
        .sample("one", &StockSold { sku: sku(), order_id: order_id(), quantity, levels })
        .sample("one", &StockRestocked { sku: sku(), order_id: order_id(), quantity, levels })
        .sample("one", &ReservationCompleted { order_id: order_id() })
        .sample("one", &ReservationFailed { order_id: order_id(), missing })
        .check("tests/golden");
}

#[test]
fn no_reader_breaks() {
    schemas::check(
        "schemas",
        [
            Schema::of::<StockReceived>(schema_for!(StockReceived).to_value()),
            Schema::of::<StockAdjusted>(schema_for!(StockAdjusted).to_value()),
            Schema::of::<StockReturned>(schema_for!(StockReturned).to_value()),
            Schema::of::<StockReserved>(schema_for!(StockReserved).to_value()),
            Schema::of::<StockReservationRefused>(schema_for!(StockReservationRefused).to_value()),
            Schema::of::<StockReleased>(schema_for!(StockReleased).to_value()),
            Schema::of::<StockSold>(schema_for!(StockSold).to_value()),
            Schema::of::<StockRestocked>(schema_for!(StockRestocked).to_value()),
            Schema::of::<ReservationCompleted>(schema_for!(ReservationCompleted).to_value()),
            Schema::of::<ReservationFailed>(schema_for!(ReservationFailed).to_value()),
        ],
    );
}

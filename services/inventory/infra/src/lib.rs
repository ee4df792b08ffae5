//! The inventory service's descriptor.

use inventory_contract::{
    ReservationCompleted, ReservationFailed, StockAdjusted, StockReceived, StockReleased, StockReservationRefused,
    StockReserved, StockRestocked, StockReturned, StockSold,
};
use inventory_domain::reactions::{FollowOrders, NoteAnswers, TakeReturns};
use inventory_domain::views::{StockLevels, TopSkus};
use skein_model::Service;

/// The inventory service, as it is deployed.
pub fn service() -> Service {
    Service::new("inventory")
        .publishes::<StockReceived>()
        .publishes::<StockAdjusted>()
        .publishes::<StockReturned>()
        .publishes::<StockReserved>()
        .publishes::<StockReservationRefused>()
        .publishes::<StockReleased>()
        .publishes::<StockSold>()
        .publishes::<StockRestocked>()
        .publishes::<ReservationCompleted>()
        .publishes::<ReservationFailed>()
        .view::<StockLevels>()
        .top_list::<TopSkus>()
        .reaction::<FollowOrders>()
        .reaction::<NoteAnswers>()
        .reaction::<TakeReturns>()
}

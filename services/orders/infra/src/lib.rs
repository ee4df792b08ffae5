//! The orders service's descriptor.

use orders_contract::{CustomerErased, OrderBackordered, OrderCancelled, OrderConfirmed, OrderPlaced, ReturnRecorded};
use orders_domain::reactions::ConfirmOrBackorder;
use orders_domain::views::{CustomerOrders, CustomerTotals, Orders};
use skein_model::Service;

/// The orders service, as it is deployed.
pub fn service() -> Service {
    Service::new("orders")
        .publishes::<OrderPlaced>()
        .publishes::<OrderConfirmed>()
        .publishes::<OrderBackordered>()
        .publishes::<OrderCancelled>()
        .publishes::<ReturnRecorded>()
        .publishes::<CustomerErased>()
        .view::<Orders>()
        .view::<CustomerOrders>()
        .view::<CustomerTotals>()
        .reaction::<ConfirmOrBackorder>()
        .personal()
        .subscriptions()
}

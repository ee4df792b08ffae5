//! The orders service's descriptor.

use skein_model::Service;

/// The orders service, as it is deployed.
pub fn service() -> Service {
    Service::new("orders")
}

//! The inventory service's descriptor.

use skein_model::Service;

/// The inventory service, as it is deployed.
pub fn service() -> Service {
    Service::new("inventory")
}

//! The gateway layer's descriptors.

use skein_model::{Gateway, Service};

/// The gateway: the GraphQL of these services, each under its name.
pub fn gateway(services: &[Service]) -> Gateway {
    Gateway { services: services.iter().map(|service| service.name.clone()).collect() }
}

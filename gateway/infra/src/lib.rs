//! The gateway layer's descriptors.

use skein_model::{Gateway, Service};

/// The schema of all services as one.
const SCHEMA: &str = include_str!("../../graph/schema.graphql");

/// The gateway: the GraphQL of these services, each under its name and all of them as one.
pub fn gateway(services: &[Service]) -> Gateway {
    Gateway::new(services.iter().map(|service| service.name.clone()).collect(), SCHEMA)
}

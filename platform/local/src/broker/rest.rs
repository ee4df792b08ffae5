//! The Service Bus REST front.

use std::sync::Arc;

use crate::identity::Issuer;

use super::Broker;

/// Where the front is mounted.
pub const PREFIX: &str = "/servicebus";

/// The front, to be mounted at [`PREFIX`].
pub fn router(issuer: Arc<Issuer>, broker: Broker) -> axum::Router {
    let _ = (issuer, broker);
    axum::Router::new()
}

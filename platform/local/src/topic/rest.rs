//! The Event Grid front.

use std::sync::Arc;

use crate::identity::Issuer;

use super::Topics;

/// Where the front is mounted.
pub const PREFIX: &str = "/eventgrid";

/// The front, to be mounted at [`PREFIX`].
pub fn router(issuer: Arc<Issuer>, topics: Topics) -> axum::Router {
    let _ = (issuer, topics);
    axum::Router::new()
}

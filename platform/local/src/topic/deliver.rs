//! Deliveries.

use std::sync::Arc;

use super::Inner;

pub(super) async fn run(inner: Arc<Inner>) {
    inner.published.notified().await;
}

//! The HTTP client under every pipeline.

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::HttpClient;

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the other side may stay silent within an answer.
const READ: Duration = Duration::from_secs(30);
/// How long an unused connection is kept. Azure's front ends close theirs after some minutes.
const IDLE: Duration = Duration::from_secs(60);

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client")]
pub struct TransportError(#[from] reqwest::Error);

/// The HTTP client for all clients of this crate: pooled connections, no redirects, no proxies, certificates of the
/// operating system. Its connections belong to the runtime that it is first used on.
///
/// # Errors
/// No TLS configuration, as without any root certificates.
pub fn http_client() -> Result<Arc<dyn HttpClient>, TransportError> {
    // Another part of the process may have chosen a provider already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .pool_idle_timeout(IDLE)
        .build()?;
    Ok(Arc::new(client))
}

//! The account key of a storage account: for Azurite, whose key is known to everybody.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use azure_core::http::headers::{AUTHORIZATION, HeaderName};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request, Url};
use azure_core::time::{OffsetDateTime, to_rfc7231};

const DATE: HeaderName = HeaderName::from_static("x-ms-date");

/// Signs requests to the Table service with `SharedKeyLite`.
#[derive(Debug, Clone)]
pub struct SharedKeyPolicy {
    account: String,
    key: Secret,
}

impl SharedKeyPolicy {
    /// Signs with this account's key, as the portal shows it (base64).
    pub fn new(account: &str, key: &str) -> Self {
        SharedKeyPolicy { account: account.to_owned(), key: Secret::new(key.to_owned()) }
    }

    /// The value of the `Authorization` header for a request with this `x-ms-date`.
    ///
    /// # Errors
    /// A key that is no base64.
    pub fn authorization(&self, date: &str, url: &Url) -> azure_core::Result<String> {
        let component = url.query_pairs().find(|(name, _)| name == "comp");
        let component = component.map(|(_, value)| format!("?comp={value}")).unwrap_or_default();
        let signed = format!("{date}\n/{}{}{component}", self.account, url.path());
        Ok(format!("SharedKeyLite {}:{}", self.account, hmac_sha256(&signed, &self.key)?))
    }
}

#[async_trait]
impl Policy for SharedKeyPolicy {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let date = to_rfc7231(&OffsetDateTime::now_utc());
        let authorization = self.authorization(&date, request.url())?;
        request.insert_header(DATE, date);
        request.insert_header(AUTHORIZATION, authorization);
        next[0].send(ctx, request, &next[1..]).await
    }
}

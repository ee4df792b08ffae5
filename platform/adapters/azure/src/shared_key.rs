//! The account key of a storage account: for Azurite, whose key is known to everybody.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use azure_core::http::headers::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Body, Context, Request, Url};
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

/// Signs requests to the Blob service with `SharedKey`.
#[derive(Debug, Clone)]
pub struct BlobKeyPolicy {
    account: String,
    key: Secret,
}

impl BlobKeyPolicy {
    /// Signs with this account's key, as the portal shows it (base64).
    pub fn new(account: &str, key: &str) -> Self {
        BlobKeyPolicy { account: account.to_owned(), key: Secret::new(key.to_owned()) }
    }

    /// What is signed of a request that has its date: verb, eleven standard headers, those of `x-ms-`, the resource.
    fn signed(&self, request: &Request) -> String {
        let header = |name: &'static str| {
            request.headers().get_optional_str(&HeaderName::from_static(name)).unwrap_or_default().to_owned()
        };
        let length = match request.body() {
            Body::Bytes(bytes) if !bytes.is_empty() => bytes.len().to_string(),
            _ => String::new(),
        };
        let kind = request.headers().get_optional_str(&CONTENT_TYPE).unwrap_or_default();
        let none_match = header("if-none-match");
        let mut signed = format!("{}\n\n\n{length}\n\n{kind}\n\n\n\n{none_match}\n\n\n", request.method());
        let mut own: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str()))
            .filter(|(name, _)| name.starts_with("x-ms-"))
            .collect();
        own.sort();
        for (name, value) in own {
            signed.push_str(&format!("{name}:{}\n", value.trim()));
        }
        signed.push_str(&format!("/{}{}", self.account, request.url().path()));
        let mut query: Vec<_> = request.url().query_pairs().collect();
        query.sort();
        for (name, value) in query {
            signed.push_str(&format!("\n{}:{value}", name.to_ascii_lowercase()));
        }
        signed
    }
}

#[async_trait]
impl Policy for BlobKeyPolicy {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.insert_header(DATE, to_rfc7231(&OffsetDateTime::now_utc()));
        let signature = hmac_sha256(&self.signed(request), &self.key)?;
        request.insert_header(AUTHORIZATION, format!("SharedKey {}:{signature}", self.account));
        next[0].send(ctx, request, &next[1..]).await
    }
}

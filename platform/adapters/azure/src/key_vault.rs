//! The key that wraps data keys, in Key Vault: `wrapkey` and `unwrapkey` with RSA-OAEP-256. The key itself never leaves
//! the vault.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::CONTENT_TYPE;
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, Request, Url};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use skein_core::personal::{DataKey, WrappedKey};
use skein_core::ports::{KeyVault, VaultError};

use crate::channel::{Channel, EndpointError, Failure, endpoint, excerpt};
use crate::credential::BearerPolicy;

/// The scope of Key Vault's tokens.
pub const SCOPE: &str = "https://vault.azure.net/.default";

const API_VERSION: &str = "7.4";
const ALGORITHM: &str = "RSA-OAEP-256";

/// One key of a vault.
#[derive(Debug, Clone)]
pub struct AzureKeyVault {
    channel: Channel,
    key: String,
}

/// What both operations answer.
#[derive(Deserialize)]
struct KeyOperationResult {
    kid: String,
    value: String,
}

impl AzureKeyVault {
    /// The key at this address, as in `https://{vault}.vault.azure.net/keys/{name}`, without a version: the newest wraps,
    /// and whichever wrapped unwraps.
    ///
    /// # Errors
    /// An address that is none, or that names no key.
    pub fn new(
        http: &Arc<dyn HttpClient>,
        credential: Arc<dyn TokenCredential>,
        url: &str,
    ) -> Result<Self, EndpointError> {
        let key = endpoint(url)?;
        let mut segments = key.rsplit('/');
        let (name, keys) = (segments.next(), segments.next());
        if keys != Some("keys") || name.is_none_or(str::is_empty) {
            let reason = "…/keys/{name} is expected, without a version".to_owned();
            return Err(EndpointError { url: url.to_owned(), reason });
        }
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, SCOPE));
        Ok(AzureKeyVault { channel: Channel::new(http, &auth), key })
    }

    /// Neither the request nor the answer's value may stand in an error: one of them is a key.
    async fn call(&self, path: &str, value: &[u8]) -> Result<(String, Vec<u8>), VaultError> {
        let url = format!("{}/{path}?api-version={API_VERSION}", self.key);
        let url = Url::parse(&url).map_err(|error| VaultError::Refused(format!("{url}: {error}")))?;
        let mut request = Request::new(url, Method::Post);
        request.insert_header(CONTENT_TYPE, "application/json");
        request.set_body(json!({"alg": ALGORITHM, "value": URL_SAFE_NO_PAD.encode(value)}).to_string());
        // Wrapping and unwrapping change nothing, so they may be repeated.
        let response = self.channel.repeating(&mut request).await.map_err(|failure| match failure {
            Failure::Denied(reason) => VaultError::Denied(reason),
            Failure::NotSent(reason) | Failure::Broken(reason) => VaultError::Unavailable(reason),
        })?;
        let status = u16::from(response.status());
        if !(200..300).contains(&status) {
            let reason = format!("{path} of {}: {status} {}", self.key, excerpt(response.body()));
            return Err(match status {
                401 | 403 => VaultError::Denied(reason),
                408 | 429 | 500.. => VaultError::Unavailable(reason),
                _ => VaultError::Refused(reason),
            });
        }
        let malformed = || VaultError::Unavailable(format!("{path} of {}: the answer is not understood", self.key));
        let result: KeyOperationResult = serde_json::from_slice(response.body()).map_err(|_| malformed())?;
        let version = result.kid.rsplit('/').next().unwrap_or_default().to_owned();
        let value = URL_SAFE_NO_PAD.decode(result.value.trim_end_matches('=')).map_err(|_| malformed())?;
        Ok((version, value))
    }
}

#[async_trait]
impl KeyVault for AzureKeyVault {
    async fn generate(&self) -> Result<(DataKey, WrappedKey), VaultError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| VaultError::Unavailable(format!("the system gives no random bits: {error}")))?;
        let key = DataKey::new(bytes);
        let (version, bytes) = self.call("wrapkey", key.bytes()).await?;
        if !is_version(&version) {
            return Err(VaultError::Refused(format!("{} names no version of itself: {version:?}", self.key)));
        }
        Ok((key, WrappedKey { version, bytes }))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey, VaultError> {
        if !is_version(&wrapped.version) {
            return Err(VaultError::Refused(format!("{:?} is no version of {}", wrapped.version, self.key)));
        }
        let (_, bytes) = self.call(&format!("{}/unwrapkey", wrapped.version), &wrapped.bytes).await?;
        let length = bytes.len();
        let bytes = bytes
            .try_into()
            .map_err(|_| VaultError::Refused(format!("{} unwrapped {length} bytes, a data key has 32", self.key)))?;
        Ok(DataKey::new(bytes))
    }
}

/// The version becomes part of a path.
fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

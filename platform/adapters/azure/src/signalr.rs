//! The hub of a service's subscribers, on Azure SignalR in serverless mode, by its REST interface.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::CONTENT_TYPE;
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, Request, StatusCode, Url};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use skein_core::ports::{HubAccess, LiveHub, SendError};

use crate::channel::{Channel, EndpointError, endpoint, sent};
use crate::credential::BearerPolicy;

/// The scope of SignalR.
pub const SCOPE: &str = "https://signalr.azure.com/.default";

const API_VERSION: &str = "2022-11-01";
/// The most bytes of one request: the limit is 1 MB.
const MAX_REQUEST_BYTES: usize = 1_000_000;
/// The most characters of a group's name.
const MAX_GROUP: usize = 1024;
/// The most characters of a user's name.
const MAX_USER: usize = 128;

/// One hub of an Azure SignalR.
#[derive(Debug, Clone)]
pub struct SignalRHub {
    channel: Channel,
    /// Where clients connect.
    client: String,
    /// Where the hub's REST interface is, which also names it in errors.
    name: String,
    url: Url,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

impl SignalRHub {
    /// The hub of this name in the SignalR at this address, as in `https://{name}.service.signalr.net`.
    ///
    /// # Errors
    /// An address that is none, or a name that no hub may have: a letter, then letters, digits and underscores, at most
    /// 128 in all.
    pub fn new(
        http: &Arc<dyn HttpClient>,
        credential: Arc<dyn TokenCredential>,
        url: &str,
        hub: &str,
    ) -> Result<Self, EndpointError> {
        let base = endpoint(url)?;
        let failed = |reason: String| EndpointError { url: url.to_owned(), reason };
        let named = hub.len() <= 128
            && hub.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && hub.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !named {
            return Err(failed(format!(
                "{hub:?} is no name of a hub: a letter, then letters, digits and _, up to 128"
            )));
        }
        let name = format!("{base}/api/hubs/{hub}");
        let url = Url::parse(&name).map_err(|error| failed(error.to_string()))?;
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, SCOPE));
        Ok(SignalRHub { channel: Channel::new(http, &auth), client: format!("{base}/client/?hub={hub}"), name, url })
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<Request, SendError> {
        let mut url = self.url.clone();
        // The segments are encoded, `.` and `..` apart, which would be dropped: no group and no user is called so.
        if path.iter().any(|segment| matches!(*segment, "." | "..")) {
            return Err(self.refused(format!("{path:?} holds a name that no path can carry")));
        }
        url.path_segments_mut().map_err(|()| self.refused("the address takes no path".to_owned()))?.extend(path);
        url.query_pairs_mut().extend_pairs(query).append_pair("api-version", API_VERSION);
        Ok(Request::new(url, method))
    }

    fn refused(&self, reason: String) -> SendError {
        SendError::Refused { target: self.name.clone(), reason }
    }

    fn checked<'a>(&self, what: &str, name: &'a str, limit: usize) -> Result<&'a str, SendError> {
        let length = name.chars().count();
        if name.trim().is_empty() || length > limit {
            return Err(
                self.refused(format!("a {what}'s name has 1 to {limit} characters, not {length}, and not blanks"))
            );
        }
        Ok(name)
    }

    fn group<'a>(&self, name: &'a str) -> Result<&'a str, SendError> {
        self.checked("group", name, MAX_GROUP)
    }

    fn user<'a>(&self, name: &'a str) -> Result<&'a str, SendError> {
        self.checked("user", name, MAX_USER)
    }

    /// Sends what may be repeated and answers nothing.
    async fn sent(&self, mut request: Request) -> Result<(), SendError> {
        sent(&self.name, self.channel.repeating(&mut request).await)
    }

    /// As [`SignalRHub::sent`], where 404 means that it was so already.
    async fn removed(&self, mut request: Request) -> Result<(), SendError> {
        match self.channel.repeating(&mut request).await {
            Ok(response) if response.status() == StatusCode::NotFound => Ok(()),
            result => sent(&self.name, result),
        }
    }
}

#[async_trait]
impl LiveHub for SignalRHub {
    async fn access(&self, user: &str, lifetime: Duration) -> Result<HubAccess, SendError> {
        let minutes = lifetime.as_secs().div_ceil(60).max(1).to_string();
        let query = [("userId", self.user(user)?), ("minutesToExpire", minutes.as_str())];
        let mut request = self.request(Method::Post, &[":generateToken"], &query)?;
        let result = self.channel.repeating(&mut request).await;
        let body = result.as_ref().map(|response| Bytes::copy_from_slice(response.body())).unwrap_or_default();
        sent(&self.name, result)?;
        // The answer is a secret: it stands in no error.
        let Token { token } = serde_json::from_slice(&body).map_err(|_| SendError::Unavailable {
            target: self.name.clone(),
            reason: "the answer to :generateToken is not understood".to_owned(),
        })?;
        Ok(HubAccess { url: self.client.clone(), token })
    }

    async fn send(&self, group: &str, target: &str, arguments: &Bytes) -> Result<(), SendError> {
        if let Err(error) = serde_json::from_slice::<Vec<IgnoredAny>>(arguments) {
            return Err(self.refused(format!("the arguments are no JSON list: {error}")));
        }
        let target = serde_json::Value::from(target).to_string();
        let mut body = Vec::with_capacity(arguments.len() + target.len() + 32);
        for part in [b"{\"target\":", target.as_bytes(), b",\"arguments\":", arguments.as_ref(), b"}"] {
            body.extend_from_slice(part);
        }
        if body.len() > MAX_REQUEST_BYTES {
            return Err(self.refused(format!("a message of {} bytes is too large: {MAX_REQUEST_BYTES}", body.len())));
        }
        let mut request = self.request(Method::Post, &["groups", self.group(group)?, ":send"], &[])?;
        request.insert_header(CONTENT_TYPE, "application/json");
        request.set_body(body);
        // A message that arrives twice is recognised by its number.
        self.sent(request).await
    }

    async fn join(&self, group: &str, user: &str, lifetime: Duration) -> Result<(), SendError> {
        let seconds = lifetime.as_secs().max(1).to_string();
        let path = ["users", self.user(user)?, "groups", self.group(group)?];
        self.sent(self.request(Method::Put, &path, &[("ttl", seconds.as_str())])?).await
    }

    async fn leave(&self, group: &str, user: &str) -> Result<(), SendError> {
        let path = ["users", self.user(user)?, "groups", self.group(group)?];
        self.removed(self.request(Method::Delete, &path, &[])?).await
    }

    async fn leave_all(&self, user: &str) -> Result<(), SendError> {
        self.removed(self.request(Method::Delete, &["users", self.user(user)?, "groups"], &[])?).await
    }

    async fn has_members(&self, group: &str) -> Result<bool, SendError> {
        let mut request = self.request(Method::Head, &["groups", self.group(group)?], &[])?;
        match self.channel.repeating(&mut request).await {
            Ok(response) if response.status() == StatusCode::NotFound => Ok(false),
            result => sent(&self.name, result).map(|()| true),
        }
    }
}

//! What the gateway's programs ask for: the issuer's keys, tokens of the gateway's own identity, the backends, the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, Response, Uri};
use serde_json::Value;
use skein_gateway::{ForwardError, Keys, World};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::deployed::Identity;
use crate::identity::Issuer;
use crate::loopback::is_this_machine;
use crate::outbound::Outbound;

/// How long an issuer's keys are remembered, as API Management does.
const KEYS_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How soon they are asked for again where a token names an unknown one: not with every forged token.
const KEYS_PAUSE: Duration = Duration::from_secs(10);

/// How long an issuer may take to tell its keys.
const KEYS_LIMIT: Duration = Duration::from_secs(10);

/// The largest configuration or set of keys, in bytes.
const MAX_KEYS_BYTES: usize = 1024 * 1024;

/// The largest answer of a backend, in bytes: answers are buffered.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

struct Known {
    keys: Arc<Keys>,
    since: Instant,
}

/// The local Azure, as the gateway's programs see it. Nothing of it is on another machine: whatever is sent carries tokens.
pub(super) struct Outside {
    issuer: Arc<Issuer>,
    client: Outbound,
    identity: Identity,
    /// By the URL of the issuer's configuration.
    keys: Mutex<HashMap<String, Known>>,
}

impl Outside {
    pub(super) fn new(issuer: Arc<Issuer>, client: Outbound, identity: Identity) -> Self {
        Outside { issuer, client, identity, keys: Mutex::default() }
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
        local(&uri)?;
        let request = Request::get(uri).body(Body::empty()).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| format!("{url}: {error}"))?;
        if !response.status().is_success() {
            return Err(format!("{url} answered {}", response.status()));
        }
        to_bytes(Body::new(response.into_body()), MAX_KEYS_BYTES).await.map_err(|error| format!("{url}: {error}"))
    }

    async fn fetch(&self, configuration: &str) -> Result<Keys, String> {
        let about: Value = serde_json::from_slice(&self.get(configuration).await?)
            .map_err(|error| format!("{configuration} is no JSON: {error}"))?;
        let text = |name: &str| about[name].as_str().ok_or_else(|| format!("{configuration} names no {name}"));
        let set = self.get(text("jwks_uri")?).await?;
        Keys::parse(text("issuer")?, &set).map_err(|error| format!("{configuration}: {error}"))
    }
}

/// Whether a URL is one of this machine, by plain HTTP.
fn local(uri: &Uri) -> Result<(), String> {
    let here = uri.authority().is_some_and(|authority| is_this_machine(authority.as_str()));
    match uri.scheme_str() {
        Some("http") if here => Ok(()),
        _ => Err(format!("the local gateway calls this machine by http and nothing else, not {uri}")),
    }
}

impl World for Outside {
    fn now(&self) -> i64 {
        OffsetDateTime::now_utc().unix_timestamp()
    }

    fn new_id(&self) -> Uuid {
        Uuid::new_v4()
    }

    async fn keys(&self, openid_config: &str, wanted: Option<&str>) -> Result<Arc<Keys>, String> {
        // Held while they are fetched: whoever comes meanwhile wants the same.
        let mut known = self.keys.lock().await;
        let old = known.get(openid_config);
        if let Some(old) = old {
            let age = old.since.elapsed();
            let is_there = wanted.is_none_or(|id| old.keys.has(id));
            if age < KEYS_LIFETIME && (is_there || age < KEYS_PAUSE) {
                return Ok(old.keys.clone());
            }
        }
        let fetched = timeout(KEYS_LIMIT, self.fetch(openid_config)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("{openid_config} does not answer")));
        match (fetched, old) {
            (Ok(keys), _) => {
                let keys = Arc::new(keys);
                known.insert(openid_config.to_owned(), Known { keys: keys.clone(), since: Instant::now() });
                Ok(keys)
            }
            // A token of an unknown key does not make the others void.
            (Err(_), Some(old)) if old.since.elapsed() < KEYS_LIFETIME => Ok(old.keys.clone()),
            (Err(why), _) => Err(why),
        }
    }

    async fn identity_token(&self, resource: &str, client_id: Option<&str>) -> Result<String, String> {
        let identity = self.identity.named(client_id).ok_or_else(|| match client_id {
            Some(client) => format!("the gateway has no identity with the client id {client}"),
            None => "the gateway has no identity of its own".to_owned(),
        })?;
        let issued = self.issuer.issue_managed_identity(&identity.principal_id, &identity.client_id, resource);
        issued.map(|(token, _)| token).map_err(|error| error.to_string())
    }

    async fn forward(&self, request: Request<Bytes>, time: Duration) -> Result<Response<Bytes>, ForwardError> {
        local(request.uri()).map_err(ForwardError::Connection)?;
        let answered = async {
            let response = self.client.request(request.map(Body::from)).await;
            let (head, body) = response.map_err(|error| ForwardError::Connection(error.to_string()))?.into_parts();
            let body = to_bytes(Body::new(body), MAX_ANSWER_BYTES).await;
            let body = body.map_err(|error| ForwardError::Connection(error.to_string()))?;
            Ok(Response::from_parts(head, body))
        };
        timeout(time, answered).await.unwrap_or(Err(ForwardError::Timeout))
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn trace(&self, source: &str, severity: &str, message: &str) {
        match severity {
            "error" => tracing::info!(source, "{message}"),
            _ => tracing::debug!(source, "{message}"),
        }
    }
}

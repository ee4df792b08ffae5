//! GraphQL of function apps, asked by another app: the gateway's router asks the services'.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, Request, Url};

use crate::channel::{Channel, Failure};
use crate::credential::BearerPolicy;

/// Why there is no answer, for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// The `graphql` functions of apps, all of one audience.
#[derive(Debug, Clone)]
pub struct GraphqlApps {
    channel: Channel,
}

impl GraphqlApps {
    /// Asks with tokens for this audience.
    pub fn new(http: &Arc<dyn HttpClient>, credential: Arc<dyn TokenCredential>, audience: &str) -> Self {
        let scope = format!("{}/.default", audience.trim_end_matches('/'));
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, scope));
        GraphqlApps { channel: Channel::new(http, &auth) }
    }

    /// Sends a request to the app at this base URL, once, whatever comes: what it carries may be a mutation that nobody
    /// recognises. The status and the body of the answer.
    ///
    /// # Errors
    /// No token, no connection, an answer that was cut off.
    pub async fn ask(
        &self,
        base: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), NoAnswer> {
        let mut url = Url::parse(base).map_err(|error| NoAnswer(format!("{base:?} is no address: {error}")))?;
        url.path_segments_mut()
            .map_err(|()| NoAnswer(format!("{base:?} takes no path")))?
            .pop_if_empty()
            .extend(["api", "graphql"]);
        let mut request = Request::new(url, Method::Post);
        for (name, value) in headers {
            request.insert_header(HeaderName::from_static(name), value.clone());
        }
        request.set_body(body);
        let response = self.channel.once(&mut request).await.map_err(|failure| match failure {
            Failure::Denied(reason) | Failure::NotSent(reason) | Failure::Broken(reason) => NoAnswer(reason),
        })?;
        Ok((u16::from(response.status()), response.into_body().to_vec()))
    }
}

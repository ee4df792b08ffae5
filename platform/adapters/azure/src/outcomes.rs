//! Outcomes of commands, asked of the service's command app: the query app may not read the event store.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, Request, StatusCode, Url};
use skein_core::store::Outcome;
use skein_core::{AggregateId, CommandId, Fault, encode_key};

use crate::channel::{Channel, EndpointError, Failure, endpoint};
use crate::credential::BearerPolicy;

/// The `outcomes` function of a command app.
#[derive(Debug, Clone)]
pub struct CommandAppOutcomes {
    channel: Channel,
    base: String,
}

impl CommandAppOutcomes {
    /// Asks the command app at this address, as in `https://{app}.azurewebsites.net`, with tokens for this audience.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        http: &Arc<dyn HttpClient>,
        credential: Arc<dyn TokenCredential>,
        audience: &str,
        url: &str,
    ) -> Result<Self, EndpointError> {
        let scope = format!("{}/.default", audience.trim_end_matches('/'));
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, scope));
        Ok(CommandAppOutcomes { channel: Channel::new(http, &auth), base: endpoint(url)? })
    }

    /// The outcome, `None` while nothing is known of the command.
    ///
    /// # Errors
    /// A command app that is away, refuses, or answers something else. It may pass.
    pub async fn outcome(&self, aggregate: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault> {
        let mut url = Url::parse(&self.base).map_err(|error| Fault::permanent("OUTCOMES_URL", error))?;
        let (aggregate, command) = (aggregate.key(), encode_key(command.as_str()));
        url.path_segments_mut()
            .map_err(|()| Fault::permanent("OUTCOMES_URL", "the command app's address takes no path"))?
            .pop_if_empty()
            .extend(["api", "outcomes", aggregate.as_str(), command.as_str()]);
        let mut request = Request::new(url, Method::Get);
        let response = self.channel.repeating(&mut request).await.map_err(|failure| match failure {
            Failure::Denied(reason) => Fault::transient("OUTCOMES_DENIED", reason),
            Failure::NotSent(reason) | Failure::Broken(reason) => Fault::transient("OUTCOMES_UNAVAILABLE", reason),
        })?;
        let (status, body) = (response.status(), response.into_body());
        if status != StatusCode::Ok {
            let text = format!("the command app answered {}", u16::from(status));
            return Err(Fault::transient("OUTCOMES_UNAVAILABLE", text));
        }
        serde_json::from_slice(&body).map_err(|error| {
            Fault::transient("OUTCOMES_MALFORMED", format!("the command app's answer is no outcome: {error}"))
        })
    }
}

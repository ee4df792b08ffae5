//! The services' apps, as the router asks them.

use std::sync::Arc;

use async_trait::async_trait;
use skein_azure::graphql_app::{GraphqlApps, NoAnswer};

/// What a service's app is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The app's base URL.
    pub url: String,
    /// Headers besides what every request has, names in small letters.
    pub headers: Vec<(&'static str, String)>,
    /// The request in JSON.
    pub body: String,
}

/// What an app answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Why an app gave no answer, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// The services' apps.
#[async_trait]
pub trait ServiceApps: Send + Sync {
    /// Asks an app, once.
    ///
    /// # Errors
    /// An app that cannot be reached, or whose answer is cut off.
    async fn ask(&self, question: Question) -> Result<Answered, Away>;
}

/// The apps as they are deployed, asked with the router's own identity.
pub struct AppsOnAzure(GraphqlApps);

impl AppsOnAzure {
    /// The apps behind these clients.
    pub fn new(apps: GraphqlApps) -> Arc<Self> {
        Arc::new(AppsOnAzure(apps))
    }
}

#[async_trait]
impl ServiceApps for AppsOnAzure {
    async fn ask(&self, question: Question) -> Result<Answered, Away> {
        let Question { url, headers, body } = question;
        let answer = self.0.ask(&url, &headers, body.into()).await;
        let (status, body) = answer.map_err(|NoAnswer(reason)| Away(reason))?;
        let body = String::from_utf8(body).map_err(|_| Away("the answer is no text".to_owned()))?;
        Ok(Answered { status, body })
    }
}

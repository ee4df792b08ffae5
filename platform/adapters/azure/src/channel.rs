//! What all clients share: two pipelines over one transport, and what a failed request means.

use std::error::Error as _;
use std::sync::Arc;

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::Policy;
use azure_core::http::{
    ClientOptions, Context, ExponentialRetryOptions, HttpClient, Pipeline, PipelineSendOptions, RawResponse, Request,
    RetryOptions, Transport, Url,
};
use skein_core::ports::SendError;
use time::Duration;

use crate::credential::{InsecureEndpoint, NoToken};

/// An address that no request can be sent to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{url:?} is no endpoint: {reason}")]
pub struct EndpointError {
    /// The address.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks an address of the configuration: http or https, a host, and neither query nor fragment. The trailing slash
/// goes.
pub(crate) fn endpoint(url: &str) -> Result<String, EndpointError> {
    let failed = |reason: &str| EndpointError { url: url.to_owned(), reason: reason.to_owned() };
    let parsed = Url::parse(url).map_err(|error| failed(&error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(failed("an http or https address is expected"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() || !parsed.username().is_empty() {
        return Err(failed("neither query nor fragment nor user name is expected"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was sent, and will not be: no token, or an endpoint that must not get one.
    Denied(String),
    /// Nothing was sent: no connection, no token for now.
    NotSent(String),
    /// It may have been sent, in whole or in part.
    Broken(String),
}

/// Sends requests, with or without repetition.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    once: Pipeline,
    repeating: Pipeline,
}

impl Channel {
    pub fn new(http: &Arc<dyn HttpClient>, auth: &Arc<dyn Policy>) -> Self {
        let pipeline = |retry: RetryOptions| {
            let options =
                ClientOptions { retry, transport: Some(Transport::new(Arc::clone(http))), ..ClientOptions::default() };
            Pipeline::new(
                Some(env!("CARGO_PKG_NAME")),
                Some(env!("CARGO_PKG_VERSION")),
                options,
                Vec::new(),
                vec![Arc::clone(auth)],
                None,
            )
        };
        let retries = ExponentialRetryOptions {
            initial_delay: Duration::milliseconds(200),
            max_retries: 4,
            max_delay: Duration::seconds(5),
            max_total_elapsed: Duration::seconds(30),
        };
        Channel { once: pipeline(RetryOptions::none()), repeating: pipeline(RetryOptions::exponential(retries)) }
    }

    /// Sends the request once, whatever comes.
    pub async fn once(&self, request: &mut Request) -> Result<RawResponse, Failure> {
        send(&self.once, request).await
    }

    /// Sends the request, and again after 408, 429, 5xx and broken connections; bounded, Retry-After is respected.
    pub async fn repeating(&self, request: &mut Request) -> Result<RawResponse, Failure> {
        send(&self.repeating, request).await
    }
}

async fn send(pipeline: &Pipeline, request: &mut Request) -> Result<RawResponse, Failure> {
    let unchecked = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
    pipeline.send(&Context::new(), request, Some(unchecked)).await.map_err(|error| failure(&error))
}

fn failure(error: &azure_core::Error) -> Failure {
    let text = chain(error);
    match error.kind() {
        ErrorKind::Connection => Failure::NotSent(text),
        ErrorKind::Credential => {
            let insecure = find::<InsecureEndpoint>(error).is_some();
            let denied = find::<NoToken>(error).is_some_and(|no_token| no_token.denied);
            if insecure || denied { Failure::Denied(text) } else { Failure::NotSent(text) }
        }
        _ => Failure::Broken(text),
    }
}

fn find<T: std::error::Error + 'static>(error: &azure_core::Error) -> Option<&T> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

/// The error and its sources in one line; the ports' errors are texts.
fn chain(error: &azure_core::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// A header that the parties agreed on, if it is there and not empty.
pub(crate) fn header<'a>(response: &'a RawResponse, name: &'static str) -> Option<&'a str> {
    response.headers().get_optional_str(&HeaderName::from_static(name)).filter(|value| !value.is_empty())
}

/// The body of an error for a message: what is readable of its beginning.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(600)]);
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect::<String>().trim().to_owned()
}

/// What the answer to a send means, for queues and topics alike.
pub(crate) fn sent(target: &str, result: Result<RawResponse, Failure>) -> Result<(), SendError> {
    let target = target.to_owned();
    let response = match result {
        Ok(response) => response,
        Err(Failure::Denied(reason)) => return Err(SendError::Denied { target, reason }),
        Err(Failure::NotSent(reason) | Failure::Broken(reason)) => {
            return Err(SendError::Unavailable { target, reason });
        }
    };
    let status = u16::from(response.status());
    if (200..300).contains(&status) {
        return Ok(());
    }
    let text = excerpt(response.body());
    let reason = format!("{status} {text}");
    Err(match status {
        401 => SendError::Denied { target, reason },
        403 if !quota(&text) => SendError::Denied { target, reason },
        408 | 429 | 500.. => SendError::Unavailable { target, reason },
        _ => SendError::Refused { target, reason },
    })
}

/// Service Bus answers 403 for a full queue and for a message that is too large, too.
fn quota(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["quota", "too large", "exceed", "size limit"].iter().any(|word| text.contains(word))
}

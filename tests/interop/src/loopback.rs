//! The transport of the published crates here: plain HTTP to a loopback address, and to nowhere else.

use std::net::IpAddr;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind, ResultExt as _};
use azure_core::headers::{HeaderName, HeaderValue, Headers};
use azure_core::{Body, HttpClient, Request, Response, StatusCode, Url};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

#[derive(Debug)]
pub struct Loopback {
    client: Client<HttpConnector, Full<Bytes>>,
    /// The address that stands for the host that a crate cannot be told, and the token that stands for its signature.
    instead: Option<(String, String)>,
}

impl Default for Loopback {
    fn default() -> Self {
        Loopback { client: Client::builder(TokioExecutor::new()).build_http(), instead: None }
    }
}

impl Loopback {
    /// Sends to `namespace` what is meant for the public cloud, with a token in the place of the crate's signature. All
    /// else goes out and comes back as the crate makes and reads it.
    pub fn instead_of_the_cloud(namespace: &str, token: String) -> Self {
        Loopback { instead: Some((namespace.to_owned(), token)), ..Loopback::default() }
    }
}

fn failed(text: String) -> Error {
    Error::message(ErrorKind::Io, text)
}

#[async_trait]
impl HttpClient for Loopback {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<Response> {
        let mut url = request.url().clone();
        let mut token = None;
        if let Some((namespace, instead)) = &self.instead {
            token = Some(instead);
            // A lock's location is the answer's own, and on loopback already.
            if url.host_str().is_some_and(|host| host.ends_with(".servicebus.windows.net")) {
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                url = Url::parse(&format!("{namespace}{}{query}", url.path())).map_kind(ErrorKind::DataConversion)?;
            }
        }
        let host = url.host_str().unwrap_or_default();
        if !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            return Err(failed(format!("{host} is not on loopback: nothing is sent")));
        }
        let mut outgoing = hyper::Request::builder().method(request.method().as_ref()).uri(url.as_str());
        for (name, value) in request.headers().iter() {
            let (name, mut value) = (name.as_str(), value.as_str().to_owned());
            // hyper writes it itself.
            if name == "content-length" {
                continue;
            }
            if let ("authorization", Some(token)) = (name, token) {
                value = format!("Bearer {token}");
            }
            outgoing = outgoing.header(name, value);
        }
        let Body::Bytes(body) = request.body() else { return Err(failed("a stream is not sent".to_owned())) };
        let outgoing = outgoing.body(Full::new(body.clone())).map_kind(ErrorKind::DataConversion)?;
        let answer = self.client.request(outgoing).await.map_kind(ErrorKind::Io)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_kind(ErrorKind::Io)?.to_bytes();
        let status = StatusCode::try_from(parts.status.as_u16()).map_err(|error| failed(error.to_string()))?;
        let headers: Headers = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .map(|(name, value)| (HeaderName::from(name), HeaderValue::from(value)))
            .collect::<std::collections::HashMap<_, _>>()
            .into();
        Ok(Response::new(status, headers, Box::pin(futures::stream::once(async move { Ok(body) }))))
    }
}

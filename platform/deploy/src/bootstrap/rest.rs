//! REST with tokens: Microsoft Graph and ARM, as bootstrap needs them.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::policies::Policy;
use azure_core::http::{ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request, Transport, Url};
use serde_json::Value;
use skein_azure::credential::{BearerPolicy, may_carry_token};
use skein_azure::http_client;

use crate::failure::Failure;
use crate::input;

/// A service with a token of its own.
pub(super) struct Rest {
    pipeline: Pipeline,
    endpoint: String,
}

impl Rest {
    pub(super) fn open(
        endpoint: &str,
        scope: &'static str,
        credential: Arc<dyn TokenCredential>,
    ) -> Result<Rest, Failure> {
        let url = Url::parse(endpoint).ok().filter(may_carry_token);
        if url.is_none() {
            return Err(input(format!("a token is not sent to {endpoint}: neither https nor loopback"), "use https"));
        }
        let http = http_client().map_err(|error| Failure::NoToken { why: error.to_string() })?;
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential, scope));
        let options = ClientOptions { transport: Some(Transport::new(http)), ..ClientOptions::default() };
        let (name, version) = (Some(env!("CARGO_PKG_NAME")), Some(env!("CARGO_PKG_VERSION")));
        let pipeline = Pipeline::new(name, version, options, Vec::new(), vec![auth], None);
        Ok(Rest { pipeline, endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    /// What is there; nothing for a 404.
    pub(super) async fn find(&self, what: &str, path: &str) -> Result<Option<Value>, Failure> {
        match self.ask(Method::Get, path, None, false).await? {
            (404, _) => Ok(None),
            (status @ 400.., error) => Err(Failure::Refused { what: what.to_owned(), status, error }),
            (_, body) => Ok(Some(body)),
        }
    }

    /// Puts something, however often.
    pub(super) async fn put(&self, what: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        self.made(what, self.ask(Method::Put, path, Some(body), false).await?)
    }

    /// Graph's upsert by a key that the client chooses: makes what is not there, changes what is.
    pub(super) async fn upsert(&self, what: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        self.made(what, self.ask(Method::Patch, path, Some(body), true).await?)
    }

    fn made(&self, what: &str, answer: (u16, Value)) -> Result<Value, Failure> {
        match answer {
            (status @ 400.., error) => Err(Failure::Refused { what: what.to_owned(), status, error }),
            (_, body) => Ok(body),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        upserts: bool,
    ) -> Result<(u16, Value), Failure> {
        let unreachable = |why: String| Failure::Unreachable { endpoint: self.endpoint.clone(), why };
        let url = Url::parse(&format!("{}{path}", self.endpoint)).map_err(|error| unreachable(error.to_string()))?;
        let mut request = Request::new(url, method);
        request.insert_header("accept", "application/json");
        if upserts {
            request.insert_header("prefer", "create-if-missing");
        }
        if let Some(body) = body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.to_string());
        }
        let unchecked = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let response = self.pipeline.send(&Context::new(), &mut request, Some(unchecked)).await;
        let response = response.map_err(|error| match error.kind() {
            ErrorKind::Credential => Failure::NoToken { why: error.to_string() },
            _ => unreachable(error.to_string()),
        })?;
        let (status, _, body) = response.deconstruct();
        let text = body.as_ref();
        let body = serde_json::from_slice(text).unwrap_or_else(
            |_| serde_json::json!({"error": {"code": "", "message": String::from_utf8_lossy(text).trim()}}),
        );
        Ok((u16::from(status), if text.is_empty() { Value::Null } else { body }))
    }
}

//! ARM's REST contract, on azure_core's pipeline.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_core::base64;
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::policies::Policy;
use azure_core::http::{
    ClientOptions, Context, ExponentialRetryOptions, HttpClient, Method, Pipeline, PipelineSendOptions, Request,
    RetryOptions, Transport, Url,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use skein_azure::credential::{BearerPolicy, azure_cli, may_carry_token, of_program};
use skein_azure::{AzureBlobs, BlobCredential, http_client};

use crate::failure::Failure;
use crate::input;

/// The API version of deployments and groups.
pub(crate) const VERSION: &str = "2025-04-01";

/// The API version of sites.
pub(crate) const VERSION_WEB: &str = "2024-11-01";

/// The scope of its tokens.
const SCOPE: &str = "https://management.azure.com/.default";

/// The longest wait between two looks.
const LONGEST: Duration = Duration::from_secs(60);

/// How long to wait where the service does not say.
const USUAL: Duration = Duration::from_secs(5);

/// The shortest wait: the service may say 0, which is meant as a least.
const SHORTEST: Duration = Duration::from_millis(100);

/// A control plane.
pub(crate) struct Client {
    pipeline: Pipeline,
    /// Sends no token.
    anonymous: Pipeline,
    http: Arc<dyn HttpClient>,
    credential: Arc<dyn TokenCredential>,
    endpoint: String,
    local: bool,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    headers: Headers,
    /// How long to wait where the service does not say.
    usual: Duration,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &'static str) -> Option<String> {
        self.headers.get_optional_string(&HeaderName::from_static(name))
    }

    /// How long to wait before the next look.
    pub(crate) fn retry_after(&self) -> Duration {
        let seconds = self.header("retry-after").and_then(|text| text.parse().ok());
        seconds.map_or(self.usual, Duration::from_secs).clamp(SHORTEST, LONGEST)
    }
}

impl Client {
    /// A client of the control plane at the endpoint: with the Azure CLI's tokens, and on loopback with those that
    /// `skein-local` prints for its state folder.
    pub(crate) fn open(endpoint: &str, state: &Path) -> Result<Client, Failure> {
        let url = Url::parse(endpoint).map_err(|error| {
            input(format!("{endpoint:?} is no endpoint: {error}"), "give an address, as in https://…")
        })?;
        if !may_carry_token(&url) {
            let why = format!("a token is not sent to {endpoint}: neither https nor a loopback address");
            return Err(input(why, "use https"));
        }
        let local = url.scheme() == "http";
        let no_token = |why: String| Failure::NoToken { why };
        let credential = if local {
            let own = std::env::current_exe().map_err(|error| no_token(error.to_string()))?;
            let beside = own.with_file_name("skein-local");
            // Tests stand a folder deeper.
            let above = own.parent().and_then(Path::parent).map(|folder| folder.join("skein-local"));
            let program = if beside.is_file() { beside } else { above.unwrap_or(beside) };
            let args: [OsString; 4] = ["token".into(), "--state".into(), state.into(), "--resource".into()];
            of_program(program, args)
        } else {
            azure_cli().map_err(|error| no_token(error.to_string()))?
        };
        let http = http_client().map_err(|error| no_token(error.to_string()))?;
        let auth: Arc<dyn Policy> = Arc::new(BearerPolicy::new(credential.clone(), SCOPE));
        let mut retries = ExponentialRetryOptions::default();
        if local {
            retries.max_retries = 3;
        }
        let pipeline = |retry: RetryOptions, per_try: Vec<Arc<dyn Policy>>| {
            let transport = Some(Transport::new(http.clone()));
            let options = ClientOptions { transport, retry, ..ClientOptions::default() };
            let (name, version) = (Some(env!("CARGO_PKG_NAME")), Some(env!("CARGO_PKG_VERSION")));
            Pipeline::new(name, version, options, Vec::new(), per_try, None)
        };
        Ok(Client {
            // On this machine nobody gets better by waiting.
            pipeline: pipeline(RetryOptions::exponential(retries), vec![auth]),
            anonymous: pipeline(RetryOptions::none(), Vec::new()),
            http,
            credential,
            endpoint: endpoint.to_owned(),
            local,
        })
    }

    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// Sends a request; azure_core repeats it after 408, 429, 5xx and broken connections, and heeds Retry-After.
    /// A path gets the endpoint before it and the usual version after it.
    pub(crate) async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        accepted(what, self.ask(method, path, body).await?)
    }

    /// The same, and nothing for a 404.
    pub(crate) async fn find(&self, what: &str, path: &str) -> Result<Option<Value>, Failure> {
        let answer = self.ask(Method::Get, path, None).await?;
        match answer.status {
            404 => Ok(None),
            400.. => Err(Failure::Refused { what: what.to_owned(), status: answer.status, error: answer.body }),
            _ => Ok(Some(answer.body)),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let unreachable = |why: String| Failure::Unreachable { endpoint: self.endpoint.clone(), why };
        let mut url = if path.starts_with('/') { format!("{}{path}", self.endpoint) } else { path.to_owned() };
        if !url.contains("api-version=") {
            url.push_str(if url.contains('?') { "&" } else { "?" });
            url.push_str(&format!("api-version={VERSION}"));
        }
        let parsed = Url::parse(&url).map_err(|error| unreachable(format!("{url}: {error}")))?;
        // A Location may name any host; tokens go to this one only.
        let own = Url::parse(&self.endpoint).map_err(|error| unreachable(error.to_string()))?;
        if parsed.origin() != own.origin() {
            return Err(unreachable(format!("it sends on to another host, {url}")));
        }
        let mut request = Request::new(parsed, method);
        request.insert_header("accept", "application/json");
        if let Some(body) = body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.to_string());
        }
        self.transmit(&self.endpoint, request).await
    }

    async fn transmit(&self, endpoint: &str, mut request: Request) -> Result<Answer, Failure> {
        let unreachable = |why: String| Failure::Unreachable { endpoint: endpoint.to_owned(), why };
        let unchecked = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let response = self.pipeline.send(&Context::new(), &mut request, Some(unchecked)).await;
        let response = response.map_err(|error| match error.kind() {
            ErrorKind::Credential => Failure::NoToken { why: chain(&error) },
            _ => unreachable(chain(&error)),
        })?;
        let (status, headers, body) = response.deconstruct();
        let usual = if self.local { SHORTEST } else { USUAL };
        let text = body.as_ref();
        let body = serde_json::from_slice(text).unwrap_or_else(
            |_| serde_json::json!({"error": {"code": "", "message": String::from_utf8_lossy(text).trim()}}),
        );
        Ok(Answer { status: u16::from(status), body: if text.is_empty() { Value::Null } else { body }, headers, usual })
    }

    /// Whether a token may be sent to an address that the control plane gave: on Azure to a host of that kind, locally to
    /// the one address of all planes.
    fn may_send_to(&self, url: &Url, kind: &str) -> bool {
        if self.local {
            return Url::parse(&self.endpoint).is_ok_and(|own| own.origin() == url.origin());
        }
        url.scheme() == "https" && url.host_str().is_some_and(|host| host.contains(kind))
    }

    /// The blobs of a container, whose address the control plane gave.
    pub(crate) fn blobs(&self, url: &str) -> Result<AzureBlobs, Failure> {
        let unreachable = |why: String| Failure::Unreachable { endpoint: url.to_owned(), why };
        let parsed = Url::parse(url).map_err(|error| unreachable(error.to_string()))?;
        if !self.may_send_to(&parsed, ".blob.") {
            return Err(unreachable("a token is not sent to that host".to_owned()));
        }
        let credential = BlobCredential::Token(self.credential.clone());
        AzureBlobs::new(&self.http, credential, url).map_err(|error| unreachable(error.to_string()))
    }

    /// A request to the host of a site's packages, whose name the control plane gave.
    async fn at_site(&self, url: &str, method: Method, zip: Option<Vec<u8>>) -> Result<Answer, Failure> {
        let unreachable = |why: String| Failure::Unreachable { endpoint: url.to_owned(), why };
        let parsed = Url::parse(url).map_err(|error| unreachable(error.to_string()))?;
        if !self.may_send_to(&parsed, ".scm.") {
            return Err(unreachable("a token is not sent to that host".to_owned()));
        }
        let mut request = Request::new(parsed, method);
        request.insert_header("accept", "application/json");
        if let Some(zip) = zip {
            request.insert_header("content-type", "application/zip");
            request.insert_header("if-match", "*");
            request.insert_header("content-digest", format!("sha-256=:{}:", base64::encode(Sha256::digest(&zip))));
            request.set_body(zip);
        }
        self.transmit(url, request).await
    }

    /// Sends a package.
    pub(crate) async fn upload(&self, what: &str, url: &str, zip: Vec<u8>) -> Result<Answer, Failure> {
        accepted(&format!("{what}: package"), self.at_site(url, Method::Post, Some(zip)).await?)
    }

    /// Asks the host of a site's packages.
    pub(crate) async fn get_at_site(&self, what: &str, url: &str) -> Result<Answer, Failure> {
        accepted(&format!("{what}: package"), self.at_site(url, Method::Get, None).await?)
    }

    /// The same, and nothing for a 404.
    pub(crate) async fn find_at_site(&self, what: &str, url: &str) -> Result<Option<Value>, Failure> {
        let answer = self.at_site(url, Method::Get, None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        Ok(Some(accepted(&format!("{what}: package"), answer)?.body))
    }

    /// Asks an app without a token and without asking again: the status and the text.
    pub(crate) async fn probe(&self, url: &str) -> Result<(u16, String), String> {
        let mut request = Request::new(Url::parse(url).map_err(|error| error.to_string())?, Method::Get);
        let unchecked = PipelineSendOptions { skip_checks: true, ..PipelineSendOptions::default() };
        let response = self.anonymous.send(&Context::new(), &mut request, Some(unchecked)).await;
        let (status, _, body) = response.map_err(|error| chain(&error))?.deconstruct();
        Ok((u16::from(status), String::from_utf8_lossy(body.as_ref()).into_owned()))
    }

    /// Follows a 202 to its result.
    pub(crate) async fn wait(&self, what: &str, mut answer: Answer) -> Result<Value, Failure> {
        while answer.status == 202 {
            let Some(location) = answer.header("location") else { return Ok(answer.body) };
            tokio::time::sleep(answer.retry_after()).await;
            answer = self.send(what, Method::Get, &location, None).await?;
        }
        Ok(answer.body)
    }
}

/// An answer below 400.
fn accepted(what: &str, answer: Answer) -> Result<Answer, Failure> {
    if answer.status >= 400 {
        return Err(Failure::Refused { what: what.to_owned(), status: answer.status, error: answer.body });
    }
    Ok(answer)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let own = error.to_string();
        if !text.contains(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        source = error.source();
    }
    text
}

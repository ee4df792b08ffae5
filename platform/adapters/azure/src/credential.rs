//! Tokens: of the managed identity, and how they are attached.

use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::AUTHORIZATION;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, HttpClient, Request, StatusCode, Transport, Url};
use azure_identity::{
    AzureCliCredential, Executor, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    new_executor,
};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

/// A token is renewed when it lives no longer than this. The managed identity's own cache asks for a new one five
/// minutes before the end, so that asking it this early is enough.
const RENEW: Duration = Duration::minutes(4);
/// A token that lives no longer than this is not used even if no new one can be had.
const LAST: Duration = Duration::seconds(10);

/// The credential of the app's managed identity, by the protocol of App Service (`IDENTITY_ENDPOINT` and
/// `IDENTITY_HEADER`, which the platform sets); of the user-assigned identity in `AZURE_CLIENT_ID`, if that is set.
///
/// # Errors
/// The environment names no identity that is supported.
pub fn managed_identity(http: Arc<dyn HttpClient>) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_id = std::env::var("AZURE_CLIENT_ID").ok().filter(|id| !id.is_empty());
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(UserAssignedId::ClientId),
        client_options: ClientOptions { transport: Some(Transport::new(http)), ..ClientOptions::default() },
    };
    let credential: Arc<dyn TokenCredential> = ManagedIdentityCredential::new(Some(options))?;
    Ok(credential)
}

/// The credential of whoever is signed in to the Azure CLI (`az login`): for tools that a person runs.
///
/// # Errors
/// None that is known; the CLI is started with the first token.
pub fn azure_cli() -> azure_core::Result<Arc<dyn TokenCredential>> {
    let credential: Arc<dyn TokenCredential> = AzureCliCredential::new(None)?;
    Ok(credential)
}

/// A credential whose tokens a program prints, as the Azure CLI does: it is started with `args` and the scope as the
/// last one, and prints `{"accessToken": "…", "expires_on": seconds since 1970}`.
pub fn of_program(program: impl Into<OsString>, args: impl IntoIterator<Item = OsString>) -> Arc<dyn TokenCredential> {
    Arc::new(ProgramCredential { program: program.into(), args: args.into_iter().collect(), executor: new_executor() })
}

struct ProgramCredential {
    program: OsString,
    args: Vec<OsString>,
    executor: Arc<dyn Executor>,
}

impl fmt::Debug for ProgramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramCredential").field("program", &self.program).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct PrintedToken {
    #[serde(rename = "accessToken")]
    token: Secret,
    expires_on: i64,
}

#[async_trait]
impl TokenCredential for ProgramCredential {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let program = self.program.to_string_lossy();
        let failed = |why: String| Error::with_message(ErrorKind::Credential, format!("{program}: {why}"));
        let scope = scopes.first().ok_or_else(|| failed("a scope is expected".to_owned()))?;
        let mut args: Vec<&OsStr> = self.args.iter().map(OsString::as_os_str).collect();
        args.push(OsStr::new(scope));
        let output =
            self.executor.run(&self.program, &args).await.map_err(|error| failed(format!("cannot start: {error}")))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let printed: PrintedToken = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("what it prints is no token: {error}")))?;
        let expires_on = OffsetDateTime::from_unix_timestamp(printed.expires_on)
            .map_err(|error| failed(format!("expires_on: {error}")))?;
        Ok(AccessToken::new(printed.token, expires_on))
    }
}

/// A token may go over https, and over http to a loopback address; nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token is not sent to {0}: neither https nor a loopback address")]
pub struct InsecureEndpoint(pub String);

/// No token could be had.
#[derive(Debug, thiserror::Error)]
#[error("no token for {scope}")]
pub struct NoToken {
    /// The scope that was asked for.
    pub scope: Cow<'static, str>,
    /// Whether the identity was refused; otherwise trying again later may help.
    pub denied: bool,
    #[source]
    source: Error,
}

/// Whether a token may be sent there.
pub fn may_carry_token(url: &Url) -> bool {
    let loopback = url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// Attaches a token to every request. azure_core's own policy refuses plain http, which the local system speaks on
/// loopback.
#[derive(Debug)]
pub struct BearerPolicy {
    credential: Arc<dyn TokenCredential>,
    scope: Cow<'static, str>,
    current: RwLock<Option<AccessToken>>,
    renewal: Mutex<()>,
}

impl BearerPolicy {
    /// Attaches tokens of this credential for this scope.
    pub fn new(credential: Arc<dyn TokenCredential>, scope: impl Into<Cow<'static, str>>) -> Self {
        BearerPolicy { credential, scope: scope.into(), current: RwLock::new(None), renewal: Mutex::new(()) }
    }

    /// A token that lives long enough. One caller renews it; the others go on with the old one while it lives, and
    /// wait otherwise.
    ///
    /// # Errors
    /// [`NoToken`].
    pub async fn token(&self) -> Result<AccessToken, NoToken> {
        let old = match self.living(RENEW) {
            Some(token) => return Ok(token),
            None => self.living(LAST),
        };
        let guard = match old {
            Some(old) => match self.renewal.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(old),
            },
            None => self.renewal.lock().await,
        };
        if let Some(token) = self.living(RENEW) {
            return Ok(token);
        }
        let renewed = self.credential.get_token(&[&*self.scope], None).await;
        let result = match renewed {
            Ok(token) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                Ok(token)
            }
            Err(source) => self.living(LAST).ok_or_else(|| {
                let denied = status_in(&source).is_some_and(|status| (400..500).contains(&status) && status != 429);
                NoToken { scope: self.scope.clone(), denied, source }
            }),
        };
        drop(guard);
        result
    }

    fn living(&self, rest: Duration) -> Option<AccessToken> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|token| token.expires_on > OffsetDateTime::now_utc() + rest).cloned()
    }
}

#[async_trait]
impl Policy for BearerPolicy {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        if !may_carry_token(request.url()) {
            let origin = request.url().origin().ascii_serialization();
            return Err(Error::new(ErrorKind::Credential, InsecureEndpoint(origin)));
        }
        let token = self.token().await.map_err(|error| Error::new(ErrorKind::Credential, error))?;
        request.insert_header(AUTHORIZATION, format!("Bearer {}", token.token.secret()));
        let response = next[0].send(ctx, request, &next[1..]).await?;
        if response.status() == StatusCode::Unauthorized {
            // It may have been revoked: the next request asks for a new one.
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(response)
    }
}

/// The HTTP status that an error stems from, if it stems from one.
fn status_in(error: &Error) -> Option<u16> {
    if let Some(status) = error.http_status() {
        return Some(status.into());
    }
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(status) = error.downcast_ref::<Error>().and_then(Error::http_status) {
            return Some(status.into());
        }
        source = error.source();
    }
    None
}

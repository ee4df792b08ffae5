//! Takes a request through a program.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use uuid::Uuid;

use crate::compile::Program;
use crate::context::{Context, LastError};
use crate::expression::{Failure, Value};
use crate::jwt::{self, Keys};
use crate::step::{Cors, Exists, Limit, SetHeader, Step, Template, TokenPlace, ValidateJwt, header_value};

/// Why a backend gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It did not answer in time.
    #[error("the backend did not answer in time")]
    Timeout,
    /// It cannot be reached, or broke off.
    #[error("the backend cannot be reached: {0}")]
    Connection(String),
}

/// What is outside of a program.
pub trait World: Sync {
    /// Seconds since 1970.
    fn now(&self) -> i64;

    /// A random id.
    fn new_id(&self) -> Uuid;

    /// The keys of an issuer, by the URL of its OpenID configuration. A key that is not among those remembered may be
    /// new: `wanted` names it.
    fn keys(&self, openid_config: &str, wanted: Option<&str>)
    -> impl Future<Output = Result<Arc<Keys>, String>> + Send;

    /// A token of the gateway's own identity for a resource.
    fn identity_token(
        &self,
        resource: &str,
        client_id: Option<&str>,
    ) -> impl Future<Output = Result<String, String>> + Send;

    /// Sends a request to a backend, once.
    fn forward(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Bytes>, ForwardError>> + Send;

    /// Waits, between two attempts of a `retry`.
    fn wait(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// Takes what the policy `trace` says.
    fn trace(&self, source: &str, severity: &str, message: &str) {
        let _ = (source, severity, message);
    }
}

fn answer(cx: Context<'_>) -> Response<Bytes> {
    let mut response = cx.response.unwrap_or_else(|| Response::new(Bytes::new()));
    response.headers_mut().extend(cx.always);
    response
}

/// Where a request goes after a step.
enum Flow {
    On,
    /// The response is the answer.
    Answered,
}

/// A request that is taken out of its way, with the status that the answer begins with.
struct Thrown {
    status: StatusCode,
    error: LastError,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Thrown {
    fn new(status: StatusCode, source: &str, reason: &str, message: impl Into<String>) -> Self {
        let error = LastError { source: source.to_owned(), reason: reason.to_owned(), message: message.into() };
        Thrown { status, error, headers: Vec::new() }
    }
}

type Stepped = Result<Flow, Thrown>;

impl Program {
    /// Takes a request through the sections. Its URI's path is the one below the API's.
    ///
    /// Every outcome is an answer: what cannot be done is one of those that the documents or API Management define.
    pub async fn run<W: World>(&self, request: Request<Bytes>, world: &W) -> Response<Bytes> {
        let mut cx = self.context(request, world);
        if let Err(thrown) = self.sections(&mut cx, world).await {
            self.fail(&mut cx, thrown, world).await;
        }
        answer(cx)
    }

    /// Answers a request that cannot be taken through the sections, as one that fits no operation: by `on-error` alone,
    /// which sees an error of the source `configuration`.
    pub async fn refuse<W: World>(
        &self,
        request: Request<Bytes>,
        status: StatusCode,
        reason: &str,
        message: &str,
        world: &W,
    ) -> Response<Bytes> {
        let mut cx = self.context(request, world);
        self.fail(&mut cx, Thrown::new(status, "configuration", reason, message), world).await;
        answer(cx)
    }

    fn context<W: World>(&self, request: Request<Bytes>, world: &W) -> Context<'_> {
        Context {
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            request,
            variables: BTreeMap::new(),
            backend: self.service_url.as_deref(),
            response: None,
            reason: None,
            error: None,
            always: HeaderMap::new(),
            id: world.new_id(),
            second_id: world.new_id(),
        }
    }

    async fn fail<'p, W: World>(&'p self, cx: &mut Context<'p>, thrown: Thrown, world: &W) {
        world.trace(&thrown.error.source, "error", &format!("{}: {}", thrown.error.reason, thrown.error.message));
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = thrown.status;
        response.headers_mut().extend(thrown.headers);
        cx.reason = None;
        cx.response = Some(response);
        cx.error = Some(thrown.error);
        if let Err(again) = self.steps(&self.on_error, cx, world).await {
            world.trace(&again.error.source, "error", &format!("in on-error: {}", again.error.message));
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            cx.response = Some(response);
        }
    }

    async fn sections<'p, W: World>(&'p self, cx: &mut Context<'p>, world: &W) -> Result<(), Thrown> {
        for section in [&self.inbound, &self.backend, &self.outbound] {
            if let Flow::Answered = self.steps(section, cx, world).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Boxed, since branches hold steps again.
    fn steps<'f, 'p: 'f, W: World>(
        &'p self,
        steps: &'p [Step],
        cx: &'f mut Context<'p>,
        world: &'f W,
    ) -> Pin<Box<dyn Future<Output = Stepped> + Send + 'f>> {
        Box::pin(async move {
            for step in steps {
                if let Flow::Answered = self.step(step, cx, world).await? {
                    return Ok(Flow::Answered);
                }
            }
            Ok(Flow::On)
        })
    }

    async fn step<'p, W: World>(&'p self, step: &'p Step, cx: &mut Context<'p>, world: &W) -> Stepped {
        let name = step.name();
        let failed = |failure: Failure| {
            Thrown::new(StatusCode::INTERNAL_SERVER_ERROR, name, "ExpressionValueEvaluationFailure", failure.0)
        };
        match step {
            Step::Choose { when, otherwise } => {
                for (condition, steps) in when {
                    if condition.is_true(cx).map_err(failed)? {
                        return self.steps(steps, cx, world).await;
                    }
                }
                return self.steps(otherwise, cx, world).await;
            }
            Step::Retry { condition, count, interval, first_fast, steps } => {
                let mut attempt = 0;
                loop {
                    let done = self.steps(steps, cx, world).await?;
                    let again = attempt < *count && condition.is_true(cx).map_err(failed)?;
                    if !again || matches!(done, Flow::Answered) {
                        return Ok(done);
                    }
                    if !(*first_fast && attempt == 0) {
                        world.wait(*interval).await;
                    }
                    attempt += 1;
                }
            }
            Step::ValidateJwt(check) => {
                let token = authenticate(check, cx, world).await.map_err(|refusal| {
                    let message = format!("{}: {}", check.message, refusal.why);
                    Thrown::new(check.status, name, refusal.reason, message)
                })?;
                if let Some(variable) = &check.output {
                    cx.variables.insert(variable, Value::Token(Arc::new(token)));
                }
            }
            Step::Cors(cors) => return Ok(apply_cors(cors, cx)),
            Step::RateLimit(limit) | Step::Quota(limit) => {
                self.count(limit, matches!(step, Step::Quota(_)), cx, world.now()).map_err(|error| match error {
                    Counted::Failed(failure) => failed(failure),
                    Counted::Over(thrown) => thrown,
                })?;
            }
            Step::SetVariable { name, value } => {
                let value = match value {
                    Template::Text(text) => Value::Text(text.clone()),
                    Template::Expression(expression) => expression.evaluate(cx).map_err(failed)?,
                };
                cx.variables.insert(name, value);
            }
            Step::SetHeader(set) => set_header(set, cx).map_err(failed)?,
            Step::SetBody(body) => {
                let body = Bytes::from(text(body, cx).map_err(failed)?);
                match &mut cx.response {
                    Some(response) => *response.body_mut() = body,
                    None => *cx.request.body_mut() = body,
                }
            }
            Step::SetStatus { code, reason } => {
                *cx.response.get_or_insert_with(Default::default).status_mut() = *code;
                cx.reason = Some(reason.clone()).filter(|reason| !reason.is_empty());
            }
            Step::ReturnResponse(steps) => {
                cx.response = Some(Response::new(Bytes::new()));
                cx.reason = None;
                self.steps(steps, cx, world).await?;
                return Ok(Flow::Answered);
            }
            Step::Backend(url) => cx.backend = Some(url),
            Step::RewriteUri { template, copy_unmatched } => {
                cx.path = text(template, cx).map_err(failed)?;
                if !copy_unmatched {
                    cx.query = None;
                }
            }
            Step::ManagedIdentity { resource, client_id } => {
                let token = world.identity_token(resource, client_id.as_deref()).await;
                let token = token.map_err(|why| {
                    Thrown::new(StatusCode::INTERNAL_SERVER_ERROR, name, "ManagedIdentityTokenFailure", why)
                })?;
                let value = header_value(&format!("Bearer {token}")).map_err(|why| failed(Failure(why)))?;
                cx.request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            Step::Forward { timeout, fail_on_status } => {
                let request = outgoing(cx).map_err(|why| {
                    Thrown::new(StatusCode::INTERNAL_SERVER_ERROR, name, "BackendRequestInvalid", why)
                })?;
                let response = world.forward(request, *timeout).await.map_err(|error| match &error {
                    ForwardError::Timeout => {
                        Thrown::new(StatusCode::INTERNAL_SERVER_ERROR, name, "Timeout", error.to_string())
                    }
                    ForwardError::Connection(_) => Thrown::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        name,
                        "BackendConnectionFailure",
                        error.to_string(),
                    ),
                })?;
                let status = response.status();
                if *fail_on_status && (status.is_client_error() || status.is_server_error()) {
                    return Err(Thrown::new(status, name, "BackendResponseStatus", status.to_string()));
                }
                cx.reason = None;
                cx.response = Some(without_hops(response));
            }
            Step::Trace { source, severity, message } => {
                world.trace(source, severity, &text(message, cx).map_err(failed)?);
            }
        }
        Ok(Flow::On)
    }

    fn count(&self, limit: &Limit, quota: bool, cx: &Context<'_>, now: i64) -> Result<(), Counted> {
        let key = text(&limit.key, cx).map_err(Counted::Failed)?;
        let Err(seconds) = self.counters.call(limit.id, key, limit.calls, limit.period, now) else { return Ok(()) };
        let mut thrown = if quota {
            let why = format!("Out of call volume quota. Quota will be replenished in {seconds} seconds.");
            Thrown::new(StatusCode::FORBIDDEN, "quota-by-key", "QuotaExceeded", why)
        } else {
            let why = format!("Rate limit is exceeded. Try again in {seconds} seconds.");
            Thrown::new(StatusCode::TOO_MANY_REQUESTS, "rate-limit-by-key", "RateLimitExceeded", why)
        };
        if let Some(name) = &limit.retry_after {
            thrown.headers.push((name.clone(), HeaderValue::from(seconds)));
        }
        Err(Counted::Over(thrown))
    }
}

enum Counted {
    Failed(Failure),
    Over(Thrown),
}

fn text(template: &Template, cx: &Context<'_>) -> Result<String, Failure> {
    match template {
        Template::Text(text) => Ok(text.clone()),
        Template::Expression(expression) => Ok(expression.evaluate(cx)?.text()),
    }
}

async fn authenticate<W: World>(check: &ValidateJwt, cx: &Context<'_>, world: &W) -> Result<jwt::Token, jwt::Refusal> {
    let missing = |why: &str| jwt::Refusal { reason: "TokenNotPresent", why: why.to_owned() };
    let token = match &check.place {
        TokenPlace::Header { name, scheme } => {
            let mut values = cx.request.headers().get_all(name).iter();
            let value = values.next().ok_or_else(|| missing("there is none"))?;
            if values.next().is_some() {
                return Err(missing("there is more than one"));
            }
            let value = value.to_str().map_err(|_| missing("it is no text"))?;
            match scheme {
                Some(scheme) => match value.split_once(' ') {
                    Some((given, token)) if given.eq_ignore_ascii_case(scheme) => token.trim().to_owned(),
                    _ => return Err(missing(&format!("it is not of the scheme {scheme}"))),
                },
                None => value.split_once(' ').map_or(value, |(_, token)| token.trim()).to_owned(),
            }
        }
        TokenPlace::Query(name) => {
            let query = cx.query.as_deref().unwrap_or_default();
            let found = query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| key == name));
            found.map(|(_, value)| value.to_owned()).ok_or_else(|| missing("there is none"))?
        }
    };
    let wanted = jwt::key_id(&token);
    let mut known = Vec::new();
    for url in &check.openid_configs {
        match world.keys(url, wanted.as_deref()).await {
            Ok(keys) => known.push(keys),
            Err(why) => {
                let why = format!("the keys of {url} cannot be read: {why}");
                return Err(jwt::Refusal { reason: "OpenIdConfigurationUnavailable", why });
            }
        }
    }
    let issuers: Vec<&Keys> = known.iter().map(Arc::as_ref).collect();
    jwt::verify(&token, &issuers, &check.check, world.now())
}

/// Answers a preflight, ends what comes from elsewhere, and lets the rest go on.
fn apply_cors(cors: &Cors, cx: &mut Context<'_>) -> Flow {
    let Some(origin) = cx.request.headers().get(header::ORIGIN).cloned() else { return Flow::On };
    let preflight =
        cx.method() == Method::OPTIONS && cx.request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let allowed = match &cors.origins {
        None => true,
        Some(origins) => {
            origins.iter().any(|one| one.trim_end_matches('/').as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        }
    };
    if !allowed {
        if cors.terminate {
            cx.response = Some(Response::new(Bytes::new()));
            return Flow::Answered;
        }
        return Flow::On;
    }
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            cx.always.insert(name, value);
        }
    };
    match cors.origins {
        Some(_) => set(header::ACCESS_CONTROL_ALLOW_ORIGIN, &String::from_utf8_lossy(origin.as_bytes())),
        None => set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    }
    set(header::VARY, "Origin");
    if cors.credentials {
        set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
    }
    if preflight {
        set(header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods.join(", "));
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.headers.join(", "));
        set(header::ACCESS_CONTROL_MAX_AGE, &cors.max_age_seconds.to_string());
        cx.response = Some(Response::new(Bytes::new()));
        return Flow::Answered;
    }
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.exposed.join(", "));
    Flow::On
}

fn set_header(set: &SetHeader, cx: &mut Context<'_>) -> Result<(), Failure> {
    let mut values = Vec::with_capacity(set.values.len());
    for value in &set.values {
        values.push(header_value(&text(value, cx)?).map_err(Failure)?);
    }
    let headers = match &mut cx.response {
        Some(response) => response.headers_mut(),
        None => cx.request.headers_mut(),
    };
    match set.exists {
        Exists::Skip if headers.contains_key(&set.name) => return Ok(()),
        Exists::Override | Exists::Delete => {
            headers.remove(&set.name);
        }
        Exists::Append | Exists::Skip => {}
    }
    for value in values {
        headers.append(set.name.clone(), value);
    }
    Ok(())
}

/// Headers that concern one connection, or that whoever sends the request sets.
const HOPS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOPS.iter().chain(&named) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

fn without_hops(mut response: Response<Bytes>) -> Response<Bytes> {
    strip_hops(response.headers_mut());
    response
}

/// The request as the backend gets it.
fn outgoing(cx: &Context<'_>) -> Result<Request<Bytes>, String> {
    let base = cx.backend.ok_or("no backend was chosen")?;
    let query = cx.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{}{}{query}", base.trim_end_matches('/'), cx.path);
    let mut request = Request::new(cx.request.body().clone());
    *request.method_mut() = cx.method().clone();
    *request.uri_mut() = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
    *request.headers_mut() = cx.request.headers().clone();
    strip_hops(request.headers_mut());
    Ok(request)
}

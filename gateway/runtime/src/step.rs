//! What a policy document says, as steps.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::expression::Expression;

/// A text, or what gives one.
#[derive(Debug)]
pub(crate) enum Template {
    Text(String),
    Expression(Expression),
}

/// What to do where a header is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exists {
    Override,
    Skip,
    Append,
    Delete,
}

#[derive(Debug)]
pub(crate) struct SetHeader {
    pub(crate) name: HeaderName,
    pub(crate) exists: Exists,
    pub(crate) values: Vec<Template>,
}

/// Who is let in.
#[derive(Debug)]
pub(crate) struct ValidateJwt {
    pub(crate) place: TokenPlace,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) check: TokenCheck,
    pub(crate) openid_configs: Vec<String>,
    pub(crate) output: Option<String>,
}

#[derive(Debug)]
pub(crate) enum TokenPlace {
    Header { name: HeaderName, scheme: Option<String> },
    Query(String),
}

/// What a token has to say.
#[derive(Debug, Default)]
pub(crate) struct TokenCheck {
    pub(crate) audiences: Vec<String>,
    pub(crate) issuers: Vec<String>,
    pub(crate) claims: Vec<RequiredClaim>,
    pub(crate) require_expiration: bool,
    pub(crate) clock_skew_seconds: i64,
}

#[derive(Debug)]
pub(crate) struct RequiredClaim {
    pub(crate) name: String,
    pub(crate) all: bool,
    pub(crate) values: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Cors {
    /// `None` for any.
    pub(crate) origins: Option<Vec<String>>,
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) exposed: Vec<String>,
    pub(crate) credentials: bool,
    pub(crate) max_age_seconds: u64,
    pub(crate) terminate: bool,
}

/// A limit on the calls of a key.
#[derive(Debug)]
pub(crate) struct Limit {
    /// Which counter it is.
    pub(crate) id: usize,
    pub(crate) calls: u64,
    pub(crate) period: Duration,
    pub(crate) key: Template,
    pub(crate) retry_after: Option<HeaderName>,
}

#[derive(Debug)]
pub(crate) enum Step {
    ValidateJwt(ValidateJwt),
    Cors(Cors),
    RateLimit(Limit),
    Quota(Limit),
    Choose { when: Vec<(Expression, Vec<Step>)>, otherwise: Vec<Step> },
    SetVariable { name: String, value: Template },
    SetHeader(SetHeader),
    SetBody(Template),
    SetStatus { code: StatusCode, reason: String },
    Backend(String),
    RewriteUri { template: Template, copy_unmatched: bool },
    ManagedIdentity { resource: String, client_id: Option<String> },
    ReturnResponse(Vec<Step>),
    Forward { timeout: Duration, fail_on_status: bool },
    Retry { condition: Expression, count: u64, interval: Duration, first_fast: bool, steps: Vec<Step> },
    Trace { source: String, severity: String, message: Template },
}

impl Step {
    /// The policy's name in a document.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Step::ValidateJwt(_) => "validate-jwt",
            Step::Cors(_) => "cors",
            Step::RateLimit(_) => "rate-limit-by-key",
            Step::Quota(_) => "quota-by-key",
            Step::Choose { .. } => "choose",
            Step::SetVariable { .. } => "set-variable",
            Step::SetHeader(_) => "set-header",
            Step::SetBody(_) => "set-body",
            Step::SetStatus { .. } => "set-status",
            Step::Backend(_) => "set-backend-service",
            Step::RewriteUri { .. } => "rewrite-uri",
            Step::ManagedIdentity { .. } => "authentication-managed-identity",
            Step::ReturnResponse(_) => "return-response",
            Step::Forward { .. } => "forward-request",
            Step::Retry { .. } => "retry",
            Step::Trace { .. } => "trace",
        }
    }
}

/// A value as a header holds it.
pub(crate) fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} cannot stand in a header"))
}

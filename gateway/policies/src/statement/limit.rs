//! How much, from where, and what at all.

use super::allowed;
use crate::element::{Element, Fault};
use crate::expression::Expression;
use crate::section::sealed::Statement;
use crate::value::Value;

/// The largest body that API Management looks into, in bytes.
const MAX_INSPECTED_BYTES: u64 = 102_400;
/// The longest period of a rate limit, and the shortest of a quota, in seconds.
const PERIOD_SECONDS: u64 = 300;
const YEAR_SECONDS: u64 = 366 * 24 * 3600;
const MAX_CALLS: u64 = 1_000_000_000;

/// `rate-limit-by-key`: at most so many calls in a sliding period, for each key. The tier Consumption does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitByKey {
    /// How many.
    pub calls: u64,
    /// In how long, 1 to 300 s.
    pub renewal_seconds: u64,
    /// Whose calls are counted together.
    pub key: Expression,
}

impl Statement for RateLimitByKey {
    fn element(self) -> Element {
        Element::new("rate-limit-by-key")
            .number("calls", self.calls, 1, MAX_CALLS)
            .number("renewal-period", self.renewal_seconds, 1, PERIOD_SECONDS)
            .attribute("counter-key", self.key)
            .attribute("retry-after-header-name", "Retry-After")
    }
}
allowed!(RateLimitByKey: Inbound);

/// `quota-by-key`: at most so many calls in a long period, for each key. The tier Consumption does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaByKey {
    /// How many.
    pub calls: u64,
    /// In how long, at least 300 s.
    pub renewal_seconds: u64,
    /// Whose calls are counted together.
    pub key: Expression,
}

impl Statement for QuotaByKey {
    fn element(self) -> Element {
        Element::new("quota-by-key")
            .number("calls", self.calls, 1, MAX_CALLS)
            .number("renewal-period", self.renewal_seconds, PERIOD_SECONDS, YEAR_SECONDS)
            .attribute("counter-key", self.key)
    }
}
allowed!(QuotaByKey: Inbound);

/// `rate-limit`: at most so many calls in a sliding period, for each subscription of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitPerSubscription {
    /// How many.
    pub calls: u64,
    /// In how long, 1 to 300 s.
    pub renewal_seconds: u64,
}

impl Statement for RateLimitPerSubscription {
    fn element(self) -> Element {
        Element::new("rate-limit").number("calls", self.calls, 1, MAX_CALLS).number(
            "renewal-period",
            self.renewal_seconds,
            1,
            PERIOD_SECONDS,
        )
    }
}
allowed!(RateLimitPerSubscription: Inbound);

/// `quota`: at most so many calls in a long period, for each subscription of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaPerSubscription {
    /// How many.
    pub calls: u64,
    /// In how long, at least 300 s.
    pub renewal_seconds: u64,
}

impl Statement for QuotaPerSubscription {
    fn element(self) -> Element {
        Element::new("quota").number("calls", self.calls, 1, MAX_CALLS).number(
            "renewal-period",
            self.renewal_seconds,
            PERIOD_SECONDS,
            YEAR_SECONDS,
        )
    }
}
allowed!(QuotaPerSubscription: Inbound);

/// `cors`: which pages may call. It answers preflights itself, and stands once in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    origins: Vec<Value>,
    methods: Vec<&'static str>,
    headers: Vec<&'static str>,
    exposed: Vec<&'static str>,
    credentials: bool,
    max_age_seconds: u64,
}

impl Cors {
    /// Pages of these origins.
    pub fn origins(origins: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Cors {
            origins: origins.into_iter().map(Into::into).collect(),
            methods: Vec::new(),
            headers: Vec::new(),
            exposed: Vec::new(),
            credentials: false,
            max_age_seconds: 600,
        }
    }

    /// With these methods.
    #[must_use]
    pub fn methods(self, methods: impl Into<Vec<&'static str>>) -> Self {
        Cors { methods: methods.into(), ..self }
    }

    /// With these request headers.
    #[must_use]
    pub fn headers(self, headers: impl Into<Vec<&'static str>>) -> Self {
        Cors { headers: headers.into(), ..self }
    }

    /// These response headers may be read.
    #[must_use]
    pub fn exposed(self, headers: impl Into<Vec<&'static str>>) -> Self {
        Cors { exposed: headers.into(), ..self }
    }

    /// With cookies: origins have to be named for that.
    #[must_use]
    pub fn credentials(self) -> Self {
        Cors { credentials: true, ..self }
    }
}

impl Statement for Cors {
    fn element(self) -> Element {
        let any = self.origins.contains(&Value::from("*"));
        let open = (any && self.credentials).then_some(Fault::Conflict("any origin with credentials is nobody's wish"));
        let nobody = self.origins.is_empty().then_some(Fault::Empty("the list of origins"));
        let methods = self.methods.into_iter().map(|method| Element::new("method").text(method));
        let allowed =
            Element::new("allowed-methods").number("preflight-result-max-age", self.max_age_seconds, 0, 86_400);
        Element::new("cors")
            .flag("allow-credentials", self.credentials)
            .flag("terminate-unmatched-request", true)
            .fault(open)
            .fault(nobody)
            .list("allowed-origins", "origin", self.origins)
            .child(allowed.children(methods))
            .list("allowed-headers", "header", self.headers)
            .list("expose-headers", "header", self.exposed)
    }
}
allowed!(Cors: Inbound);

/// What happens to content that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is refused.
    Prevent,
    /// It is noted.
    Detect,
    /// Nothing.
    Ignore,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Prevent => "prevent",
            Action::Detect => "detect",
            Action::Ignore => "ignore",
        }
    }
}

/// `validate-content`: size and media types. It goes by the header Content-Length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateContent {
    /// The largest body, in bytes, at most 102,400.
    pub max_bytes: u64,
    /// What happens to a larger one.
    pub oversized: Action,
    /// What happens to another media type.
    pub unspecified: Action,
    /// Media types whose content is looked at, as JSON.
    pub json: Vec<(&'static str, Action)>,
}

impl Statement for ValidateContent {
    fn element(self) -> Element {
        let contents = self.json.into_iter().map(|(media_type, action)| {
            Element::new("content")
                .attribute("type", media_type)
                .attribute("validate-as", "json")
                .attribute("action", action.as_str())
        });
        Element::new("validate-content")
            .attribute("unspecified-content-type-action", self.unspecified.as_str())
            .number("max-size", self.max_bytes, 1, MAX_INSPECTED_BYTES)
            .attribute("size-exceeded-action", self.oversized.as_str())
            .children(contents)
    }
}
allowed!(ValidateContent: Inbound, Outbound);

/// What happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// It may be asked for.
    Allow,
    /// It is left out.
    Remove,
    /// The request is refused.
    Reject,
    /// Nothing.
    Ignore,
}

/// `validate-graphql-request`: size, depth and fields, for an API of the type GraphQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateGraphqlRequest {
    /// The largest body, in bytes, at most 102,400.
    pub max_bytes: u64,
    /// How deep fields may be nested.
    pub max_depth: u64,
    /// What happens to the fields of a path: `/__*` is introspection, `/Mutation/placeOrder` a field.
    pub rules: Vec<(&'static str, RuleAction)>,
}

impl Statement for ValidateGraphqlRequest {
    fn element(self) -> Element {
        let rules = self.rules.into_iter().map(|(path, action)| {
            let action = match action {
                RuleAction::Allow => "allow",
                RuleAction::Remove => "remove",
                RuleAction::Reject => "reject",
                RuleAction::Ignore => "ignore",
            };
            Element::new("rule").attribute("path", path).attribute("action", action)
        });
        let rules: Vec<_> = rules.collect();
        let element = Element::new("validate-graphql-request")
            .attribute("error-variable-name", "graphqlErrors")
            .number("max-size", self.max_bytes, 1, MAX_INSPECTED_BYTES)
            .number("max-depth", self.max_depth, 1, 64);
        if rules.is_empty() { element } else { element.child(Element::new("authorize").children(rules)) }
    }
}
allowed!(ValidateGraphqlRequest: Inbound);

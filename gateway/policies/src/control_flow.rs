//! What the gateway does with every request, and with those of a service's API.

use crate::document::{GlobalPolicy, Policy, Tier};
use crate::expression::Expression;
use crate::fragments;
use crate::problem::{TRACE_ID, problem};
use crate::section::{Inbound, Section, Steps};
use crate::statement::{
    AuthenticationManagedIdentity, Choose, Cors, ForwardRequest, IncludeFragment, QuotaByKey, RateLimitByKey,
    RewriteUri, SetBackendService, SetHeader, ValidateJwt,
};
use crate::value::NamedValue;

/// Where the issuer of the clients' tokens publishes its OpenID configuration.
pub const OPENID_CONFIG: NamedValue = NamedValue("skein-openid-config");
/// Who issues the clients' tokens.
pub const ISSUER: NamedValue = NamedValue("skein-issuer");
/// Whom the clients' tokens are meant for: this gateway.
pub const AUDIENCE: NamedValue = NamedValue("skein-audience");
/// Whom the gateway's own tokens are meant for: the function apps.
pub const APP_AUDIENCE: NamedValue = NamedValue("skein-app-audience");
/// The origin of the pages that may call.
pub const SITE_ORIGIN: NamedValue = NamedValue("skein-site-origin");

/// How far the clocks of issuer and gateway may differ, in seconds.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// How long a backend may take, in seconds; in the tier Consumption the gateway itself gives up after 30.
fn backend_timeout(tier: Tier) -> u64 {
    match tier {
        Tier::Consumption => 30,
        Tier::StandardV2 => 240,
    }
}

/// The gateway's own policy, the outermost scope of every API.
///
/// A request is forwarded once: only a client knows whether its mutation carries a `commandId` and may be repeated.
pub fn gateway(tier: Tier) -> GlobalPolicy {
    GlobalPolicy::new(ForwardRequest::new(backend_timeout(tier)))
        .inbound(|steps| {
            steps
                .then(IncludeFragment::of(&fragments::trace()))
                .then(
                    Cors::origins([SITE_ORIGIN])
                        .methods(["GET", "POST"])
                        .headers(["accept", "authorization", "content-type", "traceparent"])
                        .exposed(["x-trace-id"]),
                )
                .then(IncludeFragment::of(&fragments::strip_headers()))
        })
        .outbound(|steps| {
            steps
                .then(SetHeader::delete("Server"))
                .then(SetHeader::delete("X-Powered-By"))
                .then(SetHeader::set("Cache-Control", "no-store"))
                .then(SetHeader::set("X-Content-Type-Options", "nosniff"))
                .then(SetHeader::set("x-trace-id", Expression::single(TRACE_ID)))
        })
        .on_error(|steps| steps.then(IncludeFragment::of(&fragments::on_error())))
}

/// What happens to a request of a service's GraphQL API: who asks is proved, limits hold, and the kind of the operation
/// chooses between the command app and the query app. Whatever is not certain is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFlow {
    command_backend: String,
    query_backend: String,
    calls_per_minute: u64,
    calls_per_day: Option<u64>,
    by_post_alone: bool,
}

impl ControlFlow {
    /// The flow between these two backends, by their names at the gateway.
    pub fn between(command_backend: impl Into<String>, query_backend: impl Into<String>) -> Self {
        ControlFlow {
            command_backend: command_backend.into(),
            query_backend: query_backend.into(),
            calls_per_minute: 600,
            calls_per_day: None,
            by_post_alone: false,
        }
    }

    /// How many requests a subject may send in a minute [600]. The tier Consumption cannot count by subject.
    #[must_use]
    pub fn calls_per_minute(self, calls: u64) -> Self {
        ControlFlow { calls_per_minute: calls, ..self }
    }

    /// How many requests a subject may send in a day [any number].
    #[must_use]
    pub fn calls_per_day(self, calls: u64) -> Self {
        ControlFlow { calls_per_day: Some(calls), ..self }
    }

    /// Queries, too, have to be sent by POST. The API of the type GraphQL says so, since nowhere is it documented that API
    /// Management passes a GET to one on.
    #[must_use]
    pub fn by_post_alone(self) -> Self {
        ControlFlow { by_post_alone: true, ..self }
    }

    /// Who asks is proved, and limits hold.
    fn admitted(&self, section: Section<Inbound>, tier: Tier) -> Section<Inbound> {
        let counts = tier == Tier::StandardV2;
        let subject = || Expression::single("((Jwt)context.Variables[\"token\"]).Subject");
        let rate = RateLimitByKey { calls: self.calls_per_minute, renewal_seconds: 60, key: subject() };
        let quota = self.calls_per_day.map(|calls| QuotaByKey { calls, renewal_seconds: 86_400, key: subject() });
        let authenticated = ValidateJwt::bearer(OPENID_CONFIG)
            .audience(AUDIENCE)
            .issuer(ISSUER)
            .clock_skew(CLOCK_SKEW_SECONDS)
            .output("token");
        section.then(authenticated).then_if(counts.then_some(rate)).then_if(quota.filter(|_| counts))
    }

    /// The policy of the API where clients learn how to connect for subscriptions: the query app tells them.
    pub fn subscriptions(&self, tier: Tier) -> Policy {
        Policy::new().inbound(|section| {
            self.admitted(section, tier)
                .then(IncludeFragment::of(&fragments::principal()))
                .then(SetBackendService::Backend(self.query_backend.clone()))
                .then(RewriteUri { template: "/negotiate".into(), copy_unmatched_params: false })
                .then(AuthenticationManagedIdentity::for_resource(APP_AUDIENCE))
        })
    }

    /// The policy of the service's API.
    pub fn policy(&self, tier: Tier) -> Policy {
        let is = |kind: &str| Expression::single(format!("(string)context.Variables[\"kind\"] == \"{kind}\""));
        let get = "context.Request.Method == \"GET\"";
        let is_get =
            |kind: &str| Expression::single(format!("{get} && (string)context.Variables[\"kind\"] == \"{kind}\""));
        let to = |backend: &str| SetBackendService::Backend(backend.to_owned());
        let bad = |detail: &str| problem(400, "Bad Request", detail);
        let uncertain = "the request is no GraphQL request, or it is not certain which operation it asks for";
        let long = format!("the query of a URL has at most {} characters", fragments::MAX_QUERY_CHARS);
        let nothing = "the request has no document, or names none of its operations";
        let only_post = || {
            let refusal = problem(405, "Method Not Allowed", "this graph is asked by POST").header("Allow", "POST");
            Choose::when(Expression::single("context.Request.Method != \"POST\""), refusal)
        };
        let rewritten = |copy| RewriteUri { template: "/graphql".into(), copy_unmatched_params: copy };
        Policy::new().inbound(|section| {
            self.admitted(section, tier)
                .then_if(self.by_post_alone.then(only_post))
                .then(IncludeFragment::of(&fragments::graphql_http()))
                .then(IncludeFragment::of(&fragments::graphql_kind()))
                .then(
                    Choose::when(is_get("large"), problem(414, "URI Too Long", &long))
                        .or_when(is("large"), Steps::new().then(fragments::too_large()))
                        .or_when(
                            is_get("mutation"),
                            Steps::new().then(
                                problem(405, "Method Not Allowed", "a GET reads: send mutations by POST")
                                    .header("Allow", "POST"),
                            ),
                        )
                        .or_when(is("mutation"), Steps::new().then(to(&self.command_backend)))
                        .or_when(is("query"), Steps::new().then(to(&self.query_backend)))
                        .or_when(is("subscription"), Steps::new().then(bad("subscriptions are not served here")))
                        .or_when(is("none"), Steps::new().then(problem(422, "Unprocessable Content", nothing)))
                        .otherwise(bad(uncertain)),
                )
                .then(IncludeFragment::of(&fragments::principal()))
                .then(SetHeader::set("X-Skein-Kind", Expression::single("(string)context.Variables[\"kind\"]")))
                .then(Choose::when(Expression::single(get), rewritten(true)).otherwise(rewritten(false)))
                .then(AuthenticationManagedIdentity::for_resource(APP_AUDIENCE))
        })
    }
}

/// The named values that all of this needs, in the order of their names.
pub const NAMED_VALUES: [NamedValue; 5] = [APP_AUDIENCE, AUDIENCE, ISSUER, OPENID_CONFIG, SITE_ORIGIN];

/// The shared fragments, printed: name, description, document.
///
/// # Errors
/// A fragment that the tier does not take.
pub fn fragments(tier: Tier) -> Result<Vec<(&'static str, &'static str, String)>, crate::PolicyError> {
    let mut printed = Vec::new();
    for fragment in [
        fragments::graphql_http(),
        fragments::graphql_kind(),
        fragments::principal(),
        fragments::strip_headers(),
        fragments::trace(),
    ] {
        printed.push((fragment.name, fragment.description, fragment.print(tier)?));
    }
    let fragment = fragments::on_error();
    printed.push((fragment.name, fragment.description, fragment.print(tier)?));
    printed.sort_unstable();
    Ok(printed)
}

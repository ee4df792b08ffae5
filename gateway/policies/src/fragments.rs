//! What the policies of several APIs share.

use crate::document::Fragment;
use crate::expression::Expression;
use crate::problem::{MEDIA_TYPE, TRACE_ID, problem, problem_body};
use crate::section::{Inbound, OnError, Steps};
use crate::statement::{Choose, ReturnResponse, SetBody, SetHeader, SetStatus, SetVariable};

/// Headers that only the platform or the gateway may set, or that concern the client's connection alone.
pub const INTERNAL_HEADERS: [&str; 22] = [
    "Cookie",
    "Forwarded",
    "X-ARR-ClientCert",
    "X-ARR-LOG-ID",
    "X-ARR-SSL",
    "X-Azure-FDID",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Functions-ClientId",
    "X-Functions-Key",
    "X-HTTP-Method-Override",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-ID",
    "X-MS-CLIENT-PRINCIPAL-IDP",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-MS-TOKEN-AAD-ACCESS-TOKEN",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-Original-Host",
    "X-Original-URL",
    "X-Skein-Kind",
    "X-Skein-Principal",
];

/// The largest GraphQL request, in bytes. The kind's expression counts UTF-16 units, which are never more.
pub const MAX_BODY_BYTES: u32 = 262_144;
/// The longest query of a URL, in characters: a functions host reads a request's first line up to 8 KiB.
pub const MAX_QUERY_CHARS: u32 = 7_168;

/// Which kind of operation a request asks for: `query`, `mutation` or `subscription`; `large` where it is too long,
/// `none` where it names nothing to execute, `invalid` where nothing is certain.
pub const GRAPHQL_KIND: &str = include_str!("graphql_kind.cs");
/// The principal's header, from the variable `token`.
pub const PRINCIPAL: &str = include_str!("principal.cs");
/// Whether the body is plain JSON.
pub const MEDIA: &str = include_str!("media_type.cs");
const TRACEPARENT: &str = include_str!("traceparent.cs");

/// Gives the request a trace: the variables `traceparent` and `traceId`.
pub fn trace() -> Fragment<Inbound> {
    let id = Expression::single("((string)context.Variables[\"traceparent\"]).Substring(3, 32)");
    Fragment {
        name: "skein-trace",
        description: "Gives the request a trace",
        steps: Steps::new()
            .then(SetVariable { name: "traceparent", value: Expression::block(TRACEPARENT).into() })
            .then(SetVariable { name: "traceId", value: id.into() })
            .then(SetHeader::set("traceparent", Expression::single("(string)context.Variables[\"traceparent\"]"))),
    }
}

/// Takes away what only the platform or the gateway may say.
pub fn strip_headers() -> Fragment<Inbound> {
    Fragment {
        name: "skein-strip-headers",
        description: "Takes away the headers that only the platform or the gateway may set",
        steps: INTERNAL_HEADERS.into_iter().fold(Steps::new(), |steps, name| steps.then(SetHeader::delete(name))),
    }
}

/// Refuses other methods than GET and POST, and bodies that are not plain JSON of a reasonable size.
pub fn graphql_http() -> Fragment<Inbound> {
    let length = "context.Request.Headers.GetValueOrDefault(\"Content-Length\", \"0\")";
    let large = Expression::single(format!("{length}.Length > 6 || int.Parse({length}) > {MAX_BODY_BYTES}"));
    Fragment {
        name: "skein-graphql-http",
        description: "Refuses what GraphQL over HTTP does not know",
        steps: Steps::new()
            .then(Choose::when(
                Expression::single("context.Request.Method != \"GET\" && context.Request.Method != \"POST\""),
                problem(405, "Method Not Allowed", "GraphQL is asked by POST, and queries by GET, too")
                    .header("Allow", "GET, POST"),
            ))
            .then(SetVariable { name: "json", value: Expression::block(MEDIA).into() })
            .then(Choose::when(
                Expression::single("!(bool)context.Variables[\"json\"]"),
                problem(
                    415,
                    "Unsupported Media Type",
                    "the content type must be application/json, in UTF-8 and without content-encoding",
                ),
            ))
            .then(Choose::when(large, too_large())),
    }
}

/// The answer to a body that is too large.
pub(crate) fn too_large() -> ReturnResponse {
    problem(413, "Payload Too Large", &format!("a request has at most {MAX_BODY_BYTES} bytes"))
}

/// Tells which kind of operation a request asks for: the variable `kind`.
pub fn graphql_kind() -> Fragment<Inbound> {
    Fragment {
        name: "skein-graphql-kind",
        description: "Tells which kind of operation a GraphQL request asks for",
        steps: Steps::new().then(SetVariable { name: "kind", value: Expression::block(GRAPHQL_KIND).into() }),
    }
}

/// Tells the backend who asks, by the variable `token`; a token that claims to be a service is refused.
pub fn principal() -> Fragment<Inbound> {
    let variable = |text: &str| Expression::single(text.to_owned());
    Fragment {
        name: "skein-principal",
        description: "Tells the backend who asks",
        steps: Steps::new()
            .then(SetVariable { name: "principal", value: Expression::block(PRINCIPAL).into() })
            .then(Choose::when(
                variable("(string)context.Variables[\"principal\"] == string.Empty"),
                problem(401, "Unauthorized", "the token names nobody, or claims to be a service")
                    .header("WWW-Authenticate", "Bearer"),
            ))
            .then(SetHeader::set("X-Skein-Principal", variable("(string)context.Variables[\"principal\"]"))),
    }
}

/// Turns every error into a problem; what the backend or the gateway says of its inside stays there.
pub fn on_error() -> Fragment<OnError> {
    let failed = |reason: &str| {
        let of = "context.LastError.Source == \"forward-request\" && context.LastError.Reason";
        Expression::single(format!("{of} {reason}"))
    };
    let status = |code, reason: &str| SetStatus { code, reason: reason.to_owned() };
    Fragment {
        name: "skein-on-error",
        description: "Answers every error as a problem",
        steps: Steps::new()
            .then(
                Choose::when(failed("== \"Timeout\""), status(504, "Gateway Timeout"))
                    .or_when(failed("!= \"Timeout\""), Steps::new().then(status(502, "Bad Gateway"))),
            )
            .then(Choose::when(
                Expression::single("context.Response.StatusCode == 401"),
                SetHeader::set("WWW-Authenticate", "Bearer"),
            ))
            .then(SetHeader::set("Content-Type", MEDIA_TYPE))
            .then(SetHeader::set("Cache-Control", "no-store"))
            .then(SetHeader::set("x-trace-id", Expression::single(TRACE_ID)))
            .then(SetBody(
                problem_body(
                    "context.Response.StatusCode",
                    "context.Response.StatusReason",
                    "context.LastError.Reason",
                )
                .into(),
            )),
    }
}

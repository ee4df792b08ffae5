//! Answers that say what is wrong, as RFC 9457 has it.

use crate::expression::Expression;
use crate::statement::ReturnResponse;

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
/// C# that gives the id of the request's trace; before it has one, as where it fits no operation, its own id.
pub(crate) const TRACE_ID: &str =
    "context.Variables.GetValueOrDefault<string>(\"traceId\", context.RequestId.ToString(\"N\"))";

/// Ends the request with a problem: what, in words for the client, and the trace's id.
pub fn problem(status: u16, title: &str, detail: &str) -> ReturnResponse {
    ReturnResponse::new(status, title)
        .header("Content-Type", MEDIA_TYPE)
        .header("Cache-Control", "no-store")
        .header("x-trace-id", Expression::single(TRACE_ID))
        .body(problem_body(&status.to_string(), &Expression::literal(title), &Expression::literal(detail)))
}

/// The body of a problem, from C#: the status' number, the title, the detail.
pub fn problem_body(status: &str, title: &str, detail: &str) -> Expression {
    Expression::single(format!(
        "new JObject(new JProperty(\"type\", \"about:blank\"), new JProperty(\"title\", {title}), \
         new JProperty(\"status\", {status}), new JProperty(\"detail\", {detail}), \
         new JProperty(\"traceId\", {TRACE_ID})).ToString()"
    ))
}

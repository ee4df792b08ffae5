//! GraphQL over HTTP: one kind of operation, limited, for one principal.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType, Selection};
use async_graphql::{ObjectType, Request, Response, ServerError};
use skein_core::{Principal, Trace};

use crate::error::finished;
use crate::guard::Api;

/// How deep the fields of an operation may be nested.
pub const MAX_DEPTH: usize = 10;
/// How many fields an operation may ask for, with those of a list counted as often as `first` says.
pub const MAX_COMPLEXITY: usize = 500;

/// The limits of one operation. Reading the schema goes deep by nature, and touches no data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) depth: usize,
    pub(crate) complexity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: MAX_DEPTH, complexity: MAX_COMPLEXITY }
    }
}

impl Limits {
    const INTROSPECTION: Limits = Limits { depth: 20, complexity: 2_000 };
}

/// Until when the mutations of one request may wait for outcomes, together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn rest(self) -> Duration {
        self.0.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Who asks, and in which conversation.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who asks.
    pub principal: Principal,
    /// The conversation. Errors name its correlation id as `traceId`.
    pub trace: Trace,
}

/// The kind of operation that an endpoint serves: each of a service's apps has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Mutations.
    Mutations,
    /// Queries.
    Queries,
}

/// An endpoint of a schema.
pub struct Endpoint<Q: ObjectType + 'static, M: ObjectType + 'static> {
    api: Api<Q, M>,
    serves: Serves,
    introspection: bool,
    await_limit: Duration,
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status: 200 for everything that was executed, errors of fields included.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The body: `{"data", "errors"}`.
    pub body: String,
    /// The first error's code, for the log.
    pub outcome: Option<String>,
}

/// Why a request is refused before it is executed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the body is no GraphQL request in JSON: {0}")]
    Json(String),
    #[error("{0}")]
    Parse(String),
    #[error("operationName must name one of the document's operations")]
    Operation,
    #[error("this endpoint serves {0} only")]
    Kind(&'static str),
}

impl Refused {
    fn code(&self) -> &'static str {
        match self {
            Refused::Json(_) => "BAD_REQUEST",
            Refused::Parse(_) => "GRAPHQL_PARSE_FAILED",
            Refused::Operation => "OPERATION_RESOLUTION_FAILURE",
            Refused::Kind(_) => "OPERATION_KIND_MISMATCH",
        }
    }
}

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Endpoint<Q, M> {
    /// An endpoint for one kind of operation. `introspection` says whether the schema may be read, `await_limit` how
    /// long the mutations of a request may wait for their outcomes, together.
    pub fn new(api: Api<Q, M>, serves: Serves, introspection: bool, await_limit: Duration) -> Self {
        Endpoint { api, serves, introspection, await_limit }
    }

    /// Answers a request's body for whoever asks; `accept` is the header of that name.
    pub async fn answer(&self, body: &[u8], accept: Option<&str>, caller: Caller) -> HttpAnswer {
        let trace_id = caller.trace.correlation_id.clone();
        let modern = accept.is_some_and(|accept| accept.contains("application/graphql-response+json"));
        let content_type = if modern { "application/graphql-response+json" } else { "application/json" };
        let (status, response) = match self.accepted(body, caller) {
            Ok(request) => {
                let response = self.api.execute(request).await;
                // Nothing was executed: the older media type says so in the body only.
                let refused = response.errors.iter().all(|error| error.path.is_empty()) && response.is_err();
                (if refused && modern { 400 } else { 200 }, response)
            }
            Err(refused) => {
                let mut error = ServerError::new(refused.to_string(), None);
                let mut extensions = async_graphql::ErrorExtensionValues::default();
                extensions.set("code", refused.code());
                error.extensions = Some(extensions);
                (400, Response::from_errors(vec![error]))
            }
        };
        let mut response = response;
        response.errors = response.errors.into_iter().map(|error| finished(error, &trace_id)).collect();
        let outcome = response.errors.first().and_then(|error| {
            let code = error.extensions.as_ref()?.get("code")?.clone().into_json().ok()?;
            code.as_str().map(str::to_owned)
        });
        let body = serde_json::to_string(&response)
            .unwrap_or_else(|_| r#"{"data":null,"errors":[{"message":"the answer has no JSON"}]}"#.to_owned());
        HttpAnswer { status, content_type, body, outcome }
    }

    /// The request, if it is well-formed and of the kind that is served here. The gateway has looked at the kind, too,
    /// with a parser of its own: only what both agree on is executed.
    fn accepted(&self, body: &[u8], caller: Caller) -> Result<Request, Refused> {
        let request: Request = serde_json::from_slice(body).map_err(|error| Refused::Json(error.to_string()))?;
        let document = parse_query(&request.query).map_err(|error| Refused::Parse(error.to_string()))?;
        let (kind, introspection) = operation(&document, request.operation_name.as_deref())?;
        match (self.serves, kind) {
            (Serves::Mutations, OperationType::Mutation) | (Serves::Queries, OperationType::Query) => {}
            (Serves::Mutations, _) => return Err(Refused::Kind("mutations")),
            (Serves::Queries, _) => return Err(Refused::Kind("queries")),
        }
        let limits = if introspection { Limits::INTROSPECTION } else { Limits::default() };
        let deadline = Deadline(Instant::now().checked_add(self.await_limit));
        let mut request = request.data(caller).data(limits).data(deadline);
        if !self.introspection {
            request = request.disable_introspection();
        }
        request.set_parsed_query(document);
        Ok(request)
    }
}

/// The kind of the operation that would be executed, and whether it only reads the schema.
fn operation(document: &ExecutableDocument, name: Option<&str>) -> Result<(OperationType, bool), Refused> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name).ok_or(Refused::Operation)?,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values().next().ok_or(Refused::Operation)?
        }
        _ => return Err(Refused::Operation),
    };
    let mut seen = BTreeSet::new();
    let introspection = reads_schema(document, &operation.node.selection_set.node.items, &mut seen);
    Ok((operation.node.ty, introspection))
}

/// Whether all fields are of the schema itself. Fragments may be cyclic here: validation comes later.
fn reads_schema<'a>(
    document: &'a ExecutableDocument,
    selections: &'a [async_graphql::Positioned<Selection>],
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    selections.iter().all(|selection| match &selection.node {
        Selection::Field(field) => field.node.name.node.starts_with("__"),
        Selection::InlineFragment(fragment) => reads_schema(document, &fragment.node.selection_set.node.items, seen),
        Selection::FragmentSpread(spread) => {
            let name = spread.node.fragment_name.node.as_str();
            !seen.insert(name)
                || document
                    .fragments
                    .get(name)
                    .is_some_and(|fragment| reads_schema(document, &fragment.node.selection_set.node.items, seen))
        }
    })
}

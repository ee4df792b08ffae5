//! GraphQL over HTTP: one kind of operation, limited, for one principal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{BaseType, DocumentOperations, ExecutableDocument, OperationType, Selection};
use async_graphql::{ErrorExtensionValues, ObjectType, Positioned, Request, Response, ServerError};
use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::{Map, Value, json};
use skein_core::{Principal, Trace};
use skein_kind::operations::NoDocument;
use skein_kind::{Kind, MAX_BODY_UNITS, MAX_QUERY_CHARS, kind_of_body, kind_of_query, media};

use crate::code::Code;
use crate::error::finished;
use crate::guard::Api;

/// How deep the fields of an operation may be nested.
pub const MAX_DEPTH: usize = 10;
/// How many fields an operation may ask for, those of a page counted for each of its nodes: five full pages of ten
/// fields.
pub const MAX_COMPLEXITY: usize = 5_000;

/// How many fields and fragments an operation may have when its fragments are written out, each list counted once.
const MAX_SELECTIONS: usize = 2_000;
/// How deep the brackets of a document may be nested.
const MAX_NESTING: usize = 64;

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
    const INTROSPECTION: Limits = Limits { depth: 20, complexity: 5_000 };
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

impl Serves {
    /// The kind itself.
    pub fn kind(self) -> Kind {
        match self {
            Serves::Mutations => Kind::Mutation,
            Serves::Queries => Kind::Query,
        }
    }
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

/// What a client asks, as HTTP carries it.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// By POST: the body.
    Post(&'a [u8]),
    /// By POST from the gateway's router: the body. Its document is a part of one that is in the router's list.
    Part(&'a [u8]),
    /// By GET: the query of the URL as it was sent, without the question mark. It asks for queries alone.
    Get(&'a str),
}

/// Why a request is refused before it is executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("an answer is {} or {}, and the client accepts neither", media::RESPONSE, media::JSON)]
    Media,
    #[error("a body has at most {MAX_BODY_UNITS} bytes")]
    Large,
    #[error("the query of a URL has at most {MAX_QUERY_CHARS} characters")]
    Long,
    #[error("the body is no JSON: {0}")]
    Json(String),
    #[error("the URL's query is no form of query, operationName, variables and extensions: {0}")]
    Form(String),
    #[error("it is no GraphQL request: {0}")]
    Malformed(String),
    #[error("{0}")]
    Parse(String),
    #[error(transparent)]
    Document(#[from] NoDocument),
    #[error("operationName must name one of the document's operations")]
    Operation,
    #[error("a GET asks for queries only")]
    Method,
    #[error("this endpoint serves {0} only")]
    Kind(&'static str),
    #[error("it is not certain which kind of operation the request asks for")]
    Uncertain,
    #[error("the document's brackets are nested deeper than {MAX_NESTING} times")]
    Nesting,
    #[error("the operation has more than {MAX_SELECTIONS} fields, its fragments written out")]
    Selections,
    #[error("the fragment {0:?} spreads itself")]
    Cycle(String),
    #[error("the type {0:?} of the variable ${1} is unknown")]
    VariableType(String, String),
}

impl Refused {
    pub(crate) fn code(&self) -> Code {
        match self {
            Refused::Media => Code::NotAcceptable,
            Refused::Large => Code::PayloadTooLarge,
            Refused::Long => Code::UriTooLong,
            Refused::Json(_) | Refused::Form(_) => Code::BadRequest,
            Refused::Malformed(_) => Code::MalformedRequest,
            Refused::Document(no) => match no {
                NoDocument::Nothing | NoDocument::Malformed | NoDocument::Other => Code::MalformedRequest,
                NoDocument::Unknown => Code::PersistedOperationNotFound,
                NoDocument::Unlisted => Code::QueryNotInSafelist,
                NoDocument::Unreadable(_) => Code::Internal,
            },
            Refused::Parse(_) => Code::GraphqlParseFailed,
            Refused::Operation => Code::OperationResolutionFailure,
            Refused::Method => Code::MethodNotAllowed,
            Refused::Kind(_) | Refused::Uncertain => Code::OperationKindMismatch,
            Refused::Nesting => Code::QueryTooDeep,
            Refused::Selections => Code::QueryTooComplex,
            Refused::Cycle(_) | Refused::VariableType(..) => Code::GraphqlValidationFailed,
        }
    }
}

/// The answer to a request that is refused without being looked at further: an error with its code and trace, in the media
/// type that the client likes best, or in JSON.
pub fn refusal(code: Code, message: &str, accept: Option<&str>, trace_id: &str) -> HttpAnswer {
    let mut error = ServerError::new(message, None);
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code.as_str());
    error.extensions = Some(extensions);
    let content_type = media::accepted(accept).unwrap_or(media::JSON);
    http_answer(code.status(), content_type, Response::from_errors(vec![error]), trace_id)
}

fn http_answer(status: u16, content_type: &'static str, mut response: Response, trace_id: &str) -> HttpAnswer {
    response.errors = response.errors.into_iter().map(|error| finished(error, trace_id)).collect();
    let outcome = response.errors.first().and_then(code_in);
    let body = serde_json::to_string(&response).unwrap_or_else(|_| {
        json!({"errors": [{"message": "the answer has no JSON",
            "extensions": {"code": Code::Internal.as_str(), "traceId": trace_id}}]})
        .to_string()
    });
    HttpAnswer { status, content_type, body, outcome }
}

/// The code that an error has.
fn code_in(error: &ServerError) -> Option<String> {
    let code = error.extensions.as_ref()?.get("code")?.clone().into_json().ok()?;
    code.as_str().map(str::to_owned)
}

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Endpoint<Q, M> {
    /// An endpoint for one kind of operation. `introspection` says whether the schema may be read, `await_limit` how
    /// long the mutations of a request may wait for their outcomes, together.
    pub fn new(api: Api<Q, M>, serves: Serves, introspection: bool, await_limit: Duration) -> Self {
        Endpoint { api, serves, introspection, await_limit }
    }

    /// The kind of operation that it serves.
    pub fn serves(&self) -> Serves {
        self.serves
    }

    /// Answers a request's body for whoever asks; `accept` is the header of that name.
    pub async fn answer(&self, body: &[u8], accept: Option<&str>, caller: Caller) -> HttpAnswer {
        self.answer_to(Asked::Post(body), accept, caller).await
    }

    /// Answers a request for whoever asks; `accept` is the header of that name.
    pub async fn answer_to(&self, asked: Asked<'_>, accept: Option<&str>, caller: Caller) -> HttpAnswer {
        let trace_id = caller.trace.correlation_id.clone();
        let request = match media::accepted(accept) {
            None => Err(Refused::Media),
            Some(content_type) => self.accepted(asked, caller).map(|request| (content_type, request)),
        };
        let (content_type, request) = match request {
            Ok(accepted) => accepted,
            Err(refused) => return refusal(refused.code(), &refused.to_string(), accept, &trace_id),
        };
        let mut response = self.api.execute(request).await;
        response.errors = response.errors.into_iter().map(|error| finished(error, &trace_id)).collect();
        // Nothing was executed: the older media type says so in the body only.
        let refused = response.is_err() && response.errors.iter().all(|error| error.path.is_empty());
        let status = match response.errors.first().and_then(code_in).and_then(|code| Code::named(&code)) {
            Some(code) if refused && content_type == media::RESPONSE => code.status(),
            _ => 200,
        };
        http_answer(status, content_type, response, &trace_id)
    }

    /// The request, if it is well-formed and of the kind that is served here. The gateway has looked at the kind, too,
    /// with a parser of its own: only what both agree on is executed.
    fn accepted(&self, asked: Asked<'_>, caller: Caller) -> Result<Request, Refused> {
        let mut request = match asked {
            Asked::Post(body) | Asked::Part(body) => posted(body)?,
            Asked::Get(query) => gotten(query)?,
        };
        if !matches!(asked, Asked::Part(_)) {
            let extension = request.extensions.get("persistedQuery");
            let extension = extension.map(|extension| extension.clone().into_json().unwrap_or_default());
            request.query = document(&self.api, std::mem::take(&mut request.query), extension.as_ref())?;
        }
        let (document, Operation { kind, introspection }) =
            parsed(&self.api, &request.query, request.operation_name.as_deref())?;
        match (self.serves, kind) {
            _ if matches!(asked, Asked::Get(_)) && kind != OperationType::Query => return Err(Refused::Method),
            (Serves::Mutations, OperationType::Mutation) | (Serves::Queries, OperationType::Query) => {}
            (Serves::Mutations, _) => return Err(Refused::Kind("mutations")),
            (Serves::Queries, _) => return Err(Refused::Kind("queries")),
        }
        // The gateway's verdict, made again: a document that it may have read otherwise is not executed.
        let verdict = match asked {
            Asked::Post(body) | Asked::Part(body) => kind_of_body(body),
            Asked::Get(query) => kind_of_query(query),
        };
        if verdict != Ok(self.serves.kind()) {
            return Err(Refused::Uncertain);
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

/// The document that a request asks for, if it may be executed. Nothing of it is parsed.
pub(crate) fn document<Q: ObjectType + 'static, M: ObjectType + 'static>(
    api: &Api<Q, M>,
    query: String,
    persisted_query: Option<&Value>,
) -> Result<String, Refused> {
    Ok(api.operations().document(query, persisted_query).inspect_err(|no| {
        if let NoDocument::Unreadable(reason) = no {
            tracing::error!(code = "OPERATIONS_UNREADABLE", reason, "no document can be found");
        }
    })?)
}

/// A document that can be validated, and the operation that would be executed.
fn parsed<Q: ObjectType + 'static, M: ObjectType + 'static>(
    api: &Api<Q, M>,
    query: &str,
    operation_name: Option<&str>,
) -> Result<(ExecutableDocument, Operation), Refused> {
    if skein_kind::nesting(query) > MAX_NESTING {
        return Err(Refused::Nesting);
    }
    let document = parse_query(query).map_err(|error| Refused::Parse(error.to_string()))?;
    for (_, operation) in document.operations.iter() {
        for variable in &operation.node.variable_definitions {
            let name = base_type(&variable.node.var_type.node.base);
            // The validation that follows would panic where such a variable has a default.
            if !api.knows_type(name) {
                return Err(Refused::VariableType(name.to_owned(), variable.node.name.node.to_string()));
            }
        }
    }
    let operation = operation(&document, operation_name)?;
    Ok((document, operation))
}

/// A document that can be validated, and which kind of operation would be executed.
pub(crate) fn checked<Q: ObjectType + 'static, M: ObjectType + 'static>(
    api: &Api<Q, M>,
    query: &str,
    operation_name: Option<&str>,
) -> Result<(ExecutableDocument, OperationType), Refused> {
    parsed(api, query, operation_name).map(|(document, operation)| (document, operation.kind))
}

/// The request in a body.
fn posted(body: &[u8]) -> Result<Request, Refused> {
    if body.len() > MAX_BODY_UNITS {
        return Err(Refused::Large);
    }
    let read = |error: serde_json::Error| match error.classify() {
        Category::Data => Refused::Malformed(error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => Refused::Json(error.to_string()),
    };
    // Only an object is a request; the reader would also take a list of its members, or several requests.
    if body.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(body).map_err(read)?;
        return Err(Refused::Malformed("expected an object".to_owned()));
    }
    serde_json::from_slice(body).map_err(read)
}

/// The request in the query of a URL.
fn gotten(query: &str) -> Result<Request, Refused> {
    if query.len() > MAX_QUERY_CHARS {
        return Err(Refused::Long);
    }
    let mut members = Map::new();
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let form = |what: &str| Refused::Form(format!("{what} at {:?}", pair.chars().take(40).collect::<String>()));
        let (name, value) = pair.split_once('=').ok_or_else(|| form("there is no ="))?;
        let value = skein_kind::decoded(value).and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or_else(|| form("the value is not encoded text"))?;
        let value = match name {
            "query" => Value::from(value),
            // Left out, both say the same.
            "operationName" if value.is_empty() => Value::Null,
            "operationName" => Value::from(value),
            "variables" | "extensions" => {
                serde_json::from_str(&value).map_err(|error| form(&format!("it is no JSON ({error})")))?
            }
            _ => return Err(form("no such parameter is known")),
        };
        if members.insert(name.to_owned(), value).is_some() {
            return Err(form("it stands there twice"));
        }
    }
    members.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(members)).map_err(|error| Refused::Malformed(error.to_string()))
}

/// The type that a list of any depth is of.
fn base_type(base: &BaseType) -> &str {
    match base {
        BaseType::Named(name) => name,
        BaseType::List(item) => base_type(&item.base),
    }
}

/// What is known of an operation before it is validated.
struct Operation {
    kind: OperationType,
    /// Whether it only reads the schema.
    introspection: bool,
}

/// The operation that would be executed.
fn operation(document: &ExecutableDocument, name: Option<&str>) -> Result<Operation, Refused> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name).ok_or(Refused::Operation)?,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values().next().ok_or(Refused::Operation)?
        }
        _ => return Err(Refused::Operation),
    };
    let mut fragments = BTreeMap::new();
    for name in document.fragments.keys() {
        Expanded::of_fragment(document, name, &mut fragments)?;
    }
    let selections = &operation.node.selection_set.node.items;
    let expanded = Expanded::of(document, selections, &mut fragments)?;
    if fragments.values().flatten().chain([&expanded]).any(|expanded| expanded.selections > MAX_SELECTIONS) {
        return Err(Refused::Selections);
    }
    Ok(Operation { kind: operation.node.ty, introspection: expanded.introspection })
}

/// What a selection set becomes when its fragments are written out. Each fragment is looked at once: written out, a
/// short document can be endless, and validation would walk through all of it.
#[derive(Clone, Copy)]
struct Expanded {
    selections: usize,
    /// Whether all fields are of the schema itself.
    introspection: bool,
}

impl Expanded {
    fn of<'a>(
        document: &'a ExecutableDocument,
        selections: &'a [Positioned<Selection>],
        fragments: &mut BTreeMap<&'a str, Option<Expanded>>,
    ) -> Result<Expanded, Refused> {
        let mut all = Expanded { selections: 0, introspection: true };
        for selection in selections {
            let (inner, introspection) = match &selection.node {
                Selection::Field(field) => {
                    let inner = Expanded::of(document, &field.node.selection_set.node.items, fragments)?;
                    (inner, field.node.name.node.starts_with("__"))
                }
                Selection::InlineFragment(fragment) => {
                    let inner = Expanded::of(document, &fragment.node.selection_set.node.items, fragments)?;
                    (inner, inner.introspection)
                }
                Selection::FragmentSpread(spread) => {
                    let inner = Expanded::of_fragment(document, &spread.node.fragment_name.node, fragments)?;
                    (inner, inner.introspection)
                }
            };
            all.selections = all.selections.saturating_add(inner.selections).saturating_add(1);
            all.introspection &= introspection;
        }
        Ok(all)
    }

    /// A fragment that is being looked at is in the map without a value.
    fn of_fragment<'a>(
        document: &'a ExecutableDocument,
        name: &'a str,
        fragments: &mut BTreeMap<&'a str, Option<Expanded>>,
    ) -> Result<Expanded, Refused> {
        match fragments.get(name) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(Refused::Cycle(name.to_owned())),
            None => {}
        }
        // An unknown fragment is for validation to complain about.
        let nothing = Expanded { selections: 0, introspection: false };
        let Some(fragment) = document.fragments.get(name) else { return Ok(nothing) };
        fragments.insert(name, None);
        let expanded = Expanded::of(document, &fragment.node.selection_set.node.items, fragments)?;
        fragments.insert(name, Some(expanded));
        Ok(expanded)
    }
}

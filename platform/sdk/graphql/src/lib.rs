//! GraphQL: mutations to commands, queries to views, denied by default.
//!
//! A service's schema is two objects of `async-graphql`, whose root fields each state in one line who may use them:
//!
//! ```
//! use async_graphql::Object;
//! use skein_graphql::{access, api};
//!
//! struct Query;
//!
//! #[Object]
//! impl Query {
//!     /// How many there are.
//!     #[graphql(directive = access::apply(["operator"]))]
//!     async fn count(&self) -> i32 {
//!         7
//!     }
//! }
//! # struct Mutation;
//! # #[Object]
//! # impl Mutation {
//! #     #[graphql(directive = access::apply(["operator"]))]
//! #     async fn change(&self) -> bool { true }
//! # }
//! let api = api(Query, Mutation).finish().expect("every root field states who may use it");
//! assert!(api.sdl().contains(r#"count: Int! @access(roles: ["operator"])"#));
//! ```
//!
//! A root field without a statement lets [`ApiBuilder::finish`] fail, and would answer FORBIDDEN. [`submit`] turns a
//! mutation's input into a command and queues it; [`command_status`] tells later what became of it; [`Connection`]
//! is a page of a list. An [`Endpoint`] answers requests: it serves one kind of operation only, limits depth and
//! complexity, and gives every error a code and the trace's id.
//!
//! # Statuses and codes
//!
//! Requests are POSTs of `application/json`, or GETs of queries with `query`, `operationName`, `variables` and `extensions`
//! in the URL. Answers are `application/graphql-response+json` or `application/json`, whichever `Accept` prefers. A request
//! that cannot be read is 400; one that can be read but cannot be executed, from a missing member to a document that the
//! schema does not know, is 422, as the drafts of GraphQL over HTTP since 2025 have it. To a client that takes
//! `application/json` alone, what only validation finds is 200, as clients of that type expect. Once an operation is
//! executed the status is 200, whatever its fields say. Every error has its code in `extensions.code` and the trace in
//! `extensions.traceId`:
//!
//! | code | status | meaning |
//! |---|---|---|
//! | `BAD_REQUEST` | 400 | The body is no JSON, or the URL's query is no form. |
//! | `GRAPHQL_PARSE_FAILED` | 400 | The document is no GraphQL. |
//! | `OPERATION_KIND_MISMATCH` | 400 | The operation is not of the kind that this app serves, or that is not certain. |
//! | `UNAUTHORIZED` | 401 | The request did not come through the gateway. |
//! | `QUERY_NOT_IN_SAFELIST` | 403 | The app executes the documents of its list only, and this one is not in it. |
//! | `METHOD_NOT_ALLOWED` | 405 | A GET asks for something else than a query. The answer says `Allow: POST`. |
//! | `NOT_ACCEPTABLE` | 406 | The client accepts no media type that answers have. |
//! | `PAYLOAD_TOO_LARGE` | 413 | The body has more than 262,144 bytes. |
//! | `URI_TOO_LONG` | 414 | The URL's query has more than 7,168 characters. |
//! | `UNSUPPORTED_MEDIA_TYPE` | 415 | The body is not said to be plain `application/json` in UTF-8. |
//! | `MALFORMED_REQUEST` | 422 | It is JSON, but no GraphQL request: a member is missing, doubled or of another type. |
//! | `PERSISTED_OPERATION_NOT_FOUND` | 422 | The app has no document with the hash. |
//! | `OPERATION_RESOLUTION_FAILURE` | 422 | `operationName` names none of the operations, or is needed and missing. |
//! | `GRAPHQL_VALIDATION_FAILED` | 422 | The document does not fit the schema, or a variable does not fit the document. |
//! | `QUERY_TOO_DEEP` | 422 | The operation's fields or the document's brackets are nested too deep. |
//! | `QUERY_TOO_COMPLEX` | 422 | The operation asks for too many fields. |
//! | `BAD_USER_INPUT` | 200 | The input cannot be meant so. |
//! | `UNAUTHENTICATED` | 200 | Nobody is known to ask, or no more: connect anew. |
//! | `FORBIDDEN` | 200 | The principal may not use the field. |
//! | `NOT_FOUND` | 200 | It does not exist, or must seem so. |
//! | `COMMAND_ID_REUSED` | 200 | The client's command id belongs to another input. |
//! | `TOO_LARGE` | 200 | The command does not fit the queue. |
//! | `UNAVAILABLE` | 200 | Something is away: try again later, a mutation with the same `commandId`. |
//! | `INTERNAL` | 200 | Something is wrong inside; `traceId` leads to the reason. |

mod code;
mod command;
mod connection;
mod endpoint;
mod error;
mod guard;
mod live;
mod operations;
mod personal;
mod status;

pub use code::Code;
pub use command::{Answer, Await, CommandOutcome, Refusal, Status, submit};
pub use connection::{Connection, DEFAULT_PAGE, Edge, MAX_PAGE, Page, PageInfo, page_cost};
pub use endpoint::{Asked, Caller, Endpoint, HttpAnswer, MAX_COMPLEXITY, MAX_DEPTH, Serves, refusal};
pub use error::ApiError;
pub use guard::{Api, ApiBuilder, UnstatedAccess, access, api, live_api};
pub use live::{
    LEAST_SESSION, Live, MAX_ID_CHARS, MAX_REQUEST_BYTES, MAX_SUBSCRIPTIONS, NegotiateError, SESSION, Subscriptions,
    live_row, live_rows,
};
pub use operations::list;
pub use personal::{open, seal};
pub use skein_kind::operations::{Operations, document_hash};
pub use status::{CommandStatus, OutcomeReader, command_status};

use async_graphql::Context;
use skein_core::Principal;

/// The role that may see and do everything that a service offers.
pub const OPERATOR: &str = "operator";

/// Who asks.
///
/// # Errors
/// A request that reached a resolver without a principal: nobody may do anything.
pub fn principal<'a>(cx: &Context<'a>) -> Result<&'a Principal, ApiError> {
    cx.data_opt::<Caller>().map(|caller| &caller.principal).ok_or_else(|| ApiError::forbidden("nobody asks"))
}

/// The service's views.
///
/// # Errors
/// An app that has none: mutations are served without.
pub fn views<'a>(cx: &Context<'a>) -> Result<&'a skein_core::views::ViewReader, ApiError> {
    cx.data_opt().ok_or_else(|| ApiError::bad_input("this endpoint reads no views"))
}

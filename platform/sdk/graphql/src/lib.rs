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

mod command;
mod connection;
mod endpoint;
mod error;
mod guard;
mod live;
mod personal;
mod status;

pub use command::{Answer, Await, CommandOutcome, Refusal, Status, submit};
pub use connection::{Connection, DEFAULT_PAGE, Edge, MAX_PAGE, Page, PageInfo, page_cost};
pub use endpoint::{Caller, Endpoint, HttpAnswer, MAX_COMPLEXITY, MAX_DEPTH, Serves};
pub use error::ApiError;
pub use guard::{Api, ApiBuilder, UnstatedAccess, access, api, live_api};
pub use live::{Live, MAX_ID_CHARS, MAX_REQUEST_BYTES, MAX_SUBSCRIPTIONS, SESSION, Subscriptions, live_row, live_rows};
pub use personal::{open, seal};
pub use status::{CommandStatus, OutcomeReader, command_status};

use async_graphql::Context;
use skein_core::Principal;
use skein_kind::media;

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

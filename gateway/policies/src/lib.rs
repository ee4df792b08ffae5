//! API Management policies as typed values, printed to XML. Pure: no I/O.
//!
//! A document is made of sections, a section of statements. What may stand where is checked by the compiler: a
//! statement names the sections that take it, and a section of a narrower scope always holds `<base/>`, so that what the
//! wider scope does is never dropped by accident. What only the whole can tell (sizes, tiers, the text of expressions)
//! [`Policy::print`] tells, with the place.
//!
//! ```
//! use skein_policies::{Inbound, Policy, SetHeader, Tier};
//!
//! let policy = Policy::new().inbound(|section| section.then(SetHeader::delete("x-skein-principal")));
//! let xml = policy.print(Tier::Consumption)?;
//! assert!(xml.contains(r#"<set-header name="x-skein-principal" exists-action="delete" />"#));
//! # Ok::<(), skein_policies::PolicyError>(())
//! ```
//!
//! Tokens are looked at when a request comes in, not when its answer leaves:
//!
//! ```compile_fail,E0277
//! use skein_policies::{Policy, ValidateJwt};
//!
//! let policy = Policy::new().outbound(|section| section.then(ValidateJwt::bearer("https://login.example/.well-known")));
//! ```
//!
//! Who calls the backend is the outermost scope, once:
//!
//! ```compile_fail,E0277
//! use skein_policies::{ForwardRequest, Policy};
//!
//! let policy = Policy::new().backend(|section| section.then(ForwardRequest::new(30)));
//! ```
//!
//! Expressions are values, too: C# that API Management would run, held to the types and members that it allows.
//! [`control_flow`] is what a service's API does with a GraphQL request; [`fragments`] are what the APIs share.

pub mod control_flow;
mod document;
mod element;
mod expression;
pub mod fragments;
mod problem;
mod section;
mod statement;
mod value;

pub use control_flow::{ControlFlow, gateway};
pub use document::{FORMAT, Fragment, GlobalPolicy, Policy, PolicyError, Tier};
pub use expression::{Expression, ExpressionError, normalised};
pub use problem::{problem, problem_body};
pub use section::{AllowedIn, Backend, Inbound, OnError, Outbound, Section, SectionKind, Steps};
pub use statement::*;
pub use value::{NamedValue, Value};

//! Executes API Management policies from the XML that ships.
//!
//! [`Program::compile`] reads the documents of one API: its own policy and the gateway's, with their fragments, named
//! values and backends. What it does not know, it refuses by name and place, when the documents are deployed and not
//! when a request comes in: a policy or attribute, an expression, a backend that is not there. [`Program::run`] then
//! takes a request through the four sections as API Management does, and asks its [`World`] for whatever is outside:
//! keys, the gateway's own tokens, the backends, the time.
//!
//! Expressions are C#, and no C# is executed here. Short ones are known by their shape (their text, with its texts and
//! numbers as arguments), long ones by the digest of their normalised text; each stands for a function in Rust. A
//! changed expression is therefore another one, and refused until somebody has compared it with its twin.

mod compile;
mod context;
mod expression;
mod jwt;
mod limit;
mod native;
mod run;
mod step;

pub use compile::{CompileError, Documents, Program};
pub use jwt::{Keys, KeysError};
pub use run::{ForwardError, World};

/// The largest request body that is read, in bytes: what the tier Consumption buffers.
pub const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

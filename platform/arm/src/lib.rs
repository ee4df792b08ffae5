//! An evaluator of ARM templates: expressions, copy loops, conditions, order, nested deployments and outputs.
//!
//! It reads what others render and shares no code with them, so that a template that means something else than its
//! author thought shows here. It does no I/O: what is deployed is asked of [`Resources`], which a control plane
//! implements. Whatever it does not know is refused by name, with its place.
//!
//! A deployment is a [`Plan`]: [`Plan::of`] expands the template, [`Plan::order`] says what comes after what,
//! [`Plan::body`] gives a resource as it would be sent once those before it are there, [`Plan::nested`] the plan of a
//! nested deployment, [`Plan::outputs`] what remains to be said at the end.

mod error;
mod eval;
pub mod expr;
mod functions;
mod hash;
mod id;
mod parameters;
mod plan;
mod scope;

pub use error::{Error, Violation};
pub use hash::{guid, unique_string};
pub use id::{Id, IdError};
pub use plan::{Nested, Output, Plan, Planned, Warning};
pub use scope::{DeploymentInfo, Group, Scope};

use serde_json::Value;

/// The largest template, and the largest set of parameters, in bytes of JSON.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The most parameters of a template.
pub const MAX_PARAMETERS: usize = 256;
/// The most variables of a template.
pub const MAX_VARIABLES: usize = 256;
/// The most resources of a template, copies counted.
pub const MAX_RESOURCES: usize = 800;
/// The most outputs of a template.
pub const MAX_OUTPUTS: usize = 64;
/// The longest expression, in characters.
pub const MAX_EXPRESSION: usize = 24_576;

/// What is deployed already: the part of a control plane that expressions can see.
pub trait Resources {
    /// The state of a resource: its properties, or with `full` the whole of it.
    ///
    /// # Errors
    /// There is none, or it may not be read.
    fn reference(&self, id: &str, api_version: Option<&str>, full: bool) -> Result<Value, Error>;

    /// The answer of a `list…` function of a resource.
    ///
    /// # Errors
    /// There is no such resource, or no such function.
    fn list(&self, function: &str, id: &str, api_version: &str, body: Option<&Value>) -> Result<Value, Error>;

    /// A resource group as `resourceGroup()` shows it; `None` where there is none.
    fn group(&self, subscription: &str, name: &str) -> Option<Group>;

    /// A secret that a parameter refers to.
    ///
    /// # Errors
    /// There is none, or it may not be read.
    fn secret(&self, vault: &str, name: &str, version: Option<&str>) -> Result<String, Error>;
}

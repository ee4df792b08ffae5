//! Templates as values: what is deployed, before it is text of any language.
//!
//! A [`Template`] holds parameters, resources and nested deployments, all of them plain data that can be walked: see
//! [`Item`], [`Value`] and [`Expr`]. Nothing in here knows how ARM JSON or Bicep is spelt, so that each printer is a
//! walk over the same tree:
//!
//! | here | ARM JSON | Bicep |
//! |---|---|---|
//! | [`Resource::symbol`] | – | the symbolic name |
//! | [`Expr::Id`] | `resourceId(…)` | `symbol.id` |
//! | [`Expr::Reference`] | `reference(…)` | `symbol.properties`, `symbol` |
//! | [`Expr::Output`] | `reference(deployment).outputs.x.value` | `symbol.outputs.x` |
//! | [`Expr::Join`] | `format('…{0}…', …)` | `'…${…}…'` |
//! | [`Existing`] | nothing | `resource symbol '…' existing` |
//! | [`Deployment`] | a nested template, scope inner | `module symbol '…'` |
//!
//! Layers build a template with the typed resources of [`crate::azure`]: [`Template::add`], [`Template::child`],
//! [`Template::extend`] and [`Template::nest`]. Each gives a [`Ref`], the only way to speak of a resource, so that a
//! misspelt one does not compile; [`Template::check`] refuses whatever is left to get wrong, with the place in the
//! source where the resource was added.

mod check;
mod expr;
mod names;
mod template;
mod value;

pub use check::{Flaw, FlawKind, LIMITS, Limits};
pub use expr::{
    Expr, Target, coalesce, either, environment, equals, format, guid, join, not, replace, resource_group,
    role_definition_id, subscription, take, tenant, to_lower, unique_string, utc_now,
};
pub use names::{Letters, NameRule};
pub use template::{
    Deployment, DeploymentRef, Existing, Item, Nested, NewParameter, Output, OutputRef, Parameter, ParameterType,
    Place, Ref, Resource, Scope, Source, Template, Variable,
};
pub use value::{Any, Int, Key, List, Map, Object, Of, Secret, Text, Value};

/// What is known of a type of resource.
#[derive(Debug)]
pub struct Kind {
    /// The type, as in `Microsoft.ServiceBus/namespaces/queues`.
    pub name: &'static str,
    /// The version of its API.
    pub version: &'static str,
    /// Where it can be deployed: see [`Kind::GROUP`] and its siblings.
    pub scopes: u8,
    /// The only name that the last segment may have.
    pub only: Option<&'static str>,
}

impl Kind {
    /// At a subscription.
    pub const SUBSCRIPTION: u8 = 4;
    /// In a resource group.
    pub const GROUP: u8 = 8;
    /// On another resource.
    pub const EXTENSION: u8 = 16;

    /// How many segments a name of this type has.
    pub fn segments(&self) -> usize {
        self.name.matches('/').count()
    }
}

/// What a literal may be at a place of a resource: characters of a text, items of a list, or a number itself.
#[derive(Debug)]
pub struct Bound {
    /// The resource's type.
    pub kind: &'static str,
    /// The way to the place, with `[]` for each item and `*` for any name: `properties.rules.[].name`.
    pub path: &'static str,
    /// The least.
    pub least: Option<i64>,
    /// The most.
    pub most: Option<i64>,
    /// What a text matches.
    pub pattern: Option<&'static str>,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.version, self.only) == (other.name, other.version, other.only)
    }
}

/// A type of resource: implemented by what is generated in [`crate::azure`].
pub trait ResourceType: Into<Object> {
    /// What is known of it.
    const KIND: &'static Kind;
}

/// A type of resource that stands on its own.
pub trait TopLevel: ResourceType {}

/// A type of resource whose last segment has one possible name.
pub trait OnlyOne: ResourceType {}

/// A type of resource that stands below another.
pub trait Child: ResourceType {
    /// The other.
    type Parent: ResourceType;
}

/// A type of resource that is put on any other.
pub trait Extension: ResourceType {}

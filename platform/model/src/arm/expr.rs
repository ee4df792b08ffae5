//! Expressions: what Azure computes when it deploys.

use super::value::{Of, Text, Value};
use super::{Kind, Ref, ResourceType};

/// What Azure computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A literal within an expression.
    Literal(Value),
    /// The value of a parameter of the template that the expression stands in.
    Parameter(String),
    /// The value of a variable of that template.
    Variable(String),
    /// A function of the template language.
    Call(&'static str, Vec<Expr>),
    /// Texts and values, one after the other.
    Join(Vec<Expr>),
    /// A property of an object.
    Property(Box<Expr>, String),
    /// A resource's id.
    Id(Box<Target>),
    /// What a resource is once it is deployed: its `properties`, or all of it.
    Reference {
        /// The resource.
        target: Box<Target>,
        /// Whether all of it is meant, identity and location included.
        full: bool,
    },
    /// What a nested deployment gave.
    Output {
        /// The deployment, by its symbol.
        deployment: String,
        /// The output's name.
        name: String,
    },
}

/// A resource that is spoken of.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its type.
    pub kind: &'static Kind,
    /// Its name, a part for each segment.
    pub names: Vec<Expr>,
    /// The resource that it is put on.
    pub on: Option<Box<Target>>,
    /// The resource group, where it is not the template's own.
    pub group: Option<Box<Expr>>,
}

impl Expr {
    /// Calls with this expression and with each that stands in it.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match self {
            Expr::Call(_, inner) | Expr::Join(inner) => inner.iter().for_each(|expr| expr.each(visit)),
            Expr::Property(inner, _) => inner.each(visit),
            Expr::Id(target) | Expr::Reference { target, .. } => target.each(visit),
            Expr::Literal(value) => value.each_expr(&mut Vec::new(), &mut |_, expr| expr.each(visit)),
            Expr::Parameter(_) | Expr::Variable(_) | Expr::Output { .. } => (),
        }
    }

    /// Whether it is known only while resources are deployed, so that no name may hang on it.
    pub fn is_late(&self) -> bool {
        let mut late = false;
        self.each(&mut |expr| late |= matches!(expr, Expr::Reference { .. } | Expr::Output { .. }));
        late
    }
}

impl Target {
    pub(super) fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        self.names.iter().chain(self.group.as_deref()).for_each(|expr| expr.each(visit));
        if let Some(on) = &self.on {
            on.each(visit);
        }
    }
}

impl<T> From<Of<T>> for Expr {
    fn from(typed: Of<T>) -> Self {
        match Value::from(typed) {
            Value::Expr(expr) => *expr,
            literal => Expr::Literal(literal),
        }
    }
}

impl<T> From<&Of<T>> for Expr {
    fn from(typed: &Of<T>) -> Self {
        typed.clone().into()
    }
}

impl From<&str> for Expr {
    fn from(text: &str) -> Self {
        Expr::Literal(text.into())
    }
}

impl From<String> for Expr {
    fn from(text: String) -> Self {
        Expr::Literal(Value::Text(text))
    }
}

impl From<i64> for Expr {
    fn from(number: i64) -> Self {
        Expr::Literal(Value::Int(number))
    }
}

fn call<T>(function: &'static str, inputs: Vec<Expr>) -> Of<T> {
    Of::trust(Expr::Call(function, inputs))
}

/// Texts and values, one after the other. Literals that stand side by side become one.
pub fn join<E: Into<Expr>>(parts: impl IntoIterator<Item = E>) -> Of<Text> {
    let mut joined: Vec<Expr> = Vec::new();
    for part in parts {
        let inner = match part.into() {
            Expr::Join(inner) => inner,
            other => vec![other],
        };
        for part in inner {
            match (joined.last_mut(), part) {
                (Some(Expr::Literal(Value::Text(text))), Expr::Literal(Value::Text(more))) => text.push_str(&more),
                (_, part) => joined.push(part),
            }
        }
    }
    match <[Expr; 1]>::try_from(joined) {
        Ok([Expr::Literal(text @ Value::Text(_))]) => Of::trust(text),
        Ok([only]) => Of::trust(Expr::Join(vec![only])),
        Err(parts) if parts.is_empty() => Of::from(""),
        Err(parts) => Of::trust(Expr::Join(parts)),
    }
}

/// Thirteen letters and digits that depend on these texts alone.
pub fn unique_string<E: Into<Expr>>(seeds: impl IntoIterator<Item = E>) -> Of<Text> {
    call("uniqueString", seeds.into_iter().map(Into::into).collect())
}

/// A UUID that depends on these texts alone.
pub fn guid<E: Into<Expr>>(seeds: impl IntoIterator<Item = E>) -> Of<Text> {
    call("guid", seeds.into_iter().map(Into::into).collect())
}

/// A text with one part of it replaced wherever it stands.
pub fn replace(text: impl Into<Expr>, part: impl Into<Expr>, by: impl Into<Expr>) -> Of<Text> {
    call("replace", vec![text.into(), part.into(), by.into()])
}

/// A pattern, not known before the deployment, with its `{0}`, `{1}` and so on replaced.
pub fn format<E: Into<Expr>>(pattern: impl Into<Expr>, inputs: impl IntoIterator<Item = E>) -> Of<Text> {
    call("format", [pattern.into()].into_iter().chain(inputs.into_iter().map(Into::into)).collect())
}

/// Whether two values are the same.
pub fn equals(one: impl Into<Expr>, other: impl Into<Expr>) -> Of<bool> {
    call("equals", vec![one.into(), other.into()])
}

/// Whether a condition does not hold.
pub fn not(condition: Of<bool>) -> Of<bool> {
    call("not", vec![condition.into()])
}

/// One value or the other.
pub fn either<T>(condition: Of<bool>, then: impl Into<Of<T>>, otherwise: impl Into<Of<T>>) -> Of<T> {
    call("if", vec![condition.into(), then.into().into(), otherwise.into().into()])
}

/// What the cloud that is deployed to calls its own: `authentication.loginEndpoint` and the like.
pub fn environment() -> Of<crate::azure::Environment> {
    call("environment", Vec::new())
}

/// The first letters of a text, as many at most.
pub fn take(text: impl Into<Expr>, most: i64) -> Of<Text> {
    call("take", vec![text.into(), most.into()])
}

/// The text in lower case.
pub fn to_lower(text: impl Into<Expr>) -> Of<Text> {
    call("toLower", vec![text.into()])
}

/// The first of the values that is not null.
pub fn coalesce<T>(first: Of<T>, second: Of<T>) -> Of<T> {
    call("coalesce", vec![first.into(), second.into()])
}

/// The moment of the deployment, in this format. Only where a parameter's default stands.
pub fn utc_now(format: &str) -> Of<Text> {
    call("utcNow", vec![format.into()])
}

/// The subscription that is deployed to: `id`, `subscriptionId`, `tenantId`, `displayName`.
pub fn subscription() -> Of<crate::azure::Subscription> {
    call("subscription", Vec::new())
}

/// The resource group that is deployed to: `id`, `name`, `location`.
pub fn resource_group() -> Of<crate::azure::ResourceGroupInfo> {
    call("resourceGroup", Vec::new())
}

/// The tenant that is deployed to: `tenantId`.
pub fn tenant() -> Of<crate::azure::Tenant> {
    call("tenant", Vec::new())
}

/// The id of a role that Azure defines, from the role's UUID.
pub fn role_definition_id(role: &str) -> Of<Text> {
    call("subscriptionResourceId", vec!["Microsoft.Authorization/roleDefinitions".into(), role.into()])
}

impl<R: ResourceType> Ref<R> {
    /// The resource's id.
    pub fn id(&self) -> Of<Text> {
        Of::trust(Expr::Id(Box::new(self.target().clone())))
    }

    /// The resource's name: its last segment.
    pub fn name(&self) -> Of<Text> {
        match self.target().names.last() {
            Some(Expr::Literal(literal)) => Of::trust(literal.clone()),
            Some(expr) => Of::trust(expr.clone()),
            None => Of::from(""),
        }
    }

    /// All of the resource, as it is once deployed.
    pub fn deployed(&self) -> Of<R> {
        Of::trust(Expr::Reference { target: Box::new(self.target().clone()), full: true })
    }
}

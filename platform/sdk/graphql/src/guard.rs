//! Who may use a field: stated on the field, enforced before it is resolved.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextResolve, NextValidation, ResolveInfo,
};
use async_graphql::futures_util::stream::BoxStream;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use async_graphql::registry::{MetaDirectiveInvocation, Registry, location_traits};
use async_graphql::{
    EmptySubscription, ErrorExtensionValues, ObjectType, Response, Schema, SchemaBuilder, ServerError, ServerResult,
    SubscriptionType, TypeDirective, ValidationResult, Value,
};
use skein_kind::operations::Operations;

use crate::code::Code;
use crate::endpoint::{Caller, Limits};

mod directive {
    use async_graphql::TypeDirective;

    /// The roles of which a principal must have one to use the field. A root field without it is denied to everybody.
    #[TypeDirective(location = "FieldDefinition")]
    pub fn access(roles: Vec<String>) {}
}

/// States who may use a field: `#[graphql(directive = access::apply(["operator"]))]`.
#[allow(non_camel_case_types)]
pub struct access;

impl access {
    /// Whoever has one of the roles may use the field.
    pub fn apply<const N: usize>(roles: [&str; N]) -> MetaDirectiveInvocation {
        directive::access::apply(roles.map(str::to_owned).to_vec())
    }
}

impl TypeDirective for access {
    fn name(&self) -> Cow<'static, str> {
        directive::access.name()
    }

    fn register(&self, registry: &mut Registry) {
        directive::access.register(registry);
    }
}

impl location_traits::Directive_At_FIELD_DEFINITION for access {}

/// Root fields that nobody could use, because they do not state who may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these fields do not state who may use them: {}; add #[graphql(directive = access::apply([…]))]", .0.join(", "))]
pub struct UnstatedAccess(pub Vec<String>);

/// What was stated: by type and field, the roles.
#[derive(Debug, Default)]
struct Statements {
    roots: BTreeSet<String>,
    fields: BTreeMap<(String, String), BTreeSet<String>>,
    /// The types that the schema defines.
    types: BTreeSet<String>,
    unstated: Vec<String>,
}

impl Statements {
    /// Reads them from the schema, where clients can read them, too.
    fn of(sdl: &str, roots: &[&str]) -> Result<Self, async_graphql::parser::Error> {
        let mut statements =
            Statements { roots: roots.iter().map(|root| (*root).to_owned()).collect(), ..Statements::default() };
        for definition in parse_schema(sdl)?.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let name = definition.node.name.node.as_str();
            statements.types.insert(name.to_owned());
            let TypeKind::Object(object) = &definition.node.kind else { continue };
            for field in &object.fields {
                let field = &field.node;
                let statement = field.directives.iter().find(|directive| directive.node.name.node == "access");
                match statement.and_then(|directive| directive.node.get_argument("roles")) {
                    Some(roles) => {
                        let roles = match roles.node.clone() {
                            Value::List(items) => items
                                .into_iter()
                                .filter_map(|role| match role {
                                    Value::String(role) => Some(role),
                                    _ => None,
                                })
                                .collect(),
                            _ => BTreeSet::new(),
                        };
                        statements.fields.insert((name.to_owned(), field.name.node.to_string()), roles);
                    }
                    None if statements.roots.contains(name) => {
                        statements.unstated.push(format!("{name}.{}", field.name.node));
                    }
                    None => {}
                }
            }
        }
        Ok(statements)
    }

    /// Whether the caller may use the field; nobody may use a root field that says nothing.
    fn allow(&self, caller: Option<&Caller>, parent: &str, field: &str) -> bool {
        match self.fields.get(&(parent.to_owned(), field.to_owned())) {
            Some(roles) => caller.is_some_and(|caller| roles.iter().any(|role| caller.principal.has(role))),
            None => !self.roots.contains(parent),
        }
    }
}

/// In the context of a document that is not to be executed: says whether it fits.
#[derive(Debug, Clone, Default)]
struct ValidateOnly(Arc<AtomicBool>);

/// Denies and limits. Until the statements are known, it denies everything.
#[derive(Clone, Default)]
struct Guard(Arc<OnceLock<Statements>>);

impl ExtensionFactory for Guard {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Extension for Guard {
    async fn validation(
        &self,
        cx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(cx).await?;
        let limits = cx.data_opt::<Limits>().copied().unwrap_or_default();
        if result.depth > limits.depth {
            let text = format!("the operation is {} levels deep, at most {} are allowed", result.depth, limits.depth);
            return Err(vec![coded(Code::QueryTooDeep, text)]);
        }
        if result.complexity > limits.complexity {
            let (complexity, most) = (result.complexity, limits.complexity);
            let text = format!("the operation's complexity is {complexity}, at most {most} is allowed: ask for less");
            return Err(vec![coded(Code::QueryTooComplex, text)]);
        }
        if let Some(asked) = cx.data_opt::<ValidateOnly>() {
            asked.0.store(true, Ordering::Relaxed);
            return Err(vec![coded(Code::BadRequest, "it was to be validated only".to_owned())]);
        }
        Ok(result)
    }

    async fn resolve(
        &self,
        cx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        // Whether the schema may be read is decided for the request as a whole.
        let introspection = info.is_for_introspection || info.name.starts_with("__");
        let allowed = introspection
            || self
                .0
                .get()
                .is_some_and(|statements| statements.allow(cx.data_opt::<Caller>(), info.parent_type, info.name));
        if allowed {
            next.run(cx, info).await
        } else {
            let text = format!("you may not use {}.{}", info.parent_type, info.name);
            let mut error = coded(Code::Forbidden, text);
            error.locations.push(info.field.name.pos);
            Err(error)
        }
    }
}

/// An error with its code.
pub(crate) fn coded(code: Code, message: String) -> ServerError {
    let mut error = ServerError::new(message, None);
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code.as_str());
    error.extensions = Some(extensions);
    error
}

/// A service's schema in the making.
pub struct ApiBuilder<Q, M, S = EmptySubscription> {
    schema: SchemaBuilder<Q, M, S>,
    guard: Guard,
    operations: Operations,
}

/// Begins a schema of queries and mutations.
pub fn api<Q: ObjectType + 'static, M: ObjectType + 'static>(query: Q, mutation: M) -> ApiBuilder<Q, M> {
    live_api(query, mutation, EmptySubscription)
}

/// Begins a schema of queries, mutations and subscriptions.
pub fn live_api<Q, M, S>(query: Q, mutation: M, subscription: S) -> ApiBuilder<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let guard = Guard::default();
    let schema = Schema::build(query, mutation, subscription).extension(guard.clone()).disable_suggestions();
    ApiBuilder { schema, guard, operations: Operations::default() }
}

impl<Q, M, S> ApiBuilder<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    /// The same schema with something that its resolvers find in their context, as a reader of views.
    #[must_use]
    pub fn data<D: std::any::Any + Send + Sync>(mut self, data: D) -> Self {
        self.schema = self.schema.data(data);
        self
    }

    /// The same schema with documents that clients may name by their hash.
    #[must_use]
    pub fn operations(mut self, operations: Operations) -> Self {
        self.operations = operations;
        self
    }

    /// The same schema; `only` says whether nothing is executed but those documents.
    #[must_use]
    pub fn persisted_only(mut self, only: bool) -> Self {
        self.operations = self.operations.only(only);
        self
    }

    /// The schema.
    ///
    /// # Errors
    /// Root fields that do not state who may use them.
    pub fn finish(self) -> Result<Api<Q, M>, UnstatedAccess> {
        let (api, unstated) = self.build();
        if unstated.is_empty() { Ok(api) } else { Err(UnstatedAccess(unstated)) }
    }

    fn build(self) -> (Api<Q, M>, Vec<String>) {
        let schema = self.schema.finish();
        let subscriptions = S::type_name();
        let roots = [Q::type_name(), M::type_name(), subscriptions.clone()];
        let unstated = match Statements::of(&schema.sdl(), &roots.each_ref().map(AsRef::as_ref)) {
            Ok(statements) => {
                let unstated = statements.unstated.clone();
                // Set once: the builder is consumed.
                let _ = self.guard.0.set(statements);
                unstated
            }
            // Nothing is known, so that everything stays denied.
            Err(error) => vec![format!("all of them, since the schema cannot be read back ({error})")],
        };
        let api = Api {
            schema: Arc::new(schema),
            guard: self.guard,
            operations: Arc::new(self.operations),
            subscriptions: subscriptions.into_owned(),
            roots: PhantomData,
        };
        (api, unstated)
    }
}

/// A schema, whatever it subscribes to.
#[async_trait::async_trait]
trait Execute: Send + Sync {
    fn sdl(&self) -> String;
    async fn execute(&self, request: async_graphql::Request) -> Response;
    fn stream(&self, request: async_graphql::Request) -> BoxStream<'static, Response>;
}

#[async_trait::async_trait]
impl<Q, M, S> Execute for Schema<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    fn sdl(&self) -> String {
        Schema::sdl(self)
    }

    async fn execute(&self, request: async_graphql::Request) -> Response {
        Schema::execute(self, request).await
    }

    fn stream(&self, request: async_graphql::Request) -> BoxStream<'static, Response> {
        self.execute_stream(request)
    }
}

/// A service's schema, in which every root field states who may use it.
pub struct Api<Q: ObjectType + 'static, M: ObjectType + 'static> {
    schema: Arc<dyn Execute>,
    guard: Guard,
    operations: Arc<Operations>,
    /// The type of the subscriptions' fields.
    subscriptions: String,
    roots: PhantomData<fn() -> (Q, M)>,
}

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Clone for Api<Q, M> {
    fn clone(&self) -> Self {
        Api {
            schema: self.schema.clone(),
            guard: self.guard.clone(),
            operations: self.operations.clone(),
            subscriptions: self.subscriptions.clone(),
            roots: PhantomData,
        }
    }
}

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Api<Q, M> {
    /// The schema in its definition language.
    pub fn sdl(&self) -> String {
        self.schema.sdl()
    }

    /// Whether the schema has the type. Those that every schema has need not be written in it.
    pub(crate) fn knows_type(&self, name: &str) -> bool {
        ["Boolean", "Float", "ID", "Int", "String"].contains(&name)
            || self.guard.0.get().is_some_and(|statements| statements.types.contains(name))
    }

    /// The documents that clients may name by their hash.
    pub(crate) fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Whether a document with one operation fits the schema; nothing of it is executed.
    pub(crate) async fn validate(&self, document: &str) -> Result<(), String> {
        let asked = ValidateOnly::default();
        let response = self.schema.execute(async_graphql::Request::new(document).data(asked.clone())).await;
        if asked.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(response.errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; "))
    }

    /// Whether the caller may use the field of the subscriptions.
    pub(crate) fn may_subscribe(&self, caller: &Caller, field: &str) -> bool {
        self.guard.0.get().is_some_and(|statements| statements.allow(Some(caller), &self.subscriptions, field))
    }

    /// Executes a subscription.
    pub(crate) fn stream(&self, request: async_graphql::Request) -> BoxStream<'static, Response> {
        self.schema.stream(request)
    }

    pub(crate) async fn execute(&self, request: async_graphql::Request) -> Response {
        self.schema.execute(request).await
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{Object, SimpleObject};
    use skein_core::{Principal, Trace};

    use super::*;

    #[derive(SimpleObject)]
    struct Thing {
        open: i32,
        #[graphql(directive = access::apply(["operator"]))]
        secret: i32,
    }

    struct Query;

    #[Object]
    impl Query {
        #[graphql(directive = access::apply(["customer", "operator"]))]
        async fn shared(&self) -> Thing {
            Thing { open: 1, secret: 2 }
        }

        #[graphql(directive = access::apply(["operator"]))]
        async fn internal(&self) -> i32 {
            1
        }

        #[graphql(directive = access::apply([]))]
        async fn closed(&self) -> i32 {
            1
        }
    }

    struct Careless;

    #[Object]
    impl Careless {
        #[graphql(directive = access::apply(["operator"]))]
        async fn stated(&self) -> i32 {
            1
        }

        async fn forgotten(&self) -> i32 {
            1
        }
    }

    async fn ask<Q: ObjectType + 'static, M: ObjectType + 'static>(
        api: &Api<Q, M>,
        query: &str,
        roles: Option<&[&str]>,
    ) -> String {
        let mut request = async_graphql::Request::new(query);
        if let Some(roles) = roles {
            request = request.data(Caller {
                principal: Principal::new("ann", roles.iter().copied()),
                trace: Trace { correlation_id: "t".into(), causation_id: None, traceparent: None },
            });
        }
        let response = api.execute(request).await;
        match response.errors.first() {
            None => response.data.to_string(),
            Some(error) => {
                format!("{} {}", error.extensions.as_ref().unwrap().get("code").unwrap(), error.message)
            }
        }
    }

    #[tokio::test]
    async fn each_field_is_for_its_roles_only() {
        let api = api(Query, Careless).build().0;
        let nobody: Option<&[&str]> = None;
        for (query, roles, answer) in [
            ("{ internal }", Some(&["operator"][..]), "{internal: 1}"),
            ("{ internal }", Some(&["customer"][..]), "\"FORBIDDEN\" you may not use Query.internal"),
            ("{ internal }", Some(&[][..]), "\"FORBIDDEN\" you may not use Query.internal"),
            ("{ internal }", nobody, "\"FORBIDDEN\" you may not use Query.internal"),
            ("{ harmless: internal }", Some(&["customer"][..]), "\"FORBIDDEN\" you may not use Query.internal"),
            ("{ ...F } fragment F on Query { internal }", nobody, "\"FORBIDDEN\" you may not use Query.internal"),
            ("{ closed }", Some(&["operator"][..]), "\"FORBIDDEN\" you may not use Query.closed"),
            ("{ shared { open } }", Some(&["customer"][..]), "{shared: {open: 1}}"),
            ("{ shared { open secret } }", Some(&["customer"][..]), "\"FORBIDDEN\" you may not use Thing.secret"),
            ("{ shared { open secret } }", Some(&["operator"][..]), "{shared: {open: 1, secret: 2}}"),
        ] {
            assert_eq!(ask(&api, query, roles).await, answer, "{query} as {roles:?}");
        }
    }

    #[tokio::test]
    async fn a_field_that_says_nothing_fails_the_build_and_is_denied_to_everybody() {
        let error = api(Query, Careless).finish().err().unwrap();
        assert_eq!(error, UnstatedAccess(vec!["Careless.forgotten".into()]));
        let (api, _) = api(Careless, Query).build();
        let everything = Some(&["operator", "customer", "service"][..]);
        assert_eq!(ask(&api, "{ stated }", everything).await, "{stated: 1}");
        assert_eq!(ask(&api, "{ forgotten }", everything).await, "\"FORBIDDEN\" you may not use Careless.forgotten");
    }
}

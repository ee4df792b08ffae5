//! One schema of several.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql_parser::types::{
    BaseType, DirectiveDefinition, FieldDefinition, ObjectType, Type, TypeDefinition, TypeKind, TypeSystemDefinition,
};
use async_graphql_parser::{Pos, Positioned, parse_schema};

use crate::introspect::Meta;
use crate::print::{Printer, directive_shape, shape};

/// A service's own schema.
#[derive(Debug, Clone, Copy)]
pub struct Schema<'a> {
    /// The service's name: small letters and digits, a letter first.
    pub service: &'a str,
    /// Where the schema stands, for errors: a file's path.
    pub place: &'a str,
    /// The schema in the language of GraphQL.
    pub sdl: &'a str,
}

/// Why schemas make no single one. `place`, `first` and `second` are `file:line`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// It cannot be read.
    #[error("{place}: {why}")]
    Syntax {
        /// The file.
        place: String,
        /// Why not.
        why: String,
    },
    /// Two schemas of one service.
    #[error("{second}: {service} has a schema already, in {first}")]
    Service {
        /// The service.
        service: String,
        /// The one file.
        first: String,
        /// The other.
        second: String,
    },
    /// An extension: a service says all of a type in one place.
    #[error("{place}: types are not extended here; write the fields into the type itself")]
    Extension {
        /// Where.
        place: String,
    },
    /// A root of another name or kind.
    #[error("{place}: the root of each {operation} must be a type {expected:?} that implements nothing")]
    Root {
        /// Where.
        place: String,
        /// `query` or `mutation`.
        operation: &'static str,
        /// What it must be called.
        expected: &'static str,
    },
    /// A field below the roots that leads back to them: what is below it would belong to all services.
    #[error("{place}: {holder} leads to the root {root}, which belongs to all services")]
    Inside {
        /// Where.
        place: String,
        /// The type with that field.
        holder: String,
        /// The root.
        root: String,
    },
    /// Types or directives of one name that are not the same.
    #[error("{second}: {name} is not the {name} of {first}; call one of them otherwise")]
    Type {
        /// The name, with `@` for a directive.
        name: String,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// Root fields of one name, whichever service's name stands before them.
    #[error("{second}: the field {name} of {root} stands in {first}, too; call one of them otherwise")]
    Field {
        /// The root.
        root: &'static str,
        /// The field, as it is called in the whole.
        name: String,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
}

/// The kinds of operations whose root fields are put side by side. Subscriptions go another way.
pub(crate) const ROOTS: [(&str, &str); 2] = [("query", "Query"), ("mutation", "Mutation")];
const SUBSCRIPTION: &str = "Subscription";

/// Who answers a root field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) service: String,
    /// What the service calls it.
    pub(crate) field: String,
    pub(crate) nullable: bool,
}

/// The services' schemas as one.
#[derive(Debug, Clone)]
pub struct Graph {
    sdl: String,
    /// By the root type's name, then by the field's.
    roots: BTreeMap<&'static str, BTreeMap<String, Root>>,
    /// Where questions about the schema are answered.
    pub(crate) meta: Option<Meta>,
}

impl Graph {
    /// The one schema: the same text for the same schemas, in whatever order they were given.
    pub fn sdl(&self) -> &str {
        &self.sdl
    }

    /// The service that answers a root field, and what it calls it; `root` is `Query` or `Mutation`.
    pub fn service_of(&self, root: &str, field: &str) -> Option<(&str, &str)> {
        self.root(root, field).map(|root| (root.service.as_str(), root.field.as_str()))
    }

    /// The services that answer any root field, each once.
    pub fn services(&self) -> BTreeSet<&str> {
        self.roots.values().flat_map(BTreeMap::values).map(|root| root.service.as_str()).collect()
    }

    /// The same, answering `__schema` and `__type`, too: without it they are refused.
    #[must_use]
    pub fn answering_introspection(mut self) -> Self {
        self.meta = Some(Meta::of(&self.sdl));
        self
    }

    pub(crate) fn root(&self, root: &str, field: &str) -> Option<&Root> {
        self.roots.get(root)?.get(field)
    }
}

/// A root field, and where it stands.
struct Found {
    service: String,
    place: String,
    field: FieldDefinition,
}

/// What the schemas say, by name, each with its place.
#[derive(Default)]
struct Reading {
    roots: BTreeMap<&'static str, Vec<Found>>,
    types: BTreeMap<String, (String, TypeDefinition)>,
    directives: BTreeMap<String, (String, DirectiveDefinition)>,
    errors: Vec<ComposeError>,
}

/// Makes one schema of several. Root fields stand side by side; those whose name several services use get the service's
/// name before theirs, `status` of `orders` becoming `ordersStatus`. Types and directives of one name must be the same
/// but for descriptions and order, and become one. Subscriptions are left out.
///
/// # Errors
/// Everything that does not fit together, with its places.
pub fn compose(schemas: &[Schema<'_>]) -> Result<Graph, Vec<ComposeError>> {
    let mut schemas = schemas.to_vec();
    schemas.sort_by_key(|schema| schema.service);
    let mut reading = Reading::default();
    for (index, schema) in schemas.iter().enumerate() {
        if let Some(before) =
            index.checked_sub(1).map(|before| schemas[before]).filter(|one| one.service == schema.service)
        {
            reading.errors.push(ComposeError::Service {
                service: schema.service.to_owned(),
                first: before.place.to_owned(),
                second: schema.place.to_owned(),
            });
        }
        reading.schema(schema);
    }
    let mut roots = BTreeMap::new();
    for (_, root) in ROOTS {
        let found = reading.roots.remove(root).unwrap_or_default();
        let named = reading.named(root, found);
        roots.insert(root, named);
    }
    if !reading.errors.is_empty() {
        return Err(reading.errors);
    }
    let sdl = reading.text(&roots);
    let roots = roots.into_iter().map(|(root, fields)| {
        let fields = fields.into_iter().map(|(name, found)| {
            let root = Root {
                service: found.service,
                field: found.field.name.node.to_string(),
                nullable: found.field.ty.node.nullable,
            };
            (name, root)
        });
        (root, fields.collect())
    });
    Ok(Graph { sdl, roots: roots.collect(), meta: None })
}

fn place(schema: &Schema<'_>, pos: Pos) -> String {
    format!("{}:{}", schema.place, pos.line)
}

/// Whether a directive may stand twice, from the text: the parser says so of every one, since its rule takes nothing at
/// all for the word.
pub(crate) fn repeatable(sdl: &str, definition: &DirectiveDefinition) -> bool {
    let Some(first) = definition.locations.first() else { return false };
    let before: usize = sdl.split_inclusive('\n').take(first.pos.line - 1).map(str::len).sum();
    let line = sdl[before..].char_indices().nth(first.pos.column - 1).map_or(0, |(at, _)| at);
    let text = sdl[..before + line].trim_end_matches(|letter: char| letter.is_whitespace() || letter == '|');
    text.strip_suffix("on").is_some_and(|text| text.trim_end().ends_with("repeatable"))
}

fn innermost(kind: &Type) -> &str {
    match &kind.base {
        BaseType::Named(name) => name,
        BaseType::List(inner) => innermost(inner),
    }
}

impl Reading {
    fn schema(&mut self, schema: &Schema<'_>) {
        let document = match parse_schema(schema.sdl) {
            Ok(document) => document,
            Err(error) => {
                let at = error.positions().next().map_or(schema.place.to_owned(), |pos| place(schema, pos));
                self.errors.push(ComposeError::Syntax { place: at, why: error.to_string() });
                return;
            }
        };
        for definition in document.definitions {
            match definition {
                TypeSystemDefinition::Schema(definition) => {
                    if definition.node.extend {
                        self.errors.push(ComposeError::Extension { place: place(schema, definition.pos) });
                    }
                    let said = [&definition.node.query, &definition.node.mutation];
                    for ((operation, expected), said) in ROOTS.into_iter().zip(said) {
                        if let Some(said) = said.as_ref().filter(|said| said.node != expected) {
                            let place = place(schema, said.pos);
                            self.errors.push(ComposeError::Root { place, operation, expected });
                        }
                    }
                }
                TypeSystemDefinition::Type(definition) => self.kind(schema, definition),
                TypeSystemDefinition::Directive(mut definition) => {
                    definition.node.is_repeatable = repeatable(schema.sdl, &definition.node);
                    let (at, name) = (place(schema, definition.pos), format!("@{}", definition.node.name));
                    match self.directives.get(&name) {
                        Some((first, known)) if directive_shape(known) != directive_shape(&definition.node) => {
                            self.errors.push(ComposeError::Type { name, first: first.clone(), second: at });
                        }
                        Some(_) => (),
                        None => drop(self.directives.insert(name, (at, definition.node))),
                    }
                }
            }
        }
    }

    fn kind(&mut self, schema: &Schema<'_>, definition: Positioned<TypeDefinition>) {
        let at = place(schema, definition.pos);
        let definition = definition.node;
        if definition.extend {
            return self.errors.push(ComposeError::Extension { place: at });
        }
        let name = definition.name.node.to_string();
        if name == SUBSCRIPTION {
            return;
        }
        if let Some((operation, root)) = ROOTS.into_iter().find(|(_, root)| *root == name) {
            return match definition.kind {
                TypeKind::Object(ObjectType { implements, fields }) if implements.is_empty() => {
                    let found = fields.into_iter().map(|field| Found {
                        service: schema.service.to_owned(),
                        place: place(schema, field.pos),
                        field: field.node,
                    });
                    self.roots.entry(root).or_default().extend(found);
                }
                _ => self.errors.push(ComposeError::Root { place: at, operation, expected: root }),
            };
        }
        let leads: Vec<(Pos, &str)> = match &definition.kind {
            TypeKind::Object(ObjectType { fields, .. }) => {
                fields.iter().map(|field| (field.pos, innermost(&field.node.ty.node))).collect()
            }
            TypeKind::Interface(interface) => {
                interface.fields.iter().map(|field| (field.pos, innermost(&field.node.ty.node))).collect()
            }
            TypeKind::Union(union) => union.members.iter().map(|member| (member.pos, member.node.as_str())).collect(),
            _ => Vec::new(),
        };
        for (pos, root) in leads {
            if root == SUBSCRIPTION || ROOTS.iter().any(|(_, known)| *known == root) {
                let (holder, root) = (name.clone(), root.to_owned());
                self.errors.push(ComposeError::Inside { place: place(schema, pos), holder, root });
            }
        }
        match self.types.get(&name) {
            Some((first, known)) if shape(known) != shape(&definition) => {
                self.errors.push(ComposeError::Type { name, first: first.clone(), second: at });
            }
            Some(_) => (),
            None => drop(self.types.insert(name, (at, definition))),
        }
    }

    /// The fields of a root by the names that they have in the whole, in their order.
    fn named(&mut self, root: &'static str, found: Vec<Found>) -> Vec<(String, Found)> {
        let mut users: BTreeMap<String, usize> = BTreeMap::new();
        for found in &found {
            *users.entry(found.field.name.node.to_string()).or_default() += 1;
        }
        let mut named: Vec<(String, Found)> = Vec::new();
        for found in found {
            let own = found.field.name.node.to_string();
            let name = if users[&own] == 1 { own } else { prefixed(&found.service, &own) };
            match named.iter().find(|(known, _)| *known == name) {
                Some((_, first)) => {
                    let (first, second) = (first.place.clone(), found.place);
                    self.errors.push(ComposeError::Field { root, name, first, second });
                }
                None => named.push((name, found)),
            }
        }
        named
    }

    fn text(&self, roots: &BTreeMap<&'static str, Vec<(String, Found)>>) -> String {
        let mut printer = Printer::default();
        for (_, definition) in self.types.values() {
            printer.definition(definition);
            printer.line();
        }
        let used = ROOTS.into_iter().filter(|(_, root)| roots.get(root).is_some_and(|fields| !fields.is_empty()));
        for (_, root) in used.clone() {
            printer.put(format_args!("type {root}"));
            let fields: Vec<FieldDefinition> = roots[root]
                .iter()
                .map(|(name, found)| {
                    let name = found.field.name.clone().map(|_| async_graphql_value::Name::new(name));
                    FieldDefinition { name, ..found.field.clone() }
                })
                .collect();
            printer.fields(&fields.iter().collect::<Vec<_>>());
            printer.put("\n\n");
        }
        for (_, definition) in self.directives.values() {
            printer.directive_definition(definition);
            printer.line();
        }
        printer.put("schema {");
        for (operation, root) in used {
            printer.put(format_args!("\n\t{operation}: {root}"));
        }
        printer.put("\n}\n");
        printer.finish()
    }
}

/// A field's name with its service's before it.
fn prefixed(service: &str, field: &str) -> String {
    let mut letters = field.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    service.chars().chain(first).chain(letters).collect()
}

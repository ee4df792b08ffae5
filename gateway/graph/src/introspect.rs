//! Questions about the schema, answered from the composed one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use async_graphql_parser::types::{
    BaseType, ConstDirective, DirectiveDefinition, EnumValueDefinition, Field, FieldDefinition, FragmentDefinition,
    InputValueDefinition, Selection, SelectionSet, Type, TypeDefinition, TypeKind, TypeSystemDefinition,
};
use async_graphql_parser::{Positioned, parse_schema};
use async_graphql_value::{ConstValue, Name};
use serde_json::{Value as Json, json};

use crate::compose::repeatable;
use crate::print::called;
use crate::refusal::Refusal;

/// The types that every schema has, written in its own language.
const META: &str = include_str!("introspection.graphql");

/// How many fields an answer may have: reading this schema as a whole takes some thousand, and what asks for types of
/// fields of types of fields grows without end.
const MAX_FIELDS: usize = 100_000;

/// A schema that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    types: BTreeMap<String, TypeDefinition>,
    directives: BTreeMap<String, DirectiveDefinition>,
}

impl Meta {
    /// Of a schema that was composed, and so can be read.
    pub(crate) fn of(sdl: &str) -> Self {
        let mut meta = Meta { types: BTreeMap::new(), directives: BTreeMap::new() };
        for text in [META, sdl] {
            for definition in parse_schema(text).map(|document| document.definitions).unwrap_or_default() {
                match definition {
                    TypeSystemDefinition::Schema(_) => (),
                    TypeSystemDefinition::Type(definition) => {
                        meta.types.insert(definition.node.name.node.to_string(), definition.node);
                    }
                    TypeSystemDefinition::Directive(mut definition) => {
                        definition.node.is_repeatable = repeatable(text, &definition.node);
                        meta.directives.insert(definition.node.name.node.to_string(), definition.node);
                    }
                }
            }
        }
        meta
    }

    fn named(&self, name: &str) -> Option<Node<'_>> {
        self.types.get(name).map(Node::Type)
    }
}

/// Something of a schema that has fields.
#[derive(Clone, Copy)]
enum Node<'m> {
    Schema,
    Type(&'m TypeDefinition),
    List(&'m Type),
    /// What may not be null of a type.
    NonNull(&'m BaseType),
    Field(&'m FieldDefinition),
    Input(&'m InputValueDefinition),
    EnumValue(&'m EnumValueDefinition),
    Directive(&'m DirectiveDefinition),
}

impl Node<'_> {
    fn kind(self) -> &'static str {
        match self {
            Node::Schema => "__Schema",
            Node::Type(_) | Node::List(_) | Node::NonNull(_) => "__Type",
            Node::Field(_) => "__Field",
            Node::Input(_) => "__InputValue",
            Node::EnumValue(_) => "__EnumValue",
            Node::Directive(_) => "__Directive",
        }
    }
}

/// What a field of a schema is.
enum Found<'m> {
    Leaf(Json),
    One(Node<'m>),
    Many(Vec<Node<'m>>),
}

impl<'m> From<Option<Node<'m>>> for Found<'m> {
    fn from(node: Option<Node<'m>>) -> Self {
        node.map_or(Found::Leaf(Json::Null), Found::One)
    }
}

/// What an operation gives: its fragments, the values of its variables, and which directives let something be executed.
pub(crate) trait Asking<'d> {
    fn fragments(&self) -> &'d HashMap<Name, Positioned<FragmentDefinition>>;
    fn is_included(&self, selection: &Selection) -> bool;
    /// A value with the operation's variables in it; `None` where nothing was given.
    fn value(&self, value: &async_graphql_value::Value) -> Option<ConstValue>;
}

/// Answers `__schema` or `__type`, asked for once or several times under one key.
///
/// # Errors
/// What the fields of a schema do not have, and a question whose answer would be without end.
pub(crate) fn answer<'d>(
    meta: &Meta,
    asking: &dyn Asking<'d>,
    fields: &[&'d Positioned<Field>],
) -> Result<String, Refusal> {
    let Some(first) = fields.first() else { return Ok("null".to_owned()) };
    let mut writer = Writer { meta, asking, left: MAX_FIELDS, out: String::new() };
    let node = if first.node.name.node == "__schema" {
        writer.arguments(first, &[])?;
        Some(Node::Schema)
    } else {
        match writer.arguments(first, &["name"])? {
            Some(ConstValue::String(name)) => meta.named(&name),
            _ => return Err(unknown(first, "__type needs the name of a type, a text")),
        }
    };
    if fields.iter().any(|field| !same_arguments(first, field)) {
        return Err(unknown(first, "it is asked for twice with different arguments"));
    }
    writer.found(node.into(), fields)?;
    Ok(writer.out)
}

fn unknown(field: &Positioned<Field>, why: &str) -> Refusal {
    Refusal::Meta { field: field.node.name.node.to_string(), why: why.to_owned(), pos: field.pos }
}

fn same_arguments(one: &Positioned<Field>, other: &Positioned<Field>) -> bool {
    let sorted = |field: &Positioned<Field>| -> BTreeMap<String, String> {
        field.node.arguments.iter().map(|(name, value)| (name.node.to_string(), value.node.to_string())).collect()
    };
    one.node.name.node == other.node.name.node && sorted(one) == sorted(other)
}

struct Writer<'a, 'd> {
    meta: &'a Meta,
    asking: &'a dyn Asking<'d>,
    /// How many fields may still be written.
    left: usize,
    out: String,
}

impl<'a, 'd> Writer<'a, 'd> {
    fn found(&mut self, found: Found<'a>, fields: &[&'d Positioned<Field>]) -> Result<(), Refusal> {
        let sets: Vec<&SelectionSet> = fields.iter().map(|field| &field.node.selection_set.node).collect();
        let selects = sets.iter().any(|set| !set.items.is_empty());
        match found {
            Found::Leaf(value) => {
                self.out.push_str(&value.to_string());
                Ok(())
            }
            _ if !selects => Err(unknown(fields[0], "it has fields, of which none is selected")),
            Found::One(node) => self.object(node, &sets),
            Found::Many(nodes) => {
                self.out.push('[');
                for (index, node) in nodes.into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(',');
                    }
                    self.object(node, &sets)?;
                }
                self.out.push(']');
                Ok(())
            }
        }
    }

    fn object(&mut self, node: Node<'a>, sets: &[&'d SelectionSet]) -> Result<(), Refusal> {
        let (mut keys, mut visited) = (Vec::new(), HashSet::new());
        for set in sets {
            self.collect(node, set, &mut keys, &mut visited)?;
        }
        self.out.push('{');
        for (index, (key, fields)) in keys.iter().enumerate() {
            let first = fields[0];
            if fields.iter().any(|field| !same_arguments(first, field)) {
                return Err(unknown(first, "two fields would have one key of the answer"));
            }
            self.left = self.left.checked_sub(1).ok_or(Refusal::Selections { most: MAX_FIELDS })?;
            let separator = if index > 0 { "," } else { "" };
            let _ = write!(self.out, "{separator}{}:", json!(key));
            let found = self.resolve(node, first)?;
            if matches!(found, Found::Leaf(ref leaf) if !leaf.is_null())
                && fields.iter().any(|field| !field.node.selection_set.node.items.is_empty())
            {
                return Err(unknown(first, "it has no fields to select"));
            }
            self.found(found, fields)?;
        }
        self.out.push('}');
        Ok(())
    }

    /// The fields of selections by their keys, in their order.
    fn collect(
        &self,
        node: Node<'a>,
        set: &'d SelectionSet,
        keys: &mut Vec<(&'d str, Vec<&'d Positioned<Field>>)>,
        visited: &mut HashSet<&'d Name>,
    ) -> Result<(), Refusal> {
        for selection in &set.items {
            if !self.asking.is_included(&selection.node) {
                continue;
            }
            let on_this = |condition: &Name| match condition == node.kind() {
                true => Ok(()),
                false => {
                    Err(Refusal::Condition { condition: condition.to_string(), root: node.kind(), pos: selection.pos })
                }
            };
            match &selection.node {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.as_str();
                    match keys.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, fields)) => fields.push(field),
                        None => keys.push((key, vec![field])),
                    }
                }
                Selection::InlineFragment(inline) => {
                    if let Some(condition) = &inline.node.type_condition {
                        on_this(&condition.node.on.node)?;
                    }
                    self.collect(node, &inline.node.selection_set.node, keys, visited)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let Some(fragment) = self.asking.fragments().get(name) else { continue };
                    on_this(&fragment.node.type_condition.node.on.node)?;
                    if visited.insert(name) {
                        self.collect(node, &fragment.node.selection_set.node, keys, visited)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The one argument that a field may have, by the names of those that it takes.
    fn arguments(&self, field: &Positioned<Field>, known: &[&str]) -> Result<Option<ConstValue>, Refusal> {
        let mut given = None;
        for (name, value) in &field.node.arguments {
            if !known.contains(&name.node.as_str()) || given.is_some() {
                return Err(unknown(field, "it does not take these arguments"));
            }
            given = self.asking.value(&value.node);
        }
        Ok(given)
    }

    fn with_deprecated(&self, field: &Positioned<Field>) -> Result<bool, Refusal> {
        match self.arguments(field, &["includeDeprecated"])? {
            None | Some(ConstValue::Null) => Ok(false),
            Some(ConstValue::Boolean(truth)) => Ok(truth),
            Some(_) => Err(unknown(field, "includeDeprecated is true or false")),
        }
    }

    fn resolve(&self, node: Node<'a>, field: &Positioned<Field>) -> Result<Found<'a>, Refusal> {
        let name = field.node.name.node.as_str();
        let takes = matches!(
            (node, name),
            (Node::Type(_) | Node::List(_) | Node::NonNull(_), "fields" | "enumValues" | "inputFields")
                | (Node::Field(_) | Node::Directive(_), "args")
        );
        let all = if takes {
            self.with_deprecated(field)?
        } else {
            self.arguments(field, &[])?;
            false
        };
        let meta = self.meta;
        let text = |text: &str| Found::Leaf(json!(text));
        let maybe = |text: Option<&str>| Found::Leaf(json!(text));
        let inputs = |inputs: &'a [Positioned<InputValueDefinition>]| {
            let inputs = inputs.iter().map(|input| &input.node);
            let inputs = inputs.filter(|input| all || deprecated(&input.directives).is_none());
            Found::Many(inputs.map(Node::Input).collect())
        };
        Ok(match (node, name) {
            (_, "__typename") => text(node.kind()),
            (Node::Schema, "description" | "subscriptionType") => Found::Leaf(Json::Null),
            (Node::Schema, "types") => Found::Many(meta.types.values().map(Node::Type).collect()),
            (Node::Schema, "queryType") => meta.named("Query").into(),
            (Node::Schema, "mutationType") => meta.named("Mutation").into(),
            (Node::Schema, "directives") => Found::Many(meta.directives.values().map(Node::Directive).collect()),

            (Node::List(_), "kind") => text("LIST"),
            (Node::NonNull(_), "kind") => text("NON_NULL"),
            (Node::List(of), "ofType") => typed(meta, of).into(),
            (Node::NonNull(of), "ofType") => based(meta, of).into(),
            (Node::Type(kind), "kind") => text(match kind.kind {
                TypeKind::Scalar => "SCALAR",
                TypeKind::Object(_) => "OBJECT",
                TypeKind::Interface(_) => "INTERFACE",
                TypeKind::Union(_) => "UNION",
                TypeKind::Enum(_) => "ENUM",
                TypeKind::InputObject(_) => "INPUT_OBJECT",
            }),
            (Node::Type(kind), "name") => text(&kind.name.node),
            (Node::Type(kind), "description") => maybe(described(&kind.description)),
            (Node::Type(kind), "specifiedByURL") => Found::Leaf(argument(&kind.directives, "specifiedBy", "url")),
            (Node::Type(kind), "isOneOf") => match kind.kind {
                TypeKind::InputObject(_) => Found::Leaf(json!(stated(&kind.directives, "oneOf").is_some())),
                _ => Found::Leaf(Json::Null),
            },
            (Node::Type(kind), "fields") => match &kind.kind {
                TypeKind::Object(object) => fields(&object.fields, all),
                TypeKind::Interface(interface) => fields(&interface.fields, all),
                _ => Found::Leaf(Json::Null),
            },
            (Node::Type(kind), "interfaces") => match &kind.kind {
                TypeKind::Object(object) => names(meta, &object.implements),
                TypeKind::Interface(interface) => names(meta, &interface.implements),
                _ => Found::Leaf(Json::Null),
            },
            (Node::Type(kind), "possibleTypes") => match &kind.kind {
                TypeKind::Union(union) => names(meta, &union.members),
                TypeKind::Interface(_) => {
                    let implements = |one: &&TypeDefinition| match &one.kind {
                        TypeKind::Object(object) => object.implements.iter().any(|name| name.node == kind.name.node),
                        _ => false,
                    };
                    Found::Many(meta.types.values().filter(implements).map(Node::Type).collect())
                }
                _ => Found::Leaf(Json::Null),
            },
            (Node::Type(kind), "enumValues") => match &kind.kind {
                TypeKind::Enum(values) => {
                    let values = values.values.iter().map(|value| &value.node);
                    let values = values.filter(|value| all || deprecated(&value.directives).is_none());
                    Found::Many(values.map(Node::EnumValue).collect())
                }
                _ => Found::Leaf(Json::Null),
            },
            (Node::Type(kind), "inputFields") => match &kind.kind {
                TypeKind::InputObject(input) => inputs(&input.fields),
                _ => Found::Leaf(Json::Null),
            },
            (
                Node::Type(_) | Node::List(_) | Node::NonNull(_),
                "name" | "description" | "specifiedByURL" | "fields" | "interfaces" | "possibleTypes" | "enumValues"
                | "inputFields" | "ofType" | "isOneOf",
            ) => Found::Leaf(Json::Null),

            (Node::Field(field), "name") => text(&field.name.node),
            (Node::Field(field), "description") => maybe(described(&field.description)),
            (Node::Field(field), "args") => inputs(&field.arguments),
            (Node::Field(field), "type") => typed(meta, &field.ty.node).into(),
            (Node::Input(input), "name") => text(&input.name.node),
            (Node::Input(input), "description") => maybe(described(&input.description)),
            (Node::Input(input), "type") => typed(meta, &input.ty.node).into(),
            (Node::Input(input), "defaultValue") => {
                Found::Leaf(json!(input.default_value.as_ref().map(|value| value.node.to_string())))
            }
            (Node::EnumValue(value), "name") => text(&value.value.node),
            (Node::EnumValue(value), "description") => maybe(described(&value.description)),
            (Node::Directive(directive), "name") => text(&directive.name.node),
            (Node::Directive(directive), "description") => maybe(described(&directive.description)),
            (Node::Directive(directive), "isRepeatable") => Found::Leaf(json!(directive.is_repeatable)),
            (Node::Directive(directive), "locations") => {
                let locations = directive.locations.iter().map(|one| called(one.node));
                Found::Leaf(locations.collect::<Vec<_>>().into())
            }
            (Node::Directive(directive), "args") => inputs(&directive.arguments),
            (Node::Field(_) | Node::Input(_) | Node::EnumValue(_), "isDeprecated" | "deprecationReason") => {
                let directives = match node {
                    Node::Field(field) => &field.directives,
                    Node::Input(input) => &input.directives,
                    Node::EnumValue(value) => &value.directives,
                    _ => return Err(unknown(field, "it is none")),
                };
                let reason = deprecated(directives);
                Found::Leaf(if name == "isDeprecated" { json!(reason.is_some()) } else { json!(reason) })
            }
            _ => return Err(unknown(field, &format!("{} has no such field", node.kind()))),
        })
    }
}

fn fields(fields: &[Positioned<FieldDefinition>], all: bool) -> Found<'_> {
    let fields = fields.iter().map(|field| &field.node);
    let fields = fields.filter(|field| all || deprecated(&field.directives).is_none());
    Found::Many(fields.map(Node::Field).collect())
}

fn names<'m>(meta: &'m Meta, names: &[Positioned<Name>]) -> Found<'m> {
    Found::Many(names.iter().filter_map(|name| meta.named(&name.node)).collect())
}

fn typed<'m>(meta: &'m Meta, kind: &'m Type) -> Option<Node<'m>> {
    if kind.nullable { based(meta, &kind.base) } else { Some(Node::NonNull(&kind.base)) }
}

fn based<'m>(meta: &'m Meta, base: &'m BaseType) -> Option<Node<'m>> {
    match base {
        BaseType::Named(name) => meta.named(name),
        BaseType::List(of) => Some(Node::List(of)),
    }
}

fn described(description: &Option<Positioned<String>>) -> Option<&str> {
    description.as_ref().map(|description| description.node.as_str())
}

fn stated<'m>(directives: &'m [Positioned<ConstDirective>], name: &str) -> Option<&'m ConstDirective> {
    directives.iter().map(|directive| &directive.node).find(|directive| directive.name.node == name)
}

fn argument(directives: &[Positioned<ConstDirective>], directive: &str, name: &str) -> Json {
    let value = stated(directives, directive).and_then(|directive| directive.get_argument(name));
    value.and_then(|value| value.node.clone().into_json().ok()).unwrap_or_default()
}

/// Why something should not be used any more, if that is said.
fn deprecated(directives: &[Positioned<ConstDirective>]) -> Option<String> {
    stated(directives, "deprecated")?;
    let reason = argument(directives, "deprecated", "reason");
    Some(reason.as_str().unwrap_or("No longer supported").to_owned())
}

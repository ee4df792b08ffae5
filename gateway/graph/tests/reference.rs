//! A reference executor, as sections 6.3 and 6.4 of the specification have it: fields collected in order, each asked once,
//! null where something failed or above it. The executor of the services is not used for this: it leaves out what failed,
//! answers in the order in which fields are done, and does not look at the defaults of variables in `@skip`.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql_parser::types::{
    BaseType, Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet, Type, TypeKind,
    TypeSystemDefinition,
};
use async_graphql_parser::{Positioned, parse_query, parse_schema};
use serde_json::{Map, Value, json};

/// What a field gives before it is complete.
enum Found {
    Null,
    Leaf(Value),
    List(Vec<Found>),
    /// An object of this type, and all that it knows.
    Object(&'static str, String),
}

/// A schema, with the service that answers it; `None` for the whole.
pub(crate) struct Reference {
    service: Option<&'static str>,
    types: BTreeMap<(String, String), Type>,
}

struct Run<'d> {
    reference: &'d Reference,
    document: &'d ExecutableDocument,
    operation: &'d OperationDefinition,
    variables: &'d Map<String, Value>,
    errors: Vec<Value>,
}

/// Null goes up to whatever may be null.
struct Up;

impl Reference {
    pub(crate) fn new(service: Option<&'static str>, sdl: &str) -> Self {
        let mut types = BTreeMap::new();
        for definition in parse_schema(sdl).unwrap().definitions {
            if let TypeSystemDefinition::Type(definition) = definition
                && let TypeKind::Object(object) = definition.node.kind
            {
                let fields = object.fields.into_iter().map(|field| field.node);
                let name = definition.node.name.node.to_string();
                types.extend(fields.map(|field| ((name.clone(), field.name.node.to_string()), field.ty.node)));
            }
        }
        Reference { service, types }
    }

    /// The answer's body.
    pub(crate) fn execute(&self, document: &str, variables: &Map<String, Value>) -> String {
        let document = parse_query(document).unwrap();
        let (_, operation) = document.operations.iter().next().unwrap();
        let root = if operation.node.ty.to_string() == "mutation" { "Mutation" } else { "Query" };
        let (operation, errors) = (&operation.node, Vec::new());
        let mut run = Run { reference: self, document: &document, operation, variables, errors };
        let data = run.object(root, "", &[&operation.selection_set.node], &json!([]));
        let data = data.unwrap_or_else(|Up| "null".to_owned());
        match run.errors.as_slice() {
            [] => format!("{{\"data\":{data}}}"),
            errors => format!("{{\"data\":{data},\"errors\":{}}}", Value::from(errors)),
        }
    }

    fn resolve(&self, parent: &str, knows: &str, field: &str, arguments: &Map<String, Value>) -> Result<Found, String> {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str);
        let number = |name: &str| arguments.get(name).and_then(Value::as_i64);
        let order = |id: &str| Found::Object("Order", id.to_owned());
        let stock = |sku: &str| Found::Object("Stock", sku.to_owned());
        let leaf = |value: Value| Ok(Found::Leaf(value));
        let status = |by: &str| match text("id") {
            Some("bad") => Err(format!("{by} knows no such")),
            Some("done") => Ok(Found::Object("Status", format!("DONE {by}"))),
            _ => Ok(Found::Object("Status", format!("OPEN {by}"))),
        };
        match (parent, field) {
            ("Query", "order") => match text("id").unwrap() {
                "bad" => Err("no such order".to_owned()),
                "none" => Ok(Found::Null),
                id => Ok(order(id)),
            },
            ("Query", "orders") => match number("first").unwrap_or(2) {
                first if first < 0 => Err("fewer than none".to_owned()),
                first => Ok(Found::List((0..first).map(|number| order(&number.to_string())).collect())),
            },
            ("Query", "count") => {
                let names = arguments["filter"]["names"].as_array().unwrap();
                let long: usize = names.iter().map(|name| name.as_str().unwrap().len()).sum();
                leaf(json!(arguments["filter"]["atLeast"].as_u64().unwrap_or(0) as usize + long))
            }
            ("Query", "ordersStatus") => status("orders"),
            ("Query", "stocksStatus") => status("stocks"),
            ("Query", "status") => status(self.service.unwrap()),
            ("Query", "stock") if text("sku") == Some("bad") => Err("no such stock".to_owned()),
            ("Query", "stock") => Ok(stock(text("sku").unwrap())),
            ("Query", "top") => Ok(Found::List(vec![stock("sku0")])),
            ("Mutation", "place") if text("id") == Some("bad") => Err("not that".to_owned()),
            ("Mutation", "place") => Ok(order(text("id").unwrap())),
            ("Mutation", "receive") if number("units").unwrap() > 0 => Ok(stock(text("sku").unwrap())),
            ("Mutation", "receive") => Ok(Found::Null),
            ("Order", "id") | ("Stock", "sku") => leaf(json!(knows)),
            ("Order", "total") => Ok(Found::Object("Money", knows.len().to_string())),
            ("Order", "note") if text("text") == Some("bad") => Err(format!("no note for {knows}")),
            ("Order", "note") => leaf(json!(format!("{} {knows}", text("text").unwrap()))),
            ("Order", "weight") | ("Stock", "reserve") => match number("times").or(number("units")).unwrap() {
                number if number < 0 => Err(format!("{knows} has no {number}")),
                number => leaf(json!(number)),
            },
            ("Order", "next") if knows.len() < 3 => Ok(order(&format!("{knows}1"))),
            ("Stock", "price") if knows != "free" => Ok(Found::Object("Money", "3".to_owned())),
            ("Money", "amount") => leaf(json!(knows.parse::<i32>().unwrap())),
            ("Status", "state") => leaf(json!(&knows[..4])),
            ("Status", "by") => leaf(json!(&knows[5..])),
            _ => Ok(Found::Null),
        }
    }
}

impl<'d> Run<'d> {
    fn value(&self, value: &async_graphql_value::Value) -> Option<Value> {
        use async_graphql_value::Value as Written;
        Some(match value {
            Written::Variable(name) => match self.variables.get(name.as_str()) {
                Some(value) => value.clone(),
                None => {
                    let mut declared = self.operation.variable_definitions.iter();
                    let declared = declared.find(|one| one.node.name.node == *name).expect("it is declared");
                    declared.node.default_value.clone()?.node.into_json().unwrap()
                }
            },
            Written::List(items) => items.iter().map(|item| self.value(item).unwrap_or_default()).collect(),
            Written::Object(entries) => {
                let entries = entries.iter().filter_map(|(name, value)| Some((name.to_string(), self.value(value)?)));
                Value::Object(entries.collect())
            }
            other => other.clone().into_json().unwrap(),
        })
    }

    fn included(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| {
            let given = || self.value(&directive.node.get_argument("if").unwrap().node).unwrap();
            match directive.node.name.node.as_str() {
                "skip" => given() == json!(false),
                "include" => given() == json!(true),
                other => panic!("@{other} is not known"),
            }
        })
    }

    fn collect(
        &self,
        selections: &'d SelectionSet,
        visited: &mut BTreeSet<&'d str>,
        groups: &mut Vec<(&'d str, Vec<&'d Field>)>,
    ) {
        for selection in &selections.items {
            if !self.included(selection.node.directives()) {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => {
                    let key = field.node.response_key().node.as_str();
                    match groups.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, fields)) => fields.push(&field.node),
                        None => groups.push((key, vec![&field.node])),
                    }
                }
                // Every type condition is the type itself: there are no interfaces.
                Selection::InlineFragment(inline) => self.collect(&inline.node.selection_set.node, visited, groups),
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if visited.insert(name) {
                        self.collect(&self.document.fragments[name].node.selection_set.node, visited, groups);
                    }
                }
            }
        }
    }

    fn object(&mut self, kind: &str, knows: &str, sets: &[&'d SelectionSet], path: &Value) -> Result<String, Up> {
        let (mut visited, mut groups) = (BTreeSet::new(), Vec::new());
        sets.iter().for_each(|set| self.collect(set, &mut visited, &mut groups));
        let mut members = Vec::new();
        let mut up = false;
        for (key, fields) in groups {
            let path = below(path, json!(key));
            let name = fields[0].name.node.as_str();
            let member = if name == "__typename" {
                Ok(json!(kind).to_string())
            } else {
                let arguments = fields[0].arguments.iter();
                let arguments =
                    arguments.filter_map(|(name, value)| Some((name.to_string(), self.value(&value.node)?)));
                let found = self.reference.resolve(kind, knows, name, &arguments.collect());
                let of = &self.reference.types[&(kind.to_owned(), name.to_owned())];
                self.complete(of, &fields, found, &path)
            };
            // The other fields are asked, too: their errors are told.
            match member {
                Ok(member) => members.push(format!("{}:{member}", json!(key))),
                Err(Up) => up = true,
            }
        }
        if up { Err(Up) } else { Ok(format!("{{{}}}", members.join(","))) }
    }

    fn complete(
        &mut self,
        of: &Type,
        fields: &[&'d Field],
        found: Result<Found, String>,
        path: &Value,
    ) -> Result<String, Up> {
        let completed = match (found, &of.base) {
            (Err(message), _) => {
                self.errors.push(json!({"message": message, "path": path}));
                Err(Up)
            }
            (Ok(Found::Null), _) if of.nullable => Ok("null".to_owned()),
            (Ok(Found::Null), _) => {
                self.errors.push(json!({"message": "it may not be null", "path": path}));
                Err(Up)
            }
            (Ok(Found::List(items)), BaseType::List(of)) => {
                let items = items.into_iter().enumerate();
                let items: Vec<_> = items
                    .map(|(index, item)| self.complete(of, fields, Ok(item), &below(path, json!(index))))
                    .collect();
                let items: Result<Vec<_>, Up> = items.into_iter().collect();
                items.map(|items| format!("[{}]", items.join(",")))
            }
            (Ok(Found::Leaf(value)), BaseType::Named(_)) => Ok(value.to_string()),
            (Ok(Found::Object(kind, knows)), BaseType::Named(name)) if name == kind => {
                let sets: Vec<_> = fields.iter().map(|field| &field.selection_set.node).collect();
                self.object(kind, &knows, &sets, path)
            }
            _ => panic!("{path}: {of} is something else"),
        };
        match completed {
            Err(Up) if of.nullable => Ok("null".to_owned()),
            completed => completed,
        }
    }
}

fn below(path: &Value, step: Value) -> Value {
    path.as_array().unwrap().iter().cloned().chain([step]).collect()
}

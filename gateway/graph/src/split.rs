//! One document for each service of a document over all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_graphql_parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql_parser::{Pos, Positioned, parse_query};
use async_graphql_value::{ConstValue, Name, Value};
use serde_json::{Map, Value as Json};
use skein_kind::Kind;

use crate::compose::{Graph, ROOTS, Root};
use crate::introspect::{Asking, answer};
use crate::merge::{Key, Plan, Source};
use crate::print::Printer;
use crate::refusal::Refusal;

const TYPENAME: &str = "__typename";
/// What is asked about the schema.
const META: [&str; 2] = ["__schema", "__type"];

/// How deep the brackets of a document may be nested: as deep as the services take them.
const MAX_NESTING: usize = 64;

/// How many fields and fragments an operation may have when its fragments are written out: as many as the services take.
const MAX_SELECTIONS: usize = 2_000;

/// What a service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The service.
    pub service: String,
    /// A document of one operation, with the fragments that it needs.
    pub document: String,
    /// The operation's name, if it has one.
    pub operation_name: Option<String>,
    /// The values of its variables, of those that it declares; the defaults of those that have no other.
    pub variables: Map<String, Json>,
}

impl Graph {
    /// Takes a document apart: each root field goes to its service, with its alias, arguments and directives. A service
    /// all of whose fields are skipped by `@skip` or `@include` is not asked; `__typename` of the root is answered by the
    /// plan itself. A name that composing has put before a field is an alias in the service's document.
    ///
    /// # Errors
    /// What no service is asked for; see [`Refusal`].
    pub fn split(
        &self,
        document: &str,
        operation_name: Option<&str>,
        variables: &Map<String, Json>,
    ) -> Result<Plan, Refusal> {
        if skein_kind::nesting(document) > MAX_NESTING {
            return Err(Refusal::Nesting { most: MAX_NESTING });
        }
        let document = parse_query(document)
            .map_err(|error| Refusal::Syntax { why: error.to_string(), pos: error.positions().next() })?;
        let (name, operation) = chosen(&document, operation_name)?;
        let (root, kind) = match operation.node.ty {
            OperationType::Query => (ROOTS[0].1, Kind::Query),
            OperationType::Mutation => (ROOTS[1].1, Kind::Mutation),
            OperationType::Subscription => return Err(Refusal::Subscription { pos: operation.pos }),
        };
        let order = callees_first(&document)?;
        if written_out(&document, operation, &order) > MAX_SELECTIONS {
            return Err(Refusal::Selections { most: MAX_SELECTIONS });
        }
        let mut splitter = Splitter {
            graph: self,
            root,
            operation: &operation.node,
            fragments: &document.fragments,
            services: HashMap::new(),
            variables,
        };
        splitter.check_use(&document, operation)?;
        for fragment in order {
            let definition = &document.fragments[fragment].node;
            if definition.type_condition.node.on.node == root {
                let services = splitter.services(&definition.selection_set.node)?;
                splitter.services.insert(fragment, services);
            }
        }
        // All of it is looked at before any of it is left out.
        splitter.services(&operation.node.selection_set.node)?;
        let keys = splitter.keys()?;
        if operation.node.ty == OperationType::Mutation {
            let mut asked = keys.iter().filter_map(|key| Some((key.service.clone()?, key.pos)));
            if let Some((first, _)) = asked.next()
                && let Some((second, pos)) = asked.find(|(service, _)| *service != first)
            {
                return Err(Refusal::Services { first, second, pos });
            }
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut planned = Vec::new();
        for key in keys.into_iter().filter(|key| key.included) {
            let source = match &key.service {
                None if key.field == TYPENAME => Source::Typename(root),
                None => Source::Schema(match &self.meta {
                    Some(meta) => answer(meta, &splitter, &splitter.fields_of(&key.name))?,
                    None => "null".to_owned(),
                }),
                Some(service) => {
                    let known = parts.iter().position(|part| part.service == *service);
                    Source::Part(known.unwrap_or_else(|| {
                        parts.push(splitter.part(service, name));
                        parts.len() - 1
                    }))
                }
            };
            planned.push(Key { name: key.name, source, nullable: key.nullable, pos: key.pos });
        }
        Ok(Plan::new(kind, planned, parts))
    }
}

/// The operation that is asked for.
fn chosen<'d>(
    document: &'d ExecutableDocument,
    wanted: Option<&str>,
) -> Result<(Option<&'d Name>, &'d Positioned<OperationDefinition>), Refusal> {
    let count = document.operations.iter().len();
    let mut fitting = document.operations.iter().filter(|(name, _)| match wanted {
        Some(wanted) => name.is_some_and(|name| name == wanted),
        None => count == 1,
    });
    fitting.next().ok_or(Refusal::Operation { count })
}

/// The names of the fragments, each after those that it spreads.
fn callees_first(document: &ExecutableDocument) -> Result<Vec<&Name>, Refusal> {
    // How many it still waits for, and who waits for it. What is not defined is told where it is spread.
    let mut waiting: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut waiters: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
    for (name, fragment) in &document.fragments {
        let mut used = Used::default();
        used.selections(&fragment.node.selection_set.node);
        let spread = used.fragments.into_keys().filter(|spread| document.fragments.contains_key(*spread));
        let spread: Vec<_> = spread.collect();
        waiting.insert(name, spread.len());
        spread.into_iter().for_each(|spread| waiters.entry(spread).or_default().push(name));
    }
    let mut order: Vec<&Name> = waiting.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut next = 0;
    while let Some(done) = order.get(next).copied() {
        next += 1;
        for waiter in waiters.remove(done).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(waiter) {
                *count -= 1;
                if *count == 0 {
                    order.push(waiter);
                }
            }
        }
    }
    // Whatever is left waits for something that is left.
    let left = waiting
        .into_iter()
        .find(|(_, count)| *count > 0)
        .and_then(|(name, _)| Some((name, document.fragments.get(name)?)));
    match left {
        Some((name, fragment)) => {
            Err(Refusal::Fragment { name: name.to_string(), why: "leads back to itself", pos: fragment.pos })
        }
        None => Ok(order),
    }
}

/// How many fields and fragments an operation has when its fragments are written out.
fn written_out(
    document: &ExecutableDocument,
    operation: &Positioned<OperationDefinition>,
    callees_first: &[&Name],
) -> usize {
    fn count(selections: &SelectionSet, known: &HashMap<&Name, usize>) -> usize {
        selections.items.iter().fold(0, |sum, selection| {
            let inner = match &selection.node {
                Selection::Field(field) => count(&field.node.selection_set.node, known),
                Selection::FragmentSpread(spread) => {
                    known.get(&spread.node.fragment_name.node).copied().unwrap_or_default()
                }
                Selection::InlineFragment(inline) => count(&inline.node.selection_set.node, known),
            };
            sum.saturating_add(inner).saturating_add(1)
        })
    }
    let mut known = HashMap::new();
    for name in callees_first {
        let selections = &document.fragments[*name].node.selection_set.node;
        let count = count(selections, &known);
        known.insert(*name, count);
    }
    count(&operation.node.selection_set.node, &known)
}

/// The fragments and variables that something uses, with where a fragment is spread.
#[derive(Default)]
struct Used<'d> {
    fragments: BTreeMap<&'d Name, Pos>,
    variables: BTreeSet<&'d Name>,
}

impl<'d> Used<'d> {
    fn selections(&mut self, selections: &'d SelectionSet) {
        for selection in &selections.items {
            self.directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    field.node.arguments.iter().for_each(|(_, value)| self.value(&value.node));
                    self.selections(&field.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => {
                    self.fragments.entry(&spread.node.fragment_name.node).or_insert(selection.pos);
                }
                Selection::InlineFragment(inline) => self.selections(&inline.node.selection_set.node),
            }
        }
    }

    fn directives(&mut self, directives: &'d [Positioned<Directive>]) {
        for directive in directives {
            directive.node.arguments.iter().for_each(|(_, value)| self.value(&value.node));
        }
    }

    fn value(&mut self, value: &'d Value) {
        match value {
            Value::Variable(name) => drop(self.variables.insert(name)),
            Value::List(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(entries) => entries.values().for_each(|value| self.value(value)),
            _ => (),
        }
    }

    /// Adds what the fragments use, and what theirs do.
    fn follow(&mut self, fragments: &'d HashMap<Name, Positioned<FragmentDefinition>>) {
        let mut open: Vec<&Name> = self.fragments.keys().copied().collect();
        let mut seen: BTreeSet<&Name> = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some(fragment) = fragments.get(name).filter(|_| seen.insert(name)) else { continue };
            let mut own = Used::default();
            own.directives(&fragment.node.directives);
            own.selections(&fragment.node.selection_set.node);
            open.extend(own.fragments.keys());
            self.variables.extend(own.variables);
            for (name, pos) in own.fragments {
                self.fragments.entry(name).or_insert(pos);
            }
        }
    }
}

struct Splitter<'d> {
    graph: &'d Graph,
    root: &'static str,
    operation: &'d OperationDefinition,
    fragments: &'d HashMap<Name, Positioned<FragmentDefinition>>,
    /// Of the fragments on the root: the services whose fields they have.
    services: HashMap<&'d Name, BTreeSet<&'d str>>,
    variables: &'d Map<String, Json>,
}

/// A key of the answer.
struct Wanted {
    name: String,
    /// `None` for the root's own name, and for what is asked about the schema.
    service: Option<String>,
    /// What the service calls the field.
    field: String,
    nullable: bool,
    included: bool,
    pos: Pos,
}

impl<'d> Splitter<'d> {
    /// What a service could not see of a document of its own: that something is used nowhere, or declared nowhere.
    fn check_use(
        &self,
        document: &'d ExecutableDocument,
        operation: &'d Positioned<OperationDefinition>,
    ) -> Result<(), Refusal> {
        let mut spread = Used::default();
        document.operations.iter().for_each(|(_, each)| spread.selections(&each.node.selection_set.node));
        spread.follow(self.fragments);
        if let Some((name, pos)) = spread.fragments.iter().find(|(name, _)| !self.fragments.contains_key(**name)) {
            return Err(Refusal::Fragment { name: name.to_string(), why: "is not defined", pos: *pos });
        }
        let unused = self.fragments.iter().filter(|(name, _)| !spread.fragments.contains_key(name));
        if let Some((name, fragment)) = unused.min_by_key(|(_, fragment)| fragment.pos) {
            return Err(Refusal::Fragment { name: name.to_string(), why: "is used nowhere", pos: fragment.pos });
        }
        let used = self.used(&operation.node);
        let declared = || operation.node.variable_definitions.iter();
        if let Some(unused) = declared().find(|one| !used.variables.contains(&one.node.name.node)) {
            let name = unused.node.name.to_string();
            return Err(Refusal::Variable { name, why: "is used nowhere", pos: unused.pos });
        }
        match used.variables.iter().find(|name| !declared().any(|one| one.node.name.node == ***name)) {
            Some(name) => Err(Refusal::Variable { name: name.to_string(), why: "is not declared", pos: operation.pos }),
            None => Ok(()),
        }
    }

    fn used(&self, operation: &'d OperationDefinition) -> Used<'d> {
        let mut used = Used::default();
        used.directives(&operation.directives);
        used.selections(&operation.selection_set.node);
        used.follow(self.fragments);
        used
    }

    /// Whether no service is asked for the field of the root.
    fn is_own(&self, field: &Positioned<Field>) -> bool {
        let name = field.node.name.node.as_str();
        name == TYPENAME || (META.contains(&name) && self.graph.meta.is_some() && self.root == ROOTS[0].1)
    }

    /// The fields of the root with that key that are not skipped, in their order.
    fn fields_of(&self, key: &str) -> Vec<&'d Positioned<Field>> {
        let (mut fields, mut visited) = (Vec::new(), BTreeSet::new());
        let mut open = vec![self.operation.selection_set.node.items.iter()];
        while let Some(items) = open.last_mut() {
            let Some(selection) = items.next() else {
                open.pop();
                continue;
            };
            if !self.included(selection.node.directives()) {
                continue;
            }
            match &selection.node {
                Selection::Field(field) if field.node.response_key().node == key => fields.push(field),
                Selection::Field(_) => (),
                Selection::InlineFragment(inline) => open.push(inline.node.selection_set.node.items.iter()),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if visited.insert(name) {
                        open.push(self.fragments[name].node.selection_set.node.items.iter());
                    }
                }
            }
        }
        fields
    }

    fn root_field(&self, field: &Positioned<Field>) -> Result<&'d Root, Refusal> {
        let name = field.node.name.node.as_str();
        if META.contains(&name) {
            return Err(Refusal::Introspection { field: name.to_owned(), pos: field.pos });
        }
        self.graph.root(self.root, name).ok_or_else(|| Refusal::Field {
            root: self.root,
            field: name.to_owned(),
            pos: field.pos,
        })
    }

    fn on_root(&self, condition: &Name, pos: Pos) -> Result<(), Refusal> {
        if condition == self.root {
            return Ok(());
        }
        Err(Refusal::Condition { condition: condition.to_string(), root: self.root, pos })
    }

    /// The services whose fields stand in selections of the root.
    fn services(&self, selections: &'d SelectionSet) -> Result<BTreeSet<&'d str>, Refusal> {
        let mut services = BTreeSet::new();
        for selection in &selections.items {
            match &selection.node {
                Selection::Field(field) if self.is_own(field) => (),
                Selection::Field(field) => drop(services.insert(self.root_field(field)?.service.as_str())),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    self.on_root(&self.fragments[name].node.type_condition.node.on.node, selection.pos)?;
                    services.extend(self.services.get(name).into_iter().flatten());
                }
                Selection::InlineFragment(inline) => {
                    if let Some(condition) = &inline.node.type_condition {
                        self.on_root(&condition.node.on.node, selection.pos)?;
                    }
                    services.extend(self.services(&inline.node.selection_set.node)?);
                }
            }
        }
        Ok(services)
    }

    /// The keys of the answer in their order, those of skipped fields among them. The order is that of the first field
    /// that is not skipped, as executing the whole would have it.
    fn keys(&self) -> Result<Vec<Wanted>, Refusal> {
        let mut all: Vec<Wanted> = Vec::new();
        let mut visited: BTreeMap<&Name, bool> = BTreeMap::new();
        // What is still to be looked at, with whether it is included. Its own stack: fragments may be spread deeply.
        let mut open = vec![(self.operation.selection_set.node.items.iter(), true)];
        while let Some((items, included)) = open.last_mut() {
            let outer = *included;
            let Some(selection) = items.next() else {
                open.pop();
                continue;
            };
            let included = outer && self.included(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => self.key(&mut all, field, included)?,
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    // A second time only if it was skipped and is not any more.
                    if visited.get(name).is_none_or(|before| included && !before) {
                        visited.insert(name, included);
                        open.push((self.fragments[name].node.selection_set.node.items.iter(), included));
                    }
                }
                Selection::InlineFragment(inline) => open.push((inline.node.selection_set.node.items.iter(), included)),
            }
        }
        Ok(all)
    }

    fn key(&self, all: &mut Vec<Wanted>, field: &Positioned<Field>, included: bool) -> Result<(), Refusal> {
        let name = field.node.response_key().node.to_string();
        let (service, own, nullable) = if self.is_own(field) {
            let name = field.node.name.node.to_string();
            (None, name.clone(), name == "__type")
        } else {
            let root = self.root_field(field)?;
            (Some(root.service.clone()), root.field.clone(), root.nullable)
        };
        let wanted = Wanted { name, service, field: own, nullable, included, pos: field.pos };
        let Some(index) = all.iter().position(|known| known.name == wanted.name) else {
            all.push(wanted);
            return Ok(());
        };
        if (&all[index].service, &all[index].field) != (&wanted.service, &wanted.field) {
            let told = |one: &Wanted| match &one.service {
                Some(service) => format!("{} of {service}", one.field),
                None => one.field.clone(),
            };
            let (first, second) = (told(&all[index]), told(&wanted));
            return Err(Refusal::Key { key: wanted.name, first, second, pos: wanted.pos });
        }
        // Where it was skipped it had no place yet.
        if included && !all[index].included {
            all.remove(index);
            all.push(wanted);
        }
        Ok(())
    }

    /// Whether directives let something be executed. What they do not say in the form that they must is left to the
    /// service to refuse.
    fn included(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().all(|directive| {
            let truth = directive.node.get_argument("if").and_then(|value| match &value.node {
                Value::Boolean(truth) => Some(*truth),
                Value::Variable(name) => self.truth(name),
                _ => None,
            });
            match (directive.node.name.node.as_str(), truth) {
                ("skip", Some(truth)) => !truth,
                ("include", Some(truth)) => truth,
                _ => true,
            }
        })
    }

    fn truth(&self, name: &Name) -> Option<bool> {
        match self.variables.get(name.as_str()) {
            Some(value) => value.as_bool(),
            None => {
                let mut declared = self.operation.variable_definitions.iter();
                let default = &declared.find(|one| one.node.name.node == *name)?.node.default_value.as_ref()?.node;
                match default {
                    ConstValue::Boolean(truth) => Some(*truth),
                    _ => None,
                }
            }
        }
    }

    /// What a service is asked.
    fn part(&self, service: &str, name: Option<&Name>) -> Part {
        let own = self.own(&self.operation.selection_set.node, service);
        let mut definitions: BTreeMap<&Name, SelectionSet> = BTreeMap::new();
        let mut used = Used::default();
        used.directives(&self.operation.directives);
        used.selections(&own);
        let mut variables: BTreeSet<Name> = used.variables.into_iter().cloned().collect();
        let mut open: Vec<Name> = used.fragments.into_keys().cloned().collect();
        while let Some(name) = open.pop() {
            let Some((name, fragment)) = self.fragments.get_key_value(&name) else { continue };
            if definitions.contains_key(name) {
                continue;
            }
            let whole = &fragment.node.selection_set.node;
            let selections = if self.services.contains_key(name) { self.own(whole, service) } else { whole.clone() };
            let mut used = Used::default();
            used.directives(&fragment.node.directives);
            used.selections(&selections);
            variables.extend(used.variables.into_iter().cloned());
            open.extend(used.fragments.into_keys().cloned());
            definitions.insert(name, selections);
        }
        let declared: Vec<_> = self.operation.variable_definitions.iter().map(|one| &one.node).collect();
        let declared: Vec<_> = declared.into_iter().filter(|one| variables.contains(&one.name.node)).collect();
        let mut printer = Printer::default();
        printer.operation(name, self.operation, &declared, &own);
        for (name, selections) in &definitions {
            printer.fragment(name, &self.fragments[*name].node, selections);
        }
        let values = declared.iter().filter_map(|one| {
            let name = one.name.node.as_str();
            // Defaults are said: async-graphql does not look at them in `@skip` and `@include`.
            let default = || one.default_value.as_ref()?.node.clone().into_json().ok();
            Some((name.to_owned(), self.variables.get(name).cloned().or_else(default)?))
        });
        Part {
            service: service.to_owned(),
            document: printer.finish(),
            operation_name: name.map(Name::to_string),
            variables: values.collect(),
        }
    }

    /// Of selections of the root those of one service, as it calls them.
    fn own(&self, selections: &SelectionSet, service: &str) -> SelectionSet {
        let own = selections.items.iter().filter_map(|selection| {
            let node = match &selection.node {
                Selection::Field(field) => {
                    let root =
                        self.graph.root(self.root, &field.node.name.node).filter(|root| root.service == service)?;
                    let mut field = field.clone();
                    if root.field != field.node.name.node.as_str() {
                        field.node.alias = Some(field.node.response_key().clone());
                        field.node.name.node = Name::new(&root.field);
                    }
                    Selection::Field(field)
                }
                Selection::FragmentSpread(spread) => {
                    let services = self.services.get(&spread.node.fragment_name.node)?;
                    services.contains(service).then(|| Selection::FragmentSpread(spread.clone()))?
                }
                Selection::InlineFragment(inline) => {
                    let own = self.own(&inline.node.selection_set.node, service);
                    let mut inline = inline.clone();
                    inline.node.selection_set.node = own;
                    (!inline.node.selection_set.node.items.is_empty()).then_some(Selection::InlineFragment(inline))?
                }
            };
            Some(Positioned::new(node, selection.pos))
        });
        SelectionSet { items: own.collect() }
    }
}

impl<'d> Asking<'d> for Splitter<'d> {
    fn fragments(&self) -> &'d HashMap<Name, Positioned<FragmentDefinition>> {
        self.fragments
    }

    fn is_included(&self, selection: &Selection) -> bool {
        self.included(selection.directives())
    }

    fn value(&self, value: &Value) -> Option<ConstValue> {
        value
            .clone()
            .into_const_with(|name| {
                let given =
                    self.variables.get(name.as_str()).cloned().and_then(|json| ConstValue::from_json(json).ok());
                let mut declared = self.operation.variable_definitions.iter();
                let default =
                    || Some(declared.find(|one| one.node.name.node == name)?.node.default_value.as_ref()?.node.clone());
                given.or_else(default).ok_or(())
            })
            .ok()
    }
}

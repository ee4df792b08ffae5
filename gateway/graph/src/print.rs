//! Documents and schemas as text. The crate that reads them prints values, too, but with control characters by their
//! decimal number after `\u`, which reads back as another character.

use std::fmt::{Display, Write as _};

use async_graphql_parser::Positioned;
use async_graphql_parser::types::{
    ConstDirective, Directive, DirectiveDefinition, DirectiveLocation, Field, FieldDefinition, FragmentDefinition,
    InputValueDefinition, OperationDefinition, Selection, SelectionSet, TypeDefinition, TypeKind, VariableDefinition,
};
use async_graphql_value::{Name, Value};

/// Text as it grows. Writing to a text cannot fail.
#[derive(Default)]
pub(crate) struct Printer {
    text: String,
    depth: usize,
    /// Whether only the shape counts: no descriptions, and in the order of names.
    shape: bool,
}

/// The same for types that differ in nothing but descriptions and order.
pub(crate) fn shape(definition: &TypeDefinition) -> String {
    let mut printer = Printer { shape: true, ..Printer::default() };
    printer.definition(definition);
    printer.text
}

/// The same for directives.
pub(crate) fn directive_shape(definition: &DirectiveDefinition) -> String {
    let mut printer = Printer { shape: true, ..Printer::default() };
    printer.directive_definition(definition);
    printer.text
}

impl Printer {
    pub(crate) fn finish(self) -> String {
        self.text
    }

    pub(crate) fn put(&mut self, text: impl Display) {
        let _ = write!(self.text, "{text}");
    }

    pub(crate) fn line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n('\t', self.depth));
    }

    fn block(&mut self, inside: impl FnOnce(&mut Self)) {
        self.put(" {");
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.line();
        self.put("}");
    }

    /// A list in brackets, each item by itself.
    fn listed<T>(&mut self, [open, close]: [char; 2], items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.put(open);
        for (index, one) in items.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            item(self, one);
        }
        self.put(close);
    }

    fn string(&mut self, text: &str) {
        self.put('"');
        for letter in text.chars() {
            match letter {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\n' => self.put("\\n"),
                '\r' => self.put("\\r"),
                '\t' => self.put("\\t"),
                letter if letter.is_control() => self.put(format_args!("\\u{:04x}", u32::from(letter))),
                letter => self.put(letter),
            }
        }
        self.put('"');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Variable(name) => self.put(format_args!("${name}")),
            Value::Null => self.put("null"),
            Value::Number(number) => self.put(number),
            Value::String(text) => self.string(text),
            Value::Boolean(truth) => self.put(truth),
            // No document holds it: a value of this kind is made by programs alone.
            Value::Binary(bytes) => self.listed(['[', ']'], bytes, |printer, byte| printer.put(byte)),
            Value::Enum(name) => self.put(name),
            Value::List(items) => self.listed(['[', ']'], items, |printer, item| printer.value(item)),
            Value::Object(entries) => {
                let entries: Vec<_> = entries.iter().collect();
                self.listed(['{', '}'], &entries, |printer, (name, value)| {
                    printer.put(format_args!("{name}: "));
                    printer.value(value);
                });
            }
        }
    }

    fn arguments(&mut self, arguments: &[(Positioned<Name>, Positioned<Value>)]) {
        if !arguments.is_empty() {
            self.listed(['(', ')'], arguments, |printer, (name, value)| {
                printer.put(format_args!("{name}: "));
                printer.value(&value.node);
            });
        }
    }

    fn directives(&mut self, directives: &[Positioned<Directive>]) {
        for directive in directives {
            self.put(format_args!(" @{}", directive.node.name));
            self.arguments(&directive.node.arguments);
        }
    }

    fn const_directives(&mut self, directives: &[Positioned<ConstDirective>]) {
        let directives: Vec<_> =
            directives.iter().map(|directive| directive.clone().map(ConstDirective::into_directive)).collect();
        self.directives(&directives);
    }

    /// An operation, with these of its variables and with these selections instead of its own.
    pub(crate) fn operation(
        &mut self,
        name: Option<&Name>,
        operation: &OperationDefinition,
        variables: &[&VariableDefinition],
        selections: &SelectionSet,
    ) {
        self.put(operation.ty);
        if let Some(name) = name {
            self.put(format_args!(" {name}"));
        }
        if !variables.is_empty() {
            self.listed(['(', ')'], variables, |printer, variable| {
                printer.put(format_args!("${}: {}", variable.name, variable.var_type));
                if let Some(default) = &variable.default_value {
                    printer.put(" = ");
                    printer.value(&default.node.clone().into_value());
                }
                printer.directives(&variable.directives);
            });
        }
        self.directives(&operation.directives);
        self.selections(selections);
        self.line();
    }

    /// A fragment, with these selections instead of its own.
    pub(crate) fn fragment(&mut self, name: &Name, fragment: &FragmentDefinition, selections: &SelectionSet) {
        self.put(format_args!("fragment {name} on {}", fragment.type_condition.node.on));
        self.directives(&fragment.directives);
        self.selections(selections);
        self.line();
    }

    fn selections(&mut self, selections: &SelectionSet) {
        self.block(|printer| {
            for selection in &selections.items {
                printer.line();
                match &selection.node {
                    Selection::Field(field) => printer.field(&field.node),
                    Selection::FragmentSpread(spread) => {
                        printer.put(format_args!("...{}", spread.node.fragment_name));
                        printer.directives(&spread.node.directives);
                    }
                    Selection::InlineFragment(inline) => {
                        printer.put("...");
                        if let Some(condition) = &inline.node.type_condition {
                            printer.put(format_args!(" on {}", condition.node.on));
                        }
                        printer.directives(&inline.node.directives);
                        printer.selections(&inline.node.selection_set.node);
                    }
                }
            }
        });
    }

    fn field(&mut self, field: &Field) {
        if let Some(alias) = &field.alias {
            self.put(format_args!("{alias}: "));
        }
        self.put(&field.name);
        self.arguments(&field.arguments);
        self.directives(&field.directives);
        if !field.selection_set.node.items.is_empty() {
            self.selections(&field.selection_set.node);
        }
    }

    fn description(&mut self, description: Option<&Positioned<String>>) {
        let Some(description) = description.filter(|_| !self.shape) else { return };
        self.put("\"\"\"");
        for line in description.node.replace("\"\"\"", "\\\"\"\"").lines() {
            // No blanks at the end of a line that is empty.
            if line.is_empty() {
                self.put('\n');
            } else {
                self.line();
                self.put(line);
            }
        }
        self.line();
        self.put("\"\"\"");
        self.line();
    }

    /// In the order of the source, or of names where only the shape counts.
    fn ordered<'t, T>(&self, items: &'t [Positioned<T>], name: impl Fn(&T) -> &Name) -> Vec<&'t T> {
        let mut items: Vec<&T> = items.iter().map(|item| &item.node).collect();
        if self.shape {
            items.sort_by(|one, other| name(one).cmp(name(other)));
        }
        items
    }

    fn names(&mut self, before: &str, between: &str, names: &[Positioned<Name>]) {
        let mut names: Vec<&Name> = names.iter().map(|name| &name.node).collect();
        if self.shape {
            names.sort();
        }
        for (index, name) in names.into_iter().enumerate() {
            self.put(if index == 0 { before } else { between });
            self.put(name);
        }
    }

    /// A type.
    pub(crate) fn definition(&mut self, definition: &TypeDefinition) {
        self.description(definition.description.as_ref());
        let word = match &definition.kind {
            TypeKind::Scalar => "scalar",
            TypeKind::Object(_) => "type",
            TypeKind::Interface(_) => "interface",
            TypeKind::Union(_) => "union",
            TypeKind::Enum(_) => "enum",
            TypeKind::InputObject(_) => "input",
        };
        self.put(format_args!("{word} {}", definition.name));
        if let TypeKind::Object(object) = &definition.kind {
            self.names(" implements ", " & ", &object.implements);
        }
        if let TypeKind::Interface(interface) = &definition.kind {
            self.names(" implements ", " & ", &interface.implements);
        }
        self.const_directives(&definition.directives);
        match &definition.kind {
            TypeKind::Scalar => (),
            TypeKind::Union(union) => self.names(" = ", " | ", &union.members),
            TypeKind::Object(object) => self.fields(&self.ordered(&object.fields, |field| &field.name.node)),
            TypeKind::Interface(interface) => self.fields(&self.ordered(&interface.fields, |field| &field.name.node)),
            TypeKind::Enum(values) => {
                let values = self.ordered(&values.values, |value| &value.value.node);
                self.block(|printer| {
                    for value in values {
                        printer.line();
                        printer.description(value.description.as_ref());
                        printer.put(&value.value);
                        printer.const_directives(&value.directives);
                    }
                });
            }
            TypeKind::InputObject(input) => {
                let fields = self.ordered(&input.fields, |field| &field.name.node);
                self.block(|printer| {
                    for field in fields {
                        printer.line();
                        printer.description(field.description.as_ref());
                        printer.input(field);
                    }
                });
            }
        }
        self.line();
    }

    /// The fields of a type, in braces.
    pub(crate) fn fields(&mut self, fields: &[&FieldDefinition]) {
        self.block(|printer| {
            for field in fields {
                printer.line();
                printer.description(field.description.as_ref());
                printer.put(&field.name);
                printer.inputs(&field.arguments);
                printer.put(format_args!(": {}", field.ty));
                printer.const_directives(&field.directives);
            }
        });
    }

    fn inputs(&mut self, inputs: &[Positioned<InputValueDefinition>]) {
        if !inputs.is_empty() {
            let inputs = self.ordered(inputs, |input| &input.name.node);
            self.listed(['(', ')'], &inputs, |printer, input| {
                // On the argument's own line of text: a block would tear the field apart.
                if let Some(description) = input.description.as_ref().filter(|_| !printer.shape) {
                    printer.string(&description.node);
                    printer.put(' ');
                }
                printer.input(input);
            });
        }
    }

    fn input(&mut self, input: &InputValueDefinition) {
        self.put(format_args!("{}: {}", input.name, input.ty));
        if let Some(default) = &input.default_value {
            self.put(" = ");
            self.value(&default.node.clone().into_value());
        }
        self.const_directives(&input.directives);
    }

    /// A directive.
    pub(crate) fn directive_definition(&mut self, definition: &DirectiveDefinition) {
        self.description(definition.description.as_ref());
        self.put(format_args!("directive @{}", definition.name));
        self.inputs(&definition.arguments);
        self.put(if definition.is_repeatable { " repeatable on " } else { " on " });
        let mut places: Vec<_> = definition.locations.iter().map(|place| called(place.node)).collect();
        if self.shape {
            places.sort_unstable();
        }
        self.put(places.join(" | "));
        self.line();
    }
}

pub(crate) fn called(place: DirectiveLocation) -> &'static str {
    match place {
        DirectiveLocation::Query => "QUERY",
        DirectiveLocation::Mutation => "MUTATION",
        DirectiveLocation::Subscription => "SUBSCRIPTION",
        DirectiveLocation::Field => "FIELD",
        DirectiveLocation::FragmentDefinition => "FRAGMENT_DEFINITION",
        DirectiveLocation::FragmentSpread => "FRAGMENT_SPREAD",
        DirectiveLocation::InlineFragment => "INLINE_FRAGMENT",
        DirectiveLocation::Schema => "SCHEMA",
        DirectiveLocation::Scalar => "SCALAR",
        DirectiveLocation::Object => "OBJECT",
        DirectiveLocation::FieldDefinition => "FIELD_DEFINITION",
        DirectiveLocation::ArgumentDefinition => "ARGUMENT_DEFINITION",
        DirectiveLocation::Interface => "INTERFACE",
        DirectiveLocation::Union => "UNION",
        DirectiveLocation::Enum => "ENUM",
        DirectiveLocation::EnumValue => "ENUM_VALUE",
        DirectiveLocation::InputObject => "INPUT_OBJECT",
        DirectiveLocation::InputFieldDefinition => "INPUT_FIELD_DEFINITION",
        DirectiveLocation::VariableDefinition => "VARIABLE_DEFINITION",
    }
}

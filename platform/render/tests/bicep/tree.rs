//! Bicep as what it means, from the tree of its tree-sitter grammar. What it does not know is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::{Node, Parser};

use super::meaning::{Identity, Item, Module, Parameter, Term, call, join, keyed};

/// The functions that Bicep knows of those that templates use, from its reference; operators stand for the others.
const AZ: [&str; 7] = [
    "environment",
    "extensionResourceId",
    "resourceGroup",
    "resourceId",
    "subscription",
    "subscriptionResourceId",
    "tenant",
];
const SYS: [&str; 9] = ["concat", "empty", "format", "guid", "replace", "take", "toLower", "uniqueString", "utcNow"];

const DEPLOYMENTS: &str = "Microsoft.Resources/deployments";

/// Reads a module and those that it deploys.
pub fn read<'f>(path: &str, file: &dyn Fn(&str) -> Option<&'f str>) -> Result<Module, String> {
    let text = file(path).ok_or_else(|| format!("there is no {path}"))?;
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).map_err(|error| error.to_string())?;
    let tree = parser.parse(text, None).ok_or("the parser gave up")?;
    let root = tree.root_node();
    if root.has_error() {
        return Err(format!("{path} is no Bicep: {}", wrong(root).unwrap_or_default()));
    }
    let read = Read {
        text,
        declared: declared(root, text).map_err(|error| format!("{path}: {error}"))?,
        spoken: RefCell::default(),
        within: RefCell::default(),
    };
    read.module(root, path, file)
        .map_err(|error| if error.contains(".bicep") { error } else { format!("{path}: {error}") })
}

fn wrong(node: Node<'_>) -> Option<String> {
    if node.is_error() || node.is_missing() {
        return Some(format!("line {}", node.start_position().row + 1));
    }
    let mut cursor = node.walk();
    node.children(&mut cursor).find_map(wrong)
}

fn named(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).filter(|child| !child.kind().ends_with("comment")).collect()
}

/// What a name of a module stands for.
#[derive(Clone, Copy)]
enum Declared<'t> {
    Parameter,
    Variable(Node<'t>),
    /// With its version.
    Resource {
        of: &'t str,
        body: Node<'t>,
        existing: bool,
    },
    Deployment {
        body: Node<'t>,
    },
}

fn source<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    &text[node.byte_range()]
}

fn declared<'t>(root: Node<'t>, text: &'t str) -> Result<BTreeMap<&'t str, Declared<'t>>, String> {
    let mut all = BTreeMap::new();
    for statement in named(root) {
        let children = named(statement);
        let declared = match statement.kind() {
            "parameter_declaration" => Declared::Parameter,
            "variable_declaration" => Declared::Variable(*children.last().ok_or("an empty variable")?),
            "resource_declaration" => {
                let of = source(children[1], text).trim_matches('\'');
                let mut cursor = statement.walk();
                let existing = statement.children(&mut cursor).any(|child| child.kind() == "existing");
                Declared::Resource { of, body: body(children[2])?, existing }
            }
            "module_declaration" => Declared::Deployment { body: body(children[2])? },
            _ => continue,
        };
        let name = source(children[0], text);
        if all.insert(name, declared).is_some() {
            return Err(format!("{name} is declared twice"));
        }
    }
    Ok(all)
}

/// The object of a declaration, with or without a condition.
fn body(node: Node<'_>) -> Result<Node<'_>, String> {
    match node.kind() {
        "object" => Ok(node),
        "if_statement" => {
            named(node).into_iter().find(|child| child.kind() == "object").ok_or_else(|| "an empty if".into())
        }
        other => Err(format!("a declaration by {other} is not understood")),
    }
}

/// A step from a value to another.
enum Step<'t> {
    Member(String),
    Call(Vec<Node<'t>>),
}

struct Read<'t> {
    text: &'t str,
    declared: BTreeMap<&'t str, Declared<'t>>,
    /// The symbols that were spoken of since it was last emptied.
    spoken: RefCell<BTreeSet<String>>,
    /// The symbols whose declarations are being read: one that meets itself has no value.
    within: RefCell<Vec<String>>,
}

impl<'t> Read<'t> {
    fn source(&self, node: Node<'_>) -> &'t str {
        source(node, self.text)
    }

    fn module<'f>(&self, root: Node<'t>, path: &str, file: &dyn Fn(&str) -> Option<&'f str>) -> Result<Module, String> {
        let mut module = Module::default();
        let statements = named(root);
        let scopes: Vec<_> = statements.iter().filter(|node| node.kind() == "target_scope_assignment").collect();
        module.subscription = match scopes.as_slice() {
            [] => false,
            [scope] => self.value(named(**scope)[0])? == Term::Text("subscription".into()),
            _ => return Err("more than one scope".to_owned()),
        };
        let mut decorators: Option<Node<'t>> = None;
        for statement in statements {
            let children = named(statement);
            let name = || self.source(children[0]).to_owned();
            let decorated = decorators.take();
            if decorated.is_some() && statement.kind() != "parameter_declaration" {
                return Err("only parameters are decorated".to_owned());
            }
            match statement.kind() {
                "decorators" => decorators = Some(statement),
                "target_scope_assignment" => (),
                "parameter_declaration" => {
                    let parameter = self.parameter(&children, decorated)?;
                    module.parameters.insert(name(), parameter);
                }
                "variable_declaration" => {
                    module.variables.insert(name(), self.value(children[1])?);
                }
                "output_declaration" => {
                    let kind = self.source(children[1]).to_owned();
                    if module.outputs.insert(name(), (kind, self.value(children[2])?)).is_some() {
                        return Err(format!("the output {} stands twice", name()));
                    }
                }
                "resource_declaration" | "module_declaration" => {
                    if let Some((identity, item)) = self.item(statement, &children, path, file)?
                        && module.items.insert(identity.clone(), item).is_some()
                    {
                        return Err(format!("{identity} stands twice"));
                    }
                }
                other => return Err(format!("{other} is not understood")),
            }
        }
        if decorators.is_some() {
            return Err("nothing is decorated at the end".to_owned());
        }
        Ok(module)
    }

    fn parameter(&self, children: &[Node<'t>], decorators: Option<Node<'t>>) -> Result<Parameter, String> {
        let kind = self.source(children[1]);
        let default = children.get(2).map(|default| self.value(*default)).transpose()?;
        let mut parameter = Parameter { kind: kind.to_owned(), default, ..Parameter::default() };
        for decorator in decorators.map(named).unwrap_or_default() {
            let call = named(decorator)[0];
            let function = self.source(call.child_by_field_name("function").ok_or("a decorator without a name")?);
            if self.declared.contains_key(function) {
                return Err(format!("{function} is declared here, and decorates"));
            }
            let function = function.strip_prefix("sys.").unwrap_or(function);
            let inputs = named(call.child_by_field_name("arguments").ok_or("a decorator without inputs")?);
            let inputs = inputs.into_iter().map(|input| self.value(input)).collect::<Result<Vec<_>, _>>()?;
            let place = match (function, inputs.as_slice()) {
                ("secure", []) => {
                    parameter.secure = true;
                    continue;
                }
                ("metadata", [Term::Object(entries)])
                    if entries.keys().all(|key| ["from", "pattern"].contains(&key.as_str())) =>
                {
                    parameter.from = entries.get("from").cloned();
                    parameter.pattern = entries.get("pattern").cloned();
                    continue;
                }
                ("description", [_]) => &mut parameter.about,
                ("allowed", [_]) => &mut parameter.allowed,
                ("minLength", [_]) => &mut parameter.shortest,
                ("maxLength", [_]) => &mut parameter.longest,
                _ => return Err(format!("the decorator {function} is not understood")),
            };
            if place.replace(inputs[0].clone()).is_some() {
                return Err(format!("the decorator {function} stands twice"));
            }
        }
        Ok(parameter)
    }

    fn item<'f>(
        &self,
        statement: Node<'t>,
        children: &[Node<'t>],
        path: &str,
        file: &dyn Fn(&str) -> Option<&'f str>,
    ) -> Result<Option<(String, Item)>, String> {
        let symbol = self.source(children[0]);
        self.spoken.borrow_mut().clear();
        let identity = self.identity(symbol)?;
        let (body, version) = match self.declared[symbol] {
            Declared::Resource { existing: true, body, .. } => {
                let known = ["name", "parent", "scope"];
                let other = self.entries(body)?.into_iter().find(|(key, _)| !known.contains(&key.as_str()));
                return other.map_or(Ok(None), |(key, _)| Err(format!("{symbol} exists with {key}")));
            }
            Declared::Resource { of, body, .. } => (body, Some(of.split_once('@').ok_or("no version")?.1.to_owned())),
            Declared::Deployment { body } => (body, None),
            Declared::Parameter | Declared::Variable(_) => unreachable!("it is a declaration of a resource"),
        };
        let condition = match children[2].kind() {
            "if_statement" => Some(self.value(named(children[2])[0])?),
            _ => None,
        };
        let (mut values, mut earlier, mut parameters) = (BTreeMap::new(), Vec::new(), None);
        for (key, value) in self.entries(body)? {
            match key.as_str() {
                "name" | "parent" | "scope" => (),
                "dependsOn" => {
                    for symbol in named(value) {
                        earlier.push(self.source(symbol).to_owned());
                    }
                }
                "params" if version.is_none() => parameters = Some(value),
                other if version.is_none() => return Err(format!("{symbol} has {other}")),
                _ => {
                    values.insert(key, self.value(value)?);
                }
            }
        }
        for (key, value) in parameters.map(|parameters| self.entries(parameters)).transpose()?.unwrap_or_default() {
            values.insert(key, self.value(value)?);
        }
        earlier.extend(self.spoken.take());
        let mut after = Vec::new();
        for name in earlier.iter().filter(|name| *name != symbol) {
            match self.declared.get(name.as_str()) {
                Some(Declared::Resource { existing: false, .. } | Declared::Deployment { .. }) => {
                    after.push(self.identity(name)?.to_string());
                }
                Some(Declared::Resource { .. }) => (),
                _ => return Err(format!("{symbol} waits for {name}")),
            }
        }
        self.spoken.borrow_mut().clear();
        let nested = match version {
            Some(_) => None,
            None => {
                let Term::Text(below) = self.value(children[1])? else { return Err("a module without a file".into()) };
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let _ = statement;
                Some(read(&format!("{folder}/{below}"), file)?)
            }
        };
        Ok(Some((identity.to_string(), Item { version, condition, body: values, after, nested })))
    }

    /// The values of an object that have plain names.
    fn entries(&self, object: Node<'t>) -> Result<Vec<(String, Node<'t>)>, String> {
        let mut entries: Vec<(String, Node<'t>)> = Vec::new();
        for property in named(object) {
            if property.kind() != "object_property" {
                return Err(format!("{} is not understood", property.kind()));
            }
            let parts = named(property);
            let [key, value] = parts.as_slice() else { return Err(format!("{:?}", self.source(property))) };
            let key = match key.kind() {
                "identifier" => self.source(*key).to_owned(),
                "string" => keyed(&self.value(*key)?),
                other => return Err(format!("a key of the kind {other}")),
            };
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(format!("{key} stands twice"));
            }
            entries.push((key, *value));
        }
        Ok(entries)
    }

    fn once<T>(&self, symbol: &str, read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        if self.within.borrow().iter().any(|known| known == symbol) {
            return Err(format!("{symbol} is made of itself"));
        }
        self.within.borrow_mut().push(symbol.to_owned());
        let result = read();
        self.within.borrow_mut().pop();
        result
    }

    fn identity(&self, symbol: &str) -> Result<Identity, String> {
        self.once(symbol, || self.identity_of(symbol))
    }

    fn identity_of(&self, symbol: &str) -> Result<Identity, String> {
        self.spoken.borrow_mut().insert(symbol.to_owned());
        let (kind, body) = match self.declared.get(symbol) {
            Some(Declared::Resource { of, body, .. }) => (of.split_once('@').ok_or("no version")?.0, *body),
            Some(Declared::Deployment { body }) => (DEPLOYMENTS, *body),
            _ => return Err(format!("{symbol} is no resource")),
        };
        let mut identity = Identity { kind: kind.to_owned(), names: Vec::new(), on: None, group: None };
        let mut name = None;
        for (key, value) in self.entries(body)? {
            match key.as_str() {
                "name" => name = Some(self.value(value)?),
                "parent" => {
                    let above = self.identity(self.source(value))?;
                    if kind.rsplit_once('/').is_none_or(|(of, _)| of != above.kind) {
                        return Err(format!("{kind} is not below {}", above.kind));
                    }
                    (identity.names, identity.on, identity.group) = (above.names, above.on, above.group);
                }
                "scope" => match self.declared.get(self.source(value)) {
                    Some(_) => {
                        let on = self.identity(self.source(value))?;
                        if kind == DEPLOYMENTS {
                            identity.group = on.names.into_iter().next().map(Box::new);
                        } else {
                            identity.on = Some(Box::new(on));
                        }
                    }
                    None => match self.value(value)? {
                        Term::Call(function, mut inputs) if function == "resourcegroup" && inputs.len() == 1 => {
                            identity.group = inputs.pop().map(Box::new);
                        }
                        other => return Err(format!("the scope {other} of {symbol}")),
                    },
                },
                _ => (),
            }
        }
        identity.names.push(name.ok_or_else(|| format!("{symbol} has no name"))?);
        if kind.matches('/').count() != identity.names.len() {
            return Err(format!("{symbol} has too many or too few names"));
        }
        Ok(identity)
    }

    fn value(&self, node: Node<'t>) -> Result<Term, String> {
        self.looked_into(node, Vec::new())
    }

    /// The value of what is looked into and called, the innermost step first. The grammar lets operators bind more strongly
    /// than a point or a call, as in `(a == b).c`; Bicep does not, so a step belongs to the last operand.
    fn looked_into(&self, node: Node<'t>, mut steps: Vec<Step<'t>>) -> Result<Term, String> {
        let field =
            |name: &str| node.child_by_field_name(name).ok_or_else(|| format!("no {name} in {:?}", self.source(node)));
        Ok(match node.kind() {
            "member_expression" => {
                steps.insert(0, Step::Member(self.source(field("property")?).to_owned()));
                self.looked_into(field("object")?, steps)?
            }
            "subscript_expression" => match self.value(field("index")?)? {
                Term::Text(name) => {
                    steps.insert(0, Step::Member(name));
                    self.looked_into(field("object")?, steps)?
                }
                other => return Err(format!("the index {other} is not understood")),
            },
            "call_expression" => {
                steps.insert(0, Step::Call(named(field("arguments")?)));
                self.looked_into(field("function")?, steps)?
            }
            "unary_expression" => {
                let argument = self.looked_into(field("argument")?, steps)?;
                match (self.source(field("operator")?), argument) {
                    ("!", argument) => Term::Call("not".into(), vec![argument]),
                    (_, Term::Int(number)) => Term::Int(-number),
                    (operator, other) => return Err(format!("{operator}{other}")),
                }
            }
            "binary_expression" => {
                let both = vec![self.value(field("left")?)?, self.looked_into(field("right")?, steps)?];
                match self.source(field("operator")?) {
                    "==" => Term::Call("equals".into(), both),
                    "!=" => Term::Call("not".into(), vec![Term::Call("equals".into(), both)]),
                    "&&" => Term::Call("and".into(), both),
                    "||" => Term::Call("or".into(), both),
                    "??" => Term::Call("coalesce".into(), both),
                    other => return Err(format!("the operator {other} is not understood")),
                }
            }
            "ternary_expression" => {
                let (condition, then) = (self.value(field("condition")?)?, self.value(field("consequence")?)?);
                let otherwise = self.looked_into(field("alternative")?, steps)?;
                Term::Call("if".into(), vec![condition, then, otherwise])
            }
            _ => self.primary(node, steps)?,
        })
    }

    fn primary(&self, node: Node<'t>, steps: Vec<Step<'t>>) -> Result<Term, String> {
        let name = self.source(node);
        let plain = node.kind() == "identifier";
        let mut steps = steps.into_iter().peekable();
        let term = match (node.kind(), steps.peek()) {
            ("identifier", Some(Step::Call(_))) => self.called(None, name, steps.next())?,
            ("identifier", Some(Step::Member(_))) if !self.declared.contains_key(name) => {
                let Some(Step::Member(function)) = steps.next() else { unreachable!("it was seen") };
                self.called(Some(name), &function, steps.next())?
            }
            ("identifier", Some(Step::Member(outputs)))
                if matches!(self.declared.get(name), Some(Declared::Deployment { .. })) =>
            {
                if outputs != "outputs" {
                    return Err(format!("a deployment has no {outputs}"));
                }
                match steps.nth(1) {
                    Some(Step::Member(output)) => Term::Output(Box::new(self.identity(name)?), output),
                    _ => return Err(format!("all outputs of {name}")),
                }
            }
            _ if plain => self.symbol(name)?,
            _ => self.literal(node)?,
        };
        steps.try_fold(term, |term, step| {
            let Step::Member(name) = step else { return Err(format!("{term} is called")) };
            Ok(match term {
                Term::Reference(identity, version, true) => match name.as_str() {
                    "id" => Term::Id(identity),
                    "properties" => Term::Reference(identity, version, false),
                    "name" => identity.names.into_iter().next_back().ok_or("no name")?,
                    _ => Term::Member(Box::new(Term::Reference(identity, version, true)), name),
                },
                of => Term::Member(Box::new(of), name),
            })
        })
    }

    fn literal(&self, node: Node<'t>) -> Result<Term, String> {
        Ok(match node.kind() {
            "null" => Term::Null,
            "boolean" => Term::Bool(self.source(node) == "true"),
            "number" => Term::Int(self.source(node).parse().map_err(|_| "a number out of bounds")?),
            "string" => self.string(node)?,
            "array" => Term::List(named(node).into_iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            "object" => {
                let entries = self.entries(node)?.into_iter().map(|(key, value)| Ok((key, self.value(value)?)));
                Term::Object(entries.collect::<Result<_, String>>()?)
            }
            "parenthesized_expression" => match named(node).as_slice() {
                [inner] => self.value(*inner)?,
                _ => return Err("several values in brackets".to_owned()),
            },
            other => return Err(format!("{other} is not understood: {:?}", self.source(node))),
        })
    }

    /// A function's value: by its name where nothing else is called so, or after its namespace.
    fn called(&self, namespace: Option<&str>, name: &str, inputs: Option<Step<'t>>) -> Result<Term, String> {
        match namespace {
            None if self.declared.contains_key(name) => return Err(format!("{name} is declared here, and called")),
            None if SYS.contains(&name) || AZ.contains(&name) => (),
            Some("az") if AZ.contains(&name) => (),
            Some("sys") if SYS.contains(&name) => (),
            None => return Err(format!("Bicep has no function {name}")),
            Some(other) => return Err(format!("nothing is called {other}, or it has no {name}")),
        }
        let Some(Step::Call(inputs)) = inputs else { return Err(format!("{name} is not called")) };
        let inputs = inputs.into_iter().map(|input| self.value(input)).collect::<Result<Vec<_>, _>>()?;
        match name {
            "concat" => Ok(join(inputs)),
            // Ids of what is declared here are by symbol: only a role is meant with the function.
            _ => call(name, inputs, false),
        }
    }

    fn symbol(&self, name: &str) -> Result<Term, String> {
        match self.declared.get(name) {
            None => Err(format!("nothing is called {name}")),
            Some(Declared::Parameter) => Ok(Term::Parameter(name.to_owned())),
            Some(Declared::Variable(value)) => {
                // What its value speaks of is spoken of here.
                self.once(name, || self.value(*value))?;
                Ok(Term::Variable(name.to_owned()))
            }
            Some(Declared::Resource { of, .. }) => {
                let version = of.split_once('@').ok_or("no version")?.1.to_owned();
                Ok(Term::Reference(Box::new(self.identity(name)?), version, true))
            }
            Some(Declared::Deployment { .. }) => Err(format!("the deployment {name} is no value")),
        }
    }

    fn string(&self, node: Node<'t>) -> Result<Term, String> {
        let text = self.source(node);
        if let Some(lines) = text.strip_prefix("'''") {
            if node.parent().is_some_and(|above| above.kind() == "interpolation") {
                return Err("several lines within a text".to_owned());
            }
            let lines = lines.strip_suffix("'''").ok_or("a text without an end")?;
            return Ok(Term::Text(lines.strip_prefix('\n').unwrap_or(lines).to_owned()));
        }
        let (mut parts, mut from) = (Vec::new(), node.start_byte() + 1);
        for inner in named(node).into_iter().filter(|inner| inner.kind() == "interpolation") {
            // The grammar takes the blanks before it for a part of it.
            let blanks = self.source(inner).find('$').unwrap_or(0);
            parts.push(Term::Text(unescaped(&self.text[from..inner.start_byte() + blanks])?));
            parts.push(self.value(named(inner)[0])?);
            from = inner.end_byte();
        }
        parts.push(Term::Text(unescaped(&self.text[from..node.end_byte() - 1])?));
        Ok(join(parts))
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        value.push(match letter {
            '\n' | '\r' => return Err("a line break within quotes".to_owned()),
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(same @ ('\\' | '\'' | '$')) => same,
                Some('u') => {
                    let rest = letters.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}'));
                    let (digits, rest) = rest.ok_or("a code point without brackets")?;
                    letters = rest.chars();
                    let code = u32::from_str_radix(digits, 16).map_err(|_| "a code point that is none")?;
                    char::from_u32(code).ok_or("a code point that is none")?
                }
                other => return Err(format!("the escape \\{other:?}")),
            },
            plain => plain,
        });
    }
    Ok(value)
}

/// Small changes of a module, each of which changes what it means.
pub fn changes(text: &str) -> Vec<(std::ops::Range<usize>, String)> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).expect("the grammar fits the parser");
    let tree = parser.parse(text, None).expect("it is parsed");
    let declared = declared(tree.root_node(), text).expect("every name is declared once");
    let mut found = Vec::new();
    let mut open = vec![tree.root_node()];
    while let Some(node) = open.pop() {
        let range = node.byte_range();
        let above = node.parent();
        let within = above.map_or("", |above| above.kind());
        let first = above.is_some_and(|above| above.named_child(0) == Some(node));
        if ["array", "object", "infrastructure"].contains(&within) && !node.kind().ends_with("comment") {
            found.push((range.clone(), String::new()));
        }
        let existing = above.is_some_and(|above| {
            within == "resource_declaration"
                && source(above, text).split('{').next().unwrap_or("").contains(" existing ")
        });
        match node.kind() {
            // The version of what exists already has no counterpart, nor what a resource is called within the module.
            "string" if existing => {}
            "identifier" if first && ["resource_declaration", "module_declaration"].contains(&within) => {}
            "string" => found.push((range.end - 1..range.end - 1, "x".to_owned())),
            "number" => found.push((range.end..range.end, "1".to_owned())),
            "boolean" if source(node, text) == "true" => found.push((range, "false".to_owned())),
            "boolean" => found.push((range, "true".to_owned())),
            "property_identifier" => found.push((range.end..range.end, "x".to_owned())),
            "identifier" if first && within == "object_property" => found.push((range.end..range.end, "x".to_owned())),
            "identifier" => {
                let other = declared.keys().rev().find(|known| **known != source(node, text));
                found.push((range, other.map_or("nothing", |other| other).to_owned()));
            }
            _ => {}
        }
        open.extend(named(node));
    }
    found
}

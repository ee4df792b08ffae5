//! Templates as Bicep: a module for each layer, and one in a folder beside it for each deployment within it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;
use skein_model::arm::{
    Deployment, Expr, Flaw, Item, Key, Parameter, Resource, Scope, Source, Target, Template, Value,
};
use tera::{Context, Tera};

/// How one level of a value stands in.
const INDENT: usize = 2;
/// The type of resource groups, which deployments are put into.
const GROUP: &str = "Microsoft.Resources/resourceGroups";

/// The template as Bicep, as files by path: `{name}.bicep`, and `{name}/{symbol}.bicep` for each deployment within it, and
/// so on. The same template gives the same bytes.
///
/// # Errors
/// Everything that is wrong with the template; see [`Template::check`].
pub fn bicep(name: &str, template: &Template) -> Result<Vec<(String, String)>, Vec<Flaw>> {
    template.check()?;
    Ok(printed(&text_of_modules(), name, template))
}

/// The files of a template that was checked.
pub(crate) fn printed(tera: &Tera, name: &str, template: &Template) -> Vec<(String, String)> {
    let mut files = Vec::new();
    module(tera, name, template, &mut files);
    files
}

/// The text that every module is rendered from.
pub(crate) fn text_of_modules() -> Tera {
    let mut tera = Tera::default();
    tera.add_raw_template(MODULE, include_str!("bicep/module.bicep.tera")).expect("the text of a module is a template");
    tera
}

const MODULE: &str = "module.bicep";

fn module(tera: &Tera, name: &str, template: &Template, files: &mut Vec<(String, String)>) {
    let print = Print::new(template);
    let folder = name.rsplit('/').next().unwrap_or(name);
    let context = Context::from_serialize(print.file(folder)).expect("a module is plain data");
    let text = tera.render(MODULE, &context).expect("a module has what its template speaks of");
    files.push((format!("{name}.bicep"), text));
    for item in &template.items {
        if let Item::Deployment(deployment) = item {
            module(tera, &format!("{name}/{}", deployment.symbol), &deployment.template, files);
        }
    }
}

/// What the text of a module is made of; every value is Bicep already.
#[derive(Serialize)]
struct File<'t> {
    scope: Option<&'static str>,
    parameters: Vec<Declaration<'t>>,
    variables: Vec<Declaration<'t>>,
    declarations: Vec<Declared<'t>>,
    outputs: Vec<Declaration<'t>>,
}

/// A parameter, a variable or an output.
#[derive(Serialize)]
struct Declaration<'t> {
    name: &'t str,
    kind: &'static str,
    decorators: Vec<String>,
    default: Option<String>,
    value: String,
}

/// A resource or a module.
#[derive(Serialize)]
struct Declared<'t> {
    keyword: &'static str,
    symbol: &'t str,
    /// Its type and version, or its file.
    of: String,
    existing: bool,
    condition: Option<String>,
    fields: Vec<(String, String)>,
}

/// How strongly the parts of an expression hold together, the weakest first.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Ternary,
    Coalesce,
    Equality,
    Unary,
    Primary,
}

struct Print<'t> {
    template: &'t Template,
    /// What the module declares: a function of this name needs its namespace.
    declared: BTreeSet<&'t str>,
}

impl<'t> Print<'t> {
    fn new(template: &'t Template) -> Self {
        let declared = template
            .parameters
            .iter()
            .map(|parameter| parameter.name.as_str())
            .chain(template.variables.iter().map(|variable| variable.name.as_str()))
            .chain(template.existing.iter().map(|existing| existing.symbol.as_str()))
            .chain(template.items.iter().map(Item::symbol))
            .collect();
        Print { template, declared }
    }

    fn file(&self, folder: &str) -> File<'t> {
        let known =
            self.template.existing.iter().filter(|existing| self.is_spoken_of(&existing.target)).map(|existing| {
                let fields = self.target(&existing.target);
                let of = of(&existing.target);
                Declared { keyword: "resource", symbol: &existing.symbol, of, existing: true, condition: None, fields }
            });
        let made = self.template.items.iter().map(|item| match item {
            Item::Resource(resource) => self.resource(item, resource),
            Item::Deployment(deployment) => self.deployment(item, deployment, folder),
        });
        let named = |name: &'t str, kind: &'static str, value: &Value| Declaration {
            name,
            kind,
            decorators: Vec::new(),
            default: None,
            value: self.value(value, 0),
        };
        File {
            scope: (self.template.scope == Scope::Subscription).then_some("subscription"),
            parameters: self.template.parameters.iter().map(|parameter| self.parameter(parameter)).collect(),
            variables: self.template.variables.iter().map(|known| named(&known.name, "", &known.value)).collect(),
            declarations: known.chain(made).collect(),
            outputs: self
                .template
                .outputs
                .iter()
                .map(|output| named(&output.name, output.kind, &output.value))
                .collect(),
        }
    }

    /// Whether anything in the template has to do with a resource that exists. What only the layers' check looks at would
    /// be a warning of Bicep.
    fn is_spoken_of(&self, target: &Target) -> bool {
        let mut found = false;
        // With what is above it.
        let mut note = |spoken: &Target| {
            let above = std::iter::successors(Some(spoken.clone()), Target::parent);
            found |= above.into_iter().any(|spoken| spoken.is(target));
        };
        let mut each = |expr: &Expr| {
            expr.each(&mut |expr| {
                if let Expr::Id(spoken) | Expr::Reference { target: spoken, .. } = expr {
                    note(spoken);
                }
            });
        };
        let template = self.template;
        let values = template.variables.iter().map(|variable| &variable.value);
        for value in values.chain(template.outputs.iter().map(|output| &output.value)) {
            value.each_expr(&mut Vec::new(), &mut |_, expr| each(expr));
        }
        template.items.iter().for_each(|item| item.each_expr(&mut |_, expr| each(expr)));
        for item in &template.items {
            if let Item::Resource(resource) = item {
                resource.target.parent().iter().chain(resource.target.on.as_deref()).for_each(&mut note);
            }
        }
        found
    }

    fn parameter(&self, parameter: &'t Parameter) -> Declaration<'t> {
        let mut decorators = Vec::new();
        let mut decorate = |name: &'static str, input: &str| {
            decorators.push(format!("@{}({input})", self.function(name)));
        };
        if !parameter.about.is_empty() {
            decorate("description", &text(&parameter.about));
        }
        if parameter.secure {
            decorate("secure", "");
        }
        if !parameter.allowed.is_empty() {
            let allowed = parameter.allowed.iter().map(|text| Value::Text((*text).to_owned()));
            decorate("allowed", &self.value(&Value::List(allowed.collect()), 0));
        }
        if let Some((shortest, longest)) = parameter.length {
            decorate("minLength", &shortest.to_string());
            decorate("maxLength", &longest.to_string());
        }
        // Whoever deploys reads here which layer's output it is, and what a value must match.
        let from = match &parameter.source {
            Source::Layer { layer, output } => Some(("from", format!("{layer}.{output}"))),
            _ => None,
        };
        let pattern = parameter.letters.map(|letters| ("pattern", letters.pattern().to_owned()));
        let told: Vec<String> =
            from.into_iter().chain(pattern).map(|(key, value)| format!("{key}: {}", text(&value))).collect();
        if !told.is_empty() {
            decorate("metadata", &format!("{{ {} }}", told.join(", ")));
        }
        let default = parameter.default.as_ref().map(|default| self.value(default, 0));
        Declaration { name: &parameter.name, kind: parameter.kind, decorators, default, value: String::new() }
    }

    fn resource(&self, item: &'t Item, resource: &'t Resource) -> Declared<'t> {
        let mut fields = self.target(&resource.target);
        fields.extend(resource.body.iter().map(|(key, value)| (self.key(key), self.value(value, INDENT))));
        fields.extend(self.depends_on(item));
        Declared {
            keyword: "resource",
            symbol: &resource.symbol,
            of: of(&resource.target),
            existing: false,
            condition: resource.condition.as_ref().map(|condition| self.whole(condition)),
            fields,
        }
    }

    fn deployment(&self, item: &'t Item, deployment: &'t Deployment, folder: &str) -> Declared<'t> {
        let mut fields = vec![("name".to_owned(), self.value(&deployment.name, INDENT))];
        let scope = match self.group_made(deployment) {
            Some(symbol) => symbol.to_owned(),
            None => format!("{}({})", self.function("resourceGroup"), self.value(&deployment.group, INDENT)),
        };
        fields.push(("scope".to_owned(), scope));
        if !deployment.arguments.is_empty() {
            let mut given = "{\n".to_owned();
            for (name, value) in &deployment.arguments {
                let _ = writeln!(given, "{:width$}{name}: {}", "", self.value(value, 2 * INDENT), width = 2 * INDENT);
            }
            let _ = write!(given, "{:width$}}}", "", width = INDENT);
            fields.push(("params".to_owned(), given));
        }
        fields.extend(self.depends_on(item));
        Declared {
            keyword: "module",
            symbol: &deployment.symbol,
            of: format!("{folder}/{}.bicep", deployment.symbol),
            existing: false,
            condition: deployment.condition.as_ref().map(|condition| self.whole(condition)),
            fields,
        }
    }

    /// The symbol of the group that a deployment is put into, if this template makes the group first.
    fn group_made(&self, deployment: &'t Deployment) -> Option<&'t str> {
        self.template.items.iter().find_map(|item| match item {
            Item::Resource(group)
                if group.target.kind.name == GROUP
                    && group.target.names.first().is_some_and(|name| Value::from(name.clone()) == deployment.group)
                    && deployment.after.contains(&group.symbol) =>
            {
                Some(group.symbol.as_str())
            }
            _ => None,
        })
    }

    /// What says which resource is meant.
    fn target(&self, target: &Target) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        if let Some(parent) = target.parent() {
            fields.push(("parent".to_owned(), self.symbol(&parent).to_owned()));
        } else if let Some(group) = &target.group {
            fields.push(("scope".to_owned(), format!("{}({})", self.function("resourceGroup"), self.whole(group))));
        }
        if let Some(on) = &target.on {
            fields.push(("scope".to_owned(), self.symbol(on).to_owned()));
        }
        if let Some(name) = target.names.last() {
            fields.push(("name".to_owned(), self.whole(name)));
        }
        fields
    }

    /// What must stand before it and is not spoken of in it.
    fn depends_on(&self, item: &'t Item) -> Option<(String, String)> {
        let mut spoken: Vec<&str> = Vec::new();
        item.each_expr(&mut |_, expr| {
            expr.each(&mut |expr| match expr {
                Expr::Id(target) | Expr::Reference { target, .. } => spoken.extend(self.template.symbol_of(target)),
                Expr::Output { deployment, .. } => spoken.push(deployment),
                _ => (),
            });
        });
        match item {
            Item::Resource(resource) => {
                spoken.extend(resource.target.parent().and_then(|parent| self.template.symbol_of(&parent)));
                spoken.extend(resource.target.on.as_ref().and_then(|on| self.template.symbol_of(on)));
            }
            Item::Deployment(deployment) => spoken.extend(self.group_made(deployment)),
        }
        let mut left = item.after().iter().filter(|symbol| !spoken.contains(&symbol.as_str())).peekable();
        left.peek()?;
        let mut list = "[\n".to_owned();
        for symbol in left {
            let _ = writeln!(list, "{:width$}{symbol}", "", width = 2 * INDENT);
        }
        let _ = write!(list, "{:width$}]", "", width = INDENT);
        Some(("dependsOn".to_owned(), list))
    }

    fn symbol(&self, target: &Target) -> &'t str {
        let known = self.template.existing.iter().find(|known| known.target.is(target));
        self.template
            .symbol_of(target)
            .or(known.map(|known| known.symbol.as_str()))
            .expect("what a checked template speaks of is declared in it")
    }

    /// A function's name, with its namespace where something else has that name here.
    fn function(&self, name: &'static str) -> String {
        /// The functions of the namespace `az`; all others are of `sys`.
        const AZ: [&str; 7] = [
            "environment",
            "extensionResourceId",
            "resourceGroup",
            "resourceId",
            "subscription",
            "subscriptionResourceId",
            "tenant",
        ];
        if !self.declared.contains(name) {
            return name.to_owned();
        }
        format!("{}.{name}", if AZ.contains(&name) { "az" } else { "sys" })
    }

    fn value(&self, value: &Value, indent: usize) -> String {
        let mut out = String::new();
        self.put(&mut out, value, Some(indent));
        out
    }

    /// A value with its parts on lines of their own, or where no indent is given all of it on one: within a text.
    fn put(&self, out: &mut String, value: &Value, indent: Option<usize>) {
        let (inner, [open, between, close]) = match indent {
            Some(indent) => {
                let line = |indent: usize| format!("\n{:indent$}", "");
                (Some(indent + INDENT), [line(indent + INDENT), line(indent + INDENT), line(indent)])
            }
            None => (None, ["", ", ", ""].map(str::to_owned)),
        };
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Value::Int(number) => {
                let _ = write!(out, "{number}");
            }
            Value::Text(literal) if indent.is_some() => out.push_str(&text(literal)),
            Value::Text(literal) => out.push_str(&quoted(literal)),
            Value::List(list) if list.is_empty() => out.push_str("[]"),
            Value::List(list) => {
                out.push('[');
                for (index, item) in list.iter().enumerate() {
                    out.push_str(if index > 0 { &between } else { &open });
                    self.put(out, item, inner);
                }
                let _ = write!(out, "{close}]");
            }
            Value::Object(object) if object.is_empty() => out.push_str("{}"),
            Value::Object(object) => {
                out.push('{');
                for (index, (key, value)) in object.iter().enumerate() {
                    let _ = write!(out, "{}{}: ", if index > 0 { &between } else { &open }, self.key(key));
                    self.put(out, value, inner);
                }
                let _ = write!(out, "{close}}}");
            }
            Value::Expr(expr) => self.expr(out, expr, Level::Ternary, indent),
        }
    }

    fn key(&self, key: &Key) -> String {
        match key {
            Key::Text(name) if is_identifier(name) => name.clone(),
            Key::Text(name) => quoted(name),
            Key::Expr(expr) => self.joined(std::slice::from_ref(expr)),
        }
    }

    /// An expression that stands by itself.
    fn whole(&self, expr: &Expr) -> String {
        let mut out = String::new();
        self.expr(&mut out, expr, Level::Ternary, Some(INDENT));
        out
    }

    /// Texts and values, one after the other, as one text.
    fn joined(&self, parts: &[Expr]) -> String {
        let mut out = "'".to_owned();
        for part in parts {
            match part {
                Expr::Literal(Value::Text(text)) => escape(&mut out, text),
                computed => {
                    out.push_str("${");
                    self.expr(&mut out, computed, Level::Ternary, None);
                    out.push('}');
                }
            }
        }
        out.push('\'');
        out
    }

    /// An expression within another that holds its parts together with at least this strength.
    fn expr(&self, out: &mut String, expr: &Expr, least: Level, indent: Option<usize>) {
        let Some((own, parts)) = operator(expr) else { return self.primary(out, expr, indent) };
        let weak = own < least;
        out.push_str(if weak { "(" } else { "" });
        for part in parts {
            match part {
                Part::Sign(sign) => out.push_str(sign),
                Part::Of(inner, least) => self.expr(out, inner, least, indent),
            }
        }
        out.push_str(if weak { ")" } else { "" });
    }

    fn primary(&self, out: &mut String, expr: &Expr, indent: Option<usize>) {
        match expr {
            Expr::Literal(value) => self.put(out, value, indent),
            Expr::Parameter(name) | Expr::Variable(name) => out.push_str(name),
            Expr::Call(function, inputs) => {
                out.push_str(&self.function(function));
                out.push('(');
                for (index, input) in inputs.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    self.expr(out, input, Level::Ternary, indent);
                }
                out.push(')');
            }
            Expr::Join(parts) => out.push_str(&self.joined(parts)),
            Expr::Property(inner, name) => {
                self.expr(out, inner, Level::Primary, indent);
                if is_identifier(name) {
                    let _ = write!(out, ".{name}");
                } else {
                    let _ = write!(out, "[{}]", quoted(name));
                }
            }
            Expr::Id(target) => {
                let _ = write!(out, "{}.id", self.symbol(target));
            }
            Expr::Reference { target, full } => {
                let _ = write!(out, "{}{}", self.symbol(target), if *full { "" } else { ".properties" });
            }
            Expr::Output { deployment, name } => {
                let _ = write!(out, "{deployment}.outputs.{name}");
            }
        }
    }
}

/// What an expression with an operator is made of.
enum Part<'e> {
    Sign(&'static str),
    Of(&'e Expr, Level),
}

/// The functions that Bicep has operators for. More stands in brackets than must, so that nobody has to know the ranks.
fn operator(expr: &Expr) -> Option<(Level, Vec<Part<'_>>)> {
    use Part::{Of, Sign};
    let Expr::Call(function, inputs) = expr else { return None };
    let both = |one, sign, other| vec![Of(one, Level::Unary), Sign(sign), Of(other, Level::Unary)];
    Some(match (*function, inputs.as_slice()) {
        ("if", [condition, then, otherwise]) => {
            let [then, otherwise] = [then, otherwise].map(|part| Of(part, Level::Unary));
            (Level::Ternary, vec![Of(condition, Level::Equality), Sign(" ? "), then, Sign(" : "), otherwise])
        }
        ("coalesce", [one, other]) => (Level::Coalesce, both(one, " ?? ", other)),
        ("equals", [one, other]) => (Level::Equality, both(one, " == ", other)),
        ("not", [Expr::Call("equals", inputs)]) if inputs.len() == 2 => {
            (Level::Equality, both(&inputs[0], " != ", &inputs[1]))
        }
        ("not", [inner]) => (Level::Unary, vec![Sign("!"), Of(inner, Level::Unary)]),
        _ => return None,
    })
}

/// A type and its version.
fn of(target: &Target) -> String {
    format!("{}@{}", target.kind.name, target.kind.version)
}

fn is_identifier(name: &str) -> bool {
    /// What a name may not be, in no place at all.
    const RESERVED: [&str; 5] = ["false", "for", "if", "null", "true"];
    let first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    first && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') && !RESERVED.contains(&name)
}

/// A literal text: over several lines, as it is, where it has several.
fn text(literal: &str) -> String {
    let plain = !literal.chars().any(|letter| letter.is_control() && letter != '\n');
    if plain && literal.contains('\n') && !literal.contains("'''") && !literal.ends_with('\'') {
        // A line break right after the quotes is not part of the text.
        format!("'''\n{literal}'''")
    } else {
        quoted(literal)
    }
}

fn quoted(literal: &str) -> String {
    let mut out = "'".to_owned();
    escape(&mut out, literal);
    out.push('\'');
    out
}

fn escape(out: &mut String, literal: &str) {
    let mut letters = literal.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' if letters.peek() == Some(&'{') => out.push_str("\\$"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
}

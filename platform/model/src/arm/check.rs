//! What the types cannot rule out, refused before Azure could see it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use regex::Regex;

use super::expr::{Expr, Target};
use super::names::{Letters, NameRule};
use super::template::{Item, Place, Scope, Source, Template};
use super::value::{Key, Object, Value};
use super::{Bound, Kind};

/// What Azure takes at most of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Parameters of a template.
    pub parameters: usize,
    /// Variables of a template.
    pub variables: usize,
    /// Outputs of a template.
    pub outputs: usize,
    /// Resources of a template.
    pub resources: usize,
    /// Characters of an expression.
    pub expression: usize,
    /// Bytes of a template.
    pub bytes: usize,
}

/// The limits of Azure Resource Manager.
pub const LIMITS: Limits =
    Limits { parameters: 256, variables: 512, outputs: 64, resources: 800, expression: 24_576, bytes: 4 * 1024 * 1024 };

/// What is wrong with a template, with which part of it, and where in the source that part was added.
#[derive(Debug, Clone, PartialEq)]
pub struct Flaw {
    /// The part: a symbol, below the symbols of the deployments around it.
    pub part: String,
    /// Where it was added, if that is known.
    pub place: Option<Place>,
    /// What is wrong.
    pub kind: FlawKind,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.kind)?;
        self.place.map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

impl std::error::Error for Flaw {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.kind)
    }
}

/// What can be wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlawKind {
    /// Something stands twice.
    #[error("the {0} {1:?} stands twice")]
    Twice(&'static str, String),
    /// A name that Bicep cannot spell.
    #[error("the {0} {1:?} must be called by letters, digits and _, no digit first, and no reserved word")]
    Identifier(&'static str, String),
    /// The type is not deployed where the template is.
    #[error("{kind} cannot be deployed at the scope of a {scope}")]
    Scope {
        /// The type.
        kind: &'static str,
        /// The scope.
        scope: &'static str,
    },
    /// The resource belongs to another template or group.
    #[error(
        "{path} speaks of {target}, which this template neither makes nor declares to exist; pass it as an argument"
    )]
    Dangling {
        /// Where in the part.
        path: String,
        /// What it speaks of.
        target: String,
    },
    /// There is no such parameter, variable, deployment or output here.
    #[error("{path} names the {what} {name:?}, which this template does not have")]
    Unknown {
        /// Where in the part.
        path: String,
        /// What kind of thing is missing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Each waits for the other.
    #[error("it waits for itself: {0}")]
    Cycle(String),
    /// A name with characters that the type does not take.
    #[error("the name {name:?} of {kind} must have {letters}")]
    Letters {
        /// The name, or the part of it that is known.
        name: String,
        /// The type.
        kind: &'static str,
        /// What it may have.
        letters: Letters,
    },
    /// A name that is or may become too short or too long.
    #[error(
        "the name of {kind} is between {shortest} and {longest} characters long, it must be between {least} and {most}"
    )]
    Length {
        /// The type.
        kind: &'static str,
        /// The name's least length.
        shortest: usize,
        /// The name's greatest length.
        longest: usize,
        /// The least that the type takes.
        least: usize,
        /// The most.
        most: usize,
    },
    /// A literal that the type does not take.
    #[error("{path} is {found}, which must be {bound}")]
    Bound {
        /// Where in the part.
        path: String,
        /// The literal, or how long it is.
        found: String,
        /// What it may be.
        bound: String,
    },
    /// A name whose length nobody bounds.
    #[error("nothing bounds the length of the name of {0}: give its parameter a length")]
    Unbounded(&'static str),
    /// A name of which any character may be a part.
    #[error("nothing holds the name of {kind} to {letters}: give its parameter letters")]
    AnyLetters {
        /// The type.
        kind: &'static str,
        /// What it may have.
        letters: Letters,
    },
    /// A name or a condition that is known only after other resources were deployed.
    #[error("{0} hangs on what is known only while resources are deployed")]
    Late(String),
    /// A function that may stand only in a parameter's default.
    #[error("{0} calls {1}(), which may stand only in a parameter's default")]
    OnlyDefault(String, &'static str),
    /// A secret that would be shown.
    #[error("the output tells the secure parameter {0:?}")]
    Secret(String),
    /// A parameter without a value.
    #[error("the parameter {0:?} gets no value")]
    Argument(String),
    /// More than Azure takes.
    #[error("{count} {what}, at most {most} are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        count: usize,
        /// How much there may be.
        most: usize,
    },
}

/// What a text can be, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    shortest: usize,
    longest: Option<usize>,
    characters: Characters,
}

/// Which characters a text can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Characters {
    /// Any at all.
    Any,
    /// Of the first 128 of Unicode those whose bit is set.
    These(u128),
}

impl Characters {
    fn of(text: &str) -> Self {
        text.chars()
            .fold(Characters::These(0), |all, letter| all.and(u7(letter).map_or(Characters::Any, Characters::These)))
    }

    fn that(take: impl Fn(&str) -> bool) -> Self {
        Characters::of(&(0..=127u8).map(char::from).filter(|letter| take(&letter.to_string())).collect::<String>())
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Characters::These(one), Characters::These(other)) => Characters::These(one | other),
            _ => Characters::Any,
        }
    }

    fn lower(self) -> Self {
        const CAPITALS: u128 = ((1 << 26) - 1) << b'A';
        match self {
            Characters::Any => Characters::Any,
            Characters::These(these) => Characters::These(these & !CAPITALS | (these & CAPITALS) << (b'a' - b'A')),
        }
    }

    fn are(self, letters: Letters) -> bool {
        match (self, Characters::that(|text| letters.take(text))) {
            (Characters::These(these), Characters::These(taken)) => these & !taken == 0,
            _ => false,
        }
    }
}

/// A character's bit, if it is one of the first 128.
fn u7(letter: char) -> Option<u128> {
    letter.is_ascii().then(|| 1 << u32::from(letter))
}

impl Span {
    /// Nothing is known.
    const ANY: Span = Span { shortest: 0, longest: None, characters: Characters::Any };

    fn of(text: &str) -> Self {
        let length = text.chars().count();
        Span { shortest: length, longest: Some(length), characters: Characters::of(text) }
    }

    /// One or the other.
    fn or(self, other: Self) -> Self {
        Span {
            shortest: self.shortest.min(other.shortest),
            longest: self.longest.zip(other.longest).map(|(one, other)| one.max(other)),
            characters: self.characters.and(other.characters),
        }
    }

    /// The one, then the other.
    fn then(self, next: Self) -> Self {
        Span {
            shortest: self.shortest + next.shortest,
            longest: self.longest.zip(next.longest).map(|(one, next)| one + next),
            characters: self.characters.and(next.characters),
        }
    }

    fn exactly(length: usize, characters: &str) -> Self {
        Span { shortest: length, longest: Some(length), characters: Characters::of(characters) }
    }
}

impl Template {
    /// Tells everything that is wrong with the template.
    ///
    /// # Errors
    /// All flaws, in the order of the template's parts.
    pub fn check(&self) -> Result<(), Vec<Flaw>> {
        let mut check = Check { flaws: Vec::new(), outer: String::new() };
        check.template(self, &BTreeMap::new());
        if check.flaws.is_empty() { Ok(()) } else { Err(check.flaws) }
    }
}

struct Check {
    flaws: Vec<Flaw>,
    outer: String,
}

impl Check {
    fn flaw(&mut self, part: &str, place: Option<Place>, kind: FlawKind) {
        let part = if self.outer.is_empty() { part.to_owned() } else { format!("{}.{part}", self.outer) };
        self.flaws.push(Flaw { part, place, kind });
    }

    fn template(&mut self, template: &Template, given: &BTreeMap<String, Span>) {
        self.counts(template);
        self.names_of_parts(template);
        let spans: BTreeMap<String, Span> = template
            .parameters
            .iter()
            .map(|parameter| {
                let listed = parameter.allowed.iter().map(|text| Span::of(text)).reduce(Span::or);
                let declared = || {
                    let letters = parameter.letters.map(|letters| Characters::that(|text| letters.take(text)));
                    let (shortest, longest) = parameter.length.map_or((0, None), |(least, most)| (least, Some(most)));
                    Span { shortest, longest, characters: letters.unwrap_or(Characters::Any) }
                };
                let span = given.get(&parameter.name).copied().or(listed).unwrap_or_else(declared);
                (parameter.name.clone(), span)
            })
            .collect();
        for parameter in &template.parameters {
            let Some(default) = &parameter.default else { continue };
            let path = format!("parameters.{}", parameter.name);
            default.each_expr(&mut vec![path], &mut |path, expr| {
                self.expr(template, "parameters", Some(parameter.place), &path.concat(), expr, true);
            });
        }
        for variable in &template.variables {
            variable.value.each_expr(&mut vec![format!("variables.{}", variable.name)], &mut |path, expr| {
                self.expr(template, "variables", None, &path.concat(), expr, false);
                if expr.is_late() {
                    self.flaw("variables", None, FlawKind::Late(path.concat()));
                }
            });
        }
        for item in &template.items {
            self.item(template, item, &spans);
        }
        self.cycle(template);
        for output in &template.outputs {
            let path = format!("outputs.{}", output.name);
            output.value.each_expr(&mut vec![path], &mut |path, expr| {
                self.expr(template, "outputs", Some(output.place), &path.concat(), expr, false);
                expr.each(&mut |inner| {
                    let Expr::Parameter(name) = inner else { return };
                    if template.parameters.iter().any(|parameter| parameter.name == *name && parameter.secure) {
                        self.flaw("outputs", Some(output.place), FlawKind::Secret(name.clone()));
                    }
                });
            });
        }
    }

    fn counts(&mut self, template: &Template) {
        let counts = [
            ("parameters", template.parameters.len(), LIMITS.parameters),
            ("variables", template.variables.len(), LIMITS.variables),
            ("outputs", template.outputs.len(), LIMITS.outputs),
            ("resources", template.items.len(), LIMITS.resources),
        ];
        for (what, count, most) in counts {
            if count > most {
                self.flaw("template", None, FlawKind::Limit { what, count, most });
            }
        }
    }

    fn names_of_parts(&mut self, template: &Template) {
        // ARM takes names in any case, and Bicep has one space of names for all but outputs.
        let mut seen = BTreeSet::new();
        let mut parts: Vec<(&'static str, &str, Option<Place>)> = Vec::new();
        parts.extend(template.parameters.iter().map(|part| ("parameter", part.name.as_str(), Some(part.place))));
        parts.extend(template.variables.iter().map(|part| ("variable", part.name.as_str(), None)));
        parts.extend(template.existing.iter().map(|part| ("symbol", part.symbol.as_str(), None)));
        parts.extend(template.items.iter().map(|part| ("symbol", part.symbol(), Some(part.place()))));
        parts.extend(template.outputs.iter().map(|part| ("output", part.name.as_str(), Some(part.place))));
        for (what, name, place) in parts {
            if !seen.insert((what == "output", name.to_lowercase())) {
                self.flaw(name, place, FlawKind::Twice(what, name.to_owned()));
            }
            if !is_identifier(name) {
                self.flaw(name, place, FlawKind::Identifier(what, name.to_owned()));
            }
        }
        let mut resources: Vec<&Target> = Vec::new();
        for item in &template.items {
            let Item::Resource(resource) = item else { continue };
            if resources.iter().any(|known| known.is(&resource.target)) {
                let kind = FlawKind::Twice("resource", resource.target.to_string());
                self.flaw(&resource.symbol, Some(resource.place), kind);
            }
            resources.push(&resource.target);
        }
    }

    fn item(&mut self, template: &Template, item: &Item, spans: &BTreeMap<String, Span>) {
        let (symbol, place) = (item.symbol(), Some(item.place()));
        item.each_expr(&mut |path, expr| {
            let path = path.concat();
            self.expr(template, symbol, place, &path, expr, false);
            if expr.is_late() && ["name", "scope", "condition", "resourceGroup"].contains(&path.as_str()) {
                self.flaw(symbol, place, FlawKind::Late(path));
            }
        });
        for earlier in item.after() {
            if !template.items.iter().any(|item| item.symbol() == earlier) {
                let (path, what) = ("dependsOn".to_owned(), "resource");
                self.flaw(symbol, place, FlawKind::Unknown { path, what, name: earlier.clone() });
            }
        }
        match item {
            Item::Resource(resource) => {
                let target = &resource.target;
                let (scope, here) = match template.scope {
                    Scope::Subscription => ("subscription", Kind::SUBSCRIPTION),
                    Scope::Group => ("resource group", Kind::GROUP),
                };
                let wanted = if target.on.is_some() { Kind::EXTENSION } else { here };
                if target.kind.scopes & wanted == 0 || target.group.is_some() {
                    self.flaw(symbol, place, FlawKind::Scope { kind: target.kind.name, scope });
                }
                let above = [target.on.as_deref().cloned(), target.parent()];
                for above in above.into_iter().flatten().filter(|above| !template.knows(above)) {
                    let (path, target) = ("scope".to_owned(), above.to_string());
                    self.flaw(symbol, place, FlawKind::Dangling { path, target });
                }
                self.bounds(symbol, place, target.kind.name, &resource.body);
                if let Some(name) = target.names.last() {
                    self.name(template, symbol, place, target.kind.name, name, spans);
                }
            }
            Item::Deployment(deployment) => {
                let name = Expr::from(super::Of::<super::Text>::trust(deployment.name.clone()));
                self.name(template, symbol, place, "Microsoft.Resources/deployments", &name, spans);
                let given = deployment
                    .arguments
                    .iter()
                    .map(|(name, value)| {
                        let value = Expr::from(super::Of::<super::Text>::trust(value.clone()));
                        (name.clone(), self.span(template, &value, spans))
                    })
                    .collect();
                for parameter in &deployment.template.parameters {
                    let given = deployment.arguments.iter().any(|(name, _)| *name == parameter.name);
                    if parameter.source != Source::Outer || !given {
                        self.flaw(symbol, place, FlawKind::Argument(parameter.name.clone()));
                    }
                }
                let outer = std::mem::take(&mut self.outer);
                self.outer = if outer.is_empty() { symbol.to_owned() } else { format!("{outer}.{symbol}") };
                self.template(&deployment.template, &given);
                self.outer = outer;
            }
        }
    }

    fn bounds(&mut self, symbol: &str, place: Option<Place>, kind: &str, body: &Object) {
        let bounds: Vec<&Bound> = crate::azure::bounds(kind).collect();
        let mut flaws = Vec::new();
        for (key, value) in body.iter() {
            let Key::Text(key) = key else { continue };
            bounded(&bounds, &mut vec![key], value, &mut flaws);
        }
        flaws.into_iter().for_each(|flaw| self.flaw(symbol, place, flaw));
    }

    fn expr(&mut self, template: &Template, part: &str, place: Option<Place>, path: &str, expr: &Expr, default: bool) {
        expr.each(&mut |expr| {
            let missing = match expr {
                Expr::Parameter(name) => {
                    (!template.parameters.iter().any(|known| known.name == *name)).then_some(("parameter", name))
                }
                Expr::Variable(name) => {
                    (!template.variables.iter().any(|known| known.name == *name)).then_some(("variable", name))
                }
                Expr::Output { deployment, name } => {
                    let found = template.items.iter().find_map(|item| match item {
                        Item::Deployment(known) if known.symbol == *deployment => Some(&known.template),
                        _ => None,
                    });
                    match found {
                        None => Some(("deployment", deployment)),
                        Some(inner) if inner.outputs.iter().all(|output| output.name != *name) => {
                            Some(("output", name))
                        }
                        Some(_) => None,
                    }
                }
                Expr::Id(target) | Expr::Reference { target, .. } => {
                    if !template.knows(target) {
                        let (path, target) = (path.to_owned(), target.to_string());
                        self.flaw(part, place, FlawKind::Dangling { path, target });
                    }
                    None
                }
                Expr::Call(function @ ("utcNow" | "newGuid"), _) if !default => {
                    self.flaw(part, place, FlawKind::OnlyDefault(path.to_owned(), function));
                    None
                }
                _ => None,
            };
            if let Some((what, name)) = missing {
                self.flaw(part, place, FlawKind::Unknown { path: path.to_owned(), what, name: name.clone() });
            }
        });
    }

    fn name(
        &mut self,
        template: &Template,
        symbol: &str,
        place: Option<Place>,
        kind: &'static str,
        name: &Expr,
        spans: &BTreeMap<String, Span>,
    ) {
        if name.is_late() {
            return; // A flaw already.
        }
        let rule = NameRule::of(kind);
        let Span { shortest, longest, characters } = self.span(template, name, spans);
        match longest {
            None => self.flaw(symbol, place, FlawKind::Unbounded(kind)),
            Some(longest) if shortest < rule.shortest || longest > rule.longest => {
                let (least, most) = (rule.shortest, rule.longest);
                self.flaw(symbol, place, FlawKind::Length { kind, shortest, longest, least, most });
            }
            Some(_) => (),
        }
        let mut parts = Vec::new();
        literals(name, &mut parts);
        let (first, last) = match name {
            Expr::Join(parts) => (parts.first(), parts.last()),
            only => (Some(only), Some(only)),
        };
        let text = |expr: Option<&Expr>| match expr {
            Some(Expr::Literal(Value::Text(text))) => Some(text.clone()),
            _ => None,
        };
        let begins = text(first).and_then(|text| text.chars().next()).is_none_or(|letter| rule.letters.begin(letter));
        let ends = text(last).and_then(|text| text.chars().last()).is_none_or(|letter| rule.letters.end(letter));
        let wrong = parts.iter().find(|text| !rule.letters.take(text)).cloned();
        let wrong = wrong.or_else(|| (!begins).then(|| text(first)).flatten());
        if let Some(name) = wrong.or_else(|| (!ends).then(|| text(last)).flatten()) {
            self.flaw(symbol, place, FlawKind::Letters { name, kind, letters: rule.letters });
        } else if longest.is_some() && !characters.are(rule.letters) {
            self.flaw(symbol, place, FlawKind::AnyLetters { kind, letters: rule.letters });
        }
    }

    fn span(&self, template: &Template, expr: &Expr, spans: &BTreeMap<String, Span>) -> Span {
        match expr {
            Expr::Literal(Value::Text(text)) => Span::of(text),
            Expr::Parameter(name) => spans.get(name).copied().unwrap_or(Span::ANY),
            Expr::Variable(name) => {
                let value = template.variables.iter().find(|variable| variable.name == *name);
                value.map_or(Span::ANY, |variable| match &variable.value {
                    Value::Expr(expr) => self.span(template, expr, spans),
                    Value::Text(text) => Span::of(text),
                    _ => Span::ANY,
                })
            }
            Expr::Join(parts) => {
                parts.iter().map(|part| self.span(template, part, spans)).fold(Span::of(""), Span::then)
            }
            Expr::Call("uniqueString", _) => Span::exactly(13, "abcdefghijklmnopqrstuvwxyz234567"),
            Expr::Call("guid", _) => Span::exactly(36, "0123456789abcdef-"),
            Expr::Call("toLower", inputs) => {
                let input = inputs.first().map_or(Span::ANY, |input| self.span(template, input, spans));
                Span { characters: input.characters.lower(), ..input }
            }
            Expr::Call("take", inputs) => {
                let most = match inputs.get(1) {
                    Some(Expr::Literal(Value::Int(most))) => usize::try_from(*most).unwrap_or(0),
                    _ => return Span::ANY,
                };
                let input = inputs.first().map_or(Span::ANY, |input| self.span(template, input, spans));
                Span {
                    shortest: input.shortest.min(most),
                    longest: Some(input.longest.map_or(most, |longest| longest.min(most))),
                    characters: input.characters,
                }
            }
            _ => Span::ANY,
        }
    }

    fn cycle(&mut self, template: &Template) {
        // Takes away what waits for nothing that is left, until nothing of the kind is left.
        let mut waiting: BTreeMap<&str, Vec<&str>> =
            template.items.iter().map(|item| (item.symbol(), item.depends_on(template))).collect();
        loop {
            let left: HashSet<&str> = waiting.keys().copied().collect();
            let before = waiting.len();
            waiting.retain(|_, earlier| earlier.iter().any(|symbol| left.contains(symbol)));
            if waiting.len() == before {
                break;
            }
        }
        let Some((&first, _)) = waiting.first_key_value() else { return };
        // Whatever is left waits for something that is left: following it must come back.
        let mut way = vec![first];
        loop {
            let next = waiting[way[way.len() - 1]].iter().find(|symbol| waiting.contains_key(**symbol));
            let Some(&next) = next else { return };
            let start = way.iter().position(|symbol| *symbol == next);
            way.push(next);
            if let Some(start) = start {
                let place = template.items.iter().find(|item| item.symbol() == next).map(Item::place);
                return self.flaw(next, place, FlawKind::Cycle(way[start..].join(" → ")));
            }
        }
    }
}

fn bounded<'v>(bounds: &[&Bound], path: &mut Vec<&'v str>, value: &'v Value, flaws: &mut Vec<FlawKind>) {
    let (size, text) = match value {
        Value::Text(text) => (text.chars().count(), Some(text.as_str())),
        Value::List(list) => (list.len(), None),
        _ => (0, None),
    };
    let size = match value {
        Value::Int(number) => Some(*number),
        Value::Text(_) | Value::List(_) => Some(i64::try_from(size).unwrap_or(i64::MAX)),
        _ => None,
    };
    if let Some(size) = size {
        let here = |bound: &&&Bound| {
            let way =
                bound.path.split('.').zip(path.iter()).filter(|(wanted, found)| wanted == *found || *wanted == "*");
            bound.path.matches('.').count() + 1 == path.len() && way.count() == path.len()
        };
        for bound in bounds.iter().filter(here) {
            let sized = bound.least.is_none_or(|least| size >= least) && bound.most.is_none_or(|most| size <= most);
            let matched = match (text, bound.pattern.map(Regex::new)) {
                (Some(text), Some(Ok(pattern))) => pattern.is_match(text),
                _ => true,
            };
            if !(sized && matched) {
                let found = text.map_or_else(|| size.to_string(), |text| format!("{text:?}"));
                flaws.push(FlawKind::Bound { path: path.join("."), found, bound: bound.to_string() });
            }
        }
    }
    match value {
        Value::List(list) => {
            for item in list {
                path.push("[]");
                bounded(bounds, path, item, flaws);
                path.pop();
            }
        }
        Value::Object(object) => {
            for (key, value) in object.iter() {
                path.push(match key {
                    Key::Text(key) => key,
                    Key::Expr(_) => "*",
                });
                bounded(bounds, path, value, flaws);
                path.pop();
            }
        }
        _ => (),
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (Some(least), Some(most)) => write!(f, "between {least} and {most}")?,
            (Some(least), None) => write!(f, "at least {least}")?,
            (None, Some(most)) => write!(f, "at most {most}")?,
            (None, None) => (),
        }
        let between = if self.least.is_some() || self.most.is_some() { ", " } else { "" };
        self.pattern.map_or(Ok(()), |pattern| write!(f, "{between}of the pattern {pattern}"))
    }
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 5] = ["false", "for", "if", "null", "true"];
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && !RESERVED.contains(&name)
}

fn literals(name: &Expr, found: &mut Vec<String>) {
    match name {
        Expr::Literal(Value::Text(text)) => found.push(text.clone()),
        Expr::Join(parts) => parts.iter().for_each(|part| literals(part, found)),
        Expr::Call("take" | "toLower", inputs) => {
            if let Some(input) = inputs.first() {
                literals(input, found);
            }
        }
        _ => (),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name)?;
        for name in &self.names {
            match name {
                Expr::Literal(Value::Text(text)) => write!(f, " {text}")?,
                Expr::Parameter(name) | Expr::Variable(name) => write!(f, " {{{name}}}")?,
                _ => write!(f, " {{…}}")?,
            }
        }
        if self.group.is_some() { f.write_str(" of another group") } else { Ok(()) }
    }
}

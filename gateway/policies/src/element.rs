//! The XML that a policy is printed to: escaped by construction, in one form.

use std::fmt::Write as _;

use crate::document::PolicyError;
use crate::value::Value;

/// An element of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub(crate) name: &'static str,
    attributes: Vec<(&'static str, Value)>,
    content: Content,
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Empty,
    Elements(Vec<Element>),
    Text(Value),
}

/// What is wrong with an element by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A number outside of what API Management takes.
    #[error("{what} is {value}, but {least} to {most} is allowed")]
    Range {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A list that must not be empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// Two settings that exclude each other.
    #[error("{0}")]
    Conflict(&'static str),
}

impl Element {
    pub(crate) fn new(name: &'static str) -> Self {
        Element { name, attributes: Vec::new(), content: Content::Empty, faults: Vec::new() }
    }

    pub(crate) fn attribute(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    pub(crate) fn optional(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    pub(crate) fn number(mut self, name: &'static str, value: u64, least: u64, most: u64) -> Self {
        if !(least..=most).contains(&value) {
            self.faults.push(Fault::Range { what: name, value, least, most });
        }
        self.attribute(name, value.to_string())
    }

    pub(crate) fn flag(self, name: &'static str, value: bool) -> Self {
        self.attribute(name, if value { "true" } else { "false" })
    }

    pub(crate) fn fault(mut self, fault: Option<Fault>) -> Self {
        self.faults.extend(fault);
        self
    }

    pub(crate) fn text(mut self, value: impl Into<Value>) -> Self {
        self.content = Content::Text(value.into());
        self
    }

    pub(crate) fn child(self, child: Element) -> Self {
        self.children([child])
    }

    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        match &mut self.content {
            Content::Elements(elements) => elements.extend(children),
            Content::Empty | Content::Text(_) => self.content = Content::Elements(children.into_iter().collect()),
        }
        self
    }

    /// A list of elements with one text each, left out where it is empty.
    pub(crate) fn list(
        self,
        name: &'static str,
        item: &'static str,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Self {
        let items: Vec<_> = values.into_iter().map(|value| Element::new(item).text(value)).collect();
        if items.is_empty() { self } else { self.child(Element::new(name).children(items)) }
    }

    /// This element and all within, with the place of each.
    pub(crate) fn check(&self, place: &str, each: &mut Each<'_>) -> Result<(), PolicyError> {
        let place = if place.is_empty() { self.name.to_owned() } else { format!("{place}/{}", self.name) };
        each(self, &place)?;
        if let Some(fault) = self.faults.first() {
            return Err(PolicyError::Setting { place, source: fault.clone() });
        }
        for (name, value) in &self.attributes {
            value.check().map_err(|source| PolicyError::Value { place: format!("{place}/@{name}"), source })?;
        }
        match &self.content {
            Content::Empty => Ok(()),
            Content::Text(value) => value.check().map_err(|source| PolicyError::Value { place, source }),
            Content::Elements(elements) => elements.iter().try_for_each(|element| element.check(&place, each)),
        }
    }

    /// The named values and expressions of this element and all within.
    pub(crate) fn values<'a>(&'a self, found: &mut Vec<&'a Value>) {
        found.extend(self.attributes.iter().map(|(_, value)| value));
        match &self.content {
            Content::Empty => {}
            Content::Text(value) => found.push(value),
            Content::Elements(elements) => elements.iter().for_each(|element| element.values(found)),
        }
    }

    pub(crate) fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let indent = "    ".repeat(depth);
        let _ = write!(out, "{indent}<{}", self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}=\"{}\"", escape(&value.text(), depth, matches!(value, Value::Expression(_))));
        }
        match &self.content {
            Content::Empty => out.push_str(" />\n"),
            Content::Text(value) => {
                let text = escape(&value.text(), depth, matches!(value, Value::Expression(_)));
                let _ = writeln!(out, ">{text}</{}>", self.name);
            }
            Content::Elements(elements) => {
                out.push_str(">\n");
                elements.iter().for_each(|element| element.write(out, depth + 1));
                let _ = writeln!(out, "{indent}</{}>", self.name);
            }
        }
    }
}

/// What is asked of each element, with its place.
pub(crate) type Each<'c> = dyn FnMut(&Element, &str) -> Result<(), PolicyError> + 'c;

/// The escapes that hold in attributes and in texts alike. The lines of an expression are indented; a text keeps its
/// line ends through an attribute.
fn escape(text: &str, depth: usize, expression: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' if expression => {
                escaped.push('\n');
                escaped.push_str(&"    ".repeat(depth + 1));
            }
            '\t' | '\n' | '\r' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

//! Two forms of one template, held against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::meaning::{Item, Module, Term};

/// What is not the same, a line each.
pub fn differences(expected: &Module, found: &Module) -> Vec<String> {
    let mut compare = Compare { lines: Vec::new(), place: String::new() };
    compare.module(expected, found);
    compare.lines
}

struct Compare {
    lines: Vec<String>,
    place: String,
}

impl Compare {
    fn tell(&mut self, what: impl Display) {
        self.lines.push(format!("{}{what}", self.place));
    }

    /// Calls with what stands in both, and tells what does not.
    fn both<'m, T>(
        &mut self,
        what: &str,
        expected: &'m BTreeMap<String, T>,
        found: &'m BTreeMap<String, T>,
        mut each: impl FnMut(&mut Self, &str, &'m T, &'m T),
    ) {
        for (name, one) in expected {
            match found.get(name) {
                Some(other) => each(self, name, one, other),
                None => self.tell(format_args!("the {what} {name} is missing")),
            }
        }
        for name in found.keys().filter(|name| !expected.contains_key(*name)) {
            self.tell(format_args!("the {what} {name} is too much"));
        }
    }

    fn term(&mut self, what: &str, expected: &Term, found: &Term) {
        match (expected, found) {
            (Term::Object(expected), Term::Object(found)) => {
                self.both("value", expected, found, |compare, key, one, other| {
                    compare.term(&format!("{what}.{key}"), one, other);
                });
            }
            (Term::List(expected), Term::List(found)) if expected.len() == found.len() => {
                for (index, (one, other)) in expected.iter().zip(found).enumerate() {
                    self.term(&format!("{what}[{index}]"), one, other);
                }
            }
            _ if expected == found => (),
            _ => self.tell(format_args!("{what} is {found}, not {expected}")),
        }
    }

    fn module(&mut self, expected: &Module, found: &Module) {
        if expected.subscription != found.subscription {
            self.tell("the scope is another");
        }
        self.both("parameter", &expected.parameters, &found.parameters, |compare, name, one, other| {
            if one != other {
                compare.tell(format_args!("the parameter {name} is {other:?}, not {one:?}"));
            }
        });
        self.both("variable", &expected.variables, &found.variables, |compare, name, one, other| {
            compare.term(&format!("the variable {name}"), one, other);
        });
        self.both("output", &expected.outputs, &found.outputs, |compare, name, (kind, one), (other_kind, other)| {
            if kind != other_kind {
                compare.tell(format_args!("the output {name} is of type {other_kind}, not {kind}"));
            }
            compare.term(&format!("the output {name}"), one, other);
        });
        self.both("resource", &expected.items, &found.items, |compare, name, one, other| {
            let outer = compare.place.clone();
            compare.place = format!("{outer}{name}: ");
            compare.item(one, other);
            let earlier = (before(name, &expected.items), before(name, &found.items));
            for missing in earlier.0.difference(&earlier.1) {
                compare.tell(format_args!("does not wait for {missing}"));
            }
            for more in earlier.1.difference(&earlier.0) {
                compare.tell(format_args!("waits for {more}"));
            }
            compare.place = outer;
        });
    }

    fn item(&mut self, expected: &Item, found: &Item) {
        if expected.version != found.version {
            self.tell(format_args!("its version is {:?}, not {:?}", found.version, expected.version));
        }
        match (&expected.condition, &found.condition) {
            (Some(expected), Some(found)) => self.term("condition", expected, found),
            (None, None) => (),
            (expected, _) => self.tell(if expected.is_some() { "has no condition" } else { "has a condition" }),
        }
        self.both("value", &expected.body, &found.body, |compare, key, one, other| compare.term(key, one, other));
        match (&expected.nested, &found.nested) {
            (Some(expected), Some(found)) => self.module(expected, found),
            (None, None) => (),
            _ => self.tell("only one is a deployment"),
        }
    }
}

/// Everything that is deployed before a resource. Through others or not makes no difference.
fn before<'m>(name: &str, items: &'m BTreeMap<String, Item>) -> BTreeSet<&'m str> {
    let (mut found, mut open) = (BTreeSet::new(), vec![name]);
    while let Some(name) = open.pop() {
        for earlier in items.get(name).into_iter().flat_map(|item| &item.after) {
            if found.insert(earlier.as_str()) {
                open.push(earlier);
            }
        }
    }
    found
}

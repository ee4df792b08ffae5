//! Generated documents: what is split and merged answers as the whole does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use async_graphql_parser::parse_query;
use fastrand::Rng;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use skein_graph::Failed;

use crate::reference::Reference;
use crate::toy::Toy;

/// A document as it grows.
struct Draft {
    rng: Rng,
    aliases: u32,
    /// Declarations, with the values that are given.
    declared: Vec<String>,
    values: Map<String, Value>,
    /// Name, type and text of fragments that are finished.
    fragments: Vec<(String, &'static str, String)>,
    /// Root fields that stand somewhere: they may stand anywhere else, too.
    fields: Vec<String>,
    plain: BTreeSet<&'static str>,
    mutation: Option<bool>,
}

impl Draft {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mutation = (rng.u8(..10) == 0).then(|| rng.bool());
        Draft {
            rng,
            aliases: 0,
            declared: Vec::new(),
            values: Map::new(),
            fragments: Vec::new(),
            fields: Vec::new(),
            plain: BTreeSet::new(),
            mutation,
        }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.usize(..all.len())]
    }

    /// A value as a literal or as a variable.
    fn value(&mut self, kind: &str, value: &Value) -> String {
        let literal = match value {
            Value::Object(entries) => {
                let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }
            other => other.to_string(),
        };
        if self.rng.bool() {
            return literal;
        }
        let name = format!("v{}", self.declared.len());
        match self.rng.u8(..3) {
            0 => self.declared.push(format!("${name}: {kind} = {literal}")),
            given => {
                self.values.insert(name.clone(), value.clone());
                let default = if given == 1 { format!(" = {literal}") } else { String::new() };
                self.declared.push(format!("${name}: {kind}{default}"));
            }
        }
        format!("${name}")
    }

    fn directive(&mut self) -> String {
        let word = match self.rng.u8(..8) {
            0 => "skip",
            1 => "include",
            _ => return String::new(),
        };
        let truth = json!(self.rng.bool());
        format!(" @{word}(if: {})", self.value("Boolean!", &truth))
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}: ", self.aliases)
    }

    fn root(&mut self) -> &'static str {
        if self.mutation.is_some() { "Mutation" } else { "Query" }
    }

    fn roots(&mut self, depth: u32) -> String {
        let mut text = String::from("{");
        for _ in 0..self.rng.u8(1..5) {
            let (directive, root) = (self.directive(), self.root());
            let selection = match self.rng.u8(..12) {
                0 if depth > 0 => format!("...{directive} {}", self.roots(depth - 1)),
                1 if depth > 0 => format!("... on {root}{directive} {}", self.roots(depth - 1)),
                2 if depth > 0 => {
                    let body = self.roots(depth - 1);
                    format!("...{}{directive}", self.fragment(root, body))
                }
                3 | 4 => match self.known(root) {
                    Some(name) => format!("...{name}{directive}"),
                    None => self.field(directive),
                },
                5 => format!("{}__typename{directive}", if self.rng.bool() { self.alias() } else { String::new() }),
                6 if !self.fields.is_empty() => {
                    let index = self.rng.usize(..self.fields.len());
                    format!("...{directive} {{{}}}", self.fields[index])
                }
                _ => self.field(directive),
            };
            text.push_str(&selection);
            text.push_str(self.one_of(&[" ", ", ", "\n", " # { ...\n"]));
        }
        text + "}"
    }

    fn fragment(&mut self, on: &'static str, body: String) -> String {
        let name = format!("F{}", self.fragments.len());
        self.fragments.push((name.clone(), on, body));
        name
    }

    fn known(&mut self, on: &str) -> Option<String> {
        let known: Vec<_> = self.fragments.iter().filter(|(_, kind, _)| *kind == on).map(|(name, ..)| name).collect();
        (!known.is_empty()).then(|| known[self.rng.usize(..known.len())].clone())
    }

    /// A root field.
    fn field(&mut self, directive: String) -> String {
        let mut fields = vec!["order", "orders", "count", "ordersStatus", "stock", "top", "stocksStatus"];
        match self.mutation {
            Some(true) => fields = vec!["place"],
            Some(false) => fields = vec!["receive"],
            None => (),
        }
        let name = self.one_of(&fields);
        // Keys must not clash: a field stands without an alias once.
        let alias = if self.rng.bool() && self.plain.insert(name) { String::new() } else { self.alias() };
        // Errors are rare, so that documents of several fields have answers.
        let id = if self.rng.u8(..12) == 0 { "bad" } else { self.one_of(&["1", "20", "none", "done", "q\"\\\u{1}é"]) };
        let number = if self.rng.u8(..15) == 0 { -1 } else { self.rng.i32(0..4) };
        let (arguments, kind) = match name {
            "order" | "place" => (format!("(id: {})", self.value("ID!", &json!(id))), "Order"),
            "orders" => (format!("(first: {})", self.value("Int", &json!(number))), "Order"),
            "count" => {
                let filter = json!({"atLeast": number, "names": [id, "x"]});
                (format!("(filter: {})", self.value("Filter", &filter)), "")
            }
            "stock" => (format!("(sku: {})", self.value("String!", &json!(id))), "Stock"),
            "top" => (String::new(), "Stock"),
            "receive" => (format!("(sku: {}, units: {number})", self.value("String!", &json!(id))), "Stock"),
            _ => (format!("(id: {})", self.value("ID!", &json!(id))), "Status"),
        };
        let below = if kind.is_empty() { String::new() } else { self.object(kind, 2) };
        let text = format!("{alias}{name}{arguments}{directive}{below}");
        self.fields.push(text.clone());
        text
    }

    fn object(&mut self, kind: &'static str, depth: u32) -> String {
        let mut text = String::from(" {");
        for _ in 0..self.rng.u8(1..4) {
            let directive = self.directive();
            let number = if self.rng.u8(..12) == 0 { -1 } else { self.rng.i32(0..9) };
            let selection = match (self.rng.u8(..10), kind) {
                (0, _) if depth > 0 => {
                    let body = self.object(kind, depth - 1);
                    format!("...{}{directive}", self.fragment(kind, body))
                }
                (1, _) => match self.known(kind) {
                    Some(name) => format!("...{name}{directive}"),
                    None => {
                        let plain = match kind {
                            "Order" => "id",
                            "Stock" => "sku",
                            "Money" => "amount",
                            _ => "state",
                        };
                        // async-graphql's check of variables overlooks those in directives of `__typename`.
                        format!("{plain}{directive} __typename")
                    }
                },
                (2, _) if depth > 0 => format!("... on {kind}{directive}{}", self.object(kind, depth - 1)),
                (3, "Order") if depth > 0 => format!("next{directive}{}", self.object("Order", depth - 1)),
                (4, "Order") => {
                    let text = self.one_of(&["bad", "good", "\u{7f}"]);
                    format!("{}note(text: {}){directive}", self.alias(), self.value("String", &json!(text)))
                }
                (5, "Order") => format!("{}weight(times: {number}){directive}", self.alias()),
                (6, "Order") => format!("total{directive}{}", self.object("Money", 0)),
                (_, "Order") => format!("id{directive}"),
                (4 | 5, "Stock") => {
                    format!("{}reserve(units: {}){directive}", self.alias(), self.value("Int!", &json!(number)))
                }
                (6 | 7, "Stock") => format!("price{directive}{}", self.object("Money", 0)),
                (_, "Stock") => format!("sku{directive}"),
                (4 | 5, "Money") => format!("amount{directive}"),
                (_, "Money") => format!("currency{directive}"),
                (4 | 5, _) => format!("by{directive} _0"),
                _ => format!("state{directive}"),
            };
            let _ = write!(text, "{selection} ");
        }
        text + "}"
    }

    fn document(&mut self) -> String {
        let roots = self.roots(3);
        let word = if self.mutation.is_some() { "mutation" } else { "query" };
        let declared = if self.declared.is_empty() { String::new() } else { format!("({})", self.declared.join(", ")) };
        let named = self.one_of(&["", " It"]);
        let mut text = format!("{word}{named}{declared} {roots}\n");
        let mut fragments = self.fragments.clone();
        self.rng.shuffle(&mut fragments);
        for (name, on, body) in fragments {
            let _ = writeln!(text, "fragment {name} on {on} {body}");
        }
        text
    }
}

/// The data as it was written, order included, and the errors without their locations.
fn read(answer: &str) -> (String, Vec<String>) {
    let members: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(answer).unwrap();
    let data = members.get("data").map_or("null", |data| data.get()).to_owned();
    let errors: Vec<Value> = members.get("errors").map_or(Vec::new(), |list| serde_json::from_str(list.get()).unwrap());
    let mut errors: Vec<String> = errors
        .into_iter()
        .map(|mut error| {
            error.as_object_mut().unwrap().remove("locations");
            error.sort_all_objects();
            error.to_string()
        })
        .collect();
    errors.sort();
    (data, errors)
}

#[test]
fn generated_documents_are_answered_as_by_one_executor() {
    let toy = Toy::new();
    let [orders, stocks] = toy.sdls();
    let whole = Reference::new(None, toy.graph.sdl());
    let parts = [Reference::new(Some("orders"), &orders), Reference::new(Some("stocks"), &stocks)];
    let (mut both, mut failed, mut nothing, mut renamed, mut fragments, mut skipped) = (0, 0, 0, 0, 0, 0);
    let documents = 1000;
    for seed in 0..documents {
        let mut draft = Draft::new(seed);
        let document = draft.document();
        let plan = toy
            .graph
            .split(&document, None, &draft.values)
            .unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}: {document}"));
        let answers: Vec<Result<String, Failed>> = plan
            .parts()
            .iter()
            .map(|part| {
                // What executes services finds each part valid, and so the document of the whole.
                toy.check(part).unwrap_or_else(|error| panic!("seed {seed}: {error}: {part:#?}"));
                Ok(parts[usize::from(part.service == "stocks")].execute(&part.document, &part.variables))
            })
            .collect();
        let (merged, whole) = (plan.merge(&answers, "t1"), whole.execute(&document, &draft.values));
        let about = || {
            let values = Value::from(draft.values.clone());
            format!("seed {seed}: {document}\n{values}\n{plan:#?}\n{answers:#?}")
        };
        let ((data, errors), (whole_data, whole_errors)) = (read(&merged), read(&whole));
        assert_eq!(data, whole_data, "{}", about());
        assert_eq!(errors, whole_errors, "{}", about());
        nothing += u32::from(data == "null");
        both += u32::from(plan.parts().len() == 2);
        failed += u32::from(data != "null" && !errors.is_empty());
        renamed += u32::from(plan.parts().iter().any(|part| part.document.contains(": status(")));
        fragments += u32::from(plan.parts().iter().any(|part| part.document.contains("fragment ")));
        let fields = [" @skip", " @include"];
        skipped += u32::from(fields.iter().any(|field| document.contains(field)));
    }
    println!(
        "{documents} documents: {both} over both services, {failed} with errors beside data, {nothing} without data, {renamed} with a renamed field, {fragments} with fragments, {skipped} with conditions"
    );
    for (what, count) in [
        ("both", both),
        ("failed", failed),
        ("nothing", nothing),
        ("renamed", renamed),
        ("fragments", fragments),
        ("skipped", skipped),
    ] {
        assert!(count > 30, "only {count} documents are of the kind {what}");
    }
}

#[test]
fn damaged_documents_are_refused_or_taken_apart_into_documents() {
    let toy = Toy::new();
    let (mut refused, mut split) = (0, 0);
    for seed in 0..1000 {
        let mut draft = Draft::new(seed);
        let document = draft.document();
        let mut words: Vec<&str> = document.split_inclusive([' ', '{', '}', '(', ')']).collect();
        for _ in 0..draft.rng.u8(1..4) {
            let (from, to) = (draft.rng.usize(..words.len()), draft.rng.usize(..words.len()));
            match draft.rng.u8(..3) {
                0 => drop(words.remove(from)),
                1 => words.insert(to, words[from]),
                _ => words.swap(from, to),
            }
            if words.is_empty() {
                break;
            }
        }
        let damaged = words.concat();
        match toy.graph.split(&damaged, None, &draft.values) {
            Err(refusal) => {
                refused += 1;
                let answer: Value = serde_json::from_str(&refusal.answer("t1")).unwrap();
                assert!(answer["errors"][0]["extensions"]["code"].is_string(), "seed {seed}: {damaged}");
            }
            Ok(plan) => {
                split += 1;
                for part in plan.parts() {
                    parse_query(&part.document).unwrap_or_else(|error| panic!("seed {seed}: {error}: {part:#?}"));
                }
            }
        }
    }
    println!("{refused} refused, {split} split");
    assert!(refused > 500 && split > 60, "{refused} refused, {split} split");
}

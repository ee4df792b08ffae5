//! The kind of a GraphQL request: the policy's C#, its twin in Rust, and graphql-js agree.
//!
//! `SKEIN_SEED` and `SKEIN_DOCUMENTS` choose what is generated. graphql-js is installed by `cargo xtask test` below the
//! target folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skein_kind::{Kind, Uncertain, kind_of_body, kind_of_query};

use crate::csharp::{at_hand, harness, piped, tell};

fn rust(body: &str) -> &'static str {
    kind_of_body(body.as_bytes()).map_or_else(Uncertain::as_str, Kind::as_str)
}

fn csharp(bodies: &[String]) -> Option<Vec<String>> {
    asked("kinds", bodies)
}

fn asked(what: &str, texts: &[String]) -> Option<Vec<String>> {
    let lines: Vec<_> = texts.iter().map(|text| STANDARD.encode(text)).collect();
    Some(piped(Command::new("mono").arg(harness()?).arg(what), &lines))
}

/// The tables do not tell what names nothing to execute from what cannot be read.
fn certain(kind: &str) -> &str {
    if kind == "none" { "invalid" } else { kind }
}

/// What graphql-js says; `None` where it is missing.
fn graphql_js(bodies: &[String]) -> Option<Vec<String>> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let folder = target.join("graphql-js");
    if !at_hand("graphql-js (cargo xtask test installs it)", folder.join("node_modules/graphql").is_dir()) {
        return None;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/csharp/kind.mjs");
    let lines: Vec<_> = bodies.iter().map(|body| STANDARD.encode(body)).collect();
    Some(piped(Command::new("node").arg(script).arg(folder), &lines))
}

/// A table of bodies and their kinds.
fn table(text: &str) -> Vec<(String, String)> {
    let cases: Vec<Value> = serde_json::from_str(text).expect("a table is a JSON array");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    cases.iter().map(|case| (text(&case["body"]), text(&case["kind"]))).collect()
}

#[track_caller]
fn check_table(name: &str, cases: &[(String, String)]) {
    // A body that is missing altogether stands as this text.
    let cases: Vec<_> = cases.iter().filter(|(body, _)| body != "\0NULL").cloned().collect();
    for (body, kind) in &cases {
        assert_eq!(certain(rust(body)), kind, "Rust: {body}");
    }
    let bodies: Vec<_> = cases.iter().map(|(body, _)| body.clone()).collect();
    let Some(answers) = csharp(&bodies) else { return };
    for ((body, _), answer) in cases.iter().zip(&answers) {
        assert_eq!(answer, rust(body), "C#: {body}");
    }
    tell(&format!("{name}: {} bodies, the same verdict of C# and Rust as of the table", cases.len()));
}

#[test]
fn our_table() {
    let cases = table(include_str!("kinds.json"));
    assert!(cases.len() >= 60, "{} cases", cases.len());
    check_table("our table", &cases);
}

/// The table that came with the facts about Azure; it is beside the repository, not in it.
#[test]
fn the_shared_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var("SKEIN_SHARED").map_or_else(|_| root.join("../shared"), |path| root.join(path));
    let path = shared.join("specs/graphql-kind-cases.json");
    if !at_hand(&format!("{} (SKEIN_SHARED)", path.display()), path.is_file()) {
        return;
    }
    let cases = table(&std::fs::read_to_string(path).expect("it can be read"));
    assert!(cases.len() >= 67, "{} cases", cases.len());
    check_table("shared table", &cases);
}

#[test]
fn generated_documents() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let (seed, wanted) = (number("SKEIN_SEED", 20_261_124), number("SKEIN_DOCUMENTS", 120_000));
    tell(&format!("seed {seed}"));
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut distinct = BTreeSet::new();
    while (distinct.len() as u64) < wanted {
        distinct.insert(body(&mut chance));
    }
    let bodies: Vec<String> = distinct.into_iter().collect();
    let Some(csharp) = csharp(&bodies) else { return };
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for (body, answer) in bodies.iter().zip(&csharp) {
        assert_eq!(rust(body), answer, "{body}");
        *verdicts.entry(answer).or_default() += 1;
    }
    tell(&format!("{} distinct bodies, C# and Rust agree: {verdicts:?}", bodies.len()));
    let Some(graphql) = graphql_js(&bodies) else { return };
    let (mut readable, mut lenient) = (BTreeMap::new(), 0);
    for ((body, answer), of_record) in bodies.iter().zip(&csharp).zip(&graphql) {
        match of_record.as_str() {
            // The backend's parser refuses it: routing it does no harm.
            "unreadable" => lenient += usize::from(certain(answer) != "invalid"),
            "none" => {
                assert_eq!(certain(answer), "invalid", "{body}");
                *readable.entry("none").or_insert(0) += 1;
            }
            kind => {
                assert_eq!(answer, kind, "{body}");
                *readable.entry(kind).or_insert(0) += 1;
            }
        }
    }
    let total: usize = readable.values().sum();
    tell(&format!(
        "graphql-js reads {total} of them, 0 mismatches: {readable:?}; {lenient} unreadable ones were routed"
    ));
    assert!(total * 3 > bodies.len(), "too few documents are readable to tell anything");
    for kind in ["query", "mutation", "subscription", "none"] {
        assert!(readable.get(kind).is_some_and(|count| count * 50 > total), "too few of {kind}");
    }
}

/// Queries of URLs, made of the same documents: C# and Rust agree, and a GET has the kind that a POST of the same document
/// has.
#[test]
fn generated_queries() {
    let seed = std::env::var("SKEIN_SEED").map_or(20_261_124, |text| text.parse().expect("SKEIN_SEED is a number"));
    tell(&format!("seed {seed}"));
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut distinct: BTreeMap<String, Option<&str>> = BTreeMap::new();
    while distinct.len() < 20_000 {
        let body = body(&mut chance);
        let Ok(body) = serde_json::from_str::<Value>(&body) else { continue };
        let Some(document) = body["query"].as_str() else { continue };
        let name = body["operationName"].as_str();
        let mut query = format!("?query={}", encoded(&mut chance, document));
        if let Some(name) = name {
            let name = format!("operationName={}", encoded(&mut chance, name));
            query = if chance.bool() { format!("{query}&{name}") } else { format!("?{name}&{}", &query[1..]) };
        }
        // Elsewhere a GET and a POST differ: in what no name is, and in how long they may be.
        let plain = name.is_none_or(|name| !name.is_empty()) && (name.is_some() || body["operationName"].is_null());
        let of_body = plain.then(|| rust(&json!({"query": document, "operationName": name}).to_string()));
        let odd = chance.u8(..12);
        match odd {
            0 => damage(&mut chance, &mut query),
            1 => query.push_str("&variables=%7B%7D&extensions={}"),
            2 => query = format!("?extensions={}", encoded(&mut chance, "{\"a\":1}")),
            _ => {}
        }
        distinct.insert(query, of_body.filter(|_| odd > 2));
    }
    let (queries, of_bodies): (Vec<_>, Vec<_>) = distinct.into_iter().unzip();
    let Some(csharp) = asked("queries", &queries) else { return };
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for ((query, answer), of_body) in queries.iter().zip(&csharp).zip(of_bodies) {
        let own = query.strip_prefix('?').unwrap_or(query);
        let own = kind_of_query(own).map_or_else(Uncertain::as_str, Kind::as_str);
        assert_eq!(own, answer, "{query}");
        if let Some(of_body) = of_body.filter(|_| own != "large") {
            assert_eq!(own, of_body, "{query}");
        }
        *verdicts.entry(answer).or_default() += 1;
    }
    tell(&format!("{} queries of URLs, C# and Rust agree: {verdicts:?}", queries.len()));
    for kind in ["query", "mutation", "subscription", "none", "invalid"] {
        assert!(verdicts.get(kind).is_some_and(|count| count * 200 > queries.len()), "too few of {kind}: {verdicts:?}");
    }
}

/// As a form would write it, or as one might.
fn encoded(chance: &mut fastrand::Rng, text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' if chance.bool() => encoded.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'{' | b'}' | b'(' | b')' if chance.u8(..4) != 0 => {
                encoded.push(char::from(byte));
            }
            _ if chance.bool() => encoded.push_str(&format!("%{byte:02x}")),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A body: mostly well-formed, some with odd envelopes, some of mere tokens, some damaged.
fn body(chance: &mut fastrand::Rng) -> String {
    let (mut document, names) = Writer { chance, text: String::new(), operations: Vec::new() }.document();
    match chance.u8(..10) {
        0..=6 => {}
        7 => document = soup(chance),
        _ => damage(chance, &mut document),
    }
    match chance.u8(..12) {
        0..=3 => json!({"query": document}).to_string(),
        4..=7 if !names.is_empty() => {
            json!({"query": document, "operationName": names[chance.usize(..names.len())]}).to_string()
        }
        4..=8 => {
            json!({"query": document, "operationName": choice(chance, &["A", "query", "a", "", "AA"])}).to_string()
        }
        9 => json!({"variables": {"a": [1, {"query": "mutation{x}"}]}, "query": document, "operationName": null})
            .to_string(),
        10 => escaped(chance, &document),
        _ => {
            let mut body = json!({"operationName": "A", "query": document}).to_string();
            match chance.u8(..3) {
                0 => damage(chance, &mut body),
                1 => body = body.replace('"', "'"),
                _ => body = odd_envelope(chance, &document),
            }
            body
        }
    }
}

fn choice<T: Copy>(chance: &mut fastrand::Rng, from: &[T]) -> T {
    from[chance.usize(..from.len())]
}

/// Every character of the document may be written as `\uXXXX`.
fn escaped(chance: &mut fastrand::Rng, document: &str) -> String {
    let mut text = String::new();
    for c in document.chars() {
        if chance.bool() {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&if chance.bool() { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
            }
        } else {
            let quoted = Value::from(c.to_string()).to_string();
            text.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    format!("{{\"query\":\"{text}\"}}")
}

fn odd_envelope(chance: &mut fastrand::Rng, document: &str) -> String {
    let query = Value::from(document).to_string();
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "/* \" */",
        "// x\n",
        "\"query\"",
        "query",
        "'query'",
        "\"operationName\"",
        "\"x\"",
        "null",
        "true",
        "-1.5e3",
        "wrong",
        "\"A\"",
        "''",
        "\"\\u0041\"",
        "\"\\ud83d\"",
        "\"\\x\"",
    ];
    if chance.bool() {
        let open = if chance.bool() { "{" } else { "/**/ {" };
        let more = ["", ",\"x\":{\"y\":[{},[]]}", ",\"query\":null", ",operationName:'A'", ",'x':0x1", ",\"x\":[1,]"];
        let end = ["}", "} // end", "}}", "}/*", "} {}"];
        return format!("{open}\"query\":{query}{}{}", choice(chance, &more), choice(chance, &end));
    }
    let mut text = String::from("{\"query\":");
    text.push_str(&query);
    for _ in 0..chance.usize(..8) {
        text.push_str(choice(chance, &pieces));
    }
    text.push('}');
    text
}

/// Cuts, doubles or changes a character somewhere.
fn damage(chance: &mut fastrand::Rng, text: &mut String) {
    let odd =
        ['"', '\\', '{', '}', '(', ')', '#', '\n', '\r', '\u{0}', '\u{A0}', '\u{200B}', '\u{FEFF}', '%', '&', 'é'];
    for _ in 0..chance.usize(1..3) {
        let places: Vec<_> = text.char_indices().map(|(at, c)| (at, c.len_utf8())).collect();
        let Some(&(at, width)) = places.get(chance.usize(..places.len().max(1))) else { return };
        match chance.u8(..4) {
            0 => text.truncate(at),
            1 => text.replace_range(at..at + width, ""),
            2 => text.insert(at, choice(chance, &odd)),
            _ => {
                let new = choice(chance, &odd).to_string();
                text.replace_range(at..at + width, &new);
            }
        }
    }
}

/// Tokens in no order.
fn soup(chance: &mut fastrand::Rng) -> String {
    let tokens = [
        "query",
        "mutation",
        "subscription",
        "fragment",
        "on",
        "A",
        "B",
        "a",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        "$",
        "@",
        "!",
        "...",
        "=",
        "|",
        "&",
        "1",
        "-2.5",
        "\"",
        "\"s\"",
        "\"\"\"",
        "\"\"\"b\"\"\"",
        "\\\"\"\"",
        "#",
        "\n",
        ",",
        "\u{FEFF}",
        "null",
        "type",
        "{ a }",
        "query A",
        "mutation B",
    ];
    let mut text = String::new();
    for _ in 0..chance.usize(1..14) {
        text.push_str(choice(chance, &tokens));
        text.push_str(choice(chance, &[" ", "", "\n", ","]));
    }
    text
}

/// Writes documents by GraphQL's grammar, with as much as possible of what confuses.
struct Writer<'c> {
    chance: &'c mut fastrand::Rng,
    text: String,
    /// The names of the operations.
    operations: Vec<&'static str>,
}

const NAMES: [&str; 16] = [
    "A",
    "B",
    "Q1",
    "a",
    "b",
    "_x",
    "query",
    "mutation",
    "subscription",
    "fragment",
    "input",
    "type",
    "id",
    "on2",
    "order",
    "x9",
];

impl Writer<'_> {
    fn one_in(&mut self, n: u8) -> bool {
        self.chance.u8(..n) == 0
    }

    fn pick(&mut self, from: &[&str]) {
        let text = choice(self.chance, from);
        self.text.push_str(text);
    }

    /// What the grammar ignores; at least something where two names would grow together.
    fn gap(&mut self) {
        self.pick(&[" ", "\n", " ", " ", "\r\n", ",", "\t", " # mutation { x }\n", "#\r", "\u{FEFF} ", " , ,"]);
    }

    fn mark(&mut self, mark: &str) {
        if self.one_in(4) {
            self.gap();
        }
        self.text.push_str(mark);
        if self.one_in(4) {
            self.gap();
        }
    }

    fn name(&mut self) {
        self.pick(&NAMES);
    }

    fn document(mut self) -> (String, Vec<&'static str>) {
        if self.one_in(8) {
            self.gap();
        }
        let definitions = choice(self.chance, &[1, 1, 1, 2, 2, 3]);
        for _ in 0..definitions {
            match self.chance.u8(..12) {
                0..=1 => self.selections(3),
                2..=8 => self.operation(),
                9..=10 => {
                    self.text.push_str("fragment");
                    self.gap();
                    self.name();
                    self.text.push_str(" on ");
                    self.name();
                    self.directives();
                    self.gap();
                    self.selections(2);
                }
                _ => self.pick(&["type Q { a: Int }", "extend type Q { b: Int }", "scalar S", "schema { query: Q }"]),
            }
            self.gap();
        }
        (self.text, self.operations)
    }

    fn operation(&mut self) {
        if self.one_in(12) {
            self.string();
            self.gap();
        }
        self.pick(&["query", "mutation", "subscription", "mutation"]);
        if !self.one_in(4) {
            self.gap();
            let name = choice(self.chance, &NAMES);
            self.operations.push(name);
            self.text.push_str(name);
        }
        if self.one_in(3) {
            self.mark("(");
            for _ in 0..self.chance.usize(1..3) {
                self.text.push('$');
                self.name();
                self.mark(":");
                self.pick(&["Int", "[String!]!", "ID!", "In", "[[A]]"]);
                if self.one_in(2) {
                    self.mark("=");
                    self.value(2, true);
                }
                self.directives();
                self.gap();
            }
            self.mark(")");
        }
        self.directives();
        self.gap();
        self.selections(3);
    }

    fn directives(&mut self) {
        while self.one_in(5) {
            self.gap();
            self.mark("@");
            self.name();
            if self.one_in(2) {
                self.arguments(true);
            }
        }
    }

    fn arguments(&mut self, constant: bool) {
        self.mark("(");
        for _ in 0..self.chance.usize(1..3) {
            self.name();
            self.mark(":");
            self.value(2, constant);
            self.gap();
        }
        self.mark(")");
    }

    fn selections(&mut self, depth: u8) {
        self.mark("{");
        for _ in 0..self.chance.usize(1..4) {
            match self.chance.u8(..10) {
                0 => {
                    self.text.push_str("...");
                    self.name();
                }
                1 if depth > 0 => {
                    self.pick(&["...", "... on A", "...on mutation"]);
                    self.directives();
                    self.gap();
                    self.selections(depth - 1);
                }
                _ => {
                    if self.one_in(4) {
                        self.name();
                        self.mark(":");
                    }
                    self.name();
                    if self.one_in(3) {
                        self.arguments(false);
                    }
                    self.directives();
                    if depth > 0 && self.one_in(3) {
                        self.gap();
                        self.selections(depth - 1);
                    }
                }
            }
            self.gap();
        }
        self.mark("}");
    }

    fn value(&mut self, depth: u8, constant: bool) {
        match self.chance.u8(..9) {
            0 => self.pick(&["1", "-0", "2.5", "1e9", "-1.5E-3", "0"]),
            1..=3 => self.string(),
            4 => self.pick(&["true", "null", "RED", "mutation", "query"]),
            5 if !constant => {
                self.text.push('$');
                self.name();
            }
            6 if depth > 0 => {
                self.mark("[");
                for _ in 0..self.chance.usize(..3) {
                    self.value(depth - 1, constant);
                    self.gap();
                }
                self.mark("]");
            }
            7 if depth > 0 => {
                self.mark("{");
                for _ in 0..self.chance.usize(..3) {
                    self.name();
                    self.mark(":");
                    self.value(depth - 1, constant);
                    self.gap();
                }
                self.mark("}");
            }
            _ => self.pick(&["7", "\"\"", "false"]),
        }
    }

    fn string(&mut self) {
        if self.one_in(3) {
            self.text.push_str("\"\"\"");
            for _ in 0..self.chance.usize(..4) {
                self.pick(&["x", " } mutation M { y ", "\\\"\"\"", "\n", "\\", "# ", "é😀", "\" ", "\"\" ", "{{"]);
            }
            // A quote just before the end would belong to it.
            if self.text.ends_with(['"', '\\']) {
                self.text.push(' ');
            }
            self.text.push_str("\"\"\"");
        } else {
            self.text.push('"');
            for _ in 0..self.chance.usize(..4) {
                self.pick(&["x", "} mutation M { y }", "\\\"", "\\\\", "\\u007B", "\\n", "#", "é😀", "{", ")", "'"]);
            }
            self.text.push('"');
        }
    }
}

//! Tells queries, mutations and subscriptions apart: what the gateway routes by.
//!
//! [`kind_of_body`] and [`kind_of_query`] are the twin of the policy expression that ships to API Management
//! (`gateway/policies/src/graphql_kind.cs`): the same lexer, the same verdicts, fail closed. The gateway on a developer's machine routes by it, and a function app
//! derives the kind with it again, beside its own parser: only what all of them agree on is executed. It routes and does
//! not authorise.
//!
//! The envelope is read as leniently as JSON parsers in the field are: comments, single quotes, unquoted names, the last
//! of members with one name. What executes the request is strict.
//!
//! A request that has `extensions` and no document names a document that the app has, by its hash: see [`operations`]. Nobody
//! but the app can look into that one, so the method tells the kind: a GET reads, a POST changes.

pub mod media;
mod nesting;
pub mod operations;

use std::fmt;

pub use nesting::nesting;

/// The largest body that has a kind, in UTF-16 units.
pub const MAX_BODY_UNITS: usize = 262_144;

/// The longest query of a URL that has a kind, in characters.
pub const MAX_QUERY_CHARS: usize = 7_168;

/// The header in which the gateway tells the app the kind that it routed by.
pub const KIND_HEADER: &str = "x-skein-kind";

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It reads.
    Query,
    /// It changes.
    Mutation,
    /// It follows.
    Subscription,
}

impl Kind {
    /// The keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Query => "query",
            Kind::Mutation => "mutation",
            Kind::Subscription => "subscription",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request has no kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncertain {
    /// It is longer than what is looked at.
    #[error("the request is too long")]
    Large,
    /// It can be read, but has no document, or names none of the document's operations.
    #[error("the request has no document, or names none of its operations")]
    Nothing,
    /// It cannot be read.
    #[error("it is not certain which kind of operation the request asks for")]
    Invalid,
}

impl Uncertain {
    /// What the policy's expression says of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Uncertain::Large => "large",
            Uncertain::Nothing => "none",
            Uncertain::Invalid => "invalid",
        }
    }
}

/// The kind of the operation that the body of a POST asks for.
///
/// # Errors
/// It is not certain.
pub fn kind_of_body(body: &[u8]) -> Result<Kind, Uncertain> {
    let text = std::str::from_utf8(body).map_err(|_| Uncertain::Invalid)?;
    if text.len() > MAX_BODY_UNITS && text.encode_utf16().count() > MAX_BODY_UNITS {
        return Err(Uncertain::Large);
    }
    let Envelope { query, operation_name, extended } = Envelope::read(text).ok_or(Uncertain::Invalid)?;
    let wanted = match &operation_name {
        Member::Absent => None,
        Member::Text(name) if !name.is_empty() => Some(name.as_str()),
        Member::Text(_) | Member::Other => return Err(Uncertain::Nothing),
    };
    match query {
        Member::Text(document) => kind_of_document(&document, wanted),
        Member::Absent if extended => Ok(Kind::Mutation),
        Member::Absent | Member::Other => Err(Uncertain::Nothing),
    }
}

/// The kind of the operation that a GET asks for, by the query of its URL as it was sent, without the question mark: of
/// the parameters `query`, `operationName`, `variables` and `extensions` each may stand in it once, as an HTML form would
/// write it. Any other one is no GraphQL request.
///
/// # Errors
/// It is not certain.
pub fn kind_of_query(query: &str) -> Result<Kind, Uncertain> {
    if query.is_empty() {
        return Err(Uncertain::Nothing);
    }
    if query.encode_utf16().count() > MAX_QUERY_CHARS {
        return Err(Uncertain::Large);
    }
    let (mut document, mut wanted, mut extended, mut seen) = (None, None, false, Vec::new());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').ok_or(Uncertain::Invalid)?;
        let value = decoded(value).ok_or(Uncertain::Invalid)?;
        if seen.contains(&name) {
            return Err(Uncertain::Invalid);
        }
        seen.push(name);
        match name {
            // Bytes as characters: what is not ASCII is nothing that matters in a text, and no token elsewhere, but for
            // the byte order mark.
            "query" => {
                let text: String = value.into_iter().map(char::from).collect();
                document = Some(text.replace("\u{EF}\u{BB}\u{BF}", "\u{FEFF}"));
            }
            "operationName" if value.is_empty() => {}
            "operationName" => wanted = Some(value.into_iter().map(char::from).collect::<String>()),
            "extensions" => extended = true,
            "variables" => {}
            _ => return Err(Uncertain::Invalid),
        }
    }
    match document {
        Some(document) => kind_of_document(&document, wanted.as_deref()),
        None if extended => Ok(Kind::Query),
        None => Err(Uncertain::Nothing),
    }
}

/// The bytes of a value as an HTML form encodes it: `+` is a blank, `%` and two digits are a byte; `None` where it is not
/// of visible ASCII, or a `%` stands alone.
pub fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
                rest = tail.get(2..)?;
                u8::try_from(digit(0)? * 16 + digit(1)?).ok()?
            }
            ..=126 => byte,
            _ => return None,
        });
    }
    Some(bytes)
}

/// The kind of the operation of that name, or of the only one.
fn kind_of_document(document: &str, wanted: Option<&str>) -> Result<Kind, Uncertain> {
    let operations = operations(document).ok_or(Uncertain::Invalid)?;
    if operations.len() > 1 {
        let mut names: Vec<&str> = operations.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        if names.iter().any(|name| name.is_empty()) || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Uncertain::Nothing);
        }
    }
    let found = match wanted {
        None => match operations[..] {
            [(kind, _)] => Some(kind),
            _ => None,
        },
        Some(wanted) => operations.iter().find(|(_, name)| *name == wanted).map(|(kind, _)| *kind),
    };
    found.ok_or(Uncertain::Nothing)
}

/// Where the lexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between definitions.
    Between,
    /// Just after an operation's keyword: the next name is the operation's.
    AfterKeyword,
    /// Between a keyword and the selection set.
    Header,
    /// In a selection set.
    Selection,
}

/// The operations of a document with their names (empty where there is none).
fn operations(document: &str) -> Option<Vec<(Kind, &str)>> {
    let text = document.as_bytes();
    let mut found: Vec<(Kind, &str)> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut place = Place::Between;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
            // The byte order mark.
            0xEF if text[at..].starts_with("\u{FEFF}".as_bytes()) => at += 3,
            b'#' => at += text[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len() - at),
            b'"' => {
                at = end_of_string(text, at)?;
                if place == Place::AfterKeyword {
                    return None;
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let start = at;
                while text.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
                    at += 1;
                }
                let word = &document[start..at];
                match place {
                    Place::Between => {
                        let kind = match word {
                            "query" => Some(Kind::Query),
                            "mutation" => Some(Kind::Mutation),
                            "subscription" => Some(Kind::Subscription),
                            "fragment" => None,
                            _ => return None,
                        };
                        // A fragment's name is swallowed by its header, so that one named `mutation` does no harm.
                        place = Place::Header;
                        if let Some(kind) = kind {
                            found.push((kind, ""));
                            place = Place::AfterKeyword;
                        }
                    }
                    Place::AfterKeyword => {
                        found.last_mut()?.1 = word;
                        place = Place::Header;
                    }
                    Place::Header | Place::Selection => {}
                }
            }
            _ if place == Place::Between && byte != b'{' => return None,
            b'{' | b'(' | b'[' => {
                // Only an outermost brace opens a selection set: others belong to the values of a header.
                if open.is_empty() && byte == b'{' {
                    if place == Place::Between {
                        found.push((Kind::Query, ""));
                    }
                    place = Place::Selection;
                } else if place == Place::AfterKeyword {
                    place = Place::Header;
                }
                open.push(if byte == b'(' { b')' } else { byte + 2 });
                at += 1;
            }
            b'}' | b')' | b']' => {
                if open.pop() != Some(byte) {
                    return None;
                }
                if open.is_empty() && place == Place::Selection {
                    place = Place::Between;
                }
                at += 1;
            }
            b'0'..=b'9' | b'!' | b'$' | b'&' | b'+' | b'-' | b'.' | b':' | b'=' | b'@' | b'|' => {
                if place == Place::AfterKeyword {
                    place = Place::Header;
                }
                at += 1;
            }
            _ => return None,
        }
    }
    if place != Place::Between || !open.is_empty() || found.is_empty() {
        return None;
    }
    Some(found)
}

/// The place after a string or block string that begins here; `None` where it does not end.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    if text[at..].starts_with(b"\"\"\"") {
        at += 3;
        loop {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            if rest.starts_with(b"\\\"\"\"") {
                at += 4;
            } else if rest.starts_with(b"\"\"\"") {
                return Some(at + 3);
            } else {
                at += 1;
            }
        }
    }
    at += 1;
    loop {
        match text.get(at)? {
            b'\n' | b'\r' => return None,
            b'"' => return Some(at + 1),
            b'\\' => {
                // The character after a backslash is passed over whole.
                at += 1;
                let width = match text.get(at)? {
                    0xC0..=0xDF => 2,
                    0xE0..=0xEF => 3,
                    0xF0..=0xFF => 4,
                    _ => 1,
                };
                at += width;
            }
            _ => at += 1,
        }
    }
}

/// A member of the envelope.
#[derive(Debug, Default)]
enum Member {
    /// Missing, or null.
    #[default]
    Absent,
    /// A string.
    Text(String),
    /// Anything else.
    Other,
}

/// The members of a GraphQL request that matter here.
#[derive(Debug, Default)]
struct Envelope {
    query: Member,
    operation_name: Member,
    /// Whether `extensions` is an object.
    extended: bool,
}

/// How deep the members' values may nest.
const MAX_DEPTH: usize = 63;

/// What the envelope's reader waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Start,
    MemberOrEnd,
    Member,
    Colon,
    Value,
    CommaOrEnd,
    Nothing,
}

/// A piece of JSON.
enum Token<'t> {
    Mark(char),
    Text(String),
    Word(&'t str),
}

impl Envelope {
    /// Reads a JSON object and nothing after it. Nested values are skipped by their brackets: what executes the request
    /// reads them.
    fn read(text: &str) -> Option<Envelope> {
        let mut json = Json { rest: text };
        let mut envelope = Envelope::default();
        let mut want = Want::Start;
        let mut name = String::new();
        let mut closers = Vec::new();
        while json.space()? {
            let token = json.token()?;
            if !closers.is_empty() {
                match token {
                    Token::Text(_) | Token::Word(_) | Token::Mark(',' | ':') => {}
                    Token::Mark('{' | '[') if closers.len() == MAX_DEPTH => return None,
                    Token::Mark('{') => closers.push('}'),
                    Token::Mark('[') => closers.push(']'),
                    Token::Mark(mark) => {
                        if closers.pop() != Some(mark) {
                            return None;
                        }
                    }
                }
                continue;
            }
            want = match (want, token) {
                (Want::Start, Token::Mark('{')) => Want::MemberOrEnd,
                (Want::MemberOrEnd | Want::Member, Token::Text(text)) => {
                    name = text;
                    Want::Colon
                }
                (Want::MemberOrEnd | Want::Member, Token::Word(word)) => {
                    name = word.to_owned();
                    Want::Colon
                }
                (Want::MemberOrEnd | Want::CommaOrEnd, Token::Mark('}')) => Want::Nothing,
                (Want::Colon, Token::Mark(':')) => Want::Value,
                (Want::CommaOrEnd, Token::Mark(',')) => Want::Member,
                (Want::Value, token) => {
                    let object = matches!(token, Token::Mark('{'));
                    let member = match token {
                        Token::Text(text) => Member::Text(text),
                        Token::Word("null") => Member::Absent,
                        Token::Word(word) if word == "true" || word == "false" || is_number(word) => Member::Other,
                        Token::Mark(open @ ('{' | '[')) => {
                            closers.push(if open == '{' { '}' } else { ']' });
                            Member::Other
                        }
                        Token::Word(_) | Token::Mark(_) => return None,
                    };
                    match name.as_str() {
                        "query" => envelope.query = member,
                        "operationName" => envelope.operation_name = member,
                        "extensions" => envelope.extended = object,
                        _ => {}
                    }
                    Want::CommaOrEnd
                }
                _ => return None,
            };
        }
        (want == Want::Nothing).then_some(envelope)
    }
}

/// Whether a word begins as numbers do; what executes the request reads the rest.
fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A lenient JSON lexer.
struct Json<'t> {
    rest: &'t str,
}

impl<'t> Json<'t> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Passes over white space and comments and tells whether anything is left; `None` where a comment does not end.
    fn space(&mut self) -> Option<bool> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
            if let Some(comment) = self.rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/")?.1;
            } else if let Some(comment) = self.rest.strip_prefix("//") {
                self.rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
            } else {
                return Some(!self.rest.is_empty());
            }
        }
    }

    fn token(&mut self) -> Option<Token<'t>> {
        let start = self.rest;
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_$+-.".contains(c);
        match self.next()? {
            quote @ ('"' | '\'') => self.string(quote).map(Token::Text),
            '/' => None,
            first if is_word(first) => {
                self.rest = start.trim_start_matches(is_word);
                Some(Token::Word(&start[..start.len() - self.rest.len()]))
            }
            mark => Some(Token::Mark(mark)),
        }
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.next()? {
                c if c == quote => return Some(text),
                '\\' => match self.next()? {
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    c @ ('"' | '\'' | '\\' | '/') => text.push(c),
                    'u' => text.push(self.escaped_char()?),
                    _ => return None,
                },
                c => text.push(c),
            }
        }
    }

    /// The character of `\uXXXX`, or of two that are a surrogate pair. A lone surrogate is no GraphQL token, and becomes
    /// another character that is none.
    fn escaped_char(&mut self) -> Option<char> {
        let unit = self.unit()?;
        if (0xD800..0xDC00).contains(&unit)
            && let Some(rest) = self.rest.strip_prefix("\\u")
        {
            let mut low = Json { rest };
            if let Some(second @ 0xDC00..0xE000) = low.unit() {
                self.rest = low.rest;
                return char::from_u32(0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00));
            }
        }
        Some(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let unit = u32::from_str_radix(digits, 16).ok()?;
        self.rest = &self.rest[4..];
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn name(kind: Result<Kind, Uncertain>) -> &'static str {
        kind.map_or_else(Uncertain::as_str, Kind::as_str)
    }

    #[track_caller]
    fn check(document: &str, expected: &str) {
        let body = json!({"query": document, "variables": {"a": [1, {"b": null}]}}).to_string();
        assert_eq!(name(kind_of_body(body.as_bytes())), expected, "{document}");
        // A GET with the same document says the same.
        let encoded: String = document.bytes().map(|byte| format!("%{byte:02x}")).collect();
        if document.is_ascii() {
            assert_eq!(name(kind_of_query(&format!("query={encoded}"))), expected, "{document}");
        }
    }

    #[track_caller]
    fn check_body(body: &str, expected: &str) {
        assert_eq!(name(kind_of_body(body.as_bytes())), expected, "{body}");
    }

    #[test]
    fn documents() {
        for (document, expected) in [
            ("{ a }", "query"),
            ("query Q($id: ID! = \"} mutation M {\") @d(x: {y: [1, -2.5e3]}) { a(id: $id) { ...F } }", "query"),
            ("mutation M { placeOrder(input: {lines: [{sku: \"85123A\", quantity: 6}]}) { commandId } }", "mutation"),
            ("subscription { a }", "subscription"),
            ("\u{FEFF}# mutation\r,,mutation{a}", "mutation"),
            ("fragment mutation on Q { a } { ...mutation }", "query"),
            ("{ a } fragment query on Q { a }", "query"),
            ("\"about\" mutation { a }", "mutation"),
            ("\"\"\"about\"\"\" query { a }", "query"),
            ("mutation \"x\" { a }", "invalid"),
            ("mutation { a(s: \"\\é\\\"\") }", "mutation"),
            ("{ a(s: \"\\", "invalid"),
            ("{ a(s: \"\"\"", "invalid"),
            ("{ a(s: \"\"\"\\\"\"\"", "invalid"),
            ("query Q { a } mutation M { b }", "none"),
            ("{ a } { b }", "none"),
            ("query", "invalid"),
            ("query Q", "invalid"),
            ("query ()", "invalid"),
            ("schema { query: Q }", "invalid"),
            ("{ a ]", "invalid"),
            ("{ a } )", "invalid"),
            ("mut\u{200B}ation { a }", "invalid"),
            ("\u{A0}{ a }", "invalid"),
            ("{ a \u{2028} }", "invalid"),
            ("{ a % }", "invalid"),
            ("", "invalid"),
            ("# only a comment", "invalid"),
        ] {
            check(document, expected);
        }
    }

    #[test]
    fn envelopes() {
        for (body, expected) in [
            (r#"{"query":"query A{a} mutation B{b}","operationName":"B"}"#, "mutation"),
            (r#"{"operationName":"A","query":"query A{a} mutation B{b}"}"#, "query"),
            (r#"{"query":"{a}","operationName":"missing"}"#, "none"),
            (r#"{"query":"{a}","operationName":{}}"#, "none"),
            (r#"{"query":"{a}","operationName":""}"#, "none"),
            (r#"{"query":5}"#, "none"),
            (r#"{"extensions":{}}"#, "mutation"),
            (r#"{"query":null,"extensions":{"x":[1]}}"#, "mutation"),
            (r#"{"query":5,"extensions":{}}"#, "none"),
            (r#"{"extensions":{},"extensions":[]}"#, "none"),
            (r#"{"query":"{a}","extensions":{}}"#, "query"),
            (r#"{"query":"{a}","operationName":null}"#, "query"),
            (r#"{"query":"mutation{a}","query":"{a}"}"#, "query"),
            (r#"{query:'mutation{a}', /* c */ variables:{}} // end"#, "mutation"),
            (r#"{"query":"{a}","n":-1.5e3,"t":true,"x":[[],{}]}"#, "query"),
            (r#"{"query":"{a(s:\"\ud83d\ude00 \ud83d\")}"}"#, "query"),
            (r#"{"query":"\ud83d\ude00{a}"}"#, "invalid"),
            (r#"{"query":"{a}"}}"#, "invalid"),
            (r#"{"query":"{a}",}"#, "invalid"),
            (r#"{"query":"{a}" "x":1}"#, "invalid"),
            (r#"{"query":"{a}","x":wrong}"#, "invalid"),
            (r#"{"query":"{a}","x":"\x"}"#, "invalid"),
            (r#"{"query":"\u00zz"}"#, "invalid"),
            (r#"{"query":"{a}"} /*"#, "invalid"),
            (r#"[{"query":"{a}"}]"#, "invalid"),
            ("{}", "none"),
            ("null", "invalid"),
            ("", "invalid"),
        ] {
            check_body(body, expected);
        }
        assert_eq!(kind_of_body(b"{\"query\":\"\xff\"}"), Err(Uncertain::Invalid));
        let long = format!("{}{{\"query\":\"{{a}}\"}}", " ".repeat(MAX_BODY_UNITS));
        check_body(&long, "large");
        let deep = format!(r#"{{"query":"{{a}}","x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check_body(&deep, "invalid");
    }

    #[test]
    fn queries_of_urls() {
        for (query, expected) in [
            ("query={a}", "query"),
            ("query=%7Ba%7D&variables={}&extensions=", "query"),
            ("query=mutation+M%7Ba%7D", "mutation"),
            ("query=query+A{a}+mutation+B{b}&operationName=%42", "mutation"),
            ("query={a}&operationName=", "query"),
            ("query={a}&operationName=B", "none"),
            ("extensions=%7b%7D", "query"),
            ("variables={}", "none"),
            ("", "none"),
            ("query=", "invalid"),
            ("query", "invalid"),
            ("query={a}&", "invalid"),
            ("&query={a}", "invalid"),
            ("query={a}&query={a}", "invalid"),
            ("?query={a}", "invalid"),
            ("Query={a}", "invalid"),
            ("qu%65ry={a}", "invalid"),
            ("query={a}&access_token=x", "invalid"),
            ("query={a}%", "invalid"),
            ("query={a}%4", "invalid"),
            ("query={a}%+4", "invalid"),
            ("query={a}%zz", "invalid"),
            ("query={a(b:\"\u{e9}\")}", "invalid"),
            ("query={a(b:%22%c3%a9%5C%c3%a9%22)}", "query"),
            ("query=%ef%bb%bf{a}", "query"),
            ("query=%ef%bb{a}", "invalid"),
        ] {
            assert_eq!(name(kind_of_query(query)), expected, "{query}");
        }
        let long = |chars: usize| format!("query={{a}}{}", "+".repeat(chars - "query={a}".len()));
        assert_eq!(name(kind_of_query(&long(MAX_QUERY_CHARS))), "query");
        assert_eq!(name(kind_of_query(&long(MAX_QUERY_CHARS + 1))), "large");
    }

    /// The verdicts that the policy expression was tested with; the file is beside the repository, not in it.
    #[test]
    fn agrees_with_the_policy_that_ships() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let shared = std::env::var("SKEIN_SHARED").map_or_else(|_| root.join("../shared"), |path| root.join(path));
        let path = shared.join("specs/graphql-kind-cases.json");
        let Ok(text) = std::fs::read(&path) else {
            assert!(std::env::var_os("CI").is_none(), "{} is missing (SKEIN_SHARED)", path.display());
            eprintln!("SKIPPED: {} is missing (SKEIN_SHARED)", path.display());
            return;
        };
        let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
        assert!(cases.len() >= 67);
        for case in cases {
            // That table does not tell what is empty from what cannot be read.
            let kind = kind_of_body(case["body"].as_str().unwrap().as_bytes()).map_or("invalid", Kind::as_str);
            assert_eq!(kind, case["kind"].as_str().unwrap(), "{case}");
        }
    }
}

//! Policy expressions: C# that API Management runs, held to what it allows.
//!
//! The compiler is not at hand, so the text is scanned: each name must be one of the language, of a type or member that
//! API Management allows, or declared in the expression. Comments to the end of a line are refused, since an attribute
//! loses its line ends.

use std::collections::BTreeSet;
use std::fmt;

use crate::value::is_xml;

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    text: String,
    block: bool,
}

/// Why a text is no expression that can be deployed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// A name that is neither allowed nor declared.
    #[error("the expression uses {0:?}, which is not on the list of what API Management allows")]
    Name(String),
    /// Text that an attribute or API Management would change.
    #[error("the expression holds {0:?}: {1}")]
    Forbidden(&'static str, &'static str),
    /// A bracket, text or comment without its end.
    #[error("the expression is broken off: {0} does not end")]
    Open(String),
    /// A bracket that closes nothing.
    #[error("the expression closes {0:?}, which is not open")]
    Closed(char),
    /// No text.
    #[error("the expression is empty")]
    Empty,
    /// A character outside of what is used here.
    #[error("the expression holds {0:?}")]
    Character(char),
}

impl Expression {
    /// One C# expression: `@(…)`.
    pub fn single(text: impl Into<String>) -> Self {
        Expression { text: text.into(), block: false }
    }

    /// C# statements that return on every path: `@{…}`.
    pub fn block(text: impl Into<String>) -> Self {
        Expression { text: text.into(), block: true }
    }

    /// A text as C# writes it.
    pub fn literal(text: &str) -> String {
        let mut literal = String::with_capacity(text.len() + 2);
        literal.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => literal.extend(['\\', c]),
                '\n' => literal.push_str("\\n"),
                '\r' => literal.push_str("\\r"),
                '\t' => literal.push_str("\\t"),
                c => literal.push(c),
            }
        }
        literal.push('"');
        literal
    }

    /// The C# between the brackets.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it consists of statements.
    pub fn is_block(&self) -> bool {
        self.block
    }

    /// Tells what API Management would not take.
    ///
    /// # Errors
    /// See [`ExpressionError`].
    pub fn check(&self) -> Result<(), ExpressionError> {
        if self.text.trim().is_empty() {
            return Err(ExpressionError::Empty);
        }
        // The gateway replaces named values before it looks at expressions.
        if self.text.contains("{{") {
            return Err(ExpressionError::Forbidden("{{", "the gateway would replace it by a named value"));
        }
        let tokens = tokens(&self.text)?;
        brackets(&tokens)?;
        names(&tokens)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.trim();
        match (self.block, text.contains('\n')) {
            (false, _) => write!(f, "@({text})"),
            (true, false) => write!(f, "@{{ {text} }}"),
            (true, true) => write!(f, "@{{\n{text}\n}}"),
        }
    }
}

/// The expression as it is known by, however it was laid out: blanks and comments between tokens count as one blank.
pub fn normalised(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let width = match first {
            '"' => string_width(rest).unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => {
                rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
                if !folded.ends_with(' ') {
                    folded.push(' ');
                }
                continue;
            }
            c if c.is_whitespace() => {
                if !folded.ends_with(' ') {
                    folded.push(' ');
                }
                rest = &rest[c.len_utf8()..];
                continue;
            }
            c => c.len_utf8(),
        };
        folded.push_str(&rest[..width]);
        rest = &rest[width..];
    }
    folded.trim_end().to_owned()
}

/// A token of C#, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    /// A text or a number.
    Literal,
    Mark(char),
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, ExpressionError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !is_xml(first) || !first.is_ascii() {
            return Err(ExpressionError::Character(first));
        }
        let mut width = 1;
        match first {
            '"' => {
                width = string_width(rest).ok_or_else(|| ExpressionError::Open("a text".to_owned()))?;
                found.push(Token::Literal);
            }
            '\'' => {
                return Err(ExpressionError::Forbidden("'", "compare code points, not characters"));
            }
            '@' | '$' => return Err(ExpressionError::Forbidden("@ or $", "only plain texts are allowed")),
            '/' if rest.starts_with("//") => {
                return Err(ExpressionError::Forbidden("//", "an attribute has no line ends, so the comment goes on"));
            }
            '/' if rest.starts_with("/*") => {
                let end = rest.find("*/").ok_or_else(|| ExpressionError::Open("a comment".to_owned()))?;
                width = end + 2;
            }
            '#' => return Err(ExpressionError::Forbidden("#", "an attribute has no line ends, so no directives")),
            c if c.is_ascii_digit() => {
                width = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                found.push(Token::Literal);
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                width = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push(Token::Name(&rest[..width]));
            }
            c if c.is_ascii_whitespace() => {}
            c => found.push(Token::Mark(c)),
        }
        rest = &rest[width..];
    }
    Ok(found)
}

/// How long a text is that begins here, with its quotes; `None` where it does not end on its line.
fn string_width(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' | '\r' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn brackets(tokens: &[Token<'_>]) -> Result<(), ExpressionError> {
    let mut open = Vec::new();
    for token in tokens {
        match token {
            Token::Mark(mark @ ('(' | '[' | '{')) => open.push(*mark),
            Token::Mark(mark @ (')' | ']' | '}')) => {
                let wanted = match mark {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(wanted) {
                    return Err(ExpressionError::Closed(*mark));
                }
            }
            _ => {}
        }
    }
    match open.pop() {
        Some(mark) => Err(ExpressionError::Open(mark.to_string())),
        None => Ok(()),
    }
}

const KEYWORDS: [&str; 21] = [
    "as", "break", "case", "catch", "continue", "default", "else", "false", "for", "foreach", "if", "in", "is", "new",
    "null", "return", "switch", "true", "try", "var", "while",
];

const TYPES: [&str; 27] = [
    "Convert",
    "DateTime",
    "Dictionary",
    "Encoding",
    "Exception",
    "Guid",
    "HashSet",
    "JArray",
    "JObject",
    "JProperty",
    "JToken",
    "JTokenType",
    "JsonConvert",
    "Jwt",
    "List",
    "Math",
    "Queue",
    "Regex",
    "Stack",
    "StringBuilder",
    "TimeSpan",
    "bool",
    "char",
    "double",
    "int",
    "object",
    "string",
];

/// What may stand before or after a point, and the names of arguments.
const MEMBERS: [&str; 64] = [
    "Add",
    "Any",
    "Append",
    "Array",
    "As",
    "AsJwt",
    "Body",
    "Claims",
    "Clear",
    "Contains",
    "ContainsKey",
    "Count",
    "Empty",
    "EndsWith",
    "Equals",
    "ExpirationTime",
    "First",
    "FirstOrDefault",
    "GetBytes",
    "GetValueOrDefault",
    "Headers",
    "Host",
    "Id",
    "IndexOf",
    "IpAddress",
    "IsMatch",
    "IsNullOrEmpty",
    "Issuer",
    "Join",
    "Key",
    "LastError",
    "Length",
    "Message",
    "Method",
    "Name",
    "Null",
    "Object",
    "OriginalUrl",
    "Parse",
    "Path",
    "Pop",
    "Push",
    "QueryString",
    "Reason",
    "Replace",
    "Request",
    "RequestId",
    "Response",
    "Source",
    "Split",
    "StartsWith",
    "StatusCode",
    "StatusReason",
    "Subject",
    "Substring",
    "Ticks",
    "ToBase64String",
    "ToLower",
    "ToString",
    "Trim",
    "TrimEnd",
    "UTF8",
    "Value",
    "Variables",
];

const OTHERS: [&str; 6] = ["NewGuid", "SerializeObject", "ToLowerInvariant", "Url", "context", "preserveContent"];

fn names(tokens: &[Token<'_>]) -> Result<(), ExpressionError> {
    let mut declared = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Name(name) = token else { continue };
        let after_point = at.checked_sub(1).is_some_and(|before| tokens[before] == Token::Mark('.'));
        let known = MEMBERS.contains(name) || OTHERS.contains(name);
        if after_point {
            if !known {
                return Err(ExpressionError::Name((*name).to_owned()));
            }
        } else if declares(tokens, at) {
            declared.insert(*name);
        } else if !(KEYWORDS.contains(name) || TYPES.contains(name) || OTHERS.contains(name) || declared.contains(name))
        {
            return Err(ExpressionError::Name((*name).to_owned()));
        }
    }
    Ok(())
}

/// Whether the name at this place is that of a new variable: a type stands before it.
fn declares(tokens: &[Token<'_>], at: usize) -> bool {
    let follows = match tokens.get(at + 1) {
        Some(Token::Mark('=')) => tokens.get(at + 2) != Some(&Token::Mark('=')),
        Some(Token::Mark(';')) => true,
        Some(Token::Name(name)) => *name == "in",
        _ => false,
    };
    let is_type = |token: &Token<'_>| matches!(token, Token::Name(name) if TYPES.contains(name) || *name == "var");
    let Some(before) = at.checked_sub(1) else { return false };
    let typed = match tokens[before] {
        Token::Name(_) => is_type(&tokens[before]),
        // string[] names
        Token::Mark(']') => before >= 2 && tokens[before - 1] == Token::Mark('[') && is_type(&tokens[before - 2]),
        // Dictionary<string, object> members
        Token::Mark('>') => {
            let open = tokens[..before].iter().rposition(|token| *token == Token::Mark('<'));
            open.is_some_and(|open| {
                let inner = tokens[open + 1..before].iter();
                open >= 1
                    && is_type(&tokens[open - 1])
                    && inner.into_iter().all(|token| is_type(token) || matches!(token, Token::Mark(',' | '[' | ']')))
            })
        }
        Token::Mark(_) | Token::Literal => false,
    };
    follows && typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let told = Expression::block(text).check().err().map_or_else(String::new, |error| error.to_string());
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{text}: {told}");
    }

    #[test]
    fn what_may_stand_in_an_expression() {
        for text in [
            "return context.Request.Method;",
            "string[] roles = new string[0]; foreach (string role in roles) { return role; } return null;",
            "Dictionary<string, string[]> held = new Dictionary<string, string[]>(); return held.Count;",
            "int a = 1; /* a < b, { and ' */ return a > 2 ? \"{ ( // \\\" x\" : string.Empty;",
            "JObject o = new JObject(new JProperty(\"a\", 1)); return o.ToString();",
        ] {
            check(text, "");
        }
    }

    #[test]
    fn what_may_not() {
        for (text, expected) in [
            ("return System.IO.File.ReadAllText(\"x\");", "\"System\""),
            ("return context.GetType();", "\"GetType\""),
            ("Process p = null; return p;", "\"Process\""),
            ("int a = 1; return a > Environment;", "\"Environment\""),
            ("return a > Environment = 1;", "\"a\""),
            ("return 1; // done", "the comment goes on"),
            ("return 'x';", "code points"),
            ("return @\"x\";", "plain texts"),
            ("return $\"{context}\";", "plain texts"),
            ("return \"{{secret}}\";", "named value"),
            ("#if x\nreturn 1;", "directives"),
            ("return (1;", "closes ';'"),
            ("if (true) { return 1;", "\"{\""),
            ("return 1; }", "closes '}'"),
            ("return \"x", "a text does not end"),
            ("return \"x\n\";", "a text does not end"),
            ("/* x", "a comment does not end"),
            ("return \u{e9};", "'\u{e9}'"),
            (" ", "empty"),
        ] {
            if expected == "closes ';'" {
                assert_eq!(Expression::block(text).check(), Err(ExpressionError::Open("(".into())));
            } else if expected == "\"{\"" {
                assert_eq!(Expression::block(text).check(), Err(ExpressionError::Open("{".into())));
            } else {
                check(text, expected);
            }
        }
    }

    #[test]
    fn layout_does_not_count() {
        assert_eq!(normalised("@{\n    a /* b */ =  \"x  /* y */\";\n}"), "@{ a = \"x  /* y */\"; }");
        assert_eq!(normalised("  @(a\t\r\n)"), "@(a )");
        let text = Expression::block("a;\nb;").to_string();
        assert_eq!(normalised(&text), normalised(&text.replace('\n', "        ")));
        assert_eq!(Expression::literal("a\"\\\n"), r#""a\"\\\n""#);
    }
}

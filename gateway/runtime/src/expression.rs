//! Policy expressions: known ones, by their text.

use std::fmt;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use skein_policies::normalised;

use crate::context::Context;
use crate::jwt::Token;
use crate::native;

/// What an expression gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Token(Arc<Token>),
}

impl Value {
    /// As a text, where the document wants one.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            // As .NET prints them.
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::Token(_) => "Jwt".to_owned(),
        }
    }
}

/// Why an expression gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

pub(crate) type Evaluated = Result<Value, Failure>;

/// A text or number of the expression itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    Text(String),
    Number(i64),
}

impl Literal {
    fn text(&self) -> &str {
        match self {
            Literal::Text(text) => text,
            Literal::Number(_) => "",
        }
    }

    fn number(&self) -> i64 {
        match self {
            Literal::Text(_) => 0,
            Literal::Number(number) => *number,
        }
    }
}

type Known = fn(&[Literal], &Context<'_>) -> Evaluated;

/// An expression that is known.
pub(crate) struct Expression {
    known: Known,
    literals: Vec<Literal>,
    text: String,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a text of a document is an expression.
pub(crate) fn is_expression(text: &str) -> bool {
    text.starts_with("@(") || text.starts_with("@{")
}

impl Expression {
    /// The function that an expression stands for, with `@` and brackets.
    ///
    /// # Errors
    /// Its normalised text, where it is not known.
    pub(crate) fn parse(text: &str) -> Result<Self, Unknown> {
        let text = text.trim();
        let normal = normalised(text);
        let unknown = || Unknown { text: shortened(&normal), digest: digest(&normal) };
        if text.starts_with("@{") {
            let digest = digest(&normal);
            let known = native::BLOCKS.iter().find(|block| block.digest == digest).ok_or_else(unknown)?;
            return Ok(Expression { known: known.function, literals: Vec::new(), text: known.name.to_owned() });
        }
        let inner = normal.strip_prefix("@(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(unknown)?;
        let (shape, literals) = shape_of(inner).ok_or_else(unknown)?;
        let known = SHAPES.iter().find_map(|(pattern, known)| Some((known, matched(pattern, &shape, &literals)?)));
        let (known, literals) = known.ok_or_else(unknown)?;
        Ok(Expression { known: *known, literals, text: inner.to_owned() })
    }

    pub(crate) fn evaluate(&self, context: &Context<'_>) -> Evaluated {
        (self.known)(&self.literals, context)
    }

    pub(crate) fn is_true(&self, context: &Context<'_>) -> Result<bool, Failure> {
        match self.evaluate(context)? {
            Value::Bool(value) => Ok(value),
            other => Err(Failure(format!("{} gave {other:?} where true or false is wanted", self.text))),
        }
    }
}

/// An expression that has no twin here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    text: String,
    digest: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the expression {} (digest {}) has no twin here", self.text, self.digest)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// SHA-256 of a normalised text, in hexadecimal digits.
pub(crate) fn digest(normal: &str) -> String {
    Sha256::digest(normal.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tokens without blanks, each text and number as its kind alone; and those texts and numbers.
///
/// `None` where a text does not end or a number is too large.
fn shape_of(text: &str) -> Option<(Vec<String>, Vec<Literal>)> {
    let mut shape = Vec::new();
    let mut literals = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        if c == '"' {
            let mut held = String::new();
            loop {
                match chars.next()?.1 {
                    '"' => break,
                    '\\' => held.push(match chars.next()?.1 {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        c @ ('"' | '\\') => c,
                        _ => return None,
                    }),
                    c => held.push(c),
                }
            }
            literals.push(Literal::Text(held));
            shape.push("\"\"".to_owned());
            continue;
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if word(c) {
            let mut end = start + c.len_utf8();
            while let Some((at, next)) = chars.next_if(|(_, c)| word(*c)) {
                end = at + next.len_utf8();
            }
            let token = &text[start..end];
            if c.is_ascii_digit() {
                literals.push(Literal::Number(token.parse().ok()?));
                shape.push("0".to_owned());
            } else {
                shape.push(token.to_owned());
            }
            continue;
        }
        shape.push(c.to_string());
    }
    Some((shape, literals))
}

/// The arguments of an expression, if the pattern is its own: an empty text and a zero of the pattern stand for any text
/// and number, other ones for themselves.
fn matched(pattern: &str, shape: &[String], literals: &[Literal]) -> Option<Vec<Literal>> {
    let (wanted, fixed) = shape_of(pattern)?;
    if wanted != shape {
        return None;
    }
    let mut arguments = Vec::new();
    for (fixed, given) in fixed.iter().zip(literals) {
        match fixed {
            Literal::Number(0) => arguments.push(given.clone()),
            Literal::Text(text) if text.is_empty() => arguments.push(given.clone()),
            _ if fixed == given => {}
            _ => return None,
        }
    }
    Some(arguments)
}

/// The body of a problem, as `skein_policies::problem_body` prints it.
macro_rules! problem {
    ($title:literal, $status:literal, $detail:literal) => {
        concat!(
            "new JObject(new JProperty(\"type\", \"about:blank\"), new JProperty(\"title\", ",
            $title,
            "), new JProperty(\"status\", ",
            $status,
            "), new JProperty(\"detail\", ",
            $detail,
            "), new JProperty(\"traceId\", ",
            "context.Variables.GetValueOrDefault<string>(\"\", context.RequestId.ToString(\"N\")))).ToString()"
        )
    };
}

const SHAPES: [(&str, Known); 19] = [
    ("(string)context.Variables[\"\"]", |given, cx| variable(cx, &given[0]).map(Value::Text)),
    ("(string)context.Variables[\"\"] == \"\"", |given, cx| {
        Ok(Value::Bool(variable(cx, &given[0])? == given[1].text()))
    }),
    ("(string)context.Variables[\"\"] == string.Empty", |given, cx| {
        Ok(Value::Bool(variable(cx, &given[0])?.is_empty()))
    }),
    ("!(bool)context.Variables[\"\"]", |given, cx| match cx.variable(given[0].text())? {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        other => Err(Failure(format!("{other:?} is neither true nor false"))),
    }),
    ("((string)context.Variables[\"\"]).Substring(0, 0)", |given, cx| {
        let text = variable(cx, &given[0])?;
        let (from, length) = (given[1].number() as usize, given[2].number() as usize);
        let units: Vec<u16> = text.encode_utf16().skip(from).take(length).collect();
        if units.len() < length {
            return Err(Failure("the text is shorter than its part".to_owned()));
        }
        Ok(Value::Text(String::from_utf16_lossy(&units)))
    }),
    ("context.Variables.GetValueOrDefault<string>(\"\", context.RequestId.ToString(\"N\"))", |given, cx| {
        Ok(Value::Text(trace_id(cx, &given[0])))
    }),
    ("((Jwt)context.Variables[\"\"]).Subject", |given, cx| match cx.variable(given[0].text())? {
        Value::Token(token) => Ok(Value::Text(token.subject.clone())),
        other => Err(Failure(format!("{other:?} is no token"))),
    }),
    (
        "context.Request.Headers.GetValueOrDefault(\"Content-Length\", \"0\").Length > 0 || \
         int.Parse(context.Request.Headers.GetValueOrDefault(\"Content-Length\", \"0\")) > 0",
        |given, cx| {
            let length = cx.request_header("Content-Length").unwrap_or_else(|| "0".to_owned());
            if length.len() as i64 > given[0].number() {
                return Ok(Value::Bool(true));
            }
            let bytes: i64 = length.trim().parse().map_err(|_| Failure(format!("{length:?} is no number")))?;
            Ok(Value::Bool(bytes > given[1].number()))
        },
    ),
    ("context.Request.Method != \"\" && context.Request.Method != \"\"", |given, cx| {
        Ok(Value::Bool(given.iter().all(|method| cx.method().as_str() != method.text())))
    }),
    ("context.Request.Method == \"\" && (string)context.Variables[\"\"] == \"\"", |given, cx| {
        Ok(Value::Bool(cx.method().as_str() == given[0].text() && variable(cx, &given[1])? == given[2].text()))
    }),
    ("context.Request.Method != \"\"", |given, cx| Ok(Value::Bool(cx.method().as_str() != given[0].text()))),
    ("context.Request.Method == \"\"", |given, cx| Ok(Value::Bool(cx.method().as_str() == given[0].text()))),
    ("context.Response.StatusCode == 0", |given, cx| {
        Ok(Value::Bool(i64::from(cx.response()?.status().as_u16()) == given[0].number()))
    }),
    ("context.Response.StatusCode > 0", |given, cx| {
        Ok(Value::Bool(i64::from(cx.response()?.status().as_u16()) > given[0].number()))
    }),
    ("context.LastError.Source == \"\" && context.LastError.Reason == \"\"", |given, cx| {
        let error = cx.last_error()?;
        Ok(Value::Bool(error.source == given[0].text() && error.reason == given[1].text()))
    }),
    ("context.LastError.Source == \"\" && context.LastError.Reason != \"\"", |given, cx| {
        let error = cx.last_error()?;
        Ok(Value::Bool(error.source == given[0].text() && error.reason != given[1].text()))
    }),
    (problem!("\"\"", "0", "\"\""), |given, cx| {
        Ok(body(given[0].text(), given[1].number(), given[2].text(), cx, &given[3]))
    }),
    (
        problem!("context.Response.StatusReason", "context.Response.StatusCode", "context.LastError.Reason"),
        |given, cx| {
            let status = cx.response()?.status().as_u16();
            Ok(body(cx.reason(), status.into(), &cx.last_error()?.reason, cx, &given[0]))
        },
    ),
    ("true", |_, _| Ok(Value::Bool(true))),
];

/// A variable that holds a text.
fn variable(cx: &Context<'_>, name: &Literal) -> Result<String, Failure> {
    match cx.variable(name.text())? {
        Value::Text(text) => Ok(text.clone()),
        other => Err(Failure(format!("{other:?} is no text"))),
    }
}

/// The trace that a variable holds; before there is one, the id of the request.
fn trace_id(cx: &Context<'_>, name: &Literal) -> String {
    variable(cx, name).unwrap_or_else(|_| cx.id.simple().to_string())
}

fn body(title: &str, status: i64, detail: &str, cx: &Context<'_>, trace: &Literal) -> Value {
    let trace = trace_id(cx, trace);
    let body = json!({"type": "about:blank", "title": title, "status": status, "detail": detail, "traceId": trace});
    Value::Text(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_arguments_do_not_count() {
        let same =
            ["@((string)context.Variables[\"a\"] == \"b\")", "@( (string) context.Variables [\"x\"]\n== \"\\\"\" )"];
        for text in same {
            let parsed = Expression::parse(text).unwrap();
            assert_eq!(parsed.literals.len(), 2, "{text}");
        }
        assert_eq!(
            Expression::parse(same[1]).unwrap().literals,
            [Literal::Text("x".into()), Literal::Text("\"".into())]
        );
    }

    #[test]
    fn another_expression_is_refused_with_its_text() {
        for text in [
            "@((string)context.Variables[\"a\"] != \"b\")",
            "@(context.User.Id)",
            "@(context.Request.Headers.GetValueOrDefault(\"Length\", \"0\").Length > 6 || \
             int.Parse(context.Request.Headers.GetValueOrDefault(\"Length\", \"0\")) > 6)",
            "@{ return \"query\"; }",
            "@(\"open)",
            "@()",
            "@{",
        ] {
            let refused = Expression::parse(text).unwrap_err().to_string();
            assert!(refused.contains("has no twin here"), "{text}: {refused}");
        }
    }

    #[test]
    fn every_shape_is_one() {
        let shapes: Vec<_> = SHAPES.iter().map(|(text, _)| shape_of(text).unwrap().0).collect();
        for (at, shape) in shapes.iter().enumerate() {
            assert!(!shapes[..at].contains(shape), "{}", SHAPES[at].0);
        }
    }
}

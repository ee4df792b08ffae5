//! What an attribute or an element's text may be: a text, a named value, an expression.

use crate::expression::{Expression, ExpressionError};

/// A value of the gateway that is kept beside its policies, and differs from one environment to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedValue(pub(crate) &'static str);

impl NamedValue {
    /// The name: letters, digits, `-`, `.` and `_`.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// The value of an attribute, or the text of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// What it says.
    Text(String),
    /// What the gateway knows under this name.
    Named(NamedValue),
    /// What this gives for each request.
    Expression(Expression),
}

impl Value {
    /// The value as it stands in the policy, before XML's escapes.
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            Value::Named(name) => format!("{{{{{}}}}}", name.0),
            Value::Expression(expression) => expression.to_string(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ValueError> {
        match self {
            // The gateway would read the text as something else.
            Value::Text(text) => match ["{{", "@(", "@{"].iter().find(|mark| text.contains(**mark)) {
                Some(mark) => Err(ValueError::Mark { text: text.clone(), mark }),
                None => match text.chars().find(|c| !is_xml(*c)) {
                    Some(character) => Err(ValueError::Character { text: text.clone(), character }),
                    None => Ok(()),
                },
            },
            Value::Named(NamedValue(name)) => {
                let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
                if good { Ok(()) } else { Err(ValueError::Name((*name).to_owned())) }
            }
            Value::Expression(expression) => Ok(expression.check()?),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<Expression> for Value {
    fn from(expression: Expression) -> Self {
        Value::Expression(expression)
    }
}

impl From<NamedValue> for Value {
    fn from(name: NamedValue) -> Self {
        Value::Named(name)
    }
}

/// Why a value cannot stand in a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A text that the gateway would take for a named value or an expression.
    #[error("the text {text:?} holds {mark:?}, which API Management would replace: use a named value or an expression")]
    Mark {
        /// The text.
        text: String,
        /// What it must not hold.
        mark: &'static str,
    },
    /// A character that XML does not have.
    #[error("the text {text:?} holds {character:?}, which XML does not have")]
    Character {
        /// The text.
        text: String,
        /// The character.
        character: char,
    },
    /// A named value's name.
    #[error("the named value {0:?} may consist of letters, digits, '-', '.' and '_'")]
    Name(String),
    /// An expression.
    #[error(transparent)]
    Expression(#[from] ExpressionError),
}

/// The characters of XML 1.0.
pub(crate) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

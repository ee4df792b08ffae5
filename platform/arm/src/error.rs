//! Errors in ARM's shape.

use std::fmt;

use serde::Serialize;

/// Why something cannot be deployed: `{code, message, target?, details[], additionalInfo[]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Error {
    /// What machines compare.
    pub code: String,
    /// What people read: what is wrong, and what to do.
    pub message: String,
    /// The parameter or resource that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What caused it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Error>,
    /// Where in the template.
    #[serde(rename = "additionalInfo", skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Violation>,
}

/// A place in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// As in `$.resources[2].properties.value`.
    pub path: String,
}

impl Serialize for Violation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({"type": "TemplateViolation", "info": {"path": self.path}}).serialize(serializer)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(place) = self.places.first() {
            write!(f, " (at {})", place.path)?;
        }
        for detail in &self.details {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl Error {
    /// An error with a code of its own.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Error { code: code.into(), message: message.into(), target: None, details: Vec::new(), places: Vec::new() }
    }

    /// A template that cannot be read.
    pub(crate) fn template(path: &str, message: impl Into<String>) -> Self {
        Error::new("InvalidTemplate", message).at(path)
    }

    /// An expression that has no value.
    pub(crate) fn expression(message: impl Into<String>) -> Self {
        Error::new("InvalidTemplate", message)
    }

    /// The same with its place, unless it has one.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        if self.places.is_empty() {
            self.places.push(Violation { path: path.to_owned() });
        }
        self
    }

    /// The same with what it is about, unless that is known.
    #[must_use]
    pub fn about(mut self, target: impl Into<String>) -> Self {
        self.target.get_or_insert_with(|| target.into());
        self
    }

    /// The same with a cause.
    #[must_use]
    pub fn because(mut self, cause: Error) -> Self {
        self.details.push(cause);
        self
    }

    /// As a control plane answers: `{"error": …}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"error": self})
    }
}

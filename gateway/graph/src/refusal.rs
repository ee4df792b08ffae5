//! Documents that are not taken apart.

use async_graphql_parser::Pos;
use serde_json::{Value, json};

/// Why a document is answered by no service. Each is a 400 for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no document.
    #[error("{why}")]
    Syntax {
        /// Why not.
        why: String,
        /// Where, if that is known.
        pos: Option<Pos>,
    },
    /// Its brackets are nested deeper than a parser should follow.
    #[error("the document's brackets are nested deeper than {most} times")]
    Nesting {
        /// How deep they may be.
        most: usize,
    },
    /// It asks for more fields than one request may.
    #[error("the operation has more than {most} fields, its fragments written out")]
    Selections {
        /// How many it may have.
        most: usize,
    },
    /// A field of the schema itself that there is not, or not so.
    #[error("{field}: {why}")]
    Meta {
        /// The field.
        field: String,
        /// What is wrong with it.
        why: String,
        /// Where it stands.
        pos: Pos,
    },
    /// It is not clear which operation is asked for.
    #[error("the document has {count} operations, and operationName must name one of them")]
    Operation {
        /// How many there are.
        count: usize,
    },
    /// A subscription.
    #[error("subscriptions are not answered here")]
    Subscription {
        /// Where it begins.
        pos: Pos,
    },
    /// A root field that no service has.
    #[error("{root} has no field {field:?}")]
    Field {
        /// `Query` or `Mutation`.
        root: &'static str,
        /// The field.
        field: String,
        /// Where it stands.
        pos: Pos,
    },
    /// A question about the schema, where those are not answered.
    #[error("{field} is not answered here: reading the schema is switched off")]
    Introspection {
        /// The field.
        field: String,
        /// Where it stands.
        pos: Pos,
    },
    /// A mutation over two services: there is no transaction over both, and no order between them.
    #[error("a mutation has the fields of one service; this one has fields of {first} and {second}: send two")]
    Services {
        /// The one service.
        first: String,
        /// The other.
        second: String,
        /// Where the other's field stands.
        pos: Pos,
    },
    /// One key of the answer for fields of two services, or for two fields of one.
    #[error("{key:?} would be the answer of two fields, {first} and {second}: give one of them another alias")]
    Key {
        /// The key.
        key: String,
        /// The one field.
        first: String,
        /// The other.
        second: String,
        /// Where the other stands.
        pos: Pos,
    },
    /// A fragment at the root that is on another type.
    #[error("a fragment on {condition} cannot stand in {root}")]
    Condition {
        /// The fragment's type.
        condition: String,
        /// `Query` or `Mutation`.
        root: &'static str,
        /// Where it stands.
        pos: Pos,
    },
    /// A fragment that the document does not define, or that leads back to itself.
    #[error("the fragment {name:?} {why}")]
    Fragment {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
        /// Where it stands.
        pos: Pos,
    },
    /// A variable that is used and not declared, or declared and not used.
    #[error("the variable ${name} {why}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
        /// Where it is declared, or where the operation begins that does not declare it.
        pos: Pos,
    },
}

impl Refusal {
    /// The status of the answer over HTTP.
    pub const STATUS: u16 = 400;

    /// Its code, as in the `extensions` of the services' own errors.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Syntax { .. } => "GRAPHQL_PARSE_FAILED",
            Refusal::Nesting { .. } => "QUERY_TOO_DEEP",
            Refusal::Selections { .. } => "QUERY_TOO_COMPLEX",
            Refusal::Operation { .. } => "OPERATION_RESOLUTION_FAILURE",
            Refusal::Subscription { .. } | Refusal::Introspection { .. } | Refusal::Services { .. } => "BAD_REQUEST",
            _ => "GRAPHQL_VALIDATION_FAILED",
        }
    }

    /// Where in the document it is about.
    pub fn pos(&self) -> Option<Pos> {
        match self {
            Refusal::Syntax { pos, .. } => *pos,
            Refusal::Nesting { .. } | Refusal::Operation { .. } | Refusal::Selections { .. } => None,
            Refusal::Subscription { pos }
            | Refusal::Meta { pos, .. }
            | Refusal::Field { pos, .. }
            | Refusal::Introspection { pos, .. }
            | Refusal::Services { pos, .. }
            | Refusal::Key { pos, .. }
            | Refusal::Condition { pos, .. }
            | Refusal::Fragment { pos, .. }
            | Refusal::Variable { pos, .. } => Some(*pos),
        }
    }

    /// The answer's body: an error without data. `trace_id` leads to the request in the logs.
    pub fn answer(&self, trace_id: &str) -> String {
        let extensions = json!({"code": self.code(), "traceId": trace_id});
        let mut error = json!({"message": self.to_string(), "extensions": extensions});
        if let Some(pos) = self.pos() {
            error["locations"] = located(pos);
        }
        json!({"errors": [error]}).to_string()
    }
}

/// A place as answers say it.
pub(crate) fn located(pos: Pos) -> Value {
    json!([{"line": pos.line, "column": pos.column}])
}

//! The codes of errors, each with its status and what it means.

use std::fmt;

macro_rules! codes {
    ($($name:ident $status:literal $text:literal,)+) => {
        /// The code of an error, in `extensions.code`. [`Code::status`] is the answer's where nothing was executed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $text] $name,)+
        }

        impl Code {
            /// All of them.
            pub const ALL: [Code; [$($status),+].len()] = [$(Code::$name),+];

            /// The status that an answer has where this is why nothing was executed; 200 for what a field says.
            pub fn status(self) -> u16 {
                match self {
                    $(Code::$name => $status,)+
                }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Code::$name => $text,)+
                }
            }
        }
    };
}

codes! {
    BadRequest 400 "The body is no JSON, or the URL's query is no form.",
    GraphqlParseFailed 400 "The document is no GraphQL.",
    OperationKindMismatch 400 "The operation is not of the kind that this app serves, or that is not certain.",
    Unauthorized 401 "The request did not come through the gateway.",
    QueryNotInSafelist 403 "The app executes the documents of its list only, and this one is not in it.",
    MethodNotAllowed 405 "A GET asks for something else than a query. The answer says `Allow: POST`.",
    NotAcceptable 406 "The client accepts no media type that answers have.",
    PayloadTooLarge 413 "The body has more than 262,144 bytes.",
    UriTooLong 414 "The URL's query has more than 7,168 characters.",
    UnsupportedMediaType 415 "The body is not said to be plain `application/json` in UTF-8.",
    MalformedRequest 422 "It is JSON, but no GraphQL request: a member is missing, doubled or of another type.",
    PersistedOperationNotFound 422 "The app has no document with the hash.",
    OperationResolutionFailure 422 "`operationName` names none of the operations, or is needed and missing.",
    GraphqlValidationFailed 422 "The document does not fit the schema, or a variable does not fit the document.",
    QueryTooDeep 422 "The operation's fields or the document's brackets are nested too deep.",
    QueryTooComplex 422 "The operation asks for too many fields.",
    BadUserInput 200 "The input cannot be meant so.",
    Unauthenticated 200 "Nobody is known to ask, or no more: connect anew.",
    Forbidden 200 "The principal may not use the field.",
    NotFound 200 "It does not exist, or must seem so.",
    CommandIdReused 200 "The client's command id belongs to another input.",
    TooLarge 200 "The command does not fit the queue.",
    Unavailable 200 "Something is away: try again later, a mutation with the same `commandId`.",
    Internal 200 "Something is wrong inside; `traceId` leads to the reason.",
}

impl Code {
    /// As it stands in an answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BadRequest => "BAD_REQUEST",
            Code::GraphqlParseFailed => "GRAPHQL_PARSE_FAILED",
            Code::OperationKindMismatch => "OPERATION_KIND_MISMATCH",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::QueryNotInSafelist => "QUERY_NOT_IN_SAFELIST",
            Code::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Code::NotAcceptable => "NOT_ACCEPTABLE",
            Code::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Code::UriTooLong => "URI_TOO_LONG",
            Code::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Code::MalformedRequest => "MALFORMED_REQUEST",
            Code::PersistedOperationNotFound => "PERSISTED_OPERATION_NOT_FOUND",
            Code::OperationResolutionFailure => "OPERATION_RESOLUTION_FAILURE",
            Code::GraphqlValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Code::QueryTooDeep => "QUERY_TOO_DEEP",
            Code::QueryTooComplex => "QUERY_TOO_COMPLEX",
            Code::BadUserInput => "BAD_USER_INPUT",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::CommandIdReused => "COMMAND_ID_REUSED",
            Code::TooLarge => "TOO_LARGE",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal => "INTERNAL",
        }
    }

    pub(crate) fn named(text: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_documentation_has_them_all_and_no_other() {
        let row = |code: Code| format!("//! | `{code}` | {} | {} |", code.status(), code.meaning());
        let rows: Vec<_> = include_str!("lib.rs").lines().filter(|line| line.starts_with("//! | `")).collect();
        assert_eq!(rows, Code::ALL.map(row));
        let names = Code::ALL.map(|code| code.as_str());
        assert_eq!(
            names.iter().collect::<std::collections::BTreeSet<_>>().len(),
            names.len(),
            "each has a name of its own"
        );
    }
}

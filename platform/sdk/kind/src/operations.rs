//! Persisted operations: documents that an app has, named by their SHA-256. A client that sends
//! `{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "…"}}}` and no document asks for one of them.
//!
//! They are kept as files, one operation each, and a build makes the list that the app carries: see [`listed`]. Where
//! [`Operations::only`] says so, nothing else is executed.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The header in which the gateway's router tells a service's app, with the value `true`, that it executes documents of its own
/// list only: what it asks is a part of one. An app believes nobody else.
pub const PERSISTED_HEADER: &str = "x-skein-persisted";

/// The documents that an app has: a JSON object, from hash to document.
#[derive(Debug, Default)]
pub struct Operations {
    text: &'static str,
    only: bool,
    known: OnceLock<Result<BTreeMap<String, String>, String>>,
}

/// Why a request has no document that may be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDocument {
    /// Neither a document nor a hash.
    #[error("there is no query")]
    Nothing,
    /// The extension is not as it must be.
    #[error("persistedQuery has a version, 1, and a sha256Hash of 64 digits")]
    Malformed,
    /// There are both, and they are two documents.
    #[error("sha256Hash is not the hash of the query")]
    Other,
    /// No document of the list has the hash.
    #[error("this app has no document with that hash")]
    Unknown,
    /// The document is not in the list, and no other one is executed.
    #[error("this app executes the documents of its list only, and this one is not in it")]
    Unlisted,
    /// The list cannot be read. Why is for the log.
    #[error("the app's documents cannot be read")]
    Unreadable(String),
}

impl Operations {
    /// Those of a list that [`listed`] made; read when the first one is asked for.
    pub const fn of(text: &'static str) -> Self {
        Operations { text, only: false, known: OnceLock::new() }
    }

    /// The same list; `only` says whether other documents are refused.
    #[must_use]
    pub fn only(self, only: bool) -> Self {
        Operations { only, ..self }
    }

    /// The document that a request asks for, which has this text, maybe none, and this extension `persistedQuery`. Nothing of
    /// it is parsed.
    ///
    /// # Errors
    /// There is none that may be executed.
    pub fn document(&self, text: String, persisted_query: Option<&Value>) -> Result<String, NoDocument> {
        let named = persisted_query.map(hash_in).transpose()?;
        if text.is_empty() {
            let hash = named.ok_or(NoDocument::Nothing)?;
            return self.find(&hash)?.map(str::to_owned).ok_or(NoDocument::Unknown);
        }
        let hash = document_hash(&text);
        if named.is_some_and(|named| named != hash) {
            return Err(NoDocument::Other);
        }
        if self.only && self.find(&hash)?.is_none() {
            return Err(NoDocument::Unlisted);
        }
        Ok(text)
    }

    fn find(&self, hash: &str) -> Result<Option<&str>, NoDocument> {
        let known = self.known.get_or_init(|| match self.text {
            "" => Ok(BTreeMap::new()),
            text => serde_json::from_str(text).map_err(|error| error.to_string()),
        });
        match known {
            Ok(known) => Ok(known.get(hash).map(String::as_str)),
            Err(why) => Err(NoDocument::Unreadable(why.clone())),
        }
    }
}

/// The name of a document: the SHA-256 of its bytes, in lower-case hexadecimal digits.
pub fn document_hash(document: &str) -> String {
    Sha256::digest(document).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The list of these documents: a JSON object, sorted by hash.
pub fn listed<'d>(documents: impl IntoIterator<Item = &'d str>) -> String {
    let known: BTreeMap<_, _> = documents.into_iter().map(|document| (document_hash(document), document)).collect();
    format!("{:#}\n", Value::from_iter(known))
}

/// The hash that an extension names.
fn hash_in(extension: &Value) -> Result<String, NoDocument> {
    let hash = extension["sha256Hash"].as_str().unwrap_or_default();
    let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    if extension["version"] != 1 || !is_hash {
        return Err(NoDocument::Malformed);
    }
    Ok(hash.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operations(only: bool) -> Operations {
        let list: &'static str = listed(["{a}"]).leak();
        Operations::of(list).only(only)
    }

    #[test]
    fn where_only_the_list_counts_nothing_else_is_executed() {
        let named = |hash: &str| Some(json!({"version": 1, "sha256Hash": hash}));
        let (a, b) = (document_hash("{a}"), document_hash("{b}"));
        let ask = |only: bool, text: &str, extension: Option<Value>| {
            operations(only).document(text.to_owned(), extension.as_ref())
        };
        for only in [false, true] {
            assert_eq!(ask(only, "", named(&a)).unwrap(), "{a}");
            assert_eq!(ask(only, "", named(&a.to_uppercase())).unwrap(), "{a}");
            assert_eq!(ask(only, "{a}", None).unwrap(), "{a}", "in full it is the same document");
            assert_eq!(ask(only, "{a}", named(&a)).unwrap(), "{a}");
            assert_eq!(ask(only, "{a}", named(&b)), Err(NoDocument::Other));
            assert_eq!(ask(only, "", named(&b)), Err(NoDocument::Unknown));
            assert_eq!(ask(only, "", named("x")), Err(NoDocument::Malformed));
            assert_eq!(ask(only, "", Some(json!(7))), Err(NoDocument::Malformed));
            assert_eq!(ask(only, "", None), Err(NoDocument::Nothing));
        }
        for other in ["{b}", "{a} ", "{ a }", "no GraphQL"] {
            assert_eq!(ask(false, other, None).unwrap(), other);
            assert_eq!(ask(true, other, None), Err(NoDocument::Unlisted), "{other}");
            assert_eq!(ask(true, other, named(&document_hash(other))), Err(NoDocument::Unlisted), "{other}");
        }
        assert_eq!(Operations::default().only(true).document("{a}".to_owned(), None), Err(NoDocument::Unlisted));
    }

    #[test]
    fn a_list_that_cannot_be_read_lets_nothing_pass() {
        let broken = Operations::of("[").only(true);
        assert!(matches!(broken.document("{a}".to_owned(), None), Err(NoDocument::Unreadable(_))));
    }
}

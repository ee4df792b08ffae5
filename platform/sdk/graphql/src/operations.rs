//! Persisted operations: documents that an app has, named by their SHA-256. A client that sends
//! `{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "…"}}}` and no document asks for one of them; nobody can
//! look into it on the way, so queries are asked for by GET, mutations by POST.
//!
//! They are kept as files, one operation each, and a build makes the list that the app carries: see [`list`].

use std::collections::BTreeMap;
use std::sync::OnceLock;

use async_graphql::{ObjectType, Value};
use sha2::{Digest as _, Sha256};
use skein_core::Fault;

use crate::endpoint::{Refused, checked};
use crate::guard::Api;

/// The documents that an app has: a JSON object, from hash to document.
#[derive(Debug, Default)]
pub struct Operations {
    text: &'static str,
    known: OnceLock<Result<BTreeMap<String, String>, String>>,
}

impl Operations {
    /// Those of a list that [`list`] made; read when the first one is asked for.
    pub const fn of(text: &'static str) -> Self {
        Operations { text, known: OnceLock::new() }
    }

    /// The document with the hash.
    ///
    /// # Errors
    /// A list that cannot be read.
    pub fn find(&self, hash: &str) -> Result<Option<&str>, Fault> {
        let known = self.known.get_or_init(|| match self.text {
            "" => Ok(BTreeMap::new()),
            text => serde_json::from_str(text).map_err(|error| error.to_string()),
        });
        match known {
            Ok(known) => Ok(known.get(&hash.to_ascii_lowercase()).map(String::as_str)),
            Err(why) => Err(Fault::permanent("OPERATIONS_UNREADABLE", why)),
        }
    }
}

/// The name of a document: the SHA-256 of its bytes, in lower-case hexadecimal digits.
pub fn document_hash(document: &str) -> String {
    Sha256::digest(document).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The list of these documents, each with the place where it stands: a JSON object, sorted by hash.
///
/// # Errors
/// Every document that is not one operation which fits the schema, with its place and why.
pub async fn list<Q: ObjectType + 'static, M: ObjectType + 'static>(
    api: &Api<Q, M>,
    documents: &[(String, String)],
) -> Result<String, Vec<String>> {
    let (mut known, mut wrong) = (BTreeMap::new(), Vec::new());
    for (place, document) in documents {
        let found = match checked(api, document, None) {
            Ok(_) => api.validate(document).await,
            Err(refused) => Err(refused.to_string()),
        };
        match found {
            Ok(()) => drop(known.insert(document_hash(document), document.as_str())),
            Err(why) => wrong.push(format!("{place}: {why}")),
        }
    }
    match (wrong.is_empty(), serde_json::to_string_pretty(&known)) {
        (true, Ok(text)) => Ok(text + "\n"),
        (_, Err(error)) => Err(vec![error.to_string()]),
        (false, _) => Err(wrong),
    }
}

/// The hash that a request names, if it does.
pub(crate) fn named(extension: Option<&Value>) -> Result<Option<String>, Refused> {
    let Some(extension) = extension else { return Ok(None) };
    let malformed = || Refused::Malformed("persistedQuery has a version, 1, and a sha256Hash of 64 digits".to_owned());
    let Ok(extension) = extension.clone().into_json() else { return Err(malformed()) };
    let hash = extension["sha256Hash"].as_str().unwrap_or_default();
    let is_hash = hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    if extension["version"] != 1 || !is_hash {
        return Err(malformed());
    }
    Ok(Some(hash.to_ascii_lowercase()))
}

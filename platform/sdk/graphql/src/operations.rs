//! The list of the documents that an app has. [`skein_kind::operations`] reads it; queries are asked for by GET, mutations
//! by POST, since nobody can look into a hash on the way, and subscriptions through the hub.

use async_graphql::ObjectType;
use skein_kind::operations::listed;

use crate::endpoint::checked;
use crate::guard::Api;

/// The list of these documents, each with the place where it stands: a JSON object, sorted by hash.
///
/// # Errors
/// Every document that is not one operation which fits the schema, with its place and why.
pub async fn list<Q: ObjectType + 'static, M: ObjectType + 'static>(
    api: &Api<Q, M>,
    documents: &[(String, String)],
) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    for (place, document) in documents {
        let found = match checked(api, document, None) {
            Ok(_) => api.validate(document).await,
            Err(refused) => Err(refused.to_string()),
        };
        wrong.extend(found.err().map(|why| format!("{place}: {why}")));
    }
    if wrong.is_empty() { Ok(listed(documents.iter().map(|(_, document)| document.as_str()))) } else { Err(wrong) }
}

//! Personal data in GraphQL: sealed before it becomes part of a command, opened for whoever may see it.

use async_graphql::{Context, ID};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_core::personal::KeyRing;
use skein_core::{CommandId, Fault, Personal};

use crate::error::ApiError;
use crate::principal;

/// Seals a value for a person. With the client's `command_id`, a retry of the mutation seals it alike and is recognised.
///
/// Check the value before: nothing behind the mutation can.
///
/// # Errors
/// An app without a key vault; a store or vault that is away.
pub async fn seal<T: Serialize>(
    cx: &Context<'_>,
    person: &str,
    value: &T,
    command_id: Option<&ID>,
) -> Result<Personal<T>, ApiError> {
    let context = match command_id {
        Some(key) => CommandId::of_client(principal(cx)?, key),
        None => CommandId::random(),
    };
    Ok(keys(cx)?.seal(person, context.as_str(), value).await?)
}

/// Opens a value, `None` once its person was erased. Whether the principal may see it is the field's to check.
///
/// # Errors
/// An app without a key vault; a store or vault that is away; a value that was changed.
pub async fn open<T: DeserializeOwned>(cx: &Context<'_>, personal: &Personal<T>) -> Result<Option<T>, ApiError> {
    Ok(keys(cx)?.open(personal).await?)
}

fn keys<'a>(cx: &Context<'a>) -> Result<&'a KeyRing, ApiError> {
    cx.data_opt().ok_or_else(|| {
        let text = "this app has no key vault: its descriptor says `personal()`, which sets SKEIN_PERSONAL_KEY";
        Fault::permanent("NO_KEY_VAULT", text).into()
    })
}

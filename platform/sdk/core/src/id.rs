//! Identities: of aggregates, commands and those who ask.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most characters of an aggregate's key: it is also the session id, which Service Bus limits to 128.
pub const MAX_KEY_CHARS: usize = 128;

/// Name space of every name-based UUID that Skein derives.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0f_3f0e_9d4b_5c1e_8a57_1f6b_70c2_e4d1);

/// Why a text is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing, or white space only.
    #[error("an id must not be empty")]
    Empty,
    /// Longer than [`MAX_KEY_CHARS`] once encoded.
    #[error("the id {0:?} is too long: its key takes {1} characters, at most {MAX_KEY_CHARS} are allowed")]
    TooLong(String, usize),
    /// A category other than `[a-z][a-z0-9-]*`.
    #[error("the category {0:?} must match [a-z][a-z0-9-]*")]
    Category(String),
    /// Not of the form `category:id`, or with an escape that cannot be read.
    #[error("{0:?} is not an aggregate's key (category:id)")]
    Key(String),
}

/// Encodes any text so that it can be a partition or row key, a session id and a URL segment of every adapter.
///
/// ASCII letters, digits, space and `-_.:~!*()@,;$&+` stay; every other byte of the UTF-8 text becomes `=XX`. The
/// encoding is injective and keeps the case: `85123A` and `85123a` stay two.
pub fn encode_key(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => key.push(byte as char),
            b' ' | b'-' | b'_' | b'.' | b':' | b'~' | b'!' | b'*' | b'(' | b')' | b'@' | b',' | b';' | b'$' | b'&'
            | b'+' => key.push(byte as char),
            _ => {
                key.push('=');
                key.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
                key.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
            }
        }
    }
    key
}

/// Reads back what [`encode_key`] wrote; `None` where the text is not an encoding.
pub fn decode_key(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'=' {
            let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())?;
            if hex.bytes().any(|digit| !digit.is_ascii_digit() && !(b'A'..=b'F').contains(&digit)) {
                return None;
            }
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (encode_key(&text) == key).then_some(text)
}

/// The identity of an aggregate: its category and its id within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregateId {
    category: String,
    id: String,
}

impl AggregateId {
    /// An identity; refuses what cannot be a key.
    ///
    /// # Errors
    /// An empty or too long id, or a malformed category.
    pub fn new(category: &str, id: &str) -> Result<Self, IdError> {
        let mut letters = category.bytes();
        if !letters.next().is_some_and(|first| first.is_ascii_lowercase())
            || !letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            return Err(IdError::Category(category.to_owned()));
        }
        if id.trim().is_empty() {
            return Err(IdError::Empty);
        }
        let aggregate = AggregateId { category: category.to_owned(), id: id.to_owned() };
        let chars = aggregate.key().len();
        if chars > MAX_KEY_CHARS {
            return Err(IdError::TooLong(id.to_owned(), chars));
        }
        Ok(aggregate)
    }

    /// The category, as in `order`.
    pub fn category(&self) -> &str {
        &self.category
    }

    /// The id within the category, as the business writes it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The partition key, session id and CloudEvents subject: `category:id`, encoded, at most [`MAX_KEY_CHARS`].
    pub fn key(&self) -> String {
        format!("{}:{}", self.category, encode_key(&self.id))
    }
}

impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

impl FromStr for AggregateId {
    type Err = IdError;

    fn from_str(key: &str) -> Result<Self, IdError> {
        let malformed = || IdError::Key(key.to_owned());
        let (category, id) = key.split_once(':').ok_or_else(malformed)?;
        AggregateId::new(category, &decode_key(id).ok_or_else(malformed)?)
    }
}

impl Serialize for AggregateId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.key())
    }
}

impl<'de> Deserialize<'de> for AggregateId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of a command: at most one commit, and one outcome, ever carries it within its aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CommandId(String);

impl CommandId {
    /// The longest id, in characters once encoded: the `MessageId` of Service Bus holds 128.
    pub const MAX_CHARS: usize = 96;

    /// An id as another party gave it, as an event's id.
    ///
    /// # Errors
    /// An empty or too long id.
    pub fn new(id: &str) -> Result<Self, IdError> {
        let chars = encode_key(id).len();
        if id.trim().is_empty() {
            return Err(IdError::Empty);
        }
        if chars > Self::MAX_CHARS {
            return Err(IdError::TooLong(id.to_owned(), chars));
        }
        Ok(CommandId(id.to_owned()))
    }

    /// A random id, for a command that its sender never repeats.
    pub fn random() -> Self {
        CommandId(Uuid::new_v4().to_string())
    }

    /// The id of a client's command: derived from the principal and the client's own key, so that a client may retry
    /// and cannot take another's id.
    pub fn of_client(principal: &Principal, key: &str) -> Self {
        CommandId(derive(&["client", &principal.subject, key]).to_string())
    }

    /// The id of the `n`th command that the commit of `self` sends: the same at every delivery. It does not grow
    /// along a chain of commands.
    #[must_use]
    pub fn outgoing(&self, n: usize) -> Self {
        CommandId(derive(&["outgoing", &self.0, &n.to_string()]).to_string())
    }

    /// The `n`th id that a decision makes.
    pub fn new_id(&self, n: u32) -> Uuid {
        derive(&["decision", &self.0, &n.to_string()])
    }

    /// The id of the aggregate that this command creates, where its sender names none.
    pub fn aggregate_id(&self) -> String {
        derive(&["aggregate", &self.0]).to_string()
    }

    /// The id of the `n`th integration event of this command's commit. Events become commands, whose events carry
    /// their ids on: beyond a length they are digested, so that a chain of them never outgrows a key.
    pub fn event_id(&self, n: usize) -> String {
        if self.0.len() <= 64 { format!("{}:{n}", self.0) } else { format!("{}:{n}", derive(&["event", &self.0])) }
    }

    /// The id of the `n`th command that an event leads to at one aggregate.
    pub fn of_event(event: &str, n: usize) -> Self {
        let id = if n == 0 { event.to_owned() } else { format!("{event}~{n}") };
        if encode_key(&id).len() <= Self::MAX_CHARS && !id.trim().is_empty() {
            CommandId(id)
        } else {
            CommandId(derive(&["event command", event, &n.to_string()]).to_string())
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CommandId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CommandId::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A name-based UUID (version 5) over the parts, each with its length so that no two lists collide.
pub(crate) fn derive(parts: &[&str]) -> Uuid {
    let mut name = String::new();
    for part in parts {
        name.push_str(&format!("{}:{part};", part.len()));
    }
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Who asks: the subject of an authenticated token, with its roles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The subject. A service acts as `service:{name}`.
    pub subject: String,
    /// The roles, as the token names them.
    #[serde(default)]
    pub roles: BTreeSet<String>,
}

impl Principal {
    /// A principal with roles.
    pub fn new<'a>(subject: &str, roles: impl IntoIterator<Item = &'a str>) -> Self {
        Principal { subject: subject.to_owned(), roles: roles.into_iter().map(str::to_owned).collect() }
    }

    /// The principal of a service that acts on its own: its reactions and process managers. Its role is `service`,
    /// which no token can carry.
    pub fn service(name: &str) -> Self {
        Principal::new(&format!("service:{name}"), [Self::SERVICE_ROLE])
    }

    /// The role of [`Principal::service`].
    pub const SERVICE_ROLE: &'static str = "service";

    /// Whether the principal has the role.
    pub fn has(&self, role: &str) -> bool {
        self.roles.contains(role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_injective_and_keep_case() {
        for id in ["85123A", "85123a", "BANK CHARGES", "a/b\\c#d?e%f=g'h", "é\u{1F600}", "order:1"] {
            let aggregate = AggregateId::new("stock", id).unwrap();
            assert_eq!(aggregate.key().parse::<AggregateId>().unwrap(), aggregate, "{id}");
            assert!(aggregate.key().is_ascii());
        }
        assert_ne!(
            AggregateId::new("stock", "85123A").unwrap().key(),
            AggregateId::new("stock", "85123a").unwrap().key()
        );
        assert_eq!(encode_key("a/b=é"), "a=2Fb=3D=C3=A9");
        assert_eq!(decode_key("a=2fb"), None, "lower-case escapes are not ours");
        assert_eq!(decode_key("a=4"), None);
        assert_eq!(decode_key("=41"), None, "an escape of a letter is not ours");
    }

    #[test]
    fn bad_identities_are_refused_by_name() {
        assert_eq!(AggregateId::new("Order", "1"), Err(IdError::Category("Order".into())));
        assert_eq!(AggregateId::new("order", "  "), Err(IdError::Empty));
        assert!(matches!(AggregateId::new("order", &"x".repeat(123)), Err(IdError::TooLong(_, 129))));
        assert!(AggregateId::new("order", &"x".repeat(122)).is_ok());
        assert!(matches!("order".parse::<AggregateId>(), Err(IdError::Key(_))));
    }

    #[test]
    fn derived_ids_depend_on_all_parts() {
        let (ann, bob) = (Principal::new("ann", []), Principal::new("bob", []));
        assert_eq!(CommandId::of_client(&ann, "k"), CommandId::of_client(&ann, "k"));
        assert_ne!(CommandId::of_client(&ann, "k"), CommandId::of_client(&bob, "k"));
        assert_ne!(derive(&["ab", "c"]), derive(&["a", "bc"]));
        let id = CommandId::of_client(&ann, "k");
        assert_ne!(id.outgoing(0), id.outgoing(1));
        assert_ne!(id.new_id(0), id.new_id(1));
    }
}

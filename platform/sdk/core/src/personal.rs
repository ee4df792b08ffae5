//! Personal data: sealed where it enters, opened where it is shown, unreadable for ever once its person is erased.
//!
//! A [`Personal`] value exists in its sealed form only. So whatever holds it (queues, dead letters, events, snapshots,
//! views of any service, exports, logs) holds nothing readable, and needs no care. Each person has a data key of its
//! own: a row of [`PERSONS_TABLE`], wrapped by the one key of the vault. [`KeyRing::erase`] deletes that row, and with
//! it all that was ever sealed for the person; folds go on, since they never look inside.
//!
//! Sealing is AES-256-GCM with a synthetic nonce: an HMAC, under a key of its own, of person, context and plaintext. The
//! context is the command's id, so that a client's retry gives the same bytes and hence the same fingerprint, while two
//! commands give different ones: equal values of one person cannot be told to be equal, and no nonce is ever used for two
//! plaintexts. Plaintexts are filled up to a multiple of 64 bytes, so that lengths tell little.
//!
//! | partition | row | holds |
//! |---|---|---|
//! | `{person}` | `K` | the wrapped data key; absent: no key, nothing can be read |
//! | `{person}` | `N~{key's name}` | that this key had its row once: an insertion that arrives after the erasure brings nothing back |
//! | `{person}` | `X~{command id}` | that this erasure has been done: a redelivery does not touch a newer key |

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use lru::LruCache;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::id::{CommandId, encode_key};
use crate::ports::{Clock, KeyVault, TableStore, TransactError};
use crate::store::format_time;
use crate::table::{Operation, Row, StoredRow, Value};

/// The table of the persons' keys, in the service's first storage account. It is left out of every backup and export:
/// a copy of it would bring back who was erased.
pub const PERSONS_TABLE: &str = "persons";
/// How long an unwrapped key stays in a process. The row is looked at whenever a key is used, so that an erasure holds at
/// once; this bounds how long the key itself outlives it in memory.
pub const KEY_LIFETIME: Duration = Duration::from_secs(60);

const KEY_ROW: &str = "K";
const NONCE_BYTES: usize = 12;
const BLOCK: usize = 64;
/// How many unwrapped keys a process keeps.
const CACHED_KEYS: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
/// How often a write is tried again after a conflict.
const MAX_CONFLICTS: u32 = 5;

/// A value about a person, sealed with the person's key. Nothing but a [`KeyRing`] can make one or look inside.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Personal<T> {
    person: String,
    key: String,
    sealed: String,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> Personal<T> {
    /// Whose data it is: the id that is erased, in the clear.
    pub fn person(&self) -> &str {
        &self.person
    }
}

impl<T> Clone for Personal<T> {
    fn clone(&self) -> Self {
        let (person, key, sealed) = (self.person.clone(), self.key.clone(), self.sealed.clone());
        Personal { person, key, sealed, of: PhantomData }
    }
}

impl<T> PartialEq for Personal<T> {
    fn eq(&self, other: &Self) -> bool {
        (&self.person, &self.key, &self.sealed) == (&other.person, &other.key, &other.sealed)
    }
}

impl<T> Eq for Personal<T> {}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Personal").field("person", &self.person).field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(feature = "schema")]
impl<T> schemars::JsonSchema for Personal<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Personal".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Personal data, sealed with the person's key. Only the service that published it can open it.",
            "type": "object",
            "properties": {
                "person": {"type": "string", "description": "Whose it is."},
                "key": {"type": "string", "description": "Which key it was sealed with."},
                "sealed": {"type": "string", "description": "Nonce, AES-256-GCM's ciphertext and tag, in Base64."},
            },
            "required": ["person", "key", "sealed"],
        })
    }
}

/// A person's data key. Its bytes are overwritten when it is dropped, and never shown.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl DataKey {
    /// A key of these bytes, which nobody can guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        DataKey(Zeroizing::new(bytes))
    }

    /// The bytes, to be wrapped.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for one use, derived from this one.
    fn derived(&self, purpose: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&*self.0).expect("an HMAC takes keys of any length");
        for part in [purpose.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// The key's name: it tells a key from its successors, and nothing about its bytes.
    fn name(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.derived("name", &[])[..9])
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.derived("seal", &[])).into())
    }

    fn seal(&self, person: &str, context: &str, plaintext: &[u8]) -> Vec<u8> {
        let nonce_key = DataKey(self.derived("nonce", &[]));
        let nonce = nonce_key.derived("nonce", &[person.as_bytes(), context.as_bytes(), plaintext]);
        let nonce = &nonce[..NONCE_BYTES];
        let payload = Payload { msg: plaintext, aad: person.as_bytes() };
        let ciphertext = self.cipher().encrypt(Nonce::from_slice(nonce), payload).expect("a value fits a message");
        [nonce, &ciphertext].concat()
    }

    fn open(&self, person: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, msg) = sealed.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg, aad: person.as_bytes() };
        self.cipher().decrypt(Nonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
    }
}

/// A data key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The version of the vault's key that wrapped it: the key may be rotated, older versions stay to unwrap.
    pub version: String,
    /// What the vault made of it.
    pub bytes: Vec<u8>,
}

/// Seals and opens, with keys from [`PERSONS_TABLE`].
#[derive(Clone)]
pub struct KeyRing {
    store: Arc<dyn TableStore>,
    vault: Arc<dyn KeyVault>,
    clock: Arc<dyn Clock>,
    unwrapped: Arc<Mutex<LruCache<String, (DataKey, OffsetDateTime)>>>,
}

impl KeyRing {
    /// A key ring over the service's storage and the vault.
    pub fn new(store: Arc<dyn TableStore>, vault: Arc<dyn KeyVault>, clock: Arc<dyn Clock>) -> Self {
        KeyRing { store, vault, clock, unwrapped: Arc::new(Mutex::new(LruCache::new(CACHED_KEYS))) }
    }

    /// Seals a value for a person, whose key is made if there is none: one point read, and the vault where the process
    /// does not know the key. The same value, person and `context` give the same bytes, so that a retry of a command is
    /// recognised: give the command's id.
    ///
    /// # Errors
    /// A store or vault that is away or denies; a value that has no JSON.
    pub async fn seal<T: Serialize>(&self, person: &str, context: &str, value: &T) -> Result<Personal<T>, Fault> {
        // A fault's text may be logged: nothing of the value.
        let mut plaintext = serde_json::to_vec(value)
            .map(Zeroizing::new)
            .map_err(|_| Fault::permanent("PERSONAL_ENCODING", "a personal value has no JSON"))?;
        let blocks = plaintext.len().div_ceil(BLOCK);
        plaintext.resize(blocks * BLOCK, b' ');
        let key = self.key_or_new(person).await?;
        let sealed = STANDARD.encode(key.seal(person, context, &plaintext));
        Ok(Personal { person: person.to_owned(), key: key.name(), sealed, of: PhantomData })
    }

    /// Opens a value: one point read, and the vault where the process does not know the key. `None` where its key was
    /// erased, whether or not the person has a new one.
    ///
    /// # Errors
    /// A store or vault that is away or denies; bytes that were changed since they were sealed.
    pub async fn open<T: DeserializeOwned>(&self, personal: &Personal<T>) -> Result<Option<T>, Fault> {
        let person = personal.person.as_str();
        let Some(row) = self.read(person).await? else {
            self.forget(&personal.key);
            return Ok(None);
        };
        let key = self.unwrap(person, &row).await?;
        if key.name() != personal.key {
            self.forget(&personal.key);
            return Ok(None);
        }
        let unreadable = || {
            let text =
                format!("a sealed value of person {person:?} was changed, or is of another form than this code knows");
            Fault::permanent("PERSONAL_UNREADABLE", text)
        };
        let sealed = STANDARD.decode(&personal.sealed).map_err(|_| unreadable())?;
        let plaintext = key.open(person, &sealed).ok_or_else(unreadable)?;
        serde_json::from_slice(&plaintext).map(Some).map_err(|_| unreadable())
    }

    /// Erases a person: deletes the row of the key, and with it all that was sealed so far. The same erasure done again
    /// changes nothing, so that a key that was made after it stays. It needs no vault.
    ///
    /// # Errors
    /// A store that is away or denies. Whether the key is gone is then unknown, and the erasure has to be done again.
    pub async fn erase(&self, person: &str, erasure: &CommandId) -> Result<(), Fault> {
        let partition = encode_key(person);
        let done = format!("X~{}", encode_key(erasure.as_str()));
        for _ in 0..=MAX_CONFLICTS {
            let key = self.store.get(PERSONS_TABLE, &partition, KEY_ROW).await?;
            let mark = Row::new(done.as_str()).with("Time", format_time(self.clock.now()));
            let mut operations = vec![Operation::Insert(mark)];
            operations.extend(key.map(|row| Operation::Delete(row.key, Some(row.etag))));
            match self.store.transact(PERSONS_TABLE, &partition, &operations).await {
                Ok(_) => return Ok(()),
                Err(TransactError::Refused(error)) => return Err(error.into()),
                // Done before, or by a lost attempt of ours; else the key changed in between.
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => {
                    if self.store.get(PERSONS_TABLE, &partition, &done).await?.is_some() {
                        return Ok(());
                    }
                }
            }
        }
        Err(contended(person))
    }

    async fn key_or_new(&self, person: &str) -> Result<DataKey, Fault> {
        let mut made: Option<(DataKey, WrappedKey)> = None;
        for _ in 0..=MAX_CONFLICTS {
            if let Some(row) = self.read(person).await? {
                return self.unwrap(person, &row).await;
            }
            let (key, wrapped) = match made.take() {
                Some(made) => made,
                None => self.vault.generate().await?,
            };
            let row = Row::new(KEY_ROW)
                .with("Name", key.name())
                .with("Version", wrapped.version.as_str())
                .with("Wrapped", Value::Binary(wrapped.bytes.clone()))
                .with("Time", format_time(self.clock.now()));
            // This row stays when the key goes. So an attempt whose fate was unknown, and that was repeated, cannot be
            // applied after an erasure, when nothing else would stand in its way.
            let once = Row::new(format!("N~{}", key.name())).with("Time", format_time(self.clock.now()));
            let operations = [Operation::Insert(row), Operation::Insert(once)];
            match self.store.transact(PERSONS_TABLE, &encode_key(person), &operations).await {
                Ok(_) => {
                    self.remember(&key);
                    return Ok(key);
                }
                Err(TransactError::Refused(error)) => return Err(error.into()),
                // Somebody else was faster, or nobody knows: the row tells whose key it is.
                Err(TransactError::Conflict(_) | TransactError::Unknown(_)) => made = Some((key, wrapped)),
            }
        }
        Err(contended(person))
    }

    async fn read(&self, person: &str) -> Result<Option<StoredRow>, Fault> {
        Ok(self.store.get(PERSONS_TABLE, &encode_key(person), KEY_ROW).await?)
    }

    async fn unwrap(&self, person: &str, row: &StoredRow) -> Result<DataKey, Fault> {
        let corrupt =
            || Fault::permanent("STORE_CORRUPT", format!("the key of person {person:?} is not as it is written"));
        let name = row.str("Name").ok_or_else(corrupt)?;
        if let Some(key) = self.known(name) {
            return Ok(key);
        }
        let Some(Value::Binary(bytes)) = row.properties.get("Wrapped") else { return Err(corrupt()) };
        let version = row.str("Version").ok_or_else(corrupt)?.to_owned();
        let key = self.vault.unwrap(&WrappedKey { version, bytes: bytes.clone() }).await?;
        if key.name() != name {
            return Err(corrupt());
        }
        self.remember(&key);
        Ok(key)
    }

    fn known(&self, name: &str) -> Option<DataKey> {
        let mut keys = self.keys();
        let (key, until) = keys.get(name)?;
        if *until <= self.clock.now() {
            keys.pop(name);
            return None;
        }
        Some(key.clone())
    }

    fn remember(&self, key: &DataKey) {
        let now = self.clock.now();
        let mut keys = self.keys();
        let over: Vec<_> = keys.iter().filter(|(_, (_, until))| *until <= now).map(|(name, _)| name.clone()).collect();
        over.iter().for_each(|name| drop(keys.pop(name)));
        keys.put(key.name(), (key.clone(), now + KEY_LIFETIME));
    }

    fn forget(&self, name: &str) {
        self.keys().pop(name);
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, LruCache<String, (DataKey, OffsetDateTime)>> {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contended(person: &str) -> Fault {
    Fault::transient("PERSON_CONTENDED", format!("the key of person {person:?} comes and goes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> DataKey {
        DataKey::new([byte; 32])
    }

    #[test]
    fn a_retry_seals_alike_and_nothing_else_does() {
        let one = key(1).seal("ann", "c1", b"hello");
        assert_eq!(one, key(1).seal("ann", "c1", b"hello"));
        for other in [
            key(1).seal("ann", "c2", b"hello"),
            key(1).seal("bob", "c1", b"hello"),
            key(1).seal("ann", "c1", b"hallo"),
            key(2).seal("ann", "c1", b"hello"),
        ] {
            assert_ne!(one[..NONCE_BYTES], other[..NONCE_BYTES], "no nonce is used for two plaintexts");
            assert_ne!(one[NONCE_BYTES..], other[NONCE_BYTES..]);
        }
    }

    #[test]
    fn what_was_changed_or_belongs_to_another_is_not_opened() {
        let sealed = key(1).seal("ann", "c1", b"hello");
        assert_eq!(key(1).open("ann", &sealed).as_deref().map(Vec::as_slice), Some(&b"hello"[..]));
        assert!(key(1).open("bob", &sealed).is_none());
        assert!(key(2).open("ann", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key(1).open("ann", &changed).is_none(), "byte {at}");
            assert!(key(1).open("ann", &sealed[..at]).is_none(), "the first {at} bytes");
        }
    }

    #[test]
    fn keys_show_nothing() {
        assert_eq!(format!("{:?}", key(7)), "DataKey");
        assert_eq!(key(7).name(), key(7).name());
        assert_ne!(key(7).name(), key(8).name());
    }

    #[test]
    fn the_sealed_form_never_changes() {
        // Written down once: another answer would lose what is stored, or no longer recognise a retry.
        let sealed = STANDARD.encode(key(7).seal("ann", "c1", b"{\"name\":\"Ann\"}"));
        let personal = Personal::<String> { person: "ann".into(), key: key(7).name(), sealed, of: PhantomData };
        let json = serde_json::to_string(&personal).unwrap();
        expect_test::expect![[r#"{"person":"ann","key":"FU71WWhq2y2e","sealed":"ZpIPqKCuGDlEQcj+RHQQs2FtVwvfWnoK+APe8xHKw7CaEvNXZzPKLopv"}"#]].assert_eq(&json);
        assert_eq!(serde_json::from_str::<Personal<String>>(&json).unwrap(), personal);
    }
}

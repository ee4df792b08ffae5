//! The ports: what the engine needs of the world. Adapters implement them; nothing else does I/O.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::personal::{DataKey, WrappedKey};
use crate::table::{Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage};

/// Why a read, or a write whose fate is known, did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TableError {
    /// The store is away, overloaded or timed out. Trying again later may help.
    #[error("the table store is unavailable: {0}")]
    Unavailable(String),
    /// The identity is missing or lacks the role (401, 403).
    #[error("the table store denied access: {0}")]
    Denied(String),
    /// The store understood and refuses: a missing table, a key or a size that it does not allow. Trying again does
    /// not help.
    #[error("the table store refused the request: {0}")]
    Refused(String),
    /// The answer could not be understood.
    #[error("the table store's answer is not understood: {0}")]
    Malformed(String),
}

/// Why a transaction is not known to have been applied.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransactError {
    /// A row exists that should not, is missing or has another tag (404, 409, 412 inside the batch). Nothing was
    /// written. Which operation failed is not told: the stores are not reliable in it.
    #[error("the transaction conflicts with what is stored: {0}")]
    Conflict(String),
    /// Nothing was written, for another reason.
    #[error(transparent)]
    Refused(#[from] TableError),
    /// The transaction may have been applied, may not, or may still be: a time-out, a broken connection, 408, 429 or
    /// a 5xx. The caller has to read what it wrote.
    #[error("the outcome of the transaction is unknown: {0}")]
    Unknown(String),
}

/// A table store: Azure Tables, or the embedded one.
///
/// Partitions are linearizable: a read sees every transaction that was acknowledged before it began.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// Reads one row.
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError>;

    /// Reads one page of a range. One call is one request.
    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError>;

    /// Reads one page over partitions. One call is one request.
    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError>;

    /// Writes all operations to one partition, or none, in one request that is never repeated by the adapter. Returns
    /// the new tag of each operation's row, in order; `None` for deletions.
    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError>;
}

/// A message for a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The message id, at most 128 characters.
    pub id: String,
    /// The session: all messages of one session are handled in order, one at a time. Empty for a queue without
    /// sessions.
    pub session: String,
    /// When the message may be received; at once where that is absent or past. To the second.
    pub not_before: Option<OffsetDateTime>,
    /// The W3C trace context of the sender.
    pub traceparent: Option<String>,
    /// The body, JSON: in a command queue an [`crate::Envelope`].
    pub body: Bytes,
}

/// Why sending or publishing failed. Either may have happened in part: receivers discard what they have seen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Trying again later may help.
    #[error("{target} is unavailable: {reason}")]
    Unavailable {
        /// The queue or topic.
        target: String,
        /// What it answered.
        reason: String,
    },
    /// The identity is missing or lacks the role (401, 403).
    #[error("{target} denied access: {reason}")]
    Denied {
        /// The queue or topic.
        target: String,
        /// What it answered.
        reason: String,
    },
    /// Trying again does not help: too large, no such queue, malformed.
    #[error("{target} refused: {reason}")]
    Refused {
        /// The queue or topic.
        target: String,
        /// What it answered.
        reason: String,
    },
}

/// The name of a service's events queue.
pub fn events_queue(service: &str) -> String {
    format!("{service}/events")
}

/// The name of a service's rebuild queue.
pub fn rebuild_queue(service: &str) -> String {
    format!("{service}/rebuild")
}

/// The queues of the services, by name: a service's name means its command queue; [`events_queue`] and
/// [`rebuild_queue`] name the others.
#[async_trait]
pub trait CommandQueue: Send + Sync {
    /// Sends the messages in order. An adapter may need several requests; a failure may leave the first ones sent.
    async fn send(&self, queue: &str, messages: &[Message]) -> Result<(), SendError>;
}

/// The topic that integration events are published to.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Publishes CloudEvents in their JSON format, byte for byte as given.
    async fn publish(&self, events: &[Bytes]) -> Result<(), SendError>;
}

/// How one client connects to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAccess {
    /// Where it connects.
    pub url: String,
    /// The token that lets it in, as one user.
    pub token: String,
}

/// The hub of a service's subscribers (Azure SignalR). Whoever connected is known by the user that its token names.
///
/// Groups have 1 to 1,024 characters, users at most 128. A message reaches who is connected and in the group, one group's
/// messages in the order in which `send` returned; it may be lost, and come twice where sending it was tried again. What
/// is larger than 1 MB is refused.
#[async_trait]
pub trait LiveHub: Send + Sync {
    /// A token for one user, to connect within the time, which is rounded up to minutes.
    async fn access(&self, user: &str, lifetime: Duration) -> Result<HubAccess, SendError>;

    /// Calls `target` at all clients of the group; `arguments` are a JSON list. Nobody being there is no error.
    async fn send(&self, group: &str, target: &str, arguments: &Bytes) -> Result<(), SendError>;

    /// Adds a user's connections to the group, which they leave by themselves after the time, which is rounded down to
    /// seconds and at least one.
    async fn join(&self, group: &str, user: &str, lifetime: Duration) -> Result<(), SendError>;

    /// Takes a user out of the group.
    async fn leave(&self, group: &str, user: &str) -> Result<(), SendError>;

    /// Takes a user out of all groups.
    async fn leave_all(&self, user: &str) -> Result<(), SendError>;

    /// Whether anybody who is connected is in the group.
    async fn has_members(&self, group: &str) -> Result<bool, SendError>;
}

/// Why the key vault gave no key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// Trying again later may help.
    #[error("the key vault is unavailable: {0}")]
    Unavailable(String),
    /// The identity is missing or lacks the role (401, 403).
    #[error("the key vault denied access: {0}")]
    Denied(String),
    /// Trying again does not help: no such key, or bytes that it did not wrap.
    #[error("the key vault refused: {0}")]
    Refused(String),
}

/// The vault's one key, which never leaves it: it wraps the data keys of persons.
#[async_trait]
pub trait KeyVault: Send + Sync {
    /// A new data key, drawn from the system's randomness, and the same wrapped.
    async fn generate(&self) -> Result<(DataKey, WrappedKey), VaultError>;

    /// The data key that was wrapped.
    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey, VaultError>;
}

/// Time and waiting.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The current time, UTC. It may jump, also backwards.
    fn now(&self) -> OffsetDateTime;

    /// The time since some moment in the past, which never runs backwards where the machine has such a clock.
    fn monotonic(&self) -> Duration {
        (self.now() - OffsetDateTime::UNIX_EPOCH).unsigned_abs()
    }

    /// Returns when the duration has passed.
    async fn sleep(&self, duration: Duration);
}

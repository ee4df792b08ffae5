//! Blobs of one container: the port that backups and the topic's dead letters need.
//!
//! The model is Azure Blob Storage's, reduced: blobs that only grow, by blocks whose position is checked, and blobs that
//! are written whole.

use async_trait::async_trait;
use bytes::Bytes;

use crate::table::Continuation;

/// The most bytes of one appended block (Azure: 4 MiB before version 2022-11-02).
pub const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// The most blocks of one blob (Azure: 50,000).
pub const MAX_BLOCKS: usize = 50_000;

/// Why a request to the container failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// The store is away, overloaded or timed out: the request may have been done.
    #[error("the blob store is unavailable: {0}")]
    Unavailable(String),
    /// The identity is missing or lacks the role (401, 403).
    #[error("the blob store denied access: {0}")]
    Denied(String),
    /// The store understood and refuses: no such container, a name or a size that it does not allow.
    #[error("the blob store refused the request: {0}")]
    Refused(String),
    /// The answer could not be understood.
    #[error("the blob store's answer is not understood: {0}")]
    Malformed(String),
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The block is the blob's end now.
    Done,
    /// The blob does not end there: another block came first, which may be this one, sent before.
    Moved,
}

/// A part of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The bytes from where the read began.
    pub bytes: Bytes,
    /// The size of the whole blob at that time.
    pub size: u64,
}

/// One page of a list.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Names and sizes, ascending by name.
    pub blobs: Vec<(String, u64)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Continuation>,
}

/// The blobs of one container. Names are parts of letters, digits and `-_.~`, with slashes between.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Makes an empty blob that can be appended to; false where there is a blob of this name.
    async fn create(&self, name: &str) -> Result<bool, BlobError>;

    /// Appends a block of 1 to [`MAX_BLOCK_BYTES`] bytes as a whole or not at all, if the blob ends at this position.
    async fn append(&self, name: &str, at: u64, block: Bytes) -> Result<Appended, BlobError>;

    /// Writes a blob whole, over one that is there.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BlobError>;

    /// Reads at most so many bytes (at least 1) from a position; none at or behind the end; `None` where there is no
    /// blob.
    async fn read(&self, name: &str, from: u64, most: u64) -> Result<Option<Part>, BlobError>;

    /// Reads one page of the names that begin so.
    async fn list(&self, prefix: &str, from: Option<&Continuation>) -> Result<Listed, BlobError>;

    /// Removes a blob; false where there is none.
    async fn delete(&self, name: &str) -> Result<bool, BlobError>;
}

/// Refuses names that a path or a file could misread.
///
/// # Errors
/// [`BlobError::Refused`].
pub fn check_blob_name(name: &str) -> Result<(), BlobError> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.~".contains(&letter))
    };
    if name.len() <= 1024 && name.split('/').all(part) {
        return Ok(());
    }
    Err(BlobError::Refused(format!("{name:?} is no name of a blob")))
}

//! Rows of a table store: the data that [`crate::ports::TableStore`] moves.
//!
//! The model is Azure Table Storage's, reduced to what Skein uses: string keys, a version tag a row, and
//! properties of five types.

use std::collections::BTreeMap;

mod limits;

pub use limits::{
    MAX_BINARY_BYTES, MAX_KEY_BYTES, MAX_PROPERTIES, check_key, check_range, check_rows, check_sweep, check_transaction,
};

/// The most operations that one entity-group transaction may hold (Azure Tables: 100).
pub const MAX_OPERATIONS: usize = 100;
/// The most bytes that one row may take, as Azure Tables counts them ([`Row::size`]): 1 MiB.
pub const MAX_ROW_BYTES: usize = 1024 * 1024;
/// The most bytes that the body of one entity-group transaction may take (Azure Tables: 4 MiB). The adapters
/// add some hundred bytes an operation, hence the margin.
pub const MAX_TRANSACTION_BYTES: usize = 4 * 1024 * 1024 - 128 * 1024;
/// The most UTF-16 units in one string property (Azure Tables: 64 KiB).
pub const MAX_STRING_UNITS: usize = 32 * 1024;

/// A property's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `Edm.String`, at most [`MAX_STRING_UNITS`].
    String(String),
    /// `Edm.Int64`.
    Int64(i64),
    /// `Edm.Boolean`.
    Bool(bool),
    /// `Edm.Double`.
    Double(f64),
    /// `Edm.Binary`, at most 64 KiB.
    Binary(Vec<u8>),
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::String(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int64(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

/// The properties of a row, by name. Names are `[A-Za-z_][A-Za-z0-9_]*`, at most 255 characters.
pub type Properties = BTreeMap<String, Value>;

/// The version tag of a stored row, opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Etag(pub String);

/// A row to be written: its row key and properties. The partition key is the transaction's.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The row key.
    pub key: String,
    /// The properties.
    pub properties: Properties,
}

impl Row {
    /// A row without properties.
    pub fn new(key: impl Into<String>) -> Self {
        Row { key: key.into(), properties: Properties::new() }
    }

    /// The same row with one more property.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// The size in bytes as Azure Tables counts it: 4, both keys in UTF-16, and for each property 8, its name in
    /// UTF-16 and its value (documented under "Understanding the Table service data model").
    pub fn size(&self, partition: &str) -> usize {
        let utf16 = |text: &str| 2 * limits::utf16_len(text);
        4 + utf16(partition)
            + utf16(&self.key)
            + self
                .properties
                .iter()
                .map(|(name, value)| {
                    8 + utf16(name)
                        + match value {
                            Value::String(text) => 4 + utf16(text),
                            Value::Int64(_) | Value::Double(_) => 8,
                            Value::Bool(_) => 1,
                            Value::Binary(bytes) => 4 + bytes.len(),
                        }
                })
                .sum::<usize>()
    }
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The row key.
    pub key: String,
    /// The version tag at the time of reading.
    pub etag: Etag,
    /// The properties, without keys, time stamp and tag.
    pub properties: Properties,
}

impl StoredRow {
    /// A string property, if it is there and a string.
    pub fn str(&self, name: &str) -> Option<&str> {
        match self.properties.get(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// An integer property, if it is there and an integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.properties.get(name) {
            Some(Value::Int64(number)) => Some(*number),
            _ => None,
        }
    }

    /// A Boolean property, if it is there and a Boolean.
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.properties.get(name) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }
}

/// One write in an entity-group transaction. No two operations of a transaction may name the same row key.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Fails with a conflict where the row exists.
    Insert(Row),
    /// Writes the row whether it exists or not; properties that are not named are gone afterwards.
    Put(Row),
    /// Replaces the row if its tag is still this one; properties that are not named are gone afterwards.
    Replace(Row, Etag),
    /// Sets the named properties if the row's tag is still this one, and leaves the others.
    Merge(Row, Etag),
    /// Removes the row, if a tag is given only while it is still this one. A missing row is a conflict.
    Delete(String, Option<Etag>),
    /// Asks that the row exists, and leaves its properties; it has another tag afterwards. A missing row is a conflict.
    Require(String),
}

impl Operation {
    /// The row key that is written.
    pub fn key(&self) -> &str {
        match self {
            Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) | Operation::Merge(row, _) => {
                &row.key
            }
            Operation::Delete(key, _) | Operation::Require(key) => key,
        }
    }
}

/// A read of one partition in ascending order of row keys: `from <= key < to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The partition key.
    pub partition: String,
    /// The lowest row key, inclusive.
    pub from: String,
    /// The upper bound, exclusive; `None` reads to the partition's end.
    pub to: Option<String>,
    /// The most rows of one page, 1 to 1,000. A page may hold fewer, even none, and still have a successor.
    pub top: u32,
}

/// One page of a range.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The rows, ascending.
    pub rows: Vec<StoredRow>,
    /// Where to go on; `None` at the end of the range.
    pub next: Option<Continuation>,
}

/// A read over partitions, ascending by partition key and row key: `from <= partition key < to`.
///
/// The store may visit every row between, also those that are not asked for: nothing for a hot path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The lowest partition key, inclusive.
    pub from: String,
    /// The upper bound of the partition key, exclusive.
    pub to: String,
    /// Only rows with this key; `None` for all.
    pub row: Option<String>,
    /// The most rows of one page, 1 to 1,000. A page may hold fewer, even none, and still have a successor.
    pub top: u32,
}

/// One page of a sweep.
#[derive(Debug, Clone, Default)]
pub struct SweepPage {
    /// Partition key and row, ascending.
    pub rows: Vec<(String, StoredRow)>,
    /// Where to go on; `None` at the end.
    pub next: Option<Continuation>,
}

/// Where a read goes on, opaque to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation(pub String);

//! The limits of Azure Tables, checked before any I/O, by every adapter alike.

use std::collections::HashSet;

use super::{
    Etag, MAX_OPERATIONS, MAX_ROW_BYTES, MAX_STRING_UNITS, MAX_TRANSACTION_BYTES, Operation, Range, Row, Sweep, Value,
};
use crate::ports::TableError;

/// The most bytes of a partition or row key, in UTF-16 (Azure Tables: 1 KiB).
pub const MAX_KEY_BYTES: usize = 1024;
/// The most properties of a row besides keys and time stamp (Azure Tables: 252).
pub const MAX_PROPERTIES: usize = 252;
/// The most bytes of one binary property (Azure Tables: 64 KiB).
pub const MAX_BINARY_BYTES: usize = 64 * 1024;

/// Checks a transaction: number of operations, keys, row and property sizes, names, tags, total size.
///
/// # Errors
/// [`TableError::Refused`] with what is wrong.
pub fn check_transaction(partition: &str, operations: &[Operation]) -> Result<(), TableError> {
    for operation in operations {
        let tag = match operation {
            Operation::Replace(_, tag) | Operation::Merge(_, tag) | Operation::Delete(_, Some(tag)) => tag,
            Operation::Insert(_) | Operation::Put(_) | Operation::Delete(_, None) | Operation::Require(_) => continue,
        };
        check_tag(tag)?;
    }
    check_rows(
        partition,
        operations.iter().map(|operation| match operation {
            Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) | Operation::Merge(row, _) => {
                (row.key.as_str(), Some(row))
            }
            Operation::Delete(key, _) | Operation::Require(key) => (key.as_str(), None),
        }),
    )
}

/// Checks the keys and rows of a transaction; a deletion has no row.
///
/// # Errors
/// [`TableError::Refused`] with what is wrong.
pub fn check_rows<'a>(
    partition: &str,
    writes: impl ExactSizeIterator<Item = (&'a str, Option<&'a Row>)> + Clone,
) -> Result<(), TableError> {
    let operations = writes.len();
    if operations == 0 || operations > MAX_OPERATIONS {
        return refuse(format!("a transaction holds 1 to {MAX_OPERATIONS} operations, not {operations}"));
    }
    check_key("partition", partition)?;
    let mut keys = HashSet::with_capacity(operations);
    let mut at_most = 0;
    for (key, row) in writes.clone() {
        check_key("row", key)?;
        if !keys.insert(key) {
            return refuse(format!("the row key {key:?} occurs twice in a transaction"));
        }
        let Some(row) = row else { continue };
        for (name, value) in &row.properties {
            check_property(key, name, value)?;
            at_most += name.len() + json_len_at_most(value);
        }
        if row.properties.len() > MAX_PROPERTIES {
            return refuse(format!("the row {key:?} has {} properties", row.properties.len()));
        }
        let size = row.size(partition);
        if size > MAX_ROW_BYTES {
            return refuse(format!("the row {key:?} takes {size} bytes, at most {MAX_ROW_BYTES} are allowed"));
        }
    }
    // Hardly any transaction comes near the limit: its letters need no counting.
    if at_most <= MAX_TRANSACTION_BYTES {
        return Ok(());
    }
    let properties = writes.filter_map(|(_, row)| row).flat_map(|row| &row.properties);
    let total: usize = properties.map(|(name, value)| name.len() + json_len(value)).sum();
    if total > MAX_TRANSACTION_BYTES {
        return refuse(format!("a transaction takes {total} bytes, at most {MAX_TRANSACTION_BYTES} are allowed"));
    }
    Ok(())
}

/// Checks the bounds of a range read.
///
/// # Errors
/// [`TableError::Refused`] with what is wrong.
pub fn check_range(range: &Range) -> Result<(), TableError> {
    if !(1..=1000).contains(&range.top) {
        return refuse(format!("a page holds 1 to 1,000 rows, not {}", range.top));
    }
    check_key("partition", &range.partition)?;
    check_key("row", &range.from)?;
    range.to.as_deref().map_or(Ok(()), |to| check_key("row", to))
}

/// Checks the bounds of a read over partitions.
///
/// # Errors
/// [`TableError::Refused`] with what is wrong.
pub fn check_sweep(sweep: &Sweep) -> Result<(), TableError> {
    if !(1..=1000).contains(&sweep.top) {
        return refuse(format!("a page holds 1 to 1,000 rows, not {}", sweep.top));
    }
    check_key("partition", &sweep.from)?;
    check_key("partition", &sweep.to)?;
    sweep.row.as_deref().map_or(Ok(()), |row| check_key("row", row))
}

/// Checks a partition or row key; `what` says which.
///
/// # Errors
/// [`TableError::Refused`] with what is wrong.
pub fn check_key(what: &str, key: &str) -> Result<(), TableError> {
    let size = 2 * utf16_len(key);
    if size > MAX_KEY_BYTES {
        return refuse(format!("a {what} key takes {size} bytes, at most {MAX_KEY_BYTES} are allowed"));
    }
    match key.chars().find(|&letter| matches!(letter, '/' | '\\' | '#' | '?') || letter.is_control()) {
        Some(letter) => refuse(format!("the {what} key {key:?} holds {letter:?}")),
        None => Ok(()),
    }
}

/// A tag that matches every version would turn a guarded write into a blind one.
fn check_tag(tag: &Etag) -> Result<(), TableError> {
    if tag.0.is_empty() || tag.0 == "*" || tag.0.chars().any(|letter| letter.is_control() || !letter.is_ascii()) {
        return refuse(format!("{:?} is no version tag", tag.0));
    }
    Ok(())
}

fn check_property(key: &str, name: &str, value: &Value) -> Result<(), TableError> {
    let mut letters = name.bytes();
    let well_formed = letters.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && letters.all(|letter| letter == b'_' || letter.is_ascii_alphanumeric())
        && name.len() <= 255;
    if !well_formed || ["PartitionKey", "RowKey", "Timestamp"].contains(&name) {
        return refuse(format!("the row {key:?} has a property named {name:?}"));
    }
    match value {
        Value::String(text) => {
            // A unit takes one to three bytes in UTF-8: most texts need no counting.
            if text.len() > MAX_STRING_UNITS && text.encode_utf16().count() > MAX_STRING_UNITS {
                return refuse(format!("{name:?} of the row {key:?} is longer than {MAX_STRING_UNITS} UTF-16 units"));
            }
        }
        Value::Binary(bytes) if bytes.len() > MAX_BINARY_BYTES => {
            return refuse(format!("{name:?} of the row {key:?} is longer than {MAX_BINARY_BYTES} bytes"));
        }
        Value::Double(number) if !number.is_finite() => {
            return refuse(format!("{name:?} of the row {key:?} is no finite number"));
        }
        Value::Int64(_) | Value::Bool(_) | Value::Double(_) | Value::Binary(_) => {}
    }
    Ok(())
}

/// How many UTF-16 units a text takes.
pub(super) fn utf16_len(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

/// No value is longer on the wire.
fn json_len_at_most(value: &Value) -> usize {
    match value {
        Value::String(text) => 6 * text.len(),
        other => json_len(other),
    }
}

/// How long a value is on the wire, where it is JSON.
fn json_len(value: &Value) -> usize {
    match value {
        Value::String(text) => text
            .bytes()
            .map(|byte| match byte {
                b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
                0..=31 => 6,
                _ => 1,
            })
            .sum(),
        Value::Int64(_) | Value::Double(_) => 24,
        Value::Bool(_) => 5,
        Value::Binary(bytes) => bytes.len().div_ceil(3) * 4,
    }
}

fn refuse(why: String) -> Result<(), TableError> {
    Err(TableError::Refused(why))
}

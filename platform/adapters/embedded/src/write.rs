//! Writing one transaction.

use rusqlite::{Connection, OptionalExtension, params};
use skein_core::ports::TableError;
use skein_core::table::{Etag, MAX_ROW_BYTES, Operation, Row, check_rows};

use crate::{properties, schema, store_error};

/// One write, as the Table service's REST interface knows them.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The row must not exist.
    Insert(Row),
    /// The row may exist; `merge` keeps what is not named.
    Upsert {
        /// The row.
        row: Row,
        /// Whether properties that are not named stay.
        merge: bool,
    },
    /// The row must exist; `merge` keeps what is not named.
    Update {
        /// The row.
        row: Row,
        /// Whether properties that are not named stay.
        merge: bool,
        /// What must hold.
        condition: Condition,
    },
    /// The row must exist, and goes.
    Delete {
        /// The row key.
        key: String,
        /// What must hold.
        condition: Condition,
    },
}

/// What must hold of a row that is updated or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It exists (`If-Match: *`).
    Exists,
    /// It exists and has this tag.
    Match(Etag),
}

/// The condition that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The row exists already.
    Exists,
    /// The row does not exist.
    Missing,
    /// The row has another tag.
    Changed,
}

/// Why nothing was written, or nothing is known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// A condition did not hold; nothing was written.
    #[error("the row {key:?} (write {index}): {unmet:?}")]
    Unmet {
        /// Which write.
        index: usize,
        /// Its row key.
        key: String,
        /// Which condition.
        unmet: Unmet,
    },
    /// Nothing was written, for another reason.
    #[error(transparent)]
    Refused(#[from] TableError),
    /// The commit itself failed.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

impl From<Operation> for Write {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Insert(row) => Write::Insert(row),
            Operation::Put(row) => Write::Upsert { row, merge: false },
            Operation::Replace(row, etag) => Write::Update { row, merge: false, condition: Condition::Match(etag) },
            Operation::Merge(row, etag) => Write::Update { row, merge: true, condition: Condition::Match(etag) },
            Operation::Delete(key, None) => Write::Delete { key, condition: Condition::Exists },
            Operation::Delete(key, Some(etag)) => Write::Delete { key, condition: Condition::Match(etag) },
            Operation::Require(key) => Write::Update { row: Row::new(key), merge: true, condition: Condition::Exists },
        }
    }
}

impl Write {
    /// The row key that is written.
    pub fn key(&self) -> &str {
        match self {
            Write::Insert(row) | Write::Upsert { row, .. } | Write::Update { row, .. } => &row.key,
            Write::Delete { key, .. } => key,
        }
    }
}

pub(crate) fn check(partition: &str, writes: &[Write]) -> Result<(), TableError> {
    check_rows(
        partition,
        writes.iter().map(|write| match write {
            Write::Insert(row) | Write::Upsert { row, .. } | Write::Update { row, .. } => (row.key.as_str(), Some(row)),
            Write::Delete { key, .. } => (key.as_str(), None),
        }),
    )
}

pub(crate) fn apply(
    connection: &Connection,
    table: &str,
    partition: &str,
    writes: &[Write],
) -> Result<Vec<Option<Etag>>, WriteError> {
    let transaction = schema::begin(connection).map_err(store_error)?;
    let etag = schema::next_etag(transaction.connection()).map_err(store_error)?;
    let mut etags = Vec::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        let done = one(transaction.connection(), table, partition, write, etag).map_err(|error| match error {
            Failure::Unmet(unmet) => WriteError::Unmet { index, key: write.key().to_owned(), unmet },
            Failure::Refused(error) => error.into(),
            Failure::Sqlite(error) => store_error(error).into(),
        })?;
        etags.push(done.then(|| Etag(etag.to_string())));
    }
    transaction.commit().map_err(|error| WriteError::Unknown(error.to_string()))?;
    Ok(etags)
}

enum Failure {
    Unmet(Unmet),
    Refused(TableError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

/// Applies one write; true where the row exists afterwards.
fn one(connection: &Connection, table: &str, partition: &str, write: &Write, etag: i64) -> Result<bool, Failure> {
    let put = |sql: &str, key: &str, blob: &[u8]| {
        connection.prepare_cached(sql)?.execute(params![table, partition, key, etag, blob])
    };
    const INSERT: &str = "INSERT OR IGNORE INTO entities (tbl, pk, rk, etag, properties) VALUES (?1, ?2, ?3, ?4, ?5)";
    const REPLACE: &str = "INSERT OR REPLACE INTO entities (tbl, pk, rk, etag, properties) VALUES (?1, ?2, ?3, ?4, ?5)";
    match write {
        Write::Insert(row) => {
            if put(INSERT, &row.key, &properties::encode(&row.properties))? == 0 {
                return Err(Failure::Unmet(Unmet::Exists));
            }
        }
        Write::Upsert { row, merge: false } => {
            put(REPLACE, &row.key, &properties::encode(&row.properties))?;
        }
        Write::Upsert { row, merge: true } => {
            let blob = match stored(connection, table, partition, &row.key)? {
                Some((_, old)) => merged(partition, &old, row)?,
                None => properties::encode(&row.properties),
            };
            put(REPLACE, &row.key, &blob)?;
        }
        Write::Update { row, merge, condition } => {
            let old = guarded(connection, table, partition, &row.key, condition)?;
            let blob = if *merge { merged(partition, &old, row)? } else { properties::encode(&row.properties) };
            put(REPLACE, &row.key, &blob)?;
        }
        Write::Delete { key, condition } => {
            guarded(connection, table, partition, key, condition)?;
            connection
                .prepare_cached("DELETE FROM entities WHERE tbl = ?1 AND pk = ?2 AND rk = ?3")?
                .execute(params![table, partition, key])?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn stored(
    connection: &Connection,
    table: &str,
    partition: &str,
    key: &str,
) -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
    connection
        .prepare_cached("SELECT etag, properties FROM entities WHERE tbl = ?1 AND pk = ?2 AND rk = ?3")?
        .query_row(params![table, partition, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The stored properties, if the condition holds.
fn guarded(
    connection: &Connection,
    table: &str,
    partition: &str,
    key: &str,
    condition: &Condition,
) -> Result<Vec<u8>, Failure> {
    let (etag, old) = stored(connection, table, partition, key)?.ok_or(Failure::Unmet(Unmet::Missing))?;
    match condition {
        Condition::Match(expected) if expected.0 != etag.to_string() => Err(Failure::Unmet(Unmet::Changed)),
        Condition::Match(_) | Condition::Exists => Ok(old),
    }
}

fn merged(partition: &str, old: &[u8], row: &Row) -> Result<Vec<u8>, Failure> {
    let mut properties = properties::decode(old)
        .ok_or_else(|| Failure::Refused(TableError::Malformed(format!("the stored row {:?} is damaged", row.key))))?;
    properties.extend(row.properties.clone());
    let whole = Row { key: row.key.clone(), properties };
    if whole.size(partition) > MAX_ROW_BYTES {
        return Err(Failure::Refused(TableError::Refused(format!("the merged row {:?} is too large", row.key))));
    }
    Ok(properties::encode(&whole.properties))
}

//! The table store on SQLite: in memory for tests and the simulator, in a file as the engine behind the local Table
//! front.
//!
//! One file serves several processes at once: WAL, one writer at a time under `BEGIN IMMEDIATE`. With
//! `synchronous=NORMAL` a commit survives the death of any process, not the loss of power.

mod properties;
mod schema;
mod threads;
mod write;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{
    Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage, check_key, check_range, check_sweep,
    check_transaction,
};

use crate::threads::Threads;
pub use crate::write::{Condition, Unmet, Write, WriteError};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite could not open or prepare the file.
    #[error("cannot open the table store {path}")]
    Sqlite {
        /// The file.
        path: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread of the table store")]
    Thread(#[source] std::io::Error),
    /// A table cannot have this name.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A table store in SQLite. Cloning is cheap and gives the same store.
///
/// A tag is a decimal number: in a file 100 ns ticks since 1970, in memory a plain counter. It grows with every
/// transaction and is never used again, not even after a deletion.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    /// One connection for reads and writes, also of a file: every write of another connection would empty a reader's
    /// page cache, and reading the pages again costs more than waiting behind a write. Measured in a load of 60,000
    /// messages: four readers took 39 % of the process's time.
    connection: Threads,
    /// Tables that are known to exist; none is ever dropped.
    tables: RwLock<HashSet<String>>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").finish_non_exhaustive()
    }
}

/// A read over partitions, ascending by both keys: what the Table REST front needs beyond [`Range`].
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The bounds of the partition key.
    pub partitions: Bounds,
    /// The bounds of the row key, within every partition.
    pub rows: Bounds,
    /// Where to start: the first key of the page.
    pub start: Option<(String, String)>,
    /// The most rows of the page.
    pub top: u32,
}

/// Bounds of a key; `true` includes the bound itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The lower bound.
    pub lower: Option<(String, bool)>,
    /// The upper bound.
    pub upper: Option<(String, bool)>,
}

/// One page of a [`Scan`].
#[derive(Debug, Clone, Default)]
pub struct ScanPage {
    /// Partition key and row.
    pub rows: Vec<(String, StoredRow)>,
    /// The first key of the next page.
    pub next: Option<(String, String)>,
}

impl EmbeddedStore {
    /// An empty store in memory with these tables. It ends with its last clone. Its jobs run on their callers' threads.
    ///
    /// # Errors
    /// A bad table name.
    pub fn memory(tables: &[&str]) -> Result<Self, OpenError> {
        let connection = Connection::open_in_memory()
            .and_then(|connection| schema::prepare(&connection, false).map(|()| connection))
            .map_err(|source| OpenError::Sqlite { path: ":memory:".to_owned(), source })?;
        Self::with_tables(Inner { connection: Threads::here(connection), tables: RwLock::default() }, tables)
    }

    /// Removes all rows and keeps the tables. Tags go on from where they were, so that none is ever used again. For
    /// whoever needs one empty store after the other: making one costs more than emptying it. Blocks.
    ///
    /// # Errors
    /// A failing file.
    pub fn clear(&self) -> Result<(), TableError> {
        let cleared = self.inner.connection.run_blocking(|connection| connection.execute("DELETE FROM entities", []));
        match cleared {
            Some(result) => result.map(|_| ()).map_err(store_error),
            None => Err(TableError::Unavailable(GONE.to_owned())),
        }
    }

    /// Opens a file, makes it where it is missing, and makes the tables where they are missing. Blocks.
    ///
    /// # Errors
    /// A file that cannot be opened or is no table store, a bad table name, or no thread.
    pub fn open(path: impl AsRef<Path>, tables: &[&str]) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |source| OpenError::Sqlite { path: path.display().to_string(), source };
        let open = || {
            let connection = Connection::open(path)?;
            schema::prepare(&connection, true)?;
            Ok(connection)
        };
        let connection = open().map_err(failed)?;
        let connection = Threads::start("skein-tables", vec![connection]).map_err(OpenError::Thread)?;
        Self::with_tables(Inner { connection, tables: RwLock::default() }, tables)
    }

    fn with_tables(inner: Inner, tables: &[&str]) -> Result<Self, OpenError> {
        for table in tables {
            check_table(table)?;
        }
        let names: Vec<String> = tables.iter().map(|&table| table.to_owned()).collect();
        let made = inner.connection.run_blocking(move |connection| {
            names.iter().try_for_each(|table| schema::create_table(connection, table).map(|_| ()))
        });
        match made {
            Some(Ok(())) => {}
            Some(Err(source)) => return Err(OpenError::Sqlite { path: "tables".to_owned(), source }),
            None => return Err(TableError::Unavailable(GONE.to_owned()).into()),
        }
        Ok(EmbeddedStore { inner: Arc::new(inner) })
    }

    /// Makes a table; false where it exists already.
    ///
    /// # Errors
    /// A name that Azure Tables would refuse, or a failing file.
    pub async fn create_table(&self, table: &str) -> Result<bool, TableError> {
        check_table(table)?;
        let name = table.to_owned();
        self.write_job(move |connection| schema::create_table(connection, &name).map_err(store_error)).await?
    }

    /// Whether the table exists.
    ///
    /// # Errors
    /// A failing file.
    pub async fn has_table(&self, table: &str) -> Result<bool, TableError> {
        if self.inner.tables.read().unwrap_or_else(PoisonError::into_inner).contains(table) {
            return Ok(true);
        }
        let name = table.to_owned();
        let exists: bool = self
            .read_job(move |connection| {
                connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM tables WHERE name = ?1)")?
                    .query_row([&name], |row| row.get(0))
            })
            .await?;
        if exists {
            self.inner.tables.write().unwrap_or_else(PoisonError::into_inner).insert(table.to_owned());
        }
        Ok(exists)
    }

    /// The names of all tables, ascending.
    ///
    /// # Errors
    /// A failing file.
    pub async fn tables(&self) -> Result<Vec<String>, TableError> {
        self.read_job(|connection| {
            let mut statement = connection.prepare_cached("SELECT name FROM tables ORDER BY name")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
        .await
    }

    /// Applies all writes to one partition, or none; like [`TableStore::transact`], with the further kinds of writes
    /// that a Table REST front needs, and the failing write named.
    ///
    /// # Errors
    /// [`WriteError`]; an unmet condition names the write by its index.
    pub async fn write(
        &self,
        table: &str,
        partition: &str,
        writes: Vec<Write>,
    ) -> Result<Vec<Option<Etag>>, WriteError> {
        write::check(partition, &writes)?;
        self.write_checked(table, partition, writes).await
    }

    async fn write_checked(
        &self,
        table: &str,
        partition: &str,
        writes: Vec<Write>,
    ) -> Result<Vec<Option<Etag>>, WriteError> {
        self.known_table(table).await?;
        let (table, partition) = (table.to_owned(), partition.to_owned());
        self.write_job(move |connection| write::apply(connection, &table, &partition, &writes)).await?
    }

    /// Reads one page over partitions.
    ///
    /// # Errors
    /// A missing table, or a failing file.
    pub async fn scan(&self, table: &str, scan: Scan) -> Result<ScanPage, TableError> {
        self.known_table(table).await?;
        let table = table.to_owned();
        self.read_job(move |connection| read_scan(connection, &table, &scan)).await
    }

    async fn known_table(&self, table: &str) -> Result<(), TableError> {
        match self.has_table(table).await? {
            true => Ok(()),
            false => Err(TableError::Refused(format!("there is no table {table:?}"))),
        }
    }

    async fn write_job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, TableError> {
        self.inner.connection.run(job).await.ok_or_else(|| TableError::Unavailable(GONE.to_owned()))
    }

    async fn read_job<T: Send + 'static>(
        &self,
        job: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, TableError> {
        let result = self.inner.connection.run(move |connection| schema::while_busy(|| job(connection))).await;
        result.ok_or_else(|| TableError::Unavailable(GONE.to_owned()))?.map_err(store_error)
    }
}

const GONE: &str = "a thread of the embedded store has ended";

#[async_trait]
impl TableStore for EmbeddedStore {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        check_key("partition", partition)?;
        check_key("row", key)?;
        self.known_table(table).await?;
        let (table, partition, key) = (table.to_owned(), partition.to_owned(), key.to_owned());
        self.read_job(move |connection| {
            connection
                .prepare_cached("SELECT etag, properties FROM entities WHERE tbl = ?1 AND pk = ?2 AND rk = ?3")?
                .query_row(params![table, partition, key], |row| stored_row(key.clone(), row, 0))
                .optional()
        })
        .await
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        check_range(range)?;
        self.known_table(table).await?;
        let (table, range) = (table.to_owned(), range.clone());
        // A continuation is the next page's first key; never below the range, whoever made it.
        let start = from.map_or(&range.from, |from| (&from.0).max(&range.from)).clone();
        self.read_job(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT rk, etag, properties FROM entities
                 WHERE tbl = ?1 AND pk = ?2 AND rk >= ?3 AND (?4 IS NULL OR rk < ?4) ORDER BY rk LIMIT ?5",
            )?;
            let found = statement
                .query_map(params![table, range.partition, start, range.to, range.top + 1], |row| {
                    stored_row(row.get(0)?, row, 1)
                })?;
            let mut rows = found.collect::<Result<Vec<_>, _>>()?;
            let more = rows.len() > range.top as usize;
            let next = if more { rows.pop().map(|row| Continuation(row.key)) } else { None };
            Ok(Page { rows, next })
        })
        .await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        check_sweep(sweep)?;
        // No key holds a line break.
        let read = |from: &Continuation| {
            from.0.split_once('\n').map(|(partition, key)| (partition.to_owned(), key.to_owned()))
        };
        let start = match from {
            None => None,
            Some(from) => {
                Some(read(from).ok_or_else(|| TableError::Refused("a continuation of another store".to_owned()))?)
            }
        };
        let row = sweep.row.clone().map(|row| (row, true));
        let scan = Scan {
            partitions: Bounds { lower: Some((sweep.from.clone(), true)), upper: Some((sweep.to.clone(), false)) },
            rows: Bounds { lower: row.clone(), upper: row },
            start,
            top: sweep.top,
        };
        let ScanPage { rows, next } = self.scan(table, scan).await?;
        let next = next.map(|(partition, key)| Continuation(format!("{partition}\n{key}")));
        Ok(SweepPage { rows, next })
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        check_transaction(partition, operations)?;
        let writes = operations.iter().cloned().map(Write::from).collect();
        self.write_checked(table, partition, writes).await.map_err(|error| match error {
            WriteError::Unmet { .. } => TransactError::Conflict(error.to_string()),
            WriteError::Refused(error) => TransactError::Refused(error),
            WriteError::Unknown(reason) => TransactError::Unknown(reason),
        })
    }
}

fn read_scan(connection: &Connection, table: &str, scan: &Scan) -> rusqlite::Result<ScanPage> {
    let mut statement = connection.prepare_cached(
        "SELECT pk, rk, etag, properties FROM entities
         WHERE tbl = ?1
           AND (?2 IS NULL OR pk > ?2 OR (?3 AND pk = ?2)) AND (?4 IS NULL OR pk < ?4 OR (?5 AND pk = ?4))
           AND (?6 IS NULL OR rk > ?6 OR (?7 AND rk = ?6)) AND (?8 IS NULL OR rk < ?8 OR (?9 AND rk = ?8))
           AND (pk, rk) >= (?10, ?11)
         ORDER BY pk, rk LIMIT ?12",
    )?;
    let bound = |bound: &Option<(String, bool)>| match bound {
        Some((key, inclusive)) => (Some(key.clone()), *inclusive),
        None => (None, false),
    };
    let ((above, above_too), (below, below_too)) = (bound(&scan.partitions.lower), bound(&scan.partitions.upper));
    let ((from, from_too), (to, to_too)) = (bound(&scan.rows.lower), bound(&scan.rows.upper));
    // Start where the first row can be: it is what lets SQLite use the index.
    let first = (above.clone().unwrap_or_default(), String::new());
    let (start_pk, start_rk) = scan.start.clone().map_or(first.clone(), |start| start.max(first));
    let top = scan.top.clamp(1, 1000);
    let found = statement.query_map(
        params![table, above, above_too, below, below_too, from, from_too, to, to_too, start_pk, start_rk, top + 1],
        |row| Ok((row.get::<_, String>(0)?, stored_row(row.get(1)?, row, 2)?)),
    )?;
    let mut rows = found.collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > top as usize;
    let next = if more { rows.pop().map(|(pk, row)| (pk, row.key)) } else { None };
    Ok(ScanPage { rows, next })
}

/// A row whose tag and properties stand at `column` and behind.
fn stored_row(key: String, row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<StoredRow> {
    let etag: i64 = row.get(column)?;
    let properties = properties::decode(row.get_ref(column + 1)?.as_blob()?).ok_or_else(|| {
        rusqlite::Error::InvalidColumnType(column + 1, "properties".to_owned(), rusqlite::types::Type::Blob)
    })?;
    Ok(StoredRow { key, etag: Etag(etag.to_string()), properties })
}

/// Azure's rule: letters and digits, not beginning with a digit, 3 to 63.
fn check_table(name: &str) -> Result<(), TableError> {
    let well_formed = (3..=63).contains(&name.len())
        && name.bytes().all(|letter| letter.is_ascii_alphanumeric())
        && !name.as_bytes()[0].is_ascii_digit();
    if well_formed { Ok(()) } else { Err(TableError::Refused(format!("{name:?} is no table name"))) }
}

fn store_error(error: rusqlite::Error) -> TableError {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure | OutOfMemory | CannotOpen) => {
            TableError::Unavailable(error.to_string())
        }
        _ => TableError::Malformed(error.to_string()),
    }
}

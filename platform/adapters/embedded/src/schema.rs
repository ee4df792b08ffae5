//! The tables of the file, and how it is shared between processes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

/// How long SQLite waits for another process's write.
const BUSY: Duration = Duration::from_secs(10);
/// How often a statement is tried again that was busy all the same, as when another process recovers the file.
const ATTEMPTS: u32 = 5;

/// Sets a connection up and makes the tables.
pub(crate) fn prepare(connection: &Connection, file: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // Without it SQLite parses a statement anew whenever a parameter of its LIMIT, or of a key that it compares, has
    // changed: that would be every read of a page.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if file {
        // The switch to WAL does not wait for the busy handler in every case.
        while_busy(|| connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -16_000)?;
    }
    while_busy(|| {
        connection
            .execute_batch(
                "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS tables (name TEXT PRIMARY KEY) WITHOUT ROWID;
             -- With a row id: rows of a kilobyte and more would make a poor tree of keys.
             CREATE TABLE IF NOT EXISTS entities (
                 tbl TEXT NOT NULL, pk TEXT NOT NULL, rk TEXT NOT NULL,
                 etag INTEGER NOT NULL, properties BLOB NOT NULL,
                 PRIMARY KEY (tbl, pk, rk)
             );
             CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), etag INTEGER NOT NULL,
                 clock INTEGER NOT NULL);
             COMMIT;",
            )
            .inspect_err(|_| {
                if !connection.is_autocommit() {
                    let _ = connection.execute_batch("ROLLBACK");
                }
            })
    })?;
    connection.execute("INSERT OR IGNORE INTO counter (one, etag, clock) VALUES (1, 0, ?1)", [file])?;
    Ok(())
}

/// Makes a table; false where it exists.
pub(crate) fn create_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("INSERT OR IGNORE INTO tables (name) VALUES (?1)", [name])? == 1)
}

/// A transaction that is sure to be able to write. Dropped before its commit, it is rolled back.
///
/// Its statements are prepared once: those of rusqlite's own are parsed for each transaction.
pub(crate) struct Transaction<'c> {
    connection: &'c Connection,
}

/// Begins a transaction.
pub(crate) fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    while_busy(|| connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]))?;
    Ok(Transaction { connection })
}

impl Transaction<'_> {
    pub(crate) fn connection(&self) -> &Connection {
        self.connection
    }

    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // A commit that succeeded has ended it, and some failures end it, too.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// The tag of this transaction: one for all its rows. In a file it follows the clock, so that it also tells when the
/// row was written, and never goes back.
pub(crate) fn next_etag(connection: &Connection) -> rusqlite::Result<i64> {
    let ticks = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() / 100);
    // Two statements: a RETURNING would make a table for its one row.
    connection
        .prepare_cached("UPDATE counter SET etag = CASE WHEN clock THEN max(etag + 1, ?1) ELSE etag + 1 END")?
        .execute([i64::try_from(ticks).unwrap_or(0)])?;
    connection.prepare_cached("SELECT etag FROM counter")?.query_row([], |row| row.get(0))
}

/// Repeats what failed because another process held the file.
pub(crate) fn while_busy<T>(mut step: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    for _ in 1..ATTEMPTS {
        match step() {
            Err(error) if busy(&error) => {}
            result => return result,
        }
    }
    step()
}

fn busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

//! Cursors: how far a consumer has come with one source aggregate, and the events that came too early.

use crate::cloud_event::CloudEvent;
use crate::fault::Fault;
use crate::ports::{TableStore, TransactError};
use crate::projection::Source;
use crate::store::{corrupt, get_text, put_text};
use crate::table::{Etag, Operation, Range, Row, StoredRow};

use super::live::Watch;
use super::source_key;

/// Epoch and sequence of the last event applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub epoch: u32,
    pub sequence: u64,
}

impl Position {
    pub(super) fn of(source: &Source) -> Self {
        Position { epoch: source.epoch, sequence: source.sequence }
    }

    pub(super) fn of_row(partition: &str, row: &StoredRow) -> Result<Self, Fault> {
        let number = |name| row.int(name).and_then(|number| u64::try_from(number).ok());
        match (number("Epoch").and_then(|epoch| u32::try_from(epoch).ok()), number("Sequence")) {
            (Some(epoch), Some(sequence)) => Ok(Position { epoch, sequence }),
            _ => Err(corrupt(partition, &row.key, "Epoch or Sequence are missing or no numbers from 0")),
        }
    }

    pub(super) fn row(self, key: String) -> Row {
        Row::new(key)
            .with("Epoch", i64::from(self.epoch))
            .with("Sequence", i64::try_from(self.sequence).unwrap_or(i64::MAX))
    }
}

/// What an event is to a cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It was applied before.
    Seen,
    /// It is the one to apply now.
    Next,
    /// Others come before it.
    Early,
}

/// The text that names partitions where a change waits to be pushed.
const PENDING: &str = "Pending";

fn parked_key(source: &str, sequence: u64) -> String {
    format!("P~{source}~{}", CloudEvent::format_sequence(sequence))
}

/// A cursor as it was read.
pub(super) struct Cursor {
    pub table: &'static str,
    pub partition: String,
    /// The source's key.
    pub source: String,
    pub position: Position,
    /// The highest sequence that is parked and not yet drained, 0 for none: it saves the look for what follows.
    pub parked: u64,
    /// Who watches the partition, where it is one of a view with one source.
    pub watch: Option<Watch>,
    /// The partitions of a view with many sources where a change waits to be pushed.
    pub pending: Vec<String>,
    pub etag: Option<Etag>,
}

impl Cursor {
    pub(super) async fn read(
        store: &dyn TableStore,
        table: &'static str,
        partition: String,
        source: &str,
    ) -> Result<Self, Fault> {
        let row = store.get(table, &partition, &source_key(source)).await?;
        Cursor::of_row(table, partition, source, row)
    }

    pub(super) fn of_row(
        table: &'static str,
        partition: String,
        source: &str,
        row: Option<StoredRow>,
    ) -> Result<Self, Fault> {
        let position = row.as_ref().map_or(Ok(Position::default()), |row| Position::of_row(&partition, row))?;
        let parked = match &row {
            Some(row) if row.properties.contains_key("Parked") => row
                .int("Parked")
                .and_then(|parked| u64::try_from(parked).ok())
                .ok_or_else(|| corrupt(&partition, &row.key, "Parked is no number from 0"))?,
            _ => 0,
        };
        let watch = row.as_ref().map(|row| Watch::of_row(&partition, row)).transpose()?.flatten();
        let pending = match row.as_ref().map(|row| get_text(row, PENDING)).transpose() {
            Ok(text) => text.flatten().map(|text| serde_json::from_str(&text)).transpose().map_err(|e| e.to_string()),
            Err(what) => Err(what),
        };
        let pending = pending.map_err(|what| corrupt(&partition, &source_key(source), what))?.unwrap_or_default();
        let (source, etag) = (source.to_owned(), row.map(|row| row.etag));
        Ok(Cursor { table, partition, source, position, parked, watch, pending, etag })
    }

    /// The same cursor, after it was written.
    pub(super) fn at(&self, position: Position, pending: Vec<String>, etag: Option<Etag>) -> Self {
        Cursor {
            table: self.table,
            partition: self.partition.clone(),
            source: self.source.clone(),
            position,
            parked: self.parked,
            watch: self.watch,
            pending,
            etag,
        }
    }

    pub(super) fn arrival(&self, source: &Source) -> Arrival {
        // A higher epoch is a restored store, which goes on from where its backup ended: not behind our position.
        if Position::of(source) <= self.position {
            Arrival::Seen
        } else if source.sequence <= self.position.sequence + 1 {
            Arrival::Next
        } else {
            Arrival::Early
        }
    }

    /// The write that moves the cursor, guarded by its tag.
    pub(super) fn advance(&self, source: &Source) -> Operation {
        self.write(Position::of(source), self.parked)
    }

    /// The same, with a change that has the next number.
    pub(super) fn advance_watched(&self, source: &Source, watch: Watch) -> Operation {
        self.write_all(Position::of(source), self.parked, Some(watch), &self.pending)
    }

    /// The same, with changes that wait to be pushed in these partitions, too.
    pub(super) fn advance_pending(&self, source: &Source, pending: &[String]) -> Operation {
        self.write_all(Position::of(source), self.parked, self.watch, pending)
    }

    fn write(&self, position: Position, parked: u64) -> Operation {
        self.write_all(position, parked, self.watch, &self.pending)
    }

    fn write_all(&self, position: Position, parked: u64, watch: Option<Watch>, pending: &[String]) -> Operation {
        let mut row = position.row(source_key(&self.source));
        if parked > position.sequence {
            row = row.with("Parked", i64::try_from(parked).unwrap_or(i64::MAX));
        }
        if let Some(watch) = watch {
            row = watch.write(row);
        }
        if !pending.is_empty() {
            // Plain data: it has JSON.
            put_text(&mut row, PENDING, &serde_json::to_string(pending).unwrap_or_default());
        }
        match &self.etag {
            Some(etag) => Operation::Replace(row, etag.clone()),
            None => Operation::Insert(row),
        }
    }

    /// Parks an early event. The cursor is written too, in the same transaction and under its tag: whoever moves it
    /// meanwhile would otherwise not see what is parked.
    pub(super) async fn park(&self, store: &dyn TableStore, source: &Source, body: &[u8]) -> Result<(), TransactError> {
        let mut row = Row::new(parked_key(&self.source, source.sequence));
        put_text(&mut row, "Event", &String::from_utf8_lossy(body));
        let parked = self.parked.max(source.sequence);
        let operations = [Operation::Put(row), self.write(self.position, parked)];
        store.transact(self.table, &self.partition, &operations).await.map(drop)
    }

    /// The first event that is parked behind the cursor.
    pub(super) async fn first_parked(&self, store: &dyn TableStore) -> Result<Option<String>, Fault> {
        let range = Range {
            partition: self.partition.clone(),
            from: parked_key(&self.source, self.position.sequence + 1),
            to: Some(format!("P~{}~~", self.source)),
            top: 1,
        };
        let mut from = None;
        loop {
            let page = store.query(self.table, &range, from.as_ref()).await?;
            if let Some(row) = page.rows.first() {
                let text = get_text(row, "Event").map_err(|error| corrupt(&self.partition, &row.key, error))?;
                return text.map(Some).ok_or_else(|| corrupt(&self.partition, &row.key, "Event is missing"));
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(None),
            }
        }
    }

    /// Says that nothing waits to be pushed any more, under the tag that the cursor was read with.
    pub(super) async fn forget_pending(&self, store: &dyn TableStore) -> Result<(), TransactError> {
        let write = self.write_all(self.position, self.parked, self.watch, &[]);
        store.transact(self.table, &self.partition, &[write]).await.map(drop)
    }

    /// Says that nothing is parked any more.
    pub(super) async fn forget_parked(&self, store: &dyn TableStore) -> Result<(), TransactError> {
        let write = self.write(self.position, 0);
        store.transact(self.table, &self.partition, &[write]).await.map(drop)
    }

    /// The parked event with the sequence, with the write that removes it.
    pub(super) async fn parked(
        store: &dyn TableStore,
        table: &str,
        partition: &str,
        source: &str,
        sequence: u64,
    ) -> Result<Option<(String, Operation)>, Fault> {
        let key = parked_key(source, sequence);
        let Some(row) = store.get(table, partition, &key).await? else { return Ok(None) };
        let text = get_text(&row, "Event")
            .map_err(|what| corrupt(partition, &key, what))?
            .ok_or_else(|| corrupt(partition, &key, "Event0 is missing"))?;
        Ok(Some((text, Operation::Delete(key, Some(row.etag)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AggregateId;

    #[test]
    fn an_event_is_seen_next_or_early() {
        let at = |epoch, sequence| Source {
            aggregate: AggregateId::new("order", "1").unwrap(),
            epoch,
            sequence,
            time: time::OffsetDateTime::UNIX_EPOCH,
        };
        let cursor = |epoch, sequence| Cursor {
            table: "t",
            partition: "p".into(),
            source: "order:1".into(),
            position: Position { epoch, sequence },
            parked: 0,
            watch: None,
            pending: Vec::new(),
            etag: None,
        };
        let fresh = Position::default();
        assert_eq!(cursor(fresh.epoch, fresh.sequence).arrival(&at(0, 1)), Arrival::Next);
        assert_eq!(cursor(0, 0).arrival(&at(0, 2)), Arrival::Early);
        assert_eq!(cursor(0, 3).arrival(&at(0, 3)), Arrival::Seen);
        assert_eq!(cursor(0, 3).arrival(&at(0, 4)), Arrival::Next);
        assert_eq!(cursor(0, 3).arrival(&at(0, 6)), Arrival::Early);
        // A restored store goes on from its backup, in a higher epoch.
        assert_eq!(cursor(0, 3).arrival(&at(1, 2)), Arrival::Next);
        assert_eq!(cursor(0, 3).arrival(&at(1, 4)), Arrival::Next);
        assert_eq!(cursor(0, 3).arrival(&at(1, 6)), Arrival::Early);
        assert_eq!(cursor(1, 3).arrival(&at(0, 4)), Arrival::Seen);
    }
}

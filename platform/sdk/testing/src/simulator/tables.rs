//! A table store as a plain model: linearizable, in memory, copied cheaply.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_core::ports::TableError;
use skein_core::table::{
    Continuation, Etag, Operation, Page, Properties, Range, Row, StoredRow, Sweep, SweepPage, check_transaction,
};

/// The rows of one partition by row key.
pub(crate) type Partition = BTreeMap<String, Arc<StoredRow>>;

/// All tables. A table exists as soon as it is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<String, BTreeMap<String, Partition>>,
    tags: u64,
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    Conflict,
    Refused(TableError),
}

impl Tables {
    pub(crate) fn partitions(&self, table: &str) -> impl Iterator<Item = (&String, &Partition)> {
        self.tables.get(table).into_iter().flatten()
    }

    /// Every partition, with its table.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str, &Partition)> {
        self.tables
            .iter()
            .flat_map(|(table, partitions)| partitions.iter().map(move |(name, rows)| (&**table, &**name, rows)))
    }

    /// Takes a row as it is, its tag included.
    pub(crate) fn adopt(&mut self, table: &str, partition: &str, row: StoredRow) {
        let rows = self.tables.entry(table.to_owned()).or_default().entry(partition.to_owned()).or_default();
        rows.insert(row.key.clone(), Arc::new(row));
    }

    pub(crate) fn get(&self, table: &str, partition: &str, key: &str) -> Option<&Arc<StoredRow>> {
        self.tables.get(table)?.get(partition)?.get(key)
    }

    /// A page of at most `most` rows, which may be none: it continues where more may follow.
    pub(crate) fn query(&self, table: &str, range: &Range, from: Option<&str>, most: usize) -> Page {
        let start = from.unwrap_or(&range.from).to_owned();
        let mut rows = self
            .tables
            .get(table)
            .and_then(|partitions| partitions.get(&range.partition))
            .into_iter()
            .flat_map(|rows| rows.range(start.clone()..))
            .map(|(_, row)| row)
            .take_while(|row| range.to.as_ref().is_none_or(|to| row.key < *to));
        if most == 0 {
            return Page { rows: Vec::new(), next: Some(Continuation(start)) };
        }
        let page: Vec<StoredRow> = rows.by_ref().take(most).map(|row| (**row).clone()).collect();
        Page { rows: page, next: rows.next().map(|row| Continuation(row.key.clone())) }
    }

    /// A page over partitions of at most `most` rows, which may be none: it continues where more may follow.
    pub(crate) fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&(String, String)>, most: usize) -> SweepPage {
        let goes_on = |(partition, key): &(String, String)| Some(Continuation(format!("{partition}\n{key}")));
        let start = from.cloned().unwrap_or_else(|| (sweep.from.clone(), String::new()));
        if most == 0 {
            return SweepPage { rows: Vec::new(), next: goes_on(&start) };
        }
        let mut rows = self
            .partitions(table)
            .filter(|(partition, _)| **partition >= sweep.from && **partition < sweep.to)
            .flat_map(|(partition, rows)| rows.values().map(move |row| (partition.clone(), row)))
            .filter(|(partition, row)| (partition, &row.key) >= (&start.0, &start.1))
            .filter(|(_, row)| sweep.row.as_ref().is_none_or(|key| row.key == *key));
        let page = rows.by_ref().take(most).map(|(partition, row)| (partition, (**row).clone())).collect();
        SweepPage { rows: page, next: rows.next().and_then(|(partition, row)| goes_on(&(partition, row.key.clone()))) }
    }

    /// Where a sweep goes on.
    pub(crate) fn sweep_from(from: &Continuation) -> Option<(String, String)> {
        from.0.split_once('\n').map(|(partition, key)| (partition.to_owned(), key.to_owned()))
    }

    pub(crate) fn transact(
        &mut self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, Unwritten> {
        check_transaction(partition, operations).map_err(Unwritten::Refused)?;
        let rows = self.tables.entry(table.to_owned()).or_default().entry(partition.to_owned()).or_default();
        for operation in operations {
            let stored = rows.get(operation.key());
            let fits = match operation {
                Operation::Insert(_) => stored.is_none(),
                Operation::Put(_) => true,
                Operation::Replace(_, tag) | Operation::Merge(_, tag) | Operation::Delete(_, Some(tag)) => {
                    stored.is_some_and(|row| row.etag == *tag)
                }
                Operation::Delete(_, None) | Operation::Require(_) => stored.is_some(),
            };
            if !fits {
                return Err(Unwritten::Conflict);
            }
        }
        let mut tags = Vec::with_capacity(operations.len());
        for operation in operations {
            let nothing;
            let (row, merge) = match operation {
                Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) => (row, false),
                Operation::Merge(row, _) => (row, true),
                Operation::Require(key) => {
                    nothing = Row::new(key.as_str());
                    (&nothing, true)
                }
                Operation::Delete(key, _) => {
                    rows.remove(key);
                    tags.push(None);
                    continue;
                }
            };
            self.tags += 1;
            let etag = Etag(format!("W/\"{}\"", self.tags));
            let mut properties = Properties::new();
            if merge && let Some(stored) = rows.get(&row.key) {
                properties = stored.properties.clone();
            }
            properties.extend(row.properties.iter().map(|(name, value)| (name.clone(), value.clone())));
            let stored = StoredRow { key: row.key.clone(), etag: etag.clone(), properties };
            rows.insert(row.key.clone(), Arc::new(stored));
            tags.push(Some(etag));
        }
        Ok(tags)
    }
}

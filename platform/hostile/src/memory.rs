//! A table store in memory whose rows a check may damage.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{
    Continuation, Etag, Operation, Page, Properties, Range, StoredRow, Sweep, SweepPage, check_key, check_range,
    check_transaction,
};

/// The rows of one partition, by key.
pub(crate) type Rows = BTreeMap<String, StoredRow>;

/// All rows, by table and partition. Every table exists.
#[derive(Default)]
pub(crate) struct Memory {
    partitions: Mutex<BTreeMap<(String, String), Rows>>,
}

impl Memory {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Rows>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rows(&self, table: &str, partition: &str) -> Rows {
        self.lock().get(&(table.to_owned(), partition.to_owned())).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&self, table: &str, partition: &str, rows: Rows) {
        self.lock().insert((table.to_owned(), partition.to_owned()), rows);
    }
}

/// A row as a store gives it out.
pub(crate) fn stored(key: &str, tag: u64, properties: Properties) -> StoredRow {
    StoredRow { key: key.to_owned(), etag: Etag(tag.to_string()), properties }
}

#[async_trait]
impl TableStore for Memory {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        check_key("partition", partition)?;
        check_key("row", key)?;
        Ok(self.rows(table, partition).remove(key))
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        check_range(range)?;
        let rows = self.rows(table, &range.partition);
        let start = from.map_or(range.from.as_str(), |from| from.0.as_str());
        let mut rows = rows
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .map(|(_, row)| row)
            .take_while(|row| range.to.as_ref().is_none_or(|to| row.key < *to));
        let page = rows.by_ref().take(range.top as usize).cloned().collect();
        Ok(Page { rows: page, next: rows.next().map(|row| Continuation(row.key.clone())) })
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        let foreign = |_| TableError::Refused("a continuation of another store".to_owned());
        let start: Option<(String, String)> =
            from.map(|from| serde_json::from_str(&from.0).map_err(foreign)).transpose()?;
        let partitions = self.lock();
        let mut rows = partitions
            .iter()
            .filter(|((held, partition), _)| held == table && (&sweep.from..&sweep.to).contains(&partition))
            .flat_map(|((_, partition), rows)| rows.values().map(move |row| (partition, row)))
            .filter(|(_, row)| sweep.row.as_ref().is_none_or(|wanted| row.key == *wanted))
            .filter(|(partition, row)| {
                start.as_ref().is_none_or(|start| (*partition, &row.key) >= (&start.0, &start.1))
            });
        let page = rows.by_ref().take(sweep.top as usize).map(|(partition, row)| (partition.clone(), row.clone()));
        let page = page.collect();
        let next =
            rows.next().map(|(partition, row)| Continuation(serde_json::json!([partition, row.key]).to_string()));
        Ok(SweepPage { rows: page, next })
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        check_transaction(partition, operations)?;
        let mut partitions = self.lock();
        let held = partitions.entry((table.to_owned(), partition.to_owned())).or_default();
        let mut rows = held.clone();
        let mut tags = Vec::with_capacity(operations.len());
        for operation in operations {
            let conflict = || TransactError::Conflict(format!("row {:?}", operation.key()));
            let before = rows.get(operation.key());
            let tag = before.map_or(0, |row| row.etag.0.parse::<u64>().unwrap_or(0)).saturating_add(1);
            let row = match operation {
                Operation::Insert(_) if before.is_some() => return Err(conflict()),
                Operation::Insert(row) | Operation::Put(row) => row.properties.clone(),
                Operation::Replace(row, etag) if before.is_some_and(|before| before.etag == *etag) => {
                    row.properties.clone()
                }
                Operation::Merge(row, etag) if before.is_some_and(|before| before.etag == *etag) => {
                    let mut merged = before.map(|before| before.properties.clone()).unwrap_or_default();
                    merged.extend(row.properties.clone());
                    merged
                }
                Operation::Require(_) if before.is_some() => {
                    before.map(|before| before.properties.clone()).unwrap_or_default()
                }
                Operation::Delete(key, etag)
                    if before.is_some_and(|before| etag.as_ref().is_none_or(|etag| before.etag == *etag)) =>
                {
                    rows.remove(key);
                    tags.push(None);
                    continue;
                }
                _ => return Err(conflict()),
            };
            let row = stored(operation.key(), tag, row);
            tags.push(Some(row.etag.clone()));
            rows.insert(row.key.clone(), row);
        }
        *held = rows;
        Ok(tags)
    }
}

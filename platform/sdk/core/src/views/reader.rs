//! Reading views: a query is one point read or one partition read.

use std::sync::Arc;

use super::top::{MERGED_ROW, Merged, merged_partition};
use super::{Generation, document_key, read_document};
use crate::fault::Fault;
use crate::id::decode_key;
use crate::ports::TableStore;
use crate::projection::{Projection, TopList};
use crate::table::Range;

/// Reads the views of one service.
#[derive(Clone)]
pub struct ViewReader {
    store: Arc<dyn TableStore>,
}

/// Rows of one partition, ascending.
#[derive(Debug, Clone)]
pub struct Listing<R> {
    /// The rows, each with the name it was touched by.
    pub rows: Vec<(String, R)>,
    /// Whether more follow.
    pub has_next: bool,
}

impl ViewReader {
    /// A reader of the query store.
    pub fn new(store: Arc<dyn TableStore>) -> Self {
        ViewReader { store }
    }

    /// One row: one point read.
    ///
    /// # Errors
    /// A store that is away, or a row that is not as this code writes it.
    pub async fn get<P: Projection>(&self, partition: &str, row: &str) -> Result<Option<P::Row>, Fault> {
        let partition = Generation::FIRST.partition(partition);
        let stored = self.store.get(P::TABLE, &partition, &document_key(row)).await?;
        stored.map(|stored| read_document(P::TABLE, &stored)).transpose()
    }

    /// The first `first` rows of a partition that follow the row `after`: one partition read.
    ///
    /// # Errors
    /// See [`ViewReader::get`].
    pub async fn list<P: Projection>(
        &self,
        partition: &str,
        after: Option<&str>,
        first: usize,
    ) -> Result<Listing<P::Row>, Fault> {
        let range = Range {
            partition: Generation::FIRST.partition(partition),
            // A blank is the lowest letter of a key, so nothing lies between a key and the key with a blank.
            from: after.map_or_else(|| "D~".to_owned(), |row| format!("{} ", document_key(row))),
            to: Some("E".to_owned()),
            top: u32::try_from(first + 1).unwrap_or(u32::MAX).min(1_000),
        };
        let mut rows = Vec::new();
        let mut from = None;
        loop {
            let page = self.store.query(P::TABLE, &range, from.as_ref()).await?;
            for stored in &page.rows {
                if rows.len() == first {
                    return Ok(Listing { rows, has_next: true });
                }
                let name = stored.key.strip_prefix("D~").and_then(decode_key).unwrap_or_default();
                rows.push((name, read_document(P::TABLE, stored)?));
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(Listing { rows, has_next: false }),
            }
        }
    }

    /// The first items of a top list with their scores, best first: one point read.
    ///
    /// # Errors
    /// See [`ViewReader::get`].
    pub async fn top<T: TopList>(&self, first: usize) -> Result<Vec<(String, i64)>, Fault> {
        let stored = self.store.get(T::TABLE, &merged_partition(Generation::FIRST), MERGED_ROW).await?;
        let Some(stored) = stored else { return Ok(Vec::new()) };
        let merged: Merged = read_document(T::TABLE, &stored)?;
        Ok(merged.entries.into_iter().take(first).map(|entry| (entry.item, entry.score)).collect())
    }
}

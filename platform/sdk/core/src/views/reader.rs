//! Reading views: a query is one point read or one partition read.

use std::sync::Arc;

use super::generation::{Generation, Live};
use super::top::{MERGED_ROW, Merged, merged_partition};
use super::{document_key, read_document};
use crate::fault::Fault;
use crate::id::decode_key;
use crate::ports::{Clock, TableStore};
use crate::projection::{Projection, TopList};
use crate::table::Range;

/// Reads the views of one service: of each the generation that is live.
#[derive(Clone)]
pub struct ViewReader {
    store: Arc<dyn TableStore>,
    live: Live,
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
    /// A reader of the query store, which looks up at each read which generation is live.
    pub fn new(store: Arc<dyn TableStore>) -> Self {
        ViewReader { store, live: Live::new(None) }
    }

    /// The same reader, which remembers for some seconds which generation is live.
    #[must_use]
    pub fn caching(self, clock: Arc<dyn Clock>) -> Self {
        ViewReader { store: self.store, live: Live::new(Some(clock)) }
    }

    /// One row: one point read.
    ///
    /// # Errors
    /// A store that is away, or a row that is not as this code writes it.
    pub async fn get<P: Projection>(&self, partition: &str, row: &str) -> Result<Option<P::Row>, Fault> {
        let read = |generation: Generation| async move {
            let stored = self.store.get(P::TABLE, &generation.partition(partition), &document_key(row)).await?;
            stored.map(|stored| read_document(P::TABLE, &stored)).transpose()
        };
        self.live.read(&*self.store, P::NAME, read).await
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
        let read = |generation| self.list_of::<P>(generation, partition, after, first);
        self.live.read(&*self.store, P::NAME, read).await
    }

    async fn list_of<P: Projection>(
        &self,
        generation: Generation,
        partition: &str,
        after: Option<&str>,
        first: usize,
    ) -> Result<Listing<P::Row>, Fault> {
        let range = Range {
            partition: generation.partition(partition),
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
        let read = |generation| async move {
            let stored = self.store.get(T::TABLE, &merged_partition(generation), MERGED_ROW).await?;
            let Some(stored) = stored else { return Ok(Vec::new()) };
            let merged: Merged = read_document(T::TABLE, &stored)?;
            Ok(merged.entries.into_iter().take(first).map(|entry| (entry.item, entry.score)).collect())
        };
        self.live.read(&*self.store, T::NAME, read).await
    }
}

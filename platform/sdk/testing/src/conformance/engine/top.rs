//! Top lists, where an event comes again because whoever took it died before the list showed it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::lock::Mutex;
use skein_core::handler::Delivery;
use skein_core::ports::{TableError, TableStore, TransactError};
use skein_core::table::{Continuation, Etag, Operation, Page, Range, StoredRow, Sweep, SweepPage};
use skein_core::views::{ViewReader, ViewsHandler};
use skein_core::{Source, TopList};

use super::{Read, Reading, balance};
use crate::doubles::{Accident, ManualClock, MemoryQueue};

/// The purses by their last change: a list of this case alone.
struct Latest;

impl TopList for Latest {
    const NAME: &'static str = "latest";
    const TABLE: &'static str = "latest";
    const SHARDS: u16 = 1;
    const SIZE: usize = 3;
    type Event = Read;

    fn score(Read::Balance(balance): &Read, _: &Source) -> Option<i64> {
        Some(balance.coins)
    }
}

/// A store in which another worker takes an event, and dies, between the reads of a shard's stamp and of an item.
struct Overtaken {
    inner: Arc<dyn TableStore>,
    /// Held from the first read of a stamp on; other reads wait.
    other: Mutex<Option<(Reading, Bytes)>>,
}

#[async_trait]
impl TableStore for Overtaken {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        if table != Latest::TABLE {
            return self.inner.get(table, partition, key).await;
        }
        let mut other = self.other.lock().await;
        let row = self.inner.get(table, partition, key).await?;
        if let Some((other, body)) = other.take() {
            assert_eq!(key, "!", "the stamp is read first, or nothing is shown here");
            let delivery = Delivery { message_id: "m".into(), count: 1, traceparent: None };
            other.handler.receive(&body, &delivery).await.expect_err("it dies before the list shows the event");
        }
        Ok(row)
    }

    async fn query(&self, table: &str, range: &Range, from: Option<&Continuation>) -> Result<Page, TableError> {
        self.inner.query(table, range, from).await
    }

    async fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&Continuation>) -> Result<SweepPage, TableError> {
        self.inner.sweep(table, sweep, from).await
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        self.inner.transact(table, partition, operations).await
    }
}

/// A change that its worker wrote, but did not show, is shown when the event comes again, also to a worker that read
/// the shard's stamp before the change and the item after it.
pub async fn a_change_that_was_not_shown_is_shown_when_it_comes_again(store: Arc<dyn TableStore>) {
    let first = Reading::new(&store, ViewsHandler::top_list::<Latest>);
    first.receive(&balance("overtaken", "ann", 1, 5)).await;
    let other = Reading::new(&store, ViewsHandler::top_list::<Latest>);
    // It writes the score; the merged row it does not reach, however often it tries.
    other.store.accidents([Accident::None].into_iter().chain([Accident::Unavailable; 5]));
    let body = balance("overtaken", "ann", 2, 1);
    let overtaken = Overtaken { inner: store.clone(), other: Mutex::new(Some((other, body.clone()))) };
    let queue = Arc::<MemoryQueue>::default();
    let handler = ViewsHandler::new("bank", Arc::new(overtaken), queue, ManualClock::new()).top_list::<Latest>();
    let delivery = Delivery { message_id: "m".into(), count: 2, traceparent: None };
    handler.receive(&body, &delivery).await.expect("taken");
    let shown = ViewReader::new(store.clone()).top::<Latest>(10).await.expect("reads");
    assert_eq!(shown, [("overtaken".to_owned(), 1)]);
}

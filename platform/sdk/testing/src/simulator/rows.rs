//! Who keeps the world's rows: the model, or a real store that is asked in the model's place.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use skein_core::ports::{TableStore, TransactError};
use skein_core::table::{Continuation, Etag, MAX_OPERATIONS, Operation, Page, Range, Row, StoredRow, Sweep, SweepPage};

use super::tables::{Tables, Unwritten};

/// The rows of a run.
pub(crate) struct Rows {
    /// With a keeper, its rows once they were gathered, else the rows themselves.
    pub tables: Tables,
    keeper: Option<Keeper>,
}

struct Keeper {
    store: Arc<dyn TableStore>,
    /// What may hold rows: table and partition.
    written: BTreeSet<(String, String)>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The result of a future that a store's own thread may have to finish.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

impl Rows {
    /// These rows, kept by the store if there is one. It has to be empty.
    ///
    /// # Panics
    /// When the store does not take them.
    pub(crate) fn new(tables: Tables, store: Option<Arc<dyn TableStore>>) -> Self {
        let Some(store) = store else { return Rows { tables, keeper: None } };
        let mut written = BTreeSet::new();
        for (table, partition, rows) in tables.all() {
            written.insert((table.to_owned(), partition.to_owned()));
            let rows: Vec<Operation> = rows
                .values()
                .map(|row| Operation::Insert(Row { key: row.key.clone(), properties: row.properties.clone() }))
                .collect();
            for part in rows.chunks(MAX_OPERATIONS) {
                block_on(store.transact(table, partition, part)).expect("an empty store takes what was before");
            }
        }
        Rows { tables: Tables::default(), keeper: Some(Keeper { store, written }) }
    }

    pub(crate) fn get(&self, table: &str, partition: &str, key: &str) -> Option<StoredRow> {
        match &self.keeper {
            None => self.tables.get(table, partition, key).map(|row| (**row).clone()),
            Some(keeper) => block_on(keeper.store.get(table, partition, key)).expect("no accident happens in there"),
        }
    }

    /// A page of at most `most` rows, which may be none: it continues where more may follow.
    pub(crate) fn query(&self, table: &str, range: &Range, from: Option<&str>, most: usize) -> Page {
        let Some(keeper) = &self.keeper else { return self.tables.query(table, range, from, most) };
        if most == 0 {
            let start = from.unwrap_or(&range.from).to_owned();
            return Page { rows: Vec::new(), next: Some(Continuation(start)) };
        }
        let range = Range { top: u32::try_from(most).unwrap_or(range.top), ..range.clone() };
        let from = from.map(|from| Continuation(from.to_owned()));
        block_on(keeper.store.query(table, &range, from.as_ref())).expect("no accident happens in there")
    }

    /// A page over partitions of at most `most` rows, which may be none.
    pub(crate) fn sweep(&self, table: &str, sweep: &Sweep, from: Option<&(String, String)>, most: usize) -> SweepPage {
        let Some(keeper) = self.keeper.as_ref().filter(|_| most > 0) else {
            return self.tables.sweep(table, sweep, from, most);
        };
        let sweep = Sweep { top: u32::try_from(most).unwrap_or(sweep.top), ..sweep.clone() };
        let from = from.map(|(partition, key)| Continuation(format!("{partition}\n{key}")));
        block_on(keeper.store.sweep(table, &sweep, from.as_ref())).expect("no accident happens in there")
    }

    pub(crate) fn transact(
        &mut self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, Unwritten> {
        let Some(keeper) = &mut self.keeper else { return self.tables.transact(table, partition, operations) };
        match block_on(keeper.store.transact(table, partition, operations)) {
            Ok(tags) => {
                keeper.written.insert((table.to_owned(), partition.to_owned()));
                Ok(tags)
            }
            Err(TransactError::Conflict(_)) => Err(Unwritten::Conflict),
            Err(TransactError::Refused(error)) => Err(Unwritten::Refused(error)),
            Err(TransactError::Unknown(reason)) => panic!("no accident happens in there: {reason}"),
        }
    }

    /// Reads back everything that the store keeps, for the checks.
    pub(crate) fn gather(&mut self) {
        let Some(keeper) = &self.keeper else { return };
        for (table, partition) in &keeper.written {
            let range = Range { partition: partition.clone(), from: String::new(), to: None, top: 1_000 };
            let mut from = None;
            loop {
                let page = block_on(keeper.store.query(table, &range, from.as_ref())).expect("no accident happens");
                for row in page.rows {
                    self.tables.adopt(table, partition, row);
                }
                match page.next {
                    Some(next) => from = Some(next),
                    None => break,
                }
            }
        }
    }
}

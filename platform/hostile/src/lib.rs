//! Hostile input: for each reader of bytes that others write, what must hold whatever the bytes are.
//!
//! A check takes bytes, gives them to the reader through its public interface and panics where a rule is broken: the
//! reader must not panic, its error must be a typed one of bounded length, and nothing may be lost: what is refused is
//! recorded, what is accepted arrives whole. The property tests of this crate run the checks on seeded random input,
//! and `tests/fuzz` on input that a fuzzer makes.

mod commands;
mod draw;
mod events;
mod graphql;
mod memory;
mod payload;
mod rows;
mod tables;
mod tokens;
mod views;

use std::future::Future;

pub use commands::command_envelope;
pub use events::cloud_event;
pub use graphql::graphql_document;
pub use payload::host_payload;
pub use rows::{commit_rows, partition_rows};
pub use tables::{batch_answer, page_answer};
pub use tokens::continuation;
pub use views::view_rows;

/// A check: it panics where a rule is broken.
pub type Check = fn(&[u8]);

/// Every check by its name, which is also its fuzz target's and its corpus's.
pub const CHECKS: [(&str, Check); 10] = [
    ("batch_answer", batch_answer),
    ("cloud_event", cloud_event),
    ("command_envelope", command_envelope),
    ("commit_rows", commit_rows),
    ("continuation", continuation),
    ("graphql_document", graphql_document),
    ("host_payload", host_payload),
    ("page_answer", page_answer),
    ("partition_rows", partition_rows),
    ("view_rows", view_rows),
];

/// The most bytes of an error's text: it goes to a log line and a row of faults.
const MAX_ERROR_BYTES: usize = 8 * 1024;

/// An error names what is wrong without repeating all of it.
#[track_caller]
fn bounded(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty(), "an error without a text");
    let start = || text.chars().take(200).collect::<String>();
    assert!(text.len() <= MAX_ERROR_BYTES, "an error of {} bytes: {}…", text.len(), start());
}

/// Runs what is asynchronous, on this thread alone.
fn run<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

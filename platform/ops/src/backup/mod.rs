//! Backups: commits exported to append blobs, and stores made from them.
//!
//! `{service}/{shard}/{segment}.jsonl` hold the commits, a line each; of each aggregate the lines are its commits in
//! order, so that whatever prefix of the segments there is, each aggregate is a prefix of what it was. A run of the export
//! writes segments of its own. `{service}/{shard}/checkpoint.json` says how far each aggregate is exported up to a place in
//! the segments; what lies behind that place is read again, so that a run that broke off is gone on with.
//! `{service}/restores.jsonl` remembers the epochs that were given to restored stores.

mod export;
mod restore;
mod segments;

pub use export::{Exported, export, run_export};
pub use restore::{Restored, restore, run_restore};

#[cfg(test)]
mod tests;

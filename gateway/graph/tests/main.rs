//! One graph of the real schemas, and of toy ones against an executor of the whole.

mod committed;
mod compose;
mod generated;
mod introspect;
mod merge;
mod reference;
mod split;
mod toy;

//! The tests of the whole: the rules of the architecture, and the system as it runs.

mod architecture;
mod deploy;
mod graph;
mod interleavings;
mod kills;
mod live;
mod operators;
mod orders;
mod pipelines;
mod privacy;
mod totals;

//! The inventory: how many units of each SKU there are, and for which orders they are held.
//!
//! One module an aggregate, always in the same order: events, state and fold, commands and decisions. [`reservation`]
//! is a process manager: it reserves every SKU of an order, and lets the order be confirmed or backordered. [`views`]
//! folds what is published, [`reactions`] turns orders and returns into commands.

pub mod reactions;
pub mod reservation;
pub mod stock;
pub mod views;

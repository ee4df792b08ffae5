//! Orders and returns: what a shop's customers ask for and send back.
//!
//! One module an aggregate, always in the same order: events, state and fold, commands and decisions. [`views`] folds
//! what is published, [`reactions`] turns the inventory's answers into commands. [`erasure`] is the end of a customer's personal
//! data.

pub mod customer;
pub mod erasure;
pub mod line;
pub mod order;
pub mod reactions;
pub mod returns;
pub mod views;

//! Orders and returns: what a shop's customers ask for and send back.
//!
//! One module an aggregate, always in the same order: events, state and fold, commands and decisions. [`views`] folds
//! what is published, [`reactions`] turns the inventory's answers into commands.

pub mod customer;
pub mod line;
pub mod order;
pub mod reactions;
pub mod returns;
pub mod views;

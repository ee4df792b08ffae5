//! The router in front of services that answer as they are told.

mod documents;
mod process;
mod requests;
mod scripted;

//! The router in front of services that answer as they are told.

mod process;
mod requests;
mod scripted;

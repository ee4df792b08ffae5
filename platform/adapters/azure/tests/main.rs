//! The Azure adapter: against Azurite, against a transport that answers by script, and against servers that break off.

mod azurite;
mod breaking;
mod identity;
mod key_vault;
mod scripted;
mod sending;
mod signalr;
mod tables;

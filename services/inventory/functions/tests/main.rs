//! The inventory service's two apps as the functions host and the gateway meet them.

mod access;
mod flow;
mod service;
mod statements;

//! The orders service's two apps as the functions host and the gateway meet them.

mod access;
mod flow;
mod live;
mod process;
mod service;
mod statements;

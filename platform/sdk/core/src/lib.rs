//! The core of Skein: what a bounded context is written in, and the machinery that makes it durable.
//!
//! Two kinds of code live here, and neither does I/O:
//!
//! - the vocabulary of a service: [`Aggregate`], [`Handle`], [`Decision`], [`Command`], integration events
//!   ([`Contract`]), [`Projection`], [`Reaction`];
//! - the engine that runs them over [`ports`]: the [`store`] (one partition per aggregate in a table store),
//!   the [`handler`] of commands and the [`views`] engine.
//!
//! The engine knows no runtime: time and waiting come from [`ports::Clock`], so that a simulator can own both.

mod aggregate;
pub mod blob;
mod cloud_event;
mod delivery;
mod envelope;
mod fault;
pub mod handler;
mod id;
pub mod personal;
pub mod ports;
mod projection;
mod reaction;
pub mod republish;
pub mod store;
pub mod submit;
pub mod table;
pub mod views;

pub use aggregate::{
    Aggregate, Command, Context, Decision, DecodeError, DomainEvent, Handle, Never, Outgoing, Publication, Rejection,
};
pub use cloud_event::{CloudEvent, CloudEventError, Contract, ContractSet, MAX_EVENT_BYTES};
pub use envelope::{Envelope, EnvelopeError, MAX_COMMAND_BYTES, Trace};
pub use fault::{Fault, FaultKind};
pub use id::{AggregateId, CommandId, IdError, MAX_KEY_CHARS, Principal, decode_key, encode_key};
pub use personal::Personal;
pub use projection::{Partitioning, Projection, Source, TopList, Touch};
pub use reaction::Reaction;

/// What the macros expand to. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use serde_json::Error as JsonError;
    pub use serde_json::value::{RawValue, to_raw_value};

    use crate::DecodeError;

    pub fn decode_version<T: serde::de::DeserializeOwned>(
        name: &str,
        version: u32,
        known: u32,
        payload: &RawValue,
    ) -> Result<T, DecodeError> {
        crate::aggregate::decode_version(name, version, known, payload)
    }
}

//! Reactions: integration events that become commands.

use crate::aggregate::Outgoing;
use crate::cloud_event::ContractSet;
use crate::projection::Source;

/// Turns integration events into commands to the service's own aggregates, process managers among them.
///
/// The commands carry the event's id, so that an event delivered twice is one command. They are sent before the
/// event is settled.
pub trait Reaction: Send + Sync + 'static {
    /// The consumer's name, unique within the service: part of its cursors' keys.
    const NAME: &'static str;
    /// The contracts it reads.
    type Event: ContractSet;

    /// The commands that the event asks for. Two to the same aggregate keep their order.
    ///
    /// # Errors
    /// Nothing but an event that names no valid aggregate; it is a permanent fault.
    fn react(event: &Self::Event, source: &Source) -> Result<Vec<Outgoing>, crate::IdError>;
}

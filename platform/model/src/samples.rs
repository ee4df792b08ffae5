//! A tiny domain for the tests: a desk that opens tickets.

use serde::{Deserialize, Serialize};
use skein_core::{Contract, IdError, Outgoing, Partitioning, Projection, Reaction, Source, Touch};

/// Somebody opened a ticket.
#[derive(Serialize, Deserialize)]
pub struct TicketOpened {}

impl Contract for TicketOpened {
    const TYPE: &'static str = "desk.TicketOpened";
    const CATEGORY: &'static str = "ticket";
}

skein_core::contracts! {
    /// What the desk reads.
    pub enum Read { Opened(TicketOpened) }
}

/// Tickets by id.
pub struct Tickets;

impl Projection for Tickets {
    const NAME: &'static str = "tickets";
    const TABLE: &'static str = "tickets";
    const PARTITIONING: Partitioning = Partitioning::OneSource;
    type Event = Read;
    type Row = ();

    fn touches(_: &Read, source: &Source) -> Vec<Touch> {
        vec![Touch::new(source.aggregate.id(), "ticket")]
    }

    fn apply(_: Option<()>, _: &Read, _: &Touch, _: &Source) -> Option<()> {
        Some(())
    }
}

/// Greets who opens a ticket.
pub struct Greet;

impl Reaction for Greet {
    const NAME: &'static str = "greet";
    type Event = Read;

    fn react(_: &Read, _: &Source) -> Result<Vec<Outgoing>, IdError> {
        Ok(Vec::new())
    }
}

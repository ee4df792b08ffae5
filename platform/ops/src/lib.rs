//! What operators do with a running system: look at events and dead letters, replay, rebuild views, publish again, back
//! up and restore.
//!
//! Everything goes through the same data planes, adapters and rows that the services use; no service is linked. An
//! operator signs in as a principal of their own: locally with tokens of the local issuer, on Azure with the Azure CLI.

pub mod backup;
pub mod dlq;
pub mod events;
pub mod flags;
pub mod operator;
pub mod places;
pub mod rebuild;
pub mod republish;

/// What a command came to: the exit status says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All that was asked for: 0.
    Fully,
    /// What was asked for is not there: 3.
    Nothing,
    /// Something was refused and left as it is: 4.
    Partly,
    /// Somebody pressed Ctrl-C; what was begun goes on, and can be followed again: 130.
    Left,
}

impl Done {
    /// The exit status.
    pub fn code(self) -> u8 {
        match self {
            Done::Fully => 0,
            Done::Nothing => 3,
            Done::Partly => 4,
            Done::Left => 130,
        }
    }
}

//! Faults: why an invocation failed, as opposed to a domain's rejection, which is an outcome.

use std::fmt;

use crate::ports::{SendError, TableError, TransactError, VaultError};

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Storage, queue or topic away or throttling, conflicts beyond the bound, a version newer than this code: the
    /// same message may succeed later. The handler waits before it answers.
    Transient,
    /// The same message fails again: malformed, too large, corrupt. The handler answers at once, so that the message
    /// reaches the dead-letter queue.
    Permanent,
}

/// Why an invocation failed.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Whether trying again can help.
    pub kind: FaultKind,
    /// A stable code in capitals, for logs, the `faults` row and GraphQL's `extensions.code`.
    pub code: &'static str,
    /// What happened, where, and what to do.
    pub message: String,
}

impl Fault {
    /// A fault that may pass.
    pub fn transient(code: &'static str, message: impl fmt::Display) -> Self {
        Fault { kind: FaultKind::Transient, code, message: message.to_string() }
    }

    /// A fault that stays.
    pub fn permanent(code: &'static str, message: impl fmt::Display) -> Self {
        Fault { kind: FaultKind::Permanent, code, message: message.to_string() }
    }

    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        self.kind == FaultKind::Transient
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Self {
        match &error {
            TableError::Unavailable(_) => Fault::transient("STORE_UNAVAILABLE", error),
            // A role assignment takes minutes to spread: denied may pass.
            TableError::Denied(_) => Fault::transient("STORE_DENIED", error),
            TableError::Refused(_) => Fault::permanent("STORE_REFUSED", error),
            TableError::Malformed(_) => Fault::transient("STORE_MALFORMED", error),
        }
    }
}

impl From<TransactError> for Fault {
    fn from(error: TransactError) -> Self {
        match error {
            TransactError::Refused(inner) => inner.into(),
            TransactError::Conflict(_) => Fault::transient("STORE_CONFLICT", error),
            TransactError::Unknown(_) => Fault::transient("STORE_OUTCOME_UNKNOWN", error),
        }
    }
}

impl From<SendError> for Fault {
    fn from(error: SendError) -> Self {
        match &error {
            SendError::Unavailable { .. } => Fault::transient("SEND_UNAVAILABLE", error),
            SendError::Denied { .. } => Fault::transient("SEND_DENIED", error),
            SendError::Refused { .. } => Fault::permanent("SEND_REFUSED", error),
        }
    }
}

impl From<VaultError> for Fault {
    fn from(error: VaultError) -> Self {
        match &error {
            VaultError::Unavailable(_) => Fault::transient("VAULT_UNAVAILABLE", error),
            VaultError::Denied(_) => Fault::transient("VAULT_DENIED", error),
            VaultError::Refused(_) => Fault::permanent("VAULT_REFUSED", error),
        }
    }
}

//! Customers: who may act for whom.

use skein_core::{Principal, Rejection};

/// The role of those who may act for every customer.
pub const OPERATOR: &str = "operator";
/// The role of those who may act for themselves.
pub const CUSTOMER: &str = "customer";

/// The most characters of a customer's id.
pub const MAX_ID_CHARS: usize = 64;

/// Why an order or return cannot be taken for a customer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomerError {
    /// Somebody acts for another, or a customer without giving its own id.
    #[error("you may act for yourself only")]
    Forbidden,
    /// An id that is empty or too long.
    #[error("a customer's id has 1 to {MAX_ID_CHARS} characters; leave it out for a guest")]
    InvalidId,
}

impl Rejection for CustomerError {
    fn code(&self) -> &'static str {
        match self {
            CustomerError::Forbidden => "FORBIDDEN_CUSTOMER",
            CustomerError::InvalidId => "INVALID_CUSTOMER",
        }
    }
}

/// Whether the principal may act for the customer: operators and the services themselves for everybody and for guests,
/// a customer for itself, nobody else for anybody.
pub fn may_act_for(principal: &Principal, customer: Option<&str>) -> bool {
    principal.has(OPERATOR)
        || principal.has(Principal::SERVICE_ROLE)
        || (principal.has(CUSTOMER) && customer == Some(principal.subject.as_str()))
}

/// Checks for whom something is ordered or sent back.
///
/// # Errors
/// A malformed id, or a principal that may not act for this customer.
pub fn check(principal: &Principal, customer: Option<&str>) -> Result<(), CustomerError> {
    if let Some(id) = customer
        && (id.trim().is_empty() || id.chars().count() > MAX_ID_CHARS)
    {
        return Err(CustomerError::InvalidId);
    }
    if may_act_for(principal, customer) { Ok(()) } else { Err(CustomerError::Forbidden) }
}

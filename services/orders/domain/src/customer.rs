//! Customers: who may act for whom.

use orders_contract::Contact;
use skein_core::{Principal, Rejection};

/// The role of those who may act for every customer.
pub const OPERATOR: &str = "operator";
/// The role of those who may act for themselves.
pub const CUSTOMER: &str = "customer";

/// The most characters of a customer's id.
pub const MAX_ID_CHARS: usize = 64;

/// The most characters of a contact's name.
pub const MAX_NAME_CHARS: usize = 100;
/// The most characters of a contact's mailbox (RFC 5321).
pub const MAX_EMAIL_CHARS: usize = 254;

/// Why a contact is none. The text shows nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    /// Neither name nor mailbox.
    #[error("a contact has a name or an email, or both")]
    Empty,
    /// A name that is empty or too long.
    #[error("a contact's name has 1 to {MAX_NAME_CHARS} characters")]
    Name,
    /// A text that is no mailbox.
    #[error("a contact's email has the form name@host and at most {MAX_EMAIL_CHARS} characters")]
    Email,
}

/// Checks a contact before it is sealed: nothing can afterwards.
///
/// # Errors
/// What is wrong with it.
pub fn check_contact(Contact { name, email }: &Contact) -> Result<(), ContactError> {
    if name.is_none() && email.is_none() {
        return Err(ContactError::Empty);
    }
    if name.as_ref().is_some_and(|name| name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS) {
        return Err(ContactError::Name);
    }
    let mailbox = |email: &String| {
        let parts = email.split_once('@');
        parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
            && email.chars().count() <= MAX_EMAIL_CHARS
            && !email.chars().any(|letter| letter.is_whitespace() || letter.is_control())
    };
    if email.as_ref().is_some_and(|email| !mailbox(email)) { Err(ContactError::Email) } else { Ok(()) }
}

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

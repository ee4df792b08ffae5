//! Customers who are to be forgotten.
//!
//! What a customer said of itself is sealed with its own key wherever it lies. Erasing deletes that key, and tells the
//! world so; orders stay, as the books need them, with a contact that nobody can read.

use orders_contract::CustomerErased;
use serde::{Deserialize, Serialize};
use skein_core::{Aggregate, Command, Context, Decision, Handle, Principal, Publication, Rejection};

use crate::customer::OPERATOR;

// Events ----------------------------------------------------------------------------------------------------------

/// The customer's key was deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    /// The customer.
    pub customer_id: String,
}

skein_core::events! {
    /// What happens to a customer.
    pub enum CustomerEvent {
        Erased(Erased) = ("CustomerErased", 1),
    }
}

// State and fold --------------------------------------------------------------------------------------------------

/// A customer. Nothing is decided on it: one that comes back after an erasure may be erased again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Customer {}

impl Aggregate for Customer {
    const CATEGORY: &'static str = "customer";
    type Event = CustomerEvent;

    fn evolve(&mut self, _: &CustomerEvent) {}

    fn publish(&self, CustomerEvent::Erased(Erased { customer_id }): &CustomerEvent) -> Option<Publication> {
        Some(Publication::of(&CustomerErased { customer_id: customer_id.clone() }))
    }
}

// Commands and decisions ------------------------------------------------------------------------------------------

/// Erases the customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EraseCustomer {}

impl Command for EraseCustomer {
    const TYPE: &'static str = "EraseCustomer";
}

/// The customer that was erased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EraseCustomerReply {
    /// The customer.
    pub customer_id: String,
}

/// Only operators erase: they have checked who asks, and what the law lets them keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("only an operator may erase a customer")]
pub struct NotAnOperator;

impl Rejection for NotAnOperator {
    fn code(&self) -> &'static str {
        "FORBIDDEN_CUSTOMER"
    }
}

impl Handle<EraseCustomer> for Customer {
    type Error = NotAnOperator;
    type Reply = EraseCustomerReply;

    fn decide(&self, _: &EraseCustomer, cx: &Context) -> Result<Decision<Self, EraseCustomerReply>, NotAnOperator> {
        if !cx.principal.has(OPERATOR) && !cx.principal.has(Principal::SERVICE_ROLE) {
            return Err(NotAnOperator);
        }
        let customer_id = cx.aggregate.id().to_owned();
        let reply = EraseCustomerReply { customer_id: customer_id.clone() };
        Ok(Decision::reply(reply).erase(&customer_id).event(Erased { customer_id }))
    }
}

//! Erasures: who may ask for one, and what a contact may be.

use orders_contract::{Contact, CustomerErased};
use orders_domain::customer::{ContactError, check_contact};
use orders_domain::erasure::{Customer, EraseCustomer, EraseCustomerReply, Erased};
use skein_core::Principal;
use skein_testing::scenario::given;

fn erased() -> Erased {
    Erased { customer_id: "17850".into() }
}

#[test]
fn an_operator_erases_a_customer_as_often_as_it_comes_back() {
    for past in [vec![], vec![erased().into()]] {
        given::<Customer>(past)
            .of("17850")
            .by(Principal::new("olga", ["operator"]))
            .when(EraseCustomer {})
            .then([erased().into()])
            .then_erased(["17850"])
            .then_reply(EraseCustomerReply { customer_id: "17850".into() })
            .then_published_only(CustomerErased { customer_id: "17850".into() })
            .then_sent([]);
    }
}

#[test]
fn nobody_else_does() {
    for principal in [Principal::new("17850", ["customer"]), Principal::new("17850", [])] {
        given::<Customer>([]).of("17850").by(principal).when(EraseCustomer {}).then_rejected("FORBIDDEN_CUSTOMER");
    }
}

#[test]
fn a_contact_has_a_name_or_a_mailbox() {
    let check = |name: Option<&str>, email: Option<&str>| {
        check_contact(&Contact { name: name.map(Into::into), email: email.map(Into::into) })
    };
    assert_eq!(check(Some("Ann"), Some("ann@example.com")), Ok(()));
    assert_eq!(check(None, Some("a@b")), Ok(()));
    assert_eq!(check(Some(&"é".repeat(100)), None), Ok(()));
    assert_eq!(check(None, None), Err(ContactError::Empty));
    for name in ["", "  ", &"x".repeat(101)] {
        assert_eq!(check(Some(name), None), Err(ContactError::Name), "{name:?}");
    }
    for email in ["", "ann", "@example.com", "ann@", "a@b@c", "a b@c", "a\n@b", &format!("{}@b", "x".repeat(253))] {
        assert_eq!(check(None, Some(email)), Err(ContactError::Email), "{email:?}");
    }
}

//! Returns: given what happened, when somebody asks, then.

use orders_contract::ReturnRecorded;
use orders_domain::returns::{RecordReturn, RecordReturnReply, Recorded, Return, ReturnEvent};
use skein_core::Principal;
use skein_testing::scenario::given;

use crate::{PLACED_AT, lines, money};

fn record() -> RecordReturn {
    RecordReturn { customer_id: Some("17850".into()), returned_at: Some(PLACED_AT), lines: lines() }
}

fn recorded() -> ReturnEvent {
    Recorded {
        return_id: "C536379".into(),
        customer_id: Some("17850".into()),
        returned_at: PLACED_AT,
        lines: lines(),
        total: money("35.64"),
    }
    .into()
}

#[test]
fn a_return_is_recorded() {
    given::<Return>([])
        .of("C536379")
        .when(record())
        .then([recorded()])
        .then_reply(RecordReturnReply { return_id: "C536379".into(), total: money("35.64") })
        .then_published_only(ReturnRecorded {
            return_id: "C536379".into(),
            customer_id: Some("17850".into()),
            returned_at: PLACED_AT,
            lines: lines().into_iter().map(Into::into).collect(),
            total: money("35.64"),
        })
        .then_sent([]);
}

#[test]
fn a_return_is_recorded_once() {
    given::<Return>([recorded()]).when(record()).then_rejected("RETURN_ALREADY_RECORDED");
}

#[test]
fn a_return_keeps_the_rules() {
    let other = Principal::new("13047", ["customer"]);
    given::<Return>([]).by(other).when(record()).then_rejected("FORBIDDEN_CUSTOMER");
    given::<Return>([]).when(RecordReturn { lines: vec![], ..record() }).then_rejected("NO_LINES");
    given::<Return>([])
        .of("C1")
        .when(RecordReturn { customer_id: None, ..record() })
        .then_published::<ReturnRecorded>();
}

//! Who may do what. A row is a request; the columns are what an operator, the customer ann, the customer bob and
//! somebody without a role get.

use expect_test::{Expect, expect};
use serde_json::Value;
use skein::core::Principal;

use crate::service::{customer, operator, service};

/// What came back, in a word: the value, or the error's code.
fn word(response: &Value) -> String {
    if let Some(code) = response["errors"][0]["extensions"]["code"].as_str() {
        return code.to_owned();
    }
    let value = response["data"].as_object().and_then(|data| data.values().next()).cloned().unwrap_or_default();
    let outcome = &value["outcome"];
    let status = outcome["status"].as_str().or(value["status"].as_str());
    match (value.is_null(), status, outcome["rejection"]["code"].as_str()) {
        (true, ..) => "null".to_owned(),
        (_, _, Some(code)) => code.to_owned(),
        (_, Some(status), _) => status.to_owned(),
        _ => "data".to_owned(),
    }
}

async fn check(requests: &[&str], expect: Expect) {
    let nobody = Principal::new("ann", []);
    let strangers = Principal::new("ann", ["service-desk", "Operator"]);
    let mut table = String::new();
    for request in requests {
        let mut words = Vec::new();
        for principal in [operator(), customer("ann"), customer("bob"), nobody.clone(), strangers.clone()] {
            // Each asks a service of its own, in which ann has one order.
            let service = service().await;
            let order = place("ann", "1").replace("COMMAND", "k1");
            service.graphql(&customer("ann"), &order).await;
            service.settle().await;
            let request = request.replace("COMMAND", "k2");
            let first = service.graphql(&principal, &request).await;
            service.settle().await;
            // A mutation is sent again: its outcome is known by now.
            let last =
                if request.starts_with("mutation") { service.graphql(&principal, &request).await } else { first };
            words.push(word(&last));
        }
        let name = request.split_once("input: ").map_or(*request, |(_, input)| input);
        let name: String = name.split(" commandId: \"COMMAND\"").next().unwrap_or_default().chars().take(72).collect();
        table.push_str(&format!("{name:<72} | {}\n", words.join(" | ")));
    }
    expect.assert_eq(&table);
}

fn place(customer: &str, order: &str) -> String {
    let customer = if customer.is_empty() { String::new() } else { format!("customerId: \"{customer}\", ") };
    format!(
        "mutation {{ placeOrder(input: {{orderId: \"{order}\", {customer}lines: [{{sku: \"A\", quantity: 1, \
         unitPrice: \"2.50\"}}]}} commandId: \"COMMAND\") {{ outcome {{ status rejection {{ code }} }} }} }}"
    )
}

fn give_back(customer: &str) -> String {
    place(customer, "r").replace("placeOrder", "recordReturn").replace("orderId", "returnId")
}

const CANCEL: &str = "mutation { cancelOrder(input: {orderId: \"1\", reason: \"changed my mind\"} commandId: \"COMMAND\") \
                      { outcome { status rejection { code } } } }";

const ERASE: &str = "mutation { eraseCustomer(customerId: \"ann\" commandId: \"COMMAND\") \
                     { outcome { status rejection { code } } } }";

#[tokio::test]
async fn customers_act_for_themselves_and_operators_for_everybody() {
    check(
        &[
            &place("ann", "2"),
            &place("bob", "2"),
            &place("", "2"),
            &give_back("ann"),
            &give_back(""),
            CANCEL,
            ERASE,
            "{ order(id: \"1\") { id } }",
            "{ order(id: \"1\") { contact { email } } }",
            "{ order(id: \"unknown\") { id } }",
            "{ customerOrders(customerId: \"ann\") { edges { node { id } } } }",
            "{ customerTotals(customerId: \"ann\") { orders } }",
            "{ customerTotals(customerId: \"unknown\") { orders } }",
            "{ commandStatus(aggregateId: \"1\", commandId: \"k1\") { status } }",
        ],
        expect![[r#"
            {orderId: "2", customerId: "ann", lines: [{sku: "A", quantity: 1, unitPr | COMMITTED | COMMITTED | FORBIDDEN | FORBIDDEN | FORBIDDEN
            {orderId: "2", customerId: "bob", lines: [{sku: "A", quantity: 1, unitPr | COMMITTED | FORBIDDEN | COMMITTED | FORBIDDEN | FORBIDDEN
            {orderId: "2", lines: [{sku: "A", quantity: 1, unitPrice: "2.50"}]}      | COMMITTED | FORBIDDEN | FORBIDDEN | FORBIDDEN | FORBIDDEN
            {returnId: "r", customerId: "ann", lines: [{sku: "A", quantity: 1, unitP | COMMITTED | COMMITTED | FORBIDDEN | FORBIDDEN | FORBIDDEN
            {returnId: "r", lines: [{sku: "A", quantity: 1, unitPrice: "2.50"}]}     | COMMITTED | FORBIDDEN | FORBIDDEN | FORBIDDEN | FORBIDDEN
            {orderId: "1", reason: "changed my mind"}                                | COMMITTED | COMMITTED | ORDER_NOT_FOUND | FORBIDDEN | FORBIDDEN
            mutation { eraseCustomer(customerId: "ann"                               | COMMITTED | FORBIDDEN | FORBIDDEN | FORBIDDEN | FORBIDDEN
            { order(id: "1") { id } }                                                | data | data | null | FORBIDDEN | FORBIDDEN
            { order(id: "1") { contact { email } } }                                 | data | data | null | FORBIDDEN | FORBIDDEN
            { order(id: "unknown") { id } }                                          | null | null | null | FORBIDDEN | FORBIDDEN
            { customerOrders(customerId: "ann") { edges { node { id } } } }          | data | data | FORBIDDEN | FORBIDDEN | FORBIDDEN
            { customerTotals(customerId: "ann") { orders } }                         | data | data | FORBIDDEN | FORBIDDEN | FORBIDDEN
            { customerTotals(customerId: "unknown") { orders } }                     | data | FORBIDDEN | FORBIDDEN | FORBIDDEN | FORBIDDEN
            { commandStatus(aggregateId: "1", commandId: "k1") { status } }          | PENDING | COMMITTED | PENDING | FORBIDDEN | FORBIDDEN
        "#]],
    )
    .await;
}

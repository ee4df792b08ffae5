//! Stock from mutation to query.

use serde_json::{Value, json};
use skein_testing::functions_host::Service;

use crate::service::{operator, service};

async fn stock(service: &Service, sku: &str) -> Value {
    let query = format!("{{ stock(sku: \"{sku}\") {{ sku available reserved sold }} }}");
    service.graphql(&operator(), &query).await["data"]["stock"].clone()
}

#[tokio::test]
async fn what_is_received_and_adjusted_is_available() {
    let service = service().await;
    for mutation in [
        r#"mutation { receiveStock(input: {sku: "85123A", quantity: 10}, commandId: "a") { commandId } }"#,
        r#"mutation { receiveStock(input: {sku: "85123a", quantity: 3}, commandId: "b") { commandId } }"#,
        r#"mutation { receiveStock(input: {sku: "BANK CHARGES", quantity: 5}, commandId: "c") { commandId } }"#,
        r#"mutation { adjustStock(input: {sku: "85123A", quantity: -4, reason: "broken"}, commandId: "d") { commandId } }"#,
        r#"mutation { adjustStock(input: {sku: "85123a", quantity: -4, reason: "broken"}, commandId: "e") { commandId } }"#,
    ] {
        let answer = service.graphql(&operator(), mutation).await;
        assert!(answer["errors"].is_null(), "{answer}");
        service.settle().await;
    }
    let levels = |sku: &str, available: u32| json!({"sku": sku, "available": available, "reserved": 0, "sold": 0});
    assert_eq!(stock(&service, "85123A").await, levels("85123A", 6));
    assert_eq!(stock(&service, "85123a").await, levels("85123a", 3), "the case counts");
    assert_eq!(stock(&service, "BANK CHARGES").await, levels("BANK CHARGES", 5));
    assert_eq!(stock(&service, "unheard of").await, Value::Null);

    let status = async |sku: &str, command: &str| {
        let query = format!(
            "{{ commandStatus(aggregateId: \"{sku}\", commandId: \"{command}\") {{ status version reply \
             rejection {{ code }} }} }}"
        );
        service.graphql(&operator(), &query).await["data"]["commandStatus"].clone()
    };
    let received = status("BANK CHARGES", "c").await;
    assert_eq!(received["status"], "COMMITTED", "{received}");
    let refused = status("85123a", "e").await;
    assert_eq!((&refused["status"], &refused["rejection"]["code"]), (&json!("REJECTED"), &json!("INSUFFICIENT_STOCK")));
}

#[tokio::test]
async fn a_mutation_sent_again_answers_with_its_reply() {
    let service = service().await;
    let mutation = r#"mutation { receiveStock(input: {sku: "A", quantity: 10}, commandId: "k", await: COMMITTED)
        { aggregateId outcome { status version reply { sku available reserved sold } } } }"#;
    let pending = service.graphql(&operator(), mutation).await;
    assert_eq!(pending["data"]["receiveStock"]["outcome"]["status"], "PENDING", "nobody has handled it: {pending}");
    service.settle().await;
    let committed = service.graphql(&operator(), mutation).await;
    assert_eq!(
        committed["data"]["receiveStock"],
        json!({
            "aggregateId": "A",
            "outcome": {
                "status": "COMMITTED",
                "version": 1,
                "reply": {"sku": "A", "available": 10, "reserved": 0, "sold": 0}
            }
        }),
        "{committed}"
    );
    let reused = service.graphql(&operator(), &mutation.replace("10", "11")).await;
    assert_eq!(reused["errors"][0]["extensions"]["code"], "COMMAND_ID_REUSED", "{reused}");
    service.settle().await;
    assert_eq!(stock(&service, "A").await["available"], 10);
}

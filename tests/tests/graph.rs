//! One graph of all services: `/graphql` of the running system.

use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::deployment::Target;
use skein_tests::system::{System, until};

/// How long a view may take to show an event.
const SHOWN: Duration = Duration::from_secs(60);

const CUSTOMER: &str = "20001";

const ORDER_AND_STOCK: &str = r#"query ($sku: String!) {
    mine: order(id: "g-1") { id status customerId } stock(sku: $sku) { sku available } other: order(id: "g-2") { id }
}"#;

fn codes(answer: &Value) -> Vec<(&Value, &Value)> {
    let errors = answer["errors"].as_array().into_iter().flatten();
    errors.map(|error| (&error["path"], &error["extensions"]["code"])).collect()
}

#[test]
fn two_services_answer_as_one_and_nobody_sees_more() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::up(folder.path(), &["--fresh"]).unwrap();
    let operator = system.token("operator", None).unwrap();
    let customer = system.token("customer", Some(CUSTOMER)).unwrap();
    let graph = format!("{}/graphql", system.url());
    let ask = |token: &str, query: &str, variables: Value| system.ask(&graph, Some(token), query, variables).unwrap();

    // Mutations, one service each: one by an operator, one by a customer.
    let receive = r#"mutation { receiveStock(input: {sku: "ROUTED", quantity: 5}, commandId: "g", await: COMMITTED)
        { outcome { status } } }"#;
    let (status, received) = ask(&operator, receive, json!({}));
    assert_eq!(
        (status, &received["data"]["receiveStock"]["outcome"]["status"]),
        (200, &json!("COMMITTED")),
        "{received}"
    );
    for (order, customer_id, token) in [("g-1", CUSTOMER, &customer), ("g-2", "20002", &operator)] {
        let place = "mutation ($input: PlaceOrderInput!) { placeOrder(input: $input, await: COMMITTED) { outcome { status } } }";
        let input = json!({
            "orderId": order, "customerId": customer_id, "country": "EIRE",
            "lines": [{"sku": "ROUTED", "description": "d", "quantity": 1, "unitPrice": "2.50"}],
        });
        let (status, placed) = ask(token, place, json!({"input": input}));
        assert_eq!(
            (status, &placed["data"]["placeOrder"]["outcome"]["status"]),
            (200, &json!("COMMITTED")),
            "{placed}"
        );
    }

    // A query over both, in one response, in the order of the document.
    let answered = until(SHOWN, || {
        let (status, answer) = ask(&operator, ORDER_AND_STOCK, json!({"sku": "ROUTED"}));
        let shown = answer["data"]["mine"]["status"] == "CONFIRMED"
            && answer["data"]["stock"]["available"] == 3
            && answer["data"]["other"]["id"] == "g-2";
        (status == 200 && shown && answer["errors"].is_null()).then_some(answer)
    });
    let answered =
        answered.unwrap_or_else(|| panic!("{:?}", ask(&operator, ORDER_AND_STOCK, json!({"sku": "ROUTED"}))));
    assert_eq!(answered["data"]["mine"], json!({"id": "g-1", "status": "CONFIRMED", "customerId": CUSTOMER}));

    // The two services' answers to a customer are theirs, whichever way it asks.
    let (status, routed) = ask(&customer, ORDER_AND_STOCK, json!({"sku": "ROUTED"}));
    assert_eq!(status, 200);
    assert_eq!(routed["data"]["mine"]["id"], "g-1", "{routed}");
    let orders = r#"{ mine: order(id: "g-1") { id status customerId } other: order(id: "g-2") { id } }"#;
    let (_, of_orders) = system.post("orders", Some(&customer), orders, json!({})).unwrap();
    let stock = r#"{ stock(sku: "ROUTED") { sku available } }"#;
    let (_, of_stock) = system.post("inventory", Some(&customer), stock, json!({})).unwrap();
    for (key, direct) in [("mine", &of_orders), ("other", &of_orders), ("stock", &of_stock)] {
        assert_eq!(routed["data"][key], direct["data"][key], "{routed} and {direct}");
    }
    let direct: Vec<_> = codes(&of_orders).into_iter().chain(codes(&of_stock)).collect();
    assert_eq!(codes(&routed), direct, "{routed}");
    assert!(codes(&routed).iter().any(|(_, code)| *code == "FORBIDDEN"), "{routed}");

    // There is no mutation over two services, and nothing without a token.
    let both = r#"mutation { receiveStock(input: {sku: "ROUTED", quantity: 5}, commandId: "h") { commandId }
        cancelOrder(input: {orderId: "g-1"}) { commandId } }"#;
    let (status, refused) = ask(&operator, both, json!({}));
    assert_eq!((status, &refused["errors"][0]["extensions"]["code"]), (400, &json!("BAD_REQUEST")), "{refused}");
    assert!(refused["errors"][0]["message"].as_str().unwrap().contains("send two"), "{refused}");
    assert_eq!(system.ask(&graph, None, ORDER_AND_STOCK, json!({"sku": "ROUTED"})).unwrap().0, 401);
    let (_, schema) = ask(&operator, "{ __schema { queryType { fields { name } } } }", json!({}));
    let fields = schema["data"]["__schema"]["queryType"]["fields"].as_array().cloned().unwrap_or_default();
    assert!(["order", "stock"].iter().all(|name| fields.iter().any(|field| field["name"] == *name)), "{schema}");

    // Around the gateway there is no way to it, with or without a client's token.
    let planes = Target::of(folder.path()).unwrap().endpoint;
    let site = system.site("func-gateway-router").unwrap();
    let around = format!("{planes}/sites/{site}/api/graphql");
    for token in [None, Some(operator.as_str())] {
        assert_eq!(system.ask(&around, token, ORDER_AND_STOCK, json!({"sku": "ROUTED"})).unwrap().0, 401);
    }

    // A service that is gone leaves its part, and its part alone.
    system.end("func-inventory-query").unwrap();
    let (status, without) = ask(&operator, ORDER_AND_STOCK, json!({"sku": "ROUTED"}));
    assert_eq!(status, 200, "{without}");
    assert_eq!((&without["data"]["mine"]["id"], &without["data"]["stock"]), (&json!("g-1"), &Value::Null), "{without}");
    assert_eq!(codes(&without), [(&json!(["stock"]), &json!("UNAVAILABLE"))], "{without}");
    assert!(without["errors"][0]["extensions"]["traceId"].as_str().is_some_and(|id| id.len() == 32), "{without}");
}

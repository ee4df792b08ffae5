//! Orders and returns from mutation to query, the inventory's answers included.

use bytes::Bytes;
use serde_json::{Value, json};
use skein::core::CloudEvent;
use skein::core::ports::CommandQueue as _;

use crate::service::{customer, operator, service};

/// The inventory's answer to an order, as its topic would deliver it.
pub fn answered(order: &str) -> Bytes {
    let event = json!({
        "specversion": "1.0",
        "id": format!("completed-{order}:0"),
        "source": "/services/inventory",
        "type": "inventory.ReservationCompleted.v1",
        "subject": format!("reservation:{order}"),
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "sequence": CloudEvent::format_sequence(1),
        "epoch": 0,
        "correlationid": "c",
        "causationid": "c",
        "data": {"orderId": order},
    });
    event.to_string().into()
}

#[tokio::test]
async fn an_order_goes_from_mutation_to_query() {
    let service = service().await;
    let ann = customer("ann");
    let placed = service
        .graphql(
            &ann,
            r#"mutation { placeOrder(input: {orderId: "536365", customerId: "ann", country: "United Kingdom",
                placedAt: "2010-12-01T08:26:00Z", lines: [
                {sku: "85123A", description: "WHITE HANGING HEART", quantity: 6, unitPrice: "2.55"},
                {sku: "85123a", quantity: 1, unitPrice: "0"}, {sku: "85123A", quantity: 2, unitPrice: "2.10"}]},
                commandId: "k") { commandId aggregateId correlationId outcome { status } } }"#,
        )
        .await;
    let answer = &placed["data"]["placeOrder"];
    assert_eq!(
        (&answer["aggregateId"], &answer["correlationId"], &answer["outcome"]["status"]),
        (&json!("536365"), &json!("4bf92f3577b34da6a3ce929d0e0e4736"), &json!("PENDING")),
        "{placed}"
    );
    service.settle().await;
    let query = r#"{ order(id: "536365") { id customerId status total placedAt lines { sku quantity unitPrice } } }"#;
    let seen = service.graphql(&ann, query).await;
    assert_eq!(
        seen["data"]["order"],
        json!({
            "id": "536365",
            "customerId": "ann",
            "status": "PLACED",
            "total": "19.50",
            "placedAt": "2010-12-01T08:26:00Z",
            "lines": [
                {"sku": "85123A", "quantity": 6, "unitPrice": "2.55"},
                {"sku": "85123a", "quantity": 1, "unitPrice": "0"},
                {"sku": "85123A", "quantity": 2, "unitPrice": "2.10"},
            ],
        }),
        "{seen}"
    );

    service.publish(answered("536365")).await;
    service.settle().await;
    assert_eq!(service.graphql(&ann, query).await["data"]["order"]["status"], "CONFIRMED");
    let status = |command: &Value| {
        format!("{{ commandStatus(aggregateId: \"536365\", commandId: {command}) {{ status version reply }} }}")
    };
    let told = service.graphql(&ann, &status(&json!("k"))).await;
    assert_eq!(told["data"]["commandStatus"]["status"], "COMMITTED", "{told}");
    let reply: Value = serde_json::from_str(told["data"]["commandStatus"]["reply"].as_str().unwrap()).unwrap();
    assert_eq!((&reply["orderId"], &reply["total"]), (&json!("536365"), &json!("19.50")));
    let told = service.graphql(&operator(), &status(&answer["commandId"])).await;
    assert_eq!(told["data"]["commandStatus"]["status"], "COMMITTED", "{told}");
    let told = service.graphql(&customer("bob"), &status(&answer["commandId"])).await;
    assert_eq!(told["errors"][0]["extensions"]["code"], "NOT_FOUND", "{told}");
}

#[tokio::test]
async fn totals_are_exact_and_lists_are_newest_first() {
    let service = service().await;
    let ann = customer("ann");
    for (order, day, price) in [("a", 1, "0.10"), ("b", 3, "0.20"), ("c", 2, "100.00")] {
        let mutation = format!(
            "mutation {{ placeOrder(input: {{orderId: \"{order}\", customerId: \"ann\", placedAt: \
             \"2010-12-0{day}T08:26:00Z\", lines: [{{sku: \"A\", quantity: 1, unitPrice: \"{price}\"}}]}}) \
             {{ commandId }} }}"
        );
        service.graphql(&ann, &mutation).await;
    }
    service.settle().await;
    let cancelled = service
        .graphql(&ann, r#"mutation { cancelOrder(input: {orderId: "c", reason: "too dear"}) { aggregateId } }"#)
        .await;
    assert_eq!(cancelled["data"]["cancelOrder"]["aggregateId"], "c", "{cancelled}");
    let returned = service
        .graphql(
            &ann,
            r#"mutation { recordReturn(input: {customerId: "ann", lines: [{sku: "A", quantity: 1, unitPrice: "0.05"}]})
                { aggregateId } }"#,
        )
        .await;
    assert!(returned["errors"].is_null(), "{returned}");
    service.settle().await;
    let totals = service.graphql(&ann, r#"{ customerTotals(customerId: "ann") { orders returns revenue } }"#).await;
    assert_eq!(totals["data"]["customerTotals"], json!({"orders": 2, "returns": 1, "revenue": "0.25"}), "{totals}");

    let page = async |after: &str| {
        let query = format!(
            "{{ customerOrders(customerId: \"ann\", first: 2{after}) {{ edges {{ node {{ id status }} }} \
             pageInfo {{ hasNextPage endCursor }} }} }}"
        );
        service.graphql(&ann, &query).await["data"]["customerOrders"].clone()
    };
    let first = page("").await;
    assert_eq!(
        first["edges"],
        json!([{"node": {"id": "b", "status": "PLACED"}}, {"node": {"id": "c", "status": "CANCELLED"}}])
    );
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    let last = page(&format!(", after: {}", first["pageInfo"]["endCursor"])).await;
    assert_eq!(last["edges"], json!([{"node": {"id": "a", "status": "PLACED"}}]));
    assert_eq!(last["pageInfo"]["hasNextPage"], false);
}

#[tokio::test]
async fn the_apps_believe_their_gateway_only() {
    let service = service().await;
    let json = ("content-type", "application/json");
    let principal = ("x-skein-principal", "eyJzdWJqZWN0IjoiYSIsInJvbGVzIjpbIm9wZXJhdG9yIl19");
    let body = r#"{"query":"{ order(id: \"1\") { id } }"}"#;
    for caller in ["", "somebody", "the-query-app"] {
        let headers = [json, principal, ("x-ms-client-principal-id", caller)];
        for app in [service.command, service.query] {
            let answer = app.send("POST", "/api/graphql", &headers, body).await.unwrap();
            assert_eq!(answer.status, 401, "{caller}");
        }
    }
    let gateway = [json, principal, ("x-ms-client-principal-id", "the-gateway")];
    let routed = |kind| [json, principal, ("x-ms-client-principal-id", "the-gateway"), ("x-skein-kind", kind)];
    for (app, kind, status, why) in [
        (service.query, "query", 200, "a query"),
        (service.query, "mutation", 400, "a query that was routed as a mutation"),
        (service.query, "", 400, "nobody said what it is"),
        (service.command, "query", 400, "a query"),
        (service.command, "mutation", 400, "a query that was routed as a mutation"),
    ] {
        assert_eq!(app.send("POST", "/api/graphql", &routed(kind), body).await.unwrap().status, status, "{why}");
    }
    assert_eq!(service.query.send("POST", "/api/graphql", &gateway, body).await.unwrap().status, 400, "no header");
    let text = [("content-type", "text/plain"), principal, ("x-ms-client-principal-id", "the-gateway")];
    assert_eq!(service.query.send("POST", "/api/graphql", &text, body).await.unwrap().status, 415);
    // Outcomes are the query app's alone, whatever the gateway says.
    let outcome = "/api/outcomes/order:1/c";
    assert_eq!(service.command.send("GET", outcome, &gateway, "").await.unwrap().status, 403);
    assert_eq!(service.command.send("GET", outcome, &[json], "").await.unwrap().status, 401);
    let reader = [("x-ms-client-principal-id", "the-query-app")];
    let unknown = service.command.send("GET", outcome, &reader, "").await.unwrap();
    assert_eq!((unknown.status, unknown.body.as_str()), (200, "null"));
    assert_eq!(service.command.send("GET", "/api/outcomes/order/c", &reader, "").await.unwrap().status, 400);
    for app in [service.command, service.query] {
        for probe in ["/api/health/live", "/api/health/ready"] {
            assert_eq!(app.send("GET", probe, &[], "").await.unwrap().status, 200, "{probe}");
        }
    }
}

const PLACE_WITH_CONTACT: &str = r#"mutation { placeOrder(input: {orderId: "ORDER", customerId: "ann",
    contact: {name: "Ann Example", email: "ann@example.com"}, lines: [{sku: "A", quantity: 1, unitPrice: "1"}]},
    commandId: "ORDER") { outcome { status } } }"#;

#[tokio::test]
async fn a_contact_is_shown_until_its_customer_is_erased() {
    let service = service().await;
    let (ann, order) = (customer("ann"), |id: &str| PLACE_WITH_CONTACT.replace("ORDER", id));
    let contact = async |id: &str| {
        let query = format!("{{ order(id: \"{id}\") {{ total contact {{ erased name email }} }} }}");
        let seen = service.graphql(&ann, &query).await;
        assert!(seen["errors"].is_null() && seen["data"]["order"]["total"] == "1", "{seen}");
        seen["data"]["order"]["contact"].clone()
    };
    let readable = json!({"erased": false, "name": "Ann Example", "email": "ann@example.com"});
    let gone = json!({"erased": true, "name": null, "email": null});

    service.graphql(&ann, &order("1")).await;
    for (_, message) in service.queue.take() {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        assert!(body.contains("\"person\":\"ann\"") && !body.contains("xample"), "{body}");
        service.queue.send("orders", &[message]).await.unwrap();
    }
    service.settle().await;
    assert_eq!(contact("1").await, readable);
    // A retry is the same command; another contact under its id is another one.
    let again = service.graphql(&ann, &order("1")).await;
    assert_eq!(again["data"]["placeOrder"]["outcome"]["status"], "COMMITTED", "{again}");
    let other = service.graphql(&ann, &order("1").replace("ann@example.com", "ann@example.org")).await;
    assert_eq!(other["errors"][0]["extensions"]["code"], "COMMAND_ID_REUSED", "{other}");

    let erase = r#"mutation { eraseCustomer(customerId: "ann") { outcome { status } } }"#;
    let erased = service.graphql(&operator(), erase).await;
    assert!(erased["errors"].is_null(), "{erased}");
    service.settle().await;
    assert_eq!(contact("1").await, gone);
    // The order goes on, and so does the customer, with a key of its own.
    service.publish(answered("1")).await;
    service.graphql(&ann, &order("2")).await;
    service.settle().await;
    assert_eq!((contact("1").await, contact("2").await), (gone, readable));
    let status = service.graphql(&ann, r#"{ order(id: "1") { status } }"#).await;
    assert_eq!(status["data"]["order"]["status"], "CONFIRMED", "{status}");
}

#[tokio::test]
async fn a_contact_that_cannot_be_sealed_is_refused_without_being_repeated() {
    let service = service().await;
    let code = async |mutation: String| {
        let answer = service.graphql(&operator(), &mutation).await;
        let error = &answer["errors"][0];
        assert!(!error["message"].to_string().contains("xample"), "{answer}");
        error["extensions"]["code"].clone()
    };
    let order = PLACE_WITH_CONTACT.replace("ORDER", "1");
    assert_eq!(code(order.replace("ann@example.com", "ann at example.com")).await, "BAD_USER_INPUT");
    assert_eq!(code(order.replace("customerId: \"ann\",", "")).await, "BAD_USER_INPUT");
    assert_eq!(code(order.replace("\"ann\"", &format!("\"{}\"", "é".repeat(60)))).await, "BAD_USER_INPUT");
    assert!(service.queue.take().is_empty());
}

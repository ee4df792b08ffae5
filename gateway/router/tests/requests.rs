//! What becomes of requests.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_core::Principal;
use skein_host::{FunctionTrigger, PRINCIPAL_HEADER, PRINCIPAL_ID_HEADER, encode_principal};
use skein_kind::KIND_HEADER;
use skein_model::Trigger;
use skein_router::{BuildError, app, graph};
use tokio::sync::Barrier;

use crate::scripted::{Does, Front, GATEWAY, Services, TRACE, TRACE_ID, ann, settings};

const BOTH: &str = r#"{ order(id: "1") { id } stock(sku: "A") { sku } }"#;

fn answers(data: Value) -> Does {
    Does::Answers(200, json!({"data": data}))
}

#[test]
fn its_graph_is_the_committed_one() {
    assert_eq!(graph().unwrap().sdl(), include_str!("../../graph/schema.graphql"));
}

#[test]
fn its_functions_are_those_of_the_descriptor() {
    let app = app(settings(false), graph().unwrap(), Arc::<Services>::default()).unwrap();
    let described = gateway_infra::gateway(&[]).router;
    let functions: Vec<_> = described.functions.iter().map(|one| (one.name.clone(), one.trigger.clone())).collect();
    assert_eq!(functions.len(), app.functions().len());
    for (name, trigger) in functions {
        let Trigger::Http { methods, route, .. } = trigger else { panic!("{name} is asked over HTTP") };
        assert_eq!(app.functions().get(&name), Some(&FunctionTrigger::Http { methods, route }), "{name}");
    }
}

#[test]
fn it_starts_with_an_address_for_each_app_only() {
    for command in [true, false] {
        let mut settings = settings(false);
        let apps = if command { &mut settings.command_apps } else { &mut settings.query_apps };
        apps.remove("orders");
        let error = app(settings, graph().unwrap(), Arc::<Services>::default()).err().unwrap();
        let BuildError::Nowhere { setting, service } = &error else { panic!("{error}") };
        let expected = if command { "SKEIN_COMMAND_APPS" } else { "SKEIN_QUERY_APPS" };
        assert_eq!((*setting, service.as_str()), (expected, "orders"));
    }
}

#[tokio::test]
async fn a_query_over_two_services_is_one_answer() {
    let front = Front::of(&[
        ("query-orders", answers(json!({"order": {"id": "1"}, "o": {"id": "2"}}))),
        ("query-inventory", answers(json!({"stock": null}))),
    ]);
    let query = r#"query Both($sku: String!, $id: ID!) { stock(sku: $sku) { sku } order(id: "1") { id } o: order(id: $id) { id } t: __typename }"#;
    let (status, media, answer) = front.ask("query", query, json!({"sku": "A", "id": "2", "more": 1})).await;
    assert_eq!((status, media.as_str()), (200, "application/json"));
    let expected = json!({"data": {"stock": null, "order": {"id": "1"}, "o": {"id": "2"}, "t": "Query"}});
    assert_eq!(answer, expected);
    let asked = front.asked();
    assert_eq!(asked.iter().map(|one| one.url.as_str()).collect::<Vec<_>>(), ["query-inventory", "query-orders"]);
    let principal = ann();
    for (question, variables) in asked.iter().zip([json!({"sku": "A"}), json!({"id": "2"})]) {
        let body: Value = serde_json::from_str(&question.body).unwrap();
        assert_eq!((&body["variables"], &body["operationName"]), (&variables, &json!("Both")));
        let mut headers = question.headers.clone();
        headers.sort();
        let expected = [
            ("accept", "application/graphql-response+json"),
            ("content-type", "application/json"),
            ("traceparent", TRACE),
            (KIND_HEADER, "query"),
            (PRINCIPAL_HEADER, principal.as_str()),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }
}

#[tokio::test]
async fn the_services_are_asked_at_the_same_time() {
    let barrier = Arc::new(Barrier::new(2));
    let front = Front::of(&[
        ("query-orders", Does::Meets(barrier.clone(), json!({"data": {"order": null}}))),
        ("query-inventory", Does::Meets(barrier, json!({"data": {"stock": null}}))),
    ]);
    let (status, _, answer) = front.ask("query", BOTH, Value::Null).await;
    assert_eq!((status, answer), (200, json!({"data": {"order": null, "stock": null}})));
}

#[tokio::test]
async fn a_mutation_goes_to_its_services_command_app() {
    let front = Front::of(&[("command-inventory", answers(json!({"receiveStock": {"commandId": "c"}})))]);
    let mutation = r#"mutation { receiveStock(input: {sku: "A", quantity: 1}, commandId: "c") { commandId } }"#;
    let (status, _, answer) = front.ask("mutation", mutation, Value::Null).await;
    assert_eq!((status, answer), (200, json!({"data": {"receiveStock": {"commandId": "c"}}})));
    let asked = front.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].headers.contains(&(KIND_HEADER, "mutation".to_owned())), "{asked:?}");
    assert_eq!(skein_kind::kind_of_body(asked[0].body.as_bytes()), Ok(skein_kind::Kind::Mutation));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_leaves_null_and_an_error_that_says_nothing_of_the_inside() {
    for (does, code) in [
        (Does::IsAway, "UNAVAILABLE"),
        (Does::Hangs, "UNAVAILABLE"),
        (Does::Says(503, "<html>10.1.2.3</html>"), "UNAVAILABLE"),
        (Does::Says(429, ""), "UNAVAILABLE"),
        (Does::Says(401, r#"{"error":{"code":"UNAUTHORIZED"}}"#), "INTERNAL"),
        (Does::Says(400, r#"{"error":{"code":"OPERATION_KIND_MISMATCH"}}"#), "INTERNAL"),
        (Does::Says(404, ""), "INTERNAL"),
        (Does::Says(200, "<html>10.1.2.3</html>"), "INTERNAL"),
        (Does::Says(200, "{}"), "INTERNAL"),
    ] {
        let front = Front::of(&[("query-orders", does), ("query-inventory", answers(json!({"stock": {"sku": "A"}})))]);
        let begun = tokio::time::Instant::now();
        let (status, _, answer) = front.ask("query", BOTH, Value::Null).await;
        assert!(begun.elapsed() < Duration::from_secs(26), "the gateway waits for 30 s");
        assert_eq!(status, 200);
        assert_eq!(answer["data"], json!({"order": null, "stock": {"sku": "A"}}));
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{answer}");
        assert_eq!(errors[0]["path"], json!(["order"]));
        assert_eq!(errors[0]["extensions"], json!({"code": code, "traceId": TRACE_ID}), "{answer}");
        assert!(!answer.to_string().contains("10.1.2.3"), "{answer}");
    }
    // A mutation that may have been taken is worth another try with its id.
    let front = Front::of(&[("command-inventory", Does::Hangs)]);
    let mutation = r#"mutation { receiveStock(input: {sku: "A", quantity: 1}, commandId: "c") { commandId } }"#;
    let (status, _, answer) = front.ask("mutation", mutation, Value::Null).await;
    assert_eq!((status, &answer["data"]), (200, &Value::Null));
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("same commandId"), "{answer}");
    assert_eq!(front.asked().len(), 1, "nothing is sent twice");
}

#[tokio::test]
async fn each_service_keeps_its_errors() {
    let told = |code: &str, path: Value| json!({"message": code, "path": path, "extensions": {"code": code, "traceId": "of-the-service"}});
    let front = Front::of(&[
        (
            "query-orders",
            Does::Answers(200, json!({"data": {"order": null}, "errors": [told("NOT_FOUND", json!(["order"]))]})),
        ),
        (
            "query-inventory",
            Does::Answers(
                400,
                json!({"errors": [{"message": "x", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}),
            ),
        ),
    ]);
    let (status, _, answer) = front.ask("query", BOTH, Value::Null).await;
    assert_eq!((status, &answer["data"]), (200, &json!({"order": null, "stock": null})));
    let codes: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| &error["extensions"]["code"]).collect();
    assert_eq!(codes, ["NOT_FOUND", "GRAPHQL_VALIDATION_FAILED"]);
    assert_eq!(answer["errors"][0]["extensions"]["traceId"], "of-the-service");
}

#[tokio::test]
async fn what_every_service_refuses_is_refused() {
    let refused = || {
        Does::Answers(
            400,
            json!({"data": null, "errors": [{"message": "x", "extensions": {"code": "QUERY_TOO_DEEP"}}]}),
        )
    };
    let front = Front::of(&[("query-orders", refused()), ("query-inventory", refused())]);
    let principal = encode_principal(&Principal::new("ann", ["customer"]));
    for (accept, expected) in [("application/json", 200), ("application/graphql-response+json", 400)] {
        let headers = [
            (PRINCIPAL_ID_HEADER, GATEWAY),
            (PRINCIPAL_HEADER, principal.as_str()),
            (KIND_HEADER, "query"),
            ("content-type", "application/json"),
            ("accept", accept),
        ];
        let (status, media, answer) = front.send(&headers, &json!({"query": BOTH}).to_string()).await;
        assert_eq!((status, media.as_str(), &answer["data"]), (expected, accept, &Value::Null), "{answer}");
    }
}

#[tokio::test]
async fn only_the_gateway_is_believed() {
    let front = Front::of(&[]);
    let principal = encode_principal(&Principal::new("ann", ["operator"]));
    let body = json!({"query": BOTH}).to_string();
    let common = [(KIND_HEADER, "query"), ("content-type", "application/json"), (PRINCIPAL_HEADER, principal.as_str())];
    for caller in [None, Some(""), Some("somebody"), Some("the-query-app")] {
        let caller = caller.map(|id| (PRINCIPAL_ID_HEADER, id));
        let headers: Vec<_> = common.into_iter().chain(caller).collect();
        assert_eq!(front.send(&headers, &body).await.0, 401, "{caller:?}");
    }
    let nobody = [common[0], common[1], (PRINCIPAL_ID_HEADER, GATEWAY)];
    assert_eq!(front.send(&nobody, &body).await.0, 401);
    let service = encode_principal(&Principal::service("orders"));
    let service = [common[0], common[1], (PRINCIPAL_ID_HEADER, GATEWAY), (PRINCIPAL_HEADER, service.as_str())];
    assert_eq!(front.send(&service, &body).await.0, 401);
    assert_eq!(front.asked(), [], "nothing reaches a service");
}

#[tokio::test]
async fn what_is_refused_reaches_no_service() {
    let front = Front::of(&[]);
    let two = r#"mutation { receiveStock(input: {sku: "A", quantity: 1}) { commandId } cancelOrder(input: {orderId: "1"}) { commandId } }"#;
    let aliases = format!("{{ {} }}", (0..2001).map(|n| format!("a{n}: order(id: 1) {{ id }} ")).collect::<String>());
    let deep = format!("{{ order(id: 1) {}{} }}", "{ lines ".repeat(65), "}".repeat(65));
    for (kind, query, code) in [
        ("mutation", two, "BAD_REQUEST"),
        ("query", "{ order(id: 1) { id }", "GRAPHQL_PARSE_FAILED"),
        ("query", "{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query", "{ commandStatus(aggregateId: 1, commandId: 1) { status } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query", "{ __schema { queryType { name } } }", "BAD_REQUEST"),
        ("query", aliases.as_str(), "QUERY_TOO_COMPLEX"),
        ("query", deep.as_str(), "QUERY_TOO_DEEP"),
        ("subscription", "subscription { order(id: 1) { id } }", "BAD_REQUEST"),
        // The gateway routed by something else than what would be executed.
        ("mutation", BOTH, "OPERATION_KIND_MISMATCH"),
        ("", BOTH, "OPERATION_KIND_MISMATCH"),
        ("query", "mutation { cancelOrder(input: {orderId: 1}) { commandId } }", "OPERATION_KIND_MISMATCH"),
    ] {
        let (status, media, answer) = front.ask(kind, query, Value::Null).await;
        assert_eq!((status, media.as_str()), (400, "application/json"), "{answer}");
        assert_eq!(answer["errors"][0]["extensions"], json!({"code": code, "traceId": TRACE_ID}), "{answer}");
        assert!(answer["data"].is_null(), "{answer}");
    }
    let principal = encode_principal(&Principal::new("ann", ["customer"]));
    let from_gateway = |kind: &'static str, accept: &'static str| {
        [
            (PRINCIPAL_ID_HEADER, GATEWAY.to_owned()),
            (PRINCIPAL_HEADER, principal.clone()),
            (KIND_HEADER, "query".to_owned()),
            ("content-type", kind.to_owned()),
            ("accept", accept.to_owned()),
        ]
    };
    let send = async |kind, accept, body: &str| {
        let headers = from_gateway(kind, accept);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        front.send(&headers, body).await
    };
    let body = json!({"query": BOTH}).to_string();
    assert_eq!(send("text/plain", "*/*", &body).await.0, 415);
    assert_eq!(send("application/json", "text/html", &body).await.0, 406);
    for body in [
        "",
        "[]",
        r#"[{"query":"{ order(id: 1) { id } }"}]"#,
        r#"{"query":1}"#,
        r#"{"query":"{ order(id: 1) { id } }","query":"{ stock(sku: 1) { sku } }"}"#,
        r#"{"query":"{ order(id: 1) { id } }","variables":[]}"#,
    ] {
        let (status, _, answer) = send("application/json", "*/*", body).await;
        assert_eq!((status, &answer["errors"][0]["extensions"]["code"]), (400, &json!("BAD_REQUEST")), "{body}");
    }
    assert_eq!(front.asked(), []);
}

#[tokio::test]
async fn the_schema_is_told_where_that_is_allowed() {
    let front = Front::with(settings(true), &[("query-orders", answers(json!({"order": null})))]);
    let query =
        r#"{ __schema { queryType { fields { name } } } __type(name: "Stock") { kind } order(id: "1") { id } }"#;
    let (status, _, answer) = front.ask("query", query, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let fields = answer["data"]["__schema"]["queryType"]["fields"].as_array().unwrap();
    for name in ["order", "stock", "ordersCommandStatus", "inventoryCommandStatus"] {
        assert!(fields.iter().any(|field| field["name"] == name), "{name}: {answer}");
    }
    assert_eq!(answer["data"]["__type"]["kind"], "OBJECT");
    assert_eq!(front.asked().len(), 1);
}

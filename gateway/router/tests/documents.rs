//! Documents by their hash, and the router in front of the services' own apps where nothing else is answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use expect_test::expect_file;
use serde_json::{Map, Value, json};
use skein::core::store::Outcome;
use skein::core::{AggregateId, CommandId, Fault, Principal};
use skein::graphql::{OutcomeReader, document_hash, list};
use skein::{QueryPorts, QuerySettings};
use skein_embedded::EmbeddedStore;
use skein_host::{App, PRINCIPAL_HEADER, PRINCIPAL_ID_HEADER, RouterSettings, Settings, encode_principal};
use skein_kind::KIND_HEADER;
use skein_kind::operations::{PERSISTED_HEADER, listed};
use skein_router::{Answered, Away, Question, ServiceApps, app, graph};
use skein_testing::doubles::{ManualClock, MemoryQueue};
use skein_testing::functions_host::documents;

use crate::scripted::{Does, Front, GATEWAY, settings};

const ROUTER: &str = "the-router";
const BOTH: &str = include_str!("../../graph/operations/order-and-stock.graphql");
const PLACE: &str = include_str!("../../graph/operations/place-order.graphql");

#[tokio::test]
async fn the_documents_that_the_router_has_are_those_of_the_folder() {
    let (graph, documents) = (graph().unwrap(), documents("../graph/operations"));
    let orders = orders_functions::schema().finish().unwrap();
    let inventory = inventory_functions::schema().finish().unwrap();
    let mut wrong = Vec::new();
    for (place, document) in &documents {
        match graph.split(document, None, &Map::new()) {
            Err(refusal) => wrong.push(format!("{place}: {refusal}")),
            Ok(plan) => {
                for part in plan.parts() {
                    let part_of = [(format!("{place} ({})", part.service), part.document.clone())];
                    let fits = match part.service.as_str() {
                        "orders" => list(&orders, &part_of).await,
                        "inventory" => list(&inventory, &part_of).await,
                        other => panic!("hold the documents against the schema of {other}, too"),
                    };
                    wrong.extend(fits.err().into_iter().flatten());
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let list = listed(documents.iter().map(|(_, document)| document.as_str()));
    expect_file!["../../graph/operations.json"].assert_eq(&list);
}

fn named(document: &str) -> Value {
    json!({"persistedQuery": {"version": 1, "sha256Hash": document_hash(document)}})
}

/// What the gateway passes on, on behalf of an operator.
async fn send(front: &Front, kind: &str, body: &Value) -> (u16, Value) {
    let principal = encode_principal(&Principal::new("olga", ["operator"]));
    let headers = [
        (PRINCIPAL_ID_HEADER, GATEWAY),
        (PRINCIPAL_HEADER, principal.as_str()),
        (KIND_HEADER, kind),
        // Whatever a client says of it.
        (PERSISTED_HEADER, "true"),
        ("content-type", "application/json"),
    ];
    let (status, _, answer) = front.send(&headers, &body.to_string()).await;
    (status, answer)
}

#[tokio::test]
async fn a_document_is_named_by_its_hash() {
    let answers = |data: Value| Does::Answers(200, json!({"data": data}));
    let does = [
        ("query-orders", answers(json!({"order": null}))),
        ("query-inventory", answers(json!({"stock": null}))),
        ("command-orders", answers(json!({"placeOrder": {"commandId": "k"}}))),
    ];
    for persisted_only in [false, true] {
        let front = Front::with(RouterSettings { persisted_only, ..settings(true) }, &does);
        // Nobody on the way can tell what a hash stands for: by POST it is taken for a mutation.
        let (status, answer) = send(&front, "mutation", &json!({"extensions": named(BOTH)})).await;
        assert_eq!((status, answer), (200, json!({"data": {"order": null, "stock": null}})));
        let (status, answer) = send(&front, "mutation", &json!({"extensions": named(PLACE)})).await;
        assert_eq!((status, &answer["data"]["placeOrder"]["commandId"]), (200, &json!("k")), "{answer}");
        for body in [json!({"query": BOTH}), json!({"query": BOTH, "extensions": named(BOTH)})] {
            assert_eq!(send(&front, "query", &body).await.0, 200, "{body}");
        }
        let asked = front.asked();
        assert_eq!(asked.len(), 7);
        for question in asked {
            let kind = if question.url == "command-orders" { "mutation" } else { "query" };
            assert!(question.headers.contains(&(KIND_HEADER, kind.to_owned())), "{question:?}");
            let says = question.headers.iter().any(|(name, _)| *name == PERSISTED_HEADER);
            assert_eq!(says, persisted_only, "only who looks says so: {question:?}");
        }
    }
}

#[tokio::test]
async fn what_is_in_no_list_reaches_no_service() {
    let front = Front::with(RouterSettings { persisted_only: true, ..settings(true) }, &[]);
    let (query, mutation) = (
        r#"{ order(id: "1") { id } }"#,
        r#"mutation { cancelOrder(input: {orderId: "1", reason: "x"}) { commandId } }"#,
    );
    for (kind, body, status, code) in [
        ("query", json!({"query": query}), 403, "QUERY_NOT_IN_SAFELIST"),
        ("query", json!({"query": BOTH.trim()}), 403, "QUERY_NOT_IN_SAFELIST"),
        ("query", json!({"query": "{ __schema { queryType { name } } }"}), 403, "QUERY_NOT_IN_SAFELIST"),
        ("query", json!({"query": "no GraphQL {"}), 403, "QUERY_NOT_IN_SAFELIST"),
        ("query", json!({"query": query, "extensions": named(query)}), 403, "QUERY_NOT_IN_SAFELIST"),
        ("mutation", json!({"query": mutation}), 403, "QUERY_NOT_IN_SAFELIST"),
        ("mutation", json!({"extensions": named(query)}), 422, "PERSISTED_OPERATION_NOT_FOUND"),
        ("query", json!({"query": query, "extensions": named(BOTH)}), 422, "MALFORMED_REQUEST"),
        ("mutation", json!({"extensions": {"persistedQuery": 7}}), 422, "MALFORMED_REQUEST"),
        ("mutation", json!({"extensions": {}}), 422, "MALFORMED_REQUEST"),
        ("mutation", json!({"extensions": 7}), 400, "BAD_REQUEST"),
        // Another kind than the gateway saw.
        ("query", json!({"extensions": named(BOTH)}), 400, "OPERATION_KIND_MISMATCH"),
        ("mutation", json!({"query": BOTH}), 400, "OPERATION_KIND_MISMATCH"),
    ] {
        let (told, answer) = send(&front, kind, &body).await;
        assert_eq!((told, &answer["errors"][0]["extensions"]["code"]), (status, &json!(code)), "{body}: {answer}");
    }
    assert_eq!(front.asked(), []);
}

struct NoOutcomes;

#[async_trait]
impl OutcomeReader for NoOutcomes {
    async fn outcome(&self, _: &AggregateId, _: &CommandId) -> Result<Option<Outcome>, Fault> {
        Ok(None)
    }
}

/// The services' query apps, by their addresses, asked in this process; where nothing but their lists is executed.
struct QueryApps {
    apps: BTreeMap<String, Arc<App>>,
    /// As whom they are asked.
    caller: &'static str,
    statuses: Mutex<Vec<u16>>,
}

fn query_settings(service: &str) -> QuerySettings {
    let app = Settings {
        service: service.to_owned(),
        app: "query".to_owned(),
        client_id: None,
        audience: "api://test".to_owned(),
        fronts: vec![GATEWAY.to_owned(), ROUTER.to_owned()],
        router: Some(ROUTER.to_owned()),
        introspection: false,
        persisted_only: true,
        await_limit: Duration::from_secs(1),
        personal: None,
    };
    QuerySettings {
        app,
        query_store: String::new(),
        command_queues: BTreeMap::new(),
        sources: BTreeMap::new(),
        command_app: String::new(),
        live: None,
    }
}

fn query_ports(tables: &[&str]) -> QueryPorts {
    QueryPorts {
        store: Arc::new(EmbeddedStore::memory(tables).unwrap()),
        queue: Arc::<MemoryQueue>::default(),
        outcomes: Arc::new(NoOutcomes),
        clock: ManualClock::new(),
        hub: None,
    }
}

impl QueryApps {
    fn asked_by(caller: &'static str) -> Arc<Self> {
        let orders = query_ports(&["orders", "generations", "faults"]);
        let inventory = query_ports(&["stock", "generations", "faults"]);
        let orders = orders_functions::queries(query_settings("orders"), orders).build().unwrap();
        let inventory = inventory_functions::queries(query_settings("inventory"), inventory).build().unwrap();
        let apps = [("query-orders", orders), ("query-inventory", inventory)];
        let apps = apps.into_iter().map(|(url, app)| (url.to_owned(), Arc::new(app))).collect();
        Arc::new(QueryApps { apps, caller, statuses: Mutex::default() })
    }
}

#[async_trait]
impl ServiceApps for QueryApps {
    async fn ask(&self, question: Question) -> Result<Answered, Away> {
        let mut request = Request::post("/api/graphql").header(PRINCIPAL_ID_HEADER, self.caller);
        for (name, value) in question.headers {
            request = request.header(name, value);
        }
        let response = self.apps[&question.url].answer(request.body(Body::from(question.body)).unwrap()).await;
        let status = response.status().as_u16();
        self.statuses.lock().unwrap().push(status);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Ok(Answered { status, body: String::from_utf8(body.to_vec()).unwrap() })
    }
}

#[tokio::test]
async fn the_services_execute_parts_of_what_is_in_the_routers_list_for_the_router_alone() {
    let ask = async |caller: &'static str, persisted_only: bool| {
        let apps = QueryApps::asked_by(caller);
        let settings = RouterSettings { persisted_only, ..settings(false) };
        let front = Front::before(Arc::new(app(settings, graph().unwrap(), apps.clone()).unwrap()));
        let variables = json!({"orderId": "1", "sku": "A"});
        let (status, answer) =
            send(&front, "mutation", &json!({"extensions": named(BOTH), "variables": variables})).await;
        assert_eq!(status, 200, "{answer}");
        let statuses = apps.statuses.lock().unwrap().clone();
        (answer, statuses)
    };
    let (answer, statuses) = ask(ROUTER, true).await;
    assert_eq!(statuses, [200, 200], "{answer}");
    assert_eq!(answer, json!({"data": {"order": null, "stock": null}}));
    // Neither does a router that answers everything speak for its documents, nor somebody else who says what it says.
    for (caller, persisted_only) in [(ROUTER, false), (GATEWAY, true)] {
        let (answer, statuses) = ask(caller, persisted_only).await;
        assert_eq!(statuses, [403, 403], "{caller}: {answer}");
        assert_eq!(answer["errors"][0]["extensions"]["code"], "INTERNAL", "{answer}");
    }
}

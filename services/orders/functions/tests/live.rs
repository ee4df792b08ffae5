//! Subscriptions as the hub passes them on, and what it is given to send.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein::core::Principal;
use skein::core::ports::{Clock as _, TableStore};
use skein::core::table::Sweep;
use skein::core::views::SUBSCRIPTIONS_TABLE;
use skein::graphql::document_hash;
use skein::host::{encode_principal, encode_principal_and_end};
use skein_testing::doubles::{ManualClock, MemoryHub};
use skein_testing::functions_host::{GATEWAY, HUB, Service};

use crate::flow::answered;
use crate::service::{customer, live_service, operator};

struct Live {
    service: Service,
    hub: Arc<MemoryHub>,
    clock: Arc<ManualClock>,
    store: Arc<dyn TableStore>,
}

impl Live {
    async fn new() -> Self {
        Live::executing(false).await
    }

    async fn executing(persisted_only: bool) -> Self {
        let (service, hub, clock, store) = live_service(persisted_only).await;
        Live { service, hub, clock, store }
    }

    /// Connects, and gives the connection's user.
    async fn connect(&self, principal: &Principal) -> String {
        self.connect_by(&encode_principal(principal)).await
    }

    /// Connects with a token that ends in so many seconds.
    async fn connect_for(&self, principal: &Principal, seconds: i64) -> String {
        let ends = self.clock.now().unix_timestamp() + seconds;
        self.connect_by(&encode_principal_and_end(principal, ends)).await
    }

    async fn connect_by(&self, principal: &str) -> String {
        let (status, answer) = self.negotiate(principal).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["url"], "http://127.0.0.1/client/?hub=memory");
        answer["accessToken"].as_str().expect("a token").to_owned()
    }

    async fn negotiate(&self, principal: &str) -> (u16, Value) {
        let headers = [("x-ms-client-principal-id", GATEWAY), ("x-skein-principal", principal)];
        let answer = self.service.query.send("POST", "/api/negotiate?negotiateVersion=1", &headers, "").await;
        let answer = answer.expect("the app answers");
        (answer.status, answer.json())
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance_to(self.clock.now() + Duration::from_secs(seconds));
    }

    async fn upstream(&self, caller: &str, user: &str, event: [&str; 2], body: &Value) -> (u16, String) {
        let headers = [
            ("x-ms-client-principal-id", caller),
            ("x-asrs-user-id", user),
            ("x-asrs-category", event[0]),
            ("x-asrs-event", event[1]),
        ];
        let answer = self.service.query.send("POST", "/api/signalr", &headers, &body.to_string()).await;
        let answer = answer.expect("the app answers");
        (answer.status, answer.body)
    }

    /// Calls a method of the hub, and gives the completion.
    async fn invoke(&self, user: &str, target: &str, arguments: Value) -> Value {
        let body = json!({"InvocationId": "7", "Target": target, "Arguments": arguments});
        let (status, body) = self.upstream(HUB, user, ["messages", target], &body).await;
        assert_eq!(status, 200, "{body}");
        let completion: Value = serde_json::from_str(body.trim_end_matches('\u{1e}')).expect("JSON");
        assert_eq!((&completion["type"], &completion["invocationId"]), (&json!(3), &json!("7")), "{completion}");
        completion
    }

    async fn subscribe(&self, user: &str, id: &str, query: &str) -> Value {
        self.invoke(user, "subscribe", json!([id, {"query": query}])).await["result"].clone()
    }

    async fn place(&self, order: &str, customer_id: &str) {
        let mutation = format!(
            "mutation {{ placeOrder(input: {{orderId: \"{order}\", customerId: \"{customer_id}\", lines: \
             [{{sku: \"A\", quantity: 1, unitPrice: \"2.50\"}}]}}) {{ commandId }} }}"
        );
        let placed = self.service.graphql(&operator(), &mutation).await;
        assert!(placed["errors"].is_null(), "{placed}");
        self.service.settle().await;
    }
}

const ORDER: &str = r#"subscription { order(id: "7") { status total } }"#;

/// What the messages of `next` say: number, number before, and the payloads' data.
fn told(messages: &[(String, Value)]) -> Vec<(u64, u64, Vec<Value>)> {
    messages
        .iter()
        .map(|(target, message)| {
            assert_eq!(target, "next", "{message}");
            let payloads = message["payloads"].as_array().expect("payloads").iter();
            let number = |name: &str| message[name].as_u64().expect("a number");
            (number("number"), number("previous"), payloads.map(|payload| payload["data"].clone()).collect())
        })
        .collect()
}

#[tokio::test]
async fn an_order_is_followed_from_before_it_exists() {
    let live = Live::new().await;
    let ann = live.connect(&customer("ann")).await;
    let begun = live.subscribe(&ann, "1", ORDER).await;
    assert_eq!((&begun["number"], &begun["payloads"]), (&json!(0), &json!([{"data": {"order": null}}])), "{begun}");
    assert_eq!(begun["expiresIn"], 1800);
    live.place("7", "ann").await;
    live.service.publish(answered("7")).await;
    live.service.settle().await;
    let order = |status: &str| json!({"order": {"status": status, "total": "2.50"}});
    let heard = live.hub.take(&ann);
    assert_eq!(told(&heard), [(1, 0, vec![order("PLACED")]), (2, 1, vec![order("CONFIRMED")])]);
    assert!(heard.iter().all(|(_, message)| message["group"] == begun["group"]));

    // Who comes back hears what it missed; who comes new sees what is so.
    let again = live.connect(&customer("ann")).await;
    let resume = json!({"group": begun["group"], "number": 1});
    let resumed = live.invoke(&again, "subscribe", json!(["1", {"query": ORDER, "resume": resume}])).await;
    let missed = resumed["result"]["missed"].as_array().expect("what was missed");
    assert_eq!((missed.len(), &missed[0]), (1, &heard[1].1), "{resumed}");
    let new = live.subscribe(&live.connect(&customer("ann")).await, "x", ORDER).await;
    assert_eq!((&new["number"], &new["payloads"][0]["data"]), (&json!(2), &order("CONFIRMED")));

    // Nobody else's.
    let bob = live.connect(&customer("bob")).await;
    let seen = live.subscribe(&bob, "1", ORDER).await;
    assert_eq!(seen["payloads"], json!([{"data": {"order": null}}]), "{seen}");
    assert_ne!(seen["group"], begun["group"]);
    let cancel = r#"mutation { cancelOrder(input: {orderId: "7", reason: "too dear"}) { aggregateId } }"#;
    live.service.graphql(&operator(), cancel).await;
    live.service.settle().await;
    assert_eq!(told(&live.hub.take(&bob)), [(3, 2, vec![json!({"order": null})])]);
    assert_eq!(told(&live.hub.take(&ann)), [(3, 2, vec![order("CANCELLED")])]);
}

#[tokio::test]
async fn who_was_alone_hears_after_a_lost_connection_what_happened_meanwhile() {
    let live = Live::new().await;
    let ann = live.connect(&customer("ann")).await;
    let begun = live.subscribe(&ann, "1", ORDER).await;
    let group = begun["group"].as_str().expect("a group");
    let gone = live.upstream(HUB, &ann, ["connections", "disconnected"], &json!({"Type": 11})).await;
    assert_eq!((gone.0, live.hub.members(group)), (204, 0));
    live.place("7", "ann").await;
    live.service.publish(answered("7")).await;
    live.service.settle().await;
    assert_eq!(live.hub.take(&ann), []);
    live.wait(299);

    let again = live.connect(&customer("ann")).await;
    let resume = json!({"group": group, "number": begun["number"]});
    let resumed = live.invoke(&again, "subscribe", json!(["1", {"query": ORDER, "resume": resume}])).await;
    let missed = resumed["result"]["missed"].as_array().expect("what was missed").iter();
    let missed: Vec<_> = missed.map(|message| ("next".to_owned(), message.clone())).collect();
    let order = |status: &str| json!({"order": {"status": status, "total": "2.50"}});
    assert_eq!(told(&missed), [(1, 0, vec![order("PLACED")]), (2, 1, vec![order("CONFIRMED")])]);
}

#[tokio::test]
async fn lists_and_totals_are_followed() {
    let live = Live::new().await;
    live.place("1", "ann").await;
    let ann = live.connect(&customer("ann")).await;
    let list = r#"subscription { customerOrders(customerId: "ann") { id status } }"#;
    let begun = live.subscribe(&ann, "list", list).await;
    assert_eq!(begun["payloads"], json!([]), "a list is queried: {begun}");
    let totals = r#"subscription { customerTotals(customerId: "ann") { orders revenue } }"#;
    let sums = live.subscribe(&ann, "totals", totals).await;
    assert_eq!(sums["payloads"][0]["data"], json!({"customerTotals": {"orders": 1, "revenue": "2.50"}}), "{sums}");
    live.place("2", "ann").await;
    live.place("3", "bob").await;
    live.service.publish(answered("2")).await;
    live.service.settle().await;
    let heard = live.hub.take(&ann);
    let of =
        |group: &Value| heard.iter().filter(|(_, message)| message["group"] == *group).cloned().collect::<Vec<_>>();
    let orders: Vec<Value> = told(&of(&begun["group"])).into_iter().flat_map(|(_, _, data)| data).collect();
    let order = |status: &str| json!({"customerOrders": {"id": "2", "status": status}});
    assert_eq!(orders, [order("PLACED"), order("CONFIRMED")]);
    let sums: Vec<Value> = told(&of(&sums["group"])).into_iter().flat_map(|(_, _, data)| data).collect();
    assert_eq!(sums, [json!({"customerTotals": {"orders": 2, "revenue": "5.00"}})]);
}

#[tokio::test]
async fn a_change_is_executed_once_for_all_who_may_see_everything() {
    let live = Live::new().await;
    let connections = [live.connect(&operator()).await, live.connect(&Principal::new("oscar", ["operator"])).await];
    let mut groups = Vec::new();
    for user in &connections {
        groups.push(live.subscribe(user, "1", ORDER).await["group"].clone());
    }
    assert_eq!(groups[0], groups[1]);
    let group = groups[0].as_str().expect("a group");
    assert_eq!(live.hub.members(group), 2);
    live.place("7", "ann").await;
    for user in &connections {
        assert_eq!(live.hub.take(user).len(), 1);
    }
    // One goes, by saying so or not; then the other.
    let done = live.invoke(&connections[0], "complete", json!(["1"])).await;
    assert_eq!(done["result"], Value::Null);
    assert_eq!(live.hub.members(group), 1);
    let gone = live.upstream(HUB, &connections[1], ["connections", "disconnected"], &json!({"Type": 11})).await;
    assert_eq!((gone.0, live.hub.members(group)), (204, 0));
    live.service.publish(answered("7")).await;
    live.service.settle().await;
    assert!(live.hub.take(&connections[1]).is_empty());
    let after = live.subscribe(&connections[1], "1", ORDER).await;
    assert_eq!(after["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{after}");
}

#[tokio::test]
async fn a_session_ends_with_the_token_that_began_it() {
    let live = Live::new().await;
    let oscar = Principal::new("oscar", ["operator"]);
    let (short, long) = (live.connect_for(&operator(), 300).await, live.connect_for(&oscar, 86_400).await);
    let begun = live.subscribe(&short, "1", ORDER).await;
    assert_eq!(begun["expiresIn"], 300, "{begun}");
    // The end of a token does not part those who ask the same.
    let other = live.subscribe(&long, "1", ORDER).await;
    assert_eq!((&other["expiresIn"], &other["group"]), (&json!(1800), &begun["group"]), "{other}");
    live.place("7", "ann").await;
    assert_eq!((told(&live.hub.take(&short)).len(), told(&live.hub.take(&long)).len()), (1, 1));
    live.wait(100);
    let again = live.subscribe(&short, "2", ORDER).await;
    assert!(again["expiresIn"].as_u64().is_some_and(|left| left <= 200), "{again}");
    live.wait(200);
    let late = live.subscribe(&short, "2", ORDER).await;
    assert_eq!(late["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{late}");
    live.service.publish(answered("7")).await;
    live.service.settle().await;
    assert_eq!(live.hub.take(&short), []);
    assert_eq!(told(&live.hub.take(&long)).len(), 1, "the other one's session goes on");

    // With a new token it goes on where it was.
    let renewed = live.connect_for(&operator(), 300).await;
    let resume = json!({"group": begun["group"], "number": 1});
    let resumed = live.invoke(&renewed, "subscribe", json!(["1", {"query": ORDER, "resume": resume}])).await;
    assert_eq!(resumed["result"]["missed"].as_array().map(Vec::len), Some(1), "{resumed}");
}

/// The gateway takes a token for a minute after its end; here nothing begins with one.
#[tokio::test]
async fn a_token_that_is_about_to_end_begins_no_session() {
    let live = Live::new().await;
    let now = live.clock.now().unix_timestamp();
    for ends in [i64::MIN, -1, 0, now - 59, now, now + 9] {
        let (status, refused) = live.negotiate(&encode_principal_and_end(&operator(), ends)).await;
        assert_eq!((status, &refused["error"]["code"]), (401, &json!("UNAUTHENTICATED")), "{ends}: {refused}");
    }
    for (ends, expires_in) in [(now + 10, 10), (now + 1800, 1800), (now + 1801, 1800), (i64::MAX, 1800)] {
        let user = live.connect_by(&encode_principal_and_end(&operator(), ends)).await;
        let begun = live.subscribe(&user, "1", ORDER).await;
        assert_eq!(begun["expiresIn"], expires_in, "{ends}: {begun}");
    }
}

/// What is left of a connection, and of what it followed, goes with the end of another one, two hours later.
#[tokio::test]
async fn what_is_left_of_connections_is_swept() {
    let live = Live::new().await;
    let rows = async |table: &str| {
        let sweep = Sweep { from: " ".into(), to: "~~".into(), row: None, top: 1_000 };
        live.store.sweep(table, &sweep, None).await.expect("a page").rows
    };
    let connections = async || rows(SUBSCRIPTIONS_TABLE).await.into_iter().map(|(user, _)| user).collect::<Vec<_>>();
    let followed = async || {
        let rows = rows("orders").await.into_iter().map(|(_, row)| row.key);
        rows.filter(|key| key.starts_with("W~") || key.starts_with("H~")).count()
    };
    let gone = live.connect(&customer("ann")).await;
    live.subscribe(&gone, "1", ORDER).await;
    live.place("7", "ann").await;
    // Another one is ended by a word, and yet another one replaced.
    live.subscribe(&gone, "2", r#"subscription { order(id: "8") { status } }"#).await;
    live.invoke(&gone, "complete", json!(["2"])).await;
    live.subscribe(&gone, "3", r#"subscription { order(id: "9") { status } }"#).await;
    live.subscribe(&gone, "3", r#"subscription { order(id: "10") { status } }"#).await;
    assert_eq!(followed().await, 5, "four watchers and a change");
    live.wait(3 * 3600);
    let (ends, stays) = (live.connect(&customer("bob")).await, live.connect(&customer("cora")).await);
    live.subscribe(&ends, "1", ORDER).await;
    // Its session; what it follows, and what it followed.
    let mut all = vec![&gone; 5];
    all.extend([&ends, &ends, &stays]);
    all.sort();
    assert_eq!(connections().await.iter().collect::<Vec<_>>(), all);
    let disconnect = async |user: &str| {
        let ended = live.upstream(HUB, user, ["connections", "disconnected"], &json!({"Type": 11})).await;
        assert_eq!(ended.0, 204, "{}", ended.1);
    };
    disconnect(&ends).await;
    let mut left = vec![&ends, &stays];
    left.sort();
    assert_eq!(connections().await.iter().collect::<Vec<_>>(), left);
    assert_eq!(followed().await, 2, "bob may come back, and the change is kept for him");
    live.wait(3 * 3600);
    let last = live.connect(&customer("dora")).await;
    disconnect(&last).await;
    assert_eq!((connections().await, followed().await), (Vec::<String>::new(), 0));
}

#[tokio::test]
async fn a_hub_that_is_away_is_told_later() {
    let live = Live::new().await;
    let ann = live.connect(&customer("ann")).await;
    live.subscribe(&ann, "1", ORDER).await;
    // The engine itself tries again.
    live.hub.fail_next(3);
    live.place("7", "ann").await;
    assert_eq!(told(&live.hub.take(&ann)).len(), 1);
}

#[tokio::test]
async fn what_nobody_may_follow_is_refused() {
    let live = Live::new().await;
    let ann = live.connect(&customer("ann")).await;
    let nobody = live.connect(&Principal::new("nora", ["stranger"])).await;
    let deep = format!("subscription {{ order(id: \"7\") {} }}", "{ a ".repeat(70) + &"}".repeat(70));
    let long = format!("subscription {{ order(id: \"{}\") {{ id }} }}", "x".repeat(40_000));
    for (user, query, code) in [
        (&ann, r#"subscription { customerTotals(customerId: "bob") { orders } }"#, "FORBIDDEN"),
        (&ann, r#"subscription { customerOrders(customerId: "bob") { id } }"#, "FORBIDDEN"),
        (&nobody, ORDER, "FORBIDDEN"),
        (&ann, r#"{ order(id: "7") { status } }"#, "OPERATION_KIND_MISMATCH"),
        (&ann, r#"mutation { cancelOrder(input: {orderId: "7"}) { aggregateId } }"#, "OPERATION_KIND_MISMATCH"),
        (
            &ann,
            "subscription { order(id: \"7\") { status } customerTotals(customerId: \"ann\") { orders } }",
            "BAD_USER_INPUT",
        ),
        (&ann, "subscription { ...F } fragment F on Subscription { order(id: \"7\") { status } }", "BAD_USER_INPUT"),
        (&ann, "subscription { order(id: \"7\") @skip(if: true) { status } }", "BAD_USER_INPUT"),
        (&ann, "subscription { __typename }", "FORBIDDEN"),
        (&ann, "subscription { nothing }", "FORBIDDEN"),
        (&ann, "subscription { order(id: \"7\") { nothing } }", "GRAPHQL_VALIDATION_FAILED"),
        (&ann, "subscription { order(id: \"\") { status } }", "BAD_USER_INPUT"),
        (&ann, "subscription {", "GRAPHQL_PARSE_FAILED"),
        (&ann, &deep, "QUERY_TOO_DEEP"),
        (&ann, &long, "TOO_LARGE"),
    ] {
        let refused = live.subscribe(user, "1", query).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], code, "{query}: {refused}");
        assert!(refused["errors"][0]["extensions"]["traceId"].is_string(), "{refused}");
    }
    for arguments in [
        json!([]),
        json!(["1"]),
        json!([1, {"query": ORDER}]),
        json!(["", {"query": ORDER}]),
        json!(["a b", {"query": ORDER}]),
        json!(["1", {"query": ORDER, "resume": {"number": "x"}}]),
        json!(["1", null]),
    ] {
        let refused = live.invoke(&ann, "subscribe", arguments.clone()).await;
        let code = &refused["result"]["errors"][0]["extensions"]["code"];
        assert_eq!(code, "BAD_USER_INPUT", "{arguments}: {refused}");
    }
    for user in ["", "ann", "00000000-0000-0000-0000-000000000000", "0".repeat(40).as_str()] {
        let refused = live.subscribe(user, "1", ORDER).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{user}: {refused}");
    }
    let error = live.invoke(&ann, "shout", json!([])).await;
    assert!(error["error"].as_str().is_some_and(|error| error.contains("shout")), "{error}");
    for n in 0..101 {
        let query = format!("subscription {{ order(id: \"7-{n}\") {{ status }} }}");
        let begun = live.subscribe(&ann, &format!("many-{n}"), &query).await;
        assert_eq!(begun["errors"].is_null(), n < 100, "{n}: {begun}");
    }
    // Its time is over, and nothing was written for anybody meanwhile.
    live.wait(1801);
    let late = live.subscribe(&ann, "1", ORDER).await;
    assert_eq!(late["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{late}");

    // Only the gateway says who somebody is, and only the hub what a connection asks.
    let call = json!({"InvocationId": "7", "Target": "subscribe", "Arguments": ["1", {"query": ORDER}]});
    for caller in [GATEWAY, "", "somebody"] {
        assert_eq!(live.upstream(caller, &ann, ["messages", "subscribe"], &call).await.0, 401, "{caller:?}");
    }
    let principal = encode_principal(&Principal::new("ann", ["operator"]));
    for headers in [
        &[("x-ms-client-principal-id", HUB), ("x-skein-principal", principal.as_str())][..],
        &[("x-skein-principal", principal.as_str())],
        &[("x-ms-client-principal-id", GATEWAY)],
    ] {
        let answer = live.service.query.send("POST", "/api/negotiate", headers, "").await.expect("an answer");
        assert_eq!(answer.status, 401, "{headers:?}");
    }
    for (event, body) in [(["messages", "subscribe"], json!([])), (["messages", ""], json!({})), (["", ""], json!({}))]
    {
        assert_eq!(live.upstream(HUB, &ann, event, &body).await.0, 400, "{event:?}");
    }
}

const PLACE: &str = include_str!("../../operations/shop-place-order.graphql");
const LIST: &str = include_str!("../../operations/shop-orders.graphql");
const FOLLOW_LIST: &str = include_str!("../../operations/shop-follow-orders.graphql");
const FOLLOW_TOTALS: &str = include_str!("../../operations/shop-follow-totals.graphql");

#[tokio::test]
async fn the_shops_documents_are_answered_where_nothing_else_is() {
    let live = Live::executing(true).await;
    let ann = live.connect(&customer("ann")).await;
    let principal = encode_principal(&customer("ann"));
    let ask = async |kind: &str, method: &str, path: &str, body: &str| {
        let headers = [
            ("content-type", "application/json"),
            ("x-ms-client-principal-id", GATEWAY),
            ("x-skein-principal", principal.as_str()),
            ("x-skein-kind", kind),
        ];
        let app = if kind == "mutation" { live.service.command } else { live.service.query };
        let answer = app.send(method, path, &headers, body).await.expect("the app answers");
        (answer.status, answer.json())
    };
    let post = async |kind: &str, body: Value| ask(kind, "POST", "/api/graphql", &body.to_string()).await;
    let named = |document: &str| json!({"persistedQuery": {"version": 1, "sha256Hash": document_hash(document)}});
    let of_ann = json!({"customer": "ann"});

    let orders = json!(["1", {"query": FOLLOW_LIST, "variables": of_ann}]);
    let orders = live.invoke(&ann, "subscribe", orders).await["result"].clone();
    assert_eq!(orders["payloads"], json!([]), "{orders}");
    let totals = json!(["2", {"extensions": named(FOLLOW_TOTALS), "variables": of_ann}]);
    let totals = live.invoke(&ann, "subscribe", totals).await["result"].clone();
    assert_eq!(totals["payloads"][0]["data"]["customerTotals"]["orders"], 0, "{totals}");
    let again = json!(["3", {"query": FOLLOW_TOTALS, "variables": of_ann}]);
    assert_eq!(live.invoke(&ann, "subscribe", again).await["result"]["group"], totals["group"], "one document");

    let input =
        json!({"orderId": "7", "customerId": "ann", "lines": [{"sku": "A", "quantity": 1, "unitPrice": "2.50"}]});
    let placed = post("mutation", json!({"query": PLACE, "variables": {"input": input, "commandId": "k"}})).await;
    assert_eq!((placed.0, &placed.1["errors"]), (200, &Value::Null), "{}", placed.1);
    live.service.settle().await;
    assert_eq!(live.hub.take(&ann).len(), 2, "the order and the totals");
    let query = format!("extensions={}&variables={}", named(LIST), of_ann).replace('"', "%22");
    let listed = ask("query", "GET", &format!("/api/graphql?{query}"), "").await;
    assert_eq!(listed.1["data"]["customerOrders"]["edges"][0]["node"]["id"], "7", "{}", listed.1);

    for (kind, document) in [
        ("query", r#"{ order(id: "7") { id } }"#),
        ("query", LIST.trim()),
        ("query", "{ __schema { queryType { name } } }"),
        ("mutation", r#"mutation { cancelOrder(input: {orderId: "7", reason: "x"}) { commandId } }"#),
        ("query", "no GraphQL at all {"),
    ] {
        for (body, status, code) in [
            (json!({"query": document}), 403, "QUERY_NOT_IN_SAFELIST"),
            (json!({"query": document, "extensions": named(document)}), 403, "QUERY_NOT_IN_SAFELIST"),
            (json!({"extensions": named(document)}), 422, "PERSISTED_OPERATION_NOT_FOUND"),
        ] {
            let refused = post(kind, body).await;
            let said = &refused.1["errors"][0]["extensions"]["code"];
            assert_eq!((refused.0, said), (status, &json!(code)), "{document}");
        }
    }
    for (request, code) in [
        (json!({"query": ORDER}), "QUERY_NOT_IN_SAFELIST"),
        (json!({"query": "subscription {"}), "QUERY_NOT_IN_SAFELIST"),
        (json!({"extensions": named(ORDER)}), "PERSISTED_OPERATION_NOT_FOUND"),
        (json!({}), "MALFORMED_REQUEST"),
    ] {
        let refused = live.invoke(&ann, "subscribe", json!(["4", request])).await;
        assert_eq!(refused["result"]["errors"][0]["extensions"]["code"], code, "{request}: {refused}");
    }
    assert!(live.service.queue.take().is_empty(), "no other command was sent");
}

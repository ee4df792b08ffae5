//! The gateway, with the policies that ship, before backends that tell what reached them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use skein_policies::{ControlFlow, Tier, control_flow};
use tower::ServiceExt as _;

use axum::routing::any;

use super::*;
use crate::blobs::Properties;
use crate::identity::{self, GATEWAY_AUDIENCE, ISSUER};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ORIGIN: &str = "https://site.example";
const APPS: &str = "api://apps";
const CALLS_PER_MINUTE: u64 = 100;

/// A resource of the gateway, as the control plane keeps it.
fn of_gateway(kind: &str, name: &str, properties: Value) -> Value {
    let kind = format!("Microsoft.ApiManagement/service{kind}");
    json!({"id": format!("/{kind}/{name}"), "type": kind, "name": name, "properties": properties})
}

/// A gateway with one service, orders, whose issuer and apps are at `planes`.
fn deployed(planes: &str, tier: Tier) -> Vec<Value> {
    let mut service = of_gateway("", "apim", json!({}));
    service["identity"] = json!({"type": "SystemAssigned", "principalId": "gateway-oid"});
    let gateway = control_flow::gateway(tier).print(tier).unwrap();
    let mut all = vec![service, of_gateway("/policies", "apim/policy", json!({"value": gateway, "format": "xml"}))];
    for (name, _, xml) in control_flow::fragments(tier).unwrap() {
        all.push(of_gateway("/policyFragments", &format!("apim/{name}"), json!({"value": xml, "format": "xml"})));
    }
    let configuration = format!("{planes}/identity/any-tenant/v2.0/.well-known/openid-configuration");
    for (named, value) in [
        (control_flow::APP_AUDIENCE, APPS),
        (control_flow::AUDIENCE, GATEWAY_AUDIENCE),
        (control_flow::ISSUER, ISSUER),
        (control_flow::OPENID_CONFIG, &configuration),
        (control_flow::SITE_ORIGIN, ORIGIN),
    ] {
        let properties = json!({"displayName": named.name(), "value": value});
        all.push(of_gateway("/namedValues", &format!("apim/{}", named.name()), properties));
    }
    let flow = ControlFlow::between("orders-command", "orders-query").calls_per_minute(CALLS_PER_MINUTE);
    let policy = flow.policy(tier).print(tier).unwrap();
    let negotiation = flow.subscriptions(tier).print(tier).unwrap();
    all.extend([
        of_gateway("/backends", "apim/orders-command", json!({"url": format!("{planes}/c/api")})),
        of_gateway("/backends", "apim/orders-query", json!({"url": format!("{planes}/q/api/")})),
        of_gateway("/apis", "apim/orders", json!({"path": "orders", "displayName": "Orders <&>"})),
        of_gateway("/apis/policies", "apim/orders/policy", json!({"value": policy, "format": "xml"})),
        of_gateway("/apis", "apim/live", json!({"path": "orders/subscriptions", "displayName": "Live"})),
        of_gateway("/apis/operations", "apim/live/post", json!({"method": "POST", "urlTemplate": "/negotiate"})),
        of_gateway("/apis/policies", "apim/live/policy", json!({"value": negotiation, "format": "xml"})),
    ]);
    all.extend(["post", "get", "put", "head"].map(|method| {
        let properties = json!({"method": method.to_uppercase(), "urlTemplate": "/graphql"});
        of_gateway("/apis/operations", &format!("apim/orders/{method}"), properties)
    }));
    all
}

struct Fixture {
    planes: String,
    router: Router,
    issuer: Arc<Issuer>,
    pages: Folder,
    _state: tempfile::TempDir,
}

/// A gateway whose two backends answer with their name and the headers and body they got.
async fn fixture(tier: Tier) -> Fixture {
    let echo = |name: &'static str| {
        any(async move |uri: axum::http::Uri, headers: HeaderMap, body: String| {
            let headers: serde_json::Map<String, Value> = headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
                .collect();
            let answer = axum::Json(json!({"backend": name, "query": uri.query(), "headers": headers, "body": body}));
            ([("server", "inside"), ("x-powered-by", "inside")], answer)
        })
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let planes = format!("http://{}", listener.local_addr().unwrap());
    let state = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open(state.path()).unwrap());
    let backends = Router::new()
        .route("/c/api/graphql", echo("command"))
        .route("/q/api/graphql", echo("query"))
        .route("/q/api/negotiate", echo("negotiate"))
        .merge(identity::router(issuer.clone(), Arc::default(), planes.clone()));
    tokio::spawn(async move { axum::serve(listener, backends).await });
    let pages = Folder::open(state.path().join("pages")).unwrap();
    let router = open(&deployed(&planes, tier), &issuer, &pages);
    Fixture { planes, router, issuer, pages, _state: state }
}

fn open(resources: &[Value], issuer: &Arc<Issuer>, pages: &Folder) -> Router {
    let (router, faults) = router(Config {
        service: Service::of(resources, &[], "apim"),
        issuer: issuer.clone(),
        client: crate::outbound::client(),
        base: "http://127.0.0.1:8080".into(),
        planes: "http://127.0.0.1:8081".into(),
        pages: Some(pages.clone()),
        state: ".skein".into(),
        healthy: Arc::new(|| true),
    });
    assert_eq!(faults, []);
    router
}

impl Fixture {
    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> (u16, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    fn token(&self) -> String {
        format!("Bearer {}", development_token(&self.issuer, "customer", Some("17850")).unwrap())
    }

    /// Sends a document as a customer and gives the status with what the backend got.
    async fn ask(&self, document: &str, more: &[(&str, &str)]) -> (u16, HeaderMap, Value) {
        let token = self.token();
        let mut headers = vec![("authorization", token.as_str()), ("content-type", "application/json")];
        headers.extend_from_slice(more);
        let body = json!({"query": document}).to_string();
        let (status, headers, body) = self.send("POST", "/orders/graphql", &headers, &body).await;
        (status, headers, serde_json::from_str(&body).unwrap_or_default())
    }
}

/// Checks that an answer is a problem with its trace.
fn is_problem(status: u16, headers: &HeaderMap, body: &str) {
    assert_eq!(headers["content-type"], "application/problem+json", "{body}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&problem["status"], &problem["traceId"]),
        (&json!(status), &json!(headers["x-trace-id"].to_str().unwrap()))
    );
    assert!(problem["traceId"].as_str().is_some_and(|trace| trace.len() == 32), "{problem}");
}

#[tokio::test]
async fn the_kind_of_the_operation_routes() {
    let fixture = fixture(Tier::Consumption).await;
    for (document, backend) in [("{ a }", "query"), ("mutation { a }", "command"), ("query Q { mutation }", "query")] {
        let (status, headers, answer) = fixture.ask(document, &[]).await;
        assert_eq!((status, answer["backend"].as_str()), (200, Some(backend)), "{document}: {answer}");
        let kind = if backend == "command" { "mutation" } else { "query" };
        assert_eq!(answer["headers"]["x-skein-kind"], kind, "{document}");
        assert_eq!(answer["body"], json!({"query": document}).to_string(), "the bytes stay as they were");
        assert!(headers.get("server").is_none() && headers.get("x-powered-by").is_none());
        assert_eq!(headers["cache-control"], "no-store");
    }
    for document in ["subscription { a }", "{ a", "", "type Q { a: Int }"] {
        assert_eq!(fixture.ask(document, &[]).await.0, 400, "{document}");
    }
}

#[tokio::test]
async fn a_get_asks_the_query_app_and_a_browser_sees_the_editor() {
    let fixture = fixture(Tier::Consumption).await;
    let token = fixture.token();
    let query = "query=query+Q%7Ba%7D&operationName=Q&variables=%7B%22b%22:%22%C3%A9%22%7D";
    let uri = format!("/orders/graphql?{query}");
    let (status, headers, answer) = fixture.send("GET", &uri, &[("authorization", &token)], "").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["backend"], &answer["query"]), (200, &json!("query"), &json!(query)), "as it was sent");
    assert_eq!(
        (&answer["headers"]["x-skein-kind"], &headers["cache-control"]),
        (&json!("query"), &"no-store".parse().unwrap())
    );
    let (status, headers, _) = fixture.send("GET", &uri, &[("accept", "text/html")], "").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap().contains("text/html")), (200, true));
    // What is beside a POST in the URL is not passed on.
    let json = ("content-type", "application/json");
    let headers = [("authorization", token.as_str()), json];
    let (_, _, answer) = fixture.send("POST", "/orders/graphql?code=x", &headers, r#"{"query":"mutation{a}"}"#).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["backend"], &answer["query"]), (&json!("command"), &Value::Null));
}

#[tokio::test]
async fn the_backend_sees_the_gateways_identity_and_the_principal_of_the_token() {
    let fixture = fixture(Tier::Consumption).await;
    let forged = URL_SAFE_NO_PAD.encode(r#"{"subject":"root","roles":["operator"]}"#);
    let (_, headers, answer) = fixture
        .ask(
            "{ a }",
            &[
                ("x-skein-principal", &forged),
                ("X-Skein-Kind", "mutation"),
                ("X-MS-CLIENT-PRINCIPAL-ID", "gateway-oid"),
                ("x-ms-client-principal", "e30="),
                ("x-arr-ssl", "1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-functions-key", "k"),
                ("cookie", "a=b"),
                ("x-other", "kept"),
                ("traceparent", TRACE),
            ],
        )
        .await;
    let got = &answer["headers"];
    let principal = |got: &Value| -> Value {
        let principal = URL_SAFE_NO_PAD.decode(got["x-skein-principal"].as_str().unwrap()).unwrap();
        let mut principal: Value = serde_json::from_slice(&principal).unwrap();
        assert!(principal["exp"].take().as_i64().is_some_and(|ends| ends > 1_700_000_000), "{got}");
        principal
    };
    assert_eq!(principal(got), json!({"subject": "17850", "roles": ["customer"], "exp": null}));
    assert_eq!(got["x-skein-kind"], "query");
    let token = got["authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(fixture.issuer.verify(token, APPS).unwrap().oid, "gateway-oid");
    for name in ["x-ms-client-principal-id", "x-ms-client-principal", "x-arr-ssl", "x-forwarded-for", "x-functions-key"]
    {
        assert!(got.get(name).is_none(), "{name}");
    }
    assert!(got.get("cookie").is_none());
    assert_eq!(got["x-other"], "kept");
    assert_eq!(got["traceparent"], TRACE);
    assert_eq!(headers["x-trace-id"], "4bf92f3577b34da6a3ce929d0e0e4736");

    let operator = format!("Bearer {}", development_token(&fixture.issuer, "operator", None).unwrap());
    let headers = [("authorization", operator.as_str()), ("content-type", "application/json")];
    let (_, _, answer) = fixture.send("POST", "/orders/graphql", &headers, r#"{"query":"{a}"}"#).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(principal(&answer["headers"]), json!({"subject": "operator", "roles": ["operator"], "exp": null}));
}

#[tokio::test]
async fn clients_negotiate_below_the_path_of_their_service() {
    let fixture = fixture(Tier::Consumption).await;
    let token = fixture.token();
    let authorized = [("authorization", token.as_str()), ("x-skein-principal", "forged")];
    let (status, _, answer) =
        fixture.send("POST", "/orders/subscriptions/negotiate?negotiateVersion=1", &authorized, "").await;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["backend"], "negotiate");
    assert!(!["forged", ""].contains(&answer["headers"]["x-skein-principal"].as_str().unwrap()), "{answer}");
    for (method, path, headers, expected) in [
        ("POST", "/orders/subscriptions/negotiate", &[][..], 401),
        ("GET", "/orders/subscriptions/negotiate", &authorized, 404),
        ("POST", "/orders/subscriptions/graphql", &authorized, 404),
        ("POST", "/orders/negotiate", &authorized, 404),
        ("POST", "/orders/subscriptionsx/negotiate", &authorized, 404),
    ] {
        let (status, _, answer) = fixture.send(method, path, headers, "").await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn nobody_is_refused_and_told_the_trace() {
    let fixture = fixture(Tier::Consumption).await;
    let issuer = &fixture.issuer;
    let stranger = Issuer::open(tempfile::tempdir().unwrap().path()).unwrap();
    let tokens = [
        ("another audience", issuer.issue_managed_identity("p", "c", "https://storage.azure.com").unwrap().0),
        ("a service", issuer.issue_user("service:orders", &["operator".into()]).unwrap()),
        ("the role of a service", issuer.issue_user("ann", &["service".into()]).unwrap()),
        ("another key", stranger.issue_user("ann", &["operator".into()]).unwrap()),
    ];
    let tokens = tokens.map(|(name, token)| (name, format!("Bearer {token}")));
    let others = [("nothing", String::new()), ("no token", "Bearer x".into()), ("another scheme", "Basic YTpi".into())];
    for (name, token) in others.into_iter().chain(tokens) {
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let (status, headers, body) = fixture.send("POST", "/orders/graphql", &headers, r#"{"query":"{a}"}"#).await;
        assert_eq!(status, 401, "{name}: {body}");
        assert_eq!(headers["www-authenticate"], "Bearer", "{name}");
        is_problem(status, &headers, &body);
    }
}

#[tokio::test]
async fn odd_requests_get_the_right_status() {
    let fixture = fixture(Tier::Consumption).await;
    let token = fixture.token();
    let json = ("content-type", "application/json");
    let auth = ("authorization", token.as_str());
    let large = "x".repeat(300_000);
    let length = large.len().to_string();
    let huge = "x".repeat(MAX_BODY_BYTES + 1);
    for (method, uri, headers, body, expected) in [
        ("POST", "/nothing/graphql", vec![auth, json], r#"{"query":"{a}"}"#, 404),
        ("POST", "/nothing/graphql", vec![json], r#"{"query":"{a}"}"#, 404),
        ("POST", "/ordersx/graphql", vec![auth, json], r#"{"query":"{a}"}"#, 404),
        ("POST", "/orders/other", vec![auth, json], r#"{"query":"{a}"}"#, 404),
        ("PUT", "/orders/graphql", vec![auth, json], r#"{"query":"{a}"}"#, 405),
        ("DELETE", "/orders/graphql", vec![auth], "", 404),
        ("GET", "/orders/graphql?query=mutation%7Ba%7D", vec![auth], "", 405),
        ("GET", "/orders/graphql?query=%7Ba%7D&access_token=x", vec![auth], "", 400),
        (
            "GET",
            "/orders/graphql?query=%7Ba%7D",
            vec![auth, ("transfer-encoding", "chunked"), ("content-length", "1")],
            "x",
            400,
        ),
        ("GET", "/orders/graphql?query=%7Ba%7D", vec![], "", 401),
        ("POST", "//orders/graphql", vec![auth, json], r#"{"query":"{a}"}"#, 404),
        ("POST", "/orders/graphql", vec![auth], r#"{"query":"{a}"}"#, 415),
        ("POST", "/orders/graphql", vec![auth, ("content-type", "text/plain")], r#"{"query":"{a}"}"#, 415),
        ("POST", "/orders/graphql", vec![auth, ("content-type", "application/json; charset=utf-16")], "{}", 415),
        ("POST", "/orders/graphql", vec![auth, json, ("content-encoding", "gzip")], "{}", 415),
        ("POST", "/orders/graphql", vec![auth, json, ("content-length", &length)], large.as_str(), 413),
        ("POST", "/orders/graphql", vec![auth, json], huge.as_str(), 413),
        ("POST", "/nothing/graphql", vec![auth, json], huge.as_str(), 413),
        ("POST", "/orders/graphql", vec![auth, ("content-type", "application/json; charset=UTF-8")], "[]", 400),
        ("GET", "/orders/graphql", vec![auth], "", 422),
        ("POST", "/orders/graphql?query=%7Ba%7D", vec![auth, json], "{}", 422),
        ("GET", "/nothing/graphql", vec![("accept", "text/html")], "", 404),
    ] {
        let (status, headers, body) = fixture.send(method, uri, &headers, body).await;
        assert_eq!(status, expected, "{method} {uri} {headers:?}");
        is_problem(status, &headers, &body);
    }
    assert_eq!(fixture.send("GET", "/assets/../Cargo.toml", &[], "").await.0, 404);
    assert_eq!(fixture.send("GET", "/healthz", &[], "").await.0, 200);
}

#[tokio::test]
async fn a_limit_is_told_with_the_time_to_wait() {
    let fixture = fixture(Tier::StandardV2).await;
    for _ in 0..CALLS_PER_MINUTE {
        assert_eq!(fixture.ask("{ a }", &[]).await.0, 200);
    }
    let (token, body) = (fixture.token(), r#"{"query":"{a}"}"#);
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let (status, headers, body) = fixture.send("POST", "/orders/graphql", &headers, body).await;
    assert_eq!(status, 429);
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    is_problem(status, &headers, &body);
}

#[tokio::test]
async fn only_the_sites_pages_and_its_own_ask_across() {
    let fixture = fixture(Tier::Consumption).await;
    let preflight = |origin: &'static str| {
        [("origin", origin), ("access-control-request-method", "POST"), ("host", "127.0.0.1:8080")]
    };
    let (status, headers, _) = fixture.send("OPTIONS", "/orders/graphql", &preflight(ORIGIN), "").await;
    assert_eq!((status, &headers["access-control-allow-origin"]), (200, &ORIGIN.parse().unwrap()));
    let (_, headers, _) = fixture.send("OPTIONS", "/orders/graphql", &preflight("http://evil.example"), "").await;
    assert!(headers.get("access-control-allow-origin").is_none());
    let host = ("host", "127.0.0.1:8080");
    let (_, headers, answer) = fixture.ask("{ a }", &[host, ("origin", ORIGIN)]).await;
    assert_eq!(
        (&headers["access-control-allow-origin"], &answer["backend"]),
        (&ORIGIN.parse().unwrap(), &json!("query"))
    );
    let (_, _, answer) = fixture.ask("{ a }", &[host, ("origin", "http://127.0.0.1:8080")]).await;
    assert_eq!(answer["backend"], "query", "a page of the gateway");
    for origin in ["http://evil.example", "http://127.0.0.1:8081", "null"] {
        let (status, _, answer) = fixture.ask("{ a }", &[host, ("origin", origin)]).await;
        assert_eq!((status, answer), (200, Value::Null), "{origin}: nothing reaches a backend");
    }
}

#[tokio::test]
async fn a_backend_that_is_away_is_told_without_its_inside() {
    let fixture = fixture(Tier::Consumption).await;
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let away = format!("http://{}/api", closed.local_addr().unwrap());
    drop(closed);
    for url in [away.as_str(), "http://elsewhere.example/api", "https://127.0.0.1/api"] {
        let mut resources = deployed(&fixture.planes, Tier::Consumption);
        resources.iter_mut().find(|one| one["name"] == "apim/orders-query").unwrap()["properties"]["url"] = url.into();
        let fixture = Fixture {
            planes: fixture.planes.clone(),
            router: open(&resources, &fixture.issuer, &fixture.pages),
            issuer: fixture.issuer.clone(),
            pages: fixture.pages.clone(),
            _state: tempfile::tempdir().unwrap(),
        };
        let (status, headers, answer) = fixture.ask("{ a }", &[]).await;
        assert_eq!((status, &answer["detail"]), (502, &json!("BackendConnectionFailure")), "{url}");
        is_problem(status, &headers, &answer.to_string());
        assert_eq!(fixture.ask("mutation { a }", &[]).await.0, 200, "{url}");
    }
}

#[test]
fn what_is_not_understood_is_named_with_its_place() {
    let good = deployed("http://127.0.0.1:1", Tier::Consumption);
    check(&[], &good).unwrap();
    let policy = |inbound: &str| {
        let xml = format!("<policies><inbound><base />{inbound}</inbound><backend><base /></backend></policies>");
        json!({"value": xml, "format": "rawxml"})
    };
    let fragment = |inside: &str| json!({"value": format!("<fragment>{inside}</fragment>")});
    let mut told = String::new();
    for (kind, name, properties) in [
        ("/apis/policies", "apim/orders/policy", policy("<validate-graphql-request />")),
        ("/apis/policies", "apim/orders/policy", policy("<set-backend-service backend-id=\"gone\" />")),
        ("/apis/policies", "apim/orders/policy", policy("<set-body>@(context.User.Id)</set-body>")),
        ("/apis/policies", "apim/orders/policy", policy("<set-body>{{gone}}</set-body>")),
        ("/apis/policies", "apim/orders/policy", policy("<cors")),
        ("/apis/policies", "apim/orders/policy", json!({"value": "https://x", "format": "xml-link"})),
        ("/policies", "apim/policy", policy("<send-request />")),
        ("/policyFragments", "apim/unused", fragment("<llm-token-limit />")),
        ("/apis/operations/policies", "apim/orders/post/policy", policy("")),
        ("/apis/operations", "apim/orders/more", json!({"method": "GET", "urlTemplate": "/a?b={c}"})),
        ("/apis", "apim/mine", json!({"path": "dev/token"})),
        ("/apis", "apim/second", json!({"path": "orders"})),
        // Understood.
        ("/policyFragments", "apim/unused", fragment("<set-status code=\"200\" />")),
        ("/apis/policies", "apim/orders/policy", policy("<set-header name=\"a\"><value>b</value></set-header>")),
        ("/backends", "apim/elsewhere", json!({"url": "https://example.com"})),
    ] {
        let one = of_gateway(kind, name, properties);
        let mut after: Vec<Value> = good.iter().filter(|old| old["id"] != one["id"]).cloned().collect();
        after.push(one.clone());
        match check(&good, &after) {
            Ok(()) => told.push_str(&format!("accepted: {name}\n")),
            Err(error) => {
                assert_eq!(error.target.as_deref(), one["id"].as_str());
                told.push_str(&format!("{}\n", error.message));
                // What was wrong before is no fault of another change.
                let other = of_gateway("/backends", "apim/other", json!({"url": "http://127.0.0.1:1"}));
                let more: Vec<Value> = after.iter().cloned().chain([other]).collect();
                check(&after, &more).unwrap();
            }
        }
    }
    expect_test::expect![[r#"
        /Microsoft.ApiManagement/service/apis/policies/apim/orders/policy: the API's policy: inbound/validate-graphql-request: the policy validate-graphql-request is not one that is executed here
        /Microsoft.ApiManagement/service/apis/policies/apim/orders/policy: the API's policy: inbound/set-backend-service: there is no backend "gone"
        /Microsoft.ApiManagement/service/apis/policies/apim/orders/policy: the API's policy: inbound/set-body: the expression @(context.User.Id) (digest e224eb2aaee336d9520b735f3841a43a2b22a3b667016850b94198128b568c2a) has no twin here
        /Microsoft.ApiManagement/service/apis/policies/apim/orders/policy: the API's policy: there is no named value "gone"
        /Microsoft.ApiManagement/service/apis/policies/apim/orders/policy: the API's policy: it is not well-formed: expected a whitespace not '<' at 1:33
        /Microsoft.ApiManagement/service/apis/policies/apim/orders/policy: the format xml-link is not executed here, only xml and rawxml
        /Microsoft.ApiManagement/service/policies/apim/policy: the gateway's policy: inbound/send-request: the policy send-request is not one that is executed here
        /Microsoft.ApiManagement/service/policyFragments/apim/unused: llm-token-limit: the policy llm-token-limit is not one that is executed here
        /Microsoft.ApiManagement/service/apis/operations/policies/apim/orders/post/policy: policies are executed here of the service and of APIs, not of operations or products
        /Microsoft.ApiManagement/service/apis/operations/apim/orders/more: the URL template "/a?b={c}" has a query, which is not told apart here
        /Microsoft.ApiManagement/service/apis/apim/mine: the path "dev/token" belongs to the local gateway's own pages
        /Microsoft.ApiManagement/service/apis/apim/second: another API has the path "orders"
        accepted: apim/unused
        accepted: apim/orders/policy
        accepted: apim/elsewhere
    "#]].assert_eq(&told);
    // What a policy needs stays.
    for needed in ["apim/orders-query", "apim/skein-issuer", "apim/skein-principal"] {
        let after: Vec<Value> = good.iter().filter(|one| one["name"] != needed).cloned().collect();
        let refused = check(&good, &after).unwrap_err();
        assert!(refused.to_string().contains(needed.trim_start_matches("apim/")), "{refused}");
    }
}

#[tokio::test]
async fn named_values_come_from_the_vault_where_a_role_allows_it() {
    let secret = json!({"id": "/vaults/v/secrets/s", "type": "Microsoft.KeyVault/vaults/secrets", "name": "v/s",
        "properties": {"value": "kept"}});
    let mut resources = deployed("http://127.0.0.1:1", Tier::Consumption);
    let value =
        json!({"displayName": "hidden", "keyVault": {"secretIdentifier": "https://v.vault.azure.net/secrets/s"}});
    let xml = "<policies><inbound><set-header name=\"a\"><value>{{hidden}}</value></set-header></inbound></policies>";
    resources.retain(|one| one["name"] != "apim/orders/policy");
    resources.extend([
        secret,
        of_gateway("/namedValues", "apim/other-name", value),
        of_gateway("/apis/policies", "apim/orders/policy", json!({"value": xml})),
    ]);
    let refused = check(&[], &resources).unwrap_err();
    assert!(refused.message.contains("there is no named value \"hidden\""), "{refused}");
    let role =
        "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/4633458b-17de-408a-b874-0445c86b69e6";
    resources.push(json!({"id": "/r", "type": "Microsoft.Authorization/roleAssignments", "name": "r",
        "properties": {"principalId": "gateway-oid", "roleDefinitionId": role, "scope": "/vaults/v"}}));
    check(&[], &resources).unwrap();
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere() {
    let fixture = fixture(Tier::Consumption).await;
    let (status, headers, page) = fixture.send("GET", "/orders/graphql", &[("accept", "text/html")], "").await;
    assert_eq!(status, 200);
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'self'; script-src 'self';"), "{policy}");
    let live = "connect-src 'self' http://127.0.0.1:8081/signalr/ ws://127.0.0.1:8081/signalr/;";
    assert!(policy.contains(live), "{policy}");
    assert!(page.contains("Orders &lt;&amp;&gt;"), "names are escaped");
    assert!(page.contains("data-path=\"orders/graphql\""), "{page}");
    let (_, _, index) = fixture.send("GET", "/", &[], "").await;
    for page in [&page, &index] {
        let sources = page.split(" src=\"").chain(page.split(" href=\"")).filter(|rest| !rest.starts_with('<'));
        for source in sources {
            assert!(source.starts_with('/') || source.starts_with("data:"), "{}", &source[..40]);
        }
    }
    for asset in page.split('"').filter(|text| text.starts_with("/assets/")) {
        assert_eq!(fixture.send("GET", asset, &[], "").await.0, 200, "{asset}");
    }
}

#[tokio::test]
async fn what_was_uploaded_is_shown() {
    let fixture = fixture(Tier::Consumption).await;
    assert_eq!(fixture.send("GET", "/shop/", &[], "").await.0, 404, "nothing was uploaded yet");
    let of = |kind: &str| Properties { content_type: Some(kind.to_owned()), ..Properties::default() };
    fixture.pages.put("index.html", b"<!doctype html>", &of("text/html; charset=utf-8")).unwrap();
    fixture.pages.put("shop.js", b"1", &of("text/javascript; charset=utf-8")).unwrap();
    for (path, kind, text) in [
        ("/shop/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/shop/index.html", "text/html; charset=utf-8", "<!doctype html>"),
        ("/shop/shop.js", "text/javascript; charset=utf-8", "1"),
        ("/shop/config.json", "application/json", r#"{"gateway":"","tokens":"/dev/token"}"#),
    ] {
        let (status, headers, body) = fixture.send("GET", path, &[], "").await;
        assert_eq!((status, headers["content-type"].to_str().unwrap(), body.as_str()), (200, kind, text), "{path}");
        assert!(headers.contains_key("content-security-policy"), "{path}");
    }
    for path in ["/shop/nothing.js", "/shop/.shop.js.properties", "/shop/../blobs", "/shop/%2e%2e/blobs"] {
        assert_eq!(fixture.send("GET", path, &[], "").await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn only_its_own_pages_get_tokens() {
    let fixture = fixture(Tier::Consumption).await;
    let json = ("content-type", "application/json");
    let (host, origin) = (("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080"));
    let body = r#"{"role":"customer","subject":"17850"}"#;
    for headers in [
        vec![json, host],
        vec![json, host, ("origin", "http://example.com")],
        vec![json, host, ("origin", "null")],
        vec![json, host, origin, ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(fixture.send("POST", "/dev/token", &headers, body).await.0, 403, "{headers:?}");
    }
    let own = [json, host, origin, ("sec-fetch-site", "same-origin")];
    let (status, _, answer) = fixture.send("POST", "/dev/token", &own, body).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let caller = fixture.issuer.verify(answer["token"].as_str().unwrap(), GATEWAY_AUDIENCE).unwrap();
    assert_eq!((caller.subject.as_str(), &caller.roles[..]), ("17850", &["customer".to_owned()][..]));
    for body in [
        r#"{"role":"service"}"#,
        r#"{"role":"operator","subject":"service:x"}"#,
        r#"{"role":"operator","subject":" "}"#,
    ] {
        assert_eq!(fixture.send("POST", "/dev/token", &own, body).await.0, 400, "{body}");
    }
}

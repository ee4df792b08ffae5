//! The gateway before a backend that tells what reached it.

use super::*;
use crate::identity::ManagedIdentity;
use crate::resources::Api;
use serde_json::Value;
use tower::ServiceExt as _;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Fixture {
    router: Router,
    issuer: Arc<Issuer>,
    _state: tempfile::TempDir,
}

/// A gateway whose two backends answer with their name and the headers and body they got.
async fn fixture() -> Fixture {
    let echo = |name: &'static str| {
        post(async move |headers: HeaderMap, body: String| {
            let headers: serde_json::Map<String, Value> = headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
                .collect();
            axum::Json(json!({"backend": name, "headers": headers, "body": body}))
        })
    };
    let backends = Router::new().route("/c/api/graphql", echo("command")).route("/q/api/graphql", echo("query"));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, backends).await });
    let state = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open(state.path()).unwrap());
    let backend = |side: &str| Backend {
        site: format!("func-orders-{side}"),
        url: format!("http://127.0.0.1:{port}/{side}/api"),
        audience: "api://skein-local".into(),
    };
    let gateway = Gateway {
        name: "apim-skein".into(),
        identity: ManagedIdentity { principal_id: "gateway-oid".into(), client_id: "gateway-client".into() },
        apis: vec![Api {
            path: "orders".into(),
            display_name: "Orders <&>".into(),
            command: backend("c"),
            query: backend("q"),
        }],
    };
    let router = router(Config {
        gateway,
        issuer: issuer.clone(),
        client: crate::outbound::client(),
        base: "http://127.0.0.1:8080".into(),
        state: ".skein".into(),
        healthy: Arc::new(|| true),
    });
    Fixture { router, issuer, _state: state }
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
        (status, headers, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn the_kind_of_the_operation_routes() {
    let fixture = fixture().await;
    for (document, backend) in [("{ a }", "query"), ("mutation { a }", "command"), ("query Q { mutation }", "query")] {
        let (status, _, answer) = fixture.ask(document, &[]).await;
        assert_eq!((status, answer["backend"].as_str()), (200, Some(backend)), "{document}");
        let kind = if backend == "command" { "mutation" } else { "query" };
        assert_eq!(answer["headers"]["x-skein-kind"], kind, "{document}");
        assert_eq!(answer["body"], json!({"query": document}).to_string(), "the bytes stay as they were");
    }
    for document in ["subscription { a }", "{ a", "", "type Q { a: Int }"] {
        assert_eq!(fixture.ask(document, &[]).await.0, 400, "{document}");
    }
}

#[tokio::test]
async fn the_backend_sees_the_gateways_identity_and_the_principal_of_the_token() {
    let fixture = fixture().await;
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
    let principal = URL_SAFE_NO_PAD.decode(got["x-skein-principal"].as_str().unwrap()).unwrap();
    let principal: Value = serde_json::from_slice(&principal).unwrap();
    assert_eq!(principal, json!({"subject": "17850", "roles": ["customer"]}));
    assert_eq!(got["x-skein-kind"], "query");
    let token = got["authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(fixture.issuer.verify(token, "api://skein-local").unwrap().oid, "gateway-oid");
    for name in ["x-ms-client-principal-id", "x-ms-client-principal", "x-arr-ssl", "x-forwarded-for", "x-functions-key"]
    {
        assert!(got.get(name).is_none(), "{name}");
    }
    assert!(got.get("cookie").is_none());
    assert_eq!(got["x-other"], "kept");
    assert_eq!(got["traceparent"], TRACE);
    assert_eq!(headers["x-trace-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn nobody_is_refused_and_told_the_trace() {
    let fixture = fixture().await;
    let issuer = &fixture.issuer;
    let managed = issuer.issue_managed_identity("p", "c", "https://storage.azure.com").unwrap().0;
    let service = issuer.issue_user("service:orders", &["operator".into()]).unwrap();
    let service_role = issuer.issue_user("ann", &["service".into()]).unwrap();
    let tokens = ["".to_owned(), "Bearer x".into(), "Basic YTpi".into()];
    for token in tokens.into_iter().chain([managed, service, service_role].map(|token| format!("Bearer {token}"))) {
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let (status, headers, body) = fixture.send("POST", "/orders/graphql", &headers, r#"{"query":"{a}"}"#).await;
        assert_eq!(status, 401, "{token}");
        assert_eq!(headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["traceId"], headers["x-trace-id"].to_str().unwrap());
    }
}

#[tokio::test]
async fn odd_requests_get_the_right_status() {
    let fixture = fixture().await;
    let token = fixture.token();
    let json = ("content-type", "application/json");
    let auth = ("authorization", token.as_str());
    let large = format!(r#"{{"query":"{{ a(s: \"{}\") }}"}}"#, "x".repeat(MAX_REQUEST_BYTES));
    for (method, uri, headers, body, expected) in [
        ("POST", "/nothing/graphql", vec![auth, json], r#"{"query":"{a}"}"#, 404),
        ("POST", "/orders/other", vec![auth, json], r#"{"query":"{a}"}"#, 404),
        ("POST", "/orders/graphql", vec![auth], r#"{"query":"{a}"}"#, 415),
        ("POST", "/orders/graphql", vec![auth, ("content-type", "text/plain")], r#"{"query":"{a}"}"#, 415),
        ("POST", "/orders/graphql", vec![auth, ("content-type", "application/json; charset=utf-16")], "{}", 415),
        ("POST", "/orders/graphql", vec![auth, json, ("content-encoding", "gzip")], "{}", 415),
        ("POST", "/orders/graphql", vec![auth, json], large.as_str(), 413),
        ("POST", "/orders/graphql", vec![auth, ("content-type", "application/json; charset=UTF-8")], "[]", 400),
        ("GET", "/orders/graphql", vec![auth], "", 405),
        ("GET", "/nothing/graphql", vec![("accept", "text/html")], "", 404),
        ("GET", "/assets/../Cargo.toml", vec![], "", 404),
        ("GET", "/healthz", vec![], "", 200),
    ] {
        let (status, ..) = fixture.send(method, uri, &headers, body).await;
        assert_eq!(status, expected, "{method} {uri} {headers:?}");
    }
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere() {
    let fixture = fixture().await;
    let (status, headers, page) = fixture.send("GET", "/orders/graphql", &[("accept", "text/html")], "").await;
    assert_eq!(status, 200);
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'self'; script-src 'self';"));
    assert!(page.contains("Orders &lt;&amp;&gt;"), "names are escaped");
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
async fn only_its_own_pages_get_tokens() {
    let fixture = fixture().await;
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

//! What a well-behaved client sees.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use expect_test::expect;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use skein_gateway::{Documents, ForwardError, Program};
use skein_policies::{Tier, control_flow};

use crate::world::{Around, NOW, ORIGIN, Outside, SIGNER, changed, claims, mutation, query, shipped};

fn shown(headers: &HeaderMap) -> String {
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    lines.sort();
    lines.concat()
}

fn problem(response: &Response<Bytes>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test]
async fn mutations_and_queries_go_their_own_ways() {
    for tier in Tier::ALL {
        let (program, outside) = (shipped(tier), Outside::new());
        for (request, url) in [(mutation(), "http://command/api/graphql"), (query(), "http://query/api/graphql")] {
            let sent = request.body().clone();
            let response = program.run(request, &outside).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.body(), r#"{"data":{}}"#);
            let forwarded = outside.forwarded.lock().unwrap().pop().unwrap();
            assert_eq!((forwarded.uri().to_string().as_str(), forwarded.body()), (url, &sent));
            assert_eq!(forwarded.headers()["authorization"], "Bearer gateway-token");
            let principal = URL_SAFE_NO_PAD.decode(&forwarded.headers()["x-skein-principal"]).unwrap();
            let principal: Value = serde_json::from_slice(&principal).unwrap();
            assert_eq!(principal, json!({"subject": "20001", "roles": ["customer"], "exp": NOW + 600}));
        }
    }
}

/// The C# of the policies is held to the same table.
#[tokio::test]
async fn principals() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../policies/tests/principals.json")).unwrap();
    for case in cases {
        // What ships demands that a token ends; the table goes on to one that does not.
        let demands = "require-expiration-time=\"true\"";
        let program = changed(Tier::StandardV2, |api| {
            assert_eq!(api.matches(demands).count(), 1);
            api.replace(demands, "require-expiration-time=\"false\"")
        });
        let (outside, mut claims) = (Outside::new(), claims());
        for (name, value) in case["claims"].as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let token = SIGNER.rs256(&json!({"alg": "RS256", "kid": "r1"}), &claims);
        let mut request = query();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let response = program.run(request, &outside).await;
        let principal = outside.forwarded.lock().unwrap().pop().map_or(Value::Null, |forwarded| {
            let principal = URL_SAFE_NO_PAD.decode(&forwarded.headers()["x-skein-principal"]).unwrap();
            serde_json::from_slice(&principal).unwrap()
        });
        assert_eq!(principal, case["principal"], "{}", case["claims"]);
        assert_eq!(response.status(), if principal.is_null() { 401 } else { 200 });
    }
}

#[tokio::test]
async fn headers_on_both_ways() {
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    let mut request = query();
    for (name, value) in [
        ("x-skein-principal", "forged"),
        ("x-skein-kind", "mutation"),
        ("x-ms-client-principal-id", "forged"),
        ("cookie", "a=b"),
        ("connection", "close, x-mine"),
        ("x-mine", "1"),
        ("x-kept", "1"),
        ("host", "elsewhere"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = program.run(request, &outside).await;
    let mut forwarded = outside.forwarded.lock().unwrap().pop().unwrap();
    forwarded.headers_mut().remove("x-skein-principal").unwrap();
    expect![[r#"
        authorization: Bearer gateway-token
        content-type: application/json
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-0af7651916cd43dd-01
        x-kept: 1
        x-skein-kind: query
    "#]]
    .assert_eq(&shown(forwarded.headers()));
    expect![[r#"
        cache-control: no-store
        content-type: application/json
        x-content-type-options: nosniff
        x-trace-id: 0af7651916cd43dd8448eb211c80319c
    "#]]
    .assert_eq(&shown(response.headers()));
}

#[tokio::test]
async fn a_clients_trace_is_kept() {
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    let mut request = query();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.headers_mut().insert("traceparent", trace.parse().unwrap());
    let response = program.run(request, &outside).await;
    assert_eq!(response.headers()["x-trace-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(outside.forwarded.lock().unwrap()[0].headers()["traceparent"], trace);
}

#[tokio::test]
async fn both_kinds_of_signatures_and_a_little_skew() {
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    let header = json!({"alg": "ES256", "kid": "e1"});
    let mut skewed = claims();
    (skewed["exp"], skewed["nbf"]) = ((NOW - 59).into(), (NOW + 60).into());
    let mut many = claims();
    many["aud"] = json!(["api://else", crate::world::AUDIENCE]);
    for claims in [claims(), skewed, many] {
        for token in [SIGNER.es256(&header, &claims), SIGNER.rs256(&json!({"alg": "RS256"}), &claims)] {
            let mut request = query();
            request.headers_mut().insert("authorization", format!("bearer {token}").parse().unwrap());
            assert_eq!(program.run(request, &outside).await.status(), 200, "{claims}");
        }
    }
}

async fn statuses(program: &Program, outside: &Outside, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        statuses.push(program.run(query(), outside).await.status().as_u16());
    }
    statuses
}

#[tokio::test]
async fn limits_hold_for_a_subject_and_end() {
    let (program, outside) = (shipped(Tier::StandardV2), Outside::new());
    assert_eq!(statuses(&program, &outside, 4).await, [200, 200, 200, 429]);
    let response = program.run(query(), &outside).await;
    assert_eq!(response.headers()["retry-after"], "60");
    expect![[r#"{"detail":"RateLimitExceeded","status":429,"title":"Too Many Requests","traceId":"0af7651916cd43dd8448eb211c80319c","type":"about:blank"}"#]]
        .assert_eq(&problem(&response).to_string());
    outside.now.store(NOW + 60, Ordering::Relaxed);
    assert_eq!(statuses(&program, &outside, 3).await, [200, 200, 403]);
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    assert_eq!(statuses(&program, &outside, 7).await, [200; 7], "the tier cannot count by subject");
}

#[tokio::test]
async fn what_fails_behind_the_gateway_is_told_without_its_inside() {
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    for (error, status, detail) in [
        (ForwardError::Timeout, 504, "Timeout"),
        (ForwardError::Connection("refused by 10.0.0.7".into()), 502, "BackendConnectionFailure"),
    ] {
        *outside.answer.lock().unwrap() = Err(error);
        let response = program.run(query(), &outside).await;
        let problem = problem(&response);
        assert_eq!((response.status().as_u16(), problem["status"].as_u64()), (status, Some(status.into())));
        assert_eq!(problem["detail"], detail);
    }
    assert!(outside.traced.lock().unwrap().concat().contains("refused by 10.0.0.7"));
    // A backend's own errors are the client's to see.
    *outside.answer.lock().unwrap() = Ok(Response::builder().status(503).body(Bytes::from("later")).unwrap());
    let response = program.run(query(), &outside).await;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (503, &b"later"[..]));
}

#[tokio::test]
async fn what_fits_no_operation_is_refused_as_everything_else_is() {
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    let response = program.refuse(query(), StatusCode::NOT_FOUND, "OperationNotFound", "none fits", &outside).await;
    expect![[r#"{"detail":"OperationNotFound","status":404,"title":"Not Found","traceId":"0af7651916cd43dd8448eb211c80319c","type":"about:blank"}"#]]
        .assert_eq(&problem(&response).to_string());
    assert_eq!(response.headers()["x-trace-id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(outside.forwarded.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_a_policy_that_chooses_requests_go_to_the_apis_own_backend() {
    let around = Around::new(Tier::Consumption);
    let gateway = control_flow::gateway(Tier::Consumption).print(Tier::Consumption).unwrap();
    let documents = Documents { service_url: Some("http://own/v1/"), ..around.documents(Some(&gateway), None) };
    let (program, outside) = (Program::compile(&documents).unwrap(), Outside::new());
    assert_eq!(program.run(query(), &outside).await.status(), 200);
    assert_eq!(outside.forwarded.lock().unwrap()[0].uri(), "http://own/v1/graphql");
}

#[tokio::test]
async fn other_origins() {
    let (program, outside) = (shipped(Tier::Consumption), Outside::new());
    let preflight = |origin: &str| {
        let request =
            Request::options("/graphql").header("origin", origin).header("access-control-request-method", "POST");
        request.body(Bytes::new()).unwrap()
    };
    let response = program.run(preflight(ORIGIN), &outside).await;
    expect![[r#"
        access-control-allow-headers: accept, authorization, content-type, traceparent
        access-control-allow-methods: GET, POST
        access-control-allow-origin: https://shop.example
        access-control-max-age: 600
        vary: Origin
    "#]]
    .assert_eq(&shown(response.headers()));
    for foreign in ["https://shop.example.evil", "null", "http://shop.example"] {
        let response = program.run(preflight(foreign), &outside).await;
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 0), "{foreign}");
        let mut request = query();
        request.headers_mut().insert("origin", foreign.parse().unwrap());
        let response = program.run(request, &outside).await;
        assert_eq!((response.status().as_u16(), response.body().len()), (200, 0), "{foreign}");
    }
    assert!(outside.forwarded.lock().unwrap().is_empty());
    let mut request = query();
    request.headers_mut().insert("origin", ORIGIN.parse().unwrap());
    let response = program.run(request, &outside).await;
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(response.headers()["access-control-expose-headers"], "x-trace-id");
    assert_eq!(outside.forwarded.lock().unwrap().len(), 1);
}

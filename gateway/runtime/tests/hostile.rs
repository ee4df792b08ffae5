//! Requests that must not reach a handler, each with the status that the documentation promises.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hmac::Mac as _;
use http::{HeaderValue, Method, Request};
use rsa::pkcs8::EncodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use skein_policies::Tier;

use crate::world::{
    AUDIENCE, ISSUER, NOW, Outside, SIGNER, claims, encoded, good_token, mutation, post, query, shipped,
};

/// A request with another `Authorization`.
fn with(authorization: &str) -> Request<Bytes> {
    let mut request = mutation();
    request.headers_mut().insert("authorization", HeaderValue::from_str(authorization).unwrap());
    request
}

fn token(header: Value, claims: Value) -> Request<Bytes> {
    with(&format!("Bearer {}", SIGNER.rs256(&header, &claims)))
}

fn claiming(name: &str, value: Value) -> Request<Bytes> {
    let mut claims = claims();
    claims[name] = value;
    token(json!({"alg": "RS256", "kid": "r1"}), claims)
}

fn without(name: &str) -> Request<Bytes> {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    token(json!({"alg": "RS256", "kid": "r1"}), claims)
}

/// Signed with HMAC, with what everybody may know as the secret.
fn hmac_signed(secret: &[u8]) -> Request<Bytes> {
    let signed = format!("{}.{}", encoded(&json!({"alg": "HS256", "kid": "r1"})), encoded(&claims()));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    with(&format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
}

fn header(name: &'static str, value: &str) -> Request<Bytes> {
    let mut request = mutation();
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

fn get(query: &str) -> Request<Bytes> {
    let mut request = Request::get(format!("/graphql?{query}")).body(Bytes::new()).unwrap();
    let token = HeaderValue::from_str(&format!("Bearer {}", good_token())).unwrap();
    request.headers_mut().insert("authorization", token);
    request
}

fn method(method: Method) -> Request<Bytes> {
    let mut request = query();
    *request.method_mut() = method;
    request
}

fn raw(body: &[u8]) -> Request<Bytes> {
    let mut request = post("");
    request.headers_mut().insert("content-length", body.len().into());
    *request.body_mut() = Bytes::copy_from_slice(body);
    request
}

fn cases() -> Vec<(&'static str, u16, Request<Bytes>)> {
    let rs256 = || json!({"alg": "RS256", "kid": "r1"});
    let unsigned =
        |alg: &str| with(&format!("Bearer {}.{}.", encoded(&json!({"alg": alg, "kid": "r1"})), encoded(&claims())));
    let good = good_token();
    let parts: Vec<&str> = good.split('.').collect();
    let forged = {
        let mut claims = claims();
        claims["roles"] = json!(["operator"]);
        format!("Bearer {}.{}.{}", parts[0], encoded(&claims), parts[2])
    };
    let public = SIGNER.rsa.to_public_key();
    let mut two = mutation();
    two.headers_mut().append("authorization", HeaderValue::from_str(&format!("Bearer {good}")).unwrap());
    let mut nobody = mutation();
    nobody.headers_mut().remove("authorization");
    let mut in_query = mutation();
    in_query.headers_mut().remove("authorization");
    *in_query.uri_mut() = format!("/graphql?access_token={good}").parse().unwrap();
    let mut media_twice = mutation();
    media_twice.headers_mut().append("content-type", HeaderValue::from_static("text/plain"));
    let mut no_media = mutation();
    no_media.headers_mut().remove("content-type");
    let mut understated = raw(&vec![b' '; 300_000]);
    understated.headers_mut().insert("content-length", 10.into());
    let mut unstated = raw(&vec![b' '; 300_000]);
    unstated.headers_mut().remove("content-length");
    let empty_get = get("");
    let embedded = json!({"alg": "RS256", "kid": "r9", "jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}});
    let linked = json!({"alg": "RS256", "kid": "r9", "jku": "https://evil.example/keys"});
    let confused = {
        let mut claims = claims();
        claims["exp"] = json!("never");
        claims
    };
    let deep = format!(r#"{{"query":"{}"}}"#, "{a".repeat(70));
    let batch = r#"[{"query":"{ a }"},{"query":"mutation { b }"}]"#;
    vec![
        // Who asks.
        ("no token", 401, nobody),
        ("a token in the query", 401, in_query),
        ("two tokens", 401, two),
        ("no scheme", 401, with(&good)),
        ("another scheme", 401, with(&format!("Basic {good}"))),
        ("an empty token", 401, with("Bearer ")),
        ("no token at all", 401, with("Bearer x")),
        ("two parts", 401, with(&format!("Bearer {}.{}", parts[0], parts[1]))),
        ("four parts", 401, with(&format!("Bearer {good}.x"))),
        ("five parts, as if encrypted", 401, with("Bearer a.b.c.d.e")),
        ("padding", 401, with(&format!("Bearer {}=.{}.{}", parts[0], parts[1], parts[2]))),
        ("forged claims", 401, with(&forged)),
        ("a signature cut off", 401, with(&format!("Bearer {}", &good[..good.len() - 6]))),
        ("a signature of another key", 401, with(&format!("Bearer {}", SIGNER.by_another(&rs256(), &claims())))),
        ("alg none", 401, unsigned("none")),
        ("alg None", 401, unsigned("None")),
        ("alg nOnE", 401, unsigned("nOnE")),
        ("RS256 without a signature", 401, unsigned("RS256")),
        ("HMAC with the public key's DER", 401, hmac_signed(public.to_public_key_der().unwrap().as_bytes())),
        ("HMAC with the modulus", 401, hmac_signed(&public.n_bytes())),
        ("HMAC with an empty secret", 401, hmac_signed(b"")),
        ("RS512", 401, token(json!({"alg": "RS512", "kid": "r1"}), claims())),
        ("PS256", 401, token(json!({"alg": "PS256", "kid": "r1"}), claims())),
        ("ES256 with an RSA key", 401, token(json!({"alg": "ES256", "kid": "r1"}), claims())),
        ("an RSA signature under the P-256 key's id", 401, token(json!({"alg": "RS256", "kid": "e1"}), claims())),
        ("an unknown key", 401, token(json!({"alg": "RS256", "kid": "r2"}), claims())),
        (
            "a key for encryption",
            401,
            with(&format!("Bearer {}", SIGNER.by_another(&json!({"alg": "RS256", "kid": "x1"}), &claims()))),
        ),
        ("a key in the token", 401, with(&format!("Bearer {}", SIGNER.by_another(&embedded, &claims())))),
        ("a key somewhere else", 401, with(&format!("Bearer {}", SIGNER.by_another(&linked, &claims())))),
        ("demands in the header", 401, token(json!({"alg": "RS256", "kid": "r1", "crit": ["b64"]}), claims())),
        ("a header without an algorithm", 401, token(json!({"kid": "r1"}), claims())),
        ("expired", 401, claiming("exp", json!(NOW - 61))),
        ("expiring as a text", 401, token(rs256(), confused)),
        ("never expiring", 401, without("exp")),
        ("not valid yet", 401, claiming("nbf", json!(NOW + 61))),
        ("valid from a text", 401, claiming("nbf", json!("0"))),
        ("another audience", 401, claiming("aud", json!("api://apps"))),
        ("an audience that begins alike", 401, claiming("aud", json!(format!("{AUDIENCE}x")))),
        ("an audience that is a number", 401, claiming("aud", json!(1))),
        ("no audience", 401, without("aud")),
        ("another issuer", 401, claiming("iss", json!("https://login.example/other/v2.0"))),
        ("an issuer in a list", 401, claiming("iss", json!([ISSUER]))),
        ("no issuer", 401, without("iss")),
        ("nobody", 401, without("sub")),
        ("a subject that is a list", 401, claiming("sub", json!(["20001"]))),
        ("a service's subject", 401, claiming("sub", json!("service:orders"))),
        ("a service's role", 401, claiming("roles", json!(["customer", "service"]))),
        ("a service's role as a text", 401, claiming("roles", json!("service"))),
        ("a token of 20 KB", 401, claiming("x", json!("x".repeat(20_000)))),
        // What is asked, and how.
        ("a text", 415, header("content-type", "text/plain")),
        ("a form", 415, header("content-type", "application/x-www-form-urlencoded")),
        ("several parts", 415, header("content-type", "multipart/form-data; boundary=x")),
        ("GraphQL's own type", 415, header("content-type", "application/graphql")),
        ("another charset", 415, header("content-type", "application/json; charset=utf-7")),
        ("two charsets", 415, header("content-type", "application/json; charset=utf-8; charset=utf-16")),
        ("two types", 415, media_twice),
        ("no type", 415, no_media),
        ("compressed", 415, header("content-encoding", "gzip")),
        ("identity that is said", 415, header("content-encoding", "identity")),
        ("too large by its length", 413, header("content-length", "262145")),
        ("too large by far", 413, header("content-length", "99999999999999999999")),
        ("a length that is no number", 500, header("content-length", "1e3")),
        ("a negative length", 400, {
            let mut request = raw(b"");
            request.headers_mut().insert("content-length", HeaderValue::from_static("-1"));
            request
        }),
        ("more than it states", 413, understated),
        ("a mutation by GET", 405, get("query=mutation%7Bopen(by:%22ann%22)%7Bid%7D%7D")),
        ("a subscription by GET", 400, get("query=subscription%7Ba%7D")),
        ("a GET with a body", 400, {
            let mut request = get("query=%7Ba%7D");
            request.headers_mut().insert("content-length", 2.into());
            *request.body_mut() = Bytes::from_static(b"{}");
            request
        }),
        ("a GET with a token in the query", 400, get("query=%7Ba%7D&access_token=x")),
        ("a GET that asks twice", 400, get("query=%7Ba%7D&query=%7Ba%7D")),
        ("a GET that is compressed", 415, {
            let mut request = get("query=%7Ba%7D");
            request.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
            request
        }),
        ("a GET that is too long", 414, get(&format!("query=%7Ba%7D{}", "+".repeat(7_200)))),
        ("a PUT", 405, method(Method::PUT)),
        ("a DELETE", 405, method(Method::DELETE)),
        ("a HEAD", 405, method(Method::HEAD)),
        ("another method's name", 405, method(Method::from_bytes(b"get").unwrap())),
        ("much, unstated", 413, unstated),
        ("no body", 400, raw(b"")),
        ("a GET without a query", 422, empty_get),
        ("no JSON", 400, raw(b"{ a }")),
        ("a batch", 400, raw(batch.as_bytes())),
        ("no UTF-8", 400, raw(b"{\"query\":\"{ a(b: \\\"\xff\\\") }\"}")),
        ("UTF-16", 400, raw(b"\xff\xfe{\0}\0")),
        ("no query", 422, raw(br#"{"variables":{}}"#)),
        ("a query that is a list", 422, raw(br#"{"query":["{ a }"]}"#)),
        ("a query that comes twice, last no text", 422, raw(br#"{"query":"{ a }","query":1}"#)),
        ("too deep", 400, raw(deep.as_bytes())),
        ("two operations, none named", 422, raw(br#"{"query":"query A { a } mutation B { b }"}"#)),
        (
            "an operation that is not there",
            422,
            raw(br#"{"query":"query A { a } mutation B { b }","operationName":"C"}"#),
        ),
        ("a subscription", 400, raw(br#"{"query":"subscription { a }"}"#)),
        ("a schema", 400, raw(br#"{"query":"type A { a: Int }"}"#)),
        ("an open text", 400, raw(br#"{"query":"{ a(b: \"x) }"}"#)),
        ("something behind the object", 400, raw(br#"{"query":"{ a }"} x"#)),
    ]
}

#[tokio::test]
async fn nothing_of_it_reaches_a_handler() {
    let cases = cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for tier in Tier::ALL {
        for (name, status, request) in &cases {
            // A program of its own, so that no limit is reached.
            let (program, outside) = (shipped(tier), Outside::new());
            let mut copy = Request::new(request.body().clone());
            (*copy.method_mut(), *copy.uri_mut()) = (request.method().clone(), request.uri().clone());
            *copy.headers_mut() = request.headers().clone();
            let response = program.run(copy, &outside).await;
            let forwarded = outside.forwarded.lock().unwrap().len();
            if response.status() != *status || forwarded != 0 {
                wrong.push(format!("{name}: {} instead of {status}, {forwarded} calls", response.status()));
            }
            let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
            if problem["status"] != *status || response.headers().get("x-trace-id").is_none() {
                wrong.push(format!("{name}: the answer is no problem with a trace: {problem}"));
            }
            if *status == 405 && response.headers().get("allow").is_none() {
                wrong.push(format!("{name}: no Allow"));
            }
            if *status == 401 && response.headers().get("www-authenticate").is_none() {
                wrong.push(format!("{name}: no WWW-Authenticate"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{} hostile requests refused in {} tiers", cases.len(), Tier::ALL.len());
}

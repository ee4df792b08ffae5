//! What must not reach a handler, over real connections: the local gateway with the policies that ship, before two function
//! apps behind their authentication, whose worker is the real endpoint with fields that say when they are resolved.
//!
//! Each case has the status that `platform/docs/hostile.md` promises; `UPDATE_EXPECT=1` writes that table.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hmac::Mac as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rsa::sha2::Sha256;
use rsa::traits::PublicKeyParts as _;
use time::OffsetDateTime;

use super::*;

/// Whom a request is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Gateway,
    Command,
    Query,
}

/// Who refuses it at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The gateway, or the function app's authentication: the app's handler is not called.
    Front,
    /// The app, before a field is resolved.
    App,
}

struct Case {
    about: &'static str,
    to: To,
    by: By,
    /// The status, and the code of the first GraphQL error where there is one.
    expected: &'static str,
    request: Vec<u8>,
}

const MUTATION: &str = r#"{"query":"mutation{place}"}"#;
const PURGE: &str = r#"{"query":"mutation{purge}"}"#;
const QUERY: &str = r#"{"query":"{level{value}}"}"#;
const APPS: &str = "api://skein-local";

/// What tokens are made with.
struct Tokens {
    key: rsa::PrivateKey,
    stranger: rsa::PrivateKey,
    kid: String,
    gateway: String,
    app: String,
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn sign(key: &rsa::PrivateKey, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = key.pkcs1v15_sign::<Sha256>(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

impl Tokens {
    fn header(&self) -> Value {
        json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"})
    }

    fn claims(&self) -> Value {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        json!({"iss": ISSUER, "aud": GATEWAY_AUDIENCE, "sub": "17850", "roles": ["customer"], "iat": now, "nbf": now - 10,
            "exp": now + 600})
    }

    fn good(&self) -> String {
        sign(&self.key, &self.header(), &self.claims())
    }

    fn with_header(&self, header: Value) -> String {
        sign(&self.key, &header, &self.claims())
    }

    fn claiming(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[name] = value;
        sign(&self.key, &self.header(), &claims)
    }

    fn without(&self, name: &str) -> String {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(name);
        sign(&self.key, &self.header(), &claims)
    }

    fn unsigned(&self, alg: &str) -> String {
        format!("{}.{}.", encoded(&json!({"alg": alg, "kid": self.kid})), encoded(&self.claims()))
    }

    fn hmac(&self, kid: &str, secret: &[u8]) -> String {
        let signed = format!("{}.{}", encoded(&json!({"alg": "HS256", "kid": kid})), encoded(&self.claims()));
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// A token of an identity, for the function apps.
    fn identity(&self, oid: &str) -> Value {
        let mut claims = self.claims();
        claims["aud"] = APPS.into();
        claims["sub"] = oid.into();
        claims["oid"] = oid.into();
        claims.as_object_mut().unwrap().remove("roles");
        claims
    }

    fn of_identity(&self, oid: &str) -> String {
        sign(&self.key, &self.header(), &self.identity(oid))
    }
}

/// A request as bytes; `HOST` is replaced by whom it is sent to. A body has its length unless the headers say otherwise.
fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let said = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !body.is_empty() && !said("content-length") && !said("transfer-encoding") {
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// One request on one connection, and all that comes back.
fn exchange(host: &str, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let named = b"Host: HOST";
    let start = request.windows(named.len()).position(|part| part == named).map(|at| at + "Host: ".len());
    let sent = match start {
        Some(at) => [&request[..at], host.as_bytes(), &request[at + "HOST".len()..]].concat(),
        None => request.to_vec(),
    };
    // Whoever refuses early may close before all was sent; what it said is there all the same.
    let _ = stream.write_all(&sent);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// The status, with the code of the first GraphQL error.
fn said(status: u16, answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json = body.find('{').and_then(|start| body.rfind('}').map(|end| &body[start..=end])).unwrap_or_default();
    let body: Value = serde_json::from_str(json).unwrap_or_default();
    match body["errors"][0]["extensions"]["code"].as_str() {
        Some(code) => {
            assert!(body["errors"][0]["extensions"]["traceId"].is_string(), "{body}");
            format!("{status} {code}")
        }
        None => status.to_string(),
    }
}

fn token_cases(tokens: &Tokens) -> Vec<(&'static str, Vec<String>)> {
    let good = tokens.good();
    let parts: Vec<&str> = good.split('.').collect();
    let mut forged = tokens.claims();
    forged["roles"] = json!(["operator"]);
    let public = tokens.key.to_public_key();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut another = tokens.header();
    another["kid"] = "another".into();
    let header = |name: &str, value: Value| {
        let mut header = tokens.header();
        header[name] = value;
        tokens.with_header(header)
    };
    let embedded = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(tokens.stranger.n_bytes()), "e": "AQAB"});
    let stranger = |name: &str, value: Value| {
        let mut header = json!({"alg": "RS256", "kid": "theirs"});
        header[name] = value;
        sign(&tokens.stranger, &header, &tokens.claims())
    };
    let bearer = |token: String| vec![format!("Bearer {token}")];
    vec![
        ("no token", vec![]),
        ("two tokens", vec![format!("Bearer {good}"), format!("Bearer {good}")]),
        ("a token without a scheme", vec![good.clone()]),
        ("another scheme", vec![format!("Basic {good}")]),
        ("an empty token", vec!["Bearer ".to_owned()]),
        ("no JWT", bearer("x".to_owned())),
        ("a JWT of two parts", bearer(format!("{}.{}", parts[0], parts[1]))),
        ("a JWT of four parts", bearer(format!("{good}.x"))),
        ("a JWT of five parts, as if encrypted", bearer("a.b.c.d.e".to_owned())),
        ("a JWT with padding", bearer(format!("{}=.{}.{}", parts[0], parts[1], parts[2]))),
        ("forged roles", bearer(format!("{}.{}.{}", parts[0], encoded(&forged), parts[2]))),
        ("a signature cut off", bearer(good[..good.len() - 6].to_owned())),
        ("the signature of another key", bearer(sign(&tokens.stranger, &tokens.header(), &tokens.claims()))),
        ("`alg: none`", bearer(tokens.unsigned("none"))),
        ("`alg: nOnE`", bearer(tokens.unsigned("nOnE"))),
        ("RS256 without a signature", bearer(tokens.unsigned("RS256"))),
        (
            "HMAC with the public key in DER",
            bearer(tokens.hmac(&tokens.kid, public.to_public_key_der().unwrap().as_bytes())),
        ),
        (
            "HMAC with the public key in PEM",
            bearer(tokens.hmac(&tokens.kid, public.to_public_key_pem(Default::default()).unwrap().as_bytes())),
        ),
        ("HMAC with the modulus", bearer(tokens.hmac(&tokens.kid, &public.n_bytes()))),
        ("HMAC with an empty secret", bearer(tokens.hmac(&tokens.kid, b""))),
        ("a `kid` that is a path, HMAC with an empty secret", bearer(tokens.hmac("../../../../dev/null", b""))),
        ("a `kid` that is SQL", bearer(header("kid", json!("x' UNION SELECT 'secret' --")))),
        ("a `kid` that is a list", bearer(header("kid", json!([tokens.kid])))),
        ("a `kid` that nobody has", bearer(tokens.with_header(another))),
        ("RS512", bearer(header("alg", json!("RS512")))),
        ("PS256", bearer(header("alg", json!("PS256")))),
        ("ES256 with an RSA key", bearer(header("alg", json!("ES256")))),
        ("no `alg`", bearer(tokens.with_header(json!({"kid": tokens.kid})))),
        ("a key in the token (`jwk`)", bearer(stranger("jwk", embedded))),
        ("a key elsewhere (`jku`)", bearer(stranger("jku", json!("https://evil.example/keys")))),
        ("a certificate elsewhere (`x5u`)", bearer(stranger("x5u", json!("https://evil.example/cert")))),
        ("demands in the header (`crit`)", bearer(header("crit", json!(["b64"])))),
        ("expired", bearer(tokens.claiming("exp", json!(now - 120)))),
        ("expiring as a text", bearer(tokens.claiming("exp", json!("never")))),
        ("never expiring", bearer(tokens.without("exp"))),
        ("not valid yet", bearer(tokens.claiming("nbf", json!(now + 120)))),
        ("another audience", bearer(tokens.claiming("aud", json!("api://else")))),
        ("the apps' audience", bearer(tokens.claiming("aud", json!(APPS)))),
        ("an audience that begins alike", bearer(tokens.claiming("aud", json!(format!("{GATEWAY_AUDIENCE}x"))))),
        ("no audience", bearer(tokens.without("aud"))),
        ("another issuer", bearer(tokens.claiming("iss", json!("https://issuer.example/")))),
        ("an issuer in a list", bearer(tokens.claiming("iss", json!([ISSUER])))),
        ("no issuer", bearer(tokens.without("iss"))),
        ("no subject", bearer(tokens.without("sub"))),
        ("a service's subject", bearer(tokens.claiming("sub", json!("service:orders")))),
        ("a service's role", bearer(tokens.claiming("roles", json!(["customer", "service"])))),
        ("the gateway's own token for the apps", bearer(tokens.of_identity(&tokens.gateway))),
        ("an app's token for the apps", bearer(tokens.of_identity(&tokens.app))),
        ("a token of 20 KB", bearer(tokens.claiming("x", json!("x".repeat(20_000))))),
    ]
}

#[allow(clippy::too_many_lines)]
fn cases(tokens: &Tokens) -> Vec<Case> {
    let good = format!("Bearer {}", tokens.good());
    let auth = ("Authorization", good.as_str());
    let json_type = ("Content-Type", "application/json");
    let modern = ("Accept", "application/graphql-response+json");
    let path = "/orders/graphql";
    let mut cases = Vec::new();
    let mut add = |about, to, by, expected, request| cases.push(Case { about, to, by, expected, request });

    // Who asks.
    for (about, values) in token_cases(tokens) {
        let mut headers = vec![json_type];
        headers.extend(values.iter().map(|value| ("Authorization", value.as_str())));
        add(about, To::Gateway, By::Front, "401", request("POST", path, &headers, MUTATION.as_bytes()));
    }
    let in_query = format!("{path}?access_token={}", tokens.good());
    add(
        "a token in the URL",
        To::Gateway,
        By::Front,
        "401",
        request("POST", &in_query, &[json_type], QUERY.as_bytes()),
    );

    // Headers that would speak for somebody else: dropped, so that the token counts.
    let root = URL_SAFE_NO_PAD.encode(r#"{"subject":"root","roles":["operator"]}"#);
    let mut purge = |about, expected, by, more: &[(&str, &str)]| {
        let headers = [&[auth, json_type, modern], more].concat();
        add(about, To::Gateway, by, expected, request("POST", path, &headers, PURGE.as_bytes()));
    };
    purge("`X-Skein-Principal` of an operator", "200 FORBIDDEN", By::App, &[("X-Skein-Principal", &root)]);
    purge("the same twice", "200 FORBIDDEN", By::App, &[("X-Skein-Principal", &root), ("x-skein-principal", &root)]);
    purge("the same with underscores", "200 FORBIDDEN", By::App, &[("X_Skein_Principal", &root)]);
    purge(
        "`X-MS-CLIENT-PRINCIPAL-ID` of the gateway",
        "200 FORBIDDEN",
        By::App,
        &[
            ("X-MS-CLIENT-PRINCIPAL-ID", &tokens.gateway),
            ("X-MS-CLIENT-PRINCIPAL", &root),
            ("X-MS-CLIENT-PRINCIPAL-NAME", "root"),
            ("X-MS-CLIENT-PRINCIPAL-IDP", "aad"),
        ],
    );
    purge("`X-MS-TOKEN-AAD-ID-TOKEN`", "200 FORBIDDEN", By::App, &[("X-MS-TOKEN-AAD-ID-TOKEN", &root)]);
    purge("`X-Skein-Kind` that lies", "200 FORBIDDEN", By::App, &[("X-Skein-Kind", "query")]);
    purge("a functions key", "200 FORBIDDEN", By::App, &[("X-Functions-Key", "k"), ("X-Functions-ClientId", "root")]);
    purge("`X-Original-URL`", "200 FORBIDDEN", By::App, &[("X-Original-URL", "/admin"), ("X-Forwarded-Host", "evil")]);
    purge("`X-HTTP-Method-Override` on a POST", "200 FORBIDDEN", By::App, &[("X-HTTP-Method-Override", "GET")]);
    purge("`Connection: authorization`", "401", By::Front, &[("Connection", "authorization")]);
    purge("`Connection: x-skein-principal`", "401 UNAUTHORIZED", By::App, &[("Connection", "x-skein-principal")]);
    purge("`Connection: x-skein-kind`", "400 OPERATION_KIND_MISMATCH", By::App, &[("Connection", "x-skein-kind")]);

    // Directly to the function apps, around the gateway.
    let principal = URL_SAFE_NO_PAD.encode(r#"{"subject":"17850","roles":["customer"]}"#);
    let of_gateway = format!("Bearer {}", tokens.of_identity(&tokens.gateway));
    let mut expired = tokens.identity(&tokens.gateway);
    expired["exp"] = 1.into();
    let expired = format!("Bearer {}", sign(&tokens.key, &tokens.header(), &expired));
    let forged = format!("Bearer {}", sign(&tokens.stranger, &tokens.header(), &tokens.identity(&tokens.gateway)));
    let none = encoded(&json!({"alg": "none", "kid": tokens.kid}));
    let none = format!("Bearer {none}.{}.", encoded(&tokens.identity(&tokens.gateway)));
    let of_app = format!("Bearer {}", tokens.of_identity(&tokens.app));
    let said_principal = [("X-Skein-Principal", principal.as_str()), ("X-Skein-Kind", "mutation"), json_type];
    let mut direct = |about, by, expected, to: To, path: &str, more: &[(&str, &str)], body: &str| {
        let site = if to == To::Command { "func-orders-command" } else { "func-orders-query" };
        let path = format!("/sites/{site}{path}");
        let method = if body.is_empty() { "GET" } else { "POST" };
        add(about, to, by, expected, request(method, &path, more, body.as_bytes()));
    };
    for (about, expected, token) in [
        ("an app without a token", "401", None),
        ("an app with a customer's token", "401", Some(&good)),
        ("an app with an expired token of the gateway", "401", Some(&expired)),
        ("an app with a forged token of the gateway", "401", Some(&forged)),
        ("an app with an unsigned token of the gateway", "401", Some(&none)),
        ("an app with another app's token", "403", Some(&of_app)),
    ] {
        let token = token.map(|token| ("Authorization", token.as_str()));
        let headers: Vec<_> = said_principal.into_iter().chain(token).collect();
        direct(about, By::Front, expected, To::Command, "/api/graphql", &headers, MUTATION);
    }
    let claimed = [&said_principal[..], &[("X-MS-CLIENT-PRINCIPAL-ID", tokens.gateway.as_str())]].concat();
    direct("an app, claiming to be the gateway", By::Front, "401", To::Command, "/api/graphql", &claimed, MUTATION);
    direct("an app by GET", By::Front, "401", To::Query, "/api/graphql?query={level{value}}", &claimed[..1], "");
    direct("an app by another spelling", By::Front, "401", To::Query, "/API/GraphQL", &claimed, QUERY);
    direct(
        "an app past an open route",
        By::Front,
        "401",
        To::Query,
        "/api/health/ready/../../graphql",
        &claimed,
        QUERY,
    );
    direct("an app past an encoded open route", By::Front, "401", To::Query, "/api/health%2Fready", &claimed, "");
    direct("the functions host's own routes", By::Front, "401", To::Query, "/admin/host/status", &claimed, "");

    // As the gateway, but not as it asks.
    let as_gateway = ("Authorization", of_gateway.as_str());
    let named = ("X-Skein-Principal", principal.as_str());
    let mutation = ("X-Skein-Kind", "mutation");
    let query = ("X-Skein-Kind", "query");
    for (about, expected, to, headers, body) in [
        ("nobody is named", "401 UNAUTHORIZED", To::Command, vec![mutation, json_type], MUTATION),
        (
            "the name is no base64",
            "401 UNAUTHORIZED",
            To::Command,
            vec![("X-Skein-Principal", "%"), mutation, json_type],
            MUTATION,
        ),
        (
            "two are named",
            "401 UNAUTHORIZED",
            To::Command,
            vec![named, ("X-Skein-Principal", &root), mutation, json_type],
            MUTATION,
        ),
        ("no kind is named", "400 OPERATION_KIND_MISMATCH", To::Command, vec![named, json_type], MUTATION),
        ("another kind is named", "400 OPERATION_KIND_MISMATCH", To::Command, vec![named, query, json_type], MUTATION),
        (
            "a mutation for the query app",
            "400 OPERATION_KIND_MISMATCH",
            To::Query,
            vec![named, query, json_type],
            MUTATION,
        ),
        (
            "a query for the command app",
            "400 OPERATION_KIND_MISMATCH",
            To::Command,
            vec![named, mutation, json_type],
            QUERY,
        ),
        ("a text", "415 UNSUPPORTED_MEDIA_TYPE", To::Query, vec![named, query, ("Content-Type", "text/plain")], QUERY),
        (
            "another charset",
            "415 UNSUPPORTED_MEDIA_TYPE",
            To::Query,
            vec![named, query, ("Content-Type", "application/json; charset=utf-7")],
            QUERY,
        ),
        (
            "compressed",
            "415 UNSUPPORTED_MEDIA_TYPE",
            To::Query,
            vec![named, query, json_type, ("Content-Encoding", "gzip")],
            QUERY,
        ),
        (
            "a batch for an app",
            "422 MALFORMED_REQUEST",
            To::Query,
            vec![named, query, json_type],
            r#"[{"query":"{level{value}}"}]"#,
        ),
        (
            "no answer is accepted",
            "406 NOT_ACCEPTABLE",
            To::Query,
            vec![named, query, json_type, ("Accept", "text/html")],
            QUERY,
        ),
    ] {
        let headers = [&headers[..], &[as_gateway]].concat();
        direct(about, By::App, expected, to, "/api/graphql", &headers, body);
    }
    let large = format!("{QUERY}{}", " ".repeat(262_144));
    direct(
        "too large for an app",
        By::App,
        "413 PAYLOAD_TOO_LARGE",
        To::Query,
        "/api/graphql",
        &[as_gateway, named, query, json_type],
        &large,
    );
    direct(
        "a mutation by GET for the query app",
        By::App,
        "405 METHOD_NOT_ALLOWED",
        To::Query,
        "/api/graphql?query=mutation%7Bplace%7D",
        &[as_gateway, named, query],
        "",
    );

    // What the body is said to be.
    let mut post = |about, by, expected, more: &[(&str, &str)], body: &[u8]| {
        let headers = [&[auth], more].concat();
        add(about, To::Gateway, by, expected, request("POST", path, &headers, body));
    };
    let q = QUERY.as_bytes();
    for (about, content_type) in [
        ("a text for the gateway", "text/plain"),
        ("a form", "application/x-www-form-urlencoded"),
        ("several parts", "multipart/form-data; boundary=x"),
        ("GraphQL's own type", "application/graphql"),
        ("a type that begins alike", "application/json-seq"),
        ("UTF-7", "application/json; charset=utf-7"),
        ("UTF-16 that is said", "application/json; charset=utf-16le"),
        ("two charsets", "application/json; charset=utf-8; charset=utf-7"),
        ("a charset without a name", "application/json; charset"),
        ("two types in one header", "application/json, text/plain"),
    ] {
        post(about, By::Front, "415", &[("Content-Type", content_type)], q);
    }
    post("no type", By::Front, "415", &[], q);
    post("two types", By::Front, "415", &[json_type, ("Content-Type", "text/plain")], q);
    for (about, coding) in [
        ("gzip", "gzip"),
        ("gzip in capitals", "GZIP"),
        ("a coding nobody knows", "x-none"),
        ("`identity` that is said", "identity"),
        ("no coding that is said", ""),
    ] {
        post(about, By::Front, "415", &[json_type, ("Content-Encoding", coding)], q);
    }

    // How much.
    post("too large, declared", By::Front, "413", &[json_type], " ".repeat(262_145).as_bytes());
    let chunk = " ".repeat(0x10000);
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
    let much = format!("{}0\r\n\r\n", chunked(&chunk).repeat(5));
    post("too large, chunked", By::Front, "413", &[json_type, ("Transfer-Encoding", "chunked")], much.as_bytes());
    let much = format!("{}0\r\n\r\n", chunked(&chunk).repeat(40));
    post("far too large, chunked", By::Front, "413", &[json_type, ("Transfer-Encoding", "chunked")], much.as_bytes());

    // What is no request, or no certain one.
    for (about, expected, body) in [
        ("no body", "400", &b""[..]),
        ("no JSON", "400", b"{ level }"),
        ("a batch", "400", br#"[{"query":"{level{value}}"},{"query":"mutation{purge}"}]"#),
        ("no query", "422", br#"{"variables":{}}"#),
        ("a query that is a list", "422", br#"{"query":["{level}"]}"#),
        ("a query that is a number in the end", "422", br#"{"query":"{level{value}}","query":1}"#),
        ("no UTF-8", "400", b"{\"query\":\"{level(x:\\\"\xff\\\")}\"}"),
        ("UTF-16 with its mark", "400", b"\xff\xfe{\0}\0"),
        ("UTF-8 with a mark", "400", b"\xef\xbb\xbf{\"query\":\"{level{value}}\"}"),
        ("a NUL in the document", "400", br#"{"query":"{level\u0000{value}}"}"#),
        ("two operations, none named", "422", br#"{"query":"query A{level{value}} mutation B{purge}"}"#),
        (
            "an operation that is not there",
            "422",
            br#"{"query":"query A{level{value}} mutation B{purge}","operationName":"C"}"#,
        ),
        (
            "two operations of one name",
            "422",
            br#"{"query":"query A{level{value}} mutation A{purge}","operationName":"A"}"#,
        ),
        ("an operation's name that is an object", "422", br#"{"query":"{level{value}}","operationName":{}}"#),
        ("a subscription", "400", br#"{"query":"subscription{a}"}"#),
        ("a schema", "400", br#"{"query":"type A{a:Int}"}"#),
        ("an open text", "400", br#"{"query":"{level(x:\"a)}"}"#),
        ("an open comment in JSON", "400", br#"{"query":"{level{value}}"} /*"#),
        ("something behind the object", "400", br#"{"query":"{level{value}}"} x"#),
        ("JSON nested without end", "400", "[".repeat(200_000).leak().as_bytes()),
    ] {
        post(about, By::Front, expected, &[json_type], body);
    }

    // What the gateway lets pass and the app refuses, before a field is resolved.
    let fields = |levels: usize| format!("{{level{}{{value}}{}}}", "{deeper".repeat(levels), "}".repeat(levels));
    let document = |text: &str| json!({"query": text}).to_string();
    let aliases: String = (0..1_500).map(|n| format!("a{n}:level{{value}} ")).collect();
    let laughs: String = (0..40).map(|n| format!("fragment F{n} on Level{{...F{m} ...F{m}}} ", m = n + 1)).collect();
    for (about, expected, body) in [
        ("fields nested too deep", "422 QUERY_TOO_DEEP", document(&fields(12))),
        ("brackets nested too deep", "422 QUERY_TOO_DEEP", document(&fields(100))),
        ("brackets nested far too deep", "422 QUERY_TOO_DEEP", document(&fields(20_000))),
        (
            "lists nested too deep",
            "422 QUERY_TOO_DEEP",
            document(&format!("{{level(x:{}{}){{value}}}}", "[".repeat(20_000), "]".repeat(20_000))),
        ),
        ("a bomb of aliases", "422 QUERY_TOO_COMPLEX", document(&format!("{{{aliases}}}"))),
        (
            "a bomb of fragments",
            "422 QUERY_TOO_COMPLEX",
            document(&format!("{{level{{...F0}}}} {laughs} fragment F40 on Level{{value}}")),
        ),
        (
            "fragments in a ring",
            "422 GRAPHQL_VALIDATION_FAILED",
            document("{level{...A}} fragment A on Level{...B} fragment B on Level{...A}"),
        ),
        ("a field that is not there", "422 GRAPHQL_VALIDATION_FAILED", document("{nothing level{value}}")),
        (
            "a mutation that comes first, under one key",
            "422 MALFORMED_REQUEST",
            r#"{"query":"mutation{purge}","query":"{level{value}}"}"#.to_owned(),
        ),
        (
            "a mutation that comes last, under one key",
            "422 MALFORMED_REQUEST",
            r#"{"query":"{level{value}}","query":"mutation{place}"}"#.to_owned(),
        ),
        (
            "an operation's name twice",
            "422 MALFORMED_REQUEST",
            r#"{"query":"query A{level{value}} mutation B{place}","operationName":"A","operationName":"B"}"#.to_owned(),
        ),
        ("single quotes", "400 BAD_REQUEST", "{'query':'mutation{place}'}".to_owned()),
        ("a comment in JSON", "400 BAD_REQUEST", r#"{/* {"query":"{level}"} */"query":"mutation{place}"}"#.to_owned()),
        ("names without quotes", "400 BAD_REQUEST", r#"{query:"{level{value}}"}"#.to_owned()),
        ("an escaped keyword", "200 FORBIDDEN", r#"{"query":"\u006dutation{purge}"}"#.to_owned()),
        ("a field of operators", "200 FORBIDDEN", document("{secret}")),
        (
            "variables that are a list",
            "422 MALFORMED_REQUEST",
            r#"{"query":"{level{value}}","variables":[7]}"#.to_owned(),
        ),
        ("no document, and no hash of one", "422 MALFORMED_REQUEST", r#"{"extensions":{}}"#.to_owned()),
    ] {
        post(about, By::App, expected, &[json_type, modern], body.as_bytes());
    }

    // Methods and URLs.
    let mut get = |about, by, expected, query: &str, more: &[(&str, &str)], body: &[u8]| {
        let headers = [&[auth, modern], more].concat();
        add(about, To::Gateway, by, expected, request("GET", &format!("{path}{query}"), &headers, body));
    };
    get("a mutation by GET", By::Front, "405", "?query=mutation%7Bplace%7D", &[], b"");
    get(
        "a mutation by GET among others",
        By::Front,
        "405",
        "?query=query+A%7Blevel%7Bvalue%7D%7D+mutation+B%7Bplace%7D&operationName=B",
        &[],
        b"",
    );
    get(
        "a mutation by GET that says it is a POST",
        By::Front,
        "405",
        "?query=mutation%7Bplace%7D",
        &[("X-HTTP-Method-Override", "POST"), ("X-HTTP-Method", "POST")],
        b"",
    );
    get("a subscription by GET", By::Front, "400", "?query=subscription%7Ba%7D", &[], b"");
    get("a GET without a query", By::Front, "422", "", &[], b"");
    get("a GET with a body", By::Front, "400", "?query=%7Blevel%7Bvalue%7D%7D", &[json_type], MUTATION.as_bytes());
    get("a GET that asks twice", By::Front, "400", "?query=%7Blevel%7Bvalue%7D%7D&query=mutation%7Bplace%7D", &[], b"");
    get(
        "a GET with an encoded name",
        By::Front,
        "400",
        "?qu%65ry=mutation%7Bplace%7D&query=%7Blevel%7Bvalue%7D%7D",
        &[],
        b"",
    );
    get("a GET with a parameter more", By::Front, "400", "?query=%7Blevel%7Bvalue%7D%7D&code=x", &[], b"");
    get(
        "a GET that is compressed",
        By::Front,
        "415",
        "?query=%7Blevel%7Bvalue%7D%7D",
        &[("Content-Encoding", "gzip")],
        b"",
    );
    let long = format!("?query=%7Blevel%7Bvalue%7D%7D{}", "+".repeat(7_200));
    get("a GET that is too long", By::Front, "414", &long, &[], b"");
    get("a GET that is no UTF-8", By::App, "400 BAD_REQUEST", "?query=%7Blevel%7Bvalue%7D%7D%23%ff", &[], b"");
    get("a GET of what is too deep", By::App, "422 QUERY_TOO_DEEP", &format!("?query={}", fields(12)), &[], b"");
    for method in ["PUT", "PATCH", "DELETE", "HEAD"] {
        add("another method", To::Gateway, By::Front, "405", request(method, path, &[auth, json_type], q));
    }
    for method in ["TRACE", "OPTIONS", "PROPFIND"] {
        add("a method of no operation", To::Gateway, By::Front, "404", request(method, path, &[auth], b""));
    }
    for other in [
        "//orders/graphql",
        "/orders/../orders/graphql",
        "/orders%2Fgraphql",
        "/Orders/graphql",
        "/orders/graphql/",
        "/orders/graphql;x",
    ] {
        add(
            "another path",
            To::Gateway,
            By::Front,
            "404",
            request("POST", other, &[auth, json_type], MUTATION.as_bytes()),
        );
    }

    // Where one request ends.
    let head = |lines: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: HOST\r\nAuthorization: {good}\r\nContent-Type: application/json\r\n{lines}\r\n"
        )
    };
    let smuggled = format!("{}{MUTATION}", head(&format!("Content-Length: {}\r\n", MUTATION.len())));
    for (about, expected, text) in [
        // Chunks count, whatever the length says: the body is empty, and what follows is nobody's.
        (
            "a length and chunks",
            "400",
            format!("{}0\r\n\r\n{smuggled}", head("Content-Length: 60\r\nTransfer-Encoding: chunked\r\n")),
        ),
        (
            "chunks and a length",
            "400",
            format!("{}0\r\n\r\n{smuggled}", head("Transfer-Encoding: chunked\r\nContent-Length: 60\r\n")),
        ),
        ("two lengths", "400", format!("{}{MUTATION}", head("Content-Length: 27\r\nContent-Length: 5\r\n"))),
        ("a length with a sign", "400", format!("{}{MUTATION}", head("Content-Length: +27\r\n"))),
        ("a negative length", "400", format!("{}{MUTATION}", head("Content-Length: -1\r\n"))),
        ("a length that is no number", "400", format!("{}{MUTATION}", head("Content-Length: 1e3\r\n"))),
        ("a coding that is not chunks", "400", format!("{}{MUTATION}", head("Transfer-Encoding: xchunked\r\n"))),
        (
            "chunks, then something else",
            "400",
            format!("{}{}0\r\n\r\n", head("Transfer-Encoding: chunked, identity\r\n"), chunked(MUTATION)),
        ),
        (
            "a chunk without a size",
            "400",
            format!("{}zz\r\n{MUTATION}\r\n0\r\n\r\n", head("Transfer-Encoding: chunked\r\n")),
        ),
        (
            "a header with a blank before its colon",
            "400",
            format!("{}{MUTATION}", head("X-Skein-Principal : x\r\nContent-Length: 27\r\n")),
        ),
        (
            "a header that goes on in the next line",
            "400",
            format!("{}{MUTATION}", head("X-A: b\r\n X-Skein-Principal: x\r\nContent-Length: 27\r\n")),
        ),
        ("a NUL in a header", "400", format!("{}{MUTATION}", head("X-A: b\0c\r\nContent-Length: 27\r\n"))),
        ("another host", "421", head("Content-Length: 0\r\n").replacen("HOST", "evil.example", 1)),
        ("two hosts", "421", head("Host: evil.example\r\nContent-Length: 0\r\nConnection: close\r\n")),
        ("no host", "421", head("Content-Length: 0\r\nConnection: close\r\n").replacen("Host: HOST\r\n", "", 1)),
        (
            "another host in the URL",
            "421",
            head("Content-Length: 0\r\nConnection: close\r\n").replacen(path, "http://evil.example/orders/graphql", 1),
        ),
        ("no HTTP", "400", "hello\r\n\r\n".to_owned()),
    ] {
        let text = if text.contains("Connection:") {
            text
        } else {
            text.replacen("Authorization:", "Connection: close\r\nAuthorization:", 1)
        };
        add(about, To::Gateway, By::Front, expected, text.into_bytes());
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hostile_reaches_a_handler() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let running = Running::started(&mut serve(state));
    let deployed = Deployed { state, base: running.planes.clone() };
    deployed.service().await;
    let journal = state.join("journal");
    std::fs::write(&journal, "").unwrap();
    let (_, gateway) =
        deployed.ask("GET", &Deployed::id("Microsoft.ApiManagement/service", "apim-skein"), Value::Null).await;
    let gateway = gateway["identity"]["principalId"].as_str().unwrap().to_owned();
    let identity = Deployed::id("Microsoft.ManagedIdentity/userAssignedIdentities", "id-orders-query");
    let (_, app) = deployed.ask("GET", &identity, Value::Null).await;
    for (site, serves) in [(SITES[0], "command"), (SITES[1], "query")] {
        let settings = json!({"SKEIN_SERVICE": "orders", "JOURNAL": journal, "SERVES": serves, "GATEWAY": gateway});
        deployed.settings(site, settings).await;
        deployed.published(site, package_of("graphql_worker", "hostile")).await;
    }
    let (_, keys) = send(Request::get(format!("{}/identity/keys", deployed.base)).body(Body::empty()).unwrap()).await;
    let pem = std::fs::read_to_string(state.join("identity/issuer.pem")).unwrap();
    let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
    let tokens = Tokens {
        key: rsa::PrivateKey::from_pkcs8_pem(&pem).unwrap(),
        stranger: rsa::PrivateKey::new(&mut random, 2048).unwrap(),
        kid: keys["keys"][0]["kid"].as_str().unwrap().to_owned(),
        gateway,
        app: app["properties"]["principalId"].as_str().unwrap().to_owned(),
    };
    let (front, planes) = (running.url.replace("http://", ""), running.planes.replace("http://", ""));
    let told = || std::fs::read_to_string(&journal).unwrap();

    // What is well-formed gets through: else nothing below would show anything.
    let good = format!("Bearer {}", tokens.good());
    let headers = [("Authorization", good.as_str()), ("Content-Type", "application/json")];
    for (method, path, body, resolved) in [
        ("POST", "/orders/graphql", MUTATION, "request\nresolved place\n"),
        ("POST", "/orders/graphql", QUERY, "request\nresolved level\nresolved value\n"),
        ("GET", "/orders/graphql?query=%7Blevel%7Bvalue%7D%7D", "", "request\nresolved level\nresolved value\n"),
    ] {
        let (status, answer) = exchange(&front, &request(method, path, &headers, body.as_bytes()));
        assert_eq!((status, told().as_str()), (200, resolved), "{answer}");
        std::fs::write(&journal, "").unwrap();
    }

    let cases = cases(&tokens);
    assert!(cases.len() >= 150, "{}", cases.len());
    let mut wrong = Vec::new();
    let mut table = String::from(
        "# What is refused\n\nEach of these requests is sent over a connection of its own to the local gateway, with the policies that ship, or\n\
         to a function app around it; `platform/local/tests/serve/hostile.rs` makes them and holds this table. No field of the\n\
         graph is resolved for any of them; those of the gateway and of an app's authentication (front) do not reach the app's\n\
         handler at all. Behind the status stands the code of the GraphQL error, where an app answers.\n\n\
         | sent to | request | answer | refused by |\n|---|---|---|---|\n",
    );
    for case in &cases {
        let host = if case.to == To::Gateway { &front } else { &planes };
        let (status, answer) = exchange(host, &case.request);
        let said = said(status, &answer);
        if said != case.expected {
            let answer: String = answer.chars().take(600).collect();
            wrong.push(format!("{}: {said} instead of {}\n{answer}", case.about, case.expected));
        }
        let journal_now = told();
        let called = journal_now.contains("request");
        if journal_now.contains("resolved") || called != (case.by == By::App) {
            wrong.push(format!("{}: {journal_now}", case.about));
        }
        std::fs::write(&journal, "").unwrap();
        let to = match case.to {
            To::Gateway => "gateway",
            To::Command => "command app",
            To::Query => "query app",
        };
        let by = match case.by {
            By::Front if case.to == To::Gateway && case.about != "`Connection: authorization`" => "gateway",
            By::Front => "front",
            By::App => "app",
        };
        let _ = writeln!(table, "| {to} | {} | {} | {by} |", case.about, case.expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    eprintln!("{} hostile requests refused", cases.len());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hostile.md");
    expect_test::expect_file![path].assert_eq(&table);
}

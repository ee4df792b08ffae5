//! The local SignalR over its interfaces: what clients, apps and pages may, and the official client against it.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use async_trait::async_trait;
use axum::extract::Query;
use axum::routing::post;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use serde_json::Value;
use skein_azure::{SignalRHub, http_client};
use skein_core::ports::{LiveHub, SendError};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::*;
use crate::access::Authorizer;
use crate::access::tests::{assignment, resource};
use crate::identity::MANAGED_IDENTITY_LIFETIME;
use crate::outbound;

const OWNER: &str = "fd53cd77-2268-407a-8f46-7e7863d0f521";
const READER: &str = "ddde6b66-c0df-4114-a159-3618637b3035";
const AUDIENCE: &str = "https://signalr.azure.com";
/// The audience of what upstreams are shown.
const APP: &str = "api://skein-local";

struct Bench {
    _folder: TempDir,
    issuer: Arc<Issuer>,
    services: Services,
    router: Router,
    base: String,
}

impl Bench {
    /// A service `sigr` on which `owner` and `reader` have roles, and an app that its upstream is. It listens.
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Arc::new(Issuer::open(folder.path()).unwrap());
        let service = resource("Microsoft.SignalRService/signalR", "sigr");
        let scope = service["id"].as_str().unwrap();
        let roles = [assignment("owner", OWNER, scope), assignment("reader", READER, scope)];
        let authorizer = Authorizer::of(&[std::slice::from_ref(&service), &roles[..]].concat());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let guard = (issuer.clone(), authorizer);
        let services = Services::new(guard, issuer.clone(), outbound::client(), &base, "http://127.0.0.1:9");
        let bench = Bench { _folder: folder, issuer, services, router: Router::new(), base };
        bench.services.replace(&BTreeMap::from([("sigr".to_owned(), bench.settings())])).unwrap();
        let router = Router::new()
            .nest(PREFIX, bench.services.router())
            .route("/{hub}/api/signalr", post(app).with_state(bench.issuer.clone()))
            .route(
                "/orders/negotiate",
                post(app_negotiate).with_state((bench.services.clone(), Arc::new(bench.hub("owner")))),
            );
        let serving = router.clone();
        tokio::spawn(async move { axum::serve(listener, serving).await });
        Bench { router, ..bench }
    }

    fn settings(&self) -> Settings {
        let template = Template {
            hubs: "*".to_owned(),
            categories: "messages".to_owned(),
            events: "*".to_owned(),
            url: format!("{}/{{hub}}/api/signalr", self.base),
            resource: Some(APP.to_owned()),
        };
        Settings {
            principal: Some("signalr-identity".to_owned()),
            origins: vec!["https://site.example".to_owned()],
            templates: vec![template],
        }
    }

    fn token(&self, principal: &str, audience: &str) -> String {
        self.issuer.issue_managed_identity(principal, "client", audience).unwrap().0
    }

    /// The port, as an app has it.
    fn hub(&self, principal: &str) -> SignalRHub {
        let credential = Arc::new(Fixed(self.token(principal, AUDIENCE)));
        SignalRHub::new(&http_client().unwrap(), credential, &format!("{}{PREFIX}/sigr", self.base), "orders").unwrap()
    }

    /// A call of the REST interface, with a body that is a message where it is not said.
    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = axum::http::Request::builder().method(method).uri(format!("{PREFIX}/{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/json");
        self.send(request.body(Body::from(r#"{"target":"next","arguments":[1]}"#)).unwrap()).await
    }

    async fn send(&self, request: Request) -> (u16, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[derive(Debug)]
struct Fixed(String);

#[async_trait]
impl TokenCredential for Fixed {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(self.0.clone(), OffsetDateTime::now_utc() + MANAGED_IDENTITY_LIFETIME))
    }
}

/// The upstream: says what it was told, to whoever has the service's identity.
async fn app(State(issuer): State<Arc<Issuer>>, Path(hub): Path<String>, headers: HeaderMap, body: String) -> Response {
    let caller = bearer(&headers).and_then(|token| issuer.verify(token, APP).ok());
    if caller.is_none_or(|caller| caller.oid != "signalr-identity") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((header("x-asrs-hub"), header("x-asrs-category")), (hub.as_str(), "messages"));
    assert_eq!(header("x-asrs-event"), body["Target"].as_str().unwrap());
    assert_eq!(header("x-asrs-user-claims"), format!("nameid: {}", header("x-asrs-user-id")));
    assert_eq!(header("x-asrs-client-query"), "?hub=orders");
    assert!(header("x-asrs-signature").starts_with("sha256=") && header("x-asrs-connection-id").len() == 22);
    match header("x-asrs-event") {
        "subscribe" => {
            let result = json!([header("x-asrs-user-id"), body["Arguments"]]);
            Json(json!({ "type": 3, "invocationId": body["InvocationId"], "result": result })).into_response()
        }
        "complete" => StatusCode::NO_CONTENT.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// How the app lets clients in: as whom they say they are, with a good token or another one.
async fn app_negotiate(
    State((services, hub)): State<(Services, Arc<SignalRHub>)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let access = hub.access(&query["user"], Duration::from_secs(60)).await.unwrap();
    let service = services.0.service("sigr").unwrap();
    let token = match query.get("token").map(String::as_str) {
        None => access.token,
        Some("expired") => service.key.sign(&access.url, Some("mallory"), Duration::ZERO),
        Some("forged") => Key::new().unwrap().sign(&access.url, Some("mallory"), Duration::from_secs(60)),
        Some(other) => panic!("{other}"),
    };
    Json(json!({ "url": access.url, "accessToken": token })).into_response()
}

/// The official client in a process.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.child.id()).finish()
    }
}

impl Peer {
    /// `None` where the client is not installed.
    fn start(url: &str) -> Option<Peer> {
        // Next to the folder of the test's binary.
        let binary = std::env::current_exe().unwrap();
        let target = binary.ancestors().nth(3).unwrap();
        let folder = target.join("signalr-js");
        if !folder.join("node_modules/@microsoft/signalr").is_dir() {
            assert!(std::env::var_os("CI").is_none(), "@microsoft/signalr is missing in {}", folder.display());
            let mut stderr = std::io::stderr();
            writeln!(stderr, "SKIPPED: @microsoft/signalr is missing (cargo xtask test installs it)").unwrap();
            return None;
        }
        let script: PathBuf = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/signalr/client.mjs");
        let mut node = Command::new("node");
        let mut child =
            node.arg(script).arg(folder).arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Peer { child, input, output })
    }

    fn ask(&mut self, command: &Value) {
        writeln!(self.input, "{command}").unwrap();
    }

    /// The next line.
    fn heard(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn done(&mut self, command: &Value) -> Value {
        self.ask(command);
        self.heard()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_speaks_to_it() {
    const CLIENTS: usize = 20;
    let bench = Bench::new().await;
    let Some(mut peer) = Peer::start(&format!("{}/orders", bench.base)) else { return };
    let hub = bench.hub("owner");
    for n in 0..CLIENTS {
        hub.join("changes", &format!("user-{n}"), Duration::from_secs(600)).await.unwrap();
    }
    assert!(!hub.has_members("changes").await.unwrap());
    assert_eq!(peer.done(&json!({"do": "start", "count": CLIENTS})), json!({"started": CLIENTS}));
    assert!(hub.has_members("changes").await.unwrap());

    // Calls go to the upstream, and its answers back.
    let results = peer.done(&json!({"do": "invoke", "target": "subscribe", "args": ["1", {"é": null}]}));
    let expected: Vec<Value> = (0..CLIENTS).map(|n| json!([format!("user-{n}"), ["1", {"é": null}]])).collect();
    assert_eq!(results["results"], Value::from(expected));
    let results = peer.done(&json!({"do": "invoke", "target": "complete", "args": ["1"]}));
    assert_eq!(results["results"], json!(vec![Value::Null; CLIENTS]));
    let results = peer.done(&json!({"do": "invoke", "target": "unknown", "args": []}));
    let message = "error: Invocation failed, status code 404";
    assert_eq!(results["results"], json!(vec![message; CLIENTS]));

    // Messages of a group come to all, in order, also after all connections were closed.
    let send = async |numbers: std::ops::Range<usize>| {
        for n in numbers {
            hub.send("changes", "next", &format!("[{n}]").into()).await.unwrap();
        }
    };
    send(0..50).await;
    let all = |count: usize| json!({"received": (0..count).collect::<Vec<_>>(), "same": true});
    assert_eq!(peer.done(&json!({"do": "wait", "received": 50})), all(50));
    let token = bench.token("owner", AUDIENCE);
    let path = "sigr/api/hubs/orders/:closeConnections?api-version=2022-11-01&reason=maintenance";
    assert_eq!(bench.ask("POST", path, Some(&token)).await.0, 204);
    assert_eq!(peer.done(&json!({"do": "wait", "reconnected": CLIENTS})), json!({"reconnected": CLIENTS}));
    send(50..60).await;
    assert_eq!(peer.done(&json!({"do": "wait", "received": 60})), all(60));

    // One leaves the group, one all of them; they are still there.
    hub.leave("changes", "user-0").await.unwrap();
    hub.leave_all("user-1").await.unwrap();
    for (user, expected) in [("user-0", 404), ("user-1", 404), ("user-2", 200)] {
        let path = format!("sigr/api/hubs/orders/users/{user}/groups/changes?api-version=2022-11-01");
        assert_eq!(bench.ask("HEAD", &path, Some(&token)).await.0, expected, "{user}");
        let path = format!("sigr/api/hubs/orders/users/{user}?api-version=2022-11-01");
        assert_eq!(bench.ask("HEAD", &path, Some(&token)).await.0, 200, "{user}");
    }

    for token in ["expired", "forged"] {
        let refused = peer.done(&json!({"do": "refused", "path": format!("?user=mallory&token={token}")}));
        let why = refused["refused"].as_str().unwrap();
        assert!(why.contains("401"), "{token}: {why}");
    }
    assert_eq!(peer.done(&json!({"do": "stop"})), json!({"stopped": CLIENTS}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_for_a_caller_is_refused() {
    let bench = Bench::new().await;
    let [owner, reader, stranger] = ["owner", "reader", "stranger"].map(|principal| bench.token(principal, AUDIENCE));
    let storage = bench.token("owner", "https://storage.azure.com");
    let group = "sigr/api/hubs/orders/groups/g";
    let version = "?api-version=2022-11-01";
    let too_long = format!("sigr/api/hubs/orders/groups/{}/:send{version}", "g".repeat(1025));
    let longest = format!("sigr/api/hubs/orders/groups/{}/:send{version}", "g".repeat(1024));
    let token = Some(owner.as_str());
    let paths: Vec<(&str, String, Option<&str>, u16)> = vec![
        ("POST", format!("{group}/:send{version}"), token, 202),
        ("POST", format!("{group}/:send{version}"), None, 401),
        ("POST", format!("{group}/:send{version}"), Some("x.y.z"), 401),
        ("POST", format!("{group}/:send{version}"), Some(&storage), 401),
        ("POST", format!("{group}/:send{version}"), Some(&stranger), 403),
        ("POST", format!("{group}/:send{version}"), Some(&reader), 403),
        ("HEAD", format!("{group}{version}"), Some(&reader), 404),
        ("HEAD", format!("{group}{version}"), Some(&stranger), 403),
        ("POST", format!("{group}/:send"), token, 400),
        ("GET", format!("{group}/:send{version}"), token, 405),
        ("POST", format!("{group}/:shout{version}"), token, 404),
        ("POST", format!("sigr/api/hubs/1orders/:send{version}"), token, 400),
        ("POST", format!("sigr/api/hubs/or-ders/:send{version}"), token, 400),
        ("POST", format!("sigr/api/hubs/orders/groups/%20/:send{version}"), token, 400),
        ("POST", format!("sigr/api/hubs/orders/groups/%ff/:send{version}"), token, 400),
        ("POST", too_long, token, 400),
        ("POST", longest, token, 202),
        ("POST", format!("sigr/api/hubs/orders/:send{version}"), token, 202),
        ("POST", format!("sigr/api/hubs/orders/users/u/:send{version}"), token, 202),
        ("POST", format!("sigr/api/hubs/orders/connections/c/:send{version}"), token, 202),
        ("HEAD", format!("sigr/api/hubs/orders/connections/c{version}"), token, 404),
        ("DELETE", format!("sigr/api/hubs/orders/connections/c{version}&reason=x"), token, 200),
        ("PUT", format!("{group}/connections/c{version}"), token, 404),
        ("DELETE", format!("{group}/connections/c{version}"), token, 404),
        ("PUT", format!("sigr/api/hubs/orders/users/u/groups/g{version}&ttl=60"), token, 200),
        ("PUT", format!("sigr/api/hubs/orders/users/u/groups/g{version}&ttl=soon"), token, 400),
        ("HEAD", format!("sigr/api/hubs/orders/users/u/groups/g{version}"), Some(&reader), 200),
        ("HEAD", format!("{group}{version}"), token, 404),
        ("DELETE", format!("sigr/api/hubs/orders/users/u/groups{version}"), token, 204),
        ("HEAD", format!("sigr/api/hubs/orders/users/u/groups/g{version}"), Some(&reader), 404),
        ("POST", format!("sigr/api/hubs/orders/:generateToken{version}&userId=u&minutesToExpire=1"), token, 200),
        ("POST", format!("sigr/api/hubs/orders/:generateToken{version}&minutesToExpire=0"), token, 400),
        ("POST", format!("sigr/api/hubs/orders/:generateToken{version}&minutesToExpire=1441"), token, 400),
        ("POST", format!("sigr/api/hubs/orders/:generateToken{version}&userId=a%0Ab"), token, 400),
        ("POST", format!("sigr/api/hubs/orders/:generateToken{version}&userId=u"), Some(&reader), 403),
        ("POST", format!("other/api/hubs/orders/:send{version}"), token, 403),
        ("HEAD", "sigr/api/health".to_owned(), None, 200),
        ("GET", "sigr/".to_owned(), None, 404),
    ];
    for (method, path, token, expected) in paths {
        let (status, answer) = bench.ask(method, &path, token).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        if status >= 400 && method != "HEAD" {
            assert!(answer["code"].is_string() && answer["message"].is_string(), "{method} {path}: {answer}");
        }
    }
    let large = format!(r#"{{"target":"next","arguments":["{}"]}}"#, "x".repeat(1_000_000));
    for (kind, body, expected) in [
        ("application/json; charset=utf-8", r#"{"target":"t"}"#, 202),
        ("application/json", r#"{"target":"t","arguments":null}"#, 202),
        ("application/json", large.as_str(), 413),
        ("application/x-msgpack", "x", 415),
        ("application/json", "", 400),
        ("application/json", "[]", 400),
        ("application/json", r#"{"target":"","arguments":[]}"#, 400),
        ("application/json", r#"{"target":"t","arguments":{}}"#, 400),
        ("application/json", r#"{"arguments":[]}"#, 400),
    ] {
        let request = Request::post(format!("{PREFIX}/{group}/:send{version}"))
            .header("authorization", format!("Bearer {owner}"))
            .header("content-type", kind)
            .body(Body::from(body.to_owned()));
        let (status, answer) = bench.send(request.unwrap()).await;
        assert_eq!(status, expected, "{kind} {:.40}: {answer}", body);
    }
    // The port's errors say which kind it is.
    let error = bench.hub("stranger").send("g", "next", &"[]".into()).await.unwrap_err();
    assert!(
        matches!(&error, SendError::Denied { reason, .. } if reason.contains("SignalR/group/send/action")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_negotiates_with_its_own_token_for_its_own_hub() {
    let bench = Bench::new().await;
    let access = bench.hub("owner").access("alice", Duration::from_secs(60)).await.unwrap();
    assert_eq!(access.url, format!("{}{PREFIX}/sigr/client/?hub=orders", bench.base));
    let request = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = axum::http::Request::builder().method(method).uri(format!("{PREFIX}/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    let authorization = format!("Bearer {}", access.token);
    let authorized = [("authorization", authorization.as_str())];
    let rest = format!("Bearer {}", bench.token("owner", AUDIENCE));
    let in_query = format!("sigr/client/negotiate?hub=orders&negotiateVersion=1&access_token={}", access.token);
    let other_service = bench.services.0.service("sigr").unwrap().key.sign(
        &format!("{}{PREFIX}/other/client/?hub=orders", bench.base),
        Some("alice"),
        Duration::from_secs(60),
    );
    let other_service = format!("Bearer {other_service}");
    for (method, path, headers, expected) in [
        ("POST", "sigr/client/negotiate?hub=orders&negotiateVersion=1", &authorized[..], 200),
        ("POST", in_query.as_str(), &[], 200),
        ("POST", "sigr/client/negotiate?hub=orders", &authorized, 200),
        ("GET", "sigr/client/negotiate?hub=orders", &authorized, 405),
        ("POST", "sigr/client/negotiate?hub=orders&negotiateVersion=x", &authorized, 400),
        ("POST", "sigr/client/negotiate", &authorized, 400),
        ("POST", "sigr/client/negotiate?hub=orders", &[], 401),
        ("POST", "sigr/client/negotiate?hub=inventory", &authorized, 401),
        ("POST", "sigr/client/negotiate?hub=orders", &[("authorization", rest.as_str())], 401),
        ("POST", "sigr/client/negotiate?hub=orders", &[("authorization", other_service.as_str())], 401),
        ("POST", "other/client/negotiate?hub=orders", &authorized, 404),
        ("GET", "sigr/client/?hub=orders&id=x", &[], 401),
        // Without a negotiation.
        ("GET", "sigr/client/?hub=orders", &authorized, 400),
        // No WebSocket.
        ("GET", "sigr/client/?hub=orders&id=x", &authorized, 400),
    ] {
        let (status, answer) = bench.send(request(method, path, headers)).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
    let (_, answer) =
        bench.send(request("POST", "sigr/client/negotiate?hub=orders&negotiateVersion=1", &authorized)).await;
    assert_eq!(answer["negotiateVersion"], 1);
    assert_ne!(answer["connectionId"], answer["connectionToken"]);
    assert_eq!(
        answer["availableTransports"],
        json!([{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}])
    );

    // Pages of the gateway and of the site may, others may not.
    for (origin, allowed) in [
        ("https://site.example", true),
        ("http://127.0.0.1:9", true),
        ("http://localhost:9", true),
        ("http://127.0.0.1:10", false),
        ("https://other.example", false),
    ] {
        let path = "sigr/client/negotiate?hub=orders";
        let preflight = [("origin", origin), ("access-control-request-headers", "authorization,x-requested-with")];
        for request in [
            request("OPTIONS", path, &preflight),
            request("POST", path, &[("origin", origin), ("authorization", &authorization)]),
        ] {
            let response = bench.router.clone().oneshot(request).await.unwrap();
            assert!(response.status().is_success(), "{origin}");
            let told = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(told.is_some_and(|told| told == origin), allowed, "{origin}");
        }
    }

    // A service that is gone is gone, and one that comes back has another key.
    bench.services.replace(&BTreeMap::new()).unwrap();
    let path = "sigr/client/negotiate?hub=orders";
    assert_eq!(bench.send(request("POST", path, &authorized)).await.0, 404);
    bench.services.replace(&BTreeMap::from([("sigr".to_owned(), bench.settings())])).unwrap();
    assert_eq!(bench.send(request("POST", path, &authorized)).await.0, 401);
}

//! The functions host with a real worker process (`examples/fake_worker.rs`), which does what its functions' names say.

use std::path::PathBuf;

use axum::http::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::broker::{NewMessage, QueueSettings, SystemClock};
use crate::identity::ManagedIdentity;

/// Longer than anything here takes; only a failure waits so long.
const LIMIT: Duration = Duration::from_secs(60);

fn fake_worker() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.ancestors().nth(2).unwrap().join("examples/fake_worker");
    assert!(path.is_file(), "{} is missing: `cargo test -p skein-local` builds it", path.display());
    path
}

/// Waits until something holds: it may, and must before the limit.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let attempts = async {
        loop {
            match check().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(LIMIT, attempts).await.unwrap_or_else(|_| panic!("never: {what}"))
}

struct Fixture {
    folder: TempDir,
    surroundings: Surroundings,
    settings: BTreeMap<String, String>,
    auth: SiteAuth,
    host: Value,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            state: folder.path().to_owned(),
            planes: "http://127.0.0.1:1".into(),
            issuer: Arc::new(Issuer::open(&folder.path().join("identity")).unwrap()),
            authorizer: None,
            broker: Broker::open(std::path::Path::new(":memory:"), SystemClock::shared()).unwrap(),
            client: crate::outbound::client(),
            timing: Timing { host_pause: Duration::from_millis(1), timeout_grace: Duration::from_millis(1) },
        };
        let settings = BTreeMap::from([
            ("FAKE_JOURNAL".into(), folder.path().join("journal").display().to_string()),
            ("BUS__fullyQualifiedNamespace".into(), "ns.servicebus.windows.net".into()),
        ]);
        let host = json!({
            "version": "2.0",
            "customHandler": {"description": {"defaultExecutablePath": "bin/handler"}, "enableForwardingHttpRequest": true},
            "extensions": {"serviceBus": {"sessionIdleTimeout": "00:00:00.2", "maxConcurrentSessions": 4}},
        });
        let fixture = Fixture { folder, surroundings, settings, auth: SiteAuth::default(), host };
        let bin = fixture.root().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink(fake_worker(), bin.join("handler")).unwrap();
        fixture
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("apps/app")
    }

    fn function(&self, name: &str, bindings: Value) -> &Self {
        let folder = self.root().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("function.json"), json!({"bindings": bindings}).to_string()).unwrap();
        self
    }

    fn http(&self, name: &str, route: &str) -> &Self {
        self.function(
            name,
            json!([
                {"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous", "route": route,
                 "methods": ["get", "post"]},
                {"type": "http", "name": "res", "direction": "out"},
            ]),
        )
    }

    /// A function fed by the queue `ns/{name}`, which is declared.
    async fn queue(&self, name: &str, sessions: bool, max_delivery_count: u32) -> &Self {
        let settings = QueueSettings { requires_session: sessions, max_delivery_count, ..QueueSettings::default() };
        self.surroundings.broker.declare(&format!("ns/{name}"), settings).await.unwrap();
        self.function(
            name,
            json!([{"type": "serviceBusTrigger", "name": "message", "direction": "in", "queueName": name,
                    "connection": "BUS", "isSessionsEnabled": sessions, "dataType": "binary"}]),
        )
    }

    fn resource(&self) -> SiteResource {
        SiteResource {
            name: "app".into(),
            identities: vec![ManagedIdentity { principal_id: "p".into(), client_id: "c".into() }],
            settings: self.settings.clone(),
            auth: self.auth.clone(),
        }
    }

    async fn start(&self) -> (Sites, Arc<Site>) {
        std::fs::write(self.root().join("host.json"), self.host.to_string()).unwrap();
        let mut sites = Sites::new(self.surroundings.clone());
        sites.apply(&[self.resource()]).await;
        assert_eq!(sites.failure("app"), None);
        let site = sites.get("app").unwrap().clone();
        (sites, site)
    }

    async fn send(&self, queue: &str, messages: &[(&str, Option<&str>)]) {
        let messages = messages.iter().map(|(id, session)| NewMessage {
            message_id: Some((*id).into()),
            session_id: session.map(str::to_owned),
            body: "{}".into(),
            ..NewMessage::default()
        });
        self.surroundings.broker.send(&format!("ns/{queue}"), messages.collect()).await.unwrap();
    }

    /// Waits until a queue is empty, but for dead letters, whose number is given.
    async fn drained(&self, queue: &str) -> usize {
        let name = format!("ns/{queue}");
        eventually("the queue is empty", || async {
            let counts = self.surroundings.broker.counts(&name).await.unwrap();
            (counts.active == 0).then_some(counts.dead_lettered)
        })
        .await
    }

    fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn starts(&self) -> usize {
        self.journal().iter().filter(|line| *line == "start").count()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("logs/app.log")).unwrap_or_default()
    }
}

impl Site {
    fn function(&self, name: &str) -> &Function {
        self.package.functions.iter().find(|function| function.name == name).unwrap()
    }

    async fn try_call(&self, name: &str) -> Result<Answer, InvocationError> {
        self.invoke(self.function(name), json!({"Data": {}, "Metadata": {}}), None).await
    }

    async fn until_state(&self, wanted: impl Fn(State) -> bool) -> State {
        eventually("the state", || async { self.state().filter(|state| wanted(*state)) }).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_error_stops_the_host_application_which_comes_back() {
    let mut fixture = Fixture::new();
    fixture.http("ok", "ok");
    fixture.settings.insert("FAKE_EXIT".into(), "7*3".into());
    fixture.surroundings.timing.host_pause = LIMIT * 2;
    let (sites, site) = fixture.start().await;
    site.until_state(|state| state == State::Stopped).await;
    assert_eq!(fixture.starts(), 3);
    assert!(fixture.log().contains("(error 3 of 3)"), "{}", fixture.log());
    assert!(fixture.log().contains("last words 3"));
    sites.stop().await;
    assert_eq!(site.state(), Some(State::Ended));

    fixture.surroundings.timing.host_pause = Duration::from_millis(1);
    let (sites, site) = fixture.start().await;
    site.try_call("ok").await.unwrap();
    assert_eq!(fixture.starts(), 4);
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_200_does_not_count() {
    let mut fixture = Fixture::new();
    fixture.http("ok", "ok");
    fixture.settings.insert("FAKE_EXIT".into(), "200*5".into());
    fixture.surroundings.timing.host_pause = LIMIT * 2;
    let (sites, site) = fixture.start().await;
    let state = site.until_state(|state| matches!(state, State::Ready { .. })).await;
    assert!(matches!(state, State::Ready { generation: 6, .. }), "{state:?}");
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_0_leaves_a_host_that_only_fails() {
    let fixture = Fixture::new();
    fixture.http("leave", "leave").http("ok", "ok");
    let (sites, site) = fixture.start().await;
    assert!(matches!(site.try_call("leave").await, Err(InvocationError::Unreachable(_))));
    assert!(matches!(site.try_call("ok").await, Err(InvocationError::Unreachable(_))));
    assert!(matches!(site.state(), Some(State::Ready { generation: 1, .. })));
    assert_eq!(fixture.starts(), 1);
    eventually("the log tells", || async { fixture.log().contains("ended with code 0").then_some(()) }).await;
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_break_the_contract_fail() {
    let fixture = Fixture::new();
    fixture.http("empty", "empty").http("text", "text").http("fail", "fail").http("ok", "ok");
    let (sites, site) = fixture.start().await;
    let error = |result: Result<Answer, InvocationError>| match result {
        Err(InvocationError::Contract(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error(site.try_call("empty").await), ContractError::Empty);
    assert_eq!(error(site.try_call("text").await), ContractError::MediaType("text/plain; charset=utf-8".into()));
    assert_eq!(error(site.try_call("fail").await), ContractError::Status(500));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({"Data": {}, "Metadata": {}});
    let answer = site.invoke(site.function("ok"), body, Some(trace)).await.unwrap();
    assert_eq!(answer.outputs["trace"], trace);
    let line = fixture.log().lines().last().unwrap().to_owned();
    assert!(line.contains("Function.ok") && line.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{line}");
    assert_eq!(fixture.starts(), 1);
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_the_worker_with_all_its_calls() {
    let mut fixture = Fixture::new();
    fixture.http("hang", "hang").http("ok", "ok").http("forwarded", "forwarded/{*rest}");
    fixture.host["functionTimeout"] = json!("00:00:00.5");
    // Nothing comes back before both calls have ended.
    fixture.surroundings.timing.timeout_grace = Duration::ZERO;
    let (sites, site) = fixture.start().await;
    site.try_call("ok").await.unwrap();
    let (first, second) = tokio::join!(site.try_call("hang"), site.try_call("hang"));
    for result in [first, second] {
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                InvocationError::TimedOut(_) | InvocationError::WorkerEnded | InvocationError::Unreachable(_)
            ),
            "{error}"
        );
    }
    site.until_state(|state| matches!(state, State::Ready { generation: 2, .. })).await;
    site.try_call("ok").await.unwrap();
    // A kill is no error of the worker's.
    assert!(!fixture.log().contains("of 3)"), "{}", fixture.log());
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_gives_the_message_back_and_another_worker_takes_it() {
    let fixture = Fixture::new();
    fixture.queue("crash", true, 10).await;
    fixture.send("crash", &[("m", Some("s"))]).await;
    let (sites, _) = fixture.start().await;
    assert_eq!(fixture.drained("crash").await, 0);
    assert_eq!(fixture.journal(), ["start", "crash m 1", "start", "crash m 2"]);
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_keep_their_order_and_a_bad_message_ends_as_a_dead_letter() {
    let fixture = Fixture::new();
    fixture.queue("pick", true, 3).await;
    let messages: Vec<(String, String)> =
        (0..60).map(|n| (if n == 33 { "bad".into() } else { format!("{n}") }, format!("s{}", n % 6))).collect();
    let sent: Vec<_> = messages.iter().map(|(id, session)| (id.as_str(), Some(session.as_str()))).collect();
    fixture.send("pick", &sent).await;
    let (sites, _) = fixture.start().await;
    assert_eq!(fixture.drained("pick").await, 1);
    let journal = fixture.journal();
    let bad: Vec<_> = journal.iter().filter(|line| line.starts_with("pick bad")).cloned().collect();
    assert_eq!(bad, ["pick bad 1", "pick bad 2", "pick bad 3"]);
    for session in 0..6 {
        let ids = (0..60).filter(|n| n % 6 == session && *n != 33).map(|n| format!("pick {n} 1"));
        let seen: Vec<_> = journal.iter().filter(|line| ids.clone().any(|id| **line == id)).cloned().collect();
        assert_eq!(seen, ids.clone().collect::<Vec<_>>(), "session {session}");
    }
    // Head of line: what is behind the bad one waited for it.
    let at = |line: &str| journal.iter().position(|known| known == line).unwrap();
    assert!(at("pick bad 3") < at("pick 39 1"));
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_messages_back() {
    let fixture = Fixture::new();
    fixture.queue("hang", false, 10).await;
    fixture.send("hang", &[("m", None)]).await;
    let (sites, _) = fixture.start().await;
    eventually("it is called", || async { fixture.journal().contains(&"hang m 1".to_owned()).then_some(()) }).await;
    sites.stop().await;
    // Long before its lock ends; the host may have taken it once more before it heard of the stop.
    let message = fixture.surroundings.broker.receive("ns/hang", Duration::from_secs(20)).await.unwrap().unwrap();
    assert_eq!(message.message_id, "m");
    assert!((2..=3).contains(&message.delivery_count), "{}", message.delivery_count);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_renewed_while_a_call_runs() {
    let mut fixture = Fixture::new();
    fixture.host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"] = json!("-00:00:00.0010000");
    fixture.queue("hang", false, 10).await;
    let settings = QueueSettings { lock_duration: Duration::from_secs(1), ..QueueSettings::default() };
    fixture.surroundings.broker.declare("ns/hang", settings).await.unwrap();
    fixture.send("hang", &[("m", None)]).await;
    let (sites, _) = fixture.start().await;
    eventually("it is called", || async { fixture.journal().contains(&"hang m 1".to_owned()).then_some(()) }).await;
    // Twice the lock: without renewal somebody else would get the message.
    let other = fixture.surroundings.broker.receive("ns/hang", Duration::from_secs(2)).await.unwrap();
    assert_eq!(other, None);
    sites.stop().await;
}

async fn get(router: &axum::Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    use tower::ServiceExt as _;
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from("hello")).unwrap()).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_lets_in_whom_the_token_names_and_nobody_else() {
    let mut fixture = Fixture::new();
    fixture.http("forwarded", "forwarded/{*rest}").http("live", "health/live");
    fixture.auth = SiteAuth {
        required: true,
        excluded_paths: vec!["/api/health/live".into()],
        audiences: vec!["api://skein-local".into()],
        principals: Some(vec!["gateway".into()]),
    };
    let (sites, _) = fixture.start().await;
    let router = front::router(sites.fronts());
    let issuer = &fixture.surroundings.issuer;
    let token = |principal: &str, audience: &str| {
        format!("Bearer {}", issuer.issue_managed_identity(principal, "c", audience).unwrap().0)
    };
    let good = token("gateway", "api://skein-local");
    let path = "/sites/app/api/forwarded/a%2Fb?c=d";
    for refused in ["", &token("gateway", "https://storage.azure.com")] {
        assert_eq!(get(&router, "POST", path, &[("authorization", refused)]).await.0, StatusCode::UNAUTHORIZED);
    }
    let (status, why) = get(&router, "POST", path, &[("authorization", &token("other", "api://skein-local"))]).await;
    assert_eq!((status, why.as_str()), (StatusCode::FORBIDDEN, "the principal other may not call app"));
    let forged = [("authorization", good.as_str()), ("x-ms-client-principal-id", "root"), ("x-ms-token-aad", "x")];
    let (status, body) = get(&router, "POST", path, &[&forged[..], &[("x-skein-principal", "kept")]].concat()).await;
    assert_eq!(status, StatusCode::OK);
    let seen: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(seen["uri"], "/api/forwarded/a%2Fb?c=d");
    assert_eq!((&seen["method"], &seen["body"]), (&json!("POST"), &json!("hello")));
    let headers = &seen["headers"];
    assert_eq!(headers["x-ms-client-principal-id"], "gateway");
    assert_eq!(headers["x-skein-principal"], "kept");
    assert_eq!(headers["x-azure-functions-hostversion"], HOST_VERSION);
    assert!(headers.get("x-ms-token-aad").is_none());

    // An excluded path needs no token, and gets no identity.
    let (status, body) = get(&router, "GET", "/sites/app/api/health/live", &forged[1..]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!body.contains("x-ms-client-principal"), "{body}");
    for path in ["/sites/app/api/Health/live", "/sites/app/api/health/../forwarded/x", "/sites/app/api/health/live/"] {
        assert_eq!(get(&router, "GET", path, &[]).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    let auth = [("authorization", good.as_str())];
    for (method, path) in [
        ("GET", "/sites/app/api/nothing"),
        ("GET", "/sites/app/forwarded/x"),
        ("GET", "/sites/app"),
        ("DELETE", path),
        ("GET", "/sites/none/api/forwarded/x"),
    ] {
        assert_eq!(get(&router, method, path, &auth).await.0, StatusCode::NOT_FOUND, "{method} {path}");
    }
    sites.stop().await;
    assert_eq!(get(&router, "GET", path, &auth).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_forwarding_http_is_data_and_metadata() {
    let mut fixture = Fixture::new();
    fixture.http("web", "items/{id}");
    fixture.host["customHandler"]["enableForwardingHttpRequest"] = json!(false);
    let (sites, _) = fixture.start().await;
    let router = front::router(sites.fronts());
    let (status, body) = get(&router, "GET", "/sites/app/api/items/7", &[]).await;
    assert_eq!((status, body.as_str()), (StatusCode::CREATED, r#"{"id":"7"}"#));
    assert!(fixture.log().contains("a line"));
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_grid_webhook_takes_both_handshakes_and_events() {
    use tower::ServiceExt as _;
    let fixture = Fixture::new();
    fixture.function("ok", json!([{"type": "eventGridTrigger", "name": "event", "direction": "in"}]));
    fixture.function("fail", json!([{"type": "eventGridTrigger", "name": "event", "direction": "in"}]));
    let (sites, site) = fixture.start().await;
    let router = front::router(sites.fronts());
    let key = site.event_grid_key.clone();
    let send = async |method: &str, function: &str, key: &str, kind: &str, body: &str| {
        let uri = format!("/sites/app/runtime/webhooks/EventGrid?functionName={function}&code={key}");
        let request = Request::builder().method(method).uri(uri).header("aeg-event-type", kind);
        let response = router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (status, axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap())
    };
    let event = r#"{"id":"1","type":"t","data":{"a":1}}"#;
    let two = format!("[{event},{event}]");
    assert_eq!(send("POST", "ok", "wrong", "Notification", event).await.0, 401);
    assert_eq!(send("POST", "none", &key, "Notification", event).await.0, 404);
    assert_eq!(send("POST", "ok", &key, "Notification", event).await.0, 202);
    assert_eq!(send("POST", "ok", &key, "Notification", &two).await.0, 202);
    assert_eq!(send("POST", "fail", &key, "Notification", event).await.0, 500);
    assert_eq!(send("POST", "ok", &key, "Notification", "7").await.0, 400);
    assert_eq!(send("POST", "ok", &key, "Other", event).await.0, 400);
    assert_eq!(send("POST", "ok", &key, "Unsubscribe", "").await.0, 202);
    let validation = r#"[{"data":{"validationCode":"abc"}}]"#;
    let (status, body) = send("POST", "ok", &key, "SubscriptionValidation", validation).await;
    assert_eq!((status, &body[..]), (200, &br#"{"validationResponse":"abc"}"#[..]));
    assert_eq!(send("OPTIONS", "ok", &key, "", "").await.0, 200);
    assert_eq!(fixture.journal().iter().filter(|line| line.starts_with("ok ")).count(), 3);
    sites.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_timer_is_made_up_for_once() {
    let fixture = Fixture::new();
    fixture.function(
        "ok",
        json!([{"type": "timerTrigger", "name": "timer", "direction": "in", "schedule": "0 0 0 1 1 *"}]),
    );
    std::fs::create_dir_all(fixture.folder.path().join("timers")).unwrap();
    let state = fixture.folder.path().join("timers/app.ok.json");
    let missed = json!({"last": null, "next": "2020-01-01T00:00:00Z", "updated": "2019-01-01T00:00:00Z"});
    let missed = missed.to_string();
    std::fs::write(&state, &missed).unwrap();
    let (sites, _) = fixture.start().await;
    let remembered = eventually("the next is remembered", || async {
        let text = std::fs::read_to_string(&state).unwrap();
        (text != missed).then_some(text)
    })
    .await;
    let remembered: Value = serde_json::from_str(&remembered).unwrap();
    assert!(remembered["next"].as_str().unwrap().ends_with("-01-01T00:00:00Z"), "{remembered}");
    assert!(remembered["last"].is_string());
    sites.stop().await;
    assert_eq!(fixture.journal().iter().filter(|line| line.starts_with("ok ")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn throughput() {
    // The idle wait decides: sessions a second are at most the concurrent ones divided by it.
    for idle in ["00:00:01", "00:00:00.02"] {
        measure(idle).await;
    }
}

async fn measure(idle: &str) {
    let mut fixture = Fixture::new();
    fixture.settings.remove("FAKE_JOURNAL");
    fixture.host["extensions"]["serviceBus"]["maxConcurrentSessions"] = json!(64);
    fixture.host["extensions"]["serviceBus"]["sessionIdleTimeout"] = json!(idle);
    fixture.surroundings.broker =
        Broker::open(&fixture.folder.path().join("broker.db"), SystemClock::shared()).unwrap();
    fixture.queue("ok", true, 10).await;
    let messages: Vec<(String, String)> = (0..5000).map(|n| (format!("{n}"), format!("s{}", n % 2000))).collect();
    let sent: Vec<_> = messages.iter().map(|(id, session)| (id.as_str(), Some(session.as_str()))).collect();
    fixture.send("ok", &sent).await;
    let begun = Instant::now();
    let (sites, _) = fixture.start().await;
    fixture.drained("ok").await;
    eprintln!("5000 messages of 2000 sessions, idle {idle}: {:?}", begun.elapsed());
    sites.stop().await;
}

/// The roles of the app's identity: on its storage, and on the queue `ns/work`.
fn roles(storage: bool, queue: bool) -> Vec<Value> {
    use crate::access::tests::{assignment, resource};
    let (account, bus) = ("Microsoft.Storage/storageAccounts", "Microsoft.ServiceBus/namespaces");
    let mut resources = vec![resource(account, "sthost"), resource(bus, "ns")];
    let id = |kind: &str, name: &str| resource(kind, name)["id"].as_str().unwrap().to_owned();
    if storage {
        resources.push(assignment("p", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", &id(account, "sthost")));
    }
    if queue {
        let scope = id("Microsoft.ServiceBus/namespaces/queues", "ns/work");
        resources.push(assignment("p", "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0", &scope));
    }
    resources
}

fn deployed(fixture: &mut Fixture) -> Authorizer {
    for (name, value) in [
        ("FUNCTIONS_EXTENSION_VERSION", "~4"),
        ("AzureWebJobsStorage__accountName", "sthost"),
        ("AzureWebJobsStorage__credential", "managedidentity"),
        ("AzureWebJobsStorage__clientId", "c"),
        ("BUS__credential", "managedidentity"),
        ("BUS__clientId", "C"),
    ] {
        fixture.settings.insert(name.into(), value.into());
    }
    let authorizer = Authorizer::of(&roles(true, true));
    fixture.surroundings.authorizer = Some(authorizer.clone());
    authorizer
}

async fn log_says(fixture: &Fixture, part: &str) {
    let log = fixture.folder.path().join("logs/app.log");
    let says = || async { std::fs::read_to_string(&log).ok().filter(|text| text.contains(part)) };
    eventually(&format!("the log says {part:?}"), says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_receives_as_the_apps_identity_and_only_while_that_may() {
    for sessions in [false, true] {
        let mut fixture = Fixture::new();
        let authorizer = deployed(&mut fixture);
        fixture.queue("work", sessions, 3).await;
        let session = |name: &'static str| sessions.then_some(name);
        let (sites, _) = fixture.start().await;
        fixture.send("work", &[("one", session("s"))]).await;
        assert_eq!(fixture.drained("work").await, 0);

        authorizer.update(&roles(true, false));
        fixture.send("work", &[("two", session("s"))]).await;
        log_says(&fixture, "cannot receive: 403: the principal p does not have authorization to perform action").await;
        let counts = fixture.surroundings.broker.counts("ns/work").await.unwrap();
        assert_eq!(counts.active, 1, "it waits in the queue");

        authorizer.update(&roles(true, true));
        assert_eq!(fixture.drained("work").await, 0);
        sites.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_its_storage_runs_nothing() {
    let mut fixture = Fixture::new();
    let authorizer = deployed(&mut fixture);
    fixture.http("forwarded", "forwarded").queue("work", false, 3).await;
    let (sites, _) = fixture.start().await;
    let router = front::router(sites.fronts());
    let path = "/sites/app/api/forwarded";
    let served = || async { (get(&router, "POST", path, &[]).await.0 == StatusCode::OK).then_some(()) };
    eventually("it is served", served).await;

    authorizer.update(&roles(false, true));
    let (status, why) = get(&router, "POST", path, &[]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("blobs/write' over scope") && why.contains("storageAccounts/sthost"), "{why}");
    fixture.send("work", &[("one", None)]).await;
    log_says(&fixture, "cannot receive: 403").await;

    authorizer.update(&roles(true, true));
    assert_eq!(fixture.drained("work").await, 0);
    eventually("it is served again", served).await;
    sites.stop().await;
}

#[tokio::test]
async fn a_site_that_is_not_started_yet_is_unavailable_and_not_unknown() {
    let fixture = Fixture::new();
    fixture.http("echo", "echo");
    std::fs::write(fixture.root().join("host.json"), fixture.host.to_string()).unwrap();
    let mut sites = Sites::new(fixture.surroundings.clone());
    let front = front::router(sites.fronts());
    let status = async |front: &axum::Router| {
        let request = axum::http::Request::get("/sites/app/api/echo").body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(front.clone(), request).await.unwrap().status()
    };
    assert_eq!(status(&front).await, StatusCode::NOT_FOUND);
    sites.expect(&[fixture.resource()]);
    assert_eq!(status(&front).await, StatusCode::SERVICE_UNAVAILABLE);
    sites.apply(&[fixture.resource()]).await;
    assert_eq!(status(&front).await, StatusCode::OK);
    // What runs is not disturbed by being expected again.
    sites.expect(&[fixture.resource()]);
    assert_eq!(status(&front).await, StatusCode::OK);
    sites.apply(&[]).await;
    assert_eq!(status(&front).await, StatusCode::NOT_FOUND);
    sites.stop().await;
}

#[tokio::test]
async fn a_setting_that_is_missing_is_named() {
    for (missing, why) in [
        ("FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_EXTENSION_VERSION must be ~4, it is None"),
        ("AzureWebJobsStorage__accountName", "the app setting AzureWebJobsStorage__accountName is missing"),
        ("AzureWebJobsStorage__credential", "the app setting AzureWebJobsStorage__credential is missing"),
        ("AzureWebJobsStorage__clientId", "the app setting AzureWebJobsStorage__clientId is missing"),
        ("BUS__credential", "the app setting BUS__credential is missing"),
        ("BUS__clientId", "the app setting BUS__clientId is missing"),
    ] {
        let mut fixture = Fixture::new();
        deployed(&mut fixture);
        fixture.settings.remove(missing);
        let identities = [ManagedIdentity { principal_id: "p".into(), client_id: "c".into() }];
        let rights = HostRights::new(fixture.surroundings.authorizer.clone(), &identities, &fixture.settings);
        let refused = rights.run().and_then(|()| rights.receive("BUS", "ns/work"));
        assert_eq!(refused, Err(why.to_owned()));
    }
}

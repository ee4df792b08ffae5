//! The binary as scripts use it: it prints `ready`, routes, keeps its folder to itself, and stops cleanly.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use skein_local::identity::{GATEWAY_AUDIENCE, ISSUER};
use skein_local::outbound;
use skein_package::{Compression, File};
use skein_policies::{ControlFlow, Tier, control_flow};

#[path = "serve/hostile.rs"]
mod hostile;

const BINARY: &str = env!("CARGO_BIN_EXE_skein-local");

const ARM: &str = "https://management.azure.com";
const SUBSCRIPTION: &str = "/subscriptions/11111111-2222-3333-4444-555555555555";

fn serve(state: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--state").arg(state).args(["--port", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A system that is running; it is killed if the test fails.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    planes: String,
    url: String,
}

impl Running {
    fn started(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = |start: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim().strip_prefix(start).unwrap_or_else(|| panic!("it printed {line:?}")).to_owned()
        };
        let (planes, url) = (line("planes "), line("ready "));
        Running { child, stdout, planes, url }
    }

    fn stop(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing but the two lines on stdout");
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A small system, deployed resource by resource.
struct Deployed<'s> {
    state: &'s Path,
    base: String,
}

impl Deployed<'_> {
    /// The path of a resource.
    fn id(kind: &str, name: &str) -> String {
        let (provider, types) = kind.split_once('/').unwrap();
        let pairs = types.split('/').zip(name.split('/')).map(|(kind, name)| format!("/{kind}/{name}"));
        format!("{SUBSCRIPTION}/resourceGroups/rg/providers/{provider}{}", pairs.collect::<String>())
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        operator(self.state, ARM, method, &format!("{}{path}?api-version=2025-04-01", self.base), body).await
    }

    async fn put(&self, kind: &str, name: &str, mut body: Value) -> Value {
        body["location"] = "westeurope".into();
        let (status, answer) = self.ask("PUT", &Self::id(kind, name), body).await;
        assert!(status < 300, "{kind} {name}: {answer}");
        answer
    }

    /// Gives an app its settings, those that every host needs included.
    async fn settings(&self, site: &str, mut settings: Value) {
        let identity = Self::id("Microsoft.ManagedIdentity/userAssignedIdentities", &site.replace("func-", "id-"));
        let (_, identity) = self.ask("GET", &identity, Value::Null).await;
        settings["FUNCTIONS_EXTENSION_VERSION"] = "~4".into();
        settings["AzureWebJobsStorage__accountName"] = "stskeinorders".into();
        settings["AzureWebJobsStorage__credential"] = "managedidentity".into();
        settings["AzureWebJobsStorage__clientId"] = identity["properties"]["clientId"].clone();
        self.put("Microsoft.Web/sites/config", &format!("{site}/appsettings"), json!({"properties": settings})).await;
    }

    /// One service, whose apps are the fake worker.
    async fn service(&self) {
        let group = format!("{SUBSCRIPTION}/resourceGroups/rg");
        assert!(self.ask("PUT", &group, json!({"location": "westeurope"})).await.0 < 300);
        self.put("Microsoft.Storage/storageAccounts", "stskeinorders", json!({})).await;
        self.put("Microsoft.Storage/storageAccounts/tableServices/tables", "stskeinorders/default/events", json!({}))
            .await;
        self.put("Microsoft.ServiceBus/namespaces", "sb-skein-orders", json!({})).await;
        let containers = "Microsoft.Storage/storageAccounts/blobServices/containers";
        self.put(containers, "stskeinorders/default/azure-webjobs-hosts", json!({})).await;
        let properties = json!({"properties": {"requiresSession": true}});
        self.put("Microsoft.ServiceBus/namespaces/queues", "sb-skein-orders/commands", properties).await;
        let system = json!({"identity": {"type": "SystemAssigned"}});
        let gateway = self.put("Microsoft.ApiManagement/service", "apim-skein", system).await;
        let gateway = &gateway["identity"]["principalId"];
        for side in ["command", "query"] {
            let (site, identity) = (format!("func-orders-{side}"), format!("id-orders-{side}"));
            let kind = "Microsoft.ManagedIdentity/userAssignedIdentities";
            let about = self.put(kind, &identity, json!({})).await;
            // Storage Blob Data Owner: a host keeps its locks there.
            let role = "/providers/Microsoft.Authorization/roleDefinitions/b7e6dc6d-f1e8-4753-8033-0f276bb0955b";
            let body = json!({"properties": {"principalId": about["properties"]["principalId"],
                "roleDefinitionId": format!("{SUBSCRIPTION}{role}"), "principalType": "ServicePrincipal"}});
            let path = Self::id("Microsoft.Storage/storageAccounts", "stskeinorders");
            let name = about["properties"]["principalId"].as_str().unwrap();
            let path = format!("{path}/providers/Microsoft.Authorization/roleAssignments/{name}");
            assert!(self.ask("PUT", &path, body).await.0 < 300);
            let assigned = json!({"type": "UserAssigned", "userAssignedIdentities": {Self::id(kind, &identity): {}}});
            self.put("Microsoft.Web/sites", &site, json!({"identity": assigned})).await;
            self.settings(&site, json!({"SKEIN_SERVICE": "orders"})).await;
            let properties = json!({"properties": {
                "globalValidation": {"requireAuthentication": true, "unauthenticatedClientAction": "Return401",
                                     "excludedPaths": ["/api/health/ready"]},
                "identityProviders": {"azureActiveDirectory": {"validation": {
                    "allowedAudiences": ["api://skein-local"],
                    "defaultAuthorizationPolicy": {"allowedPrincipals": {"identities": [gateway]}}}}}}});
            self.put("Microsoft.Web/sites/config", &format!("{site}/authsettingsV2"), properties).await;
            let url = format!("{}/sites/{site}/api", self.base);
            let properties = json!({"properties": {"url": url, "protocol": "http"}});
            self.put("Microsoft.ApiManagement/service/backends", &format!("apim-skein/orders-{side}"), properties)
                .await;
        }
        let properties = json!({"properties": {"path": "orders", "displayName": "Orders"}});
        self.put("Microsoft.ApiManagement/service/apis", "apim-skein/orders", properties).await;
        self.policies().await;
    }

    /// The gateway's policies, as they ship.
    async fn policies(&self) {
        let kind = |kind: &str| format!("Microsoft.ApiManagement/service/{kind}");
        let authority = format!("{}/identity/tenant/v2.0", self.base);
        for (named, value) in [
            (control_flow::APP_AUDIENCE, "api://skein-local"),
            (control_flow::AUDIENCE, GATEWAY_AUDIENCE),
            (control_flow::ISSUER, ISSUER),
            (control_flow::OPENID_CONFIG, &format!("{authority}/.well-known/openid-configuration")),
            (control_flow::SITE_ORIGIN, "https://site.example"),
        ] {
            let properties = json!({"properties": {"displayName": named.name(), "value": value}});
            self.put(&kind("namedValues"), &format!("apim-skein/{}", named.name()), properties).await;
        }
        let tier = Tier::Consumption;
        for (name, _, xml) in control_flow::fragments(tier).unwrap() {
            self.put(&kind("policyFragments"), &format!("apim-skein/{name}"), document(&xml)).await;
        }
        let gateway = control_flow::gateway(tier).print(tier).unwrap();
        self.put(&kind("policies"), "apim-skein/policy", document(&gateway)).await;
        for method in ["POST", "GET", "HEAD", "PUT", "PATCH", "DELETE"] {
            let operation = json!({"properties": {"method": method, "urlTemplate": "/graphql"}});
            self.put(&kind("apis/operations"), &format!("apim-skein/orders/graphql-{method}"), operation).await;
        }
        self.put(&kind("apis/policies"), "apim-skein/orders/policy", document(&api_policy())).await;
    }

    /// The status, the answer, and where it will be told what became of it.
    async fn publish(&self, site: &str, zip: Vec<u8>, digest: Option<&str>) -> (u16, Value, String) {
        let mut request = Request::post(format!("{}/scm/{site}/api/publish?Deployer=me", self.base))
            .header("authorization", format!("Bearer {}", token(self.state, ARM)))
            .header("content-type", "application/zip");
        if let Some(digest) = digest {
            request = request.header("content-digest", digest);
        }
        let response = outbound::client().request(request.body(Body::from(zip)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let location = head.headers.get("location").map(|value| value.to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        (head.status.as_u16(), body, location.unwrap_or_default())
    }

    /// Publishes a package, and waits until it runs.
    async fn published(&self, site: &str, zip: Vec<u8>) {
        let (status, answer, location) = self.publish(site, zip, None).await;
        assert_eq!(status, 202, "{answer}");
        loop {
            let (status, record) = operator(self.state, ARM, "GET", &location, Value::Null).await;
            assert_eq!(status, 200, "{record}");
            if record["complete"] == true {
                assert_eq!((&record["status"], &record["deployer"]), (&json!(4), &json!("me")), "{record}");
                break;
            }
        }
        let ready = format!("{}/sites/{site}/api/health/ready", self.base);
        let get = || Request::get(&ready).body(Body::empty()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let (status, answer) = send(get()).await;
            if status == 200 {
                break;
            }
            assert!(Instant::now() < until, "{site} does not become ready: {status} {answer}");
        }
    }

    /// The process that an app had last.
    fn process(&self, site: &str) -> u64 {
        let log = std::fs::read_to_string(self.state.join(format!("logs/{site}.log"))).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["process"].as_u64()).next_back().expect("the log names the process")
    }
}

fn document(xml: &str) -> Value {
    json!({"properties": {"value": xml, "format": "xml"}})
}

fn api_policy() -> String {
    ControlFlow::between("orders-command", "orders-query").policy(Tier::Consumption).print(Tier::Consumption).unwrap()
}

/// A request of a client to the gateway.
fn ask(url: &str, document: &str, token: &str) -> Request<Body> {
    Request::post(format!("{url}/orders/graphql"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", token.trim()))
        .header("x-skein-principal", "forged")
        .body(Body::from(json!({"query": document}).to_string()))
        .unwrap()
}

fn customer(state: &Path) -> String {
    let mut token = Command::new(BINARY);
    token.args(["token", "--role", "customer", "--subject", "17850", "--state"]).arg(state);
    let (token, errors) = output(&mut token);
    assert_eq!(errors, "");
    String::from_utf8(token.stdout).unwrap()
}

/// The package of an app with two functions. `more` makes it another one.
fn package(more: &str) -> Vec<u8> {
    package_of("fake_worker", more)
}

/// The same with one of the examples as its worker.
fn package_of(worker: &str, more: &str) -> Vec<u8> {
    let examples = Path::new(BINARY).parent().unwrap().join("examples").join(worker);
    assert!(examples.is_file(), "{} is missing: `cargo test -p skein-local` builds it", examples.display());
    let host = json!({"version": "2.0", "customHandler": {
        "description": {"defaultExecutablePath": "bin/handler"}, "enableProxyingHttpRequest": true}});
    let file = |path: &str, text: String| File { path: path.into(), bytes: text.into_bytes(), executable: false };
    let mut files = vec![file("host.json", host.to_string()), file("about.txt", more.to_owned())];
    for (function, route) in [("graphql", "graphql"), ("ready", "health/ready")] {
        let bindings = json!({"bindings": [
            {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": route},
            {"type": "http", "direction": "out", "name": "res"}]});
        files.push(file(&format!("{function}/function.json"), bindings.to_string()));
    }
    files.push(File { path: "bin/handler".into(), bytes: std::fs::read(examples).unwrap(), executable: true });
    skein_package::write(files, Compression::Stored, None).unwrap()
}

fn output(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

async fn send(request: Request<Body>) -> (u16, Value) {
    let response = outbound::client().request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(Body::new(response.into_body()), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

const SITES: [&str; 2] = ["func-orders-command", "func-orders-query"];

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_what_is_deployed_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let mut running = Running::started(&mut serve(state));

    let (second, errors) = output(&mut serve(state));
    assert_eq!(second.status.code(), Some(1));
    assert!(errors.contains(&format!("another local system runs on {}", state.display())), "{errors}");

    let deployed = Deployed { state, base: running.planes.clone() };
    deployed.service().await;
    for site in SITES {
        let waits = Request::get(format!("{}/sites/{site}/api/health/ready", deployed.base));
        assert_eq!(send(waits.body(Body::empty()).unwrap()).await.0, 503, "{site} has no package yet");
        deployed.published(site, package("first")).await;
    }

    let token = customer(state);
    let (_, gateway) =
        deployed.ask("GET", &Deployed::id("Microsoft.ApiManagement/service", "apim-skein"), Value::Null).await;
    for document in ["{ a }", "mutation { a }"] {
        let (status, seen) = send(ask(&running.url, document, &token)).await;
        assert_eq!(status, 200, "{seen}");
        assert_eq!(
            (&seen["uri"], &seen["headers"]["x-ms-client-principal-id"]),
            (&json!("/api/graphql"), &gateway["identity"]["principalId"])
        );
        let principal = URL_SAFE_NO_PAD.decode(seen["headers"]["x-skein-principal"].as_str().unwrap()).unwrap();
        let principal: Value = serde_json::from_slice(&principal).unwrap();
        assert_eq!((&principal["subject"], &principal["roles"]), (&json!("17850"), &json!(["customer"])));
        assert!(principal["exp"].is_i64(), "{principal}");
    }
    let (status, problem) = send(ask(&running.url, "{ a }", "")).await;
    assert_eq!((status, problem["traceId"].as_str().map(str::len)), (401, Some(32)), "{problem}");

    // The planes: not without a token, not under a foreign name.
    let base = running.planes.clone();
    let plane = |path: &str, host: &str| {
        let request = Request::get(format!("{base}{path}")).header("host", host);
        send(request.body(Body::empty()).unwrap())
    };
    for path in ["/tables/stskeinorders/events()", "/sites/func-orders-command/api/graphql", "/identity/token"] {
        assert_eq!(plane(path, "127.0.0.1").await.0, 401, "{path}");
        assert_eq!(plane(path, "rebound.example").await.0, 421, "{path}");
    }
    assert_eq!(plane("/identity/keys", "localhost").await.1["keys"][0]["alg"], "RS256");

    // From its own state, on the same port of the planes, after each way to end; once more with a path that is relative
    // to the folder it is started in.
    let mut ends = Some("-TERM");
    while let Some(signal) = ends {
        let code = running.stop(signal);
        ends = (signal == "-TERM").then(|| {
            assert_eq!(code, Some(0));
            "-KILL"
        });
        let mut again = serve(Path::new("."));
        running = Running::started(again.current_dir(state));
        assert_eq!(running.planes, base);
        let (status, seen) = send(ask(&running.url, "{ a }", &token)).await;
        assert_eq!(status, 200, "{seen}");
    }
    assert_eq!(running.stop("-INT"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_touches_what_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let running = Running::started(&mut serve(state));
    let deployed = Deployed { state, base: running.planes.clone() };
    deployed.service().await;
    for site in SITES {
        deployed.published(site, package("first")).await;
    }
    let processes = || SITES.map(|site| deployed.process(site));
    let ready = async |site: &str| {
        let url = format!("{}/sites/{site}/api/health/ready", deployed.base);
        let until = Instant::now() + Duration::from_secs(60);
        while send(Request::get(&url).body(Body::empty()).unwrap()).await.0 != 200 {
            assert!(Instant::now() < until, "{site} does not become ready");
        }
    };
    let first = processes();

    // The same again, and what no app knows of.
    deployed.settings(SITES[0], json!({"SKEIN_SERVICE": "orders"})).await;
    deployed.published(SITES[0], package("first")).await;
    let queue = ("Microsoft.ServiceBus/namespaces/queues", "sb-skein-orders/more");
    deployed.put(queue.0, queue.1, json!({})).await;
    assert_eq!(processes(), first, "nothing was started again");
    let send_to = format!("{}/servicebus/sb-skein-orders/more/messages", deployed.base);
    assert_eq!(operator(state, "https://servicebus.azure.net", "POST", &send_to, json!({})).await.0, 201);
    assert!(deployed.ask("DELETE", &Deployed::id(queue.0, queue.1), Value::Null).await.0 < 300);
    assert_eq!(operator(state, "https://servicebus.azure.net", "POST", &send_to, json!({})).await.0, 410);

    // A setting, then a package: of one app each.
    deployed.settings(SITES[0], json!({"SKEIN_SERVICE": "orders", "MORE": "1"})).await;
    ready(SITES[0]).await;
    let second = processes();
    assert!(second[0] != first[0] && second[1] == first[1], "{first:?} {second:?}");
    deployed.published(SITES[1], package("second")).await;
    let third = processes();
    assert!(third[0] == second[0] && third[1] != second[1], "{second:?} {third:?}");

    // A policy that is understood, then one that is not.
    let customer = customer(state);
    let api = ("Microsoft.ApiManagement/service/apis/policies", "apim-skein/orders/policy");
    assert_eq!(send(ask(&running.url, "{ a }", &customer)).await.0, 200);
    let refusing = "<return-response><set-status code=\"410\" /></return-response>";
    deployed.put(api.0, api.1, document(&api_policy().replacen("<base />", refusing, 1))).await;
    assert_eq!(send(ask(&running.url, "{ a }", &customer)).await.0, 410);
    let unknown = document(&api_policy().replacen("<base />", "<base /><send-request mode=\"new\" />", 1));
    let (status, refused) = deployed.ask("PUT", &Deployed::id(api.0, api.1), unknown).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("ValidationError")), "{refused}");
    let why = "inbound/send-request: the policy send-request is not one that is executed here";
    assert!(refused["error"]["message"].as_str().unwrap().ends_with(why), "{refused}");
    assert_eq!(send(ask(&running.url, "{ a }", &customer)).await.0, 410, "nothing was written");
    deployed.put(api.0, api.1, document(&api_policy())).await;
    assert_eq!(send(ask(&running.url, "{ a }", &customer)).await.0, 200);
    assert_eq!(processes(), third, "no app was started again");

    // What is no package leaves the one that is there.
    for (zip, digest, why) in [
        (b"no zip".to_vec(), None, "cannot be started with it"),
        (package("third"), Some("sha-256=:AAAA:"), "not the one that its digest names"),
    ] {
        let (status, answer, _) = deployed.publish(SITES[1], zip, digest).await;
        assert!(status == 400 && answer.to_string().contains(why), "{status} {answer}");
    }
    let (status, answer, _) = deployed.publish("func-none", package("x"), None).await;
    assert_eq!(status, 404, "{answer}");
    let request = Request::post(format!("{}/scm/{}/api/publish", deployed.base, SITES[0])).body(Body::from("x"));
    assert_eq!(send(request.unwrap()).await.0, 401);
    assert_eq!(processes(), third);

    // A site that is gone is gone.
    let site = Deployed::id("Microsoft.Web/sites", SITES[1]);
    assert!(deployed.ask("DELETE", &site, Value::Null).await.0 < 300);
    let gone = Request::get(format!("{}/sites/{}/api/health/ready", deployed.base, SITES[1]));
    assert_eq!(send(gone.body(Body::empty()).unwrap()).await.0, 404);
    assert!(!runs(third[1]) && runs(third[0]));
}

#[test]
fn what_keeps_it_from_starting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    std::fs::write(state.join("planes-port"), &port).unwrap();
    let (output_, errors) = output(&mut serve(state));
    assert_eq!(output_.status.code(), Some(1));
    assert!(errors.contains("what is deployed here names that port") && errors.contains(&port), "{errors}");
    drop(taken);

    let (output_, errors) = output(serve(state).args(["--", "false"]));
    assert_eq!(output_.status.code(), Some(1));
    assert!(errors.contains("false failed (exit status: 1)"), "{errors}");

    let (output_, errors) = output(Command::new(BINARY).args(["token", "--role", "operator", "--state", "/nowhere"]));
    assert_eq!(output_.status.code(), Some(1));
    assert!(errors.contains("no local system has run on /nowhere"), "{errors}");
    let (output_, errors) = output(Command::new(BINARY).args(["token", "--role", "root", "--state"]).arg(state));
    assert!(!output_.status.success() && errors.contains("the role must be one of operator, customer"), "{errors}");
}

/// Whether a process runs; one that has ended and nobody has reaped does not.
fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_die_with_it() {
    for signal in ["-TERM", "-KILL"] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        let mut running = Running::started(&mut serve(state));
        let deployed = Deployed { state, base: running.planes.clone() };
        deployed.service().await;
        for site in SITES {
            deployed.published(site, package("first")).await;
        }
        let workers = SITES.map(|site| deployed.process(site));
        assert!(workers.iter().all(|worker| runs(*worker)));
        running.stop(signal);
        let until = Instant::now() + Duration::from_secs(60);
        while workers.iter().any(|worker| runs(*worker)) {
            // After TERM they are gone at once; after KILL they notice the end of their pipe.
            assert!(signal == "-KILL" && Instant::now() < until, "{signal} left {workers:?}");
            std::thread::yield_now();
        }
    }
}

/// A template that others wrote; `None` where the shared folder is not there.
fn sample(name: &str) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("SKEIN_SHARED").map_or_else(|| root.join("../shared"), |shared| root.join(shared));
    let path = shared.join("azure/samples").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {}: {error}", path.display());
            None
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The operator's token for a plane.
fn token(state: &Path, audience: &str) -> String {
    static KNOWN: Mutex<BTreeMap<(PathBuf, String), String>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let token = known.entry((state.to_owned(), audience.to_owned())).or_insert_with(|| {
        let printed =
            Command::new(BINARY).args(["token", "--state"]).arg(state).args(["--resource", audience]).output().unwrap();
        let token: Value = serde_json::from_slice(&printed.stdout).unwrap();
        token["accessToken"].as_str().unwrap().to_owned()
    });
    token.clone()
}

/// The status and the body of one request with the operator's token.
async fn operator(state: &Path, audience: &str, method: &str, url: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(url);
    let request = request.header("authorization", format!("Bearer {}", token(state, audience)));
    let request = request.header("content-type", "application/json").header("BrokerProperties", r#"{"SessionId":"s"}"#);
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let response = outbound::client().request(request.body(body).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.unwrap();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_by_others_are_deployed_and_hosted() {
    let names = ["good_sub.json", "good_service.json", "good_service_array.json"];
    let [Some(platform), Some(symbolic), Some(array)] = names.map(sample) else { return };
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--state").arg(state).args(["--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut system = Running::started(&mut command);
    let subscription = SUBSCRIPTION;
    let arm = async |base: &str, method: &str, path: &str, body: Value| {
        let url = format!("{base}{subscription}{path}?api-version=2025-04-01");
        operator(state, "https://management.azure.com", method, &url, body).await
    };
    let deploy = async |base: &str, scope: &str, name: &str, mut request: Value| {
        let path = format!("{scope}/providers/Microsoft.Resources/deployments/{name}");
        request["properties"]["mode"] = "Incremental".into();
        let (status, answer) = arm(base, "PUT", &path, request).await;
        assert!(status < 300, "{name}: {answer}");
        loop {
            let (_, deployment) = arm(base, "GET", &path, Value::Null).await;
            match deployment["properties"]["provisioningState"].as_str() {
                Some("Running") => continue,
                Some("Succeeded") => return deployment,
                _ => panic!("{name}: {deployment}"),
            }
        }
    };
    let base = system.planes.clone();
    let parameters = json!({"env": {"value": "dev"}, "publisherEmail": {"value": "ops@example.com"}});
    let request = json!({"location": "westeurope", "properties": {"template": platform, "parameters": parameters}});
    deploy(&base, "", "platform", request).await;
    let topic =
        format!("{subscription}/resourceGroups/rg-platform-dev/providers/Microsoft.EventGrid/topics/evgt-integration");
    let mut queues = Vec::new();
    for (group, template) in [("rg-symbolic", symbolic), ("rg-array", array)] {
        arm(&base, "PUT", &format!("/resourcegroups/{group}"), json!({"location": "westeurope"})).await;
        let parameters = json!({"topicId": {"value": topic}, "platformResourceGroup": {"value": "rg-platform-dev"},
            "apimName": {"value": "apim-gw"}, "appInsightsConnectionString": {"value": "InstrumentationKey=1"}});
        let request = json!({"properties": {"template": template, "parameters": parameters}});
        let deployment = deploy(&base, &format!("/resourceGroups/{group}"), "service", request).await;
        let app = deployment["properties"]["outputs"]["functionAppName"]["value"].as_str().unwrap().to_owned();
        let suffix = app.rsplit('-').next().unwrap().to_owned();
        queues.push((format!("sb-orders-{suffix}"), format!("storders{suffix}")));
    }
    // What was deployed lives, and still does after the process was killed.
    for (round, base) in [(0, base), (1, String::new())] {
        let base = if round == 0 {
            base
        } else {
            system.stop("-KILL");
            system = Running::started(&mut command);
            system.planes.clone()
        };
        for (namespace, account) in &queues {
            let url = format!("{base}/servicebus/{namespace}/commands/messages");
            let (status, answer) = operator(state, "https://servicebus.azure.net", "POST", &url, json!({})).await;
            assert_eq!(status, 201, "{url}: {answer}");
            let url = format!("{base}/tables/{account}/Tables");
            let (status, tables) = operator(state, "https://storage.azure.com", "GET", &url, Value::Null).await;
            assert_eq!((status, tables["value"].as_array().map(Vec::len)), (200, Some(3)), "{tables}");
        }
    }
    assert_eq!(system.stop("-TERM"), Some(0));
}

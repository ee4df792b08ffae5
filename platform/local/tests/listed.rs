//! The binary with a list of resources, as `cargo xtask up` uses it: it prints `ready`, routes, keeps its folder to itself, and stops cleanly.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use skein_local::outbound;

const BINARY: &str = env!("CARGO_BIN_EXE_skein-local");

/// A list with one service, whose apps are the fake worker, and their packages.
fn write_system(state: &Path, planes: u16) {
    let ids = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities";
    let mut list = vec![
        json!({"type": "Microsoft.Storage/storageAccounts", "name": "stskeinorders"}),
        json!({"type": "Microsoft.Storage/storageAccounts/tableServices/tables", "name": "stskeinorders/default/events"}),
        json!({"type": "Microsoft.ServiceBus/namespaces", "name": "sb-skein-orders"}),
        json!({"type": "Microsoft.ServiceBus/namespaces/queues", "name": "sb-skein-orders/commands",
               "properties": {"requiresSession": true}}),
        json!({"type": "Microsoft.EventGrid/topics", "name": "evgt-skein"}),
        json!({"type": "Microsoft.ApiManagement/service", "name": "apim-skein", "identity": {"principalId": "gateway"}}),
        json!({"type": "Microsoft.ApiManagement/service/apis", "name": "apim-skein/orders",
               "properties": {"path": "orders", "displayName": "Orders"}}),
        json!({"type": "Microsoft.Insights/components", "name": "appi-skein"}),
    ];
    let examples = Path::new(BINARY).parent().unwrap().join("examples/fake_worker");
    assert!(examples.is_file(), "{} is missing: `cargo test -p skein-local` builds it", examples.display());
    for side in ["command", "query"] {
        let site = format!("func-orders-{side}");
        list.push(
            json!({"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "name": format!("id-orders-{side}"),
            "properties": {"principalId": format!("p-{side}"), "clientId": format!("c-{side}")}}),
        );
        list.push(json!({"type": "Microsoft.Web/sites", "name": site,
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {format!("{ids}/id-orders-{side}"): {}}},
            "properties": {"siteConfig": {"appSettings": [{"name": "SKEIN_SERVICE", "value": "orders"}]}}}));
        list.push(
            json!({"type": "Microsoft.Web/sites/config", "name": format!("{site}/authsettingsV2"), "properties": {
            "globalValidation": {"requireAuthentication": true, "unauthenticatedClientAction": "Return401",
                                 "excludedPaths": ["/api/health/ready"]},
            "identityProviders": {"azureActiveDirectory": {"validation": {"allowedAudiences": ["api://skein-local"],
                "defaultAuthorizationPolicy": {"allowedPrincipals": {"identities": ["gateway"]}}}}}}}),
        );
        list.push(
            json!({"type": "Microsoft.ApiManagement/service/backends", "name": format!("apim-skein/orders-{side}"),
            "properties": {"url": format!("http://127.0.0.1:{planes}/sites/{site}/api"), "protocol": "http"}}),
        );
        let root = state.join("apps").join(&site);
        for (function, route) in [("graphql", "graphql"), ("ready", "health/ready")] {
            std::fs::create_dir_all(root.join(function)).unwrap();
            let bindings = json!({"bindings": [
                {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": route},
                {"type": "http", "direction": "out", "name": "res"}]});
            std::fs::write(root.join(function).join("function.json"), bindings.to_string()).unwrap();
        }
        let host = json!({"version": "2.0", "customHandler": {
            "description": {"defaultExecutablePath": "bin/handler"}, "enableProxyingHttpRequest": true}});
        std::fs::write(root.join("host.json"), host.to_string()).unwrap();
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::os::unix::fs::symlink(&examples, root.join("bin/handler")).unwrap();
    }
    std::fs::write(state.join("resources.json"), json!(list).to_string()).unwrap();
}

fn serve(state: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--state").arg(state).arg("--resources").arg(state.join("resources.json"));
    command.args(["--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A system that is running; it is killed if the test fails.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl Running {
    fn started(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("it printed {line:?}")).to_owned();
        Running { child, stdout, url }
    }

    fn stop(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nothing but the one line on stdout");
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// A port that the list can name.
fn planes_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let planes = planes_port();
    write_system(state, planes);
    let mut running = Running::started(&mut serve(state));

    let (second, errors) = output(&mut serve(state));
    assert_eq!(second.status.code(), Some(1));
    assert!(errors.contains(&format!("another local system runs on {}", state.display())), "{errors}");

    let mut token = Command::new(BINARY);
    token.args(["token", "--role", "customer", "--subject", "17850", "--state"]).arg(state);
    let (token, errors) = output(&mut token);
    assert_eq!(errors, "");
    let token = String::from_utf8(token.stdout).unwrap();
    let ask = |document: &str, token: &str| {
        Request::post(format!("{}/orders/graphql", running.url))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", token.trim()))
            .body(Body::from(json!({"query": document}).to_string()))
            .unwrap()
    };
    for document in ["{ a }", "mutation { a }"] {
        let (status, seen) = send(ask(document, &token)).await;
        assert_eq!(status, 200, "{seen}");
        assert_eq!(
            (&seen["uri"], &seen["headers"]["x-ms-client-principal-id"]),
            (&json!("/api/graphql"), &json!("gateway"))
        );
    }
    assert_eq!(send(ask("{ a }", "")).await.0, 401);

    // The planes: not without a token, not under a foreign name.
    let plane = |path: &str, host: &str| {
        let request = Request::get(format!("http://127.0.0.1:{planes}{path}")).header("host", host);
        send(request.body(Body::empty()).unwrap())
    };
    for path in ["/tables/stskeinorders/events()", "/sites/func-orders-command/api/graphql", "/identity/token"] {
        assert_eq!(plane(path, "127.0.0.1").await.0, 401, "{path}");
        assert_eq!(plane(path, "rebound.example").await.0, 421, "{path}");
    }
    assert_eq!(plane("/identity/keys", "localhost").await.1["keys"][0]["alg"], "RS256");

    assert_eq!(running.stop("-TERM"), Some(0));
    // Once more, with a path that is relative to the folder it is started in.
    let mut again = serve(Path::new("."));
    let mut again = Running::started(again.current_dir(state));
    assert_eq!(again.stop("-INT"), Some(0));
}

#[test]
fn what_cannot_be_hosted_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let planes = planes_port();
    write_system(state, planes);
    let (output_, errors) = output(serve(state).args(["--planes-port", &(planes ^ 1).to_string()]));
    assert_eq!(output_.status.code(), Some(1));
    assert!(errors.contains(&format!("the list was written for planes on port {planes}")), "{errors}");

    std::fs::remove_file(state.join("apps/func-orders-query/host.json")).unwrap();
    let (output_, errors) = output(&mut serve(state));
    assert_eq!(output_.status.code(), Some(1));
    assert!(errors.contains("kept, not hosted: Microsoft.Insights/components appi-skein"), "{errors}");
    assert!(errors.contains("site func-orders-query cannot be run: cannot read"), "{errors}");

    std::fs::write(state.join("resources.json"), "{}").unwrap();
    let (_, errors) = output(&mut serve(state));
    assert!(errors.contains("resources.json is no list of resources"), "{errors}");

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

#[test]
fn workers_die_with_it() {
    for signal in ["-TERM", "-KILL"] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        write_system(state, planes_port());
        let mut running = Running::started(&mut serve(state));
        let workers: Vec<u64> = ["func-orders-command", "func-orders-query"]
            .iter()
            .map(|site| {
                let log = std::fs::read_to_string(state.join(format!("logs/{site}.log"))).unwrap();
                let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                lines.filter_map(|line| line["process"].as_u64()).next().expect("the log names the process")
            })
            .collect();
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

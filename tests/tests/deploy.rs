//! Deployments from the outside: what changes nothing, what changes one setting, what somebody changed by hand, clients
//! that are killed, and everything that is refused, with its exit code.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use skein_tests::deployment::{Done, Empty, Target, binary, environments, finished, operator_token, package, render};
use skein_tests::system::{SITES, System, until};

/// The subscription of the local environment.
const SUBSCRIPTION: &str = "/subscriptions/11111111-2222-3333-4444-555555555555";

/// How often the client is killed.
const KILLS: u32 = 12;

/// How long an app may take to run again.
const RESTART: Duration = Duration::from_secs(60);

/// The changes that a plan or a comparison found, over all layers: the kind, the resource's id and the changed paths.
fn changes(done: &Done) -> Result<Vec<(String, String, Vec<String>)>> {
    let results = done.json()?;
    let layers = results.as_object().context("results are by layer")?.values();
    let all = layers.flat_map(|layer| layer["changes"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let changed =
        all.filter(|change| !["NoChange", "Ignore", "NoEffect"].contains(&text(&change["changeType"]).as_str()));
    let paths =
        |change: &Value| change["delta"].as_array().into_iter().flatten().map(|one| text(&one["path"])).collect();
    Ok(changed.map(|change| (text(&change["changeType"]), text(&change["resourceId"]), paths(&change))).collect())
}

/// One request to the control plane as the operator.
fn arm(system: &System, target: &Target, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let token = operator_token(&target.state, "https://management.azure.com")?;
    let version = if path.contains("/Microsoft.ServiceBus/") { "2024-01-01" } else { "2025-04-01" };
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}?api-version={version}", target.endpoint))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let response = system.request(request.body(Full::new(body))?)?;
    Ok((response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default()))
}

#[test]
fn what_is_deployed_is_known_and_changes_as_planned() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let system = System::up(&state, &["--fresh"]).unwrap();
    let target = Target::of(&state).unwrap();
    let processes = || SITES.map(|site| system.process(site).unwrap());
    let first = processes();

    // The same once more.
    let begun = Instant::now();
    let again = target.run(&["deploy", "all"]).unwrap();
    assert_eq!((again.code, again.told.lines().last()), (Some(0), Some("nothing to do")), "{}", again.told);
    println!("deployed again after {:.1} s: nothing to do", begun.elapsed().as_secs_f64());
    for asked in ["plan", "drift"] {
        let asked = target.run(&[asked, "all", "--output", "json"]).unwrap();
        assert_eq!((asked.code, changes(&asked).unwrap()), (Some(0), vec![]), "{}", asked.told);
    }
    assert_eq!(processes(), first, "nothing was started again");

    // One setting of one app.
    let rendered = state.join("render");
    let changed = target.with_rendered(&rendered, &folder.path().join("changed"), |layer, template| {
        let nested = template["resources"].as_array_mut().into_iter().flatten();
        let nested = nested.filter_map(|one| one.pointer_mut("/properties/template/resources")?.as_array_mut());
        for resource in nested.flatten().filter(|_| layer == "orders") {
            let name = resource["name"].as_str().unwrap_or_default();
            if name.contains("func-orders-query") && name.contains("/appsettings") {
                resource["properties"]["SKEIN_INTROSPECTION"] = "false".into();
            }
        }
    });
    let changed = changed.unwrap();
    let plan = changed.run(&["plan", "all", "--output", "json"]).unwrap();
    assert_eq!(plan.code, Some(3), "{}", plan.told);
    let [(kind, id, paths)] = &changes(&plan).unwrap()[..] else { panic!("exactly one change: {}", plan.told) };
    assert_eq!(
        (kind.as_str(), &paths[..]),
        ("Modify", &["properties.SKEIN_INTROSPECTION".to_owned()][..]),
        "{}",
        plan.told
    );
    assert!(id.contains("/sites/func-orders-query-") && id.ends_with("/config/appsettings"), "{id}");
    let deployed = changed.run(&["deploy", "service", "orders"]).unwrap();
    assert_eq!(deployed.code, Some(0), "{}", deployed.told);
    let second = processes();
    let moved: Vec<_> = SITES.iter().zip(first.iter().zip(&second)).filter(|(_, (old, new))| old != new).collect();
    assert_eq!(
        moved.iter().map(|(site, _)| **site).collect::<Vec<_>>(),
        ["func-orders-query"],
        "it alone was started again"
    );
    let operator = system.token("operator", None).unwrap();
    let schema = |status| {
        let (_, answer) =
            system.post("orders", Some(&operator), "{ __schema { queryType { name } } }", json!({})).unwrap();
        answer["data"]["__schema"].is_object() == status
    };
    assert!(schema(false), "the app has its new setting");
    let back = target.run(&["deploy", "all"]).unwrap();
    assert_eq!(back.code, Some(0), "{}", back.told);
    assert!(schema(true), "and the old one again");

    // Other packages: the same files, compressed, have other digests.
    package(&folder.path().join("packages"), &["--service", "inventory"]).unwrap();
    let other = Target { packages: folder.path().join("packages"), ..target.clone() };
    let plan = other.run(&["plan", "service", "inventory", "--output", "json"]).unwrap();
    assert_eq!((plan.code, changes(&plan).unwrap()), (Some(3), vec![]), "{}", plan.told);
    let packages = plan.json().unwrap()["inventory"]["packages"].as_array().cloned().unwrap_or_default();
    assert!(packages.len() == 2 && packages.iter().all(|package| package["changeType"] == "Modify"), "{packages:?}");
    assert!(plan.told.contains("~ func-inventory-command-"), "{}", plan.told);

    // Other pages: one of them is not among them any more.
    let shown = |page: &str| {
        let request = Request::get(format!("{}/shop/{page}", system.url())).body(Full::new(Bytes::new())).unwrap();
        system.request(request).unwrap().status().as_u16()
    };
    let (folder_of_pages, gone) = (folder.path().join("pages"), "LICENSE-signalr.txt");
    package(&folder_of_pages, &["--gateway", "--stored"]).unwrap();
    let sums = fs::read_to_string(folder_of_pages.join("pages.sha256")).unwrap();
    let rest: String = sums.lines().filter(|line| !line.ends_with(gone)).map(|line| format!("{line}\n")).collect();
    assert_ne!(rest, sums);
    fs::write(folder_of_pages.join("pages.sha256"), rest).unwrap();
    let other = Target { packages: folder_of_pages, ..target.clone() };
    let plan = other.run(&["plan", "gateway", "--output", "json"]).unwrap();
    assert_eq!((plan.code, changes(&plan).unwrap()), (Some(3), vec![]), "{}", plan.told);
    let pages = &plan.json().unwrap()["gateway"]["pages"];
    assert_eq!((&pages[0]["page"], &pages[0]["changeType"], &pages[1]), (&json!(gone), &json!("Delete"), &Value::Null));
    assert_eq!((shown(""), shown(gone)), (200, 200), "a plan changes nothing");
    for (target, status) in [(&other, 404), (&target, 200)] {
        let deployed = target.run(&["deploy", "gateway"]).unwrap();
        assert_eq!(deployed.code, Some(0), "{}", deployed.told);
        assert!(deployed.told.contains("shows its new pages"), "{}", deployed.told);
        assert_eq!((shown(""), shown("shop.js"), shown(gone)), (200, 200, status));
    }

    // What somebody changes by hand.
    let queues =
        format!("{SUBSCRIPTION}/resourceGroups/{}/providers/Microsoft.ServiceBus/namespaces", group(&target, "orders"));
    let (_, namespaces) = arm(&system, &target, "GET", &queues, &Value::Null).unwrap();
    let namespace = namespaces["value"][0]["name"].as_str().unwrap_or_else(|| panic!("{namespaces}"));
    let queue = format!("{queues}/{namespace}/queues/commands");
    let (status, mut body) = arm(&system, &target, "GET", &queue, &Value::Null).unwrap();
    assert_eq!(status, 200, "{body}");
    body["properties"]["maxDeliveryCount"] = 3.into();
    let (status, answer) = arm(&system, &target, "PUT", &queue, &body).unwrap();
    assert!(status < 300, "{answer}");
    let drift = target.run(&["drift", "all", "--output", "json"]).unwrap();
    assert_eq!(drift.code, Some(3), "{}", drift.told);
    let [(kind, id, paths)] = &changes(&drift).unwrap()[..] else { panic!("exactly one difference: {}", drift.told) };
    assert_eq!(
        (kind.as_str(), &paths[..]),
        ("Modify", &["properties.maxDeliveryCount".to_owned()][..]),
        "{}",
        drift.told
    );
    assert!(id.ends_with("/queues/commands"), "{id}");
    let put_right = target.run(&["deploy", "all", "--again"]).unwrap();
    assert_eq!(put_right.code, Some(0), "{}", put_right.told);
    let drift = target.run(&["drift", "all"]).unwrap();
    assert_eq!(drift.code, Some(0), "{}", drift.told);
    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
}

/// The resource group of a service.
fn group(target: &Target, service: &str) -> String {
    let outputs = target.run(&["outputs", "service", service, "--output", "json"]).unwrap();
    let outputs = outputs.json().unwrap();
    let found = outputs.pointer(&format!("/{service}/group")).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{outputs}")).to_owned()
}

/// What is deployed, as the local runtime lists it, without the addresses of this one: the planes' and the gateway's.
fn deployed(target: &Target) -> Result<String> {
    let list = fs::read_to_string(target.state.join("resources.json")).context("nothing is hosted")?;
    ensure!(list.contains("Microsoft.Web/sites"), "no function app is deployed");
    let gateway = serde_json::from_str::<Value>(&list)?;
    let gateway = gateway.as_array().into_iter().flatten().find_map(|one| one["properties"]["gatewayUrl"].as_str());
    let gateway = gateway.context("no gateway is deployed")?;
    let host = |url: &str| url.trim_start_matches("http://").to_owned();
    Ok(list.replace(&host(&target.endpoint), "PLANES").replace(&host(gateway), "GATEWAY"))
}

#[test]
fn a_killed_client_started_again_ends_in_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let client = binary("skein-deploy").unwrap();
    render(&path("render")).unwrap();
    package(&path("built"), &["--stored"]).unwrap();

    let seed = std::env::var("SKEIN_KILL_SEED").ok().map_or_else(
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64),
        |seed| seed.parse().expect("SKEIN_KILL_SEED is a number"),
    );
    println!("SKEIN_KILL_SEED={seed}");
    let command = |target: &Target| {
        let mut command = Command::new(&client);
        command
            .args(["deploy", "all", "--env", "local", "--endpoint", &target.endpoint])
            .arg("--state")
            .arg(&target.state);
        command.arg("--environments").arg(environments()).arg("--rendered").arg(path("render"));
        command.arg("--packages").arg(path("built")).stdin(Stdio::null());
        command
    };

    let whole = Empty::start(&path("whole"), &path("built"), Some(path("render"))).unwrap();
    let begun = Instant::now();
    let done = finished(&mut command(&whole.target)).unwrap();
    assert_eq!(done.code, Some(0), "{}", done.told);
    let took = begun.elapsed();
    let expected = deployed(&whole.target).unwrap();
    drop(whole);

    // At short distances: each client goes on where the one before it was killed.
    let cut = Empty::start(&path("cut"), &path("built"), Some(path("render"))).unwrap();
    let mut random = seed;
    let mut killed = 0;
    for _ in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = command(&cut.target).stderr(Stdio::null()).spawn().unwrap();
        // Random moments are what is tested: nothing is waited for here.
        std::thread::sleep(took.mul_f64((random >> 33) as f64 / f64::from(1_u32 << 31) / 5.0));
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("{killed} clients were killed at work, within {took:.1?}");
    assert!(killed > 0, "no client was at work when it was killed");
    let done = finished(&mut command(&cut.target)).unwrap();
    assert_eq!(done.code, Some(0), "{}", done.told);
    assert_eq!(deployed(&cut.target).unwrap(), expected);
    let drift = cut.target.run(&["drift", "all"]).unwrap();
    assert_eq!(drift.code, Some(0), "{}", drift.told);
    let done = finished(&mut command(&cut.target)).unwrap();
    assert_eq!((done.code, done.told.lines().last()), (Some(0), Some("nothing to do")), "{}", done.told);
}

/// A control plane of a test's own: answers each request by its method and path with a status line, headers and a body.
fn double(answer: impl Fn(&str, &str) -> (String, String, String) + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
            let _ = reader.read_line(&mut first);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let _ = reader.take(length).read_to_end(&mut Vec::new());
            let mut words = first.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (status, headers, body) = answer(method, path.split('?').next().unwrap_or_default());
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// One that answers each request with the same.
fn always(status: &'static str, headers: &'static str, body: &'static str) -> String {
    double(move |_, _| (status.into(), headers.into(), body.into()))
}

/// One whose deployments run until they are cancelled, and what it was asked to do.
fn endless() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let writes = asked.clone();
    let address = double(move |method, path| {
        let mut writes = writes.lock().unwrap();
        let done = |writes: &[String], what: &str| writes.iter().any(|one| one.ends_with(what));
        if method != "GET" && !path.ends_with("/validate") {
            writes.push(format!("{method} {path}"));
        }
        let state = if done(&writes, "/cancel") { "Canceled" } else { "Running" };
        let (status, body) = match () {
            () if path.ends_with("/operations") => ("200 OK", json!({"value": []})),
            () if method == "GET" && !done(&writes, path) => {
                ("404 Not Found", json!({"error": {"code": "DeploymentNotFound", "message": "there is none"}}))
            }
            () => ("200 OK", json!({"properties": {"provisioningState": state}})),
        };
        (status.into(), String::new(), body.to_string())
    });
    (address, asked)
}

#[test]
fn ctrl_c_leaves_a_deployment_running_and_a_second_one_cancels_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    render(&path("render")).unwrap();
    // For its tokens.
    let local = Empty::start(&path("state"), &path("built"), None).unwrap();
    for (presses, code, told, cancelled) in
        [(1, 130, "goes on; the same command follows it again", 0), (2, 130, "was cancelled", 1)]
    {
        let (endpoint, asked) = endless();
        let mut client = Command::new(binary("skein-deploy").unwrap());
        client.args(["deploy", "platform", "--env", "local", "--endpoint", &endpoint]);
        client.arg("--environments").arg(environments()).arg("--rendered").arg(path("render"));
        client.arg("--state").arg(&local.target.state).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = client.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        for awaited in ["Accepted", "Ctrl-C: again within"].into_iter().take(presses) {
            while !text.lines().last().is_some_and(|line| line.contains(awaited)) {
                assert!(lines.read_line(&mut text).unwrap() > 0, "it ended without {awaited:?}:\n{text}");
            }
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
        }
        lines.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{text}");
        assert!(text.contains(told), "{text}");
        let asked = asked.lock().unwrap();
        let cancels = asked.iter().filter(|one| one.starts_with("POST") && one.ends_with("/cancel")).count();
        assert_eq!((asked[0].starts_with("PUT"), cancels), (true, cancelled), "{asked:?}");
    }
}

#[test]
fn what_goes_wrong_is_told_with_reason_place_next_step_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    render(&path("render")).unwrap();
    let local = Empty::start(&path("state"), &path("built"), Some(path("render"))).unwrap();
    let target = &local.target;

    let local_toml = fs::read_to_string(environments().join("local.toml")).unwrap();
    let environment = |name: &str, text: &str| {
        fs::create_dir_all(path("environments")).unwrap();
        fs::write(path("environments").join(format!("{name}.toml")), text).unwrap();
    };
    environment("local", &local_toml);
    environment("malformed", &local_toml.replace("[parameters]", "[parameters"));
    environment("slip", &local_toml.replace("alertEmail", "alertMail"));
    environment("short", &local_toml.replace("alertEmail = \"operators@skein.example\"\n", ""));
    let broken = target.with_rendered(&path("render"), &path("broken"), |layer, template| {
        if layer == "platform" {
            let outer = template["resources"].as_array_mut().unwrap();
            outer[0]["location"] = "[parametres('location')]".into();
        }
    });
    let broken = broken.unwrap();
    let at = |endpoint: String| Target { endpoint, ..target.clone() };
    let nowhere = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let refused = always(
        "403 Forbidden",
        "",
        r#"{"error":{"code":"AuthorizationFailed","message":"The client 'x' does not have authorization to perform action 'Microsoft.Resources/deployments/write' over scope '/subscriptions/s'."}}"#,
    );
    let expired = always(
        "401 Unauthorized",
        "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
        r#"{"error":{"code":"ExpiredAuthenticationToken","message":"The access token expiry UTC time '1/1/2026' is earlier than current UTC time."}}"#,
    );
    let throttled = always(
        "429 Too Many Requests",
        "Retry-After: 0\r\n",
        r#"{"error":{"code":"TooManyRequests","message":"The request was throttled."}}"#,
    );

    let own = ["--environments".to_owned(), path("environments").display().to_string()];
    let unsigned = Target { state: path("nobody"), ..target.clone() };
    // What is wrong, the target, the environment, the words; then the exit code, and what has to be told.
    type Case<'c> = (&'c str, &'c Target, &'c str, &'c [&'c str], i32, &'c [&'c str]);
    let (refused, expired, throttled, away) =
        (at(refused), at(expired), at(throttled), at(format!("http://{nowhere}")));
    let cases: [Case; 13] = [
        ("unknown flag", target, "local", &["deploy", "all", "--hurry"], 2, &["--hurry", "--help"]),
        (
            "unknown environment",
            target,
            "nope",
            &["deploy", "all"],
            2,
            &["no environment \"nope\"", "name one of: local"],
        ),
        ("malformed TOML", target, "malformed", &["deploy", "all"], 2, &["malformed.toml:", "no TOML"]),
        ("a slip of the pen", target, "slip", &["deploy", "all"], 2, &["slip.toml:", "alertMail", "name one of"]),
        ("a value that is missing", target, "short", &["deploy", "platform"], 2, &["alertEmail", "short.toml"]),
        ("unknown layer", target, "local", &["deploy", "service", "nope"], 2, &["\"nope\"", "orders"]),
        // What is missing for the code of its apps would be told first.
        (
            "a layer before its turn",
            target,
            "local",
            &["deploy", "gateway", "--no-wait"],
            2,
            &["platform", "deploy platform first"],
        ),
        ("no packages", target, "local", &["deploy", "all"], 2, &["no packages", "cargo xtask package all"]),
        (
            "template error",
            &broken,
            "local",
            &["deploy", "platform"],
            2,
            &["parametres", "InvalidTemplate", "mend the descriptor"],
        ),
        (
            "refused role",
            &refused,
            "local",
            &["deploy", "platform"],
            4,
            &["does not have authorization", "AuthorizationFailed (HTTP 403)", "Contributor"],
        ),
        (
            "expired token",
            &expired,
            "local",
            &["deploy", "platform"],
            4,
            &["expiry", "ExpiredAuthenticationToken (HTTP 401)", "sign in again"],
        ),
        (
            "throttling",
            &throttled,
            "local",
            &["deploy", "platform"],
            5,
            &["throttled", "HTTP 429", "wait some minutes"],
        ),
        (
            "unreachable endpoint",
            &away,
            "local",
            &["deploy", "platform"],
            5,
            &["cannot be reached", "check the endpoint"],
        ),
    ];
    let client = binary("skein-deploy").unwrap();
    let run = |target: &Target, env: &str, args: &[&str]| {
        let mut command = Command::new(&client);
        command.args(args).args(["--env", env, "--endpoint", &target.endpoint]).arg("--state").arg(&target.state);
        command
            .arg("--rendered")
            .arg(target.rendered.as_ref().unwrap())
            .arg("--packages")
            .arg(&target.packages)
            .args(&own);
        finished(&mut command).unwrap()
    };
    for (what, target, env, args, code, told) in cases {
        let done = run(target, env, args);
        assert_eq!(done.code, Some(code), "{what}: {}", done.told);
        for told in told {
            assert!(done.told.contains(told), "{what} does not tell {told:?}:\n{}", done.told);
        }
        assert_eq!(done.out, "", "{what}: nothing stands on stdout");
    }
    let done = run(&unsigned, "local", &["deploy", "platform"]);
    assert_eq!(done.code, Some(4), "{}", done.told);
    assert!(done.told.contains("no token for the control plane") && done.told.contains("sign in"), "{}", done.told);
    // None of it has left anything.
    let groups = run(target, "local", &["outputs", "all"]);
    assert!(groups.code == Some(0) && groups.out.trim().is_empty(), "{groups:?}");
}

#[test]
fn what_is_removed_has_to_be_confirmed_and_can_be_deployed_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let system = System::up(&state, &["--fresh"]).unwrap();
    let target = Target::of(&state).unwrap();
    let unconfirmed = target.run(&["down", "all"]).unwrap();
    assert_eq!(unconfirmed.code, Some(2), "{}", unconfirmed.told);
    assert!(unconfirmed.told.contains("--confirm"), "{}", unconfirmed.told);
    let down = target.run(&["down", "all", "--confirm", "local"]).unwrap();
    assert_eq!(down.code, Some(0), "{}", down.told);
    assert!(
        until(RESTART, || SITES.iter().all(|site| system.process(site).is_none()).then_some(())).is_some(),
        "apps go on"
    );
    // The vault is protected from being purged: its deletion holds its name, and the way out is told.
    let again = target.run(&["deploy", "all"]).unwrap();
    assert_eq!(again.code, Some(1), "{}", again.told);
    assert!(
        again.told.contains("deletedvaults/kv-") && again.told.contains("vaultMode = \"recover\""),
        "{}",
        again.told
    );
    let local = fs::read_to_string(environments().join("local.toml")).unwrap();
    fs::write(folder.path().join("local.toml"), local + "\n[layers.platform]\nvaultMode = \"recover\"\n").unwrap();
    let own = folder.path().to_str().unwrap();
    let again = target.run(&["deploy", "all", "--environments", own]).unwrap();
    assert_eq!(again.code, Some(0), "{}", again.told);
    assert!(SITES.iter().all(|site| system.process(site).is_some()), "every app runs");
    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
}

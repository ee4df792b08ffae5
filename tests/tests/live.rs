//! What is followed live: by many at once, and by a person in a browser.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::deployment::target;
use skein_tests::planes::Planes;
use skein_tests::system::{System, root, until};

/// How many follow one order.
const SUBSCRIBERS: usize = 1_000;

/// A script of `tests/web` that runs under Node.js, with the packages that `cargo xtask test` has installed.
fn node(script: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("tests/web").join(script)).arg(packages());
    node.stdin(Stdio::null()).stdout(Stdio::piped());
    node
}

/// What a script of `tests/web` saw in a browser.
fn seen_in_browser(script: &str, more: &[&str]) -> Value {
    let browser = std::env::var("SKEIN_BROWSER").unwrap_or_else(|_| "chromium".to_owned());
    let mut node = node(script);
    node.arg(browser).args(more);
    // Where somebody wants to look at the shop.
    if script == "shop.mjs" {
        node.args(std::env::var_os("SKEIN_SCREENSHOT"));
    }
    printed(node.stderr(Stdio::inherit()))
}

/// The JSON that a script prints.
fn printed(node: &mut Command) -> Value {
    let output = node.output().expect("Node.js");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).expect("JSON")
}

fn packages() -> PathBuf {
    let packages = target().unwrap().join("signalr-js");
    assert!(packages.join("installed").is_file(), "{} is not there: run cargo xtask test", packages.display());
    packages
}

fn receive(system: &System, operator: &str, sku: &str, quantity: i64) {
    let receive = "mutation ($input: ReceiveStockInput!) { receiveStock(input: $input, await: COMMITTED) \
                   { outcome { status } } }";
    let input = json!({"input": {"sku": sku, "quantity": quantity}});
    let received = system.data("inventory", operator, receive, input).unwrap();
    assert_eq!(received["receiveStock"]["outcome"]["status"], "COMMITTED", "{received}");
}

/// The script with many subscribers, step by step.
struct Crowd {
    node: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
}

impl Crowd {
    fn of(system: &System, token: &str, order: &str) -> Self {
        let mut node = node("subscribers.mjs");
        node.args([system.url(), token, order, &SUBSCRIBERS.to_string()]).stdin(Stdio::piped());
        let mut node = node.spawn().expect("Node.js");
        let (says, hears) = (node.stdout.take().expect("a pipe"), node.stdin.take().expect("a pipe"));
        let mut crowd = Crowd { node, says: BufReader::new(says), hears };
        crowd.expect("subscribed");
        crowd
    }

    fn expect(&mut self, step: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), step);
    }

    fn step(&mut self, step: &str) {
        writeln!(self.hears, "{step}").expect("it listens");
        self.expect(step);
    }

    /// What everybody saw.
    fn end(self) -> Value {
        let Crowd { mut node, says, hears } = self;
        drop(hears);
        let last = says.lines().last().expect("a line").expect("text");
        assert!(node.wait().expect("it ends").success(), "{last}");
        serde_json::from_str(&last).expect("JSON")
    }
}

/// Waits until the service has found that nobody follows the order any more, so that it is kept for those who come back.
fn nobody_follows(system: &System) {
    let planes = Planes::of(system, "func-orders-query").unwrap();
    let views = planes.setting("SKEIN_QUERY_STORE").unwrap().to_owned();
    let ends = || {
        let rows = planes.rows(&views, "orders").unwrap();
        let mut watchers = rows.iter().filter(|row| row.key.starts_with("W~")).peekable();
        let is_one = watchers.peek().is_some();
        // Followed by anybody, it lasts for half an hour and more.
        let soon = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap() + 600;
        (is_one && watchers.all(|row| row.number("Until").is_some_and(|until| until < soon))).then_some(())
    };
    until(Duration::from_secs(120), ends).expect("the end of all connections is told");
}

/// Waits until the order stands there.
fn stands(system: &System, operator: &str, order: &str, status: &str) {
    let query = "query ($id: ID!) { order(id: $id) { status } }";
    let stands = || {
        let seen = system.data("orders", operator, query, json!({"id": order})).unwrap();
        (seen["order"]["status"] == status).then_some(())
    };
    until(Duration::from_secs(120), stands).unwrap_or_else(|| panic!("{order} is not {status}"));
}

#[test]
fn a_thousand_subscribers_see_each_change_once_and_in_order() {
    let state = tempfile::tempdir().unwrap();
    let system = System::up(state.path(), &["--fresh"]).unwrap();
    let operator = system.token("operator", None).unwrap();
    receive(&system, &operator, "LIVE-1", 10);
    let mut crowd = Crowd::of(&system, &operator, "live-1");

    // All connections are lost, and the order changes twice while nobody listens.
    crowd.step("away");
    nobody_follows(&system);
    let place =
        "mutation ($input: PlaceOrderInput!) { placeOrder(input: $input, await: COMMITTED) { outcome { status } } }";
    let lines = json!([{"sku": "LIVE-1", "quantity": 2, "unitPrice": "2.50"}]);
    let input = json!({"orderId": "live-1", "customerId": "ann", "lines": lines});
    let placed = system.data("orders", &operator, place, json!({"input": input})).unwrap();
    assert_eq!(placed["placeOrder"]["outcome"]["status"], "COMMITTED", "{placed}");
    stands(&system, &operator, "live-1", "CONFIRMED");
    crowd.step("back");
    crowd.step("2");

    // All are lost again, and come back at once: nothing is told again.
    crowd.step("break");
    crowd.step("back");

    // Whoever was about to push dies: it is pushed by the process that follows.
    let cancel = r#"mutation { cancelOrder(input: {orderId: "live-1", reason: "too dear"}, await: COMMITTED) { outcome { status } } }"#;
    let cancelled = system.data("orders", &operator, cancel, json!({})).unwrap();
    assert_eq!(cancelled["cancelOrder"]["outcome"]["status"], "COMMITTED", "{cancelled}");
    let killed = system.kill("func-orders-query").unwrap();
    system.restarted("func-orders-query", killed).unwrap();
    crowd.step("3");

    let end = crowd.end();
    let seen = json!([null, "PLACED", "CONFIRMED", "CANCELLED"]);
    assert_eq!(end["seen"], json!([{"seen": seen, "subscribers": SUBSCRIBERS}]), "{end}");
    assert!(end["connections"].as_u64().is_some_and(|connections| connections >= 3), "{end}");
}

/// A session is as short as what is left of its token: no reason to connect all the time.
#[test]
fn a_token_that_is_about_to_end_makes_no_haste() {
    let attempts = printed(Command::new("node").arg(root().join("tests/web/renewals.mjs")));
    let attempts = attempts.as_array().expect("a list").iter();
    let attempts: Vec<(f64, bool)> =
        attempts.map(|one| (one["at"].as_f64().expect("a time"), one["taken"].as_bool().expect("a verdict"))).collect();
    // Used to the middle each time, then refused, until there is a new one.
    let taken = [0.0, 240.0, 270.0, 285.0].map(|at| (at, true));
    let refused = [292.5, 292.75, 293.25, 294.25, 296.25].map(|at| (at, false));
    assert_eq!(attempts, [&taken[..], &refused, &[(300.25, true)]].concat());
}

#[test]
fn a_person_places_an_order_and_sees_it_confirmed() {
    let state = tempfile::tempdir().unwrap();
    let system = System::up(state.path(), &["--fresh"]).unwrap();
    let operator = system.token("operator", None).unwrap();
    receive(&system, &operator, "BROWSER-1", 10);
    let seen = seen_in_browser("shop.mjs", &[system.url()]);
    assert_eq!(seen["same"], true, "the page was not loaded again: {seen}");
    assert_eq!((&seen["rows"], &seen["orders"]), (&json!(1), &json!("1")), "{seen}");
    let states = seen["states"].as_array().unwrap();
    assert!([json!(["PLACED", "CONFIRMED"]), json!(["CONFIRMED"])].contains(&json!(states)), "{seen}");
    assert!(seen["refusal"].as_str().is_some_and(|text| text.contains("decimal")), "{seen}");
    assert_eq!(seen["problems"], json!([]), "{seen}");
}

#[test]
fn a_person_signs_in_and_is_the_customer() {
    let state = tempfile::tempdir().unwrap();
    let system = System::up(state.path(), &["--fresh"]).unwrap();
    let token = system.token("customer", Some("ann")).unwrap();
    let seen = seen_in_browser("sign-in.mjs", &[system.url(), &token]);
    assert_eq!(seen["before"], json!({"token": true, "place": true}), "nothing is asked of whoever is to sign in");
    assert_eq!(seen["refusal"], "not you", "{seen}");
    assert!(seen["forged"].as_str().is_some_and(|text| text.contains("not begun here")), "{seen}");
    let here = format!("{}/shop/", system.url());
    assert_eq!(seen["address"], here.as_str(), "no code is left in the address");
    assert_eq!((&seen["kept"], &seen["stored"]), (&json!([]), &json!([])), "no token is left in the browser");
    let authorize = json!({"authorize": {
        "client_id": "the-page", "code_challenge_method": "S256", "redirect_uri": here, "response_mode": "query",
        "response_type": "code", "scope": "api://clients/.default",
    }});
    let code = json!({"token": {
        "client_id": "the-page", "grant_type": "authorization_code", "redirect_uri": here,
        "scope": "api://clients/.default",
    }});
    assert_eq!(seen["asked"], json!([authorize, authorize, code]), "the forged code was not sent on: {seen}");
    assert_eq!(seen["problems"], json!([]), "{seen}");
}

#[test]
fn a_token_is_renewed_once_for_all_who_ask() {
    let seen = printed(Command::new("node").arg(root().join("tests/web/tokens.mjs")));
    assert_eq!(seen["asked"], json!(["c", "refresh-1", "refresh-2"]), "{seen}");
    let ended = "your sign-in has ended: it is renewed";
    assert_eq!(seen["given"], json!([["token-2", "token-2", "token-2"], [ended, ended, ended]]), "{seen}");
    assert_eq!(seen["left"], 1, "{seen}");
}

//! What operators do at three in the morning, by the commands that README shows: on the local tables, and with the tables
//! in Azurite.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use skein_testing::azurite::{self, Azurite};
use skein_tests::deployment::{Done, finished, operator_token};
use skein_tests::planes::Planes;
use skein_tests::system::{RELEASE, System, data, until, xtask};
use skein_tests::totals;

use crate::orders::{STOCK, check_load, check_totals};

/// How long a view or a dead letter may take to appear.
const SHOWN: Duration = Duration::from_secs(90);

/// An order of the small file that was confirmed.
const ORDER: &str = "700001";

/// The trace of whoever sent what is no command.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// `cargo xtask` with an operator's command.
fn command(state: &Path, args: &[&str]) -> std::process::Command {
    let mut command = xtask();
    command.args(&args[..1]).arg(RELEASE).args(&args[1..]).arg("--state").arg(state);
    command
}

/// The same, run to an end with that exit status; what it printed.
fn ops(state: &Path, args: &[&str], code: i32) -> Done {
    let done = finished(&mut command(state, args)).unwrap();
    assert_eq!(done.code, Some(code), "{args:?}\n{}{}", done.out, done.told);
    done
}

/// The most sold SKUs, as the view shows them.
fn top(system: &System, operator: &str) -> Value {
    system.data("inventory", operator, "{ topSkus(first: 5) { sku sold } }", json!({})).unwrap()
}

/// Puts into a service's command queue what is no command.
fn poison(system: &System, id: &str) {
    let queues = Planes::of(system, "func-orders-command").unwrap();
    let queues = queues.setting("SKEIN_COMMAND_QUEUES").unwrap();
    let queue = queues.split(',').find_map(|pair| pair.strip_prefix("orders=")).expect("it knows its own queue");
    let token = operator_token(system.state(), "https://servicebus.azure.net").unwrap();
    let request = Request::post(format!("{queue}/messages"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("traceparent", format!("\"{TRACE}\""))
        .header("BrokerProperties", json!({"MessageId": id, "SessionId": "poison"}).to_string());
    let body = Full::new(Bytes::from(json!({"id": id}).to_string()));
    assert_eq!(system.request(request.body(body).unwrap()).unwrap().status(), 201);
}

/// All of it. `tables` are flags that say where the tables are: at first, and once more, empty.
fn a_night(state: &Path, tables: &[&str], emptied: impl FnOnce() -> Vec<String>) {
    let fresh = [&["--fresh"], tables].concat();
    let system = System::up(state, &fresh).unwrap();
    let expected = totals::of(&data("orders.csv"), STOCK).unwrap();
    check_load(&system, &data("orders.csv"), &expected);
    check_totals(&system, &expected);
    let operator = system.token("operator", None).unwrap();

    // Events.
    let aggregate = format!("order:{ORDER}");
    let events = ops(state, &["events", "orders", &aggregate], 0).out;
    for part in ["version 2, sequence 2", "PlaceOrder by operator", "OrderPlaced", "ConfirmOrder by service:orders"] {
        assert!(events.contains(part), "{part} is not in\n{events}");
    }
    let told = ops(state, &["events", "orders", "order:none"], 3).told;
    assert!(told.contains("order:none"), "{told}");
    assert_eq!(ops(state, &["events", "orders", "order"], 2).out, "", "no aggregate was named");

    // A rebuild, and another command that follows the same one.
    let before = top(&system, &operator);
    assert!(before["topSkus"].as_array().is_some_and(|top| top.len() == 5), "{before}");
    let mut first = command(state, &["rebuild", "inventory", "topSkus"]);
    let first = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let second = ops(state, &["rebuild", "inventory", "topSkus"], 0);
    let first = first.wait_with_output().unwrap();
    let first = String::from_utf8_lossy(&first.stdout).into_owned() + &String::from_utf8_lossy(&first.stderr);
    for followed in [&first, &(second.out + &second.told)] {
        assert!(followed.contains("top-skus of inventory is rebuilt: generation"), "{followed}");
    }
    assert_eq!(top(&system, &operator), before, "the view made anew is the view");
    check_totals(&system, &expected);
    let refused = finished(&mut command(state, &["rebuild", "orders", "nothere"])).unwrap();
    assert!(refused.code != Some(0) && refused.told.contains("VIEW_UNKNOWN"), "{refused:?}");

    // The same events once more, to views that have them.
    let one = ops(state, &["republish", "orders", &aggregate], 0).out;
    assert!(one.contains("events 1 to 2 of order:700001"), "{one}");
    let all = ops(state, &["republish", "orders", "order", "--output", "json"], 0).json().unwrap();
    assert_eq!((all["aggregates"].as_u64(), &all["next"]), (Some(expected.orders.len() as u64), &Value::Null), "{all}");
    assert!(ops(state, &["republish", "orders", "nothing"], 3).told.contains("nothing"));
    check_totals(&system, &expected);

    // Dead letters: seen, sent again in vain, dropped.
    poison(&system, "poison-1");
    let letters = || {
        let list = ops(state, &["dlq", "list", "orders", "--output", "json"], 0).json().unwrap();
        list.as_array().filter(|list| !list.is_empty()).cloned()
    };
    let dead = until(SHOWN, letters).expect("what is no command becomes a dead letter");
    assert_eq!((dead.len(), dead[0]["id"].as_str()), (1, Some("poison-1")), "{dead:?}");
    let shown = ops(state, &["dlq", "show", "orders"], 0).out;
    for part in ["poison-1 enqueued", "MALFORMED_COMMAND (permanent)", TRACE, r#"{"id":"poison-1"}"#] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let replayed = ops(state, &["dlq", "replay", "orders", "--id", "poison-1", "--output", "json"], 0).json().unwrap();
    let again = replayed[0]["newId"].as_str().unwrap_or_else(|| panic!("{replayed}")).to_owned();
    assert_ne!(again, "poison-1");
    let dead = until(SHOWN, letters).expect("it is a dead letter again");
    assert_eq!((dead.len(), dead[0]["id"].as_str()), (1, Some(&*again)), "{dead:?}");
    let unconfirmed = finished(&mut command(state, &["dlq", "purge", "orders"])).unwrap();
    assert_eq!(unconfirmed.code, Some(2), "it asks, and nobody is there: {unconfirmed:?}");
    let purged = ops(state, &["dlq", "purge", "orders", "--code", "MALFORMED_COMMAND", "--yes"], 0);
    assert!(purged.out.contains("1 purged, 0 refused"), "{}", purged.out);
    let audit = std::fs::read_to_string(state.join("audit.jsonl")).unwrap();
    assert!(audit.contains(&again), "what was dropped is written down: {audit}");
    assert!(ops(state, &["dlq", "list", "orders"], 0).told.contains("no dead letters"));

    // A backup, and a store from it.
    let exported = ops(state, &["export", "orders"], 0).out;
    assert!(exported.contains(" commits exported"), "{exported}");
    let nothing_new = ops(state, &["export", "orders"], 0).out;
    assert!(nothing_new.starts_with("0 commits exported"), "{nothing_new}");
    let refused = finished(&mut command(state, &["restore", "orders"])).unwrap();
    assert!(refused.code != Some(0) && refused.told.contains("is not empty"), "{refused:?}");
    let before = ops(state, &["events", "orders", &aggregate], 0).out;

    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
    let emptied = emptied();
    let tables: Vec<&str> = emptied.iter().map(String::as_str).collect();
    let system = System::up(state, &tables).unwrap();
    assert_eq!(ops(state, &["events", "orders", &aggregate], 3).out, "", "the store is empty");
    let restored = ops(state, &["restore", "orders"], 0).out;
    assert!(restored.contains("in epoch 1"), "{restored}");
    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
    let system = System::up(state, &tables).unwrap();
    let after = ops(state, &["events", "orders", &aggregate], 0).out;
    assert!(after.contains("epoch 1"), "{after}");
    let commits = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(commits(&after), commits(&before), "the history is what it was");
    // The views went with the tables; published again, the events make them.
    let operator = system.token("operator", None).unwrap();
    ops(state, &["republish", "orders", "order"], 0);
    let query = format!("{{ order(id: \"{ORDER}\") {{ status }} }}");
    let status = || {
        let order = system.data("orders", &operator, &query, json!({})).unwrap();
        (order["order"]["status"] == "CONFIRMED").then_some(())
    };
    until(SHOWN, status).expect("the order is shown again");
    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
}

#[test]
fn a_night_with_local_tables() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    a_night(&state, &[], || {
        let tables = std::fs::read_dir(state.join("tables")).unwrap().map(|entry| entry.unwrap().path());
        let own = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("stskeinorders"))
        };
        let stores: Vec<_> = tables.filter(own).collect();
        assert!(!stores.is_empty(), "the store is where it was");
        stores.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        vec![]
    });
}

#[test]
fn a_night_with_tables_in_azurite() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    // A container is removed from within a runtime, wherever it is dropped.
    let _within = tokio.enter();
    let start = || tokio.block_on(async { Azurite::start(azurite::chosen().await?[0]).await });
    let first = match start() {
        Ok(azurite) => azurite,
        Err(error) if std::env::var_os("CI").is_none() => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let flag = |azurite: &Azurite| format!("--azurite={}", azurite.url());
    let mut second = None;
    a_night(&folder.path().join("state"), &[&flag(&first)], || {
        let azurite = second.insert(start().expect("another one starts, too"));
        vec![flag(azurite)]
    });
}

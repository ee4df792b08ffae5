//! The binary as a process: how it starts, what it says when it cannot, and how it ends.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skein::host::PARENT_GONE;
use skein_testing::functions_host::FunctionsHost;

const SETTINGS: [(&str, &str); 10] = [
    ("SKEIN_SERVICE", "orders"),
    ("SKEIN_APP", "func-orders-command"),
    ("SKEIN_APP_AUDIENCE", "api://test"),
    ("SKEIN_FRONT_PRINCIPAL_IDS", "gateway"),
    ("SKEIN_EVENT_STORE", "http://127.0.0.1:1/tables/orders"),
    ("SKEIN_COMMAND_QUEUES", "orders=http://127.0.0.1:1/servicebus/orders/commands"),
    ("SKEIN_TOPIC", "http://127.0.0.1:1/eventgrid/topic"),
    ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/identity/token"),
    ("IDENTITY_HEADER", "secret"),
    ("SKEIN_PARENT_STDIN", "1"),
];

fn binary(port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders-command"));
    command.env_clear().env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Ends the process when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_missing_is_said_and_the_status_is_not_zero() {
    let output = binary(1).spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SKEIN_EVENT_STORE is not set: set it to"), "{said}");
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let child = binary(port).envs(SETTINGS).env_remove("SKEIN_PARENT_STDIN").spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port} cannot be bound")), "{said}");
}

#[tokio::test]
async fn it_answers_while_its_parent_lives_and_not_longer() {
    // The port is free again when the process takes it, as the host's choice of a port is.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut running = Running(binary(port).envs(SETTINGS).spawn().unwrap());
    let app = FunctionsHost::of(([127, 0, 0, 1], port).into());
    let ping = async {
        loop {
            // As the host does: every 25 ms until something answers.
            match app.send("GET", "/", &[], "").await {
                Ok(answer) => return answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), ping).await.expect("the process starts");
    assert_eq!(answer.status, 200);
    let ready = app.send("GET", "/api/health/ready", &[], "").await.unwrap();
    assert_eq!(ready.status, 503, "its event store is away: {}", ready.body);
    assert!(ready.json()["checks"]["eventStore0"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", ready.body);

    drop(running.0.stdin.take());
    assert_eq!(running.0.wait().unwrap().code(), Some(PARENT_GONE));
}

//! An app as the functions host meets it: over a socket, in both of its ways.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use axum::http::{Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use expect_test::expect;
use serde_json::{Value, json};
use skein_core::Fault;
use skein_host::{App, Check, FunctionTrigger, HttpResponse};
use skein_testing::functions_host::{Answer, FunctionsHost};
use tokio::net::TcpListener;

/// What the process would have written to stdout.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

static LINES: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_writer(move || writer.clone()).init();
    lines
});

/// The one line of an invocation, without what changes from run to run.
fn line(invocation: &str) -> Value {
    let text = String::from_utf8(LINES.0.lock().unwrap().clone()).unwrap();
    let mut found: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["invocation"] == invocation)
        .collect();
    assert_eq!(found.len(), 1, "one line an invocation: {found:?}");
    let mut line = found.remove(0);
    for varying in ["timestamp", "ms"] {
        assert!(line.as_object_mut().unwrap().remove(varying).is_some(), "{varying} is missing in {line}");
    }
    line
}

fn app() -> App {
    App::new("func-desk-command")
        .http("echo", &[Method::GET, Method::POST], "echo/{category}/{id}", |request| async move {
            let query = request.query.clone();
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let answer =
                json!({"params": request.params, "query": query, "body": body, "kind": request.header("content-type")});
            HttpResponse::json(StatusCode::CREATED, &answer)
        })
        .http("teapot", &[Method::GET], "teapot", |_| async {
            HttpResponse::problem(StatusCode::IM_A_TEAPOT, "TEAPOT", "short")
        })
        .http("broken", &[Method::GET], "broken", |_| async { panic!("a secret") })
        .service_bus("commands", "message", |message, _| async move {
            match &message.body[..] {
                b"panic" => panic!("a bug"),
                b"bad" => Err(Fault::permanent("NOT_A_COMMAND", "no JSON")),
                body => Ok(format!("{} bytes", body.len())),
            }
        })
        .event_grid("events", |event, _| async move {
            let event: Value = serde_json::from_slice(&event.body).map_err(|e| Fault::permanent("EVENT", e))?;
            Ok(event["id"].to_string())
        })
        .timer("tick", |timer, _| async move { Ok(format!("late: {}", timer.is_past_due)) })
        .health(vec![])
}

async fn serve(app: App) -> Host {
    LazyLock::force(&LINES);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(app.serve(listener));
    Host(FunctionsHost::of(address))
}

struct Host(FunctionsHost);

impl Host {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.0.send(method, path, headers, body).await.unwrap()
    }

    async fn invoke(&self, function: &str, invocation: &str, payload: &Value) -> Answer {
        self.0.invoke(function, invocation, payload).await.unwrap()
    }
}

fn message(body: &str) -> Value {
    json!({
        "Data": {"message": STANDARD.encode(body)},
        "Metadata": {
            "MessageId": "\"m-1\"",
            "SessionId": "\"order:1\"",
            "DeliveryCount": "2",
            "SequenceNumber": "9",
            "ApplicationProperties": {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
        }
    })
}

#[tokio::test]
async fn the_ping_and_the_probes_answer() {
    let host = serve(app()).await;
    assert_eq!(host.send("GET", "/", &[], "").await.status, 200);
    let live = host.send("GET", "/api/health/live", &[], "").await;
    assert_eq!((live.status, live.json()), (200, json!({"status": "live"})));
    assert_eq!(host.send("GET", "/api/health/ready", &[], "").await.status, 200);

    let failing = Check::new("queryStore", || async { Err("connection refused".to_owned()) });
    let host = serve(App::new("a").health(vec![failing])).await;
    let ready = host.send("GET", "/api/health/ready", &[], "").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json(), json!({"status": "unready", "checks": {"queryStore": "connection refused"}}));
    assert_eq!(host.send("GET", "/api/health/live", &[], "").await.status, 200);
}

#[tokio::test]
async fn forwarded_requests_are_routed_and_relayed() {
    let host = serve(app()).await;
    let answer = host.send("POST", "/api/Echo/stock/a%20b=2F?x=1", &[("content-type", "text/plain")], "hello").await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json(),
        json!({"params": {"category": "stock", "id": "a b=2F"}, "query": "x=1", "body": "hello", "kind": "text/plain"})
    );
    assert_eq!(host.send("GET", "/api/teapot", &[], "").await.status, 418);
    assert_eq!(host.send("GET", "/api/nothing", &[], "").await.json()["error"]["code"], "NOT_FOUND");
    let other = host.send("DELETE", "/api/teapot", &[], "").await;
    assert!(other.status == 405 && other.head.contains("allow: GET"), "{}", other.head);
    let broken = host.send("GET", "/api/broken", &[("x-azure-functions-invocationid", "f-1")], "").await;
    assert_eq!(broken.status, 500);
    assert!(!broken.body.contains("secret"), "{}", broken.body);
    assert_eq!(line("f-1")["panic"], "a secret");
    assert_eq!(host.send("GET", "/api/teapot", &[], "").await.status, 418, "the process lives on");
}

#[tokio::test]
async fn invoked_http_functions_answer_in_outputs() {
    let host = serve(app()).await;
    let payload = json!({
        "Data": {"req": {
            "Url": "http://localhost:7071/api/echo/stock/1?x=1",
            "Method": "POST",
            "Query": {"x": "1"},
            "Headers": {"Content-Type": ["text/plain"], "Host": ["localhost"]},
            "Params": {"category": "stock", "id": "1", "unused": null},
            "Identities": [],
            "Body": "\"quoted\""
        }},
        "Metadata": {"x": "\"1\"", "sys": {}}
    });
    let answer = host.invoke("echo", "h-1", &payload).await;
    assert_eq!(answer.status, 200);
    let res = &answer.json()["Outputs"]["res"];
    assert_eq!((&res["statusCode"], &res["headers"]["content-type"]), (&json!(201), &json!("application/json")));
    assert_eq!(
        serde_json::from_str::<Value>(res["body"].as_str().unwrap()).unwrap(),
        json!({"params": {"category": "stock", "id": "1"}, "query": "x=1", "body": "\"quoted\"", "kind": "text/plain"})
    );

    let payload = json!({"Data": {"req": {"Url": "http://localhost/api/teapot", "Method": "GET"}}});
    let answer = host.invoke("teapot", "h-2", &payload).await;
    assert_eq!((answer.status, &answer.json()["Outputs"]["res"]["statusCode"]), (200, &json!(418)));
}

#[tokio::test]
async fn messages_are_answered_and_leave_one_line() {
    let host = serve(app()).await;
    let answer = host.invoke("commands", "s-1", &message("{}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"Outputs": {}, "Logs": ["m-1: 2 bytes"], "ReturnValue": null}));
    expect![[r#"
        {
          "delivery_count": 2,
          "function": "commands",
          "invocation": "s-1",
          "level": "INFO",
          "message": "invocation",
          "message_id": "m-1",
          "outcome": "2 bytes",
          "sequence_number": 9,
          "session": "order:1",
          "trace": "4bf92f3577b34da6a3ce929d0e0e4736"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&line("s-1")).unwrap());

    let answer = host.invoke("commands", "s-2", &message("bad")).await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["Logs"], json!(["m-1: NOT_A_COMMAND: no JSON"]));
    assert_eq!((&line("s-2")["fault"], &line("s-2")["level"]), (&json!("NOT_A_COMMAND"), &json!("ERROR")));

    let answer = host.invoke("commands", "s-3", &message("panic")).await;
    assert_eq!((answer.status, &line("s-3")["fault"]), (500, &json!("PANIC")));
    assert_eq!(host.invoke("commands", "s-4", &message("{}")).await.status, 200, "the process lives on");
}

#[tokio::test]
async fn a_batch_stands_or_falls_together() {
    let host = serve(app()).await;
    let batch = |bodies: [&str; 2]| {
        json!({
            "Data": {"message": json!(bodies.map(|body| STANDARD.encode(body))).to_string()},
            "Metadata": {"MessageIdArray": "[\"a\",\"b\"]"}
        })
    };
    assert_eq!(
        host.invoke("commands", "b-1", &batch(["1", "22"])).await.json()["Logs"],
        json!(["a: 1 bytes", "b: 2 bytes"])
    );
    assert_eq!(host.invoke("commands", "b-2", &batch(["1", "bad"])).await.status, 500);
}

#[tokio::test]
async fn events_and_timers_are_answered() {
    let host = serve(app()).await;
    let event =
        json!({"Data": {"anyName": serde_json::to_string("{\n \"id\": \"e\"\n}").unwrap()}, "Metadata": {"sys": {}}});
    assert_eq!(host.invoke("events", "e-1", &event).await.json()["Logs"], json!(["\"e\""]));
    let timer = json!({"Data": {"timer": {"Schedule": {}, "ScheduleStatus": null, "IsPastDue": true}}, "Metadata": {}});
    assert_eq!(host.invoke("tick", "t-1", &timer).await.json()["Logs"], json!(["late: true"]));
}

#[tokio::test]
async fn malformed_input_has_its_status_and_never_an_empty_body() {
    let host = serve(app()).await;
    for (function, body, status) in [
        ("commands", "", 400),
        ("commands", "null", 400),
        ("commands", "{", 400),
        ("commands", r#"{"Data":{"other":"e30="}}"#, 400),
        ("events", r#"{"Data":{}}"#, 400),
        ("tick", r#"{"Data":{"timer":"soon"}}"#, 400),
        ("echo", r#"{"Data":{"req":{"Url":"::","Method":"GET"}}}"#, 400),
        ("nothing", "{}", 404),
    ] {
        let answer = host.send("POST", &format!("/{function}"), &[], body).await;
        assert_eq!(answer.status, status, "{function} {body}");
        assert!(answer.json()["Logs"][0].as_str().is_some_and(|reason| !reason.is_empty()), "{function} {body}");
    }
    assert_eq!(host.send("GET", "/commands", &[], "").await.status, 405);
}

#[tokio::test]
async fn functions_are_listed_and_bad_names_refused() {
    let functions = app().functions();
    assert_eq!(functions["commands"], FunctionTrigger::ServiceBus { binding: "message".into() });
    assert_eq!(functions["events"], FunctionTrigger::EventGrid);
    assert_eq!(
        functions["health_ready"],
        FunctionTrigger::Http { methods: vec!["GET".into()], route: "health/ready".into() }
    );
    for name in ["host", "1st", "a/b", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = App::new("a").timer(name, |_, _| async { Ok(String::new()) });
        assert!(app.serve(listener).await.is_err(), "{name}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let twice = App::new("a").health(vec![]).health(vec![]);
    assert!(twice.serve(listener).await.is_err());
}

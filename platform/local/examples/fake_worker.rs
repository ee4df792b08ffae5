//! A worker for the tests of the functions host: it does what the name of the called function says.
//!
//! `FAKE_JOURNAL` names a file to which it appends `start` and every call. `FAKE_EXIT` is `CODE` or `CODE*N`: it then
//! ends with this code right at its start, always or the first N times.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::{Value, json};

fn journal(line: &str) -> usize {
    let Ok(path) = std::env::var("FAKE_JOURNAL") else { return 0 };
    let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("the journal opens");
    file.write_all(format!("{line}\n").as_bytes()).expect("the journal takes a line");
    let text = std::fs::read_to_string(path).expect("the journal can be read");
    text.lines().filter(|known| *known == line).count()
}

fn main() {
    let starts = journal("start");
    if let Ok(exit) = std::env::var("FAKE_EXIT") {
        let (code, times) = exit.split_once('*').unwrap_or((&exit, "1000000"));
        if starts <= times.parse().expect("a number of times") {
            eprintln!("last words {starts}");
            std::process::exit(code.parse().expect("an exit code"));
        }
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(70);
    });
    let port: u16 = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT").expect("a port").parse().expect("a number");
    let router = Router::new().route("/{function}", post(call)).fallback(any(echo));
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        axum::serve(listener, router).await.expect("it serves");
    });
}

async fn call(Path(function): Path<String>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let metadata = |name: &str| {
        let text = body["Metadata"][name].as_str().unwrap_or("null");
        serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into())
    };
    let message = metadata("MessageId");
    let count = metadata("DeliveryCount");
    journal(&format!("{function} {} {count}", message.as_str().unwrap_or("-")));
    let json = [(header::CONTENT_TYPE, "application/json")];
    match function.as_str() {
        "empty" => (json, "").into_response(),
        "text" => "{}".into_response(),
        "fail" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "leave" => std::process::exit(0),
        "crash" if count == 1 => std::process::exit(3),
        "hang" => std::future::pending().await,
        "pick" if message == "bad" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "web" => {
            let request = &body["Data"]["req"];
            let answer = json!({"statusCode": 201, "headers": {"x-a": "b"}, "body": request["Params"].to_string()});
            Json(json!({"Outputs": {"res": answer}, "Logs": ["a line"]})).into_response()
        }
        _ => Json(json!({"Outputs": {"trace": headers.get("traceparent").and_then(|value| value.to_str().ok())}}))
            .into_response(),
    }
}

/// What a forwarded request looks like from here.
async fn echo(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if uri.path() == "/api/forwarded/hang" {
        std::future::pending::<()>().await;
    }
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    Json(json!({
        "method": method.as_str(),
        "uri": uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
    .into_response()
}

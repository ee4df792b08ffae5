//! The functions host from a function app's side: calls it over a socket, in both of the host's ways.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use skein_core::Principal;
use skein_core::ports::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::doubles::{MemoryBus, MemoryQueue};

/// Calls one app.
#[derive(Debug, Clone, Copy)]
pub struct FunctionsHost {
    app: SocketAddr,
}

/// An app's answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The status line and the headers, names in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body, read as the JSON that it must be.
    ///
    /// # Panics
    /// On another media type, and on what is no JSON.
    pub fn json(&self) -> Value {
        let head = self.head.to_ascii_lowercase();
        assert!(head.contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl FunctionsHost {
    /// Calls the app that listens there.
    pub fn of(app: SocketAddr) -> Self {
        FunctionsHost { app }
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Errors
    /// An app that is away, or answers something that is not HTTP.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.app);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(self.app).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        let answer = text.split_once("\r\n\r\n").and_then(|(head, body)| {
            let status = head.split(' ').nth(1)?.parse().ok()?;
            Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
        });
        answer.ok_or_else(|| io::Error::other(format!("not an answer: {text}")))
    }

    /// Invokes a function with `{Data, Metadata}`.
    ///
    /// # Errors
    /// See [`FunctionsHost::send`].
    pub async fn invoke(&self, function: &str, invocation: &str, payload: &Value) -> io::Result<Answer> {
        let headers =
            [("X-Azure-Functions-InvocationId", invocation), ("content-type", "application/json; charset=utf-8")];
        self.send("POST", &format!("/{function}"), &headers, &payload.to_string()).await
    }

    /// Delivers a message to a Service Bus function with the binding `message` and `dataType: binary`, encoded as the
    /// host encodes it.
    ///
    /// # Errors
    /// See [`FunctionsHost::send`].
    pub async fn deliver(&self, function: &str, message: &Message, delivery_count: u32) -> io::Result<Answer> {
        let text = |text: &str| Value::from(json!(text).to_string());
        let mut metadata = json!({
            "MessageId": text(&message.id),
            "SessionId": text(&message.session),
            "DeliveryCount": delivery_count.to_string(),
            "SequenceNumber": "1",
            "EnqueuedTimeUtc": "2026-01-01T00:00:00",
            "ApplicationProperties": {},
            "sys": {"MethodName": function, "UtcNow": "2026-01-01T00:00:00Z", "RandGuid": "0"},
        });
        if let Some(traceparent) = &message.traceparent {
            metadata["ApplicationProperties"]["traceparent"] = traceparent.as_str().into();
        }
        let payload = json!({"Data": {"message": STANDARD.encode(&message.body)}, "Metadata": metadata});
        self.invoke(function, &message.id, &payload).await
    }
}

/// The object id of the gateway's identity, for the apps' settings.
pub const GATEWAY: &str = "the-gateway";
/// The object id of the identity of the subscribers' hub, for the query app's settings.
pub const HUB: &str = "the-hub";
/// The object id of the query app's identity, for the command app's settings.
pub const QUERY_APP: &str = "the-query-app";

/// Both apps of one service, with what carries their messages in memory: [`Service::settle`] is the broker.
pub struct Service {
    /// The service's name.
    pub name: &'static str,
    /// Its command app.
    pub command: FunctionsHost,
    /// Its query app.
    pub query: FunctionsHost,
    /// Where both send commands.
    pub queue: Arc<MemoryQueue>,
    /// Where the command app publishes.
    pub bus: Arc<MemoryBus>,
}

impl Service {
    /// Sends a GraphQL request as the gateway does: by its kind to one of the apps, on behalf of a principal.
    ///
    /// # Panics
    /// When the app does not answer 200.
    pub async fn graphql(&self, principal: &Principal, query: &str) -> Value {
        let mutates = query.trim_start().starts_with("mutation");
        let (app, kind) = if mutates { (self.command, "mutation") } else { (self.query, "query") };
        let principal = json!({"subject": principal.subject, "roles": principal.roles}).to_string();
        let principal = URL_SAFE_NO_PAD.encode(principal);
        let headers = [
            ("content-type", "application/json"),
            ("x-ms-client-principal-id", GATEWAY),
            ("x-skein-principal", principal.as_str()),
            ("x-skein-kind", kind),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ];
        let body = json!({"query": query}).to_string();
        let answer = app.send("POST", "/api/graphql", &headers, &body).await.expect("the app answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Delivers commands and events until none is left.
    ///
    /// # Panics
    /// When a function fails, or a command is for another service.
    pub async fn settle(&self) {
        loop {
            let (commands, events) = (self.queue.take(), self.bus.take());
            if commands.is_empty() && events.is_empty() {
                return;
            }
            for (service, message) in commands {
                assert_eq!(service, self.name, "there is no other service");
                let answer = self.command.deliver("commands", &message, 1).await.expect("the command app answers");
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
            for event in events.into_iter().flatten() {
                self.publish(event).await;
            }
        }
    }

    /// Delivers an event to the query app.
    ///
    /// # Panics
    /// When the function fails.
    pub async fn publish(&self, event: Bytes) {
        let message = Message {
            id: "event".to_owned(),
            session: String::new(),
            not_before: None,
            traceparent: None,
            body: event,
        };
        let answer = self.query.deliver("events", &message, 1).await.expect("the query app answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

/// The GraphQL documents of a folder, `*.graphql`, each with its file's name, in the order of the names.
///
/// # Panics
/// When the folder cannot be read.
pub fn documents(folder: impl AsRef<Path>) -> Vec<(String, String)> {
    let folder = folder.as_ref();
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<(String, String)> = files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "graphql"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), text)
        })
        .collect();
    found.sort();
    found
}

//! GraphQL over HTTP, patient: whatever may pass is tried again, under the same command id, for as long as
//! anything moves.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

/// The first and the longest pause before another attempt.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// A client of one gateway.
pub struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    url: String,
    authorization: String,
    patience: Duration,
    /// When something moved last.
    moved: Mutex<Instant>,
}

/// What a GraphQL request came to.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The data.
    Data(Value),
    /// The gateway or the service refuses the request; asking again does not help.
    Refused(String),
}

/// What one attempt came to.
enum Attempt {
    Done(Answer),
    /// Asking again may help.
    Again(String),
}

impl Client {
    /// A client of the gateway at `url`, which gives up once nothing has moved for `patience`.
    pub fn new(url: &str, token: &str, patience: Duration) -> Result<Self> {
        if !url.starts_with("http://") {
            bail!("the gateway's URL is {url:?}; it must begin with http://");
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Client {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            url: url.to_owned(),
            authorization: format!("Bearer {token}"),
            patience,
            moved: Mutex::new(Instant::now()),
        })
    }

    /// When the client gives up, unless something moves before. A busy machine is slow, not stuck.
    pub fn deadline(&self) -> Instant {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) + self.patience
    }

    /// Notes that something moved: an outcome is known, or a view shows something new.
    pub fn moved(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Asks a service until it answers.
    ///
    /// # Errors
    /// Nothing moves any more, or a token that is not accepted.
    pub async fn ask(&self, service: &str, query: &str, variables: Value) -> Result<Answer> {
        let body = Bytes::from(json!({"query": query, "variables": variables}).to_string());
        let mut pause = PAUSES.0;
        let mut last = "no answer".to_owned();
        loop {
            match timeout_at(self.deadline(), self.attempt(service, body.clone())).await {
                Ok(Ok(Attempt::Done(answer))) => return Ok(answer),
                Ok(Ok(Attempt::Again(reason))) => last = reason,
                Ok(Err(error)) => return Err(error),
                // Elsewhere something may have moved meanwhile.
                Err(_) if Instant::now() < self.deadline() => continue,
                Err(_) => bail!("nothing moves any more; {service} answered last: {last}"),
            }
            if Instant::now() + pause > self.deadline() {
                bail!("nothing moves any more; {service} answered last: {last}");
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// The data of a query that no service may refuse.
    ///
    /// # Errors
    /// A refusal, too.
    pub async fn data(&self, service: &str, query: &str) -> Result<Value> {
        match self.ask(service, query, json!({})).await? {
            Answer::Data(data) => Ok(data),
            Answer::Refused(reason) => bail!("{service} refuses a query: {reason}"),
        }
    }

    async fn attempt(&self, service: &str, body: Bytes) -> Result<Attempt> {
        let request = http::Request::post(format!("{}/{service}/graphql", self.url))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::new(body))
            .context("the gateway's URL cannot be asked")?;
        let response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Attempt::Again(chain(&error))),
        };
        let status = response.status();
        let bytes = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Ok(Attempt::Again(chain(&error))),
        };
        let text = || format!("{status}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]));
        match status.as_u16() {
            401 | 403 => bail!("the gateway does not accept the token ({})", text()),
            408 | 429 | 500.. => Ok(Attempt::Again(text())),
            _ => Ok(serde_json::from_slice(&bytes).map_or_else(|_| refusal(text()), interpret)),
        }
    }
}

fn refusal(reason: String) -> Attempt {
    Attempt::Done(Answer::Refused(reason))
}

/// Reads a GraphQL response.
fn interpret(mut response: Value) -> Attempt {
    let errors = response["errors"].as_array().filter(|errors| !errors.is_empty());
    let Some(error) = errors.and_then(|errors| errors.first()) else {
        return Attempt::Done(Answer::Data(response["data"].take()));
    };
    let code = error["extensions"]["code"].as_str().unwrap_or_default();
    let message = format!("{code} {}", error["message"].as_str().unwrap_or("an error without a message"));
    match code {
        "UNAVAILABLE" => Attempt::Again(message),
        _ => refusal(message),
    }
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A gateway that gives one answer to each connection, then closes it; an empty one is no answer at all. It returns
    /// the bodies that it was sent.
    async fn gateway(listener: TcpListener, answers: &[&str]) -> Vec<String> {
        let mut bodies = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request ends with its variables");
            }
            let text = String::from_utf8(request).unwrap();
            assert!(text.contains("authorization: Bearer t0ken"), "{text}");
            bodies.push(text.split_once("\r\n\r\n").unwrap().1.to_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        bodies
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    async fn client(limit: Duration) -> (Client, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (Client::new(&url, "t0ken", limit).unwrap(), listener)
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_again_with_the_same_words() {
        let (client, listener) = client(Duration::from_secs(60)).await;
        let away = answer("503 Service Unavailable", "starting");
        let late = answer("200 OK", r#"{"errors": [{"message": "m", "extensions": {"code": "UNAVAILABLE"}}]}"#);
        let done = answer("200 OK", r#"{"data": {"result": 7}}"#);
        let answers = ["", away.as_str(), late.as_str(), done.as_str()];
        let asked = client.ask("orders", "mutation { x }", json!({"commandId": "c"}));
        let (answered, bodies) = tokio::join!(asked, gateway(listener, &answers));
        assert_eq!(answered.unwrap(), Answer::Data(json!({"result": 7})));
        assert_eq!(bodies.len(), 4);
        assert!(bodies.iter().all(|body| *body == bodies[0] && body.contains(r#""commandId":"c""#)), "{bodies:?}");
    }

    #[tokio::test]
    async fn it_gives_up_when_nothing_moves() {
        let (client, _silent) = client(Duration::ZERO).await;
        let told = client.ask("orders", "{ x }", json!({})).await.unwrap_err().to_string();
        assert_eq!(told, "nothing moves any more; orders answered last: no answer");
    }

    #[tokio::test]
    async fn a_token_that_is_not_accepted_ends_it() {
        let (client, listener) = client(Duration::from_secs(60)).await;
        let denied = answer("401 Unauthorized", "expired");
        let answers = [denied.as_str()];
        let asked = client.ask("orders", "{ x }", json!({"a": {}}));
        let (answered, _) = tokio::join!(asked, gateway(listener, &answers));
        assert!(answered.unwrap_err().to_string().starts_with("the gateway does not accept the token"));
    }

    #[test]
    fn responses_are_told_apart() {
        let check = |response: Value, expected: &str| {
            let text = match interpret(response) {
                Attempt::Done(Answer::Data(data)) => format!("data {data}"),
                Attempt::Done(Answer::Refused(reason)) => format!("refused {reason}"),
                Attempt::Again(reason) => format!("again {reason}"),
            };
            assert_eq!(text, expected);
        };
        check(json!({"data": {"a": 1}}), r#"data {"a":1}"#);
        let error = |code: &str| json!({"data": null, "errors": [{"message": "m", "extensions": {"code": code}}]});
        check(error("BAD_INPUT"), "refused BAD_INPUT m");
        check(error("UNAVAILABLE"), "again UNAVAILABLE m");
    }
}

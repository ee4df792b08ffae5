//! A transport that answers by script and remembers what it was sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use azure_core::time::OffsetDateTime;

/// What comes back for one request.
pub enum Answer {
    Status(u16, &'static str),
    With(u16, Vec<(&'static str, String)>, String),
    NoConnection,
    Broken,
}

/// One request, as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

#[derive(Default)]
pub struct Scripted {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Scripted { answers: Mutex::new(answers.into_iter().collect()), seen: Mutex::default() })
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

#[async_trait]
impl HttpClient for Scripted {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let body = match request.body() {
            Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Body::SeekableStream(_) => panic!("no streams are sent"),
        };
        let headers =
            request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()));
        let line = format!("{} {}", request.method(), request.url());
        self.seen.lock().unwrap().push(Seen { line, headers: headers.collect(), body });
        let answer = self.answers.lock().unwrap().pop_front().expect("one request more than the script has answers");
        match answer {
            Answer::Status(status, body) => Ok(AsyncRawResponse::from_bytes(status.into(), Headers::new(), body)),
            Answer::With(status, pairs, body) => {
                let mut headers = Headers::new();
                for (name, value) in pairs {
                    headers.insert(name, value);
                }
                Ok(AsyncRawResponse::from_bytes(status.into(), headers, body))
            }
            Answer::NoConnection => Err(Error::with_message(ErrorKind::Connection, "no connection")),
            Answer::Broken => Err(Error::with_message(ErrorKind::Io, "the connection broke")),
        }
    }
}

/// A credential that counts, with a script of lifetimes; the last one stays.
#[derive(Debug)]
pub struct Tokens {
    lifetimes: Mutex<VecDeque<Option<Duration>>>,
    pub asked: AtomicUsize,
}

impl Tokens {
    /// `None` is a failure.
    pub fn new(lifetimes: impl IntoIterator<Item = Option<u64>>) -> Arc<Self> {
        let lifetimes = lifetimes.into_iter().map(|seconds| seconds.map(Duration::from_secs)).collect();
        Arc::new(Tokens { lifetimes: Mutex::new(lifetimes), asked: AtomicUsize::new(0) })
    }

    pub fn lasting() -> Arc<Self> {
        Tokens::new([Some(3600)])
    }
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        // Others get their turn, as they would while a real one waits for its answer.
        tokio::task::yield_now().await;
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        let lifetime = {
            let mut lifetimes = self.lifetimes.lock().unwrap();
            if lifetimes.len() > 1 { lifetimes.pop_front().unwrap() } else { lifetimes[0] }
        };
        match lifetime {
            Some(lifetime) => Ok(AccessToken::new(format!("token-{n}"), OffsetDateTime::now_utc() + lifetime)),
            None => Err(Error::with_message(ErrorKind::Credential, "the identity endpoint is away")),
        }
    }
}

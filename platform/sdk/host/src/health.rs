//! `health/live` and `health/ready`: HTTP functions that need no identity.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use skein_core::ports::TableStore;

use crate::trigger::HttpResponse;

/// How long all checks together may take: a probe must not hang where a port does.
const LIMIT: Duration = Duration::from_secs(5);

type Probe = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

/// One thing that must work before the app is ready.
#[derive(Clone)]
pub struct Check {
    name: String,
    run: Arc<Probe>,
}

impl Check {
    /// A check: `Err` says why the app is not ready.
    pub fn new<F, Fut>(name: &str, run: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Check { name: name.to_owned(), run: Arc::new(move || Box::pin(run())) }
    }
}

/// A check that a table can be read: one point read of a row that is not there.
pub fn reads(name: &str, store: Arc<dyn TableStore>, table: &'static str) -> Check {
    Check::new(name, move || {
        let store = Arc::clone(&store);
        async move { store.get(table, "health", "ready").await.map(|_| ()).map_err(|error| error.to_string()) }
    })
}

pub(crate) fn live() -> HttpResponse {
    HttpResponse::json(StatusCode::OK, &serde_json::json!({"status": "live"}))
}

pub(crate) async fn ready(checks: &[Check]) -> HttpResponse {
    let mut answers = serde_json::Map::new();
    let mut ready = true;
    let deadline = tokio::time::Instant::now() + LIMIT;
    for check in checks {
        let answer = match tokio::time::timeout_at(deadline, (check.run)()).await {
            Ok(Ok(())) => "ready".to_owned(),
            Ok(Err(reason)) => {
                ready = false;
                reason
            }
            Err(_) => {
                ready = false;
                format!("no answer within {} s", LIMIT.as_secs())
            }
        };
        answers.insert(check.name.clone(), answer.into());
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ready { "ready" } else { "unready" };
    HttpResponse::json(status, &serde_json::json!({"status": word, "checks": answers})).outcome(word)
}

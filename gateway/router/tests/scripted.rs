//! Services by script, and the router's app in front of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use skein_core::Principal;
use skein_host::{App, PRINCIPAL_HEADER, PRINCIPAL_ID_HEADER, RouterSettings, encode_principal_and_end};
use skein_kind::KIND_HEADER;
use skein_router::{Answered, Away, Question, ServiceApps, app, graph};
use tokio::sync::Barrier;

pub(crate) const GATEWAY: &str = "the-gateway";
pub(crate) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
pub(crate) const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The principal's header, as the gateway writes it.
pub(crate) fn ann() -> String {
    encode_principal_and_end(&Principal::new("ann", ["customer"]), 1_800_000_000)
}

/// What an app does with a question.
#[derive(Clone)]
pub(crate) enum Does {
    Answers(u16, Value),
    Says(u16, &'static str),
    IsAway,
    /// Never answers.
    Hangs,
    /// Answers once as many were asked at the same time.
    Meets(Arc<Barrier>, Value),
}

#[derive(Default)]
pub(crate) struct Services {
    does: BTreeMap<String, Does>,
    asked: Mutex<Vec<Question>>,
}

#[async_trait]
impl ServiceApps for Services {
    async fn ask(&self, question: Question) -> Result<Answered, Away> {
        self.asked.lock().unwrap().push(question.clone());
        let answered = |status, body: String| Ok(Answered { status, body });
        match self.does.get(&question.url).cloned() {
            Some(Does::Answers(status, body)) => answered(status, body.to_string()),
            Some(Does::Says(status, body)) => answered(status, body.to_owned()),
            Some(Does::Meets(barrier, body)) => {
                barrier.wait().await;
                answered(200, body.to_string())
            }
            Some(Does::Hangs) => std::future::pending().await,
            Some(Does::IsAway) | None => Err(Away("connection refused by 10.1.2.3".to_owned())),
        }
    }
}

/// The router in front of them.
pub(crate) struct Front {
    app: Arc<App>,
    services: Arc<Services>,
}

pub(crate) fn settings(introspection: bool) -> RouterSettings {
    let apps = |kind: &str| ["orders", "inventory"].map(|name| (name.to_owned(), format!("{kind}-{name}"))).into();
    RouterSettings {
        app: "router".to_owned(),
        client_id: None,
        audience: "api://test".to_owned(),
        fronts: vec![GATEWAY.to_owned()],
        introspection,
        persisted_only: false,
        command_apps: apps("command"),
        query_apps: apps("query"),
        part_limit: Duration::from_secs(25),
    }
}

/// An answer: its status, its media type, its JSON.
pub(crate) type Answer = (u16, String, Value);

impl Front {
    pub(crate) fn of(does: &[(&str, Does)]) -> Front {
        Front::with(settings(false), does)
    }

    pub(crate) fn with(settings: RouterSettings, does: &[(&str, Does)]) -> Front {
        let does = does.iter().map(|(url, does)| ((*url).to_owned(), does.clone())).collect();
        let services = Arc::new(Services { does, asked: Mutex::default() });
        let app = app(settings, graph().unwrap(), services.clone()).unwrap();
        Front { app: Arc::new(app), services }
    }

    /// A router in front of other services.
    pub(crate) fn before(app: Arc<App>) -> Front {
        Front { app, services: Arc::default() }
    }

    /// What was asked of the services, in the order of their addresses.
    pub(crate) fn asked(&self) -> Vec<Question> {
        let mut asked = self.services.asked.lock().unwrap().clone();
        asked.sort_by(|one, other| one.url.cmp(&other.url));
        asked
    }

    pub(crate) async fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::post("/api/graphql");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.app.answer(request.body(Body::from(body.to_owned())).unwrap()).await;
        let media = response.headers()["content-type"].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, media, serde_json::from_slice(&body).unwrap())
    }

    /// A request as the gateway passes it on.
    pub(crate) async fn ask(&self, kind: &str, query: &str, variables: Value) -> Answer {
        let principal = ann();
        let headers = [
            (PRINCIPAL_ID_HEADER, GATEWAY),
            (PRINCIPAL_HEADER, principal.as_str()),
            (KIND_HEADER, kind),
            ("content-type", "application/json"),
            ("traceparent", TRACE),
        ];
        self.send(&headers, &json!({"query": query, "variables": variables}).to_string()).await
    }
}

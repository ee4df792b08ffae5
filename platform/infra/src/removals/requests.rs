//! Requests of clients, through the deployed policies to the deployed apps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use serde_json::json;
use skein_gateway::{ForwardError, Keys, World};
use skein_local::control::grants;
use skein_local::gateway::{self, Programs};
use skein_local::identity::ISSUER;
use skein_model::{App, FunctionApp, Gateway};
use uuid::Uuid;

use super::{Bench, PLANES, Probes, text};

/// What clients asked through one deployed gateway, and what became of it.
pub(super) type Asked = (gateway::Service, BTreeMap<String, Result<(), String>>);

/// The local Azure around a gateway, whose apps are asked for nothing.
struct Outside<'b> {
    bench: &'b Bench,
    forwarded: Mutex<Vec<Request<Bytes>>>,
}

impl World for Outside<'_> {
    fn now(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_secs().try_into().unwrap()
    }

    fn new_id(&self) -> Uuid {
        Uuid::new_v4()
    }

    async fn keys(&self, configuration: &str, _: Option<&str>) -> Result<Arc<Keys>, String> {
        if !configuration.starts_with(&format!("{PLANES}/identity/")) {
            return Err(format!("{configuration} is nowhere"));
        }
        let keys = Keys::parse(ISSUER, self.bench.issuer.keys().to_string().as_bytes());
        keys.map(Arc::new).map_err(|error| error.to_string())
    }

    async fn identity_token(&self, resource: &str, _: Option<&str>) -> Result<String, String> {
        Ok(format!("for-{resource}"))
    }

    async fn forward(&self, request: Request<Bytes>, _: Duration) -> Result<Response<Bytes>, ForwardError> {
        self.forwarded.lock().unwrap().push(request);
        Ok(Response::new(Bytes::new()))
    }

    async fn wait(&self, _: Duration) {}
}

impl Bench {
    /// Whether requests reach the apps that they should, and no others do.
    pub(super) async fn requests(&self, probes: &mut Probes) {
        let resources = self.held.resources.lock().unwrap().clone();
        let name = self.one("Microsoft.ApiManagement/service");
        let service = gateway::Service::of(&resources, &grants(&resources), text(&name, "/name"));
        let known = self.requested.lock().unwrap().clone();
        let outcomes = match known {
            // Most removals leave the gateway as it was.
            Some((last, outcomes)) if last == service => outcomes,
            _ => {
                let outcomes = self.request_all(&service).await;
                *self.requested.lock().unwrap() = Some((service, outcomes.clone()));
                outcomes
            }
        };
        for (name, outcome) in outcomes {
            probes.add(name, outcome);
        }
    }

    async fn request_all(&self, deployed: &gateway::Service) -> BTreeMap<String, Result<(), String>> {
        let (programs, faults) = deployed.compile();
        let understood = faults.first().map_or(Ok(()), |fault| Err(fault.to_string()));
        let mut outcomes = BTreeMap::from([("gateway: policies".to_owned(), understood)]);
        for service in self.graph.gateway.services.iter().filter_map(|name| self.graph.service(name)) {
            for (app, document) in [(App::Command, "mutation { a }"), (App::Query, "{ a }")] {
                let path = format!("/{}/graphql", service.name);
                let outcome = self.routed(&programs, &path, service.app(app), document).await;
                outcomes.insert(format!("gateway: asks {}", service.app(app).binary), outcome);
            }
            let name = format!("gateway: lets nobody ask {}", service.name);
            outcomes.insert(name, self.refused(&programs, &format!("/{}/graphql", service.name)).await);
            for method in ["HEAD", "PUT", "PATCH", "DELETE"] {
                let outcome = self.told_methods(&programs, &format!("/{}/graphql", service.name), method).await;
                outcomes.insert(format!("gateway: tells who sends {method} to {} what to send", service.name), outcome);
            }
            if service.subscriptions {
                let path = format!("/{}/subscriptions/negotiate", service.name);
                let outcome = self.reaches(&programs, &path, &service.query, "negotiate", "").await;
                outcomes.insert(format!("gateway: lets customers follow {}", service.name), outcome);
                let name = format!("gateway: lets nobody follow {}", service.name);
                outcomes.insert(name, self.refused(&programs, &path).await);
            }
        }
        let (router, path) = (&self.graph.gateway.router, format!("/{}", Gateway::GRAPH));
        for (kind, document) in [("mutations", "mutation { a }"), ("queries", "{ a }")] {
            let outcome = self.routed(&programs, &path, router, document).await;
            outcomes.insert(format!("gateway: asks {} for {kind}", router.binary), outcome);
        }
        outcomes.insert("gateway: lets nobody ask all services".to_owned(), self.refused(&programs, &path).await);
        outcomes
    }

    fn query(path: &str, document: &str) -> axum::http::request::Builder {
        let length = json!({"query": document}).to_string().len();
        let request = Request::post(path).header("content-type", "application/json");
        request
            .header("content-length", length)
            .header("x-skein-principal", "forged")
            .header("x-ms-client-principal", "x")
    }

    async fn routed(&self, programs: &Programs, path: &str, app: &FunctionApp, document: &str) -> Result<(), String> {
        self.reaches(programs, path, app, "graphql", document).await
    }

    /// Whether a customer's request reaches a function of the app.
    async fn reaches(
        &self,
        programs: &Programs,
        path: &str,
        app: &FunctionApp,
        function: &str,
        document: &str,
    ) -> Result<(), String> {
        let outside = Outside { bench: self, forwarded: Mutex::default() };
        let request = Self::query(path, document).header("authorization", format!("Bearer {}", self.customer()));
        let request = request.body(json!({"query": document}).to_string().into()).unwrap();
        let answer = programs.answer(request, &outside).await.map_err(|error| error.to_string())?;
        let forwarded = outside.forwarded.into_inner().unwrap().pop();
        let forwarded = forwarded.ok_or_else(|| format!("{}: {:?}", answer.status(), answer.body()))?;
        let start = format!("{PLANES}/sites/func-{}-", app.binary);
        let url = forwarded.uri().to_string();
        if !url.starts_with(&start) || !url.ends_with(&format!("/api/{function}")) {
            return Err(format!("it goes to {url}"));
        }
        let header =
            |name: &str| forwarded.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header("authorization") != "Bearer for-api://appAudience" {
            return Err("it goes without the gateway's token".to_owned());
        }
        if ["", "forged"].contains(&header("x-skein-principal")) || !header("x-ms-client-principal").is_empty() {
            return Err("the client says who asks".to_owned());
        }
        match answer.headers().contains_key("x-trace-id") {
            true => Ok(()),
            false => Err("the answer names no trace".to_owned()),
        }
    }

    /// Whether a method that is never right is answered with those that are.
    async fn told_methods(&self, programs: &Programs, path: &str, method: &str) -> Result<(), String> {
        let outside = Outside { bench: self, forwarded: Mutex::default() };
        let request = Request::builder().method(method).uri(path);
        let request =
            request.header("authorization", format!("Bearer {}", self.customer())).body(Bytes::new()).unwrap();
        let answer = programs.answer(request, &outside).await.map_err(|error| error.to_string())?;
        let allowed = answer.headers().get("allow").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !outside.forwarded.into_inner().unwrap().is_empty() {
            return Err("it reaches an app".to_owned());
        }
        match (answer.status().as_u16(), allowed) {
            (405, "GET, POST") => Ok(()),
            (status, allowed) => Err(format!("{status}, and {allowed:?} is allowed")),
        }
    }

    /// Without a token, and for a page of another site.
    async fn refused(&self, programs: &Programs, path: &str) -> Result<(), String> {
        let token = format!("Bearer {}", self.customer());
        for (name, value, status) in [("x-other", "1", 401), ("origin", "https://evil.example", 200)] {
            let outside = Outside { bench: self, forwarded: Mutex::default() };
            let mut request = Self::query(path, "{ a }").header(name, value);
            if name == "origin" {
                request = request.header("authorization", &token);
            }
            let request = request.body(json!({"query": "{ a }"}).to_string().into()).unwrap();
            let answer = programs.answer(request, &outside).await.map_err(|error| error.to_string())?;
            let reached = !outside.forwarded.into_inner().unwrap().is_empty();
            if reached || answer.status() != status {
                return Err(format!(
                    "with {name}: {}, and {} reaches an app",
                    answer.status(),
                    if reached { "it" } else { "nothing" }
                ));
            }
            if status == 401
                && answer.headers().get("content-type").is_none_or(|kind| kind != "application/problem+json")
            {
                return Err("the refusal is no problem".to_owned());
            }
        }
        Ok(())
    }

    /// A customer's token.
    fn customer(&self) -> String {
        let make = || self.issuer.issue_user("17850", &["customer".to_owned()]).unwrap();
        self.tokens.lock().unwrap().entry(("a customer".to_owned(), String::new())).or_insert_with(make).clone()
    }
}

//! Upstreams: what is called when a client connects, calls or leaves, by the templates that the resource has.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, StatusCode, header};
use futures::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::Service;
use super::client::{About, Answer, Event, MAX_MESSAGE, Upstream};
use crate::identity::Issuer;
use crate::outbound::Outbound;

/// How long an upstream may take.
const LIMIT: Duration = Duration::from_secs(100);
/// The most calls of all services that are under way; the others wait.
const MAX_CALLS: usize = 256;

/// Which events go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The hubs: `*`, or names with commas between.
    pub hubs: String,
    /// The categories: `*`, or `connections` or `messages` or both.
    pub categories: String,
    /// The events: `*`, or names with commas between.
    pub events: String,
    /// Where they go, with `{hub}`, `{category}` and `{event}` in it.
    pub url: String,
    /// The audience of the token that the service's identity shows; absent where it shows none.
    pub resource: Option<String>,
}

impl Template {
    fn fits(&self, hub: &str, category: &str, event: &str) -> bool {
        let one = |pattern: &str, name: &str| {
            pattern.split(',').map(str::trim).any(|one| one == "*" || one.eq_ignore_ascii_case(name))
        };
        one(&self.hubs, hub) && one(&self.categories, category) && one(&self.events, event)
    }

    /// The names become parts of the URL and nothing else of it.
    fn url(&self, hub: &str, category: &str, event: &str) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace("%5F", "_");
        let url = self.url.replace("{event}", &encode(event)).replace("{category}", category);
        url.replace("{hub}", &encode(hub))
    }
}

/// What upstreams are called with.
pub(super) struct Caller {
    issuer: Arc<Issuer>,
    client: Outbound,
    slots: Semaphore,
}

impl Caller {
    pub(super) fn new(issuer: Arc<Issuer>, client: Outbound) -> Self {
        Caller { issuer, client, slots: Semaphore::new(MAX_CALLS) }
    }
}

/// The upstreams of one service.
pub(super) struct Upstreams {
    pub(super) service: Arc<Service>,
    pub(super) caller: Arc<Caller>,
}

impl Upstream for Upstreams {
    fn call(&self, about: Arc<About>, event: Event) -> BoxFuture<'static, Answer> {
        let (service, caller) = (self.service.clone(), self.caller.clone());
        Box::pin(async move { call(&service, &caller, &about, event).await })
    }
}

async fn call(service: &Service, caller: &Caller, about: &About, event: Event) -> Answer {
    let (category, name, body) = match event {
        Event::Connected => ("connections", "connected".to_owned(), json!({ "Type": 10 }).to_string()),
        Event::Disconnected(error) => {
            ("connections", "disconnected".to_owned(), json!({ "Type": 11, "Error": error }).to_string())
        }
        Event::Invoked(call) => {
            let (id, target) = (Value::from(call.id), Value::from(call.target.as_str()));
            let arguments = call.arguments.get();
            let body = format!(r#"{{"InvocationId":{id},"Target":{target},"Arguments":{arguments}}}"#);
            ("messages", call.target, body)
        }
    };
    let settings = service.settings();
    let Some(template) = settings.templates.iter().find(|template| template.fits(&about.hub, category, &name)) else {
        return Err("Invocation failed, no upstream takes it".to_owned());
    };
    let failed = |why: String| {
        tracing::warn!(service = service.name, hub = about.hub, event = name, why, "an upstream was not called");
        Err("Invocation failed, the upstream cannot be called".to_owned())
    };
    let mut request = Request::post(template.url(&about.hub, category, &name))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-asrs-hub", &about.hub)
        .header("x-asrs-category", category)
        .header("x-asrs-connection-id", &about.connection)
        .header("x-asrs-client-query", &about.query)
        .header("x-asrs-signature", service.key.signature(&about.connection));
    let mut texts = vec![("x-asrs-event", name.clone())];
    if let Some(user) = &about.user {
        texts.push(("x-asrs-user-id", user.clone()));
        texts.push(("x-asrs-user-claims", format!("nameid: {user}")));
    }
    for (header, text) in texts {
        match HeaderValue::from_bytes(text.as_bytes()) {
            Ok(text) => request = request.header(header, text),
            Err(_) => return failed(format!("{text:?} cannot be in a header")),
        }
    }
    if let Some(resource) = &template.resource {
        let Some(principal) = &settings.principal else { return failed("the service has no identity".to_owned()) };
        match caller.issuer.issue_managed_identity(principal, principal, resource) {
            Ok((token, _)) => request = request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            Err(error) => return failed(error.to_string()),
        }
    }
    let request = match request.body(Body::from(body)) {
        Ok(request) => request,
        Err(error) => return failed(error.to_string()),
    };
    let _slot = caller.slots.acquire().await;
    let exchange = async {
        let (head, body) = caller.client.request(request).await.map_err(|error| error.to_string())?.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MAX_MESSAGE).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((head.status, body))
    };
    match tokio::time::timeout(LIMIT, exchange).await {
        Ok(Ok((StatusCode::OK, body))) => Ok(body),
        Ok(Ok((StatusCode::NO_CONTENT, _))) => Ok(Bytes::new()),
        Ok(Ok((status, _))) => Err(format!("Invocation failed, status code {}", status.as_u16())),
        Ok(Err(why)) => failed(why),
        Err(_) => failed(format!("no answer within {LIMIT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(hubs: &str, categories: &str, events: &str) -> Template {
        let url = "http://127.0.0.1:1/sites/func-{hub}-query/{category}/{event}".to_owned();
        Template { hubs: hubs.into(), categories: categories.into(), events: events.into(), url, resource: None }
    }

    #[test]
    fn templates_choose_by_hub_category_and_event() {
        for (template, fits) in [
            (template("*", "*", "*"), true),
            (template("orders", "messages", "subscribe"), true),
            (template("inventory, Orders", "connections,messages", "complete,subscribe"), true),
            (template("inventory", "*", "*"), false),
            (template("*", "connections", "*"), false),
            (template("*", "*", "complete"), false),
            (template("", "*", "*"), false),
        ] {
            assert_eq!(template.fits("orders", "messages", "subscribe"), fits, "{template:?}");
        }
    }

    #[test]
    fn a_name_stays_in_its_place() {
        let url = template("*", "*", "*").url("orders_2", "messages", "../x?{hub}#%");
        assert_eq!(url, "http://127.0.0.1:1/sites/func-orders_2-query/messages/%2E%2E%2Fx%3F%7Bhub%7D%23%25");
    }
}

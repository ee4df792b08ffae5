//! The gateway's router: one GraphQL of all services.
//!
//! A document is taken apart by root fields ([`skein_graph`]), each service's part goes to its command or its query app
//! with the router's own identity, and one answer is made of theirs. The router decides nothing about access: the
//! principal's header goes on as it came, and each service checks its own fields. A service that does not answer leaves
//! null and an error for its fields; the others' data is there all the same.
//!
//! A document of the router's own list may be named by its hash. Where its settings say so, no other is answered; then the
//! router tells the services' apps that what it asks is a part of one, and they believe its identity alone.
//!
//! Nothing is sent twice: only the client knows whether its mutation carries a `commandId`. Where the process dies in
//! between, the client hears of it from the gateway, and what a service had taken goes on without an answer.

mod answer;
mod apps;

use std::sync::Arc;

use axum::http::Method;
use skein_graph::{ComposeError, Graph, Schema, compose};
use skein_host::{App, RouterSettings};
use skein_kind::operations::Operations;

pub use apps::{Answered, AppsOnAzure, Away, Question, ServiceApps};

use crate::answer::Router;

/// Each service's schema, as it is committed. A new service is one more line here; a test holds what they make together
/// against `gateway/graph/schema.graphql`.
const SCHEMAS: [Schema<'static>; 2] = [
    Schema {
        service: "inventory",
        place: "services/inventory/functions/schema.graphql",
        sdl: include_str!("../../../services/inventory/functions/schema.graphql"),
    },
    Schema {
        service: "orders",
        place: "services/orders/functions/schema.graphql",
        sdl: include_str!("../../../services/orders/functions/schema.graphql"),
    },
];

/// The documents that clients may name by their hash: those of `gateway/graph/operations`. A test makes the list.
const OPERATIONS: &str = include_str!("../../graph/operations.json");

/// Why there is no router.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The schemas make no single one.
    #[error("the services' schemas do not fit together: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Compose(Vec<ComposeError>),
    /// Nobody said where the apps of a service are.
    #[error("{setting} names no app of {service}, whose fields are part of the graph")]
    Nowhere {
        /// The setting.
        setting: &'static str,
        /// The service.
        service: String,
    },
}

/// The one graph of all services.
///
/// # Errors
/// Schemas that do not fit together.
pub fn graph() -> Result<Graph, BuildError> {
    compose(&SCHEMAS).map_err(BuildError::Compose)
}

/// The router's app: the functions `graphql` and the probes.
///
/// # Errors
/// Services of the graph whose apps the settings do not name.
pub fn app(settings: RouterSettings, graph: Graph, apps: Arc<dyn ServiceApps>) -> Result<App, BuildError> {
    let addresses = [("SKEIN_COMMAND_APPS", &settings.command_apps), ("SKEIN_QUERY_APPS", &settings.query_apps)];
    for (setting, addresses) in addresses {
        if let Some(service) = graph.services().into_iter().find(|service| !addresses.contains_key(*service)) {
            return Err(BuildError::Nowhere { setting, service: service.to_owned() });
        }
    }
    let graph = if settings.introspection { graph.answering_introspection() } else { graph };
    let name = settings.app.clone();
    let operations = Operations::of(OPERATIONS).only(settings.persisted_only);
    let router = Arc::new(Router { settings, graph, operations, apps });
    Ok(App::new(&name)
        .http("graphql", &[Method::POST], "graphql", move |request| {
            let router = Arc::clone(&router);
            async move { router.answer(&request).await }
        })
        // Whether the services answer is theirs to say: the gateway is deployed before any of them.
        .health(vec![]))
}

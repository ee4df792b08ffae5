//! The command app: takes mutations, decides on commands, and tells their outcomes to the query app.

use std::sync::Arc;

use async_graphql::{EmptySubscription, ObjectType, SubscriptionType};
use axum::http::{Method, StatusCode};
use skein_core::handler::{CommandHandler, Ports, Receipt};
use skein_core::personal::KeyRing;
use skein_core::store::{EVENTS_TABLE, OutcomeStatus};
use skein_core::submit::Submitter;
use skein_core::{AggregateId, CommandId, decode_key};
use skein_graphql::{ApiBuilder, Endpoint, Serves, UnstatedAccess};
use skein_host::{App, CommandSettings, HttpRequest, HttpResponse, Settings, caller_id, reads};

use crate::{MESSAGE, delivery, graphql_over_http, unauthorized};

/// A command app in the making, see [`command_app`].
pub struct CommandApp<Q, M, S = EmptySubscription> {
    settings: CommandSettings,
    ports: Ports,
    api: ApiBuilder<Q, M, S>,
    handler: CommandHandler,
}

/// Begins a service's command app: the functions `graphql` (mutations only), `outcomes`, `commands` and the probes.
pub fn command_app<Q, M, S>(settings: CommandSettings, ports: Ports, api: ApiBuilder<Q, M, S>) -> CommandApp<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let handler = CommandHandler::new(&settings.app.service, ports.clone());
    CommandApp { settings, ports, api, handler }
}

impl<Q, M, S> CommandApp<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    /// Registers what the service's aggregates decide on.
    #[must_use]
    pub fn commands(mut self, register: impl FnOnce(CommandHandler) -> CommandHandler) -> Self {
        self.handler = register(self.handler);
        self
    }

    /// Lets mutations seal personal data, and decisions erase persons.
    #[must_use]
    pub fn personal(mut self, keys: KeyRing) -> Self {
        self.handler = self.handler.personal(&keys);
        self.api = self.api.data(keys);
        self
    }

    /// The app.
    ///
    /// # Errors
    /// Root fields of the schema that do not state who may use them.
    pub fn build(self) -> Result<App, UnstatedAccess> {
        let CommandApp { settings, ports, api, handler } = self;
        let settings = Arc::new(settings);
        let submitter = Arc::new(Submitter::new(&settings.app.service, ports.clone()));
        let api = api.data(Arc::clone(&submitter)).persisted_only(settings.app.persisted_only).finish()?;
        let (introspection, limit) = (settings.app.introspection, settings.app.await_limit);
        let endpoint = Arc::new(Endpoint::new(api, Serves::Mutations, introspection, limit));
        let handler = Arc::new(handler);
        let checks = ports
            .shards
            .iter()
            .enumerate()
            .map(|(n, shard)| reads(&format!("eventStore{n}"), Arc::clone(shard), EVENTS_TABLE))
            .collect();
        let graphql_settings = Arc::clone(&settings);
        Ok(App::new(&settings.app.app)
            .http("graphql", &[Method::POST], "graphql", move |request| {
                let (endpoint, settings) = (Arc::clone(&endpoint), Arc::clone(&graphql_settings));
                async move {
                    let Settings { fronts, router, .. } = &settings.app;
                    graphql_over_http(&endpoint, fronts, router.as_deref(), &request).await
                }
            })
            .http("outcomes", &[Method::GET], "outcomes/{aggregate}/{command}", move |request| {
                let (submitter, settings) = (Arc::clone(&submitter), Arc::clone(&settings));
                async move { outcome(&submitter, &settings.outcome_readers, &request).await }
            })
            .service_bus("commands", MESSAGE, move |message, _| {
                let handler = Arc::clone(&handler);
                async move {
                    let receipt = handler.receive(&message.body, &delivery(&message)).await?;
                    Ok(said(&receipt))
                }
            })
            .health(checks))
    }
}

/// What the log says of a command.
fn said(receipt: &Receipt) -> String {
    let (kind, command, status, version) = match receipt {
        Receipt::Decided { command, status, version } => ("", command, status, version),
        Receipt::Duplicate { command, status, version } => ("again ", command, status, version),
        Receipt::Republished { command, events } => return format!("republished {events} events for {command}"),
    };
    let status = match status {
        OutcomeStatus::Committed => "committed",
        OutcomeStatus::Rejected => "rejected",
    };
    format!("{kind}{status} {command} at version {version}")
}

/// Tells the service's query app what became of a command: the outcome, or `null` while nothing is known.
async fn outcome(submitter: &Submitter, readers: &[String], request: &HttpRequest) -> HttpResponse {
    match caller_id(request) {
        Ok(caller) if readers.iter().any(|reader| reader.eq_ignore_ascii_case(caller)) => {}
        Ok(caller) => {
            tracing::warn!(caller, "may not read outcomes");
            let text = "outcomes are told to the service's query app only";
            return HttpResponse::problem(StatusCode::FORBIDDEN, "FORBIDDEN", text);
        }
        Err(reason) => return unauthorized(&reason),
    }
    let aggregate = request.param("aggregate").and_then(|key| key.parse::<AggregateId>().ok());
    let command = request.param("command").and_then(decode_key).and_then(|id| CommandId::new(&id).ok());
    let (Some(aggregate), Some(command)) = (aggregate, command) else {
        let text = "the route is outcomes/{aggregate's key}/{command's key}";
        return HttpResponse::problem(StatusCode::BAD_REQUEST, "BAD_REQUEST", text);
    };
    match submitter.outcome(&aggregate, &command).await {
        Ok(outcome) => HttpResponse::json(StatusCode::OK, &outcome),
        Err(fault) => {
            tracing::error!(code = fault.code, reason = fault.message, "the outcome cannot be read");
            HttpResponse::problem(StatusCode::SERVICE_UNAVAILABLE, fault.code, "the outcome cannot be read now")
        }
    }
}

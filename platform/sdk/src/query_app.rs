//! The query app: folds integration events into views, reacts to them, and answers queries.

use std::sync::Arc;

use async_graphql::{EmptySubscription, ObjectType, SubscriptionType};
use axum::http::Method;
use skein_core::handler::FAULTS_TABLE;
use skein_core::personal::KeyRing;
use skein_core::ports::{Clock, CommandQueue, LiveHub, TableStore};
use skein_core::views::{ViewReader, ViewsHandler};
use skein_graphql::{ApiBuilder, Endpoint, OutcomeReader, Serves, Subscriptions, UnstatedAccess};
use skein_host::{App, QuerySettings, reads};

use crate::live_app::{Callers, functions};
use crate::{MESSAGE, delivery, graphql_over_http};

/// What the query side needs of the world.
#[derive(Clone)]
pub struct QueryPorts {
    /// The query store.
    pub store: Arc<dyn TableStore>,
    /// The queues that the app may send to: command queues, and its own events and rebuild queue.
    pub queue: Arc<dyn CommandQueue>,
    /// The outcomes of commands: the command app tells them.
    pub outcomes: Arc<dyn OutcomeReader>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The hub of the service's subscribers; absent for a service without subscriptions.
    pub hub: Option<Arc<dyn LiveHub>>,
}

/// A query app in the making, see [`query_app`].
pub struct QueryApp<Q, M, S = EmptySubscription> {
    settings: QuerySettings,
    ports: QueryPorts,
    api: ApiBuilder<Q, M, S>,
    handler: ViewsHandler,
}

/// Begins a service's query app: the functions `graphql` (queries only), `events`, `rebuild` and the probes; for a service
/// with subscriptions `negotiate` and `signalr`, too. The resolvers find a [`ViewReader`] in their context.
pub fn query_app<Q, M, S>(settings: QuerySettings, ports: QueryPorts, api: ApiBuilder<Q, M, S>) -> QueryApp<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let QueryPorts { store, queue, clock, .. } = ports.clone();
    let handler = ViewsHandler::new(&settings.app.service, store, queue, clock).sources(settings.sources.clone());
    QueryApp { settings, ports, api, handler }
}

impl<Q, M, S> QueryApp<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    /// Registers the service's projections, top lists and reactions.
    #[must_use]
    pub fn events(mut self, register: impl FnOnce(ViewsHandler) -> ViewsHandler) -> Self {
        self.handler = register(self.handler);
        self
    }

    /// The categories of the events that the app reads: what its subscription has to deliver.
    pub fn categories(&self) -> Vec<&'static str> {
        self.handler.categories()
    }

    /// Lets queries open personal data.
    #[must_use]
    pub fn personal(mut self, keys: KeyRing) -> Self {
        self.api = self.api.data(keys);
        self
    }

    /// The app.
    ///
    /// # Errors
    /// Root fields of the schema that do not state who may use them.
    pub fn build(self) -> Result<App, UnstatedAccess> {
        let QueryApp { settings, ports, api, handler } = self;
        let reader = ViewReader::new(Arc::clone(&ports.store)).caching(Arc::clone(&ports.clock));
        let api = api.data(reader).data(Arc::clone(&ports.outcomes));
        let api = api.persisted_only(settings.app.persisted_only).finish()?;
        let (introspection, limit) = (settings.app.introspection, settings.app.await_limit);
        let live = api.clone();
        let endpoint = Arc::new(Endpoint::new(api, Serves::Queries, introspection, limit));
        let subscriptions =
            ports.hub.map(|hub| Subscriptions::new(live, Arc::clone(&ports.store), hub, Arc::clone(&ports.clock)));
        let handler = match &subscriptions {
            Some(subscriptions) => handler.push(Arc::new(subscriptions.clone())),
            None => handler,
        };
        let handler = Arc::new(handler);
        let rebuilds = Arc::clone(&handler);
        let (fronts, router) = (Arc::<[String]>::from(settings.app.fronts), settings.app.router.map(Arc::<str>::from));
        let app = App::new(&settings.app.app);
        let app = match subscriptions {
            Some(subscriptions) => {
                let hub = settings.live.as_ref().map_or("", |live| live.principal.as_str()).into();
                functions(app, subscriptions, Callers { fronts: Arc::clone(&fronts), hub })
            }
            None => app,
        };
        Ok(app
            .http("graphql", &[Method::GET, Method::POST], "graphql", move |request| {
                let (endpoint, fronts, router) = (Arc::clone(&endpoint), Arc::clone(&fronts), router.clone());
                async move { graphql_over_http(&endpoint, &fronts, router.as_deref(), &request).await }
            })
            .service_bus("events", MESSAGE, move |message, _| {
                let handler = Arc::clone(&handler);
                async move {
                    handler.receive(&message.body, &delivery(&message)).await?;
                    Ok("taken".to_owned())
                }
            })
            .service_bus("rebuild", MESSAGE, move |message, _| {
                let handler = Arc::clone(&rebuilds);
                async move {
                    handler.rebuild(&message.body, &delivery(&message)).await?;
                    Ok("taken".to_owned())
                }
            })
            .health(vec![reads("queryStore", ports.store, FAULTS_TABLE)]))
    }
}

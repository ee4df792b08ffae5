//! The `main` of a function app on Azure: settings from the environment, ports from skein-azure with the app's managed
//! identity, and the app on top of them. A service's binaries are one call each.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_graphql::{ObjectType, SubscriptionType};
use async_trait::async_trait;
use skein::core::personal::KeyRing;
use skein::core::ports::{CommandQueue, LiveHub, TableStore};
use skein::core::store::Outcome;
use skein::core::{AggregateId, CommandId, Fault};
use skein::graphql::OutcomeReader;
use skein::host::{Settings, start};
use skein::{CommandApp, CommandSettings, Ports, QueryApp, QueryPorts, QuerySettings};
use skein_azure::outcomes::CommandAppOutcomes;
use skein_azure::{
    AzureKeyVault, AzureTableStore, EventGridTopic, ServiceBusQueues, SignalRHub, SystemClock, TableCredential,
};
use skein_azure::{credential::managed_identity, http_client};

/// Runs a service's command app.
pub fn run_command_app<Q, M, S>(build: fn(CommandSettings, Ports) -> CommandApp<Q, M, S>) -> ExitCode
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    start(|| -> Result<_, Chain> {
        let settings = CommandSettings::from_env().map_err(Chain::from)?;
        let (ports, keys) = (command_ports(&settings)?, key_ring(&settings.app)?);
        let app = build(settings, ports);
        keys.into_iter().fold(app, CommandApp::personal).build().map_err(Chain::from)
    })
}

/// Runs a service's query app.
pub fn run_query_app<Q, M, S>(build: fn(QuerySettings, QueryPorts) -> QueryApp<Q, M, S>) -> ExitCode
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    start(|| -> Result<_, Chain> {
        let settings = QuerySettings::from_env().map_err(Chain::from)?;
        let (ports, keys) = (query_ports(&settings)?, key_ring(&settings.app)?);
        let app = build(settings, ports);
        keys.into_iter().fold(app, QueryApp::personal).build().map_err(Chain::from)
    })
}

/// An error that prints its causes.
struct Chain(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Chain {
    fn from(error: E) -> Self {
        Chain(error.into())
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

fn command_ports(settings: &CommandSettings) -> Result<Ports> {
    let http = http_client()?;
    let identity = managed_identity(http.clone()).context("the app has no managed identity")?;
    let shards = settings
        .event_store
        .iter()
        .map(|url| -> Result<Arc<dyn TableStore>> {
            let store = AzureTableStore::new(&http, TableCredential::Token(identity.clone()), url)
                .context("SKEIN_EVENT_STORE")?;
            Ok(Arc::new(store))
        })
        .collect::<Result<_>>()?;
    let queues = ServiceBusQueues::new(&http, identity.clone(), settings.command_queues.clone())
        .context("SKEIN_COMMAND_QUEUES")?;
    let topic = EventGridTopic::new(&http, identity, &settings.topic).context("SKEIN_TOPIC")?;
    Ok(Ports { shards, queue: Arc::new(queues), bus: Arc::new(topic), clock: Arc::new(SystemClock) })
}

fn query_ports(settings: &QuerySettings) -> Result<QueryPorts> {
    let http = http_client()?;
    let identity = managed_identity(http.clone()).context("the app has no managed identity")?;
    let store = AzureTableStore::new(&http, TableCredential::Token(identity.clone()), &settings.query_store)
        .context("SKEIN_QUERY_STORE")?;
    let queue: Arc<dyn CommandQueue> = Arc::new(
        ServiceBusQueues::new(&http, identity.clone(), settings.command_queues.clone())
            .context("SKEIN_COMMAND_QUEUES")?,
    );
    let hub = settings.live.as_ref().map(|live| -> Result<Arc<dyn LiveHub>> {
        let hub = SignalRHub::new(&http, identity.clone(), &live.endpoint, &live.hub).context("SKEIN_SIGNALR")?;
        Ok(Arc::new(hub))
    });
    let hub = hub.transpose()?;
    let outcomes = CommandAppOutcomes::new(&http, identity, &settings.app.audience, &settings.command_app)
        .context("SKEIN_COMMAND_APP")?;
    Ok(QueryPorts {
        store: Arc::new(store),
        queue,
        outcomes: Arc::new(Outcomes(outcomes)),
        clock: Arc::new(SystemClock),
        hub,
    })
}

/// The keys of personal data, where the service has any.
fn key_ring(settings: &Settings) -> Result<Option<KeyRing>> {
    let Some(personal) = &settings.personal else { return Ok(None) };
    let http = http_client()?;
    let identity = managed_identity(http.clone()).context("the app has no managed identity")?;
    let store = AzureTableStore::new(&http, TableCredential::Token(identity.clone()), &personal.persons)
        .context("SKEIN_PERSONS")?;
    let vault = AzureKeyVault::new(&http, identity, &personal.key).context("SKEIN_PERSONAL_KEY")?;
    Ok(Some(KeyRing::new(Arc::new(store), Arc::new(vault), Arc::new(SystemClock))))
}

/// The command app's outcomes, as GraphQL asks for them.
struct Outcomes(CommandAppOutcomes);

#[async_trait]
impl OutcomeReader for Outcomes {
    async fn outcome(&self, aggregate: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault> {
        self.0.outcome(aggregate, command).await
    }
}

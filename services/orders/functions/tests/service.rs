//! The orders service on ports in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orders_functions::{commands, queries};
use skein::core::personal::{KeyRing, PERSONS_TABLE};
use skein::core::ports::TableStore;
use skein::core::store::{EVENTS_TABLE, Outcome};
use skein::core::{AggregateId, CommandId, Fault, Principal, encode_key};
use skein::graphql::OutcomeReader;
use skein::host::{LiveSettings, Settings};
use skein::{App, CommandSettings, Ports, QueryPorts, QuerySettings};
use skein_embedded::EmbeddedStore;
use skein_testing::doubles::{ManualClock, MemoryBus, MemoryHub, MemoryQueue, MemoryVault};
use skein_testing::functions_host::{FunctionsHost, GATEWAY, HUB, QUERY_APP, Service};
use tokio::net::TcpListener;

const NAME: &str = "orders";

pub fn operator() -> Principal {
    Principal::new("olga", ["operator"])
}

pub fn customer(name: &str) -> Principal {
    Principal::new(name, ["customer"])
}

fn settings(app: &str) -> Settings {
    Settings {
        service: NAME.to_owned(),
        app: app.to_owned(),
        client_id: None,
        audience: "api://test".to_owned(),
        fronts: vec![GATEWAY.to_owned()],
        router: None,
        introspection: false,
        persisted_only: false,
        await_limit: Duration::from_secs(1),
        personal: None,
    }
}

pub fn command_settings() -> CommandSettings {
    CommandSettings {
        app: settings("command"),
        event_store: Vec::new(),
        command_queues: Default::default(),
        topic: String::new(),
        outcome_readers: vec![QUERY_APP.to_owned()],
    }
}

pub fn query_settings() -> QuerySettings {
    QuerySettings {
        app: settings("query"),
        query_store: String::new(),
        command_queues: Default::default(),
        sources: Default::default(),
        command_app: String::new(),
        live: None,
    }
}

fn store() -> Arc<dyn TableStore> {
    let described = orders_infra::service();
    let tables: Vec<&str> = [EVENTS_TABLE, "faults", PERSONS_TABLE]
        .into_iter()
        .chain(described.tables.iter().map(String::as_str))
        .collect();
    Arc::new(EmbeddedStore::memory(&tables).expect("a store in memory"))
}

pub fn ports() -> Ports {
    let (queue, bus) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryBus::default()));
    Ports { shards: vec![store()], queue, bus, clock: ManualClock::new() }
}

pub fn query_ports() -> QueryPorts {
    let nowhere = FunctionsHost::of(([127, 0, 0, 1], 0).into());
    let (queue, clock) = (Arc::new(MemoryQueue::default()), ManualClock::new());
    QueryPorts {
        store: store(),
        queue,
        outcomes: Arc::new(CommandApp(nowhere)),
        clock: clock.clone(),
        hub: Some(MemoryHub::new(clock)),
    }
}

/// Asks the command app for outcomes, as the query app's identity.
struct CommandApp(FunctionsHost);

#[async_trait]
impl OutcomeReader for CommandApp {
    async fn outcome(&self, aggregate: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault> {
        let path = format!("/api/outcomes/{}/{}", aggregate.key(), encode_key(command.as_str())).replace(' ', "%20");
        let answer = self.0.send("GET", &path, &[("x-ms-client-principal-id", QUERY_APP)], "").await;
        let answer = answer.map_err(|error| Fault::transient("OUTCOMES_UNAVAILABLE", error))?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).map_err(|error| Fault::transient("OUTCOMES_MALFORMED", error))
    }
}

async fn serve(app: App) -> FunctionsHost {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(app.serve(listener));
    FunctionsHost::of(address)
}

/// A process's keys: what both share is the table, and the vault.
fn keys(persons: &Arc<dyn TableStore>, vault: &Arc<MemoryVault>) -> KeyRing {
    KeyRing::new(persons.clone(), vault.clone(), ManualClock::new())
}

/// Both apps, served until the test ends.
pub async fn service() -> Service {
    live_service(false).await.0
}

/// Both apps, with the hub of the subscribers, and the query app's clock and store.
pub async fn live_service(persisted_only: bool) -> (Service, Arc<MemoryHub>, Arc<ManualClock>, Arc<dyn TableStore>) {
    let (queue, bus) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryBus::default()));
    let ports = Ports { queue: queue.clone(), bus: bus.clone(), ..ports() };
    let (persons, vault) = (store(), Arc::<MemoryVault>::default());
    let (mut settings, mut views_settings) = (command_settings(), query_settings());
    (settings.app.persisted_only, views_settings.app.persisted_only) = (persisted_only, persisted_only);
    let app = commands(settings, ports).personal(keys(&persons, &vault));
    let command = serve(app.build().expect("the command app")).await;
    let outcomes = Arc::new(CommandApp(command));
    let clock = ManualClock::new();
    let hub = MemoryHub::new(clock.clone());
    let query_ports =
        QueryPorts { queue: queue.clone(), outcomes, hub: Some(hub.clone()), clock: clock.clone(), ..query_ports() };
    let views = query_ports.store.clone();
    let live = LiveSettings { endpoint: String::new(), hub: NAME.to_owned(), principal: HUB.to_owned() };
    let app =
        queries(QuerySettings { live: Some(live), ..views_settings }, query_ports).personal(keys(&persons, &vault));
    let query = serve(app.build().expect("the query app")).await;
    (Service { name: NAME, command, query, queue, bus }, hub, clock, views)
}

//! The inventory service on ports in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use inventory_functions::{commands, queries};
use skein::core::ports::TableStore;
use skein::core::store::{EVENTS_TABLE, Outcome};
use skein::core::{AggregateId, CommandId, Fault, Principal, encode_key};
use skein::graphql::OutcomeReader;
use skein::host::Settings;
use skein::{App, CommandSettings, Ports, QueryPorts, QuerySettings};
use skein_embedded::EmbeddedStore;
use skein_testing::doubles::{ManualClock, MemoryBus, MemoryQueue};
use skein_testing::functions_host::{FunctionsHost, GATEWAY, QUERY_APP, Service};
use tokio::net::TcpListener;

const NAME: &str = "inventory";

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
    let described = inventory_infra::service();
    let tables: Vec<&str> =
        [EVENTS_TABLE, "faults"].into_iter().chain(described.tables.iter().map(String::as_str)).collect();
    Arc::new(EmbeddedStore::memory(&tables).expect("a store in memory"))
}

pub fn ports() -> Ports {
    let (queue, bus) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryBus::default()));
    Ports { shards: vec![store()], queue, bus, clock: ManualClock::new() }
}

pub fn query_ports() -> QueryPorts {
    let nowhere = FunctionsHost::of(([127, 0, 0, 1], 0).into());
    let queue = Arc::new(MemoryQueue::default());
    QueryPorts { store: store(), queue, outcomes: Arc::new(CommandApp(nowhere)), clock: ManualClock::new(), hub: None }
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

/// Both apps, served until the test ends.
pub async fn service() -> Service {
    let (queue, bus) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryBus::default()));
    let ports = Ports { queue: queue.clone(), bus: bus.clone(), ..ports() };
    let command = serve(commands(command_settings(), ports).build().expect("the command app")).await;
    let outcomes = Arc::new(CommandApp(command));
    let query_ports = QueryPorts { queue: queue.clone(), outcomes, ..query_ports() };
    let query = serve(queries(query_settings(), query_ports).build().expect("the query app")).await;
    Service { name: NAME, command, query, queue, bus }
}

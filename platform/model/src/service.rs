//! A service's descriptor: its two function apps, what it publishes and reads, its tables.

use serde::{Deserialize, Serialize};
use skein_core::{Contract, ContractSet, Projection, Reaction, TopList};

use crate::arm::Place;

/// A bounded context as it is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The name: `[a-z][a-z0-9]{1,12}`, part of every resource's name.
    pub name: String,
    /// The app that takes mutations and decides: alone with the event store.
    pub command: FunctionApp,
    /// The app that folds events into views and answers queries.
    pub query: FunctionApp,
    /// The integration events that leave the service.
    pub publishes: Vec<Published>,
    /// What its projections and reactions read. Event Grid's filter comes from here.
    pub handles: Vec<Handled>,
    /// The tables of its query store: views with their generations, and the cursors of reactions.
    pub tables: Vec<String>,
    /// The services whose command queues its apps may send to, besides its own.
    pub sends_to: Vec<String>,
    /// How many storage accounts share its event store. An aggregate never moves, so that this is fixed once events
    /// are stored.
    pub shards: u16,
    /// How many requests the gateway takes from one subject.
    pub limits: Limits,
    /// Whether it seals personal data: it then has a table of persons' keys, and a key in the vault that wraps them.
    #[serde(default)]
    pub personal: bool,
    /// Whether clients may follow its views: its query app then lets them connect to the service's hub.
    #[serde(default)]
    pub subscriptions: bool,
    /// Which Service Bus namespace its queues are in. A queue never moves: fixed once messages are on their way.
    #[serde(default)]
    pub bus: Bus,
    /// Where the descriptor stands in the source, for errors. Lost where a graph is read from a file.
    #[serde(skip)]
    pub place: Place,
}

/// How many requests of a service's API the gateway takes from one subject, where its tier can count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// In a minute.
    pub calls_per_minute: u32,
    /// In a day; any number where it is not said.
    pub calls_per_day: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { calls_per_minute: 600, calls_per_day: None }
    }
}

/// Which Service Bus namespace a service's queues are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bus {
    /// One of its own: what others send in a minute takes nothing from it.
    #[default]
    Own,
    /// The platform's, which all services of this kind share: one base price for all of them.
    Shared,
}

/// An integration event that a service publishes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The category of the aggregates that publish it.
    pub category: String,
    /// Its type and version: `orders.OrderPlaced.v1`.
    pub contract: String,
}

/// A consumer of integration events within a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// The projection's or reaction's name.
    pub consumer: String,
    /// The categories that it must receive, all of them: a missing one would be taken for a gap.
    pub categories: Vec<String>,
}

/// Which of a service's two apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum App {
    /// Mutations, command handler, process managers.
    Command,
    /// Event handlers, queries.
    Query,
}

impl App {
    /// The part of a resource's name.
    pub fn as_str(self) -> &'static str {
        match self {
            App::Command => "command",
            App::Query => "query",
        }
    }
}

/// A function app: one binary, several functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionApp {
    /// The binary that Cargo builds, and the site's name without its prefix.
    pub binary: String,
    /// The functions, by name.
    pub functions: Vec<Function>,
}

/// A function and what starts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// The folder's name in the package, and the path under which the host calls it.
    pub name: String,
    /// What starts it.
    pub trigger: Trigger,
}

/// What starts a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "type")]
pub enum Trigger {
    /// A request, forwarded as it is.
    Http {
        /// The methods, in capitals.
        methods: Vec<String>,
        /// The route below `/api/`.
        route: String,
        /// Whether the platform's authentication lets it pass without a token. Health only.
        open: bool,
    },
    /// A message of a queue of the service.
    ServiceBus {
        /// The queue, as the service calls it; see [`Service::queue_in_bus`].
        queue: String,
        /// The prefix of the connection's settings.
        connection: Connection,
        /// Whether messages of one session are handled one at a time, in order.
        sessions: bool,
    },
}

/// The connections that triggers name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Connection {
    /// To the command queue.
    Commands,
    /// To the events queue.
    Events,
    /// To the rebuild queue.
    Rebuild,
}

impl Connection {
    /// The prefix of the connection's settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Connection::Commands => "COMMANDS",
            Connection::Events => "EVENTS",
            Connection::Rebuild => "REBUILD",
        }
    }
}

impl Service {
    /// The queue of a service's command envelopes.
    pub const COMMANDS: &'static str = "commands";
    /// The queue of the integration events that a service reads.
    pub const EVENTS: &'static str = "events";
    /// The queue of what makes a service's views anew: the history that its sources publish again.
    pub const REBUILD: &'static str = "rebuild";

    /// A queue's name in the settings of an app, as the ports of `skein-core` say it.
    pub fn queue_name(service: &str, queue: &str) -> String {
        match queue {
            Service::EVENTS => skein_core::ports::events_queue(service),
            Service::REBUILD => skein_core::ports::rebuild_queue(service),
            _ => service.to_owned(),
        }
    }

    /// The tables of each shard of the event store.
    pub const STORE_TABLES: [&str; 2] = [skein_core::store::EVENTS_TABLE, skein_core::handler::FAULTS_TABLE];

    /// The table that keeps how far rebuilds are, in the query store.
    pub const GENERATIONS_TABLE: &str = skein_core::views::GENERATIONS_TABLE;

    /// The table that keeps why a message failed.
    pub const FAULTS_TABLE: &str = skein_core::handler::FAULTS_TABLE;
    /// The route of what SignalR passes on.
    pub const UPSTREAM: &'static str = "signalr";

    /// The table of persons' keys, in the first storage account. It is left out of backups and exports.
    pub const PERSONS: &'static str = skein_core::personal::PERSONS_TABLE;

    /// A service with the functions that every service has, which publishes and reads nothing yet.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let graphql = |methods: &[&str]| Function::http("graphql", methods, "graphql");
        let app = |app: App, functions: Vec<Function>| FunctionApp::new(format!("{name}-{}", app.as_str()), functions);
        Service {
            name: name.to_owned(),
            command: app(
                App::Command,
                vec![
                    graphql(&["POST"]),
                    Function::http("outcomes", &["GET"], "outcomes/{aggregate}/{command}"),
                    Function::messages("commands", Service::COMMANDS, Connection::Commands, true),
                ],
            ),
            query: app(
                App::Query,
                vec![
                    graphql(&["GET", "POST"]),
                    Function::messages("events", Service::EVENTS, Connection::Events, false),
                    Function::messages("rebuild", Service::REBUILD, Connection::Rebuild, false),
                ],
            ),
            publishes: Vec::new(),
            handles: Vec::new(),
            tables: Vec::new(),
            sends_to: Vec::new(),
            shards: 1,
            limits: Limits::default(),
            personal: false,
            subscriptions: false,
            bus: Bus::Own,
            place: Place::here(),
        }
    }

    /// The service, publishing this integration event, too.
    #[must_use]
    pub fn publishes<C: Contract>(mut self) -> Self {
        insert(&mut self.publishes, Published { category: C::CATEGORY.to_owned(), contract: C::type_name() });
        self
    }

    /// The service with one more view.
    #[must_use]
    pub fn view<P: Projection>(self) -> Self {
        self.reads(P::NAME, P::TABLE, &P::Event::categories())
    }

    /// The service with one more ranked list.
    #[must_use]
    pub fn top_list<T: TopList>(self) -> Self {
        self.reads(T::NAME, T::TABLE, &T::Event::categories())
    }

    /// The service with one more reaction.
    #[must_use]
    pub fn reaction<R: Reaction>(self) -> Self {
        self.reads(R::NAME, skein_core::views::REACTIONS_TABLE, &R::Event::categories())
    }

    /// The service, sending commands to another one, too.
    #[must_use]
    pub fn sends_to(mut self, service: &str) -> Self {
        insert(&mut self.sends_to, service.to_owned());
        self
    }

    /// The service, sealing personal data.
    #[must_use]
    pub fn personal(mut self) -> Self {
        self.personal = true;
        self
    }

    /// The service, with subscriptions to its live views.
    #[must_use]
    pub fn subscriptions(mut self) -> Self {
        self.subscriptions = true;
        insert(&mut self.tables, skein_core::views::SUBSCRIPTIONS_TABLE.to_owned());
        self.query.functions.push(Function::http("negotiate", &["POST"], "negotiate"));
        self.query.functions.push(Function::http("signalr", &["POST"], Service::UPSTREAM));
        self
    }

    /// The service, with its queues in the platform's namespace.
    #[must_use]
    pub fn shared_bus(mut self) -> Self {
        self.bus = Bus::Shared;
        self
    }

    /// What one of its queues is called in the namespace that it is in.
    pub fn queue_in_bus(&self, queue: &str) -> String {
        match self.bus {
            Bus::Own => queue.to_owned(),
            Bus::Shared => format!("{}-{queue}", self.name),
        }
    }

    fn reads(mut self, consumer: &str, table: &str, categories: &[&str]) -> Self {
        insert(&mut self.tables, table.to_owned());
        insert(&mut self.tables, Service::GENERATIONS_TABLE.to_owned());
        let categories = categories.iter().map(|&category| category.to_owned()).collect();
        self.handles.push(Handled { consumer: consumer.to_owned(), categories });
        self
    }

    /// One of its apps.
    pub fn app(&self, app: App) -> &FunctionApp {
        match app {
            App::Command => &self.command,
            App::Query => &self.query,
        }
    }

    /// The categories that the service must receive: of all its consumers, sorted, each once.
    pub fn handled_categories(&self) -> Vec<&str> {
        let mut categories: Vec<_> =
            self.handles.iter().flat_map(|handled| &handled.categories).map(String::as_str).collect();
        categories.sort_unstable();
        categories.dedup();
        categories
    }
}

impl FunctionApp {
    /// The app with these functions and the probes.
    fn new(binary: String, functions: Vec<Function>) -> Self {
        let health = [Function::health("health_live", "health/live"), Function::health("health_ready", "health/ready")];
        FunctionApp { binary, functions: functions.into_iter().chain(health).collect() }
    }

    /// The gateway's app that answers one graph of all services.
    pub(crate) fn router() -> Self {
        FunctionApp::new("gateway-router".to_owned(), vec![Function::http("graphql", &["POST"], "graphql")])
    }

    /// The functions' names, sorted: what the binary's own list is held against.
    pub fn function_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.functions.iter().map(|function| function.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

impl Function {
    fn http(name: &str, methods: &[&str], route: &str) -> Self {
        let methods = methods.iter().map(|method| (*method).to_owned()).collect();
        let trigger = Trigger::Http { methods, route: route.to_owned(), open: false };
        Function { name: name.to_owned(), trigger }
    }

    fn health(name: &str, route: &str) -> Self {
        let trigger = Trigger::Http { methods: vec!["GET".to_owned()], route: route.to_owned(), open: true };
        Function { name: name.to_owned(), trigger }
    }

    fn messages(name: &str, queue: &str, connection: Connection, sessions: bool) -> Self {
        let trigger = Trigger::ServiceBus { queue: queue.to_owned(), connection, sessions };
        Function { name: name.to_owned(), trigger }
    }
}

/// Adds the item to a sorted list that holds each item once.
fn insert<T: Ord>(list: &mut Vec<T>, item: T) {
    if let Err(place) = list.binary_search(&item) {
        list.insert(place, item);
    }
}

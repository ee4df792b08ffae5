//! The graph: all layers, and what must hold between them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::arm::Place;
use crate::service::{App, FunctionApp, Published, Service, Trigger};

/// The platform layer: what all services share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// The part of every resource's name that tells this system from others: `[a-z][a-z0-9]{1,7}`.
    pub system: String,
    /// How often Event Grid delivers before an event becomes a dead letter, at most 30.
    pub delivery_attempts: u32,
    /// How long Event Grid keeps trying, in minutes, at most 1,440.
    pub event_minutes: u32,
    /// Where the descriptor stands in the source, for errors. Lost where a graph is read from a file.
    #[serde(skip)]
    pub place: Place,
}

/// The gateway layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The services whose GraphQL it shows, by name.
    pub services: Vec<String>,
    /// The app that answers one graph of all of them.
    pub router: FunctionApp,
    /// That graph's schema, in the language of GraphQL.
    pub schema: String,
}

impl Gateway {
    /// The path of the one graph, beside those of the services.
    pub const GRAPH: &'static str = "graphql";

    /// The gateway in front of these services, whose schemas make this one.
    pub fn new(services: Vec<String>, schema: impl Into<String>) -> Self {
        Gateway { services, router: FunctionApp::router(), schema: schema.into() }
    }
}

/// Everything that is deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Graph {
    /// The platform layer.
    pub platform: Platform,
    /// The gateway layer.
    pub gateway: Gateway,
    /// The services, one resource group each.
    pub services: Vec<Service>,
}

/// What does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A name that cannot be part of a resource's name.
    #[error(
        "the name {name:?} must match [a-z][a-z0-9]{{1,{longest}}}: it is part of a storage account's name ({place})"
    )]
    Name {
        /// The name of the system or of a service.
        name: String,
        /// How many characters may follow the first.
        longest: usize,
        /// Where its descriptor stands.
        place: Place,
    },
    /// A service of a name that is taken.
    #[error("no service can be called {0:?}: the name is taken by a layer or by the path of the one graph")]
    Reserved(String),
    /// Two services of one name.
    #[error("two services are called {0:?}")]
    Duplicate(String),
    /// Two functions of one app with one name, or two consumers of one service.
    #[error("{0:?} stands twice in {1}")]
    Twice(String, String),
    /// Two services that publish one category: their events could not be told apart.
    #[error("the category {category:?} is published by both {first:?} and {second:?}")]
    Category {
        /// The category.
        category: String,
        /// One service.
        first: String,
        /// The other.
        second: String,
    },
    /// A category that nobody publishes.
    #[error("{consumer:?} of {service:?} reads {category:?}, which no service publishes")]
    Unpublished {
        /// The reading service.
        service: String,
        /// Its consumer.
        consumer: String,
        /// The category.
        category: String,
    },
    /// A service that the graph does not have.
    #[error("{0} names the service {1:?}, which does not exist")]
    Unknown(String, String),
    /// A number beyond what Azure allows.
    #[error("{what} is {value}, at most {most} is allowed and at least 1")]
    Bound {
        /// The setting.
        what: String,
        /// Its value.
        value: u32,
        /// The bound.
        most: u32,
    },
    /// More categories than a subscription's filter holds.
    #[error("{0:?} reads {1} categories, a subscription's filter holds {MAX_FILTER_VALUES}")]
    Filter(String, usize),
}

/// What no service can be called: the other layers, and the path of the one graph.
const RESERVED: [&str; 3] = ["gateway", Gateway::GRAPH, "platform"];

/// Event Grid's bound on the values of a subscription's filters.
const MAX_FILTER_VALUES: usize = 25;
/// The longest part of a storage account's name that a system may take: `st`, the system, the service, the shard are
/// 24 characters at most.
const MAX_SYSTEM_CHARS: usize = 7;
const MAX_SERVICE_CHARS: usize = 13;
/// Two digits of a storage account's name.
const MAX_SHARDS: u32 = 99;
/// What a counter of the gateway holds.
const MAX_CALLS: u32 = 1_000_000_000;

impl Graph {
    /// The graph, once everything in it fits together.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn new(platform: Platform, gateway: Gateway, services: Vec<Service>) -> Result<Self, GraphError> {
        let graph = Graph { platform, gateway, services };
        graph.check()?;
        Ok(graph)
    }

    /// The service of this name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The service that publishes each category that a service reads, sorted by category.
    pub fn sources<'a>(&'a self, service: &'a Service) -> Vec<(&'a str, &'a str)> {
        let publisher = |category: &str| {
            let publishes =
                |service: &&Service| service.publishes.iter().any(|published| published.category == category);
            self.services.iter().find(publishes).map(|service| service.name.as_str())
        };
        service.handled_categories().into_iter().filter_map(|name| Some((name, publisher(name)?))).collect()
    }

    /// The queues that an app may send to, by service and queue: sorted, each once.
    pub fn sends<'a>(&'a self, service: &'a Service, app: App) -> Vec<(&'a str, &'static str)> {
        let mut queues = vec![(service.name.as_str(), Service::COMMANDS)];
        queues.extend(service.sends_to.iter().map(|target| (target.as_str(), Service::COMMANDS)));
        match app {
            // It sends its history to whoever reads it and asks for it.
            App::Command => {
                let readers = self
                    .services
                    .iter()
                    .filter(|reader| self.sources(reader).into_iter().any(|(_, publisher)| publisher == service.name));
                queues.extend(readers.map(|reader| (reader.name.as_str(), Service::REBUILD)));
            }
            // It asks its sources for what is missing, and reminds itself.
            App::Query => {
                queues.extend(self.sources(service).into_iter().map(|(_, publisher)| (publisher, Service::COMMANDS)));
                queues.extend([Service::EVENTS, Service::REBUILD].map(|queue| (service.name.as_str(), queue)));
            }
        }
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    /// Tells the first thing that does not fit together; a graph that was read from a file is checked with it.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn check(&self) -> Result<(), GraphError> {
        name(&self.platform.system, MAX_SYSTEM_CHARS, self.platform.place)?;
        bound("the number of delivery attempts", self.platform.delivery_attempts, 30)?;
        bound("the time to live of an event in minutes", self.platform.event_minutes, 1440)?;
        let mut names = BTreeSet::new();
        let mut published: Vec<(&str, &str)> = Vec::new();
        for service in &self.services {
            name(&service.name, MAX_SERVICE_CHARS, service.place)?;
            bound("the number of shards", service.shards.into(), MAX_SHARDS)?;
            bound("the number of calls in a minute", service.limits.calls_per_minute, MAX_CALLS)?;
            bound("the number of calls in a day", service.limits.calls_per_day.unwrap_or(1), MAX_CALLS)?;
            if RESERVED.contains(&service.name.as_str()) {
                return Err(GraphError::Reserved(service.name.clone()));
            }
            if !names.insert(service.name.as_str()) {
                return Err(GraphError::Duplicate(service.name.clone()));
            }
            for Published { category, .. } in &service.publishes {
                match published.iter().find(|(known, _)| known == category) {
                    Some((_, first)) if *first != service.name => {
                        return Err(GraphError::Category {
                            category: category.clone(),
                            first: (*first).to_owned(),
                            second: service.name.clone(),
                        });
                    }
                    _ => published.push((category, &service.name)),
                }
            }
            for app in [App::Command, App::Query] {
                let functions = service.app(app).functions.iter().map(|function| function.name.as_str());
                once(functions, || format!("the functions of {:?}", service.app(app).binary))?;
            }
            once(service.handles.iter().map(|handled| handled.consumer.as_str()), || {
                format!("the consumers of {:?}", service.name)
            })?;
            let categories = service.handled_categories().len();
            if categories > MAX_FILTER_VALUES {
                return Err(GraphError::Filter(service.name.clone(), categories));
            }
        }
        let known = |by: String, service: &String| {
            if names.contains(service.as_str()) { Ok(()) } else { Err(GraphError::Unknown(by, service.clone())) }
        };
        for service in &self.services {
            for target in &service.sends_to {
                known(format!("{:?}", service.name), target)?;
            }
            for handled in &service.handles {
                for category in &handled.categories {
                    if !published.iter().any(|(known, _)| known == category) {
                        return Err(GraphError::Unpublished {
                            service: service.name.clone(),
                            consumer: handled.consumer.clone(),
                            category: category.clone(),
                        });
                    }
                }
            }
        }
        self.gateway.services.iter().try_for_each(|service| known("the gateway".to_owned(), service))
    }
}

impl FunctionApp {
    /// The paths of the app's open functions: what its authentication leaves out.
    pub fn open_paths(&self) -> Vec<String> {
        let open = |trigger: &Trigger| match trigger {
            Trigger::Http { route, open: true, .. } => Some(format!("/api/{route}")),
            _ => None,
        };
        self.functions.iter().filter_map(|function| open(&function.trigger)).collect()
    }
}

fn name(text: &str, most: usize, place: Place) -> Result<(), GraphError> {
    let mut letters = text.bytes();
    let good = letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && (2..=most).contains(&text.len());
    if good { Ok(()) } else { Err(GraphError::Name { name: text.to_owned(), longest: most - 1, place }) }
}

fn bound(what: &str, value: u32, most: u32) -> Result<(), GraphError> {
    if (1..=most).contains(&value) { Ok(()) } else { Err(GraphError::Bound { what: what.to_owned(), value, most }) }
}

fn once<'a>(texts: impl Iterator<Item = &'a str>, place: impl Fn() -> String) -> Result<(), GraphError> {
    let mut seen = BTreeSet::new();
    for text in texts {
        if !seen.insert(text) {
            return Err(GraphError::Twice(text.to_owned(), place()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Greet, TicketOpened, Tickets};

    fn platform(system: &str) -> Platform {
        Platform { system: system.into(), delivery_attempts: 30, event_minutes: 1440, place: Place::default() }
    }

    fn graph(services: Vec<Service>) -> Result<Graph, GraphError> {
        let platform = Platform { place: Place::here(), ..platform("skein") };
        let gateway = Gateway::new(services.iter().map(|service| service.name.clone()).collect(), "");
        Graph::new(platform, gateway, services)
    }

    #[test]
    fn a_graph_survives_json() {
        let desk = Service::new("desk").publishes::<TicketOpened>().view::<Tickets>().reaction::<Greet>();
        let graph = graph(vec![desk.sends_to("desk")]).unwrap();
        assert_eq!(graph.services[0].tables, ["generations", "reactions", "tickets"]);
        assert_eq!(graph.services[0].handled_categories(), ["ticket"]);
        let json = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&json).unwrap(), graph);
    }

    #[test]
    fn an_app_sends_to_its_own_its_sources_and_its_readers() {
        let desk = Service::new("desk").publishes::<TicketOpened>();
        let shop = Service::new("shop").view::<Tickets>().reaction::<Greet>();
        let graph = graph(vec![desk, shop]).unwrap();
        let sends = |service: &str, app| graph.sends(graph.service(service).unwrap(), app);
        assert_eq!(sends("desk", App::Command), [("desk", "commands"), ("shop", "rebuild")]);
        assert_eq!(sends("desk", App::Query), [("desk", "commands"), ("desk", "events"), ("desk", "rebuild")]);
        assert_eq!(sends("shop", App::Command), [("shop", "commands")]);
        let all = [("desk", "commands"), ("shop", "commands"), ("shop", "events"), ("shop", "rebuild")];
        assert_eq!(sends("shop", App::Query), all);
        assert_eq!(graph.sources(graph.service("shop").unwrap()), [("ticket", "desk")]);
    }

    #[test]
    fn what_does_not_fit_is_told_by_name() {
        let check = |services: Vec<Service>, expected: &str| {
            assert_eq!(graph(services).unwrap_err().to_string(), expected);
        };
        for name in ["Desk", "d", "desk-2", "desk_2", "2desk", "waystoolongaword", ""] {
            let (service, line) = (Service::new(name), line!());
            let why = "it is part of a storage account's name (platform/model/src/graph.rs";
            check(vec![service], &format!("the name {name:?} must match [a-z][a-z0-9]{{1,12}}: {why}:{line})"));
            let (place, line) = (Place::here(), line!());
            let platform = Platform { place, ..platform(if name == "waystoolongaword" { "skeinone" } else { name }) };
            let error = Graph::new(platform, Gateway::new(vec![], ""), vec![]).unwrap_err().to_string();
            assert!(
                error.contains("must match [a-z][a-z0-9]{1,6}: ") && error.ends_with(&format!("{line})")),
                "{error}"
            );
        }
        for name in ["gateway", "graphql", "platform"] {
            let why = "the name is taken by a layer or by the path of the one graph";
            check(vec![Service::new(name)], &format!("no service can be called {name:?}: {why}"));
        }
        check(vec![Service::new("desk"), Service::new("desk")], r#"two services are called "desk""#);
        check(
            vec![Service::new("desk").publishes::<TicketOpened>(), Service::new("shop").publishes::<TicketOpened>()],
            r#"the category "ticket" is published by both "desk" and "shop""#,
        );
        check(
            vec![Service::new("desk").reaction::<Greet>()],
            r#""greet" of "desk" reads "ticket", which no service publishes"#,
        );
        check(vec![Service::new("desk").sends_to("shop")], r#""desk" names the service "shop", which does not exist"#);
        let twice = Service::new("desk").publishes::<TicketOpened>().reaction::<Greet>().reaction::<Greet>();
        check(vec![twice], r#""greet" stands twice in the consumers of "desk""#);
        let mut sharded = Service::new("desk");
        sharded.shards = 0;
        check(vec![sharded], "the number of shards is 0, at most 99 is allowed and at least 1");
        let mut silent = Service::new("desk");
        silent.limits.calls_per_minute = 0;
        check(vec![silent], "the number of calls in a minute is 0, at most 1000000000 is allowed and at least 1");
    }
}

//! What a service's queues are made with: one place for every writer of them.

use skein_model::{Bus, Graph, Service};

/// A queue of a service's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFacts {
    /// Its name.
    pub name: &'static str,
    /// Whether a message belongs to a session. Only at creation.
    pub sessions: bool,
}

/// The queues that every service has.
pub(crate) const QUEUES: [QueueFacts; 3] = [
    QueueFacts { name: Service::COMMANDS, sessions: true },
    // Plain: order comes from cursors, and a session would allow one event at a time for each source.
    QueueFacts { name: Service::EVENTS, sessions: false },
    QueueFacts { name: Service::REBUILD, sessions: false },
];

/// The longest that Service Bus offers: a handler waits up to four minutes before a failing answer.
pub(crate) const LOCK: &str = "PT5M";
/// The back-off is ours; a handful would pass in milliseconds.
pub(crate) const DELIVERIES: u32 = 100;
/// It would swallow replays and reused ids; the outcome's row is the guard.
pub(crate) const DUPLICATE_DETECTION: bool = false;

/// Whether any service has its queues in the platform's namespace.
pub(crate) fn shares_bus(graph: &Graph) -> bool {
    graph.services.iter().any(|service| service.bus == Bus::Shared)
}

/// The categories' prefixes, as an Event Grid filter on the subject wants them: by category, never by type, since a type
/// filter would make gaps look like losses.
pub(crate) fn subject_prefixes(service: &Service) -> Vec<String> {
    service.handled_categories().iter().map(|category| format!("{category}:")).collect()
}

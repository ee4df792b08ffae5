//! The topic engine: what an Event Grid custom topic promises.
//!
//! Publishing stores the events and one delivery for each subscription whose filter they pass, in one transaction of
//! the broker's file, before it is acknowledged. Deliveries then happen asynchronously, at least once and in no order.

mod deliver;
mod event;
mod filter;
mod rest;
mod subscription;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use rusqlite::params;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::access::{Action, Authorizer, Place};
use crate::broker::{Broker, BrokerError, Millis};

pub use event::{MAX_EVENT_BYTES, MAX_REQUEST_BYTES, PublishError};
pub use filter::FilterError;
pub use rest::{PREFIX, router};
pub use subscription::SubscriptionError;

use event::Incoming;
use subscription::Subscription;

/// How the topic engine deliberately misbehaves, as Event Grid may. All off by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chaos {
    /// Each delivery waits up to this long before its first attempt.
    pub delay: Duration,
    /// The share of deliveries (0 to 1) that arrive twice.
    pub duplicates: f64,
    /// Whether deliveries overtake each other: each waits up to 50 ms, or `delay` where that is longer.
    pub reorder: bool,
    /// The seed of all of these; one is drawn and printed where it is missing.
    pub seed: Option<u64>,
}

impl Chaos {
    fn is_on(&self) -> bool {
        self.reorder || self.duplicates > 0.0 || !self.delay.is_zero()
    }
}

/// The settings of the topic engine.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// By what the waits of Event Grid's retry schedule are multiplied: 1 is Azure's pace.
    pub retry_factor: f64,
    /// How it misbehaves.
    pub chaos: Chaos,
    /// Where dead letters are written, as the blobs of a container would be.
    pub dead_letter_folder: PathBuf,
    /// Whether the topics' identities may do what their subscriptions say; `None` asks nothing.
    pub authorizer: Option<Authorizer>,
}

/// All topics with their subscriptions. Cheap to clone.
#[derive(Clone)]
pub struct Topics(Arc<Inner>);

struct Inner {
    broker: Broker,
    settings: TopicSettings,
    /// Subscriptions by topic. A topic's name is kept in lower case.
    topics: RwLock<HashMap<String, Vec<Arc<Subscription>>>>,
    /// The principal that a topic acts as, by its name in lower case.
    principals: RwLock<HashMap<String, String>>,
    published: Notify,
    dice: Mutex<fastrand::Rng>,
}

/// Within how many milliseconds deliveries overtake each other where no longer delay is asked for.
const REORDER_WITHIN: Millis = 50;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        event_id TEXT NOT NULL,
        published_at INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS deliveries (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL,
        subscription TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER NOT NULL,
        last_attempt_at INTEGER,
        last_outcome INTEGER
    );
    CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
    CREATE INDEX IF NOT EXISTS deliveries_by_due ON deliveries (subscription, due_at);
";

impl Topics {
    /// Opens the topic engine in the broker's file. Nothing is delivered before [`Topics::start`].
    ///
    /// # Errors
    /// The broker's file failed.
    pub async fn open(broker: Broker, mut settings: TopicSettings) -> Result<Topics, BrokerError> {
        broker.run(|engine| Ok(engine.db().execute_batch(SCHEMA)?)).await?;
        let seed = *settings.chaos.seed.get_or_insert_with(|| fastrand::u64(..));
        if settings.chaos.is_on() {
            tracing::warn!(seed, chaos = ?settings.chaos, "the topic engine misbehaves on purpose");
        }
        let dice = Mutex::new(fastrand::Rng::with_seed(seed));
        let inner = Inner {
            broker,
            settings,
            topics: RwLock::default(),
            principals: RwLock::default(),
            published: Notify::new(),
            dice,
        };
        Ok(Topics(Arc::new(inner)))
    }

    /// Creates a topic; its subscriptions stay if it is there.
    pub fn declare_topic(&self, name: &str) {
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.entry(name.to_ascii_lowercase()).or_default();
    }

    /// Creates a subscription, or replaces the one of that name, from the properties of a
    /// `Microsoft.EventGrid/topics/eventSubscriptions` resource. Its queue need not exist yet.
    ///
    /// # Errors
    /// An unknown topic, or properties that are not understood: the message names what.
    pub fn declare_subscription(&self, topic: &str, name: &str, properties: &Value) -> Result<(), SubscriptionError> {
        let subscription = Arc::new(Subscription::from_arm(topic, name, properties)?);
        let mut topics = self.0.topics.write().unwrap_or_else(PoisonError::into_inner);
        let Some(subscriptions) = topics.get_mut(&topic.to_ascii_lowercase()) else {
            return Err(SubscriptionError::NoTopic(topic.into()));
        };
        subscriptions.retain(|old| old.key != subscription.key);
        subscriptions.push(subscription);
        drop(topics);
        self.0.published.notify_one();
        Ok(())
    }

    /// Tells as whom a topic delivers and puts events aside.
    pub fn set_principal(&self, topic: &str, principal: &str) {
        let mut principals = self.0.principals.write().unwrap_or_else(PoisonError::into_inner);
        principals.insert(topic.to_ascii_lowercase(), principal.to_owned());
    }

    /// Leaves exactly these topics, with the principals that they deliver as, and subscriptions: declares what is new or changed, and removes the others. Each
    /// subscription that is not understood is told, and is not there.
    pub fn replace<'a>(
        &self,
        topics: &BTreeMap<String, Option<String>>,
        subscriptions: impl IntoIterator<Item = (&'a str, &'a str, &'a Value)>,
    ) -> Vec<SubscriptionError> {
        let mut wanted: HashMap<String, Vec<Arc<Subscription>>> =
            topics.keys().map(|name| (name.to_ascii_lowercase(), Vec::new())).collect();
        let principals = topics.iter().filter_map(|(name, one)| Some((name.to_ascii_lowercase(), one.clone()?)));
        *self.0.principals.write().unwrap_or_else(PoisonError::into_inner) = principals.collect();
        let mut refused = Vec::new();
        for (topic, name, properties) in subscriptions {
            match (Subscription::from_arm(topic, name, properties), wanted.get_mut(&topic.to_ascii_lowercase())) {
                (Ok(subscription), Some(list)) => list.push(Arc::new(subscription)),
                (Ok(_), None) => refused.push(SubscriptionError::NoTopic(topic.into())),
                (Err(error), _) => refused.push(error),
            }
        }
        *self.0.topics.write().unwrap_or_else(PoisonError::into_inner) = wanted;
        self.0.published.notify_one();
        refused
    }

    /// Drops what was not yet delivered to any subscription but these (`topic/name`, in lower case).
    ///
    /// # Errors
    /// The broker's file failed.
    pub async fn forget_others(&self, kept: Vec<String>) -> Result<(), BrokerError> {
        self.0.broker.run(move |engine| forget(engine.db(), &kept)).await
    }

    fn subscriptions(&self, topic: &str) -> Option<Vec<Arc<Subscription>>> {
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(&topic.to_ascii_lowercase()).cloned()
    }

    /// Publishes CloudEvents in their JSON format, byte for byte as given: all or none. Events that no subscription
    /// asks for are gone, as in Azure.
    ///
    /// # Errors
    /// An unknown topic, or an event that is none or is too large.
    pub async fn publish(&self, topic: &str, events: Vec<Bytes>) -> Result<(), PublishError> {
        let Some(subscriptions) = self.subscriptions(topic) else { return Err(PublishError::NoTopic(topic.into())) };
        let events = events.into_iter().map(Incoming::parse).collect::<Result<Vec<_>, _>>()?;
        let mut asked = Vec::new();
        for event in events {
            let keys = subscriptions.iter().filter(|one| one.filter.passes(&event.json)).map(|one| &one.key);
            let deliveries: Vec<_> = keys.flat_map(|key| self.0.roll(key)).collect();
            if !deliveries.is_empty() {
                asked.push((event, deliveries));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let topic = topic.to_owned();
        self.0.broker.run(move |engine| store(engine.db(), &topic, engine.now(), asked)).await?;
        self.0.published.notify_one();
        Ok(())
    }

    /// Starts to deliver, those first that an earlier process left. Aborting the task stops it; what it has not
    /// delivered stays.
    pub fn start(&self) -> JoinHandle<()> {
        tokio::spawn(deliver::run(self.0.clone()))
    }
}

/// A delivery to be stored: the subscription's key, and how long it waits on purpose.
type Planned = (String, Millis);

impl Inner {
    /// What the deliveries of one round are checked against.
    fn rights(&self) -> Rights {
        let principals = self.principals.read().unwrap_or_else(PoisonError::into_inner).clone();
        Rights { authorizer: self.settings.authorizer.clone(), principals }
    }

    /// The deliveries of an event to a subscription: one without delay, unless there is chaos.
    fn roll(&self, key: &str) -> Vec<Planned> {
        let chaos = &self.settings.chaos;
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let copies = if chaos.duplicates > 0.0 && dice.f64() < chaos.duplicates { 2 } else { 1 };
        let mut most = Millis::try_from(chaos.delay.as_millis()).unwrap_or(Millis::MAX / 4);
        if chaos.reorder {
            most = most.max(REORDER_WITHIN);
        }
        (0..copies).map(|_| (key.to_owned(), if most > 0 { dice.i64(0..=most) } else { 0 })).collect()
    }
}

/// What topics may do as their identities.
struct Rights {
    authorizer: Option<Authorizer>,
    principals: HashMap<String, String>,
}

impl Rights {
    /// Whether a topic may do something for a subscription that says to do so with the topic's identity.
    fn check(&self, topic: &str, with_identity: bool, action: Action, place: &Place) -> Result<(), String> {
        let Some(authorizer) = self.authorizer.as_ref().filter(|_| with_identity) else { return Ok(()) };
        let Some(principal) = self.principals.get(&topic.to_ascii_lowercase()) else {
            return Err(format!("the topic {topic} has no identity"));
        };
        authorizer.check(principal, action, place).map_err(|refused| refused.to_string())
    }
}

/// Drops the deliveries to all subscriptions but these.
fn forget(db: &rusqlite::Connection, keys: &[String]) -> Result<(), BrokerError> {
    let mut known = db.prepare_cached("SELECT DISTINCT subscription FROM deliveries")?;
    let known: Vec<String> = known.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for gone in known.iter().filter(|key| !keys.contains(key)) {
        db.execute("DELETE FROM deliveries WHERE subscription = ?1", params![gone])?;
        db.execute("DELETE FROM events WHERE id NOT IN (SELECT event FROM deliveries)", [])?;
    }
    Ok(())
}

fn store(
    db: &rusqlite::Connection,
    topic: &str,
    now: Millis,
    asked: Vec<(Incoming, Vec<Planned>)>,
) -> Result<(), BrokerError> {
    let mut insert_event =
        db.prepare_cached("INSERT INTO events (topic, event_id, published_at, body) VALUES (?1, ?2, ?3, ?4)")?;
    let mut insert_delivery =
        db.prepare_cached("INSERT INTO deliveries (event, subscription, due_at) VALUES (?1, ?2, ?3)")?;
    for (event, deliveries) in asked {
        insert_event.execute(params![topic, event.id, now, &event.body[..]])?;
        let row = db.last_insert_rowid();
        for (key, delay) in deliveries {
            insert_delivery.execute(params![row, key, now + delay])?;
        }
    }
    Ok(())
}

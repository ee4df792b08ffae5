//! Given/when/then for aggregates, and a fold for projections: business rules tested without a store or a runtime.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use skein_core::{Aggregate, Command, Context, Decision, Handle, Rejection};
//! use skein_testing::scenario::given;
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! pub struct Opened {}
//! skein_core::events! { pub enum DoorEvent { Opened(Opened) = ("DoorOpened", 1) } }
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! pub struct Door { open: bool }
//! impl Aggregate for Door {
//!     const CATEGORY: &'static str = "door";
//!     type Event = DoorEvent;
//!     fn evolve(&mut self, DoorEvent::Opened(_): &DoorEvent) { self.open = true; }
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! pub struct Open {}
//! impl Command for Open { const TYPE: &'static str = "Open"; }
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("it is open")]
//! pub struct IsOpen;
//! impl Rejection for IsOpen { fn code(&self) -> &'static str { "IS_OPEN" } }
//! impl Handle<Open> for Door {
//!     type Error = IsOpen;
//!     type Reply = ();
//!     fn decide(&self, _: &Open, _: &Context) -> Result<Decision<Self, ()>, IsOpen> {
//!         if self.open { Err(IsOpen) } else { Ok(Decision::none().event(Opened {})) }
//!     }
//! }
//!
//! given::<Door>([]).when(Open {}).then([Opened {}.into()]);
//! given::<Door>([Opened {}.into()]).when(Open {}).then_rejected("IS_OPEN");
//! ```

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skein_core::{
    Aggregate, AggregateId, Command, CommandId, Context, Contract, Decision, DomainEvent, Handle, Outgoing,
    Partitioning, Personal, Principal, Projection, Publication, Rejection, Source, Touch,
};
use time::OffsetDateTime;

/// The most rows that one event may change in one partition of a view.
const MAX_TOUCHES: usize = 90;

/// An aggregate's past. [`Given::when`] asks it to decide.
#[derive(Debug, Clone)]
pub struct Given<A: Aggregate> {
    events: Vec<A::Event>,
    id: String,
    principal: Principal,
    now: OffsetDateTime,
}

/// An aggregate to which these events happened, in order. Its id is `1` unless [`Given::of`] says otherwise, it is
/// asked by a service unless [`Given::by`] does, at 1970-01-01 unless [`Given::at`] does.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given {
        events: events.into_iter().collect(),
        id: "1".to_owned(),
        principal: Principal::service("test"),
        now: OffsetDateTime::UNIX_EPOCH,
    }
}

impl<A: Aggregate> Given<A> {
    /// The aggregate's id.
    #[must_use]
    pub fn of(self, id: &str) -> Self {
        Given { id: id.to_owned(), ..self }
    }

    /// Who asks.
    #[must_use]
    pub fn by(self, principal: Principal) -> Self {
        Given { principal, ..self }
    }

    /// What time it is.
    #[must_use]
    pub fn at(self, now: OffsetDateTime) -> Self {
        Given { now, ..self }
    }

    /// Lets the aggregate decide on the command. As in production, events, command and state pass through their JSON
    /// first.
    ///
    /// # Panics
    /// When an event, the command or the state does not survive its JSON, or the id cannot be a key.
    #[track_caller]
    pub fn when<C: Command>(self, command: C) -> Then<A, A::Reply, A::Error>
    where
        A: Handle<C>,
    {
        let mut state = A::default();
        for event in &self.events {
            state.evolve(&stored(event));
        }
        let state: A = through_json("state", &state);
        let command: C = through_json("command", &command);
        let id = AggregateId::new(A::CATEGORY, &self.id).expect("the id can be a key");
        let cx = Context {
            aggregate: id,
            command: CommandId::new("test-command").expect("a valid id"),
            now: self.now,
            principal: self.principal,
            correlation: "test-correlation".to_owned(),
            causation: None,
        };
        let decided = state.decide(&command, &cx);
        Then { state, decided, command: C::TYPE }
    }
}

/// What was decided. The assertions can be chained.
pub struct Then<A: Aggregate, R, E> {
    state: A,
    decided: Result<Decision<A, R>, E>,
    command: &'static str,
}

impl<A: Aggregate, R, E: Rejection> Then<A, R, E> {
    #[track_caller]
    fn accepted(&self) -> &Decision<A, R> {
        match &self.decided {
            Ok(decision) => decision,
            Err(error) => panic!("{} was rejected as {}: {error}", self.command, error.code()),
        }
    }

    #[track_caller]
    fn same<T: PartialEq + Debug>(&self, what: &str, actual: &T, expected: &T) {
        assert!(actual == expected, "{} {what}\n{actual:#?}\nnot\n{expected:#?}", self.command);
    }

    /// Exactly these events happen, in this order. None is what [`Then::then_nothing`] asserts, unless commands are
    /// sent.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Self
    where
        A::Event: Debug + PartialEq,
    {
        let actual: Vec<A::Event> = self.accepted().events.iter().map(stored).collect();
        self.same("led to", &actual, &events.into_iter().collect());
        self
    }

    /// The command is accepted; no event happens, no command is sent.
    #[track_caller]
    pub fn then_nothing(self) -> Self
    where
        A::Event: Debug + PartialEq,
    {
        self.then([]).then_sent([]).then_erased([])
    }

    /// An integration event of this type is published.
    #[track_caller]
    pub fn then_published<C: Contract>(self) -> Self {
        let names: Vec<String> = self.publications().into_iter().map(|publication| publication.name).collect();
        assert!(names.contains(&C::type_name()), "{} published {names:?}, not {}", self.command, C::type_name());
        self
    }

    /// Exactly this integration event is published.
    #[track_caller]
    pub fn then_published_only<C: Contract>(self, contract: C) -> Self {
        let written = |publication: Publication| format!("{} {}", publication.name, publication.data.get());
        let actual: Vec<String> = self.publications().into_iter().map(written).collect();
        self.same("published", &actual, &vec![written(Publication::of(&contract))]);
        self
    }

    /// Nothing is published.
    #[track_caller]
    pub fn then_published_nothing(self) -> Self {
        let names: Vec<String> = self.publications().into_iter().map(|publication| publication.name).collect();
        assert!(names.is_empty(), "{} published {names:?}", self.command);
        self
    }

    /// Exactly these commands are sent, in this order.
    #[track_caller]
    pub fn then_sent(self, commands: impl IntoIterator<Item = Outgoing>) -> Self {
        let written = |sent: &Outgoing| {
            let service = sent.service.as_ref().map(|service| format!("{service}/")).unwrap_or_default();
            format!("{} v{} to {service}{}: {}", sent.name, sent.version, sent.aggregate, sent.payload.get())
        };
        let actual: Vec<String> = self.accepted().commands.iter().map(written).collect();
        self.same("sent", &actual, &commands.into_iter().map(|sent| written(&sent)).collect());
        self
    }

    /// Exactly these persons are erased.
    #[track_caller]
    pub fn then_erased<const N: usize>(self, persons: [&str; N]) -> Self {
        self.same("erased", &self.accepted().erasures, &persons.map(str::to_owned).to_vec());
        self
    }

    /// The sender learns this.
    #[track_caller]
    pub fn then_reply(self, reply: R) -> Self
    where
        R: PartialEq + Debug,
    {
        self.same("replied", &self.accepted().reply, &reply);
        self
    }

    /// The command is rejected with this code.
    #[track_caller]
    pub fn then_rejected(self, code: &str) -> Self
    where
        A::Event: Debug,
    {
        match &self.decided {
            Err(error) if error.code() == code => self,
            Err(error) => panic!("{} was rejected as {}, not {code}: {error}", self.command, error.code()),
            Ok(decision) => panic!("{} was accepted, not rejected as {code}: {:#?}", self.command, decision.events),
        }
    }

    /// What the events say to the world, each told by the state after it.
    #[track_caller]
    fn publications(&self) -> Vec<Publication> {
        let mut state = self.state.clone();
        let tell = |event: &A::Event| {
            state.evolve(event);
            state.publish(event)
        };
        self.accepted().events.iter().filter_map(tell).collect()
    }
}

/// A sealed value as a domain meets it: whose it is can be read, what is in it cannot.
pub fn sealed_for<T>(person: &str) -> Personal<T> {
    let sealed = serde_json::json!({"person": person, "key": "test-key", "sealed": "c2VhbGVk"});
    serde_json::from_value(sealed).expect("the form of a sealed value")
}

/// A command as an aggregate of the same service sends it to the aggregate `id` of `A`.
///
/// # Panics
/// When the id cannot be a key.
#[track_caller]
pub fn to<A: Handle<C>, C: Command>(id: &str, command: C) -> Outgoing {
    Outgoing::to::<A, C>(id, &command).expect("the id can be a key")
}

/// The event as the store gives it back.
#[track_caller]
fn stored<E: DomainEvent>(event: &E) -> E {
    let payload = event.encode().unwrap_or_else(|error| panic!("{} has no JSON: {error}", event.name()));
    E::decode(event.name(), event.version(), &payload)
        .unwrap_or_else(|error| panic!("{} cannot be read back: {error}", event.name()))
}

/// The value as its JSON tells it, which has to be the same again when it is written once more.
#[track_caller]
fn through_json<T: Serialize + DeserializeOwned>(what: &str, value: &T) -> T {
    let json = serde_json::to_string(value).unwrap_or_else(|error| panic!("the {what} has no JSON: {error}"));
    let read: T =
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("the {what} cannot be read back: {error}\n{json}"));
    let again = serde_json::to_string(&read).unwrap_or_else(|error| panic!("the {what} has no JSON: {error}"));
    assert_eq!(json, again, "the {what} is another after its JSON was read");
    read
}

/// The source of an aggregate's `sequence`th integration event.
///
/// # Panics
/// When the id cannot be a key.
#[track_caller]
pub fn source(category: &str, id: &str, sequence: u64) -> Source {
    let aggregate = AggregateId::new(category, id).expect("the id can be a key");
    Source { aggregate, epoch: 0, sequence, time: OffsetDateTime::UNIX_EPOCH }
}

/// The view that these events make, by partition and row, with what the engine demands: few touches, each row once,
/// partitions of one source named after it, rows that survive their JSON.
///
/// # Panics
/// When the projection breaks one of these rules.
#[track_caller]
pub fn project<P: Projection>(events: impl IntoIterator<Item = (Source, P::Event)>) -> BTreeMap<Touch, P::Row> {
    let mut view = BTreeMap::new();
    for (source, event) in events {
        let touches = P::touches(&event, &source);
        let mut rows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Touch { partition, row } in &touches {
            let rows = rows.entry(partition).or_default();
            assert!(!rows.contains(&row.as_str()), "{} touches {partition:?} {row:?} twice", P::NAME);
            rows.push(row);
            assert!(rows.len() <= MAX_TOUCHES, "{} touches more than {MAX_TOUCHES} rows of {partition:?}", P::NAME);
            if P::PARTITIONING == Partitioning::OneSource {
                assert_eq!(partition, source.aggregate.id(), "{}: the partition is named after its source", P::NAME);
            }
        }
        for touch in touches {
            match P::apply(view.remove(&touch), &event, &touch, &source) {
                Some(row) => view.insert(touch, through_json("row", &row)),
                None => None,
            };
        }
    }
    view
}

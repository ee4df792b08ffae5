//! The vocabulary of a domain: aggregates, their events, the commands they decide on.

use std::convert::Infallible;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::cloud_event::Contract;
use crate::id::{AggregateId, CommandId, IdError, Principal};

/// A consistency boundary: state that is folded from its own events, and decides on commands.
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The category: the first part of every key, `[a-z][a-z0-9-]*`. It never changes once events are stored.
    const CATEGORY: &'static str;
    /// Raise it when the state's serialised form changes: older snapshots are then ignored and the state is folded
    /// from the events.
    const SNAPSHOT_SCHEMA: u32 = 1;
    /// The aggregate's own, private events.
    type Event: DomainEvent;

    /// Folds one event into the state. It must not fail: the event has happened.
    fn evolve(&mut self, event: &Self::Event);

    /// The integration event that this event shows to the world, if any; `self` is the state after the event. Private
    /// events stay private.
    fn publish(&self, event: &Self::Event) -> Option<Publication> {
        let _ = event;
        None
    }
}

/// Private events of one aggregate; [`crate::events!`] implements it.
pub trait DomainEvent: Clone + Send + Sync + Sized + 'static {
    /// Every name under which events of this type are stored, with the version that is written today. Whatever was
    /// stored before, from version 1, can be read.
    const STORED: &'static [(&'static str, u32)];

    /// The name under which the event is stored.
    fn name(&self) -> &'static str;
    /// The version of its payload.
    fn version(&self) -> u32;
    /// The payload as JSON.
    ///
    /// # Errors
    /// A payload that JSON cannot hold, as a map with keys that are not strings.
    fn encode(&self) -> Result<Box<RawValue>, serde_json::Error>;
    /// Reads a stored payload.
    ///
    /// # Errors
    /// An unknown name, a version that this code does not know, or a payload of another shape.
    fn decode(name: &str, version: u32, payload: &RawValue) -> Result<Self, DecodeError>;
}

/// Why a stored or received payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// This code does not know the name.
    #[error("the type {0:?} is unknown to this version of the code")]
    UnknownName(String),
    /// This code does not know the version: it is newer, or support for it was removed.
    #[error("version {version} of {name:?} is unknown to this code, which knows {known}")]
    UnknownVersion {
        /// The type.
        name: String,
        /// The version met.
        version: u32,
        /// The version known.
        known: u32,
    },
    /// The payload has another shape.
    #[error("the payload of {name:?} version {version} cannot be read: {source}")]
    Payload {
        /// The type.
        name: String,
        /// The version.
        version: u32,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
}

/// Declares an aggregate's events: an enum with one variant a payload type, each with the name and version under
/// which it is stored.
///
/// What is stored never changes, so another form of a payload is a new version, and the former type stays to read what
/// is there. `formerly` names the older types, newest first, down to version 1; each step is a `From`, pure, from one
/// version to the next.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use skein_core::DomainEvent;
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct Opened { pub by: String, pub urgent: bool }
/// #[derive(Deserialize)]
/// pub struct OpenedV1 { by: String }
/// impl From<OpenedV1> for Opened {
///     fn from(OpenedV1 { by }: OpenedV1) -> Self { Opened { by, urgent: false } }
/// }
/// skein_core::events! {
///     /// What happens to a ticket.
///     pub enum TicketEvent { Opened(Opened) = ("TicketOpened", 2) formerly (OpenedV1) }
/// }
/// let stored = serde_json::value::to_raw_value(&serde_json::json!({"by": "ann"})).unwrap();
/// let event = TicketEvent::decode("TicketOpened", 1, &stored).unwrap();
/// assert_eq!(event, Opened { by: "ann".into(), urgent: false }.into());
/// assert_eq!((event.name(), event.version()), ("TicketOpened", 2));
/// ```
///
/// A version without a type to read it is refused when it is compiled:
///
/// ```compile_fail
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// # pub struct Opened { pub by: String }
/// skein_core::events! { pub enum TicketEvent { Opened(Opened) = ("TicketOpened", 2) } }
/// ```
#[macro_export]
macro_rules! events {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident($payload:ty) = ($stored:literal, $version:literal)
            $(formerly ($($former:ty),+ $(,)?))?),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis enum $name { $($(#[$variant_meta])* #[allow(missing_docs)] $variant($payload)),+ }

        $(impl From<$payload> for $name {
            fn from(payload: $payload) -> Self { $name::$variant(payload) }
        })+

        $(const _: () = assert!(
            $version == 1 + <[&str]>::len(&[$($(stringify!($former)),+)?]),
            concat!($stored, ": one version for each type, down to 1: name the former ones with `formerly`"),
        );)+

        impl $crate::DomainEvent for $name {
            const STORED: &'static [(&'static str, u32)] = &[$(($stored, $version)),+];

            fn name(&self) -> &'static str { match self { $($name::$variant(_) => $stored),+ } }
            fn version(&self) -> u32 { match self { $($name::$variant(_) => $version),+ } }
            fn encode(&self) -> Result<Box<$crate::__private::RawValue>, $crate::__private::JsonError> {
                match self { $($name::$variant(payload) => $crate::__private::to_raw_value(payload)),+ }
            }
            fn decode(
                name: &str,
                version: u32,
                payload: &$crate::__private::RawValue,
            ) -> Result<Self, $crate::DecodeError> {
                match name {
                    $($stored => $crate::__decode!(name, version, $version, payload, $payload $($(, $former)+)?)
                        .map($name::$variant),)+
                    _ => Err($crate::DecodeError::UnknownName(name.to_owned())),
                }
            }
        }
    };
}

/// Reads a payload of version `$known` as `$current`, and older ones through the types that they had.
#[doc(hidden)]
#[macro_export]
macro_rules! __decode {
    ($name:expr, $version:expr, $known:expr, $payload:expr, $current:ty) => {
        $crate::__private::decode_version::<$current>($name, $version, $known, $payload)
    };
    ($name:expr, $version:expr, $known:expr, $payload:expr, $current:ty, $former:ty $(, $older:ty)*) => {
        if $version < $known {
            $crate::__decode!($name, $version, $known - 1, $payload, $former $(, $older)*)
                .map(<$current as ::core::convert::From<$former>>::from)
        } else {
            $crate::__private::decode_version::<$current>($name, $version, $known, $payload)
        }
    };
}

/// Reads a payload of the one version that the type has.
pub(crate) fn decode_version<T: DeserializeOwned>(
    name: &str,
    version: u32,
    known: u32,
    payload: &RawValue,
) -> Result<T, DecodeError> {
    if version != known {
        return Err(DecodeError::UnknownVersion { name: name.to_owned(), version, known });
    }
    serde_json::from_str(payload.get()).map_err(|source| DecodeError::Payload {
        name: name.to_owned(),
        version,
        source,
    })
}

/// A command: what somebody wants an aggregate to do.
pub trait Command: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name in the envelope, unique within the service.
    const TYPE: &'static str;
    /// The version of the payload.
    const VERSION: u32 = 1;
    /// Whether the aggregate is expected not to exist: the first attempt then reads nothing. It never changes the
    /// result, only the cost.
    const CREATES: bool = false;
}

/// An aggregate's answer to one type of command.
pub trait Handle<C: Command>: Aggregate {
    /// Why the aggregate may refuse.
    type Error: Rejection;
    /// What the sender learns on success.
    type Reply: Serialize + DeserializeOwned + Send;

    /// Decides, purely: no clock, no randomness, no I/O but what `cx` carries. It is called again after a conflict.
    ///
    /// # Errors
    /// The domain's refusal. It is an outcome, recorded and published as such, and not a fault.
    fn decide(&self, command: &C, cx: &Context) -> Result<Decision<Self, Self::Reply>, Self::Error>;
}

/// A domain's refusal.
pub trait Rejection: std::error::Error {
    /// A stable code in capitals, shown to the client.
    fn code(&self) -> &'static str;
}

/// The error of a command that is never refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Never(Infallible);

impl Rejection for Never {
    fn code(&self) -> &'static str {
        match self.0 {}
    }
}

/// What a decision may know besides state and command.
#[derive(Debug, Clone)]
pub struct Context {
    /// The aggregate that decides.
    pub aggregate: AggregateId,
    /// The command's id.
    pub command: CommandId,
    /// The time of this attempt, UTC.
    pub now: OffsetDateTime,
    /// Who sent the command.
    pub principal: Principal,
    /// The id that all messages of one conversation share.
    pub correlation: String,
    /// The id of the message that caused the command.
    pub causation: Option<String>,
}

impl Context {
    /// The `n`th new id of this decision, derived from the command's id: a retry makes the same one.
    pub fn new_id(&self, n: u32) -> Uuid {
        self.command.new_id(n)
    }
}

/// What was decided: events to store (none is a no-op), the reply, and commands to send once the events are stored.
#[derive(Debug, Clone)]
pub struct Decision<A: Aggregate, R> {
    /// The events, in order.
    pub events: Vec<A::Event>,
    /// The reply.
    pub reply: R,
    /// Commands to other aggregates, stored in the same commit.
    pub commands: Vec<Outgoing>,
    /// Persons whose keys are deleted, stored in the same commit.
    pub erasures: Vec<String>,
}

impl<A: Aggregate, R> Decision<A, R> {
    /// A no-op with a reply: the start of every decision.
    pub fn reply(reply: R) -> Self {
        Decision { events: Vec::new(), reply, commands: Vec::new(), erasures: Vec::new() }
    }

    /// The same decision with one more event.
    #[must_use]
    pub fn event(mut self, event: impl Into<A::Event>) -> Self {
        self.events.push(event.into());
        self
    }

    /// The same decision with more events.
    #[must_use]
    pub fn events<E: Into<A::Event>>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        self.events.extend(events.into_iter().map(Into::into));
        self
    }

    /// The same decision with one more command to send.
    #[must_use]
    pub fn send(mut self, command: Outgoing) -> Self {
        self.commands.push(command);
        self
    }

    /// The same decision, erasing a person: all that was sealed for it so far, anywhere, cannot be read from then on.
    /// It is done once the events are stored and before the message is settled, again after a crash.
    #[must_use]
    pub fn erase(mut self, person: impl Into<String>) -> Self {
        self.erasures.push(person.into());
        self
    }

    /// The same decision with more commands to send.
    #[must_use]
    pub fn send_all(mut self, commands: impl IntoIterator<Item = Outgoing>) -> Self {
        self.commands.extend(commands);
        self
    }
}

impl<A: Aggregate> Decision<A, ()> {
    /// Nothing happens.
    pub fn none() -> Self {
        Decision::reply(())
    }
}

/// A command to be sent to an aggregate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outgoing {
    /// The service that owns the aggregate; absent for the sender's own.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The aggregate.
    #[serde(rename = "a")]
    pub aggregate: AggregateId,
    /// The command's [`Command::TYPE`].
    #[serde(rename = "t")]
    pub name: String,
    /// The command's [`Command::VERSION`].
    #[serde(rename = "v")]
    pub version: u32,
    /// The payload.
    #[serde(rename = "p")]
    pub payload: Box<RawValue>,
}

impl Outgoing {
    /// A command to the aggregate `id` of `A` in the same service.
    ///
    /// # Errors
    /// An id that cannot be a key.
    ///
    /// # Panics
    /// Never for a command whose payload is plain data: only a map with keys that are not strings has no JSON.
    pub fn to<A: Handle<C>, C: Command>(id: &str, command: &C) -> Result<Self, IdError> {
        Ok(Outgoing {
            service: None,
            aggregate: AggregateId::new(A::CATEGORY, id)?,
            name: C::TYPE.to_owned(),
            version: C::VERSION,
            payload: serde_json::value::to_raw_value(command).expect("a command is plain data"),
        })
    }
}

impl PartialEq for Outgoing {
    fn eq(&self, other: &Self) -> bool {
        (&self.service, &self.aggregate, &self.name, self.version, self.payload.get())
            == (&other.service, &other.aggregate, &other.name, other.version, other.payload.get())
    }
}

/// An integration event, ready to be wrapped in a CloudEvent.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The contract's [`Contract::TYPE`] and version: `orders.OrderPlaced.v1`.
    pub name: String,
    /// The contract as JSON.
    pub data: Box<RawValue>,
}

impl Publication {
    /// The contract as a publication.
    ///
    /// # Panics
    /// Never for a contract that is plain data, see [`Outgoing::to`].
    pub fn of<C: Contract>(contract: &C) -> Self {
        Publication {
            name: C::type_name(),
            data: serde_json::value::to_raw_value(contract).expect("a contract is plain data"),
        }
    }
}

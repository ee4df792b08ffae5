//! Integration events as CloudEvents 1.0.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::aggregate::{DecodeError, decode_version};
use crate::id::AggregateId;

/// The most bytes of one integration event in its JSON format: what a queue of the Standard tier still carries
/// (256 KiB with its headers).
pub const MAX_EVENT_BYTES: usize = 192 * 1024;

/// A published event: plain data, the only thing that other services may know of this one.
pub trait Contract: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// `service.Name`.
    const TYPE: &'static str;
    /// The version of the payload: raise it when a reader of the old one would misread the new one.
    const VERSION: u32 = 1;
    /// The category of the aggregates that publish it.
    const CATEGORY: &'static str;

    /// Reads a payload of this version; [`crate::formerly!`] lets it read older ones, too.
    ///
    /// # Errors
    /// A version that this code does not know, or a payload of another shape.
    fn decode(version: u32, data: &RawValue) -> Result<Self, DecodeError> {
        decode_version(Self::TYPE, version, Self::VERSION, data)
    }

    /// The CloudEvents type: `service.Name.v1`.
    fn type_name() -> String {
        format!("{}.v{}", Self::TYPE, Self::VERSION)
    }
}

/// Within `impl Contract`: the types of the older versions, newest first, down to version 1. Each step is a `From`, pure,
/// from one version to the next. What was published stays as it is, and is republished so, for as long as it is kept.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use skein_core::Contract;
///
/// #[derive(Serialize, Deserialize)]
/// pub struct Opened { pub by: String, pub urgent: bool }
/// #[derive(Deserialize)]
/// pub struct OpenedV1 { by: String }
/// impl From<OpenedV1> for Opened {
///     fn from(OpenedV1 { by }: OpenedV1) -> Self { Opened { by, urgent: false } }
/// }
/// impl Contract for Opened {
///     const TYPE: &'static str = "desk.Opened";
///     const VERSION: u32 = 2;
///     const CATEGORY: &'static str = "ticket";
///     skein_core::formerly!(OpenedV1);
/// }
/// let published = serde_json::value::to_raw_value(&serde_json::json!({"by": "ann"})).unwrap();
/// assert!(!Opened::decode(1, &published).unwrap().urgent);
/// assert!(Opened::decode(3, &published).is_err());
/// ```
#[macro_export]
macro_rules! formerly {
    ($($former:ty),+ $(,)?) => {
        fn decode(
            version: u32,
            data: &$crate::__private::RawValue,
        ) -> ::core::result::Result<Self, $crate::DecodeError> {
            const {
                assert!(
                    <Self as $crate::Contract>::VERSION as usize == 1 + <[&str]>::len(&[$(stringify!($former)),+]),
                    "one version for each type, down to 1: name all former ones with `formerly!`",
                );
            }
            let known = <Self as $crate::Contract>::VERSION;
            $crate::__decode!(<Self as $crate::Contract>::TYPE, version, known, data, Self, $($former),+)
        }
    };
}

/// A set of contracts that a consumer reads; [`crate::contracts!`] makes one.
pub trait ContractSet: Send + Sync + Sized + 'static {
    /// The categories whose events the consumer must receive, all of them: a missing one is taken for a gap.
    fn categories() -> Vec<&'static str>;
    /// Reads the event; `None` where its type is not in the set.
    ///
    /// # Errors
    /// A version that this code does not know, or a payload of another shape.
    fn decode(event: &CloudEvent) -> Option<Result<Self, DecodeError>>;
}

/// Declares the set of contracts that a projection or reaction reads.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use skein_core::Contract;
/// # #[derive(Serialize, Deserialize)] pub struct Opened { pub by: String }
/// # impl Contract for Opened { const TYPE: &'static str = "desk.Opened"; const CATEGORY: &'static str = "ticket"; }
/// skein_core::contracts! {
///     /// What the desk's views read.
///     pub enum Read { Opened(Opened) }
/// }
/// ```
#[macro_export]
macro_rules! contracts {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident($contract:ty)),+ $(,)? }) => {
        $(#[$meta])*
        $vis enum $name { $(#[allow(missing_docs)] $variant($contract)),+ }

        impl $crate::ContractSet for $name {
            fn categories() -> Vec<&'static str> {
                let mut categories = vec![$(<$contract as $crate::Contract>::CATEGORY),+];
                categories.sort_unstable();
                categories.dedup();
                categories
            }

            fn decode(event: &$crate::CloudEvent) -> Option<Result<Self, $crate::DecodeError>> {
                let (name, version) = event.type_and_version()?;
                $(if name == <$contract as $crate::Contract>::TYPE {
                    return Some(<$contract as $crate::Contract>::decode(version, &event.data).map($name::$variant));
                })+
                None
            }
        }
    };
}

/// A CloudEvent 1.0 in its JSON format, with Skein's extension attributes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// Derived from the commit: `{command id}:{n}`. A failure signal's is `{command id}:rejected`.
    pub id: String,
    /// `/services/{service}`.
    pub source: String,
    /// The contract's type and version.
    #[serde(rename = "type")]
    pub kind: String,
    /// The aggregate's key.
    pub subject: AggregateId,
    /// When it was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The event's number among the aggregate's integration events, zero-padded to 20 digits, so that it sorts as
    /// text. A failure signal has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// The epoch of the aggregate's store: raised when the store is restored from a backup.
    #[serde(default)]
    pub epoch: u32,
    /// The id that all messages of one conversation share.
    #[serde(rename = "correlationid")]
    pub correlation: String,
    /// The command's id.
    #[serde(rename = "causationid")]
    pub causation: String,
    /// The W3C trace context, as it was at the start of the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The contract.
    pub data: Box<RawValue>,
}

/// Why bytes are no CloudEvent of ours.
#[derive(Debug, thiserror::Error)]
pub enum CloudEventError {
    /// No JSON, or a member that is missing or of another type.
    #[error("not a CloudEvent in JSON format: {0}")]
    Json(#[from] serde_json::Error),
    /// A version of the specification other than 1.0.
    #[error("specversion is {0:?}, expected \"1.0\"")]
    SpecVersion(String),
    /// A sequence that is no number from 1.
    #[error("the sequence {0:?} of event {1:?} is not a number from 1")]
    Sequence(String, String),
    /// Too large to be delivered.
    #[error("the integration event {id:?} takes {bytes} bytes, at most {MAX_EVENT_BYTES} are allowed")]
    TooLarge {
        /// The event's id.
        id: String,
        /// Its size.
        bytes: usize,
    },
}

impl CloudEvent {
    /// Reads an event from its JSON format.
    ///
    /// # Errors
    /// Anything that is no CloudEvent 1.0 with Skein's attributes.
    pub fn from_json(json: &[u8]) -> Result<Self, CloudEventError> {
        let event: CloudEvent = serde_json::from_slice(json)?;
        if event.specversion != "1.0" {
            return Err(CloudEventError::SpecVersion(event.specversion));
        }
        if let Some(text) = &event.sequence
            && !text.parse::<u64>().is_ok_and(|number| number > 0)
        {
            return Err(CloudEventError::Sequence(text.clone(), event.id));
        }
        Ok(event)
    }

    /// The event in its JSON format: what is stored and published.
    ///
    /// # Errors
    /// An event of more than [`MAX_EVENT_BYTES`].
    pub fn to_json(&self) -> Result<Bytes, CloudEventError> {
        let json = serde_json::to_vec(self)?;
        if json.len() > MAX_EVENT_BYTES {
            return Err(CloudEventError::TooLarge { id: self.id.clone(), bytes: json.len() });
        }
        Ok(json.into())
    }

    /// The sequence as a number; `None` for a failure signal.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence.as_deref().and_then(|text| text.parse().ok())
    }

    /// The sequence as text.
    pub fn format_sequence(sequence: u64) -> String {
        format!("{sequence:020}")
    }

    /// `service.Name` and the version, from the type `service.Name.v1`.
    pub fn type_and_version(&self) -> Option<(&str, u32)> {
        let (name, version) = self.kind.rsplit_once(".v")?;
        Some((name, version.parse().ok()?))
    }
}

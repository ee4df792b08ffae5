//! A subscription, as its resource states it.

use std::time::Duration;

use serde_json::Value;

use crate::broker::{SettingsError, count, member};

use super::filter::{Filter, FilterError};

/// Why the properties of a subscription are not understood.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubscriptionError {
    /// No such topic.
    #[error("the topic {0:?} does not exist")]
    NoTopic(String),
    /// A property of another type, or with a value that Azure refuses.
    #[error(transparent)]
    Property(#[from] SettingsError),
    /// The filter.
    #[error("filter: {0}")]
    Filter(#[from] FilterError),
    /// CloudEvents go out as CloudEvents only.
    #[error("eventDeliverySchema is {0:?}, but CloudEvents are delivered as CloudEventSchemaV1_0 only")]
    Schema(String),
    /// A destination that the local topic does not deliver to.
    #[error("destination: {0}")]
    Destination(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Destination {
    /// `namespace/queue`.
    Queue(String),
    /// An http URL.
    WebHook(axum::http::Uri),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subscription {
    /// `topic/name`, in lower case: what its deliveries are stored under.
    pub key: String,
    pub topic: String,
    pub name: String,
    pub filter: Filter,
    pub destination: Destination,
    /// Whether it is delivered to as the topic's identity.
    pub delivers_as_topic: bool,
    pub max_attempts: u32,
    pub time_to_live: Duration,
    /// The account and container that dead letters go to; `None` drops them.
    pub dead_letters: Option<(String, String)>,
    /// Whether dead letters are written as the topic's identity.
    pub puts_aside_as_topic: bool,
}

impl Subscription {
    pub(super) fn from_arm(topic: &str, name: &str, properties: &Value) -> Result<Subscription, SubscriptionError> {
        let nested = |with_identity: &str, plain: &str| {
            member(properties, with_identity).and_then(|wrapped| member(wrapped, plain)).or(member(properties, plain))
        };
        let wrapped = |with_identity: &str, plain: &str| {
            member(properties, with_identity).is_some_and(|wrapped| member(wrapped, plain).is_some())
        };
        if let Some(schema) = member(properties, "eventDeliverySchema")
            && schema != "CloudEventSchemaV1_0"
        {
            return Err(SubscriptionError::Schema(schema.as_str().unwrap_or_default().into()));
        }
        let destination = nested("deliveryWithResourceIdentity", "destination")
            .ok_or_else(|| SettingsError::Missing("destination".into()))?;
        let policy = member(properties, "retryPolicy").unwrap_or(&Value::Null);
        let within = |name: &'static str, most: u32, allowed: &'static str| match count(policy, name)? {
            None => Ok(most),
            Some(number) if (1..=most).contains(&number) => Ok(number),
            Some(number) => Err(SettingsError::Range { property: name.into(), allowed, found: number.to_string() }),
        };
        let dead_letters = nested("deadLetterWithResourceIdentity", "deadLetterDestination").map(|destination| {
            let property = |pointer: &str| destination.pointer(pointer).and_then(Value::as_str);
            let account = property("/properties/resourceId").and_then(|id| id.rsplit('/').next());
            let container = property("/properties/blobContainerName");
            (account.unwrap_or("unknown").to_owned(), container.unwrap_or("deadletters").to_owned())
        });
        Ok(Subscription {
            key: format!("{topic}/{name}").to_ascii_lowercase(),
            topic: topic.into(),
            name: name.into(),
            filter: Filter::from_arm(member(properties, "filter").unwrap_or(&Value::Null))?,
            destination: parse_destination(destination)?,
            delivers_as_topic: wrapped("deliveryWithResourceIdentity", "destination"),
            max_attempts: within("maxDeliveryAttempts", 30, "1 to 30")?,
            time_to_live: Duration::from_secs(u64::from(within("eventTimeToLiveInMinutes", 1440, "1 to 1440")?) * 60),
            dead_letters,
            puts_aside_as_topic: wrapped("deadLetterWithResourceIdentity", "deadLetterDestination"),
        })
    }
}

fn parse_destination(destination: &Value) -> Result<Destination, SubscriptionError> {
    let property = |name: &str| {
        let value = destination.get("properties").and_then(|properties| properties.get(name)).and_then(Value::as_str);
        value.ok_or_else(|| SubscriptionError::Destination(format!("properties.{name} is missing")))
    };
    match destination.get("endpointType").and_then(Value::as_str) {
        Some("ServiceBusQueue") => {
            let id = property("resourceId")?;
            let segments: Vec<&str> = id.split('/').collect();
            match segments[..] {
                [.., namespaces, namespace, queues, queue]
                    if namespaces.eq_ignore_ascii_case("namespaces") && queues.eq_ignore_ascii_case("queues") =>
                {
                    Ok(Destination::Queue(format!("{namespace}/{queue}")))
                }
                _ => Err(SubscriptionError::Destination(format!("{id:?} is not the resource id of a queue"))),
            }
        }
        Some("WebHook") => {
            let url = property("endpointUrl")?;
            match url.parse::<axum::http::Uri>() {
                Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => {
                    Ok(Destination::WebHook(uri))
                }
                _ => Err(SubscriptionError::Destination(format!(
                    "{url:?} is not an http URL, and nothing else is local"
                ))),
            }
        }
        other => Err(SubscriptionError::Destination(format!(
            "the endpoint type {:?} is not one of ServiceBusQueue, WebHook",
            other.unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const QUEUE: &str = "/subscriptions/0/resourceGroups/rg/providers/Microsoft.ServiceBus/namespaces/sb/queues/events";

    #[test]
    fn a_queue_with_the_topics_identity() {
        let subscription = Subscription::from_arm(
            "evgt-Skein",
            "Orders",
            &json!({
                "eventDeliverySchema": "CloudEventSchemaV1_0",
                "deliveryWithResourceIdentity": {
                    "identity": { "type": "SystemAssigned" },
                    "destination": { "endpointType": "ServiceBusQueue", "properties": { "resourceId": QUEUE } },
                },
                "retryPolicy": { "maxDeliveryAttempts": 5, "eventTimeToLiveInMinutes": 10 },
                "deadLetterWithResourceIdentity": {
                    "deadLetterDestination": { "endpointType": "StorageBlob", "properties": {
                        "resourceId": "/subscriptions/s/storageAccounts/stskein", "blobContainerName": "dead" } },
                },
            }),
        )
        .unwrap();
        assert_eq!(subscription.key, "evgt-skein/orders");
        assert_eq!(subscription.destination, Destination::Queue("sb/events".into()));
        assert_eq!((subscription.max_attempts, subscription.time_to_live), (5, Duration::from_secs(600)));
        assert_eq!(subscription.dead_letters, Some(("stskein".into(), "dead".into())));
        assert!(subscription.delivers_as_topic && subscription.puts_aside_as_topic);
    }

    #[test]
    fn defaults_are_those_of_event_grid() {
        let destination =
            json!({ "endpointType": "WebHook", "properties": { "endpointUrl": "http://127.0.0.1:1/x?y" } });
        let subscription = Subscription::from_arm("t", "s", &json!({ "destination": destination })).unwrap();
        assert_eq!((subscription.max_attempts, subscription.time_to_live.as_secs()), (30, 86_400));
        assert_eq!(subscription.dead_letters, None);
        assert!(!subscription.delivers_as_topic && !subscription.puts_aside_as_topic);
        assert_eq!(subscription.destination, Destination::WebHook("http://127.0.0.1:1/x?y".parse().unwrap()));
    }

    #[test]
    fn refused_by_name() {
        let queue = json!({ "endpointType": "ServiceBusQueue", "properties": { "resourceId": QUEUE } });
        for (properties, part) in [
            (json!({}), "destination is missing"),
            (json!({ "destination": { "endpointType": "EventHub" } }), "\"EventHub\""),
            (json!({ "destination": { "endpointType": "ServiceBusQueue" } }), "resourceId is missing"),
            (
                json!({ "destination": { "endpointType": "ServiceBusQueue", "properties": { "resourceId": "sb/q" } } }),
                "not the resource id of a queue",
            ),
            (json!({ "destination": queue, "eventDeliverySchema": "EventGridSchema" }), "EventGridSchema"),
            (json!({ "destination": queue, "retryPolicy": { "maxDeliveryAttempts": 31 } }), "1 to 30"),
            (json!({ "destination": queue, "retryPolicy": { "eventTimeToLiveInMinutes": 0 } }), "1 to 1440"),
            (json!({ "destination": queue, "filter": { "subjectEndsWith": [] } }), "filter: subjectEndsWith"),
        ] {
            let error = Subscription::from_arm("t", "s", &properties).unwrap_err().to_string();
            assert!(error.contains(part), "{properties}: {error}");
        }
    }
}

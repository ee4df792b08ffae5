//! What the topic could not deliver to a service: blobs, written by Event Grid.

use std::collections::VecDeque;
use std::fmt;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use skein_azure::{AzureBlobs, BlobCredential};
use skein_core::blob::BlobStore;
use skein_core::ports::EventBus;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::letter::{Body, Handle};
use super::{Letter, Letters, What};
use crate::operator::Operator;

/// The most bytes of a blob that is looked at: Event Grid takes events of 1 MB, and writes few into one.
const MOST: u64 = 16 * 1024 * 1024;

/// What Event Grid adds to an event that it gives up.
const ADDED: [&str; 6] = [
    "deadletterreason",
    "deliveryattempts",
    "lastdeliveryoutcome",
    "lasthttpstatuscode",
    "publishtime",
    "lastdeliveryattempttime",
];

/// The dead letters of one subscription.
pub struct TopicLetters {
    blobs: Box<dyn BlobStore>,
    topic: Box<dyn EventBus>,
    prefix: String,
    /// The names that are left; `None` before the first look.
    names: Option<VecDeque<String>>,
}

impl TopicLetters {
    /// Opens the service's.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn open(operator: &Operator) -> Result<Self> {
        let place = operator.places.one("dead-letters")?;
        let mut parts = place.rsplitn(3, '/');
        let (Some(subscription), Some(topic), Some(container)) = (parts.next(), parts.next(), parts.next()) else {
            bail!("{place} is not CONTAINER/TOPIC/SUBSCRIPTION");
        };
        let credential = BlobCredential::Token(operator.credential.clone());
        let blobs = AzureBlobs::new(&operator.http, credential, container)?;
        Ok(TopicLetters {
            blobs: Box::new(blobs),
            topic: Box::new(operator.topic()?),
            prefix: format!("{topic}/{subscription}/"),
            names: None,
        })
    }

    /// All names, oldest first: their folders are hours without zeros before them.
    async fn names(&self) -> Result<VecDeque<String>> {
        let (mut names, mut from) = (Vec::new(), None);
        loop {
            let page = self.blobs.list(&self.prefix, from.as_ref()).await?;
            names.extend(page.blobs.into_iter().map(|(name, _)| name));
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        names.sort_by_key(|name| {
            let parts = name[self.prefix.len().min(name.len())..].split('/');
            parts.map(|part| part.parse::<u32>().unwrap_or(u32::MAX)).collect::<Vec<_>>()
        });
        Ok(names.into())
    }
}

fn blob_of(letter: &Letter) -> Result<&str> {
    match &letter.handle {
        Handle::Blob(name) => Ok(name),
        _ => bail!("{} is no dead letter of the topic", letter.id),
    }
}

#[async_trait]
impl Letters for TopicLetters {
    async fn next(&mut self) -> Result<Option<Letter>> {
        if self.names.is_none() {
            self.names = Some(self.names().await?);
        }
        while let Some(name) = self.names.as_mut().and_then(VecDeque::pop_front) {
            // Another command may have removed it meanwhile.
            let Some(part) = self.blobs.read(&name, 0, MOST).await? else { continue };
            if part.bytes.len() as u64 != part.size {
                bail!("the dead letter {name} has {} bytes, which is more than Event Grid writes", part.size);
            }
            return Ok(Some(letter(name, part.bytes)));
        }
        Ok(None)
    }

    async fn send_again(&mut self, letter: &Letter) -> Result<String> {
        let events = events(&letter.body.0).with_context(|| format!("the dead letter {}", letter.id))?;
        let bodies: Vec<Bytes> = events.iter().map(Event::original).collect();
        self.topic.publish(&bodies).await?;
        // The events keep their ids: by those, consumers know what they have seen.
        Ok(letter.id.clone())
    }

    async fn remove(&mut self, letter: &Letter) -> Result<bool> {
        Ok(self.blobs.delete(blob_of(letter)?).await?)
    }

    async fn give_back(&mut self, _: &Letter) -> Result<()> {
        Ok(())
    }

    async fn refusal(&self, _: &Letter) -> Result<Option<String>> {
        Ok(None)
    }
}

fn letter(name: String, body: Bytes) -> Letter {
    let events = events(&body);
    let first = events.as_ref().ok().and_then(|events| events.first());
    let what = match (&events, first) {
        (Ok(_), Some(event)) => What::event(&event.original()),
        (Ok(_), None) => What::Unreadable { why: "no event is in it".to_owned() },
        (Err(error), _) => What::Unreadable { why: format!("{error:#}") },
    };
    let member = |member: &str| first.and_then(|event| event.text(member));
    let file = name.rsplit('/').next().unwrap_or_default();
    Letter {
        id: member("id").unwrap_or_else(|| file.trim_end_matches(".json").to_owned()),
        session: None,
        enqueued: member("publishtime").and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok()),
        traceparent: member("traceparent"),
        given_up: member("deadletterreason"),
        fault: None,
        what,
        body: Body(body),
        handle: Handle::Blob(name),
    }
}

/// One event of a dead letter: its members in their order, byte for byte.
struct Event(Vec<(String, Box<RawValue>)>);

impl Event {
    /// The event as it was published, but for spaces between members.
    fn original(&self) -> Bytes {
        let members: Vec<String> = self
            .0
            .iter()
            .filter(|(name, _)| !ADDED.contains(&name.as_str()))
            .map(|(name, value)| format!("{}:{}", serde_json::Value::from(name.as_str()), value.get()))
            .collect();
        Bytes::from(format!("{{{}}}", members.join(",")))
    }

    fn text(&self, member: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(name, _)| name == member)?;
        serde_json::from_str(value.get()).ok()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Event;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Event(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn events(body: &[u8]) -> Result<Vec<Event>> {
    let events: Vec<Event> = serde_json::from_slice(body).context("no list of events")?;
    if events.is_empty() {
        bail!("no event is in it");
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_event_grid_added_goes_and_the_rest_stays() {
        let body = r#"[{"specversion":"1.0","id":"c:0","data":{"b":1.50,"a":"é"},"epoch":0,"deadletterreason":
            "MaxDeliveryAttemptsExceeded","deliveryattempts":3,"publishtime":"2024-05-01T10:00:00Z"}]"#;
        let read = letter("T/S/2024/5/1/10/x.json".to_owned(), Bytes::from(body));
        assert_eq!((read.id.as_str(), read.given_up.as_deref()), ("c:0", Some("MaxDeliveryAttemptsExceeded")));
        assert_eq!(read.enqueued, Some(time::macros::datetime!(2024-05-01 10:00 UTC)));
        let events = events(body.as_bytes()).unwrap();
        assert_eq!(
            events[0].original(),
            Bytes::from(r#"{"specversion":"1.0","id":"c:0","data":{"b":1.50,"a":"é"},"epoch":0}"#)
        );
    }

    #[test]
    fn what_is_no_event_is_shown_as_such() {
        for body in ["", "[]", "{}", "[1]", "[{\"id\":1}]"] {
            let read = letter("T/S/x.json".to_owned(), Bytes::from(body));
            assert_eq!(read.id, "x", "{body}");
            assert!(matches!(read.what, What::Unreadable { .. }), "{body}");
        }
    }
}

//! A queue's settings, as its resource states them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings of a queue that the engine obeys. Defaults are those of Azure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Whether messages belong to sessions. Fixed when the queue is created.
    pub requires_session: bool,
    /// How long a lock lasts unless renewed; at most 5 minutes.
    pub lock_duration: Duration,
    /// After how many deliveries a message goes to the dead-letter queue.
    pub max_delivery_count: u32,
    /// Whether a message id that was seen within the window is dropped. Fixed when the queue is created.
    pub requires_duplicate_detection: bool,
    /// How long a message id is remembered, from its first copy's arrival: 20 seconds to 7 days.
    pub duplicate_window: Duration,
    /// The longest time to live; `None` is unlimited.
    pub default_ttl: Option<Duration>,
    /// Whether an expired message goes to the dead-letter queue; else it is dropped.
    pub dead_letter_on_expiration: bool,
}

impl Default for QueueSettings {
    fn default() -> Self {
        QueueSettings {
            requires_session: false,
            lock_duration: Duration::from_secs(60),
            max_delivery_count: 10,
            requires_duplicate_detection: false,
            duplicate_window: Duration::from_secs(600),
            default_ttl: None,
            dead_letter_on_expiration: false,
        }
    }
}

/// Why the properties of a resource are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A property of another type.
    #[error("{property} has to be {expected}, not {found}")]
    Type {
        /// Its name.
        property: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A value that Azure refuses.
    #[error("{property} is {found}, allowed is {allowed}")]
    Range {
        /// Its name.
        property: String,
        /// What is allowed.
        allowed: &'static str,
        /// What it is.
        found: String,
    },
    /// A property that has to be there.
    #[error("{0} is missing")]
    Missing(String),
}

/// What Azure writes for "for ever": the longest span that .NET can say.
const UNLIMITED_DAYS: u64 = 10_675_199;

impl QueueSettings {
    /// Reads the `properties` of a `Microsoft.ServiceBus/namespaces/queues` resource. Missing ones have their defaults;
    /// those that concern nothing local are ignored.
    ///
    /// # Errors
    /// A property of another type, or a value that Azure refuses.
    pub fn from_arm(properties: &Value) -> Result<QueueSettings, SettingsError> {
        let default = QueueSettings::default();
        let settings = QueueSettings {
            requires_session: boolean(properties, "requiresSession")?.unwrap_or(default.requires_session),
            lock_duration: span(properties, "lockDuration")?.unwrap_or(default.lock_duration),
            max_delivery_count: count(properties, "maxDeliveryCount")?.unwrap_or(default.max_delivery_count),
            requires_duplicate_detection: boolean(properties, "requiresDuplicateDetection")?
                .unwrap_or(default.requires_duplicate_detection),
            duplicate_window: span(properties, "duplicateDetectionHistoryTimeWindow")?
                .unwrap_or(default.duplicate_window),
            default_ttl: span(properties, "defaultMessageTimeToLive")?
                .filter(|ttl| ttl.as_secs() < UNLIMITED_DAYS * 86_400),
            dead_letter_on_expiration: boolean(properties, "deadLetteringOnMessageExpiration")?
                .unwrap_or(default.dead_letter_on_expiration),
        };
        let refuse = |property: &str, found: String, allowed| {
            Err(SettingsError::Range { property: property.into(), allowed, found })
        };
        let (lock, window) = (settings.lock_duration, settings.duplicate_window);
        if lock < Duration::from_secs(5) || lock > Duration::from_secs(300) {
            return refuse("lockDuration", format!("{lock:?}"), "PT5S to PT5M");
        }
        if window < Duration::from_secs(20) || window > Duration::from_secs(7 * 86_400) {
            return refuse("duplicateDetectionHistoryTimeWindow", format!("{window:?}"), "PT20S to P7D");
        }
        if settings.max_delivery_count == 0 || settings.max_delivery_count > 2000 {
            return refuse("maxDeliveryCount", settings.max_delivery_count.to_string(), "1 to 2000");
        }
        if settings.default_ttl.is_some_and(|ttl| ttl < Duration::from_secs(1)) {
            return refuse("defaultMessageTimeToLive", format!("{:?}", settings.default_ttl), "at least PT1S");
        }
        Ok(settings)
    }
}

/// Looks a property up; `null` is as good as absent.
pub(crate) fn member<'v>(properties: &'v Value, name: &str) -> Option<&'v Value> {
    properties.get(name).filter(|value| !value.is_null())
}

fn wrong(property: &str, expected: &'static str, found: &Value) -> SettingsError {
    SettingsError::Type { property: property.into(), expected, found: found.to_string() }
}

/// A property that is true or false.
pub(crate) fn boolean(properties: &Value, name: &str) -> Result<Option<bool>, SettingsError> {
    let Some(value) = member(properties, name) else { return Ok(None) };
    value.as_bool().map(Some).ok_or_else(|| wrong(name, "true or false", value))
}

/// A property that is a whole number.
pub(crate) fn count(properties: &Value, name: &str) -> Result<Option<u32>, SettingsError> {
    let Some(value) = member(properties, name) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| wrong(name, "a whole number", value))
}

fn span(properties: &Value, name: &str) -> Result<Option<Duration>, SettingsError> {
    let Some(value) = member(properties, name) else { return Ok(None) };
    let span = value.as_str().and_then(iso_duration);
    span.map(Some).ok_or_else(|| wrong(name, "an ISO 8601 duration such as PT5M", value))
}

/// Reads an ISO 8601 duration of weeks, days, hours, minutes and seconds. Years and months have no fixed length and are
/// refused, as Azure refuses them.
pub fn iso_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('P')?;
    let (days, clock) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((days, clock)) => (days, clock),
        None => (text, ""),
    };
    if days.is_empty() && clock.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    for (part, units) in
        [(days, &[('W', 604_800), ('D', 86_400)][..]), (clock, &[('H', 3600), ('M', 60), ('S', 1)][..])]
    {
        let (mut rest, mut units) = (part, units.iter());
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, unit) = (&rest[..end], rest[end..].chars().next()?);
            // Each unit at most once and the larger first: what was passed over cannot come again.
            let &(_, seconds) = units.by_ref().find(|(letter, _)| *letter == unit)?;
            total = total.checked_add(scaled(number, seconds, unit == 'S')?)?;
            rest = &rest[end + 1..];
        }
    }
    Some(total)
}

fn scaled(number: &str, seconds: u64, may_have_fraction: bool) -> Option<Duration> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole) || !digits(fraction) || (number.contains('.') && !may_have_fraction) {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let whole = whole.parse::<u64>().ok()?.checked_mul(seconds)?;
    Some(Duration::new(whole, nanos.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("PT5M", Some(300.0)),
            ("PT1M30S", Some(90.0)),
            ("P14D", Some(1_209_600.0)),
            ("P1DT1H", Some(90_000.0)),
            ("P1W", Some(604_800.0)),
            ("PT0.5S", Some(0.5)),
            ("PT0S", Some(0.0)),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("5M", None),
            ("P1M", None),
            ("PT1S1M", None),
            ("PT1.5M", None),
            ("PT-1S", None),
            ("PT1", None),
            ("PTé5S", None),
            ("PT99999999999999999999S", None),
        ] {
            assert_eq!(iso_duration(text).map(|span| span.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn defaults_are_those_of_azure() {
        let settings = QueueSettings::from_arm(&json!({ "status": "Active" })).unwrap();
        assert_eq!(settings, QueueSettings::default());
        let text = "P10675199DT2H48M5.4775807S";
        assert_eq!(QueueSettings::from_arm(&json!({ "defaultMessageTimeToLive": text })).unwrap().default_ttl, None);
    }

    #[test]
    fn a_queue_of_commands() {
        let settings = QueueSettings::from_arm(&json!({
            "requiresSession": true, "lockDuration": "PT5M", "maxDeliveryCount": 100,
            "requiresDuplicateDetection": false, "deadLetteringOnMessageExpiration": true,
            "defaultMessageTimeToLive": "P1D",
        }));
        assert_eq!(
            settings.unwrap(),
            QueueSettings {
                requires_session: true,
                lock_duration: Duration::from_secs(300),
                max_delivery_count: 100,
                default_ttl: Some(Duration::from_secs(86_400)),
                dead_letter_on_expiration: true,
                ..QueueSettings::default()
            }
        );
    }

    #[test]
    fn refused_by_name() {
        for (properties, text) in [
            (json!({ "lockDuration": "PT6M" }), "lockDuration is 360s, allowed is PT5S to PT5M"),
            (json!({ "maxDeliveryCount": 0 }), "maxDeliveryCount is 0, allowed is 1 to 2000"),
            (json!({ "requiresSession": "yes" }), "requiresSession has to be true or false, not \"yes\""),
            (
                json!({ "duplicateDetectionHistoryTimeWindow": "PT1S" }),
                "duplicateDetectionHistoryTimeWindow is 1s, allowed is PT20S to P7D",
            ),
        ] {
            assert_eq!(QueueSettings::from_arm(&properties).unwrap_err().to_string(), text);
        }
    }
}

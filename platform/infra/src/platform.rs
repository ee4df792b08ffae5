//! The platform layer's descriptors.

use skein_model::Platform;
use skein_model::arm::Place;

/// The platform: what all services share.
pub fn platform() -> Platform {
    // Event Grid's most patient retry schedule: a service may be away for a day.
    Platform { system: "skein".to_owned(), delivery_attempts: 30, event_minutes: 1440, place: Place::here() }
}

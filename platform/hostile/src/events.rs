//! CloudEvents, read and given to the views engine.

use std::sync::Arc;

use skein_core::{CloudEvent, CloudEventError};

use crate::memory::Memory;
use crate::{bounded, run, views};

/// Bytes that are taken for an event are the same event when they are written and read again; the views engine takes
/// them or records why not.
pub fn cloud_event(data: &[u8]) {
    match CloudEvent::from_json(data) {
        Ok(event) => match event.to_json() {
            Ok(json) => {
                let again = CloudEvent::from_json(&json).expect("what we write we read");
                assert_eq!(again.to_json().expect("it fitted before"), json, "an event changed on its way");
                assert_eq!(
                    (&again.id, &again.subject, again.sequence()),
                    (&event.id, &event.subject, event.sequence())
                );
            }
            Err(CloudEventError::TooLarge { .. }) => {}
            Err(error) => panic!("an event that was read cannot be written: {error}"),
        },
        Err(error) => bounded(&error),
    }
    let store = Arc::new(Memory::default());
    run(views::deliver(&store, data));
}

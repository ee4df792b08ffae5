//! Command envelopes, read and given to the command handler.

use std::sync::Arc;

use skein_core::store::EventStore;
use skein_core::{Envelope, EnvelopeError};

use crate::memory::Memory;
use crate::rows::{deliver, service};
use crate::{bounded, run};

/// Bytes that are taken for a command are the same command when they are written and read again; the handler decides
/// it and keeps its outcome, or records why not.
pub fn command_envelope(data: &[u8]) {
    let envelope = match Envelope::from_json(data) {
        Ok(envelope) => envelope,
        Err(error) => {
            bounded(&error);
            let store = Arc::new(Memory::default());
            assert!(run(deliver(&service(&store), &store, data)).is_err(), "what is no command was decided");
            return;
        }
    };
    match envelope.to_message() {
        Ok(message) => {
            assert!(message.session.len() <= skein_core::MAX_KEY_CHARS, "a session id that the queue refuses");
            let again = Envelope::from_json(&message.body).expect("what we write we read");
            assert_eq!(again.to_message().expect("it fitted before"), message, "a command changed on its way");
            assert_eq!(again.fingerprint(), envelope.fingerprint());
        }
        Err(EnvelopeError::TooLarge { .. }) => {}
        Err(error) => panic!("a command that was read cannot be written: {error}"),
    }
    let store = Arc::new(Memory::default());
    if let Ok(receipt) = run(deliver(&service(&store), &store, data)) {
        let outcome = run(EventStore::new(vec![store.clone()]).outcome(&envelope.aggregate, &envelope.id));
        assert!(outcome.expect("a readable outcome").is_some(), "settled without an outcome: {receipt:?}");
    }
}

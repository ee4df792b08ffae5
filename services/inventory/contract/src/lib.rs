//! What the inventory service publishes.

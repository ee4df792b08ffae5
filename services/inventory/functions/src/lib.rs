//! The inventory service's function apps.

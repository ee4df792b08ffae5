//! The inventory service's descriptor.

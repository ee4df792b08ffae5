//! The inventory service's aggregates and projections.

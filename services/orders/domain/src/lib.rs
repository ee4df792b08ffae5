//! The orders service's aggregates and projections.

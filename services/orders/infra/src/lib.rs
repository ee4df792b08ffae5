//! The orders service's descriptor.

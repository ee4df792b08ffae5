//! The gateway layer's descriptors.

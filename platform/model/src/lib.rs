//! Descriptors and the typed graph of resources. Pure.

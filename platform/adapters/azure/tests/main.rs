//! The Azure adapter.

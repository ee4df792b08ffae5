//! The front by its own interface.

//! The graph as resource lists and packages. Pure.

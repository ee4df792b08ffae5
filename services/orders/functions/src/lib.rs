//! The orders service's function apps.

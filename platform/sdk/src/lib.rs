//! Everything that the author of a service imports.

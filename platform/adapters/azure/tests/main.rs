//! The Azure adapter: against Azurite, and against servers that misbehave.

mod azurite;

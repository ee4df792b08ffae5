//! The policies that ship, executed.

mod hostile;
mod refused;
mod shipped;
mod world;

//! What the orders service publishes.

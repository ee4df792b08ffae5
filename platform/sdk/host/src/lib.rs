//! A custom handler as Azure Functions calls it.

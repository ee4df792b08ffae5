//! GraphQL: mutations to commands, queries to views.

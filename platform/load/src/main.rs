//! Loads a file of orders through GraphQL.

fn main() {}

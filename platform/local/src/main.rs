//! The command line of the local Azure.

fn main() {}

//! Links every descriptor and writes the graph.

fn main() {}

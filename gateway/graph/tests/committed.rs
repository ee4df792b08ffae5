//! The committed schema of all services: `UPDATE_EXPECT=1 cargo test -p skein-graph` writes it.

use std::fs;
use std::path::Path;

use async_graphql_parser::parse_schema;
use expect_test::expect_file;
use skein_graph::{Graph, Schema, compose};

/// The graph of every service's committed schema.
fn graph() -> Graph {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
    let mut read = Vec::new();
    for entry in fs::read_dir(services).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let place = format!("services/{name}/functions/schema.graphql");
        let sdl = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&place)).unwrap();
        read.push((name, place, sdl));
    }
    let schemas: Vec<_> = read.iter().map(|(service, place, sdl)| Schema { service, place, sdl }).collect();
    compose(&schemas)
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|e| e.to_string() + "\n").collect::<String>()))
}

#[test]
fn the_committed_schema_is_that_of_the_services() {
    let graph = graph();
    expect_file!["../schema.graphql"].assert_eq(graph.sdl());
    parse_schema(graph.sdl()).unwrap();
    // Composed once more it stays as it is: nothing was lost on the way.
    let again = Schema { service: "all", place: "schema.graphql", sdl: graph.sdl() };
    assert_eq!(compose(&[again]).unwrap().sdl(), graph.sdl());
}

#[test]
fn every_root_field_goes_to_its_service() {
    let graph = graph();
    for (root, field, expected) in [
        ("Query", "order", Some(("orders", "order"))),
        ("Query", "stock", Some(("inventory", "stock"))),
        ("Query", "ordersCommandStatus", Some(("orders", "commandStatus"))),
        ("Query", "inventoryCommandStatus", Some(("inventory", "commandStatus"))),
        ("Query", "commandStatus", None),
        ("Mutation", "placeOrder", Some(("orders", "placeOrder"))),
        ("Mutation", "receiveStock", Some(("inventory", "receiveStock"))),
        ("Query", "placeOrder", None),
    ] {
        assert_eq!(graph.service_of(root, field), expected, "{root}.{field}");
    }
}

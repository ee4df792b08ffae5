//! What is rendered from a small graph, held against files. `UPDATE_EXPECT=1 cargo test -p skein-render` writes them.

use expect_test::expect_file;
use skein_model::{Gateway, Graph, Platform, Service};
use skein_render::{Endpoints, package, resources};

fn graph() -> Graph {
    let platform = Platform { system: "skein".into(), delivery_attempts: 30, event_minutes: 1440 };
    let gateway = Gateway { services: vec!["desk".into()] };
    let desk = Service::new("desk")
        .publishes("ticket")
        .view("ticket-by-id", "tickets", &["ticket"])
        .reaction("greeter", &["ticket", "guest"])
        .sends_to("hall");
    let mut hall = Service::new("hall").publishes("guest");
    hall.shards = 2;
    Graph::new(platform, gateway, vec![desk, hall]).expect("the graph fits together")
}

#[test]
fn the_list_of_resources() {
    let list = resources(&graph(), &Endpoints::loopback("http://127.0.0.1:4711/"));
    let json = serde_json::to_string_pretty(&list).expect("a list of resources is plain data");
    expect_file!["golden/resources.json"].assert_eq(&json);
}

#[test]
fn the_package_of_each_app() {
    let graph = graph();
    let desk = graph.service("desk").expect("it is there");
    for app in [&desk.command, &desk.query] {
        let mut text = String::new();
        for (path, bytes) in package(app) {
            text.push_str(&format!("--- {path}\n{}", String::from_utf8(bytes).expect("packages are text")));
        }
        expect_file![format!("{}/tests/golden/{}.txt", env!("CARGO_MANIFEST_DIR"), app.binary)].assert_eq(&text);
    }
}

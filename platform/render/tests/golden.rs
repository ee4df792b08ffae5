//! What is rendered from a small graph, held against files. `UPDATE_EXPECT=1 cargo test -p skein-render` writes them.

use expect_test::expect_file;
use skein_model::{Gateway, Graph, Handled, Platform, Published, Service};
use skein_render::{Endpoints, package, resources};

fn graph() -> Graph {
    let platform = Platform { system: "skein".into(), delivery_attempts: 30, event_minutes: 1440 };
    let gateway = Gateway { services: vec!["desk".into()] };
    let mut desk = Service::new("desk").sends_to("hall");
    desk.publishes = vec![published("desk.TicketOpened.v1", "ticket")];
    desk.handles = vec![handled("tickets", &["ticket"]), handled("greet", &["ticket", "guest"])];
    desk.tables = vec!["reactions".into(), "tickets".into()];
    let mut hall = Service::new("hall");
    hall.publishes = vec![published("hall.GuestCame.v1", "guest")];
    hall.shards = 2;
    Graph::new(platform, gateway, vec![desk, hall]).expect("the graph fits together")
}

fn published(contract: &str, category: &str) -> Published {
    Published { category: category.to_owned(), contract: contract.to_owned() }
}

fn handled(consumer: &str, categories: &[&str]) -> Handled {
    Handled { consumer: consumer.to_owned(), categories: categories.iter().map(|name| (*name).to_owned()).collect() }
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

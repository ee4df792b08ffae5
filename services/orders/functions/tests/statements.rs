//! What the apps say of themselves: their schema, and the functions that the descriptor deploys.

use std::collections::BTreeMap;

use expect_test::expect_file;
use skein::graphql::list;
use skein::host::{FunctionList, FunctionTrigger};
use skein_model::{FunctionApp, Trigger};
use skein_testing::functions_host::documents;

use crate::service::{command_settings, ports, query_ports, query_settings};

#[test]
fn the_schema_is_the_one_that_clients_were_told() {
    let api = orders_functions::schema().finish().expect("every root field states who may use it");
    expect_file!["../schema.graphql"].assert_eq(&api.sdl());
}

#[tokio::test]
async fn the_documents_that_the_app_has_are_those_of_the_folder() {
    let api = orders_functions::schema().finish().expect("every root field states who may use it");
    let list = list(&api, &documents("../operations")).await;
    let list = list.unwrap_or_else(|wrong| panic!("{}", wrong.join("\n")));
    expect_file!["../operations.json"].assert_eq(&list);
}

/// The documents that a page sends: what it calls `ask` with, or gives as `query`, is the name of a template literal.
fn sent(page: &str) -> BTreeMap<&str, &str> {
    let calls = page.match_indices("ask(").chain(page.match_indices("query: "));
    let calls = calls.filter(|(place, _)| !page[..*place].ends_with("function "));
    let named = calls.map(|(place, call)| {
        let rest = &page[place + call.len()..];
        let name = &rest[..rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(0)];
        let text = page.split_once(&format!("\nconst {name} = `")).and_then(|(_, text)| text.split_once("`;\n"));
        (name, text.unwrap_or_else(|| panic!("{name:?} is the name of no template literal")).0)
    });
    named.collect()
}

#[test]
fn every_document_that_the_shops_page_sends_is_in_the_list() {
    let listed = documents("../operations");
    let sent = sent(include_str!("../../../../gateway/site/shop/shop.js"));
    assert_eq!(sent.keys().copied().collect::<Vec<_>>(), ["FOLLOW_LIST", "FOLLOW_TOTALS", "LIST", "PLACE"]);
    for (name, document) in sent {
        assert!(listed.iter().any(|(_, known)| known == document), "{name} is no file of services/orders/operations");
    }
}

/// The functions that a descriptor deploys, as the binary would list them.
fn deployed(app: &FunctionApp) -> FunctionList {
    let functions = app.functions.iter().map(|function| {
        let trigger = match &function.trigger {
            Trigger::Http { methods, route, .. } => {
                FunctionTrigger::Http { methods: methods.clone(), route: route.clone() }
            }
            Trigger::ServiceBus { .. } => FunctionTrigger::ServiceBus { binding: "message".to_owned() },
        };
        (function.name.clone(), trigger)
    });
    functions.collect::<BTreeMap<_, _>>()
}

#[test]
fn what_is_published_has_a_schema() {
    for published in orders_infra::service().publishes {
        let schema = format!("../contract/schemas/{}.json", published.contract);
        assert!(
            std::path::Path::new(&schema).is_file(),
            "{schema} is missing: name the contract in the contract's tests"
        );
    }
}

#[test]
fn the_descriptor_deploys_what_the_binaries_serve() {
    let described = orders_infra::service();
    let (ports, query_ports) = (ports(), query_ports());
    let commands = orders_functions::commands(command_settings(), ports).build().expect("the app is built");
    assert_eq!(commands.functions(), deployed(&described.command));
    let queries = orders_functions::queries(query_settings(), query_ports);
    assert_eq!(queries.categories(), described.handled_categories());
    assert_eq!(queries.build().expect("the app is built").functions(), deployed(&described.query));
}

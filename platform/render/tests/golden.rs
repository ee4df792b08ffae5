//! What is rendered from a small graph, held against files. `UPDATE_EXPECT=1 cargo test -p skein-render` writes them.

mod bicep;

use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::{expect, expect_file};
use skein_model::arm::{Parameter, Place, Text};
use skein_model::{App, Gateway, Graph, Handled, Limits, Platform, Published, Service};
use skein_render::{Grant, Layer, RenderError, Role, Thing, check, layers, package, render};

fn graph() -> Graph {
    let platform =
        Platform { system: "skein".into(), delivery_attempts: 30, event_minutes: 1440, place: Place::here() };
    let gateway =
        Gateway::new(vec!["desk".into()], "type Query {\n\tticket: String\n}\n\nschema {\n\tquery: Query\n}\n");
    let mut desk = Service::new("desk").sends_to("hall").personal().subscriptions();
    desk.publishes = vec![published("desk.TicketOpened.v1", "ticket")];
    desk.handles = vec![handled("tickets", &["ticket"]), handled("greet", &["ticket", "guest"])];
    desk.limits = Limits { calls_per_minute: 120, calls_per_day: Some(50_000) };
    desk.tables = vec!["reactions".into(), "subscriptions".into(), "tickets".into()];
    let mut hall = Service::new("hall").shared_bus();
    hall.publishes = vec![published("hall.GuestCame.v1", "guest")];
    hall.handles = vec![handled("seats", &["ticket"])];
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
fn the_package_of_each_app() {
    let graph = graph();
    let desk = graph.service("desk").expect("it is there");
    for app in [App::Command, App::Query] {
        let mut text = String::new();
        for (path, bytes) in package(desk, app) {
            text.push_str(&format!("--- {path}\n{}", String::from_utf8(bytes).expect("packages are text")));
        }
        expect_file![format!("{}/tests/golden/{}.txt", env!("CARGO_MANIFEST_DIR"), desk.app(app).binary)]
            .assert_eq(&text);
    }
}

#[test]
fn the_template_of_each_layer() {
    let files = render(&graph())
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
    for (path, text) in &files {
        expect_file![format!("{}/tests/golden/{path}", env!("CARGO_MANIFEST_DIR"))].assert_eq(text);
    }
    assert_eq!(render(&graph()).as_ref(), Ok(&files), "twice the same bytes");
}

fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("SKEIN_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    // A relative folder is meant from the repository's root, where Cargo is called.
    let file = if shared.is_relative() { root.join(shared) } else { shared }.join(path);
    if file.exists() {
        return Some(file);
    }
    assert!(std::env::var_os("CI").is_none(), "CI needs {}", file.display());
    eprintln!("LEFT OUT: there is no {}; SKEIN_SHARED says where it is", file.display());
    None
}

/// The golden files are what is rendered; so the validator reads them.
#[test]
fn every_template_is_valid() {
    let Some(validator) = shared("azure/validate_template.py") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arm");
    let mut templates: Vec<_> =
        std::fs::read_dir(folder).expect("the golden files").map(|entry| entry.expect("a file").path()).collect();
    templates.sort();
    assert_eq!(templates.len(), 4);
    let output =
        Command::new("python3").arg(validator).arg("--strict").args(&templates).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_roles_are_those_that_azure_defines() {
    let Some(roles) = shared("azure/roles.json") else { return };
    let text = std::fs::read_to_string(roles).expect("it is readable");
    let known: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    for role in Role::ALL {
        assert_eq!(known[role.name()], role.id(), "{}", role.name());
    }
}

/// Everything that anybody may do: a line more is a right more.
#[test]
fn who_may_do_what() {
    let layers = layers(&graph()).expect("the layers fit together");
    for layer in &layers {
        let resources = layer.template.resources();
        let roles = resources.iter().filter(|resource| resource.target.kind.name.ends_with("/roleAssignments"));
        assert_eq!(roles.count(), layer.grants.len(), "{} grants what it tells", layer.name);
    }
    let mut lines: Vec<_> = layers
        .iter()
        .flat_map(|layer| layer.grants.iter())
        .map(|grant| format!("{}: {} on {}", grant.who, grant.role.name(), grant.on))
        .collect();
    lines.sort();
    expect![[r#"
        desk-command: Azure Service Bus Data Receiver on the queue commands of desk
        desk-command: Azure Service Bus Data Sender on the queue commands of desk
        desk-command: Azure Service Bus Data Sender on the queue commands of hall
        desk-command: Azure Service Bus Data Sender on the queue rebuild of desk
        desk-command: Azure Service Bus Data Sender on the queue rebuild of hall
        desk-command: EventGrid Data Sender on the topic
        desk-command: Key Vault Crypto Service Encryption User on the key desk
        desk-command: Key Vault Secrets User on the secret appinsights-connection-string
        desk-command: Monitoring Metrics Publisher on Application Insights
        desk-command: Storage Blob Data Owner on the host's storage of desk-command
        desk-command: Storage Table Data Contributor on the table events of stskeindesk
        desk-command: Storage Table Data Contributor on the table faults of stskeindesk
        desk-command: Storage Table Data Contributor on the table persons of stskeindesk
        desk-query: Azure Service Bus Data Receiver on the queue events of desk
        desk-query: Azure Service Bus Data Receiver on the queue rebuild of desk
        desk-query: Azure Service Bus Data Sender on the queue commands of desk
        desk-query: Azure Service Bus Data Sender on the queue commands of hall
        desk-query: Azure Service Bus Data Sender on the queue events of desk
        desk-query: Azure Service Bus Data Sender on the queue rebuild of desk
        desk-query: Key Vault Crypto Service Encryption User on the key desk
        desk-query: Key Vault Secrets User on the secret appinsights-connection-string
        desk-query: Monitoring Metrics Publisher on Application Insights
        desk-query: SignalR REST API Owner on SignalR
        desk-query: Storage Blob Data Owner on the host's storage of desk-query
        desk-query: Storage Table Data Contributor on the table faults of stskeindesk
        desk-query: Storage Table Data Contributor on the table reactions of stskeindesk
        desk-query: Storage Table Data Contributor on the table subscriptions of stskeindesk
        desk-query: Storage Table Data Contributor on the table tickets of stskeindesk
        desk-query: Storage Table Data Reader on the table persons of stskeindesk
        gateway-router: Key Vault Secrets User on the secret appinsights-connection-string
        gateway-router: Monitoring Metrics Publisher on Application Insights
        gateway-router: Storage Blob Data Owner on the host's storage of gateway-router
        hall-command: Azure Service Bus Data Receiver on the queue commands of hall
        hall-command: Azure Service Bus Data Sender on the queue commands of hall
        hall-command: Azure Service Bus Data Sender on the queue rebuild of desk
        hall-command: EventGrid Data Sender on the topic
        hall-command: Key Vault Secrets User on the secret appinsights-connection-string
        hall-command: Monitoring Metrics Publisher on Application Insights
        hall-command: Storage Blob Data Owner on the host's storage of hall-command
        hall-command: Storage Table Data Contributor on the table events of stskeinhall
        hall-command: Storage Table Data Contributor on the table events of stskeinhall1
        hall-command: Storage Table Data Contributor on the table faults of stskeinhall
        hall-command: Storage Table Data Contributor on the table faults of stskeinhall1
        hall-query: Azure Service Bus Data Receiver on the queue events of hall
        hall-query: Azure Service Bus Data Receiver on the queue rebuild of hall
        hall-query: Azure Service Bus Data Sender on the queue commands of desk
        hall-query: Azure Service Bus Data Sender on the queue commands of hall
        hall-query: Azure Service Bus Data Sender on the queue events of hall
        hall-query: Azure Service Bus Data Sender on the queue rebuild of hall
        hall-query: Key Vault Secrets User on the secret appinsights-connection-string
        hall-query: Monitoring Metrics Publisher on Application Insights
        hall-query: Storage Blob Data Owner on the host's storage of hall-query
        hall-query: Storage Table Data Contributor on the table faults of stskeinhall
        operators: Azure Service Bus Data Receiver on the queue commands of desk
        operators: Azure Service Bus Data Receiver on the queue commands of hall
        operators: Azure Service Bus Data Receiver on the queue events of desk
        operators: Azure Service Bus Data Receiver on the queue events of hall
        operators: Azure Service Bus Data Receiver on the queue rebuild of desk
        operators: Azure Service Bus Data Receiver on the queue rebuild of hall
        operators: Azure Service Bus Data Sender on the queue commands of desk
        operators: Azure Service Bus Data Sender on the queue commands of hall
        operators: Azure Service Bus Data Sender on the queue events of desk
        operators: Azure Service Bus Data Sender on the queue events of hall
        operators: Azure Service Bus Data Sender on the queue rebuild of desk
        operators: Azure Service Bus Data Sender on the queue rebuild of hall
        operators: Storage Blob Data Contributor on the container of dead letters
        operators: Storage Blob Data Contributor on the container of exports
        operators: Storage Table Data Reader on the table events of stskeindesk
        operators: Storage Table Data Reader on the table events of stskeinhall
        operators: Storage Table Data Reader on the table events of stskeinhall1
        operators: Storage Table Data Reader on the table faults of stskeindesk
        operators: Storage Table Data Reader on the table faults of stskeinhall
        operators: Storage Table Data Reader on the table faults of stskeinhall1
        the gateway: Key Vault Secrets User on the secret appinsights-connection-string
        the gateway: Monitoring Metrics Publisher on Application Insights
        the topic: Azure Service Bus Data Sender on the queue events of desk
        the topic: Azure Service Bus Data Sender on the queue events of hall
        the topic: Storage Blob Data Contributor on the container of dead letters
        who deploys: Storage Blob Data Contributor on the account of the pages"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn no_template_holds_a_key_and_nothing_takes_one() {
    for (path, text) in render(&graph()).expect("the layers fit together") {
        let text = text.to_lowercase();
        for word in ["listkeys", "sharedaccesskey", "accountkey=", "password", "instrumentationkey", "endpoint=sb://"] {
            assert!(!text.contains(word), "{path} speaks of {word}");
        }
    }
    let layers = layers(&graph()).expect("the layers fit together");
    let refuses = [
        ("Microsoft.EventGrid/topics", "disableLocalAuth", true),
        ("Microsoft.Insights/components", "DisableLocalAuth", true),
        ("Microsoft.ServiceBus/namespaces", "disableLocalAuth", true),
        ("Microsoft.SignalRService/signalR", "disableLocalAuth", true),
        ("Microsoft.Storage/storageAccounts", "allowSharedKeyAccess", false),
        ("Microsoft.Web/sites/basicPublishingCredentialsPolicies", "allow", false),
        ("Microsoft.KeyVault/vaults", "enableRbacAuthorization", true),
        ("Microsoft.KeyVault/vaults", "enablePurgeProtection", true),
    ];
    for (kind, property, expected) in refuses {
        let resources: Vec<_> = layers.iter().flat_map(|layer| layer.template.resources()).collect();
        let of_kind: Vec<_> = resources.iter().filter(|resource| resource.target.kind.name == kind).collect();
        assert!(!of_kind.is_empty(), "there is no {kind}");
        for resource in of_kind {
            let Some(skein_model::arm::Value::Object(properties)) = resource.body.get("properties") else {
                panic!("{} has no properties", resource.symbol)
            };
            let found = properties.get(property);
            assert_eq!(found, Some(&skein_model::arm::Value::Bool(expected)), "{} {property}", resource.symbol);
        }
    }
}

fn refused(spoil: impl FnOnce(&mut Vec<Layer>)) -> String {
    let mut layers = layers(&graph()).expect("the layers fit together");
    spoil(&mut layers);
    told(&check(&layers).expect_err("it is spoilt"))
}

/// The errors, with the lines of this file left out.
fn told(errors: &[RenderError]) -> String {
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let mut parts = text.split("golden.rs:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| told + "golden.rs" + part.trim_start_matches(|letter: char| letter.is_ascii_digit()))
}

#[test]
fn every_role_is_needed_and_every_need_is_met() {
    let layers = layers(&graph()).expect("the layers fit together");
    for (index, layer) in layers.iter().enumerate() {
        for (number, grant) in layer.grants.iter().enumerate() {
            let told = refused(|layers| drop(layers[index].grants.remove(number)));
            let expected = format!("of {} needs {} on {}, which nobody grants", grant.who, grant.role.name(), grant.on);
            assert!(told.contains(&expected), "{told:?} does not say {expected:?}");
        }
    }
    let events = Thing::Table("stskeindesk".into(), "events".into());
    let grant = Grant { who: "desk-query".into(), role: Role::TableContributor, on: events };
    let told = refused(|layers| layers[2].grants.push(grant));
    expect!["desk (platform/render/tests/golden.rs): desk-query gets Storage Table Data Contributor on the table events of stskeindesk, which nothing needs"].assert_eq(&told);
}

#[test]
fn what_no_layer_makes_or_tells_is_refused() {
    let refusal = refused(|layers| {
        let parameter = Parameter::new::<Text>("topicKey", "").from_layer("platform", "topicKey");
        layers[2].template.parameter(parameter);
    });
    expect![[r#"desk (platform/render/tests/golden.rs): the parameter "topicKey" takes platform.topicKey, which no layer outputs (platform/render/tests/golden.rs)"#]].assert_eq(&refusal);
    let refusal = refused(|layers| {
        layers[2].template.elsewhere::<skein_model::azure::msi::Identity>("nobody", "rg-hall", "id-nobody");
    });
    expect!["desk (platform/render/tests/golden.rs): nobody speaks of Microsoft.ManagedIdentity/userAssignedIdentities id-nobody of another group, which no layer makes"].assert_eq(&refusal);
    // A service whose account another one has, too.
    let mut graph = graph();
    let mut double = Service::new("desk1");
    graph.services[0].shards = 2;
    double.shards = 1;
    graph.services.push(double);
    let errors = layers(&graph).expect_err("two accounts have one name");
    expect!["desk (platform/render/tests/golden.rs): Microsoft.Storage/storageAccounts {…} is made by desk1 (platform/render/tests/golden.rs), too"].assert_eq(&told(&errors[..1]));
    // A trigger of a queue that nobody makes.
    let trigger = skein_model::Trigger::ServiceBus {
        queue: "lost".into(),
        connection: skein_model::Connection::Events,
        sessions: false,
    };
    graph.services[1].query.functions.push(skein_model::Function { name: "lost".into(), trigger });
    let errors = layers(&graph).expect_err("a queue is missing");
    let lost = errors.iter().position(|error| error.to_string().contains("lost")).expect("it is told");
    expect!["hall (platform/render/tests/golden.rs): the setting EVENTS__fullyQualifiedNamespace of hall-query needs Azure Service Bus Data Receiver on the queue lost of hall, which nobody grants"].assert_eq(&told(&errors[lost..=lost]));
    graph.services[1].query.functions.pop();
    // A name that is too long for a storage account.
    graph.services.pop();
    graph.services[0].shards = 1;
    graph.platform.system = "skeinone".into();
    graph.services[1].name = "receptionists".into();
    let errors = layers(&graph).expect_err("a name is too long");
    let long = errors.iter().position(|error| error.to_string().contains("store0")).expect("it is told");
    expect!["receptionists (platform/render/tests/golden.rs): service.store0: the name of Microsoft.Storage/storageAccounts is between 28 and 28 characters long, it must be between 3 and 24 (platform/render/src/layers/mod.rs:344)"].assert_eq(&told(&errors[long..=long]));
}

#[test]
fn a_changed_property_is_a_changed_line() {
    let before = render(&graph()).expect("the layers fit together");
    let mut changed = graph();
    changed.platform.event_minutes = 60;
    let after = render(&changed).expect("the layers fit together");
    let mut lines = Vec::new();
    for ((path, before), (_, after)) in before.iter().zip(&after) {
        assert_eq!(before.lines().count(), after.lines().count(), "{path}");
        let both = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
        lines.extend(both.map(|(before, after)| format!("{path}: {} → {}", before.trim(), after.trim())));
    }
    expect![[r#"
        arm/desk.json: "eventTimeToLiveInMinutes": 1440 → "eventTimeToLiveInMinutes": 60
        arm/hall.json: "eventTimeToLiveInMinutes": 1440 → "eventTimeToLiveInMinutes": 60
        bicep/desk/events.bicep: eventTimeToLiveInMinutes: 1440 → eventTimeToLiveInMinutes: 60
        bicep/hall/platform.bicep: eventTimeToLiveInMinutes: 1440 → eventTimeToLiveInMinutes: 60"#]]
    .assert_eq(&lines.join("\n"));
}

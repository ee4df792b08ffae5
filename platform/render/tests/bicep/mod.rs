//! Rendered Bicep, read back and held against the ARM JSON of the same layer, resource by resource.
//!
//! The readers share no code with the printers: Bicep is read with its tree-sitter grammar, ARM's expressions with the
//! evaluator's parser. Both give [`meaning::Module`], in which a resource is known by its type, its names, its scope and
//! its group, whatever the languages call it; [`compare::differences`] tells what is not the same.

mod arm;
mod compare;
mod meaning;
mod tree;

use std::collections::BTreeMap;

use skein_model::Bus;
use skein_model::arm::{
    Any, Expr, List, Object, Of, Parameter, Scope, Template, Text, Value, coalesce, either, environment, equals, join,
    not, replace,
};
use skein_render::render;

use compare::differences;
use meaning::Module;

/// The rendered files by path.
fn files() -> BTreeMap<String, String> {
    render(&super::graph()).expect("the layers fit together").into_iter().collect()
}

/// The layer of a rendered file.
fn layer(path: &str) -> &str {
    path.split(['/', '.']).nth(1).expect("it is in a folder")
}

/// What the ARM JSON of each layer means.
fn meant(files: &BTreeMap<String, String>) -> BTreeMap<&str, Module> {
    let templates = files.iter().filter(|(path, _)| path.starts_with("arm/"));
    let read = |text: &str| arm::read(&serde_json::from_str(text).expect("it is JSON"));
    templates.map(|(path, text)| (layer(path), read(text).unwrap_or_else(|error| panic!("{path}: {error}")))).collect()
}

/// What the Bicep of a layer means besides or instead, with one file of another text.
fn held(
    expected: &Module,
    files: &BTreeMap<String, String>,
    layer: &str,
    changed: Option<(&str, &str)>,
) -> Vec<String> {
    let file = |path: &str| match changed {
        Some((other, text)) if other == path => Some(text),
        _ => files.get(path).map(String::as_str),
    };
    match tree::read(&format!("bicep/{layer}.bicep"), &file) {
        Ok(module) => differences(expected, &module),
        Err(error) => vec![error],
    }
}

#[test]
fn both_languages_mean_the_same() {
    let files = files();
    let meant = meant(&files);
    assert_eq!(meant.keys().copied().collect::<Vec<_>>(), ["desk", "gateway", "hall", "platform"]);
    for (layer, expected) in &meant {
        let found = held(expected, &files, layer, None);
        assert!(found.is_empty(), "{layer}:\n{}", found.join("\n"));
    }
    // Every file was read: none stands beside the modules that lead to it.
    let read = |path: &String| {
        let folder = path.strip_prefix("bicep/").and_then(|path| path.strip_suffix(".bicep")).expect("a module");
        let (above, symbol) = folder.rsplit_once('/').unwrap_or(("", folder));
        above.is_empty() || files[&format!("bicep/{above}.bicep")].contains(&format!("module {symbol} '"))
    };
    assert!(files.keys().filter(|path| path.starts_with("bicep/")).all(read));
}

/// What a descriptor may say of itself makes other templates.
#[test]
fn whatever_a_descriptor_says_both_languages_mean_it() {
    for variant in 0..16_u8 {
        let says = |bit: u8| variant >> bit & 1 == 1;
        let mut graph = super::graph();
        let desk = &mut graph.services[0];
        desk.personal = says(0);
        desk.bus = if says(1) { Bus::Shared } else { Bus::Own };
        desk.shards = if says(2) { 3 } else { 1 };
        if says(3) {
            desk.handles.clear();
        }
        graph.check().expect("the graph fits together");
        let files: BTreeMap<_, _> = render(&graph).expect("the layers fit together").into_iter().collect();
        for (layer, expected) in &meant(&files) {
            let found = held(expected, &files, layer, None);
            assert!(found.is_empty(), "{variant:04b} {layer}:\n{}", found.join("\n"));
        }
    }
}

/// Every kind of difference, by hand: what is changed in which file, and what is told.
#[test]
fn planted_differences_are_told() {
    let files = files();
    let meant = meant(&files);
    let check = |path: &str, from: &str, to: &str, expected: &str| {
        let text = &files[path];
        assert!(text.contains(from), "{path} does not hold {from:?}");
        let text = text.replacen(from, to, 1);
        let found = held(&meant[layer(path)], &files, layer(path), Some((path, &text)));
        let told = found.iter().any(|line| line.contains(expected));
        assert!(told, "{path} with {to:?} for {from:?}: {expected:?} is not in\n{}", found.join("\n"));
    };
    let (desk, service) = ("bicep/desk.bicep", "bicep/desk/service.bicep");
    let (platform, gateway) = ("bicep/desk/platform.bicep", "bicep/desk/gateway.bicep");
    let events = "bicep/desk/events.bicep";
    // A resource: its type, version, name, parent, what it is put on, whether it is there.
    let bus = r#""sb-skein-desk-"<suffix>"/"#;
    check(service, "s/queues@", "s/topics@", &format!("the resource Microsoft.ServiceBus/namespaces/queues {bus}"));
    check(service, "s/queues@2024-01-01", "s/queues@2021-11-01", r#"its version is Some("2021-11-01")"#);
    check(service, "name: 'commands'", "name: 'orders'", &format!("{bus}commands\" is missing"));
    check(service, "name: 'commands'", "name: 'orders'", &format!("{bus}orders\" is too much"));
    check(gateway, "parent: api", "parent: gateway", "is not below Microsoft.ApiManagement/service");
    check(platform, "scope: personalKey", "scope: vault", "on [Microsoft.KeyVault/vaults <vaultName>] is too much");
    check(events, "\nresource subscription '", "\n// resource subscription '", "is no Bicep");
    // Its values: another, one less, one more, another type, a list's order, a list's length.
    check(service, "requiresSession: true", "requiresSession: false", "properties.requiresSession is false, not true");
    check(service, "    requiresSession: true\n", "", "the value requiresSession is missing");
    check(service, "requiresSession: true", "requiresSession: true\n    a: 1", "the value a is too much");
    check(service, "maxDeliveryCount: 100", "maxDeliveryCount: '100'", r#"maxDeliveryCount is "100", not 100"#);
    check(events, "'guest:'", "'guests:'", r#"values[0] is "guests:", not "guest:""#);
    check(events, "            'guest:'\n", "", r#"values is ["ticket:"], not ["guest:", "ticket:"]"#);
    // Conditions: another, none.
    check(service, "if (operatorsId != '')", "if (operatorsId == '')", "condition is equals(");
    check(service, "= if (operatorsId != '') {", "= {", "has no condition");
    check(
        platform,
        "'Microsoft.KeyVault/vaults/keys@2024-11-01' = {",
        "'Microsoft.KeyVault/vaults/keys@2024-11-01' = if (true) {",
        "has a condition",
    );
    // Expressions: another resource, property, function, input, text around a value, sense.
    check(platform, "guid(topic.id,", "guid(vault.id,", "guid(id(Microsoft.KeyVault/vaults <vaultName>)");
    check(
        desk,
        "identityDeskCommand.properties.principalId",
        "identityDeskQuery.properties.principalId",
        "identityDeskCommandPrincipalId is reference(",
    );
    check(
        desk,
        "identityDeskCommand.properties.principalId",
        "identityDeskCommand.properties.clientId",
        "clientId, not reference(",
    );
    check(desk, "take(uniqueString(", "take(guid(", "the variable suffix is take(guid(");
    check(desk, "environment), 5)", "environment), 6)", "the variable suffix is take(");
    check(gateway, "'${commandUrl}/api'", "'${queryUrl}/api'", r#"properties.url is <queryUrl>"/api""#);
    check(gateway, "'${commandUrl}/api'", "'${commandUrl}/apis'", r#"properties.url is <commandUrl>"/apis""#);
    check(gateway, "gatewayTier == 'Consumption'", "gatewayTier != 'Consumption'", "properties.value is if(not(");
    // What comes before what, said or implied.
    check(gateway, "    backendDeskCommand\n", "", "does not wait for Microsoft.ApiManagement/service/backends");
    let apart = "scope: resourceGroup('rg-skein-${environment}-desk')";
    check(desk, "scope: group", apart, "does not wait for Microsoft.Resources/resourceGroups");
    check(
        desk,
        ": service.outputs.eventsQueueId",
        ": topicId",
        r#"does not wait for Microsoft.Resources/deployments "desk""#,
    );
    check(
        desk,
        "  deadLetterAccountId: deadLetterAccountId",
        "  deadLetterAccountId: gateway.outputs.x",
        "waits for Microsoft",
    );
    // Parameters, with all that is said of them, variables, outputs, scopes.
    check(desk, "param appAudience string", "param appAudience int", "the parameter appAudience is");
    check(desk, "= 'https://{0}.azurewebsites.net'", "", "the parameter siteUrl is");
    check(desk, "@minLength(2)", "@minLength(3)", "the parameter environment is");
    check(desk, "pattern: '^[a-z0-9]*$'", "pattern: '^[a-z]*$'", "the parameter environment is");
    check(desk, "  'Standard_GZRS'\n", "", "the parameter storageRedundancy is");
    check(desk, "'platform.topicId'", "'platform.topicName'", "the parameter topicId is");
    check(desk, "@description('The topic\\'s id.')", "@secure()", "the parameter topicId is");
    check(desk, "param siteUrl", "param more string = ''\n\nparam siteUrl", "the parameter more is too much");
    check(desk, "output querySite string = service.outputs.querySite", "", "the output querySite is missing");
    check(desk, "= service.outputs.commandSite", "= service.outputs.querySite", "the output commandSite is output(");
    check(desk, "output querySite string", "output querySite int", "the output querySite is of type int");
    check(desk, "targetScope = 'subscription'\n", "", "the scope is another");
    // Deployments: what they get, where they are put, what they deploy, and resources of other groups.
    check(desk, "    topicId: topicId\n", "", "the value topicId is missing");
    check(
        desk,
        "scope: resourceGroup(gatewayGroup)",
        "scope: resourceGroup(platformGroup)",
        "in <platformGroup> is too much",
    );
    check(desk, "'desk/gateway.bicep'", "'desk/platform.bicep'", "the parameter commandUrl is missing");
    let (own, other) = ("scope: resourceGroup(platformGroup)\n  name: 'id-desk-command'", "name: 'id-desk-command'");
    check(desk, own, other, "identityDeskCommandId is id(");
    // What is no Bicep, or what its compiler refuses.
    check("bicep/gateway.bicep", "az.environment()", "environment()", "environment is declared here, and called");
    check(desk, "take(", "createObject(", "Bicep has no function createObject");
    check(desk, "param topicId string", "param topicName string", "topicName is declared twice");
    check(desk, "param topicId string", "param topicId string =", "is no Bicep");
    check(desk, "var suffix = take(", "var suffix = take(suffix, ", "suffix is made of itself");
}

/// A change of any leaf of the tree, and any part that is taken away, is told.
#[test]
fn no_part_of_the_text_is_overlooked() {
    let files = files();
    let meant = meant(&files);
    let mut changes = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with("bicep/")) {
        changes.extend(tree::changes(text).into_iter().map(|change| (path, change)));
    }
    let seed =
        std::env::var("SKEIN_BICEP_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("SKEIN_BICEP_SEED={seed}, {} changes", changes.len());
    fastrand::Rng::with_seed(seed).shuffle(&mut changes);
    let most = std::env::var("SKEIN_BICEP_CHANGES").map_or(60, |most| most.parse().expect("a number"));
    let mut overlooked = Vec::new();
    for (path, (range, by)) in changes.into_iter().take(most) {
        let mut text = files[path].clone();
        let (line, from) = (text[..range.start].lines().count(), text[range.clone()].to_owned());
        text.replace_range(range, &by);
        if held(&meant[layer(path)], &files, layer(path), Some((path, &text))).is_empty() {
            overlooked.push(format!("{path}:{line}: {from:?} became {by:?}"));
        }
    }
    assert!(overlooked.is_empty(), "{}", overlooked.join("\n"));
}

/// A text or, at some depth, an expression that gives one.
fn some_text(random: &mut fastrand::Rng, depth: usize) -> Of<Text> {
    // The grammar takes `#` and `//` after an interpolation for comments; Bicep's own does not.
    let letters = ['[', ']', '\'', '{', '}', '$', '"', '\\', 'a', ' ', '\n', '\r', '\t', '\u{7f}', 'é', '😀'];
    match random.usize(..if depth == 0 { 2 } else { 8 }) {
        0 => (0..random.usize(..9)).map(|_| letters[random.usize(..letters.len())]).collect::<String>().into(),
        1 => Of::trust(Expr::Parameter("environment".to_owned())),
        2 | 3 => join((0..random.usize(2..5)).map(|_| Expr::from(some_text(random, depth - 1))).collect::<Vec<_>>()),
        4 => replace(some_text(random, depth - 1), "a", some_text(random, depth - 1)),
        5 => coalesce(some_text(random, depth - 1), some_text(random, depth - 1)),
        6 => environment().authentication().login_endpoint(),
        _ => {
            let condition = some_condition(random, depth - 1);
            either(condition, some_text(random, depth - 1), some_text(random, depth - 1))
        }
    }
}

fn some_condition(random: &mut fastrand::Rng, depth: usize) -> Of<bool> {
    match random.usize(..if depth == 0 { 1 } else { 3 }) {
        0 => equals(some_text(random, depth), some_text(random, depth)),
        1 => equals(some_condition(random, depth - 1), Of::<bool>::from(true)),
        _ => not(some_condition(random, depth - 1)),
    }
}

#[test]
fn whatever_an_expression_is_both_languages_mean_it() {
    let seed =
        std::env::var("SKEIN_BICEP_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("SKEIN_BICEP_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..40 {
        let mut template = Template::new(Scope::Group);
        template.parameter(Parameter::new::<Text>("environment", &format!("{:?}", random.u64(..))));
        for number in 0..30 {
            let depth = random.usize(..4);
            let text = some_text(&mut random, depth);
            let object =
                Object::new().with("for", some_text(&mut random, 0)).with("a-b", some_condition(&mut random, 1));
            // In a list the grammar takes a call for two items.
            let line = join([Expr::from(&text), "!".into()]);
            let list: Of<List<Any>> =
                vec![Of::<Any>::from(Value::from(line)), object.with(text.clone(), Value::Int(1)).into()].into();
            template.output(&format!("text{number}"), text);
            template.output(&format!("list{number}"), list);
        }
        let json = skein_render::arm(&template).expect("it is whole");
        let expected = arm::read(&serde_json::from_str(&json).expect("it is JSON")).expect("it is understood");
        let files: BTreeMap<_, _> = skein_render::bicep("all", &template).expect("it is whole").into_iter().collect();
        let found = tree::read("all.bicep", &|path| files.get(path).map(String::as_str));
        let found = found.unwrap_or_else(|error| panic!("{error} in\n{}", files["all.bicep"]));
        let lines = differences(&expected, &found);
        assert!(lines.is_empty(), "{}\nin {json}\nand {}", lines.join("\n"), files["all.bicep"]);
    }
}

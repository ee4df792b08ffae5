//! The committed environments against the templates: each has a value for every parameter that needs one.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use skein_render::{ENVIRONMENTS, render};
use toml_edit::{Document, Item};

fn environment(name: &str) -> BTreeMap<String, BTreeMap<String, Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/environments").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let document = Document::parse(text).unwrap();
    let value = |item: &Item| match item {
        item if item.as_str().is_some() => json!(item.as_str()),
        item if item.as_integer().is_some() => json!(item.as_integer()),
        item => json!(item.as_bool().expect("parameters are texts, numbers or truths")),
    };
    let values = |item: Option<&Item>| -> BTreeMap<String, Value> {
        let entries = item.and_then(Item::as_table).into_iter().flat_map(|table| table.iter());
        entries.map(|(name, item)| (name.to_owned(), value(item))).collect()
    };
    let mut tables = BTreeMap::from([(String::new(), values(document.get("parameters")))]);
    for (layer, item) in document.get("layers").and_then(Item::as_table).into_iter().flat_map(|table| table.iter()) {
        tables.insert(layer.to_owned(), values(Some(item)));
    }
    // It has a place of its own, and is the last resort of the parameter of that name.
    let location = json!(document.get("location").and_then(Item::as_str));
    tables.entry(String::new()).or_default().entry("location".into()).or_insert(location);
    tables
}

/// What is wrong with the value of a parameter.
fn flaw(declared: &Value, given: Option<&Value>) -> Option<String> {
    let Some(given) = given else {
        return declared["defaultValue"].is_null().then(|| "it has no value".to_owned());
    };
    let fits = match declared["type"].as_str() {
        Some("string" | "securestring") => given.is_string(),
        Some("int") => given.is_i64(),
        Some("bool") => given.is_boolean(),
        _ => false,
    };
    if !fits {
        return Some(format!("{given} is no {}", declared["type"]));
    }
    if declared["allowedValues"].as_array().is_some_and(|allowed| !allowed.contains(given)) {
        return Some(format!("{given} is not one of {}", declared["allowedValues"]));
    }
    let length = given.as_str().map_or(0, |text| text.chars().count() as u64);
    let least = declared["minLength"].as_u64().unwrap_or(0);
    let most = declared["maxLength"].as_u64().unwrap_or(u64::MAX);
    (given.is_string() && !(least..=most).contains(&length)).then(|| format!("{given} has {length} characters"))
}

#[test]
fn every_parameter_of_every_layer_has_a_value_in_every_environment() {
    let graph = crate::graph().unwrap();
    let files = render(&graph).unwrap();
    let mut checked = 0;
    for name in ENVIRONMENTS {
        let said = environment(name);
        assert_eq!(said[""]["environment"], json!(name), "{name}.toml is of another environment");
        for (path, text) in &files {
            let Some(layer) = path.strip_prefix("arm/").and_then(|path| path.strip_suffix(".json")) else { continue };
            let template: Value = serde_json::from_str(text).unwrap();
            for (parameter, declared) in template["parameters"].as_object().unwrap() {
                if declared["metadata"]["from"].is_string() {
                    continue;
                }
                let given = said.get(layer).and_then(|own| own.get(parameter)).or_else(|| said[""].get(parameter));
                assert_eq!(flaw(declared, given), None, "{name}.toml: {layer}: {parameter}");
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "only {checked} parameters were looked at");
}

#[test]
fn a_value_that_does_not_fit_is_seen() {
    let text = json!({"type": "string", "allowedValues": ["a", "b"], "maxLength": 1});
    assert_eq!(flaw(&text, Some(&json!("a"))), None);
    assert!(flaw(&text, Some(&json!("c"))).unwrap().contains("is not one of"));
    assert!(flaw(&text, Some(&json!(1))).unwrap().contains("is no"));
    assert_eq!(flaw(&text, None).unwrap(), "it has no value");
    assert_eq!(flaw(&json!({"type": "int", "defaultValue": 1}), None), None);
    assert!(flaw(&json!({"type": "string", "minLength": 2}), Some(&json!("a"))).unwrap().contains("1 characters"));
}

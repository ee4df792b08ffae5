//! The JSON Schemas of contracts, committed beside them, and the changes that would break a reader.
//!
//! A contract's readers are deployed on their own, before it or after it, and what was published is published again. So
//! within one version both must hold: yesterday's reader understands today's events, and today's reader yesterday's. A
//! property may be added where nobody has to know it; everything else is a new version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use skein_core::Contract;

use crate::golden::{finish, updating};

/// A contract's name, version and JSON Schema as its type gives it today.
#[derive(Debug, Clone)]
pub struct Schema {
    kind: &'static str,
    version: u32,
    schema: Value,
}

impl Schema {
    /// The schema of a contract.
    pub fn of<C: Contract>(schema: Value) -> Self {
        Schema { kind: C::TYPE, version: C::VERSION, schema }
    }
}

/// Holds the contracts against the schemas in the folder, `{service.Name}.v{version}.json`. With `UPDATE_EXPECT=1` it
/// writes what is new or grew; what would break a reader it never writes.
///
/// # Panics
/// When they differ; the message names contract and field, and what to do.
#[track_caller]
pub fn check(folder: impl AsRef<Path>, schemas: impl IntoIterator<Item = Schema>) {
    finish(compare(folder.as_ref(), schemas, updating()));
}

fn compare(folder: &Path, schemas: impl IntoIterator<Item = Schema>, update: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expected = BTreeSet::new();
    for Schema { kind, version, mut schema } in schemas {
        schema.sort_all_objects();
        let text = format!("{schema:#}\n");
        expected.extend((1..=version).map(|version| format!("{kind}.v{version}.json")));
        let path = folder.join(format!("{kind}.v{version}.json"));
        let committed = fs::read_to_string(&path).ok();
        if committed.as_deref() == Some(&text) {
            continue;
        }
        let breaking = match committed.as_deref().map(serde_json::from_str) {
            Some(Ok(committed)) => breaking_changes(&committed, &schema),
            Some(Err(error)) => vec![format!("the committed schema is no JSON: {error}")],
            None => Vec::new(),
        };
        if !breaking.is_empty() {
            problems.extend(breaking.into_iter().map(|change| {
                format!(
                    "{kind} version {version}: {change}. Take it back, or raise VERSION to {}, keep today's type as \
                     the former one and name it with `formerly!`.",
                    version + 1
                )
            }));
        } else if update {
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, text))
                .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
        } else {
            let what = if committed.is_some() { "grew; no reader breaks" } else { "has no committed schema" };
            problems.push(format!("{kind} version {version} {what}: UPDATE_EXPECT=1 writes {}", path.display()));
        }
    }
    let found: BTreeSet<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| file.file_name().into_string().ok())
        .collect();
    for missing in expected.difference(&found).filter(|_| !update) {
        if !problems.iter().any(|problem| problem.contains(missing.as_str())) {
            problems.push(format!("{missing} is missing: bring it back from the history of the repository"));
        }
    }
    for stray in found.difference(&expected) {
        problems.push(format!("{stray}: the contract is gone, but topics and stores hold its events"));
    }
    problems
}

/// What a reader would have to know of one place in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Types, formats and patterns, in a text that can be compared.
    form: String,
    /// The values, where they are listed.
    values: Option<BTreeSet<String>>,
    required: bool,
}

/// The changes that a reader of either side would not survive.
fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (places(old), places(new));
    let mut changes = Vec::new();
    for (path, before) in &old {
        let Some(after) = new.get(path) else {
            if !parent_is_gone(path, &new, &old) {
                changes.push(format!("the field `{path}` was removed or renamed"));
            }
            continue;
        };
        if before.form != after.form {
            changes.push(format!("the field `{path}` changed its type from {} to {}", before.form, after.form));
        }
        if before.values != after.values {
            let list = |values: &Option<BTreeSet<String>>| {
                values.as_ref().map_or("any".to_owned(), |values| values.iter().cloned().collect::<Vec<_>>().join(", "))
            };
            changes.push(format!(
                "the field `{path}` changed its values from {} to {}",
                list(&before.values),
                list(&after.values)
            ));
        }
        match (before.required, after.required) {
            (false, true) => changes.push(format!("the field `{path}` is newly required, older events lack it")),
            (true, false) => changes.push(format!("the field `{path}` may be missing, older readers need it")),
            _ => {}
        }
    }
    for (path, after) in &new {
        // Below a new optional field everything may be required.
        if !old.contains_key(path) && after.required && !parent_is_gone(path, &old, &new) {
            changes.push(format!("the field `{path}` is newly required, older events lack it"));
        }
    }
    changes
}

/// Whether a field's object is missing itself: then that is said, and not each of its fields.
fn parent_is_gone(path: &str, there: &BTreeMap<String, Place>, here: &BTreeMap<String, Place>) -> bool {
    let mut parent = path;
    while let Some((shorter, _)) = parent.rsplit_once('.') {
        parent = shorter;
        let stem = parent.trim_end_matches("[]");
        if here.contains_key(stem) && !there.contains_key(stem) {
            return true;
        }
    }
    false
}

fn places(schema: &Value) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    walk(schema, schema, "", true, 0, &mut places);
    places
}

/// Collects the places of a schema as `schemars` writes them.
fn walk(root: &Value, schema: &Value, path: &str, required: bool, depth: usize, places: &mut BTreeMap<String, Place>) {
    // Contracts are plain data; whatever nests deeper refers to itself.
    if depth > 16 {
        return;
    }
    let (schema, nullable) = resolve(root, schema);
    let mut form = Vec::new();
    let mut values = None;
    match schema.get("type") {
        Some(Value::String(kind)) => form.push(kind.clone()),
        Some(Value::Array(kinds)) => {
            form.extend(kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").map(str::to_owned));
        }
        _ => {}
    }
    form.extend(["format", "pattern"].iter().filter_map(|key| Some(format!("{key} {}", schema.get(key)?))));
    let alternatives = ["oneOf", "anyOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    let listed: BTreeSet<String> = schema
        .get("enum")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .chain(alternatives.filter_map(|one| one.get("const")))
        .map(Value::to_string)
        .collect();
    if !listed.is_empty() {
        values = Some(listed);
        form.push("one of a list".to_owned());
    }
    let nullable = nullable || schema.get("type").and_then(Value::as_array).is_some_and(|k| k.contains(&"null".into()));
    if nullable && required {
        form.push("or null".to_owned());
    }
    if !path.is_empty() {
        places.insert(path.to_owned(), Place { form: form.join(", "), values, required });
    }
    let needed: BTreeSet<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        walk(root, property, &path, needed.contains(name.as_str()), depth + 1, places);
    }
    if let Some(items) = schema.get("items") {
        walk(root, items, &format!("{path}[]"), true, depth + 1, places);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        walk(root, values, &format!("{path}{{}}"), true, depth + 1, places);
    }
}

/// The schema behind references and behind an `anyOf` with null.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> (&'a Value, bool) {
    let (mut schema, mut nullable) = (schema, false);
    for _ in 0..16 {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            match root.pointer(reference.trim_start_matches('#')) {
                Some(target) => schema = target,
                None => break,
            }
        } else if let Some(options) = schema.get("anyOf").and_then(Value::as_array)
            && options.iter().any(|option| option.get("type") == Some(&"null".into()))
            && let Some(other) = options.iter().find(|option| option.get("type") != Some(&"null".into()))
        {
            (schema, nullable) = (other, true);
        } else {
            break;
        }
    }
    (schema, nullable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "orderId": {"type": "string"},
                "customerId": {"type": ["string", "null"]},
                "status": {"$ref": "#/$defs/Status"},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
                "contact": {"anyOf": [{"$ref": "#/$defs/Contact"}, {"type": "null"}]},
            },
            "required": ["orderId", "status", "lines"],
            "$defs": {
                "Status": {"oneOf": [{"type": "string", "const": "PLACED"}, {"type": "string", "const": "CANCELLED"}]},
                "Line": {
                    "type": "object",
                    "properties": {"sku": {"type": "string"}, "quantity": {"type": "integer", "format": "uint32"}},
                    "required": ["sku", "quantity"],
                },
                "Contact": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
            },
        })
    }

    /// Changes the schema at the pointer, and tells what breaks.
    fn changed(change: impl FnOnce(&mut Value)) -> String {
        let mut new = schema();
        change(&mut new);
        breaking_changes(&schema(), &new).join("; ")
    }

    fn object<'a>(schema: &'a mut Value, pointer: &str) -> &'a mut serde_json::Map<String, Value> {
        schema.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap()
    }

    #[test]
    fn what_breaks_a_reader_is_named() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| assert_eq!(changed(change), expected);
        check(&|_| {}, "");
        let added = |new: &mut Value| {
            object(new, "/properties").insert("note".into(), json!({"type": ["string", "null"]}));
        };
        check(&added, "");
        // A new optional object may require fields of its own.
        let nested = |new: &mut Value| {
            object(new, "/properties")
                .insert("address".into(), json!({"anyOf": [{"$ref": "#/$defs/Contact"}, {"type": "null"}]}));
        };
        check(&nested, "");
        check(
            &|new| {
                object(new, "/properties").insert("note".into(), json!({"type": "string"}));
                new["required"].as_array_mut().unwrap().push("note".into());
            },
            "the field `note` is newly required, older events lack it",
        );
        check(
            &|new| {
                object(new, "/properties").remove("contact");
            },
            "the field `contact` was removed or renamed",
        );
        check(
            &|new| {
                let sku = object(new, "/$defs/Line/properties").remove("sku").unwrap();
                object(new, "/$defs/Line/properties").insert("code".into(), sku);
                new["$defs"]["Line"]["required"] = json!(["code", "quantity"]);
            },
            "the field `lines[].sku` was removed or renamed; the field `lines[].code` is newly required, older events lack it",
        );
        check(
            &|new| new["$defs"]["Line"]["properties"]["quantity"] = json!({"type": "string"}),
            "the field `lines[].quantity` changed its type from integer, format \"uint32\" to string",
        );
        check(
            &|new| new["required"] = json!(["orderId", "status", "lines", "customerId"]),
            "the field `customerId` changed its type from string to string, or null; the field `customerId` is newly required, \
             older events lack it",
        );
        check(
            &|new| new["required"] = json!(["orderId", "lines"]),
            "the field `status` may be missing, older readers need it",
        );
        check(
            &|new| {
                new["$defs"]["Status"]["oneOf"].as_array_mut().unwrap().push(json!({"type": "string", "const": "LOST"}))
            },
            r#"the field `status` changed its values from "CANCELLED", "PLACED" to "CANCELLED", "LOST", "PLACED""#,
        );
    }

    #[test]
    fn a_breaking_change_is_never_written() {
        let folder = std::env::temp_dir().join(format!("skein-schemas-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let of = |schema: Value, version| [Schema { kind: "desk.Opened", version, schema }];
        let first = json!({"type": "object", "properties": {"by": {"type": "string"}}, "required": ["by"]});
        let grown = json!({"type": "object", "properties": {"by": {"type": "string"}, "at": {"type": "string"}}, "required": ["by"]});
        let broken = json!({"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]});
        let check = |schema: &Value, version, update, expected: &[&str]| {
            let found = compare(&folder, of(schema.clone(), version), update);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{found:?} does not say {expected:?}");
            }
        };
        check(&first, 1, false, &["desk.Opened version 1 has no committed schema"]);
        check(&first, 1, true, &[]);
        check(&grown, 1, false, &["grew; no reader breaks"]);
        check(&grown, 1, true, &[]);
        let gone = ["the field `at` was removed or renamed", "the field `by` was removed or renamed"];
        let breaks = [gone[0], gone[1], "the field `who` is newly required"];
        check(&broken, 1, true, &breaks);
        check(&broken, 1, false, &breaks);
        check(&grown, 1, false, &[]);
        check(&broken, 2, true, &[]);
        check(&broken, 2, false, &[]);
        fs::remove_file(folder.join("desk.Opened.v1.json")).unwrap();
        check(&broken, 2, false, &["desk.Opened.v1.json is missing"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}

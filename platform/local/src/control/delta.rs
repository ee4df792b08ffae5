//! What a deployment would change: the difference of two states, in the words of what-if.

use serde_json::{Map, Value, json};

/// The change of one resource. `secrets` are values that must not be shown.
pub(super) fn change(id: &str, before: Option<&Value>, after: Option<&Value>, secrets: &[String]) -> Value {
    let (before, after) = (before.map(|value| masked(value, secrets)), after.map(|value| masked(value, secrets)));
    let mut change = Map::new();
    change.insert("resourceId".into(), id.into());
    let kind = match (&before, &after) {
        (None, Some(_)) => "Create",
        (Some(_), None) => "Ignore",
        (Some(before), Some(after)) if before == after => "NoChange",
        _ => "Modify",
    };
    change.insert("changeType".into(), kind.into());
    if let (Some(before), Some(after)) = (&before, &after) {
        let delta = differences(before, after);
        if !delta.is_empty() {
            change.insert("delta".into(), delta.into());
        }
    }
    if let Some(before) = before {
        change.insert("before".into(), before);
    }
    if let Some(after) = after {
        change.insert("after".into(), after);
    }
    change.into()
}

/// The shown form of a value: no secret.
fn masked(value: &Value, secrets: &[String]) -> Value {
    match value {
        Value::String(text) if secrets.iter().any(|secret| text.contains(secret.as_str())) => "*******".into(),
        Value::Array(items) => items.iter().map(|item| masked(item, secrets)).collect(),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), masked(value, secrets))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// The differing properties, each with its path from the resource.
fn differences(before: &Value, after: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    collect("", before, after, &mut all);
    all
}

fn collect(path: &str, before: &Value, after: &Value, all: &mut Vec<Value>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, value) in old {
                match new.get(key) {
                    Some(other) => collect(&below(key), value, other, all),
                    None => all.push(property(&below(key), "Delete", Some(value), None, Vec::new())),
                }
            }
            for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                all.push(property(&below(key), "Create", None, Some(value), Vec::new()));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            let mut children = Vec::new();
            for index in 0..old.len().max(new.len()) {
                let name = index.to_string();
                match (old.get(index), new.get(index)) {
                    (Some(old), Some(new)) => collect(&name, old, new, &mut children),
                    (Some(old), None) => children.push(property(&name, "Delete", Some(old), None, Vec::new())),
                    (None, Some(new)) => children.push(property(&name, "Create", None, Some(new), Vec::new())),
                    (None, None) => {}
                }
            }
            all.push(property(path, "Array", Some(before), Some(after), children));
        }
        _ => all.push(property(path, "Modify", Some(before), Some(after), Vec::new())),
    }
}

fn property(path: &str, kind: &str, before: Option<&Value>, after: Option<&Value>, children: Vec<Value>) -> Value {
    let mut change = json!({"path": path, "propertyChangeType": kind});
    if kind == "Array" {
        change["children"] = children.into();
    } else {
        change["before"] = before.cloned().unwrap_or_default();
        change["after"] = after.cloned().unwrap_or_default();
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn each_difference_has_its_path() {
        let before = json!({"properties": {"a": 1, "gone": true, "list": [1, 2], "deep": {"x": "secret 1"}}});
        let after = json!({"properties": {"a": 2, "new": true, "list": [1, 3, 4], "deep": {"x": "secret 1"}}});
        let change = change("/x", Some(&before), Some(&after), &["secret".into()]);
        assert_eq!(change["after"]["properties"]["deep"]["x"], "*******");
        expect![[r#"[{"after":2,"before":1,"path":"properties.a","propertyChangeType":"Modify"},{"after":null,"before":true,"path":"properties.gone","propertyChangeType":"Delete"},{"children":[{"after":3,"before":2,"path":"1","propertyChangeType":"Modify"},{"after":4,"before":null,"path":"2","propertyChangeType":"Create"}],"path":"properties.list","propertyChangeType":"Array"},{"after":true,"before":null,"path":"properties.new","propertyChangeType":"Create"}]"#]]
            .assert_eq(&serde_json::to_string(&sorted(&change["delta"])).unwrap());
    }

    fn sorted(value: &Value) -> Value {
        let mut value = value.clone();
        value.sort_all_objects();
        value
    }
}

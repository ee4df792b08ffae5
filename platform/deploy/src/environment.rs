//! An environment: where layers are deployed, and with what values. Committed as TOML.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, Item, Table};

use crate::failure::Failure;
use crate::input;

/// The control plane of the public cloud.
const PUBLIC: &str = "https://management.azure.com";

/// Where layers are deployed, and with what values.
#[derive(Debug, PartialEq)]
pub(crate) struct Environment {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) subscription: String,
    pub(crate) location: String,
    pub(crate) endpoint: String,
    parameters: Map<String, Value>,
    layers: BTreeMap<String, Map<String, Value>>,
}

impl Environment {
    /// Reads `NAME.toml`.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Environment, Failure> {
        let path = folder.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let known: Vec<String> = std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
                .collect();
            input(
                format!("there is no environment {name:?}: {}: {error}", path.display()),
                format!("name one of: {}; or write that file", known.join(", ")),
            )
        })?;
        Self::parse(name, &path.display().to_string(), &text)
    }

    fn parse(name: &str, file: &str, text: &str) -> Result<Environment, Failure> {
        let wrong = |why: String| input(format!("{file}: {why}"), "mend the file");
        let document: DocumentMut = text.parse().map_err(|error| wrong(format!("{error}").trim_end().to_owned()))?;
        let mut environment = Environment {
            name: name.to_owned(),
            file: file.to_owned(),
            subscription: String::new(),
            location: String::new(),
            endpoint: PUBLIC.to_owned(),
            parameters: Map::new(),
            layers: BTreeMap::new(),
        };
        for (key, item) in document.iter() {
            let text = || item.as_str().map(str::to_owned).ok_or_else(|| wrong(format!("{key} must be a text")));
            let table = || item.as_table().ok_or_else(|| wrong(format!("{key} must be a table")));
            match key {
                "subscription" => environment.subscription = text()?,
                "location" => environment.location = text()?,
                "endpoint" => environment.endpoint = text()?.trim_end_matches('/').to_owned(),
                "parameters" => environment.parameters = values(table()?).map_err(wrong)?,
                "layers" => {
                    for (layer, item) in table()? {
                        let own = item.as_table().ok_or_else(|| wrong(format!("layers.{layer} must be a table")))?;
                        environment.layers.insert(layer.to_owned(), values(own).map_err(wrong)?);
                    }
                }
                other => {
                    return Err(wrong(format!(
                        "{other:?} is not known; subscription, location, endpoint, parameters and layers are"
                    )));
                }
            }
        }
        for (key, value) in [("subscription", &environment.subscription), ("location", &environment.location)] {
            if value.is_empty() {
                return Err(wrong(format!("{key} is missing")));
            }
        }
        Ok(environment)
    }

    /// What the environment says for a layer's parameter.
    pub(crate) fn value(&self, layer: &str, parameter: &str) -> Option<&Value> {
        self.layers.get(layer).and_then(|own| own.get(parameter)).or_else(|| self.parameters.get(parameter))
    }
}

fn values(table: &Table) -> Result<Map<String, Value>, String> {
    table.iter().map(|(key, item)| Ok((key.to_owned(), value(key, item)?))).collect()
}

fn value(key: &str, item: &Item) -> Result<Value, String> {
    let single = item.as_value().ok_or_else(|| format!("{key} must be a value"))?;
    of(key, single)
}

fn of(key: &str, value: &toml_edit::Value) -> Result<Value, String> {
    use toml_edit::Value as Toml;
    Ok(match value {
        Toml::String(text) => json!(text.value()),
        Toml::Integer(number) => json!(number.value()),
        Toml::Boolean(flag) => json!(flag.value()),
        Toml::Array(list) => list.iter().map(|item| of(key, item)).collect::<Result<_, _>>()?,
        Toml::InlineTable(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.to_owned(), of(key, value)?)));
            Value::Object(entries.collect::<Result<_, String>>()?)
        }
        _ => return Err(format!("{key}: templates have neither times nor fractions; write it as a text")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&Environment::parse("e", "e.toml", text).unwrap_err().to_string());
    }

    #[test]
    fn a_layer_overrides_what_holds_for_all() {
        let text = "subscription = 's'\nlocation = 'l'\n[parameters]\na = 'x'\nn = 3\n[layers.orders]\na = ['y']\n";
        let environment = Environment::parse("e", "e.toml", text).unwrap();
        assert_eq!(environment.value("orders", "a"), Some(&json!(["y"])));
        assert_eq!(environment.value("platform", "a"), Some(&json!("x")));
        assert_eq!(environment.value("platform", "n"), Some(&json!(3)));
        assert_eq!(environment.value("platform", "z"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        check(
            "location = 'l'",
            expect![[r#"
            error: e.toml: subscription is missing
             next: mend the file"#]],
        );
        check(
            "subscripton = 's'",
            expect![[r#"
            error: e.toml: "subscripton" is not known; subscription, location, endpoint, parameters and layers are
             next: mend the file"#]],
        );
        let error = Environment::parse("e", "e.toml", "location = ").unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
        assert_eq!(error.code(), 2);
    }
}

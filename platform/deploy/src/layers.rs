//! The rendered layers: their templates, what they need of one another, and what they are deployed with.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::environment::Environment;
use crate::failure::Failure;
use crate::input;

/// A layer as it was rendered.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) template: Value,
}

/// The outputs of a layer's deployment, by name as the service gives them back.
pub(crate) type Outputs = Map<String, Value>;

/// Reads every layer of the folder `arm`.
pub(crate) fn read(rendered: &Path) -> Result<Vec<Layer>, Failure> {
    let folder = rendered.join("arm");
    let unreadable = |place: &Path, error: &dyn std::fmt::Display| {
        input(
            format!("{}: {error}", place.display()),
            "render first: `skein-infra render --out DIR`, and give --rendered DIR",
        )
    };
    let entries = std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
    let mut layers = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let template = serde_json::from_str(&text).map_err(|error| unreadable(&path, &error))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        layers.push(Layer { name, template });
    }
    if layers.is_empty() {
        return Err(unreadable(&folder, &"there are no templates"));
    }
    layers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(layers)
}

impl Layer {
    /// The name of its deployment.
    pub(crate) fn deployment(&self) -> String {
        format!("skein-{}", self.name)
    }

    fn parameters(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.template["parameters"].as_object().into_iter().flatten()
    }

    /// The layers whose outputs it takes.
    pub(crate) fn after(&self) -> Vec<&str> {
        let mut layers: Vec<&str> = self.parameters().filter_map(|(_, one)| Some(source(one)?.0)).collect();
        layers.sort_unstable();
        layers.dedup();
        layers
    }

    /// What it is deployed with: outputs of other layers, the environment's values, and the template's own defaults for
    /// the rest.
    pub(crate) fn values(
        &self,
        environment: &Environment,
        outputs: &BTreeMap<String, Outputs>,
        more: &Map<String, Value>,
    ) -> Result<Value, Failure> {
        let mut values = Map::new();
        for (name, declared) in self.parameters() {
            let said = environment.value(&self.name, name).or_else(|| more.get(name));
            let value = match (source(declared), said) {
                (_, Some(value)) => Some(value.clone()),
                (Some((layer, output)), None) => {
                    let found = outputs.get(layer).and_then(|outputs| output_of(outputs, output));
                    Some(found.cloned().ok_or_else(|| {
                        input(
                            format!(
                                "{}: the parameter {name:?} takes the output {output:?} of {layer}, which has none",
                                self.name
                            ),
                            format!("deploy {layer} first"),
                        )
                    })?)
                }
                (None, None) if name == "location" && declared["defaultValue"].is_null() => {
                    Some(environment.location.clone().into())
                }
                (None, None) => None,
            };
            match value {
                Some(value) => {
                    values.insert(name.clone(), json!({"value": value}));
                }
                None if declared["defaultValue"].is_null() && declared["nullable"] != true => {
                    let next = format!("write it under [parameters] or [layers.{}] of {}", self.name, environment.file);
                    return Err(input(format!("{}: the parameter {name:?} has no value", self.name), next));
                }
                None => {}
            }
        }
        Ok(values.into())
    }

    /// Whether it brings function apps.
    pub(crate) fn has_sites(&self) -> bool {
        self.template["outputs"].as_object().into_iter().flatten().any(|(name, _)| name.ends_with(SITE))
    }

    /// What the deployment is known by: the same for the same template and values at the same control plane, whatever
    /// order their keys have.
    pub(crate) fn digest(&self, values: &Value, endpoint: &str) -> String {
        let (mut template, mut values) = (self.template.clone(), values.clone());
        template.sort_all_objects();
        values.sort_all_objects();
        let digest = Sha256::digest(format!("{template}\n{values}\n{endpoint}"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `metadata.from` of a parameter: `layer.output`.
fn source(parameter: &Value) -> Option<(&str, &str)> {
    parameter["metadata"]["from"].as_str()?.split_once('.')
}

/// How the name of an output ends that names a function app.
const SITE: &str = "Site";

/// The function apps that a deployment has brought.
pub(crate) fn sites(outputs: &Outputs) -> Vec<&str> {
    let sites = outputs.iter().filter(|(name, _)| name.to_lowercase().ends_with(&SITE.to_lowercase()));
    sites.filter_map(|(_, output)| output["value"].as_str()).collect()
}

/// An output's value. The service changes the case of the names.
pub(crate) fn output_of<'v>(outputs: &'v Outputs, name: &str) -> Option<&'v Value> {
    outputs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, output)| &output["value"])
}

/// The layers in steps: all of a step need only what earlier steps bring. With `only`, that one alone.
pub(crate) fn steps<'l>(layers: &'l [Layer], only: Option<&str>) -> Result<Vec<Vec<&'l Layer>>, Failure> {
    if let Some(only) = only {
        let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let found = layers.iter().find(|layer| layer.name == only);
        let found = found.ok_or_else(|| {
            input(format!("there is no layer {only:?}"), format!("name one of: {}", names.join(", ")))
        })?;
        return Ok(vec![vec![found]]);
    }
    let mut done: Vec<&str> = Vec::new();
    let mut waiting: Vec<&Layer> = layers.iter().collect();
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let (ready, rest): (Vec<&Layer>, Vec<&Layer>) =
            waiting.into_iter().partition(|layer| layer.after().iter().all(|name| done.contains(name)));
        if ready.is_empty() {
            let names: Vec<_> = rest.iter().map(|layer| layer.name.as_str()).collect();
            let why = format!("these layers wait for one another, or for one that is not there: {}", names.join(", "));
            return Err(input(why, "mend the descriptors"));
        }
        done.extend(ready.iter().map(|layer| layer.name.as_str()));
        steps.push(ready);
        waiting = rest;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, from: &[&str]) -> Layer {
        let parameters: Map<String, Value> = from
            .iter()
            .enumerate()
            .map(|(n, from)| (format!("p{n}"), json!({"type": "string", "metadata": {"from": from}})))
            .collect();
        Layer { name: name.into(), template: json!({"parameters": parameters}) }
    }

    #[test]
    fn layers_come_after_those_they_need() {
        let layers =
            [layer("gateway", &["platform.x", "orders.y"]), layer("orders", &["platform.x"]), layer("platform", &[])];
        let names = |steps: Vec<Vec<&Layer>>| -> Vec<Vec<String>> {
            steps.into_iter().map(|step| step.into_iter().map(|layer| layer.name.clone()).collect()).collect()
        };
        assert_eq!(names(steps(&layers, None).unwrap()), [["platform"], ["orders"], ["gateway"]]);
        assert_eq!(names(steps(&layers, Some("orders")).unwrap()), [["orders"]]);
        assert_eq!(steps(&layers, Some("nope")).unwrap_err().code(), 2);
        let circle = [layer("a", &["b.x"]), layer("b", &["a.x"])];
        assert_eq!(steps(&circle, None).unwrap_err().code(), 2);
    }

    #[test]
    fn the_digest_changes_with_content_only() {
        let one = layer("a", &["b.x"]);
        let digest = |values: Value, endpoint: &str| one.digest(&values, endpoint);
        assert_eq!(digest(json!({"p": 1, "q": 2}), "e"), digest(json!({"q": 2, "p": 1}), "e"));
        assert_ne!(digest(json!({"p": 1}), "e"), digest(json!({"p": 2}), "e"));
        assert_ne!(digest(json!({"p": 1}), "e"), digest(json!({"p": 1}), "f"));
    }

    #[test]
    fn outputs_are_found_in_any_case() {
        let outputs = json!({"azurE_X": {"type": "string", "value": "v"}}).as_object().cloned().unwrap();
        assert_eq!(output_of(&outputs, "AZURE_X"), Some(&json!("v")));
    }
}

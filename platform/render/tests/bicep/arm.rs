//! ARM JSON as what it means.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use skein_arm::expr::{self, Expr};

use super::meaning::{Identity, Item, Module, Parameter, Term, call, join, keyed};

const DEPLOYMENTS: &str = "Microsoft.Resources/deployments";

/// Reads a template.
pub fn read(json: &Value) -> Result<Module, String> {
    let schema = json["$schema"].as_str().ok_or("no schema")?;
    let mut module = Module { subscription: schema.contains("subscriptionDeployment"), ..Module::default() };
    let read = Read { subscription: module.subscription };
    for (name, parameter) in entries(&json["parameters"]) {
        module.parameters.insert(name.clone(), read.parameter(parameter)?);
    }
    for (name, value) in entries(&json["variables"]) {
        module.variables.insert(name.clone(), read.value(value)?);
    }
    for resource in json["resources"].as_array().ok_or("no resources")? {
        let (identity, item) = read.item(resource)?;
        if module.items.insert(identity.to_string(), item).is_some() {
            return Err(format!("{identity} stands twice"));
        }
    }
    for (name, output) in entries(&json["outputs"]) {
        let kind = output["type"].as_str().ok_or("an output without a type")?;
        module.outputs.insert(name.clone(), (kind.to_owned(), read.value(&output["value"])?));
    }
    Ok(module)
}

fn entries(json: &Value) -> impl Iterator<Item = (&String, &Value)> {
    json.as_object().into_iter().flat_map(Map::iter)
}

struct Read {
    subscription: bool,
}

impl Read {
    fn parameter(&self, json: &Value) -> Result<Parameter, String> {
        let kind = json["type"].as_str().ok_or("a parameter without a type")?;
        let plain = kind.strip_prefix("secure").unwrap_or(kind);
        let get = |json: &Value, key: &str| json.get(key).map(|value| self.value(value)).transpose();
        let mut seen = vec!["type", "defaultValue", "allowedValues", "minLength", "maxLength", "metadata"];
        if let Some((other, _)) = entries(json).find(|(key, _)| !seen.contains(&key.as_str())) {
            return Err(format!("a parameter's {other} is not understood"));
        }
        seen = vec!["description", "from", "pattern"];
        if let Some((other, _)) = entries(&json["metadata"]).find(|(key, _)| !seen.contains(&key.as_str())) {
            return Err(format!("a parameter's metadata.{other} is not understood"));
        }
        Ok(Parameter {
            kind: plain.to_owned(),
            secure: plain != kind,
            default: get(json, "defaultValue")?,
            allowed: get(json, "allowedValues")?,
            shortest: get(json, "minLength")?,
            longest: get(json, "maxLength")?,
            about: get(&json["metadata"], "description")?,
            from: get(&json["metadata"], "from")?,
            pattern: get(&json["metadata"], "pattern")?,
        })
    }

    fn item(&self, json: &Value) -> Result<(Identity, Item), String> {
        let kind = json["type"].as_str().ok_or("a resource without a type")?;
        let version = json["apiVersion"].as_str().ok_or("a resource without a version")?;
        let group = json.get("resourceGroup").map(|group| self.value(group)).transpose()?.map(Box::new);
        let on = match json.get("scope").map(|scope| self.value(scope)).transpose()? {
            None => None,
            Some(Term::Id(on)) => Some(on),
            Some(other) => return Err(format!("the scope {other} is not understood")),
        };
        let identity = Identity { kind: kind.to_owned(), names: vec![self.value(&json["name"])?], on, group };
        let mut after = Vec::new();
        for earlier in json["dependsOn"].as_array().into_iter().flatten() {
            match self.value(earlier)? {
                Term::Id(earlier) => after.push(earlier.to_string()),
                other => return Err(format!("{identity} waits for {other}")),
            }
        }
        let condition = json.get("condition").map(|condition| self.value(condition)).transpose()?;
        let outside = ["type", "apiVersion", "name", "scope", "condition", "dependsOn", "resourceGroup"];
        let (mut body, mut nested) = (BTreeMap::new(), None);
        for (key, value) in entries(json).filter(|(key, _)| !outside.contains(&key.as_str())) {
            if kind != DEPLOYMENTS {
                body.insert(key.clone(), self.value(value)?);
                continue;
            }
            if value["mode"] != "Incremental" || value["expressionEvaluationOptions"]["scope"] != "inner" {
                return Err(format!("{identity} is not of Bicep's kind"));
            }
            nested = Some(read(&value["template"])?);
            for (name, argument) in entries(&value["parameters"]) {
                body.insert(name.clone(), self.value(&argument["value"])?);
            }
        }
        let version = (kind != DEPLOYMENTS).then(|| version.to_owned());
        Ok((identity, Item { version, condition, body, after, nested }))
    }

    fn value(&self, json: &Value) -> Result<Term, String> {
        Ok(match json {
            Value::Null => Term::Null,
            Value::Bool(flag) => Term::Bool(*flag),
            Value::Number(number) => Term::Int(number.as_i64().ok_or_else(|| format!("{number} is not whole"))?),
            Value::String(text) => self.text(text)?,
            Value::Array(list) => Term::List(list.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Value::Object(object) => {
                let entry = |(key, value): (&String, &Value)| Ok((keyed(&self.text(key)?), self.value(value)?));
                Term::Object(object.iter().map(entry).collect::<Result<_, String>>()?)
            }
        })
    }

    fn text(&self, text: &str) -> Result<Term, String> {
        match expr::classify(text) {
            expr::Text::Literal(text) => Ok(Term::Text(text.to_owned())),
            expr::Text::Expression(text) => self.expr(&expr::parse(text)?),
        }
    }

    fn expr(&self, expr: &Expr) -> Result<Term, String> {
        Ok(match expr {
            Expr::Text(text) => Term::Text(text.clone()),
            Expr::Int(number) => Term::Int(*number),
            Expr::Call { namespace: Some(namespace), .. } => return Err(format!("the namespace {namespace}")),
            Expr::Call { namespace: None, name, args } => {
                let inputs = args.iter().map(|arg| self.expr(arg)).collect::<Result<Vec<_>, _>>()?;
                match (name.to_lowercase().as_str(), inputs.as_slice()) {
                    ("parameters", [Term::Text(name)]) => Term::Parameter(name.clone()),
                    ("variables", [Term::Text(name)]) => Term::Variable(name.clone()),
                    ("reference", [Term::Id(identity), Term::Text(version)]) => {
                        Term::Reference(identity.clone(), version.clone(), false)
                    }
                    ("reference", [Term::Id(identity), Term::Text(version), Term::Text(full)]) if full == "full" => {
                        Term::Reference(identity.clone(), version.clone(), true)
                    }
                    ("concat", _) => join(inputs),
                    _ => call(name, inputs, self.subscription)?,
                }
            }
            Expr::Index { of, key, safe: false } => {
                let Expr::Text(name) = &**key else { return Err(format!("the index {key:?} is not understood")) };
                match self.expr(of)? {
                    // reference(deployment).outputs.name.value
                    Term::Member(outputs, output) if name == "value" => match *outputs {
                        Term::Member(deployment, outputs) if outputs == "outputs" => match *deployment {
                            Term::Reference(identity, _, false) if identity.kind == DEPLOYMENTS => {
                                Term::Output(identity, output)
                            }
                            other => Term::Member(
                                Box::new(Term::Member(Box::new(Term::Member(Box::new(other), outputs)), output)),
                                name.clone(),
                            ),
                        },
                        other => Term::Member(Box::new(Term::Member(Box::new(other), output)), name.clone()),
                    },
                    Term::Reference(identity, version, true) if name == "properties" => {
                        Term::Reference(identity, version, false)
                    }
                    of => Term::Member(Box::new(of), name.clone()),
                }
            }
            Expr::Index { safe: true, .. } => return Err("a safe index is not understood".to_owned()),
        })
    }
}

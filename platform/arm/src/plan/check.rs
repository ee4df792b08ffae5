//! What can be told of a template's expressions before any of them is evaluated.

use serde_json::{Map, Value};

use crate::Error;
use crate::expr::{self, Expr, Text};
use crate::functions;
use crate::parameters::Frame;

/// What an expression may use where it stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Everything.
    Properties,
    /// What is known before anything is deployed.
    Early,
    /// That, and what is new at every deployment.
    Default,
    /// Its own parameters.
    Function,
}

/// Checks every expression of a template. Those of nested templates with a scope of their own are checked with that.
pub(super) fn template(template: &Map<String, Value>, path: &str, frame: &Frame) -> Result<(), Error> {
    for (key, place) in [("variables", Place::Early), ("outputs", Place::Properties), ("functions", Place::Function)] {
        if let Some(value) = template.get(key) {
            walk(value, &format!("{path}.{key}"), place, frame)?;
        }
    }
    for (name, parameter) in template.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        if let Some(default) = parameter.get("defaultValue") {
            walk(default, &format!("{path}.parameters.{name}.defaultValue"), Place::Default, frame)?;
        }
    }
    resources(template.get("resources"), &format!("{path}.resources"), frame)
}

fn resources(list: Option<&Value>, path: &str, frame: &Frame) -> Result<(), Error> {
    let each: Vec<(String, &Value)> = match list {
        Some(Value::Array(list)) => {
            list.iter().enumerate().map(|(index, one)| (format!("{path}[{index}]"), one)).collect()
        }
        Some(Value::Object(list)) => list.iter().map(|(symbol, one)| (format!("{path}.{symbol}"), one)).collect(),
        _ => Vec::new(),
    };
    for (path, resource) in each {
        for (key, value) in resource.as_object().into_iter().flatten() {
            let place = format!("{path}.{key}");
            match key.as_str() {
                "resources" => resources(Some(value), &place, frame)?,
                "properties" => properties(value, &place, frame)?,
                "name" | "condition" | "dependsOn" | "scope" | "copy" | "resourceGroup" | "subscriptionId"
                | "location" => {
                    walk(value, &place, Place::Early, frame)?;
                }
                _ => walk(value, &place, Place::Properties, frame)?,
            }
        }
    }
    Ok(())
}

fn properties(value: &Value, path: &str, frame: &Frame) -> Result<(), Error> {
    let is_nested = value.get("template").is_some_and(Value::is_object) && value.get("mode").is_some();
    if !is_nested {
        return walk(value, path, Place::Properties, frame);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        // The nested plan checks its own.
        if key != "template" {
            walk(value, &format!("{path}.{key}"), Place::Properties, frame)?;
        }
    }
    Ok(())
}

fn walk(value: &Value, path: &str, place: Place, frame: &Frame) -> Result<(), Error> {
    match value {
        Value::String(text) => one(text, path, place, frame),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| walk(item, &format!("{path}[{index}]"), place, frame))
        }
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            let path = format!("{path}.{key}");
            one(key, &path, place, frame)?;
            walk(value, &path, place, frame)
        }),
        _ => Ok(()),
    }
}

fn one(text: &str, path: &str, place: Place, frame: &Frame) -> Result<(), Error> {
    let Text::Expression(inside) = expr::classify(text) else { return Ok(()) };
    let expr = expr::parse(inside).map_err(|why| Error::template(path, format!("{why}: {text}")))?;
    let mut wrong = None;
    expr.walk(&mut |expr| {
        if wrong.is_none() {
            wrong = call(expr, place, frame).err();
        }
    });
    wrong.map_or(Ok(()), |why| Err(Error::template(path, why)))
}

fn call(expr: &Expr, place: Place, frame: &Frame) -> Result<(), String> {
    let Expr::Call { namespace, name, args } = expr else { return Ok(()) };
    let lower = name.to_ascii_lowercase();
    if let Some(namespace) = namespace {
        let key = format!("{namespace}.{name}").to_lowercase();
        return if frame.functions.contains_key(&key) {
            Ok(())
        } else {
            Err(format!("there is no function {namespace}.{name}()"))
        };
    }
    if functions::REFUSED.contains(&lower.as_str()) {
        return Err(format!("the function {name}() is not evaluated here"));
    }
    if !functions::is_known(&lower) {
        return Err(format!("there is no function {name}()"));
    }
    let literal = match args.as_slice() {
        [Expr::Text(text)] => Some(text),
        _ => None,
    };
    match lower.as_str() {
        "parameters" | "variables" if args.len() != 1 => Err(format!("{name}() takes one argument")),
        "parameters" if place != Place::Function => match literal {
            Some(text) if !frame.has_parameter(text) => Err(format!("there is no parameter {text:?}")),
            _ => Ok(()),
        },
        "variables" => match literal {
            Some(text) if !frame.has_variable(text) => Err(format!("there is no variable {text:?}")),
            _ => Ok(()),
        },
        "newguid" | "utcnow" if place != Place::Default => {
            Err(format!("{name}() may stand only in the default of a parameter"))
        }
        _ if (lower == "reference" || lower == "references" || functions::is_list(&lower))
            && place != Place::Properties =>
        {
            Err(format!("{name}() may stand only in properties of resources and in outputs"))
        }
        _ => Ok(()),
    }
}

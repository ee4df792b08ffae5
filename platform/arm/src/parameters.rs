//! Parameters, variables and functions of a template: what expressions can name.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::eval::Env;
use crate::functions::{kind, property};
use crate::{Error, MAX_PARAMETERS, MAX_VARIABLES, Resources, Scope};

/// How many types may refer to one another.
const MAX_REFERENCES: usize = 16;

/// A parameter as it is declared, with its value if one is given.
struct Parameter {
    name: String,
    declared: Map<String, Value>,
    secure: bool,
    given: Option<Value>,
}

/// A function of the template itself.
pub(crate) struct Function {
    pub(crate) parameters: Vec<String>,
    pub(crate) value: Value,
    pub(crate) path: String,
}

#[derive(Clone)]
enum Slot {
    Busy,
    Done(Result<Value, Error>),
}

/// What expressions of one template can name. Every value is found out once.
pub(crate) struct Frame {
    pub(crate) scope: Scope,
    parameters: BTreeMap<String, Parameter>,
    variables: BTreeMap<String, (Value, String)>,
    pub(crate) functions: BTreeMap<String, Function>,
    slots: Mutex<BTreeMap<(char, String), Slot>>,
}

/// The object under a key of a template; empty where it is missing.
pub(crate) fn section(template: &Map<String, Value>, name: &str, path: &str) -> Result<Map<String, Value>, Error> {
    match template.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(other) => {
            Err(Error::template(&format!("{path}.{name}"), format!("{name} must be an object, it is {}", kind(other))))
        }
    }
}

impl Frame {
    /// Reads the declarations, takes the given values, and finds out every parameter.
    pub(crate) fn new(
        template: &Map<String, Value>,
        path: &str,
        given: &Map<String, Value>,
        scope: Scope,
        world: &dyn Resources,
    ) -> Result<Frame, Error> {
        let definitions = section(template, "definitions", path)?;
        let declared = section(template, "parameters", path)?;
        if declared.len() > MAX_PARAMETERS {
            let message = format!("there are {} parameters, and {MAX_PARAMETERS} are allowed", declared.len());
            return Err(Error::template(&format!("{path}.parameters"), message));
        }
        let mut parameters = BTreeMap::new();
        for (name, declaration) in &declared {
            let place = format!("{path}.parameters.{name}");
            let declaration = resolved(declaration, &definitions, &place)?;
            let secure = is_secure(&declaration);
            let value = match property(given, name) {
                None => None,
                Some(value) => value_given(name, value, world)?,
            };
            parameters.insert(
                name.to_lowercase(),
                Parameter { name: name.clone(), declared: declaration, secure, given: value },
            );
        }
        if let Some(unknown) = given.keys().find(|name| !parameters.contains_key(&name.to_lowercase())) {
            let names: Vec<_> = declared.keys().map(String::as_str).collect();
            let message = format!("the template has no parameter {unknown:?}; it has: {}", names.join(", "));
            return Err(Error::new("InvalidTemplate", message)
                .about(unknown.clone())
                .at(&format!("$.parameters.{unknown}")));
        }
        let variables = variables(template, path)?;
        let functions = functions(template, path)?;
        let frame = Frame { scope, parameters, variables, functions, slots: Mutex::default() };
        for name in frame.parameters.keys() {
            frame.parameter(name, world)?;
        }
        // An unused variable that has no value is nobody's error.
        for name in frame.variables.keys() {
            let _ = frame.variable(name, world);
        }
        Ok(frame)
    }

    pub(crate) fn has_parameter(&self, name: &str) -> bool {
        self.parameters.contains_key(&name.to_lowercase())
    }

    pub(crate) fn has_variable(&self, name: &str) -> bool {
        self.variables.contains_key(&name.to_lowercase())
    }

    /// The values of all parameters, as a deployment's `parameters` would give them; with which of them are secret.
    pub(crate) fn values(&self, world: &dyn Resources) -> Result<Vec<(String, String, Value, bool)>, Error> {
        let all = self.parameters.iter().map(|(key, parameter)| {
            let kind = parameter.declared.get("type").and_then(Value::as_str).unwrap_or_default();
            Ok((parameter.name.clone(), kind.to_owned(), self.parameter(key, world)?, parameter.secure))
        });
        all.collect()
    }

    pub(crate) fn parameter(&self, name: &str, world: &dyn Resources) -> Result<Value, Error> {
        let key = name.to_lowercase();
        let Some(parameter) = self.parameters.get(&key) else {
            return Err(Error::expression(format!("there is no parameter {name:?}")));
        };
        let path = format!("$.parameters.{}", parameter.name);
        self.once('p', key, &path, || {
            let value = match (&parameter.given, parameter.declared.get("defaultValue")) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => {
                    let env = Env::of(self, world).for_defaults();
                    env.value(default, &format!("{path}.defaultValue"))?
                }
                (None, None) if parameter.declared.get("nullable") == Some(&Value::Bool(true)) => Value::Null,
                (None, None) => {
                    let message =
                        format!("the parameter {:?} has no value and no default; give it one", parameter.name);
                    return Err(Error::template(&path, message).about(parameter.name.clone()));
                }
            };
            check(&parameter.name, &parameter.declared, &value)
                .map_err(|why| Error::template(&path, why).about(parameter.name.clone()))?;
            Ok(value)
        })
    }

    pub(crate) fn variable(&self, name: &str, world: &dyn Resources) -> Result<Value, Error> {
        let key = name.to_lowercase();
        let Some((value, path)) = self.variables.get(&key) else {
            return Err(Error::expression(format!("there is no variable {name:?}")));
        };
        self.once('v', key, path, || {
            let env = Env::of(self, world);
            match value.get("copy").filter(|_| value.get("$loop").is_some()) {
                Some(copy) => env.looped(copy, path),
                None => env.value(value, path),
            }
        })
    }

    /// A value that is found out once, and never by way of itself.
    fn once(
        &self,
        sort: char,
        key: String,
        path: &str,
        find: impl FnOnce() -> Result<Value, Error>,
    ) -> Result<Value, Error> {
        let slots = || self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = (sort, key);
        let known = slots().get(&slot).cloned();
        match known {
            Some(Slot::Done(result)) => return result,
            Some(Slot::Busy) => return Err(Error::template(path, "its value depends on itself")),
            None => {}
        }
        slots().insert(slot.clone(), Slot::Busy);
        let result = find();
        slots().insert(slot, Slot::Done(result.clone()));
        result
    }
}

fn is_secure(declaration: &Map<String, Value>) -> bool {
    declaration.get("type").and_then(Value::as_str).is_some_and(|kind| kind.to_lowercase().starts_with("secure"))
}

/// A declaration with the types that it refers to put in.
fn resolved(declaration: &Value, definitions: &Map<String, Value>, path: &str) -> Result<Map<String, Value>, Error> {
    let wrong = |why: String| Error::template(path, why);
    let mut whole = declaration.as_object().cloned().ok_or_else(|| wrong("a parameter must be an object".into()))?;
    for _ in 0..MAX_REFERENCES {
        let Some(reference) = whole.remove("$ref") else { break };
        let reference = reference.as_str().unwrap_or_default();
        let definition = reference.strip_prefix("#/definitions/").and_then(|name| definitions.get(name));
        let definition = definition.and_then(Value::as_object);
        let definition = definition.ok_or_else(|| wrong(format!("there is no definition {reference:?}")))?;
        for (key, value) in definition {
            whole.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    const KEYS: [&str; 15] = [
        "type",
        "defaultValue",
        "allowedValues",
        "minValue",
        "maxValue",
        "minLength",
        "maxLength",
        "metadata",
        "nullable",
        "items",
        "properties",
        "additionalProperties",
        "prefixItems",
        "discriminator",
        "sealed",
    ];
    if let Some(unknown) = whole.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(Error::template(&format!("{path}.{unknown}"), format!("a parameter has no {unknown:?}")));
    }
    let kind = whole.get("type").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    if !["string", "securestring", "int", "bool", "object", "secureobject", "array"].contains(&kind.as_str()) {
        return Err(wrong(format!(
            "the type {kind:?} is none of string, int, bool, object, array, securestring, secureobject"
        )));
    }
    Ok(whole)
}

/// The value in `{"value": …}` or of the secret in `{"reference": …}`; nothing for an explicit null.
fn value_given(name: &str, given: &Value, world: &dyn Resources) -> Result<Option<Value>, Error> {
    let path = format!("$.parameters.{name}");
    let wrong = |why: &str| Error::template(&path, why).about(name);
    let given = given.as_object().ok_or_else(|| wrong("a parameter is given as {\"value\": …}"))?;
    if let Some(value) = given.get("value") {
        return Ok(if value.is_null() { None } else { Some(value.clone()) });
    }
    let reference = given.get("reference").ok_or_else(|| wrong("a parameter is given as {\"value\": …}"))?;
    let text = |pointer: &str| reference.pointer(pointer).and_then(Value::as_str);
    let vault = text("/keyVault/id").ok_or_else(|| wrong("the reference names no keyVault.id"))?;
    let secret = text("/secretName").ok_or_else(|| wrong("the reference names no secretName"))?;
    let value = world.secret(vault, secret, text("/secretVersion")).map_err(|error| error.about(name).at(&path))?;
    Ok(Some(value.into()))
}

/// Whether a value is of a type, in the words of templates.
pub(crate) fn is_of(kind: &str, value: &Value) -> bool {
    match kind.to_lowercase().as_str() {
        "string" | "securestring" => value.is_string(),
        "int" => value.is_i64(),
        "bool" => value.is_boolean(),
        "object" | "secureobject" => value.is_object(),
        "array" => value.is_array(),
        _ => false,
    }
}

/// Checks a value against its declaration.
fn check(name: &str, declared: &Map<String, Value>, value: &Value) -> Result<(), String> {
    if value.is_null() && declared.get("nullable") == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let wanted = declared.get("type").and_then(Value::as_str).unwrap_or_default();
    if !is_of(wanted, value) {
        return Err(format!("the parameter {name:?} must be of type {wanted}, it is {}", kind(value)));
    }
    if let Some(allowed) = declared.get("allowedValues").and_then(Value::as_array) {
        let fits = match value {
            Value::Array(items) => items.iter().all(|item| allowed.contains(item)),
            other => allowed.contains(other),
        };
        if !fits {
            let shown = if is_secure(declared) { "the value".to_owned() } else { value.to_string() };
            let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            return Err(format!("the parameter {name:?} cannot be {shown}; allowed: {}", allowed.join(", ")));
        }
    }
    let size = match value {
        Value::String(text) => Some(text.encode_utf16().count()),
        Value::Array(items) => Some(items.len()),
        _ => None,
    };
    let limit = |key: &str| declared.get(key).and_then(Value::as_i64);
    let measured = size.and_then(|size| i64::try_from(size).ok());
    for (measured, least, most, what) in
        [(measured, "minLength", "maxLength", "length"), (value.as_i64(), "minValue", "maxValue", "value")]
    {
        let Some(measured) = measured else { continue };
        if let Some(limit) = limit(least).filter(|limit| measured < *limit) {
            return Err(format!("the parameter {name:?} has the {what} {measured}, and at least {limit} is needed"));
        }
        if let Some(limit) = limit(most).filter(|limit| measured > *limit) {
            return Err(format!("the parameter {name:?} has the {what} {measured}, and at most {limit} is allowed"));
        }
    }
    Ok(())
}

fn variables(template: &Map<String, Value>, path: &str) -> Result<BTreeMap<String, (Value, String)>, Error> {
    let mut variables = BTreeMap::new();
    for (name, value) in section(template, "variables", path)? {
        let place = format!("{path}.variables.{name}");
        match value {
            Value::Array(copies) if name == "copy" => {
                for (index, copy) in copies.into_iter().enumerate() {
                    let place = format!("{place}[{index}]");
                    let name = copy.get("name").and_then(Value::as_str);
                    let name = name.ok_or_else(|| Error::template(&place, "a loop needs name, count and input"))?;
                    let key = name.to_lowercase();
                    variables.insert(key, (serde_json::json!({"copy": copy, "$loop": true}), place));
                }
            }
            value => {
                variables.insert(name.to_lowercase(), (value, place));
            }
        }
    }
    if variables.len() > MAX_VARIABLES {
        let message = format!("there are {} variables, and {MAX_VARIABLES} are allowed", variables.len());
        return Err(Error::template(&format!("{path}.variables"), message));
    }
    Ok(variables)
}

fn functions(template: &Map<String, Value>, path: &str) -> Result<BTreeMap<String, Function>, Error> {
    let path = format!("{path}.functions");
    let spaces = match template.get("functions") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Array(spaces)) => spaces,
        Some(_) => return Err(Error::template(&path, "functions must be an array of namespaces")),
    };
    let mut functions = BTreeMap::new();
    for (index, space) in spaces.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let namespace = space.get("namespace").and_then(Value::as_str);
        let namespace = namespace.ok_or_else(|| Error::template(&path, "it has no namespace"))?;
        for (name, member) in space.get("members").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.members.{name}.output.value");
            let value = member.pointer("/output/value").cloned();
            let value = value.ok_or_else(|| Error::template(&path, "the function has no output"))?;
            let parameters = member.get("parameters").and_then(Value::as_array).into_iter().flatten();
            let parameters = parameters.filter_map(|parameter| parameter.get("name").and_then(Value::as_str));
            let function = Function { parameters: parameters.map(str::to_lowercase).collect(), value, path };
            functions.insert(format!("{namespace}.{name}").to_lowercase(), function);
        }
    }
    Ok(functions)
}

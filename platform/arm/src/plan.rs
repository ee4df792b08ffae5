//! A deployment: the resources that a template makes, what comes after what, and what each says.

mod check;
mod names;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

pub(crate) use self::names::{Named, Names};
use crate::eval::{Env, Loop};
use crate::expr::{self, Expr, Text};
use crate::functions::{kind, show};
use crate::parameters::{Frame, is_of, section};
use crate::{DeploymentInfo, Error, Id, MAX_BYTES, MAX_OUTPUTS, MAX_RESOURCES, Resources, Scope};

/// The type of a nested deployment.
const DEPLOYMENTS: &str = "Microsoft.Resources/deployments";

/// How deep resources may stand in one another, and deployments be nested.
const MAX_DEPTH: usize = 5;

/// Something that works and is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where, as in `$.resources[2].dependsOn[0]`.
    pub path: String,
    /// What, and what to do.
    pub message: String,
}

/// Where a nested deployment goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    /// The subscription.
    pub subscription: String,
    /// The group; `None` for the subscription itself.
    pub group: Option<String>,
    /// Whether its expressions see its own parameters and variables, and not those of the template around it.
    pub inner: bool,
}

/// A resource that the template makes.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its id.
    pub id: String,
    /// Its full type.
    pub kind: String,
    /// Its full name.
    pub name: String,
    /// The API version that it is written for.
    pub api_version: String,
    /// Where in the template.
    pub path: String,
    /// The template only refers to it.
    pub existing: bool,
    /// Those that come before it, by index.
    pub depends_on: BTreeSet<usize>,
    /// Set for a nested deployment.
    pub nested: Option<Nested>,
    raw: Map<String, Value>,
    loops: Vec<Loop>,
}

/// What a template says in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its type, as in `string`.
    pub kind: String,
    /// Its value.
    pub value: Value,
}

impl Output {
    /// Whether its value must not be shown.
    pub fn is_secure(&self) -> bool {
        self.kind.to_lowercase().starts_with("secure")
    }
}

/// A template, expanded for one place and one set of parameters.
pub struct Plan {
    /// Where its resources go.
    pub target: Scope,
    /// The resources, in the template's order.
    pub resources: Vec<Planned>,
    /// What works and is not as it should be.
    pub warnings: Vec<Warning>,
    frame: Arc<Frame>,
    names: Arc<Names>,
    outputs: Map<String, Value>,
    path: String,
    depth: usize,
}

/// A resource before it is known what it depends on.
struct Draft {
    planned: Planned,
    symbol: Option<String>,
    copy: Option<String>,
    depends_on: Vec<(String, String)>,
    /// The turns before it that have to be over, of a loop that does not run at once.
    after: BTreeSet<usize>,
    deployed: bool,
}

impl Plan {
    /// Expands a template. `parameters` is as in a deployment's request: `{"name": {"value": …}}`.
    ///
    /// # Errors
    /// Anything that the template language does not allow or this evaluator does not know, with its place.
    pub fn of(template: &Value, parameters: &Value, scope: Scope, world: &dyn Resources) -> Result<Plan, Error> {
        for (what, value) in [("template", template), ("set of parameters", parameters)] {
            let size = value.to_string().len();
            if size > MAX_BYTES {
                return Err(Error::new(
                    "InvalidTemplate",
                    format!("the {what} has {size} bytes, and {MAX_BYTES} are allowed"),
                ));
            }
        }
        Self::inner(template, parameters, scope, world, "$", 0)
    }

    fn inner(
        template: &Value,
        parameters: &Value,
        scope: Scope,
        world: &dyn Resources,
        path: &str,
        depth: usize,
    ) -> Result<Plan, Error> {
        let template = template.as_object().ok_or_else(|| Error::template(path, "a template is an object"))?;
        let none = Map::new();
        let given = match parameters {
            Value::Null => &none,
            Value::Object(given) => given,
            other => {
                return Err(Error::template("$.parameters", format!("parameters are an object, not {}", kind(other))));
            }
        };
        envelope(template, path, scope.group.is_some())?;
        let frame = Arc::new(Frame::new(template, path, given, scope.clone(), world)?);
        check::template(template, path, &frame)?;
        Self::expand(template, frame, scope, world, path, None, depth)
    }

    fn expand(
        template: &Map<String, Value>,
        frame: Arc<Frame>,
        target: Scope,
        world: &dyn Resources,
        path: &str,
        outer: Option<Arc<Names>>,
        depth: usize,
    ) -> Result<Plan, Error> {
        let symbolic = template
            .get("languageVersion")
            .and_then(Value::as_str)
            .is_some_and(|version| version.split('.').next() == Some("2"));
        let mut expansion = Expansion {
            frame: &frame,
            target: target.id(),
            world,
            symbolic,
            drafts: Vec::new(),
            loops: Vec::new(),
            warnings: Vec::new(),
        };
        let empty = Value::Array(Vec::new());
        expansion.all(template.get("resources").unwrap_or(&empty), &format!("{path}.resources"), None, &[], 0)?;
        let count = expansion.drafts.iter().filter(|draft| draft.deployed && !draft.planned.existing).count();
        if count > MAX_RESOURCES {
            let message = format!("there are {count} resources, and {MAX_RESOURCES} are allowed");
            return Err(Error::template(&format!("{path}.resources"), message));
        }
        let Expansion { drafts, loops, mut warnings, .. } = expansion;
        let names = Arc::new(Names::new(&drafts, loops, target.id(), symbolic, outer));
        let edges = edges(&drafts, &names, &frame, world, &mut warnings)?;
        let resources = kept(drafts, edges);
        circles(&resources)?;

        let outputs = section(template, "outputs", path)?;
        if outputs.len() > MAX_OUTPUTS {
            let message = format!("there are {} outputs, and {MAX_OUTPUTS} are allowed", outputs.len());
            return Err(Error::template(&format!("{path}.outputs"), message));
        }
        Ok(Plan { target, resources, warnings, frame, names, outputs, path: path.to_owned(), depth })
    }

    /// The values of the parameters, defaults included: name, type, value, and whether it must not be shown.
    ///
    /// # Errors
    /// None, once the plan is made.
    pub fn parameters(&self, world: &dyn Resources) -> Result<Vec<(String, String, Value, bool)>, Error> {
        self.frame.values(world)
    }

    /// The resources by index, each after those that it depends on, otherwise as in the template.
    pub fn order(&self) -> Vec<usize> {
        let mut order = Vec::new();
        let mut done = BTreeSet::new();
        while order.len() < self.resources.len() {
            let before = order.len();
            for (index, resource) in self.resources.iter().enumerate() {
                if !done.contains(&index) && resource.depends_on.is_subset(&done) {
                    done.insert(index);
                    order.push(index);
                }
            }
            debug_assert!(order.len() > before, "a plan has no circles");
            if order.len() == before {
                break;
            }
        }
        order
    }

    /// Everything that comes before a resource, directly or not.
    pub fn before(&self, index: usize) -> BTreeSet<usize> {
        let mut before = BTreeSet::new();
        let mut open: Vec<usize> = self.resources[index].depends_on.iter().copied().collect();
        while let Some(next) = open.pop() {
            if before.insert(next) {
                open.extend(&self.resources[next].depends_on);
            }
        }
        before
    }

    fn env<'a>(&'a self, loops: &[Loop], world: &'a dyn Resources) -> Env<'a> {
        Env::of(&self.frame, world).in_loops(loops).with_references(&self.names)
    }

    /// A resource as it is sent to its provider: everything evaluated, members that are null left out.
    ///
    /// # Errors
    /// An expression without a value, such as a reference to what is not there.
    pub fn body(&self, index: usize, world: &dyn Resources) -> Result<Value, Error> {
        let resource = &self.resources[index];
        let env = self.env(&resource.loops, world);
        let mut body = Map::new();
        body.insert("id".into(), resource.id.clone().into());
        body.insert("type".into(), resource.kind.clone().into());
        body.insert("name".into(), resource.name.clone().into());
        body.insert("apiVersion".into(), resource.api_version.clone().into());
        for (key, value) in &resource.raw {
            if ENVELOPE.contains(&key.as_str()) {
                continue;
            }
            let path = format!("{}.{key}", resource.path);
            let value = if key == "properties" && resource.nested.is_some() {
                // The template is evaluated by its own plan.
                let mut own = value.clone();
                let template = own.as_object_mut().and_then(|properties| properties.remove("template"));
                let mut properties = env.value(&own, &path).map_err(|error| error.about(resource.id.clone()))?;
                if let Some(template) = template {
                    properties["template"] = template;
                }
                body.insert(key.clone(), properties);
                continue;
            } else {
                env.value(value, &path).map_err(|error| error.about(resource.id.clone()))?
            };
            body.insert(key.clone(), without_nulls(value));
        }
        body.retain(|_, value| !value.is_null());
        Ok(body.into())
    }

    /// The plan of a nested deployment, given what [`Plan::body`] says of it.
    ///
    /// # Errors
    /// As of [`Plan::of`]; a group that is not there; a resource that is no nested deployment.
    pub fn nested(&self, index: usize, body: &Value, world: &dyn Resources) -> Result<Plan, Error> {
        let resource = &self.resources[index];
        let path = format!("{}.properties", resource.path);
        let about = |error: Error| error.about(resource.id.clone());
        let Some(nested) = &resource.nested else {
            return Err(about(Error::template(&path, "it is no nested deployment")));
        };
        if self.depth + 1 >= MAX_DEPTH {
            return Err(about(Error::template(
                &path,
                format!("deployments are nested deeper than {MAX_DEPTH} levels"),
            )));
        }
        let group = match &nested.group {
            None => None,
            Some(name) => Some(world.group(&nested.subscription, name).ok_or_else(|| {
                let message = format!("there is no resource group {name:?}; make it first");
                about(Error::new("ResourceGroupNotFound", message))
            })?),
        };
        let properties = &body["properties"];
        let location = body.get("location").and_then(Value::as_str).map(str::to_owned);
        let scope = Scope {
            subscription: nested.subscription.clone(),
            group,
            deployment: DeploymentInfo { name: resource.name.clone(), location },
            ..self.target.clone()
        };
        let template = &properties["template"];
        let path = format!("{path}.template");
        if nested.inner {
            let parameters = properties.get("parameters").unwrap_or(&Value::Null);
            return Self::inner(template, parameters, scope, world, &path, self.depth + 1).map_err(about);
        }
        if properties.get("parameters").and_then(Value::as_object).is_some_and(|given| !given.is_empty()) {
            let message =
                "a nested deployment of outer scope takes no parameters; set expressionEvaluationOptions.scope";
            return Err(about(Error::template(&path, message)));
        }
        let template = template.as_object().ok_or_else(|| about(Error::template(&path, "a template is an object")))?;
        envelope(template, &path, scope.group.is_some()).map_err(about)?;
        Self::expand(template, self.frame.clone(), scope, world, &path, Some(self.names.clone()), self.depth + 1)
            .map_err(about)
    }

    /// What the template says in the end.
    ///
    /// # Errors
    /// An expression without a value, or one of another type.
    pub fn outputs(&self, world: &dyn Resources) -> Result<Vec<Output>, Error> {
        let env = self.env(&[], world);
        let mut outputs = Vec::new();
        for (name, output) in &self.outputs {
            let path = format!("{}.outputs.{name}", self.path);
            let wrong = |why: String| Error::new("DeploymentOutputEvaluationFailed", why).about(name.clone());
            if let Some(condition) = output.get("condition") {
                match env.value(condition, &format!("{path}.condition"))? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    other => return Err(wrong(format!("a condition must be a bool, it is {}", kind(&other))).at(&path)),
                }
            }
            let failed = |error: Error| wrong(format!("the output {name:?} has no value")).because(error);
            let value = match (output.get("value"), output.get("copy")) {
                (Some(value), None) => env.value(value, &format!("{path}.value")).map_err(failed)?,
                (None, Some(copy)) => env.looped(copy, &format!("{path}.copy")).map_err(failed)?,
                _ => return Err(wrong("an output has a value or a copy".to_owned()).at(&path)),
            };
            let wanted = output.get("type").and_then(Value::as_str).unwrap_or_default();
            let nothing = value.is_null() && output.get("nullable") == Some(&Value::Bool(true));
            if !nothing && !is_of(wanted, &value) {
                let message = format!("the output {name:?} is of type {wanted:?}, and its value is {}", kind(&value));
                return Err(wrong(message).at(&path));
            }
            outputs.push(Output { name: name.clone(), kind: wanted.to_owned(), value });
        }
        Ok(outputs)
    }
}

/// Members of a resource that are for the deployment, not for the provider.
const ENVELOPE: [&str; 14] = [
    "type",
    "apiVersion",
    "name",
    "dependsOn",
    "condition",
    "copy",
    "scope",
    "comments",
    "metadata",
    "resources",
    "existing",
    "resourceGroup",
    "subscriptionId",
    "asserts",
];

/// Members of a resource that go to the provider.
const MEMBERS: [&str; 12] = [
    "location",
    "tags",
    "properties",
    "sku",
    "kind",
    "identity",
    "plan",
    "zones",
    "managedBy",
    "extendedLocation",
    "etag",
    "eTag",
];

/// Checks what a template has on its first level.
fn envelope(template: &Map<String, Value>, path: &str, group: bool) -> Result<(), Error> {
    const KEYS: [&str; 11] = [
        "$schema",
        "contentVersion",
        "languageVersion",
        "apiProfile",
        "metadata",
        "definitions",
        "parameters",
        "variables",
        "functions",
        "resources",
        "outputs",
    ];
    if let Some(unknown) = template.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(Error::template(
            &format!("{path}.{unknown}"),
            format!("{unknown:?} of a template is not known here"),
        ));
    }
    let text = |key: &str| {
        let found = template.get(key).and_then(Value::as_str);
        found.ok_or_else(|| Error::template(&format!("{path}.{key}"), format!("a template needs a {key}")))
    };
    text("contentVersion")?;
    let schema = text("$schema")?;
    let name = schema.trim_end_matches('#').rsplit('/').next().unwrap_or_default().to_lowercase();
    let (wanted, place) = if group {
        ("deploymenttemplate.json", "a resource group")
    } else {
        ("subscriptiondeploymenttemplate.json", "a subscription")
    };
    if name != wanted {
        let message = format!("the schema {schema:?} is not that of a template for {place}");
        return Err(Error::template(&format!("{path}.$schema"), message));
    }
    if template.get("resources").is_none() {
        return Err(Error::template(path, "a template needs resources"));
    }
    Ok(())
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

struct Expansion<'a> {
    frame: &'a Frame,
    /// The id of the subscription or group that it goes to.
    target: String,
    world: &'a dyn Resources,
    symbolic: bool,
    drafts: Vec<Draft>,
    loops: Vec<String>,
    warnings: Vec<Warning>,
}

impl Expansion<'_> {
    fn all(
        &mut self,
        resources: &Value,
        path: &str,
        parent: Option<(&str, &str, &str)>,
        loops: &[Loop],
        depth: usize,
    ) -> Result<(), Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::template(
                path,
                format!("resources stand in one another deeper than {MAX_DEPTH} levels"),
            ));
        }
        match resources {
            Value::Array(list) if !self.symbolic => {
                for (index, resource) in list.iter().enumerate() {
                    self.copies(resource, &format!("{path}[{index}]"), None, parent, loops, depth)?;
                }
            }
            Value::Object(list) if self.symbolic => {
                for (symbol, resource) in list {
                    self.copies(resource, &format!("{path}.{symbol}"), Some(symbol), parent, loops, depth)?;
                }
            }
            Value::Null => {}
            Value::Object(_) => {
                return Err(Error::template(path, "resources by symbolic names need languageVersion 2.0"));
            }
            Value::Array(_) => {
                return Err(Error::template(
                    path,
                    "languageVersion 2.0 wants an object of resources by symbolic names",
                ));
            }
            other => {
                return Err(Error::template(path, format!("resources are an array or an object, not {}", kind(other))));
            }
        }
        Ok(())
    }

    /// One resource, or as many as its loop makes.
    fn copies(
        &mut self,
        resource: &Value,
        path: &str,
        symbol: Option<&str>,
        parent: Option<(&str, &str, &str)>,
        loops: &[Loop],
        depth: usize,
    ) -> Result<(), Error> {
        let raw = resource.as_object().ok_or_else(|| Error::template(path, "a resource is an object"))?;
        let Some(copy) = raw.get("copy") else {
            return self.one(raw, path, symbol, None, parent, loops, BTreeSet::new(), depth);
        };
        let place = format!("{path}.copy");
        let wrong = |why: &str| Error::template(&place, why);
        if let Some(unknown) = copy
            .as_object()
            .and_then(|copy| copy.keys().find(|key| !["name", "count", "mode", "batchSize"].contains(&key.as_str())))
        {
            return Err(wrong(&format!("a loop has no {unknown:?}")));
        }
        let name = copy.get("name").and_then(Value::as_str).ok_or_else(|| wrong("a loop needs a name and a count"))?;
        let count = copy.get("count").ok_or_else(|| wrong("a loop needs a name and a count"))?;
        self.loops.push(name.to_owned());
        self.loops.extend(symbol.map(str::to_owned));
        let env = Env::of(self.frame, self.world).in_loops(loops);
        let count = env.count(count, &place)?;
        let batch = match copy.get("mode").and_then(Value::as_str).unwrap_or("parallel").to_lowercase().as_str() {
            "parallel" => usize::MAX,
            "serial" => match copy.get("batchSize").map_or(Some(1), Value::as_u64) {
                Some(size @ 1..) => usize::try_from(size).unwrap_or(usize::MAX),
                _ => return Err(wrong("batchSize must be an int from 1")),
            },
            _ => return Err(wrong("the mode is serial or parallel")),
        };
        let (mut last, mut running) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..count {
            let mut loops = loops.to_vec();
            loops.push(Loop { name: name.to_owned(), index, resource: true });
            if running.len() >= batch {
                last = std::mem::take(&mut running);
            }
            running.insert(self.drafts.len());
            self.one(raw, path, symbol, Some(name), parent, &loops, last.clone(), depth)?;
            if self.drafts.len() > 4 * MAX_RESOURCES {
                return Err(wrong(&format!("there are more than {MAX_RESOURCES} resources")));
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn one(
        &mut self,
        raw: &Map<String, Value>,
        path: &str,
        symbol: Option<&str>,
        copy: Option<&str>,
        parent: Option<(&str, &str, &str)>,
        loops: &[Loop],
        after: BTreeSet<usize>,
        depth: usize,
    ) -> Result<(), Error> {
        let env = Env::of(self.frame, self.world).in_loops(loops);
        let wrong = |key: &str, why: String| {
            Error::template(&if key.is_empty() { path.to_owned() } else { format!("{path}.{key}") }, why)
        };
        let literal = |key: &str| match raw.get(key).and_then(Value::as_str) {
            Some(text) if matches!(expr::classify(text), Text::Literal(_)) => Ok(text),
            Some(_) => Err(wrong(key, format!("{key} must be a literal"))),
            None => Err(wrong("", format!("a resource needs a {key}"))),
        };
        let own = literal("type")?;
        let kind_full = match parent {
            Some((kind, _, _)) if !own.contains('/') => format!("{kind}/{own}"),
            _ => own.to_owned(),
        };
        let is_deployment = kind_full.eq_ignore_ascii_case(DEPLOYMENTS);
        for key in raw.keys() {
            let known = MEMBERS.contains(&key.as_str()) || ENVELOPE.contains(&key.as_str());
            let misplaced = (["resourceGroup", "subscriptionId"].contains(&key.as_str()) && !is_deployment)
                || (key == "existing" && !self.symbolic)
                || key == "asserts";
            if !known || misplaced {
                return Err(wrong(key, format!("{key:?} of a resource is not known here")));
            }
        }
        let api_version = literal("apiVersion")?;
        let evaluated = |key: &str| match raw.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match env.value(value, &format!("{path}.{key}"))? {
                Value::String(text) => Ok(Some(text)),
                other => Err(wrong(key, format!("{key} must be a string, it is {}", kind(&other)))),
            },
        };
        let name = evaluated("name")?.ok_or_else(|| wrong("", "a resource needs a name".into()))?;
        let name = match parent {
            Some((_, parent_name, _)) if !own.contains('/') => format!("{parent_name}/{name}"),
            _ => name,
        };
        let deployed = match raw.get("condition") {
            None => true,
            Some(condition) => match env.value(condition, &format!("{path}.condition"))? {
                Value::Bool(deployed) => deployed,
                other => return Err(wrong("condition", format!("a condition must be a bool, it is {}", kind(&other)))),
            },
        };
        let existing = match raw.get("existing") {
            None => false,
            Some(Value::Bool(existing)) => *existing,
            Some(_) => return Err(wrong("existing", "existing must be a bool".into())),
        };
        let nested = if is_deployment && !existing { Some(self.nested(raw, path, &evaluated)?) } else { None };
        let scope = match (evaluated("scope")?, &nested) {
            (Some(scope), _) => self.scope(&scope).map_err(|why| wrong("scope", why))?,
            (None, Some(Nested { subscription, group: Some(group), .. })) => {
                format!("/subscriptions/{subscription}/resourceGroups/{group}")
            }
            (None, Some(Nested { subscription, group: None, .. })) => format!("/subscriptions/{subscription}"),
            (None, None) => match parent {
                Some((_, _, scope)) => scope.to_owned(),
                None => self.target.clone(),
            },
        };
        let id = Id::of(&scope, &kind_full, &name).map_err(|why| wrong("name", why))?;
        if name.contains('/') && is_deployment {
            return Err(wrong("name", "the name of a deployment has one segment".into()));
        }
        if deployed
            && let Some(twin) =
                self.drafts.iter().find(|draft| draft.deployed && draft.planned.id.eq_ignore_ascii_case(&id))
        {
            return Err(wrong("", format!("it has the type and the name of {}: {id}", twin.planned.path)));
        }
        let mut depends_on = Vec::new();
        match raw.get("dependsOn") {
            None | Some(Value::Null) => {}
            Some(Value::Array(list)) => {
                for (index, wanted) in list.iter().enumerate() {
                    let place = format!("{path}.dependsOn[{index}]");
                    match env.value(wanted, &place)? {
                        Value::String(wanted) => depends_on.push((wanted, place)),
                        other => {
                            return Err(Error::template(
                                &place,
                                format!("it must be a string, it is {}", kind(&other)),
                            ));
                        }
                    }
                }
            }
            Some(other) => return Err(wrong("dependsOn", format!("it must be an array, it is {}", kind(other)))),
        }
        let planned = Planned {
            id,
            kind: kind_full.clone(),
            name: name.clone(),
            api_version: api_version.to_owned(),
            path: path.to_owned(),
            existing,
            depends_on: BTreeSet::new(),
            nested,
            raw: raw.clone(),
            loops: loops.to_vec(),
        };
        self.drafts.push(Draft {
            planned,
            symbol: symbol.map(str::to_owned),
            copy: copy.map(str::to_owned),
            depends_on,
            after,
            deployed,
        });
        if let Some(children) = raw.get("resources") {
            let parent = Some((kind_full.as_str(), name.as_str(), scope.as_str()));
            self.all(children, &format!("{path}.resources"), parent, loops, depth + 1)?;
        }
        Ok(())
    }

    fn nested(
        &self,
        raw: &Map<String, Value>,
        path: &str,
        evaluated: &dyn Fn(&str) -> Result<Option<String>, Error>,
    ) -> Result<Nested, Error> {
        let wrong = |key: &str, why: &str| Error::template(&format!("{path}.{key}"), why);
        let properties = raw.get("properties").and_then(Value::as_object);
        let properties = properties.ok_or_else(|| wrong("properties", "a nested deployment needs properties"))?;
        const KEYS: [&str; 4] = ["mode", "template", "parameters", "expressionEvaluationOptions"];
        if let Some(unknown) = properties.keys().find(|key| !KEYS.contains(&key.as_str()) && *key != "debugSetting") {
            let why = format!("{unknown:?} of a nested deployment is not evaluated here");
            return Err(wrong(&format!("properties.{unknown}"), &why));
        }
        match properties.get("mode").and_then(Value::as_str) {
            Some(mode) if mode.eq_ignore_ascii_case("Incremental") => {}
            _ => return Err(wrong("properties.mode", "the mode of a nested deployment can only be Incremental")),
        }
        if properties.get("template").is_none() {
            return Err(wrong("properties", "a nested deployment needs a template"));
        }
        let scope = properties.get("expressionEvaluationOptions").and_then(|options| options.get("scope"));
        let inner = match scope.and_then(Value::as_str).unwrap_or("outer").to_lowercase().as_str() {
            "inner" => true,
            "outer" | "notspecified" => false,
            _ => return Err(wrong("properties.expressionEvaluationOptions.scope", "it is inner or outer")),
        };
        let subscription = evaluated("subscriptionId")?;
        let target = Id::parse(&self.target).map_err(|error| wrong("", &error.to_string()))?;
        let group = evaluated("resourceGroup")?;
        if group.is_some() && raw.contains_key("location") {
            return Err(wrong("location", "a nested deployment to a resource group has no location"));
        }
        // Within a group the group is the same unless another is named; another subscription has none of its name.
        let group = group.or_else(|| if subscription.is_none() { target.group.clone() } else { None });
        if group.is_none() && !raw.contains_key("location") {
            return Err(wrong("location", "a nested deployment to a subscription needs a location"));
        }
        let subscription = subscription.or(target.subscription).unwrap_or_default();
        Ok(Nested { subscription, group, inner })
    }

    /// What an extension is for: an id, or `Namespace/type/name` below the target.
    fn scope(&self, scope: &str) -> Result<String, String> {
        if scope == "/" {
            return Ok(String::new());
        }
        if scope.starts_with('/') {
            return Id::parse(scope).map(|id| id.to_string()).map_err(|error| error.to_string());
        }
        let scope = format!("{}/providers/{scope}", self.target);
        Id::parse(&scope).map(|id| id.to_string()).map_err(|error| error.to_string())
    }
}

/// What comes before each draft, by index among the drafts.
fn edges(
    drafts: &[Draft],
    names: &Names,
    frame: &Frame,
    world: &dyn Resources,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<BTreeSet<usize>>, Error> {
    let mut edges = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        let mut before = draft.after.clone();
        for (wanted, path) in &draft.depends_on {
            match names.matching(wanted) {
                Some(found) => before.extend(found),
                // A template that was converted from symbolic names may still hold them. Each resource stands after
                // those it needs there.
                None if names.is_label(wanted) => {
                    warnings.push(Warning {
                        path: path.clone(),
                        message: format!(
                            "no resource is called {wanted:?}; everything that stands before it comes first"
                        ),
                    });
                    before.extend(0..index);
                }
                None => {
                    let message =
                        format!("the resource {wanted:?} is not in the template; dependsOn can name no other");
                    return Err(Error::template(path, message).about(draft.planned.id.clone()));
                }
            }
        }
        // An extension cannot be there before what it extends; whether the service waits for it by itself is not said.
        if let Some(extended) = Id::parse(&draft.planned.id).ok().filter(|id| id.providers.len() > 1)
            && let Some(found) = names.matching(&extended.scope().to_string())
            && !found.iter().all(|index| before.contains(index))
        {
            warnings.push(Warning {
                path: draft.planned.path.clone(),
                message: "it extends a resource of the same template, which dependsOn does not name".to_owned(),
            });
            before.extend(found);
        }
        let env = Env::of(frame, world).in_loops(&draft.planned.loops);
        let mut references = Vec::new();
        if let Some(properties) = draft.planned.raw.get("properties") {
            calls(properties, draft.planned.nested.as_ref().is_some_and(|nested| nested.inner), &mut |args| {
                references.push(args.to_vec());
            });
        }
        for args in references {
            // With a version the resource may stand anywhere, and nothing is implied; symbols always imply it.
            if args.len() != 1 && !names.symbolic {
                continue;
            }
            let Some(Ok(Value::String(wanted))) = args.first().map(|arg| env.expr(arg, &crate::eval::Locals::None))
            else {
                continue;
            };
            if let Some(copies) = names.matching(&wanted) {
                before.extend(copies);
            } else if let Ok(found) = names.find(&wanted)
                && let Some(at) = found.index
            {
                warnings.push(Warning {
                    path: draft.planned.path.clone(),
                    message: format!("no resource is called {wanted:?}; {} is taken for it", found.id),
                });
                before.insert(at);
            }
        }
        before.remove(&index);
        edges.push(before);
    }
    Ok(edges)
}

/// Visits the arguments of every `reference()` and `references()` below a value.
fn calls(value: &Value, skip_template: bool, visit: &mut dyn FnMut(&[Expr])) {
    match value {
        Value::String(text) => {
            if let Text::Expression(text) = expr::classify(text)
                && let Ok(expr) = expr::parse(text)
            {
                expr.walk(&mut |expr| {
                    if let Expr::Call { namespace: None, name, args } = expr
                        && (name.eq_ignore_ascii_case("reference") || name.eq_ignore_ascii_case("references"))
                    {
                        visit(args);
                    }
                });
            }
        }
        Value::Array(items) => items.iter().for_each(|item| calls(item, false, visit)),
        Value::Object(object) => {
            for (key, value) in object {
                if !(skip_template && key == "template") {
                    calls(value, false, visit);
                }
            }
        }
        _ => {}
    }
}

/// The resources whose condition holds. Nothing waits for one whose condition does not.
fn kept(drafts: Vec<Draft>, edges: Vec<BTreeSet<usize>>) -> Vec<Planned> {
    let mut place = Vec::new();
    let mut count = 0;
    for draft in &drafts {
        place.push(draft.deployed.then_some(count));
        count += usize::from(draft.deployed);
    }
    let mut resources = Vec::new();
    for (mut draft, before) in drafts.into_iter().zip(edges) {
        if draft.deployed {
            draft.planned.depends_on = before.into_iter().filter_map(|index| place[index]).collect();
            resources.push(draft.planned);
        }
    }
    resources
}

/// Refuses resources that wait for one another.
fn circles(resources: &[Planned]) -> Result<(), Error> {
    let mut open: BTreeSet<usize> = (0..resources.len()).collect();
    loop {
        let ready: Vec<usize> =
            open.iter().copied().filter(|index| resources[*index].depends_on.is_disjoint(&open)).collect();
        if ready.is_empty() {
            break;
        }
        ready.iter().for_each(|index| {
            open.remove(index);
        });
    }
    // Those that wait are in a circle or behind one; following what each waits for leads into it.
    let Some(mut at) = open.first().copied() else { return Ok(()) };
    let mut way = Vec::new();
    while !way.contains(&at) {
        way.push(at);
        at = *resources[at].depends_on.iter().find(|before| open.contains(before)).unwrap_or(&at);
    }
    let start = way.iter().position(|step| *step == at).unwrap_or_default();
    let names: Vec<_> = way[start..].iter().map(|index| show(&resources[*index].id.clone().into())).collect();
    let message = format!("these resources depend on one another in a circle: {}", names.join(" on "));
    Err(Error::template(&resources[at].path, message).about(resources[at].id.clone()))
}

fn named(draft: &Draft) -> Named {
    Named {
        id: draft.planned.id.clone(),
        kind: draft.planned.kind.clone(),
        name: draft.planned.name.clone(),
        symbol: draft.symbol.clone(),
        copy: draft.copy.clone(),
        turn: draft.planned.loops.last().filter(|_| draft.copy.is_some()).map(|turn| turn.index),
        deployed: draft.deployed,
        existing: draft.planned.existing,
    }
}

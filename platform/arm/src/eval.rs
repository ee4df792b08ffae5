//! The value of an expression, where it stands.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::expr::{self, Expr, Text};
use crate::functions::{self, kind, property, show};
use crate::parameters::Frame;
use crate::plan::Names;
use crate::{Error, Group, Id, MAX_RESOURCES, Resources};

/// How deep functions of a template may call one another.
const MAX_CALLS: usize = 32;

/// One turn of a copy loop.
#[derive(Debug, Clone)]
pub(crate) struct Loop {
    /// Its name.
    pub(crate) name: String,
    /// Which turn, from 0.
    pub(crate) index: i64,
    /// Whether it copies a resource; such a loop is meant where no name is given.
    pub(crate) resource: bool,
}

/// The names that lambdas bind, innermost first.
pub(crate) enum Locals<'l> {
    /// No more.
    None,
    /// One, and those outside of it.
    Bound(&'l str, &'l Value, &'l Locals<'l>),
}

/// Where an expression stands, and what it may use there.
#[derive(Clone)]
pub(crate) struct Env<'a> {
    frame: &'a Frame,
    world: &'a dyn Resources,
    names: Option<&'a Names>,
    loops: Vec<Loop>,
    arguments: Option<&'a BTreeMap<String, Value>>,
    references: bool,
    defaults: bool,
    calls: usize,
}

impl<'a> Env<'a> {
    /// A place where nothing of the deployment is known yet.
    pub(crate) fn of(frame: &'a Frame, world: &'a dyn Resources) -> Self {
        Env {
            frame,
            world,
            names: None,
            loops: Vec::new(),
            arguments: None,
            references: false,
            defaults: false,
            calls: 0,
        }
    }

    /// A parameter's default: `newGuid` and `utcNow` may stand there.
    pub(crate) fn for_defaults(mut self) -> Self {
        self.defaults = true;
        self
    }

    /// Inside of copy loops.
    pub(crate) fn in_loops(mut self, loops: &[Loop]) -> Self {
        self.loops = loops.to_vec();
        self
    }

    /// A resource's properties, or an output: `reference` and the list functions may stand there.
    pub(crate) fn with_references(mut self, names: &'a Names) -> Self {
        self.names = Some(names);
        self.references = true;
        self
    }

    /// A value with all expressions in it evaluated.
    pub(crate) fn value(&self, value: &Value, path: &str) -> Result<Value, Error> {
        match value {
            Value::String(text) => self.text(text, path),
            Value::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| self.value(item, &format!("{path}[{index}]")));
                items.collect()
            }
            Value::Object(object) => {
                let mut result = Map::new();
                for (key, value) in object {
                    if let (Value::Array(copies), "copy") = (value, key.as_str()) {
                        for (index, copy) in copies.iter().enumerate() {
                            let path = format!("{path}.copy[{index}]");
                            let name = copy.get("name").and_then(Value::as_str).ok_or_else(|| {
                                Error::template(&path, "a loop over a property needs name, count and input")
                            })?;
                            result.insert(name.to_owned(), self.looped(copy, &path)?);
                        }
                        continue;
                    }
                    let place = format!("{path}.{key}");
                    let name = match expr::classify(key) {
                        Text::Expression(_) => show(&self.text(key, &place)?),
                        Text::Literal(text) => text.to_owned(),
                    };
                    result.insert(name, self.value(value, &place)?);
                }
                Ok(result.into())
            }
            other => Ok(other.clone()),
        }
    }

    /// The array that `{name, count, input}` makes.
    pub(crate) fn looped(&self, copy: &Value, path: &str) -> Result<Value, Error> {
        let (count, input) = (copy.get("count"), copy.get("input"));
        let (Some(count), Some(input)) = (count, input) else {
            return Err(Error::template(path, "a loop needs count and input"));
        };
        let count = self.count(count, path)?;
        let name = copy.get("name").and_then(Value::as_str).unwrap_or_default();
        let turns = (0..count).map(|index| {
            let mut env = self.clone();
            env.loops.push(Loop { name: name.to_owned(), index, resource: false });
            env.value(input, &format!("{path}.input"))
        });
        turns.collect()
    }

    /// How often a loop turns.
    pub(crate) fn count(&self, count: &Value, path: &str) -> Result<i64, Error> {
        let most = MAX_RESOURCES as i64;
        match self.value(count, &format!("{path}.count"))?.as_i64() {
            Some(count) if (0..=most).contains(&count) => Ok(count),
            other => {
                let message = format!("the count of a loop must be an int from 0 to {most}, it is {other:?}");
                Err(Error::template(&format!("{path}.count"), message))
            }
        }
    }

    /// The value of a text: itself, or its expression's.
    pub(crate) fn text(&self, text: &str, path: &str) -> Result<Value, Error> {
        match expr::classify(text) {
            Text::Literal(text) => Ok(text.into()),
            Text::Expression(expression) => {
                let expr = expr::parse(expression).map_err(|why| Error::template(path, format!("{why}: {text}")))?;
                self.expr(&expr, &Locals::None).map_err(|error| error.at(path))
            }
        }
    }

    /// The value of an expression.
    pub(crate) fn expr(&self, expr: &Expr, locals: &Locals) -> Result<Value, Error> {
        match expr {
            Expr::Text(text) => Ok(text.as_str().into()),
            Expr::Int(number) => Ok((*number).into()),
            Expr::Index { of, key, safe } => {
                let of = self.expr(of, locals)?;
                let key = self.expr(key, locals)?;
                if *safe && of.is_null() {
                    return Ok(Value::Null);
                }
                match look_up(&of, &key) {
                    Ok(found) => Ok(found.clone()),
                    Err(_) if *safe => Ok(Value::Null),
                    Err(why) => Err(Error::expression(why)),
                }
            }
            Expr::Call { namespace: Some(namespace), name, args } => self.own(namespace, name, args, locals),
            Expr::Call { namespace: None, name, args } => {
                let lower = name.to_ascii_lowercase();
                self.call(&lower, args, locals).map_err(|mut error| {
                    if error.places.is_empty() && error.details.is_empty() && error.code == "InvalidTemplate" {
                        let prefix = format!("{name}(): ");
                        if !error.message.contains("(): ") {
                            error.message.insert_str(0, &prefix);
                        }
                    }
                    error
                })
            }
        }
    }

    fn args(&self, args: &[Expr], locals: &Locals) -> Result<Vec<Value>, Error> {
        args.iter().map(|arg| self.expr(arg, locals)).collect()
    }

    fn one(&self, args: &[Expr], index: usize, locals: &Locals) -> Result<Value, Error> {
        let arg = args.get(index).ok_or_else(|| Error::expression(format!("argument {} is missing", index + 1)))?;
        self.expr(arg, locals)
    }

    fn text_at(&self, args: &[Expr], index: usize, locals: &Locals) -> Result<String, Error> {
        match self.one(args, index, locals)? {
            Value::String(text) => Ok(text),
            other => Err(Error::expression(format!("argument {} must be a string, it is {}", index + 1, kind(&other)))),
        }
    }

    fn test(&self, args: &[Expr], index: usize, locals: &Locals) -> Result<bool, Error> {
        match self.one(args, index, locals)? {
            Value::Bool(value) => Ok(value),
            other => Err(Error::expression(format!("argument {} must be a bool, it is {}", index + 1, kind(&other)))),
        }
    }

    /// Calls a function of the template.
    fn own(&self, namespace: &str, name: &str, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let Some(function) = self.frame.functions.get(&format!("{namespace}.{name}").to_lowercase()) else {
            return Err(Error::expression(format!("there is no function {namespace}.{name}()")));
        };
        if args.len() != function.parameters.len() {
            let wanted = function.parameters.len();
            return Err(Error::expression(format!(
                "{namespace}.{name}() takes {wanted} arguments, and {} are given",
                args.len()
            )));
        }
        if self.calls >= MAX_CALLS {
            return Err(Error::expression(format!("functions call one another deeper than {MAX_CALLS} levels")));
        }
        let given: BTreeMap<_, _> = function.parameters.iter().cloned().zip(self.args(args, locals)?).collect();
        let env = Env { arguments: Some(&given), loops: Vec::new(), calls: self.calls + 1, ..self.clone() };
        env.value(&function.value, &function.path)
    }

    fn call(&self, name: &str, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let wrong = |why: String| Error::expression(why);
        let scope = &self.frame.scope;
        match name {
            "parameters" => {
                let wanted = self.text_at(args, 0, locals)?;
                match self.arguments {
                    Some(given) => given
                        .get(&wanted.to_lowercase())
                        .cloned()
                        .ok_or_else(|| wrong(format!("the function has no parameter {wanted:?}"))),
                    None => self.frame.parameter(&wanted, self.world),
                }
            }
            "variables" => {
                let wanted = self.text_at(args, 0, locals)?;
                if self.arguments.is_some() {
                    return Err(wrong("a function of a template cannot use variables".to_owned()));
                }
                self.frame.variable(&wanted, self.world)
            }
            "if" => {
                if args.len() != 3 {
                    return Err(wrong(format!("it takes 3 arguments, and {} are given", args.len())));
                }
                self.expr(&args[if self.test(args, 0, locals)? { 1 } else { 2 }], locals)
            }
            "and" | "or" => {
                for index in 0..args.len().max(2) {
                    let value = self.test(args, index, locals)?;
                    if value == (name == "or") {
                        return Ok(value.into());
                    }
                }
                Ok((name == "and").into())
            }
            "coalesce" => {
                for arg in args {
                    let value = self.expr(arg, locals)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Value::Null)
            }
            "tryget" => {
                let mut value = self.one(args, 0, locals)?;
                for index in 1..args.len().max(2) {
                    let key = self.one(args, index, locals)?;
                    value = look_up(&value, &key).ok().cloned().unwrap_or_default();
                }
                Ok(value)
            }
            "fail" => Err(Error::new("DeploymentFailed", self.text_at(args, 0, locals)?)),
            "copyindex" => self.copy_index(args, locals),
            "lambdavariables" => {
                let wanted = self.text_at(args, 0, locals)?;
                let mut locals = locals;
                while let Locals::Bound(name, value, outside) = locals {
                    if name.eq_ignore_ascii_case(&wanted) {
                        return Ok((*value).clone());
                    }
                    locals = outside;
                }
                Err(wrong(format!("no lambda binds {wanted:?}")))
            }
            "lambda" => {
                Err(wrong("a lambda may stand only in filter, groupBy, map, mapValues, reduce, sort, toObject".into()))
            }
            "filter" | "groupby" | "map" | "mapvalues" | "reduce" | "sort" | "toobject" => {
                self.higher(name, args, locals)
            }
            "newguid" | "utcnow" => {
                if !self.defaults {
                    return Err(wrong("it may stand only in the default of a parameter".to_owned()));
                }
                if name == "newguid" {
                    return Ok(uuid::Uuid::new_v4().to_string().into());
                }
                let format = if args.is_empty() { None } else { Some(self.text_at(args, 0, locals)?) };
                functions::now(format.as_deref()).map(Value::from).map_err(wrong)
            }
            "deployment" => {
                let mut about = json!({
                    "name": scope.deployment.name,
                    "properties": {"mode": "Incremental", "provisioningState": "Accepted",
                        "template": {"contentVersion": "1.0.0.0"}},
                });
                if let Some(location) = &scope.deployment.location {
                    about["location"] = location.as_str().into();
                }
                Ok(about)
            }
            "deployer" => Ok(json!({"objectId": scope.deployer, "tenantId": scope.tenant, "userPrincipalName": ""})),
            "environment" => Ok(scope.environment.clone()),
            "subscription" => Ok(json!({
                "id": format!("/subscriptions/{}", scope.subscription),
                "subscriptionId": scope.subscription,
                "tenantId": scope.tenant,
                "displayName": scope.subscription_name,
            })),
            "tenant" => Ok(json!({"tenantId": scope.tenant, "countryCode": null, "displayName": null})),
            "resourcegroup" => match &scope.group {
                Some(group) => Ok(describe(&scope.subscription, group)),
                None => Err(wrong("a deployment to a subscription is in no resource group".to_owned())),
            },
            "resourceid"
            | "subscriptionresourceid"
            | "tenantresourceid"
            | "extensionresourceid"
            | "managementgroupresourceid" => self.resource_id(name, args, locals),
            "reference" => self.reference(args, locals),
            "references" => self.references(args, locals),
            _ if functions::is_list(name) => self.list(name, args, locals),
            _ if functions::REFUSED.contains(&name) => {
                Err(wrong(format!("the function {name}() is not evaluated here")))
            }
            _ => {
                let args = self.args(args, locals)?;
                match functions::call(name, &args) {
                    Some(outcome) => outcome.map_err(wrong),
                    None => Err(wrong(format!("there is no function {name}()"))),
                }
            }
        }
    }

    fn copy_index(&self, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let args = self.args(args, locals)?;
        let (name, offset) = match args.as_slice() {
            [] => (None, 0),
            [Value::String(name)] => (Some(name), 0),
            [Value::Number(offset)] => (None, offset.as_i64().unwrap_or_default()),
            [Value::String(name), Value::Number(offset)] => (Some(name), offset.as_i64().unwrap_or_default()),
            _ => return Err(Error::expression("it takes the name of a loop and an offset")),
        };
        let found = match name {
            Some(name) => self.loops.iter().rev().find(|turn| turn.name.eq_ignore_ascii_case(name)),
            None => self.loops.iter().rev().find(|turn| turn.resource).or(self.loops.last()),
        };
        let turn = found.ok_or_else(|| {
            Error::expression(match name {
                Some(name) => format!("there is no loop {name:?} around it"),
                None => "there is no loop around it".to_owned(),
            })
        })?;
        turn.index.checked_add(offset).map(Value::from).ok_or_else(|| Error::expression("the offset is too large"))
    }

    /// The parameters and the body of a lambda.
    fn lambda<'e>(&self, args: &'e [Expr], index: usize) -> Result<(Vec<&'e str>, &'e Expr), Error> {
        let wrong = || Error::expression(format!("argument {} must be a lambda", index + 1));
        match args.get(index) {
            Some(Expr::Call { namespace: None, name, args }) if name.eq_ignore_ascii_case("lambda") => {
                let (body, names) = args.split_last().ok_or_else(wrong)?;
                let names = names.iter().map(|name| match name {
                    Expr::Text(name) => Ok(name.as_str()),
                    _ => Err(wrong()),
                });
                Ok((names.collect::<Result<_, _>>()?, body))
            }
            _ => Err(wrong()),
        }
    }

    fn apply(&self, lambda: &(Vec<&str>, &Expr), values: &[&Value], locals: &Locals) -> Result<Value, Error> {
        fn bind<T>(names: &[&str], values: &[&Value], locals: &Locals, then: &dyn Fn(&Locals) -> T) -> T {
            match (names, values) {
                ([name, names @ ..], [value, values @ ..]) => {
                    bind(names, values, &Locals::Bound(name, value, locals), then)
                }
                _ => then(locals),
            }
        }
        if lambda.0.len() > values.len() || lambda.0.is_empty() {
            let wanted = values.len();
            return Err(Error::expression(format!(
                "the lambda has {} parameters, and {wanted} are given",
                lambda.0.len()
            )));
        }
        bind(&lambda.0, values, locals, &|locals| self.expr(lambda.1, locals))
    }

    fn higher(&self, name: &str, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let wrong = |why: &str| Error::expression(why);
        let of = self.one(args, 0, locals)?;
        if name == "mapvalues" {
            let lambda = self.lambda(args, 1)?;
            let object = of.as_object().ok_or_else(|| wrong("argument 1 must be an object"))?;
            let mapped = object.iter().map(|(key, value)| Ok((key.clone(), self.apply(&lambda, &[value], locals)?)));
            return Ok(mapped.collect::<Result<Map<_, _>, Error>>()?.into());
        }
        let items = of.as_array().ok_or_else(|| wrong("argument 1 must be an array"))?;
        let text = |value: Value| match value {
            Value::String(text) => Ok(text),
            _ => Err(wrong("the lambda must give a string")),
        };
        let test = |value: Value| value.as_bool().ok_or_else(|| wrong("the lambda must give a bool"));
        match name {
            "filter" | "map" => {
                let lambda = self.lambda(args, 1)?;
                let mut result = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let value = self.apply(&lambda, &[item, &index.into()], locals)?;
                    if name == "map" {
                        result.push(value);
                    } else if test(value)? {
                        result.push(item.clone());
                    }
                }
                Ok(result.into())
            }
            "groupby" => {
                let lambda = self.lambda(args, 1)?;
                let mut groups = Map::new();
                for item in items {
                    let key = text(self.apply(&lambda, &[item], locals)?)?;
                    let group = groups.entry(key).or_insert_with(|| json!([]));
                    group.as_array_mut().into_iter().for_each(|group| group.push(item.clone()));
                }
                Ok(groups.into())
            }
            "toobject" => {
                let key = self.lambda(args, 1)?;
                let mut object = Map::new();
                for item in items {
                    let key = text(self.apply(&key, &[item], locals)?)?;
                    let value = match args.len() {
                        2 => item.clone(),
                        _ => self.apply(&self.lambda(args, 2)?, &[item], locals)?,
                    };
                    object.insert(key, value);
                }
                Ok(object.into())
            }
            "reduce" => {
                let mut value = self.one(args, 1, locals)?;
                let lambda = self.lambda(args, 2)?;
                for (index, item) in items.iter().enumerate() {
                    value = self.apply(&lambda, &[&value, item, &index.into()], locals)?;
                }
                Ok(value)
            }
            _ => {
                let lambda = self.lambda(args, 1)?;
                let mut items = items.clone();
                let mut failure = None;
                items.sort_by(|a, b| {
                    let mut less = |a, b| match self.apply(&lambda, &[a, b], locals).and_then(test) {
                        Ok(less) => less,
                        Err(error) => {
                            failure.get_or_insert(error);
                            false
                        }
                    };
                    match (less(a, b), less(b, a)) {
                        (true, false) => Ordering::Less,
                        (false, true) => Ordering::Greater,
                        _ => Ordering::Equal,
                    }
                });
                failure.map_or(Ok(items.into()), Err)
            }
        }
    }

    fn resource_id(&self, function: &str, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let mut texts = Vec::new();
        for (index, arg) in self.args(args, locals)?.into_iter().enumerate() {
            match arg {
                Value::String(text) => texts.push(text),
                other => {
                    return Err(Error::expression(format!(
                        "argument {} must be a string, it is {}",
                        index + 1,
                        kind(&other)
                    )));
                }
            }
        }
        // The type is the first argument with a slash; of an extension's, the first is the scope.
        let skipped = usize::from(function == "extensionresourceid");
        let at = texts.iter().skip(skipped).position(|text| text.contains('/')).map(|at| at + skipped);
        let at =
            at.ok_or_else(|| Error::expression("no argument is a type, as in Microsoft.Storage/storageAccounts"))?;
        let (before, name) = (&texts[..at], texts[at + 1..].join("/"));
        let scope = &self.frame.scope;
        let subscription = |index: usize| before.get(index).map_or(scope.subscription.as_str(), String::as_str);
        let most = match function {
            "resourceid" => 2,
            "subscriptionresourceid" | "extensionresourceid" | "managementgroupresourceid" => 1,
            _ => 0,
        };
        if before.len() > most {
            return Err(Error::expression(format!("{} arguments stand before the type, and {most} may", before.len())));
        }
        let base = match function {
            "tenantresourceid" => String::new(),
            "subscriptionresourceid" => format!("/subscriptions/{}", subscription(0)),
            "extensionresourceid" => before[0].clone(),
            "managementgroupresourceid" => match before.first() {
                Some(group) => format!("/providers/Microsoft.Management/managementGroups/{group}"),
                None => return Err(Error::expression("deployments to management groups are not evaluated here")),
            },
            _ => {
                let own = scope.group.as_ref().map(|group| group.name.as_str());
                let (subscription, group) = match before {
                    [] => (scope.subscription.as_str(), own),
                    [group] if uuid::Uuid::parse_str(group).is_ok() && own.is_none() => (group.as_str(), None),
                    [group] => (scope.subscription.as_str(), Some(group.as_str())),
                    [subscription, group, ..] => (subscription.as_str(), Some(group.as_str())),
                };
                match group {
                    Some(group) => format!("/subscriptions/{subscription}/resourceGroups/{group}"),
                    None => format!("/subscriptions/{subscription}"),
                }
            }
        };
        Id::of(&base, &texts[at], &name).map(Value::from).map_err(Error::expression)
    }

    fn may_refer(&self) -> Result<&'a Names, Error> {
        match self.names {
            Some(names) if self.references => Ok(names),
            _ => Err(Error::expression("it may stand only in properties of resources and in outputs")),
        }
    }

    fn reference(&self, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let names = self.may_refer()?;
        let wanted = self.text_at(args, 0, locals)?;
        let version = if args.len() > 1 { Some(self.text_at(args, 1, locals)?) } else { None };
        let full = match args.len() {
            3 => {
                let word = self.text_at(args, 2, locals)?;
                if !word.eq_ignore_ascii_case("full") {
                    return Err(Error::expression(format!("argument 3 can only be 'Full', it is {word:?}")));
                }
                true
            }
            1 | 2 => false,
            other => return Err(Error::expression(format!("it takes 1 to 3 arguments, and {other} are given"))),
        };
        let found = names.find(&wanted).map_err(Error::expression)?;
        if version.is_none() && found.index.is_none() && !found.outer {
            let message = format!("{wanted:?} is not in the template, so that an API version has to be given");
            return Err(Error::expression(message));
        }
        self.world.reference(&found.id, version.as_deref(), full)
    }

    fn references(&self, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let names = self.may_refer()?;
        let wanted = self.text_at(args, 0, locals)?;
        let full = args.len() > 1 && self.text_at(args, 1, locals)?.eq_ignore_ascii_case("full");
        let ids = names.copies(&wanted).ok_or_else(|| Error::expression(format!("there is no loop {wanted:?}")))?;
        ids.iter().map(|id| self.world.reference(id, None, full)).collect()
    }

    fn list(&self, function: &str, args: &[Expr], locals: &Locals) -> Result<Value, Error> {
        let names = self.may_refer()?;
        let wanted = self.text_at(args, 0, locals)?;
        let version = self.text_at(args, 1, locals)?;
        let body = if args.len() > 2 { Some(self.one(args, 2, locals)?) } else { None };
        let found = names.find(&wanted).map_err(Error::expression)?;
        self.world.list(function, &found.id, &version, body.as_ref())
    }
}

/// A group as `resourceGroup()` shows it.
fn describe(subscription: &str, group: &Group) -> Value {
    json!({
        "id": format!("/subscriptions/{subscription}/resourceGroups/{}", group.name),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "tags": group.tags,
        "properties": {"provisioningState": "Succeeded"},
    })
}

/// A property by name in any case, or an item by position.
fn look_up<'v>(of: &'v Value, key: &Value) -> Result<&'v Value, String> {
    match (of, key) {
        (Value::Object(object), Value::String(name)) => property(object, name).ok_or_else(|| {
            let names: Vec<_> = object.keys().map(String::as_str).collect();
            format!("there is no property {name:?}; there are: {}", names.join(", "))
        }),
        (Value::Array(items), Value::Number(index)) => {
            let found = index.as_u64().and_then(|index| items.get(usize::try_from(index).ok()?));
            found.ok_or_else(|| format!("there is no item {index}, the array has {}", items.len()))
        }
        (Value::Object(_), other) => Err(format!("a property's name must be a string, it is {}", kind(other))),
        (Value::Array(_), other) => Err(format!("a position must be an int, it is {}", kind(other))),
        (other, key) => Err(format!("{key} cannot be looked up in {}", kind(other))),
    }
}

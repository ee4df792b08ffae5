//! Templates as ARM JSON: resources as an array, nested deployments with inner scope, keys in a fixed order.

use serde::ser::{Serialize, Serializer};
use skein_model::arm::{
    Deployment, Expr, Flaw, FlawKind, Item, Key, LIMITS, Parameter, Place, Scope, Source, Target, Template, Value, join,
};

/// The version of the API of nested deployments.
const DEPLOYMENTS: &str = "2025-04-01";

/// The template as ARM JSON, with a final line break. The same template gives the same bytes.
///
/// # Errors
/// Everything that is wrong with the template; see [`Template::check`]. An expression or a template that is too long.
pub fn arm(template: &Template) -> Result<String, Vec<Flaw>> {
    template.check()?;
    printed(template)
}

/// The text of a template that was checked.
pub(crate) fn printed(template: &Template) -> Result<String, Vec<Flaw>> {
    let mut print = Print { flaws: Vec::new() };
    let json = print.template(template);
    let mut text = serde_json::to_string_pretty(&json).expect("a template is plain data");
    text.push('\n');
    if text.len() > LIMITS.bytes {
        print.flaw("template", None, FlawKind::Limit { what: "bytes", count: text.len(), most: LIMITS.bytes });
    }
    if print.flaws.is_empty() { Ok(text) } else { Err(print.flaws) }
}

/// JSON whose keys keep their order, whatever features `serde_json` is built with.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(flag) => serializer.serialize_bool(*flag),
            Json::Int(number) => serializer.serialize_i64(*number),
            Json::Text(text) => serializer.serialize_str(text),
            Json::List(list) => serializer.collect_seq(list),
            Json::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::Text(text.to_owned())
    }
}

fn object(entries: impl IntoIterator<Item = (&'static str, Json)>) -> Json {
    Json::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

struct Print {
    flaws: Vec<Flaw>,
}

impl Print {
    fn flaw(&mut self, part: &str, place: Option<Place>, kind: FlawKind) {
        self.flaws.push(Flaw { part: part.to_owned(), place, kind });
    }

    fn template(&mut self, template: &Template) -> Json {
        let schema = match template.scope {
            Scope::Subscription => "2018-05-01/subscriptionDeploymentTemplate",
            Scope::Group => "2019-04-01/deploymentTemplate",
        };
        let schema = format!("https://schema.management.azure.com/schemas/{schema}.json#");
        let mut entries =
            vec![("$schema".to_owned(), Json::Text(schema)), ("contentVersion".to_owned(), "1.0.0.0".into())];
        let mut section = |name: &str, section: Vec<(String, Json)>| {
            if !section.is_empty() {
                entries.push((name.to_owned(), Json::Object(section)));
            }
        };
        let parameters = template.parameters.iter();
        section(
            "parameters",
            parameters.map(|parameter| (parameter.name.clone(), self.parameter(template, parameter))).collect(),
        );
        let variables = template.variables.iter();
        section(
            "variables",
            variables
                .map(|variable| (variable.name.clone(), self.value(template, "variables", None, &variable.value)))
                .collect(),
        );
        let resources = template.items.iter().map(|item| self.item(template, item)).collect();
        entries.push(("resources".to_owned(), Json::List(resources)));
        let outputs: Vec<_> = template
            .outputs
            .iter()
            .map(|output| {
                let value = self.value(template, "outputs", Some(output.place), &output.value);
                (output.name.clone(), object([("type", output.kind.into()), ("value", value)]))
            })
            .collect();
        if !outputs.is_empty() {
            entries.push(("outputs".to_owned(), Json::Object(outputs)));
        }
        Json::Object(entries)
    }

    fn parameter(&mut self, template: &Template, parameter: &Parameter) -> Json {
        let kind = match (parameter.kind, parameter.secure) {
            ("string", true) => "securestring",
            ("object", true) => "secureobject",
            (kind, _) => kind,
        };
        let mut entries = vec![("type", kind.into())];
        if let Some(default) = &parameter.default {
            entries.push(("defaultValue", self.value(template, "parameters", Some(parameter.place), default)));
        }
        if !parameter.allowed.is_empty() {
            let allowed = parameter.allowed.iter().map(|text| Json::Text(literal(text)));
            entries.push(("allowedValues", Json::List(allowed.collect())));
        }
        if let Some((shortest, longest)) = parameter.length {
            let number = |length: usize| Json::Int(i64::try_from(length).unwrap_or(i64::MAX));
            entries.extend([("minLength", number(shortest)), ("maxLength", number(longest))]);
        }
        let mut about = Vec::new();
        if !parameter.about.is_empty() {
            about.push(("description", Json::Text(literal(&parameter.about))));
        }
        // Whoever deploys reads here which layer's output it is.
        if let Source::Layer { layer, output } = &parameter.source {
            about.push(("from", Json::Text(format!("{layer}.{output}"))));
        }
        // ARM has no patterns: `skein-deploy` holds values to it.
        if let Some(letters) = parameter.letters {
            about.push(("pattern", Json::Text(literal(letters.pattern()))));
        }
        if !about.is_empty() {
            entries.push(("metadata", object(about)));
        }
        object(entries)
    }

    fn item(&mut self, template: &Template, item: &Item) -> Json {
        let part = item.symbol();
        let place = Some(item.place());
        let mut entries: Vec<(String, Json)> = Vec::new();
        let mut put = |key: &str, value: Json| entries.push((key.to_owned(), value));
        match item {
            Item::Resource(resource) => {
                let target = &resource.target;
                put("type", target.kind.name.into());
                put("apiVersion", target.kind.version.into());
                let slashed =
                    target.names.iter().enumerate().flat_map(|(index, name)| {
                        (index > 0).then(|| Expr::from("/")).into_iter().chain([name.clone()])
                    });
                let name = match target.names.as_slice() {
                    [only] => only.clone(),
                    _ => Expr::from(join(slashed)),
                };
                put("name", self.expr(template, part, place, &name));
                if let Some(on) = &target.on {
                    put("scope", self.expr(template, part, place, &Expr::Id(on.clone())));
                }
                if let Some(condition) = &resource.condition {
                    put("condition", self.expr(template, part, place, condition));
                }
                for (key, value) in resource.body.iter() {
                    let key = self.key(template, part, place, key);
                    put(&key, self.value(template, part, place, value));
                }
            }
            Item::Deployment(deployment) => {
                put("type", "Microsoft.Resources/deployments".into());
                put("apiVersion", DEPLOYMENTS.into());
                put("name", self.value(template, part, place, &deployment.name));
                put("resourceGroup", self.value(template, part, place, &deployment.group));
                if let Some(condition) = &deployment.condition {
                    put("condition", self.expr(template, part, place, condition));
                }
                let mut properties = vec![
                    ("mode", "Incremental".into()),
                    ("expressionEvaluationOptions", object([("scope", "inner".into())])),
                ];
                if !deployment.arguments.is_empty() {
                    let argument = |(name, value): &(String, Value)| {
                        (name.clone(), object([("value", self.value(template, part, place, value))]))
                    };
                    properties.push(("parameters", Json::Object(deployment.arguments.iter().map(argument).collect())));
                }
                properties.push(("template", self.template(&deployment.template)));
                put("properties", object(properties));
            }
        }
        let earlier = item.depends_on(template);
        if !earlier.is_empty() {
            let earlier = earlier.into_iter().filter_map(|symbol| {
                let item = template.items.iter().find(|item| item.symbol() == symbol)?;
                Some(Json::Text(format!("[{}]", item_id(template, item))))
            });
            put("dependsOn", Json::List(earlier.collect()));
        }
        Json::Object(entries)
    }

    fn value(&mut self, template: &Template, part: &str, place: Option<Place>, value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(number) => Json::Int(*number),
            Value::Text(text) => Json::Text(literal(text)),
            Value::List(list) => Json::List(list.iter().map(|item| self.value(template, part, place, item)).collect()),
            Value::Object(object) => {
                let entry =
                    |(key, value)| (self.key(template, part, place, key), self.value(template, part, place, value));
                Json::Object(object.iter().map(entry).collect())
            }
            Value::Expr(expr) => self.expr(template, part, place, expr),
        }
    }

    fn key(&mut self, template: &Template, part: &str, place: Option<Place>, key: &Key) -> String {
        match key {
            Key::Text(text) => literal(text),
            Key::Expr(expr) => match self.expr(template, part, place, expr) {
                Json::Text(text) => text,
                other => unreachable!("an expression is a text, not {other:?}"),
            },
        }
    }

    fn expr(&mut self, template: &Template, part: &str, place: Option<Place>, expr: &Expr) -> Json {
        if let Expr::Literal(literal) = expr {
            return self.value(template, part, place, literal);
        }
        let text = format!("[{}]", expression(template, expr));
        let count = text.chars().count();
        if count > LIMITS.expression {
            let kind = FlawKind::Limit { what: "characters of an expression", count, most: LIMITS.expression };
            self.flaw(part, place, kind);
        }
        Json::Text(text)
    }
}

/// A literal text. What begins with a bracket could be taken for an expression, or for an escaped bracket.
fn literal(text: &str) -> String {
    match text.as_bytes() {
        [b'[', .., b']'] => format!("[{text}"),
        [b'[', b'[', ..] => format!("[{}]", quoted(text)),
        _ => text.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An expression, without its brackets.
fn expression(template: &Template, expr: &Expr) -> String {
    let list = |inputs: &[Expr]| inputs.iter().map(|input| expression(template, input)).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Literal(value) => constant(template, value),
        Expr::Parameter(name) => format!("parameters({})", quoted(name)),
        Expr::Variable(name) => format!("variables({})", quoted(name)),
        Expr::Call(function, inputs) => format!("{function}({})", list(inputs)),
        Expr::Join(parts) => {
            let (mut pattern, mut inputs) = (String::new(), Vec::new());
            for part in parts {
                match part {
                    Expr::Literal(Value::Text(text)) => {
                        pattern.push_str(&text.replace('{', "{{").replace('}', "}}"));
                    }
                    computed => {
                        pattern.push_str(&format!("{{{}}}", inputs.len()));
                        inputs.push(computed.clone());
                    }
                }
            }
            let separator = if inputs.is_empty() { "" } else { ", " };
            format!("format({}{separator}{})", quoted(&pattern), list(&inputs))
        }
        Expr::Property(inner, name) => {
            let plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
                && !name.starts_with(|first: char| first.is_ascii_digit());
            let inner = expression(template, inner);
            if plain { format!("{inner}.{name}") } else { format!("{inner}[{}]", quoted(name)) }
        }
        Expr::Id(target) => id(template, target),
        Expr::Reference { target, full } => {
            let full = if *full { ", 'full'" } else { "" };
            format!("reference({}, {}{full})", id(template, target), quoted(target.kind.version))
        }
        Expr::Output { deployment, name } => {
            let found = template.items.iter().find_map(|item| match item {
                Item::Deployment(known) if known.symbol == *deployment => Some(deployment_id(template, known)),
                _ => None,
            });
            let found = found.unwrap_or_else(|| quoted(deployment));
            format!("reference({found}, {}).outputs.{name}.value", quoted(DEPLOYMENTS))
        }
    }
}

fn constant(template: &Template, value: &Value) -> String {
    match value {
        Value::Null => "null()".to_owned(),
        Value::Bool(flag) => format!("{flag}()"),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::List(list) => {
            let items: Vec<_> = list.iter().map(|item| constant(template, item)).collect();
            format!("createArray({})", items.join(", "))
        }
        Value::Object(object) => {
            let entries: Vec<_> = object
                .iter()
                .map(|(key, value)| {
                    let key = match key {
                        Key::Text(text) => quoted(text),
                        Key::Expr(expr) => expression(template, expr),
                    };
                    format!("{key}, {}", constant(template, value))
                })
                .collect();
            format!("createObject({})", entries.join(", "))
        }
        Value::Expr(expr) => expression(template, expr),
    }
}

/// The id of a resource group of the subscription, from anywhere.
fn group_id(template: &Template, group: &Expr) -> String {
    let group = expression(template, group);
    format!("format('/subscriptions/{{0}}/resourceGroups/{{1}}', subscription().subscriptionId, {group})")
}

fn id(template: &Template, target: &Target) -> String {
    let kind = quoted(target.kind.name);
    let names: Vec<_> = target.names.iter().map(|name| expression(template, name)).collect();
    let names = names.join(", ");
    match (&target.on, &target.group, template.scope) {
        (Some(on), ..) => format!("extensionResourceId({}, {kind}, {names})", id(template, on)),
        (None, Some(group), _) => format!("extensionResourceId({}, {kind}, {names})", group_id(template, group)),
        (None, None, Scope::Group) => format!("resourceId({kind}, {names})"),
        (None, None, Scope::Subscription) => format!("subscriptionResourceId({kind}, {names})"),
    }
}

fn deployment_id(template: &Template, deployment: &Deployment) -> String {
    let name = constant(template, &deployment.name);
    let group = Value::clone(&deployment.group);
    let group = match group {
        Value::Expr(expr) => *expr,
        literal => Expr::Literal(literal),
    };
    format!("extensionResourceId({}, 'Microsoft.Resources/deployments', {name})", group_id(template, &group))
}

/// The id of what a template makes.
fn item_id(template: &Template, item: &Item) -> String {
    match item {
        Item::Resource(resource) => id(template, &resource.target),
        Item::Deployment(deployment) => deployment_id(template, deployment),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use skein_model::arm::{Letters, Nested, NewParameter, Of, Text, guid, take, tenant, to_lower, unique_string};
    use skein_model::azure::actiongroups::{ActionGroup, ActionGroupActionGroup};
    use skein_model::azure::frontdoor::{
        Action, CustomRule, CustomRuleList, FirewallPolicy, MatchCondition, MatchConditionOperator, MatchVariable,
        RuleType, WebApplicationFirewallPolicyProperties,
    };
    use skein_model::azure::keyvault::{Family, Sku, SkuName, Vault, VaultProperties};
    use skein_model::azure::servicebus::{Namespace, Queue, SBQueueProperties, SBSku, SBSkuName};
    use skein_model::azure::storage::{self, StorageAccount, StorageAccountKind};

    use super::*;

    /// What Azure makes of a text: a reader of the grammar, apart from the printer.
    mod reader {
        /// The value of a text in a template, where it is made of literals, `format` and `createArray` only.
        pub fn read(text: &str) -> String {
            if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
                if let Some(escaped) = inner.strip_prefix('[') {
                    return format!("[{escaped}]");
                }
                let mut rest = inner;
                let value = expr(&mut rest);
                assert_eq!(rest, "", "something is left of {text:?}");
                return value;
            }
            text.to_owned()
        }

        fn expr(rest: &mut &str) -> String {
            if rest.starts_with('\'') {
                return string(rest);
            }
            let open = rest.find('(').unwrap_or_else(|| panic!("no function in {rest:?}"));
            let function = &rest[..open];
            assert!(function.chars().all(|letter| letter.is_ascii_alphanumeric()), "{function:?}");
            let function = function.to_owned();
            *rest = &rest[open + 1..];
            let mut inputs = Vec::new();
            while !rest.starts_with(')') {
                inputs.push(expr(rest));
                *rest = rest.strip_prefix(", ").unwrap_or(rest);
            }
            *rest = &rest[1..];
            match function.as_str() {
                "parameters" => format!("<{}>", inputs[0]),
                "format" => format(&inputs[0], &inputs[1..]),
                other => panic!("{other} is not read"),
            }
        }

        fn string(rest: &mut &str) -> String {
            let mut value = String::new();
            let mut letters = rest.char_indices().skip(1).peekable();
            while let Some((index, letter)) = letters.next() {
                if letter != '\'' {
                    value.push(letter);
                } else if letters.peek().is_some_and(|(_, next)| *next == '\'') {
                    value.push('\'');
                    letters.next();
                } else {
                    *rest = &rest[index + 1..];
                    return value;
                }
            }
            panic!("a text without an end: {rest:?}");
        }

        fn format(pattern: &str, inputs: &[String]) -> String {
            let mut value = String::new();
            let mut letters = pattern.chars().peekable();
            while let Some(letter) = letters.next() {
                match letter {
                    '{' | '}' if letters.peek() == Some(&letter) => {
                        value.push(letter);
                        letters.next();
                    }
                    '{' => {
                        let number: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                        value.push_str(&inputs[number.parse::<usize>().expect("a number")]);
                    }
                    '}' => panic!("a bracket alone in {pattern:?}"),
                    _ => value.push(letter),
                }
            }
            value
        }
    }

    #[test]
    fn whatever_a_text_holds_azure_reads_it_back() {
        let seed = 4711;
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let letters = ['[', ']', '\'', '{', '}', '0', '"', '\\', 'a', ' ', '(', ')', '\n', 'é', '😀'];
        let template = Template::new(Scope::Group);
        for _ in 0..20_000 {
            let mut word =
                || -> String { (0..random.usize(..7)).map(|_| letters[random.usize(..letters.len())]).collect() };
            let plain = word();
            assert_eq!(reader::read(&literal(&plain)), plain, "{plain:?} as {:?}", literal(&plain));
            let (before, between, after) = (word(), word(), word());
            let parameter = || Expr::Parameter("p".to_owned());
            let joined = Expr::from(join([
                Expr::from(before.as_str()),
                parameter(),
                between.as_str().into(),
                parameter(),
                after.as_str().into(),
            ]));
            let printed = format!("[{}]", expression(&template, &joined));
            let expected = format!("{before}<p>{between}<p>{after}");
            assert_eq!(reader::read(&printed), expected, "{printed:?}");
        }
    }

    fn bus(template: &mut Template) -> skein_model::arm::Ref<Namespace> {
        let environment = NewParameter::<Text>::new("environment", "Its name.").length(1, 8).letters(Letters::Small);
        let environment = template.parameter(environment);
        let name = join([Expr::from("sb-desk-"), environment.into()]);
        template.add("bus", name, Namespace::new("westeurope").sku(SBSku::new(SBSkuName::Standard)))
    }

    fn check(template: &Template, expected: Expect) {
        expected.assert_eq(&arm(template).unwrap_or_else(|flaws| panic!("{flaws:?}")));
    }

    fn refused(template: &Template, expected: &[&str]) {
        let flaws: Vec<_> = arm(template).unwrap_err().iter().map(|flaw| flaw.to_string()).collect();
        assert_eq!(flaws.len(), expected.len(), "{flaws:#?}");
        for (flaw, expected) in flaws.iter().zip(expected) {
            assert!(flaw.starts_with(expected), "{flaw:?} is not {expected:?}");
            let place = flaw.contains("platform/render/src/arm.rs:")
                || flaw.starts_with("template")
                || flaw.starts_with("variables");
            assert!(place, "{flaw:?} does not say where");
        }
    }

    #[test]
    fn a_queue_waits_for_its_namespace() {
        let mut template = Template::new(Scope::Group);
        let bus = bus(&mut template);
        let queue = Queue::new().properties(SBQueueProperties::new().lock_duration("PT5M").max_delivery_count(100));
        let queue = template.child("commands", &bus, "commands", queue);
        template.output::<Text>("endpoint", bus.deployed().properties().service_bus_endpoint());
        template.output::<Text>("queue", queue.id());
        check(
            &template,
            expect![[r#"
                {
                  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                  "contentVersion": "1.0.0.0",
                  "parameters": {
                    "environment": {
                      "type": "string",
                      "minLength": 1,
                      "maxLength": 8,
                      "metadata": {
                        "description": "Its name.",
                        "pattern": "^[a-z0-9]*$"
                      }
                    }
                  },
                  "resources": [
                    {
                      "type": "Microsoft.ServiceBus/namespaces",
                      "apiVersion": "2024-01-01",
                      "name": "[format('sb-desk-{0}', parameters('environment'))]",
                      "location": "westeurope",
                      "sku": {
                        "name": "Standard"
                      }
                    },
                    {
                      "type": "Microsoft.ServiceBus/namespaces/queues",
                      "apiVersion": "2024-01-01",
                      "name": "[format('sb-desk-{0}/commands', parameters('environment'))]",
                      "properties": {
                        "lockDuration": "PT5M",
                        "maxDeliveryCount": 100
                      },
                      "dependsOn": [
                        "[resourceId('Microsoft.ServiceBus/namespaces', format('sb-desk-{0}', parameters('environment')))]"
                      ]
                    }
                  ],
                  "outputs": {
                    "endpoint": {
                      "type": "string",
                      "value": "[reference(resourceId('Microsoft.ServiceBus/namespaces', format('sb-desk-{0}', parameters('environment'))), '2024-01-01').serviceBusEndpoint]"
                    },
                    "queue": {
                      "type": "string",
                      "value": "[resourceId('Microsoft.ServiceBus/namespaces/queues', format('sb-desk-{0}', parameters('environment')), 'commands')]"
                    }
                  }
                }
            "#]],
        );
    }

    #[test]
    fn a_nested_template_gets_what_it_needs() {
        let mut template = Template::new(Scope::Subscription);
        let mut inner = Nested::new();
        let name = inner.pass::<Text>("name", "sb-hall-1");
        let bus = inner.template.existing::<Namespace>("bus", name);
        inner.template.child("queue", &bus, "events", Queue::new());
        let id = inner.template.output::<Text>("id", bus.id());
        let hall = template.nest("hall", "hall", "rg-hall", inner);
        template.output::<Text>("id", hall.output(&id));
        check(
            &template,
            expect![[r#"
            {
              "$schema": "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#",
              "contentVersion": "1.0.0.0",
              "resources": [
                {
                  "type": "Microsoft.Resources/deployments",
                  "apiVersion": "2025-04-01",
                  "name": "hall",
                  "resourceGroup": "rg-hall",
                  "properties": {
                    "mode": "Incremental",
                    "expressionEvaluationOptions": {
                      "scope": "inner"
                    },
                    "parameters": {
                      "name": {
                        "value": "sb-hall-1"
                      }
                    },
                    "template": {
                      "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                      "contentVersion": "1.0.0.0",
                      "parameters": {
                        "name": {
                          "type": "string"
                        }
                      },
                      "resources": [
                        {
                          "type": "Microsoft.ServiceBus/namespaces/queues",
                          "apiVersion": "2024-01-01",
                          "name": "[format('{0}/events', parameters('name'))]"
                        }
                      ],
                      "outputs": {
                        "id": {
                          "type": "string",
                          "value": "[resourceId('Microsoft.ServiceBus/namespaces', parameters('name'))]"
                        }
                      }
                    }
                  }
                }
              ],
              "outputs": {
                "id": {
                  "type": "string",
                  "value": "[reference(extensionResourceId(format('/subscriptions/{0}/resourceGroups/{1}', subscription().subscriptionId, 'rg-hall'), 'Microsoft.Resources/deployments', 'hall'), '2025-04-01').outputs.id.value]"
                }
              }
            }
        "#]],
        );
    }

    #[test]
    fn what_is_wrong_is_told_by_name_and_place() {
        // A resource of another template.
        let mut other = Template::new(Scope::Group);
        let bus = bus(&mut other);
        let mut template = Template::new(Scope::Group);
        template.child("commands", &bus, "commands", Queue::new());
        let unknown = r#"commands: name names the parameter "environment", which this template does not have"#;
        let dangling =
            "commands: scope speaks of Microsoft.ServiceBus/namespaces {…}, which this template neither makes";
        refused(&template, &[unknown, dangling]);

        // A scope that the type does not have.
        let mut template = Template::new(Scope::Subscription);
        template.add("bus", "sb-desk", Namespace::new("westeurope"));
        refused(&template, &["bus: Microsoft.ServiceBus/namespaces cannot be deployed at the scope of a subscription"]);

        // Each waits for the other.
        let mut template = Template::new(Scope::Group);
        let one = template.add("one", "sb-desk-1", Namespace::new("westeurope"));
        let two = template.add("two", "sb-desk-2", Namespace::new("westeurope"));
        template.after(one.symbol(), two.symbol());
        template.after(two.symbol(), one.symbol());
        refused(&template, &["one: it waits for itself: one → two → one"]);

        // Names.
        let mut template = Template::new(Scope::Group);
        let name = template.parameter(NewParameter::<Text>::new("name", ""));
        template.add("short", "sb", Namespace::new("westeurope"));
        template.add("letters", "sb_desk_1", Namespace::new("westeurope"));
        template.add("free", &name, Namespace::new("westeurope"));
        template.add("taken", take(&name, 60), Namespace::new("westeurope"));
        let unique = unique_string([name.clone()]);
        template.add("good", join([Expr::from("sb-"), unique.into()]), Namespace::new("westeurope"));
        let held = |name: &str, letters| NewParameter::<Text>::new(name, "").length(6, 20).letters(letters);
        let wide = template.parameter(held("wideName", Letters::Wide));
        let hyphens = template.parameter(held("hyphensName", Letters::Hyphens));
        let capitals = template.parameter(held("capitalsName", Letters::Plain));
        template.add("wide", join([Expr::from("sb-"), wide.into()]), Namespace::new("westeurope"));
        template.add("hyphens", join([Expr::from("sb-"), hyphens.into()]), Namespace::new("westeurope"));
        let account = |name: Of<Text>| {
            let sku = storage::Sku::new(storage::SkuName::StandardLrs);
            let body = StorageAccount::new(StorageAccountKind::StorageV2, "westeurope", sku);
            (join([Expr::from("st"), name.into()]), body)
        };
        let (name, body) = account(capitals.clone());
        template.add("capitals", name, body);
        let (name, body) = account(to_lower(capitals));
        template.add("small", name, body);
        let length = "the name of Microsoft.ServiceBus/namespaces is between";
        refused(
            &template,
            &[
                &format!("short: {length} 2 and 2 characters long, it must be between 6 and 50"),
                r#"letters: the name "sb_desk_1" of Microsoft.ServiceBus/namespaces must have letters, digits and hyphens"#,
                "free: nothing bounds the length of the name of Microsoft.ServiceBus/namespaces",
                &format!("taken: {length} 0 and 60 characters long"),
                "taken: nothing holds the name of Microsoft.ServiceBus/namespaces to letters, digits and hyphens",
                "wide: nothing holds the name of Microsoft.ServiceBus/namespaces to letters, digits and hyphens",
                "capitals: nothing holds the name of Microsoft.Storage/storageAccounts to small letters and digits",
            ],
        );

        // Names within the template: Bicep has one space for all but outputs, and cannot spell every text.
        let mut template = Template::new(Scope::Group);
        template.parameter(NewParameter::<Text>::new("bus", ""));
        template.add("Bus", "sb-desk-1", Namespace::new("westeurope"));
        template.add("bus-2", "sb-desk-2", Namespace::new("westeurope"));
        template.output::<Text>("bus", "sb-desk-1");
        refused(
            &template,
            &[
                r#"Bus: the symbol "Bus" stands twice"#,
                r#"bus-2: the symbol "bus-2" must be called by letters, digits"#,
            ],
        );

        // Literals that the type data does not allow, in a list of a list, too; what Azure computes is Azure's to check.
        let mut template = Template::new(Scope::Group);
        let properties = ActionGroupActionGroup::new(true, "dead letters and more");
        template.add("actions", "ag-desk", ActionGroup::new("global").properties(properties));
        let vault = |tenant: Of<Text>| VaultProperties::new(Sku::new(Family::A, SkuName::Standard), tenant);
        template.add("vault", "kv-desk", Vault::new("westeurope", vault("ours".into())));
        template.add("good", "kv-desk-2", Vault::new("westeurope", vault(tenant().tenant_id())));
        let everybody = MatchCondition::new(["::/0"], MatchVariable::RemoteAddr, MatchConditionOperator::IpMatch);
        let rule = CustomRule::new(Action::Block, [everybody], 1, RuleType::RateLimitRule);
        let rules = CustomRuleList::new().rules([rule.rate_limit_duration_in_minutes(6)]);
        let properties = WebApplicationFirewallPolicyProperties::new().custom_rules(rules);
        template.add("wall", "wafdesk", FirewallPolicy::new().properties(properties));
        refused(
            &template,
            &[
                r#"actions: properties.groupShortName is "dead letters and more", which must be at most 12"#,
                r#"vault: properties.tenantId is "ours", which must be between 36 and 36, of the pattern ^[0-9a-f"#,
                "wall: properties.customRules.rules.[].rateLimitDurationInMinutes is 6, which must be between 0 and 5",
            ],
        );

        // What is known too late, and what must not be told.
        let mut template = Template::new(Scope::Group);
        let secret = template.parameter(NewParameter::<skein_model::arm::Secret>::new("key", ""));
        let bus = template.add("bus", "sb-desk", Namespace::new("westeurope"));
        let endpoint = bus.deployed().properties().service_bus_endpoint();
        template.child("late", &bus, take(endpoint, 9), Queue::new());
        template.output::<Text>("key", Of::trust(Expr::from(secret)));
        refused(
            &template,
            &[
                "late: name hangs on what is known only while resources are deployed",
                r#"outputs: the output tells the secure parameter "key""#,
            ],
        );
    }

    #[test]
    fn more_than_azure_takes_is_refused() {
        let mut template = Template::new(Scope::Group);
        for number in 0..801 {
            template.add(&format!("bus{number}"), format!("sb-desk-{number}"), Namespace::new("westeurope"));
        }
        refused(&template, &["template: 801 resources, at most 800 are allowed"]);
        let mut template = Template::new(Scope::Group);
        let long = guid([Expr::from("x".repeat(24_600)), Expr::from("y")]);
        template.output::<Text>("long", long);
        refused(&template, &["outputs: 24615 characters of an expression, at most 24576 are allowed"]);
    }
}

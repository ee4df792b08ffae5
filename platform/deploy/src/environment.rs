//! An environment: where layers are deployed, and with what values. Committed as TOML.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value, json};
use toml_edit::{Document, Item, Table};

use crate::failure::Failure;
use crate::input;
use crate::layers::Layer;

/// The control plane of the public cloud.
const PUBLIC: &str = "https://management.azure.com";

/// What stands in committed environments where nobody has said anything yet.
pub(crate) const PLACEHOLDER: &str = "00000000-0000-0000-0000-000000000000";

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
    /// Who deploys from pipelines, for `bootstrap`.
    pub(crate) pipelines: Option<Pipelines>,
    /// The line of each entry, by its path as in `parameters.location`.
    lines: BTreeMap<String, usize>,
}

/// Whose tokens the deployment identity trusts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pipelines {
    /// Who issues them.
    pub(crate) issuer: String,
    /// Whom they name: a service connection each.
    pub(crate) subjects: Vec<String>,
    /// Whom they name that may look and nothing else: what plans a pull request.
    pub(crate) plan_subjects: Vec<String>,
}

impl Environment {
    /// Reads `NAME.toml`.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Environment, Failure> {
        let path = folder.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let mut known: Vec<String> = std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
                .collect();
            known.sort();
            input(
                format!("there is no environment {name:?}: {}: {error}", path.display()),
                format!("name one of: {}; or write that file", known.join(", ")),
            )
        })?;
        Self::parse(name, &path.display().to_string(), &text)
    }

    pub(crate) fn parse(name: &str, file: &str, text: &str) -> Result<Environment, Failure> {
        let document = Document::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            input(format!("{file}:{line}: {}", error.message()), "mend the line: the file is no TOML")
        })?;
        let mut reader = Reader { file, text, lines: BTreeMap::new() };
        let mut environment = Environment {
            name: name.to_owned(),
            file: file.to_owned(),
            subscription: String::new(),
            location: String::new(),
            endpoint: PUBLIC.to_owned(),
            parameters: Map::new(),
            layers: BTreeMap::new(),
            pipelines: None,
            lines: BTreeMap::new(),
        };
        let known = "subscription, location, endpoint, parameters, layers and pipelines are";
        for (key, item) in document.iter() {
            reader.note(document.as_table(), key, key);
            match key {
                "subscription" => environment.subscription = reader.text(key, item)?,
                "location" => environment.location = reader.text(key, item)?,
                "endpoint" => environment.endpoint = reader.text(key, item)?.trim_end_matches('/').to_owned(),
                "parameters" => environment.parameters = reader.values(key, item)?,
                "layers" => {
                    let table = reader.table(key, item)?;
                    for (layer, item) in table {
                        let path = format!("layers.{layer}");
                        reader.note(table, layer, &path);
                        environment.layers.insert(layer.to_owned(), reader.values(&path, item)?);
                    }
                }
                "pipelines" => environment.pipelines = Some(reader.pipelines(item)?),
                other => return Err(reader.wrong(key, format!("{other:?} is not known; {known}"))),
            }
        }
        environment.lines = reader.lines;
        for (key, value) in [("subscription", &environment.subscription), ("location", &environment.location)] {
            if value.is_empty() {
                return Err(input(format!("{file}: {key} is missing"), format!("write {key} = \"…\" at its top")));
            }
        }
        Ok(environment)
    }

    /// What the environment says for a layer's parameter.
    pub(crate) fn value(&self, layer: &str, parameter: &str) -> Option<&Value> {
        self.layers.get(layer).and_then(|own| own.get(parameter)).or_else(|| self.parameters.get(parameter))
    }

    /// The file and line of an entry.
    pub(crate) fn place(&self, path: &str) -> String {
        match self.lines.get(path) {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.clone(),
        }
    }

    /// Holds its names and values against the templates': a value that no template takes is a slip of the pen, and one that
    /// would make a name that Azure refuses is told before it is asked.
    pub(crate) fn check(&self, layers: &[Layer]) -> Result<(), Failure> {
        let declared = |layer: &Layer, name: &str| layer.template["parameters"].get(name).is_some();
        let unknown = |path: String, what: String, known: Vec<&str>| {
            let next = format!("name one of: {}; or remove the line", known.join(", "));
            Err(input(format!("{}: {what}", self.place(&path)), next))
        };
        for name in self.parameters.keys() {
            if !layers.iter().any(|layer| declared(layer, name)) {
                let what = format!("no layer has a parameter {name:?}");
                return unknown(format!("parameters.{name}"), what, names(layers));
            }
        }
        for (layer, own) in &self.layers {
            let Some(found) = layers.iter().find(|known| known.name == *layer) else {
                let known = layers.iter().map(|layer| layer.name.as_str()).collect();
                return unknown(format!("layers.{layer}"), format!("there is no layer {layer:?}"), known);
            };
            if let Some(name) = own.keys().find(|name| !declared(found, name)) {
                let what = format!("{layer} has no parameter {name:?}");
                return unknown(format!("layers.{layer}.{name}"), what, names([found]));
            }
        }
        for layer in layers {
            for (name, declared) in layer.template["parameters"].as_object().into_iter().flatten() {
                let own = self.layers.get(&layer.name).is_some_and(|own| own.contains_key(name));
                let path = if own { format!("layers.{}.{name}", layer.name) } else { format!("parameters.{name}") };
                let Some(allowed) = self.value(&layer.name, name).and_then(|value| misfit(declared, value)) else {
                    continue;
                };
                let about = declared["metadata"]["description"].as_str().unwrap_or_default();
                let why = format!("{}: {name} of {} must be {allowed}", self.place(&path), layer.name);
                let next =
                    if about.is_empty() { "mend the line".to_owned() } else { format!("mend the line. {about}") };
                return Err(input(why, next));
            }
        }
        Ok(())
    }

    /// Refuses what the committed files leave open, before anything is sent to Azure.
    pub(crate) fn filled(&self) -> Result<(), Failure> {
        let open = |path: &str, next: &str| Err(input(format!("{}: {path} is a placeholder", self.place(path)), next));
        if self.subscription == PLACEHOLDER {
            return open("subscription", "write the id of your subscription: `az account show --query id`");
        }
        let own = self.layers.iter().map(|(layer, own)| (format!("layers.{layer}"), own));
        for (table, values) in own.chain([("parameters".to_owned(), &self.parameters)]) {
            if let Some((name, _)) = values.iter().find(|(_, value)| value.to_string().contains(PLACEHOLDER)) {
                let next = format!("`cargo xtask bootstrap --env {}` makes what it names, and writes it", self.name);
                return open(&format!("{table}.{name}"), &next);
            }
        }
        Ok(())
    }
}

/// The parameters that an environment may give to layers.
fn names<'l>(layers: impl IntoIterator<Item = &'l Layer>) -> Vec<&'l str> {
    let declared = layers.into_iter().flat_map(|layer| layer.template["parameters"].as_object().into_iter().flatten());
    let given = declared.filter(|(_, declared)| declared["metadata"]["from"].is_null());
    let mut names: Vec<&str> = given.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What a parameter may be, if the value is not of that kind; and what it is.
fn misfit(declared: &Value, value: &Value) -> Option<String> {
    let kind = declared["type"].as_str().unwrap_or_default().to_lowercase();
    let (of_kind, called) = match kind.as_str() {
        "string" | "securestring" => (value.is_string(), "a text"),
        "int" => (value.is_i64(), "a whole number"),
        "bool" => (value.is_boolean(), "true or false"),
        "array" => (value.is_array(), "a list"),
        _ => (value.is_object(), "a table"),
    };
    if !of_kind {
        return Some(format!("{called}, it is {value}"));
    }
    if let Some(allowed) = declared["allowedValues"].as_array().filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        return Some(format!("one of {}, it is {value}", allowed.join(", ")));
    }
    let (size, unit) = match value {
        Value::String(text) => (text.chars().count() as u64, "characters"),
        Value::Array(list) => (list.len() as u64, "items"),
        _ => (0, ""),
    };
    let (least, most) = (declared["minLength"].as_u64().unwrap_or(0), declared["maxLength"].as_u64());
    if !unit.is_empty() && (size < least || most.is_some_and(|most| size > most)) {
        let most = most.map_or(String::new(), |most| format!(" and at most {most}"));
        return Some(format!("at least {least}{most} {unit} long, it is {value} with {size}"));
    }
    let number = value.as_i64().unwrap_or_default();
    let (least, most) = (declared["minValue"].as_i64(), declared["maxValue"].as_i64());
    if value.is_i64() && (least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most)) {
        let bounds = [least.map(|least| format!("at least {least}")), most.map(|most| format!("at most {most}"))];
        return Some(format!("{}, it is {value}", bounds.into_iter().flatten().collect::<Vec<_>>().join(" and ")));
    }
    let pattern = declared["metadata"]["pattern"].as_str()?;
    // One that is no pattern takes nothing: it would be a fault of the renderer.
    let fits = Regex::new(pattern).is_ok_and(|pattern| value.as_str().is_some_and(|text| pattern.is_match(text)));
    (!fits).then(|| format!("of the pattern {pattern}, it is {value}"))
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// Reads entries, and remembers where they stand.
struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    lines: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn note(&mut self, table: &Table, key: &str, path: &str) {
        if let Some(span) = table.key(key).and_then(toml_edit::Key::span) {
            self.lines.insert(path.to_owned(), line_of(self.text, span.start));
        }
    }

    fn wrong(&self, path: &str, why: String) -> Failure {
        let place = match self.lines.get(path) {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.to_owned(),
        };
        input(format!("{place}: {why}"), "mend the line")
    }

    fn text(&self, path: &str, item: &Item) -> Result<String, Failure> {
        item.as_str().map(str::to_owned).ok_or_else(|| self.wrong(path, format!("{path} must be a text")))
    }

    fn table<'i>(&self, path: &str, item: &'i Item) -> Result<&'i Table, Failure> {
        item.as_table().ok_or_else(|| self.wrong(path, format!("{path} must be a table, as in [{path}]")))
    }

    fn values(&mut self, path: &str, item: &Item) -> Result<Map<String, Value>, Failure> {
        let table = self.table(path, item)?;
        let mut values = Map::new();
        for (key, item) in table {
            let path = format!("{path}.{key}");
            self.note(table, key, &path);
            let single = item.as_value().ok_or_else(|| self.wrong(&path, format!("{path} must be a value")))?;
            values.insert(key.to_owned(), of(&path, single).map_err(|why| self.wrong(&path, why))?);
        }
        Ok(values)
    }

    fn pipelines(&mut self, item: &Item) -> Result<Pipelines, Failure> {
        let values = self.values("pipelines", item)?;
        let known = ["issuer", "subjects", "planSubjects"];
        if let Some(key) = values.keys().find(|key| !known.contains(&key.as_str())) {
            let why = format!("{key:?} is not known; {} are", known.join(", "));
            return Err(self.wrong(&format!("pipelines.{key}"), why));
        }
        let issuer = values.get("issuer").and_then(Value::as_str).filter(|issuer| issuer.starts_with("https://"));
        let issuer =
            issuer.ok_or_else(|| self.wrong("pipelines.issuer", "pipelines.issuer must be an https URL".into()))?;
        let subjects = |key: &str| -> Result<Vec<String>, Failure> {
            let Some(given) = values.get(key) else { return Ok(Vec::new()) };
            let texts =
                given.as_array().and_then(|list| list.iter().map(|one| one.as_str().map(str::to_owned)).collect());
            let path = format!("pipelines.{key}");
            texts.ok_or_else(|| self.wrong(&path, format!("{path} must be a list of texts")))
        };
        Ok(Pipelines {
            issuer: issuer.to_owned(),
            subjects: subjects("subjects")?,
            plan_subjects: subjects("planSubjects")?,
        })
    }
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
             next: write subscription = "…" at its top"#]],
        );
        check(
            "subscripton = 's'",
            expect![[r#"
            error: e.toml:1: "subscripton" is not known; subscription, location, endpoint, parameters, layers and pipelines are
             next: mend the line"#]],
        );
        let error = Environment::parse("e", "e.toml", "location = 'l'\nsubscription = ").unwrap_err();
        assert!(error.to_string().starts_with("error: e.toml:2: "), "{error}");
        assert_eq!(error.code(), 2);
        for (text, place) in [
            ("location = 'l'\nparameters = 3", "e.toml:2: parameters must be a table"),
            ("\n\n[parameters]\na = 1.5", "e.toml:4: parameters.a: templates have neither times nor fractions"),
            ("[layers]\norders = 1", "e.toml:2: layers.orders must be a table"),
            ("[layers.orders]\n[layers.orders.x]\n", "e.toml:2: layers.orders.x must be a value"),
            ("location = 3", "e.toml:1: location must be a text"),
            ("[pipelines]\nisuer = 'x'", "e.toml:2: \"isuer\" is not known"),
            ("[pipelines]\nissuer = 'http://x'", "e.toml:2: pipelines.issuer must be an https URL"),
            ("[pipelines]\nissuer = 'https://x'\nsubjects = [3]", "e.toml:3: pipelines.subjects must be a list"),
        ] {
            let error = Environment::parse("e", "e.toml", text).unwrap_err();
            assert!(error.to_string().contains(place), "{text}: {error}");
            assert_eq!(error.code(), 2);
        }
    }

    #[test]
    fn an_unknown_environment_names_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["two.toml", "one.toml", "readme.md"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let error = Environment::read(folder.path(), "three").unwrap_err();
        assert!(error.to_string().contains("there is no environment \"three\""), "{error}");
        assert!(error.to_string().ends_with("next: name one of: one, two; or write that file"), "{error}");
        assert_eq!(error.code(), 2);
    }

    #[test]
    fn a_name_that_no_template_knows_is_told_with_its_line() {
        let layer = |name: &str| Layer {
            name: name.into(),
            template: json!({"parameters": {"a": {"type": "string"}, "b": {"type": "string", "metadata": {"from": "x.b"}}}}),
        };
        let layers = [layer("orders"), layer("platform")];
        let checked = |text: &str| {
            let text = format!("subscription = 's'\nlocation = 'l'\n{text}");
            Environment::parse("e", "e.toml", &text).unwrap().check(&layers).map_err(|error| error.to_string())
        };
        assert_eq!(checked("[parameters]\na = 'x'\n[layers.orders]\na = 'y'\nb = 'z'\n"), Ok(()));
        expect![[r#"
            error: e.toml:4: no layer has a parameter "c"
             next: name one of: a; or remove the line"#]]
        .assert_eq(&checked("[parameters]\nc = 'x'").unwrap_err());
        expect![[r#"
            error: e.toml:3: there is no layer "order"
             next: name one of: orders, platform; or remove the line"#]]
        .assert_eq(&checked("[layers.order]\na = 'x'").unwrap_err());
        expect![[r#"
            error: e.toml:4: orders has no parameter "c"
             next: name one of: a; or remove the line"#]]
        .assert_eq(&checked("[layers.orders]\nc = 'x'").unwrap_err());
    }

    #[test]
    fn a_value_that_no_template_takes_is_told_with_its_line_and_what_is_allowed() {
        // As `skein-infra` renders it: the limits come from the names that are made of the parameter.
        let environment = json!({
            "type": "string", "minLength": 2, "maxLength": 8,
            "metadata": {"description": "Small letters and digits.", "pattern": "^[a-z0-9]*$"},
        });
        let tier = json!({"type": "string", "allowedValues": ["Consumption", "StandardV2"]});
        let parameters = json!({
            "environment": environment, "tier": tier, "days": {"type": "int", "minValue": 1, "maxValue": 30},
            "flag": {"type": "bool"}, "list": {"type": "array", "maxLength": 1},
            "odd": {"type": "string", "metadata": {"pattern": "("}},
        });
        let layer = |name: &str| Layer { name: name.into(), template: json!({"parameters": parameters}) };
        let layers = [layer("orders"), layer("platform")];
        let checked = |text: &str| {
            let text = format!("subscription = 's'\nlocation = 'l'\n[parameters]\n{text}\n");
            let environment = Environment::parse("e", "e.toml", &text).unwrap();
            environment.check(&layers).map_err(|error| (error.code(), error.to_string()))
        };
        for text in ["dev", "d1", "12345678"] {
            assert_eq!(checked(&format!("environment = '{text}'")), Ok(()));
        }
        let (code, told) = checked("days = 1\nenvironment = 'Dev_1'").unwrap_err();
        assert_eq!(code, 2);
        expect![[r#"
            error: e.toml:5: environment of orders must be of the pattern ^[a-z0-9]*$, it is "Dev_1"
             next: mend the line. Small letters and digits."#]]
        .assert_eq(&told);
        for (text, expected) in [
            (
                "environment = 'prod!'",
                r#"e.toml:4: environment of orders must be of the pattern ^[a-z0-9]*$, it is "prod!""#,
            ),
            (
                "environment = 'prüf'",
                r#"e.toml:4: environment of orders must be of the pattern ^[a-z0-9]*$, it is "prüf""#,
            ),
            ("environment = 'production'", r#"at least 2 and at most 8 characters long, it is "production" with 10"#),
            ("environment = ''", r#"at least 2 and at most 8 characters long, it is "" with 0"#),
            ("environment = 3", "e.toml:4: environment of orders must be a text, it is 3"),
            (
                "environment = 'dev'\n[layers.platform]\nenvironment = 'Dev'",
                r#"e.toml:6: environment of platform must be of the pattern ^[a-z0-9]*$, it is "Dev""#,
            ),
            ("tier = 'Standard'", r#"must be one of "Consumption", "StandardV2", it is "Standard""#),
            ("days = 31", "days of orders must be at least 1 and at most 30, it is 31"),
            ("days = '1'", r#"days of orders must be a whole number, it is "1""#),
            ("flag = 'true'", r#"flag of orders must be true or false, it is "true""#),
            ("list = ['a', 'b']", "at least 0 and at most 1 items long"),
            ("odd = '('", "odd of orders must be of the pattern (,"),
        ] {
            let (code, told) = checked(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
            assert_eq!(code, 2);
        }
    }

    #[test]
    fn the_committed_environments_are_read_and_say_what_is_left_open() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("environments");
        for name in ["dev", "staging", "prod"] {
            let environment = Environment::read(&folder, name).unwrap();
            assert_eq!(environment.value("platform", "environment"), Some(&json!(name)));
            assert_eq!(environment.endpoint, PUBLIC);
            let pipelines = environment.pipelines.as_ref().unwrap();
            assert!(pipelines.subjects.iter().any(|one| one.ends_with(&format!("/skein-{name}"))), "{pipelines:?}");
            let open = environment.filled().unwrap_err();
            assert!(open.to_string().contains(": subscription is a placeholder"), "{open}");
            let given = Environment { subscription: "s".into(), ..environment };
            let open = given.filled().unwrap_err().to_string();
            assert!(open.contains("is a placeholder") && open.contains("bootstrap --env"), "{open}");
        }
        Environment::read(&folder, "local").unwrap().filled().unwrap();
    }
}

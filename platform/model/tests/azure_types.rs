//! Writes `src/azure/generated/` from the type data of the Bicep compiler, and tells when what stands there is stale.
//!
//! The data is looked for under `SKEIN_SHARED` (`../shared` beside the repository), in `azure/types`; without it, the test
//! is left out aloud, or fails where `CI` is set. `UPDATE_EXPECT=1 cargo test -p skein-model --test azure_types` writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use regex::Regex;
use serde_json::Value;

/// The module, the type and its pinned version, the Rust name, and for types with one name per variant that name.
const WANTED: &[(&str, &str, &str, Option<&str>)] = &[
    ("apimanagement", "Microsoft.ApiManagement/service@2024-05-01", "Service", None),
    ("apimanagement", "Microsoft.ApiManagement/service/apis@2024-05-01", "Api", None),
    ("apimanagement", "Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01", "ApiDiagnostic", None),
    ("apimanagement", "Microsoft.ApiManagement/service/apis/operations@2024-05-01", "ApiOperation", None),
    ("apimanagement", "Microsoft.ApiManagement/service/apis/policies@2024-05-01", "ApiPolicy", None),
    ("apimanagement", "Microsoft.ApiManagement/service/apis/schemas@2024-05-01", "ApiSchema", None),
    ("apimanagement", "Microsoft.ApiManagement/service/backends@2024-05-01", "Backend", None),
    ("apimanagement", "Microsoft.ApiManagement/service/diagnostics@2024-05-01", "Diagnostic", None),
    ("apimanagement", "Microsoft.ApiManagement/service/loggers@2024-05-01", "Logger", None),
    ("apimanagement", "Microsoft.ApiManagement/service/namedValues@2024-05-01", "NamedValue", None),
    ("apimanagement", "Microsoft.ApiManagement/service/policies@2024-05-01", "Policy", None),
    ("apimanagement", "Microsoft.ApiManagement/service/policyFragments@2024-05-01", "PolicyFragment", None),
    ("authorization", "Microsoft.Authorization/roleAssignments@2022-04-01", "RoleAssignment", None),
    ("cdn", "Microsoft.Cdn/profiles@2025-06-01", "Profile", None),
    ("cdn", "Microsoft.Cdn/profiles/afdEndpoints@2025-06-01", "Endpoint", None),
    ("cdn", "Microsoft.Cdn/profiles/afdEndpoints/routes@2025-06-01", "Route", None),
    ("cdn", "Microsoft.Cdn/profiles/originGroups@2025-06-01", "OriginGroup", None),
    ("cdn", "Microsoft.Cdn/profiles/originGroups/origins@2025-06-01", "Origin", None),
    ("cdn", "Microsoft.Cdn/profiles/securityPolicies@2025-06-01", "SecurityPolicy", None),
    ("components", "Microsoft.Insights/components@2020-02-02", "Component", None),
    ("consumption", "Microsoft.Consumption/budgets@2024-08-01", "Budget", None),
    ("eventgrid", "Microsoft.EventGrid/topics@2025-02-15", "Topic", None),
    ("eventgrid", "Microsoft.EventGrid/topics/eventSubscriptions@2025-02-15", "EventSubscription", None),
    ("frontdoor", "Microsoft.Network/FrontDoorWebApplicationFirewallPolicies@2025-11-01", "FirewallPolicy", None),
    ("keyvault", "Microsoft.KeyVault/vaults@2024-11-01", "Vault", None),
    ("keyvault", "Microsoft.KeyVault/vaults/keys@2024-11-01", "Key", None),
    ("keyvault", "Microsoft.KeyVault/vaults/secrets@2024-11-01", "Secret", None),
    ("actiongroups", "Microsoft.Insights/actionGroups@2023-01-01", "ActionGroup", None),
    ("diagnosticsettings", "Microsoft.Insights/diagnosticSettings@2021-05-01-preview", "DiagnosticSetting", None),
    ("metricalerts", "Microsoft.Insights/metricAlerts@2018-03-01", "MetricAlert", None),
    ("msi", "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30", "Identity", None),
    ("operationalinsights", "Microsoft.OperationalInsights/workspaces@2025-02-01", "Workspace", None),
    ("resources", "Microsoft.Resources/resourceGroups@2025-04-01", "ResourceGroup", None),
    ("servicebus", "Microsoft.ServiceBus/namespaces@2024-01-01", "Namespace", None),
    ("servicebus", "Microsoft.ServiceBus/namespaces/queues@2024-01-01", "Queue", None),
    ("signalr", "Microsoft.SignalRService/signalR@2024-03-01", "SignalR", None),
    ("storage", "Microsoft.Storage/storageAccounts@2025-06-01", "StorageAccount", None),
    // The one version that knows static websites.
    ("blobservices", "Microsoft.Storage/storageAccounts/blobServices@2025-08-01", "BlobService", None),
    ("storage", "Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01", "Container", None),
    ("storage", "Microsoft.Storage/storageAccounts/tableServices@2025-06-01", "TableService", None),
    ("storage", "Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01", "Table", None),
    ("web", "Microsoft.Web/serverfarms@2024-11-01", "Plan", None),
    ("web", "Microsoft.Web/sites@2024-11-01", "Site", None),
    ("web", "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01", "FtpPublishing", Some("ftp")),
    ("web", "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01", "ScmPublishing", Some("scm")),
    ("web", "Microsoft.Web/sites/config@2024-11-01", "SiteSettings", Some("appsettings")),
    ("web", "Microsoft.Web/sites/config@2024-11-01", "SiteAuthentication", Some("authsettingsV2")),
];

/// Texts that nobody may read, which the data does not call sensitive.
const SECRETS: &[(&str, &str)] = &[("SecretProperties", "value")];

const REQUIRED: u64 = 1;
const READ_ONLY: u64 = 2;
/// The scope of what is put on another resource.
const EXTENSION: u64 = 16;

fn types() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join("shared");
    let shared = std::env::var_os("SKEIN_SHARED").map_or(beside, PathBuf::from);
    // A relative folder is meant from the repository's root, where Cargo is called.
    let shared =
        if shared.is_relative() { Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(shared) } else { shared };
    let types = shared.join("azure/types");
    if types.join("index.json").is_file() {
        return Some(types);
    }
    assert!(std::env::var_os("CI").is_none(), "CI needs the type data: there is no {}", types.display());
    eprintln!("LEFT OUT: there is no {}; SKEIN_SHARED says where the type data is", types.display());
    None
}

#[test]
fn the_generated_types_are_those_of_the_type_data() {
    let Some(types) = types() else { return };
    let read = |path: &Path| -> Value {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let index = read(&types.join("index.json"));
    let mut files: HashMap<String, Value> = HashMap::new();
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    let mut bounds = AllBounds::default();
    for (module, _, name, _) in WANTED {
        modules.entry(module).or_default().reserved.insert(name);
    }
    for (module, kind, name, only) in WANTED {
        let entry = &index["resources"][kind.to_lowercase()];
        let (file, number) =
            entry["ref"].as_str().unwrap_or_else(|| panic!("no data of {kind}")).split_once("#/").unwrap();
        let file = files.entry(file.to_owned()).or_insert_with(|| read(&types.join(file)));
        let module = modules.get_mut(module).expect("each module was made");
        let resource = &file[number.parse::<usize>().unwrap()];
        module.resource(file, resource, name, *only);
        let kind = kind.split_once('@').unwrap().0;
        let mut body = at(file, &resource["body"]);
        if body["$type"] == "DiscriminatedObjectType" {
            body = at(file, &body["elements"][only.unwrap()]);
        }
        bounds.object(file, kind, body, &mut Vec::new(), &mut Vec::new());
    }
    let mut root = String::from(
        "//! Generated by `tests/azure_types.rs` from the type data of the Bicep compiler (MIT licence). Do not edit.\n\n",
    );
    for name in modules.keys() {
        writeln!(root, "#[rustfmt::skip]\npub mod {name};").unwrap();
    }
    root.push_str("\nuse crate::arm::{Bound, Kind, ResourceType};\n\n/// What is known of each type in here.\n");
    root.push_str("#[rustfmt::skip]\npub(super) const KINDS: &[&Kind] = &[\n");
    for (module, _, name, _) in WANTED {
        writeln!(root, "    {module}::{name}::KIND,").unwrap();
    }
    root.push_str("];\n");
    root.push_str("\n/// What literals may be.\n#[rustfmt::skip]\npub(super) const BOUNDS: &[Bound] = &[\n");
    for ((kind, path), bound) in &bounds.known {
        // What is bounded in two ways, by the variant that it is part of, is left to Azure.
        let Some(Bounds { least, most, pattern }) = bound else { continue };
        if least.is_none() && most.is_none() && pattern.is_none() {
            continue;
        }
        writeln!(
            root,
            "    Bound {{ kind: {kind:?}, path: {path:?}, least: {least:?}, most: {most:?}, pattern: {pattern:?} }},"
        )
        .unwrap();
    }
    root.push_str("];\n");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/azure/generated");
    expect_file![folder.join("mod.rs")].assert_eq(&root);
    for (name, module) in &modules {
        expect_file![folder.join(format!("{name}.rs"))].assert_eq(&module.text(name));
    }
    let expected: BTreeSet<String> =
        modules.keys().map(|name| format!("{name}.rs")).chain(["mod.rs".to_owned()]).collect();
    let found: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected, "a file in {} is left over", folder.display());
}

/// What a literal may be.
#[derive(Clone, PartialEq)]
struct Bounds {
    least: Option<i64>,
    most: Option<i64>,
    pattern: Option<String>,
}

/// What literals may be, by the type of the resource and the way to the place: nothing where the data says two things.
#[derive(Default)]
struct AllBounds {
    known: BTreeMap<(String, String), Option<Bounds>>,
}

impl AllBounds {
    fn object(&mut self, file: &Value, kind: &str, data: &Value, path: &mut Vec<String>, open: &mut Vec<u64>) {
        // The name of the resource itself has rules of its own.
        let outside = ["id", "name", "type", "apiVersion"];
        let bases = [&data["properties"], &data["baseProperties"]];
        for (key, property) in bases.into_iter().filter_map(Value::as_object).flatten() {
            let written = property["flags"].as_u64().unwrap() & READ_ONLY == 0;
            if written && !(path.is_empty() && outside.contains(&key.as_str())) {
                self.place(file, kind, &property["type"], key, path, open);
            }
        }
        if data["additionalProperties"].is_object() {
            self.place(file, kind, &data["additionalProperties"], "*", path, open);
        }
        for element in data["elements"].as_object().into_iter().flat_map(|elements| elements.values()) {
            self.object(file, kind, at(file, element), path, open);
        }
    }

    fn place(
        &mut self,
        file: &Value,
        kind: &str,
        reference: &Value,
        key: &str,
        path: &mut Vec<String>,
        open: &mut Vec<u64>,
    ) {
        let (number, data) = (number(reference), at(file, reference));
        if open.contains(&number) {
            return; // It holds itself.
        }
        open.push(number);
        path.push(key.to_owned());
        let limit = |names: [&str; 2]| names.iter().find_map(|name| data[*name].as_i64());
        // What our engine does not read, as looking ahead, is left to Azure; and what everything matches is no bound.
        let pattern = data["pattern"].as_str().filter(|pattern| *pattern != "^.*$" && Regex::new(pattern).is_ok());
        let bound = Bounds {
            least: limit(["minLength", "minValue"]).filter(|least| *least > 0 || data["$type"] == "IntegerType"),
            most: limit(["maxLength", "maxValue"]),
            pattern: pattern.map(str::to_owned),
        };
        if ["StringType", "IntegerType", "ArrayType"].contains(&data["$type"].as_str().unwrap()) {
            let place = self.known.entry((kind.to_owned(), path.join("."))).or_insert_with(|| Some(bound.clone()));
            if *place != Some(bound) {
                *place = None;
            }
        }
        match data["$type"].as_str().unwrap() {
            "ArrayType" => self.place(file, kind, &data["itemType"], "[]", path, open),
            "ObjectType" | "DiscriminatedObjectType" => self.object(file, kind, data, path, open),
            _ => (),
        }
        path.pop();
        open.pop();
    }
}

/// One module: what its types need, each once.
#[derive(Default)]
struct Module {
    /// Rust names that are taken, and by what.
    taken: BTreeMap<String, String>,
    /// The names of its resources, which nothing else may take.
    reserved: BTreeSet<&'static str>,
    /// The Rust type of each object of the data, by its number.
    known: HashMap<u64, String>,
    /// What is written, in the order in which it was needed.
    parts: Vec<String>,
    /// The markers in use.
    uses: BTreeSet<&'static str>,
}

impl Module {
    fn text(&self, name: &str) -> String {
        let uses: Vec<_> = self.uses.iter().copied().collect();
        let about = format!("//! `{name}`: generated by `tests/azure_types.rs`. Do not edit.\n\n");
        let uses =
            if uses.is_empty() { String::new() } else { format!("use crate::arm::{{{}}};\n\n", uses.join(", ")) };
        format!("{about}{uses}{}", self.parts.join("\n"))
    }

    fn resource(&mut self, file: &Value, resource: &Value, name: &str, only: Option<&str>) {
        let full = resource["name"].as_str().unwrap();
        let (kind, version) = full.split_once('@').unwrap();
        let mut body = at(file, &resource["body"]);
        if body["$type"] == "DiscriminatedObjectType" {
            body = at(file, &body["elements"][only.expect("the variant's name")]);
        }
        let taken = self.taken.insert(name.to_owned(), full.to_owned());
        assert!(taken.is_none(), "{name} is taken by {taken:?}");
        let leave_out = ["id", "name", "type", "apiVersion"];
        let about = format!("`{kind}` at version {version}.");
        let part = self.object(file, name, &about, &[body], &leave_out, None);
        let literal = match &at(file, &body["properties"]["name"]["type"]) {
            text if text["$type"] == "StringLiteralType" => text["value"].as_str().map(str::to_owned),
            _ => only.map(str::to_owned),
        };
        let only = literal.as_ref().map_or("None".to_owned(), |literal| format!("Some({literal:?})"));
        let above = WANTED.iter().find(|(_, wanted, ..)| {
            Some(wanted.split_once('@').unwrap().0) == kind.rsplit_once('/').map(|(above, _)| above)
        });
        let above = above.map_or(String::new(), |(module, _, name, _)| format!("crate::azure::{module}::{name}"));
        let scopes = resource["writableScopes"].as_u64().unwrap();
        let mut traits = format!("resource!({name} = {kind:?} @ {version:?}, {scopes}, {only}, [{above}]);\n");
        if literal.is_some() {
            writeln!(traits, "impl crate::arm::OnlyOne for {name} {{}}").unwrap();
        }
        if scopes & EXTENSION != 0 {
            writeln!(traits, "impl crate::arm::Extension for {name} {{}}").unwrap();
        }
        self.parts.push(format!("{part}\n{traits}"));
    }

    /// The text of an object whose properties are those of `sources` together.
    fn object(
        &mut self,
        file: &Value,
        name: &str,
        about: &str,
        sources: &[&Value],
        leave_out: &[&str],
        fixed: Option<(&str, &str)>,
    ) -> String {
        let (mut required, mut optional, mut read) = (String::new(), String::new(), String::new());
        let mut names = BTreeSet::new();
        let mut properties: Vec<(&String, &Value)> = Vec::new();
        for source in sources {
            for (key, property) in source["properties"].as_object().into_iter().flatten() {
                if !leave_out.contains(&key.as_str()) && fixed.is_none_or(|(fixed, _)| fixed != key) {
                    properties.retain(|(known, _)| *known != key);
                    properties.push((key, property));
                }
            }
        }
        properties.sort_by_key(|(key, _)| *key);
        for (key, property) in properties {
            let flags = property["flags"].as_u64().unwrap();
            let kind = self.kind(file, &property["type"], name, key);
            let mut rust = snake(key);
            // What every typed value has already.
            if ["as_value", "member", "trust", "new", "clone", "eq"].contains(&rust.as_str()) {
                rust.push('_');
            }
            while !names.insert(rust.clone()) {
                rust.push('_');
            }
            let doc = doc(key, property["description"].as_str());
            let line = format!("        {doc}\n        {}: {kind} = {key:?},\n", escape(&rust));
            match flags {
                flags if flags & READ_ONLY != 0 => read.push_str(&line),
                flags if flags & REQUIRED != 0 => required.push_str(&line),
                _ => optional.push_str(&line),
            }
        }
        let section = |lines: &str| if lines.is_empty() { "{}".to_owned() } else { format!("{{\n{lines}    }}") };
        let (required, optional, read) = (section(&required), section(&optional), section(&read));
        let fixed = fixed.map_or(String::new(), |(key, value)| format!(" {{ {key:?}: {value:?} }}"));
        format!("object! {{\n    /// {about}\n    {name} {required} {optional} {read}{fixed}\n}}\n")
    }

    /// The Rust type of a type of the data.
    fn kind(&mut self, file: &Value, reference: &Value, owner: &str, property: &str) -> String {
        let number = number(reference);
        let data = at(file, reference);
        let mut marker = |marker: &'static str| {
            self.uses.insert(marker);
            marker.to_owned()
        };
        match data["$type"].as_str().unwrap() {
            "AnyType" => marker("Any"),
            "BooleanType" => "bool".to_owned(),
            "IntegerType" => marker("Int"),
            "StringType" if data["sensitive"] == true || SECRETS.contains(&(owner, property)) => {
                marker("Secret as SecretText").replace("Secret as ", "")
            }
            "StringType" => marker("Text"),
            "StringLiteralType" => self.texts(file, &[data], owner, property),
            "UnionType" => {
                let elements: Vec<_> = data["elements"].as_array().unwrap().iter().map(|one| at(file, one)).collect();
                self.texts(file, &elements, owner, property)
            }
            "ArrayType" => {
                let item = self.kind(file, &data["itemType"], owner, property);
                self.uses.insert("List");
                format!("List<{item}>")
            }
            "ObjectType" => {
                if let Some(known) = self.known.get(&number) {
                    return known.clone();
                }
                let properties = data["properties"].as_object().is_some_and(|properties| !properties.is_empty());
                if !properties {
                    if data["additionalProperties"].is_object() {
                        let item = self.kind(file, &data["additionalProperties"], owner, property);
                        self.uses.insert("Map");
                        return format!("Map<{item}>");
                    }
                    self.uses.insert("Any");
                    return "Any".to_owned();
                }
                let wanted = pascal(data["name"].as_str().unwrap());
                let name = self.take(&wanted, owner, &format!("object {number}"));
                self.known.insert(number, name.clone());
                let part = self.object(file, &name, &format!("`{wanted}` of `{property}`."), &[data], &[], None);
                self.parts.push(part);
                name
            }
            "DiscriminatedObjectType" => {
                if let Some(known) = self.known.get(&number) {
                    return known.clone();
                }
                let wanted = pascal(data["name"].as_str().unwrap());
                let name = self.take(&wanted, owner, &format!("choice {number}"));
                self.known.insert(number, name.clone());
                let key = data["discriminator"].as_str().unwrap();
                let base = serde_json::json!({"properties": data["baseProperties"]});
                let mut ones = String::new();
                for (value, element) in data["elements"].as_object().unwrap() {
                    let element = at(file, element);
                    let wanted = pascal(element["name"].as_str().unwrap());
                    let one = self.take(&wanted, owner, &format!("variant {value} of {number}"));
                    let about = format!("`{name}` with `{key}` `{value}`.");
                    let part = self.object(file, &one, &about, &[&base, element], &[], Some((key, value)));
                    self.parts.push(part);
                    write!(ones, "{one}, ").unwrap();
                }
                self.parts.push(format!(
                    "choice! {{\n    /// One of several, told by `{key}`.\n    {name} {{ {}}}\n}}\n",
                    ones
                ));
                name
            }
            other => panic!("{other} of {owner}.{property} is unknown"),
        }
    }

    fn texts(&mut self, _: &Value, elements: &[&Value], owner: &str, property: &str) -> String {
        let mut texts: Vec<&str> = elements.iter().filter_map(|one| one["value"].as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut names = BTreeSet::new();
        let mut variants = String::new();
        for text in &texts {
            let mut variant = variant(text);
            while !names.insert(variant.to_lowercase()) {
                variant.push('_');
            }
            write!(variants, "{variant} = {text:?}, ").unwrap();
        }
        let meaning = format!("texts {}", texts.join("|"));
        // Names that say nothing without their owner.
        let vague = ["kind", "level", "mode", "name", "operator", "state", "status", "tier", "type", "value"];
        let mut wanted = if vague.contains(&property) { pascal(owner) + &pascal(property) } else { pascal(property) };
        for _ in 0..2 {
            if self.reserved.contains(wanted.as_str()) {
                wanted = format!("{}{}", pascal(owner), pascal(property));
            }
            match self.taken.get(&wanted) {
                Some(known) if *known == meaning => return wanted,
                Some(_) => wanted = format!("{}{}", pascal(owner), pascal(property)),
                None => break,
            }
        }
        let name = self.take(&wanted, owner, &meaning);
        self.parts.push(format!("texts! {{\n    /// The texts of `{property}`.\n    {name} {{ {variants}}}\n}}\n"));
        name
    }

    /// A Rust name that nothing else has.
    fn take(&mut self, wanted: &str, owner: &str, what: &str) -> String {
        // The markers' names are imported, the resources' names are given.
        let reserved = ["Any", "Int", "List", "Map", "Text", "SecretText"];
        let free = |module: &Self, name: &str| {
            !module.taken.contains_key(name) && !reserved.contains(&name) && !module.reserved.contains(name)
        };
        let mut name = wanted.to_owned();
        if !free(self, &name) {
            name = format!("{}{wanted}", pascal(owner));
        }
        let stem = name.clone();
        let mut count = 1;
        while !free(self, &name) {
            count += 1;
            name = format!("{stem}{count}");
        }
        self.taken.insert(name.clone(), what.to_owned());
        name
    }
}

fn number(reference: &Value) -> u64 {
    reference["$ref"].as_str().and_then(|text| text.strip_prefix("#/")).expect("a reference").parse().unwrap()
}

fn at<'a>(file: &'a Value, reference: &Value) -> &'a Value {
    &file[usize::try_from(number(reference)).unwrap()]
}

/// The words of a name of the data: `serverFarmId`, `odata.type`, `TLS1_2`.
fn words(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let mut words: Vec<String> = vec![String::new()];
    for (index, &letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = index.checked_sub(1).map(|index| letters[index]);
        let next = letters.get(index + 1);
        let starts = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || before.is_ascii_uppercase() && next.is_some_and(char::is_ascii_lowercase)
            });
        if starts {
            words.push(String::new());
        }
        words.last_mut().unwrap().push(letter);
    }
    words.retain(|word| !word.is_empty());
    words
}

fn snake(text: &str) -> String {
    let words: Vec<_> = words(text).iter().map(|word| word.to_lowercase()).collect();
    let name = words.join("_");
    if name.starts_with(|letter: char| letter.is_ascii_digit()) { format!("v{name}") } else { name }
}

fn pascal(text: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(capital).collect()
}

fn variant(text: &str) -> String {
    let words: Vec<_> = words(text).iter().map(|word| word[..1].to_uppercase() + &word[1..].to_lowercase()).collect();
    let mut name = String::new();
    for word in words {
        let digits = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_digit());
        if digits(name.chars().last()) && digits(word.chars().next()) {
            name.push('_');
        }
        name.push_str(&word);
    }
    match name.chars().next() {
        None => "Empty".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("V{name}"),
        Some(_) if name == "Self" => "SelfHosted".to_owned(),
        Some(_) => name,
    }
}

fn escape(name: &str) -> String {
    let keywords = ["as", "async", "const", "enum", "in", "match", "mod", "ref", "static", "type", "use", "where"];
    if keywords.contains(&name) { format!("r#{name}") } else { name.to_owned() }
}

/// One line of documentation: the property's name in Azure, and the first sentence of what is said of it.
fn doc(key: &str, description: Option<&str>) -> String {
    let said = description.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let end = said.find(". ").map_or(said.len(), |end| end + 1);
    let mut said: String = said[..end].chars().take(160).collect();
    for letter in ["[", "]", "<", ">", "`"] {
        said = said.replace(letter, if letter == "`" { "'" } else { "" });
    }
    // Addresses would have to be links.
    let said = said.split(' ').filter(|word| !word.contains("://")).collect::<Vec<_>>().join(" ");
    let said = said.replace('\\', "/");
    if said.is_empty() { format!("/// `{key}`.") } else { format!("/// `{key}`: {}", said.trim_end()) }
}

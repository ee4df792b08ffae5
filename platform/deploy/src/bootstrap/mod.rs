//! `bootstrap`: makes once, for an environment, what ARM cannot.
//!
//! That is the Entra application of the function apps, and the identities by which pipelines deploy and plan, with whom
//! they trust and what they may do. Everything has a name that is made of the environment's, and is looked for by that name
//! before it is made, so that running it again does nothing, and running it after it was killed does the rest. There is no
//! secret in it: pipelines sign in by federation. It was never run against Azure; its requests are those that the
//! documentation of Microsoft Graph and of ARM shows.

mod rest;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use lexopt::prelude::*;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use skein_azure::credential::azure_cli;
use toml_edit::Document;

use self::rest::Rest;
use crate::environment::{Environment, PLACEHOLDER, Pipelines};
use crate::failure::{Failure, root};
use crate::input;
use crate::layers::{self, Layer};

pub(crate) const HELP: &str = "\
Makes once, for an environment, what ARM cannot: the Entra application of its function apps, the identities by which
pipelines deploy and plan, whom they trust and what they may do. It looks before it makes, shows what it would do, and
asks for a yes; run again, it does what is missing.

skein-deploy bootstrap --env NAME [options]
    --env NAME          the environment: NAME.toml in the folder of environments; what was made is written into it
    --environments DIR  that folder (platform/deploy/environments)
    --rendered DIR      the rendered files: the roles that their templates assign are those that may be assigned (target/render)
    --yes               do it without asking
    --output json       what there is now, as JSON on stdout

It needs the Azure CLI signed in (`az login`) as somebody who may register applications and is Owner, or Role Based Access
Control Administrator, of the subscription. Nothing secret is made or written.
Exit codes: 0 done, or nothing to do; 1 it failed; 2 wrong input, or no --yes where there is no terminal; 3 there is
something to do and the answer was no; 4 refused; 5 unreachable or throttled.
";

const GRAPH: &str = "https://graph.microsoft.com";
const GRAPH_SCOPE: &str = "https://graph.microsoft.com/.default";
const ARM_SCOPE: &str = "https://management.azure.com/.default";

/// What Entra ID wants the tokens of federated identities to be for.
const EXCHANGE: &str = "api://AzureADTokenExchange";

const CONTRIBUTOR: &str = "b24988ac-6180-42a0-ab88-20f7382dd24c";
const READER: &str = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
const ACCESS_ADMINISTRATOR: &str = "f58310d9-a9f6-439a-9e8d-f62e7b41a168";

/// How often something is tried that Entra ID does not know everywhere yet.
const TRIES: u32 = 12;

/// What the command line says.
#[derive(Debug)]
struct Options {
    env: String,
    environments: PathBuf,
    rendered: PathBuf,
    yes: bool,
    json: bool,
}

/// Runs the command; the exit code.
pub(crate) async fn main(parser: lexopt::Parser) -> Result<u8, Failure> {
    let Some(options) = parse(parser)
        .map_err(|error| input(error.to_string(), "`skein-deploy bootstrap --help` lists what it knows"))?
    else {
        print!("{HELP}");
        return Ok(0);
    };
    let environment = Environment::read(&options.environments, &options.env)?;
    let layers = layers::read(&options.rendered)?;
    environment.check(&layers)?;
    let credential = azure_cli().map_err(|error| Failure::NoToken { why: error.to_string() })?;
    let bootstrap = Bootstrap::new(environment, &layers, GRAPH, credential.clone(), credential)?;
    bootstrap.check()?;
    let (rows, _) = bootstrap.walk(false).await?;
    for row in &rows {
        eprintln!("{row}");
    }
    if rows.iter().all(|row| row.mark == Mark::There) {
        eprintln!("nothing to do");
    } else if !agreed(options.yes)? {
        eprintln!("nothing was changed");
        return Ok(3);
    } else {
        let (rows, _) = bootstrap.walk(true).await?;
        for row in rows.iter().filter(|row| row.mark != Mark::There) {
            eprintln!("done {row}");
        }
    }
    if options.json {
        let (_, found) = bootstrap.walk(false).await?;
        println!("{:#}", found.json());
    }
    Ok(0)
}

fn parse(mut parser: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        env: String::new(),
        environments: "platform/deploy/environments".into(),
        rendered: "target/render".into(),
        yes: false,
        json: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("env") => options.env = parser.value()?.string()?,
            Long("environments") => options.environments = parser.value()?.into(),
            Long("rendered") => options.rendered = parser.value()?.into(),
            Long("yes") => options.yes = true,
            Long("output") => match parser.value()?.string()?.as_str() {
                "json" => options.json = true,
                "text" => options.json = false,
                other => return Err(format!("--output is json or text, not {other:?}").into()),
            },
            other => return Err(other.unexpected()),
        }
    }
    if options.env.is_empty() {
        return Err("--env is missing".into());
    }
    Ok(Some(options))
}

/// Whether somebody said yes.
fn agreed(yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(input(
            "bootstrap asks for a yes, and there is no terminal",
            "look at what it would do, and give --yes",
        ));
    }
    eprint!("Shall this be done? Type yes: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| input(format!("no answer: {error}"), "give --yes"))?;
    Ok(line.trim().eq_ignore_ascii_case("yes"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    There,
    Make,
    Change,
}

/// One thing, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    mark: Mark,
    what: String,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = match self.mark {
            Mark::There => '=',
            Mark::Make => '+',
            Mark::Change => '~',
        };
        write!(f, "{mark} {}", self.what)
    }
}

/// What there is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Found {
    tenant: String,
    audience: String,
    /// The client ids: of the function apps, of who deploys, of who plans.
    clients: Vec<(String, Option<String>)>,
}

impl Found {
    fn json(&self) -> Json {
        let clients: serde_json::Map<String, Json> =
            self.clients.iter().map(|(name, id)| (name.clone(), json!(id))).collect();
        json!({"tenantId": self.tenant, "appAudience": self.audience, "clientIds": clients})
    }
}

/// An application with its service principal.
#[derive(Debug, Clone)]
struct Application {
    /// The object id.
    id: String,
    /// The client id.
    client: String,
}

struct Bootstrap {
    environment: Environment,
    pipelines: Pipelines,
    /// The roles that the templates assign.
    roles: BTreeSet<String>,
    graph: Rest,
    arm: Rest,
    /// Between two tries.
    pace: Duration,
}

impl Bootstrap {
    fn new(
        environment: Environment,
        layers: &[Layer],
        graph: &str,
        graph_credential: Arc<dyn TokenCredential>,
        arm_credential: Arc<dyn TokenCredential>,
    ) -> Result<Self, Failure> {
        let Some(pipelines) = environment.pipelines.clone() else {
            let why = format!("{}: there is no table [pipelines]", environment.file);
            return Err(input(why, "write it, as in dev.toml; the system on one machine needs no bootstrap"));
        };
        Ok(Bootstrap {
            graph: Rest::open(graph, GRAPH_SCOPE, graph_credential)?,
            arm: Rest::open(&environment.endpoint, ARM_SCOPE, arm_credential)?,
            environment,
            pipelines,
            roles: assigned(layers),
            pace: Duration::from_secs(5),
        })
    }

    /// Refuses what is left open that bootstrap cannot fill.
    fn check(&self) -> Result<(), Failure> {
        let open = |path: &str, next: &str| {
            Err(input(format!("{}: {path} is a placeholder", self.environment.place(path)), next))
        };
        if self.environment.subscription == PLACEHOLDER {
            return open("subscription", "write the id of your subscription: `az account show --query id`");
        }
        if self.pipelines.issuer.contains(PLACEHOLDER) {
            return open("pipelines.issuer", "write the issuer that the service connection shows");
        }
        if self.roles.is_empty() {
            return Err(input("the rendered templates assign no role", "render first: `cargo xtask render`"));
        }
        Ok(())
    }

    /// Looks at everything in order; makes what is missing where it is told to.
    async fn walk(&self, makes: bool) -> Result<(Vec<Row>, Found), Failure> {
        let mut rows = Vec::new();
        let env = &self.environment.name;
        let path = format!("/subscriptions/{}?api-version=2022-12-01", self.environment.subscription);
        let subscription = self.arm.find("the subscription", &path).await?.ok_or_else(|| {
            let why = format!("there is no subscription {} for you", self.environment.subscription);
            input(why, "correct it in the environment, or sign in to its tenant")
        })?;
        let tenant = subscription["tenantId"].as_str().unwrap_or_default().to_owned();
        let audience = self.environment.value("platform", "appAudience").and_then(Json::as_str);
        // A name without tenant, client or verified domain is refused by Entra ID.
        let audience = match audience {
            Some(given) if !given.contains(PLACEHOLDER) => given.to_owned(),
            _ => format!("api://{tenant}/skein-{env}"),
        };
        let mut found = Found { tenant, audience: audience.clone(), clients: Vec::new() };

        let name = format!("skein-{env}");
        let role = json!({
            "id": stable_id(&format!("{name}/Call")), "allowedMemberTypes": ["Application"], "displayName": "Call",
            "description": "Call the function apps.", "value": "Call", "isEnabled": true,
        });
        let wanted = json!({"identifierUris": [audience], "appRoles": [role]});
        let apps = self.application(&name, "the function apps", wanted, makes, &mut rows).await?;
        found.clients.push((name, apps.as_ref().map(|app| app.client.clone())));

        let condition = self.condition();
        let deploys = [(CONTRIBUTOR, "Contributor", None), (ACCESS_ADMINISTRATOR, ACCESS, Some(condition.as_str()))];
        let plans = [(READER, "Reader", None)];
        let identities = [
            ("deploy", "who deploys", &self.pipelines.subjects, &deploys[..]),
            ("plan", "who plans", &self.pipelines.plan_subjects, &plans[..]),
        ];
        let mut deployer = None;
        for (suffix, about, subjects, roles) in identities {
            if subjects.is_empty() {
                continue;
            }
            let name = format!("skein-{env}-{suffix}");
            let app = self.application(&name, about, json!({}), makes, &mut rows).await?;
            for subject in subjects {
                self.trust(app.as_ref(), &name, subject, makes, &mut rows).await?;
            }
            let principal = match &app {
                Some(app) => self.principal(app).await?,
                None => None,
            };
            if suffix == "deploy" {
                deployer = principal.clone();
            }
            for (role, title, condition) in roles {
                self.role(principal.as_deref(), &name, role, title, *condition, makes, &mut rows).await?;
            }
            found.clients.push((name, app.map(|app| app.client)));
        }
        let client = apps.as_ref().map(|app| app.client.as_str());
        let mut values = vec![("appAudience", Some(audience.as_str())), ("appClientId", client)];
        if !self.pipelines.subjects.is_empty() {
            values.push(("deployerId", deployer.as_deref()));
        }
        self.write(&values, makes, &mut rows)?;
        Ok((rows, found))
    }

    /// An application and its service principal.
    async fn application(
        &self,
        name: &str,
        about: &str,
        wanted: Json,
        makes: bool,
        rows: &mut Vec<Row>,
    ) -> Result<Option<Application>, Failure> {
        let what = format!("the application {name}, {about}");
        let path = format!("/v1.0/applications(uniqueName='{name}')");
        let old = self.graph.find(&what, &path).await?;
        let mut body = json!({"displayName": name, "signInAudience": "AzureADMyOrg"});
        for (key, values) in wanted.as_object().into_iter().flatten() {
            // What others have added stays.
            let mut all = old.as_ref().and_then(|old| old[key].as_array()).cloned().unwrap_or_default();
            for value in values.as_array().into_iter().flatten() {
                if !all.iter().any(|have| have == value || (!have["id"].is_null() && have["id"] == value["id"])) {
                    all.push(value.clone());
                }
            }
            body[key] = all.into();
        }
        let mark = match &old {
            None => Mark::Make,
            Some(old) if contains(old, &body) => Mark::There,
            Some(_) => Mark::Change,
        };
        rows.push(Row { mark, what: what.clone() });
        let current = match (mark, makes) {
            (Mark::There, _) => old,
            (_, false) => old,
            (_, true) => match self.graph.upsert(&what, &path, &body).await? {
                // A change is answered without content.
                Json::Null => old,
                made => Some(made),
            },
        };
        let text = |key: &str| current.as_ref().and_then(|app| app[key].as_str()).map(str::to_owned);
        let application = text("id").zip(text("appId")).map(|(id, client)| Application { id, client });
        let principal = match &application {
            Some(application) => self.principal(application).await?,
            None => None,
        };
        let what = format!("the service principal of {name}");
        let mark = if principal.is_some() { Mark::There } else { Mark::Make };
        rows.push(Row { mark, what: what.clone() });
        if let (Some(application), true, Mark::Make) = (&application, makes, mark) {
            let path = format!("/v1.0/servicePrincipals(appId='{}')", application.client);
            let body = json!({"displayName": name});
            self.patiently(async || self.graph.upsert(&what, &path, &body).await).await?;
        }
        Ok(application)
    }

    /// The object id of an application's service principal.
    async fn principal(&self, application: &Application) -> Result<Option<String>, Failure> {
        let path = format!("/v1.0/servicePrincipals(appId='{}')", application.client);
        let found = self.graph.find("the service principal", &path).await?;
        Ok(found.and_then(|principal| principal["id"].as_str().map(str::to_owned)))
    }

    /// Lets the tokens of a service connection be exchanged for the application's.
    async fn trust(
        &self,
        application: Option<&Application>,
        name: &str,
        subject: &str,
        makes: bool,
        rows: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let what = format!("{name} trusts {subject} of {}", self.pipelines.issuer);
        let Some(application) = application else {
            rows.push(Row { mark: Mark::Make, what });
            return Ok(());
        };
        let path = format!("/v1.0/applications/{}/federatedIdentityCredentials", application.id);
        let listed = self.patiently(async || Ok(self.graph.find(&what, &path).await?.unwrap_or_default())).await?;
        let trusted = listed["value"].as_array().into_iter().flatten().any(|credential| {
            credential["issuer"] == self.pipelines.issuer.as_str() && credential["subject"] == subject
        });
        rows.push(Row { mark: if trusted { Mark::There } else { Mark::Make }, what: what.clone() });
        if trusted || !makes {
            return Ok(());
        }
        // Its last word, and what tells it from another subject with the same.
        let word = subject.rsplit(['/', ':']).next().unwrap_or_default();
        let word: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(80).collect();
        let key = format!("{word}-{}", &stable_id(&format!("{}#{subject}", self.pipelines.issuer))[..8]);
        let body = json!({
            "name": key, "issuer": self.pipelines.issuer, "subject": subject, "audiences": [EXCHANGE],
            "description": "Azure Pipelines, by workload identity federation.",
        });
        let path = format!("{path}(name='{key}')");
        self.patiently(async || self.graph.upsert(&what, &path, &body).await).await?;
        Ok(())
    }

    /// Gives a role at the subscription.
    #[expect(clippy::too_many_arguments, reason = "who, what, under which condition, and whether to")]
    async fn role(
        &self,
        principal: Option<&str>,
        name: &str,
        role: &str,
        title: &str,
        condition: Option<&str>,
        makes: bool,
        rows: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let limits = if condition.is_some() { ", for the roles of the templates only" } else { "" };
        let what = format!("{name} is {title} of the subscription{limits}");
        let Some(principal) = principal else {
            rows.push(Row { mark: Mark::Make, what });
            return Ok(());
        };
        let scope = format!("/subscriptions/{}", self.environment.subscription);
        let base = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let path = format!("{base}?api-version=2022-04-01&$filter=principalId%20eq%20'{principal}'");
        let listed = self.arm.find(&what, &path).await?.unwrap_or_default();
        let old = listed["value"].as_array().into_iter().flatten().find(|assignment| {
            let properties = &assignment["properties"];
            let text = |key: &str| properties[key].as_str().unwrap_or_default().to_lowercase();
            text("scope") == scope.to_lowercase() && text("roleDefinitionId").ends_with(role)
        });
        let mark = match old {
            None => Mark::Make,
            Some(old) if old["properties"]["condition"].as_str() == condition => Mark::There,
            Some(_) => Mark::Change,
        };
        rows.push(Row { mark, what: what.clone() });
        if mark == Mark::There || !makes {
            return Ok(());
        }
        let own = stable_id(&format!("{scope}#{principal}#{role}"));
        let key = old.and_then(|old| old["name"].as_str()).unwrap_or(&own);
        let definition = format!("{scope}/providers/Microsoft.Authorization/roleDefinitions/{role}");
        let mut properties =
            json!({"roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal"});
        if let Some(condition) = condition {
            properties["condition"] = condition.into();
            properties["conditionVersion"] = "2.0".into();
        }
        let body = json!({"properties": properties});
        let path = format!("{base}/{key}?api-version=2022-04-01");
        self.patiently(async || self.arm.put(&what, &path, &body).await).await?;
        Ok(())
    }

    /// Who deploys gives the roles that the templates assign, and takes them away again; no others.
    fn condition(&self) -> String {
        let roles = self.roles.iter().cloned().collect::<Vec<_>>().join(", ");
        let part = |verb: &str, source: &str| {
            format!(
                "((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{verb}'}})) OR \
                 ({source}[Microsoft.Authorization/roleAssignments:RoleDefinitionId] \
                 ForAnyOfAnyValues:GuidEquals {{{roles}}}))"
            )
        };
        format!("{} AND {}", part("write", "@Request"), part("delete", "@Resource"))
    }

    /// Tries again while Entra ID does not know everywhere yet what it has just made.
    async fn patiently(&self, attempt: impl AsyncFn() -> Result<Json, Failure>) -> Result<Json, Failure> {
        let mut tries = 1;
        loop {
            match attempt().await {
                Err(Failure::Refused { status: 400 | 404, error, .. }) if tries < TRIES && is_late(&root(&error).0) => {
                    tries += 1;
                    tokio::time::sleep(self.pace).await;
                }
                answer => return answer,
            }
        }
    }

    /// Writes what was made into the environment's file. None of it is secret.
    fn write(&self, values: &[(&str, Option<&str>)], makes: bool, rows: &mut Vec<Row>) -> Result<(), Failure> {
        let file = Path::new(&self.environment.file);
        let failed = |error: std::io::Error| input(format!("{}: {error}", file.display()), "make it writable");
        let mut text = std::fs::read_to_string(file).map_err(failed)?;
        let mut changed = false;
        for (name, value) in values {
            let at = Environment::parse(&self.environment.name, &self.environment.file, &text)?;
            let old = at.value("platform", name).or_else(|| at.value("orders", name)).and_then(Json::as_str);
            let mark = if value.is_some() && old == *value { Mark::There } else { Mark::Change };
            rows.push(Row { mark, what: format!("{}: {name}", at.place(&format!("parameters.{name}"))) });
            if let (Some(value), Mark::Change) = (value, mark) {
                text = with_parameter(&text, name, value);
                changed = true;
            }
        }
        if changed && makes {
            // Written beside it and moved: a crash leaves the old one or the new one.
            let draft = file.with_extension("toml.draft");
            std::fs::write(&draft, &text).and_then(|()| std::fs::rename(&draft, file)).map_err(failed)?;
        }
        Ok(())
    }
}

const ACCESS: &str = "Role Based Access Control Administrator";

/// A code that passes once Entra ID has told all its servers.
fn is_late(code: &str) -> bool {
    ["PrincipalNotFound", "NoBackingApplicationObject", "Request_ResourceNotFound", "ResourceNotFound"].contains(&code)
}

/// The text with a parameter's value, and everything else as it was.
fn with_parameter(text: &str, name: &str, value: &str) -> String {
    let document = Document::parse(text).ok();
    let table = document.as_ref().and_then(|document| document.get("parameters"));
    let span = table.and_then(|table| table.get(name)).and_then(toml_edit::Item::span);
    let value = json!(value);
    match span {
        Some(span) => format!("{}{value}{}", &text[..span.start], &text[span.end..]),
        None => match text.split_once("[parameters]\n") {
            Some((before, after)) => format!("{before}[parameters]\n{name} = {value}\n{after}"),
            None => format!("{}\n\n[parameters]\n{name} = {value}\n", text.trim_end()),
        },
    }
}

/// Whether an object has everything that another says.
fn contains(have: &Json, wanted: &Json) -> bool {
    match (have, wanted) {
        (Json::Object(have), Json::Object(wanted)) => {
            wanted.iter().all(|(key, value)| have.get(key).is_some_and(|have| contains(have, value)))
        }
        (Json::Array(have), Json::Array(wanted)) => {
            have.len() == wanted.len() && have.iter().zip(wanted).all(|(have, wanted)| contains(have, wanted))
        }
        _ => have == wanted,
    }
}

/// An id that is the same in every run.
fn stable_id(of: &str) -> String {
    let digest = Sha256::digest(format!("skein bootstrap\n{of}").to_lowercase());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    // As RFC 9562 marks ids of one's own making.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The ids of the roles that templates assign.
fn assigned(layers: &[Layer]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for layer in layers {
        let text = layer.template.to_string();
        for rest in text.split("Microsoft.Authorization/roleDefinitions'").skip(1) {
            let id = rest.split('\'').nth(1).unwrap_or_default();
            if id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
                found.insert(id.to_lowercase());
            }
        }
    }
    found
}

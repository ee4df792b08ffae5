//! The control plane: deployments, resource groups and resources over ARM's REST contract.
//!
//! Templates are evaluated by `skein-arm`. A deployment is stored before it is acknowledged, with every default value
//! found out, and goes on after a crash from its beginning: putting a resource twice is putting it once. What is
//! deployed is handed to a [`Host`], which makes those resources live that have a local engine.

mod delta;
mod provider;
mod rest;
mod roles;
mod run;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use skein_arm::{DeploymentInfo, Error, Group, Id, Plan, Scope};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::provider::{Addresses, TENANT};
pub use self::rest::router;
pub use self::roles::{Grant, grants};
use self::run::{Ground, Sandbox, Target, View};
pub use self::store::StoreError;
use self::store::{Deployment, Operation, Resources, State, Store};
use crate::identity::Issuer;

/// A future of a [`Host`].
pub type Hosting<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// What makes deployed resources live.
pub trait Host: Send + Sync {
    /// Whether a change can be hosted: from all resources as they are to all as they would be. Asked before anything is
    /// written.
    ///
    /// # Errors
    /// What of it would not be understood, by name and place.
    fn check(&self, before: &[Value], after: &[Value]) -> Result<(), Error> {
        let _ = (before, after);
        Ok(())
    }

    /// Brings what runs in line with all resources that are deployed now.
    fn apply(&self, resources: Vec<Value>) -> Hosting<'_>;
}

/// What the control plane needs.
pub struct Settings {
    /// Checks tokens.
    pub issuer: Arc<Issuer>,
    /// Where the data planes answer.
    pub addresses: Addresses,
    /// How long a provider takes for each resource: none but in tests.
    pub pace: Duration,
    /// Makes resources live.
    pub host: Arc<dyn Host>,
}

/// The control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    /// Answers of what-if, until they are asked for.
    results: Mutex<BTreeMap<String, Value>>,
    registered: Mutex<BTreeSet<String>>,
    /// One at a time: two deployments that bring the host in line at once would undo one another.
    hosting: tokio::sync::Mutex<()>,
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Where a request is about: the subscription, and the group if there is one.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    subscription: String,
    group: Option<String>,
}

impl Place {
    fn id(&self) -> String {
        match &self.group {
            Some(group) => format!("/subscriptions/{}/resourceGroups/{group}", self.subscription),
            None => format!("/subscriptions/{}", self.subscription),
        }
    }

    fn deployment(&self, name: &str) -> String {
        format!("{}/providers/Microsoft.Resources/deployments/{name}", self.id())
    }
}

impl Control {
    /// Opens the control plane's file. Deployments that an earlier process left running go on with
    /// [`Control::resume`].
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(file: &Path, settings: Settings) -> Result<Control, StoreError> {
        let inner = Inner {
            store: Store::open(file)?,
            settings,
            results: Mutex::default(),
            registered: Mutex::default(),
            hosting: tokio::sync::Mutex::new(()),
        };
        Ok(Control(Arc::new(inner)))
    }

    /// Everything that is deployed.
    pub fn resources(&self) -> Vec<Value> {
        self.0.store.resources().into_values().collect()
    }

    /// Where the planes answer.
    pub fn planes(&self) -> &str {
        &self.0.settings.addresses.planes
    }

    /// Continues the deployments that were running when the last process ended.
    pub fn resume(&self) {
        for deployment in self.0.store.deployments() {
            if deployment.state == State::Running {
                self.spawn(deployment.id);
            }
        }
    }

    fn spawn(&self, id: String) {
        let control = self.clone();
        tokio::spawn(async move {
            if let Err(error) = control.run(&id).await {
                eprintln!("the deployment {id} cannot be recorded: {error}");
            }
        });
    }

    fn scope(&self, place: &Place, name: &str, location: Option<&str>, deployer: &str) -> Result<Scope, Error> {
        let group = match &place.group {
            None => None,
            Some(name) => {
                let found = self.0.store.get(&place.id());
                let found = found.ok_or_else(|| {
                    Error::new("ResourceGroupNotFound", format!("there is no resource group {name:?}; make it first"))
                })?;
                Some(Group {
                    name: found["name"].as_str().unwrap_or(name).to_owned(),
                    location: found["location"].as_str().unwrap_or_default().to_owned(),
                    tags: found["tags"].as_object().cloned().unwrap_or_default(),
                })
            }
        };
        let mut environment = Scope::public_cloud();
        environment["resourceManager"] = format!("{}/", self.0.settings.addresses.planes).into();
        environment["authentication"]["loginEndpoint"] =
            format!("{}/identity/", self.0.settings.addresses.planes).into();
        Ok(Scope {
            tenant: TENANT.to_owned(),
            subscription: place.subscription.clone(),
            subscription_name: "local".to_owned(),
            group,
            deployment: DeploymentInfo { name: name.to_owned(), location: location.map(str::to_owned) },
            deployer: deployer.to_owned(),
            environment,
        })
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox {
            addresses: self.0.settings.addresses.clone(),
            resources: Mutex::new(self.0.store.resources()),
            gone: self.0.store.deleted(),
            touched: Mutex::default(),
        }
    }

    /// Reads a request to deploy, and runs it on a copy: whatever would fail fails here, before anything is done.
    async fn rehearse(
        &self,
        place: &Place,
        name: &str,
        request: &Value,
        deployer: &str,
    ) -> Result<(Draft, Sandbox), Error> {
        let draft = self.draft(place, name, request, deployer)?;
        let sandbox = self.sandbox();
        let ground: &dyn Ground = &sandbox;
        run::run(&draft.plan, ground, true).await.map_err(|error| {
            // The reasons are the answer; that a deployment would fail is not.
            match <[Error; 1]>::try_from(error.details.clone()) {
                Ok([only]) if error.code == "DeploymentFailed" => only,
                _ => error,
            }
        })?;
        let after = sandbox.resources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.check(after)?;
        Ok((draft, sandbox))
    }

    /// Whether the host would take all of these.
    fn check(&self, after: Resources) -> Result<(), Error> {
        let after: Vec<Value> = after.into_values().collect();
        self.0.settings.host.check(&self.resources(), &after)
    }

    fn draft(&self, place: &Place, name: &str, request: &Value, deployer: &str) -> Result<Draft, Error> {
        let wrong = |why: &str| Error::new("InvalidRequestContent", why);
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_.()".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(valid) {
            let why = format!("the name {name:?} must have 1 to 64 letters, digits and -_.()");
            return Err(Error::new("InvalidDeploymentName", why));
        }
        let properties = request.get("properties").filter(|properties| properties.is_object());
        let properties = properties.ok_or_else(|| wrong("the request has no properties"))?;
        match properties.get("mode").and_then(Value::as_str) {
            Some(mode) if mode.eq_ignore_ascii_case("Incremental") => {}
            Some(mode) if mode.eq_ignore_ascii_case("Complete") => {
                return Err(Error::new("InvalidDeploymentMode", "the mode Complete is not hosted; use Incremental"));
            }
            _ => return Err(wrong("properties.mode must be Incremental")),
        }
        let unknown = properties.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let known = ["mode", "template", "parameters", "debugSetting", "whatIfSettings", "expressionEvaluationOptions"];
        if let Some(unknown) = unknown.into_iter().find(|key| !known.contains(key)) {
            return Err(wrong(&format!("properties.{unknown} is not hosted")));
        }
        let template = properties.get("template").ok_or_else(|| wrong("properties.template is missing"))?;
        let location = request.get("location").and_then(Value::as_str);
        if place.group.is_none() && location.is_none_or(str::is_empty) {
            return Err(Error::new("LocationRequired", "a deployment to a subscription needs a location"));
        }
        if place.group.is_some() && location.is_some() {
            return Err(Error::new("InvalidDeployment", "a deployment to a resource group has no location"));
        }
        let parameters = properties.get("parameters").unwrap_or(&Value::Null);
        let scope = self.scope(place, name, location, deployer)?;
        let ground = self.sandbox();
        let view = View::all(&ground);
        let plan = Plan::of(template, parameters, scope, &view)?;
        let (mut given, mut shown, mut secrets) = (Map::new(), Map::new(), Vec::new());
        for (name, kind, value, secure) in plan.parameters(&view)? {
            let entry = if secure { json!({"type": kind}) } else { json!({"type": kind, "value": value}) };
            shown.insert(name.clone(), entry);
            if secure {
                collect_texts(&value, &mut secrets);
            }
            if !value.is_null() {
                given.insert(name, json!({"value": value}));
            }
        }
        Ok(Draft { plan, given: given.into(), shown: shown.into(), secrets })
    }

    /// Begins a deployment; whether it is the first of its name.
    async fn begin(&self, place: &Place, name: &str, request: &Value, deployer: &str) -> Result<bool, Error> {
        let (draft, _) = self.rehearse(place, name, request, deployer).await?;
        let id = place.deployment(name);
        let old = self.0.store.deployment(&id);
        if old.as_ref().is_some_and(|old| old.state == State::Running) {
            let why = "a deployment of that name is running; wait for its end, or cancel it";
            return Err(Error::new("DeploymentActive", why).about(id));
        }
        let properties = &request["properties"];
        self.0.store.insert(Deployment {
            id: id.clone(),
            name: name.to_owned(),
            subscription: place.subscription.clone(),
            group: place.group.clone(),
            location: request.get("location").and_then(Value::as_str).map(str::to_owned),
            tags: request.get("tags").cloned().unwrap_or_default(),
            template: properties["template"].clone(),
            parameters: draft.given,
            shown: draft.shown,
            state: State::Running,
            cancel: false,
            correlation: Uuid::new_v4().to_string(),
            deployer: deployer.to_owned(),
            started: now(),
            ended: None,
            outputs: Value::Null,
            error: None,
            operations: Vec::new(),
        })?;
        self.spawn(id);
        Ok(old.is_none())
    }

    /// Runs a stored deployment to its end.
    async fn run(&self, id: &str) -> Result<(), Error> {
        let Some(deployment) = self.0.store.deployment(id) else { return Ok(()) };
        self.0.store.change(id, |deployment| deployment.operations.clear())?;
        let result = self.attempt(&deployment).await;
        let (mut shown, mut inner) = (Map::new(), Map::new());
        let error = match result {
            Ok(outputs) => {
                for output in outputs {
                    let entry = json!({"type": output.kind, "value": output.value});
                    if !output.is_secure() {
                        shown.insert(recased(&output.name), entry.clone());
                    }
                    inner.insert(output.name, entry);
                }
                None
            }
            Err(error) => Some(error),
        };
        let state = match &error {
            None => State::Succeeded,
            Some(error) if error.code == "DeploymentCanceled" => State::Canceled,
            Some(_) => State::Failed,
        };
        if state == State::Succeeded {
            // What refers to the deployment sees its outputs.
            self.0.store.put(json!({
                "id": deployment.id, "type": "Microsoft.Resources/deployments", "name": deployment.name,
                "properties": {"provisioningState": "Succeeded", "outputs": inner},
            }))?;
        }
        self.0.store.change(id, |deployment| {
            deployment.state = state;
            deployment.ended = Some(now());
            deployment.outputs = shown.into();
            deployment.error = error.as_ref().map(|error| json!(error));
        })
    }

    async fn attempt(&self, deployment: &Deployment) -> Result<Vec<skein_arm::Output>, Error> {
        let place = Place { subscription: deployment.subscription.clone(), group: deployment.group.clone() };
        let scope = self.scope(&place, &deployment.name, deployment.location.as_deref(), &deployment.deployer)?;
        let ground = Real { inner: &self.0, deployment: deployment.id.clone() };
        let plan = Plan::of(&deployment.template, &deployment.parameters, scope, &View::all(&ground))?;
        let result = run::run(&plan, &ground, true).await;
        // Also what succeeded of a deployment that failed is there.
        let hosted = self.host().await;
        let outputs = result?;
        hosted?;
        Ok(outputs)
    }

    /// Brings what runs in line with what is deployed.
    ///
    /// # Errors
    /// Something that cannot be hosted.
    pub async fn host(&self) -> Result<(), Error> {
        let _one = self.0.hosting.lock().await;
        self.0.settings.host.apply(self.resources()).await
    }

    /// The changes that a deployment would make.
    async fn what_if(&self, place: &Place, name: &str, request: &Value, deployer: &str) -> Result<Value, Error> {
        let (draft, sandbox) = self.rehearse(place, name, request, deployer).await?;
        let before = self.0.store.resources();
        let after = sandbox.resources.into_inner().unwrap_or_else(PoisonError::into_inner);
        let touched = sandbox.touched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut changes = Vec::new();
        let mut places = BTreeSet::from([place.id().to_lowercase()]);
        let mut seen = BTreeSet::new();
        for key in &touched {
            let is_deployment = after.get(key).is_some_and(|body| is(body, "Microsoft.Resources/deployments"));
            if is_deployment || !seen.insert(key) {
                continue;
            }
            if let Some(group) = after.get(key).and_then(|body| Id::parse(body["id"].as_str()?).ok()?.group) {
                let subscription = &place.subscription;
                places.insert(format!("/subscriptions/{subscription}/resourcegroups/{group}").to_lowercase());
            }
            let id = after.get(key).and_then(|body| body["id"].as_str()).unwrap_or(key);
            changes.push(delta::change(id, before.get(key), after.get(key), &draft.secrets));
        }
        // What is in the same groups and not in the template stays as it is.
        for (key, body) in &before {
            let in_reach = places.iter().any(|place| {
                place.contains("/resourcegroups/") && key.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
            });
            if in_reach && !seen.contains(key) && !is(body, "Microsoft.Resources/deployments") {
                changes.push(delta::change(body["id"].as_str().unwrap_or(key), Some(body), None, &draft.secrets));
            }
        }
        let warnings = draft.plan.warnings.iter().map(
            |warning| json!({"level": "Warning", "code": "Skein", "target": warning.path, "message": warning.message}),
        );
        let diagnostics: Vec<Value> = warnings.collect();
        Ok(
            json!({"status": "Succeeded", "properties": {"changes": changes, "potentialChanges": [], "diagnostics": diagnostics}}),
        )
    }

    /// Puts one resource, as a person would with the portal.
    async fn put(&self, id: &str, mut body: Value) -> Result<(bool, Value), Error> {
        let parsed = Id::parse(id).map_err(|error| Error::new("InvalidResourceId", error.to_string()))?;
        let object = body
            .as_object_mut()
            .ok_or_else(|| Error::new("InvalidRequestContent", "the request's body must be an object"))?;
        object.insert("id".into(), parsed.to_string().into());
        object.insert("type".into(), parsed.kind().into());
        object.insert("name".into(), parsed.name().into());
        let sandbox = self.sandbox();
        let old = self.0.store.get(id);
        run::accept(&mut body, old.as_ref(), &View::all(&sandbox))?;
        let mut after = self.0.store.resources();
        after.insert(id.to_lowercase(), body.clone());
        self.check(after)?;
        self.0.store.put(body.clone())?;
        self.host().await?;
        Ok((old.is_none(), body))
    }

    /// Deletes a resource with what is below it; whether there was one.
    async fn delete(&self, id: &str) -> Result<bool, Error> {
        let (key, mut after) = (id.to_lowercase(), self.0.store.resources());
        after.retain(|one, _| !store::is_within(one, &key));
        self.check(after)?;
        let gone = self.0.store.remove(id)?;
        if gone.is_empty() {
            return Ok(false);
        }
        self.host().await?;
        Ok(true)
    }
}

/// A request that can be deployed.
struct Draft {
    plan: Plan,
    given: Value,
    shown: Value,
    secrets: Vec<String>,
}

fn is(body: &Value, kind: &str) -> bool {
    body["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(kind))
}

/// The texts of a secret value that are long enough to be recognised.
fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 4 => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(object) => object.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

/// An output's name as the service gives it back: a leading row of capitals becomes small, but for the last one before
/// something else (`AZURE_X` is `azurE_X`).
fn recased(name: &str) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    for at in 0..letters.len() {
        let last = at > 0 && letters.get(at + 1).is_some_and(|next| !next.is_uppercase());
        if !letters[at].is_uppercase() || last {
            break;
        }
        letters[at] = letters[at].to_ascii_lowercase();
    }
    letters.into_iter().collect()
}

/// What is really deployed.
struct Real<'a> {
    inner: &'a Inner,
    deployment: String,
}

impl Ground for Real<'_> {
    fn addresses(&self) -> &Addresses {
        &self.inner.settings.addresses
    }

    fn get(&self, id: &str) -> Option<Value> {
        self.inner.store.get(id)
    }

    fn deleted(&self) -> Resources {
        self.inner.store.deleted()
    }

    fn store(&self, body: Value) -> Result<(), Error> {
        if let Some(key) = store::deleted_key(&body) {
            self.inner.store.purge(&key)?;
        }
        self.inner.store.put(body)
    }

    fn secret(&self, vault: &str, name: &str, _: Option<&str>) -> Result<String, Error> {
        let secret = self.inner.store.get(&format!("{vault}/secrets/{name}"));
        let value = secret.and_then(|secret| secret["properties"]["value"].as_str().map(str::to_owned));
        value.ok_or_else(|| {
            Error::new(
                "KeyVaultParameterReferenceSecretRetrieveFailed",
                format!("there is no secret {name:?} in {vault}"),
            )
        })
    }

    fn begin(&self, top: bool, target: &Target) -> Result<(), Error> {
        if !top {
            return Ok(());
        }
        self.inner.store.change(&self.deployment, |deployment| {
            deployment.operations.push(Operation {
                id: Uuid::new_v4().simple().to_string().to_uppercase(),
                target: target.clone(),
                state: State::Running,
                started: now(),
                ended: None,
                error: None,
            });
        })
    }

    fn end(&self, top: bool, target: &Target, error: Option<&Error>) -> Result<(), Error> {
        if !top {
            return Ok(());
        }
        self.inner.store.change(&self.deployment, |deployment| {
            let found = deployment.operations.iter_mut().rev().find(|operation| operation.target == *target);
            if let Some(operation) = found {
                operation.state = if error.is_some() { State::Failed } else { State::Succeeded };
                operation.ended = Some(now());
                operation.error = error.map(|error| json!(error));
            }
        })
    }

    fn cancelled(&self) -> bool {
        self.inner.store.is_cancelled(&self.deployment)
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(self.inner.settings.pace))
    }
}

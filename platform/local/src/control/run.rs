//! Running a plan: each resource after those it needs, on the real ground or on a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use skein_arm::{Error, Group, Id, Output, Plan, Resources as World};

use super::provider::{self, Addresses};
use super::store::{Resources, deleted_key};

/// The type of a resource group.
const GROUPS: &str = "microsoft.resources/resourcegroups";

/// What a plan is run on.
pub(super) trait Ground: Send + Sync {
    fn addresses(&self) -> &Addresses;
    fn get(&self, id: &str) -> Option<Value>;
    fn deleted(&self) -> Resources;
    fn store(&self, body: Value) -> Result<(), Error>;
    fn secret(&self, vault: &str, name: &str, version: Option<&str>) -> Result<String, Error>;
    /// Notes the beginning of an operation.
    fn begin(&self, top: bool, target: &Target) -> Result<(), Error>;
    /// Notes its end.
    fn end(&self, top: bool, target: &Target, error: Option<&Error>) -> Result<(), Error>;
    /// Whether to stop before the next resource.
    fn cancelled(&self) -> bool;
    /// How long the provider takes.
    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Whom an operation is about: id, type, name.
pub(super) type Target = (String, String, String);

/// A copy of what is deployed: nothing that happens on it is real.
pub(super) struct Sandbox {
    pub(super) addresses: Addresses,
    pub(super) resources: Mutex<Resources>,
    pub(super) gone: Resources,
    /// What was put, in order.
    pub(super) touched: Mutex<Vec<String>>,
}

impl Ground for Sandbox {
    fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    fn get(&self, id: &str) -> Option<Value> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).get(&id.to_lowercase()).cloned()
    }

    fn deleted(&self) -> Resources {
        self.gone.clone()
    }

    fn store(&self, body: Value) -> Result<(), Error> {
        let key = body["id"].as_str().unwrap_or_default().to_lowercase();
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).insert(key, body);
        Ok(())
    }

    fn secret(&self, _: &str, name: &str, _: Option<&str>) -> Result<String, Error> {
        Ok(format!("<{name}>"))
    }

    fn begin(&self, _: bool, _: &Target) -> Result<(), Error> {
        Ok(())
    }

    fn end(&self, _: bool, _: &Target, _: Option<&Error>) -> Result<(), Error> {
        Ok(())
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn wait(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

/// What expressions of one resource see.
pub(super) struct View<'a> {
    pub(super) ground: &'a dyn Ground,
    /// Resources of the same deployment that nothing puts before this one: on Azure they might not be there yet.
    hidden: BTreeSet<String>,
}

impl<'a> View<'a> {
    pub(super) fn all(ground: &'a dyn Ground) -> Self {
        View { ground, hidden: BTreeSet::new() }
    }

    fn find(&self, id: &str) -> Result<Value, Error> {
        if self.hidden.contains(&id.to_lowercase()) {
            let why =
                format!("{id} is made by the same deployment, and nothing says that it comes first: add dependsOn");
            return Err(Error::new("ResourceNotFound", why));
        }
        self.ground.get(id).ok_or_else(|| Error::new("ResourceNotFound", format!("there is no resource {id}")))
    }
}

impl World for View<'_> {
    fn reference(&self, id: &str, _: Option<&str>, full: bool) -> Result<Value, Error> {
        let mut found = self.find(id)?;
        Ok(if full { found } else { found["properties"].take() })
    }

    fn list(&self, function: &str, id: &str, _: &str, _: Option<&Value>) -> Result<Value, Error> {
        let found = self.find(id)?;
        let kind = found["type"].as_str().unwrap_or_default().to_lowercase();
        if kind == "microsoft.web/sites/config" && function == "list" {
            return Ok(found);
        }
        let why = format!("{function}() of {kind} is not hosted: keys are turned off here, use identities and roles");
        Err(Error::new("OperationNotSupported", why).about(id))
    }

    fn group(&self, subscription: &str, name: &str) -> Option<Group> {
        group(self.ground, subscription, name)
    }

    fn secret(&self, vault: &str, name: &str, version: Option<&str>) -> Result<String, Error> {
        self.ground.secret(vault, name, version)
    }
}

/// A resource group, as expressions see it.
pub(super) fn group(ground: &dyn Ground, subscription: &str, name: &str) -> Option<Group> {
    let found = ground.get(&format!("/subscriptions/{subscription}/resourceGroups/{name}"))?;
    Some(Group {
        name: found["name"].as_str()?.to_owned(),
        location: found["location"].as_str().unwrap_or_default().to_owned(),
        tags: found["tags"].as_object().cloned().unwrap_or_default(),
    })
}

/// Runs a plan and those nested in it. Of what fails the rest goes on, as far as it does not depend on it.
pub(super) fn run<'a>(
    plan: &'a Plan,
    ground: &'a dyn Ground,
    top: bool,
) -> Pin<Box<dyn Future<Output = Result<Vec<Output>, Error>> + Send + 'a>> {
    Box::pin(async move {
        let before: BTreeSet<String> = plan
            .resources
            .iter()
            .map(|resource| resource.id.to_lowercase())
            .filter(|key| ground.get(key).is_some())
            .collect();
        let mut failed: BTreeMap<usize, Error> = BTreeMap::new();
        for index in plan.order() {
            if ground.cancelled() {
                return Err(Error::new("DeploymentCanceled", "the deployment was cancelled"));
            }
            let resource = &plan.resources[index];
            if resource.existing || resource.depends_on.iter().any(|earlier| failed.contains_key(earlier)) {
                if !resource.existing {
                    // Nothing was tried, so that nothing is told of it; what depends on it is not tried, either.
                    failed.insert(index, Error::new("", ""));
                }
                continue;
            }
            let target = (resource.id.clone(), resource.kind.clone(), resource.name.clone());
            ground.begin(top, &target)?;
            ground.wait().await;
            let earlier = plan.before(index);
            let hidden = plan.resources.iter().enumerate().filter(|(at, one)| {
                *at != index && !one.existing && !earlier.contains(at) && !before.contains(&one.id.to_lowercase())
            });
            let hidden = hidden.map(|(_, one)| one.id.to_lowercase()).collect();
            let result = one(plan, index, &View { ground, hidden }).await;
            ground.end(top, &target, result.as_ref().err())?;
            if let Err(error) = result {
                failed.insert(index, error.about(resource.id.clone()));
            }
        }
        let mut failed = failed.into_values().filter(|error| !error.code.is_empty()).peekable();
        if failed.peek().is_some() {
            let message = "at least one resource failed; see the details";
            let mut error = Error::new("DeploymentFailed", message);
            error.details = failed.collect();
            if error.details.iter().any(|detail| detail.code == "DeploymentCanceled") {
                return Err(Error::new("DeploymentCanceled", "the deployment was cancelled"));
            }
            return Err(error);
        }
        plan.outputs(&View::all(ground))
    })
}

async fn one(plan: &Plan, index: usize, view: &View<'_>) -> Result<(), Error> {
    let mut body = plan.body(index, view)?;
    if plan.resources[index].nested.is_none() {
        let old = view.ground.get(&plan.resources[index].id);
        accept(&mut body, old.as_ref(), view)?;
        return view.ground.store(body);
    }
    let nested = plan.nested(index, &body, view)?;
    let outputs = run(&nested, view.ground, false).await?;
    let all: Map<String, Value> =
        outputs.into_iter().map(|output| (output.name, json!({"type": output.kind, "value": output.value}))).collect();
    body["properties"] = json!({"mode": "Incremental", "provisioningState": "Succeeded", "outputs": all});
    view.ground.store(body)
}

/// Checks that a resource can be where it is put, and completes it.
pub(super) fn accept(body: &mut Value, old: Option<&Value>, view: &View) -> Result<(), Error> {
    let text = body["id"].as_str().unwrap_or_default().to_owned();
    let id = Id::parse(&text).map_err(|error| Error::new("InvalidResourceId", error.to_string()))?;
    if id.kind().eq_ignore_ascii_case(GROUPS) && body["location"].as_str().is_none_or(str::is_empty) {
        return Err(Error::new("LocationRequired", "a resource group needs a location").about(text));
    }
    if let (Some(subscription), Some(name)) = (&id.subscription, &id.group)
        && !id.kind().eq_ignore_ascii_case(GROUPS)
        && group(view.ground, subscription, name).is_none()
    {
        return Err(Error::new("ResourceGroupNotFound", format!("there is no resource group {name:?}")).about(text));
    }
    let parent = id.parent().map(|parent| (parent, "ParentResourceNotFound", "the parent"));
    let scope = (id.providers.len() > 1).then(|| (id.scope(), "ResourceNotFound", "the resource that it extends"));
    for (needed, code, what) in parent.into_iter().chain(scope) {
        let needed = needed.to_string();
        // Some children are there with their parent, under a fixed name.
        let implied = ["/blobservices/default", "/tableservices/default", "/queueservices/default"];
        if implied.iter().any(|end| needed.to_lowercase().ends_with(end)) {
            continue;
        }
        if let Err(error) = view.find(&needed) {
            return Err(Error::new(code, format!("{what} is not there: {}", error.message)).about(text));
        }
    }
    if old.is_none()
        && let Some(key) = deleted_key(body)
        && view.ground.deleted().contains_key(&key)
        && body["properties"]["createMode"].as_str() != Some("recover")
        && body["properties"]["restore"] != true
    {
        let why = "a deleted resource still holds the name; purge it, or recover it";
        return Err(Error::new("ConflictError", format!("{why}: {key}")).about(text));
    }
    provider::complete(body, old, view.ground.addresses())
}

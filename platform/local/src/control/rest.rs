//! ARM over HTTP.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use axum::body::to_bytes;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use skein_arm::{Error, Id};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::roles::{self, Action};
use super::store::{Deployment, Operation, State};
use super::{Control, Place, TENANT, is};
use crate::identity::bearer;

/// The audiences of its tokens.
const AUDIENCES: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];

/// The largest request: template and parameters may have 4 MB each.
const MAX_BYTES: usize = 9 * 1024 * 1024;

/// How many entries a page has.
const PAGE: usize = 50;

/// After how many seconds a client asks again. A fraction would be better here, and the header has none.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("0");

/// The routes, at the root: `/subscriptions/…`.
pub fn router(control: Control) -> Router {
    Router::new().route("/subscriptions", any(serve)).route("/subscriptions/{*path}", any(serve)).with_state(control)
}

/// A refusal: its status, and the error in ARM's shape.
struct Refusal(StatusCode, Box<Error>);

fn refusal(status: StatusCode, error: Error) -> Refusal {
    Refusal(status, Box::new(error))
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.code.as_str() {
            "ResourceNotFound" | "ResourceGroupNotFound" | "ParentResourceNotFound" | "DeploymentNotFound" => {
                StatusCode::NOT_FOUND
            }
            "DeploymentActive" | "ConflictError" | "RoleAssignmentExists" => StatusCode::CONFLICT,
            "AuthorizationFailed" => StatusCode::FORBIDDEN,
            "InternalServerError" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        refusal(status, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(self.1.to_json())).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

type Answer = Result<Response, Refusal>;

fn not_found(what: &str) -> Refusal {
    refusal(StatusCode::NOT_FOUND, Error::new("ResourceNotFound", format!("there is no {what}")))
}

fn not_allowed() -> Refusal {
    refusal(StatusCode::METHOD_NOT_ALLOWED, Error::new("MethodNotAllowed", "the resource does not know that method"))
}

struct Call {
    control: Control,
    method: Method,
    /// The path's segments, decoded.
    path: Vec<String>,
    query: BTreeMap<String, String>,
    body: Value,
    caller: String,
}

async fn serve(Extract(control): Extract<Control>, request: Request) -> Response {
    let id = Uuid::new_v4().to_string();
    let mut response = match answer(control, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-ms-request-id", id);
    }
    response
}

/// Who calls, by a token for the control plane.
fn caller(control: &Control, headers: &HeaderMap) -> Result<String, String> {
    let token = bearer(headers).ok_or("a bearer token is required")?;
    let mut why = String::new();
    for audience in AUDIENCES {
        match control.0.settings.issuer.verify(token, audience) {
            Ok(caller) => return Ok(caller.oid),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// What a refused principal is told.
fn no_role(caller: &str, action: Action, id: &str) -> String {
    let does = if action == Action::Read { "read" } else { "change" };
    format!("the principal {caller} has no role to {does} {id}; assign one at that scope or above")
}

impl Control {
    /// A deployed site by its name, as it is spelled there, for a caller who may change it.
    pub(crate) fn site_for_publishing(&self, headers: &HeaderMap, name: &str) -> Result<String, (StatusCode, String)> {
        let caller = caller(self, headers).map_err(|why| (StatusCode::UNAUTHORIZED, why))?;
        let resources = self.0.store.resources();
        let found = resources.values().find(|body| {
            is(body, "Microsoft.Web/sites") && body["name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name))
        });
        let found = found.ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no site {name}")))?;
        let id = found["id"].as_str().unwrap_or_default();
        if !roles::may(&roles::grants(resources.values()), &caller, Action::Write, id) {
            return Err((StatusCode::FORBIDDEN, no_role(&caller, Action::Write, id)));
        }
        Ok(found["name"].as_str().unwrap_or(name).to_owned())
    }
}

async fn answer(control: Control, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let caller = caller(&control, &parts.headers)
        .map_err(|why| refusal(StatusCode::UNAUTHORIZED, Error::new("AuthenticationFailed", why)))?;
    let body = to_bytes(body, MAX_BYTES).await.map_err(|_| {
        let why = format!("the request has more than {MAX_BYTES} bytes, or broke off");
        refusal(StatusCode::PAYLOAD_TOO_LARGE, Error::new("RequestContentTooLarge", why))
    })?;
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body)
            .map_err(|error| Error::new("InvalidRequestContent", format!("the body is no JSON: {error}")))?,
    };
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let path = parts.uri.path().trim_matches('/').split('/').map(decode).collect();
    let query = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let query = query.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query: BTreeMap<String, String> =
        query.map(|(name, value)| (decode(name).to_lowercase(), decode(value))).collect();
    if query.get("api-version").is_none_or(String::is_empty) {
        return Err(Error::new("MissingApiVersionParameter", "the query needs an api-version").into());
    }
    Call { control, method: parts.method, path, query, body, caller }.serve().await
}

impl Call {
    /// Whether the path continues with these words, in any case, from a position on.
    fn at(&self, from: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| {
            *word == "*" && self.path.len() > from + n
                || self.path.get(from + n).is_some_and(|segment| segment.eq_ignore_ascii_case(word))
        })
    }

    fn authorise(&self, action: Action, id: &str) -> Result<(), Refusal> {
        let resources = self.control.0.store.resources();
        let grants = roles::grants(resources.values());
        if roles::may(&grants, &self.caller, action, id) {
            return Ok(());
        }
        let why = no_role(&self.caller, action, id);
        Err(Error::new("AuthorizationFailed", why).into())
    }

    async fn serve(self) -> Answer {
        let action = if [Method::GET, Method::HEAD].contains(&self.method) { Action::Read } else { Action::Write };
        if self.path.len() < 2 {
            return Ok(Json(json!({"value": []})).into_response());
        }
        let subscription = self.path[1].clone();
        if Uuid::parse_str(&subscription).is_err() {
            let why = format!("{subscription:?} is no id of a subscription");
            return Err(Error::new("InvalidSubscriptionId", why).into());
        }
        let (place, rest) = match self.at(2, &["resourcegroups", "*"]) {
            true => (Place { subscription, group: Some(self.path[3].clone()) }, 4),
            false => (Place { subscription, group: None }, 2),
        };
        let deployments = ["providers", "microsoft.resources", "deployments"];
        if self.at(rest, &deployments) {
            self.authorise(action, &place.id())?;
            return self.deployments(&place, rest + 3).await;
        }
        if place.group.is_some() && self.at(rest, &["deployments", "*", "operations"]) {
            self.authorise(action, &place.id())?;
            let deployment = self.deployment(&place, &self.path[rest + 1])?;
            return self.operations(&deployment, self.path.get(rest + 3).map(String::as_str));
        }
        if place.group.is_none() {
            if self.path.len() == 2 {
                let about = json!({"id": place.id(), "subscriptionId": place.subscription, "tenantId": TENANT,
                    "displayName": "local", "state": "Enabled"});
                return Ok(Json(about).into_response());
            }
            if self.at(2, &["operationresults", "*"]) {
                return self.result(&self.path[3]);
            }
            let is_provider = self.at(2, &["providers", "*"]) && self.path.len() == 4;
            if is_provider || self.at(2, &["providers", "*", "register"]) {
                return self.provider(&place);
            }
            if self.at(2, &["resourcegroups"]) && self.path.len() == 3 {
                self.authorise(Action::Read, &place.id())?;
                return Ok(self.list(|body| is(body, "Microsoft.Resources/resourceGroups") && below(body, &place.id())));
            }
        }
        if self.at(rest, &["resources"]) && self.path.len() == rest + 1 {
            self.authorise(Action::Read, &place.id())?;
            let within = place.id();
            return Ok(self.list(|body| {
                below(body, &within)
                    && !is(body, "Microsoft.Resources/resourceGroups")
                    && !is(body, "Microsoft.Resources/deployments")
            }));
        }
        self.resource().await
    }

    fn list(&self, test: impl Fn(&Value) -> bool) -> Response {
        let all: Vec<Value> = self.control.resources().into_iter().filter(|body| test(body)).map(shown).collect();
        Json(json!({"value": all})).into_response()
    }

    /// One resource, a collection of them, or a deleted one.
    async fn resource(self) -> Answer {
        let path = format!("/{}", self.path.join("/"));
        let deleted = self.control.0.store.deleted();
        let lower = path.to_lowercase();
        let (purged, purge) = match lower.strip_suffix("/purge") {
            Some(key) => (key.to_owned(), self.method == Method::POST),
            None => (lower.clone(), self.method == Method::DELETE && lower.contains("/deletedservices/")),
        };
        if lower.contains("/deletedvaults/") || lower.contains("/deletedservices/") {
            self.authorise(if purge { Action::Write } else { Action::Read }, &path)?;
            let found = deleted.get(&purged).ok_or_else(|| not_found(&path))?;
            if !purge {
                return Ok(Json(json!({"id": path, "name": found["name"], "properties": {"scheduledPurgeDate": null,
                    "purgeProtectionEnabled": found["properties"]["enablePurgeProtection"]}}))
                .into_response());
            }
            if found["properties"]["enablePurgeProtection"] == true {
                let why =
                    "the vault is protected from being purged; recover it by a deployment with createMode recover";
                return Err(refusal(StatusCode::CONFLICT, Error::new("MethodNotAllowed", why)));
            }
            self.control.0.store.purge(&purged)?;
            return Ok(self.accepted(&Place { subscription: self.path[1].clone(), group: None }, Value::Null));
        }
        let Ok(id) = Id::parse(&path) else {
            if self.method == Method::GET {
                self.authorise(Action::Read, &path)?;
                // A type without a name: all resources of it below the rest.
                let prefix = format!("{}/", path.to_lowercase());
                return Ok(self.list(|body| {
                    body["id"].as_str().is_some_and(|id| {
                        id.to_lowercase().strip_prefix(&prefix).is_some_and(|name| !name.contains('/'))
                    })
                }));
            }
            return Err(not_found(&path));
        };
        let assigns = id.kind().to_lowercase().starts_with("microsoft.authorization/");
        let action = match self.method {
            Method::GET | Method::HEAD => Action::Read,
            _ if assigns => Action::Assign,
            _ => Action::Write,
        };
        self.authorise(action, &path)?;
        let control = &self.control;
        match self.method {
            Method::GET => {
                let found = control.0.store.get(&path).ok_or_else(|| not_found(&path))?;
                Ok(Json(shown(found)).into_response())
            }
            Method::HEAD => match control.0.store.get(&path) {
                Some(_) => Ok(StatusCode::NO_CONTENT.into_response()),
                None => Ok(StatusCode::NOT_FOUND.into_response()),
            },
            Method::PUT | Method::PATCH => {
                let body = match (&self.method, control.0.store.get(&path)) {
                    (&Method::PATCH, None) => return Err(not_found(&path)),
                    (&Method::PATCH, Some(old)) => patched(old, &self.body),
                    _ => self.body.clone(),
                };
                let (new, body) = control.put(&path, body).await?;
                let status = if new { StatusCode::CREATED } else { StatusCode::OK };
                Ok((status, Json(shown(body))).into_response())
            }
            Method::DELETE => {
                let place = Place { subscription: self.path[1].clone(), group: None };
                match control.delete(&path).await? {
                    true => Ok(self.accepted(&place, Value::Null)),
                    false if id.providers.is_empty() => Err(not_found(&path)),
                    false => Ok(StatusCode::NO_CONTENT.into_response()),
                }
            }
            Method::POST if path.to_lowercase().ends_with("/list") => {
                let found = path.rsplit_once('/').and_then(|(id, _)| control.0.store.get(id));
                Ok(Json(found.ok_or_else(|| not_found(&path))?).into_response())
            }
            _ => Err(not_allowed()),
        }
    }

    fn provider(&self, place: &Place) -> Answer {
        let namespace = self.path.get(3).cloned().unwrap_or_default();
        self.authorise(if self.method == Method::GET { Action::Read } else { Action::Write }, &place.id())?;
        let mut registered = self.control.0.registered.lock().unwrap_or_else(PoisonError::into_inner);
        let key = namespace.to_lowercase();
        if self.method == Method::POST {
            registered.insert(key.clone());
        }
        let state = if registered.contains(&key) { "Registered" } else { "NotRegistered" };
        let about = json!({"id": format!("{}/providers/{namespace}", place.id()), "namespace": namespace,
            "registrationState": state, "resourceTypes": []});
        Ok(Json(about).into_response())
    }

    fn base(&self) -> &str {
        &self.control.0.settings.addresses.planes
    }

    /// Work that is done by the time it is asked for.
    fn accepted(&self, place: &Place, result: Value) -> Response {
        let id = Uuid::new_v4().to_string();
        self.control.0.results.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), result);
        let version = self.query.get("api-version").map(String::as_str).unwrap_or_default();
        let location =
            format!("{}/subscriptions/{}/operationresults/{id}?api-version={version}", self.base(), place.subscription);
        let mut response = StatusCode::ACCEPTED.into_response();
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        response
    }

    fn result(&self, id: &str) -> Answer {
        let results = self.control.0.results.lock().unwrap_or_else(PoisonError::into_inner);
        match results.get(id) {
            None => Err(not_found("such operation")),
            Some(Value::Null) => Ok(StatusCode::OK.into_response()),
            Some(result) => Ok(Json(result.clone()).into_response()),
        }
    }

    fn deployment(&self, place: &Place, name: &str) -> Result<Deployment, Refusal> {
        let found = self.control.0.store.deployment(&place.deployment(name));
        found.ok_or_else(|| Error::new("DeploymentNotFound", format!("there is no deployment {name:?}")).into())
    }

    async fn deployments(self, place: &Place, at: usize) -> Answer {
        let control = &self.control;
        let Some(name) = self.path.get(at) else {
            let all = control.0.store.deployments();
            let own = all.iter().filter(|one| one.subscription == place.subscription && one.group == place.group);
            return Ok(Json(json!({"value": own.map(describe).collect::<Vec<_>>()})).into_response());
        };
        let id = place.deployment(name);
        let verb = self.path.get(at + 1).map(|verb| verb.to_lowercase());
        match (verb.as_deref(), &self.method) {
            (None, &Method::PUT) => {
                let new = control.begin(place, name, &self.body, &self.caller).await?;
                let deployment = self.deployment(place, name)?;
                let mut response = Json(describe(&deployment)).into_response();
                *response.status_mut() = if new { StatusCode::CREATED } else { StatusCode::OK };
                let version = self.query.get("api-version").map(String::as_str).unwrap_or_default();
                let status =
                    format!("{}{id}/operationStatuses/{}?api-version={version}", self.base(), deployment.correlation);
                if let Ok(status) = HeaderValue::from_str(&status) {
                    response.headers_mut().insert("azure-asyncoperation", status);
                }
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
                Ok(response)
            }
            (None, &Method::GET) => Ok(Json(describe(&self.deployment(place, name)?)).into_response()),
            (None, &Method::HEAD) => {
                let status = match control.0.store.deployment(&id) {
                    Some(_) => StatusCode::NO_CONTENT,
                    None => StatusCode::NOT_FOUND,
                };
                Ok(status.into_response())
            }
            (None, &Method::DELETE) => {
                let Some(deployment) = control.0.store.deployment(&id) else {
                    return Ok(StatusCode::NO_CONTENT.into_response());
                };
                if deployment.state == State::Running {
                    let why = "the deployment is running; cancel it first";
                    return Err(Error::new("DeploymentActive", why).into());
                }
                control.0.store.remove(&id)?;
                Ok(self.accepted(place, Value::Null))
            }
            (Some("validate"), &Method::POST) => {
                let (draft, _) = control.rehearse(place, name, &self.body, &self.caller).await?;
                let resources: Vec<_> = draft.plan.resources.iter().map(|one| json!({"id": one.id})).collect();
                let about = json!({"id": id, "name": name, "properties": {"provisioningState": "Succeeded",
                    "mode": "Incremental", "parameters": draft.shown, "validatedResources": resources}});
                Ok(Json(about).into_response())
            }
            (Some("whatif"), &Method::POST) => {
                let result = control.what_if(place, name, &self.body, &self.caller).await?;
                Ok(self.accepted(place, result))
            }
            (Some("cancel"), &Method::POST) => {
                let deployment = self.deployment(place, name)?;
                if deployment.state != State::Running {
                    let why = "the deployment is not running";
                    return Err(refusal(StatusCode::CONFLICT, Error::new("DeploymentCannotBeCancelled", why)));
                }
                control.0.store.change(&id, |deployment| deployment.cancel = true)?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            (Some("exporttemplate"), &Method::POST) => {
                Ok(Json(json!({"template": self.deployment(place, name)?.template})).into_response())
            }
            (Some("operationstatuses"), &Method::GET) => {
                let deployment = self.deployment(place, name)?;
                let mut about = json!({"status": deployment.state});
                if let Some(error) = &deployment.error {
                    about["error"] = error.clone();
                }
                let mut response = Json(about).into_response();
                if deployment.state == State::Running {
                    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
                }
                Ok(response)
            }
            (Some("operations"), &Method::GET) => {
                self.operations(&self.deployment(place, name)?, self.path.get(at + 2).map(String::as_str))
            }
            _ => Err(not_allowed()),
        }
    }

    fn operations(&self, deployment: &Deployment, one: Option<&str>) -> Answer {
        let show = |operation: &Operation| {
            let (id, kind, name) = &operation.target;
            let mut properties = json!({
                "provisioningOperation": "Create",
                "provisioningState": operation.state,
                "timestamp": timestamp(operation.ended.unwrap_or(operation.started)),
                "duration": format!("PT{}S", operation.ended.unwrap_or_else(super::now) - operation.started),
                "trackingId": operation.id,
                "targetResource": {"id": id, "resourceType": kind, "resourceName": name},
            });
            match operation.state {
                State::Succeeded => properties["statusCode"] = "OK".into(),
                State::Failed => {
                    properties["statusCode"] = "BadRequest".into();
                    properties["statusMessage"] = json!({"status": "Failed", "error": operation.error});
                }
                _ => {}
            }
            json!({"id": format!("{}/operations/{}", deployment.id, operation.id), "operationId": operation.id, "properties": properties})
        };
        if let Some(one) = one {
            let found = deployment.operations.iter().find(|operation| operation.id == one);
            return Ok(Json(show(found.ok_or_else(|| not_found("such operation"))?)).into_response());
        }
        let number = |name: &str, default: usize| match self.query.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::new("InvalidQuery", format!("{name} is no number"))),
        };
        let (skip, top) = (number("$skiptoken", 0)?, number("$top", PAGE)?.clamp(1, 1000));
        let page: Vec<Value> = deployment.operations.iter().skip(skip).take(top).map(show).collect();
        let mut answer = json!({"value": page});
        if skip.saturating_add(top) < deployment.operations.len() {
            let version = self.query.get("api-version").map(String::as_str).unwrap_or_default();
            let path = self.path.join("/");
            answer["nextLink"] =
                format!("{}/{path}?api-version={version}&$top={top}&$skiptoken={}", self.base(), skip + top).into();
        }
        Ok(Json(answer).into_response())
    }
}

/// Whether a resource is below a scope.
fn below(body: &Value, scope: &str) -> bool {
    let prefix = format!("{}/", scope.to_lowercase());
    body["id"].as_str().is_some_and(|id| id.to_lowercase().starts_with(&prefix))
}

/// A resource as it is given out: what was secret when it was sent is left out.
fn shown(mut body: Value) -> Value {
    let kind = body["type"].as_str().unwrap_or_default().to_lowercase();
    if kind == "microsoft.keyvault/vaults/secrets"
        && let Some(properties) = body["properties"].as_object_mut()
    {
        properties.remove("value");
    }
    body
}

/// A resource with a merge patch of its first two levels.
fn patched(mut old: Value, patch: &Value) -> Value {
    for (key, value) in patch.as_object().into_iter().flatten() {
        match (old.get_mut(key).and_then(Value::as_object_mut), value) {
            (Some(old), Value::Object(new)) => old.extend(new.clone()),
            _ => old[key.as_str()] = value.clone(),
        }
    }
    old
}

fn timestamp(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

fn describe(deployment: &Deployment) -> Value {
    let mut properties = json!({
        "provisioningState": deployment.state,
        "correlationId": deployment.correlation,
        "timestamp": timestamp(deployment.ended.unwrap_or(deployment.started)),
        "duration": format!("PT{}S", deployment.ended.unwrap_or_else(super::now) - deployment.started),
        "mode": "Incremental",
        "parameters": deployment.shown,
    });
    if deployment.state == State::Succeeded {
        properties["outputs"] = deployment.outputs.clone();
        let resources = deployment.operations.iter().map(|operation| json!({"id": operation.target.0}));
        properties["outputResources"] = resources.collect();
    }
    if let Some(error) = &deployment.error {
        properties["error"] = error.clone();
    }
    let mut about = json!({"id": deployment.id, "name": deployment.name, "type": "Microsoft.Resources/deployments",
        "properties": properties});
    if let Some(location) = &deployment.location {
        about["location"] = location.as_str().into();
    }
    if !deployment.tags.is_null() {
        about["tags"] = deployment.tags.clone();
    }
    about
}

//! The gateway as it is deployed: API Management's service with its policies, and the programs that they make.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, header};
use serde_json::Value;
use skein_arm::Error;
use skein_gateway::{Documents, Program, World};

use super::operation::Operation;
use crate::control::{Grant, grants};
use crate::hosting::secret;
use crate::identity::ManagedIdentity;

const SERVICE: &str = "microsoft.apimanagement/service";

/// First segments of paths that the local gateway has for its own pages.
const OWN_PATHS: [&str; 5] = ["", "assets", "dev", "healthz", "shop"];

/// Why something of a gateway cannot be executed as it is deployed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The id of the resource.
    pub id: String,
    /// What is wrong, and where in it.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.why)
    }
}

/// A text of a resource, with the resource's id.
#[derive(Debug, Clone, PartialEq)]
struct Text {
    id: String,
    text: String,
}

#[derive(Debug, Clone, PartialEq)]
struct DeployedApi {
    id: String,
    path: String,
    display_name: String,
    service_url: Option<String>,
    policy: Option<Text>,
    operations: Vec<Operation>,
}

/// All that is deployed of one API Management service, and that what it does depends on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    identity: Identity,
    policy: Option<Text>,
    fragments: BTreeMap<String, Text>,
    named_values: BTreeMap<String, String>,
    backends: BTreeMap<String, String>,
    /// By name.
    apis: BTreeMap<String, DeployedApi>,
    /// What is seen to be wrong without compiling anything.
    faults: Vec<Fault>,
}

/// As whom a gateway calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    system: Option<String>,
    assigned: Vec<ManagedIdentity>,
}

impl Identity {
    fn of(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let assigned = body["userAssignedIdentities"].as_object().into_iter().flatten().filter_map(|(_, about)| {
            Some(ManagedIdentity { principal_id: text(&about["principalId"])?, client_id: text(&about["clientId"])? })
        });
        Identity { system: text(&body["principalId"]), assigned: assigned.collect() }
    }

    /// The one that a policy means: by its client id, or the service's own.
    pub(super) fn named(&self, client_id: Option<&str>) -> Option<ManagedIdentity> {
        match client_id {
            Some(client) => self.assigned.iter().find(|one| one.client_id.eq_ignore_ascii_case(client)).cloned(),
            // The client id of a system-assigned identity is of no importance here.
            None => self.system.clone().map(|id| ManagedIdentity { principal_id: id.clone(), client_id: id }),
        }
    }
}

fn text<'v>(body: &'v Value, pointer: &str) -> &'v str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The XML of a policy or fragment.
fn document(body: &Value) -> Result<Text, String> {
    match text(body, "/properties/format") {
        // What is no XML is refused by who reads it.
        "" | "xml" | "rawxml" => {}
        other => return Err(format!("the format {other} is not executed here, only xml and rawxml")),
    }
    let value = body["properties"]["value"].as_str().ok_or("it has no value")?;
    Ok(Text { id: text(body, "/id").to_owned(), text: value.to_owned() })
}

impl Service {
    /// The service of that name among all that is deployed, in ARM's shape with ids.
    pub fn of(resources: &[Value], grants: &[Grant], name: &str) -> Service {
        let mut service = Service::default();
        let mut operations: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        let mut policies: BTreeMap<String, Text> = BTreeMap::new();
        let mut fault = |body: &Value, why: String| {
            service.faults.push(Fault { id: text(body, "/id").to_owned(), why });
        };
        let (mut identity, mut named) = (Identity::default(), Vec::new());
        for body in resources {
            let kind = text(body, "/type").to_lowercase();
            let full = text(body, "/name");
            let Some(kind) = kind.strip_prefix(SERVICE) else { continue };
            let segments: Vec<&str> = full.split('/').collect();
            if !segments[0].eq_ignore_ascii_case(name) {
                continue;
            }
            let last = segments[segments.len() - 1].to_owned();
            match (kind, &segments[..]) {
                ("", _) => identity = Identity::of(&body["identity"]),
                ("/policies", _) => match document(body) {
                    Ok(text) => service.policy = Some(text),
                    Err(why) => fault(body, why),
                },
                ("/policyfragments", _) => match document(body) {
                    Ok(text) => {
                        service.fragments.insert(last, text);
                    }
                    Err(why) => fault(body, why),
                },
                ("/namedvalues", _) => named.push(body),
                ("/backends", _) => {
                    if let Some(url) = body["properties"]["url"].as_str() {
                        service.backends.insert(last, url.trim_end_matches('/').to_owned());
                    }
                }
                ("/apis", _) => {
                    let properties = &body["properties"];
                    let path = text(properties, "/path").trim_matches('/').to_owned();
                    let display_name = match text(properties, "/displayName") {
                        "" => path.clone(),
                        name => name.to_owned(),
                    };
                    if OWN_PATHS.contains(&path.split('/').next().unwrap_or_default()) {
                        fault(body, format!("the path {path:?} belongs to the local gateway's own pages"));
                    }
                    let is_graphql = ["/apiType", "/type"].iter().any(|key| text(properties, key) == "graphql");
                    let api = DeployedApi {
                        id: text(body, "/id").to_owned(),
                        path,
                        display_name,
                        service_url: properties["serviceUrl"].as_str().map(str::to_owned),
                        policy: None,
                        operations: if is_graphql { Operation::graphql() } else { Vec::new() },
                    };
                    service.apis.insert(last.to_lowercase(), api);
                }
                ("/apis/policies", [_, api, _]) => match document(body) {
                    Ok(text) => {
                        policies.insert(api.to_lowercase(), text);
                    }
                    Err(why) => fault(body, why),
                },
                ("/apis/operations", [_, api, _]) => {
                    match Operation::parse(text(body, "/properties/method"), text(body, "/properties/urlTemplate")) {
                        Ok(operation) => operations.entry(api.to_lowercase()).or_default().push(operation),
                        Err(why) => fault(body, why),
                    }
                }
                ("/apis/operations/policies" | "/products/policies", _) => {
                    fault(
                        body,
                        "policies are executed here of the service and of APIs, not of operations or products".into(),
                    );
                }
                _ => {}
            }
        }
        for body in named {
            let value = match body["properties"]["keyVault"]["secretIdentifier"].as_str() {
                None => body["properties"]["value"].as_str().map(str::to_owned),
                Some(reference) => {
                    let reader = text(body, "/properties/keyVault/identityClientId");
                    let reader = identity.named(Some(reader).filter(|client| !client.is_empty()));
                    let reader = reader.as_ref().map(|identity| identity.principal_id.as_str());
                    secret(&format!("SecretUri={reference}"), reader, resources, grants).ok()
                }
            };
            if let Some(value) = value {
                service.named_values.insert(text(body, "/properties/displayName").to_owned(), value);
            }
        }
        for (name, api) in &mut service.apis {
            api.policy = policies.remove(name);
            api.operations.extend(operations.remove(name).unwrap_or_default());
        }
        let mut paths = BTreeSet::new();
        for api in service.apis.values() {
            if !paths.insert(&api.path) {
                let why = format!("another API has the path {:?}", api.path);
                service.faults.push(Fault { id: api.id.clone(), why });
            }
        }
        service.identity = identity;
        service
    }

    /// As whom it calls.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes the programs, and tells what cannot be one.
    pub fn compile(&self) -> (Programs, Vec<Fault>) {
        let mut faults = self.faults.clone();
        let fragments: BTreeMap<String, String> =
            self.fragments.iter().map(|(name, fragment)| (name.clone(), fragment.text.clone())).collect();
        let compile = |gateway: Option<&str>, api: Option<&str>, service_url: Option<&str>| {
            Program::compile(&Documents {
                gateway,
                api,
                fragments: &fragments,
                named_values: &self.named_values,
                backends: &self.backends,
                service_url,
            })
        };
        for (name, fragment) in &self.fragments {
            // Where it may stand depends on what it holds; somewhere it has to.
            let standing = ["inbound", "backend", "outbound", "on-error"].map(|section| {
                let include = format!("<include-fragment fragment-id=\"{name}\" />");
                compile(None, Some(&format!("<policies><{section}>{include}</{section}></policies>")), None)
            });
            if let [Err(error), Err(_), Err(_), Err(_)] = standing {
                let within = error.place.split_once(&format!("include-fragment({name})"));
                let place = within.map_or(String::new(), |(_, rest)| format!("{}: ", rest.trim_start_matches('/')));
                faults.push(Fault { id: fragment.id.clone(), why: format!("{place}{}", error.why) });
            }
        }
        let own = self.policy.as_ref().map(|policy| policy.text.as_str());
        let gateway = compile(own, None, None);
        if let (Err(error), Some(policy)) = (&gateway, &self.policy) {
            faults.push(Fault { id: policy.id.clone(), why: error.to_string() });
        }
        let mut apis = Vec::new();
        for api in self.apis.values() {
            let policy = api.policy.as_ref().map(|policy| policy.text.as_str());
            let program = compile(own, policy, api.service_url.as_deref());
            if let (Err(error), Ok(_)) = (&program, &gateway) {
                let id = api.policy.as_ref().map_or(&api.id, |policy| &policy.id);
                faults.push(Fault { id: id.clone(), why: error.to_string() });
            }
            apis.push(Api {
                path: api.path.clone(),
                display_name: api.display_name.clone(),
                operations: api.operations.clone(),
                program: program.ok(),
            });
        }
        (Programs { apis, gateway: gateway.ok() }, faults)
    }
}

/// Asks of what a change would leave whether its policies are understood. What was wrong before is not the change's fault.
///
/// # Errors
/// Each resource that is not, by name and place.
pub fn check(before: &[Value], after: &[Value]) -> Result<(), Error> {
    let of = |resources: &[Value]| -> BTreeMap<String, Service> {
        let granted = grants(resources);
        let services = resources.iter().filter(|body| text(body, "/type").eq_ignore_ascii_case(SERVICE));
        services
            .map(|body| text(body, "/name"))
            .map(|name| (name.to_lowercase(), Service::of(resources, &granted, name)))
            .collect()
    };
    let (old, new) = (of(before), of(after));
    let mut details = Vec::new();
    for (name, service) in &new {
        let old = old.get(name);
        if old == Some(service) {
            continue;
        }
        let known = old.map(|old| old.compile().1).unwrap_or_default();
        for fault in service.compile().1.into_iter().filter(|fault| !known.contains(fault)) {
            details.push(Error::new("ValidationError", fault.to_string()).about(fault.id));
        }
    }
    match details.len() {
        0 => Ok(()),
        1 => Err(details.remove(0)),
        count => {
            let mut error = Error::new(
                "ValidationError",
                format!("{count} of the gateway's resources are refused; see the details"),
            );
            error.details = details;
            Err(error)
        }
    }
}

/// An API that is served.
#[derive(Debug)]
pub struct Api {
    /// Its path, without slashes around it.
    pub path: String,
    /// What people call it.
    pub display_name: String,
    operations: Vec<Operation>,
    /// `None` where its policy is not understood.
    program: Option<Program>,
}

impl Api {
    /// Where it takes GraphQL, without a slash before it; `None` where it takes none.
    pub fn graphql_path(&self) -> Option<String> {
        let takes = |below: &str| self.operations.iter().any(|one| one.fits(&Method::POST, below));
        if takes("/graphql") {
            return Some(format!("{}/graphql", self.path));
        }
        let called_so = self.path.rsplit('/').next() == Some("graphql");
        (called_so && takes("/")).then(|| self.path.clone())
    }
}

/// The programs of a gateway.
#[derive(Debug)]
pub struct Programs {
    apis: Vec<Api>,
    /// What is done with requests of no API.
    gateway: Option<Program>,
}

/// A policy that is deployed cannot be executed: it was before it could be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a policy that is deployed is not understood here; the gateway said which when it was deployed")]
pub struct NotUnderstood;

impl Programs {
    /// The APIs that take GraphQL, at `/graphql` below their path or at a path that is called so.
    pub fn graphql(&self) -> impl Iterator<Item = &Api> {
        self.apis.iter().filter(|api| api.graphql_path().is_some())
    }

    /// The API of a path, and what of the path is below the API's.
    fn api(&self, path: &str) -> Option<(&Api, String)> {
        let fitting = self.apis.iter().filter_map(|api| {
            let below = path.strip_prefix('/')?.strip_prefix(api.path.as_str())?;
            (below.is_empty() || below.starts_with('/')).then(|| (api, below.to_owned()))
        });
        fitting.max_by_key(|(api, _)| api.path.len())
    }

    /// Takes a request, with the path that the client asked for, through the policies of its API.
    ///
    /// # Errors
    /// They are not understood.
    pub async fn answer<W: World>(
        &self,
        mut request: Request<Bytes>,
        world: &W,
    ) -> Result<Response<Bytes>, NotUnderstood> {
        let found = self.api(request.uri().path());
        let program =
            found.as_ref().map_or(self.gateway.as_ref(), |(api, _)| api.program.as_ref()).ok_or(NotUnderstood)?;
        let operation = found
            .as_ref()
            .filter(|(api, below)| api.operations.iter().any(|operation| operation.fits(&asked_for(&request), below)));
        let Some((_, below)) = operation else {
            let why = "no API and operation fits the method and path";
            return Ok(program.refuse(request, StatusCode::NOT_FOUND, "OperationNotFound", why, world).await);
        };
        let path = if below.is_empty() { "/" } else { below };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        // A part of what was a URI.
        let below = PathAndQuery::try_from(format!("{path}{query}"));
        *request.uri_mut() = below.map(Uri::from).unwrap_or_default();
        Ok(program.run(request, world).await)
    }

    /// Refuses a request whose body is not read.
    ///
    /// # Errors
    /// The policies are not understood.
    pub async fn refuse<W: World>(
        &self,
        request: Request<Bytes>,
        status: StatusCode,
        reason: &str,
        why: &str,
        world: &W,
    ) -> Result<Response<Bytes>, NotUnderstood> {
        let found = self.api(request.uri().path());
        let program =
            found.as_ref().map_or(self.gateway.as_ref(), |(api, _)| api.program.as_ref()).ok_or(NotUnderstood)?;
        Ok(program.refuse(request, status, reason, why, world).await)
    }
}

/// The method that chooses the operation: a preflight asks on behalf of another.
fn asked_for(request: &Request<Bytes>) -> Method {
    let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let wanted =
        wanted.filter(|_| request.method() == Method::OPTIONS && request.headers().contains_key(header::ORIGIN));
    wanted.and_then(|method| Method::from_bytes(method.as_bytes()).ok()).unwrap_or_else(|| request.method().clone())
}

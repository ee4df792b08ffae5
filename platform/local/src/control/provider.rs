//! What resource providers add to a resource: identities, addresses, states; and what they refuse.

use serde_json::{Map, Value, json};
use skein_arm::{Error, Id};
use uuid::{Uuid, uuid};

/// The namespace of the principals' ids: the same resource has the same one, whenever it is made.
const PRINCIPALS: Uuid = uuid!("7a2f8a52-51f9-4a0c-8f4e-6c1d33a2f0b1");

/// The tenant of everything local.
pub const TENANT: &str = "9d2f1f7e-3f0f-4c55-9a53-6a8d2a4f0c11";

/// Where the data planes answer.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The base URL of the planes, without a trailing slash.
    pub planes: String,
    /// The base URL of the gateway.
    pub gateway: String,
}

fn derived(id: &str, what: &str) -> String {
    Uuid::new_v5(&PRINCIPALS, format!("{}#{what}", id.to_lowercase()).as_bytes()).to_string()
}

/// Completes a resource as it was sent. `old` is the one it replaces.
///
/// # Errors
/// What the provider would refuse.
pub(super) fn complete(body: &mut Value, old: Option<&Value>, addresses: &Addresses) -> Result<(), Error> {
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    let kind = body["type"].as_str().unwrap_or_default().to_lowercase();
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let last = name.rsplit('/').next().unwrap_or_default().to_owned();
    let refuse = |code: &str, why: String| Error::new(code, why).about(id.clone());
    let Some(resource) = body.as_object_mut() else { return Ok(()) };
    resource.remove("apiVersion");
    identity(resource, &id);
    let planes = &addresses.planes;
    let properties = resource.entry("properties").or_insert_with(|| json!({}));
    let Some(properties) = properties.as_object_mut() else {
        return Err(refuse("InvalidRequestContent", "properties must be an object".into()));
    };
    let mut set = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    match kind.as_str() {
        "microsoft.managedidentity/userassignedidentities" => {
            set("principalId", derived(&id, "principal").into());
            set("clientId", derived(&id, "client").into());
            set("tenantId", TENANT.into());
        }
        "microsoft.storage/storageaccounts" => {
            let plane = |plane: &str| format!("{planes}/{plane}/{name}/");
            set(
                "primaryEndpoints",
                json!({"blob": plane("blobs"), "table": plane("tables"), "queue": plane("queues"), "web": plane("web")}),
            );
        }
        "microsoft.servicebus/namespaces" => set("serviceBusEndpoint", format!("{planes}/servicebus/{name}/").into()),
        "microsoft.servicebus/namespaces/queues" => {
            let fixed = ["requiresSession", "requiresDuplicateDetection"];
            for setting in fixed {
                let value = properties.get(setting).and_then(Value::as_bool).unwrap_or(false);
                let was = old.map(|old| old["properties"][setting].as_bool().unwrap_or(false));
                if was.is_some_and(|was| was != value) {
                    return Err(refuse("BadRequest", format!("{setting} can be set only when the queue is made")));
                }
            }
        }
        "microsoft.eventgrid/topics" => set("endpoint", format!("{planes}/eventgrid/{name}/api/events").into()),
        "microsoft.web/sites" => {
            set("defaultHostName", format!("{}/sites/{name}", host(planes)).into());
            set("state", "Running".into());
            set("hostNames", json!([format!("{}/sites/{name}", host(planes))]));
            let (own, publishing) = (format!("{}/sites/{name}", host(planes)), format!("{}/scm/{name}", host(planes)));
            set(
                "hostNameSslStates",
                json!([{"name": own, "hostType": "Standard"}, {"name": publishing, "hostType": "Repository"}]),
            );
        }
        "microsoft.keyvault/vaults" => set("vaultUri", format!("{planes}{}/{name}/", crate::vault::PREFIX).into()),
        "microsoft.keyvault/vaults/secrets" => {
            let vault = name.split('/').next().unwrap_or_default();
            set("secretUri", format!("{planes}{}/{vault}/secrets/{last}", crate::vault::PREFIX).into());
        }
        "microsoft.apimanagement/service" => {
            set("gatewayUrl", addresses.gateway.clone().into());
            set("publicIPAddresses", json!(["127.0.0.1"]));
        }
        "microsoft.signalrservice/signalr" => set("hostName", format!("{}/signalr/{name}", host(planes)).into()),
        "microsoft.operationalinsights/workspaces" => set("customerId", derived(&id, "customer").into()),
        "microsoft.insights/components" => {
            let key = derived(&id, "key");
            set("InstrumentationKey", key.clone().into());
            set("AppId", derived(&id, "app").into());
            let text = format!("InstrumentationKey={key};IngestionEndpoint={planes}/insights/");
            set("ConnectionString", text.into());
        }
        "microsoft.cdn/profiles" => set("frontDoorId", derived(&id, "front door").into()),
        "microsoft.cdn/profiles/afdendpoints" => set("hostName", format!("{last}.azurefd.local").into()),
        "microsoft.authorization/roleassignments" => assignment(properties, &id, old)?,
        _ => {}
    }
    if !kind.starts_with("microsoft.authorization/") {
        properties.insert("provisioningState".into(), "Succeeded".into());
    }
    Ok(())
}

/// The part of a URL after its scheme.
fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}

fn identity(resource: &mut Map<String, Value>, id: &str) {
    let Some(identity) = resource.get_mut("identity").and_then(Value::as_object_mut) else { return };
    let kind = identity.get("type").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    if kind.contains("systemassigned") {
        identity.insert("principalId".into(), derived(id, "principal").into());
        identity.insert("tenantId".into(), TENANT.into());
    }
    for (assigned, about) in
        identity.get_mut("userAssignedIdentities").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let (principal, client) = (derived(assigned, "principal"), derived(assigned, "client"));
        *about = json!({"principalId": principal, "clientId": client});
    }
}

fn assignment(properties: &mut Map<String, Value>, id: &str, old: Option<&Value>) -> Result<(), Error> {
    let refuse = |code: &str, why: String| Error::new(code, why).about(id.to_owned());
    let text = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (principal, role) = (text("principalId"), text("roleDefinitionId"));
    if Uuid::parse_str(&principal).is_err() {
        return Err(refuse("InvalidPrincipalId", format!("the principalId {principal:?} is no id of a principal")));
    }
    if role.rsplit('/').next().is_none_or(|last| Uuid::parse_str(last).is_err()) {
        return Err(refuse(
            "InvalidRoleDefinitionId",
            format!("the roleDefinitionId {role:?} does not end with an id"),
        ));
    }
    if let Some(old) = old
        && ["principalId", "roleDefinitionId"]
            .iter()
            .any(|name| old["properties"][*name].as_str().is_none_or(|was| !was.eq_ignore_ascii_case(&text(name))))
    {
        let why = "tenant ID, application ID, principal ID, and scope are not allowed to be updated";
        return Err(refuse("RoleAssignmentUpdateNotPermitted", why.into()));
    }
    let scope = Id::parse(id).map(|id| id.scope().to_string()).unwrap_or_default();
    properties.insert("scope".into(), scope.into());
    Ok(())
}

//! Deployments over HTTP, from outside.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use skein_arm::Error;
use tower::ServiceExt as _;

use super::{Addresses, Control, Host, Hosting, Settings, recased, router};
use crate::identity::Issuer;

const SUBSCRIPTION: &str = "/subscriptions/11111111-2222-3333-4444-555555555555";
const DEPLOYMENTS: &str = "providers/Microsoft.Resources/deployments";

/// Remembers what it was given last.
#[derive(Default)]
struct Hosted(Mutex<Vec<Value>>);

impl Host for Hosted {
    fn check(&self, before: &[Value], after: &[Value]) -> Result<(), Error> {
        crate::gateway::check(before, after)
    }

    fn apply(&self, resources: Vec<Value>) -> Hosting<'_> {
        *self.0.lock().unwrap() = resources;
        Box::pin(async { Ok::<(), Error>(()) })
    }
}

fn issuer() -> Arc<Issuer> {
    static ISSUER: OnceLock<Arc<Issuer>> = OnceLock::new();
    let make = || Arc::new(Issuer::open(tempfile::tempdir().unwrap().path()).unwrap());
    ISSUER.get_or_init(make).clone()
}

struct Plane {
    folder: tempfile::TempDir,
    control: Control,
    hosted: Arc<Hosted>,
    router: Router,
    token: String,
}

fn open(folder: &std::path::Path, pace: Duration) -> (Control, Arc<Hosted>) {
    let hosted = Arc::new(Hosted::default());
    let settings = Settings {
        issuer: issuer(),
        addresses: Addresses { planes: "http://127.0.0.1:1".into(), gateway: "http://127.0.0.1:2".into() },
        pace,
        host: hosted.clone(),
    };
    (Control::open(&folder.join("control.db"), settings).unwrap(), hosted)
}

impl Plane {
    fn paced(pace: Duration) -> Plane {
        let folder = tempfile::tempdir().unwrap();
        let (control, hosted) = open(folder.path(), pace);
        let token = issuer().issue_operator("https://management.azure.com").unwrap().0;
        Plane { folder, router: router(control.clone()), control, hosted, token }
    }

    fn new() -> Plane {
        Plane::paced(Duration::ZERO)
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value, axum::http::HeaderMap) {
        let path = path.strip_prefix("http://127.0.0.1:1").unwrap_or(path);
        let separator = if path.contains('?') { '&' } else { '?' };
        let uri = if path.contains("api-version") {
            path.to_owned()
        } else {
            format!("{path}{separator}api-version=2025-04-01")
        };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request =
            Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {}", self.token));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (head.status, serde_json::from_slice(&body).unwrap_or_default(), head.headers)
    }

    async fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).await.1
    }

    async fn group(&self) {
        let (status, ..) =
            self.call("PUT", &format!("{SUBSCRIPTION}/resourcegroups/rg"), json!({"location": "westeurope"})).await;
        assert_eq!(status, StatusCode::CREATED);
    }

    /// Puts a deployment and waits for its end; the deployment.
    async fn deploy(&self, scope: &str, name: &str, body: Value) -> Value {
        let path = format!("{scope}/{DEPLOYMENTS}/{name}");
        let (status, answer, headers) = self.call("PUT", &path, body).await;
        assert!(status.is_success(), "{answer}");
        let poll = headers["azure-asyncoperation"].to_str().unwrap().to_owned();
        loop {
            let state = self.get(&poll).await;
            if state["status"] != "Running" {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.get(&path).await
    }
}

fn template(resources: Value) -> Value {
    json!({"properties": {"mode": "Incremental", "template": {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0", "resources": resources,
    }}})
}

fn identity(name: &str) -> Value {
    json!({"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2024-11-30", "name": name, "location": "westeurope"})
}

fn queue(settings: Value) -> Value {
    json!([
        {"type": "Microsoft.ServiceBus/namespaces", "apiVersion": "2024-01-01", "name": "sb", "location": "x", "sku": {"name": "Standard"}},
        {"type": "Microsoft.ServiceBus/namespaces/queues", "apiVersion": "2024-01-01", "name": "sb/q", "properties": settings,
         "dependsOn": ["[resourceId('Microsoft.ServiceBus/namespaces', 'sb')]"]},
    ])
}

fn rg() -> String {
    format!("{SUBSCRIPTION}/resourceGroups/rg")
}

#[tokio::test]
async fn a_deployment_makes_resources_and_says_what_it_did() {
    let plane = Plane::new();
    plane.group().await;
    let mut body = template(json!([identity("id-a")]));
    body["tags"] = json!({"digest": "1"});
    body["properties"]["template"]["parameters"] =
        json!({"open": {"type": "string"}, "secret": {"type": "securestring"}});
    body["properties"]["parameters"] = json!({"open": {"value": "o"}, "secret": {"value": "hush-hush"}});
    body["properties"]["template"]["outputs"] = json!({
        "AZURE_ID": {"type": "string", "value": "[reference('id-a').principalId]"},
        "hidden": {"type": "securestring", "value": "[parameters('secret')]"},
    });
    let deployment = plane.deploy(&rg(), "first", body).await;
    let properties = &deployment["properties"];
    assert_eq!(properties["provisioningState"], "Succeeded", "{deployment}");
    assert_eq!(deployment["tags"]["digest"], "1");
    assert_eq!(properties["parameters"]["secret"], json!({"type": "securestring"}));
    assert!(!deployment.to_string().contains("hush-hush"));
    // Keys come back in another case, and what is secret does not come back.
    let outputs = properties["outputs"].as_object().unwrap();
    assert_eq!(outputs.keys().collect::<Vec<_>>(), ["azurE_ID"]);
    let id = format!("{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-a", rg());
    assert_eq!(plane.get(&id).await["properties"]["principalId"], outputs["azurE_ID"]["value"]);
    // The path without `providers`, as the service has it for groups.
    let operations = plane.get(&format!("{SUBSCRIPTION}/resourcegroups/rg/deployments/first/operations")).await;
    assert_eq!(operations["value"][0]["properties"]["provisioningState"], "Succeeded");
    assert!(plane.hosted.0.lock().unwrap().iter().any(|body| body["name"] == "id-a"));
    let (status, ..) = plane.call("HEAD", &format!("{}/{DEPLOYMENTS}/first", rg()), Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_plan_names_exactly_what_would_change() {
    let plane = Plane::new();
    plane.group().await;
    let deploy = |count: u64| template(queue(json!({"maxDeliveryCount": count})));
    let path = format!("{}/{DEPLOYMENTS}/q", rg());
    let changes = async |body: Value| {
        let (status, _, headers) = plane.call("POST", &format!("{path}/whatIf"), body).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let result = plane.get(headers["location"].to_str().unwrap()).await;
        let all = result["properties"]["changes"].as_array().unwrap().clone();
        all.into_iter()
            .map(|one| (one["changeType"].as_str().unwrap().to_owned(), one["delta"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(changes(deploy(10)).await.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(), ["Create", "Create"]);
    plane.deploy(&rg(), "q", deploy(10)).await;
    assert_eq!(
        changes(deploy(10)).await.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(),
        ["NoChange", "NoChange"]
    );
    let modified = changes(deploy(11)).await;
    assert_eq!(modified[1].0, "Modify");
    assert_eq!(
        modified[1].1,
        json!([{"path": "properties.maxDeliveryCount", "propertyChangeType": "Modify", "before": 10, "after": 11}])
    );
    // A plan changes nothing.
    assert_eq!(
        changes(deploy(10)).await.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(),
        ["NoChange", "NoChange"]
    );
    // What a person changes shows; what a person adds is reported as not in the template.
    let id = format!("{}/providers/Microsoft.ServiceBus/namespaces/sb/queues/q", rg());
    plane.call("PATCH", &id, json!({"properties": {"maxDeliveryCount": 3}})).await;
    plane.call("PUT", &format!("{id}2"), json!({"properties": {}})).await;
    let drift = changes(deploy(10)).await;
    assert_eq!(drift.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(), ["NoChange", "Modify", "Ignore"]);
}

#[tokio::test]
async fn what_would_fail_is_refused_before_anything_is_done() {
    let plane = Plane::new();
    let put = async |scope: &str, body: Value| plane.call("PUT", &format!("{scope}/{DEPLOYMENTS}/d"), body).await;
    let (status, error, _) = put(&rg(), template(json!([]))).await;
    assert_eq!((status, error["error"]["code"].as_str()), (StatusCode::NOT_FOUND, Some("ResourceGroupNotFound")));
    plane.group().await;
    for (resources, code, said) in [
        (json!([{"type": "A.B/c", "apiVersion": "1", "name": "[nope()]"}]), "InvalidTemplate", "nope()"),
        (json!([{"type": "A.B/c/d", "apiVersion": "1", "name": "x/y"}]), "ParentResourceNotFound", "the parent"),
        (
            json!([{"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "1", "name": "x", "properties": {"principalId": "me"}}]),
            "InvalidPrincipalId",
            "me",
        ),
    ] {
        let (status, error, _) = put(&rg(), template(resources)).await;
        assert!(status.is_client_error(), "{error}");
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(said), "{error}");
        assert_eq!(plane.control.resources().len(), 1, "only the group is there");
    }
    // A dependency that nobody declared is found, though the order of the template would hide it.
    let mut undeclared = queue(json!({}));
    undeclared[1].as_object_mut().unwrap().remove("dependsOn");
    let (_, error, _) = put(&rg(), template(undeclared)).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("add dependsOn"), "{error}");
    // The subscription wants its own schema, and a location.
    let (_, error, _) = put(SUBSCRIPTION, template(json!([]))).await;
    assert_eq!(error["error"]["code"], "LocationRequired");
}

#[tokio::test]
async fn tokens_and_roles_are_checked() {
    let mut plane = Plane::new();
    plane.group().await;
    let path = format!("{}/{DEPLOYMENTS}/d", rg());
    let operator = plane.token.clone();
    let stranger = "aaaaaaaa-0000-0000-0000-000000000001";
    plane.token = "none".into();
    assert_eq!(plane.call("GET", &path, Value::Null).await.0, StatusCode::UNAUTHORIZED);
    plane.token = issuer().issue_operator("https://storage.azure.com").unwrap().0;
    assert_eq!(plane.call("GET", &path, Value::Null).await.0, StatusCode::UNAUTHORIZED);
    let own = issuer().issue_managed_identity(stranger, stranger, "https://management.azure.com").unwrap().0;
    plane.token = own.clone();
    let (status, error, _) = plane.call("PUT", &path, template(json!([]))).await;
    assert_eq!((status, error["error"]["code"].as_str()), (StatusCode::FORBIDDEN, Some("AuthorizationFailed")));
    // A contributor at the group may.
    plane.token = operator;
    let assignment = format!("{}/providers/Microsoft.Authorization/roleAssignments/x", rg());
    let role = format!(
        "{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c"
    );
    let body = json!({"properties": {"principalId": stranger, "roleDefinitionId": role}});
    assert_eq!(plane.call("PUT", &assignment, body).await.0, StatusCode::CREATED);
    plane.token = own;
    assert_eq!(plane.call("PUT", &path, template(json!([]))).await.0, StatusCode::CREATED);
    let elsewhere = format!("{SUBSCRIPTION}/resourcegroups/other");
    assert_eq!(plane.call("PUT", &elsewhere, json!({"location": "x"})).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_was_cut_off_goes_on() {
    let plane = Plane::paced(Duration::from_secs(3600));
    plane.group().await;
    let path = format!("{}/{DEPLOYMENTS}/slow", rg());
    let resources = json!([identity("a"), identity("b")]);
    assert_eq!(plane.call("PUT", &path, template(resources)).await.0, StatusCode::CREATED);
    assert_eq!(plane.get(&path).await["properties"]["provisioningState"], "Running");
    assert_eq!(plane.call("PUT", &path, template(json!([]))).await.1["error"]["code"], "DeploymentActive");
    // Another process on the same file.
    let (control, hosted) = open(plane.folder.path(), Duration::ZERO);
    control.resume();
    let other = Plane {
        router: router(control.clone()),
        control,
        hosted,
        token: plane.token.clone(),
        folder: tempfile::tempdir().unwrap(),
    };
    while other.get(&path).await["properties"]["provisioningState"] == "Running" {
        tokio::task::yield_now().await;
    }
    let names: Vec<_> =
        other.hosted.0.lock().unwrap().iter().map(|body| body["name"].as_str().unwrap().to_owned()).collect();
    assert!(names.contains(&"a".to_owned()) && names.contains(&"b".to_owned()), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_is_cancelled_between_resources() {
    let plane = Plane::paced(Duration::from_secs(60));
    plane.group().await;
    let path = format!("{}/{DEPLOYMENTS}/slow", rg());
    plane.call("PUT", &path, template(json!([identity("a"), identity("b")]))).await;
    assert_eq!(plane.call("POST", &format!("{path}/cancel"), Value::Null).await.0, StatusCode::NO_CONTENT);
    while plane.get(&path).await["properties"]["provisioningState"] == "Running" {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let deployment = plane.get(&path).await;
    assert_eq!(deployment["properties"]["provisioningState"], "Canceled");
    assert!(
        plane
            .control
            .0
            .store
            .get(&format!("{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b", rg()))
            .is_none()
    );
}

#[tokio::test]
async fn operations_come_in_pages_and_failures_with_their_reason() {
    let plane = Plane::new();
    plane.group().await;
    let many: Vec<_> = (0..70).map(|n| identity(&format!("id{n}"))).collect();
    plane.deploy(&rg(), "many", template(many.into())).await;
    let mut seen = 0;
    let mut next = Some(format!("{SUBSCRIPTION}/resourcegroups/rg/deployments/many/operations"));
    while let Some(path) = next {
        let page = plane.get(&path).await;
        seen += page["value"].as_array().unwrap().len();
        next = page["nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, 70);
}

#[tokio::test]
async fn a_deleted_name_has_to_be_purged() {
    let plane = Plane::new();
    plane.group().await;
    let vault = |protected: bool| {
        let mut one = json!({"type": "Microsoft.KeyVault/vaults", "apiVersion": "1", "name": "kv", "location": "westeurope", "properties": {}});
        if protected {
            one["properties"]["enablePurgeProtection"] = true.into();
        }
        template(json!([one]))
    };
    plane.deploy(&rg(), "v", vault(false)).await;
    let (status, ..) = plane.call("DELETE", &format!("{SUBSCRIPTION}/resourcegroups/rg"), Value::Null).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(plane.control.resources().is_empty());
    plane.group().await;
    let (_, error, _) = plane.call("PUT", &format!("{}/{DEPLOYMENTS}/v", rg()), vault(false)).await;
    assert_eq!(error["error"]["code"], "ConflictError");
    let deleted = format!("{SUBSCRIPTION}/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv");
    assert_eq!(plane.call("POST", &format!("{deleted}/purge"), Value::Null).await.0, StatusCode::ACCEPTED);
    let deployment = plane.deploy(&rg(), "v", vault(true)).await;
    assert_eq!(deployment["properties"]["provisioningState"], "Succeeded");
    plane.call("DELETE", &rg(), Value::Null).await;
    assert_eq!(plane.call("POST", &format!("{deleted}/purge"), Value::Null).await.0, StatusCode::CONFLICT);
}

#[test]
fn outputs_change_case_as_the_service_does_it() {
    for (name, shown) in
        [("AZURE_X", "azurE_X"), ("topicName", "topicName"), ("URL", "url"), ("URLPath", "urlPath"), ("X", "x")]
    {
        assert_eq!(recased(name), shown);
    }
}

#[tokio::test]
async fn a_policy_that_is_not_understood_is_refused_before_anything_is_written() {
    let plane = Plane::new();
    plane.group().await;
    let with = |inside: &str| {
        let xml = format!("<policies><inbound>{inside}</inbound><backend><forward-request /></backend></policies>");
        let about = json!({"publisherEmail": "a@b.example", "publisherName": "A"});
        let parent = "[resourceId('Microsoft.ApiManagement/service', 'apim')]";
        template(json!([
            identity("id-a"),
            {"type": "Microsoft.ApiManagement/service", "apiVersion": "2024-05-01", "name": "apim",
             "location": "westeurope", "sku": {"name": "Consumption", "capacity": 0}, "properties": about},
            {"type": "Microsoft.ApiManagement/service/policies", "apiVersion": "2024-05-01", "name": "apim/policy",
             "properties": {"value": xml, "format": "rawxml"}, "dependsOn": [parent]},
        ]))
    };
    let path = format!("{}/{DEPLOYMENTS}/gateway", rg());
    let ids =
        || plane.control.resources().iter().map(|body| body["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let before = ids();
    let why = "the gateway's policy: inbound/send-request: the policy send-request is not one that is executed here";
    for (method, path) in
        [("PUT", path.clone()), ("POST", format!("{path}/validate")), ("POST", format!("{path}/whatIf"))]
    {
        let (status, answer, _) = plane.call(method, &path, with("<send-request />")).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("ValidationError")), "{path}");
        assert!(answer["error"]["message"].as_str().unwrap().ends_with(why), "{answer}");
        assert!(answer["error"]["target"].as_str().unwrap().ends_with("/service/apim/policies/policy"), "{answer}");
    }
    assert_eq!(ids(), before);
    assert_eq!(plane.call("GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND);

    let deployment = plane.deploy(&rg(), "gateway", with("<set-header name=\"a\"><value>b</value></set-header>")).await;
    assert_eq!(deployment["properties"]["provisioningState"], "Succeeded", "{deployment}");
    let policy = format!("{}/providers/Microsoft.ApiManagement/service/apim/policies/policy", rg());
    let unknown = json!({"properties": {"value": "<policies><backend><limit-concurrency /></backend></policies>"}});
    let (status, answer, _) = plane.call("PUT", &policy, unknown).await;
    assert!(status == StatusCode::BAD_REQUEST && answer.to_string().contains("backend/limit-concurrency"), "{answer}");
    assert!(plane.get(&policy).await.to_string().contains("forward-request"), "it is as it was");
}

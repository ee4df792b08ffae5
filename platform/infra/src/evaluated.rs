//! The rendered templates, evaluated by code that shares nothing with the renderer: every reference is to something that
//! is there, and every role is there before what needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::{Map, Value, json};
use skein_arm::{DeploymentInfo, Error, Group, Plan, Resources, Scope};
use skein_model::{Bus, Graph};
use skein_render::{layers, render};

const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";

/// A control plane in memory.
#[derive(Default)]
struct World {
    resources: Mutex<BTreeMap<String, Value>>,
    order: Mutex<Vec<String>>,
    warnings: Mutex<Vec<String>>,
}

impl World {
    /// Puts a resource, with what its provider would add.
    fn put(&self, mut body: Value) {
        let id = body["id"].as_str().expect("a resource has an id").to_lowercase();
        let name = body["name"].as_str().expect("a resource has a name").to_owned();
        let kind = body["type"].as_str().expect("a resource has a type").to_owned();
        if body["identity"]["type"] == "SystemAssigned" {
            body["identity"]["principalId"] = format!("principal of {name}").into();
        }
        if body["properties"].is_null() {
            body["properties"] = json!({});
        }
        let properties = &mut body["properties"];
        match kind.as_str() {
            "Microsoft.ManagedIdentity/userAssignedIdentities" => {
                properties["principalId"] = format!("principal of {name}").into();
                properties["clientId"] = format!("client of {name}").into();
            }
            "Microsoft.Storage/storageAccounts" => {
                for plane in ["blob", "table", "web"] {
                    properties["primaryEndpoints"][plane] = format!("http://planes/{plane}/{name}/").into();
                }
            }
            "Microsoft.ServiceBus/namespaces" => {
                properties["serviceBusEndpoint"] = format!("http://planes/servicebus/{name}/").into();
            }
            "Microsoft.SignalRService/signalR" => properties["hostName"] = format!("planes/signalr/{name}").into(),
            "Microsoft.EventGrid/topics" => {
                properties["endpoint"] = format!("http://planes/eventgrid/{name}/api/events").into();
            }
            "Microsoft.KeyVault/vaults" => properties["vaultUri"] = format!("http://planes/keyvault/{name}/").into(),
            "Microsoft.Insights/components" => properties["ConnectionString"] = "where telemetry goes".into(),
            "Microsoft.ApiManagement/service" => properties["gatewayUrl"] = format!("https://{name}.example").into(),
            "Microsoft.Cdn/profiles/afdEndpoints" => properties["hostName"] = format!("{name}.example").into(),
            _ => {}
        }
        self.order.lock().unwrap().push(id.clone());
        self.resources.lock().unwrap().insert(id, body);
    }

    fn deploy(&self, plan: &Plan) -> Result<Map<String, Value>, Error> {
        self.warnings.lock().unwrap().extend(plan.warnings.iter().map(|warning| format!("{warning:?}")));
        for index in plan.order() {
            let mut body = plan.body(index, self)?;
            if plan.resources[index].nested.is_some() {
                let nested = plan.nested(index, &body, self)?;
                let outputs = self.deploy(&nested)?;
                body["properties"] = json!({"outputs": outputs});
            }
            self.put(body);
        }
        let outputs = plan.outputs(self)?.into_iter();
        Ok(outputs.map(|output| (output.name, json!({"type": output.kind, "value": output.value}))).collect())
    }
}

impl Resources for World {
    fn reference(&self, id: &str, _: Option<&str>, full: bool) -> Result<Value, Error> {
        let resources = self.resources.lock().unwrap();
        let found = resources.get(&id.to_lowercase());
        let found = found.ok_or_else(|| Error::new("ResourceNotFound", format!("there is no {id}")))?;
        Ok(if full { found.clone() } else { found["properties"].clone() })
    }

    fn list(&self, function: &str, id: &str, _: &str, _: Option<&Value>) -> Result<Value, Error> {
        Err(Error::new("Key", format!("{function} of {id} asks for a key")))
    }

    fn group(&self, subscription: &str, name: &str) -> Option<Group> {
        let id = format!("/subscriptions/{subscription}/resourceGroups/{name}").to_lowercase();
        self.resources.lock().unwrap().get(&id)?;
        Some(Group { name: name.to_owned(), location: "westeurope".into(), tags: Map::new() })
    }

    fn secret(&self, vault: &str, name: &str, _: Option<&str>) -> Result<String, Error> {
        Err(Error::new("Secret", format!("{name} of {vault} is asked for")))
    }
}

/// Deploys every layer after those whose outputs it needs, as whoever deploys would.
fn deployed(graph: &Graph, operators: &str) -> World {
    let world = World::default();
    let files: BTreeMap<_, _> = render(graph).unwrap().into_iter().collect();
    let mut outputs: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut waiting = layers(graph).unwrap();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|layer| layer.after().iter().all(|layer| outputs.contains_key(*layer)));
        let layer = waiting.remove(ready.expect("some layer waits for none of the others"));
        let template: Value = serde_json::from_str(&files[&format!("arm/{}.json", layer.name)]).unwrap();
        let mut given = Map::new();
        for (name, parameter) in template["parameters"].as_object().unwrap() {
            if let Some((layer, output)) = parameter["metadata"]["from"].as_str().and_then(|from| from.split_once('.'))
            {
                given.insert(name.clone(), json!({"value": outputs[layer][output]["value"]}));
            } else if parameter["defaultValue"].is_null() {
                let value = match name.as_str() {
                    "environment" => "dev".to_owned(),
                    "location" => "westeurope".to_owned(),
                    "appAudience" => "api://skein-local".to_owned(),
                    other => format!("said for {other}"),
                };
                given.insert(name.clone(), json!({"value": value}));
            }
        }
        given.insert("signalrUrl".to_owned(), json!({"value": "http://{0}"}));
        given.insert("siteUrl".to_owned(), json!({"value": "http://planes/sites/{0}"}));
        given.insert("operatorsId".to_owned(), json!({"value": operators}));
        for flag in ["introspection", "persistedOnly"] {
            given.insert(flag.to_owned(), json!({"value": "true"}));
        }
        given.retain(|name, _| template["parameters"].get(name).is_some());
        let scope = Scope {
            tenant: "99999999-2222-3333-4444-555555555555".into(),
            subscription: SUBSCRIPTION.into(),
            subscription_name: "Test".into(),
            group: None,
            deployment: DeploymentInfo { name: layer.name.clone(), location: Some("westeurope".into()) },
            deployer: "me".into(),
            environment: Scope::public_cloud(),
        };
        let plan = Plan::of(&template, &given.into(), scope, &world).unwrap_or_else(|error| panic!("{error}"));
        let told = world.deploy(&plan).unwrap_or_else(|error| panic!("{}: {error}", layer.name));
        outputs.insert(layer.name, told);
    }
    world
}

/// The system as it is, and with the queues of one service in the platform's namespace.
fn graphs() -> [Graph; 2] {
    let mut shared = crate::graph().unwrap();
    let last = shared.services.last_mut().unwrap();
    last.bus = Bus::Shared;
    [crate::graph().unwrap(), shared]
}

#[test]
fn every_role_is_there_before_what_needs_it() {
    graphs().iter().for_each(roles_in_time);
}

fn roles_in_time(graph: &Graph) {
    let world = deployed(graph, "the operators");
    assert_eq!(*world.warnings.lock().unwrap(), Vec::<String>::new());
    let resources = world.resources.lock().unwrap();
    let order = world.order.lock().unwrap();
    let place = |id: &str| order.iter().position(|known| *known == id.to_lowercase()).expect("it was deployed");
    let mut pairs = BTreeSet::new();
    for (id, role) in resources.iter().filter(|(_, body)| body["type"] == "Microsoft.Authorization/roleAssignments") {
        let (scope, name) = id.split_once("/providers/microsoft.authorization/roleassignments/").unwrap();
        assert!(resources.contains_key(scope), "a role on {scope}, which is not there");
        let principal = role["properties"]["principalId"].as_str().unwrap();
        let people = role["properties"]["principalType"] == "Group";
        assert!(
            principal.starts_with("principal of ") && !people || principal == "the operators" && people,
            "{principal}"
        );
        assert!(pairs.insert((scope, principal, role["properties"]["roleDefinitionId"].to_string())), "twice: {id}");
        assert_eq!(name.len(), 36, "{id}");
    }
    // A reference to a secret is followed when the settings are written, and on Azure not again for a day.
    let mut references = 0;
    for (id, body) in resources.iter().filter(|(id, _)| id.ends_with("/config/appsettings")) {
        let settings = body["properties"].as_object().unwrap();
        for (setting, value) in settings {
            let Some(secret) = value.as_str().and_then(|value| value.split("SecretName=").nth(1)) else { continue };
            let secret = format!("/secrets/{}/providers/microsoft.authorization", secret.trim_end_matches(')'));
            let client = settings["AZURE_CLIENT_ID"].as_str().unwrap();
            let principal = client.replace("client of", "principal of");
            let role = order
                .iter()
                .find(|role| {
                    role.contains(&secret) && resources[*role]["properties"]["principalId"] == principal.as_str()
                })
                .unwrap_or_else(|| panic!("{principal} may not read what {setting} of {id} refers to"));
            assert!(place(role) < place(id), "{id} comes before the role that {setting} needs");
            references += 1;
        }
    }
    assert!(references > 0, "no setting refers to a secret");
    for (id, body) in resources.iter().filter(|(id, _)| id.contains("/eventsubscriptions/")) {
        let queue = &body["properties"]["deliveryWithResourceIdentity"]["destination"]["properties"]["resourceId"];
        let queue = queue.as_str().unwrap().to_lowercase();
        let roles: Vec<_> = order
            .iter()
            .filter(|role| role.starts_with(&format!("{queue}/providers/microsoft.authorization/roleassignments/")))
            .filter(|role| {
                resources[*role]["properties"]["principalId"].as_str().unwrap().starts_with("principal of evgt-")
            })
            .collect();
        assert_eq!(roles.len(), 1, "the topic may send to {queue}");
        assert!(place(roles[0]) < place(id), "{id} comes before its role");
    }
}

//! A control plane in memory, as far as expressions can see it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Map, Value, json};
use skein_arm::{DeploymentInfo, Error, Group, Plan, Resources, Scope};

pub const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";

/// What is deployed, by id in lower case.
#[derive(Default)]
pub struct World {
    pub resources: Mutex<BTreeMap<String, Value>>,
    /// The ids in the order of their deployment.
    pub order: Mutex<Vec<String>>,
}

impl World {
    pub fn get(&self, id: &str) -> Option<Value> {
        self.resources.lock().unwrap().get(&id.to_lowercase()).cloned()
    }

    /// Puts a resource, with what a provider would add.
    fn put(&self, mut body: Value) {
        let id = body["id"].as_str().expect("a resource has an id").to_owned();
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        let kind = body["type"].as_str().unwrap_or_default().to_lowercase();
        let properties = &mut body["properties"];
        match kind.as_str() {
            "microsoft.managedidentity/userassignedidentities" => {
                *properties =
                    json!({"principalId": format!("principal of {name}"), "clientId": format!("client of {name}")});
            }
            "microsoft.storage/storageaccounts" => {
                properties["primaryEndpoints"] = json!({"blob": format!("https://{name}.blob.core.windows.net/")});
            }
            _ => {}
        }
        self.order.lock().unwrap().push(id.clone());
        self.resources.lock().unwrap().insert(id.to_lowercase(), body);
    }

    /// Deploys a plan and those nested in it; the outputs by name.
    pub fn deploy(&self, plan: &Plan) -> Result<Value, Error> {
        for index in plan.order() {
            if plan.resources[index].existing {
                continue;
            }
            let mut body = plan.body(index, self)?;
            if plan.resources[index].nested.is_some() {
                let nested = plan.nested(index, &body, self)?;
                let outputs = self.deploy(&nested)?;
                body["properties"] = json!({"outputs": outputs});
            }
            self.put(body);
        }
        let mut outputs = Map::new();
        for output in plan.outputs(self)? {
            outputs.insert(output.name, json!({"type": output.kind, "value": output.value}));
        }
        Ok(outputs.into())
    }
}

impl Resources for World {
    fn reference(&self, id: &str, _: Option<&str>, full: bool) -> Result<Value, Error> {
        let found = self.get(id).ok_or_else(|| Error::new("ResourceNotFound", format!("there is no {id}")))?;
        Ok(if full { found } else { found["properties"].clone() })
    }

    fn list(&self, function: &str, id: &str, _: &str, _: Option<&Value>) -> Result<Value, Error> {
        Ok(json!({"called": function, "of": id}))
    }

    fn group(&self, subscription: &str, name: &str) -> Option<Group> {
        self.get(&format!("/subscriptions/{subscription}/resourceGroups/{name}"))?;
        Some(Group { name: name.to_owned(), location: "westeurope".into(), tags: Map::new() })
    }

    fn secret(&self, _: &str, name: &str, _: Option<&str>) -> Result<String, Error> {
        Ok(format!("secret {name}"))
    }
}

/// A group called `rg`, or the subscription.
pub fn scope(group: bool) -> Scope {
    Scope {
        tenant: "99999999-2222-3333-4444-555555555555".into(),
        subscription: SUBSCRIPTION.into(),
        subscription_name: "Test".into(),
        group: group.then(|| Group { name: "rg".into(), location: "westeurope".into(), tags: Map::new() }),
        deployment: DeploymentInfo { name: "main".into(), location: (!group).then(|| "westeurope".into()) },
        deployer: "me".into(),
        environment: Scope::public_cloud(),
    }
}

/// A template for a group with these sections.
pub fn template(sections: Value) -> Value {
    let mut template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": [],
    });
    template.as_object_mut().unwrap().extend(sections.as_object().unwrap().clone());
    template
}

/// Deploys a template to the group; its outputs, or the error's text.
pub fn outputs(sections: Value, parameters: Value) -> Result<Value, String> {
    let world = World::default();
    let plan = Plan::of(&template(sections), &parameters, scope(true), &world).map_err(|error| error.to_string())?;
    world.deploy(&plan).map_err(|error| error.to_string())
}

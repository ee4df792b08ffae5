//! The gateway of a list of resources, which holds no policies: with those that ship, made here.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use skein_policies::{ControlFlow, Tier, control_flow};

use super::Service;
use crate::identity::{GATEWAY_AUDIENCE, ISSUER};
use crate::resources::Resource;

/// What is served at a list's gateway; the planes tell the issuer's keys and have the apps.
pub(crate) fn service(list: &[Resource], name: &str, planes: &str) -> Result<Service> {
    let tier = Tier::Consumption;
    let mut all: Vec<Value> = list.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    let mut add = |kind: &str, below: &str, properties: Value| {
        let (kind, name) = (format!("Microsoft.ApiManagement/service/{kind}"), format!("{name}/{below}"));
        all.push(json!({"id": name, "type": kind, "name": name, "properties": properties}));
    };
    add("policies", "policy", json!({"value": control_flow::gateway(tier).print(tier)?}));
    for (fragment, _, xml) in control_flow::fragments(tier)? {
        add("policyFragments", fragment, json!({"value": xml}));
    }
    let mut audiences = list.iter().filter_map(|one| {
        one.properties.pointer("/identityProviders/azureActiveDirectory/validation/allowedAudiences/0")?.as_str()
    });
    let configuration = format!("{planes}/identity/.well-known/openid-configuration");
    for (named, value) in [
        (control_flow::APP_AUDIENCE, audiences.next_back().unwrap_or("none")),
        (control_flow::AUDIENCE, GATEWAY_AUDIENCE),
        (control_flow::ISSUER, ISSUER),
        (control_flow::OPENID_CONFIG, &configuration),
        (control_flow::SITE_ORIGIN, "https://site.skein.local"),
    ] {
        add("namedValues", named.name(), json!({"displayName": named.name(), "value": value}));
    }
    for api in list.iter().filter(|one| one.is("Microsoft.ApiManagement/service/apis")) {
        let api = api.name.rsplit('/').next().context("an API has no name")?;
        let flow = ControlFlow::between(format!("{api}-command"), format!("{api}-query"));
        add("apis/policies", &format!("{api}/policy"), json!({"value": flow.policy(tier).print(tier)?}));
        let operation = json!({"method": "POST", "urlTemplate": "/graphql"});
        add("apis/operations", &format!("{api}/graphql"), operation);
    }
    Ok(Service::of(&all, &[], name))
}

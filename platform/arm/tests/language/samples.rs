//! Templates by others.

use std::path::PathBuf;

use expect_test::expect;
use serde_json::{Value, json};
use skein_arm::Plan;

use crate::world::{SUBSCRIPTION, World, scope};

fn sample(name: &str) -> Option<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("SKEIN_SHARED").map_or_else(|| root.join("../shared"), |shared| root.join(shared));
    let path = shared.join("azure/samples").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("a sample is JSON")),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {}: {error}", path.display());
            None
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn platform(world: &World) -> Option<Plan> {
    let parameters = json!({"env": {"value": "dev"}, "publisherEmail": {"value": "ops@example.com"}});
    let plan = Plan::of(&sample("good_sub.json")?, &parameters, scope(false), world).unwrap();
    world.deploy(&plan).unwrap();
    Some(plan)
}

fn service(name: &str) -> Option<(World, Plan, Value)> {
    let world = World::default();
    platform(&world)?;
    let parameters = json!({
        "topicId": {"value": format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-platform-dev/providers/Microsoft.EventGrid/topics/evgt-integration")},
        "platformResourceGroup": {"value": "rg-platform-dev"},
        "apimName": {"value": "apim-gw"},
        "appInsightsConnectionString": {"value": "InstrumentationKey=1"},
    });
    let plan = Plan::of(&sample(name)?, &parameters, scope(true), &world).unwrap();
    let outputs = world.deploy(&plan).unwrap();
    Some((world, plan, outputs))
}

#[test]
fn the_subscription_sample_reaches_into_its_group() {
    let world = World::default();
    let Some(plan) = platform(&world) else { return };
    assert!(plan.warnings.is_empty());
    let ids: Vec<_> = world.order.lock().unwrap().iter().map(|id| id.replace(SUBSCRIPTION, "S")).collect();
    expect![[r#"
        /subscriptions/S/resourceGroups/rg-platform-dev
        /subscriptions/S/providers/Microsoft.Consumption/budgets/monthly
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.EventGrid/topics/evgt-integration
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.OperationalInsights/workspaces/log-platform
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.Insights/components/appi-platform
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.KeyVault/vaults/kv-34f5jurfvr2sa
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.EventGrid/topics/evgt-integration/providers/Microsoft.Insights/diagnosticSettings/to-law
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.ApiManagement/service/apim-gw
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.ApiManagement/service/apim-gw/apis/graphql
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.ApiManagement/service/apim-gw/apis/graphql/policies/policy
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.SignalRService/signalR/sigr-gw
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.Cdn/profiles/afd-web
        /subscriptions/S/resourceGroups/rg-platform-dev/providers/Microsoft.Resources/deployments/platform"#]]
    .assert_eq(&ids.join("\n"));
}

#[test]
fn the_symbolic_sample_and_the_converted_one_make_the_same() {
    let Some((symbolic, plan, outputs)) = service("good_service.json") else { return };
    assert!(plan.warnings.is_empty());
    let Some((converted, plan, same)) = service("good_service_array.json") else { return };
    // Its symbols were left in dependsOn and reference().
    assert!(!plan.warnings.is_empty());
    assert_eq!(outputs, same);
    assert_eq!(*symbolic.resources.lock().unwrap(), *converted.resources.lock().unwrap());

    expect![[r#"{"functionAppName":{"type":"string","value":"func-orders-hjie6j2cv2ikm"},"principalId":{"type":"string","value":"principal of id-orders"}}"#]]
        .assert_eq(&outputs.to_string());
    let settings = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Web/sites/{}/config/appsettings",
        outputs["functionAppName"]["value"].as_str().unwrap(),
    );
    let settings = symbolic.get(&settings).unwrap();
    assert_eq!(settings["properties"]["AzureWebJobsStorage__clientId"], "client of id-orders");
    let subscription = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-platform-dev/providers/Microsoft.EventGrid/topics/evgt-integration/eventSubscriptions/orders"
    );
    let subscription = symbolic.get(&subscription).unwrap();
    let queue =
        subscription["properties"]["deliveryWithResourceIdentity"]["destination"]["properties"]["resourceId"].clone();
    assert!(queue.as_str().unwrap().ends_with("/queues/commands"), "{queue}");
    let tables = symbolic.order.lock().unwrap().iter().filter(|id| id.contains("/tables/")).count();
    assert_eq!(tables, 3);
}

//! The platform's template: what all services share.

use skein_model::arm::{Nested, Of, Parameter, Place, Secret, Text, Value, join, replace, tenant};
use skein_model::azure::actiongroups::{ActionGroup, ActionGroupActionGroup, EmailReceiver};
use skein_model::azure::components::{
    ApplicationInsightsComponentProperties, ApplicationType, Component, IngestionMode,
};
use skein_model::azure::consumption::{
    Budget, BudgetComparisonExpression, BudgetComparisonExpressionOperator, BudgetFilter, BudgetFilterProperties,
    BudgetProperties, BudgetTimePeriod, Category, Notification, NotificationOperator, ThresholdType, TimeGrain,
};
use skein_model::azure::eventgrid::{
    IdentityInfo, IdentityInfoType, InputSchema, MinimumTlsVersionAllowed, PublicNetworkAccess, Topic, TopicProperties,
};
use skein_model::azure::keyvault::{CreateMode, Family, Sku, SkuName, Vault, VaultProperties};
use skein_model::azure::metricalerts::TimeAggregation;
use skein_model::azure::operationalinsights::{
    Workspace, WorkspaceCapping, WorkspaceFeatures, WorkspaceProperties, WorkspaceSku, WorkspaceSkuName,
};
use skein_model::azure::{keyvault, msi, resources};
use skein_model::{App, Graph};

use super::queues::{namespace, watch_dead_letters};
use super::{Base, Layer, PLATFORM, Watch, blobs, container, diagnose, number, redundancy, subscription_template};
use crate::queues::shares_bus;
use crate::roles::{Grant, Need, OPERATORS, OPERATORS_ABOUT, Principal, Role, Thing, assign};

/// The container of events that could not be delivered.
pub(crate) const DEAD_LETTERS: &str = "eventgrid-deadletters";
/// The container of exports of all services: here, so that they outlive a service's own account.
pub(crate) const BACKUPS: &str = "backups";
/// The secret that tells where telemetry goes. It holds no key: the components take tokens only.
pub(super) const TELEMETRY_SECRET: &str = "appinsights-connection-string";
/// What the topic is called where roles are told.
pub(super) const TOPIC: &str = "the topic";

pub(super) fn layer(graph: &Graph) -> Layer {
    let mut template = subscription_template();
    let base = Base::new(&graph.platform, PLATFORM, &mut template);
    let email = template.parameter(Parameter::new::<Text>("alertEmail", "Who is told of alerts and of money spent."));
    let budget = number(&mut template, "budgetAmount", "The money of a month, in the subscription's currency.", 100);
    let start = template.parameter(Parameter::new::<Text>(
        "budgetStart",
        "The first day of the budget's first month, as in 2026-01-01.",
    ));
    let quota = number(&mut template, "logQuotaGb", "How much is logged in a day at most, in GB.", 1);
    let redundancy = redundancy(&mut template);
    let about =
        "How the vault is made: recover where one of its name was deleted, since nobody can purge it before its time.";
    let vault_mode = template.parameter(Parameter::new::<CreateMode>("vaultMode", about).or(CreateMode::Default));
    let operators = template.parameter(Parameter::new::<Text>("operatorsId", OPERATORS_ABOUT).or(""));

    let group =
        template.add("group", base.group(PLATFORM), resources::ResourceGroup::new(&base.location).tags(base.tags()));
    let told = |threshold: i64, kind: ThresholdType| {
        Notification::new([&email], true, NotificationOperator::GreaterThan, threshold).threshold_type(kind)
    };
    let tag = |name: &str, value: Of<Text>| {
        BudgetFilterProperties::new().tags(BudgetComparisonExpression::new(
            name,
            BudgetComparisonExpressionOperator::In,
            [value],
        ))
    };
    let filter = BudgetFilter::new()
        .and([tag("system", graph.platform.system.as_str().into()), tag("environment", base.environment.clone())]);
    let properties = BudgetProperties::new(budget, Category::Cost, TimeGrain::Monthly, BudgetTimePeriod::new(start))
        .filter(filter)
        .notifications([
            ("spent80", told(80, ThresholdType::Actual)),
            ("forecast100", told(100, ThresholdType::Forecasted)),
        ]);
    let name =
        join([graph.platform.system.as_str().into(), "-".into(), skein_model::arm::Expr::from(&base.environment)]);
    template.add("budget", name, Budget::new().properties(properties));

    let mut nested = Nested::new();
    let inside = base.pass(&mut nested);
    let email = nested.pass::<Text>("alertEmail", &email);
    let quota = nested.pass("logQuotaGb", quota);
    let redundancy =
        Of::trust(Value::from(nested.pass::<Text>("storageRedundancy", Of::<Text>::trust(Value::from(redundancy)))));
    let operators = nested.pass::<Text>("operatorsId", operators);
    let vault_mode = nested.pass::<CreateMode>("vaultMode", vault_mode);
    let inner = &mut nested.template;
    let mut grants: Vec<Grant> = Vec::new();

    for service in &graph.services {
        for app in [App::Command, App::Query].map(|app| service.app(app)) {
            // Here, since services send to each other's queues: none of them could be the first.
            let symbol = format!("identity{}", capital(&app.binary));
            let identity = msi::Identity::new(&inside.location).tags(inside.tags());
            inner.add(&symbol, inside.names.identity(app), identity);
        }
    }

    let properties = WorkspaceProperties::new()
        .sku(WorkspaceSku::new(WorkspaceSkuName::PerGb2018))
        .retention_in_days(30)
        .workspace_capping(WorkspaceCapping::new().daily_quota_gb(quota))
        .features(
            WorkspaceFeatures::new().disable_local_auth(true).enable_log_access_using_only_resource_permissions(true),
        );
    let workspace = inner.add(
        "workspace",
        inside.unique(&format!("log-{}", inside.system)),
        Workspace::new(&inside.location).properties(properties).tags(inside.tags()),
    );
    let properties = ApplicationInsightsComponentProperties::new(ApplicationType::Web)
        .workspace_resource_id(workspace.id())
        .ingestion_mode(IngestionMode::LogAnalytics)
        .disable_local_auth(true);
    let component = inner.add(
        "telemetry",
        inside.unique(&format!("appi-{}", inside.system)),
        Component::new("web", &inside.location).properties(properties).tags(inside.tags()),
    );

    let properties = VaultProperties::new(Sku::new(Family::A, SkuName::Standard), tenant().tenant_id())
        .create_mode(vault_mode)
        .enable_rbac_authorization(true)
        .enable_soft_delete(true)
        .soft_delete_retention_in_days(90)
        .enable_purge_protection(true)
        .network_acls(
            keyvault::NetworkRuleSet::new()
                .bypass(keyvault::Bypass::AzureServices)
                .default_action(keyvault::DefaultAction::Allow),
        )
        .public_network_access("Enabled");
    let vault = inner.add(
        "vault",
        inside.unique(&format!("kv-{}", inside.system)),
        Vault::new(&inside.location, properties).tags(inside.tags()),
    );
    let value = Of::<Secret>::trust(Value::from(component.deployed().properties().connection_string()));
    let properties = keyvault::SecretProperties::new().content_type("text/plain").value(value);
    inner.child("telemetrySecret", &vault, TELEMETRY_SECRET, keyvault::Secret::new(properties));

    let account = inside.account(inner, "deadLetterAccount", &inside.names.platform_account(), &redundancy);
    let blobs = blobs(inner, "blobs", &account, None);
    let dead_letters = container(inner, "deadLetters", &blobs, DEAD_LETTERS);
    let backups = container(inner, "backups", &blobs, BACKUPS);

    let properties = TopicProperties::new()
        .input_schema(InputSchema::CloudEventSchemaV1_0)
        .disable_local_auth(true)
        .minimum_tls_version_allowed(MinimumTlsVersionAllowed::V1_2)
        .public_network_access(PublicNetworkAccess::Enabled);
    let topic = inner.add(
        "topic",
        inside.unique(&inside.names.topic()),
        Topic::new(&inside.location)
            .identity(IdentityInfo::new().r#type(IdentityInfoType::SystemAssigned))
            .properties(properties)
            .tags(inside.tags()),
    );
    let principal = Principal::identity(TOPIC, topic.id(), topic.deployed().identity().principal_id());
    assign(inner, &mut grants, &principal, Role::BlobContributor, &dead_letters, Thing::DeadLetters);
    let people = Principal::operators(&operators);
    assign(inner, &mut grants, &people, Role::BlobContributor, &dead_letters, Thing::DeadLetters);
    assign(inner, &mut grants, &people, Role::BlobContributor, &backups, Thing::Backups);

    let receiver = EmailReceiver::new(email, "mail").use_common_alert_schema(true);
    let properties = ActionGroupActionGroup::new(true, inside.system).email_receivers([receiver]);
    let actions = inner.add(
        "actions",
        format!("ag-{}", inside.system),
        ActionGroup::new("global").properties(properties).tags(inside.tags()),
    );
    let alerts = [
        (
            "alertDeadLettered",
            "dead-lettered",
            "Events could not be delivered and were put aside.",
            "DeadLetteredCount",
            1,
        ),
        ("alertDropped", "dropped", "Events could not be delivered and are lost.", "DroppedEventCount", 0),
        (
            "alertFailed",
            "failed-deliveries",
            "Deliveries of events fail; they are tried again.",
            "DeliveryAttemptFailCount",
            3,
        ),
        ("alertRefused", "refused", "The topic refuses what services publish.", "PublishFailCount", 1),
    ];
    for (symbol, name, about, metric, severity) in alerts {
        let name = format!("{}-{name}", inside.names.topic());
        let watch = Watch { symbol, name, about, metric, by: TimeAggregation::Total, severity };
        watch.add(inner, inside.tags(), &topic, &actions.id(), vec![]);
    }

    // For the services that have no namespace of their own.
    let bus = shares_bus(graph).then(|| {
        let name = inside.names.shared_namespace();
        let bus = inner.add("bus", inside.unique(&name), namespace(&inside));
        diagnose(inner, &bus, &workspace.id(), true);
        watch_dead_letters(inner, &inside, &name, &bus, &actions.id());
        bus
    });

    diagnose(inner, &topic, &workspace.id(), true);
    diagnose(inner, &vault, &workspace.id(), true);
    diagnose(inner, &account, &workspace.id(), false);

    let endpoint = replace(topic.deployed().properties().endpoint(), "/api/events", "");
    let told = [
        ("topicName", topic.name()),
        ("topicEndpoint", endpoint),
        ("topicId", topic.id()),
        ("topicPrincipalId", topic.deployed().identity().principal_id()),
        ("deadLetterAccountId", account.id()),
        ("workspaceId", workspace.id()),
        ("telemetryName", component.name()),
        ("vaultName", vault.name()),
        ("vaultUri", vault.deployed().properties().vault_uri()),
        ("actionGroupId", actions.id()),
    ];
    let bus =
        bus.map(|bus| [("busName", bus.name()), ("busEndpoint", bus.deployed().properties().service_bus_endpoint())]);
    let told: Vec<_> = told
        .into_iter()
        .chain(bus.into_iter().flatten())
        .map(|(name, value)| (name, inner.output::<Text>(name, value)))
        .collect();
    let deployment = template.nest("platform", PLATFORM, group.name(), nested);
    template.after(deployment.symbol(), group.symbol());
    template.output::<Text>("platformGroup", group.name());
    for (name, output) in told {
        template.output::<Text>(name, deployment.output(&output));
    }

    let need = |who: &str, on: Thing, because: &str| Need {
        grant: Grant { who: who.to_owned(), role: Role::BlobContributor, on },
        because: because.to_owned(),
    };
    let mut needs = vec![
        need(OPERATORS, Thing::Backups, "the export of a service"),
        need(OPERATORS, Thing::DeadLetters, "the replay of undelivered events"),
    ];
    if graph.services.iter().any(|service| !service.handles.is_empty()) {
        needs.push(need(TOPIC, Thing::DeadLetters, "the dead-letter destination"));
    }
    Layer { name: PLATFORM.to_owned(), place: Place::default(), template, grants, needs }
}

/// `orders-command` as a part of a symbol: `OrdersCommand`.
pub(super) fn capital(name: &str) -> String {
    name.split('-').map(|word| word[..1.min(word.len())].to_uppercase() + word.get(1..).unwrap_or_default()).collect()
}

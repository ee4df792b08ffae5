//! Service Bus namespaces: a service's own, or the platform's for all that share it.

use skein_model::arm::{Of, Ref, Template, Text};
use skein_model::azure::metricalerts::{MetricDimension, TimeAggregation};
use skein_model::azure::servicebus::{
    MinimumTlsVersion, Namespace, PublicNetworkAccess, SBNamespaceProperties, SBSku, SBSkuName, SBSkuTier,
};

use super::{Inside, Watch};

/// A namespace that takes tokens only.
pub(super) fn namespace(inside: &Inside<'_>) -> Namespace {
    let properties = SBNamespaceProperties::new()
        .disable_local_auth(true)
        .minimum_tls_version(MinimumTlsVersion::V1_2)
        .public_network_access(PublicNetworkAccess::Enabled);
    Namespace::new(&inside.location)
        .sku(SBSku::new(SBSkuName::Standard).tier(SBSkuTier::Standard))
        .properties(properties)
        .tags(inside.tags())
}

/// An alert when any queue of a namespace has dead letters.
pub(super) fn watch_dead_letters(
    template: &mut Template,
    inside: &Inside<'_>,
    name: &str,
    bus: &Ref<Namespace>,
    actions: &Of<Text>,
) {
    Watch {
        symbol: "alertDeadLetters",
        name: format!("{name}-dead-letters"),
        about: "Messages could not be handled and were put aside.",
        metric: "DeadletteredMessages",
        by: TimeAggregation::Maximum,
        severity: 1,
    }
    .add(template, inside.tags(), bus, actions, vec![MetricDimension::new("EntityName", "Include", ["*"])]);
}

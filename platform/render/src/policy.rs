//! The policies of API Management, as text, for either tier of the gateway.

use skein_model::arm::{Of, Text, either, equals};
use skein_model::{FunctionApp, Gateway, Graph, Service};
use skein_policies::{ControlFlow, NamedValue, PolicyError, Tier, control_flow, gateway};

/// Whose policy it is.
#[derive(Debug, Clone, Copy)]
pub enum PolicyOf<'a> {
    /// Of every API.
    Gateway,
    /// Of a service's API: its control flow.
    Service(&'a Service),
    /// Of the API where clients of a service learn how to connect for subscriptions.
    Subscriptions(&'a Service),
    /// Of the API of all services, which the router answers, whatever kind of operation it is asked for.
    Graph(&'a FunctionApp),
}

/// The XML of a policy, in the format [`skein_policies::FORMAT`].
///
/// # Errors
/// A policy that the tier does not take.
pub fn policy_xml(of: PolicyOf<'_>, tier: Tier) -> Result<String, PolicyError> {
    match of {
        PolicyOf::Gateway => gateway(tier).print(tier),
        PolicyOf::Graph(router) => {
            ControlFlow::between(&router.binary, &router.binary).by_post_alone().policy(tier).print(tier)
        }
        PolicyOf::Service(service) => flow(service).policy(tier).print(tier),
        PolicyOf::Subscriptions(service) => flow(service).subscriptions(tier).print(tier),
    }
}

/// What happens to the requests of a service's clients.
fn flow(service: &Service) -> ControlFlow {
    let limits = service.limits;
    let flow = ControlFlow::between(&service.command.binary, &service.query.binary)
        .calls_per_minute(limits.calls_per_minute.into());
    limits.calls_per_day.into_iter().fold(flow, |flow, calls| flow.calls_per_day(calls.into()))
}

/// A shared fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FragmentXml {
    /// Its name at the gateway.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The document, the same in every tier.
    pub xml: String,
}

/// The fragments that the policies include.
///
/// # Errors
/// A fragment that a tier does not take.
pub fn fragments() -> Result<Vec<FragmentXml>, PolicyError> {
    let printed = control_flow::fragments(Tier::Consumption)?;
    Ok(printed.into_iter().map(|(name, description, xml)| FragmentXml { name, description, xml }).collect())
}

/// The named values that the policies need: name at the gateway, and what it holds.
pub const NAMED_VALUES: [(NamedValue, &str); 5] = [
    (control_flow::APP_AUDIENCE, "appAudience"),
    (control_flow::AUDIENCE, "tokenAudience"),
    (control_flow::ISSUER, "tokenIssuer"),
    (control_flow::OPENID_CONFIG, "tokenConfiguration"),
    (control_flow::SITE_ORIGIN, "siteUrl"),
];

/// The documents as files, by path, in the order of their paths.
///
/// # Errors
/// A document that a tier does not take.
pub(crate) fn files(graph: &Graph) -> Result<Vec<(String, String)>, PolicyError> {
    let mut files: Vec<_> = fragments()?
        .into_iter()
        .map(|fragment| (format!("policies/fragments/{}.xml", fragment.name), fragment.xml))
        .collect();
    for tier in Tier::ALL {
        let folder = format!("policies/{}", tier.sku().to_lowercase());
        files.push((format!("{folder}/gateway.xml"), policy_xml(PolicyOf::Gateway, tier)?));
        let graph_xml = policy_xml(PolicyOf::Graph(&graph.gateway.router), tier)?;
        files.push((format!("{folder}/{}.xml", Gateway::GRAPH), graph_xml));
        for service in graph.gateway.services.iter().filter_map(|name| graph.service(name)) {
            files.push((format!("{folder}/{}.xml", service.name), policy_xml(PolicyOf::Service(service), tier)?));
            if service.subscriptions {
                let xml = policy_xml(PolicyOf::Subscriptions(service), tier)?;
                files.push((format!("{folder}/{}-subscriptions.xml", service.name), xml));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The policies of a template: checked before it is made, so that making it cannot fail.
pub(crate) struct Policies {
    gateway: [String; 2],
    graph: [String; 2],
    services: Vec<(String, [String; 2])>,
    subscriptions: Vec<(String, [String; 2])>,
    pub(crate) fragments: Vec<FragmentXml>,
}

impl Policies {
    pub(crate) fn new(graph: &Graph) -> Result<Self, PolicyError> {
        let both = |of: PolicyOf<'_>| {
            let [consumption, dedicated] = Tier::ALL.map(|tier| policy_xml(of, tier));
            Ok([compact(&consumption?), compact(&dedicated?)])
        };
        let services = graph.services.iter();
        let services = services.map(|service| Ok((service.name.clone(), both(PolicyOf::Service(service))?)));
        let followed = graph.services.iter().filter(|service| service.subscriptions);
        let followed = followed.map(|service| Ok((service.name.clone(), both(PolicyOf::Subscriptions(service))?)));
        Ok(Policies {
            gateway: both(PolicyOf::Gateway)?,
            graph: both(PolicyOf::Graph(&graph.gateway.router))?,
            services: services.collect::<Result<_, PolicyError>>()?,
            subscriptions: followed.collect::<Result<_, PolicyError>>()?,
            fragments: fragments()?,
        })
    }

    /// The gateway's own policy, by the parameter that names the tier.
    pub(crate) fn gateway(&self, tier: &Of<Text>) -> Of<Text> {
        by_tier(tier, &self.gateway)
    }

    /// The policy of the API of all services, by the parameter that names the tier.
    pub(crate) fn graph(&self, tier: &Of<Text>) -> Of<Text> {
        by_tier(tier, &self.graph)
    }

    /// The policy of a service's subscriptions; nothing where it has none.
    pub(crate) fn subscriptions(&self, name: &str, tier: &Of<Text>) -> Of<Text> {
        let found = self.subscriptions.iter().find(|(service, _)| service == name);
        found.map_or_else(|| Of::from(""), |(_, texts)| by_tier(tier, texts))
    }

    /// A service's policy; nothing where the service is not of the graph.
    pub(crate) fn service(&self, name: &str, tier: &Of<Text>) -> Of<Text> {
        let found = self.services.iter().find(|(service, _)| service == name);
        found.map_or_else(|| Of::from(""), |(_, texts)| by_tier(tier, texts))
    }
}

fn by_tier(tier: &Of<Text>, [consumption, dedicated]: &[String; 2]) -> Of<Text> {
    either(equals(tier, Tier::Consumption.sku()), consumption.as_str(), dedicated.as_str())
}

/// The document without line ends, for a text within an expression of a template. An attribute turns them into blanks in
/// any case.
fn compact(xml: &str) -> String {
    xml.lines().map(str::trim_start).collect::<Vec<_>>().join(" ")
}

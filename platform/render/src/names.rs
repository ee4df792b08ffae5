//! Names of resources: one place, so that every reference agrees with the resource it means.

use skein_model::{App, Bus, FunctionApp, Graph, Platform, Service};

/// The names of one system's resources.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    system: &'a str,
}

impl<'a> Names<'a> {
    /// The names of this platform's resources.
    pub fn new(platform: &'a Platform) -> Self {
        Names { system: &platform.system }
    }

    /// The platform's own storage account, for dead letters.
    pub fn platform_account(&self) -> String {
        format!("st{}", self.system)
    }

    /// The storage account of a shard of the service. The first one also holds the views.
    pub fn account(&self, service: &Service, shard: u16) -> String {
        let shard = if shard == 0 { String::new() } else { shard.to_string() };
        format!("st{}{}{shard}", self.system, service.name)
    }

    /// The storage account of an app's functions host.
    pub fn host_account(&self, service: &Service, app: App) -> String {
        format!("st{}{}{}", self.system, service.name, &app.as_str()[..1])
    }

    /// The account of the pages that the gateway shows.
    pub fn site_account(&self) -> String {
        format!("st{}web", self.system)
    }

    /// The Service Bus namespace of a service: its own, or the platform's.
    pub fn namespace(&self, service: &Service) -> String {
        match service.bus {
            Bus::Own => self.own_namespace(&service.name),
            Bus::Shared => self.shared_namespace(),
        }
    }

    /// The platform's Service Bus namespace.
    pub fn shared_namespace(&self) -> String {
        format!("sb-{}", self.system)
    }

    /// The namespace of another service and the queue's name in it.
    pub fn queue(&self, graph: &Graph, service: &str, queue: &str) -> (String, String) {
        match graph.service(service) {
            Some(service) => (self.namespace(service), service.queue_in_bus(queue)),
            None => (self.own_namespace(service), queue.to_owned()),
        }
    }

    fn own_namespace(&self, service: &str) -> String {
        format!("sb-{}-{service}", self.system)
    }

    /// The topic.
    pub fn topic(&self) -> String {
        format!("evgt-{}", self.system)
    }

    /// The storage account of the functions host of the gateway's router.
    pub fn router_host_account(&self) -> String {
        format!("st{}router", self.system)
    }

    /// The gateway.
    pub fn gateway(&self) -> String {
        format!("apim-{}", self.system)
    }

    /// SignalR.
    pub fn signalr(&self) -> String {
        format!("sigr-{}", self.system)
    }

    /// The site of a function app, and the folder of its package.
    pub fn site(&self, app: &FunctionApp) -> String {
        format!("func-{}", app.binary)
    }

    /// The user-assigned identity of a function app.
    pub fn identity(&self, app: &FunctionApp) -> String {
        format!("id-{}", app.binary)
    }
}

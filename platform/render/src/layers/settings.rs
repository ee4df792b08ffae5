//! The settings of a function app: their names, what their values are made of, and the roles that they need.

use skein_model::arm::{Expr, Of, Ref, Text, format, join, replace};
use skein_model::azure::storage::StorageAccount;
use skein_model::{App, Connection, Graph, Service, Trigger};

use super::Inside;
use crate::roles::{Role, Thing};

/// A setting, and what the app must be able to do for it to be of use.
pub(super) struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Of<Text>,
    /// The roles that it needs.
    pub needs: Vec<(Role, Thing)>,
}

/// What a deployment computes for the settings of an app.
pub(super) struct Computed<'a> {
    pub accounts: &'a [Ref<StorageAccount>],
    pub hosts: Vec<(App, Ref<StorageAccount>)>,
    pub client_ids: Vec<(App, Of<Text>)>,
    pub principals: Vec<(App, Of<Text>)>,
    pub graph: &'a Graph,
    pub bus_name: Of<Text>,
    pub bus_endpoint: Of<Text>,
    /// The principals that may name whoever asks.
    pub fronts: Vec<Of<Text>>,
    /// The one of them that is the gateway's router, for a service that it asks.
    pub router: Option<Of<Text>>,
    pub audience: Of<Text>,
    pub introspection: Of<Text>,
    pub persisted_only: Of<Text>,
    pub topic: Of<Text>,
    pub site_url: Of<Text>,
    pub vault_uri: Option<Of<Text>>,
    /// The endpoint of SignalR and the principal of its identity, for a service with subscriptions.
    pub signalr: Option<(Of<Text>, Of<Text>)>,
    pub inside: &'a Inside<'a>,
}

/// What belongs to one of the two apps.
fn of(list: &[(App, Of<Text>)], app: App) -> Of<Text> {
    list.iter().find(|(known, _)| *known == app).expect("both apps are there").1.clone()
}

/// Texts with commas between them.
pub(super) fn listed(texts: &[Of<Text>]) -> Of<Text> {
    let separated = texts.iter().enumerate().flat_map(|(index, text)| {
        let separator = Of::from(if index == 0 { "" } else { "," });
        [separator, text.clone()]
    });
    concat(separated.collect())
}

/// Texts, one after the other.
pub(super) fn concat(parts: Vec<Of<Text>>) -> Of<Text> {
    let parts: Vec<_> = parts.into_iter().filter(|part| *part != Of::from("")).collect();
    match <[Of<Text>; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => join(parts),
    }
}

impl Computed<'_> {
    /// The environment of an app, sorted by name: an app gets no address of what it may not reach.
    pub(super) fn settings(&self, service: &Service, app: App) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut set = |name: &str, value: Of<Text>, needs: Vec<(Role, Thing)>| {
            settings.push(Setting { name: name.to_owned(), value, needs });
        };
        let text = |text: &str| Of::<Text>::from(text);
        let client_id = || self.client_id(app);
        let host = vec![(Role::BlobOwner, Thing::HostAccount(service.app(app).binary.clone()))];
        set("AZURE_CLIENT_ID", client_id(), vec![]);
        set("AzureWebJobsStorage__accountName", self.host(app).name(), host);
        set("AzureWebJobsStorage__clientId", client_id(), vec![]);
        set("AzureWebJobsStorage__credential", text("managedidentity"), vec![]);
        set("FUNCTIONS_EXTENSION_VERSION", text("~4"), vec![]);
        set("SKEIN_APP", self.site(service, app), vec![]);
        set("SKEIN_APP_AUDIENCE", self.audience.clone(), vec![]);
        set("SKEIN_FRONT_PRINCIPAL_IDS", listed(&self.fronts), vec![]);
        set("SKEIN_INTROSPECTION", self.introspection.clone(), vec![]);
        set("SKEIN_PERSISTED_ONLY", self.persisted_only.clone(), vec![]);
        if let Some(router) = &self.router {
            set("SKEIN_ROUTER_PRINCIPAL_ID", router.clone(), vec![]);
        }
        set("SKEIN_SERVICE", text(&service.name), vec![]);
        let (mut queues, mut senders) = (Vec::new(), Vec::new());
        for (target, queue) in self.graph.sends(service, app) {
            let separator = if queues.is_empty() { "" } else { "," };
            let name = Service::queue_name(target, queue);
            queues.extend([text(&format!("{separator}{name}=")), self.queue(target, queue)]);
            senders.push(queue_role(Role::QueueSender, target, queue));
        }
        set("SKEIN_COMMAND_QUEUES", concat(queues), senders);
        let account = |shard| self.inside.names.account(service, shard);
        let tables = |shard: u16, tables: Vec<&str>| -> Vec<(Role, Thing)> {
            let table = |table: &str| (Role::TableContributor, Thing::Table(account(shard), table.to_owned()));
            tables.into_iter().map(table).collect()
        };
        if service.personal {
            // Only decisions erase; queries look.
            let role = if app == App::Command { Role::TableContributor } else { Role::TableReader };
            let persons = Thing::Table(account(0), Service::PERSONS.to_owned());
            set("SKEIN_PERSONS", self.tables(0), vec![(role, persons)]);
            let key = Thing::Key(service.name.clone());
            set("SKEIN_PERSONAL_KEY", self.personal_key(service), vec![(Role::KeyUser, key)]);
        }
        match app {
            App::Command => {
                let (mut shards, mut needs) = (Vec::new(), Vec::new());
                for shard in 0..service.shards {
                    let separator = if shard == 0 { "" } else { "," };
                    shards.extend([text(separator), self.tables(shard)]);
                    needs.extend(tables(shard, Service::STORE_TABLES.to_vec()));
                }
                set("SKEIN_EVENT_STORE", concat(shards), needs);
                set("SKEIN_TOPIC", self.topic.clone(), vec![(Role::EventSender, Thing::Topic)]);
                set("SKEIN_OUTCOMES_PRINCIPAL_IDS", self.principal_id(App::Query), vec![]);
            }
            App::Query => {
                let needs = tables(0, query_tables(service));
                set("SKEIN_QUERY_STORE", self.tables(0), needs);
                let sources =
                    self.graph.sources(service).into_iter().map(|(category, owner)| format!("{category}={owner}"));
                set("SKEIN_SOURCES", text(&sources.collect::<Vec<_>>().join(",")), vec![]);
                set("SKEIN_COMMAND_APP", self.site_url(service, App::Command), vec![]);
                if let Some((endpoint, principal)) = &self.signalr {
                    set("SKEIN_SIGNALR", endpoint.clone(), vec![(Role::SignalRApi, Thing::SignalR)]);
                    set("SKEIN_SIGNALR_HUB", text(&service.name), vec![]);
                    set("SKEIN_SIGNALR_PRINCIPAL_ID", principal.clone(), vec![]);
                }
            }
        }
        for function in &service.app(app).functions {
            let Trigger::ServiceBus { queue, connection, .. } = &function.trigger else { continue };
            let connection = Connection::as_str(*connection);
            let receiver = vec![queue_role(Role::QueueReceiver, &service.name, queue)];
            set(&format!("{connection}__fullyQualifiedNamespace"), self.namespace_host(), receiver);
            set(&format!("{connection}__credential"), text("managedidentity"), vec![]);
            set(&format!("{connection}__clientId"), client_id(), vec![]);
        }
        settings.sort_by(|one, other| one.name.cmp(&other.name));
        settings
    }

    /// The account of the functions host.
    pub(super) fn host(&self, app: App) -> &Ref<StorageAccount> {
        &self.hosts.iter().find(|(known, _)| *known == app).expect("both apps have one").1
    }

    /// The client id of the app's identity.
    pub(super) fn client_id(&self, app: App) -> Of<Text> {
        of(&self.client_ids, app)
    }

    /// The principal id of the app's identity.
    pub(super) fn principal_id(&self, app: App) -> Of<Text> {
        of(&self.principals, app)
    }

    /// The name of the app's site.
    pub(super) fn site(&self, service: &Service, app: App) -> Of<Text> {
        self.inside.unique(&self.inside.names.site(service.app(app)))
    }

    /// Where the app answers, without `/api`.
    pub(super) fn site_url(&self, service: &Service, app: App) -> Of<Text> {
        format(&self.site_url, [self.site(service, app)])
    }

    /// The table endpoint of a shard.
    fn tables(&self, shard: u16) -> Of<Text> {
        self.accounts[usize::from(shard)].deployed().properties().primary_endpoints().table()
    }

    /// The queue of a service, as an address.
    fn queue(&self, service: &str, queue: &str) -> Of<Text> {
        // The namespace that is known tells where namespaces are; another one need not be there yet.
        let (name, queue) = self.inside.names.queue(self.graph, service, queue);
        let (name, known) = (self.inside.unique(&name), self.bus_endpoint.clone());
        let endpoint = if name == self.bus_name { known } else { replace(known, &self.bus_name, name) };
        join([Expr::from(endpoint), queue.into()])
    }

    /// The host name of the service's namespace.
    fn namespace_host(&self) -> Of<Text> {
        join([Expr::from(&self.bus_name), ".servicebus.windows.net".into()])
    }

    /// The key that wraps the keys of the service's persons, as an address.
    fn personal_key(&self, service: &Service) -> Of<Text> {
        let vault = self.vault_uri.clone().expect("a service with personal data is told of the vault");
        join([Expr::from(vault), format!("keys/{}", service.name).into()])
    }
}

/// The tables that the query app reads and writes: its views, and why a message failed.
pub(super) fn query_tables(service: &Service) -> Vec<&str> {
    let views = service.tables.iter().map(String::as_str);
    views.chain([Service::FAULTS_TABLE]).collect()
}

fn queue_role(role: Role, service: &str, queue: &str) -> (Role, Thing) {
    (role, Thing::Queue(service.to_owned(), queue.to_owned()))
}

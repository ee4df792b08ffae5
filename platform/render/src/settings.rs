//! The settings of a function app: one list, whether their values are known or are computed by a deployment.

use skein_model::{App, Connection, Graph, Service, Trigger};

use crate::roles::{Role, Thing};

/// What a setting's value is made of, as whoever writes the list spells it.
pub(crate) trait Places {
    /// A text, known or computed.
    type Value: Clone;

    /// A text that is known.
    fn text(&self, text: &str) -> Self::Value;
    /// Texts, one after the other.
    fn concat(&self, parts: Vec<Self::Value>) -> Self::Value;
    /// The name of the app's site.
    fn site(&self, service: &Service, app: App) -> Self::Value;
    /// Where the app answers, without `/api`.
    fn site_url(&self, service: &Service, app: App) -> Self::Value;
    /// The client id of the app's identity.
    fn client_id(&self, service: &Service, app: App) -> Self::Value;
    /// The principal id of the app's identity.
    fn principal_id(&self, service: &Service, app: App) -> Self::Value;
    /// The principal id of the gateway's identity.
    fn gateway_principal_id(&self) -> Self::Value;
    /// The audience of the apps' tokens.
    fn audience(&self) -> Self::Value;
    /// Whether the schema may be read.
    fn introspection(&self) -> Self::Value;
    /// The account of the functions host.
    fn host_account(&self, service: &Service, app: App) -> Self::Value;
    /// The table endpoint of a shard.
    fn tables(&self, service: &Service, shard: u16) -> Self::Value;
    /// The queue of a service, as an address.
    fn queue(&self, service: &str, queue: &str) -> Self::Value;
    /// The host name of the service's namespace.
    fn namespace_host(&self, service: &Service) -> Self::Value;
    /// The topic's address, without a path.
    fn topic(&self) -> Self::Value;
    /// The key that wraps the keys of the service's persons, as an address.
    fn personal_key(&self, service: &Service) -> Self::Value;
}

/// A setting, and what the app must be able to do for it to be of use.
pub(crate) struct Setting<V> {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: V,
    /// The roles that it needs.
    pub needs: Vec<(Role, Thing)>,
}

/// The environment of an app, sorted by name: an app gets no address of what it may not reach.
pub(crate) fn settings<P: Places>(
    places: &P,
    graph: &Graph,
    account: impl Fn(u16) -> String,
    service: &Service,
    app: App,
) -> Vec<Setting<P::Value>> {
    let mut settings = Vec::new();
    let mut set = |name: &str, value: P::Value, needs: Vec<(Role, Thing)>| {
        settings.push(Setting { name: name.to_owned(), value, needs });
    };
    let text = |text: &str| places.text(text);
    let client_id = || places.client_id(service, app);
    let host = vec![(Role::BlobOwner, Thing::HostAccount(service.app(app).binary.clone()))];
    set("AZURE_CLIENT_ID", client_id(), vec![]);
    set("AzureWebJobsStorage__accountName", places.host_account(service, app), host);
    set("AzureWebJobsStorage__clientId", client_id(), vec![]);
    set("AzureWebJobsStorage__credential", text("managedidentity"), vec![]);
    set("FUNCTIONS_EXTENSION_VERSION", text("~4"), vec![]);
    set("SKEIN_APP", places.site(service, app), vec![]);
    set("SKEIN_APP_AUDIENCE", places.audience(), vec![]);
    set("SKEIN_GATEWAY_PRINCIPAL_ID", places.gateway_principal_id(), vec![]);
    set("SKEIN_INTROSPECTION", places.introspection(), vec![]);
    set("SKEIN_SERVICE", text(&service.name), vec![]);
    let (mut queues, mut senders) = (Vec::new(), Vec::new());
    for (target, queue) in graph.sends(service, app) {
        let separator = if queues.is_empty() { "" } else { "," };
        let name = Service::queue_name(target, queue);
        queues.extend([text(&format!("{separator}{name}=")), places.queue(target, queue)]);
        senders.push(queue_role(Role::QueueSender, target, queue));
    }
    set("SKEIN_COMMAND_QUEUES", places.concat(queues), senders);
    let tables = |shard: u16, tables: Vec<&str>| -> Vec<(Role, Thing)> {
        let table = |table: &str| (Role::TableContributor, Thing::Table(account(shard), table.to_owned()));
        tables.into_iter().map(table).collect()
    };
    if service.personal {
        // Only decisions erase; queries look.
        let role = if app == App::Command { Role::TableContributor } else { Role::TableReader };
        let persons = Thing::Table(account(0), Service::PERSONS.to_owned());
        set("SKEIN_PERSONS", places.tables(service, 0), vec![(role, persons)]);
        let key = Thing::Key(service.name.clone());
        set("SKEIN_PERSONAL_KEY", places.personal_key(service), vec![(Role::KeyUser, key)]);
    }
    match app {
        App::Command => {
            let (mut shards, mut needs) = (Vec::new(), Vec::new());
            for shard in 0..service.shards {
                let separator = if shard == 0 { "" } else { "," };
                shards.extend([text(separator), places.tables(service, shard)]);
                needs.extend(tables(shard, Service::STORE_TABLES.to_vec()));
            }
            set("SKEIN_EVENT_STORE", places.concat(shards), needs);
            set("SKEIN_TOPIC", places.topic(), vec![(Role::EventSender, Thing::Topic)]);
            set("SKEIN_OUTCOMES_PRINCIPAL_IDS", places.principal_id(service, App::Query), vec![]);
        }
        App::Query => {
            let needs = tables(0, query_tables(service));
            set("SKEIN_QUERY_STORE", places.tables(service, 0), needs);
            let sources = graph.sources(service).into_iter().map(|(category, owner)| format!("{category}={owner}"));
            set("SKEIN_SOURCES", text(&sources.collect::<Vec<_>>().join(",")), vec![]);
            set("SKEIN_COMMAND_APP", places.site_url(service, App::Command), vec![]);
        }
    }
    for function in &service.app(app).functions {
        let Trigger::ServiceBus { queue, connection, .. } = &function.trigger else { continue };
        let connection = Connection::as_str(*connection);
        let receiver = vec![queue_role(Role::QueueReceiver, &service.name, queue)];
        set(&format!("{connection}__fullyQualifiedNamespace"), places.namespace_host(service), receiver);
        set(&format!("{connection}__credential"), text("managedidentity"), vec![]);
        set(&format!("{connection}__clientId"), client_id(), vec![]);
    }
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    settings
}

/// The tables that the query app reads and writes: its views, and why a message failed.
pub(crate) fn query_tables(service: &Service) -> Vec<&str> {
    let views = service.tables.iter().map(String::as_str);
    views.chain([Service::FAULTS_TABLE]).collect()
}

fn queue_role(role: Role, service: &str, queue: &str) -> (Role, Thing) {
    (role, Thing::Queue(service.to_owned(), queue.to_owned()))
}

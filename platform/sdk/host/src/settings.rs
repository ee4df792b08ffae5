//! A function app's settings, read once at the start: each missing or malformed one is named with what to do.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::Uri;

/// Which settings are missing or malformed, all of them at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the app settings are incomplete:\n- {}", .problems.join("\n- "))]
pub struct SettingsError {
    /// One line a setting.
    pub problems: Vec<String>,
}

/// How the functions host runs this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// `FUNCTIONS_CUSTOMHANDLER_PORT`: where the host calls, on 127.0.0.1.
    pub port: u16,
    /// `SKEIN_PARENT_STDIN=1`: stdin is a pipe held by the parent; at its end the process exits.
    pub dies_with_stdin: bool,
    /// `SKEIN_ROUTE_PREFIX`: `extensions.http.routePrefix` of host.json, `api` by default. It may not be empty: a
    /// forwarded request and an invocation could not be told apart.
    pub route_prefix: String,
}

/// What both apps of a service need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `SKEIN_SERVICE`: the service's name.
    pub service: String,
    /// `SKEIN_APP`: the function app's name, for logs.
    pub app: String,
    /// `AZURE_CLIENT_ID`: the app's user-assigned identity; absent for the system-assigned one.
    pub client_id: Option<String>,
    /// `SKEIN_APP_AUDIENCE`: the audience of tokens between the gateway and the apps.
    pub audience: String,
    /// `SKEIN_FRONT_PRINCIPAL_IDS`: the object ids of the identities that may name a principal, and nobody else may: the
    /// gateway's, and its router's.
    pub fronts: Vec<String>,
    /// `SKEIN_ROUTER_PRINCIPAL_ID`: the object id of the identity of the gateway's router, which looks for itself whether a
    /// document may be executed; absent for a service that it does not ask.
    pub router: Option<String>,
    /// `SKEIN_INTROSPECTION`: whether the GraphQL schema may be read; false by default.
    pub introspection: bool,
    /// `SKEIN_PERSISTED_ONLY`: whether no GraphQL documents are executed but those of the app's list; false by default.
    pub persisted_only: bool,
    /// `SKEIN_AWAIT_SECONDS`: how long a mutation with `await: COMMITTED` waits, 10 s by default, at most 200 s
    /// (the platform's front cuts a request after 230 s).
    pub await_limit: Duration,
    /// Where the keys of personal data are; absent for a service without any.
    pub personal: Option<PersonalSettings>,
}

/// Where the keys of personal data are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalSettings {
    /// `SKEIN_PERSONS`: the table endpoint of the persons' keys.
    pub persons: String,
    /// `SKEIN_PERSONAL_KEY`: the address of the Key Vault key that wraps them.
    pub key: String,
}

/// What the gateway's router needs, which answers one graph of all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// `SKEIN_APP`: the function app's name, for logs.
    pub app: String,
    /// `AZURE_CLIENT_ID`: the app's user-assigned identity; absent for the system-assigned one.
    pub client_id: Option<String>,
    /// `SKEIN_APP_AUDIENCE`: the audience of tokens between the gateway and the apps.
    pub audience: String,
    /// `SKEIN_FRONT_PRINCIPAL_IDS`: the object ids of the identities that may name a principal: the gateway's.
    pub fronts: Vec<String>,
    /// `SKEIN_INTROSPECTION`: whether the GraphQL schema may be read; false by default.
    pub introspection: bool,
    /// `SKEIN_PERSISTED_ONLY`: whether no GraphQL documents are executed but those of the router's list; false by default.
    pub persisted_only: bool,
    /// `SKEIN_COMMAND_APPS`: the base URL of each service's command app.
    pub command_apps: BTreeMap<String, String>,
    /// `SKEIN_QUERY_APPS`: the base URL of each service's query app.
    pub query_apps: BTreeMap<String, String>,
    /// `SKEIN_PART_SECONDS`: how long a service may take for its part of an answer, 25 s by default, at most 200 s. The
    /// gateway gives up after 30 s in the tier Consumption, and then nobody hears of the other parts.
    pub part_limit: Duration,
}

/// What a command app needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSettings {
    /// What both apps need.
    pub app: Settings,
    /// `SKEIN_EVENT_STORE`: the table endpoints of the event store's shards, in order.
    pub event_store: Vec<String>,
    /// `SKEIN_COMMAND_QUEUES`: the queues that this app may send to, by the names of [`skein_core::ports`].
    pub command_queues: BTreeMap<String, String>,
    /// `SKEIN_TOPIC`: the topic's endpoint, without a path.
    pub topic: String,
    /// `SKEIN_OUTCOMES_PRINCIPAL_IDS`: the object ids of the identities that may read outcomes: the query app's.
    pub outcome_readers: Vec<String>,
}

/// What a query app needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuerySettings {
    /// What both apps need.
    pub app: Settings,
    /// `SKEIN_QUERY_STORE`: the table endpoint of the views.
    pub query_store: String,
    /// `SKEIN_COMMAND_QUEUES`: the queues that this app may send to, by the names of [`skein_core::ports`]; may be
    /// empty.
    pub command_queues: BTreeMap<String, String>,
    /// `SKEIN_SOURCES`: the service that publishes each category that this app reads; may be empty.
    pub sources: BTreeMap<String, String>,
    /// `SKEIN_COMMAND_APP`: the base URL of the service's command app, which knows the outcomes.
    pub command_app: String,
    /// Where the service's subscribers are; absent for a service without subscriptions.
    pub live: Option<LiveSettings>,
}

/// Where a service's subscribers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSettings {
    /// `SKEIN_SIGNALR`: the endpoint of the SignalR.
    pub endpoint: String,
    /// `SKEIN_SIGNALR_HUB`: the service's hub in it.
    pub hub: String,
    /// `SKEIN_SIGNALR_PRINCIPAL_ID`: the object id of the SignalR's identity, the only one that may say what a
    /// connection asks for.
    pub principal: String,
}

impl HostSettings {
    /// Reads them from the environment.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn from_env() -> Result<Self, SettingsError> {
        HostSettings::read(&env)
    }

    fn read(source: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut read = Reader { source, problems: Vec::new() };
        let settings = HostSettings {
            port: read.parsed("FUNCTIONS_CUSTOMHANDLER_PORT", "the functions host sets it when it starts this process"),
            dies_with_stdin: read.flag("SKEIN_PARENT_STDIN", false),
            route_prefix: read.route_prefix(),
        };
        read.finish(settings)
    }
}

impl RouterSettings {
    /// Reads them from the environment.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn from_env() -> Result<Self, SettingsError> {
        RouterSettings::read(&env)
    }

    /// Reads them from anywhere, by name.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn read(source: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut read = Reader { source, problems: Vec::new() };
        let settings = RouterSettings {
            app: read.text("SKEIN_APP", "the function app's name"),
            client_id: read.optional("AZURE_CLIENT_ID"),
            audience: read.text("SKEIN_APP_AUDIENCE", "the audience of the apps' tokens, as in api://skein"),
            fronts: read.fronts(),
            introspection: read.flag("SKEIN_INTROSPECTION", false),
            persisted_only: read.flag("SKEIN_PERSISTED_ONLY", false),
            command_apps: read.addresses("SKEIN_COMMAND_APPS", "service=base URL of its command app", true),
            query_apps: read.addresses("SKEIN_QUERY_APPS", "service=base URL of its query app", true),
            part_limit: read.seconds("SKEIN_PART_SECONDS", 25, 1),
        };
        read.finish(settings)
    }
}

impl CommandSettings {
    /// Reads them from the environment.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn from_env() -> Result<Self, SettingsError> {
        CommandSettings::read(&env)
    }

    /// Reads them from anywhere, by name.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn read(source: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut read = Reader { source, problems: Vec::new() };
        let settings = CommandSettings {
            app: read.app(),
            event_store: read.urls("SKEIN_EVENT_STORE", "the table endpoints of the event store, comma separated"),
            command_queues: read.queues(true),
            topic: read.url("SKEIN_TOPIC", "the Event Grid topic's endpoint, without /api/events"),
            outcome_readers: read.list("SKEIN_OUTCOMES_PRINCIPAL_IDS"),
        };
        read.finish(settings)
    }
}

impl QuerySettings {
    /// Reads them from the environment.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn from_env() -> Result<Self, SettingsError> {
        QuerySettings::read(&env)
    }

    /// Reads them from anywhere, by name.
    ///
    /// # Errors
    /// Any that are missing or malformed.
    pub fn read(source: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut read = Reader { source, problems: Vec::new() };
        let settings = QuerySettings {
            app: read.app(),
            query_store: read.url("SKEIN_QUERY_STORE", "the table endpoint of the views"),
            command_queues: read.queues(false),
            sources: read.sources(),
            command_app: read.url("SKEIN_COMMAND_APP", "the base URL of the service's command app"),
            live: read.live(),
        };
        read.finish(settings)
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads variables and remembers what is wrong with them.
struct Reader<'a> {
    source: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn finish<T>(self, settings: T) -> Result<T, SettingsError> {
        if self.problems.is_empty() { Ok(settings) } else { Err(SettingsError { problems: self.problems }) }
    }

    fn app(&mut self) -> Settings {
        Settings {
            service: self.text("SKEIN_SERVICE", "the service's name, as in orders"),
            app: self.text("SKEIN_APP", "the function app's name"),
            client_id: self.optional("AZURE_CLIENT_ID"),
            audience: self.text("SKEIN_APP_AUDIENCE", "the audience of the apps' tokens, as in api://skein"),
            fronts: self.fronts(),
            router: self.optional("SKEIN_ROUTER_PRINCIPAL_ID"),
            introspection: self.flag("SKEIN_INTROSPECTION", false),
            persisted_only: self.flag("SKEIN_PERSISTED_ONLY", false),
            await_limit: self.await_limit(),
            personal: self.personal(),
        }
    }

    /// Both settings or none.
    fn personal(&mut self) -> Option<PersonalSettings> {
        let (persons, key) = ("SKEIN_PERSONS", "SKEIN_PERSONAL_KEY");
        if self.optional(persons).is_none() && self.optional(key).is_none() {
            return None;
        }
        Some(PersonalSettings {
            persons: self.url(persons, "the table endpoint of the persons' keys"),
            key: self.url(key, "the key that wraps them, as in https://{vault}.vault.azure.net/keys/{name}"),
        })
    }

    /// All three settings or none.
    fn live(&mut self) -> Option<LiveSettings> {
        let names @ [endpoint, hub, principal] = ["SKEIN_SIGNALR", "SKEIN_SIGNALR_HUB", "SKEIN_SIGNALR_PRINCIPAL_ID"];
        if names.iter().all(|name| self.optional(name).is_none()) {
            return None;
        }
        Some(LiveSettings {
            endpoint: self.url(endpoint, "the SignalR's endpoint, as in https://{name}.service.signalr.net"),
            hub: self.text(hub, "the service's hub, which has the service's name"),
            principal: self.text(principal, "the object id of the SignalR's identity"),
        })
    }

    fn optional(&self, name: &str) -> Option<String> {
        (self.source)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn text(&mut self, name: &str, what: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set: set it to {what}"));
            String::new()
        })
    }

    fn parsed(&mut self, name: &str, what: &str) -> u16 {
        let value = self.text(name, what);
        if value.is_empty() {
            return 0;
        }
        value.parse().ok().filter(|port| *port > 0).unwrap_or_else(|| {
            self.problems.push(format!("{name} is {value:?}, expected a port from 1 to 65535: {what}"));
            0
        })
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.optional(name).map(|value| value.to_ascii_lowercase()).as_deref() {
            None => default,
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(value) => {
                self.problems.push(format!("{name} is {value:?}: set it to true or false"));
                default
            }
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        let value = self.optional(name).unwrap_or_default();
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    fn checked_url(&mut self, name: &str, value: &str, what: &str) -> String {
        let valid = value.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !valid {
            self.problems.push(format!("{name} holds {value:?}, which is no http(s) URL: set it to {what}"));
        }
        value.trim_end_matches('/').to_owned()
    }

    fn url(&mut self, name: &str, what: &str) -> String {
        let value = self.text(name, what);
        if value.is_empty() { value } else { self.checked_url(name, &value, what) }
    }

    fn urls(&mut self, name: &str, what: &str) -> Vec<String> {
        let items = self.list(name);
        if items.is_empty() {
            self.problems.push(format!("{name} is not set: set it to {what}"));
        }
        items.iter().map(|item| self.checked_url(name, item, what)).collect()
    }

    fn fronts(&mut self) -> Vec<String> {
        let name = "SKEIN_FRONT_PRINCIPAL_IDS";
        let fronts = self.list(name);
        if fronts.is_empty() {
            let what = "the object ids of the identities of the gateway and its router, comma separated";
            self.problems.push(format!("{name} is not set: set it to {what}"));
        }
        fronts
    }

    fn queues(&mut self, required: bool) -> BTreeMap<String, String> {
        self.addresses("SKEIN_COMMAND_QUEUES", "service=queue URL", required)
    }

    /// Addresses by service.
    fn addresses(&mut self, name: &str, each: &str, required: bool) -> BTreeMap<String, String> {
        let what = &format!("{each}, comma separated");
        let items = self.list(name);
        if items.is_empty() && required {
            self.problems.push(format!("{name} is not set: set it to {what}"));
        }
        let mut queues = BTreeMap::new();
        for item in items {
            match item.split_once('=') {
                Some((service, url)) if !service.trim().is_empty() => {
                    let url = self.checked_url(name, url.trim(), what);
                    if queues.insert(service.trim().to_owned(), url).is_some() {
                        self.problems.push(format!("{name} names {:?} twice", service.trim()));
                    }
                }
                _ => self.problems.push(format!("{name} holds {item:?}: set it to {what}")),
            }
        }
        queues
    }

    fn sources(&mut self) -> BTreeMap<String, String> {
        let name = "SKEIN_SOURCES";
        let mut sources = BTreeMap::new();
        for item in self.list(name) {
            match item.split_once('=') {
                Some((category, service)) if !category.trim().is_empty() && !service.trim().is_empty() => {
                    sources.insert(category.trim().to_owned(), service.trim().to_owned());
                }
                _ => self.problems.push(format!("{name} holds {item:?}: set it to category=service, comma separated")),
            }
        }
        sources
    }

    fn await_limit(&mut self) -> Duration {
        self.seconds("SKEIN_AWAIT_SECONDS", 10, 0)
    }

    /// A time of at most 200 s: the platform's front cuts a request after 230 s.
    fn seconds(&mut self, name: &str, default: u64, least: u64) -> Duration {
        match self.optional(name) {
            None => Duration::from_secs(default),
            Some(value) => match value.parse::<u64>() {
                Ok(seconds) if (least..=200).contains(&seconds) => Duration::from_secs(seconds),
                _ => {
                    self.problems.push(format!("{name} is {value:?}: set it to whole seconds, {least} to 200"));
                    Duration::ZERO
                }
            },
        }
    }

    fn route_prefix(&mut self) -> String {
        let name = "SKEIN_ROUTE_PREFIX";
        let prefix = self.optional(name).unwrap_or_else(|| "api".to_owned());
        let prefix = prefix.trim_matches('/').to_owned();
        if prefix.is_empty() {
            self.problems
                .push(format!("{name} is empty: set it to host.json's extensions.http.routePrefix, as in api"));
        }
        prefix
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn source(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn a_command_app_is_read_whole() {
        let settings = CommandSettings::read(&source(&[
            ("SKEIN_SERVICE", "orders"),
            ("SKEIN_APP", "func-orders-command"),
            ("AZURE_CLIENT_ID", "c"),
            ("SKEIN_APP_AUDIENCE", "api://skein-local"),
            ("SKEIN_FRONT_PRINCIPAL_IDS", "gw, router"),
            ("SKEIN_INTROSPECTION", "True"),
            ("SKEIN_PERSISTED_ONLY", "true"),
            ("SKEIN_ROUTER_PRINCIPAL_ID", "router"),
            ("SKEIN_EVENT_STORE", "http://127.0.0.1:1/tables/a/, http://127.0.0.1:1/tables/b"),
            ("SKEIN_COMMAND_QUEUES", "orders=http://127.0.0.1:1/q,inventory=https://sb.example/commands"),
            ("SKEIN_TOPIC", "http://127.0.0.1:1/eventgrid/t"),
            ("SKEIN_OUTCOMES_PRINCIPAL_IDS", "a, b"),
            ("SKEIN_PERSONS", "http://127.0.0.1:1/tables/a"),
            ("SKEIN_PERSONAL_KEY", "http://127.0.0.1:1/keyvault/kv/keys/orders/"),
        ]))
        .unwrap();
        assert_eq!(settings.app.personal.as_ref().unwrap().key, "http://127.0.0.1:1/keyvault/kv/keys/orders");
        assert_eq!(settings.event_store, ["http://127.0.0.1:1/tables/a", "http://127.0.0.1:1/tables/b"]);
        assert_eq!(settings.command_queues["inventory"], "https://sb.example/commands");
        assert_eq!(settings.outcome_readers, ["a", "b"]);
        assert_eq!(settings.app.fronts, ["gw", "router"]);
        assert_eq!(settings.app.router.as_deref(), Some("router"));
        assert!(settings.app.introspection && settings.app.persisted_only);
        assert_eq!(settings.app.await_limit, Duration::from_secs(10));
    }

    #[test]
    fn a_query_app_may_have_subscribers() {
        let read = |live: bool| {
            QuerySettings::read(&|name: &str| {
                let value = match name {
                    "SKEIN_QUERY_STORE" | "SKEIN_COMMAND_APP" => "http://127.0.0.1:1/x",
                    "SKEIN_SIGNALR" => "http://127.0.0.1:1/signalr/s/",
                    "SKEIN_SERVICE" | "SKEIN_APP" | "SKEIN_APP_AUDIENCE" | "SKEIN_FRONT_PRINCIPAL_IDS" => "x",
                    "SKEIN_SIGNALR_HUB" => "orders",
                    "SKEIN_SIGNALR_PRINCIPAL_ID" => "p",
                    _ => return None,
                };
                (live || !name.starts_with("SKEIN_SIGNALR")).then(|| value.to_owned())
            })
        };
        assert_eq!(read(false).unwrap().live, None);
        let expected = LiveSettings {
            endpoint: "http://127.0.0.1:1/signalr/s".to_owned(),
            hub: "orders".to_owned(),
            principal: "p".to_owned(),
        };
        assert_eq!(read(true).unwrap().live, Some(expected));
    }

    #[test]
    fn all_that_is_missing_is_named_at_once() {
        let error = QuerySettings::read(&source(&[
            ("SKEIN_SERVICE", "orders"),
            ("SKEIN_QUERY_STORE", "tables"),
            ("SKEIN_COMMAND_QUEUES", "http://x"),
            ("SKEIN_SOURCES", "order=orders,stock"),
            ("SKEIN_INTROSPECTION", "maybe"),
            ("SKEIN_AWAIT_SECONDS", "900"),
            ("SKEIN_PERSONS", "http://127.0.0.1:1/tables/a"),
            ("SKEIN_SIGNALR_HUB", "orders"),
        ]))
        .unwrap_err();
        expect![[r#"
            the app settings are incomplete:
            - SKEIN_APP is not set: set it to the function app's name
            - SKEIN_APP_AUDIENCE is not set: set it to the audience of the apps' tokens, as in api://skein
            - SKEIN_FRONT_PRINCIPAL_IDS is not set: set it to the object ids of the identities of the gateway and its router, comma separated
            - SKEIN_INTROSPECTION is "maybe": set it to true or false
            - SKEIN_AWAIT_SECONDS is "900": set it to whole seconds, 0 to 200
            - SKEIN_PERSONAL_KEY is not set: set it to the key that wraps them, as in https://{vault}.vault.azure.net/keys/{name}
            - SKEIN_QUERY_STORE holds "tables", which is no http(s) URL: set it to the table endpoint of the views
            - SKEIN_COMMAND_QUEUES holds "http://x": set it to service=queue URL, comma separated
            - SKEIN_SOURCES holds "stock": set it to category=service, comma separated
            - SKEIN_COMMAND_APP is not set: set it to the base URL of the service's command app
            - SKEIN_SIGNALR is not set: set it to the SignalR's endpoint, as in https://{name}.service.signalr.net
            - SKEIN_SIGNALR_PRINCIPAL_ID is not set: set it to the object id of the SignalR's identity"#]]
        .assert_eq(&error.to_string());
    }

    #[test]
    fn the_router_is_told_of_every_app() {
        const GOOD: [(&str, &str); 5] = [
            ("SKEIN_APP", "func-gateway-router"),
            ("SKEIN_APP_AUDIENCE", "api://skein"),
            ("SKEIN_FRONT_PRINCIPAL_IDS", "gw"),
            ("SKEIN_COMMAND_APPS", "orders=https://c.example/,inventory=https://d.example"),
            ("SKEIN_QUERY_APPS", "orders=https://q.example"),
        ];
        let settings = RouterSettings::read(&source(&GOOD)).unwrap();
        assert_eq!(settings.command_apps["orders"], "https://c.example");
        assert_eq!((settings.introspection, settings.persisted_only), (false, false));
        assert_eq!(settings.part_limit, Duration::from_secs(25));
        const BAD: [(&str, &str); 3] =
            [("SKEIN_PART_SECONDS", "0"), ("SKEIN_QUERY_APPS", "orders"), ("SKEIN_APP", "x")];
        expect![[r#"
            the app settings are incomplete:
            - SKEIN_APP_AUDIENCE is not set: set it to the audience of the apps' tokens, as in api://skein
            - SKEIN_FRONT_PRINCIPAL_IDS is not set: set it to the object ids of the identities of the gateway and its router, comma separated
            - SKEIN_COMMAND_APPS is not set: set it to service=base URL of its command app, comma separated
            - SKEIN_QUERY_APPS holds "orders": set it to service=base URL of its query app, comma separated
            - SKEIN_PART_SECONDS is "0": set it to whole seconds, 1 to 200"#]]
        .assert_eq(&RouterSettings::read(&source(&BAD)).unwrap_err().to_string());
    }

    #[test]
    fn the_host_names_a_port() {
        let error = HostSettings::read(&source(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "0"), ("SKEIN_ROUTE_PREFIX", "/")]))
            .unwrap_err();
        assert_eq!(error.problems.len(), 2, "{error}");
        let settings = HostSettings::read(&source(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "7071")])).unwrap();
        assert_eq!((settings.port, settings.dies_with_stdin, settings.route_prefix.as_str()), (7071, false, "api"));
    }
}

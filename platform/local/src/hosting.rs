//! Makes what is deployed live: from the control plane's resources alone, while they change.
//!
//! A change touches what it is about and nothing else: queues, topics, subscriptions, tables, containers and keys change
//! in place, and a function app starts again where its settings, its identities, its callers or its package changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::{Map, Value, json};
use skein_arm::Error;
use skein_embedded::EmbeddedStore;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::access::Authorizer;
use crate::blobs::{self, Containers, Folder};
use crate::broker::{self, Broker};
use crate::control::{Addresses, Grant, Host, Hosting, grants};
use crate::gateway;
use crate::identity::{self, Issuer};
use crate::outbound::Outbound;
use crate::resources::{Plan, Resource, ResourcesError};
use crate::serve::Options;
use crate::signalr;
use crate::sites::{self, Fronts, Sites, State, Surroundings, Timing, packages};
use crate::tables::{self, Azurite, Backend};
use crate::topic::{self, Topics};
use crate::vault::{self, Vaults};

/// The file of the state folder with all hosted resources, for tools that look from outside.
pub const LIST: &str = "resources.json";

/// The key of Azurite's well-known account, which its documentation publishes.
const AZURITE_ACCOUNT: &str = "devstoreaccount1";
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Who may read a vault's secrets: Key Vault Secrets User, Secrets Officer, Administrator.
const SECRET_READERS: [&str; 3] = [
    "4633458b-17de-408a-b874-0445c86b69e6",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "00482a5a-887f-4fb3-b363-3b7fe8e74483",
];

/// A router that is replaced while it serves.
#[derive(Clone, Default)]
pub(crate) struct Cell(Arc<RwLock<Option<Router>>>);

impl Cell {
    fn set(&self, router: Option<Router>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    pub(crate) fn router(&self) -> Router {
        let cell = self.clone();
        Router::new().fallback(move |request: Request<Body>| {
            let router = cell.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                match router {
                    Some(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
                    None => (StatusCode::SERVICE_UNAVAILABLE, "nothing is deployed here yet\n").into_response(),
                }
            }
        })
    }
}

/// What makes deployed resources live.
pub(crate) struct Engine {
    options: Options,
    addresses: Addresses,
    issuer: Arc<Issuer>,
    /// Who may do what now.
    authorizer: Authorizer,
    broker: Broker,
    topics: Topics,
    signalr: signalr::Services,
    client: Outbound,
    tables: Cell,
    blobs: Cell,
    vaults: Cell,
    gateway: Cell,
    fronts: Fronts,
    identities: sites::Identities,
    /// Why sites that should run do not, by name.
    failures: RwLock<BTreeMap<String, String>>,
    hosted: Mutex<Hosted>,
    delivery: JoinHandle<()>,
}

/// What is live now.
struct Hosted {
    plan: Plan,
    sites: Option<Sites>,
    stores: BTreeMap<String, EmbeddedStore>,
    containers: Containers,
    /// What the gateway executes.
    service: Option<gateway::Service>,
    /// The list as it was written.
    list: Option<String>,
    /// What was said already.
    told: BTreeSet<String>,
}

impl Host for Engine {
    fn check(&self, before: &[Value], after: &[Value]) -> Result<(), Error> {
        gateway::check(before, after)
    }

    fn apply(&self, resources: Vec<Value>) -> Hosting<'_> {
        Box::pin(async move {
            let mut hosted = self.hosted.lock().await;
            let result = self.bring(&mut hosted, &resources).await;
            result.map_err(|error| Error::new("HostingFailed", format!("{error:#}")))
        })
    }
}

impl Engine {
    /// Hosts nothing yet, on a broker that is open.
    pub(crate) async fn open(
        options: Options,
        addresses: Addresses,
        issuer: Arc<Issuer>,
        broker: Broker,
        client: Outbound,
    ) -> Result<Engine> {
        let authorizer = Authorizer::default();
        let settings = options.topic_settings(authorizer.clone());
        let topics = Topics::open(broker.clone(), settings).await.context("cannot open the topics")?;
        let sites = Sites::new(Surroundings {
            state: options.state.clone(),
            planes: addresses.planes.clone(),
            issuer: issuer.clone(),
            authorizer: Some(authorizer.clone()),
            broker: broker.clone(),
            client: client.clone(),
            timing: Timing::default(),
        });
        let guard = (issuer.clone(), authorizer.clone());
        let (planes, gateway) = (&addresses.planes, &addresses.gateway);
        let signalr = signalr::Services::new(guard, issuer.clone(), client.clone(), planes, gateway);
        Ok(Engine {
            delivery: topics.start(),
            options,
            addresses,
            issuer,
            authorizer,
            broker,
            topics,
            signalr,
            client,
            tables: Cell::default(),
            blobs: Cell::default(),
            vaults: Cell::default(),
            gateway: Cell::default(),
            fronts: sites.fronts(),
            identities: sites.identities(),
            failures: RwLock::default(),
            hosted: Mutex::new(Hosted {
                plan: Plan::default(),
                sites: Some(sites),
                stores: BTreeMap::new(),
                containers: Containers::new(),
                service: None,
                list: None,
                told: BTreeSet::new(),
            }),
        })
    }

    /// The routes of the data planes. They follow what is deployed.
    pub(crate) fn planes(&self) -> Router {
        let issuer = &self.issuer;
        Router::new()
            .merge(identity::router(issuer.clone(), self.identities.clone(), self.addresses.planes.clone()))
            .merge(sites::front::router(self.fronts.clone()))
            .nest(tables::PREFIX, self.tables.router())
            .nest(blobs::PREFIX, self.blobs.router())
            .nest(vault::PREFIX, self.vaults.router())
            .nest(signalr::PREFIX, self.signalr.router())
            .nest(broker::PREFIX, broker::router(self.guard(), self.broker.clone()))
            .nest(topic::PREFIX, topic::router(self.guard(), self.topics.clone()))
    }

    /// Checks tokens and roles.
    fn guard(&self) -> (Arc<Issuer>, Authorizer) {
        (self.issuer.clone(), self.authorizer.clone())
    }

    /// The gateway's routes.
    pub(crate) fn gateway(&self) -> Router {
        self.gateway.router()
    }

    /// The function apps that run, or should.
    pub(crate) fn fronts(&self) -> &Fronts {
        &self.fronts
    }

    /// Why a site that should run does not.
    pub(crate) fn failure(&self, site: &str) -> Option<String> {
        self.failures.read().unwrap_or_else(PoisonError::into_inner).get(site).cloned()
    }

    /// The paths where the gateway takes GraphQL.
    pub(crate) async fn graphs(&self) -> Vec<String> {
        let service = self.hosted.lock().await.service.clone();
        let programs = service.map(|service| service.compile().0);
        programs.iter().flat_map(gateway::Programs::graphql).filter_map(gateway::Api::graphql_path).collect()
    }

    /// Ends all function apps and deliveries.
    pub(crate) async fn stop(&self) {
        self.delivery.abort();
        self.signalr.stop();
        if let Some(sites) = self.hosted.lock().await.sites.take() {
            sites.stop().await;
        }
    }

    async fn bring(&self, hosted: &mut Hosted, resources: &[Value]) -> Result<()> {
        // Roles hold, and hold no longer, without anything being started anew.
        self.authorizer.update(resources);
        let raw = list(resources);
        let text = format!("{:#}\n", serde_json::to_value(&raw)?);
        if hosted.list.as_ref() != Some(&text) {
            let path = self.options.state.join(LIST);
            let beside = path.with_extension("new");
            std::fs::write(&beside, &text).with_context(|| format!("cannot write {}", beside.display()))?;
            std::fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))?;
            hosted.list = Some(text);
        }
        let mut told = BTreeSet::new();
        let plan = plan(resolved(raw.clone(), resources, &mut told), &mut told);
        for news in told.difference(&hosted.told) {
            eprintln!("{news}");
        }
        hosted.told = told;

        // Before the gateway, which sends requests there. After a crash clients are at the door already.
        if let Some(sites) = &hosted.sites {
            sites.expect(&plan.sites);
        }
        self.queues(&raw, &hosted.plan, &plan).await?;
        self.topics(&raw, &plan, &mut hosted.told).await?;
        self.tables(hosted, &plan).await?;
        if plan.containers != hosted.plan.containers {
            // A container that stays keeps its folder's lock.
            let mut containers = blobs::open(
                &self.options.state.join(blobs::FOLDER),
                &plan.containers.iter().filter(|key| !hosted.containers.contains_key(*key)).cloned().collect(),
            )
            .context("cannot open the containers of blobs")?;
            let old = std::mem::take(&mut hosted.containers);
            containers.extend(old.into_iter().filter(|(key, _)| plan.containers.contains(key)));
            hosted.containers = containers;
        }
        self.blobs.set(Some(blobs::router(self.guard(), hosted.containers.clone())));
        if plan.vault_keys != hosted.plan.vault_keys {
            let (folder, keys) = (self.options.state.join("keyvault"), plan.vault_keys.clone());
            let vaults = tokio::task::spawn_blocking(move || Vaults::open(&folder, &keys)).await??;
            self.vaults.set(Some(vault::router(self.guard(), vaults, &self.addresses.planes)));
        }
        self.signalr.replace(&plan.signalr).context("the system gives no random bits")?;
        let granted = grants(resources);
        let service = plan.gateway.as_ref().map(|name| gateway::Service::of(resources, &granted, name));
        if service != hosted.service || plan.website != hosted.plan.website {
            let website = plan.website.clone().map(|account| (account, blobs::WEBSITE.to_owned()));
            let pages = website.and_then(|website| hosted.containers.get(&website)).cloned();
            self.gateway.set(service.clone().map(|service| self.gateway_router(service, pages)));
            hosted.service = service;
        }
        let Some(sites) = &mut hosted.sites else { bail!("the system is stopping") };
        for gone in hosted.plan.sites.iter().filter(|old| !raw.iter().any(|one| one.is_site(&old.name))) {
            let folder = self.options.state.join(packages::FOLDER);
            packages::remove(&folder, &gone.name).with_context(|| format!("the package of {}", gone.name))?;
        }
        sites.apply(&plan.sites).await;
        for failure in sites.failures().filter(|failure| hosted.told.insert(failure.clone())) {
            eprintln!("cannot be run: {failure}");
        }
        let failures = plan.sites.iter().filter_map(|site| Some((site.name.clone(), sites.failure(&site.name)?)));
        *self.failures.write().unwrap_or_else(PoisonError::into_inner) = failures.collect();
        hosted.plan = plan;
        Ok(())
    }

    /// Queues change in place; one is removed with its messages only where its resource is gone.
    async fn queues(&self, raw: &[Resource], old: &Plan, new: &Plan) -> Result<()> {
        for queue in new.queues.iter().filter(|queue| !old.queues.contains(queue)) {
            let name = format!("{}/{}", queue.namespace, queue.name);
            self.broker.declare(&name, queue.settings.clone()).await.with_context(|| format!("queue {name}"))?;
        }
        for name in self.broker.queues().await? {
            if !raw.iter().any(|one| one.is("Microsoft.ServiceBus/namespaces/queues") && one.is_named(&name)) {
                self.broker.remove(&name).await?;
            }
        }
        Ok(())
    }

    async fn topics(&self, raw: &[Resource], plan: &Plan, told: &mut BTreeSet<String>) -> Result<()> {
        let refused = self.topics.replace(
            &plan.topics,
            plan.subscriptions.iter().map(|one| (one.topic.as_str(), one.name.as_str(), &one.properties)),
        );
        for refused in refused {
            let news = format!("kept, not hosted: {refused}");
            if told.insert(news.clone()) {
                eprintln!("{news}");
            }
        }
        // What cannot be hosted for now keeps its deliveries.
        let kept = raw.iter().filter(|one| one.is("Microsoft.EventGrid/topics/eventSubscriptions"));
        self.topics.forget_others(kept.map(|one| one.name.to_ascii_lowercase()).collect()).await?;
        Ok(())
    }

    async fn tables(&self, hosted: &mut Hosted, plan: &Plan) -> Result<()> {
        if plan.accounts == hosted.plan.accounts {
            return Ok(());
        }
        let backend = match &self.options.azurite {
            Some(url) => {
                if url.trim_end_matches('/').rsplit('/').next() != Some(AZURITE_ACCOUNT) {
                    bail!("the table endpoint of Azurite has to end with /{AZURITE_ACCOUNT}, it is {url}");
                }
                let accounts: Vec<(&str, Vec<&str>)> = plan
                    .accounts
                    .iter()
                    .map(|(name, tables)| (name.as_str(), tables.iter().map(String::as_str).collect()))
                    .collect();
                Backend::Azurite(Azurite::open(url, AZURITE_ACCOUNT, AZURITE_KEY, accounts).await?)
            }
            None => {
                hosted.stores.retain(|account, _| plan.accounts.contains_key(account));
                for (account, names) in &plan.accounts {
                    if let Some(store) = hosted.stores.get(account) {
                        for table in names {
                            store.create_table(table).await.with_context(|| format!("table {account}/{table}"))?;
                        }
                        continue;
                    }
                    let (folder, name) = (self.options.state.join("tables"), format!("{account}.db"));
                    let names: Vec<String> = names.iter().cloned().collect();
                    let store = tokio::task::spawn_blocking(move || {
                        std::fs::create_dir_all(&folder)
                            .with_context(|| format!("cannot make {}", folder.display()))?;
                        let names: Vec<&str> = names.iter().map(String::as_str).collect();
                        EmbeddedStore::open(folder.join(&name), &names)
                            .with_context(|| format!("cannot open the tables in {}", folder.display()))
                    });
                    hosted.stores.insert(account.clone(), store.await??);
                }
                Backend::Embedded(hosted.stores.clone())
            }
        };
        self.tables.set(Some(tables::router(self.guard(), backend)));
        Ok(())
    }

    fn gateway_router(&self, service: gateway::Service, pages: Option<Folder>) -> Router {
        let fronts = self.fronts.clone();
        let (router, faults) = gateway::router(gateway::Config {
            service,
            issuer: self.issuer.clone(),
            client: self.client.clone(),
            base: self.addresses.gateway.clone(),
            planes: self.addresses.planes.clone(),
            pages,
            state: self.options.state.display().to_string(),
            healthy: Arc::new(move || {
                let sites = fronts.read().unwrap_or_else(PoisonError::into_inner);
                sites
                    .values()
                    .all(|site| site.as_ref().is_some_and(|site| site.state().is_none_or(|state| is_ready(&state))))
            }),
        });
        for fault in faults {
            eprintln!("kept, not hosted: {fault}");
        }
        router
    }
}

pub(crate) fn is_ready(state: &State) -> bool {
    matches!(state, State::Ready { .. })
}

/// What can be hosted. The rest is kept, and said aloud.
fn plan(mut list: Vec<Resource>, told: &mut BTreeSet<String>) -> Plan {
    loop {
        let ResourcesError { kind, name, why } = match Plan::of(&list) {
            Ok(plan) => return plan,
            Err(error) => error,
        };
        told.insert(format!("kept, not hosted: {kind} {name}: {why}"));
        let before = list.len();
        list.retain(|one| one.kind != kind || one.name != name);
        if list.len() == before {
            return Plan::default();
        }
    }
}

/// The resources that may be hosted, as a list: app settings with their site.
fn list(resources: &[Value]) -> Vec<Resource> {
    let text = |body: &Value, key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let mut settings: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for body in resources {
        if text(body, "type").eq_ignore_ascii_case("Microsoft.Web/sites/config")
            && let Some(site) = text(body, "name").to_lowercase().strip_suffix("/appsettings")
        {
            settings.insert(site.to_owned(), body["properties"].as_object().cloned().unwrap_or_default());
        }
    }
    let mut list = Vec::new();
    for body in resources {
        let (kind, name) = (text(body, "type"), text(body, "name"));
        if !Plan::hosts(&kind, &name) {
            continue;
        }
        let mut properties = body["properties"].clone();
        if kind.eq_ignore_ascii_case("Microsoft.Web/sites")
            && let Some(own) = settings.get(&name.to_lowercase())
        {
            let own = own.iter().filter(|(key, _)| *key != "provisioningState");
            let own: Vec<Value> = own.map(|(name, value)| json!({"name": name, "value": value})).collect();
            properties["siteConfig"]["appSettings"] = own.into();
        }
        list.push(Resource { kind, name, identity: body["identity"].clone(), properties });
    }
    list
}

/// The list with the values of secrets where app settings refer to them. A reference that cannot be followed stays as it
/// is, as on Azure, and is said aloud.
fn resolved(mut list: Vec<Resource>, resources: &[Value], told: &mut BTreeSet<String>) -> Vec<Resource> {
    let granted = grants(resources);
    for site in &mut list {
        if !site.is("Microsoft.Web/sites") {
            continue;
        }
        let principal = reference_principal(site);
        let name = site.name.clone();
        let settings = site.properties.pointer_mut("/siteConfig/appSettings").and_then(Value::as_array_mut);
        for setting in settings.into_iter().flatten() {
            let Some(reference) = setting["value"].as_str().filter(|text| text.starts_with("@Microsoft.KeyVault("))
            else {
                continue;
            };
            match secret(reference, principal.as_deref(), resources, &granted) {
                Ok(value) => setting["value"] = value.into(),
                Err(why) => {
                    let setting = setting["name"].as_str().unwrap_or_default();
                    told.insert(format!("the setting {setting} of {name} stays a reference: {why}"));
                }
            }
        }
    }
    list
}

/// Who reads the secrets of a site.
fn reference_principal(site: &Resource) -> Option<String> {
    let principal = |about: &Value| about["principalId"].as_str().map(str::to_owned);
    match site.properties["keyVaultReferenceIdentity"].as_str() {
        Some(id) if !id.eq_ignore_ascii_case("SystemAssigned") => {
            let assigned = site.identity["userAssignedIdentities"].as_object()?;
            assigned.iter().find(|(own, _)| own.eq_ignore_ascii_case(id)).and_then(|(_, about)| principal(about))
        }
        _ => principal(&site.identity),
    }
}

/// The value of a secret, for whom it is granted.
pub(crate) fn secret(
    reference: &str,
    principal: Option<&str>,
    resources: &[Value],
    granted: &[Grant],
) -> Result<String, String> {
    let inner = reference.trim_start_matches("@Microsoft.KeyVault(").trim_end_matches(')');
    let (mut vault, mut name) = (None, None);
    for (key, value) in inner.split(';').filter_map(|pair| pair.split_once('=')) {
        match key.trim() {
            "VaultName" => vault = Some(value.trim().to_owned()),
            "SecretName" => name = Some(value.trim().to_owned()),
            "SecretUri" => {
                // https://{vault}.vault.azure.net/secrets/{name}, here …/{vault}/secrets/{name}
                let (before, after) = value.split_once("/secrets/").ok_or("its SecretUri names no secret")?;
                let host = before.rsplit('/').next().unwrap_or_default();
                vault = Some(host.split('.').next().unwrap_or_default().to_owned());
                name = after.split('/').next().map(str::to_owned);
            }
            _ => {}
        }
    }
    let (Some(vault), Some(name)) = (vault, name) else { return Err(format!("{reference} names no secret")) };
    let full = format!("{vault}/{name}");
    let found = resources.iter().find(|body| {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        text("type").eq_ignore_ascii_case("Microsoft.KeyVault/vaults/secrets")
            && text("name").eq_ignore_ascii_case(&full)
    });
    let found = found.ok_or_else(|| format!("there is no secret {full}"))?;
    let principal = principal.ok_or("the site has no identity that reads secrets")?;
    let id = found["id"].as_str().unwrap_or_default();
    let may = granted.iter().any(|grant| {
        grant.principal.eq_ignore_ascii_case(principal)
            && SECRET_READERS.contains(&grant.role.as_str())
            && grant.covers(id)
    });
    if !may {
        return Err(format!("{principal} has no role to read the secret {full}"));
    }
    found["properties"]["value"].as_str().map(str::to_owned).ok_or_else(|| format!("the secret {full} has no value"))
}

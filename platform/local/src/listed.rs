//! A list of resources in ARM's shape, hosted as it is: what `cargo xtask up` runs. It has no role assignments, so none are
//! asked for, and it does not change while it is served.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::blobs;
use crate::broker::{self, Broker, SystemClock};
use crate::gateway;
use crate::hosting::{AZURITE_ACCOUNT, AZURITE_KEY, is_ready};
use crate::identity::{self, Issuer};
use crate::outbound::{self, Outbound};
use crate::resources::{self, Plan, Resource};
use crate::serve::{CLOSE_LIMIT, Options, READY_POLL, START_LIMIT, base, bind, listen, lock, readiness};
use crate::sites::{self, Site, Sites, Surroundings, Timing, packages};
use crate::tables::{self, Azurite, Backend};
use crate::topic::{self, Topics};
use crate::vault::{self, Vaults};

/// Serves until `stop` says so. Prints `ready http://127.0.0.1:N` to stdout once everything answers.
///
/// # Errors
/// Anything that keeps the list from being hosted. Nothing is left running then.
pub(crate) async fn serve(options: &Options, list: &Path, mut stop: watch::Receiver<bool>) -> Result<()> {
    let _lock = lock(&options.state)?;
    // Absolute, since the workers are started in folders of their own.
    let state = options.state.canonicalize().with_context(|| format!("cannot find {}", options.state.display()))?;
    let options = &Options { state, ..options.clone() };
    let text = std::fs::read(list).with_context(|| format!("cannot read the list of resources {}", list.display()))?;
    let resources: Vec<Resource> =
        serde_json::from_slice(&text).with_context(|| format!("{} is no list of resources", list.display()))?;
    for kept in resources.iter().filter(|one| !Plan::hosts(&one.kind, &one.name)) {
        eprintln!("kept, not hosted: {} {}", kept.kind, kept.name);
    }
    let plan = Plan::of(&resources)?;
    let planes_port = planes_port(&resources, options.planes_port)?;
    let planes_listener = bind(planes_port, "the planes").await?;
    let planes_base = base(&planes_listener)?;
    let gateway_listener = bind(options.port, "the gateway").await?;
    let gateway_base = base(&gateway_listener)?;

    let folder = options.state.join("identity");
    let issuer = Arc::new(tokio::task::spawn_blocking(move || Issuer::open(&folder)).await??);
    let broker = Broker::open(&options.state.join("broker.db"), SystemClock::shared())
        .with_context(|| format!("cannot open the broker in {}", options.state.display()))?;
    for queue in &plan.queues {
        let name = format!("{}/{}", queue.namespace, queue.name);
        broker.declare(&name, queue.settings.clone()).await.with_context(|| format!("queue {name}"))?;
    }
    let topics = topics(options, &plan, &broker).await?;
    let tables = tables_backend(options, &plan).await?;
    let folder = options.state.join(blobs::FOLDER);
    let containers = blobs::open(&folder, &plan.containers)
        .with_context(|| format!("cannot open the blobs in {}", folder.display()))?;
    let (folder, keys) = (options.state.join("keyvault"), plan.vault_keys.clone());
    let vaults = tokio::task::spawn_blocking(move || Vaults::open(&folder, &keys)).await??;
    let client = outbound::client();

    let surroundings = Surroundings {
        state: options.state.clone(),
        planes: planes_base.clone(),
        issuer: issuer.clone(),
        authorizer: None,
        broker: broker.clone(),
        client: client.clone(),
        timing: Timing::default(),
    };
    for site in &plan.sites {
        adopt(&options.state.join(packages::FOLDER), &site.name)
            .with_context(|| format!("the package of {}", site.name))?;
    }
    let mut sites = Sites::new(surroundings);
    sites.apply(&plan.sites).await;
    let missing = plan.sites.iter().find(|site| sites.get(&site.name).is_none());
    if let Some(site) = missing {
        let why = sites.failure(&site.name);
        let why = why.unwrap_or_else(|| format!("site {} cannot be run: cannot read its package", site.name));
        sites.stop().await;
        bail!(why);
    }
    let planes = Router::new()
        .merge(identity::router(issuer.clone(), sites.identities(), planes_base.clone()))
        .merge(sites::front::router(sites.fronts()))
        .nest(tables::PREFIX, tables::router(issuer.clone(), tables))
        .nest(blobs::PREFIX, blobs::router(issuer.clone(), containers))
        .nest(broker::PREFIX, broker::router(issuer.clone(), broker.clone()))
        .nest(topic::PREFIX, topic::router(issuer.clone(), topics.clone()))
        .nest(vault::PREFIX, vault::router(issuer.clone(), vaults, &planes_base));
    let mut servers = vec![listen(planes_listener, planes, stop.clone())];
    let delivery = topics.start();
    if let Some(gateway) = &plan.gateway {
        let running: Vec<Arc<Site>> = sites.all().cloned().collect();
        let config = gateway::Config {
            service: gateway::listed::service(&resources, gateway, &planes_base)?,
            issuer,
            client: client.clone(),
            base: gateway_base.clone(),
            state: options.state.display().to_string(),
            healthy: Arc::new(move || running.iter().all(|site| site.state().is_none_or(|state| is_ready(&state)))),
        };
        let (router, faults) = gateway::router(config);
        if let Some(fault) = faults.first() {
            bail!("{fault}");
        }
        servers.push(listen(gateway_listener, router, stop.clone()));
    } else {
        eprintln!("the list has no gateway, so nothing listens on {gateway_base}");
    }

    let mut stopping = stop.clone();
    let started = tokio::select! {
        started = all_ready(&sites, &client, &planes_base, &options.state) => started,
        _ = stopping.wait_for(|stop| *stop) => Ok(()),
    };
    if started.is_ok() && !*stop.borrow() {
        announce(&plan.sites, &gateway_base, &planes_base);
        println!("ready {gateway_base}");
        std::io::stdout().flush().context("cannot write to stdout")?;
        let _ = stop.wait_for(|stop| *stop).await;
        eprintln!("stopping");
    }

    sites.stop().await;
    delivery.abort();
    for server in servers {
        let abort = server.abort_handle();
        if tokio::time::timeout(CLOSE_LIMIT, server).await.is_err() {
            abort.abort();
        }
    }
    started
}

/// What people want to know, on stderr.
fn announce(sites: &[resources::Site], gateway: &str, planes: &str) {
    eprintln!("gateway     {gateway}");
    let mut services: Vec<&str> =
        sites.iter().filter_map(|site| site.settings.get("SKEIN_SERVICE")).map(String::as_str).collect();
    services.dedup();
    for service in services {
        eprintln!("  GraphiQL  {gateway}/{service}/graphql");
    }
    eprintln!("planes      {planes}");
}

/// The port of the planes: the list holds addresses, so that both have to agree.
fn planes_port(list: &[Resource], given: Option<u16>) -> Result<u16> {
    let backends = list.iter().filter(|one| one.is("Microsoft.ApiManagement/service/backends"));
    let mut named = None;
    for url in backends.filter_map(|backend| backend.properties["url"].as_str()) {
        let port = url.parse::<axum::http::Uri>().ok().and_then(|uri| uri.port_u16());
        let wanted = *named.get_or_insert(port);
        if wanted != port {
            bail!("the list names two ports for the planes, {wanted:?} and {port:?}");
        }
    }
    match (named.flatten(), given) {
        (Some(named), Some(given)) if named != given => {
            bail!("the list was written for planes on port {named}, not {given}")
        }
        (named, given) => Ok(given.or(named).unwrap_or(0)),
    }
}

/// Makes the zip beside which its digest is written the site's package.
fn adopt(folder: &Path, site: &str) -> Result<()> {
    let zip = folder.join(format!("{site}.zip"));
    let text = match std::fs::read_to_string(zip.with_extension("zip.sha256")) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("its digest cannot be read"),
    };
    let digest = text.split_whitespace().next().unwrap_or_default().to_owned();
    if packages::current(folder, site)?.is_some_and(|record| record.digest == digest) {
        return Ok(());
    }
    let draft = packages::draft(folder, site)?;
    std::fs::hard_link(&zip, &draft).with_context(|| format!("cannot link {}", zip.display()))?;
    let record = packages::Record { id: digest.clone(), digest, deployer: "up".into(), received: String::new() };
    Ok(packages::accept(folder, site, &draft, &record)?)
}

async fn topics(options: &Options, plan: &Plan, broker: &Broker) -> Result<Topics> {
    let topics = Topics::open(broker.clone(), options.topic_settings(None)).await.context("cannot open the topics")?;
    for (topic, principal) in &plan.topics {
        topics.declare_topic(topic);
        if let Some(principal) = principal {
            topics.set_principal(topic, principal);
        }
    }
    for subscription in &plan.subscriptions {
        topics
            .declare_subscription(&subscription.topic, &subscription.name, &subscription.properties)
            .with_context(|| format!("subscription {}/{}", subscription.topic, subscription.name))?;
    }
    Ok(topics)
}

async fn tables_backend(options: &Options, plan: &Plan) -> Result<Backend> {
    let accounts = plan.accounts.clone();
    let names = |accounts: &BTreeMap<String, std::collections::BTreeSet<String>>| {
        let names = accounts.iter().map(|(account, tables)| (account.clone(), tables.iter().cloned().collect()));
        names.collect::<Vec<(String, Vec<String>)>>()
    };
    let accounts = names(&accounts);
    if let Some(url) = &options.azurite {
        if url.trim_end_matches('/').rsplit('/').next() != Some(AZURITE_ACCOUNT) {
            bail!("the table endpoint of Azurite has to end with /{AZURITE_ACCOUNT}, it is {url}");
        }
        let accounts: Vec<(&str, Vec<&str>)> = accounts
            .iter()
            .map(|(name, tables)| (name.as_str(), tables.iter().map(String::as_str).collect()))
            .collect();
        let azurite = Azurite::open(url, AZURITE_ACCOUNT, AZURITE_KEY, accounts).await?;
        return Ok(Backend::Azurite(azurite));
    }
    let folder = options.state.join("tables");
    let opened = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let accounts =
            accounts.iter().map(|(name, tables)| (name.as_str(), tables.iter().map(String::as_str).collect()));
        Backend::embedded(&folder, accounts).with_context(|| format!("cannot open the tables in {}", folder.display()))
    });
    opened.await?
}

/// Waits until every function app says that it is ready, through its front.
async fn all_ready(sites: &Sites, client: &Outbound, planes: &str, state: &Path) -> Result<()> {
    let until = Instant::now() + START_LIMIT;
    for site in sites.all() {
        while let Err(why) = readiness(site, client, planes).await {
            if Instant::now() > until {
                let log = state.join("logs").join(format!("{}.log", site.name));
                bail!("{} is not ready: {why}; see {}", site.name, log.display());
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
    Ok(())
}

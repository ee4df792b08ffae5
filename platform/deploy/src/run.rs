//! The commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Instant;

use azure_core::http::Method;
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::Client;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::layers::{self, Layer, Outputs, steps};
use crate::packages::{self, Site};
use crate::pages::{self, Pages, Website};
use crate::plan::{self, Count};
use crate::{Options, Task, input};

/// The exit code of a plan or a comparison that found changes.
const CHANGES: u8 = 3;

/// The tag that tells what a deployment was made of.
const DIGEST: &str = "skein-digest";

/// How a layer's deployment began.
enum Begun {
    /// It is there already, with these outputs.
    Unchanged(Outputs),
    Running,
}

struct Run<'a> {
    options: &'a Options,
    environment: Environment,
    client: Client,
    layers: Vec<Layer>,
    colour: bool,
    begun: Instant,
}

/// Does what the command line says; the exit code.
pub(crate) async fn run(options: &Options) -> Result<u8, Failure> {
    let mut environment = Environment::read(&options.environments, &options.env)?;
    if let Some(endpoint) = &options.endpoint {
        environment.endpoint = endpoint.trim_end_matches('/').to_owned();
    }
    let layers = layers::read(&options.rendered)?;
    environment.check(&layers)?;
    steps(&layers, options.layer.as_deref())?;
    let client = Client::open(&environment.endpoint, &options.state)?;
    if !client.is_local() {
        environment.filled()?;
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let run = Run { options, environment, client, layers, colour, begun: Instant::now() };
    match options.task {
        Task::Plan | Task::Drift => or_interrupted("nothing was changed", run.plan()).await,
        Task::Deploy => run.deploy().await,
        Task::Outputs => or_interrupted("nothing was changed", run.outputs()).await,
        Task::Down => or_interrupted("what is not removed yet stays; the same command goes on", run.down()).await,
    }
}

/// Does something until it is done or somebody presses Ctrl-C.
async fn or_interrupted<T>(what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted { what: what.to_owned() }),
    }
}

impl Run<'_> {
    fn path(&self, layer: &Layer) -> String {
        let name = layer.deployment();
        format!("/subscriptions/{}/providers/Microsoft.Resources/deployments/{name}", self.environment.subscription)
    }

    /// What the local control plane's addresses say, where no environment can: its port is any.
    fn local_values(&self) -> Map<String, Value> {
        let mut values = Map::new();
        if self.client.is_local() {
            values.insert("signalrUrl".into(), "http://{0}".into());
            values.insert("siteUrl".into(), format!("{}/sites/{{0}}", self.environment.endpoint).into());
        }
        values
    }

    fn result(&self, value: &Value) {
        if self.options.json {
            println!("{value:#}");
        }
    }

    /// The outputs of every layer that is deployed, whichever is asked about.
    async fn known_outputs(&self) -> Result<BTreeMap<String, Outputs>, Failure> {
        let mut known = BTreeMap::new();
        for layer in &self.layers {
            if let Some(deployment) = self.client.find(&layer.name, &self.path(layer)).await?
                && let Some(outputs) = deployment["properties"]["outputs"].as_object()
            {
                known.insert(layer.name.clone(), outputs.clone());
            }
        }
        Ok(known)
    }

    fn request(&self, layer: &Layer, values: &Value) -> Value {
        json!({
            "location": self.environment.location,
            "tags": {DIGEST: layer.digest(values, &self.environment.endpoint)},
            "properties": {"mode": "Incremental", "template": layer.template, "parameters": values},
        })
    }

    async fn plan(&self) -> Result<u8, Failure> {
        let outputs = self.known_outputs().await?;
        let drift = self.options.task == Task::Drift;
        let mut results = Map::new();
        let mut total = Count::default();
        for layer in steps(&self.layers, self.options.layer.as_deref())?.into_iter().flatten() {
            let values = match layer.values(&self.environment, &outputs, &self.local_values()) {
                Ok(values) => values,
                // What an earlier layer of the same plan would bring is not known before it is deployed.
                Err(failure)
                    if self.options.layer.is_none()
                        && layer.after().iter().any(|name| !outputs.contains_key(*name)) =>
                {
                    eprintln!("{}\n  planned once {} is deployed ({failure})", layer.name, layer.after().join(" and "));
                    total.create += 1;
                    results.insert(layer.name.clone(), json!({"status": "Waiting", "after": layer.after()}));
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let mut request = self.request(layer, &values);
            request["properties"]["whatIfSettings"] = json!({"resultFormat": "FullResourcePayloads"});
            let what = format!("{}: what-if", layer.name);
            let answer =
                self.client.send(&what, Method::Post, &format!("{}/whatIf", self.path(layer)), Some(&request)).await?;
            let result = self.client.wait(&what, answer).await?;
            if result["status"].as_str() == Some("Failed") {
                return Err(Failure::Refused { what, status: 0, error: result["error"].clone() });
            }
            let changes = result["properties"]["changes"].as_array().cloned().unwrap_or_default();
            let count = Count::of(&changes);
            total.create += count.create;
            total.modify += count.modify;
            total.delete += count.delete;
            eprint!("{}", plan::text(&layer.name, &changes, self.colour));
            let mut result = result["properties"].clone();
            if let Some(own) = outputs.get(&layer.name) {
                let packages = self.compare_packages(layer, own).await?;
                total.modify += packages.iter().filter(|package| package["changeType"] == "Modify").count();
                if !packages.is_empty() {
                    result["packages"] = packages.into();
                }
                if pages::are_shown(own) {
                    let pages = self.compare_pages(own).await?;
                    total.modify += pages.len();
                    result["pages"] = pages.into();
                }
            }
            results.insert(layer.name.clone(), result);
        }
        self.result(&results.into());
        if total.none() {
            eprintln!("{}", if drift { "nothing differs from what was rendered" } else { "nothing to do" });
            return Ok(0);
        }
        if drift {
            eprintln!(
                "what is deployed differs from what was rendered; `deploy` puts it right, with --again where nothing new was rendered"
            );
        }
        Ok(CHANGES)
    }

    /// What a deployed layer's apps run, beside the packages in the folder. Without packages there is nothing to compare.
    async fn compare_packages(&self, layer: &Layer, outputs: &Outputs) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for name in layers::sites(outputs) {
            let Some(package) = packages::find(&self.options.packages, name)? else {
                eprintln!("  ? {name}: no package in {} to compare with", self.options.packages.display());
                continue;
            };
            let site = match self.site(layer, outputs, name).await {
                Ok(site) => site,
                // It is going to be made, and its package published: the resource's own line says so.
                Err(Failure::Refused { status: 404, .. }) => continue,
                Err(failure) => return Err(failure),
            };
            let runs = match site.digest(&self.client).await {
                Ok(runs) => runs,
                // Whoever plans may look at resources and not at what apps run.
                Err(Failure::Refused { status: status @ (401 | 403), .. }) => {
                    eprintln!("  ? {name}: who plans may not see its package (HTTP {status})");
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let same = runs.as_ref() == Some(&package.digest);
            if !same {
                eprintln!("{}", plan::package(name, runs.as_deref(), &package.digest, self.colour));
            }
            let kind = if same { "NoChange" } else { "Modify" };
            found.push(json!({"site": name, "changeType": kind, "before": runs, "after": package.digest}));
        }
        Ok(found)
    }

    async fn deploy(&self) -> Result<u8, Failure> {
        let chosen = steps(&self.layers, self.options.layer.as_deref())?;
        // Before anything is deployed that would then wait for its code.
        for layer in chosen.iter().flatten().filter(|layer| layer.has_sites() && self.options.wait) {
            if !self.options.packages.is_dir() {
                let why = format!("there are no packages for {} in {}", layer.name, self.options.packages.display());
                return Err(input(why, "write them: `cargo xtask package all`, or give --packages DIR"));
            }
        }
        let mut outputs = or_interrupted("nothing was changed", self.known_outputs()).await?;
        let mut results = Map::new();
        let mut changed = false;
        for step in chosen {
            let done = try_join_all(step.iter().map(|layer| self.deploy_layer(layer, &outputs))).await?;
            for (layer, (status, own)) in step.iter().zip(done) {
                changed |= status != "Unchanged";
                results.insert(layer.name.clone(), json!({"status": status, "outputs": own}));
                outputs.insert(layer.name.clone(), own);
            }
        }
        if !changed {
            eprintln!("nothing to do");
        }
        self.result(&results.into());
        Ok(0)
    }

    /// Deploys a layer, then the code of its apps.
    async fn deploy_layer(
        &self,
        layer: &Layer,
        outputs: &BTreeMap<String, Outputs>,
    ) -> Result<(&'static str, Outputs), Failure> {
        let stays = "what is deployed stays; the same command goes on";
        // From here on no Ctrl-C is lost, whatever is being waited for when it comes.
        let mut interrupts = signal(SignalKind::interrupt())
            .map_err(|error| input(format!("Ctrl-C cannot be heard: {error}"), "try again"))?;
        let (mut status, mut own) = match or_interrupted(stays, self.begin_layer(layer, outputs)).await? {
            Begun::Unchanged(outputs) => ("Unchanged", outputs),
            Begun::Running if self.options.wait => ("Succeeded", Outputs::new()),
            Begun::Running => return Ok(("Running", Outputs::new())),
        };
        if status != "Unchanged" {
            own = self.follow(layer, &self.path(layer), &mut interrupts).await?;
        }
        let sites = layers::sites(&own);
        let shipped = try_join_all(sites.iter().map(|site| self.ship(layer, &own, site)));
        if or_interrupted(stays, shipped).await?.contains(&true) {
            status = "Succeeded";
        }
        if pages::are_shown(&own) && or_interrupted(stays, self.publish_pages(layer, &own)).await? {
            status = "Succeeded";
        }
        Ok((status, own))
    }

    /// Uploads the pages that are not there yet; whether there were any.
    async fn publish_pages(&self, layer: &Layer, outputs: &Outputs) -> Result<bool, Failure> {
        let pages = Pages::read(&self.options.packages, outputs)?;
        let website = Website::of(&self.client, outputs)?;
        let waits = |why: &str| self.row(&layer.name, "Running", &format!("waiting until pages can be written: {why}"));
        let (written, removed) = website.publish(&pages, waits).await?;
        let same = written + removed == 0;
        let what = match same {
            true => format!("{} shows its pages", website.account()),
            false => format!("{} shows its new pages: {written} files written, {removed} removed", website.account()),
        };
        self.row(&layer.name, if same { "unchanged" } else { "Succeeded" }, &what);
        Ok(!same)
    }

    /// What the website of a deployed layer shows, beside the pages in the folder.
    async fn compare_pages(&self, outputs: &Outputs) -> Result<Vec<Value>, Failure> {
        let website = Website::of(&self.client, outputs)?;
        let account = website.account();
        if !pages::are_packaged(&self.options.packages) {
            eprintln!("  ? {account}: no pages in {} to compare with", self.options.packages.display());
            return Ok(Vec::new());
        }
        let pages = Pages::read(&self.options.packages, outputs)?;
        let (written, removed) = match website.differences(&pages).await {
            Ok(differences) => differences,
            // As with packages: it is going to be made, or who plans may not look into it.
            Err(Failure::Refused { status: 404, .. }) => {
                eprintln!("  ? {account}: no website is there to compare pages with (HTTP 404)");
                return Ok(Vec::new());
            }
            Err(Failure::Refused { status: 403, .. }) => {
                eprintln!("  ? {account}: who plans may not see its pages (HTTP 403)");
                return Ok(Vec::new());
            }
            // An account that somebody deleted has no address any more.
            Err(Failure::Unreachable { why, .. }) => {
                eprintln!("  ? {account}: its pages cannot be looked at: {why}");
                return Ok(Vec::new());
            }
            Err(failure) => return Err(failure),
        };
        let all =
            written.into_iter().map(|path| (path, "Modify")).chain(removed.into_iter().map(|path| (path, "Delete")));
        let told = all.map(|(path, kind)| {
            eprintln!("{}", plan::page(account, &path, kind, self.colour));
            json!({"account": account, "page": path, "changeType": kind})
        });
        Ok(told.collect())
    }

    /// Publishes the package of an app where it does not run it yet, and waits until it is ready; whether it published.
    async fn ship(&self, layer: &Layer, outputs: &Outputs, name: &str) -> Result<bool, Failure> {
        let client = &self.client;
        let site = self.site(layer, outputs, name).await?;
        let Some(package) = packages::find(&self.options.packages, name)? else {
            let why = format!("there is no package for {name} in {}", self.options.packages.display());
            return Err(input(why, "write it: `cargo xtask package all`, or give --packages DIR"));
        };
        let has = site.has(client, &package).await?;
        if !has {
            self.row(&layer.name, "Running", &format!("publishing the package of {name}"));
            site.publish(client, &package).await?;
        }
        site.ready(client).await?;
        let what = if has { "runs its package" } else { "runs its new package, and is ready" };
        self.row(&layer.name, if has { "unchanged" } else { "Succeeded" }, &format!("{name} {what}"));
        Ok(!has)
    }

    async fn site(&self, layer: &Layer, outputs: &Outputs, name: &str) -> Result<Site, Failure> {
        let group = layers::output_of(outputs, "group").and_then(Value::as_str).ok_or_else(|| {
            let why = format!("{}: the output \"group\", which says where {name} is, is missing", layer.name);
            input(why, "render again")
        })?;
        Site::look(&self.client, &self.environment.subscription, group, name).await
    }

    fn row(&self, layer: &str, state: &str, what: &str) {
        let code = match state {
            "Succeeded" | "unchanged" => "32",
            "Failed" | "Canceled" => "31",
            _ => "36",
        };
        let seconds = self.begun.elapsed().as_secs_f64();
        let state = if self.colour { format!("\x1b[{code}m{state:<10}\x1b[0m") } else { format!("{state:<10}") };
        eprintln!("{seconds:>7.1}s  {layer:<12} {state} {what}");
    }

    /// Begins a layer's deployment, where it is not what was deployed last.
    async fn begin_layer(&self, layer: &Layer, outputs: &BTreeMap<String, Outputs>) -> Result<Begun, Failure> {
        let values = layer.values(&self.environment, outputs, &self.local_values())?;
        let request = self.request(layer, &values);
        let path = self.path(layer);
        let old = self.client.find(&layer.name, &path).await?;
        let state =
            |deployment: &Value| deployment["properties"]["provisioningState"].as_str().unwrap_or_default().to_owned();
        let same = old.as_ref().is_some_and(|old| old["tags"][DIGEST] == request["tags"][DIGEST]);
        match old.as_ref().map(state).as_deref() {
            Some("Succeeded") if same && !self.options.again && self.is_there(layer, old.as_ref()).await? => {
                self.row(&layer.name, "unchanged", "template and parameters are those of the last deployment");
                let outputs = old.unwrap_or_default()["properties"]["outputs"].as_object().cloned().unwrap_or_default();
                return Ok(Begun::Unchanged(outputs));
            }
            // A client before this one was killed: its deployment is ours.
            Some("Running" | "Accepted") if same => self.row(&layer.name, "Running", "goes on, from an earlier call"),
            Some("Running" | "Accepted") => {
                let error = json!({"error": {"code": "DeploymentActive", "message": "another deployment of this layer is running"}});
                return Err(Failure::Refused { what: layer.name.clone(), status: 409, error });
            }
            _ => {
                let what = format!("{}: validation", layer.name);
                let answer = self.client.send(&what, Method::Post, &format!("{path}/validate"), Some(&request)).await?;
                let result = self.client.wait(&what, answer).await?;
                if result["error"].is_object() {
                    return Err(Failure::Refused { what, status: 400, error: result });
                }
                let what = format!("{}: deployment", layer.name);
                self.client.send(&what, Method::Put, &path, Some(&request)).await?;
                self.row(&layer.name, "Accepted", &layer.deployment());
            }
        }
        Ok(Begun::Running)
    }

    /// Whether the resource group of a deployment is still there: the record of a deployment to a subscription outlives
    /// what was deployed.
    async fn is_there(&self, layer: &Layer, deployment: Option<&Value>) -> Result<bool, Failure> {
        let outputs = deployment.and_then(|one| one["properties"]["outputs"].as_object());
        let names = ["group".to_owned(), format!("{}Group", layer.name)];
        let group = outputs.and_then(|all| names.iter().find_map(|name| layers::output_of(all, name)));
        let Some(group) = group.and_then(Value::as_str) else {
            return Ok(true);
        };
        let path = format!("/subscriptions/{}/resourceGroups/{group}", self.environment.subscription);
        Ok(self.client.find(&layer.name, &path).await?.is_some())
    }

    /// Follows a deployment to its end, a row for each resource.
    async fn follow(&self, layer: &Layer, path: &str, interrupts: &mut Signal) -> Result<Outputs, Failure> {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        loop {
            let deployment = self.client.send(&layer.name, Method::Get, path, None).await?;
            let wait = deployment.retry_after();
            self.operations(layer, path, &mut seen).await?;
            let properties = &deployment.body["properties"];
            match properties["provisioningState"].as_str().unwrap_or_default().to_lowercase().as_str() {
                "succeeded" => {
                    self.row(&layer.name, "Succeeded", &layer.deployment());
                    return Ok(properties["outputs"].as_object().cloned().unwrap_or_default());
                }
                "failed" => {
                    self.row(&layer.name, "Failed", &layer.deployment());
                    let error = properties["error"].clone();
                    return Err(Failure::Refused { what: layer.name.clone(), status: 0, error });
                }
                "canceled" => {
                    self.row(&layer.name, "Canceled", &layer.deployment());
                    return Err(Failure::Interrupted { what: format!("{} was cancelled", layer.name) });
                }
                _ => {}
            }
            tokio::select! {
                () = tokio::time::sleep(wait.min(std::time::Duration::from_secs(5))) => {}
                _ = interrupts.recv() => {
                    eprintln!("Ctrl-C: again within 3 seconds cancels {}; otherwise it goes on without us", layer.name);
                    tokio::select! {
                        _ = interrupts.recv() => {
                            let what = format!("{}: cancelling", layer.name);
                            self.client.send(&what, Method::Post, &format!("{path}/cancel"), None).await?;
                        }
                        () = tokio::time::sleep(std::time::Duration::from_secs(3)) => {
                            let what = format!("{} goes on; the same command follows it again", layer.deployment());
                            return Err(Failure::Interrupted { what });
                        }
                    }
                }
            }
        }
    }

    async fn operations(&self, layer: &Layer, path: &str, seen: &mut BTreeSet<String>) -> Result<(), Failure> {
        let mut next = Some(format!("{path}/operations"));
        while let Some(page) = next {
            let answer = self.client.send(&layer.name, Method::Get, &page, None).await?.body;
            for operation in answer["value"].as_array().into_iter().flatten() {
                let properties = &operation["properties"];
                let state = properties["provisioningState"].as_str().unwrap_or_default();
                let target = properties["targetResource"]["id"].as_str().unwrap_or_default();
                if target.is_empty() || !seen.insert(format!("{target} {state}")) {
                    continue;
                }
                let kind = properties["targetResource"]["resourceType"].as_str().unwrap_or_default();
                let name = properties["targetResource"]["resourceName"].as_str().unwrap_or_default();
                self.row(&layer.name, state, &format!("{kind} {name}"));
            }
            next = answer["nextLink"].as_str().map(str::to_owned);
        }
        Ok(())
    }

    async fn outputs(&self) -> Result<u8, Failure> {
        let known = self.known_outputs().await?;
        let mut results = Map::new();
        for layer in steps(&self.layers, self.options.layer.as_deref())?.into_iter().flatten() {
            let Some(outputs) = known.get(&layer.name) else {
                eprintln!("{} is not deployed", layer.name);
                continue;
            };
            let values: Map<String, Value> =
                outputs.iter().map(|(name, output)| (name.clone(), output["value"].clone())).collect();
            if !self.options.json {
                for (name, value) in &values {
                    println!(
                        "{}.{name}={}",
                        layer.name,
                        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                    );
                }
            }
            results.insert(layer.name.clone(), values.into());
        }
        self.result(&results.into());
        Ok(0)
    }

    /// Removes layers, the last first: their groups, what still holds a name, and the record of the deployment.
    async fn down(&self) -> Result<u8, Failure> {
        self.confirm()?;
        let mut order: Vec<&Layer> =
            steps(&self.layers, self.options.layer.as_deref())?.into_iter().flatten().collect();
        order.reverse();
        for layer in order {
            let path = self.path(layer);
            let Some(deployment) = self.client.find(&layer.name, &path).await? else {
                self.row(&layer.name, "unchanged", "it is not deployed");
                continue;
            };
            let ids = deployment["properties"]["outputResources"].as_array().into_iter().flatten();
            let ids: Vec<&str> = ids.filter_map(|one| one["id"].as_str()).collect();
            let is_group = |id: &&&str| id.split('/').count() == 5 && id.to_lowercase().contains("/resourcegroups/");
            for group in ids.iter().filter(is_group) {
                self.remove_group(layer, group).await?;
            }
            // What it made in the subscription itself.
            for id in ids.iter().filter(|id| !id.to_lowercase().contains("/resourcegroups/")) {
                if !id.to_lowercase().contains("/providers/microsoft.resources/deployments/") {
                    self.row(&layer.name, "left", id);
                }
            }
            let answer = self.client.send(&layer.name, Method::Delete, &path, None).await?;
            self.client.wait(&layer.name, answer).await?;
            self.row(&layer.name, "Succeeded", "removed");
        }
        Ok(0)
    }

    async fn remove_group(&self, layer: &Layer, group: &str) -> Result<(), Failure> {
        let Some(listed) = self.client.find(&layer.name, &format!("{group}/resources")).await? else { return Ok(()) };
        let what = format!("{}: removing {group}", layer.name);
        self.row(&layer.name, "Running", &format!("removing {group}"));
        let answer = self.client.send(&what, Method::Delete, group, None).await?;
        self.client.wait(&what, answer).await?;
        for resource in listed["value"].as_array().into_iter().flatten() {
            let text = |key: &str| resource[key].as_str().unwrap_or_default();
            let location = text("location").to_lowercase().replace(' ', "");
            let base = format!("/subscriptions/{}/providers", self.environment.subscription);
            let (method, path, version) = match text("type").to_lowercase().as_str() {
                "microsoft.keyvault/vaults" => {
                    let place = format!("Microsoft.KeyVault/locations/{location}/deletedVaults/{}", text("name"));
                    (Method::Post, format!("{base}/{place}/purge"), "2024-11-01")
                }
                "microsoft.apimanagement/service" => {
                    let place =
                        format!("Microsoft.ApiManagement/locations/{location}/deletedservices/{}", text("name"));
                    (Method::Delete, format!("{base}/{place}"), "2024-05-01")
                }
                _ => continue,
            };
            let what = format!("{}: purging {}", layer.name, text("name"));
            match self.client.send(&what, method, &format!("{path}?api-version={version}"), None).await {
                Ok(answer) => {
                    self.client.wait(&what, answer).await?;
                    self.row(&layer.name, "Succeeded", &format!("purged {}", text("name")));
                }
                Err(Failure::Refused { status: 404, .. }) => {}
                Err(Failure::Refused { status: 409, error, .. }) => {
                    let why = error["error"]["message"].as_str().unwrap_or_default();
                    self.row(
                        &layer.name,
                        "left",
                        &format!("{} holds its name until its retention ends: {why}", text("name")),
                    );
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn confirm(&self) -> Result<(), Failure> {
        let name = &self.environment.name;
        let given = match &self.options.confirm {
            Some(given) => given.clone(),
            None if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => {
                eprint!("This removes what is deployed, with its data. Type the environment's name ({name}): ");
                let _ = std::io::stderr().flush();
                let mut line = String::new();
                let read = std::io::stdin().lock().read_line(&mut line);
                read.map_err(|error| input(format!("no answer: {error}"), format!("give --confirm {name}")))?;
                line.trim().to_owned()
            }
            None => {
                return Err(input(
                    "down asks for the environment's name, and there is no terminal",
                    format!("give --confirm {name}"),
                ));
            }
        };
        if given == *name {
            return Ok(());
        }
        Err(input(
            format!("{given:?} is not the environment's name, nothing was removed"),
            format!("give --confirm {name}"),
        ))
    }
}

//! The pipelines of Azure DevOps, as files of `.azure-pipelines/`: they are committed, and a test says when they are stale.
//!
//! A pipeline calls `cargo xtask` and nothing else that a developer could not call, with the identity of a service
//! connection by workload identity federation: there is no secret. What is deployed to the last environment are the very
//! bytes that were packaged once for the first.

use skein_model::{Graph, Service};
use tera::{Context, Tera};

use crate::layers::GATEWAY;

/// The environments, in the order in which a change passes them. Who approves is set on the environment in Azure DevOps.
pub const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];

/// Why the pipelines cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("the template of {file} is wrong")]
pub struct PipelineError {
    file: String,
    #[source]
    source: tera::Error,
}

/// What all services are made of: a change here goes through everything.
const SHARED: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "platform/adapters",
    "platform/deploy",
    "platform/model",
    "platform/render",
    "platform/sdk",
    "rust-toolchain.toml",
    "xtask",
];

/// What a pipeline deploys.
struct Pipeline {
    file: String,
    title: String,
    /// Where a change starts it.
    paths: Vec<String>,
    /// The layers whose packages it makes, as `cargo xtask package` calls them.
    packaged: Vec<String>,
    /// The jobs of a stage: name, what it deploys, the jobs before it.
    jobs: Vec<(String, String, Vec<String>)>,
}

/// The files, by name, in the order of their names.
///
/// # Errors
/// A template that is wrong.
pub fn pipelines(graph: &Graph) -> Result<Vec<(String, String)>, PipelineError> {
    let mut tera = Tera::default();
    let templates = [
        ("pull-request.yml", include_str!("pipelines/pull-request.yml.tera")),
        ("deploy.yml", include_str!("pipelines/deploy.yml.tera")),
    ];
    let failed = |file: &str| {
        let file = file.to_owned();
        move |source| PipelineError { file, source }
    };
    tera.add_raw_templates(templates).map_err(failed("the pipelines"))?;
    let mut files = Vec::new();
    let mut context = Context::new();
    context.insert("packaged", &packaged(graph));
    let name = "pull-request.yml";
    files.push((name.to_owned(), tera.render(name, &context).map_err(failed(name))?));
    for pipeline in all(graph) {
        let mut context = Context::new();
        context.insert("title", &pipeline.title);
        context.insert("paths", &pipeline.paths);
        context.insert("packaged", &pipeline.packaged);
        context.insert("jobs", &pipeline.jobs);
        // Each with the one before it.
        let before = std::iter::once("").chain(ENVIRONMENTS);
        context.insert("environments", &ENVIRONMENTS.into_iter().zip(before).collect::<Vec<_>>());
        let text = tera.render("deploy.yml", &context).map_err(failed(&pipeline.file))?;
        files.push((pipeline.file, format!("{}\n", text.trim_end())));
    }
    files.sort();
    Ok(files)
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.services.iter().map(|service| service.name.as_str()).collect()
}

/// The layers that have packages: the gateway, whose router is one, and the services.
fn packaged(graph: &Graph) -> Vec<String> {
    let services = names(graph).into_iter().map(|name| format!("service {name}"));
    [GATEWAY.to_owned()].into_iter().chain(services).collect()
}

fn all(graph: &Graph) -> Vec<Pipeline> {
    let job = |name: &str, what: &str, after: &[&str]| {
        (name.to_owned(), what.to_owned(), after.iter().map(|name| (*name).to_owned()).collect())
    };
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut jobs = vec![job("platform", "platform", &[]), job("gateway", "gateway", &["platform"])];
    jobs.extend(names(graph).into_iter().map(|name| job(name, &format!("service {name}"), &["gateway"])));
    let mut pipelines = vec![
        Pipeline {
            file: "main.yml".to_owned(),
            title: "Everything, when what all services are made of has changed".to_owned(),
            paths: texts(&SHARED),
            packaged: packaged(graph),
            jobs,
        },
        Pipeline {
            file: "platform.yml".to_owned(),
            title: "The platform layer".to_owned(),
            paths: texts(&["platform/infra"]),
            packaged: Vec::new(),
            jobs: vec![job("platform", "platform", &[])],
        },
        Pipeline {
            file: "gateway.yml".to_owned(),
            title: "The gateway layer".to_owned(),
            paths: texts(&["gateway"]),
            packaged: vec![GATEWAY.to_owned()],
            jobs: vec![job("gateway", "gateway", &[])],
        },
    ];
    pipelines.extend(graph.services.iter().map(|service| Pipeline {
        file: format!("service-{}.yml", service.name),
        title: format!("The service {}", service.name),
        paths: paths(graph, service),
        packaged: vec![format!("service {}", service.name)],
        jobs: vec![job(&service.name, &format!("service {}", service.name), &[])],
    }));
    pipelines
}

/// The service's own folder, and the contracts that its apps are built with: those of the categories that it reads, and
/// those of the services that it sends to.
fn paths(graph: &Graph, service: &Service) -> Vec<String> {
    let categories = service.handled_categories();
    let known = |other: &&Service| {
        let reads = other.publishes.iter().any(|published| categories.iter().any(|name| *name == published.category));
        other.name != service.name && (reads || service.sends_to.contains(&other.name))
    };
    let mut paths = vec![format!("services/{}", service.name)];
    paths.extend(graph.services.iter().filter(known).map(|other| format!("services/{}/contract", other.name)));
    paths.sort();
    paths
}

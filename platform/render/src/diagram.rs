//! The whole system as a Mermaid diagram: who calls, sends to and reads whom.

use std::fmt::Write;

use skein_model::{App, Gateway, Graph, Service};

use crate::names::Names;
use crate::queues::subject_prefixes;

/// A page with the diagram.
pub(crate) fn diagram(graph: &Graph) -> String {
    let names = Names::new(&graph.platform);
    let mut page = format!("# {}\n\n```mermaid\nflowchart LR\n", graph.platform.system);
    let mut line = |text: String| writeln!(page, "  {text}").expect("a text takes text");
    line("client([client])".to_owned());
    line("subgraph gateway".to_owned());
    line(format!("  apim[\"API Management<br/>{}\"]", names.gateway()));
    line(format!("  router[\"{}\"]", names.site(&graph.gateway.router)));
    line("  frontdoor[\"Front Door\"]".to_owned());
    line("  pages[(\"pages\")]".to_owned());
    line(format!("  signalr[\"SignalR<br/>{}\"]", names.signalr()));
    line("end".to_owned());
    line("subgraph platform".to_owned());
    line(format!("  topic{{{{\"topic<br/>{}\"}}}}", names.topic()));
    line("  deadletters[(\"dead letters\")]".to_owned());
    line("  telemetry[\"Application Insights\"]".to_owned());
    line("  vault[\"Key Vault\"]".to_owned());
    line("end".to_owned());
    for service in &graph.services {
        let name = &service.name;
        line(format!("subgraph {name}"));
        for app in [App::Command, App::Query] {
            line(format!("  {}[\"{}\"]", node(service, app.as_str()), names.site(service.app(app))));
        }
        line(format!("  {}[/\"{}\"/]", node(service, "commands"), service.queue_in_bus(Service::COMMANDS)));
        line(format!("  {}[/\"{}\"/]", node(service, "events"), service.queue_in_bus(Service::EVENTS)));
        line(format!("  {}[/\"{}\"/]", node(service, "rebuild"), service.queue_in_bus(Service::REBUILD)));
        let shards = if service.shards == 1 { String::new() } else { format!("<br/>{} shards", service.shards) };
        line(format!("  {}[(\"event store{shards}\")]", node(service, "store")));
        line(format!("  {}[(\"views<br/>{}\")]", node(service, "views"), service.tables.join("<br/>")));
        line("end".to_owned());
    }
    line("client --> frontdoor".to_owned());
    line("frontdoor --> pages".to_owned());
    line("frontdoor --> apim".to_owned());
    line(format!("apim -- /{} --> router", Gateway::GRAPH));
    line("topic -. undelivered .-> deadletters".to_owned());
    for service in &graph.services {
        let node = |part: &str| node(service, part);
        if graph.gateway.services.contains(&service.name) {
            for front in ["apim", "router"] {
                line(format!("{front} -- mutation --> {}", node("command")));
                line(format!("{front} -- query --> {}", node("query")));
            }
        }
        line(format!("{} == by session ==> {}", node("commands"), node("command")));
        line(format!("{} --> {}", node("command"), node("store")));
        line(format!("{} --> {}", node("events"), node("query")));
        line(format!("{} --> {}", node("rebuild"), node("query")));
        line(format!("{} --> {}", node("query"), node("views")));
        line(format!("{} -. outcomes .-> {}", node("query"), node("command")));
        for app in [App::Command, App::Query] {
            for (target, queue) in graph.sends(service, app) {
                let Some(target) = graph.service(target) else { continue };
                line(format!("{} --> {}", node(app.as_str()), self::node(target, queue)));
            }
        }
        let mut published: Vec<_> = service.publishes.iter().map(|published| published.category.as_str()).collect();
        published.sort_unstable();
        published.dedup();
        if !published.is_empty() {
            line(format!("{} -- {} --> topic", node("command"), published.join(", ")));
        }
        let read = subject_prefixes(service);
        if !read.is_empty() {
            line(format!("topic -- \"{}\" --> {}", read.join(" "), node("events")));
        }
    }
    page.push_str("```\n");
    page
}

fn node(service: &Service, part: &str) -> String {
    format!("{}_{part}", service.name)
}

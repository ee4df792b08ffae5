//! A service's app for the tests of what must not reach one: GraphQL as both apps serve it, behind the real checks, with
//! fields that say when they are resolved.
//!
//! `JOURNAL` names a file to which it appends a line `request` for every call and a line `resolved` for every field that is
//! resolved. `SERVES` is `command` or `query`, `GATEWAY` the object id of the gateway's identity.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::Object;
use axum::http::Method;
use skein::graphql::{Endpoint, Serves, access, api};
use skein::host::{App, start};
use skein::{UnstatedAccess, graphql_over_http};

fn journal(line: &str) {
    let path = std::env::var("JOURNAL").expect("JOURNAL names a file");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the journal opens");
    file.write_all(format!("{line}\n").as_bytes()).expect("the journal takes a line");
}

struct Level;

#[Object]
impl Level {
    async fn value(&self) -> i32 {
        journal("resolved value");
        1
    }

    async fn deeper(&self) -> Level {
        journal("resolved deeper");
        Level
    }
}

struct Query;

#[Object]
impl Query {
    #[graphql(directive = access::apply(["customer"]))]
    async fn level(&self) -> Level {
        journal("resolved level");
        Level
    }

    #[graphql(directive = access::apply(["operator"]))]
    async fn secret(&self) -> i32 {
        journal("resolved secret");
        1
    }
}

struct Mutation;

#[Object]
impl Mutation {
    #[graphql(directive = access::apply(["customer"]))]
    async fn place(&self) -> i32 {
        journal("resolved place");
        1
    }

    #[graphql(directive = access::apply(["operator"]))]
    async fn purge(&self) -> i32 {
        journal("resolved purge");
        1
    }
}

fn main() -> ExitCode {
    start(|| -> Result<App, UnstatedAccess> {
        let serves = match std::env::var("SERVES").as_deref() {
            Ok("command") => Serves::Mutations,
            _ => Serves::Queries,
        };
        let fronts: Arc<[String]> = [std::env::var("GATEWAY").unwrap_or_default()].into();
        let endpoint = Arc::new(Endpoint::new(api(Query, Mutation).finish()?, serves, false, Duration::ZERO));
        let methods = match serves {
            Serves::Mutations => vec![Method::POST],
            Serves::Queries => vec![Method::GET, Method::POST],
        };
        let app = App::new("worker").http("graphql", &methods, "graphql", move |request| {
            journal("request");
            let (endpoint, fronts) = (Arc::clone(&endpoint), Arc::clone(&fronts));
            async move { graphql_over_http(&endpoint, &fronts, None, &request).await }
        });
        // The other function of the tests' package.
        Ok(app.http("ready", &[Method::GET], "health/ready", |_| async {
            skein::host::HttpResponse::json(axum::http::StatusCode::OK, &"ready")
        }))
    })
}

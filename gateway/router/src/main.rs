//! The function app `gateway-router`.

use std::process::ExitCode;

use anyhow::Context as _;
use skein_azure::credential::managed_identity;
use skein_azure::graphql_app::GraphqlApps;
use skein_azure::http_client;
use skein_host::{App, RouterSettings, start};
use skein_router::AppsOnAzure;

fn main() -> ExitCode {
    start(|| build().map_err(|error| format!("{error:#}")))
}

fn build() -> anyhow::Result<App> {
    let settings = RouterSettings::from_env()?;
    let http = http_client()?;
    let identity = managed_identity(http.clone()).context("the app has no managed identity")?;
    let apps = GraphqlApps::new(&http, identity, &settings.audience);
    Ok(skein_router::app(settings, skein_router::graph()?, AppsOnAzure::new(apps))?)
}

//! The planes of a running system, looked at as a function app looks at them: with its own identity, over HTTP.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::{Map, Value};

use crate::system::System;

/// One function app's view of the planes.
pub struct Planes<'s> {
    system: &'s System,
    environment: BTreeMap<String, String>,
}

/// One row of a table.
pub struct Row {
    /// The partition key.
    pub partition: String,
    /// The row key.
    pub key: String,
    properties: Map<String, Value>,
}

impl Row {
    /// A number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.properties.get(name)?.as_str()?.parse().ok()
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str()
    }

    /// Whether a flag is set.
    pub fn is(&self, name: &str) -> bool {
        self.properties.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A long text, which is spread over properties.
    pub fn long_text(&self, name: &str) -> Option<String> {
        self.text(&format!("{name}0"))?;
        Some((0..).map_while(|n| self.text(&format!("{name}{n}"))).collect())
    }

    /// A long text that is JSON.
    pub fn json(&self, name: &str) -> Result<Value> {
        let text = self.long_text(name).with_context(|| format!("{} {} has no {name}", self.partition, self.key))?;
        serde_json::from_str(&text).with_context(|| format!("{name} of {} {}", self.partition, self.key))
    }
}

impl<'s> Planes<'s> {
    /// The planes as this function app sees them.
    pub fn of(system: &'s System, site: &str) -> Result<Self> {
        Ok(Planes { system, environment: system.environment(site)? })
    }

    /// A setting of the app.
    pub fn setting(&self, name: &str) -> Result<&str> {
        self.environment.get(name).map(String::as_str).with_context(|| format!("the app has no setting {name}"))
    }

    fn token(&self, resource: &str) -> Result<String> {
        let (endpoint, client) = (self.setting("IDENTITY_ENDPOINT")?, self.setting("AZURE_CLIENT_ID")?);
        let url = format!("{endpoint}?api-version=2019-08-01&resource={resource}&client_id={client}");
        let request = Request::get(url).header("x-identity-header", self.setting("IDENTITY_HEADER")?);
        let response = self.system.request(request.body(Full::default())?)?;
        ensure!(response.status() == 200, "no token: {}", shown(&response));
        let token: Value = serde_json::from_slice(response.body())?;
        Ok(token["access_token"].as_str().context("there is no token in the answer")?.to_owned())
    }

    /// All rows of a table, over as many pages as it takes.
    pub fn rows(&self, account: &str, table: &str) -> Result<Vec<Row>> {
        let token = self.token("https://storage.azure.com")?;
        // An account's endpoint ends in a slash.
        let account = account.trim_end_matches('/');
        let mut rows = Vec::new();
        let mut next = String::new();
        loop {
            let request = Request::get(format!("{account}/{table}()?$top=1000{next}"))
                .header("authorization", format!("Bearer {token}"))
                .header("accept", "application/json;odata=nometadata")
                .header("x-ms-version", "2020-12-06");
            let response = self.system.request(request.body(Full::default())?)?;
            ensure!(response.status() == 200, "{table} cannot be read: {}", shown(&response));
            let page: Value = serde_json::from_slice(response.body())?;
            for row in page["value"].as_array().context("a page is a list of rows")? {
                let mut properties = row.as_object().context("a row is an object")?.clone();
                let mut key = |name: &str| match properties.remove(name) {
                    Some(Value::String(key)) => Ok(key),
                    _ => bail!("a row of {table} has no {name}"),
                };
                let (partition, key) = (key("PartitionKey")?, key("RowKey")?);
                rows.push(Row { partition, key, properties });
            }
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            let Some(partition) = header("x-ms-continuation-nextpartitionkey") else { return Ok(rows) };
            let row = header("x-ms-continuation-nextrowkey").unwrap_or_default();
            next = format!("&NextPartitionKey={partition}&NextRowKey={row}");
        }
    }

    /// Whether a queue's dead-letter queue holds anything: the body of the first that it holds.
    pub fn dead_letter(&self, queue: &str) -> Result<Option<String>> {
        let token = self.token("https://servicebus.azure.net")?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{queue}/$DeadLetterQueue/messages/head?timeout=0"))
            .header("authorization", format!("Bearer {token}"));
        let response = self.system.request(request.body(Full::new(Bytes::new()))?)?;
        match response.status().as_u16() {
            204 => Ok(None),
            201 => Ok(Some(String::from_utf8_lossy(response.body()).into_owned())),
            _ => bail!("the dead letters of {queue} cannot be read: {}", shown(&response)),
        }
    }
}

fn shown(response: &Response<Bytes>) -> String {
    format!("{} {}", response.status(), String::from_utf8_lossy(response.body()))
}

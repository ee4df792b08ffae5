//! A peer of the interoperability tests: the published crates `azure_data_tables` and `azure_messaging_servicebus`.
//!
//! It reads requests from standard input, one JSON object a line, and answers each with a line: `{"ok": …}` or
//! `{"error": "…"}`. `SKEIN_TABLES` is the address of an account's tables, `SKEIN_ACCOUNT` its name; `SKEIN_KEY` signs
//! the requests, or else `SKEIN_TOKEN` goes with them. `SKEIN_QUEUE` is the address of a queue.
//!
//! A property is written as `{"s": text}`, `{"i": 64-bit integer}`, `{"t": truth}`, `{"d": double}`, `{"x": Base64}`.

mod loopback;

use std::env;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use azure_core::{HttpClient, RetryOptions, TransportOptions};
use azure_data_tables::clients::TableServiceClientBuilder;
use azure_data_tables::prelude::*;
use azure_messaging_servicebus::service_bus::{QueueClient, SendMessageOptions, SettableBrokerProperties};
use azure_storage::{CloudLocation, StorageCredentials};
use futures::StreamExt as _;
use serde_json::{Map, Value, json};

use loopback::Loopback;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let peer = Peer::new()?;
        for line in std::io::stdin().lock().lines() {
            let request: Value = serde_json::from_str(&line?)?;
            let answer = match peer.answer(&request).await {
                Ok(answer) => json!({ "ok": answer }),
                Err(error) => json!({ "error": format!("{error:#}") }),
            };
            println!("{answer}");
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

struct Peer {
    tables: Option<TableServiceClient>,
    queue: Option<QueueClient>,
}

impl Peer {
    fn new() -> Result<Self> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let token = variable("SKEIN_TOKEN");
        let tables = match variable("SKEIN_TABLES") {
            None => None,
            Some(uri) => {
                let account = variable("SKEIN_ACCOUNT").context("SKEIN_ACCOUNT is expected")?;
                let credential = match (variable("SKEIN_KEY"), &token) {
                    (Some(key), _) => StorageCredentials::access_key(account.clone(), key),
                    (None, Some(token)) => StorageCredentials::bearer_token(token.clone()),
                    (None, None) => bail!("SKEIN_KEY or SKEIN_TOKEN is expected"),
                };
                let http: Arc<dyn HttpClient> = Arc::new(Loopback::default());
                let client =
                    TableServiceClientBuilder::with_location(CloudLocation::Custom { account, uri }, credential)
                        .retry(RetryOptions::none())
                        .transport(TransportOptions::new(http))
                        .build();
                Some(client)
            }
        };
        let queue = match variable("SKEIN_QUEUE") {
            None => None,
            Some(url) => {
                let (namespace, queue) = url.rsplit_once('/').context("SKEIN_QUEUE is no address of a queue")?;
                let http = Loopback::instead_of_the_cloud(namespace, token.context("SKEIN_TOKEN is expected")?);
                // The crate derives the host from the namespace's name, and signs with this key; both are replaced.
                Some(QueueClient::new(Arc::new(http), "interop", queue, "nobody", "no key")?)
            }
        };
        Ok(Peer { tables, queue })
    }

    async fn answer(&self, request: &Value) -> Result<Value> {
        let text = |name: &str| request[name].as_str().with_context(|| format!("{name} is expected"));
        match text("do")? {
            "send" => {
                let properties = SettableBrokerProperties {
                    message_id: Some(text("id")?.to_owned()),
                    session_id: request["session"].as_str().map(str::to_owned),
                    ..SettableBrokerProperties::default()
                };
                let options =
                    SendMessageOptions { broker_properties: Some(properties), ..SendMessageOptions::default() };
                self.queue()?.send_message(text("body")?, Some(options)).await?;
                Ok(Value::Null)
            }
            "receive" => {
                let message = self.queue()?.peek_lock_message2(Some(Duration::from_secs(5))).await?;
                let properties = message.broker_properties().context("no message")?;
                let answer = json!({
                    "body": message.body(), "id": properties.message_id, "count": properties.delivery_count,
                });
                if request["settle"].as_bool() == Some(true) {
                    message.delete_message().await?;
                } else {
                    message.unlock_message().await?;
                }
                Ok(answer)
            }
            other => self.tables(other, request, text("table")?, text("partition")?).await,
        }
    }

    async fn tables(&self, what: &str, request: &Value, table: &str, partition: &str) -> Result<Value> {
        let table = self.tables.as_ref().context("there are no tables")?.table_client(table);
        let rows = || request["rows"].as_array().into_iter().flatten().map(|row| entity(partition, row));
        match what {
            "query" => {
                let filter = format!("PartitionKey eq '{}'", partition.replace('\'', "''"));
                let mut pages = table.query().filter(filter).top(1_000).into_stream::<Map<String, Value>>();
                let mut rows = Vec::new();
                while let Some(page) = pages.next().await {
                    for entity in page?.entities {
                        rows.push(read(&entity)?);
                    }
                }
                Ok(rows.into())
            }
            "insert" => {
                for row in rows() {
                    table.insert::<_, Value>(row?)?.await?;
                }
                Ok(Value::Null)
            }
            "batch" => {
                let mut transaction = table.partition_key_client(partition).transaction();
                for row in rows() {
                    transaction = transaction.insert(row?)?;
                }
                transaction.await?;
                Ok(Value::Null)
            }
            "replace" => {
                for row in rows() {
                    let row = row?;
                    let key = row["RowKey"].as_str().context("a row key is expected")?.to_owned();
                    table.partition_key_client(partition).entity_client(key).insert_or_replace(row)?.await?;
                }
                Ok(Value::Null)
            }
            other => bail!("{other:?} is not understood"),
        }
    }

    fn queue(&self) -> Result<&QueueClient> {
        self.queue.as_ref().context("there is no queue")
    }
}

/// A row of the protocol as the service takes it.
fn entity(partition: &str, row: &Value) -> Result<Map<String, Value>> {
    let mut entity = Map::new();
    entity.insert("PartitionKey".to_owned(), partition.into());
    entity.insert("RowKey".to_owned(), row["key"].clone());
    for (name, value) in row["properties"].as_object().context("properties are expected")? {
        let (kind, value) = value.as_object().and_then(|value| value.iter().next()).context("a value is expected")?;
        let (edm, value) = match kind.as_str() {
            "i" => (Some("Edm.Int64"), value.to_string().into()),
            "d" => (Some("Edm.Double"), value.clone()),
            "x" => (Some("Edm.Binary"), value.clone()),
            _ => (None, value.clone()),
        };
        if let Some(edm) = edm {
            entity.insert(format!("{name}@odata.type"), edm.into());
        }
        entity.insert(name.clone(), value);
    }
    Ok(entity)
}

/// A row of the service as the protocol says it.
fn read(entity: &Map<String, Value>) -> Result<Value> {
    let mut properties = Map::new();
    for (name, value) in entity {
        if name.contains("odata.") || ["PartitionKey", "RowKey", "Timestamp"].contains(&name.as_str()) {
            continue;
        }
        let edm = entity.get(&format!("{name}@odata.type")).and_then(Value::as_str);
        let typed = match (edm, value) {
            (Some("Edm.Int64"), Value::String(text)) => json!({ "i": text.parse::<i64>()? }),
            (Some("Edm.Binary"), value) => json!({ "x": value }),
            (Some("Edm.Double"), Value::String(text)) => json!({ "d": text.parse::<f64>()? }),
            (_, Value::Number(number)) if number.is_f64() => json!({ "d": number }),
            (_, Value::Number(number)) => json!({ "i": number }),
            (_, Value::Bool(_)) => json!({ "t": value }),
            _ => json!({ "s": value }),
        };
        properties.insert(name.clone(), typed);
    }
    Ok(json!({ "key": entity["RowKey"], "properties": properties }))
}

//! The Azure adapters in the simulator: their transport speaks the protocols of Tables, Service Bus and Event Grid with
//! the simulated world, and azure_core's runtime waits by the simulated clock. The adapters themselves are the ones that
//! are shipped.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::async_runtime::{AbortableTask, AsyncRuntime, SpawnedTask, TaskFuture, set_async_runtime};
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request as HttpRequest, Url};
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use skein_azure::tables::multipart;
use skein_azure::{AzureTableStore, EventGridTopic, ServiceBusQueues, TableCredential};
use skein_core::ports::{Message, events_queue, rebuild_queue};
use skein_core::table::{Etag, Operation, Range, Row, StoredRow, Sweep, Value};
use skein_testing::simulator::{Adapters, Answer, Channel, PAUSE, Request, SERVICE, Stack, Wire, current};

/// The addresses of an account, a namespace and a topic; nothing listens there.
const ACCOUNT: &str = "https://stskeinsim.table.core.windows.net";
const NAMESPACE: &str = "https://sb-skein-sim.servicebus.windows.net";
const TOPIC: &str = "https://evgt-skein-sim.westeurope-1.eventgrid.azure.net";

/// The shipped Azure adapters: tables, queue and topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Azure {
    /// Whether the condition of every write is lost on its way: a planted fault.
    pub careless: bool,
}

impl Stack for Azure {
    /// # Panics
    /// When another runtime was chosen for azure_core in this process before.
    fn adapters(&self, wire: &Wire) -> Adapters {
        static RUNTIME: OnceLock<()> = OnceLock::new();
        RUNTIME.get_or_init(|| set_async_runtime(Arc::new(SimulatedRuntime)).expect("nobody else chooses a runtime"));
        let http: Arc<dyn HttpClient> = Arc::new(Services { wire: wire.clone(), careless: self.careless });
        let credential: Arc<dyn TokenCredential> = Arc::new(Lasting);
        let store = AzureTableStore::new(&http, TableCredential::Token(credential.clone()), ACCOUNT);
        let queues = [
            (SERVICE.to_owned(), format!("{NAMESPACE}/commands")),
            (events_queue(SERVICE), format!("{NAMESPACE}/events")),
            (rebuild_queue(SERVICE), format!("{NAMESPACE}/rebuild")),
        ];
        let queue = ServiceBusQueues::new(&http, credential.clone(), queues);
        let topic = EventGridTopic::new(&http, credential, TOPIC);
        Adapters {
            store: Arc::new(store.expect("the address is one")),
            queue: Arc::new(queue.expect("the address is one")),
            bus: Arc::new(topic.expect("the address is one")),
        }
    }
}

/// azure_core's runtime within a run: its waits, random as they are, become one length, so that a seed says all.
struct SimulatedRuntime;

struct Refused;

impl Future for Refused {
    type Output = Result<(), Box<dyn std::error::Error + Send>>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(Box::new(std::io::Error::other("nothing is spawned in the simulator"))))
    }
}

impl AbortableTask for Refused {
    fn abort(&self) {}
}

impl AsyncRuntime for SimulatedRuntime {
    fn spawn(&self, _: TaskFuture) -> SpawnedTask {
        Box::pin(Refused)
    }

    fn sleep(&self, _: azure_core::time::Duration) -> TaskFuture {
        Box::pin(async {
            if let Some(wire) = current() {
                wire.sleep(PAUSE).await;
            }
        })
    }

    fn yield_now(&self) -> TaskFuture {
        Box::pin(async {})
    }
}

/// A token that outlives every run.
#[derive(Debug)]
struct Lasting;

#[async_trait]
impl TokenCredential for Lasting {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new("simulated", OffsetDateTime::now_utc() + Duration::from_secs(365 * 24 * 3_600)))
    }
}

/// Tables, Service Bus and Event Grid, as far as the adapters use them.
#[derive(Debug)]
struct Services {
    wire: Wire,
    careless: bool,
}

fn text(encoded: &str) -> String {
    percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

/// `table(PartitionKey='…',RowKey='…')`, decoded.
fn entity(path: &str) -> Option<(String, String, String)> {
    let (table, keys) = path.split_once("(PartitionKey='")?;
    let (partition, key) = keys.strip_suffix("')")?.split_once("',RowKey='")?;
    Some((table.to_owned(), partition.replace("''", "'"), key.replace("''", "'")))
}

/// The literal that follows `start` in a filter.
fn literal(filter: &str, start: &str) -> Option<String> {
    let mut rest = filter.split_once(start)?.1;
    let mut found = String::new();
    loop {
        let (part, behind) = rest.split_once('\'')?;
        found.push_str(part);
        // A quote within is written twice.
        let Some(more) = behind.strip_prefix('\'') else { return Some(found) };
        found.push('\'');
        rest = more;
    }
}

fn read_value(edm: Option<&str>, value: Json) -> Option<Value> {
    Some(match (edm, value) {
        (Some("Edm.Int64"), Json::String(number)) => Value::Int64(number.parse().ok()?),
        (Some("Edm.Binary"), Json::String(text)) => Value::Binary(STANDARD.decode(text).ok()?),
        (None, Json::String(text)) => Value::String(text),
        (None, Json::Bool(flag)) => Value::Bool(flag),
        // The engine writes no others.
        _ => return None,
    })
}

/// A row as a client sends it, each type's annotation before its value.
struct Entity {
    partition: String,
    row: Row,
}

impl<'de> Deserialize<'de> for Entity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Entity;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an entity")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entity, M::Error> {
                let (mut partition, mut row) = (None, Row::new(""));
                let mut annotated: Option<(&str, &str)> = None;
                while let Some(name) = map.next_key::<&str>()? {
                    if name == "PartitionKey" {
                        partition = Some(map.next_value()?);
                    } else if name == "RowKey" {
                        row.key = map.next_value()?;
                    } else if let Some(of) = name.strip_suffix("@odata.type") {
                        annotated = Some((of, map.next_value()?));
                    } else {
                        let edm = annotated.take_if(|(of, _)| *of == name).map(|(_, edm)| edm);
                        let value = read_value(edm, map.next_value()?).ok_or_else(|| M::Error::custom(name))?;
                        row.properties.insert(name.to_owned(), value);
                    }
                }
                let partition = partition.ok_or_else(|| M::Error::missing_field("PartitionKey"))?;
                Ok(Entity { partition, row })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Writes a row as the service does. Names and tags need no escapes within them but the tag's quotes.
fn write_entity(json: &mut String, partition: &str, row: &StoredRow) {
    fn text(json: &mut String, name: &str, value: &str) {
        let value = serde_json::to_string(value).expect("a text has a JSON form");
        for part in [",\"", name, "\":", &value] {
            json.push_str(part);
        }
    }
    fn annotated(json: &mut String, name: &str, edm: &str, value: &str) {
        for part in [",\"", name, "@odata.type\":\"", edm, "\""] {
            json.push_str(part);
        }
        text(json, name, value);
    }
    json.push_str("{\"odata.metadata\":\"simulated\"");
    text(json, "odata.etag", &row.etag.0);
    text(json, "PartitionKey", partition);
    text(json, "RowKey", &row.key);
    for (name, value) in &row.properties {
        match value {
            Value::Int64(number) => annotated(json, name, "Edm.Int64", &number.to_string()),
            Value::String(value) => text(json, name, value),
            Value::Bool(flag) => {
                for part in [",\"", name, "\":", if *flag { "true" } else { "false" }] {
                    json.push_str(part);
                }
            }
            Value::Double(number) => annotated(json, name, "Edm.Double", &number.to_string()),
            Value::Binary(bytes) => annotated(json, name, "Edm.Binary", &STANDARD.encode(bytes)),
        }
    }
    json.push('}');
}

/// A page of rows, each with its partition key.
fn write_page<'a>(rows: impl Iterator<Item = (&'a str, &'a StoredRow)>) -> String {
    let mut json = String::with_capacity(4 * 1024);
    json.push_str("{\"value\":[");
    for (n, (partition, row)) in rows.enumerate() {
        if n > 0 {
            json.push(',');
        }
        write_entity(&mut json, partition, row);
    }
    json.push_str("]}");
    json
}

impl Services {
    /// What the request asks for, in the world's words.
    fn read(&self, request: &HttpRequest) -> Option<Request> {
        let url: &Url = request.url();
        match url.host_str()?.split_once('.')?.1 {
            "servicebus.windows.net" => {
                let channel = match url.path() {
                    "/commands/messages" => Channel::Commands,
                    "/events/messages" => Channel::Events,
                    "/rebuild/messages" => Channel::Rebuild,
                    _ => return None,
                };
                return read_messages(request).map(|messages| Request::Send(channel, messages));
            }
            "westeurope-1.eventgrid.azure.net" => return read_events(request).map(Request::Publish),
            _ => {}
        }
        let path = text(url.path().strip_prefix('/')?);
        if path == "$batch" {
            return self.read_batch(request);
        }
        if let Some((table, partition, key)) = entity(&path) {
            return Some(Request::Get { table, partition, key });
        }
        let table = path.strip_suffix("()")?.to_owned();
        // The adapter encodes no letter of a parameter's name.
        let query = |wanted: &str| {
            let pairs = url.query()?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| text(value))
        };
        let filter = query("$filter")?;
        if let Some(from) = literal(&filter, "PartitionKey ge '") {
            let sweep = Sweep {
                from,
                to: literal(&filter, "PartitionKey lt '")?,
                row: literal(&filter, "RowKey eq '"),
                top: query("$top")?.parse().ok()?,
            };
            let from = query("NextPartitionKey").map(|partition| (partition, query("NextRowKey").unwrap_or_default()));
            return Some(Request::Sweep { table, sweep, from });
        }
        let range = Range {
            partition: literal(&filter, "PartitionKey eq '")?,
            from: literal(&filter, "RowKey ge '").unwrap_or_default(),
            to: literal(&filter, "RowKey lt '"),
            top: query("$top")?.parse().ok()?,
        };
        Some(Request::Query { table, range, from: query("NextRowKey") })
    }

    fn read_batch(&self, request: &HttpRequest) -> Option<Request> {
        let content_type = request.headers().iter().find(|(name, _)| name.as_str() == "content-type")?.1;
        let Body::Bytes(body) = request.body() else { return None };
        let (mut table, mut partition) = (None, None);
        let mut operations = Vec::new();
        for part in multipart::messages(content_type.as_str(), body).ok()? {
            let mut words = part.start.split(' ');
            let (method, address) = (words.next()?, words.next()?);
            let path = text(address.strip_prefix(ACCOUNT)?.strip_prefix('/')?);
            let named = entity(&path);
            table = Some(named.as_ref().map_or(path.clone(), |(table, ..)| table.clone()));
            let tag = part.header("if-match").map(|tag| Etag(tag.to_owned())).filter(|_| !self.careless);
            if method == "DELETE" {
                let (_, of, key) = named?;
                partition = Some(of);
                operations.push(Operation::Delete(key, tag.filter(|tag| tag.0 != "*")));
                continue;
            }
            let Entity { partition: of, row } = serde_json::from_slice(&part.body).ok()?;
            partition = Some(of);
            operations.push(match (method, tag) {
                ("POST", _) => Operation::Insert(row),
                ("PUT", Some(tag)) => Operation::Replace(row, tag),
                ("PUT" | "MERGE", None) => Operation::Put(row),
                ("MERGE", Some(tag)) => Operation::Merge(row, tag),
                _ => return None,
            });
        }
        Some(Request::Transact { table: table?, partition: partition?, operations })
    }
}

/// One message, or an array of them.
fn read_messages(request: &HttpRequest) -> Option<Vec<Message>> {
    let header = |wanted: &str| {
        let mut headers = request.headers().iter();
        headers.find(|(name, _)| name.as_str() == wanted).map(|(_, value)| value.as_str().to_owned())
    };
    let Body::Bytes(body) = request.body() else { return None };
    let message = |properties: &Json, traceparent: Option<String>, body: Bytes| {
        let text = |name: &str| properties[name].as_str().map(str::to_owned);
        let session = text("SessionId").unwrap_or_default();
        let not_before = text("ScheduledEnqueueTimeUtc").map(|time| parse_rfc7231(&time)).transpose().ok()?;
        Some(Message { id: text("MessageId")?, session, not_before, traceparent, body })
    };
    if let Some(properties) = header("brokerproperties") {
        let traceparent = header("traceparent").and_then(|quoted| serde_json::from_str(&quoted).ok());
        return Some(vec![message(&serde_json::from_str(&properties).ok()?, traceparent, body.clone())?]);
    }
    let items: Vec<Json> = serde_json::from_slice(body).ok()?;
    items
        .iter()
        .map(|item| {
            let traceparent = item["UserProperties"]["traceparent"].as_str().map(str::to_owned);
            let body = Bytes::from(item["Body"].as_str()?.to_owned());
            message(&item["BrokerProperties"], traceparent, body)
        })
        .collect()
}

/// A batch of CloudEvents, each byte for byte.
fn read_events(request: &HttpRequest) -> Option<Vec<Bytes>> {
    let Body::Bytes(body) = request.body() else { return None };
    let events: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    Some(events.into_iter().map(|event| Bytes::copy_from_slice(event.get().as_bytes())).collect())
}

fn response(status: u16, pairs: &[(&'static str, String)], body: String) -> AsyncRawResponse {
    let mut headers = Headers::new();
    for (name, value) in pairs {
        headers.insert(*name, value.clone());
    }
    AsyncRawResponse::from_bytes(status.into(), headers, body)
}

fn error(code: &str, message: &str) -> String {
    format!(r#"{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"{message}"}}}}}}"#)
}

fn failure(status: u16, code: &str) -> AsyncRawResponse {
    response(status, &[], error(code, "simulated"))
}

/// The parts of an answer to a batch, as the service nests them.
fn parts(parts: impl Iterator<Item = String>) -> AsyncRawResponse {
    let mut body =
        "--batchresponse_s\r\nContent-Type: multipart/mixed; boundary=changesetresponse_s\r\n\r\n".to_owned();
    for part in parts {
        body.push_str(
            "--changesetresponse_s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n",
        );
        body.push_str(&part);
        body.push_str("\r\n");
    }
    body.push_str("--changesetresponse_s--\r\n--batchresponse_s--\r\n");
    response(202, &[("content-type", "multipart/mixed; boundary=batchresponse_s".to_owned())], body)
}

fn failed_part(status: &str, code: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{}", error(code, "0:simulated"))
}

#[async_trait]
impl HttpClient for Services {
    async fn execute_request(&self, http: &HttpRequest) -> azure_core::Result<AsyncRawResponse> {
        let Some(request) = self.read(http) else {
            return Ok(failure(400, "InvalidInput"));
        };
        let partition = match &request {
            Request::Get { partition, .. } => partition.clone(),
            Request::Query { range, .. } => range.partition.clone(),
            _ => String::new(),
        };
        Ok(match self.wire.call(request).await {
            Answer::Row(Some(row)) => {
                let mut body = String::with_capacity(1024);
                write_entity(&mut body, &partition, &row);
                response(200, &[], body)
            }
            Answer::Row(None) => failure(404, "ResourceNotFound"),
            Answer::Page(page) => {
                let body = write_page(page.rows.iter().map(|row| (&*partition, row)));
                let mut headers = Vec::new();
                if let Some(next) = page.next {
                    headers.push(("x-ms-continuation-nextpartitionkey", partition.clone()));
                    headers.push(("x-ms-continuation-nextrowkey", next.0));
                }
                response(200, &headers, body)
            }
            Answer::Swept(page) => {
                let body = write_page(page.rows.iter().map(|(partition, row)| (&**partition, row)));
                let mut headers = Vec::new();
                if let Some((partition, key)) = page.next.as_ref().and_then(|next| next.0.split_once('\n')) {
                    headers.push(("x-ms-continuation-nextpartitionkey", partition.to_owned()));
                    headers.push(("x-ms-continuation-nextrowkey", key.to_owned()));
                }
                response(200, &headers, body)
            }
            Answer::Tags(tags) => parts(tags.into_iter().map(|tag| {
                let tag = tag.map(|tag| format!("ETag: {}\r\n", tag.0)).unwrap_or_default();
                format!("HTTP/1.1 204 No Content\r\nDataServiceVersion: 3.0;\r\n{tag}\r\n")
            })),
            Answer::Conflict => {
                parts(std::iter::once(failed_part("412 Precondition Failed", "UpdateConditionNotSatisfied")))
            }
            Answer::Refused(_) => parts(std::iter::once(failed_part("400 Bad Request", "InvalidInput"))),
            Answer::Done => response(201, &[], String::new()),
            Answer::Throttled => failure(429, "TooManyRequests"),
            Answer::NotSent => return Err(Error::with_message(ErrorKind::Connection, "no connection")),
            Answer::Broken => return Err(Error::with_message(ErrorKind::Io, "the connection broke")),
            _ => failure(503, "ServerBusy"),
        })
    }
}

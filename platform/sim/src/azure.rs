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
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};
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
    let rest = filter.split_once(start)?.1;
    let mut found = String::new();
    let mut letters = rest.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\'' && letters.next_if_eq(&'\'').is_none() {
            return Some(found);
        }
        found.push(letter);
    }
    None
}

fn read_value(edm: Option<&str>, value: &Json) -> Option<Value> {
    Some(match (edm, value) {
        (Some("Edm.Int64"), Json::String(number)) => Value::Int64(number.parse().ok()?),
        (Some("Edm.Binary"), Json::String(text)) => Value::Binary(STANDARD.decode(text).ok()?),
        (None, Json::String(text)) => Value::String(text.clone()),
        (None, Json::Bool(flag)) => Value::Bool(*flag),
        // The engine writes no others.
        _ => return None,
    })
}

fn read_entity(body: &[u8]) -> Option<(String, Row)> {
    let json: Map<String, Json> = serde_json::from_slice(body).ok()?;
    let partition = json.get("PartitionKey")?.as_str()?.to_owned();
    let mut row = Row::new(json.get("RowKey")?.as_str()?);
    for (name, value) in &json {
        if name == "PartitionKey" || name == "RowKey" || name.contains('@') {
            continue;
        }
        let edm = json.get(&format!("{name}@odata.type")).and_then(Json::as_str);
        row.properties.insert(name.clone(), read_value(edm, value)?);
    }
    Some((partition, row))
}

fn write_entity(partition: &str, row: &StoredRow) -> Json {
    let mut json = Map::new();
    json.insert("odata.etag".to_owned(), json!(row.etag.0));
    json.insert("PartitionKey".to_owned(), json!(partition));
    json.insert("RowKey".to_owned(), json!(row.key));
    for (name, value) in &row.properties {
        let value = match value {
            Value::Int64(number) => {
                json.insert(format!("{name}@odata.type"), json!("Edm.Int64"));
                json!(number.to_string())
            }
            Value::String(text) => json!(text),
            Value::Bool(flag) => json!(flag),
            Value::Double(number) => json!(number),
            Value::Binary(bytes) => {
                json.insert(format!("{name}@odata.type"), json!("Edm.Binary"));
                json!(STANDARD.encode(bytes))
            }
        };
        json.insert(name.clone(), value);
    }
    Json::Object(json)
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
        let query = |wanted: &str| {
            url.query()?
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| text(name) == wanted)
                .map(|(_, value)| text(value))
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
            let path = text(Url::parse(address).ok()?.path().strip_prefix('/')?);
            let named = entity(&path);
            table = Some(named.as_ref().map_or(path.clone(), |(table, ..)| table.clone()));
            let tag = part.header("if-match").map(|tag| Etag(tag.to_owned())).filter(|_| !self.careless);
            if method == "DELETE" {
                let (_, of, key) = named?;
                partition = Some(of);
                operations.push(Operation::Delete(key, tag.filter(|tag| tag.0 != "*")));
                continue;
            }
            let (of, row) = read_entity(&part.body)?;
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

fn failure(status: u16, code: &str) -> AsyncRawResponse {
    let body = json!({"odata.error": {"code": code, "message": {"lang": "en-US", "value": "simulated"}}});
    response(status, &[], body.to_string())
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
    let body = json!({"odata.error": {"code": code, "message": {"lang": "en-US", "value": "0:simulated"}}});
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{body}")
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
            Answer::Row(Some(row)) => response(200, &[], write_entity(&partition, &row).to_string()),
            Answer::Row(None) => failure(404, "ResourceNotFound"),
            Answer::Page(page) => {
                let rows: Vec<Json> = page.rows.iter().map(|row| write_entity(&partition, row)).collect();
                let mut headers = Vec::new();
                if let Some(next) = page.next {
                    headers.push(("x-ms-continuation-nextpartitionkey", partition.clone()));
                    headers.push(("x-ms-continuation-nextrowkey", next.0));
                }
                response(200, &headers, json!({ "value": rows }).to_string())
            }
            Answer::Swept(page) => {
                let rows: Vec<Json> = page.rows.iter().map(|(partition, row)| write_entity(partition, row)).collect();
                let mut headers = Vec::new();
                if let Some((partition, key)) = page.next.as_ref().and_then(|next| next.0.split_once('\n')) {
                    headers.push(("x-ms-continuation-nextpartitionkey", partition.to_owned()));
                    headers.push(("x-ms-continuation-nextrowkey", key.to_owned()));
                }
                response(200, &headers, json!({ "value": rows }).to_string())
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

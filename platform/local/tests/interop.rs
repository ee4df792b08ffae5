//! Interoperability: clients that are not ours read and write the same tables and queues as our adapters.
//!
//! The peers are processes: the published crates `azure_data_tables` and `azure_messaging_servicebus` (`tests/interop`,
//! a workspace of its own), and Microsoft's Table SDK for Python. `cargo xtask test` and `cargo xtask interop` make both.
//! Where they are missing the tests say that they are skipped; under CI they fail.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use skein_azure::{AzureTableStore, ServiceBusQueues, TableCredential, http_client};
use skein_core::handler::{CommandHandler, Delivery, Ports, Receipt, recorded_fault};
use skein_core::ports::{CommandQueue as _, Message, TableStore};
use skein_core::store::EVENTS_TABLE;
use skein_core::table::{Operation, Range, Row, Value};
use skein_core::{
    Aggregate, AggregateId, Command, CommandId, Context, Decision, Envelope, Handle, Never, Principal, Trace,
};
use skein_local::broker::{self, Broker, QueueSettings, SystemClock};
use skein_local::identity::Issuer;
use skein_local::tables::{self, Backend};
use skein_testing::azurite;
use skein_testing::doubles::{ManualClock, MemoryBus, MemoryQueue};

const ACCOUNT: &str = "stskeininterop";
const TABLES: [&str; 3] = ["events", "faults", "rows"];

// A small domain.

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    by: i64,
    note: String,
}

skein_core::events! {
    enum CounterEvent { Counted(Counted) = ("Counted", 1) }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Event = CounterEvent;

    fn evolve(&mut self, CounterEvent::Counted(counted): &CounterEvent) {
        self.value += counted.by;
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    by: i64,
}

impl Command for Count {
    const TYPE: &'static str = "Count";
}

impl Handle<Count> for Counter {
    type Error = Never;
    type Reply = i64;

    fn decide(&self, command: &Count, _: &Context) -> Result<Decision<Self, i64>, Never> {
        let note = "é \u{1F9F5} 'quoted' \"twice\" \u{2028}".to_owned();
        Ok(Decision::reply(self.value + command.by).event(Counted { by: command.by, note }))
    }
}

// The peers.

/// Where the tables are, and how a peer proves who it is.
struct Place {
    url: String,
    account: String,
    key: Option<String>,
    token: Option<String>,
}

struct Peer {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    calls: usize,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo's target folder: a test binary stands in `{target}/{profile}/deps`.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned()
}

/// The programs of the peers, the published crates first. `None` where one is not there, and nobody minds.
fn programs() -> Option<[(&'static str, Process); 2]> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/python/peer.py");
    let (crates, python) =
        (target().join("interop/debug/skein-interop"), target().join("tools/azure-tables/bin/python3"));
    for program in [&crates, &python] {
        if !program.exists() {
            let text = format!("{} is missing: `cargo xtask interop` makes it", program.display());
            assert!(std::env::var_os("CI").is_none(), "{text}");
            println!("SKIPPED: {text}");
            return None;
        }
    }
    let mut of_python = Process::new(python);
    of_python.arg(script);
    Some([("the published crates", Process::new(crates)), ("the SDK for Python", of_python)])
}

impl Peer {
    fn start(name: &'static str, mut program: Process, variables: &[(&str, Option<&str>)]) -> Self {
        for (variable, value) in variables {
            match value {
                Some(value) => program.env(variable, value),
                None => program.env_remove(variable),
            };
        }
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Peer { name, child, input, output, calls: 0 }
    }

    fn at(name: &'static str, program: Process, place: &Place) -> Self {
        let variables = [
            ("SKEIN_TABLES", Some(place.url.as_str())),
            ("SKEIN_ACCOUNT", Some(place.account.as_str())),
            ("SKEIN_KEY", place.key.as_deref()),
            ("SKEIN_TOKEN", place.token.as_deref()),
        ];
        Peer::start(name, program, &variables)
    }

    fn ask(&mut self, request: &Json) -> Result<Json, String> {
        self.calls += 1;
        writeln!(self.input, "{request}").expect("the peer reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the peer answers");
        let mut answer: Json = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}: {line:?}", self.name));
        match answer["error"].take() {
            Json::String(error) => Err(error),
            _ => Ok(answer["ok"].take()),
        }
    }

    #[track_caller]
    fn done(&mut self, request: &Json) -> Json {
        self.ask(request).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn write(&mut self, how: &str, table: &str, partition: &str, rows: &[Row]) -> Result<Json, String> {
        let rows: Vec<Json> = rows.iter().map(said).collect();
        self.ask(&json!({"do": how, "table": table, "partition": partition, "rows": rows}))
    }

    /// All rows of a partition, as the peer reads them.
    #[track_caller]
    fn rows(&mut self, table: &str, partition: &str) -> Vec<Json> {
        let rows = self.done(&json!({"do": "query", "table": table, "partition": partition}));
        rows.as_array().cloned().expect("a list")
    }
}

/// A row as the peers' protocol says it.
fn said(row: &Row) -> Json {
    let properties = row.properties.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => json!({"s": text}),
            Value::Int64(number) => json!({"i": number}),
            Value::Bool(flag) => json!({"t": flag}),
            Value::Double(number) => json!({"d": number}),
            Value::Binary(bytes) => json!({"x": STANDARD.encode(bytes)}),
        };
        (name.clone(), value)
    });
    json!({"key": row.key, "properties": properties.collect::<serde_json::Map<_, _>>()})
}

/// All rows of a partition, as our adapter reads them.
async fn ours(store: &AzureTableStore, table: &str, partition: &str) -> Vec<Row> {
    let range = Range { partition: partition.to_owned(), from: String::new(), to: None, top: 1_000 };
    let page = store.query(table, &range, None).await.expect("a page");
    page.rows.into_iter().map(|row| Row { key: row.key, properties: row.properties }).collect()
}

// What is shown.

struct Fixed(String);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

#[async_trait]
impl TokenCredential for Fixed {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(self.0.clone(), OffsetDateTime::now_utc() + Duration::from_secs(600)))
    }
}

/// A command worker that remembers nothing.
struct Worker {
    handler: CommandHandler,
    bus: Arc<MemoryBus>,
}

impl Worker {
    fn new(store: &AzureTableStore) -> Self {
        let bus = Arc::<MemoryBus>::default();
        let store: Arc<dyn TableStore> = Arc::new(store.clone());
        let (queue, clock) = (Arc::<MemoryQueue>::default(), ManualClock::new());
        let handler = CommandHandler::new("interop", Ports { shards: vec![store], queue, bus: bus.clone(), clock });
        Worker { handler: handler.handle::<Counter, Count>(), bus }
    }

    async fn count(&self, counter: &str, command: &str) -> Result<Receipt, skein_core::Fault> {
        let id = CommandId::new(command).unwrap();
        let trace = Trace { correlation_id: "c".into(), causation_id: None, traceparent: None };
        let ann = Principal::new("ann", ["customer"]);
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let envelope = Envelope::wrap(&Count { by: 2 }, id, of(counter), ann, trace, at).unwrap();
        let delivery = Delivery { message_id: command.to_owned(), count: 1, traceparent: None };
        self.handler.receive(&envelope.to_message().unwrap().body, &delivery).await
    }
}

fn of(counter: &str) -> AggregateId {
    AggregateId::new("counter", counter).unwrap()
}

fn commit_key(first: u64) -> String {
    format!("E~{:019}", 9_999_999_999_999_999_999 - first)
}

/// Rows of all types and hard texts, there and back.
async fn rows_are_the_same_for_both(peer: &mut Peer, store: &AzureTableStore, partition: &str) {
    const HARD: &str = "é \u{1F9F5} 'quoted' \"twice\" \r\n\t";
    let row = |key: &str, text: &str| {
        Row::new(key)
            .with("Text", text)
            .with("Empty", "")
            .with("Large", "x".repeat(30_000))
            .with("Least", i64::MIN)
            .with("Most", i64::MAX)
            .with("Small", 7)
            .with("Truth", true)
            .with("Half", Value::Double(0.5))
            .with("Bytes", Value::Binary(vec![0, 1, 254, 255]))
    };
    let separated = format!("{HARD}\u{2028}");
    // In a batch Azurite takes the separator for the row's end; our adapter escapes it, foreign clients do not.
    let (mine, theirs, batched) = (row("a'mine", &separated), row("b theirs ~é", &separated), row("c!batched", HARD));
    store.transact("rows", partition, &[Operation::Insert(mine.clone())]).await.expect("written");
    peer.write("insert", "rows", partition, std::slice::from_ref(&theirs)).expect("written");
    let batch = [batched.clone(), Row::new("d").with("Text", "last")];
    peer.write("batch", "rows", partition, &batch).expect("written");
    let rows = [mine, theirs, batched.clone(), Row::new("d").with("Text", "last")];
    assert_eq!(ours(store, "rows", partition).await, rows, "{}: written by both, read by ours", peer.name);
    assert_eq!(peer.rows("rows", partition), rows.iter().map(said).collect::<Vec<_>>(), "{}: read by it", peer.name);

    // A batch is all or nothing, whatever its sender is told: the published crate is told that it went well.
    let told = peer.write("batch", "rows", partition, &[Row::new("e").with("Text", "new"), batched]);
    println!("{}: a batch that failed is told as {told:?}", peer.name);
    assert_eq!(ours(store, "rows", partition).await.len(), rows.len(), "{}: nothing was written", peer.name);
}

/// A case's name, the key of the row that is changed, and how.
type Broken = (&'static str, &'static str, fn(&mut Row));

/// What the engine commits is read by the peer, and what the peer changes so that it breaks the layout is a permanent
/// fault that names the row: it is not folded, and nothing is published.
async fn a_row_that_breaks_the_layout_is_not_folded(peer: &mut Peer, store: &AzureTableStore, prefix: &str) {
    let broken: [Broken; 7] = [
        ("nometa", "E~1", |row| drop(row.properties.remove("Meta0"))),
        ("typed", "E~1", |row| drop(row.properties.insert("First".to_owned(), "1".into()))),
        ("events", "E~1", |row| drop(row.properties.insert("Events0".to_owned(), "[{]".into()))),
        ("gap", "E~1", |row| row.key = commit_key(5)),
        ("foreign", "E~1", |row| row.key = format!("{}x", commit_key(2))),
        ("behind", "E~1", |row| row.key = "E~of another".to_owned()),
        ("tip", "E!", |row| drop(row.properties.remove("Version"))),
    ];
    for (name, which, breaks) in broken {
        let counter = format!("{prefix}{name}");
        let partition = of(&counter).key();
        for n in [1, 2] {
            Worker::new(store).count(&counter, &format!("{counter}-{n}")).await.expect("counted");
        }
        let before = ours(store, EVENTS_TABLE, &partition).await;
        assert_eq!(before.len(), 5, "a tip, two commits, two outcomes");
        assert_eq!(peer.rows(EVENTS_TABLE, &partition), before.iter().map(said).collect::<Vec<_>>(), "{}", peer.name);

        let place = if which == "E!" { which.to_owned() } else { commit_key(1) };
        let mut row = before.iter().find(|row| row.key == place).expect("the row is there").clone();
        breaks(&mut row);
        peer.write("replace", EVENTS_TABLE, &partition, std::slice::from_ref(&row)).expect("written");
        let after = ours(store, EVENTS_TABLE, &partition).await;

        let (worker, command) = (Worker::new(store), format!("{counter}-3"));
        let fault = worker.count(&counter, &command).await.expect_err(name);
        assert_eq!((fault.code, fault.is_transient()), ("STORE_CORRUPT", false), "{name}: {fault}");
        assert!(fault.to_string().contains(&partition), "{name}: {fault}");
        let recorded = recorded_fault(store, "commands", &command).await.expect("readable").expect("recorded");
        assert_eq!((recorded.code.as_str(), recorded.transient), ("STORE_CORRUPT", false), "{name}");
        println!("{}, {name}: {fault}", peer.name);
        assert_eq!(ours(store, EVENTS_TABLE, &partition).await, after, "{name}: nothing was written");
        assert!(worker.bus.take().is_empty(), "{name}: nothing was published");
    }
}

async fn all(place: &Place, store: &AzureTableStore, programs: [(&'static str, Process); 2]) {
    let mut calls = 0;
    for (n, (name, program)) in programs.into_iter().enumerate() {
        let mut peer = Peer::at(name, program, place);
        rows_are_the_same_for_both(&mut peer, store, &format!("peer'{n}")).await;
        a_row_that_breaks_the_layout_is_not_folded(&mut peer, store, &format!("p{n}")).await;
        calls += peer.calls;
    }
    println!("{calls} requests by two foreign clients");
}

/// Serves a front on a free port.
async fn serve(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_clients_share_tables_on_the_local_front() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open(&folder.path().join("identity")).unwrap());
    let backend = Backend::embedded(folder.path(), [(ACCOUNT, TABLES.to_vec())]).unwrap();
    let url = serve(Router::new().nest(tables::PREFIX, tables::router(issuer.clone(), backend))).await;
    let url = format!("{url}{}/{ACCOUNT}", tables::PREFIX);
    let (token, _) = issuer.issue_managed_identity("principal", "client", "https://storage.azure.com").unwrap();
    let credential = TableCredential::Token(Arc::new(Fixed(token.clone())));
    let store = AzureTableStore::new(&http_client().unwrap(), credential, &url).unwrap();
    let place = Place { url, account: ACCOUNT.to_owned(), key: None, token: Some(token) };
    all(&place, &store, programs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_clients_share_tables_on_azurite() {
    let Some(programs) = programs() else { return };
    let way = azurite::chosen().await.expect("SKEIN_AZURITE is understood")[0];
    let azurite = match azurite::Azurite::start(way).await {
        Ok(azurite) => azurite,
        Err(error) => panic!("{error}\n{error:?}"),
    };
    let credential = TableCredential::SharedKey { account: azurite::ACCOUNT.to_owned(), key: azurite::KEY.to_owned() };
    let store = AzureTableStore::new(&http_client().unwrap(), credential, azurite.url()).unwrap();
    for table in TABLES {
        assert!(store.create_table(table).await.expect("the table is made"));
    }
    let (url, account) = (azurite.url().to_owned(), azurite::ACCOUNT.to_owned());
    let place = Place { url, account, key: Some(azurite::KEY.to_owned()), token: None };
    all(&place, &store, programs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_crate_shares_queues_on_the_local_front() {
    let Some([(name, program), _]) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let issuer = Arc::new(Issuer::open(&folder.path().join("identity")).unwrap());
    let broker = Broker::open(&folder.path().join("broker.db"), Arc::new(SystemClock)).unwrap();
    let settings = QueueSettings::default();
    broker.declare("sb/events", settings.clone()).await.unwrap();
    broker.declare("sb/commands", QueueSettings { requires_session: true, ..settings }).await.unwrap();
    let url = serve(Router::new().nest(broker::PREFIX, broker::router(issuer.clone(), broker.clone()))).await;
    let queue = |name: &str| format!("{url}{}/sb/{name}", broker::PREFIX);
    let (token, _) = issuer.issue_managed_identity("principal", "client", "https://servicebus.azure.net").unwrap();
    let queues = [("events".to_owned(), queue("events"))];
    let sender = ServiceBusQueues::new(&http_client().unwrap(), Arc::new(Fixed(token.clone())), queues).unwrap();
    let peer = |program: Process, queue: &str| {
        let variables = [("SKEIN_TABLES", None), ("SKEIN_QUEUE", Some(queue)), ("SKEIN_TOKEN", Some(token.as_str()))];
        Peer::start(name, program, &variables)
    };
    let path = program.get_program().to_owned();
    let mut events = peer(program, &queue("events"));

    // Ours sends, one message alone and two at once; it receives, gives one back, and settles all.
    let body = |n: u32| format!("{{\"n\":{n},\"text\":\"é \u{1F9F5}\"}}");
    let message = |n: u32| Message {
        id: format!("m-{n}"),
        session: String::new(),
        not_before: None,
        traceparent: None,
        body: body(n).into(),
    };
    sender.send("events", &[message(1)]).await.expect("sent");
    sender.send("events", &[message(2), message(3)]).await.expect("sent");
    let first = events.done(&json!({"do": "receive", "settle": false}));
    assert_eq!((&first["id"], &first["body"], &first["count"]), (&json!("m-1"), &json!(body(1)), &json!(1)));
    let mut received = BTreeSet::new();
    for _ in 0..3 {
        let message = events.done(&json!({"do": "receive", "settle": true}));
        let id = message["id"].as_str().unwrap().to_owned();
        assert_eq!(message["body"], body(id.strip_prefix("m-").unwrap().parse().unwrap()).as_str());
        assert_eq!(message["count"], if id == "m-1" { 2 } else { 1 }, "{message}");
        received.insert(id);
    }
    assert_eq!(received.len(), 3, "{received:?}");
    assert!(broker.receive("sb/events", Duration::ZERO).await.unwrap().is_none(), "all are settled");

    // It sends, with a session and without; the broker hands it on as our handlers get it.
    let mut commands = peer(Process::new(path), &queue("commands"));
    events.done(&json!({"do": "send", "id": "t-1", "body": body(4)}));
    let taken = broker.receive("sb/events", Duration::ZERO).await.unwrap().expect("a message");
    assert_eq!((taken.message_id.as_str(), &taken.body[..]), ("t-1", body(4).as_bytes()));
    commands.done(&json!({"do": "send", "id": "t-2", "session": "order:1", "body": body(5)}));
    let refused = commands.ask(&json!({"do": "send", "id": "t-3", "body": body(6)}));
    assert!(refused.as_ref().is_err_and(|error| error.contains("400")), "without a session: {refused:?}");
    let session = broker.accept_session("sb/commands", Duration::ZERO).await.unwrap().expect("a session");
    let taken = broker.receive_in_session(&session, Duration::ZERO).await.unwrap().expect("a message");
    assert_eq!((session.session_id(), taken.message_id.as_str()), ("order:1", "t-2"));
    assert_eq!(&taken.body[..], body(5).as_bytes());
    println!("{} requests by {name}", events.calls + commands.calls);
}

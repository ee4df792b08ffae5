//! A service's endpoint from a client's side: commands go out, outcomes and pages come back, errors have codes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use async_trait::async_trait;
use bytes::Bytes;
use expect_test::{Expect, expect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skein_core::handler::{CommandHandler, Delivery, Ports};
use skein_core::ports::{Clock, CommandQueue, EventBus, Message, SendError, TableError, TableStore, TransactError};
use skein_core::store::Outcome;
use skein_core::submit::Submitter;
use skein_core::table::{Continuation, Etag, Operation, Page as Rows, Properties, Range, StoredRow, Sweep, SweepPage};
use skein_core::views::Listing;
use skein_core::{
    Aggregate, AggregateId, Command, CommandId, Decision, Envelope, Fault, Handle, Principal, Rejection, Trace,
};
use skein_graphql::{
    Answer, Api, ApiError, Asked, Await, Caller, CommandStatus, Connection, Endpoint, HttpAnswer, Operations,
    OutcomeReader, Page, Serves, access, api, command_status, list, page_cost, submit,
};
use time::OffsetDateTime;

// A domain --------------------------------------------------------------------------------------------------------

/// A ticket was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    by: String,
}

skein_core::events! {
    /// What happens to a ticket.
    pub enum TicketEvent { Opened(Opened) = ("TicketOpened", 1) }
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Ticket(bool);

impl Aggregate for Ticket {
    const CATEGORY: &'static str = "ticket";
    type Event = TicketEvent;

    fn evolve(&mut self, _: &TicketEvent) {
        self.0 = true;
    }
}

#[derive(Serialize, Deserialize)]
struct Open {
    text: String,
}

impl Command for Open {
    const TYPE: &'static str = "Open";
    const CREATES: bool = true;
}

#[derive(Debug, thiserror::Error)]
#[error("it is open already")]
struct AlreadyOpen;

impl Rejection for AlreadyOpen {
    fn code(&self) -> &'static str {
        "ALREADY_OPEN"
    }
}

#[derive(Serialize, Deserialize)]
struct OpenReply {
    by: String,
}

impl Handle<Open> for Ticket {
    type Error = AlreadyOpen;
    type Reply = OpenReply;

    fn decide(&self, _: &Open, cx: &skein_core::Context) -> Result<Decision<Self, OpenReply>, AlreadyOpen> {
        if self.0 {
            return Err(AlreadyOpen);
        }
        let by = cx.principal.subject.clone();
        Ok(Decision::reply(OpenReply { by: by.clone() }).event(Opened { by }))
    }
}

// Its schema ------------------------------------------------------------------------------------------------------

#[derive(InputObject)]
struct OpenInput {
    id: Option<ID>,
    text: String,
}

#[derive(SimpleObject)]
struct OpenTicketReply {
    by: String,
}

impl From<OpenReply> for OpenTicketReply {
    fn from(reply: OpenReply) -> Self {
        OpenTicketReply { by: reply.by }
    }
}

struct Mutation;

#[Object]
impl Mutation {
    #[graphql(directive = access::apply(["customer", "operator"]))]
    async fn open_ticket(
        &self,
        cx: &Context<'_>,
        input: OpenInput,
        command_id: Option<ID>,
        #[graphql(name = "await", default)] wait: Await,
    ) -> Result<Answer<OpenTicketReply>, ApiError> {
        submit::<Ticket, _, _>(cx, Open { text: input.text }, input.id, command_id, wait).await
    }
}

#[derive(SimpleObject)]
struct Note {
    number: usize,
}

struct Nested;

#[Object]
impl Nested {
    async fn deeper(&self) -> Nested {
        Nested
    }

    async fn value(&self) -> i32 {
        1
    }
}

struct Query;

#[Object]
impl Query {
    #[graphql(directive = access::apply(["customer", "operator"]))]
    async fn command_status(
        &self,
        cx: &Context<'_>,
        aggregate_id: ID,
        command_id: ID,
    ) -> Result<CommandStatus, ApiError> {
        command_status(cx, &["note", "ticket"], &aggregate_id, &command_id).await
    }

    #[graphql(
        directive = access::apply(["customer"]),
        complexity = "page_cost(first, child_complexity)"
    )]
    async fn notes(&self, first: Option<i32>, after: Option<String>) -> Result<Connection<Note>, ApiError> {
        let page = Page::of(first, after.as_deref())?;
        let from = page.after.map_or(0, |row| row.parse::<usize>().map_or(0, |row| row + 1));
        let rows = (from..250).take(page.first).map(|number| (format!("{number:04}"), number)).collect();
        Ok(Connection::of(Listing { rows, has_next: from + page.first < 250 }, |number| Note { number }))
    }

    #[graphql(directive = access::apply(["customer"]))]
    async fn nested(&self) -> Nested {
        Nested
    }

    #[graphql(directive = access::apply(["customer"]))]
    async fn failing(&self, how: String) -> Result<i32, async_graphql::Error> {
        Err(match how.as_str() {
            "transient" => ApiError::from(Fault::transient("STORE_UNAVAILABLE", "table7.internal: refused")).into(),
            "permanent" => ApiError::from(Fault::permanent("VIEW_ROW_UNREADABLE", "row 5 of table7")).into(),
            _ => async_graphql::Error::new_with_source(std::fmt::Error),
        })
    }
}

// Ports -----------------------------------------------------------------------------------------------------------

type Key = (String, String, String);
type Stored = BTreeMap<Key, (Etag, Properties)>;

/// Tables in memory, as far as the event store needs them.
#[derive(Default)]
struct Memory(Mutex<(u64, Stored)>);

#[async_trait]
impl TableStore for Memory {
    async fn get(&self, table: &str, partition: &str, key: &str) -> Result<Option<StoredRow>, TableError> {
        let full = (table.to_owned(), partition.to_owned(), key.to_owned());
        let found = self.0.lock().unwrap().1.get(&full).cloned();
        Ok(found.map(|(etag, properties)| StoredRow { key: key.to_owned(), etag, properties }))
    }

    async fn query(&self, table: &str, range: &Range, _: Option<&Continuation>) -> Result<Rows, TableError> {
        let inner = self.0.lock().unwrap();
        let rows = inner
            .1
            .iter()
            .filter(|((of, partition, key), _)| {
                of == table
                    && *partition == range.partition
                    && *key >= range.from
                    && range.to.as_ref().is_none_or(|to| key < to)
            })
            .map(|((_, _, key), (etag, properties))| StoredRow {
                key: key.clone(),
                etag: etag.clone(),
                properties: properties.clone(),
            })
            .collect();
        Ok(Rows { rows, next: None })
    }

    async fn sweep(&self, _: &str, _: &Sweep, _: Option<&Continuation>) -> Result<SweepPage, TableError> {
        Err(TableError::Refused("nobody sweeps here".into()))
    }

    async fn transact(
        &self,
        table: &str,
        partition: &str,
        operations: &[Operation],
    ) -> Result<Vec<Option<Etag>>, TransactError> {
        let mut inner = self.0.lock().unwrap();
        let key = |operation: &Operation| (table.to_owned(), partition.to_owned(), operation.key().to_owned());
        for operation in operations {
            let there = inner.1.get(&key(operation)).map(|(etag, _)| etag.clone());
            let fits = match operation {
                Operation::Insert(_) => there.is_none(),
                Operation::Put(_) => true,
                Operation::Replace(_, etag) | Operation::Merge(_, etag) => there.as_ref() == Some(etag),
                Operation::Require(_) => there.is_some(),
                Operation::Delete(_, etag) => there.is_some() && (etag.is_none() || there == *etag),
            };
            if !fits {
                return Err(TransactError::Conflict(operation.key().to_owned()));
            }
        }
        let mut tags = Vec::new();
        for operation in operations {
            inner.0 += 1;
            let etag = Etag(inner.0.to_string());
            match operation {
                Operation::Insert(row) | Operation::Put(row) | Operation::Replace(row, _) => {
                    inner.1.insert(key(operation), (etag.clone(), row.properties.clone()));
                }
                Operation::Merge(row, _) => {
                    let entry = inner.1.get_mut(&key(operation)).expect("checked above");
                    entry.0 = etag.clone();
                    entry.1.extend(row.properties.clone());
                }
                Operation::Require(_) => {
                    inner.1.get_mut(&key(operation)).expect("checked above").0 = etag.clone();
                }
                Operation::Delete(..) => {
                    inner.1.remove(&key(operation));
                }
            }
            tags.push((!matches!(operation, Operation::Delete(..))).then_some(etag));
        }
        Ok(tags)
    }
}

/// A queue that hands each message to the handler at once, keeps it, or is away.
#[derive(Default)]
struct Queue {
    handler: Mutex<Option<Arc<CommandHandler>>>,
    away: bool,
    sent: Mutex<Vec<Message>>,
}

#[async_trait]
impl CommandQueue for Queue {
    async fn send(&self, service: &str, messages: &[Message]) -> Result<(), SendError> {
        if self.away {
            return Err(SendError::Unavailable { target: service.into(), reason: "sb-internal: refused".into() });
        }
        let handler = self.handler.lock().unwrap().clone();
        for message in messages {
            self.sent.lock().unwrap().push(message.clone());
            if let Some(handler) = &handler {
                let delivery = Delivery { message_id: message.id.clone(), count: 1, traceparent: None };
                handler.receive(&message.body, &delivery).await.expect("a command is handled");
            }
        }
        Ok(())
    }
}

struct Silent;

#[async_trait]
impl EventBus for Silent {
    async fn publish(&self, _: &[Bytes]) -> Result<(), SendError> {
        Ok(())
    }
}

/// A clock on which waiting takes no time.
struct Fast(Mutex<OffsetDateTime>);

#[async_trait]
impl Clock for Fast {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
        tokio::task::yield_now().await;
    }
}

struct Outcomes(Arc<Submitter>);

#[async_trait]
impl OutcomeReader for Outcomes {
    async fn outcome(&self, aggregate: &AggregateId, command: &CommandId) -> Result<Option<Outcome>, Fault> {
        self.0.outcome(aggregate, command).await
    }
}

// A service -------------------------------------------------------------------------------------------------------

struct Desk {
    mutations: Endpoint<Query, Mutation>,
    queries: Endpoint<Query, Mutation>,
    queue: Arc<Queue>,
}

enum Handling {
    AtOnce,
    Never,
    Away,
}

const NESTED: &str = "df06fba8dd50024a7401dd33db404f13ee29c087b9d99b58f30d4ff927bfd7bb";
const OPEN: &str = "5f784e68226008ef0fde87cb33be19da09beb916b939bf26f87721b74fe5e3cf";
/// What [`list`] makes of a query and a mutation.
const OPERATIONS: &str = r#"{
  "5f784e68226008ef0fde87cb33be19da09beb916b939bf26f87721b74fe5e3cf": "mutation{openTicket(input:{text:\"x\"}){commandId}}",
  "df06fba8dd50024a7401dd33db404f13ee29c087b9d99b58f30d4ff927bfd7bb": "{nested{value}}"
}
"#;

fn desk(handling: Handling) -> Desk {
    let queue = Arc::new(Queue { away: matches!(handling, Handling::Away), ..Queue::default() });
    let ports = Ports {
        shards: vec![Arc::new(Memory::default())],
        queue: queue.clone(),
        bus: Arc::new(Silent),
        clock: Arc::new(Fast(Mutex::new(OffsetDateTime::UNIX_EPOCH))),
    };
    if matches!(handling, Handling::AtOnce) {
        let handler = CommandHandler::new("desk", ports.clone()).handle::<Ticket, Open>();
        *queue.handler.lock().unwrap() = Some(Arc::new(handler));
    }
    let submitter = Arc::new(Submitter::new("desk", ports));
    let outcomes: Arc<dyn OutcomeReader> = Arc::new(Outcomes(Arc::clone(&submitter)));
    let api = api(Query, Mutation).operations(Operations::of(OPERATIONS));
    let api: Api<Query, Mutation> = api.data(submitter).data(outcomes).finish().unwrap();
    let endpoint = |serves| Endpoint::new(api.clone(), serves, serves == Serves::Queries, Duration::from_secs(10));
    Desk { mutations: endpoint(Serves::Mutations), queries: endpoint(Serves::Queries), queue }
}

fn caller(name: &str) -> Caller {
    let role = if name == "root" { "operator" } else { "customer" };
    let trace = Trace { correlation_id: "t-1".into(), causation_id: None, traceparent: Some("00-t-1".into()) };
    Caller { principal: Principal::new(name, [role]), trace }
}

impl Desk {
    async fn mutate(&self, name: &str, arguments: &str) -> Value {
        let query = format!(
            "mutation {{ openTicket({arguments}) {{ commandId aggregateId correlationId outcome {{ status version reply \
             {{ by }} rejection {{ code message }} }} }} }}"
        );
        self.send(&self.mutations, name, &query).await
    }

    async fn ask(&self, name: &str, query: &str) -> Value {
        self.send(&self.queries, name, query).await
    }

    async fn send(&self, endpoint: &Endpoint<Query, Mutation>, name: &str, query: &str) -> Value {
        let body = json!({"query": query}).to_string();
        let answer = endpoint.answer(body.as_bytes(), None, caller(name)).await;
        assert_eq!((answer.status, answer.content_type), (200, "application/json"), "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }
}

/// The first error's code and message; its trace id is checked.
fn error(response: &Value) -> String {
    let error = &response["errors"][0];
    assert_eq!(error["extensions"]["traceId"], "t-1", "{response}");
    format!("{} {}", error["extensions"]["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

fn check(response: &Value, expect: Expect) {
    expect.assert_eq(&serde_json::to_string_pretty(response).unwrap());
}

// Mutations -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_committed_mutation_answers_with_the_commands_own_reply() {
    let desk = desk(Handling::AtOnce);
    let arguments = r#"input: {id: "85123A", text: "x"}, commandId: "k", await: COMMITTED"#;
    let response = desk.mutate("ann", arguments).await;
    check(
        &response,
        expect![[r#"
            {
              "data": {
                "openTicket": {
                  "aggregateId": "85123A",
                  "commandId": "4accecc3-94f2-5a8d-ab78-59227735732b",
                  "correlationId": "t-1",
                  "outcome": {
                    "rejection": null,
                    "reply": {
                      "by": "ann"
                    },
                    "status": "COMMITTED",
                    "version": 1
                  }
                }
              }
            }"#]],
    );
}

#[tokio::test]
async fn a_rejection_is_an_outcome_and_no_error() {
    let desk = desk(Handling::AtOnce);
    desk.mutate("ann", r#"input: {id: "1", text: "x"}"#).await;
    let response = desk.mutate("ann", r#"input: {id: "1", text: "y"}, await: COMMITTED"#).await;
    let outcome = &response["data"]["openTicket"]["outcome"];
    assert_eq!(
        *outcome,
        json!({
            "status": "REJECTED",
            "version": 1,
            "reply": null,
            "rejection": {"code": "ALREADY_OPEN", "message": "it is open already"}
        })
    );
}

#[tokio::test]
async fn an_accepted_mutation_is_queued_for_its_principal_in_its_trace() {
    let desk = desk(Handling::Never);
    let response = desk.mutate("ann", r#"input: {text: "x"}"#).await;
    let answer = &response["data"]["openTicket"];
    assert_eq!(answer["outcome"], json!({"status": "PENDING", "version": null, "reply": null, "rejection": null}));
    let sent = desk.queue.sent.lock().unwrap();
    let envelope = Envelope::from_json(&sent[0].body).unwrap();
    assert_eq!(answer["commandId"], envelope.id.as_str());
    assert_eq!(answer["aggregateId"], envelope.aggregate.id(), "a new ticket gets an id");
    assert_eq!(envelope.principal, Principal::new("ann", ["customer"]));
    assert_eq!(envelope.trace, caller("ann").trace);
    assert_eq!(sent[0].session, envelope.aggregate.key());
}

#[tokio::test]
async fn waiting_ends() {
    let desk = desk(Handling::Never);
    let response = desk.mutate("ann", r#"input: {text: "x"}, await: COMMITTED"#).await;
    assert_eq!(response["data"]["openTicket"]["outcome"]["status"], "PENDING");
}

#[tokio::test]
async fn a_command_id_is_one_command_of_one_principal() {
    let desk = desk(Handling::AtOnce);
    let arguments = r#"input: {text: "x"}, commandId: "k""#;
    let first = desk.mutate("ann", arguments).await;
    let again = desk.mutate("ann", arguments).await;
    for same in ["commandId", "aggregateId"] {
        assert_eq!(first["data"]["openTicket"][same], again["data"]["openTicket"][same], "{same}");
    }
    assert_eq!(first["data"]["openTicket"]["outcome"]["status"], "PENDING");
    assert_eq!(again["data"]["openTicket"]["outcome"]["status"], "COMMITTED", "it is known by now");
    assert_eq!(desk.queue.sent.lock().unwrap().len(), 1);
    let bob = desk.mutate("bob", arguments).await;
    assert_ne!(first["data"]["openTicket"]["commandId"], bob["data"]["openTicket"]["commandId"]);
    let other = desk.mutate("ann", r#"input: {text: "y"}, commandId: "k""#).await;
    assert_eq!(error(&other), "COMMAND_ID_REUSED the command id \"k\" was used for another command: choose a new one");
}

#[tokio::test]
async fn what_cannot_be_queued_is_refused_with_a_code() {
    let desk = desk(Handling::Never);
    let code = async |arguments: &str| error(&desk.mutate("ann", arguments).await);
    assert_eq!(code(r#"input: {id: " ", text: "x"}"#).await, "BAD_USER_INPUT an id must not be empty");
    assert!(code(&format!(r#"input: {{id: "{}", text: ""}}"#, "x".repeat(200))).await.starts_with("BAD_USER_INPUT"));
    assert!(code(r#"input: {text: ""}, commandId: """#).await.starts_with("BAD_USER_INPUT"));
    assert!(code(&format!(r#"input: {{text: "{}"}}"#, "x".repeat(200_000))).await.starts_with("TOO_LARGE"));
    assert!(code(r#"input: {}"#).await.starts_with("GRAPHQL_VALIDATION_FAILED"));
    assert!(desk.queue.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_fault_tells_its_code_and_nothing_of_the_inside() {
    let queries = desk(Handling::Away);
    let response = queries.mutate("ann", r#"input: {text: "x"}"#).await;
    assert!(error(&response).starts_with("UNAVAILABLE "), "{response}");
    assert!(!response.to_string().contains("sb-internal"), "{response}");
    for (how, code, fault) in [
        ("transient", "UNAVAILABLE", json!("STORE_UNAVAILABLE")),
        ("permanent", "INTERNAL", json!("VIEW_ROW_UNREADABLE")),
        ("foreign", "INTERNAL", Value::Null),
    ] {
        let response = queries.ask("ann", &format!("{{ failing(how: \"{how}\") }}")).await;
        assert!(error(&response).starts_with(code), "{response}");
        assert_eq!(response["errors"][0]["extensions"]["fault"], fault);
        for inside in ["table7", "an error occurred"] {
            assert!(!response.to_string().contains(inside), "{response}");
        }
    }
}

// Queries ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_commands_status_is_told_to_its_sender_and_to_operators() {
    let desk = desk(Handling::AtOnce);
    let sent = desk.mutate("ann", r#"input: {id: "a b", text: "x"}, commandId: "k""#).await;
    let id = sent["data"]["openTicket"]["commandId"].as_str().unwrap().to_owned();
    let ask = async |name: &str, aggregate: &str, command: &str| {
        let query = format!(
            "{{ commandStatus(aggregateId: \"{aggregate}\", commandId: \"{command}\") \
             {{ status version reply rejection {{ code }} }} }}"
        );
        let response = desk.ask(name, &query).await;
        if response["errors"].is_null() { response["data"]["commandStatus"].to_string() } else { error(&response) }
    };
    let committed = r#"{"rejection":null,"reply":"{\"by\":\"ann\"}","status":"COMMITTED","version":1}"#;
    for (aggregate, command) in [("a b", "k"), ("a b", id.as_str()), ("ticket:a b", "k"), ("ticket:a b", id.as_str())] {
        assert_eq!(ask("ann", aggregate, command).await, committed, "{aggregate} {command}");
    }
    assert_eq!(ask("root", "a b", &id).await, committed);
    assert_eq!(ask("bob", "a b", &id).await, "NOT_FOUND there is no such command");
    let pending = r#"{"rejection":null,"reply":null,"status":"PENDING","version":null}"#;
    assert_eq!(ask("ann", "a b", "other").await, pending);
    assert_eq!(ask("ann", "other:a b", "k").await, pending, "a category of another service is part of an id");
    assert!(ask("ann", "", "k").await.starts_with("BAD_USER_INPUT"));
}

#[tokio::test]
async fn pages_follow_each_other_and_stay_small() {
    let desk = desk(Handling::Never);
    let page = async |arguments: &str| {
        let query = format!(
            "{{ notes{arguments} {{ edges {{ cursor node {{ number }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        );
        desk.ask("ann", &query).await
    };
    let mut seen = Vec::new();
    let mut arguments = "(first: 100)".to_owned();
    loop {
        let response = page(&arguments).await;
        let notes = &response["data"]["notes"];
        let edges = notes["edges"].as_array().unwrap_or_else(|| panic!("{response}"));
        seen.extend(edges.iter().map(|edge| edge["node"]["number"].as_u64().unwrap()));
        if notes["pageInfo"]["hasNextPage"] == false {
            break;
        }
        arguments = format!("(first: 100, after: {})", notes["pageInfo"]["endCursor"]);
    }
    assert_eq!(seen, (0..250).collect::<Vec<_>>());
    assert_eq!(page("").await["data"]["notes"]["edges"].as_array().unwrap().len(), 20);
    assert!(error(&page("(first: 0)").await).starts_with("BAD_USER_INPUT first is 0"));
    assert!(error(&page(r#"(after: "0005")"#).await).starts_with("BAD_USER_INPUT after is no cursor"));
    assert_eq!(page("(first: 2000)").await["data"]["notes"]["edges"].as_array().unwrap().len(), 100);
    let pages: String =
        (0..9).map(|n| format!("p{n}: notes(first: 100) {{ edges {{ cursor node {{ number }} }} }} ")).collect();
    assert!(desk.ask("ann", &format!("{{ {pages} }}")).await["errors"].is_null());
    let pages = pages.replace("number }", "number number2: number number3: number }");
    assert!(error(&desk.ask("ann", &format!("{{ {pages} }}")).await).starts_with("QUERY_TOO_COMPLEX"));
}

// The endpoint ----------------------------------------------------------------------------------------------------

async fn answer(endpoint: &Endpoint<Query, Mutation>, body: &str) -> HttpAnswer {
    endpoint.answer(body.as_bytes(), None, caller("ann")).await
}

#[tokio::test]
async fn each_endpoint_serves_its_kind_only() {
    let desk = desk(Handling::Never);
    let mutation = r#"mutation M { openTicket(input: {text: "x"}) { commandId } }"#;
    let both = format!("query Q {{ nested {{ value }} }} {mutation}");
    for (document, name, on_mutations, on_queries) in [
        (mutation, None, "200", "400 OPERATION_KIND_MISMATCH"),
        ("{ nested { value } }", None, "400 OPERATION_KIND_MISMATCH", "200"),
        (&both, Some("M"), "200", "400 OPERATION_KIND_MISMATCH"),
        (&both, Some("Q"), "400 OPERATION_KIND_MISMATCH", "200"),
        (&both, None, "422 OPERATION_RESOLUTION_FAILURE", "422 OPERATION_RESOLUTION_FAILURE"),
        (&both, Some("X"), "422 OPERATION_RESOLUTION_FAILURE", "422 OPERATION_RESOLUTION_FAILURE"),
        ("subscription { a }", None, "400 OPERATION_KIND_MISMATCH", "400 OPERATION_KIND_MISMATCH"),
        ("# mutation\n{ nested { value } }", None, "400 OPERATION_KIND_MISMATCH", "200"),
        ("query { mutation: nested { value } }", None, "400 OPERATION_KIND_MISMATCH", "200"),
        ("mutation", None, "400 GRAPHQL_PARSE_FAILED", "400 GRAPHQL_PARSE_FAILED"),
        ("type Q { a: Int }", None, "400 GRAPHQL_PARSE_FAILED", "400 GRAPHQL_PARSE_FAILED"),
    ] {
        let body = json!({"query": document, "operationName": name}).to_string();
        for (endpoint, expected) in [(&desk.mutations, on_mutations), (&desk.queries, on_queries)] {
            let answer = answer(endpoint, &body).await;
            let said = answer.outcome.map_or(answer.status.to_string(), |code| format!("{} {code}", answer.status));
            assert_eq!(said, expected, "{document}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let desk = desk(Handling::Never);
    for (body, status, code) in [
        ("", 400, "BAD_REQUEST"),
        ("{", 400, "BAD_REQUEST"),
        ("{ nested { value } }", 400, "BAD_REQUEST"),
        (r#"[{"query":"{nested{value}}"}"#, 400, "BAD_REQUEST"),
        (r#"{"query":"{nested{value}}"} x"#, 400, "BAD_REQUEST"),
        ("null", 422, "MALFORMED_REQUEST"),
        ("[]", 422, "MALFORMED_REQUEST"),
        (r#"[{"query":"{nested{value}}"}]"#, 422, "MALFORMED_REQUEST"),
        (r#"{"query":5}"#, 422, "MALFORMED_REQUEST"),
        (r#"{"qeury":"{nested{value}}"}"#, 422, "MALFORMED_REQUEST"),
        (r#"{"query":"{nested{value}}","variables":[7]}"#, 422, "MALFORMED_REQUEST"),
        (r#"{"query":"{nested{value}}","query":"{nested{value}}"}"#, 422, "MALFORMED_REQUEST"),
    ] {
        let answer = answer(&desk.queries, body).await;
        assert_eq!((answer.status, answer.outcome.as_deref()), (status, Some(code)), "{body}: {}", answer.body);
        let response: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(response["errors"][0]["extensions"]["traceId"], "t-1");
    }
}

#[tokio::test]
async fn a_get_asks_for_queries_and_for_nothing_else() {
    let desk = desk(Handling::AtOnce);
    let long = format!("query={{nested{{value}}}}{}", "+".repeat(7_168));
    for (query, on_queries, on_mutations) in [
        ("query={nested{value}}", "200", "400 OPERATION_KIND_MISMATCH"),
        (
            "query=query+N($first:Int){notes(first:$first){pageInfo{hasNextPage}}}&variables={%22first%22:1}&operationName=N",
            "200",
            "400 OPERATION_KIND_MISMATCH",
        ),
        (
            "query=%7Bnested%7Bvalue%7D%7D&operationName=&variables=null&extensions=%7B%22a%22:1%7D",
            "200",
            "400 OPERATION_KIND_MISMATCH",
        ),
        (
            "query=mutation{openTicket(input:{text:%22x%22}){commandId}}",
            "405 METHOD_NOT_ALLOWED",
            "405 METHOD_NOT_ALLOWED",
        ),
        ("query=subscription{a}", "405 METHOD_NOT_ALLOWED", "405 METHOD_NOT_ALLOWED"),
        ("query={nested{value}}&query={nested{value}}", "400 BAD_REQUEST", "400 BAD_REQUEST"),
        ("query={nested{value}}&code=x", "400 BAD_REQUEST", "400 BAD_REQUEST"),
        ("query=%ff", "400 BAD_REQUEST", "400 BAD_REQUEST"),
        ("query", "400 BAD_REQUEST", "400 BAD_REQUEST"),
        ("query={nested{value}}&variables={", "400 BAD_REQUEST", "400 BAD_REQUEST"),
        ("query={nested{value}}&variables=[7]", "422 MALFORMED_REQUEST", "422 MALFORMED_REQUEST"),
        ("", "422 MALFORMED_REQUEST", "422 MALFORMED_REQUEST"),
        ("query=", "422 MALFORMED_REQUEST", "422 MALFORMED_REQUEST"),
        (&long, "414 URI_TOO_LONG", "414 URI_TOO_LONG"),
    ] {
        for (endpoint, expected) in [(&desk.queries, on_queries), (&desk.mutations, on_mutations)] {
            let answer = endpoint.answer_to(Asked::Get(query), None, caller("ann")).await;
            let said = answer.outcome.map_or(answer.status.to_string(), |code| format!("{} {code}", answer.status));
            assert_eq!(said, expected, "{query}: {}", answer.body);
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert!(expected == "200" || body["errors"][0]["extensions"]["traceId"] == "t-1", "{body}");
        }
    }
    assert!(desk.queue.sent.lock().unwrap().is_empty(), "nothing was changed");
}

#[tokio::test]
async fn a_document_is_named_by_its_hash() {
    let documents = [
        ("nested.graphql".to_owned(), "{nested{value}}".to_owned()),
        ("open.graphql".to_owned(), "mutation{openTicket(input:{text:\"x\"}){commandId}}".to_owned()),
    ];
    let whole = api(Query, Mutation).finish().unwrap();
    assert_eq!(list(&whole, &documents).await.unwrap(), OPERATIONS);
    let wrong = [
        "{ nothing }",
        "{ a",
        "query A { nested { value } } query B { nested { value } }",
        "fragment F on Query { a }",
    ];
    let wrong = wrong.map(|text| ("wrong.graphql".to_owned(), text.to_owned()));
    let told = list(&whole, &wrong).await.unwrap_err();
    assert_eq!(told.len(), 4);
    assert!(told.iter().all(|why| why.starts_with("wrong.graphql: ")), "{told:?}");

    let desk = desk(Handling::AtOnce);
    let unknown = "0".repeat(64);
    let named = |hash: &str| format!("{{\"persistedQuery\":{{\"version\":1,\"sha256Hash\":\"{hash}\"}}}}");
    let said = |answer: HttpAnswer| {
        answer.outcome.map_or(answer.status.to_string(), |code| format!("{} {code}", answer.status))
    };
    let other = "422 PERSISTED_OPERATION_NOT_FOUND";
    for (hash, on_queries, on_mutations) in [
        (NESTED, "200", "400 OPERATION_KIND_MISMATCH"),
        (&NESTED.to_uppercase(), "200", "400 OPERATION_KIND_MISMATCH"),
        (OPEN, "405 METHOD_NOT_ALLOWED", "405 METHOD_NOT_ALLOWED"),
        (&unknown, other, other),
        ("x", "422 MALFORMED_REQUEST", "422 MALFORMED_REQUEST"),
    ] {
        let query = format!("extensions={}", named(hash).replace('"', "%22"));
        for (endpoint, expected) in [(&desk.queries, on_queries), (&desk.mutations, on_mutations)] {
            assert_eq!(said(endpoint.answer_to(Asked::Get(&query), None, caller("ann")).await), expected, "GET {hash}");
        }
    }
    assert!(desk.queue.sent.lock().unwrap().is_empty(), "nothing was changed");
    for (body, on_queries, on_mutations) in [
        (format!("{{\"extensions\":{}}}", named(NESTED)), "400 OPERATION_KIND_MISMATCH", "400 OPERATION_KIND_MISMATCH"),
        (format!("{{\"extensions\":{}}}", named(OPEN)), "400 OPERATION_KIND_MISMATCH", "200"),
        (format!("{{\"extensions\":{}}}", named(&unknown)), other, other),
        (
            format!("{{\"extensions\":{},\"query\":\"{{nested{{value}}}}\"}}", named(NESTED)),
            "200",
            "400 OPERATION_KIND_MISMATCH",
        ),
        (
            format!("{{\"extensions\":{},\"query\":\"{{nested{{value}}}}\"}}", named(OPEN)),
            "422 MALFORMED_REQUEST",
            "422 MALFORMED_REQUEST",
        ),
        (r#"{"extensions":{"persistedQuery":7}}"#.to_owned(), "422 MALFORMED_REQUEST", "422 MALFORMED_REQUEST"),
        (r#"{"extensions":{"other":7}}"#.to_owned(), "422 MALFORMED_REQUEST", "422 MALFORMED_REQUEST"),
    ] {
        for (endpoint, expected) in [(&desk.queries, on_queries), (&desk.mutations, on_mutations)] {
            assert_eq!(said(answer(endpoint, &body).await), expected, "POST {body}");
        }
    }
    assert_eq!(desk.queue.sent.lock().unwrap().len(), 1, "one mutation");
}

/// What is not in the list is not even parsed; introspection is a document as any other.
#[tokio::test]
async fn where_only_the_list_counts_nothing_else_is_executed() {
    let api = api(Query, Mutation).operations(Operations::of(OPERATIONS)).persisted_only(true).finish().unwrap();
    let [queries, mutations] = [Serves::Queries, Serves::Mutations]
        .map(|serves| Endpoint::new(api.clone(), serves, true, Duration::from_secs(10)));
    for (query, on_queries, on_mutations) in [
        ("{nested{value}}", (200, None), (400, Some("OPERATION_KIND_MISMATCH"))),
        ("{nested{value}} ", (403, Some("QUERY_NOT_IN_SAFELIST")), (403, Some("QUERY_NOT_IN_SAFELIST"))),
        ("{ a", (403, Some("QUERY_NOT_IN_SAFELIST")), (403, Some("QUERY_NOT_IN_SAFELIST"))),
        (INTROSPECTION, (403, Some("QUERY_NOT_IN_SAFELIST")), (403, Some("QUERY_NOT_IN_SAFELIST"))),
    ] {
        for (endpoint, expected) in [(&queries, on_queries), (&mutations, on_mutations)] {
            let answer = answer(endpoint, &json!({"query": query}).to_string()).await;
            assert_eq!((answer.status, answer.outcome.as_deref()), expected, "{query}: {}", answer.body);
        }
    }
    let get = queries.answer_to(Asked::Get("query={nested{value}}+"), None, caller("ann")).await;
    assert_eq!((get.status, get.outcome.as_deref()), (403, Some("QUERY_NOT_IN_SAFELIST")));
}

#[tokio::test]
async fn the_newer_media_type_tells_a_refused_document_by_its_status() {
    let desk = desk(Handling::Never);
    let accept = Some("application/graphql-response+json, application/json;q=0.9");
    for (query, status) in
        [("{ nested { value } }", 200), ("{ unknown }", 422), ("{ failing(how: \"transient\") }", 200)]
    {
        let body = json!({"query": query}).to_string();
        let answer = desk.queries.answer(body.as_bytes(), accept, caller("ann")).await;
        assert_eq!((answer.status, answer.content_type), (status, "application/graphql-response+json"), "{query}");
    }
}

#[tokio::test]
async fn who_accepts_no_answer_is_told_so_before_anything_is_executed() {
    let desk = desk(Handling::Never);
    let body = json!({"query": "{ nested { value } }"}).to_string();
    let answer = desk.queries.answer(body.as_bytes(), Some("text/html"), caller("ann")).await;
    assert_eq!((answer.status, answer.content_type), (406, "application/json"));
    assert_eq!(answer.outcome.as_deref(), Some("NOT_ACCEPTABLE"));
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert!(answer["errors"][0]["extensions"]["traceId"].is_string() && answer["data"].is_null(), "{answer}");
}

#[tokio::test]
async fn depth_and_complexity_are_limited() {
    let desk = desk(Handling::Never);
    let deep =
        |levels: usize| format!("{{ nested {} value {} }}", "{ deeper ".repeat(levels) + "{", "}".repeat(levels + 1));
    assert!(desk.ask("ann", &deep(8)).await["errors"].is_null());
    assert!(error(&desk.ask("ann", &deep(9)).await).starts_with("QUERY_TOO_DEEP"));
    let wide = |fields: usize| {
        let fields: String = (0..fields).map(|n| format!("f{n}: nested {{ value }} ")).collect();
        format!("{{ {fields} }}")
    };
    assert!(desk.ask("ann", &wide(900)).await["errors"].is_null());
    let refused = answer(&desk.queries, &json!({"query": wide(1_001)}).to_string()).await;
    assert_eq!((refused.status, refused.outcome.as_deref()), (422, Some("QUERY_TOO_COMPLEX")));
}

/// async-graphql's validation panics over a default of a type that the schema does not have.
#[tokio::test]
async fn a_variable_of_an_unknown_type_is_refused() {
    let desk = desk(Handling::Never);
    for query in ["query ($a: [Strange!] = [1]) { nested { value } }", "query ($a: Strange) { nested { value } }"] {
        let answer = answer(&desk.queries, &json!({"query": query}).to_string()).await;
        assert_eq!((answer.status, answer.outcome.as_deref()), (422, Some("GRAPHQL_VALIDATION_FAILED")), "{query}");
        assert!(answer.body.contains("Strange"), "{}", answer.body);
    }
    assert!(
        desk.ask("ann", "query ($a: [String!] = []) { nested { value } }").await["errors"][0]["message"].is_string()
    );
}

#[tokio::test]
async fn documents_that_would_never_end_are_refused_at_once() {
    let desk = desk(Handling::Never);
    let laughs: String =
        (0..40).map(|n| format!("fragment F{n} on Nested {{ ...F{next} ...F{next} }} ", next = n + 1)).collect();
    let laughs = format!("{{ nested {{ ...F0 }} }} {laughs} fragment F40 on Nested {{ value }}");
    let cycle = "{ nested { ...A } } fragment A on Nested { ...B ...B } fragment B on Nested { ...A ...A }";
    let unused = "{ nested { value } } fragment A on Nested { ...A ...A }";
    let deep = format!("{{ nested {}", "{ deeper ".repeat(25_000));
    let lists = format!("{{ failing(how: {})", "[".repeat(100_000));
    for (document, code) in [
        (laughs.as_str(), "QUERY_TOO_COMPLEX"),
        (cycle, "GRAPHQL_VALIDATION_FAILED"),
        (unused, "GRAPHQL_VALIDATION_FAILED"),
        (&deep, "QUERY_TOO_DEEP"),
        (&lists, "QUERY_TOO_DEEP"),
    ] {
        let answer = answer(&desk.queries, &json!({"query": document}).to_string()).await;
        assert_eq!((answer.status, answer.outcome.as_deref()), (422, Some(code)), "{:.80}", document);
    }
}

/// What GraphiQL asks when it opens.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { queryType { name } mutationType { name } types { ...FullType } \
    directives { name args { ...InputValue } } } } \
    fragment FullType on __Type { kind name fields(includeDeprecated: true) { name args { ...InputValue } type { ...TypeRef } } \
    inputFields { ...InputValue } interfaces { ...TypeRef } enumValues { name } possibleTypes { ...TypeRef } } \
    fragment InputValue on __InputValue { name type { ...TypeRef } defaultValue } \
    fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name \
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

#[tokio::test]
async fn the_schema_may_be_read_where_that_is_allowed() {
    let desk = desk(Handling::Never);
    let response = desk.ask("ann", INTROSPECTION).await;
    assert_eq!(response["data"]["__schema"]["mutationType"]["name"], "Mutation", "{response}");
    let closed = Endpoint::new(api(Query, Mutation).finish().unwrap(), Serves::Queries, false, Duration::ZERO);
    let response = desk.send(&closed, "ann", INTROSPECTION).await;
    assert!(response["data"]["__schema"].is_null(), "{response}");
    let mixed = INTROSPECTION.replacen("{ __schema", "{ nested { value } __schema", 1);
    assert!(error(&desk.ask("ann", &mixed).await).starts_with("QUERY_TOO_DEEP"), "only the schema alone may go deep");
}

#[tokio::test]
async fn what_the_gateway_is_not_certain_of_is_not_executed() {
    let desk = desk(Handling::Never);
    let ask = async |body: String| {
        let answer = desk.queries.answer(body.as_bytes(), None, caller("ann")).await;
        let response: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, response["errors"][0]["extensions"]["code"].as_str().map(str::to_owned))
    };
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"query":"{{ __typename }}","variables":{{"a":{open}{close}}}}}"#)
    };
    let long = |units: usize| {
        let body = r#"{"query":"{ __typename }"}"#;
        format!("{body}{}", " ".repeat(units - body.len()))
    };
    let mismatch = (400, Some("OPERATION_KIND_MISMATCH".to_owned()));
    assert_eq!(ask(nested(62)).await.0, 200);
    assert_eq!(ask(nested(63)).await, mismatch, "both parsers read it, the gateway's does not go as deep");
    assert_eq!(ask(long(skein_kind::MAX_BODY_UNITS)).await.0, 200);
    let large = (413, Some("PAYLOAD_TOO_LARGE".to_owned()));
    assert_eq!(ask(long(skein_kind::MAX_BODY_UNITS + 1)).await, large);
}

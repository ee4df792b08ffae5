//! Subscriptions: an operation is executed once for each change and each group of those who asked the same, and what
//! comes of it is sent to the group through the hub.
//!
//! A client connects to the hub with what [`Subscriptions::negotiate`] gives it, and calls `subscribe` there with an id of
//! its own and `{"query", "operationName", "variables", "extensions", "resume": {"group", "number"}}`, where `extensions` may
//! name a document instead of `query`, as over HTTP. The answer is either
//! `{"errors"}` or
//!
//! - `group`: what `next` and `renew` name;
//! - `number`: the number to go on from, and `payloads`: what is so now (none for a list, which a query tells); or
//! - `missed`: the messages that it would have been sent since the number that it resumes from, at most 64;
//! - `expiresIn`: after how many seconds it has to negotiate anew.
//!
//! A session ends after [`SESSION`], or with the client's token where that ends before, to the second: what changes later is
//! not sent to it, and its calls answer `UNAUTHENTICATED`. The gateway takes a token for a minute after its end, since clocks
//! differ; nothing begins here with a token that ends within [`LEAST_SESSION`] or has ended: negotiating then answers 401 with
//! the code `UNAUTHENTICATED`, and the client comes back with a new one. Where a gateway does not say when the token ends, as
//! those of older versions, the session ends after [`SESSION`].
//!
//! From then on the hub calls, at the client:
//!
//! - `next` with `{"group", "number", "previous", "payloads"}`. Numbers rise. A message whose number is not higher than
//!   the last one is a repetition, to be dropped; one whose `previous` is higher than the last one shows that something was
//!   lost: subscribe again, with `resume`. Messages may overtake the answer to `subscribe`.
//! - `renew` with `{"group"}`: subscribe again.
//!
//! It ends a subscription by calling `complete` with its id. Whoever lost the connection may come back and resume for
//! [`RESUME`](skein_core::views::RESUME), whether or not anybody else follows the same meanwhile; later, what is so is told as at
//! the beginning.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql::futures_util::StreamExt as _;
use async_graphql::futures_util::stream::{self, BoxStream};
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType, Selection};
use async_graphql::{Context, ObjectType, Request, Response, ServerError, Variables};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skein_core::ports::{Clock, HubAccess, LiveHub, SendError, TableStore, TransactError};
use skein_core::table::{Operation, Range, Row, StoredRow, Sweep};
use skein_core::views::{Change, ChangedRow, Push, SUBSCRIPTIONS_TABLE, Start, Topic, WatchError, Watcher, Watches};
use skein_core::{Fault, Principal, Projection, Trace};
use uuid::Uuid;

use crate::OPERATOR;
use crate::code::Code;
use crate::endpoint::{Caller, Limits, Refused, checked, document};
use crate::error::{ApiError, finished};
use crate::guard::{Api, coded};

/// How long a session lasts at most: then the client proves again who it is.
pub const SESSION: Duration = Duration::from_secs(30 * 60);
/// How long a session lasts at least. A token that ends before that begins none: connecting would take most of its time.
pub const LEAST_SESSION: Duration = Duration::from_secs(10);
/// The most subscriptions of one connection.
pub const MAX_SUBSCRIPTIONS: usize = 100;
/// The most bytes of a subscription's request.
pub const MAX_REQUEST_BYTES: usize = 32 * 1024;
/// The most characters of a subscription's id: `[A-Za-z0-9_-]`.
pub const MAX_ID_CHARS: usize = 64;

/// What a field of a subscription gives: what is so, and then what it becomes.
pub type Live<T> = BoxStream<'static, Result<T, ApiError>>;

/// How a subscription's field is asked.
enum Asked {
    /// What it watches.
    Topic,
    /// What it makes of these rows.
    Rows(Vec<ChangedRow>),
}

/// In the context of a subscription's field.
pub(crate) struct Watching {
    watches: Watches,
    asked: Asked,
    topic: Mutex<Option<Topic>>,
}

/// One row of a live view, as it is and whenever it changes; `see` makes of it what the client sees, if the client may see
/// it. The field does its own checks of who asks: they are made again for each change.
///
/// ```
/// # use async_graphql::{Context, ID, Subscription};
/// # use skein_core::{Contract, Partitioning, Projection, Source, Touch};
/// # use skein_graphql::{ApiError, Live, access, live_row};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Opened {}
/// # impl Contract for Opened { const TYPE: &'static str = "desk.Opened"; const CATEGORY: &'static str = "ticket"; }
/// # skein_core::contracts! { enum Read { Opened(Opened) } }
/// struct Tickets;
///
/// impl Projection for Tickets {
///     const LIVE: bool = true;
///     // …
/// #   const NAME: &'static str = "tickets";
/// #   const TABLE: &'static str = "tickets";
/// #   const PARTITIONING: Partitioning = Partitioning::OneSource;
/// #   type Event = Read;
/// #   type Row = String;
/// #   fn touches(_: &Read, source: &Source) -> Vec<Touch> { vec![Touch::new(source.aggregate.id(), "ticket")] }
/// #   fn apply(row: Option<String>, _: &Read, _: &Touch, _: &Source) -> Option<String> { row }
/// }
///
/// struct Subscription;
///
/// #[Subscription]
/// impl Subscription {
///     /// A ticket's title.
///     #[graphql(directive = access::apply(["operator"]))]
///     async fn title(&self, cx: &Context<'_>, id: ID) -> Result<Live<Option<String>>, ApiError> {
///         live_row::<Tickets, _>(cx, &id, "ticket", |row| row).await
///     }
/// }
/// ```
///
/// # Errors
/// A view that is not live, a partition that is no aggregate's id, and what a change cannot be read as.
pub async fn live_row<P: Projection, T: Send + 'static>(
    cx: &Context<'_>,
    partition: &str,
    row: &str,
    see: impl Fn(Option<P::Row>) -> T,
) -> Result<Live<T>, ApiError> {
    live::<P, T>(cx, partition, Some(row), |_, row| see(row)).await
}

/// All rows of a partition of a live view, each whenever it changes: its name, and what it becomes, nothing where it is
/// removed. What is so at the beginning a query tells. See [`live_row`].
///
/// # Errors
/// See [`live_row`].
pub async fn live_rows<P: Projection, T: Send + 'static>(
    cx: &Context<'_>,
    partition: &str,
    see: impl Fn(&str, Option<P::Row>) -> T,
) -> Result<Live<T>, ApiError> {
    live::<P, T>(cx, partition, None, see).await
}

async fn live<P: Projection, T: Send + 'static>(
    cx: &Context<'_>,
    partition: &str,
    row: Option<&str>,
    see: impl Fn(&str, Option<P::Row>) -> T,
) -> Result<Live<T>, ApiError> {
    let watching = cx.data_opt::<Arc<Watching>>();
    let watching = watching.ok_or_else(|| ApiError::bad_input("subscriptions are served through the hub"))?;
    match &watching.asked {
        Asked::Topic => {
            let topic = watching.watches.topic::<P>(partition, row).await?;
            *watching.topic.lock().unwrap_or_else(PoisonError::into_inner) = Some(topic);
            Ok(stream::empty().boxed())
        }
        Asked::Rows(rows) => {
            let seen = rows.iter().map(|changed| {
                let read = |json: &String| {
                    let unreadable = |error| Fault::permanent("VIEW_ROW_UNREADABLE", format!("{}: {error}", P::TABLE));
                    serde_json::from_str(json).map_err(unreadable)
                };
                Ok(see(&changed.row, changed.document.as_ref().map(read).transpose()?))
            });
            Ok(stream::iter(seen.collect::<Vec<Result<T, ApiError>>>()).boxed())
        }
    }
}

impl From<WatchError> for ApiError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Id(error) => error.into(),
            WatchError::NotLive(_) => ApiError::Internal(Fault::permanent("VIEW_NOT_LIVE", error)),
            WatchError::Fault(fault) => fault.into(),
        }
    }
}

/// Why somebody cannot connect.
#[derive(Debug, thiserror::Error)]
pub enum NegotiateError {
    /// The principal's token is over, or as good as.
    #[error("the token has ended or ends within {} s: come back with a new one", LEAST_SESSION.as_secs())]
    TokenEnds,
    /// The store or the hub is away.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What is executed for a group.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prepared {
    query: String,
    operation_name: Option<String>,
    #[serde(default)]
    variables: serde_json::Map<String, Value>,
    principal: Principal,
    trace_id: String,
}

impl Prepared {
    fn caller(&self) -> Caller {
        Caller { principal: self.principal.clone(), trace: conversation(&self.trace_id) }
    }
}

fn conversation(trace_id: &str) -> Trace {
    Trace { correlation_id: trace_id.to_owned(), causation_id: None, traceparent: None }
}

/// What a client asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    extensions: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    resume: Option<Resume>,
}

#[derive(Deserialize)]
struct Resume {
    group: String,
    number: u64,
}

/// Who is connected.
struct Session {
    principal: Principal,
    until: i64,
}

/// A subscription of a connection, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    topic: Topic,
    group: String,
}

impl Kept {
    fn of(row: &StoredRow) -> Option<Self> {
        serde_json::from_str(row.str("Subscription")?).ok()
    }

    fn row(&self, key: &str) -> Result<Row, Fault> {
        let json = serde_json::to_string(self).map_err(|error| Fault::permanent("ENCODING", error))?;
        Ok(Row::new(key).with("Subscription", json))
    }

    fn ended(&self) -> Result<Row, Fault> {
        self.row(&format!("{ENDED_ROWS}{}", self.group))
    }
}

/// The subscriptions of a service: the other half of an [`crate::Endpoint`].
pub struct Subscriptions<Q: ObjectType + 'static, M: ObjectType + 'static> {
    api: Api<Q, M>,
    store: Arc<dyn TableStore>,
    hub: Arc<dyn LiveHub>,
    clock: Arc<dyn Clock>,
    watches: Watches,
}

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Clone for Subscriptions<Q, M> {
    fn clone(&self) -> Self {
        Subscriptions {
            api: self.api.clone(),
            store: self.store.clone(),
            hub: self.hub.clone(),
            clock: self.clock.clone(),
            watches: self.watches.clone(),
        }
    }
}

const SESSION_ROW: &str = "C~";
const SUBSCRIPTION_ROWS: &str = "S~";
/// What was followed and is so no longer, by group: swept with the connection.
const ENDED_ROWS: &str = "E~";
/// The most rows that are swept at once.
const MAX_SWEPT: u32 = 40;

impl<Q: ObjectType + 'static, M: ObjectType + 'static> Subscriptions<Q, M> {
    /// The subscriptions of a schema over the query store that its live views are in.
    pub fn new(api: Api<Q, M>, store: Arc<dyn TableStore>, hub: Arc<dyn LiveHub>, clock: Arc<dyn Clock>) -> Self {
        let watches = Watches::new(Arc::clone(&store), Arc::clone(&clock));
        Subscriptions { api, store, hub, clock, watches }
    }

    fn now(&self) -> i64 {
        self.clock.now().unix_timestamp()
    }

    /// How somebody connects: the hub's token is for this principal alone, for [`SESSION`] or until the principal's own
    /// token ends, in seconds since 1970, if that is said. Each connection is a user of its own at the hub, whose name
    /// nobody can guess.
    ///
    /// # Errors
    /// See [`NegotiateError`].
    pub async fn negotiate(&self, principal: &Principal, ends: Option<i64>) -> Result<HubAccess, NegotiateError> {
        let left = match ends.map(|ends| u64::try_from(ends.saturating_sub(self.now())).unwrap_or(0)) {
            Some(left) if left < LEAST_SESSION.as_secs() => return Err(NegotiateError::TokenEnds),
            Some(left) => SESSION.min(Duration::from_secs(left)),
            None => SESSION,
        };
        let until = self.now() + left.as_secs() as i64;
        let user = user(until, Uuid::new_v4());
        let principal = serde_json::to_string(principal).map_err(|error| Fault::permanent("ENCODING", error))?;
        let row = Row::new(SESSION_ROW).with("Principal", principal).with("Until", until);
        // Nobody knows the name yet: whether it was written or not, only this row can be there.
        self.store.transact(SUBSCRIPTIONS_TABLE, &user, &[Operation::Put(row)]).await.map_err(Fault::from)?;
        Ok(self.hub.access(&user, left).await.map_err(Fault::from)?)
    }

    async fn session(&self, user: &str) -> Result<Session, ApiError> {
        let gone = || ApiError::Unauthenticated("this connection has expired: negotiate anew".to_owned());
        if !is_user(user) {
            return Err(gone());
        }
        let row = self.store.get(SUBSCRIPTIONS_TABLE, user, SESSION_ROW).await.map_err(Fault::from)?;
        let row = row.ok_or_else(gone)?;
        let principal = row.str("Principal").and_then(|json| serde_json::from_str(json).ok());
        match (principal, row.int("Until")) {
            (Some(principal), Some(until)) if until > self.now() => Ok(Session { principal, until }),
            _ => Err(gone()),
        }
    }

    /// Begins a subscription of a connection; the answer is for the client, errors included.
    pub async fn subscribe(&self, user: &str, arguments: &[Value], trace_id: &str) -> Value {
        match self.begin(user, arguments, trace_id).await {
            Ok(answer) => answer,
            Err(Errors(errors)) => {
                let errors: Vec<ServerError> = errors.into_iter().map(|error| finished(error, trace_id)).collect();
                json!({"errors": errors})
            }
        }
    }

    async fn begin(&self, user: &str, arguments: &[Value], trace_id: &str) -> Result<Value, Errors> {
        let session = self.session(user).await?;
        let [Value::String(id), request] = arguments else {
            return Err(ApiError::bad_input("subscribe takes an id and a request").into());
        };
        check_id(id)?;
        let length = request.to_string().len();
        if length > MAX_REQUEST_BYTES {
            let text = format!("a subscription's request has at most {MAX_REQUEST_BYTES} bytes, this one {length}");
            return Err(ApiError::TooLarge(text).into());
        }
        let wanted: Wanted = serde_json::from_value(request.clone())
            .map_err(|error| ApiError::bad_input(format!("the request cannot be read: {error}")))?;
        let extension = wanted.extensions.as_ref().and_then(|extensions| extensions.get("persistedQuery"));
        let query = document(&self.api, wanted.query, extension).map_err(refused)?;
        let prepared = self.prepared(query, wanted.operation_name, wanted.variables, &session, trace_id)?;
        let topic = self.topic(&prepared).await?;
        let group = self.group(&topic, &prepared);

        let known = self.kept(user).await?;
        if known.len() >= MAX_SUBSCRIPTIONS && !known.iter().any(|(known, _)| known == id) {
            let text = format!("a connection has at most {MAX_SUBSCRIPTIONS} subscriptions");
            return Err(ApiError::TooLarge(text).into());
        }
        // Written first: whatever follows is found, and ended, with the connection.
        let kept = Kept { topic: topic.clone(), group: group.clone() };
        let replaced = known.iter().find(|(known, old)| known == id && old.group != group);
        let mut writes = vec![Operation::Put(kept.row(&format!("{SUBSCRIPTION_ROWS}{id}"))?)];
        if let Some((_, old)) = replaced {
            writes.push(Operation::Put(old.ended()?));
        }
        // Written twice, it is the same.
        self.store.transact(SUBSCRIPTIONS_TABLE, user, &writes).await.map_err(Fault::from)?;
        if let Some((_, old)) = replaced
            && !known.iter().any(|(known, other)| known != id && other.group == old.group)
        {
            self.quit(user, old).await?;
        }
        let left = u64::try_from(session.until - self.now()).unwrap_or(0).max(1);
        self.hub.join(&group, user, Duration::from_secs(left)).await.map_err(Fault::from)?;
        let operation = serde_json::to_string(&prepared).map_err(|error| Fault::permanent("ENCODING", error))?;
        let watcher = Watcher { group: group.clone(), until: session.until, row: topic.row.clone(), operation };
        self.watches.watch(&topic, &watcher).await?;

        let after = wanted.resume.filter(|resume| resume.group == group).map(|resume| resume.number);
        let mut answer = json!({"group": group, "expiresIn": left});
        match self.watches.start(&topic, after).await? {
            Start::Missed(changes) => {
                let mut missed = Vec::new();
                for change in &changes {
                    missed.push(self.message(&prepared, &watcher, change).await);
                }
                answer["missed"] = missed.into();
            }
            Start::Now { number, document } => {
                let rows = topic.row.map(|row| ChangedRow { row, previous: number, document });
                let payloads = self.payloads(&prepared, rows.into_iter().collect()).await;
                answer["number"] = number.into();
                answer["payloads"] = payloads;
            }
        }
        Ok(answer)
    }

    /// The operation, if it is one that this principal may subscribe to.
    fn prepared(
        &self,
        query: String,
        operation_name: Option<String>,
        variables: Option<serde_json::Map<String, Value>>,
        session: &Session,
        trace_id: &str,
    ) -> Result<Prepared, Errors> {
        let (document, kind) = checked(&self.api, &query, operation_name.as_deref()).map_err(refused)?;
        if kind != OperationType::Subscription {
            return Err(refused(Refused::Kind("subscriptions")));
        }
        let field = root_field(&document, operation_name.as_deref())
            .ok_or_else(|| ApiError::bad_input("a subscription has one field, and no fragments around it"))?;
        // Whoever may see everything sees the same; everybody else is alone with what is theirs.
        let principal = match session.principal.has(OPERATOR) {
            true => Principal::new("subscribers", [OPERATOR]),
            false => session.principal.clone(),
        };
        let caller = Caller { principal: principal.clone(), trace: conversation(trace_id) };
        if !self.api.may_subscribe(&caller, &field) {
            return Err(ApiError::forbidden(format!("you may not use Subscription.{field}")).into());
        }
        let variables = variables.unwrap_or_default();
        Ok(Prepared { query, operation_name, variables, principal, trace_id: trace_id.to_owned() })
    }

    /// What the operation watches.
    async fn topic(&self, prepared: &Prepared) -> Result<Topic, Errors> {
        let (watching, responses) = self.execute(prepared, Asked::Topic).await;
        let errors: Vec<ServerError> = responses.into_iter().flat_map(|response| response.errors).collect();
        if !errors.is_empty() {
            return Err(Errors(errors));
        }
        let topic = watching.topic.lock().unwrap_or_else(PoisonError::into_inner).take();
        topic.ok_or_else(|| ApiError::Internal(Fault::permanent("NOTHING_WATCHED", "the field watches nothing")).into())
    }

    async fn execute(&self, prepared: &Prepared, asked: Asked) -> (Arc<Watching>, Vec<Response>) {
        let watching = Arc::new(Watching { watches: self.watches.clone(), asked, topic: Mutex::default() });
        let mut request = Request::new(prepared.query.as_str())
            .variables(Variables::from_json(Value::Object(prepared.variables.clone())))
            .data(prepared.caller())
            .data(Limits::default())
            .data(Arc::clone(&watching))
            .disable_introspection();
        if let Some(name) = &prepared.operation_name {
            request = request.operation_name(name.as_str());
        }
        let responses = self.api.stream(request).collect().await;
        (watching, responses)
    }

    /// What the operation makes of rows, a payload each.
    async fn payloads(&self, prepared: &Prepared, rows: Vec<ChangedRow>) -> Value {
        if rows.is_empty() {
            return Value::Array(Vec::new());
        }
        let (_, responses) = self.execute(prepared, Asked::Rows(rows)).await;
        let payloads = responses.into_iter().map(|mut response| {
            let errors = std::mem::take(&mut response.errors);
            response.errors = errors.into_iter().map(|error| finished(error, &prepared.trace_id)).collect();
            serde_json::to_value(response).unwrap_or(Value::Null)
        });
        Value::Array(payloads.collect())
    }

    async fn message(&self, prepared: &Prepared, watcher: &Watcher, change: &Change) -> Value {
        let rows = change.rows.iter().flatten();
        let rows: Vec<ChangedRow> =
            rows.filter(|changed| watcher.row.as_ref().is_none_or(|row| changed.row == *row)).cloned().collect();
        let previous = match &watcher.row {
            Some(_) => rows.first().map_or(0, |changed| changed.previous),
            None => change.number.saturating_sub(1),
        };
        let payloads = self.payloads(prepared, rows).await;
        json!({"group": watcher.group, "number": change.number, "previous": previous, "payloads": payloads})
    }

    /// The group of all who ask the same of the same topic and see the same.
    fn group(&self, topic: &Topic, prepared: &Prepared) -> String {
        let mut hash = Sha256::new();
        let variables: BTreeMap<&String, &Value> = prepared.variables.iter().collect();
        let parts = json!([
            [&topic.table, &topic.partition],
            topic.row,
            prepared.query.trim(),
            prepared.operation_name,
            variables,
            prepared.principal,
        ]);
        hash.update(parts.to_string());
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    async fn kept(&self, user: &str) -> Result<Vec<(String, Kept)>, Fault> {
        let range = Range {
            partition: user.to_owned(),
            from: SUBSCRIPTION_ROWS.to_owned(),
            to: Some(format!("{SUBSCRIPTION_ROWS}~")),
            top: 1_000,
        };
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page = self.store.query(SUBSCRIPTIONS_TABLE, &range, from.as_ref()).await?;
            all.extend(page.rows.iter().filter_map(subscription));
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Leaves a group, whose watch ends soon if nobody is left.
    async fn quit(&self, user: &str, kept: &Kept) -> Result<(), Fault> {
        self.hub.leave(&kept.group, user).await?;
        self.watches.leave(&kept.topic, &kept.group, &*self.hub).await
    }

    /// Ends a subscription of a connection. One that is not known has ended already.
    ///
    /// # Errors
    /// A bad id, or a store or a hub that is away.
    pub async fn complete(&self, user: &str, arguments: &[Value]) -> Result<(), ApiError> {
        self.session(user).await?;
        let [Value::String(id)] = arguments else { return Err(ApiError::bad_input("complete takes an id")) };
        check_id(id)?;
        let known = self.kept(user).await?;
        let Some((_, kept)) = known.iter().find(|(known, _)| known == id) else { return Ok(()) };
        if !known.iter().any(|(other, same)| other != id && same.group == kept.group) {
            self.quit(user, kept).await?;
        }
        let key = format!("{SUBSCRIPTION_ROWS}{id}");
        let operations = [Operation::Delete(key, None), Operation::Put(kept.ended()?)];
        gone_already(self.store.transact(SUBSCRIPTIONS_TABLE, user, &operations).await)?;
        Ok(())
    }

    /// Ends all subscriptions of a connection that is no more; changes go on being kept for
    /// [`RESUME`](skein_core::views::RESUME), in case they come back. Where that fails, they end with their time.
    ///
    /// # Errors
    /// A store or a hub that is away.
    pub async fn disconnected(&self, user: &str) -> Result<(), Fault> {
        if !is_user(user) {
            return Ok(());
        }
        let kept = self.kept(user).await?;
        self.hub.leave_all(user).await?;
        for (_, kept) in kept {
            self.watches.leave(&kept.topic, &kept.group, &*self.hub).await?;
        }
        self.forget(user, SESSION_ROW).await?;
        self.sweep().await
    }

    /// Removes what is left of connections that have been over for two hours, and of what they followed: at most
    /// [`MAX_SWEPT`] rows. Users are in the order of their ends, so that nothing else is read.
    async fn sweep(&self) -> Result<(), Fault> {
        let to = hour(self.now() - 2 * 3600);
        let sweep = Sweep { from: " ".to_owned(), to, row: None, top: MAX_SWEPT };
        let page = self.store.sweep(SUBSCRIPTIONS_TABLE, &sweep, None).await?;
        let followed: BTreeMap<String, Kept> =
            page.rows.iter().filter_map(|(_, row)| Kept::of(row)).map(|kept| (kept.group.clone(), kept)).collect();
        for (group, kept) in followed {
            match self.watches.leave(&kept.topic, &group, &*self.hub).await {
                // One that nobody can read keeps no other one from being swept.
                Err(fault) if !fault.is_transient() => {
                    tracing::warn!(group, %fault, "what was followed cannot be swept")
                }
                left => left?,
            }
        }
        for (user, row) in page.rows {
            self.forget(&user, &row.key).await?;
        }
        Ok(())
    }

    async fn forget(&self, user: &str, key: &str) -> Result<(), Fault> {
        let delete = [Operation::Delete(key.to_owned(), None)];
        gone_already(self.store.transact(SUBSCRIPTIONS_TABLE, user, &delete).await)
    }

    async fn send(&self, group: &str, target: &str, message: &Value) -> Result<(), SendError> {
        self.hub.send(group, target, &Bytes::from(json!([message]).to_string())).await
    }
}

#[async_trait]
impl<Q: ObjectType + 'static, M: ObjectType + 'static> Push for Subscriptions<Q, M> {
    async fn push(&self, watcher: &Watcher, change: &Change) -> Result<(), Fault> {
        let prepared: Prepared = match serde_json::from_str(&watcher.operation) {
            Ok(prepared) => prepared,
            // Written by other code: whoever subscribes anew writes it as this one does.
            Err(_) => return self.renew(&watcher.group).await,
        };
        let message = self.message(&prepared, watcher, change).await;
        match self.send(&watcher.group, "next", &message).await {
            Err(SendError::Refused { reason, .. }) => {
                tracing::warn!(group = watcher.group, number = change.number, reason, "a change cannot be sent");
                let error = finished(
                    coded(Code::TooLarge, "the change is too large to be sent: query it".to_owned()),
                    &prepared.trace_id,
                );
                let payload = json!({"data": null, "errors": [error]});
                let (number, previous) = (&message["number"], &message["previous"]);
                let message =
                    json!({"group": watcher.group, "number": number, "previous": previous, "payloads": [payload]});
                Ok(self.send(&watcher.group, "next", &message).await?)
            }
            sent => Ok(sent?),
        }
    }

    async fn renew(&self, group: &str) -> Result<(), Fault> {
        Ok(self.send(group, "renew", &json!({"group": group})).await?)
    }
}

/// Whether a row was removed, now or before.
fn gone_already<T>(removed: Result<T, TransactError>) -> Result<(), Fault> {
    match removed {
        Ok(_) | Err(TransactError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why a subscription did not begin.
struct Errors(Vec<ServerError>);

impl<E: Into<ApiError>> From<E> for Errors {
    fn from(error: E) -> Self {
        let error = async_graphql::Error::from(error.into());
        Errors(vec![error.into_server_error(async_graphql::Pos::default())])
    }
}

fn refused(refused: Refused) -> Errors {
    Errors(vec![coded(refused.code(), refused.to_string())])
}

/// The name of a connection's user at the hub: nobody can guess it, and it begins with the hour of its end.
fn user(until: i64, id: Uuid) -> String {
    format!("{}{}", hour(until), id.simple())
}

fn hour(time: i64) -> String {
    format!("{:08x}", time.max(0) / 3600)
}

fn is_user(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|letter| letter.is_ascii_hexdigit())
}

fn check_id(id: &str) -> Result<(), ApiError> {
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
    if (1..=MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(is_letter) {
        return Ok(());
    }
    Err(ApiError::bad_input(format!("a subscription's id has 1 to {MAX_ID_CHARS} letters, digits, - and _")))
}

fn subscription(row: &StoredRow) -> Option<(String, Kept)> {
    Some((row.key.strip_prefix(SUBSCRIPTION_ROWS)?.to_owned(), Kept::of(row)?))
}

/// The one field of the operation.
fn root_field(document: &ExecutableDocument, name: Option<&str>) -> Option<String> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name)?,
        (DocumentOperations::Multiple(operations), None) => operations.values().next()?,
    };
    match operation.node.selection_set.node.items.as_slice() {
        // Skipped, it would be watched and never seen.
        [selection] => match &selection.node {
            Selection::Field(field) if field.node.directives.is_empty() => Some(field.node.name.node.to_string()),
            _ => None,
        },
        _ => None,
    }
}

//! GraphQL documents, given to the gateway's lexer and to a service's endpoints.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_graphql::{Object, SimpleObject};
use serde_json::Value;
use skein_core::{Principal, Trace};
use skein_graphql::{Api, Caller, Connection, Endpoint, Serves, access, api, page_cost};
use skein_kind::{Kind, kind_of_body, kind_of_query};

use crate::run;

#[derive(SimpleObject)]
struct Ticket {
    id: String,
    #[graphql(directive = access::apply(["operator"]))]
    secret: i32,
}

/// Whether a field that the caller may not use was resolved.
static DENIED: AtomicBool = AtomicBool::new(false);
/// Whether a mutation was executed.
static MUTATED: AtomicBool = AtomicBool::new(false);

struct Query;

#[Object]
impl Query {
    #[graphql(directive = access::apply(["customer"]))]
    async fn ticket(&self, id: String) -> Option<Ticket> {
        Some(Ticket { id, secret: 1 })
    }

    #[graphql(directive = access::apply(["customer"]), complexity = "page_cost(first, child_complexity)")]
    async fn tickets(&self, first: Option<i32>, after: Option<String>) -> async_graphql::Result<Connection<Ticket>> {
        skein_graphql::Page::of(first, after.as_deref())
            .map_err(|error| async_graphql::Error::new(error.to_string()))?;
        Ok(Connection::of(skein_core::views::Listing { rows: vec![], has_next: false }, |ticket| ticket))
    }

    #[graphql(directive = access::apply(["operator"]))]
    async fn internal(&self) -> i32 {
        DENIED.store(true, Ordering::SeqCst);
        1
    }
}

struct Mutation;

#[Object]
impl Mutation {
    #[graphql(directive = access::apply(["customer"]))]
    async fn open(&self, title: String, tags: Option<Vec<String>>) -> usize {
        MUTATED.store(true, Ordering::SeqCst);
        title.len() + tags.map_or(0, |tags| tags.len())
    }

    #[graphql(directive = access::apply(["operator"]))]
    async fn purge(&self) -> i32 {
        DENIED.store(true, Ordering::SeqCst);
        1
    }
}

static API: LazyLock<Api<Query, Mutation>> =
    LazyLock::new(|| api(Query, Mutation).finish().expect("every field states its access"));

fn answer(serves: Serves, body: &[u8]) -> (u16, Value, Option<String>) {
    let endpoint = Endpoint::new(API.clone(), serves, false, Duration::ZERO);
    let caller = Caller {
        principal: Principal::new("ann", ["customer"]),
        trace: Trace { correlation_id: "t".into(), causation_id: None, traceparent: None },
    };
    let answer = run(endpoint.answer(body, Some("application/graphql-response+json"), caller));
    let body: Value = serde_json::from_str(&answer.body).expect("the answer is JSON");
    (answer.status, body, answer.outcome)
}

/// Whatever the body is, each endpoint answers in JSON, with a code where it refuses, executes only the kind that it
/// serves, and no field that the caller may not use; where the gateway is certain of the kind and the endpoint
/// executes, they agree.
pub fn graphql_document(data: &[u8]) {
    // A body that is no JSON is taken for a document: what is interesting lies within.
    let wrapped;
    let body = if data.first() == Some(&b'{')
        && serde_json::from_slice::<Value>(data).is_ok_and(|body| body["query"].is_string())
    {
        data
    } else {
        wrapped = serde_json::json!({"query": String::from_utf8_lossy(data)}).to_string();
        wrapped.as_bytes()
    };
    let _ = kind_of_body(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = kind_of_query(text);
    }
    let kind = kind_of_body(body).ok();
    MUTATED.store(false, Ordering::SeqCst);
    for (serves, expected) in [(Serves::Queries, Kind::Query), (Serves::Mutations, Kind::Mutation)] {
        let (status, answer, outcome) = self::answer(serves, body);
        assert!([200, 400, 413, 422].contains(&status), "{status}");
        assert!(answer.is_object(), "{answer}");
        let errors = answer["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        for error in errors {
            assert!(error["extensions"]["code"].is_string(), "an error without a code: {error}");
        }
        assert!(status == 200 || outcome.is_some(), "refused without a code: {answer}");
        let mismatch = outcome.as_deref() == Some("OPERATION_KIND_MISMATCH");
        if let Some(kind) = kind {
            if kind == expected {
                assert!(!mismatch, "the gateway took it for {kind:?}, the endpoint of that kind refuses it");
            } else if status == 200 {
                panic!("the gateway took it for {kind:?}, the other endpoint executed it");
            }
        }
        assert!(serves == Serves::Mutations || !MUTATED.load(Ordering::SeqCst), "a query was a mutation");
        assert!(!DENIED.load(Ordering::SeqCst), "a field was resolved that the caller may not use");
    }
}

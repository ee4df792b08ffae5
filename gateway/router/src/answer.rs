//! One request: who asks, what is asked of whom, and one answer.

use std::sync::Arc;

use axum::http::StatusCode;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use skein_graph::{Failed, Graph, Part};
use skein_host::{HttpRequest, HttpResponse, PRINCIPAL_HEADER, RouterSettings, principal};
use skein_kind::operations::{NoDocument, Operations, PERSISTED_HEADER};
use skein_kind::{KIND_HEADER, Kind, kind_of_body, media};

use crate::apps::{Question, ServiceApps};

pub(crate) struct Router {
    pub(crate) settings: RouterSettings,
    pub(crate) graph: Graph,
    pub(crate) operations: Operations,
    pub(crate) apps: Arc<dyn ServiceApps>,
}

/// A request, as GraphQL over HTTP has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(default)]
    extensions: Option<Map<String, Value>>,
}

/// What becomes of a service's part.
struct Told {
    answer: Result<String, Failed>,
    /// Whether the service has executed nothing of it.
    refused: bool,
}

impl Router {
    pub(crate) async fn answer(&self, request: &HttpRequest) -> HttpResponse {
        if let Err(reason) = principal(request, &self.settings.fronts) {
            tracing::warn!(%reason, "unauthorized");
            let text = "this app answers its gateway only";
            return HttpResponse::problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text);
        }
        let json = request.header("content-type").is_some_and(|kind| {
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if !json {
            let text = "send the request as application/json";
            return HttpResponse::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", text);
        }
        let trace_id = request.invocation.trace_id();
        let refused = |status: StatusCode, media: &'static str, code: &str, message: &str| {
            let error = json!({"message": message, "extensions": {"code": code, "traceId": trace_id}});
            HttpResponse::new(status, media, json!({"errors": [error]}).to_string()).outcome(code)
        };
        let Some(media) = media::accepted(request.header("accept")) else {
            let text = format!("an answer is {} or {}, and the client accepts neither", media::RESPONSE, media::JSON);
            return refused(StatusCode::NOT_ACCEPTABLE, media::JSON, "NOT_ACCEPTABLE", &text);
        };
        let bad = |code: &str, message: &str| refused(StatusCode::BAD_REQUEST, media, code, message);
        // Only an object is a request; the reader would also take a list of its members.
        if request.body.trim_ascii_start().first() != Some(&b'{') {
            return bad("BAD_REQUEST", "the body is no GraphQL request in JSON: expected an object");
        }
        let asked: Asked = match serde_json::from_slice(&request.body) {
            Ok(asked) => asked,
            Err(error) => return bad("BAD_REQUEST", &format!("the body is no GraphQL request in JSON: {error}")),
        };
        let by_hash = asked.query.is_empty();
        let extension = asked.extensions.as_ref().and_then(|extensions| extensions.get("persistedQuery"));
        let document = match self.operations.document(asked.query, extension) {
            Ok(document) => document,
            Err(no) => {
                let (status, code) = match &no {
                    NoDocument::Nothing | NoDocument::Malformed | NoDocument::Other => {
                        (StatusCode::UNPROCESSABLE_ENTITY, "MALFORMED_REQUEST")
                    }
                    NoDocument::Unknown => (StatusCode::UNPROCESSABLE_ENTITY, "PERSISTED_OPERATION_NOT_FOUND"),
                    NoDocument::Unlisted => (StatusCode::FORBIDDEN, "QUERY_NOT_IN_SAFELIST"),
                    NoDocument::Unreadable(reason) => {
                        tracing::error!(reason, "no document can be found");
                        (StatusCode::OK, "INTERNAL")
                    }
                };
                return refused(status, media, code, &no.to_string());
            }
        };
        let variables = asked.variables.unwrap_or_default();
        let plan = match self.graph.split(&document, asked.operation_name.as_deref(), &variables) {
            Ok(plan) => plan,
            Err(refusal) => {
                let answer = HttpResponse::new(StatusCode::BAD_REQUEST, media, refusal.answer(trace_id));
                return answer.outcome(refusal.code());
            }
        };
        // What the gateway routed by, what its twin says and what was parsed have to be one kind.
        let kind = plan.kind();
        // Nobody else can look into a hash: by POST it is taken for a mutation, and here both kinds are answered.
        let seen = if by_hash { Kind::Mutation } else { kind };
        if request.header(KIND_HEADER) != Some(seen.as_str()) || kind_of_body(&request.body) != Ok(seen) {
            let text = format!("the gateway must say that it is a {seen}, in {KIND_HEADER}, and nobody may doubt it");
            return bad("OPERATION_KIND_MISMATCH", &text);
        }
        let told = join_all(plan.parts().iter().map(|part| self.ask(request, kind, part))).await;
        let nothing = !told.is_empty() && told.iter().all(|one| one.refused);
        // Nothing was executed: the older media type says so in the body only.
        let status = if nothing && media == media::RESPONSE { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        let answers: Vec<_> = told.into_iter().map(|one| one.answer).collect();
        let body = plan.merge(&answers, trace_id);
        let outcome = first_code(&body);
        HttpResponse { outcome, ..HttpResponse::new(status, media, body) }
    }

    /// Asks a service for its part, on behalf of whoever asks us: the principal's header goes on as it came.
    async fn ask(&self, request: &HttpRequest, kind: Kind, part: &Part) -> Told {
        let apps = if kind == Kind::Mutation { &self.settings.command_apps } else { &self.settings.query_apps };
        let mut headers = vec![
            // Its status then says whether anything was executed.
            ("accept", media::RESPONSE.to_owned()),
            ("content-type", media::JSON.to_owned()),
            ("traceparent", request.invocation.traceparent.clone()),
            (KIND_HEADER, kind.as_str().to_owned()),
        ];
        if self.settings.persisted_only {
            headers.push((PERSISTED_HEADER, "true".to_owned()));
        }
        headers.extend(request.header(PRINCIPAL_HEADER).map(|value| (PRINCIPAL_HEADER, value.to_owned())));
        let mut body = json!({"query": part.document, "variables": part.variables});
        if let Some(name) = &part.operation_name {
            body["operationName"] = name.as_str().into();
        }
        // Building the app has made sure of it.
        let url = apps.get(&part.service).cloned().unwrap_or_default();
        let asking = self.apps.ask(Question { url, headers, body: body.to_string() });
        let failed = |unavailable: bool, reason: &dyn std::fmt::Display| {
            let service = &part.service;
            tracing::error!(service, %reason, "a service gave no answer");
            let (message, code) = match (unavailable, kind) {
                (true, Kind::Mutation) => {
                    (format!("{service} cannot answer now: try again with the same commandId"), "UNAVAILABLE")
                }
                (true, _) => (format!("{service} cannot answer now: try again"), "UNAVAILABLE"),
                (false, _) => (format!("{service} failed; the trace id leads to the reason"), "INTERNAL"),
            };
            Told { answer: Err(Failed { message, code: code.to_owned() }), refused: false }
        };
        match tokio::time::timeout(self.settings.part_limit, asking).await {
            Err(_) => failed(true, &format!("no answer within {} s", self.settings.part_limit.as_secs())),
            Ok(Err(away)) => failed(true, &away),
            Ok(Ok(answer)) => match answer.status {
                200 => Told { answer: Ok(answer.body), refused: false },
                // A request that it does not execute has errors and no data; anything else is none of GraphQL's.
                400 | 413 | 422 => Told { answer: Ok(answer.body), refused: true },
                status @ (408 | 429 | 500..) => failed(true, &format!("it answered {status}")),
                status => failed(false, &format!("it answered {status}")),
            },
        }
    }
}

/// The code of an answer's first error, for the log.
fn first_code(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<Value>,
    }
    let errors = serde_json::from_str::<Errors>(body).ok()?.errors;
    errors.first()?["extensions"]["code"].as_str().map(str::to_owned)
}

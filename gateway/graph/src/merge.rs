//! One answer of the services' answers.

use std::collections::HashMap;

use async_graphql_parser::Pos;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use skein_kind::Kind;

use crate::refusal::located;
use crate::split::Part;

/// What a client's document asks, as parts for services and as keys of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    kind: Kind,
    keys: Vec<Key>,
    parts: Vec<Part>,
}

/// A key of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) nullable: bool,
    /// Where it is asked for first.
    pub(crate) pos: Pos,
}

/// Who answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// We do: the name of the root's type.
    Typename(&'static str),
    /// We do, from the schema: JSON.
    Schema(String),
    /// The service of this part.
    Part(usize),
}

/// A service that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What the client is told. Nothing of the inside belongs here.
    pub message: String,
    /// The code, as in `UNAVAILABLE`.
    pub code: String,
}

/// A service's answer as it came.
#[derive(Deserialize)]
struct Answer {
    // What is null is something else than what is not there, but not to us.
    data: Option<HashMap<String, Box<RawValue>>>,
    #[serde(default)]
    errors: Vec<Value>,
    extensions: Option<Box<RawValue>>,
}

impl Plan {
    pub(crate) fn new(kind: Kind, keys: Vec<Key>, parts: Vec<Part>) -> Self {
        Plan { kind, keys, parts }
    }

    /// Whether a query or a mutation is asked for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the services are asked, in the order in which their fields come first.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The answer's body: `data` in the order that was asked for, the services' `errors` with their paths, and their
    /// `extensions` by the service's name. `answers` are those of [`Plan::parts`], in that order; one that is missing
    /// counts as failed. Locations become those of the root field in the client's document.
    ///
    /// A service that failed gives an error for each of its fields, and null for them; where one of them may not be null,
    /// all of `data` is, as it would be had one service executed the whole; and so it is where no service has executed
    /// anything. Those errors name the trace; the services' do
    /// so themselves.
    pub fn merge(&self, answers: &[Result<String, Failed>], trace_id: &str) -> String {
        let mut errors = Vec::new();
        let mut extensions = Vec::new();
        let mut data: Vec<HashMap<String, Box<RawValue>>> = Vec::new();
        // Where every service refuses its part, the request was refused.
        let mut executed = self.parts.is_empty();
        for (index, part) in self.parts.iter().enumerate() {
            let answer = match answers.get(index) {
                Some(Ok(text)) => read(text),
                Some(Err(failed)) => Err(failed.clone()),
                None => Err(no_answer(&part.service)),
            };
            let answer = answer.and_then(|answer| self.complete(index, answer));
            match answer {
                Ok(answer) => {
                    executed |= answer.data.is_some();
                    errors.extend(answer.errors.into_iter().map(|error| self.placed(error)));
                    extensions.extend(answer.extensions.map(|given| (part.service.as_str(), given)));
                    data.push(answer.data.unwrap_or_default());
                }
                Err(failed) => {
                    executed = true;
                    errors.extend(self.keys_of(index).map(|key| {
                        json!({
                            "message": failed.message, "locations": located(key.pos), "path": [key.name],
                            "extensions": {"code": failed.code, "traceId": trace_id},
                        })
                    }));
                    data.push(HashMap::new());
                }
            }
        }
        let data = if executed { self.data(&data) } else { "null".to_owned() };
        let mut members = vec![format!("\"data\":{data}")];
        if !errors.is_empty() {
            members.push(format!("\"errors\":{}", Value::from(errors)));
        }
        if !extensions.is_empty() {
            let given = extensions.iter().map(|(service, given)| format!("{}:{given}", json!(service)));
            members.push(format!("\"extensions\":{{{}}}", given.collect::<Vec<_>>().join(",")));
        }
        format!("{{{}}}", members.join(","))
    }

    fn keys_of(&self, part: usize) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.source == Source::Part(part))
    }

    /// Refuses an answer that leaves something out, and says nothing of why.
    fn complete(&self, index: usize, answer: Answer) -> Result<Answer, Failed> {
        let told = !answer.errors.is_empty();
        let whole = self.keys_of(index).all(|key| {
            let given = answer.data.as_ref().and_then(|data| data.get(&key.name));
            given.is_some_and(|given| key.nullable || given.get() != "null")
        });
        if whole || told { Ok(answer) } else { Err(no_answer(&self.parts[index].service)) }
    }

    /// An error of a service with a place in the client's document.
    fn placed(&self, error: Value) -> Value {
        let mut error = match error {
            Value::Object(error) => error,
            other => Map::from_iter([("message".to_owned(), json!(other.to_string()))]),
        };
        let root = error.get("path").and_then(|path| path.get(0)).and_then(Value::as_str);
        let key = self.keys.iter().find(|key| root == Some(key.name.as_str()));
        // Those of the service's document would point at anything.
        match key {
            Some(key) => drop(error.insert("locations".to_owned(), located(key.pos))),
            None => drop(error.remove("locations")),
        }
        error.into()
    }

    fn data(&self, parts: &[HashMap<String, Box<RawValue>>]) -> String {
        let mut members = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            let given = match key.source {
                Source::Typename(root) => json!(root).to_string(),
                Source::Schema(ref answer) => answer.clone(),
                Source::Part(part) => parts[part].get(&key.name).map_or("null", |given| given.get()).to_owned(),
            };
            if given == "null" && !key.nullable {
                return "null".to_owned();
            }
            members.push(format!("{}:{given}", json!(key.name)));
        }
        format!("{{{}}}", members.join(","))
    }
}

fn read(text: &str) -> Result<Answer, Failed> {
    serde_json::from_str(text).map_err(|_| Failed {
        message: "the service's answer is none of GraphQL".to_owned(),
        code: "INTERNAL".to_owned(),
    })
}

fn no_answer(service: &str) -> Failed {
    Failed { message: format!("{service} has not answered all that it was asked"), code: "INTERNAL".to_owned() }
}

//! Questions about the schema, against an executor of the whole.

use serde_json::{Map, Value, json};
use skein_graph::{Graph, Refusal, Schema, compose};

use crate::toy::Toy;

/// What editors ask, and a little more.
const ALL: &str = r#"
query IntrospectionQuery {
  __schema {
    queryType { name kind }
    mutationType { name }
    subscriptionType { name }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
  order: __type(name: "Order") { ...FullType __typename }
  nothing: __type(name: "Nothing") { name }
  __typename
}
fragment FullType on __Type {
  kind name description specifiedByURL isOneOf
  fields(includeDeprecated: true) {
    name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason
  }
  inputFields { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
fragment TypeRef on __Type {
  kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } }
}
"#;

fn ask(graph: &Graph, document: &str, variables: &Value) -> Result<Value, Refusal> {
    let none = Map::new();
    let plan = graph.split(document, None, variables.as_object().unwrap_or(&none))?;
    assert_eq!(plan.parts(), []);
    Ok(serde_json::from_str(&plan.merge(&[], "t1")).unwrap())
}

/// Lists by name, without what each implementation says of the types that every schema has.
fn sorted(value: &mut Value) {
    match value {
        Value::Array(items) => {
            let own = |item: &Value| {
                let name = item["name"].as_str().unwrap_or_default();
                let known = [
                    "Boolean",
                    "Float",
                    "ID",
                    "Int",
                    "String",
                    "deprecated",
                    "include",
                    "oneOf",
                    "skip",
                    "specifiedBy",
                ];
                !name.starts_with("__") && !known.contains(&name)
            };
            items.retain(own);
            items.sort_by_key(|item| item["name"].to_string());
            items.iter_mut().for_each(sorted);
        }
        Value::Object(members) => members.values_mut().for_each(sorted),
        _ => (),
    }
}

#[test]
fn an_editor_reads_the_composed_schema_as_from_an_executor_of_the_whole() {
    let toy = Toy::new();
    let graph = toy.graph.clone().answering_introspection();
    let mut own = ask(&graph, ALL, &Value::Null).unwrap();
    let mut whole = toy.ask_whole(ALL);
    assert!(whole["data"]["__schema"]["types"].as_array().unwrap().len() > 10, "{whole}");
    sorted(&mut own);
    sorted(&mut whole);
    let (own, whole) = (serde_json::to_string_pretty(&own).unwrap(), serde_json::to_string_pretty(&whole).unwrap());
    let (own, whole): (Vec<&str>, Vec<&str>) = (own.lines().collect(), whole.lines().collect());
    let differs = (0..own.len().max(whole.len())).find(|line| own.get(*line) != whole.get(*line));
    let around = |lines: &[&str], at: usize| lines[at.saturating_sub(8)..lines.len().min(at + 3)].join("\n");
    assert!(
        differs.is_none(),
        "ours:\n{}\ntheirs:\n{}",
        around(&own, differs.unwrap()),
        around(&whole, differs.unwrap())
    );
}

#[test]
fn each_type_that_is_named_is_told() {
    let toy = Toy::new();
    let graph = toy.graph.clone().answering_introspection();
    let answer = ask(&graph, ALL, &Value::Null).unwrap();
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let names: Vec<&str> = types.iter().map(|one| one["name"].as_str().unwrap()).collect();
    fn named<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| named(item, found)),
            Value::Object(members) => {
                if members.contains_key("kind") {
                    found.extend(members["name"].as_str());
                }
                members.values().for_each(|member| named(member, found));
            }
            _ => (),
        }
    }
    let mut found = Vec::new();
    named(&answer["data"]["__schema"], &mut found);
    let missing: Vec<_> = found.iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_said_of_values_and_deprecation_is_told() {
    let sdl = r#"
        type Query {
            a(first: Int = 3, by: By! = NAME, with: [In!]): Thing
            old: Int @deprecated(reason: "ask a")
            bare: Int @deprecated
        }
        enum By { NAME AGE @deprecated }
        input In @oneOf { x: Int y: String }
        scalar When @specifiedBy(url: "https://when.example")
        interface Named { name: String }
        type Thing implements Named { name: String at: When }
        union Either = Thing
        directive @twice(n: Int) repeatable on FIELD | QUERY
    "#;
    let graph = compose(&[Schema { service: "one", place: "one", sdl }]).unwrap().answering_introspection();
    for (question, answer) in [
        (
            r#"{ t: __type(name: "Query") { fields { name args { name defaultValue } } } }"#,
            json!({"t": {"fields": [{"name": "a", "args": [
                {"name": "first", "defaultValue": "3"},
                {"name": "by", "defaultValue": "NAME"},
                {"name": "with", "defaultValue": null},
            ]}]}}),
        ),
        (
            r#"query($all: Boolean = true) { t: __type(name: "Query") { fields(includeDeprecated: $all) {
                name isDeprecated deprecationReason @skip(if: false) kept: name @skip(if: true) } } }"#,
            json!({"t": {"fields": [
                {"name": "a", "isDeprecated": false, "deprecationReason": null},
                {"name": "old", "isDeprecated": true, "deprecationReason": "ask a"},
                {"name": "bare", "isDeprecated": true, "deprecationReason": "No longer supported"},
            ]}}),
        ),
        (r#"{ t: __type(name: "By") { enumValues { name } } }"#, json!({"t": {"enumValues": [{"name": "NAME"}]}})),
        (r#"{ t: __type(name: "In") { isOneOf } }"#, json!({"t": {"isOneOf": true}})),
        (r#"{ t: __type(name: "When") { specifiedByURL } }"#, json!({"t": {"specifiedByURL": "https://when.example"}})),
        (
            r#"{ t: __type(name: "Named") { kind possibleTypes { name } } }"#,
            json!({"t": {"kind": "INTERFACE", "possibleTypes": [{"name": "Thing"}]}}),
        ),
        (
            r#"{ t: __type(name: "Either") { kind possibleTypes { name interfaces { name } } } }"#,
            json!({"t": {"kind": "UNION", "possibleTypes": [{"name": "Thing", "interfaces": [{"name": "Named"}]}]}}),
        ),
        (
            "{ __schema { queryType { name } } __schema { queryType { kind } ...S } } fragment S on __Schema { mutationType { name } }",
            json!({"__schema": {"queryType": {"name": "Query", "kind": "OBJECT"}, "mutationType": null}}),
        ),
    ] {
        assert_eq!(ask(&graph, question, &Value::Null).unwrap()["data"], answer, "{question}");
    }
    let given = ask(&graph, "query($n: String!) { __type(name: $n) { kind } }", &json!({"n": "By"})).unwrap();
    assert_eq!(given["data"]["__type"]["kind"], "ENUM");
    let directives = ask(&graph, "{ __schema { directives { name isRepeatable locations } } }", &Value::Null).unwrap();
    let directives = directives["data"]["__schema"]["directives"].as_array().unwrap();
    let twice = json!({"name": "twice", "isRepeatable": true, "locations": ["FIELD", "QUERY"]});
    assert!(directives.contains(&twice), "{directives:?}");
    assert!(directives.iter().any(|one| one["name"] == "deprecated" && one["isRepeatable"] == false));
}

#[test]
fn questions_that_make_no_sense_or_are_without_end_are_refused() {
    let toy = Toy::new();
    let closed = ask(&toy.graph, "{ __schema { queryType { name } } }", &Value::Null).unwrap_err();
    assert_eq!((closed.code(), closed.to_string().contains("switched off")), ("BAD_REQUEST", true));
    let graph = toy.graph.clone().answering_introspection();
    // Types of fields of types, through whatever wraps them.
    let mut endless = String::from("name");
    for _ in 0..8 {
        endless = format!("fields {{ type {{ ofType {{ {endless} ofType {{ {endless} }} }} }} }}");
    }
    for (document, code) in [
        ("{ __schema }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { nothing } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { queryType } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { queryType { name { x } } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema(x: 1) { queryType { name } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __type { name } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __type(name: 1) { name } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query($n: String) { __type(name: $n) { name } }", "GRAPHQL_VALIDATION_FAILED"),
        (r#"{ __type(name: "Query") { fields(all: true) { name } } }"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{ __type(name: "Query") { fields(includeDeprecated: 1) { name } } }"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{ a: __type(name: "A") { name } a: __type(name: "B") { name } }"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{ __type(name: "Query") { a: name a: kind } }"#, "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { ...F } } fragment F on __Type { name }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ a: __schema { queryType { name } } a: stock { units } }", "GRAPHQL_VALIDATION_FAILED"),
        ("mutation { __schema { queryType { name } } }", "BAD_REQUEST"),
        (&format!("{{ __schema {{ types {{ {endless} }} }} }}"), "QUERY_TOO_COMPLEX"),
    ] {
        let refusal = ask(&graph, document, &Value::Null).map(|answer| answer.to_string().len()).unwrap_err();
        assert_eq!(refusal.code(), code, "{document}: {refusal}");
    }
}

#[test]
fn the_schema_is_told_beside_what_services_answer() {
    let toy = Toy::new();
    let graph = toy.graph.clone().answering_introspection();
    let plan = graph
        .split("{ __schema { queryType { name } } orders { id } __type(name: \"Order\") { name } }", None, &Map::new())
        .unwrap();
    let documents: Vec<&str> = plan.parts().iter().map(|part| part.document.as_str()).collect();
    assert_eq!(documents, ["query {\n\torders {\n\t\tid\n\t}\n}\n"]);
    assert_eq!(
        plan.merge(&[Ok(r#"{"data":{"orders":[]}}"#.to_owned())], "t1"),
        r#"{"data":{"__schema":{"queryType":{"name":"Query"}},"orders":[],"__type":{"name":"Order"}}}"#
    );
}

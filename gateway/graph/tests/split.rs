//! How documents are taken apart, and which are not.

use expect_test::{Expect, expect};
use serde_json::{Map, Value, json};
use skein_graph::{Graph, Plan, Refusal, Schema, compose};

pub(crate) fn graph() -> Graph {
    let orders = "type Query { order(id: ID!): Order orders: [Order!]! status: Int } \
                  type Order { id: ID! lines(first: Int, of: [String]): [String] } \
                  type Mutation { place(id: ID!): Order cancel(id: ID!): Order! }";
    let stocks = "type Query { stock(sku: String): Stock status: Int! } type Stock { units: Int } \
                  type Mutation { receive(sku: String): Stock } type Subscription { stock: Stock }";
    compose(&[
        Schema { service: "orders", place: "orders", sdl: orders },
        Schema { service: "stocks", place: "stocks", sdl: stocks },
    ])
    .unwrap()
}

pub(crate) fn plan(document: &str, variables: &Value) -> Result<Plan, Refusal> {
    graph().split(document, None, variables.as_object().unwrap_or(&Map::new()))
}

#[track_caller]
fn check(document: &str, variables: &Value, expected: Expect) {
    let plan = plan(document, variables).unwrap();
    let told = plan.parts().iter().map(|part| {
        let name = part.operation_name.as_deref().unwrap_or_default();
        format!("{} {name} {}\n{}", part.service, Value::from(part.variables.clone()), part.document)
    });
    expected.assert_eq(&told.collect::<String>());
}

#[test]
fn each_service_gets_its_fields_with_what_they_need() {
    check(
        "query Mine($id: ID!, $sku: String = \"a\\u000bb\", $n: Int, $no: Boolean = false) @x(n: $n) {
           s: stock(sku: $sku) { ...units }
           order(id: $id) @skip(if: $no) { id ...lines }
           ...root
           stocksStatus
         }
         fragment units on Stock { units }
         fragment lines on Order { lines(first: $n, of: [\"x\", null]) }
         fragment root on Query { __typename ... on Query @include(if: true) { ordersStatus again: order(id: $id) { ...lines } } }",
        &json!({"id": "7", "n": 3, "other": 1}),
        expect![[r#"
            stocks Mine {"n":3,"sku":"a\u000bb"}
            query Mine($sku: String = "a\u000bb", $n: Int) @x(n: $n) {
            	s: stock(sku: $sku) {
            		...units
            	}
            	stocksStatus: status
            }
            fragment units on Stock {
            	units
            }
            orders Mine {"id":"7","n":3,"no":false}
            query Mine($id: ID!, $n: Int, $no: Boolean = false) @x(n: $n) {
            	order(id: $id) @skip(if: $no) {
            		id
            		...lines
            	}
            	...root
            }
            fragment lines on Order {
            	lines(first: $n, of: ["x", null])
            }
            fragment root on Query {
            	... on Query @include(if: true) {
            		ordersStatus: status
            		again: order(id: $id) {
            			...lines
            		}
            	}
            }
        "#]],
    );
    // What is skipped in whole is not asked for, and nobody is asked for the root's name.
    check(
        "{ stock @skip(if: true) { units } orders { id } t: __typename }",
        &Value::Null,
        expect![[r#"
        orders  {}
        query {
        	orders {
        		id
        	}
        }
    "#]],
    );
    check("{ __typename }", &Value::Null, expect![""]);
    check(
        "mutation { place(id: 1) { id } cancel(id: 1) { id } __typename }",
        &Value::Null,
        expect![[r#"
        orders  {}
        mutation {
        	place(id: 1) {
        		id
        	}
        	cancel(id: 1) {
        		id
        	}
        }
    "#]],
    );
}

#[test]
fn one_of_several_operations_is_asked_for() {
    let document = "query A { orders { id } } query B { ...F } fragment F on Query { stocksStatus }";
    let graph = graph();
    let plan = graph.split(document, Some("B"), &Map::new()).unwrap();
    assert_eq!(plan.parts().len(), 1);
    assert_eq!(plan.parts()[0].document, "query B {\n\t...F\n}\nfragment F on Query {\n\tstocksStatus: status\n}\n");
    for name in [None, Some("C")] {
        let refusal = graph.split(document, name, &Map::new()).unwrap_err();
        assert_eq!(refusal, Refusal::Operation { count: 2 });
    }
    assert!(graph.split("{ orders { id } }", Some("A"), &Map::new()).is_err());
}

#[test]
fn what_no_service_can_be_asked_is_refused_with_its_place() {
    for (document, code, expected) in [
        ("{ order(id: 1) { id ", "GRAPHQL_PARSE_FAILED", "1:"),
        ("", "GRAPHQL_PARSE_FAILED", ""),
        ("subscription { stock { units } }", "BAD_REQUEST", "1:1 subscriptions are not answered here"),
        ("{ orders { id }\n  nothing }", "GRAPHQL_VALIDATION_FAILED", "2:3 Query has no field \"nothing\""),
        ("{ status }", "GRAPHQL_VALIDATION_FAILED", "1:3 Query has no field \"status\""),
        ("{ place(id: 1) { id } }", "GRAPHQL_VALIDATION_FAILED", "1:3 Query has no field \"place\""),
        ("{ __schema { types { name } } }", "BAD_REQUEST", "1:3 __schema is not answered here"),
        ("{ ... { __type(name: \"A\") { name } } }", "BAD_REQUEST", "1:9 __type is not answered here"),
        (
            "mutation { __typename place(id: 1) { id } ... { receive { units } } }",
            "BAD_REQUEST",
            "1:49 a mutation has the fields of one service; this one has fields of orders and stocks: send two",
        ),
        // Skipped or not.
        ("mutation { place(id: 1) { id } receive @skip(if: true) { units } }", "BAD_REQUEST", "1:32 a mutation has"),
        (
            "{ a: orders { id } a: stocksStatus }",
            "GRAPHQL_VALIDATION_FAILED",
            "1:20 \"a\" would be the answer of two fields, orders of orders and status of stocks",
        ),
        ("{ a: __typename a: ordersStatus }", "GRAPHQL_VALIDATION_FAILED", "1:17 \"a\" would be the answer of two"),
        ("{ ...F } fragment F on Stock { units }", "GRAPHQL_VALIDATION_FAILED", "1:3 a fragment on Stock cannot stand"),
        ("{ ... on Mutation { place(id: 1) { id } } }", "GRAPHQL_VALIDATION_FAILED", "1:3 a fragment on Mutation"),
        ("{ ...F }", "GRAPHQL_VALIDATION_FAILED", "1:3 the fragment \"F\" is not defined"),
        ("{ stock { ...F } }", "GRAPHQL_VALIDATION_FAILED", "1:11 the fragment \"F\" is not defined"),
        (
            "{ ordersStatus } fragment F on Query { orders { id } }",
            "GRAPHQL_VALIDATION_FAILED",
            "1:18 the fragment \"F\" is used nowhere",
        ),
        (
            "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A orders { id } }",
            "GRAPHQL_VALIDATION_FAILED",
            "1:10 the fragment \"A\" leads back to itself",
        ),
        (
            "{ ordersStatus } fragment A on Order { ...A }",
            "GRAPHQL_VALIDATION_FAILED",
            "1:18 the fragment \"A\" leads back to itself",
        ),
        ("query ($a: Int) { ordersStatus }", "GRAPHQL_VALIDATION_FAILED", "1:8 the variable $a is used nowhere"),
        ("{ stock(sku: $sku) { units } }", "GRAPHQL_VALIDATION_FAILED", "1:1 the variable $sku is not declared"),
    ] {
        let refusal = plan(document, &Value::Null).expect_err(document);
        assert_eq!(refusal.code(), code, "{document}");
        let told = format!("{} {refusal}", refusal.pos().map(|pos| pos.to_string()).unwrap_or_default());
        assert!(told.trim_start().starts_with(expected), "{document}: {told}");
        let answer: Value = serde_json::from_str(&refusal.answer("t1")).unwrap();
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{document}");
        assert!(answer.get("data").is_none(), "{document}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_not_even_parsed() {
    for [open, close] in [["{a", "}"], ["{a(x:[", "])}"], ["(x:{y:", "})"]] {
        let document = format!("{{ orders {} {} }}", open.repeat(100_000), close.repeat(100_000));
        let refusal = plan(&document, &Value::Null).unwrap_err();
        assert_eq!((refusal.code(), refusal.pos()), ("QUERY_TOO_DEEP", None));
    }
}

#[test]
fn what_a_document_becomes_when_it_is_written_out_is_limited() {
    let chain = |count: usize, spread: &str| {
        let mut document = String::from("{ ...F0 }\n");
        for index in 0..count {
            let next = index + 1;
            document += &format!("fragment F{index} on Query {{ {} }}\n", spread.replace('#', &next.to_string()));
        }
        document + &format!("fragment F{count} on Query {{ orders {{ id }} }}\n")
    };
    let document = chain(1990, "...F#");
    let plan = plan(&document, &Value::Null).unwrap();
    assert_eq!(plan.parts().len(), 1);
    assert!(plan.parts()[0].document.len() < 2 * document.len());
    let aliases: String = (0..2001).map(|index| format!("a{index}: orders {{ id }} ")).collect();
    for document in [chain(4000, "...F# ...F#"), chain(2000, "...F#"), format!("{{ {aliases} }}")] {
        let refusal = crate::split::plan(&document, &Value::Null).unwrap_err();
        assert_eq!((refusal.code(), &refusal), ("QUERY_TOO_COMPLEX", &Refusal::Selections { most: 2000 }));
    }
}

//! What makes one schema, and what does not.

use expect_test::{Expect, expect};
use skein_graph::{Schema, compose};

fn composed(schemas: &[(&str, &str)]) -> Result<String, String> {
    let places: Vec<_> = schemas.iter().map(|(service, _)| format!("{service}.graphql")).collect();
    let schemas: Vec<_> =
        schemas.iter().zip(&places).map(|((service, sdl), place)| Schema { service, place, sdl }).collect();
    let mut reversed = schemas.clone();
    reversed.reverse();
    let told =
        |errors: Vec<skein_graph::ComposeError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let (one, other) = (compose(&schemas), compose(&reversed));
    assert_eq!(one.is_ok(), other.is_ok());
    if let (Ok(one), Ok(other)) = (&one, &other) {
        assert_eq!(one.sdl(), other.sdl(), "the order of the schemas shows");
    }
    one.map(|graph| graph.sdl().to_owned()).map_err(told)
}

#[track_caller]
fn check(schemas: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&composed(schemas).unwrap());
}

#[track_caller]
fn refused(schemas: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&composed(schemas).unwrap_err());
}

#[test]
fn root_fields_stand_side_by_side_and_what_is_the_same_is_one() {
    let a = r#"
        "Where a page ends." type Page { next: Boolean! end: String }
        enum Status { OPEN DONE @deprecated(reason: "say \"CLOSED\"") }
        directive @access(roles: [String!]!) on FIELD_DEFINITION
        input Order { by: String = "sku", "how many" n: [Int!]! = [1, 2] }
        type Query { page(order: Order = {n: [3], by: "\u000b"}): Page @access(roles: ["a"]) status(id: ID!): Status! }
        type Subscription { status: Status }
    "#;
    let b = r#"
        enum Status { DONE @deprecated(reason: "say \"CLOSED\"") OPEN }
        type Page { end: String next: Boolean! }
        directive @access(roles: [String!]!)
            on | FIELD_DEFINITION
        directive @tag(repeatable: String = "é repeatable on") repeatable
            on | OBJECT | SCALAR
        scalar Date @specifiedBy(url: "https://example.com")
        interface Node { id: ID! }
        type Box implements Node { id: ID! at(zone: String "the day" day: Date): Date }
        union Thing = Box | Page
        type Query { """ What is  """ thing: Thing status: [Status] }
        type Mutation { move(box: ID!): Box! @access(roles: ["b", "c"]) }
        schema { query: Query mutation: Mutation }
    "#;
    check(
        &[("b", b), ("a", a)],
        expect![[r#"
        type Box implements Node {
        	id: ID!
        	at(zone: String, "the day" day: Date): Date
        }

        scalar Date @specifiedBy(url: "https://example.com")

        interface Node {
        	id: ID!
        }

        input Order {
        	by: String = "sku"
        	"""
        	how many
        	"""
        	n: [Int!]! = [1, 2]
        }

        """
        Where a page ends.
        """
        type Page {
        	next: Boolean!
        	end: String
        }

        enum Status {
        	OPEN
        	DONE @deprecated(reason: "say \"CLOSED\"")
        }

        union Thing = Box | Page

        type Query {
        	page(order: Order = {n: [3], by: "\u000b"}): Page @access(roles: ["a"])
        	aStatus(id: ID!): Status!
        	"""
        	 What is  
        	"""
        	thing: Thing
        	bStatus: [Status]
        }

        type Mutation {
        	move(box: ID!): Box! @access(roles: ["b", "c"])
        }

        directive @access(roles: [String!]!) on FIELD_DEFINITION

        directive @tag(repeatable: String = "é repeatable on") repeatable on OBJECT | SCALAR

        schema {
        	query: Query
        	mutation: Mutation
        }
    "#]],
    );
}

#[test]
fn what_cannot_be_told_apart_is_refused_with_both_places() {
    let query = "type Query { a: Int }";
    refused(
        &[("a", "type Query { x: T }\ntype T { n: Int! }"), ("b", "type T { n: Int }\n\ntype Query { y: T }")],
        expect!["b.graphql:1: T is not the T of a.graphql:2; call one of them otherwise"],
    );
    refused(
        &[("a", "type Query { x: Int }\nenum E { A }"), ("b", "type Query { y: Int }\nscalar E")],
        expect!["b.graphql:2: E is not the E of a.graphql:2; call one of them otherwise"],
    );
    refused(
        &[("a", "directive @d on FIELD\ntype Query { x: Int }"), ("b", "directive @d on QUERY\ntype Query { y: Int }")],
        expect!["b.graphql:1: @d is not the @d of a.graphql:1; call one of them otherwise"],
    );
    // A prefix makes the name of another field.
    refused(
        &[("a", "type Query {\n n: Int\n bN: Int }"), ("b", "type Query { n: Int }")],
        expect!["b.graphql:1: the field bN of Query stands in a.graphql:3, too; call one of them otherwise"],
    );
    refused(
        &[("a", "schema { query: Root }\ntype Root { x: Int }")],
        expect![[r#"a.graphql:1: the root of each query must be a type "Query" that implements nothing"#]],
    );
    refused(
        &[("a", "interface I { x: Int }\ntype Query implements I { x: Int }")],
        expect![[r#"a.graphql:2: the root of each query must be a type "Query" that implements nothing"#]],
    );
    refused(
        &[("a", "type Query { x: Box }\ntype Box {\n all: [Query!]! }")],
        expect!["a.graphql:3: Box leads to the root Query, which belongs to all services"],
    );
    refused(
        &[("a", "type Query { x: Int }\nextend type Query { y: Int }")],
        expect!["a.graphql:2: types are not extended here; write the fields into the type itself"],
    );
    refused(
        &[("a", query), ("a", query)],
        expect![[r#"
        a.graphql: a has a schema already, in a.graphql
        a.graphql:1: the field aA of Query stands in a.graphql:1, too; call one of them otherwise"#]],
    );
    refused(
        &[("a", "type Query {")],
        expect![[r#"
        a.graphql:1:  --> 1:13
          |
        1 | type Query {
          |             ^---
          |
          = expected field_definition"#]],
    );
}

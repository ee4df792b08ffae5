//! How answers become one.

use serde_json::Value;
use skein_graph::Failed;

use crate::split::plan;

/// `Err` is a service that cannot be reached.
#[track_caller]
fn check(document: &str, answers: &[Result<&str, ()>], expected: &str) {
    let plan = plan(document, &Value::Null).unwrap();
    let unavailable = || Failed { message: "try again".to_owned(), code: "UNAVAILABLE".to_owned() };
    let answers: Vec<_> = answers.iter().map(|one| one.map(str::to_owned).map_err(|()| unavailable())).collect();
    let merged = plan.merge(&answers, "t1");
    serde_json::from_str::<Value>(&merged).unwrap();
    assert_eq!(merged, expected);
}

#[test]
fn data_comes_in_the_order_that_was_asked_for() {
    check(
        "{ z: stock { units } orders { id } t: __typename stocksStatus }",
        &[Ok(r#"{"data":{"stocksStatus":1,"z":{"b":1,"a":2},"more":3}}"#), Ok(r#"{"data":{"orders":[]}}"#)],
        r#"{"data":{"z":{"b":1,"a":2},"orders":[],"t":"Query","stocksStatus":1}}"#,
    );
    check("mutation { __typename }", &[], r#"{"data":{"__typename":"Mutation"}}"#);
}

#[test]
fn a_service_that_failed_leaves_null_where_that_may_be() {
    let told = |path: &str, column: u32| {
        let location = format!(r#"[{{"column":{column},"line":1}}]"#);
        format!(
            r#"{{"extensions":{{"code":"UNAVAILABLE","traceId":"t1"}},"locations":{location},"message":"try again","path":["{path}"]}}"#
        )
    };
    check(
        "{ stock { units } order(id: 1) { id } o: ordersStatus }",
        &[Ok(r#"{"data":{"stock":{"units":2}}}"#), Err(())],
        &format!(
            r#"{{"data":{{"stock":{{"units":2}},"order":null,"o":null}},"errors":[{},{}]}}"#,
            told("order", 19),
            told("o", 39)
        ),
    );
    check(
        "{ stock { units } orders { id } }",
        &[Ok(r#"{"data":{"stock":{"units":2}}}"#), Err(())],
        &format!(r#"{{"data":null,"errors":[{}]}}"#, told("orders", 19)),
    );
    // One that was not asked at all counts as failed.
    let plan = plan("{ stock { units } }", &Value::Null).unwrap();
    assert!(plan.merge(&[], "t1").contains("stocks has not answered"), "{}", plan.merge(&[], "t1"));
}

#[test]
fn each_keeps_its_errors_and_points_into_the_clients_document() {
    check(
        "{ stock { units } ordersStatus }",
        &[
            Ok(
                r#"{"data":{"stock":{"units":null}},"errors":[{"message":"x","path":["stock","units"],"locations":[{"line":9,"column":9}]}]}"#,
            ),
            Ok(
                r#"{"data":null,"errors":[{"message":"y","locations":[{"line":9,"column":9}]}],"extensions":{"cost":1}}"#,
            ),
        ],
        r#"{"data":{"stock":{"units":null},"ordersStatus":null},"errors":[{"locations":[{"column":3,"line":1}],"message":"x","path":["stock","units"]},{"message":"y"}],"extensions":{"orders":{"cost":1}}}"#,
    );
    // A request that a service refuses has no data.
    check(
        "{ orders { id } stock { units } }",
        &[Ok(r#"{"errors":[{"message":"too deep"}]}"#), Ok(r#"{"data":{"stock":null}}"#)],
        r#"{"data":null,"errors":[{"message":"too deep"}]}"#,
    );
    // Where each refuses there is none, whether it could be null or not.
    check(
        "{ stock { units } order(id: 1) { id } }",
        &[Ok(r#"{"data":null,"errors":[{"message":"x"}]}"#), Ok(r#"{"errors":[{"message":"y"}]}"#)],
        r#"{"data":null,"errors":[{"message":"x"},{"message":"y"}]}"#,
    );
    check(
        "{ stock { units } order(id: 1) { id } }",
        &[Ok(r#"{"data":null,"errors":[{"message":"x"}]}"#), Ok(r#"{"data":{"order":null}}"#)],
        r#"{"data":{"stock":null,"order":null},"errors":[{"message":"x"}]}"#,
    );
}

#[test]
fn what_is_no_answer_is_a_failure_that_tells_nothing_of_it() {
    for answer in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{}}"#,
        r#"{"data":{"orders":null}}"#,
        r#"{"data":[1]}"#,
        r#"{"data":{"orders":[]},"errors":{}}"#,
    ] {
        let plan = plan("{ orders { id } }", &Value::Null).unwrap();
        let merged: Value = serde_json::from_str(&plan.merge(&[Ok(answer.to_owned())], "t1")).unwrap();
        assert_eq!(merged["data"], Value::Null, "{answer}");
        assert_eq!(merged["errors"][0]["extensions"]["code"], "INTERNAL", "{answer}");
        assert_eq!(merged["errors"][0]["path"][0], "orders", "{answer}");
    }
}

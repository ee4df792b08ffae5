//! One line for each thing that a function says.

use expect_test::{Expect, expect};
use serde_json::json;

use crate::world::outputs;

/// The value of an expression in an output, or the error.
fn value(expression: &str) -> String {
    let sections = json!({
        "parameters": {"text": {"type": "string", "defaultValue": "abc"}},
        "variables": {"object": {"One": 1, "two": {"three": [1, 2, 3]}}, "list": ["a", "b", "c"]},
        "outputs": {"o": {"type": "object", "value": {"v": format!("[{expression}]")}}},
    });
    match outputs(sections, json!({})) {
        Ok(outputs) => outputs["o"]["value"]["v"].to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn check(expression: &str, expected: Expect) {
    expected.assert_eq(&value(expression));
}

fn is(expression: &str, expected: &str) {
    assert_eq!(value(expression), expected, "{expression}");
}

#[test]
fn texts() {
    is("concat('a', 1, true())", r#""a1True""#);
    is("format('{0}-{1,4}|{2,-3}|{{x}}', 'a', 7, false())", r#""a-   7|False|{x}""#);
    is("format('{0:N0} {0:D6} {1:X}', 1234, 255)", r#""1,234 001234 FF""#);
    is("toLower(toUpper('Straße'))", r#""strasse""#);
    is("trim('  a ')", r#""a""#);
    is("split('a,b;c', createArray(',', ';'))", r#"["a","b","c"]"#);
    is("split('a/b', '/')[1]", r#""b""#);
    is("join(variables('list'), '-')", r#""a-b-c""#);
    is("replace('aXbX', 'X', '')", r#""ab""#);
    is("substring('hello', 1, 3)", r#""ell""#);
    is("padLeft('7', 3, '0')", r#""007""#);
    is("startsWith('Abc', 'aB')", "true");
    is("endsWith('abc', 'C')", "true");
    is("indexOf('abcabc', 'C')", "2");
    is("lastIndexOf('abcabc', 'c')", "5");
    is("indexOf('abc', 'x')", "-1");
    is("take('abc', 2)", r#""ab""#);
    is("skip('abc', 2)", r#""c""#);
    is("first('abc')", r#""a""#);
    is("length('aé😀')", "4");
    is("contains('abc', 'bc')", "true");
    is("string(createObject('a', createArray(1)))", r#""{\"a\":[1]}""#);
    is("uniqueString('hello', 'world')", r#""a7wkljktk6wne""#);
    is("guid('foo', 'bar', 'baz')", r#""2ed86837-7c7c-5eaa-9864-dd077fd19b0d""#);
    check(
        "substring('abc', 2, 5)",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: InvalidTemplate: substring(): the text has 3 characters only (at $.outputs.o.value.v)"
        ],
    );
    check(
        "toLower(1)",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: InvalidTemplate: toLower(): argument 1 must be a string, it is an int (at $.outputs.o.value.v)"
        ],
    );
    check(
        "toLower('a', 'b')",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: InvalidTemplate: toLower(): it takes 1 arguments, and 2 are given (at $.outputs.o.value.v)"
        ],
    );
}

#[test]
fn collections() {
    is("variables('OBJECT').one", "1");
    is("variables('object').two['three'][2]", "3");
    is("variables('object').?x", "null");
    is("variables('object').?x.?y", "null");
    is("tryGet(variables('object'), 'two', 'three', 9)", "null");
    is(
        "union(createObject('a', createObject('b', 1)), createObject('a', createObject('c', 2)))",
        r#"{"a":{"b":1,"c":2}}"#,
    );
    is("union(createArray(1, 2), createArray(2, 3))", "[1,2,3]");
    is("intersection(createArray(1, 2, 3), createArray(3, 2))", "[2,3]");
    is("shallowMerge(createArray(createObject('a', 1), createObject('a', 2)))", r#"{"a":2}"#);
    is("items(createObject('b', 1, 'a', 2))", r#"[{"key":"a","value":2},{"key":"b","value":1}]"#);
    is("objectKeys(createObject('b', 1, 'a', 2))", r#"["a","b"]"#);
    is("range(5, 3)", "[5,6,7]");
    is("last(variables('list'))", r#""c""#);
    is("indexFromEnd(variables('list'), 1)", r#""c""#);
    is("tryIndexFromEnd(variables('list'), 9)", "null");
    is("empty(createArray())", "true");
    is("array('a')", r#"["a"]"#);
    is("max(1, 3, 2)", "3");
    is("min(createArray(4, 2))", "2");
    is("contains(createObject('Key', 1), 'kEY')", "true");
    check(
        "variables('object').nope",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: InvalidTemplate: there is no property \"nope\"; there are: One, two (at $.outputs.o.value.v)"
        ],
    );
    check(
        "variables('list')[7]",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: InvalidTemplate: there is no item 7, the array has 3 (at $.outputs.o.value.v)"
        ],
    );
}

#[test]
fn lambdas() {
    is("map(range(1, 3), lambda('x', mul(lambdaVariables('x'), 2)))", "[2,4,6]");
    is(
        "map(variables('list'), lambda('x', 'i', format('{0}{1}', lambdaVariables('i'), lambdaVariables('x'))))",
        r#"["0a","1b","2c"]"#,
    );
    is("filter(range(1, 5), lambda('x', greater(lambdaVariables('x'), 3)))", "[4,5]");
    is("reduce(range(1, 4), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))", "10");
    is("sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))", "[1,2,3]");
    is(
        "toObject(variables('list'), lambda('x', lambdaVariables('x')), lambda('x', toUpper(lambdaVariables('x'))))",
        r#"{"a":"A","b":"B","c":"C"}"#,
    );
    is(
        "groupBy(createArray('ab', 'ac', 'b'), lambda('x', first(lambdaVariables('x'))))",
        r#"{"a":["ab","ac"],"b":["b"]}"#,
    );
    is("mapValues(createObject('a', 1), lambda('v', add(lambdaVariables('v'), 1)))", r#"{"a":2}"#);
}

#[test]
fn logic_and_numbers() {
    is("if(equals(1, 1), 'yes', json('{'))", r#""yes""#);
    is("and(true(), not(false()), equals('a', 'a'))", "true");
    is("or(false(), true(), bool('nonsense'))", "true");
    is("coalesce(null(), 'a')", r#""a""#);
    is("greaterOrEquals('b', 'a')", "true");
    is("div(7, 2)", "3");
    is("mod(7, 2)", "1");
    is("int('12')", "12");
    is("bool('TRUE')", "true");
    check(
        "div(1, 0)",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: InvalidTemplate: div(): 1 and 0 have no result of 64 bits (at $.outputs.o.value.v)"
        ],
    );
    check(
        "fail('no way')",
        expect![
            "error: DeploymentOutputEvaluationFailed: the output \"o\" has no value: DeploymentFailed: no way (at $.outputs.o.value.v)"
        ],
    );
}

#[test]
fn encodings_times_and_networks() {
    is("json('{\"a\": [1]}').a[0]", "1");
    is("base64ToString(base64('päis'))", r#""päis""#);
    is("uriComponent('a b/ü')", r#""a%20b%2F%C3%BC""#);
    is("uri('https://x/a/', 'b.json')", r#""https://x/a/b.json""#);
    is("uri('https://x/a', 'b.json')", r#""https://x/b.json""#);
    is("dataUriToString(dataUri('x'))", r#""x""#);
    is("dateTimeAdd('2026-01-31T12:00:00Z', 'P1M')", r#""2026-02-28T12:00:00Z""#);
    is("dateTimeAdd('2026-01-01T00:00:00Z', '-PT1H30M', 'yyyy-MM-dd')", r#""2025-12-31""#);
    is("dateTimeToEpoch('1970-01-02T00:00:00Z')", "86400");
    is("dateTimeFromEpoch(86400)", r#""1970-01-02T00:00:00Z""#);
    is("cidrSubnet('10.144.0.0/20', 24, 1)", r#""10.144.1.0/24""#);
    is("cidrHost('10.144.3.0/24', 0)", r#""10.144.3.1""#);
    is("parseCidr('10.144.0.0/20').broadcast", r#""10.144.15.255""#);
}

#[test]
fn places() {
    is("resourceGroup().name", r#""rg""#);
    is("subscription().subscriptionId", r#""11111111-2222-3333-4444-555555555555""#);
    is("deployment().name", r#""main""#);
    is("environment().suffixes.storage", r#""core.windows.net""#);
    let rg = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg";
    is("resourceId('A.B/c/d', 'x', 'y')", &format!(r#""{rg}/providers/A.B/c/x/d/y""#));
    is("resourceId('other', 'A.B/c', 'x')", &format!(r#""{}other/providers/A.B/c/x""#, rg.trim_end_matches("rg")));
    is(
        "subscriptionResourceId('A.B/c', 'x')",
        r#""/subscriptions/11111111-2222-3333-4444-555555555555/providers/A.B/c/x""#,
    );
    is("tenantResourceId('A.B/c', 'x')", r#""/providers/A.B/c/x""#);
    is(
        "extensionResourceId(resourceId('A.B/c', 'x'), 'D.E/f', 'y')",
        &format!(r#""{rg}/providers/A.B/c/x/providers/D.E/f/y""#),
    );
    is("listKeys(resourceId('A.B/c', 'x'), '2020-01-01').called", r#""listkeys""#);
    check(
        "resourceId('A.B/c', 'x', 'y')",
        expect![[
            r#"error: DeploymentOutputEvaluationFailed: the output "o" has no value: InvalidTemplate: resourceId(): the name "x/y" has 2 segments, and the type A.B/c needs 1 (at $.outputs.o.value.v)"#
        ]],
    );
}

#[test]
fn what_is_unknown_is_refused_by_name_and_place() {
    check("nope('x')", expect!["error: InvalidTemplate: there is no function nope() (at $.outputs.o.value.v)"]);
    check(
        "pickZones('a', 'b', 'c')",
        expect!["error: InvalidTemplate: the function pickZones() is not evaluated here (at $.outputs.o.value.v)"],
    );
    check(
        "parameters('nope')",
        expect![[r#"error: InvalidTemplate: there is no parameter "nope" (at $.outputs.o.value.v)"#]],
    );
    check(
        "variables('nope')",
        expect![[r#"error: InvalidTemplate: there is no variable "nope" (at $.outputs.o.value.v)"#]],
    );
    check("a.b()", expect!["error: InvalidTemplate: there is no function a.b() (at $.outputs.o.value.v)"]);
    check(
        "utcNow()",
        expect![
            "error: InvalidTemplate: utcNow() may stand only in the default of a parameter (at $.outputs.o.value.v)"
        ],
    );
    check(
        "concat('a'",
        expect!["error: InvalidTemplate: ',' is missing at the end: [concat('a'] (at $.outputs.o.value.v)"],
    );
}

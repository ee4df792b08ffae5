//! What sections of a template mean together.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use skein_arm::Plan;

use crate::world::{SUBSCRIPTION, World, outputs, scope, template};

const GROUP_SCHEMA: &str = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#";

fn thing(name: &str) -> Value {
    json!({"type": "A.B/things", "apiVersion": "2020-01-01", "name": name})
}

fn with(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

/// Deploys resources; their names in order, or the error.
fn deployed(resources: Value) -> String {
    deployed_with(json!({"resources": resources}))
}

fn deployed_with(sections: Value) -> String {
    let world = World::default();
    let plan = match Plan::of(&template(sections), &json!({}), scope(true), &world) {
        Ok(plan) => plan,
        Err(error) => return format!("error: {error}"),
    };
    match world.deploy(&plan) {
        Ok(_) => {
            let order = world.order.lock().unwrap();
            order.iter().map(|id| id.rsplit('/').next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("error: {error}"),
    }
}

fn check(resources: Value, expected: Expect) {
    expected.assert_eq(&deployed(resources));
}

fn parameter(declared: Value, given: Value) -> String {
    let sections = json!({
        "parameters": {"p": declared},
        "outputs": {"o": {"type": "object", "value": {"v": "[parameters('P')]"}}},
    });
    match outputs(sections, given) {
        Ok(outputs) => outputs["o"]["value"]["v"].to_string(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn parameters_are_checked() {
    let given = |value: Value| json!({"p": {"value": value}});
    let check = |declared: Value, given: Value, expected: Expect| expected.assert_eq(&parameter(declared, given));
    check(json!({"type": "string"}), given(json!("x")), expect![[r#""x""#]]);
    check(json!({"type": "String", "defaultValue": "[toUpper('d')]"}), json!({}), expect![[r#""D""#]]);
    check(json!({"type": "string", "nullable": true}), json!({}), expect!["null"]);
    check(
        json!({"type": "securestring"}),
        json!({"p": {"reference": {"keyVault": {"id": "/x"}, "secretName": "s"}}}),
        expect![[r#""secret s""#]],
    );
    check(
        json!({"type": "string"}),
        json!({}),
        expect![[
            r#"error: InvalidTemplate: the parameter "p" has no value and no default; give it one (at $.parameters.p)"#
        ]],
    );
    check(
        json!({"type": "int"}),
        given(json!("1")),
        expect![[
            r#"error: InvalidTemplate: the parameter "p" must be of type int, it is a string (at $.parameters.p)"#
        ]],
    );
    check(
        json!({"type": "int", "maxValue": 3}),
        given(json!(4)),
        expect![[
            r#"error: InvalidTemplate: the parameter "p" has the value 4, and at most 3 is allowed (at $.parameters.p)"#
        ]],
    );
    check(
        json!({"type": "string", "minLength": 3}),
        given(json!("ab")),
        expect![[
            r#"error: InvalidTemplate: the parameter "p" has the length 2, and at least 3 is needed (at $.parameters.p)"#
        ]],
    );
    check(
        json!({"type": "string", "allowedValues": ["a", "b"]}),
        given(json!("c")),
        expect![[r#"error: InvalidTemplate: the parameter "p" cannot be "c"; allowed: "a", "b" (at $.parameters.p)"#]],
    );
    check(
        json!({"type": "securestring", "allowedValues": ["a"]}),
        given(json!("hush")),
        expect![[r#"error: InvalidTemplate: the parameter "p" cannot be the value; allowed: "a" (at $.parameters.p)"#]],
    );
    check(
        json!({"type": "text"}),
        given(json!("c")),
        expect![[
            r#"error: InvalidTemplate: the type "text" is none of string, int, bool, object, array, securestring, secureobject (at $.parameters.p)"#
        ]],
    );
    check(
        json!({"type": "string", "dflt": 1}),
        given(json!("c")),
        expect![[r#"error: InvalidTemplate: a parameter has no "dflt" (at $.parameters.p.dflt)"#]],
    );
    check(
        json!({"type": "string"}),
        json!({"q": {"value": 1}, "p": {"value": ""}}),
        expect![[r#"error: InvalidTemplate: the template has no parameter "q"; it has: p (at $.parameters.q)"#]],
    );
    check(
        json!({"type": "string"}),
        json!({"p": "bare"}),
        expect![[r#"error: InvalidTemplate: a parameter is given as {"value": …} (at $.parameters.p)"#]],
    );
}

#[test]
fn values_may_use_one_another_and_never_themselves() {
    let sections = |b: &str| {
        json!({
            "parameters": {"a": {"type": "string", "defaultValue": "[parameters('b')]"}, "b": {"type": "string", "defaultValue": b}},
            "variables": {"x": "[variables('y')]", "y": "[parameters('a')]", "copy": [{"name": "squares", "count": 3, "input": "[mul(copyIndex('squares'), copyIndex())]"}]},
            "outputs": {"o": {"type": "string", "value": "[variables('x')]"}, "s": {"type": "array", "value": "[variables('squares')]"}},
        })
    };
    let outputs_of = |b: &str| outputs(sections(b), json!({}));
    assert_eq!(outputs_of("deep").unwrap()["o"]["value"], "deep");
    assert_eq!(outputs_of("deep").unwrap()["s"]["value"], json!([0, 1, 4]));
    let circle = outputs_of("[parameters('a')]").unwrap_err();
    assert!(circle.contains("depends on itself"), "{circle}");
}

#[test]
fn dependencies_make_the_order() {
    check(json!([with(thing("a"), json!({"dependsOn": ["b"]})), thing("b")]), expect!["b a"]);
    check(
        json!([with(thing("a"), json!({"dependsOn": ["[resourceId('A.B/things', 'b')]"]})), thing("b")]),
        expect!["b a"],
    );
    check(json!([with(thing("a"), json!({"dependsOn": ["A.B/things/b"]})), thing("b")]), expect!["b a"]);
    check(
        json!([
            with(thing("a"), json!({"properties": {"x": "[reference('b')]"}})),
            with(thing("b"), json!({"properties": {}}))
        ]),
        expect!["b a"],
    );
    check(
        json!([
            with(thing("a"), json!({"properties": {"x": "[reference(resourceId('A.B/things', 'b'))]"}})),
            with(thing("b"), json!({"properties": {}}))
        ]),
        expect!["b a"],
    );
    // With a version nothing is implied.
    check(
        json!([
            with(thing("a"), json!({"properties": {"x": "[reference(resourceId('A.B/things', 'b'), '2020-01-01')]"}})),
            thing("b")
        ]),
        expect![
            "error: ResourceNotFound: there is no /subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/A.B/things/b (at $.resources[0].properties.x)"
        ],
    );
    check(
        json!([with(thing("a"), json!({"dependsOn": ["[resourceId('A.B/things', 'c')]"]})), thing("b")]),
        expect![[
            r#"error: InvalidTemplate: the resource "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/A.B/things/c" is not in the template; dependsOn can name no other (at $.resources[0].dependsOn[0])"#
        ]],
    );
    check(
        json!([with(thing("a"), json!({"dependsOn": ["b"]})), with(thing("b"), json!({"dependsOn": ["a"]}))]),
        expect![
            "error: InvalidTemplate: these resources depend on one another in a circle: /subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/A.B/things/a on /subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/A.B/things/b (at $.resources[0])"
        ],
    );
}

#[test]
fn conditions_leave_out() {
    check(
        json!([with(thing("a"), json!({"condition": false})), with(thing("b"), json!({"dependsOn": ["a"]}))]),
        expect!["b"],
    );
    check(json!([with(thing("a"), json!({"condition": "[equals(1, 1)]"}))]), expect!["a"]);
    check(
        json!([with(thing("a"), json!({"condition": "yes"}))]),
        expect!["error: InvalidTemplate: a condition must be a bool, it is a string (at $.resources[0].condition)"],
    );
}

#[test]
fn loops_copy() {
    let copy = |copy: Value| with(thing("[format('t{0}', copyIndex(1))]"), json!({"copy": copy}));
    check(json!([copy(json!({"name": "l", "count": 3}))]), expect!["t1 t2 t3"]);
    check(
        json!([
            with(thing("a"), json!({"dependsOn": ["l"]})),
            copy(json!({"name": "l", "count": 2, "mode": "serial"}))
        ]),
        expect!["t1 t2 a"],
    );
    check(json!([copy(json!({"name": "l", "count": 0}))]), expect![""]);
    check(json!([with(thing("a"), json!({"dependsOn": ["l"]})), copy(json!({"name": "l", "count": 0}))]), expect!["a"]);
    check(
        json!([copy(json!({"name": "l", "count": -1}))]),
        expect![
            "error: InvalidTemplate: the count of a loop must be an int from 0 to 800, it is Some(-1) (at $.resources[0].copy.count)"
        ],
    );
    check(
        json!([with(thing("same"), json!({"copy": {"name": "l", "count": 2}}))]),
        expect![
            "error: InvalidTemplate: it has the type and the name of $.resources[0]: /subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/A.B/things/same (at $.resources[0])"
        ],
    );
    let world = World::default();
    let properties = json!({"copy": [{"name": "list", "count": 2, "input": {"n": "[copyIndex('list')]", "outer": "[copyIndex()]"}}], "kept": null});
    let resource = with(copy(json!({"name": "l", "count": 2})), json!({"properties": properties}));
    let plan = Plan::of(&template(json!({"resources": [resource]})), &Value::Null, scope(true), &world).unwrap();
    assert_eq!(
        plan.body(1, &world).unwrap()["properties"],
        json!({"list": [{"n": 0, "outer": 1}, {"n": 1, "outer": 1}]})
    );
    // One after the other: each batch waits for the one before.
    let plan = Plan::of(
        &template(json!({"resources": [copy(json!({"name": "l", "count": 4, "mode": "Serial", "batchSize": 2}))]})),
        &Value::Null,
        scope(true),
        &world,
    )
    .unwrap();
    let edges: Vec<Vec<usize>> = plan.resources.iter().map(|one| one.depends_on.iter().copied().collect()).collect();
    assert_eq!(edges, [vec![], vec![], vec![0, 1], vec![0, 1]]);
}

fn nested(inner: bool, more: Value) -> Value {
    let properties = json!({
        "mode": "Incremental",
        "expressionEvaluationOptions": {"scope": if inner { "inner" } else { "outer" }},
        "template": {
            "$schema": GROUP_SCHEMA,
            "contentVersion": "1.0.0.0",
            "variables": {"name": "from-inside"},
            "resources": [thing("[variables('name')]")],
            "outputs": {"where": {"type": "string", "value": "[resourceGroup().name]"}},
        },
    });
    let deployment = json!({"type": "Microsoft.Resources/deployments", "apiVersion": "2025-04-01", "name": "n", "properties": properties});
    with(deployment, more)
}

#[test]
fn nested_deployments_see_their_scope() {
    let sections = |inner: bool| {
        json!({
            "variables": {"name": "from-outside"},
            "resources": [nested(inner, json!({"resourceGroup": "other", "dependsOn": []}))],
            "outputs": {"o": {"type": "string", "value": "[reference('n').outputs.where.value]"}},
        })
    };
    for (inner, name, group) in [(true, "from-inside", "other"), (false, "from-outside", "rg")] {
        let world = World::default();
        let other = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/other");
        world.resources.lock().unwrap().insert(other.to_lowercase(), json!({}));
        let plan = Plan::of(&template(sections(inner)), &json!({}), scope(true), &world).unwrap();
        let outputs = world.deploy(&plan).unwrap();
        assert_eq!(outputs["o"]["value"], group);
        assert!(world.get(&format!("{other}/providers/A.B/things/{name}")).is_some());
    }
    let missing = deployed(json!([nested(true, json!({"resourceGroup": "gone"}))]));
    assert!(missing.contains("ResourceGroupNotFound"), "{missing}");
    let complete = {
        let mut one = nested(true, json!({}));
        one["properties"]["mode"] = "Complete".into();
        one
    };
    check(
        json!([complete]),
        expect![
            "error: InvalidTemplate: the mode of a nested deployment can only be Incremental (at $.resources[0].properties.mode)"
        ],
    );
    let linked =
        with(nested(true, json!({})), json!({"properties": {"mode": "Incremental", "templateLink": {"uri": "x"}}}));
    check(
        json!([linked]),
        expect![[
            r#"error: InvalidTemplate: "templateLink" of a nested deployment is not evaluated here (at $.resources[0].properties.templateLink)"#
        ]],
    );
}

#[test]
fn symbols_name_resources() {
    let symbolic = |resources: Value| deployed_with(json!({"languageVersion": "2.0", "resources": resources}));
    let resources = json!({
        "first": with(thing("a"), json!({"dependsOn": ["second", "third[1]"]})),
        "second": with(thing("b"), json!({"properties": {"x": "[reference('third[0]')]"}})),
        "third": with(thing("[format('c{0}', copyIndex())]"), json!({"copy": {"name": "third", "count": 2}, "properties": {}})),
    });
    assert_eq!(symbolic(resources), "c0 c1 b a");
    let gone = symbolic(json!({"first": with(thing("a"), json!({"dependsOn": ["nope"]}))}));
    assert!(gone.contains(r#"the resource "nope" is not in the template"#), "{gone}");
    check(
        json!({"first": thing("a")}),
        expect!["error: InvalidTemplate: resources by symbolic names need languageVersion 2.0 (at $.resources)"],
    );
}

#[test]
fn children_and_extensions_get_their_ids() {
    let child = json!({"type": "parts", "apiVersion": "2020-01-01", "name": "p"});
    let lock = json!({"type": "Microsoft.Authorization/locks", "apiVersion": "2020-05-01", "name": "l", "scope": "A.B/things/a"});
    let world = World::default();
    let resources = json!([with(thing("a"), json!({"resources": [child]})), lock]);
    let plan = Plan::of(&template(json!({"resources": resources})), &Value::Null, scope(true), &world).unwrap();
    let ids: Vec<_> = plan.resources.iter().map(|one| one.id.rsplit_once("/rg/").unwrap().1).collect();
    assert_eq!(
        ids,
        [
            "providers/A.B/things/a",
            "providers/A.B/things/a/parts/p",
            "providers/A.B/things/a/providers/Microsoft.Authorization/locks/l"
        ]
    );
}

#[test]
fn unknown_members_and_limits_are_refused() {
    check(
        json!([with(thing("a"), json!({"propertys": {}}))]),
        expect![[
            r#"error: InvalidTemplate: "propertys" of a resource is not known here (at $.resources[0].propertys)"#
        ]],
    );
    check(
        json!([{"type": "[concat('a')]", "apiVersion": "1", "name": "x"}]),
        expect!["error: InvalidTemplate: type must be a literal (at $.resources[0].type)"],
    );
    check(
        json!([{"type": "A.B/c", "name": "x"}]),
        expect!["error: InvalidTemplate: a resource needs a apiVersion (at $.resources[0])"],
    );
    check(
        json!([with(thing("a"), json!({"name": "[reference('b').x]"}))]),
        expect![
            "error: InvalidTemplate: reference() may stand only in properties of resources and in outputs (at $.resources[0].name)"
        ],
    );
    let many: Vec<_> = (0..801).map(|n| thing(&n.to_string())).collect();
    assert!(deployed(many.into()).contains("800 are allowed"));
    let world = World::default();
    let refused = |template: Value| Plan::of(&template, &Value::Null, scope(true), &world).err().unwrap().to_string();
    assert!(refused(template(json!({"outpust": {}}))).contains("outpust"));
    assert!(
        refused(json!({"contentVersion": "1", "$schema": "subscriptionDeploymentTemplate.json#", "resources": []}))
            .contains("resource group")
    );
    assert!(refused(template(json!({"metadata": "x".repeat(4 * 1024 * 1024)}))).contains("bytes"));
}

#[test]
fn functions_of_the_template_are_called() {
    let function = json!({"parameters": [{"name": "n", "type": "int"}], "output": {"type": "int", "value": "[add(parameters('n'), 1)]"}});
    let sections = json!({
        "functions": [{"namespace": "own", "members": {"next": function}}],
        "outputs": {"o": {"type": "int", "value": "[own.next(own.next(1))]"}, "many": {"type": "array", "copy": {"count": 2, "input": "[copyIndex()]"}}},
    });
    let outputs = outputs(sections, json!({})).unwrap();
    assert_eq!(outputs["o"]["value"], 3);
    assert_eq!(outputs["many"]["value"], json!([0, 1]));
}

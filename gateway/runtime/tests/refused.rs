//! Documents that cannot be executed, refused by name and place.

use std::fmt::Write as _;

use expect_test::expect;
use skein_gateway::Program;
use skein_policies::Tier;

use crate::world::Around;

fn refusal(api: &str) -> String {
    let around = Around::new(Tier::StandardV2);
    match Program::compile(&around.documents(None, Some(api))) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_is_told_where_and_why() {
    let inbound = |policies: &str| format!("<policies><inbound><base />{policies}</inbound></policies>");
    let jwt = |attributes: &str, children: &str| {
        inbound(&format!("<validate-jwt header-name=\"Authorization\" {attributes}>{children}</validate-jwt>"))
    };
    let mut told = String::new();
    for api in [
        "<policies>".to_owned(),
        "<fragment />".to_owned(),
        "<policies><between /></policies>".to_owned(),
        "<policies><inbound /><inbound /></policies>".to_owned(),
        "<!DOCTYPE x [<!ENTITY y \"z\">]><policies />".to_owned(),
        inbound("<validate-graphql-request error-variable-name=\"x\" max-size=\"1\" />"),
        inbound("<send-request mode=\"new\" />"),
        inbound("<forward-request />"),
        inbound("text"),
        inbound("<set-header name=\"a\" exists-action=\"override\" colour=\"red\"><value>1</value></set-header>"),
        inbound("<set-header name=\"a b\"><value>1</value></set-header>"),
        inbound("<set-header name=\"a\"></set-header>"),
        inbound("<set-header name=\"a\"><value>@(context.User.Id)</value></set-header>"),
        inbound("<set-header name=\"a\"><value>for @(context.Request.Method)</value></set-header>"),
        inbound("<set-variable name=\"a\" value=\"@{ return 1; }\" />"),
        inbound("<choose><otherwise /><when condition=\"@(true)\" /></choose>"),
        inbound("<choose><when><set-body>1</set-body></when></choose>"),
        inbound("<include-fragment fragment-id=\"gone\" />"),
        inbound("<set-backend-service backend-id=\"gone\" />"),
        inbound("<set-body>{{gone}}</set-body>"),
        inbound("<rewrite-uri template=\"/a/{b}\" />"),
        inbound("<return-response><choose /></return-response>"),
        inbound("<set-status code=\"99\" />"),
        inbound("<rate-limit-by-key calls=\"0\" renewal-period=\"1\" counter-key=\"a\" />"),
        jwt("require-signed-tokens=\"false\"", ""),
        jwt("", "<audiences><audience>a</audience></audiences>"),
        jwt("", "<openid-config url=\"http://a\" />"),
        jwt("", "<openid-config url=\"http://a\" /><issuer-signing-keys />"),
        "<policies><backend><base /><forward-request /></backend></policies>".to_owned(),
    ] {
        writeln!(told, "{}", refusal(&api)).unwrap();
    }
    expect![[r#"
        the API's policy: it is not well-formed: the root node was opened but never closed
        the API's policy: it begins with "fragment", not with policies
        the API's policy: between is no section
        the API's policy: the section inbound stands twice
        the API's policy: it is not well-formed: XML with DTD detected
        the API's policy: inbound/validate-graphql-request: the policy validate-graphql-request is not one that is executed here
        the API's policy: inbound/send-request: the policy send-request is not one that is executed here
        the API's policy: inbound/forward-request: forward-request may not stand in the section inbound
        the API's policy: inbound: there is text between the elements
        the API's policy: inbound/set-header: the attribute colour is not known here
        the API's policy: inbound/set-header: "a b" is no name of a header
        the API's policy: inbound/set-header: a header that is set has values, one that is deleted has none
        the API's policy: inbound/set-header: the expression @(context.User.Id) (digest e224eb2aaee336d9520b735f3841a43a2b22a3b667016850b94198128b568c2a) has no twin here
        the API's policy: inbound/set-header: an expression within a text is not known here
        the API's policy: inbound/set-variable: the expression @{ return 1; } (digest 7a49babd8ead7e7cc363fc56a03808639f1b27aa0b929e2a5e59fde12f4fc02c) has no twin here
        the API's policy: inbound/choose/when: when may not stand here
        the API's policy: inbound/choose/when: the attribute condition is missing
        the API's policy: inbound/include-fragment: there is no fragment "gone"
        the API's policy: inbound/set-backend-service: there is no backend "gone"
        the API's policy: there is no named value "gone"
        the API's policy: inbound/rewrite-uri: the template must be a path without parameters
        the API's policy: inbound/return-response/choose: choose may not stand in return-response
        the API's policy: inbound/set-status: the code is no status
        the API's policy: inbound/rate-limit-by-key: calls and renewal-period must be above zero
        the API's policy: inbound/validate-jwt: tokens without a signature are not accepted here
        the API's policy: inbound/validate-jwt: there is no openid-config
        the API's policy: inbound/validate-jwt: without audiences, anybody's token of that issuer would do
        the API's policy: inbound/validate-jwt: issuer-signing-keys is not known in it
        policies/backend: the backend is called once: there is more than one forward-request
    "#]].assert_eq(&told);
}

#[test]
fn a_named_value_cannot_change_the_document() {
    let mut around = Around::new(Tier::StandardV2);
    around.named_values.insert("evil".into(), "\" /><set-body>x</set-body><a b=\"".into());
    let api = "<policies><inbound><set-body>{{evil}}</set-body></inbound></policies>";
    let error = Program::compile(&around.documents(None, Some(api))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the API's policy: the named value \"evil\" holds a character that would change the document"
    );
}

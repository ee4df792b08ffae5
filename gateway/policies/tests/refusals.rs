//! What is refused before API Management could see it, with its place.

use skein_policies::{Action, AllowedIn, RuleAction};
use skein_policies::{
    AuthenticationManagedIdentity, Choose, Cors, Expression, ForwardRequest, Fragment, GlobalPolicy, Inbound,
    IncludeFragment, Policy, PolicyError, QuotaByKey, RateLimitByKey, Retry, SetBody, SetHeader, SetStatus,
    SetVariable, Steps, Tier, ValidateAzureAdToken, ValidateContent, ValidateGraphqlRequest, ValidateJwt,
};

fn told(tier: Tier, statement: impl AllowedIn<Inbound>) -> String {
    let printed = Policy::new().inbound(|section| section.then(statement)).print(tier);
    printed.err().map_or_else(|| "fine".to_owned(), |error| chain(&error))
}

fn chain(error: &PolicyError) -> String {
    error.to_string()
}

fn key() -> Expression {
    Expression::single("context.Request.IpAddress")
}

#[test]
fn what_a_tier_does_not_have() {
    let rate = || RateLimitByKey { calls: 10, renewal_seconds: 60, key: key() };
    let quota = || QuotaByKey { calls: 10, renewal_seconds: 3600, key: key() };
    let place = "policies/inbound/rate-limit-by-key: the tier Consumption does not have it";
    assert_eq!(told(Tier::Consumption, rate()), place);
    let place = "policies/inbound/choose/when/quota-by-key: the tier Consumption does not have it";
    assert_eq!(told(Tier::Consumption, Choose::when(Expression::single("true"), quota())), place);
    assert_eq!(told(Tier::StandardV2, rate()), "fine");
    assert_eq!(told(Tier::StandardV2, quota()), "fine");
}

#[test]
fn what_is_too_long() {
    let text = "x".repeat(16 * 1024);
    let printed = |tier| Policy::new().outbound(|section| section.then(SetBody(text.as_str().into()))).print(tier);
    let error = printed(Tier::Consumption).expect_err("it is too long");
    assert!(matches!(error, PolicyError::Size { bytes, tier: Tier::Consumption } if bytes > 16 * 1024), "{error}");
    printed(Tier::StandardV2).expect("it fits");
    let text = "x".repeat(256 * 1024);
    let error = Policy::new().outbound(|section| section.then(SetBody(text.into()))).print(Tier::StandardV2);
    assert!(matches!(error, Err(PolicyError::Size { tier: Tier::StandardV2, .. })));
}

#[test]
fn numbers_out_of_bounds_and_lists_that_are_empty() {
    let v2 = Tier::StandardV2;
    let rate = RateLimitByKey { calls: 10, renewal_seconds: 301, key: key() };
    let place = "policies/inbound/rate-limit-by-key: renewal-period is 301, but 1 to 300 is allowed";
    assert_eq!(told(v2, rate), place);
    let quota = QuotaByKey { calls: 0, renewal_seconds: 300, key: key() };
    assert!(told(v2, quota).ends_with("calls is 0, but 1 to 1000000000 is allowed"));
    let content = ValidateContent {
        max_bytes: 102_401,
        oversized: Action::Prevent,
        unspecified: Action::Prevent,
        json: Vec::new(),
    };
    assert!(told(v2, content).ends_with("max-size is 102401, but 1 to 102400 is allowed"));
    let graphql = ValidateGraphqlRequest { max_bytes: 1, max_depth: 0, rules: vec![("/__*", RuleAction::Reject)] };
    assert!(told(v2, graphql).contains("max-depth is 0"));
    assert!(told(v2, SetStatus { code: 600, reason: "?".into() }).contains("code is 600"));
    let unbound = ValidateJwt::bearer("https://login.example/.well-known/openid-configuration");
    assert_eq!(told(v2, unbound), "policies/inbound/validate-jwt: the list of audiences must not be empty");
    assert!(told(v2, ValidateAzureAdToken::tenant("t")).contains("audiences must not be empty"));
    let nobody: [&str; 0] = [];
    assert!(told(v2, Cors::origins(nobody)).contains("origins must not be empty"));
    assert!(told(v2, Cors::origins(["*"]).credentials()).contains("any origin with credentials"));
}

#[test]
fn texts_that_would_be_read_as_something_else() {
    let header = |value: &str| told(Tier::Consumption, SetHeader::set("x", value));
    assert_eq!(header("<&>\"'"), "fine", "XML is escaped");
    let place = "policies/inbound/set-header/value: the text \"@(1)\" holds \"@(\"";
    assert!(header("@(1)").starts_with(place));
    assert!(header("{{secret}}").contains("would replace"));
    assert!(header("a\u{0}b").contains("which XML does not have"));
    let variable = SetVariable { name: "x", value: Expression::block("return Console.Out;").into() };
    let place = "policies/inbound/set-variable/@value: the expression uses \"Console\"";
    assert!(told(Tier::Consumption, variable).starts_with(place));
}

#[test]
fn escapes_survive_a_parser() {
    let text = "<&>\"' \n\t]]>";
    let code = "return \"a < b & c\";";
    let xml = Policy::new()
        .inbound(|section| {
            section
                .then(SetHeader::set("x", text))
                .then(SetVariable { name: "y", value: text.into() })
                .then(SetVariable { name: "z", value: Expression::block(code).into() })
        })
        .print(Tier::Consumption)
        .expect("it can be deployed");
    let document = roxmltree::Document::parse(&xml).expect("well-formed");
    let find = |name: &str| document.descendants().find(|node| node.attribute("name") == Some(name)).expect("there");
    assert_eq!(find("x").first_element_child().and_then(|value| value.text()), Some(text));
    assert_eq!(find("y").attribute("value"), Some(text));
    assert_eq!(find("z").attribute("value"), Some("@{ return \"a < b & c\"; }"));
}

#[test]
fn fragments_and_forwarding() {
    let inner = Fragment { name: "inner", description: "", steps: Steps::<Inbound>::new() };
    let steps = Steps::new().then(IncludeFragment::of(&inner));
    let outer = Fragment { name: "outer", description: "", steps };
    let error = outer.print(Tier::StandardV2).expect_err("no nesting").to_string();
    assert_eq!(error, "fragment/include-fragment: a fragment cannot include another");
    let unnamed = Fragment { name: "a b", description: "", steps: Steps::<Inbound>::new() };
    assert!(matches!(unnamed.print(Tier::StandardV2), Err(PolicyError::FragmentName(_))));
    let cors = || Cors::origins(["https://a.example"]);
    let twice = Policy::new().inbound(|section| section.first(cors()).then(cors()));
    assert!(matches!(twice.print(Tier::StandardV2), Err(PolicyError::Twice { .. })));
    let again = |forward| {
        let condition = Expression::single("context.Response.StatusCode == 503");
        let retry = Retry { condition, count: 3, interval_seconds: 1, first_fast_retry: true };
        GlobalPolicy::retrying(retry, forward).print(Tier::StandardV2)
    };
    assert!(again(ForwardRequest::new(30)).expect_err("unbuffered").to_string().contains("cannot be sent again"));
    let xml = again(ForwardRequest::new(30).buffering_the_request()).expect("it can be deployed");
    assert!(xml.contains("<retry condition=\"@(context.Response.StatusCode == 503)\" count=\"3\""));
    let client = AuthenticationManagedIdentity::for_resource("api://x").client_id("c");
    assert_eq!(told(Tier::Consumption, client), "fine");
}

//! What must hold in every printed document, looked at by an XML parser and without the code that prints.

use std::collections::BTreeSet;

use roxmltree::{Document, Node};
use skein_policies::control_flow::NAMED_VALUES;
use skein_policies::{Tier, gateway, normalised};

use crate::golden::documents;

/// The policies that each section may hold, as the service's documentation lists them.
const EVERYWHERE: [&str; 9] = [
    "base",
    "choose",
    "include-fragment",
    "return-response",
    "set-body",
    "set-header",
    "set-status",
    "set-variable",
    "trace",
];
const INBOUND: [&str; 12] = [
    "authentication-managed-identity",
    "cors",
    "quota",
    "quota-by-key",
    "rate-limit",
    "rate-limit-by-key",
    "rewrite-uri",
    "set-backend-service",
    "validate-azure-ad-token",
    "validate-content",
    "validate-graphql-request",
    "validate-jwt",
];

fn known(section: &str, policy: &str) -> bool {
    let own: &[&str] = match section {
        "inbound" => &INBOUND,
        "backend" => &["forward-request", "retry", "set-backend-service"],
        "outbound" => &["validate-content"],
        _ => &[],
    };
    EVERYWHERE.contains(&policy) || own.contains(&policy)
}

fn elements<'a, 'd>(node: Node<'a, 'd>) -> impl Iterator<Item = Node<'a, 'd>> {
    node.children().filter(Node::is_element)
}

/// Every statement of a section, those within branches included.
fn statements<'a, 'd>(node: Node<'a, 'd>, found: &mut Vec<Node<'a, 'd>>) {
    for child in elements(node) {
        match child.tag_name().name() {
            "when" | "otherwise" => statements(child, found),
            name => {
                found.push(child);
                if name == "choose" || name == "retry" {
                    statements(child, found);
                }
            }
        }
    }
}

#[test]
fn each_section_holds_only_what_it_may() {
    for (name, text) in Tier::ALL.into_iter().flat_map(documents) {
        let document = Document::parse(&text).expect("well-formed");
        let root = document.root_element();
        let sections: Vec<_> = match root.tag_name().name() {
            "policies" => elements(root).collect(),
            "fragment" => vec![root],
            other => panic!("{name} is a {other}"),
        };
        if root.has_tag_name("policies") {
            let names: Vec<_> = sections.iter().map(|section| section.tag_name().name()).collect();
            assert_eq!(names, ["inbound", "backend", "outbound", "on-error"], "{name}");
        }
        for section in sections {
            let kind = match section.tag_name().name() {
                "fragment" if name.ends_with("on-error") => "on-error",
                "fragment" => "inbound",
                other => other,
            };
            let mut found = Vec::new();
            statements(section, &mut found);
            for statement in &found {
                assert!(known(kind, statement.tag_name().name()), "{name}: {statement:?} in {kind}");
            }
            let bases = found.iter().filter(|statement| statement.has_tag_name("base")).count();
            let forwards = found.iter().filter(|statement| statement.has_tag_name("forward-request")).count();
            let expected = match (name.as_str(), kind) {
                ("service", _) => (1, 0),
                ("gateway", "backend") => (0, 1),
                _ => (0, 0),
            };
            assert_eq!((bases, forwards), expected, "{name}: {kind}");
        }
    }
}

#[test]
fn each_document_fits_its_tier_and_reads_the_same_on_one_line() {
    for tier in Tier::ALL {
        for (name, text) in documents(tier) {
            let most = if tier == Tier::Consumption { 16_384 } else { 262_144 };
            assert!(text.len() <= most, "{name}: {} bytes", text.len());
            let document = Document::parse(&text).expect("well-formed");
            for node in document.descendants().filter(Node::is_element) {
                let texts = node.attributes().map(|attribute| attribute.value()).chain(node.text());
                for expression in texts.filter(|text| text.starts_with('@')) {
                    assert!(!expression.contains("//"), "{name}: {expression}");
                    assert!(!expression.contains("{{"), "{name}: {expression}");
                    assert!(!expression.contains('<') || !expression.contains('\''), "{name}: {expression}");
                    let folded = expression.replace(['\n', '\r', '\t'], " ");
                    assert_eq!(normalised(&folded), normalised(expression), "{name}");
                }
            }
        }
    }
}

#[test]
fn what_is_included_exists_and_every_named_value_is_listed() {
    for tier in Tier::ALL {
        let documents = documents(tier);
        let mut included = BTreeSet::new();
        let mut named = BTreeSet::new();
        for (_, text) in &documents {
            let document = Document::parse(text).expect("well-formed");
            for node in document.descendants().filter(|node| node.has_tag_name("include-fragment")) {
                included.insert(format!("fragment-{}", node.attribute("fragment-id").expect("it names one")));
            }
            let parts = text.split("{{").skip(1);
            named.extend(parts.map(|part| part.split("}}").next().expect("a part").to_owned()));
        }
        let fragments = documents.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with("fragment-"));
        assert_eq!(included, fragments.collect(), "each fragment is there and in use");
        assert_eq!(named, NAMED_VALUES.iter().map(|value| value.name().to_owned()).collect());
        let own: Vec<_> = gateway(tier).named_values().iter().map(|value| value.name()).collect();
        assert_eq!(own, ["skein-site-origin"]);
    }
}

#[test]
fn only_a_dedicated_gateway_counts_by_key() {
    let text = |tier| documents(tier).into_iter().map(|(_, text)| text).collect::<String>();
    assert!(!text(Tier::Consumption).contains("-by-key"));
    assert_eq!(text(Tier::StandardV2).matches("-by-key ").count(), 2);
}

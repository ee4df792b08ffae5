//! What is deployed, held against files. `UPDATE_EXPECT=1 cargo test -p skein-policies` writes them.

use expect_test::expect_file;
use skein_policies::control_flow::fragments;
use skein_policies::{ControlFlow, Tier, gateway};

/// Every document of a tier: its file's name and its text.
pub fn documents(tier: Tier) -> Vec<(String, String)> {
    let flow = ControlFlow::between("desk-command", "desk-query").calls_per_day(100_000);
    let fragments = fragments(tier).expect("the fragments can be deployed").into_iter();
    let mut documents: Vec<_> = fragments.map(|(name, _, text)| (format!("fragment-{name}"), text)).collect();
    documents.push(("gateway".to_owned(), gateway(tier).print(tier).expect("it can be deployed")));
    documents.push(("service".to_owned(), flow.policy(tier).print(tier).expect("it can be deployed")));
    documents
}

#[test]
fn what_is_deployed() {
    for tier in Tier::ALL {
        for (name, text) in documents(tier) {
            // The fragments are the same in every tier.
            let name = if name.starts_with("fragment-") { name } else { format!("{name}-{}", tier.sku()) };
            expect_file![format!("{}/tests/golden/{name}.xml", env!("CARGO_MANIFEST_DIR"))].assert_eq(&text);
        }
    }
}

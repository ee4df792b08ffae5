//! Who may do what: the stock is the operators' business.

use skein::core::Principal;

use crate::service::{customer, operator, service};

#[tokio::test]
async fn the_stock_is_for_operators_only() {
    let service = service().await;
    let requests = [
        r#"mutation { receiveStock(input: {sku: "A", quantity: 1}) { commandId } }"#,
        r#"mutation { adjustStock(input: {sku: "A", quantity: -1, reason: "broken"}) { commandId } }"#,
        r#"{ stock(sku: "A") { available } }"#,
        "{ topSkus { sku } }",
        r#"{ commandStatus(aggregateId: "A", commandId: "k") { status } }"#,
    ];
    for request in requests {
        let allowed = service.graphql(&operator(), request).await;
        assert!(allowed["errors"].is_null(), "{allowed}");
        for principal in [customer("ann"), Principal::new("olga", []), Principal::new("olga", ["Operator"])] {
            let denied = service.graphql(&principal, request).await;
            assert_eq!(denied["errors"][0]["extensions"]["code"], "FORBIDDEN", "{request} by {principal:?}");
        }
    }
}

//! The totals themselves, where they are known by other means.

use skein_tests::system::data;
use skein_tests::totals;

#[test]
fn the_small_file_is_what_it_is_said_to_be() {
    let totals = totals::of(&data("orders.csv"), 1000).unwrap();
    assert_eq!((totals.orders.len(), totals.returns, totals.adjustments), (35, 4, 6));
    assert_eq!(totals.backordered.iter().collect::<Vec<_>>(), ["700029", "700030"]);
    assert!(totals.stock.contains_key("HK204A") && totals.stock.contains_key("HK204a"));
    assert_eq!(totals.stock["NEVERSOLD"].available, 1040);
}

#[test]
fn an_outcome_that_nobody_can_expect_is_refused() {
    let refusal = totals::of(&data("orders.csv"), 100).unwrap_err().to_string();
    assert!(refusal.contains("depends on the order of processing"), "{refusal}");
}

//! The rules of stocks and reservations, the views that they make, and the form in which their events are stored.

mod reactions;
mod reservations;
mod stocks;
mod stored;
mod views;

use inventory_domain::reservation::Units;

/// Units by SKU, as in `[("85123A", 6)]`.
fn units<'a>(units: impl IntoIterator<Item = (&'a str, u64)>) -> Units {
    units.into_iter().map(|(sku, quantity)| (sku.to_owned(), quantity)).collect()
}

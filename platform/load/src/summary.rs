//! The summary of a load.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What a load came to.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Orders in the file.
    pub orders: usize,
    /// Returns in the file.
    pub returns: usize,
    /// Stock adjustments in the file.
    pub adjustments: usize,
    /// SKUs of which stock was received first.
    pub stock_receipts: usize,
    /// Orders, returns and adjustments that were accepted, now or by an earlier load of the same file.
    pub accepted: usize,
    /// Those that were refused, and refused receipts of stock.
    pub rejected: usize,
    /// Orders that hold their units.
    pub confirmed: usize,
    /// Orders that could not have all of them.
    pub backordered: usize,
    /// Rows that were left out.
    pub bad_rows: usize,
    /// The whole, in seconds.
    pub seconds: f64,
    /// From the last accepted mutation until the last view showed every effect, in seconds.
    pub time_to_last_view_seconds: f64,
}

/// Seconds to three places.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "orders        {:>6}", self.orders)?;
        writeln!(f, "returns       {:>6}", self.returns)?;
        writeln!(f, "adjustments   {:>6}", self.adjustments)?;
        writeln!(f, "receipts      {:>6}", self.stock_receipts)?;
        writeln!(f, "bad rows      {:>6}", self.bad_rows)?;
        writeln!(f, "accepted      {:>6}", self.accepted)?;
        writeln!(f, "rejected      {:>6}", self.rejected)?;
        writeln!(f, "confirmed     {:>6}", self.confirmed)?;
        writeln!(f, "backordered   {:>6}", self.backordered)?;
        write!(f, "{:.1} s in all; the last view followed after {:.1} s", self.seconds, self.time_to_last_view_seconds)
    }
}

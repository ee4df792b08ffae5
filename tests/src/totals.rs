//! What a file of orders comes to, straight from its rows.
//!
//! This module is the other opinion: it knows the file and the business rules, and none of the project's code. It reads
//! well-formed files only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rust_decimal::Decimal;

/// One SKU at rest. Nothing is reserved then.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Stock {
    /// Units that may be sold.
    pub available: i64,
    /// Units of confirmed orders.
    pub sold: i64,
}

/// One customer.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Customer {
    /// Orders, confirmed or waiting.
    pub orders: i64,
    /// Returns.
    pub returns: i64,
    /// Orders minus returns.
    pub revenue: Decimal,
}

/// What a file comes to, once so many units of each of its SKUs were there before.
#[derive(Debug, Default)]
pub struct Totals {
    /// Each order's total, by invoice.
    pub orders: BTreeMap<String, Decimal>,
    /// The orders that cannot be filled.
    pub backordered: BTreeSet<String>,
    /// The number of returns.
    pub returns: usize,
    /// The number of rows that adjust stock.
    pub adjustments: usize,
    /// Each SKU that the file names.
    pub stock: BTreeMap<String, Stock>,
    /// Each customer that the file names.
    pub customers: BTreeMap<String, Customer>,
}

struct Line {
    sku: String,
    units: i64,
    price: Decimal,
    customer: String,
}

/// Computes the totals of a file.
pub fn of(path: &Path, stock: i64) -> Result<Totals> {
    let mut invoices: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    for record in reader.records() {
        let record = record?;
        let units = record[3].parse().with_context(|| format!("{record:?}"))?;
        let price = record[5].parse().with_context(|| format!("{record:?}"))?;
        let line = Line { sku: record[1].to_owned(), units, price, customer: record[6].to_owned() };
        invoices.entry(record[0].to_owned()).or_default().push(line);
    }

    let mut totals = Totals::default();
    // What came in besides the first stock, and what went out by adjustment.
    let (mut came, mut went): (BTreeMap<&str, i64>, BTreeMap<&str, i64>) = Default::default();
    let mut wanted: BTreeMap<&str, BTreeMap<&str, i64>> = BTreeMap::new();
    for (invoice, lines) in &invoices {
        let sum: Decimal = lines.iter().map(|line| line.price * Decimal::from(line.units)).sum();
        let customer = &lines[0].customer;
        ensure!(lines.iter().all(|line| line.customer == *customer), "{invoice} has two customers");
        if invoice.starts_with('C') {
            totals.returns += 1;
            lines.iter().for_each(|line| *came.entry(&line.sku).or_default() -= line.units);
            if !customer.is_empty() {
                let customer = totals.customers.entry(customer.clone()).or_default();
                customer.returns += 1;
                // A return's units are negative in the file, and so is its sum.
                customer.revenue += sum;
            }
        } else if customer.is_empty() && lines.iter().all(|line| line.price.is_zero()) {
            totals.adjustments += lines.len();
            for line in lines {
                let of = if line.units > 0 { &mut came } else { &mut went };
                *of.entry(&line.sku).or_default() += line.units.abs();
            }
        } else {
            totals.orders.insert(invoice.clone(), sum);
            let wanted = wanted.entry(invoice).or_default();
            lines.iter().for_each(|line| *wanted.entry(&line.sku).or_default() += line.units);
            if !customer.is_empty() {
                let customer = totals.customers.entry(customer.clone()).or_default();
                customer.orders += 1;
                customer.revenue += sum;
            }
        }
    }

    let units = |of: &BTreeMap<&str, i64>, sku: &str| of.get(sku).copied().unwrap_or(0);
    // Too large for all the units that ever are there: such an order waits whenever it is looked at.
    let too_large = |sku: &str, wanted: i64| wanted > stock + units(&came, sku);
    for (invoice, wanted) in &wanted {
        if wanted.iter().any(|(sku, units)| too_large(sku, *units)) {
            totals.backordered.insert((*invoice).to_owned());
        }
    }
    for sku in invoices.values().flatten().map(|line| line.sku.as_str()) {
        // Every other order must fit into the least that is ever there, whatever else is held at that moment, or the
        // outcome would depend on the order of processing and no test could expect it.
        let held: i64 = wanted.values().map(|wanted| units(wanted, sku)).filter(|units| !too_large(sku, *units)).sum();
        ensure!(held <= stock - units(&went, sku), "whether {sku} suffices depends on the order of processing");
        let confirmed = wanted.iter().filter(|(invoice, _)| !totals.backordered.contains(**invoice));
        let sold: i64 = confirmed.map(|(_, wanted)| units(wanted, sku)).sum();
        let available = stock + units(&came, sku) - units(&went, sku) - sold;
        totals.stock.insert(sku.to_owned(), Stock { available, sold });
    }
    Ok(totals)
}

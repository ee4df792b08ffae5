//! What the views show, and what they are to show once every effect is visible.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::plan::{Meaning, Mutation, Plan};
use crate::progress::Progress;
use crate::send::{Outcome, each};

/// How many fields one query asks for, and how many queries are under way at once.
const FIELDS: usize = 20;
const QUERIES: usize = 8;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How many looks in a row must show the same before the system counts as at rest.
const AT_REST: u32 = 4;
/// How many of the most sold SKUs are looked at.
const TOP: usize = 50;
/// How much of what is missing an error tells.
const TOLD: usize = 10;

/// The stock of a SKU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Stock {
    /// Units that may be sold.
    pub available: i64,
    /// Units held for orders that are not decided yet.
    pub reserved: i64,
    /// Units of confirmed orders.
    pub sold: i64,
}

/// What a customer comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Totals {
    /// Orders that are not cancelled.
    pub orders: i64,
    /// Returns.
    pub returns: i64,
    /// Sales minus returns.
    #[serde(with = "rust_decimal::serde::str")]
    pub revenue: Decimal,
}

/// What all views show of a file's orders, SKUs and customers.
#[derive(Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Each order's status, where it is there.
    pub orders: BTreeMap<String, String>,
    /// Each SKU's stock.
    pub stock: BTreeMap<String, Stock>,
    /// Each customer's totals.
    pub totals: BTreeMap<String, Totals>,
    /// The units sold of the most sold SKUs, most first.
    pub top: Vec<(String, i64)>,
}

impl Snapshot {
    /// Whether nothing of the file is there yet: the effects can then be computed.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
            && self.stock.values().all(|stock| *stock == Stock::default())
            && self.totals.values().all(|totals| *totals == Totals::default())
            && self.top.iter().all(|(_, sold)| *sold == 0)
    }
}

/// Takes a snapshot of everything that the plan concerns.
pub async fn snapshot(client: &Client, plan: &Plan, mut progress: Progress) -> Result<Snapshot> {
    let ids: Vec<_> = order_ids(&plan.mutations).map(str::to_owned).collect();
    let skus: Vec<_> = plan.skus.iter().cloned().collect();
    let customers: Vec<_> = plan.customers.iter().cloned().collect();
    let mut done = || {
        client.moved();
        progress.step();
    };
    let snapshot = Snapshot {
        orders: statuses(client, &ids, &mut done).await?,
        stock: stock(client, &skus, &mut done).await?,
        totals: totals(client, &customers, &mut done).await?,
        top: top(client).await?,
    };
    progress.end();
    Ok(snapshot)
}

/// How many steps a snapshot of the plan takes.
pub fn steps(plan: &Plan) -> usize {
    let orders = order_ids(&plan.mutations).count();
    [orders, plan.skus.len(), plan.customers.len()].iter().map(|items| items.div_ceil(FIELDS)).sum()
}

fn order_ids(mutations: &[Mutation]) -> impl Iterator<Item = &str> {
    mutations.iter().filter_map(|mutation| match &mutation.meaning {
        Meaning::Order(invoice) => Some(invoice.id.as_str()),
        _ => None,
    })
}

async fn statuses(client: &Client, ids: &[String], done: &mut impl FnMut()) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Order {
        status: String,
    }
    let orders: Vec<Option<Order>> =
        ask(client, "orders", ids, |id| format!("order(id: {id}) {{ status }}"), done).await?;
    let known = ids.iter().zip(orders).filter_map(|(id, order)| Some((id.clone(), order?.status)));
    Ok(known.collect())
}

async fn stock(client: &Client, skus: &[String], done: &mut impl FnMut()) -> Result<BTreeMap<String, Stock>> {
    let field = |sku: &Value| format!("stock(sku: {sku}) {{ available reserved sold }}");
    let stock: Vec<Option<Stock>> = ask(client, "inventory", skus, field, done).await?;
    Ok(skus.iter().cloned().zip(stock.into_iter().map(Option::unwrap_or_default)).collect())
}

async fn totals(client: &Client, customers: &[String], done: &mut impl FnMut()) -> Result<BTreeMap<String, Totals>> {
    let field = |customer: &Value| format!("customerTotals(customerId: {customer}) {{ orders returns revenue }}");
    let totals: Vec<Option<Totals>> = ask(client, "orders", customers, field, done).await?;
    Ok(customers.iter().cloned().zip(totals.into_iter().map(Option::unwrap_or_default)).collect())
}

async fn top(client: &Client) -> Result<Vec<(String, i64)>> {
    #[derive(Deserialize)]
    struct Item {
        sku: String,
        sold: i64,
    }
    let mut data = client.data("inventory", &format!("{{ top: topSkus(first: {TOP}) {{ sku sold }} }}")).await?;
    let items: Vec<Item> = serde_json::from_value(data["top"].take()).context("topSkus is not understood")?;
    Ok(items.into_iter().map(|item| (item.sku, item.sold)).collect())
}

/// Asks for a field of each item, several in one query.
async fn ask<R: DeserializeOwned>(
    client: &Client,
    service: &str,
    items: &[String],
    field: impl Fn(&Value) -> String,
    done: &mut impl FnMut(),
) -> Result<Vec<R>> {
    let slices: Vec<_> = items.chunks(FIELDS).collect();
    let field = &field;
    let ask_slice = |slice: &&[String]| {
        // JSON's strings are strings of GraphQL, too.
        let fields = slice.iter().enumerate().map(|(n, item)| format!("f{n}: {}", field(&Value::from(item.as_str()))));
        let query = format!("{{ {} }}", fields.collect::<Vec<_>>().join(" "));
        let fields = slice.len();
        async move {
            let mut data = client.data(service, &query).await?;
            let read = |n: usize| {
                serde_json::from_value(data[format!("f{n}")].take())
                    .with_context(|| format!("the answer of {service} to {query} is not understood"))
            };
            (0..fields).map(read).collect::<Result<Vec<R>>>()
        }
    };
    Ok(each(&slices, QUERIES, ask_slice, done).await?.into_iter().flatten().collect())
}

/// What the views are to show.
#[derive(Debug)]
pub enum Expected {
    /// The system was empty before, so that every number is known once the orders are decided.
    Exactly(Committed),
    /// It was not: orders are decided, nothing is reserved, and nothing changes any more.
    AtRest,
}

/// The committed mutations of a plan.
#[derive(Debug, Default)]
pub struct Committed {
    mutations: Vec<Meaning>,
}

impl Committed {
    /// Those that were committed.
    pub fn of<'a>(mutations: impl Iterator<Item = (&'a Mutation, &'a Outcome)>) -> Self {
        let committed = mutations.filter(|(_, outcome)| **outcome == Outcome::Committed);
        Committed { mutations: committed.map(|(mutation, _)| mutation.meaning.clone()).collect() }
    }

    /// What the views show at rest, given which orders are confirmed.
    fn snapshot(&self, plan: &Plan, orders: BTreeMap<String, String>) -> Snapshot {
        let mut stock: BTreeMap<_, Stock> = plan.skus.iter().map(|sku| (sku.clone(), Stock::default())).collect();
        let mut totals: BTreeMap<_, Totals> =
            plan.customers.iter().map(|customer| (customer.clone(), Totals::default())).collect();
        for meaning in &self.mutations {
            match meaning {
                Meaning::Receipt { sku, quantity } | Meaning::Adjustment { sku, quantity, .. } => {
                    stock.entry(sku.clone()).or_default().available += quantity;
                }
                Meaning::Return(invoice) => {
                    for (sku, units) in &invoice.units {
                        stock.entry(sku.clone()).or_default().available += units;
                    }
                    if let Some(customer) = &invoice.customer {
                        let totals = totals.entry(customer.clone()).or_default();
                        totals.returns += 1;
                        totals.revenue -= invoice.total;
                    }
                }
                Meaning::Order(invoice) => {
                    let status = orders.get(&invoice.id).map(String::as_str);
                    if status == Some("CONFIRMED") {
                        for (sku, units) in &invoice.units {
                            let stock = stock.entry(sku.clone()).or_default();
                            stock.available -= units;
                            stock.sold += units;
                        }
                    }
                    if let Some(customer) = invoice.customer.as_ref().filter(|_| status != Some("CANCELLED")) {
                        let totals = totals.entry(customer.clone()).or_default();
                        totals.orders += 1;
                        totals.revenue += invoice.total;
                    }
                }
            }
        }
        let mut top: Vec<_> =
            stock.iter().map(|(sku, stock)| (sku.clone(), stock.sold)).filter(|(_, sold)| *sold > 0).collect();
        top.sort_by_key(|(_, sold)| -sold);
        top.truncate(TOP);
        Snapshot { orders, stock, totals, top }
    }
}

/// Waits until every effect is visible.
///
/// # Errors
/// What is missing when nothing moves any more.
pub async fn settle(
    client: &Client,
    plan: &Plan,
    expected: &Expected,
    committed_orders: &[String],
) -> Result<BTreeMap<String, String>> {
    let orders = decided(client, committed_orders).await?;
    let mut progress = Progress::begin("waiting for the views", plan.skus.len() + plan.customers.len());
    let mut before = Snapshot::default();
    let mut equal = 0;
    loop {
        let shown = Snapshot {
            orders: orders.clone(),
            stock: stock(client, &plan.skus.iter().cloned().collect::<Vec<_>>(), &mut || ()).await?,
            totals: totals(client, &plan.customers.iter().cloned().collect::<Vec<_>>(), &mut || ()).await?,
            top: top(client).await?,
        };
        if shown == before {
            equal += 1;
        } else {
            equal = 0;
            client.moved();
        }
        let missing = match expected {
            Expected::Exactly(committed) => differences(&committed.snapshot(plan, orders.clone()), &shown),
            Expected::AtRest => unrest(&shown, equal),
        };
        progress.at((shown.stock.len() + shown.totals.len()).saturating_sub(missing.len()));
        if missing.is_empty() {
            progress.end();
            return Ok(orders);
        }
        pause(client, &missing).await?;
        before = shown;
    }
}

/// Waits until no order is merely placed.
async fn decided(client: &Client, ids: &[String]) -> Result<BTreeMap<String, String>> {
    let mut progress = Progress::begin("waiting for decisions", ids.len());
    let mut decided = BTreeMap::new();
    let mut open = ids.to_vec();
    loop {
        let mut statuses = statuses(client, &open, &mut || ()).await?;
        statuses.retain(|_, status| status != "PLACED");
        open.retain(|id| !statuses.contains_key(id));
        if !statuses.is_empty() {
            client.moved();
        }
        decided.append(&mut statuses);
        progress.at(decided.len());
        if open.is_empty() {
            progress.end();
            return Ok(decided);
        }
        let missing: Vec<_> = open.iter().map(|id| format!("the order {id} is not decided")).collect();
        pause(client, &missing).await?;
    }
}

async fn pause(client: &Client, missing: &[String]) -> Result<()> {
    if Instant::now() + PAUSE > client.deadline() {
        let more = missing.len().saturating_sub(TOLD);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let told: Vec<_> = missing.iter().take(TOLD).map(String::as_str).collect();
        bail!("nothing moves any more: {}{more}", told.join("; "));
    }
    sleep(PAUSE).await;
    Ok(())
}

/// Where the views do not show what they should.
fn differences(expected: &Snapshot, shown: &Snapshot) -> Vec<String> {
    let mut differences = unequal("the stock of", &expected.stock, &shown.stock);
    differences.extend(unequal("the totals of", &expected.totals, &shown.totals));
    // SKUs that sold equally well may stand in any order, and those at the end may be others.
    let sold: HashMap<_, _> = expected.stock.iter().map(|(sku, stock)| (sku.as_str(), stock.sold)).collect();
    let shown: Vec<_> = shown.top.iter().filter(|(_, sold)| *sold > 0).collect();
    let as_expected = shown.len() == expected.top.len()
        && shown
            .iter()
            .zip(&expected.top)
            .all(|((sku, shown), (_, expected))| shown == expected && sold.get(sku.as_str()) == Some(shown));
    if !as_expected {
        differences.push("the most sold SKUs are not the expected ones".to_owned());
    }
    differences
}

fn unequal<T: PartialEq + fmt::Debug>(
    what: &str,
    expected: &BTreeMap<String, T>,
    shown: &BTreeMap<String, T>,
) -> Vec<String> {
    let unequal = expected.iter().filter(|(name, value)| shown.get(*name) != Some(*value));
    unequal.map(|(name, value)| format!("{what} {name} is {:?}, not {value:?}", shown.get(name))).collect()
}

/// What still moves.
fn unrest(shown: &Snapshot, equal: u32) -> Vec<String> {
    let reserved = shown.stock.iter().filter(|(_, stock)| stock.reserved != 0);
    let mut unrest: Vec<_> =
        reserved.map(|(sku, stock)| format!("{} units of {sku} are reserved", stock.reserved)).collect();
    if unrest.is_empty() && equal < AT_REST {
        unrest.push("the views still change".to_owned());
    }
    unrest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;
    use crate::plan::plan;

    const FILE: &str = "\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,A,x,6,2010-12-01T16:58:00Z,2.50,17,France
1,B,x,2,2010-12-01T16:58:00Z,0,17,France
2,A,x,90,2010-12-01T16:58:00Z,1,17,France
C3,A,x,-1,2010-12-01T16:58:00Z,2.50,17,France
4,B,,-3,2010-12-01T16:58:00Z,0,,France
";

    #[test]
    fn what_is_to_be_shown_follows_from_what_was_committed() {
        let (rows, bad) = parse(FILE.as_bytes()).unwrap();
        let plan = plan(rows, bad, FILE.as_bytes(), 10);
        let outcomes = vec![Outcome::Committed; 6];
        let committed = Committed::of(plan.receipts.iter().chain(&plan.mutations).zip(&outcomes));
        let orders = [("1", "CONFIRMED"), ("2", "BACKORDERED")].map(|(id, status)| (id.into(), status.into()));
        let expected = committed.snapshot(&plan, BTreeMap::from(orders));
        assert_eq!(expected.stock["A"], Stock { available: 5, reserved: 0, sold: 6 });
        assert_eq!(expected.stock["B"], Stock { available: 5, reserved: 0, sold: 2 });
        assert_eq!(expected.totals["17"], Totals { orders: 2, returns: 1, revenue: "102.5".parse().unwrap() });
        assert_eq!(expected.top, [("A".to_owned(), 6), ("B".to_owned(), 2)]);
        assert!(differences(&expected, &expected).is_empty());

        let empty = Snapshot::default();
        assert!(empty.is_empty() && !expected.is_empty());
        let told = differences(&expected, &empty);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(unrest(&empty, AT_REST - 1), ["the views still change"]);
        assert!(unrest(&empty, AT_REST).is_empty());
        let held = Snapshot {
            stock: BTreeMap::from([("A".into(), Stock { reserved: 2, ..Stock::default() })]),
            ..Snapshot::default()
        };
        assert_eq!(unrest(&held, AT_REST), ["2 units of A are reserved"]);
    }

    #[test]
    fn equally_sold_skus_may_stand_in_any_order() {
        let snapshot = |top: &[(&str, i64)]| Snapshot {
            top: top.iter().map(|(sku, sold)| ((*sku).to_owned(), *sold)).collect(),
            stock: [("A", 3), ("B", 3), ("C", 1)]
                .map(|(sku, sold)| (sku.to_owned(), Stock { sold, ..Stock::default() }))
                .into(),
            ..Snapshot::default()
        };
        let expected = snapshot(&[("A", 3), ("B", 3), ("C", 1)]);
        assert!(differences(&expected, &snapshot(&[("B", 3), ("A", 3), ("C", 1), ("D", 0)])).is_empty());
        assert_eq!(differences(&expected, &snapshot(&[("A", 3), ("C", 3), ("C", 1)])).len(), 1);
        assert_eq!(differences(&expected, &snapshot(&[("A", 3)])).len(), 1);
    }
}

//! What is to be sent: the file's rows as mutations, each under a command id of its own that the file determines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;

use crate::file::{BadRow, Row};

/// A mutation and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// What it does, in the file's terms.
    pub meaning: Meaning,
    /// The client's key for retries.
    pub command_id: String,
    /// The mutation's input.
    pub input: Value,
}

/// What a mutation does, in the file's terms.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Units received before everything else.
    Receipt {
        /// The SKU.
        sku: String,
        /// The units.
        quantity: i64,
    },
    /// A row of stock adjustments.
    Adjustment {
        /// The SKU.
        sku: String,
        /// The units, signed.
        quantity: i64,
        /// The row's line.
        line: u64,
    },
    /// An invoice.
    Order(Invoice),
    /// A credit note.
    Return(Invoice),
}

/// What an invoice or a credit note comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Invoice {
    /// Its number.
    pub id: String,
    /// The customer, if there is one.
    pub customer: Option<String>,
    /// The units of each SKU, all positive.
    pub units: BTreeMap<String, i64>,
    /// The sum of its lines.
    pub total: Decimal,
}

/// Everything that is to be sent.
#[derive(Debug, Default)]
pub struct Plan {
    /// Before the others: the receipt of stock of each SKU.
    pub receipts: Vec<Mutation>,
    /// Orders, returns and adjustments, in the order in which their invoices first appear.
    pub mutations: Vec<Mutation>,
    /// Rows that are left out.
    pub bad: Vec<BadRow>,
    /// The SKUs that it concerns.
    pub skus: BTreeSet<String>,
    /// The customers that it concerns.
    pub customers: BTreeSet<String>,
}

impl Mutation {
    /// The mutation's field, its input's type, and the service that has it.
    pub fn field(&self) -> (&'static str, &'static str, &'static str) {
        match self.meaning {
            Meaning::Receipt { .. } => ("receiveStock", "ReceiveStockInput", "inventory"),
            Meaning::Adjustment { .. } => ("adjustStock", "AdjustStockInput", "inventory"),
            Meaning::Order(_) => ("placeOrder", "PlaceOrderInput", "orders"),
            Meaning::Return(_) => ("recordReturn", "RecordReturnInput", "orders"),
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match &self.meaning {
            Meaning::Receipt { sku, .. } => format!("the receipt of {sku}"),
            Meaning::Adjustment { sku, line, .. } => format!("the adjustment of {sku} (line {line})"),
            Meaning::Order(invoice) => format!("the order {}", invoice.id),
            Meaning::Return(invoice) => format!("the return {}", invoice.id),
        }
    }
}

/// Plans the rows of a file whose bytes hash to `file`. A bad row is left out; the other rows of its invoice stay.
pub fn plan(rows: Vec<Row>, mut bad: Vec<BadRow>, file: &[u8], stock: i32) -> Plan {
    let file = hash(&[file]);
    let mut invoices: Vec<Vec<Row>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let place = *places.entry(row.invoice.clone()).or_insert_with(|| {
            invoices.push(Vec::new());
            invoices.len() - 1
        });
        invoices[place].push(row);
    }
    let mut plan = Plan::default();
    for rows in invoices {
        if rows[0].invoice.starts_with('C') {
            let rows = keep(rows, &mut bad, "a return's quantity is negative", |row| row.quantity < 0);
            plan.mutations.extend(
                invoice(&rows)
                    .map(|(invoice, input)| keyed(&format!("return:{}", invoice.id), Meaning::Return(invoice), input)),
            );
        } else if rows.iter().all(|row| row.price.is_zero() && row.customer.is_none()) {
            plan.mutations.extend(rows.iter().enumerate().map(|(n, row)| adjustment(n, row)));
            plan.skus.extend(rows.into_iter().map(|row| row.sku));
        } else {
            let rows = keep(rows, &mut bad, "an order's quantity is positive", |row| row.quantity > 0);
            plan.mutations.extend(
                invoice(&rows)
                    .map(|(invoice, input)| keyed(&format!("order:{}", invoice.id), Meaning::Order(invoice), input)),
            );
        }
    }
    for mutation in &plan.mutations {
        if let Meaning::Order(invoice) | Meaning::Return(invoice) = &mutation.meaning {
            plan.skus.extend(invoice.units.keys().cloned());
            plan.customers.extend(invoice.customer.clone());
        }
    }
    if stock > 0 {
        plan.receipts = plan.skus.iter().map(|sku| receipt(&file, sku, stock)).collect();
    }
    bad.sort_by_key(|bad| bad.line);
    plan.bad = bad;
    plan
}

/// Keeps the rows of one customer that pass.
fn keep(rows: Vec<Row>, bad: &mut Vec<BadRow>, reason: &str, good: impl Fn(&Row) -> bool) -> Vec<Row> {
    let mut kept: Vec<Row> = Vec::new();
    for row in rows {
        let reason = match kept.first() {
            _ if !good(&row) => format!("{reason}, this one is {}", row.quantity),
            Some(first) if first.customer != row.customer => {
                format!("the invoice {} has another customer on line {}", row.invoice, first.line)
            }
            _ => {
                kept.push(row);
                continue;
            }
        };
        bad.push(BadRow { line: row.line, reason });
    }
    kept
}

/// The invoice of rows that agree, and the input of its mutation; nothing if no row is left.
fn invoice(rows: &[Row]) -> Option<(Invoice, Value)> {
    let first = rows.first()?;
    let date = rows.iter().map(|row| row.date).min()?;
    let date = date.format(&Rfc3339).unwrap_or_default();
    let mut invoice = Invoice {
        id: first.invoice.clone(),
        customer: first.customer.clone(),
        units: BTreeMap::new(),
        total: Decimal::ZERO,
    };
    let mut lines = Vec::new();
    for row in rows {
        // A return's rows are negative in the file, its lines are not.
        let quantity = i64::from(row.quantity).abs();
        *invoice.units.entry(row.sku.clone()).or_default() += quantity;
        invoice.total += row.price * Decimal::from(quantity);
        lines.push(json!({
            "sku": row.sku,
            "description": row.description,
            "quantity": quantity,
            "unitPrice": row.price.to_string(),
        }));
    }
    let input = if invoice.id.starts_with('C') {
        json!({"returnId": invoice.id, "customerId": invoice.customer, "returnedAt": date, "lines": lines})
    } else {
        json!({
            "orderId": invoice.id,
            "customerId": invoice.customer,
            "country": first.country,
            "placedAt": date,
            "lines": lines,
        })
    };
    Some((invoice, input))
}

/// The mutation under its key: what it is about, and what it says.
fn keyed(about: &str, meaning: Meaning, mut input: Value) -> Mutation {
    // The order of members would otherwise depend on which crates are built together.
    input.sort_all_objects();
    let command_id = format!("load:{}", hash(&[about.as_bytes(), input.to_string().as_bytes()]));
    Mutation { meaning, command_id, input }
}

/// The adjustment of the `n`th row of its invoice.
fn adjustment(n: usize, row: &Row) -> Mutation {
    let reason = Some(row.description.trim()).filter(|text| !text.is_empty()).unwrap_or("adjustment");
    let input = json!({"sku": row.sku, "quantity": row.quantity, "reason": reason});
    let meaning = Meaning::Adjustment { sku: row.sku.clone(), quantity: row.quantity.into(), line: row.line };
    // By its place in the invoice, not in the file: lines move when the file is mended.
    keyed(&format!("adjustment:{}:{n}", row.invoice), meaning, input)
}

/// The receipt of a SKU. It belongs to this very file: another one brings its own stock.
fn receipt(file: &str, sku: &str, stock: i32) -> Mutation {
    let input = json!({"sku": sku, "quantity": stock});
    let meaning = Meaning::Receipt { sku: sku.to_owned(), quantity: stock.into() };
    keyed(&format!("receipt:{file}"), meaning, input)
}

/// 128 bits over the parts, in hexadecimal digits.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;

    const MESSY: &str = "\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,85123A,HEART,6,2010-12-01T16:58:00Z,2.55,17,France
2,D,\"GIFT, WRAPPED\",1,2010-12-01T08:00:00Z,0,,France
C3,85123a,HEART,-2,2010-12-01T09:00:00Z,2.55,17,France
1,85123a,HEART,1,2010-12-01T16:57:00Z,0,17,France
4,D,amazon,-3,2010-12-01T09:00:00Z,0,,France
4,D,,7,2010-12-01T09:00:00Z,0,,France
1,85123A,HEART,4,2010-12-01T16:58:00Z,2.55,17,France
1,D,not his,1,2010-12-01T16:58:00Z,2.55,18,France
5,BANK CHARGES,guest,1,2010-12-01T09:00:00Z,15,,France
5,BANK CHARGES,guest,-1,2010-12-01T09:00:00Z,15,,France
C6,D,positive,1,2010-12-01T09:00:00Z,1,17,France
";

    fn planned(text: &str, stock: i32) -> Plan {
        let (rows, bad) = parse(text.as_bytes()).unwrap();
        plan(rows, bad, text.as_bytes(), stock)
    }

    #[test]
    fn rows_become_mutations() {
        let plan = planned(MESSY, 10);
        let inputs: Vec<_> =
            plan.mutations.iter().map(|mutation| format!("{} {}", mutation.field().0, mutation.input)).collect();
        expect_test::expect![[r#"
            placeOrder {"country":"France","customerId":"17","lines":[{"description":"HEART","quantity":6,"sku":"85123A","unitPrice":"2.55"},{"description":"HEART","quantity":1,"sku":"85123a","unitPrice":"0"},{"description":"HEART","quantity":4,"sku":"85123A","unitPrice":"2.55"}],"orderId":"1","placedAt":"2010-12-01T16:57:00Z"}
            adjustStock {"quantity":1,"reason":"GIFT, WRAPPED","sku":"D"}
            recordReturn {"customerId":"17","lines":[{"description":"HEART","quantity":2,"sku":"85123a","unitPrice":"2.55"}],"returnId":"C3","returnedAt":"2010-12-01T09:00:00Z"}
            adjustStock {"quantity":-3,"reason":"amazon","sku":"D"}
            adjustStock {"quantity":7,"reason":"adjustment","sku":"D"}
            placeOrder {"country":"France","customerId":null,"lines":[{"description":"guest","quantity":1,"sku":"BANK CHARGES","unitPrice":"15"}],"orderId":"5","placedAt":"2010-12-01T09:00:00Z"}"#]]
        .assert_eq(&inputs.join("\n"));
        let Meaning::Order(first) = &plan.mutations[0].meaning else { panic!("the first is an order") };
        assert_eq!(first.total.to_string(), "25.50");
        assert_eq!(first.units, BTreeMap::from([("85123A".to_owned(), 10), ("85123a".to_owned(), 1)]));
        let bad: Vec<_> = plan.bad.iter().map(|bad| format!("{}: {}", bad.line, bad.reason)).collect();
        expect_test::expect![[r#"
            9: the invoice 1 has another customer on line 2
            11: an order's quantity is positive, this one is -1
            12: a return's quantity is negative, this one is 1"#]]
        .assert_eq(&bad.join("\n"));
        let receipts: Vec<_> = plan.receipts.iter().map(|receipt| receipt.input.to_string()).collect();
        assert_eq!(
            receipts,
            [
                r#"{"quantity":10,"sku":"85123A"}"#,
                r#"{"quantity":10,"sku":"85123a"}"#,
                r#"{"quantity":10,"sku":"BANK CHARGES"}"#,
                r#"{"quantity":10,"sku":"D"}"#,
            ]
        );
        assert!(planned(MESSY, 0).receipts.is_empty());
    }

    #[test]
    fn command_ids_follow_from_the_file() {
        let ids = |text: &str, stock: i32| -> Vec<String> {
            let plan = planned(text, stock);
            plan.receipts.into_iter().chain(plan.mutations).map(|mutation| mutation.command_id).collect()
        };
        let first = ids(MESSY, 10);
        assert_eq!(first, ids(MESSY, 10));
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len(), "no two commands share an id");
        let other = ids(MESSY, 11);
        assert_eq!(first[4..], other[4..], "another stock changes the receipts only");
        assert!(first[..4].iter().all(|id| !other.contains(id)));
        // Systems remember these ids: they must never change.
        assert_eq!(first[4], "load:eac15e0e526352fb3d8d6d3c6f879590");
    }
}

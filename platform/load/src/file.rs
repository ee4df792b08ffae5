//! Reads the file: rows, and rows that are none.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rust_decimal::Decimal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The columns, in any order.
const COLUMNS: [&str; 8] =
    ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"];
/// The longest description that an order's line may have, in characters.
const MAX_DESCRIPTION: usize = 100;

/// A row that can be understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The line of the file on which it starts, from 1.
    pub line: u64,
    /// The invoice.
    pub invoice: String,
    /// The SKU, as it is written: case and spaces count.
    pub sku: String,
    /// The description.
    pub description: String,
    /// The units: negative in returns and in some adjustments, never zero.
    pub quantity: i32,
    /// When.
    pub date: OffsetDateTime,
    /// The price of one unit, not negative.
    pub price: Decimal,
    /// The customer, if there is one.
    pub customer: Option<String>,
    /// The country.
    pub country: String,
}

/// A row that cannot be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRow {
    /// The line of the file on which it starts, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// Reads the file's rows and its bad rows.
///
/// # Errors
/// A file that is missing, or whose header is another.
pub fn read(path: &Path) -> Result<(Vec<Row>, Vec<BadRow>, Vec<u8>)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (rows, bad) = parse(&bytes).with_context(|| format!("{} is no file of orders", path.display()))?;
    Ok((rows, bad, bytes))
}

/// Reads rows from the file's bytes.
pub fn parse(bytes: &[u8]) -> Result<(Vec<Row>, Vec<BadRow>)> {
    // Flexible: a row with too many or too few fields is one bad row, not the end.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = reader.byte_headers().context("the header cannot be read")?.clone();
    let places: HashMap<_, _> = header.iter().enumerate().map(|(place, name)| (name, place)).collect();
    let mut columns = [0; COLUMNS.len()];
    for (column, name) in columns.iter_mut().zip(COLUMNS) {
        let Some(place) = places.get(name.as_bytes()) else {
            bail!("the column {name} is missing; the header must name {}", COLUMNS.join(","));
        };
        *column = *place;
    }
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let mut record = csv::ByteRecord::new();
    let mut lines = Lines { bytes, place: 0, line: 1 };
    while reader.read_byte_record(&mut record).context("the file cannot be read")? {
        let line = record.position().map_or(0, |position| lines.at(position.byte()));
        match row(line, &record, header.len(), columns) {
            Ok(row) => rows.push(row),
            Err(reason) => bad.push(BadRow { line, reason }),
        }
    }
    Ok((rows, bad))
}

/// Counts lines. The reader's own count lags behind blank lines, which belong to no record.
struct Lines<'a> {
    bytes: &'a [u8],
    place: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the record at this place starts. Places only grow.
    fn at(&mut self, start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(self.bytes.len());
        let blank = self.bytes[start..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let end = start + blank;
        self.line += self.bytes[self.place..end].iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.place = end;
        self.line
    }
}

fn row(line: u64, record: &csv::ByteRecord, width: usize, columns: [usize; COLUMNS.len()]) -> Result<Row, String> {
    if record.len() != width {
        return Err(format!("it has {} fields, the header has {width}", record.len()));
    }
    let mut fields = [""; COLUMNS.len()];
    for ((field, place), name) in fields.iter_mut().zip(columns).zip(COLUMNS) {
        let bytes = record.get(place).unwrap_or_default();
        *field = std::str::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))?;
    }
    let [invoice, sku, description, quantity, date, price, customer, country] = fields;
    for (text, name) in [(invoice, "InvoiceNo"), (sku, "StockCode")] {
        if text.trim().is_empty() {
            return Err(format!("{name} is empty"));
        }
    }
    if description.chars().count() > MAX_DESCRIPTION {
        return Err(format!("Description has more than {MAX_DESCRIPTION} characters"));
    }
    let quantity: i32 = quantity.trim().parse().map_err(|_| format!("Quantity {quantity:?} is no whole number"))?;
    if quantity == 0 {
        return Err("Quantity is 0".to_owned());
    }
    let date = OffsetDateTime::parse(date.trim(), &Rfc3339)
        .map_err(|_| format!("InvoiceDate {date:?} is no time as in 2010-12-01T08:26:00Z"))?;
    let price: Decimal = price.trim().parse().map_err(|_| format!("UnitPrice {price:?} is no decimal number"))?;
    if price.is_sign_negative() && !price.is_zero() {
        return Err(format!("UnitPrice {price} is negative"));
    }
    let customer = Some(customer.trim()).filter(|customer| !customer.is_empty()).map(str::to_owned);
    Ok(Row {
        line,
        invoice: invoice.trim().to_owned(),
        sku: sku.to_owned(),
        description: description.to_owned(),
        quantity,
        date,
        price,
        customer,
        country: country.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    #[test]
    fn bad_rows_are_told_by_line_and_the_rest_goes_on() {
        let text = format!(
            "{HEADER}\
             1,A,ok,1,2010-12-01T08:26:00Z,2.5,7,France\n\
             \n\
             1,A,\"over\ntwo lines, \"\"quoted\"\"\",1,2010-12-01T08:26:00Z,2.5,7,France\n\
             1,A,few fields\n\
             1,A,x,many,2010-12-01T08:26:00Z,2.5,7,France\n\
             1,A,x,0,2010-12-01T08:26:00Z,2.5,7,France\n\
             1,A,x,1,01/12/2010 08:26,2.5,7,France\n\
             1,A,x,1,2010-12-01T08:26:00Z,-2.5,7,France\n\
             1,A,x,1,2010-12-01T08:26:00Z,free,7,France\n\
             1, ,x,1,2010-12-01T08:26:00Z,1,7,France\n\
             1,A,{},1,2010-12-01T08:26:00Z,1,7,France\n\
             1,BANK CHARGES,last,1,2010-12-01T08:26:00Z,0.00,,France",
            "x".repeat(101),
        );
        let (rows, bad) = parse(text.as_bytes()).unwrap();
        let lines: Vec<_> = rows.iter().map(|row| (row.line, row.description.as_str())).collect();
        assert_eq!(lines, [(2, "ok"), (4, "over\ntwo lines, \"quoted\""), (14, "last")]);
        assert_eq!((rows[2].sku.as_str(), &rows[2].customer), ("BANK CHARGES", &None));
        let bad: Vec<_> = bad.iter().map(|bad| format!("{}: {}", bad.line, bad.reason)).collect();
        expect_test::expect![[r#"
            6: it has 3 fields, the header has 8
            7: Quantity "many" is no whole number
            8: Quantity is 0
            9: InvoiceDate "01/12/2010 08:26" is no time as in 2010-12-01T08:26:00Z
            10: UnitPrice -2.5 is negative
            11: UnitPrice "free" is no decimal number
            12: StockCode is empty
            13: Description has more than 100 characters"#]]
        .assert_eq(&bad.join("\n"));
    }

    #[test]
    fn bytes_that_are_no_text_are_one_bad_row() {
        let mut bytes = HEADER.as_bytes().to_vec();
        bytes.extend(b"1,A,\xff,1,2010-12-01T08:26:00Z,1,7,France\r\n1,A,x,1,2010-12-01T08:26:00Z,1,7,France\r\n");
        let (rows, bad) = parse(&bytes).unwrap();
        assert_eq!(bad, [BadRow { line: 2, reason: "Description is not UTF-8".into() }]);
        assert_eq!(rows[0].line, 3);
    }

    #[test]
    fn another_header_is_refused() {
        let refusal = format!("{:#}", parse(b"a,b\n1,2\n").unwrap_err());
        assert!(refusal.starts_with("the column InvoiceNo is missing"), "{refusal}");
    }
}

//! The lines of orders and returns: what is asked for, and what it costs, exactly.

use inventory_contract::StockReserved;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use skein_core::{AggregateId, Contract, Rejection};

/// The most lines of one order or return.
pub const MAX_LINES: usize = 1_000;
/// The most characters of a SKU.
pub const MAX_SKU_CHARS: usize = 50;
/// The most characters of a description.
pub const MAX_DESCRIPTION_CHARS: usize = 100;
/// The most decimal places of a unit price.
pub const MAX_PRICE_SCALE: u32 = 4;
/// The highest unit price. With [`MAX_PRICE_SCALE`] it keeps every sum of lines within the 96 bits of a decimal: 1,000
/// lines of 2^32 units at 10^11.
pub const MAX_PRICE: Decimal = Decimal::from_parts(1_215_752_192, 23, 0, false, 0);
/// The highest total. It leaves room to add up thousands of millions of orders without loss.
pub const MAX_TOTAL: Decimal = Decimal::from_parts(2_764_472_320, 232_830, 0, false, 0);

/// One line. The same SKU may stand in several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The stock keeping unit, 1 to [`MAX_SKU_CHARS`] characters; spaces are allowed and case counts.
    pub sku: String,
    /// What the buyer read, at most [`MAX_DESCRIPTION_CHARS`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many, at least 1.
    pub quantity: u32,
    /// The price of one, 0 to [`MAX_PRICE`] with at most [`MAX_PRICE_SCALE`] decimal places.
    pub unit_price: Decimal,
}

/// Why lines are refused. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing is ordered or sent back.
    #[error("there are no lines: give 1 to {MAX_LINES}")]
    NoLines,
    /// More than [`MAX_LINES`].
    #[error("{0} lines are too many: give 1 to {MAX_LINES}")]
    TooManyLines(usize),
    /// A SKU that names no stock.
    #[error("line {0}: a SKU has 1 to {MAX_SKU_CHARS} characters, not only spaces, and fewer with accents")]
    InvalidSku(usize),
    /// A description that is too long.
    #[error("line {0}: a description has at most {MAX_DESCRIPTION_CHARS} characters")]
    DescriptionTooLong(usize),
    /// A quantity of 0.
    #[error("line {0}: the quantity must be at least 1")]
    InvalidQuantity(usize),
    /// A negative, too high or too fine price.
    #[error("line {0}: a unit price is 0 to {MAX_PRICE} with at most {MAX_PRICE_SCALE} decimal places")]
    InvalidPrice(usize),
    /// A total above [`MAX_TOTAL`].
    #[error("the total is above {MAX_TOTAL}")]
    TotalTooLarge,
}

impl Rejection for LineError {
    fn code(&self) -> &'static str {
        match self {
            LineError::NoLines => "NO_LINES",
            LineError::TooManyLines(_) => "TOO_MANY_LINES",
            LineError::InvalidSku(_) => "INVALID_SKU",
            LineError::DescriptionTooLong(_) => "DESCRIPTION_TOO_LONG",
            LineError::InvalidQuantity(_) => "INVALID_QUANTITY",
            LineError::InvalidPrice(_) => "INVALID_PRICE",
            LineError::TotalTooLarge => "TOTAL_TOO_LARGE",
        }
    }
}

/// Checks the lines and adds them up, exactly.
///
/// # Errors
/// The first rule that is broken.
pub fn total(lines: &[Line]) -> Result<Decimal, LineError> {
    match lines.len() {
        0 => return Err(LineError::NoLines),
        1..=MAX_LINES => {}
        many => return Err(LineError::TooManyLines(many)),
    }
    lines.iter().zip(1..).try_fold(Decimal::ZERO, |sum, (line, number)| {
        let total = sum.checked_add(line.price(number)?).ok_or(LineError::TotalTooLarge)?;
        if total > MAX_TOTAL { Err(LineError::TotalTooLarge) } else { Ok(total) }
    })
}

impl Line {
    /// What the line costs, if it keeps the rules.
    fn price(&self, number: usize) -> Result<Decimal, LineError> {
        let names_a_stock = AggregateId::new(StockReserved::CATEGORY, &self.sku).is_ok();
        if !names_a_stock || self.sku.chars().count() > MAX_SKU_CHARS {
            return Err(LineError::InvalidSku(number));
        }
        if self.description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARS) {
            return Err(LineError::DescriptionTooLong(number));
        }
        if self.quantity == 0 {
            return Err(LineError::InvalidQuantity(number));
        }
        let price = self.unit_price;
        if price.is_sign_negative() || price > MAX_PRICE || price.scale() > MAX_PRICE_SCALE {
            return Err(LineError::InvalidPrice(number));
        }
        price.checked_mul(self.quantity.into()).ok_or(LineError::TotalTooLarge)
    }
}

impl From<Line> for orders_contract::Line {
    fn from(Line { sku, description, quantity, unit_price }: Line) -> Self {
        orders_contract::Line { sku, description, quantity, unit_price }
    }
}

/// The lines as they are published.
pub(crate) fn published(lines: &[Line]) -> Vec<orders_contract::Line> {
    lines.iter().cloned().map(Into::into).collect()
}

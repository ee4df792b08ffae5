//! Long texts in rows: split over string properties, because one holds 32K UTF-16 units.

use crate::table::{MAX_STRING_UNITS, Row, StoredRow, Value};

/// Writes `text` as `{name}0`, `{name}1`, …; the row must not hold properties of that name already.
pub(crate) fn put(row: &mut Row, name: &str, text: &str) {
    let (mut start, mut units, mut part) = (0, 0, 0);
    for (at, letter) in text.char_indices() {
        if units + letter.len_utf16() > MAX_STRING_UNITS {
            row.properties.insert(format!("{name}{part}"), Value::from(&text[start..at]));
            (start, units, part) = (at, 0, part + 1);
        }
        units += letter.len_utf16();
    }
    row.properties.insert(format!("{name}{part}"), Value::from(&text[start..]));
}

/// Reads what [`put`] wrote; `None` where there is nothing.
pub(crate) fn get(row: &StoredRow, name: &str) -> Option<String> {
    let mut text = row.str(&format!("{name}0"))?.to_owned();
    for part in 1.. {
        match row.str(&format!("{name}{part}")) {
            Some(more) => text.push_str(more),
            None => break,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Etag;

    #[test]
    fn long_texts_survive_and_no_part_is_too_long() {
        for text in [String::new(), "x".repeat(MAX_STRING_UNITS), "a\u{1F600}".repeat(40_000), "é".repeat(70_000)] {
            let mut row = Row::new("r");
            put(&mut row, "T", &text);
            for value in row.properties.values() {
                let Value::String(part) = value else { panic!("{value:?}") };
                assert!(part.encode_utf16().count() <= MAX_STRING_UNITS);
            }
            let stored = StoredRow { key: row.key, etag: Etag("1".into()), properties: row.properties };
            assert_eq!(get(&stored, "T").unwrap(), text);
        }
    }
}

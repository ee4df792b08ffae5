//! Long texts in rows: split over string properties, because one holds 32K UTF-16 units.

use std::ops::Bound;

use crate::table::{MAX_STRING_UNITS, Row, StoredRow, Value};

/// Writes `text` as `{name}0`, `{name}1`, …; the row must not hold properties of that name already.
pub(crate) fn put(row: &mut Row, name: &str, text: &str) {
    // A unit takes one to three bytes in UTF-8: most texts need no counting.
    if text.len() <= MAX_STRING_UNITS {
        row.properties.insert(format!("{name}0"), Value::from(text));
        return;
    }
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

/// Reads what [`put`] wrote; `None` where there is nothing, and what is wrong where a part is missing or no text.
pub(crate) fn get(row: &StoredRow, name: &str) -> Result<Option<String>, String> {
    let part_of = |property: &str| {
        property
            .strip_prefix(name)
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let parts = row
        .properties
        .range::<str, _>((Bound::Included(name), Bound::Unbounded))
        .take_while(|(property, _)| property.starts_with(name))
        .filter(|(property, _)| part_of(property))
        .count();
    let mut text = String::new();
    for part in 0..parts {
        let property = format!("{name}{part}");
        text.push_str(row.str(&property).ok_or_else(|| format!("{property} is missing or no text"))?);
    }
    Ok((parts > 0).then_some(text))
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
            assert_eq!(get(&stored, "T").unwrap().unwrap(), text);
        }
    }

    #[test]
    fn parts_that_are_missing_or_no_texts_are_told() {
        let read = |parts: &[(&str, Value)]| {
            let properties = parts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            get(&StoredRow { key: "r".into(), etag: Etag("1".into()), properties }, "T")
        };
        assert_eq!(read(&[("T", "x".into()), ("Tx", "x".into()), ("T0x", "x".into())]), Ok(None));
        assert_eq!(read(&[("T0", "a".into()), ("T1", "b".into())]), Ok(Some("ab".into())));
        assert_eq!(read(&[("T0", 1.into())]), Err("T0 is missing or no text".into()));
        assert_eq!(read(&[("T1", "b".into())]), Err("T0 is missing or no text".into()));
        assert_eq!(read(&[("T0", "a".into()), ("T2", "c".into())]), Err("T1 is missing or no text".into()));
    }
}

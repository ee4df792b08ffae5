//! Properties in a column: for each one its name, a letter for the type, and the value, texts with their length.

use skein_core::table::{Properties, Value};

pub(crate) fn encode(properties: &Properties) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in properties {
        push(&mut bytes, name.as_bytes());
        match value {
            Value::String(text) => {
                bytes.push(b's');
                push(&mut bytes, text.as_bytes());
            }
            Value::Int64(number) => {
                bytes.push(b'i');
                bytes.extend(number.to_be_bytes());
            }
            Value::Bool(flag) => {
                bytes.push(if *flag { b't' } else { b'f' });
            }
            Value::Double(number) => {
                bytes.push(b'd');
                bytes.extend(number.to_bits().to_be_bytes());
            }
            Value::Binary(binary) => {
                bytes.push(b'b');
                push(&mut bytes, binary);
            }
        }
    }
    bytes
}

/// `None` where the bytes are not of our making.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Properties> {
    let mut properties = Properties::new();
    while !bytes.is_empty() {
        let name = text(&mut bytes)?;
        let (&kind, rest) = bytes.split_first()?;
        bytes = rest;
        let value = match kind {
            b's' => Value::String(text(&mut bytes)?),
            b'i' => Value::Int64(i64::from_be_bytes(eight(&mut bytes)?)),
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'd' => Value::Double(f64::from_bits(u64::from_be_bytes(eight(&mut bytes)?))),
            b'b' => Value::Binary(pull(&mut bytes)?.to_vec()),
            _ => return None,
        };
        properties.insert(name, value);
    }
    Some(properties)
}

// The limits keep every length below 2^32.
#[allow(clippy::cast_possible_truncation)]
fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u32).to_be_bytes());
    bytes.extend(part);
}

fn pull<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *bytes = rest;
    Some(part)
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    String::from_utf8(pull(bytes)?.to_vec()).ok()
}

fn eight(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_foreign_is_not_read() {
        let properties = Properties::from([
            ("a".to_owned(), Value::from("text")),
            ("b".to_owned(), Value::from(i64::MIN)),
            ("c".to_owned(), Value::Binary(vec![0, 255])),
            ("d".to_owned(), Value::Double(-0.5)),
            ("e".to_owned(), Value::from(false)),
        ]);
        let bytes = encode(&properties);
        assert_eq!(decode(&bytes), Some(properties.clone()));
        for cut in 1..bytes.len() {
            assert_ne!(decode(&bytes[..cut]), Some(properties.clone()), "cut at {cut}");
        }
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(b"\0\0\0\x01ax"), None);
    }
}

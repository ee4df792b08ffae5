//! How deep a document goes.

/// How deep the brackets of a document are nested, strings and comments left out. Parsers descend into each, on a
/// stack that ends: look before they do.
pub fn nesting(source: &str) -> usize {
    let (mut rest, mut open, mut deepest) = (source.as_bytes(), 0_usize, 0);
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'{' | b'[' | b'(' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            b'#' => {
                let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
                rest = &rest[end..];
            }
            b'"' if rest.starts_with(b"\"\"") => {
                rest = &rest[2..];
                while !rest.is_empty() && !rest.starts_with(b"\"\"\"") {
                    rest = &rest[if rest.starts_with(b"\\\"\"\"") { 4 } else { 1 }..];
                }
                rest = rest.get(3..).unwrap_or_default();
            }
            b'"' => {
                while let Some((&byte, tail)) = rest.split_first() {
                    // A string ends with its line, so that nothing after it can hide.
                    match byte {
                        b'\\' => rest = tail.get(1..).unwrap_or_default(),
                        b'"' | b'\n' | b'\r' => {
                            rest = tail;
                            break;
                        }
                        _ => rest = tail,
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        for (source, deepest) in [
            ("{ a(x: [1, {b: 2}]) }", 4),
            ("{ a } { b { c } }", 2),
            (r#"{ a(s: "{{{[[") }"#, 2),
            (r#"{ a(s: "\"{{{") { b } }"#, 2),
            ("{ a(s: \"\"\"{{{ \\\"\"\" [[[ \"\"\") { b { c } } }", 3),
            ("# {{{{\n{ a }", 1),
            ("{ a(s: \"\") { b } }", 2),
            ("{ a(s: \"open\n) { b { c } } }", 3),
            ("}}}{", 1),
            ("", 0),
        ] {
            assert_eq!(nesting(source), deepest, "{source}");
        }
    }
}

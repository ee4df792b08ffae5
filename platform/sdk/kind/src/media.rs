//! Which media type an answer has, by what the client accepts (RFC 9110, section 12.5.1).

/// What answers of this age are: a status of 4xx says that nothing was executed.
pub const RESPONSE: &str = "application/graphql-response+json";
/// What answers were before: whatever was understood has the status 200. It is what a client gets that does not say.
pub const JSON: &str = "application/json";

/// The type that the client likes best; `None` where it takes neither.
pub fn accepted(accept: Option<&str>) -> Option<&'static str> {
    // No header, and one that names nothing, is any type.
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Some(JSON) };
    let (modern, older) = (liking(accept, RESPONSE), liking(accept, JSON));
    match (modern.quality, older.quality) {
        (0, 0) => None,
        // Who names the newer type knows it.
        (new, old) if new > old || (new == old && modern.exact) => Some(RESPONSE),
        (_, 0) => Some(RESPONSE),
        _ => Some(JSON),
    }
}

#[derive(Clone, Copy, Default)]
struct Liking {
    /// In thousandths; 0 is a refusal.
    quality: u16,
    /// Whether it is the type itself that is named, and not a range.
    exact: bool,
}

/// How much a client likes a type: the most specific range that holds it counts.
fn liking(accept: &str, offered: &str) -> Liking {
    let (mut found, mut best) = (Liking::default(), None);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match name.as_str() {
            name if name == offered => 2,
            "application/*" => 1,
            "*/*" => 0,
            _ => continue,
        };
        let (mut quality, mut fits) = (Some(1000), true);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = thousandths(value),
                "charset" => fits &= value.eq_ignore_ascii_case("utf-8"),
                _ => {}
            }
        }
        // A range that is malformed says nothing.
        let (Some(quality), true) = (quality, fits) else { continue };
        if best.is_none_or(|best| specific > best) {
            best = Some(specific);
            found = Liking { quality, exact: specific == 2 };
        }
    }
    found
}

/// A quality from 0 to 1 with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses() {
        for (accept, chosen) in [
            ("", Some(JSON)),
            ("*/*", Some(JSON)),
            ("application/*", Some(JSON)),
            ("application/json", Some(JSON)),
            ("APPLICATION/JSON; charset=UTF-8", Some(JSON)),
            ("application/graphql-response+json", Some(RESPONSE)),
            ("application/graphql-response+json; charset=utf-8", Some(RESPONSE)),
            ("application/graphql-response+json, application/json;q=0.9", Some(RESPONSE)),
            ("application/json, application/graphql-response+json", Some(RESPONSE)),
            ("application/json;q=0.9, application/graphql-response+json;q=0.8", Some(JSON)),
            ("application/graphql-response+json;q=0, */*", Some(JSON)),
            ("application/json;q=0, */*;q=0.1", Some(RESPONSE)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(JSON)),
            ("application/graphql-response+json;q=0.5, */*", Some(JSON)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("application/*;q=0.0", None),
            ("application/json; charset=utf-16", None),
            ("application/json;q=2", None),
            ("application/json;q=0.0001", None),
            (",;=", None),
        ] {
            assert_eq!(accepted(Some(accept)), chosen, "{accept:?}");
        }
        assert_eq!(accepted(None), Some(JSON));
    }
}

//! W3C trace context: one header.

/// Whether a text is a `traceparent` of version 00 (or a later one that begins like it), and not all zero.
pub fn is_valid(traceparent: &str) -> bool {
    id(traceparent).is_some()
}

/// The trace id of a valid `traceparent`.
pub fn id(traceparent: &str) -> Option<&str> {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = version != "00" || parts.next().is_none();
    let filled = |text: &str| text.bytes().any(|byte| byte != b'0');
    (whole && hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2))
        .then_some(trace)
        .filter(|trace| filled(trace) && filled(span))
}

/// A new, sampled trace.
pub fn start() -> String {
    let span = uuid::Uuid::new_v4().simple().to_string();
    format!("00-{}-{}-01", uuid::Uuid::new_v4().simple(), &span[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(id(&format!("00-{trace}-00f067aa0ba902b7-01")), Some(trace));
        assert_eq!(id(&format!("01-{trace}-00f067aa0ba902b7-01-more")), Some(trace));
        assert!(is_valid(&start()));
        for bad in [
            String::new(),
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            "00-é-1-01".into(),
        ] {
            assert!(!is_valid(&bad), "{bad}");
        }
    }
}

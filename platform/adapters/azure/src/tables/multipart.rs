//! Multipart bodies (RFC 2046) that hold HTTP messages, nested as `$batch` nests them. The local Table front reads
//! requests with it.

/// One HTTP message within a body: a request, or the answer to one.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// The first line: the request line or the status line.
    pub start: String,
    headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }

    /// The status, if this is an answer.
    pub fn status(&self) -> Option<u16> {
        let mut words = self.start.split(' ');
        if !matches!(words.next()?, "HTTP/1.1" | "HTTP/1.0") {
            return None;
        }
        words.next().filter(|status| status.len() == 3)?.parse().ok()
    }
}

/// How deep parts may lie in one another: an answer has two levels.
const MAX_DEPTH: usize = 4;

/// The messages within a body, in order, whatever they are nested in.
///
/// # Errors
/// What is wrong with the body. An end that is missing is an error, too.
pub fn messages(content_type: &str, body: &[u8]) -> Result<Vec<Message>, String> {
    let mut found = Vec::new();
    collect(content_type, body, MAX_DEPTH, End::Marked, &mut found)?;
    Ok(found)
}

/// The messages of a request, whose length is known to be right: its outermost end may lack its mark, as the published
/// crate `azure_data_tables` leaves it out.
///
/// # Errors
/// What is wrong with the body.
pub fn requests(content_type: &str, body: &[u8]) -> Result<Vec<Message>, String> {
    let mut found = Vec::new();
    collect(content_type, body, MAX_DEPTH, End::Bare, &mut found)?;
    Ok(found)
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a delimiter that is marked as the last.
    Marked,
    /// With a delimiter that nothing follows, marked or not.
    Bare,
}

fn collect(content_type: &str, body: &[u8], depth: usize, end: End, found: &mut Vec<Message>) -> Result<(), String> {
    let boundary = boundary(content_type).ok_or_else(|| format!("no boundary in {content_type:?}"))?;
    if depth == 0 {
        return Err("parts lie too deep".to_owned());
    }
    for part in split(body, &boundary, end)? {
        let (headers, rest) = headers(part)?;
        match value_of(headers, "content-type") {
            Some(nested) if is(nested, "multipart/mixed") => collect(nested, rest, depth - 1, End::Marked, found)?,
            Some(http) if is(http, "application/http") => found.push(message(rest)?),
            other => return Err(format!("a part of type {other:?}")),
        }
    }
    Ok(())
}

/// The bytes between the delimiters. What stands before the first and behind the last is no part.
fn split<'a>(body: &'a [u8], boundary: &str, end: End) -> Result<Vec<&'a [u8]>, String> {
    let mut parts = Vec::new();
    let mut start = None;
    let mut place = 0;
    let bare = end == End::Bare;
    while place < body.len() {
        let end = memchr::memchr(b'\n', &body[place..]).map_or(body.len(), |at| place + at + 1);
        if let Some(rest) = body[place..end].strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()))
            && let rest = rest.trim_ascii_end()
            && (rest.is_empty() || rest == b"--")
        {
            if let Some(start) = start {
                // The line end before a delimiter belongs to it.
                let part: &[u8] = &body[start..place];
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                parts.push(part.strip_suffix(b"\r").unwrap_or(part));
            }
            if rest == b"--" {
                return Ok(parts);
            }
            start = Some(end);
        }
        place = end;
    }
    if bare && !parts.is_empty() && start.is_some_and(|start| body[start..].trim_ascii().is_empty()) {
        return Ok(parts);
    }
    Err("a multipart body without an end".to_owned())
}

fn message(bytes: &[u8]) -> Result<Message, String> {
    // Some servers leave an empty line before the first line.
    let bytes = bytes.trim_ascii_start();
    let (start, rest) = line(bytes).ok_or("a message without a first line")?;
    let (headers, body) = headers(rest)?;
    Ok(Message { start: start.to_owned(), headers: headers.to_owned(), body: body.to_vec() })
}

/// Finds the headers up to an empty line, or to the end, and what stands behind. They are taken apart when they are
/// asked for: few of them ever are.
fn headers(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let (mut bytes, whole) = (bytes, bytes);
    let mut length = 0;
    while let Some((line, rest)) = line(bytes) {
        bytes = rest;
        if line.is_empty() {
            break;
        }
        if !line.contains(':') {
            return Err(format!("a header {line:?}"));
        }
        length = whole.len() - rest.len();
    }
    // Each of its lines is a text, so the whole is one.
    let headers = std::str::from_utf8(&whole[..length]).map_err(|error| error.to_string())?;
    Ok((headers, bytes))
}

/// The first line without its end, and the rest; `None` at the end or where it is no text.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let rest = bytes.get(end + 1..).unwrap_or_default();
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    std::str::from_utf8(line).ok().map(|line| (line, rest))
}

fn value_of<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = headers.split('\n').filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn is(content_type: &str, expected: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected)
}

fn boundary(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_end_of_a_request_may_lack_its_mark_and_no_other() {
        const TYPE: &str = "multipart/mixed; boundary=b";
        let body = |changeset: &str, end: &str| {
            format!(
                "--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: application/http\n\n\
                 DELETE http://h/t HTTP/1.1\nIf-Match: *\n\n\n{changeset}\n{end}\n"
            )
        };
        let lax = |text: String| requests(TYPE, text.as_bytes()).map(|found| found.len()).ok();
        let strict = |text: String| messages(TYPE, text.as_bytes()).map(|found| found.len()).ok();
        assert_eq!((lax(body("--c--", "--b--")), strict(body("--c--", "--b--"))), (Some(1), Some(1)));
        assert_eq!((lax(body("--c--", "--b")), strict(body("--c--", "--b"))), (Some(1), None));
        for cut in [body("--c", "--b"), body("--c--", ""), body("--c--", "--b\nmore"), "--b\n".to_owned()] {
            assert_eq!(lax(cut.clone()), None, "{cut}");
        }
    }
}

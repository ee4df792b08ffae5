//! Route templates of HTTP functions, as in `outcomes/{aggregate}/{command}`.

use percent_encoding::percent_decode_str;

/// A route template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter { name: String, optional: bool },
    Rest { name: String },
}

impl Route {
    /// Reads a template: literals, `{name}`, at the end `{name?}` or `{*name}`.
    ///
    /// # Errors
    /// Anything else that ASP.NET allows, as constraints.
    pub fn parse(template: &str) -> Result<Route, String> {
        let mut segments = Vec::new();
        let parts: Vec<&str> = template.trim_matches('/').split('/').filter(|part| !part.is_empty()).collect();
        for (n, part) in parts.iter().enumerate() {
            let last = n + 1 == parts.len();
            let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                None if part.contains(['{', '}']) => {
                    return Err(format!("the route {template:?} mixes text and a parameter in one segment"));
                }
                None => Segment::Literal((*part).to_owned()),
                Some(name) => {
                    let (rest, name) = name.strip_prefix('*').map_or((false, name), |name| (true, name));
                    let (optional, name) = name.strip_suffix('?').map_or((false, name), |name| (true, name));
                    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                        return Err(format!("the parameter {{{name}}} of the route {template:?} is not hosted"));
                    }
                    if (rest || optional) && !last {
                        return Err(format!("only the last segment of the route {template:?} may be left out"));
                    }
                    let name = name.to_owned();
                    if rest { Segment::Rest { name } } else { Segment::Parameter { name, optional } }
                }
            };
            segments.push(segment);
        }
        Ok(Route(segments))
    }

    /// The parameters' values if the path (without prefix, as it came) matches; those left out are `None`. Literals are
    /// compared without regard to case.
    pub fn matches(&self, path: &str) -> Option<Vec<(String, Option<String>)>> {
        let path = path.trim_matches('/');
        let mut parts = path.split('/').filter(|_| !path.is_empty());
        let mut values = Vec::new();
        for segment in &self.0 {
            match segment {
                Segment::Rest { name } => {
                    let rest: Vec<&str> = parts.by_ref().collect();
                    let decoded = decode(&rest.join("/"))?;
                    values.push((name.clone(), Some(decoded).filter(|text| !text.is_empty())));
                }
                Segment::Literal(text) => {
                    if !decode(parts.next()?)?.eq_ignore_ascii_case(text) {
                        return None;
                    }
                }
                Segment::Parameter { name, optional } => match parts.next() {
                    Some(part) if !part.is_empty() => values.push((name.clone(), Some(decode(part)?))),
                    None if *optional => values.push((name.clone(), None)),
                    _ => return None,
                },
            }
        }
        parts.next().is_none().then_some(values)
    }

    /// Templates with more literals are tried first.
    pub fn precedence(&self) -> (usize, usize) {
        let literals = self.0.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        let rests = self.0.iter().filter(|segment| matches!(segment, Segment::Rest { .. })).count();
        (rests, usize::MAX - literals)
    }
}

fn decode(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, path: &str, expected: Option<&[(&str, Option<&str>)]>) {
        let matched = Route::parse(template).unwrap().matches(path);
        let expected = expected.map(|values| {
            values.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect::<Vec<_>>()
        });
        assert_eq!(matched, expected, "{template} {path}");
    }

    #[test]
    fn templates_match_segments() {
        check("graphql", "graphql", Some(&[]));
        check("graphql", "GraphQL/", Some(&[]));
        check("graphql", "graphql/x", None);
        check("graphql", "", None);
        check("outcomes/{a}/{c}", "outcomes/order:1/c-1", Some(&[("a", Some("order:1")), ("c", Some("c-1"))]));
        check("outcomes/{a}/{c}", "outcomes/order%3A1%2F2/c", Some(&[("a", Some("order:1/2")), ("c", Some("c"))]));
        check("outcomes/{a}/{c}", "outcomes/x", None);
        check("outcomes/{a}/{c}", "outcomes//x", None);
        check("items/{id?}", "items", Some(&[("id", None)]));
        check("files/{*path}", "files/a/b", Some(&[("path", Some("a/b"))]));
        check("", "", Some(&[]));
        check("x/{a}", "x/%ff", None);
    }

    #[test]
    fn unknown_templates_are_refused() {
        for template in ["a{b}", "{id:int}", "{a?}/b", "{*a}/b", "{}"] {
            assert!(Route::parse(template).is_err(), "{template}");
        }
    }
}

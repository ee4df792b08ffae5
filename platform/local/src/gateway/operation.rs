//! The operations of an API: by method and URL template.

use http::Method;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    /// `{name}`: one segment, whatever it is.
    Any,
    /// `*` or `{*name}`: all that is left.
    Rest,
}

/// An operation of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    method: Method,
    template: Vec<Segment>,
}

impl Operation {
    /// By its method and URL template, as in `/orders/{id}`.
    ///
    /// # Errors
    /// What cannot be told apart here.
    pub(super) fn parse(method: &str, template: &str) -> Result<Self, String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("the method {method:?} is none"))?;
        if template.contains(['?', '#']) {
            return Err(format!("the URL template {template:?} has a query, which is not told apart here"));
        }
        let path = template.trim_start_matches('/');
        let mut segments = Vec::new();
        for part in path.split('/').filter(|_| !path.is_empty()) {
            segments.push(match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if name.starts_with('*') => Segment::Rest,
                Some(_) => Segment::Any,
                None if part == "*" => Segment::Rest,
                None if part.contains(['{', '}', '*']) => {
                    return Err(format!("the URL template {template:?} has a parameter within a segment"));
                }
                None => Segment::Text(part.to_owned()),
            });
        }
        if segments.iter().rev().skip(1).any(|segment| *segment == Segment::Rest) {
            return Err(format!("the URL template {template:?} goes on after what takes all the rest"));
        }
        Ok(Operation { method, template: segments })
    }

    /// The operations of an API of the type GraphQL, which declares none.
    pub(super) fn graphql() -> Vec<Self> {
        [Method::GET, Method::POST].map(|method| Operation { method, template: Vec::new() }).into()
    }

    /// Whether a request of that method, with that path below the API's, is of this operation.
    pub(super) fn fits(&self, method: &Method, below: &str) -> bool {
        let path = below.strip_prefix('/').unwrap_or(below);
        let mut parts = path.split('/').filter(|_| !path.is_empty());
        self.method == *method
            && self.template.iter().all(|segment| match segment {
                Segment::Text(text) => parts.next() == Some(text.as_str()),
                Segment::Any => parts.next().is_some_and(|part| !part.is_empty()),
                Segment::Rest => {
                    parts.by_ref().for_each(drop);
                    true
                }
            })
            && parts.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_choose_by_method_and_segments() {
        for (template, fits, others) in [
            ("/graphql", &["/graphql"][..], &["", "/", "/graphql/", "/graphql/x", "/Graphql", "//graphql"][..]),
            ("graphql", &["/graphql"], &["/graph"]),
            ("/", &["", "/"], &["/x"]),
            ("/orders/{id}", &["/orders/1", "/orders/a%2Fb"], &["/orders", "/orders/", "/orders/1/2"]),
            ("/*", &["", "/", "/x", "/x/y"], &[]),
            ("/files/{*path}", &["/files", "/files/a/b"], &["/file"]),
        ] {
            let operation = Operation::parse("POST", template).unwrap();
            for path in fits {
                assert!(operation.fits(&Method::POST, path), "{template} {path}");
                assert!(!operation.fits(&Method::GET, path), "{template} {path}");
            }
            for path in others {
                assert!(!operation.fits(&Method::POST, path), "{template} {path}");
            }
        }
        for (method, template) in [("A B", "/"), ("GET", "/a?b={c}"), ("GET", "/a-{b}"), ("GET", "/*/a")] {
            Operation::parse(method, template).unwrap_err();
        }
    }
}

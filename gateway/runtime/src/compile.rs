//! From documents to a program; what cannot be executed is refused here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderName, StatusCode};
use roxmltree::{Document, Node};

use crate::expression::{Expression, is_expression};
use crate::limit::Counters;
use crate::step::{
    Cors, Exists, Limit, RequiredClaim, SetHeader, Step, Template, TokenCheck, TokenPlace, ValidateJwt, header_value,
};

/// The documents of one API, and what they refer to.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'d> {
    /// The gateway's own policy. Without one, requests are forwarded and nothing else.
    pub gateway: Option<&'d str>,
    /// The API's policy. Without one, the gateway's alone holds.
    pub api: Option<&'d str>,
    /// Fragments, by id.
    pub fragments: &'d BTreeMap<String, String>,
    /// Named values, by name.
    pub named_values: &'d BTreeMap<String, String>,
    /// The base URLs of backends, by id.
    pub backends: &'d BTreeMap<String, String>,
    /// Where the API's requests go unless its policy chooses a backend: its `serviceUrl`.
    pub service_url: Option<&'d str>,
}

/// Why documents cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct CompileError {
    /// The document and where in it, as in `policies/inbound/choose/when/set-header`.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

/// What an API does with a request.
#[derive(Debug)]
pub struct Program {
    pub(crate) inbound: Vec<Step>,
    pub(crate) backend: Vec<Step>,
    pub(crate) outbound: Vec<Step>,
    pub(crate) on_error: Vec<Step>,
    pub(crate) service_url: Option<String>,
    pub(crate) counters: Counters,
}

const SECTIONS: [&str; 4] = ["inbound", "backend", "outbound", "on-error"];

/// Policies, and the sections that take them.
const KNOWN: [(&str, &[&str]); 18] = [
    ("authentication-managed-identity", &["inbound"]),
    ("base", &SECTIONS),
    ("choose", &SECTIONS),
    ("cors", &["inbound"]),
    ("forward-request", &["backend"]),
    ("include-fragment", &SECTIONS),
    ("quota-by-key", &["inbound"]),
    ("rate-limit-by-key", &["inbound"]),
    ("retry", &SECTIONS),
    ("return-response", &SECTIONS),
    ("rewrite-uri", &["inbound"]),
    ("set-backend-service", &["inbound", "backend"]),
    ("set-body", &SECTIONS),
    ("set-header", &SECTIONS),
    ("set-status", &SECTIONS),
    ("set-variable", &SECTIONS),
    ("trace", &SECTIONS),
    ("validate-jwt", &["inbound"]),
];

type Parsed<T> = Result<T, CompileError>;

struct Compiler<'d> {
    documents: Documents<'d>,
    /// The wider scope's document, expanded.
    wider: Option<String>,
    limits: usize,
}

/// Where the compiler is.
#[derive(Clone, Copy)]
struct At<'a> {
    section: &'static str,
    place: &'a str,
    /// Fragments do not nest.
    in_fragment: bool,
    /// Within `return-response` few policies may stand.
    in_response: bool,
}

impl Program {
    /// Reads the documents.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn compile(documents: &Documents<'_>) -> Result<Self, CompileError> {
        let mut compiler = Compiler { documents: *documents, wider: None, limits: 0 };
        let gateway = match documents.gateway {
            Some(text) => compiler.expand("the gateway's policy", text)?,
            None => "<policies><backend><forward-request /></backend></policies>".to_owned(),
        };
        let (text, name) = match documents.api {
            Some(text) => {
                let text = compiler.expand("the API's policy", text)?;
                compiler.wider = Some(gateway);
                (text, "the API's policy")
            }
            None => (gateway, "the gateway's policy"),
        };
        let mut sections = compiler.document(&text, name)?.into_iter();
        let mut next = || sections.next().unwrap_or_default();
        let program = Program {
            inbound: next(),
            backend: next(),
            outbound: next(),
            on_error: next(),
            service_url: documents.service_url.map(str::to_owned),
            counters: Counters::default(),
        };
        let (forwards, cors) = (count(&program.backend, "forward-request"), count(&program.inbound, "cors"));
        let fault = |place: &str, why: &str| Err(CompileError { place: place.to_owned(), why: why.to_owned() });
        if forwards > 1 {
            return fault("policies/backend", "the backend is called once: there is more than one forward-request");
        }
        if cors > 1 {
            return fault("policies/inbound", "there is more than one cors");
        }
        Ok(program)
    }
}

fn count(steps: &[Step], name: &str) -> usize {
    let inner = |step: &Step| match step {
        Step::Choose { when, otherwise } => {
            when.iter().map(|(_, steps)| count(steps, name)).sum::<usize>() + count(otherwise, name)
        }
        Step::Retry { steps, .. } => count(steps, name),
        _ => 0,
    };
    steps.iter().map(|step| usize::from(step.name() == name) + inner(step)).sum()
}

/// The attributes of an element; each has to be asked for.
struct Attributes<'a, 'input> {
    node: Node<'a, 'input>,
    place: String,
    left: BTreeSet<&'a str>,
}

impl<'a, 'input> Attributes<'a, 'input> {
    fn of(node: Node<'a, 'input>, place: &str) -> Self {
        let left = node.attributes().map(|attribute| attribute.name()).collect();
        Attributes { node, place: place.to_owned(), left }
    }

    fn fault<T>(&self, why: impl Into<String>) -> Parsed<T> {
        Err(CompileError { place: self.place.clone(), why: why.into() })
    }

    fn optional(&mut self, name: &str) -> Option<&'a str> {
        let value = self.node.attribute(name)?;
        self.left.retain(|left| *left != name);
        Some(value)
    }

    /// A text that no expression computes.
    fn fixed(&mut self, name: &str) -> Parsed<Option<&'a str>> {
        match self.optional(name) {
            Some(value) if is_expression(value) => {
                self.fault(format!("the attribute {name} cannot be an expression here"))
            }
            value => Ok(value),
        }
    }

    fn required(&mut self, name: &str) -> Parsed<&'a str> {
        match self.fixed(name)? {
            Some(value) => Ok(value),
            None => self.fault(format!("the attribute {name} is missing")),
        }
    }

    fn template(&mut self, name: &str) -> Parsed<Template> {
        match self.optional(name) {
            Some(value) => template(value, &self.place),
            None => self.fault(format!("the attribute {name} is missing")),
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> Parsed<bool> {
        match self.fixed(name)? {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => self.fault(format!("the attribute {name} is {other:?}, neither true nor false")),
        }
    }

    fn number(&mut self, name: &str) -> Parsed<Option<u64>> {
        match self.fixed(name)?.map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => self.fault(format!("the attribute {name} is no number")),
        }
    }

    fn required_number(&mut self, name: &str) -> Parsed<u64> {
        match self.number(name)? {
            Some(number) => Ok(number),
            None => self.fault(format!("the attribute {name} is missing")),
        }
    }

    fn header(&mut self, name: &str) -> Parsed<HeaderName> {
        let value = self.required(name)?;
        value.parse().or_else(|_| self.fault(format!("{value:?} is no name of a header")))
    }

    fn finish(self) -> Parsed<()> {
        match self.left.iter().next() {
            Some(unknown) => self.fault(format!("the attribute {unknown} is not known here")),
            None => Ok(()),
        }
    }
}

fn template(text: &str, place: &str) -> Parsed<Template> {
    let trimmed = text.trim();
    if is_expression(trimmed) {
        return expression(trimmed, place).map(Template::Expression);
    }
    if trimmed.contains("@(") || trimmed.contains("@{") {
        let why = "an expression within a text is not known here".to_owned();
        return Err(CompileError { place: place.to_owned(), why });
    }
    Ok(Template::Text(text.to_owned()))
}

fn expression(text: &str, place: &str) -> Parsed<Expression> {
    Expression::parse(text).map_err(|unknown| CompileError { place: place.to_owned(), why: unknown.to_string() })
}

/// The elements within; a text between them is an error.
fn elements<'a, 'input>(node: Node<'a, 'input>, place: &str) -> Parsed<Vec<Node<'a, 'input>>> {
    let mut found = Vec::new();
    for child in node.children() {
        if child.is_element() {
            found.push(child);
        } else if child.is_text() && child.text().is_some_and(|text| !text.trim().is_empty()) {
            return Err(CompileError { place: place.to_owned(), why: "there is text between the elements".to_owned() });
        }
    }
    Ok(found)
}

fn text_of<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default()
}

impl Compiler<'_> {
    /// Replaces named values, as API Management does before it reads a document.
    fn expand(&self, name: &str, text: &str) -> Parsed<String> {
        let fault = |why: String| Err(CompileError { place: name.to_owned(), why });
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let Some(length) = rest[start..].find("}}") else { break };
            let value = rest[start + 2..start + length].trim();
            let Some(held) = self.documents.named_values.get(value) else {
                return fault(format!("there is no named value {value:?}"));
            };
            // It is put in as it is: it could end the attribute that it stands in.
            if held.contains(['<', '>', '&', '"', '\'']) || held.contains("{{") {
                return fault(format!("the named value {value:?} holds a character that would change the document"));
            }
            expanded.push_str(&rest[..start]);
            expanded.push_str(held);
            rest = &rest[start + length + 2..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// The four sections of a document.
    fn document(&mut self, text: &str, name: &str) -> Parsed<Vec<Vec<Step>>> {
        let fault = |place: &str, why: String| Err(CompileError { place: place.to_owned(), why });
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => return fault(name, format!("it is not well-formed: {error}")),
        };
        let root = document.root_element();
        if root.tag_name().name() != "policies" {
            return fault(name, format!("it begins with {:?}, not with policies", root.tag_name().name()));
        }
        let children = elements(root, name)?;
        let mut seen = BTreeSet::new();
        for child in &children {
            let section = child.tag_name().name();
            if !SECTIONS.contains(&section) {
                return fault(name, format!("{section} is no section"));
            }
            if !seen.insert(section) {
                return fault(name, format!("the section {section} stands twice"));
            }
        }
        let mut sections = Vec::new();
        for section in SECTIONS {
            let mut steps = Vec::new();
            if let Some(node) = children.iter().find(|child| child.tag_name().name() == section) {
                let place = format!("{name}: {section}");
                let at = At { section, place: &place, in_fragment: false, in_response: false };
                self.steps(*node, at, &mut steps)?;
            }
            sections.push(steps);
        }
        Ok(sections)
    }

    fn steps(&mut self, node: Node<'_, '_>, at: At<'_>, steps: &mut Vec<Step>) -> Parsed<()> {
        for child in elements(node, at.place)? {
            let place = format!("{}/{}", at.place, child.tag_name().name());
            self.step(child, At { place: &place, ..at }, steps)?;
        }
        Ok(())
    }

    fn step(&mut self, node: Node<'_, '_>, at: At<'_>, steps: &mut Vec<Step>) -> Parsed<()> {
        let name = node.tag_name().name();
        let mut given = Attributes::of(node, at.place);
        let Some((_, sections)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            return given.fault(format!("the policy {name} is not one that is executed here"));
        };
        if !sections.contains(&at.section) {
            return given.fault(format!("{name} may not stand in the section {}", at.section));
        }
        if at.in_response && !["set-status", "set-header", "set-body"].contains(&name) {
            return given.fault(format!("{name} may not stand in return-response"));
        }
        let no_children = |given: &Attributes<'_, '_>| match elements(node, at.place)?.first() {
            Some(child) => given.fault(format!("{} may not stand in it", child.tag_name().name())),
            None => Ok(()),
        };
        match name {
            "base" => {
                no_children(&given)?;
                if let Some(wider) = self.wider.clone() {
                    let sections = self.without_wider(|compiler| compiler.document(&wider, "the gateway's policy"))?;
                    let index = SECTIONS.iter().position(|section| *section == at.section).unwrap_or_default();
                    steps.extend(sections.into_iter().nth(index).unwrap_or_default());
                }
            }
            "include-fragment" => {
                let id = given.required("fragment-id")?;
                no_children(&given)?;
                if at.in_fragment {
                    return given.fault("a fragment cannot include another");
                }
                let Some(text) = self.documents.fragments.get(id) else {
                    return given.fault(format!("there is no fragment {id:?}"));
                };
                let text = self.expand(at.place, text)?;
                let document = match Document::parse(&text) {
                    Ok(document) if document.root_element().tag_name().name() == "fragment" => document,
                    Ok(_) => return given.fault(format!("the fragment {id:?} does not begin with fragment")),
                    Err(error) => return given.fault(format!("the fragment {id:?} is not well-formed: {error}")),
                };
                let place = format!("{}({id})", at.place);
                self.steps(document.root_element(), At { place: &place, in_fragment: true, ..at }, steps)?;
            }
            "choose" => steps.push(self.choose(node, at)?),
            "set-variable" => {
                let (name, value) = (given.required("name")?.to_owned(), given.template("value")?);
                no_children(&given)?;
                steps.push(Step::SetVariable { name, value });
            }
            "set-header" => {
                let step = set_header(node, &mut given, at)?;
                steps.push(Step::SetHeader(step));
            }
            "set-body" => {
                if let Some(child) = node.children().find(Node::is_element) {
                    return given.fault(format!("{} may not stand in it", child.tag_name().name()));
                }
                steps.push(Step::SetBody(template(text_of(node), at.place)?));
            }
            "set-status" => {
                no_children(&given)?;
                let code = given.required_number("code")?;
                let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
                let Some(code) = code else { return given.fault("the code is no status") };
                let reason = given.fixed("reason")?.unwrap_or_default().to_owned();
                steps.push(Step::SetStatus { code, reason });
            }
            "set-backend-service" => {
                no_children(&given)?;
                let url = match (given.fixed("backend-id")?, given.fixed("base-url")?) {
                    (Some(id), None) => match self.documents.backends.get(id) {
                        Some(url) => url.clone(),
                        None => return given.fault(format!("there is no backend {id:?}")),
                    },
                    (None, Some(url)) => url.to_owned(),
                    _ => return given.fault("either backend-id or base-url must be given"),
                };
                steps.push(Step::Backend(url));
            }
            "rewrite-uri" => {
                no_children(&given)?;
                let template = given.template("template")?;
                let copy_unmatched = given.flag("copy-unmatched-params", true)?;
                if let Template::Text(text) = &template
                    && (!text.starts_with('/') || text.contains(['{', '?', '#']))
                {
                    return given.fault("the template must be a path without parameters");
                }
                steps.push(Step::RewriteUri { template, copy_unmatched });
            }
            "authentication-managed-identity" => {
                no_children(&given)?;
                let resource = given.required("resource")?.to_owned();
                let client_id = given.fixed("client-id")?.map(str::to_owned);
                steps.push(Step::ManagedIdentity { resource, client_id });
            }
            "validate-jwt" => steps.push(Step::ValidateJwt(validate_jwt(node, &mut given, at)?)),
            "cors" => steps.push(Step::Cors(cors(node, &mut given, at)?)),
            "rate-limit-by-key" | "quota-by-key" => {
                no_children(&given)?;
                let calls = given.required_number("calls")?;
                let period = Duration::from_secs(given.required_number("renewal-period")?);
                if calls == 0 || period.is_zero() {
                    return given.fault("calls and renewal-period must be above zero");
                }
                let key = given.template("counter-key")?;
                let retry_after = match given.fixed("retry-after-header-name")? {
                    Some(_) if name == "quota-by-key" => return given.fault("a quota names no header"),
                    Some(header) => match header.parse() {
                        Ok(header) => Some(header),
                        Err(_) => return given.fault(format!("{header:?} is no name of a header")),
                    },
                    None => Some(http::header::RETRY_AFTER),
                };
                let limit = Limit { id: self.limits, calls, period, key, retry_after };
                self.limits += 1;
                steps.push(if name == "quota-by-key" { Step::Quota(limit) } else { Step::RateLimit(limit) });
            }
            "return-response" => {
                let mut inner = Vec::new();
                self.steps(node, At { in_response: true, ..at }, &mut inner)?;
                steps.push(Step::ReturnResponse(inner));
            }
            "forward-request" => {
                no_children(&given)?;
                let timeout = Duration::from_secs(given.number("timeout")?.unwrap_or(300));
                if given.flag("follow-redirects", false)? {
                    return given.fault("redirects of a backend are not followed here");
                }
                // Both are buffered here, so that neither makes a difference.
                given.flag("buffer-request-body", false)?;
                if !given.flag("buffer-response", true)? {
                    return given.fault("responses are buffered here");
                }
                let fail_on_status = given.flag("fail-on-error-status-code", false)?;
                steps.push(Step::Forward { timeout, fail_on_status });
            }
            "retry" => {
                let Some(condition) = given.optional("condition") else {
                    return given.fault("the attribute condition is missing");
                };
                let condition = expression(condition, at.place)?;
                let count = given.required_number("count")?;
                let interval = Duration::from_secs(given.required_number("interval")?);
                let first_fast = given.flag("first-fast-retry", false)?;
                let mut inner = Vec::new();
                self.steps(node, at, &mut inner)?;
                steps.push(Step::Retry { condition, count, interval, first_fast, steps: inner });
            }
            "trace" => {
                let source = given.required("source")?.to_owned();
                let severity = given.fixed("severity")?.unwrap_or("verbose").to_owned();
                let mut message = Template::Text(String::new());
                for child in elements(node, at.place)? {
                    match child.tag_name().name() {
                        "message" => message = template(text_of(child), at.place)?,
                        "metadata" => {}
                        other => return given.fault(format!("{other} may not stand in it")),
                    }
                }
                steps.push(Step::Trace { source, severity, message });
            }
            _ => return given.fault(format!("the policy {name} is not one that is executed here")),
        }
        given.finish()
    }

    fn without_wider<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let wider = self.wider.take();
        let done = work(self);
        self.wider = wider;
        done
    }

    fn choose(&mut self, node: Node<'_, '_>, at: At<'_>) -> Parsed<Step> {
        let (mut when, mut otherwise) = (Vec::new(), None);
        for child in elements(node, at.place)? {
            let place = format!("{}/{}", at.place, child.tag_name().name());
            let mut given = Attributes::of(child, &place);
            let mut steps = Vec::new();
            match child.tag_name().name() {
                "when" if otherwise.is_none() => {
                    let Some(condition) = given.optional("condition") else {
                        return given.fault("the attribute condition is missing");
                    };
                    let condition = expression(condition, &place)?;
                    self.steps(child, At { place: &place, ..at }, &mut steps)?;
                    when.push((condition, steps));
                }
                "otherwise" if otherwise.is_none() => {
                    self.steps(child, At { place: &place, ..at }, &mut steps)?;
                    otherwise = Some(steps);
                }
                other => return given.fault(format!("{other} may not stand here")),
            }
            given.finish()?;
        }
        Ok(Step::Choose { when, otherwise: otherwise.unwrap_or_default() })
    }
}

fn set_header(node: Node<'_, '_>, given: &mut Attributes<'_, '_>, at: At<'_>) -> Parsed<SetHeader> {
    let name = given.header("name")?;
    let exists = match given.fixed("exists-action")? {
        None | Some("override") => Exists::Override,
        Some("skip") => Exists::Skip,
        Some("append") => Exists::Append,
        Some("delete") => Exists::Delete,
        Some(other) => return given.fault(format!("the exists-action {other:?} is not known")),
    };
    let mut values = Vec::new();
    for child in elements(node, at.place)? {
        if child.tag_name().name() != "value" {
            return given.fault(format!("{} may not stand in it", child.tag_name().name()));
        }
        let value = template(text_of(child).trim(), at.place)?;
        if let Template::Text(text) = &value
            && let Err(why) = header_value(text)
        {
            return given.fault(why);
        }
        values.push(value);
    }
    if (exists == Exists::Delete) != values.is_empty() {
        return given.fault("a header that is set has values, one that is deleted has none");
    }
    Ok(SetHeader { name, exists, values })
}

/// The texts of a list's elements.
fn list(node: Node<'_, '_>, item: &str, given: &Attributes<'_, '_>, place: &str) -> Parsed<Vec<String>> {
    let mut texts = Vec::new();
    for child in elements(node, place)? {
        if child.tag_name().name() != item {
            return given.fault(format!("{} may not stand in {}", child.tag_name().name(), node.tag_name().name()));
        }
        let text = text_of(child).trim();
        if is_expression(text) {
            return given.fault(format!("{item} cannot be an expression here"));
        }
        texts.push(text.to_owned());
    }
    Ok(texts)
}

fn validate_jwt(node: Node<'_, '_>, given: &mut Attributes<'_, '_>, at: At<'_>) -> Parsed<ValidateJwt> {
    let scheme = given.fixed("require-scheme")?.map(str::to_owned);
    let place = match (given.fixed("header-name")?, given.fixed("query-parameter-name")?) {
        (Some(name), None) => match name.parse() {
            Ok(name) => TokenPlace::Header { name, scheme },
            Err(_) => return given.fault(format!("{name:?} is no name of a header")),
        },
        (None, Some(name)) => TokenPlace::Query(name.to_owned()),
        _ => return given.fault("either header-name or query-parameter-name must be given"),
    };
    let status = given.number("failed-validation-httpcode")?.unwrap_or(401);
    let status = u16::try_from(status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = status.filter(|status| status.is_client_error()) else {
        return given.fault("failed-validation-httpcode is no status of a refusal");
    };
    let message = given.fixed("failed-validation-error-message")?.unwrap_or("JWT is invalid").to_owned();
    let require_expiration = given.flag("require-expiration-time", true)?;
    if !given.flag("require-signed-tokens", true)? {
        return given.fault("tokens without a signature are not accepted here");
    }
    let clock_skew = given.number("clock-skew")?.unwrap_or(0);
    let output = given.fixed("output-token-variable-name")?.map(str::to_owned);
    let clock_skew_seconds = match i64::try_from(clock_skew) {
        Ok(seconds) if seconds <= 300 => seconds,
        _ => return given.fault("the clock-skew is above 300 seconds"),
    };
    let mut check = TokenCheck { require_expiration, clock_skew_seconds, ..TokenCheck::default() };
    let mut openid_configs = Vec::new();
    for child in elements(node, at.place)? {
        match child.tag_name().name() {
            "openid-config" => {
                let mut inner = Attributes::of(child, at.place);
                openid_configs.push(inner.required("url")?.to_owned());
                inner.finish()?;
            }
            "audiences" => check.audiences = list(child, "audience", given, at.place)?,
            "issuers" => check.issuers = list(child, "issuer", given, at.place)?,
            "required-claims" => {
                for claim in elements(child, at.place)? {
                    let mut inner = Attributes::of(claim, at.place);
                    if claim.tag_name().name() != "claim" {
                        return inner.fault(format!("{} may not stand in it", claim.tag_name().name()));
                    }
                    let name = inner.required("name")?.to_owned();
                    let all = match inner.fixed("match")? {
                        None | Some("all") => true,
                        Some("any") => false,
                        Some(other) => return inner.fault(format!("the match {other:?} is not known")),
                    };
                    let values = list(claim, "value", &inner, at.place)?;
                    check.claims.push(RequiredClaim { name, all, values });
                    inner.finish()?;
                }
            }
            other => return given.fault(format!("{other} is not known in it")),
        }
    }
    if openid_configs.is_empty() {
        return given.fault("there is no openid-config");
    }
    if check.audiences.is_empty() {
        return given.fault("without audiences, anybody's token of that issuer would do");
    }
    Ok(ValidateJwt { place, status, message, check, openid_configs, output })
}

fn cors(node: Node<'_, '_>, given: &mut Attributes<'_, '_>, at: At<'_>) -> Parsed<Cors> {
    let mut cors = Cors {
        origins: Some(Vec::new()),
        methods: Vec::new(),
        headers: Vec::new(),
        exposed: Vec::new(),
        credentials: given.flag("allow-credentials", false)?,
        max_age_seconds: 0,
        terminate: given.flag("terminate-unmatched-request", true)?,
    };
    for child in elements(node, at.place)? {
        match child.tag_name().name() {
            "allowed-origins" => {
                let origins = list(child, "origin", given, at.place)?;
                cors.origins = (!origins.iter().any(|origin| origin == "*")).then_some(origins);
            }
            "allowed-methods" => {
                let mut inner = Attributes::of(child, at.place);
                cors.max_age_seconds = inner.number("preflight-result-max-age")?.unwrap_or(300);
                inner.finish()?;
                cors.methods = list(child, "method", given, at.place)?;
            }
            "allowed-headers" => cors.headers = list(child, "header", given, at.place)?,
            "expose-headers" => cors.exposed = list(child, "header", given, at.place)?,
            other => return given.fault(format!("{other} is not known in it")),
        }
    }
    if cors.origins.is_none() && cors.credentials {
        return given.fault("any origin with credentials is refused");
    }
    let all = cors.methods.iter().chain(&cors.headers).chain(&cors.exposed).chain(cors.origins.iter().flatten());
    for text in all {
        if let Err(why) = header_value(text) {
            return given.fault(why);
        }
    }
    Ok(cors)
}

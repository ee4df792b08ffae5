//! What happens next.

use super::allowed;
use crate::document::Fragment;
use crate::element::{Element, Fault};
use crate::expression::Expression;
use crate::section::sealed::Statement;
use crate::section::{AllowedIn, SectionKind, Steps};
use crate::value::Value;

/// `choose`: the first branch whose condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choose<S> {
    branches: Vec<When<S>>,
    otherwise: Option<Steps<S>>,
}

/// A branch of a [`Choose`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When<S> {
    condition: Expression,
    steps: Steps<S>,
}

impl<S: SectionKind> Choose<S> {
    /// One branch.
    pub fn when(condition: Expression, statement: impl AllowedIn<S>) -> Self {
        Choose { branches: Vec::new(), otherwise: None }.or_when(condition, Steps::new().then(statement))
    }

    /// One more branch.
    #[must_use]
    pub fn or_when(mut self, condition: Expression, steps: Steps<S>) -> Self {
        self.branches.push(When { condition, steps });
        self
    }

    /// What happens if no condition holds.
    #[must_use]
    pub fn otherwise(mut self, statement: impl AllowedIn<S>) -> Self {
        self.otherwise = Some(self.otherwise.unwrap_or_default().then(statement));
        self
    }
}

impl<S: SectionKind> Statement for Choose<S> {
    fn element(self) -> Element {
        let branches = self.branches.into_iter().map(|When { condition, steps }| {
            let fault = steps.elements.is_empty().then_some(Fault::Empty("a branch"));
            Element::new("when").attribute("condition", condition).fault(fault).children(steps.elements)
        });
        let otherwise = self.otherwise.map(|steps| Element::new("otherwise").children(steps.elements));
        Element::new("choose").children(branches).children(otherwise)
    }
}
impl<S: SectionKind> AllowedIn<S> for Choose<S> {}

/// `include-fragment`: what several policies share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludeFragment<S> {
    name: &'static str,
    section: std::marker::PhantomData<S>,
}

impl<S: SectionKind> IncludeFragment<S> {
    /// This fragment.
    pub fn of(fragment: &Fragment<S>) -> Self {
        IncludeFragment { name: fragment.name, section: std::marker::PhantomData }
    }
}

impl<S: SectionKind> Statement for IncludeFragment<S> {
    fn element(self) -> Element {
        Element::new("include-fragment").attribute("fragment-id", self.name)
    }
}
impl<S: SectionKind> AllowedIn<S> for IncludeFragment<S> {}

/// How much a [`Trace`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For those who look closely.
    Verbose,
    /// For the record.
    Information,
    /// Somebody has to look.
    Error,
}

/// `trace`: a line for the gateway's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Who says it.
    pub source: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What.
    pub message: Value,
    /// Names and values beside it.
    pub metadata: Vec<(&'static str, Value)>,
}

impl Statement for Trace {
    fn element(self) -> Element {
        let severity = match self.severity {
            Severity::Verbose => "verbose",
            Severity::Information => "information",
            Severity::Error => "error",
        };
        let metadata = self.metadata.into_iter();
        let metadata =
            metadata.map(|(name, value)| Element::new("metadata").attribute("name", name).attribute("value", value));
        Element::new("trace")
            .attribute("source", self.source)
            .attribute("severity", severity)
            .child(Element::new("message").text(self.message))
            .children(metadata)
    }
}
allowed!(Trace: Inbound, Backend, Outbound, OnError);

/// `forward-request`: the call of the backend. The outermost scope alone has it, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardRequest {
    timeout_seconds: u64,
    buffer_request_body: bool,
    buffer_response: bool,
}

impl ForwardRequest {
    /// Waits so long for the answer, 1 to 240 s: longer waits are cut off on the way.
    pub fn new(timeout_seconds: u64) -> Self {
        ForwardRequest { timeout_seconds, buffer_request_body: false, buffer_response: true }
    }

    /// Keeps the body, so that it can be sent again.
    #[must_use]
    pub fn buffering_the_request(self) -> Self {
        ForwardRequest { buffer_request_body: true, ..self }
    }

    /// Passes the answer on as it comes.
    #[must_use]
    pub fn streaming_the_response(self) -> Self {
        ForwardRequest { buffer_response: false, ..self }
    }

    pub(crate) fn element(self) -> Element {
        Element::new("forward-request")
            .number("timeout", self.timeout_seconds, 1, 240)
            .flag("follow-redirects", false)
            .flag("buffer-request-body", self.buffer_request_body)
            .flag("buffer-response", self.buffer_response)
            .flag("fail-on-error-status-code", false)
    }
}

/// `retry`: the call of the backend again, while the condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Whether to call again.
    pub condition: Expression,
    /// How often, 1 to 50.
    pub count: u64,
    /// How long to wait before, in seconds, 1 to 60.
    pub interval_seconds: u64,
    /// Whether the first repetition comes at once.
    pub first_fast_retry: bool,
}

impl Retry {
    pub(crate) fn element(self, forward: ForwardRequest) -> Element {
        let unbuffered = (!forward.buffer_request_body)
            .then_some(Fault::Conflict("a request whose body is not buffered cannot be sent again"));
        Element::new("retry")
            .attribute("condition", self.condition)
            .number("count", self.count, 1, 50)
            .number("interval", self.interval_seconds, 1, 60)
            .flag("first-fast-retry", self.first_fast_retry)
            .fault(unbuffered)
            .child(forward.element())
    }
}

//! Whole documents: a gateway's own policy, a narrower one, a shared fragment.

use crate::element::{Element, Fault};
use crate::section::{Backend, Inbound, OnError, Outbound, Section, SectionKind, Steps};
use crate::statement::{ForwardRequest, Retry};
use crate::value::{NamedValue, Value, ValueError};

/// How API Management is to read the documents: as XML, whose escapes are undone before expressions are compiled.
pub const FORMAT: &str = "xml";

/// The price tier of the gateway: what a policy may use and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Pay per call: documents of at most 16 KiB, nothing that counts by key.
    Consumption,
    /// A dedicated gateway: documents of at most 256 KiB.
    StandardV2,
}

impl Tier {
    /// Both.
    pub const ALL: [Tier; 2] = [Tier::Consumption, Tier::StandardV2];

    /// The longest document, in bytes.
    pub fn max_bytes(self) -> usize {
        match self {
            Tier::Consumption => 16 * 1024,
            Tier::StandardV2 => 256 * 1024,
        }
    }

    /// The name in a resource's `sku`.
    pub fn sku(self) -> &'static str {
        match self {
            Tier::Consumption => "Consumption",
            Tier::StandardV2 => "StandardV2",
        }
    }

    fn has(self, policy: &str) -> bool {
        match self {
            Tier::Consumption => !["rate-limit-by-key", "quota-by-key"].contains(&policy),
            Tier::StandardV2 => true,
        }
    }
}

/// Why a document cannot be deployed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A text, a named value or an expression.
    #[error("{place}: {source}")]
    Value {
        /// Where it stands.
        place: String,
        /// What is wrong.
        source: ValueError,
    },
    /// A statement's setting.
    #[error("{place}: {source}")]
    Setting {
        /// Where it stands.
        place: String,
        /// What is wrong.
        source: Fault,
    },
    /// A statement that the tier does not have.
    #[error("{place}: the tier {} does not have it", tier.sku())]
    Tier {
        /// Where it stands.
        place: String,
        /// The tier.
        tier: Tier,
    },
    /// A document that is too long.
    #[error("the document has {bytes} bytes, the tier {} takes {} at most", tier.sku(), tier.max_bytes())]
    Size {
        /// How long it is.
        bytes: usize,
        /// The tier.
        tier: Tier,
    },
    /// A fragment within a fragment.
    #[error("{place}: a fragment cannot include another")]
    Nested {
        /// Where it stands.
        place: String,
    },
    /// A second statement of a kind of which API Management takes one.
    #[error("{place}: it may stand once in a document")]
    Twice {
        /// Where the second one stands.
        place: String,
    },
    /// A fragment's name.
    #[error("the fragment {0:?} may consist of letters, digits and '-'")]
    FragmentName(String),
}

/// The policy of an API, an operation or a product: `<base/>` stands in each of its sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    inbound: Section<Inbound>,
    backend: Section<Backend>,
    outbound: Section<Outbound>,
    on_error: Section<OnError>,
}

impl Policy {
    /// What the wider scope does and nothing else.
    pub fn new() -> Self {
        Policy { inbound: Section::new(), backend: Section::new(), outbound: Section::new(), on_error: Section::new() }
    }

    /// Adds to the inbound section.
    #[must_use]
    pub fn inbound(self, add: impl FnOnce(Section<Inbound>) -> Section<Inbound>) -> Self {
        Policy { inbound: add(self.inbound), ..self }
    }

    /// Adds to the backend section. The outermost scope alone forwards.
    #[must_use]
    pub fn backend(self, add: impl FnOnce(Section<Backend>) -> Section<Backend>) -> Self {
        Policy { backend: add(self.backend), ..self }
    }

    /// Adds to the outbound section.
    #[must_use]
    pub fn outbound(self, add: impl FnOnce(Section<Outbound>) -> Section<Outbound>) -> Self {
        Policy { outbound: add(self.outbound), ..self }
    }

    /// Adds to what happens to errors.
    #[must_use]
    pub fn on_error(self, add: impl FnOnce(Section<OnError>) -> Section<OnError>) -> Self {
        Policy { on_error: add(self.on_error), ..self }
    }

    /// The document.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn print(&self, tier: Tier) -> Result<String, PolicyError> {
        print(&self.element(), tier, false)
    }

    /// The named values that it needs.
    pub fn named_values(&self) -> Vec<NamedValue> {
        named_values(&self.element())
    }

    fn element(&self) -> Element {
        let sections =
            [self.inbound.element(), self.backend.element(), self.outbound.element(), self.on_error.element()];
        Element::new("policies").children(sections)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy::new()
    }
}

/// The policy of the gateway itself, the outermost scope: there is no `<base/>`, and it alone forwards to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalPolicy {
    inbound: Steps<Inbound>,
    backend: Element,
    outbound: Steps<Outbound>,
    on_error: Steps<OnError>,
}

impl GlobalPolicy {
    /// Forwards, and does nothing else.
    pub fn new(forward: ForwardRequest) -> Self {
        GlobalPolicy {
            inbound: Steps::new(),
            backend: forward.element(),
            outbound: Steps::new(),
            on_error: Steps::new(),
        }
    }

    /// Forwards again while the condition holds: for backends whose every call may be repeated.
    pub fn retrying(retry: Retry, forward: ForwardRequest) -> Self {
        GlobalPolicy { backend: retry.element(forward), ..GlobalPolicy::new(forward) }
    }

    /// Adds to the inbound section.
    #[must_use]
    pub fn inbound(self, add: impl FnOnce(Steps<Inbound>) -> Steps<Inbound>) -> Self {
        GlobalPolicy { inbound: add(self.inbound), ..self }
    }

    /// Adds to the outbound section.
    #[must_use]
    pub fn outbound(self, add: impl FnOnce(Steps<Outbound>) -> Steps<Outbound>) -> Self {
        GlobalPolicy { outbound: add(self.outbound), ..self }
    }

    /// Adds to what happens to errors.
    #[must_use]
    pub fn on_error(self, add: impl FnOnce(Steps<OnError>) -> Steps<OnError>) -> Self {
        GlobalPolicy { on_error: add(self.on_error), ..self }
    }

    /// The document.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn print(&self, tier: Tier) -> Result<String, PolicyError> {
        print(&self.element(), tier, false)
    }

    /// The named values that it needs.
    pub fn named_values(&self) -> Vec<NamedValue> {
        named_values(&self.element())
    }

    fn element(&self) -> Element {
        let section = |name, elements: &[Element]| Element::new(name).children(elements.iter().cloned());
        Element::new("policies").children([
            section(Inbound::NAME, &self.inbound.elements),
            section(Backend::NAME, std::slice::from_ref(&self.backend)),
            section(Outbound::NAME, &self.outbound.elements),
            section(OnError::NAME, &self.on_error.elements),
        ])
    }
}

/// Statements that several policies share, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment<S> {
    /// The name: letters, digits and `-`.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it does.
    pub steps: Steps<S>,
}

impl<S: SectionKind> Fragment<S> {
    /// The document.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn print(&self, tier: Tier) -> Result<String, PolicyError> {
        let good = !self.name.is_empty() && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !good {
            return Err(PolicyError::FragmentName(self.name.to_owned()));
        }
        print(&self.element(), tier, true)
    }

    /// The named values that it needs.
    pub fn named_values(&self) -> Vec<NamedValue> {
        named_values(&self.element())
    }

    fn element(&self) -> Element {
        Element::new("fragment").children(self.steps.elements.iter().cloned())
    }
}

fn print(document: &Element, tier: Tier, fragment: bool) -> Result<String, PolicyError> {
    let mut cors = false;
    document.check("", &mut |element, place| {
        let place = || place.to_owned();
        if !tier.has(element.name) {
            return Err(PolicyError::Tier { place: place(), tier });
        }
        if fragment && element.name == "include-fragment" {
            return Err(PolicyError::Nested { place: place() });
        }
        if element.name == "cors" && std::mem::replace(&mut cors, true) {
            return Err(PolicyError::Twice { place: place() });
        }
        Ok(())
    })?;
    let text = document.print();
    let bytes = text.len();
    if bytes > tier.max_bytes() { Err(PolicyError::Size { bytes, tier }) } else { Ok(text) }
}

fn named_values(document: &Element) -> Vec<NamedValue> {
    let mut values = Vec::new();
    document.values(&mut values);
    let mut names: Vec<_> = values
        .into_iter()
        .filter_map(|value| match value {
            Value::Named(name) => Some(*name),
            Value::Expression(_) | Value::Text(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

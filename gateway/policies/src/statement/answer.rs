//! Headers, bodies, and answers that the gateway gives itself.

use super::allowed;
use crate::element::Element;
use crate::section::sealed::Statement;
use crate::value::Value;

/// `set-header`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetHeader {
    name: String,
    action: &'static str,
    value: Option<Value>,
}

impl SetHeader {
    /// Sets the header, whatever it was.
    pub fn set(name: impl Into<String>, value: impl Into<Value>) -> Self {
        SetHeader { name: name.into(), action: "override", value: Some(value.into()) }
    }

    /// Sets the header where there is none.
    pub fn default(name: impl Into<String>, value: impl Into<Value>) -> Self {
        SetHeader { name: name.into(), action: "skip", value: Some(value.into()) }
    }

    /// Adds one more value.
    pub fn append(name: impl Into<String>, value: impl Into<Value>) -> Self {
        SetHeader { name: name.into(), action: "append", value: Some(value.into()) }
    }

    /// Takes the header away.
    pub fn delete(name: impl Into<String>) -> Self {
        SetHeader { name: name.into(), action: "delete", value: None }
    }
}

impl Statement for SetHeader {
    fn element(self) -> Element {
        let element = Element::new("set-header").attribute("name", self.name).attribute("exists-action", self.action);
        match self.value {
            Some(value) => element.child(Element::new("value").text(value)),
            None => element,
        }
    }
}
allowed!(SetHeader: Inbound, Backend, Outbound, OnError);

/// `set-body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetBody(
    /// The new body.
    pub Value,
);

impl Statement for SetBody {
    fn element(self) -> Element {
        Element::new("set-body").text(self.0)
    }
}
allowed!(SetBody: Inbound, Backend, Outbound, OnError);

/// `set-status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStatus {
    /// The code, 100 to 599.
    pub code: u16,
    /// The reason phrase.
    pub reason: String,
}

impl Statement for SetStatus {
    fn element(self) -> Element {
        Element::new("set-status").number("code", self.code.into(), 100, 599).attribute("reason", self.reason)
    }
}
allowed!(SetStatus: Inbound, Backend, Outbound, OnError);

/// `return-response`: ends the request. What happens to errors is not carried out for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnResponse {
    status: SetStatus,
    headers: Vec<SetHeader>,
    body: Option<SetBody>,
}

impl ReturnResponse {
    /// An answer without headers and body.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        ReturnResponse { status: SetStatus { code, reason: reason.into() }, headers: Vec::new(), body: None }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.push(SetHeader::set(name, value));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(SetBody(body.into()));
        self
    }
}

impl Statement for ReturnResponse {
    fn element(self) -> Element {
        Element::new("return-response")
            .child(self.status.element())
            .children(self.headers.into_iter().map(Statement::element))
            .children(self.body.map(Statement::element))
    }
}
allowed!(ReturnResponse: Inbound, Backend, Outbound, OnError);

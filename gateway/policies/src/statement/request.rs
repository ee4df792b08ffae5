//! What becomes of the request.

use super::allowed;
use crate::element::Element;
use crate::section::sealed::Statement;
use crate::value::Value;

/// `set-variable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetVariable {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: Value,
}

impl Statement for SetVariable {
    fn element(self) -> Element {
        Element::new("set-variable").attribute("name", self.name).attribute("value", self.value)
    }
}
allowed!(SetVariable: Inbound, Backend, Outbound, OnError);

/// `set-backend-service`: where the request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetBackendService {
    /// To a backend that the gateway knows by this name.
    Backend(String),
    /// To this address.
    Url(Value),
}

impl Statement for SetBackendService {
    fn element(self) -> Element {
        let element = Element::new("set-backend-service");
        match self {
            SetBackendService::Backend(id) => element.attribute("backend-id", id),
            SetBackendService::Url(url) => element.attribute("base-url", url),
        }
    }
}
allowed!(SetBackendService: Inbound, Backend);

/// `rewrite-uri`: the path at the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteUri {
    /// The path.
    pub template: Value,
    /// Whether the rest of the query goes along.
    pub copy_unmatched_params: bool,
}

impl Statement for RewriteUri {
    fn element(self) -> Element {
        Element::new("rewrite-uri")
            .attribute("template", self.template)
            .flag("copy-unmatched-params", self.copy_unmatched_params)
    }
}
allowed!(RewriteUri: Inbound);

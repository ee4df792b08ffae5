//! The policies of API Management, as text.

use skein_model::{Graph, Service};

/// Whose policy it is.
#[derive(Debug, Clone, Copy)]
pub enum PolicyOf<'a> {
    /// Of every API.
    Gateway,
    /// Of a service's API: its control flow.
    Service(&'a Service),
}

/// The XML of a policy.
pub fn policy_xml(_graph: &Graph, of: PolicyOf<'_>) -> String {
    let inbound = match of {
        PolicyOf::Gateway => String::new(),
        PolicyOf::Service(service) => {
            format!("<base /><set-backend-service backend-id=\"{}\" />", service.query.binary)
        }
    };
    let base = match of {
        PolicyOf::Gateway => "",
        PolicyOf::Service(_) => "<base />",
    };
    let backend = match of {
        PolicyOf::Gateway => "<forward-request />",
        PolicyOf::Service(_) => "<base />",
    };
    format!(
        "<policies><inbound>{inbound}</inbound><backend>{backend}</backend><outbound>{base}</outbound>\
         <on-error>{base}</on-error></policies>"
    )
}

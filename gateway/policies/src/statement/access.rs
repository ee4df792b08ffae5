//! Who asks, and as whom the gateway asks.

use super::allowed;
use crate::element::{Element, Fault};
use crate::expression::Expression;
use crate::section::sealed::Statement;
use crate::value::Value;

/// How many of a claim's values have to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Each of them.
    All,
    /// One of them.
    Any,
}

/// A claim that a token must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// How many of the values.
    pub matching: Match,
    /// The values; none means that the claim must be there.
    pub values: Vec<Value>,
}

impl Claim {
    fn element(self) -> Element {
        let matching = match self.matching {
            Match::All => "all",
            Match::Any => "any",
        };
        let values = self.values.into_iter().map(|value| Element::new("value").text(value));
        let claim = Element::new("claim").attribute("name", self.name).attribute("match", matching);
        // An empty list would still be printed as one.
        let values: Vec<_> = values.collect();
        if values.is_empty() { claim } else { claim.children(values) }
    }
}

fn claims(element: Element, claims: Vec<Claim>) -> Element {
    if claims.is_empty() {
        return element;
    }
    element.child(Element::new("required-claims").children(claims.into_iter().map(Claim::element)))
}

/// Where a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Header(Value),
    Query(Value),
    Value(Expression),
}

impl Place {
    fn attribute(self, element: Element) -> Element {
        match self {
            Place::Header(name) => element.attribute("header-name", name),
            Place::Query(name) => element.attribute("query-parameter-name", name),
            Place::Value(value) => element.attribute("token-value", value),
        }
    }
}

/// `validate-jwt`: a signed token of an issuer that publishes its keys. Always signed, always with an end, always a
/// bearer token where it comes in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateJwt {
    place: Place,
    openid_configs: Vec<Value>,
    audiences: Vec<Value>,
    issuers: Vec<Value>,
    claims: Vec<Claim>,
    clock_skew_seconds: u64,
    message: Value,
    output: Option<&'static str>,
}

impl ValidateJwt {
    /// The token of the header `Authorization`, from the issuer whose OpenID configuration this is.
    pub fn bearer(openid_config: impl Into<Value>) -> Self {
        ValidateJwt::at(Place::Header("Authorization".into()), openid_config)
    }

    /// The token of a parameter of the query.
    pub fn query(name: impl Into<Value>, openid_config: impl Into<Value>) -> Self {
        ValidateJwt::at(Place::Query(name.into()), openid_config)
    }

    /// The token that an expression gives.
    pub fn value(token: Expression, openid_config: impl Into<Value>) -> Self {
        ValidateJwt::at(Place::Value(token), openid_config)
    }

    fn at(place: Place, openid_config: impl Into<Value>) -> Self {
        ValidateJwt {
            place,
            openid_configs: vec![openid_config.into()],
            audiences: Vec::new(),
            issuers: Vec::new(),
            claims: Vec::new(),
            clock_skew_seconds: 0,
            message: "a valid bearer token is required".into(),
            output: None,
        }
    }

    /// Another issuer's OpenID configuration.
    #[must_use]
    pub fn openid_config(mut self, url: impl Into<Value>) -> Self {
        self.openid_configs.push(url.into());
        self
    }

    /// Whom the token must be meant for, one of these. Without any the document is refused.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<Value>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Who must have issued it, one of these.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<Value>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// What it must claim.
    #[must_use]
    pub fn claim(mut self, claim: Claim) -> Self {
        self.claims.push(claim);
        self
    }

    /// How far clocks may differ, in seconds, at most 300 [0].
    #[must_use]
    pub fn clock_skew(mut self, seconds: u64) -> Self {
        self.clock_skew_seconds = seconds;
        self
    }

    /// The variable in which later statements find the token.
    #[must_use]
    pub fn output(mut self, variable: &'static str) -> Self {
        self.output = Some(variable);
        self
    }
}

impl Statement for ValidateJwt {
    fn element(self) -> Element {
        let header = matches!(self.place, Place::Header(_));
        let unbound = self.audiences.is_empty().then_some(Fault::Empty("the list of audiences"));
        let element = self
            .place
            .attribute(Element::new("validate-jwt"))
            .attribute("failed-validation-httpcode", "401")
            .attribute("failed-validation-error-message", self.message)
            .flag("require-expiration-time", true)
            .flag("require-signed-tokens", true)
            .optional("require-scheme", header.then_some("Bearer"))
            .number("clock-skew", self.clock_skew_seconds, 0, 300)
            .optional("output-token-variable-name", self.output)
            .fault(unbound)
            .children(self.openid_configs.into_iter().map(|url| Element::new("openid-config").attribute("url", url)))
            .list("audiences", "audience", self.audiences)
            .list("issuers", "issuer", self.issuers);
        claims(element, self.claims)
    }
}
allowed!(ValidateJwt: Inbound);

/// `validate-azure-ad-token`: a token of one tenant of Entra ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateAzureAdToken {
    tenant: Value,
    audiences: Vec<Value>,
    clients: Vec<Value>,
    claims: Vec<Claim>,
    output: Option<&'static str>,
}

impl ValidateAzureAdToken {
    /// The token of the header `Authorization`, from this tenant.
    pub fn tenant(tenant: impl Into<Value>) -> Self {
        ValidateAzureAdToken {
            tenant: tenant.into(),
            audiences: Vec::new(),
            clients: Vec::new(),
            claims: Vec::new(),
            output: None,
        }
    }

    /// Whom the token must be meant for, one of these. Without any the document is refused.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<Value>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The application that asked for it, one of these.
    #[must_use]
    pub fn client(mut self, client: impl Into<Value>) -> Self {
        self.clients.push(client.into());
        self
    }

    /// What it must claim.
    #[must_use]
    pub fn claim(mut self, claim: Claim) -> Self {
        self.claims.push(claim);
        self
    }

    /// The variable in which later statements find the token.
    #[must_use]
    pub fn output(mut self, variable: &'static str) -> Self {
        self.output = Some(variable);
        self
    }
}

impl Statement for ValidateAzureAdToken {
    fn element(self) -> Element {
        let unbound = self.audiences.is_empty().then_some(Fault::Empty("the list of audiences"));
        let element = Element::new("validate-azure-ad-token")
            .attribute("tenant-id", self.tenant)
            .attribute("header-name", "Authorization")
            .attribute("failed-validation-httpcode", "401")
            .attribute("failed-validation-error-message", "a valid bearer token is required")
            .optional("output-token-variable-name", self.output)
            .fault(unbound)
            .list("client-application-ids", "application-id", self.clients)
            .list("audiences", "audience", self.audiences);
        claims(element, self.claims)
    }
}
allowed!(ValidateAzureAdToken: Inbound);

/// `authentication-managed-identity`: the gateway's own token goes to the backend, in the header `Authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationManagedIdentity {
    resource: Value,
    client_id: Option<Value>,
}

impl AuthenticationManagedIdentity {
    /// A token for this resource, by the gateway's system-assigned identity.
    pub fn for_resource(resource: impl Into<Value>) -> Self {
        AuthenticationManagedIdentity { resource: resource.into(), client_id: None }
    }

    /// By the user-assigned identity with this client id.
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<Value>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }
}

impl Statement for AuthenticationManagedIdentity {
    fn element(self) -> Element {
        Element::new("authentication-managed-identity")
            .attribute("resource", self.resource)
            .optional("client-id", self.client_id)
    }
}
allowed!(AuthenticationManagedIdentity: Inbound);

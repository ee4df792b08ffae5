//! The statements: what each takes, and where it may stand.

mod access;
mod answer;
mod flow;
mod limit;
mod request;

pub use access::{AuthenticationManagedIdentity, Claim, Match, ValidateAzureAdToken, ValidateJwt};
pub use answer::{ReturnResponse, SetBody, SetHeader, SetStatus};
pub use flow::{Choose, ForwardRequest, IncludeFragment, Retry, Severity, Trace, When};
pub use limit::{
    Action, Cors, QuotaByKey, QuotaPerSubscription, RateLimitByKey, RateLimitPerSubscription, RuleAction,
    ValidateContent, ValidateGraphqlRequest,
};
pub use request::{RewriteUri, SetBackendService, SetVariable};

macro_rules! allowed {
    ($statement:ty: $($section:ident),+) => {
        $(impl $crate::section::AllowedIn<$crate::section::$section> for $statement {})+
    };
}
use allowed;

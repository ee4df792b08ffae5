//! Who may do what: role assignments among the resources.

use serde_json::Value;

use crate::identity::OPERATOR_PRINCIPAL_ID;

const OWNER: &str = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
const CONTRIBUTOR: &str = "b24988ac-6180-42a0-ab88-20f7382dd24c";
const READER: &str = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
const ACCESS_ADMINISTRATORS: [&str; 2] =
    ["18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "f58310d9-a9f6-439a-9e8d-f62e7b41a168"];

/// A role that a principal has at a scope and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The principal's object id.
    pub principal: String,
    /// The role's id, without its path.
    pub role: String,
    /// The scope's id, in lower case.
    pub scope: String,
}

impl Grant {
    /// Whether it counts for a resource.
    pub fn covers(&self, id: &str) -> bool {
        let id = id.to_lowercase();
        id.strip_prefix(&self.scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The grants among resources.
pub fn grants<'v>(resources: impl IntoIterator<Item = &'v Value>) -> Vec<Grant> {
    let assignments = resources.into_iter().filter(|body| super::is(body, "Microsoft.Authorization/roleAssignments"));
    let grants = assignments.filter_map(|body| {
        let text = |name: &str| body["properties"][name].as_str().map(str::to_lowercase);
        let role = text("roleDefinitionId")?;
        Some(Grant {
            principal: text("principalId")?,
            role: role.rsplit('/').next()?.to_owned(),
            scope: text("scope")?,
        })
    });
    grants.collect()
}

/// What a request to the control plane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    Write,
    /// Role assignments.
    Assign,
}

/// Whether a principal may do something with a resource. The operator owns everything local.
pub(super) fn may(grants: &[Grant], principal: &str, action: Action, id: &str) -> bool {
    if principal.eq_ignore_ascii_case(OPERATOR_PRINCIPAL_ID) {
        return true;
    }
    grants.iter().filter(|grant| grant.principal.eq_ignore_ascii_case(principal) && grant.covers(id)).any(|grant| {
        match action {
            _ if grant.role == OWNER => true,
            Action::Read => grant.role == CONTRIBUTOR || grant.role == READER,
            Action::Write => grant.role == CONTRIBUTOR,
            Action::Assign => ACCESS_ADMINISTRATORS.contains(&grant.role.as_str()),
        }
    })
}

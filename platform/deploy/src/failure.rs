//! Why it did not work: the reason, the place and the next step.

use std::fmt;

use serde_json::Value;

use crate::pages;

/// Why it did not work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Flags, environment or rendered files.
    Input { why: String, next: String },
    /// The control plane refused a request or a deployment failed.
    Refused { what: String, status: u16, error: Value },
    /// No token.
    NoToken { why: String },
    /// No answer.
    Unreachable { endpoint: String, why: String },
    /// An app that was deployed does not become ready.
    NotReady { site: String, why: String },
    /// Somebody pressed Ctrl-C.
    Interrupted { what: String },
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Input { .. } => 2,
            Failure::Refused { status: 401 | 403, .. } | Failure::NoToken { .. } => 4,
            Failure::Refused { status: 429 | 503, .. } | Failure::Unreachable { .. } => 5,
            Failure::Refused { error, .. } if root(error).0 == "InvalidTemplate" => 2,
            Failure::Refused { .. } | Failure::NotReady { .. } => 1,
            Failure::Interrupted { .. } => 130,
        }
    }
}

/// An error's innermost cause: its code, message, and what and where it is about. A message may itself be JSON.
pub(crate) fn root(error: &Value) -> (String, String, Option<String>, Option<String>) {
    let mut current = error.get("error").filter(|inner| inner.is_object()).unwrap_or(error).clone();
    let mut target = None;
    loop {
        if let Some(own) = current["target"].as_str() {
            target = Some(own.to_owned());
        }
        if let Some(detail) = current["details"].as_array().and_then(|details| details.first()) {
            current = detail.clone();
            continue;
        }
        let parsed: Option<Value> = current["message"].as_str().and_then(|text| serde_json::from_str(text).ok());
        match parsed.map(|parsed| parsed.get("error").cloned().unwrap_or(parsed)) {
            Some(inner) if inner["code"].is_string() || inner["message"].is_string() => current = inner,
            _ => break,
        }
    }
    let text = |key: &str| current[key].as_str().unwrap_or_default().to_owned();
    let place = current.pointer("/additionalInfo/0/info/path").and_then(Value::as_str).map(str::to_owned);
    (text("code"), text("message"), target, place)
}

/// What to do about a code.
fn next(code: &str, status: u16) -> &'static str {
    match (code, status) {
        ("Authorization_RequestDenied", _) => "let an administrator give you the Entra role Application Developer",
        ("HostNameNotOnVerifiedDomain", _) => "give appAudience the form api://TENANT/NAME, or a verified domain",
        (pages::DENIED, _) => {
            "deploy as the service principal that deployerId of the environment names: it is given the right to write the pages"
        }
        ("AuthorizationFailed", _) | (_, 403) => {
            "let an owner give your identity Contributor at that scope, and try again"
        }
        ("AuthenticationFailed" | "ExpiredAuthenticationToken" | "InvalidAuthenticationToken", _) | (_, 401) => {
            "sign in again (`az login`), and try again"
        }
        ("InvalidTemplate", _) => "mend the descriptor or the renderer, render again, and plan again",
        ("ConflictError" | "VaultAlreadyExists", _) => {
            "purge the deleted resource that holds the name; a vault cannot be purged for 90 days: recover it, with \
             vaultMode = \"recover\" under [layers.platform] of the environment"
        }
        ("DeploymentActive", _) => "wait for the deployment that is running, or cancel it",
        ("ResourceGroupNotFound" | "ParentResourceNotFound", _) => "deploy the layer that makes it first",
        ("DeploymentQuotaExceeded", _) => "delete old deployments of the scope",
        (_, 429) => "wait some minutes; the subscription has made too many requests",
        (_, 500..) => "try again; if it stays, look at the service's health",
        _ => "mend what the message names, and deploy again: what succeeded stays and is not done twice",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input { why, next } => write!(f, "error: {why}\n next: {next}"),
            Failure::NoToken { why } => {
                write!(
                    f,
                    "error: no token for the control plane: {why}\n next: sign in (`az login`), or start the local system"
                )
            }
            Failure::Unreachable { endpoint, why } => {
                write!(
                    f,
                    "error: {endpoint} cannot be reached: {why}\n next: check the endpoint and the network, and try again"
                )
            }
            Failure::NotReady { site, why } => {
                write!(f, "error: {site} is deployed and not ready: {why}\n next: look at its log, and deploy again")
            }
            Failure::Interrupted { what } => write!(f, "interrupted: {what}"),
            Failure::Refused { what, status, error } => {
                let (code, message, target, place) = root(error);
                writeln!(f, "error: {what}: {message}")?;
                let mut why = format!(" code: {code}");
                if *status > 0 {
                    why.push_str(&format!(" (HTTP {status})"));
                }
                writeln!(f, "{why}")?;
                if let Some(target) = target {
                    writeln!(f, "   of: {target}")?;
                }
                if let Some(place) = place {
                    writeln!(f, "   at: {place}")?;
                }
                write!(f, " next: {}", next(&code, *status))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn nested_errors_are_unfolded_to_the_root() {
        let inner = json!({"error": {"code": "Inner", "message": "the queue is too long"}}).to_string();
        let error = json!({"error": {"code": "DeploymentFailed", "message": "see the details", "details": [
            {"code": "DeploymentFailed", "target": "/x/deployments/n", "message": "nested", "details": [
                {"code": "Conflict", "target": "/x/queues/q", "message": inner}]}]}});
        let failure = Failure::Refused { what: "orders".into(), status: 0, error };
        expect![[r#"
            error: orders: the queue is too long
             code: Inner
               of: /x/queues/q
             next: mend what the message names, and deploy again: what succeeded stays and is not done twice"#]]
        .assert_eq(&failure.to_string());
        assert_eq!(failure.code(), 1);
    }

    #[test]
    fn each_reason_has_its_exit_code() {
        let refused = |status, code: &str| {
            Failure::Refused { what: String::new(), status, error: json!({"error": {"code": code, "message": "m"}}) }
                .code()
        };
        assert_eq!(
            [
                refused(401, "x"),
                refused(403, "x"),
                refused(429, "x"),
                refused(400, "InvalidTemplate"),
                refused(409, "x")
            ],
            [4, 4, 5, 2, 1]
        );
    }
}

//! What the host of a function app does in the name of the app's identities: receive, and keep its own state.
//!
//! A connection says whose identity it uses by `{connection}__credential` and `{connection}__clientId`, as on Azure.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::access::{Action, Authorizer, Place};
use crate::identity::ManagedIdentity;

/// The connection of the host's own storage.
const STORAGE: &str = "AzureWebJobsStorage";

/// The container that the host keeps its locks in.
const HOSTS: &str = "azure-webjobs-hosts";

/// As whom a host acts, and whether it may.
pub struct HostRights {
    authorizer: Option<Authorizer>,
    identities: Vec<ManagedIdentity>,
    settings: BTreeMap<String, String>,
}

impl HostRights {
    /// By the identities and settings of a site; without an authorizer everything is allowed.
    pub fn new(
        authorizer: Option<Authorizer>,
        identities: &[ManagedIdentity],
        settings: &BTreeMap<String, String>,
    ) -> Self {
        HostRights { authorizer, identities: identities.to_vec(), settings: settings.clone() }
    }

    fn setting(&self, connection: &str, name: &str) -> Result<&str, String> {
        let name = format!("{connection}__{name}");
        let value = self.settings.get(&name).map(String::as_str).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("the app setting {name} is missing"))
    }

    /// The principal that a connection uses.
    fn principal(&self, connection: &str) -> Result<&str, String> {
        let credential = self.setting(connection, "credential")?;
        if !credential.eq_ignore_ascii_case("managedidentity") {
            return Err(format!("{connection}__credential is {credential:?}, and only managedidentity is hosted"));
        }
        let client_id = self.setting(connection, "clientId")?;
        let identity = self.identities.iter().find(|identity| identity.client_id.eq_ignore_ascii_case(client_id));
        let identity = identity.ok_or_else(|| format!("{connection}__clientId is that of no identity of this app"))?;
        Ok(&identity.principal_id)
    }

    /// Whether a trigger may receive from its queue, `namespace/queue`.
    ///
    /// # Errors
    /// Why not.
    pub fn receive(&self, connection: &str, queue: &str) -> Result<(), String> {
        let Some(authorizer) = &self.authorizer else { return Ok(()) };
        let allowed = authorizer.check(self.principal(connection)?, Action::QueueReceive, &Place::queue(queue));
        allowed.map_err(|refused| format!("403: {refused}"))
    }

    /// Whether the host may run at all: without its storage it has neither locks nor the package.
    ///
    /// # Errors
    /// Why not.
    pub fn run(&self) -> Result<(), String> {
        let Some(authorizer) = &self.authorizer else { return Ok(()) };
        match self.settings.get("FUNCTIONS_EXTENSION_VERSION").map(String::as_str) {
            Some("~4") => {}
            other => return Err(format!("FUNCTIONS_EXTENSION_VERSION must be ~4, it is {other:?}")),
        }
        let account = self.setting(STORAGE, "accountName")?;
        let principal = self.principal(STORAGE)?;
        let allowed = authorizer.check(principal, Action::BlobWrite, &Place::container(account, HOSTS));
        allowed.map_err(|refused| format!("403: {refused}"))
    }

    /// Resolves when grants have changed; never where there are none.
    pub(super) async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
        let Some(changes) = changes else { return std::future::pending().await };
        if changes.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Tells of changes from now on.
    pub(super) fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.authorizer.as_ref().map(Authorizer::changes)
    }
}

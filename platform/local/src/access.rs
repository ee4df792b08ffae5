//! Who may do what with data: the one decision that every plane asks for.
//!
//! A caller is known by the object id of its token. What it may do comes from the role assignments among the deployed
//! resources, at the scope of the resource or above it, and from nothing else; to have none is a 403 in each plane's own
//! words. Grants are read anew with every change, so that a role that was taken away is gone with the next request.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;

use crate::control::{Grant, grants};
use crate::identity::{Caller, Issuer, OPERATOR_PRINCIPAL_ID, Unauthorized, bearer};

/// What is done with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads rows.
    RowRead,
    /// Writes or deletes rows.
    RowWrite,
    /// Lists the tables of an account.
    TableList,
    /// Makes a table.
    TableCreate,
    /// Reads blobs, and lists them.
    BlobRead,
    /// Writes or appends to blobs.
    BlobWrite,
    /// Deletes blobs.
    BlobDelete,
    /// Makes a container.
    ContainerCreate,
    /// Sends messages.
    QueueSend,
    /// Receives and settles messages.
    QueueReceive,
    /// Publishes events.
    TopicPublish,
    /// Wraps with a key.
    KeyWrap,
    /// Unwraps with a key.
    KeyUnwrap,
    /// Reads the value of a secret.
    SecretRead,
    /// Sends telemetry.
    TelemetryWrite,
    /// Makes tokens of clients of a hub.
    ClientToken,
    /// Sends to all clients of a hub.
    HubSend,
    /// Looks who is in a group.
    GroupRead,
    /// Sends to a group.
    GroupSend,
    /// Puts connections into groups.
    GroupWrite,
    /// Looks whether a connection is there.
    ConnectionRead,
    /// Sends to a connection.
    ConnectionSend,
    /// Ends connections.
    ConnectionWrite,
    /// Looks whether a user is there.
    UserRead,
    /// Sends to a user.
    UserSend,
    /// Puts users into groups.
    UserWrite,
}

impl Action {
    /// What Azure calls it.
    pub fn name(self) -> &'static str {
        match self {
            Action::RowRead => "Microsoft.Storage/storageAccounts/tableServices/tables/entities/read",
            Action::RowWrite => "Microsoft.Storage/storageAccounts/tableServices/tables/entities/write",
            Action::TableList => "Microsoft.Storage/storageAccounts/tableServices/tables/read",
            Action::TableCreate => "Microsoft.Storage/storageAccounts/tableServices/tables/write",
            Action::BlobRead => "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
            Action::BlobWrite => "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
            Action::BlobDelete => "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
            Action::ContainerCreate => "Microsoft.Storage/storageAccounts/blobServices/containers/write",
            Action::QueueSend => "Microsoft.ServiceBus/namespaces/messages/send/action",
            Action::QueueReceive => "Microsoft.ServiceBus/namespaces/messages/receive/action",
            Action::TopicPublish => "Microsoft.EventGrid/events/send/action",
            Action::KeyWrap => "Microsoft.KeyVault/vaults/keys/wrap/action",
            Action::KeyUnwrap => "Microsoft.KeyVault/vaults/keys/unwrap/action",
            Action::SecretRead => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Action::TelemetryWrite => "Microsoft.Insights/Telemetry/Write",
            Action::ClientToken => "Microsoft.SignalRService/SignalR/auth/clientToken/action",
            Action::HubSend => "Microsoft.SignalRService/SignalR/hub/send/action",
            Action::GroupRead => "Microsoft.SignalRService/SignalR/group/read",
            Action::GroupSend => "Microsoft.SignalRService/SignalR/group/send/action",
            Action::GroupWrite => "Microsoft.SignalRService/SignalR/group/write",
            Action::ConnectionRead => "Microsoft.SignalRService/SignalR/clientConnection/read",
            Action::ConnectionSend => "Microsoft.SignalRService/SignalR/clientConnection/send/action",
            Action::ConnectionWrite => "Microsoft.SignalRService/SignalR/clientConnection/write",
            Action::UserRead => "Microsoft.SignalRService/SignalR/user/read",
            Action::UserSend => "Microsoft.SignalRService/SignalR/user/send/action",
            Action::UserWrite => "Microsoft.SignalRService/SignalR/user/write",
        }
    }
}

/// What a role allows to do with data. Owner, Contributor and Reader manage resources; data they do not reach.
fn allows(role: &str, action: Action) -> bool {
    use Action::*;
    let actions: &[Action] = match role {
        // Storage Table Data Contributor, Storage Table Data Reader
        "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3" => &[RowRead, RowWrite, TableList, TableCreate],
        "76199698-9eea-4c19-bc75-cec21354c6b6" => &[RowRead, TableList],
        // Storage Blob Data Owner, Contributor, Reader
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b" | "ba92f5b4-2d11-453d-a403-e96b0029c9fe" => {
            &[BlobRead, BlobWrite, BlobDelete, ContainerCreate]
        }
        "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1" => &[BlobRead],
        // Azure Service Bus Data Owner, Sender, Receiver
        "090c5cfd-751d-490a-894a-3ce6f1109419" => &[QueueSend, QueueReceive],
        "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39" => &[QueueSend],
        "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0" => &[QueueReceive],
        // EventGrid Data Sender, EventGrid Data Contributor
        "d5a91429-5739-47e2-a06b-3470a27159e7" | "1d8c3fe3-8864-474b-8749-01e3783e8157" => &[TopicPublish],
        // Key Vault Crypto Service Encryption User, Crypto User, Crypto Officer
        "e147488a-f6f5-4113-8e2d-b22465e65bf6"
        | "12338af0-0e69-4776-bea7-57ae8d297424"
        | "14b46e9e-c2b7-41b4-b07b-48a6ebf60603" => &[KeyWrap, KeyUnwrap],
        // Key Vault Secrets User, Secrets Officer
        "4633458b-17de-408a-b874-0445c86b69e6" | "b86a8fe4-44ce-4948-aee5-eccb2c155cd7" => &[SecretRead],
        // Key Vault Administrator
        "00482a5a-887f-4fb3-b363-3b7fe8e74483" => &[KeyWrap, KeyUnwrap, SecretRead],
        // Monitoring Metrics Publisher
        "3913510d-42f4-4e42-8a64-420c390055eb" => &[TelemetryWrite],
        // SignalR REST API Owner, Service Owner
        "fd53cd77-2268-407a-8f46-7e7863d0f521" | "7e4f1700-ea5a-4f59-8f37-079cfe29dce3" => &[
            ClientToken,
            HubSend,
            GroupRead,
            GroupSend,
            GroupWrite,
            ConnectionRead,
            ConnectionSend,
            ConnectionWrite,
            UserRead,
            UserSend,
            UserWrite,
        ],
        // SignalR REST API Reader
        "ddde6b66-c0df-4114-a159-3618637b3035" => &[GroupRead, ConnectionRead, UserRead],
        _ => &[],
    };
    actions.contains(&action)
}

/// Whether a principal may do something with the resource of that id. The operator owns everything local.
pub fn may(grants: &[Grant], principal: &str, action: Action, id: &str) -> bool {
    principal.eq_ignore_ascii_case(OPERATOR_PRINCIPAL_ID)
        || grants.iter().any(|grant| {
            allows(&grant.role, action) && grant.principal.eq_ignore_ascii_case(principal) && grant.covers(id)
        })
}

/// A resource as planes address it: by a name that is one in all of Azure, and what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    kind: &'static str,
    name: String,
    below: String,
}

impl Place {
    fn new(kind: &'static str, name: &str, below: String) -> Self {
        Place { kind, name: name.to_owned(), below }
    }

    /// All tables of an account.
    pub fn tables(account: &str) -> Self {
        Place::new("microsoft.storage/storageaccounts", account, "/tableServices/default".into())
    }

    /// A table.
    pub fn table(account: &str, table: &str) -> Self {
        Place::new("microsoft.storage/storageaccounts", account, format!("/tableServices/default/tables/{table}"))
    }

    /// A container of blobs.
    pub fn container(account: &str, container: &str) -> Self {
        let below = format!("/blobServices/default/containers/{container}");
        Place::new("microsoft.storage/storageaccounts", account, below)
    }

    /// A queue, as in `namespace/queue`, or its dead-letter queue.
    pub fn queue(queue: &str) -> Self {
        let (namespace, queue) = queue.split_once('/').unwrap_or((queue, ""));
        let queue = match queue.rsplit_once('/') {
            Some((queue, sub)) if sub.eq_ignore_ascii_case("$deadletterqueue") => queue,
            _ => queue,
        };
        // A queue's slashes are tildes in its id.
        Place::new("microsoft.servicebus/namespaces", namespace, format!("/queues/{}", queue.replace('/', "~")))
    }

    /// A topic.
    pub fn topic(topic: &str) -> Self {
        Place::new("microsoft.eventgrid/topics", topic, String::new())
    }

    /// A key of a vault.
    pub fn key(vault: &str, key: &str) -> Self {
        Place::new("microsoft.keyvault/vaults", vault, format!("/keys/{key}"))
    }

    /// A secret of a vault.
    pub fn secret(vault: &str, secret: &str) -> Self {
        Place::new("microsoft.keyvault/vaults", vault, format!("/secrets/{secret}"))
    }

    /// A SignalR.
    pub fn signalr(service: &str) -> Self {
        Place::new("microsoft.signalrservice/signalr", service, String::new())
    }

    /// A component of Application Insights.
    pub fn component(component: &str) -> Self {
        Place::new("microsoft.insights/components", component, String::new())
    }
}

/// A right that is missing. Every plane answers 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the principal {principal} does not have authorization to perform action '{}' over scope '{scope}'", action.name())]
pub struct Forbidden {
    /// The caller's object id.
    pub principal: String,
    /// What it would do.
    pub action: Action,
    /// The id of the resource.
    pub scope: String,
}

#[derive(Debug, Default)]
struct Access {
    grants: Vec<Grant>,
    /// Ids by type and name, both in lower case.
    ids: HashMap<(String, String), String>,
}

/// The grants that hold now. Cheap to clone; all clones change at once.
#[derive(Clone)]
pub struct Authorizer(Arc<Shared>);

struct Shared {
    access: RwLock<Access>,
    changes: watch::Sender<u64>,
}

impl Default for Authorizer {
    fn default() -> Self {
        Authorizer(Arc::new(Shared { access: RwLock::default(), changes: watch::Sender::new(0) }))
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = self.0.access.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Authorizer").field("grants", &access.grants.len()).finish_non_exhaustive()
    }
}

impl Authorizer {
    /// By the role assignments among resources, in ARM's shape with their ids.
    pub fn of(resources: &[Value]) -> Self {
        let authorizer = Authorizer::default();
        authorizer.update(resources);
        authorizer
    }

    /// Replaces the grants. What holds no longer is refused from the next request on.
    pub fn update(&self, resources: &[Value]) {
        let text = |body: &Value, key: &str| body[key].as_str().unwrap_or_default().to_lowercase();
        let ids = resources
            .iter()
            .filter_map(|body| Some(((text(body, "type"), text(body, "name")), body["id"].as_str()?.to_owned())));
        let access = Access { grants: grants(resources), ids: ids.collect() };
        *self.0.access.write().unwrap_or_else(PoisonError::into_inner) = access;
        self.0.changes.send_modify(|version| *version += 1);
    }

    /// Whether a principal may do something.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, principal: &str, action: Action, place: &Place) -> Result<(), Forbidden> {
        let access = self.0.access.read().unwrap_or_else(PoisonError::into_inner);
        let parent = access.ids.get(&(place.kind.to_owned(), place.name.to_lowercase()));
        let parent = parent.cloned().unwrap_or_else(|| format!("/providers/{}/{}", place.kind, place.name));
        let scope = parent + &place.below;
        if may(&access.grants, principal, action, &scope) {
            return Ok(());
        }
        Err(Forbidden { principal: principal.to_owned(), action, scope })
    }

    /// Tells of every [`Authorizer::update`] from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }
}

/// What a plane checks before it does anything: the token, then the role.
#[derive(Debug, Clone)]
pub struct Guard {
    issuer: Arc<Issuer>,
    authorizer: Option<Authorizer>,
}

impl From<Arc<Issuer>> for Guard {
    /// Tokens only, for tests of a plane by itself.
    fn from(issuer: Arc<Issuer>) -> Self {
        Guard { issuer, authorizer: None }
    }
}

impl From<(Arc<Issuer>, Authorizer)> for Guard {
    fn from((issuer, authorizer): (Arc<Issuer>, Authorizer)) -> Self {
        Guard { issuer, authorizer: Some(authorizer) }
    }
}

impl Guard {
    /// Who calls.
    ///
    /// # Errors
    /// No token, or one that is not good for the audience.
    pub fn caller(&self, headers: &HeaderMap, audience: &str) -> Result<Caller, Unauthorized> {
        let token = bearer(headers).ok_or_else(|| Unauthorized("a bearer token is expected".into()))?;
        self.issuer.verify(token, audience)
    }

    /// Whether roles are asked for at all.
    pub fn enforces(&self) -> bool {
        self.authorizer.is_some()
    }

    /// Whether the caller may do something.
    ///
    /// # Errors
    /// It may not.
    pub fn allow(&self, caller: &Caller, action: Action, place: &Place) -> Result<(), Forbidden> {
        match &self.authorizer {
            Some(authorizer) => authorizer.check(&caller.oid, action, place),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    const GROUP: &str = "/subscriptions/s/resourceGroups/rg";

    /// A resource with its id.
    pub(crate) fn resource(kind: &str, name: &str) -> Value {
        let (namespace, types) = kind.split_once('/').unwrap();
        let segments: Vec<String> = types.split('/').zip(name.split('/')).map(|(t, n)| format!("{t}/{n}")).collect();
        let id = format!("{GROUP}/providers/{namespace}/{}", segments.join("/"));
        json!({"id": id, "type": kind, "name": name})
    }

    /// A role of a principal on the resource of that id.
    pub(crate) fn assignment(principal: &str, role: &str, scope: &str) -> Value {
        let definition = format!("/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{role}");
        json!({"id": format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{principal}{role}"),
            "type": "Microsoft.Authorization/roleAssignments", "name": format!("{principal}{role}"),
            "properties": {"principalId": principal, "roleDefinitionId": definition, "scope": scope}})
    }

    fn account(below: &str) -> String {
        format!("{GROUP}/providers/Microsoft.Storage/storageAccounts/stone{below}")
    }

    const TABLE_CONTRIBUTOR: &str = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3";
    const TABLE_READER: &str = "76199698-9eea-4c19-bc75-cec21354c6b6";

    #[test]
    fn a_role_counts_at_its_scope_and_below_and_for_its_principal() {
        let may = |scope: &str, principal: &str, action: Action, id: &str| {
            may(&grants(&[assignment("ann", TABLE_CONTRIBUTOR, scope)]), principal, action, id)
        };
        let table = account("/tableServices/default/tables/views");
        assert!(may(&table, "ann", Action::RowWrite, &table));
        assert!(may(&table, "ANN", Action::RowRead, &table.to_uppercase()));
        assert!(may(&account(""), "ann", Action::RowWrite, &table));
        assert!(may(GROUP, "ann", Action::RowWrite, &table));
        assert!(!may(&table, "bob", Action::RowWrite, &table));
        assert!(!may(&table, "ann", Action::BlobWrite, &table));
        assert!(!may(&table, "ann", Action::RowRead, &account("/tableServices/default/tables/views2")));
        assert!(!may(&table, "ann", Action::TableList, &account("/tableServices/default")));
    }

    #[test]
    fn reading_is_not_writing_and_owning_is_not_reading() {
        let table = account("/tableServices/default/tables/views");
        let may = |role: &str, action: Action| may(&grants(&[assignment("ann", role, &table)]), "ann", action, &table);
        assert!(may(TABLE_READER, Action::RowRead));
        assert!(!may(TABLE_READER, Action::RowWrite));
        for manages in ["8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "b24988ac-6180-42a0-ab88-20f7382dd24c"] {
            assert!(!may(manages, Action::RowRead), "Owner and Contributor have no data actions");
        }
    }

    #[test]
    fn the_operator_owns_everything_local() {
        assert!(may(&[], OPERATOR_PRINCIPAL_ID, Action::KeyUnwrap, "/anything"));
    }

    #[test]
    fn names_are_found_in_any_case_and_what_is_missing_is_named() {
        let resources = [
            resource("Microsoft.Storage/storageAccounts", "stone"),
            assignment("ann", TABLE_READER, &account("/tableServices/default/tables/views")),
        ];
        let authorizer = Authorizer::of(&resources);
        authorizer.check("ann", Action::RowRead, &Place::table("STONE", "Views")).unwrap();
        let refused = authorizer.check("ann", Action::RowWrite, &Place::table("stone", "views")).unwrap_err();
        let scope = account("/tableServices/default/tables/views");
        assert_eq!(
            refused.to_string(),
            format!(
                "the principal ann does not have authorization to perform action \
                 'Microsoft.Storage/storageAccounts/tableServices/tables/entities/write' over scope '{scope}'"
            )
        );
        authorizer.check("ann", Action::RowRead, &Place::table("other", "views")).unwrap_err();
    }

    #[test]
    fn a_role_that_is_taken_away_is_gone_at_once_for_every_clone() {
        let table = account("/tableServices/default/tables/views");
        let place = Place::table("stone", "views");
        let account = resource("Microsoft.Storage/storageAccounts", "stone");
        let authorizer = Authorizer::of(&[account.clone(), assignment("ann", TABLE_READER, &table)]);
        let (clone, changes) = (authorizer.clone(), authorizer.changes());
        clone.check("ann", Action::RowRead, &place).unwrap();
        authorizer.update(&[account]);
        clone.check("ann", Action::RowRead, &place).unwrap_err();
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn a_dead_letter_queue_is_its_queue() {
        assert_eq!(Place::queue("sb/events/$DeadLetterQueue"), Place::queue("sb/events"));
        assert_eq!(Place::queue("sb/deep/er").below, "/queues/deep~er");
    }
}

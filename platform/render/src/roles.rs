//! Who may do what: the roles in use, each grant with the resource it is for, and each need with the setting behind it.

use std::fmt;

use skein_model::arm::{Of, Ref, ResourceType, Template, Text, equals, guid, not, role_definition_id};
use skein_model::azure::authorization::{PrincipalType, RoleAssignment, RoleAssignmentProperties};

/// A role that Azure defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Writes blobs: dead letters.
    BlobContributor,
    /// Owns blobs: what the functions host asks of its own account.
    BlobOwner,
    /// Sends to a topic.
    EventSender,
    /// Receives from a queue.
    QueueReceiver,
    /// Sends to a queue.
    QueueSender,
    /// Wraps and unwraps with a key.
    KeyUser,
    /// Reads the value of a secret.
    SecretsUser,
    /// Lets clients of a hub in, and sends to them.
    SignalRApi,
    /// Sends telemetry.
    MetricsPublisher,
    /// Reads and writes rows.
    TableContributor,
    /// Reads rows.
    TableReader,
}

impl Role {
    /// Every role in use.
    pub const ALL: [Role; 11] = [
        Role::BlobContributor,
        Role::BlobOwner,
        Role::EventSender,
        Role::QueueReceiver,
        Role::QueueSender,
        Role::KeyUser,
        Role::SecretsUser,
        Role::SignalRApi,
        Role::MetricsPublisher,
        Role::TableContributor,
        Role::TableReader,
    ];

    /// What Azure calls it.
    pub fn name(self) -> &'static str {
        match self {
            Role::BlobContributor => "Storage Blob Data Contributor",
            Role::BlobOwner => "Storage Blob Data Owner",
            Role::EventSender => "EventGrid Data Sender",
            Role::QueueReceiver => "Azure Service Bus Data Receiver",
            Role::QueueSender => "Azure Service Bus Data Sender",
            Role::KeyUser => "Key Vault Crypto Service Encryption User",
            Role::SecretsUser => "Key Vault Secrets User",
            Role::SignalRApi => "SignalR REST API Owner",
            Role::MetricsPublisher => "Monitoring Metrics Publisher",
            Role::TableContributor => "Storage Table Data Contributor",
            Role::TableReader => "Storage Table Data Reader",
        }
    }

    /// The UUID of its definition, the same in every tenant.
    pub fn id(self) -> &'static str {
        match self {
            Role::BlobContributor => "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
            Role::BlobOwner => "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
            Role::EventSender => "d5a91429-5739-47e2-a06b-3470a27159e7",
            Role::QueueReceiver => "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
            Role::QueueSender => "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
            Role::KeyUser => "e147488a-f6f5-4113-8e2d-b22465e65bf6",
            Role::SecretsUser => "4633458b-17de-408a-b874-0445c86b69e6",
            Role::SignalRApi => "fd53cd77-2268-407a-8f46-7e7863d0f521",
            Role::MetricsPublisher => "3913510d-42f4-4e42-8a64-420c390055eb",
            Role::TableContributor => "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
            Role::TableReader => "76199698-9eea-4c19-bc75-cec21354c6b6",
        }
    }
}

/// Something that a role is granted on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A table of an account: the account's base name, the table.
    Table(String, String),
    /// The storage account of a functions host, by the app.
    HostAccount(String),
    /// The container of exports.
    Backups,
    /// The container of undelivered events.
    DeadLetters,
    /// A queue of a service: the service, the queue.
    Queue(String, String),
    /// The topic.
    Topic,
    /// Application Insights.
    Insights,
    /// A key of the vault.
    Key(String),
    /// A secret of the vault.
    Secret(String),
    /// SignalR.
    SignalR,
    /// The account of the pages that Front Door shows.
    Pages,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Table(account, table) => write!(f, "the table {table} of {account}"),
            Thing::HostAccount(app) => write!(f, "the host's storage of {app}"),
            Thing::Backups => f.write_str("the container of exports"),
            Thing::DeadLetters => f.write_str("the container of dead letters"),
            Thing::Queue(service, queue) => write!(f, "the queue {queue} of {service}"),
            Thing::Topic => f.write_str("the topic"),
            Thing::Insights => f.write_str("Application Insights"),
            Thing::Key(name) => write!(f, "the key {name}"),
            Thing::Secret(name) => write!(f, "the secret {name}"),
            Thing::SignalR => f.write_str("SignalR"),
            Thing::Pages => f.write_str("the account of the pages"),
        }
    }
}

/// Somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Who: the name of an identity, or of a resource that has one of its own.
    pub who: String,
    /// What.
    pub role: Role,
    /// On what.
    pub on: Thing,
}

/// Somebody must be able to do something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What must be granted.
    pub grant: Grant,
    /// The setting, trigger or subscription that needs it.
    pub because: String,
}

/// The identity that a role is granted to, as a template sees it.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// Its name for people.
    pub who: String,
    /// The id of the identity's resource.
    pub id: Of<Text>,
    /// The principal's id.
    pub principal_id: Of<Text>,
    /// What it is.
    pub kind: PrincipalType,
    /// Whether an environment need not have it: then its id is empty.
    pub optional: bool,
}

/// Who mends the system by hand, as roles are told.
pub(crate) const OPERATORS: &str = "operators";

/// What the parameter that names the operators means.
pub(crate) const OPERATORS_ABOUT: &str =
    "The object id of the Entra group that may look at and mend what went wrong; nobody may if it is empty.";

/// Who deploys, as roles are told.
pub(crate) const DEPLOYER: &str = "who deploys";

impl Principal {
    /// An identity that the templates make, or that a resource has.
    pub(crate) fn identity(who: impl Into<String>, id: Of<Text>, principal_id: Of<Text>) -> Self {
        Principal { who: who.into(), id, principal_id, kind: PrincipalType::ServicePrincipal, optional: false }
    }

    /// The operators, by the object id of their group.
    pub(crate) fn operators(id: &Of<Text>) -> Self {
        let (who, kind) = (OPERATORS.to_owned(), PrincipalType::Group);
        Principal { who, id: id.clone(), principal_id: id.clone(), kind, optional: true }
    }

    /// Who deploys, by the object id of its service principal.
    pub(crate) fn deployer(id: &Of<Text>) -> Self {
        Principal { optional: true, ..Principal::identity(DEPLOYER, id.clone(), id.clone()) }
    }
}

/// Adds the assignment of a role on a resource, and tells its symbol.
#[track_caller]
pub(crate) fn assign<S: ResourceType>(
    template: &mut Template,
    grants: &mut Vec<Grant>,
    principal: &Principal,
    role: Role,
    on: &Ref<S>,
    thing: Thing,
) -> String {
    let words: String = format!("{role:?} {} {}", on.symbol(), principal.who)
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .map(|word| word[..1.min(word.len())].to_uppercase() + word.get(1..).unwrap_or_default())
        .collect();
    let symbol = format!("role{words}");
    let definition = role_definition_id(role.id());
    let name = guid([on.id(), principal.id.clone(), definition.clone()]);
    let properties = RoleAssignmentProperties::new(&principal.principal_id, definition)
        .principal_type(principal.kind)
        .description(format!("{} for {} on {thing}.", role.name(), principal.who));
    template.extend(&symbol, on, name, RoleAssignment::new(properties));
    if principal.optional {
        template.only_if(&symbol, not(equals(&principal.id, "")));
    }
    grants.push(Grant { who: principal.who.clone(), role, on: thing });
    symbol
}

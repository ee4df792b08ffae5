//! The ports on Azure: Tables, Blobs, Service Bus, Event Grid, Key Vault and SignalR, as thin clients on azure_core.
//!
//! Every request goes through azure_core's replaceable transport ([`azure_core::http::HttpClient`]): [`http_client`]
//! gives the real one. Redirects are never followed. What is safe to repeat (reads, sends to receivers that discard
//! duplicates) is repeated by azure_core's pipeline; a commit to a table never is.

pub mod blobs;
mod channel;
pub mod clock;
pub mod credential;
pub mod dead_letters;
pub mod graphql_app;
pub mod key_vault;
pub mod outcomes;
pub mod queue;
pub mod shared_key;
pub mod signalr;
pub mod tables;
pub mod topic;
mod transport;

pub use azure_core::credentials::TokenCredential;
pub use azure_core::http::HttpClient;
pub use blobs::{AzureBlobs, BlobCredential};
pub use channel::EndpointError;
pub use clock::SystemClock;
pub use dead_letters::{DeadLetter, DeadLetterQueue, Settled};
pub use key_vault::AzureKeyVault;
pub use queue::ServiceBusQueues;
pub use signalr::SignalRHub;
pub use tables::{AzureTableStore, TableCredential};
pub use topic::EventGridTopic;
pub use transport::{TransportError, http_client};

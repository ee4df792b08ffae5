//! An operator: signed in, with clients of one service's planes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use skein_azure::credential::{azure_cli, of_program};
use skein_azure::{
    AzureBlobs, AzureTableStore, BlobCredential, EventGridTopic, HttpClient, ServiceBusQueues, TableCredential,
    TokenCredential, http_client,
};
use skein_core::blob::BlobStore;
use skein_core::ports::TableStore;
use skein_core::store::EventStore;

use crate::flags::Target;
use crate::places::Places;

/// An operator of one service.
pub struct Operator {
    /// Where the service's planes are.
    pub places: Places,
    /// Under all clients.
    pub http: Arc<dyn HttpClient>,
    /// Who the operator is.
    pub credential: Arc<dyn TokenCredential>,
    state: PathBuf,
    list: PathBuf,
}

impl Operator {
    /// Finds the service and prepares to sign in: locally with tokens that `skein-local`, which stands beside this
    /// binary, prints; on Azure with those of the Azure CLI. Nothing is sent yet.
    ///
    /// # Errors
    /// A service whose planes are not known.
    pub fn open(target: &Target) -> Result<Self> {
        let places = Places::find(&target.service, &target.given, &target.list())?;
        let credential = if places.local() {
            let own = std::env::current_exe().context("cannot tell where skein-ops stands")?;
            let program = own.with_file_name("skein-local");
            let args = ["token".into(), "--state".into(), target.state.clone().into(), "--resource".into()];
            of_program(program, args.map(|arg: OsString| arg))
        } else {
            azure_cli().context("the Azure CLI cannot be asked for tokens")?
        };
        Ok(Operator { places, http: http_client()?, credential, state: target.state.clone(), list: target.list() })
    }

    /// The same operator before another service of the same list.
    ///
    /// # Errors
    /// A service that the list does not have.
    pub fn of(&self, service: &str) -> Result<Self> {
        let places = match service == self.places.service() {
            true => self.places.clone(),
            false => Places::find(service, &BTreeMap::new(), &self.list)?,
        };
        let (http, credential) = (self.http.clone(), self.credential.clone());
        Ok(Operator { places, http, credential, state: self.state.clone(), list: self.list.clone() })
    }

    /// Where it is written down what was dropped.
    pub fn audit_file(&self) -> PathBuf {
        self.state.join("audit.jsonl")
    }

    /// The tables at this address.
    ///
    /// # Errors
    /// An address that is none.
    pub fn tables(&self, url: &str) -> Result<Arc<dyn TableStore>> {
        Ok(Arc::new(AzureTableStore::new(&self.http, TableCredential::Token(self.credential.clone()), url)?))
    }

    /// The event store's shards, in the descriptor's order.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn shards(&self) -> Result<Vec<Arc<dyn TableStore>>> {
        self.places.all("event-store")?.iter().map(|url| self.tables(url)).collect()
    }

    /// The event store.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn event_store(&self) -> Result<EventStore> {
        Ok(EventStore::new(self.shards()?))
    }

    /// The queue of a part, one of [`PARTS`](crate::places::PARTS), under the name that the ports give it.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn queue(&self, part: &'static str, name: &str) -> Result<ServiceBusQueues> {
        let queues = [(name.to_owned(), self.places.one(part)?.to_owned())];
        Ok(ServiceBusQueues::new(&self.http, self.credential.clone(), queues)?)
    }

    /// The container of the backups.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn backups(&self) -> Result<Box<dyn BlobStore>> {
        let credential = BlobCredential::Token(self.credential.clone());
        Ok(Box::new(AzureBlobs::new(&self.http, credential, self.places.one("backups")?)?))
    }

    /// The topic.
    ///
    /// # Errors
    /// A place that is not known.
    pub fn topic(&self) -> Result<EventGridTopic> {
        Ok(EventGridTopic::new(&self.http, self.credential.clone(), self.places.one("topic")?)?)
    }
}

//! What is deployed, and what was: a file that survives the process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skein_arm::Error;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("the control plane's file failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row is not what was written.
    #[error("the control plane's file holds a row that is not understood: {0}")]
    Corrupt(String),
}

/// Resources by their id in lower case.
pub(super) type Resources = BTreeMap<String, Value>;

/// How a deployment, or one of its operations, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Running,
    Succeeded,
    Failed,
    Canceled,
}

/// What was done to one resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Operation {
    pub(super) id: String,
    /// The resource's id, type and name.
    pub(super) target: (String, String, String),
    pub(super) state: State,
    pub(super) started: i64,
    pub(super) ended: Option<i64>,
    pub(super) error: Option<Value>,
}

/// A deployment, running or ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) subscription: String,
    pub(super) group: Option<String>,
    pub(super) location: Option<String>,
    pub(super) tags: Value,
    pub(super) template: Value,
    /// As in a request, with every default found out, so that a run after a crash means the same.
    pub(super) parameters: Value,
    /// As they are shown: without what is secret.
    pub(super) shown: Value,
    pub(super) state: State,
    pub(super) cancel: bool,
    pub(super) correlation: String,
    pub(super) deployer: String,
    pub(super) started: i64,
    pub(super) ended: Option<i64>,
    pub(super) outputs: Value,
    pub(super) error: Option<Value>,
    pub(super) operations: Vec<Operation>,
}

struct Inner {
    db: Connection,
    resources: Resources,
    deployments: BTreeMap<String, Deployment>,
    deleted: Resources,
}

/// The file, with all of it in memory.
pub(super) struct Store(Mutex<Inner>);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS resources (key TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS deleted (key TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS deployments (key TEXT PRIMARY KEY, body TEXT NOT NULL);
";

fn read<T: serde::de::DeserializeOwned>(db: &Connection, table: &str) -> Result<BTreeMap<String, T>, StoreError> {
    let mut statement = db.prepare(&format!("SELECT key, body FROM {table}"))?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut all = BTreeMap::new();
    for row in rows {
        let (key, body) = row?;
        let body = serde_json::from_str(&body).map_err(|error| StoreError::Corrupt(format!("{key}: {error}")))?;
        all.insert(key, body);
    }
    Ok(all)
}

fn failed(error: rusqlite::Error) -> Error {
    Error::new("InternalServerError", format!("the control plane's file failed: {error}"))
}

impl Store {
    /// Opens the file, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Store, StoreError> {
        let db = Connection::open(path)?;
        db.execute_batch(SCHEMA)?;
        let (resources, deleted, deployments) =
            (read(&db, "resources")?, read(&db, "deleted")?, read(&db, "deployments")?);
        Ok(Store(Mutex::new(Inner { db, resources, deployments, deleted })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn resources(&self) -> Resources {
        self.inner().resources.clone()
    }

    pub(super) fn get(&self, id: &str) -> Option<Value> {
        self.inner().resources.get(&id.to_lowercase()).cloned()
    }

    pub(super) fn put(&self, body: Value) -> Result<(), Error> {
        let key = body["id"].as_str().unwrap_or_default().to_lowercase();
        let mut inner = self.inner();
        let text = body.to_string();
        inner.db.execute("INSERT OR REPLACE INTO resources VALUES (?1, ?2)", params![key, text]).map_err(failed)?;
        inner.resources.insert(key, body);
        Ok(())
    }

    /// Removes a resource with everything below it and on it; those whose type keeps what was deleted are kept aside.
    pub(super) fn remove(&self, id: &str) -> Result<Vec<Value>, Error> {
        let mut inner = self.inner();
        let key = id.to_lowercase();
        let keys: Vec<String> = inner.resources.keys().filter(|one| is_within(one, &key)).cloned().collect();
        let transaction = inner.db.unchecked_transaction().map_err(failed)?;
        let mut gone = Vec::new();
        for key in &keys {
            transaction.execute("DELETE FROM resources WHERE key = ?1", params![key]).map_err(failed)?;
        }
        let soft: Vec<(String, Value)> = keys
            .iter()
            .filter_map(|key| {
                let body = inner.resources.get(key)?;
                Some((deleted_key(body)?, body.clone()))
            })
            .collect();
        for (key, body) in &soft {
            let text = body.to_string();
            transaction
                .execute("INSERT OR REPLACE INTO deleted VALUES (?1, ?2)", params![key, text])
                .map_err(failed)?;
        }
        let deployments: Vec<String> = inner.deployments.keys().filter(|one| is_within(one, &key)).cloned().collect();
        for key in &deployments {
            transaction.execute("DELETE FROM deployments WHERE key = ?1", params![key]).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        for key in keys {
            gone.extend(inner.resources.remove(&key));
        }
        inner.deleted.extend(soft);
        for key in deployments {
            inner.deployments.remove(&key);
        }
        Ok(gone)
    }

    /// What was deleted and still holds its name, by the path at which it is purged.
    pub(super) fn deleted(&self) -> Resources {
        self.inner().deleted.clone()
    }

    pub(super) fn purge(&self, key: &str) -> Result<Option<Value>, Error> {
        let mut inner = self.inner();
        inner.db.execute("DELETE FROM deleted WHERE key = ?1", params![key]).map_err(failed)?;
        Ok(inner.deleted.remove(key))
    }

    pub(super) fn deployment(&self, id: &str) -> Option<Deployment> {
        self.inner().deployments.get(&id.to_lowercase()).cloned()
    }

    /// Whether a deployment was cancelled, or is gone.
    pub(super) fn is_cancelled(&self, id: &str) -> bool {
        self.inner().deployments.get(&id.to_lowercase()).is_none_or(|deployment| deployment.cancel)
    }

    pub(super) fn deployments(&self) -> Vec<Deployment> {
        self.inner().deployments.values().cloned().collect()
    }

    pub(super) fn insert(&self, deployment: Deployment) -> Result<(), Error> {
        let key = deployment.id.to_lowercase();
        let mut inner = self.inner();
        write(&inner.db, &key, &deployment)?;
        inner.deployments.insert(key, deployment);
        Ok(())
    }

    /// Changes a deployment; nothing where it is gone.
    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Deployment)) -> Result<(), Error> {
        let key = id.to_lowercase();
        let mut inner = self.inner();
        let Some(mut deployment) = inner.deployments.get(&key).cloned() else { return Ok(()) };
        change(&mut deployment);
        write(&inner.db, &key, &deployment)?;
        inner.deployments.insert(key, deployment);
        Ok(())
    }
}

/// Whether a key is that of a resource, or of something below it or on it.
pub(super) fn is_within(one: &str, key: &str) -> bool {
    one.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn write(db: &Connection, key: &str, deployment: &Deployment) -> Result<(), Error> {
    let text = serde_json::to_string(deployment)
        .map_err(|error| Error::new("InternalServerError", format!("the deployment cannot be written: {error}")))?;
    db.execute("INSERT OR REPLACE INTO deployments VALUES (?1, ?2)", params![key, text]).map_err(failed)?;
    Ok(())
}

/// The path at which a deleted resource of a type that keeps its name is purged.
pub(super) fn deleted_key(body: &Value) -> Option<String> {
    let kind = body["type"].as_str()?.to_lowercase();
    let place = match kind.as_str() {
        "microsoft.keyvault/vaults" => "microsoft.keyvault/locations/{}/deletedvaults",
        "microsoft.apimanagement/service" => "microsoft.apimanagement/locations/{}/deletedservices",
        _ => return None,
    };
    let subscription = body["id"].as_str()?.split('/').nth(2)?;
    let location = body["location"].as_str()?.to_lowercase().replace(' ', "");
    let place = place.replace("{}", &location);
    Some(format!("/subscriptions/{subscription}/providers/{place}/{}", body["name"].as_str()?).to_lowercase())
}

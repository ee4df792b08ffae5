//! Where packages are published: `/scm/{site}/…` is what `https://{site}.scm.azurewebsites.net/…` would be.
//!
//! A package is stored before it is acknowledged, and its site is started with it afterwards. Whoever publishes asks
//! for the end of it, and which package is there.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::sha2::{Digest as _, Sha256};
use serde_json::{Value, json};
use skein_package::Glibc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::control::Control;
use crate::sites::packages::{self, Record};

/// The largest package.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// How much of a refused package is taken before the connection is closed.
const MAX_DRAINED_BYTES: u64 = 256 * 1024 * 1024;

/// The numbers of Kudu for how a publication stands.
const RUNNING: u8 = 1;
const FAILED: u8 = 3;
const SUCCEEDED: u8 = 4;

/// How a publication stands, and what is to be said of it.
type Standing = (u8, String);

/// Why a site that has a package does not run, if it does not.
pub type Failing = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

struct Publishing {
    control: Control,
    folder: PathBuf,
    glibc: Option<Glibc>,
    /// Publications of this process, by id; the others are in the records, and have succeeded.
    standing: Mutex<BTreeMap<String, Standing>>,
    failure: Failing,
}

/// The routes, at the root. `state` is the state folder; `failure` says why a site that has a package does not run.
pub fn router(control: Control, state: &FilePath, failure: Failing) -> Router {
    let publishing = Publishing {
        control,
        folder: state.join(packages::FOLDER),
        glibc: crate::sites::machine_glibc(),
        standing: Mutex::default(),
        failure,
    };
    Router::new()
        .route("/scm/{site}/api/publish", post(publish).layer(DefaultBodyLimit::disable()))
        .route("/scm/{site}/api/deployments/{id}", get(deployment))
        .with_state(Arc::new(publishing))
}

type Refusal = (StatusCode, Json<Value>);

fn refusal(status: StatusCode, why: impl Into<String>) -> Refusal {
    let code = status.canonical_reason().unwrap_or_default().replace(' ', "");
    (status, Json(json!({"error": {"code": code, "message": why.into()}})))
}

fn failed(error: &std::io::Error) -> Refusal {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("the package cannot be kept: {error}"))
}

async fn publish(
    State(publishing): State<Arc<Publishing>>,
    Path(site): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let site = match publishing.site(&headers, &site) {
        Ok(site) => site,
        Err(refusal) => {
            drain(body).await;
            return Err(refusal);
        }
    };
    let draft = packages::draft(&publishing.folder, &site).map_err(|error| failed(&error))?;
    let received = publishing.receive(&site, &draft, &headers, body).await;
    let digest = match received {
        Ok(digest) => digest,
        Err(refusal) => {
            let _ = std::fs::remove_file(&draft);
            return Err(refusal);
        }
    };
    let record = Record {
        id: Uuid::new_v4().to_string(),
        digest,
        deployer: query.get("Deployer").cloned().unwrap_or_else(|| "unknown".to_owned()),
        received: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
    };
    packages::accept(&publishing.folder, &site, &draft, &record).map_err(|error| failed(&error))?;
    publishing.stands(&record.id, (RUNNING, "the app is being started".to_owned()));
    let location = format!("{}/scm/{site}/api/deployments/{}", publishing.control.planes(), record.id);
    let id = record.id;
    tokio::spawn(async move {
        let hosted = publishing.control.host().await;
        let standing = match (hosted, (publishing.failure)(&site)) {
            (_, Some(why)) => (FAILED, why),
            (Err(error), None) => (FAILED, error.to_string()),
            (Ok(()), None) => (SUCCEEDED, String::new()),
        };
        publishing.stands(&id, standing);
    });
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, "0".to_owned())];
    Ok((StatusCode::ACCEPTED, headers).into_response())
}

/// Takes what is still being sent of a refused package: a client that writes to a closed connection hears of a broken
/// pipe, and not why it was refused.
async fn drain(body: Body) {
    use futures::StreamExt as _;
    let (mut stream, mut length) = (body.into_data_stream(), 0);
    while let Some(Ok(chunk)) = stream.next().await {
        length += chunk.len() as u64;
        if length > MAX_DRAINED_BYTES {
            break;
        }
    }
}

async fn deployment(
    State(publishing): State<Arc<Publishing>>,
    Path((site, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let site = publishing.site(&headers, &site)?;
    let record = packages::current(&publishing.folder, &site).map_err(|error| failed(&error))?;
    let record = record.filter(|record| id == "latest" || record.id == id);
    let record = record.ok_or_else(|| refusal(StatusCode::NOT_FOUND, format!("{site} has no deployment {id}")))?;
    let standing = publishing.standing.lock().unwrap_or_else(PoisonError::into_inner).get(&record.id).cloned();
    // After a restart of the planes the package is what the site was started with.
    let (status, text) = standing.unwrap_or_else(|| match (publishing.failure)(&site) {
        Some(why) => (FAILED, why),
        None => (SUCCEEDED, String::new()),
    });
    let about = json!({
        "id": record.id, "status": status, "status_text": text, "complete": status != RUNNING,
        "active": status == SUCCEEDED, "deployer": record.deployer, "received_time": record.received,
        "site_name": site,
    });
    Ok(([(header::RETRY_AFTER, "0")], Json(about)).into_response())
}

impl Publishing {
    /// The site's name as it is deployed, where the caller may write to it.
    fn site(&self, headers: &HeaderMap, name: &str) -> Result<String, Refusal> {
        self.control.site_for_publishing(headers, name).map_err(|(status, why)| refusal(status, why))
    }

    fn stands(&self, id: &str, standing: Standing) {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), standing);
    }

    /// Writes the body to the draft, and looks whether it can be started: the digest.
    async fn receive(&self, site: &str, draft: &FilePath, headers: &HeaderMap, body: Body) -> Result<String, Refusal> {
        use futures::StreamExt as _;
        let mut file = tokio::fs::File::create(draft).await.map_err(|error| failed(&error))?;
        let (mut hash, mut length) = (Sha256::new(), 0u64);
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk =
                chunk.map_err(|error| refusal(StatusCode::BAD_REQUEST, format!("the package broke off: {error}")))?;
            length += chunk.len() as u64;
            if length > MAX_BYTES {
                let why = format!("the package has more than {MAX_BYTES} bytes");
                return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, why));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(|error| failed(&error))?;
        }
        file.flush().await.map_err(|error| failed(&error))?;
        let found = hash.finalize();
        let said = headers.get("content-digest").and_then(|value| value.to_str().ok());
        let said = said.and_then(|text| text.strip_prefix("sha-256=:")?.strip_suffix(':'));
        if said.is_some_and(|said| STANDARD.decode(said).ok().as_deref() != Some(&found[..])) {
            return Err(refusal(StatusCode::BAD_REQUEST, "the package is not the one that its digest names"));
        }
        let (draft, glibc) = (draft.to_owned(), self.glibc);
        let checked = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(&draft).map_err(|error| error.to_string())?;
            skein_package::read(&bytes, glibc).map(drop).map_err(|error| error.to_string())
        });
        let checked = checked.await.unwrap_or_else(|error| Err(error.to_string()));
        checked.map_err(|why| refusal(StatusCode::BAD_REQUEST, format!("{site} cannot be started with it: {why}")))?;
        Ok(found.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

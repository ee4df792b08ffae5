//! The pages that Front Door shows: reading what was packaged, and uploading what is not there yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use skein_azure::AzureBlobs;
use skein_core::blob::{BlobError, BlobStore as _, check_blob_name};

use crate::client::Client;
use crate::failure::Failure;
use crate::input;
use crate::layers::{Outputs, output_of};
use crate::packages::hex;

/// The folder among the packages, and the file beside it that lists what is in it.
const FOLDER: &str = "pages";
const SUMS: &str = "pages.sha256";

/// The container that a storage account shows as a website.
const WEBSITE: &str = "$web";

/// What the pages are told of where they are.
const CONFIG: &str = "config.json";

/// The code of a deployer that may not write the pages.
pub(crate) const DENIED: &str = "PagesDenied";

/// How long a role may take from its assignment until it holds.
const ROLE: Duration = Duration::from_secs(600);

/// How long to wait between two tries.
const AGAIN: Duration = Duration::from_secs(10);

/// A file.
#[derive(Debug, Clone, PartialEq)]
struct File {
    digest: String,
    bytes: Bytes,
}

impl File {
    fn new(bytes: Vec<u8>) -> Self {
        File { digest: hex(&Sha256::digest(&bytes)), bytes: bytes.into() }
    }
}

/// The pages as they are to be, by path.
#[derive(Debug, PartialEq)]
pub(crate) struct Pages(BTreeMap<String, File>);

/// Whether a layer shows pages.
pub(crate) fn are_shown(outputs: &Outputs) -> bool {
    output_of(outputs, "siteEndpoint").is_some()
}

/// Whether there are pages in a folder of packages.
pub(crate) fn are_packaged(folder: &Path) -> bool {
    folder.join(SUMS).is_file()
}

impl Pages {
    /// Reads what was packaged, each file as its digest says, and adds what a deployment tells them.
    pub(crate) fn read(folder: &Path, outputs: &Outputs) -> Result<Pages, Failure> {
        let next = "write the packages again: `cargo xtask package gateway`, or give --packages DIR";
        let wrong = |path: &Path, why: &dyn std::fmt::Display| input(format!("{}: {why}", path.display()), next);
        let sums = folder.join(SUMS);
        let text = fs::read_to_string(&sums).map_err(|error| wrong(&sums, &error))?;
        let mut files = BTreeMap::new();
        for line in text.lines() {
            let listed = line.split_once("  ").and_then(|(digest, path)| Some((digest, path.split_once('/')?)));
            let Some((digest, (FOLDER, name))) = listed else {
                return Err(wrong(&sums, &format!("{line:?} is no line of it")));
            };
            let path = folder.join(FOLDER).join(name);
            let file = File::new(fs::read(&path).map_err(|error| wrong(&path, &error))?);
            if file.digest != digest {
                return Err(wrong(&path, &format!("it has the digest {}, and {digest} is listed", file.digest)));
            }
            media_type(name).ok_or_else(|| wrong(&path, &"its ending says no media type that a page has"))?;
            files.insert(name.to_owned(), file);
        }
        files.insert(CONFIG.to_owned(), File::new(config(outputs).to_string().into_bytes()));
        Ok(Pages(files))
    }

    /// The paths in the order in which they are written: what is loaded by others first.
    fn order(&self) -> impl Iterator<Item = (&str, &File)> {
        let (pages, rest): (Vec<_>, Vec<_>) = self.0.iter().partition(|(path, _)| path.ends_with(".html"));
        rest.into_iter().chain(pages).map(|(path, file)| (path.as_str(), file))
    }
}

/// What the pages are told: the gateway is where they come from, and how people sign in, where they do.
fn config(outputs: &Outputs) -> Value {
    let text = |name: &str| output_of(outputs, name).and_then(Value::as_str).unwrap_or_default();
    let mut config = json!({"gateway": ""});
    if !text("signInClientId").is_empty() {
        config["signIn"] = json!({
            "configuration": text("signInConfiguration"),
            "clientId": text("signInClientId"),
            "scope": text("signInScope"),
        });
    }
    config
}

/// The media type of a file, by its ending.
fn media_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// The website of a layer's storage account.
pub(crate) struct Website {
    account: String,
    blobs: AzureBlobs,
    /// How long to try again while the role that was just given does not hold yet.
    patience: Duration,
    /// How long to wait between two tries.
    pace: Duration,
}

impl Website {
    /// The website that the outputs name.
    pub(crate) fn of(client: &Client, outputs: &Outputs) -> Result<Website, Failure> {
        let text = |name: &str| {
            let found = output_of(outputs, name).and_then(Value::as_str);
            found.ok_or_else(|| {
                input(format!("the output {name:?}, which says where the pages are, is missing"), "render again")
            })
        };
        let account = text("siteAccount")?.to_owned();
        let url = format!("{}/{WEBSITE}", text("siteEndpoint")?.trim_end_matches('/'));
        let blobs = client.blobs(&url)?;
        let patience = if client.is_local() { Duration::ZERO } else { ROLE };
        Ok(Website { account, blobs, patience, pace: AGAIN })
    }

    /// The account that keeps the files.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// The files that are to be written and those that are to go, in order.
    pub(crate) async fn differences(&self, pages: &Pages) -> Result<(Vec<String>, Vec<String>), Failure> {
        let (mut write, mut remove) = (Vec::new(), Vec::new());
        for (path, file) in pages.order() {
            let published = self.blobs.published(path).await.map_err(|error| self.failed(path, error))?;
            if published.as_ref() != Some(&file.digest) {
                write.push(path.to_owned());
            }
        }
        let mut from = None;
        loop {
            let listed = self.blobs.list("", from.as_ref()).await.map_err(|error| self.failed(WEBSITE, error))?;
            let names = listed.blobs.into_iter().map(|(name, _)| name);
            // What nobody could have written from here is somebody else's.
            remove.extend(names.filter(|name| !pages.0.contains_key(name) && check_blob_name(name).is_ok()));
            from = listed.next;
            if from.is_none() {
                return Ok((write, remove));
            }
        }
    }

    /// Makes the website what it is to be; how many files were written and removed. `waits` is told why it tries again.
    ///
    /// The files that a page loads are there before the page, and what nothing loads any more goes after it. Whoever dies in
    /// between has written a part: the next call does the rest.
    pub(crate) async fn publish(&self, pages: &Pages, waits: impl Fn(&str)) -> Result<(usize, usize), Failure> {
        let begun = Instant::now();
        loop {
            match self.attempt(pages).await {
                // The role to write is given by the deployment that was just made, and does not hold at once; nor need the
                // website be there at once.
                Err(Failure::Refused { status: 403 | 404, error, .. }) if begun.elapsed() < self.patience => {
                    waits(error["error"]["message"].as_str().unwrap_or_default());
                    tokio::time::sleep(self.pace).await;
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self, pages: &Pages) -> Result<(usize, usize), Failure> {
        let (write, remove) = self.differences(pages).await?;
        for path in &write {
            let (file, media_type) = (&pages.0[path], media_type(path).unwrap_or_default());
            let written = self.blobs.publish(path, media_type, &file.digest, file.bytes.clone()).await;
            written.map_err(|error| self.failed(path, error))?;
        }
        for path in &remove {
            self.blobs.delete(path).await.map_err(|error| self.failed(path, error))?;
        }
        Ok((write.len(), remove.len()))
    }

    fn failed(&self, path: &str, error: BlobError) -> Failure {
        let what = format!("{}: {path}", self.account);
        let (status, code) = match &error {
            BlobError::Unavailable(why) => return Failure::Unreachable { endpoint: what, why: why.clone() },
            BlobError::Denied(why) if !why.starts_with("403 ") => return Failure::NoToken { why: why.clone() },
            BlobError::Denied(_) => (403, DENIED),
            BlobError::Refused(why) if why.starts_with("404 ") => (404, "PagesMissing"),
            BlobError::Refused(_) | BlobError::Malformed(_) => (0, "PagesRefused"),
        };
        Failure::Refused { what, status, error: json!({"error": {"code": code, "message": error.to_string()}}) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::{Request, State};
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::{IntoResponse as _, Response};
    use serde_json::Map;
    use skein_azure::{BlobCredential, http_client};

    use super::*;

    /// A storage account that takes what it is sent, and refuses as often as it is told.
    #[derive(Default)]
    struct Account {
        blobs: BTreeMap<String, (HeaderMap, Bytes)>,
        calls: Vec<String>,
        refuses: usize,
    }

    async fn serve(State(account): State<Arc<Mutex<Account>>>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let mut account = account.lock().unwrap();
        let path = head.uri.path().strip_prefix("/account/$web").unwrap().trim_start_matches('/').to_owned();
        if account.refuses > 0 {
            account.refuses -= 1;
            let code = [("x-ms-error-code", "AuthorizationPermissionMismatch")];
            return (StatusCode::FORBIDDEN, code, "not yet").into_response();
        }
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            account.calls.push(format!("{} {path}", head.method));
        }
        match (head.method.as_str(), account.blobs.get(&path)) {
            ("GET", _) => {
                let blob = |name: &String| {
                    format!(
                        "<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"
                    )
                };
                let blobs: String = account.blobs.keys().map(blob).collect();
                format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>").into_response()
            }
            ("HEAD", Some((headers, _))) => headers.clone().into_response(),
            ("HEAD", None) => StatusCode::NOT_FOUND.into_response(),
            ("PUT", _) => {
                let kept = head.headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
                let kept = kept.filter(|(name, _)| kept_names().contains(&name.as_str())).collect();
                account.blobs.insert(path, (kept, body));
                StatusCode::CREATED.into_response()
            }
            _ => {
                account.blobs.remove(&path);
                StatusCode::ACCEPTED.into_response()
            }
        }
    }

    fn kept_names() -> [&'static str; 3] {
        ["x-ms-meta-sha256", "x-ms-blob-content-type", "x-ms-blob-cache-control"]
    }

    async fn website(account: &Arc<Mutex<Account>>, patience: Duration) -> Website {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/account/$web", listener.local_addr().unwrap());
        let app = Router::new().fallback(serve).with_state(account.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let credential = BlobCredential::SharedKey { account: "account".into(), key: "a2V5".into() };
        let blobs = AzureBlobs::new(&http_client().unwrap(), credential, &url).unwrap();
        Website { account: "account".into(), blobs, patience, pace: Duration::from_millis(1) }
    }

    fn outputs(values: &[(&str, &str)]) -> Outputs {
        let outputs = values.iter().map(|(name, value)| ((*name).to_owned(), json!({"value": value})));
        outputs.collect::<Map<_, _>>()
    }

    /// Packages these files.
    fn packaged(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let mut sums = String::new();
        for (name, text) in files {
            fs::write(folder.path().join(FOLDER).join(name), text).unwrap();
            sums.push_str(&format!("{}  {FOLDER}/{name}\n", hex(&Sha256::digest(text))));
        }
        fs::write(folder.path().join(SUMS), sums).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_website_becomes_what_was_packaged() {
        let account = Arc::new(Mutex::new(Account::default()));
        let website = website(&account, Duration::ZERO).await;
        let calls = || std::mem::take(&mut account.lock().unwrap().calls);
        let folder = packaged(&[("index.html", "1"), ("old.js", "2"), ("shop.js", "3")]);
        let pages = Pages::read(folder.path(), &outputs(&[])).unwrap();
        assert_eq!(website.publish(&pages, |_| panic!("nothing is refused")).await.unwrap(), (4, 0));
        // The page after what it loads.
        assert_eq!(calls(), ["PUT config.json", "PUT old.js", "PUT shop.js", "PUT index.html"]);
        {
            let account = account.lock().unwrap();
            let (headers, bytes) = &account.blobs["index.html"];
            assert_eq!(bytes, "1");
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            assert_eq!(
                kept_names().map(header),
                [hex(&Sha256::digest("1")), "text/html; charset=utf-8".into(), "no-cache".into()]
            );
        }
        assert_eq!(website.publish(&pages, |_| ()).await.unwrap(), (0, 0));
        assert_eq!(calls(), [] as [&str; 0]);

        let folder = packaged(&[("index.html", "1"), ("shop.js", "4")]);
        let pages = Pages::read(folder.path(), &outputs(&[])).unwrap();
        let found = website.differences(&pages).await.unwrap();
        assert_eq!(found, (vec!["shop.js".to_owned()], vec!["old.js".to_owned()]));
        assert_eq!(website.publish(&pages, |_| ()).await.unwrap(), (1, 1));
        assert_eq!(calls(), ["PUT shop.js", "DELETE old.js"]);
    }

    #[tokio::test]
    async fn a_website_that_is_gone_is_told_as_such() {
        let gone = async || (StatusCode::NOT_FOUND, [("x-ms-error-code", "ContainerNotFound")]);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/account/$web", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(gone)).await });
        let credential = BlobCredential::SharedKey { account: "account".into(), key: "a2V5".into() };
        let blobs = AzureBlobs::new(&http_client().unwrap(), credential, &url).unwrap();
        let website =
            Website { account: "account".into(), blobs, patience: Duration::ZERO, pace: Duration::from_millis(1) };
        let pages = Pages::read(packaged(&[("index.html", "1")]).path(), &outputs(&[])).unwrap();
        let failure = website.differences(&pages).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused { status: 404, .. }), "{failure}");
    }

    #[tokio::test]
    async fn a_role_that_does_not_hold_yet_is_waited_for() {
        let account = Arc::new(Mutex::new(Account { refuses: 2, ..Account::default() }));
        let folder = packaged(&[("index.html", "1")]);
        let pages = Pages::read(folder.path(), &outputs(&[])).unwrap();
        let told = Mutex::new(0);
        let patient = website(&account, ROLE).await;
        assert_eq!(patient.publish(&pages, |_| *told.lock().unwrap() += 1).await.unwrap(), (2, 0));
        assert_eq!(told.into_inner().unwrap(), 2);

        account.lock().unwrap().refuses = 1;
        let refused = website(&account, Duration::ZERO).await.publish(&pages, |_| ()).await.unwrap_err();
        assert_eq!(refused.code(), 4);
        let said = refused.to_string();
        assert!(said.contains("AuthorizationPermissionMismatch") && said.contains("deployerId"), "{said}");
    }

    #[test]
    fn what_is_packaged_is_what_is_listed() {
        let said = |folder: &Path| Pages::read(folder, &outputs(&[])).unwrap_err().to_string();
        let folder = packaged(&[("index.html", "1")]);
        fs::write(folder.path().join(FOLDER).join("index.html"), "2").unwrap();
        assert!(said(folder.path()).contains("index.html: it has the digest"), "{}", said(folder.path()));
        fs::remove_file(folder.path().join(FOLDER).join("index.html")).unwrap();
        assert!(said(folder.path()).contains("No such file"), "{}", said(folder.path()));
        fs::remove_file(folder.path().join(SUMS)).unwrap();
        assert!(said(folder.path()).contains("cargo xtask package gateway"), "{}", said(folder.path()));
        assert!(said(packaged(&[("a.exe", "1")]).path()).contains("media type"));
        let folder = packaged(&[]);
        fs::write(folder.path().join(SUMS), "0  elsewhere/x.js\n").unwrap();
        assert!(said(folder.path()).contains("is no line of it"), "{}", said(folder.path()));
    }

    #[test]
    fn the_page_is_told_how_people_sign_in() {
        assert_eq!(config(&outputs(&[("signInClientId", ""), ("signInScope", "s")])), json!({"gateway": ""}));
        let told = [("signInClientId", "c"), ("signInConfiguration", "https://i/x"), ("signInScope", "s")];
        let sign_in = json!({"configuration": "https://i/x", "clientId": "c", "scope": "s"});
        assert_eq!(config(&outputs(&told)), json!({"gateway": "", "signIn": sign_in}));
    }
}

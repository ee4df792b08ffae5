//! Packages of function apps: which belongs to a site, publishing it, and waiting until the app is ready.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use azure_core::http::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::client::{Client, VERSION_WEB};
use crate::failure::Failure;
use crate::input;

/// How Kudu says that a publication has succeeded.
const SUCCEEDED: i64 = 4;

/// How the name of a publication begins; the digest of its package follows.
const DEPLOYER: &str = "skein-";

/// How long an app may take from its publication until it is ready.
const READY: Duration = Duration::from_secs(300);

/// How long to wait between two looks at an app that is not ready.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_LOCALLY: Duration = Duration::from_millis(50);

/// A package in the folder.
#[derive(Debug, PartialEq)]
pub(crate) struct Package {
    zip: PathBuf,
    /// Its SHA-256, in hexadecimal digits.
    pub(crate) digest: String,
}

/// Where an app is.
pub(crate) struct Site {
    pub(crate) name: String,
    /// Where packages are published.
    scm: String,
    /// Where it answers.
    url: String,
}

/// Finds the package of a site: `{site}.zip`, or without what makes the site's name unique. None where the folder has
/// none for it.
pub(crate) fn find(folder: &Path, site: &str) -> Result<Option<Package>, Failure> {
    let unreadable = |place: &Path, error: &dyn std::fmt::Display| {
        input(format!("{}: {error}", place.display()), "write the packages again: `cargo xtask package all`")
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut found: Option<(usize, PathBuf)> = None;
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let fits = site.strip_prefix(&stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let longer = found.as_ref().is_none_or(|(length, _)| stem.len() > *length);
        if fits && longer && path.extension().is_some_and(|extension| extension == "zip") {
            found = Some((stem.len(), path));
        }
    }
    let Some((_, zip)) = found else { return Ok(None) };
    let sum = zip.with_extension("zip.sha256");
    let text = fs::read_to_string(&sum).map_err(|error| unreadable(&sum, &error))?;
    let digest = text.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(Some(Package { zip, digest }))
}

impl Package {
    /// The zip, as its digest says.
    fn read(&self) -> Result<Vec<u8>, Failure> {
        let next = "write the packages again: `cargo xtask package all`";
        let bytes = fs::read(&self.zip).map_err(|error| input(format!("{}: {error}", self.zip.display()), next))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != self.digest {
            let why =
                format!("{} has the digest {found}, and {} is written beside it", self.zip.display(), self.digest);
            return Err(input(why, next));
        }
        Ok(bytes)
    }

    /// How its publication names itself: no other package has that name.
    fn deployer(&self) -> String {
        format!("{DEPLOYER}{}", self.digest)
    }
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Site {
    /// Looks at a deployed site.
    pub(crate) async fn look(client: &Client, subscription: &str, group: &str, name: &str) -> Result<Site, Failure> {
        let path = format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Web/sites/{name}");
        let answer = client.send(name, Method::Get, &format!("{path}?api-version={VERSION_WEB}"), None).await?;
        let properties = &answer.body["properties"];
        let hosts = properties["hostNameSslStates"].as_array().into_iter().flatten();
        let mut repositories = hosts.filter(|host| host["hostType"].as_str() == Some("Repository"));
        let scm = repositories.next().and_then(|host| host["name"].as_str());
        let (Some(scm), Some(own)) = (scm, properties["defaultHostName"].as_str()) else {
            let error =
                serde_json::json!({"error": {"code": "NoHostName", "message": "the site names no host for packages"}});
            return Err(Failure::Refused { what: name.to_owned(), status: 0, error });
        };
        let scheme = if client.is_local() { "http" } else { "https" };
        Ok(Site { name: name.to_owned(), scm: format!("{scheme}://{scm}"), url: format!("{scheme}://{own}") })
    }

    /// The publication that the site has, if it has one.
    async fn latest(&self, client: &Client) -> Result<Option<Value>, Failure> {
        client.find_at_site(&self.name, &format!("{}/api/deployments/latest", self.scm)).await
    }

    /// Whether the site runs that package.
    pub(crate) async fn has(&self, client: &Client, package: &Package) -> Result<bool, Failure> {
        Ok(self.digest(client).await?.as_ref() == Some(&package.digest))
    }

    /// The digest of the package that the site runs; none where it runs none of ours.
    pub(crate) async fn digest(&self, client: &Client) -> Result<Option<String>, Failure> {
        let latest = self.latest(client).await?.filter(|latest| latest["status"].as_i64() == Some(SUCCEEDED));
        let deployer = latest.as_ref().and_then(|latest| latest["deployer"].as_str());
        Ok(deployer.and_then(|name| name.strip_prefix(DEPLOYER)).map(str::to_owned))
    }

    /// Publishes the package, and waits until the site has taken it.
    pub(crate) async fn publish(&self, client: &Client, package: &Package) -> Result<(), Failure> {
        let bytes = package.read()?;
        let url = format!("{}/api/publish?RemoteBuild=false&Deployer={}", self.scm, package.deployer());
        let mut answer = client.upload(&self.name, &url, bytes).await?;
        let location = answer.header("location");
        let record = match &location {
            Some(path) if path.starts_with('/') => format!("{}{path}", self.scm),
            Some(url) => url.clone(),
            None => format!("{}/api/deployments/latest", self.scm),
        };
        loop {
            tokio::time::sleep(answer.retry_after()).await;
            answer = client.get_at_site(&self.name, &record).await?;
            if answer.body["complete"] != true {
                continue;
            }
            if answer.body["status"].as_i64() == Some(SUCCEEDED) {
                return Ok(());
            }
            let said = answer.body["status_text"].as_str().unwrap_or_default();
            let error = serde_json::json!({"error": {"code": "PackageRefused", "message": said}});
            return Err(Failure::Refused { what: format!("{}: package", self.name), status: 0, error });
        }
    }

    /// Waits until the app says that it is ready.
    pub(crate) async fn ready(&self, client: &Client) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let why = match client.probe(&format!("{}/api/health/ready", self.url)).await {
                Ok((200, _)) => return Ok(()),
                Ok((status, text)) => format!("health/ready answered {status}: {}", text.trim()),
                Err(why) => why,
            };
            if begun.elapsed() > READY {
                return Err(Failure::NotReady { site: self.name.clone(), why });
            }
            tokio::time::sleep(if client.is_local() { LOOK_LOCALLY } else { LOOK }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_by_the_name_of_its_site() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(&folder.path().join("none"), "x").unwrap(), None);
        for stem in ["func-desk", "func-desk-query"] {
            fs::write(folder.path().join(format!("{stem}.zip")), stem).unwrap();
            let sum = format!("{}  {stem}.zip\n", hex(&Sha256::digest(stem)));
            fs::write(folder.path().join(format!("{stem}.zip.sha256")), sum).unwrap();
        }
        let stem = |site: &str| {
            let found = find(folder.path(), site).unwrap();
            found.map(|package| String::from_utf8(package.read().unwrap()).unwrap())
        };
        assert_eq!(stem("func-desk-query-ab12c").as_deref(), Some("func-desk-query"));
        assert_eq!(stem("func-desk-ab12c").as_deref(), Some("func-desk"));
        assert_eq!(stem("func-hall-ab12c"), None);
        assert_eq!(stem("func-desktop-ab12c"), None);
        fs::write(folder.path().join("func-desk.zip"), "other").unwrap();
        let package = find(folder.path(), "func-desk").unwrap().unwrap();
        assert_eq!(package.read().unwrap_err().code(), 2);
    }
}

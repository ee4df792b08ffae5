//! The packages that were published: for each site a zip by its digest, and a record that says which one runs.
//!
//! A zip is written beside and renamed, then the record is, so that whatever dies in between leaves the old package or
//! the new one.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The folder under the state folder.
pub const FOLDER: &str = "packages";

/// The package of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The id of its publication.
    pub id: String,
    /// The zip's SHA-256, in hexadecimal digits.
    pub digest: String,
    /// How whoever published it names itself.
    pub deployer: String,
    /// When it came, in RFC 3339.
    pub received: String,
}

/// Where a site's zip of that digest is.
pub fn zip(folder: &Path, site: &str, digest: &str) -> PathBuf {
    folder.join(site).join(format!("{digest}.zip"))
}

/// Where a zip is written before it is known what it is.
pub fn draft(folder: &Path, site: &str) -> io::Result<PathBuf> {
    let own = folder.join(site);
    fs::create_dir_all(&own)?;
    Ok(own.join(format!("{}.draft", uuid::Uuid::new_v4())))
}

fn record(folder: &Path, site: &str) -> PathBuf {
    folder.join(site).join("current.json")
}

/// The package that a site runs, if it has one.
///
/// # Errors
/// A record that cannot be read.
pub fn current(folder: &Path, site: &str) -> io::Result<Option<Record>> {
    match fs::read(record(folder, site)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a zip that was written to a draft the site's package, and drops the others.
///
/// # Errors
/// A folder that cannot be written; the package is then the one it was.
pub fn accept(folder: &Path, site: &str, draft: &Path, new: &Record) -> io::Result<()> {
    let zip = zip(folder, site, &new.digest);
    fs::rename(draft, &zip)?;
    let path = record(folder, site);
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec(new)?)?;
    fs::rename(&beside, &path)?;
    // What an upload that broke off left, and the packages before this one.
    for entry in fs::read_dir(folder.join(site))?.flatten() {
        let old = entry.path();
        if old != zip && old != path {
            match fs::remove_file(&old) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Drops the package of a site that is gone.
///
/// # Errors
/// A folder that cannot be removed.
pub fn remove(folder: &Path, site: &str) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(site)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_names_the_one_zip_that_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let record = |digest: &str| Record {
            id: "i".into(),
            digest: digest.into(),
            deployer: "d".into(),
            received: "2026-01-01T00:00:00Z".into(),
        };
        assert_eq!(current(folder.path(), "app").unwrap(), None);
        for digest in ["aa", "bb"] {
            let draft = draft(folder.path(), "app").unwrap();
            fs::write(&draft, digest).unwrap();
            accept(folder.path(), "app", &draft, &record(digest)).unwrap();
        }
        assert_eq!(current(folder.path(), "app").unwrap(), Some(record("bb")));
        assert_eq!(fs::read(zip(folder.path(), "app", "bb")).unwrap(), b"bb");
        assert!(!zip(folder.path(), "app", "aa").exists());
        // An upload that broke off changes nothing.
        fs::write(draft(folder.path(), "app").unwrap(), "half").unwrap();
        assert_eq!(current(folder.path(), "app").unwrap(), Some(record("bb")));
        remove(folder.path(), "app").unwrap();
        assert_eq!(current(folder.path(), "app").unwrap(), None);
    }
}

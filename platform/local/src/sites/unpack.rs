//! Unpacks the zips that are deployed, as the platform does before it starts the host.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use skein_package::{Glibc, PackageError, digest, read};

/// The file of an unpacked package that says which it was.
const MARK: &str = ".package";

/// Why a deployed zip cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// The zip is not the one that was published.
    #[error("{zip} has the digest {found}, and {expected} was published")]
    Digest {
        /// The zip.
        zip: PathBuf,
        /// Its digest.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// It is no package that could be started.
    #[error("{0}")]
    Package(PathBuf, #[source] PackageError),
    /// The thread that unpacked it has ended.
    #[error("unpacking broke off: {0}")]
    Ended(String),
}

/// Unpacks `zip`, whose digest is known, to the folder `root`, unless that holds it already.
///
/// # Errors
/// A zip that is another one, or no package for this machine.
pub(super) fn unpack(zip: &Path, expected: &str, root: &Path, glibc: Option<Glibc>) -> Result<(), UnpackError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| UnpackError::Io(path, error)
    };
    if fs::read_to_string(root.join(MARK)).is_ok_and(|mark| mark == expected) {
        return Ok(());
    }
    let bytes = fs::read(zip).map_err(io(zip))?;
    let found = digest(&bytes);
    if found != expected {
        return Err(UnpackError::Digest { zip: zip.to_owned(), found, expected: expected.to_owned() });
    }
    let files = read(&bytes, glibc).map_err(|error| UnpackError::Package(zip.to_owned(), error))?;
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(root)(error)),
        _ => {}
    }
    for file in files {
        let path = root.join(&file.path);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(io(folder))?;
        fs::write(&path, &file.bytes).map_err(io(&path))?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io(&path))?;
    }
    // Last: a folder without the mark was not finished.
    let mark = root.join(MARK);
    fs::write(&mark, found).map_err(io(&mark))
}

/// The GLIBC of this machine, where it says so.
pub fn machine_glibc() -> Option<Glibc> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().strip_prefix("glibc ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use skein_package::{Compression, File, write};

    use super::*;

    fn publish(folder: &Path, executable: &Path) -> (PathBuf, String) {
        let host = br#"{"customHandler":{"description":{"defaultExecutablePath":"bin/handler"}}}"#;
        let files = vec![
            File { path: "host.json".into(), bytes: host.to_vec(), executable: false },
            File { path: "bin/handler".into(), bytes: fs::read(executable).unwrap(), executable: true },
        ];
        let zip = folder.join("app.zip");
        let bytes = write(files, Compression::Stored, None).unwrap();
        fs::write(&zip, &bytes).unwrap();
        (zip, digest(&bytes))
    }

    #[test]
    fn a_zip_replaces_what_was_there_and_is_unpacked_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("apps/app");
        fs::create_dir_all(root.join("stale")).unwrap();
        let (zip, digest) = publish(folder.path(), &std::env::current_exe().unwrap());
        unpack(&zip, &digest, &root, machine_glibc()).unwrap();
        let handler = root.join("bin/handler");
        assert!(!root.join("stale").exists() && root.join("host.json").is_file());
        assert_eq!(fs::metadata(&handler).unwrap().permissions().mode() & 0o777, 0o755);
        fs::write(root.join("kept"), "").unwrap();
        unpack(&zip, &digest, &root, None).unwrap();
        assert!(root.join("kept").exists(), "the same package was unpacked twice");
    }

    #[test]
    fn what_was_changed_or_cannot_run_here_is_refused_and_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("apps/app");
        fs::create_dir_all(&root).unwrap();
        let (zip, digest) = publish(folder.path(), &std::env::current_exe().unwrap());
        if Glibc::required(&fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap().is_some() {
            let error = unpack(&zip, &digest, &root, Some("2.0".parse().unwrap())).unwrap_err();
            assert!(matches!(error, UnpackError::Package(_, PackageError::Glibc { .. })), "{error}");
            let why = error.source().unwrap().to_string();
            assert!(why.starts_with("bin/handler needs GLIBC 2.") && why.contains("at most 2.0 is allowed"), "{why}");
        }
        // As a tool writes it that knows no modes: in the list of files, which ends the archive, 0755 becomes 0644.
        let mut bytes = fs::read(&zip).unwrap();
        let mode = bytes.windows(4).rposition(|four| four == [0, 0, 0xed, 0x81]).expect("the mode is in it");
        bytes[mode + 2] = 0xa4;
        let changed = folder.path().join("changed.zip");
        fs::write(&changed, &bytes).unwrap();
        let error = unpack(&changed, &skein_package::digest(&bytes), &root, None).unwrap_err();
        let why = error.source().unwrap().to_string();
        assert!(why.starts_with("bin/handler has no executable bit (mode 0644)"), "{why}");
        let mut bytes = fs::read(&zip).unwrap();
        bytes.push(0);
        fs::write(&zip, bytes).unwrap();
        assert!(matches!(unpack(&zip, &digest, &root, None), Err(UnpackError::Digest { .. })));
        fs::remove_file(&zip).unwrap();
        assert!(matches!(unpack(&zip, &digest, &root, None), Err(UnpackError::Io(..))));
        assert!(root.is_dir());
    }
}

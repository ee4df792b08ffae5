//! The zip.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Cursor, Read, Write};

use serde_json::Value;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::glibc::{ElfError, Glibc};

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path within the package, with slashes.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Whether it may be run: mode 0755, else 0644.
    pub executable: bool,
}

/// How much work goes into a small package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None: for a package that is unpacked at once.
    Stored,
    /// Deflate.
    Deflated,
}

/// Why a package cannot be written, or is none that can be started.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// No zip, or a broken one.
    #[error("it is no zip: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// Its data cannot be read.
    #[error("{path} cannot be read: {source}")]
    Data {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A path that would leave the folder that the package is unpacked to.
    #[error("the path {0:?} leads out of the package")]
    Path(String),
    /// Two files of one path.
    #[error("there are two files {0:?}")]
    Twice(String),
    /// `host.json` is missing, or does not name a custom handler.
    #[error("host.json {0}")]
    Host(String),
    /// What `host.json` starts is missing.
    #[error("{0}, which host.json starts, is not in it")]
    Missing(String),
    /// What `host.json` starts may not be run.
    #[error("{path} has no executable bit (mode {mode:04o}): on Linux it could not be started")]
    Mode {
        /// The file.
        path: String,
        /// Its mode, 0 where the archive was not made as by Unix.
        mode: u32,
    },
    /// What `host.json` starts is no binary for Linux x64.
    #[error("{path}: {source}")]
    Elf {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: ElfError,
    },
    /// It needs a newer C library than there will be.
    #[error("{path} needs GLIBC {required}, at most {allowed} is allowed: build it with `cargo xtask package`")]
    Glibc {
        /// The file.
        path: String,
        /// What it needs.
        required: Glibc,
        /// What there is.
        allowed: Glibc,
    },
}

/// The archive of the files: the same bytes for the same files, wherever and whenever it is written.
///
/// # Errors
/// Two files of one path, or what [`read`] would refuse.
pub fn write(mut files: Vec<File>, compression: Compression, allowed: Option<Glibc>) -> Result<Vec<u8>, PackageError> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let method = match compression {
        Compression::Stored => CompressionMethod::Stored,
        Compression::Deflated => CompressionMethod::Deflated,
    };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for file in &files {
        let options = SimpleFileOptions::default()
            .compression_method(method)
            // The oldest time that a zip knows.
            .last_modified_time(DateTime::default())
            .unix_permissions(if file.executable { 0o755 } else { 0o644 });
        zip.start_file(file.path.as_str(), options)?;
        zip.write_all(&file.bytes).map_err(|source| PackageError::Data { path: file.path.clone(), source })?;
    }
    let bytes = zip.finish()?.into_inner();
    checked(
        &files.iter().map(|file| (file, if file.executable { 0o755 } else { 0o644 })).collect::<Vec<_>>(),
        allowed,
    )?;
    Ok(bytes)
}

/// The files of a package, by path. `allowed` is the newest GLIBC that there is where it is to run, if that is known.
///
/// # Errors
/// A package that could not be started, by the file and the reason.
pub fn read(bytes: &[u8], allowed: Option<Glibc>) -> Result<Vec<File>, PackageError> {
    let mut zip = ZipArchive::new(Cursor::new(bytes))?;
    let mut files = Vec::with_capacity(zip.len());
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index)?;
        if entry.is_dir() {
            continue;
        }
        let path = entry.name()?.into_owned();
        if entry.enclosed_name().is_none() || entry.is_symlink() {
            return Err(PackageError::Path(path));
        }
        let mode = entry.unix_mode().unwrap_or_default() & 0o7777;
        // What the archive says of a size is not believed before it is read.
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|source| PackageError::Data { path: path.clone(), source })?;
        files.push((File { path, bytes, executable: mode & 0o111 != 0 }, mode));
    }
    checked(&files.iter().map(|(file, mode)| (file, *mode)).collect::<Vec<_>>(), allowed)?;
    let mut files: Vec<File> = files.into_iter().map(|(file, _)| file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn checked(files: &[(&File, u32)], allowed: Option<Glibc>) -> Result<(), PackageError> {
    let mut paths = BTreeSet::new();
    if let Some((twice, _)) = files.iter().find(|(file, _)| !paths.insert(&file.path)) {
        return Err(PackageError::Twice(twice.path.clone()));
    }
    let find = |path: &str| files.iter().find(|(file, _)| file.path == path);
    let host = find("host.json").ok_or_else(|| PackageError::Host("is missing".to_owned()))?;
    let host: Value =
        serde_json::from_slice(&host.0.bytes).map_err(|error| PackageError::Host(format!("is no JSON: {error}")))?;
    let path = host["customHandler"]["description"]["defaultExecutablePath"]
        .as_str()
        .ok_or_else(|| PackageError::Host("names no custom handler to start".to_owned()))?;
    let (file, mode) = find(path).ok_or_else(|| PackageError::Missing(path.to_owned()))?;
    if mode & 0o111 == 0 {
        return Err(PackageError::Mode { path: path.to_owned(), mode: *mode });
    }
    let required =
        Glibc::required(&file.bytes).map_err(|source| PackageError::Elf { path: path.to_owned(), source })?;
    if let (Some(required), Some(allowed)) = (required, allowed)
        && required > allowed
    {
        return Err(PackageError::Glibc { path: path.to_owned(), required, allowed });
    }
    Ok(())
}

/// The SHA-256 of a package, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: &[u8], executable: bool) -> File {
        File { path: path.into(), bytes: bytes.into(), executable }
    }

    const HOST: &[u8] = br#"{"customHandler":{"description":{"defaultExecutablePath":"bin/handler"}}}"#;

    fn files() -> Vec<File> {
        // The running test is a binary like any other.
        let binary = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        vec![
            file("host.json", HOST, false),
            file("commands/function.json", b"{}", false),
            file("bin/handler", &binary, true),
        ]
    }

    /// An archive as `write` would not make it.
    fn raw(files: &[(&str, &[u8], Option<u32>)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, bytes, mode) in files {
            let mut options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            if let Some(mode) = mode {
                options = options.unix_permissions(*mode);
            }
            zip.start_file(*path, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[track_caller]
    fn refused(bytes: &[u8], expected: &str) {
        let error = read(bytes, None).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn the_same_files_are_the_same_bytes_in_any_order() {
        for compression in [Compression::Stored, Compression::Deflated] {
            let one = write(files(), compression, None).unwrap();
            let mut reversed = files();
            reversed.reverse();
            assert_eq!(digest(&write(reversed, compression, None).unwrap()), digest(&one));
            let paths: Vec<String> = read(&one, None).unwrap().into_iter().map(|file| file.path).collect();
            assert_eq!(paths, ["bin/handler", "commands/function.json", "host.json"]);
            let mut expected = files();
            expected.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(read(&one, None).unwrap(), expected);
            // Made by Unix, at the oldest time.
            let mut zip = ZipArchive::new(Cursor::new(&one)).unwrap();
            let handler = zip.by_name("bin/handler").unwrap();
            assert_eq!((handler.unix_mode(), handler.last_modified()), (Some(0o100_755), Some(DateTime::default())));
        }
    }

    #[test]
    fn what_could_not_be_started_is_refused_by_name() {
        let [host, _, handler] = &files()[..] else { panic!("three files") };
        refused(b"PK", "it is no zip: ");
        refused(&raw(&[("bin/handler", b"x", Some(0o755))]), "host.json is missing");
        refused(&raw(&[("host.json", b"{}", None)]), "host.json names no custom handler");
        refused(&raw(&[("host.json", HOST, None)]), "bin/handler, which host.json starts, is not in it");
        refused(
            &raw(&[("host.json", HOST, None), ("bin/handler", &handler.bytes, Some(0o644))]),
            "bin/handler has no executable bit (mode 0644)",
        );
        refused(
            &raw(&[("host.json", HOST, None), ("bin/handler", b"#!/bin/sh", Some(0o755))]),
            "bin/handler: it is no 64-bit ELF file",
        );
        refused(
            &raw(&[("host.json", HOST, None), ("../handler", b"x", Some(0o755))]),
            "the path \"../handler\" leads out",
        );
        assert!(write(vec![host.clone(), host.clone()], Compression::Stored, None).is_err());
    }

    #[test]
    fn what_is_packaged_without_the_executable_bit_is_refused_by_name() {
        let plain = files().into_iter().map(|file| File { executable: false, ..file }).collect();
        let error = write(plain, Compression::Deflated, None).unwrap_err().to_string();
        assert_eq!(error, "bin/handler has no executable bit (mode 0644): on Linux it could not be started");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    #[test]
    fn what_needs_too_new_a_glibc_is_refused_by_name_and_version() {
        let required = Glibc::required(&files()[2].bytes).unwrap().expect("a test of GNU/Linux needs GLIBC");
        let older = Glibc(2, required.1 - 1, 0);
        let expected = format!(
            "bin/handler needs GLIBC {required}, at most {older} is allowed: build it with `cargo xtask package`"
        );
        let archive = write(files(), Compression::Stored, Some(required)).unwrap();
        read(&archive, Some(required)).unwrap();
        assert_eq!(write(files(), Compression::Stored, Some(older)).unwrap_err().to_string(), expected);
        assert_eq!(read(&archive, Some(older)).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_package_that_was_cut_or_changed_is_refused() {
        let whole = write(files(), Compression::Deflated, None).unwrap();
        assert!(read(&whole[..whole.len() - 30], None).is_err());
        let mut changed = whole.clone();
        changed[whole.len() / 3] ^= 0xff;
        assert!(read(&changed, None).is_err());
    }
}

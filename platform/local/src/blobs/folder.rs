//! Blobs as files: one for each, and beside those that only grow a small one with their size.
//!
//! A block is written behind the size that is known, then the size is moved: whoever dies in between has appended
//! nothing. `{folder}/{account}/{container}/{name}`; the topic puts its dead letters there, too. A blob that was written
//! whole may have a third, with what it is served with.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use skein_core::blob::MAX_BLOCKS;

/// A container's folder. One process writes to it.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    writing: Arc<Mutex<()>>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is done.
    Done,
    /// There is a blob of this name, or of another type.
    Exists,
    /// There is no such blob.
    Missing,
    /// The blob ends elsewhere.
    Moved,
    /// The blob has all the blocks that it may have.
    Full,
}

/// What a blob is served with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// Its media type, where it says one.
    pub content_type: Option<String>,
    /// How long whoever asks may keep it.
    pub cache_control: Option<String>,
    /// What its writer has to say of it, by name.
    pub metadata: BTreeMap<String, String>,
}

/// The bytes of a part, and the blob's size and whether it grows.
#[derive(Debug)]
pub struct Found {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The whole size.
    pub size: u64,
    /// Whether it is appended to.
    pub grows: bool,
    /// What it is served with.
    pub properties: Properties,
}

impl Folder {
    /// Opens a container, and makes its folder.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Folder { root, writing: Arc::default() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `.{name}.{what}`: names of blobs do not begin with a dot.
    fn beside(&self, name: &str, what: &str) -> PathBuf {
        let path = self.path(name);
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        path.with_file_name(format!(".{file}.{what}"))
    }

    fn size_path(&self, name: &str) -> PathBuf {
        self.beside(name, "size")
    }

    fn properties_path(&self, name: &str) -> PathBuf {
        self.beside(name, "properties")
    }

    fn properties(&self, name: &str) -> io::Result<Properties> {
        match fs::read(self.properties_path(name)) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Properties::default()),
            Err(error) => Err(error),
        }
    }

    /// Size and blocks of a blob that grows.
    fn size(&self, name: &str) -> io::Result<Option<(u64, usize)>> {
        let text = match fs::read_to_string(self.size_path(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let numbers = text.trim().split_once(' ');
        let read = numbers.and_then(|(size, blocks)| Some((size.parse().ok()?, blocks.parse().ok()?)));
        read.map(Some).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("the size of {name} is {text:?}")))
    }

    fn write_size(&self, name: &str, size: u64, blocks: usize) -> io::Result<()> {
        replace(&self.size_path(name), format!("{size} {blocks}\n").as_bytes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an empty blob that can be appended to.
    pub fn create(&self, name: &str) -> io::Result<Written> {
        let _writing = self.lock();
        let path = self.path(name);
        if path.is_file() {
            return Ok(Written::Exists);
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        // The size first: a file without one would be a blob that was written whole.
        self.write_size(name, 0, 0)?;
        File::create(&path)?;
        Ok(Written::Done)
    }

    /// Appends a block.
    pub fn append(&self, name: &str, at: Option<u64>, block: &[u8]) -> io::Result<Written> {
        let _writing = self.lock();
        if !self.path(name).is_file() {
            return Ok(Written::Missing);
        }
        let Some((size, blocks)) = self.size(name)? else { return Ok(Written::Exists) };
        if at.is_some_and(|at| at != size) {
            return Ok(Written::Moved);
        }
        if blocks >= MAX_BLOCKS {
            return Ok(Written::Full);
        }
        let mut file = OpenOptions::new().write(true).open(self.path(name))?;
        file.seek(SeekFrom::Start(size))?;
        file.write_all(block)?;
        self.write_size(name, size + block.len() as u64, blocks + 1)?;
        Ok(Written::Done)
    }

    /// Writes a blob whole.
    pub fn put(&self, name: &str, bytes: &[u8], properties: &Properties) -> io::Result<()> {
        let _writing = self.lock();
        let (path, beside) = (self.path(name), self.properties_path(name));
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        // What is said of a blob is never said of the one before: none is said while it is replaced.
        remove(&beside)?;
        replace(&path, bytes)?;
        remove(&self.size_path(name))?;
        if *properties == Properties::default() {
            return Ok(());
        }
        replace(&beside, &serde_json::to_vec(properties)?)
    }

    /// Reads a part; `None` where there is no blob.
    pub fn read(&self, name: &str, from: u64, most: u64) -> io::Result<Option<Found>> {
        let mut file = match File::open(self.path(name)) {
            Ok(file) if file.metadata()?.is_file() => file,
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(error),
        };
        let grown = self.size(name)?;
        let size = grown.map_or(file.metadata()?.len(), |(size, _)| size);
        let mut bytes = Vec::new();
        if from < size {
            file.seek(SeekFrom::Start(from))?;
            file.take(most.min(size - from)).read_to_end(&mut bytes)?;
        }
        Ok(Some(Found { bytes, size, grows: grown.is_some(), properties: self.properties(name)? }))
    }

    /// Names that begin so, with sizes, in order.
    pub fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        let mut open = vec![self.root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let name = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
                // Neither sizes nor what is being written.
                let file = name.rsplit('/').next().unwrap_or_default();
                if name.starts_with(prefix) && !file.starts_with('.') && !file.ends_with(".tmp") {
                    let size = self.size(&name)?.map_or(fs::metadata(&path)?.len(), |(size, _)| size);
                    found.push((name, size));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes a blob; false where there is none.
    pub fn delete(&self, name: &str) -> io::Result<bool> {
        let _writing = self.lock();
        remove(&self.properties_path(name))?;
        let removed = remove(&self.path(name))?;
        remove(&self.size_path(name))?;
        Ok(removed)
    }
}

/// Writes a file so that it is seen as it was or as it is.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{file}.tmp"));
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_broke_off_was_not_appended() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Folder::open(folder.path().to_owned()).unwrap();
        blobs.create("a/b").unwrap();
        assert_eq!(blobs.append("a/b", Some(0), b"one").unwrap(), Written::Done);
        // As if the process had died before the size was moved.
        let mut file = OpenOptions::new().append(true).open(folder.path().join("a/b")).unwrap();
        file.write_all(b"half a blo").unwrap();
        assert_eq!(blobs.read("a/b", 0, 100).unwrap().unwrap().bytes, b"one");
        assert_eq!(blobs.append("a/b", Some(3), b"two").unwrap(), Written::Done);
        assert_eq!(blobs.read("a/b", 0, 100).unwrap().unwrap().bytes, b"onetwo");
        assert_eq!(blobs.list("").unwrap(), [("a/b".to_owned(), 6)]);
    }
}

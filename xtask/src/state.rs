//! The folder in which a local system keeps everything.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Marks a folder as ours: nothing else is ever dropped.
const MARKER: &str = "skein-state";
/// Remembers the planes' port: deployed resources hold addresses, which stay the same across restarts.
const PLANES_PORT: &str = "planes-port";

/// A state folder that exists and is ours.
pub struct State {
    folder: PathBuf,
}

impl State {
    /// Opens the folder, makes it if it is missing, and drops what it holds if asked.
    pub fn open(folder: &Path, fresh: bool) -> Result<Self> {
        if fresh {
            drop_state(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        let marker = folder.join(MARKER);
        fs::write(&marker, "The state of a local Skein system. `cargo xtask up --fresh` drops this folder.\n")
            .with_context(|| format!("cannot write {}", marker.display()))?;
        Ok(State { folder })
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The planes' port: the one of last time where it is free.
    pub fn planes_port(&self) -> Result<u16> {
        let file = self.join(PLANES_PORT);
        let last = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, last))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("no port of 127.0.0.1 is free")?;
        let port = listener.local_addr().context("the port is not known")?.port();
        fs::write(&file, format!("{port}\n")).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(port)
    }
}

/// Drops a folder that is ours, and refuses any other.
fn drop_state(folder: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if !folder.join(MARKER).is_file() {
        bail!(
            "{} is not empty and holds no {MARKER:?}, so it is not dropped; give --state another folder",
            folder.display()
        );
    }
    refuse_if_running(folder)?;
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Refuses while a system runs on the folder.
pub fn refuse_if_running(folder: &Path) -> Result<()> {
    let Ok(lock) = fs::File::open(folder.join("local.lock")) else { return Ok(()) };
    match lock.try_lock() {
        Err(fs::TryLockError::WouldBlock) => {
            bail!("a system runs on {}; stop it first, or give --state another folder", folder.display())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_folder_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let ours = parent.path().join("ours");
        State::open(&ours, true).unwrap();
        fs::write(ours.join("kept"), "x").unwrap();
        State::open(&ours, false).unwrap();
        assert!(ours.join("kept").exists());
        State::open(&ours, true).unwrap();
        assert!(!ours.join("kept").exists());

        let foreign = parent.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), "x").unwrap();
        let Err(refusal) = State::open(&foreign, true) else { panic!("a foreign folder was dropped") };
        assert!(refusal.to_string().contains("foreign is not empty"), "{refusal}");
        assert!(foreign.join("thesis.txt").exists());
    }

    #[test]
    fn a_running_system_keeps_its_folder() {
        let parent = tempfile::tempdir().unwrap();
        let state = State::open(&parent.path().join("s"), false).unwrap();
        let lock = fs::File::create(state.join("local.lock")).unwrap();
        lock.lock().unwrap();
        let Err(refusal) = State::open(state.folder(), true) else { panic!("the state was dropped") };
        assert!(refusal.to_string().contains("a system runs on"), "{refusal}");
    }

    #[test]
    fn the_planes_port_is_remembered_while_it_is_free() {
        let parent = tempfile::tempdir().unwrap();
        let state = State::open(parent.path(), false).unwrap();
        let port = state.planes_port().unwrap();
        assert_eq!(state.planes_port().unwrap(), port);
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(state.planes_port().unwrap(), port);
    }
}

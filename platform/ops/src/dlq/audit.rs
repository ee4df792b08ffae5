//! What purges dropped: a line of JSON each, on stderr and in a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Letter;

/// The audit of one command. Its lines hold the whole letter, so that what was dropped by mistake can be sent by hand.
#[derive(Debug)]
pub struct Audit {
    file: File,
    place: String,
    service: String,
    source: &'static str,
}

impl Audit {
    /// Appends to the file; makes it, readable by its owner only.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn open(path: &Path, service: &str, source: &'static str) -> Result<Self> {
        let place = path.display().to_string();
        let written = || format!("cannot write the audit {place}");
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(written)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).with_context(written)?;
        Ok(Audit { file, place, service: service.to_owned(), source })
    }

    /// Writes down what is about to be dropped, and waits until it is on disk.
    ///
    /// # Errors
    /// A file that cannot be written: then nothing may be dropped.
    pub fn purged(&self, letter: &Letter) -> Result<()> {
        let now = OffsetDateTime::now_utc().format(&Rfc3339)?;
        let by = std::env::var("USER").unwrap_or_default();
        let line = json!({
            "time": now, "audit": "purged", "by": by, "service": self.service, "source": self.source,
            "letter": letter,
        });
        let mut file = &self.file;
        let written = writeln!(file, "{line}").and_then(|()| file.sync_data());
        written.with_context(|| format!("cannot write the audit {}", self.place))?;
        eprintln!(
            "purged {} of {} in {}: {}",
            letter.id,
            self.source,
            self.service,
            letter.code().map_or("", |code| code)
        );
        Ok(())
    }
}

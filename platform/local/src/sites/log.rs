//! The log of a function app: one JSON object a line in `logs/{site}.log`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The severity of a line, as the functions host names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What goes well.
    Information,
    /// What may be wrong.
    Warning,
    /// What is wrong.
    Error,
}

impl Level {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Information => "Information",
            Level::Warning => "Warning",
            Level::Error => "Error",
        }
    }
}

/// The level of a line that the worker wrote to stderr.
pub fn stderr_level(line: &str, errors_only: bool) -> Level {
    let line = line.to_ascii_lowercase();
    if errors_only {
        return if line.contains("warn") { Level::Warning } else { Level::Error };
    }
    let bad = ["error", "fail", "severe", "unhandled exception"];
    if bad.iter().any(|word| line.contains(word)) { Level::Error } else { Level::Information }
}

/// The log of one site.
#[derive(Debug)]
pub struct SiteLog {
    site: String,
    file: Mutex<File>,
}

/// The category of what the worker writes.
pub const CONSOLE: &str = "Host.Function.Console";

/// The category of what the host itself says.
pub const HOST: &str = "Host";

impl SiteLog {
    /// Opens the log of a site in a folder, to append.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(folder: &Path, site: &str) -> std::io::Result<SiteLog> {
        std::fs::create_dir_all(folder)?;
        let file = OpenOptions::new().create(true).append(true).open(folder.join(format!("{site}.log")))?;
        Ok(SiteLog { site: site.to_owned(), file: Mutex::new(file) })
    }

    /// Writes one line. `more` is an object whose members are added.
    pub fn write(&self, level: Level, category: &str, message: &str, more: Value) {
        let mut line = json!({
            "time": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "level": level.name(),
            "category": category,
            "message": message,
        });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not take the functions down with it.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }

    /// Says something about the host itself: in the log, and for people on stderr unless it is only information.
    pub fn host(&self, level: Level, message: &str) {
        self.write(level, HOST, message, Value::Null);
        if level != Level::Information {
            eprintln!("{}: {message}", self.site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_stderr() {
        assert_eq!(stderr_level("boom", true), Level::Error);
        assert_eq!(stderr_level("WARNING: x", true), Level::Warning);
        assert_eq!(stderr_level("boom", false), Level::Information);
        assert_eq!(stderr_level("It Failed", false), Level::Error);
    }

    #[test]
    fn lines_are_json() {
        let folder = tempfile::tempdir().unwrap();
        let log = SiteLog::open(folder.path(), "s").unwrap();
        log.write(Level::Warning, CONSOLE, "a\nb", json!({"n": 1}));
        let text = std::fs::read_to_string(folder.path().join("s.log")).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (line["level"].as_str(), line["message"].as_str(), &line["n"]),
            (Some("Warning"), Some("a\nb"), &json!(1))
        );
    }
}

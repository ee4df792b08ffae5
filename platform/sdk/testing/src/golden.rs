//! Golden files of everything that was ever stored or published, one for each sample of each version.
//!
//! A store keeps what was written for as long as the business lives, and a topic's readers are deployed on their own, so
//! the files are a memory of forms that nobody may forget. `{Name}.v{version}.{sample}.json` holds a payload byte for
//! byte. A check fails when
//!
//! - a version from 1 to today's has no file;
//! - a file can no longer be read, or stands for a name or version that the code does not know;
//! - the bytes that are written today differ from the file of today's version.
//!
//! `UPDATE_EXPECT=1` writes the files that are missing. It never changes one: another form is another version.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use serde_json::value::RawValue;
use skein_core::{Contract, DomainEvent};

/// Checks an aggregate's events. `samples` holds at least one of each type, with a name for the sample.
///
/// # Panics
/// When the files and the code disagree; the message says in what, and what to do.
#[track_caller]
pub fn check_events<E: DomainEvent + PartialEq + Debug>(
    folder: impl AsRef<Path>,
    samples: impl IntoIterator<Item = (&'static str, E)>,
) {
    let mut format = Format::new(E::STORED.iter().map(|&(name, version)| (name.to_owned(), version)));
    for (sample, event) in samples {
        let payload = event.encode().expect("an event has JSON");
        let read = E::decode(event.name(), event.version(), &payload).expect("what is written can be read");
        assert!(read == event, "{sample}: {read:?} was read, {event:?} was written");
        format.written.push((event.name().to_owned(), sample.to_owned(), payload.get().to_owned()));
    }
    let read = |name: &str, version, payload: &RawValue| {
        E::decode(name, version, payload).map(drop).map_err(|error| error.to_string())
    };
    finish(format.check(folder.as_ref(), &read, updating()));
}

/// Checks contracts: what a service publishes.
#[must_use = "nothing is checked before `check`"]
pub struct Published {
    format: Format,
    readers: BTreeMap<&'static str, Reader>,
}

/// Says whether a payload of a version can be read.
type Reader = fn(u32, &RawValue) -> Result<(), String>;

/// Begins a check of contracts.
pub fn published() -> Published {
    Published { format: Format::new([]), readers: BTreeMap::new() }
}

impl Published {
    /// One more sample of a contract.
    ///
    /// # Panics
    /// When the sample does not survive its JSON.
    #[track_caller]
    pub fn sample<C: Contract + PartialEq + Debug>(mut self, sample: &str, contract: &C) -> Self {
        let json = serde_json::value::to_raw_value(contract).expect("a contract has JSON");
        let read = C::decode(C::VERSION, &json).expect("what is written can be read");
        assert!(read == *contract, "{sample}: {read:?} was read, {contract:?} was written");
        self.format.known.insert(C::TYPE.to_owned(), C::VERSION);
        self.format.written.push((C::TYPE.to_owned(), sample.to_owned(), json.get().to_owned()));
        self.readers
            .insert(C::TYPE, |version, data| C::decode(version, data).map(drop).map_err(|error| error.to_string()));
        self
    }

    /// Checks the files of the folder.
    ///
    /// # Panics
    /// When the files and the code disagree; the message says in what, and what to do.
    #[track_caller]
    pub fn check(self, folder: impl AsRef<Path>) {
        let read = |name: &str, version, data: &RawValue| self.readers[name](version, data);
        finish(self.format.check(folder.as_ref(), &read, updating()));
    }
}

/// The payload in a golden file, to be folded by a test of its own.
///
/// # Panics
/// When there is no such file.
#[track_caller]
pub fn payload(file: impl AsRef<Path>) -> Box<RawValue> {
    let file = file.as_ref();
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    RawValue::from_string(text.trim_end().to_owned()).expect("a golden file holds JSON")
}

pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1")
}

#[track_caller]
pub(crate) fn finish(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n- {}\n", problems.join("\n- "));
}

struct Format {
    /// Today's version of each name.
    known: BTreeMap<String, u32>,
    /// Name, sample and JSON of what is written today.
    written: Vec<(String, String, String)>,
}

impl Format {
    fn new(known: impl IntoIterator<Item = (String, u32)>) -> Self {
        Format { known: known.into_iter().collect(), written: Vec::new() }
    }

    fn check(
        &self,
        folder: &Path,
        read: &dyn Fn(&str, u32, &RawValue) -> Result<(), String>,
        update: bool,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, sample, json) in &self.written {
            let version = self.known[name];
            let path = folder.join(format!("{name}.v{version}.{sample}.json"));
            match fs::read_to_string(&path) {
                Ok(golden) if golden.trim_end() == json => {}
                Ok(golden) => problems.push(format!(
                    "{name} version {version} is written in another form than before ({sample}):\n    before {}\n    \
                     now    {json}\n  What is stored or published stays as it is: raise the version to {}, keep the \
                     former type and name it with `formerly`.",
                    golden.trim_end(),
                    version + 1,
                )),
                Err(_) if update => {
                    fs::create_dir_all(folder)
                        .and_then(|()| fs::write(&path, format!("{json}\n")))
                        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
                }
                Err(_) => problems.push(format!(
                    "{name} version {version} has no golden file {}: if it is new, UPDATE_EXPECT=1 writes it",
                    path.display()
                )),
            }
        }
        let mut seen: BTreeMap<(&str, u32), usize> = BTreeMap::new();
        let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
        files.sort();
        for file in &files {
            let title = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((name, version)) = parse(title).and_then(|(name, version)| {
                Some((self.known.get_key_value(name).map(|(name, _)| name.as_str())?, version))
            }) else {
                problems.push(format!(
                    "{title}: the code knows nothing of this name any more, but stores and topics hold it"
                ));
                continue;
            };
            *seen.entry((name, version)).or_default() += 1;
            let text = fs::read_to_string(file).unwrap_or_default();
            match RawValue::from_string(text.trim_end().to_owned()) {
                Err(error) => problems.push(format!("{title}: no JSON: {error}")),
                Ok(payload) => {
                    if let Err(error) = read(name, version, &payload) {
                        problems.push(format!("{title} cannot be read any more: {error}"));
                    }
                }
            }
        }
        for (name, &version) in &self.known {
            if !self.written.iter().any(|(written, ..)| written == name) {
                problems.push(format!("{name} has no sample"));
            }
            for former in (1..version).filter(|former| !seen.contains_key(&(name.as_str(), *former))) {
                problems.push(format!(
                    "{name} version {former} has no golden file: bring it back from the history of the repository"
                ));
            }
        }
        problems
    }
}

/// Name and version in `{name}.v{version}.{sample}.json`.
fn parse(title: &str) -> Option<(&str, u32)> {
    let (name, _) = title.strip_suffix(".json")?.rsplit_once('.')?;
    let (name, version) = name.rsplit_once(".v")?;
    Some((name, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Opened {
        by: String,
        urgent: bool,
    }
    #[derive(Deserialize)]
    struct OpenedV1 {
        by: String,
    }
    impl From<OpenedV1> for Opened {
        fn from(OpenedV1 { by }: OpenedV1) -> Self {
            Opened { by, urgent: false }
        }
    }
    skein_core::events! { enum Event { Opened(Opened) = ("Opened", 2) formerly (OpenedV1) } }

    fn problems(folder: &Path, written: &str, update: bool) -> Vec<String> {
        let mut format = Format::new([("Opened".to_owned(), 2)]);
        format.written.push(("Opened".to_owned(), "one".to_owned(), written.to_owned()));
        let read = |name: &str, version, payload: &RawValue| {
            Event::decode(name, version, payload).map(drop).map_err(|error| error.to_string())
        };
        let problems = format.check(folder, &read, update);
        problems.into_iter().map(|problem| problem.lines().next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn forms_are_not_forgotten() {
        let folder = std::env::temp_dir().join(format!("skein-golden-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let today = r#"{"by":"ann","urgent":true}"#;
        let check = |written: &str, update, expected: &[&str]| {
            let found = problems(&folder, written, update);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{found:?} does not say {expected:?}");
            }
        };
        check(today, false, &["version 2 has no golden file", "version 1 has no golden file"]);
        // Today's version is written, a former one is not: nobody knows its bytes any more.
        check(today, true, &["version 1 has no golden file"]);
        fs::write(folder.join("Opened.v1.one.json"), "{\"by\":\"ann\"}\n").unwrap();
        check(today, false, &[]);
        // Another form under the same version is refused, and not written over.
        let other = r#"{"by":"ann","urgent":"yes"}"#;
        check(other, true, &["version 2 is written in another form"]);
        check(today, false, &[]);
        fs::write(folder.join("Opened.v1.two.json"), r#"{"who":"ann"}"#).unwrap();
        fs::write(folder.join("Opened.v3.one.json"), today).unwrap();
        fs::write(folder.join("Closed.v1.one.json"), "{}").unwrap();
        check(
            today,
            false,
            &[
                "Closed.v1.one.json: the code knows nothing",
                "Opened.v1.two.json cannot be read any more: the payload of \"Opened\" version 1",
                "Opened.v3.one.json cannot be read any more: version 3",
            ],
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}

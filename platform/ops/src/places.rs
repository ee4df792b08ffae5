//! Where a service's data planes are: from the list of resources, or from the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The parts of a service that an operator can reach, as `--at PART=URL` names them.
pub const PARTS: [&str; 8] =
    ["event-store", "query-store", "commands", "events", "rebuild", "topic", "dead-letters", "backups"];

/// Why it is not known where something is.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// The list cannot be read.
    #[error("cannot read the list of resources {0}: is a system up there? (`cargo xtask up --state …`)")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is no list of resources.
    #[error("{0} is no list of resources")]
    Malformed(PathBuf, #[source] serde_json::Error),
    /// The list has no such service.
    #[error("there is no service {service:?} in the list of resources; it has {known}")]
    Service {
        /// What was asked for.
        service: String,
        /// Those that are there.
        known: String,
    },
    /// The list does not say where a part is.
    #[error("it is not known where {part} of {service} is; say it with `--at {part}=URL`")]
    Part {
        /// The service.
        service: String,
        /// One of [`PARTS`].
        part: &'static str,
    },
}

/// Where the planes of one service are.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    service: String,
    parts: BTreeMap<&'static str, Vec<String>>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    properties: Value,
}

#[derive(Deserialize)]
struct Setting {
    name: String,
    value: String,
}

impl Places {
    /// The places of a service: those given first, the others from the list. A list is not needed where everything
    /// that is then asked for is given.
    ///
    /// # Errors
    /// A list that cannot be read (unless something is given) or has no such service.
    pub fn find(service: &str, given: &BTreeMap<&'static str, Vec<String>>, list: &Path) -> Result<Self, PlacesError> {
        let text = match std::fs::read(list) {
            Ok(text) => text,
            Err(_) if !given.is_empty() => {
                return Ok(Places { service: service.to_owned(), parts: given.clone() });
            }
            Err(error) => return Err(PlacesError::Read(list.to_owned(), error)),
        };
        let listed: Vec<Listed> =
            serde_json::from_slice(&text).map_err(|error| PlacesError::Malformed(list.to_owned(), error))?;
        let mut places = Places::listed(service, &listed)?;
        places.parts.extend(given.clone());
        Ok(places)
    }

    fn listed(service: &str, list: &[Listed]) -> Result<Self, PlacesError> {
        let mut known: Vec<String> = Vec::new();
        let mut parts = BTreeMap::new();
        for site in list.iter().filter(|one| one.kind.eq_ignore_ascii_case("Microsoft.Web/sites")) {
            let settings = site.properties.pointer("/siteConfig/appSettings").cloned().unwrap_or_default();
            let settings: Vec<Setting> = serde_json::from_value(settings).unwrap_or_default();
            let setting = |name: &str| settings.iter().find(|one| one.name == name).map(|one| one.value.as_str());
            let Some(own) = setting("SKEIN_SERVICE") else { continue };
            if !known.iter().any(|name| name == own) {
                known.push(own.to_owned());
            }
            if own != service {
                continue;
            }
            // Azure ends an account's endpoint in a slash.
            let plain = |url: &str| url.trim().trim_end_matches('/').to_owned();
            let urls = |text: &str| text.split(',').map(plain).collect::<Vec<_>>();
            if let Some(shards) = setting("SKEIN_EVENT_STORE") {
                parts.insert("event-store", urls(shards));
            }
            for (part, name) in [("query-store", "SKEIN_QUERY_STORE"), ("topic", "SKEIN_TOPIC")] {
                if let Some(url) = setting(name) {
                    parts.insert(part, vec![plain(url)]);
                }
            }
            let queues = setting("SKEIN_COMMAND_QUEUES").unwrap_or_default();
            let commands = queues.split(',').find_map(|pair| pair.trim().strip_prefix(service)?.strip_prefix('='));
            if let Some(commands) = commands {
                parts.insert("commands", vec![commands.to_owned()]);
                // In a namespace that services share the queues' names begin with the service's.
                if let Some(before) = commands.strip_suffix("commands") {
                    parts.insert("events", vec![format!("{before}events")]);
                    parts.insert("rebuild", vec![format!("{before}rebuild")]);
                }
            }
        }
        if !known.iter().any(|name| name == service) {
            return Err(PlacesError::Service { service: service.to_owned(), known: known.join(", ") });
        }
        let found = parts.get("query-store").and_then(|urls: &Vec<String>| dead_letters(service, list, &urls[0]));
        if let Some((account, folder)) = found {
            parts.insert("backups", vec![format!("{account}/{BACKUPS}")]);
            parts.insert("dead-letters", vec![format!("{account}/{folder}")]);
        }
        Ok(Places { service: service.to_owned(), parts })
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The addresses of a part, one of [`PARTS`]: one for each shard of the event store, one of everything else.
    ///
    /// # Errors
    /// A part whose place is not known.
    pub fn all(&self, part: &'static str) -> Result<&[String], PlacesError> {
        let urls = self.parts.get(part).filter(|urls| !urls.is_empty());
        urls.map(Vec::as_slice).ok_or_else(|| PlacesError::Part { service: self.service.clone(), part })
    }

    /// The address of a part, one of [`PARTS`].
    ///
    /// # Errors
    /// A part whose place is not known.
    pub fn one(&self, part: &'static str) -> Result<&str, PlacesError> {
        Ok(&self.all(part)?[0])
    }

    /// Whether everything is on this machine.
    pub fn local(&self) -> bool {
        self.parts.values().flatten().all(|url| url.starts_with("http://127.0.0.1:"))
    }
}

/// The container of all services' exports, in the account of the topic's dead letters.
const BACKUPS: &str = "backups";

/// The blob service of the storage account whose tables are there.
fn blobs(tables: &str) -> String {
    match tables.split_once("/tables/") {
        Some((planes, account)) => format!("{planes}/blobs/{account}"),
        None => tables.replacen(".table.", ".blob.", 1),
    }
}

/// Where the topic puts what it could not deliver to the service: the account's blobs, then the container with the
/// folder of the service's subscription in it.
fn dead_letters(service: &str, list: &[Listed], tables: &str) -> Option<(String, String)> {
    let subscription = list.iter().find(|one| {
        one.kind.eq_ignore_ascii_case("Microsoft.EventGrid/topics/eventSubscriptions")
            && one.name.rsplit('/').next() == Some(service)
    })?;
    let destination = ["/deadLetterWithResourceIdentity/deadLetterDestination", "/deadLetterDestination"]
        .into_iter()
        .find_map(|pointer| subscription.properties.pointer(pointer))?
        .get("properties")?;
    let account = destination.get("resourceId")?.as_str()?.rsplit('/').next()?;
    let container = destination.get("blobContainerName")?.as_str()?;
    let own = blobs(tables);
    // Another account of the same deployment.
    let url = match own.split_once("/blobs/") {
        Some((planes, _)) => format!("{planes}/blobs/{account}"),
        None => {
            let (_, domain) = own.strip_prefix("https://")?.split_once('.')?;
            format!("https://{account}.{domain}")
        }
    };
    Some((url, format!("{container}/{}", subscription.name.to_uppercase())))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn list(tables: &str, queues: &str) -> Vec<Listed> {
        let site = |name: &str, settings: Value| {
            let settings: Vec<_> = settings
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            json!({"type": "Microsoft.Web/sites", "name": name, "properties": {"siteConfig": {"appSettings": settings}}})
        };
        serde_json::from_value(json!([
            site("a", json!({"SKEIN_SERVICE": "desk", "SKEIN_EVENT_STORE": format!("{tables},{tables}1"),
                "SKEIN_COMMAND_QUEUES": format!("hall={queues}hall/commands,desk={queues}desk/commands"),
                "SKEIN_TOPIC": "http://127.0.0.1:1/eventgrid/t"})),
            site("b", json!({"SKEIN_SERVICE": "desk", "SKEIN_QUERY_STORE": tables})),
            site("c", json!({"SKEIN_SERVICE": "hall", "SKEIN_COMMAND_QUEUES": format!("hall={queues}all/hall-commands")})),
            {"type": "Microsoft.EventGrid/topics/eventSubscriptions", "name": "evgt-s/desk", "properties": {
                "deadLetterWithResourceIdentity": {"deadLetterDestination": {"properties": {
                    "resourceId": "/subscriptions/x/storageAccounts/sts", "blobContainerName": "dead"}}}}},
        ]))
        .unwrap()
    }

    #[test]
    fn the_list_says_where_everything_is() {
        let local = list("http://127.0.0.1:1/tables/stdesk", "http://127.0.0.1:1/servicebus/sb-");
        let places = Places::listed("desk", &local).unwrap();
        assert!(places.local());
        expect![[r#"
            {
                "backups": [
                    "http://127.0.0.1:1/blobs/sts/backups",
                ],
                "commands": [
                    "http://127.0.0.1:1/servicebus/sb-desk/commands",
                ],
                "dead-letters": [
                    "http://127.0.0.1:1/blobs/sts/dead/EVGT-S/DESK",
                ],
                "event-store": [
                    "http://127.0.0.1:1/tables/stdesk",
                    "http://127.0.0.1:1/tables/stdesk1",
                ],
                "events": [
                    "http://127.0.0.1:1/servicebus/sb-desk/events",
                ],
                "query-store": [
                    "http://127.0.0.1:1/tables/stdesk",
                ],
                "rebuild": [
                    "http://127.0.0.1:1/servicebus/sb-desk/rebuild",
                ],
                "topic": [
                    "http://127.0.0.1:1/eventgrid/t",
                ],
            }
        "#]]
        .assert_debug_eq(&places.parts);
        let shared = Places::listed("hall", &local).unwrap();
        assert_eq!(shared.one("events").unwrap(), "http://127.0.0.1:1/servicebus/sb-all/hall-events");
        // As Azure says it, with a slash at its end.
        let azure = Places::listed("desk", &list("https://stdesk.table.core.windows.net/", "https://sb-")).unwrap();
        assert!(!azure.local());
        assert_eq!(azure.one("query-store").unwrap(), "https://stdesk.table.core.windows.net");
        assert_eq!(azure.one("dead-letters").unwrap(), "https://sts.blob.core.windows.net/dead/EVGT-S/DESK");
        assert_eq!(azure.one("backups").unwrap(), "https://sts.blob.core.windows.net/backups");
    }

    #[test]
    fn what_is_not_known_is_told_by_name() {
        let local = list("http://127.0.0.1:1/tables/stdesk", "http://127.0.0.1:1/servicebus/sb-");
        let error = |error: PlacesError| error.to_string();
        assert_eq!(
            error(Places::listed("dusk", &local).unwrap_err()),
            r#"there is no service "dusk" in the list of resources; it has desk, hall"#
        );
        let hall = Places::listed("hall", &local).unwrap();
        assert_eq!(
            error(hall.one("topic").unwrap_err()),
            "it is not known where topic of hall is; say it with `--at topic=URL`"
        );
        let nowhere = Path::new("/nowhere/resources.json");
        assert!(matches!(Places::find("desk", &BTreeMap::new(), nowhere), Err(PlacesError::Read(..))));
        let given = BTreeMap::from([("topic", vec!["https://t".to_owned()])]);
        assert_eq!(Places::find("desk", &given, nowhere).unwrap().one("topic").unwrap(), "https://t");
    }
}

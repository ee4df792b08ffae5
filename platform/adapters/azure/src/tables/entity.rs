//! Rows as JSON, the way the Table service writes them (OData 3, minimal metadata).

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use skein_core::table::{Etag, Properties, Row, StoredRow, Value};

/// Writes a row; each type's annotation stands before its value.
pub(crate) fn write(json: &mut String, partition: &str, row: &Row) {
    json.push_str("{\"PartitionKey\":");
    text(json, partition);
    json.push_str(",\"RowKey\":");
    text(json, &row.key);
    for (name, value) in &row.properties {
        let edm = match value {
            Value::Int64(_) => Some("Edm.Int64"),
            Value::Double(_) => Some("Edm.Double"),
            Value::Binary(_) => Some("Edm.Binary"),
            Value::String(_) | Value::Bool(_) => None,
        };
        // Writing into a text never fails.
        if let Some(edm) = edm {
            let _ = write!(json, ",\"{name}@odata.type\":\"{edm}\"");
        }
        let _ = write!(json, ",\"{name}\":");
        match value {
            Value::String(value) => text(json, value),
            Value::Int64(value) => {
                let _ = write!(json, "\"{value}\"");
            }
            Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
            Value::Double(value) => json.push_str(&Json::from(*value).to_string()),
            Value::Binary(value) => text(json, &STANDARD.encode(value)),
        }
    }
    json.push('}');
}

fn text(json: &mut String, value: &str) {
    let quoted = serde_json::to_string(value).expect("a text has a JSON form");
    // JavaScript takes these for line ends, and so does Azurite where it looks for the row's end.
    if quoted.contains(['\u{2028}', '\u{2029}']) {
        json.push_str(&quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
    } else {
        json.push_str(&quoted);
    }
}

#[derive(serde::Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    value: Vec<Entity<'a>>,
}

/// An entity's members as they stand in its JSON: names are borrowed and values moved on, for each row is read once.
struct Entity<'a>(Vec<(Cow<'a, str>, Json)>);

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Entity<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Entity<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an entity")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entity<'de>, M::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Entity(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl Entity<'_> {
    /// The text of a member; of two with one name the last counts.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(found, _)| found == name).and_then(|(_, value)| value.as_str())
    }

    /// The type that a property is annotated with.
    fn edm(&self, name: &str) -> Option<&str> {
        let is_of = |found: &str| found.strip_suffix("@odata.type") == Some(name);
        self.0.iter().rev().find(|(found, _)| is_of(found)).and_then(|(_, value)| value.as_str())
    }
}

/// Reads the rows of a query's answer, each with its partition key.
pub(crate) fn rows(body: &[u8]) -> Result<Vec<(String, StoredRow)>, String> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let row = |entity: Entity<'_>| {
        let partition = entity.text("PartitionKey").ok_or("a row without a partition key")?.to_owned();
        Ok((partition, stored(entity, None)?))
    };
    answer.value.into_iter().map(row).collect()
}

/// Reads one row; the tag may stand in a header or in the row.
pub(crate) fn row(body: &[u8], etag: Option<&str>) -> Result<StoredRow, String> {
    stored(serde_json::from_slice(body).map_err(|error| error.to_string())?, etag)
}

fn stored(mut entity: Entity<'_>, etag: Option<&str>) -> Result<StoredRow, String> {
    let etag = Etag(entity.text("odata.etag").or(etag).ok_or("a row without a tag")?.to_owned());
    let key = entity.text("RowKey").ok_or("a row without a row key")?.to_owned();
    let mut properties = Properties::new();
    for at in 0..entity.0.len() {
        let name = &*entity.0[at].0;
        if name.contains(['.', '@']) || matches!(name, "PartitionKey" | "RowKey" | "Timestamp") {
            continue;
        }
        let name = name.to_owned();
        let value = entity.0[at].1.take();
        // A property without a value is one that is not there.
        match property(&name, value, entity.edm(&name))? {
            Some(value) => properties.insert(name, value),
            None => properties.remove(&name),
        };
    }
    Ok(StoredRow { key, etag, properties })
}

fn property(name: &str, value: Json, edm: Option<&str>) -> Result<Option<Value>, String> {
    let malformed = |value: &Json| format!("the property {name:?} of type {} is {value}", edm.unwrap_or("unnamed"));
    Ok(Some(match (edm, &value) {
        (_, Json::Null) => return Ok(None),
        (Some("Edm.Int64"), Json::String(text)) => Value::Int64(text.parse().map_err(|_| malformed(&value))?),
        (Some("Edm.Int64" | "Edm.Int32"), Json::Number(number)) => {
            Value::Int64(number.as_i64().ok_or_else(|| malformed(&value))?)
        }
        (Some("Edm.Double"), Json::Number(number)) => Value::Double(number.as_f64().ok_or_else(|| malformed(&value))?),
        (Some("Edm.Double"), Json::String(text)) => Value::Double(text.parse().map_err(|_| malformed(&value))?),
        (Some("Edm.Binary"), Json::String(text)) => {
            Value::Binary(STANDARD.decode(text).map_err(|_| malformed(&value))?)
        }
        // Not annotated: 32-bit integers have no fraction, doubles have one.
        (None, Json::Number(number)) => match number.as_i64() {
            Some(integer) => Value::Int64(integer),
            None => Value::Double(number.as_f64().ok_or_else(|| malformed(&value))?),
        },
        (_, Json::Bool(flag)) => Value::Bool(*flag),
        // Dates and ids of other writers are texts to us.
        (_, Json::String(_)) => match value {
            Json::String(text) => Value::String(text),
            other => return Err(malformed(&other)),
        },
        _ => return Err(malformed(&value)),
    }))
}

/// The code of an error, as in `EntityAlreadyExists`.
pub(crate) fn error_code(body: &[u8]) -> Option<String> {
    let error: Json = serde_json::from_slice(body).ok()?;
    error["odata.error"]["code"].as_str().map(str::to_owned)
}

//! Rows as JSON, the way the Table service writes them (OData 3, minimal metadata).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use skein_core::table::{Etag, Properties, Row, StoredRow, Value};

/// Writes a row; each type's annotation stands before its value.
pub(crate) fn write(partition: &str, row: &Row) -> String {
    let mut json = String::from("{\"PartitionKey\":");
    text(&mut json, partition);
    json.push_str(",\"RowKey\":");
    text(&mut json, &row.key);
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
            Value::String(value) => text(&mut json, value),
            Value::Int64(value) => {
                let _ = write!(json, "\"{value}\"");
            }
            Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
            Value::Double(value) => json.push_str(&Json::from(*value).to_string()),
            Value::Binary(value) => text(&mut json, &STANDARD.encode(value)),
        }
    }
    json.push('}');
    json
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

#[derive(Deserialize)]
struct Answer {
    value: Vec<Map<String, Json>>,
}

/// Reads the rows of a query's answer, each with its partition key.
pub(crate) fn rows(body: &[u8]) -> Result<Vec<(String, StoredRow)>, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let row = |entity: Map<String, Json>| {
        let partition = entity.get("PartitionKey").and_then(Json::as_str).ok_or("a row without a partition key")?;
        Ok((partition.to_owned(), stored(entity, None)?))
    };
    answer.value.into_iter().map(row).collect()
}

/// Reads one row; the tag may stand in a header or in the row.
pub(crate) fn row(body: &[u8], etag: Option<&str>) -> Result<StoredRow, String> {
    stored(serde_json::from_slice(body).map_err(|error| error.to_string())?, etag)
}

fn stored(entity: Map<String, Json>, etag: Option<&str>) -> Result<StoredRow, String> {
    let etag = entity.get("odata.etag").and_then(Json::as_str).or(etag).ok_or("a row without a tag")?;
    let etag = Etag(etag.to_owned());
    let key = entity.get("RowKey").and_then(Json::as_str).ok_or("a row without a row key")?.to_owned();
    let mut properties = Properties::new();
    let mut annotation = String::new();
    for (name, value) in &entity {
        if name.contains('.') || name.contains('@') || matches!(name.as_str(), "PartitionKey" | "RowKey" | "Timestamp")
        {
            continue;
        }
        annotation.clear();
        let _ = write!(annotation, "{name}@odata.type");
        let edm = entity.get(&annotation).and_then(Json::as_str);
        // A property without a value is one that is not there.
        if let Some(value) = property(name, value, edm)? {
            properties.insert(name.clone(), value);
        }
    }
    Ok(StoredRow { key, etag, properties })
}

fn property(name: &str, value: &Json, edm: Option<&str>) -> Result<Option<Value>, String> {
    let malformed = || format!("the property {name:?} of type {} is {value}", edm.unwrap_or("unnamed"));
    Ok(Some(match (edm, value) {
        (_, Json::Null) => return Ok(None),
        (Some("Edm.Int64"), Json::String(text)) => Value::Int64(text.parse().map_err(|_| malformed())?),
        (Some("Edm.Int64" | "Edm.Int32"), Json::Number(number)) => Value::Int64(number.as_i64().ok_or_else(malformed)?),
        (Some("Edm.Double"), Json::Number(number)) => Value::Double(number.as_f64().ok_or_else(malformed)?),
        (Some("Edm.Double"), Json::String(text)) => Value::Double(text.parse().map_err(|_| malformed())?),
        (Some("Edm.Binary"), Json::String(text)) => Value::Binary(STANDARD.decode(text).map_err(|_| malformed())?),
        // Not annotated: 32-bit integers have no fraction, doubles have one.
        (None, Json::Number(number)) => match number.as_i64() {
            Some(integer) => Value::Int64(integer),
            None => Value::Double(number.as_f64().ok_or_else(malformed)?),
        },
        (_, Json::Bool(flag)) => Value::Bool(*flag),
        // Dates and ids of other writers are texts to us.
        (_, Json::String(text)) => Value::String(text.clone()),
        _ => return Err(malformed()),
    }))
}

/// The code of an error, as in `EntityAlreadyExists`.
pub(crate) fn error_code(body: &[u8]) -> Option<String> {
    let error: Json = serde_json::from_slice(body).ok()?;
    error["odata.error"]["code"].as_str().map(str::to_owned)
}

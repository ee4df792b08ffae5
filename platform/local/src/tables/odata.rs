//! Rows and tags on the wire (OData 3 in JSON).

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Json, json};
use skein_core::table::{Etag, Properties, StoredRow, Value};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

use super::error::Problem;

/// The media type of answers.
pub(super) const CONTENT_TYPE: &str = "application/json;odata=minimalmetadata;streaming=true;charset=utf-8";

/// How much of the metadata a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metadata {
    /// Values only.
    None,
    /// Types and tags.
    Minimal,
}

/// The tag as Azure writes it, from one of the store: 100 ns ticks since 1970.
pub(super) fn tag(etag: &Etag) -> String {
    format!("W/\"datetime'{}'\"", timestamp(etag).replace(':', "%3A"))
}

/// The time that the tag of a row names: of its last write.
fn timestamp(etag: &Etag) -> String {
    let ticks: i64 = etag.0.parse().unwrap_or_default();
    let at = OffsetDateTime::UNIX_EPOCH + Duration::new(ticks / 10_000_000, (ticks % 10_000_000) as i32 * 100);
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
    at.format(&format).unwrap_or_default()
}

/// The store's tag, from one as Azure writes it. A tag of another make matches nothing.
pub(super) fn store_tag(tag: &str) -> Etag {
    let ticks = tag
        .strip_prefix("W/\"datetime'")
        .and_then(|rest| rest.strip_suffix("'\""))
        .and_then(|time| percent_decode_str(time).decode_utf8().ok())
        .and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok())
        .map(|time| (time.unix_timestamp_nanos() / 100).to_string());
    Etag(ticks.unwrap_or_else(|| "foreign".to_owned()))
}

/// A row as it goes out; `select` names the properties that are wanted.
pub(super) fn entity(
    partition: &str,
    row: &StoredRow,
    metadata: Metadata,
    select: Option<&[&str]>,
) -> Map<String, Json> {
    let mut entity = Map::new();
    let wanted = |name: &str| select.is_none_or(|select| select.contains(&name));
    if metadata == Metadata::Minimal {
        entity.insert("odata.etag".to_owned(), tag(&row.etag).into());
    }
    if wanted("PartitionKey") {
        entity.insert("PartitionKey".to_owned(), partition.into());
    }
    if wanted("RowKey") {
        entity.insert("RowKey".to_owned(), row.key.as_str().into());
    }
    if wanted("Timestamp") {
        entity.insert("Timestamp".to_owned(), timestamp(&row.etag).into());
    }
    for (name, value) in row.properties.iter().filter(|(name, _)| wanted(name)) {
        let (edm, value) = match value {
            Value::String(text) => (None, Json::from(text.as_str())),
            Value::Bool(flag) => (None, Json::from(*flag)),
            Value::Double(number) => (None, Json::from(*number)),
            Value::Int64(number) => (Some("Edm.Int64"), number.to_string().into()),
            Value::Binary(bytes) => (Some("Edm.Binary"), STANDARD.encode(bytes).into()),
        };
        if let (Some(edm), Metadata::Minimal) = (edm, metadata) {
            entity.insert(format!("{name}@odata.type"), edm.into());
        }
        entity.insert(name.clone(), value);
    }
    entity
}

/// The answer to a query, or the one row of a point read.
pub(super) fn document(base: &str, table: &str, rows: Vec<Map<String, Json>>, metadata: Metadata) -> Json {
    match metadata {
        Metadata::Minimal => json!({ "odata.metadata": format!("{base}/$metadata#{table}"), "value": rows }),
        Metadata::None => json!({ "value": rows }),
    }
}

/// A row as it came in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub partition: Option<String>,
    pub key: Option<String>,
    pub properties: Properties,
}

/// Reads the body of a write.
pub(super) fn incoming(body: &[u8]) -> Result<Incoming, Problem> {
    let invalid = |why: String| Problem::new(StatusCode::BAD_REQUEST, "InvalidInput", why);
    let mut json: Map<String, Json> =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body is no JSON object: {error}")))?;
    let mut key = |name: &str| match json.remove(name) {
        None => Ok(None),
        Some(Json::String(key)) => Ok(Some(key)),
        Some(other) => Err(invalid(format!("{name} is {other}, a text is expected"))),
    };
    let (partition, row) = (key("PartitionKey")?, key("RowKey")?);
    let mut properties = Properties::new();
    for (name, value) in &json {
        if name.contains("odata.") || name == "Timestamp" || value.is_null() {
            continue;
        }
        let edm = json.get(&format!("{name}@odata.type")).and_then(Json::as_str);
        let wrong = || invalid(format!("the property {name:?} of type {} is {value}", edm.unwrap_or("unnamed")));
        let value = match (edm, value) {
            (None | Some("Edm.String"), Json::String(text)) => Value::String(text.clone()),
            (None | Some("Edm.Boolean"), Json::Bool(flag)) => Value::Bool(*flag),
            (Some("Edm.Int64"), Json::String(text)) => Value::Int64(text.parse().map_err(|_| wrong())?),
            // There is one integer type here: a 32-bit integer comes back as a 64-bit one.
            (Some("Edm.Int64" | "Edm.Int32"), Json::Number(number)) => Value::Int64(number.as_i64().ok_or_else(wrong)?),
            (Some("Edm.Double"), Json::Number(number)) => Value::Double(number.as_f64().ok_or_else(wrong)?),
            (Some("Edm.Double"), Json::String(text)) => Value::Double(text.parse().map_err(|_| wrong())?),
            (Some("Edm.Binary"), Json::String(text)) => Value::Binary(STANDARD.decode(text).map_err(|_| wrong())?),
            (None, Json::Number(number)) => match number.as_i64() {
                Some(integer) => Value::Int64(integer),
                None => Value::Double(number.as_f64().ok_or_else(wrong)?),
            },
            (Some(edm @ ("Edm.DateTime" | "Edm.Guid")), _) => return Err(Problem::unsupported(edm)),
            _ => return Err(wrong()),
        };
        properties.insert(name.clone(), value);
    }
    Ok(Incoming { partition, key: row, properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_both_ways() {
        for ticks in ["1", "17040678451234567", "17040678450000000", "99999999999999999"] {
            let etag = Etag(ticks.to_owned());
            assert_eq!(store_tag(&tag(&etag)), etag);
        }
        assert_eq!(tag(&Etag("17040678451234567".into())), "W/\"datetime'2024-01-01T00%3A10%3A45.1234567Z'\"");
        assert_eq!(store_tag("W/\"datetime'tomorrow'\""), Etag("foreign".into()));
        assert_eq!(store_tag("17040678451234567"), Etag("foreign".into()));
    }
}

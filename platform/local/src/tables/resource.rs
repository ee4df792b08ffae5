//! What an address names.

use percent_encoding::percent_decode_str;

use super::error::Problem;

/// What an address names, within its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// `Tables`
    Tables,
    /// `Tables('name')`
    Table(String),
    /// `$batch`
    Batch,
    /// `name` or `name()`
    Rows(String),
    /// `name(PartitionKey='…',RowKey='…')`
    Row {
        /// The table.
        table: String,
        /// The partition key.
        partition: String,
        /// The row key.
        key: String,
    },
}

impl Resource {
    /// Reads the encoded path behind the account.
    pub fn parse(path: &str) -> Result<Self, Problem> {
        let malformed =
            || Problem::new(axum::http::StatusCode::BAD_REQUEST, "InvalidUri", format!("no address: {path}"));
        let path = percent_decode_str(path).decode_utf8().map_err(|_| malformed())?;
        if path == "$batch" {
            return Ok(Resource::Batch);
        }
        let (name, arguments) = match path.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(malformed)?),
            None => (path.as_ref(), ""),
        };
        if name.is_empty() || !name.bytes().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(malformed());
        }
        let mut named = Vec::new();
        let mut rest = arguments;
        while !rest.is_empty() {
            let (argument, tail) = match rest.split_once('=') {
                Some((argument, tail)) if !argument.contains('\'') => (argument, tail),
                _ => ("", rest),
            };
            let (value, tail) = literal(tail).ok_or_else(malformed)?;
            named.push((argument.to_owned(), value));
            rest = match tail {
                "" => "",
                _ => tail.strip_prefix(',').filter(|tail| !tail.is_empty()).ok_or_else(malformed)?,
            };
        }
        let table = name.to_owned();
        match (name, named.as_slice()) {
            ("Tables", []) => Ok(Resource::Tables),
            ("Tables", [(argument, name)]) if argument.is_empty() || argument == "TableName" => {
                Ok(Resource::Table(name.clone()))
            }
            ("Tables", _) => Err(malformed()),
            (_, []) => Ok(Resource::Rows(table)),
            (_, [(first, one), (second, two)]) => match (first.as_str(), second.as_str()) {
                ("PartitionKey", "RowKey") => Ok(Resource::Row { table, partition: one.clone(), key: two.clone() }),
                ("RowKey", "PartitionKey") => Ok(Resource::Row { table, partition: two.clone(), key: one.clone() }),
                _ => Err(malformed()),
            },
            _ => Err(malformed()),
        }
    }
}

/// An OData string literal at the beginning, and what follows. A quote within is written twice.
pub(super) fn literal(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('\'')?;
    let mut value = String::new();
    loop {
        let (part, tail) = rest.split_once('\'')?;
        value.push_str(part);
        match tail.strip_prefix('\'') {
            Some(tail) => {
                value.push('\'');
                rest = tail;
            }
            None => return Some((value, tail)),
        }
    }
}

/// The decoded parameters of a query.
pub(super) fn query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

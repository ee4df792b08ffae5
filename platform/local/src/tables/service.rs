//! The Table service on the embedded store.

use axum::Json as JsonBody;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use skein_core::ports::TableStore as _;
use skein_core::table::{Etag, Row};
use skein_embedded::{Condition, EmbeddedStore, Scan, Write};

use super::error::{Problem, of_write};
use super::odata::{self, Metadata};
use super::resource::Resource;
use super::{Call, batch, empty, filter};

/// Serves one request.
pub(super) async fn serve(store: &EmbeddedStore, account: &str, call: &Call) -> Result<Response, Problem> {
    if let Some(component) = call.query("comp").or_else(|| call.query("restype")) {
        return Err(Problem::unsupported(&format!("component {component:?}")));
    }
    let base = base(call, account);
    match (&call.resource, call.method.as_str()) {
        (Resource::Batch, "POST") => batch::serve(store, call).await,
        (Resource::Tables, "GET") => {
            let tables: Vec<_> = store.tables().await?.into_iter().map(|name| json!({ "TableName": name })).collect();
            json_answer(
                StatusCode::OK,
                &json!({ "odata.metadata": format!("{base}/$metadata#Tables"), "value": tables }),
            )
        }
        (Resource::Tables, "POST") => create_table(store, call, &base).await,
        (Resource::Rows(table), "GET") => query(store, call, &base, table).await,
        (Resource::Row { table, partition, key }, "GET") => {
            existing(store, table).await?;
            let row = store.get(table, partition, key).await?.ok_or_else(Problem::not_found)?;
            let select = select(call);
            let mut entity = odata::entity(partition, &row, metadata(call), select.as_deref());
            if metadata(call) == Metadata::Minimal {
                entity.insert("odata.metadata".to_owned(), format!("{base}/$metadata#{table}/@Element").into());
            }
            let response = json_answer(StatusCode::OK, &Json::Object(entity))?;
            tagged(response, &row.etag)
        }
        (Resource::Rows(_), "POST") | (Resource::Row { .. }, "PUT" | "PATCH" | "MERGE" | "DELETE" | "POST") => {
            let (table, partition, write) = write_of(call)?;
            existing(store, &table).await?;
            let written = written(&write);
            let tags = store.write(&table, &partition, vec![write]).await.map_err(|error| of_write(error).1)?;
            success(call, &base, &table, &partition, written, tags.into_iter().next().flatten())
        }
        (_, method) => Err(Problem::unsupported(&format!("{method} of this resource"))),
    }
}

async fn existing(store: &EmbeddedStore, table: &str) -> Result<(), Problem> {
    if store.has_table(table).await? { Ok(()) } else { Err(Problem::no_table()) }
}

async fn create_table(store: &EmbeddedStore, call: &Call, base: &str) -> Result<Response, Problem> {
    let body: Json = serde_json::from_slice(&call.body).map_err(|error| Problem::invalid(error.to_string()))?;
    let name = body["TableName"].as_str().ok_or_else(|| Problem::invalid("TableName is expected"))?;
    if !store.create_table(name).await? {
        let message = "The table specified already exists.";
        return Err(Problem::new(StatusCode::CONFLICT, "TableAlreadyExists", message));
    }
    if wants_no_content(call) {
        return Ok(applied(empty(StatusCode::NO_CONTENT), "return-no-content"));
    }
    let metadata = format!("{base}/$metadata#Tables/@Element");
    json_answer(StatusCode::CREATED, &json!({ "odata.metadata": metadata, "TableName": name }))
}

async fn query(store: &EmbeddedStore, call: &Call, base: &str, table: &str) -> Result<Response, Problem> {
    for (name, _) in &call.query {
        if !["$filter", "$top", "$select", "$format", "NextPartitionKey", "NextRowKey", "timeout"]
            .contains(&name.as_str())
        {
            return Err(Problem::unsupported(&format!("query parameter {name:?}")));
        }
    }
    existing(store, table).await?;
    let filter = call.query("$filter").map(filter::parse).transpose()?.unwrap_or_default();
    let top = match call.query("$top").map(str::parse) {
        None => 1000,
        Some(Ok(top @ 1..=1000)) => top,
        Some(_) => return Err(Problem::invalid("$top is 1 to 1000")),
    };
    let start = match call.query("NextPartitionKey") {
        None => None,
        Some(partition) => Some((decoded(partition)?, call.query("NextRowKey").map_or(Ok(String::new()), decoded)?)),
    };
    let scan = Scan { partitions: filter.partitions, rows: filter.rows, start, top };
    let page = store.scan(table, scan).await?;
    let (metadata, select) = (metadata(call), select(call));
    let rows = page.rows.iter().map(|(pk, row)| odata::entity(pk, row, metadata, select.as_deref())).collect();
    let mut response = json_answer(StatusCode::OK, &odata::document(base, table, rows, metadata))?;
    if let Some((partition, key)) = page.next {
        for (name, value) in [("partition", partition), ("row", key)] {
            let name =
                if name == "partition" { "x-ms-continuation-nextpartitionkey" } else { "x-ms-continuation-nextrowkey" };
            response.headers_mut().insert(name, text(&encoded(&value))?);
        }
    }
    Ok(response)
}

/// A key in a continuation: any text, as a header and a query parameter.
fn encoded(key: &str) -> String {
    format!("1!{}", URL_SAFE_NO_PAD.encode(key))
}

fn decoded(text: &str) -> Result<String, Problem> {
    text.strip_prefix("1!")
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Problem::invalid("a continuation of another make"))
}

/// The table, the partition and the write that a request means.
pub(super) fn write_of(call: &Call) -> Result<(String, String, Write), Problem> {
    // Clients behind proxies send MERGE as POST.
    let method = match (call.method.as_str(), call.header("x-http-method")) {
        ("POST", Some(tunnelled)) => tunnelled,
        (method, _) => method,
    };
    let missing = |what: &str| Problem::invalid(format!("{what} is expected"));
    let condition = match call.header("if-match") {
        None => None,
        Some("*") => Some(Condition::Exists),
        Some(tag) => Some(Condition::Match(odata::store_tag(tag))),
    };
    match (&call.resource, method) {
        (Resource::Rows(table), "POST") => {
            let row = odata::incoming(&call.body)?;
            let partition = row.partition.ok_or_else(|| missing("PartitionKey"))?;
            let key = row.key.ok_or_else(|| missing("RowKey"))?;
            Ok((table.clone(), partition, Write::Insert(Row { key, properties: row.properties })))
        }
        (Resource::Row { table, partition, key }, "PUT" | "PATCH" | "MERGE") => {
            let incoming = odata::incoming(&call.body)?;
            if incoming.partition.is_some_and(|named| named != *partition)
                || incoming.key.is_some_and(|named| named != *key)
            {
                return Err(Problem::invalid("the keys in the body are not those of the address"));
            }
            let row = Row { key: key.clone(), properties: incoming.properties };
            let merge = method != "PUT";
            let write = match condition {
                None => Write::Upsert { row, merge },
                Some(condition) => Write::Update { row, merge, condition },
            };
            Ok((table.clone(), partition.clone(), write))
        }
        (Resource::Row { table, partition, key }, "DELETE") => {
            let condition = condition.ok_or_else(|| {
                Problem::new(StatusCode::BAD_REQUEST, "MissingRequiredHeader", "If-Match is expected")
            })?;
            Ok((table.clone(), partition.clone(), Write::Delete { key: key.clone(), condition }))
        }
        (_, method) => Err(Problem::unsupported(&format!("{method} of this resource"))),
    }
}

/// The row of an insert, which is given back where the client wants it.
pub(super) fn written(write: &Write) -> Option<Row> {
    match write {
        Write::Insert(row) => Some(row.clone()),
        _ => None,
    }
}

/// The answer to a write that was done.
pub(super) fn success(
    call: &Call,
    base: &str,
    table: &str,
    partition: &str,
    inserted: Option<Row>,
    etag: Option<Etag>,
) -> Result<Response, Problem> {
    let Some(etag) = etag else { return Ok(empty(StatusCode::NO_CONTENT)) };
    match inserted {
        Some(row) if !wants_no_content(call) => {
            let row = skein_core::table::StoredRow { key: row.key, etag, properties: row.properties };
            let mut entity = odata::entity(partition, &row, metadata(call), None);
            if metadata(call) == Metadata::Minimal {
                entity.insert("odata.metadata".to_owned(), format!("{base}/$metadata#{table}/@Element").into());
            }
            tagged(json_answer(StatusCode::CREATED, &Json::Object(entity))?, &row.etag)
        }
        Some(_) => tagged(applied(empty(StatusCode::NO_CONTENT), "return-no-content"), &etag),
        None => tagged(empty(StatusCode::NO_CONTENT), &etag),
    }
}

fn wants_no_content(call: &Call) -> bool {
    call.header("prefer").is_some_and(|prefer| prefer.eq_ignore_ascii_case("return-no-content"))
}

fn applied(mut response: Response, preference: &'static str) -> Response {
    response.headers_mut().insert("preference-applied", HeaderValue::from_static(preference));
    response
}

fn tagged(mut response: Response, etag: &Etag) -> Result<Response, Problem> {
    response.headers_mut().insert(header::ETAG, text(&odata::tag(etag))?);
    Ok(response)
}

fn json_answer(status: StatusCode, body: &Json) -> Result<Response, Problem> {
    let mut response = (status, JsonBody(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, text(odata::CONTENT_TYPE)?);
    Ok(response)
}

fn text(value: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(value)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "a header cannot be written"))
}

fn metadata(call: &Call) -> Metadata {
    let asked = call.query("$format").or_else(|| call.header("accept")).unwrap_or_default().to_ascii_lowercase();
    if asked.contains("odata=nometadata") { Metadata::None } else { Metadata::Minimal }
}

fn select(call: &Call) -> Option<Vec<&str>> {
    let select = call.query("$select")?;
    (!select.is_empty() && select != "*").then(|| select.split(',').map(str::trim).collect())
}

/// The address of the account as the client sees it.
pub(super) fn base(call: &Call, account: &str) -> String {
    format!("http://{}{}/{account}", call.header("host").unwrap_or("127.0.0.1"), super::PREFIX)
}

/// The methods that a batch may hold.
pub(super) fn is_write(method: &Method) -> bool {
    matches!(method.as_str(), "POST" | "PUT" | "PATCH" | "MERGE" | "DELETE")
}

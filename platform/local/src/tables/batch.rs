//! `$batch`: one changeset, which is one transaction of the embedded store.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use skein_azure::tables::multipart::{self, Message};
use skein_core::table::{MAX_OPERATIONS, Row};
use skein_embedded::{EmbeddedStore, Write};
use uuid::Uuid;

use super::error::{Problem, of_write};
use super::resource::Resource;
use super::{Call, service};

/// One request of the changeset, understood.
struct Part {
    call: Call,
    table: String,
    partition: String,
    inserted: Option<Row>,
    write: Write,
}

/// Serves a batch. What is wrong with the whole is an error of the request; what is wrong with one write is a 202
/// that holds it, as Azure does.
pub(super) async fn serve(store: &EmbeddedStore, call: &Call) -> Result<Response, Problem> {
    let content_type = call.header("content-type").unwrap_or_default();
    let messages = multipart::requests(content_type, &call.body).map_err(Problem::invalid)?;
    if messages.is_empty() || messages.len() > MAX_OPERATIONS {
        return failed(messages.len().min(MAX_OPERATIONS), &Problem::invalid("a batch holds 1 to 100 operations"));
    }
    let mut parts: Vec<Part> = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let part = match understood(message) {
            Ok(part) => part,
            Err(problem) => return failed(index, &problem),
        };
        if let Some(first) = parts.first()
            && (part.table != first.table || part.partition != first.partition)
        {
            let problem = Problem::new(
                StatusCode::BAD_REQUEST,
                "CommandsInBatchActOnDifferentPartitions",
                "All commands in a batch must operate on same entity group.",
            );
            return failed(index, &problem);
        }
        parts.push(part);
    }
    let (table, partition) = (parts[0].table.clone(), parts[0].partition.clone());
    if !store.has_table(&table).await? {
        return failed(0, &Problem::no_table());
    }
    let writes: Vec<Write> = parts.iter().map(|part| part.write.clone()).collect();
    let tags = match store.write(&table, &partition, writes).await {
        Ok(tags) => tags,
        Err(error) => {
            let (index, problem) = of_write(error);
            return failed(index, &problem);
        }
    };
    let mut answers = Vec::with_capacity(parts.len());
    for (part, tag) in parts.into_iter().zip(tags) {
        let base = service::base(call, "");
        answers.push(service::success(&part.call, &base, &table, &partition, part.inserted, tag)?);
    }
    multipart_answer(answers).await
}

/// The one table that a batch is about, if it is about one.
pub(super) fn table(content_type: &str, body: &Bytes) -> Result<Option<String>, Problem> {
    let messages = multipart::messages(content_type, body).map_err(Problem::invalid)?;
    let mut tables = messages.iter().map(|message| {
        let url = message.start.split(' ').nth(1).unwrap_or_default();
        let path = url.split('?').next().unwrap_or_default();
        match Resource::parse(path.rsplit('/').next().unwrap_or_default()) {
            Ok(Resource::Rows(table) | Resource::Row { table, .. }) => Some(table),
            _ => None,
        }
    });
    let first = tables.next().flatten();
    let one = tables.all(|table| table == first);
    Ok(first.filter(|_| one))
}

fn understood(message: Message) -> Result<Part, Problem> {
    let mut words = message.start.split(' ');
    let (method, url) = match (words.next(), words.next(), words.next()) {
        (Some(method), Some(url), Some(version)) if version.starts_with("HTTP/") => (method, url),
        _ => return Err(Problem::invalid(format!("no request line: {:?}", message.start))),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Problem::invalid("no method"))?;
    if !service::is_write(&method) {
        return Err(Problem::unsupported("reads in a batch"));
    }
    // Keys hold no slash, so the last one stands before the table.
    let path = url.split('?').next().unwrap_or_default();
    let resource = Resource::parse(path.rsplit('/').next().unwrap_or_default())?;
    if !matches!(resource, Resource::Rows(_) | Resource::Row { .. }) {
        return Err(Problem::unsupported("such resources in a batch"));
    }
    let mut headers = HeaderMap::new();
    for name in ["if-match", "prefer", "accept", "x-http-method", "content-id"] {
        if let Some(value) = message.header(name).and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let call = Call { method, resource, query: Vec::new(), headers, body: Bytes::from(message.body) };
    let (table, partition, write) = service::write_of(&call)?;
    Ok(Part { inserted: service::written(&write), call, table, partition, write })
}

/// One answer for all: the write that failed, by its index, before the message.
fn failed(index: usize, problem: &Problem) -> Result<Response, Problem> {
    let problem =
        Problem { status: problem.status, code: problem.code, message: format!("{index}:{}", problem.message) };
    let part = format!(
        "HTTP/1.1 {} {}\r\nX-Content-Type-Options: nosniff\r\nDataServiceVersion: 3.0;\r\nContent-Type: {}\r\n\r\n{}\r\n",
        problem.status.as_u16(),
        problem.status.canonical_reason().unwrap_or("Error"),
        super::odata::CONTENT_TYPE,
        problem.json()
    );
    Ok(enveloped(&[part]))
}

async fn multipart_answer(answers: Vec<Response>) -> Result<Response, Problem> {
    let mut parts = Vec::with_capacity(answers.len());
    for answer in answers {
        let (head, body) = answer.into_parts();
        let mut part = format!(
            "HTTP/1.1 {} {}\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nDataServiceVersion: 3.0;\r\n",
            head.status.as_u16(),
            head.status.canonical_reason().unwrap_or("OK"),
        );
        for (name, value) in &head.headers {
            let value = value.to_str().unwrap_or_default();
            part.push_str(&format!("{name}: {value}\r\n"));
        }
        part.push_str("\r\n");
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        part.push_str(&String::from_utf8_lossy(&body));
        parts.push(part);
    }
    Ok(enveloped(&parts))
}

fn enveloped(parts: &[String]) -> Response {
    let id = Uuid::new_v4();
    let mut body =
        format!("--batchresponse_{id}\r\nContent-Type: multipart/mixed; boundary=changesetresponse_{id}\r\n\r\n");
    for part in parts {
        body.push_str(&format!(
            "--changesetresponse_{id}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{part}\r\n"
        ));
    }
    body.push_str(&format!("--changesetresponse_{id}--\r\n--batchresponse_{id}--\r\n"));
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("multipart/mixed; boundary=batchresponse_{id}")) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

//! The `$batch` request of one transaction, and what its answer means.

use std::fmt::Write as _;

use skein_core::ports::{TableError, TransactError};
use skein_core::table::{Etag, Operation, Row};
use uuid::Uuid;

use super::{MINIMAL, entity, entity_path, multipart};
use crate::channel::excerpt;

/// The boundary and the body of the request.
pub(crate) fn request(base: &str, table: &str, partition: &str, operations: &[Operation]) -> (String, String) {
    let id = Uuid::new_v4().simple();
    let mut body = format!("--batch_{id}\r\nContent-Type: multipart/mixed; boundary=changeset_{id}\r\n\r\n");
    for operation in operations {
        let nothing;
        let (method, tag, row) = match operation {
            Operation::Insert(row) => ("POST", None, Some(row)),
            Operation::Put(row) => ("PUT", None, Some(row)),
            Operation::Replace(row, tag) => ("PUT", Some(tag.0.as_str()), Some(row)),
            Operation::Merge(row, tag) => ("MERGE", Some(tag.0.as_str()), Some(row)),
            Operation::Delete(_, tag) => ("DELETE", Some(tag.as_ref().map_or("*", |tag| tag.0.as_str())), None),
            Operation::Require(key) => {
                nothing = Row::new(key.as_str());
                ("MERGE", Some("*"), Some(&nothing))
            }
        };
        let path = match operation {
            Operation::Insert(_) => table.to_owned(),
            _ => entity_path(table, partition, operation.key()),
        };
        // Writing into a text never fails.
        let _ = write!(
            body,
            "--changeset_{id}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
             {method} {base}/{path} HTTP/1.1\r\nAccept: {MINIMAL}\r\nDataServiceVersion: 3.0;NetFx\r\n"
        );
        if let Some(tag) = tag {
            let _ = write!(body, "If-Match: {tag}\r\n");
        }
        if let Some(row) = row {
            body.push_str("Content-Type: application/json\r\nPrefer: return-no-content\r\n\r\n");
            entity::write(&mut body, partition, row);
        } else {
            body.push_str("\r\n");
        }
        body.push_str("\r\n");
    }
    let _ = write!(body, "--changeset_{id}--\r\n--batch_{id}--\r\n");
    (format!("batch_{id}"), body)
}

/// What the answer means: the new tags, or why there are none.
pub(crate) fn outcome(
    status: u16,
    content_type: &str,
    body: &[u8],
    operations: &[Operation],
) -> Result<Vec<Option<Etag>>, TransactError> {
    let whole = || format!("{status} {}", excerpt(body));
    match status {
        200..300 => {}
        401 | 403 => return Err(TableError::Denied(whole()).into()),
        // The request as a whole was not taken apart.
        400 | 404 | 405 | 411 | 413 | 414 | 415 | 431 | 501 => return Err(TableError::Refused(whole()).into()),
        _ => return Err(TransactError::Unknown(whole())),
    }
    let unreadable = |why: String| TransactError::Unknown(format!("the answer is not understood: {why}"));
    let parts = multipart::messages(content_type, body).map_err(unreadable)?;
    for part in &parts {
        let status = part.status().ok_or_else(|| unreadable(format!("a status line {:?}", part.start)))?;
        if (200..300).contains(&status) {
            continue;
        }
        let code = entity::error_code(&part.body).unwrap_or_default();
        let reason = format!("{status} {}", excerpt(&part.body));
        return Err(match (status, code.as_str()) {
            (_, "TableNotFound" | "TableBeingDeleted") => TableError::Refused(reason).into(),
            (404 | 409 | 412, _) => TransactError::Conflict(reason),
            (401 | 403, _) => TableError::Denied(reason).into(),
            (400 | 405 | 411 | 413 | 414 | 415 | 501, _) => TableError::Refused(reason).into(),
            _ => TransactError::Unknown(reason),
        });
    }
    if parts.len() != operations.len() {
        return Err(unreadable(format!("{} parts for {} operations", parts.len(), operations.len())));
    }
    parts
        .iter()
        .zip(operations)
        .map(|(part, operation)| match (operation, part.header("etag")) {
            (Operation::Delete(..), _) => Ok(None),
            (_, Some(tag)) => Ok(Some(Etag(tag.to_owned()))),
            (_, None) => Err(unreadable(format!("no tag for the row {:?}", operation.key()))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: &str = "multipart/mixed; boundary=batchresponse_a1";

    /// As the service itself answers: every part in a changeset of its own boundary.
    fn azure(parts: &[&str]) -> String {
        let mut body =
            "--batchresponse_a1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_b2\r\n\r\n".to_owned();
        for part in parts {
            body.push_str(
                "--changesetresponse_b2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n",
            );
            body.push_str(part);
            body.push_str("\r\n");
        }
        body + "--changesetresponse_b2--\r\n--batchresponse_a1--\r\n"
    }

    const WRITTEN: &str = "HTTP/1.1 204 No Content\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\n\
        Preference-Applied: return-no-content\r\nDataServiceVersion: 3.0;\r\n\
        Location: https://a.table.core.windows.net/t(PartitionKey='p',RowKey='k')\r\n\
        DataServiceId: https://a.table.core.windows.net/t(PartitionKey='p',RowKey='k')\r\n\
        ETag: W/\"datetime'2024-01-02T03%3A04%3A05.1234567Z'\"\r\n\r\n";

    const DELETED: &str =
        "HTTP/1.1 204 No Content\r\nX-Content-Type-Options: nosniff\r\nDataServiceVersion: 1.0;\r\n\r\n";

    fn failed(status: &str, code: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nX-Content-Type-Options: nosniff\r\nDataServiceVersion: 3.0;\r\n\
             Content-Type: application/json;odata=minimalmetadata;streaming=true;charset=utf-8\r\n\r\n\
             {{\"odata.error\":{{\"code\":\"{code}\",\"message\":{{\"lang\":\"en-US\",\"value\":\"1:Some text.\\n\
             RequestId:0\\nTime:2024\"}}}}}}\r\n"
        )
    }

    fn two() -> [Operation; 2] {
        [Operation::Insert(Row::new("k")), Operation::Delete("l".into(), None)]
    }

    #[track_caller]
    fn check(status: u16, content_type: &str, body: &str, expected: &str) {
        let found = match outcome(status, content_type, body.as_bytes(), &two()) {
            Ok(tags) => format!("{tags:?}"),
            Err(TransactError::Conflict(_)) => "conflict".to_owned(),
            Err(TransactError::Unknown(_)) => "unknown".to_owned(),
            Err(TransactError::Refused(TableError::Denied(_))) => "denied".to_owned(),
            Err(TransactError::Refused(TableError::Refused(_))) => "refused".to_owned(),
            Err(TransactError::Refused(other)) => other.to_string(),
        };
        assert_eq!(found, expected, "{status} {body}");
    }

    #[test]
    fn tags_are_read() {
        let tags = r#"[Some(Etag("W/\"datetime'2024-01-02T03%3A04%3A05.1234567Z'\"")), None]"#;
        check(202, AZURE, &azure(&[WRITTEN, DELETED]), tags);
        check(202, "multipart/mixed;boundary=\"batchresponse_a1\"; charset=utf-8", &azure(&[WRITTEN, DELETED]), tags);
        check(202, AZURE, &azure(&[WRITTEN, DELETED]).replace("\r\n", "\n"), tags);
        // Azurite 3.37: a blank line before the status line, and none between the last part and its end.
        let azurite = "--batchresponse_a1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_b2\r\n\r\n\
            --changesetresponse_b2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
            HTTP/1.1 204 No Content\r\nx-ms-version: 2020-12-06\r\nPreference-Applied: return-no-content\r\n\
            ETag: W/\"datetime'2024-01-02T03%3A04%3A05.1234567Z'\"\r\n\r\n\r\n\
            --changesetresponse_b2\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n--changesetresponse_b2--\r\n\r\n--batchresponse_a1--";
        check(202, AZURE, azurite, tags);
    }

    #[test]
    fn the_inner_status_decides() {
        for (status, code, expected) in [
            ("409 Conflict", "EntityAlreadyExists", "conflict"),
            ("412 Precondition Failed", "UpdateConditionNotSatisfied", "conflict"),
            ("404 Not Found", "ResourceNotFound", "conflict"),
            ("404 Not Found", "TableNotFound", "refused"),
            ("400 Bad Request", "PropertyValueTooLarge", "refused"),
            ("413 Request Entity Too Large", "RequestBodyTooLarge", "refused"),
            ("403 Forbidden", "AuthorizationPermissionMismatch", "denied"),
            ("401 Unauthorized", "NoAuthenticationInformation", "denied"),
            ("408 Request Timeout", "", "unknown"),
            ("429 Too Many Requests", "ServerBusy", "unknown"),
            ("500 Internal Server Error", "InternalError", "unknown"),
            ("503 Service Unavailable", "ServerBusy", "unknown"),
            ("302 Found", "", "unknown"),
        ] {
            check(202, AZURE, &azure(&[&failed(status, code)]), expected);
            check(202, AZURE, &azure(&[WRITTEN, &failed(status, code)]), expected);
        }
    }

    #[test]
    fn the_outer_status_decides_where_there_are_no_parts() {
        for (status, expected) in [
            (401, "denied"),
            (403, "denied"),
            (400, "refused"),
            (404, "refused"),
            (413, "refused"),
            (301, "unknown"),
            (408, "unknown"),
            (409, "unknown"),
            (429, "unknown"),
            (500, "unknown"),
            (503, "unknown"),
        ] {
            check(status, "application/json", r#"{"odata.error":{"code":"X"}}"#, expected);
        }
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let good = azure(&[WRITTEN, DELETED]);
        check(202, AZURE, &azure(&[WRITTEN]), "unknown");
        for line in ["HTTP/1%.1 204 No Content", "HTTP/1.1 0204 No Content", "ICY 204 No Content", "HTTP/1.1"] {
            check(202, AZURE, &azure(&[&WRITTEN.replace("HTTP/1.1 204 No Content", line), DELETED]), "unknown");
        }
        check(202, AZURE, &azure(&[WRITTEN, DELETED, DELETED]), "unknown");
        check(202, AZURE, &azure(&[DELETED, DELETED]), "unknown");
        check(202, AZURE, "", "unknown");
        check(202, "", &good, "unknown");
        check(202, "multipart/mixed; boundary=other", &good, "unknown");
        check(202, "multipart/mixed; boundary=", &good, "unknown");
        check(202, AZURE, &good.replace("application/http", "text/html"), "unknown");
        check(202, AZURE, &good.replace("HTTP/1.1", "junk"), "unknown");
        check(202, AZURE, "--batchresponse_a1--", "unknown");
        check(200, "text/html", "<html>a captive portal</html>", "unknown");
        let nested = "--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n".repeat(50);
        check(202, "multipart/mixed; boundary=a", &nested, "unknown");
    }

    #[test]
    fn garbage_never_panics_and_never_passes() {
        let good = azure(&[WRITTEN, DELETED]).into_bytes();
        // Cut anywhere before the changeset's end, it is unknown or (behind it) lacks its own end.
        for cut in 0..good.len() - "\r\n".len() {
            let result = outcome(202, AZURE, &good[..cut], &two());
            assert!(matches!(result, Err(TransactError::Unknown(_))), "cut at {cut}");
        }
        for place in 0..good.len() {
            for byte in [0, b'\n', b'-', 0xff] {
                let mut bent = good.clone();
                bent[place] = byte;
                if let Ok(tags) = outcome(202, AZURE, &bent, &two()) {
                    assert_eq!(tags.len(), 2);
                }
            }
        }
    }
}

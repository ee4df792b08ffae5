//! The same front before Azurite: tokens are checked here, and what passes is signed with Azurite's key.
//!
//! Azurite has one account; the tables of all accounts lie in it, each under its account's name.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use skein_azure::shared_key::SharedKeyPolicy;
use time::OffsetDateTime;
use time::macros::format_description;

use super::MAX_BODY_BYTES;
use super::error::Problem;
use crate::outbound::{Outbound, client, is_hop_by_hop};

/// An Azurite that is running.
pub struct Azurite {
    url: String,
    accounts: Vec<String>,
    signer: SharedKeyPolicy,
    client: Outbound,
}

/// Why Azurite cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AzuriteError {
    /// A table could not be made.
    #[error("Azurite at {url} did not make the table {table}: {reason}")]
    Table {
        /// Its address.
        url: String,
        /// The table.
        table: String,
        /// What it answered.
        reason: String,
    },
}

/// The table of an account within Azurite's one account. Account names are lower-case letters and digits, so that
/// the letter between cannot be part of one.
fn joint(account: &str, table: &str) -> String {
    format!("{account}Z{table}")
}

impl Azurite {
    /// Uses the Azurite at this address (with its account, as in `http://127.0.0.1:10002/devstoreaccount1`), and
    /// makes the tables of all accounts.
    ///
    /// # Errors
    /// Azurite does not answer, or refuses a table.
    pub async fn open<'a>(
        url: &str,
        account: &str,
        key: &str,
        accounts: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, AzuriteError> {
        let url = url.trim_end_matches('/').to_owned();
        let mut azurite =
            Azurite { url, accounts: Vec::new(), signer: SharedKeyPolicy::new(account, key), client: client() };
        for (account, tables) in accounts {
            azurite.accounts.push(account.to_owned());
            for table in tables {
                azurite.create(account, table).await?;
            }
        }
        Ok(azurite)
    }

    async fn create(&self, account: &str, table: &str) -> Result<(), AzuriteError> {
        let failed =
            |reason: String| AzuriteError::Table { url: self.url.clone(), table: joint(account, table), reason };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json;odata=nometadata"));
        headers.insert("prefer", HeaderValue::from_static("return-no-content"));
        let body = serde_json::json!({ "TableName": joint(account, table) }).to_string();
        let response = self.send("Tables", "", &Method::POST, &headers, body.into()).await;
        let response = response.map_err(|problem| failed(problem.message))?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::CONFLICT => Ok(()),
            status => Err(failed(status.to_string())),
        }
    }

    /// Passes a request on, whose token was checked.
    pub(super) async fn forward(
        &self,
        account: &str,
        path: &str,
        query: &str,
        method: &Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Problem> {
        if !self.accounts.iter().any(|known| known == account) {
            return Err(Problem::not_found());
        }
        if path.starts_with("Tables") {
            return Err(Problem::unsupported("management of tables before Azurite"));
        }
        let (path, body) = if path.eq_ignore_ascii_case("$batch") || path.eq_ignore_ascii_case("%24batch") {
            ("$batch".to_owned(), self.rewritten(account, &body)?.into())
        } else {
            (joint(account, path), body)
        };
        self.send(&path, query, method, headers, body).await
    }

    /// Names the joint tables in the request lines of a batch. Rows are one line of JSON each, which begins with a
    /// brace, so that no line of theirs is taken for one.
    fn rewritten(&self, account: &str, body: &[u8]) -> Result<String, Problem> {
        let body = std::str::from_utf8(body).map_err(|_| Problem::invalid("a batch is UTF-8"))?;
        let mut rewritten = String::with_capacity(body.len() + 4096);
        for line in body.split_inclusive('\n') {
            let request = line.trim_end().strip_suffix(" HTTP/1.1").and_then(|line| line.split_once(' '));
            match request {
                Some((method, url))
                    if !method.is_empty() && method.bytes().all(|letter| letter.is_ascii_uppercase()) =>
                {
                    let resource = url.rsplit('/').next().unwrap_or_default();
                    rewritten.push_str(&format!("{method} {}/{} HTTP/1.1\r\n", self.url, joint(account, resource)));
                }
                _ => rewritten.push_str(line),
            }
        }
        Ok(rewritten)
    }

    async fn send(
        &self,
        path: &str,
        query: &str,
        method: &Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Problem> {
        let broken = |why: String| Problem::new(StatusCode::BAD_GATEWAY, "InternalError", format!("Azurite: {why}"));
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}/{path}{mark}{query}", self.url);
        let parsed = url.parse().map_err(|error| Problem::invalid(format!("no address: {error}")))?;
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        let date = OffsetDateTime::now_utc().format(&format).map_err(|error| broken(error.to_string()))?;
        let authorization = self.signer.authorization(&date, &parsed).map_err(|error| broken(error.to_string()))?;
        let mut request = Request::builder().method(method).uri(&url).body(Body::from(body));
        let request = request.as_mut().map_err(|error| broken(error.to_string()))?;
        for (name, value) in headers {
            let own = matches!(*name, header::AUTHORIZATION | header::HOST | header::CONTENT_LENGTH);
            if !own && !is_hop_by_hop(name.as_str()) {
                request.headers_mut().append(name, value.clone());
            }
        }
        for (name, value) in [(HeaderName::from_static("x-ms-date"), date), (header::AUTHORIZATION, authorization)] {
            let value = HeaderValue::from_str(&value).map_err(|error| broken(error.to_string()))?;
            request.headers_mut().insert(name, value);
        }
        let request = std::mem::take(request);
        let answer = self.client.request(request).await.map_err(|error| broken(error.to_string()))?;
        let (mut head, body) = answer.into_parts();
        for name in head.headers.keys().cloned().collect::<Vec<_>>() {
            if is_hop_by_hop(name.as_str()) || name == header::CONTENT_LENGTH {
                head.headers.remove(name);
            }
        }
        let body = to_bytes(Body::new(body), 8 * MAX_BODY_BYTES).await.map_err(|error| broken(error.to_string()))?;
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

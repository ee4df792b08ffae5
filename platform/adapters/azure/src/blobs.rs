//! Blobs on Azure Blob Storage (or Azurite, or the local front).

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::{CONTENT_TYPE, HeaderName};
use azure_core::http::policies::Policy;
use azure_core::http::{HttpClient, Method, RawResponse, Request, Url};
use bytes::Bytes;
use skein_core::blob::{Appended, BlobError, BlobStore, Listed, MAX_BLOCK_BYTES, Part, check_blob_name};
use skein_core::table::Continuation;

use crate::channel::{Channel, EndpointError, Failure, endpoint, excerpt, header};
use crate::credential::BearerPolicy;
use crate::shared_key::BlobKeyPolicy;
use crate::tables::SCOPE;

const VERSION: &str = "2020-12-06";
const X_MS_VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const APPEND_POSITION: HeaderName = HeaderName::from_static("x-ms-blob-condition-appendpos");
const RANGE: HeaderName = HeaderName::from_static("x-ms-range");
const IF_NONE_MATCH: HeaderName = HeaderName::from_static("if-none-match");
const BLOB_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-content-type");
const BLOB_CACHE_CONTROL: HeaderName = HeaderName::from_static("x-ms-blob-cache-control");
/// The metadata that says what a published blob holds.
const DIGEST: &str = "x-ms-meta-sha256";

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum BlobCredential {
    /// An account key, for Azurite.
    SharedKey {
        /// The account's name.
        account: String,
        /// The key in base64.
        key: String,
    },
    /// Tokens of Entra ID.
    Token(Arc<dyn TokenCredential>),
}

/// The blobs of one container.
#[derive(Debug, Clone)]
pub struct AzureBlobs {
    channel: Channel,
    container: String,
}

impl AzureBlobs {
    /// The blobs of the container at this address, as in `https://{account}.blob.core.windows.net/{container}`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(http: &Arc<dyn HttpClient>, credential: BlobCredential, url: &str) -> Result<Self, EndpointError> {
        let auth: Arc<dyn Policy> = match credential {
            BlobCredential::SharedKey { account, key } => Arc::new(BlobKeyPolicy::new(&account, &key)),
            BlobCredential::Token(credential) => Arc::new(BearerPolicy::new(credential, SCOPE)),
        };
        Ok(AzureBlobs { channel: Channel::new(http, &auth), container: endpoint(url)? })
    }

    /// Makes the container; false where it exists already.
    ///
    /// # Errors
    /// A bad name, no right, or no answer.
    pub async fn create_container(&self) -> Result<bool, BlobError> {
        let mut request = self.request("", "?restype=container", Method::Put)?;
        request.set_body(Bytes::new());
        let response = self.send(&mut request).await?;
        match (u16::from(response.status()), code(&response)) {
            (201, _) => Ok(true),
            (409, "ContainerAlreadyExists") => Ok(false),
            _ => Err(refusal(&response)),
        }
    }

    fn request(&self, name: &str, query: &str, method: Method) -> Result<Request, BlobError> {
        let slash = if name.is_empty() { "" } else { "/" };
        let url = Url::parse(&format!("{}{slash}{name}{query}", self.container))
            .map_err(|error| BlobError::Refused(format!("no address of a request: {error}")))?;
        let mut request = Request::new(url, method);
        request.insert_header(X_MS_VERSION, VERSION);
        Ok(request)
    }

    async fn send(&self, request: &mut Request) -> Result<RawResponse, BlobError> {
        self.channel.repeating(request).await.map_err(|failure| match failure {
            Failure::Denied(reason) => BlobError::Denied(reason),
            Failure::NotSent(reason) | Failure::Broken(reason) => BlobError::Unavailable(reason),
        })
    }
}

#[async_trait]
impl BlobStore for AzureBlobs {
    async fn create(&self, name: &str) -> Result<bool, BlobError> {
        check_blob_name(name)?;
        let mut request = self.request(name, "", Method::Put)?;
        request.insert_header(BLOB_TYPE, "AppendBlob");
        request.insert_header(IF_NONE_MATCH, "*");
        request.insert_header(CONTENT_TYPE, "application/octet-stream");
        request.set_body(Bytes::new());
        let response = self.send(&mut request).await?;
        match (u16::from(response.status()), code(&response)) {
            (201, _) => Ok(true),
            (409, "BlobAlreadyExists") | (412, _) => Ok(false),
            _ => Err(refusal(&response)),
        }
    }

    async fn append(&self, name: &str, at: u64, block: Bytes) -> Result<Appended, BlobError> {
        check_blob_name(name)?;
        if block.is_empty() || block.len() > MAX_BLOCK_BYTES {
            return Err(BlobError::Refused(format!("a block has 1 to {MAX_BLOCK_BYTES} bytes, not {}", block.len())));
        }
        let mut request = self.request(name, "?comp=appendblock", Method::Put)?;
        request.insert_header(APPEND_POSITION, at.to_string());
        request.insert_header(CONTENT_TYPE, "application/octet-stream");
        request.set_body(block);
        // Repeated: the position keeps a block from being appended twice.
        let response = self.send(&mut request).await?;
        match (u16::from(response.status()), code(&response)) {
            (201, _) => Ok(Appended::Done),
            (412, _) => Ok(Appended::Moved),
            _ => Err(refusal(&response)),
        }
    }

    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BlobError> {
        check_blob_name(name)?;
        let mut request = self.request(name, "", Method::Put)?;
        request.insert_header(BLOB_TYPE, "BlockBlob");
        request.insert_header(CONTENT_TYPE, "application/octet-stream");
        request.set_body(bytes);
        let response = self.send(&mut request).await?;
        if u16::from(response.status()) == 201 { Ok(()) } else { Err(refusal(&response)) }
    }

    async fn read(&self, name: &str, from: u64, most: u64) -> Result<Option<Part>, BlobError> {
        check_blob_name(name)?;
        let mut request = self.request(name, "", Method::Get)?;
        request.insert_header(RANGE, format!("bytes={from}-{}", from.saturating_add(most.max(1) - 1)));
        let response = self.send(&mut request).await?;
        let number = |text: &str| text.rsplit('/').next().and_then(|number| number.trim().parse().ok());
        let missing = || BlobError::Malformed("the size of the blob is not told".to_owned());
        match u16::from(response.status()) {
            206 => {
                let size = header(&response, "content-range").and_then(number).ok_or_else(missing)?;
                Ok(Some(Part { bytes: response.into_body().into(), size }))
            }
            // An empty blob is given whole, whatever the range.
            200 => {
                let bytes: Bytes = response.into_body().into();
                let size = bytes.len() as u64;
                let rest = bytes.slice(usize::try_from(from.min(size)).unwrap_or(bytes.len())..);
                let end = rest.len().min(usize::try_from(most).unwrap_or(usize::MAX));
                Ok(Some(Part { bytes: rest.slice(..end), size }))
            }
            416 => {
                // Azure tells the size in Content-Range, Azurite does not.
                match header(&response, "content-range").and_then(number) {
                    Some(size) => Ok(Some(Part { bytes: Bytes::new(), size })),
                    None => self.size(name).await.map(|size| size.map(|size| Part { bytes: Bytes::new(), size })),
                }
            }
            404 if code(&response) == "BlobNotFound" => Ok(None),
            _ => Err(refusal(&response)),
        }
    }

    async fn list(&self, prefix: &str, from: Option<&Continuation>) -> Result<Listed, BlobError> {
        let mut query = format!("?restype=container&comp=list&prefix={}", escaped(prefix));
        if let Some(from) = from {
            query.push_str(&format!("&marker={}", escaped(&from.0)));
        }
        let mut request = self.request("", &query, Method::Get)?;
        let response = self.send(&mut request).await?;
        if u16::from(response.status()) != 200 {
            return Err(refusal(&response));
        }
        let text = std::str::from_utf8(response.body()).map_err(|error| BlobError::Malformed(error.to_string()))?;
        listed(text.trim_start_matches('\u{feff}'))
            .ok_or_else(|| BlobError::Malformed(format!("no list of blobs: {}", excerpt(text.as_bytes()))))
    }

    async fn delete(&self, name: &str) -> Result<bool, BlobError> {
        check_blob_name(name)?;
        let mut request = self.request(name, "", Method::Delete)?;
        let response = self.send(&mut request).await?;
        match (u16::from(response.status()), code(&response)) {
            (202, _) => Ok(true),
            (404, "BlobNotFound") => Ok(false),
            _ => Err(refusal(&response)),
        }
    }
}

impl AzureBlobs {
    /// Writes a blob whole, as a website shows it: of this media type, looked for anew with every visit. `digest` is kept
    /// with it, in the same request.
    ///
    /// # Errors
    /// A bad name, no right, or no answer.
    pub async fn publish(&self, name: &str, media_type: &str, digest: &str, bytes: Bytes) -> Result<(), BlobError> {
        check_blob_name(name)?;
        let mut request = self.request(name, "", Method::Put)?;
        request.insert_header(BLOB_TYPE, "BlockBlob");
        request.insert_header(BLOB_CONTENT_TYPE, media_type.to_owned());
        request.insert_header(BLOB_CACHE_CONTROL, "no-cache");
        request.insert_header(HeaderName::from_static(DIGEST), digest.to_owned());
        request.set_body(bytes);
        let response = self.send(&mut request).await?;
        if u16::from(response.status()) == 201 { Ok(()) } else { Err(refusal(&response)) }
    }

    /// The digest that a blob was published with; `None` where there is no blob, or it was written in another way.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn published(&self, name: &str) -> Result<Option<String>, BlobError> {
        check_blob_name(name)?;
        let mut request = self.request(name, "", Method::Head)?;
        let response = self.send(&mut request).await?;
        match u16::from(response.status()) {
            200 => Ok(header(&response, DIGEST).map(str::to_owned)),
            404 => Ok(None),
            _ => Err(refusal(&response)),
        }
    }

    async fn size(&self, name: &str) -> Result<Option<u64>, BlobError> {
        let mut request = self.request(name, "", Method::Head)?;
        let response = self.send(&mut request).await?;
        match u16::from(response.status()) {
            200 => {
                let size = header(&response, "content-length").and_then(|size| size.parse().ok());
                size.map(Some).ok_or_else(|| BlobError::Malformed("the size of the blob is not told".to_owned()))
            }
            404 => Ok(None),
            _ => Err(refusal(&response)),
        }
    }
}

fn code(response: &RawResponse) -> &str {
    header(response, "x-ms-error-code").unwrap_or_default()
}

fn refusal(response: &RawResponse) -> BlobError {
    let status = u16::from(response.status());
    let reason = format!("{status} {} {}", code(response), excerpt(response.body()));
    match status {
        401 | 403 => BlobError::Denied(reason),
        408 | 429 | 500.. => BlobError::Unavailable(reason),
        400..500 => BlobError::Refused(reason),
        _ => BlobError::Malformed(reason),
    }
}

fn escaped(text: &str) -> String {
    azure_core::http::Url::parse_with_params("http://a/", [("x", text)])
        .ok()
        .and_then(|url| url.query().and_then(|query| query.strip_prefix("x=")).map(str::to_owned))
        .unwrap_or_default()
}

/// Reads `EnumerationResults`: flat, with names that need no escape but XML's.
fn listed(xml: &str) -> Option<Listed> {
    let body = element(xml, "EnumerationResults")?;
    let mut blobs = Vec::new();
    let mut rest = element(body, "Blobs").unwrap_or_default();
    while let Some(at) = rest.find("<Blob>") {
        let end = rest[at..].find("</Blob>")? + at;
        let blob = &rest[at + "<Blob>".len()..end];
        let size = element(element(blob, "Properties")?, "Content-Length")?.trim().parse().ok()?;
        blobs.push((plain(element(blob, "Name")?), size));
        rest = &rest[end + "</Blob>".len()..];
    }
    let next = element(body, "NextMarker").map(plain).filter(|marker| !marker.is_empty()).map(Continuation);
    Some(Listed { blobs, next })
}

/// The contents of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let mut from = 0;
    loop {
        let at = xml[from..].find(&format!("<{name}"))? + from;
        let after = at + 1 + name.len();
        let open = xml[after..].find('>')? + after;
        match xml[after..].chars().next()? {
            '/' => return Some(""),
            '>' | ' ' | '\t' | '\r' | '\n' if xml[..open].ends_with('/') => return Some(""),
            '>' | ' ' | '\t' | '\r' | '\n' => {
                let end = xml[open..].find(&format!("</{name}>"))? + open;
                return Some(&xml[open + 1..end]);
            }
            // A longer name that begins so.
            _ => from = after,
        }
    }
}

fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let xml = "<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"http://a/\" ContainerName=\"c\">\
            <Prefix>a</Prefix><Blobs><Blob><Name>a&amp;b</Name><Properties><Content-Length>7</Content-Length>\
            </Properties></Blob><Blob><Name>b</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
            </Blobs><NextMarker>m</NextMarker></EnumerationResults>";
        let read = listed(xml).unwrap();
        assert_eq!(read.blobs, [("a&b".to_owned(), 7), ("b".to_owned(), 0)]);
        assert_eq!(read.next, Some(Continuation("m".to_owned())));
        let read = listed("<EnumerationResults><Blobs /><NextMarker/></EnumerationResults>").unwrap();
        assert_eq!((read.blobs.len(), read.next), (0, None));
        for wrong in ["", "<EnumerationResults>", "<EnumerationResults><Blobs><Blob></Blobs></EnumerationResults>"] {
            assert!(listed(wrong).is_none(), "{wrong}");
        }
    }
}

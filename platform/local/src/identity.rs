//! The local issuer: tokens for managed identities and for developers, and their verification.
//!
//! Every token is a JWT signed with RS256 by one key that is made once under the state folder. Verification knows no
//! other algorithm and no other key, so that neither `none` nor a token signed with the public key as a secret is
//! ever looked at.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use rsa::sha2::{Digest as _, Sha256};
use rsa::traits::PublicKeyParts as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;

/// The issuer that every token names.
pub const ISSUER: &str = "https://issuer.skein.local/";

/// The audience of a developer's token: the gateway.
pub const GATEWAY_AUDIENCE: &str = "api://skein-gateway";

/// The principal of whoever operates the system on this machine, as Entra ID would name a person.
pub const OPERATOR_PRINCIPAL_ID: &str = "5f0c9d0e-6c1b-4f52-9d55-0a7e6f3b1c20";

/// The client that an operator's tokens name: the tool, not the person.
const OPERATOR_CLIENT_ID: &str = "1c2b7a86-3f0d-4d6a-8f0e-b1a0c5f4e9d3";

/// How long a managed identity's token is good for.
pub const MANAGED_IDENTITY_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// How long a developer's token is good for.
pub const USER_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The size of the issuer's key, in bits.
const KEY_BITS: usize = 2048;

/// How many verified tokens are remembered, so that a signature is checked once and not with every request.
const REMEMBERED_TOKENS: usize = 4096;

/// Who called, as the token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The principal id of a managed identity; the subject of a user's token.
    pub oid: String,
    /// The subject.
    pub subject: String,
    /// The roles of a user's token.
    pub roles: Vec<String>,
}

/// Why a token is refused. Every plane answers 401.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unauthorized(pub String);

/// Why the issuer cannot be opened or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The key's file cannot be read or written.
    #[error("cannot read or write the key {0}")]
    Io(String, #[source] std::io::Error),
    /// The key's file holds no RSA key, or the key cannot be used.
    #[error("the key {0}: {1}")]
    Key(String, String),
}

/// Signs and verifies tokens with the key under the state folder.
pub struct Issuer {
    key: rsa::PrivateKey,
    public: rsa::PublicKey,
    kid: String,
    verified: Mutex<HashMap<String, Claims>>,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    appid: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// The audience that a resource or scope names: the part before `/.default`, without a trailing slash.
fn audience_of(resource: &str) -> &str {
    resource.strip_suffix("/.default").unwrap_or(resource).trim_end_matches('/')
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// The RSA key `{name}.pem` of a folder, made the first time, readable by its owner only. Two processes that do so at
/// once end with the same key.
pub(crate) fn private_key(folder: &Path, name: &str) -> Result<rsa::PrivateKey, IssuerError> {
    let path = folder.join(format!("{name}.pem"));
    let io = |error| IssuerError::Io(path.display().to_string(), error);
    let unusable = |error: String| IssuerError::Key(path.display().to_string(), error);
    if !path.exists() {
        fs::create_dir_all(folder).map_err(io)?;
        let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
        let key = rsa::PrivateKey::new(&mut random, KEY_BITS).map_err(|error| unusable(error.to_string()))?;
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| unusable(error.to_string()))?;
        let draft = folder.join(format!("{name}.{}.pem", uuid::Uuid::new_v4()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
        file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        // A link fails where another process was faster; its key is then the key.
        let linked = fs::hard_link(&draft, &path);
        fs::remove_file(&draft).map_err(io)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(error)),
            _ => {}
        }
    }
    let pem = fs::read_to_string(&path).map_err(io)?;
    rsa::PrivateKey::from_pkcs8_pem(&pem).map_err(|error| unusable(error.to_string()))
}

impl Issuer {
    /// Opens the issuer of a state folder (`identity/` under it); makes the key the first time, readable by its owner
    /// only. Two processes that do so at once end with the same key.
    ///
    /// # Errors
    /// A folder that cannot be written, or a file that holds no key.
    pub fn open(folder: &Path) -> Result<Self, IssuerError> {
        let key = private_key(folder, "issuer")?;
        let public = key.to_public_key();
        let kid = URL_SAFE_NO_PAD.encode(&Sha256::digest(public.n_bytes())[..15]);
        Ok(Issuer { key, public, kid, verified: Mutex::new(HashMap::new()) })
    }

    /// A token of a managed identity for one resource, with the time it ends at (seconds since 1970).
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn issue_managed_identity(
        &self,
        principal_id: &str,
        client_id: &str,
        resource: &str,
    ) -> Result<(String, i64), IssuerError> {
        let now = now();
        let exp = now + MANAGED_IDENTITY_LIFETIME.as_secs() as i64;
        let token = self.sign(&Claims {
            iss: ISSUER.to_owned(),
            aud: audience_of(resource).to_owned(),
            sub: principal_id.to_owned(),
            oid: Some(principal_id.to_owned()),
            appid: Some(client_id.to_owned()),
            roles: Vec::new(),
            iat: now,
            nbf: now,
            exp,
        })?;
        Ok((token, exp))
    }

    /// A token of the system's operator for one plane, with the time it ends at (seconds since 1970).
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn issue_operator(&self, resource: &str) -> Result<(String, i64), IssuerError> {
        self.issue_managed_identity(OPERATOR_PRINCIPAL_ID, OPERATOR_CLIENT_ID, resource)
    }

    /// A development token of a person, for the gateway.
    ///
    /// # Errors
    /// A key that cannot sign.
    pub fn issue_user(&self, subject: &str, roles: &[String]) -> Result<String, IssuerError> {
        let now = now();
        self.sign(&Claims {
            iss: ISSUER.to_owned(),
            aud: GATEWAY_AUDIENCE.to_owned(),
            sub: subject.to_owned(),
            oid: None,
            appid: None,
            roles: roles.to_vec(),
            iat: now,
            nbf: now,
            exp: now + USER_LIFETIME.as_secs() as i64,
        })
    }

    fn sign(&self, claims: &Claims) -> Result<String, IssuerError> {
        let unusable = |error: String| IssuerError::Key(self.kid.clone(), error);
        let header = Header { alg: "RS256".into(), kid: self.kid.clone(), typ: Some("JWT".into()) };
        let mut token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).map_err(|e| unusable(e.to_string()))?);
        token.push('.');
        URL_SAFE_NO_PAD
            .encode_string(serde_json::to_vec(claims).map_err(|error| unusable(error.to_string()))?, &mut token);
        let signature =
            self.key.pkcs1v15_sign::<Sha256>(token.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Verifies a bearer token (without the word `Bearer`) for one audience.
    ///
    /// # Errors
    /// No token of ours, expired, not yet valid, or for another audience.
    pub fn verify(&self, bearer: &str, audience: &str) -> Result<Caller, Unauthorized> {
        let refuse = |why: &str| Unauthorized(why.to_owned());
        let known = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(bearer).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = self.check_signature(bearer)?;
                let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
                if verified.len() >= REMEMBERED_TOKENS {
                    verified.clear();
                }
                verified.insert(bearer.to_owned(), claims.clone());
                claims
            }
        };
        if claims.iss != ISSUER {
            return Err(refuse("the token is of another issuer"));
        }
        if audience_of(&claims.aud) != audience_of(audience) {
            return Err(Unauthorized(format!("the token is for {:?}, not for {audience:?}", claims.aud)));
        }
        let now = now();
        if claims.exp <= now {
            return Err(refuse("the token has expired"));
        }
        if claims.nbf > now {
            return Err(refuse("the token is not valid yet"));
        }
        Ok(Caller { oid: claims.oid.unwrap_or_else(|| claims.sub.clone()), subject: claims.sub, roles: claims.roles })
    }

    /// The claims of a token that this key signed.
    fn check_signature(&self, bearer: &str) -> Result<Claims, Unauthorized> {
        let refuse = |why: &str| Unauthorized(why.to_owned());
        let (signed, signature) = bearer.rsplit_once('.').ok_or_else(|| refuse("the token is no JWT"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| refuse("the token is no JWT"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| refuse("the token is no JWT"));
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| refuse("the token's header is not understood"))?;
        if header.alg != "RS256" {
            return Err(refuse("only RS256 is accepted"));
        }
        if header.kid != self.kid {
            return Err(refuse("the token is signed with another key"));
        }
        self.public
            .pkcs1v15_verify::<Sha256>(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| refuse("the token's signature is wrong"))?;
        serde_json::from_slice(&decode(claims)?).map_err(|_| refuse("the token's claims are not understood"))
    }

    /// The public key as a JSON Web Key Set.
    pub fn keys(&self) -> serde_json::Value {
        json!({"keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": URL_SAFE_NO_PAD.encode(self.public.n_bytes()),
            "e": URL_SAFE_NO_PAD.encode(self.public.e_bytes()),
        }]})
    }
}

/// The token of an `Authorization: Bearer` header, if there is exactly one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(axum::http::header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A user-assigned managed identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedIdentity {
    /// The object id of its service principal: the `oid` of its tokens.
    pub principal_id: String,
    /// What `AZURE_CLIENT_ID` names.
    pub client_id: String,
}

/// Which secret header belongs to which app's identities.
pub type IdentityHeaders = HashMap<String, Vec<ManagedIdentity>>;

/// The managed-identity endpoint of App Service (`/identity/token`), and the issuer's metadata.
///
/// Each app has a random header of its own, so that one app cannot have the token of another's identity.
pub fn router(issuer: Arc<Issuer>, apps: Arc<RwLock<IdentityHeaders>>, base: String) -> Router {
    let metadata = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{base}/identity/keys"),
        "token_endpoint": format!("{base}/identity/token"),
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
    });
    let keys = issuer.keys();
    let configuration = get(|| async { axum::Json(metadata) });
    Router::new()
        .route("/identity/token", get(token).with_state((issuer, apps)))
        .route("/identity/keys", get(|| async { axum::Json(keys) }))
        .route("/identity/.well-known/openid-configuration", configuration.clone())
        // Where a tenant's is. There is one issuer, whatever the tenant.
        .route("/identity/{tenant}/v2.0/.well-known/openid-configuration", configuration)
}

async fn token(
    State((issuer, apps)): State<(Arc<Issuer>, Arc<RwLock<IdentityHeaders>>)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let refuse = |status: StatusCode, message: String| {
        (status, axum::Json(json!({"statusCode": status.as_u16(), "message": message}))).into_response()
    };
    let header = headers.get("x-identity-header").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let identities = apps.read().unwrap_or_else(PoisonError::into_inner).get(header).cloned();
    let Some(identities) = identities else {
        return refuse(StatusCode::UNAUTHORIZED, "X-IDENTITY-HEADER is not that of an app".into());
    };
    if query.get("api-version").map(String::as_str) != Some("2019-08-01") {
        return refuse(StatusCode::BAD_REQUEST, "api-version must be 2019-08-01".into());
    }
    let Some(resource) = query.get("resource").filter(|resource| !resource.is_empty()) else {
        return refuse(StatusCode::BAD_REQUEST, "resource is missing".into());
    };
    // There are only user-assigned identities; without client_id the platform would look for a system-assigned one.
    let Some(identity) = query
        .get("client_id")
        .and_then(|client_id| identities.iter().find(|identity| identity.client_id.eq_ignore_ascii_case(client_id)))
    else {
        return refuse(StatusCode::BAD_REQUEST, "client_id is not that of an identity assigned to this app".into());
    };
    match issuer.issue_managed_identity(&identity.principal_id, &identity.client_id, resource) {
        // The platform gives the time as text, and azure_identity reads nothing else.
        Ok((token, expires_on)) => axum::Json(json!({
            "access_token": token,
            "expires_on": expires_on.to_string(),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": identity.client_id,
        }))
        .into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::OnceLock;

    /// One key for all tests: making it is the slow part.
    fn issuer() -> &'static Issuer {
        static ISSUER: OnceLock<Issuer> = OnceLock::new();
        ISSUER.get_or_init(|| Issuer::open(tempfile::tempdir().unwrap().path()).unwrap())
    }

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.into(),
            aud: "https://storage.azure.com".into(),
            sub: "p".into(),
            oid: Some("p".into()),
            appid: Some("c".into()),
            roles: vec![],
            iat: now(),
            nbf: now(),
            exp: now() + 60,
        }
    }

    fn refusal(token: &str) -> String {
        issuer().verify(token, "https://storage.azure.com").unwrap_err().0
    }

    #[test]
    fn a_managed_identity_is_known_by_its_principal() {
        let (token, _) = issuer().issue_managed_identity("p", "c", "https://storage.azure.com/").unwrap();
        let caller = issuer().verify(&token, "https://storage.azure.com").unwrap();
        assert_eq!(caller, Caller { oid: "p".into(), subject: "p".into(), roles: vec![] });
        // The second time it is remembered, and still bound to its audience.
        issuer().verify(&token, "https://storage.azure.com").unwrap();
        assert!(issuer().verify(&token, "https://servicebus.azure.net").unwrap_err().0.contains("not for"));
    }

    #[test]
    fn an_operator_is_a_principal_on_one_plane() {
        let (token, expires_on) = issuer().issue_operator("https://servicebus.azure.net/.default").unwrap();
        let caller = issuer().verify(&token, "https://servicebus.azure.net").unwrap();
        assert_eq!(caller.oid, OPERATOR_PRINCIPAL_ID);
        assert!(expires_on > now());
        assert!(issuer().verify(&token, GATEWAY_AUDIENCE).unwrap_err().0.contains("not for"));
    }

    #[test]
    fn a_user_has_roles() {
        let token = issuer().issue_user("ann", &["customer".into()]).unwrap();
        let caller = issuer().verify(&token, GATEWAY_AUDIENCE).unwrap();
        assert_eq!(caller, Caller { oid: "ann".into(), subject: "ann".into(), roles: vec!["customer".into()] });
    }

    #[test]
    fn other_algorithms_are_not_looked_at() {
        let good = issuer().sign(&claims()).unwrap();
        let payload = good.split('.').nth(1).unwrap();
        for alg in ["none", "None", "HS256", "RS512", "PS256"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","kid":"{}"}}"#, issuer().kid));
            // As an attacker would: the signature left away, or made with what is public.
            for signature in [String::new(), URL_SAFE_NO_PAD.encode(Sha256::digest(issuer().public.n_bytes()))] {
                assert_eq!(refusal(&format!("{header}.{payload}.{signature}")), "only RS256 is accepted");
            }
        }
    }

    #[test]
    fn a_changed_token_is_refused() {
        let good = issuer().sign(&claims()).unwrap();
        let mut parts: Vec<&str> = good.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Claims { sub: "root".into(), ..claims() }).unwrap());
        parts[1] = &forged;
        assert_eq!(refusal(&parts.join(".")), "the token's signature is wrong");
        refusal(&good[..good.len() - 4]);
        let other = Issuer::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_eq!(refusal(&other.sign(&claims()).unwrap()), "the token is signed with another key");
    }

    #[test]
    fn time_and_issuer_count() {
        let expired = Claims { exp: now(), ..claims() };
        assert_eq!(refusal(&issuer().sign(&expired).unwrap()), "the token has expired");
        let early = Claims { nbf: now() + 60, ..claims() };
        assert_eq!(refusal(&issuer().sign(&early).unwrap()), "the token is not valid yet");
        let foreign = Claims { iss: "https://sts.windows.net/".into(), ..claims() };
        assert_eq!(refusal(&issuer().sign(&foreign).unwrap()), "the token is of another issuer");
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in ["", ".", "..", "a.b", "a.b.c", "\u{0}.é.x", &"x".repeat(10_000), "e30.e30.e30"] {
            refusal(garbage);
        }
    }

    #[test]
    fn the_key_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = Issuer::open(folder.path()).unwrap();
        let second = Issuer::open(folder.path()).unwrap();
        assert_eq!(first.kid, second.kid);
        let mode = fs::metadata(folder.path().join("issuer.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        fs::write(folder.path().join("issuer.pem"), "no key").unwrap();
        assert!(matches!(Issuer::open(folder.path()), Err(IssuerError::Key(..))));
    }

    #[test]
    fn only_one_authorization_header_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.append("authorization", "Bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers), Some("abc"));
        headers.append("authorization", "Bearer def".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}

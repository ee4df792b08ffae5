//! Bearer tokens: signature, issuer, audience, time, claims.
//!
//! A key decides the algorithm, never the token: an RSA key verifies RS256, a P-256 key ES256, and a token that names
//! another one is refused before anything is computed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use crate::step::{RequiredClaim, TokenCheck};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The last second of the year 9999, which no `DateTime` of .NET goes beyond.
const END_OF_TIME: i64 = 253_402_300_799;

/// A verified token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Empty where it names nobody.
    pub(crate) subject: String,
    /// When it ends, in whole seconds since 1970.
    pub(crate) ends: Option<i64>,
    claims: BTreeMap<String, Vec<String>>,
}

impl Token {
    /// The values of a claim; none where it is not there.
    pub(crate) fn claim(&self, name: &str) -> &[String] {
        self.claims.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Why a token is refused, in API Management's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) why: String,
}

fn refuse<T>(reason: &'static str, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason, why: why.into() })
}

/// The public keys of an issuer, and who it says that it is.
#[derive(Debug)]
pub struct Keys {
    issuer: String,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
}

/// What an issuer publishes and cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeysError {
    /// No JSON of that form.
    #[error("{0}")]
    Malformed(String),
    /// None of the keys can be used.
    #[error("none of the {0} keys is an RSA or P-256 key for signatures")]
    NoKey(usize),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(default)]
    r#use: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl Keys {
    /// The keys of a JSON Web Key Set (RFC 7517). Keys of other kinds, such as those for encryption, are left out.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn parse(issuer: &str, set: &[u8]) -> Result<Self, KeysError> {
        let set: KeySet =
            serde_json::from_slice(set).map_err(|error| KeysError::Malformed(format!("no set of keys: {error}")))?;
        let count = set.keys.len();
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err(KeysError::NoKey(count));
        }
        Ok(Keys { issuer: issuer.to_owned(), keys })
    }

    /// Whether a key has this id.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl Key {
    fn of(raw: RawKey) -> Option<Key> {
        if raw.r#use.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok();
        let material = match (raw.kty.as_str(), raw.crv.as_deref(), raw.alg.as_deref()) {
            ("RSA", None, None | Some("RS256")) => {
                let trimmed = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
                let (n, e) = (trimmed(bytes(raw.n)?), trimmed(bytes(raw.e)?));
                // What a signature of which can be made by anybody is no key.
                (n.len() >= 256 && !e.is_empty() && e != [1]).then_some(Material::Rsa { n, e })?
            }
            ("EC", Some("P-256"), None | Some("ES256")) => {
                let (x, y) = (bytes(raw.x)?, bytes(raw.y)?);
                (x.len() == 32 && y.len() == 32).then(|| Material::P256([vec![4], x, y].concat()))?
            }
            _ => return None,
        };
        Some(Key { id: raw.kid, material })
    }

    fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rsa { .. } => "RS256",
            Material::P256(_) => "ES256",
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// The id of the key that a token names, unverified: which keys to fetch.
pub(crate) fn key_id(token: &str) -> Option<String> {
    let header = token.split('.').next()?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    header.kid
}

/// Verifies a token against the keys of those who may issue it, at a time in seconds since 1970.
///
/// # Errors
/// Why it is refused.
pub(crate) fn verify(token: &str, issuers: &[&Keys], check: &TokenCheck, now: i64) -> Result<Token, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return refuse("JwtInvalid", format!("a token has at most {MAX_TOKEN_BYTES} bytes"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header_part, claims_part, signature] = parts[..] else { return refuse("JwtInvalid", "it is no signed token") };
    let decode =
        |part: &str| URL_SAFE_NO_PAD.decode(part).or_else(|_| refuse("JwtInvalid", "it is not written in base64url"));
    let header: Header = match serde_json::from_slice(&decode(header_part)?) {
        Ok(header) => header,
        Err(_) => return refuse("JwtInvalid", "its header is not understood"),
    };
    if header.crit.is_some() {
        return refuse("JwtInvalid", "its header demands what is not understood");
    }
    if !["RS256", "ES256"].contains(&header.alg.as_str()) {
        return refuse("TokenSignatureInvalid", "only RS256 and ES256 are accepted");
    }
    let signature = decode(signature)?;
    let message = &token.as_bytes()[..header_part.len() + 1 + claims_part.len()];
    let fits = |key: &&Key| key.algorithm() == header.alg && (header.kid.is_none() || header.kid == key.id);
    let candidates =
        || issuers.iter().flat_map(|keys| keys.keys.iter().filter(fits).map(|key| (keys.issuer.as_str(), key)));
    if candidates().next().is_none() {
        return refuse("TokenSignatureKeyNotFound", "no key that is known fits it");
    }
    let Some((issuer, _)) = candidates().find(|(_, key)| key.verifies(message, &signature)) else {
        return refuse("TokenSignatureInvalid", "its signature is wrong");
    };
    let claims: serde_json::Map<String, Value> = match serde_json::from_slice(&decode(claims_part)?) {
        Ok(claims) => claims,
        Err(_) => return refuse("JwtInvalid", "its claims are not understood"),
    };
    let ends = check_claims(&claims, issuer, check, now)?;
    let subject = match claims.get("sub") {
        None => String::new(),
        Some(Value::String(subject)) => subject.clone(),
        Some(_) => return refuse("JwtInvalid", "its subject is no text"),
    };
    let claims = claims.iter().map(|(name, value)| (name.clone(), texts(value))).collect();
    Ok(Token { subject, ends, claims })
}

/// A claim's values as texts.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// When the token ends, if its claims hold.
fn check_claims(
    claims: &serde_json::Map<String, Value>,
    issuer: &str,
    check: &TokenCheck,
    now: i64,
) -> Result<Option<i64>, Refusal> {
    let named = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    let known = if check.issuers.is_empty() { named == issuer } else { check.issuers.iter().any(|one| one == named) };
    if !known {
        return refuse("TokenIssuerNotAllowed", "it is of another issuer");
    }
    let audiences = match claims.get("aud") {
        Some(value @ (Value::String(_) | Value::Array(_))) => texts(value),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| check.audiences.contains(audience)) {
        return refuse("TokenAudienceNotAllowed", "it is meant for another audience");
    }
    // A time of another type is not a time that is missing.
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) if seconds.is_finite() => Ok(Some((seconds as i64).min(END_OF_TIME))),
            _ => refuse("JwtInvalid", format!("its {name} is no time")),
        },
    };
    let ends = time("exp")?;
    match ends {
        Some(ends) if ends.saturating_add(check.clock_skew_seconds) <= now => {
            return refuse("TokenExpired", "it has expired");
        }
        None if check.require_expiration => return refuse("TokenExpired", "it does not say when it expires"),
        _ => {}
    }
    if time("nbf")?.is_some_and(|begins| begins.saturating_sub(check.clock_skew_seconds) > now) {
        return refuse("TokenNotYetValid", "it is not valid yet");
    }
    for RequiredClaim { name, all, values } in &check.claims {
        let Some(held) = claims.get(name).map(texts) else {
            return refuse("TokenClaimNotFound", format!("it has no claim {name}"));
        };
        let mut wanted = values.iter().map(|value| held.contains(value));
        let good = values.is_empty() || if *all { wanted.all(|held| held) } else { wanted.any(|held| held) };
        if !good {
            return refuse("TokenClaimValueNotAllowed", format!("its claim {name} has other values"));
        }
    }
    Ok(ends)
}

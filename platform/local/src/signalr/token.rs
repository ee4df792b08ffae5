//! Clients' tokens: HS256, by a key that lives as long as the process.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use time::OffsetDateTime;

/// Signs and verifies clients' tokens.
pub(super) struct Key([u8; 32]);

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// The user; absent for a client without a name.
    pub(super) user: Option<String>,
    /// When the token ends, in seconds since 1970.
    pub(super) expires: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "nameid", default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    nbf: i64,
    exp: i64,
    iat: i64,
    aud: String,
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// A system without random bits.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Key(bytes))
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&self.0).expect("an HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac
    }

    /// A token for one audience, the URL where its holder connects.
    pub(super) fn sign(&self, audience: &str, user: Option<&str>, lifetime: Duration) -> String {
        let now = now();
        let exp = now + i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let claims = Claims { user: user.map(str::to_owned), nbf: now, exp, iat: now, aud: audience.to_owned() };
        let claims = serde_json::to_string(&claims).unwrap_or_default();
        let mut token = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.mac(&token).finalize().into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// Who holds a token.
    ///
    /// # Errors
    /// One that is not signed with this key, or not good for the audience now.
    pub(super) fn verify(&self, token: &str, audience: &str) -> Result<Client, &'static str> {
        const NO_TOKEN: &str = "the token is no JWT";
        let (signed, signature) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
        let (header, claims) = signed.split_once('.').ok_or(NO_TOKEN)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NO_TOKEN);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| NO_TOKEN)?;
        if header.alg != "HS256" {
            return Err("only HS256 is accepted");
        }
        // In constant time.
        self.mac(signed).verify_slice(&decode(signature)?).map_err(|_| "the token's signature is wrong")?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| "the token's claims are wrong")?;
        let now = now();
        if claims.aud != audience {
            return Err("the token is for another hub");
        }
        if claims.exp <= now {
            return Err("the token has expired");
        }
        if claims.nbf > now {
            return Err("the token is not valid yet");
        }
        Ok(Client { user: claims.user, expires: claims.exp })
    }

    /// What an upstream can know a call of this service by.
    pub(super) fn signature(&self, connection: &str) -> String {
        let bytes = self.mac(connection).finalize().into_bytes();
        bytes.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "http://127.0.0.1:1/signalr/s/client/?hub=orders";
    const MINUTE: Duration = Duration::from_secs(60);

    fn with(key: &Key, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_token_is_good_for_its_hub_and_time() {
        let key = Key::new().unwrap();
        let client = key.verify(&key.sign(HUB, Some("alice"), MINUTE), HUB).unwrap();
        assert_eq!(client.user.as_deref(), Some("alice"));
        assert!((now()..=now() + 60).contains(&client.expires), "{}", client.expires);
        assert_eq!(key.verify(&key.sign(HUB, None, MINUTE), HUB).unwrap().user, None);
        let refused = |token: &str, hub: &str| key.verify(token, hub).unwrap_err();
        let token = key.sign(HUB, Some("alice"), MINUTE);
        assert_eq!(
            refused(&token, "http://127.0.0.1:1/signalr/s/client/?hub=inventory"),
            "the token is for another hub"
        );
        assert_eq!(refused(&key.sign(HUB, None, Duration::ZERO), HUB), "the token has expired");
        let header = r#"{"alg":"HS256"}"#;
        let early = format!(r#"{{"nbf":{0},"exp":{0},"iat":0,"aud":"{HUB}"}}"#, now() + 3600);
        assert_eq!(refused(&with(&key, header, &early), HUB), "the token is not valid yet");
        let endless = format!(r#"{{"nbf":0,"iat":0,"aud":"{HUB}"}}"#);
        assert_eq!(refused(&with(&key, header, &endless), HUB), "the token's claims are wrong");
    }

    #[test]
    fn forgeries_are_refused() {
        let (key, other) = (Key::new().unwrap(), Key::new().unwrap());
        let good = format!(r#"{{"nameid":"alice","nbf":0,"exp":{},"iat":0,"aud":"{HUB}"}}"#, now() + 60);
        key.verify(&with(&key, r#"{"alg":"HS256"}"#, &good), HUB).unwrap();
        for alg in ["none", "hs256", "RS256", "HS512", ""] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(key.verify(&with(&key, &header, &good), HUB), Err("only HS256 is accepted"), "{alg}");
        }
        let wrong = Err("the token's signature is wrong");
        assert_eq!(key.verify(&other.sign(HUB, Some("alice"), MINUTE), HUB), wrong);
        let token = key.sign(HUB, Some("alice"), MINUTE);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(&good);
        assert_eq!(key.verify(&format!("{}.{forged}.{}", parts[0], parts[2]), HUB), wrong);
        assert_eq!(key.verify(&format!("{}.{}.", parts[0], parts[1]), HUB), wrong);
        for none in ["", ".", "..", "a.b.c", &token[1..], &format!("{token}=")] {
            assert!(key.verify(none, HUB).is_err(), "{none}");
        }
    }
}

//! Everything outside of a gateway, in memory: two issuers' keys, a backend that remembers its calls, a clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rsa::sha2::Sha256;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use skein_gateway::{Documents, ForwardError, Keys, Program, World};
use skein_policies::{ControlFlow, Tier, control_flow};
use uuid::Uuid;

pub const NOW: i64 = 1_800_000_000;
pub const ISSUER: &str = "https://login.example/tenant/v2.0";
pub const AUDIENCE: &str = "api://clients";
pub const ORIGIN: &str = "https://shop.example";
const CONFIG: &str = "https://login.example/tenant/.well-known/openid-configuration";

/// Signs as the issuer does, and as others would.
pub struct Signer {
    pub rsa: rsa::PrivateKey,
    /// Of somebody else.
    pub other: rsa::PrivateKey,
    pub p256: EcdsaKeyPair,
}

pub static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
    let mut key = || rsa::PrivateKey::new(&mut random, 2048).unwrap();
    let (rsa, other) = (key(), key());
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    Signer { rsa, other, p256 }
});

pub fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Signer {
    /// The issuer's keys, as it publishes them.
    pub fn key_set(&self) -> Value {
        let public = self.rsa.to_public_key();
        let point = self.p256.public_key().as_ref();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [
            {"kty": "RSA", "use": "sig", "kid": "r1", "n": text(&public.n_bytes()), "e": text(&public.e_bytes())},
            {"kty": "EC", "crv": "P-256", "use": "sig", "kid": "e1", "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "RSA", "use": "enc", "kid": "x1", "n": text(&self.other.to_public_key().n_bytes()), "e": "AQAB"},
        ]})
    }

    pub fn rs256(&self, header: &Value, claims: &Value) -> String {
        sign_rsa(&self.rsa, header, claims)
    }

    pub fn by_another(&self, header: &Value, claims: &Value) -> String {
        sign_rsa(&self.other, header, claims)
    }

    pub fn es256(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.p256.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn sign_rsa(key: &rsa::PrivateKey, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = key.pkcs1v15_sign::<Sha256>(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What a good token says.
pub fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "20001", "roles": ["customer"], "exp": NOW + 600, "nbf": NOW - 10})
}

pub fn good_token() -> String {
    SIGNER.rs256(&json!({"alg": "RS256", "kid": "r1", "typ": "JWT"}), &claims())
}

/// Remembers what reached a backend.
pub struct Outside {
    pub now: AtomicI64,
    pub forwarded: Mutex<Vec<Request<Bytes>>>,
    pub answer: Mutex<Result<Response<Bytes>, ForwardError>>,
    pub traced: Mutex<Vec<String>>,
}

impl Outside {
    pub fn new() -> Self {
        let answer = Response::builder().header("content-type", "application/json").header("server", "Kestrel");
        let answer = answer.header("connection", "x-hop").header("x-hop", "1");
        Outside {
            now: AtomicI64::new(NOW),
            forwarded: Mutex::default(),
            answer: Mutex::new(Ok(answer.body(Bytes::from_static(br#"{"data":{}}"#)).unwrap())),
            traced: Mutex::default(),
        }
    }
}

impl World for Outside {
    fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    fn new_id(&self) -> Uuid {
        Uuid::from_u128(0x0af7651916cd43dd8448eb211c80319c)
    }

    async fn keys(&self, openid_config: &str, _: Option<&str>) -> Result<Arc<Keys>, String> {
        assert_eq!(openid_config, CONFIG);
        Ok(Arc::new(Keys::parse(ISSUER, SIGNER.key_set().to_string().as_bytes()).unwrap()))
    }

    async fn identity_token(&self, resource: &str, client_id: Option<&str>) -> Result<String, String> {
        assert_eq!((resource, client_id), ("api://apps", None));
        Ok("gateway-token".to_owned())
    }

    async fn forward(&self, request: Request<Bytes>, timeout: Duration) -> Result<Response<Bytes>, ForwardError> {
        assert!(timeout <= Duration::from_secs(240));
        self.forwarded.lock().unwrap().push(request);
        self.answer.lock().unwrap().clone()
    }

    async fn wait(&self, _: Duration) {}

    fn trace(&self, source: &str, severity: &str, message: &str) {
        self.traced.lock().unwrap().push(format!("{severity} {source}: {message}"));
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What documents may refer to.
pub struct Around {
    pub fragments: BTreeMap<String, String>,
    pub named_values: BTreeMap<String, String>,
    pub backends: BTreeMap<String, String>,
}

impl Around {
    pub fn new(tier: Tier) -> Self {
        let fragments = control_flow::fragments(tier).unwrap();
        Around {
            fragments: fragments.into_iter().map(|(name, _, xml)| (name.to_owned(), xml)).collect(),
            named_values: map(&[
                ("skein-app-audience", "api://apps"),
                ("skein-audience", AUDIENCE),
                ("skein-issuer", ISSUER),
                ("skein-openid-config", CONFIG),
                ("skein-site-origin", ORIGIN),
            ]),
            backends: map(&[("desk-command", "http://command/api"), ("desk-query", "http://query/api")]),
        }
    }

    pub fn documents<'d>(&'d self, gateway: Option<&'d str>, api: Option<&'d str>) -> Documents<'d> {
        let Around { fragments, named_values, backends } = self;
        Documents { gateway, api, fragments, named_values, backends, service_url: None }
    }
}

/// The policies that ship, for a service called desk.
pub fn shipped(tier: Tier) -> Program {
    changed(tier, str::to_owned)
}

/// The same with another API's policy made of the one that ships.
pub fn changed(tier: Tier, change: impl Fn(&str) -> String) -> Program {
    let gateway = control_flow::gateway(tier).print(tier).unwrap();
    let flow = ControlFlow::between("desk-command", "desk-query").calls_per_minute(3).calls_per_day(5);
    let api = change(&flow.policy(tier).print(tier).unwrap());
    Program::compile(&Around::new(tier).documents(Some(&gateway), Some(&api))).unwrap()
}

pub fn query() -> Request<Bytes> {
    post(r#"{"query":"{ ticket(id: 1) { state } }"}"#)
}

pub fn mutation() -> Request<Bytes> {
    post(r#"{"query":"mutation { open(by: \"ann\") { id } }"}"#)
}

pub fn post(body: &str) -> Request<Bytes> {
    let request = Request::post("/graphql")
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .header("authorization", format!("Bearer {}", good_token()));
    request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

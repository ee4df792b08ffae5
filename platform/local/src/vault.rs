//! Key Vault as far as Skein's model goes: keys that wrap and unwrap, and never leave the vault.
//!
//! A key is made once, under the state folder, for each `Microsoft.KeyVault/vaults/keys` that is deployed. It has
//! one version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Path as Segments, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::sha2::{Digest as _, Sha256};
use rsa::traits::PublicKeyParts as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{Action, Forbidden, Guard, Place};
use crate::identity::{IssuerError, private_key};

/// Where the vaults are mounted.
pub const PREFIX: &str = "/keyvault";

/// The audience of their tokens.
const AUDIENCE: &str = "https://vault.azure.net";
const ALGORITHM: &str = "RSA-OAEP-256";

/// The vaults' keys, by vault and name.
pub struct Vaults(BTreeMap<(String, String), Key>);

struct Key {
    private: rsa::PrivateKey,
    version: String,
}

impl Vaults {
    /// Opens the keys in the folder; makes those that are missing, readable by their owner only. Blocks.
    ///
    /// # Errors
    /// A folder that cannot be written, or a file that holds no key.
    pub fn open(folder: &Path, keys: &[(String, String)]) -> Result<Self, IssuerError> {
        let keys = keys.iter().map(|(vault, name)| {
            let private = private_key(folder, &format!("{vault}.{name}"))?;
            let digest = Sha256::digest(private.to_public_key().n_bytes());
            let version = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(((vault.clone(), name.clone()), Key { private, version }))
        });
        Ok(Vaults(keys.collect::<Result<_, IssuerError>>()?))
    }
}

struct Front {
    guard: Guard,
    vaults: Vaults,
    base: String,
}

/// The routes of the vaults, to be nested under [`PREFIX`]; `base` is the planes' address.
pub fn router(guard: impl Into<Guard>, vaults: Vaults, base: &str) -> Router {
    let base = format!("{base}{PREFIX}");
    Router::new()
        .route("/{vault}/keys/{key}/{operation}", post(newest))
        .route("/{vault}/keys/{key}/{version}/{operation}", post(of_version))
        .fallback(|| async {
            refusal(StatusCode::NOT_FOUND, "KeyNotFound", "there is nothing here but key operations")
        })
        .with_state(Arc::new(Front { guard: guard.into(), vaults, base }))
}

#[derive(Deserialize)]
struct Operation {
    alg: String,
    value: String,
}

/// An error as Azure writes it.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({"error": {"code": code, "message": message}}))).into_response()
}

/// A role that is missing, as Azure writes it.
pub(crate) fn forbidden(refused: &Forbidden) -> Response {
    let Forbidden { principal, action, scope } = refused;
    let message = format!(
        "Caller is not authorized to perform action on resource.\r\nCaller: oid={principal};iss={}\r\n\
         Action: '{}'\r\nResource: '{scope}'\r\nAssignment: (not found)\r\n",
        crate::identity::ISSUER,
        action.name(),
    );
    let body = json!({"error": {
        "code": "Forbidden", "message": message, "innererror": {"code": "ForbiddenByRbac"}}});
    (StatusCode::FORBIDDEN, Json(body)).into_response()
}

async fn newest(
    State(front): State<Arc<Front>>,
    Segments((vault, key, operation)): Segments<(String, String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    operate(&front, &headers, (vault, key), None, &operation, &body).unwrap_or_else(|refusal| *refusal)
}

async fn of_version(
    State(front): State<Arc<Front>>,
    Segments((vault, key, version, operation)): Segments<(String, String, String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    operate(&front, &headers, (vault, key), Some(&version), &operation, &body).unwrap_or_else(|refusal| *refusal)
}

fn operate(
    front: &Front,
    headers: &HeaderMap,
    name: (String, String),
    version: Option<&str>,
    operation: &str,
    body: &str,
) -> Result<Response, Box<Response>> {
    let caller = front.guard.caller(headers, AUDIENCE).map_err(|reason| {
        let challenge = format!("Bearer authorization=\"{}\", resource=\"{AUDIENCE}\"", crate::identity::ISSUER);
        let refused = refusal(StatusCode::UNAUTHORIZED, "Unauthorized", &reason.to_string());
        Box::new(([(header::WWW_AUTHENTICATE, challenge)], refused).into_response())
    })?;
    let bad = |message: &str| Box::new(refusal(StatusCode::BAD_REQUEST, "BadParameter", message));
    let not_found = || {
        let text = format!("a key with (name/id) {}/{} was not found in this key vault", name.1, version.unwrap_or(""));
        Box::new(refusal(StatusCode::NOT_FOUND, "KeyNotFound", &text))
    };
    let action = match operation {
        "wrapkey" => Action::KeyWrap,
        "unwrapkey" => Action::KeyUnwrap,
        _ => return Err(not_found()),
    };
    let allowed = front.guard.allow(&caller, action, &Place::key(&name.0, &name.1));
    allowed.map_err(|refused| Box::new(forbidden(&refused)))?;
    let key = front.vaults.0.get(&name).ok_or_else(not_found)?;
    if version.is_some_and(|version| version != key.version) {
        return Err(not_found());
    }
    let request: Operation = serde_json::from_str(body).map_err(|_| bad("the body is no key operation"))?;
    if request.alg != ALGORITHM {
        return Err(bad("only RSA-OAEP-256 is hosted"));
    }
    let value = URL_SAFE_NO_PAD.decode(&request.value).map_err(|_| bad("the value is no base64url"))?;
    let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
    let value = match action {
        Action::KeyWrap => key.private.to_public_key().oaep_encrypt_with_rng::<Sha256, _>(&mut random, &value),
        _ => key.private.oaep_decrypt_with_rng::<Sha256, _>(&mut random, &value),
    };
    // What was wrong with it is not told, as it would help to guess.
    let value = value.map_err(|_| bad("the value cannot be wrapped or unwrapped with this key"))?;
    let kid = format!("{}/{}/keys/{}/{}", front.base, name.0, name.1, key.version);
    let answer: Value = json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(value)});
    Ok(Json(answer).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::identity::Issuer;

    struct Bench {
        router: Router,
        issuer: Arc<Issuer>,
    }

    impl Bench {
        fn new(folder: &Path) -> Bench {
            let issuer = Arc::new(Issuer::open(folder).unwrap());
            let vaults = Vaults::open(folder, &[("kv-skein".into(), "orders".into())]).unwrap();
            let router = Router::new().nest(PREFIX, router(issuer.clone(), vaults, "http://127.0.0.1:1"));
            Bench { router, issuer }
        }

        fn token(&self, resource: &str) -> String {
            self.issuer.issue_managed_identity("p", "c", resource).unwrap().0
        }

        async fn call(&self, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
            let mut request = Request::post(format!("{PREFIX}/kv-skein/keys/{path}?api-version=7.4"));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.body(Body::from(body.to_string())).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, serde_json::from_slice(&body).unwrap_or_default())
        }
    }

    fn operation(value: &[u8]) -> Value {
        json!({"alg": ALGORITHM, "value": URL_SAFE_NO_PAD.encode(value)})
    }

    #[tokio::test]
    async fn a_key_unwraps_what_it_wrapped_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path());
        let token = bench.token(AUDIENCE);
        let (status, wrapped) = bench.call("orders/wrapkey", Some(&token), &operation(&[7; 32])).await;
        assert_eq!(status, 200, "{wrapped}");
        let kid = wrapped["kid"].as_str().unwrap();
        let version = kid.strip_prefix("http://127.0.0.1:1/keyvault/kv-skein/keys/orders/").unwrap();
        assert_eq!(version.len(), 32);

        let bench = Bench::new(folder.path());
        let value = URL_SAFE_NO_PAD.decode(wrapped["value"].as_str().unwrap()).unwrap();
        assert_ne!(value, [7; 32]);
        let unwrap = format!("orders/{version}/unwrapkey");
        let (status, unwrapped) = bench.call(&unwrap, Some(&token), &operation(&value)).await;
        assert_eq!((status, &unwrapped["value"]), (200, &json!(URL_SAFE_NO_PAD.encode([7; 32]))));

        let mut changed = value.clone();
        changed[3] ^= 1;
        assert_eq!(bench.call(&unwrap, Some(&token), &operation(&changed)).await.0, 400);
        let other = tempfile::tempdir().unwrap();
        let elsewhere = Bench::new(other.path());
        let token = elsewhere.token(AUDIENCE);
        assert_eq!(elsewhere.call("orders/unwrapkey", Some(&token), &operation(&value)).await.0, 400);
    }

    #[tokio::test]
    async fn tokens_and_requests_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(folder.path());
        let (token, storage) = (bench.token(AUDIENCE), bench.token("https://storage.azure.com"));
        let good = operation(&[7; 32]);
        for (path, token, body, expected) in [
            ("orders/wrapkey", None, &good, 401),
            ("orders/wrapkey", Some("x.y.z"), &good, 401),
            ("orders/wrapkey", Some(storage.as_str()), &good, 401),
            ("inventory/wrapkey", Some(token.as_str()), &good, 404),
            ("orders/0123/unwrapkey", Some(token.as_str()), &good, 404),
            ("orders/sign", Some(token.as_str()), &good, 404),
            ("orders/wrapkey", Some(token.as_str()), &json!({"alg": "RSA1_5", "value": "AA"}), 400),
            ("orders/wrapkey", Some(token.as_str()), &json!({"alg": ALGORITHM, "value": "?"}), 400),
            ("orders/wrapkey", Some(token.as_str()), &json!({}), 400),
            ("orders/wrapkey", Some(token.as_str()), &operation(&[7; 300]), 400),
        ] {
            let (status, answer) = bench.call(path, token, body).await;
            assert_eq!(status, expected, "{path} {body}: {answer}");
            assert!(answer["error"]["code"].is_string(), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_key_is_for_whoever_has_the_role_on_it() {
        use crate::access::Authorizer;
        use crate::access::tests::{assignment, resource};
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path());
        let vault = resource("Microsoft.KeyVault/vaults", "kv-skein");
        let scope = resource("Microsoft.KeyVault/vaults/keys", "kv-skein/orders")["id"].clone();
        let scope = scope.as_str().unwrap();
        let role = assignment("p", "e147488a-f6f5-4113-8e2d-b22465e65bf6", scope);
        let authorizer = Authorizer::of(&[vault.clone(), role]);
        let names = [("kv-skein".into(), "orders".into()), ("kv-skein".into(), "other".into())];
        let vaults = Vaults::open(folder.path(), &names).unwrap();
        let guarded = router((bench.issuer.clone(), authorizer.clone()), vaults, "http://127.0.0.1:1");
        bench.router = Router::new().nest(PREFIX, guarded);
        let token = bench.token(AUDIENCE);
        let (status, wrapped) = bench.call("orders/wrapkey", Some(&token), &operation(&[7; 32])).await;
        assert_eq!(status, 200, "{wrapped}");
        let (status, _) = bench.call("other/wrapkey", Some(&token), &operation(&[7; 32])).await;
        assert_eq!(status, 403);
        authorizer.update(&[vault]);
        let value = URL_SAFE_NO_PAD.decode(wrapped["value"].as_str().unwrap()).unwrap();
        let (status, refused) = bench.call("orders/unwrapkey", Some(&token), &operation(&value)).await;
        assert_eq!(status, 403);
        assert_eq!(refused["error"]["innererror"]["code"], "ForbiddenByRbac");
        let message = refused["error"]["message"].as_str().unwrap();
        for part in ["oid=p;", "Microsoft.KeyVault/vaults/keys/unwrap/action", scope, "Assignment: (not found)"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(bench.call("orders/wrapkey", None, &operation(&[7; 32])).await.0, 401);
    }
}

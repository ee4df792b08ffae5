//! Key Vault, against a scripted service.

use std::sync::Arc;

use azure_core::http::HttpClient;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use skein_azure::key_vault::AzureKeyVault;
use skein_core::personal::WrappedKey;
use skein_core::ports::{KeyVault, VaultError};

use crate::scripted::Answer::{Broken, NoConnection, Status, With};
use crate::scripted::{Answer, Scripted, Tokens};

const KEY: &str = "https://kv-skein.vault.azure.net/keys/orders";

fn vault(http: &Arc<Scripted>) -> AzureKeyVault {
    let http: Arc<dyn HttpClient> = Arc::clone(http) as _;
    AzureKeyVault::new(&http, Tokens::lasting(), KEY).unwrap()
}

fn answered(value: &[u8]) -> Answer {
    let value = URL_SAFE_NO_PAD.encode(value);
    With(200, vec![], format!(r#"{{"kid":"{KEY}/0123abc","value":"{value}"}}"#))
}

fn wrapped() -> WrappedKey {
    WrappedKey { version: "0123abc".to_owned(), bytes: vec![7; 256] }
}

#[tokio::test(start_paused = true)]
async fn a_data_key_is_wrapped_and_unwrapped() {
    let http = Scripted::new([answered(&[7; 256]), answered(&[9; 32])]);
    let vault = vault(&http);
    let (key, made) = vault.generate().await.unwrap();
    assert_eq!(made, wrapped());
    assert_ne!(key.bytes(), &[0; 32]);
    assert_eq!(vault.unwrap(&made).await.unwrap().bytes(), &[9; 32]);
    assert_eq!(
        http.lines(),
        [
            "POST https://kv-skein.vault.azure.net/keys/orders/wrapkey?api-version=7.4",
            "POST https://kv-skein.vault.azure.net/keys/orders/0123abc/unwrapkey?api-version=7.4",
        ]
    );
    let seen = http.seen();
    assert_eq!(
        (seen[0].header("content-type"), seen[0].header("authorization")),
        ("application/json", "Bearer token-0")
    );
    let sent: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(sent["alg"], "RSA-OAEP-256");
    assert_eq!(URL_SAFE_NO_PAD.decode(sent["value"].as_str().unwrap()).unwrap(), key.bytes());
    let sent: Value = serde_json::from_str(&seen[1].body).unwrap();
    assert_eq!(sent["value"], URL_SAFE_NO_PAD.encode([7; 256]));
}

#[tokio::test(start_paused = true)]
async fn answers_mean_what_they_say() {
    let kind = |error: VaultError| match error {
        VaultError::Unavailable(_) => "unavailable",
        VaultError::Denied(_) => "denied",
        VaultError::Refused(_) => "refused",
    };
    for (status, expected) in [(400, "refused"), (401, "denied"), (403, "denied"), (404, "refused"), (301, "refused")] {
        let http = Scripted::new([Status(status, r#"{"error":{"code":"Forbidden","message":"no"}}"#)]);
        assert_eq!(kind(vault(&http).unwrap(&wrapped()).await.unwrap_err()), expected, "{status}");
    }
    let passing: Vec<fn() -> Answer> = vec![|| Status(503, ""), || Status(429, ""), || Broken, || NoConnection];
    for answer in passing {
        let http = Scripted::new([answer(), answered(&[9; 32])]);
        vault(&http).unwrap(&wrapped()).await.unwrap();
        let http = Scripted::new((0..5).map(|_| answer()));
        assert_eq!(kind(vault(&http).generate().await.unwrap_err()), "unavailable");
    }
    for answer in [Status(200, ""), Status(200, "{}"), Status(200, r#"{"kid":"k/1","value":"?"}"#)] {
        assert_eq!(kind(vault(&Scripted::new([answer])).unwrap(&wrapped()).await.unwrap_err()), "unavailable");
    }
    // A key of another length would be no key of ours, and it is not shown.
    let error = vault(&Scripted::new([answered(b"a secret")])).unwrap(&wrapped()).await.unwrap_err();
    assert!(error.to_string().contains("unwrapped 8 bytes") && !error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_version_is_no_path() {
    for version in ["", "..", "a/b", "a?b", "../secrets"] {
        let stored = WrappedKey { version: version.to_owned(), bytes: vec![7; 256] };
        assert!(matches!(vault(&Scripted::new([])).unwrap(&stored).await, Err(VaultError::Refused(_))), "{version}");
    }
    let http: Arc<dyn HttpClient> = Scripted::new([]);
    for url in
        ["https://kv.vault.azure.net", "https://kv.vault.azure.net/keys/", "https://kv.vault.azure.net/keys/a/b", "kv"]
    {
        assert!(AzureKeyVault::new(&http, Tokens::lasting(), url).is_err(), "{url}");
    }
}

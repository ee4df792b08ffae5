//! Personal data in the running system: readable for whom it concerns, and nowhere on the disk.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skein_tests::system::{System, until};

/// What nobody may find, and what has to be found, lest the search sees nothing.
const NAME: &str = "Zenobia Quillfeather";
const EMAIL: &str = "zenobia@quillfeather.example";
const PUBLIC: &str = "Palmyrene Republic";

/// How long a view may take to show an event.
const SHOWN: Duration = Duration::from_secs(60);

/// Every form in which a text may lie in a file: as it is, in UTF-16, in Base64 at each alignment.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![text.as_bytes().to_vec(), text.encode_utf16().flat_map(u16::to_le_bytes).collect()];
    for shift in 0..3 {
        let shifted = [&b"\0\0"[..shift], text.as_bytes()].concat();
        let encoded = base64(&shifted);
        // The first and the last letters depend on what stands beside the text.
        forms.push(encoded[4..encoded.len() - encoded.len() % 4 - 4].to_vec());
    }
    forms
}

/// Base64 without padding, of whole groups.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|group| u32::from_be_bytes([0, group[0], group[1], group[2]]));
    groups.flat_map(|group| [18, 12, 6, 0].map(|shift| LETTERS[(group >> shift) as usize & 63])).collect()
}

/// The files below the folder that hold the text in any form. The apps and their packages are left out: they hold
/// no data.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let forms = forms(text);
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if !["apps", "built", "packages"].iter().any(|name| path == folder.join(name)) {
                open.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
            }
            continue;
        }
        // A file may go while it is looked at.
        let Ok(bytes) = fs::read(&path) else { continue };
        if forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form)) {
            found.push(path.strip_prefix(folder).unwrap().display().to_string());
        }
    }
    found
}

fn contact(system: &System, token: &str, order: &str) -> Value {
    let query = "query ($id: ID!) { order(id: $id) { status contact { erased name email } } }";
    let shown = || {
        let data = system.data("orders", token, query, json!({"id": order})).unwrap();
        data["order"].is_object().then(|| data["order"]["contact"].clone())
    };
    until(SHOWN, shown).expect("the order is shown")
}

fn place(system: &System, token: &str, order: &str) -> Value {
    let mutation =
        "mutation ($input: PlaceOrderInput!, $id: ID) { placeOrder(input: $input, commandId: $id, await: COMMITTED)
        { outcome { status } } }";
    let input = json!({
        "orderId": order,
        "customerId": "zenobia",
        "country": PUBLIC,
        "contact": {"name": NAME, "email": EMAIL},
        "lines": [{"sku": "A", "quantity": 1, "unitPrice": "1"}],
    });
    let (status, answer) = system.post("orders", Some(token), mutation, json!({"input": input, "id": order})).unwrap();
    assert_eq!(status, 200);
    answer
}

#[test]
fn what_is_personal_is_sealed_everywhere_and_gone_once_it_is_erased() {
    let state = tempfile::tempdir().unwrap();
    let system = System::up(state.path(), &["--fresh"]).unwrap();
    let zenobia = system.token("customer", Some("zenobia")).unwrap();
    let operator = system.token("operator", None).unwrap();
    let readable = json!({"erased": false, "name": NAME, "email": EMAIL});
    let gone = json!({"erased": true, "name": null, "email": null});
    let committed = |answer: &Value| answer["data"]["placeOrder"]["outcome"]["status"] == "COMMITTED";
    let nowhere = |when: &str| {
        for secret in [NAME, EMAIL] {
            assert_eq!(holding(state.path(), secret), Vec::<String>::new(), "{when}");
        }
    };

    let answer = place(&system, &zenobia, "z1");
    assert!(committed(&answer), "{answer}");
    assert_eq!(contact(&system, &zenobia, "z1"), readable);
    assert_eq!(contact(&system, &operator, "z1"), readable);
    // The retry of a client is recognised, although it is sealed once more.
    let answer = place(&system, &zenobia, "z1");
    assert!(committed(&answer), "{answer}");
    nowhere("queues, stores, views of both services and logs hold what is sealed only");
    let public = holding(state.path(), PUBLIC);
    for place in ["tables/stskeinorders", "broker.db"] {
        assert!(public.iter().any(|file| file.starts_with(place)), "the search finds what is not sealed: {public:?}");
    }

    let erase = r#"mutation { eraseCustomer(customerId: "zenobia", await: COMMITTED) { outcome { status } } }"#;
    let (_, refused) = system.post("orders", Some(&zenobia), erase, json!({})).unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");
    let erased = system.data("orders", &operator, erase, json!({})).unwrap();
    assert_eq!(erased["eraseCustomer"]["outcome"]["status"], "COMMITTED", "{erased}");
    // The commit is seen before its effects: the key goes before the message is settled.
    until(SHOWN, || (contact(&system, &operator, "z1") == gone).then_some(())).expect("the contact is gone");

    // Folds and queries go on, also of what is sealed with a key that is gone; and so does the customer.
    let cancel =
        r#"mutation { cancelOrder(input: {orderId: "z1", reason: "moved"}, await: COMMITTED) { outcome { status } } }"#;
    let cancelled = system.data("orders", &zenobia, cancel, json!({})).unwrap();
    assert_eq!(cancelled["cancelOrder"]["outcome"]["status"], "COMMITTED", "{cancelled}");
    let answer = place(&system, &zenobia, "z2");
    assert!(committed(&answer), "{answer}");
    assert_eq!((contact(&system, &zenobia, "z2"), contact(&system, &zenobia, "z1")), (readable.clone(), gone.clone()));

    assert_eq!(system.stop("TERM").unwrap().code(), Some(0));
    nowhere("neither after everything was written out");
    let system = System::up(state.path(), &[]).unwrap();
    let zenobia = system.token("customer", Some("zenobia")).unwrap();
    assert_eq!((contact(&system, &zenobia, "z2"), contact(&system, &zenobia, "z1")), (readable, gone), "also later");
}

#[test]
fn the_search_finds_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("plain", format!("x{NAME}y").as_bytes());
    write("utf16", &format!("x{NAME}y").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    for shift in 0..3 {
        write(&format!("base64-{shift}"), &base64(format!("{}{NAME}yyy", "x".repeat(shift)).as_bytes()));
    }
    write("other", b"Zenobia of Palmyra");
    let mut found = holding(folder.path(), NAME);
    found.sort();
    assert_eq!(found, ["base64-0", "base64-1", "base64-2", "plain", "utf16"]);
}

//! A hub of subscribers, against a scripted service.

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::HttpClient;
use bytes::Bytes;
use skein_azure::SignalRHub;
use skein_core::ports::{HubAccess, LiveHub, SendError};

use crate::scripted::Answer::{Broken, NoConnection, Status};
use crate::scripted::{Answer, Scripted, Tokens};

const ENDPOINT: &str = "https://sigr-skein.service.signalr.net";

fn hub(http: &Arc<Scripted>) -> SignalRHub {
    let http: Arc<dyn HttpClient> = Arc::clone(http) as _;
    SignalRHub::new(&http, Tokens::lasting(), ENDPOINT, "orders").unwrap()
}

fn kind<T>(result: Result<T, SendError>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(SendError::Unavailable { .. }) => "unavailable",
        Err(SendError::Denied { .. }) => "denied",
        Err(SendError::Refused { .. }) => "refused",
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_is_one_request() {
    let token = r#"{"token":"a.b.c"}"#;
    let http = Scripted::new([200, 202, 200, 200, 200, 200].map(|status| Status(status, token)));
    let hub = hub(&http);
    let access = hub.access("alice@example/é", Duration::from_secs(61)).await.unwrap();
    let url = format!("{ENDPOINT}/client/?hub=orders");
    assert_eq!(access, HubAccess { url, token: "a.b.c".to_owned() });
    hub.send("order/1 ?", "ne\"xt", &Bytes::from_static(b"[{ \"n\" :1.0 }]")).await.unwrap();
    hub.join("g", "a/b", Duration::from_millis(2900)).await.unwrap();
    hub.leave("g", "alice").await.unwrap();
    hub.leave_all("alice").await.unwrap();
    assert!(hub.has_members("g").await.unwrap());
    let base = format!("{ENDPOINT}/api/hubs/orders");
    let expected = [
        format!("POST {base}/:generateToken?userId=alice%40example%2F%C3%A9&minutesToExpire=2&api-version=2022-11-01"),
        format!("POST {base}/groups/order%2F1%20%3F/:send?api-version=2022-11-01"),
        format!("PUT {base}/users/a%2Fb/groups/g?ttl=2&api-version=2022-11-01"),
        format!("DELETE {base}/users/alice/groups/g?api-version=2022-11-01"),
        format!("DELETE {base}/users/alice/groups?api-version=2022-11-01"),
        format!("HEAD {base}/groups/g?api-version=2022-11-01"),
    ];
    assert_eq!(http.lines(), expected);
    let sent = &http.seen()[1];
    assert_eq!(sent.body, r#"{"target":"ne\"xt","arguments":[{ "n" :1.0 }]}"#);
    assert_eq!((sent.header("content-type"), sent.header("authorization")), ("application/json", "Bearer token-0"));
}

#[tokio::test(start_paused = true)]
async fn answers_mean_what_they_say() {
    let cases = [(200, "done"), (202, "done"), (400, "refused"), (401, "denied"), (403, "denied"), (413, "refused")];
    for (status, expected) in cases {
        let http = Scripted::new((0..5).map(|_| Status(status, "")));
        let hub = hub(&http);
        assert_eq!(kind(hub.send("g", "next", &Bytes::from_static(b"[]")).await), expected, "{status}");
        assert_eq!(kind(hub.join("g", "u", Duration::from_secs(60)).await), expected, "{status}");
        assert_eq!(kind(hub.leave("g", "u").await), expected, "{status}");
        assert_eq!(kind(hub.leave_all("u").await), expected, "{status}");
        assert_eq!(kind(hub.has_members("g").await), expected, "{status}");
    }
    // Who is not there is not in a group; a message to nobody is sent; but who cannot join has not joined.
    let http = Scripted::new((0..4).map(|_| Status(404, "")));
    let hub = hub(&http);
    hub.leave("g", "u").await.unwrap();
    hub.leave_all("u").await.unwrap();
    assert!(!hub.has_members("g").await.unwrap());
    assert_eq!(kind(hub.join("g", "u", Duration::from_secs(60)).await), "refused");
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again() {
    let passing: Vec<fn() -> Answer> = vec![|| Status(503, ""), || Status(429, ""), || Broken, || NoConnection];
    for answer in passing {
        let http = Scripted::new([answer(), Status(202, "")]);
        hub(&http).send("g", "next", &Bytes::from_static(b"[]")).await.unwrap();
        let http = Scripted::new((0..5).map(|_| answer()));
        assert_eq!(kind(hub(&http).access("u", Duration::from_secs(60)).await), "unavailable");
        assert_eq!(http.seen().len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_none_is_no_access_and_is_not_shown() {
    for answer in [Status(200, ""), Status(200, "{\"secret\":1}"), Status(202, "secret")] {
        let error = hub(&Scripted::new([answer])).access("u", Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(&error, SendError::Unavailable { reason, .. } if !reason.contains("secret")), "{error}");
    }
    let http = Scripted::new([Status(403, "")]);
    assert_eq!(kind(hub(&http).access("u", Duration::ZERO).await), "denied");
    assert!(http.lines()[0].contains("minutesToExpire=1&"), "{:?}", http.lines());
}

#[tokio::test]
async fn what_no_hub_takes_is_not_sent() {
    let http = Scripted::new([]);
    let hub = hub(&http);
    let minute = Duration::from_secs(60);
    let (longest, longer) = ("g".repeat(1024), "g".repeat(1025));
    for group in ["", "  ", ".", "..", longer.as_str()] {
        assert_eq!(kind(hub.send(group, "next", &Bytes::from_static(b"[]")).await), "refused", "{group:?}");
        assert_eq!(kind(hub.join(group, "u", minute).await), "refused", "{group:?}");
        assert_eq!(kind(hub.has_members(group).await), "refused", "{group:?}");
    }
    for user in ["", " ", &longest[..129]] {
        assert_eq!(kind(hub.access(user, minute).await), "refused", "{user:?}");
        assert_eq!(kind(hub.leave("g", user).await), "refused", "{user:?}");
    }
    for arguments in ["", "{}", "[1", "[1] [2]", "[],\"target\":\"x\""] {
        assert_eq!(kind(hub.send("g", "next", &Bytes::from(arguments)).await), "refused", "{arguments}");
    }
    let large = Bytes::from(format!("[\"{}\"]", "x".repeat(1_000_000)));
    let error = hub.send("g", "next", &large).await.unwrap_err();
    assert!(matches!(&error, SendError::Refused { reason, .. } if reason.contains("too large")), "{error}");
    assert_eq!(http.lines(), Vec::<String>::new());

    let http: Arc<dyn HttpClient> = http;
    for name in ["", "1a", "a-b", "a/b", "é", &"a".repeat(129)] {
        assert!(SignalRHub::new(&http, Tokens::lasting(), ENDPOINT, name).is_err(), "{name}");
    }
    assert!(SignalRHub::new(&http, Tokens::lasting(), "sigr", "orders").is_err());
}

//! Keeps strangers out: only callers on this machine, and only by its own names.
//!
//! Binding to loopback stops the network. It does not stop a web page whose name was made to resolve to 127.0.0.1 (DNS
//! rebinding); that page's requests carry its own name in `Host`, and are refused here.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// Puts the guard before all routes of a listener.
pub fn guarded(router: Router) -> Router {
    router.layer(from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if !peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback()) {
        return (StatusCode::FORBIDDEN, "only for callers on this machine").into_response();
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let named = hosts.next().is_none() && host.is_some_and(is_this_machine);
    let target = request.uri().authority().is_none_or(|authority| is_this_machine(authority.as_str()));
    if !named || !target {
        return (StatusCode::MISDIRECTED_REQUEST, "the host has to be 127.0.0.1, localhost or [::1]").into_response();
    }
    next.run(request).await
}

/// Whether an authority (`host` or `host:port`) names this machine.
pub(crate) fn is_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host();
    !authority.as_str().contains('@')
        && (host == "127.0.0.1" || host == "[::1]" || host.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    async fn status(peer: &str, hosts: &[&str], uri: &str) -> u16 {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        let router = guarded(Router::new().route("/", get(|| async { "ok" })));
        router.oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn only_this_machine_by_its_own_names() {
        let here = "127.0.0.1:5";
        for host in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LocalHost", "[::1]:8080"] {
            assert_eq!(status(here, &[host], "/").await, 200, "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com", "localhost.", "a@127.0.0.1", "127.0.0.2", "", "0.0.0.0"] {
            assert_eq!(status(here, &[host], "/").await, 421, "{host}");
        }
        assert_eq!(status(here, &[], "/").await, 421);
        assert_eq!(status(here, &["localhost", "example.com"], "/").await, 421);
        assert_eq!(status(here, &["localhost"], "http://example.com/").await, 421);
        assert_eq!(status("192.168.1.7:5", &["localhost"], "/").await, 403);
        assert_eq!(status("[::1]:5", &["localhost"], "/").await, 200);
    }
}

//! Who asks. The app's fronts alone may say so: the gateway, and its router of the one graph.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use skein_core::Principal;

use crate::trigger::HttpRequest;

/// The header in which the gateway names the principal: base64url of `{"subject", "roles", "exp"}`, where `exp` is the end
/// of the client's token in seconds since 1970, which gateways of older versions do not say. Who reads it ignores members
/// that it does not know, so that gateway and apps are deployed in any order.
pub const PRINCIPAL_HEADER: &str = "x-skein-principal";
/// The header in which the platform names the object id of the verified token's identity. It removes the header from
/// what comes in, so that nobody else can set it.
pub const PRINCIPAL_ID_HEADER: &str = "x-ms-client-principal-id";

/// Why a request has no principal. What it says is for the log; the caller learns only that it is not authorised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// The platform verified no token.
    #[error("no {PRINCIPAL_ID_HEADER}: is the app's authentication on?")]
    NoCaller,
    /// The verified identity is not one of the app's fronts.
    #[error("{0:?} is not a front of this app, so what it says about the principal is not believed")]
    NotAFront(String),
    /// The front named nobody.
    #[error("the front sent no {PRINCIPAL_HEADER}")]
    NoPrincipal,
    /// The header cannot be read.
    #[error("{PRINCIPAL_HEADER} cannot be read: {0}")]
    Malformed(String),
}

/// The object id of the identity whose token the platform verified.
///
/// # Errors
/// A request that came without one, or with several.
pub fn caller_id(request: &HttpRequest) -> Result<&str, Unauthorized> {
    let mut values = request.headers.get_all(PRINCIPAL_ID_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => match value.to_str() {
            Ok(id) if !id.trim().is_empty() => Ok(id.trim()),
            _ => Err(Unauthorized::NoCaller),
        },
        _ => Err(Unauthorized::NoCaller),
    }
}

/// The principal that one of the fronts named; they are the object ids of identities.
///
/// # Errors
/// A request that is no front's, or names nobody.
pub fn principal(request: &HttpRequest, fronts: &[String]) -> Result<Principal, Unauthorized> {
    Ok(said(request, fronts)?.0)
}

/// The principal, and when its token ends, in seconds since 1970, if the front says so. Clocks differ: it may have ended
/// just now.
///
/// # Errors
/// See [`principal`]; and an end that is no whole number.
pub fn principal_and_end(request: &HttpRequest, fronts: &[String]) -> Result<(Principal, Option<i64>), Unauthorized> {
    #[derive(Deserialize)]
    struct Token {
        #[serde(default)]
        exp: Option<i64>,
    }
    let (principal, json) = said(request, fronts)?;
    let token: Token = serde_json::from_slice(&json).map_err(|error| Unauthorized::Malformed(error.to_string()))?;
    Ok((principal, token.exp))
}

/// The principal, and the JSON that names it.
fn said(request: &HttpRequest, fronts: &[String]) -> Result<(Principal, Vec<u8>), Unauthorized> {
    let caller = caller_id(request)?;
    // An identity that is not known yet is nobody's.
    if !fronts.iter().any(|front| !front.is_empty() && caller.eq_ignore_ascii_case(front)) {
        return Err(Unauthorized::NotAFront(caller.to_owned()));
    }
    let mut values = request.headers.get_all(PRINCIPAL_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Unauthorized::NoPrincipal);
    };
    let malformed = |reason: &dyn std::fmt::Display| Unauthorized::Malformed(reason.to_string());
    let text = value.to_str().map_err(|error| malformed(&error))?.trim_end_matches('=');
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|error| malformed(&error))?;
    let principal: Principal = serde_json::from_slice(&json).map_err(|error| malformed(&error))?;
    if principal.subject.trim().is_empty() {
        return Err(malformed(&"the subject is empty"));
    }
    if principal.has(Principal::SERVICE_ROLE) || principal.subject.starts_with("service:") {
        return Err(malformed(&"no token can make a caller a service"));
    }
    Ok((principal, json))
}

/// The header's value for a principal, as a gateway writes it that does not say when the token ends.
pub fn encode_principal(principal: &Principal) -> String {
    URL_SAFE_NO_PAD.encode(json!({"subject": principal.subject, "roles": principal.roles}).to_string())
}

/// The header's value for a principal whose token ends then, in seconds since 1970, as the gateway writes it.
pub fn encode_principal_and_end(principal: &Principal, ends: i64) -> String {
    let json = json!({"subject": principal.subject, "roles": principal.roles, "exp": ends});
    URL_SAFE_NO_PAD.encode(json.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::*;
    use crate::trigger::Invocation;

    fn request(headers: &[(&str, &str)]) -> HttpRequest {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        HttpRequest {
            method: Method::POST,
            path: "/api/graphql".into(),
            query: None,
            params: Default::default(),
            headers: map,
            body: Default::default(),
            invocation: Invocation {
                function: "graphql".into(),
                id: "i".into(),
                traceparent: crate::fresh_traceparent(),
                started: Instant::now(),
            },
        }
    }

    #[test]
    fn only_fronts_are_believed() {
        let ann = Principal::new("ann", ["customer"]);
        let header = encode_principal(&ann);
        let ask = |headers: &[(&str, &str)]| principal(&request(headers), &["gw".to_owned(), "router".to_owned()]);
        assert_eq!(ask(&[(PRINCIPAL_ID_HEADER, "Router"), (PRINCIPAL_HEADER, &header)]), Ok(ann.clone()));
        assert_eq!(ask(&[(PRINCIPAL_ID_HEADER, "gw"), (PRINCIPAL_HEADER, &header)]), Ok(ann));
        assert_eq!(ask(&[(PRINCIPAL_HEADER, &header)]), Err(Unauthorized::NoCaller));
        assert_eq!(
            ask(&[(PRINCIPAL_ID_HEADER, "other"), (PRINCIPAL_HEADER, &header)]),
            Err(Unauthorized::NotAFront("other".into()))
        );
        assert_eq!(
            ask(&[(PRINCIPAL_ID_HEADER, "gw"), (PRINCIPAL_ID_HEADER, "gw"), (PRINCIPAL_HEADER, &header)]),
            Err(Unauthorized::NoCaller)
        );
        assert_eq!(ask(&[(PRINCIPAL_ID_HEADER, "gw")]), Err(Unauthorized::NoPrincipal));
        assert_eq!(
            principal(&request(&[(PRINCIPAL_ID_HEADER, ""), (PRINCIPAL_HEADER, &header)]), &[String::new()]),
            Err(Unauthorized::NoCaller),
            "an unset gateway is nobody"
        );
        let named = request(&[(PRINCIPAL_ID_HEADER, "gw"), (PRINCIPAL_HEADER, &header)]);
        assert_eq!(principal(&named, &[]), Err(Unauthorized::NotAFront("gw".into())), "no front at all");
    }

    #[test]
    fn malformed_principals_are_nobody() {
        let service = encode_principal(&Principal::service("orders"));
        let empty = encode_principal(&Principal::new(" ", ["operator"]));
        for header in ["", "%%%", "e30", service.as_str(), empty.as_str()] {
            let answer =
                principal(&request(&[(PRINCIPAL_ID_HEADER, "gw"), (PRINCIPAL_HEADER, header)]), &["gw".to_owned()]);
            assert!(matches!(answer, Err(Unauthorized::Malformed(_))), "{header}: {answer:?}");
        }
    }

    /// Gateway and apps are deployed one after the other: either may be the older one.
    #[test]
    fn the_end_of_the_token_is_read_where_it_is_said() {
        let ann = Principal::new("ann", ["customer"]);
        let fronts = ["gw".to_owned()];
        let of = |header: &str| request(&[(PRINCIPAL_ID_HEADER, "gw"), (PRINCIPAL_HEADER, header)]);
        let said = |members: &str| {
            of(&URL_SAFE_NO_PAD.encode(format!(r#"{{"subject":"ann","roles":["customer"]{members}}}"#)))
        };
        assert_eq!(principal_and_end(&of(&encode_principal(&ann)), &fronts), Ok((ann.clone(), None)));
        for ends in [1_800_000_000, 0, -1, i64::MIN, i64::MAX] {
            let request = of(&encode_principal_and_end(&ann, ends));
            assert_eq!(principal_and_end(&request, &fronts), Ok((ann.clone(), Some(ends))));
            // An app that knows nothing of it.
            assert_eq!(principal(&request, &fronts), Ok(ann.clone()));
        }
        assert_eq!(principal_and_end(&said(r#","exp":null,"later":{}"#), &fronts), Ok((ann.clone(), None)));
        for members in [
            r#","exp":"1800000000""#,
            r#","exp":1.5"#,
            r#","exp":1e300"#,
            r#","exp":[]"#,
            r#","exp":9223372036854775808"#,
        ] {
            let answer = principal_and_end(&said(members), &fronts);
            assert!(matches!(answer, Err(Unauthorized::Malformed(_))), "{members}: {answer:?}");
            assert_eq!(principal(&said(members), &fronts), Ok(ann.clone()), "{members}");
        }
    }
}

//! The twins of the long expressions, known by the digests of their normalised texts.
//!
//! Who changes an expression compares it with its twin here, and then writes its new digest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;
use skein_kind::Uncertain;

use crate::context::Context;
use crate::expression::{Evaluated, Failure, Value};

/// A twin.
pub(crate) struct Block {
    pub(crate) name: &'static str,
    pub(crate) digest: &'static str,
    pub(crate) function: fn(&[crate::expression::Literal], &Context<'_>) -> Evaluated,
}

pub(crate) const BLOCKS: [Block; 4] = [
    Block {
        name: "graphql-kind",
        digest: "d5e262e5e33bc0f82d5ffd32c80092af799a7c9902568711c45caefec5269480",
        function: |_, cx| Ok(kind(cx)),
    },
    Block {
        name: "media-type",
        digest: "379f27d72d2c8dededbead187997ca70f315a8cc6dd77de1a873bf65108c6feb",
        function: |_, cx| Ok(Value::Bool(is_plain_json(cx))),
    },
    Block {
        name: "principal",
        digest: "4a30049e12e8019417d9865ecbb034285f9d5885ed1cf8c50293f9c825f17736",
        function: |_, cx| principal(cx),
    },
    Block {
        name: "traceparent",
        digest: "c57bcb42691c439feffc96a2d6a0f84dcb1689d01ee62e521baed12691d53e98",
        function: |_, cx| Ok(Value::Text(traceparent(cx))),
    },
];

/// Which kind of operation the request asks for.
fn kind(cx: &Context<'_>) -> Value {
    let kind = if cx.method() == Method::GET {
        // A body beside it is nothing that anybody should read.
        let length = cx.request_header("Content-Length").unwrap_or_else(|| "0".to_owned());
        if cx.request.headers().contains_key("transfer-encoding") || length != "0" {
            Err(Uncertain::Invalid)
        } else {
            skein_kind::kind_of_query(cx.request.uri().query().unwrap_or_default())
        }
    } else {
        skein_kind::kind_of_body(cx.request.body())
    };
    Value::Text(kind.map_or_else(Uncertain::as_str, skein_kind::Kind::as_str).to_owned())
}

/// Whether the body is plain JSON in UTF-8.
fn is_plain_json(cx: &Context<'_>) -> bool {
    if cx.request.headers().contains_key("content-encoding") {
        return false;
    }
    if cx.method() == Method::GET {
        return true;
    }
    let given = cx.request_header("Content-Type").unwrap_or_default().to_lowercase();
    let mut parts = given.split(';');
    let media = parts.next().is_some_and(|media| media.trim() == "application/json");
    media
        && parts.all(|part| {
            let pair: Vec<&str> = part.split('=').collect();
            pair[0].trim() != "charset" || (pair.len() == 2 && pair[1].replace('"', "").trim() == "utf-8")
        })
}

/// Who asks, as the apps read it; empty where the token claims to be a service.
fn principal(cx: &Context<'_>) -> Evaluated {
    let Value::Token(token) = cx.variable("token")? else {
        return Err(Failure("the variable \"token\" holds no token".to_owned()));
    };
    let roles = token.claim("roles");
    let nobody = token.subject.is_empty() || token.subject.starts_with("service:");
    if nobody || roles.iter().any(|role| role == "service") {
        return Ok(Value::Text(String::new()));
    }
    let mut principal = json!({"subject": token.subject, "roles": roles});
    if let Some(ends) = token.ends {
        principal["exp"] = ends.into();
    }
    Ok(Value::Text(URL_SAFE_NO_PAD.encode(principal.to_string())))
}

/// The client's trace if it names one, else a new one.
fn traceparent(cx: &Context<'_>) -> String {
    let given = cx.request_header("traceparent").unwrap_or_default();
    if is_traceparent(&given) {
        return given;
    }
    format!("00-{}-{}-01", cx.id.simple(), &cx.second_id.simple().to_string()[..16])
}

/// Whether it is a trace of version 0, in lower case, with ids that are not zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let named = |part: &str, length: usize| hex(part, length) && part.bytes().any(|b| b != b'0');
    matches!(parts[..], ["00", trace, span, flags] if named(trace, 32) && named(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use skein_policies::{Expression, fragments, normalised};

    use super::*;

    /// The very texts that ship are the ones that have a twin.
    #[test]
    fn each_shipped_expression_has_its_twin() {
        let digest = |text: &str| crate::expression::digest(&normalised(&Expression::block(text).to_string()));
        let trace = fragments::trace().print(skein_policies::Tier::Consumption).unwrap();
        let trace = roxmltree::Document::parse(&trace).unwrap();
        let trace = trace.descendants().find(|node| node.attribute("name") == Some("traceparent")).unwrap();
        let trace = crate::expression::digest(&normalised(trace.attribute("value").unwrap()));
        let shipped = [
            ("graphql-kind", digest(fragments::GRAPHQL_KIND)),
            ("media-type", digest(fragments::MEDIA)),
            ("principal", digest(fragments::PRINCIPAL)),
            ("traceparent", trace),
        ];
        let twins = BLOCKS.map(|block| (block.name, block.digest.to_owned()));
        assert_eq!(
            shipped, twins,
            "where a digest differs: compare the expression with its twin, then write its digest"
        );
    }

    #[test]
    fn traces() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            &format!("{good}\n"),
            &format!("{good}-00"),
        ] {
            assert!(!is_traceparent(bad), "{bad:?}");
        }
    }
}

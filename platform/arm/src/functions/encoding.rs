//! JSON, Base64 and URIs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{Args, Outcome};

/// What RFC 3986 leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) fn json(args: &Args) -> Outcome {
    let text = args.text(0)?;
    serde_json::from_str(text).map_err(|error| format!("the text is no JSON: {error}"))
}

pub(super) fn base64(args: &Args) -> Outcome {
    Ok(STANDARD.encode(args.text(0)?).into())
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("the text is no Base64: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "what is encoded is no UTF-8".to_owned())
}

pub(super) fn base64_to_string(args: &Args) -> Outcome {
    Ok(decoded(args.text(0)?)?.into())
}

pub(super) fn base64_to_json(args: &Args) -> Outcome {
    serde_json::from_str(&decoded(args.text(0)?)?).map_err(|error| format!("what is encoded is no JSON: {error}"))
}

pub(super) fn data_uri(args: &Args) -> Outcome {
    Ok(format!("data:text/plain;charset=utf8;base64,{}", STANDARD.encode(args.text(0)?)).into())
}

pub(super) fn data_uri_to_string(args: &Args) -> Outcome {
    let text = args.text(0)?;
    let rest = text.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    let (head, body) = rest.ok_or_else(|| format!("{text:?} is no data URI"))?;
    if head.ends_with(";base64") { Ok(decoded(body)?.into()) } else { unescaped(body) }
}

fn unescaped(text: &str) -> Outcome {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| "what is encoded is no UTF-8".to_owned())?;
    Ok(text.into_owned().into())
}

pub(super) fn uri_component(args: &Args) -> Outcome {
    Ok(utf8_percent_encode(args.text(0)?, COMPONENT).to_string().into())
}

pub(super) fn uri_component_to_string(args: &Args) -> Outcome {
    unescaped(args.text(0)?)
}

/// Resolves the second against the first, as a browser does with a link.
pub(super) fn uri(args: &Args) -> Outcome {
    let (base, relative) = (args.text(0)?, args.text(1)?);
    let (scheme, rest) = base.split_once("://").ok_or_else(|| format!("{base:?} is no absolute URI"))?;
    if relative.contains("://") {
        return Ok(relative.into());
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    if relative.split('/').any(|segment| segment == "..") {
        return Err("`..` in a relative URI is not evaluated here".to_owned());
    }
    Ok(match relative.strip_prefix('/') {
        Some(absolute) => format!("{scheme}://{host}/{absolute}"),
        None if folder.is_empty() => format!("{scheme}://{host}/{relative}"),
        None => format!("{scheme}://{host}/{folder}/{relative}"),
    }
    .into())
}

pub(super) fn build_uri(args: &Args) -> Outcome {
    let parts = args.object(0)?;
    let text = |name: &str| super::property(parts, name).and_then(Value::as_str).unwrap_or_default();
    let (scheme, host) = (text("scheme"), text("host"));
    if scheme.is_empty() || host.is_empty() {
        return Err("scheme and host are needed".to_owned());
    }
    let port = super::property(parts, "port").filter(|port| !port.is_null()).map(|port| format!(":{port}"));
    let path = text("path");
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    let query = text("query");
    let mark = if query.is_empty() || query.starts_with('?') { "" } else { "?" };
    Ok(format!("{scheme}://{host}{}{slash}{path}{mark}{query}", port.unwrap_or_default()).into())
}

pub(super) fn parse_uri(args: &Args) -> Outcome {
    let text = args.text(0)?;
    let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("{text:?} is no absolute URI"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (host, port) = authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let port = port.map(str::parse::<u16>).transpose().map_err(|_| format!("the port in {text:?} is no number"))?;
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let mut parts = Map::new();
    parts.insert("scheme".into(), scheme.into());
    parts.insert("host".into(), host.into());
    parts.insert("port".into(), port.map_or(Value::Null, Value::from));
    parts.insert("path".into(), if path.is_empty() { "/" } else { path }.into());
    parts.insert("query".into(), query.map_or(json!(""), |query| json!(format!("?{query}"))));
    Ok(parts.into())
}

//! What the functions host reads of a custom handler's answer.

use serde_json::{Map, Value};

/// The answer to an invocation in the default mode.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The values of the output bindings.
    pub outputs: Map<String, Value>,
    /// Lines for the log.
    pub logs: Vec<String>,
    /// The value of the binding `$return`.
    pub return_value: Value,
}

/// Why an invocation failed although the handler answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The body is not read then.
    #[error("the handler answered {0}")]
    Status(u16),
    /// A media type other than JSON.
    #[error("the handler answered with the content type {0:?}, the contract asks for application/json")]
    MediaType(String),
    /// In Azure this does not fail: it hangs until the function's time-out, and takes the process with it.
    #[error(
        "CONTRACT: the handler answered with an empty body or null; in Azure the invocation would hang until \
         functionTimeout and the handler would be killed. Answer at least {{}}"
    )]
    Empty,
    /// A body that is not of the contract's shape.
    #[error("the handler's answer is not {{Outputs, Logs, ReturnValue}}: {why}: {body}")]
    Shape {
        /// What is wrong.
        why: String,
        /// The beginning of the body.
        body: String,
    },
}

/// Reads an answer by the rules of the contract.
///
/// # Errors
/// Whatever makes the host fail the invocation.
pub fn read(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Answer, ContractError> {
    if !(200..300).contains(&status) {
        return Err(ContractError::Status(status));
    }
    if body.is_empty() {
        return Err(ContractError::Empty);
    }
    let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") && !media.eq_ignore_ascii_case("text/json") {
        return Err(ContractError::MediaType(content_type.unwrap_or_default().to_owned()));
    }
    let shape = |why: &str| ContractError::Shape {
        why: why.to_owned(),
        body: String::from_utf8_lossy(body).chars().take(500).collect(),
    };
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        Ok(Value::Null) => return Err(ContractError::Empty),
        Ok(_) => return Err(shape("it is no object")),
        Err(error) => return Err(shape(&error.to_string())),
    };
    let mut answer = Answer::default();
    for (name, value) in object {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("outputs", Value::Object(outputs)) => answer.outputs = outputs,
            ("logs", Value::Array(lines)) => {
                for line in lines {
                    answer.logs.push(line.as_str().map_or_else(|| line.to_string(), str::to_owned));
                }
            }
            ("outputs" | "logs", Value::Null) => {}
            ("outputs", _) => return Err(shape("Outputs is no object")),
            ("logs", _) => return Err(shape("Logs is no list")),
            ("returnvalue", value) => answer.return_value = value,
            _ => {}
        }
    }
    Ok(answer)
}

/// An HTTP response as an output binding holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpOutput {
    /// The status.
    pub status: u16,
    /// One value for each name.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

/// Reads the value of an `http` output.
///
/// # Errors
/// A value that the host cannot make a response of.
pub fn http_output(value: Option<&Value>) -> Result<HttpOutput, String> {
    let mut output = HttpOutput { status: 200, headers: Vec::new(), body: String::new() };
    let object = match value {
        None | Some(Value::Null) => {
            output.body = "{}".into();
            return Ok(output);
        }
        Some(Value::Object(object)) => object.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            _ => return Err("the http output is neither an object nor a text that holds one".into()),
        },
        Some(_) => return Err("the http output is neither an object nor a text that holds one".into()),
    };
    for (name, value) in &object {
        match name.to_ascii_lowercase().as_str() {
            "statuscode" | "status" => {
                let status = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                output.status = status
                    .filter(|status| (100..1000).contains(status))
                    .ok_or_else(|| format!("the status {value} is no HTTP status"))?
                    as u16;
            }
            "headers" => {
                let headers = value.as_object().ok_or("headers is no object")?;
                for (name, value) in headers {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    output.headers.push((name.clone(), value));
                }
            }
            "body" => {
                output.body = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    // As the host does it: indented. A handler sends a text to be in control.
                    other => serde_json::to_string_pretty(other).map_err(|error| error.to_string())?,
                }
            }
            _ => {}
        }
    }
    if !output.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        output.headers.push(("content-type".into(), "text/plain; charset=utf-8".into()));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const JSON: Option<&str> = Some("application/json; charset=utf-8");

    #[test]
    fn success_needs_json_in_the_contracts_shape() {
        assert_eq!(read(200, JSON, b"{}"), Ok(Answer::default()));
        assert_eq!(read(204, JSON, b""), Err(ContractError::Empty));
        assert_eq!(read(200, JSON, b"null"), Err(ContractError::Empty));
        assert_eq!(read(500, JSON, b"{}"), Err(ContractError::Status(500)));
        assert_eq!(read(302, JSON, b"{}"), Err(ContractError::Status(302)));
        assert_eq!(read(200, Some("text/plain"), b"{}"), Err(ContractError::MediaType("text/plain".into())));
        assert_eq!(read(200, None, b"{}"), Err(ContractError::MediaType(String::new())));
        for body in [&b"[]"[..], b"{", b"1", b"{\"Outputs\": 1}", b"{\"Logs\": {}}"] {
            assert!(matches!(read(200, JSON, body), Err(ContractError::Shape { .. })));
        }
    }

    #[test]
    fn members_are_found_in_any_case() {
        let answer = read(200, JSON, br#"{"outputs": {"res": 1}, "LOGS": ["a", 2], "returnValue": "x", "more": 1}"#);
        let answer = answer.unwrap();
        assert_eq!(answer.outputs["res"], 1);
        assert_eq!(answer.logs, ["a", "2"]);
        assert_eq!(answer.return_value, "x");
        let empty = read(200, JSON, br#"{"Outputs": null, "Logs": null, "ReturnValue": null}"#).unwrap();
        assert_eq!(empty, Answer::default());
    }

    #[test]
    fn http_outputs() {
        let output = http_output(Some(&json!({"statusCode": "404", "body": {"a": 1}, "headers": {"x-n": 1}}))).unwrap();
        assert_eq!((output.status, output.body.as_str()), (404, "{\n  \"a\": 1\n}"));
        assert_eq!(output.headers[0], ("x-n".into(), "1".into()));
        assert_eq!(output.headers[1].1, "text/plain; charset=utf-8");
        assert_eq!(http_output(None).unwrap().body, "{}");
        let text = http_output(Some(&json!("{\"status\": 201, \"body\": \"é\"}"))).unwrap();
        assert_eq!((text.status, text.body.as_str()), (201, "é"));
        assert!(http_output(Some(&json!([]))).is_err());
        assert!(http_output(Some(&json!({"statusCode": 20}))).is_err());
        assert!(http_output(Some(&json!("x"))).is_err());
    }
}

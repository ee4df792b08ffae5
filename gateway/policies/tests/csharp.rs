//! Every expression of every document, as it stands in the XML, compiled by Mono and run.
//!
//! Where Mono is missing the tests say that they are skipped; under CI they fail. Debian: `apt-get install mono-mcs
//! mono-runtime libnewtonsoft-json5.0-cil`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use roxmltree::Document;
use serde_json::{Value, json};
use skein_policies::fragments::{GRAPHQL_KIND, INTERNAL_HEADERS};
use skein_policies::{Tier, normalised};

use crate::golden::documents;

const NEWTONSOFT: &str = "/usr/lib/cli/Newtonsoft.Json-5.0/Newtonsoft.Json.dll";

/// Whether something that a test needs is there: under CI it must be.
pub fn at_hand(what: &str, there: bool) -> bool {
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{what} is missing");
        tell(&format!("SKIPPED: {what} is missing"));
    }
    there
}

/// Says something that is seen even where the test passes: what goes through `println!` is kept back then.
pub fn tell(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("stderr takes it");
}

/// Every expression, by its normalised text, as the XML's parser gives it.
pub fn expressions() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (_, text) in Tier::ALL.into_iter().flat_map(documents) {
        let document = Document::parse(&text).expect("well-formed");
        for node in document.descendants().filter(|node| node.is_element()) {
            let texts = node.attributes().map(|attribute| attribute.value()).chain(node.text());
            for expression in texts.filter(|text| text.starts_with('@')) {
                found.insert(normalised(expression), expression.to_owned());
            }
        }
    }
    found
}

/// The key of the expression that tells the kind.
fn kind() -> String {
    normalised(&format!("@{{\n{}\n}}", GRAPHQL_KIND.trim()))
}

fn generated() -> String {
    let mut source = String::from(
        "using System; using System.Collections.Generic; using System.Linq; using System.Text;\n\
         using System.Text.RegularExpressions; using Newtonsoft.Json; using Newtonsoft.Json.Linq;\n\
         public static class Expressions\n{\n\
         public static readonly Dictionary<string, Func<Context, object>> All = new Dictionary<string, Func<Context, object>>();\n\
         public static object Kind(Context context) { return Kind0(context); }\n",
    );
    let mut table = String::new();
    for (number, (key, text)) in expressions().into_iter().enumerate() {
        // As an attribute hands it over.
        let folded = text.replace(['\n', '\r', '\t'], " ");
        let body = match folded.strip_prefix("@{").and_then(|rest| rest.strip_suffix('}')) {
            Some(statements) => statements.to_owned(),
            None => format!("return {};", &folded[1..]),
        };
        let name = if key == kind() { "Kind0".to_owned() } else { format!("Run{number}") };
        let _ = writeln!(source, "static object {name}(Context context) {{ {body} }}");
        let _ = writeln!(table, "All[{}] = {name};", json!(key));
    }
    let _ = writeln!(source, "static Expressions()\n{{\n{table}}}\n}}");
    source
}

/// The compiled harness, made once; `None` where Mono is missing.
pub fn harness() -> Option<&'static PathBuf> {
    static HARNESS: OnceLock<Option<PathBuf>> = OnceLock::new();
    HARNESS
        .get_or_init(|| {
            let answers = |program: &str| {
                let mut command = Command::new(program);
                command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            };
            let there = answers("mcs") && answers("mono") && PathBuf::from(NEWTONSOFT).is_file();
            if !at_hand("Mono (mono-mcs, mono-runtime, libnewtonsoft-json5.0-cil)", there) {
                return None;
            }
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("policies-{}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder for what is compiled");
            let source = folder.join("Expressions.cs");
            fs::write(&source, generated()).expect("it can be written");
            fs::copy(NEWTONSOFT, folder.join("Newtonsoft.Json.dll")).expect("it can be copied");
            let exe = folder.join("harness.exe");
            let mut compiler = Command::new("mcs");
            compiler.args(["-langversion:7", "-nologo", "-warnaserror-"]).arg(format!("-r:{NEWTONSOFT}"));
            compiler.arg(format!("-out:{}", exe.display()));
            compiler.arg(format!("{}/tests/csharp/Harness.cs", env!("CARGO_MANIFEST_DIR"))).arg(&source);
            let output = compiler.stdin(Stdio::null()).output().expect("mcs starts");
            assert!(output.status.success(), "mcs: {}", String::from_utf8_lossy(&output.stderr));
            Some(exe)
        })
        .as_ref()
}

/// One line in, one line out.
pub fn piped(command: &mut Command, lines: &[String]) -> Vec<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it reads");
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let answers: Vec<_> = String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), lines.len(), "one answer for each line");
    answers
}

/// Runs expressions, each given by a part of its text that no other has.
fn run(cases: &[(&str, Value)]) -> Option<Vec<String>> {
    let exe = harness()?;
    let all = expressions();
    let lines: Vec<_> = cases
        .iter()
        .map(|(part, case)| {
            let mut keys = all.keys().filter(|key| key.contains(part));
            let key = keys.next().unwrap_or_else(|| panic!("no expression has {part:?}"));
            assert_eq!(keys.next(), None, "{part:?} is not unique");
            let mut case = case.clone();
            case["expression"] = key.as_str().into();
            STANDARD.encode(case.to_string())
        })
        .collect();
    let answers = piped(Command::new("mono").arg(exe), &lines);
    let decode = |line: &String| String::from_utf8(STANDARD.decode(line).expect("base64")).expect("text");
    Some(answers.iter().map(decode).collect())
}

#[track_caller]
fn check(part: &str, cases: &[(Value, &str)]) {
    let asked: Vec<_> = cases.iter().map(|(case, _)| (part, case.clone())).collect();
    let Some(answers) = run(&asked) else { return };
    for ((case, expected), answer) in cases.iter().zip(answers) {
        assert_eq!(answer, *expected, "{case}");
    }
}

#[test]
fn media_types() {
    let of = |text: &str| json!({"headers": {"content-type": text}});
    check(
        "\"application/json\"",
        &[
            (json!({"method": "GET"}), "True"),
            (json!({"method": "GET", "headers": {"content-encoding": "gzip"}}), "False"),
            (of("application/json"), "True"),
            (of("Application/JSON; Charset=\"UTF-8\""), "True"),
            (of("application/json;charset=utf-8;x=y"), "True"),
            (of("application/json; charset=utf-16"), "False"),
            (of("application/json; charset"), "False"),
            (of("application/json; charset=utf-8; charset=utf-7"), "False"),
            (of("text/plain"), "False"),
            (of("application/json2"), "False"),
            (of(""), "False"),
            (json!({}), "False"),
            (json!({"headers": {"content-type": "application/json", "Content-Encoding": "gzip"}}), "False"),
        ],
    );
}

#[test]
fn sizes() {
    let of = |text: &str| json!({"headers": {"content-length": text}});
    check(
        "int.Parse",
        &[
            (of("0"), "False"),
            (of("262144"), "False"),
            (of("262145"), "True"),
            (of("99999999999999999999"), "True"),
            (json!({}), "False"),
        ],
    );
}

#[test]
fn traces() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let bad = ["00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4BF92F", "", "x\n", "ff"];
    let of = |text: &str| json!({"headers": {"traceparent": text}});
    let mut asked = vec![("Regex.IsMatch", of(trace))];
    asked.extend(bad.map(|text| ("Regex.IsMatch", of(text))));
    let Some(answers) = run(&asked) else { return };
    assert_eq!(answers[0], trace);
    let fresh: std::collections::BTreeSet<_> = answers[1..].iter().collect();
    assert_eq!(fresh.len(), bad.len(), "each is new");
    for answer in fresh {
        let parts: Vec<_> = answer.split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2], "{answer}");
    }
    check("Substring(3, 32)", &[(json!({"variables": {"traceparent": trace}}), "4bf92f3577b34da6a3ce929d0e0e4736")]);
}

#[test]
fn principals() {
    // The twin in gateway/runtime is held to the same table.
    let cases: Vec<Value> = serde_json::from_str(include_str!("principals.json")).expect("the table");
    let asked: Vec<_> = cases.iter().map(|case| ("ToBase64String", json!({"token": case["claims"]}))).collect();
    let Some(answers) = run(&asked) else { return };
    for (case, answer) in cases.iter().zip(answers) {
        let principal = match answer.as_str() {
            "" => Value::Null,
            answer => serde_json::from_slice(&URL_SAFE_NO_PAD.decode(answer).expect("base64url without padding"))
                .expect("JSON"),
        };
        assert_eq!(principal, case["principal"], "{}", case["claims"]);
    }
    let empty = "(string)context.Variables[\"principal\"] == string.Empty";
    let of = |text: &str| json!({"variables": {"principal": text}});
    check(empty, &[(of(""), "True"), (of("eyJ9"), "False")]);
    check(
        "@(!(bool)",
        &[(json!({"variables": {"json": true}}), "False"), (json!({"variables": {"json": false}}), "True")],
    );
}

#[test]
fn problems_and_branches() {
    for kind in ["query", "subscription", "none"] {
        let of = |text: &str| json!({"variables": {"kind": text}});
        check(
            &format!("@((string)context.Variables[\"kind\"] == \"{kind}\")"),
            &[(of(kind), "True"), (of("invalid"), "False"), (of("x"), "False")],
        );
    }
    for kind in ["mutation", "large"] {
        let of = |method: &str, kind: &str| json!({"method": method, "variables": {"kind": kind}});
        check(
            &format!("@(context.Request.Method == \"GET\" && (string)context.Variables[\"kind\"] == \"{kind}\")"),
            &[(of("GET", kind), "True"), (of("POST", kind), "False"), (of("GET", "query"), "False")],
        );
        check(&format!("@((string)context.Variables[\"kind\"] == \"{kind}\")"), &[(of("POST", kind), "True")]);
    }
    let of = |method: &str| json!({"method": method});
    check("@(context.Request.Method == \"GET\")", &[(of("GET"), "True"), (of("POST"), "False"), (of("get"), "False")]);
    check(
        "Method != \"POST\"",
        &[(of("GET"), "False"), (of("POST"), "False"), (of("PUT"), "True"), (of("HEAD"), "True"), (of("post"), "True")],
    );
    let error = |source: &str, reason: &str| json!({"error": [source, reason]});
    check(
        "Reason == \"Timeout\"",
        &[
            (error("forward-request", "Timeout"), "True"),
            (error("forward-request", "BackendConnectionFailure"), "False"),
        ],
    );
    check(
        "Reason != \"Timeout\"",
        &[(error("forward-request", "Timeout"), "False"), (error("validate-jwt", "TokenNotPresent"), "False")],
    );
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let case = json!({"status": 429, "error": ["rate-limit", "RateLimitExceeded"], "variables": {"traceId": trace}});
    let Some(answers) = run(&[("context.Response.StatusReason", case)]) else { return };
    let problem: Value = serde_json::from_str(&answers[0]).expect("JSON");
    let detail = "RateLimitExceeded";
    let expected = json!({"type": "about:blank", "title": "Reason", "status": 429, "detail": detail, "traceId": trace});
    assert_eq!(problem, expected);
    let Some(answers) = run(&[("subscriptions are not served here", json!({}))]) else { return };
    let problem: Value = serde_json::from_str(&answers[0]).expect("JSON");
    assert_eq!(problem["status"], 400);
    // Without a trace, the request's own id.
    let id = problem["traceId"].as_str().expect("a text");
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
fn a_body_that_is_missing_or_too_long_has_no_kind() {
    let long = |more: usize| {
        let body = r#"{"query":"{a}"}"#;
        json!({"body": format!("{body}{}", " ".repeat(262_144 - body.len() + more))})
    };
    check("\"subscription\") { return", &[(json!({}), "invalid"), (long(0), "query"), (long(1), "large")]);
}

#[test]
fn a_get_has_the_kind_of_its_query_and_no_body() {
    let of = |query: &str| json!({"method": "GET", "query": query});
    let with = |name: &str, value: &str| json!({"method": "GET", "query": "?query={a}", "headers": {name: value}});
    let long = |more: usize| of(&format!("?query={{a}}{}", "+".repeat(7_168 - 9 + more)));
    check(
        "\"subscription\") { return",
        &[
            (of("?query={a}"), "query"),
            (of("query={a}"), "query"),
            (of("?"), "none"),
            (of(""), "none"),
            (json!({"method": "GET"}), "none"),
            (with("content-length", "0"), "query"),
            (with("content-length", "1"), "invalid"),
            (with("transfer-encoding", "chunked"), "invalid"),
            (long(0), "query"),
            (long(1), "large"),
        ],
    );
}

#[test]
fn no_header_of_the_gateway_or_the_platform_passes() {
    let stripped: Vec<_> = INTERNAL_HEADERS.iter().map(|name| name.to_lowercase()).collect();
    for name in ["x-skein-principal", skein_kind::KIND_HEADER, "x-ms-client-principal-id", "cookie"] {
        assert!(stripped.iter().any(|stripped| stripped == name), "{name}");
    }
}

//! What-if, for people: symbols and colour, a line for each change.

use std::fmt::Write as _;

use serde_json::Value;

/// How many resources a plan would create, change and delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) create: usize,
    pub(crate) modify: usize,
    pub(crate) delete: usize,
}

impl Count {
    /// Counts the changes of one answer of what-if.
    pub(crate) fn of(changes: &[Value]) -> Count {
        let count = |kinds: &[&str]| {
            changes
                .iter()
                .filter(|change| change["changeType"].as_str().is_some_and(|kind| kinds.contains(&kind)))
                .count()
        };
        Count { create: count(&["Create"]), modify: count(&["Modify", "Deploy"]), delete: count(&["Delete"]) }
    }

    pub(crate) fn none(&self) -> bool {
        *self == Count::default()
    }
}

fn mark(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "Create" => ("+", "32"),
        "Delete" => ("-", "31"),
        "Modify" | "Deploy" | "Array" => ("~", "33"),
        "Ignore" => ("*", "90"),
        "Unsupported" => ("x", "90"),
        _ => ("=", "90"),
    }
}

/// The text of a plan. Resources that stay as they are, are counted only.
pub(crate) fn text(layer: &str, changes: &[Value], colour: bool) -> String {
    let mut text = format!("{layer}\n");
    let paint = |kind: &str, line: String| {
        let (_, code) = mark(kind);
        if colour { format!("\x1b[{code}m{line}\x1b[0m") } else { line }
    };
    let mut same = 0;
    for change in changes {
        let kind = change["changeType"].as_str().unwrap_or_default();
        if ["NoChange", "NoEffect", "Ignore"].contains(&kind) {
            same += usize::from(kind != "Ignore");
            continue;
        }
        let id = change["resourceId"].as_str().unwrap_or_default();
        let _ = writeln!(text, "{}", paint(kind, format!("  {} {}", mark(kind).0, short(id))));
        properties(change["delta"].as_array(), "", &mut |kind, line| {
            let _ = writeln!(text, "{}", paint(kind, format!("      {} {line}", mark(kind).0)));
        });
    }
    let count = Count::of(changes);
    let _ = writeln!(
        text,
        "  {} to create, {} to modify, {} to delete, {same} unchanged",
        count.create, count.modify, count.delete
    );
    text
}

/// The line of an app that is going to run another package.
pub(crate) fn package(site: &str, before: Option<&str>, after: &str, colour: bool) -> String {
    // As much of a digest as tells two apart.
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let before = before.map_or_else(|| "none".to_owned(), short);
    let line = format!("  {} {site} package: {before} => {}", mark("Modify").0, short(after));
    if colour { format!("\x1b[{}m{line}\x1b[0m", mark("Modify").1) } else { line }
}

/// The line of a page that is going to be written or removed.
pub(crate) fn page(account: &str, path: &str, kind: &str, colour: bool) -> String {
    let (symbol, code) = mark(kind);
    let line = format!("  {symbol} {account} page: {path}");
    if colour { format!("\x1b[{code}m{line}\x1b[0m") } else { line }
}

/// An id without its subscription.
fn short(id: &str) -> &str {
    id.split_once("/resourceGroups/")
        .map_or_else(|| id.split_once("/providers/").map_or(id, |(_, rest)| rest), |(_, rest)| rest)
}

fn properties(delta: Option<&Vec<Value>>, path: &str, line: &mut dyn FnMut(&str, String)) {
    for change in delta.into_iter().flatten() {
        let own = change["path"].as_str().unwrap_or_default();
        let whole = match (path, own.bytes().all(|byte| byte.is_ascii_digit())) {
            ("", _) => own.to_owned(),
            (path, true) => format!("{path}[{own}]"),
            (path, false) => format!("{path}.{own}"),
        };
        let kind = change["propertyChangeType"].as_str().unwrap_or_default();
        match kind {
            "NoEffect" => {}
            "Array" => properties(change["children"].as_array(), &whole, line),
            "Create" => line(kind, format!("{whole}: {}", change["after"])),
            "Delete" => line(kind, format!("{whole}: {}", change["before"])),
            _ if change["children"].is_array() => properties(change["children"].as_array(), &whole, line),
            _ => line(kind, format!("{whole}: {} => {}", change["before"], change["after"])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn another_package_is_a_line() {
        let line = package("func-desk", Some("0123456789abcdef"), "fedcba9876543210", false);
        assert_eq!(line, "  ~ func-desk package: 0123456789ab => fedcba987654");
        assert_eq!(package("func-desk", None, "fe", false), "  ~ func-desk package: none => fe");
        assert!(package("func-desk", None, "fe", true).starts_with("\x1b[33m"));
        assert_eq!(page("stsite", "index.html", "Delete", false), "  - stsite page: index.html");
    }

    #[test]
    fn a_plan_is_read_by_its_symbols() {
        let id = |name: &str| format!("/subscriptions/s/resourceGroups/rg/providers/A.B/things/{name}");
        let changes = [
            json!({"resourceId": id("new"), "changeType": "Create"}),
            json!({"resourceId": id("same"), "changeType": "NoChange"}),
            json!({"resourceId": id("old"), "changeType": "Modify", "delta": [
                {"path": "properties.n", "propertyChangeType": "Modify", "before": 1, "after": 2},
                {"path": "properties.list", "propertyChangeType": "Array", "children": [
                    {"path": "0", "propertyChangeType": "Delete", "before": "x", "after": null}]}]}),
        ];
        expect![[r#"
            orders
              + rg/providers/A.B/things/new
              ~ rg/providers/A.B/things/old
                  ~ properties.n: 1 => 2
                  - properties.list[0]: "x"
              1 to create, 1 to modify, 0 to delete, 1 unchanged
        "#]]
        .assert_eq(&text("orders", &changes, false));
        assert!(text("orders", &changes, true).contains("\x1b[32m  + rg"));
    }
}

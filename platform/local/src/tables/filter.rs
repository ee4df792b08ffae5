//! `$filter`, as far as it bounds the keys.

use skein_embedded::Bounds;

use super::error::Problem;
use super::resource::literal;

/// The bounds that a filter puts on the keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub partitions: Bounds,
    pub rows: Bounds,
}

/// Parentheses may lie this deep.
const MAX_DEPTH: usize = 32;

/// Reads comparisons of `PartitionKey` and `RowKey` that are joined by `and`, with or without parentheses.
pub(super) fn parse(text: &str) -> Result<Filter, Problem> {
    let mut filter = Filter::default();
    let rest = conjunction(text, &mut filter, MAX_DEPTH)?.trim_start();
    match rest {
        "" => Ok(filter),
        _ => Err(unsupported(rest)),
    }
}

fn unsupported(rest: &str) -> Problem {
    let word: String = rest.trim_start().chars().take_while(|letter| !letter.is_whitespace()).take(40).collect();
    Problem::unsupported(&format!("{word:?} here in $filter"))
}

fn conjunction<'a>(text: &'a str, filter: &mut Filter, depth: usize) -> Result<&'a str, Problem> {
    let mut rest = term(text, filter, depth)?;
    while let Some(next) = word(rest, "and") {
        rest = term(next, filter, depth)?;
    }
    Ok(rest)
}

fn term<'a>(text: &'a str, filter: &mut Filter, depth: usize) -> Result<&'a str, Problem> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        if depth == 0 {
            return Err(Problem::invalid("parentheses lie too deep in $filter"));
        }
        let rest = conjunction(inner, filter, depth - 1)?.trim_start();
        return rest.strip_prefix(')').ok_or_else(|| unsupported(rest));
    }
    let (bounds, rest) = if let Some(rest) = word(text, "PartitionKey") {
        (&mut filter.partitions, rest)
    } else if let Some(rest) = word(text, "RowKey") {
        (&mut filter.rows, rest)
    } else {
        return Err(unsupported(text));
    };
    let rest = rest.trim_start();
    let (operator, rest) = rest.split_once(' ').ok_or_else(|| unsupported(rest))?;
    let (value, rest) = literal(rest.trim_start()).ok_or_else(|| unsupported(rest))?;
    match operator {
        "eq" => {
            raise(bounds, value.clone(), true);
            lower(bounds, value, true);
        }
        "ge" => raise(bounds, value, true),
        "gt" => raise(bounds, value, false),
        "le" => lower(bounds, value, true),
        "lt" => lower(bounds, value, false),
        _ => return Err(Problem::unsupported(&format!("{operator:?} in $filter"))),
    }
    Ok(rest)
}

/// The rest behind a word, if it stands here.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.trim_start().strip_prefix(word)?;
    rest.starts_with([' ', '(']).then_some(rest)
}

/// Of two lower bounds the higher holds; of the same key, the one that excludes it.
fn raise(bounds: &mut Bounds, key: String, inclusive: bool) {
    let stricter = match &bounds.lower {
        None => true,
        Some((held, held_inclusive)) => key > *held || (key == *held && *held_inclusive && !inclusive),
    };
    if stricter {
        bounds.lower = Some((key, inclusive));
    }
}

fn lower(bounds: &mut Bounds, key: String, inclusive: bool) {
    let stricter = match &bounds.upper {
        None => true,
        Some((held, held_inclusive)) => key < *held || (key == *held && *held_inclusive && !inclusive),
    };
    if stricter {
        bounds.upper = Some((key, inclusive));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let show = |bounds: Bounds| {
            let side = |bound: Option<(String, bool)>, open: &str, closed: &str| match bound {
                Some((key, inclusive)) => format!("{}{key}", if inclusive { closed } else { open }),
                None => "-".to_owned(),
            };
            format!("{} {}", side(bounds.lower, ">", ">="), side(bounds.upper, "<", "<="))
        };
        let found = match parse(text) {
            Ok(filter) => format!("{} | {}", show(filter.partitions), show(filter.rows)),
            Err(problem) => problem.code.to_owned(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn bounds_are_read() {
        check("PartitionKey eq 'p'", ">=p <=p | - -");
        check("PartitionKey eq 'p' and RowKey ge 'E!' and RowKey lt 'F'", ">=p <=p | >=E! <F");
        check("(PartitionKey eq 'p') and (RowKey eq 'k')", ">=p <=p | >=k <=k");
        check("((PartitionKey gt 'a' and PartitionKey le 'b')) and RowKey gt ''", ">a <=b | > -");
        check("PartitionKey eq 'o''clock and (' and RowKey lt ' x '", ">=o'clock and ( <=o'clock and ( | - < x ");
        check("RowKey ge 'b' and RowKey gt 'a' and RowKey gt 'b' and RowKey le 'd' and RowKey lt 'd'", "- - | >b <d");
    }

    #[test]
    fn what_is_more_is_refused() {
        for text in [
            "",
            "PartitionKey eq 'a' or RowKey eq 'b'",
            "not (PartitionKey eq 'a')",
            "PartitionKey ne 'a'",
            "Name eq 'a'",
            "PartitionKey eq",
            "PartitionKey eq 'a",
            "PartitionKey eq a",
            "PartitionKeyx eq 'a'",
            "(PartitionKey eq 'a'",
            "PartitionKey eq 'a')",
            "'a' eq PartitionKey",
            "PartitionKey eq 'a' and",
        ] {
            check(text, "NotImplemented");
        }
        check(&"(".repeat(100_000), "InvalidInput");
    }
}

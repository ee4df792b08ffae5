//! Texts.

use serde_json::Value;

use super::{Args, Outcome, show};

/// The longest text that padding makes.
const MAX_WIDTH: i64 = 131_072;

pub(super) fn with(args: &Args, test: fn(&str, &str) -> bool) -> Outcome {
    // Both functions compare without regard to case.
    Ok(test(&args.text(0)?.to_lowercase(), &args.text(1)?.to_lowercase()).into())
}

pub(super) fn join(args: &Args) -> Outcome {
    let parts: Vec<String> = args.array(0)?.iter().map(show).collect();
    Ok(parts.join(args.text(1)?).into())
}

pub(super) fn split(args: &Args) -> Outcome {
    let text = args.text(0)?;
    let delimiters: Vec<&str> = match &args.0[1] {
        Value::String(one) => vec![one],
        Value::Array(many) => {
            many.iter().map(|one| one.as_str().ok_or("every delimiter must be a string")).collect::<Result<_, _>>()?
        }
        _ => return Err(args.wrong(1, "a string or an array of strings")),
    };
    let mut parts = vec![text];
    for delimiter in delimiters.into_iter().filter(|delimiter| !delimiter.is_empty()) {
        parts = parts.into_iter().flat_map(|part| part.split(delimiter)).collect();
    }
    Ok(parts.into_iter().collect())
}

pub(super) fn replace(args: &Args) -> Outcome {
    if args.text(1)?.is_empty() {
        return Err("the text to replace is empty".to_owned());
    }
    Ok(args.text(0)?.replace(args.text(1)?, args.text(2)?).into())
}

pub(super) fn substring(args: &Args) -> Outcome {
    let units: Vec<u16> = args.text(0)?.encode_utf16().collect();
    let start = usize::try_from(args.int(1)?).map_err(|_| "the start is negative")?;
    let end = match args.0.len() {
        3 => usize::try_from(args.int(2)?).ok().and_then(|length| start.checked_add(length)),
        _ => Some(units.len()),
    };
    let range = end.filter(|end| start <= *end && *end <= units.len()).map(|end| start..end);
    let range = range.ok_or_else(|| format!("the text has {} characters only", units.len()))?;
    Ok(String::from_utf16_lossy(&units[range]).into())
}

pub(super) fn pad_left(args: &Args) -> Outcome {
    let text = show(&args.0[0]);
    let pad = match args.0.len() {
        3 => {
            let mut pad = args.text(2)?.chars();
            match (pad.next(), pad.next()) {
                (Some(one), None) => one,
                _ => return Err("argument 3 must be one character".to_owned()),
            }
        }
        _ => ' ',
    };
    let width = args.int(1)?;
    if !(0..=MAX_WIDTH).contains(&width) {
        return Err(format!("the width must be from 0 to {MAX_WIDTH}, it is {width}"));
    }
    Ok(padded(&text, width, pad).into())
}

/// Pads on the left to a positive width, on the right to a negative one.
fn padded(text: &str, width: i64, pad: char) -> String {
    let missing = (width.unsigned_abs() as usize).saturating_sub(text.chars().count());
    let padding = String::from_iter(std::iter::repeat_n(pad, missing));
    if width < 0 { format!("{text}{padding}") } else { format!("{padding}{text}") }
}

/// Composite formatting: `{index[,width][:format]}`, with `{{` and `}}` for braces.
pub(super) fn format(args: &Args) -> Outcome {
    let mut rest = args.text(0)?;
    let mut result = String::new();
    while let Some(at) = rest.find(['{', '}']) {
        result.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            result.push_str(brace);
            rest = after;
            continue;
        }
        let end = if brace == "{" { rest.find('}') } else { None };
        let end = end.ok_or_else(|| format!("the format has a lone {brace}; write it twice"))?;
        result.push_str(&item(&rest[..end], args)?);
        rest = &rest[end + 1..];
    }
    result.push_str(rest);
    Ok(result.into())
}

fn item(item: &str, args: &Args) -> Result<String, String> {
    let (place, spec) = item.split_once(':').map_or((item, ""), |(place, spec)| (place, spec));
    let (index, width) = place.split_once(',').map_or((place, None), |(index, width)| (index, Some(width)));
    let index: usize = index.trim().parse().map_err(|_| format!("{{{item}}} does not begin with a number"))?;
    let value = index.checked_add(1).and_then(|at| args.0.get(at));
    let value = value.ok_or_else(|| format!("{{{item}}} has no argument"))?;
    let text = if spec.is_empty() { show(value) } else { specified(value, spec)? };
    let Some(width) = width else { return Ok(text) };
    let width: i64 = width.trim().parse().map_err(|_| format!("the width in {{{item}}} is no number"))?;
    if width.abs() > MAX_WIDTH {
        return Err(format!("the width in {{{item}}} is too large"));
    }
    Ok(padded(&text, width, ' '))
}

/// The formats of integers: `D`, `N`, `F`, `X` with an optional precision.
fn specified(value: &Value, spec: &str) -> Result<String, String> {
    let unknown = || format!("the format {spec:?} is not known; D, N, F and X of integers are");
    let number = value.as_i64().ok_or_else(unknown)?;
    let mut characters = spec.chars();
    let letter = characters.next().ok_or_else(unknown)?;
    let precision = match characters.as_str() {
        "" => None,
        digits => Some(digits.parse::<usize>().ok().filter(|digits| *digits <= 99).ok_or_else(unknown)?),
    };
    let sign = if number < 0 { "-" } else { "" };
    let digits = number.unsigned_abs().to_string();
    let decimals = |precision: usize| if precision > 0 { format!(".{}", "0".repeat(precision)) } else { String::new() };
    Ok(match letter {
        'D' | 'd' => format!("{sign}{digits:0>width$}", width = precision.unwrap_or(0)),
        'F' | 'f' => format!("{sign}{digits}{}", decimals(precision.unwrap_or(2))),
        'N' | 'n' => {
            let mut grouped = String::new();
            for (n, digit) in digits.chars().enumerate() {
                if n > 0 && (digits.len() - n).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            format!("{sign}{grouped}{}", decimals(precision.unwrap_or(2)))
        }
        'X' => format!("{number:0width$X}", width = precision.unwrap_or(0)),
        'x' => format!("{number:0width$x}", width = precision.unwrap_or(0)),
        _ => return Err(unknown()),
    })
}

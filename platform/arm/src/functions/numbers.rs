//! Integers, comparison and conversion.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{Args, Outcome};

pub(super) fn integers(args: &Args, operation: fn(i64, i64) -> Option<i64>) -> Outcome {
    let (a, b) = (args.int(0)?, args.int(1)?);
    operation(a, b).map(Value::from).ok_or_else(|| format!("{a} and {b} have no result of 64 bits"))
}

pub(super) fn extreme(args: &Args, largest: bool) -> Outcome {
    let one = Args(match &args.0[0] {
        Value::Array(items) if args.0.len() == 1 => items,
        _ => args.0,
    });
    let numbers = (0..one.0.len()).map(|index| one.int(index)).collect::<Result<Vec<_>, _>>()?;
    let found = if largest { numbers.into_iter().max() } else { numbers.into_iter().min() };
    found.map(Value::from).ok_or_else(|| "the array is empty".to_owned())
}

pub(super) fn int(args: &Args) -> Outcome {
    match &args.0[0] {
        Value::Number(number) if number.is_i64() => Ok(number.clone().into()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.abs() < 9.0e15 => Ok((float.round() as i64).into()),
            _ => Err(format!("{number} is out of range")),
        },
        Value::String(text) => {
            text.trim().parse::<i64>().map(Value::from).map_err(|_| format!("{text:?} is not an integer of 64 bits"))
        }
        _ => Err(args.wrong(0, "a string or a number")),
    }
}

pub(super) fn float(args: &Args) -> Outcome {
    let found = match &args.0[0] {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => return Err(args.wrong(0, "a string or a number")),
    };
    found
        .filter(|float| float.is_finite())
        .map(|float| json!(float))
        .ok_or_else(|| format!("{} is no number", args.0[0]))
}

pub(super) fn boolean(args: &Args) -> Outcome {
    Ok(match &args.0[0] {
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => false,
        other => return Err(format!("{other} is neither true nor false")),
    }
    .into())
}

pub(super) fn order(args: &Args) -> Result<Ordering, String> {
    match (&args.0[0], &args.0[1]) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => a.as_f64().partial_cmp(&b.as_f64()).ok_or_else(|| "the numbers have no order".to_owned()),
        },
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err("both arguments must be ints, or both strings".to_owned()),
    }
}

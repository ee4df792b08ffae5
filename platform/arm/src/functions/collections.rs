//! Arrays, objects, and texts where they are seen as a row of characters.

use serde_json::{Map, Value, json};

use super::{Args, Outcome, property, show};

pub(super) fn array(args: &Args) -> Outcome {
    Ok(match &args.0[0] {
        Value::Array(_) => args.0[0].clone(),
        other => json!([other]),
    })
}

pub(super) fn create_object(args: &Args) -> Outcome {
    if !args.0.len().is_multiple_of(2) {
        return Err("it takes pairs of key and value".to_owned());
    }
    let mut object = Map::new();
    for index in (0..args.0.len()).step_by(2) {
        object.insert(args.text(index)?.to_owned(), args.0[index + 1].clone());
    }
    Ok(object.into())
}

pub(super) fn concat(args: &Args) -> Outcome {
    if args.0[0].is_array() {
        let mut all = Vec::new();
        for index in 0..args.0.len() {
            all.extend_from_slice(args.array(index)?);
        }
        return Ok(all.into());
    }
    if let Some(index) = args.0.iter().position(|arg| arg.is_array() || arg.is_object()) {
        return Err(args.wrong(index, "a string, as the first one is"));
    }
    Ok(args.0.iter().map(show).collect::<String>().into())
}

pub(super) fn contains(args: &Args) -> Outcome {
    let wanted = &args.0[1];
    Ok(match &args.0[0] {
        Value::String(text) => text.contains(args.text(1)?),
        Value::Array(items) => items.contains(wanted),
        Value::Object(object) => property(object, args.text(1)?).is_some(),
        _ => return Err(args.wrong(0, "a string, an array or an object")),
    }
    .into())
}

pub(super) fn empty(args: &Args) -> Outcome {
    Ok(match &args.0[0] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => return Err(args.wrong(0, "a string, an array, an object or null")),
    }
    .into())
}

fn end(args: &Args, last: bool) -> Outcome {
    match &args.0[0] {
        Value::String(text) => {
            let found = if last { text.chars().next_back() } else { text.chars().next() };
            Ok(found.map(String::from).unwrap_or_default().into())
        }
        Value::Array(items) => Ok((if last { items.last() } else { items.first() }).cloned().unwrap_or_default()),
        _ => Err(args.wrong(0, "a string or an array")),
    }
}

pub(super) fn first(args: &Args) -> Outcome {
    end(args, false)
}

pub(super) fn last(args: &Args) -> Outcome {
    end(args, true)
}

pub(super) fn length(args: &Args) -> Outcome {
    Ok(match &args.0[0] {
        Value::String(text) => text.encode_utf16().count(),
        Value::Array(items) => items.len(),
        Value::Object(object) => object.len(),
        _ => return Err(args.wrong(0, "a string, an array or an object")),
    }
    .into())
}

fn position(args: &Args, last: bool) -> Outcome {
    let found = match &args.0[0] {
        // The language counts UTF-16 units, and does not tell cases apart here.
        Value::String(text) => {
            let (text, part) = (text.to_lowercase(), args.text(1)?.to_lowercase());
            let byte = if last { text.rfind(&part) } else { text.find(&part) };
            byte.map(|byte| text[..byte].encode_utf16().count())
        }
        Value::Array(items) if last => items.iter().rposition(|item| *item == args.0[1]),
        Value::Array(items) => items.iter().position(|item| *item == args.0[1]),
        _ => return Err(args.wrong(0, "a string or an array")),
    };
    Ok(found.map_or_else(|| json!(-1), Value::from))
}

pub(super) fn index_of(args: &Args) -> Outcome {
    position(args, false)
}

pub(super) fn last_index_of(args: &Args) -> Outcome {
    position(args, true)
}

fn from_end<'a>(args: &'a Args) -> Result<Option<&'a Value>, String> {
    let (items, index) = (args.array(0)?, args.int(1)?);
    let index = usize::try_from(index).ok().filter(|index| (1..=items.len()).contains(index));
    Ok(index.map(|index| &items[items.len() - index]))
}

pub(super) fn index_from_end(args: &Args) -> Outcome {
    from_end(args)?.cloned().ok_or_else(|| format!("the array has no item {} from its end", args.0[1]))
}

pub(super) fn try_index_from_end(args: &Args) -> Outcome {
    Ok(from_end(args)?.cloned().unwrap_or_default())
}

pub(super) fn intersection(args: &Args) -> Outcome {
    if args.0[0].is_array() {
        let mut common: Vec<Value> = Vec::new();
        for item in args.array(0)? {
            let mut everywhere = true;
            for index in 1..args.0.len() {
                everywhere &= args.array(index)?.contains(item);
            }
            if everywhere && !common.contains(item) {
                common.push(item.clone());
            }
        }
        return Ok(common.into());
    }
    let mut common = Map::new();
    for (key, value) in args.object(0)? {
        let mut everywhere = true;
        for index in 1..args.0.len() {
            everywhere &= args.object(index)?.get(key) == Some(value);
        }
        if everywhere {
            common.insert(key.clone(), value.clone());
        }
    }
    Ok(common.into())
}

pub(super) fn union(args: &Args) -> Outcome {
    if args.0[0].is_array() {
        let mut all: Vec<Value> = Vec::new();
        for index in 0..args.0.len() {
            for item in args.array(index)? {
                if !all.contains(item) {
                    all.push(item.clone());
                }
            }
        }
        return Ok(all.into());
    }
    let mut all = args.object(0)?.clone();
    for index in 1..args.0.len() {
        merge(&mut all, args.object(index)?);
    }
    Ok(all.into())
}

/// Objects are united all the way down; of anything else the later one holds.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

pub(super) fn shallow_merge(args: &Args) -> Outcome {
    let mut all = Map::new();
    for item in args.array(0)? {
        let object = item.as_object().ok_or("every item must be an object")?;
        all.extend(object.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    Ok(all.into())
}

fn sorted<'a>(args: &'a Args) -> Result<Vec<(&'a String, &'a Value)>, String> {
    let mut entries: Vec<_> = args.object(0)?.iter().collect();
    entries.sort_by_key(|(key, _)| key.to_lowercase());
    Ok(entries)
}

pub(super) fn items(args: &Args) -> Outcome {
    Ok(sorted(args)?.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect())
}

pub(super) fn object_keys(args: &Args) -> Outcome {
    Ok(sorted(args)?.into_iter().map(|(key, _)| key.as_str()).collect())
}

/// The most numbers that `range` makes.
const MAX_RANGE: i64 = 10_000;

pub(super) fn range(args: &Args) -> Outcome {
    let (start, count) = (args.int(0)?, args.int(1)?);
    if !(0..=MAX_RANGE).contains(&count) {
        return Err(format!("the count must be from 0 to {MAX_RANGE}, it is {count}"));
    }
    let end = start.checked_add(count).filter(|end| *end <= i64::from(i32::MAX));
    Ok((start..end.ok_or("the last number is larger than 2147483647")?).collect())
}

fn part(args: &Args, take: bool) -> Outcome {
    let count = usize::try_from(args.int(1)?.max(0)).unwrap_or(usize::MAX);
    match &args.0[0] {
        Value::String(text) => {
            Ok(if take { text.chars().take(count).collect::<String>() } else { text.chars().skip(count).collect() }
                .into())
        }
        Value::Array(items) => {
            let (taken, rest) = items.split_at(count.min(items.len()));
            Ok(if take { taken } else { rest }.to_vec().into())
        }
        _ => Err(args.wrong(0, "a string or an array")),
    }
}

pub(super) fn skip(args: &Args) -> Outcome {
    part(args, false)
}

pub(super) fn take(args: &Args) -> Outcome {
    part(args, true)
}

//! The functions whose value depends on their arguments alone.

mod collections;
mod dates;
mod encoding;
mod networks;
mod numbers;
mod text;

use serde_json::{Map, Value};

/// What a function says of its arguments.
pub(crate) type Outcome = Result<Value, String>;

/// The functions of the language that depend on where they stand; [`crate::eval`] knows them.
pub(crate) const CONTEXTUAL: [&str; 39] = [
    "and",
    "coalesce",
    "copyindex",
    "deployer",
    "deployment",
    "environment",
    "extensionresourceid",
    "fail",
    "filter",
    "groupby",
    "if",
    "lambda",
    "lambdavariables",
    "managementgroupresourceid",
    "map",
    "mapvalues",
    "newguid",
    "or",
    "parameters",
    "reduce",
    "reference",
    "references",
    "resourcegroup",
    "resourceid",
    "roledefinitions",
    "sort",
    "subscription",
    "subscriptionresourceid",
    "tenant",
    "tenantresourceid",
    "toobject",
    "tryget",
    "utcnow",
    "variables",
    "managementgroup",
    "pickzones",
    "providers",
    "externalinput",
    "tologicalzone",
];

/// Functions of the language that are known and not evaluated here.
pub(crate) const REFUSED: [&str; 9] = [
    "externalinput",
    "managementgroup",
    "pickzones",
    "providers",
    "roledefinitions",
    "tologicalzone",
    "tologicalzones",
    "tophysicalzone",
    "tophysicalzones",
];

/// A function with the least and the most arguments it takes.
type Entry = (usize, usize, fn(&Args) -> Outcome);

const MANY: usize = usize::MAX;

fn find(name: &str) -> Option<Entry> {
    let entry: Entry = match name {
        "array" => (1, 1, collections::array),
        "createarray" => (0, MANY, |args| Ok(Value::Array(args.0.to_vec()))),
        "createobject" => (0, MANY, collections::create_object),
        "concat" => (1, MANY, collections::concat),
        "contains" => (2, 2, collections::contains),
        "empty" => (1, 1, collections::empty),
        "first" => (1, 1, collections::first),
        "last" => (1, 1, collections::last),
        "length" => (1, 1, collections::length),
        "indexof" => (2, 2, collections::index_of),
        "lastindexof" => (2, 2, collections::last_index_of),
        "indexfromend" => (2, 2, collections::index_from_end),
        "tryindexfromend" => (2, 2, collections::try_index_from_end),
        "intersection" => (2, MANY, collections::intersection),
        "union" => (2, MANY, collections::union),
        "shallowmerge" => (1, 1, collections::shallow_merge),
        "items" => (1, 1, collections::items),
        "objectkeys" => (1, 1, collections::object_keys),
        "range" => (2, 2, collections::range),
        "skip" => (2, 2, collections::skip),
        "take" => (2, 2, collections::take),
        "max" => (1, MANY, |args| numbers::extreme(args, true)),
        "min" => (1, MANY, |args| numbers::extreme(args, false)),
        "add" => (2, 2, |args| numbers::integers(args, i64::checked_add)),
        "sub" => (2, 2, |args| numbers::integers(args, i64::checked_sub)),
        "mul" => (2, 2, |args| numbers::integers(args, i64::checked_mul)),
        "div" => (2, 2, |args| numbers::integers(args, i64::checked_div)),
        "mod" => (2, 2, |args| numbers::integers(args, i64::checked_rem)),
        "int" => (1, 1, numbers::int),
        "float" => (1, 1, numbers::float),
        "bool" => (1, 1, numbers::boolean),
        "true" => (0, 0, |_| Ok(true.into())),
        "false" => (0, 0, |_| Ok(false.into())),
        "null" => (0, 0, |_| Ok(Value::Null)),
        "not" => (1, 1, |args| Ok((!args.boolean(0)?).into())),
        "equals" => (2, 2, |args| Ok((args.0[0] == args.0[1]).into())),
        "less" => (2, 2, |args| Ok(numbers::order(args)?.is_lt().into())),
        "lessorequals" => (2, 2, |args| Ok(numbers::order(args)?.is_le().into())),
        "greater" => (2, 2, |args| Ok(numbers::order(args)?.is_gt().into())),
        "greaterorequals" => (2, 2, |args| Ok(numbers::order(args)?.is_ge().into())),
        "string" => (1, 1, |args| Ok(show(&args.0[0]).into())),
        "format" => (1, MANY, text::format),
        "join" => (2, 2, text::join),
        "split" => (2, 2, text::split),
        "replace" => (3, 3, text::replace),
        "substring" => (2, 3, text::substring),
        "startswith" => (2, 2, |args| text::with(args, |text, part| text.starts_with(part))),
        "endswith" => (2, 2, |args| text::with(args, |text, part| text.ends_with(part))),
        "tolower" => (1, 1, |args| Ok(args.text(0)?.to_lowercase().into())),
        "toupper" => (1, 1, |args| Ok(args.text(0)?.to_uppercase().into())),
        "trim" => (1, 1, |args| Ok(args.text(0)?.trim().into())),
        "padleft" => (2, 3, text::pad_left),
        "guid" => (1, MANY, |args| Ok(crate::guid(args.texts()?).into())),
        "uniquestring" => (1, MANY, |args| Ok(crate::unique_string(args.texts()?).into())),
        "json" => (1, 1, encoding::json),
        "base64" => (1, 1, encoding::base64),
        "base64tostring" => (1, 1, encoding::base64_to_string),
        "base64tojson" => (1, 1, encoding::base64_to_json),
        "datauri" => (1, 1, encoding::data_uri),
        "datauritostring" => (1, 1, encoding::data_uri_to_string),
        "uri" => (2, 2, encoding::uri),
        "uricomponent" => (1, 1, encoding::uri_component),
        "uricomponenttostring" => (1, 1, encoding::uri_component_to_string),
        "builduri" => (1, 1, encoding::build_uri),
        "parseuri" => (1, 1, encoding::parse_uri),
        "datetimeadd" => (2, 3, dates::add),
        "datetimefromepoch" => (1, 1, dates::from_epoch),
        "datetimetoepoch" => (1, 1, dates::to_epoch),
        "parsecidr" => (1, 1, networks::parse),
        "cidrsubnet" => (3, 3, networks::subnet),
        "cidrhost" => (2, 2, networks::host),
        _ => return None,
    };
    Some(entry)
}

pub(crate) use dates::now;

/// Whether the language has such a function; the name in lower case.
pub(crate) fn is_known(name: &str) -> bool {
    find(name).is_some() || CONTEXTUAL.contains(&name) || REFUSED.contains(&name) || is_list(name)
}

/// `listKeys` and the like, which resource providers define.
pub(crate) fn is_list(name: &str) -> bool {
    name.len() > 4 && name.starts_with("list")
}

/// Calls a function by its name in lower case; `None` where it is not one of these.
pub(crate) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    let (least, most, function) = find(name)?;
    if args.len() < least || args.len() > most {
        let wanted = if most == MANY {
            format!("at least {least}")
        } else if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        return Some(Err(format!("it takes {wanted} arguments, and {} are given", args.len())));
    }
    Some(function(&Args(args)))
}

/// What a value is called in messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(number) if number.is_i64() => "an int",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value as text: a bool is `True` or `False`, arrays and objects are JSON.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Looks a property up in any case, the exact one first.
pub(crate) fn property<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Arguments, with errors that say which is wrong.
pub(crate) struct Args<'a>(pub(crate) &'a [Value]);

impl Args<'_> {
    fn wrong(&self, index: usize, wanted: &str) -> String {
        format!("argument {} must be {wanted}, it is {}", index + 1, kind(&self.0[index]))
    }

    fn text(&self, index: usize) -> Result<&str, String> {
        self.0[index].as_str().ok_or_else(|| self.wrong(index, "a string"))
    }

    fn texts(&self) -> Result<Vec<&str>, String> {
        (0..self.0.len()).map(|index| self.text(index)).collect()
    }

    fn int(&self, index: usize) -> Result<i64, String> {
        self.0[index].as_i64().ok_or_else(|| self.wrong(index, "an int"))
    }

    fn boolean(&self, index: usize) -> Result<bool, String> {
        self.0[index].as_bool().ok_or_else(|| self.wrong(index, "a bool"))
    }

    fn array(&self, index: usize) -> Result<&[Value], String> {
        self.0[index].as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(index, "an array"))
    }

    fn object(&self, index: usize) -> Result<&Map<String, Value>, String> {
        self.0[index].as_object().ok_or_else(|| self.wrong(index, "an object"))
    }
}

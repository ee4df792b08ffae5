//! The filter of a subscription: which events it asks for.

use serde_json::Value;

use crate::broker::{SettingsError, boolean, member};

/// The most advanced filters, and the most values in all of them.
const MAX_FILTERS: usize = 25;

/// The longest value, in characters.
const MAX_VALUE_CHARS: usize = 512;

/// Why a filter is not understood.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FilterError {
    /// A property of another type.
    #[error(transparent)]
    Property(#[from] SettingsError),
    /// A member of an advanced filter.
    #[error("advancedFilters[{index}]: {reason}")]
    Advanced {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// More than Event Grid takes.
    #[error("a subscription has at most {MAX_FILTERS} advanced filters and {MAX_FILTERS} values in all of them")]
    TooMany,
}

/// All conditions have to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Filter {
    subject_begins_with: String,
    subject_ends_with: String,
    subject_is_case_sensitive: bool,
    /// `None` is all.
    included_event_types: Option<Vec<String>>,
    looks_into_arrays: bool,
    advanced: Vec<Advanced>,
}

#[derive(Debug, Clone, PartialEq)]
struct Advanced {
    key: Vec<String>,
    operator: Operator,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Text {
    Contains,
    BeginsWith,
    EndsWith,
    In,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One of the values has to match; of a `not` operator, none may.
#[derive(Debug, Clone, PartialEq)]
enum Operator {
    Text { how: Text, not: bool, values: Vec<String> },
    Number { not: bool, values: Vec<f64> },
    Compare { order: Order, value: f64 },
    Range { not: bool, ranges: Vec<(f64, f64)> },
    Bool(bool),
    IsNullOrUndefined,
    IsNotNull,
}

impl Filter {
    pub(super) fn from_arm(properties: &Value) -> Result<Filter, FilterError> {
        let list = |name: &str| -> Result<Option<Vec<String>>, FilterError> {
            let Some(value) = member(properties, name) else { return Ok(None) };
            let texts =
                value.as_array().and_then(|list| list.iter().map(|one| one.as_str().map(String::from)).collect());
            let wrong =
                || SettingsError::Type { property: name.into(), expected: "a list of texts", found: value.to_string() };
            Ok(Some(texts.ok_or_else(wrong)?))
        };
        let text = |name: &str| -> Result<String, FilterError> {
            let Some(value) = member(properties, name) else { return Ok(String::new()) };
            let wrong = || SettingsError::Type { property: name.into(), expected: "text", found: value.to_string() };
            Ok(value.as_str().ok_or_else(wrong)?.to_owned())
        };
        let mut advanced = Vec::new();
        let mut values = 0;
        if let Some(list) = member(properties, "advancedFilters") {
            let filters = list.as_array().ok_or_else(|| SettingsError::Type {
                property: "advancedFilters".into(),
                expected: "a list",
                found: list.to_string(),
            })?;
            for (index, filter) in filters.iter().enumerate() {
                let parsed = Advanced::from_arm(filter).map_err(|reason| FilterError::Advanced { index, reason })?;
                values += parsed.operator.values();
                advanced.push(parsed);
            }
        }
        if advanced.len() > MAX_FILTERS || values > MAX_FILTERS {
            return Err(FilterError::TooMany);
        }
        Ok(Filter {
            subject_begins_with: text("subjectBeginsWith")?,
            subject_ends_with: text("subjectEndsWith")?,
            subject_is_case_sensitive: boolean(properties, "isSubjectCaseSensitive")?.unwrap_or(false),
            // Older templates say "All" for no condition.
            included_event_types: list("includedEventTypes")?
                .filter(|types| !types.is_empty() && !types.iter().any(|one| one.eq_ignore_ascii_case("all"))),
            looks_into_arrays: boolean(properties, "enableAdvancedFilteringOnArrays")?.unwrap_or(false),
            advanced,
        })
    }

    /// Whether an event passes.
    pub(super) fn passes(&self, event: &Value) -> bool {
        let subject = event.get("subject").and_then(Value::as_str).unwrap_or_default();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let fold = |text: &str| if self.subject_is_case_sensitive { text.to_owned() } else { text.to_lowercase() };
        let subject = fold(subject);
        subject.starts_with(&fold(&self.subject_begins_with))
            && subject.ends_with(&fold(&self.subject_ends_with))
            && self
                .included_event_types
                .as_ref()
                .is_none_or(|types| types.iter().any(|one| one.to_lowercase() == kind.to_lowercase()))
            && self.advanced.iter().all(|filter| filter.passes(event, self.looks_into_arrays))
    }
}

fn texts(values: Vec<&Value>) -> Result<Vec<String>, String> {
    values
        .into_iter()
        .map(|value| match value.as_str() {
            Some(text) if text.chars().count() <= MAX_VALUE_CHARS => Ok(text.to_lowercase()),
            Some(_) => Err(format!("a value has more than {MAX_VALUE_CHARS} characters")),
            None => Err(format!("{value} is not text")),
        })
        .collect()
}

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{value} is not a number"))
}

fn range(value: &Value) -> Result<(f64, f64), String> {
    match value.as_array().map(Vec::as_slice) {
        Some([from, to]) => Ok((number(from)?, number(to)?)),
        _ => Err(format!("{value} is not a range of two numbers")),
    }
}

impl Advanced {
    fn from_arm(filter: &Value) -> Result<Advanced, String> {
        let member = |name: &str| filter.get(name).filter(|value| !value.is_null());
        let text = |name: &str| match member(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.as_str()),
            _ => Err(format!("{name} has to be text that is not empty")),
        };
        let one = || member("value").ok_or_else(|| "value is missing".to_owned());
        let many = || match member("values") {
            Some(Value::Array(values)) if !values.is_empty() => Ok(values.iter().collect::<Vec<_>>()),
            _ => Err("values has to be a list that is not empty".to_owned()),
        };
        let numbers = || many()?.into_iter().map(number).collect::<Result<Vec<_>, _>>();
        let compare = |order| Ok::<_, String>(Operator::Compare { order, value: number(one()?)? });
        let wording = |how, not| Ok::<_, String>(Operator::Text { how, not, values: texts(many()?)? });
        let ranges = |not| {
            let ranges = many()?.into_iter().map(range).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, String>(Operator::Range { not, ranges })
        };
        let operator = match text("operatorType")? {
            "NumberIn" => Operator::Number { not: false, values: numbers()? },
            "NumberNotIn" => Operator::Number { not: true, values: numbers()? },
            "NumberLessThan" => compare(Order::Less)?,
            "NumberLessThanOrEquals" => compare(Order::LessOrEqual)?,
            "NumberGreaterThan" => compare(Order::Greater)?,
            "NumberGreaterThanOrEquals" => compare(Order::GreaterOrEqual)?,
            "NumberInRange" => ranges(false)?,
            "NumberNotInRange" => ranges(true)?,
            "BoolEquals" => Operator::Bool(one()?.as_bool().ok_or_else(|| "value has to be true or false".to_owned())?),
            "StringContains" => wording(Text::Contains, false)?,
            "StringNotContains" => wording(Text::Contains, true)?,
            "StringBeginsWith" => wording(Text::BeginsWith, false)?,
            "StringNotBeginsWith" => wording(Text::BeginsWith, true)?,
            "StringEndsWith" => wording(Text::EndsWith, false)?,
            "StringNotEndsWith" => wording(Text::EndsWith, true)?,
            "StringIn" => wording(Text::In, false)?,
            "StringNotIn" => wording(Text::In, true)?,
            "IsNullOrUndefined" => Operator::IsNullOrUndefined,
            "IsNotNull" => Operator::IsNotNull,
            other => return Err(format!("{other:?} is not an operator")),
        };
        Ok(Advanced { key: text("key")?.split('.').map(String::from).collect(), operator })
    }

    fn passes(&self, event: &Value, looks_into_arrays: bool) -> bool {
        let mut found = Some(event);
        for segment in &self.key {
            found = found.and_then(|value| value.get(segment));
        }
        let found = found.filter(|value| !value.is_null());
        match &self.operator {
            Operator::IsNullOrUndefined => found.is_none(),
            Operator::IsNotNull => found.is_some(),
            operator => {
                let values: Vec<&Value> = match found {
                    None => Vec::new(),
                    Some(Value::Array(elements)) if looks_into_arrays => elements.iter().collect(),
                    Some(value) => vec![value],
                };
                let verdicts: Vec<bool> = values.into_iter().filter_map(|value| operator.matches(value)).collect();
                match operator {
                    _ if verdicts.is_empty() => operator.passes_without_value(),
                    operator if operator.is_not() => verdicts.iter().all(|passes| *passes),
                    _ => verdicts.iter().any(|passes| *passes),
                }
            }
        }
    }
}

impl Operator {
    fn values(&self) -> usize {
        match self {
            Operator::Text { values, .. } => values.len(),
            Operator::Number { values, .. } => values.len(),
            Operator::Range { ranges, .. } => ranges.len(),
            Operator::Compare { .. } | Operator::Bool(_) => 1,
            Operator::IsNullOrUndefined | Operator::IsNotNull => 0,
        }
    }

    fn is_not(&self) -> bool {
        matches!(
            self,
            Operator::Text { not: true, .. } | Operator::Number { not: true, .. } | Operator::Range { not: true, .. }
        )
    }

    /// Of the operators that compare, only these two hold for a key that is missing or of another type.
    fn passes_without_value(&self) -> bool {
        matches!(self, Operator::Number { not: true, .. } | Operator::Text { how: Text::In, not: true, .. })
    }

    /// Whether one value passes; `None` where it is of another type, and so is ignored.
    fn matches(&self, value: &Value) -> Option<bool> {
        match self {
            Operator::Text { how, not, values } => {
                let text = value.as_str()?.to_lowercase();
                let hit = values.iter().any(|value| match how {
                    Text::Contains => text.contains(value),
                    Text::BeginsWith => text.starts_with(value),
                    Text::EndsWith => text.ends_with(value),
                    Text::In => text == *value,
                });
                Some(hit != *not)
            }
            Operator::Number { not, values } => {
                let number = value.as_f64()?;
                Some(values.contains(&number) != *not)
            }
            Operator::Range { not, ranges } => {
                let number = value.as_f64()?;
                Some(ranges.iter().any(|(from, to)| (*from..=*to).contains(&number)) != *not)
            }
            Operator::Compare { order, value: limit } => {
                let number = value.as_f64()?;
                Some(match order {
                    Order::Less => number < *limit,
                    Order::LessOrEqual => number <= *limit,
                    Order::Greater => number > *limit,
                    Order::GreaterOrEqual => number >= *limit,
                })
            }
            Operator::Bool(expected) => Some(value.as_bool()? == *expected),
            Operator::IsNullOrUndefined | Operator::IsNotNull => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({
            "specversion": "1.0", "id": "1", "source": "/services/Orders", "type": "orders.OrderPlaced.v1",
            "subject": "order:Ä1", "epoch": 0, "sequence": "00000000000000000002",
            "data": { "total": 12.5, "count": 3, "paid": true, "country": "Norway", "gift": null,
                      "tags": ["Big", "late", 7], "customer": { "tier": "gold" }, "none": [] },
        })
    }

    fn passes(filter: Value) -> bool {
        Filter::from_arm(&filter).unwrap_or_else(|error| panic!("{filter}: {error}")).passes(&event())
    }

    fn advanced(operator: &str, key: &str, values: Value) -> bool {
        let member = if values.is_array() { "values" } else { "value" };
        passes(json!({ "advancedFilters": [{ "operatorType": operator, "key": key, member: values }] }))
    }

    #[test]
    fn subjects_and_types() {
        for (filter, expected) in [
            (json!({}), true),
            (json!({ "subjectBeginsWith": "ORDER:" }), true),
            (json!({ "subjectBeginsWith": "ORDER:", "isSubjectCaseSensitive": true }), false),
            (json!({ "subjectBeginsWith": "stock:" }), false),
            (json!({ "subjectEndsWith": "ä1" }), true),
            (json!({ "subjectEndsWith": "Ä1", "isSubjectCaseSensitive": true }), true),
            (json!({ "subjectEndsWith": "2" }), false),
            (json!({ "includedEventTypes": ["orders.orderplaced.v1"] }), true),
            (json!({ "includedEventTypes": ["All"] }), true),
            (json!({ "includedEventTypes": ["orders.OrderPlaced"] }), false),
            (json!({ "subjectBeginsWith": "order:", "includedEventTypes": ["other"] }), false),
        ] {
            assert_eq!(passes(filter.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn operators() {
        for (operator, key, values, expected) in [
            ("StringBeginsWith", "subject", json!(["stock:", "ORDER:"]), true),
            ("StringBeginsWith", "subject", json!(["stock:"]), false),
            ("StringBeginsWith", "data.none", json!(["a"]), false),
            ("StringNotBeginsWith", "subject", json!(["stock:", "order:"]), false),
            ("StringNotBeginsWith", "subject", json!(["stock:"]), true),
            ("StringNotBeginsWith", "absent", json!(["stock:"]), false),
            ("StringEndsWith", "type", json!([".V1"]), true),
            ("StringEndsWith", "type", json!([".v2"]), false),
            ("StringNotEndsWith", "type", json!([".v2"]), true),
            ("StringNotEndsWith", "absent", json!([".v2"]), false),
            ("StringContains", "source", json!(["ORDERS"]), true),
            ("StringContains", "absent", json!([""]), false),
            ("StringNotContains", "source", json!(["orders"]), false),
            ("StringNotContains", "absent", json!(["orders"]), false),
            ("StringIn", "data.country", json!(["france", "NORWAY"]), true),
            ("StringIn", "data.country", json!(["nor"]), false),
            ("StringIn", "data.customer.tier", json!(["gold"]), true),
            ("StringIn", "data.count", json!(["3"]), false),
            ("StringNotIn", "data.country", json!(["norway"]), false),
            ("StringNotIn", "data.country", json!(["france"]), true),
            ("StringNotIn", "absent", json!(["france"]), true),
            ("StringNotIn", "data.gift", json!(["france"]), true),
            ("NumberIn", "data.count", json!([1, 3.0]), true),
            ("NumberIn", "absent", json!([1]), false),
            ("NumberIn", "sequence", json!([2]), false),
            ("NumberNotIn", "data.count", json!([3]), false),
            ("NumberNotIn", "data.count", json!([4]), true),
            ("NumberNotIn", "absent.deeper", json!([3]), true),
            ("NumberLessThan", "data.total", json!(12.5), false),
            ("NumberLessThan", "data.total", json!(12.6), true),
            ("NumberLessThan", "absent", json!(12.6), false),
            ("NumberLessThanOrEquals", "data.total", json!(12.5), true),
            ("NumberGreaterThan", "data.total", json!(12.5), false),
            ("NumberGreaterThan", "epoch", json!(-1), true),
            ("NumberGreaterThanOrEquals", "data.total", json!(12.5), true),
            ("NumberGreaterThanOrEquals", "absent", json!(0), false),
            ("NumberInRange", "data.count", json!([[7, 9], [1, 3]]), true),
            ("NumberInRange", "data.count", json!([[4, 9]]), false),
            ("NumberInRange", "absent", json!([[4, 9]]), false),
            ("NumberNotInRange", "data.count", json!([[4, 9]]), true),
            ("NumberNotInRange", "data.count", json!([[3, 9]]), false),
            ("NumberNotInRange", "absent", json!([[3, 9]]), false),
            ("BoolEquals", "data.paid", json!(true), true),
            ("BoolEquals", "data.paid", json!(false), false),
            ("BoolEquals", "absent", json!(false), false),
            ("IsNullOrUndefined", "data.gift", json!(null), true),
            ("IsNullOrUndefined", "absent", json!(null), true),
            ("IsNullOrUndefined", "subject", json!(null), false),
            ("IsNotNull", "subject", json!(null), true),
            ("IsNotNull", "data.gift", json!(null), false),
            ("IsNotNull", "absent", json!(null), false),
            ("StringContains", "data.tags", json!(["big"]), false),
        ] {
            assert_eq!(advanced(operator, key, values.clone()), expected, "{operator} {key} {values}");
        }
    }

    #[test]
    fn arrays_only_where_asked() {
        let on_arrays = |operator: &str, values: Value, key: &str| {
            passes(json!({
                "enableAdvancedFilteringOnArrays": true,
                "advancedFilters": [{ "operatorType": operator, "key": key, "values": values }],
            }))
        };
        assert!(on_arrays("StringIn", json!(["big"]), "data.tags"));
        assert!(on_arrays("NumberIn", json!([7]), "data.tags"));
        assert!(!on_arrays("StringNotIn", json!(["late"]), "data.tags"));
        assert!(on_arrays("StringNotIn", json!(["early"]), "data.tags"));
        assert!(on_arrays("StringNotIn", json!(["early"]), "data.none"));
        assert!(!on_arrays("StringContains", json!(["b"]), "data.none"));
    }

    #[test]
    fn filters_are_combined_with_and() {
        let two = |country: &str| {
            passes(json!({ "advancedFilters": [
                { "operatorType": "StringIn", "key": "data.country", "values": [country] },
                { "operatorType": "BoolEquals", "key": "data.paid", "value": true },
            ] }))
        };
        assert!(two("Norway"));
        assert!(!two("France"));
    }

    #[test]
    fn refused_by_name() {
        for (filter, part) in [
            (json!({ "advancedFilters": [{ "operatorType": "Like", "key": "a", "values": ["b"] }] }), "\"Like\""),
            (json!({ "advancedFilters": [{ "operatorType": "StringIn", "key": "a" }] }), "values has to be a list"),
            (json!({ "advancedFilters": [{ "operatorType": "StringIn", "values": ["b"] }] }), "key has to be text"),
            (json!({ "advancedFilters": [{ "operatorType": "NumberIn", "key": "a", "values": ["1"] }] }), "a number"),
            (json!({ "advancedFilters": [{ "operatorType": "NumberInRange", "key": "a", "values": [1] }] }), "a range"),
            (
                json!({ "advancedFilters": [{ "operatorType": "StringIn", "key": "a", "values": ["x".repeat(513)] }] }),
                "512 characters",
            ),
            (
                json!({ "advancedFilters": [{ "operatorType": "StringIn", "key": "a", "values": vec!["x"; 26] }] }),
                "at most 25",
            ),
            (json!({ "subjectBeginsWith": 1 }), "subjectBeginsWith has to be text"),
            (json!({ "includedEventTypes": "All" }), "a list of texts"),
        ] {
            let error = Filter::from_arm(&filter).unwrap_err().to_string();
            assert!(error.contains(part), "{filter}: {error}");
        }
    }
}

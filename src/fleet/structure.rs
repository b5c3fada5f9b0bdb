//! The shape of hosts.toml: keys, types, ranges, words; checked against the schema.
//!
//! What is wrong is reported and taken out, so that the rest can still be understood and all
//! mistakes of a file come at once. Knows no key by name: the schema does.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::mistake::Mistake;

/// Checks a table and removes what does not fit.
pub(super) fn check(table: &mut DeTable<'_>, schema: &Value, mistakes: &mut Vec<Mistake>) {
    check_table(table, schema, "", mistakes);
}

fn check_table(table: &mut DeTable<'_>, schema: &Value, at: &str, mistakes: &mut Vec<Mistake>) {
    let keys: Vec<(String, Range<usize>)> =
        table.iter().map(|(key, _)| (key.get_ref().to_string(), key.span())).collect();
    for (key, span) in keys {
        let fits = match schema_of(schema, &key) {
            None => {
                mistakes.push(unknown(&key, span, schema, at));
                false
            }
            Some(inner) => {
                let inside = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                table
                    .get_mut(key.as_str())
                    .is_some_and(|v| check_value(v, inner, &inside, mistakes))
            }
        };
        if !fits {
            table.remove(key.as_str());
        }
    }
}

/// The schema of a key: its own, or the one of every key in a table of names.
fn schema_of<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema["properties"]
        .get(key)
        .or_else(|| schema.get("additionalProperties").filter(|every| every.is_object()))
}

fn unknown(key: &str, span: Range<usize>, schema: &Value, at: &str) -> Mistake {
    let known: Vec<&str> =
        schema["properties"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    let place = if at.is_empty() { "at the top level".to_owned() } else { format!("in `{at}`") };
    let shown: String = key.escape_debug().take(60).collect();
    let mistake =
        Mistake::new(span, format!("unknown key `{shown}` {place}")).nearest(key, known.clone());
    if mistake.nearest.is_some() {
        return mistake;
    }
    mistake.note(format!("valid here: {}", known.join(", ")))
}

fn check_value(
    value: &mut Spanned<DeValue<'_>>,
    schema: &Value,
    at: &str,
    mistakes: &mut Vec<Mistake>,
) -> bool {
    let span = value.span();
    let mut refuse = |mistake: Mistake| {
        mistakes.push(mistake);
        false
    };
    match (schema["type"].as_str().unwrap_or_default(), value.get_mut()) {
        ("string", DeValue::String(text)) => match wrong_word(text, schema, at, &span) {
            Some(mistake) => refuse(mistake),
            None => true,
        },
        ("integer", DeValue::Integer(number)) if in_range(number, schema) => true,
        ("integer", DeValue::Integer(number)) => {
            refuse(Mistake::new(span, format!("`{at}` is {}, found {number}", wanted(schema))))
        }
        ("boolean", DeValue::Boolean(_)) => true,
        ("array", DeValue::Array(items)) => {
            let few = schema["minItems"].as_u64().is_some_and(|min| (items.len() as u64) < min);
            if few {
                return refuse(Mistake::new(span, format!("`{at}` is empty")));
            }
            check_items(items, &schema["items"], at, mistakes)
        }
        ("object", DeValue::Table(table)) => {
            check_table(table, schema, at, mistakes);
            true
        }
        (_, found) => {
            let message = format!("`{at}` is {}, found {}", wanted(schema), kind(found));
            refuse(Mistake::new(span, message))
        }
    }
}

/// A list with an item of the wrong type goes as a whole: half a list would be another list.
fn check_items(
    items: &mut toml::de::DeArray<'_>,
    schema: &Value,
    at: &str,
    mistakes: &mut Vec<Mistake>,
) -> bool {
    let mut all = true;
    for item in items.iter_mut() {
        all &= check_value(item, schema, at, mistakes);
    }
    all
}

fn wrong_word(text: &str, schema: &Value, at: &str, span: &Range<usize>) -> Option<Mistake> {
    let words: Vec<&str> = schema["enum"].as_array()?.iter().filter_map(Value::as_str).collect();
    if words.contains(&text) {
        return None;
    }
    let shown: String = text.escape_debug().take(60).collect();
    let message = format!("`{at}` is {}, found \"{shown}\"", wanted(schema));
    Some(Mistake::new(span.clone(), message).nearest(text, words))
}

fn in_range(number: &DeInteger<'_>, schema: &Value) -> bool {
    let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) else { return false };
    schema["minimum"].as_i64().is_none_or(|min| number >= min)
        && schema["maximum"].as_i64().is_none_or(|max| number <= max)
}

/// What the schema asks for, in words.
fn wanted(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(Value::to_string).collect();
        return match words.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => "nothing".to_owned(),
        };
    }
    match (schema["type"].as_str().unwrap_or_default(), &schema["minimum"], &schema["maximum"]) {
        ("integer", Value::Number(min), Value::Number(max)) => {
            format!("a whole number from {min} to {max}")
        }
        ("integer", ..) => "a whole number".to_owned(),
        ("string", ..) => "a string".to_owned(),
        ("boolean", ..) => "true or false".to_owned(),
        ("array", ..) => "a list".to_owned(),
        _ => "a table".to_owned(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

//! The JSON schema of hosts.toml, made from the raw structs; reader and editors use the same.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::RawFile;

/// The schema, draft 7 (what editors' TOML plug-ins understand), without references.
pub fn schema() -> Value {
    SCHEMA.clone()
}

pub(super) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<RawFile>().to_value();
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), "hosts.toml of nixdeploy".into());
    }
    tidy(&mut schema);
    schema
});

/// TOML has no null, tables take no unknown keys, and a list of constants is an enumeration.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.contains_key("anyOf") || object.contains_key("oneOf") {
        flatten_choice(object);
    }
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if object.contains_key("properties") {
        object.insert("additionalProperties".to_owned(), false.into());
    }
    // The width of Rust's integers is nobody's business, and editors warn of unknown formats.
    object.remove("format");
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(tidy);
    }
}

/// `anyOf [X, null]` becomes X, and `oneOf [const a, const b]` becomes `enum [a, b]`.
fn flatten_choice(object: &mut serde_json::Map<String, Value>) {
    if let Some(Value::Array(options)) = object.remove("anyOf") {
        let some = options.into_iter().find(|o| o.get("type").is_none_or(|t| t != "null"));
        if let Some(Value::Object(inner)) = some {
            for (key, value) in inner {
                // What is said of the key here is worth more than what is said of its type.
                object.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(options)) = object.remove("oneOf") {
        let words: Vec<Value> = options.iter().filter_map(|o| o.get("const").cloned()).collect();
        object.insert("enum".to_owned(), Value::Array(words));
        object.insert("type".to_owned(), "string".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_shows_its_keys_with_types_ranges_and_words() {
        let schema = schema();
        let host = &schema["properties"]["hosts"]["additionalProperties"];
        assert_eq!(host["additionalProperties"], false);
        let keys = &host["properties"];
        assert_eq!(keys["soak_s"]["type"], "integer");
        assert_eq!(keys["soak_s"]["maximum"], 3600);
        assert_eq!(keys["soak_s"]["default"], 15);
        assert_eq!(keys["optional"]["enum"], serde_json::json!(["fail", "skip", "defer"]));
        assert_eq!(keys["ssh"]["properties"]["control"]["default"], "own");
        assert_eq!(keys["addresses"]["minItems"], 1);
        let probe = &keys["health"]["items"];
        assert_eq!(probe["additionalProperties"], false);
        assert_eq!(probe["properties"]["from"]["enum"], serde_json::json!(["target", "deployer"]));
    }

    #[test]
    fn nothing_is_left_that_the_reader_does_not_understand() {
        let text = schema().to_string();
        for word in ["$ref", "anyOf", "oneOf", "allOf", "\"null\"", "\"const\""] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

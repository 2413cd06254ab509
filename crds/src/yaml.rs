//! JSON values as YAML for people: block style, keys in order, texts quoted where a reader could take them for something
//! else. Only what `crdgen` needs: it writes, it never reads.

use serde_json::{Number, Value};

/// A document of it.
#[must_use]
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) if !is_flat(value) => block(value, 0, &mut out),
        Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out += &flat(value);
            out += "\n";
        }
    }
    out
}

/// The lines of an object or array that is not empty.
fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            // Whether a map of serde_json keeps an order is the choice of whatever crate is built along.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                *out += &format!("{pad}{}:", text(key));
                below(value, indent + 2, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                if is_flat(item) {
                    *out += &format!("{pad}- {}\n", flat(item));
                    continue;
                }
                let mut lines = String::new();
                block(item, indent + 2, &mut lines);
                // The first line of the item stands behind its dash.
                *out += &format!("{pad}- {}", lines.trim_start());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => *out += &flat(value),
    }
}

/// The value of a key, on its line or below it.
fn below(value: &Value, indent: usize, out: &mut String) {
    if is_flat(value) {
        *out += &format!(" {}\n", flat(value));
    } else {
        *out += "\n";
        block(value, indent, out);
    }
}

fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// What fits on a line.
fn flat(value: &Value) -> String {
    match value {
        Value::Number(number) => self::number(number),
        Value::String(text) => self::text(text),
        Value::Null | Value::Bool(_) | Value::Object(_) | Value::Array(_) => value.to_string(),
    }
}

/// A bound of a schema is a float in Rust; people write `1`, not `1.0`.
fn number(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn text(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_/-".contains(c) || c == '.';
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(legal);
    let taken = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if word && !taken.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // A text of JSON is one of YAML.
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_people_do() {
        let value = json!({
            "b": [{ "name": "x", "list": [1, 2.0, []] }, "plain", ["nested"]],
            "a": { "text": "two words", "word": "crema.io/v1alpha1", "no": "no", "number": "1", "none": null, "empty": {} },
        });
        let wanted = "a:\n  empty: {}\n  \"no\": \"no\"\n  none: null\n  number: \"1\"\n  text: \"two words\"\n  \
                      word: crema.io/v1alpha1\nb:\n  - list:\n      - 1\n      - 2\n      - []\n    name: x\n  \
                      - plain\n  - - nested\n";
        assert_eq!(to_string(&value), wanted);
        assert_eq!(to_string(&json!([])), "[]\n");
    }
}

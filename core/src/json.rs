//! JSON text, as far as the database minds it.

/// Whether some text in it has U+0000, which PostgreSQL refuses to store. In JSON that can only be an escape.
#[must_use]
pub fn has_null_character(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        // What follows a backslash is escaped, a second backslash too.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_escape_is_the_character() {
        let has = |value: Value| has_null_character(value.to_string().as_bytes());
        for value in [json!("\0"), json!(["a\\\0"]), json!({ "\0": 1 }), json!({ "a": { "b": "c\0" } })] {
            assert!(has(value.clone()), "{value}");
        }
        for value in [json!("\\u0000"), json!("u0000"), json!("\\\\u0000"), json!("\u{1}"), json!(null)] {
            assert!(!has(value.clone()), "{value}");
        }
        assert!(!has_null_character(b"\\"), "cut short");
    }
}

//! What apps, scripts, queues, collections and topics may be called.

/// The rule for one name, in words.
pub const RULE: &str = "1 to 63 lower-case letters, digits, `_` and `-`, beginning with a letter or digit";

/// Whether it is a slug, or a name of a script, queue or collection: `[a-z0-9][a-z0-9_-]{0,62}`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let head = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 63
        && text.bytes().next().is_some_and(head)
        && text.bytes().all(|byte| head(byte) || byte == b'_' || byte == b'-')
}

/// The longest topic, in bytes.
pub const MAX_TOPIC_BYTES: usize = 255;

/// Whether it is a topic: names joined by dots.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    text.len() <= MAX_TOPIC_BYTES && text.split('.').all(is_name)
}

/// Whether it asks for topics: one, all below one (`prefix.*`), or all (`*`).
#[must_use]
pub fn is_topic_pattern(text: &str) -> bool {
    match text.strip_suffix('*') {
        None => is_topic(text),
        Some("") => true,
        Some(prefix) => prefix.strip_suffix('.').is_some_and(is_topic),
    }
}

/// What is to be said of a text that is no such thing.
#[must_use]
pub fn no_topic_pattern(text: &str) -> String {
    format!("`{text}` is no topic: give names ({RULE}) joined by dots, `prefix.*` or `*`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_topics_are_told_from_what_is_none() {
        for name in ["a", "0", "order-lines_2", &"x".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for no_name in ["", "-a", "_a", "A", "a b", "a.b", "ä", &"x".repeat(64)] {
            assert!(!is_name(no_name), "{no_name}");
        }
        assert!(is_topic("orders.paid"));
        assert!(is_topic("orders"));
        assert!(!is_topic("orders..paid"));
        assert!(!is_topic(".orders"));
        assert!(!is_topic(&vec!["x".repeat(63); 5].join(".")));
        for pattern in ["orders", "orders.*", "orders.paid.*", "*"] {
            assert!(is_topic_pattern(pattern), "{pattern}");
        }
        for no_pattern in ["", "**", ".*", "orders*", "orders.", "*.paid", "orders.*.paid"] {
            assert!(!is_topic_pattern(no_pattern), "{no_pattern}");
        }
    }
}

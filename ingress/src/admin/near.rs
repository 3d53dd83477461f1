//! What someone who mistyped a name may have meant.

/// The known name that is most like the one given, if any is like it.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| text.replace(['-', '_', ' '], "").to_lowercase();
    let wanted = plain(name);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// serde's words about an unknown field or variant (`unknown field `a`, expected one of `b`, `c``): the name at fault, and
/// the words again with the nearest known name.
pub(super) fn unknown_name(message: &str) -> Option<(String, String)> {
    let rest = message.split_once("unknown field ").or_else(|| message.split_once("unknown variant "))?.1;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    let hint = nearest(name, quoted).map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
    Some((name.to_owned(), format!("{message}{hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["timeout_ms", "max_operations"];
        assert_eq!(nearest("timeoutMs", known), Some("timeout_ms"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn serdes_message_gets_the_nearest_name() {
        let (name, message) =
            unknown_name("unknown field `sorce`, expected one of `name`, `source`").expect("an unknown field");
        assert_eq!(name, "sorce");
        assert_eq!(message, "unknown field `sorce`, expected one of `name`, `source`; did you mean `source`?");
        assert!(unknown_name("invalid type: integer").is_none());
    }
}

//! What someone meant who sent a body with a mistyped name in it.

use picloud_core::nearest::nearest;

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
    fn serdes_message_gets_the_nearest_name() {
        let (name, message) =
            unknown_name("unknown field `sorce`, expected one of `name`, `source`").expect("an unknown field");
        assert_eq!(name, "sorce");
        assert_eq!(message, "unknown field `sorce`, expected one of `name`, `source`; did you mean `source`?");
        assert!(unknown_name("invalid type: integer").is_none());
    }
}

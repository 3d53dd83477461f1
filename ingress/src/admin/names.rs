//! What things may be called.

use picloud_core::name;

use super::access::short;
use crate::problem::{Kind, Problem};

/// A slug, script, queue or collection: `[a-z0-9][a-z0-9_-]{0,62}`.
pub(super) fn word(field: &'static str, name: &str) -> Result<(), Problem> {
    if name::is_name(name) { Ok(()) } else { Err(refused(field, name, name::RULE)) }
}

/// The name of a configuration value: `[A-Za-z_][A-Za-z0-9_]{0,62}`.
pub(super) fn variable(field: &'static str, name: &str) -> Result<(), Problem> {
    let is_variable = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    let rule = "1 to 63 letters, digits and `_`, not beginning with a digit";
    if is_variable { Ok(()) } else { Err(refused(field, name, rule)) }
}

/// A text for people: a message, the name of a key.
pub(super) fn text(field: &'static str, text: &str, max_chars: usize) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::new(
            Kind::InvalidInput,
            format!("`{field}` has the character U+0000, which cannot be stored"),
        )
        .field(field));
    }
    let chars = text.chars().count();
    if chars > max_chars {
        let detail = format!("`{field}` has {chars} characters: allowed are {max_chars}");
        return Err(Problem::new(Kind::InvalidInput, detail).field(field));
    }
    Ok(())
}

/// What somebody signs in with, as it is stored: lower case, an address as far as that can be told without writing to it.
pub(super) fn email(text: &str) -> Result<String, Problem> {
    let email = text.trim().to_lowercase();
    let is_address = email.len() <= 254
        && email
            .split_once('@')
            .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'))
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if is_address { Ok(email) } else { Err(refused("email", text, "addresses like `ada@example.com`")) }
}

/// What others see of somebody.
pub(super) fn person(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() {
        return Err(Problem::new(Kind::InvalidInput, "`name` is empty: others have to see something").field("name"));
    }
    text("name", name, 100)
}

/// A password that is worth hashing. It is not told back.
pub(super) fn password(password: &str, email: &str) -> Result<(), Problem> {
    let wrong = |detail: &'static str| Err(Problem::new(Kind::InvalidInput, detail).field("password"));
    match password.chars().count() {
        0..10 => wrong("the password has fewer than 10 characters: a few words make a good one"),
        10..=256 if password.eq_ignore_ascii_case(email) => wrong("the password is the address: everyone knows that"),
        10..=256 => Ok(()),
        _ => wrong("the password has more than 256 characters"),
    }
}

fn refused(field: &'static str, name: &str, rule: &str) -> Problem {
    let detail = format!("`{}` cannot be a {field}: allowed are {rule}", short(name).escape_debug());
    Problem::new(Kind::InvalidInput, detail).field(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_lower_case_and_what_is_none_is_refused() {
        assert_eq!(email(" Ada@Example.COM ").expect("an address"), "ada@example.com");
        for bad in ["", "ada", "@example.com", "ada@", "a b@example.com", "a@b@c", "a@b\u{0}"] {
            assert!(email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_long_enough_and_not_told_back() {
        assert!(password("ten chars!", "ada@example.com").is_ok());
        for bad in ["", "too short", "ada@example.com", &"x".repeat(257)] {
            let refused = password(bad, "ada@example.com").expect_err("refused");
            assert!(bad.is_empty() || !refused.detail().contains(bad), "{}", refused.detail());
        }
    }

    #[test]
    fn names_are_what_the_database_takes() {
        for good in ["a", "0", "shop", "a_b-c9", &"x".repeat(63)] {
            assert!(word("name", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "ä", "a/b", &"x".repeat(64)] {
            assert!(word("name", bad).is_err(), "{bad}");
        }
        for good in ["A", "_", "a9", &"x".repeat(63)] {
            assert!(variable("name", good).is_ok(), "{good}");
        }
        for bad in ["", "9a", "a-b", "ä", &"x".repeat(64)] {
            assert!(variable("name", bad).is_err(), "{bad}");
        }
    }
}
